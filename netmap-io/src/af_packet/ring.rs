//! The TPACKET_V3 receive ring: blocks that the kernel fills with frames and hands over whole.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use crate::gso::VnetHeader;
use crate::shared::SharedMemory;

/// Bytes in a block: three super-frames of 64 KiB and a rest of small ones.
pub(super) const BLOCK_LEN: u32 = 256 * 1024;
/// The kernel wants a frame size that divides a block; frames are packed regardless of it.
pub(super) const FRAME_LEN: u32 = 2048;
/// A block that is not full is handed over after this many milliseconds; the kernel has no less.
pub(super) const RETIRE_MS: u32 = 1;

const BLOCK_STATUS: usize =
    offset_of!(libc::tpacket_block_desc, hdr) + offset_of!(libc::tpacket_hdr_v1, block_status);
const FRAME_COUNT: usize =
    offset_of!(libc::tpacket_block_desc, hdr) + offset_of!(libc::tpacket_hdr_v1, num_pkts);
const FIRST_FRAME: usize = offset_of!(libc::tpacket_block_desc, hdr)
    + offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt);

const VLAN_TCI: usize =
    offset_of!(libc::tpacket3_hdr, hv1) + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tci);
const VLAN_TPID: usize =
    offset_of!(libc::tpacket3_hdr, hv1) + offset_of!(libc::tpacket_hdr_variant1, tp_vlan_tpid);

/// A frame in the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RxFrame<'a> {
    /// The Ethernet frame without the tag that the device or the kernel took off; empty when the
    /// kernel's description of it makes no sense.
    pub(super) bytes: &'a [u8],
    /// The frame did not fit the ring whole.
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
    cut: true,
    vnet: VnetHeader::NONE,
    tag: None,
    status: 0,
};

/// Our side of the ring.
#[derive(Debug)]
pub(super) struct RxRing {
    memory: SharedMemory,
    block_len: usize,
    blocks: usize,
    /// The block that is read, or waited for.
    block: usize,
    /// Offset of the next frame in the block.
    at: usize,
    /// Frames left in the block; zero when the kernel has it.
    left: u32,
}

impl RxRing {
    pub(super) fn new(memory: SharedMemory, block_len: u32) -> Self {
        let block_len = block_len as usize;
        Self {
            blocks: memory.len() / block_len,
            memory,
            block_len,
            block: 0,
            at: 0,
            left: 0,
        }
    }

    /// Returns the oldest frame, which stays the oldest until [`advance`](Self::advance).
    pub(super) fn peek(&mut self) -> Option<RxFrame<'_>> {
        if self.left == 0 && !self.enter_block() {
            return None;
        }
        let header = self.block * self.block_len + self.at;
        Some(self.read(header).unwrap_or(SENSELESS))
    }

    /// Goes past the frame that `peek` showed; the last one of a block gives it to the kernel.
    pub(super) fn advance(&mut self) {
        if self.left == 0 {
            return;
        }
        let header = self.block * self.block_len + self.at;
        let step = self.load(header + offset_of!(libc::tpacket3_hdr, tp_next_offset));
        self.left -= 1;
        match step {
            Some(step) if self.left > 0 && step != 0 => self.at += step as usize,
            // The last frame, or a chain that ends too early.
            _ => self.leave_block(),
        }
    }

    fn enter_block(&mut self) -> bool {
        let base = self.block * self.block_len;
        let Some(status) = self.memory.word32(base + BLOCK_STATUS) else {
            return false;
        };
        // Pairs with the kernel's barrier before it hands the block over.
        if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return false;
        }
        self.left = self.load(base + FRAME_COUNT).unwrap_or(0);
        self.at = self.load(base + FIRST_FRAME).unwrap_or(0) as usize;
        if self.left == 0 {
            self.leave_block();
            return false;
        }
        true
    }

    fn leave_block(&mut self) {
        self.left = 0;
        let status = self.block * self.block_len + BLOCK_STATUS;
        if let Some(status) = self.memory.word32(status) {
            // All reads of the block come before this.
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        self.block = if self.block + 1 == self.blocks {
            0
        } else {
            self.block + 1
        };
    }

    fn read(&self, header: usize) -> Option<RxFrame<'_>> {
        let end = (self.block + 1) * self.block_len;
        let status = self.load(header + offset_of!(libc::tpacket3_hdr, tp_status))?;
        let caught = self.load(header + offset_of!(libc::tpacket3_hdr, tp_snaplen))? as usize;
        let len = self.load(header + offset_of!(libc::tpacket3_hdr, tp_len))? as usize;
        let mac = self
            .memory
            .word16(header + offset_of!(libc::tpacket3_hdr, tp_mac))?
            .load(Ordering::Relaxed) as usize;
        if mac < VnetHeader::LEN || header + mac + caught > end {
            return None;
        }
        // SAFETY: the block is ours from `enter_block` to `leave_block`, and both `advance` and
        // the next `peek` need `&mut self`, which ends this borrow.
        let vnet = unsafe {
            self.memory
                .bytes(header + mac - VnetHeader::LEN, VnetHeader::LEN)
        }?;
        // SAFETY: as above.
        let bytes = unsafe { self.memory.bytes(header + mac, caught) }?;
        Some(RxFrame {
            bytes,
            cut: caught < len,
            vnet: VnetHeader::parse(vnet)?,
            tag: self.tag(header, status),
            status,
        })
    }

    fn tag(&self, header: usize, status: u32) -> Option<[u8; 4]> {
        if status & libc::TP_STATUS_VLAN_VALID == 0 {
            return None;
        }
        let tci = self.load(header + VLAN_TCI)? as u16;
        let tpid = if status & libc::TP_STATUS_VLAN_TPID_VALID != 0 {
            self.memory
                .word16(header + VLAN_TPID)?
                .load(Ordering::Relaxed)
        } else {
            libc::ETH_P_8021Q as u16
        };
        let [t0, t1] = tpid.to_be_bytes();
        let [c0, c1] = tci.to_be_bytes();
        Some([t0, t1, c0, c1])
    }

    fn load(&self, at: usize) -> Option<u32> {
        Some(self.memory.word32(at)?.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 4096;

    /// A frame that the kernel fills in: bytes, vnet header, tag (TPID and TCI).
    type Given<'a> = (&'a [u8], VnetHeader, Option<(u16, u16)>);

    /// Plays the kernel: writes frames into a block and hands it over.
    struct Kernel {
        memory: SharedMemory,
    }

    impl Kernel {
        fn store(&self, at: usize, value: u32) {
            self.memory
                .word32(at)
                .unwrap()
                .store(value, Ordering::Relaxed);
        }

        fn store16(&self, at: usize, value: u16) {
            self.memory
                .word16(at)
                .unwrap()
                .store(value, Ordering::Relaxed);
        }

        fn fill(&self, block: usize, frames: &[Given]) {
            let base = block * BLOCK;
            let mut at = 48;
            self.store(base + FIRST_FRAME, at as u32);
            self.store(base + FRAME_COUNT, frames.len() as u32);
            for (bytes, vnet, tag) in frames {
                let header = base + at;
                let mac = 82;
                let step = (mac + bytes.len()).next_multiple_of(16);
                self.store(header, step as u32);
                self.store(header + 12, bytes.len() as u32);
                self.store(header + 16, bytes.len() as u32);
                self.store16(header + 24, mac as u16);
                let mut status = libc::TP_STATUS_USER;
                if let Some((tpid, tci)) = tag {
                    status |= libc::TP_STATUS_VLAN_VALID | libc::TP_STATUS_VLAN_TPID_VALID;
                    self.store(header + 32, u32::from(*tci));
                    self.store16(header + 36, *tpid);
                }
                self.store(header + 20, status);
                // SAFETY: the test is the only user of the mapping at this moment.
                let to = unsafe { self.memory.bytes_mut(header + mac - 10, 10) };
                to.unwrap().copy_from_slice(&vnet.to_bytes());
                // SAFETY: as above.
                let to = unsafe { self.memory.bytes_mut(header + mac, bytes.len()) };
                to.unwrap().copy_from_slice(bytes);
                at += step;
            }
            self.store(base + BLOCK_STATUS, libc::TP_STATUS_USER);
        }

        fn has(&self, block: usize) -> bool {
            let status = self.memory.word32(block * BLOCK + BLOCK_STATUS).unwrap();
            status.load(Ordering::Relaxed) == libc::TP_STATUS_KERNEL
        }
    }

    fn ring(blocks: usize) -> (Kernel, RxRing) {
        let memory = SharedMemory::anonymous(blocks * BLOCK).unwrap().leak();
        let ring = RxRing::new(memory.alias().unwrap(), BLOCK as u32);
        (Kernel { memory }, ring)
    }

    const PLAIN: VnetHeader = VnetHeader::NONE;

    #[test]
    fn frames_come_in_order_and_a_block_goes_back_when_its_last_frame_is_done() {
        let (kernel, mut ring) = ring(2);
        assert!(ring.peek().is_none());
        kernel.fill(0, &[(b"one", PLAIN, None), (b"three", PLAIN, None)]);
        kernel.fill(1, &[(b"four", PLAIN, None)]);
        let mut seen = Vec::new();
        while let Some(frame) = ring.peek() {
            seen.push(String::from_utf8(frame.bytes.to_vec()).unwrap());
            assert!(!frame.cut);
            assert!(!kernel.has(1));
            ring.advance();
        }
        assert_eq!(seen, ["one", "three", "four"]);
        assert!(kernel.has(0) && kernel.has(1));
        kernel.fill(0, &[(b"five", PLAIN, None)]);
        assert_eq!(ring.peek().unwrap().bytes, b"five");
    }

    #[test]
    fn a_frame_that_was_not_advanced_past_is_shown_again() {
        let (kernel, mut ring) = ring(1);
        kernel.fill(0, &[(b"one", PLAIN, None), (b"two", PLAIN, None)]);
        ring.peek().unwrap();
        assert_eq!(ring.peek().unwrap().bytes, b"one");
        ring.advance();
        assert_eq!(ring.peek().unwrap().bytes, b"two");
        assert!(!kernel.has(0));
    }

    #[test]
    fn the_tag_and_the_vnet_header_come_with_the_frame() {
        let (kernel, mut ring) = ring(1);
        let vnet = VnetHeader {
            flags: 1,
            gso_type: 1,
            gso_size: 1448,
            ..PLAIN
        };
        kernel.fill(0, &[(b"tagged", vnet, Some((0x88a8, 0x2007)))]);
        let frame = ring.peek().unwrap();
        assert_eq!(frame.vnet, vnet);
        assert_eq!(frame.tag, Some([0x88, 0xa8, 0x20, 0x07]));
    }

    #[test]
    fn an_empty_block_goes_straight_back() {
        let (kernel, mut ring) = ring(2);
        kernel.fill(0, &[]);
        assert!(ring.peek().is_none());
        assert!(kernel.has(0));
        kernel.fill(1, &[(b"next", PLAIN, None)]);
        assert_eq!(ring.peek().unwrap().bytes, b"next");
    }

    #[test]
    fn a_description_that_points_outside_its_block_yields_an_empty_frame() {
        let (kernel, mut ring) = ring(2);
        kernel.fill(0, &[(b"one", PLAIN, None), (b"two", PLAIN, None)]);
        kernel.store(48 + 12, 5000);
        let frame = ring.peek().unwrap();
        assert!(frame.bytes.is_empty() && frame.cut);
        ring.advance();
        assert_eq!(ring.peek().unwrap().bytes, b"two");
        kernel.store16(48 + 96 + 24, 3);
        assert!(ring.peek().unwrap().bytes.is_empty());
    }

    #[test]
    fn a_chain_that_ends_too_early_gives_the_block_back() {
        let (kernel, mut ring) = ring(1);
        kernel.fill(0, &[(b"one", PLAIN, None), (b"two", PLAIN, None)]);
        kernel.store(48, 0);
        ring.peek().unwrap();
        ring.advance();
        assert!(kernel.has(0));
        assert!(ring.peek().is_none());
    }
}
