//! By a hash of an address: sh, maglev and dh.

use alloc::collections::BinaryHeap;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use weir_model::RealId;

use super::{Asker, Candidate, Scheduler, mixed, takes};

/// Sizes of the table, all prime: the first that has this many places for each real server.
const SIZES: [u32; 5] = [4_099, 16_411, 65_537, 262_147, 1_048_583];
const PLACES_EACH: u64 = 64;
/// Places that are looked at for one that takes sessions before all real servers are.
const PROBES: u64 = 16;
/// Marks a place that nobody has claimed yet.
const FREE: u32 = u32::MAX;

/// Says what is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The client's address.
    Client,
    /// The address that the client asks for.
    Destination,
}

/// The real server that a hash names, in a table that changes little when the real servers do
/// (Eisenbud et al., "Maglev", NSDI 2016, section 3.4).
///
/// Each real server has a permutation of the table's places of its own and claims them in turn, as
/// often as its weight says. One that is down keeps its places, and its clients go where a second
/// hash leads them: nobody else moves, and all return when it is up.
#[derive(Clone, Debug)]
pub struct Consistent {
    by: By,
    candidates: Vec<Candidate>,
    /// Who has which place, by the place among the candidates.
    places: Vec<u32>,
}

impl Consistent {
    /// Makes one without real servers.
    #[must_use]
    pub const fn new(by: By) -> Self {
        Self {
            by,
            candidates: Vec::new(),
            places: Vec::new(),
        }
    }

    fn at(&self, place: u64) -> Option<&Candidate> {
        let candidate = *self.places.get(place as usize)?;
        self.candidates.get(candidate as usize)
    }
}

impl Scheduler for Consistent {
    fn update(&mut self, candidates: &[Candidate]) {
        let claims = |all: &[Candidate]| -> Vec<(RealId, u16)> {
            all.iter().map(|it| (it.real, claim(*it))).collect()
        };
        let same = claims(&self.candidates) == claims(candidates);
        self.candidates.clear();
        self.candidates.extend_from_slice(candidates);
        if !same {
            self.places = table(candidates);
        }
    }

    fn pick(&mut self, asker: &dyn Asker) -> Option<RealId> {
        self.peek(asker)
    }

    fn peek(&self, asker: &dyn Asker) -> Option<RealId> {
        let hash = match self.by {
            By::Client => asker.client(),
            By::Destination => asker.destination(),
        };
        let size = self.places.len() as u64;
        if size < 2 {
            return None;
        }
        let mut place = ((u128::from(hash) * u128::from(size)) >> 64) as u64;
        let again = mixed(hash);
        let step = again % (size - 1) + 1;
        for _ in 0..PROBES {
            let candidate = self.at(place)?;
            if takes(asker, *candidate) {
                return Some(candidate.real);
            }
            place = (place + step) % size;
        }
        let count = self.candidates.len().max(1);
        let first = (again >> 32) as usize % count;
        let (before, from) = self.candidates.split_at_checked(first)?;
        let mut all = from.iter().chain(before);
        let found = all.find(|candidate| takes(asker, **candidate))?;
        Some(found.real)
    }
}

/// Returns the weight that a candidate's claims go by: one that is down keeps what it had.
const fn claim(candidate: Candidate) -> u16 {
    if candidate.weight > 0 {
        candidate.weight
    } else {
        candidate.share
    }
}

/// Makes the table: whose claim is due next takes the next free place of its permutation. Each
/// claims one place first, however little its weight is.
fn table(candidates: &[Candidate]) -> Vec<u32> {
    let claimants = candidates.iter().filter(|it| claim(**it) > 0).count() as u64;
    if claimants == 0 {
        return Vec::new();
    }
    let enough = |size: &&u32| u64::from(**size) >= claimants * PLACES_EACH;
    let [.., largest] = &SIZES;
    let size = u64::from(*SIZES.iter().find(enough).unwrap_or(largest));
    let mut places = vec![FREE; size as usize];
    let mut due = BinaryHeap::with_capacity(claimants as usize);
    for (at, candidate) in candidates.iter().enumerate() {
        if claim(*candidate) == 0 {
            continue;
        }
        let own = mixed(u64::from(candidate.real.0));
        let (place, step) = (own % size, mixed(own) % (size - 1) + 1);
        due.push(Reverse(Claim {
            due: 0,
            own,
            at: at as u32,
            made: 0,
            weight: u64::from(claim(*candidate)),
            place,
            step,
        }));
    }
    for _ in 0..size {
        let Some(mut next) = due.peek_mut() else {
            break;
        };
        let claim = &mut next.0;
        while let Some(place) = places.get_mut(claim.place as usize) {
            claim.place = (claim.place + claim.step) % size;
            if *place == FREE {
                *place = claim.at;
                break;
            }
        }
        claim.made += 1;
        claim.due = (claim.made << 32) / claim.weight;
    }
    places
}

/// The next claim of a real server; those due earlier come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claim {
    due: u64,
    /// Tells those that are due together apart, whatever their order in the file is.
    own: u64,
    at: u32,
    made: u64,
    weight: u64,
    place: u64,
    step: u64,
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::scheduler::asked::{Asked, candidates};

    const CLIENTS: u64 = 100_000;

    fn maglev(weights: &[u16]) -> Consistent {
        let mut maglev = Consistent::new(By::Client);
        maglev.update(&candidates(weights));
        maglev
    }

    fn of(scheduler: &mut Consistent, client: u64, full: &[u32]) -> Option<u32> {
        let asked = Asked {
            client: mixed(client),
            full: full.to_vec(),
            ..Asked::default()
        };
        let peeked = scheduler.peek(&asked);
        let picked = scheduler.pick(&asked);
        assert_eq!(peeked, picked);
        picked.map(|real| real.0)
    }

    fn all(scheduler: &mut Consistent) -> Vec<u32> {
        let clients = 0..CLIENTS;
        clients
            .map(|client| of(scheduler, client, &[]).unwrap())
            .collect()
    }

    fn counts(picks: &[u32], reals: usize) -> Vec<u64> {
        let mut counts = vec![0; reals];
        for &pick in picks {
            counts[pick as usize] += 1;
        }
        counts
    }

    fn moved(before: &[u32], after: &[u32]) -> usize {
        before.iter().zip(after).filter(|(a, b)| a != b).count()
    }

    #[test]
    fn every_size_is_prime_and_every_place_is_claimed() {
        for size in SIZES {
            assert!((2..2000).all(|by| size % by != 0 || size == by), "{size}");
        }
        for weights in [&[1; 1][..], &[1; 64], &[1; 65], &[1, 65_535], &[3; 300]] {
            let table = table(&candidates(weights));
            assert!(table.iter().all(|&at| (at as usize) < weights.len()));
            assert!(table.len() as u64 >= weights.len() as u64 * PLACES_EACH);
        }
    }

    #[test]
    fn places_are_shared_as_the_weights_say() {
        let weights = [1u16, 2, 0, 5, 100, 1];
        let table = table(&candidates(&weights));
        let mut places = [0u64; 6];
        for at in &table {
            places[*at as usize] += 1;
        }
        let sum: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
        for (found, weight) in places.iter().zip(weights) {
            let exact = table.len() as u64 * u64::from(weight) / sum;
            assert!(found.abs_diff(exact) <= 2, "{places:?}");
        }
    }

    #[test]
    fn clients_are_shared_as_the_weights_say_and_come_back_to_the_same_one() {
        let mut maglev = maglev(&[1, 2, 0, 5]);
        let first = all(&mut maglev);
        assert_eq!(first, all(&mut maglev));
        let counts = counts(&first, 4);
        for (found, expected) in counts.iter().zip([12_500u64, 25_000, 0, 62_500]) {
            assert!(found.abs_diff(expected) <= 700, "{counts:?}");
        }
    }

    #[test]
    fn one_that_goes_moves_its_own_clients_and_few_others() {
        let mut scheduler = maglev(&[1; 10]);
        let before = all(&mut scheduler);
        let mut left = candidates(&[1; 10]);
        left.remove(4);
        scheduler.update(&left);
        let after = all(&mut scheduler);
        let own = before.iter().filter(|&&real| real == 4).count();
        let others = moved(&before, &after) - own;
        // A modulo would move nine of ten.
        assert!(
            own.abs_diff(10_000) < 700 && others < 4_000,
            "{own} {others}"
        );
    }

    #[test]
    fn one_that_comes_takes_its_share_and_few_others_move() {
        let mut scheduler = maglev(&[1; 9]);
        let before = all(&mut scheduler);
        scheduler.update(&candidates(&[1; 10]));
        let after = all(&mut scheduler);
        let taken = after.iter().filter(|&&real| real == 9).count();
        let others = moved(&before, &after) - taken;
        assert!(
            taken.abs_diff(10_000) < 700 && others < 4_000,
            "{taken} {others}"
        );
    }

    #[test]
    fn one_that_is_down_moves_only_its_own_clients_and_gets_them_back() {
        let mut scheduler = maglev(&[1; 10]);
        let before = all(&mut scheduler);
        let mut list = candidates(&[1; 10]);
        list[3].weight = 0;
        scheduler.update(&list);
        let during = all(&mut scheduler);
        for (before, during) in before.iter().zip(&during) {
            assert!(before == during || *before == 3);
        }
        let counts = counts(&during, 10);
        assert_eq!(counts[3], 0);
        let evenly = |count: &u64| count.abs_diff(11_111) < 900;
        let others = counts.iter().enumerate().filter(|(real, _)| *real != 3);
        assert!(others.map(|(_, count)| count).all(evenly), "{counts:?}");
        list[3].weight = 1;
        scheduler.update(&list);
        assert_eq!(all(&mut scheduler), before);
    }

    #[test]
    fn the_order_of_the_file_does_not_matter() {
        let mut one = maglev(&[3, 1, 4, 1, 5]);
        let mut list = candidates(&[3, 1, 4, 1, 5]);
        list.reverse();
        let mut other = Consistent::new(By::Client);
        other.update(&list);
        assert_eq!(all(&mut one), all(&mut other));
    }

    #[test]
    fn clients_of_one_that_is_full_go_elsewhere_and_the_last_with_room_is_found() {
        let mut scheduler = maglev(&[1; 40]);
        for client in 0..2_000 {
            let own = of(&mut scheduler, client, &[]).unwrap();
            assert_ne!(of(&mut scheduler, client, &[own]), Some(own));
        }
        let full: Vec<u32> = (0..40).filter(|&real| real != 17).collect();
        assert!((0..500).all(|client| of(&mut scheduler, client, &full) == Some(17)));
        let full: Vec<u32> = (0..40).collect();
        assert_eq!(of(&mut scheduler, 1, &full), None);
    }

    #[test]
    fn a_destination_is_hashed_alone() {
        let mut dh = Consistent::new(By::Destination);
        dh.update(&candidates(&[1; 5]));
        let pick = |client, destination| {
            dh.peek(&Asked {
                client,
                destination: mixed(destination),
                ..Asked::default()
            })
        };
        assert!((0..100).all(|client| pick(client, 7) == pick(0, 7)));
        let all: Vec<_> = (0..100).map(|destination| pick(0, destination)).collect();
        assert!((0..5).all(|real| all.contains(&Some(RealId(real)))));
    }

    #[test]
    fn without_a_weight_nobody_is_picked() {
        for weights in [&[][..], &[0, 0]] {
            assert_eq!(maglev(weights).peek(&Asked::default()), None);
        }
        let mut down = candidates(&[1, 1]);
        down[0].weight = 0;
        down[1].weight = 0;
        let mut scheduler = Consistent::new(By::Client);
        scheduler.update(&down);
        assert_eq!(scheduler.peek(&Asked::default()), None);
    }
}
