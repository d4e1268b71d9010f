//! Reload: what of a new snapshot can be applied while packets flow, and in which order.

use std::collections::BTreeMap;
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
    let services = difference(old.services.iter(), new.services.iter(), |s| s.name.clone());
    let pools = difference(old.pools.iter(), new.pools.iter(), |p| p.name.clone());
    let ports = difference(old.ports.iter(), new.ports.iter(), |p| p.name.clone());
    let routes = difference(old.routes.iter(), new.routes.iter(), |r| {
        r.prefix.to_string()
    });
    let receivers = difference(old.syslog.iter(), new.syslog.iter(), |s| s.name.clone());
    let mut changes = Vec::new();
    for (kind, differ) in [
        ("service", services),
        ("lip-pool", pools),
        ("port", ports),
        ("route", routes),
        ("syslog", receivers),
    ] {
        let differ = differ.into_iter();
        changes.extend(differ.map(|(sign, name)| format!("{sign}{kind} {name}")));
    }
    for (kind, is_other) in [
        ("node", old.node != new.node),
        ("metrics", old.metrics != new.metrics),
    ] {
        if is_other {
            changes.push(format!("~{kind}"));
        }
    }
    if changes.is_empty() {
        // Such as a profile that no service uses.
        changes.push("nothing that is in use".to_owned());
    }
    changes.join(", ")
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

fn difference<'a, T: PartialEq + 'a>(
    old: impl Iterator<Item = &'a T>,
    new: impl Iterator<Item = &'a T>,
    name: impl Fn(&T) -> String,
) -> Vec<(char, String)> {
    let mut before: BTreeMap<String, &T> = old.map(|object| (name(object), object)).collect();
    let mut changes = Vec::new();
    for object in new {
        let name = name(object);
        match before.remove(&name) {
            None => changes.push(('+', name)),
            Some(old) if old != object => changes.push(('~', name)),
            Some(_) => {}
        }
    }
    changes.extend(before.into_keys().map(|name| ('-', name)));
    changes
}

#[cfg(test)]
mod tests {
    use weir_testkit::{snapshot, snapshot_after};

    use super::*;

    const CONF: &str = "
[port wan]
device = wan
driver = af-xdp
address = 10.80.0.1/24
[workers]
sessions = 1k
[lip-pool blue]
port = wan
address = 10.80.0.200
[service web]
listen = 10.80.0.100:80/tcp
lip-pool = blue
real = 10.80.0.11:80
";

    /// What becomes of a file in which one thing stands for another.
    fn edited(from: &str, to: &str) -> (Snapshot, Snapshot) {
        assert!(CONF.contains(from));
        let old = snapshot("test.conf", CONF).unwrap();
        let new = snapshot_after("test.conf", &CONF.replace(from, to), &old).unwrap();
        (old, new)
    }

    #[test]
    fn what_needs_a_restart_is_named_by_its_key() {
        for (from, to, key) in [
            ("driver = af-xdp", "driver = af-packet", "[port wan] driver"),
            ("driver = af-xdp", "queues = 2", "[port wan] driver"),
            ("device = wan", "device = eth7", "[port wan] device"),
            (
                "address = 10.80.0.1/24",
                "queues = 2\naddress = 10.80.0.1/24",
                "[port wan] queues",
            ),
            ("sessions = 1k", "sessions = 2k", "[workers] sessions"),
            (
                "sessions = 1k",
                "sessions = 1k\npoll = busy",
                "[workers] poll",
            ),
            (
                "[workers]",
                "[control]\nsocket = /run/x.sock role=viewer\n[workers]",
                "[control]",
            ),
            (
                "[workers]",
                "[port lan]\ndevice = lan\n[workers]",
                "[port lan] is new and",
            ),
        ] {
            let (old, new) = edited(from, to);
            let sentence = needs_restart(&old, &new).unwrap();
            assert!(
                sentence.starts_with(&format!("{key} cannot change")),
                "{sentence}"
            );
        }
        let (old, new) = edited("[workers]", "[port lan]\ndevice = lan\n[workers]");
        let sentence = needs_restart(&new, &old).unwrap();
        assert!(sentence.starts_with("[port lan] is gone and"), "{sentence}");
    }

    #[test]
    fn all_but_devices_and_workers_changes_without_a_restart_and_is_told() {
        for (from, to, told) in [
            ("10.80.0.11:80", "10.80.0.12:80", "~service web"),
            (
                "[service web]",
                "[service www]",
                "+service www, -service web",
            ),
            ("10.80.0.200", "10.80.0.200-10.80.0.209", "~lip-pool blue"),
            (
                "10.80.0.1/24",
                "10.80.0.1/24\naddress = 10.90.0.1/24",
                "~port wan",
            ),
            (
                "[workers]",
                "[node]\nname = other\n[route 10.99.0.0/16]\nvia = 10.80.0.9\nport = wan\n[workers]",
                "+route 10.99.0.0/16, ~node",
            ),
            (
                "[workers]",
                "[syslog siem]\nserver = 10.80.0.8:514\ntransport = udp\n[workers]",
                "+syslog siem",
            ),
            (
                "[workers]",
                "[health unused]\ntype = tcp\n[workers]",
                "nothing that is in use",
            ),
        ] {
            let (old, new) = edited(from, to);
            assert_eq!(needs_restart(&old, &new), None, "{to}");
            assert_eq!(summary(&old, &new), told);
        }
    }

    #[test]
    fn in_between_both_the_old_and_the_new_addresses_are_owned() {
        let (old, new) = edited("10.80.0.100:80", "10.80.0.101:80");
        let (before, after) = (old.owned_addresses(), new.owned_addresses());
        let meanwhile = owned_meanwhile(&before, &after);
        assert_eq!((before.len(), after.len(), meanwhile.len()), (2, 2, 3));
        assert!(
            before
                .iter()
                .chain(&after)
                .all(|address| meanwhile.contains(address))
        );
    }
}
