//! The short way of what belongs to no session: of floods.
//!
//! As on the short way of steady segments, nothing is changed where the answer is the long way.

use synproxy_engine::{Checked, Cookie, Secrets};
use weir_model::{BadAck, DropReason, Now, Verdict};
use weir_wire::{L4, V4};

use crate::asked::{Asked, AskedCookie};
use crate::synproxy::Syn;
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
        let service = asked.service?;
        let v4 = V4::plain_again(packet.frame.bytes())?;
        let L4::Tcp(tcp) = &v4.l4_kind else {
            return None;
        };
        let plan = self.plan.service(service)?.synproxy.as_ref();
        match asked.cookie {
            AskedCookie::Nothing => {
                let answers = plan.is_some_and(|plan| plan.bad_ack != BadAck::Drop);
                let left = tcp.opens() || answers || self.may_be_cookie(service, tcp);
                (!left).then_some(Verdict::Drop(DropReason::NoSession))
            }
            AskedCookie::Syn { hash, options } => {
                if !self.sends_cookies(service) {
                    return None;
                }
                self.count_syn(now, packet, &v4, tcp, service);
                let syn = Syn {
                    l3: V4::PLAIN_L3,
                    v4: &v4,
                    tcp,
                    options,
                    hash: Some(hash),
                };
                Some(self.send_cookie(now, packet, service, &syn))
            }
            AskedCookie::Ack { hashes } => {
                let plan = plan?;
                let checked = Secrets::checked(hashes, Cookie((tcp.ack - 1).0));
                let reason = match checked {
                    Checked::Valid(_) => return None,
                    Checked::Stale => DropReason::StaleCookie,
                    Checked::Bad => DropReason::BadCookie,
                };
                let known = self.may_be_cookie(service, tcp) && !self.defers(service, tcp);
                if plan.bad_ack != BadAck::Drop || !known {
                    return None;
                }
                self.count_checked(service, checked);
                Some(Verdict::Drop(reason))
            }
        }
    }
}
