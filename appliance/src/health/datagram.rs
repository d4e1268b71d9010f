//! Checks by a datagram: UDP, and ICMP echo (RFC 792).

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage,
};
use weir_model::UdpCheck;

use super::fetch::is_within;
use super::probe::{failure, unable};
use super::standing::{Answer, Cause, Outcome};

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// What an echo request carries, besides what tells it apart.
const PAYLOAD: [u8; 8] = *b"weirping";
/// Datagrams that are looked at in one go.
const A_TURN: usize = 64;

/// A datagram under way.
#[derive(Debug)]
pub(super) struct Datagram {
    socket: OwnedFd,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    /// No refusal.
    Peace,
    /// An answer with these bytes in it.
    Bytes(Vec<u8>),
    /// The echo of this number; a raw socket puts the IP header before it.
    Echo { number: u16, ident: u16, raw: bool },
}

impl Datagram {
    /// Sends a datagram.
    ///
    /// # Errors
    /// Returns the outcome where it is known at once.
    pub(super) fn udp(address: SocketAddr, check: &UdpCheck) -> Result<Self, Outcome> {
        let socket = open(address, SockType::Datagram, None).map_err(unable)?;
        socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(address)).map_err(failure)?;
        socket::send(socket.as_raw_fd(), &check.send, MsgFlags::empty()).map_err(failure)?;
        let wanted = match &check.answer {
            Some(answer) => Wanted::Bytes(answer.clone()),
            None => Wanted::Peace,
        };
        Ok(Self { socket, wanted })
    }

    /// Sends an echo request. The kernel lets some groups do so by a datagram socket and the
    /// privileged by a raw one.
    ///
    /// # Errors
    /// Returns the outcome where it is known at once.
    pub(super) fn ping(address: SocketAddr, number: u16) -> Result<Self, Outcome> {
        if address.is_ipv6() {
            return Err(unable(Errno::EAFNOSUPPORT));
        }
        let icmp = Some(SockProtocol::Icmp);
        let (socket, raw) = match open(address, SockType::Datagram, icmp) {
            Ok(socket) => (socket, false),
            Err(_) => (open(address, SockType::Raw, icmp).map_err(unable)?, true),
        };
        let anywhere = SocketAddr::new(address.ip(), 0);
        socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(anywhere)).map_err(failure)?;
        let ident = std::process::id() as u16;
        let request = echo_request(ident, number);
        socket::send(socket.as_raw_fd(), &request, MsgFlags::empty()).map_err(failure)?;
        let wanted = Wanted::Echo { number, ident, raw };
        Ok(Self { socket, wanted })
    }

    /// Returns what became of it; none while the answer is still awaited.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let mut buffer = [0; 2048];
        for _ in 0..A_TURN {
            let received =
                socket::recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT);
            match received {
                Ok(length) => {
                    let bytes = buffer.get(..length).unwrap_or_default();
                    if let Some(outcome) = self.judge(bytes) {
                        return Some(outcome);
                    }
                }
                Err(Errno::EAGAIN) => return None,
                Err(error) => return Some(failure(error)),
            }
        }
        None
    }

    /// Returns what it means that nothing came in time.
    pub(super) fn overdue(&self) -> Outcome {
        match self.wanted {
            Wanted::Peace => Outcome::Answered(Answer::default()),
            Wanted::Bytes(_) | Wanted::Echo { .. } => Outcome::Silent,
        }
    }

    fn judge(&self, bytes: &[u8]) -> Option<Outcome> {
        let good = Outcome::Answered(Answer::default());
        match &self.wanted {
            Wanted::Peace => Some(good),
            Wanted::Bytes(wanted) if is_within(bytes, wanted) => Some(good),
            Wanted::Bytes(wanted) => Some(Outcome::Failed(Cause::Said(format!(
                "the answer does not contain `{}`",
                wanted.escape_ascii()
            )))),
            Wanted::Echo { number, ident, raw } => {
                is_echo(bytes, *number, raw.then_some(*ident)).then_some(good)
            }
        }
    }
}

impl AsFd for Datagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn open(
    address: SocketAddr,
    kind: SockType,
    protocol: Option<SockProtocol>,
) -> Result<OwnedFd, Errno> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    socket::socket(family, kind, flags, protocol)
}

fn echo_request(ident: u16, number: u16) -> [u8; 16] {
    let ([i0, i1], [n0, n1]) = (ident.to_be_bytes(), number.to_be_bytes());
    let [p0, p1, p2, p3, p4, p5, p6, p7] = PAYLOAD;
    let mut request = [
        ECHO_REQUEST,
        0,
        0,
        0,
        i0,
        i1,
        n0,
        n1,
        p0,
        p1,
        p2,
        p3,
        p4,
        p5,
        p6,
        p7,
    ];
    let mut sum: u32 = request
        .chunks_exact(2)
        .map(|pair| {
            pair.iter()
                .fold(0, |word, byte| word << 8 | u32::from(*byte))
        })
        .sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    let [high, low] = (!(sum as u16)).to_be_bytes();
    let [_, _, first, second, ..] = &mut request;
    (*first, *second) = (high, low);
    request
}

/// Says whether a message is the echo of a number; one of a raw socket has an IP header before it
/// and may be somebody else's.
fn is_echo(bytes: &[u8], number: u16, raw_ident: Option<u16>) -> bool {
    let message = match (raw_ident, bytes) {
        (None, bytes) => bytes,
        (Some(_), [first, ..]) => bytes
            .get(usize::from(first & 0xf) * 4..)
            .unwrap_or_default(),
        (Some(_), []) => return false,
    };
    let [kind, 0, _, _, i0, i1, n0, n1, payload @ ..] = message else {
        return false;
    };
    let is_ours = raw_ident.is_none_or(|ident| u16::from_be_bytes([*i0, *i1]) == ident);
    *kind == ECHO_REPLY && is_ours && u16::from_be_bytes([*n0, *n1]) == number && payload == PAYLOAD
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_request_has_a_right_checksum() {
        let request = echo_request(0xabcd, 0xfffe);
        let sum: u32 = request
            .chunks_exact(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }

    #[test]
    fn only_the_echo_of_the_same_number_counts() {
        let mut reply = echo_request(7, 9);
        assert!(!is_echo(&reply, 9, None), "a request is no reply");
        reply[0] = ECHO_REPLY;
        assert!(is_echo(&reply, 9, None));
        assert!(!is_echo(&reply, 8, None));
        assert!(!is_echo(&reply[..12], 9, None));
        let mut raw = vec![0x45; 20];
        raw.extend(reply);
        assert!(is_echo(&raw, 9, Some(7)));
        assert!(!is_echo(&raw, 9, Some(8)), "somebody else's");
        assert!(!is_echo(&[], 9, Some(7)) && !is_echo(&[0x4f], 9, Some(7)));
    }
}
