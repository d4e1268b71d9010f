//! Two workers on two cores beside one: each has its own director, and they share nothing.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::arena::BURST;
use crate::flows::Transport;
use crate::measure::{Effort, Figure};
use crate::stage::{Runner, Stage, Traffic};

/// What each worker walks, in turn.
const LOAD: [Traffic; 3] = [Traffic::Inbound, Traffic::Outbound, Traffic::Syn];
const WORKERS: u8 = 2;

/// What one worker alone and both at once handle.
pub(crate) struct Scaling {
    /// Million packets a second of one worker, each alone in turn.
    pub(crate) one: f64,
    /// Of both at once, in sum.
    pub(crate) two: f64,
    /// The second over the first, round by round.
    pub(crate) ratio: Figure,
}

/// When who runs: each alone, then both.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Turn {
    Alone(u8),
    Both,
}

/// Measures one worker and two on cores of their own, with so many sessions each.
pub(crate) fn measure(effort: Effort, sessions: u32) -> Result<Scaling> {
    let cores = cores()?;
    let &[first, second, ..] = cores.as_slice() else {
        bail!("two workers need two cores, and there is one");
    };
    let barrier = Barrier::new(2);
    let (ours, theirs) = thread::scope(|scope| {
        let other = scope.spawn(|| work(effort, sessions, 1, second, &barrier));
        let ours = work(effort, sessions, 0, first, &barrier);
        let theirs = other.join().map_err(|_| anyhow!("a worker panicked"));
        (ours, theirs)
    });
    let (ours, theirs) = (ours?, theirs??);
    let mut alone = Vec::new();
    let mut both = Vec::new();
    let mut ratios = Vec::new();
    for ((our_alone, our_both), (their_alone, their_both)) in ours.into_iter().zip(theirs) {
        let one = f64::midpoint(our_alone, their_alone);
        let two = our_both + their_both;
        alone.push(one);
        both.push(two);
        ratios.push(two / one);
    }
    Ok(Scaling {
        one: Figure::new(alone).median(),
        two: Figure::new(both).median(),
        ratio: Figure::new(ratios),
    })
}

/// Returns the rate alone and beside the other one, in million packets a second, of each round.
fn work(
    effort: Effort,
    sessions: u32,
    id: u8,
    core: usize,
    barrier: &Barrier,
) -> Result<Vec<(f64, f64)>> {
    let stage = pin(core).and_then(|()| Stage::of_worker(sessions, Transport::Tcp, id, WORKERS));
    // Whoever fails goes on meeting the other one, who would wait for ever.
    let mut failed = None;
    let mut stage = stage.map_err(|error| failed = Some(error)).ok();
    let mut rounds = Vec::new();
    for _ in 0..effort.rounds {
        let mut rates = [0.0; 2];
        for turn in [Turn::Alone(0), Turn::Alone(1), Turn::Both] {
            barrier.wait();
            if turn != Turn::Both && turn != Turn::Alone(id) {
                continue;
            }
            let Some(stage) = &mut stage else { continue };
            match rate(effort, stage) {
                Ok(rate) => rates[usize::from(turn == Turn::Both)] = rate,
                Err(error) => failed = Some(error),
            }
        }
        rounds.push((rates[0], rates[1]));
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(rounds),
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn rate(effort: Effort, stage: &mut Stage) -> Result<f64> {
    for _ in 0..effort.warm_up / LOAD.len() {
        for traffic in LOAD {
            stage.burst(traffic, Runner::Weir)?;
        }
    }
    let mut walked = Duration::ZERO;
    let bursts = effort.bursts / LOAD.len();
    for _ in 0..bursts {
        for traffic in LOAD {
            walked += stage.burst(traffic, Runner::Weir)?;
        }
    }
    let packets = bursts * LOAD.len() * BURST;
    Ok(packets as f64 / walked.as_secs_f64() / 1e6)
}

fn cores() -> Result<Vec<usize>> {
    let ours = sched_getaffinity(Pid::from_raw(0)).context("cannot ask for our cores")?;
    let cores = (0..CpuSet::count()).filter(|core| ours.is_set(*core).unwrap_or(false));
    Ok(cores.collect())
}

fn pin(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core)?;
    sched_setaffinity(Pid::from_raw(0), &cores)
        .with_context(|| format!("cannot move to core {core}"))
}
