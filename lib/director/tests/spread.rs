//! NICs that spread packets foretellably: nothing is handed over, and what goes astray still is.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the helpers of these tests stop the test"
)]

use std::net::Ipv4Addr;
use std::sync::Arc;

use nat_engine::{Protocols, Steering};
use weir_director::SpreadFacts;
use weir_model::{PortId, Snapshot, WorkerId};
use weir_testkit::{Emitted, PacketSpec, Setup, TcpSpec, Transport, World, snapshot};
use weir_wire::{Parsed, SeqNumber, TcpFlags, Toeplitz};

const WORKERS: u8 = 4;
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const REAL: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 11);

fn wan_key() -> [u8; 40] {
    core::array::from_fn(|at| (at as u8).wrapping_mul(89) ^ 0x6d)
}

fn lan_key() -> [u8; 40] {
    core::array::from_fn(|at| (at as u8).wrapping_mul(57) ^ 0x5a)
}

fn config() -> Snapshot {
    let text = "[port wan]\ndevice = eth0\naddress = 198.51.100.2/24\ngateway = 198.51.100.1\n\
         [port lan]\ndevice = eth1\naddress = 10.0.0.2/16\n\
         [lip-pool blue]\nport = lan\naddress = 10.0.8.1-10.0.8.2\nsource-ports = 1024-65535\n\
         [service web]\nlisten = 203.0.113.10:80/tcp\nlip-pool = blue\nscheduler = rr\n\
         real = 10.0.1.11:8080\n";
    snapshot("spread.conf", text).unwrap()
}

fn steering(key: &[u8], steers: Protocols) -> Arc<Steering> {
    let owners: Vec<u8> = (0..128).map(|entry| entry % WORKERS).collect();
    Arc::new(Steering::new(key, &owners, WORKERS, steers).unwrap())
}

/// Two NICs that hash TCP's ports, and directors that know it of some of them.
struct Rig {
    world: World,
    lan: PortId,
}

impl Rig {
    fn new(of_clients: bool, of_replies: bool) -> Self {
        let snapshot = config();
        let lan = snapshot.ports.iter().find(|port| port.name == "lan");
        let lan = lan.unwrap().id;
        let tcp = Protocols {
            tcp: true,
            udp: false,
        };
        let ports = of_replies.then(|| (lan, steering(&lan_key(), tcp)));
        let setup = Setup {
            workers: WORKERS,
            sessions: 4096,
            spread: SpreadFacts {
                ports: ports.into_iter().collect(),
                clients: of_clients.then(|| steering(&wan_key(), tcp)),
            },
            ..Setup::default()
        };
        let mut world = World::new(snapshot, setup).unwrap();
        world.introduce(REAL);
        world.introduce(Ipv4Addr::new(198, 51, 100, 1));
        Self { world, lan }
    }

    /// Sends a segment through the NIC where it arrives, whose table may have been turned.
    fn send(
        &mut self,
        src: (Ipv4Addr, u16),
        dst: (Ipv4Addr, u16),
        flags: TcpFlags,
        turned: u8,
    ) -> Emitted {
        let (port, spec) = self.world.around().packet(src.0, dst.0).unwrap();
        let key = if port == self.lan {
            lan_key()
        } else {
            wan_key()
        };
        let hash = Toeplitz::new(&key).unwrap();
        let hash = hash.v4_ports(src.0, dst.0, src.1, dst.1);
        let queue = ((hash % 128) as u8 + turned) % WORKERS;
        let spec = PacketSpec {
            transport: Transport::Tcp(TcpSpec {
                src_port: src.1,
                dst_port: dst.1,
                seq: SeqNumber(u32::from(flags != TcpFlags::SYN) * 100),
                ack: SeqNumber(0),
                flags,
                window: 60_000,
                ..TcpSpec::default()
            }),
            ..spec
        };
        // Announcements, and what went before.
        while self.world.take_emitted().is_some() {}
        self.world.inject(queue, port, &spec.build()).unwrap();
        self.world.take_emitted().expect("it goes on")
    }

    /// Opens a session by a SYN, lets the real server repeat its answer, and returns the worker.
    fn exchange(&mut self, n: u16, turned: u8) -> (WorkerId, WorkerId) {
        let client = (Ipv4Addr::from(0x2d00_0000 + u32::from(n) * 7919), 1000 + n);
        let syn = self.send(client, (VIP, 80), TcpFlags::SYN, turned);
        let parsed = Parsed::parse(&syn.frame).unwrap();
        let v4 = parsed.v4().unwrap();
        let lip = (v4.src, v4.tcp().unwrap().src_port);
        let flags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
        let answer = self.send((REAL, 8080), lip, flags, turned);
        (syn.worker, answer.worker)
    }

    fn handed(&self) -> i64 {
        self.world.tally().get("handed-out")
    }
}

#[test]
fn where_both_nics_are_known_no_packet_is_handed_over() {
    let mut rig = Rig::new(true, true);
    let mut by_worker = [0; WORKERS as usize];
    for n in 0..400 {
        let (opened, answered) = rig.exchange(n, 0);
        assert_eq!(opened, answered);
        by_worker[opened.index()] += 1;
    }
    assert_eq!(rig.handed(), 0);
    assert!(
        by_worker.iter().all(|sessions| *sessions > 60),
        "{by_worker:?}"
    );
    assert_eq!(rig.world.sessions().len(), 400);
}

#[test]
fn a_nic_that_is_not_known_hands_over_as_before_and_the_other_does_not() {
    for (wan, lan) in [(false, true), (true, false), (false, false)] {
        let mut rig = Rig::new(wan, lan);
        for n in 0..400 {
            let (opened, answered) = rig.exchange(n, 0);
            assert_eq!(opened, answered);
        }
        let ways = i64::from(!wan) + i64::from(!lan);
        let handed = rig.handed();
        // Three of four go astray on each way that is not known.
        assert!(
            (240 * ways..=360 * ways).contains(&handed),
            "{handed} on {ways} ways"
        );
    }
}

#[test]
fn sessions_go_on_when_the_nics_table_is_changed_behind_weirs_back() {
    let mut rig = Rig::new(true, true);
    for n in 0..100 {
        rig.exchange(n, 0);
    }
    assert_eq!(rig.handed(), 0);
    for n in 0..100 {
        // The same clients retransmit, and the real server answers again: everything is a stray.
        let (opened, answered) = rig.exchange(n, 1);
        assert_eq!(opened, answered);
    }
    assert_eq!(rig.handed(), 200);
    assert_eq!(
        rig.world.sessions().len(),
        100,
        "no session was opened twice"
    );
}
