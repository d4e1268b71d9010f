//! The worker's loop from end to end: frames in memory ports, the real director, the real channels.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use mio::{Poll as MioPoll, Token, Waker};
use netmap_io::memory::MemoryPort;
use netmap_io::{Burst, Frame, FramePool, Port, PortInfo, PortStats};
use weir_director::{Director, Networks, PortFacts, SessionView, WorkerFacts};
use weir_model::{DropReason, Poll, PortId, Snapshot, WorkerId};
use weir_testkit::{PacketSpec, Transport, UdpSpec, arp_frame};
use weir_wire::{
    ARP_REQUEST, ArpRepr, EthAddr, FrameBuf, Header, Kind, L4, Parsed, UdpHeader, verify_frame,
};

use super::*;
use crate::command::{ControlEnd, Ticket, channels};
use crate::handoff;

mod bulk;
mod flood;

const PORTS: &str = "
[port wan]
device = wan
address = 10.80.0.1/24
[port lan]
device = lan
address = 10.81.0.1/24
[lip-pool blue]
port = lan
address = 10.81.0.200
";
const CONF: &str = "
[service echo]
listen = 10.80.0.100:7/udp
lip-pool = blue
scheduler = rr
real = 10.81.0.11:7
";

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 10);
const VIP: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 100);
const REAL: Ipv4Addr = Ipv4Addr::new(10, 81, 0, 11);
const WAN: usize = 0;
const LAN: usize = 1;
const POISON: [u8; 8] = *b"poisoned";

/// What is on its way on the wire of one port, both ways.
#[derive(Debug, Default)]
struct Wire {
    to_worker: VecDeque<Vec<u8>>,
    from_worker: VecDeque<Vec<u8>>,
    /// Super-frames on their way to the worker, and the payload of their packets.
    whole_to_worker: VecDeque<(Vec<u8>, u16)>,
    /// Frames that the transmit ring still takes.
    room: Option<usize>,
    /// Whether the transmit ring takes super-frames.
    takes_whole: bool,
}

/// A memory port whose wire the test holds the other end of.
struct TestPort {
    port: MemoryPort,
    wire: Arc<Mutex<Wire>>,
}

impl Port for TestPort {
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> usize {
        for frame in self.wire.lock().unwrap().to_worker.drain(..) {
            assert!(self.port.inject(pool, &frame));
        }
        let count = self.port.rx(pool, burst);
        let whole = std::mem::take(&mut self.wire.lock().unwrap().whole_to_worker);
        for (bytes, segment_size) in &whole {
            let mut frame = pool.alloc_large().unwrap();
            assert!(frame.set_range(256..256 + bytes.len()));
            frame.bytes_mut().copy_from_slice(bytes);
            frame.set_segment_size(*segment_size);
            burst.push(frame).unwrap();
        }
        count + whole.len()
    }

    fn tx(&mut self, pool: &mut FramePool, frame: Frame) -> Result<(), Frame> {
        let mut wire = self.wire.lock().unwrap();
        match &mut wire.room {
            Some(0) => return Err(frame),
            Some(room) => *room -= 1,
            None => {}
        }
        assert!(frame.segment_size() == 0 || wire.takes_whole);
        self.port.tx(pool, frame)?;
        let sent = self.port.take().unwrap();
        wire.from_worker.push_back(sent.bytes().to_vec());
        pool.free(sent);
        Ok(())
    }

    fn flush(&mut self, _pool: &mut FramePool) -> io::Result<()> {
        Ok(())
    }

    fn takes_super_frames(&self) -> bool {
        self.wire.lock().unwrap().takes_whole
    }

    fn poll_fd(&self) -> Option<i32> {
        None
    }

    fn stats(&mut self) -> PortStats {
        self.port.stats()
    }

    fn info(&self) -> &PortInfo {
        self.port.info()
    }
}

/// A worker, its wires and control's end of its channels.
struct Bench {
    worker: Worker,
    wires: [Arc<Mutex<Wire>>; 2],
    control: ControlEnd,
    published: Arc<Published>,
}

/// Reads services behind the ports and LIPs that all these tests have.
fn snapshot(services: &str) -> Arc<Snapshot> {
    let text = format!("{PORTS}{services}");
    Arc::new(weir_testkit::snapshot("test.conf", &text).unwrap())
}

fn mac(place: usize) -> [u8; 6] {
    [2, 0, 0, 0, 1, place as u8]
}

fn benches(workers: u8) -> Vec<Bench> {
    benches_of(CONF, workers)
}

fn benches_of(text: &str, workers: u8) -> Vec<Bench> {
    let snapshot = snapshot(text);
    let poll = MioPoll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), Token(0)).unwrap());
    let bells: Vec<_> = (0..workers)
        .map(|_| Arc::new(Doorbell::new().unwrap()))
        .collect();
    let clock = Clock::start();
    let hand_offs = handoff::connect(&bells).into_iter().enumerate();
    hand_offs
        .map(|(place, hand_off)| {
            let wires = [WAN, LAN].map(|_| Arc::new(Mutex::new(Wire::default())));
            let ports = [WAN, LAN].map(|port| {
                let name = if port == WAN { "wan" } else { "lan" };
                let wire = wires[port].clone();
                let port_id = snapshot.ports.iter().find(|p| p.name == name).unwrap().id;
                let port = MemoryPort::new(name, mac(port), 1500, 1024);
                (port_id, Box::new(TestPort { port, wire }) as Box<dyn Port>)
            });
            let facts = WorkerFacts {
                id: WorkerId(place as u8),
                workers,
                sessions: 1000,
                flow_secret: [7; 16],
                seed: [place as u8 + 1; 16],
                ports: [WAN, LAN]
                    .map(|port| PortFacts {
                        id: ports[port].0,
                        mac: EthAddr(mac(port)),
                        mtu: 1500,
                        delivers: false,
                    })
                    .to_vec(),
            };
            let mut director = Director::new(facts, snapshot.clone(), clock.clone().now()).unwrap();
            director.panic_on(POISON);
            let (control, end) = channels();
            let published = Arc::new(Published::new(2));
            let mut frames = FramePool::with_umem(4096, FramePool::CHUNK_LEN).unwrap();
            frames.add_large().unwrap();
            let worker = Worker::new(WorkerParts {
                clock: clock.clone(),
                director,
                pool: frames,
                ports: ports.into(),
                hand_off,
                control: end,
                waker: waker.clone(),
                bell: bells[place].clone(),
                published: published.clone(),
                boards: Boards::new(&snapshot),
                burst: 64,
                poll: Poll::Busy,
                spin: Duration::ZERO,
            });
            Bench {
                worker,
                wires,
                control,
                published,
            }
        })
        .collect()
}

/// Turns all workers until nothing happens, answers their ARP requests on every worker's queue
/// that `answer` names, and returns what else they sent: port and frame.
fn settle(benches: &mut [Bench], answer: usize) -> Vec<(usize, Vec<u8>)> {
    let mut sent = Vec::new();
    for _ in 0..50 {
        let mut asked = Vec::new();
        for bench in benches.iter_mut() {
            bench.worker.turn();
            for port in [WAN, LAN] {
                let frames: Vec<_> = bench.wires[port]
                    .lock()
                    .unwrap()
                    .from_worker
                    .drain(..)
                    .collect();
                for frame in frames {
                    match arp(&frame) {
                        Some(arp) if arp.op == ARP_REQUEST => asked.push((port, arp)),
                        Some(_) | None => sent.push((port, frame)),
                    }
                }
            }
        }
        for (port, request) in asked {
            if !request.is_announcement()
                && let Some(reply) = request.reply_from(peer_mac(request.target_ip))
            {
                benches[answer].receive(port, arp_frame(&reply));
            }
        }
        pass_on_neighbours(benches);
        assert_books(benches);
    }
    for bench in benches.iter() {
        let pool = bench.worker.frames.pool();
        for region in [FramePool::UMEM, pool.large().unwrap()] {
            let outstanding = pool.outstanding(region);
            assert_eq!(outstanding, 0, "frames that nobody has any more");
        }
    }
    sent
}

/// What the control thread does with such notices.
fn pass_on_neighbours(benches: &[Bench]) {
    for (from, bench) in benches.iter().enumerate() {
        while let Ok(news) = bench.control.news.try_recv() {
            let News::Notice(Notice::Neighbour { port, address, mac }) = news else {
                continue;
            };
            for (_, other) in benches
                .iter()
                .enumerate()
                .filter(|(place, _)| *place != from)
            {
                let command = Command::Neighbour { port, address, mac };
                other.control.commands.send(command).unwrap();
            }
        }
    }
}

fn assert_books(benches: &[Bench]) {
    for bench in benches {
        let picture = bench.published.read();
        assert!(picture.ledger.balanced(), "{:?}", picture.ledger);
    }
}

impl Bench {
    fn receive(&self, port: usize, frame: Vec<u8>) {
        self.wires[port].lock().unwrap().to_worker.push_back(frame);
    }

    fn ask_sessions(&mut self) -> Vec<SessionView> {
        let rows = Vec::with_capacity(2000);
        let ticket = Ticket(9);
        let command = Command::Sessions {
            ticket,
            cursor: 0,
            rows,
        };
        self.control.commands.send(command).unwrap();
        self.worker.turn();
        match self.control.answers.try_recv().unwrap() {
            Answer::Sessions {
                rows,
                ticket: Ticket(9),
                next: None,
            } => rows,
            other @ (Answer::Sessions { .. }
            | Answer::Applied { .. }
            | Answer::Denied { .. }
            | Answer::PoolUse { .. }
            | Answer::Untapped(_)
            | Answer::Reset { .. }
            | Answer::Explained { .. }
            | Answer::Neighbours { .. }
            | Answer::Reached { .. }) => panic!("{other:?}"),
        }
    }
}

fn arp(frame: &[u8]) -> Option<ArpRepr> {
    (frame.get(12..14)? == [8, 6])
        .then(|| ArpRepr::parse(&frame[14..]))
        .flatten()
}

fn peer_mac(address: Ipv4Addr) -> EthAddr {
    let [_, _, _, host] = address.octets();
    EthAddr([2, 0, 0, 0, 9, host])
}

fn datagram(port: usize, from: (Ipv4Addr, u16), to: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    PacketSpec {
        eth_src: peer_mac(from.0),
        eth_dst: EthAddr(mac(port)),
        src: from.0,
        dst: to.0,
        transport: Transport::Udp(UdpSpec {
            src_port: from.1,
            dst_port: to.1,
            payload: payload.to_vec(),
        }),
        ..PacketSpec::default()
    }
    .build()
}

fn from_client(port: u16, payload: &[u8]) -> Vec<u8> {
    datagram(WAN, (CLIENT, port), (VIP, 7), payload)
}

/// Source, destination and payload of a datagram that must be in order.
fn read(frame: &[u8]) -> ((Ipv4Addr, u16), (Ipv4Addr, u16), Vec<u8>) {
    verify_frame(frame).unwrap();
    let mut copy = frame.to_vec();
    let len = copy.len();
    let view = FrameBuf::new(&mut copy, 0..len).unwrap();
    let parsed = Parsed::parse(view.bytes()).unwrap();
    let Kind::Ipv4(v4) = parsed.kind else {
        panic!("not IPv4")
    };
    let L4::Udp {
        src_port, dst_port, ..
    } = v4.l4_kind
    else {
        panic!("not UDP")
    };
    let payload = v4.payload(frame, parsed.l3).unwrap()[UdpHeader::LEN..].to_vec();
    ((v4.src, src_port), (v4.dst, dst_port), payload)
}

/// Sends each frame on to the real server and its echo back; returns what the clients got.
fn echo(benches: &mut [Bench], at_real: &[(usize, Vec<u8>)], queue: usize) -> Vec<Vec<u8>> {
    for (port, frame) in at_real {
        assert_eq!(*port, LAN);
        let (lip, real, payload) = read(frame);
        assert_eq!(real, (REAL, 7));
        benches[queue].receive(LAN, datagram(LAN, real, lip, &payload));
    }
    let back = settle(benches, queue);
    let mut got: Vec<Vec<u8>> = back
        .iter()
        .map(|(port, frame)| {
            assert_eq!(*port, WAN);
            let (from, to, payload) = read(frame);
            assert_eq!((from, to.0), ((VIP, 7), CLIENT));
            payload
        })
        .collect();
    got.sort();
    got
}

#[test]
fn frames_go_to_the_real_server_and_back_and_nothing_is_lost() {
    let mut benches = benches(1);
    // A client that has asked for the VIP is known.
    let request = ArpRepr {
        op: ARP_REQUEST,
        sender_mac: peer_mac(CLIENT),
        sender_ip: CLIENT,
        target_mac: EthAddr::ZERO,
        target_ip: VIP,
    };
    benches[0].receive(WAN, arp_frame(&request));
    let answer = settle(&mut benches, 0);
    assert_eq!(arp(&answer[0].1), request.reply_from(EthAddr(mac(WAN))));
    for port in 0..100_u16 {
        benches[0].receive(WAN, from_client(5000 + port, &port.to_be_bytes()));
    }
    let at_real = settle(&mut benches, 0);
    // Only so many frames wait for the first answer to ARP; the clients send the rest again.
    assert!(
        !at_real.is_empty() && at_real.len() < 100,
        "{}",
        at_real.len()
    );
    for port in 0..100_u16 {
        benches[0].receive(WAN, from_client(5000 + port, &port.to_be_bytes()));
    }
    let at_real = settle(&mut benches, 0);
    assert_eq!(at_real.len(), 100);
    assert_eq!(echo(&mut benches, &at_real, 0).len(), 100);
    let picture = benches[0].published.read();
    assert_eq!(
        (picture.vitals.sessions, picture.vitals.capacity),
        (100, 1000)
    );
    assert_eq!(
        picture.ledger.rx,
        1 + 100 + 1 + 100 + 100,
        "with a request and an answer of ARP"
    );
    assert_eq!(benches[0].ask_sessions().len(), 100);
    benches[0].worker.traffic_at = Time::default();
    benches[0].worker.publish(Clock::start().now());
    let traffic = benches[0].worker.boards.traffic.read();
    assert_eq!(
        (
            traffic.services[0].sessions,
            traffic.services[0].packets_out
        ),
        (100, 100)
    );
}

#[test]
fn frames_that_come_in_on_the_wrong_worker_are_handed_over() {
    let mut benches = benches(3);
    for port in 0..60_u16 {
        let queue = usize::from(port % 3);
        benches[queue].receive(WAN, from_client(5000 + port, b"warm up"));
    }
    // Every answer to ARP comes in on one queue only.
    settle(&mut benches, 2);
    for port in 0..60_u16 {
        let queue = usize::from((port + 1) % 3);
        benches[queue].receive(WAN, from_client(5000 + port, &port.to_be_bytes()));
    }
    let at_real = settle(&mut benches, 2);
    assert_eq!(at_real.len(), 60);
    let got = echo(&mut benches, &at_real, 1);
    assert_eq!(
        got,
        (0..60_u16)
            .map(|port| port.to_be_bytes().to_vec())
            .collect::<Vec<_>>()
    );
    let ledgers: Vec<_> = benches
        .iter()
        .map(|bench| bench.published.read().ledger)
        .collect();
    let out: u64 = ledgers.iter().map(|ledger| ledger.handed_out).sum();
    let into: u64 = ledgers.iter().map(|ledger| ledger.handed_in).sum();
    assert_eq!(out, into);
    assert!(
        ledgers.iter().all(|ledger| ledger.handed_in > 0),
        "{ledgers:?}"
    );
}

#[test]
fn a_poisoned_packet_costs_its_own_session_only_and_is_kept() {
    let mut benches = benches(1);
    benches[0].receive(WAN, from_client(4999, b"warm up"));
    settle(&mut benches, 0);
    for port in 0..10_u16 {
        benches[0].receive(WAN, from_client(5000 + port, b"open"));
    }
    assert_eq!(settle(&mut benches, 0).len(), 10);
    let poisoned = from_client(5004, &POISON);
    for port in 0..10_u16 {
        let frame = if port == 4 {
            poisoned.clone()
        } else {
            from_client(5000 + port, b"data")
        };
        benches[0].receive(WAN, frame);
    }
    benches[0].worker.turn();
    let News::Crashed { port, frame } = benches[0].control.news.try_recv().unwrap() else {
        panic!("no crash was told");
    };
    assert_eq!((port, frame), (PortId(0), poisoned));
    let at_real = settle(&mut benches, 0);
    assert_eq!(at_real.len(), 9);
    let ledger = benches[0].published.read().ledger;
    assert_eq!(ledger.dropped(DropReason::Internal), 1);
    let open: Vec<u16> = benches[0]
        .ask_sessions()
        .iter()
        .map(|view| view.client.1)
        .collect();
    assert!(!open.contains(&5004) && open.len() == 10, "{open:?}");
    assert_eq!(echo(&mut benches, &at_real, 0).len(), 9);
}

#[test]
fn what_a_full_transmit_ring_refuses_is_counted_and_freed() {
    let mut benches = benches(1);
    benches[0].receive(WAN, from_client(4999, b"warm up"));
    settle(&mut benches, 0);
    benches[0].wires[LAN].lock().unwrap().room = Some(3);
    for port in 0..10_u16 {
        benches[0].receive(WAN, from_client(5000 + port, b"data"));
    }
    assert_eq!(settle(&mut benches, 0).len(), 3);
    let ledger = benches[0].published.read().ledger;
    assert_eq!(ledger.dropped(DropReason::TxRingFull), 7);
}

#[test]
fn the_books_of_a_worker_that_never_has_a_break_are_published_all_the_same() {
    let mut bench = benches(1).remove(0);
    let deadline = bench.worker.clock.now().time.after(Duration::from_secs(5));
    let mut turns = 0;
    while bench.published.read().ledger.rx < 2 {
        assert!(bench.worker.clock.now().time < deadline);
        bench.receive(WAN, from_client(5000, b"one more"));
        assert!(bench.worker.turn(), "there was something to do");
        turns += 1;
    }
    let picture = bench.published.read();
    assert!(picture.ledger.balanced() && picture.ledger.rx <= turns);
}

#[test]
fn traffic_is_published_when_the_last_packet_is_a_while_ago() {
    let mut benches = benches(1);
    benches[0].receive(WAN, from_client(5000, b"warm up"));
    settle(&mut benches, 0);
    benches[0].receive(WAN, from_client(5000, b"data"));
    let worker = &mut benches[0].worker;
    worker.turn();
    assert!(worker.old_traffic);
    let deadline = worker.clock.now().time.after(Duration::from_secs(5));
    while worker.old_traffic {
        assert!(worker.clock.now().time < deadline);
        worker.turn();
    }
    assert_eq!(worker.boards.traffic.read().services[0].packets_in, 2);
}

#[test]
fn a_new_snapshot_is_taken_and_the_old_one_comes_back_with_its_boards() {
    let mut benches = benches(1);
    let more =
        "[service dns]\nlisten = 10.80.0.100:53/udp\nlip-pool = blue\nreal = 10.81.0.11:53\n";
    let old = benches[0].worker.boards.clone();
    let new = snapshot(&format!("{CONF}{more}"));
    let boards = Boards::new(&new);
    benches[0]
        .control
        .commands
        .send(Command::Apply {
            snapshot: new.clone(),
            boards,
        })
        .unwrap();
    benches[0].worker.turn();
    let Ok(Answer::Applied { retired, boards }) = benches[0].control.answers.try_recv() else {
        panic!("no answer");
    };
    assert_eq!(
        (retired.services.count(), Arc::ptr_eq(&boards, &old)),
        (1, true)
    );
    benches[0].receive(WAN, datagram(WAN, (CLIENT, 9), (VIP, 53), b"query"));
    let at_real = settle(&mut benches, 0);
    assert_eq!(read(&at_real[0].1).1, (REAL, 53));
}

#[test]
fn a_draining_worker_opens_no_session_and_a_stopped_one_ends() {
    let bench = benches(1).remove(0);
    let admit = |bench: &Bench, sessions| {
        let command = Command::Admit { sessions };
        bench.control.commands.send(command).unwrap();
    };
    admit(&bench, false);
    bench.receive(WAN, from_client(5000, b"late"));
    let mut benches = [bench];
    assert!(settle(&mut benches, 0).is_empty());
    admit(&benches[0], true);
    benches[0].receive(WAN, from_client(5001, b"after"));
    assert_eq!(settle(&mut benches, 0).len(), 1);
    let [bench] = benches;
    bench.control.commands.send(Command::Stop).unwrap();
    bench.worker.run();
}

#[test]
fn a_denied_network_loses_its_session_and_gets_none_until_the_denial_ends() {
    let mut benches = benches(1);
    benches[0].receive(WAN, from_client(5000, b"warm up"));
    assert_eq!(settle(&mut benches, 0).len(), 1);
    let client = ipnet::IpNet::from(std::net::IpAddr::V4(CLIENT));
    let deny = |bench: &mut Bench, networks: &[ipnet::IpNet]| {
        let networks = Arc::new(Networks::denied(networks));
        let command = Command::Deny { networks };
        bench.control.commands.send(command).unwrap();
        bench.worker.turn();
        let answer = bench.control.answers.try_recv().unwrap();
        assert!(matches!(answer, Answer::Denied { .. }), "{answer:?}");
    };
    deny(&mut benches[0], &[client]);
    assert!(benches[0].ask_sessions().is_empty());
    benches[0].receive(WAN, from_client(5000, b"denied"));
    assert!(settle(&mut benches, 0).is_empty());
    let ledger = benches[0].published.read().ledger;
    assert_eq!(ledger.dropped(DropReason::Denied), 1);
    deny(&mut benches[0], &[]);
    benches[0].receive(WAN, from_client(5000, b"again"));
    assert_eq!(settle(&mut benches, 0).len(), 1);
    assert_books(&benches);
}
