//! The session log: each session has one record when it opens and one when it ends, whatever ends it.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of these tests stop the test"
)]

use std::net::Ipv4Addr;
use std::time::Duration;

use weir_director::{SessionChange, SessionEnd, SessionRecord};
use weir_testkit::{
    PacketSpec, Setup, TcpSpec, Transport, UdpSpec, World, snapshot, snapshot_after,
};
use weir_wire::{Parsed, SeqNumber, Tcp, TcpFlags};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const LIP: Ipv4Addr = Ipv4Addr::new(10, 0, 8, 1);
const REAL: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 11);
const SYN: TcpFlags = TcpFlags::SYN;
const ACK: TcpFlags = TcpFlags::ACK;
const RST: TcpFlags = TcpFlags::RST;
const SYN_ACK: TcpFlags = TcpFlags(SYN.0 | ACK.0);
const FIN: TcpFlags = TcpFlags(TcpFlags::FIN.0 | ACK.0);
const C: u32 = 100;
const B: u32 = 9000;

struct Lab {
    world: World,
    lip_port: u16,
    isn: u32,
}

fn conf(log: &str) -> String {
    format!(
        "[port wan]\ndevice = eth0\naddress = 198.51.100.2/24\ngateway = 198.51.100.1\n\
         [port lan]\ndevice = eth1\naddress = 10.0.0.2/16\n\
         [lip-pool blue]\nport = lan\naddress = 10.0.8.1\n\
         [service web]\nlisten = 203.0.113.10:80/tcp\nlip-pool = blue\nsession-log = {log}\n\
         timeout-syn-recv = 20s\nidle = 5m\nreal = 10.0.1.11:8080\n\
         [service dns]\nlisten = 203.0.113.10:53/udp\nlip-pool = blue\nsession-log = {log}\n\
         timeout-one-way = 2s\nreal = 10.0.1.11:53\n"
    )
}

impl Lab {
    fn new(log: &str, sessions: u32) -> Self {
        let setup = Setup {
            sessions,
            ..Setup::default()
        };
        let world = World::new(snapshot("log.conf", &conf(log)).unwrap(), setup).unwrap();
        let mut lab = Self {
            world,
            lip_port: 0,
            isn: 0,
        };
        lab.world.introduce(REAL);
        lab.world.introduce(Ipv4Addr::new(198, 51, 100, 1));
        lab
    }

    fn send(&mut self, src: Ipv4Addr, dst: Ipv4Addr, transport: Transport) {
        let (port, spec) = self.world.around().packet(src, dst).unwrap();
        let spec = PacketSpec { transport, ..spec };
        self.world.inject(0, port, &spec.build()).unwrap();
    }

    fn client(&mut self, port: u16, flags: TcpFlags, seq: u32, ack: u32) {
        let tcp = TcpSpec {
            src_port: port,
            dst_port: 80,
            seq: SeqNumber(seq),
            ack: SeqNumber(ack),
            flags,
            window: 60_000,
            ..TcpSpec::default()
        };
        self.send(CLIENT, VIP, Transport::Tcp(tcp));
    }

    fn real(&mut self, flags: TcpFlags, seq: u32, ack: u32) {
        let tcp = TcpSpec {
            src_port: 8080,
            dst_port: self.lip_port,
            seq: SeqNumber(seq),
            ack: SeqNumber(ack),
            flags,
            window: 60_000,
            ..TcpSpec::default()
        };
        self.send(REAL, LIP, Transport::Tcp(tcp));
    }

    fn syn(&mut self, port: u16) {
        while self.world.take_emitted().is_some() {}
        self.client(port, SYN, C, 0);
        let sent = self.world.take_emitted().unwrap();
        let parsed = Parsed::parse(&sent.frame).unwrap();
        let tcp: Tcp = *parsed.v4().unwrap().tcp().unwrap();
        (self.lip_port, self.isn) = (tcp.src_port, tcp.seq.0);
    }

    /// Opens a connection and returns what follows the real server's first number.
    fn open(&mut self, port: u16) {
        self.syn(port);
        self.real(SYN_ACK, B, self.isn.wrapping_add(1));
        self.client(port, ACK, C + 1, B + 1);
    }

    fn wait(&mut self, time: Duration) {
        let later = self.world.time().after(time);
        self.world.advance_to(later).unwrap();
    }

    fn log(&mut self) -> Vec<SessionRecord> {
        let mut records = Vec::new();
        for director in self.world.directors_mut() {
            let lost = director.fetch_session_log(&mut |record| records.push(record));
            assert_eq!(lost, 0);
        }
        records
    }

    fn changes(&mut self) -> Vec<SessionChange> {
        self.log().iter().map(|record| record.change).collect()
    }
}

const OPENED: SessionChange = SessionChange::Opened;
const DAY: Duration = Duration::from_hours(24);

const fn ended(why: SessionEnd) -> SessionChange {
    SessionChange::Ended(why)
}

#[test]
fn a_session_that_both_ends_close_is_told_once_when_it_opens_and_once_when_it_ends() {
    let mut lab = Lab::new("both", 64);
    lab.open(40_000);
    let opened = lab.log();
    assert_eq!(opened.len(), 1);
    let record = opened[0];
    assert_eq!((record.change, record.client), (OPENED, (CLIENT, 40_000)));
    assert_eq!((record.vip, record.real), ((VIP, 80), (REAL, 8080)));
    assert_eq!((record.lip, record.lasted_ms), ((LIP, lab.lip_port), 0));
    lab.wait(Duration::from_secs(3));
    lab.client(40_000, FIN, C + 1, B + 1);
    let next = lab.isn.wrapping_add(2);
    lab.real(FIN, B + 1, next);
    lab.client(40_000, ACK, C + 2, B + 2);
    let closed = lab.log();
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0].change, ended(SessionEnd::Closed));
    assert_eq!(
        (closed[0].client, closed[0].lasted_ms),
        (record.client, 3_000)
    );
    // When it is forgotten nothing is said of it again.
    lab.wait(DAY);
    assert_eq!(lab.changes(), []);
}

#[test]
fn each_way_to_end_has_its_reason() {
    let mut lab = Lab::new("close", 64);
    lab.open(40_000);
    lab.client(40_000, RST, C + 1, 0);
    assert_eq!(lab.changes(), [ended(SessionEnd::Reset)]);
    lab.syn(40_001);
    lab.wait(Duration::from_mins(1));
    assert_eq!(lab.changes(), [ended(SessionEnd::Unanswered)]);
    lab.open(40_002);
    lab.wait(Duration::from_mins(10));
    assert_eq!(lab.changes(), [ended(SessionEnd::Expired)]);
    let udp = UdpSpec {
        src_port: 40_003,
        dst_port: 53,
        ..UdpSpec::default()
    };
    lab.send(CLIENT, VIP, Transport::Udp(udp));
    assert_eq!(lab.changes(), []);
    lab.wait(Duration::from_mins(1));
    assert_eq!(lab.changes(), [ended(SessionEnd::Unanswered)]);
    lab.wait(DAY);
    assert_eq!(lab.changes(), []);
}

#[test]
fn what_made_room_in_a_full_table_was_evicted() {
    let mut lab = Lab::new("both", 16);
    for port in 40_000..40_016 {
        lab.syn(port);
    }
    assert_eq!(lab.changes(), [OPENED; 16]);
    lab.wait(Duration::from_secs(2));
    lab.syn(50_000);
    assert_eq!(lab.changes(), [ended(SessionEnd::Evicted), OPENED]);
}

#[test]
fn the_end_of_a_session_is_told_when_its_service_is_gone_as_well() {
    for (log, told) in [("both", 2), ("open", 0)] {
        let mut lab = Lab::new(log, 64);
        lab.open(40_000);
        lab.open(40_001);
        lab.log();
        let text = conf(log);
        let (first, last) = (text.find("[service web]"), text.find("[service dns]"));
        let without = text[..first.unwrap()].to_owned() + &text[last.unwrap()..];
        for _ in 0..2 {
            let gone = snapshot_after("log.conf", &without, lab.world.snapshot()).unwrap();
            lab.world.apply(gone).unwrap();
        }
        // One talks on and is reset, the other one is silent.
        lab.client(40_000, ACK, C + 1, B + 1);
        lab.wait(DAY);
        let changes = lab.changes();
        assert_eq!(changes.len(), told, "{log}: {changes:?}");
        assert!(!changes.contains(&OPENED), "{changes:?}");
    }
}

#[test]
fn nothing_is_told_unless_it_is_wanted() {
    for (log, opens) in [("off", false), ("open", true)] {
        let mut lab = Lab::new(log, 64);
        lab.open(40_000);
        lab.client(40_000, RST, C + 1, 0);
        lab.wait(DAY);
        let expected: &[SessionChange] = if opens { &[OPENED] } else { &[] };
        assert_eq!(lab.changes(), expected, "{log}");
    }
}
