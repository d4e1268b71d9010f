//! `show status`: the appliance in one row, for whoever asks every second. It is made of what is
//! there already: nobody is asked and nothing is counted for it.

use std::time::{Duration, Instant, SystemTime};

use weir_control::{AlarmRow, ClientRow, PortRates, StatusRow};
use weir_model::{DropReason, Service, Snapshot};

use crate::control::connection::Connection;
use crate::control::faults;
use crate::control::scene::Scene;
use crate::control::second::Second;
use crate::control::second::services::ServiceRates;
use crate::daemon::machine::run_dir;
use crate::publish::Picture;

/// Alarms that are listed; of more than these their number is told.
const MOST_ALARMS: usize = 20;
/// A pool with fewer ports left towards a real server, in percent, is short.
const SHORT_PERCENT: u64 = 10;
/// A session table with less room left, in percent, is nearly full.
const FULL_PERCENT: u64 = 90;
/// A worker that is busier, in percent, has hardly anything left for a flood.
const BUSY_PERCENT: u32 = 95;
/// Drop reasons that say that something ran out.
const RAN_OUT: [(DropReason, &str); 2] = [
    (
        DropReason::LipExhausted,
        "no LIP port is left for new sessions",
    ),
    (DropReason::TableFull, "a session table is full"),
];

/// Returns who is connected, each once.
pub(crate) fn roster<'a>(clients: impl Iterator<Item = &'a Connection>) -> Vec<ClientRow> {
    let mut rows: Vec<ClientRow> = Vec::new();
    for client in clients {
        let one = client_row(client);
        match rows.iter_mut().find(|row| is_same(row, &one)) {
            Some(row) => row.connections += 1,
            None => rows.push(one),
        }
    }
    rows
}

fn client_row(client: &Connection) -> ClientRow {
    let operator = &client.operator;
    ClientRow {
        name: operator.name.clone(),
        from: operator.from.clone(),
        role: operator.role.name().to_owned(),
        connections: 1,
        you: false,
    }
}

fn is_same(one: &ClientRow, other: &ClientRow) -> bool {
    (&one.name, &one.from, &one.role) == (&other.name, &other.from, &other.role)
}

/// Returns the row for a client.
pub(crate) fn row(scene: &Scene, connection: &Connection) -> StatusRow {
    let snapshot = &scene.running.snapshot;
    let pictures = scene.fleet.pictures();
    let services = || snapshot.services.iter();
    let reals = || services().flat_map(|service| &service.reals);
    let is_up = |service: &&Service| scene.health.service_state(service).0 == "up";
    let vitals = |pick: fn(&Picture) -> u64| pictures.iter().map(pick).sum::<u64>();
    let second = scene.history.second();
    let all_ports = second.map(Second::all_ports);
    let of_ports = |pick: fn(PortRates) -> u64| all_ports.map(|all| exact(pick(all)));
    let of_services = |pick: fn(&ServiceRates) -> u64| second.map(|it| exact(pick(&it.services)));
    let busy_percent = second.map_or(0, Second::busiest_percent);
    let may_be_out = scene.health.may_be_out();
    let mut alarms = alarms(scene, &pictures, second, busy_percent, may_be_out);
    let count = alarms.len() as u64;
    alarms.sort_by_key(|alarm| alarm.severity != "error");
    alarms.truncate(MOST_ALARMS);
    let me = client_row(connection);
    let mut clients = connection.roster.to_vec();
    for client in &mut clients {
        client.you = is_same(client, &me);
    }
    let unconfirmed = scene.kept.unconfirmed.as_ref();
    StatusRow {
        node: snapshot.node.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        uptime_s: uptime(scene).as_secs(),
        generation: snapshot.generation.0,
        confirm_within_s: unconfirmed.map(|one| {
            let left = one.deadline.saturating_duration_since(Instant::now());
            left.as_secs()
        }),
        maintenance: scene.overrides.is_maintenance(),
        sessions: vitals(|picture| picture.vitals.sessions),
        sessions_over: vitals(|picture| picture.vitals.over),
        capacity: vitals(|picture| picture.vitals.capacity),
        sessions_per_s: of_services(|all| all.carried.opened),
        syn_per_s: of_services(|all| all.syns.syn_in),
        refused_per_s: of_services(|all| all.carried.refused),
        dropped_per_s: second.map(|second| exact(second.total.all_dropped())),
        packets_in_per_s: of_ports(|all| all.rx),
        packets_out_per_s: of_ports(|all| all.tx),
        bits_in_per_s: of_ports(|all| all.rx_bits),
        bits_out_per_s: of_ports(|all| all.tx_bits),
        balanced: pictures.iter().all(|picture| picture.ledger.balanced()),
        busy_percent,
        services: services().count() as u64,
        services_up: services().filter(is_up).count() as u64,
        reals: reals().count() as u64,
        reals_down: reals()
            .filter(|real| may_be_out && scene.health.is_down(real.id))
            .count() as u64,
        reals_draining: reals()
            .filter(|real| scene.health.ordered(real.id).draining)
            .count() as u64,
        floods: services()
            .filter(|service| scene.floods.is_active(service.id))
            .count() as u64,
        alarms: count,
        alarm_list: alarms,
        clients,
        second: second.map_or(0, |second| second.number),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "whole rates are far below what is exact there"
)]
fn exact(rate: u64) -> f64 {
    rate as f64
}

/// How long the daemon has run: its clock began with it.
fn uptime(scene: &Scene) -> Duration {
    let now = scene.clock.clone().now();
    Duration::from_micros(now.time.as_micros())
}

fn alarms(
    scene: &Scene,
    pictures: &[Picture],
    second: Option<&Second>,
    busy_percent: u32,
    may_be_out: bool,
) -> Vec<AlarmRow> {
    let snapshot = &scene.running.snapshot;
    let mut alarms = Vec::new();
    let mut say = |severity: &str, object: &str, text: String| {
        alarms.push(AlarmRow {
            severity: severity.to_owned(),
            object: object.to_owned(),
            text,
        });
    };
    if let Some(stopping) = scene.stopping {
        let left = stopping.left().as_secs();
        let text = format!("the daemon is stopping: no new sessions, and it ends in {left}s");
        say("error", "", text);
    }
    for (file, severity, object) in faults::FILES {
        if let Some(why) = faults::read(&run_dir().join(file)) {
            say(severity, object, why);
        }
    }
    if let Some(place) = pictures.iter().position(|it| !it.ledger.balanced()) {
        let text =
            format!("the ledger of worker {place} does not balance: packets are unaccounted for");
        say("error", "", text);
    }
    for service in snapshot.services.iter() {
        tell_of_service(scene, service, &mut say);
        tell_of_ways(scene, service, &mut say);
        if may_be_out {
            tell_of_reals(scene, service, &mut say);
        }
    }
    for (pool, real, left) in short_pools(scene, snapshot) {
        let text = format!("pool {pool} has {left}% of its ports left towards {real}");
        say(if left <= 1 { "error" } else { "warning" }, &pool, text);
    }
    for (reason, words) in RAN_OUT {
        let rate = second.and_then(|second| second.total.dropped.get(reason.label()));
        if let Some(rate) = rate {
            say(
                "error",
                "",
                format!("{words}: {rate} packets/s are dropped"),
            );
        }
    }
    for (place, picture) in pictures.iter().enumerate() {
        let vitals = &picture.vitals;
        if vitals.sessions * 100 >= vitals.capacity * FULL_PERCENT && vitals.capacity > 0 {
            let percent = vitals.sessions * 100 / vitals.capacity;
            say(
                "warning",
                "",
                format!("the session table of worker {place} is {percent}% full"),
            );
        }
    }
    if busy_percent >= BUSY_PERCENT {
        say("warning", "", format!("a worker is {busy_percent}% busy"));
    }
    for device in &scene.devices {
        let name = snapshot.ports.get(device.id.index()).map(|port| &port.name);
        if let Some(name) = name
            && !device.view().link_up
        {
            say("error", name, format!("port {name} has no link"));
        }
    }
    for receiver in scene.events.receivers() {
        if !receiver.connected {
            let why = receiver.last_error.unwrap_or_else(|| "not yet".to_owned());
            let text = format!("syslog {} is not connected: {why}", receiver.name);
            say("warning", &receiver.name, text);
        }
    }
    alarms
}

fn tell_of_service(scene: &Scene, service: &Service, say: &mut impl FnMut(&str, &str, String)) {
    let name = &service.name;
    let (state, reason) = scene.health.service_state(service);
    let why = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    match state {
        "up" => {}
        "sorry" => say(
            "warning",
            name,
            format!("{name} is served by its sorry server{why}"),
        ),
        _ => say("error", name, format!("{name} takes no new sessions{why}")),
    }
    if scene.floods.is_active(service.id) && service.synproxy.mode.name() == "adaptive" {
        say(
            "warning",
            name,
            format!("{name} is flooded: its SYNs are answered with cookies"),
        );
    }
}

/// Tells how many real servers never sent anything to a LIP.
fn tell_of_ways(scene: &Scene, service: &Service, say: &mut impl FnMut(&str, &str, String)) {
    let (name, all) = (&service.name, service.reals.len());
    let missing = scene.ways.missing(service);
    if missing > 0 {
        let text = format!(
            "{missing} of {all} real servers of {name} got SYNs and never sent a packet to a LIP: \
             look at their way back"
        );
        say("warning", name, text);
    }
}

/// Tells how many real servers of a service that is up are out.
fn tell_of_reals(scene: &Scene, service: &Service, say: &mut impl FnMut(&str, &str, String)) {
    let name = &service.name;
    if scene.health.service_state(service).0 != "up" {
        return;
    }
    let down = service
        .reals
        .iter()
        .filter(|real| scene.health.is_down(real.id));
    let down = down.count();
    let silent = service.reals.iter();
    let silent = silent.filter(|real| scene.health.is_inhibited(real.id));
    let silent = silent.count();
    let all = service.reals.len();
    if down > 0 {
        let text = format!("{down} of {all} real servers of {name} are down");
        say("warning", name, text);
    }
    if silent > 0 {
        let text =
            format!("{silent} of {all} real servers of {name} are inhibited: they answer no SYNs");
        say("warning", name, text);
    }
}

/// Pools that have few ports left towards a real server: their name, the real server, and what is
/// left in percent.
fn short_pools(scene: &Scene, snapshot: &Snapshot) -> Vec<(String, String, u64)> {
    let mut short = Vec::new();
    for ((pool, endpoint), used) in scene.filling.uses() {
        let Some(pool) = snapshot.pools.get(pool.index()) else {
            continue;
        };
        let Some(endpoint) = snapshot.endpoints.get(endpoint.index()) else {
            continue;
        };
        let each = u64::from(pool.last_port - pool.first_port) + 1;
        let total = pool.lips.len() as u64 * each;
        let left = total.saturating_sub(used);
        if total > 0 && left * 100 < total * SHORT_PERCENT {
            let at = std::net::SocketAddr::new(endpoint.address, endpoint.port);
            let real = format!("{at}/{}", endpoint.protocol.name());
            short.push((pool.name.clone(), real, left * 100 / total));
        }
    }
    short
}
