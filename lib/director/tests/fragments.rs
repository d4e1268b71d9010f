//! Fragmented datagrams: whole again at the other end, whoever else fragments at the same time.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "the helpers of these tests stop the test"
)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use weir_model::{DropReason, Verdict};
use weir_testkit::{
    PacketSpec, Setup, TcpSpec, Transport, UdpSpec, World, moved, pattern, snapshot,
};
use weir_wire::{Header, Ipv4Header, L4, Parsed, Sum, pseudo_v4};

const L3: usize = 14;
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
const REAL: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 11);
/// Payload bytes in each fragment but the last.
const PIECE: usize = 1024;

fn world(workers: u8) -> World {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf/dns.conf");
    let text = std::fs::read_to_string(path).unwrap();
    let setup = Setup {
        workers,
        ..Setup::default()
    };
    let mut world = World::new(snapshot("dns.conf", &text).unwrap(), setup).unwrap();
    world.introduce(REAL);
    world.introduce(Ipv4Addr::new(198, 51, 100, 1));
    world
}

fn datagram(world: &World, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let (_, spec) = world.around().packet(from.0, to.0).unwrap();
    PacketSpec {
        ident: 99,
        dont_fragment: false,
        transport: Transport::Udp(UdpSpec {
            src_port: from.1,
            dst_port: to.1,
            payload: payload.to_vec(),
        }),
        ..spec
    }
    .build()
}

/// Cuts an IPv4 packet into fragments (RFC 791 section 3.2).
fn fragments_of(frame: &[u8]) -> Vec<Vec<u8>> {
    let (head, body) = frame.split_at(L3 + Ipv4Header::LEN);
    let count = body.chunks(PIECE).count();
    body.chunks(PIECE)
        .enumerate()
        .map(|(n, piece)| {
            let mut fragment = [head, piece].concat();
            let ip = Ipv4Header::at_mut(&mut fragment, L3).unwrap();
            let more = u16::from(n + 1 < count) << 13;
            ip.flags_frag = ((n * PIECE / 8) as u16 | more).into();
            ip.total_len = ((Ipv4Header::LEN + piece.len()) as u16).into();
            ip.checksum = 0.into();
            let sum = Sum::of(&fragment[L3..L3 + Ipv4Header::LEN]).complement();
            Ipv4Header::at_mut(&mut fragment, L3).unwrap().checksum = sum.into();
            fragment
        })
        .collect()
}

/// A datagram put together again: addresses, ports, identification, payload.
type Whole = (Ipv4Addr, Ipv4Addr, u16, u16, u16, Vec<u8>);

/// Puts what left together again, as the receiver does, and verifies its checksum.
fn put_together(world: &mut World) -> Whole {
    let mut body = Vec::new();
    let mut first: Option<Ipv4Header> = None;
    while let Some(sent) = world.take_emitted() {
        let ip = *Ipv4Header::at(&sent.frame, L3).unwrap();
        assert_eq!(
            usize::from(ip.frag_offset()),
            body.len(),
            "in order, none missing"
        );
        let known = *first.get_or_insert(ip);
        assert_eq!((ip.src, ip.dst, ip.id), (known.src, known.dst, known.id));
        body.extend_from_slice(&sent.frame[L3 + Ipv4Header::LEN..]);
    }
    let ip = first.unwrap();
    let len = body.len() as u16;
    let sum = pseudo_v4(ip.src_addr(), ip.dst_addr(), 17, len).add_bytes(&body);
    assert!(sum.is_valid(), "the datagram's checksum");
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let (src_port, dst_port, payload) = (port(0), port(2), body[8..].to_vec());
    (
        ip.src_addr(),
        ip.dst_addr(),
        src_port,
        dst_port,
        ip.id.get(),
        payload,
    )
}

#[test]
fn a_fragmented_datagram_and_its_fragmented_answer_arrive_whole() {
    for workers in 1..=3 {
        for queue in 0..workers {
            let mut world = world(workers);
            let question = pattern(3000);
            let frame = datagram(&world, (CLIENT, 4000), (VIP, 53), &question);
            let (wan, _) = world.around().reach(CLIENT).unwrap();
            for fragment in fragments_of(&frame) {
                world.inject(queue, wan, &fragment).unwrap();
            }
            let (lip, real, lip_port, port, _, payload) = put_together(&mut world);
            assert_eq!((real, port, payload), (REAL, 53, question));

            let answer = pattern(4000);
            let frame = datagram(&world, (REAL, 53), (lip, lip_port), &answer);
            let (lan, _) = world.around().reach(REAL).unwrap();
            for fragment in fragments_of(&frame) {
                world.inject(queue, lan, &fragment).unwrap();
            }
            let (vip, client, port, client_port, _, payload) = put_together(&mut world);
            assert_eq!((vip, client, payload), (VIP, CLIENT, answer));
            assert_eq!((port, client_port), (53, 4000));
        }
    }
}

#[test]
fn two_clients_with_the_same_identification_are_kept_apart_behind_one_lip() {
    let mut world = world(1);
    let (wan, _) = world.around().reach(CLIENT).unwrap();
    let other = Ipv4Addr::new(192, 0, 2, 8);
    let mut idents = Vec::new();
    for client in [CLIENT, other] {
        let frame = datagram(&world, (client, 4000), (VIP, 53), &pattern(2000));
        for fragment in fragments_of(&frame) {
            world.inject(0, wan, &fragment).unwrap();
        }
        idents.push(put_together(&mut world).4);
    }
    assert_ne!(idents[0], idents[1]);
}

#[test]
fn a_fragment_without_its_first_one_or_too_late_is_dropped_and_counted() {
    let mut world = world(1);
    let (wan, _) = world.around().reach(CLIENT).unwrap();
    let frame = datagram(&world, (CLIENT, 4000), (VIP, 53), &pattern(3000));
    let pieces = fragments_of(&frame);
    let before = world.tally();
    let dropped = Verdict::Drop(DropReason::Fragment);
    assert_eq!(world.inject(0, wan, &pieces[1]).unwrap(), dropped);
    moved!(world, before, "rx 1, fragment 1");
    world.inject(0, wan, &pieces[0]).unwrap();
    let late = world.time().after(Duration::from_secs(3));
    world.advance_to(late).unwrap();
    assert_eq!(world.inject(0, wan, &pieces[1]).unwrap(), dropped);
}

#[test]
fn a_fragment_of_tcp_is_dropped() {
    let mut world = world(1);
    let (wan, spec) = world.around().packet(CLIENT, VIP).unwrap();
    let spec = PacketSpec {
        transport: Transport::Tcp(TcpSpec {
            payload: pattern(2000),
            ..TcpSpec::default()
        }),
        ..spec
    };
    for fragment in fragments_of(&spec.build()) {
        let v4 = *Parsed::parse(&fragment).unwrap().v4().unwrap();
        assert!(matches!(v4.l4_kind, L4::Tcp(_) | L4::NonFirstFragment));
        let verdict = world.inject(0, wan, &fragment).unwrap();
        assert_eq!(verdict, Verdict::Drop(DropReason::Fragment));
    }
}

#[test]
fn nobody_is_told_of_a_fragment_behind_the_first_one() {
    let mut world = world(1);
    let frame = datagram(&world, (CLIENT, 4000), (VIP, 53), &pattern(3000));
    let (wan, _) = world.around().reach(CLIENT).unwrap();
    for (n, mut fragment) in fragments_of(&frame).into_iter().enumerate() {
        if n == 0 {
            world.inject(0, wan, &fragment).unwrap();
            while world.take_emitted().is_some() {}
            continue;
        }
        let ip = Ipv4Header::at_mut(&mut fragment, L3).unwrap();
        ip.ttl = 1;
        ip.checksum = 0.into();
        let sum = Sum::of(&fragment[L3..L3 + Ipv4Header::LEN]).complement();
        Ipv4Header::at_mut(&mut fragment, L3).unwrap().checksum = sum.into();
        let verdict = world.inject(0, wan, &fragment).unwrap();
        assert_eq!(verdict, Verdict::Drop(DropReason::TtlExpired));
        // RFC 1812 section 4.3.2.7.
        assert!(world.take_emitted().is_none());
    }
}
