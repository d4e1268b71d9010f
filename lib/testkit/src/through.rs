//! A world in the middle of a transfer: the client on one port, the real server on another.

use anyhow::{Context, Result};
use weir_model::{PortId, Time};
use weir_wire::{Parsed, V4};

use crate::{Middle, Random, Side, World};

/// Directors between two end points. Each frame arrives at a random worker, as on a device that
/// moves flows between its queues.
pub struct Through {
    world: World,
    client: PortId,
    server: PortId,
    random: Random,
    workers: u64,
    first_seq: [Option<u32>; 2],
}

impl Through {
    /// Puts a world in the middle; its first port leads to the client, its last to the server.
    ///
    /// # Errors
    ///
    /// When the world has no port.
    pub fn new(world: World, seed: u64) -> Result<Self> {
        let links = world.around().links();
        let client = links.first().context("the world has no port")?.port;
        let server = links.last().context("the world has no port")?.port;
        let workers = world.directors().len() as u64;
        Ok(Self {
            world,
            client,
            server,
            random: Random::new(seed),
            workers,
            first_seq: [None; 2],
        })
    }

    /// Returns the sequence number of the first segment that left to a side.
    #[must_use]
    pub const fn first_seq(&self, to: Side) -> Option<u32> {
        self.first_seq[to as usize]
    }

    /// Returns the world.
    #[must_use]
    pub const fn world(&self) -> &World {
        &self.world
    }

    /// Returns the world for what comes after the transfer.
    pub const fn world_mut(&mut self) -> &mut World {
        &mut self.world
    }
}

impl Middle for Through {
    fn receive(&mut self, now: Time, from: Side, frame: &[u8]) -> Result<()> {
        self.world.advance_to(now)?;
        let port = match from {
            Side::Client => self.client,
            Side::Server => self.server,
        };
        let worker = self.random.below(self.workers) as u8;
        self.world.inject(worker, port, frame)?;
        Ok(())
    }

    fn advance(&mut self, now: Time) -> Result<()> {
        self.world.advance_to(now)
    }

    fn transmitted(&mut self) -> Option<(Side, Vec<u8>)> {
        let emitted = self.world.take_emitted()?;
        let to = if emitted.port == self.client {
            Side::Client
        } else {
            Side::Server
        };
        let first = &mut self.first_seq[to as usize];
        if first.is_none()
            && let Ok(parsed) = Parsed::parse(&emitted.frame)
            && let Some(tcp) = parsed.v4().and_then(V4::tcp)
        {
            *first = Some(tcp.seq.0);
        }
        Some((to, emitted.frame))
    }

    fn wake_at(&self) -> Option<Time> {
        Some(self.world.wake_at())
    }
}
