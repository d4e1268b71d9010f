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
        let (place, real, ..) = best?;
        self.turn.passes(place);
        Some(real)
    }
}
