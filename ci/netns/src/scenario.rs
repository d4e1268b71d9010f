//! What Weir must show with real Linux clients and servers.

pub mod adaptive;
pub mod bulk;
pub mod capture;
pub mod change_queue;
pub mod changes;
pub mod client_address;
pub mod console;
pub mod defence;
pub mod doctor;
pub mod drain;
pub mod flood;
pub mod handshakes;
pub mod health;
pub mod kill;
pub mod loss;
pub mod lost_acks;
pub mod lvs;
pub mod matrix;
pub mod mistakes;
pub mod options;
pub mod proxied_cost;
pub mod ratio;
pub mod reload;
pub mod siem;
pub mod small_pool;
pub mod soundness;
pub mod speed;
pub mod storm;

use std::cmp::Reverse;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::took;

/// A named part of the lab tests.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name, for `--scenario`.
    pub name: &'static str,
    /// What it shows, in one line.
    pub shows: &'static str,
    /// About how many seconds it takes where another one may run beside it: it measures no speed,
    /// and mostly waits. None where it has the machine for itself.
    beside: Option<u32>,
    run: fn(&mut Run) -> Result<()>,
}

/// Every scenario, the cheap ones first.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "mistakes",
        shows: "ten mistakes in a configuration: ten reports, exit 2",
        beside: None,
        run: mistakes::run,
    },
    Scenario {
        name: "soundness",
        shows: "the lab itself, with the kernel's NAT in Weir's place",
        beside: None,
        run: soundness::run,
    },
    Scenario {
        name: "client-address",
        shows: "servers see only LIPs; TOA, timestamps and checksums are right",
        beside: Some(4),
        run: client_address::run,
    },
    Scenario {
        name: "lost-acks",
        shows: "lost handshake ACKs and full-size segments: the TOA arrives, and it fits",
        beside: Some(4),
        run: lost_acks::run,
    },
    Scenario {
        name: "matrix",
        shows: "both drivers, one and two queues: pages, bytes, datagrams, pings, own traffic",
        beside: None,
        run: matrix::run,
    },
    Scenario {
        name: "ratio",
        shows: "iperf3 both ways against the kernel's NAT",
        beside: None,
        run: ratio::run,
    },
    Scenario {
        name: "bulk",
        shows: "super-frames go through af-packet whole, and as packets where they must",
        beside: None,
        run: bulk::run,
    },
    Scenario {
        name: "change-queue",
        shows: "two workers while flows change their queue",
        beside: None,
        run: change_queue::run,
    },
    Scenario {
        name: "loss",
        shows: "every byte arrives over links that lose frames",
        beside: Some(8),
        run: loss::run,
    },
    Scenario {
        name: "storm",
        shows: "connections in a row through one LIP with 1,000 ports; metrics are the ledger to the packet",
        beside: None,
        run: storm::run,
    },
    Scenario {
        name: "small-pool",
        shows: "a pool that is too small answers RST at once, and only its own service suffers",
        beside: Some(9),
        run: small_pool::run,
    },
    Scenario {
        name: "health",
        shows: "real servers are out and back in time; pages, programs, certificates, sorry, quorum",
        beside: Some(8),
        run: health::run,
    },
    Scenario {
        name: "reload",
        shows: "SIGHUP under load loses no session",
        beside: Some(16),
        run: reload::run,
    },
    Scenario {
        name: "changes",
        shows: "applies under load, one that nobody confirms, and kill -9 in the midst of them",
        beside: None,
        run: changes::run,
    },
    Scenario {
        name: "drain",
        shows: "weir drain: who blocks it, when it is over, and what becomes of who is left",
        beside: Some(7),
        run: drain::run,
    },
    Scenario {
        name: "defence",
        shows: "clients keep their real server, denied ones get nothing, SYNs come at their rate",
        beside: Some(5),
        run: defence::run,
    },
    Scenario {
        name: "capture",
        shows: "tcpdump reads what Weir's own capture wrote",
        beside: Some(8),
        run: capture::run,
    },
    Scenario {
        name: "siem",
        shows: "rsyslog gets events by UDP, TCP and TLS, in a flood and after it was away",
        beside: None,
        run: siem::run,
    },
    Scenario {
        name: "console",
        shows: "the console over SSH in a flood: what it shows holds, what is typed is done",
        beside: None,
        run: console::run,
    },
    Scenario {
        name: "lvs",
        shows: "ipvsadm's scripts, dumps and tables, and a keepalived.conf",
        beside: Some(3),
        run: lvs::run,
    },
    Scenario {
        name: "doctor",
        shows: "weir doctor finds nothing in a good lab and names each fault; threads can run nothing",
        beside: None,
        run: doctor::run,
    },
    Scenario {
        name: "kill",
        shows: "kill -9 leaves no program and no setting behind; restart works at once",
        beside: Some(4),
        run: kill::run,
    },
    Scenario {
        name: "handshakes",
        shows: "who speaks first, who has gone, and whose cookies are good",
        beside: Some(31),
        run: handshakes::run,
    },
    Scenario {
        name: "options",
        shows: "TCP options at the client x at the real server x SYNPROXY: what both can do is used",
        beside: Some(13),
        run: options::run,
    },
    Scenario {
        name: "adaptive",
        shows: "cookies come and go under load, and a slow flood is noticed, too",
        beside: Some(50),
        run: adaptive::run,
    },
    Scenario {
        name: "proxied-cost",
        shows: "CPU time per byte behind a cookie against plain FullNAT",
        beside: None,
        run: proxied_cost::run,
    },
    Scenario {
        name: "speed",
        shows: "the bench in short: cookies and translated packets against the kernel on one core",
        beside: None,
        run: speed::run,
    },
    Scenario {
        name: "flood",
        shows: "real clients beside a SYN flood, and beside the kernel's SYNPROXY",
        beside: None,
        run: flood::run,
    },
];

/// The drivers that every Linux has.
pub const DRIVERS: [&str; 2] = ["af-xdp", "af-packet"];

/// A run of scenarios: what it needs and how it went.
#[derive(Debug)]
pub struct Run {
    /// The `weir` binary.
    pub weir: PathBuf,
    /// Whether to take the full figures instead of the short ones.
    pub long: bool,
    outcome: Outcome,
    /// What would be printed, where another scenario runs beside this one.
    kept: Option<String>,
}

/// How a run of scenarios went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// How many checks passed.
    pub passed: u64,
    /// How many failed.
    pub failed: u64,
    /// How long each scenario took.
    pub times: Vec<(String, Duration)>,
}

impl Run {
    /// Starts a run with this binary.
    #[must_use]
    pub fn new(weir: PathBuf, long: bool) -> Self {
        Self {
            weir,
            long,
            outcome: Outcome::default(),
            kept: None,
        }
    }

    /// Runs the scenarios whose names contain one of `names`; all without names. Those that measure
    /// no speed run two at a time, unless the full figures are wanted.
    #[must_use]
    pub fn scenarios(mut self, names: &[String]) -> Outcome {
        let chosen = |scenario: &&Scenario| {
            names.is_empty()
                || names
                    .iter()
                    .any(|name| scenario.name.contains(name.as_str()))
        };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let pairs = !self.long && cores > 1;
        let (mut beside, alone): (Vec<&Scenario>, Vec<&Scenario>) = ALL
            .iter()
            .filter(chosen)
            .partition(|scenario| pairs && scenario.beside.is_some());
        beside.sort_by_key(|scenario| Reverse(scenario.beside));
        self.two_at_a_time(&beside);
        for scenario in alone {
            self.part("lab", scenario.name, scenario.shows, scenario.run);
        }
        self.outcome
    }

    /// Runs scenarios beside each other, in labs of their own; each one's lines come when it is over.
    fn two_at_a_time(&mut self, scenarios: &[&Scenario]) {
        if scenarios.is_empty() {
            return;
        }
        let begin = Instant::now();
        let next = AtomicUsize::new(0);
        let outcome = Mutex::new(&mut self.outcome);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let mut run = Self::new(self.weir.clone(), self.long);
                        run.kept = Some(String::new());
                        run.part("lab", scenario.name, scenario.shows, scenario.run);
                        let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
                        print!("{}", run.kept.unwrap_or_default());
                        outcome.passed += run.outcome.passed;
                        outcome.failed += run.outcome.failed;
                    }
                });
            }
        });
        let (name, time) = ("lab, two at a time".to_owned(), begin.elapsed());
        println!("{}", took::line(&name, time));
        self.outcome.times.push((name, time));
    }

    /// Does a named part of one kind of tests, and says what it shows and how long it took.
    pub fn part(
        &mut self,
        kind: &str,
        name: &str,
        shows: &str,
        body: impl FnOnce(&mut Self) -> Result<()>,
    ) {
        self.say(&format!("  -- {name}: {shows}"));
        let begin = Instant::now();
        if let Err(error) = body(self) {
            self.note(name, Err(error));
        }
        let (name, time) = (format!("{kind} {name}"), begin.elapsed());
        if self.kept.is_some() {
            // Its time is that of another one, too.
            self.say(&format!("      it took {:.1} s", time.as_secs_f64()));
        } else {
            self.say(&took::line(&name, time));
            self.outcome.times.push((name, time));
        }
    }

    /// Does two pieces of work beside each other, which have their own labs and measure no speed;
    /// the lines of each come when it is over.
    pub fn side_by_side(
        &mut self,
        name: &str,
        one: impl FnOnce(&mut Self) + Send,
        other: impl FnOnce(&mut Self) + Send,
    ) {
        let begin = Instant::now();
        let mut runs = [(); 2].map(|()| Self {
            kept: Some(String::new()),
            ..Self::new(self.weir.clone(), self.long)
        });
        let [first, second] = &mut runs;
        let broke_off = thread::scope(|scope| {
            let first = scope.spawn(move || one(first));
            let second = scope.spawn(move || other(second));
            usize::from(first.join().is_err()) + usize::from(second.join().is_err())
        });
        for run in runs {
            print!("{}", run.kept.unwrap_or_default());
            self.outcome.passed += run.outcome.passed;
            self.outcome.failed += run.outcome.failed;
        }
        for _ in 0..broke_off {
            self.note(name, Err(anyhow::anyhow!("it broke off")));
        }
        let time = begin.elapsed();
        self.say(&took::line(name, time));
        self.outcome.times.push((name.to_owned(), time));
    }

    /// Ends the run and returns how it went.
    #[must_use]
    pub fn finish(self) -> Outcome {
        self.outcome
    }

    /// Does one check and prints one line for it.
    pub fn check(&mut self, name: &str, body: impl FnOnce() -> Result<String>) {
        let result = body();
        self.note(name, result);
    }

    /// Returns the short or the full figure.
    #[must_use]
    pub fn figure<T>(&self, short: T, full: T) -> T {
        if self.long { full } else { short }
    }

    fn note(&mut self, name: &str, result: Result<String>) {
        match result {
            Ok(figure) => {
                self.outcome.passed += 1;
                self.say(&format!("ok    {name}: {figure}"));
            }
            Err(error) => {
                self.outcome.failed += 1;
                let why = format!("{error:#}").replace('\n', "\n        ");
                self.say(&format!("FAIL  {name}: {why}"));
            }
        }
    }

    /// Prints a line, or keeps it until the scenario is over.
    fn say(&mut self, line: &str) {
        match &mut self.kept {
            Some(kept) => {
                kept.push_str(line);
                kept.push('\n');
            }
            None => println!("{line}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn failures_are_counted_and_do_not_stop_the_run() {
        let mut run = Run::new(PathBuf::new(), false);
        run.check("one", || bail!("no"));
        run.check("two", || Ok(String::new()));
        assert_eq!((run.outcome.passed, run.outcome.failed), (1, 1));
    }

    #[test]
    fn two_pieces_of_work_are_counted_and_one_that_breaks_off_has_failed() {
        let mut run = Run::new(PathBuf::new(), false);
        run.side_by_side(
            "both",
            |run| run.check("good", || Ok(String::new())),
            |run| run.check("bad", || bail!("no")),
        );
        assert_eq!((run.outcome.passed, run.outcome.failed), (1, 1));
        assert_eq!(run.outcome.times.len(), 1);
        run.side_by_side("broken", |_| {}, |_| panic!("on purpose"));
        assert_eq!((run.outcome.passed, run.outcome.failed), (1, 2));
    }

    #[test]
    fn what_runs_beside_another_is_counted_once_and_timed_together() {
        const fn one(run: fn(&mut Run) -> Result<()>) -> Scenario {
            Scenario {
                name: "one",
                shows: "",
                beside: Some(1),
                run,
            }
        }
        let good = one(|run| {
            run.check("good", || Ok(String::new()));
            Ok(())
        });
        let bad = one(|_| bail!("broke off"));
        let mut run = Run::new(PathBuf::new(), false);
        run.two_at_a_time(&[&good, &bad, &good]);
        assert_eq!((run.outcome.passed, run.outcome.failed), (2, 1));
        assert_eq!(run.outcome.times.len(), 1);
    }

    #[test]
    fn names_of_scenarios_are_unique() {
        let mut names: Vec<_> = ALL.iter().map(|scenario| scenario.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
    }
}
