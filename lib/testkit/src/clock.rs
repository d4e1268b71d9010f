//! Simulated time: it moves when a test says so.

use std::time::Duration;

use weir_model::{Now, Time};

/// The two clocks of a simulated appliance.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    now: Now,
}

impl Clock {
    /// The monotonic clock's first value, an hour.
    pub const UPTIME_MS: u64 = 3_600_000;
    /// The wall clock's first value: 14 November 2023, so that milliseconds do not fit 32 bits.
    pub const WALL_MS: u64 = 1_700_000_000_000;

    /// Makes a clock that has run for an hour, so that "long ago" has room.
    #[must_use]
    pub const fn new() -> Self {
        Self::at(Self::UPTIME_MS, Self::WALL_MS)
    }

    /// Makes a clock that has run for `uptime_ms` and whose wall clock says `wall_ms`.
    #[must_use]
    pub const fn at(uptime_ms: u64, wall_ms: u64) -> Self {
        Self {
            now: Now {
                time: Time::from_millis(uptime_ms),
                wall_ms,
            },
        }
    }

    /// Returns both clocks.
    #[must_use]
    pub const fn now(&self) -> Now {
        self.now
    }

    /// Returns monotonic time.
    #[must_use]
    pub const fn time(&self) -> Time {
        self.now.time
    }

    /// Moves both clocks.
    pub const fn advance(&mut self, by: Duration) {
        self.advance_to(self.now.time.after(by));
    }

    /// Moves both clocks to a monotonic time; time never goes back.
    pub const fn advance_to(&mut self, time: Time) {
        if time.as_micros() <= self.now.time.as_micros() {
            return;
        }
        // From whole milliseconds to whole milliseconds, so that many small steps lose nothing.
        self.now.wall_ms += time.as_millis() - self.now.time.as_millis();
        self.now.time = time;
    }

    /// Moves the wall clock alone, as whoever sets it does.
    pub const fn skew(&mut self, millis: i64) {
        self.now.wall_ms = self.now.wall_ms.saturating_add_signed(millis);
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_move_the_wall_clock_as_far_as_one_large_step() {
        let mut fine = Clock::new();
        for _ in 0..10_000 {
            fine.advance(Duration::from_micros(333));
        }
        let mut coarse = Clock::new();
        coarse.advance(Duration::from_millis(3330));
        assert_eq!(fine.now(), coarse.now());
        assert_eq!(coarse.now().wall_ms, Clock::WALL_MS + 3330);
    }

    #[test]
    fn time_never_goes_back() {
        let mut clock = Clock::new();
        let before = clock.now();
        clock.advance_to(Time::from_millis(1));
        assert_eq!(clock.now(), before);
    }
}
