//! A ratatui backend for terminals of any age: SGR 0, 1, 4, 7 and 30 to 37, cursor moves and two
//! erasures, and nothing where nothing changed.
//!
//! What is on the terminal is remembered cell by cell, so that a short gap is written again where
//! that takes fewer bytes than a move.

use std::convert::Infallible;
use std::io::Write as _;

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};

use crate::term::profile::{Colour, Profile};

/// What is shown for what the terminal cannot show.
const UNKNOWN: char = '?';

/// Makes the bytes of frames.
#[derive(Debug)]
pub(crate) struct Screen {
    profile: Profile,
    size: Size,
    /// What the terminal shows.
    shown: Vec<Glyph>,
    /// What it shall show.
    wanted: Vec<Glyph>,
    /// Where its cursor is, where that is known.
    at: Option<Position>,
    pen: Pen,
    cursor: Option<bool>,
    out: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Glyph {
    symbol: char,
    pen: Pen,
}

/// What SGR sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pen {
    colour: Option<u8>,
    bold: bool,
    underlined: bool,
    reversed: bool,
}

const BLANK: Glyph = Glyph {
    symbol: ' ',
    pen: Pen {
        colour: None,
        bold: false,
        underlined: false,
        reversed: false,
    },
};

impl Screen {
    /// Makes a backend that knows nothing of what the terminal shows: clear it first.
    pub(crate) fn new(profile: Profile, size: Size) -> Self {
        let cells = usize::from(size.width) * usize::from(size.height);
        Self {
            profile,
            size,
            shown: vec![BLANK; cells],
            wanted: vec![BLANK; cells],
            at: None,
            pen: Pen::default(),
            cursor: None,
            out: Vec::new(),
        }
    }

    /// Takes another size; the terminal must be cleared then.
    pub(crate) fn resize(&mut self, size: Size) {
        let out = std::mem::take(&mut self.out);
        let cursor = self.cursor;
        *self = Self::new(self.profile, size);
        (self.out, self.cursor) = (out, cursor);
    }

    /// Takes the bytes that are to be written.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    fn index(&self, x: u16, y: u16) -> Option<usize> {
        let inside = x < self.size.width && y < self.size.height;
        inside.then(|| usize::from(y) * usize::from(self.size.width) + usize::from(x))
    }

    fn shown(&self, x: u16, y: u16) -> Glyph {
        let at = self.index(x, y);
        at.and_then(|at| self.shown.get(at).copied())
            .unwrap_or(BLANK)
    }

    fn wanted(&self, x: u16, y: u16) -> Glyph {
        let at = self.index(x, y);
        at.and_then(|at| self.wanted.get(at).copied())
            .unwrap_or(BLANK)
    }

    /// Brings a line of the terminal from what it shows to what it shall show.
    fn bring(&mut self, y: u16) {
        let width = self.size.width;
        let differs = |screen: &Self, x: u16| screen.shown(x, y) != screen.wanted(x, y);
        // From here on the line is to be blank.
        let tail = (0..width)
            .rev()
            .find(|x| self.wanted(*x, y) != BLANK)
            .map_or(0, |x| x + 1);
        let erased = (tail..width).filter(|x| differs(self, *x)).count();
        let end = if erased > 4 { tail } else { width };
        for x in 0..end {
            if differs(self, x) {
                self.go(x, y);
                self.put(self.wanted(x, y), x, y);
            }
        }
        if end == tail && erased > 4 {
            self.go(tail, y);
            self.draw_with(Pen::default());
            self.out.extend_from_slice(b"\x1b[K");
        }
        for x in 0..width {
            let wanted = self.wanted(x, y);
            if let Some(at) = self.index(x, y)
                && let Some(shown) = self.shown.get_mut(at)
            {
                *shown = wanted;
            }
        }
    }

    fn put(&mut self, glyph: Glyph, x: u16, y: u16) {
        self.draw_with(glyph.pen);
        let mut bytes = [0; 4];
        let bytes = glyph.symbol.encode_utf8(&mut bytes).as_bytes();
        self.out.extend_from_slice(bytes);
        // Behind the last column the cursor is somewhere else on each terminal.
        let next = x + 1;
        self.at = (next < self.size.width).then_some(Position { x: next, y });
    }

    fn go(&mut self, x: u16, y: u16) {
        let gap = match self.at {
            Some(at) if at.y == y && at.x <= x => x - at.x,
            Some(_) | None => u16::MAX,
        };
        if gap == 0 {
            return;
        }
        let near = gap <= 4 && (x - gap..x).all(|x| self.is_cheap(x, y));
        if near {
            for x in x - gap..x {
                self.put(self.wanted(x, y), x, y);
            }
            return;
        }
        match gap {
            1 => self.out.extend_from_slice(b"\x1b[C"),
            u16::MAX if x == 0 => self.write(format_args!("\x1b[{}H", y + 1)),
            u16::MAX => self.write(format_args!("\x1b[{};{}H", y + 1, x + 1)),
            _ => self.write(format_args!("\x1b[{gap}C")),
        }
        self.at = Some(Position { x, y });
    }

    /// Whether a cell can be written on the way: with the pen as it is, in one byte.
    fn is_cheap(&self, x: u16, y: u16) -> bool {
        let glyph = self.wanted(x, y);
        glyph.pen == self.pen && glyph.symbol.is_ascii()
    }

    fn draw_with(&mut self, pen: Pen) {
        if pen == self.pen {
            return;
        }
        let old = self.pen;
        let lost = (old.bold && !pen.bold)
            || (old.underlined && !pen.underlined)
            || (old.reversed && !pen.reversed)
            || (old.colour.is_some() && pen.colour.is_none());
        let old = if lost { Pen::default() } else { old };
        self.pen = pen;
        if pen == Pen::default() {
            self.out.extend_from_slice(b"\x1b[m");
            return;
        }
        self.out.extend_from_slice(b"\x1b[");
        let mut is_first = true;
        let mut number = |out: &mut Vec<u8>, number: &str| {
            if !std::mem::take(&mut is_first) {
                out.push(b';');
            }
            out.extend_from_slice(number.as_bytes());
        };
        if lost {
            number(&mut self.out, "0");
        }
        for (set, was, code) in [
            (pen.bold, old.bold, "1"),
            (pen.underlined, old.underlined, "4"),
            (pen.reversed, old.reversed, "7"),
        ] {
            if set && !was {
                number(&mut self.out, code);
            }
        }
        if let Some(colour) = pen.colour
            && pen.colour != old.colour
        {
            match colour {
                0..8 => number(&mut self.out, &format!("3{colour}")),
                8.. => number(&mut self.out, &format!("38;5;{colour}")),
            }
        }
        self.out.push(b'm');
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // A vector takes everything.
        let _ = self.out.write_fmt(text);
    }

    fn glyph(&self, cell: &Cell) -> Glyph {
        let mut symbols = cell.symbol().chars();
        let symbol = symbols.next().unwrap_or(' ');
        let alone = symbols.next().is_none();
        let has = |modifier| cell.modifier.contains(modifier);
        Glyph {
            symbol: match symbol {
                ' '..='~' if alone => symbol,
                _ if alone && self.profile.utf8 && !symbol.is_control() => symbol,
                _ if alone => plain(symbol),
                _ => UNKNOWN,
            },
            pen: Pen {
                colour: self.colour(cell.fg),
                bold: has(Modifier::BOLD),
                underlined: has(Modifier::UNDERLINED),
                reversed: has(Modifier::REVERSED),
            },
        }
    }

    fn colour(&self, colour: Color) -> Option<u8> {
        let index = match colour {
            Color::Black => 0,
            Color::Red | Color::LightRed => 1,
            Color::Green | Color::LightGreen => 2,
            Color::Yellow | Color::LightYellow => 3,
            Color::Blue | Color::LightBlue => 4,
            Color::Magenta | Color::LightMagenta => 5,
            Color::Cyan | Color::LightCyan => 6,
            Color::Gray | Color::White => 7,
            Color::Indexed(index) => index,
            Color::Reset | Color::DarkGray | Color::Rgb(..) => return None,
        };
        match self.profile.colour {
            Colour::Mono => None,
            Colour::Ansi8 => (index < 8).then_some(index),
            Colour::Ansi256 => Some(index),
        }
    }
}

/// What stands for a symbol where only ASCII is shown.
fn plain(symbol: char) -> char {
    match symbol {
        '─' | '━' => '-',
        '│' | '┃' => '|',
        '┌' | '┐' | '└' | '┘' | '├' | '┤' | '┬' | '┴' | '┼' | '╭' | '╮' | '╰' | '╯' => {
            '+'
        }
        '█' | '▓' | '▇' | '▆' | '▅' | '▄' => '#',
        '▃' | '▂' | '▁' | '░' | '·' => '.',
        '▸' | '▶' => '>',
        '▾' | '▼' => 'v',
        '▲' => '^',
        '…' => '~',
        _ => UNKNOWN,
    }
}

impl Backend for Screen {
    type Error = Infallible;

    fn draw<'a, I>(&mut self, content: I) -> Result<(), Infallible>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        for (x, y, cell) in content {
            let glyph = self.glyph(cell);
            if let Some(at) = self.index(x, y)
                && let Some(wanted) = self.wanted.get_mut(at)
            {
                *wanted = glyph;
            }
        }
        for y in 0..self.size.height {
            if (0..self.size.width).any(|x| self.shown(x, y) != self.wanted(x, y)) {
                self.bring(y);
            }
        }
        Ok(())
    }

    fn hide_cursor(&mut self) -> Result<(), Infallible> {
        if self.cursor.replace(false) != Some(false) && self.profile.hides_cursor {
            self.out.extend_from_slice(b"\x1b[?25l");
        }
        Ok(())
    }

    fn show_cursor(&mut self) -> Result<(), Infallible> {
        if self.cursor.replace(true) != Some(true) && self.profile.hides_cursor {
            self.out.extend_from_slice(b"\x1b[?25h");
        }
        Ok(())
    }

    fn get_cursor_position(&mut self) -> Result<Position, Infallible> {
        Ok(self.at.unwrap_or_default())
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, position: P) -> Result<(), Infallible> {
        let position = position.into();
        if self.at != Some(position) {
            let Position { x, y } = position;
            self.write(format_args!("\x1b[{};{}H", y + 1, x + 1));
            self.at = Some(position);
        }
        Ok(())
    }

    fn clear(&mut self) -> Result<(), Infallible> {
        self.out.extend_from_slice(b"\x1b[m\x1b[H\x1b[J");
        self.pen = Pen::default();
        self.at = Some(Position::default());
        self.shown.fill(BLANK);
        self.wanted.fill(BLANK);
        Ok(())
    }

    fn clear_region(&mut self, _: ClearType) -> Result<(), Infallible> {
        // The full screen is ours: nobody clears a part of it.
        self.clear()
    }

    fn size(&self) -> Result<Size, Infallible> {
        Ok(self.size)
    }

    fn window_size(&mut self) -> Result<WindowSize, Infallible> {
        Ok(WindowSize {
            columns_rows: self.size,
            pixels: Size::default(),
        })
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}
