//! The walk itself: classify a packet, find its session, and send it on.

use core::net::Ipv4Addr;

use nat_engine::{Direction, FlowHash, FlowKey, SessionId};
use weir_model::{DropReason, Now, ServiceId, Verdict, WorkerId};
use weir_wire::{
    EthHeader, Header, IcmpCode, IcmpKind, Ipv4Header, Kind, L4, ParseError, Parsed, Protocol, V4,
    complete_partial,
};

use crate::director::millis;
use crate::found::{Burst, Found, Lookup, Seen};
use crate::neighbours::Resolved;
use crate::plan::Owned;
use crate::route::Hop;
use crate::{Director, Packet, Source};

impl Director {
    /// Classifies a packet, as far as that takes nothing but the packet and the plan, and returns
    /// the words of its key where it is a plain one.
    #[inline]
    pub(crate) fn look_up(&self, packet: &Packet<'_>) -> (Lookup, [u64; 2]) {
        let Some(v4) = V4::plain(packet.frame.bytes()) else {
            return (Lookup::Other, [0; 2]);
        };
        let Some(to) = self.plan.owned(v4.dst) else {
            return (Lookup::Host, [0; 2]);
        };
        if let Some(reason) = self.unwanted(packet, v4.src, to) {
            return (Lookup::Drop(reason), [0; 2]);
        }
        match key_of(&v4) {
            Some(key) => (Lookup::Plain(to), key.words()),
            None => (Lookup::Other, [0; 2]),
        }
    }

    /// Decides what becomes of a plain packet.
    #[inline]
    pub(crate) fn walk_plain(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        burst: &Burst,
        seen: &Seen,
        to: Owned,
    ) -> Verdict {
        let &Seen {
            words, hash, probe, ..
        } = seen;
        self.walking = Some((words, hash));
        #[cfg(any(test, feature = "panic-hook"))]
        self.panic_if_marked(packet);
        let session = self.table.find_probed(probe, hash, words);
        if let Some((id, direction)) = session {
            let shortly = if words[1] as u8 == Protocol::TCP {
                self.steady(now, packet, id, direction)
            } else {
                self.flowing(now, packet, id, direction)
            };
            return match shortly {
                Some(verdict) => verdict,
                None => self.walk_long(now, packet, seen, to, session, None),
            };
        }
        // Who has the session owns the flow; only a miss is worth the question.
        let key = FlowKey::from_words(words);
        if let Some(owner) = self.other_owner(packet, &key, hash, to) {
            return self.hand_off_plain(packet, owner);
        }
        if self.guarded
            && to == Owned::Vip
            && let Some(reason) = self.unwelcome_plain(now, packet, words)
        {
            return Verdict::Drop(reason);
        }
        let asked = burst.asked(seen.at);
        match self.stranger(now, packet, &asked) {
            Some(verdict) => verdict,
            None => self.walk_long(now, packet, seen, to, None, asked.service),
        }
    }

    /// Decides what becomes of a plain packet for which no short way is.
    #[inline(never)]
    fn walk_long(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        seen: &Seen,
        to: Owned,
        session: Option<(SessionId, Direction)>,
        service: Option<ServiceId>,
    ) -> Verdict {
        let Some(v4) = V4::plain_again(packet.frame.bytes()) else {
            return Verdict::Drop(DropReason::Malformed);
        };
        let found = Found {
            l3: V4::PLAIN_L3,
            v4,
            key: FlowKey::from_words(seen.words),
            to,
            service,
        };
        self.flow(now, packet, &found, session)
    }

    /// Decides what becomes of a packet that is no plain one: parses it and classifies it.
    #[cold]
    #[inline(never)]
    pub(crate) fn walk_other(&mut self, now: Now, packet: &mut Packet<'_>) -> Verdict {
        let parsed = match Parsed::parse(packet.frame.bytes()) {
            Ok(parsed) => parsed,
            Err(ParseError::BadIpChecksum) => return Verdict::Drop(DropReason::BadChecksum),
            Err(
                ParseError::Truncated { .. }
                | ParseError::BadVersion(_)
                | ParseError::BadHeaderLength(_)
                | ParseError::BadTotalLength(_)
                | ParseError::BadFragment
                | ParseError::BadTcpOffset(_)
                | ParseError::BadUdpLength(_),
            ) => return Verdict::Drop(DropReason::Malformed),
        };
        let v4 = match parsed.kind {
            Kind::Ipv4(v4) => v4,
            Kind::Arp if parsed.vlan.is_none() => return self.arp(now, packet),
            Kind::Arp | Kind::Ipv6 | Kind::Other(_) => return self.host(packet),
        };
        let Some(to) = self.plan.owned(v4.dst) else {
            return self.host(packet);
        };
        if parsed.vlan.is_some() {
            return Verdict::Drop(DropReason::Tagged);
        }
        if let Some(reason) = self.unwanted(packet, v4.src, to) {
            return Verdict::Drop(reason);
        }
        if self.guarded && to == Owned::Vip && self.is_denied(v4.src, None) {
            return Verdict::Drop(DropReason::Denied);
        }
        let l3 = parsed.l3;
        if v4.fragment.is_some() {
            return self.fragment(now, packet, l3, &v4, to);
        }
        match v4.l4_kind {
            L4::Tcp(_) | L4::Udp { .. } => {}
            L4::Icmp { .. } => return self.icmp(now, packet, l3, &v4, to),
            L4::NonFirstFragment => return Verdict::Drop(DropReason::Fragment),
            L4::Other(_) => return Verdict::Drop(DropReason::UnknownProtocol),
        }
        let Some(key) = key_of(&v4) else {
            return Verdict::Drop(DropReason::UnknownProtocol);
        };
        let hash = self.table.hash(&key);
        self.walking = Some((key.words(), hash));
        let service = None;
        let found = Found {
            l3,
            v4,
            key,
            to,
            service,
        };
        #[cfg(any(test, feature = "panic-hook"))]
        self.panic_if_marked(packet);
        if let Some(owner) = self.other_owner(packet, &key, hash, to) {
            return self.hand_off(packet, &found, owner);
        }
        let session = self.table.find(hash, &key);
        if self.guarded && to == Owned::Vip && session.is_none() {
            let service = self.plan.listening(key.dst, key.dst_port, key.protocol);
            if let Some(reason) = self.unwelcome(now, &v4, service) {
                return Verdict::Drop(reason);
            }
        }
        self.flow(now, packet, &found, session)
    }

    /// Says why a plain packet that belongs to no session is not wanted, if it is not.
    #[cold]
    #[inline(never)]
    fn unwelcome_plain(
        &mut self,
        now: Now,
        packet: &Packet<'_>,
        words: [u64; 2],
    ) -> Option<DropReason> {
        let v4 = V4::plain_again(packet.frame.bytes())?;
        let key = FlowKey::from_words(words);
        let service = self.plan.listening(key.dst, key.dst_port, key.protocol);
        self.unwelcome(now, &v4, service)
    }

    fn hand_off(&mut self, packet: &mut Packet<'_>, found: &Found, owner: WorkerId) -> Verdict {
        // The owner cannot know any more what the driver said about the checksum.
        self.complete_checksum(packet, found.l3, &found.v4);
        Verdict::HandOff(owner)
    }

    fn hand_off_plain(&mut self, packet: &mut Packet<'_>, owner: WorkerId) -> Verdict {
        if packet.maybe_partial {
            self.complete_plain(packet);
        }
        Verdict::HandOff(owner)
    }

    /// Says why a packet to one of our addresses is not wanted, if it is not.
    #[inline]
    fn unwanted(&self, packet: &Packet<'_>, src: Ipv4Addr, to: Owned) -> Option<DropReason> {
        let mine = self.plan.port(packet.port).map(|port| port.mac().0);
        let eth = EthHeader::at(packet.frame.bytes(), 0);
        if mine != eth.map(|eth| eth.dst) {
            return Some(DropReason::NotOurs);
        }
        // An answer to a group of stations would be for nobody.
        let to_group = !eth.is_some_and(|eth| eth.src_addr().is_unicast());
        // Real servers answer where the pool is; elsewhere somebody speaks in their name.
        let elsewhere = matches!(to, Owned::Lip { port, .. } if port != packet.port);
        let martian = to_group || elsewhere || is_martian(src) || self.plan.owns(src);
        martian.then_some(DropReason::Martian)
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
            Owned::Vip => self.owner_of_client(key, hash),
            Owned::Lip { home, .. } => self.ports.owner(home, key),
        })
    }

    fn owner_of_client(&self, key: &FlowKey, hash: FlowHash) -> u8 {
        if self.plan.persists
            && let Some(owner) = self.owner_of_prefix(key)
        {
            return owner;
        }
        let steering = self.clients.as_ref();
        steering
            .and_then(|steering| steering.owner(key))
            .unwrap_or_else(|| hash.owner(self.facts.workers))
    }

    /// Returns the worker that remembers which real server a client has: all of its flows are that
    /// one's, whichever queue a NIC puts them into.
    #[cold]
    fn owner_of_prefix(&self, key: &FlowKey) -> Option<u8> {
        let service = self.plan.listening(key.dst, key.dst_port, key.protocol)?;
        let persist = self.plan.service(service)?.persist?;
        let hash = self.table.hash(&FlowKey {
            src: Ipv4Addr::from_bits(key.src.to_bits() & persist.mask),
            dst: Ipv4Addr::UNSPECIFIED,
            src_port: 0,
            dst_port: 0,
            protocol: 0,
        });
        Some(hash.owner(self.facts.workers))
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

    /// Does so for a plain packet, which is not parsed here in vain where that cannot be.
    #[inline(never)]
    pub(crate) fn complete_plain(&mut self, packet: &mut Packet<'_>) {
        if let Some(v4) = V4::plain_again(packet.frame.bytes()) {
            self.complete_checksum(packet, V4::PLAIN_L3, &v4);
        }
        packet.maybe_partial = false;
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
        if v4.total_len > mtu && v4.total_len - packet.surplus(v4) > mtu {
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
        // A super-frame would be sent later as one packet, and its checksum not be added up.
        let waits = packet.segment_size == 0;
        if waits && self.neighbours.hold(now_ms, hop.port, hop.neighbour, frame) {
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

/// Returns the key of a packet of TCP or UDP.
#[inline]
fn key_of(v4: &V4) -> Option<FlowKey> {
    let (src_port, dst_port) = v4.ports()?;
    Some(FlowKey {
        src: v4.src,
        dst: v4.dst,
        src_port,
        dst_port,
        protocol: v4.protocol,
    })
}
