//! The key that a packet is looked up by, and its keyed hash.

use core::net::Ipv4Addr;

use weir_simd::{Lanes, SipKey, Width, sip13, sip13_one};

/// The direction of a packet within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the real server.
    Inbound,
    /// From the real server to the client.
    Outbound,
}

impl Direction {
    /// Returns the other direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Inbound => Self::Outbound,
            Self::Outbound => Self::Inbound,
        }
    }
}

/// The five-tuple of one direction, as the packet carries it.
///
/// A session has two: client to VIP, and real server to LIP. An IPv6 key holds the four-byte
/// keyed digest of each address instead; the wide part of an IPv6 session confirms the match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

impl FlowKey {
    /// Returns the key of a packet in the opposite direction between the same ends.
    #[must_use]
    pub const fn reverse(self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            src_port: self.dst_port,
            dst_port: self.src_port,
            protocol: self.protocol,
        }
    }

    /// Returns the key as the two words that are hashed.
    #[inline]
    #[must_use]
    pub const fn words(&self) -> [u64; 2] {
        let ports = (self.src_port as u64) << 32 | (self.dst_port as u64) << 16;
        [
            (self.src.to_bits() as u64) << 32 | self.dst.to_bits() as u64,
            ports | self.protocol as u64,
        ]
    }

    /// Returns the key whose [words](Self::words) these are.
    #[inline]
    #[must_use]
    pub const fn from_words([addresses, ports]: [u64; 2]) -> Self {
        Self {
            src: Ipv4Addr::from_bits((addresses >> 32) as u32),
            dst: Ipv4Addr::from_bits(addresses as u32),
            src_port: (ports >> 32) as u16,
            dst_port: (ports >> 16) as u16,
            protocol: ports as u8,
        }
    }
}

/// The keyed hash of a [`FlowKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash(pub u64);

impl FlowHash {
    /// Returns which of `workers` owns a client's flow; the same on every worker.
    #[must_use]
    pub const fn owner(self, workers: u8) -> u8 {
        // The upper half; the table uses the lower one, so that owners fill their whole tables.
        (((self.0 >> 32) * workers as u64) >> 32) as u8
    }
}

/// Hashes flow keys with a secret, because attackers choose the tuples (`SipHash`-1-3).
#[derive(Clone, Copy, Debug)]
pub struct FlowHasher {
    key: SipKey,
    width: Width,
}

impl FlowHasher {
    /// Makes a hasher from a random secret, which all workers share.
    #[must_use]
    pub fn new(key: [u8; 16]) -> Self {
        let bits = u128::from_le_bytes(key);
        Self {
            key: SipKey(bits as u64, (bits >> 64) as u64),
            width: Width::detect(),
        }
    }

    /// Hashes a key.
    #[inline]
    #[must_use]
    pub const fn hash(&self, key: &FlowKey) -> FlowHash {
        let [addresses, ports] = key.words();
        FlowHash(sip13_one(self.key, [addresses, ports, LENGTH]))
    }

    /// Hashes several keys side by side, given as their [words](FlowKey::words).
    #[inline]
    #[must_use]
    pub fn hash_lanes(&self, [addresses, ports]: &[Lanes; 2]) -> Lanes {
        let words = [*addresses, *ports, [LENGTH; _]];
        sip13(self.width, self.key, &words)
    }
}

/// The last word of a message of 16 bytes.
const LENGTH: u64 = 16 << 56;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_secret_gives_another_hash_and_owners_are_in_range() {
        let key = FlowKey {
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::new(203, 0, 113, 1),
            src_port: 1234,
            dst_port: 80,
            protocol: 6,
        };
        let a = FlowHasher::new([1; 16]).hash(&key);
        let b = FlowHasher::new([2; 16]).hash(&key);
        assert_ne!(a, b);
        assert_ne!(a, FlowHasher::new([1; 16]).hash(&key.reverse()));
        for workers in 1..=64 {
            assert!(a.owner(workers) < workers);
        }
    }

    #[test]
    fn a_key_comes_back_from_its_words() {
        let key = FlowKey {
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::new(203, 0, 113, 255),
            src_port: 0xfedc,
            dst_port: 0x8001,
            protocol: 17,
        };
        assert_eq!(FlowKey::from_words(key.words()), key);
    }

    #[test]
    fn side_by_side_keys_hash_as_they_do_alone() {
        let hasher = FlowHasher::new([3; 16]);
        let key = |port| FlowKey {
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::new(203, 0, 113, 1),
            src_port: port,
            dst_port: 80,
            protocol: 6,
        };
        let keys: [FlowKey; weir_simd::LANES] = core::array::from_fn(|lane| key(lane as u16));
        let words = keys.map(|key| key.words());
        let lanes = [
            words.map(|[first, _]| first),
            words.map(|[_, second]| second),
        ];
        let together = hasher.hash_lanes(&lanes).map(FlowHash);
        assert_eq!(together, keys.map(|key| hasher.hash(&key)));
    }
}
