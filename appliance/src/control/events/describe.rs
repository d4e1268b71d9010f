//! What happened on a worker, as an event for people and programs.

use std::net::SocketAddr;

use weir_model::{DropReason, Event, EventClass, ServiceId, Severity, Snapshot};
use weir_wire::EthAddr;

use crate::event::EventRecord;

/// Describes what happened on a worker.
pub(super) fn describe(worker: usize, event: &Event, snapshot: &Snapshot) -> EventRecord {
    let record = match event {
        Event::PoolNearlyExhausted {
            pool, used, total, ..
        } => {
            let pool = snapshot
                .pools
                .get(pool.index())
                .map_or("?", |pool| pool.name.as_str());
            let sentence = format!(
                "pool {pool} has {used} of {total} ports towards one real server in use on \
                 worker {worker}; give it more addresses"
            );
            warning(EventClass::System, "pool-nearly-exhausted", sentence)
                .field("pool", pool)
                .field("used", used)
                .field("total", total)
        }
        Event::Refused {
            service,
            reason,
            client,
            count,
            ..
        } => {
            let service = service_name(snapshot, *service);
            let example = Example {
                worker,
                reason: *reason,
                client: *client,
            };
            return refused(service, *count, *count, Some(&example));
        }
        Event::AddressConflict { address, mac, .. } => {
            let mac = EthAddr(*mac);
            let sentence = format!("{mac} also claims {address}, which is ours");
            warning(EventClass::Security, "address-conflict", sentence)
                .field("address", address)
                .field("mac", mac)
        }
        Event::FloodBegan {
            service,
            unanswered,
            half_open,
            ..
        } => {
            let service = service_name(snapshot, *service);
            let sentence = format!(
                "service {service} answers SYNs with cookies: worker {worker} saw {unanswered} \
                 unanswered SYN/s and {half_open} sessions half open"
            );
            warning(EventClass::Security, "flood-began", sentence)
                .field("service", service)
                .field("syn_per_s", unanswered)
                .field("half_open", half_open)
        }
        Event::FloodEnded {
            service,
            peak,
            lasted_ms,
            ..
        } => {
            let service = service_name(snapshot, *service);
            let seconds = lasted_ms.saturating_add(500) / 1000;
            let sentence = format!(
                "service {service} no longer answers SYNs with cookies: the flood lasted \
                 {seconds} s and had {peak} SYN/s at most"
            );
            let class = EventClass::Security;
            EventRecord::new(class, Severity::Notice, "flood-ended", sentence)
                .field("service", service)
                .field("peak_syn_per_s", peak)
                .field("lasted_s", seconds)
        }
        Event::Internal { .. } => {
            let sentence = format!("worker {worker} failed in a packet and dropped it");
            EventRecord::new(EventClass::System, Severity::Error, "internal", sentence)
        }
    };
    record.field("worker", worker)
}

/// A session that was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Example {
    /// Who refused it.
    pub(crate) worker: usize,
    /// Why.
    pub(crate) reason: DropReason,
    /// Whose it would have been.
    pub(crate) client: SocketAddr,
}

/// Describes so many refused sessions of a service, of so many since the daemon's start, by one of them.
pub(crate) fn refused(
    service: &str,
    count: u64,
    total: u64,
    example: Option<&Example>,
) -> EventRecord {
    let sessions = match count {
        1 => "a session".to_owned(),
        _ => format!("{count} sessions"),
    };
    let mut sentence = format!("service {service} refused {sessions}");
    if let Some(Example { reason, client, .. }) = example {
        let of = if count == 1 { " of" } else { ", one of" };
        sentence = format!("{sentence}{of} {client}: {}", reason.label());
    }
    let record = warning(EventClass::Security, "session-refused", sentence)
        .field("service", service)
        .field("count", count)
        .field("total", total);
    let Some(example) = example else {
        return record;
    };
    record
        .field("reason", example.reason.label())
        .field("client", example.client)
        .field("worker", example.worker)
}

fn warning(class: EventClass, code: &'static str, sentence: String) -> EventRecord {
    EventRecord::new(class, Severity::Warning, code, sentence)
}

fn service_name(snapshot: &Snapshot, id: ServiceId) -> &str {
    let service = snapshot.services.get(id.index());
    service.map_or("?", |service| service.name.as_str())
}
