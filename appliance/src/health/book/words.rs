//! What is said of real servers.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_model::{EventClass, RealId, ServiceId, Severity, Snapshot};

use crate::event::EventRecord;
use crate::health::Finding;

/// Names of services in one sentence; there may be hundreds that share a real server.
const NAMES: usize = 5;

pub(super) fn turned(of: &str, now: &Finding, before: &Finding) -> EventRecord {
    if now.is_up {
        // By the clock that nobody sets.
        let down = now.since.time.since(before.since.time);
        let down = humantime::format_duration(Duration::from_secs(down.as_secs()));
        let text = format!("{of} is up again after {down}");
        return event(Severity::Notice, "real-up", text);
    }
    let error = now.last_error.as_deref().unwrap_or("no answer");
    let text = format!("{of} is down: {error}");
    event(Severity::Warning, "real-down", text)
}

pub(super) fn names(snapshot: &Snapshot, users: &[(ServiceId, RealId)]) -> String {
    let all: BTreeSet<&str> = users
        .iter()
        .filter_map(|(id, _)| snapshot.services.get(id.index()))
        .map(|service| service.name.as_str())
        .collect();
    let some: Vec<&str> = all.iter().copied().take(NAMES).collect();
    match all.len().saturating_sub(NAMES) {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

pub(super) fn event(severity: Severity, code: &'static str, text: String) -> EventRecord {
    EventRecord::new(EventClass::Health, severity, code, text)
}
