//! The AF_PACKET socket: each call of the kernel as one safe function.

use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use crate::bpf::Program;

/// `ETH_P_ALL`, as `bind` and `socket` want it.
const ALL_PROTOCOLS: u16 = 3u16.to_be();

/// How the sockets of a device share its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fanout {
    /// By the queue that the device received the frame on, of which the lowest has this number in
    /// the kernel's notes.
    Queue {
        /// See above.
        lowest: u16,
    },
    /// By the flow's symmetric hash.
    Hash,
}

impl Fanout {
    fn mode(self) -> u32 {
        match self {
            Self::Queue { .. } => libc::PACKET_FANOUT_QM,
            Self::Hash => libc::PACKET_FANOUT_HASH,
        }
    }
}

/// One raw packet socket, bound to one device.
#[derive(Debug)]
pub(super) struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Makes a socket that receives nothing yet.
    pub(super) fn new() -> Result<Self, Errno> {
        // SAFETY: socket(2) touches no memory of ours.
        let fd = unsafe {
            libc::socket(
                libc::AF_PACKET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                0,
            )
        };
        let fd = Errno::result(fd)?;
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Sets a `SOL_PACKET` option to a number.
    pub(super) fn set_packet_option(&self, name: libc::c_int, value: i32) -> Result<(), Errno> {
        self.set_option(libc::SOL_PACKET, name, &value)
    }

    /// Sets the size of the send buffer past the system's limit where that is allowed.
    pub(super) fn set_send_buffer(&self, bytes: i32) -> Result<(), Errno> {
        self.set_option(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &bytes)
            .or_else(|_| self.set_option(libc::SOL_SOCKET, libc::SO_SNDBUF, &bytes))
    }

    /// Sets the size of the queue for long frames past the system's limit where that is allowed.
    pub(super) fn set_receive_buffer(&self, bytes: i32) -> Result<(), Errno> {
        self.set_option(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)
            .or_else(|_| self.set_option(libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes))
    }

    /// Asks for a receive ring.
    pub(super) fn set_rx_ring(&self, request: &libc::tpacket_req) -> Result<(), Errno> {
        self.set_option(libc::SOL_PACKET, libc::PACKET_RX_RING, request)
    }

    /// Puts an eBPF program in front of the socket, in place of the one before.
    pub(super) fn attach_filter(&self, program: &Program) -> Result<(), Errno> {
        let fd: RawFd = program.as_raw_fd();
        self.set_option(libc::SOL_SOCKET, libc::SO_ATTACH_BPF, &fd)
    }

    /// Binds to a device; from here on frames arrive.
    pub(super) fn bind(&self, ifindex: u32) -> Result<(), Errno> {
        // SAFETY: an all-zero `sockaddr_ll` is a valid value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ALL_PROTOCOLS;
        address.sll_ifindex = ifindex.cast_signed();
        // SAFETY: the kernel reads the address, which lives through the call; its size is given.
        let result = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                std::ptr::from_ref(&address).cast(),
                size_of_val(&address) as u32,
            )
        };
        Errno::result(result).map(drop)
    }

    /// Joins fanout group `group`, or makes a new one when `group` is none, and returns its number.
    pub(super) fn join(&self, group: Option<u16>, fanout: Fanout) -> Result<u16, Errno> {
        let mut mode = fanout.mode() | libc::PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
        if group.is_none() {
            // The kernel then picks a number that no other process uses.
            mode |= libc::PACKET_FANOUT_FLAG_UNIQUEID;
        }
        let value = mode << 16 | u32::from(group.unwrap_or(0));
        self.set_option(libc::SOL_PACKET, libc::PACKET_FANOUT, &value)?;
        if let Some(group) = group {
            return Ok(group);
        }
        let mut answer = 0u32;
        self.get_option(libc::PACKET_FANOUT, &mut answer)?;
        Ok(answer as u16)
    }

    /// Returns how many frames the ring lost since the last call, which resets the count.
    pub(super) fn take_losses(&self) -> Result<u64, Errno> {
        let mut answer = libc::tpacket_stats {
            tp_packets: 0,
            tp_drops: 0,
        };
        self.get_option(libc::PACKET_STATISTICS, &mut answer)?;
        Ok(u64::from(answer.tp_drops))
    }

    /// Takes the error that the device left on the socket, such as `ENETDOWN`.
    pub(super) fn take_error(&self) -> Option<Errno> {
        let mut error = 0i32;
        let read = self.get(libc::SOL_SOCKET, libc::SO_ERROR, &mut error);
        (read.is_ok() && error != 0).then(|| Errno::from_raw(error))
    }

    /// Takes the oldest long frame, its vnet header in front, and returns its true length, which
    /// is more than `buffer` holds when it was cut.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        // SAFETY: the kernel writes at most the buffer's length into it.
        let len = unsafe {
            libc::recv(
                self.fd.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                libc::MSG_DONTWAIT | libc::MSG_TRUNC,
            )
        };
        Errno::result(len).map(isize::cast_unsigned)
    }

    /// Sends messages without waiting and returns how many of them the kernel took.
    ///
    /// # Safety
    /// The pointers in `messages` must be valid for the kernel to read.
    pub(super) unsafe fn send(&self, messages: &mut [libc::mmsghdr]) -> Result<usize, Errno> {
        // SAFETY: the caller vouches for the messages; their number is given.
        let sent = unsafe {
            libc::sendmmsg(
                self.fd.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as u32,
                libc::MSG_DONTWAIT as _,
            )
        };
        Errno::result(sent).map(|n| n.cast_unsigned() as usize)
    }

    fn set_option<T>(&self, level: i32, name: i32, value: &T) -> Result<(), Errno> {
        // SAFETY: the kernel reads `value`, which lives through the call; its size is given.
        let result = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                level,
                name,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as u32,
            )
        };
        Errno::result(result).map(drop)
    }

    fn get_option<T: Copy>(&self, name: i32, value: &mut T) -> Result<(), Errno> {
        self.get(libc::SOL_PACKET, name, value)
    }

    fn get<T: Copy>(&self, level: i32, name: i32, value: &mut T) -> Result<(), Errno> {
        let mut len = size_of::<T>() as u32;
        // SAFETY: the kernel writes at most `len` bytes of plain numbers into `value`.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                level,
                name,
                std::ptr::from_mut(value).cast(),
                &raw mut len,
            )
        };
        Errno::result(result).map(drop)
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
