//! The text and the looks of a terminal, as SVG.

use std::fmt::Write as _;

/// The size of a cell.
const CELL: (f64, f64) = (8.4, 18.0);
/// The margin around the cells.
const MARGIN: f64 = 12.0;
const BACKGROUND: &str = "#10161d";
const FOREGROUND: &str = "#d6dde4";
/// The eight colours of a terminal, and the same eight bright.
const COLOURS: [&str; 16] = [
    "#3b4550", "#ff6b62", "#58d08a", "#f2c14e", "#6cb0ff", "#d691ff", "#4fd1d9", "#d6dde4",
    "#7b8794", "#ff8f88", "#86e3ab", "#ffd97a", "#94c6ff", "#e3b5ff", "#86e5ea", "#ffffff",
];

/// How text looks.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a look that text has or has not, apart from the others"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Looks {
    foreground: Option<String>,
    background: Option<String>,
    bold: bool,
    dim: bool,
    underlined: bool,
    reversed: bool,
}

/// Text that looks the same, from a column on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    column: usize,
    text: String,
    looks: Looks,
}

/// Returns the text alone.
pub(super) fn text(capture: &str) -> String {
    let mut all = String::new();
    for line in lines(capture) {
        let text: String = line.iter().map(|run| run.text.as_str()).collect();
        all.push_str(text.trim_end());
        all.push('\n');
    }
    all
}

/// Draws what a terminal showed.
pub(super) fn draw(capture: &str) -> String {
    let lines = lines(capture);
    let end = |run: &Run| run.column + run.text.chars().count();
    let columns = lines.iter().flatten().map(end).max().unwrap_or_default();
    let columns = columns.max(80);
    let width = across(columns) + MARGIN;
    let height = down(lines.len()) + MARGIN;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.1} {height:.1}\" \
         width=\"{width:.0}\" height=\"{height:.0}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"{BACKGROUND}\"/>\n\
         <g font-family=\"ui-monospace,'DejaVu Sans Mono',Menlo,Consolas,monospace\" \
         font-size=\"14\" fill=\"{FOREGROUND}\" xml:space=\"preserve\">\n"
    );
    for (row, line) in lines.iter().enumerate() {
        for run in line {
            draw_run(run, row, &mut svg);
        }
    }
    svg.push_str("</g>\n</svg>\n");
    svg
}

fn draw_run(run: &Run, row: usize, svg: &mut String) {
    let looks = &run.looks;
    let mut ink = looks.foreground.as_deref().unwrap_or(FOREGROUND);
    let mut paper = looks.background.as_deref();
    if looks.reversed {
        (ink, paper) = (paper.unwrap_or(BACKGROUND), Some(ink));
    }
    let width = across(run.text.chars().count()) - MARGIN;
    let (x, y) = (across(run.column), down(row));
    // A string takes all that is written to it.
    if let Some(paper) = paper {
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{:.1}\" fill=\"{paper}\"/>",
            CELL.1
        );
    }
    if run.text.trim().is_empty() {
        return;
    }
    let mut more = String::new();
    if ink != FOREGROUND {
        let _ = write!(more, " fill=\"{ink}\"");
    }
    if looks.bold {
        more.push_str(" font-weight=\"bold\"");
    }
    if looks.dim {
        more.push_str(" opacity=\"0.6\"");
    }
    if looks.underlined {
        more.push_str(" text-decoration=\"underline\"");
    }
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{:.1}\" textLength=\"{width:.1}\"{more}>{}</text>",
        y + 13.5,
        escaped(&run.text)
    );
}

fn across(columns: usize) -> f64 {
    f64::from(u16::try_from(columns).unwrap_or(u16::MAX)) * CELL.0 + MARGIN
}

fn down(rows: usize) -> f64 {
    f64::from(u16::try_from(rows).unwrap_or(u16::MAX)) * CELL.1 + MARGIN
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;");
    let text = text.replace('<', "&lt;").replace('>', "&gt;");
    // Blanks in a row stay blanks wherever it is shown.
    text.replace(' ', "\u{a0}")
}

/// Parts what was captured into lines and runs; the looks go on from line to line.
fn lines(capture: &str) -> Vec<Vec<Run>> {
    let mut looks = Looks::default();
    capture.lines().map(|line| runs(line, &mut looks)).collect()
}

fn runs(line: &str, looks: &mut Looks) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut column = 0;
    let mut symbols = line.chars();
    while let Some(symbol) = symbols.next() {
        if symbol == '\u{1b}' {
            let Some('[') = symbols.next() else {
                // The choice of a character set is one letter more.
                symbols.next();
                continue;
            };
            let mut sequence = String::new();
            let last = symbols.by_ref().find(|symbol| {
                let ends = symbol.is_ascii_alphabetic();
                if !ends {
                    sequence.push(*symbol);
                }
                ends
            });
            if last == Some('m') {
                change(looks, &sequence);
            }
            continue;
        }
        match runs.last_mut() {
            Some(run) if run.looks == *looks => run.text.push(symbol),
            Some(_) | None => runs.push(Run {
                column,
                text: symbol.into(),
                looks: looks.clone(),
            }),
        }
        column += 1;
    }
    runs
}

/// Does what `CSI ... m` does.
fn change(looks: &mut Looks, sequence: &str) {
    let mut numbers = sequence
        .split([';', ':'])
        .map(|number| number.parse::<u8>().unwrap_or(0));
    while let Some(number) = numbers.next() {
        match number {
            0 => *looks = Looks::default(),
            1 => looks.bold = true,
            2 => looks.dim = true,
            4 => looks.underlined = true,
            7 => looks.reversed = true,
            22 => (looks.bold, looks.dim) = (false, false),
            24 => looks.underlined = false,
            27 => looks.reversed = false,
            30..=37 => looks.foreground = Some(colour(number - 30)),
            38 => looks.foreground = indexed(&mut numbers),
            39 => looks.foreground = None,
            40..=47 => looks.background = Some(colour(number - 40)),
            48 => looks.background = indexed(&mut numbers),
            49 => looks.background = None,
            90..=97 => looks.foreground = Some(colour(number - 82)),
            100..=107 => looks.background = Some(colour(number - 92)),
            _ => {}
        }
    }
}

fn indexed(numbers: &mut impl Iterator<Item = u8>) -> Option<String> {
    match numbers.next()? {
        5 => Some(colour(numbers.next()?)),
        2 => {
            let (red, green, blue) = (numbers.next()?, numbers.next()?, numbers.next()?);
            Some(format!("#{red:02x}{green:02x}{blue:02x}"))
        }
        _ => None,
    }
}

/// Returns one of the 256 colours: sixteen, a cube of six by six by six, and greys.
fn colour(number: u8) -> String {
    if let Some(colour) = COLOURS.get(usize::from(number)) {
        return (*colour).to_owned();
    }
    if number >= 232 {
        let grey = 8 + 10 * (number - 232);
        return format!("#{grey:02x}{grey:02x}{grey:02x}");
    }
    let level = |step: u8| if step == 0 { 0 } else { 55 + 40 * step };
    let place = number - 16;
    let (red, green, blue) = (place / 36, place / 6 % 6, place % 6);
    format!("#{:02x}{:02x}{:02x}", level(red), level(green), level(blue))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_go_on_until_they_are_changed() {
        let capture = "a\x1b[1;32mUP\x1b[0m b\n\x1b[7mx\ny\x1b[27mz\n";
        assert_eq!(text(capture), "aUP b\nx\nyz\n");
        let all = lines(capture);
        let bold = &all[0][1];
        assert_eq!((bold.column, bold.text.as_str()), (1, "UP"));
        assert!(bold.looks.bold);
        assert_eq!(bold.looks.foreground.as_deref(), Some(COLOURS[2]));
        assert_eq!(all[0][2].looks, Looks::default());
        assert!(all[1][0].looks.reversed && all[2][0].looks.reversed);
        assert!(!all[2][1].looks.reversed);
    }

    #[test]
    fn all_256_colours_are_known() {
        assert_eq!(colour(196), "#ff0000");
        assert_eq!(colour(16), "#000000");
        assert_eq!(colour(255), "#eeeeee");
        let mut looks = Looks::default();
        change(&mut looks, "1;38;5;196;4");
        assert_eq!(looks.foreground.as_deref(), Some("#ff0000"));
        assert!(looks.bold && looks.underlined);
    }

    #[test]
    fn what_means_something_in_svg_is_escaped() {
        let svg = draw("a<b & c>\n");
        assert!(svg.contains("a&lt;b\u{a0}&amp;\u{a0}c&gt;"), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }
}
