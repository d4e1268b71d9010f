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
/// The options go out in the order TOA, MSS, SACK-permitted and timestamps, window scale, each padded with NOPs to whole
/// words.
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

    /// Writes header and options to the start of `bytes` with a checksum of 0; nothing is written when there is no room.
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
