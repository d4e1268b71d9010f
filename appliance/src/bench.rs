//! `weir bench`: what this machine can do, measured on cores that have nothing else to do.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail, ensure};
use weir_control::{Filter, What, WorkerRow};

use crate::bench::rig::{BURST, Rig, Step};
use crate::capacity::{self, Capacity};
use crate::daemon::machine;
use crate::show;

#[cfg(test)]
mod beside;
mod frames;
mod rig;

/// More than a core's caches hold, and no more than can be opened in a second.
const SESSIONS: u32 = 1 << 18;
/// How long a session is remembered after both ends have closed, at most.
const REMEMBERED: Duration = Duration::from_secs(12);
/// A sample is the mean of so many bursts, or lives of a burst's connections; a figure is the median
/// of samples, so that what else ran on the core for a moment is not in it.
const A_SAMPLE: u32 = 32;

/// What is to be measured.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) cores: Option<Vec<u16>>,
    pub(crate) seconds: f64,
    pub(crate) json: bool,
    pub(crate) socket: Option<PathBuf>,
}

/// Measures, prints the figures and keeps them.
///
/// # Errors
/// When no core is free, something went wrong on the way, or the figures cannot be kept.
pub(crate) fn bench(order: &Order) -> Result<()> {
    let cores = match &order.cores {
        Some(cores) => cores.clone(),
        None => spare_cores(&order.workers()?, &machine::allowed_cpus()?)?,
    };
    let sessions = machine::sessions_per_worker(cores.len())?.min(SESSIONS);
    if !order.json {
        println!(
            "measuring on core {} for {:.0} s",
            machine::list(&cores),
            order.seconds
        );
    }
    let begun = Instant::now();
    let figures = on_all(&cores, sessions, Duration::from_secs_f64(order.seconds))?;
    let capacity = Capacity {
        measured: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cpu: capacity::cpu(),
        sessions: figures.iter().map(|one| one.sessions).min().unwrap_or(0),
        seconds: begun.elapsed().as_secs_f64(),
        cookies_per_s: mean(&figures, |figures| figures.cookies),
        packets_per_s: mean(&figures, |figures| figures.packets),
        sessions_per_s: mean(&figures, |figures| figures.lives),
        cores,
    };
    let path = capacity::path();
    let kept = capacity::write(&path, &capacity);
    let text = if order.json {
        serde_json::to_string(&capacity)? + "\n"
    } else {
        let mut text = table(&capacity);
        if kept.is_ok() {
            let _ = writeln!(
                text,
                "kept in {}; `weir show flood` says how much of it is in use",
                path.display()
            );
        }
        text
    };
    show::unless_closed(std::io::Write::write_all(
        &mut std::io::stdout(),
        text.as_bytes(),
    ))?;
    kept
}

impl Order {
    /// The cores of the running daemon's workers; none where no daemon runs.
    fn workers(&self) -> Result<Vec<u16>> {
        let mut client = match (show::connect(self.socket.as_deref()), &self.socket) {
            (Ok(client), _) => client,
            // Nobody said that there is one.
            (Err(_), None) => return Ok(Vec::new()),
            (Err(error), Some(_)) => return Err(error),
        };
        let rows: Vec<WorkerRow> = client.show(What::Workers, Filter::default())?;
        let cpus = rows.into_iter().filter_map(|row| row.cpu);
        Ok(cpus.filter_map(|cpu| u16::try_from(cpu).ok()).collect())
    }
}

/// As many cores as there are workers, none of which is a worker's.
fn spare_cores(workers: &[u16], allowed: &[u16]) -> Result<Vec<u16>> {
    let free = |cpu: &&u16| !workers.contains(cpu);
    let free: Vec<u16> = allowed.iter().filter(free).copied().collect();
    if free.is_empty() {
        bail!(
            "no core is free, the workers run on {}; `--cores` takes one away from them",
            machine::list(workers)
        );
    }
    let wanted = match workers.len() {
        0 => (free.len() - 1).max(1),
        workers => workers,
    };
    let skipped = free.len().saturating_sub(wanted);
    Ok(free.into_iter().skip(skipped).collect())
}

/// What one core does per second.
#[derive(Clone, Copy, Debug)]
struct Figures {
    /// SYNs answered with cookies.
    cookies: u64,
    /// Packets passed on.
    packets: u64,
    /// Sessions from their first SYN until they are forgotten.
    lives: u64,
    /// Sessions that were open while packets were passed on.
    sessions: u32,
}

/// Measures on all cores at the same time: they share caches and memory when they work, too.
fn on_all(cores: &[u16], sessions: u32, time: Duration) -> Result<Vec<Figures>> {
    let together = Barrier::new(cores.len());
    thread::scope(|scope| {
        let threads: Vec<_> = cores
            .iter()
            .map(|core| {
                let together = &together;
                scope.spawn(move || {
                    let pinned = machine::pin(&[*core]);
                    // All of them come this far, whatever becomes of one.
                    together.wait();
                    pinned.and_then(|()| on_one(sessions, time))
                })
            })
            .collect();
        let figures = threads.into_iter().map(|thread| {
            let ended = thread.join();
            ended.map_err(|_| anyhow!("a measurement broke off"))?
        });
        figures.collect()
    })
}

fn on_one(sessions: u32, time: Duration) -> Result<Figures> {
    let begun = Instant::now();
    let sessions = sessions.max(4 * BURST as u32);
    let mut rig = Rig::new(sessions)?;
    rig.pass(Duration::from_millis(1));
    // The clock of the director goes on between two bursts so that half of the table is enough.
    let between_lives = REMEMBERED * 2 * BURST as u32 / sessions;
    let lives = measure(begun + time / 3, BURST as u32, || {
        let mut took = Duration::ZERO;
        let mut clients = rig.clients();
        for step in Step::LIFE {
            took += rig.step(step, &mut clients)?;
        }
        Ok(took + rig.pass(between_lives))
    })?;
    // What was closed makes room before as many stay open.
    while rig.sessions() > 0 {
        rig.pass(Duration::from_millis(250));
    }
    let until = Instant::now() + time / 3;
    let mut open = Vec::new();
    while open.len() + BURST <= sessions as usize && Instant::now() < until {
        let mut clients = rig.clients();
        for step in [
            Step::Syn,
            Step::SynAck,
            Step::Ack,
            Step::Request,
            Step::Reply,
        ] {
            rig.step(step, &mut clients)?;
        }
        open.extend(clients);
    }
    let left = (begun + time).saturating_duration_since(Instant::now());
    let half = Instant::now() + left.max(time / 10) / 2;
    let packets = measure(half, 2 * BURST as u32, || rig.forward(&open))?;
    let cookies = measure(half + left / 2, BURST as u32, || rig.flood())?;
    ensure!(
        rig.sessions() as usize == open.len(),
        "{} of {} sessions are open",
        rig.sessions(),
        open.len()
    );
    Ok(Figures {
        cookies,
        packets,
        lives,
        sessions: open.len() as u32,
    })
}

/// Does something until then and returns the median of how many pieces of it fit a second.
fn measure(until: Instant, pieces: u32, mut work: impl FnMut() -> Result<Duration>) -> Result<u64> {
    let mut samples = Vec::new();
    while samples.len() < 3 || Instant::now() < until {
        let mut took = Duration::ZERO;
        for _ in 0..A_SAMPLE {
            took += work()?;
        }
        let pieces = u64::from(A_SAMPLE * pieces) * 1_000_000_000;
        let nanos = took.as_nanos() as u64;
        samples.push(
            pieces
                .checked_div(nanos)
                .context("the clock does not run")?,
        );
    }
    samples.sort_unstable();
    let median = samples.get(samples.len() / 2);
    median.copied().context("nothing was measured")
}

/// What a core does in the mean of all.
fn mean(figures: &[Figures], rate: fn(&Figures) -> u64) -> u64 {
    figures.iter().map(rate).sum::<u64>() / figures.len().max(1) as u64
}

fn table(capacity: &Capacity) -> String {
    let mut text = String::new();
    let cores = capacity.cores.len();
    let _ = writeln!(
        text,
        "{:<33}{:>14}{:>9}{:>15}",
        "",
        "PER CORE",
        "NS",
        format!("ON {cores} CORE{}", if cores == 1 { "" } else { "S" })
    );
    for (name, rate) in [
        ("SYNs answered with cookies", capacity.cookies_per_s),
        ("packets of open sessions", capacity.packets_per_s),
        ("sessions, from SYN to last ACK", capacity.sessions_per_s),
    ] {
        let all = rate.saturating_mul(cores as u64);
        let _ = writeln!(
            text,
            "{name:<33}{:>14}{:>9}{:>15}",
            format!("{}/s", weir_control::count(rate)),
            1_000_000_000 / rate.max(1),
            format!("{}/s", weir_control::count(all))
        );
    }
    let _ = writeln!(
        text,
        "\nIn memory, with {} sessions a core, in {:.1} s: what devices and drivers cost\n\
         is not in it, and is often several times as much. A worker's busy share in\n\
         `weir show flood` has it all.",
        weir_control::count(u64::from(capacity.sessions)),
        capacity.seconds
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_measures_beside_the_workers_and_never_on_their_cores_unasked() {
        assert_eq!(spare_cores(&[], &[0, 1, 2, 3]).unwrap(), [1, 2, 3]);
        assert_eq!(spare_cores(&[], &[0]).unwrap(), [0]);
        assert_eq!(spare_cores(&[3], &[0, 1, 2, 3]).unwrap(), [2]);
        assert_eq!(spare_cores(&[2, 3], &[0, 1, 2, 3]).unwrap(), [0, 1]);
        assert_eq!(spare_cores(&[1, 2, 3], &[0, 1, 2, 3]).unwrap(), [0]);
        let told = spare_cores(&[0, 1], &[0, 1]).unwrap_err().to_string();
        assert!(told.contains("the workers run on 0,1; `--cores`"), "{told}");
    }

    #[test]
    fn a_core_opens_serves_closes_and_forgets_sessions_and_answers_floods() {
        let figures = on_one(512, Duration::from_millis(300)).unwrap();
        for rate in [figures.cookies, figures.packets, figures.lives] {
            assert!((100..1_000_000_000).contains(&rate), "{figures:?}");
        }
        assert!(figures.lives < figures.packets, "{figures:?}");
        assert!(figures.sessions <= 512, "{figures:?}");
    }

    #[test]
    fn the_figures_of_several_cores_are_their_mean_and_their_sum() {
        let figures = |cookies| Figures {
            cookies,
            packets: 10_000_000,
            lives: 1_000_000,
            sessions: 1 << 18,
        };
        let both = [figures(10_000_000), figures(20_000_000)];
        let capacity = Capacity {
            cookies_per_s: mean(&both, |figures| figures.cookies),
            packets_per_s: mean(&both, |figures| figures.packets),
            sessions_per_s: mean(&both, |figures| figures.lives),
            cores: vec![2, 3],
            sessions: 1 << 20,
            seconds: 5.0,
            ..Capacity::default()
        };
        let text = table(&capacity);
        assert!(
            text.starts_with(
                "                                       PER CORE       NS     ON 2 CORES
SYNs answered with cookies              15.0M/s       66        30.0M/s
packets of open sessions                10.0M/s      100        20.0M/s
sessions, from SYN to last ACK           1.0M/s     1000         2.0M/s
"
            ),
            "{text}"
        );
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    }
}
