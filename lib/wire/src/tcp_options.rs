//! TCP options: one at a time ([`TcpOptions`]) or all that Weir cares about in one pass
//! ([`OptionSummary`]).

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

/// What one pass over the options found. Offsets are those of the kind byte, from the start of the
/// options; the options start at an even place of the packet, so [`Delta::replace_u32_at`] takes
/// them as they are.
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
    /// Whether every length was possible. If not, the rest of the options was not looked at, and no
    /// end system looks.
    pub well_formed: bool,
}

impl OptionSummary {
    /// Walks once over `options`, the bytes between the fixed header and the payload. The kinds 0
    /// to 5 and 8 are read as what they are even when `toa_kinds` names them.
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
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::checksum::Sum;

    fn options_of(bytes: &[u8]) -> (Vec<(usize, TcpOption<'_>)>, bool) {
        let mut walk = TcpOptions::new(bytes);
        let found = walk.by_ref().map(|it| (it.offset, it.option)).collect();
        (found, walk.is_malformed())
    }

    #[test]
    fn the_options_of_a_syn_are_found_with_their_places() {
        let bytes = [
            2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 1, 3, 3, 10, 34, 2, 0, 99,
        ];
        let (found, malformed) = options_of(&bytes);
        assert!(!malformed);
        assert_eq!(
            found,
            [
                (0, TcpOption::Mss(1460)),
                (4, TcpOption::SackPermitted),
                (6, TcpOption::Timestamps { tsval: 7, tsecr: 9 }),
                (16, TcpOption::Nop),
                (17, TcpOption::WindowScale(10)),
                (
                    20,
                    TcpOption::Unknown {
                        kind: OptionKind::TFO,
                        data: &[]
                    }
                ),
                (22, TcpOption::EndOfList),
            ]
        );
        let summary = OptionSummary::new(&bytes, &KindSet::TOA);
        assert_eq!(
            summary,
            OptionSummary {
                mss: Some((0, 1460)),
                wscale: Some((17, 10)),
                sack_permitted: true,
                sack: None,
                timestamps: Some(6),
                toa: ToaOptions::default(),
                repeated: false,
                well_formed: true,
            }
        );
    }

    #[test]
    fn the_walk_stops_before_an_impossible_length() {
        for tail in [
            &[2u8][..],
            &[2, 0],
            &[2, 1],
            &[2, 5, 1, 1],
            &[8, 255],
            &[254],
        ] {
            let bytes = [&[1, 1][..], tail].concat();
            let (found, malformed) = options_of(&bytes);
            assert!(malformed, "{tail:?}");
            assert_eq!(found.len(), 2);
            let summary = OptionSummary::new(&bytes, &KindSet::TOA);
            assert_eq!(summary, OptionSummary::default(), "{tail:?}");
        }
    }

    #[test]
    fn a_known_kind_of_the_wrong_length_is_skipped_as_end_systems_do() {
        let bytes = [
            2, 3, 9, 3, 4, 1, 1, 4, 3, 0, 5, 3, 0, 8, 4, 0, 0, 5, 2, 2, 4, 1, 0,
        ];
        let (found, malformed) = options_of(&bytes);
        assert!(!malformed);
        let (last, wrong) = found.split_last().unwrap();
        assert_eq!(*last, (19, TcpOption::Mss(256)));
        assert!(
            wrong
                .iter()
                .all(|(_, option)| matches!(option, TcpOption::Unknown { .. }))
        );
        let summary = OptionSummary::new(&bytes, &KindSet::TOA);
        assert_eq!(summary.mss, Some((19, 256)));
        assert!(summary.well_formed && !summary.repeated && !summary.sack_permitted);
        assert_eq!(
            (summary.wscale, summary.sack, summary.timestamps),
            (None, None, None)
        );
    }

    #[test]
    fn sack_and_timestamps_are_found_at_odd_places() {
        let mut bytes = std::vec![1, 5, 18];
        bytes.extend([0; 16]);
        bytes.extend([8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
        let summary = OptionSummary::new(&bytes, &KindSet::TOA);
        assert_eq!((summary.sack, summary.timestamps), (Some((1, 2)), Some(19)));
    }

    #[test]
    fn the_last_of_two_counts_and_is_reported() {
        let summary = OptionSummary::new(&[2, 4, 1, 0, 2, 4, 2, 0], &KindSet::TOA);
        assert_eq!(summary.mss, Some((4, 512)));
        assert!(summary.repeated);
    }

    #[test]
    fn every_forged_toa_is_found_and_blanked_with_its_checksum() {
        let mut bytes = [
            1, 254, 8, 0x1f, 0x90, 10, 0, 0, 1, 253, 3, 7, 1, 254, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7,
            8, 76, 4, 9, 9, 0, 0, 0,
        ];
        let kinds = KindSet::TOA.with(76);
        let before = Sum::of(&bytes).complement();
        let summary = OptionSummary::new(&bytes, &kinds);
        let found: Vec<_> = summary
            .toa
            .iter(&bytes)
            .map(|it| (it.offset, it.len, it.kind))
            .collect();
        assert_eq!(found, [(1, 8, 254), (9, 3, 253), (13, 2, 254), (25, 4, 76)]);
        assert_eq!((summary.toa.len(), summary.timestamps), (4, Some(15)));

        let after = summary.toa.blank(&mut bytes, Delta::new()).apply(before);
        let mut expected = [1; 32];
        expected[15..25].copy_from_slice(&[8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
        expected[29..].fill(0);
        assert_eq!(bytes, expected);
        assert_eq!(after, Sum::of(&bytes).complement());
        assert!(OptionSummary::new(&bytes, &kinds).toa.is_empty());
    }

    #[test]
    fn a_kind_set_that_names_timestamps_does_not_blank_them() {
        let kinds = KindSet::EMPTY
            .with(OptionKind::TIMESTAMPS)
            .with(OptionKind::NOP);
        let bytes = [8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1];
        let summary = OptionSummary::new(&bytes, &kinds);
        assert!(summary.toa.is_empty());
        assert_eq!(summary.timestamps, Some(0));
    }

    #[test]
    fn a_toa_of_each_family_is_laid_out_as_receivers_expect() {
        let v4 = Toa::new("10.1.2.3:8080".parse().unwrap());
        assert_eq!(v4.to_bytes()[..v4.len()], [254, 8, 0x1f, 0x90, 10, 1, 2, 3]);
        let v6 = Toa::new("[2001:db8::1]:443".parse().unwrap());
        assert_eq!(
            v6.to_bytes(),
            [
                253, 20, 0x01, 0xbb, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
            ]
        );
        for toa in [
            v4,
            v6,
            Toa {
                kind: OptionKind::TOA_V4,
                ..v6
            },
        ] {
            let bytes = toa.to_bytes();
            let (found, _) = options_of(&bytes[..toa.len()]);
            assert_eq!(found, [(0, TcpOption::Toa(toa))]);
        }
    }

    #[test]
    fn a_kind_set_holds_each_kind_by_itself() {
        for kind in 0..=255 {
            let set = KindSet::EMPTY.with(kind);
            assert!((0..=255).all(|other| set.contains(other) == (other == kind)));
        }
    }

    proptest! {
        #[test]
        fn the_fast_path_says_what_the_walk_says(stamps in any::<[u8; 8]>()) {
            let bytes = [&[1, 1, 8, 10][..], &stamps].concat();
            let summary = OptionSummary::new(&bytes, &KindSet::TOA);
            prop_assert_eq!(summary, OptionSummary::walk(&bytes, &KindSet::TOA));
        }

        #[test]
        fn summary_and_iterator_agree(bytes in proptest::collection::vec(kind_or_byte(), 0..=40)) {
            let summary = OptionSummary::new(&bytes, &KindSet::TOA);
            let mut expected = OptionSummary::default();
            let mut toa = Vec::new();
            let mut walk = TcpOptions::new(&bytes);
            for LocatedOption { offset, len, option } in walk.by_ref() {
                prop_assert!(offset + len <= bytes.len());
                let at = offset as u8;
                match option {
                    TcpOption::Mss(value) => {
                        expected.repeated |= expected.mss.replace((at, value)).is_some();
                    }
                    TcpOption::WindowScale(value) => {
                        expected.repeated |= expected.wscale.replace((at, value)).is_some();
                    }
                    TcpOption::SackPermitted => expected.sack_permitted = true,
                    TcpOption::Sack(blocks) => {
                        let blocks = (at, (blocks.len() / 8) as u8);
                        expected.repeated |= expected.sack.replace(blocks).is_some();
                    }
                    TcpOption::Timestamps { .. } => {
                        expected.repeated |= expected.timestamps.replace(at).is_some();
                    }
                    TcpOption::Toa(Toa { kind, .. })
                    | TcpOption::Unknown { kind: kind @ (253 | 254), .. } => {
                        toa.push(ToaOption { offset: at, len: len as u8, kind });
                    }
                    TcpOption::Nop | TcpOption::EndOfList | TcpOption::Unknown { .. } => {}
                }
            }
            expected.well_formed = !walk.is_malformed();
            prop_assert_eq!(summary.toa.iter(&bytes).collect::<Vec<_>>(), toa);
            expected.toa = summary.toa;
            prop_assert_eq!(summary, expected);
        }
    }

    /// Bytes that look like options more often than chance would have it.
    fn kind_or_byte() -> impl Strategy<Value = u8> {
        prop_oneof![
            3 => prop::sample::select(&[1u8, 2, 3, 4, 5, 8, 253, 254][..]),
            3 => prop::sample::select(&[2u8, 3, 4, 8, 10, 18, 20][..]),
            1 => any::<u8>(),
        ]
    }
}
