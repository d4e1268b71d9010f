//! The end: what runs is stopped in order, the daemon last, and the box starts again or is turned off.

use std::time::Duration;

use super::Agent;

/// Events go to the daemon for so long before it is stopped.
const WORDS: Duration = Duration::from_secs(2);

/// What is left to do when everything has been stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// Start the box again.
    Reboot,
    /// Turn the box off.
    PowerOff,
    /// End: whoever asked does the rest.
    Exit,
}

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    last: Last,
    since: Option<Duration>,
    stage: Stage,
    /// Whether somebody has said it twice, who does not want to wait for sessions.
    is_hurried: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// What happened is told to the daemon while it is there.
    Words,
    /// Programs end.
    Programs,
}

impl Ending {
    const fn new(last: Last) -> Self {
        Self {
            last,
            since: None,
            stage: Stage::Words,
            is_hurried: false,
        }
    }

    /// Takes another wish for what is left to do: the last one counts, but the box is not left
    /// running where it was to be stopped; and nobody waits for sessions any more.
    const fn also(mut self, last: Last) -> Self {
        self.is_hurried = true;
        if !matches!(last, Last::Exit) {
            self.last = last;
        }
        self
    }

    /// Goes on as far as it can; says what is left to do when nothing runs.
    fn go_on(&mut self, now: Duration, events: usize, is_running: bool) -> Option<Last> {
        let since = *self.since.get_or_insert(now);
        match self.stage {
            Stage::Words => {
                if events == 0 || now.saturating_sub(since) >= WORDS {
                    self.stage = Stage::Programs;
                }
                None
            }
            Stage::Programs if is_running => None,
            Stage::Programs => Some(self.last),
        }
    }
}

impl Agent {
    /// Begins to stop everything.
    pub(super) fn begin_to_end(&mut self, last: Last) {
        self.ending = Some(match self.ending {
            Some(ending) => ending.also(last),
            None => Ending::new(last),
        });
    }

    /// Says whether programs are to end.
    pub(super) fn is_stopping(&self) -> bool {
        let stage = self.ending.map(|ending| ending.stage);
        stage == Some(Stage::Programs)
    }

    /// Goes on with the end, where it has begun.
    pub(super) fn end(&mut self, now: Duration) -> Option<Last> {
        if self.ending.is_some_and(|ending| ending.is_hurried) {
            self.daemon.hurry(now);
        }
        let events = self.handle.events().count();
        let is_running =
            self.daemon.is_running() || self.ssh.is_running() || self.asker.is_running();
        self.ending.as_mut()?.go_on(now, events, is_running)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_last_events_are_told_before_the_daemon_ends() {
        let mut ending = Ending::new(Last::Reboot);
        assert_eq!(ending.go_on(s(100), 2, true), None);
        assert_eq!(ending.stage, Stage::Words);
        assert_eq!(ending.go_on(s(101), 0, true), None);
        assert_eq!(ending.stage, Stage::Programs);
        assert_eq!(ending.go_on(s(102), 0, true), None);
        assert_eq!(ending.go_on(s(103), 0, false), Some(Last::Reboot));
    }

    #[test]
    fn a_daemon_that_takes_no_events_is_not_waited_for() {
        let mut ending = Ending::new(Last::PowerOff);
        ending.go_on(s(100), 9, true);
        ending.go_on(s(102), 9, true);
        assert_eq!(ending.stage, Stage::Programs);
    }

    #[test]
    fn the_last_wish_counts_but_a_box_that_is_to_stop_stops() {
        let ending = Ending::new(Last::Exit).also(Last::Reboot);
        assert_eq!(ending.last, Last::Reboot);
        assert_eq!(ending.also(Last::PowerOff).last, Last::PowerOff);
        assert_eq!(ending.also(Last::Exit).last, Last::Reboot);
    }

    #[test]
    fn whoever_says_it_twice_is_in_a_hurry_even_while_events_leave() {
        let mut ending = Ending::new(Last::PowerOff);
        ending.go_on(s(100), 9, true);
        assert!(!ending.is_hurried);
        let mut ending = ending.also(Last::PowerOff);
        assert_eq!(ending.stage, Stage::Words);
        ending.go_on(s(100), 0, true);
        assert!(ending.is_hurried && ending.stage == Stage::Programs);
    }
}
