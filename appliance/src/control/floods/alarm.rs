//! One flood of one service, made of what each worker says for itself.

use std::time::{Duration, Instant};

/// Folds the workers' own triggers: the first that goes on begins the flood, the last that goes
/// off ends it, and each worker has to know of the others'.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Alarm {
    workers: Vec<WorkerAlarm>,
    flood: Option<Ongoing>,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The first worker sees a flood.
    Began {
        /// That worker.
        worker: usize,
    },
    /// The last worker no longer sees one.
    Ended {
        /// The most SYNs in a second of it, of all workers together.
        peak: u64,
        /// How long it lasted.
        lasted: Duration,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct WorkerAlarm {
    triggered: bool,
    told: Told,
}

/// What a worker was told last of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Told {
    /// That they see no flood, which is also what it assumes untold.
    #[default]
    Quiet,
    /// That one of them does.
    Flood,
    /// It may have forgotten.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ongoing {
    began: Instant,
    peak: u64,
}

impl Alarm {
    /// Looks at the workers' triggers and at the rate of SYNs of all workers together.
    pub(crate) fn look(
        &mut self,
        now: Instant,
        triggered: impl Iterator<Item = bool>,
        syn_per_s: u64,
    ) -> Option<Turn> {
        for (place, triggered) in triggered.enumerate() {
            if self.workers.len() <= place {
                self.workers.push(WorkerAlarm::default());
            }
            if let Some(worker) = self.workers.get_mut(place) {
                worker.triggered = triggered;
            }
        }
        let first = self.workers.iter().position(|worker| worker.triggered);
        match (&mut self.flood, first) {
            (None, Some(worker)) => {
                self.flood = Some(Ongoing {
                    began: now,
                    peak: syn_per_s,
                });
                Some(Turn::Began { worker })
            }
            (Some(flood), Some(_)) => {
                flood.peak = flood.peak.max(syn_per_s);
                None
            }
            (Some(_), None) => self.end(now),
            (None, None) => None,
        }
    }

    /// Ends the flood, if there is one: the service is gone, or its last worker says so.
    pub(crate) fn end(&mut self, now: Instant) -> Option<Turn> {
        self.flood.take().map(|flood| Turn::Ended {
            peak: flood.peak,
            lasted: now.saturating_duration_since(flood.began),
        })
    }

    /// Returns what workers are to be told now: whether one of the others sees a flood.
    pub(crate) fn hints(&self) -> impl Iterator<Item = (usize, bool)> {
        let triggered = self.workers.iter().filter(|worker| worker.triggered);
        let triggered = triggered.count();
        let workers = self.workers.iter().enumerate();
        workers.filter_map(move |(place, worker)| {
            let flood = triggered > usize::from(worker.triggered);
            (worker.told != Told::of(flood)).then_some((place, flood))
        })
    }

    /// Notes that a worker was told.
    pub(crate) fn told(&mut self, place: usize, flood: bool) {
        if let Some(worker) = self.workers.get_mut(place) {
            worker.told = Told::of(flood);
        }
    }

    /// Notes that a worker took another snapshot, with which it may have begun afresh.
    pub(crate) fn restarted(&mut self, place: usize) {
        if let Some(worker) = self.workers.get_mut(place)
            && worker.told == Told::Flood
        {
            worker.told = Told::Unknown;
        }
    }
}

impl Told {
    const fn of(flood: bool) -> Self {
        if flood { Self::Flood } else { Self::Quiet }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks, and tells the workers what they are to be told.
    fn look(alarm: &mut Alarm, now: Instant, triggered: &[bool], rate: u64) -> Option<Turn> {
        let turn = alarm.look(now, triggered.iter().copied(), rate);
        for (place, flood) in hints(alarm) {
            alarm.told(place, flood);
        }
        turn
    }

    fn hints(alarm: &Alarm) -> Vec<(usize, bool)> {
        alarm.hints().collect()
    }

    #[test]
    fn the_first_worker_begins_a_flood_and_the_last_one_ends_it() {
        let mut alarm = Alarm::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(look(&mut alarm, start, &[false; 3], 10), None);
        assert_eq!(
            look(&mut alarm, at(1), &[false, true, false], 100),
            Some(Turn::Began { worker: 1 })
        );
        assert_eq!(look(&mut alarm, at(2), &[true, true, false], 900), None);
        assert_eq!(look(&mut alarm, at(3), &[true, false, false], 300), None);
        assert_eq!(look(&mut alarm, at(4), &[true, false, true], 800), None);
        assert_eq!(
            look(&mut alarm, at(11), &[false; 3], 5),
            Some(Turn::Ended {
                peak: 900,
                lasted: Duration::from_secs(10)
            })
        );
        assert_eq!(look(&mut alarm, at(12), &[false; 3], 5), None);
        assert_eq!(
            look(&mut alarm, at(13), &[false, false, true], 7),
            Some(Turn::Began { worker: 2 })
        );
    }

    #[test]
    fn a_worker_is_told_of_the_others_and_never_of_itself() {
        let mut alarm = Alarm::default();
        let now = Instant::now();
        alarm.look(now, [true, false, false].into_iter(), 0);
        assert_eq!(hints(&alarm), [(1, true), (2, true)]);
        look(&mut alarm, now, &[true, false, false], 0);
        assert_eq!(hints(&alarm), []);
        alarm.look(now, [true, true, false].into_iter(), 0);
        assert_eq!(hints(&alarm), [(0, true)]);
        look(&mut alarm, now, &[true, true, false], 0);
        alarm.look(now, [false, true, false].into_iter(), 0);
        assert_eq!(hints(&alarm), [(1, false)], "the others are hinted still");
        look(&mut alarm, now, &[false, true, false], 0);
        alarm.look(now, [false; 3].into_iter(), 0);
        assert_eq!(hints(&alarm), [(0, false), (2, false)]);
    }

    #[test]
    fn what_could_not_be_told_is_told_later_and_what_may_be_forgotten_again() {
        let mut alarm = Alarm::default();
        let now = Instant::now();
        alarm.look(now, [true, false, false].into_iter(), 0);
        alarm.told(1, true);
        assert_eq!(hints(&alarm), [(2, true)], "its channel was full");
        alarm.told(2, true);
        alarm.restarted(0);
        alarm.restarted(1);
        assert_eq!(hints(&alarm), [(1, true)], "the first was told nothing");
        alarm.look(now, [false; 3].into_iter(), 0);
        assert_eq!(hints(&alarm), [(1, false), (2, false)]);
    }

    #[test]
    fn a_service_that_goes_in_its_flood_ends_it() {
        let mut alarm = Alarm::default();
        let now = Instant::now();
        assert_eq!(alarm.end(now), None);
        look(&mut alarm, now, &[true], 70);
        assert_eq!(
            alarm.end(now + Duration::from_secs(3)),
            Some(Turn::Ended {
                peak: 70,
                lasted: Duration::from_secs(3)
            })
        );
    }
}
