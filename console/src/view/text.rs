//! A table of the daemon as `weir show` prints it.

use crate::model::{Model, text};
use crate::update::filter_of;
use crate::view::canvas::Canvas;
use crate::view::header::cut;

/// Draws it.
pub(crate) fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let Some(lines) = text::lines(model) else {
        canvas.put(1, 0, "the daemon has not told yet", theme.plain());
        return;
    };
    let height = usize::from(canvas.height());
    let room = usize::from(canvas.width().saturating_sub(1));
    let top = model.text.top.min(lines.len().saturating_sub(height));
    for (y, line) in lines.iter().skip(top).take(height).enumerate() {
        canvas.put(1, y as u16, &cut(line, room), theme.plain());
    }
}

/// Returns which lines are shown of how many.
pub(crate) fn status(model: &Model) -> String {
    let count = text::lines(model).map_or(0, |lines| lines.len());
    let last = (model.text.top + model.body_height()).min(count);
    let filter = filter_of(model);
    let filter = match (filter.text.as_str(), filter.inverse) {
        ("", _) => String::new(),
        (text, false) => format!("with {text}: "),
        (text, true) => format!("without {text}: "),
    };
    match count {
        0 => format!("{filter}no lines"),
        _ => format!("{filter}lines {} to {last} of {count}", model.text.top + 1),
    }
}
