//! Round robin, plain and weighted.

use alloc::vec::Vec;

use weir_model::RealId;

use super::{Candidate, Load, Scheduler};

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

    fn pick(&mut self, _load: &dyn Fn(RealId) -> Load) -> Option<RealId> {
        let (place, picked) = self
            .turn
            .order(&self.candidates)
            .find(|(_, candidate)| candidate.weight > 0)?;
        self.turn.passes(place);
        Some(picked.real)
    }
}

/// Each real server as often as its weight says, spread evenly over the round.
///
/// Every pick adds each weight to its real server's credit, takes the one with the most credit and
/// subtracts the sum of all weights from it. Weights 5, 1, 1 give `a a b a c a a`.
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

    fn next(&mut self) -> Option<RealId> {
        let mut best: Option<&mut Share> = None;
        for share in &mut self.shares {
            if share.candidate.weight == 0 {
                continue;
            }
            share.credit += i64::from(share.candidate.weight);
            if best.as_ref().is_none_or(|best| share.credit > best.credit) {
                best = Some(share);
            }
        }
        let best = best?;
        best.credit -= self.total;
        Some(best.candidate.real)
    }
}

impl Scheduler for WeightedRoundRobin {
    fn update(&mut self, candidates: &[Candidate]) {
        let total: i64 = candidates.iter().map(|c| i64::from(c.weight)).sum();
        let shares = candidates.iter().map(|&candidate| {
            let before = self
                .shares
                .iter()
                .find(|share| share.candidate.real == candidate.real);
            // A credit is a part of a round. Unscaled, one that was earned when weights were in
            // the thousands would keep a real server waiting for thousands of picks.
            let credit = before.map_or(0, |share| share.credit * total / self.total.max(1));
            Share { candidate, credit }
        });
        self.shares = shares.collect();
        self.total = total;
        if total > 0 {
            for _ in 0..core::mem::take(&mut self.skip) {
                self.next();
            }
        }
    }

    fn pick(&mut self, _load: &dyn Fn(RealId) -> Load) -> Option<RealId> {
        self.next()
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
