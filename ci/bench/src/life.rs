//! Whole lives of sessions: from the SYN to the last ACK, and until their places are free again.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use weir_model::{Counter, Verdict};
use weir_rig::{LAN, PLAIN, SHIELDED};
use weir_wire::{Header, TcpFlags, TcpHeader};

use crate::arena::{Arena, BURST};
use crate::connection::{Connection, Side, passer_by};
use crate::frames::{Kind, Templates, Variant, read};
use crate::measure::{Effort, Figure, clock_cost, per_packet};
use crate::rig::Rig;

/// Sessions that begin together, and go on together.
type Cohort = Vec<Connection>;
/// Who sends what.
type Packet = (Side, Kind);
/// Cohorts that are under way at a time: between two packets of a session come those of the others.
const COHORTS: usize = 64;
/// How long the default configuration remembers a closed session.
const TIME_WAIT: Duration = Duration::from_secs(10);
/// The share of the table that is in use: sessions under way, and closed ones that are remembered.
const FILLING: f64 = 0.9;

/// How a connection to a service goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Its SYNs are passed on.
    Plain,
    /// Each SYN is answered by a cookie, and the real server is asked when that comes back.
    Shielded,
}

const SYN: Packet = (Side::Client, Kind::Syn);
const SYN_ACK: Packet = (Side::Real, Kind::SynAck);
const ACK: Packet = (Side::Client, Kind::Ack);
const PLAIN_LIFE: [Packet; 9] = life([SYN, SYN_ACK, ACK]);
const SHIELDED_LIFE: [Packet; 9] = life([SYN, ACK, SYN_ACK]);

/// Returns a life that begins with such a handshake.
const fn life([first, second, third]: [Packet; 3]) -> [Packet; 9] {
    [
        first,
        second,
        third,
        (Side::Client, Kind::Data),
        (Side::Real, Kind::Data),
        (Side::Client, Kind::Fin),
        (Side::Real, Kind::Ack),
        (Side::Real, Kind::Fin),
        ACK,
    ]
}

impl Service {
    pub(crate) const ALL: [Self; 2] = [Self::Plain, Self::Shielded];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "life",
            Self::Shielded => "life-synproxy",
        }
    }

    const fn steps(self) -> &'static [Packet] {
        match self {
            Self::Plain => &PLAIN_LIFE,
            Self::Shielded => &SHIELDED_LIFE,
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Plain => PLAIN,
            Self::Shielded => SHIELDED,
        }
    }
}

/// A worker whose table is full of sessions that come and go.
pub(crate) struct Lives {
    pub(crate) rig: Rig,
    arena: Arena,
    templates: Templates,
    service: Service,
    /// Each cohort with the step that is its next.
    cohorts: Vec<(Cohort, usize)>,
    /// Whose turn it is.
    turn: usize,
    next_client: u32,
    /// Simulated time per turn.
    pace: Duration,
    ended: u64,
}

impl Lives {
    /// Fills a table of so many sessions to nine tenths.
    pub(crate) fn new(sessions: u32, service: Service) -> Result<Self> {
        let cohorts = (f64::from(sessions) * FILLING / BURST as f64) as usize;
        // Soon enough that nobody sends anything again.
        let under_way = COHORTS.min(cohorts / 25).max(1);
        let remembered = cohorts.saturating_sub(under_way).max(1);
        let turns = remembered * service.steps().len();
        let mut lives = Self {
            rig: Rig::new(sessions, 0, 1)?,
            arena: Arena::new(),
            templates: Templates::new(),
            service,
            cohorts: Vec::new(),
            turn: 0,
            next_client: 0,
            pace: TIME_WAIT / u32::try_from(turns).context("too many sessions")?,
            ended: 0,
        };
        for step in 0..under_way {
            let cohort = lives.begin();
            // They are at different steps, as at any moment of a life.
            lives.cohorts.push((cohort, 0));
            for _ in 0..step % service.steps().len() {
                lives.turn = step;
                lives.step()?;
            }
        }
        for _ in 0..turns {
            lives.step()?;
        }
        Ok(lives)
    }

    /// Lets a cohort go on by one packet each, and returns how long the worker's turn took.
    pub(crate) fn step(&mut self) -> Result<Duration> {
        let turn = self.turn;
        self.turn = (turn + 1) % self.cohorts.len();
        let steps = self.service.steps();
        if self
            .cohorts
            .get(turn)
            .is_some_and(|(_, next)| *next == steps.len())
        {
            let cohort = self.begin();
            if let Some(place) = self.cohorts.get_mut(turn) {
                *place = (cohort, 0);
            }
            self.ended += BURST as u64;
        }
        let (cohort, next) = self.cohorts.get_mut(turn).context("no cohort")?;
        let &(side, kind) = steps.get(*next).context("no step")?;
        self.arena.clear();
        for connection in &mut *cohort {
            connection.send(&mut self.arena, &self.templates, side, kind)?;
        }
        let mut packets = self.arena.packets();
        let mut asked: Vec<Variant> = Vec::with_capacity(BURST);
        let took = self.rig.turn(&mut packets, self.pace, &mut |port, frame| {
            let syn = TcpHeader::at(frame, 34).is_some_and(|tcp| tcp.flags() == TcpFlags::SYN);
            if port == LAN
                && syn
                && let Ok(variant) = read(frame)
            {
                asked.push(variant);
            }
        });
        match (self.service, *next) {
            (Service::Plain, 0) => {
                for (packet, connection) in packets.iter().zip(&mut *cohort) {
                    let verdict = packet.verdict;
                    ensure!(verdict == Verdict::Forward(LAN), "SYN: {verdict:?}");
                    connection.meet_real(&read(packet.frame.bytes())?)?;
                }
            }
            (Service::Shielded, 0) => {
                for (packet, connection) in packets.iter().zip(&mut *cohort) {
                    let verdict = packet.verdict;
                    ensure!(verdict == Verdict::Reply, "SYN: {verdict:?}");
                    connection.meet_cookie(&read(packet.frame.bytes())?);
                }
            }
            (Service::Shielded, 1) => {
                let verdict = packets.first().map(|packet| packet.verdict);
                ensure!(asked.len() == cohort.len(), "ACK: {verdict:?}");
                for (variant, connection) in asked.iter().zip(&mut *cohort) {
                    connection.meet_real(variant)?;
                }
            }
            (Service::Plain | Service::Shielded, _) => {}
        }
        *next += 1;
        Ok(took)
    }

    /// Returns how many turns a session's life takes, for a cohort.
    pub(crate) const fn steps(&self) -> usize {
        self.service.steps().len()
    }

    /// Measures each packet of a life apart, per session, and behind them all what is no packet's:
    /// timers, and what the director originates.
    pub(crate) fn stages(&mut self, effort: Effort) -> Result<Vec<(String, Figure)>> {
        let clock = clock_cost();
        let steps = self.service.steps();
        let mut figures = vec![Vec::new(); steps.len() + 1];
        self.rig.splits = true;
        for _ in 0..effort.rounds {
            let mut sums = vec![(Duration::ZERO, 0); steps.len()];
            let mut timers = Duration::ZERO;
            for _ in 0..effort.bursts * steps.len() {
                let cohort = self.cohorts.get(self.turn).context("no cohort")?;
                let step = cohort.1 % steps.len();
                let took = self.step()?;
                let sum = sums.get_mut(step).context("no step")?;
                sum.0 += self.rig.walked.saturating_sub(clock);
                sum.1 += 1;
                // The clock was read inside, too.
                timers += took.saturating_sub(self.rig.walked + clock);
            }
            let timers = per_packet(timers, effort.bursts * BURST);
            let each = sums
                .iter()
                .map(|(sum, turns)| per_packet(*sum, turns * BURST));
            for (figure, ns) in figures.iter_mut().zip(each.chain([timers])) {
                figure.push(ns);
            }
        }
        self.rig.splits = false;
        let names = steps
            .iter()
            .map(|(side, kind)| format!("{side:?} {kind:?}"));
        let names = names.chain(["timers".to_owned()]);
        let figures = figures.into_iter().map(Figure::new);
        Ok(names.zip(figures).collect())
    }

    /// Fails unless every session was opened and closed as it should.
    pub(crate) fn verify(&self) -> Result<()> {
        let counters = self.rig.director.counters();
        let closed = counters.get(Counter::SessionClosed);
        let opened = counters.get(Counter::SessionOpened);
        let (ended, begun) = (self.ended, u64::from(self.next_client));
        ensure!(
            closed >= ended && closed <= opened && opened <= begun,
            "of {begun} sessions {opened} were opened and {closed} closed, {ended} at the least expected"
        );
        let expired = counters.get(Counter::SessionExpired);
        ensure!(
            expired == 0,
            "{expired} sessions expired before they were closed"
        );
        let (count, capacity) = (
            self.rig.director.session_count(),
            self.rig.director.session_capacity(),
        );
        ensure!(count < capacity, "the table is full: {count}");
        Ok(())
    }

    fn begin(&mut self) -> Cohort {
        let first = self.next_client;
        self.next_client += BURST as u32;
        let port = self.service.port();
        (first..self.next_client)
            .map(|number| Connection::new(passer_by(number), port))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_both_services_begin_end_and_make_room() {
        for service in Service::ALL {
            let mut lives = Lives::new(3_000, service).unwrap();
            for _ in 0..100 * lives.steps() {
                lives.step().unwrap();
            }
            lives.verify().unwrap();
            assert!(lives.ended > 6_000, "{}", lives.ended);
        }
    }
}
