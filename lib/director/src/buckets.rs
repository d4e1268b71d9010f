//! Token buckets of client prefixes, in a room that no flood makes larger.

use alloc::vec::Vec;

use nat_engine::FlowHash;

/// Cells of one row; a prefix has a cell in each of both rows.
const CELLS: usize = 1 << 15;

/// A rate as the cells count it (the virtual scheduling algorithm of ITU-T I.371, annex A).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BucketRate {
    /// The time from one to the next at the full rate, in nanoseconds.
    every_ns: u64,
    /// How far ahead of that time a burst may run.
    ahead_ns: u64,
}

/// Two rows of cells, each the time at which the next would come at the full rate.
///
/// A prefix is limited when both its cells say so. Prefixes that share one cell do not limit each
/// other; two out of 2^30 share both. A flood from everywhere fills cells only as fast as it is
/// spread over 32,768 of them.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    cells: Vec<[u64; 2]>,
}

impl BucketRate {
    /// Makes a rate of which one of `workers` workers has an even share.
    pub(crate) fn new(per_second: u32, burst: u32, workers: u8) -> Self {
        let workers = u64::from(workers.max(1));
        let every_ns = 1_000_000_000 * workers / u64::from(per_second.max(1));
        let burst = u64::from(burst).div_ceil(workers).max(1);
        Self {
            every_ns,
            ahead_ns: every_ns * (burst - 1),
        }
    }
}

impl Buckets {
    /// Allocates the cells, once.
    pub(crate) fn make_room(&mut self) {
        if self.cells.is_empty() {
            self.cells.resize(CELLS, [0; 2]);
        }
    }

    /// Says whether one more of a prefix is allowed.
    pub(crate) fn allows(&self, hash: FlowHash, now_ns: u64, rate: BucketRate) -> bool {
        let [one, other] = places(hash);
        let cell = |place: usize, row: usize| self.cells.get(place).and_then(|it| it.get(row));
        let due = [cell(one, 0), cell(other, 1)];
        let mut due = due.into_iter().flatten();
        due.any(|due| *due <= now_ns.saturating_add(rate.ahead_ns))
    }

    /// Counts one more of a prefix where it is allowed, and says whether it was.
    pub(crate) fn take(&mut self, hash: FlowHash, now_ns: u64, rate: BucketRate) -> bool {
        let mut allowed = false;
        for (row, place) in places(hash).into_iter().enumerate() {
            let cell = self.cells.get_mut(place).and_then(|it| it.get_mut(row));
            if let Some(due) = cell
                && *due <= now_ns.saturating_add(rate.ahead_ns)
            {
                *due = (*due).max(now_ns) + rate.every_ns;
                allowed = true;
            }
        }
        allowed
    }
}

fn places(hash: FlowHash) -> [usize; 2] {
    let mask = CELLS - 1;
    [hash.0 as usize & mask, (hash.0 >> 32) as usize & mask]
}

#[cfg(test)]
mod tests {
    use super::*;
    use nat_engine::Rng;

    const MS: u64 = 1_000_000;

    fn buckets() -> Buckets {
        let mut buckets = Buckets::default();
        buckets.make_room();
        buckets
    }

    /// How many of one every `every_ns` within a second are let through.
    fn passed(
        buckets: &mut Buckets,
        prefix: u64,
        from: u64,
        every_ns: u64,
        rate: BucketRate,
    ) -> u64 {
        let times = (0..1_000_000_000 / every_ns).map(|nth| from + nth * every_ns);
        times
            .filter(|&now| buckets.take(FlowHash(prefix), now, rate))
            .count() as u64
    }

    #[test]
    fn a_prefix_gets_its_burst_at_once_and_then_its_rate() {
        let mut buckets = buckets();
        let rate = BucketRate::new(200, 400, 1);
        let first = passed(&mut buckets, 7, 0, MS / 10, rate);
        assert!(first.abs_diff(400 + 200) <= 1, "{first}");
        let second = passed(&mut buckets, 7, 1000 * MS, MS / 10, rate);
        assert!(second.abs_diff(200) <= 1, "{second}");
        // Another prefix is not concerned, and two quiet seconds fill the bucket again.
        assert!(passed(&mut buckets, 7 << 20 | 8, 1000 * MS, MS / 10, rate) >= 599);
        let third = passed(&mut buckets, 7, 4000 * MS, MS / 10, rate);
        assert!(third.abs_diff(600) <= 1, "{third}");
    }

    #[test]
    fn workers_share_a_rate_and_a_burst() {
        let rate = BucketRate::new(200, 400, 4);
        let passed = passed(&mut buckets(), 7, 0, MS / 10, rate);
        assert!(passed.abs_diff(100 + 50) <= 1, "{passed}");
        let least = BucketRate::new(1, 1, 16);
        assert!(buckets().take(FlowHash(1), 0, least), "everybody gets one");
    }

    #[test]
    fn a_look_takes_nothing() {
        let mut buckets = buckets();
        let rate = BucketRate::new(1, 2, 1);
        for left in [2, 1, 0] {
            assert!((0..5).all(|_| buckets.allows(FlowHash(3), MS, rate) == (left > 0)));
            assert_eq!(buckets.take(FlowHash(3), MS, rate), left > 0);
        }
    }

    #[test]
    fn a_flood_from_everywhere_limits_nobody_else() {
        let mut buckets = buckets();
        let mut rng = Rng::new([5; 16]);
        let rate = BucketRate::new(200, 400, 1);
        // A million SYNs in a second, each from another prefix: 31 a cell.
        let mut limited = 0;
        for nth in 0..1_000_000u64 {
            buckets.take(FlowHash(rng.next_u64()), nth * 1000, rate);
            if nth % 10_000 == 0 {
                limited += u64::from(!buckets.take(FlowHash(42), nth * 1000, rate));
            }
        }
        assert_eq!(limited, 0);
    }

    #[test]
    fn without_room_nothing_is_counted() {
        assert!(!Buckets::default().take(FlowHash(1), 0, BucketRate::new(1, 1, 1)));
    }
}
