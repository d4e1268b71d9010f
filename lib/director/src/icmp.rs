//! ICMP to our addresses: pings are answered, errors about a session's packets are passed on.

use nat_engine::{
    Direction, SessionFlags, icmp_checksum_is_valid, session_key_of, translate_icmp_error,
};
use weir_model::{Counter, DropReason, Now, Verdict};
use weir_wire::icmp::is_error;
use weir_wire::{
    Delta, EthHeader, Header, IcmpHeader, IcmpKind, Ipv4Header, L4, V4, parse_embedded_v4,
};

use crate::director::millis;
use crate::plan::Owned;
use crate::{Director, Packet};

/// The time to live of answers to pings.
const TTL: u8 = 64;

impl Director {
    /// Walks an ICMP message to one of our addresses.
    pub(crate) fn icmp(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        l3: u16,
        v4: &V4,
        to: Owned,
    ) -> Verdict {
        let L4::Icmp { kind, .. } = v4.l4_kind else {
            return Verdict::Drop(DropReason::UnmatchedIcmp);
        };
        if !icmp_checksum_is_valid(&packet.frame, l3, v4) {
            // A sum made right by translation would hide the damage.
            return Verdict::Drop(DropReason::BadChecksum);
        }
        if kind == IcmpKind::ECHO_REQUEST {
            return self.echo(now, packet, l3, v4);
        }
        // A redirect is for the host it was sent to, and source quench is no more (RFC 6633).
        if is_error(kind) && !matches!(kind, IcmpKind::REDIRECT | IcmpKind::SOURCE_QUENCH) {
            return self.icmp_error(now, packet, l3, v4, to);
        }
        Verdict::Drop(DropReason::UnmatchedIcmp)
    }

    /// Turns a ping into its answer in place (RFC 1122 section 3.2.2.6).
    fn echo(&mut self, now: Now, packet: &mut Packet<'_>, l3: u16, v4: &V4) -> Verdict {
        if !self.echo_rate.allow(millis(now)) {
            return Verdict::Drop(DropReason::RateLimited);
        }
        match turn_echo(packet.frame.bytes_mut(), l3, v4) {
            Some(()) => {
                self.count(Counter::EchoAnswered);
                Verdict::Reply
            }
            None => Verdict::Drop(DropReason::Malformed),
        }
    }

    /// Passes an error on to the end of the session whose packet it quotes.
    fn icmp_error(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        l3: u16,
        v4: &V4,
        to: Owned,
    ) -> Verdict {
        let unmatched = Verdict::Drop(DropReason::UnmatchedIcmp);
        let message = v4.payload(packet.frame.bytes(), l3).unwrap_or_default();
        let quotation = message.get(IcmpHeader::LEN..).unwrap_or_default();
        let Ok(embedded) = parse_embedded_v4(quotation) else {
            return unmatched;
        };
        let Some(key) = session_key_of(&embedded) else {
            return unmatched;
        };
        if key.dst != v4.dst {
            return unmatched;
        }
        let hash = self.table.hash(&key);
        if let Some(owner) = self.other_owner(packet, &key, hash, to) {
            return Verdict::HandOff(owner);
        }
        let Some((id, direction)) = self.table.find(hash, &key) else {
            return unmatched;
        };
        let Some(session) = self.table.get(id) else {
            return unmatched;
        };
        let (_, _, destination, _) = session.outgoing(direction);
        let hop = match self.way(now, packet, l3, v4, destination) {
            Ok(hop) => hop,
            Err(verdict) => return verdict,
        };
        let Some(session) = self.table.get(id) else {
            return unmatched;
        };
        let grown = session.flags.has(SessionFlags::TOA_WANTED);
        let overhead = match (direction, self.plan.service(session.service)) {
            (Direction::Outbound, Some(service)) if grown => service.overhead(),
            (Direction::Outbound | Direction::Inbound, _) => 0,
        };
        let frame = &mut packet.frame;
        let done = translate_icmp_error(frame, l3, v4, &embedded, session, direction, overhead);
        if done.is_none() {
            return Verdict::Drop(DropReason::Malformed);
        }
        self.count(Counter::IcmpTranslated);
        self.send_on(now, packet, l3, hop)
    }
}

fn turn_echo(bytes: &mut [u8], l3: u16, v4: &V4) -> Option<()> {
    let ip = Ipv4Header::at_mut(bytes, l3 as usize)?;
    // Swapped addresses leave the sum as it is; the time to live begins anew.
    core::mem::swap(&mut ip.src, &mut ip.dst);
    let old = ip.ttl_word();
    ip.ttl = TTL;
    ip.checksum = Delta::new()
        .replace_u16(old, ip.ttl_word())
        .apply(ip.checksum.get())
        .into();
    let icmp = IcmpHeader::at_mut(bytes, v4.l4 as usize)?;
    let request = u16::from_be_bytes([icmp.kind, icmp.code]);
    icmp.kind = IcmpKind::ECHO_REPLY;
    let reply = u16::from_be_bytes([icmp.kind, icmp.code]);
    icmp.checksum = Delta::new()
        .replace_u16(request, reply)
        .apply(icmp.checksum.get())
        .into();
    EthHeader::at_mut(bytes, 0)?.swap_addrs();
    Some(())
}
