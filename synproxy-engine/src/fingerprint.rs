//! What a SYN looks like: a flood made by one tool looks alike, whatever addresses it forges.

use core::fmt;

use weir_wire::{OptionKind, OptionSummary, Tcp, TcpOption, TcpOptions, V4};

use crate::cookie::MAX_WSCALE;

const WINDOW_SHIFT: u32 = 48;
const MSS_SHIFT: u32 = 32;
const WSCALE_SHIFT: u32 = 28;
const TTL_SHIFT: u32 = 26;
const DONT_FRAGMENT: u64 = 1 << 25;
const DATA: u64 = 1 << 24;
const MALFORMED: u64 = 1 << 23;
const MORE: u64 = 1 << 22;

/// What stands for a window scale that did not come.
const NO_WSCALE: u64 = 15;

/// Bits per option in the order of options.
const ORDER_BITS: u32 = 3;
/// Options that the order has room for; padding is left out.
const ORDER: u32 = 7;

const END: u64 = 0;
const MSS: u64 = 1;
const WSCALE: u64 = 2;
const SACK: u64 = 3;
const TIMESTAMPS: u64 = 4;
const FAST_OPEN: u64 = 5;
const END_OF_LIST: u64 = 6;
const OTHER: u64 = 7;

/// The upper bounds of the classes of TTL: what a sender started with, seen from some hops away.
const TTLS: [u8; 4] = [32, 64, 128, 255];

/// What a SYN looks like, packed into 64 bits so that equal ones can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// Takes the fingerprint of a SYN; `options` are the bytes of its TCP options.
    #[must_use]
    pub fn new(v4: &V4, tcp: &Tcp, summary: &OptionSummary, options: &[u8]) -> Self {
        let mss = summary.mss.map_or(0, |(_, mss)| mss as u64);
        let wscale = summary
            .wscale
            .map_or(NO_WSCALE, |(_, wscale)| wscale.min(MAX_WSCALE) as u64);
        let ttl = TTLS.iter().take_while(|&&bound| bound < v4.ttl).count() as u64;
        let mut bits = (tcp.window as u64) << WINDOW_SHIFT
            | mss << MSS_SHIFT
            | wscale << WSCALE_SHIFT
            | ttl << TTL_SHIFT
            | order(options);
        for (set, flag) in [
            (v4.dont_fragment, DONT_FRAGMENT),
            (tcp.payload_len != 0, DATA),
            (!summary.well_formed, MALFORMED),
        ] {
            if set {
                bits |= flag;
            }
        }
        Self(bits)
    }
}

/// The options in their order, padding left out, the first in the lowest bits.
fn order(options: &[u8]) -> u64 {
    let mut bits = 0;
    let mut place = 0;
    for located in TcpOptions::new(options) {
        let code = match located.option {
            TcpOption::Nop => continue,
            TcpOption::EndOfList => END_OF_LIST,
            TcpOption::Mss(_) => MSS,
            TcpOption::WindowScale(_) => WSCALE,
            TcpOption::SackPermitted => SACK,
            TcpOption::Timestamps { .. } => TIMESTAMPS,
            TcpOption::Unknown { kind, .. } if kind == OptionKind::TFO => FAST_OPEN,
            TcpOption::Sack(_) | TcpOption::Toa(_) | TcpOption::Unknown { .. } => OTHER,
        };
        if place == ORDER {
            return bits | MORE;
        }
        bits |= code << (place * ORDER_BITS);
        place += 1;
    }
    bits
}

/// As an operator reads it, the options in the order of the SYN:
/// `win 64240 mss 1460 sack ts ws 7 ttl<=64 df`.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0;
        write!(f, "win {}", bits >> WINDOW_SHIFT)?;
        for place in 0..ORDER {
            match bits >> (place * ORDER_BITS) & OTHER {
                END => break,
                MSS => write!(f, " mss {}", bits >> MSS_SHIFT & 0xffff)?,
                WSCALE => write!(f, " ws {}", bits >> WSCALE_SHIFT & NO_WSCALE)?,
                SACK => f.write_str(" sack")?,
                TIMESTAMPS => f.write_str(" ts")?,
                FAST_OPEN => f.write_str(" tfo")?,
                END_OF_LIST => f.write_str(" eol")?,
                _ => f.write_str(" other")?,
            }
        }
        if bits & MORE != 0 {
            f.write_str(" ..")?;
        }
        let ttl = TTLS.get((bits >> TTL_SHIFT & 3) as usize);
        write!(f, " ttl<={}", ttl.copied().unwrap_or(u8::MAX))?;
        for (flag, word) in [
            (DONT_FRAGMENT, " df"),
            (DATA, " data"),
            (MALFORMED, " malformed"),
        ] {
            if bits & flag != 0 {
                f.write_str(word)?;
            }
        }
        Ok(())
    }
}
