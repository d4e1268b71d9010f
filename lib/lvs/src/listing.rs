//! The tables of `ipvsadm -L` and `-G`, column by column.

use std::collections::BTreeMap;
use std::fmt::Write;

use weir_control::{ServiceRealRow, ServiceRow, SessionRow};
use weir_model::Protocol;

use crate::command::{At, Columns, Listing};
use crate::document::Document;
use crate::save::mask;
use crate::service::{IDLE_TCP_S, IDLE_UDP_S, Service};

/// The version of ipvsadm's interface that the tables follow.
const INTERFACE: &str = "1.2.1";

/// What the tables are made of.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// All services.
    pub services: &'a [Service],
    /// What the daemon counted; services that cannot serve yet have no row.
    pub rows: &'a [ServiceRow],
    /// What it had counted one second before, for rates.
    pub earlier: &'a [ServiceRow],
    /// How many sessions the tables hold.
    pub capacity: u64,
}

/// Returns the services in the order in which ipvsadm lists them.
pub(crate) fn sorted(services: &[Service], unsorted: bool) -> Vec<Service> {
    let mut services = services.to_vec();
    if !unsorted {
        services.sort_by_key(|service| {
            let at = service.at;
            (
                at.address.is_ipv6(),
                at.protocol.number(),
                at.address,
                at.port,
            )
        });
    }
    services
}

/// Writes the table of services that a listing asks for.
#[must_use]
pub fn list(facts: &Facts<'_>, listing: &Listing) -> String {
    let mut text = format!(
        "IP Virtual Server version {INTERFACE} (size={})\n",
        facts.capacity
    );
    let title = "Prot LocalAddress:Port";
    let _ = match listing.what {
        Columns::Stats => writeln!(
            text,
            "{title:<33} {:>8} {:>8} {:>8} {:>8} {:>8}\n  -> RemoteAddress:Port",
            "Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"
        ),
        Columns::Rate => writeln!(
            text,
            "{title:<33} {:>8} {:>8} {:>8} {:>8} {:>8}\n  -> RemoteAddress:Port",
            "CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"
        ),
        Columns::Thresholds => writeln!(
            text,
            "{title:<33} {:<10} {:<10} {:<10} {:<10}\n  -> RemoteAddress:Port",
            "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
        ),
        Columns::Persistent => writeln!(
            text,
            "{title:<33} {:<9} {:<11} {:<10} {:<10}\n  -> RemoteAddress:Port",
            "Weight", "PersistConn", "ActiveConn", "InActConn"
        ),
        Columns::Services | Columns::Connections | Columns::Timeouts | Columns::Daemons => {
            writeln!(
                text,
                "{title} Scheduler Established(Sec.) Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn"
            )
        }
    };
    for service in sorted(facts.services, listing.unsorted) {
        if listing.only.is_some_and(|only| only != service.at) {
            continue;
        }
        service_lines(&mut text, facts, listing, &service);
    }
    text
}

fn service_lines(text: &mut String, facts: &Facts<'_>, listing: &Listing, service: &Service) {
    let protocol = service.at.protocol.name().to_uppercase();
    let name = format!("{protocol:<4} {}", service.at.socket());
    let row = row_of(facts.rows, service);
    let earlier = row_of(facts.earlier, service);
    let _ = match listing.what {
        Columns::Stats => {
            let counters = row.map(service_counters).unwrap_or_default();
            writeln!(text, "{name:<33}{}", large(counters, listing.exact))
        }
        Columns::Rate => {
            let counters = row.map(service_counters).unwrap_or_default();
            let rates = since(counters, earlier.map(service_counters));
            writeln!(text, "{name:<33}{}", large(rates, listing.exact))
        }
        Columns::Thresholds | Columns::Persistent => writeln!(text, "{name:<33}"),
        Columns::Services | Columns::Connections | Columns::Timeouts | Columns::Daemons => {
            let scheduler = crate::command::theirs(&service.scheduler);
            let flags = flags(service);
            writeln!(
                text,
                "{name:<22} {scheduler:<9} {:<17}{flags}",
                service.idle
            )
        }
    };
    for real in &service.reals {
        let address = real.at.to_string();
        let now = real_of(row, &address);
        let (active, inactive) = now.map_or((0, 0), |row| (row.sessions, row.inactive));
        let weight = now.map_or_else(|| u32::from(real.weight), |row| row.weight);
        let _ = write!(text, "  -> {address:<28}");
        let _ = match listing.what {
            Columns::Stats => {
                let counters = now.map(real_counters).unwrap_or_default();
                writeln!(text, "{}", large(counters, listing.exact))
            }
            Columns::Rate => {
                let counters = now.map(real_counters).unwrap_or_default();
                let before = real_of(earlier, &address).map(real_counters);
                let rates = since(counters, before);
                writeln!(text, "{}", large(rates, listing.exact))
            }
            Columns::Thresholds => {
                let (upper, lower) = (real.upper.unwrap_or(0), real.lower.unwrap_or(0));
                writeln!(text, " {upper:<10} {lower:<10} {active:<10} {inactive:<10}")
            }
            Columns::Persistent => {
                // Clients are kept by a table of the service, which has no count per real server.
                writeln!(text, " {weight:<9} {:<11} {active:<10} {inactive:<10}", "-")
            }
            Columns::Services | Columns::Connections | Columns::Timeouts | Columns::Daemons => {
                let method = "FullNat";
                writeln!(text, " {method:<7} {weight:<6} {active:<10} {inactive:<10}")
            }
        };
    }
}

fn flags(service: &Service) -> String {
    let mut flags = String::new();
    if let Some(persist) = service.persist {
        let _ = write!(flags, " persistent {}", persist.seconds);
        let is_v4 = service.at.address.is_ipv4();
        if is_v4 && persist.prefix != 32 {
            let _ = write!(flags, " mask {}", mask(persist.prefix));
        } else if !is_v4 && persist.prefix != 128 {
            let _ = write!(flags, " mask {}", persist.prefix);
        }
    }
    if service.synproxy {
        flags.push_str(" synproxy");
    }
    flags
}

fn row_of<'a>(rows: &'a [ServiceRow], service: &Service) -> Option<&'a ServiceRow> {
    rows.iter().find(|row| row.name == service.section)
}

fn real_of<'a>(row: Option<&'a ServiceRow>, address: &str) -> Option<&'a ServiceRealRow> {
    row?.reals.iter().find(|real| real.address == address)
}

/// Sessions, packets in and out, bytes in and out.
type Numbers = [u64; 5];

fn service_counters(row: &ServiceRow) -> Numbers {
    [
        row.opened,
        row.packets_in,
        row.packets_out,
        row.bytes_in,
        row.bytes_out,
    ]
}

fn real_counters(row: &ServiceRealRow) -> Numbers {
    [
        row.opened,
        row.packets_in,
        row.packets_out,
        row.bytes_in,
        row.bytes_out,
    ]
}

/// What is new; nothing where there was nothing to compare with.
fn since(now: Numbers, before: Option<Numbers>) -> Numbers {
    let before = before.unwrap_or(now);
    let mut new = now;
    for (now, before) in new.iter_mut().zip(before) {
        *now = now.saturating_sub(before);
    }
    new
}

fn large(numbers: Numbers, exact: bool) -> String {
    numbers
        .iter()
        .map(|number| large_one(*number, exact))
        .collect()
}

/// Writes a number nine columns wide, shortened by a unit unless all digits are wanted.
fn large_one(number: u64, exact: bool) -> String {
    const UNITS: [(u64, u64, &str); 3] = [
        (1_000_000_000, 1000, "K"),
        (100_000_000_000, 1_000_000, "M"),
        (100_000_000_000_000, 1_000_000_000, "G"),
    ];
    if exact {
        let digits = number.to_string();
        let width = (digits.len() + 1).max(9);
        return format!("{digits:>width$}");
    }
    if number < 100_000_000 {
        return format!("{number:>9}");
    }
    let unit = UNITS.iter().find(|(below, _, _)| number < *below);
    let (factor, letter) = unit.map_or((1_000_000_000_000, "T"), |(_, factor, letter)| {
        (*factor, *letter)
    });
    format!("{:>8}{letter}", number / factor)
}

/// Writes the heading of the table of sessions.
#[must_use]
pub fn connections_title() -> &'static str {
    "IPVS connection entries\npro expire state       source             virtual            destination\n"
}

/// Writes the line of a session: how long it may still be silent, its state and its ends.
#[must_use]
pub fn connection(document: &Document, row: &SessionRow) -> String {
    let section = document.find("service", &row.service);
    let timeout = |key: &str| {
        let value = &section?.one(key)?.value;
        humantime::parse_duration(value).ok()
    };
    let (key, state) = match row.state.as_str() {
        "established" => ("idle", "ESTABLISHED"),
        "syn-sent" => ("timeout-syn-recv", "SYN_SENT"),
        "syn-recv" => ("timeout-syn-recv", "SYN_RECV"),
        "fin-wait" => ("timeout-fin-wait", "FIN_WAIT"),
        "close-wait" => ("timeout-fin-wait", "CLOSE_WAIT"),
        "last-ack" => ("timeout-last-ack", "LAST_ACK"),
        "time-wait" => ("timeout-time-wait", "TIME_WAIT"),
        "close" => ("timeout-close", "CLOSE"),
        "one-way" => ("timeout-one-way", "UDP"),
        "flowing" => ("idle", "UDP"),
        _ => ("idle", "NONE"),
    };
    let left = timeout(key).unwrap_or_default().as_secs();
    let left = left.saturating_sub(row.idle_s);
    format!(
        "{:<3} {:02}:{:02}  {state:<11} {:<18} {:<18} {}\n",
        row.protocol.to_uppercase(),
        left / 60,
        left % 60,
        row.client,
        row.listen,
        row.real
    )
}

/// Writes the timeouts that `--set` changes, and says which differ from service to service.
#[must_use]
pub fn timeouts(services: &[Service]) -> (String, Option<String>) {
    let of = |protocol: Protocol, pick: fn(&Service) -> u32, default: u32| {
        let of_protocol = services.iter().filter(|s| s.at.protocol == protocol);
        let mut all: Vec<u32> = of_protocol.map(pick).collect();
        all.sort_unstable();
        all.dedup();
        let differ = all.len() > 1;
        (all.last().copied().unwrap_or(default), differ)
    };
    let tcp = of(Protocol::Tcp, |s| s.idle, IDLE_TCP_S);
    let tcpfin = of(Protocol::Tcp, |s| s.fin_wait, IDLE_TCP_S);
    let udp = of(Protocol::Udp, |s| s.idle, IDLE_UDP_S);
    let text = format!(
        "Timeout (tcp tcpfin udp): {} {} {}\n",
        tcp.0, tcpfin.0, udp.0
    );
    let differing = (tcp.1 || tcpfin.1 || udp.1)
        .then(|| "services differ, these are the longest; `ipvsadm -ln` has each one's".to_owned());
    (text, differing)
}

/// Writes the table of local addresses; `used` has the sessions of each service and local address.
#[must_use]
pub fn locals(
    services: &[Service],
    only: Option<At>,
    used: &BTreeMap<(At, std::net::IpAddr), u64>,
) -> String {
    let mut text = format!(
        "{:<20} {:<8} {:<20} {:<10} {:<10}\n",
        "VIP:VPORT", "TOTAL", "SNAT_IP", "CONFLICTS", "CONNS"
    );
    for service in sorted(services, false) {
        if only.is_some_and(|only| only != service.at) {
            continue;
        }
        let at = service.at.socket().to_string();
        let _ = writeln!(text, "{at:<20} {:<8} ", service.locals.len());
        for local in &service.locals {
            let sessions = used.get(&(service.at, *local)).copied().unwrap_or(0);
            // A local port is taken off a list of free ones: none is ever tried in vain.
            let conflicts = 0;
            let local = local.to_string();
            let _ = writeln!(
                text,
                "{:<20} {:<8} {local:<20} {conflicts:<10} {sessions:<10}",
                "", ""
            );
        }
    }
    text
}

#[cfg(test)]
mod tests;
