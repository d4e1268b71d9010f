//! What it costs two workers to hand frames over, to be woken for one, and to publish counters.
//!
//! `hand_off [--json]`: two threads on two cores, medians of interleaved rounds. The rings and the
//! boards are the daemon's own modules.

#[path = "../src/board.rs"]
mod board;
#[path = "../src/doorbell.rs"]
mod doorbell;
#[path = "../src/handoff.rs"]
mod handoff;

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netmap_io::{Frame, FramePool, WaitSet};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use weir_model::{PortId, WorkerId};

use crate::board::Board;
use crate::doorbell::Doorbell;
use crate::handoff::HandOff;

const ROUNDS: usize = 9;
const BURST: usize = 64;
/// The words that a worker with two ports publishes.
const WORDS: usize = 120;

fn main() -> Result<()> {
    let cores = cores()?;
    let (Some(&first), Some(&second)) = (cores.first(), cores.get(1)) else {
        anyhow::bail!("two workers need two cores, and there is one");
    };
    let cores = (first, second);
    let mut rows: Vec<Row> = Vec::new();
    for _ in 0..ROUNDS {
        let mut row =
            |name: &'static str, figure: f64| match rows.iter_mut().find(|row| row.name == name) {
                Some(row) => row.rounds.push(figure),
                None => rows.push(Row {
                    name,
                    rounds: vec![figure],
                }),
            };
        row("a line, there and back", ping_pong(cores));
        row("64 B, one thread (no transfer)", alone(64)?);
        row("64 B, to another core", across(cores, 64)?);
        row("1514 B, one thread (no transfer)", alone(1514)?);
        row("1514 B, to another core", across(cores, 1514)?);
        row("64 B, to a worker that sleeps", asleep(cores)?);
        row("look into 1 empty ring", look(2)?);
        row("look into 15 empty rings", look(16)?);
        row("look into 63 empty rings", look(64)?);
        row("publish a board, alone", publish(cores, false, 0));
        row("publish a board, beside another", publish(cores, true, 0));
        row("the same, boards far apart", publish(cores, true, 4096));
        row("read a board that is published", read(cores));
    }
    let json = std::env::args().any(|word| word == "--json");
    for row in &mut rows {
        row.print(json);
    }
    Ok(())
}

struct Row {
    name: &'static str,
    rounds: Vec<f64>,
}

impl Row {
    #[expect(clippy::print_stdout, reason = "its purpose")]
    fn print(&mut self, json: bool) {
        self.rounds.sort_by(f64::total_cmp);
        let least = self.rounds.first().copied().unwrap_or_default();
        let most = self.rounds.last().copied().unwrap_or_default();
        let median = self.rounds.get(ROUNDS / 2).copied().unwrap_or_default();
        let name = self.name;
        if json {
            println!(
                "{{\"name\":\"{name}\",\"ns\":{median:.1},\"least\":{least:.1},\"most\":{most:.1}}}"
            );
        } else {
            println!("{name:<36}{median:>9.1} ns  [{least:.1}..{most:.1}]");
        }
    }
}

/// A value that two cores pass to each other: what one transfer of a line costs, twice.
fn ping_pong(cores: (usize, usize)) -> f64 {
    #[repr(align(128))]
    struct Line(AtomicU64);
    const TURNS: u32 = 200_000;
    let line = Line(AtomicU64::new(0));
    let (ours, ()) = both(
        cores,
        || {
            let begin = Instant::now();
            for turn in 0..u64::from(TURNS) {
                line.0.store(2 * turn + 1, Ordering::Release);
                while line.0.load(Ordering::Acquire) != 2 * turn + 2 {
                    std::hint::spin_loop();
                }
            }
            nanos_each(begin, TURNS)
        },
        || {
            for turn in 0..u64::from(TURNS) {
                while line.0.load(Ordering::Acquire) != 2 * turn + 1 {
                    std::hint::spin_loop();
                }
                line.0.store(2 * turn + 2, Ordering::Release);
            }
        },
    );
    ours
}

/// Push and pop by one thread: the copies and the bookkeeping, and no line changes its core.
fn alone(len: usize) -> Result<f64> {
    const BURSTS: u32 = 4_000;
    let (mut from, mut to) = pair()?;
    let mut ours = pool()?;
    let mut theirs = pool()?;
    let frame = frame(&mut ours, len)?;
    let begin = Instant::now();
    for _ in 0..BURSTS {
        for _ in 0..BURST {
            ensure!(
                from.push(WorkerId(1), PortId(0), &frame),
                "the ring is full"
            );
        }
        from.ring_bells();
        let mut frames: [Option<Frame>; BURST] = [const { None }; BURST];
        for slot in &mut frames {
            *slot = to.pop(0, &mut theirs).map(|(_, frame)| frame);
        }
        for frame in frames.into_iter().flatten() {
            black_box(frame.bytes().first());
            theirs.free(frame);
        }
    }
    let took = nanos_each(begin, BURSTS * BURST as u32);
    ours.free(frame);
    Ok(took)
}

/// One core pushes, the other pops: time for each frame, of whichever is the slower.
fn across(cores: (usize, usize), len: usize) -> Result<f64> {
    const FRAMES: u32 = 400_000;
    let (mut from, mut to) = pair()?;
    let push = move || -> Result<f64> {
        let mut pool = pool()?;
        let frame = frame(&mut pool, len)?;
        let begin = Instant::now();
        let mut sent = 0;
        while sent < FRAMES {
            for _ in 0..BURST {
                sent += u32::from(from.push(WorkerId(1), PortId(0), &frame));
            }
            from.ring_bells();
        }
        pool.free(frame);
        Ok(nanos_each(begin, sent))
    };
    let pop = move || -> Result<()> {
        let mut pool = pool()?;
        let mut seen = 0;
        while seen < FRAMES {
            let mut frames: [Option<Frame>; BURST] = [const { None }; BURST];
            for slot in &mut frames {
                let Some((_, frame)) = to.pop(0, &mut pool) else {
                    break;
                };
                *slot = Some(frame);
            }
            for frame in frames.into_iter().flatten() {
                black_box(frame.bytes().first());
                pool.free(frame);
                seen += 1;
            }
        }
        Ok(())
    };
    let (took, popped) = both(cores, push, pop);
    popped?;
    took
}

/// Two workers hand one frame to each other, and sleep in between: half of there and back, which is
/// a copy, a bell, and the kernel's way to another core.
fn asleep(cores: (usize, usize)) -> Result<f64> {
    const TURNS: u32 = 2_000;
    let bells = bells(2)?;
    let mut ends = handoff::connect(&bells);
    let (Some(theirs), Some(ours), [our_bell, their_bell]) =
        (ends.pop(), ends.pop(), bells.as_slice())
    else {
        anyhow::bail!("no worker");
    };
    let mut here = Sleeper::new(ours, our_bell, WorkerId(1))?;
    let mut there = Sleeper::new(theirs, their_bell, WorkerId(0))?;
    let (took, answered) = both(
        cores,
        || -> Result<f64> {
            let first = frame(&mut here.pool, 64)?;
            let begin = Instant::now();
            let mut next = first;
            for _ in 0..TURNS {
                here.hand_over(next)?;
                next = here.sleep()?;
            }
            let took = nanos_each(begin, 2 * TURNS);
            here.pool.free(next);
            Ok(took)
        },
        || -> Result<()> {
            for _ in 0..TURNS {
                let frame = there.sleep()?;
                there.hand_over(frame)?;
            }
            Ok(())
        },
    );
    answered?;
    took
}

/// A worker that does nothing but hand back what it is handed.
struct Sleeper {
    end: HandOff,
    bell: Arc<Doorbell>,
    set: WaitSet,
    pool: FramePool,
    peer: WorkerId,
}

impl Sleeper {
    fn new(end: HandOff, bell: &Arc<Doorbell>, peer: WorkerId) -> Result<Self> {
        Ok(Self {
            end,
            bell: bell.clone(),
            set: WaitSet::new([bell.raw_fd()]),
            pool: pool()?,
            peer,
        })
    }

    fn hand_over(&mut self, frame: Frame) -> Result<()> {
        let pushed = self.end.push(self.peer, PortId(0), &frame);
        ensure!(pushed, "the ring is full");
        self.end.ring_bells();
        self.pool.free(frame);
        Ok(())
    }

    /// Sleeps until a frame is there, in the daemon's order of steps.
    fn sleep(&mut self) -> Result<Frame> {
        loop {
            self.bell.before_sleep();
            let waiting = self.end.is_waiting();
            let rung = !waiting && self.set.wait(Duration::from_secs(1))?;
            self.bell.after_sleep(rung);
            if let Some((_, frame)) = self.end.pop(0, &mut self.pool) {
                return Ok(frame);
            }
            // Of a frame that is waiting the last bytes may still be on their way.
            ensure!(waiting || rung, "nobody handed anything over");
        }
    }
}

/// What a turn of a worker costs that finds nothing in the rings of all the others.
fn look(workers: usize) -> Result<f64> {
    const TURNS: u32 = 20_000;
    let bells = bells(workers)?;
    let mut ends = handoff::connect(&bells);
    let mut end = ends.pop().context("no worker")?;
    let mut pool = pool()?;
    let begin = Instant::now();
    for _ in 0..TURNS {
        for source in 0..end.sources() {
            black_box(end.pop(source, &mut pool));
        }
    }
    Ok(nanos_each(begin, TURNS))
}

/// Publishes one worker's board again and again while another one does the same with its own.
fn publish(cores: (usize, usize), beside: bool, apart: usize) -> f64 {
    const TURNS: u32 = 100_000;
    // As the daemon makes them: one after the other.
    let boards = [0, apart].map(|between| {
        let between = vec![0_u8; between];
        let board = Arc::new(Board::new(WORDS));
        (board, between)
    });
    let stop = AtomicBool::new(false);
    let [(ours, _), (theirs, _)] = &boards;
    let write = |board: &Board, turn: u64| board.write((0..WORDS as u64).map(|word| word ^ turn));
    let (took, ()) = both(
        cores,
        || {
            let begin = Instant::now();
            for turn in 0..u64::from(TURNS) {
                write(ours, black_box(turn));
            }
            let took = nanos_each(begin, TURNS);
            stop.store(true, Ordering::Relaxed);
            took
        },
        || {
            let mut turn = 0;
            while beside && !stop.load(Ordering::Relaxed) {
                write(theirs, black_box(turn));
                turn += 1;
            }
        },
    );
    took
}

/// Reads a board, as control does, while a worker publishes it again and again.
fn read(cores: (usize, usize)) -> f64 {
    const TURNS: u32 = 20_000;
    let board = Board::new(WORDS);
    let stop = AtomicBool::new(false);
    let (took, ()) = both(
        cores,
        || {
            let begin = Instant::now();
            for _ in 0..TURNS {
                black_box(board.read());
            }
            let took = nanos_each(begin, TURNS);
            stop.store(true, Ordering::Relaxed);
            took
        },
        || {
            let mut turn = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                board.write((0..WORDS as u64).map(|word| word ^ turn));
                turn += 1;
                // A worker, too, does something else between two writes.
                (0..100).for_each(|_| std::hint::spin_loop());
            }
        },
    );
    took
}

fn nanos_each(begin: Instant, times: u32) -> f64 {
    begin.elapsed().as_secs_f64() * 1e9 / f64::from(times)
}

/// Runs two closures on two cores, which begin together.
fn both<A: Send, B: Send>(
    cores: (usize, usize),
    first: impl FnOnce() -> A + Send,
    second: impl FnOnce() -> B + Send,
) -> (A, B) {
    let barrier = Barrier::new(2);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            pin(cores.1);
            barrier.wait();
            second()
        });
        let one = scope.spawn(|| {
            pin(cores.0);
            barrier.wait();
            first()
        });
        match (one.join(), other.join()) {
            (Ok(first), Ok(second)) => (first, second),
            (Err(panic), _) | (_, Err(panic)) => std::panic::resume_unwind(panic),
        }
    })
}

fn pair() -> Result<(HandOff, HandOff)> {
    let mut ends = handoff::connect(&bells(2)?);
    let second = ends.pop().context("no worker")?;
    Ok((ends.pop().context("no worker")?, second))
}

fn bells(count: usize) -> Result<Vec<Arc<Doorbell>>> {
    let bells = (0..count).map(|_| Doorbell::new().map(Arc::new));
    bells.collect::<Result<_, _>>().context("no doorbell")
}

fn pool() -> Result<FramePool> {
    FramePool::with_umem(512, FramePool::CHUNK_LEN).context("no packet memory")
}

fn frame(pool: &mut FramePool, len: usize) -> Result<Frame> {
    let mut frame = pool.alloc(FramePool::UMEM).context("no frame")?;
    frame.set_range(0..len);
    frame.bytes_mut().fill(7);
    Ok(frame)
}

fn cores() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0)).context("cannot ask for the cores")?;
    let all = 0..CpuSet::count();
    Ok(all
        .filter(|cpu| set.is_set(*cpu).unwrap_or(false))
        .collect())
}

fn pin(core: usize) {
    let mut set = CpuSet::new();
    if set.set(core).is_ok() {
        // Without it the figures are worse, and no less true.
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}
