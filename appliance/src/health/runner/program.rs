//! One program: started, waited for, ended when its time is over.

use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{End, Ran, Run, refusal};

/// How much of what a program writes is kept.
const MOST_OUTPUT: usize = 4 << 10;
/// How long a program's last words may take once it has ended: a child of it may hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(50);
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
    thread: thread::JoinHandle<()>,
}

impl Words {
    fn hear(mut output: std::io::PipeReader) -> std::io::Result<Self> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let keep = heard.clone();
        let thread = thread::Builder::new().spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let mut heard = keep.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MOST_OUTPUT.saturating_sub(heard.len());
                heard.extend(buffer.iter().take(length.min(room)));
            }
        })?;
        Ok(Self { heard, thread })
    }

    fn take(self) -> String {
        let until = Instant::now() + LAST_WORDS;
        while !self.thread.is_finished() && Instant::now() < until {
            thread::sleep(Duration::from_millis(1));
        }
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&heard).into_owned()
    }
}
