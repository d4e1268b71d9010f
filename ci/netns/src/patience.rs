//! Waiting for what comes about in its own time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

const POLL: Duration = Duration::from_millis(50);

/// Tries until it comes out well or the time is over; then what came out last holds.
///
/// # Errors
/// What the last attempt said.
pub fn within<T>(time: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + time;
    loop {
        let result = attempt();
        if result.is_ok() || Instant::now() >= end {
            return result;
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    #[test]
    fn what_comes_out_well_in_time_holds() {
        let mut attempts = 0;
        let result = within(Duration::from_mins(1), || {
            attempts += 1;
            ensure!(attempts == 3, "{attempts}");
            Ok(attempts)
        });
        assert_eq!(result.unwrap(), 3);
    }

    #[test]
    fn what_does_not_says_why_at_the_end() {
        let result: Result<()> = within(Duration::ZERO, || anyhow::bail!("not yet"));
        assert_eq!(result.unwrap_err().to_string(), "not yet");
    }
}
