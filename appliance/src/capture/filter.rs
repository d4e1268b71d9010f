//! Which frames a capture wants.

use std::net::{IpAddr, Ipv4Addr};

use weir_model::{DropReason, Protocol, Service, Verdict};
use weir_wire::{Kind, Parsed};

/// Which frames are wanted; whatever is not said does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Either end is one of these service addresses, before or after the translation.
    pub(crate) service: Option<ServiceEnds>,
    /// Either end has this address, before or after the translation.
    pub(crate) address: Option<Ipv4Addr>,
    pub(crate) dropped: Option<Dropped>,
}

/// The addresses of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceEnds {
    protocol: u8,
    listen: Vec<(Ipv4Addr, u16)>,
}

/// Which dropped frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// All of them.
    Any,
    /// Those of one reason.
    For(DropReason),
}

/// Both ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    protocol: u8,
    ends: [(Ipv4Addr, u16); 2],
}

impl ServiceEnds {
    /// Returns the ends of a service.
    pub(crate) fn of(service: &Service) -> Self {
        let listen = service.listen.iter();
        Self {
            protocol: match service.protocol {
                Protocol::Tcp => weir_wire::Protocol::TCP,
                Protocol::Udp => weir_wire::Protocol::UDP,
            },
            listen: listen
                .filter_map(|at| match at.address {
                    IpAddr::V4(address) => Some((address, at.port)),
                    IpAddr::V6(_) => None,
                })
                .collect(),
        }
    }
}

impl Ends {
    /// Finds the ends of a frame; none where it is no IPv4 packet in good order.
    pub(crate) fn of(frame: &[u8]) -> Option<Self> {
        let parsed = Parsed::parse(frame).ok()?;
        let Kind::Ipv4(v4) = &parsed.kind else {
            return None;
        };
        let (from, to) = v4.ports().unwrap_or_default();
        Some(Self {
            protocol: v4.protocol,
            ends: [(v4.src, from), (v4.dst, to)],
        })
    }
}

impl Filter {
    /// Says whether a frame is wanted whose ends were these before the walk and are these after it.
    pub(crate) fn wants(
        &self,
        before: Option<Ends>,
        after: Option<Ends>,
        verdict: Verdict,
    ) -> bool {
        let dropped = match (self.dropped, verdict) {
            (None, _) | (Some(Dropped::Any), Verdict::Drop(_)) => true,
            (Some(Dropped::For(wanted)), Verdict::Drop(reason)) => wanted == reason,
            (Some(_), _) => false,
        };
        dropped && self.wants_ends(before, after)
    }

    /// Says whether a frame with these ends is wanted, whatever becomes of it.
    fn wants_ends(&self, before: Option<Ends>, after: Option<Ends>) -> bool {
        let any = |holds: &dyn Fn(&Ends) -> bool| {
            before.as_ref().is_some_and(holds) || after.as_ref().is_some_and(holds)
        };
        let service = self.service.as_ref().is_none_or(|service| {
            any(&|seen| {
                let mut ends = seen.ends.iter();
                seen.protocol == service.protocol && ends.any(|end| service.listen.contains(end))
            })
        });
        let address = self
            .address
            .is_none_or(|wanted| any(&|seen| seen.ends.iter().any(|(end, _)| *end == wanted)));
        service && address
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 80, 0, 100), 80);
    const CLIENT: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 9, 0, 1), 4000);
    const LIP: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 80, 0, 200), 1024);
    const REAL: (Ipv4Addr, u16) = (Ipv4Addr::new(10, 80, 0, 11), 80);

    fn ends(from: (Ipv4Addr, u16), to: (Ipv4Addr, u16)) -> Ends {
        Ends {
            protocol: weir_wire::Protocol::TCP,
            ends: [from, to],
        }
    }

    fn service() -> ServiceEnds {
        ServiceEnds {
            protocol: weir_wire::Protocol::TCP,
            listen: vec![VIP],
        }
    }

    #[test]
    fn a_service_is_found_on_either_side_of_the_translation() {
        let filter = Filter {
            service: Some(service()),
            ..Filter::default()
        };
        let forward = Verdict::Forward(weir_model::PortId(0));
        assert!(filter.wants(Some(ends(CLIENT, VIP)), Some(ends(LIP, REAL)), forward));
        assert!(filter.wants(Some(ends(REAL, LIP)), Some(ends(VIP, CLIENT)), forward));
        assert!(!filter.wants(Some(ends(REAL, LIP)), None, Verdict::Hold));
        let other = (VIP.0, 443);
        assert!(!filter.wants(Some(ends(CLIENT, other)), Some(ends(LIP, REAL)), forward));
    }

    #[test]
    fn every_condition_must_hold() {
        let filter = Filter {
            service: Some(service()),
            address: Some(CLIENT.0),
            dropped: Some(Dropped::For(DropReason::NoSession)),
        };
        let dropped = Verdict::Drop(DropReason::NoSession);
        let packet = Some(ends(CLIENT, VIP));
        assert!(filter.wants(packet, packet, dropped));
        assert!(!filter.wants(packet, packet, Verdict::Drop(DropReason::BadCookie)));
        assert!(!filter.wants(packet, packet, Verdict::Reply));
        assert!(!filter.wants(Some(ends(REAL, VIP)), None, dropped));
        let any = Filter {
            dropped: Some(Dropped::Any),
            ..Filter::default()
        };
        assert!(any.wants(None, None, dropped) && !any.wants(packet, packet, Verdict::Hold));
    }
}
