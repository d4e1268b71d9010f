//! Names with their values, one below the other: something looked at closely.

use ratatui::style::Style;

use crate::theme::Theme;
use crate::view::canvas::Canvas;

/// A name and a value.
pub(crate) type Detail = (&'static str, String, Style);

/// Draws those that are seen where the text is scrolled so far.
pub(crate) fn draw(
    lines: &[Detail],
    top: usize,
    values: u16,
    theme: Theme,
    canvas: &mut Canvas<'_>,
) {
    let height = usize::from(canvas.height());
    let top = top.min(lines.len().saturating_sub(height));
    for (y, (name, value, style)) in (0..).zip(lines.iter().skip(top).take(height)) {
        canvas.put(1, y, name, theme.label());
        canvas.put(values, y, value, *style);
    }
}
