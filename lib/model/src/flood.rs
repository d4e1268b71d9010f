//! Flood counters: what became of the SYNs and cookies of one service on one worker.

/// The upper bounds of handshake latencies, in microseconds: half octaves from 32 us on; the last
/// bucket holds everything longer.
pub const LATENCY_BOUNDS_US: [u32; LATENCY_BUCKETS - 1] = bounds();

/// The number of latency buckets.
pub const LATENCY_BUCKETS: usize = 32;

/// Counts the SYNs and cookies of one service.
///
/// `syn_in = cookie_sent + passed + limited`, to the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FloodCounters {
    /// SYNs from clients.
    pub syn_in: u64,
    /// SYNs answered by a cookie.
    pub cookie_sent: u64,
    /// SYNs that were passed on, or refused for want of a real server, port or session.
    pub passed: u64,
    /// SYNs not answered because their prefix was sent too many SYN-ACKs.
    pub limited: u64,
    /// ACKs whose cookie was ours and in time.
    pub cookie_valid: u64,
    /// ACKs whose cookie was not ours.
    pub cookie_bad: u64,
    /// ACKs whose cookie was ours, but too old.
    pub cookie_stale: u64,
    /// Handshakes that a valid cookie began and the real server completed.
    pub completed: u64,
    /// Handshakes that a valid cookie began and nobody completed.
    pub failed: u64,
    /// Sessions that nothing has proven yet, now.
    pub half_open: u64,
    /// 1 while cookies are sent, else 0.
    pub active: u64,
    /// Completed handshakes by the time from valid ACK to the real server's answer, in the buckets
    /// of [`LATENCY_BOUNDS_US`].
    pub latency: [u64; LATENCY_BUCKETS],
}

impl FloodCounters {
    /// The number of values.
    pub const COUNT: usize = 11 + LATENCY_BUCKETS;

    /// Returns the values in a fixed order, for publishing.
    #[must_use]
    pub fn to_array(self) -> [u64; Self::COUNT] {
        let mut copy = self;
        let mut values = [0; Self::COUNT];
        for (value, field) in values.iter_mut().zip(copy.fields()) {
            *value = *field;
        }
        values
    }

    /// Makes the counters from the order of [`to_array`](Self::to_array).
    #[must_use]
    pub fn from_array(values: [u64; Self::COUNT]) -> Self {
        let mut counters = Self::default();
        for (field, value) in counters.fields().zip(values) {
            *field = value;
        }
        counters
    }

    /// Adds another worker's counters.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.fields().zip(other.to_array()) {
            *mine += theirs;
        }
    }

    /// Counts a completed handshake.
    pub fn complete(&mut self, latency_us: u64) {
        self.completed += 1;
        let at = LATENCY_BOUNDS_US.partition_point(|bound| u64::from(*bound) < latency_us);
        if let Some(count) = self.latency.get_mut(at) {
            *count += 1;
        }
    }

    fn fields(&mut self) -> impl Iterator<Item = &mut u64> {
        [
            &mut self.syn_in,
            &mut self.cookie_sent,
            &mut self.passed,
            &mut self.limited,
            &mut self.cookie_valid,
            &mut self.cookie_bad,
            &mut self.cookie_stale,
            &mut self.completed,
            &mut self.failed,
            &mut self.half_open,
            &mut self.active,
        ]
        .into_iter()
        .chain(&mut self.latency)
    }
}

/// A prefix or option fingerprint that many SYNs share; counted by samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeavyHitter {
    /// What they share: a /24 in the lower 32 bits, or a packed fingerprint.
    pub key: u64,
    /// SYNs per second, estimated; 0 marks an empty place.
    pub syn_per_s: u64,
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which would say so"
)]
const fn bounds() -> [u32; LATENCY_BUCKETS - 1] {
    let mut bounds = [0; LATENCY_BUCKETS - 1];
    let mut at = 0;
    while at < bounds.len() {
        let octave = 32 << (at / 2);
        bounds[at] = if at % 2 == 0 { octave } else { octave * 3 / 2 };
        at += 1;
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_survive_their_array_and_add_up() {
        let values = core::array::from_fn(|at| at as u64 + 1);
        let mut counters = FloodCounters::from_array(values);
        assert_eq!(counters.to_array(), values);
        assert_eq!(
            (counters.syn_in, counters.active, counters.latency[0]),
            (1, 11, 12)
        );
        counters.add(&counters.clone());
        assert_eq!(counters.to_array(), values.map(|value| value * 2));
    }

    #[test]
    fn a_latency_falls_into_the_bucket_below_its_bound() {
        assert_eq!(&LATENCY_BOUNDS_US[..4], &[32, 48, 64, 96]);
        let mut counters = FloodCounters::default();
        for latency in [0, 32, 33, u64::MAX] {
            counters.complete(latency);
        }
        assert_eq!(counters.completed, 4);
        assert_eq!(&counters.latency[..2], &[2, 1]);
        assert_eq!(counters.latency[LATENCY_BUCKETS - 1], 1);
    }
}
