//! Waiting for frames: `ppoll(2)` over the descriptors of a worker's ports.

use std::io;
use std::os::fd::RawFd;
use std::ptr;
use std::time::Duration;

/// The descriptors that wake a worker; made once, so that waiting allocates nothing.
#[derive(Debug)]
pub struct WaitSet {
    fds: Vec<libc::pollfd>,
}

impl WaitSet {
    /// Makes a set of descriptors, which must stay open as long as it is waited on.
    #[must_use]
    pub fn new(fds: impl IntoIterator<Item = RawFd>) -> Self {
        let fds = fds
            .into_iter()
            .map(|fd| libc::pollfd {
                fd,
                events: libc::POLLIN,
                revents: 0,
            })
            .collect();
        Self { fds }
    }

    /// Waits until one of the descriptors is readable or broken, a signal comes or the time is
    /// up, and says whether it was a descriptor.
    ///
    /// # Errors
    /// When the kernel refuses to wait.
    pub fn wait(&mut self, at_most: Duration) -> io::Result<bool> {
        let timeout = libc::timespec {
            tv_sec: i64::try_from(at_most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: at_most.subsec_nanos() as libc::c_long,
        };
        let (fds, count) = (self.fds.as_mut_ptr(), self.fds.len() as libc::nfds_t);
        // SAFETY: `fds` and `timeout` are ours and outlive the call, which writes `revents` only.
        let ready = unsafe { libc::ppoll(fds, count, &raw const timeout, ptr::null()) };
        if ready >= 0 {
            return Ok(ready > 0);
        }
        let error = io::Error::last_os_error();
        if error.kind() == io::ErrorKind::Interrupted {
            return Ok(false);
        }
        Err(error)
    }

    /// Says whether the last wait found the descriptor at this place of the set ready.
    #[must_use]
    pub fn is_ready(&self, place: usize) -> bool {
        self.fds.get(place).is_some_and(|fd| fd.revents != 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_readable_descriptor_ends_the_wait_and_is_named() {
        let (quiet, _keep) = UnixStream::pair().unwrap();
        let (ready, mut other) = UnixStream::pair().unwrap();
        let mut set = WaitSet::new([quiet.as_raw_fd(), ready.as_raw_fd()]);
        let start = Instant::now();
        assert!(!set.wait(Duration::from_millis(20)).unwrap());
        assert!(start.elapsed() >= Duration::from_millis(20));
        other.write_all(b"x").unwrap();
        assert!(set.wait(Duration::from_secs(10)).unwrap());
        assert_eq!((set.is_ready(0), set.is_ready(1)), (false, true));
        assert!(!set.is_ready(2));
    }
}
