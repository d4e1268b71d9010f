//! From what is known to what is seen: pure.

pub(crate) mod canvas;
pub(crate) mod config;
pub(crate) mod details;
pub(crate) mod dialog;
pub(crate) mod events;
pub(crate) mod fields;
pub(crate) mod flood;
pub(crate) mod footer;
pub(crate) mod graph;
pub(crate) mod header;
pub(crate) mod help;
pub(crate) mod page;
pub(crate) mod pools;
pub(crate) mod ports;
pub(crate) mod services;
pub(crate) mod sessions;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use crate::model::screen::ScreenId;
use crate::model::{FRAME_LINES, HEADER_LINES, LEAST, Mode, Model};
use crate::units::folded;
use crate::view::canvas::Canvas;

/// Draws everything; returns where the cursor is, where something is typed.
pub(crate) fn draw(model: &Model, buffer: &mut Buffer) -> Option<Position> {
    let area = *buffer.area();
    let mut canvas = Canvas::new(buffer, area);
    if !model.is_shown() {
        too_small(model, &mut canvas);
        return None;
    }
    header::draw(model, &mut canvas);
    let body = Rect {
        y: HEADER_LINES,
        height: area.height - FRAME_LINES,
        ..area
    };
    let footer = Rect {
        y: area.height - 3,
        height: 3,
        ..area
    };
    let mut edited = None;
    match &model.mode {
        Mode::Help { .. } => help::draw(model, &mut canvas.part(body)),
        Mode::Page(page) => page::draw(model, page, &mut canvas.part(body)),
        Mode::Editor => edited = config::draw(model, &mut canvas.part(body)),
        Mode::Screen | Mode::Filter { .. } | Mode::Command(_) | Mode::Dialog(_) => {
            screen(model, &mut canvas.part(body));
        }
    }
    let cursor = footer::draw(model, &mut canvas.part(footer));
    match &model.mode {
        Mode::Dialog(dialog) => Some(dialog::draw(model, dialog, &mut canvas.part(body))),
        Mode::Editor => cursor.or(edited),
        Mode::Screen
        | Mode::Filter { .. }
        | Mode::Command(_)
        | Mode::Help { .. }
        | Mode::Page(_) => cursor,
    }
}

/// The header as far as there are lines for it, and below it what is missing.
fn too_small(model: &Model, canvas: &mut Canvas<'_>) {
    let (width, height) = (canvas.width(), canvas.height());
    let head = height.saturating_sub(1).min(HEADER_LINES);
    header::draw(model, &mut canvas.inner(0, 0, width, head));
    let needs = format!("the console needs {} by {}", LEAST.0, LEAST.1);
    let room = usize::from(width.saturating_sub(2));
    let texts = [
        format!("{width} by {height}: {needs}; q leaves, r asks for the size"),
        format!("{needs}; q leaves"),
        format!("needs {} by {}", LEAST.0, LEAST.1),
    ];
    let below = usize::from(height - head);
    let folded = texts.iter().map(|text| folded(text, room));
    let Some(lines) = folded.into_iter().find(|lines| lines.len() <= below) else {
        return;
    };
    for (y, line) in (head..).zip(&lines) {
        canvas.put(1, y, line, model.theme.warn());
    }
}

fn screen(model: &Model, canvas: &mut Canvas<'_>) {
    match model.screen {
        ScreenId::Services => services::draw(model, canvas),
        ScreenId::Pools => pools::draw(model, canvas),
        ScreenId::Flood => flood::draw(model, canvas),
        ScreenId::Ports => ports::draw(model, canvas),
        ScreenId::Events => events::draw(model, canvas),
        ScreenId::Sessions => sessions::draw(model, canvas),
        ScreenId::Config => {
            config::draw(model, canvas);
        }
    }
}

/// Returns the line above the hints: what the open screen shows of what.
pub(crate) fn status(model: &Model) -> String {
    match model.screen {
        ScreenId::Services => services::status(model),
        ScreenId::Pools => pools::status(model),
        ScreenId::Flood => flood::status(model),
        ScreenId::Ports => ports::status(model),
        ScreenId::Events => events::status(model),
        ScreenId::Sessions => sessions::status(model),
        ScreenId::Config => config::status(model),
    }
}
