//! Rewriting: addresses, ports, sequence numbers, SACK edges, timestamps, windows, and the
//! checksums by difference (RFC 1624), so that an error in a packet stays one.

use core::net::Ipv4Addr;

use weir_wire::{
    Delta, FrameBuf, Header, Ipv4Header, OptionKind, OptionSummary, TcpFlags, TcpHeader, UdpHeader,
    V4,
};

use crate::{Direction, Session, SessionFlags};

/// What a TCP segment's options may be changed to, beside the translation.
#[derive(Clone, Copy, Debug, Default)]
pub struct OptionPolicy {
    /// The largest segment size that the receiver of a SYN may be told; none leaves it.
    pub mss_limit: Option<u16>,
    /// Whether timestamps are blanked out of a SYN.
    pub strip_timestamps: bool,
}

/// What was done to a segment's options, for the counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// The maximum segment size was lowered.
    pub mss_clamped: bool,
    /// Options that claim a client address were blanked.
    pub forged_toa: bool,
}

/// The numbers that a direction's translation adds; all wrap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shifts {
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) tsval: u32,
    pub(crate) tsecr: u32,
}

impl Session {
    /// Returns the addresses and ports with which packets of a direction leave.
    #[inline]
    #[must_use]
    pub const fn outgoing(&self, direction: Direction) -> (Ipv4Addr, u16, Ipv4Addr, u16) {
        match direction {
            Direction::Inbound => (self.lip, self.lip_port, self.real, self.real_port),
            Direction::Outbound => (self.vip, self.vip_port, self.client, self.client_port),
        }
    }

    #[inline]
    pub(crate) const fn shifts(&self, direction: Direction) -> Shifts {
        let (mine, other, my_ts, other_ts) = match direction {
            Direction::Inbound => (
                self.inbound_seq,
                self.outbound_seq,
                self.inbound_ts,
                self.outbound_ts,
            ),
            Direction::Outbound => (
                self.outbound_seq,
                self.inbound_seq,
                self.outbound_ts,
                self.inbound_ts,
            ),
        };
        Shifts {
            seq: mine.0,
            ack: other.inverse().0,
            tsval: my_ts,
            tsecr: other_ts.wrapping_neg(),
        }
    }
}

/// Translates a TCP segment in place; `options` is what one pass over its options found.
///
/// Nothing changes, and the answer is `None`, when the frame is shorter than `v4` says.
pub fn translate_tcp(
    frame: &mut FrameBuf<'_>,
    l3: u16,
    v4: &V4,
    session: &mut Session,
    direction: Direction,
    options: &OptionSummary,
    policy: OptionPolicy,
) -> Option<Changed> {
    let tcp = v4.tcp()?;
    let bytes = frame.bytes_mut();
    // Both headers are there, or nothing is touched.
    TcpHeader::at(bytes, v4.l4 as usize)?;
    let (src, src_port, dst, dst_port) = session.outgoing(direction);
    let shifts = session.shifts(direction);
    let mut delta = rewrite_ip(bytes, l3, src, dst)?;
    let mut changed = Changed::default();

    if !(options.timestamps.is_none()
        && options.sack.is_none()
        && options.toa.is_empty()
        && options.mss.is_none())
    {
        let bytes = v4.tcp_options_mut(bytes)?;
        if !options.toa.is_empty() && direction == Direction::Inbound {
            delta = options.toa.blank(bytes, delta);
            changed.forged_toa = true;
        }
        if let Some(offset) = options.timestamps {
            let offset = offset as usize;
            if policy.strip_timestamps && tcp.flags.contains(TcpFlags::SYN) {
                delta = blank(bytes, offset, 10, delta);
            } else {
                let acks = tcp.flags.contains(TcpFlags::ACK);
                delta = translate_timestamps(bytes, offset, shifts, acks, delta);
                if direction == Direction::Inbound {
                    let tsval = bytes.get(offset + 2..).and_then(<[u8]>::first_chunk::<4>);
                    if let Some(tsval) = tsval {
                        note_tsval(session, u32::from_be_bytes(*tsval));
                    }
                }
            }
        }
        if let Some((offset, blocks)) = options.sack {
            delta = translate_sack(bytes, offset as usize, blocks as usize, shifts.ack, delta);
        }
        if let (Some((offset, mss)), Some(limit)) = (options.mss, policy.mss_limit)
            && mss > limit
        {
            delta = put_u16(bytes, offset as usize + 2, limit, delta);
            changed.mss_clamped = true;
        }
    }

    let tcp_header = TcpHeader::at_mut(bytes, v4.l4 as usize)?;
    delta = delta
        .replace_u16(tcp_header.src_port.get(), src_port)
        .replace_u16(tcp_header.dst_port.get(), dst_port);
    tcp_header.src_port = src_port.into();
    tcp_header.dst_port = dst_port.into();
    let seq = tcp.seq.0.wrapping_add(shifts.seq);
    delta = delta.replace_u32(tcp.seq.0, seq);
    tcp_header.seq = seq.into();
    if tcp.flags.contains(TcpFlags::ACK) {
        let ack = tcp.ack.0.wrapping_add(shifts.ack);
        delta = delta.replace_u32(tcp.ack.0, ack);
        tcp_header.ack = ack.into();
    }
    let window_shift = session.wire_shift(direction);
    if window_shift != 0 && !tcp.flags.contains(TcpFlags::SYN) {
        let window = shift_window(tcp.window, window_shift);
        delta = delta.replace_u16(tcp.window, window);
        tcp_header.window = window.into();
    }
    tcp_header.checksum = delta.apply(tcp_header.checksum.get()).into();
    Some(changed)
}

/// Translates a UDP datagram in place; a checksum of 0 stays 0 (RFC 768).
///
/// Nothing changes, and the answer is `None`, when the frame is shorter than `v4` says.
#[inline]
pub fn translate_udp(
    frame: &mut FrameBuf<'_>,
    l3: u16,
    v4: &V4,
    session: &Session,
    direction: Direction,
) -> Option<()> {
    let bytes = frame.bytes_mut();
    UdpHeader::at(bytes, v4.l4 as usize)?;
    let (src, src_port, dst, dst_port) = session.outgoing(direction);
    let delta = rewrite_ip(bytes, l3, src, dst)?;
    let udp = UdpHeader::at_mut(bytes, v4.l4 as usize)?;
    let delta = delta
        .replace_u16(udp.src_port.get(), src_port)
        .replace_u16(udp.dst_port.get(), dst_port);
    udp.src_port = src_port.into();
    udp.dst_port = dst_port.into();
    udp.checksum = delta.apply_udp(udp.checksum.get()).into();
    Some(())
}

/// Translates a later fragment in place: it has addresses, but no ports and no checksum of its own.
///
/// Nothing changes, and the answer is `None`, when the frame is too short.
pub fn translate_fragment(
    frame: &mut FrameBuf<'_>,
    l3: u16,
    session: &Session,
    direction: Direction,
) -> Option<()> {
    let (src, _, dst, _) = session.outgoing(direction);
    rewrite_ip(frame.bytes_mut(), l3, src, dst).map(|_| ())
}

/// Rewrites the addresses, takes one from the time to live, mends the header checksum, and returns
/// what the addresses change in the checksum of the transport header.
#[inline]
pub(crate) fn rewrite_ip(bytes: &mut [u8], l3: u16, src: Ipv4Addr, dst: Ipv4Addr) -> Option<Delta> {
    let ip = Ipv4Header::at_mut(bytes, l3 as usize)?;
    let addresses = Delta::new()
        .replace_bytes4(ip.src, src.octets())
        .replace_bytes4(ip.dst, dst.octets());
    ip.set_src(src);
    ip.set_dst(dst);
    let old = ip.ttl_word();
    ip.ttl = ip.ttl.saturating_sub(1);
    let header = addresses.replace_u16(old, ip.ttl_word());
    ip.checksum = header.apply(ip.checksum.get()).into();
    Some(addresses)
}

/// Scales a window from the real server's scale to the one that the client was told: shifted by
/// the difference, rounded down, at most what 16 bits hold.
#[inline]
pub(crate) fn shift_window(window: u16, shift: i8) -> u16 {
    if shift >= 0 {
        u16::try_from(u32::from(window) << shift.min(14)).unwrap_or(u16::MAX)
    } else {
        window >> shift.unsigned_abs().min(15)
    }
}

/// Translates both timestamps of the option at `offset`; `TSecr` counts on segments with ACK only
/// (RFC 7323 section 3.2).
fn translate_timestamps(
    options: &mut [u8],
    offset: usize,
    shifts: Shifts,
    acks: bool,
    delta: Delta,
) -> Delta {
    let delta = add_u32(options, offset + 2, shifts.tsval, delta);
    if acks {
        add_u32(options, offset + 6, shifts.tsecr, delta)
    } else {
        delta
    }
}

/// Remembers the highest timestamp that went to the real server, for the port's next session.
#[inline]
pub(crate) fn note_tsval(session: &mut Session, tsval: u32) {
    let ahead = tsval.wrapping_sub(session.last_tsval).cast_signed() > 0;
    if ahead || !session.flags.has(SessionFlags::TIMESTAMPS) {
        session.last_tsval = tsval;
        session.flags.set(SessionFlags::TIMESTAMPS);
    }
}

/// Moves both edges of each SACK block (RFC 2018 section 3).
fn translate_sack(
    options: &mut [u8],
    offset: usize,
    blocks: usize,
    shift: u32,
    mut delta: Delta,
) -> Delta {
    if shift == 0 {
        return delta;
    }
    for edge in 0..blocks * 2 {
        delta = add_u32(options, offset + 2 + edge * 4, shift, delta);
    }
    delta
}

/// Adds to the 32-bit number at `at`, wrapping, and notes the change.
fn add_u32(options: &mut [u8], at: usize, add: u32, delta: Delta) -> Delta {
    let Some(field) = options
        .get_mut(at..)
        .and_then(|rest| rest.first_chunk_mut::<4>())
    else {
        return delta;
    };
    let old = u32::from_be_bytes(*field);
    let new = old.wrapping_add(add);
    *field = new.to_be_bytes();
    delta.replace_u32_at(at, old, new)
}

/// Puts a 16-bit number at `at` and notes the change.
fn put_u16(options: &mut [u8], at: usize, new: u16, delta: Delta) -> Delta {
    let Some(field) = options
        .get_mut(at..)
        .and_then(|rest| rest.first_chunk_mut::<2>())
    else {
        return delta;
    };
    let old = u16::from_be_bytes(*field);
    *field = new.to_be_bytes();
    delta.replace_u16_at(at, old, new)
}

/// Overwrites an option with NOPs and notes the change.
fn blank(options: &mut [u8], offset: usize, len: usize, mut delta: Delta) -> Delta {
    for (at, byte) in options.iter_mut().enumerate().skip(offset).take(len) {
        delta = delta.replace_u8_at(at, *byte, OptionKind::NOP);
        *byte = OptionKind::NOP;
    }
    delta
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_rounded_down_and_never_wraps() {
        assert_eq!(shift_window(0xffff, 2), 0xffff);
        assert_eq!(shift_window(100, 2), 400);
        assert_eq!(shift_window(7, -2), 1);
        assert_eq!(shift_window(3, -2), 0);
    }
}
