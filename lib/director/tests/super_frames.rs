//! Super-frames: a TCP segment of up to 64 KiB that is cut into packets behind Weir. Whatever becomes
//! of one must be what would become of its packets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the helpers of these tests stop the test"
)]

use std::net::Ipv4Addr;

use weir_director::Packet;
use weir_model::{DropReason, Now, PortId, Verdict};
use weir_testkit::{PacketSpec, Setup, TcpSpec, Transport, World, pattern, snapshot};
use weir_wire::{
    FrameBuf, IcmpCode, IcmpKind, Parsed, SeqNumber, Tcp, TcpFlags, V4, fill_checksums,
    verify_frame,
};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const REAL: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 11);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const S: TcpFlags = TcpFlags::SYN;
const A: TcpFlags = TcpFlags::ACK;
const SA: TcpFlags = TcpFlags(S.0 | A.0);
const FPA: TcpFlags = TcpFlags(TcpFlags::FIN.0 | TcpFlags::PSH.0 | A.0);

/// The client's and the real server's first numbers; both wrap soon.
const C: SeqNumber = SeqNumber(0xffff_fff0);
const B: SeqNumber = SeqNumber(0xffff_c000);
const STAMPS: [u8; 12] = [1, 1, 8, 10, 0, 0, 1, 0, 0, 0, 2, 0];
const TOA: u8 = 254;

fn conf(service: &str) -> String {
    format!(
        "[port wan]\ndevice = eth0\naddress = 198.51.100.2/24\ngateway = 198.51.100.1\n\
         [port lan]\ndevice = eth1\naddress = 10.0.0.2/16\n\
         [lip-pool blue]\nport = lan\naddress = 10.0.8.1\n\
         [synproxy front]\nmode = always\noptions = given\nearly-data = 4KiB\n\
         [service web]\nlisten = 203.0.113.10:80/tcp\nlip-pool = blue\nreal = 10.0.1.11:8080\n\
         {service}"
    )
}

/// An address and a port.
type End = (Ipv4Addr, u16);

/// A connection, with both of its ends played by the test.
struct Connection {
    world: World,
    lip: Ipv4Addr,
    lip_port: u16,
    /// The number of the SYN to the real server.
    isn: SeqNumber,
    /// The first number of the other end, as the client sees it.
    told: SeqNumber,
}

impl Connection {
    fn new(service: &str, workers: u8) -> Self {
        let snapshot = snapshot("super-frames.conf", &conf(service)).unwrap();
        let setup = Setup {
            workers,
            ..Setup::default()
        };
        let mut world = World::new(snapshot, setup).unwrap();
        world.introduce(REAL);
        world.introduce(GATEWAY);
        Self {
            world,
            lip: Ipv4Addr::UNSPECIFIED,
            lip_port: 0,
            isn: SeqNumber(0),
            told: B,
        }
    }

    /// Opens a connection; `acknowledged` says whether the real server has proven that it has the
    /// TOA.
    fn open(service: &str, acknowledged: bool) -> Self {
        let mut it = Self::new(service, 1);
        it.packet(it.client(S, C, SeqNumber(0), &STAMPS, 0));
        let (src, syn) = it.sent();
        (it.lip, it.lip_port, it.isn) = (src, syn.src_port, syn.seq);
        it.packet(it.real(SA, B, syn.seq + 1, &STAMPS, 0));
        it.packet(it.client(A, C + 1, B + 1, &STAMPS, 0));
        if acknowledged {
            it.packet(it.client(A, C + 1, B + 1, &STAMPS, 8));
            it.packet(it.real(A, B + 1, syn.seq + 9, &STAMPS, 0));
        }
        while it.world.take_emitted().is_some() {}
        it
    }

    fn client(
        &self,
        flags: TcpFlags,
        seq: SeqNumber,
        ack: SeqNumber,
        options: &[u8],
        payload: usize,
    ) -> (PortId, Vec<u8>) {
        let ends = ((CLIENT, 40_000), (VIP, 80));
        self.frame(ends, segment(flags, seq, ack, options, payload))
    }

    fn real(
        &self,
        flags: TcpFlags,
        seq: SeqNumber,
        ack: SeqNumber,
        options: &[u8],
        payload: usize,
    ) -> (PortId, Vec<u8>) {
        let ends = ((REAL, 8080), (self.lip, self.lip_port));
        self.frame(ends, segment(flags, seq, ack, options, payload))
    }

    fn frame(
        &self,
        ((src, src_port), (dst, dst_port)): (End, End),
        tcp: TcpSpec,
    ) -> (PortId, Vec<u8>) {
        let (port, spec) = self.world.around().packet(src, dst).unwrap();
        let spec = PacketSpec {
            ident: 0xfffe,
            transport: Transport::Tcp(TcpSpec {
                src_port,
                dst_port,
                ..tcp
            }),
            ..spec
        };
        (port, spec.build())
    }

    fn packet(&mut self, (port, frame): (PortId, Vec<u8>)) -> Verdict {
        self.world.inject(0, port, &frame).unwrap()
    }

    /// Lets a super-frame arrive, with a checksum that says nothing, and returns what became of it.
    fn whole(&mut self, arriving: (PortId, Vec<u8>), size: u16) -> (Verdict, Vec<u8>) {
        self.whole_on(0, arriving, size, false)
    }

    fn whole_on(
        &mut self,
        worker: usize,
        (port, mut bytes): (PortId, Vec<u8>),
        size: u16,
        handed_in: bool,
    ) -> (Verdict, Vec<u8>) {
        let (_, _, l4) = read(&bytes);
        bytes[l4 + 16..l4 + 18].copy_from_slice(&[0xab, 0xcd]);
        let len = bytes.len();
        let mut chunk = vec![0; 256];
        chunk.append(&mut bytes);
        let frame = FrameBuf::new(&mut chunk, 256..256 + len).unwrap();
        let packet = if handed_in {
            Packet::handed_in(frame, port)
        } else {
            Packet::received(frame, port, false)
        };
        let mut packets = [Packet {
            segment_size: size,
            ..packet
        }];
        let now = Now {
            time: self.world.time(),
            ..Now::default()
        };
        self.world.directors_mut()[worker].process(now, &mut packets);
        let outcome = (packets[0].verdict, packets[0].frame.bytes().to_vec());
        self.world.turn().unwrap();
        for director in self.world.directors() {
            assert!(director.ledger().balanced(), "{:?}", director.ledger());
        }
        outcome
    }

    /// The next frame that leaves: who sends it, and what.
    fn sent(&mut self) -> (Ipv4Addr, Tcp) {
        let sent = self.world.take_emitted().expect("a frame leaves");
        let (v4, tcp, _) = read(&sent.frame);
        (v4.src, tcp)
    }

    fn all_sent(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.world.take_emitted())
            .map(|sent| sent.frame)
            .collect()
    }
}

fn segment(
    flags: TcpFlags,
    seq: SeqNumber,
    ack: SeqNumber,
    options: &[u8],
    payload: usize,
) -> TcpSpec {
    TcpSpec {
        seq,
        ack,
        flags,
        window: 60_000,
        options: options.to_vec(),
        payload: pattern(payload),
        ..TcpSpec::default()
    }
}

fn read(frame: &[u8]) -> (V4, Tcp, usize) {
    let parsed = Parsed::parse(frame).unwrap();
    let v4 = *parsed.v4().unwrap();
    (v4, *v4.tcp().unwrap(), v4.l4 as usize)
}

/// The oracle: cuts a super-frame as a device does.
fn cut(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (v4, tcp, l4) = read(frame);
    let header_len = l4 + tcp.header_len as usize;
    let (headers, payload) = frame.split_at(header_len);
    assert_eq!(payload.len(), tcp.payload_len as usize, "no padding");
    let count = payload.chunks(size).len();
    let mut packets = Vec::new();
    for (n, part) in payload.chunks(size).enumerate() {
        let mut packet = [headers, part].concat();
        let total = v4.total_len as usize - payload.len() + part.len();
        packet[16..18].copy_from_slice(&(total as u16).to_be_bytes());
        let id = u16::from_be_bytes([packet[18], packet[19]]).wrapping_add(n as u16);
        packet[18..20].copy_from_slice(&id.to_be_bytes());
        let seq = (tcp.seq + (n * size) as u32).0;
        packet[l4 + 4..l4 + 8].copy_from_slice(&seq.to_be_bytes());
        if n + 1 < count {
            packet[l4 + 13] &= !(TcpFlags::FIN.0 | TcpFlags::PSH.0);
        }
        fill_checksums(&mut packet).unwrap();
        packets.push(packet);
    }
    packets
}

/// Sends a super-frame through one world and its packets through another just like it.
fn assert_becomes_what_its_packets_become(
    service: &str,
    acknowledged: bool,
    size: u16,
    arriving: impl Fn(&Connection) -> (PortId, Vec<u8>),
) {
    let mut one = Connection::open(service, acknowledged);
    let mut other = Connection::open(service, acknowledged);
    let (port, frame) = arriving(&one);
    let (verdict, whole) = one.whole((port, frame.clone()), size);
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    let mut expected = Vec::new();
    for packet in cut(&frame, size as usize) {
        assert_eq!(other.packet((port, packet)), verdict);
        expected.extend(other.all_sent());
    }
    assert_eq!(cut(&whole, size as usize), expected);
    assert!(one.all_sent().is_empty());
    let states = [&one, &other].map(|it| {
        let session = it.world.sessions()[0];
        (session.state, it.world.tally().get("held"))
    });
    assert_eq!(states[0], states[1]);
}

#[test]
fn a_super_frame_becomes_what_its_packets_become_in_both_directions() {
    // A FIN counts within the window of 60,000 only.
    let sizes = [
        (65_483, 1448, A),
        (59_000, 1448, FPA),
        (3000, 1448, A),
        (1449, 1448, FPA),
        (10_000, 100, FPA),
    ];
    for (payload, size, flags) in sizes {
        assert_becomes_what_its_packets_become("", true, size, |it| {
            it.client(flags, C + 9, B + 1, &STAMPS, payload)
        });
        assert_becomes_what_its_packets_become("", true, size, |it| {
            it.real(flags, B + 1, it.isn + 9, &STAMPS, payload)
        });
        assert_becomes_what_its_packets_become("", true, size, |it| {
            it.real(flags, B + 1, it.isn + 9, &[], payload)
        });
    }
}

#[test]
fn each_packet_of_a_super_frame_carries_the_toa_while_it_is_wanted() {
    let service = "client-address = toa\n";
    assert_becomes_what_its_packets_become(service, false, 1440, |it| {
        it.client(A, C + 1, B + 1, &STAMPS, 14_400)
    });
    let mut it = Connection::open(service, false);
    let (_, whole) = it.whole(it.client(A, C + 1, B + 1, &STAMPS, 14_400), 1440);
    for packet in cut(&whole, 1440) {
        let (v4, tcp, l4) = read(&packet);
        assert_eq!((v4.total_len, tcp.header_len), (1500, 40));
        assert_eq!(packet[l4 + 20..l4 + 22], [TOA, 8]);
    }
    // Once the real server has acknowledged, it goes without.
    let mut it = Connection::open(service, true);
    let (_, whole) = it.whole(it.client(A, C + 9, B + 1, &STAMPS, 14_400), 1440);
    assert_eq!(read(&whole).1.header_len, 32);
}

#[test]
fn the_toa_goes_ahead_of_a_super_frame_whose_packets_have_no_room_for_it() {
    let mut it = Connection::open("client-address = toa\n", false);
    let (verdict, whole) = it.whole(it.client(A, C + 1, B + 1, &STAMPS, 14_480), 1448);
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    assert_eq!(read(&whole).1.header_len, 32);
    let sent = it.all_sent();
    let [ack] = sent.as_slice() else {
        panic!("{} frames went ahead", sent.len());
    };
    let (_, tcp, l4) = read(ack);
    assert_eq!((tcp.seq, tcp.payload_len), (it.isn + 1, 0));
    assert!(ack[l4 + 20..].windows(2).any(|option| option == [TOA, 8]));
}

#[test]
fn the_longest_super_frame_that_the_toa_still_fits_has_65_535_bytes_with_it() {
    let service = "client-address = toa\n";
    for (payload, inserted) in [(65_535 - 60, true), (65_535 - 59, false)] {
        let mut it = Connection::open(service, false);
        let (verdict, whole) = it.whole(it.client(A, C + 1, B + 1, &STAMPS, payload), 1440);
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        let (v4, tcp, _) = read(&whole);
        assert_eq!(tcp.header_len, if inserted { 40 } else { 32 });
        assert_eq!(usize::from(v4.total_len) + 14, whole.len());
    }
}

#[test]
fn a_super_frame_of_packets_longer_than_the_mtu_is_refused_as_each_of_them_is() {
    let mut it = Connection::open("", true);
    let arriving = it.client(A, C + 9, B + 1, &STAMPS, 14_490);
    let (verdict, _) = it.whole(arriving.clone(), 1449);
    assert_eq!(verdict, Verdict::Drop(DropReason::TooBig));
    let sent = it.all_sent();
    let error = Parsed::parse(&sent[0]).unwrap();
    assert!(sent[0].len() <= 14 + 576);
    assert_eq!(error.v4().unwrap().dst, CLIENT);
    assert_eq!(
        sent[0][34..36],
        [IcmpKind::UNREACHABLE, IcmpCode::UNREACHABLE_FRAG_NEEDED]
    );
    assert_eq!(sent[0][40..42], 1500u16.to_be_bytes());
    let (verdict, _) = it.whole(arriving, 1448);
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
}

#[test]
fn a_super_frame_does_not_wait_for_a_neighbour_however_short_it_is() {
    let mut it = Connection::open("", true);
    // Until Weir has to ask for the real server again, which then does not answer.
    let snapshot = snapshot("super-frames.conf", &conf("")).unwrap();
    let quiet = Setup {
        neighbours_answer: false,
        ..Setup::default()
    };
    let mut world = World::new(snapshot, quiet).unwrap();
    world.introduce(GATEWAY);
    std::mem::swap(&mut it.world, &mut world);
    let syn = it.client(S, C, SeqNumber(0), &STAMPS, 0);
    assert_eq!(it.packet(syn), Verdict::Hold);
    let arriving = it.client(A, C + 1, B + 1, &STAMPS, 1600);
    let (verdict, _) = it.whole(arriving, 800);
    assert_eq!(verdict, Verdict::Drop(DropReason::Unresolved));
    assert_eq!(it.world.tally().get("held"), 1);
}

#[test]
fn a_super_frame_crosses_between_workers_as_it_came_and_is_walked_there() {
    for port in 40_000..40_016 {
        let mut it = Connection::new("", 2);
        let mut syn = it.client(S, C, SeqNumber(0), &STAMPS, 0);
        syn.1[34..36].copy_from_slice(&u16::to_be_bytes(port));
        fill_checksums(&mut syn.1).unwrap();
        if it.packet(syn) == Verdict::Forward(PortId(1)) {
            continue;
        }
        let mut arriving = it.client(A, C + 1, B + 1, &STAMPS, 14_480);
        arriving.1[34..36].copy_from_slice(&u16::to_be_bytes(port));
        let (verdict, frame) = it.whole(arriving.clone(), 1448);
        let Verdict::HandOff(to) = verdict else {
            panic!("{verdict:?}");
        };
        assert_eq!(frame[66..], arriving.1[66..]);
        let (verdict, whole) = it.whole_on(to.index(), (arriving.0, frame), 1448, true);
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        assert!(
            cut(&whole, 1448)
                .iter()
                .all(|packet| verify_frame(packet).is_ok())
        );
        return;
    }
    panic!("no flow belongs to the other worker");
}

/// A client that a cookie has answered.
fn with_cookie() -> Connection {
    let mut it = Connection::new("synproxy = front\n", 1);
    let syn = it.client(S, C, SeqNumber(0), &[2, 4, 0x05, 0xb4], 0);
    assert_eq!(it.packet(syn), Verdict::Reply);
    it.told = it.sent().1.seq;
    it
}

#[test]
fn a_super_frame_with_a_cookie_opens_a_session_and_is_held_and_sent_on() {
    let mut it = with_cookie();
    let arriving = it.client(A, C + 1, it.told + 1, &[], 4000);
    let (verdict, _) = it.whole(arriving, 1000);
    assert_eq!(verdict, Verdict::Hold);
    let (lip, syn) = it.sent();
    (it.lip, it.lip_port) = (lip, syn.src_port);
    it.packet(it.real(SA, B, syn.seq + 1, &[2, 4, 0x05, 0xb4], 0));
    let mut seen = Vec::new();
    for frame in it.all_sent() {
        assert_eq!(verify_frame(&frame), Ok(()));
        let (_, tcp, l4) = read(&frame);
        seen.extend_from_slice(&frame[l4 + tcp.header_len as usize..]);
    }
    assert_eq!(seen, pattern(4000));
}

#[test]
fn of_early_data_that_is_more_than_a_session_may_hold_whole_packets_are_held() {
    let mut it = with_cookie();
    let arriving = it.client(FPA, C + 1, it.told + 1, &[], 9000);
    // 4096 bytes have room for four of the nine.
    let (verdict, _) = it.whole(arriving, 1000);
    assert_eq!(verdict, Verdict::Hold);
    let (lip, syn) = it.sent();
    (it.lip, it.lip_port) = (lip, syn.src_port);
    it.packet(it.real(SA, B, syn.seq + 1, &[2, 4, 0x05, 0xb4], 0));
    let sent = it.all_sent();
    let payload: usize = sent
        .iter()
        .map(|frame| read(frame).1.payload_len as usize)
        .sum();
    assert_eq!(payload, 4000);
    let last = read(sent.last().unwrap()).1;
    assert!(!last.flags.contains(TcpFlags::FIN));
    // The client sends the rest again.
    let rest = it.client(FPA, C + 4001, it.told + 1, &[], 5000);
    let (verdict, whole) = it.whole(rest, 1000);
    assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
    assert_eq!(read(&whole).1.seq, syn.seq + 4001);
    assert_eq!(it.world.tally().get("held"), 0);
}

#[test]
fn a_single_packet_that_is_more_than_a_session_may_hold_is_not_held() {
    let mut it = with_cookie();
    for (at, payload) in [(1, 1400), (1401, 1400), (2801, 1200)] {
        let packet = it.client(A, C + at, it.told + 1, &[], payload);
        assert_eq!(it.packet(packet), Verdict::Hold);
    }
    let second = it.client(A, C + 4001, it.told + 1, &[], 97);
    assert_eq!(it.packet(second), Verdict::Drop(DropReason::EarlyData));
    let third = it.client(A, C + 4001, it.told + 1, &[], 96);
    assert_eq!(it.packet(third), Verdict::Hold);
}
