//! Reload: what of a new snapshot can be applied while packets flow, and in which order.

use std::fmt::Write as _;
use std::net::IpAddr;

use weir_model::{Port, Slots, Snapshot};

/// Says which key of the new file asks for something that needs a restart; none where the whole
/// of it can be applied.
pub(crate) fn needs_restart(old: &Snapshot, new: &Snapshot) -> Option<String> {
    let key = changed_port(&old.ports, &new.ports)
        .or_else(|| changed_workers(old, new))
        .or_else(|| (old.control != new.control).then(|| "[control]".to_owned()))?;
    Some(format!(
        "{key} cannot change while the daemon runs; restart it to apply this file"
    ))
}

/// What drivers must own while some workers have the old snapshot and some the new one.
pub(crate) fn owned_meanwhile(old: &[IpAddr], new: &[IpAddr]) -> Vec<IpAddr> {
    let mut all = [old, new].concat();
    all.sort_unstable();
    all.dedup();
    all
}

/// Says in a few words what a reload changed.
pub(crate) fn summary(old: &Snapshot, new: &Snapshot) -> String {
    let mut text = String::new();
    let services = difference(&old.services, &new.services, |s| s.name.as_str());
    let pools = difference(&old.pools, &new.pools, |p| p.name.as_str());
    for (kind, changes) in [("service", services), ("lip-pool", pools)] {
        for (sign, name) in changes {
            let _ = write!(
                text,
                "{}{sign}{kind} {name}",
                if text.is_empty() { "" } else { ", " }
            );
        }
    }
    if text.is_empty() {
        text.push_str("no service or pool changed");
    }
    text
}

fn changed_port(old: &Slots<Port>, new: &Slots<Port>) -> Option<String> {
    for port in new.iter() {
        let Some(before) = old.iter().find(|before| before.name == port.name) else {
            return Some(format!("[port {}] is new and", port.name));
        };
        let key = [
            (before.device != port.device, "device"),
            (before.driver != port.driver, "driver"),
            (before.queues != port.queues, "queues"),
        ]
        .into_iter()
        .find_map(|(changed, key)| changed.then_some(key));
        if let Some(key) = key {
            return Some(format!("[port {}] {key}", port.name));
        }
    }
    let gone = old
        .iter()
        .find(|before| new.iter().all(|port| port.name != before.name));
    gone.map(|port| format!("[port {}] is gone and", port.name))
}

fn changed_workers(old: &Snapshot, new: &Snapshot) -> Option<String> {
    let (old, new) = (&old.workers, &new.workers);
    let key = [
        (old.cpus != new.cpus, "cpus"),
        (old.burst != new.burst, "burst"),
        (old.sessions != new.sessions, "sessions"),
        (old.poll != new.poll, "poll"),
    ]
    .into_iter()
    .find_map(|(changed, key)| changed.then_some(key))?;
    Some(format!("[workers] {key}"))
}

fn difference<'a, T: PartialEq>(
    old: &'a Slots<T>,
    new: &'a Slots<T>,
    name: impl Fn(&'a T) -> &'a str,
) -> Vec<(char, &'a str)> {
    let mut changes = Vec::new();
    for object in new.iter() {
        match old.iter().find(|before| name(before) == name(object)) {
            None => changes.push(('+', name(object))),
            Some(before) if before != object => changes.push(('~', name(object))),
            Some(_) => {}
        }
    }
    for object in old.iter() {
        if new.iter().all(|after| name(after) != name(object)) {
            changes.push(('-', name(object)));
        }
    }
    changes
}
