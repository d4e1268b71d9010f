//! A burst: up to a fixed number of frames taken out of a ring together.

use crate::Frame;

/// Holds the frames that one call of [`Port::rx`](crate::Port::rx) took; never grows past its
/// capacity, so it never allocates after it was made.
#[derive(Debug)]
pub struct Burst {
    frames: Vec<Frame>,
    capacity: usize,
}

impl Burst {
    /// Makes an empty burst for at most `capacity` frames.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            frames: Vec::with_capacity(capacity),
            capacity,
        }
    }

    /// Returns how many frames still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.capacity - self.frames.len()
    }

    /// Adds a frame.
    ///
    /// # Errors
    /// Gives the frame back when the burst is full.
    pub fn push(&mut self, frame: Frame) -> Result<(), Frame> {
        if self.room() == 0 {
            return Err(frame);
        }
        self.frames.push(frame);
        Ok(())
    }

    /// Returns the frames in arrival order.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }

    /// Returns the frames for rewriting in place.
    pub fn frames_mut(&mut self) -> &mut [Frame] {
        &mut self.frames
    }

    /// Takes all frames out, in arrival order; the burst is empty afterwards.
    pub fn drain(&mut self) -> impl Iterator<Item = Frame> + '_ {
        self.frames.drain(..)
    }

    /// Returns the number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Says whether there is no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}
