//! The packet path allocates nothing: not for packets of a session, not for new sessions and their
//! end, not for floods of what is dropped or answered.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test may fail by panicking, outside of its own function too"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use weir_director::{Director, Packet, PortFacts, WorkerFacts};
use weir_model::{DropReason, PortId, ServiceId, Verdict, WorkerId};
use weir_testkit::{
    Clock, HEADROOM, IcmpSpec, Neighbourhood, PacketSpec, Random, TcpSpec, Transport, UdpSpec,
    arp_frame,
};
use weir_wire::{
    ARP_REQUEST, ArpRepr, EthAddr, FrameBuf, Header, Ipv4Header, Parsed, SeqNumber, Tcp, TcpFlags,
    TcpHeader, fill_checksums,
};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const REAL: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 11);
const LIP: Ipv4Addr = Ipv4Addr::new(10, 0, 8, 1);

/// A director with the memory that a worker gives it, all of it there from the start.
struct Bench {
    director: Director,
    around: Neighbourhood,
    clock: Clock,
    chunks: Vec<Vec<u8>>,
    out: Vec<u8>,
    /// The length of the frame that was originated last; it stands in `out`.
    out_len: usize,
}

impl Bench {
    fn new(sessions: u32) -> Self {
        Self::of(include_str!("conf/web.conf"), sessions)
    }

    fn of(text: &str, sessions: u32) -> Self {
        let snapshot = Arc::new(weir_testkit::snapshot("a configuration", text).unwrap());
        let around = Neighbourhood::of(&snapshot);
        let clock = Clock::new();
        let ports = around.links().iter().map(|link| PortFacts {
            id: link.port,
            mac: link.mac,
            mtu: 1500,
            delivers: false,
        });
        let facts = WorkerFacts {
            id: WorkerId(0),
            workers: 1,
            sessions,
            flow_secret: [1; 16],
            seed: [2; 16],
            ports: ports.collect(),
        };
        let mut director = Director::new(facts, snapshot, clock.now()).unwrap();
        for address in [CLIENT, REAL] {
            let (port, hop) = around.next_hop(address).unwrap();
            director.learn_neighbour(clock.now(), port, hop, around.mac_of(hop));
        }
        Self {
            director,
            around,
            clock,
            chunks: vec![vec![0; 2048]; 64],
            out: vec![0; 2048],
            out_len: 0,
        }
    }

    fn frame(&self, src: Ipv4Addr, dst: Ipv4Addr, transport: Transport) -> (PortId, Vec<u8>) {
        let (port, eth_src) = self.around.reach(src).unwrap();
        let spec = PacketSpec {
            eth_src,
            eth_dst: self.around.link(port).unwrap().mac,
            src,
            dst,
            transport,
            ..PacketSpec::default()
        };
        (port, spec.build())
    }

    fn segment(
        &self,
        src: (Ipv4Addr, u16),
        dst: (Ipv4Addr, u16),
        tcp: TcpSpec,
    ) -> (PortId, Vec<u8>) {
        let tcp = TcpSpec {
            src_port: src.1,
            dst_port: dst.1,
            window: 1000,
            ..tcp
        };
        self.frame(src.0, dst.0, Transport::Tcp(tcp))
    }

    /// Walks frames in bursts and returns the last verdict and how often memory was asked for.
    fn walk(&mut self, frames: &[(PortId, Vec<u8>)]) -> (Verdict, u64) {
        let mut allocations = 0;
        let mut verdict = Verdict::Deliver;
        for burst in frames.chunks(self.chunks.len()) {
            let mut packets: Vec<Packet<'_>> = Vec::new();
            for ((port, frame), chunk) in burst.iter().zip(&mut self.chunks) {
                chunk[HEADROOM..HEADROOM + frame.len()].copy_from_slice(frame);
                let frame = FrameBuf::new(chunk, HEADROOM..HEADROOM + frame.len()).unwrap();
                packets.push(Packet::received(frame, *port, true));
            }
            self.clock.advance(Duration::from_micros(50));
            let now = self.clock.now();
            let (director, out) = (&mut self.director, &mut self.out);
            let out_len = &mut self.out_len;
            let info = allocation_counter::measure(|| {
                director.process(now, &mut packets);
                director.tick(now);
                while let Some((_, len)) = director.next_originated(out) {
                    *out_len = len;
                }
                while director.next_notice().is_some() {}
                director.fetch_session_log(&mut |_| ());
            });
            allocations += info.count_total;
            verdict = packets.last().unwrap().verdict;
        }
        (verdict, allocations)
    }

    /// Lets the director do what is due, and returns how often memory was asked for.
    fn settle(&mut self) -> u64 {
        let now = self.clock.now();
        let (director, out) = (&mut self.director, &mut self.out);
        let info = allocation_counter::measure(|| {
            director.tick(now);
            while director.next_originated(out).is_some() {}
            while director.next_notice().is_some() {}
            director.fetch_session_log(&mut |_| ());
        });
        info.count_total
    }

    /// Opens a session from a client port and returns the local port and the first number.
    fn open(&mut self, port: u16) -> (u16, SeqNumber, u64) {
        let syn = TcpSpec {
            seq: SeqNumber(100),
            flags: TcpFlags::SYN,
            options: vec![
                2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
            ],
            ..TcpSpec::default()
        };
        let syn = self.segment((CLIENT, port), (VIP, 80), syn);
        let (verdict, allocations) = self.walk(&[syn]);
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        // The SYN grew by the client's address, into the head room.
        let start = HEADROOM - 8;
        let parsed = Parsed::parse(&self.chunks[0][start..]).unwrap();
        let tcp = *parsed.v4().unwrap().tcp().unwrap();
        (tcp.src_port, tcp.seq, allocations)
    }
}

#[test]
fn the_counter_counts() {
    let info = allocation_counter::measure(|| drop(std::hint::black_box(vec![1_u8; 100])));
    assert_eq!(info.count_total, 1);
}

#[test]
fn a_session_from_its_syn_to_its_end_asks_for_no_memory() {
    let logged = concat!(include_str!("conf/web.conf"), "session-log = both\n");
    let mut bench = Bench::of(logged, 1024);
    // The first session towards a real server makes the accounting of its ports.
    bench.open(1);
    let mut total = 0;
    for client in 40_000..40_200 {
        let (lip_port, isn, allocations) = bench.open(client);
        total += allocations;
        let (from, vip) = ((CLIENT, client), (VIP, 80));
        let (real, lip) = ((REAL, 8080), (LIP, lip_port));
        let tcp = |flags: TcpFlags, seq: u32, ack: u32, len: usize| TcpSpec {
            seq: SeqNumber(seq),
            ack: SeqNumber(ack),
            flags,
            payload: vec![7; len],
            options: vec![1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 9],
            ..TcpSpec::default()
        };
        let (ack, fin) = (TcpFlags::ACK, TcpFlags::ACK | TcpFlags::FIN);
        let (isn, s) = (isn.0, 5000_u32);
        let mut frames = vec![
            bench.segment(
                real,
                lip,
                tcp(ack | TcpFlags::SYN, s, isn.wrapping_add(1), 0),
            ),
            bench.segment(from, vip, tcp(ack, 101, s + 1, 0)),
        ];
        for _ in 0..20 {
            frames.push(bench.segment(from, vip, tcp(ack, 101, s + 1, 1400)));
            frames.push(bench.segment(real, lip, tcp(ack, s + 1, isn.wrapping_add(1401), 1400)));
        }
        // A full segment has no room for the client's address before that.
        frames.push(bench.segment(from, vip, tcp(fin, 1501, s + 1401, 0)));
        frames.push(bench.segment(real, lip, tcp(fin, s + 1401, isn.wrapping_add(1402), 0)));
        frames.push(bench.segment(from, vip, tcp(ack, 1502, s + 1402, 0)));
        let (verdict, allocations) = bench.walk(&frames);
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        total += allocations;
    }
    assert_eq!(total, 0);
    assert!(bench.director.ledger().balanced());
}

#[test]
fn floods_of_what_is_refused_or_answered_ask_for_no_memory() {
    let mut bench = Bench::new(64);
    bench.open(1);
    let mut frames = Vec::new();
    for i in 0..2000_u16 {
        let tcp = |flags| TcpSpec {
            seq: SeqNumber(u32::from(i)),
            flags,
            ..TcpSpec::default()
        };
        // More SYNs than the table holds.
        frames.push(bench.segment((CLIENT, 10_000 + i), (VIP, 80), tcp(TcpFlags::SYN)));
        frames.push(bench.segment((CLIENT, i), (VIP, 80), tcp(TcpFlags::ACK)));
        frames.push(bench.segment((CLIENT, i), (VIP, 81), tcp(TcpFlags::SYN)));
        frames.push(bench.segment((REAL, 8080), (LIP, i), tcp(TcpFlags::SYN | TcpFlags::ACK)));
        let echo = IcmpSpec {
            kind: 8,
            payload: vec![0; 56],
            ..IcmpSpec::default()
        };
        frames.push(bench.frame(CLIENT, VIP, Transport::Icmp(echo)));
        let datagram = UdpSpec {
            src_port: i,
            dst_port: 80,
            payload: vec![1; 20],
        };
        frames.push(bench.frame(CLIENT, VIP, Transport::Udp(datagram)));
        // Strangers on the link, each with another address.
        let [high, low] = i.to_be_bytes();
        let stranger = ArpRepr {
            op: ARP_REQUEST,
            sender_mac: EthAddr([2, 3, 4, 5, high, low]),
            sender_ip: Ipv4Addr::new(10, 0, high | 0x80, low),
            target_mac: EthAddr::ZERO,
            target_ip: LIP,
        };
        frames.push((bench.around.links()[1].port, arp_frame(&stranger)));
    }
    let (_, allocations) = bench.walk(&frames);
    assert_eq!(allocations, 0);
    assert!(bench.director.ledger().balanced());
    assert_eq!(
        bench.director.session_count(),
        bench.director.session_capacity()
    );
}

#[test]
fn the_end_of_many_sessions_asks_for_no_memory() {
    let mut bench = Bench::new(1024);
    for port in 1..=1000 {
        bench.open(port);
    }
    let (director, clock, out) = (&mut bench.director, &mut bench.clock, &mut bench.out);
    let info = allocation_counter::measure(|| {
        for _ in 0..600 {
            clock.advance(Duration::from_millis(100));
            director.tick(clock.now());
            while director.next_originated(out).is_some() {}
            while director.next_notice().is_some() {}
        }
    });
    assert_eq!(info.count_total, 0);
    assert_eq!(director.session_count(), 0);
    assert!(director.ledger().balanced());
}

const COOKIES: &str = include_str!("conf/cookies.conf");

/// A client's handshake, as far as Weir has answered it.
struct Handshake {
    from: (Ipv4Addr, u16),
    isn: u32,
    cookie: SeqNumber,
}

impl Bench {
    fn tcp_of(frame: &[u8]) -> Tcp {
        let parsed = Parsed::parse(frame).unwrap();
        *parsed.v4().unwrap().tcp().unwrap()
    }

    /// Sends a SYN and reads the cookie that answers it.
    fn ask(&mut self, port: u16) -> (Handshake, u64) {
        let (from, isn) = ((CLIENT, port), 1_000 + u32::from(port));
        let syn = TcpSpec {
            seq: SeqNumber(isn),
            flags: TcpFlags::SYN,
            options: vec![
                2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
            ],
            ..TcpSpec::default()
        };
        let frame = self.segment(from, (VIP, 80), syn);
        let (verdict, allocations) = self.walk(&[frame]);
        assert_eq!(verdict, Verdict::Reply);
        let answer = Self::tcp_of(&self.chunks[0][HEADROOM..]);
        assert_eq!(answer.flags, TcpFlags::SYN | TcpFlags::ACK);
        let cookie = answer.seq;
        (Handshake { from, isn, cookie }, allocations)
    }

    /// Builds a segment of a client whose SYN was answered, `at` bytes behind the SYN.
    fn of_client(
        &self,
        handshake: &Handshake,
        flags: TcpFlags,
        at: u32,
        ack: SeqNumber,
        len: usize,
    ) -> (PortId, Vec<u8>) {
        let tcp = TcpSpec {
            seq: SeqNumber(handshake.isn) + 1 + at,
            ack,
            flags,
            payload: vec![7; len],
            options: vec![1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 9],
            ..TcpSpec::default()
        };
        self.segment(handshake.from, (VIP, 80), tcp)
    }

    /// Completes a handshake, holds what its client sends, lets the real server answer, and closes.
    fn serve(&mut self, port: u16) -> u64 {
        let (handshake, mut total) = self.ask(port);
        let ack = handshake.cookie + 1;
        let frames: Vec<_> = (0..4)
            .map(|at| self.of_client(&handshake, TcpFlags::ACK, at * 1400, ack, 1400))
            .collect();
        let (verdict, allocations) = self.walk(&frames);
        assert_eq!(verdict, Verdict::Hold);
        total += allocations;
        let syn = Self::tcp_of(&self.out[..self.out_len]);
        assert_eq!(syn.flags, TcpFlags::SYN);
        let (real, lip) = ((REAL, 8080), (LIP, syn.src_port));
        let answer = |flags: TcpFlags, seq: u32, acked: u32| TcpSpec {
            seq: SeqNumber(seq),
            ack: syn.seq + 1 + acked,
            flags,
            options: vec![2, 4, 5, 0xb4, 1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 9],
            ..TcpSpec::default()
        };
        let accepted = self.segment(real, lip, answer(TcpFlags::SYN | TcpFlags::ACK, 5000, 0));
        let before = self.director.ledger().originated;
        let (_, allocations) = self.walk(&[accepted]);
        total += allocations;
        let released = self.director.ledger().originated - before;
        assert!(released >= 4, "{released} segments");
        let fin = TcpFlags::ACK | TcpFlags::FIN;
        let frames = [
            self.of_client(&handshake, fin, 5600, ack, 0),
            self.segment(real, lip, answer(fin, 5001, 5601)),
            self.of_client(&handshake, TcpFlags::ACK, 5601, ack + 1, 0),
        ];
        let (verdict, allocations) = self.walk(&frames);
        assert!(matches!(verdict, Verdict::Forward(_)), "{verdict:?}");
        total + allocations
    }

    /// Turns a frame into one of a random client.
    fn disguise(random: &mut Random, frame: &mut [u8]) {
        let ip = Ipv4Header::at_mut(frame, 14).unwrap();
        ip.set_src(Ipv4Addr::from(
            0x0b00_0000 + random.below(0x7000_0000) as u32,
        ));
        let tcp = TcpHeader::at_mut(frame, 34).unwrap();
        tcp.src_port = (random.next() as u16).into();
        tcp.seq = (random.next() as u32).into();
        tcp.ack = (random.next() as u32).into();
        fill_checksums(frame).unwrap();
    }

    /// Walks so many frames of random clients, made of one after the other of `kinds`.
    fn flood(&mut self, kinds: &[(PortId, Vec<u8>)], count: usize) -> u64 {
        let mut random = Random::new(9);
        let mut burst: Vec<_> = kinds.iter().cycle().take(64).cloned().collect();
        let mut total = 0;
        for _ in 0..count / burst.len() {
            for (_, frame) in &mut burst {
                Self::disguise(&mut random, frame);
            }
            total += self.walk(&burst).1;
        }
        total
    }
}

#[test]
fn proxied_sessions_with_early_data_ask_for_no_memory() {
    let mut bench = Bench::of(COOKIES, 1024);
    bench.serve(1);
    let total: u64 = (2..300).map(|port| bench.serve(port)).sum();
    assert_eq!(total, 0);
    let ledger = bench.director.ledger();
    assert!(ledger.balanced() && ledger.held == 0);
}

#[test]
fn cookies_that_are_bad_stale_or_never_answered_ask_for_no_memory() {
    let mut bench = Bench::of(COOKIES, 1024);
    bench.serve(1);
    let mut total = 0;
    let mut handshakes = Vec::new();
    for port in 2..200 {
        let (handshake, allocations) = bench.ask(port);
        total += allocations;
        let bad = bench.of_client(&handshake, TcpFlags::ACK, 0, handshake.cookie, 0);
        let (verdict, allocations) = bench.walk(&[bad]);
        assert_eq!(verdict, Verdict::Drop(DropReason::BadCookie));
        total += allocations;
        handshakes.push(handshake);
    }
    for _ in 0..75 {
        bench.clock.advance(Duration::from_secs(1));
        let now = bench.clock.now();
        total += allocation_counter::measure(|| bench.director.tick(now)).count_total;
    }
    for handshake in &handshakes {
        let ack = handshake.cookie + 1;
        let late = bench.of_client(handshake, TcpFlags::ACK, 0, ack, 100);
        let (verdict, allocations) = bench.walk(&[late]);
        assert_eq!(verdict, Verdict::Drop(DropReason::StaleCookie));
        total += allocations;
    }
    // Nobody answers these, and their clients are told so.
    for port in 200..400 {
        let (handshake, allocations) = bench.ask(port);
        total += allocations;
        let ack = handshake.cookie + 1;
        let data = bench.of_client(&handshake, TcpFlags::ACK, 0, ack, 100);
        let (verdict, allocations) = bench.walk(&[data]);
        assert_eq!(verdict, Verdict::Hold);
        total += allocations;
    }
    for _ in 0..200 {
        bench.clock.advance(Duration::from_millis(100));
        total += bench.settle();
    }
    assert_eq!(total, 0);
    let ledger = bench.director.ledger();
    assert!(ledger.balanced() && ledger.held == 0);
    assert_eq!(bench.director.session_count(), 0);
}

#[test]
fn a_million_random_syns_leave_no_trace() {
    let mut bench = Bench::of(COOKIES, 64);
    bench.serve(1);
    for _ in 0..200 {
        bench.clock.advance(Duration::from_millis(100));
        bench.settle();
    }
    let options = vec![2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2];
    let tcp = |flags, len| TcpSpec {
        flags,
        options: options.clone(),
        payload: vec![1; len],
        ..TcpSpec::default()
    };
    let kinds = [bench.segment((CLIENT, 1), (VIP, 80), tcp(TcpFlags::SYN, 0))];
    let before = bench.director.flood(ServiceId(0));
    assert_eq!(bench.flood(&kinds, 1_000_000), 0);
    let after = bench.director.flood(ServiceId(0));
    let met = after.cookie_sent + after.limited - before.cookie_sent - before.limited;
    assert_eq!(met, 1_000_000);
    assert!(after.cookie_sent > before.cookie_sent + 900_000);
    assert_eq!(bench.director.session_count(), 0);
    assert!(bench.director.ledger().balanced());
    // All that an attacker can make of TCP.
    let ack = TcpFlags::ACK;
    let kinds = [ack, ack | TcpFlags::FIN, TcpFlags::RST, ack | TcpFlags::SYN]
        .map(|flags| bench.segment((CLIENT, 1), (VIP, 80), tcp(flags, 100)));
    assert_eq!(bench.flood(&kinds, 200_000), 0);
    assert_eq!(bench.director.session_count(), 0);
    assert!(bench.director.ledger().balanced());
}

#[test]
fn a_flood_that_is_found_out_asks_for_no_memory() {
    let text = COOKIES.replace("= always", "= adaptive\nenter = 1k/s\nleave = 500/s");
    let mut bench = Bench::of(&text, 4096);
    bench.open(1);
    let syn = TcpSpec {
        flags: TcpFlags::SYN,
        ..TcpSpec::default()
    };
    let kinds = [bench.segment((CLIENT, 1), (VIP, 80), syn)];
    assert_eq!(bench.flood(&kinds, 100_000), 0);
    let flood = bench.director.flood(ServiceId(0));
    assert!(flood.active == 1 && flood.passed < 1_100, "{flood:?}");
    let mut total = 0;
    for _ in 0..600 {
        bench.clock.advance(Duration::from_millis(100));
        total += bench.settle();
    }
    assert_eq!(total, 0);
    assert_eq!(bench.director.flood(ServiceId(0)).active, 0);
    assert_eq!(bench.director.session_count(), 0);
}
