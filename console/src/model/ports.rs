//! Ports, workers and the ledger: which lines there are, and what their rates are.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_control::{LedgerReply, PortRow, What, WorkerLedger, WorkerRow};

use crate::model::data::Data;
use crate::model::deltas::Deltas;
use crate::model::filter::{Cycle, Sorting, TextFilter};
use crate::model::history::{self, Figure, Graphing, Span};
use crate::model::list::{Cursor, Step};
use crate::model::screen::every;
use crate::model::{Model, Want};

/// A graph is no lower than this where it stands below something.
const GRAPH: usize = 8;

/// A line: places in what the daemon said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    PortsHead,
    Port(usize),
    PortsSum,
    WorkersHead,
    Worker(usize),
    WorkersSum,
    LedgerHead,
    /// A line of the account, and one of the reasons beside it.
    Ledger(usize),
}

/// What is looked at closely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Zoom {
    Port(String),
    Worker(u32),
    Ledger,
}

/// What the workers are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    #[default]
    Number,
    Busy,
    Dropped,
}

/// A line of the ledger's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// What became of frames, or where they came from; `+` before what came in.
    pub(crate) name: &'static str,
    /// Its place in the rates of the ledger.
    pub(crate) place: Option<usize>,
    pub(crate) frames: u64,
}

/// Why frames were dropped, and how many.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reason {
    pub(crate) name: String,
    pub(crate) per_s: Option<f64>,
    pub(crate) frames: u64,
}

/// The state of the screen.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) lines: Vec<Line>,
    pub(crate) cursor: Cursor,
    pub(crate) sorting: Sorting<Sort>,
    pub(crate) filter: TextFilter,
    pub(crate) zoom: Option<Zoom>,
    pub(crate) zoom_top: usize,
    pub(crate) graphing: Graphing,
    pub(crate) port_rates: Deltas,
    pub(crate) worker_rates: Deltas,
    pub(crate) ledger_rates: Deltas,
    /// The account of all workers, and why they dropped, most first.
    pub(crate) account: Vec<Account>,
    pub(crate) reasons: Vec<Reason>,
    selected: Option<Line>,
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            lines: Vec::new(),
            cursor: Cursor::default(),
            sorting: Sorting::default(),
            filter: TextFilter::default(),
            zoom: None,
            zoom_top: 0,
            graphing: Graphing {
                span: Span::default(),
                figure: Figure::Drops,
            },
            port_rates: Deltas::default(),
            worker_rates: Deltas::default(),
            ledger_rates: Deltas::default(),
            account: Vec::new(),
            reasons: Vec::new(),
            selected: None,
        }
    }
}

impl Cycle for Sort {
    const ALL: &'static [Self] = &[Self::Number, Self::Busy, Self::Dropped];
}

impl Sort {
    /// Returns its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Number => "by number",
            Self::Busy => "busiest first",
            Self::Dropped => "by drops/s",
        }
    }
}

/// Returns what the screen wants to be told.
pub(crate) fn wants(model: &Model) -> Vec<Want> {
    let mut wants = vec![
        every(What::Ports, model.every),
        every(What::Workers, model.every),
        every(What::Ledger, model.every),
    ];
    if model.ports.zoom == Some(Zoom::Ledger) || has_graph(model) {
        wants.push(history::want(None, model.ports.graphing.span, model.every));
    }
    wants
}

/// Says whether there is room for a graph below the list.
pub(crate) fn has_graph(model: &Model) -> bool {
    model.ports.zoom.is_none() && model.body_height() >= model.ports.lines.len() + GRAPH
}

impl Ports {
    /// Takes what the daemon said of ports.
    pub(crate) fn arrived_ports(&mut self, rows: &[PortRow], at: Duration) {
        let counters = rows.iter().map(|row| {
            let counters = vec![row.rx, row.tx, row.rx_ring_lost, row.tx_ring_lost];
            (row.name.clone(), counters)
        });
        self.port_rates.take(at, counters.collect());
    }

    /// Takes what the daemon said of workers.
    pub(crate) fn arrived_workers(&mut self, rows: &[WorkerRow], at: Duration) {
        let counters = rows.iter().map(|row| {
            let counters = vec![row.rx, row.tx, row.handed_in, row.handed_out, row.dropped];
            (row.worker.to_string(), counters)
        });
        self.worker_rates.take(at, counters.collect());
    }

    /// Takes what the daemon said of the ledger.
    pub(crate) fn arrived_ledger(&mut self, reply: &LedgerReply, at: Duration) {
        let total = &reply.total;
        let dropped = total.dropped.values().sum();
        let mut counters = BTreeMap::from([(
            "account".to_owned(),
            vec![
                total.rx,
                total.originated,
                total.tx,
                total.delivered,
                dropped,
                total.handed_in,
                total.handed_out,
            ],
        )]);
        for (reason, frames) in &total.dropped {
            counters.insert(format!("drop {reason}"), vec![*frames]);
        }
        for (counter, count) in &total.counters {
            counters.insert(format!("counter {counter}"), vec![*count]);
        }
        self.ledger_rates.take(at, counters);
        self.account = account(total);
        self.reasons = reasons(total, &self.ledger_rates);
    }

    /// Makes the lines anew.
    pub(crate) fn rebuild(&mut self, data: &Data, height: usize) {
        let filter = &self.filter;
        let seen = |text: &str| filter.shows(text);
        let mut lines = Vec::new();
        if let Some(told) = &data.ports {
            lines.push(Line::PortsHead);
            let rows = told.value.iter().enumerate();
            let rows = rows.filter(|(_, row)| seen(&port_text(row)));
            lines.extend(rows.map(|(place, _)| Line::Port(place)));
            if told.value.len() > 1 {
                lines.push(Line::PortsSum);
            }
        }
        if let Some(told) = &data.workers {
            lines.push(Line::WorkersHead);
            let mut places: Vec<usize> = (0..told.value.len())
                .filter(|place| {
                    let row = told.value.get(*place);
                    row.is_some_and(|row| seen(&worker_text(row)))
                })
                .collect();
            self.arrange(&mut places, &told.value);
            lines.extend(places.into_iter().map(Line::Worker));
            if told.value.len() > 1 {
                lines.push(Line::WorkersSum);
            }
        }
        if data.ledger.is_some() {
            lines.push(Line::LedgerHead);
            let count = self.account.len().max(self.reasons.len());
            lines.extend((0..count).map(Line::Ledger));
        }
        self.lines = lines;
        let mut all = self.lines.iter();
        let at = self
            .selected
            .and_then(|it| all.position(|line| *line == it));
        let index = at.unwrap_or_else(|| self.cursor.index.max(1));
        self.cursor.select(index, self.lines.len(), height);
        self.keep_head();
    }

    /// Goes up or down; headings are not selected.
    pub(crate) fn go(&mut self, step: Step, height: usize) {
        self.cursor.go(step, self.lines.len(), height);
        if self.at_cursor().is_some_and(is_head) {
            let further = match step {
                Step::Up | Step::PageUp if self.cursor.index > 0 => Step::Up,
                Step::Up
                | Step::PageUp
                | Step::Top
                | Step::Down
                | Step::PageDown
                | Step::Bottom => Step::Down,
            };
            self.cursor.go(further, self.lines.len(), height);
        }
        self.keep_head();
        self.selected = self.at_cursor();
    }

    /// Opens what is selected.
    pub(crate) fn open(&mut self, data: &Data) {
        let Some(line) = self.at_cursor() else {
            return;
        };
        let port = |place: usize| data.ports.as_ref()?.value.get(place);
        let worker = |place: usize| data.workers.as_ref()?.value.get(place);
        self.zoom_top = 0;
        self.zoom = match line {
            Line::Port(place) => port(place).map(|row| Zoom::Port(row.name.clone())),
            Line::Worker(place) => worker(place).map(|row| Zoom::Worker(row.worker)),
            Line::PortsHead
            | Line::PortsSum
            | Line::WorkersHead
            | Line::WorkersSum
            | Line::LedgerHead
            | Line::Ledger(_) => Some(Zoom::Ledger),
        };
    }

    fn at_cursor(&self) -> Option<Line> {
        self.lines.get(self.cursor.index).copied()
    }

    /// Where the first line is selected, the heading above it is seen.
    fn keep_head(&mut self) {
        if self.cursor.index == 1 {
            self.cursor.top = 0;
        }
    }

    fn arrange(&self, places: &mut [usize], rows: &[WorkerRow]) {
        let key = |place: &usize| {
            let row = rows.get(*place);
            match self.sorting.by {
                Sort::Number => 0.0,
                Sort::Busy => row.map_or(0.0, |row| f64::from(row.busy_percent)),
                Sort::Dropped => {
                    let rate =
                        row.and_then(|row| self.worker_rates.rate(&row.worker.to_string(), 4));
                    rate.unwrap_or_default()
                }
            }
        };
        places.sort_by(|a, b| key(b).total_cmp(&key(a)));
        self.sorting.arrange(places);
    }
}

fn is_head(line: Line) -> bool {
    match line {
        Line::PortsHead | Line::WorkersHead | Line::LedgerHead => true,
        Line::Port(_) | Line::PortsSum | Line::Worker(_) | Line::WorkersSum | Line::Ledger(_) => {
            false
        }
    }
}

/// Returns where the frames of a ledger came from and what became of them: what came in less what
/// went out is what is missing, nought where the ledger is balanced.
pub(crate) fn account(of: &WorkerLedger) -> Vec<Account> {
    let dropped = of.dropped.values().sum();
    let line = |name, place, frames| Account {
        name,
        place,
        frames,
    };
    let mut lines = vec![line("+ received", Some(0), of.rx)];
    let mut unless_nought = |name, place, frames| {
        if frames > 0 {
            lines.push(line(name, place, frames));
        }
    };
    unless_nought("+ made here", Some(1), of.originated);
    unless_nought("+ handed in", Some(5), of.handed_in);
    unless_nought("- to the host", Some(3), of.delivered);
    unless_nought("- handed out", Some(6), of.handed_out);
    unless_nought("- waiting", None, of.held);
    lines.push(line("- sent", Some(2), of.tx));
    lines.push(line("- dropped", Some(4), dropped));
    let sources = of.rx + of.originated + of.handed_in;
    let sinks = of.tx + of.delivered + of.held + of.handed_out + dropped;
    lines.push(line("= missing", None, sources.abs_diff(sinks)));
    lines
}

/// Returns why frames were dropped, what happens most now first.
pub(crate) fn reasons(of: &WorkerLedger, rates: &Deltas) -> Vec<Reason> {
    let happened = of.dropped.iter().filter(|(_, frames)| **frames > 0);
    let mut reasons: Vec<Reason> = happened
        .map(|(name, frames)| Reason {
            name: name.clone(),
            per_s: rates.rate(&format!("drop {name}"), 0),
            frames: *frames,
        })
        .collect();
    let rate = |reason: &Reason| reason.per_s.unwrap_or_default();
    reasons.sort_by(|a, b| {
        let by_rate = rate(b).total_cmp(&rate(a));
        by_rate.then(b.frames.cmp(&a.frames))
    });
    reasons
}

fn port_text(row: &PortRow) -> String {
    let link = if row.link_up { "up" } else { "down" };
    format!(
        "{} {} {} {} {link}",
        row.name, row.device, row.driver, row.mode
    )
}

fn worker_text(row: &WorkerRow) -> String {
    let ledger = if row.balanced { "" } else { "off" };
    format!("worker {} {} {ledger}", row.worker, row.poll)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_says_what_is_missing_and_leaves_out_what_did_not_happen() {
        let ledger = WorkerLedger {
            rx: 100,
            tx: 90,
            dropped: [("no-route".to_owned(), 7), ("martian".to_owned(), 0)].into(),
            ..WorkerLedger::default()
        };
        let lines = account(&ledger);
        let names: Vec<_> = lines.iter().map(|line| (line.name, line.frames)).collect();
        assert_eq!(
            names,
            [
                ("+ received", 100),
                ("- sent", 90),
                ("- dropped", 7),
                ("= missing", 3)
            ]
        );
        let reasons = reasons(&ledger, &Deltas::default());
        assert_eq!(reasons.len(), 1);
        assert_eq!(reasons.first().unwrap().name, "no-route");
    }
}
