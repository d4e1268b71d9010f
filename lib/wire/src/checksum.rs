//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! [`Sum`] adds up bytes, for packets that Weir creates or verifies. [`Delta`] adds up *changes*,
//! for packets that pass through: the old checksum goes into the new one, so an error that happened
//! on the way here is still an error for the receiver. A checksum must never be computed anew over
//! bytes that came from somewhere else.

use core::net::{Ipv4Addr, Ipv6Addr};

/// Words added before the running sum is folded; far below the 2^32 at which 64 bits could
/// overflow.
const BLOCK: usize = 1 << 16;

/// A one's complement sum of 16-bit words.
///
/// The words are added in the byte order of the machine and turned round at the end (RFC 1071
/// section 2 B).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Sum(u64);

impl Sum {
    /// An empty sum.
    #[inline]
    pub const fn new() -> Self {
        Self(0)
    }

    /// The sum of `bytes`.
    #[inline]
    pub fn of(bytes: &[u8]) -> Self {
        Self::new().add_bytes(bytes)
    }

    /// Adds whole 32-bit words, as many as the type says: a header of known size needs no loop.
    #[inline]
    pub fn add_words<const N: usize>(self, words: &[[u8; 4]; N]) -> Self {
        const { assert!(N <= BLOCK / 4, "64 bits could overflow") };
        self.add_raw(
            words
                .iter()
                .map(|word| u32::from_ne_bytes(*word) as u64)
                .sum(),
        )
    }

    /// Adds bytes that begin at an even offset. An odd length is padded with a zero byte, so only
    /// the last piece of a packet may have one.
    #[inline]
    pub fn add_bytes(mut self, bytes: &[u8]) -> Self {
        // Whole 32-bit words into 64-bit lanes: no carry to chase, so the compiler can use wide
        // registers.
        for block in bytes.chunks(BLOCK) {
            let (words, rest) = block.as_chunks::<4>();
            let mut sum: u64 = words
                .iter()
                .map(|word| u32::from_ne_bytes(*word) as u64)
                .sum();
            let mut tail = [0u8; 4];
            for (to, from) in tail.iter_mut().zip(rest) {
                *to = *from;
            }
            sum += u32::from_ne_bytes(tail) as u64;
            self = self.add_raw(sum);
        }
        self
    }

    /// Adds a 16-bit field, given in host order.
    #[inline]
    pub const fn add_u16(self, value: u16) -> Self {
        self.add_raw(value.to_be() as u64)
    }

    /// Adds a 32-bit field, given in host order.
    #[inline]
    pub const fn add_u32(self, value: u32) -> Self {
        self.add_raw(value.to_be() as u64)
    }

    /// The sum in 16 bits, host order: 0 only when nothing but zeroes was added, 0xffff over a
    /// packet whose checksum is right.
    #[inline]
    #[must_use]
    pub const fn fold(self) -> u16 {
        u16::from_be(fold64(self.0))
    }

    /// The checksum to store (RFC 1071 section 1): the complement of [`fold`](Self::fold).
    #[inline]
    #[must_use]
    pub const fn complement(self) -> u16 {
        !self.fold()
    }

    /// The checksum to store in a UDP header (RFC 768): a computed 0 goes out as 0xffff, for 0 says
    /// "none".
    #[inline]
    #[must_use]
    pub const fn complement_udp(self) -> u16 {
        match self.complement() {
            0 => 0xffff,
            checksum => checksum,
        }
    }

    /// Says whether a packet, its checksum field included, adds up.
    #[inline]
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.fold() == 0xffff
    }

    #[inline]
    const fn add_raw(self, value: u64) -> Self {
        let (sum, carry) = self.0.overflowing_add(value);
        Self(sum + carry as u64)
    }
}

/// The sum of the IPv4 pseudo header (RFC 9293 section 3.1): `len` is that of the TCP or UDP header
/// and payload.
#[inline]
pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u16) -> Sum {
    Sum::new()
        .add_u32(src.to_bits())
        .add_u32(dst.to_bits())
        .add_u16(protocol as u16)
        .add_u16(len)
}

/// The sum of the IPv6 pseudo header (RFC 8200 section 8.1).
#[inline]
pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, protocol: u8, len: u32) -> Sum {
    Sum::of(&src.octets())
        .add_bytes(&dst.octets())
        .add_u16(protocol as u16)
        .add_u32(len)
}

/// Changes to fields that a checksum covers, applied to the old checksum by RFC 1624 equation 3.
///
/// ```
/// use weir_wire::Delta;
/// // RFC 1624 section 4: the field goes from 0x5555 to 0x3285.
/// assert_eq!(Delta::new().replace_u16(0x5555, 0x3285).apply(0xdd2f), 0x0000);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Delta(u64);

impl Delta {
    /// No change.
    #[inline]
    pub const fn new() -> Self {
        Self(0)
    }

    /// A 16-bit field at an even offset changes.
    #[inline]
    pub const fn replace_u16(self, old: u16, new: u16) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// A 32-bit field at an even offset changes.
    #[inline]
    pub const fn replace_u32(self, old: u32, new: u32) -> Self {
        // 32 bits are two words; folding does not care at which of the two places a word stands.
        Self(self.0 + !old as u64 + new as u64)
    }

    /// Four bytes at an even offset change: an IPv4 address.
    #[inline]
    pub const fn replace_bytes4(self, old: [u8; 4], new: [u8; 4]) -> Self {
        self.replace_u32(u32::from_be_bytes(old), u32::from_be_bytes(new))
    }

    /// Sixteen bytes at an even offset change: an IPv6 address.
    #[inline]
    pub const fn replace_bytes16(self, old: [u8; 16], new: [u8; 16]) -> Self {
        let (old, new) = (u128::from_be_bytes(old), u128::from_be_bytes(new));
        self.replace_u32((old >> 96) as u32, (new >> 96) as u32)
            .replace_u32((old >> 64) as u32, (new >> 64) as u32)
            .replace_u32((old >> 32) as u32, (new >> 32) as u32)
            .replace_u32(old as u32, new as u32)
    }

    /// A 16-bit field at an odd offset changes: its bytes are the low and the high one of two
    /// neighbouring words.
    #[inline]
    pub const fn replace_u16_at_odd(self, old: u16, new: u16) -> Self {
        self.replace_u16(old.swap_bytes(), new.swap_bytes())
    }

    /// A 32-bit field at an odd offset changes, as timestamps and SACK edges do where a sender left
    /// the NOPs out.
    ///
    /// The bytes `a b c d` lie in the words `.a bc d.`, whose sum is that of `da bc`: the field
    /// rotated by one byte.
    #[inline]
    pub const fn replace_u32_at_odd(self, old: u32, new: u32) -> Self {
        self.replace_u32(old.rotate_right(8), new.rotate_right(8))
    }

    /// A 16-bit field changes; `offset` is counted from any even place of the packet, such as the
    /// start of its options.
    #[inline]
    pub const fn replace_u16_at(self, offset: usize, old: u16, new: u16) -> Self {
        if offset.is_multiple_of(2) {
            self.replace_u16(old, new)
        } else {
            self.replace_u16_at_odd(old, new)
        }
    }

    /// A 32-bit field changes; `offset` is counted from any even place of the packet, such as the
    /// start of its options.
    #[inline]
    pub const fn replace_u32_at(self, offset: usize, old: u32, new: u32) -> Self {
        if offset.is_multiple_of(2) {
            self.replace_u32(old, new)
        } else {
            self.replace_u32_at_odd(old, new)
        }
    }

    /// One byte changes; `offset` is counted from any even place of the packet.
    #[inline]
    pub const fn replace_u8_at(self, offset: usize, old: u8, new: u8) -> Self {
        let shift = if offset.is_multiple_of(2) { 8 } else { 0 };
        self.replace_u16((old as u16) << shift, (new as u16) << shift)
    }

    /// Bytes are put in at an even offset (a TOA option, say); what stood behind them moves up.
    /// Their length must be even, or every later byte would change its place within its word.
    #[inline]
    pub fn insert_bytes(self, bytes: &[u8]) -> Self {
        Self(self.0 + Sum::of(bytes).fold() as u64)
    }

    /// Bytes are taken out at an even offset; what stood behind them moves down. Their length must
    /// be even.
    #[inline]
    pub fn remove_bytes(self, bytes: &[u8]) -> Self {
        Self(self.0 + Sum::of(bytes).complement() as u64)
    }

    /// Both changes. The change of addresses, say, counts for the IPv4 header and, by the pseudo
    /// header, for TCP; that of ports for TCP only.
    #[inline]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The checksum after the changes (RFC 1624 equation 3: HC' = ~(~HC + ~m + m')). A wrong
    /// checksum stays wrong, and by the same amount. From a checksum other than 0xffff the result
    /// is never 0xffff and is, bit by bit, what adding up the whole packet would give.
    #[inline]
    #[must_use]
    pub const fn apply(self, checksum: u16) -> u16 {
        !fold64(self.0 + !checksum as u64)
    }

    /// The checksum of a UDP datagram after the changes: none stays none, and a computed 0 goes out
    /// as 0xffff (RFC 768).
    #[inline]
    #[must_use]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 {
            return 0;
        }
        match self.apply(checksum) {
            0 => 0xffff,
            checksum => checksum,
        }
    }
}

/// Folds with end-around carry; 0 stays 0, and nothing else becomes 0.
#[inline]
const fn fold64(sum: u64) -> u16 {
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// The definition, word by word: RFC 1071 section 4.1.
    fn naive(bytes: &[u8]) -> u16 {
        let mut sum: u32 = bytes
            .chunks(2)
            .map(|pair| (pair[0] as u32) << 8 | pair.get(1).copied().unwrap_or(0) as u32)
            .sum();
        while sum >> 16 != 0 {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    #[test]
    fn the_example_of_rfc_1071_adds_up() {
        let sum = Sum::of(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.fold(), 0xddf2);
        assert_eq!(sum.complement(), 0x220d);
    }

    #[test]
    fn the_example_of_rfc_1624_does_not_become_minus_zero() {
        // Section 4: equation 2 of RFC 1141 gives 0xffff here.
        assert_eq!(
            Delta::new().replace_u16(0x5555, 0x3285).apply(0xdd2f),
            0x0000
        );
        assert_eq!(
            Delta::new().replace_u16(0x3285, 0x5555).apply(0x0000),
            0xdd2f
        );
    }

    #[test]
    fn a_well_known_header_has_its_well_known_checksum() {
        // The worked example of Wikipedia's "Internet checksum".
        let mut header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(Sum::of(&header).complement(), 0xb861);
        header[10..12].copy_from_slice(&[0xb8, 0x61]);
        assert!(Sum::of(&header).is_valid());
        header[0] ^= 1;
        assert!(!Sum::of(&header).is_valid());
    }

    #[test]
    fn only_zeroes_add_up_to_zero() {
        assert_eq!(Sum::of(&[0; 64]).fold(), 0);
        assert_eq!(Sum::of(&[0xff; 64]).fold(), 0xffff);
        assert_eq!(Sum::new().add_u16(0xffff).add_u16(0xffff).fold(), 0xffff);
    }

    #[test]
    fn a_long_run_of_ones_carries_right() {
        for len in [0usize, 1, 3, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5] {
            let bytes = std::vec![0xff; len];
            let odd = if len.is_multiple_of(2) {
                0xffff
            } else {
                0xff00
            };
            assert_eq!(
                Sum::of(&bytes).fold(),
                if len == 0 { 0 } else { odd },
                "{len}"
            );
        }
    }

    #[test]
    fn fields_and_bytes_add_alike() {
        let bytes = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc];
        let sum = Sum::new().add_u16(0x1234).add_u32(0x5678_9abc);
        assert_eq!(sum.fold(), Sum::of(&bytes).fold());
        let words = [[0x12, 0x34, 0x56, 0x78], [0x9a, 0xbc, 0, 0]];
        assert_eq!(Sum::new().add_words(&words).fold(), Sum::of(&bytes).fold());
    }

    #[test]
    fn udp_never_says_none_by_accident() {
        assert_eq!(Sum::new().add_u16(0xffff).complement(), 0);
        assert_eq!(Sum::new().add_u16(0xffff).complement_udp(), 0xffff);
        let delta = Delta::new().replace_u16(0x5555, 0x3285);
        assert_eq!(delta.apply_udp(0xdd2f), 0xffff);
        assert_eq!(delta.apply_udp(0), 0, "none stays none");
    }

    #[test]
    fn no_change_changes_nothing() {
        for checksum in 0..=0xffff {
            assert_eq!(Delta::new().apply(checksum), checksum);
        }
    }

    proptest! {
        #[test]
        fn sum_is_that_of_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Sum::of(&bytes).fold(), naive(&bytes));
        }

        #[test]
        fn sum_does_not_care_where_it_is_cut(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            cut in 0usize..150,
        ) {
            let (head, tail) = bytes.split_at((cut * 2).min(bytes.len()));
            prop_assert_eq!(Sum::of(head).add_bytes(tail).fold(), naive(&bytes));
        }

        /// A packet with its checksum in the first word; fields change anywhere, at odd offsets
        /// too.
        #[test]
        fn updating_equals_adding_up_anew(
            mut packet in proptest::collection::vec(any::<u8>(), 24..80),
            changes in proptest::collection::vec((2usize..20, any::<u32>(), 0u8..3), 0..6),
        ) {
            packet[..2].fill(0);
            packet[2] |= 1; // no header is all zeroes
            let old = !naive(&packet);
            let mut delta = Delta::new();
            for (at, new, width) in changes {
                match width {
                    0 => {
                        let field: &mut [u8; 4] = (&mut packet[at..at + 4]).try_into().unwrap();
                        delta = delta.replace_u32_at(at, u32::from_be_bytes(*field), new);
                        *field = new.to_be_bytes();
                    }
                    1 => {
                        let field: &mut [u8; 2] = (&mut packet[at..at + 2]).try_into().unwrap();
                        delta = delta.replace_u16_at(at, u16::from_be_bytes(*field), new as u16);
                        *field = (new as u16).to_be_bytes();
                    }
                    _ => {
                        delta = delta.replace_u8_at(at, packet[at], new as u8);
                        packet[at] = new as u8;
                    }
                }
            }
            prop_assume!(naive(&packet) != 0);
            prop_assert_eq!(delta.apply(old), !naive(&packet));
        }

        #[test]
        fn addresses_of_both_families_update_alike(
            old in any::<[u8; 16]>(),
            new in any::<[u8; 16]>(),
            rest in 1u16..,
        ) {
            let sum = |addr: &[u8]| Sum::new().add_u16(rest).add_bytes(addr).complement();
            let delta = Delta::new().replace_bytes16(old, new);
            prop_assert_eq!(delta.apply(sum(&old)), sum(&new));

            let (old, new) = (old.first_chunk().unwrap(), new.first_chunk().unwrap());
            let delta = Delta::new().replace_bytes4(*old, *new);
            prop_assert_eq!(delta.apply(sum(old)), sum(new));
        }

        #[test]
        fn an_error_stays_an_error_of_the_same_size(
            packet in proptest::collection::vec(any::<u8>(), 4..40),
            error in 1u16..0xffff,
            old in any::<u32>(),
            new in any::<u32>(),
        ) {
            let covered = |field: u32| Sum::of(&field.to_be_bytes()).add_bytes(&packet);
            prop_assume!(covered(old).fold() != 0 && covered(new).fold() != 0);
            let wrong = Sum::new().add_u16(covered(old).complement()).add_u16(error).fold();
            let after = Delta::new().replace_u32(old, new).apply(wrong);
            prop_assert!(!covered(new).add_u16(after).is_valid());
            // Taking the error off makes the packet right again.
            prop_assert!(covered(new).add_u16(after).add_u16(!error).is_valid());
        }

        #[test]
        fn bytes_can_be_put_in_and_taken_out(
            head in proptest::collection::vec(any::<[u8; 2]>(), 1..10),
            middle in proptest::collection::vec(any::<[u8; 2]>(), 0..10),
            tail in proptest::collection::vec(any::<u8>(), 1..10),
        ) {
            let short: Vec<u8> = [head.as_flattened(), &tail].concat();
            let long: Vec<u8> = [head.as_flattened(), middle.as_flattened(), &tail].concat();
            prop_assume!(naive(&short) != 0);
            let (short, long) = (!naive(&short), !naive(&long));
            prop_assert_eq!(Delta::new().insert_bytes(middle.as_flattened()).apply(short), long);
            prop_assert_eq!(Delta::new().remove_bytes(middle.as_flattened()).apply(long), short);
        }

        #[test]
        fn one_delta_serves_two_checksums(
            addr in any::<(u32, u32)>(), port in any::<(u16, u16)>(), more in 1u32..,
        ) {
            let addrs = Delta::new().replace_u32(addr.0, addr.1);
            let ports = Delta::new().replace_u16(port.0, port.1);
            let ip = |addr| Sum::new().add_u32(addr).add_u32(more).complement();
            let l4 = |addr, port| {
                Sum::new().add_u32(addr).add_u16(port).add_u32(more).complement()
            };
            prop_assert_eq!(addrs.apply(ip(addr.0)), ip(addr.1));
            prop_assert_eq!(addrs.and(ports).apply(l4(addr.0, port.0)), l4(addr.1, port.1));
        }
    }
}
