//! Profiles that services refer to by name: what cannot work, and what each service gets of them.

use std::collections::BTreeMap;

use ipnet::IpNet;
use weir_model::{
    BadAck, Check, ClientWindow, Defence, ExecCheck, Health, HttpCheck, Offer, PrefixRate, Refusal,
    Synproxy, SynproxyMode, TlsCheck, UdpCheck, WeightFrom,
};

use super::values::{bytes, duration, flag, named, number, text, value, word};
use crate::diagnostic::Sink;
use crate::schema::{DefaultValue, Kind, Parsed};
use crate::source::Place;
use crate::tree::{Item, Object, of_kind};

/// Checks every profile by itself, and the services that use one.
pub(super) fn check(objects: &[Object], sink: &mut Sink) {
    for profile in of_kind(objects, Kind::Health) {
        check_health(profile, sink);
    }
    for profile in of_kind(objects, Kind::Synproxy) {
        check_synproxy(profile, sink);
    }
    for profile in of_kind(objects, Kind::Defence) {
        check_defence(profile, sink);
    }
    for service in of_kind(objects, Kind::Service) {
        check_forward(objects, service, sink);
    }
}

/// Returns how a service meets SYN floods.
pub(super) fn synproxy(objects: &[Object], service: &Object) -> Option<Synproxy> {
    let Some(name) = service.one("synproxy").and_then(Item::as_text) else {
        return Some(Synproxy::default());
    };
    let Some(profile) = profile(objects, Kind::Synproxy, name) else {
        return Some(Synproxy {
            mode: named(SynproxyMode::NAMES, name)?,
            ..Synproxy::default()
        });
    };
    Some(Synproxy {
        mode: named(SynproxyMode::NAMES, word(profile, "mode")?)?,
        enter: number(profile, "enter")? as u32,
        leave: number(profile, "leave")? as u32,
        stay: duration(profile, "stay")?,
        learned: word(profile, "options")? == "learned",
        given: Offer {
            mss: number(profile, "mss")? as u16,
            wscale: number(profile, "wscale").map(|bits| bits as u8),
            sack: flag(profile, "sack")?,
            timestamps: flag(profile, "timestamps")?,
        },
        client_window: named(ClientWindow::NAMES, word(profile, "client-window")?)?,
        early_data: number(profile, "early-data")? as u32,
        early_data_pool: number(profile, "early-data-pool")?,
        defer: flag(profile, "defer")?,
        cookie_lifetime: duration(profile, "cookie-lifetime")?,
        secret_rotation: duration(profile, "secret-rotation")?,
        secret_file: text(profile, "secret-file"),
        master: Synproxy::default().master,
        syn_retries: number(profile, "syn-retries")? as u8,
        bad_ack: named(BadAck::NAMES, word(profile, "bad-ack")?)?,
        reflect_limit: number(profile, "reflect-limit")? as u32,
    })
}

/// Returns the way to check real servers that has a name.
pub(super) fn health(objects: &[Object], name: &str) -> Option<Health> {
    let Some(profile) = profile(objects, Kind::Health, name) else {
        return (name == "tcp").then(Health::default);
    };
    Some(Health {
        check: check_of(profile)?,
        interval: duration(profile, "interval")?,
        timeout: duration(profile, "timeout")?,
        rise: number(profile, "rise")? as u8,
        fall: number(profile, "fall")? as u8,
        alpha: flag(profile, "alpha")?,
    })
}

fn check_of(profile: &Object) -> Option<Check> {
    match word(profile, "type")? {
        "tcp" => Some(Check::Tcp),
        "http" => Some(Check::Http(http(profile, None)?)),
        "https" => {
            let tls = TlsCheck {
                ca_file: text(profile, "ca-file"),
                verify: flag(profile, "verify")?,
            };
            Some(Check::Http(http(profile, Some(tls))?))
        }
        "udp" => Some(Check::Udp(UdpCheck {
            send: bytes(profile, "send").unwrap_or_default(),
            answer: bytes(profile, "answer"),
        })),
        "ping" => Some(Check::Ping),
        "exec" => Some(Check::Exec(ExecCheck {
            program: text(profile, "program")?,
            weight_from: named(WeightFrom::NAMES, word(profile, "weight-from")?)?,
        })),
        _ => None,
    }
}

fn http(profile: &Object, tls: Option<TlsCheck>) -> Option<HttpCheck> {
    let Parsed::Range(first, last) = value(profile, "expect")? else {
        return None;
    };
    Some(HttpCheck {
        tls,
        host: text(profile, "host"),
        path: text(profile, "get")?,
        expect: (first as u16, last as u16),
        body: bytes(profile, "body"),
    })
}

/// Returns the limits that a service's profile names; nothing where it has none.
pub(super) fn defence(objects: &[Object], name: &str) -> Option<Defence> {
    let profile = profile(objects, Kind::Defence, name)?;
    let networks = |key| {
        let nets = profile.all(key).iter().filter_map(network_of);
        nets.map(|(net, _)| net).collect()
    };
    Some(Defence {
        syn_rate: profile.one("syn-rate").and_then(rate_of),
        new_sessions: profile.one("new-sessions").and_then(rate_of),
        invalid_flags: named(Refusal::NAMES, word(profile, "invalid-flags")?)?,
        tcp_drop: flag(profile, "tcp-drop")?,
        udp_drop: flag(profile, "udp-drop")?,
        fragments: named(Refusal::NAMES, word(profile, "fragments")?)?,
        deny: networks("deny"),
        allow: networks("allow"),
    })
}

/// Returns the prefix length that a value is counted by.
pub(super) fn prefix_of(item: &Item) -> u8 {
    match item.option("per") {
        Some(Parsed::Number(length)) => *length as u8,
        Some(_) | None => 32,
    }
}

fn rate_of(item: &Item) -> Option<PrefixRate> {
    let Parsed::Number(per_second) = item.parsed else {
        return None;
    };
    let burst = match item.option("burst") {
        Some(Parsed::Number(burst)) => *burst,
        Some(_) | None => per_second,
    };
    Some(PrefixRate {
        per_second: per_second as u32,
        burst: burst as u32,
        prefix: prefix_of(item),
    })
}

fn network_of(item: &Item) -> Option<(IpNet, Place)> {
    let Parsed::Network(net) = item.parsed else {
        return None;
    };
    Some((net, item.place?))
}

fn profile<'a>(objects: &'a [Object], kind: Kind, name: &str) -> Option<&'a Object> {
    of_kind(objects, kind).find(|profile| profile.name == name)
}

/// Keys of checks of some types only.
const ONLY: [(&str, &[&str]); 10] = [
    ("get", &["http", "https"]),
    ("host", &["http", "https"]),
    ("expect", &["http", "https"]),
    ("body", &["http", "https"]),
    ("ca-file", &["https"]),
    ("verify", &["https"]),
    ("send", &["udp"]),
    ("answer", &["udp"]),
    ("program", &["exec"]),
    ("weight-from", &["exec"]),
];

fn check_health(profile: &Object, sink: &mut Sink) {
    if let Some(kind) = word(profile, "type") {
        for (key, kinds) in ONLY {
            let Some(item) = profile.one(key) else {
                continue;
            };
            // A value that is the default says nothing that does not hold anyway.
            let is_default = profile
                .spec
                .key(key)
                .is_some_and(|spec| match spec.default {
                    DefaultValue::Values(values) => values.first() == Some(&item.text.as_str()),
                    DefaultValue::Required
                    | DefaultValue::Nothing
                    | DefaultValue::SameAs(_)
                    | DefaultValue::ByProtocol { .. } => false,
                });
            if let Some(place) = item.place
                && !kinds.contains(&kind)
                && !is_default
            {
                sink.at(
                    place,
                    format!("`{key}` means nothing to a check of `type = {kind}`"),
                    format!("it is for {}", kinds.join(" and ")),
                );
            }
        }
        if kind == "exec" && profile.one("program").is_none() && profile.whole("program") {
            let message = format!("{} has no `program`", profile.title());
            sink.at(profile.place(), message, "the program to run");
        }
        if kind == "https"
            && let Some(item) = profile.one("ca-file")
            && let Some(place) = item.place
            && flag(profile, "verify") == Some(false)
        {
            let message = format!("{} has a `ca-file` and `verify = no`", profile.title());
            sink.at(place, message, "no authority is asked");
        }
    }
    let (Some(timeout), Some(interval)) =
        (duration(profile, "timeout"), duration(profile, "interval"))
    else {
        return;
    };
    if timeout > interval {
        let message = format!(
            "the timeout of {} is longer than its interval",
            profile.title()
        );
        contradiction(profile, message, "timeout", "interval", sink);
    }
}

fn check_defence(profile: &Object, sink: &mut Sink) {
    for key in ["syn-rate", "new-sessions"] {
        if let Some(item) = profile.one(key) {
            check_prefix(item, sink);
        }
    }
    let mut first: BTreeMap<IpNet, (&str, Place)> = BTreeMap::new();
    for key in ["deny", "allow"] {
        for (net, place) in profile.all(key).iter().filter_map(network_of) {
            if net.addr().is_ipv6() {
                let message = format!("the network {net} is not available in this build");
                sink.at(place, message, "it belongs to IPv6");
                continue;
            }
            let Some((other, other_place)) = first.insert(net, (key, place)) else {
                continue;
            };
            let (message, note) = if other == key {
                let message = format!("{} has `{key} = {net}` twice", profile.title());
                (message, "again here")
            } else {
                let message = format!("{} denies and allows {net}", profile.title());
                (message, "leave one of them out")
            };
            sink.between(message, place, note, Some(other_place), "first here");
        }
    }
}

/// Checks the prefix length that a value is counted by.
pub(super) fn check_prefix(item: &Item, sink: &mut Sink) {
    let option = item.options.iter().find(|(name, ..)| *name == "per");
    if let Some((_, Parsed::Number(length), Some(place))) = option
        && *length > 32
    {
        let message = format!("`/{length}` is longer than an IPv4 address");
        sink.at(*place, message, "must be between /0 and /32");
    }
}

fn check_synproxy(profile: &Object, sink: &mut Sink) {
    let title = profile.title();
    if let (Some(enter), Some(leave)) = (number(profile, "enter"), number(profile, "leave"))
        && enter <= leave
    {
        let message = format!("`enter` of {title} is not greater than its `leave`");
        contradiction(profile, message, "enter", "leave", sink);
    }
    if let (Some(one), Some(all)) = (
        number(profile, "early-data"),
        number(profile, "early-data-pool"),
    ) && one > all
    {
        let message = format!("`early-data` of {title} is greater than its `early-data-pool`");
        contradiction(profile, message, "early-data", "early-data-pool", sink);
    }
    // A service that says `synproxy = always` must get what it says, profile or not.
    let Some(item) = profile.one("mode") else {
        return;
    };
    if item.text != profile.name && Kind::Synproxy.implied().contains(&profile.name.as_str()) {
        sink.at(
            item.place.unwrap_or_else(|| profile.place()),
            format!("{title} has `mode = {}` against its name", item.text),
            format!("write `mode = {}`, or give it another name", profile.name),
        );
    }
}

/// Weir sees only one direction of a connection that is routed directly or by a tunnel, and cannot
/// translate the sequence numbers of the other.
fn check_forward(objects: &[Object], service: &Object, sink: &mut Sink) {
    let (Some(forward), Some(item)) = (word(service, "forward"), service.one("synproxy")) else {
        return;
    };
    let (Some(name), Some(place)) = (item.as_text(), item.place) else {
        return;
    };
    let mode = match profile(objects, Kind::Synproxy, name) {
        Some(profile) => word(profile, "mode").unwrap_or("off"),
        None => name,
    };
    if matches!(mode, "adaptive" | "always") && matches!(forward, "direct" | "tunnel") {
        sink.between(
            format!("SYNPROXY does not work with `forward = {forward}`"),
            place,
            "write `synproxy = off`, or another `forward`",
            service.one("forward").and_then(|item| item.place),
            "answers of the real servers do not come back through Weir",
        );
    }
}

/// Reports two keys that contradict each other, of which one may have its default.
fn contradiction(profile: &Object, message: String, key: &str, other: &str, sink: &mut Sink) {
    let note = |item: &Item, key: &str| match item.place {
        Some(_) => format!("`{key}` is {}", item.text),
        None => format!("`{key}` is {}, its default", item.text),
    };
    let (Some(first), Some(second)) = (profile.one(key), profile.one(other)) else {
        return;
    };
    match (first.place, second.place) {
        (Some(place), Some(second_place)) => sink.between(
            message,
            place,
            note(first, key),
            Some(second_place),
            note(second, other),
        ),
        (Some(place), None) => sink.at(place, message, note(second, other)),
        (None, Some(place)) => sink.at(place, message, note(first, key)),
        (None, None) => sink.at(profile.place(), message, note(first, key)),
    }
}
