//! The better of two real servers that are picked at random.

use alloc::vec::Vec;

use weir_model::RealId;

use super::least::{Rule, burden};
use super::{Asker, Candidate, Scheduler, mixed, takes};

/// Draws that may meet one that is full before all are looked at.
const DRAWS: u64 = 8;

/// The better of two, drawn as often as their weights say (Mitzenmacher, "The power of two choices
/// in randomized load balancing", 2001). It looks at two real servers, however many there are.
#[derive(Clone, Debug)]
pub struct PowerOfTwo {
    /// Those with a weight, each with the sum of the weights up to and including its own.
    candidates: Vec<(Candidate, u64)>,
    /// How many were picked, and a start of its own: what the draws are made of.
    drawn: u64,
}

impl PowerOfTwo {
    /// Makes one whose draws are others than those of other workers.
    #[must_use]
    pub const fn new(worker: u8) -> Self {
        Self {
            candidates: Vec::new(),
            drawn: (worker as u64) << 56,
        }
    }

    fn draw(&self, nth: u64) -> Option<&Candidate> {
        let (_, total) = self.candidates.last()?;
        let bits = mixed(self.drawn.wrapping_add(nth << 48));
        let point = ((u128::from(bits) * u128::from(*total)) >> 64) as u64;
        let at = self.candidates.partition_point(|(_, upto)| *upto <= point);
        self.candidates.get(at).map(|(candidate, _)| candidate)
    }
}

impl Scheduler for PowerOfTwo {
    fn update(&mut self, candidates: &[Candidate]) {
        self.candidates.clear();
        let mut total = 0;
        for &candidate in candidates.iter().filter(|it| it.weight > 0) {
            total += u64::from(candidate.weight);
            self.candidates.push((candidate, total));
        }
    }

    fn pick(&mut self, asker: &dyn Asker) -> Option<RealId> {
        let picked = self.peek(asker);
        self.drawn = self.drawn.wrapping_add(1);
        picked
    }

    fn peek(&self, asker: &dyn Asker) -> Option<RealId> {
        let mut first: Option<&Candidate> = None;
        for nth in 0..DRAWS {
            let drawn = self.draw(nth)?;
            if asker.is_full(drawn.real) {
                continue;
            }
            let Some(first) = first else {
                first = Some(drawn);
                continue;
            };
            // One that is drawn again is compared with another, but with two there may be none.
            if drawn.real == first.real && nth + 1 < DRAWS && self.candidates.len() > 1 {
                continue;
            }
            let cost =
                |it: &Candidate| burden(Rule::SessionsForWeight, asker.load(it.real), it.weight);
            let ((one, of_one), (other, of_other)) = (cost(first), cost(drawn));
            let better = other * of_one < one * of_other;
            return Some(if better { drawn.real } else { first.real });
        }
        let mut all = self.candidates.iter().map(|(candidate, _)| candidate);
        let any = first.or_else(|| all.find(|candidate| takes(asker, **candidate)))?;
        Some(any.real)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::Load;
    use crate::scheduler::asked::{Asked, candidates};

    #[test]
    fn sessions_that_stay_are_shared_nearly_as_the_weights_say() {
        let weights = [1, 2, 0, 5];
        let mut two = PowerOfTwo::new(3);
        two.update(&candidates(&weights));
        let mut established = vec![0u32; weights.len()];
        for _ in 0..8000 {
            let load = |real: RealId| Load {
                established: established[real.index()],
                inactive: 0,
            };
            let peeked = two.peek(&load);
            let real = two.pick(&load);
            assert_eq!(peeked, real);
            established[real.unwrap().index()] += 1;
        }
        let expected = [1000u32, 2000, 0, 5000];
        for (found, expected) in established.iter().zip(expected) {
            assert!(found.abs_diff(expected) <= 20, "{established:?}");
        }
    }

    #[test]
    fn with_many_the_fullest_has_hardly_more_than_the_mean() {
        let mut two = PowerOfTwo::new(0);
        two.update(&candidates(&[1; 1000]));
        let mut established = vec![0u32; 1000];
        for _ in 0..50_000 {
            let real = two.pick(&|real: RealId| Load {
                established: established[real.index()],
                inactive: 0,
            });
            established[real.unwrap().index()] += 1;
        }
        // One draw would give the fullest about 75, and the emptiest about 28.
        let (least, most) = (established.iter().min(), established.iter().max());
        assert!(
            *most.unwrap() <= 55 && *least.unwrap() >= 44,
            "{least:?} {most:?}"
        );
    }

    #[test]
    fn the_only_one_with_room_is_found_among_many() {
        let mut two = PowerOfTwo::new(0);
        two.update(&candidates(&[1; 64]));
        let full: Vec<u32> = (0..64).filter(|&real| real != 40).collect();
        let asked = Asked::with_full(&full);
        for _ in 0..100 {
            assert_eq!(two.pick(&asked), Some(RealId(40)));
        }
        let all: Vec<u32> = (0..64).collect();
        assert_eq!(two.pick(&Asked::with_full(&all)), None);
        two.update(&candidates(&[0, 0]));
        assert_eq!(two.pick(&Asked::default()), None);
    }

    #[test]
    fn a_single_one_takes_all() {
        let mut two = PowerOfTwo::new(0);
        two.update(&candidates(&[7]));
        assert_eq!(two.pick(&Asked::default()), Some(RealId(0)));
    }
}
