//! ICMP errors about packets of a session, passed on to the end that sent the packet (RFC 5508
//! section 4): the quoted packet is turned back into what that end had sent.

use weir_wire::{
    Delta, EmbeddedL4, EmbeddedV4, FrameBuf, Header, IcmpCode, IcmpHeader, IcmpKind, Ipv4Header,
    Sum, V4,
};

use crate::rewrite::rewrite_ip;
use crate::{Direction, FlowKey, Session};

/// Returns the key of the packets that answer the quoted one: the session that it belongs to is
/// found by it, and its direction is the one in which the error itself travels.
#[must_use]
pub fn session_key_of(embedded: &EmbeddedV4) -> Option<FlowKey> {
    let (src_port, dst_port) = embedded.ports()?;
    Some(FlowKey {
        src: embedded.dst,
        dst: embedded.src,
        src_port: dst_port,
        dst_port: src_port,
        protocol: embedded.protocol,
    })
}

/// Says whether the message's checksum is right; a wrong one must not be made right by translation.
#[must_use]
pub fn icmp_checksum_is_valid(frame: &FrameBuf<'_>, l3: u16, v4: &V4) -> bool {
    v4.payload(frame.bytes(), l3)
        .is_some_and(|message| Sum::of(message).is_valid())
}

/// Translates an ICMP error that travels in `direction` in place.
///
/// The next-hop MTU of a frag-needed message is lowered by `overhead`, which is what Weir adds to
/// packets of that size. Nothing is sent on, and the answer is `None`, when the frame is shorter
/// than its headers say.
pub fn translate_icmp_error(
    frame: &mut FrameBuf<'_>,
    l3: u16,
    v4: &V4,
    embedded: &EmbeddedV4,
    session: &Session,
    direction: Direction,
    overhead: u16,
) -> Option<()> {
    let (src, _, dst, _) = session.outgoing(direction);
    // The quoted packet was sent by the end that the error goes to, to whom that end talks.
    let quoted = session.key(direction.reverse());
    let bytes = frame.bytes_mut();
    // ICMP has no pseudo header, so the change of addresses concerns nothing else.
    let _ = rewrite_ip(bytes, l3, src, dst)?;
    let message = v4.payload_mut(bytes, l3)?;
    let (header, quotation) = message.split_at_mut_checked(IcmpHeader::LEN)?;

    let ip = Ipv4Header::at_mut(quotation, 0)?;
    let addresses = Delta::new()
        .replace_bytes4(ip.src, quoted.src.octets())
        .replace_bytes4(ip.dst, quoted.dst.octets());
    ip.src = quoted.src.octets();
    ip.dst = quoted.dst.octets();
    ip.checksum = addresses.apply(ip.checksum.get()).into();

    let l4 = embedded.l4 as usize;
    let mut delta = addresses;
    delta = put_u16(quotation, l4, quoted.src_port, delta)?;
    delta = put_u16(quotation, l4 + 2, quoted.dst_port, delta)?;
    if let EmbeddedL4::Tcp {
        seq, seq_offset, ..
    } = embedded.l4_kind
    {
        let (sent, acked) = match direction {
            Direction::Outbound => (session.inbound_seq, session.outbound_seq),
            Direction::Inbound => (session.outbound_seq, session.inbound_seq),
        };
        delta = put_u32(quotation, seq_offset as usize, sent.unapply(seq).0, delta)?;
        // The acknowledgement number is quoted by routers that quote more than they must.
        let ack_offset = seq_offset as usize + 4;
        if embedded.l4_quoted >= 12
            && let Some(ack) = quotation
                .get(ack_offset..)
                .and_then(|rest| rest.first_chunk::<4>())
        {
            let ack = u32::from_be_bytes(*ack).wrapping_add(acked.0);
            delta = put_u32(quotation, ack_offset, ack, delta)?;
        }
    }
    if let Some(offset) = embedded.l4_checksum_offset() {
        let field = quotation
            .get_mut(offset as usize..)?
            .first_chunk_mut::<2>()?;
        let old = u16::from_be_bytes(*field);
        let new = match embedded.l4_kind {
            EmbeddedL4::Udp { .. } => delta.apply_udp(old),
            EmbeddedL4::Tcp { .. }
            | EmbeddedL4::Icmp { .. }
            | EmbeddedL4::NonFirstFragment
            | EmbeddedL4::Other(_) => delta.apply(old),
        };
        *field = new.to_be_bytes();
    }

    let icmp = IcmpHeader::at_mut(header, 0)?;
    if icmp.kind == IcmpKind::UNREACHABLE && icmp.code == IcmpCode::UNREACHABLE_FRAG_NEEDED {
        let mtu = icmp.next_hop_mtu();
        // 0 comes from routers older than RFC 1191 and stays; 68 is the least that IPv4 allows.
        if mtu > 68 {
            icmp.set_next_hop_mtu(mtu.saturating_sub(overhead).max(68));
        }
    }
    icmp.checksum = 0.into();
    let sum = Sum::of(message).complement();
    IcmpHeader::at_mut(message, 0)?.checksum = sum.into();
    Some(())
}

fn put_u16(bytes: &mut [u8], at: usize, new: u16, delta: Delta) -> Option<Delta> {
    let field = bytes.get_mut(at..)?.first_chunk_mut::<2>()?;
    let old = u16::from_be_bytes(*field);
    *field = new.to_be_bytes();
    Some(delta.replace_u16(old, new))
}

fn put_u32(bytes: &mut [u8], at: usize, new: u32, delta: Delta) -> Option<Delta> {
    let field = bytes.get_mut(at..)?.first_chunk_mut::<4>()?;
    let old = u32::from_be_bytes(*field);
    *field = new.to_be_bytes();
    Some(delta.replace_u32(old, new))
}
