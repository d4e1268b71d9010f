//! Which local ports belong to which worker.

/// Returns the worker that owns a port. That does not depend on the pool's range, so that sessions
/// stay with their worker when the range changes.
#[inline]
#[must_use]
pub const fn owner_of(port: u16, workers: u8) -> u8 {
    if workers == 0 {
        return 0;
    }
    (port % workers as u16) as u8
}

/// The ports of a range that belong to one worker: every `workers`-th, so that no two workers ever
/// take the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortClass {
    first: u16,
    last: u16,
    worker: u8,
    workers: u8,
}

impl PortClass {
    /// Makes the class of a worker among `workers`, of which there is at least one.
    #[must_use]
    pub const fn new(first: u16, last: u16, worker: u8, workers: u8) -> Self {
        Self {
            first,
            last,
            worker,
            workers: if workers == 0 { 1 } else { workers },
        }
    }

    /// Returns the number of ports.
    #[must_use]
    pub const fn count(self) -> u32 {
        let begin = self.begin();
        let last = self.last as u32;
        if begin > last || self.worker >= self.workers {
            return 0;
        }
        (last - begin) / self.workers as u32 + 1
    }

    /// Returns the first number from the range's beginning on that is this worker's.
    const fn begin(self) -> u32 {
        let (first, workers) = (self.first as u32, self.workers as u32);
        let owner = first % workers;
        first + (self.worker as u32 + workers - owner) % workers
    }

    /// Returns the port at an index; none from [`count`](Self::count) on.
    #[must_use]
    pub const fn port(self, index: u32) -> Option<u16> {
        if index >= self.count() {
            return None;
        }
        Some((self.begin() + index * self.workers as u32) as u16)
    }

    /// Returns the index of a port; none when the port is not of this class.
    #[must_use]
    pub const fn index(self, port: u16) -> Option<u32> {
        if port < self.first || port > self.last {
            return None;
        }
        if owner_of(port, self.workers) != self.worker {
            return None;
        }
        Some((port - self.first) as u32 / self.workers as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_of_a_range_belongs_to_exactly_one_worker() {
        for (first, last, workers) in [
            (1024, 65535, 1),
            (1024, 65535, 7),
            (0, 65535, 255),
            (5000, 5002, 4),
            (9, 9, 2),
        ] {
            let mut ports = 0;
            for worker in 0..workers {
                let class = PortClass::new(first, last, worker, workers);
                for index in 0..class.count() {
                    let port = class.port(index).unwrap();
                    assert!((first..=last).contains(&port));
                    assert_eq!(class.index(port), Some(index));
                    assert_eq!(owner_of(port, workers), worker);
                    ports += 1;
                }
                assert_eq!(class.port(class.count()), None);
            }
            assert_eq!(ports, u32::from(last - first) + 1);
        }
    }

    #[test]
    fn a_port_of_another_worker_or_out_of_range_has_no_index() {
        let class = PortClass::new(1000, 1010, 2, 3);
        assert_eq!(class.index(1001), Some(0));
        assert_eq!(class.index(1000), None);
        assert_eq!(class.index(1011), None);
        assert_eq!(class.index(998), None);
        assert_eq!(PortClass::new(10, 9, 0, 1).count(), 0);
    }
}
