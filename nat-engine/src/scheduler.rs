//! Schedulers: which real server takes a new session.

mod least;
mod round;

use alloc::boxed::Box;

use weir_model::{RealId, SchedulerKind};

pub use self::least::WeightedLeastConnection;
pub use self::round::{RoundRobin, WeightedRoundRobin};

/// A real server that a scheduler may pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The real server.
    pub real: RealId,
    /// Its share of new sessions; 0 takes none.
    pub weight: u16,
}

/// The sessions of a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Those that are established.
    pub established: u32,
    /// All others.
    pub inactive: u32,
}

/// Picks the real server of a new session, among the live ones of one service.
///
/// A pick looks at every candidate once and allocates nothing: some dozens are a fraction of a
/// microsecond. A scheduler for hundreds of real servers needs another algorithm behind this trait.
pub trait Scheduler: Send {
    /// Takes the live real servers, at a configuration change and when the health of one changes.
    /// Those that stay keep their turn.
    fn update(&mut self, candidates: &[Candidate]);

    /// Picks one; none when no candidate has a weight. `load` is asked only by those schedulers
    /// that count sessions.
    fn pick(&mut self, load: &dyn Fn(RealId) -> Load) -> Option<RealId>;

    /// Returns the one that [`pick`](Self::pick) would pick now, and lets it keep its turn.
    fn peek(&self, load: &dyn Fn(RealId) -> Load) -> Option<RealId>;
}

/// Makes a service's scheduler. Workers begin at different real servers, so that several first
/// sessions do not all go to the same one.
#[must_use]
pub fn scheduler(kind: SchedulerKind, worker: u8) -> Box<dyn Scheduler> {
    match kind {
        SchedulerKind::RoundRobin => Box::new(RoundRobin::new(worker)),
        SchedulerKind::WeightedRoundRobin => Box::new(WeightedRoundRobin::new(worker)),
        SchedulerKind::WeightedLeastConnection => Box::new(WeightedLeastConnection::new(worker)),
    }
}
