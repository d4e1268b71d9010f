//! The LIP pools, each with the real servers that it reaches.

use std::collections::BTreeMap;

use ratatui::style::Style;
use weir_control::{PoolRealRow, PoolRow};

use crate::model::Model;
use crate::model::pools::{
    FULL_PERCENT, Line, SHORT_PERCENT, SOON_S, exhausted_in_s, least_free, used_percent,
    worst_percent,
};
use crate::theme::Theme;
use crate::units::{NONE, exact, or_none, plural, rate, si, span};
use crate::view::canvas::{Align, Canvas};
use crate::view::details::{self, Detail};

/// Selection and alarm.
const MARKS: u16 = 3;
const NAME: u16 = 26;
const GAP: u16 = 2;
/// Where the values of details begin.
const VALUES: u16 = 18;

const COLUMNS: [(&str, u16, Align); 6] = [
    ("USED", 5, Align::Right),
    ("FREE", 9, Align::Right),
    ("USE", 9, Align::Right),
    ("FULL IN", 7, Align::Right),
    ("GROWS/s", 7, Align::Right),
    ("PORTS", 5, Align::Right),
];

/// Draws them.
pub(crate) fn draw(model: &Model, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let Some(told) = &model.data.pools else {
        canvas.put(1, 1, "asked, no answer yet", theme.plain());
        return;
    };
    let rows = &told.value;
    if model.pools.zoom.is_some() {
        closely(model, rows, canvas);
        return;
    }
    let width = canvas.width();
    canvas.style(0, 0, width, theme.heading());
    canvas.put(MARKS, 0, "POOL, REAL SERVER", theme.heading());
    line(
        0,
        &COLUMNS.map(|(head, ..)| head.to_owned()),
        theme.heading(),
        canvas,
    );
    if model.pools.lines.is_empty() {
        let text = if rows.is_empty() {
            "no LIP pools are configured"
        } else {
            "nothing matches the filter; Esc shows all"
        };
        canvas.put(MARKS, 2, text, theme.plain());
    }
    let seen = model.pools.lines.iter().enumerate();
    let seen = seen.skip(model.pools.cursor.top);
    for (y, (at, one)) in (1..canvas.height().saturating_sub(1)).zip(seen) {
        let (Line::Pool(place) | Line::Real(place, _)) = *one;
        let Some(pool) = rows.get(place) else {
            continue;
        };
        match *one {
            Line::Pool(_) => pool_line(model, pool, y, canvas),
            Line::Real(_, real) => {
                if let Some(real) = pool.reals.get(real) {
                    real_line(model, pool, real, y, canvas);
                }
            }
        }
        if at == model.pools.cursor.index {
            canvas.put(0, y, ">", theme.strong());
            canvas.style(0, y, width, theme.selected());
        }
    }
    refusals(model, canvas.height().saturating_sub(1), canvas);
}

fn pool_line(model: &Model, pool: &PoolRow, y: u16, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let (worst, soon) = (worst_percent(pool), exhausted_in_s(pool));
    let style = style(worst, soon, theme);
    mark(worst, soon, y, theme, canvas);
    let name = format!("{}, {}", pool.name, plural(pool.addresses, "LIP"));
    canvas.cell((MARKS, y), NAME, Align::Left, &name, theme.strong());
    let has = !pool.reals.is_empty();
    let cells = [
        si(pool.ports_used),
        least_free(pool).map_or_else(|| NONE.to_owned(), |free| format!("min {}", si(free))),
        if has {
            format!("max {:.0}%", short_of_full(worst, 99.0))
        } else {
            NONE.to_owned()
        },
        full_in(least_free(pool), soon),
        growth(model.pools.growth(pool, None)),
        si(pool.ports_total),
    ];
    line(y, &cells, style, canvas);
}

fn real_line(model: &Model, pool: &PoolRow, real: &PoolRealRow, y: u16, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let used = used_percent(real);
    mark(used, real.exhausted_in_s, y, theme, canvas);
    let at = (MARKS + 2, y);
    canvas.cell(at, NAME - 2, Align::Left, &real.real, theme.plain());
    let cells = [
        si(real.used),
        si(real.free),
        format!("{:.1}%", short_of_full(used, 99.9)),
        full_in(Some(real.free), real.exhausted_in_s),
        growth(model.pools.growth(pool, Some(real))),
        si(real.used + real.free),
    ];
    let end = line(y, &cells, style(used, real.exhausted_in_s, theme), canvas);
    let room = canvas.width().saturating_sub(end + GAP + 1).min(40);
    if room >= 10 {
        bar(used, end + GAP, y, room, theme, canvas);
    }
}

/// How full it is, as long as there is room.
fn bar(percent: f64, x: u16, y: u16, width: u16, theme: Theme, canvas: &mut Canvas<'_>) {
    let full = crate::units::whole(percent * f64::from(width - 2) / 100.0) as u16;
    canvas.put(x, y, "[", theme.dim());
    for at in 0..full.min(width - 2) {
        let symbol = if theme.utf8 { "█" } else { "#" };
        canvas.put(x + 1 + at, y, symbol, theme.graph());
    }
    canvas.put(x + width - 1, y, "]", theme.dim());
}

fn line(y: u16, cells: &[String], style: Style, canvas: &mut Canvas<'_>) -> u16 {
    let mut x = MARKS + NAME;
    for ((_, wide, align), text) in COLUMNS.iter().zip(cells) {
        if x + GAP + wide > canvas.width() {
            break;
        }
        canvas.cell((x + GAP, y), *wide, *align, text, style);
        x += GAP + wide;
    }
    x
}

fn style(percent: f64, soon: Option<u64>, theme: Theme) -> Style {
    match (percent, soon) {
        (FULL_PERCENT.., _) => theme.bad(),
        (_, Some(seconds)) if seconds < SOON_S => theme.bad(),
        (SHORT_PERCENT.., _) => theme.warn(),
        _ => theme.plain(),
    }
}

fn mark(percent: f64, soon: Option<u64>, y: u16, theme: Theme, canvas: &mut Canvas<'_>) {
    let alarming = percent >= FULL_PERCENT || soon.is_some_and(|seconds| seconds < SOON_S);
    if alarming {
        canvas.put(1, y, "!", theme.bad());
    }
}

/// A hundred percent is for what is full: what is nearly so is not rounded up to it.
fn short_of_full(percent: f64, most: f64) -> f64 {
    if percent < 100.0 {
        percent.min(most)
    } else {
        percent
    }
}

/// When there is no port left.
fn full_in(free: Option<u64>, soon: Option<u64>) -> String {
    match free {
        Some(0) => "FULL".to_owned(),
        Some(_) | None => or_none(soon, span),
    }
}

fn growth(value: Option<f64>) -> String {
    match value {
        None => NONE.to_owned(),
        Some(value) if value < 0.0 => format!("-{}", rate(-value)),
        Some(value) if value > 0.0 => format!("+{}", rate(value)),
        Some(_) => "0".to_owned(),
    }
}

/// What there was no port for, of all pools: the ledger counts it.
fn refusals(model: &Model, y: u16, canvas: &mut Canvas<'_>) {
    let theme = model.theme;
    let ledger = model.data.ledger.as_ref();
    let rates = ledger.and_then(|told| told.value.total.per_s.as_ref());
    let of = |rates: &BTreeMap<String, u64>, name| rates.get(name).copied().unwrap_or_default();
    let refused = rates.map(|rates| of(&rates.dropped, "lip-exhausted"));
    let counted = |name| or_none(rates.map(|rates| of(&rates.counters, name)), si);
    let style = match refused {
        Some(refused) if refused > 0 => theme.bad(),
        Some(_) | None => theme.plain(),
    };
    let text = format!(
        "all pools: {:>5}/s refused for want of a port",
        or_none(refused, si)
    );
    let x = canvas.put(1, y, &text, style);
    let moved = counted("lip-fell-back");
    let text = format!("  {moved:>5}/s took another LIP");
    let x = canvas.put(x, y, &text, theme.plain());
    let early = counted("port-reused-early");
    let text = format!("  {early:>5}/s took a port before its rest was over");
    if usize::from(x) + text.len() < usize::from(canvas.width()) {
        canvas.put(x, y, &text, theme.plain());
    }
}

/// A pool, or its use towards a real server.
fn closely(model: &Model, rows: &[PoolRow], canvas: &mut Canvas<'_>) {
    let Some(lines) = facts(model, rows) else {
        let gone = "it is no longer there; Esc goes back";
        canvas.put(1, 1, gone, model.theme.warn());
        return;
    };
    let height = canvas.height().saturating_sub(1);
    let mut text = canvas.inner(0, 0, canvas.width(), height);
    details::draw(&lines, model.pools.zoom_top, VALUES, model.theme, &mut text);
    refusals(model, height, canvas);
}

/// Returns how many lines what is looked at has.
pub(crate) fn length(model: &Model) -> usize {
    let told = model.data.pools.as_ref();
    let lines = told.and_then(|told| facts(model, &told.value));
    lines.map_or(0, |lines| lines.len())
}

/// The lines of what is looked at; none where it is no longer there.
fn facts(model: &Model, rows: &[PoolRow]) -> Option<Vec<Detail>> {
    let theme = model.theme;
    let plain = theme.plain();
    let zoom = model.pools.zoom.as_ref()?;
    let pool = rows.iter().find(|pool| pool.name == zoom.pool)?;
    let real = |pool: &PoolRow| {
        let wanted = zoom.real.as_ref()?;
        pool.reals.iter().find(|real| real.real == *wanted).cloned()
    };
    let mut lines = vec![("pool", pool.name.clone(), theme.strong())];
    let per_lip = pool.ports_total.checked_div(pool.addresses);
    let ports = format!(
        "{} towards each real server: {} each of {}",
        exact(pool.ports_total),
        or_none(per_lip, exact),
        plural(pool.addresses, "LIP")
    );
    match (&zoom.real, real(pool)) {
        (Some(_), Some(real)) => {
            lines.push(("towards", real.real.clone(), theme.strong()));
            let used = used_percent(&real);
            let state = style(used, real.exhausted_in_s, theme);
            let text = format!(
                "{} ports, {:.1}%",
                exact(real.used),
                short_of_full(used, 99.9)
            );
            lines.push(("in use", text, state));
            lines.push(("free", format!("{} ports", exact(real.free)), plain));
            let text = format!("{} ports/s", growth(model.pools.growth(pool, Some(&real))));
            lines.push(("grows by", text, plain));
            let full = match (real.free, real.exhausted_in_s) {
                (0, _) => "FULL: no port is left".to_owned(),
                (_, Some(seconds)) => format!("full in {} at this rate", span(seconds)),
                (_, None) => "does not fill up".to_owned(),
            };
            lines.push(("headroom", full, state));
        }
        (Some(_), None) => {
            let text = "this real server is no longer there; Esc goes back";
            lines.push(("towards", text.to_owned(), theme.warn()));
        }
        (None, _) => {
            let (worst, soon) = (worst_percent(pool), exhausted_in_s(pool));
            let fullest = pool
                .reals
                .iter()
                .max_by(|a, b| used_percent(a).total_cmp(&used_percent(b)));
            let text = format!("{} ports towards all real servers", exact(pool.ports_used));
            lines.push(("in use", text, plain));
            if let Some(real) = fullest {
                let text = format!(
                    "{}: {:.1}%, {} ports left",
                    real.real,
                    short_of_full(worst, 99.9),
                    exact(real.free)
                );
                lines.push(("fullest", text, style(worst, soon, theme)));
            }
            let full = match (least_free(pool), soon) {
                (Some(0), _) => "FULL: no port is left towards one at least".to_owned(),
                (_, Some(seconds)) => format!("first one full in {} at this rate", span(seconds)),
                (_, None) => "does not fill up".to_owned(),
            };
            lines.push(("headroom", full, style(worst, soon, theme)));
        }
    }
    lines.push(("ports", ports, plain));
    for (place, range) in pool.ranges.iter().enumerate() {
        let name = if place == 0 { "addresses" } else { "" };
        lines.push((name, range.clone(), plain));
    }
    let worst = worst_percent(pool);
    let more = match worst {
        SHORT_PERCENT.. => "add addresses: each LIP adds ports to every real server",
        _ => "nothing",
    };
    lines.push(("try next", more.to_owned(), theme.strong()));
    Some(lines)
}

/// Returns how many there are, and in which order.
pub(crate) fn status(model: &Model) -> String {
    let Some(told) = &model.data.pools else {
        return String::new();
    };
    let pools = &model.pools;
    if let Some(zoom) = &pools.zoom {
        return match &zoom.real {
            Some(real) => format!("pool {} towards {real}; Esc goes back", zoom.pool),
            None => format!("pool {}; Esc goes back", zoom.pool),
        };
    }
    let filter = pools.filter.words();
    let reals: usize = told.value.iter().map(|pool| pool.reals.len()).sum();
    format!(
        "{filter}{} to {}; {}",
        plural(told.value.len() as u64, "pool"),
        plural(reals as u64, "real server"),
        pools.sorting.words(pools.sorting.by.name())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_full_is_a_hundred_percent() {
        assert_eq!(format!("{:.0}%", short_of_full(99.97, 99.0)), "99%");
        assert_eq!(format!("{:.1}%", short_of_full(99.97, 99.9)), "99.9%");
        assert_eq!(format!("{:.0}%", short_of_full(36.6, 99.0)), "37%");
        assert_eq!(format!("{:.1}%", short_of_full(100.0, 99.9)), "100.0%");
    }
}
