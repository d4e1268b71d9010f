//! The Toeplitz hash by which NICs spread flows over their queues (receive-side scaling).

use core::net::{Ipv4Addr, Ipv6Addr};

/// The Toeplitz hash with a device's key.
///
/// Each bit of the input that is set adds (exclusive or) the 32 bits of the key that begin where
/// the bit stands. So the hash is linear: the hash of two inputs' exclusive or is the exclusive or
/// of their hashes, and what a port adds does not depend on the addresses.
///
/// ```
/// use weir_wire::Toeplitz;
///
/// let rss = Toeplitz::new(&[0x6d; 40]).unwrap();
/// let (src, dst) = ([192, 0, 2, 1].into(), [203, 0, 113, 1].into());
/// let whole = rss.v4_ports(src, dst, 1234, 80);
/// let rest = rss.v4_ports(src, dst, 1234, 0);
/// let port = rss.v4_ports([0; 4].into(), [0; 4].into(), 0, 80);
/// assert_eq!(whole, rest ^ port);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toeplitz {
    key: [u8; Self::KEY_LEN],
}

impl Toeplitz {
    /// The bytes of a key that the longest input takes: addresses and ports of IPv6.
    pub const KEY_LEN: usize = 40;

    /// Takes a device's key; none when it is too short. What a longer one has more is never used.
    #[must_use]
    pub fn new(key: &[u8]) -> Option<Self> {
        let key = *key.first_chunk()?;
        Some(Self { key })
    }

    /// Hashes a packet of IPv4 by its addresses.
    #[must_use]
    pub fn v4(&self, src: Ipv4Addr, dst: Ipv4Addr) -> u32 {
        self.hash([src.octets(), dst.octets()].as_flattened())
    }

    /// Hashes a packet of TCP or UDP over IPv4 by its addresses and ports.
    #[must_use]
    pub fn v4_ports(&self, src: Ipv4Addr, dst: Ipv4Addr, src_port: u16, dst_port: u16) -> u32 {
        let ports = ports(src_port, dst_port);
        self.hash([src.octets(), dst.octets(), ports].as_flattened())
    }

    /// Hashes a packet of IPv6 by its addresses.
    #[must_use]
    pub fn v6(&self, src: Ipv6Addr, dst: Ipv6Addr) -> u32 {
        self.hash([src.octets(), dst.octets()].as_flattened())
    }

    /// Hashes a packet of TCP or UDP over IPv6 by its addresses and ports.
    #[must_use]
    pub fn v6_ports(&self, src: Ipv6Addr, dst: Ipv6Addr, src_port: u16, dst_port: u16) -> u32 {
        let mut input = [0; 36];
        let (addresses, rest) = input.split_at_mut(32);
        addresses.copy_from_slice([src.octets(), dst.octets()].as_flattened());
        rest.copy_from_slice(&ports(src_port, dst_port));
        self.hash(&input)
    }

    /// Hashes the first 36 bytes of an input, bit by bit: for tables and tests, not for packets.
    #[must_use]
    pub fn hash(&self, input: &[u8]) -> u32 {
        let mut hash = 0;
        for (byte, window) in input.iter().zip(self.key.windows(5)) {
            let window = window
                .iter()
                .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            for bit in 0..8 {
                if byte & 0x80 >> bit != 0 {
                    hash ^= (window >> (8 - bit)) as u32;
                }
            }
        }
        hash
    }
}

/// Ports as they stand in the input: the source's first.
const fn ports(src_port: u16, dst_port: u16) -> [u8; 4] {
    ((src_port as u32) << 16 | dst_port as u32).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The key, the packets and the hashes that Microsoft publishes for verification.
    const KEY: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    #[test]
    fn the_published_packets_of_ipv4_have_the_published_hashes() {
        let rss = Toeplitz::new(&KEY).unwrap();
        for (dst, dst_port, src, src_port, addresses, with_ports) in [
            (
                [161, 142, 100, 80],
                1766,
                [66, 9, 149, 187],
                2794,
                0x323e_8fc2,
                0x51cc_c178,
            ),
            (
                [65, 69, 140, 83],
                4739,
                [199, 92, 111, 2],
                14_230,
                0xd718_262a,
                0xc626_b0ea,
            ),
            (
                [12, 22, 207, 184],
                38_024,
                [24, 19, 198, 95],
                12_898,
                0xd2d0_a5de,
                0x5c2b_394a,
            ),
            (
                [209, 142, 163, 6],
                2217,
                [38, 27, 205, 30],
                48_228,
                0x8298_9176,
                0xafc7_327f,
            ),
            (
                [202, 188, 127, 2],
                1303,
                [153, 39, 163, 191],
                44_251,
                0x5d18_09c5,
                0x10e8_28a2,
            ),
        ] {
            let (src, dst) = (src.into(), dst.into());
            assert_eq!(rss.v4(src, dst), addresses);
            assert_eq!(rss.v4_ports(src, dst, src_port, dst_port), with_ports);
        }
    }

    #[test]
    fn the_published_packets_of_ipv6_have_the_published_hashes() {
        let rss = Toeplitz::new(&KEY).unwrap();
        for (dst, dst_port, src, src_port, addresses, with_ports) in [
            (
                "3ffe:2501:200:3::1",
                1766,
                "3ffe:2501:200:1fff::7",
                2794,
                0x2cc1_8cd5,
                0x4020_7d3d,
            ),
            (
                "ff02::1",
                4739,
                "3ffe:501:8::260:97ff:fe40:efab",
                14_230,
                0x0f0c_461c,
                0xdde5_1bbf,
            ),
            (
                "fe80::200:f8ff:fe21:67cf",
                38_024,
                "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
                44_251,
                0x4b61_e985,
                0x02d1_feef,
            ),
        ] {
            let (src, dst) = (src.parse().unwrap(), dst.parse().unwrap());
            assert_eq!(rss.v6(src, dst), addresses);
            assert_eq!(rss.v6_ports(src, dst, src_port, dst_port), with_ports);
        }
    }

    #[test]
    fn a_short_key_is_refused_and_a_long_one_hashes_like_its_beginning() {
        assert_eq!(Toeplitz::new(&KEY[..39]), None);
        let long = [&KEY[..], &[0xff; 12]].concat();
        assert_eq!(Toeplitz::new(&long), Toeplitz::new(&KEY));
    }

    proptest! {
        #[test]
        fn the_hash_is_linear(
            key in proptest::array::uniform(any::<u8>()).prop_map(|key: [u8; 40]| key),
            a in proptest::collection::vec(any::<u8>(), 36),
            b in proptest::collection::vec(any::<u8>(), 36),
        ) {
            let rss = Toeplitz::new(&key).unwrap();
            let both: std::vec::Vec<u8> = a.iter().zip(&b).map(|(a, b)| a ^ b).collect();
            prop_assert_eq!(rss.hash(&both), rss.hash(&a) ^ rss.hash(&b));
        }
    }
}
