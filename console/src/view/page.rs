//! A text over the open screen.

use crate::model::{Model, Page};
use crate::view::canvas::Canvas;
use crate::view::header::cut;

/// Draws it.
pub(crate) fn draw(model: &Model, page: &Page, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    canvas.style(0, 0, canvas.width(), theme.heading());
    canvas.put(1, 0, &page.title, theme.heading());
    let height = usize::from(canvas.height().saturating_sub(1));
    let room = usize::from(canvas.width().saturating_sub(1));
    let seen = page.lines.iter().skip(page.top).take(height);
    for (y, line) in (1..).zip(seen) {
        canvas.put(1, y, &cut(line, room), theme.plain());
    }
}

/// Returns which lines are shown of how many.
pub(crate) fn status(model: &Model, page: &Page) -> String {
    let count = page.lines.len();
    let last = (page.top + model.body_height().saturating_sub(1)).min(count);
    format!("lines {} to {last} of {count}", (page.top + 1).min(count))
}
