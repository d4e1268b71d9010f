//! The AF_XDP driver and the device layer on veth, between real Linux peers.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops where its surroundings fail"
)]

#[path = "af_xdp/devices.rs"]
mod devices;
#[path = "support/netns.rs"]
mod netns;

use std::net::{IpAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use netmap_io::{
    Burst, Device, DeviceSpec, DriverChoice, FramePool, Port, PortStats, WaitSet, ethtool,
};
use netns::{Netns, Pair};

const VIP: &str = "10.9.0.100";
const OWN: &str = "10.9.0.2";

/// How long anything may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// A directory that no other test uses.
fn run_dir() -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let (process, n) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("af-xdp-{process}-{n}"));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn spec(device: &str, queues: u16) -> DeviceSpec {
    DeviceSpec {
        device: device.to_owned(),
        driver: DriverChoice::AfXdp,
        queues,
    }
}

fn open(device: &str, queues: u16) -> Device {
    let mut opened = Device::open(&spec(device, queues), &run_dir()).unwrap();
    opened.set_owned(&[ip(VIP)]).unwrap();
    opened
}

fn pool() -> FramePool {
    FramePool::with_umem(8192, FramePool::CHUNK_LEN).unwrap()
}

/// A pair of namespaces with addresses at both ends; the peer knows the VIP's neighbour.
fn pair(queues: u32) -> Pair {
    let pair = Pair::new(queues);
    pair.peer
        .run("ip", &["addr", "add", "10.9.0.1/24", "dev", "p0"]);
    pair.weir
        .run("ip", &["addr", "add", "10.9.0.2/24", "dev", "w0"]);
    // Through XDP nobody learns that the peer left the checksums to its hardware.
    pair.peer.run("ethtool", &["-K", "p0", "tx", "off"]);
    let vip = [
        "neigh",
        "add",
        VIP,
        "lladdr",
        "02:00:00:00:00:77",
        "dev",
        "p0",
    ];
    pair.peer.run("ip", &vip);
    pair
}

/// Swaps addresses and UDP ports of an untagged IPv4 frame in place.
fn turn_round(frame: &mut [u8]) {
    for (a, b, len) in [(0, 6, 6), (26, 30, 4), (34, 36, 2)] {
        for i in 0..len {
            frame.swap(a + i, b + i);
        }
    }
}

/// Waits for a burst and receives it; the caller owns its frames.
fn receive(port: &mut dyn Port, pool: &mut FramePool, burst: &mut Burst) -> usize {
    let mut waits = WaitSet::new(port.poll_fd());
    let end = Instant::now() + PATIENCE;
    loop {
        let taken = port.rx(pool, burst);
        if taken > 0 || Instant::now() > end {
            return taken;
        }
        waits.wait(Duration::from_millis(20)).unwrap();
    }
}

fn free_all(pool: &mut FramePool, burst: &mut Burst) -> usize {
    let mut count = 0;
    for frame in burst.drain() {
        pool.free(frame);
        count += 1;
    }
    count
}

/// Sends `count` datagrams to the VIP from one socket each and returns how many were echoed.
fn echoes(peer: &Netns, count: usize) -> usize {
    let work = move || {
        let sockets: Vec<UdpSocket> = (0..count)
            .map(|_| {
                let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
                socket.set_read_timeout(Some(PATIENCE)).unwrap();
                socket
            })
            .collect();
        let mut answered = 0;
        for (n, socket) in sockets.iter().enumerate() {
            let text = format!("datagram {n}");
            socket.send_to(text.as_bytes(), (VIP, 7)).unwrap();
            let mut answer = [0; 64];
            let Ok((len, from)) = socket.recv_from(&mut answer) else {
                break;
            };
            assert_eq!((&answer[..len], from.ip()), (text.as_bytes(), ip(VIP)));
            answered += 1;
        }
        answered
    };
    peer.spawn(work).join().unwrap()
}

/// Workers that send every frame for the VIP back, one per queue.
struct Reflector {
    description: String,
    stop: Arc<AtomicBool>,
    control: JoinHandle<Vec<Outcome>>,
}

/// What a worker counted, and how many chunks were missing when its port was closed.
struct Outcome {
    stats: PortStats,
    missing: usize,
}

impl Reflector {
    fn start(weir: &Netns, queues: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, (ready, opened)) = (stop.clone(), mpsc::channel());
        let control = weir.spawn(move || {
            let mut device = open("w0", queues);
            let workers: Vec<_> = (0..queues)
                .map(|queue| {
                    let mut pool = pool();
                    let port = device.open_queue(queue, &mut pool).unwrap();
                    assert_eq!(port.info().queue, queue);
                    let flag = flag.clone();
                    std::thread::spawn(move || reflect(port, pool, &flag))
                })
                .collect();
            ready.send(device.describe()).unwrap();
            workers.into_iter().map(|w| w.join().unwrap()).collect()
        });
        let description = opened.recv_timeout(PATIENCE).unwrap();
        Self {
            description,
            stop,
            control,
        }
    }

    fn stop(self) -> Vec<Outcome> {
        self.stop.store(true, Ordering::Relaxed);
        self.control.join().unwrap()
    }
}

fn reflect(mut port: Box<dyn Port>, mut pool: FramePool, stop: &AtomicBool) -> Outcome {
    let mut waits = WaitSet::new(port.poll_fd());
    let mut burst = Burst::with_capacity(64);
    while !stop.load(Ordering::Relaxed) {
        port.rx(&mut pool, &mut burst);
        for mut frame in burst.drain() {
            assert!(frame.range().start >= 128, "no room for options");
            turn_round(frame.bytes_mut());
            port.tx(&mut pool, frame).unwrap();
        }
        port.flush(&mut pool).unwrap();
        waits.wait(Duration::from_millis(20)).unwrap();
    }
    let stats = port.stats();
    port.close(&mut pool);
    Outcome {
        stats,
        missing: pool.outstanding(FramePool::UMEM),
    }
}

#[test]
fn frames_go_both_ways_and_every_chunk_comes_back() {
    if !netns::available() {
        return;
    }
    let pair = pair(1);
    let reflector = Reflector::start(&pair.weir, 1);
    assert_eq!(reflector.description, "af-xdp native copy, 1 queue");
    assert_eq!(echoes(&pair.peer, 50), 50);
    let [Outcome { stats, missing }] = reflector.stop().try_into().ok().unwrap();
    assert_eq!((stats.rx_frames, stats.tx_frames), (50, 50));
    assert_eq!(stats.rx_bytes, stats.tx_bytes);
    assert_eq!((stats.rx_ring_lost, stats.tx_ring_lost), (0, 0));
    assert_eq!(missing, 0);
}

#[test]
fn each_of_two_queues_has_its_own_worker() {
    if !netns::available() {
        return;
    }
    let pair = pair(2);
    let reflector = Reflector::start(&pair.weir, 2);
    assert_eq!(reflector.description, "af-xdp native copy, 2 queues");
    // The peer picks a queue for each socket by its hash.
    assert_eq!(echoes(&pair.peer, 64), 64);
    let [first, second] = reflector.stop().try_into().ok().unwrap();
    let counts = [first.stats.rx_frames, second.stats.rx_frames];
    assert_eq!(counts[0] + counts[1], 64);
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
    assert_eq!((first.missing, second.missing), (0, 0));
}

#[test]
fn a_frame_moves_from_device_to_device_without_a_copy() {
    if !netns::available() {
        return;
    }
    let pair = pair(1);
    let server = Netns::new("server");
    netns::link(&server, "s0", &pair.weir, "w1", 1);
    server.run("ip", &["addr", "add", "10.9.0.100/24", "dev", "s0"]);
    let mac = server.run("cat", &["/sys/class/net/s0/address"]);
    let neighbour = ["neigh", "replace", VIP, "lladdr", mac.trim(), "dev", "p0"];
    pair.peer.run("ip", &neighbour);
    let (peer, listener) = (pair.peer.clone(), server.clone());
    let missing = pair
        .weir
        .spawn(move || {
            let mut pool = pool();
            let (mut left, mut right) = (open("w0", 1), open("w1", 1));
            let mut from = left.open_queue(0, &mut pool).unwrap();
            let mut to = right.open_queue(0, &mut pool).unwrap();
            let listening = listener.spawn(|| listen("10.9.0.100:7")).join().unwrap();
            peer.spawn(|| {
                let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
                socket.send_to(b"straight through", (VIP, 7)).unwrap();
            })
            .join()
            .unwrap();
            let mut burst = Burst::with_capacity(64);
            assert_eq!(receive(from.as_mut(), &mut pool, &mut burst), 1);
            for frame in burst.drain() {
                let held = pool.available(FramePool::UMEM);
                to.tx(&mut pool, frame).unwrap();
                // A copy would have freed this chunk and taken another one.
                assert_eq!(pool.available(FramePool::UMEM), held);
            }
            to.flush(&mut pool).unwrap();
            assert_eq!(to.stats().tx_ring_lost, 0);
            let mut datagram = [0; 64];
            let (len, sender) = listening.recv_from(&mut datagram).unwrap();
            assert_eq!(&datagram[..len], b"straight through");
            assert_eq!(sender.ip(), ip("10.9.0.1"));
            from.close(&mut pool);
            to.close(&mut pool);
            pool.outstanding(FramePool::UMEM)
        })
        .join()
        .unwrap();
    netns::delete(&server);
    assert_eq!(missing, 0);
}

/// An ARP request to everybody (RFC 826).
fn arp(sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([
        2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1,
    ]);
    frame.extend(sender);
    frame.extend([0; 6]);
    frame.extend(target);
    frame
}

/// Puts a frame on the wire at the peer's end.
fn send_raw(peer: &Netns, bytes: Vec<u8>) {
    peer.spawn(move || {
        let mut pool = FramePool::with_umem(8, FramePool::CHUNK_LEN).unwrap();
        let mut asked = spec("p0", 1);
        asked.driver = DriverChoice::AfPacket;
        let mut device = Device::open(&asked, &run_dir()).unwrap();
        let mut port = device.open_queue(0, &mut pool).unwrap();
        let mut frame = pool.alloc(FramePool::UMEM).unwrap();
        assert!(frame.set_range(256..256 + bytes.len()));
        frame.bytes_mut().copy_from_slice(&bytes);
        port.tx(&mut pool, frame).unwrap();
        port.flush(&mut pool).unwrap();
    })
    .join()
    .unwrap();
}

fn listen(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn the_kernel_keeps_its_own_address_and_gets_back_what_is_no_longer_owned() {
    if !netns::available() {
        return;
    }
    let pair = pair(1);
    pair.peer.run("ip", &["neigh", "del", VIP, "dev", "p0"]);
    let peer = pair.peer.clone();
    let seen = pair.weir.spawn(move || {
        let mut pool = pool();
        let mut device = open("w0", 1);
        let mut port = device.open_queue(0, &mut pool).unwrap();
        let mut burst = Burst::with_capacity(64);
        assert!(peer.succeeds("ping", &["-c", "2", "-i", "0.1", "-W", "60", OWN]));
        assert_eq!(port.rx(&mut pool, &mut burst), 0, "{burst:?}");
        // ARP for the VIP comes to us, and nobody else answers it.
        assert!(!peer.succeeds("ping", &["-c", "1", "-W", "1", VIP]));
        receive(port.as_mut(), &mut pool, &mut burst);
        let asked: Vec<Vec<u8>> = burst.frames().iter().map(|f| f.bytes().to_vec()).collect();
        free_all(&mut pool, &mut burst);
        // What is taken away goes to the kernel again.
        device.set_owned(&[]).unwrap();
        assert!(!peer.succeeds("ping", &["-c", "1", "-W", "1", VIP]));
        assert_eq!(port.rx(&mut pool, &mut burst), 0);
        asked
    });
    let asked = seen.join().unwrap();
    assert!(!asked.is_empty());
    for frame in asked {
        assert_eq!(
            (&frame[12..14], &frame[38..42]),
            (&[8, 6][..], &[10, 9, 0, 100][..])
        );
    }
}

#[test]
fn a_queue_without_a_socket_leaves_its_frames_to_the_kernel() {
    if !netns::available() {
        return;
    }
    let pair = pair(1);
    pair.weir
        .run("ip", &["addr", "add", "10.9.0.100/32", "dev", "w0"]);
    pair.peer.run("ip", &["neigh", "del", VIP, "dev", "p0"]);
    let device = pair.weir.spawn(|| open("w0", 1)).join().unwrap();
    let reached = pair.peer.succeeds("ping", &["-c", "1", "-W", "60", VIP]);
    drop(device);
    assert!(reached);
}

#[test]
fn the_tag_of_a_tagged_frame_stays_in_the_frame() {
    if !netns::available() {
        return;
    }
    let pair = pair(1);
    let peer = pair.peer.clone();
    let frames = pair.weir.spawn(move || {
        let mut pool = pool();
        let mut device = open("w0", 1);
        device.set_owned(&[ip("10.8.0.9")]).unwrap();
        let mut port = device.open_queue(0, &mut pool).unwrap();
        let mut tagged = arp([10, 8, 0, 1], [10, 8, 0, 9]);
        tagged.splice(12..12, [0x81, 0, 0, 5]);
        send_raw(&peer, tagged);
        let mut burst = Burst::with_capacity(64);
        receive(port.as_mut(), &mut pool, &mut burst);
        let frames: Vec<Vec<u8>> = burst.frames().iter().map(|f| f.bytes().to_vec()).collect();
        free_all(&mut pool, &mut burst);
        frames
    });
    let frames = frames.join().unwrap();
    assert_eq!(frames.len(), 1);
    assert_eq!(frames[0][12..18], [0x81, 0, 0, 5, 8, 6]);
}

#[test]
fn what_a_full_ring_lost_is_counted() {
    const SENT: u64 = 6_000;
    const RX_RING: usize = 4096;
    if !netns::available() {
        return;
    }
    let pair = pair(1);
    let peer = pair.peer.clone();
    let (stats, outstanding) = pair
        .weir
        .spawn(move || {
            let mut pool = pool();
            let mut device = open("w0", 1);
            let mut port = device.open_queue(0, &mut pool).unwrap();
            peer.spawn(|| {
                let socket = UdpSocket::bind("10.9.0.1:0").unwrap();
                for _ in 0..SENT {
                    socket.send_to(b"too many", (VIP, 7)).unwrap();
                }
            })
            .join()
            .unwrap();
            let mut burst = Burst::with_capacity(64);
            while port.rx(&mut pool, &mut burst) > 0 {
                // While frames wait in the full ring, the kernel has no chunks for others, which
                // it would copy there in vain.
                let most = RX_RING + burst.len();
                assert!(pool.outstanding(FramePool::UMEM) <= most);
                free_all(&mut pool, &mut burst);
            }
            let stats = port.stats();
            port.close(&mut pool);
            (stats, pool.outstanding(FramePool::UMEM))
        })
        .join()
        .unwrap();
    assert!(stats.rx_ring_lost > 0);
    assert_eq!(stats.rx_frames + stats.rx_ring_lost, SENT);
    assert_eq!((stats.rx_invalid, outstanding), (0, 0));
}

#[test]
fn a_device_that_is_down_is_an_error_until_it_is_up_again() {
    if !netns::available() {
        return;
    }
    let pair = pair(1);
    let weir = pair.weir.clone();
    pair.weir
        .spawn(move || {
            let mut pool = pool();
            let mut device = open("w0", 1);
            let mut port = device.open_queue(0, &mut pool).unwrap();
            weir.run("ip", &["link", "set", "w0", "down"]);
            assert!(!ethtool::link_up("w0").unwrap());
            let mut frame = pool.alloc(FramePool::UMEM).unwrap();
            assert!(frame.set_range(256..316));
            frame.bytes_mut().fill(0xff);
            port.tx(&mut pool, frame).unwrap();
            let error = port.flush(&mut pool).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ENETDOWN));
            assert!(ethtool::ensure_up("w0").unwrap());
            assert!(!ethtool::ensure_up("w0").unwrap());
            port.flush(&mut pool).unwrap();
            port.close(&mut pool);
            assert_eq!(pool.outstanding(FramePool::UMEM), 0);
        })
        .join()
        .unwrap();
}

#[test]
fn a_device_that_vanishes_is_an_error_and_its_chunks_come_back() {
    if !netns::available() {
        return;
    }
    let pair = pair(1);
    let weir = pair.weir.clone();
    pair.weir
        .spawn(move || {
            let mut pool = pool();
            let mut device = open("w0", 1);
            let mut port = device.open_queue(0, &mut pool).unwrap();
            weir.run("ip", &["link", "del", "w0"]);
            let mut frame = pool.alloc(FramePool::UMEM).unwrap();
            assert!(frame.set_range(256..316));
            port.tx(&mut pool, frame).unwrap();
            assert!(port.flush(&mut pool).is_err());
            port.close(&mut pool);
            assert_eq!(pool.outstanding(FramePool::UMEM), 0);
        })
        .join()
        .unwrap();
}

#[test]
fn a_peer_that_forbids_native_mode_gets_generic_mode_and_the_offload_is_restored() {
    if !netns::available() {
        return;
    }
    let pair = pair(1);
    pair.peer.run("ip", &["link", "set", "p0", "mtu", "9000"]);
    pair.weir.run("ethtool", &["-K", "w0", "gro", "on"]);
    let has_gro = || {
        let ask = || ethtool::features("w0").unwrap().is_on("rx-gro");
        pair.weir.spawn(ask).join().unwrap()
    };
    let reflector = Reflector::start(&pair.weir, 1);
    assert_eq!(
        reflector.description,
        "af-xdp generic, 1 queue (af-xdp: no native mode: the MTU of the other end of the pair is \
         too large (at most 3506); super-frames of the other end are lost: `ethtool -K <other end> \
         tso off gso off`)"
    );
    assert!(!has_gro());
    assert_eq!(echoes(&pair.peer, 10), 10);
    assert_eq!(reflector.stop()[0].missing, 0);
    assert!(has_gro());
}
