//! How fast pools fill up.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use weir_director::PoolUse;
use weir_model::{EndpointId, PoolId};

/// How long it is looked back.
const WINDOW: Duration = Duration::from_secs(1);

/// The local ports in use of each pool towards each real server.
type Used = BTreeMap<(PoolId, EndpointId), u64>;

/// What was in use at the looks of about a second.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    looks: VecDeque<(Instant, Used)>,
}

impl Filling {
    /// Keeps the use of the pools, added up over the workers.
    pub(crate) fn look(&mut self, at: Instant, uses: &[PoolUse]) {
        while self
            .looks
            .get(1)
            .is_some_and(|(second, _)| at - *second >= WINDOW)
        {
            self.looks.pop_front();
        }
        self.looks.push_back((at, used(uses)));
    }

    /// Returns the use of each pool towards each real server when it was looked at last.
    pub(crate) fn uses(&self) -> impl Iterator<Item = ((PoolId, EndpointId), u64)> {
        let last = self.looks.back();
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
        let (at, before) = self.looks.iter().find(|(at, _)| now - *at < 2 * WINDOW)?;
        let grown = used_now.checked_sub(before.get(&(pool, endpoint)).copied().unwrap_or(0))?;
        let elapsed_ms = (now - *at).as_millis() as u64;
        if grown == 0 || elapsed_ms < 100 {
            return None;
        }
        Some(free.saturating_mul(elapsed_ms) / grown / 1000)
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
    use super::*;

    #[test]
    fn a_pool_that_grows_is_told_when_it_ends_and_one_that_rests_is_not() {
        let mut filling = Filling::default();
        let start = Instant::now();
        let at = |used| PoolUse {
            pool: PoolId(0),
            endpoint: EndpointId(3),
            used,
            total: 1000,
        };
        filling.look(start, &[at(100), at(100)]);
        let key = (PoolId(0), EndpointId(3));
        let later = start + Duration::from_secs(1);
        assert_eq!(filling.exhausted_in_s(later, key, 300, 1000), Some(10));
        assert_eq!(filling.exhausted_in_s(later, key, 200, 1000), None);
        assert_eq!(filling.exhausted_in_s(later, key, 100, 1000), None);
    }
}
