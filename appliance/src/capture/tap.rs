//! The tap: copies frames out of a worker, with what became of them. It is there only while
//! somebody captures; its memory is made by control and travels there and back, so a worker with a
//! tap allocates nothing either, and one without has one question to ask per burst.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender};
use weir_director::Packet;
use weir_model::{Now, PortId, Verdict, WorkerId};

use super::filter::{Ends, Filter};
use crate::worker::frames::MOST_FRAMES;

/// What is kept of a frame; the rest is cut off.
pub(crate) const SNAP_LEN: usize = 2048;

/// How a frame went by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    /// It came in, and this became of it.
    In(Verdict),
    /// It came in and left as this.
    Out,
    /// Weir itself sent it.
    Originated,
}

/// A frame that was taken.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) at: Now,
    pub(crate) worker: WorkerId,
    pub(crate) port: PortId,
    pub(crate) passage: Passage,
    /// How long the frame was.
    pub(crate) len: u32,
    /// Its beginning.
    pub(crate) bytes: Vec<u8>,
}

impl Taken {
    /// Makes an empty one with room for a frame.
    pub(crate) fn empty() -> Self {
        Self {
            at: Now::default(),
            worker: WorkerId::default(),
            port: PortId::default(),
            passage: Passage::Out,
            len: 0,
            bytes: Vec::with_capacity(SNAP_LEN),
        }
    }

    fn fill(&mut self, frame: &[u8]) {
        self.len = frame.len() as u32;
        self.bytes.clear();
        let most = self.bytes.capacity().min(frame.len());
        self.bytes
            .extend_from_slice(frame.get(..most).unwrap_or_default());
    }
}

/// Copies frames out of a worker.
#[derive(Debug)]
pub(crate) struct Tap {
    worker: WorkerId,
    filter: Filter,
    empty: Receiver<Taken>,
    full: Sender<Taken>,
    /// The frames of the burst as they came, by their place in it.
    before: Vec<Option<Taken>>,
    /// Wanted frames for which there was no room, of all workers.
    missed: Arc<AtomicU64>,
    /// Whether anything was taken since control was last told.
    took: bool,
}

impl Tap {
    /// Makes a tap that takes room from `empty` and gives what it took to `full`.
    pub(crate) fn new(
        worker: WorkerId,
        filter: Filter,
        empty: Receiver<Taken>,
        full: Sender<Taken>,
        missed: Arc<AtomicU64>,
    ) -> Self {
        let mut before = Vec::new();
        before.resize_with(MOST_FRAMES, || None);
        Self {
            worker,
            filter,
            empty,
            full,
            before,
            missed,
            took: false,
        }
    }

    /// Copies the frames of a burst before the director rewrites them.
    pub(crate) fn before(&mut self, packets: &[Packet<'_>]) {
        for (packet, place) in packets.iter().zip(&mut self.before) {
            // The room of an unwanted frame of the burst before is still there.
            if place.is_none() {
                *place = self.empty.try_recv().ok();
            }
            if let Some(taken) = place {
                taken.fill(packet.frame.bytes());
            }
        }
    }

    /// Passes on the frames of the burst that are wanted, each as it came and as it leaves.
    pub(crate) fn after(&mut self, now: Now, packets: &[Packet<'_>]) {
        for (at, packet) in packets.iter().enumerate() {
            let came = self.before.get_mut(at).and_then(Option::take);
            let before = match &came {
                Some(came) => Ends::of(&came.bytes),
                None => None,
            };
            let frame = packet.frame.bytes();
            let after = Ends::of(frame);
            let Some(mut came) = came else {
                // It was not copied; judged by what is left of it.
                if self.filter.wants(None, after, packet.verdict) {
                    self.miss();
                }
                continue;
            };
            if !self.filter.wants(before, after, packet.verdict) {
                if let Some(place) = self.before.get_mut(at) {
                    *place = Some(came);
                }
                continue;
            }
            came.passage = Passage::In(packet.verdict);
            self.give(now, packet.port, came);
            let leaves_by = match packet.verdict {
                Verdict::Forward(port) => port,
                Verdict::Reply => packet.port,
                Verdict::Deliver | Verdict::Drop(_) | Verdict::HandOff(_) | Verdict::Hold => {
                    continue;
                }
            };
            self.take(now, leaves_by, frame, Passage::Out);
        }
    }

    /// Takes a frame that the director originated.
    pub(crate) fn originated(&mut self, now: Now, port: PortId, frame: &[u8]) {
        // It was never dropped.
        if self
            .filter
            .wants(None, Ends::of(frame), Verdict::Forward(port))
        {
            self.take(now, port, frame, Passage::Originated);
        }
    }

    /// Says whether anything was taken since this was last asked.
    pub(crate) fn took(&mut self) -> bool {
        std::mem::take(&mut self.took)
    }

    fn take(&mut self, now: Now, port: PortId, frame: &[u8], passage: Passage) {
        let Ok(mut taken) = self.empty.try_recv() else {
            return self.miss();
        };
        taken.fill(frame);
        taken.passage = passage;
        self.give(now, port, taken);
    }

    fn miss(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }

    fn give(&mut self, now: Now, port: PortId, mut taken: Taken) {
        (taken.at, taken.port, taken.worker) = (now, port, self.worker);
        self.took = true;
        // There is room for all that ever were empty.
        let _ = self.full.try_send(taken);
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;
    use weir_model::DropReason;
    use weir_wire::FrameBuf;

    use super::*;
    use crate::capture::filter::Dropped;

    /// Walks a burst of frames with a tap that has so much room, and returns what it took.
    fn walk(filter: Filter, room: usize, verdicts: &[Verdict]) -> (Vec<Taken>, u64) {
        let (put, empty) = bounded(room);
        let (full, taken) = bounded(room);
        for _ in 0..room {
            put.send(Taken::empty()).unwrap();
        }
        let missed = Arc::new(AtomicU64::new(0));
        let mut tap = Tap::new(WorkerId(3), filter, empty, full, missed.clone());
        for burst in verdicts.chunks(2) {
            let mut chunks = vec![[0_u8; 256]; burst.len()];
            for (chunk, n) in chunks.iter_mut().zip(1..) {
                chunk[100..160].fill(n);
            }
            let mut packets: Vec<Packet<'_>> = chunks
                .iter_mut()
                .map(|chunk| {
                    let frame = FrameBuf::new(chunk, 100..160).unwrap();
                    Packet::received(frame, PortId(1), false)
                })
                .collect();
            tap.before(&packets);
            for (packet, verdict) in packets.iter_mut().zip(burst) {
                packet.verdict = *verdict;
                packet.frame.bytes_mut().fill(9);
            }
            tap.after(Now::default(), &packets);
        }
        (taken.try_iter().collect(), missed.load(Ordering::Relaxed))
    }

    #[test]
    fn a_frame_is_taken_as_it_came_and_as_it_leaves() {
        let (taken, missed) = walk(Filter::default(), 8, &[Verdict::Forward(PortId(2))]);
        let told: Vec<_> = taken
            .iter()
            .map(|one| (one.passage, one.port, one.bytes[0], one.len))
            .collect();
        assert_eq!(
            told,
            [
                (Passage::In(Verdict::Forward(PortId(2))), PortId(1), 1, 60),
                (Passage::Out, PortId(2), 9, 60)
            ]
        );
        assert_eq!((taken[0].worker, missed), (WorkerId(3), 0));
    }

    #[test]
    fn unwanted_frames_use_no_room_and_wanted_ones_without_room_are_counted() {
        let dropped = Verdict::Drop(DropReason::NoSession);
        let filter = Filter {
            dropped: Some(Dropped::Any),
            ..Filter::default()
        };
        let verdicts = [
            Verdict::Hold,
            Verdict::Hold,
            Verdict::Hold,
            dropped,
            dropped,
            dropped,
        ];
        let (taken, missed) = walk(filter, 2, &verdicts);
        let came: Vec<_> = taken.iter().map(|one| one.bytes[0]).collect();
        assert_eq!((came, missed), (vec![2, 1], 1), "each with its own bytes");
    }
}
