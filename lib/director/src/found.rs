//! What the passes over a burst find out about a packet before it is walked.

use alloc::boxed::Box;

use nat_engine::{FlowHash, FlowKey, Probe, SessionTable};
use weir_model::{DropReason, ServiceId};
use weir_simd::{LANES, Lanes};
use weir_wire::V4;

use crate::asked::{Asked, Questions};
use crate::plan::Owned;

/// Packets that are looked up together, so that their memory arrives together.
pub(crate) const LOOKUPS: usize = 64;

const GROUPS: usize = LOOKUPS / LANES;

/// What a packet of TCP or UDP to one of our addresses is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    /// Offset of the IPv4 header.
    pub(crate) l3: u16,
    pub(crate) v4: V4,
    pub(crate) key: FlowKey,
    pub(crate) to: Owned,
    /// The service that it goes to, where that was looked up already.
    pub(crate) service: Option<ServiceId>,
}

/// What the first pass over a burst says of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lookup {
    /// Not for an address of ours: the host's, if the driver has a way to it.
    Host,
    /// To be dropped.
    Drop(DropReason),
    /// A plain frame of TCP or UDP to an address of ours.
    Plain {
        /// Its key.
        key: FlowKey,
        /// What the address is for.
        to: Owned,
    },
    /// Anything else: it is looked at when its turn comes.
    Other,
}

/// What the passes find out about a burst.
#[derive(Debug)]
pub(crate) struct Burst {
    lookups: [Lookup; LOOKUPS],
    words: [[Lanes; 2]; GROUPS],
    hashes: [Lanes; GROUPS],
    probes: [Probe; LOOKUPS],
    asked: [Asked; LOOKUPS],
    pub(crate) questions: Questions,
}

impl Burst {
    /// Makes an empty one.
    pub(crate) fn boxed() -> Box<Self> {
        Box::new(Self {
            lookups: [Lookup::Other; LOOKUPS],
            words: [[[0; LANES]; 2]; GROUPS],
            hashes: [[0; LANES]; GROUPS],
            probes: [Probe::default(); LOOKUPS],
            asked: [Asked::default(); LOOKUPS],
            questions: Questions::NONE,
        })
    }

    /// Keeps what was found of the packet at `at`.
    #[inline]
    pub(crate) fn put(&mut self, at: usize, lookup: Lookup) {
        if let Some(place) = self.lookups.get_mut(at) {
            *place = lookup;
        }
        if let Lookup::Plain { key, .. } = lookup
            && let Some([addresses, ports]) = self.words.get_mut(at / LANES)
            && let (Some(address), Some(port)) =
                (addresses.get_mut(at % LANES), ports.get_mut(at % LANES))
        {
            [*address, *port] = key.words();
        }
    }

    /// Hashes the keys of the first `count` packets and asks for all that their sessions are found
    /// by: first the buckets, then the sessions that those name.
    #[inline]
    pub(crate) fn prefetch(&mut self, table: &SessionTable, count: usize) {
        let groups = self.words.iter().zip(&mut self.hashes);
        for (words, hashes) in groups.take(count.div_ceil(LANES)) {
            *hashes = table.hash_lanes(words);
            for &hash in &*hashes {
                // What stands in a lane that no packet has asks for a bucket in vain.
                table.prefetch(FlowHash(hash));
            }
        }
        let hashes = self.hashes.as_flattened();
        for ((lookup, &hash), probe) in self
            .lookups
            .iter()
            .zip(hashes)
            .zip(&mut self.probes)
            .take(count)
        {
            if let Lookup::Plain { .. } = lookup {
                *probe = table.probe(FlowHash(hash));
            }
        }
    }

    /// Returns the key of the packet at `at`, if it goes to a VIP and belongs to no session.
    #[inline]
    pub(crate) fn stranger(&self, at: usize) -> Option<FlowKey> {
        match (self.lookups.get(at)?, self.probes.get(at)?) {
            (
                Lookup::Plain {
                    key,
                    to: Owned::Vip,
                },
                probe,
            ) if probe.is_absent() => Some(*key),
            _ => None,
        }
    }

    /// Keeps what was worked out about a stranger.
    #[inline]
    pub(crate) fn put_asked(&mut self, at: usize, asked: Asked) {
        if let Some(place) = self.asked.get_mut(at) {
            *place = asked;
        }
    }

    /// Returns what was worked out about the packet at `at`, if it was a stranger.
    #[inline]
    pub(crate) fn asked(&self, at: usize) -> Asked {
        let asked = self.asked.get(at).filter(|_| self.stranger(at).is_some());
        asked.map_or_else(Asked::default, |asked| Asked {
            service: asked.service,
            cookie: asked.cookie.answered(&self.questions),
        })
    }

    /// Returns what was found of the packet at `at`.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<(&Lookup, FlowHash, Probe)> {
        let hash = self.hashes.as_flattened().get(at)?;
        Some((
            self.lookups.get(at)?,
            FlowHash(*hash),
            *self.probes.get(at)?,
        ))
    }
}
