//! Everything that tests of Weir have in common: simulated time, packet builders, walk scripts, a
//! network emulator and real TCP end points around directors.
//!
//! - [`World`] is a number of directors with their surroundings; it carries out verdicts and checks
//!   after each step that the ledgers balance and that every frame is in order.
//! - [`walk`] reads and plays the `.walk` scripts of `lib/director/tests/walks`.
//! - [`transfer`] runs a whole TCP connection between two smoltcp end points through a world.

#![allow(
    clippy::indexing_slicing,
    reason = "test support: a wrong index ends the test that made it"
)]

mod clock;
mod frame;
mod link;
mod netem;
mod random;
mod seq_shift;
mod smoltcp_peer;
mod transfer;

pub use clock::Clock;
pub use frame::{
    Checksum, IcmpSpec, PacketSpec, TcpSpec, Transport, UdpSpec, arp_frame, l3_offset, pattern,
};
pub use link::InFlight;
pub use netem::{Netem, Toll, Weather};
pub use random::Random;
pub use seq_shift::SeqShift;
pub use smoltcp_peer::{Closing, EndPoint, Plan, TIME_WAIT};
pub use transfer::{Cable, Middle, Outcome, Side, Transfer};
