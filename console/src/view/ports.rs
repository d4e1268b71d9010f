//! Ports, workers and the ledger: all of them, or one closely.

use ratatui::style::Style;
use weir_control::{PortRates, PortRow, WorkerLedger, WorkerRates, WorkerRow};

use crate::model::flood::percent;
use crate::model::ports::{Account, Line, Reason, Zoom, account, has_graph, reasons};
use crate::model::{Model, history};
use crate::theme::Theme;
use crate::units::{NONE, exact, or_none, plural, si};
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
/// How wide frames are in the ledger.
const FRAMES: u16 = 16;
/// A graph is not higher than this.
const MOST_BARS: u16 = 24;

type Column = (&'static str, u16, Align);

const PORTS: [Column; 10] = [
    ("DEVICE", 10, Align::Left),
    ("DRIVER", 9, Align::Left),
    ("LINK", 8, Align::Left),
    ("QUEUES", 6, Align::Right),
    ("RX pps", 6, Align::Right),
    ("TX pps", 6, Align::Right),
    ("LOST/s", 6, Align::Right),
    ("RX b/s", 6, Align::Right),
    ("TX b/s", 6, Align::Right),
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
                port(row, y, theme, canvas);
            }
        }
        Line::PortsSum => {
            canvas.put(MARKS, y, "all ports", theme.strong());
            let cells = port_cells(all_ports(ports));
            let cells = std::iter::repeat_n(String::new(), 4).chain(cells);
            let cells: Vec<String> = cells.collect();
            cells_of(&PORTS, &cells, y, theme.strong(), canvas);
        }
        Line::WorkersHead => heads("WORKER", &WORKERS, y, theme, canvas),
        Line::Worker(place) => {
            if let Some(row) = workers.get(place) {
                worker(row, y, theme, canvas);
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

/// The rates of all ports together; none where one has none.
fn all_ports(rows: &[PortRow]) -> Option<PortRates> {
    rows.iter().map(|row| row.per_s.as_ref()).sum()
}

fn lost(rates: &PortRates) -> u64 {
    rates.rx_ring_lost + rates.tx_ring_lost
}

fn port_cells(rates: Option<PortRates>) -> [String; 5] {
    let cell = |pick: fn(&PortRates) -> u64| or_none(rates.as_ref().map(pick), si);
    [
        cell(|it| it.rx),
        cell(|it| it.tx),
        cell(lost),
        cell(|it| it.rx_bits),
        cell(|it| it.tx_bits),
    ]
}

fn port(row: &PortRow, y: u16, theme: Theme, canvas: &mut Canvas<'_>) {
    let is_losing = row.per_s.as_ref().is_some_and(|rates| lost(rates) > 0);
    let style = match (row.link_up, is_losing) {
        (false, _) => theme.bad(),
        (true, true) => theme.warn(),
        (true, false) => theme.plain(),
    };
    if !row.link_up || is_losing {
        canvas.put(1, y, "!", style);
    }
    canvas.cell((MARKS, y), NAME, Align::Left, &row.name, theme.strong());
    let facts = [
        row.device.clone(),
        row.driver.clone(),
        link(row),
        row.queues.to_string(),
    ];
    let cells = facts.into_iter().chain(port_cells(row.per_s));
    let cells: Vec<String> = cells.chain([row.mode.clone()]).collect();
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

fn worker(row: &WorkerRow, y: u16, theme: Theme, canvas: &mut Canvas<'_>) {
    let name = row.worker.to_string();
    let [rx, tx, handed, dropped] = worker_cells(row.per_s);
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
        rx,
        tx,
        handed,
        dropped,
        if row.balanced { "ok" } else { "OFF" }.to_owned(),
        row.poll.clone(),
    ];
    cells_of(&WORKERS, &cells, y, style, canvas);
}

fn workers_sum(model: &Model, rows: &[WorkerRow], y: u16, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let [rx, tx, handed, dropped] = worker_cells(all_workers(rows));
    let sessions = rows.iter().map(|row| row.sessions).sum();
    let capacity = rows.iter().map(|row| row.capacity).sum();
    let balanced = rows.iter().all(|row| row.balanced);
    canvas.put(MARKS, y, "all workers", theme.strong());
    let cells = [
        String::new(),
        si(sessions),
        format!("{:.0}%", percent(sessions, capacity)),
        rx,
        tx,
        handed,
        dropped,
        if balanced { "ok" } else { "OFF" }.to_owned(),
    ];
    cells_of(&WORKERS, &cells, y, theme.strong(), canvas);
}

/// The rates of all workers together; none where one has none.
fn all_workers(rows: &[WorkerRow]) -> Option<WorkerRates> {
    rows.iter().map(|row| row.per_s.as_ref()).sum()
}

fn worker_cells(rates: Option<WorkerRates>) -> [String; 4] {
    let cell = |pick: fn(&WorkerRates) -> u64| or_none(rates.as_ref().map(pick), si);
    [
        cell(|it| it.rx),
        cell(|it| it.tx),
        cell(|it| it.handed_in),
        cell(|it| it.dropped),
    ]
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
        (23, FRAMES, "FRAMES"),
        (58, 5, "/s"),
        (64, FRAMES, "FRAMES"),
    ] {
        canvas.cell((x, y), wide, Align::Right, text, theme.heading());
    }
    canvas.put(REASONS, y, "DROPPED FOR", theme.heading());
}

/// Returns how the frames of a column are written: trillions are whole only without marks, and digits
/// line up where all are written alike.
fn whole(mut all: impl Iterator<Item = u64>) -> fn(u64) -> String {
    if all.all(|frames| exact(frames).len() <= usize::from(FRAMES)) {
        exact
    } else {
        |frames| frames.to_string()
    }
}

/// A line of the account, and a reason beside it.
fn ledger_line(
    (accounts, reasons): (&[Account], &[Reason]),
    place: usize,
    y: u16,
    theme: Theme,
    canvas: &mut Canvas<'_>,
) {
    let plain = theme.plain();
    if let Some(line) = accounts.get(place) {
        let missing = line.name == "= missing";
        let style = match (missing, line.frames) {
            (true, 0) => theme.good(),
            (true, _) => theme.bad(),
            (false, _) => plain,
        };
        canvas.put(MARKS, y, line.name, theme.label());
        if line.happens {
            canvas.cell((17, y), 5, Align::Right, &or_none(line.per_s, si), plain);
        }
        let frames = whole(accounts.iter().map(|line| line.frames))(line.frames);
        canvas.cell((23, y), FRAMES, Align::Right, &frames, style);
    }
    if let Some(reason) = reasons.get(place) {
        let happens = reason.per_s.is_some_and(|per_s| per_s > 0);
        let style = if happens { theme.strong() } else { plain };
        canvas.cell((REASONS, y), 16, Align::Left, &reason.name, style);
        canvas.cell((58, y), 5, Align::Right, &or_none(reason.per_s, si), style);
        let frames = whole(reasons.iter().map(|reason| reason.frames))(reason.frames);
        canvas.cell((64, y), FRAMES, Align::Right, &frames, plain);
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
    // Here they are exact: what adds up can be added up.
    let rate = |pick: fn(&PortRates) -> u64| or_none(row.per_s.as_ref().map(pick), exact);
    let frames = |pick: fn(&PortRates) -> u64, all: u64| {
        format!("{:>15} frames/s  {:>18} frames", rate(pick), exact(all))
    };
    let bits = |pick: fn(&PortRates) -> u64| format!("{:>15} bit/s", rate(pick));
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
        ("received", frames(|it| it.rx, row.rx), plain),
        ("", bits(|it| it.rx_bits), plain),
        ("sent", frames(|it| it.tx, row.tx), plain),
        ("", bits(|it| it.tx_bits), plain),
        (
            "lost in ring",
            frames(|it| it.rx_ring_lost, row.rx_ring_lost),
            lost(row.rx_ring_lost),
        ),
        (
            "not sent",
            frames(|it| it.tx_ring_lost, row.tx_ring_lost),
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
    let per_s = |pick: fn(&WorkerRates) -> u64| or_none(row.per_s.as_ref().map(pick), exact);
    vec![
        (
            "worker",
            format!("{}, {cpu}, {} polling", row.worker, row.poll),
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
                "{}/s received, {}/s sent, {}/s dropped",
                per_s(|it| it.rx),
                per_s(|it| it.tx),
                per_s(|it| it.dropped)
            ),
            plain,
        ),
        (
            "handed over",
            format!(
                "{}/s by others, {}/s to others",
                per_s(|it| it.handed_in),
                per_s(|it| it.handed_out)
            ),
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
    let reasons = reasons(ledger);
    for (place, y) in (0..account.len().max(reasons.len())).zip(y + 1..) {
        ledger_line((&account, &reasons), place, y, theme, canvas);
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
    let lines = (&ports.account[..], &ports.reasons[..]);
    ledger_line(lines, place, y, model.theme, canvas);
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
        "{filter}{of_ports}, {of_workers}, {}; {ledger}",
        ports.sorting.words(ports.sorting.by.name())
    )
}
