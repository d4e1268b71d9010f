//! Ports, gateways, routes, workers and control sockets: what fits together, and what is reachable.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::management;
use crate::diagnostic::Sink;
use crate::schema::{Kind, Parsed};
use crate::source::Place;
use crate::tree::{Item, Object, of_kind};

/// The longest path of a Unix socket: `sun_path` has 108 bytes with the closing NUL.
const LONGEST_SOCKET_PATH: usize = 107;

/// Workers are numbered in one byte.
const MOST_WORKERS: usize = 255;

/// What leads where.
#[derive(Debug)]
pub(super) struct Network<'a> {
    /// Connected networks with the port's name and the place of the address.
    pub(super) connected: Vec<(IpNet, &'a str, Option<Place>)>,
    /// The cores of the workers, where they are listed.
    pub(super) cpus: Option<(usize, Option<Place>)>,
    ports: usize,
    gateways: Vec<IpAddr>,
    routes: Vec<IpNet>,
    /// Routes whose port is known.
    ways: Vec<(IpNet, &'a str)>,
    /// The port that has the gateways, where it is one.
    way_out: Option<&'a str>,
    /// What may lead somewhere and could not be read: the first number of its addresses, as far as
    /// there is one.
    unread: Vec<Option<u8>>,
}

impl<'a> Network<'a> {
    /// Says whether there is no port at all.
    pub(super) fn is_without_ports(&self) -> bool {
        self.ports == 0
    }

    /// Says whether a connected network, a route or a gateway leads to an address, as far as that
    /// can be known.
    pub(super) fn reaches(&self, ip: IpAddr) -> bool {
        self.may_reach(ip)
            || self.connected.iter().any(|(net, _, _)| net.contains(&ip))
            || self.routes.iter().any(|net| net.contains(&ip))
            || self.gateways.iter().any(|g| g.is_ipv4() == ip.is_ipv4())
    }

    /// Returns the port that leads to an address, as far as that can be known.
    pub(super) fn port_to(&self, ip: IpAddr) -> Option<&'a str> {
        let connected = self.connected.iter().map(|(net, port, _)| (*net, *port));
        let ways = connected.chain(self.ways.iter().copied());
        let nearest = ways
            .filter(|(net, _)| net.contains(&ip))
            .max_by_key(|(net, _)| net.prefix_len());
        nearest.map(|(_, port)| port).or(self.way_out)
    }

    /// Says whether something that could not be read is possibly what leads to an address.
    fn may_reach(&self, ip: IpAddr) -> bool {
        self.unread.iter().any(|first| match (first, ip) {
            (Some(first), IpAddr::V4(v4)) => v4.octets().first() == Some(first),
            (Some(_), IpAddr::V6(_)) => false,
            (None, _) => true,
        })
    }

    /// Returns the connected network of which an address is the first or the last, which no host
    /// can have.
    pub(super) fn not_a_host(&self, ip: IpAddr) -> Option<(&'static str, IpNet)> {
        self.connected.iter().find_map(|(net, _, _)| match net {
            IpNet::V4(v4) if v4.prefix_len() < 31 && IpAddr::V4(v4.network()) == ip => {
                Some(("the address of the network", net.trunc()))
            }
            IpNet::V4(v4) if v4.prefix_len() < 31 && IpAddr::V4(v4.broadcast()) == ip => {
                Some(("the broadcast address of the network", net.trunc()))
            }
            IpNet::V4(_) | IpNet::V6(_) => None,
        })
    }
}

/// Returns the network that an item is.
pub(super) fn net_of(item: &Item) -> Option<IpNet> {
    if let Parsed::Network(net) = item.parsed {
        return Some(net);
    }
    None
}

/// Returns the address that an item is.
pub(super) fn address_of(item: &Item) -> Option<IpAddr> {
    if let Parsed::Address(ip) = item.parsed {
        return Some(ip);
    }
    None
}

/// Checks ports, routes, workers and sockets.
pub(super) fn check<'a>(objects: &'a [Object], sink: &mut Sink) -> Network<'a> {
    let network = Network {
        connected: of_kind(objects, Kind::Port)
            .flat_map(|port| {
                let nets = port.all("address").iter();
                nets.filter_map(|item| Some((net_of(item)?, port.name.as_str(), item.place)))
            })
            .collect(),
        cpus: of_kind(objects, Kind::Workers).find_map(|workers| {
            let item = workers.one("cpus")?;
            let Parsed::Cpus(cpus) = &item.parsed else {
                return None;
            };
            Some((cpus.len(), item.place))
        }),
        ports: of_kind(objects, Kind::Port).count(),
        gateways: of_kind(objects, Kind::Port)
            .flat_map(|port| port.all("gateway").iter().filter_map(address_of))
            .collect(),
        routes: of_kind(objects, Kind::Route)
            .filter_map(|route| route.name.parse().ok())
            .collect(),
        ways: of_kind(objects, Kind::Route)
            .filter_map(|route| {
                let port = route.one("port").and_then(Item::as_text)?;
                Some((route.name.parse().ok()?, port))
            })
            .collect(),
        way_out: way_out(objects),
        unread: unread(objects, sink),
    };
    // An appliance of the image is set up by its management network before it has ports.
    let needs_port = !sink.lost_section() && !management::is_given(objects);
    if needs_port && network.is_without_ports() {
        sink.nowhere("there is no [port NAME]: weir would have nothing to receive from");
    }
    devices(objects, sink);
    addresses(&network, sink);
    for port in of_kind(objects, Kind::Port) {
        gateways(port, sink);
        queues(port, &network, sink);
    }
    for route in of_kind(objects, Kind::Route) {
        via(route, objects, sink);
    }
    if let Some((cpus, Some(place))) = network.cpus
        && cpus > MOST_WORKERS
    {
        let message = format!("{cpus} workers are too many");
        sink.at(place, message, format!("there can be {MOST_WORKERS}"));
    }
    for control in of_kind(objects, Kind::Control) {
        sockets(control, sink);
    }
    network
}

/// Returns the port that has the gateways, where it is one.
fn way_out(objects: &[Object]) -> Option<&str> {
    let ports = of_kind(objects, Kind::Port);
    let mut ports = ports.filter(|port| !port.all("gateway").is_empty());
    let only = ports.next()?;
    ports.next().is_none().then_some(only.name.as_str())
}

/// Returns what may lead somewhere and could not be read.
fn unread(objects: &[Object], sink: &Sink) -> Vec<Option<u8>> {
    let ports = || of_kind(objects, Kind::Port);
    let addresses = ports().flat_map(|port| port.unread("address"));
    let first = |text: &str| text.split('.').next().and_then(|first| first.parse().ok());
    let mut unread: Vec<Option<u8>> = addresses.map(first).collect();
    // Whatever a gateway or a section was to be, it may lead anywhere.
    let gateway = ports().any(|port| !port.whole("gateway"));
    let sections = [Kind::Port.spec().word, Kind::Route.spec().word];
    if gateway || sink.lost_like(&sections) {
        unread.push(None);
    }
    unread
}

/// Two ports cannot take frames from one device.
fn devices(objects: &[Object], sink: &mut Sink) {
    let mut first: BTreeMap<&str, (&Object, Option<Place>)> = BTreeMap::new();
    for port in of_kind(objects, Kind::Port) {
        let Some(item) = port.one("device") else {
            continue;
        };
        let (Some(device), Some(place)) = (item.as_text(), item.place) else {
            continue;
        };
        if let Some((other, other_place)) = first.get(device) {
            sink.between(
                format!(
                    "{} and {} have the same device",
                    other.title(),
                    port.title()
                ),
                place,
                "also here",
                *other_place,
                "first here",
            );
            continue;
        }
        first.insert(device, (port, item.place));
    }
}

/// An address belongs to one port, a network to one port.
fn addresses(network: &Network<'_>, sink: &mut Sink) {
    let mut hosts: BTreeMap<IpAddr, Option<Place>> = BTreeMap::new();
    let mut nets: BTreeMap<IpNet, (&str, Option<Place>)> = BTreeMap::new();
    for (net, port, place) in &network.connected {
        let Some(at) = *place else {
            continue;
        };
        if let Some(first) = hosts.get(&net.addr()) {
            let message = format!("the address {} is given twice", net.addr());
            sink.between(message, at, "again here", *first, "first here");
            continue;
        }
        hosts.insert(net.addr(), *place);
        match nets.get(&net.trunc()) {
            Some((other, first)) if other != port => sink.between(
                format!("the network {} is connected to two ports", net.trunc()),
                at,
                format!("to port {port} here"),
                *first,
                format!("and to port {other} here"),
            ),
            Some(_) => {}
            None => {
                nets.insert(net.trunc(), (port, *place));
            }
        }
    }
}

fn gateways(port: &Object, sink: &mut Sink) {
    let mut first: [Option<Place>; 2] = [None, None];
    for item in port.all("gateway") {
        let (Some(ip), Some(place)) = (address_of(item), item.place) else {
            continue;
        };
        let [v4, v6] = &mut first;
        let same_family = if ip.is_ipv4() { v4 } else { v6 };
        if same_family.is_some() {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            sink.between(
                format!("{} has two {family} gateways", port.title()),
                place,
                "there can be one of each family",
                *same_family,
                "first given here",
            );
            continue;
        }
        *same_family = Some(place);
        next_hop("gateway", ip, place, port, sink);
    }
}

/// A next hop is a neighbour on its port.
fn next_hop(what: &str, ip: IpAddr, place: Place, port: &Object, sink: &mut Sink) {
    let nets: Vec<IpNet> = port.all("address").iter().filter_map(net_of).collect();
    if nets.iter().any(|net| net.addr() == ip) {
        let message = format!("the {what} {ip} is this appliance itself");
        sink.at(
            place,
            message,
            format!("it is an address of {}", port.title()),
        );
        return;
    }
    if nets.iter().any(|net| net.contains(&ip)) || !port.whole("address") {
        return;
    }
    let list: Vec<String> = nets.iter().map(|net| net.trunc().to_string()).collect();
    let note = if list.is_empty() {
        format!("{} has no address", port.title())
    } else {
        format!("{} is connected to {}", port.title(), list.join(", "))
    };
    let message = format!(
        "the {what} {ip} is on no connected network of {}",
        port.title()
    );
    sink.at(place, message, note);
}

fn queues(port: &Object, network: &Network<'_>, sink: &mut Sink) {
    let Some(item) = port.one("queues") else {
        return;
    };
    let (Parsed::Number(queues), Some(place)) = (&item.parsed, item.place) else {
        return;
    };
    let Some((workers, cpus)) = network.cpus else {
        return;
    };
    if *queues > workers as u64 {
        sink.between(
            format!("{} has more queues than there are workers", port.title()),
            place,
            "worker n owns queue n of every port",
            cpus,
            format!("one worker per core: {workers}"),
        );
    }
}

fn via(route: &Object, objects: &[Object], sink: &mut Sink) {
    let (Ok(net), Some(item)) = (route.name.parse::<IpNet>(), route.one("via")) else {
        return;
    };
    let (Some(ip), Some(place)) = (address_of(item), item.place) else {
        return;
    };
    if net.addr().is_ipv6() {
        let message = format!("{} is not available in this build", route.title());
        sink.at(route.place(), message, "it belongs to IPv6");
        return;
    }
    if ip.is_ipv6() {
        let message = format!("the next hop {ip} of {} is an IPv6 address", route.title());
        sink.at(place, message, "the destination is an IPv4 network");
        return;
    }
    let name = route.one("port").and_then(Item::as_text);
    let Some(port) = of_kind(objects, Kind::Port).find(|port| Some(port.name.as_str()) == name)
    else {
        return;
    };
    next_hop("next hop", ip, place, port, sink);
}

fn sockets(control: &Object, sink: &mut Sink) {
    let mut first: BTreeMap<&str, Option<Place>> = BTreeMap::new();
    for item in control.all("socket") {
        let (Some(path), Some(place)) = (item.as_text(), item.place) else {
            continue;
        };
        if path.len() > LONGEST_SOCKET_PATH {
            let message = "the path of the socket is too long";
            let note = format!("the kernel allows {LONGEST_SOCKET_PATH} bytes");
            sink.at(place, message, note);
        }
        if let Some(other) = first.get(path) {
            let message = "the same socket is given twice";
            sink.between(message, place, "again here", *other, "first given here");
            continue;
        }
        first.insert(path, item.place);
    }
}
