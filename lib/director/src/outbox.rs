//! The outbox: frames that Weir itself sends, until the worker takes them.

use alloc::vec;
use alloc::vec::Vec;

use weir_model::PortId;

/// The longest frame that Weir originates: an ICMP error with its quotation in 576 bytes of IP,
/// behind an Ethernet header with one tag.
pub(crate) const MAX_ORIGINATED: usize = 640;

#[derive(Clone, Debug)]
struct Letter {
    port: PortId,
    len: u16,
    bytes: [u8; MAX_ORIGINATED],
}

/// A ring of frames; the memory is there from the start.
#[derive(Debug)]
pub(crate) struct Outbox {
    letters: Vec<Letter>,
    first: usize,
    count: usize,
}

impl Outbox {
    pub(crate) fn with_capacity(frames: usize) -> Self {
        let empty = Letter {
            port: PortId(0),
            len: 0,
            bytes: [0; MAX_ORIGINATED],
        };
        Self {
            letters: vec![empty; frames],
            first: 0,
            count: 0,
        }
    }

    /// Adds a frame; false when it is too long or the ring is full.
    #[must_use]
    pub(crate) fn push(&mut self, port: PortId, frame: &[u8]) -> bool {
        if self.count == self.letters.len() {
            return false;
        }
        let at = (self.first + self.count) % self.letters.len();
        let Some(letter) = self.letters.get_mut(at) else {
            return false;
        };
        let Some(bytes) = letter.bytes.get_mut(..frame.len()) else {
            return false;
        };
        bytes.copy_from_slice(frame);
        letter.len = frame.len() as u16;
        letter.port = port;
        self.count += 1;
        true
    }

    /// Takes the oldest frame out into `buffer`; one that does not fit is cut off and lost.
    pub(crate) fn pop(&mut self, buffer: &mut [u8]) -> Option<(PortId, usize)> {
        if self.count == 0 {
            return None;
        }
        let letter = self.letters.get(self.first)?;
        let len = (letter.len as usize).min(buffer.len());
        let (port, bytes) = (letter.port, letter.bytes.get(..len)?);
        buffer.get_mut(..len)?.copy_from_slice(bytes);
        self.first = (self.first + 1) % self.letters.len();
        self.count -= 1;
        Some((port, len))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_leave_in_order_and_a_full_ring_refuses() {
        let mut outbox = Outbox::with_capacity(2);
        let mut buffer = [0; MAX_ORIGINATED];
        for round in 0..5u8 {
            assert!(outbox.push(PortId(0), &[round]));
            assert!(outbox.push(PortId(1), &[round, round]));
            assert!(!outbox.push(PortId(0), &[9]));
            assert_eq!(outbox.pop(&mut buffer), Some((PortId(0), 1)));
            assert_eq!(buffer[0], round);
            assert_eq!(outbox.pop(&mut buffer), Some((PortId(1), 2)));
            assert!(outbox.is_empty());
        }
        assert!(!outbox.push(PortId(0), &[0; MAX_ORIGINATED + 1]));
    }
}
