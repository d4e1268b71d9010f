//! What a SYN offers, in eight bytes: a flood is nothing but SYNs.

use crate::tcp_options::{KindSet, OptionKind, OptionSummary};

/// What stands for an option that is not there.
const ABSENT: u8 = u8::MAX;

/// The options of a SYN as far as both sides of a connection must agree on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynOptions {
    mss: u16,
    wscale: u8,
    timestamps: u8,
    sack_permitted: bool,
}

impl SynOptions {
    /// No option.
    pub const NONE: Self = Self {
        mss: 0,
        wscale: ABSENT,
        timestamps: ABSENT,
        sack_permitted: false,
    };

    /// Reads the bytes between the fixed header of a SYN and its payload.
    #[inline]
    #[must_use]
    pub fn of(options: &[u8]) -> Self {
        Self::by_heart(options)
            .unwrap_or_else(|| Self::from(&OptionSummary::new(options, &KindSet::EMPTY)))
    }

    /// The maximum segment size (RFC 9293 section 3.7.1); one of 0 says nothing.
    #[inline]
    #[must_use]
    pub const fn mss(self) -> Option<u16> {
        match self.mss {
            0 => None,
            mss => Some(mss),
        }
    }

    /// The window scale, as sent.
    #[inline]
    #[must_use]
    pub const fn wscale(self) -> Option<u8> {
        present(self.wscale)
    }

    /// The offset of the timestamps from the start of the options.
    #[inline]
    #[must_use]
    pub const fn timestamps(self) -> Option<u8> {
        present(self.timestamps)
    }

    /// Whether SACK is permitted.
    #[inline]
    #[must_use]
    pub const fn sack_permitted(self) -> bool {
        self.sack_permitted
    }

    /// Reads what nearly every SYN carries: the options of Linux, those of Windows, the least, and
    /// none.
    #[inline]
    fn by_heart(options: &[u8]) -> Option<Self> {
        let Some((&[kind, len, high, low], rest)) = options.split_first_chunk::<4>() else {
            return options.is_empty().then_some(Self::NONE);
        };
        if (kind, len) != (OptionKind::MSS, 4) {
            return None;
        }
        let least = Self {
            mss: u16::from_be_bytes([high, low]),
            ..Self::NONE
        };
        match *rest {
            [] => Some(least),
            [
                OptionKind::SACK_PERM,
                2,
                OptionKind::TIMESTAMPS,
                10,
                ..,
                OptionKind::NOP,
                OptionKind::WSCALE,
                3,
                wscale,
            ] if rest.len() == 16 => Some(Self {
                sack_permitted: true,
                timestamps: 6,
                ..least.scaled(wscale)?
            }),
            [
                OptionKind::NOP,
                OptionKind::WSCALE,
                3,
                wscale,
                OptionKind::NOP,
                OptionKind::NOP,
                OptionKind::SACK_PERM,
                2,
            ] => Some(Self {
                sack_permitted: true,
                ..least.scaled(wscale)?
            }),
            _ => None,
        }
    }

    /// The same with a window scale; nothing where it is the one that stands for none.
    #[inline]
    fn scaled(self, wscale: u8) -> Option<Self> {
        (wscale != ABSENT).then_some(Self { wscale, ..self })
    }
}

impl From<&OptionSummary> for SynOptions {
    fn from(summary: &OptionSummary) -> Self {
        Self {
            mss: summary.mss.map_or(0, |(_, mss)| mss),
            // Above 14 all count alike (RFC 7323 section 2.3).
            wscale: summary
                .wscale
                .map_or(ABSENT, |(_, wscale)| wscale.min(ABSENT - 1)),
            timestamps: summary.timestamps.unwrap_or(ABSENT),
            sack_permitted: summary.sack_permitted,
        }
    }
}

const fn present(value: u8) -> Option<u8> {
    if value == ABSENT { None } else { Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shapes_that_are_known_by_heart_are_read_as_the_walk_reads_them() {
        let linux = [
            2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7,
        ];
        let windows = [2, 4, 5, 180, 1, 3, 3, 8, 1, 1, 4, 2];
        let shapes: [&[u8]; 4] = [&linux, &windows, &[2, 4, 2, 24], &[]];
        let walked =
            |options: &[u8]| SynOptions::from(&OptionSummary::new(options, &KindSet::EMPTY));
        for shape in shapes {
            assert_eq!(SynOptions::by_heart(shape), Some(walked(shape)));
            for at in 0..shape.len() {
                for change in [1, 0x80, 0xf8] {
                    let mut other = shape.to_vec();
                    other[at] ^= change;
                    assert_eq!(SynOptions::of(&other), walked(&other), "{at}");
                }
            }
        }
    }

    #[test]
    fn an_option_that_is_not_there_is_none() {
        let none = SynOptions::of(&[1, 1, 1, 1]);
        assert_eq!(none, SynOptions::NONE);
        assert_eq!(
            (none.mss(), none.wscale(), none.timestamps()),
            (None, None, None)
        );
        assert_eq!(SynOptions::of(&[3, 3, 0, 1]).wscale(), Some(0));
        assert_eq!(SynOptions::of(&[3, 3, 255, 1]).wscale(), Some(254));
    }
}
