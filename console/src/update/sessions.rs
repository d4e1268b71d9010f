//! The sessions screen.

use serde_json::Value;
use weir_control::{ExplainRow, Filter, Flags, Question, Request, ServiceAddress, What, Whither};

use crate::model::filter::{Order, TextFilter};
use crate::model::list::{Step, scroll};
use crate::model::sessions::{Key, address};
use crate::model::{After, Model};
use crate::update::screen::{Effects, Screen};
use crate::view::sessions::length;

/// It shows sessions.
pub(crate) struct Sessions;

impl Screen for Sessions {
    fn step(&self, model: &mut Model, step: Step) -> Effects {
        let (list, body) = (model.list_height(), model.body_height());
        let length = length(model);
        match &mut model.sessions.zoom {
            Some(zoom) => scroll(&mut zoom.top, step, length, body),
            None => model.sessions.go(step, list),
        }
        Effects::new()
    }

    fn rebuild(&self, model: &mut Model) {
        let height = model.list_height();
        model.sessions.rebuild(height);
    }

    fn told(&self, model: &mut Model, what: What, _: &Filter) {
        let height = model.list_height();
        let Model { sessions, data, .. } = model;
        if let (What::Sessions, Some(told)) = (what, &data.sessions) {
            let (filter, rows): &(Filter, _) = &told.value;
            sessions.arrived(filter, rows, height);
        }
    }

    fn filter<'a>(&self, model: &'a mut Model) -> Option<&'a mut TextFilter> {
        Some(&mut model.sessions.filter)
    }

    /// Has the daemon narrow the sessions by the filter.
    fn settle(&self, model: &mut Model) {
        let Model { sessions, data, .. } = model;
        sessions.settle(|name| data.service(name).is_some());
    }

    fn sorting<'a>(&self, model: &'a mut Model) -> Option<&'a mut dyn Order> {
        Some(&mut model.sessions.sorting)
    }

    fn open(&self, model: &mut Model) -> Effects {
        if model.sessions.zoom.is_none() {
            model.sessions.open();
        }
        explain(model)
    }

    fn close(&self, model: &mut Model) -> bool {
        model.sessions.zoom.take().is_some()
    }
}

/// Asks what would become of the next packet of the session that is looked at.
fn explain(model: &mut Model) -> Effects {
    let Some(zoom) = &mut model.sessions.zoom else {
        return Effects::new();
    };
    let question = question(&zoom.key);
    match question {
        Ok(question) => {
            let what = format!("explain of {}", zoom.key.client);
            model.ask(what, Request::Explain(question), None, After::Explain)
        }
        Err(sentence) => {
            zoom.explained = Some(Err(sentence));
            Effects::new()
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
