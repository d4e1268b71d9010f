//! TCP options: one at a time ([`TcpOptions`]) or all that Weir cares about in one pass ([`OptionSummary`]).

use core::net::{IpAddr, SocketAddr};

use crate::checksum::Delta;

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

/// The client's true address, told to a real server in a TCP option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toa {
    /// The option kind; receivers differ for IPv6.
    pub kind: u8,
    /// The client.
    pub client: SocketAddr,
}

impl Toa {
    /// Length of the option for IPv4.
    pub const LEN_V4: usize = 8;
    /// Length of the option for IPv6.
    pub const LEN_V6: usize = 20;

    /// The option with the usual kind of the client's family.
    #[must_use]
    pub const fn new(client: SocketAddr) -> Self {
        let kind = match client {
            SocketAddr::V4(_) => OptionKind::TOA_V4,
            SocketAddr::V6(_) => OptionKind::TOA_V6,
        };
        Self { kind, client }
    }

    /// Length of the option: whole words, 8 or 20 bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an option is never empty")]
    pub const fn len(&self) -> usize {
        match self.client {
            SocketAddr::V4(_) => Self::LEN_V4,
            SocketAddr::V6(_) => Self::LEN_V6,
        }
    }

    /// The option: kind, length, port, address. Only the first [`len`](Self::len) bytes count.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN_V6] {
        let mut bytes = [0; Self::LEN_V6];
        let [kind, len, port_high, port_low, addr @ ..] = &mut bytes;
        *kind = self.kind;
        *len = self.len() as u8;
        [*port_high, *port_low] = self.client.port().to_be_bytes();
        match self.client.ip() {
            IpAddr::V4(v4) => {
                for (to, from) in addr.iter_mut().zip(v4.octets()) {
                    *to = from;
                }
            }
            IpAddr::V6(v6) => *addr = v6.octets(),
        }
        bytes
    }

    /// Reads port and address behind kind and length.
    #[must_use]
    fn from_data(kind: u8, data: &[u8]) -> Option<Self> {
        let (port, addr) = data.split_first_chunk::<2>()?;
        let ip = if let Ok(v4) = <[u8; 4]>::try_from(addr) {
            IpAddr::from(v4)
        } else {
            IpAddr::from(<[u8; 16]>::try_from(addr).ok()?)
        };
        Some(Self {
            kind,
            client: SocketAddr::new(ip, u16::from_be_bytes(*port)),
        })
    }
}

/// One TCP option. A known kind with a length that its RFC does not allow is [`Unknown`](Self::Unknown): end systems
/// skip it, and so does Weir.
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

/// Walks over options; stops behind the end-of-list option and before the first option whose length is impossible.
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

/// A set of TCP option kinds, such as those that a client could use to forge a TOA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KindSet([u64; 4]);

impl KindSet {
    /// No kind.
    pub const EMPTY: Self = Self([0; 4]);
    /// The two usual TOA kinds, 253 and 254.
    pub const TOA: Self = Self::EMPTY
        .with(OptionKind::TOA_V4)
        .with(OptionKind::TOA_V6);

    /// The set and `kind`.
    #[must_use]
    pub const fn with(self, kind: u8) -> Self {
        let Self([mut a, mut b, mut c, mut d]) = self;
        let bit = 1 << (kind & 63);
        match kind >> 6 {
            0 => a |= bit,
            1 => b |= bit,
            2 => c |= bit,
            _ => d |= bit,
        }
        Self([a, b, c, d])
    }

    /// Says whether `kind` is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(&self, kind: u8) -> bool {
        let Self([a, b, c, d]) = *self;
        let word = match kind >> 6 {
            0 => a,
            1 => b,
            2 => c,
            _ => d,
        };
        word >> (kind & 63) & 1 == 1
    }
}

/// What one pass over the options found. Offsets are those of the kind byte, from the start of the options; the options
/// start at an even place of the packet, so [`Delta::replace_u32_at`] takes them as they are.
///
/// Where an option comes twice the last one counts, as it does for the stacks at both ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionSummary {
    /// Maximum segment size: offset (the value is 2 bytes behind) and value.
    pub mss: Option<(u8, u16)>,
    /// Window scale: offset (the value is 2 bytes behind) and value as sent.
    pub wscale: Option<(u8, u8)>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// SACK: offset (the first edge is 2 bytes behind) and number of blocks of 8 bytes.
    pub sack: Option<(u8, u8)>,
    /// Timestamps: offset; `TSval` is 2 bytes behind, `TSecr` 6.
    pub timestamps: Option<u8>,
    /// Options whose kind is in the set that was asked for.
    pub toa: ToaOptions,
    /// Whether an option that rewriting cares about came more than once.
    pub repeated: bool,
    /// Whether every length was possible. If not, the rest of the options was not looked at, and no end system looks.
    pub well_formed: bool,
}

impl OptionSummary {
    /// Walks once over `options`, the bytes between the fixed header and the payload. The kinds 0 to 5 and 8 are read as
    /// what they are even when `toa_kinds` names them.
    #[inline]
    #[must_use]
    pub fn new(options: &[u8], toa_kinds: &KindSet) -> Self {
        // What nearly every segment behind the handshake carries.
        if let [
            OptionKind::NOP,
            OptionKind::NOP,
            OptionKind::TIMESTAMPS,
            10,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
        ] = options
        {
            return Self {
                timestamps: Some(2),
                well_formed: true,
                ..Self::default()
            };
        }
        Self::walk(options, toa_kinds)
    }

    fn walk(options: &[u8], toa_kinds: &KindSet) -> Self {
        let mut summary = Self {
            well_formed: true,
            ..Self::default()
        };
        // More than a header can hold would not fit the narrow offsets.
        let mut rest = options.get(..MAX_OPTIONS).unwrap_or(options);
        let mut offset = 0u8;
        loop {
            rest = match *rest {
                [] | [OptionKind::EOL, ..] => return summary,
                [OptionKind::NOP, ref rest @ ..] => {
                    offset += 1;
                    rest
                }
                [kind, ref tail @ ..] => {
                    let Some((data, rest)) = split_option(tail) else {
                        summary.well_formed = false;
                        return summary;
                    };
                    summary.note(offset, kind, data, toa_kinds);
                    offset += data.len() as u8 + 2;
                    rest
                }
            };
        }
    }

    fn note(&mut self, offset: u8, kind: u8, data: &[u8], toa_kinds: &KindSet) {
        match (kind, data) {
            (OptionKind::MSS, [high, low]) => {
                self.repeated |= self.mss.is_some();
                self.mss = Some((offset, u16::from_be_bytes([*high, *low])));
            }
            (OptionKind::WSCALE, [shift]) => {
                self.repeated |= self.wscale.is_some();
                self.wscale = Some((offset, *shift));
            }
            (OptionKind::SACK_PERM, []) => self.sack_permitted = true,
            (OptionKind::SACK, blocks) if is_sack(blocks.len()) => {
                self.repeated |= self.sack.is_some();
                self.sack = Some((offset, (blocks.len() / 8) as u8));
            }
            (OptionKind::TIMESTAMPS, data) if data.len() == 8 => {
                self.repeated |= self.timestamps.is_some();
                self.timestamps = Some(offset);
            }
            (
                OptionKind::MSS
                | OptionKind::WSCALE
                | OptionKind::SACK_PERM
                | OptionKind::SACK
                | OptionKind::TIMESTAMPS,
                _,
            ) => {}
            (kind, _) if toa_kinds.contains(kind) => self.toa.starts |= 1 << offset,
            _ => {}
        }
    }
}

/// The options of a kind set: at most 20, of 2 bytes or more each. Kept as one bit per place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToaOptions {
    starts: u64,
}

/// Where an option of a kind set stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToaOption {
    /// Offset of the kind byte from the start of the options.
    pub offset: u8,
    /// Length, kind and length bytes included.
    pub len: u8,
    /// Kind.
    pub kind: u8,
}

impl ToaOptions {
    /// Says whether there is none.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.starts == 0
    }

    /// How many there are.
    #[must_use]
    pub const fn len(self) -> usize {
        self.starts.count_ones() as usize
    }

    /// The options, first to last; `options` are the bytes that the summary was made from.
    pub fn iter(self, options: &[u8]) -> impl Iterator<Item = ToaOption> {
        let mut starts = self.starts;
        core::iter::from_fn(move || {
            if starts == 0 {
                return None;
            }
            let offset = starts.trailing_zeros() as u8;
            starts &= starts - 1;
            let [kind, len] = *options.get(offset as usize..)?.first_chunk()?;
            Some(ToaOption { offset, len, kind })
        })
    }

    /// Overwrites every one of the options with NOPs and adds the change to `delta`.
    pub fn blank(self, options: &mut [u8], mut delta: Delta) -> Delta {
        let mut starts = self.starts;
        while starts != 0 {
            let start = starts.trailing_zeros() as usize;
            starts &= starts - 1;
            let Some(len) = options.get(start + 1).copied() else {
                break;
            };
            for (at, byte) in options
                .iter_mut()
                .enumerate()
                .skip(start)
                .take(len as usize)
            {
                delta = delta.replace_u8_at(at, *byte, OptionKind::NOP);
                *byte = OptionKind::NOP;
            }
        }
        delta
    }
}

/// The longest options that a header can hold.
const MAX_OPTIONS: usize = 40;

/// Splits what follows a kind byte into the option's data and the rest; nothing when its length is impossible.
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
