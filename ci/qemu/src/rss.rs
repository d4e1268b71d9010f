//! The proof: every frame arrives on the queue that was foretold.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use netmap_io::{Device, DeviceSpec, DriverChoice, FramePool, Port};
use nix::sched::{CloneFlags, setns};
use weir_lab::namespace::Namespace;

use crate::frames;
use crate::guest::{Guest, install_tools};
use crate::kernel::Kernel;
use crate::machine::{QUEUES, TAP, boot, namespace};

/// What the guest says when it waits for frames, with the driver's name behind it.
pub const READY: &str = "weir: ready with";
/// What it says of the frames that came.
pub const VERDICT: &str = "weir: verdict";
/// What it says before anything else went wrong.
pub const FAILED: &str = "weir: failed:";
/// The drivers, in this order.
pub const DRIVERS: [(DriverChoice, &str); 2] = [
    (DriverChoice::AfPacket, "af-packet"),
    (DriverChoice::AfXdp, "af-xdp"),
];

/// How long a boot may take on a busy machine without virtualisation.
const BOOT: Duration = Duration::from_mins(2);
const RUN: Duration = Duration::from_mins(1);
/// The emulated card has a ring of 256 descriptors a queue: so many frames, then a pause.
const BURST: usize = 64;
const PAUSE: Duration = Duration::from_millis(4);

/// What the guest found with one driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Replies of the real server that arrived where their local port had said.
    pub replies: u32,
    /// Packets of clients that arrived where they were foretold.
    pub clients: u32,
    /// Those of both that arrived elsewhere.
    pub strays: u32,
    /// The fewest frames on a queue.
    pub least: u32,
}

impl Verdict {
    /// Writes the verdict as one line for the console.
    #[must_use]
    pub fn line(&self) -> String {
        let Self {
            replies,
            clients,
            strays,
            least,
        } = self;
        format!("{VERDICT} {replies} {clients} {strays} {least}")
    }

    fn parse(line: &str) -> Option<Self> {
        let mut numbers = line.strip_prefix(VERDICT)?.split_whitespace();
        let mut next = || numbers.next()?.parse().ok();
        Some(Self {
            replies: next()?,
            clients: next()?,
            strays: next()?,
            least: next()?,
        })
    }

    /// # Errors
    /// Says what is not as it must be.
    fn judge(self) -> Result<()> {
        let sent = frames::PORTS.count() as u32;
        let clients = 2 * frames::CLIENTS;
        ensure!(
            self.strays == 0,
            "{} frames arrived on another queue",
            self.strays
        );
        // An emulated card loses frames; those that arrive must still be nearly all.
        ensure!(
            self.replies >= sent / 10 * 9 && self.clients >= clients / 10 * 9,
            "only {} of {sent} replies and {} of {clients} packets of clients arrived",
            self.replies,
            self.clients
        );
        let even = (self.replies + self.clients) / u32::from(QUEUES);
        ensure!(
            self.least > even / 2,
            "a queue had {} frames of {even}",
            self.least
        );
        Ok(())
    }
}

/// Boots a guest with `init`, sends it frames with each driver, and judges what it found. Needs
/// root. Prints a line for each driver.
///
/// # Errors
/// When the guest does not boot, or a frame arrives where it was not foretold.
pub fn prove(init: &Path, cache: &Path) -> Result<()> {
    install_tools()?;
    let kernel = Kernel::get(cache)?;
    let dir = std::env::temp_dir().join(format!("weir-{}-rss", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let outcome = prove_in(init, &kernel, &dir);
    // What is left says what happened.
    if outcome.is_ok() {
        fs::remove_dir_all(&dir).ok();
    }
    outcome
}

fn prove_in(init: &Path, kernel: &Kernel, dir: &Path) -> Result<()> {
    let initramfs = dir.join("initramfs");
    fs::write(&initramfs, kernel.initramfs(init)?).context("cannot write the initramfs")?;
    let begin = Instant::now();
    let namespace = namespace()?;
    let mut guest = boot(&namespace, kernel, &initramfs, dir)?;
    let frames = frames::all()?;
    for (nth, (_, driver)) in (0..).zip(DRIVERS) {
        wait_for(&mut guest, &format!("{READY} {driver}"), BOOT)?;
        let before = verdicts(&guest).len();
        println!(
            "rss: {driver} is ready in a guest of Linux {} after {:.1} s",
            kernel.version,
            begin.elapsed().as_secs_f32()
        );
        send(&namespace, dir, &frames, nth)?;
        let deadline = Instant::now() + RUN;
        let verdict = loop {
            if let Some(verdict) = verdicts(&guest).get(before) {
                break *verdict;
            }
            if Instant::now() > deadline || !guest.is_running() && verdicts(&guest).len() <= before
            {
                bail!(
                    "the guest says nothing of the frames:\n{}",
                    guest.serial.last_words()
                );
            }
            thread::sleep(Duration::from_millis(50));
        };
        println!(
            "rss: {driver}: {} replies and {} packets of clients on the foretold queue, {} elsewhere",
            verdict.replies, verdict.clients, verdict.strays
        );
        verdict.judge().with_context(|| driver.to_owned())?;
    }
    for line in guest
        .serial
        .transcript()
        .lines()
        .filter(|line| line.contains("weir: card"))
    {
        println!("rss: {}", line.trim().trim_start_matches("weir: "));
    }
    guest.wait_off(RUN)?;
    Ok(())
}

fn wait_for(guest: &mut Guest, words: &str, timeout: Duration) -> Result<()> {
    let deadline = Instant::now() + timeout;
    loop {
        let log = guest.serial.transcript();
        if log.contains(words) {
            return Ok(());
        }
        if let Some(line) = log.lines().find(|line| line.contains(FAILED)) {
            bail!("the guest {}", line.trim().trim_start_matches("weir: "));
        }
        if Instant::now() > deadline || !guest.is_running() {
            bail!(
                "the guest does not say `{words}`:\n{}",
                guest.serial.last_words()
            );
        }
        thread::sleep(Duration::from_millis(50));
    }
}

fn verdicts(guest: &Guest) -> Vec<Verdict> {
    guest
        .serial
        .transcript()
        .lines()
        .filter_map(|line| Verdict::parse(line.trim()))
        .collect()
}

/// Sends frames out of the tap, which the guest receives.
fn send(namespace: &Namespace, dir: &Path, frames: &[Vec<u8>], nth: u16) -> Result<()> {
    let file = fs::File::open(Path::new("/run/netns").join(namespace.name()))
        .context("cannot open the namespace")?;
    let run_dir = dir.join("run");
    fs::create_dir_all(&run_dir).context("cannot make a run directory")?;
    thread::scope(|scope| {
        // The thread alone is in the namespace, and ends there.
        let sender = scope.spawn(|| {
            setns(file, CloneFlags::CLONE_NEWNET).context("cannot enter the namespace")?;
            send_here(&run_dir, frames, nth)
        });
        sender
            .join()
            .unwrap_or_else(|_| bail!("the sender panicked"))
    })
}

fn send_here(run_dir: &Path, frames: &[Vec<u8>], nth: u16) -> Result<()> {
    let spec = DeviceSpec {
        device: TAP.to_owned(),
        driver: DriverChoice::AfPacket,
        queues: 1,
    };
    let mut device = Device::open(&spec, run_dir)?;
    let mut pool = FramePool::with_umem(1024, FramePool::CHUNK_LEN)?;
    let mut port = device.open_queue(0, &mut pool)?;
    for burst in frames.chunks(BURST) {
        for bytes in burst {
            transmit(port.as_mut(), &mut pool, bytes)?;
        }
        port.flush(&mut pool).context("cannot send")?;
        thread::sleep(PAUSE);
    }
    // Each may get lost.
    let end = frames::end(nth)?;
    for _ in 0..10 {
        thread::sleep(Duration::from_millis(100));
        transmit(port.as_mut(), &mut pool, &end)?;
        port.flush(&mut pool).context("cannot send")?;
    }
    Ok(())
}

fn transmit(port: &mut dyn Port, pool: &mut FramePool, bytes: &[u8]) -> Result<()> {
    let mut frame = pool
        .alloc(FramePool::UMEM)
        .context("no memory for a frame")?;
    frame.set_range(0..bytes.len());
    frame.bytes_mut().copy_from_slice(bytes);
    if let Err(frame) = port.tx(pool, frame) {
        pool.free(frame);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_read_as_it_was_written_and_strays_are_not_forgiven() {
        let verdict = Verdict {
            replies: 64_000,
            clients: 8_000,
            strays: 0,
            least: 17_000,
        };
        assert_eq!(Verdict::parse(&verdict.line()), Some(verdict));
        assert_eq!(Verdict::parse("weir: ready"), None);
        verdict.judge().unwrap();
        let judged = |change: fn(&mut Verdict)| {
            let mut verdict = verdict;
            change(&mut verdict);
            verdict.judge().unwrap_err().to_string()
        };
        assert!(judged(|v| v.strays = 1).contains("another queue"));
        assert!(judged(|v| v.replies = 30_000).contains("only 30000"));
        assert!(judged(|v| v.least = 3).contains("a queue had 3"));
    }
}
