//! The AF_PACKET driver on veth: what a real Linux peer sends and receives.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops where its surroundings fail"
)]

#[path = "support/netns.rs"]
mod netns;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netmap_io::af_packet::AfPacketDevice;
use netmap_io::{Burst, ChecksumState, Frame, FramePool, Packets, Port, WaitSet};
use netns::{Netns, Pair};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

const PEER: &str = "10.9.0.1";
const VIP: &str = "10.9.0.100";
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];

/// How long anything may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

fn run_dir() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("weir-af-packet-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Opens queue 0 of `device` in the calling thread's namespace.
fn open(device: &str, owned: &[&str], pool: &mut FramePool) -> (AfPacketDevice, Box<dyn Port>) {
    let mut opened = AfPacketDevice::open(device, 1, &run_dir()).unwrap();
    let port = opened.open_queue(0, pool).unwrap();
    let owned: Vec<IpAddr> = owned.iter().map(|a| ip(a)).collect();
    opened.set_owned(&owned).unwrap();
    (opened, port)
}

/// Receives until `done` says so.
fn receive(
    port: &mut dyn Port,
    pool: &mut FramePool,
    mut done: impl FnMut(&Frame) -> bool,
) -> bool {
    let mut burst = Burst::with_capacity(64);
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        port.rx(pool, &mut burst);
        let mut seen = false;
        for frame in burst.drain() {
            seen |= done(&frame);
            pool.free(frame);
        }
        if seen {
            return true;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    false
}

fn address_peer(pair: &Pair) {
    pair.peer
        .run("ip", &["addr", "add", "10.9.0.1/24", "dev", "p0"]);
    pair.peer.run(
        "ip",
        &[
            "neigh",
            "add",
            VIP,
            "lladdr",
            "02:00:00:00:00:77",
            "dev",
            "p0",
            "nud",
            "permanent",
        ],
    );
}

fn swap(bytes: &mut [u8], a: usize, b: usize, len: usize) {
    for i in 0..len {
        bytes.swap(a + i, b + i);
    }
}

/// RFC 1071, word by word.
fn plain_sum(bytes: &[u8]) -> u16 {
    let mut total = 0u32;
    for pair in bytes.chunks(2) {
        total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// Says whether the transport checksum of an untagged IPv4 frame is right.
fn checksum_is_right(frame: &[u8]) -> bool {
    let ip = &frame[14..];
    let total = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let header = usize::from(ip[0] & 15) * 4;
    let mut pseudo = ip[12..20].to_vec();
    pseudo.extend([0, ip[9]]);
    pseudo.extend(((total - header) as u16).to_be_bytes());
    pseudo.extend(&ip[header..total]);
    plain_sum(&ip[..header]) == 0xffff && plain_sum(&pseudo) == 0xffff
}

/// Sends `count` copies of a raw frame out of `device`.
fn send_raw(device: &str, frame: &[u8], count: usize) {
    let mut pool = FramePool::with_umem(4, 2048).unwrap();
    let mut opened = AfPacketDevice::open(device, 1, &run_dir()).unwrap();
    let mut port = opened.open_queue(0, &mut pool).unwrap();
    for _ in 0..count {
        let mut out = pool.alloc(FramePool::UMEM).unwrap();
        assert!(out.set_range(256..256 + frame.len()));
        out.bytes_mut().copy_from_slice(frame);
        port.tx(&mut pool, out).unwrap();
        port.flush(&mut pool).unwrap();
    }
    assert_eq!(port.stats().tx_ring_lost, 0);
}

/// A UDP packet to the VIP that no stack made.
fn udp_frame(tag: Option<[u8; 4]>, payload: usize) -> Vec<u8> {
    let mut frame = MAC.to_vec();
    frame.extend([2, 0, 0, 0, 0, 1]);
    frame.extend(tag.iter().flatten());
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((28 + payload as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 10, 9, 0, 1, 10, 9, 0, 100]);
    frame.extend([0x30, 0x39, 0, 7]);
    frame.extend((8 + payload as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend((0..payload).map(|i| i as u8));
    frame
}

#[test]
fn frames_go_both_ways_and_a_checksum_that_the_peer_left_to_its_device_is_completed() {
    if !netns::available() {
        return;
    }
    let pair = Pair::new(1);
    address_peer(&pair);
    let (ready, opened) = std::sync::mpsc::channel();
    let weir = pair.weir.spawn(move || {
        let mut pool = FramePool::with_umem(64, 2048).unwrap();
        let (_device, mut port) = open("w0", &[VIP], &mut pool);
        ready.send(()).unwrap();
        let mut burst = Burst::with_capacity(8);
        let end = Instant::now() + PATIENCE;
        let mut seen = None;
        while seen.is_none() && Instant::now() < end {
            port.rx(&mut pool, &mut burst);
            for mut frame in burst.drain() {
                seen = Some((frame.checksum(), checksum_is_right(frame.bytes())));
                let bytes = frame.bytes_mut();
                swap(bytes, 0, 6, 6);
                swap(bytes, 26, 30, 4);
                swap(bytes, 34, 36, 2);
                port.tx(&mut pool, frame).unwrap();
            }
            port.flush(&mut pool).unwrap();
        }
        let stats = port.stats();
        assert_eq!((stats.rx_frames, stats.tx_frames), (1, 1));
        assert_eq!((stats.rx_ring_lost, stats.tx_ring_lost), (0, 0));
        assert_eq!(pool.outstanding(FramePool::UMEM), 0);
        seen
    });
    opened.recv().unwrap();
    let answer = pair.peer.spawn(|| {
        let socket = UdpSocket::bind((PEER, 5555)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"are you there", (VIP, 7)).unwrap();
        let mut buffer = [0; 64];
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        (buffer[..len].to_vec(), from.to_string())
    });
    let (bytes, from) = answer.join().unwrap();
    assert_eq!(
        (bytes.as_slice(), from.as_str()),
        (b"are you there".as_slice(), "10.9.0.100:7")
    );
    assert_eq!(weir.join().unwrap(), Some((ChecksumState::Good, true)));
}

#[test]
fn the_tag_of_a_tagged_frame_is_kept() {
    if !netns::available() {
        return;
    }
    let pair = Pair::new(1);
    let (ready, opened) = std::sync::mpsc::channel();
    let weir = pair.weir.spawn(move || {
        let mut pool = FramePool::with_umem(64, 2048).unwrap();
        let (_device, mut port) = open("w0", &[VIP], &mut pool);
        ready.send(()).unwrap();
        let mut seen = Vec::new();
        receive(port.as_mut(), &mut pool, |frame| {
            seen = frame.bytes().to_vec();
            true
        });
        seen
    });
    opened.recv().unwrap();
    let frame = udp_frame(Some([0x81, 0, 0x60, 42]), 100);
    let sent = frame.clone();
    pair.peer
        .spawn(move || send_raw("p0", &sent, 1))
        .join()
        .unwrap();
    assert_eq!(weir.join().unwrap(), frame);
}

#[test]
fn each_queue_of_the_device_is_the_port_of_the_same_number() {
    if !netns::available() {
        return;
    }
    let pair = Pair::new(2);
    let cpus = std::thread::available_parallelism().unwrap().get().min(2);
    let (ready, opened) = std::sync::mpsc::channel();
    let weir = pair.weir.spawn(move || {
        let mut pool = FramePool::with_umem(256, 2048).unwrap();
        let mut device = AfPacketDevice::open("w0", 2, &run_dir()).unwrap();
        let mut ports = [
            device.open_queue(0, &mut pool).unwrap(),
            device.open_queue(1, &mut pool).unwrap(),
        ];
        assert!(device.open_queue(1, &mut pool).is_err());
        assert!(device.open_queue(2, &mut pool).is_err());
        device.set_owned(&[ip(VIP)]).unwrap();
        ready.send(device.describe()).unwrap();
        let mut seen = Vec::new();
        let end = Instant::now() + PATIENCE;
        let mut burst = Burst::with_capacity(64);
        while seen.len() < 10 * cpus && Instant::now() < end {
            for (queue, port) in ports.iter_mut().enumerate() {
                port.rx(&mut pool, &mut burst);
                for frame in burst.drain() {
                    seen.push((queue, frame.len() - 42));
                    pool.free(frame);
                }
            }
        }
        seen
    });
    assert_eq!(
        opened.recv().unwrap(),
        "TPACKET_V2, fanout by queue, ingress drop tcx"
    );
    // The processor shall choose the queue that the peer sends on; where the machine has one
    // processor, there is only queue 0 to see.
    for (queue, cpus) in [(0, "1"), (1, "2")] {
        let set = format!("echo {cpus} > /sys/class/net/p0/queues/tx-{queue}/xps_cpus");
        pair.peer.run("sh", &["-c", &set]);
    }
    for cpu in 0..cpus {
        pair.peer
            .spawn(move || {
                let mut set = CpuSet::new();
                set.set(cpu).unwrap();
                sched_setaffinity(Pid::from_raw(0), &set).unwrap();
                send_raw("p0", &udp_frame(None, 100 + cpu), 10);
            })
            .join()
            .unwrap();
    }
    let seen = weir.join().unwrap();
    assert_eq!(seen.len(), 10 * cpus);
    for (queue, payload) in seen {
        assert_eq!(queue, payload - 100);
    }
}

#[test]
fn several_workers_share_the_only_queue_of_a_device_flow_by_flow() {
    if !netns::available() {
        return;
    }
    let pair = Pair::new(1);
    address_peer(&pair);
    let (ready, opened) = std::sync::mpsc::channel();
    let weir = pair.weir.spawn(move || {
        let mut pool = FramePool::with_umem(2048, 2048).unwrap();
        let mut device = AfPacketDevice::open("w0", 2, &run_dir()).unwrap();
        let mut ports = [
            device.open_queue(0, &mut pool).unwrap(),
            device.open_queue(1, &mut pool).unwrap(),
        ];
        device.set_owned(&[ip(VIP)]).unwrap();
        ready.send(device.describe()).unwrap();
        let mut seen = vec![Vec::new(); FLOWS];
        let (mut count, end) = (0, Instant::now() + PATIENCE);
        let mut burst = Burst::with_capacity(64);
        while count < FLOWS * 5 && Instant::now() < end {
            for (queue, port) in ports.iter_mut().enumerate() {
                port.rx(&mut pool, &mut burst);
                for frame in burst.drain() {
                    let port = u16::from_be_bytes([frame.bytes()[34], frame.bytes()[35]]);
                    seen[port as usize - 5000].push(queue);
                    pool.free(frame);
                    count += 1;
                }
            }
        }
        seen
    });
    assert_eq!(
        opened.recv().unwrap(),
        "TPACKET_V2, fanout by flow hash, ingress drop tcx"
    );
    pair.peer
        .spawn(|| {
            for _ in 0..5 {
                for flow in 0..FLOWS {
                    let socket = UdpSocket::bind((PEER, 5000 + flow as u16)).unwrap();
                    socket.send_to(b"flow", (VIP, 7)).unwrap();
                }
            }
        })
        .join()
        .unwrap();
    let seen = weir.join().unwrap();
    let mut flows = [0; 2];
    for queues in seen {
        assert_eq!(queues.len(), 5, "each frame comes to one worker, once");
        assert!(queues.iter().all(|queue| *queue == queues[0]));
        flows[queues[0]] += 1;
    }
    assert!(flows[0] > 0 && flows[1] > 0, "{flows:?}");
}

const FLOWS: usize = 32;

#[test]
fn the_kernel_is_kept_from_owned_addresses_only_and_only_while_the_device_is_open() {
    if !netns::available() {
        return;
    }
    let pair = Pair::new(1);
    pair.peer
        .run("ip", &["addr", "add", "10.9.0.1/24", "dev", "p0"]);
    // The kernel has the VIP here on purpose: without the drop it would answer.
    pair.weir
        .run("ip", &["addr", "add", "10.9.0.2/24", "dev", "w0"]);
    pair.weir
        .run("ip", &["addr", "add", "10.9.0.100/24", "dev", "w0"]);
    let answers = |address: &str, seconds: &str| {
        let words = ["-c", "1", "-W", seconds, "-q", address];
        pair.peer.succeeds("ping", &words)
    };
    assert!(answers(VIP, "60"));
    let mut pool = FramePool::with_umem(64, 2048).unwrap();
    let netns = pair.weir.clone();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let (ready, opened) = std::sync::mpsc::channel();
    let weir = netns.spawn(move || {
        let (_device, mut port) = open("w0", &[VIP], &mut pool);
        ready.send(()).unwrap();
        wait.recv().unwrap();
        // The socket had its copy of what the kernel did not see.
        receive(port.as_mut(), &mut pool, |frame| {
            frame.bytes().get(30..34) == Some(&[10, 9, 0, 100])
        })
    });
    opened.recv().unwrap();
    assert!(!answers(VIP, "1"));
    assert!(answers("10.9.0.2", "60"));
    go.send(()).unwrap();
    assert!(weir.join().unwrap());
    assert!(answers(VIP, "60"));
}

/// More than the ring holds.
const SENT: usize = 20_000;

#[test]
fn what_a_full_ring_lost_is_counted() {
    if !netns::available() {
        return;
    }
    let pair = Pair::new(1);
    let (ready, opened) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let weir = pair.weir.spawn(move || {
        let mut pool = FramePool::with_umem(64, 2048).unwrap();
        let (_device, mut port) = open("w0", &[VIP], &mut pool);
        ready.send(()).unwrap();
        wait.recv().unwrap();
        let mut received = 0;
        while receive(port.as_mut(), &mut pool, |_| {
            received += 1;
            true
        }) && received < SENT as u64
        {
            if port.stats().rx_frames + port.stats().rx_ring_lost >= SENT as u64 {
                break;
            }
        }
        port.stats()
    });
    opened.recv().unwrap();
    pair.peer
        .spawn(|| send_raw("p0", &udp_frame(None, 1400), SENT))
        .join()
        .unwrap();
    go.send(()).unwrap();
    let stats = weir.join().unwrap();
    assert!(stats.rx_ring_lost > 0, "{stats:?}");
    assert_eq!(stats.rx_frames + stats.rx_ring_lost, SENT as u64);
}

#[test]
fn a_device_that_is_down_is_an_error_until_it_is_up_again() {
    if !netns::available() {
        return;
    }
    let pair = Pair::new(1);
    address_peer(&pair);
    let netns = pair.weir.clone();
    let (ready, is_up) = std::sync::mpsc::channel();
    let weir = pair.weir.spawn(move || {
        let mut pool = FramePool::with_umem(64, 2048).unwrap();
        let (_device, mut port) = open("w0", &[VIP], &mut pool);
        let mut waits = WaitSet::new(port.poll_fd());
        let mut sleeping = WaitSet::new(port.poll_fd());
        let mut burst = Burst::with_capacity(8);
        let mut turns = |port: &mut dyn Port, pool: &mut FramePool, want_error: bool| {
            let end = Instant::now() + PATIENCE;
            while Instant::now() < end {
                port.rx(pool, &mut burst);
                burst.drain().for_each(|frame| pool.free(frame));
                if port.flush(pool).is_err() == want_error {
                    return true;
                }
                waits.wait(Duration::from_millis(5)).unwrap();
            }
            false
        };
        assert!(port.flush(&mut pool).is_ok());
        netns.run("ip", &["link", "set", "w0", "down"]);
        assert!(turns(port.as_mut(), &mut pool, true));
        // Once told, the worker can sleep.
        assert!(!sleeping.wait(Duration::from_millis(5)).unwrap());
        netns.run("ip", &["link", "set", "w0", "up"]);
        assert!(turns(port.as_mut(), &mut pool, false));
        ready.send(()).unwrap();
        receive(port.as_mut(), &mut pool, |frame| frame.len() == 142)
    });
    is_up.recv().unwrap();
    // The peer's end learns a little later that it has a carrier again.
    while !weir.is_finished() {
        let send = pair.peer.spawn(|| send_raw("p0", &udp_frame(None, 100), 1));
        send.join().unwrap();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(weir.join().unwrap());
}

/// Three namespaces in a row; the one in the middle carries frames between its two ports.
struct Bridge {
    client: Netns,
    weir: Netns,
    server: Netns,
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// The longest frame, and the longest that is one packet.
    longest: usize,
    longest_packet: usize,
    /// Super-frames.
    whole: u64,
    /// Packets whose checksum somebody vouches for, and those of them that it is wrong in.
    good: u64,
    wrong: u64,
}

/// What the one in the middle does with super-frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Middle {
    GetsPackets,
    Keeps,
    Cuts,
}

impl Bridge {
    fn start(middle: Middle) -> Self {
        let (client, weir, server) = (Netns::new("cli"), Netns::new("mid"), Netns::new("srv"));
        netns::link(&client, "c0", &weir, "w0", 1);
        netns::link(&server, "s0", &weir, "w1", 1);
        client.run("ip", &["addr", "add", "10.9.1.1/24", "dev", "c0"]);
        server.run("ip", &["addr", "add", "10.9.1.2/24", "dev", "s0"]);
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, opened) = std::sync::mpsc::channel();
        let stopped = Arc::clone(&stop);
        let worker = weir.spawn(move || {
            let mut pool = FramePool::with_umem(4096, 2048).unwrap();
            let both = ["10.9.1.1", "10.9.1.2"];
            let (_d0, mut a) = open("w0", &both, &mut pool);
            let (_d1, mut b) = open("w1", &both, &mut pool);
            if middle != Middle::GetsPackets {
                a.keep_super_frames();
                b.keep_super_frames();
            }
            ready.send(()).unwrap();
            let mut seen = Seen::default();
            while !stopped.load(Ordering::Relaxed) {
                let moved = carry(a.as_mut(), b.as_mut(), &mut pool, &mut seen, middle)
                    + carry(b.as_mut(), a.as_mut(), &mut pool, &mut seen, middle);
                if moved == 0 {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
            assert_eq!(pool.outstanding(FramePool::UMEM), 0);
            assert_eq!(pool.outstanding(pool.large().unwrap()), 0);
            for port in [&mut a, &mut b] {
                let stats = port.stats();
                assert_eq!((stats.rx_invalid, stats.tx_ring_lost), (0, 0));
            }
            seen
        });
        opened.recv().unwrap();
        Self {
            client,
            weir,
            server,
            stop,
            worker: Some(worker),
        }
    }

    fn finish(&mut self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.worker.take().unwrap().join().unwrap()
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
        for netns in [&self.client, &self.weir, &self.server] {
            netns::delete(netns);
        }
    }
}

fn carry(
    from: &mut dyn Port,
    to: &mut dyn Port,
    pool: &mut FramePool,
    seen: &mut Seen,
    middle: Middle,
) -> usize {
    let mut burst = Burst::with_capacity(64);
    let moved = from.rx(pool, &mut burst);
    for frame in burst.drain() {
        seen.note(&frame);
        if middle == Middle::Cuts
            && let Some(mut packets) = Packets::of(&frame)
        {
            while let Some(packet) = packets.next(pool) {
                seen.note(&packet);
                to.tx(pool, packet).unwrap();
            }
            assert!(packets.is_done());
            pool.free(frame);
        } else {
            to.tx(pool, frame).unwrap();
        }
    }
    to.flush(pool).unwrap();
    moved
}

impl Seen {
    fn note(&mut self, frame: &Frame) {
        self.longest = self.longest.max(frame.len());
        if frame.segment_size() > 0 {
            self.whole += 1;
            return;
        }
        self.longest_packet = self.longest_packet.max(frame.len());
        if frame.checksum() == ChecksumState::Good && frame.bytes().get(12..14) == Some(&[8, 0]) {
            self.good += 1;
            self.wrong += u64::from(!checksum_is_right(frame.bytes()));
        }
    }
}

const TOTAL: usize = 64 << 20;

/// Sends `TOTAL` bytes from the client to the server and compares each of them.
fn transfer(bridge: &Bridge) {
    let (ready, listening) = std::sync::mpsc::channel();
    let server = bridge.server.spawn(move || {
        let listener = TcpListener::bind("10.9.1.2:5201").unwrap();
        ready.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = vec![0; 1 << 16];
        let (mut at, mut wrong) = (0usize, 0usize);
        loop {
            let len = stream.read(&mut buffer).unwrap();
            if len == 0 {
                break;
            }
            wrong += (0..len).filter(|i| buffer[*i] != pattern(at + i)).count();
            at += len;
        }
        stream.write_all(&at.to_be_bytes()).unwrap();
        (at, wrong)
    });
    listening.recv().unwrap();
    let client = bridge.client.spawn(|| {
        let mut stream = TcpStream::connect("10.9.1.2:5201").unwrap();
        let mut sent = 0;
        while sent < TOTAL {
            let bytes: Vec<u8> = (sent..sent + (1 << 16)).map(pattern).collect();
            stream.write_all(&bytes).unwrap();
            sent += bytes.len();
        }
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).unwrap();
        usize::from_be_bytes(answer)
    });
    assert_eq!(client.join().unwrap(), TOTAL);
    assert_eq!(server.join().unwrap(), (TOTAL, 0));
}

#[test]
fn a_bulk_transfer_with_the_peers_offloads_on_goes_through_in_super_frames() {
    if !netns::available() {
        return;
    }
    let mut bridge = Bridge::start(Middle::Keeps);
    transfer(&bridge);
    let seen = bridge.finish();
    assert!(seen.whole > 500 && seen.longest > 60_000, "{seen:?}");
    assert!(seen.longest_packet <= 1514 && seen.wrong == 0, "{seen:?}");
}

#[test]
fn a_bulk_transfer_comes_as_packets_until_super_frames_are_asked_for() {
    if !netns::available() {
        return;
    }
    let mut bridge = Bridge::start(Middle::GetsPackets);
    transfer(&bridge);
    let seen = bridge.finish();
    assert_eq!((seen.longest, seen.wrong), (1514, 0), "{seen:?}");
    assert!(
        seen.good > 10_000,
        "the sender sent no super-frames: {seen:?}"
    );
}

#[test]
fn a_bulk_transfer_whose_super_frames_are_cut_in_the_middle_arrives_whole() {
    if !netns::available() {
        return;
    }
    let mut bridge = Bridge::start(Middle::Cuts);
    transfer(&bridge);
    let seen = bridge.finish();
    assert!(seen.whole > 500, "{seen:?}");
    assert_eq!((seen.longest_packet, seen.wrong), (1514, 0), "{seen:?}");
    assert!(seen.good > 40_000, "{seen:?}");
}

#[test]
fn a_bulk_transfer_through_devices_that_cut_and_sum_nothing_arrives_whole() {
    if !netns::available() {
        return;
    }
    let mut bridge = Bridge::start(Middle::Keeps);
    let weir = bridge.weir.spawn(|| {
        for device in ["w0", "w1"] {
            for feature in ["tx-tcp-segmentation", "tx-checksum-ip-generic"] {
                assert!(netmap_io::ethtool::set_feature(device, feature, false).unwrap());
            }
        }
    });
    weir.join().unwrap();
    transfer(&bridge);
    let seen = bridge.finish();
    assert!(seen.whole > 500 && seen.wrong == 0, "{seen:?}");
}

fn pattern(i: usize) -> u8 {
    (i ^ (i >> 8) ^ (i >> 17)) as u8
}
