//! Ports, workers and the ledger: all of them, or one closely.

use ratatui::style::Style;
use weir_control::{PortRow, WorkerLedger, WorkerRow};

use crate::model::flood::percent;
use crate::model::ports::{Account, Line, Reason, Zoom, account, has_graph, reasons};
use crate::model::{Model, deltas::Deltas, history};
use crate::theme::Theme;
use crate::units::{NONE, exact, plural, rate_or_none, si};
use crate::view::canvas::{Align, Canvas};
use crate::view::details::{self, Detail};
use crate::view::graph::{self, Graph};

/// Selection and alarm.
const MARKS: u16 = 3;
const NAME: u16 = 10;
const GAP: u16 = 2;
/// Where the values of details begin.
const VALUES: u16 = 16;
/// Where the reasons of the ledger begin.
const REASONS: u16 = 41;
/// A graph is not higher than this.
const MOST_BARS: u16 = 24;

type Column = (&'static str, u16, Align);

const PORTS: [Column; 8] = [
    ("DEVICE", 10, Align::Left),
    ("DRIVER", 9, Align::Left),
    ("LINK", 8, Align::Left),
    ("QUEUES", 6, Align::Right),
    ("RX pps", 6, Align::Right),
    ("TX pps", 6, Align::Right),
    ("LOST/s", 6, Align::Right),
    ("MODE", 24, Align::Left),
];

const WORKERS: [Column; 9] = [
    ("BUSY", 5, Align::Right),
    ("SESS", 5, Align::Right),
    ("TABLE", 5, Align::Right),
    ("RX pps", 6, Align::Right),
    ("TX pps", 6, Align::Right),
    ("HAND/s", 6, Align::Right),
    ("DROP/s", 6, Align::Right),
    ("LEDGER", 6, Align::Right),
    ("POLL", 12, Align::Left),
];

/// Draws them.
pub(crate) fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let ports = &model.ports;
    if ports.zoom.is_some() {
        closely(model, canvas);
        return;
    }
    if ports.lines.is_empty() {
        canvas.put(1, 1, "asked, no answer yet", theme.plain());
        return;
    }
    let height = usize::from(canvas.height());
    let seen = ports.lines.iter().enumerate().skip(ports.cursor.top);
    for (y, (at, one)) in (0..).zip(seen.take(height)) {
        draw_line(model, *one, y, canvas);
        if at == ports.cursor.index {
            canvas.put(0, y, ">", theme.strong());
            canvas.style(0, y, canvas.width(), theme.selected());
        }
    }
    if has_graph(model) {
        let y = ports.lines.len() as u16 + 1;
        let height = canvas.height().saturating_sub(y).min(MOST_BARS);
        graph(model, y, height, canvas);
    }
}

fn draw_line(model: &Model, one: Line, y: u16, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let data = &model.data;
    let ports = data.ports.as_ref().map_or(&[][..], |told| &told.value);
    let workers = data.workers.as_ref().map_or(&[][..], |told| &told.value);
    match one {
        Line::PortsHead => heads("PORT", &PORTS, y, theme, canvas),
        Line::Port(place) => {
            if let Some(row) = ports.get(place) {
                port(row, &model.ports.port_rates, y, theme, canvas);
            }
        }
        Line::PortsSum => {
            let sum = |place| {
                sum(
                    ports.iter().map(|row| row.name.clone()),
                    &model.ports.port_rates,
                    place,
                )
            };
            let lost = add(sum(2), sum(3));
            canvas.put(MARKS, y, "all ports", theme.strong());
            let cells = [
                "",
                "",
                "",
                "",
                &rate_or_none(sum(0)),
                &rate_or_none(sum(1)),
                &rate_or_none(lost),
            ];
            cells_of(&PORTS, &cells.map(str::to_owned), y, theme.strong(), canvas);
        }
        Line::WorkersHead => heads("WORKER", &WORKERS, y, theme, canvas),
        Line::Worker(place) => {
            if let Some(row) = workers.get(place) {
                worker(row, &model.ports.worker_rates, y, theme, canvas);
            }
        }
        Line::WorkersSum => workers_sum(model, workers, y, canvas),
        Line::LedgerHead => {
            let balanced = data.ledger.as_ref().map(|told| told.value.total.balanced);
            ledger_head(balanced, y, theme, canvas);
        }
        Line::Ledger(place) => account_line(model, place, y, canvas),
    }
}

fn heads(name: &str, columns: &[Column], y: u16, theme: Theme, canvas: &mut Canvas<'_>) {
    canvas.style(0, y, canvas.width(), theme.heading());
    canvas.put(MARKS, y, name, theme.heading());
    let heads: Vec<String> = columns
        .iter()
        .map(|(head, ..)| (*head).to_owned())
        .collect();
    cells_of(columns, &heads, y, theme.heading(), canvas);
}

fn cells_of(columns: &[Column], cells: &[String], y: u16, style: Style, canvas: &mut Canvas<'_>) {
    let mut x = MARKS + NAME;
    for ((_, wide, align), text) in columns.iter().zip(cells) {
        if x + GAP + wide > canvas.width() {
            break;
        }
        canvas.cell((x + GAP, y), *wide, *align, text, style);
        x += GAP + wide;
    }
}

fn port(row: &PortRow, rates: &Deltas, y: u16, theme: Theme, canvas: &mut Canvas<'_>) {
    let rate = |place| rates.rate(&row.name, place);
    let lost = add(rate(2), rate(3));
    let is_losing = lost.is_some_and(|lost| lost > 0.0);
    let style = match (row.link_up, is_losing) {
        (false, _) => theme.bad(),
        (true, true) => theme.warn(),
        (true, false) => theme.plain(),
    };
    if !row.link_up || is_losing {
        canvas.put(1, y, "!", style);
    }
    canvas.cell((MARKS, y), NAME, Align::Left, &row.name, theme.strong());
    let cells = [
        row.device.clone(),
        row.driver.clone(),
        link(row),
        row.queues.to_string(),
        rate_or_none(rate(0)),
        rate_or_none(rate(1)),
        rate_or_none(lost),
        row.mode.clone(),
    ];
    cells_of(&PORTS, &cells, y, style, canvas);
}

fn link(row: &PortRow) -> String {
    match (row.link_up, row.speed_mbps) {
        (false, _) => "DOWN".to_owned(),
        (true, None) => "UP".to_owned(),
        (true, Some(mbps)) if mbps >= 1000 && mbps % 1000 == 0 => format!("UP {}G", mbps / 1000),
        (true, Some(mbps)) => format!("UP {mbps}M"),
    }
}

fn worker(row: &WorkerRow, rates: &Deltas, y: u16, theme: Theme, canvas: &mut Canvas<'_>) {
    let name = row.worker.to_string();
    let rate = |place| rates.rate(&name, place);
    let style = match (row.balanced, row.busy_percent) {
        (false, _) | (true, 95..) => theme.bad(),
        (true, 80..) => theme.warn(),
        (true, _) => theme.plain(),
    };
    if !row.balanced || row.busy_percent >= 95 {
        canvas.put(1, y, "!", theme.bad());
    }
    let label = match row.cpu {
        Some(cpu) => format!("{name} on cpu {cpu}"),
        None => name.clone(),
    };
    let label = if label.chars().count() > usize::from(NAME + 1) {
        name.clone()
    } else {
        label
    };
    canvas.cell((MARKS, y), NAME + 1, Align::Left, &label, theme.strong());
    let cells = [
        format!("{}%", row.busy_percent),
        si(row.sessions),
        format!("{:.0}%", percent(row.sessions, row.capacity)),
        rate_or_none(rate(0)),
        rate_or_none(rate(1)),
        rate_or_none(rate(2)),
        rate_or_none(rate(4)),
        if row.balanced { "ok" } else { "OFF" }.to_owned(),
        row.poll.clone(),
    ];
    cells_of(&WORKERS, &cells, y, style, canvas);
}

fn workers_sum(model: &Model, rows: &[WorkerRow], y: u16, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let all = |place| {
        let names = rows.iter().map(|row| row.worker.to_string());
        rate_or_none(sum(names, &model.ports.worker_rates, place))
    };
    let sessions = rows.iter().map(|row| row.sessions).sum();
    let capacity = rows.iter().map(|row| row.capacity).sum();
    let balanced = rows.iter().all(|row| row.balanced);
    canvas.put(MARKS, y, "all workers", theme.strong());
    let cells = [
        String::new(),
        si(sessions),
        format!("{:.0}%", percent(sessions, capacity)),
        all(0),
        all(1),
        all(2),
        all(4),
        if balanced { "ok" } else { "OFF" }.to_owned(),
    ];
    cells_of(&WORKERS, &cells, y, theme.strong(), canvas);
}

/// The rates of several objects together; none where one has none.
fn sum(mut names: impl Iterator<Item = String>, rates: &Deltas, place: usize) -> Option<f64> {
    names.try_fold(0.0, |sum, name| Some(sum + rates.rate(&name, place)?))
}

fn add(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? + b?)
}

fn ledger_head(balanced: Option<bool>, y: u16, theme: Theme, canvas: &mut Canvas<'_>) {
    canvas.style(0, y, canvas.width(), theme.heading());
    let (word, style) = match balanced {
        None => ("LEDGER -", theme.heading()),
        Some(true) => ("LEDGER ok", theme.heading()),
        Some(false) => ("LEDGER OFF", theme.alarm()),
    };
    canvas.put(MARKS, y, word, style);
    for (x, wide, text) in [
        (17, 5, "/s"),
        (23, 16, "FRAMES"),
        (58, 5, "/s"),
        (64, 16, "FRAMES"),
    ] {
        canvas.cell((x, y), wide, Align::Right, text, theme.heading());
    }
    canvas.put(REASONS, y, "DROPPED FOR", theme.heading());
}

fn ledger_line(
    account: Option<&Account>,
    reason: Option<&Reason>,
    rates: Option<&Deltas>,
    y: u16,
    theme: Theme,
    canvas: &mut Canvas<'_>,
) {
    let plain = theme.plain();
    if let Some(line) = account {
        let missing = line.name == "= missing";
        let style = match (missing, line.frames) {
            (true, 0) => theme.good(),
            (true, _) => theme.bad(),
            (false, _) => plain,
        };
        canvas.put(MARKS, y, line.name, theme.label());
        let per_s = line.place.zip(rates);
        let per_s = per_s.map(|(place, rates)| rate_or_none(rates.rate("account", place)));
        if let Some(per_s) = per_s {
            canvas.cell((17, y), 5, Align::Right, &per_s, plain);
        }
        canvas.cell((23, y), 16, Align::Right, &exact(line.frames), style);
    }
    if let Some(reason) = reason {
        let happens = reason.per_s.is_some_and(|per_s| per_s > 0.0);
        let style = if happens { theme.strong() } else { plain };
        canvas.cell((REASONS, y), 16, Align::Left, &reason.name, style);
        canvas.cell((58, y), 5, Align::Right, &rate_or_none(reason.per_s), style);
        canvas.cell((64, y), 16, Align::Right, &exact(reason.frames), plain);
    }
}

fn closely(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let gone = "it is no longer there; Esc goes back";
    match &model.ports.zoom {
        None => {}
        Some(Zoom::Port(name)) => match port_of(model, name) {
            Some(row) => facts(&port_facts(model, row), model, canvas),
            None => _ = canvas.put(1, 1, gone, theme.warn()),
        },
        Some(Zoom::Worker(number)) => match worker_of(model, *number) {
            Some(row) => worker_closely(model, row, canvas),
            None => _ = canvas.put(1, 1, gone, theme.warn()),
        },
        Some(Zoom::Ledger) => ledger_closely(model, canvas),
    }
}

fn port_of<'a>(model: &'a Model, name: &str) -> Option<&'a PortRow> {
    let mut rows = model.data.ports.as_ref()?.value.iter();
    rows.find(|row| row.name == name)
}

fn worker_of(model: &Model, number: u32) -> Option<&WorkerRow> {
    let mut rows = model.data.workers.as_ref()?.value.iter();
    rows.find(|row| row.worker == number)
}

/// Returns how many lines what is looked at has, and how many of them are seen.
pub(crate) fn length(model: &Model) -> (usize, usize) {
    let height = model.body_height();
    let length = match &model.ports.zoom {
        None => 0,
        Some(Zoom::Port(name)) => {
            let row = port_of(model, name);
            row.map_or(0, |row| port_facts(model, row).len())
        }
        Some(Zoom::Worker(number)) => {
            let row = worker_of(model, *number);
            row.map_or(0, |row| worker_facts(model, row).len())
        }
        Some(Zoom::Ledger) => {
            let graphed = usize::from(graphed(model, height as u16));
            return (ledger_lines(model), height.saturating_sub(graphed + 1));
        }
    };
    (length, height)
}

fn facts(lines: &[Detail], model: &Model, canvas: &mut Canvas<'_>) {
    let top = model.ports.zoom_top;
    details::draw(lines, top, VALUES, model.theme, canvas);
}

fn port_facts(model: &Model, row: &PortRow) -> Vec<Detail> {
    let theme = model.theme;
    let plain = theme.plain();
    let frames = |place, all: u64| {
        let per_s = rate_or_none(model.ports.port_rates.rate(&row.name, place));
        format!("{per_s:>5} frames/s  {:>18} frames", exact(all))
    };
    let lost = |all: u64| if all > 0 { theme.warn() } else { plain };
    let speed = row.speed_mbps.map_or_else(
        || "the device does not say how fast".to_owned(),
        |mbps| format!("{} Mbit/s", exact(mbps)),
    );
    let (up, style) = if row.link_up {
        ("UP", theme.good())
    } else {
        ("DOWN", theme.bad())
    };
    let mut lines = vec![
        ("port", row.name.clone(), theme.strong()),
        ("device", row.device.clone(), plain),
        ("link", format!("{up}, {speed}"), style),
        ("driver", format!("{}, {}", row.driver, row.mode), plain),
        ("because", row.reason.clone(), plain),
        ("queues", row.queues.to_string(), plain),
        (
            "address",
            format!("{}, MTU {} bytes", row.mac, row.mtu),
            plain,
        ),
    ];
    for (place, address) in row.addresses.iter().enumerate() {
        let name = if place == 0 { "addresses" } else { "" };
        lines.push((name, address.clone(), plain));
    }
    lines.extend([
        ("", String::new(), plain),
        ("received", frames(0, row.rx), plain),
        ("sent", frames(1, row.tx), plain),
        (
            "lost in ring",
            frames(2, row.rx_ring_lost),
            lost(row.rx_ring_lost),
        ),
        (
            "not sent",
            frames(3, row.tx_ring_lost),
            lost(row.tx_ring_lost),
        ),
    ]);
    lines
}

fn worker_facts(model: &Model, row: &WorkerRow) -> Vec<Detail> {
    let theme = model.theme;
    let plain = theme.plain();
    let cpu = row
        .cpu
        .map_or_else(|| "not pinned".to_owned(), |cpu| format!("on cpu {cpu}"));
    let name = row.worker.to_string();
    let per_s = |place| rate_or_none(model.ports.worker_rates.rate(&name, place));
    vec![
        (
            "worker",
            format!("{name}, {cpu}, {} polling", row.poll),
            theme.strong(),
        ),
        (
            "busy",
            format!("{}% of the last second", row.busy_percent),
            plain,
        ),
        (
            "sessions",
            format!(
                "{} of {}, {:.1}%",
                exact(row.sessions),
                exact(row.capacity),
                percent(row.sessions, row.capacity)
            ),
            plain,
        ),
        (
            "frames",
            format!(
                "{:>5}/s received  {:>5}/s sent  {:>5}/s dropped",
                per_s(0),
                per_s(1),
                per_s(4)
            ),
            plain,
        ),
        (
            "handed over",
            format!("{:>5}/s by others  {:>5}/s to others", per_s(2), per_s(3)),
            plain,
        ),
    ]
}

fn worker_closely(model: &Model, row: &WorkerRow, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let lines = worker_facts(model, row);
    let told = model.data.ledger.as_ref();
    let own = |ledger: &&WorkerLedger| ledger.worker == Some(row.worker);
    let ledger = told.and_then(|told| told.value.workers.iter().find(own));
    facts(&lines, model, canvas);
    let y = lines.len() as u16 + 1;
    let Some(ledger) = ledger else {
        canvas.put(1, y, "ledger: no answer yet", theme.plain());
        return;
    };
    ledger_head(Some(ledger.balanced), y, theme, canvas);
    let account = account(ledger);
    // The rates that are kept are those of all workers together.
    let reasons = reasons(ledger, &Deltas::default());
    for (place, y) in (0..account.len().max(reasons.len())).zip(y + 1..) {
        ledger_line(
            account.get(place),
            reasons.get(place),
            None,
            y,
            theme,
            canvas,
        );
    }
}

fn graph(model: &Model, y: u16, height: u16, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let graphing = model.ports.graphing;
    match history::rows(model, None, graphing.span) {
        None => _ = canvas.put(1, y, "history: asked, no answer yet", theme.plain()),
        Some(rows) => {
            let graph = Graph {
                rows,
                figure: graphing.figure,
                span: graphing.span,
                of: "this appliance",
                mark: None,
            };
            let width = canvas.width();
            graph::draw(&graph, theme, &mut canvas.inner(0, y, width, height));
        }
    }
}

/// How many lines of account and reasons there are.
fn ledger_lines(model: &Model) -> usize {
    model.ports.account.len().max(model.ports.reasons.len())
}

/// A line of the account of all workers, and a reason beside it.
fn account_line(model: &Model, place: usize, y: u16, canvas: &mut Canvas<'_>) {
    let ports = &model.ports;
    let (account, reason) = (ports.account.get(place), ports.reasons.get(place));
    let rates = Some(&ports.ledger_rates);
    ledger_line(account, reason, rates, y, model.theme, canvas);
}

/// How high the graph above the ledger is.
fn graphed(model: &Model, height: u16) -> u16 {
    let least = 7.min(height);
    height
        .saturating_sub(ledger_lines(model) as u16 + 1)
        .clamp(least, MOST_BARS.max(least))
}

/// The graph, and below it why frames were dropped.
fn ledger_closely(model: &Model, canvas: &mut Canvas<'_>) {
    let height = canvas.height();
    let graphed = graphed(model, height);
    graph(model, 0, graphed, canvas);
    let told = model.data.ledger.as_ref();
    let balanced = told.map(|told| told.value.total.balanced);
    ledger_head(balanced, graphed, model.theme, canvas);
    let room = usize::from(height.saturating_sub(graphed + 1));
    let count = ledger_lines(model);
    let top = model.ports.zoom_top.min(count.saturating_sub(room));
    for (place, y) in (top..count).zip(graphed + 1..height) {
        account_line(model, place, y, canvas);
    }
}

/// Returns how many there are, and whether every frame is accounted for.
pub(crate) fn status(model: &Model) -> String {
    let ports = &model.ports;
    match &ports.zoom {
        Some(Zoom::Port(name)) => return format!("port {name}; Esc goes back"),
        Some(Zoom::Worker(number)) => return format!("worker {number}; Esc goes back"),
        Some(Zoom::Ledger) => {
            return "this appliance; v and t change the graph, Esc goes back".to_owned();
        }
        None => {}
    }
    let filter = ports.filter.words();
    let data = &model.data;
    let count = |count: Option<usize>, noun: &str| match count {
        Some(count) => plural(count as u64, noun),
        None => format!("{NONE} {noun}s"),
    };
    let of_ports = count(data.ports.as_ref().map(|told| told.value.len()), "port");
    let of_workers = data.workers.as_ref().map(|told| told.value.len());
    let of_workers = count(of_workers, "worker");
    let ledger = match data.ledger.as_ref().map(|told| told.value.total.balanced) {
        None => NONE,
        Some(true) => "every frame is accounted for",
        Some(false) => "FRAMES ARE NOT ACCOUNTED FOR",
    };
    format!(
        "{filter}{of_ports}, {of_workers} {}; {ledger}",
        ports.sorting.words(ports.sorting.by.name())
    )
}
