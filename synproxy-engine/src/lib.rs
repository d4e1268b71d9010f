//! SYN cookies without state: is this handshake genuine, and what did the client offer?
//!
//! The engine takes bytes, time and keys as arguments and reaches no clock, thread or socket. It
//! knows nothing of sessions and NAT: `lib/director` composes the two engines.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

extern crate alloc;

#[cfg(test)]
extern crate std;

mod cookie;
mod fingerprint;
mod reflection;
mod reply;
mod secrets;
mod sip;
mod sketch;
mod trigger;

pub use cookie::{
    Checked, ClientOptions, Cookie, FalseAccept, Handshake, MSS_TABLE, OptionBits, Question,
    false_accept, valid_numbers,
};
pub use fingerprint::Fingerprint;
pub use reflection::{Places, ReflectionGuard};
pub use reply::{Offered, PlainReply, client_options, syn_ack, syn_ack_v6};
pub use secrets::{Checker, Issuer, Secrets};
pub use sketch::TopKeys;
pub use trigger::{Change, HALF_OPEN_ENTER, HALF_OPEN_LEAVE, Trigger, TriggerLimits};
