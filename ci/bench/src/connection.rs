//! A connection as both of its ends know it.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use weir_rig::{LAN, VIP, WAN, real};

use crate::arena::Arena;
use crate::frames::{Kind, Sender, Templates, Variant, make};
use crate::rig::REALS;

const CLIENT_ISN: u32 = 100;
const REAL_ISN: u32 = 500;

/// One of the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Real,
}

/// A connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    pub(crate) client: (Ipv4Addr, u16),
    /// The service's port; its real servers listen at the same.
    pub(crate) service: u16,
    /// Where the real server sees the client.
    pub(crate) lip: (Ipv4Addr, u16),
    pub(crate) real: u8,
    /// The client's first number, as the real server sees it.
    isn: u32,
    /// The real server's first number, as the client sees it.
    peer_isn: u32,
    /// Numbers that the client has used.
    client_sent: u32,
    /// Numbers that the real server has used.
    real_sent: u32,
}

impl Connection {
    pub(crate) const fn new(client: (Ipv4Addr, u16), service: u16) -> Self {
        Self {
            client,
            service,
            lip: (Ipv4Addr::UNSPECIFIED, 0),
            real: 0,
            isn: 0,
            peer_isn: REAL_ISN,
            client_sent: 0,
            real_sent: 0,
        }
    }

    /// Takes note of what the first packet to the real server looks like.
    pub(crate) fn meet_real(&mut self, first: &Variant) -> Result<()> {
        let found = (0..REALS).find(|number| real(*number) == first.dst.0);
        self.real = found.context("no such real server")?;
        self.lip = first.src;
        self.isn = first.seq;
        Ok(())
    }

    /// Takes note of the number that a SYN-ACK begins with.
    pub(crate) const fn meet_cookie(&mut self, syn_ack: &Variant) {
        self.peer_isn = syn_ack.seq;
    }

    /// What Weir adds to the client's numbers.
    pub(crate) const fn shift(&self) -> u32 {
        self.isn.wrapping_sub(CLIENT_ISN)
    }

    /// Adds the next packet of one side to a burst.
    pub(crate) fn send(
        &mut self,
        arena: &mut Arena,
        templates: &Templates,
        side: Side,
        kind: Kind,
    ) -> Result<()> {
        let (sender, port) = match side {
            Side::Client => (Sender::Client, WAN),
            Side::Real => (Sender::Real(self.real), LAN),
        };
        let frame = arena.add(port, templates.get(sender, kind)?)?;
        make(frame, &self.next(side, kind))?;
        match side {
            Side::Client => self.client_sent = self.client_sent.wrapping_add(kind.takes()),
            Side::Real => self.real_sent = self.real_sent.wrapping_add(kind.takes()),
        }
        Ok(())
    }

    fn next(&self, side: Side, kind: Kind) -> Variant {
        let opens = matches!(kind, Kind::Syn | Kind::BareSyn | Kind::SynAck);
        let number = |first: u32, sent: u32| first.wrapping_add(1).wrapping_add(sent);
        match side {
            Side::Client => Variant {
                src: self.client,
                dst: (VIP, self.service),
                seq: if opens {
                    CLIENT_ISN
                } else {
                    number(CLIENT_ISN, self.client_sent)
                },
                ack: if opens {
                    0
                } else {
                    number(self.peer_isn, self.real_sent)
                },
            },
            Side::Real => Variant {
                src: (real(self.real), self.service),
                dst: self.lip,
                seq: if opens {
                    REAL_ISN
                } else {
                    number(REAL_ISN, self.real_sent)
                },
                ack: number(self.isn, self.client_sent),
            },
        }
    }
}

/// Returns the address and port of a client that comes and goes: neighbours in number are none in
/// the network.
pub(crate) fn passer_by(number: u32) -> (Ipv4Addr, u16) {
    let mixed = number.wrapping_mul(0x9e37_79b1);
    let address = Ipv4Addr::from(0x1000_0000 + (mixed >> 6));
    (address, 10_000 + (mixed & 63) as u16 * 500)
}
