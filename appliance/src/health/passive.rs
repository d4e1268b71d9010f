//! Passive checks: real servers that answer clients' SYNs with nothing, told from what the workers
//! count. Nobody sends anything for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use weir_model::{KnockCounters, Now, Passive, RealId, Service, Snapshot, Time};

use crate::publish::Traffic;

/// How long the last of the SYNs that count may go without an answer: a client sends its SYN again
/// after as long.
const PATIENCE: Duration = Duration::from_secs(1);

/// What is known of the silence of real servers whose services look at it.
#[derive(Debug, Default)]
pub(super) struct Silences {
    reals: BTreeMap<RealId, Silence>,
}

/// What turned for a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It was silent to so many SYNs, and gets no new sessions for a time.
    Inhibited { syns: u64, lasts: Duration },
    /// The time is over, and it is tried again.
    Tried,
    /// It answers after all.
    Answers,
}

/// What is known of one real server.
#[derive(Clone, Copy, Debug)]
struct Silence {
    /// SYN-ACKs until now.
    answered: u64,
    /// SYNs until its last SYN-ACK, or until it was tried again.
    asked: u64,
    /// Since when there are enough SYNs without an answer.
    enough_since: Option<Time>,
    /// How often in a row it was found silent.
    times: u32,
    inhibited: Option<Inhibited>,
}

/// For how long a real server gets no new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inhibited {
    until: Time,
    pub(super) since: Now,
    pub(super) syns: u64,
    pub(super) lasts: Duration,
}

impl Silences {
    /// Looks at what the workers count; `turned` is called for each real server of which something
    /// turned.
    pub(super) fn look(
        &mut self,
        now: Now,
        snapshot: &Snapshot,
        traffic: &Traffic,
        mut turned: impl FnMut(&Service, RealId, Turn),
    ) {
        let mut before = std::mem::take(&mut self.reals);
        for service in snapshot.services.iter() {
            let Some(passive) = service.availability.passive else {
                continue;
            };
            for real in &service.reals {
                let knocks = traffic.knocks(real.id);
                let known = before.remove(&real.id);
                let mut silence = known.unwrap_or_else(|| Silence::new(knocks));
                if let Some(turn) = silence.look(now, knocks, passive) {
                    turned(service, real.id, turn);
                }
                self.reals.insert(real.id, silence);
            }
        }
    }

    /// Forgets the silence of real servers whose services, in this snapshot, do not look at it.
    pub(super) fn adopt(&mut self, snapshot: &Snapshot) {
        let services = snapshot.services.iter();
        let looks = services.filter(|service| service.availability.passive.is_some());
        let looked_at: BTreeSet<RealId> = looks
            .flat_map(|service| service.reals.iter().map(|real| real.id))
            .collect();
        self.reals.retain(|real, _| looked_at.contains(real));
    }

    /// Returns for how long a real server gets no new sessions, where that is so.
    pub(super) fn inhibited(&self, real: RealId) -> Option<Inhibited> {
        self.reals.get(&real)?.inhibited
    }

    /// Says whether any real server gets no new sessions now.
    pub(super) fn any_inhibited(&self) -> bool {
        let mut all = self.reals.values();
        all.any(|silence| silence.inhibited.is_some())
    }
}

impl Silence {
    fn new(knocks: KnockCounters) -> Self {
        Self {
            answered: knocks.answered,
            asked: knocks.asked,
            enough_since: None,
            times: 0,
            inhibited: None,
        }
    }

    fn look(&mut self, now: Now, knocks: KnockCounters, passive: Passive) -> Option<Turn> {
        if knocks.answered != self.answered {
            // Also a late answer to a SYN of before says that it lives.
            let inhibited = self.inhibited;
            *self = Self::new(knocks);
            return inhibited.map(|_| Turn::Answers);
        }
        if let Some(inhibited) = self.inhibited {
            if now.time < inhibited.until {
                return None;
            }
            self.asked = knocks.asked;
            self.enough_since = None;
            self.inhibited = None;
            return Some(Turn::Tried);
        }
        // While an apply is under way, not all workers are counted.
        self.asked = self.asked.min(knocks.asked);
        let syns = knocks.asked - self.asked;
        if syns < u64::from(passive.syns) {
            self.enough_since = None;
            return None;
        }
        let since = *self.enough_since.get_or_insert(now.time);
        if now.time.since(since) < PATIENCE {
            return None;
        }
        let doubled = 1_u32.checked_shl(self.times).unwrap_or(u32::MAX);
        let lasts = passive.first.saturating_mul(doubled).min(passive.most);
        self.times += 1;
        self.inhibited = Some(Inhibited {
            until: now.time.after(lasts),
            since: now,
            syns,
            lasts,
        });
        Some(Turn::Inhibited { syns, lasts })
    }
}

impl Inhibited {
    /// Says why a real server gets no new sessions.
    pub(super) fn sentence(self) -> String {
        format!(
            "answered none of {} SYNs; no new sessions for {}",
            self.syns,
            humantime::format_duration(self.lasts)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSIVE: Passive = Passive {
        first: Duration::from_secs(5),
        most: Duration::from_secs(30),
        syns: 10,
    };

    fn look(silence: &mut Silence, now_ms: u64, asked: u64, answered: u64) -> Option<Turn> {
        let now = Now {
            time: Time::from_millis(now_ms),
            wall_ms: now_ms,
        };
        silence.look(now, KnockCounters { asked, answered }, PASSIVE)
    }

    fn inhibited(syns: u64, seconds: u64) -> Turn {
        let lasts = Duration::from_secs(seconds);
        Turn::Inhibited { syns, lasts }
    }

    #[test]
    fn whoever_answers_some_syns_is_not_silent() {
        let mut silence = Silence::new(KnockCounters::default());
        for step in 1..100 {
            let turn = look(&mut silence, step * 500, step * 20, step / 2);
            assert_eq!(turn, None);
        }
    }

    #[test]
    fn enough_syns_without_an_answer_within_a_second_are_silence() {
        let mut silence = Silence::new(KnockCounters {
            asked: 100,
            answered: 90,
        });
        assert_eq!(look(&mut silence, 0, 109, 90), None);
        assert_eq!(look(&mut silence, 60_000, 109, 90), None, "one is missing");
        assert_eq!(look(&mut silence, 60_100, 110, 90), None);
        assert_eq!(look(&mut silence, 61_000, 112, 90), None, "they are young");
        assert_eq!(look(&mut silence, 61_100, 113, 90), Some(inhibited(13, 5)));
        assert_eq!(look(&mut silence, 66_000, 113, 90), None);
    }

    #[test]
    fn each_time_in_a_row_it_is_twice_as_long_up_to_the_most() {
        let mut silence = Silence::new(KnockCounters::default());
        let (mut now, mut asked) = (0, 0);
        for seconds in [5, 10, 20, 30, 30] {
            asked += 10;
            assert_eq!(look(&mut silence, now, asked, 0), None);
            now += 1_000;
            assert_eq!(
                look(&mut silence, now, asked, 0),
                Some(inhibited(10, seconds))
            );
            now += seconds * 1_000;
            assert_eq!(look(&mut silence, now - 1, asked, 0), None);
            assert_eq!(look(&mut silence, now, asked, 0), Some(Turn::Tried));
        }
        assert_eq!(look(&mut silence, now, asked + 1, 1), None, "it answers");
        assert_eq!(look(&mut silence, now, asked + 11, 1), None);
        let again = look(&mut silence, now + 1_000, asked + 11, 1);
        assert_eq!(again, Some(inhibited(10, 5)), "the row has ended");
    }

    #[test]
    fn a_late_answer_ends_it_at_once() {
        let mut silence = Silence::new(KnockCounters::default());
        look(&mut silence, 0, 10, 0);
        assert!(look(&mut silence, 1_000, 10, 0).is_some());
        assert_eq!(look(&mut silence, 1_500, 10, 1), Some(Turn::Answers));
        assert_eq!(silence.inhibited, None);
    }

    #[test]
    fn counters_that_go_back_for_a_moment_take_nobody_out() {
        let mut silence = Silence::new(KnockCounters {
            asked: 1_000,
            answered: 900,
        });
        for (now, asked, answered) in [(0, 0, 0), (2_000, 0, 0), (2_100, 1_000, 900)] {
            assert_eq!(look(&mut silence, now, asked, answered), None);
        }
        assert_eq!(look(&mut silence, 9_000, 1_000, 900), None);
    }
}
