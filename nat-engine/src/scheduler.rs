//! Schedulers: which real server takes a new session.

mod cached;
mod consistent;
mod failover;
mod least;
mod round;
mod two;

use alloc::boxed::Box;

use weir_model::{RealId, SchedulerKind};

pub use self::cached::{Locality, Replicated};
pub use self::consistent::{By, Consistent};
pub use self::failover::Failover;
pub use self::least::{Least, Rule};
pub use self::round::{RoundRobin, WeightedRoundRobin};
pub use self::two::PowerOfTwo;

/// A real server that a scheduler may pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The real server.
    pub real: RealId,
    /// Its share of new sessions now; 0 takes none.
    pub weight: u16,
    /// The share that it has while it is up: what a real server that is down comes back to.
    pub share: u16,
}

/// The sessions of a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Those that are established.
    pub established: u32,
    /// All others.
    pub inactive: u32,
}

/// What a scheduler may ask about a new session and the real servers; only what it needs is worked
/// out.
pub trait Asker {
    /// Returns the sessions of a real server on this worker.
    fn load(&self, real: RealId) -> Load;

    /// Says whether a real server has as many sessions as it may.
    fn is_full(&self, _real: RealId) -> bool {
        false
    }

    /// Returns a keyed hash of the client's address, the same on every worker.
    fn client(&self) -> u64 {
        0
    }

    /// Returns a keyed hash of the address that the client asks for, the same on every worker.
    fn destination(&self) -> u64 {
        0
    }

    /// Returns the time in milliseconds, wrapping.
    fn now_ms(&self) -> u32 {
        0
    }
}

impl<F: Fn(RealId) -> Load> Asker for F {
    fn load(&self, real: RealId) -> Load {
        self(real)
    }
}

/// Picks the real server of a new session, among the live ones of one service.
///
/// A pick allocates nothing and looks at every candidate once at most. Those by a hash, by two
/// choices, in turn and by failover mostly look at one or two.
pub trait Scheduler: Send {
    /// Takes the live real servers, at a configuration change and when the health of one changes.
    /// Those that stay keep their turn.
    fn update(&mut self, candidates: &[Candidate]);

    /// Picks one; none when no candidate has a weight and room.
    fn pick(&mut self, asker: &dyn Asker) -> Option<RealId>;

    /// Returns the one that [`pick`](Self::pick) would pick now, and lets it keep its turn.
    fn peek(&self, asker: &dyn Asker) -> Option<RealId>;
}

/// Makes a service's scheduler. Workers begin at different real servers, so that several first
/// sessions do not all go to the same one.
#[must_use]
pub fn scheduler(kind: SchedulerKind, worker: u8) -> Box<dyn Scheduler> {
    let least = |rule| Box::new(Least::new(rule, worker));
    match kind {
        SchedulerKind::RoundRobin => Box::new(RoundRobin::new(worker)),
        SchedulerKind::WeightedRoundRobin => Box::new(WeightedRoundRobin::new(worker)),
        SchedulerKind::LeastConnection => least(Rule::Sessions),
        SchedulerKind::WeightedLeastConnection => least(Rule::SessionsForWeight),
        SchedulerKind::ShortestExpectedDelay => least(Rule::ExpectedDelay),
        SchedulerKind::NeverQueue => least(Rule::IdleFirst),
        SchedulerKind::SourceHash | SchedulerKind::Maglev => Box::new(Consistent::new(By::Client)),
        SchedulerKind::DestinationHash => Box::new(Consistent::new(By::Destination)),
        SchedulerKind::Locality => Box::new(Locality::new(worker)),
        SchedulerKind::LocalityReplicated => Box::new(Replicated::new(worker)),
        SchedulerKind::Failover => Box::new(Failover::default()),
        SchedulerKind::PowerOfTwo => Box::new(PowerOfTwo::new(worker)),
    }
}

/// Says whether a candidate may be picked.
fn takes(asker: &dyn Asker, candidate: Candidate) -> bool {
    candidate.weight > 0 && !asker.is_full(candidate.real)
}

/// Mixes the bits of a number, so that neighbours come to lie far apart (Steele, Lea and Flood,
/// "Fast splittable pseudorandom number generators", 2014).
const fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod asked {
    //! What schedulers are asked with in tests.

    use alloc::vec::Vec;

    use super::{Asker, Candidate, Load};
    use weir_model::RealId;

    /// Answers as a test says.
    #[derive(Clone, Debug, Default)]
    pub(super) struct Asked {
        pub(super) loads: Vec<Load>,
        pub(super) full: Vec<u32>,
        pub(super) client: u64,
        pub(super) destination: u64,
        pub(super) now_ms: u32,
    }

    impl Asked {
        pub(super) fn with_full(full: &[u32]) -> Self {
            Self {
                full: full.to_vec(),
                ..Self::default()
            }
        }
    }

    impl Asker for Asked {
        fn load(&self, real: RealId) -> Load {
            self.loads.get(real.index()).copied().unwrap_or_default()
        }

        fn is_full(&self, real: RealId) -> bool {
            self.full.contains(&real.0)
        }

        fn client(&self) -> u64 {
            self.client
        }

        fn destination(&self) -> u64 {
            self.destination
        }

        fn now_ms(&self) -> u32 {
            self.now_ms
        }
    }

    /// Makes candidates with these weights; the real servers are numbered from 0.
    pub(super) fn candidates(weights: &[u16]) -> Vec<Candidate> {
        let candidate = |(real, &weight)| Candidate {
            real: RealId(real),
            weight,
            share: weight,
        };
        (0..).zip(weights).map(candidate).collect()
    }
}
