//! A part of the screen to write on. Whatever is written, a character takes one cell and stays inside.

#[cfg(test)]
pub(crate) mod audit;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

/// A part of the screen; places count from its corner.
#[derive(Debug)]
pub(crate) struct Canvas<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
}

/// How a text lies in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

impl<'a> Canvas<'a> {
    /// Makes a canvas of a part of a buffer.
    pub(crate) fn new(buffer: &'a mut Buffer, area: Rect) -> Self {
        let area = area.intersection(*buffer.area());
        Self { buffer, area }
    }

    /// Returns a part of it, in places of the whole screen.
    pub(crate) fn part(&mut self, area: Rect) -> Canvas<'_> {
        Canvas::new(self.buffer, area)
    }

    /// Returns a part of it, in its own places.
    pub(crate) fn inner(&mut self, x: u16, y: u16, width: u16, height: u16) -> Canvas<'_> {
        let area = Rect {
            x: self.area.x.saturating_add(x),
            y: self.area.y.saturating_add(y),
            width,
            height,
        };
        let area = area.intersection(self.area);
        Canvas::new(self.buffer, area)
    }

    /// Returns where it lies on the screen.
    pub(crate) fn area(&self) -> Rect {
        self.area
    }

    pub(crate) fn width(&self) -> u16 {
        self.area.width
    }

    pub(crate) fn height(&self) -> u16 {
        self.area.height
    }

    /// Writes a text as far as it fits; returns the column behind it.
    pub(crate) fn put(&mut self, x: u16, y: u16, text: &str, style: Style) -> u16 {
        #[cfg(test)]
        self.watch(x, y, text);
        let mut x = x;
        for symbol in text.chars() {
            if x >= self.area.width || y >= self.area.height {
                break;
            }
            self.set(x, y, shown(symbol), style);
            x += 1;
        }
        x
    }

    /// Writes a text into a column; one that is too long ends with `~`.
    pub(crate) fn cell(
        &mut self,
        (x, y): (u16, u16),
        width: u16,
        align: Align,
        text: &str,
        style: Style,
    ) {
        let length = text.chars().count();
        let width = usize::from(width);
        if length > width {
            if width > 0 {
                let kept: String = text.chars().take(width - 1).collect();
                self.put(x, y, &format!("{kept}~"), style);
            }
            return;
        }
        let blank = match align {
            Align::Left => 0,
            Align::Right => (width - length) as u16,
        };
        self.put(x + blank, y, text, style);
    }

    /// Writes a text that ends before a column.
    pub(crate) fn put_before(&mut self, end: u16, y: u16, text: &str, style: Style) -> u16 {
        let begin = end.saturating_sub(text.chars().count() as u16);
        self.put(begin, y, text, style);
        begin
    }

    /// Fills a line with a character that words may stand on.
    pub(crate) fn fill(&mut self, y: u16, symbol: char, style: Style) {
        self.run(0, y, self.area.width, symbol, style);
    }

    /// Fills a part of a line with a character that words may stand on.
    pub(crate) fn run(&mut self, x: u16, y: u16, width: u16, symbol: char, style: Style) {
        for x in x..x.saturating_add(width).min(self.area.width) {
            #[cfg(test)]
            audit::ground(self.area.x + x, self.area.y + y);
            self.set(x, y, symbol, style);
        }
    }

    /// Adds a style to a part of a line.
    pub(crate) fn style(&mut self, x: u16, y: u16, width: u16, style: Style) {
        for x in x..x.saturating_add(width).min(self.area.width) {
            if let Some(cell) = self.buffer.cell_mut((self.area.x + x, self.area.y + y)) {
                cell.set_style(style);
            }
        }
    }

    /// Makes all of it blank.
    pub(crate) fn clear(&mut self) {
        for y in 0..self.area.height {
            for x in 0..self.area.width {
                #[cfg(test)]
                audit::ground(self.area.x + x, self.area.y + y);
                if let Some(cell) = self.buffer.cell_mut((self.area.x + x, self.area.y + y)) {
                    cell.reset();
                }
            }
        }
    }

    #[cfg(test)]
    fn watch(&self, x: u16, y: u16, text: &str) {
        let room = if y < self.area.height {
            self.area.width.saturating_sub(x)
        } else {
            0
        };
        audit::text(self.area.x + x, self.area.y + y, text, usize::from(room));
    }

    fn set(&mut self, x: u16, y: u16, symbol: char, style: Style) {
        if x >= self.area.width || y >= self.area.height {
            return;
        }
        if let Some(cell) = self.buffer.cell_mut((self.area.x + x, self.area.y + y)) {
            cell.set_char(symbol).set_style(style);
        }
    }
}

/// What others wrote never reaches the terminal as it is: a control character would be obeyed, and a
/// wide or a combining one would shift what stands behind it.
fn shown(symbol: char) -> char {
    match symbol {
        // What we draw with ourselves, and letters of Latin, Greek and Cyrillic script.
        ' '..='~' | '─'..='╿' | '▀'..='▟' | '▲' | '▶' | '▸' | '▼' | '▾' | '…' | '·' | '⠀'..='⣿' => {
            symbol
        }
        '\u{a1}'..='\u{ac}'
        | '\u{ae}'..='\u{2ff}'
        | '\u{370}'..='\u{482}'
        | '\u{48a}'..='\u{52f}' => symbol,
        _ => '?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_stays_inside_and_is_no_control_character() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 2));
        let mut canvas = Canvas::new(&mut buffer, Rect::new(2, 1, 4, 9));
        canvas.put(0, 0, "a\x1b[2J\u{202e}", Style::new());
        canvas.put(0, 7, "below", Style::new());
        canvas.cell((0, 0), 4, Align::Left, "abcdef", Style::new());
        assert_eq!(buffer, Buffer::with_lines(["        ", "  abc~  "]));
        let mut canvas = Canvas::new(&mut buffer, Rect::new(0, 0, 8, 1));
        canvas.put(0, 0, "a\x1b]\u{9b}漢e\u{301}", Style::new());
        assert_eq!(buffer, Buffer::with_lines(["a?]??e? ", "  abc~  "]));
    }

    #[test]
    fn numbers_lie_to_the_right() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 8, 1));
        let mut canvas = Canvas::new(&mut buffer, Rect::new(0, 0, 8, 1));
        canvas.cell((1, 0), 5, Align::Right, "28.4", Style::new());
        assert_eq!(buffer, Buffer::with_lines(["  28.4  "]));
    }
}
