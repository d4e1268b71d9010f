//! `/dev/netmap`: opening it, registering rings, synchronising them.
//!
//! Structures and request numbers come from `netmap_sys`, checked below against `netmap.h`; its
//! version number is too old for today's module, and its macros are wrong, so neither is used.

use std::fs::OpenOptions;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use netmap_sys::netmap::{
    NETMAP_NO_TX_POLL, NIOCGINFO, NIOCREGIF, NIOCRXSYNC, NIOCTXSYNC, NR_REG_ONE_NIC, NR_REG_SW,
    netmap_if, netmap_ring, netmap_slot, nmreq,
};
use nix::errno::Errno;

/// The path of the module's device.
pub(super) const PATH: &str = "/dev/netmap";

/// The oldest interface that today's module accepts (`netmap_legacy.c` refuses less than 14).
const API: u32 = 14;

// The layouts of netmap.h, version 14.
const _: () = assert!(size_of::<nmreq>() == 60);
const _: () = assert!(offset_of!(nmreq, nr_version) == 16);
const _: () = assert!(offset_of!(nmreq, nr_ringid) == 40);
const _: () = assert!(offset_of!(nmreq, nr_arg3) == 48);
const _: () = assert!(offset_of!(nmreq, nr_flags) == 52);
const _: () = assert!(size_of::<netmap_slot>() == 16);
const _: () = assert!(offset_of!(netmap_slot, len) == 4);
const _: () = assert!(offset_of!(netmap_slot, flags) == 6);
const _: () = assert!(size_of::<netmap_ring>() == 256);
const _: () = assert!(offset_of!(netmap_ring, num_slots) == 8);
const _: () = assert!(offset_of!(netmap_ring, nr_buf_size) == 12);
const _: () = assert!(offset_of!(netmap_ring, head) == 20);
const _: () = assert!(offset_of!(netmap_ring, tail) == 28);
const _: () = assert!(offset_of!(netmap_ring, slot) == 256);
const _: () = assert!(offset_of!(netmap_if, ni_tx_rings) == 24);
const _: () = assert!(offset_of!(netmap_if, ni_bufs_head) == 32);
const _: () = assert!(offset_of!(netmap_if, ring_ofs) == 56);
// `_IOWR('i', 145 and 146, struct nmreq)`, `_IO('i', 148 and 149)`.
const _: () = assert!(NIOCGINFO == 0xc03c_6991 && NIOCREGIF == 0xc03c_6992);
const _: () = assert!(NIOCTXSYNC == 0x6994 && NIOCRXSYNC == 0x6995);

/// Makes the kernel look at a descriptor's rings.
pub(super) trait Sync: Send {
    /// Takes released slots of the receive ring back and shows new frames.
    fn sync_rx(&self) -> Result<(), Errno>;

    /// Sends what stands in the transmit ring and shows the slots that are free again.
    fn sync_tx(&self) -> Result<(), Errno>;
}

/// Names the rings that a descriptor is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// The receive and the transmit ring of one queue.
    Queue(u16),
    /// The rings from and to the host's own network stack.
    Host,
}

/// What the kernel answered to a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Registered {
    /// Offset of the `netmap_if` in the memory.
    pub(super) offset: u32,
    /// Bytes of the memory.
    pub(super) memory_len: u32,
    /// The memory's identity: ports with the same one can swap buffers.
    pub(super) memory_id: u16,
    /// Spare buffers that were lent.
    pub(super) spares: u32,
}

/// An open `/dev/netmap`.
#[derive(Debug)]
pub(super) struct Descriptor {
    fd: OwnedFd,
}

impl Descriptor {
    pub(super) fn open() -> Result<Self, std::io::Error> {
        let file = OpenOptions::new().read(true).write(true).open(PATH)?;
        Ok(Self { fd: file.into() })
    }

    /// Returns the number of queues that receive and that transmit.
    pub(super) fn queues(&self, device: &str) -> Result<u16, Errno> {
        let mut request = request(device)?;
        self.ioctl(NIOCGINFO, &mut request)?;
        Ok(request.nr_tx_rings.min(request.nr_rx_rings))
    }

    /// Puts the rings into netmap mode and binds them to this descriptor until it is closed.
    pub(super) fn register(
        &self,
        device: &str,
        binding: Binding,
        memory_id: u16,
        spares: u32,
    ) -> Result<Registered, Errno> {
        let mut request = request(device)?;
        let (ring, mode) = match binding {
            Binding::Queue(queue) => (queue, NR_REG_ONE_NIC),
            Binding::Host => (0, NR_REG_SW),
        };
        request.nr_ringid = ring | NETMAP_NO_TX_POLL.cast_unsigned() as u16;
        request.nr_flags = mode;
        request.nr_arg2 = memory_id;
        request.nr_arg3 = spares;
        self.ioctl(NIOCREGIF, &mut request)?;
        Ok(Registered {
            offset: request.nr_offset,
            memory_len: request.nr_memsize,
            memory_id: request.nr_arg2,
            spares: request.nr_arg3,
        })
    }

    fn ioctl(&self, what: libc::c_ulong, request: &mut nmreq) -> Result<(), Errno> {
        // SAFETY: both requests read and write one `nmreq`, whose size is part of their number.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), what as libc::Ioctl, request) };
        Errno::result(result).map(drop)
    }

    fn sync(&self, what: libc::c_uint) -> Result<(), Errno> {
        // SAFETY: the request takes no argument; the rings that it works on stay mapped.
        let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), what as libc::Ioctl) };
        Errno::result(result).map(drop)
    }
}

impl Sync for Descriptor {
    fn sync_rx(&self) -> Result<(), Errno> {
        self.sync(NIOCRXSYNC)
    }

    fn sync_tx(&self) -> Result<(), Errno> {
        self.sync(NIOCTXSYNC)
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// Makes one descriptor that is readable when one of several is.
pub(super) fn either(descriptors: &[RawFd]) -> Result<OwnedFd, Errno> {
    // SAFETY: epoll_create1(2) touches no memory of ours.
    let fd = Errno::result(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    let epoll = unsafe { OwnedFd::from_raw_fd(fd) };
    for &member in descriptors {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN.cast_unsigned(),
            u64: 0,
        };
        // SAFETY: the kernel reads `event`, which lives through the call.
        let result = unsafe {
            libc::epoll_ctl(
                epoll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                member,
                &raw mut event,
            )
        };
        Errno::result(result)?;
    }
    Ok(epoll)
}

fn request(device: &str) -> Result<nmreq, Errno> {
    // SAFETY: `nmreq` is plain numbers, for which zero is a value.
    let mut request: nmreq = unsafe { std::mem::zeroed() };
    request.nr_version = API;
    // One byte stays zero.
    if device.len() >= request.nr_name.len() {
        return Err(Errno::ENODEV);
    }
    for (to, from) in request.nr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}
