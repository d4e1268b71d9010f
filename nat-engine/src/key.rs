//! The key that a packet is looked up by, and its keyed hash.

use core::hash::Hasher;
use core::net::Ipv4Addr;

use siphasher::sip::SipHasher13;

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

/// Hashes flow keys with a secret, because attackers choose the tuples.
#[derive(Clone, Copy, Debug)]
pub struct FlowHasher {
    key: [u8; 16],
}

impl FlowHasher {
    /// Makes a hasher from a random secret, which all workers share.
    #[must_use]
    pub const fn new(key: [u8; 16]) -> Self {
        Self { key }
    }

    /// Hashes a key (SipHash-1-3).
    #[inline]
    #[must_use]
    pub fn hash(&self, key: &FlowKey) -> FlowHash {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_u64(u64::from(u32::from(key.src)) << 32 | u64::from(u32::from(key.dst)));
        hasher.write_u64(
            u64::from(key.src_port) << 32 | u64::from(key.dst_port) << 16 | u64::from(key.protocol),
        );
        FlowHash(hasher.finish())
    }
}

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
}
