//! The first real server that is up.

use alloc::vec::Vec;

use weir_model::RealId;

use super::{Asker, Candidate, Scheduler, takes};

/// The first in the order of the file that has a weight and room; the others stand by.
#[derive(Clone, Debug, Default)]
pub struct Failover {
    candidates: Vec<Candidate>,
}

impl Scheduler for Failover {
    fn update(&mut self, candidates: &[Candidate]) {
        self.candidates.clear();
        self.candidates.extend_from_slice(candidates);
    }

    fn pick(&mut self, asker: &dyn Asker) -> Option<RealId> {
        self.peek(asker)
    }

    fn peek(&self, asker: &dyn Asker) -> Option<RealId> {
        let mut candidates = self.candidates.iter();
        let first = candidates.find(|candidate| takes(asker, **candidate))?;
        Some(first.real)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::asked::{Asked, candidates};

    #[test]
    fn all_go_to_the_first_until_it_is_down_or_full_and_return_to_it() {
        let mut failover = Failover::default();
        let pick = |failover: &mut Failover, asked: &Asked| {
            let peeked = failover.peek(asked);
            let picked = failover.pick(asked);
            assert_eq!(peeked, picked);
            picked.map(|real| real.0)
        };
        failover.update(&candidates(&[1, 100, 100]));
        assert_eq!(pick(&mut failover, &Asked::default()), Some(0));
        assert_eq!(pick(&mut failover, &Asked::with_full(&[0])), Some(1));
        failover.update(&candidates(&[0, 0, 1]));
        assert_eq!(pick(&mut failover, &Asked::default()), Some(2));
        failover.update(&candidates(&[1, 0, 1]));
        assert_eq!(pick(&mut failover, &Asked::default()), Some(0));
        failover.update(&candidates(&[0, 0, 0]));
        assert_eq!(pick(&mut failover, &Asked::default()), None);
    }
}
