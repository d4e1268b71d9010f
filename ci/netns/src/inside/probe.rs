//! One connection, looked at closely: what came, how it ended, and when.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddrV4};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::socket::connect_from;

/// A connection to open.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Probe {
    /// The server, or the service in front of it.
    pub target: SocketAddrV4,
    /// Milliseconds of silence after the handshake.
    pub silent_ms: u64,
    /// What to say then.
    pub say: String,
    /// Whether to say that this was all.
    pub shutdown: bool,
    /// How many bytes to wait for; none: until the other side ends it.
    pub wanted: Option<usize>,
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Everything that was wanted has come.
    #[default]
    Satisfied,
    /// The other side said that this was all.
    Closed,
    /// The other side reset it.
    Reset,
    /// The handshake was refused.
    Refused,
    /// Nothing happened for five seconds.
    Silence,
    /// Another error.
    Other,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// What the other side said.
    pub answer: String,
    /// How it ended.
    pub end: End,
    /// Milliseconds from the begin to the end of the handshake.
    pub handshake_ms: f64,
    /// Milliseconds from the end of the handshake to the end.
    pub end_ms: f64,
}

const LIMIT: Duration = Duration::from_secs(5);

impl Probe {
    /// Plans to wait for what the server says first.
    #[must_use]
    pub fn listen(target: SocketAddrV4) -> Self {
        Self {
            target,
            silent_ms: 0,
            say: String::new(),
            shutdown: false,
            wanted: None,
        }
    }

    /// Plans to have some words echoed.
    #[must_use]
    pub fn echo(target: SocketAddrV4, say: &str) -> Self {
        Self {
            say: say.to_owned(),
            wanted: Some(say.len()),
            ..Self::listen(target)
        }
    }

    /// Opens the connection and looks.
    #[must_use]
    pub fn run(&self) -> ProbeReport {
        let began = Instant::now();
        let mut report = ProbeReport::default();
        let opened = connect_from(None, self.target, LIMIT);
        report.handshake_ms = milliseconds(began);
        let since = Instant::now();
        report.end = match opened {
            Ok(mut stream) => self.talk(&mut stream, &mut report.answer),
            Err(error) => end(error.kind()),
        };
        report.end_ms = milliseconds(since);
        report
    }

    fn talk(&self, stream: &mut std::net::TcpStream, answer: &mut String) -> End {
        thread::sleep(Duration::from_millis(self.silent_ms));
        if !self.say.is_empty()
            && let Err(error) = stream.write_all(self.say.as_bytes())
        {
            return end(error.kind());
        }
        if self.shutdown
            && let Err(error) = stream.shutdown(Shutdown::Write)
        {
            return end(error.kind());
        }
        let mut buffer = vec![0; 65_536];
        loop {
            if self.wanted.is_some_and(|wanted| answer.len() >= wanted) {
                return End::Satisfied;
            }
            match stream.read(&mut buffer) {
                Ok(0) => return End::Closed,
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    answer.push_str(&String::from_utf8_lossy(bytes));
                }
                Err(error) => return end(error.kind()),
            }
        }
    }
}

fn end(kind: ErrorKind) -> End {
    const KINDS: [(ErrorKind, End); 5] = [
        (ErrorKind::ConnectionReset, End::Reset),
        (ErrorKind::BrokenPipe, End::Reset),
        (ErrorKind::ConnectionRefused, End::Refused),
        (ErrorKind::WouldBlock, End::Silence),
        (ErrorKind::TimedOut, End::Silence),
    ];
    let known = KINDS.iter().find(|(known, _)| *known == kind);
    known.map_or(End::Other, |(_, end)| *end)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;

    fn listener() -> (TcpListener, SocketAddrV4) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(target) = listener.local_addr().unwrap() else {
            panic!()
        };
        (listener, target)
    }

    #[test]
    fn greeting_and_orderly_end_are_told_from_a_refusal() {
        let (listener, target) = listener();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"hello").unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).unwrap();
            heard
        });
        let mut probe = Probe::listen(target);
        "bye".clone_into(&mut probe.say);
        probe.shutdown = true;
        let report = probe.run();
        assert_eq!((report.answer.as_str(), report.end), ("hello", End::Closed));
        assert_eq!(server.join().unwrap(), b"bye");
        assert_eq!(probe.run().end, End::Refused, "nobody listens any more");
    }

    #[test]
    fn wanted_bytes_end_the_wait() {
        let (listener, target) = listener();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"hello").unwrap();
            thread::sleep(LIMIT);
        });
        let mut probe = Probe::listen(target);
        probe.wanted = Some(5);
        assert_eq!(probe.run().end, End::Satisfied);
    }
}
