//! A packet of a burst: the frame, where it came from, and what is to become of it.

use weir_model::{DropReason, PortId, Verdict};
use weir_wire::FrameBuf;

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
            verdict: Verdict::Drop(DropReason::Internal),
        }
    }
}
