//! A list that is longer than the screen: which line is selected, and which are seen.

/// Where a list is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The selected line.
    pub(crate) index: usize,
    /// The first line that is seen.
    pub(crate) top: usize,
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Up,
    Down,
    PageUp,
    PageDown,
    Top,
    Bottom,
}

impl Cursor {
    /// Goes there, as far as the list reaches.
    pub(crate) fn go(&mut self, step: Step, length: usize, height: usize) {
        let page = height.saturating_sub(1).max(1);
        self.index = match step {
            Step::Up => self.index.saturating_sub(1),
            Step::Down => self.index + 1,
            Step::PageUp => self.index.saturating_sub(page),
            Step::PageDown => self.index + page,
            Step::Top => 0,
            Step::Bottom => usize::MAX,
        };
        self.fit(length, height);
    }

    /// Selects a line.
    pub(crate) fn select(&mut self, index: usize, length: usize, height: usize) {
        self.index = index;
        self.fit(length, height);
    }

    /// Keeps the selected line in the list and in sight.
    pub(crate) fn fit(&mut self, length: usize, height: usize) {
        self.index = self.index.min(length.saturating_sub(1));
        let height = height.max(1);
        self.top = self.top.min(length.saturating_sub(height));
        if self.index < self.top {
            self.top = self.index;
        }
        if self.index >= self.top + height {
            self.top = self.index + 1 - height;
        }
    }
}

/// Goes up or down in a text of which so many lines are seen.
pub(crate) fn scroll(top: &mut usize, step: Step, length: usize, height: usize) {
    let page = height.saturating_sub(1).max(1);
    let last = length.saturating_sub(height);
    let to = match step {
        Step::Up => top.saturating_sub(1),
        Step::Down => *top + 1,
        Step::PageUp => top.saturating_sub(page),
        Step::PageDown => *top + page,
        Step::Top => 0,
        Step::Bottom => last,
    };
    *top = to.min(last);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_keeps_a_line_of_the_one_before() {
        let mut cursor = Cursor::default();
        cursor.go(Step::PageDown, 100, 10);
        assert_eq!(cursor, Cursor { index: 9, top: 0 });
        cursor.go(Step::PageDown, 100, 10);
        assert_eq!(cursor, Cursor { index: 18, top: 9 });
        cursor.go(Step::Bottom, 100, 10);
        assert_eq!(cursor, Cursor { index: 99, top: 90 });
    }

    #[test]
    fn a_text_goes_on_from_its_end_at_once() {
        let mut top = 0;
        scroll(&mut top, Step::Bottom, 50, 20);
        assert_eq!(top, 30);
        scroll(&mut top, Step::Down, 50, 20);
        assert_eq!(top, 30);
        scroll(&mut top, Step::PageUp, 50, 20);
        assert_eq!(top, 11);
        // What became shorter meanwhile is still seen.
        scroll(&mut top, Step::Down, 5, 20);
        assert_eq!(top, 0);
    }

    proptest! {
        #[test]
        fn the_selected_line_exists_and_is_seen(
            steps in proptest::collection::vec((0usize..6, 0usize..40, 1usize..30), 1..60),
        ) {
            let mut cursor = Cursor::default();
            for (step, length, height) in steps {
                let all = [Step::Up, Step::Down, Step::PageUp, Step::PageDown, Step::Top, Step::Bottom];
                cursor.go(all[step], length, height);
                prop_assert!(cursor.index < length.max(1));
                prop_assert!(cursor.top <= cursor.index && cursor.index < cursor.top + height);
            }
        }
    }
}
