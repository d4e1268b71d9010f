//! The client of the agent's socket.

use std::io::{self, BufRead, BufReader, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use serde_json::Value;
use thiserror::Error;
use weir_control::Introduction;

use crate::protocol::{ANSWER_LIMIT, Answer, Ask, Request, SOCKET};

/// An agent that says nothing for so long is taken for dead; it says something every few seconds
/// while it writes an update.
const PATIENCE: Duration = Duration::from_mins(2);

/// Says why the agent did not do what it was asked.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// There is no agent.
    #[error("cannot connect to {SOCKET}: {0}; this is for operators of the appliance image only")]
    Connect(io::Error),
    /// The agent ended, or said nothing for too long.
    #[error("the agent did not end its answer: {0}; look at `weir box` for what was done")]
    Broken(io::Error),
    /// It is no agent, or a newer one.
    #[error("the agent said what this program does not understand: {0}")]
    Foreign(String),
    /// What is said about the person cannot be taken.
    #[error("{0}")]
    Nameless(String),
    /// The agent refused.
    #[error("{0}")]
    Refused(String),
}

/// Asks the agent, in the name of whom the environment names; returns the rows of its answer.
pub(crate) fn ask(
    request: &Request,
    file: Option<OwnedFd>,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Value>, Failure> {
    let said = Introduction::from_environment(|name| std::env::var(name).ok());
    let said = said.map_err(Failure::Nameless)?.unwrap_or_default();
    let ask = Ask {
        request: request.clone(),
        name: said.name,
        from: said.from,
    };
    ask_at(Path::new(SOCKET), &ask, file, progress)
}

/// Asks the agent behind a socket.
pub(crate) fn ask_at(
    path: &Path,
    ask: &Ask,
    file: Option<OwnedFd>,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<Value>, Failure> {
    let stream = UnixStream::connect(path).map_err(Failure::Connect)?;
    let patience = stream.set_read_timeout(Some(PATIENCE));
    patience.map_err(Failure::Connect)?;
    let line = serde_json::to_string(ask).map_err(|error| Failure::Foreign(error.to_string()))?;
    send(&stream, &format!("{line}\n"), file.as_ref()).map_err(Failure::Broken)?;
    // The agent holds the only other end now, so that its end is seen.
    drop(file);
    let mut lines = BufReader::new(stream);
    let mut rows = Vec::new();
    loop {
        match next(&mut lines)? {
            Answer::Progress(text) => progress(&text),
            Answer::Row(row) => rows.push(row),
            Answer::Done(_) => return Ok(rows),
            Answer::Error(sentence) => return Err(Failure::Refused(sentence)),
        }
    }
}

fn send(mut stream: &UnixStream, line: &str, file: Option<&OwnedFd>) -> io::Result<()> {
    let Some(file) = file else {
        return stream.write_all(line.as_bytes());
    };
    let files = [file.as_raw_fd()];
    let beside = [ControlMessage::ScmRights(&files)];
    let bytes = [IoSlice::new(line.as_bytes())];
    let sent = sendmsg::<UnixAddr>(stream.as_raw_fd(), &bytes, &beside, MsgFlags::empty(), None)?;
    stream.write_all(line.as_bytes().get(sent..).unwrap_or_default())
}

fn next(lines: &mut impl BufRead) -> Result<Answer, Failure> {
    let mut line = String::new();
    let limit = ANSWER_LIMIT as u64;
    let read = lines.take(limit).read_line(&mut line);
    if read.map_err(Failure::Broken)? == 0 {
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection");
        return Err(Failure::Broken(error));
    }
    serde_json::from_str(&line).map_err(|error| Failure::Foreign(error.to_string()))
}

/// Returns another descriptor of the standard input.
pub(crate) fn standard_input() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

/// Returns another descriptor of the standard output.
pub(crate) fn standard_output() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}
