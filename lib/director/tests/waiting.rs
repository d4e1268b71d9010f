//! What comes in the moment between a real server's answer and the release of what was held: a
//! burst holds all of it, so no walk can tell it apart. The world checks the ledger at each step.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the helpers of these tests stop the test"
)]

use std::net::Ipv4Addr;
use std::time::Duration;

use weir_model::{PortId, Verdict};
use weir_testkit::{PacketSpec, Setup, TcpSpec, Transport, World, snapshot, snapshot_after};
use weir_wire::{Parsed, SeqNumber, Tcp, TcpFlags};

const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const REAL: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 11);
const S: TcpFlags = TcpFlags::SYN;
const A: TcpFlags = TcpFlags::ACK;
const P: TcpFlags = TcpFlags::PSH;
const R: TcpFlags = TcpFlags::RST;
const SA: TcpFlags = TcpFlags(S.0 | A.0);
const FA: TcpFlags = TcpFlags(TcpFlags::FIN.0 | A.0);

/// The client's and the real server's first numbers; both wrap soon.
const C: SeqNumber = SeqNumber(0xffff_fff0);
const B: SeqNumber = SeqNumber(0xffff_ffff);

const SERVICE: &str = "[service web]\nlisten = 203.0.113.10:80/tcp\nlip-pool = blue\n\
                       synproxy = front\nreal = 10.0.1.11:8080\n";

fn conf(service: &str) -> String {
    format!(
        "[port wan]\ndevice = eth0\naddress = 198.51.100.2/24\ngateway = 198.51.100.1\n\
         [port lan]\ndevice = eth1\naddress = 10.0.0.2/16\n\
         [lip-pool blue]\nport = lan\naddress = 10.0.8.1\n\
         [synproxy front]\nmode = always\noptions = given\n{service}"
    )
}

/// A frame as it arrives.
type Arriving = (PortId, Vec<u8>);

/// A client that a cookie has proven and that has sent 100 bytes.
struct Waiting {
    world: World,
    /// The cookie.
    cookie: SeqNumber,
    lip: Ipv4Addr,
    lip_port: u16,
    /// The number of the SYN to the real server.
    isn: SeqNumber,
}

impl Waiting {
    fn new() -> Self {
        let snapshot = snapshot("waiting.conf", &conf(SERVICE)).unwrap();
        let mut world = World::new(snapshot, Setup::default()).unwrap();
        world.introduce(REAL);
        world.introduce(Ipv4Addr::new(198, 51, 100, 1));
        let mut it = Self {
            world,
            cookie: SeqNumber(0),
            lip: Ipv4Addr::UNSPECIFIED,
            lip_port: 0,
            isn: SeqNumber(0),
        };
        it.cookie = it.ask_for_cookie(C);
        let ack = it.client(A, C + 1, it.cookie + 1, 100);
        assert_eq!(it.burst(&[ack]), [Verdict::Hold]);
        it.take_syn();
        it
    }

    fn ask_for_cookie(&mut self, isn: SeqNumber) -> SeqNumber {
        let syn = self.client(S, isn, SeqNumber(0), 0);
        assert_eq!(self.burst(&[syn]), [Verdict::Reply]);
        self.sent().1.seq
    }

    fn take_syn(&mut self) {
        let (src, syn) = self.sent();
        (self.lip, self.lip_port, self.isn) = (src, syn.src_port, syn.seq);
    }

    /// The real server's answer to the SYN.
    fn accepts(&self) -> Arriving {
        self.real(SA, B, self.isn + 1)
    }

    fn client(&self, flags: TcpFlags, seq: SeqNumber, ack: SeqNumber, len: usize) -> Arriving {
        let tcp = TcpSpec {
            src_port: 40_000,
            dst_port: 80,
            seq,
            ack,
            flags,
            window: 60_000,
            payload: vec![7; len],
            ..TcpSpec::default()
        };
        self.frame(CLIENT, VIP, tcp)
    }

    fn real(&self, flags: TcpFlags, seq: SeqNumber, ack: SeqNumber) -> Arriving {
        let tcp = TcpSpec {
            src_port: 8080,
            dst_port: self.lip_port,
            seq,
            ack,
            flags,
            window: 60_000,
            ..TcpSpec::default()
        };
        self.frame(REAL, self.lip, tcp)
    }

    fn frame(&self, src: Ipv4Addr, dst: Ipv4Addr, tcp: TcpSpec) -> Arriving {
        let (port, spec) = self.world.around().packet(src, dst).unwrap();
        let spec = PacketSpec {
            transport: Transport::Tcp(tcp),
            ..spec
        };
        (port, spec.build())
    }

    fn burst(&mut self, frames: &[Arriving]) -> Vec<Verdict> {
        let frames: Vec<_> = frames
            .iter()
            .map(|(port, frame)| (*port, frame.as_slice()))
            .collect();
        self.world.inject_burst(0, &frames).unwrap()
    }

    /// The next frame that leaves: who sends it, and what.
    fn sent(&mut self) -> (Ipv4Addr, Tcp) {
        let sent = self.world.take_emitted().expect("a frame leaves");
        let parsed = Parsed::parse(&sent.frame).unwrap();
        let v4 = *parsed.v4().unwrap();
        (v4.src, *v4.tcp().unwrap())
    }

    /// What goes to the real server next: its flags, where it begins, and its length.
    fn sent_to_real(&mut self) -> (TcpFlags, i32, u16) {
        let (src, tcp) = self.sent();
        assert_eq!((src, tcp.src_port), (self.lip, self.lip_port));
        (tcp.flags, self.isn.distance(tcp.seq), tcp.payload_len)
    }

    fn state(&self) -> &'static str {
        let sessions = self.world.sessions();
        sessions.first().expect("there is a session").state.name()
    }

    fn held(&self) -> i64 {
        self.world.tally().get("held")
    }

    fn is_silent(&mut self) -> bool {
        self.world.take_emitted().is_none()
    }

    /// Lets a day pass and checks that nothing is left.
    fn forget(mut self) {
        let later = self.world.time().after(Duration::from_hours(24));
        self.world.advance_to(later).unwrap();
        let left = (
            self.world.sessions().len(),
            self.world.ports_used(),
            self.held(),
        );
        assert_eq!(left, (0, 0, 0));
    }
}

#[test]
fn a_fin_that_comes_before_the_release_ends_the_session_like_any_other() {
    let mut it = Waiting::new();
    let fin = it.client(FA, C + 101, it.cookie + 1, 0);
    let verdicts = it.burst(&[it.accepts(), fin]);
    assert_eq!(verdicts[1], Verdict::Hold);
    assert_eq!(it.sent_to_real(), (TcpFlags(FA.0 | P.0), 1, 100));
    assert_eq!(it.state(), "close-wait");
    let fins = [
        it.real(FA, B + 1, it.isn + 102),
        it.client(A, C + 102, it.cookie + 2, 0),
    ];
    it.burst(&fins);
    assert_eq!((it.state(), it.world.ports_used()), ("time-wait", 0));
    it.forget();
}

#[test]
fn data_that_comes_before_the_release_is_released_behind_what_was_held() {
    let mut it = Waiting::new();
    let data = it.client(A, C + 101, it.cookie + 1, 50);
    it.burst(&[it.accepts(), data]);
    assert_eq!(it.sent_to_real(), (TcpFlags(A.0 | P.0), 1, 150));
    it.forget();
}

#[test]
fn a_rst_before_the_release_takes_what_was_held_with_it() {
    for by_client in [true, false] {
        let mut it = Waiting::new();
        let rst = if by_client {
            it.client(R, C + 101, it.cookie + 1, 0)
        } else {
            it.real(R, B + 1, it.isn + 1)
        };
        let verdicts = it.burst(&[it.accepts(), rst]);
        assert!(matches!(verdicts[1], Verdict::Forward(_)), "{verdicts:?}");
        assert_eq!((it.state(), it.held()), ("close", 0));
        assert_eq!(it.sent().1.flags, R);
        assert!(it.is_silent(), "nothing is released");
        it.forget();
    }
}

#[test]
fn another_handshake_before_the_release_begins_with_nothing_held() {
    let mut it = Waiting::new();
    let other = C + 1_000_000;
    let cookie = it.ask_for_cookie(other);
    let ack = it.client(A, other + 1, cookie + 1, 30);
    let verdicts = it.burst(&[it.accepts(), ack]);
    assert_eq!(verdicts[1], Verdict::Hold);
    assert_eq!(it.sent_to_real(), (R, 1, 0));
    it.take_syn();
    assert!(it.is_silent(), "nothing is released");
    assert_eq!(it.held(), 1);
    it.burst(&[it.accepts()]);
    assert_eq!(it.sent_to_real(), (TcpFlags(A.0 | P.0), 1, 30));
    it.forget();
}

#[test]
fn a_service_that_goes_takes_what_was_held_with_it() {
    let mut it = Waiting::new();
    let gone = snapshot_after("gone.conf", &conf(""), it.world.snapshot()).unwrap();
    it.world.apply(gone).unwrap();
    assert_eq!(it.held(), 1);
    it.forget();
}

#[test]
fn who_does_not_know_the_cookie_cannot_add_to_what_is_held() {
    let mut it = Waiting::new();
    let (seq, cookie) = (C + 101, it.cookie);
    for (flags, ack) in [
        (A, cookie + 2),
        (A, cookie - 1),
        (FA, cookie),
        (P, cookie + 1),
        (TcpFlags::FIN, cookie + 1),
        (TcpFlags::NONE, SeqNumber(0)),
    ] {
        let guess = it.client(flags, seq, ack, 10);
        let verdicts = it.burst(&[guess]);
        assert!(
            matches!(verdicts[0], Verdict::Drop(_)),
            "{flags:?}: {verdicts:?}"
        );
    }
    assert_eq!(it.held(), 1);
    it.burst(&[it.accepts()]);
    assert_eq!(it.sent_to_real(), (TcpFlags(A.0 | P.0), 1, 100));
    it.forget();
}
