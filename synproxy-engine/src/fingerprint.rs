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

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;
    use std::string::{String, ToString};

    use weir_wire::{KindSet, L4, Protocol, SeqNumber, TcpFlags};

    use super::*;

    const MSS_1460: [u8; 4] = [2, 4, 5, 0xb4];
    const TS: [u8; 10] = [8, 10, 1, 2, 3, 4, 0, 0, 0, 0];

    fn fingerprint(window: u16, ttl: u8, payload_len: u16, options: &[u8]) -> Fingerprint {
        let tcp = Tcp {
            src_port: 40_000,
            dst_port: 443,
            seq: SeqNumber(1),
            ack: SeqNumber(0),
            flags: TcpFlags::SYN,
            window,
            header_len: 20 + options.len() as u16,
            payload_len,
        };
        let v4 = V4 {
            src: Ipv4Addr::new(192, 0, 2, 7),
            dst: Ipv4Addr::new(198, 51, 100, 1),
            protocol: Protocol::TCP,
            ttl,
            tos: 0,
            total_len: 20 + tcp.header_len + payload_len,
            l4: 34,
            fragment: None,
            dont_fragment: true,
            l4_kind: L4::Tcp(tcp),
        };
        let summary = OptionSummary::new(options, &KindSet::EMPTY);
        Fingerprint::new(&v4, &tcp, &summary, options)
    }

    fn text(window: u16, ttl: u8, options: &[u8]) -> String {
        fingerprint(window, ttl, 0, options).to_string()
    }

    #[test]
    fn well_known_systems_read_as_they_look() {
        let linux = [&MSS_1460[..], &[4, 2], &TS, &[1, 3, 3, 7]].concat();
        assert_eq!(
            text(64240, 57, &linux),
            "win 64240 mss 1460 sack ts ws 7 ttl<=64 df"
        );
        let windows = [&MSS_1460[..], &[1, 3, 3, 8, 1, 1, 4, 2]].concat();
        assert_eq!(
            text(65535, 128, &windows),
            "win 65535 mss 1460 ws 8 sack ttl<=128 df"
        );
        let macos = [&MSS_1460[..], &[1, 3, 3, 6, 1, 1], &TS, &[4, 2, 0, 0]].concat();
        assert_eq!(
            text(65535, 64, &macos),
            "win 65535 mss 1460 ws 6 ts sack eol ttl<=64 df"
        );
        assert_eq!(text(512, 32, &[]), "win 512 ttl<=32 df");
    }

    #[test]
    fn what_is_odd_is_said() {
        assert_eq!(
            text(0, 255, &[3, 3, 200, 34, 2, 99, 2, 5, 2]),
            "win 0 ws 14 tfo other other ttl<=255 df"
        );
        assert_eq!(text(1, 1, &[2, 40]), "win 1 ttl<=32 df malformed");
        assert_eq!(
            text(1, 1, &[4, 2].repeat(8)),
            "win 1 sack sack sack sack sack sack sack .. ttl<=32 df"
        );
        assert_eq!(
            fingerprint(1, 33, 5, &[]).to_string(),
            "win 1 ttl<=64 df data"
        );
    }

    #[test]
    fn what_looks_different_counts_as_different() {
        let options = [&MSS_1460[..], &[4, 2, 3, 3, 7, 0]].concat();
        let one = fingerprint(64240, 57, 0, &options);
        assert_eq!(one, fingerprint(64240, 63, 0, &options), "some hops away");
        let swapped = [&[4, 2], &MSS_1460[..], &[3, 3, 7, 0]].concat();
        let mut others = std::vec![
            fingerprint(64241, 57, 0, &options),
            fingerprint(64240, 65, 0, &options),
            fingerprint(64240, 57, 1, &options),
            fingerprint(64240, 57, 0, &swapped),
        ];
        for at in [3, 8] {
            let mut changed = options.clone();
            changed[at] ^= 1;
            others.push(fingerprint(64240, 57, 0, &changed));
        }
        for other in others {
            assert_ne!(one, other, "{other}");
        }
    }

    #[test]
    fn any_64_bits_can_be_read() {
        for bits in [0, u64::MAX, 0x5555_5555_5555_5555] {
            assert!(Fingerprint(bits).to_string().starts_with("win "));
        }
    }
}
