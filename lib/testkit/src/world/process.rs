//! Frames that go in, and what becomes of each: verdicts are carried out, notices are heard.

use anyhow::{Result, bail, ensure};
use weir_director::{Notice, Packet};
use weir_model::{DropReason, PortId, Verdict};
use weir_wire::{Describe, FrameBuf, Parsed, verify_frame};

use super::{CHUNK, HEADROOM, World};
use crate::l3_offset;

impl World {
    pub(super) fn process(
        &mut self,
        worker: u8,
        burst: &[(PortId, &[u8])],
        handed_in: bool,
        verdicts: &mut Vec<Verdict>,
    ) -> Result<()> {
        let mut chunks: Vec<Vec<u8>> = burst
            .iter()
            .map(|(_, frame)| {
                let mut chunk = vec![0xa5; CHUNK.max(HEADROOM + frame.len() + 64)];
                chunk[HEADROOM..HEADROOM + frame.len()].copy_from_slice(frame);
                chunk
            })
            .collect();
        let mut packets: Vec<Packet<'_>> = Vec::new();
        for ((port, bytes), chunk) in burst.iter().zip(&mut chunks) {
            let Some(frame) = FrameBuf::new(chunk, HEADROOM..HEADROOM + bytes.len()) else {
                bail!("a frame of {} bytes does not fit its chunk", bytes.len());
            };
            packets.push(if handed_in {
                Packet::handed_in(frame, *port)
            } else {
                Packet::received(frame, *port, self.setup.maybe_partial)
            });
        }
        self.directors[usize::from(worker)].process(self.clock.now(), &mut packets);
        let outcomes: Vec<(Verdict, Vec<u8>)> = packets
            .iter()
            .map(|packet| (packet.verdict, packet.frame.bytes().to_vec()))
            .collect();
        self.held_a_bad_one |= burst
            .iter()
            .zip(&outcomes)
            .any(|((_, before), (verdict, _))| *verdict == Verdict::Hold && !is_sound(before));
        // What is originated leaves ahead of the burst, as the worker sends it.
        self.drain_originated(worker)?;
        for ((port, before), (verdict, after)) in burst.iter().zip(outcomes) {
            verdicts.push(verdict);
            self.carry_out(worker, *port, before, verdict, after, handed_in)?;
        }
        self.check_ledgers()
    }

    fn carry_out(
        &mut self,
        worker: u8,
        port: PortId,
        before: &[u8],
        verdict: Verdict,
        after: Vec<u8>,
        handed_in: bool,
    ) -> Result<()> {
        let sound = is_sound(before);
        match verdict {
            Verdict::Forward(to) => {
                check_passage(before, &after)?;
                self.emit(worker, to, after, sound)
            }
            Verdict::Reply => self.emit(worker, port, after, true),
            Verdict::Deliver => {
                ensure!(self.setup.delivers, "delivered although no driver can");
                ensure!(after == before, "a delivered frame was changed");
                self.delivered.push_back((port, after));
                Ok(())
            }
            Verdict::Drop(reason) => {
                ensure!(
                    reason != DropReason::Internal,
                    "dropped for an internal failure: {}",
                    Describe(before)
                );
                Ok(())
            }
            Verdict::HandOff(to) => {
                ensure!(to.0 != worker, "worker {to} hands a frame to itself");
                ensure!(!handed_in, "worker {worker} hands on what was handed to it");
                ensure!(to.0 < self.setup.workers, "handed to worker {to} of none");
                self.process(to.0, &[(port, &after)], true, &mut Vec::new())
            }
            Verdict::Hold => Ok(()),
        }
    }

    pub(super) fn hear(&mut self, from: u8, notice: Notice) {
        match notice {
            Notice::Neighbour { port, address, mac } => {
                let now = self.clock.now();
                for (worker, director) in self.directors.iter_mut().enumerate() {
                    if worker != usize::from(from) {
                        director.learn_neighbour(now, port, address, mac);
                    }
                }
            }
            Notice::Flood { service, active } => {
                self.floods.retain(|known| *known != (from, service));
                if active {
                    self.floods.push((from, service));
                }
                for (worker, director) in self.directors.iter_mut().enumerate() {
                    let others = self
                        .floods
                        .iter()
                        .any(|(own, of)| usize::from(*own) != worker && *of == service);
                    director.set_flood_hint(service, others);
                }
            }
            Notice::Event(event) => self.events.push(event),
        }
    }
}

/// Checks what a frame that passes through keeps, its TTL less one and its DSCP, and that it loses
/// its padding.
fn check_passage(before: &[u8], after: &[u8]) -> Result<()> {
    let (Ok(was), Ok(is)) = (Parsed::parse(before), Parsed::parse(after)) else {
        bail!("forwarded what does not parse: {}", Describe(after));
    };
    let (Some(was4), Some(is4)) = (was.v4(), is.v4()) else {
        bail!("forwarded what is not IPv4: {}", Describe(after));
    };
    ensure!(
        was4.ttl.checked_sub(1) == Some(is4.ttl),
        "the TTL went from {} to {}: {}",
        was4.ttl,
        is4.ttl,
        Describe(after)
    );
    ensure!(
        was4.tos == is4.tos,
        "DSCP or ECN was changed: {}",
        Describe(after)
    );
    ensure!(
        was4.protocol == is4.protocol,
        "the protocol was changed: {}",
        Describe(after)
    );
    ensure!(
        after.len() - l3_offset(after) == usize::from(is4.total_len),
        "bytes behind the packet: {}",
        Describe(after)
    );
    Ok(())
}

/// Says whether a frame's checksums are right, or will be when they are completed.
fn is_sound(frame: &[u8]) -> bool {
    let mut copy = frame.to_vec();
    verify_frame(frame).is_ok()
        || Parsed::parse(frame).is_ok_and(|parsed| {
            weir_wire::complete_partial(&mut copy, &parsed) == weir_wire::verify::Completed::Yes
        })
}
