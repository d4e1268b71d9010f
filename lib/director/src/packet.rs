//! A packet of a burst: the frame, where it came from, and what is to become of it.

use weir_model::{DropReason, PortId, Verdict};
use weir_wire::{FrameBuf, V4, verify_frame};

/// Says how a packet reached this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Out of a receive ring.
    Wire,
    /// From another worker, which found that this one owns its session.
    HandedIn,
}

/// One packet of a burst.
#[derive(Debug)]
pub struct Packet<'a> {
    /// The frame; after the walk, as it is to be sent.
    pub frame: FrameBuf<'a>,
    /// The port it came in on.
    pub port: PortId,
    /// How it reached this worker.
    pub source: Source,
    /// Whether its transport checksum may be a pseudo-header sum only, as virtual peers leave it.
    pub maybe_partial: bool,
    /// How much payload each packet but the last carries where the frame is a super-frame: a TCP
    /// segment that whoever transmits it cuts, and whose checksum counts for nothing until then.
    /// Zero for one packet.
    pub segment_size: u16,
    /// What is to become of it, after the walk.
    pub verdict: Verdict,
}

impl<'a> Packet<'a> {
    /// Makes a packet that was received on `port`.
    #[must_use]
    pub const fn received(frame: FrameBuf<'a>, port: PortId, maybe_partial: bool) -> Self {
        Self {
            frame,
            port,
            source: Source::Wire,
            maybe_partial,
            segment_size: 0,
            verdict: Verdict::Drop(DropReason::Internal),
        }
    }

    /// Makes a packet that another worker received on `port` and handed over.
    #[must_use]
    pub const fn handed_in(frame: FrameBuf<'a>, port: PortId) -> Self {
        Self {
            frame,
            port,
            source: Source::HandedIn,
            maybe_partial: false,
            segment_size: 0,
            verdict: Verdict::Drop(DropReason::Internal),
        }
    }

    /// Asks for the headers, so that the walk need not wait for them.
    #[inline]
    pub(crate) fn prefetch(&self) {
        const TIMESTAMPS: usize = 60;
        let bytes = self.frame.bytes();
        weir_simd::prefetch_index(bytes, 0);
        weir_simd::prefetch_index(bytes, TIMESTAMPS);
    }

    /// Says by how much a super-frame is longer than the longest packet that it stands for.
    #[inline]
    pub(crate) fn surplus(&self, v4: &V4) -> u16 {
        if self.segment_size == 0 {
            return 0;
        }
        let payload = v4.tcp().map_or(0, |tcp| tcp.payload_len);
        payload.saturating_sub(self.segment_size)
    }

    /// Returns how much of a payload can be taken where only `room` bytes can: all of it or nothing,
    /// and of a super-frame as many packets as fit.
    pub(crate) fn fitting(&self, payload: u16, room: usize) -> u16 {
        match u16::try_from(room) {
            Ok(room) if room < payload => {
                room - room.checked_rem(self.segment_size).unwrap_or(room)
            }
            Ok(_) | Err(_) => payload,
        }
    }

    /// Says whether the checksums are right; the kernel has seen to that of a super-frame.
    pub(crate) fn is_intact(&self) -> bool {
        self.segment_size > 0 || verify_frame(self.frame.bytes()).is_ok()
    }
}
