//! The two clocks of a worker: the engines get time as an argument, this is where it is read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir_model::{Now, Time};

/// Reads monotonic time since the daemon started, and a wall clock that only grows.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// Wall clock minus monotonic time. It follows the wall clock forwards only: when somebody
    /// sets the clock back, the milliseconds that real servers see in timestamps still grow.
    offset_ms: u64,
}

impl Clock {
    /// Starts the clock; its copies agree on the start.
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
            offset_ms: 0,
        }
    }

    /// Reads both clocks.
    #[inline]
    pub(crate) fn now(&mut self) -> Now {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.at(self.start.elapsed(), since_epoch)
    }

    #[inline]
    fn at(&mut self, since_start: Duration, since_epoch: Duration) -> Now {
        let mono_ms = since_start.as_millis() as u64;
        let real_ms = since_epoch.as_millis() as u64;
        self.offset_ms = self.offset_ms.max(real_ms.saturating_sub(mono_ms));
        Now {
            time: Time::from_micros(since_start.as_micros() as u64),
            wall_ms: self.offset_ms + mono_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn a_clock_that_is_set_back_still_grows_and_one_set_forward_is_followed() {
        let mut clock = Clock::start();
        assert_eq!(clock.at(secs(1), secs(1000)).wall_ms, 1_000_000);
        assert_eq!(clock.at(secs(2), secs(500)).wall_ms, 1_001_000);
        assert_eq!(clock.at(secs(3), secs(5000)).wall_ms, 5_000_000);
        assert_eq!(clock.at(secs(4), secs(5001)).wall_ms, 5_001_000);
        assert_eq!(clock.at(secs(4), secs(5001)).time, Time::from_millis(4000));
    }
}
