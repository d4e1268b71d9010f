//! Where the nanoseconds go: what a burst of established traffic costs up to each stage of the walk,
//! built of the same parts that the director is built of.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use nat_engine::{
    Direction, FlowHash, FlowHasher, FlowKey, Probe, Session, SessionId, SessionTable, State,
    SteadyOptions, pass_steady,
};
use netmap_io::huge_pages;
use weir_director::Packet;
use weir_rig::{VIP, real};
use weir_simd::{LANES, Lanes};
use weir_testkit::Random;
use weir_wire::{Protocol, SeqDelta, V4, verify_frame};

use crate::arena::{Arena, BURST, Packets};
use crate::connection::{Connection, Side};
use crate::flows::Flows;
use crate::frames::Templates;

const GROUPS: usize = BURST / LANES;

/// How far a burst comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Depth {
    /// Each frame is taken apart.
    Parse,
    /// Its key is hashed, eight at a time.
    Hash,
    /// The bucket is fetched and looked through.
    Index,
    /// The session is fetched and compared.
    Session,
    /// The frame is tracked and rewritten.
    Rewrite,
}

impl Depth {
    pub(crate) const ALL: [Self; 5] = [
        Self::Parse,
        Self::Hash,
        Self::Index,
        Self::Session,
        Self::Rewrite,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Parse => "parse",
            Self::Hash => "+ hash",
            Self::Index => "+ index",
            Self::Session => "+ session",
            Self::Rewrite => "+ rewrite",
        }
    }
}

/// The engines' parts, without the director.
pub(crate) struct Parts {
    table: SessionTable,
    arena: Arena,
}

impl Parts {
    /// Fills a table with the sessions that a director has.
    pub(crate) fn new(flows: &Flows) -> Result<Self> {
        let prepare = |memory| huge_pages::prefer(&memory);
        let hasher = FlowHasher::new([7; 16]);
        let table = SessionTable::prepared(flows.all.len() as u32, hasher, &prepare);
        let mut table = table.map_err(|_| anyhow!("no memory for {} sessions", flows.all.len()))?;
        for flow in &flows.all {
            let inserted = table.insert(session(flow));
            inserted.map_err(|error| anyhow!("a session was not inserted: {error:?}"))?;
        }
        Ok(Self {
            table,
            arena: Arena::new(),
        })
    }

    /// Lets a burst of random connections come so far, and returns how long that took.
    pub(crate) fn burst(
        &mut self,
        flows: &mut Flows,
        templates: &Templates,
        random: &mut Random,
        side: Side,
        depth: Depth,
    ) -> Result<Duration> {
        self.arena.clear();
        for _ in 0..BURST {
            flows.add_data(&mut self.arena, templates, random, side)?;
        }
        let mut packets = self.arena.packets();
        let start = Instant::now();
        let done = walk(&mut self.table, &mut packets, depth);
        let took = start.elapsed();
        ensure!(done == BURST, "{depth:?}: {done} of {BURST} packets");
        Ok(took)
    }

    /// Verifies what leaves after the last stage.
    pub(crate) fn check(
        &mut self,
        flows: &mut Flows,
        templates: &Templates,
        random: &mut Random,
    ) -> Result<()> {
        for side in [Side::Client, Side::Real] {
            self.burst(flows, templates, random, side, Depth::Rewrite)?;
            for packet in &self.arena.packets() {
                verify_frame(packet.frame.bytes())?;
            }
        }
        Ok(())
    }
}

/// Walks a burst so far and returns how many packets came there.
#[inline(never)]
fn walk(table: &mut SessionTable, packets: &mut Packets<'_>, depth: Depth) -> usize {
    let mut words: [[Lanes; 2]; GROUPS] = [[[0; LANES]; 2]; GROUPS];
    let mut keys = [None; BURST];
    for (at, (packet, key)) in packets.iter().zip(&mut keys).enumerate() {
        *key = key_of(packet);
        if depth > Depth::Parse
            && let Some(key) = key
        {
            let [addresses, ports] = key.words();
            words[at / LANES][0][at % LANES] = addresses;
            words[at / LANES][1][at % LANES] = ports;
        }
    }
    if depth == Depth::Parse {
        return black_box(&keys).iter().flatten().count();
    }
    let mut hashes: [Lanes; GROUPS] = [[0; LANES]; GROUPS];
    for (words, hashes) in words.iter().zip(&mut hashes) {
        *hashes = table.hash_lanes(words);
        if depth > Depth::Hash {
            for hash in hashes {
                table.prefetch(FlowHash(*hash));
            }
        }
    }
    let hashes = hashes.as_flattened();
    if depth == Depth::Hash {
        return black_box(hashes).len();
    }
    let mut probes = [Probe::default(); BURST];
    for (hash, probe) in hashes.iter().zip(&mut probes) {
        *probe = table.probe(FlowHash(*hash));
    }
    if depth == Depth::Index {
        return black_box(&probes).len();
    }
    let mut done = 0;
    for (at, packet) in packets.iter_mut().enumerate() {
        let Some(key) = keys[at] else { continue };
        let found = table.find_probed(probes[at], FlowHash(hashes[at]), key.words());
        let Some((id, direction)) = black_box(found) else {
            continue;
        };
        if depth == Depth::Session || rewrite(table, packet, id, direction).is_some() {
            done += 1;
        }
    }
    done
}

#[inline]
fn key_of(packet: &Packet<'_>) -> Option<FlowKey> {
    let v4 = V4::plain(packet.frame.bytes())?;
    let (src_port, dst_port) = v4.ports()?;
    Some(FlowKey {
        src: v4.src,
        dst: v4.dst,
        src_port,
        dst_port,
        protocol: v4.protocol,
    })
}

#[inline]
fn rewrite(
    table: &mut SessionTable,
    packet: &mut Packet<'_>,
    id: SessionId,
    direction: Direction,
) -> Option<()> {
    let v4 = V4::plain_again(packet.frame.bytes())?;
    let tcp = v4.tcp()?;
    let options = SteadyOptions::of(packet.frame.bytes(), tcp)?;
    let session = table.get_mut(id)?;
    if !session.is_regular(tcp) {
        return None;
    }
    pass_steady(packet.frame.bytes_mut(), tcp, options, session, direction)
}

/// Returns the session of an established connection.
fn session(flow: &Connection) -> Session {
    let protocol = Protocol::TCP;
    let inbound = FlowKey {
        src: flow.client.0,
        dst: VIP,
        src_port: flow.client.1,
        dst_port: flow.service,
        protocol,
    };
    let outbound = FlowKey {
        src: real(flow.real),
        dst: flow.lip.0,
        src_port: flow.service,
        dst_port: flow.lip.1,
        protocol,
    };
    let mut session = Session::new(inbound, outbound);
    session.state = State::Established;
    session.inbound_seq = SeqDelta(flow.shift());
    session
}
