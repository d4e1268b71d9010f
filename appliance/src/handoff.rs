//! Hand-off between workers: one ring of bytes for each pair, each end owned by one thread.
//!
//! A frame is copied into the ring and out of it again, so that the workers' packet memories stay
//! apart. Each record is the port that the frame came in on, its length, where it is to be cut if it
//! is a super-frame, and its bytes.

use std::sync::Arc;

use netmap_io::{Frame, FramePool};
use rtrb::{Consumer, Producer, RingBuffer};
use weir_model::{PortId, WorkerId};

use crate::doorbell::Doorbell;

/// What the hand-off rings of all workers together may take.
const ALL_RINGS: usize = 16 << 20;
/// A ring holds several bursts of full-size packets, or a super-frame at least, but not more than a
/// receiver can catch up on.
const RING: std::ops::RangeInclusive<usize> = 128 << 10..=4 << 20;

/// The bytes in front of each frame: the port, the length and the size of its segments.
const HEADER: usize = 6;

/// What drivers leave in front of a frame for options that are inserted.
pub(crate) const HEAD_ROOM: usize = 256;

/// The ring ends of one worker.
#[derive(Debug)]
pub(crate) struct HandOff {
    /// Towards each worker, by its id; none towards itself.
    out: Vec<Option<Outgoing>>,
    /// From each of the other workers.
    incoming: Vec<Incoming>,
}

#[derive(Debug)]
struct Outgoing {
    ring: Producer<u8>,
    /// Bytes that were free when the reader was last asked, less those put in since.
    room: usize,
    bell: Arc<Doorbell>,
    /// Whether something was put in since the bell was last rung.
    fresh: bool,
}

#[derive(Debug)]
struct Incoming {
    ring: Consumer<u8>,
}

/// Connects every worker with every other; the result is in the order of the doorbells.
pub(crate) fn connect(bells: &[Arc<Doorbell>]) -> Vec<HandOff> {
    let pairs = bells.len() * bells.len().saturating_sub(1);
    let bytes = (ALL_RINGS / pairs.max(1)).clamp(*RING.start(), *RING.end());
    connect_with(bells, bytes)
}

fn connect_with(bells: &[Arc<Doorbell>], bytes: usize) -> Vec<HandOff> {
    let mut ends: Vec<HandOff> = bells
        .iter()
        .map(|_| HandOff {
            out: Vec::with_capacity(bells.len()),
            incoming: Vec::with_capacity(bells.len()),
        })
        .collect();
    for from in 0..bells.len() {
        for (to, bell) in bells.iter().enumerate() {
            let outgoing = (from != to).then(|| {
                let (ring, incoming) = RingBuffer::new(bytes);
                if let Some(end) = ends.get_mut(to) {
                    end.incoming.push(Incoming { ring: incoming });
                }
                Outgoing {
                    ring,
                    room: 0,
                    bell: bell.clone(),
                    fresh: false,
                }
            });
            if let Some(end) = ends.get_mut(from) {
                end.out.push(outgoing);
            }
        }
    }
    ends
}

impl HandOff {
    /// Copies a frame to another worker; false, and nothing is there, when its ring is full.
    #[must_use]
    pub(crate) fn push(&mut self, to: WorkerId, port: PortId, frame: &Frame) -> bool {
        let Some(Some(out)) = self.out.get_mut(to.index()) else {
            return false;
        };
        let needed = HEADER + frame.len();
        if out.room < needed {
            // The reader's line; it comes from another core, so not for every frame.
            out.room = out.ring.slots();
            if out.room < needed {
                return false;
            }
        }
        out.room -= needed;
        // The ring is shorter than what three bytes can say.
        let [_, l2, l1, l0] = (frame.len() as u32).to_be_bytes();
        let [s1, s0] = frame.segment_size().to_be_bytes();
        let header = [port.0, l2, l1, l0, s1, s0];
        // The reader takes nothing before the whole record is there.
        let whole = out.ring.push_entire_slice(&header).is_ok()
            && out.ring.push_entire_slice(frame.bytes()).is_ok();
        out.fresh |= whole;
        whole
    }

    /// Wakes the workers that something was pushed to; once per burst.
    pub(crate) fn ring_bells(&mut self) {
        for out in self.out.iter_mut().flatten() {
            if out.fresh {
                out.fresh = false;
                out.bell.ring();
            }
        }
    }

    /// Says whether another worker has pushed something.
    pub(crate) fn is_waiting(&self) -> bool {
        self.incoming
            .iter()
            .any(|incoming| !incoming.ring.is_empty())
    }

    /// Returns how many rings lead here.
    pub(crate) fn sources(&self) -> usize {
        self.incoming.len()
    }

    /// Takes the next frame out of one of the rings into memory of this worker's own; none when
    /// the ring is empty, or the pool is, in which case the frame waits in the ring.
    pub(crate) fn pop(&mut self, source: usize, pool: &mut FramePool) -> Option<(PortId, Frame)> {
        let ring = &mut self.incoming.get_mut(source)?.ring;
        let header = ring.read_chunk(HEADER).ok()?;
        let (head, tail) = header.as_slices();
        let mut bytes = head.iter().chain(tail).copied();
        let port = PortId(bytes.next()?);
        let (l2, l1, l0) = (bytes.next()?, bytes.next()?, bytes.next()?);
        let len = u32::from_be_bytes([0, l2, l1, l0]) as usize;
        let segment_size = u16::from_be_bytes([bytes.next()?, bytes.next()?]);
        let record = ring.read_chunk(HEADER + len).ok()?;
        let mut frame = if segment_size == 0 {
            pool.alloc(FramePool::UMEM)?
        } else {
            // All workers have a queue of the port that it came in on, and so chunks for it.
            pool.alloc_large()?
        };
        let start = HEAD_ROOM.min(frame.capacity().saturating_sub(len));
        if !frame.set_range(start..start + len) {
            // Longer than a chunk: the pusher's chunks are as long as ours, so this cannot be.
            record.commit_all();
            pool.free(frame);
            return None;
        }
        copy_record(&record, frame.bytes_mut());
        frame.set_segment_size(segment_size);
        record.commit_all();
        Some((port, frame))
    }
}

fn copy_record(record: &rtrb::chunks::ReadChunk<'_, u8>, to: &mut [u8]) {
    let (head, tail) = record.as_slices();
    // The header may lie across the ring's end.
    let head = head.get(HEADER..).unwrap_or_default();
    let tail = tail.get(tail.len().saturating_sub(to.len() - head.len())..);
    let (to_head, to_tail) = to.split_at_mut(head.len());
    to_head.copy_from_slice(head);
    to_tail.copy_from_slice(tail.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// Pushes bytes as a frame of the pusher's own memory.
    fn push_bytes(from: &mut HandOff, to: WorkerId, port: PortId, bytes: &[u8]) -> bool {
        let mut pool = FramePool::with_umem(1, 2048).unwrap();
        let mut frame = pool.alloc(FramePool::UMEM).unwrap();
        assert!(frame.set_range(7..7 + bytes.len()));
        frame.bytes_mut().copy_from_slice(bytes);
        let pushed = from.push(to, port, &frame);
        pool.free(frame);
        pushed
    }

    fn pair(bytes: usize) -> (HandOff, HandOff) {
        let bells = [Doorbell::new(), Doorbell::new()].map(|bell| Arc::new(bell.unwrap()));
        let mut ends = connect_with(&bells, bytes);
        let second = ends.pop().unwrap();
        (ends.pop().unwrap(), second)
    }

    proptest! {
        #[test]
        fn what_is_pushed_comes_out_in_order_and_a_full_ring_takes_nothing(
            steps in proptest::collection::vec((any::<bool>(), any::<u8>(), 0_usize..300), 1..300),
        ) {
            let (mut from, mut to) = pair(1000);
            let mut pool = FramePool::with_umem(4, 2048).unwrap();
            let mut model = VecDeque::new();
            let mut used = 0;
            for (push, port, len) in steps {
                if push {
                    let bytes: Vec<u8> = (0..len).map(|i| (i as u8) ^ port).collect();
                    let fits = used + HEADER + len <= 1000;
                    prop_assert_eq!(push_bytes(&mut from, WorkerId(1), PortId(port), &bytes), fits);
                    if fits {
                        used += HEADER + len;
                        model.push_back((port, bytes));
                    }
                } else {
                    let got = to.pop(0, &mut pool);
                    let expected = model.pop_front();
                    prop_assert_eq!(got.is_some(), expected.is_some());
                    if let (Some((got_port, frame)), Some((port, bytes))) = (got, expected) {
                        used -= HEADER + bytes.len();
                        prop_assert_eq!(got_port, PortId(port));
                        prop_assert_eq!(frame.bytes(), bytes.as_slice());
                        pool.free(frame);
                    }
                }
                prop_assert_eq!(to.is_waiting(), !model.is_empty());
            }
            prop_assert_eq!(pool.outstanding(FramePool::UMEM), 0);
        }
    }

    #[test]
    fn frames_cross_between_two_threads_unharmed() {
        const FRAMES: u32 = 200_000;
        let (mut from, mut to) = pair(16 << 10);
        let pusher = std::thread::spawn(move || {
            let mut pool = FramePool::with_umem(1, 2048).unwrap();
            let mut frame = pool.alloc(FramePool::UMEM).unwrap();
            for n in 0..FRAMES {
                assert!(frame.set_range(9..10 + (n % 700) as usize));
                frame.bytes_mut().fill(n as u8);
                while !from.push(WorkerId(1), PortId(n as u8), &frame) {
                    std::thread::yield_now();
                }
            }
            pool.free(frame);
        });
        let mut pool = FramePool::with_umem(1, 2048).unwrap();
        let mut n = 0;
        while n < FRAMES {
            let Some((port, frame)) = to.pop(0, &mut pool) else {
                std::thread::yield_now();
                continue;
            };
            assert_eq!(port, PortId(n as u8));
            assert_eq!(frame.len(), 1 + (n % 700) as usize);
            assert!(frame.bytes().iter().all(|byte| *byte == n as u8));
            pool.free(frame);
            n += 1;
        }
        pusher.join().unwrap();
        assert!(!to.is_waiting());
    }

    #[test]
    fn a_frame_waits_in_the_ring_while_the_pool_is_empty() {
        let (mut from, mut to) = pair(1000);
        let mut pool = FramePool::with_umem(1, 2048).unwrap();
        let taken = pool.alloc(FramePool::UMEM).unwrap();
        assert!(push_bytes(&mut from, WorkerId(1), PortId(7), b"frame"));
        assert!(to.pop(0, &mut pool).is_none());
        pool.free(taken);
        let (port, frame) = to.pop(0, &mut pool).unwrap();
        assert_eq!((port, frame.bytes()), (PortId(7), b"frame".as_slice()));
        pool.free(frame);
    }

    #[test]
    fn a_super_frame_crosses_whole_and_still_says_where_it_is_to_be_cut() {
        let bells = [Doorbell::new(), Doorbell::new()].map(|bell| Arc::new(bell.unwrap()));
        let mut ends = connect_with(&bells, *RING.start());
        let (mut to, mut from) = (ends.pop().unwrap(), ends.pop().unwrap());
        let mut pool = FramePool::with_umem(4, 2048).unwrap();
        pool.add_large().unwrap();
        // More often than the ring holds, so that a record lies across its end.
        for round in 0..5_u8 {
            let mut frame = pool.alloc_large().unwrap();
            assert!(frame.set_range(256..256 + 65_549));
            for (at, byte) in frame.bytes_mut().iter_mut().enumerate() {
                *byte = at as u8 ^ round;
            }
            frame.set_segment_size(1448);
            assert!(from.push(WorkerId(1), PortId(3), &frame));
            assert!(
                !from.push(WorkerId(1), PortId(3), &frame),
                "the ring is full"
            );
            let (port, crossed) = to.pop(0, &mut pool).unwrap();
            assert_eq!((port, crossed.segment_size()), (PortId(3), 1448));
            assert_eq!(crossed.bytes(), frame.bytes());
            pool.free(frame);
            pool.free(crossed);
        }
        assert!(push_bytes(&mut from, WorkerId(1), PortId(7), b"packet"));
        let (_, packet) = to.pop(0, &mut pool).unwrap();
        assert_eq!(
            (packet.segment_size(), packet.bytes()),
            (0, b"packet".as_slice())
        );
        pool.free(packet);
    }

    #[test]
    fn nobody_can_hand_a_frame_to_itself_or_to_nobody() {
        let (mut from, _to) = pair(1000);
        assert!(!push_bytes(&mut from, WorkerId(0), PortId(0), b"frame"));
        assert!(!push_bytes(&mut from, WorkerId(2), PortId(0), b"frame"));
    }
}
