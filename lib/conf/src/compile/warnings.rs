//! What is accepted and still hardly meant.

use std::collections::BTreeSet;

use super::network::Network;
use super::services::{endpoint_of, weight_of};
use super::values::number;
use crate::diagnostic::Sink;
use crate::schema::{Kind, Parsed, Type};
use crate::tree::{Item, Object, of_kind};

/// Looks at everything that is without mistakes.
pub(super) fn check(objects: &[Object], network: &Network<'_>, sink: &mut Sink) {
    unused(objects, sink);
    for service in of_kind(objects, Kind::Service) {
        weights(service, sink);
        sessions(objects, service, network, sink);
        session_log(objects, service, sink);
        ways(objects, service, network, sink);
    }
}

/// A profile or pool that nothing refers to is often one whose name was to be written elsewhere.
fn unused(objects: &[Object], sink: &mut Sink) {
    let values = objects.iter().flat_map(Object::values);
    let references = values.flat_map(|(key, items)| {
        let kind = if let Type::Reference(kind) = key.of {
            Some(kind)
        } else {
            None
        };
        let names = items.iter().filter_map(Item::as_text);
        names.filter_map(move |name| Some((kind?, name)))
    });
    let used: BTreeSet<(Kind, &str)> = references.collect();
    for kind in [Kind::LipPool, Kind::Health, Kind::Synproxy, Kind::Defence] {
        for object in of_kind(objects, kind) {
            if used.contains(&(kind, &object.name)) {
                continue;
            }
            let word = object.spec.word;
            sink.warn(
                object.place(),
                format!("{} is used by no service", object.title()),
                format!("`{word} = {}` in a [service] refers to it", object.name),
            );
        }
    }
}

fn weights(service: &Object, sink: &mut Sink) {
    let reals = service.all("real");
    if !reals.is_empty() && reals.iter().all(|real| weight_of(real) == 0) {
        sink.warn(
            service.place(),
            format!("no real server of {} takes new sessions", service.title()),
            "every weight is 0",
        );
    }
}

/// A limit above what the tables hold is never reached.
fn sessions(objects: &[Object], service: &Object, network: &Network<'_>, sink: &mut Sink) {
    let (Some(item), Some((workers, _))) = (service.one("max-sessions"), network.cpus) else {
        return;
    };
    let each = of_kind(objects, Kind::Workers).find_map(|workers| number(workers, "sessions"));
    let (Parsed::Number(most), Some(place), Some(each)) = (&item.parsed, item.place, each) else {
        return;
    };
    let all = each * workers as u64;
    if *most > all {
        let title = service.title();
        sink.warn(
            place,
            format!("`max-sessions` of {title} is more than there is room for"),
            format!("{workers} workers with {each} sessions each hold {all}"),
        );
    }
}

/// What a real server answers to a LIP must come in by the port that has it.
fn ways(objects: &[Object], service: &Object, network: &Network<'_>, sink: &mut Sink) {
    let pool = service.one("lip-pool").and_then(Item::as_text);
    let mut pools = of_kind(objects, Kind::LipPool);
    let pool = pools.find(|one| Some(one.name.as_str()) == pool);
    let Some(home) = pool.and_then(|pool| pool.one("port")?.as_text()) else {
        return;
    };
    for key in ["real", "sorry"] {
        for item in service.all(key) {
            let (Some((ip, port)), Some(place)) = (endpoint_of(item), item.place) else {
                continue;
            };
            let Some(way) = network.port_to(ip).filter(|way| *way != home) else {
                continue;
            };
            let message =
                format!("{ip}:{port} is reached by port {way}, and its LIPs are on port {home}");
            let note = "answers that come in by another port than the LIPs' are dropped (martian)";
            sink.warn(place, message, note);
        }
    }
}

/// A session log that no receiver takes is written nowhere.
fn session_log(objects: &[Object], service: &Object, sink: &mut Sink) {
    let Some(item) = service.one("session-log").filter(|it| it.text != "off") else {
        return;
    };
    let receivers = || of_kind(objects, Kind::Syslog);
    let takes = |receiver: &Object| {
        let events = receiver.all("events");
        events.iter().any(|it| it.text == "session")
    };
    let Some(place) = item.place.filter(|_| !receivers().any(takes)) else {
        return;
    };
    let note = match receivers().next() {
        None => "there is no [syslog] section".to_owned(),
        Some(receiver) => format!("e.g. {} has no `events = session`", receiver.title()),
    };
    let message = format!("nobody takes the session log of {}", service.title());
    sink.warn(place, message, note);
}
