//! The short way of what belongs to no session: of floods.
//!
//! As on the short way of steady segments, nothing is changed where the answer is the long way.

use synproxy_engine::{Checked, PlainReply, Secrets};
use weir_model::{DropReason, Now, Verdict};

use crate::asked::{Asked, AskedCookie};
use crate::director::millis;
use crate::{Director, Packet};

impl Director {
    /// Walks a plain frame to a VIP that belongs to no session. Nothing when it has to go the long
    /// way: it opens a session, or is refused.
    #[inline]
    pub(crate) fn stranger(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        asked: &Asked,
    ) -> Option<Verdict> {
        let changes = self.synproxy.floods.changes();
        let desk = match asked.cookie {
            AskedCookie::Nothing => return None,
            AskedCookie::Useless | AskedCookie::Syn { .. } | AskedCookie::Ack { .. } => {
                self.synproxy.desks.get(asked.desk, changes)?
            }
        };
        match asked.cookie {
            AskedCookie::Nothing => None,
            AskedCookie::Useless => Some(Verdict::Drop(DropReason::NoSession)),
            AskedCookie::Syn {
                hash,
                bits,
                options,
                places,
            } => {
                if !packet.frame.fits(PlainReply::LONGEST) {
                    return None;
                }
                let cookies = desk.cookies.as_ref()?;
                let cookie = cookies.issuer.issued(hash, bits);
                let (service, limit) = (desk.service, desk.reflect_limit);
                let reply = cookies.reply;
                self.count_syn(now, packet, None, service);
                let flood = self.synproxy.floods.get_mut(service)?;
                let guard = &mut self.synproxy.guard;
                if !guard.allow_at(places, millis(now), limit) {
                    flood.counters.limited += 1;
                    return Some(Verdict::Drop(DropReason::ReflectionGuard));
                }
                if reply
                    .answer(&mut packet.frame, options, cookie, now.wall_ms as u32)
                    .is_none()
                {
                    flood.counters.passed += 1;
                    return Some(Verdict::Drop(DropReason::Malformed));
                }
                self.count_cookie(now, service);
                Some(Verdict::Reply)
            }
            AskedCookie::Ack { hashes, cookie } => {
                let checked = Secrets::checked(hashes, cookie);
                let reason = match checked {
                    Checked::Valid(_) => return None,
                    Checked::Stale => DropReason::StaleCookie,
                    Checked::Bad => DropReason::BadCookie,
                };
                if !desk.drops || desk.defers {
                    return None;
                }
                let service = desk.service;
                self.count_checked(service, checked);
                Some(Verdict::Drop(reason))
            }
        }
    }
}
