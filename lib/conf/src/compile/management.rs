//! The management network: what cannot work, and what the agent of the appliance's image gets of it.

use std::net::IpAddr;

use ipnet::IpNet;

use super::network::{Network, address_of, net_of};
use super::pools::{range_with, ranges};
use super::services::listen_of;
use super::values::{number, text};
use crate::diagnostic::Sink;
use crate::schema::{Kind, Parsed};
use crate::tree::{Item, Object, of_kind};

/// What the agent of the appliance's image sets up of `[management]`, and the appliance's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Management {
    /// The name of the appliance.
    pub node: String,
    /// The device.
    pub device: String,
    /// The address on it; without one there is no management network.
    pub address: Option<ManagementAddress>,
    /// Where packets go that no network of the appliance's own has.
    pub gateway: Option<IpAddr>,
    /// Who is asked for names.
    pub dns: Vec<IpAddr>,
    /// Who is asked for the time.
    pub ntp: Vec<String>,
    /// Where SSH listens.
    pub ssh_port: u16,
}

/// Where the management address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagementAddress {
    /// A server on the network says it.
    Dhcp,
    /// It is given, with the prefix length of its network.
    Fixed(IpNet),
}

/// Returns what the agent sets up.
pub(super) fn of(objects: &[Object]) -> Option<Management> {
    let node = of_kind(objects, Kind::Node).next()?;
    let object = of_kind(objects, Kind::Management).next()?;
    let hosts = object.all("ntp").iter().filter_map(Item::as_text);
    Some(Management {
        node: text(node, "name")?,
        device: text(object, "device")?,
        address: object.one("address").and_then(source),
        gateway: object.one("gateway").and_then(address_of),
        dns: object.all("dns").iter().filter_map(address_of).collect(),
        ntp: hosts.map(str::to_owned).collect(),
        ssh_port: number(object, "ssh-port")? as u16,
    })
}

/// Says whether the file is one of the appliance's image, which need not have a port yet.
pub(super) fn is_given(objects: &[Object]) -> bool {
    of_kind(objects, Kind::Management).any(|object| object.heading.is_some())
}

/// Checks that nothing else has the device and the address, and that the gateway is a neighbour.
pub(super) fn check(objects: &[Object], sink: &mut Sink) {
    for object in of_kind(objects, Kind::Management) {
        for key in ["dns", "ntp"] {
            once(object, key, sink);
        }
        let Some(item) = object.one("address") else {
            gateway(object, None, sink);
            continue;
        };
        gateway(object, Some(item), sink);
        device(object, item, objects, sink);
        if let (Some(net), Some(_)) = (net_of(item), item.place) {
            owners(item, net.addr(), objects, sink);
        }
    }
}

/// Warns of what is accepted and hardly meant.
pub(super) fn warn(objects: &[Object], network: &Network<'_>, sink: &mut Sink) {
    for object in of_kind(objects, Kind::Management) {
        if let (Some(place), true) = (object.heading, network.is_without_ports()) {
            sink.warn(
                place,
                "there is no [port NAME]",
                "weir has nothing to receive from until one is added",
            );
        }
        let Some(item) = object.one("address") else {
            continue;
        };
        let (Some(net), Some(place)) = (net_of(item), item.place) else {
            continue;
        };
        let same = |(other, _, _): &&(IpNet, &str, _)| other.trunc() == net.trunc();
        if let Some((_, port, _)) = network.connected.iter().find(same) {
            sink.warn(
                place,
                format!(
                    "the management network {} is that of [port {port}], too",
                    net.trunc()
                ),
                "the kernel sends to it by one of the two devices only",
            );
        }
    }
}

fn source(item: &Item) -> Option<ManagementAddress> {
    if let Parsed::Word(_) = item.parsed {
        return Some(ManagementAddress::Dhcp);
    }
    net_of(item).map(ManagementAddress::Fixed)
}

/// A port takes the frames that the management network needs.
fn device(object: &Object, address: &Item, objects: &[Object], sink: &mut Sink) {
    let Some(item) = object.one("device") else {
        return;
    };
    let place = item.place.or(address.place);
    let (Some(name), Some(place)) = (item.as_text(), place) else {
        return;
    };
    for port in of_kind(objects, Kind::Port) {
        let other = port.one("device");
        let Some(other) = other.filter(|other| other.as_text() == Some(name)) else {
            continue;
        };
        let title = port.title();
        sink.between(
            format!("{title} has `{name}`, the device of the management network"),
            place,
            "nobody would reach the appliance",
            other.place,
            "the port has it here",
        );
    }
}

/// A server that is named twice was to be two.
fn once(object: &Object, key: &str, sink: &mut Sink) {
    let all = object.all(key);
    for (at, item) in all.iter().enumerate() {
        let mut before = all.iter().take(at);
        let first = before.find(|it| it.text == item.text);
        if let (Some(place), Some(first)) = (item.place, first) {
            let message = format!("`{key} = {}` is given twice", item.text);
            sink.between(message, place, "again here", first.place, "first here");
        }
    }
}

fn gateway(object: &Object, address: Option<&Item>, sink: &mut Sink) {
    let Some(item) = object.one("gateway") else {
        return;
    };
    let (Some(ip), Some(place)) = (address_of(item), item.place) else {
        return;
    };
    if !object.whole("address") {
        return;
    }
    let net = address.and_then(net_of);
    let note = match (address, net) {
        (None, _) => "there is no `address` whose network it could be in".to_owned(),
        (Some(_), None) => "with `address = dhcp` the server says it".to_owned(),
        (Some(_), Some(net)) if net.addr() == ip => "it is the appliance's own address".to_owned(),
        (Some(_), Some(net)) if net.contains(&ip) => return,
        (Some(_), Some(net)) => format!("the management network is {}", net.trunc()),
    };
    let message = format!("the gateway {ip} does not fit {}", object.title());
    sink.at(place, message, note);
}

/// The kernel has the address: neither a port nor Weir can.
fn owners(item: &Item, ip: IpAddr, objects: &[Object], sink: &mut Sink) {
    let Some(place) = item.place else {
        return;
    };
    let port = of_kind(objects, Kind::Port).find_map(|port| {
        let all = port.all("address").iter();
        let mut same = all.filter(|item| net_of(item).is_some_and(|net| net.addr() == ip));
        let same = same.next()?;
        Some((format!("an address of {}", port.title()), same.place))
    });
    let vip = || {
        of_kind(objects, Kind::Service).find_map(|service| {
            let all = service.all("listen").iter();
            let mut same = all.filter(|item| listen_of(item).is_some_and(|it| it.0 == ip));
            let same = same.next()?;
            Some((format!("an address of {}", service.title()), same.place))
        })
    };
    let lip = || {
        let ranges = ranges(objects);
        let range = range_with(&ranges, ip)?;
        let whose = format!("a local address of [lip-pool {}]", range.pool);
        Some((whose, Some(range.place)))
    };
    if let Some((whose, other)) = port.or_else(vip).or_else(lip) {
        sink.between(
            format!("the management address {ip} is {whose}"),
            place,
            "the appliance alone must have it",
            other,
            "it is here",
        );
    }
}
