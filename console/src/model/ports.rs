//! Ports, workers and the ledger: which lines there are, and what their rates are.

use weir_control::{LedgerRates, LedgerReply, PortRow, What, WorkerLedger, WorkerRow};

use crate::model::data::Data;
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
    pub(crate) frames: u64,
    /// How many of them in the last second; none where that was not told, or says nothing.
    pub(crate) per_s: Option<u64>,
    /// Whether it is something that happens: what waits and what is missing is as it is.
    pub(crate) happens: bool,
}

/// Why frames were dropped, and how many.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reason {
    pub(crate) name: String,
    pub(crate) per_s: Option<u64>,
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
    /// Takes what the daemon said of the ledger.
    pub(crate) fn arrived_ledger(&mut self, reply: &LedgerReply) {
        self.account = account(&reply.total);
        self.reasons = reasons(&reply.total);
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
                Sort::Number => 0,
                Sort::Busy => row.map_or(0, |row| u64::from(row.busy_percent)),
                Sort::Dropped => {
                    let rates = row.and_then(|row| row.per_s);
                    rates.map_or(0, |rates| rates.dropped)
                }
            }
        };
        places.sort_by_key(|place| std::cmp::Reverse(key(place)));
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
    let per_s = of.per_s.as_ref();
    let rate = |pick: fn(&LedgerRates) -> u64| per_s.map(pick);
    let dropped = of.dropped.values().sum();
    let line = |name, frames, per_s| Account {
        name,
        frames,
        per_s,
        happens: true,
    };
    let state = |name, frames| Account {
        happens: false,
        ..line(name, frames, None)
    };
    let sources = of.rx + of.originated + of.handed_in;
    let sinks = of.tx + of.delivered + of.held + of.handed_out + dropped;
    let lines = [
        line("+ received", of.rx, rate(|it| it.rx)),
        line("+ made here", of.originated, rate(|it| it.originated)),
        line("+ handed in", of.handed_in, rate(|it| it.handed_in)),
        line("- to the host", of.delivered, rate(|it| it.delivered)),
        line("- handed out", of.handed_out, rate(|it| it.handed_out)),
        state("- waiting", of.held),
        line("- sent", of.tx, rate(|it| it.tx)),
        line("- dropped", dropped, rate(LedgerRates::all_dropped)),
        state("= missing", sources.abs_diff(sinks)),
    ];
    let always = ["+ received", "- sent", "- dropped", "= missing"];
    lines
        .into_iter()
        .filter(|line| line.frames > 0 || always.contains(&line.name))
        .collect()
}

/// Returns why frames were dropped, what happens most now first.
pub(crate) fn reasons(of: &WorkerLedger) -> Vec<Reason> {
    let happened = of.dropped.iter().filter(|(_, frames)| **frames > 0);
    let per_s = of.per_s.as_ref();
    let mut reasons: Vec<Reason> = happened
        .map(|(name, frames)| Reason {
            name: name.clone(),
            per_s: per_s.map(|all| all.dropped.get(name).copied().unwrap_or_default()),
            frames: *frames,
        })
        .collect();
    reasons.sort_by_key(|reason| std::cmp::Reverse((reason.per_s, reason.frames)));
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
        let reasons = reasons(&ledger);
        assert_eq!(reasons.len(), 1);
        assert_eq!(reasons.first().unwrap().name, "no-route");
    }
}
