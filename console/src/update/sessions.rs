//! Keys on the sessions screen.

use serde_json::Value;
use weir_control::{ExplainRow, Filter, Flags, Question, Request, ServiceAddress, Whither};

use crate::keymap::Action;
use crate::model::list::Step;
use crate::model::services::TextFilter;
use crate::model::sessions::{Key, address};
use crate::model::{After, Effect, Model};
use crate::update::services::step;

/// Does what a key means there.
pub(crate) fn act(model: &mut Model, action: Action) -> Vec<Effect> {
    let height = model.list_height();
    let body = model.body_height();
    let sessions = &mut model.sessions;
    if let Some(step) = step(action) {
        match &mut sessions.zoom {
            Some(zoom) => {
                let page = body.saturating_sub(1);
                zoom.top = match step {
                    Step::Up => zoom.top.saturating_sub(1),
                    Step::Down => zoom.top + 1,
                    Step::PageUp => zoom.top.saturating_sub(page),
                    Step::PageDown => zoom.top + page,
                    Step::Top => 0,
                    Step::Bottom => usize::MAX,
                };
                let length = crate::view::sessions::length(model);
                if let Some(zoom) = &mut model.sessions.zoom {
                    zoom.top = zoom.top.min(length.saturating_sub(body));
                }
            }
            None => sessions.go(step, height),
        }
        return Vec::new();
    }
    match action {
        Action::Open => {
            if sessions.zoom.is_none() {
                sessions.open();
            }
            return explain(model);
        }
        Action::Back => {
            if sessions.zoom.take().is_none() {
                filter(model, TextFilter::default());
                settle(model);
            }
        }
        Action::Sort => {
            sessions.sort_next();
            sessions.rebuild(height);
        }
        Action::ReverseSort => {
            sessions.reverse = !sessions.reverse;
            sessions.rebuild(height);
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

/// Asks what would become of the next packet of the session that is looked at.
fn explain(model: &mut Model) -> Vec<Effect> {
    let Some(zoom) = &mut model.sessions.zoom else {
        return Vec::new();
    };
    let question = question(&zoom.key);
    match question {
        Ok(question) => {
            let what = format!("explain of {}", zoom.key.client);
            model.ask(what, Request::Explain(question), None, After::Explain)
        }
        Err(sentence) => {
            zoom.explained = Some(Err(sentence));
            Vec::new()
        }
    }
}

/// The tuple of a session as a question; its packets have the ACK flag.
fn question(key: &Key) -> Result<Question, String> {
    let client = address(&key.client);
    let client = client.ok_or_else(|| format!("`{}` is no address", key.client))?;
    let service = format!("{}/{}", key.listen, key.protocol);
    let service: Result<ServiceAddress, _> = service.parse();
    let flags: Result<Flags, _> = ".".parse();
    Ok(Question {
        client,
        service: Whither::Address(service.map_err(|error| error.to_string())?),
        flags: flags.map_err(|error| error.to_string())?,
        candidate: None,
    })
}

/// Takes the decisions about a session's next packet.
pub(crate) fn explained(model: &mut Model, request: &Request, rows: Result<Vec<Value>, String>) {
    let Some(zoom) = &mut model.sessions.zoom else {
        return;
    };
    // Somebody may look at another one by now.
    let is_it =
        matches!(request, Request::Explain(asked) if question(&zoom.key).as_ref() == Ok(asked));
    if !is_it {
        return;
    }
    zoom.explained = Some(rows.and_then(|rows| {
        let rows = rows.into_iter().map(serde_json::from_value);
        let rows: Result<Vec<ExplainRow>, _> = rows.collect();
        rows.map_err(|error| format!("a row of the daemon cannot be read: {error}"))
    }));
}

/// Sets the filter; the daemon is asked with it once it is typed.
pub(crate) fn filter(model: &mut Model, filter: TextFilter) {
    let height = model.list_height();
    model.sessions.filter = filter;
    model.sessions.rebuild(height);
}

/// Has the daemon narrow the sessions by the filter.
pub(crate) fn settle(model: &mut Model) {
    let Model { sessions, data, .. } = model;
    let services = data.services.as_ref();
    let services = services.map_or(&[][..], |told| &told.value);
    sessions.settle(|name| services.iter().any(|row| row.name == name));
}

/// Takes what the daemon said.
pub(crate) fn arrived(model: &mut Model) {
    let height = model.list_height();
    let Model { sessions, data, .. } = model;
    if let Some(told) = &data.sessions {
        let (filter, rows): &(Filter, _) = &told.value;
        sessions.arrived(filter, rows, height);
    }
}

/// Keeps the selection in sight.
pub(crate) fn refit(model: &mut Model) {
    let height = model.list_height();
    let length = model.sessions.lines.len();
    model.sessions.cursor.fit(length, height);
}
