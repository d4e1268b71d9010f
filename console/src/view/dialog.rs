//! A question over the open screen.

use ratatui::layout::Position;

use crate::model::Model;
use crate::model::dialog::Dialog;
use crate::view::canvas::Canvas;

/// How much of what is typed is seen.
const FIELD: usize = 24;

/// Draws it in the middle; returns where the cursor is.
pub(crate) fn draw(model: &Model, dialog: &Dialog, canvas: &mut Canvas<'_>) -> Position {
    let theme = model.theme;
    let prompt = dialog.prompt.chars().count() + 1 + FIELD;
    let lines = dialog.lines.iter().map(|line| line.chars().count());
    let widest = lines
        .chain([prompt, dialog.title.chars().count() + 4])
        .max();
    let width = (widest.unwrap_or_default() as u16 + 6).clamp(56, canvas.width());
    let height = (dialog.lines.len() as u16 + 7).min(canvas.height());
    let x = (canvas.width() - width) / 2;
    let y = (canvas.height() - height) / 2;
    let mut window = canvas.inner(x, y, width, height);
    window.clear();
    border(model, &mut window);
    let title = format!(" {} ", dialog.title);
    let at = (width.saturating_sub(title.chars().count() as u16)) / 2;
    window.put(at, 0, &title, theme.strong());
    for (line, text) in dialog.lines.iter().enumerate() {
        let style = if line == 0 || text.starts_with("NO ") {
            theme.strong()
        } else {
            theme.plain()
        };
        let room = window.width().saturating_sub(6);
        window
            .inner(3, line as u16 + 2, room, 1)
            .put(0, 0, text, style);
    }
    let y = height.saturating_sub(3);
    let begin = window.put(3, y, &dialog.prompt, theme.plain()) + 1;
    let typed = dialog.typed.text();
    let first = (dialog.typed.at() + 1).saturating_sub(FIELD);
    let seen: String = typed.chars().skip(first).take(FIELD).collect();
    window.put(begin, y, &format!("{seen:_<FIELD$}"), theme.strong());
    if let Some(error) = &dialog.error {
        window.put(3, y + 1, error, theme.bad());
    }
    let area = window.area();
    Position {
        x: area.x + begin + (dialog.typed.at() - first) as u16,
        y: area.y + y,
    }
}

fn border(model: &Model, window: &mut Canvas<'_>) {
    let style = model.theme.plain();
    let (width, height) = (window.width(), window.height());
    let (across, down, corners) = if model.theme.utf8 {
        ('─', "│", ['┌', '┐', '└', '┘'])
    } else {
        ('-', "|", ['+'; 4])
    };
    let (right, bottom) = (width.saturating_sub(1), height.saturating_sub(1));
    for (y, ends) in [0, bottom].into_iter().zip(corners.chunks(2)) {
        window.run(0, y, width, across, style);
        for (x, corner) in [0, right].into_iter().zip(ends) {
            window.run(x, y, 1, *corner, style);
        }
    }
    for y in 1..bottom {
        window.put(0, y, down, style);
        window.put(right, y, down, style);
    }
}
