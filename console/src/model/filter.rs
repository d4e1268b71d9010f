//! What narrows a list: a text, and what the lines are sorted by.

/// A text that lines must have, or must not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TextFilter {
    pub(crate) text: String,
    pub(crate) inverse: bool,
}

/// Values that a key goes through, one after the other.
pub(crate) trait Cycle: Copy + Default + PartialEq + 'static {
    /// All, in the order in which the key goes through them.
    const ALL: &'static [Self];

    /// Returns the next one; behind the last is the first.
    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|one| *one == self);
        let at = (at.unwrap_or_default() + 1) % Self::ALL.len().max(1);
        Self::ALL.get(at).copied().unwrap_or_default()
    }
}

/// What lines are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sorting<By> {
    pub(crate) by: By,
    /// Whether the last comes first.
    pub(crate) reversed: bool,
}

/// An order of lines that keys change, whatever they can be sorted by.
pub(crate) trait Order {
    /// Sorts by the next column.
    fn turn(&mut self);
    /// Sorts the other way round.
    fn reverse(&mut self);
}

impl TextFilter {
    /// Says whether a text has what is looked for, in any case of letters.
    pub(crate) fn finds(&self, text: &str) -> bool {
        text.to_ascii_lowercase()
            .contains(&self.text.to_ascii_lowercase())
    }

    /// Says whether a line with a text is shown.
    pub(crate) fn shows(&self, text: &str) -> bool {
        self.is_empty() || self.finds(text) != self.inverse
    }

    /// Says whether it narrows nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Returns what stands before the number of what is shown.
    pub(crate) fn words(&self) -> String {
        match (self.text.as_str(), self.inverse) {
            ("", _) => String::new(),
            (text, false) => format!("with {text}: "),
            (text, true) => format!("without {text}: "),
        }
    }
}

impl<By> Sorting<By> {
    /// Puts sorted lines into their order.
    pub(crate) fn arrange<T>(&self, lines: &mut [T]) {
        if self.reversed {
            lines.reverse();
        }
    }

    /// Returns how the lines are sorted, of the name of what they are sorted by.
    pub(crate) fn words(&self, name: &str) -> String {
        let order = if self.reversed { ", reversed" } else { "" };
        format!("{name}{order}")
    }
}

impl<By: Cycle> Order for Sorting<By> {
    fn turn(&mut self) {
        self.by = self.by.next();
        self.reversed = false;
    }

    fn reverse(&mut self) {
        self.reversed = !self.reversed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Cycle for u8 {
        const ALL: &'static [Self] = &[0, 1];
    }

    #[test]
    fn a_filter_shows_what_has_its_text_and_the_inverse_what_has_not() {
        let mut filter = TextFilter::default();
        assert!(filter.shows("web") && filter.words().is_empty());
        filter.text = "WEB".to_owned();
        assert!(filter.shows("the web") && !filter.shows("dns"));
        filter.inverse = true;
        assert!(!filter.shows("the web") && filter.shows("dns"));
        assert_eq!(filter.words(), "without WEB: ");
    }

    #[test]
    fn the_next_column_is_sorted_the_right_way_round() {
        let mut sorting = Sorting::<u8>::default();
        sorting.reverse();
        assert_eq!(sorting.words("by size"), "by size, reversed");
        sorting.turn();
        assert_eq!((sorting.by, sorting.reversed), (1, false));
        sorting.turn();
        assert_eq!(sorting.by, 0);
    }
}
