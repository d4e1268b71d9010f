//! The agent's socket.
