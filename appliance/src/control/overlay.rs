//! What operators order of real servers by command. It holds beside the configuration, by name, and
//! goes with what it is about.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use weir_control::OverrideRow;
use weir_model::{Drain, DrainEnd, EventClass, RealId, RealServer, Service, Severity, Snapshot};

use crate::event::EventRecord;
use crate::health::Ordered;
use crate::state;

pub(super) mod ask;
mod census;
pub(crate) mod orders;

#[cfg(test)]
mod tests;

/// How a comment begins that says what holds beside the configuration.
const BY_COMMAND: &str = "# by command: ";

/// A real server of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RealName {
    pub(crate) service: String,
    pub(crate) real: SocketAddr,
}

impl RealName {
    pub(crate) fn of(service: &Service, real: &RealServer) -> Self {
        Self {
            service: service.name.clone(),
            real: SocketAddr::new(real.address, real.port),
        }
    }
}

impl fmt::Display for RealName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.real, self.service)
    }
}

/// What operators ordered, and what becomes of sessions whose real server was taken out.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    orders: BTreeMap<RealName, Order>,
    /// Real servers that the configuration no longer has, whose sessions may go on for a time.
    leaving: BTreeMap<RealId, (RealName, Until)>,
    /// Real servers whose sessions are being reset.
    resets: BTreeMap<RealId, Reset>,
    /// What workers are still to be asked: the worker, the real server, where in its table.
    todo: VecDeque<(usize, RealId, u32)>,
}

/// What was ordered of one real server.
#[derive(Clone, Debug, Default)]
struct Order {
    drained: Option<Drained>,
    weighed: Option<Weighed>,
    /// A weight that a configuration on trial took away: it is back when that goes.
    aside: Option<Weighed>,
}

/// Who takes no new sessions.
#[derive(Clone, Debug)]
pub(crate) struct Drained {
    pub(crate) said: Said,
    /// For how long in this life of the daemon.
    pub(crate) since: Instant,
    pub(crate) until: Option<Until>,
}

/// Until when sessions may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Until {
    pub(crate) at: Instant,
    pub(crate) then: DrainEnd,
}

#[derive(Clone, Debug)]
struct Weighed {
    said: Said,
    weight: u16,
}

/// Who said it, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) by: String,
    /// As RFC 3339.
    pub(crate) at: String,
}

/// Why the sessions of a real server are reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// Their time to drain is over.
    Drained,
    /// It is down, and its service does not want them to go on.
    Down,
}

#[derive(Debug)]
struct Reset {
    name: RealName,
    why: Why,
    /// Workers that have not come to the end of their tables.
    missing: usize,
    count: u64,
}

/// What outlives the daemon of an order: the sessions do not, and so no deadline.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptOrder {
    service: String,
    real: SocketAddr,
    drained: Option<Said>,
    weighed: Option<(u16, Said)>,
}

impl Said {
    fn now(by: String) -> Self {
        Self {
            by,
            at: state::moment(SystemTime::now()),
        }
    }
}

impl Until {
    fn new(now: Instant, drain: Drain) -> Self {
        Self {
            at: now + drain.after,
            then: drain.then,
        }
    }

    /// Returns how long it is until then.
    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }
}

impl Overlay {
    /// Reads what was ordered before a restart.
    ///
    /// # Errors
    /// Says that it is damaged.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let kept: Vec<KeptOrder> = serde_json::from_str(text)
            .map_err(|error| format!("the orders of before the restart are lost: {error}"))?;
        let now = Instant::now();
        let orders = kept.into_iter().map(|kept| {
            let name = RealName {
                service: kept.service,
                real: kept.real,
            };
            let order = Order {
                drained: kept.drained.map(|said| Drained {
                    said,
                    since: now,
                    until: None,
                }),
                weighed: kept.weighed.map(|(weight, said)| Weighed { said, weight }),
                aside: None,
            };
            (name, order)
        });
        Ok(Self {
            orders: orders.collect(),
            ..Self::default()
        })
    }

    /// Writes what outlives the daemon.
    pub(crate) fn print(&self) -> String {
        let orders = self.orders.iter();
        let kept: Vec<KeptOrder> = orders
            .map(|(name, order)| KeptOrder {
                service: name.service.clone(),
                real: name.real,
                drained: order.drained.as_ref().map(|drained| drained.said.clone()),
                // No trial survives a restart.
                weighed: order
                    .weighed
                    .as_ref()
                    .or(order.aside.as_ref())
                    .map(|weighed| (weighed.weight, weighed.said.clone())),
            })
            .collect();
        // Strings and numbers only: JSON cannot refuse them.
        serde_json::to_string_pretty(&kept).unwrap_or_default()
    }

    /// Returns what workers are to be told of a real server.
    pub(crate) fn ordered(&self, name: &RealName) -> Ordered {
        let order = self.orders.get(name);
        Ordered {
            weight: order.and_then(|order| Some(order.weighed.as_ref()?.weight)),
            draining: order.is_some_and(|order| order.drained.is_some()),
        }
    }

    /// Returns who takes no new sessions by command.
    pub(crate) fn drained(&self, name: &RealName) -> Option<&Drained> {
        self.orders.get(name)?.drained.as_ref()
    }

    /// Says in words what holds for a real server by command.
    pub(crate) fn words(&self, name: &RealName) -> Vec<String> {
        let mut words = Vec::new();
        let Some(order) = self.orders.get(name) else {
            return words;
        };
        if let Some(Drained { said, until, .. }) = &order.drained {
            let until = until.map_or_else(String::new, |until| {
                let at = state::moment(SystemTime::now() + until.left());
                match until.then {
                    DrainEnd::Reset => format!("; what is left at {at} is reset"),
                    DrainEnd::Keep => format!("; what is left at {at} is told, and goes on"),
                }
            });
            words.push(format!(
                "takes no new sessions, by {} at {}{until}",
                said.by, said.at
            ));
        }
        if let Some(Weighed { said, weight }) = &order.weighed {
            words.push(format!(
                "has weight {weight}, by {} at {}",
                said.by, said.at
            ));
        }
        words
    }

    /// Returns a row for each order on a real server that there is.
    pub(crate) fn rows(&self, snapshot: &Snapshot) -> Vec<OverrideRow> {
        let mut rows = Vec::new();
        for (name, order) in &self.orders {
            let Some(real) = real_of(snapshot, name) else {
                continue;
            };
            let row = |setting: &str, value: String, configured: String, said: &Said| OverrideRow {
                setting: setting.to_owned(),
                object: format!("{}@{}", name.real, name.service),
                value,
                configured,
                by: said.by.clone(),
                since: said.at.clone(),
                until: None,
            };
            if let Some(Drained { said, .. }) = &order.drained {
                rows.push(row("drain", "on".to_owned(), "off".to_owned(), said));
            }
            if let Some(Weighed { said, weight }) = &order.weighed {
                let (now, own) = (weight.to_string(), real.weight.to_string());
                rows.push(row("weight", now, own, said));
            }
        }
        rows
    }

    /// Gives a real server no new sessions.
    fn drain(&mut self, name: RealName, by: String, now: Instant, drain: Option<Drain>) {
        let until = drain.map(|drain| Until::new(now, drain));
        let order = self.orders.entry(name).or_default();
        order.drained = Some(match order.drained.take() {
            // The same with another deadline.
            Some(drained) => Drained { until, ..drained },
            None => Drained {
                said: Said::now(by),
                since: now,
                until,
            },
        });
    }

    /// Gives a real server new sessions again; false where it has them.
    fn enable(&mut self, name: &RealName) -> bool {
        let Some(order) = self.orders.get_mut(name) else {
            return false;
        };
        let was = order.drained.take().is_some();
        self.forget_empty();
        was
    }

    fn weigh(&mut self, name: RealName, by: String, weight: Option<u16>) {
        let order = self.orders.entry(name).or_default();
        let said = Said::now(by);
        order.weighed = weight.map(|weight| Weighed { said, weight });
        self.forget_empty();
    }

    fn forget_empty(&mut self) {
        self.orders.retain(|_, order| {
            order.drained.is_some() || order.weighed.is_some() || order.aside.is_some()
        });
    }

    /// Follows a change of the configuration: what it says of a weight wins over a command of before,
    /// and the sessions of real servers that it no longer has may go on for a time. What ends that way
    /// is forgotten where the configuration is one that stays, and else only set aside.
    pub(crate) fn adopt(
        &mut self,
        old: &Snapshot,
        new: &Snapshot,
        now: Instant,
        stays: bool,
    ) -> Vec<EventRecord> {
        let mut events = Vec::new();
        let (before, after) = (reals(old), reals(new));
        for (name, order) in &mut self.orders {
            let weights = (before.get(name), after.get(name));
            if let (Some((_, old)), Some((_, new))) = weights
                && old.weight != new.weight
                && let Some(weighed) = order.weighed.take()
            {
                let (weight, by) = (weighed.weight, &weighed.said.by);
                let text = format!(
                    "{name} has weight {} of the configuration, no longer {weight} by {by}",
                    new.weight
                );
                events.push(about(
                    name,
                    Severity::Notice,
                    "weight-by-command-ended",
                    text,
                ));
                if !stays && order.aside.is_none() {
                    order.aside = Some(weighed);
                }
            }
            if stays
                && let Some(aside) = order.aside.take()
                && order.weighed.is_none()
            {
                // What was on trial is gone.
                let text = format!(
                    "{name} has weight {} again, by {}",
                    aside.weight, aside.said.by
                );
                events.push(about(
                    name,
                    Severity::Notice,
                    "weight-by-command-back",
                    text,
                ));
                order.weighed = Some(aside);
            }
        }
        if stays {
            events.extend(self.settle(new));
        }
        self.forget_empty();
        for (name, (service, real)) in &before {
            let services = new.services.iter();
            let mut services = services.filter(|new| new.id == service.id);
            if let (None, Some(service)) = (after.get(name), services.next())
                && let Some(drain) = service.drain
            {
                let until = Until::new(now, drain);
                self.leaving.insert(real.id, (name.clone(), until));
            }
        }
        events
    }

    /// Follows a configuration that stays: what it ended stays ended.
    pub(crate) fn settle(&mut self, snapshot: &Snapshot) -> Vec<EventRecord> {
        let there = reals(snapshot);
        // A real server that comes back has another id, and keeps the sessions of before.
        self.leaving
            .retain(|_, (name, _)| !there.contains_key(name));
        for order in self.orders.values_mut() {
            order.aside = None;
        }
        let events = self.forget_gone(snapshot);
        self.forget_empty();
        events
    }

    /// Forgets what is about real servers that a configuration does not have.
    pub(crate) fn forget_gone(&mut self, snapshot: &Snapshot) -> Vec<EventRecord> {
        let there = reals(snapshot);
        let mut events = Vec::new();
        self.orders.retain(|name, _| {
            let stays = there.contains_key(name);
            if !stays {
                let text = format!("{name} is gone, and what was ordered of it by command");
                events.push(about(name, Severity::Notice, "order-ended", text));
            }
            stays
        });
        events
    }

    /// Returns the real servers whose time is over, with what becomes of their sessions.
    fn due(&mut self, snapshot: &Snapshot, now: Instant) -> Vec<(RealName, RealId, DrainEnd)> {
        // It is asked ten times a second: the names of ten thousand real servers are made where
        // something is due only.
        let mut drained = self
            .orders
            .values()
            .filter_map(|it| it.drained.as_ref()?.until);
        let mut leaving = self.leaving.values().map(|(_, until)| *until);
        let is_over = |until: Until| now >= until.at;
        if !drained.any(is_over) && !leaving.any(is_over) {
            return Vec::new();
        }
        let mut due = Vec::new();
        let there = reals(snapshot);
        for (name, order) in &mut self.orders {
            let Some(drained) = &mut order.drained else {
                continue;
            };
            // Where a configuration on trial does not have it, it is due when that goes.
            if let Some((_, real)) = there.get(name)
                && let Some(until) = drained.until.take_if(|until| now >= until.at)
            {
                due.push((name.clone(), real.id, until.then));
            }
        }
        self.leaving.retain(|id, (name, until)| {
            let is_due = now >= until.at && !there.contains_key(name);
            if is_due {
                due.push((name.clone(), *id, until.then));
            }
            !is_due
        });
        due
    }

    /// Has every worker reset the sessions of a real server.
    fn reset(&mut self, name: RealName, real: RealId, workers: usize, why: Why) {
        if self.resets.contains_key(&real) {
            // They are being reset already.
            return;
        }
        let reset = Reset {
            name,
            why,
            missing: workers,
            count: 0,
        };
        self.resets.insert(real, reset);
        self.todo.extend((0..workers).map(|place| (place, real, 0)));
    }

    /// Returns what the next worker is to be asked.
    fn next_to_ask(&mut self) -> Option<(usize, RealId, u32)> {
        self.todo.pop_front()
    }

    /// Takes what a worker has reset, and says when all of them are done.
    pub(crate) fn took(
        &mut self,
        place: usize,
        real: RealId,
        count: u32,
        next: Option<u32>,
    ) -> Option<EventRecord> {
        let reset = self.resets.get_mut(&real)?;
        reset.count += u64::from(count);
        if let Some(next) = next {
            self.todo.push_back((place, real, next));
            return None;
        }
        reset.missing = reset.missing.saturating_sub(1);
        if reset.missing > 0 {
            return None;
        }
        let Reset {
            name, why, count, ..
        } = self.resets.remove(&real)?;
        let plural = if count == 1 { " was" } else { "s were" };
        let were = format!("{count} session{plural} reset");
        let record = match why {
            Why::Drained => {
                let text = format!("the time of {name} to drain is over; {were}");
                about(&name, Severity::Notice, "drain-ended", text)
            }
            Why::Down => {
                let text = format!("{name} is down; {were}");
                let record = about(&name, Severity::Notice, "sessions-reset", text);
                EventRecord {
                    class: EventClass::Health,
                    ..record
                }
            }
        };
        Some(record.field("sessions", count))
    }

    /// Writes a configuration with what holds beside it as comments.
    pub(crate) fn config_lines(&self, effective: &str) -> Vec<String> {
        let mut service = "";
        let mut lines = Vec::new();
        for line in effective.lines() {
            lines.push(line.to_owned());
            if let Some(heading) = line.strip_prefix('[') {
                let heading = heading.strip_suffix(']').unwrap_or_default();
                service = heading.strip_prefix("service ").unwrap_or_default();
            }
            let mut words = line.split_whitespace();
            let (Some("real"), Some("="), Some(real)) = (words.next(), words.next(), words.next())
            else {
                continue;
            };
            let Ok(real) = real.parse() else {
                continue;
            };
            let name = RealName {
                service: service.to_owned(),
                real,
            };
            let words = self.words(&name).into_iter();
            lines.extend(words.map(|words| format!("{BY_COMMAND}{real} {words}")));
        }
        lines
    }
}

/// Returns the lines that [`Overlay::config_lines`] was made of.
pub(in crate::control) fn without_orders(config: &str) -> impl Iterator<Item = &str> {
    let lines = config.lines();
    lines.filter(|line| !line.starts_with(BY_COMMAND))
}

/// Returns the real server of a name.
fn real_of<'a>(snapshot: &'a Snapshot, name: &RealName) -> Option<&'a RealServer> {
    let mut services = snapshot.services.iter();
    let service = services.find(|service| service.name == name.service)?;
    let mut reals = service.reals.iter();
    reals.find(|real| SocketAddr::new(real.address, real.port) == name.real)
}

/// Returns every real server by its name.
fn reals(snapshot: &Snapshot) -> BTreeMap<RealName, (&Service, &RealServer)> {
    let services = snapshot.services.iter();
    services
        .flat_map(|service| {
            let reals = service.reals.iter();
            reals.map(move |real| (RealName::of(service, real), (service, real)))
        })
        .collect()
}

fn about(name: &RealName, severity: Severity, code: &'static str, text: String) -> EventRecord {
    EventRecord::new(EventClass::Operator, severity, code, text)
        .field("service", &name.service)
        .field("real", name.real)
}
