//! SYN cookies without state: is this handshake genuine, and what did the client offer?
//!
//! The engine takes bytes, time and keys as arguments and reaches no clock, thread or socket. It
//! knows nothing of sessions and NAT: `lib/director` composes the two engines.

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]
