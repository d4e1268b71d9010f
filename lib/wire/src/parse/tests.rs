use std::vec::Vec;

use super::*;
use crate::eth::{ETHERTYPE_QINQ, EthAddr};
use crate::ipv4::{Ipv4Repr, Protocol};
use crate::seq::SeqNumber;
use crate::tcp::{TcpFlags, TcpRepr};

pub(super) const IP: usize = 14;
pub(super) const L4_AT: usize = 34;

/// A frame that carries `payload` under IPv4.
pub(super) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = std::vec![0; L4_AT];
    EthHeader::new(EthAddr::BROADCAST, EthAddr([2; 6]), ETHERTYPE_IPV4)
        .put(&mut frame, 0)
        .unwrap();
    let repr = Ipv4Repr {
        src: Ipv4Addr::new(10, 0, 0, 1),
        dst: Ipv4Addr::new(10, 0, 0, 2),
        protocol,
        ttl: 63,
        tos: 0xb8,
        ident: 7,
        dont_fragment: true,
        payload_len: payload.len() as u16,
    };
    repr.emit(&mut frame[IP..]).unwrap();
    frame.extend(payload);
    frame
}

pub(super) fn tcp(payload: &[u8]) -> Vec<u8> {
    let repr = TcpRepr {
        src_port: 1234,
        dst_port: 80,
        seq: SeqNumber(0xffff_fffe),
        ack: SeqNumber(9),
        flags: TcpFlags::ACK | TcpFlags::FIN,
        window: 500,
        mss: Some(1460),
        ..TcpRepr::default()
    };
    let mut segment = std::vec![0; repr.buffer_len()];
    repr.emit(&mut segment).unwrap();
    segment.extend(payload);
    segment
}

/// Changes bytes of a frame and mends its IPv4 header checksum.
pub(super) fn with(mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    let len = (frame[IP] & 15) as usize * 4;
    frame[IP + 10..IP + 12].fill(0);
    let sum = Sum::of(frame.get(IP..IP + len).unwrap_or_default()).complement();
    frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn error(frame: &[u8]) -> ParseError {
    Parsed::parse(frame).unwrap_err()
}

fn l4(frame: &[u8]) -> L4 {
    Parsed::parse(frame).unwrap().v4().unwrap().l4_kind
}

#[test]
fn every_field_of_a_segment_is_read() {
    let frame = ipv4(Protocol::TCP, &tcp(b"hello"));
    let parsed = Parsed::parse(&frame).unwrap();
    assert_eq!((parsed.l3, parsed.vlan), (14, None));
    let segment = Tcp {
        src_port: 1234,
        dst_port: 80,
        seq: SeqNumber(0xffff_fffe),
        ack: SeqNumber(9),
        flags: TcpFlags::ACK | TcpFlags::FIN,
        window: 500,
        header_len: 24,
        payload_len: 5,
    };
    let expected = V4 {
        src: Ipv4Addr::new(10, 0, 0, 1),
        dst: Ipv4Addr::new(10, 0, 0, 2),
        protocol: 6,
        ttl: 63,
        tos: 0xb8,
        total_len: 49,
        l4: 34,
        fragment: None,
        dont_fragment: true,
        l4_kind: L4::Tcp(segment),
    };
    assert_eq!(parsed.kind, Kind::Ipv4(expected));
    assert_eq!(expected.tcp_options(&frame), Some(&[2, 4, 5, 0xb4][..]));
    assert_eq!(expected.ports(), Some((1234, 80)));
    assert_eq!((segment.seq_len(), segment.end()), (6, SeqNumber(4)));
}

#[test]
fn ethernet_padding_is_not_payload() {
    let mut frame = ipv4(Protocol::TCP, &tcp(b""));
    frame.resize(60, 0xaa);
    let parsed = Parsed::parse(&frame).unwrap();
    let v4 = parsed.v4().unwrap();
    assert_eq!(v4.tcp().unwrap().payload_len, 0);
    assert_eq!(v4.payload(&frame, parsed.l3).unwrap().len(), 24);
    assert_eq!(v4.payload_mut(&mut frame, parsed.l3).unwrap().len(), 24);
}

#[test]
fn one_tag_is_looked_under_and_two_are_not() {
    let mut frame = ipv4(Protocol::TCP, &tcp(b"hello"));
    frame.splice(12..12, [0x81, 0x00, 0xe0, 0x05]);
    let parsed = Parsed::parse(&frame).unwrap();
    assert_eq!((parsed.l3, parsed.vlan), (18, Some(0xe005)));
    assert_eq!(parsed.v4().unwrap().l4, 38);
    assert_eq!(
        parsed.v4().unwrap().tcp_options_mut(&mut frame).unwrap(),
        [2, 4, 5, 0xb4]
    );
    let cut = Parsed::parse(&frame[..17]);
    assert_eq!(
        cut,
        Err(ParseError::Truncated {
            layer: Layer::Vlan,
            need: 4,
            have: 3
        })
    );

    frame.splice(12..12, [0x81, 0x00, 0x00, 0x06]);
    assert_eq!(
        Parsed::parse(&frame).unwrap().kind,
        Kind::Other(ETHERTYPE_VLAN)
    );
    frame[12..14].copy_from_slice(&ETHERTYPE_QINQ.to_be_bytes());
    assert_eq!(
        Parsed::parse(&frame).unwrap().kind,
        Kind::Other(ETHERTYPE_QINQ)
    );
}

#[test]
fn other_ethertypes_are_named() {
    for (ethertype, kind) in [
        (ETHERTYPE_ARP, Kind::Arp),
        (ETHERTYPE_IPV6, Kind::Ipv6),
        (0x88cc, Kind::Other(0x88cc)),
        (38, Kind::Other(38)),
    ] {
        let mut frame = [0; 14];
        frame[12..].copy_from_slice(&ethertype.to_be_bytes());
        assert_eq!(Parsed::parse(&frame).unwrap().kind, kind);
    }
}

#[test]
fn options_of_ipv4_are_passed_over() {
    let mut frame = ipv4(Protocol::TCP, &tcp(b""));
    frame.splice(L4_AT..L4_AT, [0x94, 4, 0, 0]);
    let frame = with(with(frame, IP, &[0x46]), IP + 2, &[0, 48]);
    let parsed = Parsed::parse(&frame).unwrap();
    let v4 = parsed.v4().unwrap();
    assert_eq!((v4.l4, v4.l4_len(parsed.l3)), (38, 24));
    assert_eq!(v4.tcp().unwrap().dst_port, 80);
}

#[test]
fn a_frame_cut_anywhere_is_truncated() {
    let frame = ipv4(Protocol::TCP, &tcp(b"hello"));
    for len in 0..frame.len() {
        let (layer, need, have) = match len {
            0..14 => (Layer::Ethernet, 14, len),
            14..34 => (Layer::Ipv4, 20, len - 14),
            _ => (Layer::Ipv4, 49, len - 14),
        };
        let expected = ParseError::Truncated {
            layer,
            need,
            have: have as u16,
        };
        assert_eq!(error(&frame[..len]), expected, "{len}");
    }
}

#[test]
fn a_header_that_lies_about_lengths_is_refused() {
    let frame = ipv4(Protocol::TCP, &tcp(b"hello"));
    assert_eq!(
        error(&with(frame.clone(), IP, &[0x65])),
        ParseError::BadVersion(6)
    );
    assert_eq!(
        error(&with(frame.clone(), IP, &[0x44])),
        ParseError::BadHeaderLength(16)
    );
    assert_eq!(
        error(&with(frame.clone(), IP + 2, &[0, 19])),
        ParseError::BadTotalLength(19)
    );
    assert_eq!(
        error(&with(frame.clone(), IP + 2, &[0, 0])),
        ParseError::BadTotalLength(0)
    );
    let long = ParseError::Truncated {
        layer: Layer::Ipv4,
        need: 50,
        have: 49,
    };
    assert_eq!(error(&with(frame.clone(), IP + 2, &[0, 50])), long);
    // Down to the TCP header the rest is padding; below that it is missing.
    let bare = Parsed::parse(&with(frame.clone(), IP + 2, &[0, 44])).unwrap();
    assert_eq!(bare.v4().unwrap().tcp().unwrap().payload_len, 0);
    assert_eq!(
        error(&with(frame, IP + 2, &[0, 43])),
        ParseError::BadTcpOffset(24)
    );
}

#[test]
fn a_wrong_header_checksum_is_refused() {
    let mut frame = ipv4(Protocol::TCP, &tcp(b"hello"));
    frame[IP + 8] -= 1;
    assert_eq!(error(&frame), ParseError::BadIpChecksum);
}

#[test]
fn a_tcp_offset_outside_the_segment_is_refused() {
    let frame = ipv4(Protocol::TCP, &tcp(b"hello"));
    assert_eq!(
        error(&with(frame.clone(), L4_AT + 12, &[0x40])),
        ParseError::BadTcpOffset(16)
    );
    assert_eq!(
        error(&with(frame.clone(), L4_AT + 12, &[0x80])),
        ParseError::BadTcpOffset(32)
    );
    assert_eq!(
        error(&ipv4(Protocol::TCP, &[0; 19])),
        ParseError::Truncated {
            layer: Layer::Tcp,
            need: 20,
            have: 19
        }
    );
}

#[test]
fn a_udp_length_is_at_least_the_header_and_at_most_the_packet() {
    let datagram = |len: u16| {
        let mut bytes = [0x12, 0x34, 0, 53, 0, 0, 0, 0, 1, 2, 3];
        bytes[4..6].copy_from_slice(&len.to_be_bytes());
        ipv4(Protocol::UDP, &bytes)
    };
    for len in [8, 10, 11] {
        assert_eq!(
            l4(&datagram(len)),
            L4::Udp {
                src_port: 0x1234,
                dst_port: 53,
                len
            }
        );
    }
    for len in [0, 7, 12, 65535] {
        assert_eq!(error(&datagram(len)), ParseError::BadUdpLength(len));
    }
    assert_eq!(
        error(&ipv4(Protocol::UDP, &[0; 7])),
        ParseError::Truncated {
            layer: Layer::Udp,
            need: 8,
            have: 7
        }
    );
}

#[test]
fn icmp_and_other_protocols_are_named() {
    assert_eq!(
        l4(&ipv4(Protocol::ICMP, &[3, 4, 0, 0, 0, 0, 0, 0])),
        L4::Icmp { kind: 3, code: 4 }
    );
    assert_eq!(
        error(&ipv4(Protocol::ICMP, &[3, 4, 0, 0, 0, 0, 0])),
        ParseError::Truncated {
            layer: Layer::Icmp,
            need: 8,
            have: 7
        }
    );
    assert_eq!(l4(&ipv4(47, &[])), L4::Other(47));
}

#[test]
fn fragments_are_told_apart() {
    let datagram = [0x12, 0x34, 0, 53, 7, 0xd0, 0, 0];
    let frame =
        |word: u16, payload: &[u8]| with(ipv4(Protocol::UDP, payload), IP + 6, &word.to_be_bytes());
    let first = Parsed::parse(&frame(0x2000, &datagram)).unwrap();
    let first = first.v4().unwrap();
    assert_eq!(
        first.fragment,
        Some(Fragment {
            offset: 0,
            more: true,
            id: 7
        })
    );
    assert_eq!(
        first.l4_kind,
        L4::Udp {
            src_port: 0x1234,
            dst_port: 53,
            len: 2000
        }
    );

    let last = Parsed::parse(&frame(185, b"rest")).unwrap();
    let last = last.v4().unwrap();
    assert_eq!(
        last.fragment,
        Some(Fragment {
            offset: 1480,
            more: false,
            id: 7
        })
    );
    assert_eq!(last.l4_kind, L4::NonFirstFragment);
    assert_eq!(last.ports(), None);
}

#[test]
fn impossible_fragments_are_refused() {
    let frame = |word: u16, payload: &[u8]| with(ipv4(47, payload), IP + 6, &word.to_be_bytes());
    assert_eq!(error(&frame(0x2001, b"ragged!")), ParseError::BadFragment);
    assert_eq!(error(&frame(0x0001, b"")), ParseError::BadFragment);
    // 20 + 65,512 + 3 is the last byte that a packet can have.
    assert!(Parsed::parse(&frame(8189, b"end")).is_ok());
    assert_eq!(error(&frame(8189, b"over")), ParseError::BadFragment);
}
