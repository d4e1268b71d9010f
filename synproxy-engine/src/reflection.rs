//! The reflection guard: whoever forges a victim's address must not make Weir flood the victim.
//!
//! SYN-ACKs are counted per prefix of clients in a count-min sketch of two rows: bounded, and wrong
//! only upwards, by what other prefixes have in the same two cells.

use alloc::boxed::Box;
use core::net::IpAddr;

/// Cells in a row.
const ROW: usize = 1 << 15;
/// Rows.
const ROWS: usize = 2;
/// The length of a window.
const WINDOW_MS: u32 = 100;
/// Windows in a second.
const WINDOWS_PER_S: u32 = 1000 / WINDOW_MS;

/// Bits of a cell that hold the count; those above say in which window it was counted.
const COUNT_BITS: u32 = 20;
/// The largest count.
const MAX_COUNT: u32 = (1 << COUNT_BITS) - 1;

/// The fractional part of the golden ratio: a seed of zeroes is as good as any.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// Limits the SYN-ACKs that one prefix of clients is sent: a /24 of IPv4, a /48 of IPv6.
pub struct ReflectionGuard {
    rows: [Box<[u32]>; ROWS],
    keys: [u64; 2],
}

/// Where a guard counts a client.
#[derive(Clone, Copy, Debug, Default)]
pub struct Places([u16; ROWS]);

const _: () = assert!(ROW <= 1 << u16::BITS, "a place has 16 bits");

impl ReflectionGuard {
    /// The memory that the counts take.
    pub const BYTES: usize = ROWS * ROW * size_of::<u32>();

    /// Makes a guard that has counted nothing; the seed decides which prefixes share a cell.
    #[must_use]
    pub fn new(seed: [u8; 16]) -> Self {
        let seed = u128::from_le_bytes(seed);
        Self {
            rows: [(); ROWS].map(|()| alloc::vec![0; ROW].into_boxed_slice()),
            keys: [(seed >> 64) as u64, seed as u64 ^ GOLDEN],
        }
    }

    /// Says whether a client may be sent one more SYN-ACK, and counts it if so. A limit of 0 allows
    /// everything.
    #[inline]
    pub fn allow(&mut self, client: IpAddr, now_ms: u32, limit_per_s: u32) -> bool {
        self.allow_at(self.places(prefix(client)), now_ms, limit_per_s)
    }

    /// Does what [`allow`](Self::allow) does for the client that these are the places of.
    #[inline]
    pub fn allow_at(
        &mut self,
        Places([at_first, at_second]): Places,
        now_ms: u32,
        limit_per_s: u32,
    ) -> bool {
        let limit = limit_per_s.div_ceil(WINDOWS_PER_S);
        if limit == 0 || limit > MAX_COUNT {
            return true;
        }
        // After 2^12 windows a count that nobody touched would look new again; it would be wrong
        // for the rest of that window.
        let window = (now_ms / WINDOW_MS) << COUNT_BITS;
        let [first, second] = &mut self.rows;
        let (Some(a), Some(b)) = (
            first.get_mut(at_first as usize),
            second.get_mut(at_second as usize),
        ) else {
            return true;
        };
        let count = count_in(*a, window).min(count_in(*b, window));
        if count >= limit {
            return false;
        }
        // Conservative: a cell that other prefixes have filled further stays as it is.
        for cell in [a, b] {
            *cell = window | count_in(*cell, window).max(count + 1);
        }
        true
    }

    /// Asks for the memory that [`allow_at`](Self::allow_at) will need for a client, and says where
    /// it is.
    #[inline]
    #[must_use]
    pub fn prefetch(&self, client: IpAddr) -> Places {
        let places = self.places(prefix(client));
        for (row, at) in self.rows.iter().zip(places.0) {
            weir_simd::prefetch_index(row, at as usize);
        }
        places
    }

    /// One cell in each row, from one keyed product. Who wants a prefix to be limited can send SYNs
    /// in its name; finding others that share its cells is more work, so this need not be more.
    #[inline]
    fn places(&self, prefix: u64) -> Places {
        let [add, multiply] = self.keys;
        let product = (prefix ^ add) as u128 * (multiply | 1) as u128;
        let hash = (product >> 64) as u64 ^ product as u64;
        Places([hash, hash >> 32].map(|hash| hash as u16 % ROW as u16))
    }
}

impl core::fmt::Debug for ReflectionGuard {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("ReflectionGuard").finish_non_exhaustive()
    }
}

const _: () = assert!(ReflectionGuard::BYTES <= 256 << 10);

/// The count of a cell in a window; 0 when it was counted in another.
#[inline]
const fn count_in(cell: u32, window: u32) -> u32 {
    if (cell ^ window) >> COUNT_BITS == 0 {
        cell & MAX_COUNT
    } else {
        0
    }
}

/// The prefix of a client, with a bit that keeps the families apart.
#[inline]
fn prefix(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(v4) => (v4.to_bits() >> 8) as u64,
        IpAddr::V6(v6) => (v6.to_bits() >> 80) as u64 | 1 << 63,
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const LIMIT: u32 = 200;
    const PER_WINDOW: u32 = LIMIT / WINDOWS_PER_S;

    fn guard() -> ReflectionGuard {
        ReflectionGuard::new(*b"0123456789abcdef")
    }

    fn v4(bits: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(bits))
    }

    fn v6(prefix: u64, rest: u128) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits((prefix as u128) << 80 | rest))
    }

    /// How many SYN-ACKs addresses are allowed at one time.
    fn allowed(guard: &mut ReflectionGuard, now_ms: u32, addr: impl Fn(u32) -> IpAddr) -> u32 {
        (0..3 * PER_WINDOW)
            .map(|turn| u32::from(guard.allow(addr(turn), now_ms, LIMIT)))
            .sum()
    }

    #[test]
    fn a_prefix_shares_one_limit_and_its_neighbour_has_its_own() {
        let mut guard = guard();
        assert_eq!(
            allowed(&mut guard, 0, |host| v4(0xc000_0200 | host)),
            PER_WINDOW
        );
        assert!(!guard.allow(v4(0xc000_02ff), 0, LIMIT));
        assert!(guard.allow(v4(0xc000_0300), 0, LIMIT));
        assert_eq!(
            allowed(&mut guard, 0, |host| v6(0x2001_0db8_0001, host as u128)),
            PER_WINDOW
        );
        assert!(!guard.allow(v6(0x2001_0db8_0001, 1 << 79), 0, LIMIT));
        assert!(guard.allow(v6(0x2001_0db8_0002, 0), 0, LIMIT));
    }

    #[test]
    fn every_window_begins_anew_also_where_the_clock_wraps() {
        let mut guard = guard();
        let last = u32::MAX / WINDOW_MS * WINDOW_MS;
        for start in [0, 100, 1000, 409_500, 409_600, last, 0] {
            let mut now = start;
            assert_eq!(allowed(&mut guard, now, |_| v4(7)), PER_WINDOW, "{now}");
            now = now.saturating_add(WINDOW_MS - 1);
            assert_eq!(allowed(&mut guard, now, |_| v4(7)), 0, "{now}");
        }
    }

    #[test]
    fn a_limit_below_one_per_window_still_lets_one_through_and_none_lets_all() {
        let mut guard = guard();
        assert!(guard.allow(v4(7), 0, 1));
        assert!(!guard.allow(v4(7), 0, 1));
        for limit in [0, u32::MAX] {
            assert!((0..100_000).all(|_| guard.allow(v4(7), 0, limit)));
        }
    }

    #[test]
    fn a_count_never_runs_into_the_window() {
        let mut guard = guard();
        let limit = MAX_COUNT * WINDOWS_PER_S;
        let allowed = (0..MAX_COUNT + 5)
            .filter(|_| guard.allow(v4(7), 100, limit))
            .count();
        assert_eq!(allowed, MAX_COUNT as usize);
        assert!(guard.allow(v4(7), 200, limit));
    }

    #[test]
    fn a_flood_from_everywhere_does_not_use_up_a_clients_share() {
        let mut guard = guard();
        // A million SYNs in one window, each from another /24: 30 in a cell.
        for turn in 0..1_000_000u32 {
            guard.allow(v4(turn << 8), 0, 50_000);
        }
        let allowed = (0..5000)
            .filter(|_| guard.allow(v4(0xf000_0000), 0, 50_000))
            .count();
        assert!((4900..=5000).contains(&allowed), "{allowed}");
    }

    proptest! {
        /// Four prefixes share both their cells with another in one case out of a hundred million.
        #[test]
        fn a_few_prefixes_are_counted_exactly(
            seed in any::<[u8; 16]>(),
            start in any::<u32>(),
            syns in proptest::collection::vec((0u32..4, 0u32..60), 0..500),
        ) {
            let mut guard = ReflectionGuard::new(seed);
            let mut exact = BTreeMap::<(u32, u32), u32>::new();
            let mut now = start;
            for (prefix, later) in syns {
                now = now.wrapping_add(later);
                let count = exact.entry((prefix, now / WINDOW_MS)).or_default();
                let allowed = guard.allow(v4(prefix << 8), now, 50);
                prop_assert_eq!(allowed, *count < 5);
                *count += u32::from(allowed);
            }
        }
    }
}
