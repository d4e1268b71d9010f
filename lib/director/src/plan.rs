//! The plan: what packets ask of a snapshot, worked out when it is applied.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};

use nat_engine::{LipSetId, LocalPorts, State};
use weir_model::{
    ClientAddress, LipId, PoolId, PortId, Protocol, RealId, RealServer, Service, ServiceId,
    SessionLog, Snapshot, TimestampMode,
};
use weir_wire::{EthAddr, KindSet, Toa};

use crate::defence::{Compiled, DefencePlan, mask};
use crate::map::FixedMap;
use crate::route::{Routes, v4};
use crate::synproxy::{Synproxy, SynproxyPlan};
use crate::{PortFacts, WorkerFacts};

/// What an address that Weir owns is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    /// Clients reach services at it.
    Vip,
    /// Real servers see it as the source.
    Lip {
        /// The port whose neighbours see it.
        port: PortId,
        /// The port that decides which worker owns a reply.
        home: PortId,
    },
}

/// A service as packets need it.
#[expect(
    clippy::struct_excessive_bools,
    reason = "as many switches as the file has"
)]
#[derive(Debug)]
pub(crate) struct ServicePlan {
    /// The option kind that carries the client's address, where it is wanted.
    pub(crate) toa_kind: Option<u8>,
    /// The option kinds that clients may not send.
    pub(crate) forbidden: KindSet,
    pub(crate) mss_adjust: bool,
    pub(crate) strip_timestamps: bool,
    pub(crate) reset_at_expiry: bool,
    /// How SYN floods are met, where they are.
    pub(crate) synproxy: Option<SynproxyPlan>,
    /// Whether a new handshake may take over a client's old session.
    pub(crate) connection_reuse: bool,
    /// How many ACKs that do not fit are passed on in turn; 0 passes all.
    pub(crate) ack_storm: u16,
    /// How many sessions this worker may have of it.
    pub(crate) max_sessions: u64,
    /// How many sessions this worker has room for: as many as it has local ports towards the real
    /// servers, and not more than `max_sessions` or its real servers may have.
    pub(crate) room: u64,
    /// What its clients may not.
    pub(crate) defence: Option<Box<DefencePlan>>,
    /// How long its clients keep their real server, where they do.
    pub(crate) persist: Option<PersistPlan>,
    /// The pool of its source addresses.
    pub(crate) pool: PoolId,
    /// The used share of the pool's ports in percent at which an event is raised.
    pub(crate) warn_at: u8,
    /// Whether the silence of its real servers counts.
    pub(crate) looks_for_silence: bool,
    /// Which of its sessions are logged.
    pub(crate) session_log: SessionLog,
    timeouts_ms: [u32; State::ALL.len()],
    reals: Vec<RealPlan>,
    /// Who answers when the scheduler finds nobody; one of `reals`.
    sorry: Option<RealId>,
}

/// How many sessions a real server may have on this worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LimitPlan {
    /// With so many it takes no more,
    pub(crate) most: u64,
    /// until it has fewer than this.
    pub(crate) least: u64,
}

/// How a service keeps its clients where they were.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PersistPlan {
    /// The bits of an address by which clients are told apart.
    pub(crate) mask: u32,
    pub(crate) timeout_ms: u32,
}

/// A real server as a new session needs it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RealPlan {
    pub(crate) id: RealId,
    pub(crate) weight: u16,
    pub(crate) address: Ipv4Addr,
    pub(crate) port: u16,
    /// The local ports towards it.
    pub(crate) set: LipSetId,
}

/// A port as packets need it.
#[derive(Clone, Debug)]
pub(crate) struct PortPlan {
    pub(crate) facts: PortFacts,
    /// The kernel's own address on it.
    pub(crate) address: Option<Ipv4Addr>,
    links: Vec<Link>,
}

/// A connected prefix and the address that Weir asks its neighbours from.
#[derive(Clone, Copy, Debug)]
struct Link {
    prefix: ipnet::Ipv4Net,
    /// The kernel's own address there.
    own: Ipv4Addr,
    speaker: Ipv4Addr,
}

/// What packets ask of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    owned: FixedMap<Owned>,
    listens: FixedMap<ServiceId>,
    services: Vec<Option<ServicePlan>>,
    lips: Vec<Option<Ipv4Addr>>,
    ports: Vec<Option<PortPlan>>,
    pub(crate) routes: Routes,
    /// Whether any service has a defence profile.
    pub(crate) defends: bool,
    /// Whether any service keeps its clients where they were.
    pub(crate) persists: bool,
    /// The VIPs at which datagrams are answered that no service listens for, in order.
    answering: Vec<Ipv4Addr>,
    /// By the real server's id; empty where none is limited.
    limits: Vec<Option<LimitPlan>>,
    /// Every address with the port at which it is announced.
    pub(crate) announced: Vec<(PortId, Ipv4Addr)>,
    /// Services that are gone and whose sessions' ends are logged, in order.
    departed: Vec<ServiceId>,
}

impl Plan {
    pub(crate) fn new(
        snapshot: &Snapshot,
        facts: &WorkerFacts,
        locals: &LocalPorts,
        synproxy: &Synproxy,
    ) -> Self {
        let owned = owned_addresses(snapshot, locals);
        let mut listens = Vec::new();
        let mut services: Vec<Option<ServicePlan>> = Vec::new();
        services.resize_with(snapshot.services.bound(), || None);
        let mut compiled = Compiled::default();
        for service in snapshot.services.iter() {
            for listen in &service.listen {
                if let IpAddr::V4(vip) = listen.address {
                    listens.push((
                        listen_key(vip, listen.port, service.protocol.number()),
                        service.id,
                    ));
                }
            }
            if let Some(place) = services.get_mut(service.id.index()) {
                *place = Some(ServicePlan::new(
                    snapshot,
                    service,
                    locals,
                    synproxy.plan(service, facts.workers),
                    DefencePlan::new(service, facts.workers, &mut compiled),
                    facts,
                ));
            }
        }
        let mut lips = Vec::new();
        lips.resize(snapshot.lip_bound as usize, None);
        for lip in snapshot.pools.iter().flat_map(|pool| &pool.lips) {
            if let (IpAddr::V4(address), Some(place)) = (lip.address, lips.get_mut(lip.id.index()))
            {
                *place = Some(address);
            }
        }
        let mut ports: Vec<Option<PortPlan>> = Vec::new();
        ports.resize_with(snapshot.ports.bound(), || None);
        for facts in &facts.ports {
            if let Some(place) = ports.get_mut(facts.id.index()) {
                *place = PortPlan::new(snapshot, *facts, &owned);
            }
        }
        let announced = announcements(&owned, &ports);
        let owned: Vec<(u64, Owned)> = owned
            .iter()
            .map(|&(address, owned)| (u64::from(u32::from(address)), owned))
            .collect();
        Self {
            owned: FixedMap::new(&owned),
            listens: FixedMap::new(&listens),
            defends: services.iter().flatten().any(|it| it.defence.is_some()),
            persists: services.iter().flatten().any(|it| it.persist.is_some()),
            answering: answering(snapshot),
            limits: limits(snapshot, facts),
            departed: Vec::new(),
            services,
            lips,
            ports,
            routes: Routes::new(snapshot),
            announced,
        }
    }

    /// Returns what an address is for, if Weir owns it.
    #[inline]
    pub(crate) fn owned(&self, address: Ipv4Addr) -> Option<Owned> {
        self.owned.get(u64::from(u32::from(address)))
    }

    /// Says whether Weir owns an address, where mostly it does not.
    #[inline]
    pub(crate) fn owns(&self, address: Ipv4Addr) -> bool {
        self.owned.has(u64::from(u32::from(address)))
    }

    /// Returns the service that listens at a VIP's port.
    #[inline]
    pub(crate) fn listening(&self, vip: Ipv4Addr, port: u16, protocol: u8) -> Option<ServiceId> {
        self.listens.get(listen_key(vip, port, protocol))
    }

    /// Takes from the plan of before which services are gone whose sessions' ends are logged.
    pub(crate) fn remember_departed(&mut self, before: &Self) {
        let gone = before.services.iter().enumerate();
        let gone = gone.filter(|(_, service)| {
            let service = service.as_ref();
            service.is_some_and(|service| service.session_log.ends())
        });
        // Ids are given out once: there are as many as a place in the list has.
        let gone = gone.filter_map(|(place, _)| u16::try_from(place).ok().map(ServiceId));
        let mut departed = before.departed.clone();
        departed.extend(gone.filter(|id| self.service(*id).is_none()));
        departed.sort_unstable();
        departed.dedup();
        self.departed = departed;
    }

    /// Says whether the ends of a service's sessions are logged, also when it is gone itself.
    pub(crate) fn logs_ends(&self, id: ServiceId) -> bool {
        match self.service(id) {
            Some(service) => service.session_log.ends(),
            None => self.departed.binary_search(&id).is_ok(),
        }
    }

    #[inline]
    pub(crate) fn service(&self, id: ServiceId) -> Option<&ServicePlan> {
        self.services.get(id.index())?.as_ref()
    }

    #[inline]
    pub(crate) fn port(&self, id: PortId) -> Option<&PortPlan> {
        self.ports.get(id.index())?.as_ref()
    }

    /// Says whether an Ethernet address is that of one of the ports.
    pub(crate) fn is_own_mac(&self, mac: EthAddr) -> bool {
        self.ports.iter().flatten().any(|port| port.mac() == mac)
    }

    /// Says whether datagrams to a VIP are answered that no service listens for.
    pub(crate) fn answers_datagrams(&self, vip: Ipv4Addr) -> bool {
        self.answering.binary_search(&vip).is_ok()
    }

    /// Returns how many sessions a real server may have on this worker, if that is limited.
    #[inline]
    pub(crate) fn limit(&self, real: RealId) -> Option<LimitPlan> {
        *self.limits.get(real.index())?
    }

    #[inline]
    pub(crate) fn lip(&self, id: LipId) -> Option<Ipv4Addr> {
        *self.lips.get(id.index())?
    }
}

impl ServicePlan {
    fn new(
        snapshot: &Snapshot,
        service: &Service,
        locals: &LocalPorts,
        synproxy: Option<SynproxyPlan>,
        defence: Option<DefencePlan>,
        facts: &WorkerFacts,
    ) -> Self {
        let toa = match (service.client_address, service.protocol) {
            (ClientAddress::Toa, Protocol::Tcp) => Some(service.toa_kind),
            (ClientAddress::Toa, Protocol::Udp) | (ClientAddress::None, _) => None,
        };
        let timeouts = &service.timeouts;
        let timeouts_ms = core::array::from_fn(|index| {
            let state = State::ALL.get(index).copied().unwrap_or_default();
            let timeout = match state {
                State::SynSent | State::SynRecv => timeouts.syn_recv,
                State::Established | State::Flowing => timeouts.idle,
                State::FinWait | State::CloseWait => timeouts.fin_wait,
                State::LastAck => timeouts.last_ack,
                State::TimeWait => timeouts.time_wait,
                State::Close => timeouts.close,
                State::OneWay => timeouts.one_way,
            };
            u32::try_from(timeout.as_millis())
                .unwrap_or(u32::MAX)
                .min(i32::MAX as u32)
        });
        let mut reals: Vec<RealPlan> = service
            .servers()
            .filter_map(|real| match real.address {
                IpAddr::V4(address) => Some(RealPlan {
                    id: real.id,
                    weight: real.weight,
                    address,
                    port: real.port,
                    set: locals.set(service.pool, real.endpoint)?,
                }),
                IpAddr::V6(_) => None,
            })
            .collect();
        reals.sort_unstable_by_key(|real| real.id);
        let ports = reals
            .iter()
            .map(|real| u64::from(locals.usage(real.set).total));
        let ports: u64 = ports.sum();
        let max_sessions = service
            .max_sessions
            .map_or(u64::MAX, |all| share_of(all, facts));
        let limits = service.reals.iter().map(|real| limit_of(real, facts));
        let of_reals: Option<u64> = limits.map(|limit| Some(limit?.most)).sum();
        Self {
            synproxy,
            defence: defence.map(Box::new),
            persist: service.persist.map(|persist| PersistPlan {
                mask: mask(persist.prefix),
                timeout_ms: u32::try_from(persist.timeout.as_millis())
                    .unwrap_or(u32::MAX)
                    .min(i32::MAX as u32 + (1 << 30)),
            }),
            connection_reuse: service.connection_reuse,
            ack_storm: service.ack_storm,
            max_sessions,
            room: ports.min(max_sessions).min(of_reals.unwrap_or(u64::MAX)),
            toa_kind: toa,
            forbidden: KindSet::TOA.with(service.toa_kind),
            mss_adjust: service.mss_adjust,
            strip_timestamps: service.timestamps == TimestampMode::Strip,
            reset_at_expiry: service.reset_at_expiry,
            pool: service.pool,
            looks_for_silence: service.availability.passive.is_some(),
            session_log: service.session_log,
            warn_at: snapshot
                .pools
                .get(service.pool.index())
                .map_or(100, |pool| pool.warn_at),
            timeouts_ms,
            reals,
            sorry: service.availability.sorry.map(|real| real.id),
        }
    }

    /// Returns how long a session may be silent in a state, in milliseconds.
    #[inline]
    pub(crate) fn timeout_ms(&self, state: State) -> u32 {
        self.timeouts_ms
            .get(state as usize)
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn real(&self, id: RealId) -> Option<&RealPlan> {
        let at = self.reals.binary_search_by_key(&id, |real| real.id).ok()?;
        self.reals.get(at)
    }

    /// Returns who answers when no real server can.
    pub(crate) fn sorry(&self) -> Option<&RealPlan> {
        self.real(self.sorry?)
    }

    /// Returns by how much client segments grow.
    #[inline]
    pub(crate) fn overhead(&self) -> u16 {
        if self.toa_kind.is_some() {
            Toa::LEN_V4 as u16
        } else {
            0
        }
    }
}

impl PortPlan {
    fn new(snapshot: &Snapshot, facts: PortFacts, owned: &[(Ipv4Addr, Owned)]) -> Option<Self> {
        let port = snapshot.ports.get(facts.id.index())?;
        let own: Vec<ipnet::Ipv4Net> = port.addresses.iter().filter_map(v4).collect();
        let links = own
            .iter()
            .map(|net| {
                let inside = |wanted: fn(Owned, PortId) -> bool| {
                    let mut found = owned.iter().filter(|(address, owned)| {
                        net.contains(address) && wanted(*owned, facts.id)
                    });
                    found.next().map(|(address, _)| *address)
                };
                let speaker =
                    inside(|owned, id| matches!(owned, Owned::Lip { port, .. } if port == id))
                        .or_else(|| inside(|owned, _| owned == Owned::Vip))
                        .unwrap_or_else(|| net.addr());
                Link {
                    prefix: net.trunc(),
                    own: net.addr(),
                    speaker,
                }
            })
            .collect();
        Some(Self {
            facts,
            address: own.first().map(ipnet::Ipv4Net::addr),
            links,
        })
    }

    /// Returns the address to ask a neighbour from: Linux ignores a sender that it has no route to.
    pub(crate) fn speaker_for(&self, neighbour: Ipv4Addr) -> Option<Ipv4Addr> {
        let link = self.link_of(neighbour);
        link.map(|link| link.speaker).or(self.address)
    }

    /// Returns the kernel's own address to ask a neighbour from.
    pub(crate) fn own_for(&self, neighbour: Ipv4Addr) -> Option<Ipv4Addr> {
        let link = self.link_of(neighbour);
        link.map(|link| link.own).or(self.address)
    }

    fn link_of(&self, neighbour: Ipv4Addr) -> Option<&Link> {
        let mut links = self.links.iter();
        links.find(|link| link.prefix.contains(&neighbour))
    }

    /// Says whether an address is on a connected prefix.
    pub(crate) fn connects(&self, address: Ipv4Addr) -> bool {
        self.links.iter().any(|link| link.prefix.contains(&address))
    }

    pub(crate) fn mac(&self) -> EthAddr {
        self.facts.mac
    }
}

/// Returns this worker's share of sessions: a keyed hash spreads clients evenly over all. The
/// shares of all workers are as many together, unless there are fewer sessions than workers.
fn share_of(sessions: u32, facts: &WorkerFacts) -> u64 {
    let workers = u64::from(facts.workers.max(1));
    let sessions = u64::from(sessions);
    let rest = u64::from(u64::from(facts.id.0) < sessions % workers);
    (sessions / workers + rest).max(1)
}

/// Returns how many sessions a real server may have on this worker, where that is limited.
fn limit_of(real: &RealServer, facts: &WorkerFacts) -> Option<LimitPlan> {
    let limit = real.limit?;
    let most = share_of(limit.max_sessions, facts);
    Some(LimitPlan {
        most,
        least: share_of(limit.min_sessions, facts).min(most),
    })
}

fn answering(snapshot: &Snapshot) -> Vec<Ipv4Addr> {
    let answers = |service: &&Service| service.defence.as_ref().is_some_and(|it| !it.udp_drop);
    let services = snapshot.services.iter().filter(answers);
    let listens = services.flat_map(|service| &service.listen);
    let mut vips: Vec<Ipv4Addr> = listens
        .filter_map(|listen| match listen.address {
            IpAddr::V4(vip) => Some(vip),
            IpAddr::V6(_) => None,
        })
        .collect();
    vips.sort_unstable();
    vips
}

fn limits(snapshot: &Snapshot, facts: &WorkerFacts) -> Vec<Option<LimitPlan>> {
    let mut limits = Vec::new();
    for real in snapshot.services.iter().flat_map(|service| &service.reals) {
        let limit = limit_of(real, facts);
        if limit.is_none() {
            continue;
        }
        if limits.is_empty() {
            limits.resize(snapshot.real_bound as usize, None);
        }
        if let Some(place) = limits.get_mut(real.id.index()) {
            *place = limit;
        }
    }
    limits
}

fn owned_addresses(snapshot: &Snapshot, locals: &LocalPorts) -> Vec<(Ipv4Addr, Owned)> {
    let mut owned = Vec::new();
    for pool in snapshot.pools.iter() {
        for lip in &pool.lips {
            if let IpAddr::V4(address) = lip.address {
                let what = Owned::Lip {
                    port: pool.port,
                    home: locals.home_of(lip.id).unwrap_or(pool.port),
                };
                owned.push((address, what));
            }
        }
    }
    for listen in snapshot.services.iter().flat_map(|service| &service.listen) {
        if let IpAddr::V4(address) = listen.address {
            owned.push((address, Owned::Vip));
        }
    }
    owned.sort_unstable_by_key(|(address, _)| *address);
    owned.dedup_by_key(|(address, _)| *address);
    owned
}

fn announcements(
    owned: &[(Ipv4Addr, Owned)],
    ports: &[Option<PortPlan>],
) -> Vec<(PortId, Ipv4Addr)> {
    let mut announced = Vec::new();
    for port in ports.iter().flatten() {
        for &(address, what) in owned {
            let here = match what {
                Owned::Vip => true,
                Owned::Lip { port: lip_port, .. } => lip_port == port.facts.id,
            };
            if here && port.connects(address) {
                announced.push((port.facts.id, address));
            }
        }
    }
    announced
}

#[inline]
pub(crate) fn listen_key(vip: Ipv4Addr, port: u16, protocol: u8) -> u64 {
    u64::from(u32::from(vip)) << 24 | u64::from(port) << 8 | u64::from(protocol)
}
