//! Packet memory of one worker: regions of equal chunks and the lists of free ones.

use std::num::NonZeroUsize;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};

use crate::af_xdp::UmemShares;
use crate::{Frame, RegionId};

/// Says why packet memory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The kernel gave no memory.
    #[error("cannot map {bytes} bytes of packet memory: {cause}")]
    Map {
        /// How much was asked for.
        bytes: usize,
        /// What the kernel said.
        cause: nix::Error,
    },
    /// A pool holds at most 255 regions.
    #[error("a worker can use at most 255 memory regions")]
    TooManyRegions,
}

/// The packet memory of one worker.
///
/// Region 0 is an anonymous mapping that AF_XDP ports register as their UMEM; a netmap port adds
/// its own region. Mappings are never undone: a frame is then a plain owner of its chunk, and no
/// reference is counted per packet.
#[derive(Debug, Default)]
pub struct FramePool {
    regions: Vec<Region>,
    /// The region of the chunks for super-frames, where a port has asked for it.
    large: Option<RegionId>,
    umem_shares: UmemShares,
}

#[derive(Debug)]
struct Region {
    base: NonNull<u8>,
    chunk_len: u32,
    chunks: u32,
    /// Chunks that belong to this pool's owner right now, given out or not (netmap lends a few).
    owned: u32,
    free: Vec<u32>,
}

// SAFETY: `base` is a mapping that lives until the process ends; the free list says which chunks
// this pool may hand out, and the pool is owned by one thread at a time.
unsafe impl Send for Region {}

impl FramePool {
    /// The default chunk: one page half, which every AF_XDP device accepts.
    pub const CHUNK_LEN: u32 = 2048;

    /// The region that every pool made by [`with_umem`](Self::with_umem) has.
    pub const UMEM: RegionId = RegionId(0);

    /// A chunk for a super-frame: head room, and an Ethernet frame with the longest IP packet.
    pub const LARGE_LEN: u32 = 68 << 10;

    /// How many of them a pool has: what a burst of super-frames may take. Memory that was never
    /// written to is not resident, and the chunk given back last is taken first.
    pub const LARGE_CHUNKS: u32 = 64;

    /// Makes a pool whose region 0 holds `chunks` chunks of `chunk_len` bytes.
    ///
    /// # Errors
    /// When the kernel gives no memory.
    pub fn with_umem(chunks: u32, chunk_len: u32) -> Result<Self, PoolError> {
        let bytes = chunks as usize * chunk_len as usize;
        let base = map(bytes)?;
        // Huge pages are a matter of speed only, so a refusal is not an error.
        // SAFETY: the range is the mapping made above.
        let _ = unsafe { madvise(base, bytes, MmapAdvise::MADV_HUGEPAGE) };
        let mut pool = Self::default();
        let free = (0..chunks).rev().collect();
        pool.regions.push(Region {
            base: base.cast(),
            chunk_len,
            chunks,
            owned: chunks,
            free,
        });
        Ok(pool)
    }

    /// Adds the chunks for super-frames; once is enough.
    ///
    /// # Errors
    /// When the kernel gives no memory.
    pub fn add_large(&mut self) -> Result<(), PoolError> {
        if self.large.is_some() {
            return Ok(());
        }
        let (chunks, chunk_len) = (Self::LARGE_CHUNKS, Self::LARGE_LEN);
        let base = map(chunks as usize * chunk_len as usize)?.cast();
        // SAFETY: the mapping was made for this region, has room for all chunks and is never undone.
        let region =
            unsafe { self.add_region(base, chunk_len, chunks, (0..chunks).rev().collect()) };
        self.large = Some(region?);
        Ok(())
    }

    /// Takes a free chunk for a super-frame; none when all are in use.
    #[inline]
    pub fn alloc_large(&mut self) -> Option<Frame> {
        self.alloc(self.large?)
    }

    /// Returns the region of the chunks for super-frames, where there is one.
    #[must_use]
    pub fn large(&self) -> Option<RegionId> {
        self.large
    }

    /// Adds a region of memory that a driver mapped, of which the pool owns the chunks in `free`.
    ///
    /// # Safety
    /// `base` must point to `chunks * chunk_len` bytes that stay mapped until the process ends,
    /// and nobody else may own the chunks listed in `free`.
    pub(crate) unsafe fn add_region(
        &mut self,
        base: NonNull<u8>,
        chunk_len: u32,
        chunks: u32,
        free: Vec<u32>,
    ) -> Result<RegionId, PoolError> {
        let id = u8::try_from(self.regions.len()).map_err(|_| PoolError::TooManyRegions)?;
        let owned = free.len() as u32;
        // Freed chunks come back here, so the list must hold all of them without growing.
        let mut list = Vec::with_capacity(chunks as usize);
        list.extend(free);
        self.regions.push(Region {
            base,
            chunk_len,
            chunks,
            owned,
            free: list,
        });
        Ok(RegionId(id))
    }

    /// Makes the pool the owner of more chunks of `region`, which nobody else may own.
    pub(crate) fn adopt(&mut self, region: RegionId, chunks: &[u32]) {
        let Some(region) = self.regions.get_mut(region.0 as usize) else {
            return;
        };
        region.owned += chunks.len() as u32;
        region.free.extend(chunks);
    }

    /// Takes a free chunk of `region`; none when all are in use.
    #[inline]
    pub fn alloc(&mut self, region: RegionId) -> Option<Frame> {
        let index = self.regions.get_mut(region.0 as usize)?.free.pop()?;
        self.claim(region, index)
    }

    /// Gives a chunk back.
    #[inline]
    #[expect(
        clippy::needless_pass_by_value,
        reason = "giving the chunk back ends the frame"
    )]
    pub fn free(&mut self, frame: Frame) {
        self.give_back(frame.region(), frame.index());
    }

    /// Returns the number of free chunks in `region`.
    #[must_use]
    pub fn available(&self, region: RegionId) -> usize {
        self.regions
            .get(region.0 as usize)
            .map_or(0, |r| r.free.len())
    }

    /// Returns the number of chunks of `region` that frames, rings or the kernel hold.
    #[must_use]
    pub fn outstanding(&self, region: RegionId) -> usize {
        self.regions
            .get(region.0 as usize)
            .map_or(0, |r| (r.owned as usize).saturating_sub(r.free.len()))
    }

    /// Returns the start and the size in bytes of `region`, for registering it with the kernel.
    #[must_use]
    pub fn mapping(&self, region: RegionId) -> Option<(NonNull<u8>, usize)> {
        let region = self.regions.get(region.0 as usize)?;
        Some((
            region.base,
            region.chunks as usize * region.chunk_len as usize,
        ))
    }

    /// Returns the size of a chunk of `region` in bytes.
    #[must_use]
    pub fn chunk_len(&self, region: RegionId) -> Option<u32> {
        self.regions.get(region.0 as usize).map(|r| r.chunk_len)
    }

    /// Returns the AF_XDP sockets that use region 0.
    pub(crate) fn umem_shares(&mut self) -> &mut UmemShares {
        &mut self.umem_shares
    }

    /// Takes a chunk's number out of the free list without making a frame, for a ring that hands
    /// it to the kernel.
    #[inline]
    pub(crate) fn lend(&mut self, region: RegionId) -> Option<u32> {
        self.regions.get_mut(region.0 as usize)?.free.pop()
    }

    /// Puts a chunk that the kernel gave back on the free list.
    #[inline]
    pub(crate) fn give_back(&mut self, region: RegionId, index: u32) {
        let Some(region) = self.regions.get_mut(region.0 as usize) else {
            return;
        };
        debug_assert!(index < region.chunks, "chunk {index} is not in the region");
        // The list was made for all chunks of the region, so this never allocates.
        region.free.push(index);
    }

    /// Makes the frame for a chunk that was lent and has come back filled.
    #[inline]
    pub(crate) fn claim(&self, region: RegionId, index: u32) -> Option<Frame> {
        let r = self.regions.get(region.0 as usize)?;
        if index >= r.chunks {
            return None;
        }
        // SAFETY: `index` is below `chunks`, so the offset stays inside the mapping.
        let chunk = unsafe { r.base.add(index as usize * r.chunk_len as usize) };
        // SAFETY: the chunk was taken off the free list and is owned by no ring any more.
        Some(unsafe { Frame::from_raw(chunk, r.chunk_len, index, region) })
    }
}

/// Maps memory that is resident once it is written to.
fn map(bytes: usize) -> Result<NonNull<core::ffi::c_void>, PoolError> {
    let length = NonZeroUsize::new(bytes).ok_or(PoolError::Map {
        bytes,
        cause: nix::Error::EINVAL,
    })?;
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing of ours.
    unsafe {
        mmap_anonymous(
            None,
            length,
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
            MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE,
        )
    }
    .map_err(|cause| PoolError::Map { bytes, cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_chunk_can_be_taken_again_and_none_is_handed_out_twice() {
        let mut pool = FramePool::with_umem(2, 2048).unwrap();
        let a = pool.alloc(FramePool::UMEM).unwrap();
        let b = pool.alloc(FramePool::UMEM).unwrap();
        assert_ne!(a.index(), b.index());
        assert!(pool.alloc(FramePool::UMEM).is_none());
        assert_eq!(pool.outstanding(FramePool::UMEM), 2);
        let index = a.index();
        pool.free(a);
        assert_eq!(pool.alloc(FramePool::UMEM).unwrap().index(), index);
        pool.free(b);
    }

    #[test]
    fn chunks_for_super_frames_hold_the_longest_and_are_counted_apart() {
        let mut pool = FramePool::with_umem(1, 2048).unwrap();
        assert!(pool.alloc_large().is_none());
        pool.add_large().unwrap();
        pool.add_large().unwrap();
        let region = pool.large().unwrap();
        assert_eq!(pool.available(region), FramePool::LARGE_CHUNKS as usize);
        let mut frame = pool.alloc_large().unwrap();
        assert!(frame.set_range(256..256 + 22 + 65_535));
        frame.bytes_mut().fill(7);
        assert_eq!(
            (pool.outstanding(region), pool.outstanding(FramePool::UMEM)),
            (1, 0)
        );
        pool.free(frame);
        assert_eq!(pool.outstanding(region), 0);
    }

    #[test]
    fn a_range_outside_the_chunk_is_refused() {
        let mut pool = FramePool::with_umem(1, 2048).unwrap();
        let mut frame = pool.alloc(FramePool::UMEM).unwrap();
        assert!(frame.set_range(256..2048));
        assert!(!frame.set_range(256..2049));
        assert_eq!(frame.len(), 1792);
        frame.bytes_mut().fill(7);
        assert!(frame.bytes().iter().all(|&b| b == 7));
        pool.free(frame);
    }
}
