//! The main loop: everything that the agent keeps going, looked after in turn, waiting for nothing.

mod boot;
mod devices;
mod ending;

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use weir_conf::ManagementAddress;

use crate::boot::Boot;
use crate::children::{self, Call, Kept, Outcome, Output};
use crate::clock::Servers;
use crate::durable;
use crate::events::Event;
use crate::handle::{Handle, Message, Order};
use crate::hardening;
use crate::kept;
use crate::keys::{self, Keys};
use crate::lease::{self, Lease};
use crate::login::watch::Watch;
use crate::management::{self, Network, Refused};
use crate::observe::{BoxOf, Running};
use crate::trial::{Trial, Verdict};
use crate::watchdog::Watchdog;

use devices::Devices;
use ending::{Ending, Last};

/// How long the loop waits for messages; also how often the watchdog is fed at least.
const TURN: Duration = Duration::from_millis(500);
/// How often things are looked at that seldom change.
const SELDOM: Duration = Duration::from_secs(10);
/// How long a program other than the daemon may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the daemon may take beyond the time that it drains: hooks, the last events, devices.
const BEYOND_DRAINING: Duration = Duration::from_secs(30);
/// A daemon that says nothing for so long is worth an event.
const SILENCE: Duration = Duration::from_secs(30);

pub(crate) use boot::{run, stop};

/// Everything that is kept going.
struct Agent {
    handle: Handle,
    began: Instant,
    watchdog: Watchdog,
    daemon: Kept,
    ssh: Kept,
    asker: Kept,
    /// What is to be; none where no configuration can be read.
    wanted: Option<BoxOf>,
    running: Option<Running>,
    /// How the network is.
    network: Network,
    /// Commands that the kernel has refused so far.
    refused: Refused,
    resolv_conf: String,
    host_name: String,
    servers: Servers,
    keys: usize,
    known_keys: Keys,
    logins: Watch,
    host_key: Option<PathBuf>,
    devices: Devices,
    isolation: Option<Vec<u16>>,
    looked: Duration,
    answered: Duration,
    is_silent: bool,
    trial: Option<(Duration, Trial)>,
    ending: Option<Ending>,
}

impl Agent {
    /// Goes round until the end.
    fn go_round(mut self, heard: &Receiver<Message>) -> (Last, Watchdog) {
        loop {
            let first = heard.recv_timeout(TURN);
            if matches!(first, Err(RecvTimeoutError::Disconnected)) {
                return (Last::Exit, self.watchdog);
            }
            for message in first.into_iter().chain(heard.try_iter()) {
                self.hear(message);
            }
            let now = self.began.elapsed();
            self.watchdog.feed();
            self.look_after(now);
            if let Some(last) = self.end(now) {
                if last == Last::PowerOff {
                    self.watchdog.stop();
                }
                return (last, self.watchdog);
            }
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Signal(Signal::SIGTERM | Signal::SIGINT) => self.begin_to_end(Last::Exit),
            Message::Signal(_) => {}
            Message::Order(Order::Reboot) => self.begin_to_end(Last::Reboot),
            Message::Order(Order::PowerOff) => self.begin_to_end(Last::PowerOff),
            Message::Order(Order::Changed) => self.keys_changed(),
            Message::Order(Order::RestartDaemon) => {
                self.daemon_starts_again();
                self.daemon.restart(self.began.elapsed());
            }
            Message::Ssh(line) => match self.logins.event(&line, &self.known_keys) {
                Some(event) => self.handle.say(event),
                None => crate::log::say(format_args!("ssh: {line}")),
            },
            Message::Seen => self.see(),
            Message::PowerButton => {
                let text = "somebody pushed the power button";
                let event = Event::notice("power", text);
                self.handle.say(event.field("what", "poweroff"));
                self.begin_to_end(Last::PowerOff);
            }
        }
    }

    /// Reads again who may log in.
    fn keys_changed(&mut self) {
        match keys::install(self.handle.places()) {
            Ok((count, complaints)) => {
                self.keys = count;
                for complaint in complaints {
                    crate::log::say(complaint);
                }
            }
            Err(error) => {
                let text = format!("the keys of operators and viewers cannot be read: {error}");
                self.handle.say(Event::error("data-fault", text));
            }
        }
        self.known_keys = Keys::load(self.handle.places()).0;
        // Somebody may have set the box up: until the daemon runs the file is what holds.
        if self.running.is_none() {
            let (found, _) = kept::at_start(self.handle.places());
            self.wanted = found.or_else(|| self.wanted.take());
        }
    }

    /// Takes what the daemon said.
    fn see(&mut self) {
        let now = self.began.elapsed();
        let seen = self.handle.seen();
        if seen.status.is_some() {
            self.answered = now;
            self.is_silent = false;
        }
        let Some(running) = seen.running.filter(|it| self.running.as_ref() != Some(it)) else {
            return;
        };
        if !running.is_tried {
            // Whoever asks for it again has to do without.
            let kept = kept::keep(self.handle.places(), &running.text);
            if let Err(error) = kept {
                let text = format!("what runs cannot be kept for the next start: {error}");
                self.handle.say(Event::warning("data-fault", text));
            }
            self.isolate(&running.box_of.worker_cores);
        }
        self.devices.runs();
        self.wanted = Some(running.box_of.clone());
        self.running = Some(running);
    }

    fn look_after(&mut self, now: Duration) {
        // Before the daemon switches its devices on.
        if let Some(wanted) = &self.wanted {
            let refused = self.devices.tell(wanted, self.handle.places());
            boot::say_hardening(&self.handle, &refused);
        }
        self.look_after_daemon(now);
        self.look_after_network(now);
        self.look_after_ssh(now);
        if now.saturating_sub(self.looked) >= SELDOM {
            self.looked = now;
            children::trim(&daemon_log(&self.handle));
            self.pin_interrupts();
        }
        if self.ending.is_none()
            && let Some((begun, trial)) = &mut self.trial
        {
            match trial.tick(now.saturating_sub(*begun), &self.handle.seen()) {
                Verdict::Wait => {}
                Verdict::Confirmed(events) => {
                    self.trial = None;
                    self.say_all(events);
                }
                Verdict::GiveUp(events) => {
                    self.trial = None;
                    self.say_all(events);
                    self.begin_to_end(Last::Reboot);
                }
            }
        }
    }

    fn say_all(&self, events: Vec<Event>) {
        for event in events {
            self.handle.say(event);
        }
    }

    /// Has the devices be what the daemon starts on the next time.
    fn daemon_starts_again(&mut self) {
        let (next, _) = kept::at_start(self.handle.places());
        self.devices.starts_on(next);
    }

    fn look_after_daemon(&mut self, now: Duration) {
        let drains = self
            .wanted
            .as_ref()
            .map_or(Duration::ZERO, |it| it.stop_after);
        let patience = drains + BEYOND_DRAINING;
        let call = (!self.is_stopping()).then(|| daemon_call(&self.handle));
        self.daemon.want(call);
        let outcome = self.daemon.look_after(now, patience, &self.handle);
        if outcome.is_some() {
            self.answered = now;
        }
        if matches!(outcome, Some(Outcome::Ended(..))) {
            self.daemon_starts_again();
        }
        self.say_outcome("the daemon", outcome);
        if !self.is_silent
            && self.daemon.is_running()
            && now.saturating_sub(self.answered) > SILENCE
        {
            self.is_silent = true;
            let text = format!("the daemon has not answered for {} s", SILENCE.as_secs());
            crate::log::say(text);
        }
    }

    fn look_after_network(&mut self, now: Duration) {
        let Some(wanted) = self.wanted.clone() else {
            return;
        };
        let run = self.handle.places().run.clone();
        let call = asker_call(&run, &wanted);
        let with_lease = call.is_some();
        if !with_lease || self.asker.called_otherwise(call.as_ref()) {
            Lease::forget(&run);
        }
        self.asker.want(call.filter(|_| !self.is_stopping()));
        let outcome = self.asker.look_after(now, PATIENCE, &self.handle);
        self.say_outcome("the asker for an address", outcome);

        let lease = with_lease.then(|| Lease::read(&run)).flatten();
        let network = Network::wanted(&wanted, lease.as_ref());
        if network != self.network {
            self.change_network(network, now);
        }
        self.mend_network(now);
        let text = management::resolv_conf(&wanted.management, lease.as_ref());
        if text != self.resolv_conf {
            // It is made anew at the next change; meanwhile the one of before holds.
            let _ = fs::write(run.with_file_name("resolv.conf"), &text);
            self.resolv_conf = text;
        }
        if wanted.management.node != self.host_name {
            self.host_name.clone_from(&wanted.management.node);
            // It is only the name that the kernel's log and DHCP servers see.
            let _ = nix::unistd::sethostname(&self.host_name);
        }
        self.servers
            .set(management::time_servers(&wanted.management, lease.as_ref()));
    }

    fn change_network(&mut self, network: Network, now: Duration) {
        let refused = management::run_each(&management::steps(&self.network, &network));
        let moved =
            self.network.address != network.address || self.network.device != network.device;
        if moved {
            let text = match &network.address {
                Some(address) => format!(
                    "the box is to be reached at {address} on {}",
                    network.device
                ),
                None => "the box has no management address".to_owned(),
            };
            let event = Event::notice("management", text);
            let event = event.field("device", &network.device);
            let address = network.address.as_deref().unwrap_or("none");
            self.handle.say(event.field("address", address));
        }
        // What was refused of a network that is no longer wanted is nobody's.
        self.refused = Refused::new(refused, now);
        // An agent that starts again would set it up again, which is no harm.
        let _ = management::note(&self.handle.places().run, &network);
        self.network = network;
    }

    /// Gives the kernel again what it refused, and routes that it has lost: those of a port come when
    /// the daemon has given the port its address, and go when the device is switched off and on.
    fn mend_network(&mut self, now: Duration) {
        if !self.refused.is_due(now) {
            return;
        }
        let mut steps = self.refused.steps();
        let text = fs::read_to_string(self.handle.places().proc.join("net/route"));
        for step in self.network.lost_routes(&text.unwrap_or_default()) {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        let refused = management::run_each(&steps);
        if let Some(sentence) = self.refused.again(refused, now) {
            let text = format!("the network cannot be set up as it should: {sentence}");
            self.handle.say(Event::warning("management", text));
        }
    }

    fn look_after_ssh(&mut self, now: Duration) {
        let port = self.wanted.as_ref().map(|it| it.management.ssh_port);
        let call = match (self.network.ip(), port, &self.host_key) {
            (Some(ip), Some(port), Some(key)) if self.keys > 0 && !self.is_stopping() => {
                Some(ssh_call(key, ip, port))
            }
            _ => None,
        };
        self.ssh.want(call);
        let outcome = self.ssh.look_after(now, PATIENCE, &self.handle);
        self.say_outcome("SSH", outcome);
    }

    fn say_outcome(&self, what: &str, outcome: Option<Outcome>) {
        let (how, rests) = match outcome {
            None | Some(Outcome::Started | Outcome::Stopped) => return,
            Some(Outcome::Ended(how, rests)) => (format!("ended ({how})"), rests),
            Some(Outcome::Failed(why, rests)) => (format!("cannot be started: {why}"), rests),
        };
        let text = format!("{what} {how}; it is started again in {} s", rests.as_secs());
        let event = Event::error("child-exited", text);
        self.handle
            .say(event.field("program", what).field("how", how));
    }

    /// Has the next start keep other work off the cores that the file names for workers.
    fn isolate(&mut self, cores: &[u16]) {
        if self.isolation.as_deref() == Some(cores) {
            return;
        }
        self.isolation = Some(cores.to_vec());
        let words = hardening::isolation(cores);
        let boot = Boot::at(&self.handle.places().boot);
        let changed = boot.environment().and_then(|env| {
            let old = env.get("args").unwrap_or_default();
            let new = hardening::with_isolation(old, &words);
            if new == old {
                // The partition stays read-only.
                return Ok(());
            }
            boot.change_environment(|env| env.set("args", &new))
        });
        if let Err(error) = changed {
            crate::log::say(format_args!("the kernel's words cannot be kept: {error}"));
        }
    }

    fn pin_interrupts(&self) {
        let Some(wanted) = &self.wanted else {
            return;
        };
        let places = self.handle.places();
        let workers = self.handle.seen().workers;
        let workers: Vec<u32> = workers.iter().filter_map(|worker| worker.cpu).collect();
        if workers.is_empty() {
            return;
        }
        let text = fs::read_to_string(places.proc.join("interrupts")).unwrap_or_default();
        let all = hardening::interrupts(&text);
        let cores = std::thread::available_parallelism().map_or(1, |it| it.get() as u32);
        let others: Vec<u32> = (0..cores).filter(|core| !workers.contains(core)).collect();
        for port in &wanted.ports {
            let own = hardening::interrupts_of(&places.sys, &port.device);
            let own: Vec<_> = all
                .iter()
                .filter(|(number, _)| own.contains(number))
                .cloned()
                .collect();
            for (number, core) in hardening::pinned(&own, &workers, &others) {
                let file = places.proc.join(format!("irq/{number}/smp_affinity_list"));
                let is_there =
                    fs::read_to_string(&file).is_ok_and(|it| it.trim() == core.to_string());
                if !is_there {
                    // Some the kernel keeps where it wants them.
                    let _ = fs::write(file, core.to_string());
                }
            }
        }
    }
}

fn daemon_log(handle: &Handle) -> PathBuf {
    handle.places().run.join("daemon.log")
}

fn daemon_call(handle: &Handle) -> Call {
    let places = handle.places();
    Call {
        program: itself(),
        words: ["run", "--last-good"].map(str::to_owned).to_vec(),
        environment: vec![
            ("RUNTIME_DIRECTORY", places.run.display().to_string()),
            ("STATE_DIRECTORY", places.state.display().to_string()),
        ],
        output: Output::File(daemon_log(handle)),
        oom: -900,
    }
}

fn itself() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/bin/weir"))
}

/// Who asks for an address, where one is to be asked for.
fn asker_call(run: &std::path::Path, wanted: &BoxOf) -> Option<Call> {
    let management = &wanted.management;
    if management.address != Some(ManagementAddress::Dhcp) {
        return None;
    }
    let script = lease::link(run).unwrap_or_else(|_| run.join(lease::NAME));
    let words = [
        "-f",
        "-i",
        &management.device,
        "-s",
        &script.display().to_string(),
        "-t",
        "3",
        "-A",
        "5",
        "-x",
    ];
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    words.push(format!("hostname:{}", management.node));
    words.extend(["-O", "ntpsrv"].map(str::to_owned));
    Some(Call {
        program: "udhcpc".into(),
        words,
        environment: vec![("WEIR_LEASE", run.display().to_string())],
        output: Output::Nowhere,
        oom: 0,
    })
}

/// SSH, on the management address alone, with keys alone.
pub(crate) fn ssh_call(key: &std::path::Path, ip: &str, port: u16) -> Call {
    let address = if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    };
    let key = key.display().to_string();
    let words = [
        "-F",
        "-E",
        "-m",
        "-s",
        "-g",
        "-w",
        "-j",
        "-k",
        "-T",
        "4",
        "-K",
        "60",
        "-r",
        &key,
        "-p",
        &address,
        "-P",
        "/run/weir/dropbear.pid",
    ];
    Call {
        program: "dropbear".into(),
        words: words.into_iter().map(str::to_owned).collect(),
        environment: Vec::new(),
        output: Output::Lines,
        oom: 0,
    }
}

/// Writes that the box is up for whoever looks after trials from outside.
fn mark(handle: &Handle, name: &str) {
    let file = handle.places().run.join(name);
    // It says nothing but that it is there.
    let _ = durable::write(&file, b"", 0o644);
}
