//! The AF_PACKET socket: each call of the kernel as one safe function.

use std::ffi::CString;
use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

use crate::bpf::Program;

/// `ETH_P_ALL`, as `bind` and `socket` want it.
const ALL_PROTOCOLS: u16 = 3u16.to_be();

/// How the sockets of a device share its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fanout {
    /// By the queue that the device received the frame on.
    Queue,
    /// By the flow's symmetric hash.
    Hash,
}

impl Fanout {
    fn mode(self) -> u32 {
        match self {
            Self::Queue => libc::PACKET_FANOUT_QM,
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

    /// Asks for a receive ring.
    pub(super) fn set_rx_ring(&self, request: &libc::tpacket_req3) -> Result<(), Errno> {
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
        let mut answer = libc::tpacket_stats_v3 {
            tp_packets: 0,
            tp_drops: 0,
            tp_freeze_q_cnt: 0,
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
                libc::MSG_DONTWAIT,
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

/// What a device is, as far as this driver asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) ifindex: u32,
    pub(super) mac: [u8; 6],
    pub(super) mtu: u32,
}

/// Asks the kernel for a device; `ENODEV` when there is none.
pub(super) fn interface(device: &str) -> Result<Interface, Errno> {
    let socket = PacketSocket::new()?;
    let mut request = request_for(device)?;
    ask(&socket, libc::SIOCGIFINDEX, &mut request)?;
    // SAFETY: SIOCGIFINDEX has written this member.
    let ifindex = unsafe { request.ifr_ifru.ifru_ifindex };
    ask(&socket, libc::SIOCGIFMTU, &mut request)?;
    // SAFETY: SIOCGIFMTU has written this member.
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    ask(&socket, libc::SIOCGIFHWADDR, &mut request)?;
    // SAFETY: SIOCGIFHWADDR has written this member.
    let address = unsafe { request.ifr_ifru.ifru_hwaddr };
    let mac = address.sa_data.map(i8::cast_unsigned);
    Ok(Interface {
        ifindex: ifindex.cast_unsigned(),
        mac: *mac.first_chunk().unwrap_or(&[0; 6]),
        mtu: mtu.cast_unsigned(),
    })
}

/// `struct ethtool_channels`.
#[repr(C)]
#[derive(Default)]
struct Channels {
    command: u32,
    max_rx: u32,
    max_tx: u32,
    max_other: u32,
    max_combined: u32,
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// `ETHTOOL_GCHANNELS`.
const GET_CHANNELS: u32 = 0x3c;

/// Returns the number of receive queues that a device uses; none when its driver does not say.
pub(super) fn receive_queues(device: &str) -> Option<u32> {
    let socket = PacketSocket::new().ok()?;
    let mut request = request_for(device).ok()?;
    let mut channels = Channels {
        command: GET_CHANNELS,
        ..Channels::default()
    };
    request.ifr_ifru.ifru_data = std::ptr::from_mut(&mut channels).cast();
    // The kernel fills `channels` through the pointer, which lives through the call.
    ask(&socket, libc::SIOCETHTOOL as libc::Ioctl, &mut request).ok()?;
    Some(channels.rx + channels.combined)
}

fn request_for(device: &str) -> Result<libc::ifreq, Errno> {
    let name = CString::new(device).map_err(|_| Errno::ENODEV)?;
    let name = name.as_bytes_with_nul();
    if name.len() > libc::IFNAMSIZ {
        return Err(Errno::ENODEV);
    }
    // SAFETY: an all-zero `ifreq` is a valid value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = (*from).cast_signed();
    }
    Ok(request)
}

fn ask(socket: &PacketSocket, what: libc::Ioctl, request: &mut libc::ifreq) -> Result<(), Errno> {
    // SAFETY: these requests read the name and write the union of one `ifreq`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), what, std::ptr::from_mut(request)) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_device_can_have_is_no_device() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: packet sockets need root");
            return;
        }
        assert_eq!(interface("no-such-device").unwrap_err(), Errno::ENODEV);
        assert_eq!(
            interface("a-name-of-more-than-15").unwrap_err(),
            Errno::ENODEV
        );
        assert_eq!(interface("nul\0inside").unwrap_err(), Errno::ENODEV);
        assert_eq!(interface("lo").unwrap().mtu, 65536);
    }
}
