//! Round robin, plain and weighted.

use alloc::vec::Vec;

use weir_model::RealId;

use super::{Asker, Candidate, Load, Scheduler, takes};

/// Each real server in turn; a weight only says whether it takes part.
#[derive(Clone, Debug)]
pub struct RoundRobin {
    candidates: Vec<Candidate>,
    turn: Turn,
}

impl RoundRobin {
    /// Makes one that begins at an offset of its own.
    #[must_use]
    pub const fn new(worker: u8) -> Self {
        Self {
            candidates: Vec::new(),
            turn: Turn::new(worker),
        }
    }
}

impl Scheduler for RoundRobin {
    fn update(&mut self, candidates: &[Candidate]) {
        self.turn.update(&self.candidates, candidates);
        self.candidates.clear();
        self.candidates.extend_from_slice(candidates);
    }

    fn pick(&mut self, asker: &dyn Asker) -> Option<RealId> {
        let (place, real) = self.next(asker)?;
        self.turn.passes(place);
        Some(real)
    }

    fn peek(&self, asker: &dyn Asker) -> Option<RealId> {
        self.next(asker).map(|(_, real)| real)
    }
}

impl RoundRobin {
    fn next(&self, asker: &dyn Asker) -> Option<(usize, RealId)> {
        let mut order = self.turn.order(&self.candidates);
        let (place, candidate) = order.find(|(_, candidate)| takes(asker, **candidate))?;
        Some((place, candidate.real))
    }
}

/// Each real server as often as its weight says, spread evenly over the round.
///
/// Every pick adds each weight to its real server's credit, takes the one with the most credit and
/// subtracts the sum of those weights from it. Weights 5, 1, 1 give `a a b a c a a`. The credit of
/// one that is full stands still.
#[derive(Clone, Debug)]
pub struct WeightedRoundRobin {
    shares: Vec<Share>,
    total: i64,
    /// Picks to be left out at the beginning: the worker's offset.
    skip: u8,
}

#[derive(Clone, Copy, Debug)]
struct Share {
    candidate: Candidate,
    credit: i64,
}

impl WeightedRoundRobin {
    /// Makes one that begins at an offset of its own.
    #[must_use]
    pub const fn new(worker: u8) -> Self {
        Self {
            shares: Vec::new(),
            total: 0,
            skip: worker,
        }
    }

    fn next(&mut self, asker: &dyn Asker) -> Option<RealId> {
        let mut best: Option<&mut Share> = None;
        let mut total = 0;
        for share in &mut self.shares {
            if !takes(asker, share.candidate) {
                continue;
            }
            total += i64::from(share.candidate.weight);
            share.credit = share.next_credit();
            if best.as_ref().is_none_or(|best| share.credit > best.credit) {
                best = Some(share);
            }
        }
        let best = best?;
        best.credit -= total;
        Some(best.candidate.real)
    }
}

impl Scheduler for WeightedRoundRobin {
    fn update(&mut self, candidates: &[Candidate]) {
        let total: i64 = candidates.iter().map(|c| i64::from(c.weight)).sum();
        let shares = candidates.iter().enumerate().map(|(place, &candidate)| {
            let is_it = |share: &&Share| share.candidate.real == candidate.real;
            // Where only weights change it is at its place.
            let at_place = self.shares.get(place).filter(is_it);
            let before = at_place.or_else(|| self.shares.iter().find(is_it));
            // A credit is a part of a round. Unscaled, one that was earned when weights were in
            // the thousands would keep a real server waiting for thousands of picks.
            let credit = before.map_or(0, |share| share.credit * total / self.total.max(1));
            Share { candidate, credit }
        });
        self.shares = shares.collect();
        self.total = total;
        if total > 0 {
            for _ in 0..core::mem::take(&mut self.skip) {
                self.next(&|_: RealId| Load::default());
            }
        }
    }

    fn pick(&mut self, asker: &dyn Asker) -> Option<RealId> {
        self.next(asker)
    }

    fn peek(&self, asker: &dyn Asker) -> Option<RealId> {
        let mut best: Option<&Share> = None;
        for share in self.shares.iter().filter(|it| takes(asker, it.candidate)) {
            if best.is_none_or(|best| share.next_credit() > best.next_credit()) {
                best = Some(share);
            }
        }
        best.map(|share| share.candidate.real)
    }
}

impl Share {
    /// What it has when the next one is picked.
    fn next_credit(&self) -> i64 {
        self.credit + i64::from(self.candidate.weight)
    }
}

/// Whose turn it is among candidates of which some may come and go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn(usize);

impl Turn {
    pub(super) const fn new(worker: u8) -> Self {
        Self(worker as usize)
    }

    /// Gives the turn to the same real server in the new list, or else to the first of those after
    /// it in the old one that still exists.
    pub(super) fn update(&mut self, old: &[Candidate], new: &[Candidate]) {
        if old.is_empty() {
            return;
        }
        self.0 = self
            .order(old)
            .find_map(|(_, before)| new.iter().position(|c| c.real == before.real))
            .unwrap_or(0);
    }

    /// Returns the candidates with their places, beginning with the one whose turn it is.
    pub(super) fn order(
        self,
        candidates: &[Candidate],
    ) -> impl Iterator<Item = (usize, &Candidate)> + use<'_> {
        let start = self.0 % candidates.len().max(1);
        let places = || candidates.iter().enumerate();
        places().skip(start).chain(places().take(start))
    }

    /// Gives the turn to the one after this place.
    pub(super) const fn passes(&mut self, place: usize) {
        self.0 = place + 1;
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    use super::*;

    fn candidates(weights: &[(u32, u16)]) -> Vec<Candidate> {
        let candidate = |&(real, weight)| Candidate {
            real: RealId(real),
            weight,
            share: weight,
        };
        weights.iter().map(candidate).collect()
    }

    fn picks(scheduler: &mut dyn Scheduler, count: usize) -> Vec<u32> {
        (0..count)
            .map(|_| scheduler.pick(&|_: RealId| Load::default()).unwrap().0)
            .collect()
    }

    fn tally(picks: &[u32]) -> BTreeMap<u32, usize> {
        let mut tally = BTreeMap::new();
        for &real in picks {
            *tally.entry(real).or_default() += 1;
        }
        tally
    }

    #[test]
    fn round_robin_gives_each_its_turn_and_leaves_out_weight_zero() {
        let mut rr = RoundRobin::new(0);
        rr.update(&candidates(&[(1, 1), (2, 0), (3, 100), (4, 1)]));
        assert_eq!(picks(&mut rr, 7), [1, 3, 4, 1, 3, 4, 1]);
    }

    #[test]
    fn a_peek_names_the_next_pick_and_does_not_take_its_turn() {
        let list = candidates(&[(1, 5), (2, 0), (3, 1), (4, 2)]);
        let schedulers: [&mut dyn Scheduler; 2] =
            [&mut RoundRobin::new(1), &mut WeightedRoundRobin::new(1)];
        for scheduler in schedulers {
            assert_eq!(scheduler.peek(&|_: RealId| Load::default()), None);
            scheduler.update(&list);
            for _ in 0..20 {
                let peeked = [(); 3].map(|()| scheduler.peek(&|_: RealId| Load::default()));
                let picked = scheduler.pick(&|_: RealId| Load::default());
                assert_eq!(peeked, [picked; 3]);
            }
        }
    }

    #[test]
    fn workers_begin_at_different_real_servers() {
        for (worker, first) in [(0, 1), (1, 2), (2, 3), (3, 1)] {
            let list = candidates(&[(1, 1), (2, 1), (3, 1)]);
            let mut rr = RoundRobin::new(worker);
            rr.update(&list);
            assert_eq!(picks(&mut rr, 1), [first]);
            let mut wrr = WeightedRoundRobin::new(worker);
            wrr.update(&list);
            assert_eq!(picks(&mut wrr, 1), [first]);
        }
    }

    #[test]
    fn an_edit_does_not_move_the_turn() {
        let mut rr = RoundRobin::new(0);
        rr.update(&candidates(&[(1, 1), (2, 1), (3, 1), (4, 1)]));
        assert_eq!(picks(&mut rr, 2), [1, 2]);
        // It is the turn of 3, which is now in front; 5 is new.
        rr.update(&candidates(&[(3, 1), (4, 1), (5, 1), (1, 1)]));
        assert_eq!(picks(&mut rr, 3), [3, 4, 5]);
        // It is the turn of 1, which is gone; 3 came after it.
        rr.update(&candidates(&[(4, 1), (5, 1), (3, 1)]));
        assert_eq!(picks(&mut rr, 1), [3]);
    }

    #[test]
    fn without_a_weight_nobody_is_picked() {
        let schedulers: [&mut dyn Scheduler; 2] =
            [&mut RoundRobin::new(3), &mut WeightedRoundRobin::new(3)];
        for scheduler in schedulers {
            assert_eq!(scheduler.pick(&|_: RealId| Load::default()), None);
            scheduler.update(&candidates(&[(1, 0), (2, 0)]));
            assert_eq!(scheduler.pick(&|_: RealId| Load::default()), None);
            scheduler.update(&candidates(&[(1, 0), (2, 1)]));
            assert_eq!(picks(scheduler, 3), [2, 2, 2]);
        }
    }

    #[test]
    fn weighted_round_robin_spreads_the_heavy_one_over_the_round() {
        let mut wrr = WeightedRoundRobin::new(0);
        wrr.update(&candidates(&[(1, 5), (2, 1), (3, 1)]));
        assert_eq!(picks(&mut wrr, 7), [1, 1, 2, 1, 3, 1, 1]);
    }

    #[test]
    fn every_round_is_exactly_the_weights() {
        for worker in [0, 1, 5, 200] {
            let weights = [(1, 7), (2, 3), (3, 0), (4, 1), (5, 65_535)];
            let mut wrr = WeightedRoundRobin::new(worker);
            wrr.update(&candidates(&weights));
            let round: usize = weights.iter().map(|&(_, weight)| usize::from(weight)).sum();
            let expected = weights
                .iter()
                .filter(|&&(_, weight)| weight > 0)
                .map(|&(real, weight)| (real, usize::from(weight)))
                .collect();
            assert_eq!(tally(&picks(&mut wrr, round)), expected);
        }
    }

    #[test]
    fn a_smaller_weight_takes_effect_at_once() {
        let mut wrr = WeightedRoundRobin::new(0);
        wrr.update(&candidates(&[(1, 1000), (2, 1)]));
        while picks(&mut wrr, 1) != [2] {}
        // Real server 2 now owes a round of 1001 picks, which is two of the new rounds at most.
        wrr.update(&candidates(&[(1, 1), (2, 1)]));
        let after = tally(&picks(&mut wrr, 20));
        assert!((9..=11).contains(&after[&2]), "{after:?}");
    }

    #[test]
    fn an_edit_that_changes_nothing_changes_no_pick() {
        let list = candidates(&[(1, 5), (2, 3), (3, 2)]);
        let mut edited = WeightedRoundRobin::new(0);
        let mut left_alone = WeightedRoundRobin::new(0);
        edited.update(&list);
        left_alone.update(&list);
        for _ in 0..30 {
            edited.update(&list);
            assert_eq!(picks(&mut edited, 1), picks(&mut left_alone, 1));
        }
    }

    #[test]
    fn those_that_stay_keep_their_shares_when_others_come_and_go() {
        let mut wrr = WeightedRoundRobin::new(0);
        let mut all = Vec::new();
        for change in 0..100 {
            let mut list = [(1, 2), (2, 1)].to_vec();
            if change % 2 == 0 {
                list.push((3, 4));
            }
            wrr.update(&candidates(&list));
            all.extend(picks(&mut wrr, 70));
        }
        let tally = tally(&all);
        // 50 rounds of ten with all three, 70 picks each, and 50 with 70 picks for two.
        let close = |real: u32, expected: usize| tally[&real].abs_diff(expected) <= 100;
        assert!(close(3, 2000), "{tally:?}");
        assert!(close(1, 1000 + 2333) && close(2, 500 + 1167), "{tally:?}");
    }

    #[test]
    fn one_that_is_full_is_left_out_and_the_others_keep_their_shares() {
        let list = candidates(&[(1, 5), (2, 3), (3, 2)]);
        let full = crate::scheduler::asked::Asked::with_full(&[1]);
        let mut rr = RoundRobin::new(0);
        let mut wrr = WeightedRoundRobin::new(0);
        rr.update(&list);
        wrr.update(&list);
        let mut of_rr = Vec::new();
        let mut weighted = Vec::new();
        for _ in 0..100 {
            assert_eq!(wrr.peek(&full), {
                let picked = wrr.pick(&full);
                weighted.push(picked.unwrap().0);
                picked
            });
            of_rr.push(rr.pick(&full).unwrap().0);
        }
        assert_eq!(tally(&of_rr), [(2, 50), (3, 50)].into());
        assert_eq!(tally(&weighted), [(2, 60), (3, 40)].into());
        // It comes back without a claim to what it missed.
        assert_eq!(tally(&picks(&mut wrr, 10)), [(1, 5), (2, 3), (3, 2)].into());
    }
}
