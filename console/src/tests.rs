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

/// Returns how long this thread had a processor: others on the machine do not count.
pub(crate) fn worked() -> std::time::Duration {
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    nix::time::clock_gettime(clock).unwrap().into()
}
