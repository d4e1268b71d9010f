//! The AF_XDP socket: every system call that the driver makes, each behind a safe function.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;

use nix::errno::Errno;

use super::ring::{Layout, RingMemory};

/// Owns an AF_XDP socket.
#[derive(Debug)]
pub(super) struct Socket {
    fd: OwnedFd,
}

/// Names a ring of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RingKind {
    Rx,
    Tx,
    Fill,
    Completion,
}

/// `XDP_MAX_TX_SKB_BUDGET` (Linux 6.18): frames per sendto in copy mode; older kernels send 32.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

impl Socket {
    pub(super) fn open() -> Result<Self, Errno> {
        // SAFETY: no memory of ours is involved.
        let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        let fd = Errno::result(fd)?;
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd })
    }

    /// Registers packet memory. The kernel writes to it from now on, but only to the chunks that
    /// the fill ring hands it.
    pub(super) fn register_umem(
        &self,
        base: NonNull<u8>,
        bytes: usize,
        chunk_len: u32,
    ) -> Result<(), Errno> {
        let registration = libc::xdp_umem_reg {
            addr: base.as_ptr() as u64,
            len: bytes as u64,
            chunk_size: chunk_len,
            // The kernel leaves 256 bytes in front of every frame anyway.
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        self.set_option(libc::XDP_UMEM_REG, &registration)
    }

    pub(super) fn set_ring_len(&self, kind: RingKind, len: u32) -> Result<(), Errno> {
        let option = match kind {
            RingKind::Rx => libc::XDP_RX_RING,
            RingKind::Tx => libc::XDP_TX_RING,
            RingKind::Fill => libc::XDP_UMEM_FILL_RING,
            RingKind::Completion => libc::XDP_UMEM_COMPLETION_RING,
        };
        self.set_option(option, &len)
    }

    /// Lets one sendto transmit up to `frames`; where the kernel cannot, nothing changes.
    pub(super) fn set_tx_budget(&self, frames: u32) -> bool {
        self.set_option(XDP_MAX_TX_SKB_BUDGET, &frames).is_ok()
    }

    /// Maps a ring of `len` slots of `slot_len` bytes.
    pub(super) fn map_ring(
        &self,
        kind: RingKind,
        len: u32,
        slot_len: usize,
    ) -> Result<(Arc<RingMemory>, Layout), Errno> {
        let offsets = self.offsets()?;
        let (place, page) = match kind {
            RingKind::Rx => (offsets.rx, libc::XDP_PGOFF_RX_RING),
            RingKind::Tx => (offsets.tx, libc::XDP_PGOFF_TX_RING),
            RingKind::Fill => (offsets.fr, libc::XDP_UMEM_PGOFF_FILL_RING.cast_signed()),
            RingKind::Completion => (
                offsets.cr,
                libc::XDP_UMEM_PGOFF_COMPLETION_RING.cast_signed(),
            ),
        };
        let bytes = place.desc as usize + len as usize * slot_len;
        let memory = RingMemory::of_socket(self.fd.as_fd(), bytes, page)?;
        let layout = Layout {
            producer: place.producer,
            consumer: place.consumer,
            flags: place.flags,
            slots: place.desc,
            len,
        };
        Ok((Arc::new(memory), layout))
    }

    /// Binds to a queue, with the packet memory of `share` where one is given.
    pub(super) fn bind(
        &self,
        ifindex: u32,
        queue: u16,
        flags: u16,
        share: Option<RawFd>,
    ) -> Result<(), Errno> {
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: ifindex,
            sxdp_queue_id: u32::from(queue),
            sxdp_shared_umem_fd: share.unwrap_or(0).cast_unsigned(),
        };
        // SAFETY: the address lives through the call and its length is given.
        let result = unsafe {
            libc::bind(
                self.fd.as_raw_fd(),
                std::ptr::from_ref(&address).cast(),
                size_of_val(&address) as libc::socklen_t,
            )
        };
        Errno::result(result).map(drop)
    }

    /// Wakes the transmit side.
    #[inline]
    pub(super) fn kick_tx(&self) -> Result<(), Errno> {
        // SAFETY: neither payload nor address is given.
        let result = unsafe {
            libc::sendto(
                self.fd.as_raw_fd(),
                std::ptr::null(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null(),
                0,
            )
        };
        Errno::result(result).map(drop)
    }

    /// Wakes the receive side, which waits for chunks in the fill ring.
    #[inline]
    pub(super) fn kick_rx(&self) {
        // Nothing can be done about an error here, and `flush` meets the lasting ones.
        // SAFETY: neither buffer nor address is given.
        unsafe {
            libc::recvfrom(
                self.fd.as_raw_fd(),
                std::ptr::null_mut(),
                0,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            )
        };
    }

    pub(super) fn statistics(&self) -> io::Result<libc::xdp_statistics> {
        let mut answer = libc::xdp_statistics {
            rx_dropped: 0,
            rx_invalid_descs: 0,
            tx_invalid_descs: 0,
            rx_ring_full: 0,
            rx_fill_ring_empty_descs: 0,
            tx_ring_empty_descs: 0,
        };
        self.get_option(libc::XDP_STATISTICS, &mut answer)?;
        Ok(answer)
    }

    /// Says whether the device reads and writes the packet memory itself.
    pub(super) fn is_zero_copy(&self) -> bool {
        let mut options = libc::xdp_options { flags: 0 };
        self.get_option(libc::XDP_OPTIONS, &mut options).is_ok()
            && options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0
    }

    fn offsets(&self) -> Result<libc::xdp_mmap_offsets, Errno> {
        let none = || libc::xdp_ring_offset {
            producer: 0,
            consumer: 0,
            desc: 0,
            flags: 0,
        };
        let mut offsets = libc::xdp_mmap_offsets {
            rx: none(),
            tx: none(),
            fr: none(),
            cr: none(),
        };
        let expected = size_of_val(&offsets);
        let got = self.get_option(libc::XDP_MMAP_OFFSETS, &mut offsets)?;
        // Before Linux 5.4 the answer is shorter, and there is no wake-up flag.
        if got < expected {
            return Err(Errno::EOPNOTSUPP);
        }
        Ok(offsets)
    }

    fn set_option<T>(&self, option: libc::c_int, value: &T) -> Result<(), Errno> {
        // SAFETY: the value lives through the call and its length is given.
        let result = unsafe {
            libc::setsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_XDP,
                option,
                std::ptr::from_ref(value).cast(),
                size_of::<T>() as libc::socklen_t,
            )
        };
        Errno::result(result).map(drop)
    }

    /// Fills `value`, which must be plain integers, and returns how many bytes the kernel wrote.
    fn get_option<T>(&self, option: libc::c_int, value: &mut T) -> Result<usize, Errno> {
        let mut len = size_of::<T>() as libc::socklen_t;
        // SAFETY: the value lives through the call, its length is given, and any bytes make a
        // valid value because the callers pass plain integers.
        let result = unsafe {
            libc::getsockopt(
                self.fd.as_raw_fd(),
                libc::SOL_XDP,
                option,
                std::ptr::from_mut(value).cast(),
                &raw mut len,
            )
        };
        Errno::result(result)?;
        Ok(len as usize)
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
