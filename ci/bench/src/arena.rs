//! The memory of one burst: chunks as a driver has them, and the packets in them.

use anyhow::{Context as _, Result};
use arrayvec::ArrayVec;
use weir_director::Packet;
use weir_model::PortId;
use weir_wire::FrameBuf;

/// Packets in a burst.
pub(crate) const BURST: usize = 64;
/// Bytes of a chunk.
const CHUNK: usize = 2048;
/// Bytes before the frame, as drivers leave them.
const HEAD: usize = 256;
/// What drivers align their chunks to.
const PAGE: usize = 4096;

/// A burst of packets.
pub(crate) type Packets<'a> = ArrayVec<Packet<'a>, BURST>;

/// The chunks of one burst.
pub(crate) struct Arena {
    memory: Vec<u8>,
    /// Where in `memory` the first page begins.
    start: usize,
    /// The port and the length of each frame.
    frames: ArrayVec<(PortId, usize), BURST>,
}

impl Arena {
    pub(crate) fn new() -> Self {
        let memory = vec![0; CHUNK * BURST + PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        Self {
            memory,
            start,
            frames: ArrayVec::new(),
        }
    }

    /// Takes all frames out.
    pub(crate) fn clear(&mut self) {
        self.frames.clear();
    }

    /// Copies a frame that arrived on `port` into the next chunk and returns it there, for changes.
    pub(crate) fn add(&mut self, port: PortId, frame: &[u8]) -> Result<&mut [u8]> {
        let at = self.start + self.frames.len() * CHUNK + HEAD;
        let added = self.frames.try_push((port, frame.len()));
        added.ok().context("a burst is full")?;
        let chunk = self.memory.get_mut(at..at + frame.len());
        let chunk = chunk.context("a frame is too long")?;
        chunk.copy_from_slice(frame);
        Ok(chunk)
    }

    /// Returns the burst.
    pub(crate) fn packets(&mut self) -> Packets<'_> {
        let chunks = self.memory.get_mut(self.start..).unwrap_or_default();
        let chunks = chunks.chunks_exact_mut(CHUNK).zip(&self.frames);
        let packets = chunks.filter_map(|(chunk, &(port, len))| {
            let frame = FrameBuf::new(chunk, HEAD..HEAD + len)?;
            Some(Packet::received(frame, port, false))
        });
        packets.collect()
    }
}
