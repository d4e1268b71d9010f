//! By the address that clients ask for, and by load: lblc and lblcr.

use weir_model::RealId;

use super::least::{Least, Rule};
use super::{Asker, Candidate, Scheduler, takes};

/// Destinations that are remembered; one more displaces another, which is only picked for anew.
const DESTINATIONS: usize = 64;
/// Real servers of one destination at most.
const MOST: usize = 8;
/// A set that did not change for so long loses its most burdened member.
const SHRINKS_AFTER_MS: u32 = 24 * 60 * 60 * 1000;

/// The real server of a destination, until it is overloaded while another is idle.
#[derive(Clone, Debug)]
pub struct Locality {
    least: Least,
    known: [Option<(u64, RealId)>; DESTINATIONS],
}

/// The least burdened of a destination's real servers; they become more while they are overloaded.
#[derive(Clone, Debug)]
pub struct Replicated {
    least: Least,
    known: [Option<(u64, Members)>; DESTINATIONS],
}

/// The real servers of one destination.
#[derive(Clone, Copy, Debug, Default)]
struct Members {
    reals: [Option<RealId>; MOST],
    changed_ms: u32,
}

impl Locality {
    /// Makes one whose first tie is decided at an offset of its own.
    #[must_use]
    pub const fn new(worker: u8) -> Self {
        Self {
            least: Least::new(Rule::SessionsForWeight, worker),
            known: [None; DESTINATIONS],
        }
    }

    fn kept(&self, asker: &dyn Asker) -> Option<RealId> {
        let destination = asker.destination();
        let (whose, real) = (*self.known.get(place(destination))?)?;
        let candidate = self.least.candidate(real)?;
        let kept = whose == destination
            && takes(asker, candidate)
            && !is_overloaded(asker, candidate, self.least.candidates());
        kept.then_some(real)
    }
}

impl Scheduler for Locality {
    fn update(&mut self, candidates: &[Candidate]) {
        self.least.update(candidates);
    }

    fn pick(&mut self, asker: &dyn Asker) -> Option<RealId> {
        if let Some(real) = self.kept(asker) {
            return Some(real);
        }
        let real = self.least.pick(asker)?;
        let destination = asker.destination();
        if let Some(known) = self.known.get_mut(place(destination)) {
            *known = Some((destination, real));
        }
        Some(real)
    }

    fn peek(&self, asker: &dyn Asker) -> Option<RealId> {
        self.kept(asker).or_else(|| self.least.peek(asker))
    }
}

impl Replicated {
    /// Makes one whose first tie is decided at an offset of its own.
    #[must_use]
    pub const fn new(worker: u8) -> Self {
        Self {
            least: Least::new(Rule::SessionsForWeight, worker),
            known: [None; DESTINATIONS],
        }
    }

    fn members(&self, destination: u64) -> Members {
        let known = self.known.get(place(destination)).copied().flatten();
        known
            .filter(|(whose, _)| *whose == destination)
            .map_or_else(Members::default, |(_, members)| members)
    }

    /// Returns the least burdened member, if one takes sessions and is not overloaded.
    fn kept(&self, asker: &dyn Asker, members: &Members) -> Option<RealId> {
        let of_set = members.reals.iter().flatten();
        let taking = of_set
            .filter_map(|&real| self.least.candidate(real))
            .filter(|candidate| takes(asker, *candidate));
        let best = taking.min_by(|a, b| compare(asker, *a, *b))?;
        let overloaded = is_overloaded(asker, best, self.least.candidates());
        (!overloaded).then_some(best.real)
    }
}

impl Scheduler for Replicated {
    fn update(&mut self, candidates: &[Candidate]) {
        self.least.update(candidates);
    }

    fn pick(&mut self, asker: &dyn Asker) -> Option<RealId> {
        let destination = asker.destination();
        let now_ms = asker.now_ms();
        let mut members = self.members(destination);
        let picked = if let Some(real) = self.kept(asker, &members) {
            let still = now_ms.wrapping_sub(members.changed_ms) >= SHRINKS_AFTER_MS;
            if still && members.reals.iter().flatten().count() > 1 {
                members.drop_most(asker, &self.least);
                members.changed_ms = now_ms;
            }
            real
        } else {
            let real = self.least.pick(asker)?;
            members.add(real, &self.least);
            members.changed_ms = now_ms;
            real
        };
        if let Some(known) = self.known.get_mut(place(destination)) {
            *known = Some((destination, members));
        }
        Some(picked)
    }

    fn peek(&self, asker: &dyn Asker) -> Option<RealId> {
        let members = self.members(asker.destination());
        self.kept(asker, &members)
            .or_else(|| self.least.peek(asker))
    }
}

impl Members {
    /// Adds a member; those that are gone make room, or else the first one does.
    fn add(&mut self, real: RealId, least: &Least) {
        if self.reals.contains(&Some(real)) {
            return;
        }
        let gone = |place: &Option<RealId>| place.is_none_or(|it| least.candidate(it).is_none());
        if let Some(place) = self.reals.iter_mut().find(|place| gone(place)) {
            *place = Some(real);
            return;
        }
        self.reals.rotate_left(1);
        if let Some(last) = self.reals.last_mut() {
            *last = Some(real);
        }
    }

    fn drop_most(&mut self, asker: &dyn Asker, least: &Least) {
        let of_set = self.reals.iter().flatten();
        let known = of_set.filter_map(|&real| least.candidate(real));
        let most = known
            .max_by(|a, b| compare(asker, *a, *b))
            .map(|it| it.real);
        for place in &mut self.reals {
            if *place == most {
                *place = None;
            }
        }
    }
}

fn place(destination: u64) -> usize {
    (destination >> 32) as usize % DESTINATIONS
}

/// Says whether a real server has more established sessions than its weight while another has not
/// half of its own.
fn is_overloaded(asker: &dyn Asker, candidate: Candidate, all: &[Candidate]) -> bool {
    let established = |it: Candidate| u64::from(asker.load(it.real).established);
    let idle = |it: &Candidate| takes(asker, *it) && established(*it) * 2 < u64::from(it.weight);
    established(candidate) > u64::from(candidate.weight) && all.iter().any(idle)
}

fn compare(asker: &dyn Asker, a: Candidate, b: Candidate) -> core::cmp::Ordering {
    let of = |it: Candidate| {
        super::least::burden(Rule::SessionsForWeight, asker.load(it.real), it.weight)
    };
    let ((cost_a, weight_a), (cost_b, weight_b)) = (of(a), of(b));
    (cost_a * weight_b).cmp(&(cost_b * weight_a))
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::Load;
    use crate::scheduler::asked::{Asked, candidates};

    fn asked(destination: u64, established: &[u32]) -> Asked {
        let load = |&established| Load {
            established,
            inactive: 0,
        };
        Asked {
            destination: destination << 32,
            loads: established.iter().map(load).collect(),
            ..Asked::default()
        }
    }

    fn pick(scheduler: &mut dyn Scheduler, asked: &Asked) -> Option<u32> {
        let peeked = scheduler.peek(asked);
        let picked = scheduler.pick(asked);
        assert_eq!(peeked, picked);
        picked.map(|real| real.0)
    }

    fn both(weights: &[u16]) -> Vec<alloc::boxed::Box<dyn Scheduler>> {
        let mut both: Vec<alloc::boxed::Box<dyn Scheduler>> = vec![
            alloc::boxed::Box::new(Locality::new(0)),
            alloc::boxed::Box::new(Replicated::new(0)),
        ];
        for scheduler in &mut both {
            scheduler.update(&candidates(weights));
        }
        both
    }

    #[test]
    fn a_destination_keeps_its_real_server_and_another_gets_the_least_burdened() {
        for scheduler in &mut both(&[100, 100, 100]) {
            assert_eq!(pick(&mut **scheduler, &asked(1, &[0, 0, 0])), Some(0));
            assert_eq!(pick(&mut **scheduler, &asked(1, &[60, 0, 0])), Some(0));
            assert_eq!(pick(&mut **scheduler, &asked(2, &[60, 9, 4])), Some(2));
            assert_eq!(pick(&mut **scheduler, &asked(1, &[60, 9, 4])), Some(0));
        }
    }

    #[test]
    fn an_overloaded_one_gives_way_only_while_another_is_idle() {
        for scheduler in &mut both(&[100, 100]) {
            assert_eq!(pick(&mut **scheduler, &asked(1, &[0, 0])), Some(0));
            assert_eq!(pick(&mut **scheduler, &asked(1, &[101, 50])), Some(0));
            assert_eq!(pick(&mut **scheduler, &asked(1, &[100, 0])), Some(0));
            assert_eq!(pick(&mut **scheduler, &asked(1, &[101, 49])), Some(1));
        }
    }

    #[test]
    fn one_that_is_down_full_or_gone_is_replaced() {
        for scheduler in &mut both(&[1, 1]) {
            let idle = asked(1, &[0, 0]);
            assert_eq!(pick(&mut **scheduler, &idle), Some(0));
            let mut full = idle.clone();
            full.full = vec![0];
            assert_eq!(pick(&mut **scheduler, &full), Some(1));
            scheduler.update(&candidates(&[1, 0]));
            assert_eq!(pick(&mut **scheduler, &idle), Some(0));
            scheduler.update(&candidates(&[1, 1])[1..]);
            assert_eq!(pick(&mut **scheduler, &idle), Some(1));
            scheduler.update(&[]);
            assert_eq!(pick(&mut **scheduler, &idle), None);
        }
    }

    #[test]
    fn a_set_grows_while_overloaded_and_shrinks_after_a_day() {
        let mut lblcr = Replicated::new(0);
        lblcr.update(&candidates(&[10, 10]));
        assert_eq!(pick(&mut lblcr, &asked(1, &[0, 0])), Some(0));
        assert_eq!(pick(&mut lblcr, &asked(1, &[11, 4])), Some(1));
        // Both are members now: the less burdened one is taken.
        assert_eq!(pick(&mut lblcr, &asked(1, &[5, 9])), Some(0));
        let mut later = asked(1, &[5, 9]);
        later.now_ms = SHRINKS_AFTER_MS;
        assert_eq!(pick(&mut lblcr, &later), Some(0));
        // The other one is a member no more.
        let mut burdened = asked(1, &[9, 0]);
        burdened.now_ms = SHRINKS_AFTER_MS + 1;
        assert_eq!(pick(&mut lblcr, &burdened), Some(0));
    }

    #[test]
    fn more_destinations_than_are_remembered_are_all_served() {
        for scheduler in &mut both(&[1, 1, 1]) {
            for destination in 0..1000 {
                assert!(pick(&mut **scheduler, &asked(destination, &[0, 0, 0])).is_some());
            }
        }
    }
}
