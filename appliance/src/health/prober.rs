//! The prober: the thread that has the checks made, and control's handle of it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, unbounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use weir_model::{Check, Now, Time};

use super::attempt::{Attempt, judge, run};
use super::datagram::Datagram;
use super::fetch::{Fetchers, Job};
use super::probe::{Probe, unable};
use super::runner::{Ran, Runner};
use super::schedule::{Due, Schedule};
use super::standing::{Answer, Cause, Outcome};
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
    /// Have programs run by this one.
    RunBy(Runner),
}

/// Control's handle of the thread; dropping it ends the thread and closes its connections.
#[derive(Debug)]
pub(crate) struct Prober {
    orders: Option<Sender<Order>>,
    findings: Receiver<Finding>,
    waker: Arc<Waker>,
    /// What other threads have found out.
    done: Sender<Done>,
    thread: Option<JoinHandle<()>>,
}

/// What another thread has found out for a check.
#[derive(Debug)]
enum Done {
    Page(TargetId, u64, Outcome),
    Program(Ran),
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
        // As many as there are checks under way.
        let (done, take_done) = unbounded();
        let work = Work {
            poll,
            clock,
            orders: take_orders,
            findings,
            control,
            schedule: Schedule::new(MOST_PROBES, seed()),
            attempts: BTreeMap::new(),
            ticket: 0,
            programs: BTreeMap::new(),
            runner: None,
            fetchers: Fetchers::new(),
            done: take_done,
            to_done: done.clone(),
            waker: waker.clone(),
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
            done,
            thread: Some(thread),
        })
    }

    /// Has programs run by a child from now on.
    pub(crate) fn run_by(&self, runner: Runner) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(Order::RunBy(runner));
        }
    }

    /// Returns what is to be told of programs that the child has run.
    pub(crate) fn listener(&self) -> impl Fn(Ran) + Send + use<> {
        let (done, waker) = (self.done.clone(), self.waker.clone());
        move |ran| {
            // The thread has ended, and nobody asks any more.
            let _ = done.send(Done::Program(ran));
            let _ = waker.wake();
        }
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
    attempts: BTreeMap<TargetId, Attempt>,
    /// Tells what was asked of other threads apart.
    ticket: u64,
    /// For whom a program runs, by ticket.
    programs: BTreeMap<u64, TargetId>,
    runner: Option<Runner>,
    fetchers: Fetchers<(TargetId, u64)>,
    done: Receiver<Done>,
    to_done: Sender<Done>,
    waker: Arc<Waker>,
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
            while let Ok(done) = self.done.try_recv() {
                self.take_done(now, done);
            }
            while let Some(due) = self.schedule.next_due(now.time) {
                match due {
                    Due::Probe(id, address) => self.begin(now, id, address),
                    Due::Overdue(id) => {
                        let outcome = self.attempts.get(&id).map(Attempt::overdue);
                        self.end(now, id, outcome.unwrap_or(Outcome::Silent));
                    }
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
                    // Files of certificates may be others now.
                    self.fetchers.forget();
                    for id in self.schedule.aim(now, targets) {
                        self.attempts.remove(&id);
                    }
                }
                Ok(Order::RunBy(runner)) => self.runner = Some(runner),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(error @ TryRecvError::Disconnected) => return Err(error),
            }
        }
    }

    fn begin(&mut self, now: Now, id: TargetId, address: std::net::SocketAddr) {
        let attempt = match self.attempt(now, id, address) {
            Ok(attempt) => attempt,
            Err(outcome) => return self.end(now, id, outcome),
        };
        if let Some((fd, writable)) = attempt.descriptor() {
            let interest = if writable {
                Interest::WRITABLE
            } else {
                Interest::READABLE
            };
            let (registry, token) = (self.poll.registry(), Token(id.0 as usize));
            if registry
                .register(&mut SourceFd(&fd), token, interest)
                .is_err()
            {
                return self.end(now, id, unable(nix::errno::Errno::ENOMEM));
            }
        }
        self.attempts.insert(id, attempt);
    }

    /// Begins a check.
    fn attempt(
        &mut self,
        now: Now,
        id: TargetId,
        address: std::net::SocketAddr,
    ) -> Result<Attempt, Outcome> {
        let check = self
            .schedule
            .target(id)
            .map(|(target, _)| &target.health.check);
        match check {
            // A real server that does not shake hands has no page to fetch.
            None | Some(Check::Tcp | Check::Http(_)) => {
                Probe::begin(address).map(Attempt::Handshake)
            }
            Some(Check::Udp(check)) => Datagram::udp(address, check).map(Attempt::Datagram),
            Some(Check::Ping) => {
                let number = self.next_ticket() as u16;
                Datagram::ping(address, number).map(Attempt::Datagram)
            }
            Some(Check::Exec(check)) => {
                let check = check.clone();
                let timeout = self.patience(now, id);
                let ticket = self.next_ticket();
                let run = run(ticket, address, &check, timeout.as_millis() as u64);
                let runs = self.runner.as_ref().is_some_and(|runner| runner.run(run));
                if !runs {
                    let sentence = "the process that runs programs does not keep up";
                    return Err(Outcome::Unable(Cause::Said(sentence.to_owned())));
                }
                self.programs.insert(ticket, id);
                Ok(Attempt::Program { ticket, check })
            }
        }
    }

    fn next_ticket(&mut self) -> u64 {
        self.ticket += 1;
        self.ticket
    }

    /// How long the check of a target may still take.
    fn patience(&self, now: Now, id: TargetId) -> Duration {
        let target = self.schedule.target(id);
        target.map_or(Duration::ZERO, |(_, until)| until.since(now.time))
    }

    /// Looks at a check that something happened to.
    fn look(&mut self, now: Now, id: TargetId) {
        let Some(outcome) = self.attempts.get(&id).and_then(Attempt::outcome) else {
            return;
        };
        let target = self.schedule.target(id).map(|(target, _)| target);
        if let (Outcome::Answered(answer), Some(target)) = (&outcome, target)
            && let Check::Http(check) = &target.health.check
        {
            let (handshake, address, check) = (*answer, target.address, check.clone());
            let deadline = Instant::now() + self.patience(now, id);
            let ticket = self.next_ticket();
            let job = Job {
                ticket: (id, ticket),
                address,
                check,
                deadline,
            };
            let (done, waker) = (self.to_done.clone(), self.waker.clone());
            self.fetchers.fetch(job, move |(id, ticket), outcome| {
                let _ = done.send(Done::Page(id, ticket, outcome));
                let _ = waker.wake();
            });
            // The handshake is over, and its connection reset.
            self.attempts
                .insert(id, Attempt::Page { ticket, handshake });
            return;
        }
        self.end(now, id, outcome);
    }

    /// Takes what another thread has found out, unless its time was over.
    fn take_done(&mut self, now: Now, done: Done) {
        match done {
            Done::Page(id, of, outcome) => {
                if let Some(Attempt::Page { ticket, handshake }) = self.attempts.get(&id)
                    && *ticket == of
                {
                    let outcome = match outcome {
                        Outcome::Answered(answer) => Outcome::Answered(Answer {
                            weight: answer.weight,
                            ..*handshake
                        }),
                        other @ (Outcome::Failed(_) | Outcome::Silent | Outcome::Unable(_)) => {
                            other
                        }
                    };
                    self.end(now, id, outcome);
                }
            }
            Done::Program(ran) => {
                let Some(id) = self.programs.remove(&ran.ticket) else {
                    return;
                };
                if let Some(Attempt::Program { ticket, check }) = self.attempts.get(&id)
                    && *ticket == ran.ticket
                {
                    let outcome = judge(check, &ran);
                    self.end(now, id, outcome);
                }
            }
        }
    }

    fn end(&mut self, now: Now, id: TargetId, outcome: Outcome) {
        // Closing the socket takes it out of the event loop, too.
        self.attempts.remove(&id);
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
