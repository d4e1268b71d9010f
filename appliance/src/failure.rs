//! What a panic costs: inside a packet that packet, anywhere else the daemon.
//!
//! Half a daemon is worse than none: a worker that is gone would swallow the packets of its queue
//! for ever, while whoever started us restarts a daemon that has ended.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::SystemTime;

use crate::log;

/// A flood of poisoned packets must not flood the log.
const MOST_SENTENCES: u32 = 64;

/// What was said of failures in packets, for the crash ring.
static SAID: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    static IN_PACKET: Cell<bool> = const { Cell::new(false) };
}

/// Says that the code panicked, and that this was survived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

/// Runs the part of a turn that handles packets; a panic in it is survived.
#[inline]
pub(crate) fn in_packet<R>(run: impl FnOnce() -> R) -> Result<R, Panicked> {
    IN_PACKET.set(true);
    // The caller asks the director to settle its state, which is what unwind safety is about.
    let result = catch_unwind(AssertUnwindSafe(run));
    IN_PACKET.set(false);
    result.map_err(|_| Panicked)
}

/// Returns what was said of failures in packets, each with its time.
pub(crate) fn sentences() -> Vec<String> {
    SAID.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// From now on a panic outside of a packet ends the process with a sentence.
pub(crate) fn end_the_process_on_panics() {
    set_hook(Box::new(|info| {
        if IN_PACKET.get() {
            report_survived(info);
        } else {
            die(&format!("{} panicked: {}", this_thread(), describe(info)));
        }
    }));
}

/// Ends the process at once; the kernel detaches what the drivers attached, and the next start
/// restores the interfaces' settings.
pub(crate) fn die(cause: &str) -> ! {
    log::say(format!("{cause}; the daemon ends, start it again"));
    std::process::abort();
}

fn report_survived(info: &PanicHookInfo<'_>) {
    static REPORTED: AtomicU32 = AtomicU32::new(0);
    let reported = REPORTED.fetch_add(1, Ordering::Relaxed);
    if reported < MOST_SENTENCES {
        let sentence = format!(
            "{} failed in a packet, which was dropped and its session reset: {}",
            this_thread(),
            describe(info)
        );
        let at = humantime::format_rfc3339_seconds(SystemTime::now());
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        said.push(format!("{at} {sentence}"));
        drop(said);
        log::say(sentence);
    }
    if reported + 1 == MOST_SENTENCES {
        log::say("further failures in packets are counted as `internal` only");
    }
}

fn this_thread() -> String {
    thread::current().name().unwrap_or("a thread").to_owned()
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let text = info.payload_as_str().unwrap_or("no message");
    match info.location() {
        Some(place) => format!("{text} ({}:{})", place.file(), place.line()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn a_panic_in_a_packet_comes_back_as_an_error() {
        assert_eq!(in_packet(|| 7), Ok(7));
        let empty: [u8; 0] = [];
        assert_eq!(
            in_packet(|| assert!(empty.len() == 1, "poisoned")),
            Err(Panicked)
        );
        assert!(!IN_PACKET.get());
    }

    #[test]
    fn a_panic_outside_of_a_packet_ends_the_process_with_a_sentence() {
        const CHILD: &str = "WEIR_TEST_IS_TO_PANIC";
        if std::env::var_os(CHILD).is_some() {
            end_the_process_on_panics();
            assert_eq!(in_packet(|| panic!("poisoned")), Err::<(), _>(Panicked));
            let said = sentences();
            assert!(
                said.len() == 1 && said[0].contains("poisoned ("),
                "{said:?}"
            );
            panic!("a bug");
        }
        let name = "failure::tests::a_panic_outside_of_a_packet_ends_the_process_with_a_sentence";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert_eq!(output.status.signal(), Some(nix::libc::SIGABRT));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("failed in a packet") && said.contains("poisoned"),
            "{said}"
        );
        assert!(
            said.contains("panicked: a bug") && said.contains("start it again"),
            "{said}"
        );
    }
}
