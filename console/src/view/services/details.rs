//! A service, or a real server, looked at closely.

use ratatui::style::Style;
use weir_control::{FloodRow, HealthRow, ServiceRealRow, ServiceRow, TrafficRates};

use crate::model::Model;
use crate::model::services::{real_state, state};
use crate::units::{NONE, exact, folded, or_none, si, span};
use crate::view::canvas::{Align, Canvas};
use crate::view::services::{rate_of, real_style, state_style};

/// Where values begin.
const VALUES: u16 = 14;

/// A line of the details.
enum Row {
    Blank,
    /// A name and a value.
    Value(&'static str, String, Style),
    Heading(Vec<(u16, u16, Align, String)>),
    Cells(Vec<(u16, u16, Align, String, Style)>),
    Sentence(String, Style),
}

/// A value of any length: on as many lines as it needs.
fn values(model: &Model, name: &'static str, text: &str, style: Style) -> Vec<Row> {
    let room = usize::from(model.size.width.saturating_sub(VALUES + 1));
    let parts = folded(text, room).into_iter().enumerate();
    parts
        .map(|(place, part)| Row::Value(if place == 0 { name } else { "" }, part, style))
        .collect()
}

/// A sentence about the line above it, on as many lines as it needs.
fn sentences(model: &Model, text: &str) -> Vec<Row> {
    let room = usize::from(model.size.width.saturating_sub(8));
    let parts = folded(text, room).into_iter().enumerate();
    parts
        .map(|(place, part)| {
            let indent = if place == 0 { 4 } else { 6 };
            Row::Sentence(format!("{:indent$}{part}", ""), model.theme.warn())
        })
        .collect()
}

/// Draws what is looked at closely.
pub(crate) fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let rows = rows(model, canvas.width());
    let height = usize::from(canvas.height());
    let top = model
        .services
        .zoom_top
        .min(rows.len().saturating_sub(height));
    let theme = model.theme;
    for (y, row) in rows.iter().skip(top).take(height).enumerate() {
        let y = y as u16;
        match row {
            Row::Blank => {}
            Row::Value(name, value, style) => {
                canvas.put(1, y, name, theme.label());
                let room = canvas.width().saturating_sub(VALUES);
                canvas.cell((VALUES, y), room, Align::Left, value, *style);
            }
            Row::Heading(cells) => {
                canvas.style(0, y, canvas.width(), theme.heading());
                for (x, width, align, text) in cells {
                    canvas.cell((*x, y), *width, *align, text, theme.heading());
                }
            }
            Row::Cells(cells) => {
                for (x, width, align, text, style) in cells {
                    canvas.cell((*x, y), *width, *align, text, *style);
                }
            }
            Row::Sentence(text, style) => {
                canvas.put(1, y, text, *style);
            }
        }
    }
}

/// Returns how many lines what is looked at has.
pub(crate) fn length(model: &Model) -> usize {
    rows(model, model.size.width).len()
}

fn rows(model: &Model, width: u16) -> Vec<Row> {
    let Some(zoom) = &model.services.zoom else {
        return Vec::new();
    };
    match (model.data.service(&zoom.service), model.data.real(zoom)) {
        (_, Some((service, real))) => server(model, service, real),
        (Some(row), None) if zoom.real.as_ref().is_none_or(String::is_empty) => {
            service(model, row, width)
        }
        (Some(_) | None, None) => vec![Row::Sentence(
            "it is no longer there; Esc goes back".to_owned(),
            model.theme.warn(),
        )],
    }
}

fn service(model: &Model, row: &ServiceRow, width: u16) -> Vec<Row> {
    let theme = model.theme;
    let plain = theme.plain();
    let mut rows = vec![
        Row::Value("service", row.name.clone(), theme.strong()),
        Row::Value("state", state(row), state_style(row, theme)),
    ];
    if let Some(reason) = &row.reason {
        rows.extend(values(model, "because", reason, plain));
    }
    let listen: Vec<String> = row
        .listen
        .iter()
        .map(|at| format!("{at}/{}", row.protocol))
        .collect();
    // As many addresses a line as there is room for.
    let each = listen.iter().map(|at| at.chars().count() + 2).max();
    let columns = usize::from(width - VALUES) / each.unwrap_or(1).max(1);
    for (place, part) in listen.chunks(columns.max(1)).enumerate() {
        let name = if place == 0 { "listens at" } else { "" };
        rows.push(Row::Value(name, part.join("  "), plain));
    }
    let way = format!("{}, scheduler {}", row.forward, row.scheduler);
    rows.push(Row::Value("forwards by", way, plain));
    let refused = format!(
        " opened  {:>5}/s refused",
        rate_of(row.per_s, |it| it.refused)
    );
    let established = row.sessions.saturating_sub(row.inactive);
    let counts = (row.sessions, established, row.opened);
    rows.extend(traffic(counts, row.per_s, &refused, plain));
    if row.protocol == "tcp" {
        rows.extend(synproxy(model, row));
    }
    rows.push(Row::Blank);
    servers(model, row, width, &mut rows);
    rows
}

fn synproxy(model: &Model, row: &ServiceRow) -> Vec<Row> {
    let theme = model.theme;
    let flood = flood_of(model, &row.name);
    let (text, style) = match flood {
        Some(flood) if flood.active => (
            format!(
                "{}, cookies sent for {}, {:>5} SYN/s, peak {} SYN/s",
                flood.mode,
                flood.active_s.map_or_else(|| NONE.to_owned(), span),
                si(flood.syn_per_s),
                or_none(flood.peak_syn_per_s, si)
            ),
            theme.warn(),
        ),
        Some(flood) => (
            format!(
                "{}, no cookies sent, {:>5} SYN/s",
                flood.mode,
                si(flood.syn_per_s)
            ),
            theme.plain(),
        ),
        None => (row.synproxy.mode.clone(), theme.plain()),
    };
    vec![Row::Value("synproxy", text, style)]
}

/// The real servers, with what their health checks say.
fn servers(model: &Model, row: &ServiceRow, width: u16, rows: &mut Vec<Row>) {
    const HEADS: [(&str, u16, Align); 8] = [
        ("REAL SERVER", 21, Align::Left),
        ("STATE", 5, Align::Left),
        ("FOR", 6, Align::Right),
        ("WEIGHT", 6, Align::Right),
        ("SESS", 5, Align::Right),
        ("NEW/s", 5, Align::Right),
        ("IN b/s", 6, Align::Right),
        ("OUT b/s", 7, Align::Right),
    ];
    let theme = model.theme;
    let mut x = 1;
    let mut places = Vec::new();
    for (head, wide, align) in HEADS {
        if x + wide > width {
            break;
        }
        places.push((x, wide, align, head.to_owned()));
        x += wide + 2;
    }
    let columns = places.clone();
    rows.push(Row::Heading(places));
    for real in &row.reals {
        let health = health_of(model, &row.name, &real.address);
        let values = [
            real.address.clone(),
            real_state(real).to_owned(),
            health.map_or_else(
                || NONE.to_owned(),
                |health| for_how_long(model, &health.since),
            ),
            real.weight.to_string(),
            si(real.sessions + real.inactive),
            rate_of(real.per_s, |it| it.opened),
            rate_of(real.per_s, |it| it.bits_in),
            rate_of(real.per_s, |it| it.bits_out),
        ];
        let cells = columns.iter().zip(values).enumerate();
        let cells = cells.map(|(place, ((x, wide, align, _), text))| {
            let style = if place == 1 {
                real_style(real, theme)
            } else {
                theme.plain()
            };
            (*x, *wide, *align, text, style)
        });
        rows.push(Row::Cells(cells.collect()));
        for words in &real.by_command {
            rows.extend(sentences(model, &format!("by command: {words}")));
        }
        if let Some(error) = health.and_then(|health| health.last_error.as_ref()) {
            rows.extend(sentences(model, &format!("last error: {error}")));
        }
    }
}

fn server(model: &Model, service: &ServiceRow, real: &ServiceRealRow) -> Vec<Row> {
    let theme = model.theme;
    let plain = theme.plain();
    let health = health_of(model, &service.name, &real.address);
    let mut rows = vec![
        Row::Value("real server", real.address.clone(), theme.strong()),
        Row::Value(
            "of service",
            format!("{}, {}", service.name, state(service)),
            plain,
        ),
        Row::Value(
            "state",
            real_state(real).to_owned(),
            real_style(real, theme),
        ),
    ];
    for words in &real.by_command {
        rows.extend(values(model, "by command", words, theme.warn()));
    }
    if let Some(health) = health {
        let check = health.check.as_deref().unwrap_or("none");
        rows.push(Row::Value("health check", check.to_owned(), plain));
        rows.push(Row::Value(
            "since",
            format!(
                "{}, for {}",
                health.since,
                for_how_long(model, &health.since)
            ),
            plain,
        ));
        if let Some(error) = &health.last_error {
            rows.extend(values(model, "last error", error, theme.warn()));
        }
    }
    let all: u32 = service.reals.iter().map(|it| it.weight).sum();
    rows.push(Row::Value(
        "weight",
        format!("{} of {all}", real.weight),
        plain,
    ));
    rows.push(Row::Blank);
    let all = real.sessions + real.inactive;
    let counts = (all, real.sessions, real.opened);
    rows.extend(traffic(counts, real.per_s, "", plain));
    if let Some(micros) = real.rtt_us {
        rows.push(Row::Value("round trip", format!("{micros} us"), plain));
    }
    if let Some(learned) = health.and_then(|health| health.learned) {
        let yes = |set| if set { "yes" } else { "no" };
        let scale = learned
            .wscale
            .map_or_else(|| "none".to_owned(), |bits| format!("{bits} bits"));
        rows.push(Row::Blank);
        rows.push(Row::Value(
            "its SYN-ACKs",
            format!(
                "MSS {} bytes, window scale {scale}, SACK {}, timestamps {}",
                learned.mss,
                yes(learned.sack),
                yes(learned.timestamps)
            ),
            plain,
        ));
    }
    rows
}

/// Sessions, those that are established and those that were ever opened; and what they carry.
fn traffic(
    (all, established, opened): (u64, u64, u64),
    rates: Option<TrafficRates>,
    new: &str,
    style: Style,
) -> [Row; 4] {
    let sessions = format!(
        "{}, {} established; {} opened since the start",
        exact(all),
        exact(established),
        si(opened)
    );
    let rate = |pick| rate_of(rates, pick);
    let carried =
        |packets, bits| format!("{:>5} packets/s  {:>5} bit/s", rate(packets), rate(bits));
    [
        ("sessions", sessions),
        (
            "new sessions",
            format!("{:>5}/s{new}", rate(|it| it.opened)),
        ),
        ("from clients", carried(|it| it.packets_in, |it| it.bits_in)),
        ("to clients", carried(|it| it.packets_out, |it| it.bits_out)),
    ]
    .map(|(name, text)| Row::Value(name, text, style))
}

fn health_of<'a>(model: &'a Model, service: &str, real: &str) -> Option<&'a HealthRow> {
    let (_, rows) = &model.data.health.as_ref()?.value;
    let mut rows = rows.iter();
    rows.find(|row| row.service == service && row.real == real)
}

fn flood_of<'a>(model: &'a Model, service: &str) -> Option<&'a FloodRow> {
    let rows = &model.data.flood_of.as_ref()?.value;
    rows.iter().find(|row| row.service == service)
}

/// How long ago a time was, by the appliance's clock and not by ours.
fn for_how_long(model: &Model, since: &str) -> String {
    let now = model.data.status.as_ref();
    let now = now.and_then(|told| crate::units::unix(&told.value.now));
    match (now, crate::units::unix(since)) {
        (Some(now), Some(since)) => span(now.saturating_sub(since)),
        _ => NONE.to_owned(),
    }
}
