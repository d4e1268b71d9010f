//! What the examples share: arguments, the loop of a worker, and its figures.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use netmap_io::{
    Burst, Device, DeviceSpec, DriverChoice, FramePool, Port, PortStats, WaitSet, settings,
};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::time::TimeValLike as _;
use nix::unistd::Pid;

/// What was asked for on the command line.
pub(crate) struct Arguments {
    pub(crate) devices: Vec<String>,
    driver: DriverChoice,
    owned: Vec<IpAddr>,
    queues: u16,
    first_cpu: usize,
    busy: bool,
    seconds: u64,
    run_dir: PathBuf,
}

/// What one worker did.
pub(crate) struct Figures {
    ports: Vec<PortStats>,
    cpu: Duration,
    elapsed: Duration,
    leaked: usize,
}

pub(crate) const OPTIONS: &str = "[--driver auto|af-xdp|af-packet|netmap] [--owned A,B,...] \
     [--queues N] [--cpu N] [--busy] [--seconds N] [--run-dir DIR]";

impl Arguments {
    /// Reads the command line; `devices` devices come first.
    pub(crate) fn read(devices: usize) -> Result<Self, String> {
        let mut words = std::env::args().skip(1);
        let mut arguments = Self {
            devices: words.by_ref().take(devices).collect(),
            driver: DriverChoice::Auto,
            owned: Vec::new(),
            queues: 1,
            first_cpu: 0,
            busy: false,
            seconds: 10,
            run_dir: PathBuf::from("/run/weir-example"),
        };
        if arguments.devices.len() < devices {
            return Err(format!("{devices} devices are needed; then {OPTIONS}"));
        }
        while let Some(option) = words.next() {
            if option == "--busy" {
                arguments.busy = true;
                continue;
            }
            let value = words
                .next()
                .ok_or_else(|| format!("{option} needs a value"))?;
            let bad = || format!("{option} {value}: not a value that it takes");
            match option.as_str() {
                "--driver" => arguments.driver = driver(&value).ok_or_else(bad)?,
                "--owned" => {
                    let addresses: Result<_, _> = value.split(',').map(str::parse).collect();
                    arguments.owned = addresses.map_err(|_| bad())?;
                }
                "--queues" => arguments.queues = value.parse().map_err(|_| bad())?,
                "--cpu" => arguments.first_cpu = value.parse().map_err(|_| bad())?,
                "--seconds" => arguments.seconds = value.parse().map_err(|_| bad())?,
                "--run-dir" => arguments.run_dir = PathBuf::from(value),
                _ => return Err(format!("{option} is no option; there are {OPTIONS}")),
            }
        }
        Ok(arguments)
    }

    /// Opens the devices, runs `turn` on one thread per queue until the time is up or a signal
    /// comes, and prints the figures. `turn` does one round and returns how many frames it took.
    pub(crate) fn run<T>(&self, turn: T) -> Result<(), String>
    where
        T: Fn(&mut [Box<dyn Port>], &mut FramePool, &mut Burst) -> usize + Send + Clone + 'static,
    {
        for sentence in settings::restore_leftovers(&self.run_dir).map_err(|e| e.to_string())? {
            println!("{sentence}");
        }
        let mut devices = self.open_devices()?;
        let stop = stop_on_signals();
        let mut workers = Vec::new();
        for queue in 0..self.queues {
            let chunks: u32 = devices.iter().map(Device::chunks_per_queue).sum::<u32>() + 2048;
            let mut pool = FramePool::with_umem(chunks.next_power_of_two(), FramePool::CHUNK_LEN)
                .map_err(|e| e.to_string())?;
            let mut ports = Vec::new();
            for device in &mut devices {
                let port = device.open_queue(queue, &mut pool);
                ports.push(port.map_err(|e| e.to_string())?);
            }
            let (busy, cpu) = (self.busy, self.first_cpu + usize::from(queue));
            let end = Instant::now() + Duration::from_secs(self.seconds);
            let (stop, turn) = (stop.clone(), turn.clone());
            workers.push(std::thread::spawn(move || {
                pin(cpu);
                work(ports, pool, busy, end, &stop, &turn)
            }));
        }
        for device in &mut devices {
            device.set_owned(&self.owned).map_err(|e| e.to_string())?;
            println!("{}: {}", device.info().device, device.describe());
        }
        for (queue, worker) in workers.into_iter().enumerate() {
            let Ok(figures) = worker.join() else {
                return Err(format!("the worker of queue {queue} panicked"));
            };
            figures.print(queue, &self.devices);
        }
        Ok(())
    }

    fn open_devices(&self) -> Result<Vec<Device>, String> {
        let open = |device: &String| {
            let spec = DeviceSpec {
                device: device.clone(),
                driver: self.driver,
                queues: self.queues,
            };
            Device::open(&spec, Path::new(&self.run_dir)).map_err(|e| e.to_string())
        };
        self.devices.iter().map(open).collect()
    }
}

/// One worker: takes turns until it is told to stop, then gives every chunk back.
fn work(
    mut ports: Vec<Box<dyn Port>>,
    mut pool: FramePool,
    busy: bool,
    end: Instant,
    stop: &AtomicBool,
    turn: &impl Fn(&mut [Box<dyn Port>], &mut FramePool, &mut Burst) -> usize,
) -> Figures {
    let mut burst = Burst::with_capacity(64);
    let mut waits = WaitSet::new(ports.iter().filter_map(|p| p.poll_fd()));
    let (started, cpu) = (Instant::now(), cpu_time());
    let mut turns = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let taken = turn(&mut ports, &mut pool, &mut burst);
        turns += 1;
        if turns.is_multiple_of(1024) && Instant::now() >= end {
            break;
        }
        if taken == 0 && !busy {
            // A device that is gone shows in the figures.
            let _ = waits.wait(Duration::from_millis(100));
            if Instant::now() >= end {
                break;
            }
        }
    }
    let figures = Figures {
        ports: ports.iter_mut().map(|p| p.stats()).collect(),
        cpu: cpu_time().saturating_sub(cpu),
        elapsed: started.elapsed(),
        leaked: 0,
    };
    for port in ports {
        port.close(&mut pool);
    }
    Figures {
        leaked: pool.outstanding(FramePool::UMEM),
        ..figures
    }
}

impl Figures {
    fn print(&self, queue: usize, devices: &[String]) {
        let mut frames = 0;
        for (stats, device) in self.ports.iter().zip(devices) {
            frames += stats.rx_frames;
            println!(
                "{device} queue {queue}: rx {} ({} lost in the ring, {} invalid), tx {} ({} lost)",
                stats.rx_frames,
                stats.rx_ring_lost,
                stats.rx_invalid,
                stats.tx_frames,
                stats.tx_ring_lost
            );
        }
        let per_second = u128::from(frames) * 1_000_000_000 / self.elapsed.as_nanos().max(1);
        let nanoseconds = self.cpu.as_nanos() / u128::from(frames.max(1));
        println!(
            "worker {queue}: {per_second} frames/s, {nanoseconds} ns of CPU per frame, {} \
             chunks missing",
            self.leaked
        );
    }
}

fn driver(name: &str) -> Option<DriverChoice> {
    Some(match name {
        "auto" => DriverChoice::Auto,
        "netmap" => DriverChoice::Netmap,
        "af-xdp" => DriverChoice::AfXdp,
        "pf-ring" => DriverChoice::PfRing,
        "af-packet" => DriverChoice::AfPacket,
        _ => return None,
    })
}

/// Waits for SIGINT and SIGTERM on a thread of its own.
fn stop_on_signals() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGINT);
    signals.add(Signal::SIGTERM);
    if signals.thread_block().is_ok() {
        let flag = stop.clone();
        std::thread::spawn(move || {
            let _ = signals.wait();
            flag.store(true, Ordering::Relaxed);
        });
    }
    stop
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    // Without the CPU the worker runs where it may.
    if set.set(cpu).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
}

fn cpu_time() -> Duration {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(Duration::ZERO, |usage| {
        let microseconds = usage.user_time() + usage.system_time();
        Duration::from_micros(microseconds.num_microseconds().unsigned_abs())
    })
}
