//! Everything that tests of Weir have in common: simulated time, packet builders, walk scripts, a
//! network emulator and real TCP end points around directors.
//!
//! - [`World`] is a number of directors with their surroundings; it carries out verdicts and checks
//!   after each step that the ledgers balance and that every frame is in order.
//! - [`walk`] reads and plays the `.walk` scripts of `lib/director/tests/walks`.
//! - [`Transfer`] runs a whole TCP connection between two smoltcp end points through a world.

#![allow(
    clippy::indexing_slicing,
    reason = "test support: a wrong index ends the test that made it"
)]

mod clock;
mod conf;
mod frame;
mod link;
mod neighbourhood;
mod netem;
mod random;
mod seq_shift;
mod smoltcp_peer;
mod tally;
mod through;
mod transfer;
pub mod walk;
mod world;

pub use clock::Clock;
pub use conf::{snapshot, snapshot_after};
pub use frame::{
    Checksum, IcmpSpec, PacketSpec, TcpSpec, Transport, UdpSpec, arp_frame, l3_offset, pattern,
};
pub use link::InFlight;
pub use neighbourhood::{LinkFacts, Neighbourhood};
pub use netem::{Netem, Toll, Weather};
pub use random::Random;
pub use seq_shift::SeqShift;
pub use smoltcp_peer::{Closing, EndPoint, Plan, TIME_WAIT};
pub use tally::Tally;
pub use through::Through;
pub use transfer::{Cable, Middle, Outcome, Side, Transfer};
pub use world::{CHUNK, Emitted, HEADROOM, Setup, World};

/// Says what moved in a world since a tally was taken: exactly these counters and no others.
///
/// ```text
/// let before = world.tally();
/// world.inject(0, wan, &frame)?;
/// moved!(world, before, "rx 1, no-service 1");
/// ```
#[macro_export]
macro_rules! moved {
    ($world:expr, $before:expr, $list:expr) => {{
        let expected = $crate::Tally::parse($list).expect("the list names counters");
        let moved = $world.tally().since(&$before);
        if let Err(error) = moved.expect(&expected) {
            panic!("{error}");
        }
    }};
}
