//! From what is known to what is seen: pure.

pub(crate) mod canvas;
pub(crate) mod config;
pub(crate) mod details;
pub(crate) mod dialog;
pub(crate) mod events;
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
use crate::model::{FRAME_LINES, LEAST, Mode, Model};
use crate::view::canvas::Canvas;

/// Draws everything; returns where the cursor is, where something is typed.
pub(crate) fn draw(model: &Model, buffer: &mut Buffer) -> Option<Position> {
    let area = *buffer.area();
    let mut canvas = Canvas::new(buffer, area);
    header::draw(model, &mut canvas);
    if !model.is_shown() {
        let text = format!(
            "{} by {}: the console needs {} by {}; q leaves, r asks for the size",
            area.width, area.height, LEAST.0, LEAST.1
        );
        canvas.put(0, 3, &text, model.theme.warn());
        return None;
    }
    let body = Rect {
        y: 4,
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
