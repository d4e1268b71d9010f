//! The runner: a small child process that runs the programs of checks and hooks.
//!
//! It is started before the daemon drops its privileges and does nothing but this. A program gets
//! no shell, no standard input, no environment but what [`Run`] says, and no time beyond its limit.

use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Sender, TrySendError, bounded};
use serde::{Deserialize, Serialize};

use crate::log;

mod program;

/// The name by which the child is called; what the binary does goes by it.
pub(crate) const NAME: &str = "weir-runner";
/// Requests that may wait for the child to read them.
const REQUESTS: usize = 1024;
/// The longest line that either side reads.
const MOST_LINE: u64 = 64 << 10;

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Given back with what became of it.
    pub(crate) ticket: u64,
    pub(crate) program: String,
    /// All that the program's environment has, besides `PATH`.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) timeout_ms: u64,
    /// Whether it waits for the end of those before it.
    pub(crate) in_turn: bool,
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ran {
    pub(crate) ticket: u64,
    pub(crate) end: End,
    /// What it wrote to its standard output and error, the first 4 KiB.
    pub(crate) output: String,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    /// With an exit status.
    Exit(i32),
    /// By a signal.
    Signal(i32),
    /// It was ended because its time was over.
    Late,
    /// It could not be run.
    NotRun(String),
}

/// The daemon's handle of the child, which ends when all handles are dropped.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    requests: Sender<Run>,
}

/// The child, before anybody speaks to it.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    socket: UnixStream,
}

impl Child {
    /// Starts the child.
    ///
    /// # Errors
    /// When there is no process or socket to be had.
    pub(crate) fn spawn() -> io::Result<Self> {
        let (socket, childs) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0(NAME)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(childs)))
            .stdout(Stdio::null())
            // What ends the daemon from a terminal must not end the child before it.
            .process_group(0);
        let process = command.spawn()?;
        Ok(Self { process, socket })
    }

    /// Begins to speak to the child; `ran` is called by a thread with what became of each program.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn listen(mut self, ran: impl FnMut(Ran) + Send + 'static) -> io::Result<Runner> {
        let runner = Runner::over(self.socket, ran)?;
        // It ends with its socket.
        thread::Builder::new()
            .name("runner-end".to_owned())
            .spawn(move || self.process.wait())?;
        Ok(runner)
    }
}

impl Runner {
    /// Speaks to a child over a socket.
    fn over(socket: UnixStream, mut ran: impl FnMut(Ran) + Send + 'static) -> io::Result<Self> {
        let (requests, take) = bounded::<Run>(REQUESTS);
        let mut to_child = socket.try_clone()?;
        thread::Builder::new()
            .name("runner-ask".to_owned())
            .spawn(move || {
                for run in take {
                    if write_line(&mut to_child, &run).is_err() {
                        break;
                    }
                }
                let _ = to_child.shutdown(std::net::Shutdown::Write);
            })?;
        thread::Builder::new()
            .name("runner-hear".to_owned())
            .spawn(move || {
                let mut lines = BufReader::new(socket);
                while let Some(done) = read_line(&mut lines) {
                    ran(done);
                }
            })?;
        Ok(Self { requests })
    }

    /// Has a program run; says whether there was room for it.
    pub(crate) fn run(&self, run: Run) -> bool {
        match self.requests.try_send(run) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// Says whether this process was called to be the child.
pub(crate) fn is_child() -> bool {
    std::env::args_os().next().as_deref() == Some(NAME.as_ref())
}

/// Is the child, until the daemon ends.
///
/// # Errors
/// When the standard input is not the daemon's socket.
pub(crate) fn be_child() -> io::Result<()> {
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    serve(socket)
}

/// Runs what comes over a socket until it is closed.
fn serve(socket: UnixStream) -> io::Result<()> {
    let answers = Arc::new(Mutex::new(socket.try_clone()?));
    let answer = move |ran: &Ran| {
        let mut socket = answers.lock().unwrap_or_else(PoisonError::into_inner);
        // The daemon has gone, and this process follows.
        let _ = write_line(&mut *socket, ran);
    };
    let (in_turn, take) = crossbeam_channel::unbounded::<Run>();
    let (programs, take_program) = crossbeam_channel::unbounded::<Run>();
    let last = answer.clone();
    let queue = thread::Builder::new().spawn(move || {
        for run in take {
            last(&program::run(&run));
        }
    })?;
    let mut workers = Workers {
        take: take_program,
        threads: 0,
        open: Arc::default(),
    };
    let mut lines = BufReader::new(socket);
    while let Some(run) = read_line::<Run>(&mut lines) {
        if run.in_turn {
            let _ = in_turn.send(run);
        } else {
            workers.grow(&answer)?;
            let _ = programs.send(run);
        }
    }
    // What is to run in turn runs to its end, also when the daemon has gone.
    drop(in_turn);
    let _ = queue.join();
    Ok(())
}

/// Threads of the child, each of which waits for one program.
struct Workers {
    take: crossbeam_channel::Receiver<Run>,
    threads: usize,
    open: Arc<std::sync::atomic::AtomicUsize>,
}

impl Workers {
    /// Programs that run at the same time.
    const MOST: usize = 64;

    fn grow(&mut self, answer: &(impl Fn(&Ran) + Clone + Send + 'static)) -> io::Result<()> {
        use std::sync::atomic::Ordering;
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        if open <= self.threads || self.threads >= Self::MOST {
            return Ok(());
        }
        let (take, open, answer) = (self.take.clone(), self.open.clone(), answer.clone());
        thread::Builder::new().spawn(move || {
            for run in take {
                let ran = program::run(&run);
                open.fetch_sub(1, Ordering::Relaxed);
                answer(&ran);
            }
        })?;
        self.threads += 1;
        Ok(())
    }
}

fn write_line(to: &mut impl Write, what: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)
}

/// Reads the next line; none at the end, or when the other side cannot be understood.
fn read_line<T: for<'a> Deserialize<'a>>(lines: &mut impl BufRead) -> Option<T> {
    let mut line = Vec::new();
    let mut limited = io::Read::take(lines, MOST_LINE);
    limited.read_until(b'\n', &mut line).ok()?;
    serde_json::from_slice(&line).ok()
}

/// Says why a program must not be run: whoever may write to it could have Weir run anything.
pub(crate) fn refusal(path: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let shown = path.display();
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) => {
            let cause = log::words(&error);
            return Some(format!("{shown} cannot be run: {cause}"));
        }
    };
    if !found.is_file() || found.mode() & 0o111 == 0 {
        return Some(format!("{shown} is not a program"));
    }
    if found.mode() & 0o022 != 0 {
        return Some(format!(
            "{shown} can be changed by others than its owner and is not run; chmod go-w it"
        ));
    }
    None
}

#[cfg(test)]
mod tests;
