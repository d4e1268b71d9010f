//! An ear for ARP: what the kernel hears on a device, for the control thread's neighbour tables.
//!
//! ARP for VIPs and LIPs goes to the workers. What is left, gratuitous announcements and answers
//! to the port's own address, passes to the kernel, and this tap hears it on the way.

#[expect(unsafe_code, reason = "receives into a buffer of ours")]
mod sys;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use nix::errno::Errno;

use crate::ethtool;

/// The longest ARP frame that is kept: Ethernet, one tag, ARP for IPv4, and padding.
const LONGEST: usize = 128;

/// Hears the ARP frames of one device; never blocks.
#[derive(Debug)]
pub struct ArpTap {
    socket: sys::Tap,
    buffer: [u8; LONGEST],
}

impl ArpTap {
    /// Opens a tap on a device.
    ///
    /// # Errors
    /// When there is no such device, or without `CAP_NET_RAW`.
    pub fn open(device: &str) -> io::Result<Self> {
        let ifindex = ethtool::facts(device)?.ifindex;
        Ok(Self {
            socket: sys::Tap::open(ifindex)?,
            buffer: [0; LONGEST],
        })
    }

    /// Returns the next ARP frame, Ethernet header first; none when no more was heard.
    ///
    /// # Errors
    /// `ENETDOWN` when the device was switched off; the tap hears again when it is back.
    pub fn next_frame(&mut self) -> io::Result<Option<&[u8]>> {
        match self.socket.receive(&mut self.buffer) {
            Ok(len) => Ok(self.buffer.get(..len.min(LONGEST))),
            Err(Errno::EAGAIN) => Ok(None),
            Err(cause) => Err(cause.into()),
        }
    }
}

impl AsRawFd for ArpTap {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_fd().as_raw_fd()
    }
}

impl AsFd for ArpTap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
