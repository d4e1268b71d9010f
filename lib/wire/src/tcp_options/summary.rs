//! All that rewriting cares about, in one pass over the options.

use super::forged::{KindSet, ToaOptions};
use super::{OptionKind, is_sack, split_option};

/// The longest options that a header can hold.
const MAX_OPTIONS: usize = 40;

/// What one pass over the options found. Offsets are those of the kind byte, from the start of the
/// options; the options start at an even place of the packet, so
/// [`Delta::replace_u32_at`](crate::checksum::Delta::replace_u32_at) takes them as they are.
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

    pub(super) fn walk(options: &[u8], toa_kinds: &KindSet) -> Self {
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
