//! FullNAT: who a packet belongs to, from which LIP:port it goes on, and how it is rewritten.
//!
//! `client -> VIP` becomes `LIP -> real server` and back. The engine takes bytes, time and
//! randomness as arguments and reaches no clock, thread or socket. It knows nothing of SYN cookies:
//! `lib/director` composes the two engines.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

extern crate alloc;

mod icmp;
mod key;
mod rewrite;
mod session;
mod tcp;
mod toa;

pub use icmp::{icmp_checksum_is_valid, session_key_of, translate_icmp_error};
pub use key::{Direction, FlowHash, FlowHasher, FlowKey};
pub use rewrite::{Changed, OptionPolicy, translate_tcp, translate_udp};
pub use session::{Session, SessionFlags, SessionId, State, Timer};
pub use tcp::{Step, track};
pub use toa::{ToaOutcome, insert_toa, synthetic_ack};
