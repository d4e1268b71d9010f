//! One program: started, waited for, ended when its time is over.

use std::io::{PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{End, Ran, Run, refusal};

/// How much of what a program writes is kept.
const MOST_OUTPUT: usize = 4 << 10;
/// How long it is listened to what a program wrote once it has ended: a child of it may go on.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Where programs find others.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs a program to its end.
pub(super) fn run(run: &Run) -> Ran {
    let (end, output) = match start(run) {
        Ok((child, words)) => {
            let end = wait(child, Duration::from_millis(run.timeout_ms));
            (end, words.take())
        }
        Err(sentence) => (End::NotRun(sentence), String::new()),
    };
    Ran {
        ticket: run.ticket,
        end,
        output,
    }
}

fn start(run: &Run) -> Result<(Child, Words), String> {
    let path = Path::new(&run.program);
    if let Some(sentence) = refusal(path) {
        return Err(sentence);
    }
    let cannot = |error: std::io::Error| format!("{} cannot be run: {error}", run.program);
    let (output, to_output) = std::io::pipe().map_err(cannot)?;
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("PATH", PATH)
        .envs(run.environment.iter().map(|(name, value)| (name, value)))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::from(to_output.try_clone().map_err(cannot)?))
        .stderr(Stdio::from(to_output))
        // So that its children end with it.
        .process_group(0);
    let child = command.spawn().map_err(cannot)?;
    // The command holds the other end of the pipe.
    drop(command);
    Ok((child, Words::hear(output).map_err(cannot)?))
}

/// Waits for a program's end, which comes with its time at the latest.
fn wait(mut child: Child, limit: Duration) -> End {
    let began = Instant::now();
    let mut pause = Duration::from_millis(1);
    let end = loop {
        match child.try_wait() {
            Ok(Some(status)) => break end_of(status),
            Err(error) => break End::NotRun(error.to_string()),
            Ok(None) => {}
        }
        let left = limit.saturating_sub(began.elapsed());
        if left.is_zero() {
            break End::Late;
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(20));
    };
    if let Ok(pid) = i32::try_from(child.id())
        && end == End::Late
    {
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
        let _ = child.wait();
    }
    end
}

fn end_of(status: ExitStatus) -> End {
    match (status.code(), status.signal()) {
        (Some(code), _) => End::Exit(code),
        (None, Some(signal)) => End::Signal(signal),
        (None, None) => End::NotRun(status.to_string()),
    }
}

/// What a program writes, heard by a thread that ends with the pipe.
struct Words {
    heard: Arc<Mutex<Vec<u8>>>,
    /// Only to see whether there is more of it.
    output: PipeReader,
    thread: thread::JoinHandle<()>,
}

impl Words {
    fn hear(output: PipeReader) -> std::io::Result<Self> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (keep, from) = (heard.clone(), output.try_clone()?);
        let thread = thread::Builder::new().spawn(move || listen(from, &keep))?;
        Ok(Self {
            heard,
            output,
            thread,
        })
    }

    /// Returns what a program wrote that has ended: all of it, however late the thread has a core.
    fn take(self) -> String {
        let until = Instant::now() + LAST_WORDS;
        loop {
            let is_over = self.thread.is_finished() || Instant::now() >= until;
            let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
            if is_over || heard.len() == MOST_OUTPUT || !has_more(&self.output) {
                return String::from_utf8_lossy(&heard).into_owned();
            }
            drop(heard);
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Keeps the begin of what comes through a pipe, to its end.
fn listen(mut output: PipeReader, keep: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 1024];
    loop {
        // Waits without the lock and reads with it: what is not in the pipe is heard.
        let waited = poll(&mut [looked_at(&output)], PollTimeout::NONE);
        let mut heard = keep.lock().unwrap_or_else(PoisonError::into_inner);
        if waited == Err(Errno::EINTR) {
            continue;
        }
        let Ok(length @ 1..) = output.read(&mut buffer) else {
            return;
        };
        let room = MOST_OUTPUT.saturating_sub(heard.len());
        heard.extend(buffer.iter().take(length.min(room)));
    }
}

/// Says whether something waits in the pipe.
fn has_more(output: &PipeReader) -> bool {
    let mut looked = [looked_at(output)];
    poll(&mut looked, PollTimeout::ZERO).is_ok()
        && looked.iter().any(|it| {
            it.revents()
                .is_some_and(|is| is.contains(PollFlags::POLLIN))
        })
}

fn looked_at(output: &PipeReader) -> PollFd<'_> {
    PollFd::new(output.as_fd(), PollFlags::POLLIN)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn all_that_was_written_is_heard_however_late_and_who_holds_the_pipe_is_not_waited_for() {
        let (output, mut input) = std::io::pipe().unwrap();
        input.write_all(b"7\n").unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (from, keep) = (output.try_clone().unwrap(), heard.clone());
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            listen(from, &keep);
        });
        let words = Words {
            heard,
            output,
            thread,
        };
        let began = Instant::now();
        assert_eq!(words.take(), "7\n");
        assert!(began.elapsed() < LAST_WORDS);
        drop(input);
    }
}
