//! The thread of one receiver: connects, sends, and tries again, ever less often, when it cannot.
//!
//! TCP tells when a receiver has gone, but not which of the last messages it got. Those are kept
//! for a while and sent again on the next connection, with the same sequence id; so an outage
//! repeats messages rather than losing them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, select_biased};
use weir_director::SessionRecord;
use weir_model::Syslog;

use super::format::Formatter;
use super::link::{Link, cause};
use super::session;
use crate::event::Numbered;

/// The first wait after a failure; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// A connection that held for so long begins anew with the first wait.
const PROVEN: Duration = Duration::from_secs(10);
/// How often a receiver is looked after to which nothing is to be sent.
const IDLE: Duration = Duration::from_millis(500);
/// How long it takes to hear that nobody listens for datagrams.
const ECHO: Duration = Duration::from_millis(100);
/// A host that said so often falls silent, and says it once a second at least (Linux by default).
const SILENCE: Duration = Duration::from_millis(1_100);
/// What was sent so shortly before the connection broke is sent again.
const UNSURE: Duration = Duration::from_secs(15);
/// The same where the receiver closed it in order.
const UNSURE_CLOSED: Duration = Duration::from_secs(1);
/// The same of datagrams that nobody takes any more, of which that may be heard late.
const UNSURE_REFUSED: Duration = Duration::from_secs(2);
const UNSURE_BYTES: usize = 1 << 20;

/// How a receiver does.
#[derive(Clone, Debug, Default)]
pub(super) struct Status {
    pub(super) connected: bool,
    /// How often a connection broke or could not be had after it was had.
    pub(super) breaks: u64,
    pub(super) sent: u64,
    /// Messages that were sent again.
    pub(super) repeated: u64,
    pub(super) error: Option<String>,
}

/// What control and the thread of a receiver share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    status: Mutex<Status>,
    /// Messages that made room for younger ones.
    pub(super) dropped: AtomicU64,
}

/// A message of the session log.
#[derive(Clone, Debug)]
pub(super) struct SessionMessage {
    pub(super) record: SessionRecord,
    /// The name of its service.
    pub(super) service: Arc<str>,
    pub(super) suppressed: u64,
}

/// The thread's side of a receiver.
pub(super) struct Sender {
    pub(super) config: Syslog,
    pub(super) formatter: Formatter,
    pub(super) shared: Arc<Shared>,
    pub(super) audit: Receiver<Numbered>,
    pub(super) events: Receiver<Numbered>,
    pub(super) sessions: Receiver<SessionMessage>,
    /// Disconnected when the receiver is not wanted any more.
    pub(super) stop: Receiver<Infallible>,
    pub(super) book: Book,
}

/// What was sent and perhaps did not arrive, and the numbers of messages.
#[derive(Debug, Default)]
pub(super) struct Book {
    unsure: VecDeque<Sent>,
    bytes: usize,
    /// The sequence id of the last message.
    sequence: u64,
    /// Dropped messages that the sequence ids have a gap for.
    skipped: u64,
}

#[derive(Debug)]
struct Sent {
    at: Instant,
    /// Whether it was given to the transport at least once.
    left: bool,
    message: String,
}

enum Next {
    Message(Numbered),
    Nothing,
    /// Nothing will come any more.
    Over,
}

impl Shared {
    pub(super) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sender {
    /// Runs until the receiver is not wanted any more and what waits is sent, or cannot be.
    pub(super) fn run(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let began = Instant::now();
            let error = match self.connect() {
                Ok(link) => match self.serve(link) {
                    Ok(()) => return,
                    Err(error) => {
                        self.book.broke(&error);
                        cause(&error)
                    }
                },
                Err(error) => error,
            };
            {
                let mut status = self.shared.status();
                status.breaks += u64::from(status.connected || status.error.is_none());
                status.connected = false;
                status.error = Some(error);
            }
            if began.elapsed() >= PROVEN {
                wait = FIRST_WAIT;
            }
            if self.stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Connects, and sends again what perhaps did not arrive. A receiver that is refused again gets
    /// all of that with the next connection: what it is has been decided when the one before broke.
    fn connect(&mut self) -> Result<Link, String> {
        let mut link = Link::connect(&self.config)?;
        self.repeat(&mut link).map_err(|error| cause(&error))?;
        Ok(link)
    }

    /// Sends what comes until nothing will any more.
    fn serve(&mut self, mut link: Link) -> io::Result<()> {
        self.shared.status().connected = true;
        loop {
            match self.next() {
                Next::Message(event) => {
                    let dropped = self.shared.dropped.load(Ordering::Relaxed);
                    let sequence = self.book.next_sequence(dropped);
                    let message = self.formatter.format(sequence, &event);
                    self.book.keep(message);
                    link.check()?;
                    self.send_last(&mut link)?;
                }
                Next::Nothing => link.check()?,
                Next::Over => return Ok(()),
            }
        }
    }

    /// Sends again what perhaps did not arrive.
    fn repeat(&mut self, link: &mut Link) -> io::Result<()> {
        if link.hears_late() && !self.book.unsure.is_empty() {
            self.probe(link)?;
        }
        for at in 0..self.book.unsure.len() {
            self.send_again(link, at)?;
        }
        Ok(())
    }

    /// Sends one message of those until it is sure that somebody is there to take them all: one that
    /// nobody refuses says little, a second one after a while says enough.
    fn probe(&mut self, link: &mut Link) -> io::Result<()> {
        for time in [SILENCE, ECHO] {
            self.send_again(link, 0)?;
            let end = Instant::now() + time;
            while Instant::now() < end {
                if self.stop.recv_timeout(ECHO) != Err(RecvTimeoutError::Timeout) {
                    // It is now or never.
                    return Ok(());
                }
                link.check()?;
            }
        }
        Ok(())
    }

    fn send_again(&mut self, link: &mut Link, at: usize) -> io::Result<()> {
        let Some(sent) = self.book.unsure.get_mut(at) else {
            return Ok(());
        };
        link.send(&sent.message)?;
        sent.at = Instant::now();
        let before = std::mem::replace(&mut sent.left, true);
        let mut status = self.shared.status();
        status.sent += u64::from(!before);
        status.repeated += u64::from(before);
        Ok(())
    }

    fn send_last(&mut self, link: &mut Link) -> io::Result<()> {
        if let Some(sent) = self.book.unsure.back_mut() {
            link.send(&sent.message)?;
            sent.left = true;
            self.shared.status().sent += 1;
        }
        Ok(())
    }

    /// What operators did goes first, and events go before the session log.
    fn next(&self) -> Next {
        select_biased! {
            recv(self.audit) -> event => event.map_or_else(|_| self.last(), Next::Message),
            recv(self.events) -> event => event.map_or_else(|_| self.last(), Next::Message),
            recv(self.sessions) -> message => message.map_or_else(|_| self.last(), described),
            default(IDLE) => Next::Nothing,
        }
    }

    /// The other ends of all queues go together; what is in them stays.
    fn last(&self) -> Next {
        let events = self.audit.try_recv().or_else(|_| self.events.try_recv());
        match events {
            Ok(event) => Next::Message(event),
            Err(_) => self.sessions.try_recv().map_or(Next::Over, described),
        }
    }
}

fn described(message: SessionMessage) -> Next {
    let SessionMessage {
        record,
        service,
        suppressed,
    } = message;
    Next::Message(Numbered {
        sequence: 0,
        at: session::moment(&record),
        record: Arc::new(session::describe(&record, &service)),
        suppressed,
    })
}

impl Book {
    /// Returns the number of the next message. Messages that were dropped have had theirs, so that
    /// the receiver sees the gap.
    fn next_sequence(&mut self, dropped: u64) -> u64 {
        self.sequence += 1 + dropped.saturating_sub(self.skipped);
        self.skipped = dropped;
        self.sequence
    }

    /// Keeps a message that is about to be sent, and forgets those that surely arrived.
    fn keep(&mut self, message: String) {
        while let Some(oldest) = self.unsure.front()
            && oldest.left
            && (self.bytes > UNSURE_BYTES || oldest.at.elapsed() > UNSURE)
        {
            self.bytes -= oldest.message.len();
            self.unsure.pop_front();
        }
        self.bytes += message.len();
        self.unsure.push_back(Sent {
            at: Instant::now(),
            left: false,
            message,
        });
    }

    /// Decides what is sent again after a connection broke.
    fn broke(&mut self, error: &io::Error) {
        let unsure = if error.kind() == io::ErrorKind::UnexpectedEof {
            UNSURE_CLOSED
        } else if error.kind() == io::ErrorKind::ConnectionRefused {
            UNSURE_REFUSED
        } else {
            UNSURE
        };
        self.unsure
            .retain(|sent| !sent.left || sent.at.elapsed() <= unsure);
        self.bytes = self.unsure.iter().map(|sent| sent.message.len()).sum();
    }
}
