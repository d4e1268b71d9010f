//! The stage of one table size: Weir's director and the limits with the same sessions in each, and
//! bursts of the same frames for both.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weir_model::{DropReason, PortId, Verdict};
use weir_testkit::Random;
use weir_wire::{TcpFlags, verify_frame};

use crate::arena::{Arena, BURST, Packets};
use crate::flows::{Flows, client};
use crate::frames::{From, Segment, Variant, make_segment};
use crate::limit::{self, Entry, Side, Sip, Table, Way};
use crate::rig::{
    LAN, LAN_MAC, PLAIN, ROUTER_MAC, Rig, SHIELDED, VIP, WAN, WAN_MAC, real, real_mac,
};

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
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// Weir's whole walk.
    Weir,
    /// The least that the work takes.
    Limit,
}

impl Traffic {
    pub(crate) const ALL: [Self; 6] = [
        Self::Inbound,
        Self::Outbound,
        Self::Syn,
        Self::BareSyn,
        Self::BadCookie,
        Self::Miss,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Inbound => "established-in",
            Self::Outbound => "established-out",
            Self::Syn => "cookie",
            Self::BareSyn => "cookie-bare",
            Self::BadCookie => "bad-cookie",
            Self::Miss => "miss",
        }
    }

    /// The ratio to the limit that is to be kept.
    pub(crate) const fn bound(self) -> f64 {
        match self {
            Self::Inbound | Self::Outbound | Self::Syn | Self::BareSyn => 1.5,
            Self::BadCookie | Self::Miss => 1.2,
        }
    }

    const fn port(self) -> PortId {
        match self {
            Self::Outbound => LAN,
            Self::Inbound | Self::Syn | Self::BareSyn | Self::BadCookie | Self::Miss => WAN,
        }
    }

    fn expects(self, runner: Runner, verdict: Verdict) -> bool {
        match (self, runner) {
            (Self::Inbound, _) => verdict == Verdict::Forward(LAN),
            (Self::Outbound, _) => verdict == Verdict::Forward(WAN),
            (Self::Syn | Self::BareSyn, _) => verdict == Verdict::Reply,
            (Self::BadCookie, Runner::Weir) => verdict == Verdict::Drop(DropReason::BadCookie),
            (Self::Miss, _) | (Self::BadCookie, Runner::Limit) => {
                verdict == Verdict::Drop(DropReason::NoSession)
            }
        }
    }
}

/// Everything that is measured with one number of sessions.
pub(crate) struct Stage {
    pub(crate) rig: Rig,
    pub(crate) arena: Arena,
    random: Random,
    flows: Flows,
    table: Table,
    ways: [Way; 2],
    cookies: Sip,
    syn: Segment,
    bare_syn: Segment,
    ack: Segment,
}

impl Stage {
    /// Opens so many sessions in a table that has room for no more.
    pub(crate) fn new(sessions: u32) -> Result<Self> {
        let mut rig = Rig::new(sessions, 0, 1)?;
        let mut arena = Arena::new();
        let mut flows = Flows::new();
        flows.open(&mut rig, &mut arena, sessions)?;
        let mut random = Random::new(2);
        let mut sip = || Sip::new(random.next(), random.next());
        let (cookies, mut table) = (sip(), Table::new(sessions as usize, sip()));
        for (number, flow) in flows.all().iter().enumerate() {
            let inbound = Side::new(client(number as u32), (VIP, PLAIN));
            let outbound = Side::new((real(flow.real), PLAIN), flow.lip);
            table.insert(Entry::new(inbound, outbound, flow.shift()));
        }
        let way = |port, src, dst| Way { port, src, dst };
        let mut stage = Self {
            rig,
            arena,
            random,
            flows,
            table,
            ways: [
                way(LAN, LAN_MAC, real_mac(0)),
                way(WAN, WAN_MAC, ROUTER_MAC),
            ],
            cookies,
            syn: Segment::opening(From::Client, TcpFlags::SYN),
            bare_syn: Segment::bare(From::Client, TcpFlags::SYN),
            ack: Segment::later(From::Client, TcpFlags::ACK, 0),
        };
        for traffic in Traffic::ALL {
            for runner in [Runner::Weir, Runner::Limit] {
                stage
                    .check(traffic, runner)
                    .with_context(|| format!("{} of {runner:?}", traffic.name()))?;
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
            ensure!(
                traffic.expects(runner, verdict),
                "{}: {verdict:?}",
                traffic.name()
            );
        }
        drop(packets);
        // As long as a burst takes at 10 million packets a second.
        self.rig.pass(Duration::from_micros(6));
        Ok(took)
    }

    /// Walks one burst and verifies all that leaves.
    fn check(&mut self, traffic: Traffic, runner: Runner) -> Result<()> {
        self.fill(traffic)?;
        let before: Vec<Variant> = {
            let packets = self.arena.packets(traffic.port());
            let read = packets
                .iter()
                .map(|packet| crate::frames::read(packet.frame.bytes()));
            read.collect::<Result<_>>()?
        };
        let (_, packets) = self.run(traffic, runner);
        for (packet, before) in packets.iter().zip(before) {
            let verdict = packet.verdict;
            ensure!(traffic.expects(runner, verdict), "{verdict:?}");
            if matches!(verdict, Verdict::Drop(_)) {
                continue;
            }
            let frame = packet.frame.bytes();
            verify_frame(frame)?;
            let after = crate::frames::read(frame)?;
            ensure!(traffic.maps(&before, &after), "{before:?} became {after:?}");
        }
        Ok(())
    }

    fn run(&mut self, traffic: Traffic, runner: Runner) -> (Duration, Packets<'_>) {
        let mut packets = self.arena.packets(traffic.port());
        let took = match runner {
            Runner::Weir => self.rig.walk(&mut packets),
            Runner::Limit => {
                let start = Instant::now();
                match traffic {
                    Traffic::Inbound | Traffic::Outbound => {
                        limit::forward(&self.table, &self.ways, &mut packets);
                    }
                    Traffic::Syn | Traffic::BareSyn => {
                        limit::reply(self.cookies, 7, &mut packets);
                    }
                    Traffic::BadCookie | Traffic::Miss => {
                        limit::drop_misses(&self.table, &mut packets);
                    }
                }
                start.elapsed()
            }
        };
        (took, packets)
    }

    fn fill(&mut self, traffic: Traffic) -> Result<()> {
        self.arena.clear();
        for _ in 0..BURST {
            let (template, port) = match traffic {
                Traffic::Inbound | Traffic::Outbound => {
                    let from_client = traffic == Traffic::Inbound;
                    self.flows
                        .add_data(&mut self.arena, &mut self.random, from_client)?;
                    continue;
                }
                Traffic::Syn => (&self.syn, SHIELDED),
                Traffic::BareSyn => (&self.bare_syn, SHIELDED),
                Traffic::BadCookie => (&self.ack, SHIELDED),
                Traffic::Miss => (&self.ack, PLAIN),
            };
            let source = self.random.next();
            // Any unicast address above those of the sessions' clients, up to 127/8.
            let address = 0x0c00_0000 + self.random.below(0x7000_0000) as u32;
            let variant = Variant {
                src: (address.into(), source as u16 | 1),
                dst: (VIP, port),
                seq: (source >> 16) as u32,
                ack: if template.is_syn() {
                    0
                } else {
                    (source >> 32) as u32
                },
            };
            make_segment(self.arena.add(template.bytes())?, &variant, 9)?;
        }
        Ok(())
    }
}

impl Traffic {
    /// Says whether a packet became what it should.
    fn maps(self, before: &Variant, after: &Variant) -> bool {
        match self {
            Self::Inbound => after.dst.1 == PLAIN && after.ack == before.ack,
            Self::Outbound => {
                after.src == (VIP, PLAIN) && after.dst.1 >= 10_000 && after.seq == before.seq
            }
            Self::Syn | Self::BareSyn => {
                let swapped = after.src == before.dst && after.dst == before.src;
                swapped && after.ack == before.seq.wrapping_add(1)
            }
            Self::BadCookie | Self::Miss => false,
        }
    }
}
