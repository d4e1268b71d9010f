//! The fixed headers of an IPv4 packet of TCP or UDP, checked as every load balancer has to.

use weir_wire::{ETHERTYPE_IPV4, Protocol};

/// Length of the Ethernet, IPv4 and TCP headers without options.
pub(crate) const TCP_HEADS: usize = 54;
/// Length of the Ethernet, IPv4 and UDP headers.
pub(crate) const UDP_HEADS: usize = 42;
/// Fragment offset and "more fragments".
const FRAGMENT: u16 = 0x3fff;

/// What is read of the headers.
#[derive(Clone, Copy, Default)]
pub(crate) struct Head {
    /// Source and destination address.
    pub(crate) addresses: u64,
    /// Source and destination port.
    pub(crate) ports: u32,
    pub(crate) protocol: u8,
}

impl Head {
    /// Reads the headers; nothing when a length contradicts the frame, the packet is a fragment or
    /// neither TCP nor UDP, the header's checksum is wrong or its time has run out.
    #[inline]
    pub(crate) fn read(frame: &[u8]) -> Option<Self> {
        let heads = frame.first_chunk::<UDP_HEADS>()?;
        let total_len = u16::from_be_bytes([heads[16], heads[17]]) as usize;
        let fragment = u16::from_be_bytes([heads[20], heads[21]]) & FRAGMENT;
        let protocol = heads[23];
        let l4_len = if protocol == Protocol::TCP {
            let heads = frame.first_chunk::<TCP_HEADS>()?;
            ((heads[46] >> 4) as usize * 4).max(20)
        } else {
            u16::from_be_bytes([heads[38], heads[39]]).max(8) as usize
        };
        let sound = heads[12..14] == ETHERTYPE_IPV4.to_be_bytes()
            && heads[14] == 0x45
            && total_len >= 20 + l4_len
            && total_len + 14 <= frame.len()
            && fragment == 0
            && heads[22] > 1
            && (protocol == Protocol::TCP || protocol == Protocol::UDP);
        if !sound || header_sum(heads) != 0xffff {
            return None;
        }
        Some(Self {
            addresses: u64::from_be_bytes([
                heads[26], heads[27], heads[28], heads[29], heads[30], heads[31], heads[32],
                heads[33],
            ]),
            ports: u32::from_be_bytes([heads[34], heads[35], heads[36], heads[37]]),
            protocol,
        })
    }

    /// What is hashed: 13 bytes in two words.
    #[inline]
    pub(crate) const fn words(self) -> [u64; 2] {
        let last = 13 << 56 | (self.protocol as u64) << 32 | self.ports as u64;
        [self.addresses, last]
    }
}

/// The folded sum of the IPv4 header in the machine's byte order.
#[inline]
fn header_sum(heads: &[u8; UDP_HEADS]) -> u16 {
    let (words, _) = heads[14..34].as_chunks::<4>();
    let words = words.iter().map(|word| u32::from_ne_bytes(*word) as u64);
    fold(words.sum())
}

/// Folds a sum of 16-bit or 32-bit words into 16 bits.
#[inline]
pub(crate) const fn fold(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{Kind, Sender, Templates, Variant, make};
    use weir_rig::VIP;

    #[test]
    fn no_header_is_read_that_is_damaged_anywhere() {
        let templates = Templates::new();
        for kind in [Kind::Data, Kind::Datagram] {
            let mut frame = templates.get(Sender::Client, kind).unwrap().to_vec();
            let (src, dst) = ((VIP, 1), (VIP, 2));
            let variant = Variant {
                src,
                dst,
                seq: 1,
                ack: 1,
            };
            make(&mut frame, &variant).unwrap();
            assert_eq!(Head::read(&frame).map(|head| head.ports), Some(0x1_0002));
            for at in 12..34 {
                let mut damaged = frame.clone();
                damaged[at] ^= 1;
                assert!(Head::read(&damaged).is_none(), "byte {at}");
            }
            for len in 0..frame.len() {
                assert!(Head::read(&frame[..len]).is_none(), "{len} bytes");
            }
        }
    }
}
