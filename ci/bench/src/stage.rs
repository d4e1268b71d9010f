//! The stage of one table size: Weir's director and the limits with the same sessions in each, and
//! bursts of the same frames for both.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weir_model::{DropReason, Verdict};
use weir_rig::{LAN, LAN_MAC, PLAIN, ROUTER_MAC, SHIELDED, VIP, WAN, WAN_MAC, real, real_mac};
use weir_testkit::Random;
use weir_wire::{Protocol, verify_frame};

use crate::arena::{Arena, BURST, Packets};
use crate::connection::Side;
use crate::flows::{Flows, Transport};
use crate::frames::{Kind, Sender, Templates, Variant, make, read};
use crate::limit::{self, End, Entry, Sip, Table, Way};
use crate::rig::Rig;
use crate::stages::{Depth, Parts};

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Traffic {
    /// Data of clients on established connections.
    Inbound,
    /// Data of real servers on established connections.
    Outbound,
    /// SYNs of random sources as Linux makes them, each answered by a cookie.
    Syn,
    /// SYNs of random sources without options.
    BareSyn,
    /// ACKs of random sources to the service that answers by cookies.
    BadCookie,
    /// ACKs of random sources to the service that does not.
    Miss,
    /// Datagrams of clients that were answered before.
    UdpInbound,
    /// Answers to them.
    UdpOutbound,
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// Weir's whole walk.
    Weir,
    /// The least that the work takes.
    Limit,
    /// The least that it takes with state: when a session was seen last, and how far it has come.
    Stateful,
}

impl Traffic {
    pub(crate) const ALL: [Self; 8] = [
        Self::Inbound,
        Self::Outbound,
        Self::Syn,
        Self::BareSyn,
        Self::BadCookie,
        Self::Miss,
        Self::UdpInbound,
        Self::UdpOutbound,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "established-in",
            Self::Outbound => "established-out",
            Self::Syn => "cookie",
            Self::BareSyn => "cookie-bare",
            Self::BadCookie => "bad-cookie",
            Self::Miss => "miss",
            Self::UdpInbound => "udp-in",
            Self::UdpOutbound => "udp-out",
        }
    }

    /// The ratio to the limit that is to be kept.
    pub(crate) const fn bound(self) -> f64 {
        match self {
            Self::BadCookie | Self::Miss => 1.2,
            Self::Inbound
            | Self::Outbound
            | Self::UdpInbound
            | Self::UdpOutbound
            | Self::Syn
            | Self::BareSyn => 1.5,
        }
    }

    /// What the sessions are made of in whose presence it is sent.
    pub(crate) const fn transport(self) -> Transport {
        match self {
            Self::UdpInbound | Self::UdpOutbound => Transport::Udp,
            Self::Inbound
            | Self::Outbound
            | Self::Syn
            | Self::BareSyn
            | Self::BadCookie
            | Self::Miss => Transport::Tcp,
        }
    }

    fn expects(self, runner: Runner, verdict: Verdict) -> bool {
        match (self, runner) {
            (Self::Inbound | Self::UdpInbound, _) => verdict == Verdict::Forward(LAN),
            (Self::Outbound | Self::UdpOutbound, _) => verdict == Verdict::Forward(WAN),
            (Self::Syn | Self::BareSyn, _) => verdict == Verdict::Reply,
            (Self::BadCookie, Runner::Weir) => verdict == Verdict::Drop(DropReason::BadCookie),
            (Self::Miss, _) | (Self::BadCookie, Runner::Limit | Runner::Stateful) => {
                verdict == Verdict::Drop(DropReason::NoSession)
            }
        }
    }

    /// Says whether a packet became what it should.
    fn maps(self, before: &Variant, after: &Variant) -> bool {
        match self {
            Self::Inbound => after.dst.1 == before.dst.1 && after.ack == before.ack,
            Self::Outbound => after.src == (VIP, before.src.1) && after.seq == before.seq,
            Self::UdpInbound => after.dst.1 == before.dst.1,
            Self::UdpOutbound => after.src == (VIP, before.src.1),
            Self::Syn | Self::BareSyn => {
                let swapped = after.src == before.dst && after.dst == before.src;
                swapped && after.ack == before.seq.wrapping_add(1)
            }
            Self::BadCookie | Self::Miss => false,
        }
    }
}

/// Everything that is measured with one number of sessions.
pub(crate) struct Stage {
    pub(crate) rig: Rig,
    arena: Arena,
    templates: Templates,
    random: Random,
    flows: Flows,
    table: Table,
    ways: [Way; 2],
    cookies: Sip,
}

impl Stage {
    /// Opens so many sessions in a table that has room for no more.
    pub(crate) fn new(sessions: u32, transport: Transport) -> Result<Self> {
        Self::of_worker(sessions, transport, 0, 1)
    }

    /// Does so for one of several workers.
    pub(crate) fn of_worker(
        sessions: u32,
        transport: Transport,
        id: u8,
        workers: u8,
    ) -> Result<Self> {
        let mut rig = Rig::new(sessions, id, workers)?;
        let (mut arena, templates) = (Arena::new(), Templates::new());
        let mut flows = Flows::new(transport);
        flows.open(&mut rig, &mut arena, &templates, sessions)?;
        let mut random = Random::new(2 + u64::from(id));
        let mut sip = || Sip::new(random.next(), random.next());
        let (cookies, mut table) = (sip(), Table::new(sessions as usize, sip()));
        let protocol = match transport {
            Transport::Tcp => Protocol::TCP,
            Transport::Udp => Protocol::UDP,
        };
        for flow in &flows.all {
            let inbound = End::new(flow.client, (VIP, flow.service));
            let outbound = End::new((real(flow.real), flow.service), flow.lip);
            table.insert(Entry::new(inbound, outbound, flow.shift(), protocol));
        }
        let way = |port, src, dst| Way { port, src, dst };
        let mut stage = Self {
            rig,
            arena,
            templates,
            random,
            flows,
            table,
            ways: [
                way(LAN, LAN_MAC, real_mac(0)),
                way(WAN, WAN_MAC, ROUTER_MAC),
            ],
            cookies,
        };
        for traffic in Traffic::ALL {
            if traffic.transport() != transport {
                continue;
            }
            for runner in [Runner::Weir, Runner::Limit, Runner::Stateful] {
                let checked = stage.check(traffic, runner);
                checked.with_context(|| format!("{} of {runner:?}", traffic.name()))?;
            }
        }
        Ok(stage)
    }

    /// Fills a burst, lets it be walked, and returns how long the walk alone took.
    pub(crate) fn burst(&mut self, traffic: Traffic, runner: Runner) -> Result<Duration> {
        self.fill(traffic)?;
        let (took, packets) = self.run(traffic, runner);
        for packet in &packets {
            let verdict = packet.verdict;
            let name = traffic.name();
            ensure!(traffic.expects(runner, verdict), "{name}: {verdict:?}");
        }
        drop(packets);
        // As long as a burst takes at 10 million packets a second.
        self.rig.pass(Duration::from_micros(6));
        Ok(took)
    }

    /// Fills a burst of established traffic, lets it come so far in a copy of the sessions, and
    /// returns how long that took.
    pub(crate) fn partial(
        &mut self,
        parts: &mut Parts,
        side: Side,
        depth: Depth,
    ) -> Result<Duration> {
        let Self {
            flows,
            templates,
            random,
            ..
        } = self;
        parts.burst(flows, templates, random, side, depth)
    }

    /// Makes the copy of the sessions that [`partial`](Self::partial) wants.
    pub(crate) fn parts(&mut self) -> Result<Parts> {
        let mut parts = Parts::new(&self.flows)?;
        parts.check(&mut self.flows, &self.templates, &mut self.random)?;
        Ok(parts)
    }

    /// Walks one burst and verifies all that leaves.
    fn check(&mut self, traffic: Traffic, runner: Runner) -> Result<()> {
        self.fill(traffic)?;
        let packets = self.arena.packets();
        let before = packets.iter().map(|packet| read(packet.frame.bytes()));
        let before: Vec<Variant> = before.collect::<Result<_>>()?;
        drop(packets);
        let (_, packets) = self.run(traffic, runner);
        for (packet, before) in packets.iter().zip(before) {
            let verdict = packet.verdict;
            ensure!(traffic.expects(runner, verdict), "{verdict:?}");
            if matches!(verdict, Verdict::Drop(_)) {
                continue;
            }
            let frame = packet.frame.bytes();
            verify_frame(frame)?;
            let after = read(frame)?;
            ensure!(traffic.maps(&before, &after), "{before:?} became {after:?}");
        }
        Ok(())
    }

    fn run(&mut self, traffic: Traffic, runner: Runner) -> (Duration, Packets<'_>) {
        let mut packets = self.arena.packets();
        let took = match runner {
            Runner::Weir => self.rig.walk(&mut packets),
            Runner::Limit | Runner::Stateful => {
                let now = self.rig.now.time.as_millis() as u32;
                let (table, ways) = (&mut self.table, &self.ways);
                let start = Instant::now();
                match traffic {
                    Traffic::Inbound
                    | Traffic::Outbound
                    | Traffic::UdpInbound
                    | Traffic::UdpOutbound => {
                        if runner == Runner::Stateful {
                            limit::forward::<true>(table, ways, &mut packets, now);
                        } else {
                            limit::forward::<false>(table, ways, &mut packets, now);
                        }
                    }
                    Traffic::Syn | Traffic::BareSyn => {
                        limit::reply(self.cookies, 7, &mut packets);
                    }
                    Traffic::BadCookie | Traffic::Miss => {
                        limit::drop_misses(table, &mut packets);
                    }
                }
                start.elapsed()
            }
        };
        (took, packets)
    }

    fn fill(&mut self, traffic: Traffic) -> Result<()> {
        self.arena.clear();
        let (side, stranger) = match traffic {
            Traffic::Inbound | Traffic::UdpInbound => (Side::Client, None),
            Traffic::Outbound | Traffic::UdpOutbound => (Side::Real, None),
            Traffic::Syn => (Side::Client, Some((Kind::Syn, SHIELDED))),
            Traffic::BareSyn => (Side::Client, Some((Kind::BareSyn, SHIELDED))),
            Traffic::BadCookie => (Side::Client, Some((Kind::Ack, SHIELDED))),
            Traffic::Miss => (Side::Client, Some((Kind::Ack, PLAIN))),
        };
        for _ in 0..BURST {
            if let Some((kind, port)) = stranger {
                self.add_stranger(kind, port)?;
                continue;
            }
            let (arena, random) = (&mut self.arena, &mut self.random);
            self.flows.add_data(arena, &self.templates, random, side)?;
        }
        Ok(())
    }

    /// Adds a packet of somebody who has no session.
    fn add_stranger(&mut self, kind: Kind, port: u16) -> Result<()> {
        let frame = self.templates.get(Sender::Client, kind)?;
        let frame = self.arena.add(WAN, frame)?;
        loop {
            let word = self.random.next();
            // Any unicast address above those of the sessions' clients, up to 127/8.
            let address = 0x0c00_0000 + self.random.below(0x7000_0000) as u32;
            let src = (address.into(), word as u16 | 1);
            if !self.rig.owns(src, port, Protocol::TCP) {
                continue;
            }
            let variant = Variant {
                src,
                dst: (VIP, port),
                seq: (word >> 16) as u32,
                ack: if kind == Kind::Ack {
                    (word >> 32) as u32
                } else {
                    0
                },
            };
            return make(frame, &variant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weir_and_the_limits_send_what_they_should_on_every_walk() {
        for transport in [Transport::Tcp, Transport::Udp] {
            // Each walk of each runner is checked before anything is measured.
            let mut stage = Stage::new(300, transport).unwrap();
            for traffic in Traffic::ALL {
                if traffic.transport() == transport {
                    stage.burst(traffic, Runner::Weir).unwrap();
                    stage.burst(traffic, Runner::Limit).unwrap();
                }
            }
        }
    }

    #[test]
    fn the_parts_alone_rewrite_as_they_should() {
        let mut stage = Stage::new(300, Transport::Tcp).unwrap();
        let mut parts = stage.parts().unwrap();
        for depth in Depth::ALL {
            stage.partial(&mut parts, Side::Client, depth).unwrap();
        }
    }

    #[test]
    fn a_worker_of_two_gets_only_what_is_its_own() {
        for id in 0..2 {
            let mut stage = Stage::of_worker(100, Transport::Tcp, id, 2).unwrap();
            stage.burst(Traffic::Miss, Runner::Weir).unwrap();
        }
    }
}
