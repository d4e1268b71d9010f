//! Weighted least connection.

use alloc::vec::Vec;

use weir_model::RealId;

use super::round::Turn;
use super::{Candidate, Load, Scheduler};

/// How many inactive sessions weigh as much as an established one.
const ESTABLISHED: u64 = 256;

/// The real server with the fewest sessions for its weight.
///
/// Sessions that are not established count 1/256, so that a burst of closing sessions does not
/// keep a real server from its share. Equals take turns.
#[derive(Clone, Debug)]
pub struct WeightedLeastConnection {
    candidates: Vec<Candidate>,
    turn: Turn,
}

impl WeightedLeastConnection {
    /// Makes one whose first tie is decided at an offset of its own.
    #[must_use]
    pub const fn new(worker: u8) -> Self {
        Self {
            candidates: Vec::new(),
            turn: Turn::new(worker),
        }
    }
}

impl Scheduler for WeightedLeastConnection {
    fn update(&mut self, candidates: &[Candidate]) {
        self.turn.update(&self.candidates, candidates);
        self.candidates.clear();
        self.candidates.extend_from_slice(candidates);
    }

    fn pick(&mut self, load: &dyn Fn(RealId) -> Load) -> Option<RealId> {
        let (place, real) = self.best(load)?;
        self.turn.passes(place);
        Some(real)
    }

    fn peek(&self, load: &dyn Fn(RealId) -> Load) -> Option<RealId> {
        self.best(load).map(|(_, real)| real)
    }
}

impl WeightedLeastConnection {
    fn best(&self, load: &dyn Fn(RealId) -> Load) -> Option<(usize, RealId)> {
        let mut best: Option<(usize, RealId, u64, u64)> = None;
        for (place, candidate) in self.turn.order(&self.candidates) {
            let weight = u64::from(candidate.weight);
            if weight == 0 {
                continue;
            }
            let load = load(candidate.real);
            let cost = u64::from(load.established) * ESTABLISHED + u64::from(load.inactive);
            // cost / weight < best cost / best weight; at most 2^40 x 2^16.
            if best.is_none_or(|(_, _, least, of)| cost * of < least * weight) {
                best = Some((place, candidate.real, cost, weight));
            }
        }
        best.map(|(place, real, ..)| (place, real))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use crate::Rng;

    fn wlc(weights: &[u16]) -> WeightedLeastConnection {
        let mut wlc = WeightedLeastConnection::new(0);
        let candidates: Vec<Candidate> = (0..)
            .zip(weights)
            .map(|(real, &weight)| Candidate {
                real: RealId(real),
                weight,
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
            let real = wlc.pick(&|real| Load {
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
            .map(|_| wlc.pick(&|_| Load::default()).unwrap().0)
            .collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
    }

    #[test]
    fn a_peek_names_the_next_pick_and_does_not_take_its_turn() {
        let mut wlc = wlc(&[3, 3, 0, 3]);
        for _ in 0..9 {
            let peeked = [(); 3].map(|()| wlc.peek(&|_| Load::default()));
            let picked = wlc.pick(&|_| Load::default());
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
            let picked = wlc(&weights).pick(&|real| loads[real.index()]);
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
        assert_eq!(wlc(&[0, 0]).pick(&|_| Load::default()), None);
        assert_eq!(wlc(&[]).pick(&|_| Load::default()), None);
    }
}
