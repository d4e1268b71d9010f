//! The cookie: what is in its 32 bits, and what they are computed from.
//!
//! ```text
//!  31                            9   8   7   5 4       1   0
//! +-------------------------------+----+-----+---------+------+
//! | authentication             23 | t 1| mss | wscale  | sack |
//! +-------------------------------+----+-----+---------+------+
//! ```
//!
//! The lower nine bits are plain. They tell what everybody on the path has seen in the SYN, and the
//! parity of the wall clock; all of them are authenticated. Masking them would take a second hash
//! (the mask must not depend on what it hides) and would not make one valid number fewer.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};

use weir_wire::SeqNumber;

use crate::sip::{Key, Sip};

/// Bits that hold an index into [`MSS_TABLE`].
const MSS_BITS: u32 = 3;
/// Bits that hold the window scale; all ones say that none was offered.
const WSCALE_BITS: u32 = 4;
/// Bits that say whether SACK was offered.
const SACK_BITS: u32 = 1;
/// Bits of the number of the time step: they pick one of the steps that are live.
const TIME_BITS: u32 = 1;

/// Bits that say what the client offered.
pub(crate) const OPTION_BITS: u32 = MSS_BITS + WSCALE_BITS + SACK_BITS;
/// Bits that anybody can read.
const PLAIN_BITS: u32 = OPTION_BITS + TIME_BITS;
/// Bits that only the holder of the key can compute.
const AUTHENTICATION_BITS: u32 = Cookie::BITS - PLAIN_BITS;

const SACK_SHIFT: u32 = 0;
const WSCALE_SHIFT: u32 = SACK_SHIFT + SACK_BITS;
const MSS_SHIFT: u32 = WSCALE_SHIFT + WSCALE_BITS;
const TIME_SHIFT: u32 = MSS_SHIFT + MSS_BITS;

/// What stands for "no window scale".
const NO_WSCALE: u8 = (1 << WSCALE_BITS) - 1;
/// The largest window scale (RFC 7323 section 2.3).
pub(crate) const MAX_WSCALE: u8 = 14;

/// How many steps of time are live at any moment; each has its own parity.
pub(crate) const LIVE_STEPS: u64 = 1 << TIME_BITS;

/// The segment sizes that survive in a cookie; a client's is rounded down.
///
/// 536 is what every host must take (RFC 9293 section 3.7.1); 1220 is the IPv6 minimum; 1460 and
/// 1440 are Ethernet with IPv4 and IPv6; the others are what tunnels leave of them. From 1220 on
/// rounding down costs at most 6 % of a segment. Jumbo frames do not survive: nothing that crosses
/// the Internet has them, and 1024 serves the rare path below the IPv6 minimum better.
pub const MSS_TABLE: [u16; 1 << MSS_BITS] = [536, 1024, 1220, 1300, 1360, 1400, 1440, 1460];

/// What a client offered, as far as it survives in a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientOptions {
    /// Maximum segment size in bytes; a cookie rounds it down to [`MSS_TABLE`].
    pub mss: u16,
    /// Window scale, at most 14; none is not the same as 0 (RFC 7323 section 2.2).
    pub wscale: Option<u8>,
    /// Selective acknowledgements.
    pub sack: bool,
}

impl ClientOptions {
    /// Packs the options into the lower [`OPTION_BITS`] bits.
    #[inline]
    pub(crate) fn to_bits(self) -> u8 {
        let [_, above @ .., largest] = MSS_TABLE;
        // Nearly all say the largest. The first entry also stands for what is below it.
        let mss: u8 = if self.mss >= largest {
            MSS_TABLE.len() as u8 - 1
        } else {
            above.iter().map(|&entry| u8::from(self.mss >= entry)).sum()
        };
        let wscale = self
            .wscale
            .map_or(NO_WSCALE, |wscale| wscale.min(MAX_WSCALE));
        mss << MSS_SHIFT | wscale << WSCALE_SHIFT | u8::from(self.sack) << SACK_SHIFT
    }

    /// Unpacks the options; every pattern of bits means something.
    #[inline]
    fn from_bits(bits: u8) -> Self {
        let index = usize::from(bits >> MSS_SHIFT) % MSS_TABLE.len();
        let wscale = bits >> WSCALE_SHIFT & NO_WSCALE;
        Self {
            mss: MSS_TABLE.get(index).copied().unwrap_or_default(),
            wscale: (wscale != NO_WSCALE).then_some(wscale),
            sack: bits >> SACK_SHIFT & 1 == 1,
        }
    }
}

/// What a client offered, as a cookie holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionBits(pub(crate) u8);

impl From<ClientOptions> for OptionBits {
    #[inline]
    fn from(options: ClientOptions) -> Self {
        Self(options.to_bits())
    }
}

/// The handshake that a cookie belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handshake {
    /// The client's address.
    pub client: IpAddr,
    /// The address that it connects to.
    pub vip: IpAddr,
    /// The client's port.
    pub client_port: u16,
    /// The port that it connects to.
    pub vip_port: u16,
    /// The sequence number of the client's SYN.
    pub client_isn: SeqNumber,
}

/// The sequence number of a SYN-ACK that nothing is remembered of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cookie(pub u32);

impl Cookie {
    const BITS: u32 = u32::BITS;

    /// Makes the cookie of a handshake in a step of time.
    #[inline]
    pub(crate) fn new(prefix: Prefix, options: ClientOptions, step: u64) -> Self {
        let bits = options.to_bits();
        let time = (step % LIVE_STEPS) as u32;
        let Authentication(authentication) = prefix.authentication(bits, step);
        Self(authentication | time << TIME_SHIFT | bits as u32)
    }

    /// Makes the cookie of a handshake from the hash that its [`Question`] came to.
    #[inline]
    pub(crate) fn from_hash(hash: u64, OptionBits(bits): OptionBits, step: u64) -> Self {
        let time = (step % LIVE_STEPS) as u32;
        let Authentication(authentication) = Authentication::from_hash(hash);
        Self(authentication | time << TIME_SHIFT | bits as u32)
    }

    /// Which of the live steps made the cookie: the number of the step modulo [`LIVE_STEPS`].
    #[inline]
    pub(crate) fn time(self) -> u64 {
        u64::from(self.0 >> TIME_SHIFT) % LIVE_STEPS
    }

    /// The options that the cookie claims.
    #[inline]
    pub(crate) fn options(self) -> ClientOptions {
        ClientOptions::from_bits(self.option_bits())
    }

    /// Says whether the cookie has the bits that only the holder of the key can compute.
    #[inline]
    pub(crate) fn has(self, authentication: Authentication) -> bool {
        (self.0 ^ authentication.0) >> PLAIN_BITS == 0
    }

    /// The options that the cookie claims, as it holds them.
    #[inline]
    pub(crate) fn option_bits(self) -> u8 {
        self.0 as u8
    }
}

const _: () = assert!(OPTION_BITS == u8::BITS && AUTHENTICATION_BITS == 23);

/// What became of the number that an ACK acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is a cookie of this handshake, and in time.
    Valid(ClientOptions),
    /// It was a cookie of this handshake one step ago.
    Stale,
    /// It is not a cookie of this handshake.
    Bad,
}

/// A hash over key and handshake that step and options are still to be added to.
#[derive(Clone, Copy)]
pub(crate) struct Prefix {
    sip: Sip,
    addresses_len: u64,
}

impl Prefix {
    /// Hashes a handshake: 16 bytes of IPv4, 40 of IPv6, so the families cannot meet.
    #[inline]
    pub(crate) fn new(key: Key, handshake: &Handshake) -> Self {
        let start = Sip::new(key);
        let (sip, len) = match (handshake.client, handshake.vip) {
            (IpAddr::V4(client), IpAddr::V4(vip)) => (start.add(addresses(client, vip)), 8),
            (client, vip) => (add_wide(start, [client, vip]), 32),
        };
        Self {
            sip: sip.add(handshake.numbers()),
            addresses_len: len,
        }
    }

    /// Finishes the hash.
    #[inline]
    pub(crate) fn authentication(self, options: u8, step: u64) -> Authentication {
        let last = last_word(self.addresses_len, options, step);
        Authentication::from_hash(self.sip.finish(last))
    }
}

/// A hash over key, handshake, options and step that is still to be computed, beside others.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// The key.
    pub key: [u64; 2],
    /// The message: three words, for `SipHash`-2-4.
    pub words: [u64; 3],
}

impl Question {
    /// Asks what [`Prefix::authentication`] answers; only handshakes of IPv4 are short enough.
    #[inline]
    pub(crate) fn new(
        Key(k0, k1): Key,
        handshake: &Handshake,
        options: u8,
        step: u64,
    ) -> Option<Self> {
        let (IpAddr::V4(client), IpAddr::V4(vip)) = (handshake.client, handshake.vip) else {
            return None;
        };
        Some(Self {
            key: [k0, k1],
            words: [
                addresses(client, vip),
                handshake.numbers(),
                last_word(8, options, step),
            ],
        })
    }
}

/// The bits of a cookie that only the holder of the key can compute, in their place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Authentication(u32);

impl Authentication {
    #[inline]
    pub(crate) const fn from_hash(hash: u64) -> Self {
        Self((hash as u32) >> PLAIN_BITS << PLAIN_BITS)
    }
}

impl Handshake {
    /// The word of the ports and the client's number.
    #[inline]
    const fn numbers(&self) -> u64 {
        let ports = (self.client_port as u64) << 48 | (self.vip_port as u64) << 32;
        ports | self.client_isn.0 as u64
    }
}

/// The word of two addresses of IPv4.
#[inline]
const fn addresses(client: Ipv4Addr, vip: Ipv4Addr) -> u64 {
    (client.to_bits() as u64) << 32 | vip.to_bits() as u64
}

/// The last word: options, step, and the length of the whole behind addresses of such a length.
#[inline]
const fn last_word(addresses_len: u64, options: u8, step: u64) -> u64 {
    (addresses_len + 8 + LAST_LEN) << 56 | (step << u8::BITS | options as u64) & LAST_MASK
}

/// Bytes in the last word: options and step. Steps of a millisecond would not fit in six bytes any
/// more after nine thousand years.
const LAST_LEN: u64 = 7;
const LAST_MASK: u64 = (1 << (LAST_LEN * 8)) - 1;

/// Returns how many of the 2^32 acknowledgement numbers are valid for one handshake at any moment.
#[must_use]
pub const fn valid_numbers() -> u64 {
    (1 << OPTION_BITS) * LIVE_STEPS
}

/// How likely a random acknowledgement number is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FalseAccept {
    /// One in two to the power of this.
    pub bits: u32,
}

/// Returns how likely a random acknowledgement number is accepted, computed from the layout.
#[must_use]
pub const fn false_accept() -> FalseAccept {
    FalseAccept {
        bits: Cookie::BITS - valid_numbers().ilog2(),
    }
}

impl fmt::Display for FalseAccept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "2^-{}", self.bits)
    }
}

/// Kept out of line, so that the path of IPv4 stays small enough to be inlined.
#[inline(never)]
fn add_wide(start: Sip, addrs: [IpAddr; 2]) -> Sip {
    addrs.into_iter().fold(start, |sip, addr| {
        let bits = match addr {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        sip.add((bits >> 64) as u64).add(bits as u64)
    })
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    #[test]
    fn every_pattern_of_option_bits_is_read_and_written_alike() {
        for bits in 0..=u8::MAX {
            let options = ClientOptions::from_bits(bits);
            assert_eq!(options.to_bits(), bits, "{options:?}");
        }
    }

    #[test]
    fn a_segment_size_is_rounded_down_but_not_below_what_every_host_takes() {
        let rounded = |mss| {
            let options = ClientOptions {
                mss,
                wscale: None,
                sack: false,
            };
            ClientOptions::from_bits(options.to_bits()).mss
        };
        assert_eq!([0, 1, 535, 536, 1023].map(rounded), [536; 5]);
        assert_eq!([1024, 1219].map(rounded), [1024; 2]);
        assert_eq!([1459, 1460, 8960].map(rounded), [1440, 1460, 1460]);
        for entry in MSS_TABLE {
            assert_eq!(rounded(entry), entry);
        }
        assert!(MSS_TABLE.is_sorted());
    }

    #[test]
    fn a_window_scale_beyond_14_is_14_and_none_is_not_0() {
        let kept = |wscale| {
            let options = ClientOptions {
                mss: 1460,
                wscale,
                sack: false,
            };
            ClientOptions::from_bits(options.to_bits()).wscale
        };
        assert_eq!(kept(None), None);
        assert_eq!(kept(Some(0)), Some(0));
        assert_eq!(kept(Some(15)), Some(14));
        assert_eq!(kept(Some(255)), Some(14));
    }

    #[test]
    fn the_false_accept_rate_follows_from_the_layout() {
        assert_eq!(valid_numbers(), 512);
        assert_eq!(false_accept().to_string(), "2^-23");
        assert_eq!(1u64 << false_accept().bits, (1 << 32) / valid_numbers());
    }
}
