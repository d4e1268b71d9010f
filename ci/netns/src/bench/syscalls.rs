//! What a worker asks of the kernel while packets flow: counted by the kernel's own trace.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};

use super::Bench;
use super::floods::{self, PACE};
use super::middle::{Job, Middle, Running};
use super::table::{Series, Target};
use crate::Lab;
use crate::command::{run, words};
use crate::inside::flood::Burst;
use crate::scenario::DRIVERS;

/// Calls that hand frames over, and the names that people know them by.
const KICKS: [(i64, &str); 5] = [
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_sendmmsg, "sendmmsg"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmsg, "recvmsg"),
];
/// Calls that wait for frames.
const WAITS: [(i64, &str); 2] = [
    (libc::SYS_ppoll, "ppoll"),
    (libc::SYS_epoll_pwait, "epoll_pwait"),
];
/// A worker looks at its doorbell and its statistics now and then, whatever flows.
const ALLOWED: f64 = 0.001;

pub(super) fn run_all(bench: &mut Bench) -> Result<()> {
    let lab = Lab::for_floods(1)?;
    for driver in DRIVERS {
        let middle = Middle::Weir(driver);
        if !bench.wants(&middle.name(Job::Forward)) {
            continue;
        }
        let (mut kicks, mut waits, mut others) =
            (Series::default(), Series::default(), Series::default());
        let mut seen = BTreeMap::new();
        for _ in 0..bench.rounds() {
            let running = middle.start(bench, &lab, Job::Forward)?;
            let Running::Weir(weir) = &running else {
                bail!("{middle:?} is not Weir");
            };
            let threads = weir.worker_threads()?;
            let _kept = bench.cores.keep_clear_of_weir()?;
            let burst = Burst {
                after_ms: 20,
                rate: PACE,
                ms: 1_000,
            };
            let flood =
                |bursts: &[Burst]| floods::flood(bench, &lab, Job::Forward, &running, bursts);
            lab.flood_apart(flood(&[burst])?)?;
            let trace = Trace::start(&threads)?;
            let reports = lab.flood_apart(flood(&[burst])?)?;
            let calls = trace.finish()?;
            let packets: u64 = reports.iter().map(|report| report.forwarded).sum();
            ensure!(packets > 0, "nothing was forwarded");
            let count = |known: &[(i64, &str)]| -> u64 {
                let known = known.iter().filter_map(|(number, _)| calls.get(number));
                known.sum()
            };
            let all: u64 = calls.values().sum();
            let (kicked, waited) = (count(&KICKS), count(&WAITS));
            kicks.push(per(kicked, packets));
            waits.push(per(waited, packets));
            others.push(per(all - kicked - waited, packets));
            for (number, times) in calls {
                *seen.entry(number).or_insert(0) += times;
            }
            running.stop()?;
        }
        let name = |what| format!("system calls: weir {driver}, {what}");
        let table = &mut bench.table;
        table.add(
            &name("ring kicks"),
            "/packet",
            &kicks,
            None,
            &list(&seen, &KICKS),
        );
        table.add(
            &name("waits"),
            "/packet",
            &waits,
            None,
            &list(&seen, &WAITS),
        );
        let rest: BTreeMap<i64, u64> = seen
            .into_iter()
            .filter(|(number, _)| {
                let mut known = KICKS.iter().chain(&WAITS);
                !known.any(|(kick, _)| kick == number)
            })
            .collect();
        let note = if rest.is_empty() {
            String::new()
        } else {
            format!("by number and times: {rest:?}")
        };
        table.add(
            &name("others"),
            "/packet",
            &others,
            Some(Target::AtMost(ALLOWED)),
            &note,
        );
    }
    Ok(())
}

/// Names the calls that were seen, and how often.
fn list(seen: &BTreeMap<i64, u64>, known: &[(i64, &str)]) -> String {
    let named = known.iter().filter_map(|(number, name)| {
        let times = seen.get(number)?;
        Some(format!("{name} {times}"))
    });
    named.collect::<Vec<_>>().join(", ")
}

/// The kernel's trace of the system calls of some threads, in an instance of its own.
#[derive(Debug)]
struct Trace {
    name: String,
}

impl Trace {
    fn start(threads: &[i32]) -> Result<Self> {
        let trace = Self {
            name: format!("weir-{}", std::process::id()),
        };
        let filter: Vec<String> = threads
            .iter()
            .map(|thread| format!("common_pid == {thread}"))
            .collect();
        let filter = filter.join(" || ");
        trace.script(&format!(
            "mkdir $I && cd $I && echo 16384 > buffer_size_kb && cd events/raw_syscalls/sys_enter \
             && echo '{filter}' > filter && echo 1 > enable"
        ))?;
        Ok(trace)
    }

    /// Returns how often each call was made, by its number.
    fn finish(self) -> Result<BTreeMap<i64, u64>> {
        let text =
            self.script("cd $I && echo 0 > events/raw_syscalls/sys_enter/enable && cat trace")?;
        read(&text)
    }

    /// Runs a script where the trace file system is mounted, for the script alone if need be.
    fn script(&self, script: &str) -> Result<String> {
        let whole = format!(
            "T=/sys/kernel/tracing; [ -d $T/events ] || mount -t tracefs nodev $T || exit 1; \
             I=$T/instances/{}; {script}",
            self.name
        );
        run(words("unshare -m sh -c").arg(whole))
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Err(error) = self.script("rmdir $I") {
            eprintln!("lab: cannot remove the trace: {error:#}");
        }
    }
}

/// Counts the calls of a trace.
fn read(text: &str) -> Result<BTreeMap<i64, u64>> {
    let mut calls = BTreeMap::new();
    for line in text.lines() {
        if let Some((_, kept)) = line.split_once("entries-in-buffer/entries-written: ") {
            let kept = kept.split_whitespace().next().unwrap_or_default();
            let (kept, written) = kept.split_once('/').context("no such trace")?;
            ensure!(kept == written, "the trace holds {kept} of {written} calls");
        }
        let Some((_, call)) = line.split_once("sys_enter: NR ") else {
            continue;
        };
        let number = call.split_whitespace().next().and_then(|n| n.parse().ok());
        *calls
            .entry(number.context("a call without a number")?)
            .or_insert(0) += 1;
    }
    Ok(calls)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "calls and packets of a second are far below 2^52"
)]
fn per(calls: u64, packets: u64) -> f64 {
    calls as f64 / packets as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_a_trace_are_counted_and_a_trace_with_gaps_is_refused() {
        let text = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 3/3   #P:2\n\
             worker-0-77 [001] ..... 1.5: sys_enter: NR 44 (5, 0, 0, 40, 0, 0)\n\
             worker-0-77 [001] ..... 1.6: sys_enter: NR 271 (7f, 2, 0, 0, 0, 0)\n\
             worker-0-77 [001] ..... 1.7: sys_enter: NR 44 (5, 0, 0, 40, 0, 0)\n";
        assert_eq!(read(text).unwrap(), BTreeMap::from([(44, 2), (271, 1)]));
        assert!(read(&text.replace("3/3", "3/9")).is_err());
    }
}
