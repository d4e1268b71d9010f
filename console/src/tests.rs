//! Tests of the whole: what is seen, in how many bytes, and that a terminal shows what was meant.

mod agree;
mod bytes;
mod config;
pub(crate) mod fixture;
mod pty;
mod screens;
mod scroll;
mod sizes;
mod stage;
mod story;
mod vt;
