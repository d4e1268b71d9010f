//! Keys on a screen that is a text.

use crate::keymap::Action;
use crate::model::list::{Cursor, Step};
use crate::model::{Effect, Model, text};
use crate::update::services::step;

/// Does what a key means there.
pub(crate) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    let length = text::lines(model).map_or(0, |lines| lines.len());
    let height = model.body_height();
    if let Some(step) = step(action) {
        let mut cursor = Cursor {
            // The text goes, not a selection.
            index: match step {
                Step::Up | Step::PageUp | Step::Top => model.text.top,
                Step::Down | Step::PageDown | Step::Bottom => model.text.top + height.max(1) - 1,
            },
            top: model.text.top,
        };
        cursor.go(step, length, height);
        model.text.top = cursor.top;
    }
    if action == Action::Back {
        model.text.filter.text.clear();
    }
    Vec::new()
}
