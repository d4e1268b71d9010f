//! The doorbell of a worker: wakes it when it sleeps and costs nothing while it is awake.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// Wakes one sleeping worker.
///
/// The sleeper says that it is about to sleep, looks once more for work, and only then waits; the
/// caller puts the work where it will be looked for, and only then looks whether anybody sleeps.
/// The fences between the two steps make sure that at least one of them sees the other.
#[derive(Debug)]
pub(crate) struct Doorbell {
    asleep: AtomicBool,
    event: EventFd,
}

impl Doorbell {
    /// Makes a doorbell.
    ///
    /// # Errors
    /// When the kernel has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC;
        Ok(Self {
            asleep: AtomicBool::new(false),
            event: EventFd::from_value_and_flags(0, flags)?,
        })
    }

    /// Wakes the worker where it sleeps; call it after the work was put down.
    pub(crate) fn ring(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            // A full counter means that it is already about to wake.
            let _ = self.event.write(1);
        }
    }

    /// Says that the worker is about to sleep; it must look for work once more after this.
    pub(crate) fn before_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Says that the worker is awake, and silences the bell.
    pub(crate) fn after_sleep(&self, rung: bool) {
        self.asleep.store(false, Ordering::Relaxed);
        if rung {
            // Nothing to read means that nobody rang after all.
            let _ = self.event.read();
        }
    }

    /// Returns the descriptor that becomes readable when the bell is rung.
    pub(crate) fn raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;
    use std::time::{Duration, Instant};

    use netmap_io::WaitSet;

    use super::*;

    #[test]
    fn no_work_is_slept_over() {
        const ROUNDS: u64 = 20_000;
        let bell = Arc::new(Doorbell::new().unwrap());
        let work = Arc::new(AtomicU64::new(0));
        let sleeper = {
            let (bell, work) = (bell.clone(), work.clone());
            std::thread::spawn(move || {
                let mut set = WaitSet::new([bell.raw_fd()]);
                let mut slowest = Duration::ZERO;
                let mut seen = 0;
                while seen < ROUNDS {
                    bell.before_sleep();
                    if work.load(Ordering::Acquire) > seen {
                        bell.after_sleep(false);
                    } else {
                        let start = Instant::now();
                        let woken = set.wait(Duration::from_mins(1)).unwrap();
                        slowest = slowest.max(start.elapsed());
                        bell.after_sleep(woken);
                    }
                    seen = work.load(Ordering::Acquire);
                }
                slowest
            })
        };
        for _ in 0..ROUNDS {
            work.fetch_add(1, Ordering::Release);
            bell.ring();
            std::hint::spin_loop();
        }
        assert!(sleeper.join().unwrap() < Duration::from_secs(5));
    }

    #[test]
    fn nobody_is_woken_who_is_awake() {
        let bell = Doorbell::new().unwrap();
        bell.ring();
        let mut set = WaitSet::new([bell.raw_fd()]);
        assert!(!set.wait(Duration::ZERO).unwrap());
        bell.before_sleep();
        bell.ring();
        assert!(set.wait(Duration::ZERO).unwrap());
        bell.after_sleep(true);
        assert!(!set.wait(Duration::ZERO).unwrap());
    }
}
