//! By the sessions that each real server has: lc, wlc, sed and nq.

use alloc::vec::Vec;

use weir_model::RealId;

use super::round::Turn;
use super::{Asker, Candidate, Load, Scheduler};

/// How many inactive sessions weigh as much as an established one.
const ESTABLISHED: u64 = 256;

/// What makes a real server the least burdened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The fewest sessions; a weight only says whether it takes part.
    Sessions,
    /// The fewest sessions for its weight.
    SessionsForWeight,
    /// The fewest established sessions for its weight, the new one included.
    ExpectedDelay,
    /// One without an established session if there is one, else as by the expected delay.
    IdleFirst,
}

/// The real server with the least burden.
///
/// Sessions that are not established count 1/256 or nothing, so that a burst of closing sessions
/// does not keep a real server from its share. Equals take turns. Sessions are those of this
/// worker: with several workers each balances what it has, and clients are spread evenly over them.
#[derive(Clone, Debug)]
pub struct Least {
    rule: Rule,
    candidates: Vec<Candidate>,
    turn: Turn,
}

impl Least {
    /// Makes one whose first tie is decided at an offset of its own.
    #[must_use]
    pub const fn new(rule: Rule, worker: u8) -> Self {
        Self {
            rule,
            candidates: Vec::new(),
            turn: Turn::new(worker),
        }
    }
}

impl Scheduler for Least {
    fn update(&mut self, candidates: &[Candidate]) {
        self.turn.update(&self.candidates, candidates);
        self.candidates.clear();
        self.candidates.extend_from_slice(candidates);
    }

    fn pick(&mut self, asker: &dyn Asker) -> Option<RealId> {
        let (place, real) = self.best(asker)?;
        self.turn.passes(place);
        Some(real)
    }

    fn peek(&self, asker: &dyn Asker) -> Option<RealId> {
        self.best(asker).map(|(_, real)| real)
    }
}

impl Least {
    pub(super) fn best(&self, asker: &dyn Asker) -> Option<(usize, RealId)> {
        let mut best: Option<(usize, RealId, u64, u64)> = None;
        for (place, candidate) in self.turn.order(&self.candidates) {
            if candidate.weight == 0 {
                continue;
            }
            let (cost, weight) = burden(self.rule, asker.load(candidate.real), candidate.weight);
            // cost / weight < best cost / best weight; at most 2^40 x 2^16.
            let better = best.is_none_or(|(_, _, least, of)| cost * of < least * weight);
            if better && !asker.is_full(candidate.real) {
                best = Some((place, candidate.real, cost, weight));
            }
        }
        best.map(|(place, real, ..)| (place, real))
    }

    pub(super) fn candidate(&self, real: RealId) -> Option<Candidate> {
        let mut candidates = self.candidates.iter();
        candidates.find(|candidate| candidate.real == real).copied()
    }

    pub(super) fn candidates(&self) -> &[Candidate] {
        &self.candidates
    }
}

/// Returns what a real server costs, and the weight that carries it.
pub(super) fn burden(rule: Rule, load: Load, weight: u16) -> (u64, u64) {
    let established = u64::from(load.established);
    let sessions = established * ESTABLISHED + u64::from(load.inactive);
    let weight = u64::from(weight);
    match rule {
        Rule::Sessions => (sessions, 1),
        Rule::SessionsForWeight => (sessions, weight),
        Rule::IdleFirst if established == 0 => (0, 1),
        Rule::ExpectedDelay | Rule::IdleFirst => (established + 1, weight),
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::Rng;

    fn wlc(weights: &[u16]) -> Least {
        least(Rule::SessionsForWeight, weights)
    }

    fn least(rule: Rule, weights: &[u16]) -> Least {
        let mut wlc = Least::new(rule, 0);
        let candidates: Vec<Candidate> = (0..)
            .zip(weights)
            .map(|(real, &weight)| Candidate {
                real: RealId(real),
                weight,
                share: weight,
            })
            .collect();
        wlc.update(&candidates);
        wlc
    }

    #[test]
    fn sessions_that_stay_are_shared_as_the_weights_say() {
        let weights = [1, 2, 0, 5];
        let mut wlc = wlc(&weights);
        let mut established = vec![0u32; weights.len()];
        for _ in 0..800 {
            let real = wlc.pick(&|real: RealId| Load {
                established: established[real.index()],
                inactive: 0,
            });
            established[real.unwrap().index()] += 1;
        }
        assert_eq!(established, [100, 200, 0, 500]);
    }

    #[test]
    fn equals_take_turns() {
        let mut wlc = wlc(&[3, 3, 3]);
        let picks: Vec<u32> = (0..6)
            .map(|_| wlc.pick(&|_: RealId| Load::default()).unwrap().0)
            .collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_peek_names_the_next_pick_and_does_not_take_its_turn() {
        let mut wlc = wlc(&[3, 3, 0, 3]);
        for _ in 0..9 {
            let peeked = [(); 3].map(|()| wlc.peek(&|_: RealId| Load::default()));
            let picked = wlc.pick(&|_: RealId| Load::default());
            assert_eq!(peeked, [picked; 3]);
        }
    }

    #[test]
    fn an_inactive_session_counts_a_256th() {
        let mut wlc = wlc(&[1, 1]);
        for (inactive, expected) in [(255, 1), (257, 0)] {
            let load = |real: RealId| match real.0 {
                0 => Load {
                    established: 1,
                    inactive: 0,
                },
                _ => Load {
                    established: 0,
                    inactive,
                },
            };
            assert_eq!(wlc.pick(&load), Some(RealId(expected)));
        }
    }

    #[test]
    fn the_pick_is_never_worse_than_any_other() {
        let mut rng = Rng::new([2; 16]);
        for _ in 0..2000 {
            let weights: Vec<u16> = (0..8).map(|_| rng.below(1 << 16) as u16 & 0xff8f).collect();
            let loads: Vec<Load> = (0..8)
                .map(|_| Load {
                    established: rng.next_u32() >> rng.below(32),
                    inactive: rng.next_u32() >> rng.below(32),
                })
                .collect();
            let picked = wlc(&weights).pick(&|real: RealId| loads[real.index()]);
            let cost = |real: usize| {
                u128::from(loads[real].established) * 256 + u128::from(loads[real].inactive)
            };
            let Some(picked) = picked else {
                assert!(weights.iter().all(|&weight| weight == 0));
                continue;
            };
            assert_ne!(weights[picked.index()], 0);
            for (other, &weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0) {
                let picked_weight = u128::from(weights[picked.index()]);
                assert!(cost(picked.index()) * u128::from(weight) <= cost(other) * picked_weight);
            }
        }
    }

    #[test]
    fn without_a_weight_nobody_is_picked() {
        assert_eq!(wlc(&[0, 0]).pick(&|_: RealId| Load::default()), None);
        assert_eq!(wlc(&[]).pick(&|_: RealId| Load::default()), None);
    }

    fn established(counts: &[u32]) -> impl Fn(RealId) -> Load {
        let counts = counts.to_vec();
        move |real| Load {
            established: counts[real.index()],
            inactive: 7,
        }
    }

    #[test]
    fn least_connection_counts_sessions_whatever_the_weights_are() {
        let mut lc = least(Rule::Sessions, &[100, 1, 0, 1]);
        assert_eq!(lc.pick(&established(&[3, 2, 0, 4])), Some(RealId(1)));
        let mut counts = vec![0u32; 4];
        for _ in 0..300 {
            let real = lc.pick(&established(&counts)).unwrap();
            counts[real.index()] += 1;
        }
        assert_eq!(counts, [100, 100, 0, 100]);
    }

    #[test]
    fn the_expected_delay_counts_the_new_session_and_no_inactive_one() {
        let mut sed = least(Rule::ExpectedDelay, &[1, 3]);
        // (0 + 1) / 1 against (1 + 1) / 3.
        assert_eq!(sed.pick(&established(&[0, 1])), Some(RealId(1)));
        // (0 + 1) / 1 against (3 + 1) / 3.
        assert_eq!(sed.pick(&established(&[0, 3])), Some(RealId(0)));
    }

    #[test]
    fn never_queue_prefers_one_that_is_idle_and_then_the_shortest_delay() {
        let mut nq = least(Rule::IdleFirst, &[1, 1000, 0]);
        assert_eq!(nq.pick(&established(&[0, 1, 0])), Some(RealId(0)));
        assert_eq!(nq.pick(&established(&[1, 1, 0])), Some(RealId(1)));
    }

    #[test]
    fn idle_ones_take_turns_until_each_has_a_session() {
        let mut nq = least(Rule::IdleFirst, &[1, 9, 5]);
        let picks: Vec<u32> = (0..3)
            .map(|_| nq.pick(&|_: RealId| Load::default()).unwrap().0)
            .collect();
        assert_eq!(picks, [0, 1, 2]);
    }

    #[test]
    fn one_that_is_full_is_not_picked_however_little_it_has() {
        let full = crate::scheduler::asked::Asked::with_full(&[0, 2]);
        for rule in [
            Rule::Sessions,
            Rule::SessionsForWeight,
            Rule::ExpectedDelay,
            Rule::IdleFirst,
        ] {
            let mut least = least(rule, &[1, 1, 1]);
            assert_eq!(least.pick(&full), Some(RealId(1)));
            assert_eq!(least.peek(&full), Some(RealId(1)));
        }
        let all = crate::scheduler::asked::Asked::with_full(&[0, 1, 2]);
        assert_eq!(wlc(&[1, 1, 1]).pick(&all), None);
    }
}
