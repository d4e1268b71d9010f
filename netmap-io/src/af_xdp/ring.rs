//! The four rings that an AF_XDP socket shares with the kernel.
//!
//! A ring is a power of two of slots and two free-running indices. The producer alone writes the
//! producer index, the consumer alone the consumer index; each reads the other's with *acquire*
//! and publishes its own with *release*, so a slot is never read before it was written nor written
//! before it was read.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering, fence};

use nix::errno::Errno;
use nix::libc::c_void;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use std::os::fd::BorrowedFd;

/// Memory that a ring lies in; unmapped when the last user is gone.
#[derive(Debug)]
pub(super) struct RingMemory {
    base: NonNull<c_void>,
    bytes: usize,
}

// SAFETY: the mapping is only reached through `Ring`, which uses atomics for what both sides
// write and lets one owner at a time at a slot.
unsafe impl Send for RingMemory {}
// SAFETY: as above.
unsafe impl Sync for RingMemory {}

impl RingMemory {
    /// Maps the ring that the kernel keeps at `offset` of a socket.
    pub(super) fn of_socket(fd: BorrowedFd, bytes: usize, offset: i64) -> Result<Self, Errno> {
        let length = NonZeroUsize::new(bytes).ok_or(Errno::EINVAL)?;
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe { mmap(None, length, READ_WRITE, flags, fd, offset) }?;
        Ok(Self { base, bytes })
    }

    /// Maps ordinary memory, for a model of the kernel's side.
    #[cfg(test)]
    pub(super) fn ordinary(bytes: usize) -> Result<Self, Errno> {
        let length = NonZeroUsize::new(bytes).ok_or(Errno::EINVAL)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe {
            nix::sys::mman::mmap_anonymous(None, length, READ_WRITE, MapFlags::MAP_PRIVATE)
        }?;
        Ok(Self { base, bytes })
    }

    /// Returns the address of a `T` at `offset` when it lies in the mapping and is aligned.
    fn at<T>(&self, offset: u64, count: usize) -> Option<NonNull<T>> {
        let offset = usize::try_from(offset).ok()?;
        let end = count.checked_mul(size_of::<T>())?.checked_add(offset)?;
        if end > self.bytes {
            return None;
        }
        // SAFETY: `offset` was just checked to lie in the mapping.
        let address = unsafe { self.base.byte_add(offset) }.cast::<T>();
        address.is_aligned().then_some(address)
    }
}

const READ_WRITE: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);

impl Drop for RingMemory {
    fn drop(&mut self) {
        // SAFETY: the rings that lay in the mapping each held it and are gone. The error is of no
        // use to anybody: the process only keeps a few pages more.
        let _ = unsafe { munmap(self.base, self.bytes) };
    }
}

/// Where the parts of a ring stand in its memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) producer: u64,
    pub(super) consumer: u64,
    pub(super) flags: u64,
    pub(super) slots: u64,
    /// A power of two.
    pub(super) len: u32,
}

/// One side's view of a ring.
#[derive(Debug)]
struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<T>,
    mask: u32,
    _memory: Arc<RingMemory>,
}

// SAFETY: the pointers lead into `_memory`, which moves along; a view is used by one thread at a
// time, and the other side is kept out of its slots by the indices.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    fn new(memory: &Arc<RingMemory>, layout: Layout) -> Result<Self, Errno> {
        let Layout {
            producer,
            consumer,
            flags,
            slots,
            len,
        } = layout;
        let parts = (|| {
            Some(Self {
                producer: memory.at(producer, 1)?,
                consumer: memory.at(consumer, 1)?,
                flags: memory.at(flags, 1)?,
                slots: memory.at(slots, len as usize)?,
                mask: len.is_power_of_two().then(|| len - 1)?,
                _memory: memory.clone(),
            })
        })();
        parts.ok_or(Errno::EINVAL)
    }

    fn len(&self) -> u32 {
        self.mask + 1
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: `new` found the place inside the mapping and aligned; both sides use atomics.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.flags.as_ref() }
    }

    fn slot(&self, index: u32) -> NonNull<T> {
        // SAFETY: masked, the index is below the ring's length, and `new` found all slots inside
        // the mapping.
        unsafe { self.slots.add((index & self.mask) as usize) }
    }
}

/// The side that fills slots: we on the fill and transmit rings.
#[derive(Debug)]
pub(super) struct Producer<T> {
    ring: Ring<T>,
    /// The next slot to fill; ahead of the shared index until `submit`.
    head: u32,
    /// The consumer index when it was last read.
    tail: u32,
}

impl<T: Copy> Producer<T> {
    pub(super) fn new(memory: &Arc<RingMemory>, layout: Layout) -> Result<Self, Errno> {
        let ring = Ring::new(memory, layout)?;
        let head = ring.producer().load(Ordering::Relaxed);
        let tail = ring.consumer().load(Ordering::Acquire);
        Ok(Self { ring, head, tail })
    }

    /// Returns how many slots are free, and looks at the other side only when fewer than `wanted`
    /// are known to be.
    #[inline]
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        let known = self.free();
        if known >= wanted {
            return known;
        }
        self.tail = self.ring.consumer().load(Ordering::Acquire);
        self.free()
    }

    /// Fills the next slot; false when none is free.
    #[inline]
    pub(super) fn push(&mut self, value: T) -> bool {
        if self.room(1) == 0 {
            return false;
        }
        let slot = self.ring.slot(self.head);
        // SAFETY: the slot lies between the producer index and the consumer index of the other
        // side, which was read with acquire: it is ours until `submit`.
        unsafe { slot.write(value) };
        self.head = self.head.wrapping_add(1);
        true
    }

    /// Shows the filled slots to the other side.
    #[inline]
    pub(super) fn submit(&mut self) {
        self.ring.producer().store(self.head, Ordering::Release);
    }

    /// Returns how many filled slots the other side has not taken.
    #[inline]
    pub(super) fn pending(&mut self) -> u32 {
        if self.head != self.tail {
            self.tail = self.ring.consumer().load(Ordering::Acquire);
        }
        self.head.wrapping_sub(self.tail)
    }

    /// Says whether the kernel sleeps and must be woken to see what was submitted.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        // The kernel sets the flag and then looks at the ring once more; we submit and then look
        // at the flag. Without a full barrier between, both could miss the other's news.
        fence(Ordering::SeqCst);
        self.ring.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    fn free(&self) -> u32 {
        let used = self.head.wrapping_sub(self.tail);
        self.ring.len().saturating_sub(used)
    }
}

/// The side that empties slots: we on the receive and completion rings.
#[derive(Debug)]
pub(super) struct Consumer<T> {
    ring: Ring<T>,
    /// The next slot to read; ahead of the shared index until `release`.
    tail: u32,
    /// The producer index when it was last read.
    head: u32,
}

impl<T: Copy> Consumer<T> {
    pub(super) fn new(memory: &Arc<RingMemory>, layout: Layout) -> Result<Self, Errno> {
        let ring = Ring::new(memory, layout)?;
        let tail = ring.consumer().load(Ordering::Relaxed);
        Ok(Self {
            ring,
            tail,
            head: tail,
        })
    }

    /// Returns how many slots are filled, and looks at the other side only when none is known to
    /// be.
    #[inline]
    pub(super) fn available(&mut self) -> u32 {
        if self.head == self.tail {
            self.head = self.ring.producer().load(Ordering::Acquire);
        }
        // A sane other side never fills more than there are slots.
        self.head.wrapping_sub(self.tail).min(self.ring.len())
    }

    /// Reads the next slot; none when no slot is filled.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.available() == 0 {
            return None;
        }
        let slot = self.ring.slot(self.tail);
        // SAFETY: the slot lies between our index and the other side's, which was read with
        // acquire: it is filled, and ours until `release`.
        let value = unsafe { slot.read() };
        self.tail = self.tail.wrapping_add(1);
        Some(value)
    }

    /// Gives the read slots back to the other side.
    #[inline]
    pub(super) fn release(&mut self) {
        self.ring.consumer().store(self.tail, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::time::{Duration, Instant};

    const LEN: u32 = 8;

    fn layout(len: u32) -> Layout {
        Layout {
            producer: 0,
            consumer: 64,
            flags: 128,
            slots: 192,
            len,
        }
    }

    /// Makes both ends of one ring whose indices start at `start`.
    fn ends(start: u32) -> (Producer<u64>, Consumer<u64>) {
        let memory = Arc::new(RingMemory::ordinary(4096).unwrap());
        let ring = Ring::<u64>::new(&memory, layout(LEN)).unwrap();
        ring.producer().store(start, Ordering::Relaxed);
        ring.consumer().store(start, Ordering::Relaxed);
        (
            Producer::new(&memory, layout(LEN)).unwrap(),
            Consumer::new(&memory, layout(LEN)).unwrap(),
        )
    }

    #[test]
    fn what_is_not_submitted_is_not_seen_and_what_is_not_released_is_not_reused() {
        let (mut ours, mut kernel) = ends(0);
        assert!(ours.push(7));
        assert_eq!(kernel.pop(), None);
        ours.submit();
        assert_eq!(kernel.pop(), Some(7));
        assert_eq!((ours.room(LEN), ours.pending()), (LEN - 1, 1));
        kernel.release();
        assert_eq!((ours.room(LEN), ours.pending()), (LEN, 0));
    }

    #[test]
    fn a_full_ring_takes_no_more() {
        let (mut ours, mut kernel) = ends(0);
        for value in 0..u64::from(LEN) {
            assert!(ours.push(value));
        }
        assert!(!ours.push(99));
        ours.submit();
        assert_eq!(kernel.available(), LEN);
    }

    #[test]
    fn a_ring_behaves_like_a_bounded_queue_also_where_its_indices_wrap() {
        // Starts just below the end of the index space, so that both indices wrap on the way.
        let (mut ours, mut kernel) = ends(u32::MAX - 20);
        let (mut hidden, mut shown) = (VecDeque::new(), VecDeque::new());
        let (mut unreleased, mut next, mut seed) = (0, 0u64, 0x9e37_79b9_7f4a_7c15_u64);
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            match (seed >> 33) % 4 {
                0 => {
                    let fits = hidden.len() + shown.len() + unreleased < LEN as usize;
                    assert_eq!(ours.push(next), fits);
                    if fits {
                        hidden.push_back(next);
                    }
                    next += 1;
                }
                1 => {
                    ours.submit();
                    shown.append(&mut hidden);
                }
                2 => {
                    let popped = kernel.pop();
                    assert_eq!(popped, shown.pop_front());
                    unreleased += usize::from(popped.is_some());
                }
                _ => {
                    kernel.release();
                    unreleased = 0;
                }
            }
        }
        assert!(next > 4_000);
    }

    #[test]
    fn two_threads_pass_every_value_once_and_in_order() {
        const COUNT: u64 = 200_000;
        // Threads that wait for a core in turn pass a ring's length of values at a time.
        const LEAST: u64 = 5_000;
        let (mut ours, mut kernel) = ends(u32::MAX - 1_000);
        let sender = std::thread::spawn(move || {
            let (mut value, began) = (0, Instant::now());
            while value < LEAST || value < COUNT && began.elapsed() < Duration::from_secs(5) {
                if ours.push(value) {
                    value += 1;
                } else {
                    std::thread::yield_now();
                }
                ours.submit();
            }
            value
        });
        let mut expected = 0;
        loop {
            // Asked first: what was passed until then is taken in this turn.
            let is_last = sender.is_finished();
            while let Some(value) = kernel.pop() {
                assert_eq!(value, expected);
                expected += 1;
            }
            kernel.release();
            if is_last {
                break;
            }
            std::thread::yield_now();
        }
        assert_eq!(sender.join().unwrap(), expected);
    }

    #[test]
    fn the_wakeup_flag_is_the_kernels() {
        let (ours, kernel) = ends(0);
        assert!(!ours.needs_wakeup());
        kernel.ring.flags().store(1, Ordering::Relaxed);
        assert!(ours.needs_wakeup());
    }

    #[test]
    fn a_layout_outside_the_memory_is_refused() {
        let memory = Arc::new(RingMemory::ordinary(4096).unwrap());
        assert!(Producer::<u64>::new(&memory, layout(1024)).is_err());
        assert!(Producer::<u64>::new(&memory, layout(7)).is_err());
        let mut odd = layout(LEN);
        odd.consumer = 65;
        assert!(Consumer::<u64>::new(&memory, odd).is_err());
    }
}
