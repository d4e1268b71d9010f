//! The session log as events.

use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};

use weir_director::{SessionChange, SessionRecord};
use weir_model::{EventClass, Severity};

use crate::event::EventRecord;

/// Returns the code of a change.
pub(super) fn code(change: SessionChange) -> &'static str {
    match change {
        SessionChange::Opened => "session-opened",
        SessionChange::Ended(_) => "session-ended",
    }
}

/// Returns when it happened.
pub(super) fn moment(record: &SessionRecord) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(record.wall_ms)
}

/// Describes what became of a session of this service.
pub(super) fn describe(record: &SessionRecord, service: &str) -> EventRecord {
    let client = endpoint(record.client);
    let (what, end) = match record.change {
        SessionChange::Opened => ("opened".to_owned(), None),
        SessionChange::Ended(why) => {
            let lasted = Duration::from_millis(record.lasted_ms.into());
            let lasted = humantime::format_duration(lasted);
            let what = format!("ended after {lasted} ({})", why.name());
            (what, Some(why))
        }
    };
    let text = format!("session of {client} with {service} {what}");
    let event = EventRecord::new(
        EventClass::Session,
        Severity::Info,
        code(record.change),
        text,
    );
    let event = event
        .field("service", service)
        .field("protocol", record.protocol.name())
        .field("client", client)
        .field("listen", endpoint(record.vip))
        .field("lip", endpoint(record.lip))
        .field("real", endpoint(record.real));
    match end {
        None => event,
        Some(why) => event
            .field("lasted_ms", record.lasted_ms)
            .field("reason", why.name()),
    }
}

fn endpoint((address, port): (Ipv4Addr, u16)) -> String {
    format!("{address}:{port}")
}
