//! What the health of real servers rests on and leads to in a director: who answers SYNs, who gets
//! sessions when nobody is up, and addresses that nobody is told.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the helpers of these tests stop the test"
)]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use weir_model::{
    DropReason, Event, KnockCounters, PortId, RealId, RealState, ServiceId, Time, Verdict,
};
use weir_testkit::{
    Checksum, PacketSpec, Setup, TcpSpec, Transport, UdpSpec, World, arp_frame, snapshot,
};
use weir_wire::{
    ARP_REPLY, ARP_REQUEST, ArpRepr, EthAddr, EthHeader, Header, Parsed, SeqNumber, TcpFlags,
};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const VIP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 11);
const SECOND: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 12);
const SORRY: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 99);
const WAN: PortId = PortId(0);
const S: TcpFlags = TcpFlags::SYN;
const RA: TcpFlags = TcpFlags(TcpFlags::RST.0 | TcpFlags::ACK.0);
const SA: TcpFlags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);

fn world(more: &str, setup: Setup) -> World {
    let conf = format!(
        "[port wan]\ndevice = eth0\naddress = 198.51.100.2/24\ngateway = 198.51.100.1\n\
         [port lan]\ndevice = eth1\naddress = 10.0.0.2/16\n\
         [lip-pool blue]\nport = lan\naddress = 10.0.8.1\n\
         [service web]\nlisten = 198.51.100.10:80/tcp\nlip-pool = blue\nscheduler = wlc\n\
         real = 10.0.1.11:80\n{more}\n"
    );
    let mut world = World::new(snapshot("health.conf", &conf).unwrap(), setup).unwrap();
    world.introduce(GATEWAY);
    world
}

fn known(more: &str) -> World {
    let mut world = world(more, Setup::default());
    for real in [FIRST, SECOND, SORRY] {
        world.introduce(real);
    }
    while world.take_emitted().is_some() {}
    world
}

fn frame(world: &World, src: Ipv4Addr, dst: Ipv4Addr, tcp: TcpSpec) -> (PortId, Vec<u8>) {
    let (port, spec) = world.around().packet(src, dst).unwrap();
    let spec = PacketSpec {
        transport: Transport::Tcp(tcp),
        ..spec
    };
    (port, spec.build())
}

/// A client's SYN from one of its ports.
fn syn(world: &mut World, src_port: u16) -> Verdict {
    let tcp = TcpSpec {
        src_port,
        dst_port: 80,
        seq: SeqNumber(7),
        flags: S,
        window: 60_000,
        ..TcpSpec::default()
    };
    let (port, frame) = frame(world, CLIENT, VIP, tcp);
    world.inject(0, port, &frame).unwrap()
}

/// Lets the real server answer the SYN that reached it last.
fn answer(world: &mut World, flags: TcpFlags) {
    let sent = world.take_emitted().expect("a SYN reaches the real server");
    let parsed = Parsed::parse(&sent.frame).unwrap();
    let v4 = *parsed.v4().unwrap();
    let syn = *v4.tcp().unwrap();
    assert_eq!(syn.flags, S);
    let tcp = TcpSpec {
        src_port: 80,
        dst_port: syn.src_port,
        seq: SeqNumber(99),
        ack: syn.seq + 1,
        flags,
        window: 60_000,
        ..TcpSpec::default()
    };
    let (port, frame) = frame(world, v4.dst, v4.src, tcp);
    world.inject(0, port, &frame).unwrap();
    while world.take_emitted().is_some() {}
}

fn knocks(world: &World) -> (u64, u64) {
    let KnockCounters { asked, answered } = world.directors()[0].real_knocks(RealId(0));
    (asked, answered)
}

/// Tells the director what holds for the real servers of the service, in the order of the file.
fn set_states(world: &mut World, states: &[RealState]) {
    let service = world.snapshot().services.get(0).unwrap().clone();
    for (real, state) in service.reals.iter().zip(states) {
        world.directors_mut()[0].set_real_state(real.id, *state);
    }
}

fn down() -> RealState {
    RealState {
        up: false,
        ..RealState::default()
    }
}

/// To whom the SYNs of so many clients go.
fn spread(world: &mut World, first_port: u16, clients: u16) -> BTreeMap<Ipv4Addr, u16> {
    let mut reached = BTreeMap::new();
    for src_port in first_port..first_port + clients {
        syn(world, src_port);
        let sent = world.take_emitted().expect("a SYN reaches a real server");
        let parsed = Parsed::parse(&sent.frame).unwrap();
        *reached.entry(parsed.v4().unwrap().dst).or_default() += 1;
    }
    reached
}

#[test]
fn only_a_syn_ack_answers_and_a_syn_that_comes_again_asks_nothing_new() {
    let mut world = known("");
    syn(&mut world, 40_000);
    assert_eq!(knocks(&world), (1, 0));
    syn(&mut world, 40_000);
    assert_eq!(knocks(&world), (1, 0), "the same connection");
    world.take_emitted();
    answer(&mut world, SA);
    assert_eq!(knocks(&world), (1, 1));
    syn(&mut world, 40_001);
    answer(&mut world, RA);
    assert_eq!(knocks(&world), (2, 1), "a RST says no");
}

#[test]
fn a_real_server_that_nobody_can_find_was_asked_all_the_same() {
    let setup = Setup {
        neighbours_answer: false,
        ..Setup::default()
    };
    let mut world = world("", setup);
    for src_port in 40_000..40_003 {
        assert_eq!(syn(&mut world, src_port), Verdict::Hold);
    }
    assert_eq!(knocks(&world), (3, 0));
}

#[test]
fn a_cookie_asks_its_real_server_and_a_flood_asks_nobody() {
    let mut world = known("synproxy = always");
    assert_eq!(syn(&mut world, 40_000), Verdict::Reply);
    assert_eq!(knocks(&world), (0, 0));
    let sent = world.take_emitted().expect("a SYN-ACK leaves");
    let cookie = Parsed::parse(&sent.frame)
        .unwrap()
        .v4()
        .unwrap()
        .tcp()
        .unwrap()
        .seq;
    let tcp = TcpSpec {
        src_port: 40_000,
        dst_port: 80,
        seq: SeqNumber(8),
        ack: cookie + 1,
        flags: TcpFlags::ACK,
        window: 60_000,
        ..TcpSpec::default()
    };
    let (port, frame) = frame(&world, CLIENT, VIP, tcp);
    world.inject(0, port, &frame).unwrap();
    assert_eq!(knocks(&world), (1, 0));
    answer(&mut world, SA);
    assert_eq!(knocks(&world), (1, 1));
}

#[test]
fn new_sessions_go_to_who_is_up_then_to_the_sorry_server_then_to_nobody() {
    let mut world = known("real = 10.0.1.12:80\nsorry = 10.0.1.99:80");
    let both = BTreeMap::from([(FIRST, 5), (SECOND, 5)]);
    assert_eq!(spread(&mut world, 40_000, 10), both);
    set_states(&mut world, &[down(), RealState::default()]);
    assert_eq!(
        spread(&mut world, 41_000, 10),
        BTreeMap::from([(SECOND, 10)])
    );
    set_states(&mut world, &[down(), down()]);
    assert_eq!(
        spread(&mut world, 42_000, 10),
        BTreeMap::from([(SORRY, 10)])
    );
    set_states(&mut world, &[RealState::default(), down()]);
    assert_eq!(
        spread(&mut world, 43_000, 10),
        BTreeMap::from([(FIRST, 10)])
    );

    let mut alone = known("real = 10.0.1.12:80");
    set_states(&mut alone, &[down(), down()]);
    // Its client is told by a RST.
    assert_eq!(syn(&mut alone, 40_000), Verdict::Drop(DropReason::NoReal));
    assert!(alone.take_emitted().is_some());
    assert_eq!(
        alone.directors()[0].service_traffic(ServiceId(0)).refused,
        1
    );
}

#[test]
fn a_share_that_grows_is_given_in_its_proportion() {
    let mut world = known("real = 10.0.1.12:80");
    // As the book tells it: one is at a twentieth of its share, the other one has the whole.
    let weighed = |weight| RealState {
        weight: Some(weight),
        ..RealState::default()
    };
    set_states(&mut world, &[weighed(5), weighed(100)]);
    let reached = spread(&mut world, 40_000, 42);
    assert_eq!(reached, BTreeMap::from([(FIRST, 2), (SECOND, 40)]));
}

/// Lets the gateway ask for the VIP; says who answers.
fn who_has_vip(world: &mut World) -> Option<EthAddr> {
    while world.take_emitted().is_some() {}
    let (port, mac) = world.around().reach(GATEWAY).unwrap();
    assert_eq!(port, WAN);
    let request = arp_frame(&ArpRepr {
        op: ARP_REQUEST,
        sender_mac: mac,
        sender_ip: GATEWAY,
        target_mac: EthAddr::default(),
        target_ip: VIP,
    });
    world.inject(0, WAN, &request).unwrap();
    let sent = world.take_emitted()?;
    let arp = ArpRepr::parse(&sent.frame[EthHeader::LEN..]).unwrap();
    assert_eq!((arp.op, arp.sender_ip), (ARP_REPLY, VIP));
    Some(arp.sender_mac)
}

#[test]
fn nobody_is_told_where_a_withdrawn_address_is_and_everybody_when_it_is_back() {
    // A world whose neighbours do not answer hides no ARP.
    let setup = Setup {
        neighbours_answer: false,
        ..Setup::default()
    };
    let mut world = world("", setup);
    world.introduce(FIRST);
    let ours = world.around().link(WAN).unwrap().mac;
    assert_eq!(who_has_vip(&mut world), Some(ours));
    world.directors_mut()[0].set_withdrawn(VIP, true);
    assert_eq!(who_has_vip(&mut world), None);
    // Who knows where it is goes on: sessions are not touched.
    assert_eq!(syn(&mut world, 40_000), Verdict::Forward(PortId(1)));
    while world.take_emitted().is_some() {}
    world.directors_mut()[0].set_withdrawn(VIP, false);
    let soon = world.now().time.after(Duration::from_secs(1));
    world.advance_to(soon).unwrap();
    let sent = world.take_emitted().expect("it is announced");
    let arp = ArpRepr::parse(&sent.frame[EthHeader::LEN..]).unwrap();
    assert_eq!((arp.sender_ip, arp.target_ip, sent.port), (VIP, VIP, WAN));
    assert_eq!(who_has_vip(&mut world), Some(ours));
}

#[test]
fn a_syn_that_has_no_hops_left_asks_no_real_server() {
    let mut world = known("");
    let (port, eth_src) = world.around().reach(CLIENT).unwrap();
    for src_port in 40_000..40_020 {
        let spec = PacketSpec {
            eth_src,
            eth_dst: world.around().link(port).unwrap().mac,
            src: CLIENT,
            dst: VIP,
            ttl: 1,
            transport: Transport::Tcp(TcpSpec {
                src_port,
                dst_port: 80,
                flags: S,
                ..TcpSpec::default()
            }),
            ..PacketSpec::default()
        };
        let verdict = world.inject(0, port, &spec.build()).unwrap();
        assert_eq!(verdict, Verdict::Drop(DropReason::TtlExpired));
    }
    assert_eq!(knocks(&world), (0, 0));
}

/// Lets the director look for a neighbour; returns from which address it asks.
fn asks_from(world: &mut World, neighbour: Ipv4Addr) -> Ipv4Addr {
    let now = world.now();
    world.directors_mut()[0].reach(now, neighbour);
    world.turn().unwrap();
    loop {
        let sent = world.take_emitted().expect("a request leaves");
        let arp = ArpRepr::parse(&sent.frame[EthHeader::LEN..]);
        if let Some(arp) = arp.filter(|arp| arp.target_ip == neighbour) {
            return arp.sender_ip;
        }
    }
}

#[test]
fn nobody_is_asked_from_a_withdrawn_address() {
    let setup = Setup {
        neighbours_answer: false,
        ..Setup::default()
    };
    let mut world = world("", setup);
    let neighbour = |end| Ipv4Addr::new(198, 51, 100, end);
    assert_eq!(asks_from(&mut world, neighbour(20)), VIP);
    // Who hears a request of the VIP's learns that it is here.
    world.directors_mut()[0].set_withdrawn(VIP, true);
    assert_eq!(asks_from(&mut world, neighbour(21)), neighbour(2));
    world.directors_mut()[0].set_withdrawn(VIP, false);
    assert_eq!(asks_from(&mut world, neighbour(22)), VIP);
}

#[test]
fn a_syn_that_is_damaged_or_that_its_client_takes_back_counts_against_nobody() {
    let mut world = known("passive = 2s");
    let send = |world: &mut World, src_port, flags, seq, checksum| {
        let tcp = TcpSpec {
            src_port,
            dst_port: 80,
            seq: SeqNumber(seq),
            flags,
            window: 60_000,
            ..TcpSpec::default()
        };
        let (port, spec) = world.around().packet(CLIENT, VIP).unwrap();
        let spec = PacketSpec {
            transport: Transport::Tcp(tcp),
            checksum,
            ..spec
        };
        world.inject(0, port, &spec.build()).unwrap();
    };
    send(&mut world, 40_000, S, 7, Checksum::Wrong);
    assert_eq!(knocks(&world), (0, 0), "no real server takes it for a SYN");
    send(&mut world, 40_001, S, 7, Checksum::Partial);
    assert_eq!(knocks(&world), (1, 0));
    send(&mut world, 40_001, TcpFlags::RST, 8, Checksum::Right);
    assert_eq!(knocks(&world), (0, 0), "it need not be answered any more");
    syn(&mut world, 40_002);
    assert_eq!(knocks(&world), (1, 0));
}

#[test]
fn refusals_leave_room_for_other_notices_and_a_withdrawn_vip_may_be_elsewhere() {
    let mut world = known("all-down = refuse");
    set_states(&mut world, &[down()]);
    let elsewhere = |world: &World| {
        let arp = ArpRepr {
            op: ARP_REQUEST,
            sender_mac: EthAddr([2, 9, 9, 9, 9, 9]),
            sender_ip: VIP,
            target_mac: EthAddr::ZERO,
            target_ip: VIP,
        };
        (world.around().links()[0].port, arp_frame(&arp))
    };
    for src_port in 1000..2000 {
        let tcp = TcpSpec {
            src_port,
            dst_port: 80,
            flags: S,
            ..TcpSpec::default()
        };
        let (port, frame) = frame(&world, CLIENT, VIP, tcp);
        let verdict = world.inject_only(0, port, &frame).unwrap();
        assert_eq!(verdict, Verdict::Drop(DropReason::NoReal));
    }
    let conflicts = |world: &mut World| {
        let events = world.take_events().into_iter();
        events
            .filter(|event| matches!(event, Event::AddressConflict { .. }))
            .count()
    };
    let (port, frame) = elsewhere(&world);
    world.inject(0, port, &frame).unwrap();
    assert_eq!(conflicts(&mut world), 1);
    world.directors_mut()[0].set_withdrawn(VIP, true);
    world.inject(0, port, &frame).unwrap();
    assert_eq!(conflicts(&mut world), 0, "it is another box's now");
}

#[test]
fn control_hears_of_one_refused_session_in_a_second_and_of_how_many_there_were() {
    let mut world = known("");
    set_states(&mut world, &[down()]);
    let mut told = Vec::new();
    // 100 in a tenth of a second, for two and a half seconds.
    for tenth in 1..=25_u64 {
        for src_port in 0..100 {
            let verdict = syn(&mut world, tenth as u16 * 100 + src_port);
            assert_eq!(verdict, Verdict::Drop(DropReason::NoReal));
        }
        let next = Time::from_micros(world.now().time.as_micros() + 100_000);
        world.advance_to(next).unwrap();
        for event in world.take_events() {
            let Event::Refused {
                reason,
                client,
                count,
                ..
            } = event
            else {
                panic!("{event:?}");
            };
            assert_eq!(reason, DropReason::NoReal);
            told.push((client.to_string(), count));
        }
    }
    let expected = [(100, 1), (1100, 1001), (2100, 2001)];
    let expected = expected.map(|(port, count)| (format!("{CLIENT}:{port}"), count));
    assert_eq!(told, expected);
    let all = world.directors()[0].service_traffic(ServiceId(0)).refused;
    assert_eq!(all, 2500);
}

#[test]
fn who_scans_ports_takes_no_message_from_those_whose_packets_cannot_go_on() {
    let mut world = known("defence = edge\n[defence edge]\nudp-drop = no");
    let (port, eth_src) = world.around().reach(CLIENT).unwrap();
    let of = |world: &World, ttl, transport| PacketSpec {
        eth_src,
        eth_dst: world.around().link(port).unwrap().mac,
        src: CLIENT,
        dst: VIP,
        ttl,
        transport,
        ..PacketSpec::default()
    };
    let mut answered = 0;
    for dst_port in 1..3000 {
        let udp = UdpSpec {
            src_port: 40_000,
            dst_port,
            ..UdpSpec::default()
        };
        let frame = of(&world, 64, Transport::Udp(udp)).build();
        world.inject(0, port, &frame).unwrap();
        answered += usize::from(world.take_emitted().is_some());
    }
    assert!(
        (100..2999).contains(&answered),
        "{answered} answers: limited"
    );
    let tcp = TcpSpec {
        src_port: 40_000,
        dst_port: 80,
        flags: S,
        ..TcpSpec::default()
    };
    let frame = of(&world, 1, Transport::Tcp(tcp)).build();
    world.inject(0, port, &frame).unwrap();
    assert!(world.take_emitted().is_some(), "its time to live was over");
}
