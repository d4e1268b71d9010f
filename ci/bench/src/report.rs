//! The table on standard output, and the same as JSON.

use serde_json::{Value, json};

use crate::measure::Figure;

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
        "{:<18}{:>9}{:>9}{:>16}{:>9}{:>16}{:>8}{:>7}{:>8}",
        "walk", "sessions", "ns", "middle half", "limit", "middle half", "ratio", "bound", "Mpps"
    );
}

impl Row {
    pub(crate) fn ratio(&self) -> f64 {
        self.weir.median() / self.limit.median()
    }

    pub(crate) fn print(&self) {
        let spread = |figure: &Figure| {
            let (low, high) = figure.quartiles();
            format!("{low:.1}..{high:.1}")
        };
        println!(
            "{:<18}{:>9}{:>9.1}{:>16}{:>9.1}{:>16}{:>8.2}{:>7.2}{:>8.2}",
            self.name,
            short(self.sessions),
            self.weir.median(),
            spread(&self.weir),
            self.limit.median(),
            spread(&self.limit),
            self.ratio(),
            self.bound,
            1000.0 / self.weir.median(),
        );
    }

    pub(crate) fn json(&self) -> Value {
        let figure = |figure: &Figure| {
            let (low, high) = figure.quartiles();
            json!({ "median": figure.median(), "low": low, "high": high })
        };
        json!({
            "name": self.name,
            "sessions": self.sessions,
            "ns": figure(&self.weir),
            "limit_ns": figure(&self.limit),
            "ratio": self.ratio(),
            "bound": self.bound,
        })
    }
}

/// Writes a number of sessions as one says it.
pub(crate) fn short(sessions: u32) -> String {
    match sessions {
        1_000_000.. if sessions.is_multiple_of(1_000_000) => format!("{}M", sessions / 1_000_000),
        1000.. if sessions.is_multiple_of(1000) => format!("{}k", sessions / 1000),
        _ => sessions.to_string(),
    }
}
