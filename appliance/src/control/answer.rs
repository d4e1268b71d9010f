//! Answers: rows made from the snapshot and from what the workers published.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use weir_control::{
    Code, Filter, LedgerReply, PoolRealRow, PoolRow, PortRow, RealCountsRow, Rejection,
    ServiceRealRow, ServiceRow, SessionRow, SynproxyRow, WorkerRates, WorkerRow,
};
use weir_director::{PoolUse, SessionView};
use weir_model::{
    AddressRange, EndpointId, LipPool, Poll, Port, RealServer, Service, ServiceId, Snapshot,
    WorkerId,
};

use crate::control::filling::Filling;
use crate::control::floods::Floods;
use crate::control::overlay::{Overlay, RealName};
use crate::control::scene::Scene;
use crate::control::second::Second;
use crate::health::{Book, Standing};
use crate::publish::{Picture, Traffic};

/// Returns the service that a filter names; none when it names none.
///
/// # Errors
/// When there is no such service.
pub(crate) fn service_of(
    snapshot: &Snapshot,
    filter: &Filter,
) -> Result<Option<ServiceId>, Rejection> {
    let Some(name) = &filter.service else {
        return Ok(None);
    };
    let found = snapshot
        .services
        .iter()
        .find(|service| service.name == *name);
    match found {
        Some(service) => Ok(Some(service.id)),
        None => Err(Rejection {
            code: Code::UnknownName,
            text: unknown_service(snapshot, name),
        }),
    }
}

/// What the rows of services are made of.
pub(crate) struct OfServices<'a> {
    traffic: Traffic,
    second: Option<&'a Second>,
    floods: &'a Floods,
    health: &'a Book,
    overlay: &'a Overlay,
}

impl<'a> OfServices<'a> {
    /// Takes what control knows now.
    pub(crate) fn of(scene: &'a Scene) -> Self {
        Self {
            traffic: scene.fleet.traffic(),
            second: scene.history.second(),
            floods: &scene.floods,
            health: &scene.health,
            overlay: &scene.overlay,
        }
    }
}

/// Returns a row for each service, or for the one that is asked for; with the real servers of those
/// that the filter wants.
pub(crate) fn services<'a>(
    snapshot: &'a Snapshot,
    only: Option<ServiceId>,
    filter: &'a Filter,
    of: &'a OfServices<'a>,
) -> impl Iterator<Item = ServiceRow> + 'a {
    let services = snapshot.services.iter();
    let wanted = services.filter(move |service| only.is_none_or(|id| id == service.id));
    wanted.map(move |service| service_row(service, filter.has_reals_of(&service.name), of))
}

/// Returns a row for each pool, from the use that all workers told.
pub(crate) fn pools(
    snapshot: &Snapshot,
    uses: &[PoolUse],
    filling: &Filling,
    now: Instant,
) -> Vec<PoolRow> {
    let pools = snapshot.pools.iter();
    pools
        .map(|pool| pool_row(snapshot, pool, uses, filling, now))
        .collect()
}

/// Returns the row of a session.
pub(crate) fn session(snapshot: &Snapshot, worker: WorkerId, view: &SessionView) -> SessionRow {
    let endpoint = |(address, port): (std::net::Ipv4Addr, u16)| format!("{address}:{port}");
    let service = snapshot.services.get(view.service.index());
    SessionRow {
        client: endpoint(view.client),
        listen: endpoint(view.vip),
        lip: endpoint(view.lip),
        real: endpoint(view.real),
        protocol: view.protocol.name().to_owned(),
        state: view.state.name().to_owned(),
        age_s: u64::from(view.age_ms / 1000),
        idle_s: u64::from(view.idle_ms / 1000),
        worker: u32::from(worker.0),
        service: service
            .map(|service| service.name.clone())
            .unwrap_or_default(),
    }
}

/// What control knows of an open port.
#[derive(Clone, Debug)]
pub(crate) struct PortView {
    pub(crate) driver: &'static str,
    pub(crate) mode: String,
    pub(crate) reason: String,
    pub(crate) queues: u16,
    pub(crate) link_up: bool,
    pub(crate) speed_mbps: Option<u64>,
    pub(crate) mac: [u8; 6],
    pub(crate) mtu: u32,
}

/// Returns the row of a port, which is the `place`th of each worker.
pub(crate) fn port(
    port: &Port,
    view: &PortView,
    place: usize,
    pictures: &[Picture],
    second: Option<&Second>,
) -> PortRow {
    let stats = pictures
        .iter()
        .filter_map(|picture| picture.ports.get(place));
    let sum = |pick: fn(&netmap_io::PortStats) -> u64| stats.clone().map(pick).sum();
    PortRow {
        name: port.name.clone(),
        device: port.device.clone(),
        driver: view.driver.to_owned(),
        mode: view.mode.clone(),
        reason: view.reason.clone(),
        queues: u32::from(view.queues),
        link_up: view.link_up,
        speed_mbps: view.speed_mbps,
        mac: weir_wire::EthAddr(view.mac).to_string(),
        mtu: view.mtu,
        addresses: port.addresses.iter().map(ToString::to_string).collect(),
        rx: sum(|stats| stats.rx_frames),
        tx: sum(|stats| stats.tx_frames),
        rx_ring_lost: sum(|stats| stats.rx_ring_lost + stats.rx_invalid),
        tx_ring_lost: sum(|stats| stats.tx_ring_lost),
        per_s: second.and_then(|second| second.ports.get(place).copied()),
        second: second.map_or(0, |second| second.number),
    }
}

/// Returns a row for each worker.
pub(crate) fn workers(
    cpus: impl Iterator<Item = Option<u16>>,
    poll: Poll,
    pictures: &[Picture],
    second: Option<&Second>,
) -> Vec<WorkerRow> {
    let of_second = |place| second?.workers.get(place).map(WorkerRates::from);
    let all = cpus.zip(pictures).enumerate();
    all.map(|(place, (cpu, picture))| WorkerRow {
        worker: place as u32,
        cpu: cpu.map(u32::from),
        poll: poll.name().to_owned(),
        busy_percent: second.map_or(0, |second| second.busy_percent(place)),
        sessions: picture.vitals.sessions,
        capacity: picture.vitals.capacity,
        rx: picture.ledger.rx,
        tx: picture.ledger.tx,
        handed_in: picture.ledger.handed_in,
        handed_out: picture.ledger.handed_out,
        dropped: picture.ledger.dropped.iter().sum(),
        balanced: picture.ledger.balanced(),
        per_s: of_second(place),
        second: second.map_or(0, |second| second.number),
    })
    .collect()
}

/// Returns the ledger of all workers.
pub(crate) fn ledger(pictures: &[Picture], second: Option<&Second>) -> LedgerReply {
    let workers: Vec<_> = pictures
        .iter()
        .enumerate()
        .map(|(place, picture)| (WorkerId(place as u8), picture.ledger, picture.counters))
        .collect();
    let reply = LedgerReply::new(&workers);
    match second {
        Some(second) => reply.in_second(second.number, &second.total, &second.workers),
        None => reply,
    }
}

fn service_row(service: &Service, with_reals: bool, of: &OfServices<'_>) -> ServiceRow {
    let sum = of.traffic.service(service.id);
    let (state, reason) = of.health.service_state(service);
    let mut counts = RealCountsRow::default();
    for real in service.servers() {
        let standing = of.health.standing(real);
        counts.count(real_state(service, real, standing, of), standing.is_checked);
    }
    let quorum = service.availability.quorum;
    let per_s = of
        .second
        .and_then(|second| second.services.service(service.id));
    ServiceRow {
        name: service.name.clone(),
        listen: listen(service),
        protocol: service.protocol.name().to_owned(),
        forward: service.forward.name().to_owned(),
        scheduler: service.scheduler.name().to_owned(),
        synproxy: SynproxyRow {
            mode: service.synproxy.mode.name().to_owned(),
            active: of.floods.is_active(service.id),
        },
        sessions: sum.sessions,
        inactive: sum.sessions.saturating_sub(sum.established),
        sessions_per_s: per_s.map_or(0, |rates| rates.opened),
        opened: sum.opened,
        refused: sum.refused,
        packets_in: sum.packets_in,
        packets_out: sum.packets_out,
        bytes_in: sum.bytes_in,
        bytes_out: sum.bytes_out,
        state: state.to_owned(),
        reason,
        quorum: quorum.map(|quorum| u64::from(quorum.weight)),
        real_counts: counts,
        per_s,
        second: of.second.map_or(0, |second| second.number),
        reals: if with_reals {
            let reals = service.servers();
            reals.map(|real| real_row(service, real, of)).collect()
        } else {
            Vec::new()
        },
    }
}

fn real_state(
    service: &Service,
    real: &RealServer,
    standing: Standing,
    of: &OfServices<'_>,
) -> &'static str {
    let health = of.health;
    let sorry = service.availability.sorry;
    let is_sorry = sorry.is_some_and(|it| it.id == real.id);
    let draining = health.ordered(real.id).draining;
    match (is_sorry, standing.is_down, draining) {
        (true, ..) => "sorry",
        (false, true, _) => "down",
        (false, false, true) => "drain",
        (false, false, false) if standing.weight == 0 => "drain",
        (false, false, false) if health.is_inhibited(real.id) => "inhibited",
        (false, false, false) if of.traffic.real(real.id).full > 0 => "full",
        (false, false, false) => "up",
    }
}

fn real_row(service: &Service, real: &RealServer, of: &OfServices<'_>) -> ServiceRealRow {
    let (sum, health) = (of.traffic.real(real.id), of.health);
    let standing = health.standing(real);
    ServiceRealRow {
        address: endpoint(real.address, real.port),
        weight: u32::from(standing.weight),
        state: real_state(service, real, standing, of).to_owned(),
        checked: standing.is_checked,
        by_command: of.overlay.words(&RealName::of(service, real)),
        sessions: sum.established,
        inactive: sum.sessions.saturating_sub(sum.established),
        rtt_us: health.rtt_us(real.id).map(u64::from),
        opened: sum.opened,
        packets_in: sum.packets_in,
        packets_out: sum.packets_out,
        bytes_in: sum.bytes_in,
        bytes_out: sum.bytes_out,
        per_s: of.second.and_then(|second| second.services.real(real.id)),
    }
}

fn pool_row(
    snapshot: &Snapshot,
    pool: &LipPool,
    uses: &[PoolUse],
    filling: &Filling,
    now: Instant,
) -> PoolRow {
    let ports_each = u64::from(pool.last_port - pool.first_port) + 1;
    let ports_total = pool.lips.len() as u64 * ports_each;
    let mut in_use: BTreeMap<EndpointId, u64> = endpoints_of(snapshot, pool);
    for one in uses.iter().filter(|one| one.pool == pool.id) {
        *in_use.entry(one.endpoint).or_default() += u64::from(one.used);
    }
    let reals = in_use
        .iter()
        .filter_map(|(id, used)| {
            let endpoint = snapshot.endpoints.get(id.index())?;
            let free = ports_total.saturating_sub(*used);
            let (address, protocol) = (endpoint.address, endpoint.protocol.name());
            Some(PoolRealRow {
                real: format!("{}/{protocol}", self::endpoint(address, endpoint.port)),
                used: *used,
                free,
                exhausted_in_s: filling.exhausted_in_s(now, (pool.id, *id), *used, free),
            })
        })
        .collect();
    PoolRow {
        name: pool.name.clone(),
        addresses: pool.lips.len() as u64,
        ranges: pool.ranges.iter().map(range).collect(),
        ports_total,
        ports_used: in_use.values().sum(),
        reals,
    }
}

/// Every real server that the pool serves has a row, also while it is not used.
fn endpoints_of(snapshot: &Snapshot, pool: &LipPool) -> BTreeMap<EndpointId, u64> {
    let services = snapshot
        .services
        .iter()
        .filter(|service| service.pool == pool.id);
    let reals = services.flat_map(Service::servers);
    reals.map(|real| (real.endpoint, 0)).collect()
}

fn range(range: &AddressRange) -> String {
    if range.first == range.last {
        return range.first.to_string();
    }
    format!("{}-{}", range.first, range.last)
}

/// Returns where a service is reached.
pub(crate) fn listen(service: &Service) -> Vec<String> {
    let all = service.listen.iter();
    all.map(|at| endpoint(at.address, at.port)).collect()
}

fn endpoint(address: IpAddr, port: u16) -> String {
    std::net::SocketAddr::new(address, port).to_string()
}

/// Says that there is no such service, and which there are.
pub(crate) fn unknown_service(snapshot: &Snapshot, name: &str) -> String {
    let services = snapshot.services.iter();
    let names: Vec<&str> = services.map(|service| service.name.as_str()).collect();
    let instead = weir_conf::instead(name, &names);
    format!("there is no service `{name}`; {instead}")
}
