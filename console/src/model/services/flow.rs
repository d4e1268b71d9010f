//! What services carry: rates between two answers.

use std::collections::BTreeMap;
use std::time::Duration;

use weir_control::{ServiceRealRow, ServiceRow};

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
}

/// Makes the rates between two answers.
pub(super) fn flows(
    before: Option<&Told<Vec<ServiceRow>>>,
    now: &Told<Vec<ServiceRow>>,
) -> Vec<ServiceFlow> {
    let Some(before) = before else {
        return now.value.iter().map(|_| ServiceFlow::default()).collect();
    };
    let span = now.at.saturating_sub(before.at);
    if span > LONGEST {
        // Another screen was open, or nobody answered: that is no rate of now.
        return now.value.iter().map(|_| ServiceFlow::default()).collect();
    }
    let old: BTreeMap<&str, &ServiceRow> = before
        .value
        .iter()
        .map(|row| (row.name.as_str(), row))
        .collect();
    now.value
        .iter()
        .map(|row| {
            let old = old.get(row.name.as_str()).copied();
            service_flow(old, row, span)
        })
        .collect()
}

fn service_flow(old: Option<&ServiceRow>, row: &ServiceRow, span: Duration) -> ServiceFlow {
    let Some(old) = old else {
        return ServiceFlow::default();
    };
    let rate = |pick: fn(&ServiceRow) -> u64| rate(pick(old), pick(row), span);
    let bits = |pick: fn(&ServiceRow) -> u64| rate(pick).map(|bytes| bytes * 8.0);
    ServiceFlow {
        own: Flow {
            // Not the daemon's own rate: that of its real servers is made so, and they add up.
            new: rate(|row| row.opened),
            refused: rate(|row| row.refused),
            packets_in: rate(|row| row.packets_in),
            packets_out: rate(|row| row.packets_out),
            bits_in: bits(|row| row.bytes_in),
            bits_out: bits(|row| row.bytes_out),
        },
        reals: row
            .reals
            .iter()
            .enumerate()
            .map(|(place, real)| {
                let same = |other: &&ServiceRealRow| other.address == real.address;
                let there = old.reals.get(place).filter(same);
                let old = there.or_else(|| old.reals.iter().find(same));
                old.map_or_else(Flow::default, |old| real_flow(old, real, span))
            })
            .collect(),
    }
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
