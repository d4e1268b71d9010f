//! A line that is typed.

use crate::term::input::Key;

/// The longest line.
const MOST: usize = 512;

/// A line with a cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EditLine {
    text: Vec<char>,
    at: usize,
}

impl EditLine {
    /// Makes a line with a text and the cursor behind it.
    pub(crate) fn with(text: &str) -> Self {
        let mut line = Self::default();
        line.insert(text);
        line
    }

    /// Returns the text.
    pub(crate) fn text(&self) -> String {
        self.text.iter().collect()
    }

    /// Says whether nothing is typed.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Says whether a key ends it: nothing more can be taken back of an empty one.
    pub(crate) fn ends(&self, key: Key) -> bool {
        matches!(key, Key::Esc | Key::Ctrl('c')) || (key == Key::Backspace && self.is_empty())
    }

    /// Returns how many characters stand before the cursor.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Puts a text at the cursor; what is no text is left out.
    pub(crate) fn insert(&mut self, text: &str) {
        for symbol in text.chars().filter(|symbol| !symbol.is_control()) {
            if self.text.len() < MOST {
                self.text.insert(self.at, symbol);
                self.at += 1;
            }
        }
    }

    /// Takes a key; says whether it was one of a line.
    pub(crate) fn key(&mut self, key: Key) -> bool {
        match key {
            Key::Char(symbol) => self.insert(symbol.encode_utf8(&mut [0; 4])),
            Key::Backspace if self.at > 0 => {
                self.at -= 1;
                self.text.remove(self.at);
            }
            Key::Delete if self.at < self.text.len() => {
                self.text.remove(self.at);
            }
            Key::Left => self.at = self.at.saturating_sub(1),
            Key::Right => self.at = (self.at + 1).min(self.text.len()),
            Key::Home => self.at = 0,
            Key::End => self.at = self.text.len(),
            Key::Ctrl('u') => *self = Self::default(),
            Key::Ctrl('w') => {
                let before = self.text.get(..self.at).unwrap_or_default();
                let kept = before.iter().rposition(|symbol| *symbol != ' ');
                let word = before.get(..kept.map_or(0, |end| end + 1));
                let begin = word.and_then(|word| word.iter().rposition(|symbol| *symbol == ' '));
                let begin = begin.map_or(0, |at| at + 1);
                self.text.drain(begin..self.at);
                self.at = begin;
            }
            Key::Backspace
            | Key::Delete
            | Key::Ctrl(_)
            | Key::Enter
            | Key::Esc
            | Key::Tab
            | Key::BackTab
            | Key::Up
            | Key::Down
            | Key::PageUp
            | Key::PageDown => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_typed_and_mended() {
        let mut line = EditLine::with("drain wbe");
        line.key(Key::Left);
        line.key(Key::Backspace);
        line.key(Key::End);
        line.insert("b\x1b\n");
        assert_eq!(line.text(), "drain web");
        line.key(Key::Ctrl('w'));
        assert_eq!((line.text().as_str(), line.at()), ("drain ", 6));
        line.key(Key::Home);
        line.key(Key::Delete);
        assert_eq!(line.text(), "rain ");
        assert!(!line.key(Key::Enter));
    }

    #[test]
    fn a_pasted_novel_is_cut() {
        let mut line = EditLine::default();
        line.insert(&"x".repeat(1 << 20));
        assert_eq!(line.text().len(), MOST);
    }
}
