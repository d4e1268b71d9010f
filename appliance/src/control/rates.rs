//! Rates of what is not counted by the second: how busy workers are, and how fast pools fill up.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use weir_director::PoolUse;
use weir_model::{EndpointId, PoolId};

use crate::publish::Picture;

/// How long the rates look back.
const WINDOW: Duration = Duration::from_secs(1);

/// How often the counters are looked at.
const EVERY: Duration = Duration::from_millis(250);

/// The local ports in use of each pool towards each real server.
type Used = BTreeMap<(PoolId, EndpointId), u64>;

/// One look.
#[derive(Debug)]
struct Sample {
    at: Instant,
    busy_us: Vec<u64>,
}

/// The samples of about a second.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    samples: VecDeque<Sample>,
    pools: VecDeque<(Instant, Used)>,
}

impl Rates {
    /// Says whether it is time to look at the counters.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let last = self.samples.back();
        last.is_none_or(|last| now.saturating_duration_since(last.at) >= EVERY)
    }

    /// Looks at the counters; called several times a second.
    pub(crate) fn sample(&mut self, at: Instant, pictures: &[Picture]) {
        // The oldest sample that is kept is the youngest that is at least a window old.
        while self
            .samples
            .get(1)
            .is_some_and(|second| at - second.at >= WINDOW)
        {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            at,
            busy_us: pictures
                .iter()
                .map(|picture| picture.vitals.busy_us)
                .collect(),
        });
    }

    /// Returns the share of its time that a worker worked, in percent.
    pub(crate) fn busy_percent(&self, worker: usize) -> u32 {
        let busy_us = self.per_second(|sample| sample.busy_us.get(worker).copied());
        (busy_us.unwrap_or_default() / 10_000).min(100) as u32
    }

    /// Keeps the use of the pools, added up over the workers.
    pub(crate) fn sample_pools(&mut self, at: Instant, uses: &[PoolUse]) {
        while self
            .pools
            .get(1)
            .is_some_and(|(second, _)| at - *second >= WINDOW)
        {
            self.pools.pop_front();
        }
        self.pools.push_back((at, used(uses)));
    }

    /// Returns the use of each pool towards each real server when it was looked at last.
    pub(crate) fn pool_use(&self) -> impl Iterator<Item = ((PoolId, EndpointId), u64)> {
        let last = self.pools.back();
        last.into_iter()
            .flat_map(|(_, used)| used.iter().map(|(towards, used)| (*towards, *used)))
    }

    /// Returns the seconds until a pool has no port left towards a real server, where its use
    /// grows and a look of some time ago is there to compare with.
    pub(crate) fn exhausted_in_s(
        &self,
        now: Instant,
        (pool, endpoint): (PoolId, EndpointId),
        used_now: u64,
        free: u64,
    ) -> Option<u64> {
        let (at, before) = self.pools.iter().find(|(at, _)| now - *at < 2 * WINDOW)?;
        let grown = used_now.checked_sub(before.get(&(pool, endpoint)).copied().unwrap_or(0))?;
        let elapsed_ms = (now - *at).as_millis() as u64;
        if grown == 0 || elapsed_ms < 100 {
            return None;
        }
        Some(free.saturating_mul(elapsed_ms) / grown / 1000)
    }

    fn per_second(&self, value: impl Fn(&Sample) -> Option<u64>) -> Option<u64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let elapsed_us = (last.at - first.at).as_micros() as u64;
        let grown = value(last)?.saturating_sub(value(first)?);
        grown.saturating_mul(1_000_000).checked_div(elapsed_us)
    }
}

fn used(uses: &[PoolUse]) -> Used {
    let mut sum = BTreeMap::new();
    for one in uses {
        *sum.entry((one.pool, one.endpoint)).or_default() += u64::from(one.used);
    }
    sum
}

#[cfg(test)]
mod tests {
    use weir_model::{Counters, Ledger};

    use super::*;
    use crate::publish::Vitals;

    /// What a worker published that has worked for so many microseconds.
    fn picture(busy_us: u64) -> Picture {
        Picture {
            ledger: Ledger::default(),
            counters: Counters::default(),
            vitals: Vitals {
                busy_us,
                ..Vitals::default()
            },
            ports: Vec::new(),
        }
    }

    #[test]
    fn a_worker_is_as_busy_as_it_was_in_the_last_second() {
        let mut rates = Rates::default();
        let start = Instant::now();
        assert_eq!(rates.busy_percent(0), 0);
        for tenth in 0..50_u32 {
            let busy_us = u64::from(tenth.saturating_sub(30)) * 40_000;
            let at = start + Duration::from_millis(100) * tenth;
            rates.sample(at, &[picture(busy_us)]);
        }
        assert_eq!(rates.busy_percent(0), 40);
        assert_eq!(rates.busy_percent(7), 0);
        assert!(rates.samples.len() < 15, "{}", rates.samples.len());
    }

    #[test]
    fn a_pool_that_grows_is_told_when_it_ends_and_one_that_rests_is_not() {
        let mut rates = Rates::default();
        let start = Instant::now();
        let at = |used| PoolUse {
            pool: PoolId(0),
            endpoint: EndpointId(3),
            used,
            total: 1000,
        };
        rates.sample_pools(start, &[at(100), at(100)]);
        let key = (PoolId(0), EndpointId(3));
        let later = start + Duration::from_secs(1);
        assert_eq!(rates.exhausted_in_s(later, key, 300, 1000), Some(10));
        assert_eq!(rates.exhausted_in_s(later, key, 200, 1000), None);
        assert_eq!(rates.exhausted_in_s(later, key, 100, 1000), None);
    }
}
