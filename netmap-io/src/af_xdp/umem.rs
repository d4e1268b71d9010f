//! The pool's memory as the kernel's UMEM, and which of its chunks the kernel holds.

use std::os::fd::AsRawFd;
use std::sync::{Arc, Weak};

use nix::errno::Errno;

use super::port::Rings;
use super::sys::{RingKind, Socket};
use super::{COMPLETION_LEN, FILL_LEN, RX_LEN, TX_LEN};
use crate::FramePool;
use crate::bpf::XdpMode;

/// The open sockets that use a pool's memory, which the next one joins.
#[derive(Debug, Default)]
pub(crate) struct UmemShares {
    sockets: Vec<(Weak<Socket>, Access)>,
}

/// Says who moves the bytes between the device and the packet memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// The device.
    ZeroCopy,
    /// The kernel.
    Copy,
}

impl Access {
    fn flag(self) -> u16 {
        match self {
            Self::ZeroCopy => libc::XDP_ZEROCOPY,
            Self::Copy => libc::XDP_COPY,
        }
    }
}

/// Opens a socket on a queue, over the pool's memory, by the best way that the kernel grants:
/// zero copy before copy, and joining the memory that another socket registered before
/// registering it once more (which kernels before 5.10 and mixed kinds of access need; the kernel
/// then only pins the same pages twice).
pub(super) fn open_socket(
    pool: &mut FramePool,
    ifindex: u32,
    queue: u16,
    mode: XdpMode,
) -> Result<(Arc<Socket>, Rings, Access), Errno> {
    let kinds: &[Access] = match mode {
        XdpMode::Native => &[Access::ZeroCopy, Access::Copy],
        XdpMode::Generic => &[Access::Copy],
    };
    pool.umem_shares()
        .sockets
        .retain(|(s, _)| s.strong_count() > 0);
    let mut refusal = Errno::EOPNOTSUPP;
    for &access in kinds {
        let known = pool.umem_shares().find(access);
        for share in known.into_iter().map(Some).chain([None]) {
            match try_socket(pool, ifindex, queue, access, share.as_deref()) {
                Ok((socket, rings)) => {
                    let socket = Arc::new(socket);
                    let entry = (Arc::downgrade(&socket), access);
                    pool.umem_shares().sockets.push(entry);
                    return Ok((socket, rings, access));
                }
                // Another way would meet the same socket.
                Err(Errno::EBUSY) => return Err(Errno::EBUSY),
                Err(cause) => refusal = cause,
            }
        }
    }
    Err(refusal)
}

impl UmemShares {
    /// Makes the next socket register the memory once more.
    #[cfg(test)]
    pub(super) fn forget(&mut self) {
        self.sockets.clear();
    }

    fn find(&self, access: Access) -> Option<Arc<Socket>> {
        let mut alike = self.sockets.iter().filter(|(_, a)| *a == access);
        alike.find_map(|(socket, _)| socket.upgrade())
    }
}

fn try_socket(
    pool: &FramePool,
    ifindex: u32,
    queue: u16,
    access: Access,
    share: Option<&Socket>,
) -> Result<(Socket, Rings), Errno> {
    let socket = Socket::open()?;
    if share.is_none() {
        let (base, bytes) = pool.mapping(FramePool::UMEM).ok_or(Errno::EINVAL)?;
        let chunk_len = pool.chunk_len(FramePool::UMEM).ok_or(Errno::EINVAL)?;
        socket.register_umem(base, bytes, chunk_len)?;
    }
    socket.set_ring_len(RingKind::Fill, FILL_LEN)?;
    socket.set_ring_len(RingKind::Completion, COMPLETION_LEN)?;
    socket.set_ring_len(RingKind::Rx, RX_LEN)?;
    socket.set_ring_len(RingKind::Tx, TX_LEN)?;
    // Kernels before 6.4 map no rings of a socket that is bound.
    let rings = Rings::map(&socket)?;
    match share {
        // The kind of access is that of the socket that is joined.
        Some(other) => socket.bind(
            ifindex,
            queue,
            libc::XDP_SHARED_UMEM,
            Some(other.as_raw_fd()),
        )?,
        None => socket.bind(
            ifindex,
            queue,
            access.flag() | libc::XDP_USE_NEED_WAKEUP,
            None,
        )?,
    }
    Ok((socket, rings))
}

/// Remembers which chunks the kernel holds: one bit per chunk.
#[derive(Debug)]
pub(super) struct Loans {
    bits: Vec<u64>,
}

impl Loans {
    pub(super) fn new(chunks: u32) -> Self {
        Self {
            bits: vec![0; chunks.div_ceil(64) as usize],
        }
    }

    /// Notes that the kernel gets a chunk.
    #[inline]
    pub(super) fn begin(&mut self, index: u32) {
        if let Some(word) = self.bits.get_mut(index as usize / 64) {
            *word |= 1 << (index % 64);
        }
    }

    /// Notes that the kernel gives a chunk back; false when it never had it.
    #[inline]
    pub(super) fn end(&mut self, index: u32) -> bool {
        let Some(word) = self.bits.get_mut(index as usize / 64) else {
            return false;
        };
        let bit = 1 << (index % 64);
        let held = *word & bit != 0;
        *word &= !bit;
        held
    }

    /// Returns all chunks that the kernel holds.
    pub(super) fn held(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.bits).flat_map(|(word, bits)| {
            (0..64).filter_map(move |bit| (bits >> bit & 1 == 1).then_some(word * 64 + bit))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_comes_back_once_and_only_when_it_was_lent() {
        let mut loans = Loans::new(130);
        for index in [0, 63, 64, 129] {
            loans.begin(index);
        }
        assert!(loans.end(63));
        assert!(!loans.end(63));
        assert!(!loans.end(5));
        assert!(!loans.end(100_000));
        assert_eq!(loans.held().collect::<Vec<_>>(), [0, 64, 129]);
    }
}
