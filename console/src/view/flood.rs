//! The floods: all services with the appliance's graph, or one service closely.

use ratatui::style::Style;
use weir_control::{CapacityRow, FloodRates, FloodRow};

use crate::model::flood::{
    adding_up, advice, counts_users, is_flood, list_height, percent, shares,
};
use crate::model::{Model, history};
use crate::theme::Theme;
use crate::units::{NONE, or_none, plural, si, span, time_of_day, unix};
use crate::view::canvas::{Align, Canvas};
use crate::view::fields::{self, Field};
use crate::view::graph::{self, Graph};
use crate::view::header::cut;

/// Selection and alarm.
const MARKS: u16 = 3;
const NAME: u16 = 16;
const GAP: u16 = 2;
/// Where values begin that have a name before them.
const VALUES: u16 = 12;
/// A graph is not higher than this where there is more to show.
const MOST_BARS: u16 = 22;

/// A column behind the name: its head, how wide it is, and whether words or numbers stand in it.
const COLUMNS: [(&str, u16, Align); 11] = [
    ("COOKIES", 9, Align::Left),
    ("SYN/s", 5, Align::Right),
    ("COOKIE/s", 8, Align::Right),
    ("DROP/s", 6, Align::Right),
    ("PASS/s", 6, Align::Right),
    ("ADMIT/s", 7, Align::Right),
    ("OK", 4, Align::Right),
    ("P99", 6, Align::Right),
    ("BAD/s", 5, Align::Right),
    ("PEAK/s", 6, Align::Right),
    ("MODE", 8, Align::Left),
];

/// Which of them says how many were admitted.
const ADMITTED: usize = 5;

/// Draws them.
pub(crate) fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let Some(told) = &model.data.flood else {
        canvas.put(1, 1, "asked, no answer yet", model.theme.plain());
        return;
    };
    let rows = &told.value;
    match &model.flood.zoom {
        None => overview(model, rows, canvas),
        Some(zoom) => {
            if let Some(row) = rows.iter().find(|row| row.service == *zoom) {
                closely(model, row, canvas);
            } else {
                let text = format!("{zoom} is no longer there; Esc goes back");
                canvas.put(1, 1, &text, model.theme.warn());
            }
        }
    }
}

fn overview(model: &Model, rows: &[FloodRow], canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let flood = &model.flood;
    if rows.is_empty() {
        canvas.put(1, 1, "no TCP services are configured", theme.plain());
        return;
    }
    let width = canvas.width();
    canvas.style(0, 0, width, theme.heading());
    canvas.put(MARKS, 0, "SERVICE", theme.heading());
    line(
        0,
        width,
        &COLUMNS.map(|(head, ..)| head.to_owned()),
        theme.heading(),
        canvas,
    );
    let height = list_height(usize::from(canvas.height()), rows.len()) as u16;
    if flood.lines.is_empty() {
        let text = "nothing matches the filter; Esc shows all";
        canvas.put(MARKS, 1, text, theme.plain());
    }
    let seen = flood.lines.iter().enumerate().skip(flood.cursor.top);
    for (y, (at, place)) in (1..=height).zip(seen) {
        let Some(row) = rows.get(*place) else {
            continue;
        };
        let style = if is_flood(row) {
            theme.warn()
        } else {
            theme.plain()
        };
        if is_flood(row) {
            canvas.put(1, y, "!", theme.bad());
        }
        canvas.cell((MARKS, y), NAME, Align::Left, &row.service, theme.strong());
        line(y, width, &cells(row), style, canvas);
        if at == flood.cursor.index {
            canvas.put(0, y, ">", theme.strong());
            canvas.style(0, y, width, theme.selected());
        }
    }
    let mut y = height + 1;
    let shown = || flood.lines.iter().filter_map(|place| rows.get(*place));
    let sum = shown().filter_map(|row| row.per_s.as_ref()).sum();
    // As the header has it: of what is new there are no rates yet.
    let has_rates = shown().any(|row| row.per_s.is_some());
    let all = if flood.filter.is_empty() {
        "all"
    } else {
        "all of these"
    };
    canvas.put(MARKS, y, all, theme.strong());
    let mut cells = sums(has_rates.then_some(sum));
    if !shown().any(counts_users) {
        cells[ADMITTED] = none();
    }
    line(y, width, &cells, theme.strong(), canvas);
    y += 1;
    if let Some(row) = rows.first() {
        capacity(&row.capacity, y, theme, canvas);
    }
    y += 1;
    let rest = canvas.height().saturating_sub(y);
    graph(model, None, y, rest, canvas);
}

fn line(y: u16, width: u16, cells: &[String], style: Style, canvas: &mut Canvas<'_>) {
    let mut x = MARKS + NAME + GAP;
    for ((_, wide, align), text) in COLUMNS.iter().zip(cells) {
        if x + wide > width {
            break;
        }
        canvas.cell((x, y), *wide, *align, text, style);
        x += wide + GAP;
    }
}

fn cells(row: &FloodRow) -> [String; COLUMNS.len()] {
    let cookies = match (row.active, row.active_s) {
        (true, Some(seconds)) => format!("ON {}", span(seconds)),
        (true, None) => "ON".to_owned(),
        (false, _) => "off".to_owned(),
    };
    let mut cells = sums(row.per_s);
    if !counts_users(row) {
        // Who is admitted without a cookie is not counted here.
        cells[ADMITTED] = none();
    }
    let values = [
        (0, cookies),
        (
            6,
            row.success_percent
                .map_or_else(none, |percent| format!("{}%", percent.floor())),
        ),
        (7, row.p99_us.map_or_else(none, micros)),
        (9, or_none(row.peak_syn_per_s, si)),
        (10, row.mode.clone()),
    ];
    for (place, value) in values {
        if let Some(cell) = cells.get_mut(place) {
            *cell = value;
        }
    }
    cells
}

/// The cells of which there is a sum.
fn sums(rates: Option<FloodRates>) -> [String; COLUMNS.len()] {
    let show = |pick: fn(&FloodRates) -> u64| or_none(rates.as_ref().map(pick), si);
    [
        String::new(),
        show(|rates| rates.syn_in),
        show(|rates| rates.cookie_sent),
        show(|rates| rates.limited),
        show(|rates| rates.passed),
        show(|rates| rates.completed),
        String::new(),
        String::new(),
        show(|rates| rates.cookie_bad + rates.cookie_stale),
        String::new(),
        String::new(),
    ]
}

fn none() -> String {
    NONE.to_owned()
}

/// One service: what comes, what becomes of it, whether users are served, what to do, and who it is.
fn closely(model: &Model, row: &FloodRow, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    title(row, theme, canvas);
    table(row, theme, canvas);
    capacity(&row.capacity, 6, theme, canvas);
    canvas.put(1, 7, "try next", theme.label());
    canvas.put(VALUES, 7, &advice(row), theme.strong());
    let height = canvas.height();
    let most = row.top_sources.len().max(row.top_fingerprints.len()).max(1) as u16;
    let left = height.saturating_sub(8);
    // At the least: two lines of sources below their heading.
    let sources = most.min(left.saturating_sub(9).max(2)) + 1;
    let graphs = left.saturating_sub(sources);
    graph(model, Some(row), 8, graphs, canvas);
    tops(row, height.saturating_sub(sources), theme, canvas);
}

/// Which service and address, since when cookies are sent, how bad it was.
fn title(row: &FloodRow, theme: Theme, canvas: &mut Canvas<'_>) {
    let since = row.since.as_deref().and_then(unix);
    let (text, style) = match (row.active, row.active_s) {
        (true, seconds) => {
            let since = since.map_or_else(none, time_of_day);
            let lasts = seconds.map_or_else(none, span);
            let text = format!("COOKIES ON since {since} ({lasts})");
            let style = if is_flood(row) {
                theme.bad()
            } else {
                theme.warn()
            };
            (text, style)
        }
        (false, _) => ("no flood, cookies off".to_owned(), theme.good()),
    };
    let mut fields = vec![Field::new(0, cut(&row.service, 24), theme.strong())];
    if let Some((first, more)) = row.listen.split_first() {
        let all = match more.len() {
            0 => first.clone(),
            more => format!("{first} +{more}"),
        };
        fields.push(Field::new(1, all, theme.plain()));
    }
    fields.push(Field::new(0, text, style));
    if let Some(peak) = row.peak_syn_per_s {
        let peak = si(peak);
        let field = Field::new(2, format!("peak {peak}/s"), theme.plain());
        fields.push(field.or(4, format!("peak {peak} SYN/s")));
    }
    fields.push(Field::new(3, row.mode.clone(), theme.plain()).right());
    let width = canvas.width().saturating_sub(2);
    fields::draw(&fields, 0, 2, &mut canvas.inner(1, 0, width, 1));
}

/// Five lines of three columns. What came in is the sum of what stands above it.
fn table(row: &FloodRow, theme: Theme, canvas: &mut Canvas<'_>) {
    const MIDDLE: u16 = 32;
    const RIGHT: u16 = 57;
    let plain = theme.plain();
    canvas.style(0, 1, canvas.width(), theme.heading());
    canvas.put(1, 1, "WHAT BECAME OF SYNs", theme.heading());
    canvas.put(MIDDLE, 1, "COOKIES THAT CAME BACK", theme.heading());
    canvas.put(RIGHT, 1, "REAL USERS", theme.heading());
    let parts = row
        .per_s
        .map(|rates| [rates.cookie_sent, rates.limited, rates.passed]);
    let parts = parts.map(|parts| parts.map(|part| part as f64));
    let shown = parts.map(|parts| adding_up(&parts));
    let shares = parts.and_then(|parts| shares(&parts));
    let left = ["cookie sent", "dropped", "passed on", "all SYNs in"];
    for (y, name) in (2..).zip(left) {
        // The sum is first of what is shown, and last of the lines.
        let place = usize::from(y - 1) % left.len();
        let value = shown.as_ref().and_then(|shown| shown.get(place));
        let value = value.map_or_else(none, |value| format!("{value}/s"));
        let share = match (&shares, place) {
            (None, _) => none(),
            (Some(_), 0) => "100.0%".to_owned(),
            (Some(shares), place) => shares.get(place - 1).cloned().unwrap_or_else(none),
        };
        let style = if place == 0 { theme.strong() } else { plain };
        canvas.put(1, y, name, theme.label());
        canvas.cell((13, y), 9, Align::Right, &value, style);
        canvas.cell((23, y), 6, Align::Right, &share, style);
    }
    let per_s = |pick: fn(&FloodRates) -> u64| {
        let rates = row.per_s.as_ref().map(pick);
        rates.map_or_else(none, |rate| format!("{}/s", si(rate)))
    };
    let middle = [
        ("valid", per_s(|rates| rates.cookie_valid)),
        ("not ours", per_s(|rates| rates.cookie_bad)),
        ("too old", per_s(|rates| rates.cookie_stale)),
        ("half open now", si(row.half_open)),
    ];
    for (y, (name, value)) in (2..).zip(middle) {
        canvas.put(MIDDLE, y, name, theme.label());
        canvas.cell((MIDDLE + 14, y), 8, Align::Right, &value, plain);
    }
    let (verdict, style) = served(row, theme);
    // Without cookies nobody counts users: nought would say that none are served.
    let counted = row.per_s.as_ref().filter(|_| counts_users(row));
    let five = |pick: fn(&FloodRates) -> u64| {
        counted.map_or_else(none, |rates| format!("{:>5}/s", si(pick(rates))))
    };
    let right = [
        ("admitted", five(|rates| rates.completed), plain),
        ("failed", five(|rates| rates.failed), plain),
        (
            "within",
            row.p99_us
                .map_or_else(none, |p99| format!("{:>5} for 99%", micros(p99))),
            plain,
        ),
        ("served", verdict, style),
    ];
    for (y, (name, value, style)) in (2..).zip(right) {
        canvas.put(RIGHT, y, name, theme.label());
        canvas.put(RIGHT + 9, y, &value, style);
    }
}

/// Whether those are served who are no attackers, as far as handshakes of the last seconds tell.
fn served(row: &FloodRow, theme: Theme) -> (String, Style) {
    let Some(percent) = row.success_percent else {
        let text = if row.active {
            "- (none seen)"
        } else {
            "- (no cookies)"
        };
        return (text.to_owned(), theme.plain());
    };
    let shown = if percent < 100.0 {
        // Never a hundred where something failed.
        format!("{:.1}%", (percent * 10.0).floor() / 10.0)
    } else {
        "100%".to_owned()
    };
    match percent {
        99.0.. => (format!("YES {shown}"), theme.good()),
        90.0.. => (format!("MOSTLY {shown}"), theme.warn()),
        _ => (format!("NO {shown} !"), theme.bad()),
    }
}

fn capacity(row: &CapacityRow, y: u16, theme: Theme, canvas: &mut Canvas<'_>) {
    canvas.put(1, y, "capacity", theme.label());
    let workers = plural(u64::from(row.workers), "worker");
    let busy = row.busy_percent;
    let text = if let (Some(used), Some(syn_per_s)) = (row.used_percent, row.syn_per_s) {
        let day = row.measured.as_ref().and_then(|at| at.split('T').next());
        let day = day.map_or_else(String::new, |day| format!(" of {day}"));
        format!(
            "{used:.1}% of {} SYN/s (bench{day}); {workers}, busiest {busy}%",
            si(syn_per_s)
        )
    } else {
        let note = row.note.as_deref().unwrap_or("unknown");
        format!("{note}; {workers}, busiest {busy}%")
    };
    let style = match (row.used_percent.unwrap_or_default(), busy) {
        (80.0.., _) | (_, 95..) => theme.bad(),
        (50.0.., _) | (_, 80..) => theme.warn(),
        _ => theme.plain(),
    };
    let room = usize::from(canvas.width().saturating_sub(VALUES + 1));
    canvas.put(VALUES, y, &cut(&text, room), style);
}

/// The graph that is chosen; where there is much room, that of new sessions below it.
fn graph(model: &Model, row: Option<&FloodRow>, y: u16, height: u16, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let service = row.map(|row| row.service.as_str());
    let graphing = model.flood.graphing;
    let Some(rows) = history::rows(model, service, graphing.span) else {
        canvas.put(1, y, "history: asked, no answer yet", theme.plain());
        return;
    };
    let since = row.and_then(|row| row.since.as_deref()).and_then(unix);
    let mut one = Graph {
        rows,
        figure: graphing.figure,
        span: graphing.span,
        of: service.unwrap_or("all services"),
        mark: since.map(|since| (since, "ON")),
    };
    let width = canvas.width();
    let others = [history::Figure::Sessions, history::Figure::Syns];
    let other = others.into_iter().find(|figure| *figure != one.figure);
    let is_roomy = height >= 16;
    let each = if is_roomy { height / 2 } else { height };
    let each = each.min(MOST_BARS + 2);
    graph::draw(&one, theme, &mut canvas.inner(0, y, width, each));
    if let Some(figure) = other
        && is_roomy
    {
        one.figure = figure;
        graph::draw(&one, theme, &mut canvas.inner(0, y + each, width, each));
    }
}

/// Who sends most, and what their SYNs have in common.
fn tops(row: &FloodRow, y: u16, theme: Theme, canvas: &mut Canvas<'_>) {
    let width = canvas.width();
    let right = if width >= 120 { 48 } else { 31 };
    let share_at = width.saturating_sub(7).min(right + 64);
    let share = |syn_per_s| format!("{:.0}%", percent(syn_per_s, row.syn_per_s).min(100.0));
    canvas.style(0, y, width, theme.heading());
    canvas.put(1, y, "TOP SOURCES", theme.heading());
    canvas.cell((18, y), 5, Align::Right, "SYN/s", theme.heading());
    canvas.cell((24, y), 5, Align::Right, "SHARE", theme.heading());
    canvas.put(right, y, "TOP TCP OPTIONS (samples)", theme.heading());
    canvas.cell((share_at, y), 6, Align::Right, "SHARE", theme.heading());
    let room = canvas.height().saturating_sub(y + 1);
    for (y, source) in (y + 1..).zip(&row.top_sources).take(usize::from(room)) {
        canvas.cell((1, y), 17, Align::Left, &source.prefix, theme.plain());
        canvas.cell(
            (18, y),
            5,
            Align::Right,
            &si(source.syn_per_s),
            theme.plain(),
        );
        canvas.cell(
            (24, y),
            5,
            Align::Right,
            &share(source.syn_per_s),
            theme.plain(),
        );
    }
    for (y, print) in (y + 1..).zip(&row.top_fingerprints).take(usize::from(room)) {
        let wide = share_at.saturating_sub(right + 1);
        let at = (right, y);
        let text = cut(&print.fingerprint, usize::from(wide));
        canvas.cell(at, wide, Align::Left, &text, theme.plain());
        canvas.cell(
            (share_at, y),
            6,
            Align::Right,
            &share(print.syn_per_s),
            theme.plain(),
        );
    }
    let none = "none sampled".to_owned();
    let spread = row.spread_over;
    let spread = spread.map_or_else(
        || none.clone(),
        |number| format!("spread over more than {number}"),
    );
    for (x, is_empty, text) in [
        (1, row.top_sources.is_empty(), &spread),
        (right, row.top_fingerprints.is_empty(), &none),
    ] {
        if is_empty {
            canvas.put(x, y + 1, text, theme.plain());
        }
    }
}

fn micros(value: u64) -> String {
    match value {
        0..1_000 => format!("{value}us"),
        1_000..10_000 => format!("{}.{}ms", value / 1_000, value % 1_000 / 100),
        _ => format!("{}ms", value / 1_000),
    }
}

/// Returns which services have a flood, and in which order they are.
pub(crate) fn status(model: &Model) -> String {
    let Some(told) = &model.data.flood else {
        return String::new();
    };
    let rows = &told.value;
    let flood = &model.flood;
    let flooded: Vec<&str> = rows
        .iter()
        .filter(|row| is_flood(row))
        .map(|row| row.service.as_str())
        .collect();
    let floods = match flooded.as_slice() {
        [] => "no flood".to_owned(),
        [one] => format!("flood: {one}"),
        [one, more @ ..] => format!("floods: {one} and {} more", more.len()),
    };
    let denied = denied(model);
    if flood.zoom.is_some() {
        let at = flood.cursor.index + 1;
        let of = flood.lines.len();
        return format!("service {at} of {of}, Up and Down go on, Esc lists all; {floods}{denied}");
    }
    let filter = flood.filter.words();
    format!(
        "{filter}{}, {floods}{denied}; {}; v and t change the graph",
        plural(flood.lines.len() as u64, "TCP service"),
        flood.sorting.words(flood.sorting.by.name())
    )
}

/// What somebody did against it: whose packets are dropped, and until when.
fn denied(model: &Model) -> String {
    let told = model.data.overrides.as_ref();
    let rows = told.map_or(&[][..], |told| &told.value);
    let mut denials = rows.iter().filter(|row| row.setting == "deny");
    let Some(first) = denials.next() else {
        return String::new();
    };
    let until = first.until.as_deref().and_then(unix);
    let until = until.map_or_else(String::new, |at| format!(" until {}", time_of_day(at)));
    match denials.count() {
        0 => format!("; denied: {}{until}", first.object),
        more => format!("; denied: {} and {more} more", first.object),
    }
}
