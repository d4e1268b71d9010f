//! Many numbers of one handshake, checked at once.

use core::fmt;

use super::{KEPT, Secrets, slot};
use crate::cookie::{Authentication, Checked, Cookie, Handshake, OPTION_BITS, Prefix};

impl Secrets {
    /// Prepares for checking many numbers of one handshake; costs as much as a thousand checks.
    #[must_use]
    pub fn checker(&self, handshake: &Handshake) -> Checker<'_> {
        let mut known = [[Authentication::default(); 1 << OPTION_BITS]; KEPT];
        for age in 0..KEPT as u64 {
            let step = self.latest.wrapping_sub(age);
            let prefix = Prefix::new(self.key(step), handshake);
            let row = known.get_mut(slot(step)).into_iter().flatten();
            for (options, place) in (0..=u8::MAX).zip(row) {
                *place = prefix.authentication(options, step);
            }
        }
        Checker {
            secrets: self,
            known,
        }
    }
}

/// Checks many numbers of one handshake: there are only as many hashes as there are options and
/// steps, and each is computed once.
#[derive(Clone)]
pub struct Checker<'a> {
    secrets: &'a Secrets,
    /// By the number of the step modulo [`KEPT`], then by options.
    known: [[Authentication; 1 << OPTION_BITS]; KEPT],
}

impl Checker<'_> {
    /// Does what [`Secrets::check`] does.
    #[inline]
    #[must_use]
    pub fn check(&self, cookie: Cookie) -> Checked {
        self.secrets.judge(cookie, |options, step| {
            let row = self.known.get(slot(step));
            row.and_then(|row| row.get(usize::from(options)))
                .copied()
                .unwrap_or_default()
        })
    }
}

impl fmt::Debug for Checker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checker").finish_non_exhaustive()
    }
}
