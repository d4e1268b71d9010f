//! A configuration that needs the daemon to start again: data ports, drivers, workers.
//!
//! `weir apply` changes what can change while packets flow; the rest takes another start. The new
//! file is checked, the daemon ends and starts on it, and where it does not come up the file of before
//! is put back.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::durable;
use crate::events::Event;
use crate::handle::{Handle, Order};

/// How long a daemon may take to answer on its new configuration.
const PATIENCE: Duration = Duration::from_mins(1);
/// Where the file of before is kept until the new one has proved to work.
const BEFORE: &str = "weir.conf.before";

/// Starts the daemon again, on a new file where one is given; returns when it answers.
///
/// # Errors
/// Says why the file was refused, or why the one of before is back.
pub(crate) fn restart(
    handle: &Handle,
    new: Option<&[u8]>,
    by: &str,
    from: &str,
    say: &mut dyn FnMut(String),
) -> Result<(), String> {
    let places = handle.places();
    let file = places.config();
    let before = fs::read(&file).ok();
    if let Some(new) = new {
        check(new)?;
        let cannot = |error| format!("{} cannot be written: {error}", file.display());
        if let Some(before) = &before {
            durable::write(&places.etc.join(BEFORE), before, 0o600).map_err(cannot)?;
        }
        durable::write(&file, new, 0o600).map_err(cannot)?;
    }
    let what = if new.is_some() {
        " on another configuration"
    } else {
        ""
    };
    say(format!(
        "the daemon starts again{what}; packets are lost until it does"
    ));
    let text = format!("{by} has the daemon start again{what}");
    let event = Event::notice("restart", text);
    handle.say(event.field("by", by).field("from", from));
    if again(handle) {
        // It has served its purpose.
        let _ = fs::remove_file(places.etc.join(BEFORE));
        return Ok(());
    }
    let why = last_words(handle);
    let (Some(_), Some(before)) = (new, before) else {
        return Err(format!("the daemon does not start: {why}"));
    };
    durable::write(&file, &before, 0o600)
        .map_err(|error| format!("the file of before cannot be put back: {error}"))?;
    let text = format!(
        "the daemon did not start on the configuration of {by}, that of before runs: {why}"
    );
    let event = Event::error("restart", &text);
    handle.say(event.field("by", by).field("from", from));
    say("it does not start; the configuration of before comes back".to_owned());
    again(handle);
    Err(text)
}

/// Has the daemon end and start, and says whether it answers within its time.
fn again(handle: &Handle) -> bool {
    let begun = Instant::now();
    handle.order(Order::RestartDaemon);
    let drains = handle
        .seen()
        .running
        .map_or(Duration::ZERO, |it| it.box_of.stop_after);
    while begun.elapsed() < PATIENCE + drains {
        thread::sleep(Duration::from_millis(250));
        // The one that ran before us has run for longer than we wait.
        let status = handle.seen().status;
        if status.is_some_and(|it| {
            Duration::from_secs(it.uptime_s) + Duration::from_secs(1) < begun.elapsed()
        }) {
            return true;
        }
    }
    false
}

/// Has this program check a file as an operator would.
fn check(new: &[u8]) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("the file cannot be checked: {error}");
    let itself = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(itself);
    command.args(["check", "-", "--format", "short"]);
    let pipes = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = pipes.spawn().map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(new).map_err(failed)?;
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(if said.is_empty() {
        "the file has mistakes".to_owned()
    } else {
        said
    })
}

/// What the daemon said last.
fn last_words(handle: &Handle) -> String {
    let log = fs::read_to_string(handle.places().run.join("daemon.log")).unwrap_or_default();
    let mut lines = log.lines().rev().filter(|line| !line.trim().is_empty());
    lines.next().unwrap_or("nobody knows why").to_owned()
}
