//! Figures in lines, and the same as JSON.

use serde_json::{Value, json};

use crate::churn::{self, Churn};
use crate::measure::Figure;
use crate::memory::{self, Memory};
use crate::scaling::Scaling;

/// How much faster two workers have to be than one.
const SCALING: f64 = 1.8;
/// The nanoseconds that a session's whole life may take: a million a second.
const LIFE_NS: f64 = 1000.0;

/// One line: a walk and the least that it could take.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) sessions: u32,
    pub(crate) weir: Figure,
    pub(crate) limit: Figure,
    pub(crate) bound: f64,
}

/// Prints the head of the table.
pub(crate) fn print_head() {
    println!(
        "{:<16}{:>9}{:>9}{:>16}{:>9}{:>16}{:>8}{:>7}{:>8}",
        "walk", "sessions", "ns", "middle half", "limit", "middle half", "ratio", "bound", "Mpps"
    );
}

impl Row {
    fn ratio(&self) -> f64 {
        self.weir.median() / self.limit.median()
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<16}{:>9}{:>9.1}{:>16}{:>9.1}{:>16}{:>8.2}{:>7.2}{:>8.2}",
            self.name,
            short(self.sessions),
            self.weir.median(),
            spread(&self.weir, 1),
            self.limit.median(),
            spread(&self.limit, 1),
            self.ratio(),
            self.bound,
            1000.0 / self.weir.median(),
        );
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "name": self.name,
            "sessions": self.sessions,
            "ns": figure(&self.weir),
            "limit_ns": figure(&self.limit),
            "mpps": 1000.0 / self.weir.median(),
            "ratio": self.ratio(),
            "bound": self.bound,
            "holds": self.ratio() <= self.bound,
        })
    }
}

/// Prints what a session's whole life takes.
pub(crate) fn life(name: &str, sessions: u32, packets: usize, ns: &Figure) -> Value {
    let per_second = 1e9 / ns.median();
    println!(
        "{name:<16}{:>9}{:>9.1}{:>16}   a whole life of {packets} packets: {per_second:.0} sessions/s (bound {:.0})",
        short(sessions),
        ns.median(),
        spread(ns, 1),
        1e9 / LIFE_NS,
    );
    json!({
        "name": name,
        "sessions": sessions,
        "packets": packets,
        "ns": figure(ns),
        "per_second": per_second,
        "bound": 1e9 / LIFE_NS,
        "holds": ns.median() <= LIFE_NS,
    })
}

/// Prints what an established packet costs up to a stage, and from the one before.
pub(crate) fn stage(name: &str, sessions: u32, ns: &Figure, own: Option<f64>) -> Value {
    println!(
        "{:<19}{:>6}{:>9.1}{:>16}   {}",
        format!("stage {name}"),
        short(sessions),
        ns.median(),
        spread(ns, 1),
        own.map(|own| format!("{own:+.1}")).unwrap_or_default(),
    );
    json!({ "name": name, "sessions": sessions, "ns": figure(ns), "own_ns": own })
}

/// Prints one worker beside two.
pub(crate) fn scaling(scaling: &Scaling) -> Value {
    let ratio = scaling.ratio.median();
    println!(
        "two workers: {:.2} Mpps, one: {:.2} Mpps, ratio {ratio:.2} ({}; bound {SCALING})",
        scaling.two,
        scaling.one,
        spread(&scaling.ratio, 2),
    );
    json!({
        "one_mpps": scaling.one,
        "two_mpps": scaling.two,
        "ratio": figure(&scaling.ratio),
        "bound": SCALING,
        "holds": ratio >= SCALING,
    })
}

/// Tells what sessions occupy.
pub(crate) fn memory(memory: &Memory) -> String {
    format!(
        "memory: {:.1} bytes a session all in (bound {}), {} sessions open, a quarter of them over; table made in {:.2} s, sessions opened in {:.1} s",
        memory.bytes,
        memory::BOUND,
        short(memory.sessions),
        memory.made.as_secs_f64(),
        memory.opened.as_secs_f64(),
    )
}

pub(crate) fn memory_json(memory: &Memory) -> Value {
    json!({
        "sessions": memory.sessions,
        "bytes": memory.bytes,
        "bound": memory::BOUND,
        "holds": memory.bytes <= memory::BOUND,
        "made_s": memory.made.as_secs_f64(),
        "opened_s": memory.opened.as_secs_f64(),
    })
}

/// Tells how long turns took.
pub(crate) fn churn(churn: &Churn, sessions: u32) -> String {
    let us = |time: std::time::Duration| time.as_secs_f64() * 1e6;
    format!(
        "churn: table of {} at 90 %, {} sessions replaced in {} turns of 64 packets; thread CPU time of a turn: median {:.1} us, p99.99 {:.1} us, worst {:.1} us, worst that took as long when it was done again {:.1} us{} (bound {:.0}); {} turns with a context switch do not count",
        short(sessions),
        churn.sessions,
        churn.turns,
        us(churn.median),
        us(churn.most_of_10k),
        us(churn.worst),
        us(churn.worst_again),
        churn
            .worst_turn
            .map(|turn| format!(" in turn {turn}"))
            .unwrap_or_default(),
        us(churn::BOUND),
        churn.switched,
    )
}

/// Writes a number of sessions as one says it.
pub(crate) fn short(sessions: u32) -> String {
    match sessions {
        1_000_000.. if sessions.is_multiple_of(1_000_000) => format!("{}M", sessions / 1_000_000),
        1000.. if sessions.is_multiple_of(1000) => format!("{}k", sessions / 1000),
        _ => sessions.to_string(),
    }
}

fn spread(figure: &Figure, digits: usize) -> String {
    let (low, high) = figure.quartiles();
    format!("{low:.digits$}..{high:.digits$}")
}

fn figure(figure: &Figure) -> Value {
    let (low, high) = figure.quartiles();
    json!({ "median": figure.median(), "low": low, "high": high })
}
