//! When a program that ended is started again: at once the first time, then ever later.

use std::time::Duration;

/// The first pause.
const FIRST: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);
/// A program that ran for so long was well: the next pause is the first one again.
const WELL: Duration = Duration::from_mins(1);

/// What is known of a program that is to run always. Times are since any one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Restart {
    wanted: bool,
    state: State,
    pause: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Runs { since: Duration },
    Waits { until: Duration },
}

impl Restart {
    /// Begins with a program that is started as soon as it is wanted.
    pub(crate) const fn new() -> Self {
        Self {
            wanted: false,
            state: State::Waits {
                until: Duration::ZERO,
            },
            pause: FIRST,
        }
    }

    /// Says whether the program is to run. One that was not is started without a pause.
    pub(crate) fn want(&mut self, wanted: bool) {
        if wanted && !self.wanted && matches!(self.state, State::Waits { .. }) {
            self.state = State::Waits {
                until: Duration::ZERO,
            };
            self.pause = FIRST;
        }
        self.wanted = wanted;
    }

    /// Says whether it is to be started now.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        match self.state {
            State::Waits { until } => self.wanted && until <= now,
            State::Runs { .. } => false,
        }
    }

    /// Says whether it runs and must not.
    pub(crate) fn is_unwanted(&self) -> bool {
        !self.wanted && matches!(self.state, State::Runs { .. })
    }

    /// Notes that it was started.
    pub(crate) fn started(&mut self, now: Duration) {
        self.state = State::Runs { since: now };
    }

    /// Notes that it ended, or could not be started, and returns how long it rests.
    pub(crate) fn ended(&mut self, now: Duration) -> Duration {
        if let State::Runs { since } = self.state
            && now.saturating_sub(since) >= WELL
        {
            self.pause = FIRST;
        }
        let pause = self.pause;
        self.state = State::Waits { until: now + pause };
        self.pause = (pause * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_program_that_fails_again_and_again_rests_ever_longer() {
        let mut restart = Restart::new();
        assert!(!restart.is_due(s(0)));
        restart.want(true);
        assert!(restart.is_due(s(0)));
        let mut now = s(0);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            restart.started(now);
            assert!(!restart.is_due(now));
            let pause = restart.ended(now);
            assert!(!restart.is_due(now + pause.saturating_sub(Duration::from_millis(1))));
            now += pause;
            assert!(restart.is_due(now));
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
    }

    #[test]
    fn a_program_that_ran_well_rests_shortly() {
        let mut restart = Restart::new();
        restart.want(true);
        for _ in 0..5 {
            restart.started(s(0));
            restart.ended(s(0));
        }
        restart.started(s(100));
        assert_eq!(restart.ended(s(161)), s(1));
        restart.started(s(162));
        assert_eq!(restart.ended(s(163)), s(2));
    }

    #[test]
    fn a_program_that_is_not_wanted_is_stopped_and_starts_at_once_when_it_is_again() {
        let mut restart = Restart::new();
        restart.want(true);
        restart.started(s(1));
        assert!(!restart.is_unwanted());
        restart.want(false);
        assert!(restart.is_unwanted());
        restart.ended(s(2));
        restart.started(s(2));
        restart.ended(s(2));
        assert!(!restart.is_unwanted() && !restart.is_due(s(100)));
        restart.want(true);
        assert!(restart.is_due(s(2)));
    }
}
