//! Memory that the kernel maps into ours and writes on its own: packet rings.

use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU32};

use nix::errno::Errno;
#[cfg(test)]
use nix::sys::mman::mmap_anonymous;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A mapping shared with the kernel, read and written through checked offsets.
///
/// Control words are atomics, so that the kernel may write them at any time; frames are slices,
/// which the ring's protocol must have given to us.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    base: NonNull<u8>,
    len: usize,
    unmap: bool,
}

// SAFETY: the mapping belongs to this value alone, and its users go through `&self` atomics or
// through ranges that their ring's protocol gives to one thread.
unsafe impl Send for SharedMemory {}

// SAFETY: `&self` gives atomics, and slices only to callers who say that the range is theirs.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Maps `len` bytes of a descriptor; they are unmapped when the value is dropped.
    pub(crate) fn map(fd: impl AsFd, len: usize) -> Result<Self, Errno> {
        let length = NonZeroUsize::new(len).ok_or(Errno::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, 0) }?;
        Ok(Self {
            base: base.cast(),
            len,
            unmap: true,
        })
    }

    /// Maps `len` zeroed bytes of nobody else's, for a model of the kernel's side.
    #[cfg(test)]
    pub(crate) fn anonymous(len: usize) -> Result<Self, Errno> {
        let length = NonZeroUsize::new(len).ok_or(Errno::EINVAL)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) }?;
        Ok(Self {
            base: base.cast(),
            len,
            unmap: true,
        })
    }

    /// Leaves the mapping in place until the process ends, because frames point into it.
    pub(crate) fn leak(mut self) -> Self {
        self.unmap = false;
        self
    }

    /// Returns a second view of a mapping that stays until the process ends.
    pub(crate) fn alias(&self) -> Option<Self> {
        (!self.unmap).then_some(Self {
            base: self.base,
            len: self.len,
            unmap: false,
        })
    }

    /// Returns the address of offset `at`, where it lies in the mapping.
    pub(crate) fn at(&self, at: usize) -> Option<NonNull<u8>> {
        self.place(at, 0, 1)
    }

    /// Returns the number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns `len` bytes at `at`, where they lie in the mapping.
    ///
    /// # Safety
    /// The ring's protocol must have given these bytes to the caller until the slice is gone.
    pub(crate) unsafe fn bytes(&self, at: usize, len: usize) -> Option<&[u8]> {
        let start = self.place(at, len, 1)?;
        // SAFETY: `place` checked the range, and the caller says that nobody writes it.
        Some(unsafe { std::slice::from_raw_parts(start.as_ptr(), len) })
    }

    /// Returns `len` bytes at `at` for writing, where they lie in the mapping.
    ///
    /// # Safety
    /// The ring's protocol must have given these bytes to the caller alone until the slice is gone.
    #[cfg(test)]
    #[expect(
        clippy::mut_from_ref,
        reason = "the ring's protocol gives the range away, not Rust"
    )]
    pub(crate) unsafe fn bytes_mut(&self, at: usize, len: usize) -> Option<&mut [u8]> {
        let start = self.place(at, len, 1)?;
        // SAFETY: `place` checked the range, and the caller says that nobody else uses it.
        Some(unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) })
    }

    /// Returns the 16-bit word at `at`.
    pub(crate) fn word16(&self, at: usize) -> Option<&AtomicU16> {
        let word = self.place(at, 2, 2)?;
        // SAFETY: `place` checked range and alignment, and an atomic may be shared with anyone.
        Some(unsafe { AtomicU16::from_ptr(word.as_ptr().cast()) })
    }

    /// Returns the 32-bit word at `at`.
    pub(crate) fn word32(&self, at: usize) -> Option<&AtomicU32> {
        let word = self.place(at, 4, 4)?;
        // SAFETY: as in `word16`.
        Some(unsafe { AtomicU32::from_ptr(word.as_ptr().cast()) })
    }

    /// Returns the signed 64-bit word at `at`.
    pub(crate) fn word64(&self, at: usize) -> Option<&AtomicI64> {
        let word = self.place(at, 8, 8)?;
        // SAFETY: as in `word16`.
        Some(unsafe { AtomicI64::from_ptr(word.as_ptr().cast()) })
    }

    fn place(&self, at: usize, len: usize, align: usize) -> Option<NonNull<u8>> {
        let end = at.checked_add(len)?;
        if end > self.len || !at.is_multiple_of(align) {
            return None;
        }
        // SAFETY: `at` lies in the mapping, which begins at a page.
        Some(unsafe { self.base.add(at) })
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        if self.unmap {
            // SAFETY: the mapping is ours, and every slice of it borrowed this value.
            let _ = unsafe { munmap(self.base.cast(), self.len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn what_lies_outside_or_askew_is_refused() {
        let memory = SharedMemory::anonymous(4096).unwrap();
        memory.word32(4092).unwrap().store(7, Relaxed);
        assert_eq!(memory.word16(4092).unwrap().load(Relaxed), 7);
        assert!(memory.word32(4096).is_none());
        assert!(memory.word32(4093).is_none());
        assert!(memory.word64(usize::MAX - 3).is_none());
        // SAFETY: the mapping is this test's own.
        assert!(unsafe { memory.bytes(4000, 97) }.is_none());
        // SAFETY: the mapping is this test's own.
        assert_eq!(unsafe { memory.bytes(4092, 4) }.unwrap().len(), 4);
    }
}
