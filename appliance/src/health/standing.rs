//! The standing of one target: what its probes' outcomes add up to.

use std::time::Duration;

use nix::errno::Errno;
use weir_model::{Health, Now, Offer};

/// What became of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The target does what it should.
    Answered(Answer),
    /// The target refused, or the network said that it cannot be reached.
    Failed(Cause),
    /// Nothing came in time.
    Silent,
    /// This machine could not ask: says nothing about the target.
    Unable(Cause),
}

/// What a target that does what it should said of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The options of its SYN-ACK, where there was one.
    pub(crate) options: Option<Offer>,
    /// The weight that a program says it is to have.
    pub(crate) weight: Option<u16>,
    /// How long its SYN-ACK took to come, in microseconds.
    pub(crate) rtt_us: Option<u32>,
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// In the words of the kernel.
    Errno(Errno),
    /// In a sentence.
    Said(String),
}

impl Cause {
    fn sentence(&self) -> String {
        match self {
            Self::Errno(error) => error.desc().to_lowercase(),
            Self::Said(sentence) => sentence.clone(),
        }
    }
}

/// What is known of one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) is_up: bool,
    /// Since when.
    pub(crate) since: Now,
    /// The outcome of the last probe that failed; none once a target that is up answers.
    pub(crate) last_error: Option<Outcome>,
    /// The options of the last SYN-ACK.
    pub(crate) learned: Option<Offer>,
    /// Whether any probe had an outcome that says something.
    pub(crate) was_tried: bool,
    /// The weight that its last answer asked for.
    pub(crate) weight: Option<u16>,
    /// The round-trip time as it was told last, in microseconds.
    pub(crate) rtt_us: Option<u32>,
    /// The mean of the last ones.
    mean_rtt_us: Option<u32>,
    /// Outcomes in a row that contradict `is_up`.
    against: u8,
    /// It was never up and comes up with its first answer.
    is_new: bool,
}

impl Standing {
    /// Makes the standing of a target that was not yet probed.
    pub(crate) fn new(is_up: bool, since: Now) -> Self {
        Self {
            is_up,
            since,
            last_error: None,
            learned: None,
            was_tried: false,
            weight: None,
            rtt_us: None,
            mean_rtt_us: None,
            against: 0,
            is_new: false,
        }
    }

    /// Makes the standing of a target that is down until its first success.
    pub(crate) fn alpha(since: Now) -> Self {
        Self {
            is_new: true,
            ..Self::new(false, since)
        }
    }

    /// Takes an outcome, and says whether anything changed that others should know.
    pub(crate) fn take(&mut self, outcome: Outcome, health: &Health, now: Now) -> bool {
        let before = self.told();
        match outcome {
            Outcome::Answered(answer) => {
                self.was_tried = true;
                self.learned = answer.options.or(self.learned);
                self.weight = answer.weight;
                self.measure(answer.rtt_us);
                self.vote(true, if self.is_new { 1 } else { health.rise }, now);
                if self.is_up {
                    self.is_new = false;
                    self.last_error = None;
                }
            }
            Outcome::Failed(_) | Outcome::Silent => {
                self.was_tried = true;
                self.last_error = Some(outcome);
                self.vote(false, health.fall, now);
            }
            // A real server is not down because this machine is out of something.
            Outcome::Unable(_) => self.last_error = Some(outcome),
        }
        before != self.told()
    }

    /// What others should know when it changes.
    fn told(&self) -> impl PartialEq + use<> {
        let Self {
            is_up,
            last_error,
            learned,
            was_tried,
            weight,
            rtt_us,
            since: _,
            mean_rtt_us: _,
            against: _,
            is_new: _,
        } = self.clone();
        (is_up, last_error, learned, was_tried, weight, rtt_us)
    }

    /// Takes a round-trip time into the mean, which is told anew when it has become another one:
    /// thousands of targets must not tell of each microsecond.
    fn measure(&mut self, rtt_us: Option<u32>) {
        const FLOOR_US: u32 = 20;
        let Some(now) = rtt_us else {
            return;
        };
        let mean = match self.mean_rtt_us {
            Some(mean) => mean - mean / 8 + now / 8,
            None => now,
        };
        self.mean_rtt_us = Some(mean);
        let is_another = |told: u32| mean.abs_diff(told) > (told / 4).saturating_add(FLOOR_US);
        if self.rtt_us.is_none_or(is_another) {
            self.rtt_us = Some(mean);
        }
    }

    fn vote(&mut self, for_up: bool, needed: u8, at: Now) {
        if for_up == self.is_up {
            self.against = 0;
            return;
        }
        self.against = self.against.saturating_add(1);
        if self.against >= needed {
            self.is_up = for_up;
            self.since = at;
            self.against = 0;
        }
    }
}

/// Returns an outcome as a sentence; none for an answer.
pub(crate) fn sentence(outcome: &Outcome, timeout: Duration) -> Option<String> {
    match outcome {
        Outcome::Answered(_) => None,
        Outcome::Silent => Some(format!(
            "no answer within {}",
            humantime::format_duration(timeout)
        )),
        Outcome::Failed(cause) => Some(cause.sentence()),
        Outcome::Unable(cause) => Some(format!("this machine cannot ask: {}", cause.sentence())),
    }
}

#[cfg(test)]
mod tests {
    use weir_model::Time;

    use super::*;

    const ANSWERED: Outcome = Outcome::Answered(Answer {
        options: Some(Offer {
            mss: 1460,
            wscale: Some(7),
            sack: true,
            timestamps: true,
        }),
        weight: None,
        rtt_us: Some(200),
    });
    const REFUSED: Outcome = Outcome::Failed(Cause::Errno(Errno::ECONNREFUSED));

    fn health(rise: u8, fall: u8) -> Health {
        Health {
            rise,
            fall,
            ..Health::default()
        }
    }

    /// Plays outcomes at 1, 2, 3... ms and returns whether it was up after each.
    fn at(second: u64) -> Now {
        Now {
            time: Time::from_millis(second * 1000),
            wall_ms: second * 1000,
        }
    }

    fn play(standing: &mut Standing, health: &Health, outcomes: &[Outcome]) -> Vec<bool> {
        let each = outcomes.iter().zip(1..);
        each.map(|(outcome, second)| {
            standing.take(outcome.clone(), health, at(second));
            standing.is_up
        })
        .collect()
    }

    #[test]
    fn it_falls_after_so_many_failures_in_a_row_and_rises_after_so_many_answers_in_a_row() {
        let mut standing = Standing::new(true, at(0));
        let outcomes = [
            Outcome::Silent,
            REFUSED,
            REFUSED,
            ANSWERED,
            REFUSED,
            ANSWERED,
            ANSWERED,
        ];
        let up = play(&mut standing, &health(2, 3), &outcomes);
        assert_eq!(up, [true, true, false, false, false, false, true]);
        assert_eq!(standing.since, at(7));
    }

    #[test]
    fn a_single_answer_between_failures_keeps_it_up() {
        let mut standing = Standing::new(true, at(0));
        let outcomes: Vec<Outcome> = (0..10).flat_map(|_| [REFUSED, REFUSED, ANSWERED]).collect();
        let up = play(&mut standing, &health(2, 3), &outcomes);
        assert!(up.into_iter().all(|up| up));
        assert_eq!(standing.since, at(0));
    }

    #[test]
    fn rise_and_fall_of_one_follow_every_outcome() {
        let mut standing = Standing::new(true, at(0));
        let up = play(
            &mut standing,
            &health(1, 1),
            &[REFUSED, ANSWERED, REFUSED, REFUSED],
        );
        assert_eq!(up, [false, true, false, false]);
        assert_eq!(standing.since, at(3));
    }

    #[test]
    fn what_this_machine_lacks_takes_nobody_down_and_is_told() {
        let mut standing = Standing::new(true, at(0));
        let unable = Outcome::Unable(Cause::Errno(Errno::EMFILE));
        let up = play(&mut standing, &health(2, 1), &vec![unable.clone(); 10]);
        assert!(up.into_iter().all(|up| up));
        assert_eq!(standing.last_error, Some(unable));
        assert!(!standing.was_tried);
    }

    #[test]
    fn the_last_error_stays_until_a_target_that_is_up_answers() {
        let (mut standing, health) = (Standing::new(true, at(0)), health(2, 1));
        standing.take(REFUSED, &health, at(1));
        standing.take(ANSWERED, &health, at(2));
        assert_eq!(
            (standing.is_up, standing.last_error.clone()),
            (false, Some(REFUSED))
        );
        standing.take(ANSWERED, &health, at(3));
        assert_eq!((standing.is_up, standing.last_error), (true, None));
    }

    #[test]
    fn only_changes_are_told() {
        let (mut standing, health) = (Standing::new(true, at(0)), health(2, 3));
        let mut told = |outcome| standing.take(outcome, &health, at(1));
        assert!(told(ANSWERED));
        assert!(!told(ANSWERED));
        assert!(told(REFUSED));
        assert!(!told(REFUSED));
        assert!(told(REFUSED), "down");
        assert!(!told(REFUSED));
        assert!(told(Outcome::Silent), "another error");
        assert!(!told(ANSWERED), "one of two");
        assert!(told(ANSWERED), "up");
        let other = Answer {
            options: Some(Offer {
                mss: 1460,
                wscale: None,
                sack: true,
                timestamps: true,
            }),
            weight: None,
            rtt_us: Some(210),
        };
        assert!(told(Outcome::Answered(other)), "other options");
        let weighed = Answer {
            weight: Some(5),
            ..other
        };
        assert!(told(Outcome::Answered(weighed)), "another weight");
        let near = Answer {
            rtt_us: Some(260),
            ..weighed
        };
        assert!(!told(Outcome::Answered(near)), "nearly the same time");
        let far = Answer {
            rtt_us: Some(20_000),
            ..weighed
        };
        assert!(told(Outcome::Answered(far)), "another time");
    }

    #[test]
    fn errors_are_sentences() {
        let timeout = Duration::from_millis(500);
        let say = |outcome| sentence(&outcome, timeout);
        assert_eq!(say(ANSWERED), None);
        assert_eq!(say(REFUSED).as_deref(), Some("connection refused"));
        assert_eq!(
            say(Outcome::Silent).as_deref(),
            Some("no answer within 500ms")
        );
        assert_eq!(
            say(Outcome::Unable(Cause::Errno(Errno::EMFILE))).as_deref(),
            Some("this machine cannot ask: too many open files")
        );
    }

    #[test]
    fn a_new_one_that_begins_down_comes_up_with_its_first_answer_and_then_needs_all_of_them() {
        let mut standing = Standing::alpha(at(0));
        let outcomes = [REFUSED, ANSWERED, REFUSED, ANSWERED, ANSWERED];
        let up = play(&mut standing, &health(2, 1), &outcomes);
        assert_eq!(up, [false, true, false, false, true]);
    }
}
