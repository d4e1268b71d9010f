//! The events screen.

use serde_json::Value;
use weir_control::{EventRow, Filter, Request, What};

use crate::model::events::ALL;
use crate::model::filter::TextFilter;
use crate::model::list::{Step, scroll};
use crate::model::{After, Model, Tone};
use crate::update::screen::{Effects, Screen};
use crate::view::events::length;

/// It shows what happened.
pub(crate) struct Events;

impl Screen for Events {
    fn step(&self, model: &mut Model, step: Step) -> Effects {
        // Closely, a page goes through the facts of an event, and a line to the next one.
        if model.events.zoom && matches!(step, Step::PageUp | Step::PageDown) {
            let (length, height) = (length(model), model.body_height());
            scroll(&mut model.events.zoom_top, step, length, height);
            return Effects::new();
        }
        let height = model.list_height();
        model.events.go(step, height);
        // Whoever goes to the beginning wants all that is kept.
        if step == Step::Top && model.events.may_have_more() {
            model.events.asked_all = true;
            return ask_all(model);
        }
        Effects::new()
    }

    fn rebuild(&self, model: &mut Model) {
        let height = model.list_height();
        model.events.rebuild(height);
    }

    fn told(&self, model: &mut Model, what: What, _: &Filter) {
        let height = model.list_height();
        let Model { events, data, .. } = model;
        if let (What::Events, Some(told)) = (what, &data.events) {
            events.arrived(&told.value, height);
        }
    }

    fn filter<'a>(&self, model: &'a mut Model) -> Option<&'a mut TextFilter> {
        Some(&mut model.events.filter)
    }

    fn open(&self, model: &mut Model) -> Effects {
        let events = &mut model.events;
        events.zoom = events.at_cursor().is_some();
        // Whoever reads one does not want the next.
        events.follows &= !events.zoom;
        Effects::new()
    }

    fn close(&self, model: &mut Model) -> bool {
        let events = &mut model.events;
        if !events.zoom {
            return false;
        }
        events.zoom = false;
        let is_last = events.cursor.index + 1 >= events.lines.len();
        events.follows = is_last && events.unseen == 0;
        true
    }
}

fn ask_all(model: &mut Model) -> Effects {
    let filter = Filter {
        limit: Some(ALL),
        ..Filter::default()
    };
    let what = What::Events;
    let request = Request::Show { what, filter };
    model.ask("all events".to_owned(), request, After::Events)
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
