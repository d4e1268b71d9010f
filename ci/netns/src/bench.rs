//! The system half of `cargo xtask bench`: Weir, bare loops over the same devices and the kernel in
//! the same lab, one after the other and again, each with one core.

mod floods;
mod middle;
pub(crate) mod one_core;
mod people;
mod scaling;
mod start_up;
mod syscalls;
pub mod table;
mod wire;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::cores::Cores;
use table::Table;

/// A named part of the bench.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its name, for `--only`.
    pub name: &'static str,
    /// What it measures, in one line.
    pub shows: &'static str,
    run: fn(&mut Bench) -> Result<()>,
}

/// Every part.
pub const ALL: &[Part] = &[
    Part {
        name: "cookie",
        shows: "SYNs answered with cookies: CPU time, peak and overload",
        run: floods::cookies,
    },
    Part {
        name: "forward",
        shows: "datagrams of 64 k flows translated: CPU time, peak and overload",
        run: floods::forward,
    },
    Part {
        name: "pages",
        shows: "wrk: connections and requests per second, and what each costs",
        run: people::pages,
    },
    Part {
        name: "latency",
        shows: "datagrams there and back beside other traffic",
        run: people::latency,
    },
    Part {
        name: "bulk",
        shows: "iperf3 both ways",
        run: people::bulk,
    },
    Part {
        name: "start",
        shows: "from exec and from kill -9 to the first packet",
        run: start_up::run,
    },
    Part {
        name: "system-calls",
        shows: "what a worker asks of the kernel for each packet",
        run: syscalls::run_all,
    },
    Part {
        name: "workers",
        shows: "one worker and two, and what a hand-over costs",
        run: scaling::run,
    },
];

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// One round of short bursts.
    Quick,
    /// What the documents quote.
    Full,
    /// More rounds.
    Long,
}

/// A run of the bench.
#[derive(Debug)]
pub struct Bench {
    /// The `weir` binary.
    pub weir: PathBuf,
    /// The folder with the examples of `netmap-io`.
    pub examples: PathBuf,
    /// How long to measure.
    pub length: Length,
    /// Only those in the middle whose names contain one of these.
    pub middles: Vec<String>,
    /// Whether to print each round.
    pub talks: bool,
    /// Where to put `perf record` of the load balancer's core at a steady pace; none: do not.
    pub perf: Option<PathBuf>,
    /// The figures so far.
    pub table: Table,
    cores: Cores,
}

impl Bench {
    /// Plans a run with these programs.
    #[must_use]
    pub fn new(weir: PathBuf, examples: PathBuf, length: Length) -> Self {
        Self {
            weir,
            examples,
            length,
            middles: Vec::new(),
            talks: false,
            perf: None,
            table: Table::default(),
            cores: Cores::of_this_machine(),
        }
    }

    /// Runs the parts whose names contain one of `names`; all without names.
    ///
    /// # Errors
    /// When a part cannot be measured, or no part has such a name.
    pub fn run(&mut self, names: &[String]) -> Result<()> {
        if self.cores.weir == self.cores.others {
            bail!("the bench needs two cores: one for the load balancer, one for everything else");
        }
        let chosen = |part: &&Part| {
            names.is_empty() || names.iter().any(|name| part.name.contains(name.as_str()))
        };
        let mut ran = false;
        for part in ALL.iter().filter(chosen) {
            println!("-- {}: {}", part.name, part.shows);
            (part.run)(self).with_context(|| part.name)?;
            ran = true;
        }
        if !ran {
            let known: Vec<&str> = ALL.iter().map(|part| part.name).collect();
            bail!(
                "no part is named like {names:?}; there are {}",
                known.join(", ")
            );
        }
        Ok(())
    }

    fn rounds(&self) -> usize {
        match self.length {
            Length::Quick => 1,
            Length::Full => 3,
            Length::Long => 9,
        }
    }

    fn figure<T>(&self, quick: T, full: T) -> T {
        match self.length {
            Length::Quick => quick,
            Length::Full | Length::Long => full,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.middles.is_empty() || self.middles.iter().any(|part| name.contains(part.as_str()))
    }
}
