//! A frame: the one owner of one chunk of packet memory.

use std::ops::Range;
use std::ptr::NonNull;

/// Names the memory region of a [`FramePool`](crate::FramePool) that a frame's chunk belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionId(pub u8);

/// Says what the receiving device knows of the transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ChecksumState {
    /// Nothing is known; a virtual peer may have left the pseudo-header sum only.
    #[default]
    Unknown,
    /// The device verified it.
    Good,
    /// The kernel vouches for the packet, and whoever transmits it computes the checksum
    /// (`CHECKSUM_PARTIAL`): what stands in the field counts for nothing.
    Partial,
}

/// Owns one chunk of packet memory and knows which bytes of it are the Ethernet frame.
///
/// A frame goes back to its pool with [`FramePool::free`](crate::FramePool::free) or out with
/// [`Port::tx`](crate::Port::tx); one that is merely dropped leaks its chunk, which the pool's
/// `outstanding` count shows.
#[derive(Debug)]
#[must_use = "a frame that is neither transmitted nor freed leaks its chunk"]
pub struct Frame {
    chunk: NonNull<u8>,
    chunk_len: u32,
    index: u32,
    start: u32,
    len: u32,
    region: RegionId,
    checksum: ChecksumState,
    /// Zero for one packet.
    segment_size: u16,
}

// SAFETY: a frame is the only handle to its chunk (the pool hands an index out once), and a
// region's mapping lives until the process ends, so the frame may move to another thread.
unsafe impl Send for Frame {}

impl Frame {
    /// Makes the owner of chunk `index`, which begins at `chunk`; only pools and drivers call this.
    ///
    /// # Safety
    /// `chunk` must point to `chunk_len` bytes that stay mapped until the process ends, and no
    /// other frame, ring slot or kernel descriptor may own them while this frame lives.
    pub(crate) unsafe fn from_raw(
        chunk: NonNull<u8>,
        chunk_len: u32,
        index: u32,
        region: RegionId,
    ) -> Self {
        Self {
            chunk,
            chunk_len,
            index,
            start: 0,
            len: 0,
            region,
            checksum: ChecksumState::Unknown,
            segment_size: 0,
        }
    }

    /// Returns the Ethernet frame.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        let range = self.range();
        self.chunk().get(range).unwrap_or_default()
    }

    /// Returns the Ethernet frame for writing.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let range = self.range();
        self.chunk_mut().get_mut(range).unwrap_or_default()
    }

    /// Returns the whole chunk, head room and tail room included; [`range`](Self::range) says
    /// which part of it is the frame.
    pub fn chunk_mut(&mut self) -> &mut [u8] {
        // SAFETY: the frame owns `chunk_len` mapped bytes at `chunk` (see `from_raw`), and `&mut
        // self` makes this the only reference to them.
        unsafe { std::slice::from_raw_parts_mut(self.chunk.as_ptr(), self.chunk_len as usize) }
    }

    /// Asks for the cache lines of the headers, which another core or the device has written, without
    /// waiting for them.
    #[inline]
    pub(crate) fn prefetch_headers(&self) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let first = self.chunk.as_ptr().wrapping_add(self.start as usize);
            for line in [0, 64] {
                // SAFETY: the instruction reads nothing that the program can observe and faults on
                // no address; these lie in the frame's chunk, or just behind it.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(first.wrapping_add(line).cast()) };
            }
        }
    }

    fn chunk(&self) -> &[u8] {
        // SAFETY: as in `chunk_mut`; `&self` excludes a mutable reference.
        unsafe { std::slice::from_raw_parts(self.chunk.as_ptr(), self.chunk_len as usize) }
    }

    /// Returns where in the chunk the Ethernet frame stands.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }

    /// Says which part of the chunk is the Ethernet frame; false, and nothing changed, when the
    /// range does not lie in the chunk.
    pub fn set_range(&mut self, range: Range<usize>) -> bool {
        if range.start > range.end || range.end > self.chunk_len as usize {
            return false;
        }
        self.start = range.start as u32;
        self.len = (range.end - range.start) as u32;
        true
    }

    /// Returns the number of bytes in the Ethernet frame.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Says whether the frame has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the size of the whole chunk in bytes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.chunk_len as usize
    }

    /// Returns the chunk's number in its region.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Returns the region that the chunk belongs to.
    #[must_use]
    pub fn region(&self) -> RegionId {
        self.region
    }

    /// Returns what is known of the transport checksum.
    #[must_use]
    pub fn checksum(&self) -> ChecksumState {
        self.checksum
    }

    /// Notes what is known of the transport checksum.
    pub fn set_checksum(&mut self, state: ChecksumState) {
        self.checksum = state;
    }

    /// Returns how many bytes of payload each packet but the last of a super-frame carries, and
    /// zero for a frame that is one packet.
    #[must_use]
    #[inline]
    pub fn segment_size(&self) -> u16 {
        self.segment_size
    }

    /// Makes the frame a super-frame: one TCP segment that leaves as packets of this much payload,
    /// each with its headers. Only a port that [takes](crate::Port::takes_super_frames) such
    /// frames transmits it, and its checksum is [`Partial`](ChecksumState::Partial).
    pub fn set_segment_size(&mut self, payload: u16) {
        self.segment_size = payload;
        if payload > 0 {
            self.checksum = ChecksumState::Partial;
        }
    }
}
