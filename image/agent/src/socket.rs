//! The agent's socket.

pub(crate) mod client;
