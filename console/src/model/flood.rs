//! The floods: which services have one, in which order, and what becomes of their SYNs.

use std::cmp::Ordering;

use weir_control::{FloodRates, FloodRow, What};

use crate::model::filter::{Cycle, Sorting, TextFilter};
use crate::model::history::{self, Graphing};
use crate::model::list::{Cursor, Step};
use crate::model::screen::every;
use crate::model::{Model, Want};

/// What the services are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Those with a flood first, then by SYN/s.
    #[default]
    Worst,
    Name,
    Dropped,
    Admitted,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub(crate) struct Flood {
    /// Places in what the daemon said.
    pub(crate) lines: Vec<usize>,
    pub(crate) cursor: Cursor,
    pub(crate) sorting: Sorting<Sort>,
    pub(crate) filter: TextFilter,
    /// The service that is looked at closely.
    pub(crate) zoom: Option<String>,
    pub(crate) graphing: Graphing,
    selected: Option<String>,
    heard: bool,
}

impl Cycle for Sort {
    const ALL: &'static [Self] = &[Self::Worst, Self::Name, Self::Dropped, Self::Admitted];
}

impl Sort {
    /// Returns its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Worst => "worst first",
            Self::Name => "by name",
            Self::Dropped => "by dropped/s",
            Self::Admitted => "by admitted/s",
        }
    }
}

/// Returns what the screen wants to be told.
pub(crate) fn wants(model: &Model) -> Vec<Want> {
    let Flood { zoom, graphing, .. } = &model.flood;
    vec![
        every(What::Flood, model.every),
        history::want(zoom.as_deref(), graphing.span, model.every),
    ]
}

/// Returns how many lines of the list there are, of so many lines of the screen.
pub(crate) fn list_height(body: usize, services: usize) -> usize {
    // The heading, the sum, the capacity; and a graph of six lines.
    let most = body.saturating_sub(9);
    most.min(services.max(1))
}

impl Flood {
    /// Takes what the daemon said. At first, the service with the worst flood is opened: whoever
    /// comes here during one wants to see that.
    pub(crate) fn arrived(&mut self, rows: &[FloodRow], height: usize) {
        self.rebuild(rows, height);
        if !self.heard {
            self.heard = true;
            let is_flooded = |row: &&FloodRow| row.active && row.mode == "adaptive";
            let flooded = rows.iter().filter(is_flooded);
            let worst = flooded.max_by_key(|row| row.syn_per_s);
            self.zoom = worst.map(|row| row.service.clone());
            self.selected.clone_from(&self.zoom);
            self.rebuild(rows, height);
        }
    }

    /// Makes the lines anew; the selection stays on its service.
    pub(crate) fn rebuild(&mut self, rows: &[FloodRow], height: usize) {
        let mut lines: Vec<usize> = (0..rows.len()).collect();
        lines.retain(|place| {
            let row = rows.get(*place);
            row.is_some_and(|row| self.filter.shows(&text(row)))
        });
        lines.sort_by(|a, b| match (rows.get(*a), rows.get(*b)) {
            (Some(a), Some(b)) => self.order(a, b),
            (None, _) | (_, None) => Ordering::Equal,
        });
        self.sorting.arrange(&mut lines);
        self.lines = lines;
        let is_selected = |place: &usize| {
            let row = rows.get(*place);
            row.is_some_and(|row| self.selected.as_ref() == Some(&row.service))
        };
        let at = self.lines.iter().position(is_selected);
        let index = at.unwrap_or(self.cursor.index);
        self.cursor.select(index, self.lines.len(), height);
    }

    /// Goes up or down; among the services that are looked at closely as well.
    pub(crate) fn go(&mut self, step: Step, rows: &[FloodRow], height: usize) {
        self.cursor.go(step, self.lines.len(), height);
        self.selected = self.at_cursor(rows).map(|row| row.service.clone());
        if self.zoom.is_some() {
            self.zoom.clone_from(&self.selected);
        }
    }

    /// Opens the selected service.
    pub(crate) fn open(&mut self, rows: &[FloodRow]) {
        self.zoom = self.at_cursor(rows).map(|row| row.service.clone());
        self.selected.clone_from(&self.zoom);
    }

    /// Returns what is selected.
    pub(crate) fn at_cursor<'a>(&self, rows: &'a [FloodRow]) -> Option<&'a FloodRow> {
        rows.get(*self.lines.get(self.cursor.index)?)
    }

    fn order(&self, a: &FloodRow, b: &FloodRow) -> Ordering {
        let by = |pick: fn(&FloodRates) -> u64| {
            let rate = |row: &FloodRow| row.per_s.as_ref().map(pick);
            rate(b).cmp(&rate(a))
        };
        match self.sorting.by {
            // `always` is no flood.
            Sort::Worst => is_flood(b)
                .cmp(&is_flood(a))
                .then(b.syn_per_s.cmp(&a.syn_per_s)),
            Sort::Name => a.service.cmp(&b.service),
            Sort::Dropped => by(|rates| rates.limited),
            Sort::Admitted => by(|rates| rates.completed),
        }
    }
}

/// Says whether cookies are sent because of a flood.
pub(crate) fn is_flood(row: &FloodRow) -> bool {
    row.active && row.mode != "always"
}

fn text(row: &FloodRow) -> String {
    let flood = if is_flood(row) { "flood" } else { "" };
    let on = if row.active { "on" } else { "" };
    format!("{} {} {on} {flood}", row.service, row.mode)
}

/// Returns what to try next, in one short sentence.
pub(crate) fn advice(row: &FloodRow) -> String {
    let share = |syn_per_s: u64| percent(syn_per_s, row.syn_per_s);
    let source = row.top_sources.first();
    let print = row.top_fingerprints.first();
    let used = row.capacity.used_percent.unwrap_or_default();
    if !row.active {
        return match row.mode.as_str() {
            "off" => "o switches cookies on; now SYNs are passed on as they come".to_owned(),
            _ => "nothing: cookies are sent as soon as there is a flood".to_owned(),
        };
    }
    if used >= 80.0 || row.capacity.busy_percent >= 95 {
        return "this box is nearly full: have the top sources filtered upstream".to_owned();
    }
    if row.success_percent.is_some_and(|percent| percent < 95.0) {
        return "real servers fail handshakes: see 1 Services and 2 Pools".to_owned();
    }
    if let Some(source) = source
        && share(source.syn_per_s) >= 25.0
    {
        // Whoever floods may write any source into a SYN: it is for a while, and with a warning.
        return format!(
            ": deny add {} --for 10m; the source may be forged",
            source.prefix
        );
    }
    if let Some(print) = print
        && share(print.syn_per_s) >= 50.0
    {
        return "have SYNs with the top TCP options filtered upstream".to_owned();
    }
    match row.per_s {
        Some(rates) if rates.failed > rates.completed => {
            "real servers fail handshakes: see 1 Services and 2 Pools".to_owned()
        }
        Some(_) | None => "nothing: Weir copes; tell upstream if it lasts".to_owned(),
    }
}

/// Says whether it is counted who is admitted: only after a cookie.
pub(crate) fn counts_users(row: &FloodRow) -> bool {
    let ended = row.per_s.map(|rates| rates.completed + rates.failed);
    row.active || ended.is_some_and(|ended| ended > 0)
}

/// Returns a share in percent; nought of nothing.
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    part as f64 * 100.0 / whole as f64
}

/// Returns parts and their sum in one unit, so that the shown digits add up: the total first.
pub(crate) fn adding_up(parts: &[f64]) -> Vec<String> {
    let sum: f64 = parts.iter().sum();
    let mut unit = ("", 1.0, 0i32);
    for (name, divisor) in [("k", 1e3), ("M", 1e6), ("G", 1e9), ("T", 1e12)] {
        if sum >= 9_999.5 && sum >= divisor {
            let decimals = match sum / divisor {
                value if value < 10.0 => 3,
                value if value < 100.0 => 2,
                _ => 1,
            };
            unit = (name, divisor, decimals);
        }
    }
    let (name, divisor, decimals) = unit;
    let digits = decimals.unsigned_abs() as usize;
    let grain = divisor / 10f64.powi(decimals);
    let grains = split(parts, grain, (sum / grain).round());
    let all: u64 = grains.iter().sum();
    let show = |grains: u64| match grains {
        0 => "0".to_owned(),
        _ => format!("{:.digits$}{name}", grains as f64 * grain / divisor),
    };
    [all].into_iter().chain(grains).map(show).collect()
}

/// Returns shares in percent that add up to a hundred; none of nothing.
pub(crate) fn shares(parts: &[f64]) -> Option<Vec<String>> {
    let sum: f64 = parts.iter().sum();
    if sum <= 0.0 {
        return None;
    }
    let grains = split(parts, sum / 1000.0, 1000.0).into_iter();
    let shown = grains.map(|grains| format!("{}.{}%", grains / 10, grains % 10));
    Some(shown.collect())
}

/// Rounds parts so that they add up: what is left over goes where most was cut off.
fn split(parts: &[f64], grain: f64, total: f64) -> Vec<u64> {
    let whole = |value: f64| crate::units::whole(value);
    let mut grains: Vec<u64> = parts
        .iter()
        .map(|part| whole((part / grain).floor()))
        .collect();
    let mut cut: Vec<usize> = (0..parts.len()).collect();
    let rest = |at: &usize| parts.get(*at).map_or(0.0, |part| (part / grain).fract());
    cut.sort_by(|a, b| rest(b).total_cmp(&rest(a)));
    let left = whole(total).saturating_sub(grains.iter().sum());
    for at in cut.into_iter().take(left as usize) {
        if let Some(grains) = grains.get_mut(at) {
            *grains += 1;
        }
    }
    grains
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_control::{FingerprintRow, SourceRow};

    use super::*;

    #[test]
    fn what_is_shown_adds_up_in_one_unit() {
        assert_eq!(
            adding_up(&[3_410_000.0, 310_000.0, 0.0]),
            ["3.720M", "3.410M", "0.310M", "0"]
        );
        assert_eq!(adding_up(&[10.4, 10.4, 10.4]), ["31", "11", "10", "10"]);
        assert_eq!(
            shares(&[1.0, 1.0, 1.0]).unwrap(),
            ["33.4%", "33.3%", "33.3%"]
        );
        assert_eq!(shares(&[0.0, 0.0]), None);
    }

    proptest! {
        #[test]
        fn shown_parts_are_the_shown_sum(
            parts in proptest::collection::vec(0f64..1e12, 1..5),
            scale in 0i32..12,
        ) {
            let parts: Vec<f64> = parts.iter().map(|part| part / 10f64.powi(scale)).collect();
            let shown = adding_up(&parts);
            let tenths = |text: &String| {
                let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                crate::units::whole(number.parse::<f64>().unwrap() * 1000.0)
            };
            let mut values = shown.iter().map(tenths);
            let total = values.next().unwrap();
            prop_assert_eq!(total, values.sum::<u64>());
            for text in &shown {
                prop_assert!(text.len() <= 7, "{}", text);
            }
        }
    }

    #[test]
    fn users_are_counted_while_there_are_cookies_and_as_long_as_handshakes_of_theirs_end() {
        let mut row = FloodRow {
            per_s: Some(FloodRates::default()),
            ..FloodRow::default()
        };
        assert!(!counts_users(&row));
        row.per_s = Some(FloodRates {
            failed: 1,
            ..FloodRates::default()
        });
        assert!(counts_users(&row));
        let active = FloodRow {
            active: true,
            ..FloodRow::default()
        };
        assert!(counts_users(&active));
    }

    #[test]
    fn advice_is_about_what_is_worst_and_fits_its_line() {
        let calm = FloodRow {
            active: true,
            mode: "adaptive".to_owned(),
            syn_per_s: 1000,
            success_percent: Some(99.9),
            ..FloodRow::default()
        };
        let mut rows = vec![(calm.clone(), "nothing: Weir copes")];
        let mut alike = calm.clone();
        alike.top_fingerprints = vec![FingerprintRow {
            fingerprint: "win 0".to_owned(),
            syn_per_s: 800,
        }];
        rows.push((alike.clone(), "have SYNs with the top TCP options"));
        alike.top_sources = vec![SourceRow {
            prefix: "198.51.100.0/24".to_owned(),
            syn_per_s: 300,
        }];
        rows.push((alike.clone(), ": deny add 198.51.100.0/24 --for 10m"));
        alike.success_percent = Some(60.0);
        rows.push((alike.clone(), "real servers fail"));
        alike.capacity.used_percent = Some(90.0);
        rows.push((alike.clone(), "this box is nearly full"));
        alike.active = false;
        rows.push((alike.clone(), "nothing: cookies are sent as soon"));
        alike.mode = "off".to_owned();
        rows.push((alike, "o switches cookies on"));
        for (row, expected) in rows {
            let text = advice(&row);
            assert!(text.starts_with(expected), "{text}");
            assert!(text.len() <= 67, "{text}");
        }
    }
}
