//! On which of a device's queues the packets of a connection come in.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};

/// Returns the number by which the kernel calls the receive queue that the last packet of a
/// connected socket came in on: the same for the same queue, and another one for another. None where
/// it does not tell: for packets of this machine, of drivers without NAPI, or in a kernel without
/// busy polling.
///
/// # Errors
/// When the kernel does not know the question.
pub fn incoming_queue(socket: &impl AsFd) -> io::Result<Option<u32>> {
    let mut number: libc::c_uint = 0;
    let mut len = size_of::<libc::c_uint>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes to `number`, which is ours and as long.
    let done = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_INCOMING_NAPI_ID,
            (&raw mut number).cast(),
            &raw mut len,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((number != 0).then_some(number))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn connections_of_this_machine_come_in_on_no_queue() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(incoming_queue(&stream).unwrap(), None);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(incoming_queue(&file).is_err());
    }
}
