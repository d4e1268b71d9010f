//! The LIP pools with the real servers that they serve: how many local ports are left towards each.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_control::{PoolRealRow, PoolRow, What};

use crate::model::filter::{Cycle, Sorting, TextFilter};
use crate::model::list::{Cursor, Step};
use crate::model::screen::every;
use crate::model::{Model, Want};

/// From so many percent on somebody should look at it.
pub(crate) const SHORT_PERCENT: f64 = 80.0;
/// From so many percent on somebody must.
pub(crate) const FULL_PERCENT: f64 = 95.0;
/// Ports that are gone within so many seconds are gone soon.
pub(crate) const SOON_S: u64 = 600;

/// What a line is of: a pool, or a real server of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) pool: String,
    pub(crate) real: Option<String>,
}

/// A line: places in what the daemon said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Pool(usize),
    Real(usize, usize),
}

/// What the lines are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    #[default]
    File,
    Name,
    Used,
    Share,
    Grows,
}

/// The state of the screen.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pub(crate) lines: Vec<Line>,
    pub(crate) cursor: Cursor,
    pub(crate) sorting: Sorting<Sort>,
    pub(crate) filter: TextFilter,
    pub(crate) zoom: Option<Name>,
    pub(crate) zoom_top: usize,
    selected: Option<Name>,
    before: Option<(Duration, BTreeMap<Name, u64>)>,
    growth: BTreeMap<Name, f64>,
}

impl Cycle for Sort {
    const ALL: &'static [Self] = &[Self::File, Self::Name, Self::Used, Self::Share, Self::Grows];
}

impl Sort {
    /// Returns its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::File => "in the order of the file",
            Self::Name => "by name",
            Self::Used => "by ports used",
            Self::Share => "fullest first",
            Self::Grows => "by growth",
        }
    }
}

/// Returns what the screen wants to be told: the ledger says what was refused.
pub(crate) fn wants(model: &Model) -> Vec<Want> {
    vec![
        every(What::Pools, model.every),
        every(What::Ledger, model.every),
    ]
}

impl Pools {
    /// Takes what the daemon said.
    pub(crate) fn arrived(&mut self, rows: &[PoolRow], at: Duration, height: usize) {
        let mut used = BTreeMap::new();
        for pool in rows {
            used.insert(name(pool, None), pool.ports_used);
            for real in &pool.reals {
                used.insert(name(pool, Some(real)), real.used);
            }
        }
        self.growth.clear();
        if let Some((then, before)) = &self.before {
            let seconds = at.saturating_sub(*then).as_secs_f64();
            if (0.05..60.0).contains(&seconds) {
                let growth = used.iter().filter_map(|(name, now)| {
                    let grown = *now as f64 - *before.get(name)? as f64;
                    Some((name.clone(), grown / seconds))
                });
                self.growth = growth.collect();
            }
        }
        self.before = Some((at, used));
        self.rebuild(rows, height);
    }

    /// Makes the lines anew; the selection stays on its object.
    pub(crate) fn rebuild(&mut self, rows: &[PoolRow], height: usize) {
        let filtering = !self.filter.is_empty();
        let mut pools: Vec<usize> = (0..rows.len()).collect();
        self.arrange(&mut pools, |place| {
            let pool = rows.get(place)?;
            Some((pool.name.clone(), self.key(pool, None)))
        });
        let mut lines = Vec::new();
        for place in pools {
            let Some(pool) = rows.get(place) else {
                continue;
            };
            let found = self.filter.finds(&text_of(pool));
            let seen = |real: &PoolRealRow| match (filtering, self.filter.inverse) {
                (false, _) => true,
                (true, false) => found || self.filter.finds(&real.real),
                (true, true) => !self.filter.finds(&real.real),
            };
            let mut reals: Vec<usize> = (0..pool.reals.len())
                .filter(|at| pool.reals.get(*at).is_some_and(seen))
                .collect();
            let pool_is_seen = match (filtering, self.filter.inverse) {
                (false, _) => true,
                (true, false) => found || !reals.is_empty(),
                (true, true) => !found,
            };
            if !pool_is_seen {
                continue;
            }
            self.arrange(&mut reals, |at| {
                let real = pool.reals.get(at)?;
                Some((real.real.clone(), self.key(pool, Some(real))))
            });
            lines.push(Line::Pool(place));
            lines.extend(reals.into_iter().map(|at| Line::Real(place, at)));
        }
        self.lines = lines;
        let mut at = None;
        if let Some(selected) = &self.selected {
            let is_it = |line: &Line| name_of(rows, *line).as_ref() == Some(selected);
            at = self.lines.iter().position(is_it);
        }
        let index = at.unwrap_or(self.cursor.index);
        self.cursor.select(index, self.lines.len(), height);
    }

    /// Goes up or down.
    pub(crate) fn go(&mut self, step: Step, rows: &[PoolRow], height: usize) {
        self.cursor.go(step, self.lines.len(), height);
        self.selected = self.at_cursor(rows);
    }

    /// Returns what is selected.
    pub(crate) fn at_cursor(&self, rows: &[PoolRow]) -> Option<Name> {
        name_of(rows, *self.lines.get(self.cursor.index)?)
    }

    /// Returns how many ports more are in use each second; none before a second answer.
    pub(crate) fn growth(&self, pool: &PoolRow, real: Option<&PoolRealRow>) -> Option<f64> {
        self.growth.get(&name(pool, real)).copied()
    }

    fn key(&self, pool: &PoolRow, real: Option<&PoolRealRow>) -> f64 {
        match self.sorting.by {
            Sort::File | Sort::Name => 0.0,
            Sort::Used => real.map_or(pool.ports_used, |real| real.used) as f64,
            Sort::Share => real.map_or_else(|| worst_percent(pool), used_percent),
            Sort::Grows => self.growth(pool, real).unwrap_or_default(),
        }
    }

    fn arrange(&self, places: &mut [usize], key: impl Fn(usize) -> Option<(String, f64)>) {
        match self.sorting.by {
            Sort::File => {}
            Sort::Name => places.sort_by_cached_key(|place| key(*place).map(|(name, _)| name)),
            Sort::Used | Sort::Share | Sort::Grows => {
                let number = |place: &usize| key(*place).map_or(0.0, |(_, number)| number);
                places.sort_by(|a, b| number(b).total_cmp(&number(a)));
            }
        }
        self.sorting.arrange(places);
    }
}

/// Returns the share of the ports towards a real server that is in use, in percent.
pub(crate) fn used_percent(real: &PoolRealRow) -> f64 {
    let all = real.used + real.free;
    if all == 0 {
        return 0.0;
    }
    real.used as f64 * 100.0 / all as f64
}

/// Returns the share towards the real server that has fewest ports left.
pub(crate) fn worst_percent(pool: &PoolRow) -> f64 {
    pool.reals.iter().map(used_percent).fold(0.0, f64::max)
}

/// Returns the fewest ports that are left towards a real server.
pub(crate) fn least_free(pool: &PoolRow) -> Option<u64> {
    pool.reals.iter().map(|real| real.free).min()
}

/// Returns the seconds until the first real server cannot be reached through it.
pub(crate) fn exhausted_in_s(pool: &PoolRow) -> Option<u64> {
    pool.reals
        .iter()
        .filter_map(|real| real.exhausted_in_s)
        .min()
}

fn name(pool: &PoolRow, real: Option<&PoolRealRow>) -> Name {
    Name {
        pool: pool.name.clone(),
        real: real.map(|real| real.real.clone()),
    }
}

fn name_of(rows: &[PoolRow], line: Line) -> Option<Name> {
    match line {
        Line::Pool(place) => Some(name(rows.get(place)?, None)),
        Line::Real(place, at) => {
            let pool = rows.get(place)?;
            Some(name(pool, Some(pool.reals.get(at)?)))
        }
    }
}

fn text_of(pool: &PoolRow) -> String {
    format!("{} {}", pool.name, pool.ranges.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools() -> Vec<PoolRow> {
        let real = |real: &str, used| PoolRealRow {
            real: real.to_owned(),
            used,
            free: 100 - used,
            exhausted_in_s: None,
        };
        let pool = |name: &str, reals: Vec<PoolRealRow>| PoolRow {
            name: name.to_owned(),
            ports_used: reals.iter().map(|real| real.used).sum(),
            reals,
            ..PoolRow::default()
        };
        vec![
            pool(
                "blue",
                vec![real("10.0.0.1:80/tcp", 10), real("10.0.0.2:80/tcp", 20)],
            ),
            pool("green", vec![real("10.0.0.3:80/tcp", 96)]),
        ]
    }

    fn names(pools: &Pools, rows: &[PoolRow]) -> Vec<String> {
        let names = pools.lines.iter().filter_map(|line| name_of(rows, *line));
        names.map(|name| name.real.unwrap_or(name.pool)).collect()
    }

    #[test]
    fn the_fullest_come_first_and_the_selection_stays_on_its_pool() {
        let rows = pools();
        let mut pools = Pools::default();
        pools.arrived(&rows, Duration::from_secs(1), 10);
        pools.go(Step::Down, &rows, 10);
        let selected = pools.at_cursor(&rows);
        pools.sorting.by = Sort::Share;
        pools.rebuild(&rows, 10);
        assert_eq!(
            names(&pools, &rows),
            [
                "green",
                "10.0.0.3:80/tcp",
                "blue",
                "10.0.0.2:80/tcp",
                "10.0.0.1:80/tcp"
            ]
        );
        assert_eq!(pools.at_cursor(&rows), selected);
    }

    #[test]
    fn growth_is_what_changed_between_two_answers_either_way() {
        let mut rows = pools();
        let mut pools = Pools::default();
        pools.arrived(&rows, Duration::from_secs(1), 10);
        assert_eq!(pools.growth(&rows[0], None), None);
        rows[0].reals[0].used = 4;
        rows[0].ports_used = 24;
        pools.arrived(&rows, Duration::from_secs(3), 10);
        assert_eq!(pools.growth(&rows[0], None), Some(-3.0));
        assert_eq!(pools.growth(&rows[0], rows[0].reals.first()), Some(-3.0));
        assert_eq!(pools.growth(&rows[1], None), Some(0.0));
    }

    #[test]
    fn a_filter_finds_pools_with_all_of_theirs_and_real_servers_with_their_pool() {
        let rows = pools();
        let mut pools = Pools::default();
        pools.filter.text = "GREEN".to_owned();
        pools.rebuild(&rows, 10);
        assert_eq!(names(&pools, &rows), ["green", "10.0.0.3:80/tcp"]);
        pools.filter.text = "0.2:80".to_owned();
        pools.rebuild(&rows, 10);
        assert_eq!(names(&pools, &rows), ["blue", "10.0.0.2:80/tcp"]);
        pools.filter.inverse = true;
        pools.rebuild(&rows, 10);
        assert_eq!(
            names(&pools, &rows),
            ["blue", "10.0.0.1:80/tcp", "green", "10.0.0.3:80/tcp"]
        );
    }
}
