//! A client without a kernel behind it: it sends the segments of a handshake one by one, so that a
//! cookie can be kept, replayed, or shown to another Weir.
//!
//! The kernel of the namespace sees the answers, too, and would reset connections that it does not
//! know: its RSTs from the raw client's address must be dropped there.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};

const FIN: u8 = 0x01;
pub(super) const SYN: u8 = 0x02;
pub(super) const RST: u8 = 0x04;
const PSH: u8 = 0x08;
pub(super) const ACK: u8 = 0x10;
const HEADER: usize = 20;
/// MSS 1460, SACK, window scale 7, as a client without timestamps sends them.
pub(super) const OPTIONS: &[u8] = &[2, 4, 5, 180, 1, 1, 4, 2, 1, 3, 3, 7];
const PATIENCE: Duration = Duration::from_secs(2);

/// A first segment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct RawSyn {
    /// The client.
    pub source: SocketAddrV4,
    /// The service.
    pub target: SocketAddrV4,
    /// The client's initial sequence number.
    pub isn: u32,
}

/// A handshake of which only the client's ACK is missing.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Half {
    /// The first segment.
    pub syn: RawSyn,
    /// The sequence number of the SYN-ACK: the cookie.
    pub cookie: u32,
    /// The window that the SYN-ACK allows.
    pub window: u16,
}

/// The ACK of a handshake, with what follows it at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RawAck {
    /// The handshake.
    pub half: Half,
    /// Data in the ACK itself.
    pub say: String,
    /// Whether the ACK is a FIN, too.
    pub fin: bool,
    /// How long to listen, in milliseconds, unless the other side ends it earlier or `wanted` bytes
    /// have come.
    pub listen_ms: u64,
    /// How many bytes are enough.
    pub wanted: usize,
}

/// What the ACK was answered with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RawReport {
    /// The data that came in order.
    pub answer: String,
    /// Whether anything came at all.
    pub heard: bool,
    /// Whether a RST came.
    pub reset: bool,
    /// Whether the other side said that this was all.
    pub closed: bool,
    /// Milliseconds until the end.
    pub ms: f64,
}

#[derive(Debug)]
struct Segment {
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    payload: Vec<u8>,
}

impl RawSyn {
    /// Sends the SYN and waits for the SYN-ACK.
    ///
    /// # Errors
    /// When none comes within two seconds, or a RST does.
    pub fn run(&self) -> Result<Half> {
        let wire = Wire::open(self.source, self.target)?;
        wire.send(self.isn, 0, SYN, OPTIONS, &[])?;
        let end = Instant::now() + PATIENCE;
        while let Some(segment) = wire.receive(end)? {
            ensure!(segment.flags & RST == 0, "the SYN was answered with a RST");
            if segment.flags & (SYN | ACK) == SYN | ACK && segment.ack == self.isn.wrapping_add(1) {
                return Ok(Half {
                    syn: *self,
                    cookie: segment.seq,
                    window: segment.window,
                });
            }
        }
        anyhow::bail!("the SYN was not answered")
    }
}

impl RawAck {
    /// Sends the ACK and listens; acknowledges what comes.
    ///
    /// # Errors
    /// When the segments cannot be sent.
    pub fn run(&self) -> Result<RawReport> {
        let Half { syn, cookie, .. } = self.half;
        let wire = Wire::open(syn.source, syn.target)?;
        let began = Instant::now();
        let end = began + Duration::from_millis(self.listen_ms);
        let say = self.say.as_bytes();
        let flags = ACK | if say.is_empty() { 0 } else { PSH } | if self.fin { FIN } else { 0 };
        let mut mine = syn.isn.wrapping_add(1);
        let mut theirs = cookie.wrapping_add(1);
        wire.send(mine, theirs, flags, &[], say)?;
        mine = mine.wrapping_add(say.len() as u32 + u32::from(self.fin));
        let mut report = RawReport::default();
        while !report.reset
            && !report.closed
            && (self.wanted == 0 || report.answer.len() < self.wanted)
        {
            let Some(segment) = wire.receive(end)? else {
                break;
            };
            report.heard = true;
            report.reset = segment.flags & RST != 0;
            if report.reset || segment.seq != theirs {
                continue;
            }
            theirs = theirs.wrapping_add(segment.payload.len() as u32);
            report
                .answer
                .push_str(&String::from_utf8_lossy(&segment.payload));
            report.closed = segment.flags & FIN != 0;
            theirs = theirs.wrapping_add(u32::from(report.closed));
            if report.closed || !segment.payload.is_empty() {
                wire.send(mine, theirs, ACK, &[], &[])?;
            }
        }
        report.ms = began.elapsed().as_secs_f64() * 1e3;
        Ok(report)
    }
}

/// A raw socket between a client and a service.
pub(super) struct Wire {
    socket: OwnedFd,
    source: SocketAddrV4,
    target: SocketAddrV4,
}

impl Wire {
    pub(super) fn open(source: SocketAddrV4, target: SocketAddrV4) -> Result<Self> {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Tcp,
        )
        .context("cannot make a raw socket")?;
        let address = SockaddrIn::from(SocketAddrV4::new(*source.ip(), 0));
        bind(socket.as_raw_fd(), &address).with_context(|| format!("{source} is not mine"))?;
        let tick = TimeVal::new(0, 20_000);
        setsockopt(&socket, sockopt::ReceiveTimeout, &tick).context("cannot set the time limit")?;
        Ok(Self {
            socket,
            source,
            target,
        })
    }

    fn send(&self, seq: u32, ack: u32, flags: u8, options: &[u8], payload: &[u8]) -> Result<()> {
        self.send_to(self.target, [seq, ack], flags, options, payload)
    }

    pub(super) fn send_to(
        &self,
        target: SocketAddrV4,
        numbers: [u32; 2],
        flags: u8,
        options: &[u8],
        payload: &[u8],
    ) -> Result<()> {
        let segment = segment((self.source, target), numbers, flags, options, payload);
        let to = SockaddrIn::from(SocketAddrV4::new(*target.ip(), 0));
        sendto(self.socket.as_raw_fd(), &segment, &to, MsgFlags::empty())
            .context("cannot send a raw segment")?;
        Ok(())
    }

    /// Returns the port and the flags of the next segment from any port of the target's address, of
    /// those that are here or come until `end`.
    pub(super) fn next_answer(&self, end: Instant) -> Result<Option<(u16, u8)>> {
        let mut buffer = [0; 2048];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => {
                    let packet = buffer.get(..length).unwrap_or_default();
                    if let Some(found) = answer(packet, *self.target.ip(), self.source) {
                        return Ok(Some(found));
                    }
                }
                Err(errno) if std::io::Error::from(errno).kind() == ErrorKind::WouldBlock => {
                    if Instant::now() >= end {
                        return Ok(None);
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(errno) => return Err(errno).context("cannot receive raw segments"),
            }
        }
    }

    /// Returns the next segment of this connection; none when the time is over.
    fn receive(&self, end: Instant) -> Result<Option<Segment>> {
        let mut buffer = vec![0; 65_536];
        while Instant::now() < end {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => {
                    let packet = buffer.get(..length).unwrap_or_default();
                    if let Some(segment) = parse(packet, self.target, self.source) {
                        return Ok(Some(segment));
                    }
                }
                Err(errno) if std::io::Error::from(errno).kind() == ErrorKind::WouldBlock => {}
                Err(errno) => return Err(errno).context("cannot receive raw segments"),
            }
        }
        Ok(None)
    }
}

fn segment(
    (source, target): (SocketAddrV4, SocketAddrV4),
    [seq, ack]: [u32; 2],
    flags: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + options.len() + payload.len());
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(target.port().to_be_bytes());
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ack.to_be_bytes());
    let words = (HEADER + options.len()) / 4;
    bytes.extend([(words as u8) << 4, flags, 0xfa, 0xf0, 0, 0, 0, 0]);
    bytes.extend(options);
    bytes.extend(payload);
    let sum = checksum(*source.ip(), *target.ip(), &bytes).to_be_bytes();
    bytes.splice(16..18, sum);
    bytes
}

/// The checksum of a segment whose own field is zero (RFC 9293 section 3.1).
fn checksum(source: Ipv4Addr, target: Ipv4Addr, segment: &[u8]) -> u16 {
    let length = (segment.len() as u16).to_be_bytes();
    let pseudo = [&source.octets()[..], &target.octets(), &[0, 6], &length].concat();
    let mut sum: u32 = [pseudo.as_slice(), segment]
        .iter()
        .flat_map(|part| part.chunks(2))
        .map(|pair| {
            let [high, low] = [0, 1].map(|at| u32::from(pair.get(at).copied().unwrap_or(0)));
            high << 8 | low
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Reads a segment from one end point to another out of an IPv4 packet.
fn parse(packet: &[u8], from: SocketAddrV4, to: SocketAddrV4) -> Option<Segment> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let segment = packet.get(header..)?;
    let half = |at: usize| {
        Some(u16::from_be_bytes(
            segment.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    let word = |at: usize| {
        Some(u32::from_be_bytes(
            segment.get(at..at + 4)?.try_into().ok()?,
        ))
    };
    if source != from.ip().octets() || half(0)? != from.port() || half(2)? != to.port() {
        return None;
    }
    let offset = usize::from(*segment.get(12)? >> 4) * 4;
    Some(Segment {
        seq: word(4)?,
        ack: word(8)?,
        flags: *segment.get(13)?,
        window: half(14)?,
        payload: segment.get(offset..)?.to_vec(),
    })
}

/// Reads port and flags of a segment to an end point out of an IPv4 packet from an address.
fn answer(packet: &[u8], from: Ipv4Addr, to: SocketAddrV4) -> Option<(u16, u8)> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let [high, low]: [u8; 2] = packet.get(header..header + 2)?.try_into().ok()?;
    let port = u16::from_be_bytes([high, low]);
    let segment = parse(packet, SocketAddrV4::new(from, port), to)?;
    Some((port, segment.flags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_read_back_as_they_were_written() {
        let (source, target) = (
            "10.0.0.1:4000".parse().unwrap(),
            "10.0.0.2:80".parse().unwrap(),
        );
        let bytes = segment((source, target), [7, 9], SYN | ACK, OPTIONS, b"abc");
        assert_eq!(checksum(*source.ip(), *target.ip(), &bytes), 0);
        let mut packet = vec![0x45; 20];
        packet.splice(12..16, source.ip().octets());
        packet.extend(&bytes);
        let read = parse(&packet, source, target).unwrap();
        assert_eq!((read.seq, read.ack, read.flags), (7, 9, SYN | ACK));
        assert_eq!(
            (read.window, read.payload.as_slice()),
            (0xfaf0, &b"abc"[..])
        );
        assert!(parse(&packet, target, source).is_none(), "the other way");
        for length in 0..packet.len() - 3 {
            assert!(
                parse(&packet[..length], source, target).is_none(),
                "{length}"
            );
        }
    }
}
