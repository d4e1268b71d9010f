//! The walk itself: classify a packet, find its session, and send it on.

use core::net::Ipv4Addr;

use nat_engine::{FlowHash, FlowKey, owner_of};
use weir_model::{DropReason, Now, Verdict, WorkerId};
use weir_wire::{
    EthHeader, Header, IcmpCode, IcmpKind, Ipv4Header, Kind, L4, ParseError, Parsed, V4,
    complete_partial,
};

use crate::director::millis;
use crate::neighbours::Resolved;
use crate::plan::Owned;
use crate::route::Hop;
use crate::{Director, Packet, Source};

/// What the first pass over a burst finds out about a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lookup {
    /// Not for an address of ours: the host's, if the driver has a way to it.
    Host,
    /// To be dropped.
    Drop(DropReason),
    /// ARP.
    Arp,
    /// A fragment to an address of ours: its ports are known when the one before it was walked.
    Fragment { l3: u16, v4: V4, to: Owned },
    /// ICMP to an address of ours.
    Icmp { l3: u16, v4: V4, to: Owned },
    /// TCP or UDP to an address of ours.
    Flow {
        l3: u16,
        v4: V4,
        key: FlowKey,
        hash: FlowHash,
        to: Owned,
    },
}

impl Director {
    /// Parses and classifies a packet, and asks for the memory that its session is found by.
    #[inline]
    pub(crate) fn look_up(&self, packet: &Packet<'_>) -> Lookup {
        let bytes = packet.frame.bytes();
        let parsed = match Parsed::parse(bytes) {
            Ok(parsed) => parsed,
            Err(ParseError::BadIpChecksum) => return Lookup::Drop(DropReason::BadChecksum),
            Err(
                ParseError::Truncated { .. }
                | ParseError::BadVersion(_)
                | ParseError::BadHeaderLength(_)
                | ParseError::BadTotalLength(_)
                | ParseError::BadFragment
                | ParseError::BadTcpOffset(_)
                | ParseError::BadUdpLength(_),
            ) => return Lookup::Drop(DropReason::Malformed),
        };
        let v4 = match parsed.kind {
            Kind::Ipv4(v4) => v4,
            Kind::Arp if parsed.vlan.is_none() => return Lookup::Arp,
            Kind::Arp | Kind::Ipv6 | Kind::Other(_) => return Lookup::Host,
        };
        let Some(to) = self.plan.owned(v4.dst) else {
            return Lookup::Host;
        };
        if parsed.vlan.is_some() {
            return Lookup::Drop(DropReason::Tagged);
        }
        let mine = self.plan.port(packet.port).map(|port| port.mac().0);
        let eth = EthHeader::at(bytes, 0);
        if mine != eth.map(|eth| eth.dst) {
            return Lookup::Drop(DropReason::NotOurs);
        }
        if !eth.is_some_and(|eth| eth.src_addr().is_unicast()) {
            // An answer to it would go to a group of stations.
            return Lookup::Drop(DropReason::Martian);
        }
        if is_martian(v4.src) || self.plan.owned(v4.src).is_some() {
            return Lookup::Drop(DropReason::Martian);
        }
        if let Owned::Lip { port } = to
            && port != packet.port
        {
            // Real servers answer where the pool is; elsewhere somebody speaks in their name.
            return Lookup::Drop(DropReason::Martian);
        }
        let l3 = parsed.l3;
        if v4.fragment.is_some() {
            return Lookup::Fragment { l3, v4, to };
        }
        let (src_port, dst_port) = match v4.l4_kind {
            L4::Tcp(tcp) => (tcp.src_port, tcp.dst_port),
            L4::Udp {
                src_port, dst_port, ..
            } => (src_port, dst_port),
            L4::Icmp { .. } => return Lookup::Icmp { l3, v4, to },
            L4::NonFirstFragment => return Lookup::Drop(DropReason::Fragment),
            L4::Other(_) => return Lookup::Drop(DropReason::UnknownProtocol),
        };
        let key = FlowKey {
            src: v4.src,
            dst: v4.dst,
            src_port,
            dst_port,
            protocol: v4.protocol,
        };
        let hash = self.table.hash(&key);
        self.table.prefetch(hash);
        Lookup::Flow {
            l3,
            v4,
            key,
            hash,
            to,
        }
    }

    /// Decides what becomes of a packet.
    pub(crate) fn walk(&mut self, now: Now, packet: &mut Packet<'_>, lookup: &Lookup) -> Verdict {
        match *lookup {
            Lookup::Drop(reason) => Verdict::Drop(reason),
            Lookup::Host => self.host(packet),
            Lookup::Arp => self.arp(now, packet),
            Lookup::Icmp { l3, ref v4, to } => self.icmp(now, packet, l3, v4, to),
            Lookup::Fragment { l3, ref v4, to } => self.fragment(now, packet, l3, v4, to),
            Lookup::Flow {
                l3,
                ref v4,
                ref key,
                hash,
                to,
            } => {
                if let Some(owner) = self.other_owner(packet, key, hash, to) {
                    // The owner cannot know any more what the driver said about the checksum.
                    self.complete_checksum(packet, l3, v4);
                    return Verdict::HandOff(owner);
                }
                self.flow(now, packet, l3, v4, key, hash, to)
            }
        }
    }

    /// Gives a packet that is not ours to the host, where the driver can.
    pub(crate) fn host(&self, packet: &Packet<'_>) -> Verdict {
        match self.plan.port(packet.port) {
            Some(port) if port.facts.delivers => Verdict::Deliver,
            Some(_) | None => Verdict::Drop(DropReason::NotOurs),
        }
    }

    /// Returns the worker that owns a flow, if it is another one. What was handed over stays.
    pub(crate) fn other_owner(
        &self,
        packet: &Packet<'_>,
        key: &FlowKey,
        hash: FlowHash,
        to: Owned,
    ) -> Option<WorkerId> {
        if self.facts.workers < 2 || packet.source == Source::HandedIn {
            return None;
        }
        let owner = self.owner(key, hash, to);
        (owner != self.facts.id).then_some(owner)
    }

    /// Returns the worker that owns a flow.
    pub(crate) fn owner(&self, key: &FlowKey, hash: FlowHash, to: Owned) -> WorkerId {
        WorkerId(match to {
            Owned::Vip => hash.owner(self.facts.workers),
            Owned::Lip { .. } => owner_of(key.dst_port, self.facts.workers),
        })
    }

    /// Completes a checksum of which a virtual peer left the pseudo header's sum only.
    pub(crate) fn complete_checksum(&mut self, packet: &mut Packet<'_>, l3: u16, v4: &V4) {
        // Whoever fragments a datagram has added it up.
        if !packet.maybe_partial || v4.fragment.is_some() {
            return;
        }
        let parsed = Parsed {
            l3,
            vlan: None,
            kind: Kind::Ipv4(*v4),
        };
        match complete_partial(packet.frame.bytes_mut(), &parsed) {
            weir_wire::Completed::Yes => self.count(weir_model::Counter::ChecksumCompleted),
            weir_wire::Completed::No => {}
        }
    }

    /// Finds the way to a destination for a packet as it arrived, or what becomes of it instead.
    pub(crate) fn way(
        &mut self,
        now: Now,
        packet: &Packet<'_>,
        l3: u16,
        v4: &V4,
        destination: Ipv4Addr,
    ) -> Result<Hop, Verdict> {
        let Some(hop) = self.plan.routes.to(destination) else {
            return Err(Verdict::Drop(DropReason::NoRoute));
        };
        if v4.ttl <= 1 {
            let kind = IcmpKind::TIME_EXCEEDED;
            self.send_icmp_error(now, packet, l3, v4, kind, 0, 0);
            return Err(Verdict::Drop(DropReason::TtlExpired));
        }
        let mtu = self.plan.port(hop.port).map_or(0, |port| port.facts.mtu);
        if v4.total_len > mtu {
            if v4.dont_fragment {
                let (kind, code) = (IcmpKind::UNREACHABLE, IcmpCode::UNREACHABLE_FRAG_NEEDED);
                self.send_icmp_error(now, packet, l3, v4, kind, code, mtu);
            }
            return Err(Verdict::Drop(DropReason::TooBig));
        }
        Ok(hop)
    }

    /// Puts the Ethernet addresses on a translated packet, or keeps it until they are known.
    pub(crate) fn send_on(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        l3: u16,
        hop: Hop,
    ) -> Verdict {
        let Some(port) = self.plan.port(hop.port) else {
            return Verdict::Drop(DropReason::NoRoute);
        };
        let source = port.mac();
        // Ethernet padding of a short frame is not worth carrying on.
        let total = Ipv4Header::at(packet.frame.bytes(), l3 as usize)
            .map_or(0, |ip| l3 as usize + ip.total_len.get() as usize);
        if packet.frame.len() > total && packet.frame.set_len(total).is_none() {
            return Verdict::Drop(DropReason::Malformed);
        }
        let Some(eth) = EthHeader::at_mut(packet.frame.bytes_mut(), 0) else {
            return Verdict::Drop(DropReason::Malformed);
        };
        eth.src = source.0;
        let now_ms = millis(now);
        match self.neighbours.resolve(now_ms, hop.port, hop.neighbour) {
            Resolved::Known(mac) => {
                eth.dst = mac.0;
                return Verdict::Forward(hop.port);
            }
            Resolved::Ask => self.ask(hop.port, hop.neighbour, None),
            Resolved::Wait => {}
            Resolved::TooMany => return Verdict::Drop(DropReason::Unresolved),
        }
        let frame = packet.frame.bytes();
        if self.neighbours.hold(now_ms, hop.port, hop.neighbour, frame) {
            Verdict::Hold
        } else {
            Verdict::Drop(DropReason::Unresolved)
        }
    }
}

/// Says whether no sender may have this address (RFC 1812 section 5.3.7).
pub(crate) fn is_martian(source: Ipv4Addr) -> bool {
    source.is_loopback()
        || source.is_multicast()
        || source.is_broadcast()
        || source.octets()[0] == 0
}
