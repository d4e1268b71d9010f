//! What is on its way: frames in the order in which they arrive.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir_model::Time;

/// Frames on their way to places of type `T`.
#[derive(Debug)]
pub struct InFlight<T> {
    heap: BinaryHeap<Reverse<Arrival<T>>>,
    serial: u64,
}

#[derive(Debug)]
struct Arrival<T> {
    at: Time,
    // Frames that arrive at the same time keep their order.
    serial: u64,
    to: T,
    frame: Vec<u8>,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            serial: 0,
        }
    }
}

impl<T> InFlight<T> {
    /// Sends a frame that arrives at `at`.
    pub fn push(&mut self, at: Time, to: T, frame: Vec<u8>) {
        self.serial += 1;
        self.heap.push(Reverse(Arrival {
            at,
            serial: self.serial,
            to,
            frame,
        }));
    }

    /// Returns when the next frame arrives.
    #[must_use]
    pub fn next_at(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse(it)| it.at)
    }

    /// Returns the next frame that has arrived by `now`.
    pub fn pop(&mut self, now: Time) -> Option<(T, Vec<u8>)> {
        if self.next_at()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(it)| (it.to, it.frame))
    }
}

impl<T> PartialEq for Arrival<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Arrival<T> {}

impl<T> PartialOrd for Arrival<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Arrival<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_arrive_in_time_and_those_of_one_time_in_order() {
        let mut flight = InFlight::default();
        flight.push(Time::from_millis(2), 'c', vec![]);
        flight.push(Time::from_millis(1), 'a', vec![]);
        flight.push(Time::from_millis(1), 'b', vec![]);
        assert_eq!(flight.pop(Time::from_micros(999)), None);
        let order: Vec<char> = std::iter::from_fn(|| flight.pop(Time::from_millis(1)))
            .map(|(to, _)| to)
            .collect();
        assert_eq!(order, ['a', 'b']);
        assert_eq!(flight.next_at(), Some(Time::from_millis(2)));
    }
}
