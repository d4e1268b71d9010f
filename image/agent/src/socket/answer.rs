//! What is done for each request.

use std::fs;
use std::os::fd::OwnedFd;

use serde_json::Value;
use weir_control::Role;

use super::stream::{Peer, patient, write_patiently};
use crate::events::Event;
use crate::handle::{Handle, Order};
use crate::keys::{self, Key, Keys};
use crate::protocol::{Answer, Ask, BoxRow, Local, Request};
use crate::{backup, install, observe, prepare, secret, setup, update};

/// No configuration is longer.
const LONGEST: u64 = 16 << 20;

/// Who asks, as events say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    by: String,
    from: String,
    is_root: bool,
}

impl Asker {
    /// Takes the word of those who may come in for whom they serve.
    pub(super) fn of(ask: &Ask, peer: Peer) -> Self {
        let account = if peer.uid == 0 { "root" } else { "operator" };
        let name = ask.name.as_ref().map(ToString::to_string);
        let from = ask.from.map(|ip| ip.to_string());
        Self {
            by: name.unwrap_or_else(|| account.to_owned()),
            from: from.unwrap_or_else(|| "local".to_owned()),
            is_root: peer.uid == 0,
        }
    }

    fn event(&self, code: &'static str, text: String) -> Event {
        Event::notice(code, text)
            .field("by", &self.by)
            .field("from", &self.from)
    }
}

/// Says what an end of the box waits for.
fn draining(handle: &Handle) -> String {
    let sessions = observe::status_now(handle).map_or(0, |status| {
        status.sessions.saturating_sub(status.sessions_over)
    });
    let longest = handle.seen().running.map(|it| it.box_of.stop_after);
    match longest {
        Some(longest) if sessions > 0 && !longest.is_zero() => format!(
            "the box ends when its sessions have, {sessions} now, and after {} s at most ([node] \
             stop-after); the power button ends it at once",
            longest.as_secs()
        ),
        _ => "the box ends now".to_owned(),
    }
}

/// Does what is asked; returns what the main loop has to do after the answer.
///
/// # Errors
/// Says why it was not done.
pub(super) fn answer(
    handle: &Handle,
    request: Request,
    file: Option<OwnedFd>,
    asker: &Asker,
    say: &mut dyn FnMut(Answer),
) -> Result<Option<Order>, String> {
    let takes_file = request.takes_file();
    let file = match (takes_file, file) {
        (true, None) => return Err("no file came with the request".to_owned()),
        (true, file) => file,
        (false, _) => None,
    };
    let (by, from) = (asker.by.as_str(), asker.from.as_str());
    let mut progress = |text: String| say(Answer::Progress(text));
    match request {
        Request::Status => {
            let row = serde_json::to_value(status(handle)).unwrap_or(Value::Null);
            say(Answer::Row(row));
            Ok(None)
        }
        Request::KeyList => {
            for row in Keys::load(handle.places()).0.rows() {
                say(Answer::Row(
                    serde_json::to_value(row).unwrap_or(Value::Null),
                ));
            }
            Ok(None)
        }
        Request::KeyAdd { role, key } => key_add(handle, asker, role, &key),
        Request::KeyRemove { role, key, last } => key_remove(handle, asker, role, &key, last),
        Request::Update { older } => {
            let input = input(file)?;
            update::install(handle, input, older, by, from, &mut progress).map(|()| None)
        }
        Request::Rollback => update::rollback(handle, by, from, &mut progress).map(|()| None),
        Request::Restart { configured } => {
            let text = if configured {
                Some(read(input(file)?, LONGEST)?)
            } else {
                None
            };
            install::restart(handle, text.as_deref(), by, from, &mut progress).map(|()| None)
        }
        Request::Backup => {
            let bytes = backup::make(handle.places())?;
            let output = file.ok_or("no file came with the request")?;
            write_patiently(output, &bytes)
                .map_err(|error| format!("the backup cannot be written: {error}"))?;
            handle.say(asker.event("backup", format!("{by} took a backup of the box")));
            Ok(None)
        }
        Request::Restore => {
            let bytes = read(input(file)?, backup::LONGEST)?;
            let what = backup::stage(handle.places(), &bytes)?;
            progress(format!("{what}; the box starts again"));
            let text = format!("{by} has the box start on a backup: {what}");
            handle.say(asker.event("restore", text));
            Ok(Some(Order::Reboot))
        }
        Request::FactoryReset { node } => {
            let seen = handle.seen().status;
            let name = backup::node(handle.places()).or_else(|| seen.map(|status| status.node));
            let name = name.unwrap_or_else(|| "weir".to_owned());
            if node != name {
                return Err(format!(
                    "this box is {name}; type its name to make it as it was delivered"
                ));
            }
            backup::stage_reset(handle.places())?;
            let text = format!("{by} has the box made as it was delivered");
            handle.say(asker.event("factory-reset", text));
            Ok(Some(Order::Reboot))
        }
        Request::Reboot => {
            progress(draining(handle));
            handle.say(asker.event("power", format!("{by} has the box start again")));
            Ok(Some(Order::Reboot))
        }
        Request::Poweroff => {
            progress(draining(handle));
            handle.say(asker.event("power", format!("{by} turns the box off")));
            Ok(Some(Order::PowerOff))
        }
        Request::Secret { secret } => {
            secret::set(handle.places(), &secret)?;
            handle.say(asker.event("secret-changed", format!("{by} set the local secret")));
            Ok(None)
        }
        Request::Local { what, terminal } if asker.is_root => Ok(local(handle, what, &terminal)),
        Request::Local { .. } => Err("only the local consoles say this".to_owned()),
    }
}

fn key_add(
    handle: &Handle,
    asker: &Asker,
    role: Role,
    line: &str,
) -> Result<Option<Order>, String> {
    let _alone = KEYS.lock();
    let key = Key::parse(line)?;
    let (mut keys, _) = Keys::load(handle.places());
    keys.add(role, key.clone())?;
    save(handle, &keys)?;
    handle.say(keys::event("key-added", role, &key, &asker.by, &asker.from));
    Ok(Some(Order::Changed))
}

fn key_remove(
    handle: &Handle,
    asker: &Asker,
    role: Role,
    which: &str,
    last: bool,
) -> Result<Option<Order>, String> {
    let _alone = KEYS.lock();
    let (mut keys, _) = Keys::load(handle.places());
    let key = keys.remove(role, which, last)?;
    save(handle, &keys)?;
    let event = keys::event("key-removed", role, &key, &asker.by, &asker.from);
    handle.say(event);
    Ok(Some(Order::Changed))
}

/// Two who change keys at once do it one after the other.
static KEYS: std::sync::Mutex<()> = std::sync::Mutex::new(());

fn save(handle: &Handle, keys: &Keys) -> Result<(), String> {
    let places = handle.places();
    let written = keys.save(places).and_then(|()| keys::install(places));
    written
        .map(|_| ())
        .map_err(|error| format!("the keys cannot be written: {error}"))
}

fn local(handle: &Handle, what: Local, terminal: &str) -> Option<Order> {
    let terminal: String = terminal
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(16)
        .collect();
    let (event, order) = match what {
        Local::Operator => (
            Event::notice("login", format!("an operator is at {terminal}")),
            None,
        ),
        Local::Shell => (
            Event::warning(
                "maintenance-shell",
                format!("somebody has the maintenance shell at {terminal}"),
            ),
            None,
        ),
        Local::Left => (
            Event::notice("logout", format!("the operator at {terminal} has gone")),
            None,
        ),
        Local::Wrong => (
            Event::warning(
                "login-failed",
                format!("somebody gave a wrong local secret at {terminal}"),
            ),
            None,
        ),
        Local::Secret => (
            Event::warning(
                "secret-changed",
                format!("a new local secret was set at {terminal}"),
            ),
            None,
        ),
        Local::Keys => (
            Event::warning(
                "key-added",
                format!("an operator's key was added at {terminal}"),
            ),
            Some(Order::Changed),
        ),
        Local::SetUp => (
            Event::notice("setup", format!("the box was set up at {terminal}")),
            Some(Order::RestartDaemon),
        ),
    };
    handle.say(event.field("from", &terminal));
    if what == Local::SetUp {
        handle.order(Order::Changed);
    }
    order
}

fn input(file: Option<OwnedFd>) -> Result<fs::File, String> {
    let file = file.ok_or("no file came with the request")?;
    patient(file).map_err(|error| format!("the file cannot be read: {error}"))
}

fn read(file: fs::File, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = std::io::Read::read_to_end(&mut std::io::Read::take(file, most + 1), &mut bytes);
    read.map_err(|error| format!("the file cannot be read: {error}"))?;
    if bytes.len() as u64 > most {
        return Err(format!("the file is larger than {most} bytes"));
    }
    Ok(bytes)
}

fn status(handle: &Handle) -> BoxRow {
    let places = handle.places();
    let line = |path: std::path::PathBuf| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.trim().replace('\n', "; ")
    };
    let (keys, _) = Keys::load(places);
    let uptime = secret::parse_uptime(&line(places.proc.join("uptime")));
    let mut row = BoxRow {
        version: line("/usr/share/weir/version".into()),
        kernel: line(places.proc.join("sys/kernel/osrelease")),
        data_fault: line(places.run.join(prepare::DATA_FAULT)),
        modules_fault: line(places.run.join(prepare::MODULES_FAULT)),
        uptime: uptime.unwrap_or_default().as_secs(),
        daemon: handle.seen().status.is_some(),
        secret: secret::is_set(places),
        set_up: setup::is_set_up(places),
        operators: keys.of(Role::Operator).len() as u64,
        viewers: keys.of(Role::Viewer).len() as u64,
        ..BoxRow::default()
    };
    if let Ok(disk) = nix::sys::statvfs::statvfs(&places.data) {
        row.data_size = disk.blocks() * disk.fragment_size();
        row.data_free = disk.blocks_available() * disk.fragment_size();
    }
    update::fill(&mut row, handle);
    row
}
