//! What the memory allows: the same work on the same frames without any policy, option or state.
//!
//! These are the shortest loops that still do what every load balancer has to: lengths and the IPv4
//! checksum are verified, the time to live is taken down, checksums leave as they should. They are
//! written as the data plane is, in safe Rust, two passes over a burst with a prefetch between,
//! and nobody need believe them: a bench begins by verifying all that they send.

mod head;
mod pipeline;
mod reply;
mod sip;
mod table;

pub(crate) use self::pipeline::{Way, drop_misses, forward};
pub(crate) use self::reply::reply;
pub(crate) use self::sip::Sip;
pub(crate) use self::table::{End, Entry, Table};
