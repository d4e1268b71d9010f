//! Bytes per session, as the kernel counts what this process occupies.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::unistd::{SysconfVar, sysconf};
use weir_model::Verdict;
use weir_rig::LAN;

use crate::arena::{Arena, BURST};
use crate::connection::Side;
use crate::flows::{Flows, Transport};
use crate::frames::{Kind, Templates};
use crate::rig::Rig;

/// Bytes that a session may take, all in.
pub(crate) const BOUND: f64 = 160.0;

/// What so many sessions take.
pub(crate) struct Memory {
    pub(crate) sessions: u32,
    /// Bytes per session: sessions, index, timers, ports, and what is remembered of closed ones.
    pub(crate) bytes: f64,
    /// How long it took to make the empty table.
    pub(crate) made: Duration,
    /// How long it took to open all sessions, their clients and real servers included.
    pub(crate) opened: Duration,
}

/// Opens so many sessions, resets a quarter of them, and asks the kernel what that occupies.
pub(crate) fn measure(sessions: u32) -> Result<Memory> {
    let (mut arena, templates) = (Arena::new(), Templates::new());
    let mut flows = Flows::new(Transport::Tcp);
    // What the clients and servers remember is touched before.
    flows.reserve(sessions);
    let before = resident()?;
    let start = Instant::now();
    let mut rig = Rig::new(sessions, 0, 1)?;
    let made = start.elapsed();
    let start = Instant::now();
    flows.open(&mut rig, &mut arena, &templates, sessions)?;
    let opened = start.elapsed();
    ensure!(
        rig.director.session_count() == sessions,
        "{} of {sessions} sessions are there",
        rig.director.session_count()
    );
    // Those that are over stay as tombstones, and their ports as records that rest.
    for burst in flows
        .all
        .chunks_mut(BURST)
        .take(sessions as usize / 4 / BURST)
    {
        arena.clear();
        for connection in burst {
            connection.send(&mut arena, &templates, Side::Client, Kind::Rst)?;
        }
        let mut packets = arena.packets();
        rig.walk(&mut packets);
        for packet in &packets {
            let verdict = packet.verdict;
            ensure!(verdict == Verdict::Forward(LAN), "RST: {verdict:?}");
        }
    }
    ensure!(
        rig.director.session_count() == sessions,
        "what was reset is not remembered"
    );
    let bytes = resident()?.saturating_sub(before);
    Ok(Memory {
        sessions,
        bytes: bytes as f64 / f64::from(sessions),
        made,
        opened,
    })
}

/// Returns the bytes of this process that lie in memory.
fn resident() -> Result<u64> {
    let statm = fs::read_to_string("/proc/self/statm").context("cannot read /proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).context("no resident set")?;
    let pages: u64 = pages.parse().context("no resident set")?;
    let page = sysconf(SysconfVar::PAGE_SIZE)?.context("no page size")?;
    Ok(pages * page.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sessions_are_opened_and_those_that_were_reset_are_remembered() {
        // What it fails on is in there; other tests beside it change what the process occupies.
        let memory = measure(5_000).unwrap();
        assert_eq!(memory.sessions, 5_000);
    }
}
