//! The `TPACKET_V2` receive ring: equal slots, each handed over as soon as its frame is there.
//!
//! `TPACKET_V3` packs frames into blocks, but hands a block that is not full over after a
//! millisecond at best and after several on kernels before 6.18, where the timer counts ticks:
//! measured on veth, a ping through two ports took 2.0 ms with it and a tenth of that with slots.
//! What is longer than a slot waits in the socket's queue, and the slot says so.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use crate::gso::VnetHeader;
use crate::shared::SharedMemory;

/// Bytes in a slot: the kernel's header and a frame of the usual MTU.
pub(super) const SLOT_LEN: u32 = 2048;

/// A frame in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RxFrame<'a> {
    /// The Ethernet frame without the tag that the device or the kernel took off; empty when the
    /// kernel's description of it makes no sense.
    pub(super) bytes: &'a [u8],
    /// The bytes are not the whole frame.
    pub(super) cut: bool,
    pub(super) vnet: VnetHeader,
    /// The 802.1Q tag that was taken off, as it stood on the wire.
    pub(super) tag: Option<[u8; 4]>,
    /// The kernel's `TP_STATUS_*` bits.
    pub(super) status: u32,
}

/// Stands for a frame whose description makes no sense.
const SENSELESS: RxFrame<'static> = RxFrame {
    bytes: &[],
    cut: false,
    vnet: VnetHeader::NONE,
    tag: None,
    status: 0,
};

/// Our side of the ring.
#[derive(Debug)]
pub(super) struct RxRing {
    memory: SharedMemory,
    slot_len: usize,
    /// Offset of the slot that is read, or waited for.
    at: usize,
}

impl RxRing {
    pub(super) fn new(memory: SharedMemory, slot_len: u32) -> Self {
        Self {
            memory,
            slot_len: slot_len as usize,
            at: 0,
        }
    }

    /// Returns the oldest frame, which stays the oldest until [`advance`](Self::advance).
    pub(super) fn peek(&self) -> Option<RxFrame<'_>> {
        let status = self.status()?.load(Ordering::Acquire);
        // The acquire pairs with the kernel's barrier before it hands the slot over.
        if status & libc::TP_STATUS_USER == 0 {
            return None;
        }
        Some(self.read(status).unwrap_or(SENSELESS))
    }

    /// Gives the slot of the frame that `peek` showed back to the kernel and goes to the next.
    pub(super) fn advance(&mut self) {
        if let Some(status) = self.status() {
            // All reads of the slot come before this.
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        self.at += self.slot_len;
        if self.at + self.slot_len > self.memory.len() {
            self.at = 0;
        }
    }

    fn status(&self) -> Option<&std::sync::atomic::AtomicU32> {
        self.memory
            .word32(self.at + offset_of!(libc::tpacket2_hdr, tp_status))
    }

    fn read(&self, status: u32) -> Option<RxFrame<'_>> {
        let caught = self.load32(offset_of!(libc::tpacket2_hdr, tp_snaplen))? as usize;
        let len = self.load32(offset_of!(libc::tpacket2_hdr, tp_len))? as usize;
        let mac = self.load16(offset_of!(libc::tpacket2_hdr, tp_mac))? as usize;
        if mac < VnetHeader::LEN || mac + caught > self.slot_len {
            return None;
        }
        // SAFETY: the slot is ours until `advance`, which needs `&mut self` and so ends this borrow.
        let vnet = unsafe {
            self.memory
                .bytes(self.at + mac - VnetHeader::LEN, VnetHeader::LEN)
        }?;
        // SAFETY: as above.
        let bytes = unsafe { self.memory.bytes(self.at + mac, caught) }?;
        Some(RxFrame {
            bytes,
            cut: caught < len,
            vnet: VnetHeader::parse(vnet)?,
            tag: self.tag(status),
            status,
        })
    }

    fn tag(&self, status: u32) -> Option<[u8; 4]> {
        if status & libc::TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let tci = self.load16(offset_of!(libc::tpacket2_hdr, tp_vlan_tci))?;
        let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID == 0 {
            0x8100
        } else {
            self.load16(offset_of!(libc::tpacket2_hdr, tp_vlan_tpid))?
        };
        let [t0, t1] = tpid.to_be_bytes();
        let [c0, c1] = tci.to_be_bytes();
        Some([t0, t1, c0, c1])
    }

    fn load32(&self, offset: usize) -> Option<u32> {
        let word = self.memory.word32(self.at + offset)?;
        Some(word.load(Ordering::Relaxed))
    }

    fn load16(&self, offset: usize) -> Option<u16> {
        let word = self.memory.word16(self.at + offset)?;
        Some(word.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOT: usize = 256;
    const MAC: usize = 76;

    /// A frame that the kernel fills in: bytes, length on the wire, tag (TPID and TCI).
    type Given<'a> = (&'a [u8], usize, Option<(u16, u16)>);

    /// Plays the kernel: fills slots and hands them over.
    struct Kernel {
        memory: SharedMemory,
        vnet: VnetHeader,
    }

    impl Kernel {
        fn store(&self, at: usize, value: u32) {
            let word = self.memory.word32(at).unwrap();
            word.store(value, Ordering::Relaxed);
        }

        fn store16(&self, at: usize, value: u16) {
            let word = self.memory.word16(at).unwrap();
            word.store(value, Ordering::Relaxed);
        }

        fn copy(&self, at: usize, bytes: &[u8]) {
            // SAFETY: the test is the only user of the mapping at this moment.
            let to = unsafe { self.memory.bytes_mut(at, bytes.len()) };
            to.unwrap().copy_from_slice(bytes);
        }

        fn fill(&self, slot: usize, (bytes, len, tag): Given) {
            let base = slot * SLOT;
            self.store(base + 4, len as u32);
            self.store(base + 8, bytes.len() as u32);
            self.store16(base + 12, MAC as u16);
            self.copy(base + MAC - 10, &self.vnet.to_bytes());
            self.copy(base + MAC, bytes);
            let mut status = libc::TP_STATUS_USER;
            if let Some((tpid, tci)) = tag {
                status |= libc::TP_STATUS_VLAN_VALID | libc::TP_STATUS_VLAN_TPID_VALID;
                self.store16(base + 24, tci);
                self.store16(base + 26, tpid);
            }
            self.store(base, status);
        }

        fn has(&self, slot: usize) -> bool {
            let status = self.memory.word32(slot * SLOT).unwrap();
            status.load(Ordering::Relaxed) == libc::TP_STATUS_KERNEL
        }
    }

    fn ring(slots: usize) -> (Kernel, RxRing) {
        let memory = SharedMemory::anonymous(slots * SLOT).unwrap().leak();
        let ring = RxRing::new(memory.alias().unwrap(), SLOT as u32);
        let vnet = VnetHeader::NONE;
        (Kernel { memory, vnet }, ring)
    }

    #[test]
    fn frames_come_in_order_and_slots_go_back_one_by_one_around_the_ring() {
        let (kernel, mut ring) = ring(3);
        assert!(ring.peek().is_none());
        for round in 0..5u8 {
            for n in 0..3u8 {
                kernel.fill(n as usize, (&[round, n], 2, None));
            }
            for n in 0..3u8 {
                assert_eq!(ring.peek().unwrap().bytes, [round, n]);
                assert_eq!(ring.peek().unwrap().bytes, [round, n]);
                assert!(!kernel.has(n as usize));
                ring.advance();
                assert!(kernel.has(n as usize));
            }
            assert!(ring.peek().is_none());
        }
    }

    #[test]
    fn the_tag_and_the_vnet_header_come_with_the_frame() {
        let (mut kernel, ring) = ring(1);
        kernel.vnet.flags = 1;
        kernel.vnet.gso_size = 1448;
        kernel.fill(0, (b"tagged", 6, Some((0x88a8, 0x2007))));
        let frame = ring.peek().unwrap();
        assert_eq!((frame.vnet, frame.cut), (kernel.vnet, false));
        assert_eq!(frame.tag, Some([0x88, 0xa8, 0x20, 0x07]));
    }

    #[test]
    fn a_frame_that_does_not_fit_its_slot_says_so() {
        let (kernel, ring) = ring(1);
        kernel.fill(0, (&[7; SLOT - MAC], 3000, None));
        let frame = ring.peek().unwrap();
        assert!(frame.cut);
        assert_eq!(frame.bytes.len(), SLOT - MAC);
    }

    #[test]
    fn a_description_that_points_outside_its_slot_yields_an_empty_frame() {
        let (kernel, mut ring) = ring(2);
        kernel.fill(0, (b"one", 3, None));
        kernel.store(8, 181);
        assert!(ring.peek().unwrap().bytes.is_empty());
        ring.advance();
        kernel.fill(1, (b"two", 3, None));
        kernel.store16(SLOT + 12, 9);
        assert!(ring.peek().unwrap().bytes.is_empty());
    }
}
