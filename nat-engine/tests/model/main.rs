//! The data structures against small naive references.

#![expect(clippy::unwrap_used, reason = "a test's helpers are not seen as tests")]

mod ports;
mod snapshot;
mod steering;
mod table;
mod wheel;
