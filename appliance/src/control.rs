//! The control thread: sockets, signals, ARP, reloads and the clean stop.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use crossbeam_channel::Receiver;
use mio::unix::SourceFd;
use mio::{Events as MioEvents, Interest, Poll, Token};
use nix::sys::signal::Signal;
use nix::sys::signalfd::SignalFd;
use weir_control::{CheckRow, EventRow};
use weir_director::PoolUse;
use weir_model::{MasterKey, Severity};

use crate::clock::Clock;
use crate::command::{Command, Ticket};
use crate::configuration::{Origin, Start};
use crate::control::apply::Wish;
use crate::control::crash::CrashRing;
use crate::control::events::Events;
use crate::control::events::mark::{Life, Marked};
use crate::control::events::shelf::Shelf;
use crate::control::filling::Filling;
use crate::control::floods::Floods;
use crate::control::history::History;
use crate::control::kept::Kept;
use crate::control::overlay::Overlay;
use crate::control::overrides::Overrides;
use crate::control::ports::OpenDevice;
use crate::control::refusals::Refusals;
use crate::control::scene::Scene;
use crate::control::second::Look;
use crate::control::second::services::ServiceBooks;
use crate::control::server::Server;
use crate::control::sockets::Listener;
use crate::control::ways::Ways;
use crate::fleet::Fleet;
use crate::health::runner::{Ran, Runner};
use crate::health::{Book, Prober};
use crate::log;
use crate::metrics::Exporter;
use crate::state::{self, Applied, State};

mod answer;
mod apply;
mod candidate;
mod capture;
mod connection;
pub(crate) mod crash;
mod diff;
mod doctor;
pub(crate) mod events;
mod explain;
pub(crate) mod faults;
mod filling;
mod floods;
mod health;
pub(crate) mod history;
pub(crate) mod kept;
mod metrics;
pub(crate) mod operator;
mod orders;
mod overlay;
pub(crate) mod overrides;
pub(crate) mod ports;
mod refusals;
mod reload;
pub(crate) mod scene;
mod second;
#[cfg(test)]
mod secrecy;
mod server;
pub(crate) mod sockets;
mod start;
mod status;
mod stop;
mod ways;
mod workers;

/// Wakes the control thread: somebody put something into a channel.
pub(crate) const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
/// The ARP taps have the tokens from here on, then the sockets, then the clients.
const FIRST_TAP: usize = 2;

/// The control thread looks at everything this often, whatever wakes it.
const TICK: Duration = Duration::from_millis(100);
/// And at what is much to read.
const LOOK: Duration = Duration::from_millis(250);
/// Questions that are control's own.
const OWN_TICKET: Ticket = Ticket(0);
const FORECAST_EVERY: Duration = Duration::from_secs(1);
/// How soon control looks again for room in a worker's channel that had none left.
const CATCH_UP: Duration = Duration::from_millis(2);

/// What the control thread starts with.
pub(crate) struct ControlParts {
    pub(crate) poll: Poll,
    pub(crate) signals: SignalFd,
    pub(crate) fleet: Fleet,
    pub(crate) prober: Prober,
    /// Runs the programs of hooks; none where it could not be started.
    pub(crate) runner: Option<Runner>,
    /// What became of them.
    pub(crate) hooks: Receiver<Ran>,
    pub(crate) exporter: Exporter,
    pub(crate) clock: Clock,
    pub(crate) devices: Vec<OpenDevice>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) start: Start,
    pub(crate) state: State,
    /// Where events outlive the daemon, with those of before; or why they do not.
    pub(crate) shelf: Result<(Shelf, Vec<EventRow>), String>,
    /// The master key of services without a secret file.
    pub(crate) fallback_key: MasterKey,
    pub(crate) file: PathBuf,
    pub(crate) run_dir: PathBuf,
    /// What of the start did not go as it should.
    pub(crate) warnings: Vec<String>,
    /// What the doctor found at the start that is not as it should be.
    pub(crate) findings: Vec<CheckRow>,
}

/// The control thread.
pub(crate) struct Control {
    poll: Poll,
    signals: SignalFd,
    scene: Scene,
    server: Server,
    first_socket: usize,
    fallback_key: MasterKey,
    /// What the workers are taking over right now.
    applying: Option<apply::Applying>,
    /// Somebody captures.
    capture: Option<capture::Capture>,
    /// What came while they were.
    apply_next: VecDeque<Wish>,
    prober: Prober,
    runner: Option<Runner>,
    hooks: Receiver<Ran>,
    metrics: metrics::Metrics,
    clock: Clock,
    /// A worker said something about a flood.
    floods_turned: bool,
    refusals: Refusals,
    /// Records of the session log that found no room, as far as that was told.
    session_log_lost: u64,
    crashes: CrashRing,
    /// Where `weir bench` keeps what it found out.
    capacity: PathBuf,
    next_tick: Instant,
    next_look: Instant,
    /// The number of the event that told the start.
    started: u64,
    stop_now: bool,
    forecast: Forecast,
}

/// A round of asking every worker for the use of its LIPs.
#[derive(Debug)]
struct Forecast {
    next: Instant,
    missing: usize,
    uses: Vec<PoolUse>,
}

impl Control {
    /// Puts the control thread together.
    ///
    /// # Errors
    /// When the event loop cannot take a descriptor.
    pub(crate) fn new(parts: ControlParts) -> Result<Self> {
        let registry = parts.poll.registry();
        let readable = Interest::READABLE;
        let signals = parts.signals.as_raw_fd();
        registry
            .register(&mut SourceFd(&signals), SIGNALS, readable)
            .context("cannot wait for signals")?;
        for (place, device) in parts.devices.iter().enumerate() {
            let tap = device.tap.as_raw_fd();
            registry
                .register(&mut SourceFd(&tap), Token(FIRST_TAP + place), readable)
                .context("cannot wait for ARP")?;
        }
        let first_socket = FIRST_TAP + parts.devices.len();
        let server = Server::new(parts.listeners, registry, first_socket)
            .context("cannot wait for clients")?;
        let mut control = Self {
            scene: Scene {
                health: Book::new(parts.fleet.workers().len()),
                running: parts.start.configuration,
                kept: Kept::new(parts.file, parts.state),
                clock: parts.clock.clone(),
                overlay: Overlay::default(),
                fleet: parts.fleet,
                devices: parts.devices,
                filling: Filling::default(),
                floods: Floods::default(),
                ways: Ways::default(),
                history: History::default(),
                overrides: Overrides::default(),
                events: Events::default(),
                stopping: None,
            },
            poll: parts.poll,
            signals: parts.signals,
            server,
            first_socket,
            fallback_key: parts.fallback_key,
            applying: None,
            capture: None,
            apply_next: VecDeque::new(),
            prober: parts.prober,
            runner: parts.runner,
            hooks: parts.hooks,
            metrics: metrics::Metrics::new(parts.exporter),
            clock: parts.clock,
            floods_turned: false,
            refusals: Refusals::default(),
            session_log_lost: 0,
            crashes: CrashRing::new(parts.run_dir.join("crash.pcap")),
            capacity: crate::capacity::path(),
            next_tick: Instant::now(),
            next_look: Instant::now(),
            started: 0,
            stop_now: false,
            forecast: Forecast {
                next: Instant::now(),
                missing: 0,
                uses: Vec::new(),
            },
        };
        control.scene.events.adopt(&control.scene.running.snapshot);
        match parts.shelf {
            Ok((shelf, earlier)) => {
                let last_words = start::LastWords::of(&earlier);
                control.scene.events.go_on(shelf, earlier);
                control.begin_life(last_words);
            }
            Err(sentence) => {
                control.tell_start(&start::Before::Unknown);
                let (events, severity) = (&mut control.scene.events, Severity::Warning);
                events.system(Instant::now(), severity, "events-not-kept", sentence);
            }
        }
        control.begin(&parts.start.origin, parts.start.sentences);
        if let Some(event) = events::unheard(None, &control.scene.running.snapshot) {
            control.scene.events.say(Instant::now(), event);
        }
        let mut findings = parts.findings;
        for event in doctor::events(&mut findings) {
            control.scene.events.say(Instant::now(), event);
        }
        for sentence in parts.warnings {
            let events = &mut control.scene.events;
            events.system(Instant::now(), Severity::Warning, "self-defence", sentence);
        }
        control.watch_health();
        control.look_for_next_hops();
        control.read_orders();
        Ok(control)
    }

    /// Runs until a signal stops the daemon; then the workers end, and after them the devices are
    /// closed, which detaches Weir and restores their settings.
    ///
    /// # Errors
    /// When the event loop fails.
    pub(crate) fn run(mut self) -> Result<()> {
        let mut happened = MioEvents::with_capacity(64);
        while !self.is_over() {
            self.turn(&mut happened)?;
        }
        self.tell_who_is_left();
        self.run_last_hooks();
        self.scene.fleet.stop();
        self.tell_last_refusals();
        self.scene.events.finish();
        let (mark, started) = (self.scene.events.mark(), self.started);
        drop(self);
        let life = Life::Ended;
        if let Some(Err(error)) = mark.map(|mark| mark.write(Marked { life, started })) {
            log::say(start::not_marked(&error));
        }
        Ok(())
    }

    /// Waits until something happens or it is time to look at everything, and does what is due.
    fn turn(&mut self, happened: &mut MioEvents) -> Result<()> {
        let mut wait = self.next_tick.saturating_duration_since(Instant::now());
        if self.scene.health.is_behind() {
            wait = wait.min(CATCH_UP);
        }
        match self.poll.poll(happened, Some(wait)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(error).context("the control thread cannot wait");
            }
            Ok(()) | Err(_) => {}
        }
        for event in &*happened {
            match event.token() {
                WAKER => {}
                SIGNALS => self.take_signals(),
                Token(token) if token < self.first_socket => self.hear(token - FIRST_TAP),
                Token(_) => {
                    let registry = self.poll.registry();
                    self.server
                        .event(event, self.first_socket, registry, &self.scene);
                }
            }
        }
        for record in self.server.events() {
            self.scene.events.say(Instant::now(), record);
        }
        while let Some(order) = self.server.next_order() {
            self.carry_out(order);
        }
        self.listen_to_workers();
        self.listen_to_sessions();
        self.pump_capture();
        self.listen_to_health();
        if self.floods_turned {
            self.look_at_floods();
        }
        if Instant::now() >= self.next_tick {
            self.next_tick = Instant::now() + TICK;
            self.tick();
        }
        Ok(())
    }

    fn tick(&mut self) {
        let now = Instant::now();
        for place in 0..self.scene.devices.len() {
            self.hear(place);
        }
        let clocks = self.clock.now();
        let snapshot = &self.scene.running.snapshot;
        self.scene.health.grow(snapshot, clocks);
        let is_passive = {
            let mut services = snapshot.services.iter();
            services.any(|service| service.availability.passive.is_some())
        };
        // The counters of ten thousand real servers are much to read: silence is looked for each
        // time, the rest needs them now and then.
        if is_passive || now >= self.next_look {
            self.next_look = now + LOOK;
            let traffic = self.scene.fleet.traffic();
            let health = &mut self.scene.health;
            health.look_for_silence(snapshot, &traffic, clocks);
            let health = &self.scene.health;
            let is_out = |real| health.is_down(real) || health.is_inhibited(real);
            let ways = self.scene.ways.look(now, snapshot, &traffic, is_out);
            let refused = self.refusals.look(now, snapshot, &traffic);
            for event in ways.into_iter().chain(refused) {
                self.scene.events.say(now, event);
            }
        }
        self.scene.fleet.send_rest();
        self.look_at_page(now);
        self.look_at_floods();
        self.look_at_unconfirmed();
        self.look_at_drains();
        self.look_at_overrides();
        if self.scene.history.is_due(now) {
            let (fleet, snapshot) = (&self.scene.fleet, &self.scene.running.snapshot);
            let look = Look {
                pictures: fleet.pictures(),
                services: ServiceBooks::of(snapshot, &fleet.traffic(), &fleet.floods()),
            };
            let history = &mut self.scene.history;
            history.look(now, SystemTime::now(), snapshot, look);
        }
        self.scene.floods.look_at_capacity(now, &self.capacity);
        self.look_at_session_log(now);
        self.scene.events.tick(now);
        if now >= self.forecast.next && self.forecast.missing == 0 {
            self.begin_forecast(now);
        }
        self.server.serve_all(&self.scene);
    }

    /// Adds up what the workers publish of floods, says which began and ended, and tells each worker
    /// of what the others see.
    fn look_at_floods(&mut self) {
        self.floods_turned = false;
        let (now, snapshot) = (Instant::now(), &self.scene.running.snapshot);
        let published = self.scene.fleet.floods();
        let turned = self
            .scene
            .floods
            .look(now, SystemTime::now(), snapshot, &published);
        for (worker, event) in turned {
            self.scene.events.happened(now, worker, &event, snapshot);
        }
        let fleet = &self.scene.fleet;
        self.scene.floods.hint(|place, service, active| {
            let command = Command::FloodHint { service, active };
            fleet
                .worker(place)
                .is_some_and(|worker| worker.send_if_idle(command))
        });
    }

    fn begin_forecast(&mut self, now: Instant) {
        self.forecast.next = now + FORECAST_EVERY;
        if let Some(missing) = server::ask_for_pool_use(&self.scene, OWN_TICKET) {
            self.forecast.missing = missing;
            self.forecast.uses.clear();
        }
    }

    fn take_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            match Signal::try_from(info.ssi_signo.cast_signed()) {
                Ok(Signal::SIGHUP) => self.apply_own_files(),
                Ok(Signal::SIGTERM | Signal::SIGINT) => self.begin_stop(),
                // No other signal is asked for.
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Tells how the configuration of the start was found, and keeps it where it is a new one.
    fn begin(&mut self, origin: &Origin, sentences: Vec<String>) {
        let now = Instant::now();
        for sentence in sentences {
            let events = &mut self.scene.events;
            events.system(now, Severity::Warning, "configuration-found", sentence);
        }
        if let Origin::Files(print) = origin {
            let running = &self.scene.running;
            let applied = Applied {
                generation: running.snapshot.generation.0,
                at: state::moment(SystemTime::now()),
                by: "the start of the daemon".to_owned(),
                summary: "its files as they were".to_owned(),
                files: print.clone(),
                text: running.effective.clone(),
            };
            self.keep(&applied);
        }
    }

    /// Every worker hears what the kernel hears.
    fn hear(&mut self, place: usize) {
        let fleet = &self.scene.fleet;
        if let Some(device) = self.scene.devices.get_mut(place) {
            device.hear(|port, arp| {
                for worker in fleet.workers() {
                    worker.send_if_idle(Command::Arp { port, arp });
                }
            });
        }
    }
}

/// Makes the addresses the ones whose frames come to the workers, on every device.
///
/// # Errors
/// When a driver refuses.
pub(crate) fn set_owned(devices: &mut [OpenDevice], addresses: &[IpAddr]) -> Result<()> {
    for device in devices {
        let set = device.device.set_owned(addresses);
        set.with_context(|| format!("[port {}]: the addresses cannot be taken", device.name))?;
    }
    Ok(())
}
