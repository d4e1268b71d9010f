//! The prober: the thread that opens the connections, and control's handle of it.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, unbounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use weir_model::{Now, Time};

use super::probe::Probe;
use super::schedule::{Due, Schedule};
use super::standing::Outcome;
use super::{Finding, Target, TargetId};
use crate::clock::Clock;
use crate::failure;

/// Connections under way at most: 5,000 real servers at 2 s, of which none answers within 500 ms,
/// have 1,250.
const MOST_PROBES: usize = 2048;
/// What the thread may have told without control having listened; the rest waits.
const FINDINGS: usize = 1024;
/// How soon the thread tries again to tell what found no room.
const TELL_AGAIN: Duration = Duration::from_millis(20);
/// Somebody put something into the channel of orders.
const ORDERS: Token = Token(usize::MAX);

/// What control asks of the thread.
#[derive(Debug)]
enum Order {
    /// Probe these from now on.
    Aim(Vec<Target>),
}

/// Control's handle of the thread; dropping it ends the thread and closes its connections.
#[derive(Debug)]
pub(crate) struct Prober {
    orders: Option<Sender<Order>>,
    findings: Receiver<Finding>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    /// Starts the thread, which wakes control when it has something to tell.
    ///
    /// # Errors
    /// When there is no event loop or thread to be had.
    pub(crate) fn start(clock: Clock, control: Arc<Waker>) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), ORDERS)?);
        // One for each reload, and taken at once.
        let (orders, take_orders) = unbounded();
        let (findings, take_findings) = bounded(FINDINGS);
        let work = Work {
            poll,
            clock,
            orders: take_orders,
            findings,
            control,
            schedule: Schedule::new(MOST_PROBES, seed()),
            probes: BTreeMap::new(),
        };
        let builder = thread::Builder::new().name("health".to_owned());
        let thread = builder.spawn(move || {
            if let Err(error) = work.run() {
                failure::die(&format!("the health thread cannot wait: {error}"));
            }
        })?;
        Ok(Self {
            orders: Some(orders),
            findings: take_findings,
            waker,
            thread: Some(thread),
        })
    }

    /// Probes these targets from now on; those that were there before are not disturbed.
    pub(crate) fn aim(&self, targets: Vec<Target>) {
        if let Some(orders) = &self.orders {
            // Only a panic ends the thread before us, and that ends the process.
            let _ = orders.send(Order::Aim(targets));
        }
        let _ = self.waker.wake();
    }

    /// Returns the next thing that has changed.
    pub(crate) fn next_finding(&self) -> Option<Finding> {
        self.findings.try_recv().ok()
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's side.
struct Work {
    poll: Poll,
    clock: Clock,
    orders: Receiver<Order>,
    findings: Sender<Finding>,
    control: Arc<Waker>,
    schedule: Schedule,
    probes: BTreeMap<TargetId, Probe>,
}

impl Work {
    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            let now = self.clock.now();
            match self.poll.poll(&mut events, self.wait(now.time)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let now = self.clock.now();
            for event in &events {
                if event.token() != ORDERS {
                    self.look(now, TargetId(event.token().0 as u32));
                }
            }
            if self.take_orders(now).is_err() {
                return Ok(());
            }
            while let Some(due) = self.schedule.next_due(now.time) {
                match due {
                    Due::Probe(id, address) => self.begin(now, id, address),
                    Due::Overdue(id) => self.end(now, id, Outcome::Silent),
                }
            }
            self.tell();
        }
    }

    /// How long nothing is to be done unless something happens; none means for ever.
    fn wait(&self, now: Time) -> Option<Duration> {
        let due = self.schedule.next_at().map(|at| at.since(now));
        if self.schedule.has_news() {
            return Some(due.map_or(TELL_AGAIN, |due| due.min(TELL_AGAIN)));
        }
        due
    }

    /// Takes what control asks for; an error when control has gone.
    fn take_orders(&mut self, now: Now) -> Result<(), TryRecvError> {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Aim(targets)) => {
                    for id in self.schedule.aim(now, targets) {
                        self.probes.remove(&id);
                    }
                }
                Err(TryRecvError::Empty) => return Ok(()),
                Err(error @ TryRecvError::Disconnected) => return Err(error),
            }
        }
    }

    fn begin(&mut self, now: Now, id: TargetId, address: std::net::SocketAddr) {
        let probe = match Probe::begin(address) {
            Ok(probe) => probe,
            Err(outcome) => return self.end(now, id, outcome),
        };
        let fd = probe.as_fd().as_raw_fd();
        let registry = self.poll.registry();
        let (token, writable) = (Token(id.0 as usize), Interest::WRITABLE);
        if registry
            .register(&mut SourceFd(&fd), token, writable)
            .is_err()
        {
            return self.end(now, id, Outcome::Unable(nix::errno::Errno::ENOMEM));
        }
        self.probes.insert(id, probe);
    }

    /// Looks at a probe that something happened to.
    fn look(&mut self, now: Now, id: TargetId) {
        if let Some(outcome) = self.probes.get(&id).and_then(Probe::outcome) {
            self.end(now, id, outcome);
        }
    }

    fn end(&mut self, now: Now, id: TargetId, outcome: Outcome) {
        // Closing the socket takes it out of the event loop, too.
        self.probes.remove(&id);
        self.schedule.end(now, id, outcome);
    }

    fn tell(&mut self) {
        let (mut told, findings) = (false, &self.findings);
        self.schedule.tell(|finding| {
            let sent = findings.try_send(finding);
            told |= sent.is_ok();
            match sent {
                Ok(()) | Err(TrySendError::Disconnected(_)) => true,
                Err(TrySendError::Full(_)) => false,
            }
        });
        if told {
            // Control looks into the channel every 100 ms in any case.
            let _ = self.control.wake();
        }
    }
}

/// Jitter needs no more than that two daemons differ.
fn seed() -> u64 {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    since_epoch.as_nanos() as u64 ^ u64::from(std::process::id())
}

#[cfg(test)]
mod tests;
