//! What all strangers of a burst are told that come to one service by one port.

use synproxy_engine::{Issuer, Offered, PlainReply};
use weir_model::{BadAck, Offer, PortId, ServiceId};

use super::SynproxyPlan;
use crate::Director;

/// Desks that are opened for a burst; what comes to others goes the long way.
const DESKS: usize = 16;

/// The answers of one service to those that come by one port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Desk {
    listen: u64,
    port: PortId,
    pub(crate) service: ServiceId,
    /// Whether an ACK may bring a cookie.
    pub(crate) verifies: bool,
    /// Whether what belongs to no session is dropped without an answer.
    pub(crate) drops: bool,
    /// Whether what comes with a cookie decides what becomes of it.
    pub(crate) defers: bool,
    pub(crate) reflect_limit: u32,
    /// How SYNs are answered by cookies, where they are.
    pub(crate) cookies: Option<Cookies>,
}

/// How SYNs are answered by cookies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cookies {
    pub(crate) issuer: Issuer,
    pub(crate) reply: PlainReply,
    pub(crate) offer: Offer,
}

/// The desks of a burst.
#[derive(Debug)]
pub(crate) struct Desks {
    places: [Option<Desk>; DESKS],
    count: usize,
    /// Changes of floods when they were opened.
    changes: u32,
}

impl Desks {
    pub(crate) const NONE: Self = Self {
        places: [None; DESKS],
        count: 0,
        changes: 0,
    };

    /// Closes them all.
    pub(crate) fn close(&mut self, changes: u32) {
        self.count = 0;
        self.changes = changes;
    }

    /// Finds the desk of who comes to a place by a port.
    #[inline]
    pub(crate) fn find(&self, listen: u64, port: PortId) -> Option<u8> {
        let mut open = self.places.iter().take(self.count);
        let here = |desk: &Option<Desk>| {
            desk.as_ref()
                .is_some_and(|desk| desk.listen == listen && desk.port == port)
        };
        open.position(here).map(|at| at as u8)
    }

    fn open(&mut self, desk: Desk) -> Option<u8> {
        let at = self.count;
        *self.places.get_mut(at)? = Some(desk);
        self.count += 1;
        Some(at as u8)
    }

    /// Returns a desk that was opened.
    #[inline]
    pub(crate) fn opened(&self, at: u8) -> Option<&Desk> {
        self.places.get(at as usize)?.as_ref()
    }

    /// Returns a desk, unless a flood began or ended since it was opened.
    #[inline]
    pub(crate) fn get(&self, at: u8, changes: u32) -> Option<&Desk> {
        self.opened(at).filter(|_| self.changes == changes)
    }
}

impl Director {
    /// Opens the desk of who comes to a service of TCP by a port, while there is room.
    #[inline(never)]
    pub(crate) fn open_desk(
        &mut self,
        listen: u64,
        port: PortId,
        service: ServiceId,
    ) -> Option<u8> {
        let plan = self.plan.service(service);
        let plan = plan.and_then(|plan| plan.synproxy);
        let flood = self.synproxy.floods.get(service);
        let verifies = flood
            .zip(plan.as_ref())
            .is_some_and(|(flood, plan)| flood.verifies(plan));
        let cookies = plan.as_ref().filter(|_| self.sends_cookies(service));
        let cookies = cookies.and_then(|plan| self.cookies(service, port, plan));
        self.synproxy.desks.open(Desk {
            listen,
            port,
            service,
            verifies,
            drops: plan.is_none_or(|plan| plan.bad_ack == BadAck::Drop)
                && !self.answers_segments(service),
            defers: plan.is_some_and(|plan| plan.defer),
            reflect_limit: plan.map_or(0, |plan| plan.reflect_limit),
            cookies,
        })
    }

    fn cookies(&self, service: ServiceId, port: PortId, plan: &SynproxyPlan) -> Option<Cookies> {
        let offer = self.offer(service, port)?;
        Some(Cookies {
            issuer: self.synproxy.secrets_of(plan)?.issuer(),
            reply: PlainReply::new(&offered(plan, offer, 0)),
            offer,
        })
    }
}

/// Says what a SYN-ACK offers.
pub(crate) fn offered(plan: &SynproxyPlan, offer: Offer, tsval: u32) -> Offered {
    Offered {
        mss: offer.mss,
        wscale: offer.wscale,
        sack: offer.sack,
        tsval: offer.timestamps.then_some(tsval),
        window: plan.first_window(),
    }
}
