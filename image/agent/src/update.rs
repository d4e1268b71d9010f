//! Updates: a signed file is written into the slot that does not run, which is then tried.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, TryLockError};

use semver::Version;
use tar::Archive;

use crate::boot::Boot;
use crate::events::Event;
use crate::handle::{Handle, Order};
use crate::places::Places;
use crate::protocol::BoxRow;
use crate::slot::Slot;
use crate::slots::{self, Entry, Manifest, Writing};

use self::archive::Update;
use self::journal::{Journal, Stage};
use self::keys::Keys;

mod archive;
pub(crate) mod journal;
pub(crate) mod keys;
pub(crate) mod migrate;

/// What the running image says of itself.
const RUNNING: &str = "/usr/share/weir/manifest";
/// How often whoever waits hears how far it is.
const PROGRESS: u64 = 4 << 20;

/// One update at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Who asks, as events tell it.
#[derive(Clone, Copy, Debug)]
struct Asker<'a> {
    by: &'a str,
    from: &'a str,
}

/// The box as an update finds it.
#[derive(Debug)]
struct Site<'a> {
    places: &'a Places,
    /// The slot that runs.
    slot: Slot,
    is_trial: bool,
    keys: PathBuf,
    /// The version that runs.
    version: Version,
    links: Vec<String>,
}

impl<'a> Site<'a> {
    fn of(handle: &'a Handle) -> Result<Self, String> {
        let (places, words) = (handle.places(), handle.words());
        let env = Boot::at(&places.boot)
            .environment()
            .map_err(|error| error.to_string())?;
        let seen = handle.seen();
        let up = seen.ports.into_iter().filter(|port| port.link_up);
        Ok(Self {
            places,
            slot: words.slot,
            is_trial: words.trial && env.get("trial") == Some(words.slot.name()),
            keys: PathBuf::from(keys::FOLDER),
            version: running_version(Path::new(RUNNING))?,
            links: up.map(|port| port.name).collect(),
        })
    }

    fn journal(&self, version: &Version, is_rollback: bool, asker: Asker<'_>) -> Journal {
        Journal {
            slot: self.slot.other().name().to_owned(),
            version: version.to_string(),
            before: self.version.to_string(),
            is_rollback,
            by: asker.by.to_owned(),
            from: asker.from.to_owned(),
            links: self.links.clone(),
            stage: Stage::Written,
            why: String::new(),
        }
    }

    /// Has the boot loader try the other slot with the next start, and fall back to this one.
    fn try_other(&self, boot: &Boot) -> Result<(), String> {
        let switched = boot.change_environment(|env| {
            env.set("slot", self.slot.name())?;
            env.set("trial", self.slot.other().name())?;
            env.set("tried", "0")
        });
        switched.map_err(|error| format!("the boot loader cannot be told: {error}"))
    }

    fn refuse_on_trial(&self) -> Result<(), String> {
        if !self.is_trial {
            return Ok(());
        }
        Err(format!(
            "slot {} is still on trial; wait until it is confirmed, two minutes at most",
            self.slot
        ))
    }
}

/// Writes an update into the other slot and has the box start it on trial.
///
/// # Errors
/// Says why it is refused; then the box starts what it runs now.
pub(crate) fn install(
    handle: &Handle,
    input: File,
    older: bool,
    by: &str,
    from: &str,
    say: &mut dyn FnMut(String),
) -> Result<(), String> {
    let _alone = match ALONE.try_lock() {
        Ok(alone) => alone,
        Err(TryLockError::Poisoned(alone)) => alone.into_inner(),
        Err(TryLockError::WouldBlock) => return Err("another update is being written".to_owned()),
    };
    let asker = Asker { by, from };
    let event = |code, text: String| about(code, text, asker);
    let begun = format!("{by} ({from}) brings an update");
    handle.say(event("update-began", begun));
    let installed = Site::of(handle).and_then(|site| install_at(&site, input, older, asker, say));
    match installed {
        Ok(manifest) => {
            let slot = handle.words().slot.other();
            let version = &manifest.version;
            let text = format!(
                "{version} was written into slot {slot} by {by} ({from}); the box starts it on trial"
            );
            let event = event("update-installed", text).field("slot", slot);
            handle.say(event.field("version", version));
            say(format!("the box starts {version} now, on trial"));
            handle.order(Order::Reboot);
            Ok(())
        }
        Err(why) => {
            let text = format!("the update of {by} ({from}) was refused: {why}");
            handle.say(event("update-refused", text).field("reason", &why));
            Err(why)
        }
    }
}

/// Has the box start the other slot as it is, on trial.
///
/// # Errors
/// Says why it cannot.
pub(crate) fn rollback(
    handle: &Handle,
    by: &str,
    from: &str,
    say: &mut dyn FnMut(String),
) -> Result<(), String> {
    let asker = Asker { by, from };
    let manifest = Site::of(handle).and_then(|site| rollback_at(&site, asker, say))?;
    let slot = handle.words().slot.other();
    let version = &manifest.version;
    let text = format!("{by} ({from}) has the box go back to slot {slot} with {version}");
    let event = about("update-rollback", text, asker).field("slot", slot);
    handle.say(event.field("version", version));
    say(format!("the box starts {version} now, on trial"));
    handle.order(Order::Reboot);
    Ok(())
}

/// Says how the slots are.
pub(crate) fn fill(row: &mut BoxRow, handle: &Handle) {
    let (places, words) = (handle.places(), handle.words());
    words.slot.name().clone_into(&mut row.slot);
    let env = Boot::at(&places.boot).environment().unwrap_or_default();
    let trial = env.get("trial").filter(|slot| !slot.is_empty());
    row.trial = words.trial && trial == Some(words.slot.name());
    let next = match trial {
        Some(trial) if env.get("tried") != Some("1") => trial,
        Some(_) | None => env.get("slot").unwrap_or_else(|| words.slot.name()),
    };
    next.clone_into(&mut row.next);
    row.other_version = match slots::manifest_of(&places.boot, words.slot.other()) {
        Ok(Some(manifest)) => manifest.version.to_string(),
        Ok(None) => String::new(),
        Err(why) => why,
    };
    row.last_update = Journal::read(places).line();
}

fn about(code: &'static str, text: String, asker: Asker<'_>) -> Event {
    let event = Event::notice(code, text);
    event.field("by", asker.by).field("from", asker.from)
}

fn running_version(path: &Path) -> Result<Version, String> {
    let unknown = |why: String| format!("the version that runs is not known: {why}");
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| unknown(format!("{}: {error}", path.display())))?;
    let manifest = Manifest::parse(&text).map_err(unknown)?;
    Ok(manifest.version)
}

fn install_at(
    site: &Site<'_>,
    input: impl Read,
    older: bool,
    asker: Asker<'_>,
    say: &mut dyn FnMut(String),
) -> Result<Manifest, String> {
    site.refuse_on_trial()?;
    let keys = Keys::read(&site.keys)?;
    let mut archive = Archive::new(input);
    let update = Update::open(&mut archive, &keys)?;
    let manifest = update.manifest().clone();
    suits(&manifest, &site.version, older)?;
    let other = site.slot.other();
    let (version, bytes) = (&manifest.version, total(&manifest));
    say(format!(
        "the update is {version} and signed by a key of this box; {bytes} bytes go into slot {other}"
    ));
    let boot = Boot::at(&site.places.boot);
    // A slot that is half written must not be the one that is tried.
    let forget = boot.change_environment(|env| {
        env.set("trial", "")?;
        env.set("tried", "0")
    });
    forget.map_err(|error| format!("the boot loader cannot be told: {error}"))?;
    write(site, &boot, update, say)?;
    // What the slot had before was for another system.
    let forgotten = slots::forget(site.places, other);
    forgotten.map_err(|error| format!("the old configuration of slot {other}: {error}"))?;
    let journal = site.journal(&manifest.version, false, asker);
    let kept = journal.write(site.places);
    kept.map_err(|error| format!("the data partition takes nothing: {error}"))?;
    site.try_other(&boot)?;
    Ok(manifest)
}

/// Says whether an update is one for this box.
fn suits(manifest: &Manifest, running: &Version, older: bool) -> Result<(), String> {
    let (version, arch) = (&manifest.version, std::env::consts::ARCH);
    if manifest.arch != arch {
        let other = slots::manifest::quoted(&manifest.arch);
        return Err(format!("the update is for {other}, this box is {arch}"));
    }
    if version <= running && !older {
        let how = if version == running {
            "runs"
        } else {
            "is older than"
        };
        let what = if version == running {
            format!("{version} {how} already")
        } else {
            format!("{version} {how} {running}, which runs")
        };
        return Err(format!("{what}; --older takes it all the same"));
    }
    if manifest.config_format < weir_conf::FORMAT {
        return Err(format!(
            "{version} reads configurations of format {} at most, this system has format {}; \
             --rollback goes back to a slot with a configuration of its own",
            manifest.config_format,
            weir_conf::FORMAT
        ));
    }
    let names: Vec<&str> = manifest.files.iter().map(|it| it.name.as_str()).collect();
    if names != ["vmlinuz", "initrd"] {
        return Err(format!(
            "the update has {} where vmlinuz and initrd should be",
            names.join(" and ")
        ));
    }
    Ok(())
}

fn total(manifest: &Manifest) -> u64 {
    manifest.files.iter().map(|entry| entry.size).sum()
}

/// Writes the files of an update into the other slot.
fn write<R: Read>(
    site: &Site<'_>,
    boot: &Boot,
    update: Update<'_, R>,
    say: &mut dyn FnMut(String),
) -> Result<(), String> {
    let other = site.slot.other();
    let cannot = |error: std::io::Error| format!("slot {other} cannot be written: {error}");
    let manifest = update.manifest().clone();
    let writable = boot.writable().map_err(cannot)?;
    let writing = Writing::begin(boot.folder(), other, &writable).map_err(cannot)?;
    let (all, free) = (total(&manifest), free(boot.folder()));
    if free.is_some_and(|free| all > free) {
        return Err(format!(
            "the update has {all} bytes, and the boot partition has room for {}",
            free.unwrap_or_default()
        ));
    }
    let (mut written, mut told) = (0, 0);
    update.files(|entry, mut input| {
        let mut count = |bytes| {
            written += bytes;
            if written - told >= PROGRESS {
                told = written;
                say(format!("{} % are written", written * 100 / all.max(1)));
            }
        };
        writing.file(entry, &mut input, &mut count)
    })?;
    writing.finish(&manifest).map_err(cannot)?;
    writable.finish().map_err(cannot)
}

/// Reads an update file to its end, as it would be installed, and returns what it says of itself.
///
/// # Errors
/// Says why it is not believed, or what is wrong with it.
pub fn examine(input: impl Read, public_key: &str) -> Result<Manifest, String> {
    let keys = Keys::one(public_key)?;
    let mut archive = Archive::new(input);
    let update = Update::open(&mut archive, &keys)?;
    let manifest = update.manifest().clone();
    update.files(|expected, input| {
        let name = &expected.name;
        let mut bytes = Vec::new();
        let read = input.read_to_end(&mut bytes);
        read.map_err(|error| format!("{name} of the update cannot be read: {error}"))?;
        if Entry::of(name, &bytes) != *expected {
            return Err(format!("{name} of the update is not what was signed"));
        }
        Ok(())
    })?;
    Ok(manifest)
}

fn free(folder: &Path) -> Option<u64> {
    let found = nix::sys::statvfs::statvfs(folder).ok()?;
    found.blocks_available().checked_mul(found.fragment_size())
}

fn rollback_at(
    site: &Site<'_>,
    asker: Asker<'_>,
    say: &mut dyn FnMut(String),
) -> Result<Manifest, String> {
    site.refuse_on_trial()?;
    let other = site.slot.other();
    let boot = Boot::at(&site.places.boot);
    let manifest = slots::manifest_of(boot.folder(), other)?
        .ok_or_else(|| format!("slot {other} is empty; there is nothing to go back to"))?;
    say(format!(
        "slot {other} has {}; its files are compared",
        manifest.version
    ));
    slots::verify(boot.folder(), other, &manifest)?;
    let journal = site.journal(&manifest.version, true, asker);
    let kept = journal.write(site.places);
    kept.map_err(|error| format!("the data partition takes nothing: {error}"))?;
    site.try_other(&boot)?;
    Ok(manifest)
}

#[cfg(test)]
mod tests;
