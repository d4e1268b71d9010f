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
    /// A plain frame of TCP or UDP to an address of ours, which is for this.
    Plain(Owned),
    /// Anything else: it is looked at when its turn comes.
    Other,
}

/// All that the first passes found out about a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Its place in the burst.
    pub(crate) at: usize,
    pub(crate) lookup: Lookup,
    /// The words of its key, where it is a plain packet.
    pub(crate) words: [u64; 2],
    pub(crate) hash: FlowHash,
    pub(crate) probe: Probe,
}

/// What the passes find out about a burst.
#[derive(Debug)]
pub(crate) struct Burst {
    lookups: [Lookup; LOOKUPS],
    words: [[Lanes; 2]; GROUPS],
    hashes: [Lanes; GROUPS],
    probes: [Probe; LOOKUPS],
    /// Those that go to a VIP and belong to no session, as bits.
    strangers: u64,
    asked: [Asked; LOOKUPS],
    pub(crate) questions: Questions,
}

const _: () = assert!(LOOKUPS <= u64::BITS as usize, "a bit for each packet");

impl Burst {
    /// Makes an empty one.
    pub(crate) fn boxed() -> Box<Self> {
        Box::new(Self {
            lookups: [Lookup::Other; LOOKUPS],
            words: [[[0; LANES]; 2]; GROUPS],
            hashes: [[0; LANES]; GROUPS],
            probes: [Probe::default(); LOOKUPS],
            strangers: 0,
            asked: [Asked::default(); LOOKUPS],
            questions: Questions::NONE,
        })
    }

    /// Forgets the burst before.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.strangers = 0;
    }

    /// Keeps what was found of the packet at `at`, and its key's [words](FlowKey::words) where it
    /// is a plain one.
    #[inline]
    pub(crate) fn put(&mut self, at: usize, lookup: Lookup, [address, port]: [u64; 2]) {
        if let Some(place) = self.lookups.get_mut(at) {
            *place = lookup;
        }
        if let Some([addresses, ports]) = self.words.get_mut(at / LANES)
            && let (Some(addresses), Some(ports)) =
                (addresses.get_mut(at % LANES), ports.get_mut(at % LANES))
        {
            *addresses = address;
            *ports = port;
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
        for (at, ((lookup, &hash), probe)) in self
            .lookups
            .iter()
            .zip(hashes)
            .zip(&mut self.probes)
            .take(count)
            .enumerate()
        {
            if let Lookup::Plain(to) = lookup {
                *probe = table.probe(FlowHash(hash));
                let stranger = *to == Owned::Vip && probe.is_absent();
                self.strangers |= u64::from(stranger) << at;
            }
        }
    }

    /// Says whether any packet goes to a VIP and belongs to no session.
    #[inline]
    pub(crate) const fn has_strangers(&self) -> bool {
        self.strangers != 0
    }

    /// Returns the key of the packet at `at`, if it goes to a VIP and belongs to no session.
    #[inline]
    pub(crate) fn stranger(&self, at: usize) -> Option<FlowKey> {
        if !self.is_stranger(at) {
            return None;
        }
        Some(FlowKey::from_words(self.words(at)?))
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
        let asked = self.asked.get(at).filter(|_| self.is_stranger(at));
        asked.map_or_else(Asked::default, |asked| Asked {
            cookie: asked.cookie.answered(&self.questions),
            ..*asked
        })
    }

    /// Returns what was found of the packet at `at`.
    #[inline]
    pub(crate) fn get(&self, at: usize) -> Option<Seen> {
        Some(Seen {
            at,
            lookup: *self.lookups.get(at)?,
            words: self.words(at)?,
            hash: FlowHash(*self.hashes.as_flattened().get(at)?),
            probe: *self.probes.get(at)?,
        })
    }

    #[inline]
    const fn is_stranger(&self, at: usize) -> bool {
        at < LOOKUPS && self.strangers >> at & 1 != 0
    }

    #[inline]
    fn words(&self, at: usize) -> Option<[u64; 2]> {
        let [addresses, ports] = self.words.get(at / LANES)?;
        Some([*addresses.get(at % LANES)?, *ports.get(at % LANES)?])
    }
}
