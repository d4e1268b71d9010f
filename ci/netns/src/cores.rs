//! Which core does what while something is measured.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// The two cores of a measurement; the same one twice where there is only one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cores {
    /// Weir's worker, or the kernel's part in its place.
    pub weir: usize,
    /// Everything else: the generator, clients and real servers.
    pub others: usize,
}

impl Cores {
    /// Picks the cores of this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            weir: usize::from(cores > 1),
            others: 0,
        }
    }

    /// Puts this thread, and whatever it starts, on the core for everything but Weir.
    ///
    /// # Errors
    /// When the core is not this process's to use.
    pub fn keep_clear_of_weir(self) -> Result<Kept> {
        keep_to(self.others)
    }
}

/// Puts this thread, and whatever it starts, on a core.
///
/// # Errors
/// When the core is not this process's to use.
pub fn keep_to(core: usize) -> Result<Kept> {
    let before = sched_getaffinity(Pid::from_raw(0)).context("cannot read the CPU affinity")?;
    move_to(0, core)?;
    Ok(Kept { before })
}

/// Puts a thread on a core; 0 is this thread.
///
/// # Errors
/// When the core is not there, or not the thread's to use.
pub fn move_to(thread: i32, core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core).context("no such core")?;
    sched_setaffinity(Pid::from_raw(thread), &set)
        .with_context(|| format!("cannot move to core {core}"))
}

/// What the load balancer costs while something is measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Watch {
    /// Its core.
    pub core: usize,
    /// Its processes and those kernel threads that poll its devices.
    pub pids: Vec<i32>,
}

/// What it has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// CPU time of the processes and threads, in nanoseconds: interrupts and the kernel's work on
    /// their behalf are in it, other programs that happen to get a turn on the core are not.
    pub threads_ns: u64,
    /// The time that the core was not idle, whoever had it.
    pub core_ns: u64,
}

impl Cost {
    /// Returns the share of the core's busy time that others had.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "nanoseconds of seconds are far below 2^52"
    )]
    pub fn foreign(self) -> f64 {
        let others = self.core_ns.saturating_sub(self.threads_ns);
        others as f64 / self.core_ns.max(1) as f64
    }
}

/// A measurement that has begun.
#[derive(Clone, Debug)]
pub struct Watching {
    watch: Watch,
    started: Instant,
    idle_ns: u64,
    threads_ns: u64,
}

impl Watch {
    /// Starts to measure.
    ///
    /// # Errors
    /// When a process has ended, or the kernel does not tell the idle time of its cores
    /// (`/proc/timer_list`, as root).
    pub fn start(&self) -> Result<Watching> {
        let (started, idle_ns) = read(self.core)?;
        Ok(Watching {
            threads_ns: self.threads_ns()?,
            watch: self.clone(),
            started,
            idle_ns,
        })
    }

    /// Adds up the CPU time of the processes so far.
    fn threads_ns(&self) -> Result<u64> {
        let times = self.pids.iter().map(|pid| {
            let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(*pid));
            let time = clock.and_then(clock_gettime);
            let time = Duration::from(time.with_context(|| format!("process {pid} has ended"))?);
            Ok(time.as_nanos() as u64)
        });
        times.sum()
    }
}

impl Watching {
    /// Returns what was spent since the start.
    ///
    /// # Errors
    /// As [`Watch::start`].
    pub fn cost(&self) -> Result<Cost> {
        let threads_ns = self.watch.threads_ns()?;
        let (now, idle_ns) = read(self.watch.core)?;
        let elapsed = now.duration_since(self.started).as_nanos() as u64;
        Ok(Cost {
            threads_ns: threads_ns.saturating_sub(self.threads_ns),
            core_ns: elapsed.saturating_sub(idle_ns.saturating_sub(self.idle_ns)),
        })
    }
}

/// Reads a core's idle time from that core itself: of a core that sleeps, the kernel only knows how
/// long it slept before.
fn read(core: usize) -> Result<(Instant, u64)> {
    let _kept = keep_to(core)?;
    let text = fs::read_to_string("/proc/timer_list").context("cannot read /proc/timer_list")?;
    let idle = idle_ns(&text, core);
    let idle =
        idle.with_context(|| format!("/proc/timer_list says no idle time of core {core}"))?;
    Ok((Instant::now(), idle))
}

/// Finds the time that a core has slept, with and without someone waiting for a disk.
fn idle_ns(timer_list: &str, core: usize) -> Option<u64> {
    let head = format!("cpu: {core}");
    let mut lines = timer_list.lines().skip_while(|line| *line != head).skip(1);
    let lines: Vec<&str> = lines
        .by_ref()
        .take_while(|line| !line.starts_with("cpu: "))
        .collect();
    let figure = |key: &str| -> Option<u64> {
        let mut after = lines
            .iter()
            .filter_map(|line| line.trim().strip_prefix(key));
        after
            .next()?
            .trim_start_matches([' ', ':'])
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    Some(figure(".idle_sleeptime")? + figure(".iowait_sleeptime").unwrap_or_default())
}

/// Keeps this thread on its core; dropping it lets it go where it was allowed to be before.
pub struct Kept {
    before: CpuSet,
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kept")
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Err(errno) = sched_setaffinity(Pid::from_raw(0), &self.before) {
            eprintln!("lab: cannot leave the core: {}", errno.desc());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_spends_is_counted_to_it() {
        let watch = Watch {
            core: 0,
            pids: vec![std::process::id().cast_signed()],
        };
        let before = watch.threads_ns().unwrap();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let spent = watch.threads_ns().unwrap() - before;
        assert!(spent > 1_000_000, "{spent}");
        let nobody = Watch {
            core: 0,
            pids: vec![1 << 22],
        };
        assert!(nobody.threads_ns().is_err());
    }

    #[test]
    fn idle_time_of_the_core_in_question_is_read() {
        let text = "Timer List Version: v0.10\n\ncpu: 0\n  .idle_sleeptime : 7 nsecs\n  \
                    .iowait_sleeptime: 2 nsecs\ncpu: 1\n  .idle_sleeptime : 40 nsecs\n\nTick Device: mode: 1\n";
        assert_eq!(idle_ns(text, 0), Some(9));
        assert_eq!(idle_ns(text, 1), Some(40));
        assert_eq!(idle_ns(text, 2), None);
    }

    #[test]
    fn what_is_started_stays_on_the_core_until_it_is_left() {
        let cores = Cores::of_this_machine();
        let before = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let kept = cores.keep_clear_of_weir().unwrap();
        let text = crate::command::run(&mut crate::command::words(
            "grep Cpus_allowed_list /proc/self/status",
        ));
        assert_eq!(text.unwrap().split_whitespace().last(), Some("0"));
        drop(kept);
        assert_eq!(sched_getaffinity(Pid::from_raw(0)).unwrap(), before);
    }
}
