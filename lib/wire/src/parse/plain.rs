//! What nearly every frame is, taken apart at fixed places.

use crate::checksum::Sum;
use crate::eth::{ETHERTYPE_IPV4, EthHeader};
use crate::header::Header as _;
use crate::ipv4::{Ipv4Header, Protocol};
use crate::tcp::TcpHeader;
use crate::udp::UdpHeader;

use super::{L4, Tcp, V4};

impl V4 {
    /// Offset of the IPv4 header in a plain frame.
    pub const PLAIN_L3: u16 = EthHeader::LEN as u16;
    /// Offset of the TCP or UDP header in a plain frame.
    pub const PLAIN_L4: u16 = Self::PLAIN_L3 + Ipv4Header::LEN as u16;

    /// Takes a plain frame apart: TCP or UDP in one whole IPv4 packet without options and without a
    /// tag, in good order. Nothing of what is anything else: [`Parsed::parse`](super::Parsed::parse)
    /// knows why.
    #[expect(
        clippy::inline_always,
        reason = "so that a caller pays only for the fields that it reads"
    )]
    #[inline(always)]
    #[must_use]
    pub fn plain(frame: &[u8]) -> Option<Self> {
        let v4 = Self::plain_again(frame)?;
        let header = frame.get(EthHeader::LEN..)?.first_chunk::<20>()?;
        let words = header.as_chunks::<4>().0.first_chunk::<5>()?;
        Sum::new().add_words(words).is_valid().then_some(v4)
    }

    /// Does what [`plain`](Self::plain) does but for the sum of the IPv4 header, which was right
    /// the first time.
    #[expect(
        clippy::inline_always,
        reason = "so that a caller pays only for the fields that it reads"
    )]
    #[inline(always)]
    #[must_use]
    pub fn plain_again(frame: &[u8]) -> Option<Self> {
        let payload = frame.get(Self::PLAIN_L4 as usize..)?;
        let eth = EthHeader::at(frame, 0)?;
        let ip = Ipv4Header::at(frame, Self::PLAIN_L3 as usize)?;
        if eth.ethertype.get() != ETHERTYPE_IPV4 || ip.version_ihl != 0x45 || ip.is_fragment() {
            return None;
        }
        let total_len = ip.total_len.get();
        let l4_len = total_len.checked_sub(Ipv4Header::LEN as u16)?;
        if l4_len as usize > payload.len() {
            return None;
        }
        let l4_kind = match ip.protocol {
            Protocol::TCP => L4::Tcp(tcp(payload, l4_len)?),
            Protocol::UDP => udp(payload, l4_len)?,
            _ => return None,
        };
        Some(Self {
            src: ip.src_addr(),
            dst: ip.dst_addr(),
            protocol: ip.protocol,
            ttl: ip.ttl,
            tos: ip.tos,
            total_len,
            l4: Self::PLAIN_L4,
            fragment: None,
            dont_fragment: ip.dont_fragment(),
            l4_kind,
        })
    }
}

#[expect(clippy::inline_always, reason = "as its callers")]
#[inline(always)]
fn tcp(payload: &[u8], len: u16) -> Option<Tcp> {
    let tcp = TcpHeader::at(payload, 0)?;
    let header_len = tcp.header_len() as u16;
    if header_len < TcpHeader::LEN as u16 {
        return None;
    }
    Some(Tcp {
        src_port: tcp.src_port.get(),
        dst_port: tcp.dst_port.get(),
        seq: tcp.seq_number(),
        ack: tcp.ack_number(),
        flags: tcp.flags(),
        window: tcp.window.get(),
        header_len,
        payload_len: len.checked_sub(header_len)?,
    })
}

#[expect(clippy::inline_always, reason = "as its callers")]
#[inline(always)]
fn udp(payload: &[u8], l4_len: u16) -> Option<L4> {
    let udp = UdpHeader::at(payload, 0)?;
    let len = udp.len.get();
    (len >= UdpHeader::LEN as u16 && len <= l4_len).then_some(L4::Udp {
        src_port: udp.src_port.get(),
        dst_port: udp.dst_port.get(),
        len,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::parse::tests::{ipv4, tcp, with};
    use crate::parse::{Kind, Parsed};

    /// What the general way says of a frame, where it is a plain one.
    fn judged(frame: &[u8]) -> Option<V4> {
        let parsed = Parsed::parse(frame).ok()?;
        let Kind::Ipv4(v4) = parsed.kind else {
            return None;
        };
        let whole = v4.fragment.is_none() && parsed.vlan.is_none() && v4.l4 == V4::PLAIN_L4;
        let plain = whole && matches!(v4.l4_kind, L4::Tcp(_) | L4::Udp { .. });
        plain.then_some(v4)
    }

    #[test]
    fn a_segment_is_plain_and_one_with_ip_options_or_a_tag_is_not() {
        let frame = ipv4(Protocol::TCP, &tcp(b"hello"));
        assert!(V4::plain(&frame).is_some());
        assert!(V4::plain(&with(frame.clone(), 14, &[0x46])).is_none());
        assert!(V4::plain(&with(frame.clone(), 12, &[0x81, 0])).is_none());
        assert!(V4::plain(&with(frame.clone(), 20, &[0x20, 0])).is_none());
        let damaged = [&frame[..24], &[1, 2], &frame[26..]].concat();
        assert!(V4::plain(&damaged).is_none());
        assert!(V4::plain_again(&damaged).is_some());
    }

    proptest! {
        #[test]
        fn both_ways_agree_on_every_frame(
            protocol in prop_oneof![Just(Protocol::TCP), Just(Protocol::UDP), any::<u8>()],
            payload in prop_oneof![
                Just(tcp(b"hello")),
                prop::collection::vec(any::<u8>(), 0..60),
            ],
            changes in prop::collection::vec((12usize..60, any::<u8>()), 0..3),
            mend in any::<bool>(),
            len in 0usize..80,
            cut in any::<bool>(),
        ) {
            let mut frame = ipv4(protocol, &payload);
            for (at, byte) in changes {
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
            }
            if mend {
                frame = with(frame, 12, &[8, 0]);
            }
            if cut {
                frame.resize(len, 0);
            }
            prop_assert_eq!(V4::plain(&frame), judged(&frame));
        }
    }
}
