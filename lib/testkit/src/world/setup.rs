//! How a world is made, and its directors.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use anyhow::{Context, Result};
use weir_director::{Director, PortFacts, SpreadFacts, WorkerFacts};
use weir_model::{Snapshot, WorkerId};

use crate::{Clock, Neighbourhood, Random};

/// How a world is made.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that tests set by name"
)]
pub struct Setup {
    /// How many workers there are.
    pub workers: u8,
    /// The size of each worker's session table.
    pub sessions: u32,
    /// The seed of all secrets.
    pub seed: u64,
    /// The monotonic clock at the start, in milliseconds.
    pub uptime_ms: u64,
    /// The wall clock at the start, in milliseconds.
    pub wall_ms: u64,
    /// The MTU of each port.
    pub mtu: u16,
    /// Whether drivers can hand frames to the host.
    pub delivers: bool,
    /// Whether frames may carry partial checksums.
    pub maybe_partial: bool,
    /// Whether neighbours are known from the start and answer ARP.
    pub neighbours_answer: bool,
    /// Whether frames and ARP may lie about who is where, so that answers go astray.
    pub liars: bool,
    /// What the directors know of NICs that spread packets over queues.
    pub spread: SpreadFacts,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 1,
            sessions: 64,
            seed: 1,
            uptime_ms: Clock::UPTIME_MS,
            wall_ms: Clock::WALL_MS,
            mtu: 1500,
            delivers: false,
            maybe_partial: true,
            neighbours_answer: true,
            liars: false,
            spread: SpreadFacts::default(),
        }
    }
}

/// Makes the directors of a world.
pub(super) fn directors(
    setup: &Setup,
    snapshot: &Arc<Snapshot>,
    around: &Neighbourhood,
    clock: &Clock,
) -> Result<Vec<Director>> {
    let mut random = Random::new(setup.seed);
    let flow_secret = random.key();
    let ports: Vec<PortFacts> = around
        .links()
        .iter()
        .map(|link| PortFacts {
            id: link.port,
            mac: link.mac,
            mtu: setup.mtu,
            delivers: setup.delivers,
        })
        .collect();
    (0..setup.workers)
        .map(|id| {
            let facts = WorkerFacts {
                id: WorkerId(id),
                workers: setup.workers,
                sessions: setup.sessions,
                flow_secret,
                seed: random.key(),
                ports: ports.clone(),
            };
            let (spread, snapshot) = (setup.spread.clone(), Arc::clone(snapshot));
            Director::spread(facts, spread, snapshot, clock.now(), &|_| {})
                .ok()
                .context("no memory for a director's tables")
        })
        .collect()
}

pub(super) fn owned(snapshot: &Snapshot) -> BTreeSet<Ipv4Addr> {
    snapshot
        .owned_addresses()
        .into_iter()
        .filter_map(|it| match it {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
        .collect()
}
