//! What a daemon says, as lines of the protocol: made of the protocol's own types, so that the
//! answers cannot drift from those of a daemon.

mod said;
mod services;
mod traffic;

use std::time::Duration;

use weir_control::{EventRow, Filter, Greeting, IdentityRow, Reply, Role, What};

use crate::model::data::Answer;
use crate::tests::fixture::said::{CONFIG, generations, syslog};
use crate::units::{date, time_of_day};
use crate::update::Message;

/// How the appliance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing is wrong.
    Calm,
    /// `web-tls` is flooded with SYNs.
    Flood,
    /// Real servers of three services do not answer.
    Down,
    /// A pool has hardly a port left.
    Exhausted,
    /// The daemon went away some seconds ago.
    Lost,
}

impl State {
    /// All, with the names that snapshots have.
    pub(crate) const ALL: [(Self, &'static str); 5] = [
        (Self::Calm, "calm"),
        (Self::Flood, "flood"),
        (Self::Down, "down"),
        (Self::Exhausted, "exhausted"),
        (Self::Lost, "lost"),
    ];
}

/// The time there when the first answer comes: 2026-11-22T12:04:27Z.
pub(crate) const BEGIN: u64 = 1_795_349_067;

/// How long the daemon had run then: the counters are what each second counted since.
const UPTIME: u64 = 1_048_000;

/// A daemon, some seconds after the first answer: counters go on as the rates say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Daemon {
    pub(crate) state: State,
    pub(crate) second: u64,
    /// Seconds that are left of a configuration that runs on trial.
    pub(crate) trial: Option<u64>,
}

impl Daemon {
    /// Returns the greeting.
    pub(crate) fn greeting(role: Role) -> Greeting {
        Greeting::new(role, "0.1.0", "lb1.dc2")
    }

    /// Returns who asks.
    pub(crate) fn identity(role: Role) -> IdentityRow {
        IdentityRow {
            name: "anna".to_owned(),
            from: "ssh 192.0.2.7".to_owned(),
            account: "ops".to_owned(),
            role: role.name().to_owned(),
        }
    }

    /// Returns the lines of an answer.
    pub(crate) fn lines(self, what: What, filter: &Filter) -> Vec<String> {
        fn rows<T: serde::Serialize>(what: What, rows: &[T]) -> Vec<String> {
            let lines = rows.iter().map(|row| Reply::row(what, row).to_line());
            lines
                .chain([Reply::done(rows.len() as u64).to_line()])
                .collect()
        }
        let wanted = |service: &str| filter.service.as_ref().is_none_or(|name| name == service);
        match what {
            What::Services => {
                let mut services = self.services();
                let brief = services
                    .iter_mut()
                    .filter(|row| !filter.has_reals_of(&row.name));
                brief.for_each(|row| row.reals.clear());
                rows(what, &services)
            }
            What::Status => rows(what, &[self.status()]),
            What::Pools => rows(what, &self.pools()),
            What::Sessions => rows(what, &self.sessions(filter)),
            What::Ports => rows(what, &self.ports()),
            What::Workers => rows(what, &self.workers()),
            What::Ledger => rows(what, &[self.ledger()]),
            What::Flood => {
                let floods = self.floods().into_iter();
                let floods: Vec<_> = floods.filter(|row| wanted(&row.service)).collect();
                rows(what, &floods)
            }
            What::Health => {
                let health = self.health().into_iter();
                let health: Vec<_> = health.filter(|row| wanted(&row.service)).collect();
                rows(what, &health)
            }
            What::Events => {
                let is_new = |row: &EventRow| filter.after.is_none_or(|after| row.sequence > after);
                let events: Vec<_> = self.events().into_iter().filter(is_new).collect();
                rows(what, &events)
            }
            What::Config => rows(what, &CONFIG.lines().collect::<Vec<_>>()),
            What::Generations => rows(what, &generations(self.trial.is_some())),
            What::Syslog => rows(what, &[syslog()]),
            What::History => rows(what, &self.history(filter)),
            What::Overrides => rows(what, &self.overrides()),
        }
    }

    /// Returns an answer as the link tells it.
    pub(crate) fn told(self, what: What, filter: Filter, at: Duration) -> Message {
        let lines = self.lines(what, &filter);
        let rows = lines.iter().filter_map(|line| {
            let reply: Reply = serde_json::from_str(line).unwrap();
            reply.row
        });
        Message::Told {
            what,
            answer: Answer::read(what, rows.collect()),
            filter,
            at,
            took: Duration::from_millis(2),
        }
    }

    fn flooded(self) -> bool {
        self.state == State::Flood
    }

    /// How long it had been so when the first answer came.
    fn since_when(self) -> u64 {
        match self.state {
            State::Calm | State::Lost => 0,
            State::Flood => 389,
            State::Down => 97,
            State::Exhausted => 31,
        }
    }

    /// Returns the second so long ago: nothing was wrong before it was as it is.
    fn ago(self, ago: u64) -> Self {
        Self {
            // What sways comes again after eleven seconds, also before the first answer.
            second: 11_000_000 + self.second - ago,
            state: if ago < self.since_when() + self.second {
                self.state
            } else {
                State::Calm
            },
            ..self
        }
    }

    /// Returns all seconds since the start of the daemon: one of those that are alike, and how many
    /// there are.
    fn seconds(self) -> Vec<(u64, Self)> {
        let wrong = self.since_when() + self.second;
        let mut all = Vec::new();
        for (first, end) in [(0, wrong), (wrong, UPTIME + self.second)] {
            let count = end - first;
            let alike = |n: u64| count / 11 + u64::from(n < count % 11);
            all.extend((0..11).map(|n| (alike(n), self.ago(first + n))));
        }
        all
    }

    /// Returns what was counted since the start of the daemon, of what is counted in each second.
    fn since(self, in_second: impl Fn(Self) -> u64) -> u64 {
        let seconds = self.seconds().into_iter();
        seconds.map(|(times, then)| times * in_second(then)).sum()
    }

    /// A number that goes up and down a little, so that each second's differs.
    fn sway(self, value: u64, salt: u64) -> u64 {
        let step = (self.second * 7 + salt * 3) % 11;
        value + value * step / 100
    }
}

/// A time as RFC 3339 writes it.
fn at(unix: u64) -> String {
    format!("{}T{}Z", date(unix), time_of_day(unix))
}

#[test]
fn times_read_back() {
    for unix in [
        BEGIN,
        0,
        951_868_799,
        951_868_800,
        1_709_251_199,
        4_102_444_800,
    ] {
        assert_eq!(crate::units::unix(&at(unix)), Some(unix));
    }
}
