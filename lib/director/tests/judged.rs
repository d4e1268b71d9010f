//! What clients meet, judged by the plainest model of each promise: which real server takes a
//! session, how many it has, where clients stay, and what is dropped and why.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may fail by panicking, outside of its own function too"
)]

#[path = "judged/defence.rs"]
mod defence;
#[path = "judged/field.rs"]
mod field;
#[path = "judged/limits.rs"]
mod limits;
#[path = "judged/persistence.rs"]
mod persistence;
#[path = "judged/schedulers.rs"]
mod schedulers;
