//! FullNAT: who a packet belongs to, from which LIP:port it goes on, and how it is rewritten.
//!
//! `client -> VIP` becomes `LIP -> real server` and back. The engine takes bytes, time and
//! randomness as arguments and reaches no clock, thread or socket. It knows nothing of SYN cookies:
//! `lib/director` composes the two engines.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

extern crate alloc;

#[cfg(test)]
mod fixture;
mod icmp;
mod key;
mod memory;
mod ports;
mod proxied;
mod rewrite;
mod rng;
mod scheduler;
mod session;
mod steady;
mod table;
mod tcp;
mod toa;
mod wheel;

pub use icmp::{icmp_checksum_is_valid, session_key_of, translate_icmp_error};
pub use key::{Direction, FlowHash, FlowHasher, FlowKey};
pub use memory::Prepare;
pub use ports::{
    Exhausted, LipSetId, LocalPorts, PortClass, PortUse, Protocols, Rest, SpaceId, Steering, Taken,
    Unsteerable, owner_of,
};
pub use rewrite::{Changed, OptionPolicy, translate_fragment, translate_tcp, translate_udp};
pub use rng::Rng;
pub use scheduler::{
    Asker, By, Candidate, Consistent, Failover, Least, Load, Locality, PowerOfTwo, Replicated,
    RoundRobin, Rule, Scheduler, WeightedRoundRobin, scheduler,
};
pub use session::{Session, SessionFlags, SessionId, State, Timer};
pub use steady::{SteadyOptions, pass_steady};
pub use table::{InsertError, Leaving, OutOfMemory, Probe, Scan, SessionTable};
pub use tcp::{Step, track};
pub use toa::{ToaOutcome, insert_toa, synthetic_ack};
pub use wheel::TimerWheel;
