//! Floods: what each service's SYNs come to, and when they are answered by cookies.

use alloc::vec::Vec;

use nat_engine::{Session, SessionFlags};
use synproxy_engine::{Change, Checked, Fingerprint, TopKeys, Trigger};
use weir_model::{
    Event, FloodCounters, HeavyHitter, Now, Offer, RealId, ServiceId, Snapshot, SynproxyMode,
};
use weir_wire::{KindSet, OptionSummary, V4};

use super::SynproxyPlan;
use crate::director::millis;
use crate::plan::Plan;
use crate::{Director, Notice, Packet};

/// One SYN in so many is looked at for its source and shape.
const SAMPLE: u32 = 64;
/// Prefixes, and sets of options, that are followed at a time of each service.
pub const KEYS: usize = 32;
/// Keys that are told.
const TOLD: usize = 8;
/// The trigger is looked at this often when no SYN does it.
const TICK_MS: u32 = 100;
/// Samples fade by half this often.
const FADE_MS: u32 = 1000;

/// Says what SYNs are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Top {
    /// The /24 that they come from.
    Source,
    /// What their options, window and time to live look like.
    Fingerprint,
}

/// One service's.
pub(crate) struct Flood {
    pub(crate) counters: FloodCounters,
    trigger: Trigger,
    /// Whether another worker answers this service's SYNs by cookies.
    hint: bool,
    /// Until when cookies are verified although none are sent any more.
    verify_until_ms: u32,
    verifies: bool,
    /// What was learned of the real servers.
    learned: Option<Offer>,
    /// What clients were offered before it changed, and until when that counts.
    told_before: Option<(Told, Option<u32>)>,
    unsampled: u32,
    sources: TopKeys<KEYS>,
    fingerprints: TopKeys<KEYS>,
    half_open: u32,
    /// Sessions that are over but remembered.
    over: u32,
}

/// What a client may have been offered by a cookie of the last `cookie-lifetime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// The largest window scale: one too large makes a window look smaller than it is.
    pub(crate) wscale: Option<u8>,
    pub(crate) timestamps: bool,
}

/// Sessions of a real server that are not proven and going on.
#[derive(Clone, Copy, Debug, Default)]
struct Uncounted {
    half_open: u32,
    over: u32,
}

/// All services' of one worker; grows only when the configuration changes.
#[derive(Default)]
pub(crate) struct Floods {
    services: Vec<Flood>,
    reals: Vec<Uncounted>,
    half_open: u32,
    ticked_ms: u32,
    faded_ms: u32,
    /// How often a SYN made a flood of many.
    changes: u32,
}

impl Flood {
    fn new(now_ms: u32) -> Self {
        Self {
            counters: FloodCounters::default(),
            trigger: Trigger::new(now_ms),
            hint: false,
            verify_until_ms: now_ms,
            verifies: false,
            learned: None,
            told_before: None,
            unsampled: 0,
            sources: TopKeys::new(),
            fingerprints: TopKeys::new(),
            half_open: 0,
            over: 0,
        }
    }

    /// Says whether this worker or another found a flood.
    pub(crate) fn is_active(&self) -> bool {
        self.trigger.is_active() || self.hint
    }

    /// Says whether it was this worker.
    pub(crate) fn is_own(&self) -> bool {
        self.trigger.is_active()
    }

    /// SYNs of the last second that nobody answered.
    pub(crate) fn unanswered_per_s(&self) -> u32 {
        self.trigger.unanswered_per_s()
    }

    /// Counts a cookie that was judged.
    pub(super) fn checked(&mut self, checked: Checked) {
        let count = match checked {
            Checked::Valid(_) => &mut self.counters.cookie_valid,
            Checked::Stale => &mut self.counters.cookie_stale,
            Checked::Bad => &mut self.counters.cookie_bad,
        };
        *count += 1;
    }

    /// Notes where a sample comes from and what it looks like.
    #[cold]
    fn note_sample(&mut self, packet: &Packet<'_>, v4: Option<&V4>) {
        let frame = packet.frame.bytes();
        let Some(v4) = v4.copied().or_else(|| V4::plain_again(frame)) else {
            return;
        };
        let Some(tcp) = v4.tcp() else { return };
        self.sources.add(u64::from(u32::from(v4.src) & !0xff));
        let bytes = v4.tcp_options(frame).unwrap_or_default();
        let options = OptionSummary::new(bytes, &KindSet::EMPTY);
        let shape = Fingerprint::new(&v4, tcp, &options, bytes);
        self.fingerprints.add(shape.0);
    }

    /// Notes that a cookie is sent: it is verified for its lifetime, whatever happens until then.
    pub(crate) fn note_cookie(&mut self, now_ms: u32, plan: &SynproxyPlan) {
        self.verifies = true;
        self.verify_until_ms = now_ms.wrapping_add(plan.lifetime_ms);
    }

    /// Says whether SYNs are answered by cookies now.
    pub(crate) fn sends_cookies(&self, plan: &SynproxyPlan) -> bool {
        match plan.mode {
            SynproxyMode::Off => false,
            SynproxyMode::Adaptive => self.is_active(),
            SynproxyMode::Always => true,
        }
    }

    /// Says whether an ACK may carry a cookie of ours.
    pub(crate) fn verifies(&self, plan: &SynproxyPlan) -> bool {
        // A peer may be under attack while this box is not.
        let shared = plan.shared && plan.mode != SynproxyMode::Off;
        self.verifies || shared || self.sends_cookies(plan)
    }

    pub(crate) fn offer(&self, plan: &SynproxyPlan) -> Offer {
        self.learned
            .filter(|_| plan.learned)
            .unwrap_or(plan.first_offer)
    }

    /// Returns what a client that comes with a cookie may have been offered.
    pub(crate) fn told(&self, plan: &SynproxyPlan) -> Told {
        let offer = self.offer(plan);
        let before = self.told_before.map(|(told, _)| told);
        Told {
            wscale: offer.wscale.max(before.and_then(|told| told.wscale)),
            timestamps: offer.timestamps || before.is_some_and(|told| told.timestamps),
        }
    }

    /// Remembers what clients were offered where that has changed; what was never sent binds nobody.
    fn remember(&mut self, before: Told, plan: &SynproxyPlan) {
        if self.counters.cookie_sent > 0 && self.told(plan) != before {
            self.told_before = Some((before, None));
        }
    }

    fn tick(&mut self, now_ms: u32, plan: Option<&SynproxyPlan>) {
        let Some(plan) = plan else {
            self.verifies = false;
            return;
        };
        if self.sends_cookies(plan) {
            self.verifies = true;
            self.verify_until_ms = now_ms.wrapping_add(plan.lifetime_ms);
        } else if now_ms.wrapping_sub(self.verify_until_ms).cast_signed() >= 0 {
            self.verifies = false;
        }
        self.told_before = match self.told_before {
            Some((told, None)) => Some((told, Some(now_ms.wrapping_add(plan.lifetime_ms)))),
            Some((_, Some(until))) if now_ms.wrapping_sub(until).cast_signed() >= 0 => None,
            kept => kept,
        };
    }
}

impl Floods {
    /// Follows a change of the services. Cookies of an earlier process, or of a peer, are verified
    /// for their lifetime after the start.
    pub(crate) fn apply(&mut self, snapshot: &Snapshot, now_ms: u32) {
        let bound = snapshot.services.bound();
        self.reals
            .resize(snapshot.real_bound as usize, Uncounted::default());
        for id in self.services.len()..bound {
            let mut flood = Flood::new(now_ms);
            if let Some(service) = snapshot.services.get(id) {
                let lifetime = super::millis_of(service.synproxy.cookie_lifetime);
                flood.verifies = service.synproxy.mode != SynproxyMode::Off;
                flood.verify_until_ms = now_ms.wrapping_add(lifetime);
            }
            self.services.push(flood);
        }
    }

    /// Tells apart what was before and after a SYN made a flood of many.
    #[inline]
    pub(crate) const fn changes(&self) -> u32 {
        self.changes
    }

    pub(crate) fn get(&self, id: ServiceId) -> Option<&Flood> {
        self.services.get(id.index())
    }

    pub(crate) fn get_mut(&mut self, id: ServiceId) -> Option<&mut Flood> {
        self.services.get_mut(id.index())
    }

    /// Counts a plain TCP session that nothing has proven yet.
    pub(crate) fn half_open(&mut self, session: &mut Session) {
        if let Some(flood) = self.services.get_mut(session.service.index()) {
            session.flags.set(SessionFlags::COUNTED_HALF_OPEN);
            flood.half_open += 1;
            self.half_open += 1;
            if let Some(real) = self.reals.get_mut(session.real_id.index()) {
                real.half_open += 1;
            }
        }
    }

    /// Counts a session that its ends are done with, but that is remembered for a time.
    pub(crate) fn over(&mut self, session: &mut Session) {
        if !session.flags.has(SessionFlags::COUNTED_OVER)
            && let Some(flood) = self.get_mut(session.service)
        {
            session.flags.set(SessionFlags::COUNTED_OVER);
            flood.over += 1;
            if let Some(real) = self.reals.get_mut(session.real_id.index()) {
                real.over += 1;
            }
        }
    }

    /// Takes it out again: it is forgotten.
    pub(crate) fn not_over(&mut self, session: &mut Session) {
        if session.flags.has(SessionFlags::COUNTED_OVER)
            && let Some(flood) = self.get_mut(session.service)
        {
            session.flags.clear(SessionFlags::COUNTED_OVER);
            flood.over -= 1;
            if let Some(real) = self.reals.get_mut(session.real_id.index()) {
                real.over -= 1;
            }
        }
    }

    /// Returns how many sessions are over and only remembered.
    pub(crate) fn all_over(&self) -> u32 {
        let services = self.services.iter();
        services.map(|flood| flood.over).sum()
    }

    /// Returns how many plain TCP sessions nothing has proven.
    pub(crate) fn all_half_open(&self) -> u32 {
        self.half_open
    }

    /// Returns how many of a service's sessions nothing has proven, or are over: what does not
    /// count against its limit, or strangers could fill it.
    pub(crate) fn uncounted(&self, service: ServiceId) -> u64 {
        let flood = self.get(service);
        flood.map_or(0, |flood| {
            u64::from(flood.half_open) + u64::from(flood.over)
        })
    }

    /// Returns how many of a real server's sessions nothing has proven.
    pub(crate) fn half_open_of_real(&self, real: RealId) -> u64 {
        let real = self.reals.get(real.index());
        real.map_or(0, |real| u64::from(real.half_open))
    }

    /// Returns how many of a real server's sessions are over but remembered.
    pub(crate) fn over_of_real(&self, real: RealId) -> u64 {
        let real = self.reals.get(real.index());
        real.map_or(0, |real| u64::from(real.over))
    }

    /// Takes a half-open session out again: it was proven, or it is over.
    pub(crate) fn not_half_open(&mut self, session: &mut Session) {
        if session.flags.has(SessionFlags::COUNTED_HALF_OPEN) {
            session.flags.clear(SessionFlags::COUNTED_HALF_OPEN);
            self.half_open -= 1;
            if let Some(flood) = self.services.get_mut(session.service.index()) {
                flood.half_open -= 1;
            }
            if let Some(real) = self.reals.get_mut(session.real_id.index()) {
                real.half_open -= 1;
            }
        }
    }

    /// Counts a handshake that its client completed.
    pub(crate) fn answered(&mut self, service: ServiceId) {
        if let Some(flood) = self.get_mut(service) {
            flood.trigger.answered();
        }
    }
}

impl Director {
    /// Tells what became of a service's SYNs on this worker.
    #[must_use]
    pub fn flood(&self, service: ServiceId) -> FloodCounters {
        let Some(flood) = self.synproxy.floods.get(service) else {
            return FloodCounters::default();
        };
        let plan = self.plan.service(service);
        let active = match plan.and_then(|plan| plan.synproxy.as_ref()) {
            Some(plan) => flood.sends_cookies(plan),
            None => false,
        };
        FloodCounters {
            half_open: u64::from(flood.half_open),
            active: u64::from(active),
            ..flood.counters
        }
    }

    /// Shows what a service's SYNs of the last seconds have in common, by samples; at most eight
    /// of each kind, the most frequent first.
    pub fn flood_tops(&self, service: ServiceId, each: &mut dyn FnMut(Top, HeavyHitter)) {
        let Some(flood) = self.synproxy.floods.get(service) else {
            return;
        };
        for (top, keys) in [
            (Top::Source, &flood.sources),
            (Top::Fingerprint, &flood.fingerprints),
        ] {
            let mut told = [(0u64, 0u64); KEYS];
            let mut count = 0;
            for (place, sample) in told.iter_mut().zip(keys.per_second(SAMPLE)) {
                *place = sample;
                count += 1;
            }
            let told = told.get_mut(..count).unwrap_or_default();
            told.sort_unstable_by_key(|(_, syn_per_s)| core::cmp::Reverse(*syn_per_s));
            for &(key, syn_per_s) in told.iter().take(TOLD) {
                if syn_per_s > 0 {
                    each(top, HeavyHitter { key, syn_per_s });
                }
            }
        }
    }

    /// Says whether another worker answers a service's SYNs by cookies, so that this one does too.
    pub fn set_flood_hint(&mut self, service: ServiceId, active: bool) {
        if let Some(flood) = self.synproxy.floods.get_mut(service) {
            flood.hint = active;
        }
    }

    /// Takes what was learned of a service's real servers: what clients are offered from now on.
    pub fn set_offer(&mut self, service: ServiceId, offer: Offer) {
        let plan = self.plan.service(service);
        let plan = plan.and_then(|plan| plan.synproxy);
        let (Some(plan), Some(flood)) = (plan, self.synproxy.floods.get_mut(service)) else {
            return;
        };
        let before = flood.told(&plan);
        flood.learned = Some(offer);
        flood.remember(before, &plan);
    }

    /// Remembers what clients were offered by the plan that another one is about to replace.
    pub(crate) fn change_offers(&mut self, plan: &Plan) {
        for (id, flood) in self.synproxy.floods.services.iter_mut().enumerate() {
            let id = ServiceId(id as u16);
            let of = |plan: &Plan| plan.service(id).and_then(|plan| plan.synproxy);
            if let (Some(old), Some(new)) = (of(&self.plan), of(plan)) {
                let before = flood.told(&old);
                flood.remember(before, &new);
            }
        }
    }

    /// Counts a SYN in and says whether it is to be answered by a cookie. What it was parsed to may
    /// be left out where it is a plain frame.
    #[inline]
    pub(crate) fn count_syn(
        &mut self,
        now: Now,
        packet: &Packet<'_>,
        v4: Option<&V4>,
        service: ServiceId,
    ) -> bool {
        let plan = self.plan.service(service);
        let plan = plan.and_then(|plan| plan.synproxy.as_ref());
        let Some(flood) = self.synproxy.floods.get_mut(service) else {
            return false;
        };
        flood.counters.syn_in += 1;
        if let Some(left) = flood.unsampled.checked_sub(1) {
            flood.unsampled = left;
        } else {
            // At random distances: who knows the pattern could stay between the samples.
            flood.unsampled = self.rng.below(2 * SAMPLE - 1);
            flood.note_sample(packet, v4);
        }
        let Some(plan) = plan else { return false };
        let change = match plan.mode {
            SynproxyMode::Adaptive => flood.trigger.syn(millis(now), &plan.limits),
            SynproxyMode::Always | SynproxyMode::Off => None,
        };
        let cookie = flood.sends_cookies(plan);
        if change.is_some() {
            flood.tick(millis(now), Some(plan));
            self.synproxy.floods.changes = self.synproxy.floods.changes.wrapping_add(1);
            self.tell_change(now, service, change);
        }
        cookie && !self.draining
    }

    /// Follows every service's trigger, ten times a second.
    pub(crate) fn tick_floods(&mut self, now: Now) {
        let now_ms = millis(now);
        self.synproxy.refresh(now.wall_ms);
        if now_ms.wrapping_sub(self.synproxy.floods.ticked_ms) < TICK_MS {
            return;
        }
        self.synproxy.floods.ticked_ms = now_ms;
        let fades = now_ms.wrapping_sub(self.synproxy.floods.faded_ms) >= FADE_MS;
        if fades {
            self.synproxy.floods.faded_ms = now_ms;
        }
        let everywhere = u64::from(self.table.capacity());
        let everywhere = percent(self.synproxy.floods.half_open, everywhere);
        for id in 0..self.synproxy.floods.services.len() {
            let service = ServiceId(id as u16);
            let of_service = self.plan.service(service);
            let plan = of_service.and_then(|plan| plan.synproxy);
            let room = of_service.map_or(0, |plan| plan.room);
            let Some(flood) = self.synproxy.floods.get_mut(service) else {
                return;
            };
            if fades {
                flood.sources.age();
                flood.fingerprints.age();
            }
            let change = match plan {
                Some(plan) if plan.mode == SynproxyMode::Adaptive => {
                    let half_open = percent(flood.half_open, room).max(everywhere);
                    flood.trigger.tick(now_ms, &plan.limits, half_open)
                }
                Some(_) | None => None,
            };
            flood.tick(now_ms, plan.as_ref());
            self.tell_change(now, service, change);
        }
    }

    fn tell_change(&mut self, now: Now, service: ServiceId, change: Option<Change>) {
        let Some(change) = change else { return };
        let flood = self.synproxy.floods.get(service);
        let half_open = flood.map_or(0, |flood| flood.half_open);
        let at = now.time;
        let (active, event) = match change {
            Change::Began { unanswered } => {
                let event = Event::FloodBegan {
                    at,
                    service,
                    unanswered,
                    half_open,
                };
                (true, event)
            }
            Change::Ended { peak, lasted_ms } => {
                let event = Event::FloodEnded {
                    at,
                    service,
                    peak,
                    lasted_ms,
                };
                (false, event)
            }
        };
        self.notify(Notice::Flood { service, active });
        self.notify(Notice::Event(event));
    }
}

fn percent(part: u32, whole: u64) -> u32 {
    let percent = (u64::from(part) * 100).checked_div(whole);
    percent.unwrap_or(0) as u32
}
