//! A probe: one TCP handshake of the kernel's own stack, as far as a SYN-ACK.
//!
//! The handshake's last ACK is held back and the socket is closed with a RST. So the real server's
//! kernel has said whether somebody listens, and with which options, while its application is
//! never woken, accepts nothing, logs nothing, and no TIME-WAIT is left at either end. A full
//! accept queue still shows: then the kernel does not answer SYNs.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    self, AddressFamily, SetSockOpt, SockFlag, SockType, SockaddrStorage, sockopt,
};
use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};
use weir_model::Offer;

use super::standing::{Answer, Cause, Outcome};

// The head of `struct tcp_info`; the kernel fills as much as there is room for.
sockopt_impl!(
    /// Reads what the kernel knows of a connection.
    TcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, [u8; INFO_LEN]
);
sockopt_impl!(
    /// Says whether ACKs are sent at once.
    TcpQuickAck, SetOnly, libc::IPPROTO_TCP, libc::TCP_QUICKACK, bool
);

/// Up to and with `tcpi_rtt`.
const INFO_LEN: usize = 72;
/// `TCP_ESTABLISHED` and `TCP_SYN_SENT` of the kernel's states.
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
/// Bits of `tcpi_options`.
const TIMESTAMPS: u8 = 1;
const SACK: u8 = 2;
const WSCALE: u8 = 4;
/// What the timestamp option takes of every segment (RFC 7323 appendix A).
const TIMESTAMPS_LEN: u32 = 12;

/// A handshake under way; closing it resets the connection.
#[derive(Debug)]
pub(crate) struct Probe(OwnedFd);

impl Probe {
    /// Sends a SYN.
    ///
    /// # Errors
    /// Returns the outcome where it is known at once.
    pub(crate) fn begin(address: SocketAddr) -> Result<Self, Outcome> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::Inet,
            SocketAddr::V6(_) => AddressFamily::Inet6,
        };
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket::socket(family, SockType::Stream, flags, None).map_err(unable)?;
        // Both before the SYN: on a fast path its answer is there when `connect` returns.
        TcpQuickAck.set(&socket, &false).map_err(unable)?;
        let at_once = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        sockopt::Linger.set(&socket, &at_once).map_err(unable)?;
        match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(Self(socket)),
            Err(error) => Err(failure(error)),
        }
    }

    /// Returns what became of it; none while the answer is still awaited.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        let read = socket::getsockopt(&self.0, sockopt::SocketError)
            .and_then(|error| Ok((error, socket::getsockopt(&self.0, TcpInfo)?)));
        match read {
            Ok((0, info)) => match info.first().copied() {
                Some(SYN_SENT) => None,
                Some(ESTABLISHED) => Some(Outcome::Answered(Answer {
                    options: Some(options(&info)),
                    weight: None,
                    rtt_us: rtt_us(&info),
                })),
                // Reset since, and somebody else has read the error.
                Some(_) | None => Some(failure(Errno::ECONNRESET)),
            },
            Ok((error, _)) => Some(failure(Errno::from_raw(error))),
            Err(error) => Some(unable(error)),
        }
    }
}

impl AsFd for Probe {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Says which options this machine does not offer itself, so that no real server is seen to have
/// them.
pub(crate) fn blind_spots() -> Vec<String> {
    let options = [
        ("tcp_sack", "SACK"),
        ("tcp_timestamps", "timestamps"),
        ("tcp_window_scaling", "a window scale"),
    ];
    let is_off = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
        text.is_ok_and(|text| text.trim() == "0")
    };
    let off = options.into_iter().filter(|(name, _)| is_off(name));
    off.map(|(name, option)| {
        format!(
            "net.ipv4.{name} is 0, so no real server will be seen to have {option}, and no client \
             is offered it by SYNPROXY; set it to 1 before the start"
        )
    })
    .collect()
}

/// Reads the options that both ends agreed on, which are the real server's: this end offers all.
fn options(info: &[u8; INFO_LEN]) -> Offer {
    let [_, _, _, _, _, options, scales, ..] = *info;
    let timestamps = options & TIMESTAMPS != 0;
    // What fits beside the options of each segment; the option in the SYN-ACK says it without.
    let room = word(info, 16).unwrap_or_default();
    let mss = if timestamps {
        room.saturating_add(TIMESTAMPS_LEN)
    } else {
        room
    };
    Offer {
        mss: u16::try_from(mss).unwrap_or(u16::MAX),
        wscale: (options & WSCALE != 0).then_some(scales & 0xf),
        sack: options & SACK != 0,
        timestamps,
    }
}

/// Reads how long the SYN-ACK took to come, in microseconds.
fn rtt_us(info: &[u8; INFO_LEN]) -> Option<u32> {
    word(info, 68).filter(|micros| *micros != 0)
}

fn word(info: &[u8; INFO_LEN], at: usize) -> Option<u32> {
    let bytes = info.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

/// What this machine lacks says nothing about the real server.
pub(super) fn failure(error: Errno) -> Outcome {
    const LACKS: [Errno; 9] = [
        Errno::EMFILE,
        Errno::ENFILE,
        Errno::ENOBUFS,
        Errno::ENOMEM,
        Errno::EAGAIN,
        Errno::EADDRNOTAVAIL,
        Errno::EADDRINUSE,
        Errno::EACCES,
        Errno::EPERM,
    ];
    if LACKS.contains(&error) {
        return unable(error);
    }
    Outcome::Failed(Cause::Errno(error))
}

/// This machine cannot ask.
pub(super) fn unable(error: Errno) -> Outcome {
    Outcome::Unable(Cause::Errno(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(options: u8, scales: u8, mss: u32) -> [u8; INFO_LEN] {
        let mut info = [0; INFO_LEN];
        info[0] = ESTABLISHED;
        info[5] = options;
        info[6] = scales;
        info[16..20].copy_from_slice(&mss.to_ne_bytes());
        info[68..].copy_from_slice(&250_u32.to_ne_bytes());
        info
    }

    #[test]
    fn options_are_read_from_the_kernels_layout() {
        assert_eq!(
            options(&info(7, 0xa7, 1448)),
            Offer {
                mss: 1460,
                wscale: Some(7),
                sack: true,
                timestamps: true
            }
        );
        assert_eq!(
            options(&info(0, 0xa0, 1460)),
            Offer {
                mss: 1460,
                wscale: None,
                sack: false,
                timestamps: false
            }
        );
        assert_eq!(options(&info(4, 0xa0, 70_000)).wscale, Some(0));
        assert_eq!(rtt_us(&info(7, 0xa7, 1448)), Some(250));
        assert_eq!(rtt_us(&[0; INFO_LEN]), None);
    }

    #[test]
    fn a_lack_of_this_machine_is_no_failure_of_the_real_server() {
        assert_eq!(failure(Errno::EMFILE), unable(Errno::EMFILE));
        assert_eq!(
            failure(Errno::EHOSTUNREACH),
            Outcome::Failed(Cause::Errno(Errno::EHOSTUNREACH))
        );
    }
}
