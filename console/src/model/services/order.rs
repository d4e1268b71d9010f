//! What services and their real servers are sorted by.

use std::cmp::Ordering;

use weir_control::{ServiceRealRow, ServiceRow, TrafficRates};

use crate::model::services::Sort;

/// What a line is sorted by: a text upwards, or a number downwards.
#[derive(Debug)]
pub(super) enum SortKey {
    Text(String),
    Number(f64),
}

impl Eq for SortKey {}

impl PartialEq for SortKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl PartialOrd for SortKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SortKey {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => b.total_cmp(a),
            (Self::Text(_), Self::Number(_)) => Ordering::Less,
            (Self::Number(_), Self::Text(_)) => Ordering::Greater,
        }
    }
}

pub(super) fn sort_key(sort: Sort, row: &ServiceRow) -> SortKey {
    let rate = |pick| rate_key(row.per_s, pick);
    match sort {
        Sort::File => SortKey::Number(0.0),
        Sort::Name => SortKey::Text(row.name.clone()),
        Sort::State => SortKey::Number(f64::from(badness(row))),
        Sort::Sessions => SortKey::Number(row.sessions as f64),
        Sort::New => rate(|it| it.opened),
        Sort::Refused => rate(|it| it.refused),
        Sort::In => rate(|it| it.bits_in),
        Sort::Out => rate(|it| it.bits_out),
    }
}

pub(super) fn real_key(sort: Sort, real: &ServiceRealRow) -> SortKey {
    let rate = |pick| rate_key(real.per_s, pick);
    match sort {
        Sort::File | Sort::Refused => SortKey::Number(0.0),
        Sort::Name => SortKey::Text(real.address.clone()),
        Sort::State => SortKey::Number(match real.state.as_str() {
            "down" | "inhibited" => 2.0,
            "full" | "drain" => 1.0,
            _ => 0.0,
        }),
        Sort::Sessions => SortKey::Number((real.sessions + real.inactive) as f64),
        Sort::New => rate(|it| it.opened),
        Sort::In => rate(|it| it.bits_in),
        Sort::Out => rate(|it| it.bits_out),
    }
}

/// What has no rates comes last.
fn rate_key(rates: Option<TrafficRates>, pick: fn(&TrafficRates) -> u64) -> SortKey {
    SortKey::Number(rates.map_or(-1.0, |rates| pick(&rates) as f64))
}

fn badness(row: &ServiceRow) -> u8 {
    let is_degraded = row.real_counts.down + row.real_counts.inhibited > 0;
    match (row.state.as_str(), is_degraded) {
        ("all-down", _) => 4,
        ("no-quorum", _) => 3,
        ("sorry", _) => 2,
        (_, true) => 1,
        (_, false) => 0,
    }
}
