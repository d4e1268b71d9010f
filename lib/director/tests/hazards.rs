//! What goes wrong at the seams: between workers, between two configurations, between a session and
//! the next one on its port.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the helpers of these tests stop the test"
)]

use std::net::Ipv4Addr;
use std::time::Duration;

use weir_model::{DropReason, PortId, Snapshot, Verdict};
use weir_testkit::{
    Checksum, Emitted, IcmpSpec, PacketSpec, Setup, TcpSpec, Transport, World, arp_frame, snapshot,
    snapshot_after,
};
use weir_wire::{ARP_REQUEST, ArpRepr, EthAddr, IcmpKind, Parsed, SeqNumber, Tcp, TcpFlags, V4};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const REAL: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 11);
const S: TcpFlags = TcpFlags::SYN;
const A: TcpFlags = TcpFlags::ACK;
const SA: TcpFlags = TcpFlags(S.0 | A.0);
const FA: TcpFlags = TcpFlags(TcpFlags::FIN.0 | A.0);

fn text(lips: &str, source_ports: &str) -> String {
    format!(
        "[port wan]\ndevice = eth0\naddress = 198.51.100.2/24\ngateway = 198.51.100.1\n\
         [port lan]\ndevice = eth1\naddress = 10.0.0.2/16\n\
         [lip-pool blue]\nport = lan\naddress = {lips}\nsource-ports = {source_ports}\n\
         reuse-after = 0s\n\
         [service web]\nlisten = 203.0.113.10:80/tcp\nlip-pool = blue\nscheduler = rr\n\
         real = 10.0.1.11:8080\n"
    )
}

fn config(lips: &str, source_ports: &str) -> Snapshot {
    snapshot("hazards.conf", &text(lips, source_ports)).unwrap()
}

fn world(snapshot: Snapshot, workers: u8) -> World {
    world_of(snapshot, workers, 4096)
}

fn world_of(snapshot: Snapshot, workers: u8, sessions: u32) -> World {
    let setup = Setup {
        workers,
        sessions,
        ..Setup::default()
    };
    let mut world = World::new(snapshot, setup).unwrap();
    world.introduce(REAL);
    world.introduce(Ipv4Addr::new(198, 51, 100, 1));
    world
}

/// A frame from one end, as it arrives.
fn frame(world: &World, src: Ipv4Addr, dst: Ipv4Addr, tcp: TcpSpec) -> (PortId, PacketSpec) {
    let (port, spec) = world.around().packet(src, dst).unwrap();
    let spec = PacketSpec {
        transport: Transport::Tcp(tcp),
        ..spec
    };
    (port, spec)
}

fn tcp_of(sent: &Emitted) -> (V4, Tcp) {
    let parsed = Parsed::parse(&sent.frame).unwrap();
    let v4 = *parsed.v4().unwrap();
    (v4, *v4.tcp().unwrap())
}

/// One connection, with both of its ends played by the test.
struct Connection {
    client: Ipv4Addr,
    port: u16,
    seq: u32,
    real_seq: u32,
    lip: Ipv4Addr,
    lip_port: u16,
    lip_seq: SeqNumber,
    worker: u8,
}

impl Connection {
    /// Carries out a handshake; `worker` is whose queue everything arrives in.
    fn open(world: &mut World, client: Ipv4Addr, port: u16, worker: u8) -> Self {
        let mut it = Self {
            client,
            port,
            seq: 0xffff_fff0,
            real_seq: 77,
            lip: Ipv4Addr::UNSPECIFIED,
            lip_port: 0,
            lip_seq: SeqNumber(0),
            worker,
        };
        let syn = it.client_sends(world, S, &[]).expect("the SYN goes on");
        let (v4, tcp) = tcp_of(&syn);
        (it.lip, it.lip_port, it.lip_seq) = (v4.src, tcp.src_port, tcp.seq);
        it.seq = it.seq.wrapping_add(1);
        it.lip_seq += 1;
        it.real_sends(world, SA, 0).expect("the SYN-ACK goes on");
        it.real_seq += 1;
        it.client_sends(world, A, &[]).expect("the ACK goes on");
        it
    }

    fn client_sends(&self, world: &mut World, flags: TcpFlags, options: &[u8]) -> Option<Emitted> {
        let tcp = TcpSpec {
            src_port: self.port,
            dst_port: 80,
            seq: SeqNumber(self.seq),
            ack: SeqNumber(self.real_seq),
            flags,
            window: 60_000,
            options: options.to_vec(),
            ..TcpSpec::default()
        };
        let (port, spec) = frame(world, self.client, VIP, tcp);
        world.inject(self.worker, port, &spec.build()).unwrap();
        world.take_emitted()
    }

    fn real_sends(&self, world: &mut World, flags: TcpFlags, len: usize) -> Option<Emitted> {
        let tcp = TcpSpec {
            src_port: 8080,
            dst_port: self.lip_port,
            seq: SeqNumber(self.real_seq),
            ack: self.lip_seq,
            flags,
            window: 60_000,
            payload: vec![7; len],
            ..TcpSpec::default()
        };
        let (port, spec) = frame(world, REAL, self.lip, tcp);
        world.inject(self.worker, port, &spec.build()).unwrap();
        world.take_emitted()
    }

    /// The real server closes first, then the client.
    fn close_by_server(&mut self, world: &mut World) {
        self.real_sends(world, FA, 0).expect("the FIN goes on");
        self.real_seq += 1;
        self.client_sends(world, FA, &[]).expect("the FIN goes on");
        self.seq = self.seq.wrapping_add(1);
        self.lip_seq += 1;
        self.real_sends(world, A, 0).expect("the last ACK goes on");
    }
}

#[test]
fn a_partial_checksum_is_completed_before_another_worker_gets_the_frame() {
    let mut world = world(config("10.0.8.1", "1024-65535"), 2);
    let mut handed = 0;
    for port in 1000..1032 {
        let tcp = TcpSpec {
            src_port: port,
            dst_port: 80,
            flags: S,
            window: 60_000,
            ..TcpSpec::default()
        };
        let (port, mut spec) = frame(&world, CLIENT, VIP, tcp);
        spec.checksum = Checksum::Partial;
        let verdict = world.inject(0, port, &spec.build()).unwrap();
        handed += u32::from(matches!(verdict, Verdict::HandOff(_)));
        let sent = world.take_emitted().expect("the SYN goes on");
        assert_eq!(weir_wire::verify_frame(&sent.frame), Ok(()));
    }
    assert!(handed > 0);
}

#[test]
fn sessions_of_a_real_server_that_is_taken_out_are_reset_at_both_ends_in_parts() {
    let before = text("10.0.8.1", "1024-65535");
    let before = format!("{before}real = 10.0.1.12:8080\n");
    let mut world = world(snapshot("hazards.conf", &before).unwrap(), 1);
    world.introduce(Ipv4Addr::new(10, 0, 1, 12));
    let mut opened = [0; 2];
    for port in 1000..1200 {
        let tcp = TcpSpec {
            src_port: port,
            dst_port: 80,
            flags: S,
            window: 60_000,
            ..TcpSpec::default()
        };
        let (port, spec) = frame(&world, CLIENT, VIP, tcp);
        world.inject(0, port, &spec.build()).unwrap();
        let (v4, _) = tcp_of(&world.take_emitted().expect("the SYN goes on"));
        opened[usize::from(v4.dst != REAL)] += 1;
    }
    assert_eq!(opened, [100, 100]);
    let gone = world
        .sessions()
        .into_iter()
        .find(|it| it.real.0 == REAL)
        .unwrap();
    let now = world.now();
    let (mut cursor, mut parts, mut count) = (Some(0), 0, 0);
    while let Some(at) = cursor {
        let director = &mut world.directors_mut()[0];
        let (reset, next) = director.reset_sessions(now, gone.real_id, at, 4096);
        // Both ends of no more than 64.
        assert!(reset <= 64);
        (cursor, parts, count) = (next, parts + 1, count + reset);
        world.turn().unwrap();
    }
    assert_eq!((parts, count), (2, 100));
    let left = world.sessions();
    assert_eq!(left.len(), 100);
    assert!(left.iter().all(|it| it.real.0 != REAL));
    let mut resets = [0; 2];
    while let Some(sent) = world.take_emitted() {
        let (v4, tcp) = tcp_of(&sent);
        assert!(tcp.flags.contains(TcpFlags::RST));
        assert!(v4.dst == REAL || v4.dst == CLIENT);
        resets[usize::from(v4.dst == CLIENT)] += 1;
    }
    assert_eq!(resets, [100, 100]);
}

#[test]
fn sessions_outlive_another_range_of_source_ports_on_every_worker() {
    let before = text("10.0.8.1", "1024-65535");
    let before = snapshot("hazards.conf", &before).unwrap();
    let after = snapshot_after("hazards.conf", &text("10.0.8.1", "1025-65535"), &before).unwrap();
    let mut world = world(before, 2);
    let open: Vec<Connection> = (1000..1032)
        .map(|port| Connection::open(&mut world, CLIENT, port, 0))
        .collect();
    world.apply(after).unwrap();
    for connection in &open {
        assert!(connection.real_sends(&mut world, A, 10).is_some());
    }
}

#[test]
fn a_client_whose_lip_was_taken_away_is_told_at_once() {
    let before = config("10.0.8.1", "1024-65535");
    let after = text("10.0.8.2", "1024-65535");
    let after = snapshot_after("hazards.conf", &after, &before).unwrap();
    let mut world = world(before, 1);
    let connection = Connection::open(&mut world, CLIENT, 1000, 0);
    world.apply(after).unwrap();
    while world.take_emitted().is_some() {}
    let sent = connection.client_sends(&mut world, A, &[]).expect("a RST");
    let (v4, tcp) = tcp_of(&sent);
    assert_eq!((v4.dst, tcp.flags), (CLIENT, TcpFlags::RST));
    assert!(world.sessions().is_empty());
}

#[test]
fn ports_go_round_without_a_refusal_while_their_sessions_are_remembered() {
    let mut world = world(config("10.0.8.1", "2000-2009"), 1);
    let mut last = std::collections::BTreeMap::new();
    for round in 0..500u16 {
        let client = Ipv4Addr::new(192, 0, 2, (round % 8) as u8);
        let mut connection = Connection::open(&mut world, client, 1000 + round, 0);
        let isn = connection.lip_seq - 1;
        if let Some(end) = last.insert(connection.lip_port, connection.lip_seq + 1) {
            assert!(isn.after(end), "a real server in TIME-WAIT would refuse");
        }
        connection.close_by_server(&mut world);
        assert_eq!(world.ports_used(), 0);
    }
    assert_eq!(world.tally().get("lip-exhausted"), 0);
    assert_eq!(world.sessions().len(), 10, "each port's last session");
}

#[test]
fn a_syn_that_cannot_be_translated_opens_nothing() {
    let mut world = world(config("10.0.8.1", "2000-2009"), 1);
    let tcp = TcpSpec {
        src_port: 1000,
        dst_port: 80,
        flags: S,
        options: vec![2, 4, 5, 180, 2, 4, 5, 180],
        ..TcpSpec::default()
    };
    let (port, spec) = frame(&world, CLIENT, VIP, tcp);
    let verdict = world.inject(0, port, &spec.build()).unwrap();
    assert_eq!(verdict, Verdict::Drop(DropReason::Malformed));
    assert_eq!((world.sessions().len(), world.ports_used()), (0, 0));
}

#[test]
fn redirects_and_source_quenches_go_nowhere() {
    let mut world = world(config("10.0.8.1", "1024-65535"), 1);
    let connection = Connection::open(&mut world, CLIENT, 1000, 0);
    for kind in [IcmpKind::REDIRECT, IcmpKind::SOURCE_QUENCH] {
        let quoted = TcpSpec {
            src_port: connection.lip_port,
            dst_port: 8080,
            ..TcpSpec::default()
        };
        let (_, quoted) = frame(&world, REAL, connection.lip, quoted);
        let quoted = PacketSpec {
            src: connection.lip,
            dst: REAL,
            ..quoted
        };
        let (port, error) = frame(&world, REAL, connection.lip, TcpSpec::default());
        let error = PacketSpec {
            transport: Transport::Icmp(IcmpSpec {
                kind,
                payload: quoted.packet(),
                ..IcmpSpec::default()
            }),
            ..error
        };
        let verdict = world.inject(0, port, &error.build()).unwrap();
        assert_eq!(verdict, Verdict::Drop(DropReason::UnmatchedIcmp), "{kind}");
    }
}

#[test]
fn an_expired_session_is_forgotten_even_if_an_end_never_falls_silent() {
    let mut world = world(config("10.0.8.1", "1024-65535"), 1);
    let connection = Connection::open(&mut world, CLIENT, 1000, 0);
    while world.tally().get("session-expired") == 0 {
        let next = world.time().after(Duration::from_secs(1));
        world.advance_to(next).unwrap();
    }
    assert_eq!(world.sessions().len(), 1, "for challenge ACKs");
    for _ in 0..30 {
        connection.client_sends(&mut world, TcpFlags::NONE, &[]);
        let next = world.time().after(Duration::from_secs(1));
        world.advance_to(next).unwrap();
    }
    assert!(world.sessions().is_empty());
}

#[test]
fn two_ports_on_one_link_do_not_take_each_other_for_an_impostor() {
    let mut world = world(config("10.0.8.1", "1024-65535"), 1);
    let (wan, lan) = (
        world.around().links()[0].clone(),
        world.around().links()[1].clone(),
    );
    let mut conflicts = |mac| {
        let arp = ArpRepr {
            op: ARP_REQUEST,
            sender_mac: mac,
            sender_ip: Ipv4Addr::new(10, 0, 8, 1),
            target_mac: EthAddr::ZERO,
            target_ip: Ipv4Addr::new(10, 0, 8, 1),
        };
        world.inject(0, lan.port, &arp_frame(&arp)).unwrap();
        world.take_events().len()
    };
    assert_eq!(conflicts(wan.mac), 0);
    assert_eq!(conflicts(EthAddr([2, 9, 9, 9, 9, 9])), 1);
}

#[test]
fn sessions_that_are_over_make_room_in_a_full_table() {
    let mut world = world_of(config("10.0.8.1", "1024-65535"), 1, 8);
    for port in 0..100 {
        let mut connection = Connection::open(&mut world, CLIENT, 1000 + port, 0);
        connection.close_by_server(&mut world);
    }
    assert_eq!(world.sessions().len(), 8);
    assert_eq!(world.tally().get("session-evicted"), 92);
    assert_eq!(world.tally().get("table-full"), 0);
}

#[test]
fn sessions_long_half_open_make_room_in_a_full_table_and_others_do_not() {
    let mut world = world_of(config("10.0.8.1", "1024-65535"), 1, 8);
    for port in 0..4 {
        Connection::open(&mut world, CLIENT, 1000 + port, 0);
    }
    let syn = |world: &mut World, src_port| {
        let tcp = TcpSpec {
            src_port,
            dst_port: 80,
            flags: S,
            ..TcpSpec::default()
        };
        let (port, spec) = frame(world, CLIENT, VIP, tcp);
        let verdict = world.inject(0, port, &spec.build()).unwrap();
        while world.take_emitted().is_some() {}
        verdict
    };
    for port in 2000..2004 {
        assert!(matches!(syn(&mut world, port), Verdict::Forward(_)));
    }
    let full = Verdict::Drop(DropReason::TableFull);
    assert_eq!(syn(&mut world, 3000), full);
    let later = world.time().after(Duration::from_secs(2));
    world.advance_to(later).unwrap();
    for port in 3000..3004 {
        assert!(matches!(syn(&mut world, port), Verdict::Forward(_)));
    }
    assert_eq!(syn(&mut world, 4000), full);
    assert_eq!(world.ports_used(), 8);
    let established = world
        .sessions()
        .iter()
        .filter(|session| session.state == nat_engine::State::Established)
        .count();
    assert_eq!(established, 4);
}
