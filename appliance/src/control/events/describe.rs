//! What happened on a worker, as an event for people and programs.

use weir_model::{Event, EventClass, ServiceId, Severity, Snapshot};
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
            service, reason, ..
        } => {
            let service = service_name(snapshot, *service);
            let sentence = format!("service {service} refused a session: {}", reason.label());
            warning(EventClass::Security, "session-refused", sentence)
                .field("service", service)
                .field("reason", reason.label())
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

fn warning(class: EventClass, code: &'static str, sentence: String) -> EventRecord {
    EventRecord::new(class, Severity::Warning, code, sentence)
}

fn service_name(snapshot: &Snapshot, id: ServiceId) -> &str {
    let service = snapshot.services.get(id.index());
    service.map_or("?", |service| service.name.as_str())
}
