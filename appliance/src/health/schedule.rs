//! The schedule: which target is probed when, on a clock that is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use weir_model::{Now, Time};

use super::standing::{Outcome, Standing, sentence};
use super::{Finding, Target, TargetId};

/// The distance between the first probes of new targets: 2,500 a second, which is what 5,000 real
/// servers at 2 s need for good. A few targets are all probed within milliseconds.
const FIRST_PROBES_APART: Duration = Duration::from_micros(400);

/// What is to be done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Begin a probe.
    Probe(TargetId, SocketAddr),
    /// Give up a probe: its outcome is [`Outcome::Silent`].
    Overdue(TargetId),
}

/// When each target is probed, and what it came to.
#[derive(Debug)]
pub(crate) struct Schedule {
    targets: BTreeMap<TargetId, Tracked>,
    /// Targets at rest, by the time of their next probe.
    resting: BTreeSet<(Time, TargetId)>,
    /// Targets that are being probed, by the end of their patience.
    probed: BTreeSet<(Time, TargetId)>,
    most_probed: usize,
    /// Targets of which something is to be told.
    changed: BTreeSet<TargetId>,
    random: u64,
}

#[derive(Debug)]
struct Tracked {
    target: Target,
    standing: Standing,
    /// The key in `resting` or in `probed`.
    at: Time,
    /// When the probe that is under way was begun.
    began: Option<Time>,
}

impl Schedule {
    /// Makes an empty schedule that has at most so many probes under way; `seed` decides the
    /// jitter.
    pub(crate) fn new(most_probed: usize, seed: u64) -> Self {
        Self {
            targets: BTreeMap::new(),
            resting: BTreeSet::new(),
            probed: BTreeSet::new(),
            most_probed,
            changed: BTreeSet::new(),
            random: seed,
        }
    }

    /// Takes the targets that there are from now on. Those that were there before keep their
    /// standing and their next probe; returns those that are gone while a probe is under way.
    pub(crate) fn aim(&mut self, now: Now, wanted: Vec<Target>) -> Vec<TargetId> {
        let keep: BTreeSet<TargetId> = wanted.iter().map(|target| target.id).collect();
        let (resting, probed) = (&mut self.resting, &mut self.probed);
        let mut given_up = Vec::new();
        self.targets.retain(|id, tracked| {
            if keep.contains(id) {
                return true;
            }
            resting.remove(&(tracked.at, *id));
            if probed.remove(&(tracked.at, *id)) {
                given_up.push(*id);
            }
            false
        });
        self.changed.retain(|id| keep.contains(id));
        let mut first = now.time;
        for target in wanted {
            if self.targets.contains_key(&target.id) {
                continue;
            }
            let id = target.id;
            let tracked = Tracked {
                standing: if target.health.alpha && !target.is_up {
                    Standing::alpha(target.since)
                } else {
                    Standing::new(target.is_up, target.since)
                },
                target,
                at: first,
                began: None,
            };
            self.targets.insert(id, tracked);
            self.resting.insert((first, id));
            first = first.after(FIRST_PROBES_APART);
        }
        given_up
    }

    /// Returns when there is something to do next; none while there are no targets.
    pub(crate) fn next_at(&self) -> Option<Time> {
        let overdue = self.probed.first().map(|(at, _)| *at);
        let probe = self.resting.first().map(|(at, _)| *at);
        let probe = probe.filter(|_| self.has_room());
        match (overdue, probe) {
            (Some(overdue), Some(probe)) => Some(overdue.min(probe)),
            (one, other) => one.or(other),
        }
    }

    /// Returns what is due at this time. A probe that is begun must be brought to an end with
    /// [`end`](Self::end), and so must one that is overdue.
    pub(crate) fn next_due(&mut self, now: Time) -> Option<Due> {
        if let Some((_, id)) = self.probed.first().filter(|(at, _)| *at <= now) {
            return Some(Due::Overdue(*id));
        }
        let (at, id) = *self.resting.first().filter(|(at, _)| *at <= now)?;
        if !self.has_room() {
            return None;
        }
        let tracked = self.targets.get_mut(&id)?;
        self.resting.remove(&(at, id));
        tracked.began = Some(now);
        tracked.at = now.after(tracked.target.health.timeout);
        self.probed.insert((tracked.at, id));
        Some(Due::Probe(id, tracked.target.address))
    }

    /// Returns a target with the end of the patience with its probe.
    pub(crate) fn target(&self, id: TargetId) -> Option<(&Target, Time)> {
        let tracked = self.targets.get(&id)?;
        Some((&tracked.target, tracked.at))
    }

    /// Ends a probe with its outcome, and decides when the next one is.
    pub(crate) fn end(&mut self, now: Now, id: TargetId, outcome: Outcome) {
        let jitter = self.jitter();
        let Some(tracked) = self.targets.get_mut(&id) else {
            return;
        };
        let Some(began) = tracked.began.take() else {
            return;
        };
        self.probed.remove(&(tracked.at, id));
        let health = &tracked.target.health;
        tracked.at = began.after(jittered(health.interval, jitter)).max(now.time);
        self.resting.insert((tracked.at, id));
        if tracked.standing.take(outcome, health, now) {
            self.changed.insert(id);
        }
    }

    /// Tells what changed until `tell` says that there is no more room; the rest is told the next
    /// time, as it is then.
    pub(crate) fn tell(&mut self, mut tell: impl FnMut(Finding) -> bool) {
        while let Some(id) = self.changed.first() {
            let finding = self.targets.get(id).map(finding);
            if finding.is_some_and(|finding| !tell(finding)) {
                return;
            }
            self.changed.pop_first();
        }
    }

    /// Says whether something is left to be told.
    pub(crate) fn has_news(&self) -> bool {
        !self.changed.is_empty()
    }

    fn has_room(&self) -> bool {
        self.probed.len() < self.most_probed
    }

    /// A number below 2^32, of which nobody needs more than that it differs (`SplitMix64`).
    fn jitter(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) >> 32
    }
}

/// Returns 0.9 to 1.1 of the interval, so that targets that began together drift apart.
fn jittered(interval: Duration, jitter: u64) -> Duration {
    let micros = interval.as_micros() as u64;
    let spread = (micros / 5).saturating_mul(jitter) >> 32;
    Duration::from_micros(micros - micros / 10 + spread)
}

fn finding(tracked: &Tracked) -> Finding {
    let standing = &tracked.standing;
    let last = standing.last_error.as_ref();
    Finding {
        id: tracked.target.id,
        is_up: standing.is_up,
        since: standing.since,
        last_error: last.and_then(|last| sentence(last, tracked.target.health.timeout)),
        is_able: !matches!(last, Some(Outcome::Unable(_))),
        learned: standing.learned,
        weight: standing.weight,
        rtt_us: standing.rtt_us,
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;
    use weir_model::{Health, Offer};

    use super::super::standing::{Answer, Cause};
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn target(id: u32) -> Target {
        Target {
            id: TargetId(id),
            address: SocketAddr::from(([10, 0, (id >> 8) as u8, id as u8], 80)),
            health: Health::default(),
            is_up: true,
            since: Now::default(),
        }
    }

    fn at(micros: u64) -> Now {
        Now {
            time: Time::from_micros(micros),
            wall_ms: 1_000_000 + micros / 1000,
        }
    }

    /// Runs to a time as the thread would, probes ending as `outcome` says after `takes`; returns
    /// when each was begun.
    fn run(
        schedule: &mut Schedule,
        until: u64,
        takes: u64,
        outcome: impl Fn(TargetId) -> Option<Outcome>,
    ) -> Vec<(TargetId, u64)> {
        let mut begun = Vec::new();
        let mut under_way: BTreeSet<(u64, TargetId)> = BTreeSet::new();
        let mut now = 0;
        loop {
            while let Some((end, id)) = under_way.first().copied().filter(|(end, _)| *end <= now) {
                under_way.pop_first();
                schedule.end(at(end), id, outcome(id).unwrap());
            }
            while let Some(due) = schedule.next_due(Time::from_micros(now)) {
                match due {
                    Due::Probe(id, _) => {
                        begun.push((id, now));
                        if outcome(id).is_some() {
                            under_way.insert((now + takes, id));
                        }
                    }
                    Due::Overdue(id) => schedule.end(at(now), id, Outcome::Silent),
                }
            }
            let next = [
                schedule.next_at().map(Time::as_micros),
                under_way.first().map(|(end, _)| *end),
            ];
            match next.into_iter().flatten().min() {
                Some(next) if next <= until => now = next.max(now),
                Some(_) | None => return begun,
            }
        }
    }

    fn answer() -> Outcome {
        Outcome::Answered(Answer {
            options: Some(Offer::default()),
            weight: None,
            rtt_us: None,
        })
    }

    fn findings(schedule: &mut Schedule) -> Vec<Finding> {
        let mut all = Vec::new();
        schedule.tell(|finding| {
            all.push(finding);
            true
        });
        all
    }

    #[test]
    fn five_thousand_targets_are_spread_over_the_interval_from_the_start_on() {
        let mut schedule = Schedule::new(512, 1);
        schedule.aim(at(0), (0..5000).map(target).collect());
        let begun = run(&mut schedule, 20 * SECOND, 1000, |_| Some(answer()));
        let mut a_tenth = [0_u32; 200];
        for (_, when) in &begun {
            a_tenth[(when / (SECOND / 10)).min(199) as usize] += 1;
        }
        // 250 in a tenth of a second are even; at no time is it twice as many.
        assert!(
            a_tenth.iter().all(|n| (100..=500).contains(n)),
            "{a_tenth:?}"
        );
        assert!((49_000..=51_000).contains(&begun.len()), "{}", begun.len());
    }

    #[test]
    fn a_few_targets_are_all_probed_at_once_and_then_drift_apart() {
        let mut schedule = Schedule::new(512, 1);
        schedule.aim(at(0), (0..10).map(target).collect());
        let begun = run(&mut schedule, 60 * SECOND, 1000, |_| Some(answer()));
        assert!(begun[..10].iter().all(|(_, when)| *when < 5000));
        for id in 0..10 {
            let mine: Vec<u64> = begun
                .iter()
                .filter(|(one, _)| *one == TargetId(id))
                .map(|(_, when)| *when)
                .collect();
            for pair in mine.windows(2) {
                let apart = pair[1] - pair[0];
                assert!((1_800_000..=2_200_000).contains(&apart), "{apart}");
            }
        }
        let last: Vec<u64> = begun[begun.len() - 10..]
            .iter()
            .map(|(_, at)| *at)
            .collect();
        assert!(last[9] - last[0] > SECOND / 4, "{last:?}");
    }

    #[test]
    fn silence_ends_with_the_timeout_and_the_fall_is_told_with_its_cause() {
        let mut schedule = Schedule::new(512, 1);
        schedule.aim(at(0), vec![target(7)]);
        let begun = run(&mut schedule, 4 * SECOND, 0, |_| None);
        assert_eq!(begun.len(), 2);
        let told = findings(&mut schedule);
        assert!(told[0].is_up && told[0].learned.is_none());
        assert_eq!(
            told[0].last_error.as_deref(),
            Some("no answer within 500ms")
        );
        let begun = run(&mut schedule, 6 * SECOND, 0, |_| None);
        let fell = findings(&mut schedule).remove(0);
        assert!(!fell.is_up);
        let overdue_ms = (begun[0].1 + SECOND / 2) / 1000;
        assert_eq!(fell.since.wall_ms, 1_000_000 + overdue_ms);
    }

    #[test]
    fn no_more_probes_are_under_way_than_there_is_room_for_and_everybody_gets_a_turn() {
        let mut schedule = Schedule::new(8, 1);
        schedule.aim(at(0), (0..100).map(target).collect());
        let mut begun = BTreeSet::new();
        let mut now = 0;
        while begun.len() < 100 {
            while let Some(due) = schedule.next_due(Time::from_micros(now)) {
                match due {
                    Due::Probe(id, _) => {
                        begun.insert(id);
                    }
                    Due::Overdue(id) => schedule.end(at(now), id, Outcome::Silent),
                }
                assert!(schedule.probed.len() <= 8);
            }
            now = schedule.next_at().unwrap().as_micros();
            assert!(now < 60 * SECOND, "{} of 100 had a turn", begun.len());
        }
    }

    #[test]
    fn targets_that_stay_keep_their_standing_and_their_next_probe() {
        let mut schedule = Schedule::new(512, 1);
        schedule.aim(at(0), vec![target(1), target(2)]);
        run(&mut schedule, 5 * SECOND, 0, |_| {
            Some(Outcome::Failed(Cause::Errno(Errno::ECONNREFUSED)))
        });
        assert_eq!(findings(&mut schedule).len(), 2);
        let next = schedule.targets[&TargetId(2)].at;
        let given_up = schedule.aim(at(5 * SECOND), vec![target(2), target(3)]);
        assert_eq!(given_up, []);
        assert_eq!(schedule.targets[&TargetId(2)].at, next);
        assert!(!schedule.targets[&TargetId(2)].standing.is_up);
        assert!(schedule.targets[&TargetId(3)].standing.is_up);
        let begun = run(&mut schedule, 10 * SECOND, 0, |_| Some(answer()));
        assert!(begun.iter().all(|(id, _)| *id != TargetId(1)));
    }

    #[test]
    fn a_probe_of_a_target_that_is_gone_is_given_up_and_its_end_means_nothing() {
        let mut schedule = Schedule::new(1, 1);
        schedule.aim(at(0), vec![target(1), target(2)]);
        let due = schedule.next_due(Time::default());
        assert_eq!(due, Some(Due::Probe(TargetId(1), target(1).address)));
        assert_eq!(schedule.aim(at(1), vec![target(2)]), [TargetId(1)]);
        schedule.end(at(2), TargetId(1), answer());
        assert_eq!(findings(&mut schedule), []);
        let due = schedule.next_due(Time::from_micros(1000));
        assert_eq!(due, Some(Due::Probe(TargetId(2), target(2).address)));
    }

    #[test]
    fn what_finds_no_room_is_told_later_as_it_is_then() {
        let mut schedule = Schedule::new(512, 1);
        schedule.aim(at(0), vec![target(1), target(2)]);
        run(&mut schedule, SECOND, 0, |_| Some(answer()));
        let mut told = Vec::new();
        schedule.tell(|finding| {
            let room = told.is_empty();
            if room {
                told.push(finding.id);
            }
            room
        });
        assert_eq!(told, [TargetId(1)]);
        assert!(schedule.has_news());
        run(&mut schedule, 10 * SECOND, 0, |id| {
            (id == TargetId(1)).then(answer)
        });
        let rest = findings(&mut schedule);
        assert_eq!(rest.len(), 1);
        assert!(!rest[0].is_up && !schedule.has_news());
    }
}
