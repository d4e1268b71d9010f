//! The services with their real servers: which lines there are, and in which order.

mod order;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_control::{Filter, RealCountsRow, ServiceRealRow, ServiceRow, What};

use crate::model::filter::{Cycle, Sorting, TextFilter};
use crate::model::list::{Cursor, Step};
use crate::model::screen::every;
use crate::model::services::order::{SortKey, real_key, sort_key};
use crate::model::services::words::{real_text, service_text};
use crate::model::{Mode, Model, Want};

pub(crate) use crate::model::services::words::{
    is_down, listen, others, real_state, state, weight_by_command,
};

/// More real servers are hidden below their services until somebody wants to see them.
const SHOWN_AT_FIRST: u64 = 200;
/// How often those are asked for that are shown and not seen.
const UNSEEN: Duration = Duration::from_secs(10);

/// What a line is of.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) service: String,
    /// The address of a real server; none of the service itself.
    pub(crate) real: Option<String>,
}

/// A line: places in what the daemon said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Service(usize),
    Real(usize, usize),
    /// What a service has that is at none of its real servers.
    Others(usize),
}

/// What the lines are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// As in the configuration.
    #[default]
    File,
    Name,
    State,
    Sessions,
    New,
    Refused,
    In,
    Out,
}

/// How many there are of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) services: u64,
    pub(crate) reals: u64,
    pub(crate) down: u64,
    pub(crate) draining: u64,
}

/// How wide what does not change every second is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Widths {
    pub(crate) name: usize,
    pub(crate) listen: usize,
    pub(crate) state: usize,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub(crate) struct Services {
    pub(crate) lines: Vec<Line>,
    pub(crate) cursor: Cursor,
    pub(crate) sorting: Sorting<Sort>,
    pub(crate) filter: TextFilter,
    /// What is looked at closely.
    pub(crate) zoom: Option<Name>,
    /// How far the details are scrolled.
    pub(crate) zoom_top: usize,
    pub(crate) totals: Totals,
    pub(crate) widths: Widths,
    /// Whether the real servers of a service were told with it, by its place.
    with_reals: Vec<bool>,
    selected: Option<Name>,
    /// Whether real servers are hidden, except where `unlike` says otherwise.
    folded: bool,
    unlike: BTreeSet<String>,
    heard: bool,
}

impl Cycle for Sort {
    const ALL: &'static [Self] = &[
        Self::File,
        Self::Name,
        Self::State,
        Self::Sessions,
        Self::New,
        Self::Refused,
        Self::In,
        Self::Out,
    ];
}

impl Sort {
    /// Returns its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::File => "in the order of the file",
            Self::Name => "by name",
            Self::State => "worst first",
            Self::Sessions => "by sessions",
            Self::New => "by new/s",
            Self::Refused => "by refused/s",
            Self::In => "by in b/s",
            Self::Out => "by out b/s",
        }
    }
}

/// Returns what the screen wants to be told: where there are many real servers, those that are seen
/// each time, and the others now and then.
pub(crate) fn wants(model: &Model) -> Vec<Want> {
    let services = &model.services;
    let mut wants = Vec::new();
    let told = model.data.services.as_ref();
    match told.filter(|_| services.is_large() && !is_searched(model)) {
        Some(told) => {
            let (names, hides) = services.seen_reals(&told.value, model.list_height());
            wants.push(Want {
                what: What::Services,
                filter: Filter {
                    reals: Some(names),
                    ..Filter::default()
                },
                every: model.every,
            });
            if hides {
                wants.push(every(What::Services, model.every.max(UNSEEN)));
            }
        }
        None => wants.push(every(What::Services, model.every)),
    }
    if let Some(zoom) = &services.zoom {
        for what in [What::Health, What::Flood] {
            wants.push(Want {
                what,
                filter: Filter {
                    service: Some(zoom.service.clone()),
                    ..Filter::default()
                },
                every: model.every,
            });
        }
    }
    wants
}

/// Says whether real servers are looked for that may not be seen: by a filter, or on the command
/// line, which completes their names.
fn is_searched(model: &Model) -> bool {
    !model.services.filter.is_empty() || matches!(model.mode, Mode::Command(_))
}

/// Puts the real servers of before where none were told now, as long as they are as many: without
/// their rates, which are of another second.
pub(crate) fn keep_reals(before: &mut [ServiceRow], now: &mut [ServiceRow], filter: &Filter) {
    if filter.reals.is_none() {
        return;
    }
    let places = before.iter().enumerate();
    let places: BTreeMap<String, usize> = places
        .map(|(place, row)| (row.name.clone(), place))
        .collect();
    let brief = now.iter_mut().filter(|row| !filter.has_reals_of(&row.name));
    for row in brief {
        let old = places
            .get(&row.name)
            .and_then(|place| before.get_mut(*place));
        if let Some(old) = old.filter(|old| old.real_counts.all == row.real_counts.all) {
            row.reals = std::mem::take(&mut old.reals);
            row.reals.iter_mut().for_each(|real| real.per_s = None);
        }
    }
}

impl Services {
    /// Takes what the daemon said: lines, and the selection where its object is now.
    pub(crate) fn arrived(&mut self, rows: &[ServiceRow], filter: &Filter, height: usize) {
        let told = rows.iter().map(|row| filter.has_reals_of(&row.name));
        self.with_reals = told.collect();
        let sum = |pick: fn(&RealCountsRow) -> u64| -> u64 {
            rows.iter().map(|service| pick(&service.real_counts)).sum()
        };
        self.totals = Totals {
            services: rows.len() as u64,
            reals: sum(|counts| counts.all),
            down: sum(|counts| counts.down),
            draining: sum(|counts| counts.drain),
        };
        self.widths = Widths {
            name: longest(rows.iter().map(|service| service.name.chars().count())),
            listen: longest(rows.iter().map(|service| listen(service).chars().count())),
            state: longest(rows.iter().map(|service| state(service).chars().count())),
        };
        if !self.heard {
            self.heard = true;
            self.folded = self.is_large();
        }
        self.rebuild(rows, height);
    }

    /// Says whether there are more real servers than are shown without being asked for.
    fn is_large(&self) -> bool {
        self.totals.reals > SHOWN_AT_FIRST
    }

    /// Returns the services whose real servers are seen, or nearly so, and whether others' are shown
    /// further up or down.
    fn seen_reals(&self, rows: &[ServiceRow], height: usize) -> (Vec<String>, bool) {
        let first = self.cursor.top.saturating_sub(height);
        let last = self.cursor.top + height * 2;
        let (mut seen, mut hides) = (BTreeSet::new(), false);
        for (at, line) in self.lines.iter().enumerate() {
            let (Line::Service(place) | Line::Real(place, _) | Line::Others(place)) = *line;
            let Some(row) = rows.get(place).filter(|row| !self.is_folded(&row.name)) else {
                continue;
            };
            if (first..last).contains(&at) {
                seen.insert(row.name.as_str());
            } else {
                hides = true;
            }
        }
        seen.extend(self.zoom.as_ref().map(|zoom| zoom.service.as_str()));
        let names = seen.into_iter().map(str::to_owned).collect();
        (names, hides)
    }

    /// Makes the lines anew; the selection stays on its object.
    pub(crate) fn rebuild(&mut self, rows: &[ServiceRow], height: usize) {
        let selected = self.selected.clone();
        self.lines = self.ordered(rows);
        let at = selected.as_ref().and_then(|selected| {
            let same = |line: &Line| name_is(rows, *line, selected);
            let parent = |line: &Line| {
                matches!(line, Line::Service(_))
                    && name_of(rows, *line).is_some_and(|name| name.service == selected.service)
            };
            let mut lines = self.lines.iter();
            let exact = lines.position(same);
            exact.or_else(|| self.lines.iter().position(parent))
        });
        let index = at.unwrap_or(self.cursor.index);
        self.cursor.select(index, self.lines.len(), height);
        // What is filtered away is still what the operator chose.
        if self.selected.is_none() {
            self.remember(rows);
        }
    }

    /// Goes up or down.
    pub(crate) fn go(&mut self, step: Step, rows: &[ServiceRow], height: usize) {
        self.cursor.go(step, self.lines.len(), height);
        self.remember(rows);
    }

    /// Returns what is selected.
    pub(crate) fn selected(&self, rows: &[ServiceRow]) -> Option<Name> {
        let line = self.lines.get(self.cursor.index)?;
        name_of(rows, *line)
    }

    /// Hides or shows the real servers of the selected service; says whether anything changed.
    pub(crate) fn fold(&mut self, fold: bool, rows: &[ServiceRow], height: usize) -> bool {
        let Some(name) = self.selected(rows) else {
            return false;
        };
        let changed = self.is_folded(&name.service) != fold;
        if fold == self.folded {
            self.unlike.remove(&name.service);
        } else {
            self.unlike.insert(name.service.clone());
        }
        if fold {
            self.selected = Some(Name {
                service: name.service,
                real: None,
            });
        }
        self.rebuild(rows, height);
        self.remember(rows);
        changed
    }

    /// Hides all real servers, or shows all.
    pub(crate) fn fold_all(&mut self, rows: &[ServiceRow], height: usize) {
        self.folded = !self.folded;
        self.unlike.clear();
        self.rebuild(rows, height);
        self.remember(rows);
    }

    /// Says whether the real servers of a service are hidden.
    pub(crate) fn is_folded(&self, service: &str) -> bool {
        self.folded != self.unlike.contains(service)
    }

    fn remember(&mut self, rows: &[ServiceRow]) {
        if let Some(name) = self.selected(rows) {
            self.selected = Some(name);
        }
    }

    fn ordered(&self, rows: &[ServiceRow]) -> Vec<Line> {
        let mut services: Vec<usize> = (0..rows.len()).collect();
        self.arrange(&mut services, |place| {
            rows.get(place).map(|row| sort_key(self.sorting.by, row))
        });
        let mut lines = Vec::new();
        for place in services {
            let Some(row) = rows.get(place) else {
                continue;
            };
            self.lines_of(place, row, &mut lines);
        }
        lines
    }

    /// Adds the lines of a service, where the filter lets it be seen.
    fn lines_of(&self, place: usize, row: &ServiceRow, lines: &mut Vec<Line>) {
        let filtering = !self.filter.is_empty();
        let found = filtering && self.filter.finds(&service_text(row));
        let real_is_seen = |real: &ServiceRealRow| {
            if !filtering || (found && !self.filter.inverse) {
                return true;
            }
            self.filter.finds(&real_text(real)) != self.filter.inverse
        };
        let mut reals: Vec<usize> = (0..row.reals.len())
            .filter(|at| row.reals.get(*at).is_some_and(real_is_seen))
            .collect();
        let seen = match (filtering, self.filter.inverse) {
            (false, _) => true,
            (true, false) => found || !reals.is_empty(),
            (true, true) => !found,
        };
        if !seen {
            return;
        }
        lines.push(Line::Service(place));
        // Whoever looks for a real server wants to see it, folded or not.
        let searched = filtering && !self.filter.inverse && !found;
        if self.is_folded(&row.name) && !searched {
            return;
        }
        self.arrange(&mut reals, |at| {
            row.reals
                .get(at)
                .map(|real| real_key(self.sorting.by, real))
        });
        lines.extend(reals.into_iter().map(|real| Line::Real(place, real)));
        // Real servers that were told before say nothing of what is elsewhere now.
        let are_of_now = self.with_reals.get(place) == Some(&true);
        if are_of_now && others(row) > 0 && !filtering {
            lines.push(Line::Others(place));
        }
    }

    fn arrange(&self, places: &mut [usize], key: impl Fn(usize) -> Option<SortKey>) {
        if self.sorting.by != Sort::File {
            // Equal ones stay as configured.
            places.sort_by_cached_key(|place| key(*place));
        }
        self.sorting.arrange(places);
    }
}

/// Returns what a line is of.
pub(crate) fn name_of(rows: &[ServiceRow], line: Line) -> Option<Name> {
    let (Line::Service(place) | Line::Real(place, _) | Line::Others(place)) = line;
    let service = rows.get(place)?;
    let real = match line {
        Line::Service(_) => None,
        Line::Others(_) => Some(String::new()),
        Line::Real(_, real) => Some(service.reals.get(real)?.address.clone()),
    };
    Some(Name {
        service: service.name.clone(),
        real,
    })
}

fn name_is(rows: &[ServiceRow], line: Line, name: &Name) -> bool {
    let (Line::Service(place) | Line::Real(place, _) | Line::Others(place)) = line;
    let Some(service) = rows.get(place).filter(|row| row.name == name.service) else {
        return false;
    };
    match (line, &name.real) {
        (Line::Service(_), None) => true,
        (Line::Real(_, at), Some(real)) => service
            .reals
            .get(at)
            .is_some_and(|row| row.address == *real),
        (Line::Others(_), Some(real)) => real.is_empty(),
        (Line::Service(_), Some(_)) | (Line::Real(..) | Line::Others(_), None) => false,
    }
}

fn longest(lengths: impl Iterator<Item = usize>) -> usize {
    lengths.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use weir_control::TrafficRates;

    use super::*;

    fn service(name: &str, sessions: u64, reals: &[(&str, &str)]) -> ServiceRow {
        counted(ServiceRow {
            name: name.to_owned(),
            listen: vec!["203.0.113.10:443".to_owned()],
            protocol: "tcp".to_owned(),
            sessions,
            inactive: 0,
            state: "up".to_owned(),
            reals: reals
                .iter()
                .enumerate()
                .map(|(place, (address, state))| ServiceRealRow {
                    address: (*address).to_owned(),
                    state: (*state).to_owned(),
                    checked: true,
                    // They add up to those of the service.
                    sessions: if place == 0 { sessions } else { 0 },
                    ..ServiceRealRow::default()
                })
                .collect(),
            ..ServiceRow::default()
        })
    }

    /// Says how real servers are that were made otherwise.
    fn counted(mut row: ServiceRow) -> ServiceRow {
        row.real_counts = RealCountsRow::default();
        for real in &row.reals {
            row.real_counts.count(&real.state, real.checked);
        }
        row
    }

    fn arrive(services: &mut Services, rows: &[ServiceRow]) {
        services.arrived(rows, &Filter::default(), 10);
    }

    fn rows() -> Vec<ServiceRow> {
        vec![
            service("web", 5, &[("10.0.0.1:80", "up"), ("10.0.0.2:80", "down")]),
            service("dns", 9, &[("10.0.0.3:53", "up")]),
        ]
    }

    fn names(services: &Services, rows: &[ServiceRow]) -> Vec<String> {
        let lines = services.lines.iter();
        lines
            .filter_map(|line| name_of(rows, *line))
            .map(|name| name.real.unwrap_or(name.service))
            .collect()
    }

    #[test]
    fn the_selection_stays_on_its_object_while_the_order_changes() {
        let mut rows = rows();
        let mut services = Services {
            sorting: Sorting {
                by: Sort::Sessions,
                reversed: false,
            },
            ..Services::default()
        };
        arrive(&mut services, &rows);
        assert_eq!(
            names(&services, &rows),
            ["dns", "10.0.0.3:53", "web", "10.0.0.1:80", "10.0.0.2:80"]
        );
        services.go(Step::Bottom, &rows, 10);
        let selected = services.selected(&rows).unwrap();
        assert_eq!(selected.real.as_deref(), Some("10.0.0.2:80"));
        if let Some(web) = rows.first_mut() {
            web.sessions = 100;
            web.reals[0].sessions = 100;
        }
        arrive(&mut services, &rows);
        assert_eq!(names(&services, &rows).first().unwrap(), "web");
        assert_eq!(services.selected(&rows), Some(selected));
        // What has gone leaves the selection with its service.
        if let Some(web) = rows.first_mut() {
            web.reals.pop();
        }
        arrive(&mut services, &rows);
        assert_eq!(services.selected(&rows).unwrap().service, "web");
    }

    #[test]
    fn sessions_at_no_real_server_have_a_line_of_their_own() {
        let mut rows = rows();
        if let Some(web) = rows.first_mut() {
            web.sessions += 7;
        }
        let mut services = Services::default();
        arrive(&mut services, &rows);
        assert!(services.lines.contains(&Line::Others(0)));
        assert_eq!(others(&rows[0]), 7);
        services.go(Step::Down, &rows, 10);
        services.go(Step::Down, &rows, 10);
        services.go(Step::Down, &rows, 10);
        assert_eq!(
            services.lines.get(services.cursor.index),
            Some(&Line::Others(0))
        );
        services.rebuild(&rows, 10);
        assert_eq!(
            services.lines.get(services.cursor.index),
            Some(&Line::Others(0))
        );
    }

    #[test]
    fn a_filter_shows_what_has_the_text_and_its_inverse_what_has_not() {
        let rows = rows();
        let mut services = Services::default();
        arrive(&mut services, &rows);
        services.filter.text = "10.0.0.3".to_owned();
        services.rebuild(&rows, 10);
        assert_eq!(names(&services, &rows), ["dns", "10.0.0.3:53"]);
        services.filter.text = "DOWN".to_owned();
        services.rebuild(&rows, 10);
        assert_eq!(names(&services, &rows), ["web", "10.0.0.2:80"]);
        services.filter.inverse = true;
        services.rebuild(&rows, 10);
        assert_eq!(
            names(&services, &rows),
            ["web", "10.0.0.1:80", "dns", "10.0.0.3:53"]
        );
        services.filter.text = "web".to_owned();
        services.rebuild(&rows, 10);
        assert_eq!(names(&services, &rows), ["dns", "10.0.0.3:53"]);
    }

    #[test]
    fn folding_hides_real_servers_and_selects_their_service() {
        let rows = rows();
        let mut services = Services::default();
        arrive(&mut services, &rows);
        services.go(Step::Down, &rows, 10);
        assert!(services.fold(true, &rows, 10));
        assert_eq!(names(&services, &rows), ["web", "dns", "10.0.0.3:53"]);
        assert_eq!(services.selected(&rows).unwrap().real, None);
        services.fold_all(&rows, 10);
        assert_eq!(names(&services, &rows), ["web", "dns"]);
        assert!(services.fold(false, &rows, 10));
        assert_eq!(names(&services, &rows).len(), 4);
    }

    #[test]
    fn words_tell_what_nobody_checks_and_who_is_left() {
        let mut row = service("web", 0, &[("10.0.0.1:80", "up"), ("10.0.0.2:80", "down")]);
        assert_eq!(state(&row), "DEGR 1/2");
        row.state = "no-quorum".to_owned();
        assert_eq!(state(&row), "DOWN 1/2");
        let mut row = service("web", 0, &[("10.0.0.1:80", "up"), ("10.0.0.9:80", "sorry")]);
        assert_eq!(state(&row), "UP 1/1");
        if let Some(real) = row.reals.first_mut() {
            real.checked = false;
        }
        let mut row = counted(row);
        assert_eq!(state(&row), "UNCHK 1/1");
        row.listen.push("203.0.113.11:443".to_owned());
        assert_eq!(listen(&row), "203.0.113.10:443/tcp +1");
        let row = service(
            "web",
            0,
            &[("10.0.0.1:80", "full"), ("10.0.0.2:80", "full")],
        );
        assert_eq!(state(&row), "FULL 0/2");
        let row = service(
            "web",
            0,
            &[("10.0.0.1:80", "up"), ("10.0.0.2:80", "inhibited")],
        );
        assert_eq!(state(&row), "DEGR 1/2");
        assert_eq!(row.reals.last().map(real_state), Some("INHIB"));
    }

    #[test]
    fn ten_thousand_real_servers_are_hidden_at_first() {
        let reals: Vec<(String, &str)> =
            (0..10).map(|n| (format!("10.0.0.{n}:80"), "up")).collect();
        let reals: Vec<(&str, &str)> = reals.iter().map(|(a, s)| (a.as_str(), *s)).collect();
        let rows: Vec<ServiceRow> = (0..1000)
            .map(|n| service(&format!("s{n}"), n, &reals))
            .collect();
        let mut services = Services::default();
        arrive(&mut services, &rows);
        assert_eq!(services.lines.len(), 1000);
        services.fold_all(&rows, 10);
        assert_eq!(services.lines.len(), 11_000);
    }

    /// A thousand services with ten real servers each that opened so many sessions in a second.
    fn large(opened: u64) -> Vec<ServiceRow> {
        let addresses: Vec<String> = (0..10).map(|n| format!("10.0.0.{n}:80")).collect();
        let reals: Vec<(&str, &str)> = addresses.iter().map(|it| (it.as_str(), "up")).collect();
        let rates = |opened| {
            Some(TrafficRates {
                opened,
                ..TrafficRates::default()
            })
        };
        let rows = (0..1000).map(|n| {
            let mut row = service(&format!("s{n:03}"), n, &reals);
            row.per_s = rates(opened * 10);
            for real in &mut row.reals {
                real.per_s = rates(opened);
            }
            row
        });
        rows.collect()
    }

    #[test]
    fn real_servers_that_are_not_seen_are_not_asked_for_each_time() {
        let mut services = Services::default();
        let rows = large(1);
        arrive(&mut services, &rows);
        assert_eq!(services.seen_reals(&rows, 10), (Vec::new(), false));
        services.fold(false, &rows, 10);
        let one = vec!["s000".to_owned()];
        assert_eq!(services.seen_reals(&rows, 10), (one, false));
        services.fold_all(&rows, 10);
        services.go(Step::Bottom, &rows, 10);
        let (seen, hides) = services.seen_reals(&rows, 10);
        assert_eq!(seen, ["s998", "s999"].map(str::to_owned));
        assert!(hides);
    }

    #[test]
    fn real_servers_that_were_not_told_stay_as_they_were_without_rates_of_another_second() {
        let mut services = Services::default();
        let brief = Filter {
            reals: Some(vec!["s001".to_owned()]),
            ..Filter::default()
        };
        let (mut first, mut second) = (large(1), large(2));
        first[0].sessions += 1;
        second[0].sessions += 1;
        arrive(&mut services, &first);
        services.fold_all(&first, 10);
        assert!(services.lines.contains(&Line::Others(0)));
        for row in &mut second {
            if row.name != "s001" {
                row.reals.clear();
            }
        }
        keep_reals(&mut first, &mut second, &brief);
        services.arrived(&second, &brief, 10);
        assert!(!services.lines.contains(&Line::Others(0)));
        let all: usize = second.iter().map(|row| row.reals.len()).sum();
        assert_eq!(all, 10_000);
        let opened = |rates: Option<TrafficRates>| rates.map(|rates| rates.opened);
        assert_eq!(opened(second[0].per_s), Some(20));
        assert_eq!(opened(second[0].reals[3].per_s), None);
        assert_eq!(opened(second[1].reals[3].per_s), Some(2));
        // One that has another number of them is asked for first.
        let mut third = large(3);
        for row in &mut third {
            row.reals.clear();
            row.real_counts.all += 1;
        }
        let none = Filter {
            reals: Some(Vec::new()),
            ..Filter::default()
        };
        keep_reals(&mut second, &mut third, &none);
        assert!(third.iter().all(|row| row.reals.is_empty()));
    }
}
