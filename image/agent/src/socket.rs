//! The agent's socket.
//!
//! Root and operators may connect. A thread serves each client, so that a slow one is waited for by
//! nobody else; there are few of them, and each has its time.

pub(crate) mod client;
pub(crate) mod server;

mod answer;
mod stream;
