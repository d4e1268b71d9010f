//! How a worker waits: it looks again for a short while, then sleeps in `ppoll(2)` until a frame,
//! a hand-off, a command or a timer wants it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use netmap_io::WaitSet;
use weir_model::{Poll, Time};

use crate::doorbell::Doorbell;

/// A worker looks at its port statistics this often even when nothing happens.
const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// A descriptor that is ready for ever without a frame (its device went down) must not cost a
/// core: after so many wake-ups for nothing the worker naps.
const FRUITLESS: u32 = 16;
const NAP: Duration = Duration::from_millis(1);

/// The waiting of one worker.
#[derive(Debug)]
pub(crate) struct Idle {
    poll: Poll,
    /// How long it looks again before it sleeps.
    spin: Duration,
    bell: Arc<Doorbell>,
    ports: WaitSet,
    only_bell: WaitSet,
    /// Since when there was nothing to do.
    since: Option<Time>,
    fruitless: u32,
    sleeps: u64,
}

impl Idle {
    /// Makes the waiting of a worker with this doorbell and these ports' descriptors.
    pub(crate) fn new(
        poll: Poll,
        spin: Duration,
        bell: Arc<Doorbell>,
        ports: impl Iterator<Item = i32>,
    ) -> Self {
        let bell_fd = bell.raw_fd();
        Self {
            poll,
            spin,
            bell,
            ports: WaitSet::new(std::iter::once(bell_fd).chain(ports)),
            only_bell: WaitSet::new([bell_fd]),
            since: None,
            fruitless: 0,
            sleeps: 0,
        }
    }

    /// Notes that the turn found something to do.
    pub(crate) fn worked(&mut self) {
        self.since = None;
        self.fruitless = 0;
    }

    /// Says whether it is time to sleep after a turn that found nothing to do.
    pub(crate) fn is_sleepy(&mut self, now: Time) -> bool {
        match self.poll {
            Poll::Busy => {
                std::hint::spin_loop();
                false
            }
            Poll::Adaptive => {
                let since = *self.since.get_or_insert(now);
                now.since(since) >= self.spin
            }
        }
    }

    /// Sleeps for at most `at_most`, unless `is_work` finds something at the last moment.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub(crate) fn sleep(
        &mut self,
        at_most: Duration,
        is_work: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        self.bell.before_sleep();
        if is_work() {
            self.bell.after_sleep(false);
            return Ok(());
        }
        self.sleeps += 1;
        let at_most = at_most.min(LONGEST_SLEEP);
        let woken = if self.fruitless < FRUITLESS {
            let woken = self.ports.wait(at_most);
            self.bell.after_sleep(self.ports.is_ready(0));
            woken
        } else {
            let woken = self.only_bell.wait(at_most.min(NAP));
            self.bell.after_sleep(self.only_bell.is_ready(0));
            woken
        };
        if woken? {
            self.fruitless = self.fruitless.saturating_add(1);
        }
        Ok(())
    }

    /// Returns how often the worker slept.
    pub(crate) fn sleeps(&self) -> u64 {
        self.sleeps
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    const SPIN: Duration = Duration::from_micros(20);

    fn bell() -> Arc<Doorbell> {
        Arc::new(Doorbell::new().unwrap())
    }

    #[test]
    fn a_busy_worker_never_sleeps_and_an_adaptive_one_only_after_a_while() {
        let mut busy = Idle::new(Poll::Busy, SPIN, bell(), [].into_iter());
        assert!(!busy.is_sleepy(Time::from_millis(0)));
        assert!(!busy.is_sleepy(Time::from_millis(1000)));
        let mut adaptive = Idle::new(Poll::Adaptive, SPIN, bell(), [].into_iter());
        assert!(!adaptive.is_sleepy(Time::from_millis(5)));
        assert!(adaptive.is_sleepy(Time::from_millis(6)));
        adaptive.worked();
        assert!(!adaptive.is_sleepy(Time::from_millis(7)));
    }

    #[test]
    fn work_at_the_last_moment_is_not_slept_over() {
        let mut idle = Idle::new(Poll::Adaptive, SPIN, bell(), [].into_iter());
        let start = Instant::now();
        idle.sleep(Duration::from_secs(1), || true).unwrap();
        assert!(start.elapsed() < Duration::from_millis(50));
        assert_eq!(idle.sleeps(), 0);
    }

    #[test]
    fn a_descriptor_that_is_always_ready_does_not_cost_a_core() {
        let (port, mut wire) = UnixStream::pair().unwrap();
        wire.write_all(b"x").unwrap();
        let mut idle = Idle::new(Poll::Adaptive, SPIN, bell(), [port.as_raw_fd()].into_iter());
        let start = Instant::now();
        for _ in 0..FRUITLESS + 20 {
            idle.sleep(Duration::from_millis(50), || false).unwrap();
        }
        assert!(start.elapsed() >= NAP * 20, "{:?}", start.elapsed());
        idle.worked();
        let start = Instant::now();
        idle.sleep(Duration::from_millis(50), || false).unwrap();
        assert!(start.elapsed() < Duration::from_millis(40));
    }
}
