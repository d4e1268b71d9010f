//! What services and their real servers are sorted by.

use std::cmp::Ordering;

use weir_control::{ServiceRealRow, ServiceRow};

use crate::model::services::Sort;
use crate::model::services::flow::Flow;

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

pub(super) fn sort_key(sort: Sort, row: &ServiceRow, flow: Flow) -> SortKey {
    let number = |value: Option<f64>| SortKey::Number(value.unwrap_or(-1.0));
    match sort {
        Sort::File => SortKey::Number(0.0),
        Sort::Name => SortKey::Text(row.name.clone()),
        Sort::State => SortKey::Number(f64::from(badness(row))),
        Sort::Sessions => SortKey::Number(row.sessions as f64),
        Sort::New => number(flow.new.or(Some(row.sessions_per_s as f64))),
        Sort::Refused => number(flow.refused),
        Sort::In => number(flow.bits_in),
        Sort::Out => number(flow.bits_out),
    }
}

pub(super) fn real_key(sort: Sort, real: &ServiceRealRow, flow: Flow) -> SortKey {
    let number = |value: Option<f64>| SortKey::Number(value.unwrap_or(-1.0));
    match sort {
        Sort::File | Sort::Refused => SortKey::Number(0.0),
        Sort::Name => SortKey::Text(real.address.clone()),
        Sort::State => SortKey::Number(match real.state.as_str() {
            "down" | "inhibited" => 2.0,
            "full" | "drain" => 1.0,
            _ => 0.0,
        }),
        Sort::Sessions => SortKey::Number((real.sessions + real.inactive) as f64),
        Sort::New => number(flow.new),
        Sort::In => number(flow.bits_in),
        Sort::Out => number(flow.bits_out),
    }
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
