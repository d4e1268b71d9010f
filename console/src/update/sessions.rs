//! The sessions screen.

use ipnet::Ipv4Net;
use serde_json::Value;
use weir_control::{ExplainRow, Filter, Flags, Question, Request, ServiceAddress, What, Whither};

use crate::model::dialog::Choice;
use crate::model::filter::{Order, TextFilter};
use crate::model::list::{Step, scroll};
use crate::model::sessions::{Key, address};
use crate::model::{After, Model, Tone};
use crate::units::{exact, plural};
use crate::update::dialog::defence;
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

    fn deny(&self, model: &mut Model) {
        let Some(client) = chosen(model).and_then(|(client, _)| address(&client)) else {
            return;
        };
        let std::net::IpAddr::V4(client) = client.ip() else {
            model.say(Tone::Warn, "only prefixes of IPv4 can be denied by command");
            return;
        };
        let rows = &model.sessions.rows;
        let of = plural(rows.len() as u64, "session");
        let choices = [32, 24].into_iter().filter_map(|length| {
            let network = Ipv4Net::new(client, length).ok()?.trunc();
            let is_inside = |text: &str| match address(text)?.ip() {
                std::net::IpAddr::V4(client) => network.contains(&client).then_some(()),
                std::net::IpAddr::V6(_) => None,
            };
            let count = rows.iter().filter_map(|row| is_inside(&row.client)).count();
            Some(Choice {
                network: network.to_string(),
                cost: format!("{} of {of} that are listed", exact(count as u64)),
            })
        });
        let choices = choices.collect();
        defence::deny(model, choices);
    }

    fn capture(&self, model: &mut Model) {
        if let Some((client, service)) = chosen(model) {
            defence::capture(model, Some(service), Some(&client));
        }
    }
}

/// Returns the client and the service of the session that keys act on: the one that is looked at, or
/// else the selected one.
fn chosen(model: &Model) -> Option<(String, String)> {
    if let Some(zoom) = &model.sessions.zoom {
        return Some((zoom.key.client.clone(), zoom.service.clone()));
    }
    let row = model.sessions.at_cursor()?;
    Some((row.client.clone(), row.service.clone()))
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
            model.ask(what, Request::Explain(question), After::Explain)
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
