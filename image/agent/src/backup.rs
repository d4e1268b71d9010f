//! Backup, restore, and the way back to an empty box.
//!
//! A backup is a tar archive whose first member lists the others with their sums. What is restored is
//! checked as a whole and laid beside what there is; the next start takes it over before anything
//! runs, so that a power cut leaves the old box or the new one.

mod archive;
mod stage;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use weir_conf::NoEnv;

use self::archive::{archive, is_member, manifest};
use crate::places::Places;

pub(crate) use stage::{at_boot, stage, stage_reset};

/// The largest archive.
pub(crate) const LONGEST: u64 = 96 << 20;
/// No member is larger.
const LONGEST_FILE: u64 = 20 << 20;
const MOST_FILES: usize = 1000;
/// What of the shared folder goes into a backup.
const SHARED: [&str; 6] = [
    "keys/operator",
    "keys/viewer",
    "ssh/host_ed25519",
    "secret",
    "cookie.key",
    "set-up",
];

type Files = BTreeMap<String, Vec<u8>>;

/// Returns an archive of what makes this box this box.
///
/// # Errors
/// Says what cannot be read.
pub(crate) fn make(places: &Places) -> Result<Vec<u8>, String> {
    let mut files = Files::new();
    gather(&places.etc, "etc", 2, &mut files)?;
    gather(
        &places.state.join("configurations"),
        "lib/configurations",
        3,
        &mut files,
    )?;
    for name in SHARED {
        let path = places.shared().join(name);
        if path.is_file() {
            files.insert(format!("shared/{name}"), read(&path)?);
        }
    }
    if files.len() > MOST_FILES {
        return Err(format!("there are more than {MOST_FILES} files"));
    }
    let version = fs::read_to_string("/usr/share/weir/version").unwrap_or_default();
    let manifest = manifest(version.trim(), &node(places).unwrap_or_default(), &files);
    archive(&manifest, &files).map_err(|error| format!("the archive cannot be made: {error}"))
}

fn gather(folder: &Path, name: &str, depth: u32, files: &mut Files) -> Result<(), String> {
    let cannot = |error: io::Error| format!("{}: {error}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(cannot)?,
    };
    for entry in entries {
        let entry = entry.map_err(cannot)?;
        let kind = entry.file_type().map_err(cannot)?;
        let Ok(own) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{name}/{own}");
        if kind.is_dir() && depth > 1 {
            gather(&entry.path(), &name, depth - 1, files)?;
        } else if kind.is_file() && is_member(&name) {
            files.insert(name, read(&entry.path())?);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(LONGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(format!("{} is too large", path.display()));
    }
    Ok(bytes)
}

/// Returns the name of the box, as its configuration has it.
pub(crate) fn node(places: &Places) -> Option<String> {
    let loaded = weir_conf::load(&places.config(), &NoEnv, None).ok()?;
    Some(loaded.snapshot.node.name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests;
