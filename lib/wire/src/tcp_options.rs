//! TCP options: one at a time ([`TcpOptions`]) or all that Weir cares about in one pass
//! ([`OptionSummary`]).

mod forged;
mod summary;
mod toa;

pub use forged::{KindSet, ToaOption, ToaOptions};
pub use summary::OptionSummary;
pub use toa::Toa;

/// TCP option kinds.
#[derive(Clone, Copy, Debug)]
pub struct OptionKind;

impl OptionKind {
    /// End of the list.
    pub const EOL: u8 = 0;
    /// Padding of one byte.
    pub const NOP: u8 = 1;
    /// Maximum segment size (RFC 9293 section 3.7.1).
    pub const MSS: u8 = 2;
    /// Window scale (RFC 7323 section 2).
    pub const WSCALE: u8 = 3;
    /// SACK permitted (RFC 2018 section 2).
    pub const SACK_PERM: u8 = 4;
    /// SACK blocks (RFC 2018 section 3).
    pub const SACK: u8 = 5;
    /// Timestamps (RFC 7323 section 3).
    pub const TIMESTAMPS: u8 = 8;
    /// MD5 signature (RFC 2385).
    pub const MD5: u8 = 19;
    /// Authentication (RFC 5925).
    pub const AO: u8 = 29;
    /// Fast open cookie (RFC 7413).
    pub const TFO: u8 = 34;
    /// The client's true IPv6 address.
    pub const TOA_V6: u8 = 253;
    /// The client's true IPv4 address.
    pub const TOA_V4: u8 = 254;
}

/// A pair of timestamps (RFC 7323 section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// The sender's clock.
    pub tsval: u32,
    /// What the sender saw last of the other's clock.
    pub tsecr: u32,
}

/// One TCP option. A known kind with a length that its RFC does not allow is
/// [`Unknown`](Self::Unknown): end systems skip it, and so does Weir.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption<'a> {
    /// Padding.
    Nop,
    /// End of the list.
    EndOfList,
    /// Maximum segment size.
    Mss(u16),
    /// Window scale, as sent; above 14 it counts as 14 (RFC 7323 section 2.3).
    WindowScale(u8),
    /// SACK permitted.
    SackPermitted,
    /// SACK blocks: one to four pairs of edges, 8 bytes each.
    Sack(&'a [u8]),
    /// Timestamps.
    Timestamps {
        /// The sender's clock.
        tsval: u32,
        /// What the sender saw last of the other's clock.
        tsecr: u32,
    },
    /// The client's true address, under one of the two usual kinds.
    Toa(Toa),
    /// Anything else.
    Unknown {
        /// Kind.
        kind: u8,
        /// What follows kind and length.
        data: &'a [u8],
    },
}

impl<'a> TcpOption<'a> {
    fn read(kind: u8, data: &'a [u8]) -> Self {
        let known = match kind {
            OptionKind::MSS => data
                .try_into()
                .ok()
                .map(|mss| Self::Mss(u16::from_be_bytes(mss))),
            OptionKind::WSCALE => match data {
                [shift] => Some(Self::WindowScale(*shift)),
                _ => None,
            },
            OptionKind::SACK_PERM if data.is_empty() => Some(Self::SackPermitted),
            OptionKind::SACK if is_sack(data.len()) => Some(Self::Sack(data)),
            OptionKind::TIMESTAMPS => match data.as_chunks::<4>() {
                ([tsval, tsecr], []) => Some(Self::Timestamps {
                    tsval: u32::from_be_bytes(*tsval),
                    tsecr: u32::from_be_bytes(*tsecr),
                }),
                _ => None,
            },
            OptionKind::TOA_V4 | OptionKind::TOA_V6 => Toa::from_data(kind, data).map(Self::Toa),
            _ => None,
        };
        known.unwrap_or(Self::Unknown { kind, data })
    }
}

/// An option and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocatedOption<'a> {
    /// Offset of the kind byte from the start of the options.
    pub offset: usize,
    /// Length, kind and length bytes included.
    pub len: usize,
    /// The option.
    pub option: TcpOption<'a>,
}

/// Walks over options; stops behind the end-of-list option and before the first option whose length
/// is impossible.
#[derive(Clone, Debug)]
pub struct TcpOptions<'a> {
    rest: &'a [u8],
    offset: usize,
    malformed: bool,
}

impl<'a> TcpOptions<'a> {
    /// Walks over `options`, the bytes between the fixed header and the payload.
    #[must_use]
    pub const fn new(options: &'a [u8]) -> Self {
        Self {
            rest: options,
            offset: 0,
            malformed: false,
        }
    }

    /// Says whether the walk has met an impossible length. An end system stops there too.
    #[must_use]
    pub const fn is_malformed(&self) -> bool {
        self.malformed
    }
}

impl<'a> Iterator for TcpOptions<'a> {
    type Item = LocatedOption<'a>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (option, len, rest) = match *self.rest {
            [] => return None,
            [OptionKind::EOL, ..] => (TcpOption::EndOfList, 1, &[] as &[u8]),
            [OptionKind::NOP, ref rest @ ..] => (TcpOption::Nop, 1, rest),
            [kind, ref tail @ ..] => {
                let Some((data, rest)) = split_option(tail) else {
                    self.malformed = true;
                    self.rest = &[];
                    return None;
                };
                (TcpOption::read(kind, data), data.len() + 2, rest)
            }
        };
        let offset = self.offset;
        self.rest = rest;
        self.offset += len;
        Some(LocatedOption {
            offset,
            len,
            option,
        })
    }
}

impl core::iter::FusedIterator for TcpOptions<'_> {}

/// Splits what follows a kind byte into the option's data and the rest; nothing when its length is
/// impossible.
#[inline]
fn split_option(tail: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, tail) = tail.split_first()?;
    tail.split_at_checked((*len as usize).checked_sub(2)?)
}

/// One to four blocks of 8 bytes.
#[inline]
const fn is_sack(len: usize) -> bool {
    len != 0 && len.is_multiple_of(8)
}

#[cfg(test)]
mod tests;
