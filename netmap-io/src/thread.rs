//! The priority of packet threads.

use std::io;

/// How much a packet thread goes before ordinary ones: half way to the most that there is.
const NICE: libc::c_int = -10;

/// Lets the calling thread go before ordinary ones on its core. It does not become a real-time
/// thread, so a flood cannot keep operators out.
///
/// # Errors
/// When the kernel refuses, for lack of `CAP_SYS_NICE`.
pub fn prefer_this_thread() -> io::Result<()> {
    // SAFETY: `setpriority` takes numbers only; 0 names the calling thread.
    let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    if done == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_changes() {
        let nice_of_this_thread = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
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
