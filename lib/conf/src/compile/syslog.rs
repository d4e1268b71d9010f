//! Receivers of log messages: what cannot work, and what the snapshot gets of them.

use weir_model::{EventClass, Facility, Syslog, SyslogFormat, Transport};

use super::values::{named, number, text, word};
use crate::diagnostic::Sink;
use crate::schema::Kind;
use crate::tree::{Object, of_kind};

/// Checks that each receiver's keys fit its transport.
pub(super) fn check(objects: &[Object], sink: &mut Sink) {
    // What cannot be read is told first: keys that do not fit it may fit what was meant.
    if !sink.is_empty() {
        return;
    }
    for receiver in of_kind(objects, Kind::Syslog) {
        check_events(receiver, sink);
        let (Some(server), Some(transport)) =
            (text(receiver, "server"), word(receiver, "transport"))
        else {
            continue;
        };
        check_server(receiver, &server, transport, sink);
        check_ca_file(receiver, transport, sink);
    }
}

/// Returns every receiver, in the order of the file.
pub(super) fn receivers(objects: &[Object]) -> Option<Vec<Syslog>> {
    of_kind(objects, Kind::Syslog).map(receiver).collect()
}

fn receiver(object: &Object) -> Option<Syslog> {
    let events = object.all("events").iter();
    Some(Syslog {
        name: object.name.clone(),
        server: text(object, "server")?,
        transport: named(Transport::NAMES, word(object, "transport")?)?,
        ca_file: text(object, "ca-file"),
        format: named(SyslogFormat::NAMES, word(object, "format")?)?,
        facility: named(Facility::NAMES, word(object, "facility")?)?,
        events: events
            .map(|item| named(EventClass::NAMES, &item.text))
            .collect::<Option<_>>()?,
        queue: number(object, "queue")? as u32,
        budget: number(object, "budget")? as u32,
        session_budget: number(object, "session-budget")? as u32,
    })
}

fn check_server(receiver: &Object, server: &str, transport: &str, sink: &mut Sink) {
    let Some(place) = receiver.one("server").and_then(|item| item.place) else {
        return;
    };
    let is_path = server.starts_with('/');
    if is_path == (transport == "unix") {
        return;
    }
    let title = receiver.title();
    let note = if is_path {
        "write `transport = unix`, or HOST:PORT"
    } else {
        "write the path of the socket, e.g. /dev/log"
    };
    let message = format!("`server` of {title} does not fit `transport = {transport}`");
    sink.at(place, message, note);
}

fn check_events(receiver: &Object, sink: &mut Sink) {
    let all = receiver.all("events");
    for (at, item) in all.iter().enumerate() {
        let mut before = all.iter().take(at);
        if let (Some(place), true) = (item.place, before.any(|it| it.text == item.text)) {
            let title = receiver.title();
            let message = format!("`events = {}` of {title} is given twice", item.text);
            sink.at(place, message, "once is enough");
        }
    }
}

fn check_ca_file(receiver: &Object, transport: &str, sink: &mut Sink) {
    let title = receiver.title();
    let file = receiver.one("ca-file").and_then(|item| item.place);
    match (file, transport == "tls") {
        (Some(place), false) => sink.at(
            place,
            format!("`ca-file` of {title} does not fit `transport = {transport}`"),
            "only TLS checks certificates; write `transport = tls`",
        ),
        (None, true) => sink.at(
            receiver.place(),
            format!("{title} has `transport = tls` without `ca-file`"),
            "write `ca-file = ` and the file with the certificate that signs the server's",
        ),
        (Some(_), true) | (None, false) => {}
    }
}
