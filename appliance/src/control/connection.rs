//! One client of a control socket: lines in, lines out, one request at a time.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use mio::net::UnixStream;
use weir_control::{
    Code, Greeting, LineError, LineReader, OPERATOR_REQUEST_LIMIT, REQUEST_LIMIT, Rejection, Reply,
    Request,
};
use weir_director::{ExplainQuery, Explained, PoolUse};
use weir_model::{Role, ServiceId};

use crate::control::candidate::Candidate;
use crate::control::operator::Operator;
use crate::control::overlay::ask::CensusJob;

/// No more rows are made for a client that has not read so many bytes yet.
const HIGH_WATER: usize = 256 * 1024;

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
    /// Whether real servers can be reached.
    Doctor,
    /// What keeps a real server from having no sessions.
    Census(Box<CensusJob>),
    /// A change, which control carries out; none once control has taken it.
    Change(Option<Request>),
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
    reader: LineReader,
    out: VecDeque<u8>,
    /// Nothing more is read; what is to be written is still written.
    closing: bool,
}

impl Connection {
    /// Greets a client.
    pub(crate) fn new(stream: UnixStream, role: Role, node: &str) -> Self {
        let operator = Operator::of(&stream, role);
        let mut connection = Self {
            stream,
            operator,
            job: None,
            reader: LineReader::new(match role {
                Role::Viewer => REQUEST_LIMIT,
                Role::Operator => OPERATOR_REQUEST_LIMIT,
            }),
            out: VecDeque::new(),
            closing: false,
        };
        connection.send_line(&Greeting::new(role, env!("CARGO_PKG_VERSION"), node).to_line());
        connection
    }

    /// Refuses a client instead of greeting it.
    pub(crate) fn refused(stream: UnixStream, code: Code, text: &str) -> Self {
        let mut connection = Self::new(stream, Role::Viewer, "");
        connection.out.clear();
        connection.refuse(code, text);
        connection.closing = true;
        connection
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
    pub(crate) fn next_request(&mut self) -> Option<Request> {
        while self.is_free() {
            match self.reader.next_line()? {
                Ok(line) => match Request::parse(&line) {
                    Ok(request) => match request.permitted(self.operator.role) {
                        Ok(()) => return Some(request),
                        Err(rejection) => self.send(&Reply::refused(&rejection)),
                    },
                    Err(rejection) => self.send(&Reply::refused(&rejection)),
                },
                Err(error @ LineError::TooLong { .. }) => {
                    self.refuse(Code::TooLong, &error.to_string());
                    self.closing = true;
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
                Ok(len) => drop(self.out.drain(..len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Says whether more may be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.out.len() < HIGH_WATER
    }

    /// Says whether the connection has ended and everything was written.
    pub(crate) fn is_over(&self) -> bool {
        self.closing && self.out.is_empty() && self.job.is_none()
    }

    #[cfg(test)]
    pub(crate) fn queued(&self) -> usize {
        self.out.len()
    }

    fn is_free(&self) -> bool {
        self.job.is_none() && self.has_room()
    }

    fn send_line(&mut self, line: &str) {
        self.out.extend(line.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use weir_control::What;

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
        assert_eq!(connection.next_request(), Some(show.clone()));
        connection.job = Some(Job::Pools {
            missing: 1,
            uses: vec![],
        });
        assert_eq!(connection.next_request(), None);
        connection.job = None;
        assert_eq!(connection.next_request(), Some(show));
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
