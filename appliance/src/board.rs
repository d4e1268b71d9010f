//! A board: words that one thread writes and any thread reads as they were together.

use std::hint;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Words under a sequence counter. The sequence is odd while they are being written.
///
/// After H. Boehm, "Can seqlocks get along with programming language memory models?" (2012): the
/// words are relaxed atomics, the fences order them against the sequence.
#[derive(Debug)]
pub(crate) struct Board {
    sequence: AtomicU64,
    words: Box<[AtomicU64]>,
}

impl Board {
    /// Makes a board of `len` zeroes.
    pub(crate) fn new(len: usize) -> Self {
        Self {
            sequence: AtomicU64::new(0),
            words: (0..len).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Writes all words, in the order of the iterator; those that it does not reach keep their
    /// value. Only one thread may write to a board.
    #[inline]
    pub(crate) fn write(&self, values: impl IntoIterator<Item = u64>) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence
            .store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, value) in self.words.iter().zip(values) {
            word.store(value, Ordering::Relaxed);
        }
        self.sequence
            .store(sequence.wrapping_add(2), Ordering::Release);
    }

    /// Reads all words as they were together at one moment.
    pub(crate) fn read(&self) -> Vec<u64> {
        let mut values = vec![0; self.words.len()];
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                for (value, word) in values.iter_mut().zip(&self.words) {
                    *value = word.load(Ordering::Relaxed);
                }
                fence(Ordering::Acquire);
                if self.sequence.load(Ordering::Relaxed) == before {
                    return values;
                }
            }
            // The writer may have lost its core in the middle; spinning would only keep it off.
            hint::spin_loop();
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn every_picture_was_written_as_a_whole() {
        let board = Arc::new(Board::new(64));
        let stop = Arc::new(AtomicBool::new(false));
        let writer = {
            let (board, stop) = (board.clone(), stop.clone());
            std::thread::spawn(move || {
                let mut n = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    n += 1;
                    board.write((0..64).map(|i| n * (i + 1)));
                    // A worker, too, does something else between two writes.
                    (0..100).for_each(|_| hint::spin_loop());
                }
                n
            })
        };
        let (mut last, mut changes, began) = (0, 0, Instant::now());
        // Where both wait for a core in turn, there is one change in a turn.
        while changes < 100 || changes < 2000 && began.elapsed() < Duration::from_secs(5) {
            let words = board.read();
            let n = words[0];
            assert!(n >= last, "went back from {last} to {n}");
            for (i, word) in (1_u64..).zip(&words) {
                assert_eq!(*word, n * i, "a torn picture of {n}");
            }
            changes += u32::from(n != last);
            last = n;
        }
        stop.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() >= last);
    }
}
