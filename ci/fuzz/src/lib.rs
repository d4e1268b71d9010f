//! Fuzz targets: what no bytes may do to the configuration, to what LVS operators bring, the control
//! protocol, update files, the cookie engine and the director.
//!
//! Each target is an ordinary function of bytes that panics when a rule is broken, so that a stored
//! corpus is replayed by `cargo test -p weir-fuzz`, without a fuzzer. Where cargo-fuzz is installed:
//!
//! ```text
//! cd ci/fuzz
//! cargo fuzz run process --sanitizer none --no-trace-compares corpus/process
//! cargo fuzz cmin process --sanitizer none --no-trace-compares corpus/process
//! ```
//!
//! `conf` has its corpus in the tests of `lib/conf`: give it `../../lib/conf/tests/bad`. `control` begins
//! with the examples of `docs/control.md` and needs none, `update` with an update of its own.
//!
//! `WEIR_TRACE=1` tells every burst of a life, for whoever looks into a failure.
//!
//! The same harness is also driven by a seeded generator, [`confusion`], [`migration`], [`babble`], [`tampering`],
//! [`forgery`] and [`rampage`]: longer lives than a fuzzer's inputs have, which is what fills tables and lets sequence
//! spaces and time-outs meet.

#![allow(
    clippy::indexing_slicing,
    reason = "test support: a wrong index ends the test that made it"
)]

mod choice;
mod conf;
mod control;
mod cookie;
mod lvs;
mod process;
mod update;

use weir_testkit::{Random, Tally};

use crate::choice::Choice;
pub use crate::conf::Verdicts;
pub use crate::control::Heard;
use crate::process::Life;
pub use crate::update::Examined;

/// Reads the bytes as a configuration, and plays them as changes of a good one.
///
/// # Panics
///
/// When a rule is broken.
pub fn conf(data: &[u8]) {
    if let Err(error) = conf::run(data) {
        fail(&format!("{error:#}"));
    }
}

/// Reads the bytes as what an LVS operator has: a keepalived.conf, a dump, a command line.
///
/// # Panics
///
/// When a rule is broken.
pub fn lvs(data: &[u8]) {
    if let Err(error) = lvs::run(data) {
        fail(&format!("{error:#}"));
    }
}

/// Plays the bytes as a client of the control socket.
///
/// # Panics
///
/// When a rule is broken.
pub fn control(data: &[u8]) {
    if let Err(error) = control::run(data) {
        fail(&format!("{error:#}"));
    }
}

/// Plays the bytes as handshakes, clocks and numbers for the cookie engine.
///
/// # Panics
///
/// When a rule is broken.
pub fn cookie(data: &[u8]) {
    if let Err(error) = cookie::run(Choice::Bytes(data)) {
        fail(&format!("{error:#}"));
    }
}

/// Plays the bytes as actions upon a director and its surroundings.
///
/// # Panics
///
/// When a rule is broken.
pub fn process(data: &[u8]) {
    if let Err(error) = Life::of(Choice::Bytes(data)) {
        fail(&format!("{error:#}"));
    }
}

/// Reads the bytes as an update file, and as changes of a good one.
///
/// # Panics
///
/// When a rule is broken.
pub fn update(data: &[u8]) {
    if let Err(error) = update::run(data) {
        fail(&format!("{error:#}"));
    }
}

/// Reads as many update files, changed at random, and says what came of them.
///
/// # Panics
///
/// When a rule is broken; the message has the seed.
#[must_use]
pub fn tampering(seed: u64, cases: u64) -> Examined {
    seeded(seed, cases, |mut choice| update::many(&mut choice))
}

/// Reads as many configurations, changed at random, and says what came of them.
///
/// # Panics
///
/// When a rule is broken; the message has the seed.
#[must_use]
pub fn confusion(seed: u64, cases: u64) -> Verdicts {
    seeded(seed, cases, |mut choice| conf::many(&mut choice))
}

/// Imports as many files of LVS, changed at random, and says what came of them.
///
/// # Panics
///
/// When a rule is broken; the message has the seed.
#[must_use]
pub fn migration(seed: u64, cases: u64) -> Verdicts {
    seeded(seed, cases, |mut choice| lvs::many(&mut choice))
}

/// Plays as many clients of the control socket, and says what came of their lines.
///
/// # Panics
///
/// When a rule is broken; the message has the seed.
#[must_use]
pub fn babble(seed: u64, cases: u64) -> Heard {
    seeded(seed, cases, |mut choice| control::many(&mut choice))
}

/// Plays as many random actions upon the cookie engine.
///
/// # Panics
///
/// When a rule is broken; the message has the seed.
pub fn forgery(seed: u64, actions: u64) {
    seeded(seed, actions, cookie::run);
}

/// Plays as many random actions upon a director and says what they moved.
///
/// # Panics
///
/// When a rule is broken; the message has the seed.
#[must_use]
pub fn rampage(seed: u64, actions: u64) -> Tally {
    seeded(seed, actions, Life::of).tally()
}

/// Plays something with so many random choices.
fn seeded<T>(
    seed: u64,
    choices: u64,
    play: impl FnOnce(Choice<'static>) -> anyhow::Result<T>,
) -> T {
    let random = Box::new(Random::new(seed));
    match play(Choice::Seeded(random, choices)) {
        Ok(played) => played,
        Err(error) => fail(&format!("seed {seed}: {error:#}")),
    }
}

#[expect(clippy::panic, reason = "how a fuzzer is told")]
fn fail(message: &str) -> ! {
    panic!("{message}")
}
