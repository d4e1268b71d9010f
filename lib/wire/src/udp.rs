//! The UDP header (RFC 768).

use zerocopy::network_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::header::Header;

/// The UDP header, 8 bytes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct UdpHeader {
    /// Source port.
    pub src_port: U16,
    /// Destination port.
    pub dst_port: U16,
    /// Length of header and payload.
    pub len: U16,
    /// Checksum; 0 is none.
    pub checksum: U16,
}

impl UdpHeader {
    /// Offset of the checksum in the header.
    pub const CHECKSUM_OFFSET: usize = 6;
}

/// A UDP header that is legal to send, without its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpRepr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Length of what follows.
    pub payload_len: u16,
}

impl UdpRepr {
    /// Length of the emitted header.
    pub const LEN: usize = 8;

    /// Writes the header with a checksum of 0 to the start of `bytes`; nothing is written when
    /// there is no room or the datagram would be longer than 65,535 bytes.
    #[must_use]
    pub fn emit(&self, bytes: &mut [u8]) -> Option<()> {
        let header = UdpHeader {
            src_port: self.src_port.into(),
            dst_port: self.dst_port.into(),
            len: self.payload_len.checked_add(Self::LEN as u16)?.into(),
            checksum: 0.into(),
        };
        header.put(bytes, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_emitted_with_its_length_and_no_checksum() {
        let repr = UdpRepr {
            src_port: 0x1234,
            dst_port: 53,
            payload_len: 5,
        };
        let mut bytes = [7; 9];
        assert_eq!(repr.emit(&mut bytes), Some(()));
        assert_eq!(bytes, [0x12, 0x34, 0, 53, 0, 13, 0, 0, 7]);
    }

    #[test]
    fn what_does_not_fit_is_not_emitted() {
        let mut repr = UdpRepr {
            src_port: 1,
            dst_port: 2,
            payload_len: 65_528,
        };
        let mut bytes = [7; 8];
        assert_eq!(repr.emit(&mut bytes), None);
        repr.payload_len = 0;
        assert_eq!(repr.emit(&mut bytes[..7]), None);
        assert_eq!(bytes, [7; 8]);
    }
}
