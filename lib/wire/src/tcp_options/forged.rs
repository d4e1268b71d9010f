//! Options that a client could use to tell a real server an address that is not its own: which kinds
//! they are, where they stand, and how they are overwritten.

use super::OptionKind;
use crate::checksum::Delta;

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

/// The options of a kind set: at most 20, of 2 bytes or more each. Kept as one bit per place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToaOptions {
    pub(super) starts: u64,
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
