//! New sessions: pick a real server, take a local port, choose numbers that only grow.

use core::net::Ipv4Addr;

use nat_engine::{
    Direction, FlowHash, FlowKey, InsertError, PortUse, Rest, Session, SessionFlags, SessionId,
    State, Taken, Timer,
};
use weir_model::{Counter, DropReason, Event, Now, ServiceId, Verdict};
use weir_wire::{IcmpCode, IcmpKind, L4, OptionSummary, SeqDelta, SeqNumber, Tcp, V4, pseudo_v4};

use crate::director::millis;
use crate::flow::timestamps_in;
use crate::found::Found;
use crate::pick::Proof;
use crate::plan::RealPlan;
use crate::route::Hop;
use crate::{Director, Notice, Packet, SessionChange, SessionEnd};

/// ISN clock ticks per millisecond: one every 4 microseconds (RFC 6528 section 3).
const ISN_TICKS_PER_MS: u64 = 250;
/// Sessions looked at for one that makes room in a full table.
const LOOKED_AT: u32 = 16;
/// A session that has been half open for less may well be answered yet.
const YOUNG_MS: u32 = 1_000;
/// The largest random distance between a port's last connection and its next one.
const ISN_MARGIN: u32 = 0xffff;

impl Director {
    /// Opens a session for a packet to a VIP that belongs to none, or says why not.
    pub(crate) fn open(&mut self, now: Now, packet: &mut Packet<'_>, found: &Found) -> Verdict {
        let Found { v4, key, .. } = found;
        let listening = || self.plan.listening(key.dst, key.dst_port, key.protocol);
        let Some(service) = found.service.or_else(listening) else {
            return self.unserved(now, packet, found);
        };
        let (beginning, options) = match &v4.l4_kind {
            L4::Tcp(tcp) if tcp.opens() => {
                if let Some(verdict) = self.meet_syn(now, packet, found, tcp, service) {
                    return verdict;
                }
                let options = self.syn_options(packet, v4, service);
                if options.repeated {
                    // It could not be translated, so nothing would ever answer.
                    return Verdict::Drop(DropReason::Malformed);
                }
                let tsval = timestamps_in(packet, v4, &options).map_or(0, |it| it.tsval);
                let beginning = Beginning::of_syn(tcp, &options, tsval);
                (Some(beginning), Some(options))
            }
            L4::Tcp(tcp) => return self.ack_without_session(now, packet, found, tcp, service),
            L4::Udp { .. } | L4::Icmp { .. } | L4::NonFirstFragment | L4::Other(_) => (None, None),
        };
        let (id, hop) = match self.establish(now, packet, found, service, beginning, Proof::None) {
            Ok(established) => established,
            Err(verdict) => return verdict,
        };
        if let Some(session) = self.table.get_mut(id)
            && session.state == State::SynSent
        {
            self.synproxy.floods.half_open(session);
        }
        self.arm(now, id);
        match &options {
            // It moves nothing, and where it goes is known.
            Some(options) => {
                self.pass_on(now, packet, found, (id, Direction::Inbound), options, hop)
            }
            None => self.udp(now, packet, found, id, Direction::Inbound),
        }
    }

    /// A packet to a VIP where no service listens.
    #[cold]
    fn unserved(&mut self, now: Now, packet: &Packet<'_>, found: &Found) -> Verdict {
        let &Found { l3, ref v4, .. } = found;
        if matches!(v4.l4_kind, L4::Udp { .. }) && self.plan.answers_datagrams(v4.dst) {
            let (kind, code) = (IcmpKind::UNREACHABLE, IcmpCode::UNREACHABLE_PORT);
            self.send_icmp_error(now, packet, l3, v4, kind, code, 0);
        }
        Verdict::Drop(DropReason::NoService)
    }

    /// Picks a real server, takes a local port and puts a session into the table; or refuses the
    /// packet that asked for it. `beginning` is what a client of TCP offers, `proof` what proves it. Returns the session and
    /// the way to its real server.
    pub(crate) fn establish(
        &mut self,
        now: Now,
        packet: &mut Packet<'_>,
        &Found {
            l3,
            ref v4,
            ref key,
            ..
        }: &Found,
        service: ServiceId,
        beginning: Option<Beginning>,
        proof: Proof,
    ) -> Result<(SessionId, Hop), Verdict> {
        self.complete_checksum(packet, l3, v4);
        // A client's own SYN that is damaged gets no answer from anybody.
        let knocks =
            beginning.is_some() && (proof == Proof::Cookie || self.is_heard(packet, v4, service));
        if self.is_full(service) {
            return Err(self.refuse(now, packet, v4, service, DropReason::ServiceFull));
        }
        if !self.takes_session(now, key.src, service) {
            return Err(self.refuse(now, packet, v4, service, DropReason::SessionRate));
        }
        let (real, whose) = match self.pick(now, service, key, proof) {
            Ok(picked) => picked,
            Err(reason) => return Err(self.refuse(now, packet, v4, service, reason)),
        };
        let hop = match self.way(now, packet, l3, v4, real.address) {
            Ok(hop) => hop,
            Err(verdict) => {
                // To whom no way leads was asked all the same. What has no hops left, or is too
                // long, says nothing of a real server: whoever sends it could take that one out.
                if knocks && verdict == Verdict::Drop(DropReason::NoRoute) {
                    self.traffic.asked(real.id);
                }
                return Err(verdict);
            }
        };
        let Ok(taken) = self.ports.take(real.set, millis(now)) else {
            return Err(self.refuse(now, packet, v4, service, DropReason::LipExhausted));
        };
        self.note_taken(now, service, &real, &taken);
        let Some(lip) = self.plan.lip(taken.lip) else {
            return Err(Verdict::Drop(DropReason::LipExhausted));
        };
        let out = FlowKey {
            src: real.address,
            dst: lip,
            src_port: real.port,
            dst_port: taken.port,
            protocol: key.protocol,
        };
        let out_hash = taken.hash.unwrap_or_else(|| {
            let hash = self.table.hash(&out);
            // It is there once the session is made.
            self.table.prefetch(hash);
            hash
        });
        self.foresee(now, &real, key.protocol);
        let hashes = [self.hash_of(key), out_hash];
        let mtu = self.plan.port(packet.port).map(|port| port.facts.mtu);
        let opening = Opening {
            service,
            real,
            lip,
            taken,
            beginning,
            mss_limit: mtu.map_or(u16::MAX, |mtu| mtu.saturating_sub(40)),
        };
        let session = self.new_session(now, key, &opening);
        let session_end = session.isn;
        let Some(id) = self.insert(now, &session, hashes) else {
            // Nothing was sent from the port: what was remembered of it still holds.
            let before = Rest {
                end_seq: session_end,
                last_tsval: 0,
                freed_at: millis(now),
            };
            let rest = Rest {
                freed_at: millis(now),
                ..taken.rest.unwrap_or(before)
            };
            self.ports.release(taken.space, taken.port, rest);
            return Err(self.refuse(now, packet, v4, service, DropReason::TableFull));
        };
        if let Some(session) = self.table.get(id) {
            self.traffic.opened(session);
            if knocks {
                self.traffic.asked(session.real_id);
            }
            let plan = self.plan.service(service);
            if plan.is_some_and(|plan| plan.session_log.opens()) {
                self.audit.note(now, session, SessionChange::Opened);
            }
        }
        self.note_picked(now, &real, whose);
        self.count(Counter::SessionOpened);
        Ok((id, hop))
    }

    /// Says whether a real server will take a client's SYN for one, where its silence counts.
    fn is_heard(&self, packet: &Packet<'_>, v4: &V4, service: ServiceId) -> bool {
        let plan = self.plan.service(service);
        if plan.is_none_or(|plan| !plan.looks_for_silence) {
            return true;
        }
        let len = v4.total_len.saturating_sub(20);
        let segment = packet.frame.bytes().get(usize::from(v4.l4)..);
        let segment = segment.and_then(|rest| rest.get(..usize::from(len)));
        segment.is_some_and(|segment| {
            let sum = pseudo_v4(v4.src, v4.dst, v4.protocol, len);
            sum.add_bytes(segment).fold() == u16::MAX
        })
    }

    /// Hashes what replies to the next session of a real server will probably look like, and asks
    /// for where it will be found: it is there when that session is opened.
    #[inline]
    fn foresee(&mut self, now: Now, real: &RealPlan, protocol: u8) {
        let (table, plan) = (&self.table, &self.plan);
        self.ports.foresee(real.set, millis(now), |lip, port| {
            let hash = table.hash(&FlowKey {
                src: real.address,
                dst: plan.lip(lip)?,
                src_port: real.port,
                dst_port: port,
                protocol,
            });
            table.prefetch(hash);
            Some(hash)
        });
    }

    /// Says whether a service has as many sessions as it may have on this worker.
    pub(crate) fn is_full(&self, service: ServiceId) -> bool {
        let plan = self.plan.service(service);
        plan.is_some_and(|plan| self.living(service) >= plan.max_sessions)
    }

    /// Returns how many sessions of a service were proven and are not over.
    pub(crate) fn living(&self, service: ServiceId) -> u64 {
        let sessions = self.traffic.service(service).sessions;
        sessions.saturating_sub(self.synproxy.floods.uncounted(service))
    }

    fn syn_options(&self, packet: &Packet<'_>, v4: &V4, service: ServiceId) -> OptionSummary {
        let service = self.plan.service(service);
        match (v4.tcp_options(packet.frame.bytes()), service) {
            (Some(bytes), Some(service)) => OptionSummary::new(bytes, &service.forbidden),
            (Some(_) | None, _) => OptionSummary::default(),
        }
    }

    fn new_session(&mut self, now: Now, key: &FlowKey, opening: &Opening) -> Session {
        let Opening {
            service,
            real,
            lip,
            taken,
            beginning,
            mss_limit,
        } = *opening;
        let out = FlowKey {
            src: lip,
            dst: real.address,
            src_port: taken.port,
            dst_port: real.port,
            protocol: key.protocol,
        };
        let isn = if beginning.is_some() {
            self.initial_seq(now, &out, taken.rest)
        } else {
            SeqNumber(0)
        };
        let is_tcp = beginning.is_some();
        let client = beginning.unwrap_or_default();
        let plan = self.plan.service(service);
        let mut flags = SessionFlags::default();
        if plan.is_some_and(|plan| plan.toa_kind.is_some()) {
            flags.set(SessionFlags::TOA_WANTED);
        }
        if client.sack {
            flags.set(SessionFlags::CLIENT_SACK);
        }
        let clamps = plan.is_some_and(|plan| plan.mss_adjust);
        let mss_limit = if clamps { mss_limit } else { u16::MAX };
        Session {
            client: key.src,
            vip: key.dst,
            lip,
            real: real.address,
            client_port: key.src_port,
            vip_port: key.dst_port,
            lip_port: taken.port,
            real_port: real.port,
            inbound_seq: SeqDelta::between(client.isn, isn),
            outbound_seq: SeqDelta::ZERO,
            inbound_ts: first_tsval(now, taken.rest).wrapping_sub(client.tsval),
            outbound_ts: 0,
            last_seen: millis(now),
            isn,
            real_id: real.id,
            service,
            flags,
            client_mss: client.mss.min(mss_limit),
            lip_id: taken.lip,
            state: if is_tcp {
                State::SynSent
            } else {
                State::OneWay
            },
            protocol: key.protocol,
            window_shift: 0,
            client_wscale: client.wscale.unwrap_or(Session::NO_WSCALE),
            client_end: client.next,
            client_ack: SeqNumber(0),
            real_end: SeqNumber(0),
            real_ack: SeqNumber(0),
            client_fin: SeqNumber(0),
            real_fin: SeqNumber(0),
            client_window: client.window,
            real_window: 0,
            last_tsval: taken.rest.map_or(0, |rest| rest.last_tsval),
            opened: millis(now),
            timer: Timer::default(),
            real_wscale: Session::NO_WSCALE,
            port_space: taken.space.0,
            storm: 0,
            waiting: Session::NOT_WAITING,
        }
    }

    /// Chooses the first sequence number towards a real server: after everything that an earlier
    /// connection of the same LIP:port sent to it, so that a TIME-WAIT there accepts it
    /// (RFC 9293 section 3.6.1), and unpredictable without the secret.
    fn initial_seq(&mut self, now: Now, out: &FlowKey, rest: Option<Rest>) -> SeqNumber {
        if let Some(rest) = rest {
            return rest.end_seq + 1 + self.rng.below(ISN_MARGIN);
        }
        let place = self.isn_hasher.hash(out).0 as u32;
        let clock = now.wall_ms.wrapping_mul(ISN_TICKS_PER_MS) as u32;
        SeqNumber(place.wrapping_add(clock))
    }

    /// Puts a session into the table. A session that is over but whose port was taken again makes
    /// room for it; in a full table another one does.
    fn insert(&mut self, now: Now, session: &Session, hashes: [FlowHash; 2]) -> Option<SessionId> {
        for _ in 0..2 {
            match self.table.insert_hashed(session, hashes) {
                Ok(id) => return Some(id),
                Err(InsertError::NoProtocol) => return None,
                Err(InsertError::TableFull) => {
                    if !self.remove_predecessor(now, session) && !self.make_room(now) {
                        return None;
                    }
                }
                Err(InsertError::Duplicate) => {
                    if !self.remove_predecessor(now, session) {
                        return None;
                    }
                }
            }
        }
        self.table.insert_hashed(session, hashes).ok()
    }

    /// Hashes a key, which mostly is that of the packet that is being walked.
    fn hash_of(&self, key: &FlowKey) -> FlowHash {
        match self.walking {
            Some((words, hash)) if words == key.words() => hash,
            Some(_) | None => self.table.hash(key),
        }
    }

    /// Removes the session that is over whose port a new session took; says whether there was one.
    fn remove_predecessor(&mut self, now: Now, session: &Session) -> bool {
        let key = session.key(Direction::Outbound);
        let Some((old, _)) = self.table.find(self.table.hash(&key), &key) else {
            return false;
        };
        if !self
            .table
            .get(old)
            .is_some_and(|session| session.state.is_closed())
        {
            return false;
        }
        self.remove(now, old, SessionEnd::Closed);
        true
    }

    /// Makes room in a full table: of a few sessions, which are others each time, one that is over
    /// goes, or else one that has long been half open. Says whether there was one.
    fn make_room(&mut self, now: Now) -> bool {
        let now_ms = millis(now);
        let scan = self.table.scan(self.evict_at, LOOKED_AT);
        self.evict_at = scan.cursor().unwrap_or(0);
        let worth = |session: &Session| {
            let age = now_ms.wrapping_sub(session.opened);
            let half_open = session.state.is_half_open() && age >= YOUNG_MS;
            (session.state.is_closed() || half_open).then_some((session.state.is_closed(), age))
        };
        let found = scan
            .filter_map(|(id, session)| Some((worth(session)?, id)))
            .max_by_key(|(worth, _)| *worth);
        let Some(((closed, _), id)) = found else {
            return false;
        };
        self.count(Counter::SessionEvicted);
        if !closed && let Some(session) = self.table.get(id).copied() {
            // The client may never have been there (RFC 4987 section 2.2): only the real server,
            // which has kept a place for it, is told.
            self.reset_real(now, &session);
        }
        self.remove(now, id, SessionEnd::Evicted);
        true
    }

    fn note_taken(&mut self, now: Now, service: ServiceId, real: &RealPlan, taken: &Taken) {
        if taken.early {
            self.count(Counter::PortReusedEarly);
        }
        if taken.fell_back {
            self.count(Counter::LipFellBack);
        }
        let Some(plan) = self.plan.service(service) else {
            return;
        };
        let PortUse { used, total } = self.ports.usage(real.set);
        let threshold = u64::from(total) * u64::from(plan.warn_at);
        let reached = u64::from(used) * 100;
        // Only the port that crosses the line raises the event.
        if reached >= threshold && reached < threshold + 100 {
            let pool = plan.pool;
            let event = Event::PoolNearlyExhausted {
                at: now.time,
                pool,
                used,
                total,
            };
            self.notify(Notice::Event(event));
        }
    }
}

/// What a new session is made of.
#[derive(Clone, Copy)]
struct Opening {
    service: ServiceId,
    real: RealPlan,
    lip: Ipv4Addr,
    taken: Taken,
    beginning: Option<Beginning>,
    /// The largest segment that the port to the clients takes.
    mss_limit: u16,
}

/// What a client of TCP begins a connection with: by its SYN, or by the cookie that remembers it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Beginning {
    pub(crate) isn: SeqNumber,
    /// The number behind all that it has sent.
    pub(crate) next: SeqNumber,
    /// Its window in bytes.
    pub(crate) window: u32,
    /// Its maximum segment size; 0 when it named none.
    pub(crate) mss: u16,
    pub(crate) wscale: Option<u8>,
    pub(crate) sack: bool,
    /// Its first timestamp; 0 where it offers none.
    pub(crate) tsval: u32,
}

impl Beginning {
    fn of_syn(tcp: &Tcp, options: &OptionSummary, tsval: u32) -> Self {
        Self {
            isn: tcp.seq,
            next: tcp.end(),
            window: u32::from(tcp.window),
            mss: options.mss.map_or(0, |(_, mss)| mss),
            wscale: options.wscale.map(|(_, shift)| shift),
            sack: options.sack_permitted,
            tsval,
        }
    }
}

/// Chooses the first timestamp towards a real server: the wall clock, but after the last one of
/// the port's earlier connection (RFC 7323 section 5.2 would discard the SYN otherwise).
fn first_tsval(now: Now, rest: Option<Rest>) -> u32 {
    let clock = now.wall_ms as u32;
    match rest {
        Some(rest) if rest.last_tsval != 0 => {
            let next = rest.last_tsval.wrapping_add(1);
            let clock_is_ahead = clock.wrapping_sub(next).cast_signed() >= 0;
            if clock_is_ahead { clock } else { next }
        }
        Some(_) | None => clock,
    }
}
