//! The frames of a worker: from a ring into a burst, through the director, to where its verdict
//! says.

use std::io;
use std::ops::Range;

use arrayvec::ArrayVec;
use netmap_io::{Burst, ChecksumState, Frame, FramePool, Packets, Port, PortStats};
use weir_director::{Director, Packet, Source};
use weir_model::{Now, PortId, Verdict};
use weir_wire::FrameBuf;

use crate::capture::Tap;
use crate::failure;
use crate::handoff::{HEAD_ROOM, HandOff};

/// The largest burst that a worker can take.
pub(crate) const MOST_FRAMES: usize = 256;

/// The packet memory, the ports and the hand-off rings of one worker.
pub(crate) struct Frames {
    pool: FramePool,
    ports: Vec<OpenPort>,
    /// The place in `ports` of each port, by its id.
    places: Vec<Option<usize>>,
    hand_off: HandOff,
    burst: Burst,
    /// The ports on which the frames of the burst came in.
    origins: ArrayVec<PortId, MOST_FRAMES>,
    /// Somebody captures.
    tap: Option<Box<Tap>>,
}

struct OpenPort {
    id: PortId,
    port: Box<dyn Port>,
    stats: PortStats,
    health: Health,
}

/// Whether the last flush went well, and whether control knows.
#[derive(Debug)]
enum Health {
    Good,
    /// It changed: control must be told. None: it is good again.
    Changed(Option<io::Error>),
    Bad,
}

impl Frames {
    /// Takes ownership of a worker's ports and memory.
    pub(crate) fn new(
        pool: FramePool,
        ports: Vec<(PortId, Box<dyn Port>)>,
        hand_off: HandOff,
        burst: usize,
    ) -> Self {
        let bound = ports
            .iter()
            .map(|(id, _)| id.index() + 1)
            .max()
            .unwrap_or_default();
        let mut places = vec![None; bound];
        for (place, (id, _)) in ports.iter().enumerate() {
            if let Some(entry) = places.get_mut(id.index()) {
                *entry = Some(place);
            }
        }
        let ports = ports
            .into_iter()
            .map(|(id, mut port)| {
                // The director knows them, and ports that do not take them get their packets.
                port.keep_super_frames();
                OpenPort {
                    id,
                    port,
                    stats: PortStats::default(),
                    health: Health::Good,
                }
            })
            .collect();
        Self {
            pool,
            ports,
            places,
            hand_off,
            burst: Burst::with_capacity(burst.clamp(1, MOST_FRAMES)),
            origins: ArrayVec::new(),
            tap: None,
        }
    }

    /// Copies frames by a tap from now on, or no longer, and returns the one of before.
    pub(crate) fn tap(&mut self, tap: Option<Box<Tap>>) -> Option<Box<Tap>> {
        std::mem::replace(&mut self.tap, tap)
    }

    /// Says whether a tap has taken something since this was last asked.
    pub(crate) fn captured(&mut self) -> bool {
        self.tap.as_mut().is_some_and(|tap| tap.took())
    }

    /// Returns the number of ports.
    pub(crate) fn port_count(&self) -> usize {
        self.ports.len()
    }

    /// Returns the number of workers that may hand frames over.
    pub(crate) fn hand_off_sources(&self) -> usize {
        self.hand_off.sources()
    }

    /// Says whether another worker has handed something over.
    pub(crate) fn is_handed_in(&self) -> bool {
        self.hand_off.is_waiting()
    }

    /// Takes a burst out of a port's receive ring and returns its length.
    #[inline]
    pub(crate) fn receive(&mut self, place: usize) -> usize {
        let Some(open) = self.ports.get_mut(place) else {
            return 0;
        };
        let count = open.port.rx(&mut self.pool, &mut self.burst);
        self.origins.clear();
        self.origins
            .extend(std::iter::repeat_n(open.id, count.min(MOST_FRAMES)));
        count
    }

    /// Takes a burst out of another worker's hand-off ring and returns its length.
    #[inline]
    pub(crate) fn take_handed_in(&mut self, source: usize) -> usize {
        self.origins.clear();
        while self.burst.room() > 0 {
            let Some((port, frame)) = self.hand_off.pop(source, &mut self.pool) else {
                break;
            };
            if let Err(frame) = self.burst.push(frame) {
                self.pool.free(frame);
                break;
            }
            self.origins.push(port);
        }
        self.burst.len()
    }

    /// Lets the director judge the frames of the burst and carries out what it says; returns how
    /// many there were. `crashed` is shown each frame that the director failed in.
    #[inline]
    pub(crate) fn walk(
        &mut self,
        director: &mut Director,
        now: Now,
        source: Source,
        crashed: &mut dyn FnMut(PortId, &[u8]),
    ) -> usize {
        // Both lists are filled where they stand: moving them would cost more than a short burst.
        let mut outcomes = ArrayVec::<(Verdict, Range<usize>), MOST_FRAMES>::new();
        {
            let mut packets = ArrayVec::<Packet<'_>, MOST_FRAMES>::new();
            let frames = self.burst.frames_mut().iter_mut();
            // A frame's range always lies in its chunk, so none is left out.
            packets.extend(
                frames
                    .zip(&self.origins)
                    .filter_map(|(frame, port)| packet(frame, *port, source)),
            );
            if let Some(tap) = &mut self.tap {
                tap.before(&packets);
            }
            while failure::in_packet(|| director.process(now, &mut packets)).is_err() {
                let Some(at) = director.recover(now, &mut packets) else {
                    failure::die("the director failed outside of a packet");
                };
                if let (Some(packet), Some(port)) = (packets.get(at), self.origins.get(at)) {
                    crashed(*port, packet.frame.bytes());
                }
            }
            if let Some(tap) = &mut self.tap {
                tap.after(now, &packets);
            }
            outcomes.extend(
                packets
                    .iter()
                    .map(|packet| (packet.verdict, packet.frame.range())),
            );
        }
        // What the director originated for these packets goes ahead of them: an ACK that carries
        // the client's address must arrive before the segment that had no room for it.
        self.originate(director, now, MOST_FRAMES);
        let mut exits = Exits {
            pool: &mut self.pool,
            ports: &mut self.ports,
            places: &self.places,
            hand_off: &mut self.hand_off,
        };
        let count = self.burst.len();
        for ((mut frame, (verdict, range)), origin) in
            self.burst.drain().zip(&outcomes).zip(&self.origins)
        {
            frame.set_range(range.clone());
            exits.carry_out(director, frame, *verdict, *origin);
        }
        self.hand_off.ring_bells();
        count
    }

    /// Transmits what the director originates, at most so many frames, and returns how many.
    #[inline]
    pub(crate) fn originate(&mut self, director: &mut Director, now: Now, at_most: usize) -> usize {
        for count in 0..at_most {
            if !director.has_originated() {
                return count;
            }
            // Without memory they wait in the director's outbox, which is bounded.
            let Some(mut frame) = self.pool.alloc(FramePool::UMEM) else {
                return count;
            };
            let room = frame.chunk_mut().get_mut(HEAD_ROOM..).unwrap_or_default();
            let Some((port, len)) = director.next_originated(room) else {
                self.pool.free(frame);
                return count;
            };
            frame.set_range(HEAD_ROOM..HEAD_ROOM + len);
            if let Some(tap) = &mut self.tap {
                tap.originated(now, port, frame.bytes());
            }
            let mut exits = Exits {
                pool: &mut self.pool,
                ports: &mut self.ports,
                places: &self.places,
                hand_off: &mut self.hand_off,
            };
            exits.transmit(director, frame, port);
        }
        at_most
    }

    /// Makes the devices send what was queued; once per turn.
    #[inline]
    pub(crate) fn flush(&mut self) {
        for open in &mut self.ports {
            open.flush(&mut self.pool);
        }
    }

    /// Returns the next port that began to fail, with the error, or that works again.
    pub(crate) fn next_failure(&mut self) -> Option<(PortId, Option<io::Error>)> {
        let open = self
            .ports
            .iter_mut()
            .find(|open| matches!(open.health, Health::Changed(_)))?;
        let Health::Changed(error) = std::mem::replace(&mut open.health, Health::Good) else {
            return None;
        };
        if error.is_some() {
            open.health = Health::Bad;
        }
        Some((open.id, error))
    }

    /// Asks the drivers for their statistics.
    pub(crate) fn refresh_port_stats(&mut self) {
        for open in &mut self.ports {
            open.stats = open.port.stats();
        }
    }

    /// Returns the statistics of the last refresh, in the order of the ports.
    pub(crate) fn port_stats(&self) -> impl Iterator<Item = &PortStats> {
        self.ports.iter().map(|open| &open.stats)
    }

    #[cfg(test)]
    pub(crate) fn pool(&self) -> &FramePool {
        &self.pool
    }
}

impl OpenPort {
    #[inline]
    fn flush(&mut self, pool: &mut FramePool) {
        match (self.port.flush(pool), &self.health) {
            (Ok(()), Health::Good) | (Err(_), Health::Bad | Health::Changed(_)) => {}
            (Ok(()), Health::Bad | Health::Changed(_)) => self.health = Health::Changed(None),
            (Err(error), Health::Good) => self.health = Health::Changed(Some(error)),
        }
    }

    /// Puts a frame into the transmit ring, or gives it back.
    #[inline]
    fn transmit(&mut self, pool: &mut FramePool, frame: Frame) -> Result<(), Frame> {
        let Err(frame) = self.port.tx(pool, frame) else {
            return Ok(());
        };
        // Sending what is queued and taking back what was sent may make room.
        self.flush(pool);
        self.port.tx(pool, frame)
    }

    /// Puts the packets of a super-frame into the transmit ring. Where one finds no room the rest is
    /// not sent either, and the super-frame is given back: it counts as one that was not transmitted.
    #[cold]
    fn transmit_packets(&mut self, pool: &mut FramePool, whole: Frame) -> Result<(), Frame> {
        let Some(mut packets) = Packets::of(&whole) else {
            // Something else was written over it.
            return self.transmit(pool, whole);
        };
        while !packets.is_done() {
            let packet = packets.next(pool).or_else(|| {
                // Chunks come back where the device has sent what is queued.
                self.flush(pool);
                packets.next(pool)
            });
            let Some(packet) = packet else {
                return Err(whole);
            };
            if let Err(packet) = self.transmit(pool, packet) {
                pool.free(packet);
                return Err(whole);
            }
        }
        pool.free(whole);
        Ok(())
    }
}

/// The ways out of a worker.
struct Exits<'a> {
    pool: &'a mut FramePool,
    ports: &'a mut [OpenPort],
    places: &'a [Option<usize>],
    hand_off: &'a mut HandOff,
}

impl Exits<'_> {
    #[inline]
    fn carry_out(&mut self, director: &mut Director, frame: Frame, verdict: Verdict, from: PortId) {
        match verdict {
            Verdict::Forward(port) => self.transmit(director, frame, port),
            Verdict::Reply => self.transmit(director, frame, from),
            Verdict::Deliver => self.deliver(director, frame, from),
            Verdict::Drop(_) | Verdict::Hold => self.pool.free(frame),
            Verdict::HandOff(worker) => {
                if !self.hand_off.push(worker, from, &frame) {
                    director.not_handed_over();
                }
                self.pool.free(frame);
            }
        }
    }

    #[inline]
    fn transmit(&mut self, director: &mut Director, frame: Frame, to: PortId) {
        let Some(open) = open_port(self.ports, self.places, to) else {
            director.not_transmitted();
            return self.pool.free(frame);
        };
        let sent = if frame.segment_size() > 0 && !open.port.takes_super_frames() {
            open.transmit_packets(self.pool, frame)
        } else {
            open.transmit(self.pool, frame)
        };
        if let Err(frame) = sent {
            director.not_transmitted();
            self.pool.free(frame);
        }
    }

    fn deliver(&mut self, director: &mut Director, frame: Frame, from: PortId) {
        let Some(open) = open_port(self.ports, self.places, from) else {
            director.not_delivered();
            return self.pool.free(frame);
        };
        if let Err(frame) = open.port.deliver(self.pool, frame) {
            director.not_delivered();
            self.pool.free(frame);
        }
    }
}

#[inline]
fn open_port<'a>(
    ports: &'a mut [OpenPort],
    places: &[Option<usize>],
    id: PortId,
) -> Option<&'a mut OpenPort> {
    let place = places.get(id.index()).copied().flatten()?;
    ports.get_mut(place)
}

#[inline]
fn packet(frame: &mut Frame, port: PortId, source: Source) -> Option<Packet<'_>> {
    let range = frame.range();
    let maybe_partial = match frame.checksum() {
        ChecksumState::Unknown => true,
        // What is known to be partial is completed where it leaves.
        ChecksumState::Good | ChecksumState::Partial => false,
    };
    let segment_size = frame.segment_size();
    let bytes = FrameBuf::new(frame.chunk_mut(), range)?;
    let mut packet = match source {
        Source::Wire => Packet::received(bytes, port, maybe_partial),
        // The director of the other worker has completed its checksum.
        Source::HandedIn => Packet::handed_in(bytes, port),
    };
    packet.segment_size = segment_size;
    Some(packet)
}
