//! Time and keys: which steps are live, and what each is keyed with.
//!
//! A step of time lasts two thirds of the lifetime. A cookie of step `n` is accepted while the
//! verifier's clock, counted in steps, lies in `n - 1/2 .. n + 3/2`: on the node that made it never
//! after the lifetime and always for a third of it, and on a peer whose clock is off by up to a
//! quarter of the lifetime for at least a twelfth. At any moment that is two steps, one of each
//! parity.

mod checker;

use core::fmt;
use core::hash::Hasher;
use core::ops::Range;
use core::time::Duration;

use siphasher::sip128::{Hasher128, SipHasher24};
use weir_model::MasterKey;

use crate::cookie::{
    Authentication, Checked, ClientOptions, Cookie, Handshake, LIVE_STEPS, OptionBits, Prefix,
    Question,
};
use crate::sip::Key;

pub use checker::Checker;

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
        self.judge(cookie, |options, step| {
            Prefix::new(self.key(step), handshake).authentication(options, step)
        })
    }

    /// Says what cookies are made with now.
    #[must_use]
    pub fn issuer(&self) -> Issuer {
        Issuer {
            key: self.key(self.issuing),
            step: self.issuing,
        }
    }

    /// Asks for the hashes that [`check`](Self::check) would compute: for the live step, and for the
    /// one before it.
    #[inline]
    #[must_use]
    pub fn ask_check(&self, handshake: &Handshake, cookie: Cookie) -> Option<[Question; 2]> {
        let [live, before] = self.steps(cookie);
        let ask = |step| Question::new(self.key(step), handshake, cookie.option_bits(), step);
        Some([ask(live)?, ask(before)?])
    }

    /// Says what a cookie is worth by the hashes that were asked for.
    #[inline]
    #[must_use]
    pub fn checked([live, before]: [u64; 2], cookie: Cookie) -> Checked {
        if cookie.has(Authentication::from_hash(live)) {
            Checked::Valid(cookie.options())
        } else if cookie.has(Authentication::from_hash(before)) {
            Checked::Stale
        } else {
            Checked::Bad
        }
    }

    /// The parity of a cookie picks the one live step that can have made it, so there is no second
    /// guess; that a cookie is of the step before of this parity is worth knowing, no more.
    #[inline]
    fn judge(&self, cookie: Cookie, hash: impl Fn(u8, u64) -> Authentication) -> Checked {
        let options = cookie.option_bits();
        let [live, before] = self.steps(cookie);
        if cookie.has(hash(options, live)) {
            return Checked::Valid(cookie.options());
        }
        if cookie.has(hash(options, before)) {
            return Checked::Stale;
        }
        Checked::Bad
    }

    /// The live step that made a cookie, and the one that made it if it is stale.
    #[inline]
    fn steps(&self, cookie: Cookie) -> [u64; 2] {
        let age = self.latest.wrapping_sub(cookie.time()) % LIVE_STEPS;
        let live = self.latest.wrapping_sub(age);
        [live, live.wrapping_sub(LIVE_STEPS)]
    }

    /// The key of a step that is kept; the place always exists.
    #[inline]
    fn key(&self, step: u64) -> Key {
        self.ring.get(slot(step)).copied().unwrap_or(Key(0, 0))
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

/// What cookies are made with at a moment.
#[derive(Clone, Copy)]
pub struct Issuer {
    key: Key,
    step: u64,
}

impl Issuer {
    /// Asks for the hash that [`Secrets::issue`] would compute.
    #[inline]
    #[must_use]
    pub fn ask(&self, handshake: &Handshake, OptionBits(bits): OptionBits) -> Option<Question> {
        Question::new(self.key, handshake, bits, self.step)
    }

    /// Makes the cookie from the hash that was asked for.
    #[inline]
    #[must_use]
    pub fn issued(&self, hash: u64, options: OptionBits) -> Cookie {
        Cookie::from_hash(hash, options, self.step)
    }
}

/// Prints nothing of the key.
impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("step", &self.step)
            .finish_non_exhaustive()
    }
}

#[inline]
const fn slot(step: u64) -> usize {
    step as usize % KEPT
}

#[cfg(test)]
mod tests;
