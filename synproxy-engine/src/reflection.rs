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

/// Limits the SYN-ACKs that one prefix of clients is sent: a /24 of IPv4, a /48 of IPv6.
pub struct ReflectionGuard {
    rows: [Box<[u32]>; ROWS],
    keys: [u64; 2],
}

impl ReflectionGuard {
    /// The memory that the counts take.
    pub const BYTES: usize = ROWS * ROW * size_of::<u32>();

    /// Makes a guard that has counted nothing; the seed decides which prefixes share a cell.
    #[must_use]
    pub fn new(seed: [u8; 16]) -> Self {
        let seed = u128::from_le_bytes(seed);
        Self {
            rows: [(); ROWS].map(|()| alloc::vec![0; ROW].into_boxed_slice()),
            keys: [(seed >> 64) as u64, seed as u64],
        }
    }

    /// Says whether a client may be sent one more SYN-ACK, and counts it if so. A limit of 0 allows
    /// everything.
    #[inline]
    pub fn allow(&mut self, client: IpAddr, now_ms: u32, limit_per_s: u32) -> bool {
        let limit = limit_per_s.div_ceil(WINDOWS_PER_S);
        if limit == 0 || limit > MAX_COUNT {
            return true;
        }
        // After 2^12 windows a count that nobody touched would look new again; it would be wrong
        // for the rest of that window.
        let window = (now_ms / WINDOW_MS) << COUNT_BITS;
        let places = self.places(prefix(client));
        let [first, second] = &mut self.rows;
        let [at_first, at_second] = places;
        let (Some(a), Some(b)) = (first.get_mut(at_first), second.get_mut(at_second)) else {
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

    /// One cell in each row, from one keyed product. Who wants a prefix to be limited can send SYNs
    /// in its name; finding others that share its cells is more work, so this need not be more.
    #[inline]
    fn places(&self, prefix: u64) -> [usize; ROWS] {
        let [add, multiply] = self.keys;
        let product = (prefix ^ add) as u128 * (multiply | 1) as u128;
        let hash = (product >> 64) as u64 ^ product as u64;
        [hash as usize % ROW, (hash >> 32) as usize % ROW]
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
