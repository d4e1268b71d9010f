//! Follows what each host has said and holds everything that Weir sends it against that.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use anyhow::{Context, Result, ensure};
use weir_wire::{Parsed, SeqNumber, Tcp, TcpFlags, TcpOption, TcpOptions, V4};

/// A TCP segment in a frame.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) dst: Ipv4Addr,
    pub(crate) tcp: Tcp,
    pub(crate) mss: Option<u16>,
    pub(crate) wscale: Option<u8>,
    pub(crate) sack_permitted: bool,
    pub(crate) sack: Vec<SeqNumber>,
    pub(crate) timestamps: Option<(u32, u32)>,
    pub(crate) toa: Option<Ipv4Addr>,
}

impl Segment {
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let parsed = Parsed::parse(frame).ok()?;
        let v4: &V4 = parsed.v4()?;
        let mut segment = Self {
            dst: v4.dst,
            tcp: *v4.tcp()?,
            mss: None,
            wscale: None,
            sack_permitted: false,
            sack: Vec::new(),
            timestamps: None,
            toa: None,
        };
        for located in TcpOptions::new(v4.tcp_options(frame)?) {
            match located.option {
                TcpOption::Mss(mss) => segment.mss = Some(mss),
                TcpOption::WindowScale(shift) => segment.wscale = Some(shift.min(14)),
                TcpOption::SackPermitted => segment.sack_permitted = true,
                TcpOption::Sack(edges) => {
                    let (edges, _) = edges.as_chunks::<4>();
                    let edges = edges.iter().map(|it| SeqNumber(u32::from_be_bytes(*it)));
                    segment.sack = edges.collect();
                }
                TcpOption::Timestamps { tsval, tsecr } => segment.timestamps = Some((tsval, tsecr)),
                TcpOption::Toa(toa) => {
                    if let std::net::IpAddr::V4(client) = toa.client.ip() {
                        segment.toa = Some(client);
                    }
                }
                TcpOption::Nop | TcpOption::EndOfList | TcpOption::Unknown { .. } => {}
            }
        }
        Some(segment)
    }

    pub(crate) const fn has(&self, flags: TcpFlags) -> bool {
        self.tcp.flags.contains(flags)
    }

    pub(crate) const fn is_syn_ack(&self) -> bool {
        self.tcp
            .flags
            .contains(TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0))
    }

    fn payload_end(&self) -> SeqNumber {
        self.tcp.seq + u32::from(self.tcp.payload_len)
    }
}

/// What is certain of a run, so that it can be demanded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demands {
    /// Bytes that a client may send ahead of its real server's answer.
    pub(crate) early_data: u32,
    /// Every handshake is proxied, so that only one answer to the client's SYN exists.
    pub(crate) one_answer: bool,
    /// The real server does all that the client was told.
    pub(crate) honest_offer: bool,
}

/// Both hosts; a real server has one half for each local port that it is asked from.
#[derive(Debug)]
pub(crate) struct Watch {
    demands: Demands,
    client: Half,
    servers: BTreeMap<u16, Half>,
}

/// One host: what it said and what it was told.
#[derive(Clone, Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "options that a SYN has or has not"
)]
struct Half {
    /// The first number that the host was sent.
    told_isn: Option<SeqNumber>,
    told_wscale: Option<u8>,
    told_timestamps: bool,
    told_tsval: Option<u32>,
    told_sack: bool,
    scale: Option<u8>,
    sack: bool,
    timestamps: bool,
    /// The furthest right edge of its windows.
    edge: Option<SeqNumber>,
    /// The first and the last number that it sent.
    sent: Option<(SeqNumber, SeqNumber)>,
    tsvals: BTreeSet<u32>,
}

impl Watch {
    pub(crate) fn new(demands: Demands) -> Self {
        Self {
            demands,
            client: Half::default(),
            servers: BTreeMap::new(),
        }
    }

    /// Takes what Weir receives from the client.
    pub(crate) fn hear_client(&mut self, segment: &Segment) {
        self.client.heard(segment);
    }

    /// Takes what Weir receives from the real server.
    pub(crate) fn hear_server(&mut self, segment: &Segment) {
        if let Some(half) = self.servers.get_mut(&segment.tcp.dst_port) {
            half.heard(segment);
        }
    }

    /// Judges what Weir sends to the client.
    pub(crate) fn judge_to_client(&mut self, segment: &Segment) -> Result<()> {
        let demands = self.demands;
        self.client
            .tell(segment, 0, demands.honest_offer, demands.one_answer)
    }

    /// Judges what Weir sends to the real server.
    pub(crate) fn judge_to_server(&mut self, segment: &Segment) -> Result<()> {
        let demands = self.demands;
        let half = self.servers.entry(segment.tcp.src_port).or_default();
        if segment.has(TcpFlags::SYN) {
            if half.told_isn != Some(segment.tcp.seq) {
                *half = Half::default();
            }
            if demands.one_answer {
                offers(&self.client, segment)?;
            }
        }
        half.tell(segment, demands.early_data, demands.honest_offer, true)
    }
}

/// Checks that the SYN to the real server offers what the client and Weir agreed on.
fn offers(client: &Half, syn: &Segment) -> Result<()> {
    let wscale = client.scale.filter(|_| client.told_wscale.is_some());
    ensure!(
        syn.wscale == wscale,
        "the real server is offered the window scale {:?} and not {wscale:?}",
        syn.wscale
    );
    ensure!(
        syn.sack_permitted == (client.sack && client.told_sack),
        "the real server is offered SACK: {}",
        syn.sack_permitted
    );
    ensure!(
        syn.timestamps.is_some() == (client.timestamps && client.told_timestamps),
        "the real server is offered timestamps: {:?}",
        syn.timestamps
    );
    Ok(())
}

impl Half {
    fn heard(&mut self, segment: &Segment) {
        let tcp = &segment.tcp;
        if segment.has(TcpFlags::RST) {
            return;
        }
        if segment.has(TcpFlags::SYN) {
            self.scale = segment.wscale;
            self.sack = segment.sack_permitted;
            self.timestamps = segment.timestamps.is_some();
        }
        let (first, last) = self.sent.unwrap_or((tcp.seq, tcp.seq));
        self.sent = Some((first, last.later(tcp.end())));
        if let Some((tsval, _)) = segment.timestamps {
            self.tsvals.insert(tsval);
        }
        if !segment.has(TcpFlags::ACK) {
            return;
        }
        let scaled = !segment.has(TcpFlags::SYN) && self.told_wscale.is_some();
        let shift = self.scale.filter(|_| scaled).unwrap_or(0);
        let edge = tcp.ack + (u32::from(tcp.window) << shift);
        self.edge = Some(self.edge.map_or(edge, |old| old.later(edge)));
    }

    fn tell(&mut self, segment: &Segment, ahead: u32, honest: bool, strict: bool) -> Result<()> {
        let tcp = &segment.tcp;
        if segment.has(TcpFlags::SYN) {
            self.told_isn = Some(tcp.seq);
            self.told_wscale = segment.wscale;
            self.told_sack = segment.sack_permitted;
            self.told_timestamps = segment.timestamps.is_some();
            if let Some((tsval, _)) = segment.timestamps
                && self.told_tsval.is_none()
            {
                self.told_tsval = Some(tsval);
            }
        }
        if segment.has(TcpFlags::RST) {
            return Ok(());
        }
        if segment.has(TcpFlags::ACK) {
            let (first, last) = self.sent.context("an ACK to a host that said nothing")?;
            ensure!(
                tcp.ack.after(first) && tcp.ack.leq(last),
                "acknowledges {}, where {first} to {last} were sent",
                tcp.ack
            );
            for edge in &segment.sack {
                ensure!(
                    edge.geq(first) && edge.leq(last),
                    "SACK names {edge}, where {first} to {last} were sent"
                );
            }
        }
        if tcp.payload_len > 0 && strict {
            let isn = self.told_isn.context("data before a SYN")?;
            let open = isn + 1 + ahead;
            // A byte more probes a closed window.
            let edge = self.edge.map_or(open, |edge| edge.later(open)) + 1;
            ensure!(
                segment.payload_end().leq(edge),
                "data up to {} beyond the window, which ends at {}",
                segment.payload_end(),
                edge - 1
            );
        }
        let agreed = self.timestamps && self.told_timestamps;
        if let Some((tsval, tsecr)) = segment.timestamps {
            if segment.has(TcpFlags::ACK) && (agreed || segment.is_syn_ack()) {
                // A SYN that arrives twice is answered twice, and the later answer has a later time.
                let again = self
                    .tsvals
                    .last()
                    .map_or(0, |last| tsecr.wrapping_sub(*last));
                ensure!(
                    self.tsvals.contains(&tsecr) || again < 50,
                    "the TSecr {tsecr} is none that the host sent"
                );
            }
            if let Some(told) = self.told_tsval.filter(|_| agreed && strict) {
                // A segment may have been overtaken by the one that opened the session.
                ensure!(
                    tsval.wrapping_sub(told).cast_signed() >= -50,
                    "the TSval {tsval} is before {told}, the first one"
                );
            }
        } else {
            ensure!(
                !(agreed && honest),
                "no timestamps, although both have agreed on them"
            );
        }
        Ok(())
    }
}
