//! The daemon from its start to its end.

use std::cell::RefCell;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use crossbeam_channel::Sender;
use mio::{Poll, Waker};
use nat_engine::OutOfMemory;
use netmap_io::{FramePool, Port, ethtool, settings};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use weir_director::{Director, PortFacts, WorkerFacts};
use weir_model::{MasterKey, PortId, Snapshot, WorkerId};
use weir_wire::EthAddr;

use crate::clock::Clock;
use crate::command;
use crate::configuration::Start;
use crate::control::events::shelf::Shelf;
use crate::control::ports::OpenDevice;
use crate::control::sockets::Listener;
use crate::control::{self, Control, ControlParts};
use crate::daemon::memory::Memory;
use crate::defence;
use crate::doctor;
use crate::doorbell::Doorbell;
use crate::export;
use crate::failure;
use crate::fleet::{Blueprint, Fleet, WorkerHandle};
use crate::handoff;
use crate::health::runner::{Child, Ran};
use crate::health::{self, Prober};
use crate::log;
use crate::metrics::{self, Exporter};
use crate::publish::{Boards, Published};
use crate::secret;
use crate::state::{self, State};
use crate::worker::{Worker, WorkerParts};

pub(crate) mod machine;
mod memory;
mod spread;

/// Chunks of a worker's packet memory beside those that the rings hold: bursts, frames under way
/// between ports, and frames that wait for a neighbour.
const SPARE_CHUNKS: u32 = 4096;

/// Runs the daemon with a configuration until a signal ends it.
///
/// # Errors
/// Says what is missing or refused, and what to try.
pub(crate) fn run(file: &Path, state: State, mut start: Start) -> Result<()> {
    // Before any thread is there, so that no other thread takes them.
    let signals = take_signals()?;
    // While it holds nothing of ours and its privileges are whole.
    let runner = Child::spawn();
    machine::check_capabilities()?;
    machine::raise_memory_lock();
    machine::raise_open_files();
    let run_dir = machine::run_dir();
    fs::create_dir_all(&run_dir).with_context(|| format!("cannot make {}", run_dir.display()))?;
    let _only = be_the_only_one(&run_dir)?;
    failure::end_the_process_on_panics();
    defence::be_private()?;
    let restored = settings::restore_leftovers(&run_dir);
    for sentence in restored.context("cannot look for what an earlier process left")? {
        log::say(sentence);
    }

    let fallback_key = MasterKey(random()?);
    export::supported(&start.configuration.snapshot)?;
    let snapshot = Arc::make_mut(&mut start.configuration.snapshot);
    for line in secret::fill(snapshot, &fallback_key)? {
        log::say(line);
    }
    let snapshot = start.configuration.snapshot.clone();
    let plan = Plan::new(&snapshot)?;
    // Workers move to their own cores when they start.
    machine::pin(&plan.control).context("[control] cpus")?;
    let listeners = snapshot.control.sockets.iter().map(Listener::open);
    let listeners = listeners.collect::<Result<Vec<_>>>()?;
    // The folders of the sockets are for others to enter; nothing that is made from here on is.
    defence::make_private_files();
    let mut devices = Vec::new();
    for port in snapshot.ports.iter() {
        devices.push(OpenDevice::open(port, plan.queues(), &run_dir)?);
    }
    let poll = Poll::new().context("cannot make the control thread's event loop")?;
    let waker = Waker::new(poll.registry(), control::WAKER);
    let waker = Arc::new(waker.context("cannot make the control thread's waker")?);
    let clock = Clock::start();
    let fleet = start_workers(&snapshot, &plan, &mut devices, &waker, &clock)?;
    // What only the start needs goes before further threads come: they get what is left.
    let state_dir = state::directory();
    let own = [file, &state_dir, &run_dir];
    let mut warnings = Vec::new();
    let kept = defence::give_up(&own);
    warnings.extend(kept.err().map(|error| format!("{error:#}")));
    let prober = Prober::start(clock.clone(), waker.clone());
    let prober = prober.context("cannot start the health thread")?;
    let (hooks, hooks_ran) = crossbeam_channel::unbounded();
    let of_checks = prober.listener();
    let ran = move |ran: Ran| {
        if health::is_hook(ran.ticket) {
            // Control has ended, and the process follows.
            let _ = hooks.send(ran);
            let _ = waker.wake();
        } else {
            of_checks(ran);
        }
    };
    let runner = match runner.and_then(|child| child.listen(ran)) {
        Ok(runner) => {
            prober.run_by(runner.clone());
            Some(runner)
        }
        Err(error) => {
            warnings.push(format!(
                "no program of a check or a hook can be run: {error}"
            ));
            None
        }
    };
    let mut exporter = Exporter::start().context("cannot start the metrics thread")?;
    if let Some(address) = snapshot.metrics {
        let listener = exporter.open(address)?;
        exporter.serve(Some(listener));
        log::say(format!("metrics at {}", metrics::address_of(address)));
    }
    if snapshot.services.iter().any(health::learns) {
        health::blind_spots().into_iter().for_each(log::say);
    }
    // Nothing comes in before the workers are there to take it.
    control::set_owned(&mut devices, &snapshot.owned_addresses())?;
    for device in &devices {
        log::say(device.line());
    }
    // All threads are there, and all programs of the kernel are loaded.
    warnings.extend(defence::seal().err().map(|error| format!("{error:#}")));
    let control = Control::new(ControlParts {
        poll,
        signals,
        fleet,
        prober,
        runner,
        hooks: hooks_ran,
        exporter,
        clock,
        devices,
        listeners,
        start,
        state,
        shelf: Shelf::open(&state_dir.join("events")),
        fallback_key,
        file: file.to_owned(),
        run_dir,
        warnings,
        findings: doctor::at_start(&snapshot, &plan.cpus),
    })?;
    log::ready();
    control.run()
}

fn take_signals() -> Result<SignalFd> {
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGTERM, Signal::SIGINT] {
        mask.add(signal);
    }
    mask.thread_block().context("cannot take signals")?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .context("cannot take signals")
}

/// Two daemons would undo each other's settings.
fn be_the_only_one(run_dir: &Path) -> Result<Flock<fs::File>> {
    let path = run_dir.join("lock");
    let file =
        fs::File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(lock),
        Err((_, nix::Error::EWOULDBLOCK)) => bail!(
            "another `weir run` holds {}; stop it, or give this one another RUNTIME_DIRECTORY",
            path.display()
        ),
        Err((_, error)) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// Which cores the workers run on, and how they wait there.
struct Plan {
    cpus: Vec<u16>,
    /// The cores of the control thread.
    control: Vec<u16>,
    /// All cores that this process may use.
    allowed: Vec<u16>,
    spin: Duration,
}

impl Plan {
    fn new(snapshot: &Snapshot) -> Result<Self> {
        let asked = snapshot.ports.iter().filter_map(|port| port.queues).min();
        // Without a port there is nothing to do; one worker keeps what asks workers alive.
        let mut most = match snapshot.ports.iter().next() {
            Some(_) => u16::from(u8::MAX),
            None => 1,
        };
        for port in snapshot.ports.iter().filter(|port| port.queues.is_none()) {
            // A device that is not there is reported when it is opened.
            most = most.min(ethtool::most_queues(&port.device).unwrap_or(1));
        }
        let allowed = machine::allowed_cpus()?;
        let named = &snapshot.workers.cpus;
        let cpus = machine::worker_cpus(named, &allowed, asked.map(|n| n.min(most)), most)?;
        if cpus.len() < named.len() {
            log::say(format!(
                "{} of the {} cores of [workers] cpus are used, because a port has no more queues",
                cpus.len(),
                named.len()
            ));
        }
        for port in snapshot.ports.iter() {
            if let Some(queues) = port
                .queues
                .filter(|queues| usize::from(*queues) > cpus.len())
            {
                log::say(format!(
                    "{} of the {queues} queues of [port {}] are used, because there are no more \
                     workers",
                    cpus.len(),
                    port.name
                ));
            }
        }
        let spin = machine::spin(cpus.len(), allowed.len());
        let control = match snapshot.control.cpus.as_slice() {
            [] => allowed.clone(),
            named => named.to_vec(),
        };
        Ok(Self {
            cpus,
            control,
            allowed,
            spin,
        })
    }

    /// One queue of every port for each worker.
    fn queues(&self) -> u16 {
        self.cpus.len() as u16
    }
}

/// Makes every worker and starts its thread.
///
/// What a worker needs of the devices is opened here, one after the other; its tables are made by
/// its own thread, so that they are touched at the same time and lie in the memory of its core.
fn start_workers(
    snapshot: &Arc<Snapshot>,
    plan: &Plan,
    devices: &mut [OpenDevice],
    waker: &Arc<Waker>,
    clock: &Clock,
) -> Result<Fleet> {
    let cpus = plan.cpus.as_slice();
    let sessions = match snapshot.workers.sessions {
        Some(sessions) => sessions,
        None => machine::sessions_per_worker(cpus.len())?,
    };
    let bells = cpus.iter().map(|_| Doorbell::new().map(Arc::new));
    let bells = bells
        .collect::<Result<Vec<_>, _>>()
        .context("cannot make a worker's doorbell")?;
    let flow_secret = random()?;
    let spread = spread::facts(snapshot, devices, cpus.len());
    let mut handles = Vec::new();
    let mut blueprint = None;
    let (done, wait_for_done) = crossbeam_channel::bounded(cpus.len());
    let memory = Memory::new(cpus.len());
    for (place, (hand_off, cpu)) in handoff::connect(&bells).into_iter().zip(cpus).enumerate() {
        let id = WorkerId(place as u8);
        // Memory is that of the core that touches it first.
        machine::pin(&[*cpu])?;
        let (pool, ports) = open_queues(place as u16, devices)?;
        memory.count(pool.mapping(FramePool::UMEM).map_or(0, |(_, bytes)| bytes));
        let facts = WorkerFacts {
            id,
            workers: cpus.len() as u8,
            sessions,
            flow_secret,
            seed: random()?,
            ports: ports
                .iter()
                .map(|(id, port)| port_facts(*id, port.as_ref()))
                .collect(),
        };
        blueprint.get_or_insert_with(|| Blueprint {
            facts: facts.clone(),
            spread: spread.clone(),
        });
        let bell = bells
            .get(place)
            .cloned()
            .context("a worker has no doorbell")?;
        let published = Arc::new(Published::new(ports.len()));
        let boards = Boards::new(snapshot);
        let (control, worker_end) = command::channels();
        handles.push(WorkerHandle {
            id,
            cpu: Some(*cpu),
            bell: bell.clone(),
            control,
            published: published.clone(),
            boards: boards.clone(),
            next_boards: None,
            thread: None,
        });
        let (snapshot, memory) = (snapshot.clone(), memory.clone());
        let spread = spread.clone();
        let beside = machine::beside(*cpu, &plan.allowed, cpus);
        let (mut clock, waker, spin) = (clock.clone(), waker.clone(), plan.spin);
        let make = move || {
            let tables = RefCell::new(Vec::new());
            let prepare = |reserved: Range<usize>| {
                memory.prepare(&reserved);
                tables.borrow_mut().push(reserved);
            };
            let now = clock.now();
            let director = Director::spread(facts, spread, snapshot.clone(), now, &prepare)?;
            memory.fill(tables.into_inner(), beside);
            Ok(Worker::new(WorkerParts {
                clock,
                director,
                pool,
                ports,
                hand_off,
                control: worker_end,
                waker,
                bell,
                published,
                boards,
                burst: usize::from(snapshot.workers.burst),
                poll: snapshot.workers.poll,
                spin,
            }))
        };
        let thread = start_thread(id, *cpu, make, done.clone())?;
        if let Some(handle) = handles.last_mut() {
            handle.thread = Some(thread);
        }
    }
    machine::pin(&plan.control)?;
    for _ in cpus {
        let made = wait_for_done.recv();
        if let Err(OutOfMemory) = made.context("a worker ended before it began")? {
            bail!("there is no memory for {sessions} sessions a worker; set [workers] sessions");
        }
    }
    say_how_many(cpus, sessions);
    Ok(Fleet::new(handles).made_of(blueprint))
}

fn say_how_many(cpus: &[u16], sessions: u32) {
    log::say(format!(
        "{} on core {} with {sessions} sessions each",
        if cpus.len() == 1 {
            "1 worker".to_owned()
        } else {
            format!("{} workers", cpus.len())
        },
        cpus.iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(",")
    ));
}

/// Starts a worker's thread, which makes the worker, says whether it could, and is it from then on.
fn start_thread(
    id: WorkerId,
    cpu: u16,
    make: impl FnOnce() -> Result<Worker, OutOfMemory> + Send + 'static,
    done: Sender<Result<(), OutOfMemory>>,
) -> Result<thread::JoinHandle<()>> {
    let builder = thread::Builder::new().name(format!("worker-{id}"));
    let run = move || {
        if let Err(error) = machine::pin(&[cpu]) {
            failure::die(&format!("worker {id}: {error:#}"));
        }
        // A worker that waits behind another job of its core loses frames; a refusal of the kernel
        // costs that and nothing else.
        let _ = netmap_io::prefer_this_thread();
        // Its queues are open, and it needs no leave for anything else.
        if let Err(error) = defence::give_up_all() {
            log::say(format!("worker {id}: {error:#}"));
        }
        match make() {
            Ok(worker) => {
                // There is room for the word of every worker, and nobody hears it when the start
                // has failed already.
                let _ = done.send(Ok(()));
                worker.run();
            }
            Err(error) => drop(done.send(Err(error))),
        }
    };
    builder
        .spawn(run)
        .with_context(|| format!("cannot start worker {id}"))
}

type OpenQueues = (FramePool, Vec<(PortId, Box<dyn Port>)>);

/// Opens one queue of every device on packet memory that they share.
fn open_queues(queue: u16, devices: &mut [OpenDevice]) -> Result<OpenQueues> {
    let in_rings: u32 = devices
        .iter()
        .map(|open| open.device.chunks_per_queue())
        .sum();
    let mut pool = FramePool::with_umem(in_rings + SPARE_CHUNKS, FramePool::CHUNK_LEN)?;
    let mut ports = Vec::new();
    for open in devices {
        let port = open.device.open_queue(queue, &mut pool);
        ports.push((
            open.id,
            port.with_context(|| format!("[port {}]", open.name))?,
        ));
    }
    Ok((pool, ports))
}

fn port_facts(id: PortId, port: &dyn Port) -> PortFacts {
    let info = port.info();
    PortFacts {
        id,
        mac: EthAddr(info.mac),
        mtu: info.mtu,
        delivers: match info.driver {
            netmap_io::DriverKind::Netmap => true,
            netmap_io::DriverKind::AfXdp
            | netmap_io::DriverKind::PfRing
            | netmap_io::DriverKind::AfPacket
            | netmap_io::DriverKind::Memory
            | netmap_io::DriverKind::Pcap => false,
        },
    }
}

/// Draws bytes that nobody can guess.
///
/// # Errors
/// When the kernel's source cannot be read.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut source = fs::File::open("/dev/urandom").context("cannot open /dev/urandom")?;
    std::io::Read::read_exact(&mut source, &mut bytes).context("cannot read /dev/urandom")?;
    Ok(bytes)
}
