//! Whatever is drawn: a terminal that is sent our bytes shows it.

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::buffer::Buffer;
use ratatui::layout::{Rect, Size};
use ratatui::style::{Color, Modifier};

use crate::term::backend::Screen;
use crate::term::profile::{Colour, Profile};
use crate::tests::stage::{ANSI8, MONO, WIDE};

const WIDTH: u16 = 12;
const HEIGHT: u16 = 5;

/// A cell: a symbol, a colour and looks.
type Drawn = (char, Option<u8>, u8);

fn cell() -> impl Strategy<Value = Drawn> {
    let symbol = prop_oneof![
        4 => Just(' '),
        4 => proptest::char::range('!', '~'),
        1 => prop_oneof![Just('─'), Just('│'), Just('█'), Just('⣿'), Just('é')],
    ];
    let plain = (symbol.clone(), Just(None), Just(0u8));
    let looks = (symbol, proptest::option::of(0u8..=255), 0u8..8);
    prop_oneof![3 => plain, 1 => looks]
}

/// Cells that change: some runs of a line.
fn change() -> impl Strategy<Value = Vec<(u16, u16, Vec<Drawn>)>> {
    let run = proptest::collection::vec(cell(), 1..=usize::from(WIDTH));
    proptest::collection::vec((0..WIDTH, 0..HEIGHT, run), 0..6)
}

fn apply(buffer: &mut Buffer, change: &[(u16, u16, Vec<Drawn>)]) {
    for (x, y, run) in change {
        for (at, (symbol, colour, looks)) in run.iter().enumerate() {
            let Some(cell) = buffer.cell_mut((x + at as u16, *y)) else {
                continue;
            };
            cell.reset();
            cell.set_char(*symbol);
            if let Some(colour) = colour {
                cell.set_fg(Color::Indexed(*colour));
            }
            for (bit, modifier) in [
                (1, Modifier::BOLD),
                (2, Modifier::UNDERLINED),
                (4, Modifier::REVERSED),
            ] {
                if looks & bit != 0 {
                    cell.modifier.insert(modifier);
                }
            }
        }
    }
}

fn compare(
    buffer: &Buffer,
    terminal: &vt100::Screen,
    profile: Profile,
) -> Result<(), TestCaseError> {
    for y in 0..HEIGHT {
        for x in 0..WIDTH {
            let wanted = buffer.cell((x, y)).unwrap();
            let shown = terminal.cell(y, x).unwrap();
            let text = match shown.contents() {
                "" => " ".to_owned(),
                text => text.to_owned(),
            };
            if profile.utf8 || wanted.symbol().is_ascii() {
                prop_assert_eq!(&text, wanted.symbol(), "at {},{}", x, y);
            } else {
                prop_assert!(text.is_ascii() && text != " ", "{:?} at {},{}", text, x, y);
            }
            let has = |modifier| wanted.modifier.contains(modifier);
            prop_assert_eq!(shown.bold(), has(Modifier::BOLD), "bold at {},{}", x, y);
            prop_assert_eq!(
                shown.underline(),
                has(Modifier::UNDERLINED),
                "line at {},{}",
                x,
                y
            );
            prop_assert_eq!(
                shown.inverse(),
                has(Modifier::REVERSED),
                "inverse at {},{}",
                x,
                y
            );
            let colour = match (wanted.fg, profile.colour) {
                (Color::Indexed(index), Colour::Ansi256)
                | (Color::Indexed(index @ 0..8), Colour::Ansi8) => vt100::Color::Idx(index),
                _ => vt100::Color::Default,
            };
            prop_assert_eq!(shown.fgcolor(), colour, "colour at {},{}", x, y);
            prop_assert_eq!(shown.bgcolor(), vt100::Color::Default);
        }
    }
    Ok(())
}

fn shows(profile: Profile, changes: &[Vec<(u16, u16, Vec<Drawn>)>]) -> Result<(), TestCaseError> {
    let size = Size {
        width: WIDTH,
        height: HEIGHT,
    };
    let mut ours = Terminal::new(Screen::new(profile, size)).unwrap();
    ours.clear().unwrap();
    let (rows, columns) = (HEIGHT.try_into().unwrap(), WIDTH.try_into().unwrap());
    let mut theirs = vt100::Parser::new(rows, columns, 0);
    // Whatever stood there before the console came.
    theirs.process(b"login: root\r\n\x1b[7mlast login");
    let mut buffer = Buffer::empty(Rect::new(0, 0, WIDTH, HEIGHT));
    for change in changes {
        apply(&mut buffer, change);
        let wanted = buffer.clone();
        ours.draw(|frame| frame.buffer_mut().clone_from(&wanted))
            .unwrap();
        theirs.process(&ours.backend_mut().take());
        compare(&buffer, theirs.screen(), profile)?;
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_terminal_shows_what_was_drawn(changes in proptest::collection::vec(change(), 1..8)) {
        for profile in [MONO, ANSI8, WIDE] {
            shows(profile, &changes)?;
        }
    }
}
