//! Builds the snapshot from objects that are known to fit together.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;
use weir_model::{
    AllDown, Availability, ClientAddress, Control, ControlSocket, Defence, Driver, Endpoint,
    EndpointId, Forward, Generation, Lip, LipId, LipPool, Listen, Node, Persist, Poll, PoolId,
    Port, PortId, Protocol, RealId, RealServer, Role, Route, SchedulerKind, Service, ServiceId,
    SessionLog, Slots, Snapshot, Timeouts, TimestampMode, Workers,
};

use super::ids::Ids;
use super::network::{address_of, net_of};
use super::pools::MOST_LIPS;
use super::profiles;
use super::services::{
    drain_of, endpoint_of, limit_of, listen_of, passive_of, quorum_of, weight_of,
};
use super::syslog;
use super::values::{duration, flag, named, number, text, value, word};
use crate::diagnostic::Sink;
use crate::schema::{Kind, Parsed};
use crate::tree::{Item, Object, of_kind};

/// Builds the snapshot; none when there are more names than ids.
pub(super) fn build(
    objects: &[Object],
    previous: Option<&Snapshot>,
    sink: &mut Sink,
) -> Option<Snapshot> {
    let mut builder = Builder {
        objects,
        ids: AllIds::new(previous),
        defences: BTreeMap::new(),
        exhausted: None,
    };
    let snapshot = builder.snapshot(previous);
    if let Some(what) = builder.exhausted {
        sink.nowhere(format!(
            "more {what} than this daemon can number since its start; restart it to begin anew"
        ));
        return None;
    }
    if snapshot.is_none() {
        sink.nowhere("a value was checked but cannot be found again; please report this");
    }
    snapshot
}

/// The ids of every kind.
struct AllIds {
    ports: Ids<String>,
    pools: Ids<String>,
    lips: Ids<IpAddr>,
    endpoints: Ids<(IpAddr, u16, u8)>,
    services: Ids<String>,
    reals: Ids<(String, IpAddr, u16)>,
}

impl AllIds {
    fn new(previous: Option<&Snapshot>) -> Self {
        let ports = || previous.into_iter().flat_map(|s| s.ports.iter());
        let pools = || previous.into_iter().flat_map(|s| s.pools.iter());
        let endpoints = || previous.into_iter().flat_map(|s| s.endpoints.iter());
        let services = || previous.into_iter().flat_map(|s| s.services.iter());
        let bound = |of: fn(&Snapshot) -> usize| previous.map_or(0, of);
        Self {
            ports: Ids::new(
                ports().map(|p| (p.name.clone(), p.id.index())),
                bound(|s| s.ports.bound()),
                usize::from(u8::MAX),
            ),
            lips: Ids::new(
                pools().flat_map(|p| p.lips.iter().map(|lip| (lip.address, lip.id.index()))),
                bound(|s| usize::from(s.lip_bound)),
                MOST_LIPS as usize,
            ),
            pools: Ids::new(
                pools().map(|p| (p.name.clone(), p.id.index())),
                bound(|s| s.pools.bound()),
                usize::from(u16::MAX),
            ),
            endpoints: Ids::new(
                endpoints().map(|e| ((e.address, e.port, e.protocol.number()), e.id.index())),
                bound(|s| s.endpoints.bound()),
                u32::MAX as usize,
            ),
            reals: Ids::new(
                services().flat_map(|s| {
                    let name = &s.name;
                    s.servers()
                        .map(|r| ((name.clone(), r.address, r.port), r.id.index()))
                }),
                bound(|s| s.real_bound as usize),
                u32::MAX as usize,
            ),
            services: Ids::new(
                services().map(|s| (s.name.clone(), s.id.index())),
                bound(|s| s.services.bound()),
                usize::from(u16::MAX),
            ),
        }
    }
}

struct Builder<'a> {
    objects: &'a [Object],
    ids: AllIds,
    /// Those that services use, by name.
    defences: BTreeMap<String, Arc<Defence>>,
    /// What there is more of than ids.
    exhausted: Option<&'static str>,
}

impl Builder<'_> {
    fn snapshot(&mut self, previous: Option<&Snapshot>) -> Option<Snapshot> {
        let mut ports = Slots::with_bound(self.ids.ports.bound());
        for object in of_kind(self.objects, Kind::Port) {
            let port = self.port(object)?;
            ports.insert(port.id.index(), port);
        }
        let mut pools = Slots::with_bound(self.ids.pools.bound());
        for object in of_kind(self.objects, Kind::LipPool) {
            let pool = self.pool(object)?;
            pools.insert(pool.id.index(), pool);
        }
        let mut endpoints = Slots::with_bound(self.ids.endpoints.bound());
        let mut services = Slots::with_bound(self.ids.services.bound());
        for object in of_kind(self.objects, Kind::Service) {
            let service = self.service(object, &mut endpoints)?;
            services.insert(service.id.index(), service);
        }
        let mut routes = Vec::new();
        for object in of_kind(self.objects, Kind::Route) {
            routes.push(self.route(object)?);
        }
        Some(Snapshot {
            generation: Generation(previous.map_or(0, |s| s.generation.0) + 1),
            node: self.node()?,
            ports,
            routes,
            workers: self.workers()?,
            control: self.control()?,
            pools,
            endpoints,
            services,
            syslog: syslog::receivers(self.objects)?,
            metrics: self.metrics(),
            real_bound: self.ids.reals.bound() as u32,
            lip_bound: self.ids.lips.bound() as u16,
        })
    }

    fn node(&self) -> Option<Node> {
        let node = of_kind(self.objects, Kind::Node).next()?;
        Some(Node {
            name: text(node, "name")?,
            stop_after: duration(node, "stop-after")?,
        })
    }

    fn port(&mut self, port: &Object) -> Option<Port> {
        let id = or_note(
            self.ids.ports.of(port.name.clone()),
            "ports",
            &mut self.exhausted,
        )?;
        Some(Port {
            id: PortId(id as u8),
            name: port.name.clone(),
            device: text(port, "device")?,
            driver: driver(word(port, "driver")?)?,
            queues: number(port, "queues").map(|queues| queues as u16),
            addresses: port.all("address").iter().filter_map(net_of).collect(),
            gateways: port.all("gateway").iter().filter_map(address_of).collect(),
        })
    }

    fn route(&mut self, route: &Object) -> Option<Route> {
        let port = self.ids.ports.of(text(route, "port")?)?;
        Some(Route {
            prefix: route.name.parse::<IpNet>().ok()?,
            via: route.one("via").and_then(address_of)?,
            port: PortId(port as u8),
        })
    }

    fn workers(&self) -> Option<Workers> {
        let workers = of_kind(self.objects, Kind::Workers).next()?;
        Some(Workers {
            cpus: cpus(workers)?,
            burst: number(workers, "burst")? as u16,
            sessions: number(workers, "sessions").map(|sessions| sessions as u32),
            poll: named(Poll::NAMES, word(workers, "poll")?)?,
        })
    }

    fn control(&self) -> Option<Control> {
        let control = of_kind(self.objects, Kind::Control).next()?;
        let mut sockets = Vec::new();
        for item in control.all("socket") {
            let Some(Parsed::Word(role)) = item.option("role") else {
                return None;
            };
            sockets.push(ControlSocket {
                path: item.as_text()?.to_owned(),
                role: named(Role::NAMES, role)?,
                group: match item.option("group") {
                    Some(Parsed::Text(group)) => Some(group.clone()),
                    Some(_) | None => None,
                },
            });
        }
        Some(Control {
            cpus: cpus(control)?,
            sockets,
        })
    }

    fn metrics(&self) -> Option<SocketAddr> {
        let metrics = of_kind(self.objects, Kind::Metrics).next()?;
        let (address, port) = metrics.one("listen").and_then(endpoint_of)?;
        Some(SocketAddr::new(address, port))
    }

    fn pool(&mut self, pool: &Object) -> Option<LipPool> {
        let id = or_note(
            self.ids.pools.of(pool.name.clone()),
            "LIP pools",
            &mut self.exhausted,
        )?;
        let port = self.ids.ports.of(text(pool, "port")?)?;
        let mut ranges = Vec::new();
        let mut lips = Vec::new();
        for item in pool.all("address") {
            let Parsed::Addresses(range) = item.parsed else {
                return None;
            };
            ranges.push(range);
            for address in range.ipv4().map(IpAddr::V4) {
                let id = or_note(
                    self.ids.lips.of(address),
                    "local addresses",
                    &mut self.exhausted,
                )?;
                lips.push(Lip {
                    id: LipId(id as u16),
                    address,
                });
            }
        }
        let Parsed::Range(first, last) = value(pool, "source-ports")? else {
            return None;
        };
        Some(LipPool {
            id: PoolId(id as u16),
            name: pool.name.clone(),
            port: PortId(port as u8),
            ranges,
            lips,
            first_port: first as u16,
            last_port: last as u16,
            reuse_after: duration(pool, "reuse-after")?,
            warn_at: number(pool, "warn-at")? as u8,
        })
    }

    fn service(&mut self, service: &Object, endpoints: &mut Slots<Endpoint>) -> Option<Service> {
        let id = or_note(
            self.ids.services.of(service.name.clone()),
            "services",
            &mut self.exhausted,
        )?;
        let mut listen = Vec::new();
        let mut protocol = Protocol::Tcp;
        for item in service.all("listen") {
            let (address, port, of_item) = listen_of(item)?;
            listen.push(Listen { address, port });
            protocol = of_item;
        }
        let mut reals = Vec::new();
        for item in service.all("real") {
            reals.push(self.real(service, item, protocol, endpoints)?);
        }
        let pool = self.ids.pools.of(text(service, "lip-pool")?)?;
        Some(Service {
            id: ServiceId(id as u16),
            name: service.name.clone(),
            listen,
            protocol,
            forward: named(Forward::NAMES, word(service, "forward")?)?,
            pool: PoolId(pool as u16),
            scheduler: named(SchedulerKind::NAMES, word(service, "scheduler")?)?,
            client_address: named(ClientAddress::NAMES, word(service, "client-address")?)?,
            toa_kind: number(service, "toa-kind")? as u8,
            mss_adjust: flag(service, "mss-adjust")?,
            timestamps: named(TimestampMode::NAMES, word(service, "timestamps")?)?,
            reset_at_expiry: flag(service, "reset-at-expiry")?,
            timeouts: Timeouts {
                idle: duration(service, "idle")?,
                syn_recv: duration(service, "timeout-syn-recv")?,
                fin_wait: duration(service, "timeout-fin-wait")?,
                last_ack: duration(service, "timeout-last-ack")?,
                time_wait: duration(service, "timeout-time-wait")?,
                close: duration(service, "timeout-close")?,
                one_way: duration(service, "timeout-one-way")?,
            },
            synproxy: profiles::synproxy(self.objects, service)?,
            connection_reuse: flag(service, "connection-reuse")?,
            ack_storm: number(service, "ack-storm")? as u16,
            health: match text(service, "health") {
                Some(name) => Some(profiles::health(self.objects, &name)?),
                None => None,
            },
            availability: self.availability(service, protocol, endpoints)?,
            max_sessions: number(service, "max-sessions").map(|sessions| sessions as u32),
            drain: drain_of(service),
            session_log: named(SessionLog::NAMES, word(service, "session-log")?)?,
            defence: match text(service, "defence") {
                Some(name) => Some(self.defence(name)?),
                None => None,
            },
            persist: service.one("persist").and_then(|item| {
                let Parsed::Duration(timeout) = item.parsed else {
                    return None;
                };
                let prefix = profiles::prefix_of(item);
                Some(Persist { timeout, prefix })
            }),
            reals,
        })
    }

    fn availability(
        &mut self,
        service: &Object,
        protocol: Protocol,
        endpoints: &mut Slots<Endpoint>,
    ) -> Option<Availability> {
        let sorry = match service.one("sorry") {
            Some(item) => Some(self.real(service, item, protocol, endpoints)?),
            None => None,
        };
        Some(Availability {
            quorum: quorum_of(service),
            quorum_up: text(service, "quorum-up"),
            quorum_down: text(service, "quorum-down"),
            omega: flag(service, "omega")?,
            sorry,
            all_down: named(AllDown::NAMES, word(service, "all-down")?)?,
            slow_start: duration(service, "slow-start")?,
            inhibit: flag(service, "inhibit")?,
            passive: passive_of(service),
        })
    }

    fn defence(&mut self, name: String) -> Option<Arc<Defence>> {
        if let Some(defence) = self.defences.get(&name) {
            return Some(Arc::clone(defence));
        }
        let defence = Arc::new(profiles::defence(self.objects, &name)?);
        self.defences.insert(name, Arc::clone(&defence));
        Some(defence)
    }

    fn real(
        &mut self,
        service: &Object,
        item: &Item,
        protocol: Protocol,
        endpoints: &mut Slots<Endpoint>,
    ) -> Option<RealServer> {
        let (address, port) = endpoint_of(item)?;
        let id = or_note(
            self.ids.reals.of((service.name.clone(), address, port)),
            "real servers",
            &mut self.exhausted,
        )?;
        let endpoint = or_note(
            self.ids.endpoints.of((address, port, protocol.number())),
            "real servers",
            &mut self.exhausted,
        )?;
        let endpoint = EndpointId(endpoint as u32);
        endpoints.insert(
            endpoint.index(),
            Endpoint {
                id: endpoint,
                address,
                port,
                protocol,
            },
        );
        Some(RealServer {
            id: RealId(id as u32),
            endpoint,
            address,
            port,
            weight: weight_of(item) as u16,
            limit: limit_of(item),
        })
    }
}

/// Remembers what ran out of ids.
fn or_note(
    id: Option<usize>,
    what: &'static str,
    exhausted: &mut Option<&'static str>,
) -> Option<usize> {
    if id.is_none() {
        *exhausted = Some(what);
    }
    id
}

/// Returns the cores that an object lists; none listed means any.
fn cpus(object: &Object) -> Option<Vec<u16>> {
    if let Parsed::Cpus(cpus) = value(object, "cpus")? {
        return Some(cpus);
    }
    Some(Vec::new())
}

fn driver(word: &str) -> Option<Driver> {
    match word {
        "auto" => Some(Driver::Auto),
        "netmap" => Some(Driver::Netmap),
        "af-xdp" => Some(Driver::AfXdp),
        "pf-ring" => Some(Driver::PfRing),
        "af-packet" => Some(Driver::AfPacket),
        _ => None,
    }
}
