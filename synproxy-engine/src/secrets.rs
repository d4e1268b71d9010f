//! Time and keys: which steps are live, and what each is keyed with.
//!
//! A step of time lasts two thirds of the lifetime. A cookie of step `n` is accepted while the
//! verifier's clock, counted in steps, lies in `n - 1/2 .. n + 3/2`: on the node that made it never
//! after the lifetime and always for a third of it, and on a peer whose clock is off by up to a
//! quarter of the lifetime for at least a twelfth. At any moment that is two steps, one of each
//! parity.

use core::fmt;
use core::hash::Hasher;
use core::ops::Range;
use core::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher24};
use weir_model::MasterKey;

use crate::cookie::{Checked, ClientOptions, Cookie, Handshake, Key, LIVE_STEPS, Prefix};

/// Steps that are told apart: those that are live and, for each, the one of its parity before it.
const KEPT: usize = 2 * LIVE_STEPS as usize;

/// Half steps in a step.
const HALVES: u64 = 2;

/// Separates the keys of cookies from whatever else may come to be derived from a master key.
const DOMAIN: &[u8; 16] = b"weir syn cookie\0";

/// The secrets of one SYNPROXY profile: the keys of the steps around now, all derived from the
/// master key, so that peers and restarts arrive at the same.
///
/// Peers must agree on the lifetime and the rotation, too.
#[derive(Clone)]
pub struct Secrets {
    master: MasterKey,
    /// Half a step in milliseconds: a third of the lifetime.
    half_ms: u64,
    rotation_ms: u64,
    /// The milliseconds of wall time for which the rest holds.
    current: Range<u64>,
    /// The step that cookies are made in.
    issuing: u64,
    /// The later of the two live steps: [`issuing`](Self::issuing) in the first half of a step,
    /// the one after it in the second half.
    latest: u64,
    /// The keys of the steps `latest - 3 ..= latest`, each at its number modulo [`KEPT`].
    ring: [Key; KEPT],
}

impl Secrets {
    /// Derives the secrets at a wall-clock time in milliseconds.
    #[must_use]
    pub fn new(master: MasterKey, lifetime: Duration, rotation: Duration, wall_ms: u64) -> Self {
        let mut secrets = Self {
            master,
            half_ms: (lifetime.as_millis() as u64 / 3).max(1),
            rotation_ms: (rotation.as_millis() as u64).max(1),
            current: 0..0,
            issuing: 0,
            latest: 0,
            ring: [Key(0, 0); KEPT],
        };
        secrets.refresh(wall_ms);
        secrets
    }

    /// Moves on to a wall-clock time; costs a comparison until half a step has gone.
    #[inline]
    pub fn refresh(&mut self, wall_ms: u64) {
        if !self.current.contains(&wall_ms) {
            self.derive(wall_ms);
        }
    }

    /// Makes the cookie of a handshake.
    #[inline]
    #[must_use]
    pub fn issue(&self, handshake: &Handshake, options: &ClientOptions) -> Cookie {
        let prefix = Prefix::new(self.key(self.issuing), handshake);
        Cookie::new(prefix, *options, self.issuing)
    }

    /// Checks the number that an ACK acknowledged.
    #[inline]
    #[must_use]
    pub fn check(&self, handshake: &Handshake, cookie: Cookie) -> Checked {
        self.judge(cookie, |step| Prefix::new(self.key(step), handshake))
    }

    /// Prepares for checking many numbers of one handshake.
    #[must_use]
    pub fn checker(&self, handshake: &Handshake) -> Checker<'_> {
        Checker {
            secrets: self,
            prefixes: self.ring.map(|key| Prefix::new(key, handshake)),
        }
    }

    /// The parity of a cookie picks the one live step that can have made it, so there is no second
    /// guess; that a cookie is of the step before of this parity is worth knowing, no more.
    #[inline]
    fn judge(&self, cookie: Cookie, prefix: impl Fn(u64) -> Prefix) -> Checked {
        let age = self.latest.wrapping_sub(cookie.time()) % LIVE_STEPS;
        let live = self.latest.wrapping_sub(age);
        if cookie.belongs_to(prefix(live), live) {
            return Checked::Valid(cookie.options());
        }
        let before = live.wrapping_sub(LIVE_STEPS);
        if cookie.belongs_to(prefix(before), before) {
            return Checked::Stale;
        }
        Checked::Bad
    }

    #[inline]
    fn key(&self, step: u64) -> Key {
        kept(&self.ring, step)
    }

    #[cold]
    fn derive(&mut self, wall_ms: u64) {
        let half = wall_ms / self.half_ms;
        let start = half * self.half_ms;
        self.current = start..start.saturating_add(self.half_ms);
        self.issuing = half / HALVES;
        self.latest = half.div_ceil(HALVES);
        for age in 0..KEPT as u64 {
            let step = self.latest.wrapping_sub(age);
            let key = self.epoch_key(step);
            if let Some(place) = self.ring.get_mut(slot(step)) {
                *place = key;
            }
        }
    }

    /// The key of the epoch that a step began in. The length of a step is part of it: the same
    /// number of a step of another length is another time.
    fn epoch_key(&self, step: u64) -> Key {
        let step_ms = self.half_ms.saturating_mul(HALVES);
        let epoch = step.wrapping_mul(step_ms) / self.rotation_ms;
        let mut hasher = SipHasher24::new_with_key(&self.master.0);
        hasher.write(DOMAIN);
        hasher.write_u64(step_ms);
        hasher.write_u64(epoch);
        let hash = hasher.finish128();
        Key(hash.h1, hash.h2)
    }
}

/// Prints nothing of the keys.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("half_ms", &self.half_ms)
            .field("rotation_ms", &self.rotation_ms)
            .field("issuing", &self.issuing)
            .field("latest", &self.latest)
            .finish_non_exhaustive()
    }
}

/// Checks many numbers of one handshake: what the address, the ports and the keys add to the hash is
/// computed once.
#[derive(Clone)]
pub struct Checker<'a> {
    secrets: &'a Secrets,
    prefixes: [Prefix; KEPT],
}

impl Checker<'_> {
    /// Does what [`Secrets::check`] does.
    #[inline]
    #[must_use]
    pub fn check(&self, cookie: Cookie) -> Checked {
        self.secrets
            .judge(cookie, |step| kept(&self.prefixes, step))
    }
}

impl fmt::Debug for Checker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}

#[inline]
const fn slot(step: u64) -> usize {
    step as usize % KEPT
}

/// What is kept for a step; the place always exists.
#[inline]
fn kept<T: Copy>(ring: &[T; KEPT], step: u64) -> T {
    let [first, ..] = *ring;
    ring.get(slot(step)).copied().unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use weir_wire::SeqNumber;

    use super::*;
    use crate::MSS_TABLE;

    const MASTER: MasterKey = MasterKey(*b"0123456789abcdef");
    const LIFETIME: Duration = Duration::from_secs(64);
    const ROTATION: Duration = Duration::from_mins(15);
    const NOW: u64 = 1_790_000_000_000;

    fn secrets(wall_ms: u64) -> Secrets {
        Secrets::new(MASTER, LIFETIME, ROTATION, wall_ms)
    }

    fn handshake() -> Handshake {
        Handshake {
            client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
            vip: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
            client_port: 40_000,
            vip_port: 443,
            client_isn: SeqNumber(0x1234_5678),
        }
    }

    fn handshake_v6() -> Handshake {
        Handshake {
            client: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 7)),
            vip: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1)),
            ..handshake()
        }
    }

    fn every_option() -> impl Iterator<Item = ClientOptions> {
        MSS_TABLE.into_iter().flat_map(|mss| {
            let scales = core::iter::once(None).chain((0..=14).map(Some));
            scales.flat_map(move |wscale| {
                [false, true].map(|sack| ClientOptions { mss, wscale, sack })
            })
        })
    }

    #[test]
    fn every_combination_of_options_survives_in_a_cookie() {
        let secrets = secrets(NOW);
        assert_eq!(every_option().count(), 256);
        for handshake in [handshake(), handshake_v6()] {
            for options in every_option() {
                let cookie = secrets.issue(&handshake, &options);
                assert_eq!(secrets.check(&handshake, cookie), Checked::Valid(options));
                let checker = secrets.checker(&handshake);
                assert_eq!(checker.check(cookie), Checked::Valid(options));
            }
        }
    }
}
