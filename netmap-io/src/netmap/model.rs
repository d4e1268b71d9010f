//! The kernel's side of netmap in ordinary memory: it lays the memory out as the module does and
//! plays its part at each sync. Tests drive the port against it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use netmap_sys::netmap::NS_BUF_CHANGED;
use nix::errno::Errno;

use super::host::{HostHead, HostRings, way};
use super::port::{Host, NetmapPort, Parts};
use super::ring::{Rings, take_spares};
use super::sys::Sync;
use crate::shared::SharedMemory;
use crate::{Burst, DriverKind, FramePool, Port, PortInfo, RegionId};

const INTERFACE: usize = 0x100;
const BUFFER_LEN: usize = 2048;
const BUFFERS_AT: usize = 0x10000;
const SLOTS: u32 = 8;
const SPARES: u32 = 16;
/// Two rings of the device and two of the host, in the order of `ring_ofs`.
const RINGS: [usize; 4] = [0x1000, 0x2000, 0x3000, 0x4000];
const DEVICE_TX: usize = 0;
const HOST_TX: usize = 1;
const DEVICE_RX: usize = 2;
const HOST_RX: usize = 3;
/// Buffers 0 and 1 are never given out.
const FIRST_BUFFER: u32 = 2;
const COUNT: u32 = FIRST_BUFFER + 4 * SLOTS + SPARES;

/// The kernel's private state of a ring.
#[derive(Clone, Copy, Debug)]
struct KernelRing {
    at: usize,
    current: u32,
    tail: u32,
}

#[derive(Debug)]
struct State {
    memory: SharedMemory,
    rings: [KernelRing; 4],
    /// What waits to be received by each receive ring, and what each transmit ring sent.
    waiting: [VecDeque<(Vec<u8>, u16)>; 4],
    sent: [Vec<Vec<u8>>; 4],
    /// The device sends nothing for now.
    stalled: bool,
}

fn slot_at(ring: usize, slot: u32) -> usize {
    RINGS[ring] + 256 + slot as usize * 16
}

fn distance(from: usize, to: usize) -> i64 {
    i64::try_from(to).unwrap() - i64::try_from(from).unwrap()
}

/// A handle on the kernel for one pair of rings.
#[derive(Clone, Debug)]
struct Kernel {
    state: Arc<Mutex<State>>,
    rx: usize,
    tx: usize,
}

impl State {
    fn new(host_rings_told: u32) -> Self {
        let memory = SharedMemory::anonymous(BUFFERS_AT + COUNT as usize * BUFFER_LEN).unwrap();
        let memory = memory.leak();
        let put = |at: usize, value: u32| memory.word32(at).unwrap().store(value, Relaxed);
        put(INTERFACE + 24, 1);
        put(INTERFACE + 28, 1);
        put(INTERFACE + 36, host_rings_told);
        put(INTERFACE + 40, host_rings_told);
        let mut buffer = FIRST_BUFFER;
        for (n, at) in RINGS.into_iter().enumerate() {
            let entry = memory.word64(INTERFACE + 56 + n * 8).unwrap();
            entry.store(distance(INTERFACE, at), Relaxed);
            let buf_ofs = memory.word64(at).unwrap();
            buf_ofs.store(distance(at, BUFFERS_AT), Relaxed);
            put(at + 8, SLOTS);
            put(at + 12, BUFFER_LEN as u32);
            let transmits = n == DEVICE_TX || n == HOST_TX;
            put(at + 28, if transmits { SLOTS - 1 } else { 0 });
            for slot in 0..SLOTS {
                put(at + 256 + slot as usize * 16, buffer);
                buffer += 1;
            }
        }
        put(INTERFACE + 32, buffer);
        for spare in buffer..buffer + SPARES {
            let next = if spare + 1 == buffer + SPARES {
                0
            } else {
                spare + 1
            };
            put(BUFFERS_AT + spare as usize * BUFFER_LEN, next);
        }
        let ring = |n: usize| KernelRing {
            at: RINGS[n],
            current: 0,
            tail: if n == DEVICE_TX || n == HOST_TX {
                SLOTS - 1
            } else {
                0
            },
        };
        Self {
            rings: std::array::from_fn(ring),
            memory,
            waiting: Default::default(),
            sent: Default::default(),
            stalled: false,
        }
    }

    fn word(&self, at: usize) -> u32 {
        self.memory.word32(at).unwrap().load(Relaxed)
    }

    fn head(&self, ring: usize) -> u32 {
        let at = self.rings[ring].at;
        let (head, cur) = (self.word(at + 20), self.word(at + 24));
        // What the module checks in its prologue; a violation resets the ring there.
        let kernel = self.rings[ring];
        let owned = (kernel.tail + SLOTS - kernel.current) % SLOTS;
        let moved = (head + SLOTS - kernel.current) % SLOTS;
        assert!(
            head < SLOTS && moved <= owned,
            "head {head} is not the user's to set"
        );
        assert_eq!(head, cur);
        head
    }

    fn sync_rx(&mut self, ring: usize) {
        let head = self.head(ring);
        while self.rings[ring].current != head {
            let at = slot_at(ring, self.rings[ring].current);
            self.memory.word16(at + 6).unwrap().store(0, Relaxed);
            self.rings[ring].current = (self.rings[ring].current + 1) % SLOTS;
        }
        while (self.rings[ring].tail + 1) % SLOTS != self.rings[ring].current {
            let Some((bytes, flags)) = self.waiting[ring].pop_front() else {
                break;
            };
            let at = slot_at(ring, self.rings[ring].tail);
            let buffer = self.word(at) as usize;
            self.memory
                .word16(at + 4)
                .unwrap()
                .store(bytes.len() as u16, Relaxed);
            self.memory.word16(at + 6).unwrap().store(flags, Relaxed);
            // SAFETY: the slot is the kernel's, and so is its buffer.
            let to = unsafe {
                self.memory
                    .bytes_mut(BUFFERS_AT + buffer * BUFFER_LEN, bytes.len())
            };
            to.unwrap().copy_from_slice(&bytes);
            self.rings[ring].tail = (self.rings[ring].tail + 1) % SLOTS;
        }
        self.publish(ring);
    }

    fn sync_tx(&mut self, ring: usize) {
        if self.stalled && ring == DEVICE_TX {
            return;
        }
        let head = self.head(ring);
        while self.rings[ring].current != head {
            let at = slot_at(ring, self.rings[ring].current);
            let buffer = self.word(at) as usize;
            let len = self.memory.word16(at + 4).unwrap().load(Relaxed) as usize;
            self.memory.word16(at + 6).unwrap().store(0, Relaxed);
            // SAFETY: the slot was released to the kernel.
            let bytes = unsafe { self.memory.bytes(BUFFERS_AT + buffer * BUFFER_LEN, len) };
            self.sent[ring].push(bytes.unwrap().to_vec());
            self.rings[ring].current = (self.rings[ring].current + 1) % SLOTS;
        }
        self.rings[ring].tail = (head + SLOTS - 1) % SLOTS;
        self.publish(ring);
    }

    fn publish(&self, ring: usize) {
        let KernelRing { at, tail, .. } = self.rings[ring];
        self.memory.word32(at + 28).unwrap().store(tail, Relaxed);
    }

    /// Returns the buffers that stand in the slots of all rings.
    fn in_slots(&self) -> Vec<u32> {
        (0..4)
            .flat_map(|ring| (0..SLOTS).map(move |slot| (ring, slot)))
            .map(|(ring, slot)| self.word(slot_at(ring, slot)))
            .collect()
    }
}

impl Sync for Kernel {
    fn sync_rx(&self) -> Result<(), Errno> {
        self.state.lock().unwrap().sync_rx(self.rx);
        Ok(())
    }

    fn sync_tx(&self) -> Result<(), Errno> {
        self.state.lock().unwrap().sync_tx(self.tx);
        Ok(())
    }
}

/// A port on the model, with its pool.
struct Bench {
    state: Arc<Mutex<State>>,
    pool: FramePool,
    port: NetmapPort<Kernel>,
    region: RegionId,
}

impl Bench {
    fn new() -> Self {
        Self::with(1, Vec::new())
    }

    fn with(host_rings_told: u32, others: Vec<HostHead>) -> Self {
        let state = State::new(host_rings_told);
        let memory = Arc::new(state.memory.alias().unwrap());
        let rings = Rings::find(&memory, INTERFACE, Some(0)).unwrap();
        let host_rings = Rings::find(&memory, INTERFACE, None).unwrap();
        let buffers = rings.rx.buffers().unwrap();
        assert_eq!((buffers.at, buffers.count), (BUFFERS_AT, COUNT));
        let spares = take_spares(&memory, INTERFACE, buffers, SPARES);
        assert_eq!(spares.len(), SPARES as usize);
        let mut pool = FramePool::with_umem(8, 2048).unwrap();
        let region = super::region(&mut pool, &memory, buffers, spares).unwrap();
        let state = Arc::new(Mutex::new(state));
        let kernel = |rx, tx| Kernel {
            state: Arc::clone(&state),
            rx,
            tx,
        };
        let host = HostRings::new(kernel(HOST_RX, HOST_TX), host_rings, others);
        let port = NetmapPort::new(Parts {
            info: PortInfo {
                device: "model".to_owned(),
                queue: 0,
                driver: DriverKind::Netmap,
                mode: "rings",
                mac: [2; 6],
                mtu: 1500,
            },
            kernel: kernel(DEVICE_RX, DEVICE_TX),
            rings,
            host: Host::Rings(host),
            region,
            wake: None,
            fd: None,
            memory,
        });
        Self {
            state,
            pool,
            port,
            region,
        }
    }

    fn arrive(&self, ring: usize, bytes: &[u8], flags: u16) {
        let mut state = self.state.lock().unwrap();
        state.waiting[ring].push_back((bytes.to_vec(), flags));
    }

    fn sent(&self, ring: usize) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.state.lock().unwrap().sent[ring])
    }

    fn receive(&mut self, room: usize) -> Burst {
        let mut burst = Burst::with_capacity(room);
        self.port.rx(&mut self.pool, &mut burst);
        burst
    }

    /// Each buffer is in one slot, free, or held by the test: never twice, never nowhere.
    fn assert_no_buffer_is_lost(&mut self) {
        let mut all = self.state.lock().unwrap().in_slots();
        let mut held = Vec::new();
        while let Some(frame) = self.pool.alloc(self.region) {
            all.push(frame.index());
            held.push(frame);
        }
        for frame in held {
            self.pool.free(frame);
        }
        let distinct: BTreeSet<u32> = all.iter().copied().collect();
        assert_eq!(distinct.len(), all.len(), "a buffer is in two places");
        assert_eq!(distinct, (FIRST_BUFFER..COUNT).collect());
    }
}

#[test]
fn frames_are_received_and_transmitted_around_the_ring_without_a_copy() {
    let mut bench = Bench::new();
    for round in 0..20u8 {
        for n in 0..5 {
            bench.arrive(DEVICE_RX, &[round, n, 7], 0);
        }
        let mut burst = bench.receive(64);
        assert_eq!(burst.len(), 5);
        for (n, frame) in burst.drain().enumerate() {
            assert_eq!(frame.bytes(), [round, n as u8, 7]);
            assert_eq!(frame.region(), bench.region);
            let buffer = frame.index();
            bench.port.tx(&mut bench.pool, frame).unwrap();
            let state = bench.state.lock().unwrap();
            assert!(
                state.in_slots().contains(&buffer),
                "the buffer itself went out"
            );
        }
        bench.port.flush(&mut bench.pool).unwrap();
        let expected: Vec<Vec<u8>> = (0..5).map(|n| vec![round, n, 7]).collect();
        assert_eq!(bench.sent(DEVICE_TX), expected);
        bench.assert_no_buffer_is_lost();
    }
    let stats = bench.port.stats();
    assert_eq!((stats.rx_frames, stats.tx_frames), (100, 100));
    assert_eq!((stats.rx_bytes, stats.tx_bytes), (300, 300));
}

#[test]
fn a_taken_slot_says_that_its_buffer_changed() {
    let mut bench = Bench::new();
    bench.arrive(DEVICE_RX, b"frame", 0);
    let frame = bench.receive(1).drain().next().unwrap();
    let at = slot_at(DEVICE_RX, 0);
    let flags = bench
        .state
        .lock()
        .unwrap()
        .memory
        .word16(at + 6)
        .unwrap()
        .load(Relaxed);
    assert_eq!(flags & NS_BUF_CHANGED, NS_BUF_CHANGED);
    bench.pool.free(frame);
    bench.assert_no_buffer_is_lost();
}

#[test]
fn without_a_spare_the_frame_waits_in_the_ring() {
    let mut bench = Bench::new();
    let mut held = Vec::new();
    while let Some(frame) = bench.pool.alloc(bench.region) {
        held.push(frame);
    }
    bench.arrive(DEVICE_RX, b"frame", 0);
    assert_eq!(bench.receive(4).len(), 0);
    bench.pool.free(held.pop().unwrap());
    let frame = bench.receive(4).drain().next().unwrap();
    assert_eq!(frame.bytes(), b"frame");
    held.push(frame);
    for frame in held {
        bench.pool.free(frame);
    }
    bench.assert_no_buffer_is_lost();
}

#[test]
fn a_full_transmit_ring_gives_the_frame_back() {
    let mut bench = Bench::new();
    bench.state.lock().unwrap().stalled = true;
    for n in 0..SLOTS as u8 {
        let mut frame = bench.pool.alloc(bench.region).unwrap();
        assert!(frame.set_range(0..1));
        frame.bytes_mut()[0] = n;
        match bench.port.tx(&mut bench.pool, frame) {
            Ok(()) => assert!(n < SLOTS as u8 - 1),
            Err(frame) => {
                assert_eq!((n, frame.bytes()), (SLOTS as u8 - 1, [n].as_slice()));
                bench.pool.free(frame);
            }
        }
    }
    bench.state.lock().unwrap().stalled = false;
    bench.port.flush(&mut bench.pool).unwrap();
    assert_eq!(bench.sent(DEVICE_TX).len(), SLOTS as usize - 1);
    bench.assert_no_buffer_is_lost();
}

#[test]
fn a_frame_of_foreign_memory_is_copied_and_one_that_grew_to_the_front_is_moved() {
    let mut bench = Bench::new();
    let mut foreign = bench.pool.alloc(FramePool::UMEM).unwrap();
    assert!(foreign.set_range(256..261));
    foreign.bytes_mut().copy_from_slice(b"other");
    bench.port.tx(&mut bench.pool, foreign).unwrap();
    let mut own = bench.pool.alloc(bench.region).unwrap();
    assert!(own.set_range(100..103));
    own.bytes_mut().copy_from_slice(b"own");
    bench.port.tx(&mut bench.pool, own).unwrap();
    bench.port.flush(&mut bench.pool).unwrap();
    assert_eq!(bench.sent(DEVICE_TX), [b"other".to_vec(), b"own".to_vec()]);
    assert_eq!(bench.pool.outstanding(FramePool::UMEM), 0);
    bench.assert_no_buffer_is_lost();
}

#[test]
fn the_host_gets_what_is_delivered_and_what_it_sends_goes_to_the_device() {
    let mut bench = Bench::new();
    bench.arrive(DEVICE_RX, b"for ssh", 0);
    let frame = bench.receive(4).drain().next().unwrap();
    bench.port.deliver(&mut bench.pool, frame).unwrap();
    bench.port.flush(&mut bench.pool).unwrap();
    assert_eq!(bench.sent(HOST_TX), [b"for ssh".to_vec()]);
    for n in 0..10u8 {
        bench.arrive(HOST_RX, &[n], 0);
    }
    // An idle port asks for the host's frames at each call.
    while bench.receive(4).len() + bench.state.lock().unwrap().waiting[HOST_RX].len() > 0 {}
    bench.receive(4);
    let expected: Vec<Vec<u8>> = (0..10).map(|n| vec![n]).collect();
    assert_eq!(bench.sent(DEVICE_TX), expected);
    bench.assert_no_buffer_is_lost();
}

#[test]
fn a_busy_device_does_not_keep_the_host_from_sending() {
    let mut bench = Bench::new();
    bench.receive(1);
    bench.arrive(HOST_RX, b"from the host", 0);
    for _ in 0..20 {
        bench.arrive(DEVICE_RX, b"busy", 0);
        let frame = bench.receive(1).drain().next().unwrap();
        bench.pool.free(frame);
    }
    assert_eq!(bench.sent(DEVICE_TX), [b"from the host".to_vec()]);
}

#[test]
fn another_worker_delivers_through_the_worker_of_queue_0() {
    let (mut tail, head) = way();
    let mut bench = Bench::with(1, vec![head]);
    for n in 0..40u8 {
        let mut frame = bench.pool.alloc(bench.region).unwrap();
        assert!(frame.set_range(0..1));
        frame.bytes_mut()[0] = n;
        tail.deliver(&mut bench.pool, bench.region, frame).unwrap();
        bench.receive(1);
        tail.reclaim(&mut bench.pool, bench.region);
    }
    let expected: Vec<Vec<u8>> = (0..40).map(|n| vec![n]).collect();
    assert_eq!(bench.sent(HOST_TX), expected);
    bench.assert_no_buffer_is_lost();
}

#[test]
fn a_packet_of_several_slots_is_refused_whole_and_counted_once() {
    let mut bench = Bench::new();
    bench.arrive(DEVICE_RX, b"one", netmap_sys::netmap::NS_MOREFRAG);
    bench.arrive(DEVICE_RX, b"two", netmap_sys::netmap::NS_MOREFRAG);
    bench.arrive(DEVICE_RX, b"three", 0);
    bench.arrive(DEVICE_RX, b"whole", 0);
    let frame = bench.receive(4).drain().next().unwrap();
    assert_eq!(frame.bytes(), b"whole");
    assert_eq!(bench.port.stats().rx_invalid, 1);
    bench.pool.free(frame);
    bench.assert_no_buffer_is_lost();
}

#[test]
fn modules_that_do_not_tell_their_host_rings_have_one() {
    let mut bench = Bench::with(0, Vec::new());
    bench.arrive(DEVICE_RX, b"frame", 0);
    let frame = bench.receive(4).drain().next().unwrap();
    bench.port.deliver(&mut bench.pool, frame).unwrap();
    bench.port.flush(&mut bench.pool).unwrap();
    assert_eq!(bench.sent(HOST_TX), [b"frame".to_vec()]);
}

#[test]
fn memory_that_makes_no_sense_is_refused() {
    let state = State::new(1);
    assert!(Rings::find(&state.memory, INTERFACE, Some(1)).is_none());
    state
        .memory
        .word32(RINGS[DEVICE_RX] + 8)
        .unwrap()
        .store(u32::MAX, Relaxed);
    assert!(Rings::find(&state.memory, INTERFACE, Some(0)).is_none());
    state
        .memory
        .word64(INTERFACE + 56)
        .unwrap()
        .store(-1_000_000, Relaxed);
    assert!(Rings::find(&state.memory, INTERFACE, None).is_some());
    assert!(Rings::find(&state.memory, 0xf_ffff, None).is_none());
}
