//! The priority of packet threads.

use std::fs;
use std::io;

use nix::unistd::{getpid, getsid};

/// How much a packet thread goes before ordinary ones: half way to the most that there is.
const NICE: libc::c_int = -10;
/// The least that there is.
const LEAST: libc::c_int = 19;

/// Lets the calling thread go before ordinary ones on its core. It does not become a real-time
/// thread, so a flood cannot keep operators out.
///
/// # Errors
/// When the kernel refuses, for lack of `CAP_SYS_NICE`.
pub fn prefer_this_thread() -> io::Result<()> {
    set_nice(NICE)?;
    if getsid(None) == Ok(getpid()) {
        prefer_this_session();
    }
    Ok(())
}

/// Lets the calling thread run only where nobody else wants to: for what is of use, but in no
/// hurry.
///
/// # Errors
/// When the kernel refuses, which it has no reason for.
pub fn give_way() -> io::Result<()> {
    set_nice(LEAST)
}

fn set_nice(nice: libc::c_int) -> io::Result<()> {
    // SAFETY: `setpriority` takes numbers only; 0 names the calling thread.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if done == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// The group that the kernel makes of a session, and its nice value.
const AUTOGROUP: &str = "/proc/self/autogroup";

/// Where the kernel groups processes by session (`kernel.sched_autogroup_enabled`), a thread's nice
/// value counts inside of its group only: the kernel thread that polls a device would take half of
/// the worker's core in an overload, for frames that the worker has no time for. A service manager
/// gives a daemon a session of its own; a session that is shared with others is left as it is.
fn prefer_this_session() {
    // A kernel that does not group has no such file, and a refusal costs frames and nothing else.
    let _ = fs::write(AUTOGROUP, NICE.to_string());
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A session's share is everybody's in it, so this runs in one of its own.
    #[test]
    fn a_session_of_our_own_goes_before_others_and_a_shared_one_does_not() {
        const ALONE: &str = "WEIR_TEST_ALONE";
        let group = || fs::read_to_string(AUTOGROUP).unwrap_or_default();
        if std::env::var_os(ALONE).is_some() {
            let grouped = !group().is_empty();
            let done = std::thread::spawn(prefer_this_thread).join().unwrap();
            if grouped && done.is_ok() {
                assert!(group().trim().ends_with("nice -10"), "{}", group());
            }
            return;
        }
        let before = group();
        let _ = std::thread::spawn(prefer_this_thread).join().unwrap();
        assert_eq!(group(), before);
        let mut alone = Command::new("setsid");
        alone.args([
            "--wait".as_ref(),
            std::env::current_exe().unwrap().as_os_str(),
        ]);
        let name = "a_session_of_our_own_goes_before_others_and_a_shared_one_does_not";
        let alone = alone.args([name, "--test-threads=1"]).env(ALONE, "1");
        assert!(alone.status().unwrap().success());
    }

    #[test]
    fn only_the_calling_thread_changes() {
        let nice_of_this_thread = || {
            let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
            // Behind the name in brackets, the nice value is the 17th field.
            let fields = stat.rsplit_once(')').unwrap().1;
            fields
                .split_whitespace()
                .nth(16)
                .unwrap()
                .parse::<i32>()
                .unwrap()
        };
        let before = nice_of_this_thread();
        let inside = std::thread::spawn(move || {
            let done = prefer_this_thread();
            (done.is_ok(), nice_of_this_thread())
        });
        let (done, after) = inside.join().unwrap();
        // Without the capability the kernel refuses, and nothing changes.
        assert_eq!(after, if done { NICE } else { before });
        assert_eq!(nice_of_this_thread(), before);
    }
}
