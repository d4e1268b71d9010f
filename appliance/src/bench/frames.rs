//! The frames that clients and a real server send.

use std::net::Ipv4Addr;

use weir_rig::{SYN_OPTIONS, TIMESTAMPS};
use weir_wire::{EthAddr, SeqNumber, TcpFlags, fill_checksums};

const ETH: usize = 14;
const IP: usize = 20;
const TCP: usize = 20;

/// A TCP segment of one of the two sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) src: (Ipv4Addr, u16),
    pub(super) dst: (Ipv4Addr, u16),
    pub(super) seq: SeqNumber,
    pub(super) ack: SeqNumber,
    pub(super) flags: TcpFlags,
    pub(super) payload: &'static [u8],
    pub(super) to: (EthAddr, EthAddr),
}

impl Segment {
    /// Writes the frame at the beginning of `buffer` and returns its length.
    pub(super) fn write(&self, buffer: &mut [u8]) -> Option<usize> {
        let options: &[u8] = if self.flags.contains(TcpFlags::SYN) {
            &SYN_OPTIONS
        } else {
            &TIMESTAMPS
        };
        let len = ETH + IP + TCP + options.len() + self.payload.len();
        let frame = buffer.get_mut(..len)?;
        let (eth_src, eth_dst) = self.to;
        let words = (TCP + options.len()) as u8 / 4;
        let [total_high, total_low] = ((len - ETH) as u16).to_be_bytes();
        let ip = [0x45, 0, total_high, total_low, 0, 0, 0x40, 0, 64, 6, 0, 0];
        let parts: [&[u8]; 13] = [
            &eth_dst.0,
            &eth_src.0,
            &[8, 0],
            &ip,
            &self.src.0.octets(),
            &self.dst.0.octets(),
            &self.src.1.to_be_bytes(),
            &self.dst.1.to_be_bytes(),
            &self.seq.0.to_be_bytes(),
            &self.ack.0.to_be_bytes(),
            &[words << 4, self.flags.0, 0xff, 0xff, 0, 0, 0, 0],
            options,
            self.payload,
        ];
        let bytes = parts.into_iter().flatten();
        for (to, from) in frame.iter_mut().zip(bytes) {
            *to = *from;
        }
        fill_checksums(frame)?;
        Some(len)
    }
}
