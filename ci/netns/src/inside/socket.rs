//! TCP connections with a source address of one's own choice and a time limit.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

/// How often each kind of failure was seen.
pub type Failures = BTreeMap<String, u64>;

/// Connects from `source`, or from where the kernel likes; reads and writes keep the time limit.
///
/// # Errors
/// As `connect(2)`; a time-out is `TimedOut`.
pub fn connect_from(
    source: Option<Ipv4Addr>,
    target: SocketAddrV4,
    limit: Duration,
) -> io::Result<TcpStream> {
    let fd = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SO_SNDTIMEO bounds connect(2) as well.
    setsockopt(
        &fd,
        sockopt::SendTimeout,
        &TimeVal::new(limit.as_secs().cast_signed(), 0),
    )?;
    setsockopt(
        &fd,
        sockopt::ReceiveTimeout,
        &TimeVal::new(limit.as_secs().cast_signed(), 0),
    )?;
    if let Some(source) = source {
        bind(
            fd.as_raw_fd(),
            &SockaddrIn::from(SocketAddrV4::new(source, 0)),
        )?;
    }
    match connect(fd.as_raw_fd(), &SockaddrIn::from(target)) {
        Ok(()) => {}
        Err(nix::errno::Errno::EINPROGRESS) => return Err(io::ErrorKind::TimedOut.into()),
        Err(errno) => return Err(errno.into()),
    }
    let stream = TcpStream::from(fd);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Adds a failure under the stage that it happened in.
pub fn count(failures: &mut Failures, stage: &str, error: &io::Error) {
    // A read that reaches SO_RCVTIMEO answers EAGAIN.
    let is_late = error.kind() == io::ErrorKind::WouldBlock;
    let kind = if is_late {
        io::ErrorKind::TimedOut
    } else {
        error.kind()
    };
    *failures.entry(format!("{stage}: {kind}")).or_default() += 1;
}

/// Adds the failures of one thread to those of all.
pub fn merge(all: &mut Failures, one: Failures) {
    for (kind, times) in one {
        *all.entry(kind).or_default() += times;
    }
}
