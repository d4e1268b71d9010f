//! Services as ipvsadm sees them: one for each address, with local addresses of its own.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir_model::Protocol;

use crate::command::At;
use crate::document::{Document, Section};

/// More local addresses than a configuration may have are not counted up.
const MOST_LOCALS: usize = 1 << 17;

/// How long a new session may be silent where nothing is said.
pub(crate) const IDLE_TCP_S: u32 = 15 * 60;
pub(crate) const IDLE_UDP_S: u32 = 30;

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where clients reach it.
    pub at: At,
    /// The name of its `[service]`, which may have other addresses, too.
    pub section: String,
    /// How a real server is picked, as Weir calls it.
    pub scheduler: String,
    /// Which clients keep their real server, and how long.
    pub persist: Option<Persist>,
    /// Whether SYNs are, or may be, answered with cookies.
    pub synproxy: bool,
    /// How many seconds an established session may be silent.
    pub idle: u32,
    /// Whether that was said.
    pub idle_given: bool,
    /// How many seconds a session may be silent of which one side has closed.
    pub fin_wait: u32,
    /// Its real servers.
    pub reals: Vec<Real>,
    /// The local addresses towards them.
    pub locals: Vec<IpAddr>,
}

/// Which clients keep their real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persist {
    /// How many seconds after their last session.
    pub seconds: u32,
    /// Clients of one prefix of that length count as one.
    pub prefix: u8,
}

/// A real server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Real {
    /// Where it is.
    pub at: SocketAddr,
    /// Its share of new sessions.
    pub weight: u16,
    /// At so many sessions it takes no more.
    pub upper: Option<u32>,
    /// Below so many it takes new ones again.
    pub lower: Option<u32>,
    /// Options that ipvsadm has not.
    pub(crate) rest: Vec<String>,
}

impl Service {
    /// Says whether it can serve: it has a real server and a local address towards it.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.reals.is_empty() && !self.locals.is_empty()
    }

    /// Makes one that has what ipvsadm takes where nothing is said.
    pub(crate) fn new(at: At, section: String) -> Self {
        let idle = match at.protocol {
            Protocol::Tcp => IDLE_TCP_S,
            Protocol::Udp => IDLE_UDP_S,
        };
        Self {
            at,
            section,
            scheduler: "wlc".to_owned(),
            persist: None,
            synproxy: false,
            idle,
            idle_given: false,
            fin_wait: idle,
            reals: Vec::new(),
            locals: Vec::new(),
        }
    }

    /// Says whether two addresses of one `[service]` can stay together.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let mut other = other.clone();
        other.at = self.at;
        *self == other
    }
}

impl Real {
    /// Writes it as the value of `real`.
    pub(crate) fn value(&self) -> String {
        let mut text = self.at.to_string();
        if self.weight != 1 {
            let _ = write!(text, "  weight={}", self.weight);
        }
        for (name, limit) in [("max-sessions", self.upper), ("min-sessions", self.lower)] {
            if let Some(limit) = limit.filter(|limit| *limit != 0) {
                let _ = write!(text, "  {name}={limit}");
            }
        }
        for option in &self.rest {
            text.push_str("  ");
            text.push_str(option);
        }
        text
    }
}

/// Returns the services of a configuration in its order.
#[must_use]
pub fn services(document: &Document) -> Vec<Service> {
    let sections = document.of_kind("service");
    sections.flat_map(|s| of_section(document, s)).collect()
}

fn of_section(document: &Document, section: &Section) -> Vec<Service> {
    let locals = locals(document, section);
    let reals: Vec<Real> = section.all("real").filter_map(real).collect();
    let of_key = |key| section.one(key).map(|entry| entry.value.as_str());
    let listens = section.all("listen").filter_map(listen);
    let services = listens.map(|at| {
        let mut service = Service::new(at, section.name.clone());
        if let Some(scheduler) = of_key("scheduler") {
            scheduler.clone_into(&mut service.scheduler);
        }
        if let Some(idle) = section.one("idle") {
            service.idle = seconds(&idle.value).unwrap_or(service.idle);
            service.idle_given = !idle.is_default;
        }
        service.fin_wait = of_key("timeout-fin-wait")
            .and_then(seconds)
            .unwrap_or(service.idle);
        service.persist = of_key("persist").and_then(|value| persist(value, at.address));
        service.synproxy = of_key("synproxy").is_some_and(|value| synproxy(document, value));
        service.reals.clone_from(&reals);
        service.locals.clone_from(&locals);
        service
    });
    services.collect()
}

/// Returns the local addresses of a service: those of its pool, or, while it is not complete, its
/// own.
fn locals(document: &Document, section: &Section) -> Vec<IpAddr> {
    let own = section.all(LOCAL).filter_map(|value| value.parse().ok());
    let mut all: Vec<IpAddr> = own.collect();
    if let Some(pool) = section.one("lip-pool")
        && let Some(pool) = document.find("lip-pool", &pool.value)
    {
        all.extend(pool_addresses(pool));
    }
    all
}

/// The key of a local address of a service that is not complete.
pub(crate) const LOCAL: &str = "local-address";

/// Returns the addresses of a pool in ascending order within each of its lines.
pub(crate) fn pool_addresses(pool: &Section) -> Vec<IpAddr> {
    let ranges = pool.all("address").filter_map(range);
    ranges
        .flat_map(|(first, last)| expand(first, last))
        .take(MOST_LOCALS)
        .collect()
}

/// Reads a network, `FIRST-LAST` or one address.
pub(crate) fn range(value: &str) -> Option<(IpAddr, IpAddr)> {
    if let Ok(net) = value.parse::<ipnet::IpNet>() {
        return Some((net.network(), net.broadcast()));
    }
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// Returns the addresses from one to another.
pub(crate) fn expand(first: IpAddr, last: IpAddr) -> Vec<IpAddr> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => (u32::from(first)..=u32::from(last))
            .take(MOST_LOCALS)
            .map(|bits| IpAddr::V4(bits.into()))
            .collect(),
        (IpAddr::V6(first), IpAddr::V6(last)) => (u128::from(first)..=u128::from(last))
            .take(MOST_LOCALS)
            .map(|bits| IpAddr::V6(bits.into()))
            .collect(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
    }
}

/// Writes addresses as the fewest lines of a pool; they must be in ascending order.
pub(crate) fn write_ranges(addresses: &[IpAddr]) -> Vec<String> {
    let mut ranges: Vec<(IpAddr, IpAddr)> = Vec::new();
    for address in addresses {
        match ranges.last_mut() {
            Some((_, last)) if next(*last) == Some(*address) => *last = *address,
            _ => ranges.push((*address, *address)),
        }
    }
    let text = ranges.into_iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    text.collect()
}

fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => Some(IpAddr::V4(u32::from(v4).checked_add(1)?.into())),
        IpAddr::V6(v6) => Some(IpAddr::V6(u128::from(v6).checked_add(1)?.into())),
    }
}

fn listen(value: &str) -> Option<At> {
    let (socket, protocol) = value.rsplit_once('/')?;
    let socket: SocketAddr = socket.parse().ok()?;
    let (_, protocol) = Protocol::NAMES.iter().find(|(name, _)| *name == protocol)?;
    Some(At {
        protocol: *protocol,
        address: socket.ip(),
        port: socket.port(),
    })
}

fn real(value: &str) -> Option<Real> {
    let mut words = value.split_whitespace();
    let mut real = Real {
        at: words.next()?.parse().ok()?,
        weight: 1,
        upper: None,
        lower: None,
        rest: Vec::new(),
    };
    for word in words {
        match word.split_once('=') {
            Some(("weight", weight)) => real.weight = weight.parse().ok()?,
            Some(("max-sessions", limit)) => real.upper = count(limit),
            Some(("min-sessions", limit)) => real.lower = count(limit),
            Some(_) | None => real.rest.push(word.to_owned()),
        }
    }
    Some(real)
}

fn persist(value: &str, address: IpAddr) -> Option<Persist> {
    let mut words = value.split_whitespace();
    let seconds = seconds(words.next()?)?;
    let per = words.find_map(|word| word.strip_prefix("per=/")?.parse().ok());
    let whole = if address.is_ipv4() { 32 } else { 128 };
    Some(Persist {
        seconds,
        prefix: per.unwrap_or(whole),
    })
}

/// Says whether a mode, or a profile, ever sends cookies.
fn synproxy(document: &Document, value: &str) -> bool {
    match document.find("synproxy", value) {
        // A profile that is silent about its mode is adaptive.
        Some(profile) => profile.one("mode").is_none_or(|mode| mode.value != "off"),
        None => value != "off",
    }
}

/// Reads a duration in whole seconds, rounded up.
fn seconds(value: &str) -> Option<u32> {
    let duration: Duration = humantime::parse_duration(value).ok()?;
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(seconds).ok()
}

/// Writes seconds as a duration.
pub(crate) fn duration(seconds: u32) -> String {
    if seconds != 0 && seconds.is_multiple_of(3600) {
        return format!("{}h", seconds / 3600);
    }
    if seconds != 0 && seconds.is_multiple_of(60) {
        return format!("{}m", seconds / 60);
    }
    format!("{seconds}s")
}

fn count(value: &str) -> Option<u32> {
    for (unit, factor) in [("k", 1000), ("M", 1_000_000), ("G", 1_000_000_000)] {
        if let Some(digits) = value.strip_suffix(unit) {
            return digits.parse::<u32>().ok()?.checked_mul(factor);
        }
    }
    value.parse().ok()
}
