//! ARP (RFC 826): answers for our addresses, requests for next hops, and what is heard.

use core::net::{IpAddr, Ipv4Addr};

use weir_model::{Counter, DropReason, Event, Now, PortId, Verdict};
use weir_wire::{
    ARP_REPLY, ARP_REQUEST, ArpPacket, ArpRepr, ETHERTYPE_ARP, EthAddr, EthHeader, Header,
};

use crate::director::millis;
use crate::neighbours::Resolved;
use crate::plan::Owned;
use crate::{Director, NeighbourView, Notice, Packet, Reach};

/// The length of an ARP frame without padding.
const FRAME_LEN: usize = EthHeader::LEN + ArpPacket::LEN;

impl Director {
    /// Walks an ARP frame: answered or absorbed when it concerns our addresses, else the host's.
    pub(crate) fn arp(&mut self, now: Now, packet: &mut Packet<'_>) -> Verdict {
        let body = packet
            .frame
            .bytes()
            .get(EthHeader::LEN..)
            .unwrap_or_default();
        let Some(arp) = ArpRepr::parse(body).filter(|arp| arp.sender_mac.is_unicast()) else {
            return Verdict::Drop(DropReason::Malformed);
        };
        let owned = self.plan.owned(arp.target_ip);
        self.hear(now, packet.port, &arp, owned.is_some(), true);
        match owned {
            None => self.host(packet),
            Some(owned)
                if arp.op == ARP_REQUEST
                    && answers(owned, packet.port)
                    && !self.is_withdrawn(arp.target_ip) =>
            {
                self.answer_arp(packet, &arp)
            }
            Some(_) => Verdict::Drop(DropReason::Absorbed),
        }
    }

    /// Learns from an ARP packet that another thread heard.
    pub fn heard_arp(&mut self, now: Now, port: PortId, arp: &ArpRepr) {
        self.hear(now, port, arp, false, false);
    }

    /// Learns a neighbour that another worker learned.
    pub fn learn_neighbour(&mut self, now: Now, port: PortId, address: Ipv4Addr, mac: EthAddr) {
        if self.neighbours.learn(millis(now), port, address, mac, true) {
            self.count(Counter::NeighbourLearned);
        }
    }

    /// Takes whether a VIP is withdrawn: nobody is told where it is, until it comes back and
    /// everybody is.
    pub fn set_withdrawn(&mut self, vip: Ipv4Addr, withdrawn: bool) {
        match (self.withdrawn.binary_search(&vip), withdrawn) {
            (Err(place), true) => self.withdrawn.insert(place, vip),
            (Ok(place), false) => {
                self.withdrawn.remove(place);
                // The first worker speaks for all.
                if self.facts.id.0 == 0 {
                    let announced = &self.plan.announced;
                    let here = announced.iter().filter(|(_, address)| *address == vip);
                    self.announcements.extend(here);
                }
            }
            (Ok(_), true) | (Err(_), false) => {}
        }
    }

    fn is_withdrawn(&self, address: Ipv4Addr) -> bool {
        self.withdrawn.binary_search(&address).is_ok()
    }

    /// Shows the neighbours whose Ethernet addresses are known.
    pub fn neighbours(&self, each: &mut dyn FnMut(NeighbourView)) {
        for (port, address, mac) in self.neighbours.all() {
            each(NeighbourView { port, address, mac });
        }
    }

    /// Says how a destination is reached, and asks for its next hop where that is not known.
    pub fn reach(&mut self, now: Now, to: Ipv4Addr) -> Reach {
        let Some(hop) = self.plan.routes.to(to) else {
            return Reach {
                to,
                hop: None,
                mac: None,
            };
        };
        let mac = match self
            .neighbours
            .resolve(millis(now), hop.port, hop.neighbour)
        {
            Resolved::Known(mac) => Some(mac),
            Resolved::Ask => {
                self.ask(hop.port, hop.neighbour, None);
                None
            }
            Resolved::Wait | Resolved::TooMany => None,
        };
        Reach {
            to,
            hop: Some((hop.port, hop.neighbour)),
            mac,
        }
    }

    /// Sends a request for a neighbour's address, to all or to itself alone.
    pub(crate) fn ask(&mut self, port: PortId, address: Ipv4Addr, unicast: Option<EthAddr>) {
        let Some(plan) = self.plan.port(port) else {
            return;
        };
        // Whoever hears a request learns where its sender is.
        let speaker = plan
            .speaker_for(address)
            .filter(|speaker| !self.is_withdrawn(*speaker))
            .or_else(|| plan.own_for(address));
        let Some(speaker) = speaker else {
            return;
        };
        let request = ArpRepr {
            op: ARP_REQUEST,
            sender_mac: plan.mac(),
            sender_ip: speaker,
            target_mac: unicast.unwrap_or(EthAddr([0; 6])),
            target_ip: address,
        };
        self.count(Counter::ArpRequested);
        self.send_arp(port, unicast.unwrap_or(EthAddr::BROADCAST), &request);
    }

    /// Tells all neighbours of a port that an address is here (RFC 5227 section 3).
    pub(crate) fn announce(&mut self, port: PortId, address: Ipv4Addr) {
        let Some(plan) = self.plan.port(port) else {
            return;
        };
        let announcement = ArpRepr {
            op: ARP_REQUEST,
            sender_mac: plan.mac(),
            sender_ip: address,
            target_mac: EthAddr([0; 6]),
            target_ip: address,
        };
        self.count(Counter::ArpAnnounced);
        self.send_arp(port, EthAddr::BROADCAST, &announcement);
    }

    fn send_arp(&mut self, port: PortId, dst: EthAddr, arp: &ArpRepr) {
        let mut frame = [0; FRAME_LEN];
        self.ledger.originated += 1;
        match write_arp(&mut frame, dst, arp) {
            Some(()) => self.post(port, &frame),
            None => self.ledger.drop(DropReason::Internal),
        }
    }

    fn answer_arp(&mut self, packet: &mut Packet<'_>, request: &ArpRepr) -> Verdict {
        let Some(plan) = self.plan.port(packet.port) else {
            return Verdict::Drop(DropReason::NotOurs);
        };
        let reply = ArpRepr {
            op: ARP_REPLY,
            sender_mac: plan.mac(),
            sender_ip: request.target_ip,
            target_mac: request.sender_mac,
            target_ip: request.sender_ip,
        };
        if write_arp(packet.frame.bytes_mut(), request.sender_mac, &reply).is_none() {
            return Verdict::Drop(DropReason::Malformed);
        }
        self.count(Counter::ArpAnswered);
        Verdict::Reply
    }

    /// Takes what an ARP packet says of its sender. Who asks for us will be talked to, so it is
    /// taken in; others are only updated.
    fn hear(&mut self, now: Now, port: PortId, arp: &ArpRepr, for_us: bool, tell: bool) {
        let Some(plan) = self.plan.port(port) else {
            return;
        };
        if arp.sender_mac == plan.mac() || !plan.connects(arp.sender_ip) {
            return;
        }
        if self.plan.owned(arp.sender_ip).is_some() {
            if self.plan.is_own_mac(arp.sender_mac) {
                // Another port of ours on the same link.
                return;
            }
            if self.is_withdrawn(arp.sender_ip) {
                // It is where it is announced now.
                return;
            }
            let (address, mac) = (IpAddr::V4(arp.sender_ip), arp.sender_mac.0);
            let event = Event::AddressConflict {
                at: now.time,
                port,
                address,
                mac,
            };
            self.notify(Notice::Event(event));
            return;
        }
        let (address, mac) = (arp.sender_ip, arp.sender_mac);
        let news = self
            .neighbours
            .learn(millis(now), port, address, mac, for_us);
        if news {
            self.count(Counter::NeighbourLearned);
        }
        // An answer is passed on even where it is no news here: the worker that asked is often not
        // the one whose queue the answer comes in on.
        let is_answer = for_us && arp.op == ARP_REPLY;
        if tell && self.facts.workers > 1 && (news || is_answer) {
            self.notify(Notice::Neighbour { port, address, mac });
        }
    }
}

/// Says whether an address is answered for on a port: a VIP wherever it is asked for, a LIP where
/// its real servers are.
fn answers(owned: Owned, port: PortId) -> bool {
    match owned {
        Owned::Vip => true,
        Owned::Lip { port: home, .. } => home == port,
    }
}

fn write_arp(frame: &mut [u8], dst: EthAddr, arp: &ArpRepr) -> Option<()> {
    EthHeader::new(dst, arp.sender_mac, ETHERTYPE_ARP).put(frame, 0)?;
    arp.emit(frame.get_mut(EthHeader::LEN..)?)
}
