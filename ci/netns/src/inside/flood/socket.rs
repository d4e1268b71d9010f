//! A flood of datagrams out of an ordinary socket: slow, but nobody is kept waiting for long.

use std::cell::Cell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use super::frame::{IP_SOURCE, SOURCE_PORT, Template};
use super::{NETWORK, Vector};

const ETHERNET: usize = 14;

/// Sends copies of a datagram, each of the next of its flows.
#[derive(Debug)]
pub(super) struct Socket {
    raw: OwnedFd,
    target: SocketAddrV4,
    template: Template,
    flows: u64,
    sent: Cell<u64>,
}

impl Socket {
    /// Opens a socket that sends the IP packets of a template from so many sources.
    pub(super) fn open(template: Template, target: SocketAddrV4, flows: u64) -> Result<Self> {
        ensure!(
            template.vector == Vector::Udp && flows > 0,
            "a socket sends datagrams of flows that come again, and nothing else"
        );
        let raw = socket(
            AddressFamily::Inet,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::Raw,
        )
        .context("cannot make a raw socket")?;
        Ok(Self {
            raw,
            target,
            template,
            flows,
            sent: Cell::new(0),
        })
    }

    /// Sends `count` datagrams; what the device refuses is not counted.
    pub(super) fn send(&self, count: u32) -> Result<()> {
        let to = SockaddrIn::from(SocketAddrV4::new(*self.target.ip(), 0));
        for _ in 0..count {
            let packet = self.packet(self.sent.get() % self.flows);
            match sendto(self.raw.as_raw_fd(), &packet, &to, MsgFlags::empty()) {
                Ok(_) => self.sent.set(self.sent.get() + 1),
                Err(Errno::ENOBUFS) => {}
                Err(errno) => return Err(errno).context("cannot send datagrams"),
            }
        }
        Ok(())
    }

    /// Returns the number of datagrams sent.
    pub(super) fn count(&self) -> u64 {
        self.sent.get()
    }

    /// Makes the datagram of a flow; the kernel fills in the header's checksum.
    fn packet(&self, flow: u64) -> Vec<u8> {
        let mut frame = self.template.bytes.clone();
        let source = Ipv4Addr::new(NETWORK, 1, (flow >> 8) as u8, flow as u8);
        frame.splice(at(IP_SOURCE, 4), source.octets());
        frame.splice(at(SOURCE_PORT, 2), 40_000_u16.to_be_bytes());
        frame.split_off(ETHERNET)
    }
}

fn at(offset: i16, len: usize) -> std::ops::Range<usize> {
    let offset = usize::from(offset.unsigned_abs());
    offset..offset + len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_sends_flows_of_datagrams_only() {
        let target = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);
        let template = |vector| Template::of(vector, ([2; 6], [4; 6]), target).remove(0);
        assert!(Socket::open(template(Vector::Syn), target, 4).is_err());
        assert!(Socket::open(template(Vector::Udp), target, 0).is_err());
        let Ok(socket) = Socket::open(template(Vector::Udp), target, 4) else {
            println!("skipped: raw sockets need root");
            return;
        };
        let packets: Vec<_> = (0..4).map(|flow| socket.packet(flow)).collect();
        for (flow, packet) in (0_u8..).zip(&packets) {
            assert_eq!(packet.len(), 20 + 32);
            assert_eq!(packet[12..20], [NETWORK, 1, 0, flow, 127, 0, 0, 1]);
            assert_eq!(packet[22..24], [0, 9]);
        }
    }
}
