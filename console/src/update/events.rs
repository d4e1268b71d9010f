//! Keys on the events screen.

use serde_json::Value;
use weir_control::{EventRow, Filter, Request, What};

use crate::keymap::Action;
use crate::model::events::ALL;
use crate::model::list::Step;
use crate::model::services::TextFilter;
use crate::model::{After, Effect, Model, Tone};
use crate::update::services::step;

/// Does what a key means there.
pub(crate) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    let height = model.list_height();
    if model.events.zoom && matches!(action, Action::PageUp | Action::PageDown) {
        scroll(model, action == Action::PageDown);
        return Vec::new();
    }
    let events = &mut model.events;
    if let Some(step) = step(action) {
        events.go(step, height);
        // Whoever goes to the beginning wants all that is kept.
        if step == Step::Top && events.may_have_more() {
            events.asked_all = true;
            return ask_all(model);
        }
        return Vec::new();
    }
    match action {
        Action::Open => {
            events.zoom = events.at_cursor().is_some();
            // Whoever reads one does not want the next.
            events.follows &= !events.zoom;
        }
        Action::Back => {
            if events.zoom {
                events.zoom = false;
                let is_last = events.cursor.index + 1 >= events.lines.len();
                events.follows = is_last && events.unseen == 0;
            } else {
                events.filter = TextFilter::default();
                events.rebuild(height);
            }
        }
        Action::Go(_)
        | Action::NextScreen
        | Action::PreviousScreen
        | Action::Up
        | Action::Down
        | Action::PageUp
        | Action::PageDown
        | Action::Top
        | Action::Bottom
        | Action::Fold
        | Action::Unfold
        | Action::FoldAll
        | Action::Span
        | Action::Figure
        | Action::Sort
        | Action::ReverseSort
        | Action::Filter
        | Action::InverseFilter
        | Action::Pause
        | Action::Faster
        | Action::Slower
        | Action::Redraw
        | Action::CommandLine
        | Action::Help
        | Action::Undo
        | Action::Leave
        | Action::Drain
        | Action::Enable
        | Action::Weight
        | Action::Synproxy
        | Action::Part
        | Action::Edit
        | Action::Apply
        | Action::Confirm
        | Action::Rollback
        | Action::Discard
        | Action::Maintenance => {}
    }
    Vec::new()
}

/// Scrolls the facts of an event.
fn scroll(model: &mut Model, down: bool) {
    let height = model.body_height();
    let page = height.saturating_sub(1).max(1);
    let most = crate::view::events::length(model).saturating_sub(height);
    let top = model.events.zoom_top;
    model.events.zoom_top = if down {
        (top + page).min(most)
    } else {
        top.saturating_sub(page)
    };
}

fn ask_all(model: &mut Model) -> Vec<Effect> {
    let filter = Filter {
        limit: Some(ALL),
        ..Filter::default()
    };
    let what = What::Events;
    let request = Request::Show { what, filter };
    model.ask("all events".to_owned(), request, None, After::Events)
}

/// Takes all events that the daemon keeps.
pub(crate) fn all_arrived(model: &mut Model, rows: Result<Vec<Value>, String>) {
    let rows = rows.and_then(|rows| {
        let rows = rows.into_iter().map(serde_json::from_value);
        let rows: Result<Vec<EventRow>, _> = rows.collect();
        rows.map_err(|error| format!("a row of the daemon cannot be read: {error}"))
    });
    let height = model.list_height();
    match rows {
        Ok(rows) => model.events.all_arrived(&rows, height),
        Err(sentence) => {
            model.events.asked_all = false;
            model.say(Tone::Bad, format!("all events: {sentence}"));
        }
    }
}

/// Sets the filter.
pub(crate) fn filter(model: &mut Model, filter: TextFilter) {
    let height = model.list_height();
    model.events.filter = filter;
    model.events.rebuild(height);
}

/// Takes what the daemon said.
pub(crate) fn arrived(model: &mut Model) {
    let height = model.list_height();
    let Model { events, data, .. } = model;
    if let Some(told) = &data.events {
        events.arrived(&told.value, height);
    }
}

/// Keeps the selection in sight.
pub(crate) fn refit(model: &mut Model) {
    let height = model.list_height();
    let length = model.events.lines.len();
    model.events.cursor.fit(length, height);
}
