//! Carrying out what operators order of real servers.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use weir_control::{Code, OrderedRow, Rejection, Reply};
use weir_model::{Drain, DrainEnd, RealServer, Service, Severity, Snapshot};

use super::{RealName, Why, about};
use crate::command::Command;
use crate::control::Control;
use crate::control::answer;
use crate::control::apply::{Asker, operator_event};
use crate::control::operator::Operator;
use crate::control::server::ClientId;

/// The longest that sessions may go on.
const LONGEST: Duration = Duration::from_hours(24);

/// Which real server is meant.
#[derive(Debug)]
pub(crate) struct Meant {
    pub(crate) service: String,
    pub(crate) real: String,
}

/// What is ordered of it.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// No new sessions.
    Drain {
        deadline: Option<Duration>,
        then: Option<String>,
    },
    /// New sessions.
    Enable,
    /// Another weight, or that of the configuration.
    Weight(Option<u16>),
}

impl Control {
    /// Carries out what an operator orders of a real server, and answers.
    pub(in crate::control) fn order(
        &mut self,
        client: ClientId,
        operator: Operator,
        meant: &Meant,
        wanted: &Wanted,
    ) {
        let replies = match self.try_order(client, operator, meant, wanted) {
            Ok(row) => vec![Reply::ordered(&row), Reply::done(1)],
            Err(rejection) => vec![Reply::refused(&rejection)],
        };
        self.finish(client, &replies);
    }

    fn try_order(
        &mut self,
        client: ClientId,
        operator: Operator,
        meant: &Meant,
        wanted: &Wanted,
    ) -> Result<OrderedRow, Rejection> {
        let snapshot = self.scene.running.snapshot.clone();
        let (service, real) = find(&snapshot, meant)?;
        let name = RealName::of(service, real);
        let (by, now) = (operator.to_string(), Instant::now());
        let overlay = &mut self.scene.overlay;
        let mut deadline = None;
        let (code, text) = match wanted {
            Wanted::Drain {
                deadline: after,
                then,
            } => {
                let drain = drain_of(service, *after, then.as_deref())?;
                deadline = drain;
                overlay.drain(name.clone(), by, now, drain);
                ("drain", format!("{name} takes no new sessions"))
            }
            Wanted::Enable => {
                let was = overlay.enable(&name);
                let again = if was { "again" } else { "as before" };
                ("enable", format!("{name} takes new sessions {again}"))
            }
            Wanted::Weight(weight) => {
                overlay.weigh(name.clone(), by, *weight);
                let text = match weight {
                    Some(weight) => {
                        format!("{name} has weight {weight} until it is told otherwise")
                    }
                    None => format!("{name} has weight {} of the configuration", real.weight),
                };
                ("weight", text)
            }
        };
        self.scene.health.order(real.id, overlay.ordered(&name));
        let asker = Asker::Client(client, operator);
        let until = deadline.map_or_else(String::new, |drain| {
            let after = humantime::format_duration(drain.after);
            match drain.then {
                DrainEnd::Reset => format!("; what it has left in {after} is reset"),
                DrainEnd::Keep => format!("; what it has left in {after} goes on"),
            }
        });
        let sentence = format!("{text}{}{until}", asker.by());
        let record = operator_event(Severity::Notice, code, sentence, &asker);
        let mut record = record
            .field("service", &name.service)
            .field("real", name.real);
        if let Some(drain) = deadline {
            record = record
                .field("deadline_s", drain.after.as_secs())
                .field("then", drain.then.name());
        }
        self.scene.events.say(now, record);
        let not_kept = self.keep_orders();
        Ok(OrderedRow {
            service: name.service.clone(),
            real: name.real.to_string(),
            weight: u32::from(self.scene.health.weight(real)),
            draining: self.scene.health.ordered(real.id).draining,
            text,
            warning: not_kept.or_else(|| self.nobody_left(service)),
        })
    }

    /// Has what was ordered outlive a restart; returns what went wrong, which is said as well.
    pub(in crate::control) fn keep_orders(&mut self) -> Option<String> {
        let kept = self.scene.kept.keep_orders(&self.scene.overlay.print());
        let error = kept.err()?;
        let text = format!("what was ordered will not hold after a restart: {error}");
        let (now, said) = (Instant::now(), text.clone());
        self.scene
            .events
            .system(now, Severity::Error, "orders-not-kept", said);
        Some(text)
    }

    /// Reads what was ordered before a restart.
    pub(in crate::control) fn read_orders(&mut self) {
        let now = Instant::now();
        match self.scene.kept.orders() {
            Ok(overlay) => self.scene.overlay = overlay,
            Err(error) => {
                self.scene
                    .events
                    .system(now, Severity::Error, "orders-lost", error);
            }
        }
        let snapshot = self.scene.running.snapshot.clone();
        for event in self.scene.overlay.forget_gone(&snapshot) {
            self.scene.events.say(now, event);
        }
        self.tell_orders();
    }

    /// Has the book of health know what was ordered of the real servers that there are.
    pub(in crate::control) fn tell_orders(&mut self) {
        let scene = &mut self.scene;
        for service in scene.running.snapshot.services.iter() {
            for real in &service.reals {
                let ordered = scene.overlay.ordered(&RealName::of(service, real));
                if scene.health.ordered(real.id) != ordered {
                    scene.health.order(real.id, ordered);
                }
            }
        }
    }

    /// Ends or lets go the sessions of real servers whose time to drain is over.
    pub(in crate::control) fn look_at_drains(&mut self) {
        let now = Instant::now();
        let due = self.scene.overlay.due(&self.scene.running.snapshot, now);
        for (name, real, then) in due {
            match then {
                DrainEnd::Reset => {
                    let workers = self.scene.fleet.workers().len();
                    self.scene.overlay.reset(name, real, workers, Why::Drained);
                }
                DrainEnd::Keep => {
                    let left = self.scene.fleet.traffic().real(real).established;
                    let text =
                        format!("the time of {name} to drain is over; {left} sessions go on");
                    let record = about(&name, Severity::Notice, "drain-ended", text);
                    self.scene.events.say(now, record.field("sessions", left));
                }
            }
        }
        self.ask_for_resets();
    }

    /// Ends the sessions of real servers that went down, where their services want that.
    pub(in crate::control) fn reset_sessions_of_fallen(&mut self) {
        let snapshot = self.scene.running.snapshot.clone();
        let workers = self.scene.fleet.workers().len();
        while let Some(id) = self.scene.health.next_reset() {
            let all = snapshot.services.iter();
            let mut all = all.flat_map(|service| service.reals.iter().map(move |it| (service, it)));
            if let Some((service, real)) = all.find(|(_, real)| real.id == id) {
                let (name, why) = (RealName::of(service, real), Why::Down);
                self.scene.overlay.reset(name, id, workers, why);
            }
        }
        self.ask_for_resets();
    }

    /// Asks workers to reset sessions, as far as they have room for it.
    pub(in crate::control) fn ask_for_resets(&mut self) {
        let scene = &mut self.scene;
        while let Some((place, real, cursor)) = scene.overlay.next_to_ask() {
            let worker = scene.fleet.worker(place);
            let command = Command::Reset { real, cursor };
            if worker.is_some_and(|worker| !worker.send_if_idle(command)) {
                // With the next tick.
                scene.overlay.todo.push_front((place, real, cursor));
                return;
            }
        }
    }

    /// Warns where a service has nobody left who takes new sessions.
    fn nobody_left(&self, service: &Service) -> Option<String> {
        let health = &self.scene.health;
        let takes = |real: &RealServer| {
            let is_out = health.is_down(real.id) || health.is_inhibited(real.id);
            !is_out && !health.ordered(real.id).draining && health.weight(real) > 0
        };
        let text = format!("no real server of {} takes new sessions now", service.name);
        (!service.reals.iter().any(takes)).then_some(text)
    }
}

/// Finds a real server by the names that a request gives.
pub(crate) fn find<'a>(
    snapshot: &'a Snapshot,
    Meant { service, real }: &Meant,
) -> Result<(&'a Service, &'a RealServer), Rejection> {
    let unknown = |text| Rejection {
        code: Code::UnknownName,
        text,
    };
    let mut services = snapshot.services.iter();
    let Some(found) = services.find(|one| one.name == *service) else {
        return Err(unknown(answer::unknown_service(snapshot, service)));
    };
    let is_meant = |one: &&RealServer| {
        real.parse() == Ok(SocketAddr::new(one.address, one.port))
            || real.parse::<IpAddr>() == Ok(one.address)
    };
    let mut meant = found.reals.iter().filter(is_meant);
    let list = || {
        let reals = found.reals.iter().take(10);
        let reals: Vec<String> = reals
            .map(|one| SocketAddr::new(one.address, one.port).to_string())
            .collect();
        reals.join(", ")
    };
    match (meant.next(), meant.next()) {
        (Some(one), None) => Ok((found, one)),
        (Some(_), Some(_)) => Err(unknown(format!(
            "{service} has several real servers at {real}; name one of {}",
            list()
        ))),
        (None, _) => Err(unknown(format!(
            "{service} has no real server {real}; there is {}",
            list()
        ))),
    }
}

/// Says how long sessions may go on: as ordered, or else as the service says.
fn drain_of(
    service: &Service,
    deadline: Option<Duration>,
    then: Option<&str>,
) -> Result<Option<Drain>, Rejection> {
    let bad = |text: &str| Rejection {
        code: Code::BadArgument,
        text: text.to_owned(),
    };
    if deadline.is_some_and(|deadline| deadline > LONGEST) {
        return Err(bad(
            "sessions may go on for a day at most; without a deadline until they end",
        ));
    }
    let then = match then {
        None => None,
        Some(word) => {
            let mut names = DrainEnd::NAMES.iter();
            let found = names.find(|(name, _)| *name == word);
            let found = found.ok_or_else(|| bad("`then` is reset or keep"))?;
            Some(found.1)
        }
    };
    let own = service.drain;
    let after = deadline.or_else(|| own.map(|drain| drain.after));
    let own = own.map(|drain| drain.then);
    Ok(after.map(|after| Drain {
        after,
        then: then.or(own).unwrap_or(DrainEnd::Reset),
    }))
}
