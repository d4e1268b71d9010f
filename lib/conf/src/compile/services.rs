//! Services and their real servers: what cannot work.

use std::collections::BTreeMap;
use std::net::IpAddr;

use weir_model::Protocol;

use super::network::Network;
use crate::diagnostic::Sink;
use crate::schema::{Kind, Parsed};
use crate::source::Place;
use crate::tree::{Item, Object, of_kind};

/// Schedulers add the weights of a service up in four bytes.
const MOST_WEIGHT: u64 = u32::MAX as u64;

/// Checks every service.
pub(super) fn check(objects: &[Object], network: &Network<'_>, sink: &mut Sink) {
    let mut taken: BTreeMap<(IpAddr, u16, u8), (&Object, Place)> = BTreeMap::new();
    for service in of_kind(objects, Kind::Service) {
        protocols(service, sink);
        listens(service, network, &mut taken, sink);
        client_address(service, sink);
        reals(service, network, sink);
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
        if ip.is_ipv6() {
            let message = format!("the real server {ip} is not available in this build");
            sink.at(place, message, "it belongs to IPv6");
            continue;
        }
        if let Some((what, net)) = network.not_a_host(ip) {
            let message = format!("the real server {ip} is {what} {net}");
            sink.at(place, message, "no host can have it");
        } else if !network.reaches(ip) {
            let message = format!("nothing leads to the real server {ip}:{port}");
            let note = "no port has its network; add a [route] or a gateway";
            sink.at(place, message, note);
        }
    }
    if weights > MOST_WEIGHT {
        let message = format!("the weights of {} add up to {weights}", service.title());
        sink.at(
            service.place(),
            message,
            format!("they may add up to {MOST_WEIGHT}"),
        );
    }
}
