//! Fragments of UDP datagrams: the first one names the ports, the others follow it.

use alloc::vec;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use nat_engine::FlowKey;
use weir_model::{DropReason, Now, Verdict};
use weir_wire::{Delta, Header, Ipv4Header, L4, Protocol, V4};

use crate::director::millis;
use crate::found::Found;
use crate::plan::Owned;
use crate::{Director, Packet};

/// Datagrams under way at once, whatever is sent: sets, and places in each.
const SETS: usize = 256;
const WAYS: usize = 4;
/// How long the fragments of a datagram may be apart.
const LIFE_MS: u32 = 2_000;

/// What the fragments of one datagram have in common (RFC 791 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct DatagramKey {
    src: Ipv4Addr,
    dst: Ipv4Addr,
    ident: u16,
}

/// A datagram of which the first fragment has been seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    key: DatagramKey,
    src_port: u16,
    dst_port: u16,
    /// The identification with which its fragments leave.
    ident: u16,
    since_ms: u32,
}

/// The datagrams whose other fragments may follow.
#[derive(Debug)]
pub(crate) struct Fragments {
    sets: Vec<[Option<Datagram>; WAYS]>,
    next_ident: u16,
}

impl Fragments {
    pub(crate) fn new(first_ident: u16) -> Self {
        Self {
            sets: vec![[None; WAYS]; SETS],
            next_ident: first_ident,
        }
    }

    /// Notes the ports that a first fragment names. Many clients leave by one LIP, so the datagram
    /// gets an identification of its own: their fragments must not be put together.
    fn note(&mut self, now_ms: u32, key: DatagramKey, src_port: u16, dst_port: u16) -> Datagram {
        let datagram = Datagram {
            key,
            src_port,
            dst_port,
            ident: self.next_ident,
            since_ms: now_ms,
        };
        self.next_ident = self.next_ident.wrapping_add(1);
        let age = |place: &Option<Datagram>| match place {
            None => u32::MAX,
            Some(old) if old.key == key => u32::MAX,
            Some(old) => now_ms.wrapping_sub(old.since_ms),
        };
        let set = self.sets.get_mut(set_of(key));
        if let Some(place) = set.and_then(|set| set.iter_mut().max_by_key(|place| age(place))) {
            *place = Some(datagram);
        }
        datagram
    }

    fn find(&self, now_ms: u32, key: DatagramKey) -> Option<Datagram> {
        let set = self.sets.get(set_of(key))?;
        let found = set.iter().flatten().find(|datagram| datagram.key == key)?;
        (now_ms.wrapping_sub(found.since_ms) < LIFE_MS).then_some(*found)
    }
}

impl Director {
    /// Walks a fragment to one of our addresses. Only those of UDP go on, and only behind the first
    /// one of their datagram: TCP finds its path's MTU instead.
    pub(crate) fn fragment(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        l3: u16,
        v4: &V4,
        to: Owned,
    ) -> Verdict {
        let dropped = Verdict::Drop(DropReason::Fragment);
        let (Some(fragment), Protocol::UDP) = (v4.fragment, v4.protocol) else {
            return dropped;
        };
        let key = DatagramKey {
            src: v4.src,
            dst: v4.dst,
            ident: fragment.id,
        };
        let named = match v4.l4_kind {
            L4::Udp { dst_port, .. } => self.plan.listening(v4.dst, dst_port, v4.protocol),
            L4::NonFirstFragment | L4::Tcp(_) | L4::Icmp { .. } | L4::Other(_) => None,
        };
        let defence = named.and_then(|service| self.plan.service(service)?.defence.as_ref());
        if defence.is_some_and(|defence| defence.refuses_fragments) {
            // It is not noted, so those behind it are nobody's.
            return Verdict::Drop(DropReason::FragmentRefused);
        }
        let datagram = match v4.l4_kind {
            L4::Udp {
                src_port, dst_port, ..
            } => Some(self.fragments.note(millis(now), key, src_port, dst_port)),
            L4::NonFirstFragment => self.fragments.find(millis(now), key),
            L4::Tcp(_) | L4::Icmp { .. } | L4::Other(_) => None,
        };
        let Some(datagram) = datagram else {
            return dropped;
        };
        let flow = FlowKey {
            src: v4.src,
            dst: v4.dst,
            src_port: datagram.src_port,
            dst_port: datagram.dst_port,
            protocol: v4.protocol,
        };
        let hash = self.table.hash(&flow);
        if let Some(owner) = self.other_owner(packet, &flow, hash, to) {
            return Verdict::HandOff(owner);
        }
        if set_ident(packet.frame.bytes_mut(), l3, datagram.ident).is_none() {
            return dropped;
        }
        let found = Found {
            l3,
            v4: *v4,
            key: flow,
            to,
            service: None,
        };
        let session = self.table.find(hash, &flow);
        if self.guarded
            && session.is_none()
            && to == Owned::Vip
            && let Some(reason) = self.unwelcome(now, v4, named)
        {
            return Verdict::Drop(reason);
        }
        match (v4.l4_kind, session) {
            (L4::NonFirstFragment, Some((id, direction))) => {
                self.udp(now, packet, &found, id, direction)
            }
            (L4::NonFirstFragment, None) => dropped,
            (L4::Tcp(_) | L4::Udp { .. } | L4::Icmp { .. } | L4::Other(_), session) => {
                self.flow(now, packet, &found, session)
            }
        }
    }
}

fn set_of(key: DatagramKey) -> usize {
    let bits = u64::from(u32::from(key.src) ^ u32::from(key.dst).rotate_left(16)) << 16;
    let mixed = (bits | u64::from(key.ident)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 40) as usize % SETS
}

fn set_ident(bytes: &mut [u8], l3: u16, ident: u16) -> Option<()> {
    let ip = Ipv4Header::at_mut(bytes, l3 as usize)?;
    let delta = Delta::new().replace_u16(ip.id.get(), ident);
    ip.id = ident.into();
    ip.checksum = delta.apply(ip.checksum.get()).into();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(ident: u16) -> DatagramKey {
        DatagramKey {
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::new(203, 0, 113, 53),
            ident,
        }
    }

    #[test]
    fn a_datagram_is_known_for_a_while_and_each_gets_an_identification_of_its_own() {
        let mut fragments = Fragments::new(u16::MAX);
        let first = fragments.note(0, key(7), 1000, 53);
        let second = fragments.note(0, key(8), 1000, 53);
        assert_eq!((first.ident, second.ident), (u16::MAX, 0));
        assert_eq!(fragments.find(LIFE_MS - 1, key(7)), Some(first));
        assert_eq!(fragments.find(LIFE_MS, key(7)), None);
        assert_eq!(fragments.find(0, key(9)), None);
    }

    #[test]
    fn a_flood_of_first_fragments_displaces_the_oldest_and_nothing_grows() {
        let mut fragments = Fragments::new(0);
        for ident in 0..u16::MAX {
            fragments.note(u32::from(ident) / 64, key(ident), 1, 2);
        }
        let known = (0..u16::MAX).filter(|&ident| fragments.find(1024, key(ident)).is_some());
        assert_eq!(known.count(), SETS * WAYS);
        assert!(fragments.find(1024, key(u16::MAX - 1)).is_some());
    }
}
