//! One client of a control socket: lines in, lines out, one request at a time.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use weir_control::{
    Asked, ClientRow, Code, Greeting, LineError, LineReader, OPERATOR_REQUEST_LIMIT, REQUEST_LIMIT,
    Rejection, Reply, Request, What,
};
use weir_director::{ExplainQuery, Explained, PoolUse};
use weir_model::{Role, ServiceId};

use crate::control::candidate::Candidate;
use crate::control::operator::Operator;
use crate::control::overlay::ask::CensusJob;

/// No more rows are made for a client that has not read so many bytes yet.
const HIGH_WATER: usize = 256 * 1024;

/// A client that takes nothing of what is written to it for this long is cut off.
const READS_WITHIN: Duration = Duration::from_secs(30);
/// A client that has begun a line must end it within this long.
const LINE_WITHIN: Duration = Duration::from_secs(30);
/// A client that asks nothing for this long makes room for others.
const ASKS_WITHIN: Duration = Duration::from_mins(15);

/// Why a client is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// A line longer than the limit, in bytes.
    LineTooLong(usize),
    /// A line without an end.
    LineUnfinished,
    /// It does not read.
    ReadsNothing,
    /// It asks nothing.
    Idle,
}

/// A request that needs answers of workers.
#[derive(Debug)]
pub(crate) enum Job {
    /// Sessions, worker by worker and chunk by chunk.
    Sessions(SessionsJob),
    /// The use of LIPs of every worker.
    Pools {
        /// Workers that have not answered yet.
        missing: usize,
        uses: Vec<PoolUse>,
    },
    /// What would become of a packet.
    Explain(ExplainJob),
    /// A question about files, which are much work to read: it waits for its turn.
    Files(Request),
    /// Whether real servers can be reached.
    Doctor,
    /// What keeps a real server from having no sessions.
    Census(Box<CensusJob>),
    /// A change, which control carries out; none once control has taken it.
    Change(Option<Asked>),
}

/// A question about a packet.
#[derive(Debug)]
pub(crate) struct ExplainJob {
    pub(crate) query: ExplainQuery,
    /// What else is to be asked.
    pub(crate) candidate: Option<Candidate>,
    /// What the worker that owns the flow decides, once it was asked.
    pub(crate) running: Vec<Explained>,
}

/// How far a `show sessions` has come.
#[derive(Debug)]
pub(crate) struct SessionsJob {
    pub(crate) service: Option<ServiceId>,
    pub(crate) client: Option<std::net::IpAddr>,
    /// Rows that may still be sent.
    pub(crate) left: u64,
    pub(crate) sent: u64,
    pub(crate) worker: usize,
    pub(crate) cursor: u32,
    /// Whether a worker has been asked and has not answered.
    pub(crate) asked: bool,
}

/// A connected client.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: UnixStream,
    pub(crate) operator: Operator,
    pub(crate) job: Option<Job>,
    /// Who is connected, this client among them.
    pub(crate) roster: Arc<Vec<ClientRow>>,
    reader: LineReader,
    out: VecDeque<u8>,
    /// Nothing more is read; what is to be written is still written.
    closing: bool,
    /// When it last took something of what is written to it, or had nothing to take.
    took_at: Instant,
    /// When it last ended a line, or had none begun.
    line_at: Instant,
    /// When it last asked something.
    asked_at: Instant,
    /// Why it is cut off, and whether that was said.
    cut: Option<(Cut, bool)>,
}

impl Connection {
    /// Greets a client.
    pub(crate) fn new(stream: UnixStream, role: Role, node: &str) -> Self {
        let operator = Operator::of(&stream, role);
        let now = Instant::now();
        let mut connection = Self {
            stream,
            operator,
            job: None,
            roster: Arc::default(),
            reader: LineReader::new(match role {
                Role::Viewer => REQUEST_LIMIT,
                Role::Operator => OPERATOR_REQUEST_LIMIT,
            }),
            out: VecDeque::new(),
            closing: false,
            took_at: now,
            line_at: now,
            asked_at: now,
            cut: None,
        };
        connection.send_line(&Greeting::new(role, env!("CARGO_PKG_VERSION"), node).to_line());
        connection
    }

    /// Refuses a client instead of greeting it.
    pub(crate) fn turn_away(&mut self, code: Code, text: &str) {
        self.out.clear();
        self.refuse(code, text);
        self.closing = true;
    }

    /// Reads a piece of what has arrived, unless a request is under way or much is waiting to be
    /// written: a client that does not read is not listened to either. Says whether it got some.
    ///
    /// # Errors
    /// When the connection broke.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        if self.closing || !self.is_free() {
            return Ok(false);
        }
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => {
                self.closing = true;
                Ok(false)
            }
            Ok(len) => {
                self.reader.push(piece.get(..len).unwrap_or_default());
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Returns the next request; lines that are none are answered here.
    pub(crate) fn next_request(&mut self) -> Option<Asked> {
        while self.is_free() && self.cut.is_none() {
            let Some(line) = self.reader.next_line() else {
                if self.reader.buffered() == 0 {
                    self.line_at = Instant::now();
                }
                return None;
            };
            self.line_at = Instant::now();
            self.asked_at = self.line_at;
            match line {
                Ok(line) => match Asked::parse(&line) {
                    Ok(asked) => match asked.request.permitted(self.operator.role) {
                        Ok(()) => return Some(asked),
                        Err(rejection) => self.send(&Reply::refused(&rejection)),
                    },
                    Err(rejection) => self.send(&Reply::refused(&rejection)),
                },
                Err(LineError::TooLong { limit }) => {
                    self.cut_off(Cut::LineTooLong(limit));
                    return None;
                }
                Err(error @ LineError::NotText) => self.refuse(Code::NotJson, &error.to_string()),
            }
        }
        None
    }

    /// Queues a reply.
    pub(crate) fn send(&mut self, reply: &Reply) {
        self.send_line(&reply.to_line());
    }

    /// Queues a row of `show`.
    pub(crate) fn send_row(&mut self, what: What, row: &impl serde::Serialize) {
        self.send_line(&Reply::row_line(what, row));
    }

    /// Queues a refusal.
    pub(crate) fn refuse(&mut self, code: Code, text: &str) {
        let text = text.to_owned();
        self.send(&Reply::refused(&Rejection { code, text }));
    }

    /// Writes what is queued, as far as the client takes it.
    ///
    /// # Errors
    /// When the connection broke.
    pub(crate) fn write(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            let (head, _) = self.out.as_slices();
            match self.stream.write(head) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => {
                    self.out.drain(..len);
                    self.took_at = Instant::now();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Cuts off a client that does not read, does not end its line or asks nothing, and says so once;
    /// also where its line was too long. Whoever calls this forgets a client that does not read:
    /// it would not take a last word either.
    pub(crate) fn judge(&mut self, now: Instant) -> Option<Cut> {
        if self.out.is_empty() {
            self.took_at = now;
        }
        // What waits for us does not run against the client.
        if !self.is_free() {
            self.line_at = now;
            self.asked_at = now;
        }
        let since = |then: Instant| now.saturating_duration_since(then);
        if since(self.took_at) >= READS_WITHIN {
            return Some(Cut::ReadsNothing);
        }
        if !self.closing && since(self.line_at) >= LINE_WITHIN {
            self.cut_off(Cut::LineUnfinished);
        }
        if !self.closing && since(self.asked_at) >= ASKS_WITHIN {
            self.cut_off(Cut::Idle);
        }
        let (cut, said) = self.cut.as_mut()?;
        (!std::mem::replace(said, true)).then_some(*cut)
    }

    /// Says whether more may be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.out.len() < HIGH_WATER
    }

    /// Says whether the client has closed its end; also while something of it is under way, when
    /// nothing is read of it.
    pub(crate) fn has_gone(&self) -> bool {
        let mut ends = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        let polled = poll(&mut ends, PollTimeout::ZERO);
        let [end] = ends;
        polled.is_ok()
            && end
                .revents()
                .is_some_and(|it| it.contains(PollFlags::POLLHUP))
    }

    /// Says whether the connection has ended and everything was written.
    pub(crate) fn is_over(&self) -> bool {
        self.closing && self.out.is_empty() && self.job.is_none()
    }

    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.out.len()
    }

    /// Lets time pass in which it takes nothing.
    #[cfg(test)]
    pub(crate) fn age(&mut self) {
        self.took_at = self.took_at.checked_sub(READS_WITHIN).unwrap();
    }

    fn cut_off(&mut self, cut: Cut) {
        let code = match cut {
            Cut::LineTooLong(_) => Code::TooLong,
            Cut::LineUnfinished | Cut::ReadsNothing | Cut::Idle => Code::Idle,
        };
        self.refuse(code, &format!("{cut}; the connection is closed"));
        self.closing = true;
        self.cut = Some((cut, false));
    }

    fn is_free(&self) -> bool {
        self.job.is_none() && self.has_room()
    }

    fn send_line(&mut self, line: &str) {
        self.out.extend(line.as_bytes());
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = |duration| humantime::format_duration(duration);
        match self {
            Self::LineTooLong(limit) => {
                write!(f, "{}", LineError::TooLong { limit: *limit })
            }
            Self::LineUnfinished => {
                write!(f, "the line was not ended within {}", span(LINE_WITHIN))
            }
            Self::ReadsNothing => write!(f, "nothing was read for {}", span(READS_WITHIN)),
            Self::Idle => write!(f, "nothing was asked for {}", span(ASKS_WITHIN)),
        }
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    fn pair() -> (Connection, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Connection::new(ours, Role::Viewer, "lb1"), theirs)
    }

    fn sent(connection: &mut Connection, client: &mut UnixStream) -> String {
        connection.write().unwrap();
        let mut text = vec![0; 64 * 1024];
        let len = client.read(&mut text).unwrap_or_default();
        String::from_utf8_lossy(&text[..len]).into_owned()
    }

    #[test]
    fn a_client_is_greeted_and_its_requests_come_one_by_one() {
        let (mut connection, mut client) = pair();
        let greeting = sent(&mut connection, &mut client);
        assert!(greeting.contains("\"role\":\"viewer\""), "{greeting}");
        let show = Request::Show {
            what: What::Ports,
            filter: weir_control::Filter::default(),
        };
        client
            .write_all(format!("{0}{0}", show.to_line()).as_bytes())
            .unwrap();
        connection.read().unwrap();
        assert_eq!(connection.next_request(), Some(show.clone().into()));
        connection.job = Some(Job::Pools {
            missing: 1,
            uses: vec![],
        });
        assert_eq!(connection.next_request(), None);
        connection.job = None;
        assert_eq!(connection.next_request(), Some(show.into()));
    }

    #[test]
    fn nonsense_is_answered_and_the_connection_goes_on() {
        let (mut connection, mut client) = pair();
        sent(&mut connection, &mut client);
        client
            .write_all(b"hello\n\xff\n{\"do\":\"fly\"}\n")
            .unwrap();
        connection.read().unwrap();
        assert_eq!(connection.next_request(), None);
        let answers = sent(&mut connection, &mut client);
        assert_eq!(answers.lines().count(), 3, "{answers}");
        assert!(!connection.is_over());
    }

    #[test]
    fn an_endless_line_ends_the_connection() {
        let (mut connection, mut client) = pair();
        sent(&mut connection, &mut client);
        client.write_all(&vec![b'x'; REQUEST_LIMIT + 1]).unwrap();
        for _ in 0..10 {
            connection.read().unwrap();
            assert_eq!(connection.next_request(), None);
        }
        let answers = sent(&mut connection, &mut client);
        assert!(answers.contains("9004"), "{answers}");
        assert!(connection.is_over());
    }

    #[test]
    fn who_does_not_read_ends_no_line_or_asks_nothing_is_cut_off_and_nobody_else() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let almost = |span: Duration| start + span.saturating_sub(second);
        let (mut deaf, _client) = pair();
        assert_eq!(deaf.judge(start), None);
        assert_eq!(deaf.judge(almost(READS_WITHIN)), None);
        assert_eq!(
            deaf.judge(start + READS_WITHIN + second),
            Some(Cut::ReadsNothing)
        );

        let (mut slow, mut client) = pair();
        sent(&mut slow, &mut client);
        client.write_all(b"{").unwrap();
        slow.read().unwrap();
        assert_eq!(slow.next_request(), None);
        assert_eq!(slow.judge(almost(LINE_WITHIN)), None);
        let late = Instant::now() + LINE_WITHIN;
        assert_eq!(slow.judge(late), Some(Cut::LineUnfinished));
        assert_eq!(slow.judge(late), None, "it is said once");
        let word = sent(&mut slow, &mut client);
        assert!(word.contains("8011") && word.contains("30s"), "{word}");
        assert!(slow.is_over());

        let (mut idle, mut client) = pair();
        sent(&mut idle, &mut client);
        for minute in 0..14 {
            idle.line_at = start + Duration::from_mins(minute);
            assert_eq!(idle.judge(start + Duration::from_mins(minute)), None);
        }
        // Its line is ended: there is none.
        idle.line_at = start + ASKS_WITHIN;
        assert_eq!(idle.judge(start + ASKS_WITHIN + second), Some(Cut::Idle));

        let (mut busy, mut client) = pair();
        sent(&mut busy, &mut client);
        busy.job = Some(Job::Change(None));
        assert_eq!(busy.judge(start + ASKS_WITHIN * 2), None);
    }

    #[test]
    fn a_client_that_has_gone_is_known_to_have_whatever_it_sent_before() {
        let (connection, mut client) = pair();
        client.write_all(b"{\"do\":\"doctor\"}\n").unwrap();
        assert!(!connection.has_gone());
        drop(client);
        assert!(connection.has_gone());
    }

    #[test]
    fn a_client_that_does_not_read_is_not_listened_to() {
        let (mut connection, mut client) = pair();
        while connection.has_room() {
            connection.send(&Reply::done(0));
        }
        client
            .write_all(b"{\"do\":\"show\",\"what\":\"ports\"}\n")
            .unwrap();
        connection.read().unwrap();
        assert_eq!(connection.next_request(), None);
    }
}
