//! One way to lay a header over bytes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A fixed-size header that can be viewed anywhere in a frame, without a copy and without an
/// alignment rule.
pub trait Header: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned + Sized {
    /// Size of the fixed part in bytes.
    const LEN: usize = size_of::<Self>();

    /// Views the header at `offset`, or nothing when the bytes end before it does.
    #[inline]
    #[must_use]
    fn at(bytes: &[u8], offset: usize) -> Option<&Self> {
        let (header, _) = Self::ref_from_prefix(bytes.get(offset..)?).ok()?;
        Some(header)
    }

    /// Views the header at `offset` for change, or nothing when the bytes end before it does.
    #[inline]
    #[must_use]
    fn at_mut(bytes: &mut [u8], offset: usize) -> Option<&mut Self> {
        let (header, _) = Self::mut_from_prefix(bytes.get_mut(offset..)?).ok()?;
        Some(header)
    }

    /// Writes the header at `offset`, or nothing at all when there is no room.
    #[inline]
    #[must_use]
    fn put(&self, bytes: &mut [u8], offset: usize) -> Option<()> {
        self.write_to_prefix(bytes.get_mut(offset..)?).ok()
    }
}

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable + Unaligned> Header for T {}

#[cfg(test)]
mod tests {
    use super::Header;
    use crate::{UdpHeader, VlanTag};

    #[test]
    fn a_view_at_any_offset_ends_with_the_bytes() {
        let bytes = [0u8, 1, 2, 3, 4];
        assert_eq!(
            VlanTag::at(&bytes, 1).map(|tag| tag.tci.get()),
            Some(0x0102)
        );
        assert!(VlanTag::at(&bytes, 2).is_none());
        assert!(VlanTag::at(&bytes, usize::MAX).is_none());
        assert!(UdpHeader::at(&bytes, 0).is_none());
    }

    #[test]
    fn put_without_room_changes_nothing() {
        let mut bytes = [7u8; 5];
        let tag = VlanTag {
            tci: 1.into(),
            ethertype: 2.into(),
        };
        assert_eq!(tag.put(&mut bytes, 2), None);
        assert_eq!(bytes, [7; 5]);
        assert_eq!(tag.put(&mut bytes, 1), Some(()));
        assert_eq!(bytes, [7, 0, 1, 0, 2]);
    }
}
