//! The TCP header (RFC 9293 section 3.1).

use core::fmt;
use core::ops::{BitAnd, BitOr, BitOrAssign};

use zerocopy::network_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::header::Header;
use crate::seq::SeqNumber;
use crate::tcp_options::{OptionKind, Timestamps, Toa};

/// The fixed part of the TCP header, 20 bytes; options may follow.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct TcpHeader {
    /// Source port.
    pub src_port: U16,
    /// Destination port.
    pub dst_port: U16,
    /// Sequence number.
    pub seq: U32,
    /// Acknowledgement number.
    pub ack: U32,
    /// Header length in words (4 bits), reserved bits (4), flags (8).
    pub off_flags: U16,
    /// Window, not scaled.
    pub window: U16,
    /// Checksum over pseudo header, header and payload.
    pub checksum: U16,
    /// Urgent pointer.
    pub urgent: U16,
}

impl TcpHeader {
    /// Offset of the checksum in the header.
    pub const CHECKSUM_OFFSET: usize = 16;

    /// Length of the header with options in bytes, as claimed: 0 to 60.
    #[inline]
    #[must_use]
    pub fn header_len(&self) -> usize {
        (self.off_flags.get() >> 12) as usize * 4
    }

    /// The flags.
    #[inline]
    #[must_use]
    pub fn flags(&self) -> TcpFlags {
        TcpFlags(self.off_flags.get() as u8)
    }

    /// Sets the flags and leaves header length and reserved bits.
    #[inline]
    pub fn set_flags(&mut self, flags: TcpFlags) {
        self.off_flags = (self.off_flags.get() & 0xff00 | flags.0 as u16).into();
    }

    /// Sets the header length, a multiple of 4 up to 60 bytes, and leaves reserved bits and flags.
    #[inline]
    pub fn set_header_len(&mut self, len: usize) {
        self.off_flags = (self.off_flags.get() & 0x0fff | ((len / 4) as u16) << 12).into();
    }

    /// Sequence number.
    #[inline]
    #[must_use]
    pub fn seq_number(&self) -> SeqNumber {
        SeqNumber(self.seq.get())
    }

    /// Acknowledgement number.
    #[inline]
    #[must_use]
    pub fn ack_number(&self) -> SeqNumber {
        SeqNumber(self.ack.get())
    }
}

/// A set of TCP flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// Says whether all of `other` are set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Says whether any of `other` is set.
    #[inline]
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// These and `other`.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These without `other`.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// How many sequence numbers the flags take: one for SYN, one for FIN (RFC 9293 section 3.4).
    #[inline]
    #[must_use]
    pub const fn seq_len(self) -> u32 {
        self.contains(Self::SYN) as u32 + self.contains(Self::FIN) as u32
    }
}

impl BitOr for TcpFlags {
    type Output = Self;

    #[inline]
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl BitOrAssign for TcpFlags {
    #[inline]
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl BitAnd for TcpFlags {
    type Output = Self;

    #[inline]
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

/// As tcpdump writes them: `S`, `S.`, `FP.`, `.`, `none`.
impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LETTERS: [(TcpFlags, &str); 8] = [
            (TcpFlags::FIN, "F"),
            (TcpFlags::SYN, "S"),
            (TcpFlags::RST, "R"),
            (TcpFlags::PSH, "P"),
            (TcpFlags::ACK, "."),
            (TcpFlags::URG, "U"),
            (TcpFlags::ECE, "E"),
            (TcpFlags::CWR, "W"),
        ];
        if *self == Self::NONE {
            return f.write_str("none");
        }
        for (flag, letter) in LETTERS {
            if self.contains(flag) {
                f.write_str(letter)?;
            }
        }
        Ok(())
    }
}

/// A TCP header with options that is legal to send, without its checksum.
///
/// The options go out in the order TOA, MSS, SACK-permitted and timestamps, window scale, each
/// padded with NOPs to whole words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpRepr {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: SeqNumber,
    /// Acknowledgement number.
    pub ack: SeqNumber,
    /// Flags.
    pub flags: TcpFlags,
    /// Window, not scaled.
    pub window: u16,
    /// Maximum segment size; belongs on SYN only.
    pub mss: Option<u16>,
    /// Window scale; belongs on SYN only.
    pub wscale: Option<u8>,
    /// SACK permitted; belongs on SYN only.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// The client's true address, for real servers.
    pub toa: Option<Toa>,
}

impl TcpRepr {
    /// The longest header that TCP can say.
    pub const MAX_LEN: usize = 60;

    /// Length of the header with options: 20 to 60, always whole words.
    #[must_use]
    pub fn buffer_len(&self) -> usize {
        TcpHeader::LEN
            + self.toa.map_or(0, |toa| toa.len())
            + if self.mss.is_some() { 4 } else { 0 }
            + match (self.sack_permitted, self.timestamps.is_some()) {
                (_, true) => 12,
                (true, false) => 4,
                (false, false) => 0,
            }
            + if self.wscale.is_some() { 4 } else { 0 }
    }

    /// Writes header and options to the start of `bytes` with a checksum of 0; nothing is written
    /// when there is no room.
    #[must_use]
    pub fn emit(&self, bytes: &mut [u8]) -> Option<()> {
        let len = self.buffer_len();
        let mut writer = Writer {
            rest: bytes.get_mut(..len)?,
        };
        let mut header = TcpHeader {
            src_port: self.src_port.into(),
            dst_port: self.dst_port.into(),
            seq: self.seq.0.into(),
            ack: self.ack.0.into(),
            off_flags: (self.flags.0 as u16).into(),
            window: self.window.into(),
            checksum: 0.into(),
            urgent: 0.into(),
        };
        header.set_header_len(len);
        writer.put(header.as_bytes())?;
        if let Some(toa) = self.toa {
            writer.put(toa.to_bytes().get(..toa.len())?)?;
        }
        if let Some(mss) = self.mss {
            writer.put(&[OptionKind::MSS, 4])?;
            writer.put(&mss.to_be_bytes())?;
        }
        if let Some(Timestamps { tsval, tsecr }) = self.timestamps {
            writer.put(if self.sack_permitted {
                &SACK_PERMITTED
            } else {
                &NOPS
            })?;
            writer.put(&[OptionKind::TIMESTAMPS, 10])?;
            writer.put(&tsval.to_be_bytes())?;
            writer.put(&tsecr.to_be_bytes())?;
        } else if self.sack_permitted {
            writer.put(&NOPS)?;
            writer.put(&SACK_PERMITTED)?;
        }
        if let Some(wscale) = self.wscale {
            writer.put(&[OptionKind::NOP, OptionKind::WSCALE, 3, wscale])?;
        }
        Some(())
    }
}

const NOPS: [u8; 2] = [OptionKind::NOP, OptionKind::NOP];
const SACK_PERMITTED: [u8; 2] = [OptionKind::SACK_PERM, 2];

/// Fills a buffer from the front.
struct Writer<'a> {
    rest: &'a mut [u8],
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let (to, rest) = core::mem::take(&mut self.rest).split_at_mut_checked(bytes.len())?;
        to.copy_from_slice(bytes);
        self.rest = rest;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use core::net::SocketAddr;
    use std::string::ToString;

    use proptest::prelude::*;

    use super::*;
    use crate::tcp_options::{TcpOption, TcpOptions};

    #[test]
    fn flags_print_as_in_tcpdump() {
        assert_eq!(TcpFlags::SYN.to_string(), "S");
        assert_eq!((TcpFlags::SYN | TcpFlags::ACK).to_string(), "S.");
        assert_eq!(
            (TcpFlags::FIN | TcpFlags::PSH | TcpFlags::ACK).to_string(),
            "FP."
        );
        assert_eq!(TcpFlags::ACK.to_string(), ".");
        assert_eq!(TcpFlags::NONE.to_string(), "none");
        assert_eq!(TcpFlags(0xff).to_string(), "FSRP.UEW");
    }

    #[test]
    fn all_of_a_set_differs_from_any_of_it() {
        let syn_ack = TcpFlags::SYN | TcpFlags::ACK;
        assert!(syn_ack.contains(TcpFlags::ACK) && !TcpFlags::ACK.contains(syn_ack));
        assert!(TcpFlags::ACK.intersects(syn_ack) && !TcpFlags::RST.intersects(syn_ack));
        assert_eq!(syn_ack.without(TcpFlags::SYN), TcpFlags::ACK);
        assert_eq!(syn_ack & TcpFlags::SYN, TcpFlags::SYN);
    }

    #[test]
    fn syn_and_fin_take_a_sequence_number_each() {
        assert_eq!(TcpFlags::ACK.seq_len(), 0);
        assert_eq!((TcpFlags::SYN | TcpFlags::ACK).seq_len(), 1);
        assert_eq!((TcpFlags::SYN | TcpFlags::FIN).seq_len(), 2);
    }

    #[test]
    fn setting_length_and_flags_leaves_the_rest() {
        let mut bytes = [0u8; 20];
        let header = TcpHeader::at_mut(&mut bytes, 0).unwrap();
        header.off_flags = 0x5f02.into();
        header.set_header_len(60);
        assert_eq!(header.off_flags.get(), 0xff02);
        header.set_flags(TcpFlags::RST);
        assert_eq!((header.off_flags.get(), header.header_len()), (0xff04, 60));
        assert_eq!(header.flags(), TcpFlags::RST);
    }

    #[test]
    fn the_syn_of_linux_is_emitted_bit_by_bit() {
        // Captured: mss 1460, sackOK, TS val 2917921819 ecr 0, nop, wscale 10.
        let repr = TcpRepr {
            src_port: 33784,
            dst_port: 9000,
            seq: SeqNumber(3_206_665_627),
            flags: TcpFlags::SYN,
            window: 64240,
            mss: Some(1460),
            wscale: Some(10),
            sack_permitted: true,
            timestamps: Some(Timestamps {
                tsval: 2_917_921_819,
                tsecr: 0,
            }),
            ..TcpRepr::default()
        };
        let expected = [
            0x83, 0xf8, 0x23, 0x28, 0xbf, 0x21, 0xd5, 0x9b, 0, 0, 0, 0, 0xa0, 0x02, 0xfa, 0xf0, 0,
            0, 0, 0, 0x02, 0x04, 0x05, 0xb4, 0x04, 0x02, 0x08, 0x0a, 0xad, 0xeb, 0xf4, 0x1b, 0, 0,
            0, 0, 0x01, 0x03, 0x03, 0x0a,
        ];
        let mut bytes = [0xee; 40];
        assert_eq!(repr.emit(&mut bytes), Some(()));
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_buffer_one_byte_short_is_not_touched() {
        let repr = TcpRepr {
            mss: Some(1460),
            ..TcpRepr::default()
        };
        let mut bytes = [0xee; 23];
        assert_eq!(repr.emit(&mut bytes), None);
        assert_eq!(bytes, [0xee; 23]);
    }

    proptest! {
        #[test]
        fn what_is_emitted_reads_back(
            mss in any::<Option<u16>>(),
            wscale in any::<Option<u8>>(),
            sack_permitted in any::<bool>(),
            timestamps in any::<Option<(u32, u32)>>(),
            client in any::<Option<(core::net::IpAddr, u16)>>(),
            numbers in any::<(u16, u16, u32, u32, u8, u16)>(),
        ) {
            let repr = TcpRepr {
                src_port: numbers.0,
                dst_port: numbers.1,
                seq: SeqNumber(numbers.2),
                ack: SeqNumber(numbers.3),
                flags: TcpFlags(numbers.4),
                window: numbers.5,
                mss,
                wscale,
                sack_permitted,
                timestamps: timestamps.map(|(tsval, tsecr)| Timestamps { tsval, tsecr }),
                toa: client.map(|(ip, port)| Toa::new(SocketAddr::new(ip, port))),
            };
            let len = repr.buffer_len();
            prop_assert!(len <= TcpRepr::MAX_LEN && len.is_multiple_of(4));
            let mut bytes = [0xee; 64];
            prop_assert_eq!(repr.emit(&mut bytes), Some(()));
            prop_assert!(bytes[len..].iter().all(|byte| *byte == 0xee));

            let header = TcpHeader::at(&bytes, 0).unwrap();
            prop_assert_eq!(header.header_len(), len);
            prop_assert_eq!((header.checksum.get(), header.urgent.get()), (0, 0));
            let mut back = TcpRepr {
                src_port: header.src_port.get(),
                dst_port: header.dst_port.get(),
                seq: header.seq_number(),
                ack: header.ack_number(),
                flags: header.flags(),
                window: header.window.get(),
                ..TcpRepr::default()
            };
            let mut options = TcpOptions::new(&bytes[20..len]);
            for located in options.by_ref() {
                match located.option {
                    TcpOption::Nop => {}
                    TcpOption::Mss(value) => back.mss = Some(value),
                    TcpOption::WindowScale(value) => back.wscale = Some(value),
                    TcpOption::SackPermitted => back.sack_permitted = true,
                    TcpOption::Timestamps { tsval, tsecr } => {
                        back.timestamps = Some(Timestamps { tsval, tsecr });
                    }
                    TcpOption::Toa(toa) => back.toa = Some(toa),
                    TcpOption::EndOfList | TcpOption::Sack(_) | TcpOption::Unknown { .. } => {
                        prop_assert!(false, "{:?}", located);
                    }
                }
            }
            prop_assert!(!options.is_malformed());
            prop_assert_eq!(back, repr);
        }
    }
}
