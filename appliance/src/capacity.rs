//! What `weir bench` found out, and the file that keeps it.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::log;

/// Whatever is larger is another file.
const MOST_BYTES: u64 = 64 << 10;

/// What one core of this machine can do, in memory: what devices cost is not in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Capacity {
    /// When it was measured, as RFC 3339 in UTC.
    pub(crate) measured: String,
    /// The version that measured.
    pub(crate) version: String,
    /// The name of the processor.
    pub(crate) cpu: String,
    /// The cores that were measured at the same time.
    pub(crate) cores: Vec<u16>,
    /// The sessions that each of them had open.
    pub(crate) sessions: u32,
    /// How long it took.
    pub(crate) seconds: f64,
    /// SYNs that a core answers with cookies per second.
    pub(crate) cookies_per_s: u64,
    /// Packets of open sessions, of either direction, that a core passes on per second.
    pub(crate) packets_per_s: u64,
    /// Sessions that a core opens, serves a request each, closes and forgets per second.
    pub(crate) sessions_per_s: u64,
}

/// Returns where it is kept: in the directory that a service manager says, or `/var/lib/weir`.
pub(crate) fn path() -> PathBuf {
    crate::state::directory().join("capacity.json")
}

/// Returns the name of this machine's processor; an empty one where the kernel does not tell.
pub(crate) fn cpu() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map(|(_, name)| name.trim().to_owned())
        .unwrap_or_default()
}

/// Reads what was kept.
///
/// # Errors
/// Says why there is no figure, and what to do.
pub(crate) fn read(path: &Path) -> Result<Capacity, String> {
    let advice = "run `weir bench`";
    let text = match read_bounded(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!("not measured: {advice}"));
        }
        Err(error) => {
            let cause = log::words(&error);
            return Err(format!("cannot read {}: {cause}", path.display()));
        }
    };
    let capacity = serde_json::from_str(&text).ok();
    let sound = capacity.filter(|capacity: &Capacity| {
        capacity.cookies_per_s > 0 && humantime::parse_rfc3339(&capacity.measured).is_ok()
    });
    let Some(capacity) = sound else {
        return Err(format!("{} is damaged: {advice} again", path.display()));
    };
    if capacity.version != env!("CARGO_PKG_VERSION") {
        return Err(format!(
            "measured by weir {}: {advice} again",
            capacity.version
        ));
    }
    if capacity.cpu != cpu() {
        return Err(format!("measured on another processor: {advice} again"));
    }
    Ok(capacity)
}

/// Keeps it in place of what was kept before, as a whole or not at all.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn write(path: &Path, capacity: &Capacity) -> Result<()> {
    let keep = || -> Result<()> {
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)?;
        }
        let new = path.with_extension(format!("{}.new", std::process::id()));
        let text = serde_json::to_string(capacity)? + "\n";
        let written = fs::write(&new, text).and_then(|()| fs::rename(&new, path));
        if written.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_file(&new);
        }
        Ok(written?)
    };
    keep().with_context(|| format!("the figures cannot be kept in {}", path.display()))
}

fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?
        .take(MOST_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capacity() -> Capacity {
        Capacity {
            measured: "2026-11-22T20:00:00Z".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cpu: cpu(),
            cores: vec![2, 3],
            sessions: 1 << 20,
            seconds: 5.25,
            cookies_per_s: 12_000_000,
            packets_per_s: 9_000_000,
            sessions_per_s: 1_000_000,
        }
    }

    fn directory(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("weir-{}-{name}", std::process::id()))
    }

    #[test]
    fn what_was_kept_is_read_and_the_directory_is_made() {
        let directory = directory("kept");
        let path = directory.join("deep/capacity.json");
        assert_eq!(
            read(&path),
            Err("not measured: run `weir bench`".to_owned())
        );
        for cookies_per_s in [1, 2] {
            let capacity = Capacity {
                cookies_per_s,
                ..capacity()
            };
            write(&path, &capacity).unwrap();
            assert_eq!(read(&path), Ok(capacity));
        }
        assert_eq!(fs::read_dir(directory.join("deep")).unwrap().count(), 1);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn figures_that_do_not_hold_here_and_damaged_ones_are_told_in_a_sentence() {
        let path = directory("damaged.json");
        let mut other = capacity();
        other.version = "0.0.1".to_owned();
        write(&path, &other).unwrap();
        let told = read(&path).unwrap_err();
        assert_eq!(told, "measured by weir 0.0.1: run `weir bench` again");
        other = capacity();
        other.cpu.push('?');
        write(&path, &other).unwrap();
        assert!(read(&path).unwrap_err().starts_with("measured on another"));
        let whole = serde_json::to_string(&capacity()).unwrap();
        let undated = whole.replace("2026-11", "soon");
        for text in ["", "{}", &whole[..40], &undated, "\u{0}"] {
            fs::write(&path, text).unwrap();
            let told = read(&path).unwrap_err();
            assert!(
                told.contains("is damaged: run `weir bench` again"),
                "{told}"
            );
        }
        fs::write(&path, [0xff]).unwrap();
        assert!(read(&path).unwrap_err().starts_with("cannot read "));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_with_its_name() {
        let error = write(Path::new("/proc/weir/capacity.json"), &capacity());
        let told = format!("{:#}", error.unwrap_err());
        assert!(
            told.starts_with("the figures cannot be kept in /proc/weir/capacity.json: "),
            "{told}"
        );
    }
}
