//! What services carry: rates between two answers.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_control::{Filter, ServiceRealRow, ServiceRow};

use crate::model::data::Told;
use crate::model::deltas::{LONGEST, rate};

/// Rates between two answers; none where there was one only, or the daemon began anew.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Flow {
    pub(crate) new: Option<f64>,
    pub(crate) refused: Option<f64>,
    pub(crate) packets_in: Option<f64>,
    pub(crate) packets_out: Option<f64>,
    pub(crate) bits_in: Option<f64>,
    pub(crate) bits_out: Option<f64>,
}

/// The rates of a service and of its real servers, in the order of the daemon.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceFlow {
    pub(crate) own: Flow,
    pub(crate) reals: Vec<Flow>,
    /// When its real servers were told last.
    pub(crate) reals_at: Option<Duration>,
}

/// Makes the rates of an answer, and of that before: of real servers that were not told now, those
/// that they had.
pub(super) fn flows(
    before: Option<&Told<Vec<ServiceRow>>>,
    mut old: Vec<ServiceFlow>,
    now: &Told<Vec<ServiceRow>>,
    filter: &Filter,
) -> Vec<ServiceFlow> {
    let rows_before = before.map_or(&[][..], |before| &before.value);
    let places = rows_before.iter().enumerate();
    let places: BTreeMap<&str, usize> = places
        .map(|(place, row)| (row.name.as_str(), place))
        .collect();
    let span = before.map(|before| now.at.saturating_sub(before.at));
    let each = now.value.iter().map(|row| {
        let place = places.get(row.name.as_str());
        let was = place.and_then(|place| rows_before.get(*place));
        let flow = place.and_then(|place| old.get_mut(*place));
        let flow = flow.map(std::mem::take).unwrap_or_default();
        let own = was.zip(span).map(|(was, span)| own_flow(was, row, span));
        let told = filter.has_reals_of(&row.name);
        let reals = match (told, was, flow.reals_at) {
            (false, ..) => flow.reals,
            (true, Some(was), Some(at)) => {
                let span = now.at.saturating_sub(at);
                real_flows(&was.reals, &row.reals, span)
            }
            (true, ..) => Vec::new(),
        };
        ServiceFlow {
            own: own.unwrap_or_default(),
            reals,
            reals_at: if told { Some(now.at) } else { flow.reals_at },
        }
    });
    each.collect()
}

/// Another screen was open for long, or nobody answered: that is no rate of now.
fn is_of_now(span: Duration) -> bool {
    span <= LONGEST
}

fn own_flow(old: &ServiceRow, row: &ServiceRow, span: Duration) -> Flow {
    if !is_of_now(span) {
        return Flow::default();
    }
    let rate = |pick: fn(&ServiceRow) -> u64| rate(pick(old), pick(row), span);
    let bits = |pick: fn(&ServiceRow) -> u64| rate(pick).map(|bytes| bytes * 8.0);
    Flow {
        // Not the daemon's own rate: that of its real servers is made so, and they add up.
        new: rate(|row| row.opened),
        refused: rate(|row| row.refused),
        packets_in: rate(|row| row.packets_in),
        packets_out: rate(|row| row.packets_out),
        bits_in: bits(|row| row.bytes_in),
        bits_out: bits(|row| row.bytes_out),
    }
}

fn real_flows(old: &[ServiceRealRow], reals: &[ServiceRealRow], span: Duration) -> Vec<Flow> {
    if !is_of_now(span) {
        return Vec::new();
    }
    let each = reals.iter().enumerate().map(|(place, real)| {
        let same = |other: &&ServiceRealRow| other.address == real.address;
        let there = old.get(place).filter(same);
        let old = there.or_else(|| old.iter().find(same));
        old.map_or_else(Flow::default, |old| real_flow(old, real, span))
    });
    each.collect()
}

fn real_flow(old: &ServiceRealRow, real: &ServiceRealRow, span: Duration) -> Flow {
    let rate = |pick: fn(&ServiceRealRow) -> u64| rate(pick(old), pick(real), span);
    let bits = |pick: fn(&ServiceRealRow) -> u64| rate(pick).map(|bytes| bytes * 8.0);
    Flow {
        new: rate(|real| real.opened),
        refused: None,
        packets_in: rate(|real| real.packets_in),
        packets_out: rate(|real| real.packets_out),
        bits_in: bits(|real| real.bytes_in),
        bits_out: bits(|real| real.bytes_out),
    }
}
