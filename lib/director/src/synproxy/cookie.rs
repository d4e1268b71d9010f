//! A SYN becomes its SYN-ACK in place, and an ACK is asked for the cookie it carries.

use core::net::Ipv4Addr;

use synproxy_engine::{Checked, ClientOptions, Cookie, Handshake, client_options, syn_ack};
use weir_model::{BadAck, Counter, DropReason, Now, Offer, ServiceId, Verdict};
use weir_wire::{SeqNumber, SynOptions, Tcp, TcpFlags, Toa, V4};

use super::desk::offered;
use crate::director::millis;
use crate::flow::timestamps_at;
use crate::found::Found;
use crate::{Director, Packet};

/// The largest segment that clients are told of: real servers get them with a TOA option in front.
const MOST_MSS: u16 = 1460 - Toa::LEN_V4 as u16;

impl Director {
    /// Meets a SYN: counts it, and answers it by a cookie where that is asked for. Nothing when the
    /// SYN is to be passed on.
    pub(crate) fn meet_syn(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        found: &Found,
        tcp: &Tcp,
        service: ServiceId,
    ) -> Option<Verdict> {
        if !self.count_syn(now, packet, Some(&found.v4), service) {
            self.count_passed(service);
            return None;
        }
        Some(self.send_cookie(now, packet, found, tcp, service))
    }

    /// Counts a SYN of a session that is passed on whatever is the matter.
    pub(crate) fn note_syn(&mut self, now: Now, packet: &Packet<'_>, v4: &V4, service: ServiceId) {
        self.count_syn(now, packet, Some(v4), service);
        self.count_passed(service);
    }

    /// Says whether a service's SYNs are answered by cookies now.
    pub(crate) fn sends_cookies(&self, service: ServiceId) -> bool {
        let plan = self.plan.service(service);
        let plan = plan.and_then(|plan| plan.synproxy.as_ref());
        let flood = self.synproxy.floods.get(service);
        match (plan, flood) {
            // Who opens no more sessions promises none.
            (Some(plan), Some(flood)) => flood.sends_cookies(plan) && !self.draining,
            (Some(_) | None, _) => false,
        }
    }

    fn send_cookie(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        found: &Found,
        tcp: &Tcp,
        service: ServiceId,
    ) -> Verdict {
        let v4 = &found.v4;
        let plan = self.plan.service(service);
        let plan = plan.and_then(|plan| plan.synproxy.as_ref());
        let (Some(plan), Some(offer)) = (plan, self.offer(service, packet.port)) else {
            return Verdict::Drop(DropReason::NoService);
        };
        let options = SynOptions::of(v4.tcp_options(packet.frame.bytes()).unwrap_or_default());
        let timestamps = options.timestamps();
        let timestamps = timestamps.and_then(|offset| timestamps_at(packet, v4, offset));
        let tsval = timestamps.map_or(0, |timestamps| timestamps.tsval);
        let synproxy = &mut self.synproxy;
        let Some(flood) = synproxy.floods.get_mut(service) else {
            return Verdict::Drop(DropReason::NoService);
        };
        if !synproxy
            .guard
            .allow(v4.src.into(), millis(now), plan.reflect_limit)
        {
            flood.counters.limited += 1;
            return Verdict::Drop(DropReason::ReflectionGuard);
        }
        let Some(secrets) = synproxy.secrets.get(plan.secrets) else {
            return Verdict::Drop(DropReason::NoService);
        };
        let client = agreed(client_options(options), offer);
        let cookie = secrets.issue(&handshake(v4.src, v4.dst, tcp, tcp.seq), &client);
        let offered = offered(plan, offer, now.wall_ms as u32);
        let frame = &mut packet.frame;
        if syn_ack(frame, found.l3, v4, tcp, options, tsval, cookie, &offered).is_none() {
            flood.counters.passed += 1;
            return Verdict::Drop(DropReason::Malformed);
        }
        self.count_cookie(now, service);
        Verdict::Reply
    }

    /// Counts a SYN that was answered by a cookie.
    #[inline]
    pub(crate) fn count_cookie(&mut self, now: Now, service: ServiceId) {
        let plan = self.plan.service(service);
        let plan = plan.and_then(|plan| plan.synproxy.as_ref());
        let flood = self.synproxy.floods.get_mut(service);
        if let (Some(plan), Some(flood)) = (plan, flood) {
            flood.counters.cookie_sent += 1;
            flood.note_cookie(millis(now), plan);
            self.counters.count(Counter::CookieSent);
        }
    }

    /// Returns what clients that come in by a port are offered.
    pub(crate) fn offer(&self, service: ServiceId, port: weir_model::PortId) -> Option<Offer> {
        let of_service = self.plan.service(service)?;
        let plan = of_service.synproxy.as_ref()?;
        let mut offer = self.synproxy.floods.get(service)?.offer(plan);
        let mtu = self.plan.port(port).map_or(u16::MAX, |port| port.facts.mtu);
        offer.mss = offer.mss.min(MOST_MSS).min(mtu.saturating_sub(40));
        offer.timestamps &= !of_service.strip_timestamps;
        Some(offer)
    }

    /// Walks a segment to a VIP that belongs to no session and opens none by itself.
    pub(crate) fn ack_without_session(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        found: &Found,
        tcp: &Tcp,
        service: ServiceId,
    ) -> Verdict {
        let plan = self.plan.service(service);
        let answers = self.answers_segments(service);
        let Some(plan) = plan.and_then(|plan| plan.synproxy.as_ref()) else {
            if answers {
                self.answer_stray(now, packet, &found.v4, tcp);
            }
            return Verdict::Drop(DropReason::NoSession);
        };
        let bad_ack = plan.bad_ack;
        let reason = if !self.may_be_cookie(service, tcp) {
            DropReason::NoSession
        } else if self.defers(service, tcp) {
            return Verdict::Drop(DropReason::Deferred);
        } else {
            match self.check_cookie(service, found, tcp) {
                Checked::Valid(client) => {
                    return self.open_proxied(now, packet, found, tcp, service, client);
                }
                Checked::Stale => DropReason::StaleCookie,
                Checked::Bad => DropReason::BadCookie,
            }
        };
        match bad_ack {
            BadAck::Drop => {
                if answers && reason == DropReason::NoSession {
                    self.answer_stray(now, packet, &found.v4, tcp);
                }
            }
            BadAck::Reset => {
                if self.bad_ack_rate.allow(millis(now)) {
                    self.refuse_segment(packet, &found.v4, tcp);
                }
            }
        }
        Verdict::Drop(reason)
    }

    /// Says whether a segment of a client may acknowledge a cookie.
    pub(crate) fn may_be_cookie(&self, service: ServiceId, tcp: &Tcp) -> bool {
        let judged = TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST;
        let of_service = self.plan.service(service);
        let plan = of_service.and_then(|plan| plan.synproxy.as_ref());
        let flood = self.synproxy.floods.get(service);
        let (Some(plan), Some(flood)) = (plan, flood) else {
            return false;
        };
        TcpFlags(tcp.flags.0 & judged.0) == TcpFlags::ACK && flood.verifies(plan)
    }

    /// Asks whether a segment acknowledges a cookie of ours, and counts the answer.
    pub(crate) fn check_cookie(&mut self, service: ServiceId, found: &Found, tcp: &Tcp) -> Checked {
        let plan = self.plan.service(service);
        let plan = plan.and_then(|plan| plan.synproxy.as_ref());
        let secrets = plan.and_then(|plan| self.synproxy.secrets.get(plan.secrets));
        let Some(secrets) = secrets else {
            return Checked::Bad;
        };
        let cookie = Cookie((tcp.ack - 1).0);
        let (client, vip) = (found.key.src, found.key.dst);
        let checked = secrets.check(&handshake(client, vip, tcp, tcp.seq - 1), cookie);
        self.count_checked(service, checked);
        checked
    }

    /// Counts a cookie that was judged, for its service and for all.
    pub(crate) fn count_checked(&mut self, service: ServiceId, checked: Checked) {
        if let Some(flood) = self.synproxy.floods.get_mut(service) {
            flood.checked(checked);
            self.counters.count(counter_of(checked));
        }
    }

    /// Counts a SYN that no cookie answered.
    pub(crate) fn count_passed(&mut self, service: ServiceId) {
        if let Some(flood) = self.synproxy.floods.get_mut(service) {
            flood.counters.passed += 1;
        }
    }
}

/// Returns what counts a cookie that was judged so.
const fn counter_of(checked: Checked) -> Counter {
    match checked {
        Checked::Valid(_) => Counter::CookieValid,
        Checked::Stale => Counter::CookieStale,
        Checked::Bad => Counter::CookieBad,
    }
}

/// Reduces what a client offered to what both sides then use.
pub(crate) fn agreed(client: ClientOptions, offer: Offer) -> ClientOptions {
    ClientOptions {
        mss: client.mss,
        wscale: client.wscale.filter(|_| offer.wscale.is_some()),
        sack: client.sack && offer.sack,
    }
}

/// Names the handshake that a client began with a SYN of this number.
fn handshake(client: Ipv4Addr, vip: Ipv4Addr, tcp: &Tcp, client_isn: SeqNumber) -> Handshake {
    Handshake {
        client: client.into(),
        vip: vip.into(),
        client_port: tcp.src_port,
        vip_port: tcp.dst_port,
        client_isn,
    }
}
