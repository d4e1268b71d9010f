//! A frame in a larger buffer, so that options can be inserted and answers written in place.

use core::ops::Range;

/// An Ethernet frame in a chunk with head room and tail room.
#[derive(Debug)]
pub struct FrameBuf<'a> {
    chunk: &'a mut [u8],
    start: usize,
    end: usize,
}

impl<'a> FrameBuf<'a> {
    /// Views the part `range` of `chunk` as the frame; nothing when it does not lie in the chunk.
    #[must_use]
    pub fn new(chunk: &'a mut [u8], range: Range<usize>) -> Option<Self> {
        let Range { start, end } = range;
        (start <= end && end <= chunk.len()).then_some(Self { chunk, start, end })
    }

    /// Returns the frame.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.chunk.get(self.start..self.end).unwrap_or_default()
    }

    /// Returns the frame for rewriting.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.chunk.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Returns where in the chunk the frame stands now.
    #[inline]
    #[must_use]
    pub const fn range(&self) -> Range<usize> {
        self.start..self.end
    }

    /// Returns the frame's length in bytes.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.end - self.start
    }

    /// Says whether the frame has no bytes.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Opens a gap of `len` bytes in front of offset `at`: the part before it moves into the head
    /// room, or, where that is too small, the part behind it into the tail room. The gap's bytes
    /// are zero. Nothing changes, and the answer is `None`, when there is no room for it.
    #[must_use]
    pub fn insert_gap(&mut self, at: usize, len: usize) -> Option<&mut [u8]> {
        if at > self.len() {
            return None;
        }
        if self.start >= len {
            let moved = self.start..self.start + at;
            self.chunk.copy_within(moved, self.start - len);
            self.start -= len;
        } else {
            let end = self
                .end
                .checked_add(len)
                .filter(|&end| end <= self.chunk.len())?;
            self.chunk
                .copy_within(self.start + at..self.end, self.start + at + len);
            self.end = end;
        }
        let gap = self.start + at..self.start + at + len;
        let gap = self.chunk.get_mut(gap)?;
        gap.fill(0);
        Some(gap)
    }

    /// Says whether the frame could have this length, with what the chunk has behind it.
    #[inline]
    #[must_use]
    pub const fn fits(&self, len: usize) -> bool {
        len <= self.chunk.len() - self.start
    }

    /// Cuts or grows the frame at its end; grown bytes hold what the chunk held. Nothing changes,
    /// and the answer is `None`, when the chunk is too short.
    #[must_use]
    pub fn set_len(&mut self, len: usize) -> Option<()> {
        let end = self
            .start
            .checked_add(len)
            .filter(|&end| end <= self.chunk.len())?;
        self.end = end;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_takes_head_room_first_and_tail_room_then() {
        let mut chunk = *b"..abcdef..";
        let mut frame = FrameBuf::new(&mut chunk, 2..8).unwrap();
        frame.insert_gap(2, 2).unwrap().copy_from_slice(b"XY");
        assert_eq!(
            (frame.bytes(), frame.range()),
            (b"abXYcdef".as_slice(), 0..8)
        );
        frame.insert_gap(4, 2).unwrap().copy_from_slice(b"ZZ");
        assert_eq!(
            (frame.bytes(), frame.range()),
            (b"abXYZZcdef".as_slice(), 0..10)
        );
    }

    #[test]
    fn a_gap_that_fits_nowhere_changes_nothing() {
        let mut chunk = *b".abc.";
        let mut frame = FrameBuf::new(&mut chunk, 1..4).unwrap();
        assert!(frame.insert_gap(1, 2).is_none());
        assert!(frame.insert_gap(4, 1).is_none());
        assert_eq!(frame.bytes(), b"abc");
        assert!(FrameBuf::new(&mut [], 0..1).is_none());
    }
}
