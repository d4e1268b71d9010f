//! A service as a whole: whether its quorum is there, and who takes its new sessions.

use std::net::SocketAddr;

use weir_model::{AllDown, Availability, EventClass, Service, Severity};

use super::runner::Run;
use crate::event::EventRecord;

/// How long a hook may take.
const HOOK_LIMIT_MS: u64 = 10_000;
/// Tickets from here on are those of hooks.
const HOOKS: u64 = 1 << 63;

/// What one real server can do for its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    /// As checks find it.
    pub(super) is_up: bool,
    pub(super) is_draining: bool,
    /// Its weight, by the file, a command or a check.
    pub(super) weight: u16,
}

impl Share {
    fn may_serve(self) -> bool {
        !self.is_draining && self.weight > 0
    }
}

/// Who takes new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    /// The real servers that are up.
    Reals,
    /// The sorry server.
    Sorry,
    /// The real servers, although none is up.
    Kept,
    /// Nobody.
    Nobody,
}

/// What holds for a service as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) has_quorum: bool,
    pub(super) serving: Serving,
    /// The weight of the real servers that are up.
    pub(super) weight_up: u32,
    /// Some real server could serve, and must not, because the quorum is lost.
    pub(super) is_withheld: bool,
}

impl Status {
    /// Finds out what holds for a service, given what held before.
    pub(super) fn of(availability: &Availability, shares: &[Share], before: Option<Self>) -> Self {
        let serving = shares
            .iter()
            .filter(|share| share.is_up && share.may_serve());
        let weight_up: u32 = serving.map(|share| u32::from(share.weight)).sum();
        let has_quorum = availability.quorum.is_none_or(|quorum| {
            let was_lost = before.is_some_and(|before| !before.has_quorum);
            let more = if was_lost { quorum.hysteresis } else { 0 };
            weight_up >= quorum.weight.saturating_add(more)
        });
        let can_serve = weight_up > 0;
        let serving = match (can_serve && has_quorum, availability.sorry) {
            (true, _) => Serving::Reals,
            (false, Some(_)) => Serving::Sorry,
            (false, None) if can_serve => Serving::Reals,
            (false, None) => match availability.all_down {
                AllDown::Keep if shares.iter().any(|share| share.may_serve()) => Serving::Kept,
                AllDown::Keep | AllDown::Refuse => Serving::Nobody,
            },
        };
        Self {
            has_quorum,
            serving,
            weight_up,
            is_withheld: can_serve && serving == Serving::Sorry,
        }
    }

    /// Says whether somebody answers for the service's addresses.
    pub(super) fn answers(self) -> bool {
        self.has_quorum || self.serving == Serving::Sorry
    }

    /// Says whether a real server is told to be up.
    pub(super) fn tells_up(self, share: Share) -> bool {
        match self.serving {
            Serving::Reals | Serving::Nobody => share.is_up,
            Serving::Sorry => share.is_up && !self.is_withheld,
            Serving::Kept => true,
        }
    }

    /// Returns its name in tables, and why it is so where it is not as it should be.
    pub(super) fn words(self, service: &Service) -> (&'static str, Option<String>) {
        let quorum = || match service.availability.quorum {
            Some(quorum) if !self.has_quorum => Some(format!(
                "the quorum is lost: a weight of {} is up, {} is needed",
                self.weight_up,
                u64::from(quorum.weight) + u64::from(quorum.hysteresis)
            )),
            Some(_) | None => None,
        };
        let nobody = || "no real server takes sessions".to_owned();
        match self.serving {
            Serving::Reals if self.has_quorum => ("up", None),
            Serving::Reals => ("no-quorum", quorum()),
            Serving::Sorry => ("sorry", Some(quorum().unwrap_or_else(nobody))),
            Serving::Kept => ("all-down", Some(format!("{}; all are kept", nobody()))),
            Serving::Nobody => ("all-down", Some(format!("{}; they are refused", nobody()))),
        }
    }

    /// Returns what is to be said when this comes after something else.
    pub(super) fn events(self, service: &Service, before: Self) -> Vec<EventRecord> {
        let name = &service.name;
        let mut events = Vec::new();
        let mut say = |severity, code, text: String| {
            let event = EventRecord::new(EventClass::Health, severity, code, text);
            let event = event.field("service", name);
            events.push(event.field("weight-up", self.weight_up));
        };
        match (before.has_quorum, self.has_quorum) {
            (true, false) => {
                let needed = service
                    .availability
                    .quorum
                    .map_or(0, |quorum| quorum.weight);
                let up = self.weight_up;
                let text = format!(
                    "{name} has lost its quorum: a weight of {up} is up, {needed} is needed"
                );
                say(Severity::Error, "quorum-lost", text);
            }
            (false, true) => {
                let text = format!(
                    "{name} has its quorum again: a weight of {} is up",
                    self.weight_up
                );
                say(Severity::Notice, "quorum-gained", text);
            }
            (true, true) | (false, false) => {}
        }
        if before.serving == self.serving {
            return events;
        }
        match before.serving {
            Serving::Sorry => {
                let text = format!("the sorry server of {name} gets no new sessions any more");
                say(Severity::Notice, "sorry-ended", text);
            }
            Serving::Kept | Serving::Nobody => {
                let text = format!("{name} takes new sessions as it should again");
                if self.serving == Serving::Reals {
                    say(Severity::Notice, "all-down-over", text);
                }
            }
            Serving::Reals => {}
        }
        match self.serving {
            Serving::Reals => {}
            Serving::Sorry => {
                let why = if self.is_withheld {
                    "its quorum is lost"
                } else {
                    "no real server can"
                };
                let text = match service.availability.sorry {
                    Some(sorry) => format!(
                        "the sorry server {} gets the new sessions of {name}: {why}",
                        SocketAddr::new(sorry.address, sorry.port)
                    ),
                    None => format!("the sorry server gets the new sessions of {name}: {why}"),
                };
                say(Severity::Error, "sorry-began", text);
            }
            Serving::Kept => {
                let text = format!(
                    "no real server of {name} is up; new sessions go to them as if all were"
                );
                say(Severity::Error, "all-down", text);
            }
            Serving::Nobody => {
                let text = format!("no real server of {name} is up; new sessions are refused");
                say(Severity::Error, "all-down", text);
            }
        }
        events
    }
}

/// Returns the hook that runs when the quorum of a service changes; none when there is none.
pub(super) fn hook(service: &Service, status: Status, number: u64) -> Option<Run> {
    let (program, event) = if status.has_quorum {
        (&service.availability.quorum_up, "quorum-up")
    } else {
        (&service.availability.quorum_down, "quorum-down")
    };
    program
        .as_ref()
        .map(|program| run(service, program, event, status, number))
}

/// Returns the hook that runs when Weir stops while a service is up; none when there is none.
pub(super) fn last_hook(service: &Service, status: Status, number: u64) -> Option<Run> {
    let program = service.availability.quorum_down.as_ref();
    program
        .filter(|_| service.availability.omega && status.has_quorum)
        .map(|program| run(service, program, "stop", status, number))
}

/// Says whether a ticket is that of a hook.
pub(crate) fn is_hook(ticket: u64) -> bool {
    ticket >= HOOKS
}

fn run(service: &Service, program: &str, event: &str, status: Status, number: u64) -> Run {
    let listen: Vec<String> = service
        .listen
        .iter()
        .map(|listen| SocketAddr::new(listen.address, listen.port).to_string())
        .collect();
    let environment = [
        ("WEIR_SERVICE", service.name.clone()),
        ("WEIR_EVENT", event.to_owned()),
        ("WEIR_LISTEN", listen.join(" ")),
        ("WEIR_PROTOCOL", service.protocol.name().to_owned()),
        ("WEIR_WEIGHT_UP", status.weight_up.to_string()),
    ];
    Run {
        ticket: HOOKS | number,
        program: program.to_owned(),
        environment: environment
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec(),
        timeout_ms: HOOK_LIMIT_MS,
        in_turn: true,
    }
}

#[cfg(test)]
mod tests {
    use weir_model::{EndpointId, Quorum, RealId, RealServer};

    use super::*;

    fn shares(up: &[bool]) -> Vec<Share> {
        let share = |is_up: &bool| Share {
            is_up: *is_up,
            is_draining: false,
            weight: 2,
        };
        up.iter().map(share).collect()
    }

    fn sorry() -> RealServer {
        RealServer {
            id: RealId(9),
            endpoint: EndpointId(9),
            address: [10, 0, 0, 9].into(),
            port: 80,
            weight: 1,
            limit: None,
        }
    }

    #[test]
    fn a_quorum_that_was_lost_needs_its_hysteresis_to_come_back() {
        let availability = Availability {
            quorum: Some(Quorum {
                weight: 4,
                hysteresis: 1,
            }),
            ..Availability::default()
        };
        let of = |up: &[bool], before| Status::of(&availability, &shares(up), before);
        let all = of(&[true, true, true], None);
        let two = of(&[true, true, false], Some(all));
        assert!(all.has_quorum && two.has_quorum);
        let one = of(&[true, false, false], Some(two));
        assert!(!one.has_quorum && !one.answers());
        assert_eq!(one.serving, Serving::Reals, "the one that is up goes on");
        let again = of(&[true, true, false], Some(one));
        assert!(!again.has_quorum, "4 of 5");
        assert!(of(&[true, true, true], Some(again)).has_quorum);
    }

    #[test]
    fn the_sorry_server_serves_when_nobody_can_and_when_the_quorum_is_lost() {
        let mut availability = Availability {
            sorry: Some(sorry()),
            ..Availability::default()
        };
        let none = Status::of(&availability, &shares(&[false, false]), None);
        assert_eq!((none.serving, none.is_withheld), (Serving::Sorry, false));
        let one = Status::of(&availability, &shares(&[true, false]), Some(none));
        assert_eq!(one.serving, Serving::Reals);
        availability.quorum = Some(Quorum {
            weight: 4,
            hysteresis: 0,
        });
        let few = shares(&[true, false]);
        let one = Status::of(&availability, &few, Some(one));
        assert_eq!((one.serving, one.is_withheld), (Serving::Sorry, true));
        assert!(one.answers(), "its address stays");
        assert!(few.iter().all(|share| !one.tells_up(*share)));
    }

    #[test]
    fn when_all_are_down_they_are_kept_only_where_that_is_said() {
        let down = shares(&[false, false]);
        let refuse = Status::of(&Availability::default(), &down, None);
        assert_eq!(refuse.serving, Serving::Nobody);
        assert!(!refuse.tells_up(down[0]));
        let availability = Availability {
            all_down: AllDown::Keep,
            ..Availability::default()
        };
        let kept = Status::of(&availability, &down, None);
        assert_eq!(kept.serving, Serving::Kept);
        assert!(kept.tells_up(down[0]));
        let drained: Vec<Share> = down
            .into_iter()
            .map(|share| Share {
                is_draining: true,
                ..share
            })
            .collect();
        let nobody = Status::of(&availability, &drained, None);
        assert_eq!(
            nobody.serving,
            Serving::Nobody,
            "an operator wants them empty"
        );
    }
}
