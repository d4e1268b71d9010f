//! What the next start takes over before anything runs: a backup, or an empty box.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::archive::check;
use super::{Files, SHARED};
use crate::durable;
use crate::events::Event;
use crate::places::Places;
use crate::setup;
use crate::slot::Slot;

/// What is restored waits here, whole when the mark is there.
pub(super) const STAGE: &str = "restore";
pub(super) const READY: &str = "ready";
/// The box is to be emptied.
const RESET: &str = "factory-reset";

/// Lays a backup beside what there is, for the next start; returns whose it is.
///
/// # Errors
/// Says what is wrong with it; then nothing was changed.
pub(crate) fn stage(places: &Places, bytes: &[u8]) -> Result<String, String> {
    let (node, files) = check(bytes)?;
    let stage = places.data.join(STAGE);
    let written = lay(&stage, &files);
    if let Err(error) = written {
        let _ = fs::remove_dir_all(&stage);
        return Err(format!(
            "the backup cannot be laid on the data partition: {error}"
        ));
    }
    Ok(format!("the backup of {node} with {} files", files.len()))
}

fn lay(stage: &Path, files: &Files) -> io::Result<()> {
    match fs::remove_dir_all(stage) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    for top in ["etc", "lib/configurations", "shared"] {
        durable::folder(&stage.join(top), 0o700)?;
    }
    for (name, bytes) in files {
        let path = stage.join(name);
        if let Some(folder) = path.parent() {
            durable::folder(folder, 0o700)?;
        }
        durable::write(&path, bytes, 0o600)?;
    }
    durable::write(&stage.join(READY), b"", 0o600)
}

/// Has the next start empty the box.
///
/// # Errors
/// Says what cannot be written.
pub(crate) fn stage_reset(places: &Places) -> Result<(), String> {
    durable::write(&places.data.join(RESET), b"", 0o600)
        .map_err(|error| format!("the data partition cannot be written: {error}"))
}

/// Takes over what an agent before this one laid ready; called before anything of the data partition
/// is used. A power cut in between is taken up at the next start.
pub(crate) fn at_boot(places: &Places, slot: Slot) -> Vec<Event> {
    let mut events = Vec::new();
    let mut say = |code: &'static str, done: io::Result<bool>, text: &str| match done {
        Ok(false) => {}
        Ok(true) => events.push(Event::notice(code, text)),
        Err(error) => {
            let text = format!("{text}: it failed: {error}");
            events.push(Event::error(code, text));
        }
    };
    say(
        "factory-reset",
        reset(places),
        "the box is as it was delivered",
    );
    say(
        "restore",
        take_over(places, slot),
        "the box runs on a backup",
    );
    events
}

fn reset(places: &Places) -> io::Result<bool> {
    let mark = places.data.join(RESET);
    if !mark.exists() {
        return Ok(false);
    }
    let mut folders: Vec<PathBuf> = vec![
        places.slot(Slot::A),
        places.slot(Slot::B),
        places.data.join(STAGE),
    ];
    // What happened stays: whoever asks later must find that the box was emptied.
    let shared = fs::read_dir(places.shared())
        .into_iter()
        .flatten()
        .flatten();
    let others = shared.filter(|entry| entry.file_name() != "events");
    folders.extend(others.map(|entry| entry.path()));
    for path in folders {
        let gone = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    durable::remove(&mark)?;
    Ok(true)
}

fn take_over(places: &Places, slot: Slot) -> io::Result<bool> {
    let stage = places.data.join(STAGE);
    if !stage.exists() {
        return Ok(false);
    }
    let ready = stage.join(READY);
    if !ready.exists() {
        // Its power was cut before it was whole.
        fs::remove_dir_all(&stage)?;
        return Ok(false);
    }
    let of_slot = places.slot(slot);
    durable::folder(&of_slot.join("lib"), 0o700)?;
    durable::folder(&places.shared().join("keys"), 0o700)?;
    durable::folder(&places.shared().join("ssh"), 0o700)?;
    let moves = [
        (stage.join("etc"), of_slot.join("etc")),
        (
            stage.join("lib/configurations"),
            of_slot.join("lib/configurations"),
        ),
    ];
    for (from, to) in moves {
        // What was moved already is not there any more.
        if !from.exists() {
            continue;
        }
        match fs::remove_dir_all(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => fs::rename(&from, &to)?,
        }
        sync(&to)?;
    }
    for name in SHARED {
        let from = stage.join("shared").join(name);
        if from.exists() {
            let to = places.shared().join(name);
            fs::rename(&from, &to)?;
            sync(&to)?;
        }
    }
    if !setup::is_set_up(places) {
        setup::mark(places, "by a backup")?;
    }
    durable::remove(&ready)?;
    fs::remove_dir_all(&stage)?;
    Ok(true)
}

fn sync(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
