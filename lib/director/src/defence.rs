//! What clients may not: denied networks, rates by prefix, flags that no host sends.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::Ipv4Addr;

use nat_engine::{FlowKey, SessionId};
use weir_model::{
    Defence, DropReason, Now, PrefixRate, Protocol, Refusal, Service, ServiceId, Snapshot,
};
use weir_wire::{L4, Tcp, TcpFlags, V4};

use crate::Director;
use crate::buckets::{BucketRate, Buckets};
use crate::networks::{Networks, Policy, Ruling};

/// Places of the session table that are looked at in one turn for sessions of denied clients.
const SWEEP: u32 = 256;
/// Sessions that are reset for it in one turn at most: both ends of so many can be told in a turn,
/// and what else Weir sends has room beside.
const RESETS: usize = 64;

/// What the packets of a service ask of its defence profile.
#[derive(Debug)]
pub(crate) struct DefencePlan {
    networks: Arc<Networks>,
    syn_rate: Option<Limit>,
    new_sessions: Option<Limit>,
    refuses_flags: bool,
    pub(crate) refuses_fragments: bool,
    /// Whether segments of no session that open none are answered.
    pub(crate) answers_segments: bool,
}

/// A rate for each prefix.
#[derive(Clone, Copy, Debug)]
struct Limit {
    rate: BucketRate,
    mask: u32,
}

/// What a limit is about; its number keeps the prefixes of both apart.
#[derive(Clone, Copy, Debug)]
enum Counted {
    Syns = 1,
    Sessions = 2,
}

/// What one worker's defence consists of.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    /// What operators deny, for all services.
    denied: Arc<Networks>,
    buckets: Buckets,
    /// Where the search for sessions of denied clients goes on, while there is one.
    sweep: Option<u32>,
}

/// The networks of profiles that were compiled, so that each is only once.
#[derive(Default)]
pub(crate) struct Compiled(Vec<(Arc<Defence>, Arc<Networks>)>);

impl Compiled {
    fn networks(&mut self, defence: &Arc<Defence>) -> Arc<Networks> {
        let known = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, defence));
        if let Some((_, networks)) = known {
            return Arc::clone(networks);
        }
        let networks = Arc::new(Networks::new(&defence.deny, &defence.allow));
        self.0.push((Arc::clone(defence), Arc::clone(&networks)));
        networks
    }
}

impl DefencePlan {
    /// Works out a service's, for one of `workers` workers.
    pub(crate) fn new(service: &Service, workers: u8, compiled: &mut Compiled) -> Option<Self> {
        let defence = service.defence.as_ref()?;
        let limit = |rate: PrefixRate| {
            // Where the prefix decides which worker owns a flow, that one has the whole rate.
            let whole = service.persist.is_some_and(|it| it.prefix <= rate.prefix);
            let workers = if whole { 1 } else { workers };
            Limit {
                rate: BucketRate::new(rate.per_second, rate.burst, workers),
                mask: mask(rate.prefix),
            }
        };
        let of_tcp = service.protocol == Protocol::Tcp;
        Some(Self {
            networks: compiled.networks(defence),
            syn_rate: defence.syn_rate.filter(|_| of_tcp).map(limit),
            new_sessions: defence.new_sessions.map(limit),
            refuses_flags: defence.invalid_flags == Refusal::Drop,
            refuses_fragments: defence.fragments == Refusal::Drop,
            answers_segments: !defence.tcp_drop,
        })
    }
}

impl Guard {
    /// Takes what a snapshot says: room to count in, and whom to look for.
    pub(crate) fn apply(&mut self, snapshot: &Snapshot) {
        for defence in snapshot.services.iter().flat_map(|it| &it.defence) {
            if defence.syn_rate.is_some() || defence.new_sessions.is_some() {
                self.buckets.make_room();
            }
            if !defence.deny.is_empty() {
                self.sweep = Some(0);
            }
        }
    }

    /// Says whether an operator denies anything.
    pub(crate) fn denies(&self) -> bool {
        !self.denied.is_empty()
    }

    /// Says whether sessions of denied clients are looked for.
    pub(crate) const fn is_sweeping(&self) -> bool {
        self.sweep.is_some()
    }
}

impl Director {
    /// Takes the networks that operators deny, for all services, and returns the retired ones, to
    /// be freed off the packet path. Sessions of theirs are reset in the turns that follow.
    pub fn deny(&mut self, networks: Arc<Networks>) -> Arc<Networks> {
        if !networks.is_empty() {
            self.guard.sweep = Some(0);
        }
        let retired = core::mem::replace(&mut self.guard.denied, networks);
        self.guarded = self.plan.defends || self.guard.denies();
        retired
    }

    /// Returns what is said of a client: of a service's profile and what operators deny, the
    /// smaller network counts, and of two that are the same the operators'.
    fn ruling(&self, client: Ipv4Addr, service: Option<ServiceId>) -> Option<Ruling> {
        let of_profile = service
            .and_then(|service| self.plan.service(service)?.defence.as_ref())
            .and_then(|defence| defence.networks.ruling(client));
        let of_list = self.guard.denied.ruling(client);
        match (of_list, of_profile) {
            (Some(list), Some(profile)) if profile.len > list.len => Some(profile),
            (Some(list), _) => Some(list),
            (None, profile) => profile,
        }
    }

    /// Says whether packets of a client are dropped.
    pub(crate) fn is_denied(&self, client: Ipv4Addr, service: Option<ServiceId>) -> bool {
        let ruling = self.ruling(client, service);
        ruling.is_some_and(|ruling| ruling.policy == Policy::Deny)
    }

    /// Says why a packet of a client that belongs to no session is not wanted, if it is not. Only
    /// asked where something is guarded at all.
    #[cold]
    #[inline(never)]
    pub(crate) fn unwelcome(
        &mut self,
        now: Now,
        v4: &V4,
        service: Option<ServiceId>,
    ) -> Option<DropReason> {
        let ruling = self.ruling(v4.src, service);
        if ruling.is_some_and(|ruling| ruling.policy == Policy::Deny) {
            return Some(DropReason::Denied);
        }
        let L4::Tcp(tcp) = &v4.l4_kind else {
            return None;
        };
        let service = service?;
        if self.refuses_flags(service, tcp) {
            return Some(DropReason::InvalidFlags);
        }
        if tcp.opens() && ruling.is_none() && !self.takes_syn(now, v4.src, service) {
            return Some(DropReason::SynRate);
        }
        None
    }

    /// Says why a segment of a client that has a session is not wanted, if it is not.
    #[inline]
    pub(crate) fn unwelcome_segment(
        &mut self,
        now: Now,
        v4: &V4,
        tcp: &Tcp,
        service: ServiceId,
    ) -> Option<DropReason> {
        if !self.guarded {
            return None;
        }
        if self.refuses_flags(service, tcp) {
            return Some(DropReason::InvalidFlags);
        }
        let limited = tcp.opens() && self.ruling(v4.src, Some(service)).is_none();
        (limited && !self.takes_syn(now, v4.src, service)).then_some(DropReason::SynRate)
    }

    /// Says whether a client may open one more session, and counts it.
    pub(crate) fn takes_session(&mut self, now: Now, client: Ipv4Addr, service: ServiceId) -> bool {
        if !self.guarded {
            return true;
        }
        let plan = self.plan.service(service);
        let Some(limit) = plan.and_then(|plan| plan.defence.as_ref()?.new_sessions) else {
            return true;
        };
        self.ruling(client, Some(service)).is_some()
            || self.take(now, client, service, Counted::Sessions, limit)
    }

    /// Says why a packet of a client that belongs to no session would be dropped, as
    /// [`unwelcome`](Self::unwelcome) does, and counts nothing.
    pub(crate) fn would_drop(
        &self,
        now: Now,
        client: Ipv4Addr,
        service: Option<ServiceId>,
        tcp: Option<&Tcp>,
    ) -> Option<DropReason> {
        if self.is_denied(client, service) {
            return Some(DropReason::Denied);
        }
        self.would_drop_segment(now, client, service?, tcp?)
    }

    /// Says why a segment of a client that has a session would be dropped, as
    /// [`unwelcome_segment`](Self::unwelcome_segment) does, and counts nothing.
    pub(crate) fn would_drop_segment(
        &self,
        now: Now,
        client: Ipv4Addr,
        service: ServiceId,
        tcp: &Tcp,
    ) -> Option<DropReason> {
        if self.refuses_flags(service, tcp) {
            return Some(DropReason::InvalidFlags);
        }
        let limit = self.plan.service(service)?.defence.as_ref()?.syn_rate?;
        let limited = tcp.opens() && self.ruling(client, Some(service)).is_none();
        (limited && self.exceeds(now, client, service, Counted::Syns, limit))
            .then_some(DropReason::SynRate)
    }

    /// Says whether a new session of a client would be refused, and counts nothing.
    pub(crate) fn would_refuse_session(
        &self,
        now: Now,
        client: Ipv4Addr,
        service: ServiceId,
    ) -> bool {
        let plan = self.plan.service(service);
        plan.and_then(|plan| plan.defence.as_ref()?.new_sessions)
            .is_some_and(|limit| {
                self.ruling(client, Some(service)).is_none()
                    && self.exceeds(now, client, service, Counted::Sessions, limit)
            })
    }

    /// Resets sessions of clients that are denied by now, a bounded number of places a turn.
    pub(crate) fn sweep_denied(&mut self, now: Now) {
        let Some(cursor) = self.guard.sweep else {
            return;
        };
        let mut found: [Option<SessionId>; RESETS] = [None; RESETS];
        let mut room = found.iter_mut();
        let scan = self.table.scan(cursor, SWEEP);
        let mut next = scan.cursor();
        let denied = scan.filter(|(_, session)| {
            !session.state.is_closed() && self.is_denied(session.client, Some(session.service))
        });
        for (id, _) in denied {
            let Some(place) = room.next() else {
                next = Some(id.0);
                break;
            };
            *place = Some(id);
        }
        self.guard.sweep = next;
        for id in found.into_iter().flatten() {
            self.reset(now, id);
        }
    }

    /// Says whether what belongs to no session of a service and opens none is answered.
    pub(crate) fn answers_segments(&self, service: ServiceId) -> bool {
        let plan = self.plan.service(service);
        let defence = plan.and_then(|plan| plan.defence.as_ref());
        defence.is_some_and(|defence| defence.answers_segments)
    }

    fn refuses_flags(&self, service: ServiceId, tcp: &Tcp) -> bool {
        let plan = self.plan.service(service);
        let defence = plan.and_then(|plan| plan.defence.as_ref());
        defence.is_some_and(|defence| defence.refuses_flags) && is_invalid(tcp.flags)
    }

    fn takes_syn(&mut self, now: Now, client: Ipv4Addr, service: ServiceId) -> bool {
        let plan = self.plan.service(service);
        match plan.and_then(|plan| plan.defence.as_ref()?.syn_rate) {
            Some(limit) => self.take(now, client, service, Counted::Syns, limit),
            None => true,
        }
    }

    fn take(
        &mut self,
        now: Now,
        client: Ipv4Addr,
        service: ServiceId,
        counted: Counted,
        limit: Limit,
    ) -> bool {
        let hash = self.prefix_hash(client, service, counted, limit);
        self.guard.buckets.take(hash, nanos(now), limit.rate)
    }

    fn exceeds(
        &self,
        now: Now,
        client: Ipv4Addr,
        service: ServiceId,
        counted: Counted,
        limit: Limit,
    ) -> bool {
        let hash = self.prefix_hash(client, service, counted, limit);
        !self.guard.buckets.allows(hash, nanos(now), limit.rate)
    }

    fn prefix_hash(
        &self,
        client: Ipv4Addr,
        service: ServiceId,
        counted: Counted,
        limit: Limit,
    ) -> nat_engine::FlowHash {
        self.isn_hasher.hash(&FlowKey {
            src: Ipv4Addr::from_bits(client.to_bits() & limit.mask),
            dst: Ipv4Addr::UNSPECIFIED,
            src_port: service.0,
            dst_port: counted as u16,
            protocol: 0,
        })
    }
}

/// Returns the bits of an address that a prefix of this length has.
pub(crate) const fn mask(len: u8) -> u32 {
    let host = 32u32.saturating_sub(len as u32);
    (u32::MAX as u64).wrapping_shl(host) as u32
}

/// Says whether no host sends a segment with these flags (RFC 9293 section 3.10.7): a SYN that also
/// ends or resets, an end that also resets, and what neither begins nor resets nor acknowledges.
fn is_invalid(flags: TcpFlags) -> bool {
    let has = |flag| flags.contains(flag);
    let (syn, fin, rst) = (has(TcpFlags::SYN), has(TcpFlags::FIN), has(TcpFlags::RST));
    let contradict = u8::from(syn) + u8::from(fin) + u8::from(rst) > 1;
    contradict || !(syn || rst || has(TcpFlags::ACK))
}

fn nanos(now: Now) -> u64 {
    now.time.as_micros().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_has_as_many_bits_as_the_prefix_is_long() {
        for len in 0..=32u8 {
            let net = ipnet::Ipv4Net::new(Ipv4Addr::UNSPECIFIED, len).unwrap();
            assert_eq!(mask(len), u32::from(net.netmask()), "{len}");
        }
    }

    #[test]
    fn of_all_flags_those_that_no_host_sends_are_invalid() {
        let all = [
            (TcpFlags::SYN, false),
            (TcpFlags::SYN | TcpFlags::ACK, false),
            (TcpFlags::ACK, false),
            (TcpFlags::ACK | TcpFlags::PSH, false),
            (TcpFlags::ACK | TcpFlags::FIN, false),
            (TcpFlags::ACK | TcpFlags::FIN | TcpFlags::PSH, false),
            (TcpFlags::RST, false),
            (TcpFlags::RST | TcpFlags::ACK, false),
            (TcpFlags::NONE, true),
            (TcpFlags::PSH, true),
            (TcpFlags::FIN, true),
            (TcpFlags::FIN | TcpFlags::PSH | TcpFlags::URG, true),
            (TcpFlags::SYN | TcpFlags::FIN, true),
            (TcpFlags::SYN | TcpFlags::RST, true),
            (TcpFlags::FIN | TcpFlags::RST | TcpFlags::ACK, true),
        ];
        for (flags, invalid) in all {
            assert_eq!(is_invalid(flags), invalid, "{flags:?}");
        }
    }
}
