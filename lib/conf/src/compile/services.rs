//! Services and their real servers: what cannot work.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use weir_model::{Drain, DrainEnd, Passive, Protocol, Quorum, RealLimit};

use super::network::Network;
use super::profiles;
use super::values::named;
use crate::diagnostic::Sink;
use crate::schema::{Kind, Parsed};
use crate::source::Place;
use crate::tree::{Item, Object, of_kind};

/// Schedulers add the weights of a service up in four bytes.
const MOST_WEIGHT: u64 = u32::MAX as u64;

/// How long a real server that answers SYNs with nothing gets no new sessions at most.
const LONGEST_SILENCE: Duration = Duration::from_mins(10);

/// Checks every service.
pub(super) fn check(objects: &[Object], network: &Network<'_>, sink: &mut Sink) {
    let mut taken: BTreeMap<(IpAddr, u16, u8), (&Object, Place)> = BTreeMap::new();
    for service in of_kind(objects, Kind::Service) {
        protocols(service, sink);
        listens(service, network, &mut taken, sink);
        client_address(service, sink);
        toa_kind(service, sink);
        reals(service, network, sink);
        passive(service, sink);
        for item in service.all("real") {
            limits(item, sink);
        }
        if let Some(item) = service.one("persist") {
            profiles::check_prefix(item, sink);
        }
    }
}

/// Returns how many sessions a real server may have.
pub(super) fn limit_of(item: &Item) -> Option<RealLimit> {
    let Some(Parsed::Number(most)) = item.option("max-sessions") else {
        return None;
    };
    let least = match item.option("min-sessions") {
        Some(Parsed::Number(least)) => *least,
        Some(_) | None => (most * 3).div_ceil(4),
    };
    Some(RealLimit {
        max_sessions: *most as u32,
        min_sessions: least as u32,
    })
}

fn limits(item: &Item, sink: &mut Sink) {
    let number = |name: &str| {
        let option = item.options.iter().find(|(option, ..)| *option == name);
        match option {
            Some((_, Parsed::Number(number), place)) => Some((*number, place.or(item.place)?)),
            Some(_) | None => None,
        }
    };
    let Some((least, place)) = number("min-sessions") else {
        return;
    };
    match number("max-sessions") {
        None => sink.at(
            place,
            "`min-sessions` says nothing without `max-sessions`",
            "add `max-sessions=`, or leave this out",
        ),
        Some((most, other)) if least > most => sink.between(
            format!("`min-sessions` {least} is greater than `max-sessions` {most}"),
            place,
            "a full real server would never be full",
            Some(other),
            "`max-sessions` here",
        ),
        Some(_) => {}
    }
}

/// Returns the address, port and protocol that an item is.
pub(super) fn listen_of(item: &Item) -> Option<(IpAddr, u16, Protocol)> {
    if let Parsed::Listen(ip, port, protocol) = item.parsed {
        return Some((ip, port, protocol));
    }
    None
}

/// Returns the address and port that an item is.
pub(super) fn endpoint_of(item: &Item) -> Option<(IpAddr, u16)> {
    if let Parsed::Endpoint(ip, port) = item.parsed {
        return Some((ip, port));
    }
    None
}

/// Returns the weight of a real server.
pub(super) fn weight_of(item: &Item) -> u64 {
    if let Some(Parsed::Number(weight)) = item.option("weight") {
        return *weight;
    }
    1
}

/// Returns how much weight of a service must be up.
pub(super) fn quorum_of(service: &Object) -> Option<Quorum> {
    let item = service.one("quorum")?;
    let Parsed::Number(weight) = item.parsed else {
        return None;
    };
    let hysteresis = match item.option("hysteresis") {
        Some(Parsed::Number(more)) => *more,
        Some(_) | None => 0,
    };
    Some(Quorum {
        weight: weight as u32,
        hysteresis: hysteresis as u32,
    })
}

/// Returns how long sessions may go on when their real server is taken out.
pub(super) fn drain_of(service: &Object) -> Option<Drain> {
    let item = service.one("drain")?;
    let Parsed::Duration(after) = item.parsed else {
        return None;
    };
    let then = match item.option("then") {
        Some(Parsed::Word(word)) => named(DrainEnd::NAMES, word),
        Some(_) | None => None,
    };
    Some(Drain {
        after,
        then: then.unwrap_or(DrainEnd::Reset),
    })
}

/// Returns how long a real server that answers SYNs with nothing gets no new sessions.
pub(super) fn passive_of(service: &Object) -> Option<Passive> {
    let item = service.one("passive")?;
    let Parsed::Duration(first) = item.parsed else {
        return None;
    };
    let most = match item.option("most") {
        Some(Parsed::Duration(most)) => *most,
        Some(_) | None => LONGEST_SILENCE.max(first),
    };
    let syns = match item.option("syns") {
        Some(Parsed::Number(syns)) => *syns as u32,
        Some(_) | None => 10,
    };
    Some(Passive { first, most, syns })
}

fn passive(service: &Object, sink: &mut Sink) {
    let (Some(item), Some(passive)) = (service.one("passive"), passive_of(service)) else {
        return;
    };
    if let Some(place) = item.place.filter(|_| passive.most < passive.first) {
        let message = format!(
            "`most` of `passive` of {} is shorter than its value",
            service.title()
        );
        sink.at(
            place,
            message,
            "the first time cannot be longer than the longest",
        );
    }
}

fn protocols(service: &Object, sink: &mut Sink) {
    let mut first: Option<(Protocol, Option<Place>)> = None;
    for item in service.all("listen") {
        let (Some((_, _, protocol)), Some(place)) = (listen_of(item), item.place) else {
            continue;
        };
        match first {
            None => first = Some((protocol, item.place)),
            Some((other, other_place)) if other != protocol => {
                sink.between(
                    format!("{} listens on tcp and on udp", service.title()),
                    place,
                    "write two services, one for each protocol",
                    other_place,
                    format!("{} here", other.name()),
                );
                return;
            }
            Some(_) => {}
        }
    }
}

fn listens<'a>(
    service: &'a Object,
    network: &Network<'_>,
    taken: &mut BTreeMap<(IpAddr, u16, u8), (&'a Object, Place)>,
    sink: &mut Sink,
) {
    for item in service.all("listen") {
        let (Some((ip, port, protocol)), Some(place)) = (listen_of(item), item.place) else {
            continue;
        };
        if ip.is_ipv6() {
            let message = format!("the service address {ip} is not available in this build");
            sink.at(place, message, "it belongs to IPv6");
            continue;
        }
        if let Some((what, net)) = network.not_a_host(ip) {
            let message = format!("the service address {ip} is {what} {net}");
            sink.at(place, message, "no host can have it");
        }
        let key = (ip, port, protocol.number());
        if let Some((other, first)) = taken.get(&key) {
            let message = if std::ptr::eq(*other, service) {
                format!("{} listens twice on {}", service.title(), item.text)
            } else {
                format!(
                    "{} and {} listen on {}",
                    other.title(),
                    service.title(),
                    item.text
                )
            };
            sink.between(message, place, "again here", Some(*first), "first here");
            continue;
        }
        taken.insert(key, (service, place));
    }
}

fn client_address(service: &Object, sink: &mut Sink) {
    let udp = service
        .all("listen")
        .iter()
        .filter_map(listen_of)
        .any(|(_, _, protocol)| protocol == Protocol::Udp);
    let Some(item) = service.one("client-address") else {
        return;
    };
    let (Parsed::Word("toa"), Some(place), true) = (&item.parsed, item.place, udp) else {
        return;
    };
    let message = format!("{} is udp and cannot carry a TCP option", service.title());
    sink.at(place, message, "write `client-address = none`");
}

/// Kinds that segments have anyway are not there for addresses.
fn toa_kind(service: &Object, sink: &mut Sink) {
    const TAKEN: [(u64, &str); 5] = [
        (2, "the maximum segment size"),
        (3, "the window scale"),
        (4, "SACK"),
        (5, "SACK"),
        (8, "timestamps"),
    ];
    let Some(item) = service.one("toa-kind") else {
        return;
    };
    let (Parsed::Number(kind), Some(place)) = (&item.parsed, item.place) else {
        return;
    };
    if let Some((_, what)) = TAKEN.iter().find(|(taken, _)| taken == kind) {
        let message = format!("the TCP option {kind} is that of {what}");
        sink.at(place, message, "253 and 254 are there to be used freely");
    }
}

fn reachable(
    what_server: &str,
    (ip, port): (IpAddr, u16),
    place: Place,
    network: &Network<'_>,
    sink: &mut Sink,
) {
    if ip.is_ipv6() {
        let message = format!("the {what_server} server {ip} is not available in this build");
        sink.at(place, message, "it belongs to IPv6");
    } else if let Some((what, net)) = network.not_a_host(ip) {
        let message = format!("the {what_server} server {ip} is {what} {net}");
        sink.at(place, message, "no host can have it");
    } else if !network.reaches(ip) {
        let message = format!("nothing leads to the {what_server} server {ip}:{port}");
        let note = "no port has its network; add a [route] or a gateway";
        sink.at(place, message, note);
    }
}

fn sorry(
    service: &Object,
    reals: &BTreeMap<(IpAddr, u16), Place>,
    network: &Network<'_>,
    sink: &mut Sink,
) {
    let Some(item) = service.one("sorry") else {
        return;
    };
    let (Some(at), Some(place)) = (endpoint_of(item), item.place) else {
        return;
    };
    if let Some(other) = reals.get(&at) {
        let (ip, port) = at;
        sink.between(
            format!(
                "the sorry server {ip}:{port} of {} is a real server",
                service.title()
            ),
            place,
            "it answers when no real server can",
            Some(*other),
            "it is one here",
        );
        return;
    }
    reachable("sorry", at, place, network, sink);
}

/// A quorum that cannot be reached would withdraw the service for ever.
fn quorum(service: &Object, weights: u64, sink: &mut Sink) {
    let (Some(item), Some(quorum)) = (service.one("quorum"), quorum_of(service)) else {
        return;
    };
    let needed = u64::from(quorum.weight) + u64::from(quorum.hysteresis);
    // Without any real server that is what is told.
    let has_reals = !service.all("real").is_empty() && service.whole("real");
    if let Some(place) = item.place.filter(|_| has_reals && needed > weights) {
        let message = format!(
            "the quorum of {} needs a weight of {needed}, and all its real servers have {weights}",
            service.title()
        );
        sink.at(place, message, "once lost it would never come back");
    }
}

fn reals(service: &Object, network: &Network<'_>, sink: &mut Sink) {
    let mut first: BTreeMap<(IpAddr, u16), Place> = BTreeMap::new();
    let mut weights = 0;
    for item in service.all("real") {
        let (Some((ip, port)), Some(place)) = (endpoint_of(item), item.place) else {
            continue;
        };
        weights += weight_of(item);
        if let Some(other) = first.get(&(ip, port)) {
            sink.between(
                format!("{} has the real server {ip}:{port} twice", service.title()),
                place,
                "again here; more weight gives it more sessions",
                Some(*other),
                "first here",
            );
            continue;
        }
        first.insert((ip, port), place);
        reachable("real", (ip, port), place, network, sink);
    }
    sorry(service, &first, network, sink);
    quorum(service, weights, sink);
    if weights > MOST_WEIGHT {
        let message = format!("the weights of {} add up to {weights}", service.title());
        sink.at(
            service.place(),
            message,
            format!("they may add up to {MOST_WEIGHT}"),
        );
    }
}
