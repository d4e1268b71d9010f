//! Whose address is it: the kernel's, a VIP, a LIP, a real server's or a router's. Never two of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::network::{address_of, net_of};
use super::pools::{Range, range_with, ranges};
use super::services::{endpoint_of, listen_of};
use crate::diagnostic::Sink;
use crate::schema::Kind;
use crate::source::Place;
use crate::tree::{Object, of_kind};

/// Addresses with who has them and where that is said.
type Owners<'a> = BTreeMap<IpAddr, (&'a Object, Place)>;

/// Checks that no address has two owners.
pub(super) fn check(objects: &[Object], sink: &mut Sink) {
    let lips = ranges(objects);
    let mut kernel: Owners<'_> = BTreeMap::new();
    let mut routers: Owners<'_> = BTreeMap::new();
    for port in of_kind(objects, Kind::Port) {
        for item in port.all("address") {
            if let (Some(net), Some(place)) = (net_of(item), item.place) {
                kernel.entry(net.addr()).or_insert((port, place));
            }
        }
        for item in port.all("gateway") {
            if let (Some(ip), Some(place)) = (address_of(item), item.place) {
                routers.entry(ip).or_insert((port, place));
            }
        }
    }
    for route in of_kind(objects, Kind::Route) {
        for item in route.all("via") {
            if let (Some(ip), Some(place)) = (address_of(item), item.place) {
                routers.entry(ip).or_insert((route, place));
            }
        }
    }
    local_addresses(&lips, &kernel, "an address of", sink);
    local_addresses(&lips, &routers, "a router of", sink);
    let vips = service_addresses(
        objects,
        &lips,
        &[(&kernel, "an address of"), (&routers, "a router of")],
        sink,
    );
    real_servers(objects, &lips, &kernel, &vips, sink);
    own_listeners(objects, &lips, &vips, sink);
}

fn local_addresses(lips: &[Range<'_>], owners: &Owners<'_>, what: &str, sink: &mut Sink) {
    for (ip, (owner, place)) in owners {
        let Some(range) = range_with(lips, *ip) else {
            continue;
        };
        sink.between(
            format!(
                "[lip-pool {}] has {ip}, which is {what} {}",
                range.pool,
                owner.title()
            ),
            range.place,
            "weir alone must have its local addresses",
            Some(*place),
            "it is here",
        );
    }
}

fn service_addresses<'a>(
    objects: &'a [Object],
    lips: &[Range<'_>],
    others: &[(&Owners<'_>, &str)],
    sink: &mut Sink,
) -> Owners<'a> {
    let mut vips: Owners<'a> = BTreeMap::new();
    for service in of_kind(objects, Kind::Service) {
        for item in service.all("listen") {
            let (Some((ip, _, _)), Some(place)) = (listen_of(item), item.place) else {
                continue;
            };
            if vips.contains_key(&ip) {
                continue;
            }
            vips.insert(ip, (service, place));
            if let Some(range) = range_with(lips, ip) {
                sink.between(
                    format!("the service address {ip} is in [lip-pool {}]", range.pool),
                    place,
                    "a VIP cannot be a LIP as well",
                    Some(range.place),
                    "it is here",
                );
            }
            for (owners, what) in others {
                if let Some((owner, other)) = owners.get(&ip) {
                    sink.between(
                        format!("the service address {ip} is {what} {}", owner.title()),
                        place,
                        "weir alone must have its service addresses",
                        Some(*other),
                        "it is here",
                    );
                }
            }
        }
    }
    vips
}

fn real_servers(
    objects: &[Object],
    lips: &[Range<'_>],
    kernel: &Owners<'_>,
    vips: &Owners<'_>,
    sink: &mut Sink,
) {
    for service in of_kind(objects, Kind::Service) {
        let reals = service.all("real").iter().map(|item| ("real", item));
        let sorry = service.all("sorry").iter().map(|item| ("sorry", item));
        for (what_server, item) in reals.chain(sorry) {
            let (Some((ip, port)), Some(place)) = (endpoint_of(item), item.place) else {
                continue;
            };
            let lip = range_with(lips, ip).map(|range| {
                let whose = format!("a local address of [lip-pool {}]", range.pool);
                (whose, range.place)
            });
            let owned = |owners: &Owners<'_>, what: &str| {
                let (owner, place) = owners.get(&ip)?;
                Some((format!("{what} {}", owner.title()), *place))
            };
            let found = lip
                .or_else(|| owned(kernel, "an address of"))
                .or_else(|| owned(vips, "an address of"));
            if let Some((whose, other)) = found {
                sink.between(
                    format!("the {what_server} server {ip}:{port} is {whose}"),
                    place,
                    "weir would send to itself",
                    Some(other),
                    "it is here",
                );
            }
        }
    }
}

/// The kernel has neither VIPs nor LIPs, so nothing of this machine itself can listen there.
fn own_listeners(objects: &[Object], lips: &[Range<'_>], vips: &Owners<'_>, sink: &mut Sink) {
    for section in of_kind(objects, Kind::Metrics) {
        for item in section.all("listen") {
            let (Some((ip, _)), Some(place)) = (endpoint_of(item), item.place) else {
                continue;
            };
            let lip = range_with(lips, ip).map(|range| {
                let whose = format!("a local address of [lip-pool {}]", range.pool);
                (whose, range.place)
            });
            let vip = vips.get(&ip).map(|(service, place)| {
                let whose = format!("an address of {}", service.title());
                (whose, *place)
            });
            if let Some((whose, other)) = lip.or(vip) {
                sink.between(
                    format!("{} listens at {ip}, which is {whose}", section.title()),
                    place,
                    "the kernel does not have it; take an address of a [port]",
                    Some(other),
                    "it is here",
                );
            }
        }
    }
}
