//! The connections of a bench: who the clients are, and how far each has come.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use weir_model::{PortId, Verdict};
use weir_testkit::Random;
use weir_wire::TcpFlags;

use crate::arena::{Arena, BURST};
use crate::frames::{DATA, From, Segment, Variant, make_segment, read};
use crate::rig::{LAN, PLAIN, REALS, Rig, VIP, WAN, real};

/// Clients behind one address.
const PER_ADDRESS: u32 = 50_000;
const CLIENT_ISN: u32 = 100;
const REAL_ISN: u32 = 500;

/// An established connection, as its ends know it.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    /// Where the real server sees the client.
    pub(crate) lip: (Ipv4Addr, u16),
    /// The client's first number, as the real server sees it.
    pub(crate) isn: u32,
    pub(crate) real: u8,
    /// Bytes that the client has sent.
    client_sent: u32,
    /// Bytes that the real server has sent.
    real_sent: u32,
}

/// Established connections to the plain service, by their number.
pub(crate) struct Flows {
    all: Vec<Flow>,
    syn: Segment,
    request: Segment,
    syn_acks: Vec<Segment>,
    acks: Vec<Segment>,
    responses: Vec<Segment>,
}

impl Flows {
    pub(crate) fn new() -> Self {
        let data = TcpFlags::ACK | TcpFlags::PSH;
        let of_reals = |make: &dyn Fn(From) -> Segment| {
            (0..REALS).map(|number| make(From::Real(number))).collect()
        };
        Self {
            all: Vec::new(),
            syn: Segment::opening(From::Client, TcpFlags::SYN),
            request: Segment::later(From::Client, data, DATA),
            syn_acks: of_reals(&|from| Segment::opening(from, TcpFlags::SYN | TcpFlags::ACK)),
            acks: of_reals(&|from| Segment::later(from, TcpFlags::ACK, 0)),
            responses: of_reals(&|from| Segment::later(from, data, DATA)),
        }
    }

    /// Opens so many connections more: SYN, SYN-ACK, ACK, request and its acknowledgement.
    pub(crate) fn open(&mut self, rig: &mut Rig, arena: &mut Arena, count: u32) -> Result<()> {
        let first = self.all.len() as u32;
        self.all.reserve_exact(count as usize);
        let end = first + count;
        let mut at = first;
        while at < end {
            let burst = (end - at).min(BURST as u32);
            self.open_burst(rig, arena, at, burst)?;
            at += burst;
        }
        Ok(())
    }

    /// Returns the connections.
    pub(crate) fn all(&self) -> &[Flow] {
        &self.all
    }

    /// Adds the next segment of data of a random connection to a burst, of its client or server.
    pub(crate) fn add_data(
        &mut self,
        arena: &mut Arena,
        random: &mut Random,
        from_client: bool,
    ) -> Result<()> {
        let number = random.below(self.all.len() as u64) as usize;
        let flow = self.all.get_mut(number).context("no connection")?;
        let variant;
        let template;
        if from_client {
            template = &self.request;
            variant = flow.client_sends(number as u32);
            flow.client_sent = flow.client_sent.wrapping_add(DATA as u32);
        } else {
            template = self.responses.get(flow.real as usize).context("no real")?;
            variant = flow.real_sends();
            flow.real_sent = flow.real_sent.wrapping_add(DATA as u32);
        }
        make_segment(arena.add(template.bytes())?, &variant, 9)
    }

    fn open_burst(
        &mut self,
        rig: &mut Rig,
        arena: &mut Arena,
        first: u32,
        count: u32,
    ) -> Result<()> {
        let numbers = first..first + count;
        arena.clear();
        for number in numbers.clone() {
            let syn = Variant {
                src: client(number),
                dst: (VIP, PLAIN),
                seq: CLIENT_ISN,
                ack: 0,
            };
            make_segment(arena.add(self.syn.bytes())?, &syn, 9)?;
        }
        let flows = &mut self.all;
        forward(rig, arena, WAN, LAN, |frame| {
            let Variant { src, dst, seq, .. } = read(frame)?;
            let reals = (0..REALS).find(|number| real(*number) == dst.0);
            flows.push(Flow {
                lip: src,
                isn: seq,
                real: reals.context("no such real server")?,
                client_sent: 0,
                real_sent: 0,
            });
            Ok(())
        })?;

        arena.clear();
        for number in numbers.clone() {
            let flow = self.all.get(number as usize).context("not opened")?;
            let syn_ack = Variant {
                seq: REAL_ISN,
                ..flow.real_sends()
            };
            let template = self.syn_acks.get(flow.real as usize).context("no real")?;
            make_segment(arena.add(template.bytes())?, &syn_ack, 9)?;
        }
        forward(rig, arena, LAN, WAN, |_| Ok(()))?;

        arena.clear();
        for number in numbers.clone() {
            let flow = self.all.get_mut(number as usize).context("not opened")?;
            let request = flow.client_sends(number);
            make_segment(arena.add(self.request.bytes())?, &request, 9)?;
            flow.client_sent += DATA as u32;
        }
        forward(rig, arena, WAN, LAN, |_| Ok(()))?;

        // Behind this acknowledgement the client's address is not added any more.
        arena.clear();
        for number in numbers {
            let flow = self.all.get(number as usize).context("not opened")?;
            let template = self.acks.get(flow.real as usize).context("no real")?;
            make_segment(arena.add(template.bytes())?, &flow.real_sends(), 9)?;
        }
        forward(rig, arena, LAN, WAN, |_| Ok(()))
    }
}

impl Flow {
    fn client_sends(&self, number: u32) -> Variant {
        Variant {
            src: client(number),
            dst: (VIP, PLAIN),
            seq: (CLIENT_ISN + 1).wrapping_add(self.client_sent),
            ack: (REAL_ISN + 1).wrapping_add(self.real_sent),
        }
    }

    fn real_sends(&self) -> Variant {
        Variant {
            src: (real(self.real), PLAIN),
            dst: self.lip,
            seq: (REAL_ISN + 1).wrapping_add(self.real_sent),
            ack: self.isn.wrapping_add(1).wrapping_add(self.client_sent),
        }
    }

    /// What Weir adds to the client's numbers.
    pub(crate) const fn shift(&self) -> u32 {
        self.isn.wrapping_sub(CLIENT_ISN)
    }
}

/// Returns a client's address and port.
pub(crate) fn client(number: u32) -> (Ipv4Addr, u16) {
    let address = Ipv4Addr::from(0x0b00_0000 + number / PER_ADDRESS);
    (address, 10_000 + (number % PER_ADDRESS) as u16)
}

/// Walks a burst of which every packet is to be forwarded, and reads what leaves.
fn forward(
    rig: &mut Rig,
    arena: &mut Arena,
    from: PortId,
    to: PortId,
    mut each: impl FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut packets = arena.packets(from);
    rig.walk(&mut packets);
    for packet in &packets {
        ensure!(
            packet.verdict == Verdict::Forward(to),
            "{:?}",
            packet.verdict
        );
        each(packet.frame.bytes())?;
    }
    Ok(())
}
