//! The programs that the agent keeps running: daemon, SSH, the asker for a lease.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::handle::{Handle, Message};
use crate::supervise::Restart;

/// What the daemon writes is cut to nothing at this length.
const LOG_LIMIT: u64 = 4 << 20;
/// A program is asked again after so long: of two signals that come at once it would see one.
const AGAIN: Duration = Duration::from_secs(1);

/// A program and how it is to be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// The program.
    pub(crate) program: PathBuf,
    /// Its words.
    pub(crate) words: Vec<String>,
    /// What is in its environment beside ours.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Where it writes.
    pub(crate) output: Output,
    /// How soon it goes when memory runs out: from -1000, never, to 1000.
    pub(crate) oom: i16,
}

/// Where a program writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Nowhere.
    Nowhere,
    /// To the end of a file.
    File(PathBuf),
    /// Line by line to the main loop.
    Lines,
}

/// A program that is kept running.
#[derive(Debug)]
pub(crate) struct Kept {
    call: Option<Call>,
    /// How the one that runs was called.
    running: Option<Call>,
    process: Option<Process>,
    restart: Restart,
    /// Since when it has been asked to end.
    ending: Option<Duration>,
    /// When it was last asked.
    asked: Duration,
    note: PathBuf,
}

/// What became of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was started.
    Started,
    /// It ended by itself: how, and how long it rests.
    Ended(String, Duration),
    /// It could not be started: why, and how long it rests.
    Failed(String, Duration),
    /// It was stopped on purpose.
    Stopped,
}

#[derive(Debug)]
enum Process {
    Child(Child),
    /// Started by an agent before this one.
    Adopted(Pid),
}

impl Kept {
    /// Makes one that is not called yet, and takes over the one that an agent before this one left.
    pub(crate) fn new(name: &str, run: &Path) -> Self {
        Self {
            call: None,
            running: None,
            process: None,
            restart: Restart::new(),
            ending: None,
            asked: Duration::ZERO,
            note: run.join(format!("{name}.pid")),
        }
    }

    /// Takes over what an agent before this one left running, as if it had been called so.
    pub(crate) fn adopt(&mut self, call: &Call, now: Duration) {
        let Some(pid) = left(&self.note, &call.program) else {
            return;
        };
        self.process = Some(Process::Adopted(pid));
        self.running = Some(call.clone());
        self.restart.want(true);
        self.restart.started(now);
    }

    /// Ends what an agent before this one left running, because nobody hears it any more.
    pub(crate) fn end_leftover(&self, program: &Path) {
        if let Some(pid) = left(&self.note, program) {
            // It may end by itself at this moment.
            let _ = kill(pid, Signal::SIGTERM);
        }
    }

    /// Says how it is to be called; none is not at all.
    pub(crate) fn want(&mut self, call: Option<Call>) {
        self.restart.want(call.is_some());
        self.call = call;
    }

    /// Says whether one runs that was called otherwise.
    pub(crate) fn called_otherwise(&self, call: Option<&Call>) -> bool {
        self.process.is_some() && self.running.as_ref() != call
    }

    /// Says whether it runs.
    pub(crate) const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Asks it to end, so that it is started anew where it is wanted.
    pub(crate) fn restart(&mut self, now: Duration) {
        self.stop(now);
    }

    /// Looks after it: starts it when that is due, stops it when it is not wanted or to be called
    /// otherwise, and says what became of it. After `patience` it is killed.
    pub(crate) fn look_after(
        &mut self,
        now: Duration,
        patience: Duration,
        handle: &Handle,
    ) -> Option<Outcome> {
        if let Some(how) = self.has_ended() {
            self.process = None;
            self.running = None;
            // The next one writes its own.
            let _ = fs::remove_file(&self.note);
            let rests = self.restart.ended(now);
            if self.ending.take().is_some() {
                // It was asked to: the next one begins at once.
                let wanted = self.call.is_some();
                self.restart = Restart::new();
                self.restart.want(wanted);
                return Some(Outcome::Stopped);
            }
            return Some(Outcome::Ended(how, rests));
        }
        let otherwise = self.process.is_some() && self.call.is_some() && self.running != self.call;
        if self.restart.is_unwanted() || otherwise {
            self.stop(now);
        }
        if let Some(since) = self.ending
            && now.saturating_sub(since) >= patience
        {
            self.signal(Signal::SIGKILL);
        }
        if self.process.is_some() || !self.restart.is_due(now) {
            return None;
        }
        let call = self.call.clone()?;
        match start(&call, handle) {
            Ok(child) => {
                self.restart.started(now);
                // A kernel that refuses leaves it as likely to go as we are.
                let oom = format!("/proc/{}/oom_score_adj", child.id());
                let _ = fs::write(oom, call.oom.to_string());
                // Without the note a new agent would start another one beside it.
                let _ = fs::write(&self.note, child.id().to_string());
                self.process = Some(Process::Child(child));
                self.running = Some(call);
                Some(Outcome::Started)
            }
            Err(error) => {
                let rests = self.restart.ended(now);
                Some(Outcome::Failed(error.to_string(), rests))
            }
        }
    }

    /// Asks one that is asked to end already to do so at once, and again until it has.
    pub(crate) fn hurry(&mut self, now: Duration) {
        if self.ending.is_some() && now.saturating_sub(self.asked) >= AGAIN {
            self.asked = now;
            self.signal(Signal::SIGTERM);
        }
    }

    fn stop(&mut self, now: Duration) {
        if self.process.is_some() && self.ending.is_none() {
            self.ending = Some(now);
            self.asked = now;
            self.signal(Signal::SIGTERM);
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = match &self.process {
            Some(Process::Child(child)) => Pid::from_raw(child.id().cast_signed()),
            Some(Process::Adopted(pid)) => *pid,
            None => return,
        };
        // It may have ended at this moment.
        let _ = kill(pid, signal);
    }

    /// Says how it ended; none where it runs, or there is none.
    fn has_ended(&mut self) -> Option<String> {
        match self.process.as_mut()? {
            Process::Child(child) => match child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(words(status)),
                Err(error) => Some(format!("nobody knows how: {error}")),
            },
            Process::Adopted(pid) => kill(*pid, None)
                .is_err()
                .then(|| "nobody knows how".to_owned()),
        }
    }
}

/// Says how a program ended.
fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("killed by {}", signal.as_str()),
            Err(_) => format!("killed by signal {number}"),
        },
        (None, None) => "nobody knows how".to_owned(),
    }
}

/// Finds the process of a note, where it still is that program.
fn left(note: &Path, program: &Path) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(note).ok()?.trim().parse().ok()?;
    let runs = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = runs.split(|byte| *byte == 0).next()?;
    let first = Path::new(std::str::from_utf8(first).ok()?);
    (first.file_name() == program.file_name()).then(|| Pid::from_raw(pid))
}

fn start(call: &Call, handle: &Handle) -> io::Result<Child> {
    let mut command = Command::new(&call.program);
    command.args(&call.words).stdin(Stdio::null());
    for (name, value) in &call.environment {
        command.env(name, value);
    }
    match &call.output {
        Output::Nowhere => {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        Output::File(path) => {
            let file = log_file(path)?;
            command.stdout(file.try_clone()?).stderr(file);
        }
        Output::Lines => {
            command.stdout(Stdio::null()).stderr(Stdio::piped());
        }
    }
    let mut child = command.spawn()?;
    if let Some(said) = child.stderr.take() {
        let handle = handle.clone();
        let builder = thread::Builder::new().name("lines".to_owned());
        builder.spawn(move || {
            let lines = BufReader::new(said).lines();
            for line in lines.map_while(Result::ok) {
                handle.tell(Message::Ssh(line));
            }
        })?;
    }
    Ok(child)
}

fn log_file(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|it| it.len() > LOG_LIMIT) {
        fs::remove_file(path)?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// Cuts a log that has grown too long; whoever writes to its end goes on at the beginning.
pub(crate) fn trim(path: &Path) {
    if fs::metadata(path).is_ok_and(|it| it.len() > LOG_LIMIT) {
        // The next look tries again.
        let _ = OpenOptions::new().write(true).truncate(true).open(path);
    }
}

#[cfg(test)]
mod tests;
