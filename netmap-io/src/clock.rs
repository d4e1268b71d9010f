//! Whether somebody keeps the kernel's clock right.

use std::io;
use std::mem::MaybeUninit;
use std::time::Duration;

/// What the kernel was told of its clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockState {
    /// Whether a time service synchronises it.
    pub synchronised: bool,
    /// How wrong it may be at most, as far as that service knows.
    pub most_wrong: Duration,
}

/// Asks the kernel what it knows of its clock, and changes nothing.
///
/// # Errors
/// When the kernel refuses, as some containers do.
pub fn clock_state() -> io::Result<ClockState> {
    let mut state = MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: `adjtimex` fills the structure, which is ours and as long as it says; all zero asks for
    // no change.
    let code = unsafe { libc::adjtimex(state.as_mut_ptr()) };
    if code < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is made of integers only, for which zero is a value, and the kernel wrote the rest.
    let state = unsafe { state.assume_init() };
    Ok(ClockState {
        synchronised: code != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0,
        most_wrong: Duration::from_micros(u64::try_from(state.maxerror).unwrap_or_default()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_its_clock() {
        match clock_state() {
            // The kernel counts up to 16 seconds and calls that unsynchronised.
            Ok(state) => assert!(state.most_wrong <= Duration::from_secs(16), "{state:?}"),
            Err(refused) => assert_eq!(refused.raw_os_error(), Some(libc::EPERM)),
        }
    }
}
