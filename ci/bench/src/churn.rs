//! No step in latency: a table that is nine tenths full, where new sessions take the place of old
//! ones without end, and the longest that any turn of the worker took.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::time::{ClockId, clock_gettime};
use weir_model::{DropReason, Verdict};
use weir_rig::{LAN, PLAIN, WAN};
use weir_testkit::Random;

use crate::arena::{Arena, BURST};
use crate::connection::{Connection, Side, passer_by};
use crate::flows::{Flows, Transport};
use crate::frames::{Kind, Templates, read};
use crate::rig::Rig;

/// Sessions that begin in a burst, and as many that end.
const NEW: usize = 8;
/// The share of the table that lives. Those that were reset are remembered for 3 s besides.
const LIVING: f64 = 0.85;
const REMEMBERED: f64 = 0.05;
const CLOSE: Duration = Duration::from_secs(3);
/// Turns that took longer are told apart.
const LONG: Duration = Duration::from_micros(50);
/// Passes at most.
const PASSES: usize = 5;
/// The longest that a turn may take.
pub(crate) const BOUND: Duration = Duration::from_micros(200);

/// What a run found.
pub(crate) struct Churn {
    pub(crate) turns: u64,
    pub(crate) sessions: u64,
    /// Turns during which the kernel took the core away; their time says nothing.
    pub(crate) switched: usize,
    pub(crate) median: Duration,
    pub(crate) most_of_10k: Duration,
    /// The longest turn of all.
    pub(crate) worst: Duration,
    /// The shortest time that the worst of turns took in any pass: the machine may hold any turn up
    /// once, but what Weir does takes its time whenever it is done again.
    pub(crate) worst_again: Duration,
    /// Which turn that was, so that it can be looked into; none took long.
    pub(crate) worst_turn: Option<u64>,
}

/// Times of turns.
struct Times {
    /// Turns by their time in steps of 100 ns, the last for all above.
    steps: Vec<u64>,
    /// The turns that took long, by their number.
    long: HashMap<u64, Duration>,
    worst: Duration,
    turns: u64,
    switched: HashSet<u64>,
}

/// Runs the same turns twice, each time for half of `time`; the second pass ends with the first's
/// last turn. While a turn takes longer than it may in every pass there is another one.
pub(crate) fn measure(capacity: u32, time: Duration) -> Result<Churn> {
    let end = Instant::now() + time / 2;
    let mut run = Run::new(capacity)?;
    let mut first = Times::new();
    while first.turns < 1000 || Instant::now() < end {
        run.turn(&mut first)?;
    }
    let sessions = run.begun;
    drop(run);
    let mut again = first.long.clone();
    for pass in 1..PASSES {
        let mut run = Run::new(capacity)?;
        let mut times = Times::new();
        while times.turns < first.turns {
            run.turn(&mut times)?;
        }
        ensure!(run.begun == sessions, "pass {pass} was another one");
        again.retain(|turn, least| match times.long.get(turn) {
            Some(time) => {
                *least = (*least).min(*time);
                true
            }
            // Without its time nothing is known against it.
            None => times.switched.contains(turn),
        });
        if again.values().all(|time| *time < BOUND) {
            break;
        }
    }
    let worst = again.iter().map(|(turn, time)| (*time, *turn)).max();
    Ok(Churn {
        turns: first.turns,
        sessions,
        switched: first.switched.len(),
        median: first.at(0.5),
        most_of_10k: first.at(0.9999),
        worst: first.worst,
        worst_again: worst.map_or_else(|| LONG.min(first.worst), |(time, _)| time),
        worst_turn: worst.map(|(_, turn)| turn),
    })
}

struct Run {
    rig: Rig,
    arena: Arena,
    templates: Templates,
    flows: Flows,
    random: Random,
    /// Those who have sent their SYN, and those who have got their SYN-ACK.
    asking: Vec<Connection>,
    answered: Vec<Connection>,
    begun: u64,
    pace: Duration,
}

impl Run {
    fn new(capacity: u32) -> Result<Self> {
        let mut rig = Rig::new(capacity, 0, 1)?;
        let (mut arena, templates) = (Arena::new(), Templates::new());
        let mut flows = Flows::new(Transport::Tcp);
        let living = f64::from(capacity) * LIVING;
        flows.open(&mut rig, &mut arena, &templates, living as u32)?;
        let turns = f64::from(capacity) * REMEMBERED / NEW as f64;
        let mut run = Self {
            rig,
            arena,
            templates,
            flows,
            random: Random::new(3),
            asking: Vec::new(),
            answered: Vec::new(),
            begun: 0,
            pace: CLOSE.div_f64(turns),
        };
        // Until as many are remembered as will be.
        let mut none = Times::new();
        while none.turns < turns as u64 + 10 {
            run.turn(&mut none)?;
        }
        Ok(run)
    }

    /// One turn: new sessions begin, those of the turns before go on, old ones end, others talk.
    fn turn(&mut self, times: &mut Times) -> Result<()> {
        let Self {
            arena,
            templates,
            random,
            flows,
            ..
        } = self;
        arena.clear();
        let mut new: Vec<Connection> = (0..NEW as u32)
            .map(|at| Connection::new(passer_by(self.begun as u32 + at), PLAIN))
            .collect();
        self.begun += NEW as u64;
        for connection in &mut new {
            connection.send(arena, templates, Side::Client, Kind::Syn)?;
        }
        for connection in &mut self.asking {
            connection.send(arena, templates, Side::Real, Kind::SynAck)?;
        }
        for connection in &mut self.answered {
            connection.send(arena, templates, Side::Client, Kind::Data)?;
        }
        for _ in 0..self.answered.len() {
            let old = random.below(flows.all.len() as u64) as usize;
            let mut old = flows.all.swap_remove(old);
            old.send(arena, templates, Side::Client, Kind::Rst)?;
        }
        let first_data = NEW + self.asking.len() + 2 * self.answered.len();
        for at in first_data..BURST {
            let side = if at.is_multiple_of(2) {
                Side::Client
            } else {
                Side::Real
            };
            flows.add_data(arena, templates, random, side)?;
        }

        let mut packets = arena.packets();
        let switches = context_switches()?;
        let start = cpu_time()?;
        self.rig.turn(&mut packets, self.pace, &mut |_, _| ());
        let took = cpu_time()?.saturating_sub(start);
        times.add(took, context_switches()? != switches);

        for (packet, connection) in packets.iter().zip(&mut new) {
            let verdict = packet.verdict;
            ensure!(verdict == Verdict::Forward(LAN), "SYN: {verdict:?}");
            connection.meet_real(&read(packet.frame.bytes())?)?;
        }
        for packet in &packets {
            let verdict = packet.verdict;
            // Data may come for a session of which the other end has told nothing yet.
            let sent = matches!(verdict, Verdict::Forward(LAN | WAN));
            let full = verdict == Verdict::Drop(DropReason::TableFull);
            ensure!(sent && !full, "{verdict:?}");
        }
        self.flows.all.append(&mut self.answered);
        self.answered = std::mem::replace(&mut self.asking, new);
        Ok(())
    }
}

impl Times {
    fn new() -> Self {
        Self {
            steps: vec![0; 10_000],
            long: HashMap::new(),
            worst: Duration::ZERO,
            turns: 0,
            switched: HashSet::new(),
        }
    }

    fn add(&mut self, took: Duration, switched: bool) {
        self.turns += 1;
        if switched {
            self.switched.insert(self.turns);
            return;
        }
        if took >= LONG {
            self.long.insert(self.turns, took);
        }
        self.worst = self.worst.max(took);
        let step = (took.as_nanos() / 100) as usize;
        let last = self.steps.len() - 1;
        if let Some(count) = self.steps.get_mut(step.min(last)) {
            *count += 1;
        }
    }

    /// Returns the time below which a share of the turns lies.
    fn at(&self, share: f64) -> Duration {
        let all: u64 = self.steps.iter().sum();
        let wanted = (all as f64 * share) as u64;
        let mut sum = 0;
        let step = self.steps.iter().position(|count| {
            sum += count;
            sum > wanted
        });
        Duration::from_nanos(100 * (step.unwrap_or(self.steps.len()) as u64 + 1))
    }
}

fn cpu_time() -> Result<Duration> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID);
    Ok(time.context("cannot read the thread's clock")?.into())
}

fn context_switches() -> Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD).context("cannot read the thread's usage")?;
    Ok(usage.voluntary_context_switches() + usage.involuntary_context_switches())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_passes_of_a_churn_are_the_same_turns() {
        let churn = measure(4_000, Duration::from_millis(200)).unwrap();
        assert!(churn.turns >= 1000);
        assert!(churn.sessions >= 8 * churn.turns);
        assert!(churn.median <= churn.most_of_10k);
        assert!(churn.worst_again <= churn.worst);
    }

    #[test]
    fn shares_of_turns_are_found_and_switched_ones_left_out() {
        let mut times = Times::new();
        for us in 1..=99 {
            times.add(Duration::from_micros(us), false);
        }
        times.add(Duration::from_secs(1), true);
        assert_eq!(times.at(0.5).as_micros(), 50);
        assert_eq!(times.worst, Duration::from_micros(99));
        assert_eq!(
            (times.turns, times.switched.len(), times.long.len()),
            (100, 1, 50)
        );
    }
}
