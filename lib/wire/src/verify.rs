//! Whole checksums: verified, filled in for what Weir creates, completed where a sender left them
//! to its device.

use core::fmt;

use zerocopy::network_endian::U16;

use crate::checksum::{Sum, pseudo_v4, pseudo_v6};
use crate::eth::{ETHERTYPE_IPV4, ETHERTYPE_VLAN, EthHeader, VlanTag};
use crate::header::Header;
use crate::icmp::IcmpHeader;
use crate::ipv4::{Ipv4Header, Protocol};
use crate::ipv6::{Ipv6Header, UpperLayer};
use crate::parse::{Kind, L4, ParseError, Parsed};
use crate::tcp::TcpHeader;
use crate::udp::UdpHeader;

/// Verifies the checksums of a frame: IPv4 header, and TCP, UDP, ICMP or `ICMPv6`. A fragment's
/// payload is not judged, for its checksum covers the whole; frames that carry neither IPv4 nor
/// IPv6 are in order.
pub fn verify_frame(frame: &[u8]) -> Result<(), BadChecksum> {
    let parsed = Parsed::parse(frame)?;
    match &parsed.kind {
        Kind::Ipv4(_) => verify_v4(frame, &parsed),
        Kind::Ipv6 => verify_v6(frame.get(parsed.l3 as usize..).unwrap_or_default()),
        Kind::Arp | Kind::Other(_) => Ok(()),
    }
}

/// Writes the IPv4 header checksum and that of TCP, UDP or ICMP over whatever stands there; a
/// fragment gets that of its header only. Nothing when the frame does not carry a whole IPv4
/// packet. This is for packets that Weir creates: over bytes from elsewhere it would bless their
/// errors.
#[must_use]
pub fn fill_checksums(frame: &mut [u8]) -> Option<()> {
    let l3 = ipv4_offset(frame)?;
    let ip = Ipv4Header::at_mut(frame, l3)?;
    ip.checksum = 0.into();
    let header_len = ip.header_len();
    let checksum = Sum::of(frame.get(l3..)?.get(..header_len)?).complement();
    Ipv4Header::at_mut(frame, l3)?.checksum = checksum.into();

    let parsed = Parsed::parse(frame).ok()?;
    let Some(field) = Field::of(&parsed) else {
        return Some(());
    };
    field.write(frame, 0)?;
    let sum = field.pseudo.add_bytes(field.segment(frame)?);
    field.write(frame, field.protocol.complement(sum))
}

/// Whether a checksum was completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Completed {
    /// The checksum was left as it is.
    No,
    /// The sender had left the checksum to its device; it is whole now.
    Yes,
}

/// Completes the TCP or UDP checksum where the field holds the folded sum of the pseudo header
/// only: what a veth or virtio sender with checksum offload hands over.
///
/// A whole checksum that happens to equal that sum is computed again to the same value, so nothing
/// is harmed.
#[inline]
pub fn complete_partial(frame: &mut [u8], parsed: &Parsed) -> Completed {
    let Some(field) = Field::of(parsed) else {
        return Completed::No;
    };
    match field.protocol {
        Checked::Tcp | Checked::Udp => {}
        Checked::Icmp | Checked::Icmpv6 => return Completed::No,
    }
    let (Some(found), Some(segment)) = (field.read(frame), field.segment(frame)) else {
        return Completed::No;
    };
    if found != field.pseudo.fold() {
        return Completed::No;
    }
    // The field holds the sum of the pseudo header, so the segment as it stands adds up to all that
    // is covered.
    let checksum = field.protocol.complement(Sum::of(segment));
    match field.write(frame, checksum) {
        Some(()) => Completed::Yes,
        None => Completed::No,
    }
}

/// Which checksum does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadChecksum {
    /// The frame is not understood; [`ParseError::BadIpChecksum`] comes under [`Ipv4`](Self::Ipv4).
    Malformed(ParseError),
    /// That of the IPv4 header.
    Ipv4,
    /// That of TCP.
    Tcp {
        /// In the packet.
        found: u16,
        /// What it should be.
        expected: u16,
    },
    /// That of UDP.
    Udp {
        /// In the packet.
        found: u16,
        /// What it should be.
        expected: u16,
    },
    /// That of ICMP.
    Icmp {
        /// In the packet.
        found: u16,
        /// What it should be.
        expected: u16,
    },
    /// The extension headers or the payload of an IPv6 packet are not understood.
    MalformedIpv6,
}

impl From<ParseError> for BadChecksum {
    fn from(error: ParseError) -> Self {
        if error == ParseError::BadIpChecksum {
            Self::Ipv4
        } else {
            Self::Malformed(error)
        }
    }
}

impl fmt::Display for BadChecksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => fmt::Display::fmt(error, f),
            Self::Ipv4 => f.write_str("IPv4 header checksum is wrong"),
            Self::Tcp { found, expected } => {
                write!(f, "TCP checksum is {found:#06x}, should be {expected:#06x}")
            }
            Self::Udp { found, expected } => {
                write!(f, "UDP checksum is {found:#06x}, should be {expected:#06x}")
            }
            Self::Icmp { found, expected } => {
                write!(
                    f,
                    "ICMP checksum is {found:#06x}, should be {expected:#06x}"
                )
            }
            Self::MalformedIpv6 => f.write_str("IPv6 packet is not understood"),
        }
    }
}

impl core::error::Error for BadChecksum {}

fn verify_v4(frame: &[u8], parsed: &Parsed) -> Result<(), BadChecksum> {
    let Some(field) = Field::of(parsed) else {
        return Ok(());
    };
    let (Some(found), Some(segment)) = (field.read(frame), field.segment(frame)) else {
        return Ok(());
    };
    if field.protocol == Checked::Udp && found == 0 {
        return Ok(());
    }
    field.protocol.judge(found, field.pseudo.add_bytes(segment))
}

fn verify_v6(packet: &[u8]) -> Result<(), BadChecksum> {
    let ip = Ipv6Header::at(packet, 0).ok_or(BadChecksum::MalformedIpv6)?;
    let payload = packet
        .get(Ipv6Header::LEN..)
        .and_then(|rest| rest.get(..ip.payload_len.get() as usize))
        .ok_or(BadChecksum::MalformedIpv6)?;
    let upper =
        UpperLayer::find(ip.next_header, payload).map_err(|_| BadChecksum::MalformedIpv6)?;
    let whole = upper.fragment.is_none_or(|it| it.offset == 0 && !it.more);
    let protocol = match upper.protocol {
        _ if !whole => return Ok(()),
        Protocol::TCP => Checked::Tcp,
        Protocol::UDP => Checked::Udp,
        Protocol::ICMPV6 => Checked::Icmpv6,
        _ => return Ok(()),
    };
    let segment = payload
        .get(upper.offset as usize..)
        .ok_or(BadChecksum::MalformedIpv6)?;
    let found = read_u16(segment, protocol.offset()).ok_or(BadChecksum::MalformedIpv6)?;
    let pseudo = pseudo_v6(
        ip.src_addr(),
        ip.dst_addr(),
        upper.protocol,
        segment.len() as u32,
    );
    protocol.judge(found, pseudo.add_bytes(segment))
}

/// Protocols with a checksum of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Checked {
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
}

impl Checked {
    /// Offset of the checksum in the header.
    const fn offset(self) -> usize {
        match self {
            Self::Tcp => TcpHeader::CHECKSUM_OFFSET,
            Self::Udp => UdpHeader::CHECKSUM_OFFSET,
            Self::Icmp | Self::Icmpv6 => IcmpHeader::CHECKSUM_OFFSET,
        }
    }

    const fn complement(self, sum: Sum) -> u16 {
        match self {
            Self::Udp => sum.complement_udp(),
            Self::Tcp | Self::Icmp | Self::Icmpv6 => sum.complement(),
        }
    }

    /// `sum` is that of everything covered, the field with `found` included.
    fn judge(self, found: u16, sum: Sum) -> Result<(), BadChecksum> {
        if sum.is_valid() {
            return Ok(());
        }
        let expected = self.complement(sum.add_u16(!found));
        Err(match self {
            Self::Tcp => BadChecksum::Tcp { found, expected },
            Self::Udp => BadChecksum::Udp { found, expected },
            Self::Icmp | Self::Icmpv6 => BadChecksum::Icmp { found, expected },
        })
    }
}

/// Where the checksum of an IPv4 packet's payload stands and what it covers.
struct Field {
    protocol: Checked,
    start: usize,
    len: usize,
    pseudo: Sum,
}

impl Field {
    fn of(parsed: &Parsed) -> Option<Self> {
        let v4 = parsed.v4()?;
        if v4.fragment.is_some() {
            return None;
        }
        let (protocol, len) = match v4.l4_kind {
            L4::Tcp(_) => (Checked::Tcp, v4.l4_len(parsed.l3)),
            L4::Udp { len, .. } => (Checked::Udp, len),
            L4::Icmp { .. } => (Checked::Icmp, v4.l4_len(parsed.l3)),
            L4::NonFirstFragment | L4::Other(_) => return None,
        };
        let pseudo = match protocol {
            Checked::Tcp | Checked::Udp => pseudo_v4(v4.src, v4.dst, v4.protocol, len),
            Checked::Icmp | Checked::Icmpv6 => Sum::new(),
        };
        Some(Self {
            protocol,
            start: v4.l4 as usize,
            len: len as usize,
            pseudo,
        })
    }

    fn segment<'a>(&self, frame: &'a [u8]) -> Option<&'a [u8]> {
        frame.get(self.start..)?.get(..self.len)
    }

    fn read(&self, frame: &[u8]) -> Option<u16> {
        read_u16(frame, self.start + self.protocol.offset())
    }

    fn write(&self, frame: &mut [u8], checksum: u16) -> Option<()> {
        U16::new(checksum).put(frame, self.start + self.protocol.offset())
    }
}

fn read_u16(bytes: &[u8], offset: usize) -> Option<u16> {
    U16::at(bytes, offset).map(|field| field.get())
}

/// Where the IPv4 header begins whose version and length are in order.
fn ipv4_offset(frame: &[u8]) -> Option<usize> {
    let mut ethertype = EthHeader::at(frame, 0)?.ethertype.get();
    let mut offset = EthHeader::LEN;
    if ethertype == ETHERTYPE_VLAN {
        ethertype = VlanTag::at(frame, offset)?.ethertype.get();
        offset += VlanTag::LEN;
    }
    let ip = Ipv4Header::at(frame, offset)?;
    (ethertype == ETHERTYPE_IPV4 && ip.version() == 4 && ip.header_len() >= Ipv4Header::LEN)
        .then_some(offset)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    /// `10.0.0.1.4660 > 10.0.0.2.53: UDP, length 2`, tcpdump's "udp sum ok".
    const UDP: [u8; 44] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 30, 0, 0, 0, 0, 64, 17, 0x66, 0xcd,
        10, 0, 0, 1, 10, 0, 0, 2, 0x12, 0x34, 0, 53, 0, 10, 0xb9, 0x6f, 0x1f, 0xff,
    ];
    const FIELD: core::ops::Range<usize> = 40..42;

    fn set(range: core::ops::Range<usize>, value: u16) -> [u8; 44] {
        let mut frame = UDP;
        frame[range].copy_from_slice(&value.to_be_bytes());
        frame
    }

    #[test]
    fn a_wrong_checksum_is_named_with_the_right_one() {
        assert_eq!(verify_frame(&UDP), Ok(()));
        let error = verify_frame(&set(FIELD, 0x1234)).unwrap_err();
        assert_eq!(
            error,
            BadChecksum::Udp {
                found: 0x1234,
                expected: 0xb96f
            }
        );
        assert_eq!(
            error.to_string(),
            "UDP checksum is 0x1234, should be 0xb96f"
        );
        assert_eq!(verify_frame(&set(24..26, 1)), Err(BadChecksum::Ipv4));
        assert!(matches!(
            verify_frame(&UDP[..43]),
            Err(BadChecksum::Malformed(_))
        ));
    }

    #[test]
    fn a_udp_datagram_without_checksum_is_in_order_and_stays_so() {
        let mut frame = set(FIELD, 0);
        assert_eq!(verify_frame(&frame), Ok(()));
        let parsed = Parsed::parse(&frame).unwrap();
        assert_eq!(complete_partial(&mut frame, &parsed), Completed::No);
        assert_eq!(frame, set(FIELD, 0));
    }

    #[test]
    fn a_udp_checksum_that_computes_to_zero_goes_out_as_ones() {
        // With this payload everything adds up to 0xffff.
        let mut frame = set(42..44, 0x1fff_u16.wrapping_add(0xb96f));
        assert_eq!(fill_checksums(&mut frame), Some(()));
        assert_eq!(frame[FIELD], [0xff, 0xff]);
        assert_eq!(verify_frame(&frame), Ok(()));

        // The pseudo header adds up to 0x141e: what an offloading sender leaves.
        frame[FIELD].copy_from_slice(&[0x14, 0x1e]);
        let parsed = Parsed::parse(&frame).unwrap();
        assert_eq!(complete_partial(&mut frame, &parsed), Completed::Yes);
        assert_eq!(frame[FIELD], [0xff, 0xff]);
    }

    #[test]
    fn a_whole_checksum_that_looks_partial_is_not_harmed() {
        // This payload makes the right checksum equal to the sum of the pseudo header.
        let mut frame = set(42..44, 0x1fff + 0xb96f - 0x141e);
        assert_eq!(fill_checksums(&mut frame), Some(()));
        assert_eq!(frame[FIELD], [0x14, 0x1e]);
        let before = frame;
        let parsed = Parsed::parse(&frame).unwrap();
        assert_eq!(complete_partial(&mut frame, &parsed), Completed::Yes);
        assert_eq!(frame, before);
    }

    #[test]
    fn fragments_are_judged_by_their_header_only() {
        let mut frame = UDP;
        frame[20..22].copy_from_slice(&[0, 1]); // offset 8
        frame[24..26].copy_from_slice(&[0x66, 0xcc]);
        assert_eq!(verify_frame(&frame), Ok(()));
        let parsed = Parsed::parse(&frame).unwrap();
        assert_eq!(complete_partial(&mut frame, &parsed), Completed::No);
        let payload = frame[34..].to_vec();
        assert_eq!(fill_checksums(&mut frame), Some(()));
        assert_eq!(
            frame[34..],
            payload[..],
            "the payload of a fragment is not ours to mend"
        );
    }

    #[test]
    fn what_is_no_ip_packet_has_nothing_to_verify_or_fill() {
        let mut frame: Vec<u8> = UDP.to_vec();
        frame[12..14].copy_from_slice(&[0x88, 0xcc]);
        assert_eq!(verify_frame(&frame), Ok(()));
        let before = frame.clone();
        assert_eq!(fill_checksums(&mut frame), None);
        assert_eq!(frame, before);
    }

    #[test]
    fn a_broken_ipv6_packet_is_refused() {
        let mut frame = [0u8; 60];
        frame[12..14].copy_from_slice(&[0x86, 0xdd]);
        frame[14] = 0x60;
        frame[19] = 200; // payload length
        assert_eq!(verify_frame(&frame), Err(BadChecksum::MalformedIpv6));
        assert_eq!(verify_frame(&frame[..53]), Err(BadChecksum::MalformedIpv6));
    }
}
