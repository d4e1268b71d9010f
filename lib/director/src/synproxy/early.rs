//! Early data: what a client sends before its real server has answered, copied and bounded.

use alloc::vec::Vec;

/// The size of a chunk in bytes.
pub(super) const CHUNK: usize = 2048;
/// Stands for no chunk.
const NONE: u32 = u32::MAX;

/// The bytes that one session holds, in the order of its numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Early {
    first: u32,
    last: u32,
    /// Bytes of the first chunk that were taken already.
    taken: u16,
    /// Bytes held.
    len: u32,
}

impl Default for Early {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
            taken: 0,
            len: 0,
        }
    }
}

impl Early {
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }
}

#[derive(Clone, Debug)]
struct Chunk {
    next: u32,
    len: u16,
    bytes: [u8; CHUNK],
}

/// The memory of one worker's early data; it is there from the start, and touched when first used.
#[derive(Debug, Default)]
pub(crate) struct EarlyPool {
    chunks: Vec<Chunk>,
    free: Vec<u32>,
    /// Chunks from here on were never used.
    fresh: u32,
    capacity: u32,
}

impl EarlyPool {
    /// Makes room for so many bytes; it never shrinks, for what is held must stay.
    pub(crate) fn grow(&mut self, bytes: u64) {
        let wanted = u32::try_from(bytes / CHUNK as u64).unwrap_or(u32::MAX - 1);
        if wanted <= self.capacity {
            return;
        }
        let more = wanted as usize - self.chunks.len();
        if self.chunks.try_reserve_exact(more).is_err() {
            return;
        }
        if self
            .free
            .try_reserve_exact(wanted as usize - self.free.len())
            .is_ok()
        {
            self.capacity = wanted;
        }
    }

    /// Adds bytes at the end; false, and nothing is added, when the pool has no room for them.
    pub(crate) fn push(&mut self, early: &mut Early, bytes: &[u8]) -> bool {
        let room = self.room_in_last(early);
        let more = bytes.len().saturating_sub(room).div_ceil(CHUNK);
        if more > self.available() {
            return false;
        }
        let (head, mut rest) = bytes.split_at(room.min(bytes.len()));
        self.append(early.last, head);
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(rest.len().min(CHUNK));
            let Some(chunk) = self.take() else {
                return false;
            };
            self.append(chunk, part);
            match self.chunks.get_mut(early.last as usize) {
                Some(last) => last.next = chunk,
                None => early.first = chunk,
            }
            early.last = chunk;
            rest = behind;
        }
        early.len += bytes.len() as u32;
        true
    }

    /// Takes bytes from the front until `out` is full or none is left, and returns how many.
    pub(crate) fn pull(&mut self, early: &mut Early, out: &mut [u8]) -> usize {
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let Some(chunk) = self.chunks.get(early.first as usize) else {
                break;
            };
            let held = chunk.bytes.get(early.taken as usize..chunk.len as usize);
            let held = held.unwrap_or_default();
            let count = held.len().min(rest.len());
            for (to, from) in rest.iter_mut().zip(held) {
                *to = *from;
            }
            filled += count;
            early.taken += count as u16;
            if early.taken < chunk.len {
                break;
            }
            let next = chunk.next;
            self.free.push(early.first);
            early.first = next;
            early.taken = 0;
        }
        if early.first == NONE {
            early.last = NONE;
        }
        early.len -= filled as u32;
        filled
    }

    /// Gives back all that a session holds.
    pub(crate) fn clear(&mut self, early: &mut Early) {
        while let Some(chunk) = self.chunks.get(early.first as usize) {
            let next = chunk.next;
            self.free.push(early.first);
            early.first = next;
        }
        *early = Early::default();
    }

    fn room_in_last(&self, early: &Early) -> usize {
        let last = self.chunks.get(early.last as usize);
        last.map_or(0, |chunk| CHUNK - chunk.len as usize)
    }

    fn available(&self) -> usize {
        self.free.len() + (self.capacity - self.fresh) as usize
    }

    fn take(&mut self) -> Option<u32> {
        let at = if let Some(at) = self.free.pop() {
            at
        } else {
            // Within what was reserved: memory is touched here for the first time, not allocated.
            if self.fresh == self.capacity {
                return None;
            }
            self.chunks.push(Chunk {
                next: NONE,
                len: 0,
                bytes: [0; CHUNK],
            });
            self.fresh += 1;
            self.fresh - 1
        };
        let chunk = self.chunks.get_mut(at as usize)?;
        chunk.next = NONE;
        chunk.len = 0;
        Some(at)
    }

    fn append(&mut self, at: u32, bytes: &[u8]) {
        let Some(chunk) = self.chunks.get_mut(at as usize) else {
            return;
        };
        let from = chunk.len as usize;
        if let Some(room) = chunk.bytes.get_mut(from..from + bytes.len()) {
            room.copy_from_slice(bytes);
            chunk.len += bytes.len() as u16;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;

    fn pool(chunks: usize) -> EarlyPool {
        let mut pool = EarlyPool::default();
        pool.grow((chunks * CHUNK) as u64);
        pool
    }

    #[test]
    fn bytes_come_out_in_order_however_they_went_in() {
        let mut pool = pool(8);
        let mut early = Early::default();
        let all: Vec<u8> = (0..9000u32).map(|at| at as u8).collect();
        let mut rest = all.as_slice();
        for len in [1, 1000, 2047, 2048, 2049, 1855] {
            let (part, behind) = rest.split_at(len);
            assert!(pool.push(&mut early, part));
            rest = behind;
        }
        assert!(rest.is_empty() && early.len() == 9000);
        let mut out = Vec::new();
        while early.len() > 0 {
            let mut part = vec![0; 700];
            let count = pool.pull(&mut early, &mut part);
            out.extend_from_slice(&part[..count]);
        }
        assert_eq!(out, all);
        assert_eq!(pool.available(), 8);
    }

    #[test]
    fn a_full_pool_refuses_whole_segments_and_what_is_given_back_serves_again() {
        let mut pool = pool(2);
        let (mut one, mut other) = (Early::default(), Early::default());
        assert!(pool.push(&mut one, &[1; CHUNK + 1]));
        assert!(!pool.push(&mut other, &[2]));
        assert_eq!(other.len(), 0);
        assert!(
            pool.push(&mut one, &[3; CHUNK - 1]),
            "the last chunk has room"
        );
        pool.clear(&mut one);
        assert_eq!((one.len(), pool.available()), (0, 2));
        for _ in 0..10 {
            assert!(pool.push(&mut other, &[2; 2 * CHUNK]));
            pool.clear(&mut other);
        }
    }
}
