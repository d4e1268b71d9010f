//! Target `process`: bytes become actions upon a director and its surroundings.

mod cookies;
mod frames;
mod segment;
mod variants;

use std::collections::{BTreeSet, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nat_engine::State;
use weir_director::Director;
use weir_model::{
    Counter, Offer, PortId, Protocol, RealId, RealState, Service, ServiceId, Snapshot,
    SynproxyMode, Verdict,
};
use weir_testkit::{Clock, Setup, Tally, World};
use weir_wire::Describe;

use self::cookies::Cookies;
use self::frames::Made;
use self::segment::Segment;
use self::variants::Variants;
use crate::choice::Choice;

/// The size of the session table: small, so that it fills.
const SESSIONS: u32 = 24;
/// Frames that are remembered, to be answered, quoted and sent again.
const REMEMBERED: usize = 16;
/// Frames that may be held: those that wait for a neighbour, and early data of half the sessions.
const MOST_HELD: u64 = 256;
/// Who proved himself has an answer of his real server, or a RST, after this long.
const ANSWERED_WITHIN_MS: u32 = 1_000;
/// Silence after which nothing may be left: the longest time-outs one after the other.
const SILENCE: Duration = Duration::from_mins(4);

/// One director's life, from its making to the silence at the end.
pub(crate) struct Life<'a> {
    world: World,
    choice: Choice<'a>,
    variants: Variants,
    /// The SYN-ACKs with cookies that came out, and who was let in by one.
    cookies: Cookies,
    /// Frames that came out.
    seen: VecDeque<Vec<u8>>,
    /// Frames that went in.
    sent: VecDeque<(PortId, Vec<u8>)>,
    /// The source port of the next SYN of a flood.
    flood_port: u16,
    /// Whether the configuration changed since the start.
    reloaded: bool,
    /// Whether pools or real servers went since the start: ports towards them are not shown.
    pools_changed: bool,
    actions: u64,
    /// Whether every burst is told, for whoever looks into a failure.
    traces: bool,
}

impl<'a> Life<'a> {
    /// Lives through all that the choices bring and returns what moved.
    pub(crate) fn of(mut choice: Choice<'a>) -> Result<Self> {
        let first = choice.byte();
        let setup = Setup {
            sessions: SESSIONS,
            seed: u64::from(first >> 4),
            delivers: first & 1 != 0,
            liars: true,
            // The second one wraps 32 bits of milliseconds soon after the start.
            uptime_ms: [Clock::UPTIME_MS, (1 << 32) - 20_000][usize::from(first >> 1 & 1)],
            wall_ms: Clock::WALL_MS + u64::from(first >> 2 & 3) * 4_321,
            ..Setup::default()
        };
        let mut variants = Variants::default();
        let snapshot = variants.next(choice.byte(), None)?;
        let mut life = Self {
            world: World::new(snapshot, setup)?,
            choice,
            variants,
            cookies: Cookies::default(),
            seen: VecDeque::new(),
            sent: VecDeque::new(),
            flood_port: 50_000,
            pools_changed: false,
            reloaded: false,
            actions: 0,
            traces: std::env::var_os("WEIR_TRACE").is_some(),
        };
        while life.choice.another() {
            life.actions += 1;
            let at = life.actions;
            life.act().with_context(|| format!("action {at}"))?;
        }
        life.finish().context("in the silence at the end")?;
        Ok(life)
    }

    /// Says what moved.
    pub(crate) fn tally(&self) -> Tally {
        self.world.tally()
    }

    fn act(&mut self) -> Result<()> {
        match self.choice.below(64) {
            kind @ 0..48 => {
                let made = self.frame(kind);
                self.deliver(&[made])?;
            }
            48..50 => {
                let count = 2 + self.choice.below(7);
                let burst = (0..count).map(|_| {
                    let kind = self.choice.below(48);
                    self.frame(kind)
                });
                let burst: Vec<Made> = burst.collect();
                self.deliver(&burst)?;
            }
            50 => {
                let flood = self.flood();
                self.deliver(&flood)?;
            }
            51..58 => {
                let pauses = [1, 1, 5, 20, 100, 200, 500, 950];
                let pause = Duration::from_millis(self.choice.pick(&pauses));
                self.pass(pause)?;
            }
            58 | 59 => {
                let pauses = [1, 2, 5, 8, 11, 17, 31, 61];
                let pause = Duration::from_secs(self.choice.pick(&pauses));
                self.pass(pause)?;
            }
            60 => self.reload()?,
            61 => self.neighbour_moves(),
            _ => self.command()?,
        }
        self.check_bounds()?;
        self.check_floods()?;
        if self.actions.is_multiple_of(16) {
            self.check_sessions()?;
        }
        Ok(())
    }

    /// Lets a burst arrive and judges what becomes of it.
    fn deliver(&mut self, burst: &[Made]) -> Result<()> {
        let now = self.world.time();
        let snapshot = self.world.snapshot();
        let may_open = |made: &&Made| self.cookies.may_open(snapshot, now, &made.frame);
        let allowed = burst.iter().filter(may_open).count() as u64;
        let fresh = match burst {
            [made] => self.must_be_known(made),
            _ => false,
        };
        let before = self.opened();
        let frames: Vec<(PortId, &[u8])> = burst
            .iter()
            .map(|made| (made.port, made.frame.as_slice()))
            .collect();
        let show = || show(&frames);
        let verdicts = self.world.inject_burst(0, &frames).with_context(show)?;
        let opened = self.opened() - before;
        ensure!(
            opened <= allowed,
            "{opened} sessions opened where {allowed} may be at {} ms: {verdicts:?}{}",
            now.as_millis(),
            show()
        );
        ensure!(
            !(fresh && cookies::says_unknown(verdicts[0])),
            "a fresh cookie is not known: {verdicts:?}{}",
            show()
        );
        let emitted = self.take_emitted();
        if self.traces {
            let sent = show_sent(&emitted);
            eprintln!("{} ms {verdicts:?}{}{sent}", now.as_millis(), show());
        }
        let mut sent: Vec<Segment> = emitted
            .iter()
            .filter_map(|(_, frame)| Segment::of(frame))
            .collect();
        for (made, verdict) in burst.iter().zip(&verdicts) {
            let Some(segment) = Segment::of(&made.frame) else {
                continue;
            };
            if burst.len() == 1 {
                let snapshot = self.world.snapshot();
                let outcome = (*verdict, opened);
                self.cookies
                    .judge(snapshot, now, &segment, outcome, &sent)
                    .with_context(show)?;
            } else if opened > 0 {
                self.cookies.forget(&segment.tuple);
            }
            if *verdict == Verdict::Reply {
                let snapshot = self.world.snapshot();
                self.cookies.issue(snapshot, now, &segment, &mut sent);
            }
        }
        self.check_syns(&emitted, burst.len() == 1)
            .with_context(|| format!("{verdicts:?}{}{}", show(), show_sent(&emitted)))?;
        self.remember(emitted);
        for made in burst {
            if self.sent.len() == REMEMBERED {
                self.sent.pop_front();
            }
            self.sent.push_back((made.port, made.frame.clone()));
        }
        Ok(())
    }

    /// Says whether a frame is the ACK of a fresh cookie that nothing stands in the way of.
    fn must_be_known(&self, made: &Made) -> bool {
        let Some(tuple) = made.proves else {
            return false;
        };
        let (snapshot, now) = (self.world.snapshot(), self.world.time());
        let sessions = self.world.sessions();
        self.cookies.is_fresh(snapshot, now, &made.frame)
            && !sessions.iter().any(|it| (it.client, it.vip) == tuple)
    }

    /// What is sent to a real server on behalf of a client who proved himself has the options that
    /// both agreed on; and where proof is always asked for, nobody else's SYN gets there. `at_once`
    /// says that sessions are as they were when the frames came out.
    fn check_syns(&self, emitted: &[(PortId, Vec<u8>)], at_once: bool) -> Result<()> {
        for (_, frame) in emitted {
            let Some(syn) = Segment::of(frame).filter(Segment::is_syn) else {
                continue;
            };
            let sessions = self.world.sessions();
            let mut towards = sessions.iter().filter(|it| (it.lip, it.real) == syn.tuple);
            let Some(session) = towards.next() else {
                continue;
            };
            let tuple = (session.client, session.vip);
            let what = || format!("sent {} for {session:?}", Describe(frame));
            if session.state == State::SynSent {
                self.cookies.check_syn(&tuple, &syn).with_context(what)?;
                continue;
            }
            // A handshake that began before proof was asked for goes on as it began.
            let service = service_at(self.world.snapshot(), session.vip, Protocol::Tcp);
            let guarded = session.state != State::SynRecv
                && service.is_some_and(|it| {
                    it.synproxy.mode == SynproxyMode::Always && it.connection_reuse
                });
            ensure!(
                !(guarded && at_once),
                "an unproven SYN was passed on: {}",
                what()
            );
        }
        Ok(())
    }

    fn pass(&mut self, pause: Duration) -> Result<()> {
        let until = self.world.time().after(pause);
        self.world.advance_to(until)?;
        let emitted = self.take_emitted();
        self.check_syns(&emitted, false)?;
        self.remember(emitted);
        Ok(())
    }

    /// Puts another configuration in force: services go, come back, and change what they are.
    fn reload(&mut self) -> Result<()> {
        let next = self
            .variants
            .next(self.choice.byte(), Some(self.world.snapshot()))?;
        let before = self.world.snapshot();
        self.pools_changed |= next.pools != before.pools || next.endpoints != before.endpoints;
        self.reloaded = true;
        self.cookies.reload();
        self.world.apply(next)?;
        self.pass(Duration::ZERO)
    }

    /// What the control thread says between bursts: of real servers that fail and recover, of floods
    /// that other workers see, of options that were learned.
    fn command(&mut self) -> Result<()> {
        let snapshot = self.world.snapshot();
        let (services, reals) = (snapshot.services.bound(), snapshot.real_bound);
        let service = ServiceId(self.choice.below(services) as u16);
        match self.choice.below(4) {
            0 => {
                let real = RealId(self.choice.below(reals as usize) as u32);
                // Up more often than down.
                let state = RealState {
                    weight: self
                        .choice
                        .pick(&[None, None, Some(0), Some(1), Some(65_535)]),
                    up: !self.choice.once_in(3),
                    draining: self.choice.once_in(5),
                };
                self.director().set_real_state(real, state);
            }
            1 => {
                let active = self.choice.once_in(2);
                self.director().set_flood_hint(service, active);
            }
            _ => {
                let offer = Offer {
                    mss: self.choice.pick(&[1440, 1460, 536, 88, 9000]),
                    wscale: self.choice.pick(&[None, Some(0), Some(7), Some(14)]),
                    sack: self.choice.once_in(2),
                    timestamps: self.choice.once_in(2),
                };
                self.cookies.drift();
                self.director().set_offer(service, offer);
            }
        }
        self.pass(Duration::ZERO)
    }

    fn director(&mut self) -> &mut Director {
        &mut self.world.directors_mut()[0]
    }

    /// A neighbour gets another Ethernet address, or the same again.
    fn neighbour_moves(&mut self) {
        let address = self.choice.pick(&frames::ADDRESSES);
        self.world.introduce(address);
    }

    fn take_emitted(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let mut emitted = Vec::new();
        while let Some(it) = self.world.take_emitted() {
            emitted.push((it.port, it.frame));
        }
        emitted
    }

    fn remember(&mut self, emitted: Vec<(PortId, Vec<u8>)>) {
        for (_, frame) in emitted {
            if self.seen.len() == REMEMBERED {
                self.seen.pop_front();
            }
            self.seen.push_back(frame);
        }
        while self.world.take_delivered().is_some() {}
        self.world.take_events();
    }

    fn opened(&self) -> u64 {
        let counters = self.world.directors()[0].counters();
        counters.get(Counter::SessionOpened)
    }

    /// Nothing that packets make grow is without a bound; the ledger is the world's to check.
    fn check_bounds(&self) -> Result<()> {
        let director = &self.world.directors()[0];
        let sessions = director.session_count();
        ensure!(
            sessions <= director.session_capacity(),
            "{sessions} sessions are in a table of {}",
            director.session_capacity()
        );
        let held = director.ledger().held;
        ensure!(held <= MOST_HELD, "{held} frames are held");
        Ok(())
    }

    /// Every SYN has become one thing, and only living sessions are half open.
    fn check_floods(&self) -> Result<()> {
        let (director, snapshot) = (&self.world.directors()[0], self.world.snapshot());
        let mut half_open = 0;
        for service in snapshot.services.iter() {
            let flood = director.flood(service.id);
            let known = flood.cookie_sent + flood.passed + flood.limited;
            ensure!(
                flood.syn_in == known,
                "of the SYNs of {} not all are accounted for: {flood:?}",
                service.name
            );
            half_open += flood.half_open;
        }
        let sessions = u64::from(director.session_count());
        ensure!(
            half_open <= sessions,
            "{half_open} of {sessions} sessions are half open"
        );
        Ok(())
    }

    /// No two living sessions share a local port towards a real server, nor a client's port towards
    /// a VIP, and each holds exactly one local port.
    fn check_sessions(&self) -> Result<()> {
        let sessions = self.world.sessions();
        let living = sessions.iter().filter(|it| !it.state.is_closed());
        let (mut outward, mut inward) = (BTreeSet::new(), BTreeSet::new());
        for session in living {
            let protocol = session.protocol.number();
            ensure!(
                outward.insert((session.lip, session.real, protocol)),
                "two sessions share a local port: {session:?}"
            );
            ensure!(
                inward.insert((session.client, session.vip, protocol)),
                "two sessions share a client: {session:?}"
            );
        }
        for session in &sessions {
            let service = service_at(self.world.snapshot(), session.vip, Protocol::Tcp);
            let guarded = service.is_some_and(|it| it.synproxy.mode == SynproxyMode::Always);
            ensure!(
                self.reloaded
                    || !guarded
                    || session.state != State::SynSent
                    || session.age_ms <= ANSWERED_WITHIN_MS,
                "a real server is still being asked: {session:?}"
            );
        }
        let (used, living) = (self.world.ports_used() as usize, outward.len());
        if used != living && !(self.pools_changed && used < living) {
            bail!("{used} local ports are in use by {living} sessions");
        }
        Ok(())
    }

    /// When all is quiet for long enough nothing may be left.
    fn finish(&mut self) -> Result<()> {
        self.check_sessions()?;
        for id in 0..self.world.snapshot().services.bound() {
            self.director().set_flood_hint(ServiceId(id as u16), false);
        }
        self.pass(SILENCE)?;
        self.check_bounds()?;
        let sessions = self.world.sessions();
        ensure!(sessions.is_empty(), "sessions are left: {sessions:?}");
        let ports = self.world.ports_used();
        ensure!(ports == 0, "{ports} local ports are left");
        let held = self.world.directors()[0].ledger().held;
        ensure!(held == 0, "{held} frames are held");
        for service in self.world.snapshot().services.iter() {
            let flood = self.world.directors()[0].flood(service.id);
            let always = service.synproxy.mode == SynproxyMode::Always;
            ensure!(
                flood.half_open == 0 && (flood.active == 0 || always),
                "{} is never at rest: {flood:?}",
                service.name
            );
        }
        Ok(())
    }
}

/// A client and a VIP, each with its port.
type Tuple = ((Ipv4Addr, u16), (Ipv4Addr, u16));

/// Shows frames as operators see them, and their bytes.
fn show(frames: &[(PortId, &[u8])]) -> String {
    let shown = frames
        .iter()
        .map(|(port, frame)| format!("\n  port {port}: {} = {frame:02x?}", Describe(frame)));
    shown.collect()
}

/// Shows the frames that came out.
fn show_sent(frames: &[(PortId, Vec<u8>)]) -> String {
    let shown = frames
        .iter()
        .map(|(port, frame)| format!("\n  out of {port}: {}", Describe(frame)));
    shown.collect()
}

/// Returns the service that listens at an address.
fn service_at(
    snapshot: &Snapshot,
    (address, port): (Ipv4Addr, u16),
    protocol: Protocol,
) -> Option<&Service> {
    snapshot.services.iter().find(|service| {
        service.protocol == protocol
            && service
                .listen
                .iter()
                .any(|it| it.address == address && it.port == port)
    })
}
