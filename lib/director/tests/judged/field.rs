//! Clients and real servers around several workers. Every packet comes in by any worker's queue.

use std::net::Ipv4Addr;
use std::time::Duration;

use nat_engine::State;
use weir_director::SessionView;
use weir_model::{RealId, RealState};
use weir_testkit::{
    PacketSpec, Random, Setup, Tally, TcpSpec, Transport, UdpSpec, World, snapshot, snapshot_after,
};
use weir_wire::{Parsed, SeqNumber, TcpFlags};

pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
pub(crate) const GATEWAY: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const NETWORK: &str = "\
[port wan]\ndevice = eth0\naddress = 198.51.100.2/24\ngateway = 198.51.100.1\n\
[port lan]\ndevice = eth1\naddress = 10.0.0.2/16\n\
[lip-pool blue]\nport = lan\naddress = 10.0.8.1-10.0.8.8\nsource-ports = 1024-65535\n";
pub(crate) const SYN: TcpFlags = TcpFlags::SYN;
pub(crate) const ACK: TcpFlags = TcpFlags::ACK;
pub(crate) const RST: TcpFlags = TcpFlags::RST;
const SYN_ACK: TcpFlags = TcpFlags(SYN.0 | ACK.0);
/// The first number of every client and of every real server.
const C: u32 = 100;
const S: u32 = 9000;

pub(crate) type Socket = (Ipv4Addr, u16);

/// The address of a real server by its place in the file.
pub(crate) fn real(at: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, 11 + at as u8)
}

/// A service of TCP with these lines and these real servers.
pub(crate) fn web(lines: &str, reals: &[&str]) -> String {
    let mut text = format!("{NETWORK}{lines}");
    if !text.contains("listen =") {
        text.push_str("listen = 203.0.113.10:80/tcp\n");
    }
    text.push_str("lip-pool = blue\n");
    let reals = reals.iter().enumerate();
    let lines: Vec<String> = reals
        .map(|(at, options)| format!("real = {}:8080  {options}\n", real(at)))
        .collect();
    text + &lines.concat()
}

/// What became of a client that wanted a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It has one.
    Opened(Conn),
    /// It got a cookie, with this number.
    Cookie(u32),
    /// It was told that it gets none.
    Refused,
    /// Nothing came back.
    Silence,
}

/// A connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Conn {
    pub(crate) client: Socket,
    pub(crate) vip: Socket,
    pub(crate) lip: Socket,
    /// The place of its real server in the file.
    pub(crate) real: usize,
    pub(crate) worker: usize,
    isn: u32,
}

impl Fate {
    /// Returns the connection that has to have come about.
    #[track_caller]
    pub(crate) fn conn(self) -> Conn {
        match self {
            Self::Opened(conn) => conn,
            Self::Cookie(_) | Self::Refused | Self::Silence => panic!("{self:?}"),
        }
    }
}

pub(crate) struct Field {
    pub(crate) world: World,
    pub(crate) random: Random,
    workers: u8,
    before: Tally,
    port: u16,
}

impl Field {
    pub(crate) fn new(workers: u8, text: &str) -> Self {
        let setup = Setup {
            workers,
            sessions: 4096,
            ..Setup::default()
        };
        let world = World::new(snapshot("judged.conf", text).unwrap(), setup).unwrap();
        let mut field = Self {
            before: world.tally(),
            world,
            random: Random::new(7),
            workers,
            port: 1024,
        };
        field.meet();
        field
    }

    fn meet(&mut self) {
        self.world.introduce(GATEWAY);
        for at in 0..16 {
            self.world.introduce(real(at));
        }
    }

    /// Puts another configuration in force; what keeps its name keeps its id.
    pub(crate) fn apply(&mut self, text: &str) {
        let next = snapshot_after("judged.conf", text, self.world.snapshot()).unwrap();
        self.world.apply(next).unwrap();
        self.meet();
    }

    /// Tells every worker the state of a real server.
    pub(crate) fn set(&mut self, at: usize, state: RealState) {
        let service = self.world.snapshot().services.iter().next().unwrap();
        let id: RealId = service.reals[at].id;
        for director in self.world.directors_mut() {
            director.set_real_state(id, state);
        }
        self.world.turn().unwrap();
    }

    pub(crate) fn wait(&mut self, time: Duration) {
        let later = self.world.time().after(time);
        self.world.advance_to(later).unwrap();
    }

    /// A client nobody has seen yet, mostly.
    pub(crate) fn stranger(&mut self) -> Socket {
        let address = 0x2d00_0000 + self.random.below(1 << 22) as u32;
        self.of(Ipv4Addr::from(address))
    }

    /// Another port of a client.
    pub(crate) fn of(&mut self, client: Ipv4Addr) -> Socket {
        self.port = if self.port == u16::MAX {
            1024
        } else {
            self.port + 1
        };
        (client, self.port)
    }

    /// Sends a packet by any queue; what is sent for it is left to be taken.
    pub(crate) fn send(&mut self, src: Ipv4Addr, dst: Ipv4Addr, transport: Transport) {
        while self.world.take_emitted().is_some() {}
        let (port, spec) = self.world.around().packet(src, dst).unwrap();
        let spec = PacketSpec { transport, ..spec };
        let queue = self.random.below(u64::from(self.workers)) as u8;
        self.world.inject(queue, port, &spec.build()).unwrap();
    }

    pub(crate) fn segment(
        &mut self,
        src: Socket,
        dst: Socket,
        flags: TcpFlags,
        seq: u32,
        ack: u32,
    ) {
        let tcp = TcpSpec {
            src_port: src.1,
            dst_port: dst.1,
            seq: SeqNumber(seq),
            ack: SeqNumber(ack),
            flags,
            window: 60_000,
            ..TcpSpec::default()
        };
        self.send(src.0, dst.0, Transport::Tcp(tcp));
    }

    pub(crate) fn datagram(&mut self, src: Socket, dst: Socket) {
        let udp = UdpSpec {
            src_port: src.1,
            dst_port: dst.1,
            payload: vec![7; 20],
        };
        self.send(src.0, dst.0, Transport::Udp(udp));
    }

    /// Sends a SYN; the real server has not answered it.
    pub(crate) fn syn(&mut self, client: Socket, vip: Socket) -> Fate {
        self.segment(client, vip, SYN, C, 0);
        self.fate(client, vip)
    }

    /// Answers a cookie; the real server has not answered its SYN.
    pub(crate) fn prove(&mut self, client: Socket, vip: Socket, cookie: u32) -> Fate {
        self.segment(client, vip, ACK, C + 1, cookie.wrapping_add(1));
        self.fate(client, vip)
    }

    fn fate(&mut self, client: Socket, vip: Socket) -> Fate {
        let Some(sent) = self.world.take_emitted() else {
            return Fate::Silence;
        };
        let parsed = Parsed::parse(&sent.frame).unwrap();
        let v4 = parsed.v4().unwrap();
        let tcp = v4.tcp().unwrap();
        if v4.dst == client.0 {
            return if tcp.flags.contains(RST) {
                Fate::Refused
            } else {
                Fate::Cookie(tcp.seq.0)
            };
        }
        Fate::Opened(Conn {
            client,
            vip,
            lip: (v4.src, tcp.src_port),
            real: usize::from(v4.dst.octets()[3] - 11),
            worker: sent.worker.index(),
            isn: tcp.seq.0,
        })
    }

    /// Completes a handshake.
    pub(crate) fn complete(&mut self, conn: &Conn) {
        let server = (real(conn.real), 8080);
        self.segment(server, conn.lip, SYN_ACK, S, conn.isn.wrapping_add(1));
        self.segment(conn.client, conn.vip, ACK, C + 1, S + 1);
    }

    /// Opens a connection.
    pub(crate) fn open(&mut self, client: Socket, vip: Ipv4Addr) -> Fate {
        let fate = self.syn(client, (vip, 80));
        if let Fate::Opened(conn) = fate {
            self.complete(&conn);
        }
        fate
    }

    /// Opens a connection that has to come about.
    pub(crate) fn opened(&mut self, client: Socket) -> Conn {
        self.open(client, VIP).conn()
    }

    /// Ends a connection at once.
    pub(crate) fn end(&mut self, conn: &Conn) {
        self.segment(conn.client, conn.vip, RST, C + 1, 0);
    }

    /// Returns the sessions of one worker.
    pub(crate) fn sessions(&self, worker: usize) -> Vec<SessionView> {
        let mut all = Vec::new();
        let director = &self.world.directors()[worker];
        let mut cursor = Some(0);
        while let Some(at) = cursor {
            let mut each = |view| all.push(view);
            cursor = director.sessions(self.world.now(), at, 4096, &mut each);
        }
        all
    }

    /// Counts the sessions of a real server on all workers, of which some states count.
    pub(crate) fn count(&self, at: usize, counts: impl Fn(State) -> bool) -> usize {
        let workers = 0..usize::from(self.workers);
        let sessions = workers.flat_map(|worker| self.sessions(worker));
        sessions
            .filter(|session| session.real.0 == real(at) && counts(session.state))
            .count()
    }

    /// Returns what moved since this was asked last.
    pub(crate) fn moved(&mut self) -> Tally {
        let now = self.world.tally();
        let moved = now.since(&self.before);
        self.before = now;
        moved
    }

    /// Holds what moved since the last time against what is expected; other counters do not matter,
    /// but nothing else may have been dropped.
    pub(crate) fn dropped(&mut self, expected: &[(&str, i64)]) {
        let moved = self.moved();
        for &(reason, count) in expected {
            assert_eq!(moved.get(reason), count, "{reason} in {moved}");
        }
        for reason in weir_model::DropReason::ALL {
            let name = reason.label();
            let listed = expected.iter().any(|(it, _)| *it == name);
            assert!(listed || moved.get(name) == 0, "{name} in {moved}");
        }
    }
}
