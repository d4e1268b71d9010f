//! The beginning: the box is prepared, in an order in which whatever fails leaves the rest working.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;

use super::{Agent, Devices, Last, asker_call, daemon_call, mark};
use crate::children::Kept;
use crate::clock::{self, Servers};
use crate::durable;
use crate::events::Event;
use crate::handle::{Handle, Message};
use crate::kept;
use crate::keys::Keys;
use crate::login::watch::Watch;
use crate::management::{self, Refused};
use crate::nics;
use crate::places::Places;
use crate::prepare::{self, BOOTED};
use crate::socket::server;
use crate::trial::{self, Trial};
use crate::watchdog::Watchdog;
use crate::words::Words;
use crate::{backup, hardening, observe, power, setup, slots, tell};

/// The agent's own process, for whoever has it end.
const PID: &str = "agent.pid";
/// How long init has to start the box again or turn it off once everything has been stopped.
const INIT: Duration = Duration::from_secs(40);
/// How long `weir agent stop` waits.
const LONGEST_END: Duration = Duration::from_mins(2);

/// Runs the agent until the end of the box, or until somebody has it end.
///
/// # Errors
/// Says why it cannot even begin.
pub(crate) fn run() -> Result<(), String> {
    let places = Places::real();
    let line = fs::read_to_string(places.proc.join("cmdline"));
    let line = line.map_err(|error| format!("the kernel's words cannot be read: {error}"))?;
    let words = Words::parse(&line);
    if words.get("weir.slot").is_none() {
        return Err("this is no appliance of the image; `weir run` is the daemon".to_owned());
    }
    let (orders, heard) = channel();
    let handle = Handle::new(places, words, orders);
    take_signals(&handle).map_err(|error| format!("signals cannot be taken: {error}"))?;
    let agent = prepare(&handle)?;
    let (last, mut watchdog) = agent.go_round(&heard);
    crate::log::say(format_args!("everything has been stopped: {last:?}"));
    let init = match last {
        Last::Exit => return Ok(()),
        // What busybox's init takes for the words of its `reboot` and `poweroff`.
        Last::Reboot => Signal::SIGTERM,
        Last::PowerOff => Signal::SIGUSR2,
    };
    prepare::unmount_all(handle.places(), handle.words().slot);
    nix::unistd::sync();
    let _ = kill(Pid::from_raw(1), init);
    let begun = Instant::now();
    while begun.elapsed() < INIT {
        watchdog.feed();
        let word = heard.recv_timeout(Duration::from_millis(500));
        // Init has begun, and asks everybody to end.
        if let Ok(Message::Signal(Signal::SIGTERM | Signal::SIGINT)) = word {
            return Ok(());
        }
    }
    // An init that does not listen.
    let mode = match last {
        Last::PowerOff => RebootMode::RB_POWER_OFF,
        Last::Reboot | Last::Exit => RebootMode::RB_AUTOBOOT,
    };
    reboot(mode)
        .map(drop)
        .map_err(|error| format!("the box does not start again: {error}"))
}

/// Has the agent that runs stop everything in order, and waits until it has.
///
/// # Errors
/// Says why nothing was stopped.
pub(crate) fn stop() -> Result<(), String> {
    let file = Places::real().run.join(PID);
    let text = fs::read_to_string(&file).map_err(|_| "no agent runs here".to_owned())?;
    let pid: i32 = text
        .trim()
        .parse()
        .map_err(|_| "no agent runs here".to_owned())?;
    let pid = Pid::from_raw(pid);
    kill(pid, Signal::SIGTERM).map_err(|error| format!("the agent cannot be asked: {error}"))?;
    let begun = Instant::now();
    while kill(pid, None).is_ok() {
        if begun.elapsed() > LONGEST_END {
            return Err("the agent does not end".to_owned());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn take_signals(handle: &Handle) -> nix::Result<()> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    mask.add(Signal::SIGINT);
    mask.thread_block()?;
    let handle = handle.clone();
    let builder = thread::Builder::new().name("signals".to_owned());
    let listen = move || {
        while let Ok(signal) = mask.wait() {
            handle.tell(Message::Signal(signal));
        }
    };
    builder
        .spawn(listen)
        .map(drop)
        .map_err(|_| nix::Error::EAGAIN)
}

/// Makes the box ready; what fails becomes an event, and the rest goes on.
fn prepare(handle: &Handle) -> Result<Agent, String> {
    let (places, words) = (handle.places(), handle.words());
    let began = Instant::now();
    let watchdog = Watchdog::start().unwrap_or_else(|error| {
        let text = format!("the watchdog cannot be started: {error}");
        handle.say(Event::warning("watchdog", text));
        Watchdog::none()
    });
    durable::folder(&places.run, 0o755)
        .map_err(|error| format!("{}: {error}", places.run.display()))?;
    let is_again = places.run.join(BOOTED).exists();
    let _ = fs::write(places.run.join(PID), std::process::id().to_string());
    use_every_core();
    say_beginning(handle, is_again, watchdog.is_there());
    say_faults(handle, is_again);
    if !is_again {
        for event in backup::at_boot(places, words.slot) {
            handle.say(event);
        }
    }
    slot_folders(handle);
    if !is_again {
        name_cards(handle);
        say_hardening(
            handle,
            &hardening::make(
                &places.proc,
                &hardening::machine(&hardening::devices(&places.sys)),
            ),
        );
        // They fail where an agent before this one gave them.
        for sentence in management::run(&management::rules_first()) {
            crate::log::say(sentence);
        }
        let _ = management::run(&[vec!["link".into(), "set".into(), "lo".into(), "up".into()]]);
    }
    for event in setup::at_boot(places, words) {
        handle.say(event);
    }
    let host_key = host_key(handle);
    let (wanted, wrong) = kept::at_start(places);
    if let Some(wrong) = wrong {
        handle.say(Event::error("data-fault", wrong));
    }
    for event in trial::after_failure(places, words) {
        handle.say(event);
    }
    let trial = Trial::begin(places, words);
    if let Some(trial) = &trial {
        handle.say(trial.event());
    }
    let servers = Servers::default();
    let threads = observe::start(handle.clone())
        .and_then(|()| tell::start(handle.clone()))
        .and_then(|()| clock::start(handle.clone(), servers.clone()))
        .and_then(|()| power::start(handle))
        .and_then(|()| server::listen(handle));
    threads.map_err(|error| format!("a thread cannot be started: {error}"))?;

    let mut daemon = Kept::new("daemon", &places.run);
    daemon.adopt(&daemon_call(handle), Duration::ZERO);
    let ssh = Kept::new("ssh", &places.run);
    ssh.end_leftover(Path::new("dropbear"));
    let mut asker = Kept::new("asker", &places.run);
    match wanted
        .as_ref()
        .and_then(|wanted| asker_call(&places.run, wanted))
    {
        // Another one would begin with taking the address away.
        Some(call) => asker.adopt(&call, Duration::ZERO),
        None => asker.end_leftover(Path::new("udhcpc")),
    }
    mark(handle, BOOTED);
    let mut agent = Agent {
        handle: handle.clone(),
        began,
        watchdog,
        daemon,
        ssh,
        asker,
        wanted,
        running: None,
        network: management::noted(&places.run),
        refused: Refused::default(),
        resolv_conf: String::new(),
        host_name: String::new(),
        servers,
        keys: 0,
        known_keys: Keys::default(),
        logins: Watch::default(),
        host_key,
        devices: Devices::default(),
        isolation: None,
        looked: Duration::ZERO,
        answered: Duration::ZERO,
        is_silent: false,
        trial: trial.map(|trial| (began.elapsed(), trial)),
        ending: None,
    };
    agent.keys_changed();
    Ok(agent)
}

/// Cores that are kept for workers are not among those that init has; the daemon needs them.
fn use_every_core() {
    let mut all = CpuSet::new();
    for core in 0..CpuSet::count() {
        let _ = all.set(core);
    }
    // What this machine does not have is left out by the kernel.
    let _ = sched_setaffinity(Pid::from_raw(0), &all);
}

fn say_beginning(handle: &Handle, is_again: bool, has_watchdog: bool) {
    if is_again {
        let text = "the agent ended without being asked, and was started again";
        let event = Event::error("child-exited", text);
        handle.say(event.field("program", "the agent"));
        return;
    }
    let words = handle.words();
    let version = fs::read_to_string("/usr/share/weir/version").unwrap_or_default();
    let version = version.trim();
    let trial = if words.trial { ", on trial" } else { "" };
    let text = format!(
        "the box started version {version} in slot {}{trial}",
        words.slot
    );
    let event = Event::notice("boot", text);
    let event = event.field("version", version).field("slot", words.slot);
    let watched = if has_watchdog { "yes" } else { "no" };
    handle.say(event.field("watchdog", watched));
}

/// Says what the start of the system found wrong.
fn say_faults(handle: &Handle, is_again: bool) {
    let run = &handle.places().run;
    let faults = [
        (prepare::DATA_FAULT, "data-fault"),
        ("data-repaired", "data-fault"),
        (prepare::MODULES_FAULT, "modules-fault"),
    ];
    for (file, code) in faults.into_iter().filter(|_| !is_again) {
        let text = fs::read_to_string(run.join(file)).unwrap_or_default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            handle.say(Event::error(code, line));
        }
    }
}

fn slot_folders(handle: &Handle) {
    let (places, slot) = (handle.places(), handle.words().slot);
    let seeded = slots::seed(places, slot);
    let seeded = seeded.map_err(|error| format!("the configuration of slot {slot}: {error}"));
    let mut faults = Vec::new();
    match seeded {
        Ok(events) => {
            for event in events {
                handle.say(event);
            }
        }
        Err(sentence) => faults.push(sentence),
    }
    // Without the other slot's configuration the box starts on none, and says so.
    let mounted = prepare::folders(places, slot).and_then(|()| prepare::mount_all(places, slot));
    faults.extend(mounted.err());
    for sentence in faults {
        let event = Event::error("data-fault", sentence);
        handle.say(event.field("slot", slot));
    }
}

fn name_cards(handle: &Handle) {
    let mut rename = |old: &str, new: &str| {
        let words = |words: &[&str]| {
            words
                .iter()
                .map(|&word| word.to_owned())
                .collect::<Vec<_>>()
        };
        // A device that is up keeps its name.
        let _ = management::run(&[words(&["link", "set", old, "down"])]);
        let failed = management::run(&[words(&["link", "set", old, "name", new])]);
        failed.into_iter().next().map_or(Ok(()), Err)
    };
    match nics::name_all(handle.places(), &mut rename) {
        Ok((naming, failed)) => {
            let of = |text: String, name: &str, mac: &str| {
                let event = Event::notice("interfaces", text);
                event.field("device", name).field("mac", mac)
            };
            for (name, mac) in &naming.new {
                handle.say(of(
                    format!("the card {mac} is {name} from now on"),
                    name,
                    mac,
                ));
            }
            for (name, mac) in &naming.gone {
                handle.say(of(
                    format!("the card {mac} that was {name} is gone"),
                    name,
                    mac,
                ));
            }
            for sentence in failed {
                handle.say(Event::error("interfaces", sentence));
            }
        }
        Err(error) => {
            let text = format!("network cards have the names that the kernel gave them: {error}");
            handle.say(Event::error("interfaces", text));
        }
    }
}

/// Says which settings the kernel refused.
pub(super) fn say_hardening(handle: &Handle, failed: &[String]) {
    let Some(first) = failed.first() else {
        return;
    };
    for sentence in failed {
        crate::log::say(sentence);
    }
    let text = format!(
        "{} settings of the kernel were refused, the first: {first}",
        failed.len()
    );
    handle.say(Event::warning("hardening", text));
}

fn host_key(handle: &Handle) -> Option<std::path::PathBuf> {
    match prepare::host_key(handle.places()) {
        Ok((key, is_new)) => {
            if is_new {
                let print = fingerprint(&key);
                let text = format!("the box made its host key, {print}");
                let event = Event::notice("host-keys", text);
                handle.say(event.field("fingerprint", print));
            }
            Some(key)
        }
        Err(sentence) => {
            let text = format!("nobody can log in by SSH, there is no host key: {sentence}");
            handle.say(Event::error("host-keys", text));
            None
        }
    }
}

/// Returns what people compare when they log in for the first time.
fn fingerprint(key: &Path) -> String {
    let output = Command::new("dropbearkey")
        .arg("-y")
        .arg("-f")
        .arg(key)
        .output();
    let text = output.map(|it| String::from_utf8_lossy(&it.stdout).into_owned());
    let text = text.unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Fingerprint: "));
    line.unwrap_or("of an unknown fingerprint").to_owned()
}
