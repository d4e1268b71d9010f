//! Settings of a device that a driver had to change, and their way back.
//!
//! What was there before is written to `<run_dir>/settings/<device>` *before* it is changed. It is
//! restored when the device is closed, or at the next start after the daemon was killed. A lock
//! beside the record tells a killed daemon's record from one that is in use.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use crate::ethtool::{self, Channels};
use crate::ingress_drop::IngressDrop;
use crate::netlink;

/// Says why a setting could not be recorded, changed or restored.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The record could not be written or read.
    #[error("cannot keep the settings of `{device}` in {}: {cause}", .file.display())]
    Record {
        /// The device.
        device: String,
        /// The record.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// The record holds something that was not written by this module.
    #[error("{} line {line}: `{text}` is not a setting", .file.display())]
    Unreadable {
        /// The record.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// Another process, or another part of this one, has the device open.
    #[error("`{device}` is in use by another process ({} is locked)", .file.display())]
    InUse {
        /// The device.
        device: String,
        /// The lock.
        file: PathBuf,
    },
    /// The device refused the change.
    #[error("`{device}` refuses {what}: {}", explain(*.cause))]
    Refused {
        /// The device.
        device: String,
        /// The change.
        what: String,
        /// What the kernel said.
        cause: Errno,
    },
}

/// A setting as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Original {
    Feature {
        name: String,
        on: bool,
    },
    Channels(Channels),
    /// An XDP program that was attached without a link and outlives the daemon.
    XdpProgram {
        id: u32,
    },
}

/// The changed settings of one device; dropping it restores them.
#[derive(Debug)]
pub struct Settings {
    device: String,
    file: PathBuf,
    ifindex: u32,
    originals: Vec<Original>,
    /// Free again when this process ends, however it ends.
    _lock: fs::File,
}

impl Settings {
    /// Begins to record for a device, after it restored what an earlier process left changed.
    ///
    /// # Errors
    /// When the directory cannot be written or a left-over setting not be restored.
    pub fn open(device: &str, run_dir: &Path) -> Result<Self, SettingsError> {
        let file = directory(run_dir).join(device);
        let refused = |cause| SettingsError::Refused {
            device: device.to_owned(),
            what: "to be looked at".to_owned(),
            cause,
        };
        let ifindex = ethtool::facts(device).map_err(refused)?.ifindex;
        let lock = lock_patiently(device, &file)?;
        restore_file(device, &file)?;
        Ok(Self {
            device: device.to_owned(),
            file,
            ifindex,
            originals: Vec::new(),
            _lock: lock,
        })
    }

    /// Switches a feature off where it is on and can be switched, and says whether it is off now.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn switch_off(&mut self, feature: &str) -> Result<bool, SettingsError> {
        let features = ethtool::features(&self.device)
            .map_err(|cause| self.refused(format!("to tell its features ({feature})"), cause))?;
        if !features.is_on(feature) {
            return Ok(true);
        }
        if !features.can_change(feature) {
            return Ok(false);
        }
        self.note(Original::Feature {
            name: feature.to_owned(),
            on: true,
        })?;
        let changed = ethtool::set_feature(&self.device, feature, false);
        self.settle(changed, format!("to switch {feature} off"))
    }

    /// Gives the device exactly `wanted` receiving queues, and says whether it can have them.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn set_queues(&mut self, wanted: u16) -> Result<bool, SettingsError> {
        let channels = ethtool::channels(&self.device)
            .map_err(|cause| self.refused("to tell its queues".to_owned(), cause))?;
        let Some(channels) = channels else {
            return Ok(wanted == 1);
        };
        let Some(new) = channels.with_queues(u32::from(wanted)) else {
            return Ok(false);
        };
        if new == channels {
            return Ok(true);
        }
        self.note(Original::Channels(channels))?;
        let changed = ethtool::set_channels(&self.device, &new);
        self.settle(changed, format!("to have {wanted} queues"))?;
        Ok(true)
    }

    /// Remembers an XDP program that must be detached by hand.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn note_xdp_program(&mut self, id: u32) -> Result<(), SettingsError> {
        self.note(Original::XdpProgram { id })
    }

    /// Restores everything, newest change first, and removes the record.
    ///
    /// # Errors
    /// With the first refusal, after everything was tried; the record then stays for the next
    /// start.
    pub fn restore(&mut self) -> Result<(), SettingsError> {
        let originals = std::mem::take(&mut self.originals);
        restore(&self.device, &originals)?;
        remove(&self.device, &self.file)
    }

    fn note(&mut self, original: Original) -> Result<(), SettingsError> {
        self.originals.push(original);
        self.write()
    }

    fn write(&self) -> Result<(), SettingsError> {
        let text = render(self.ifindex, &self.originals);
        write_atomically(&self.file, &text).map_err(|cause| SettingsError::Record {
            device: self.device.clone(),
            file: self.file.clone(),
            cause,
        })
    }

    /// Turns the answer to a change into ours; what may not be changed need not be restored.
    fn settle<T>(&mut self, changed: Result<T, Errno>, what: String) -> Result<T, SettingsError> {
        if changed.as_ref().err() == Some(&Errno::EPERM) {
            self.originals.pop();
            if self.originals.is_empty() {
                remove(&self.device, &self.file)?;
            } else {
                self.write()?;
            }
        }
        changed.map_err(|cause| self.refused(what, cause))
    }

    fn refused(&self, what: String, cause: Errno) -> SettingsError {
        SettingsError::Refused {
            device: self.device.clone(),
            what,
            cause,
        }
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        // On failure the record stays, and the next start tries again and reports it.
        let _ = self.restore();
    }
}

/// Restores what killed processes left changed on any device, and returns a sentence for each
/// device it restored or could not restore.
///
/// # Errors
/// When the directory of the records cannot be read.
pub fn restore_leftovers(run_dir: &Path) -> io::Result<Vec<String>> {
    let mut sentences = restore_settings(run_dir)?;
    // Only kernels before 6.6 keep the drop of a process that is gone.
    let swept = IngressDrop::sweep(run_dir);
    sentences.extend(swept.err().map(|error| error.to_string()));
    Ok(sentences)
}

fn restore_settings(run_dir: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory(run_dir)) {
        Ok(entries) => entries,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(other) => return Err(other),
    };
    let mut sentences = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(device) = name.to_str().filter(|n| !n.starts_with('.')) else {
            continue;
        };
        match restore_unused(device, &entry.path()) {
            Ok(true) => sentences.push(format!(
                "the settings of `{device}`, which an earlier process left changed, were restored"
            )),
            Ok(false) => {}
            Err(error) => sentences.push(error.to_string()),
        }
    }
    sentences.sort();
    Ok(sentences)
}

fn explain(cause: Errno) -> String {
    if cause == Errno::EPERM {
        "CAP_NET_ADMIN is missing".to_owned()
    } else {
        cause.to_string()
    }
}

fn directory(run_dir: &Path) -> PathBuf {
    run_dir.join("settings")
}

fn lock_of(file: &Path) -> PathBuf {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    file.with_file_name(format!(".{name}.lock"))
}

/// Locks the record of a device; none when somebody else has it.
fn lock(device: &str, file: &Path) -> Result<Option<fs::File>, SettingsError> {
    let path = lock_of(file);
    let record = |cause| SettingsError::Record {
        device: device.to_owned(),
        file: path.clone(),
        cause,
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(record)?;
    }
    let lock = fs::File::create(&path).map_err(record)?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(cause)) => Err(record(cause)),
    }
}

/// Locks the record of a device, and waits a second for a process that is on its way out.
fn lock_patiently(device: &str, file: &Path) -> Result<fs::File, SettingsError> {
    for _ in 0..50 {
        if let Some(lock) = lock(device, file)? {
            return Ok(lock);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Err(SettingsError::InUse {
        device: device.to_owned(),
        file: lock_of(file),
    })
}

/// Restores what a record says unless a living process uses it.
fn restore_unused(device: &str, file: &Path) -> Result<bool, SettingsError> {
    match lock(device, file)? {
        Some(_lock) => restore_file(device, file),
        None => Ok(false),
    }
}

/// Restores what a record says and removes it; false when there was nothing to restore.
fn restore_file(device: &str, file: &Path) -> Result<bool, SettingsError> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(cause) => {
            return Err(SettingsError::Record {
                device: device.to_owned(),
                file: file.to_owned(),
                cause,
            });
        }
    };
    let (ifindex, originals) = parse(&text).map_err(|(line, text)| SettingsError::Unreadable {
        file: file.to_owned(),
        line,
        text,
    })?;
    // A device that was made anew since has nothing of ours.
    let same = ethtool::facts(device).is_ok_and(|facts| facts.ifindex == ifindex);
    if same {
        restore(device, &originals)?;
    }
    remove(device, file)?;
    Ok(same && !originals.is_empty())
}

fn restore(device: &str, originals: &[Original]) -> Result<(), SettingsError> {
    let mut first = Ok(());
    for original in originals.iter().rev() {
        let result = match original {
            Original::Feature { name, on } => ethtool::set_feature(device, name, *on).map(drop),
            Original::Channels(channels) => ethtool::set_channels(device, channels),
            Original::XdpProgram { id } => netlink::detach_xdp(device, *id),
        };
        // A device that is gone has taken its settings along.
        let result = match result {
            Err(Errno::ENODEV) => Ok(()),
            other => other,
        };
        let result = result.map_err(|cause| SettingsError::Refused {
            device: device.to_owned(),
            what: describe(original),
            cause,
        });
        if first.is_ok() {
            first = result;
        }
    }
    first
}

fn remove(device: &str, file: &Path) -> Result<(), SettingsError> {
    match fs::remove_file(file) {
        Ok(()) => Ok(()),
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) => Err(SettingsError::Record {
            device: device.to_owned(),
            file: file.to_owned(),
            cause,
        }),
    }
}

fn describe(original: &Original) -> String {
    match original {
        Original::Feature { name, on } => {
            format!("to switch {name} back {}", if *on { "on" } else { "off" })
        }
        Original::Channels(c) => format!("to have {} queues again", c.queues()),
        Original::XdpProgram { id } => format!("to detach the XDP program {id}"),
    }
}

fn render(ifindex: u32, originals: &[Original]) -> String {
    let mut text = format!("interface {ifindex}\n");
    for original in originals {
        // Writing to a string never fails.
        let _ = match original {
            Original::Feature { name, on } => {
                writeln!(text, "feature {name} {}", if *on { "on" } else { "off" })
            }
            Original::Channels(channels) => {
                let numbers = channels.to_numbers().map(|number| number.to_string());
                writeln!(text, "channels {}", numbers.join(" "))
            }
            Original::XdpProgram { id } => writeln!(text, "xdp-program {id}"),
        };
    }
    text
}

/// Reads a record back; on failure says where.
fn parse(text: &str) -> Result<(u32, Vec<Original>), (usize, String)> {
    let mut ifindex = 0;
    let mut originals = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let bad = || (number + 1, line.to_owned());
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["interface", value] => ifindex = value.parse().map_err(|_| bad())?,
            ["feature", name, state @ ("on" | "off")] => originals.push(Original::Feature {
                name: (*name).to_owned(),
                on: *state == "on",
            }),
            ["channels", values @ ..] => {
                let values: Result<Vec<u32>, _> = values.iter().map(|v| v.parse()).collect();
                let values = values.map_err(|_| bad())?;
                let numbers = values.try_into().map_err(|_| bad())?;
                originals.push(Original::Channels(Channels::from_numbers(numbers)));
            }
            ["xdp-program", id] => originals.push(Original::XdpProgram {
                id: id.parse().map_err(|_| bad())?,
            }),
            _ => return Err(bad()),
        }
    }
    Ok((ifindex, originals))
}

fn write_atomically(file: &Path, text: &str) -> io::Result<()> {
    let directory = file.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(directory)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let temporary = directory.join(format!(".{name}.new"));
    let mut output = fs::File::create(&temporary)?;
    output.write_all(text.as_bytes())?;
    output.sync_all()?;
    fs::rename(&temporary, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_as_it_was_written() {
        let originals = vec![
            Original::Feature {
                name: "rx-gro".to_owned(),
                on: true,
            },
            Original::Channels(Channels {
                max_rx: 4,
                max_tx: 5,
                rx: 2,
                tx: 3,
                ..Channels::default()
            }),
            Original::XdpProgram { id: 77 },
        ];
        assert_eq!(parse(&render(9, &originals)), Ok((9, originals)));
    }

    #[test]
    fn a_spoilt_record_is_reported_with_its_line() {
        let bad = |text: &str| parse(text).unwrap_err();
        assert_eq!(bad("interface 3\nfeature x"), (2, "feature x".to_owned()));
        assert_eq!(bad("channels 1 2"), (1, "channels 1 2".to_owned()));
        assert_eq!(bad("xdp-program none").0, 1);
    }

    #[test]
    fn a_record_of_a_device_that_is_gone_is_removed() {
        let run_dir = std::env::temp_dir().join(format!("weir-settings-{}", std::process::id()));
        let file = directory(&run_dir).join("weir-gone0");
        write_atomically(&file, "interface 12345\nfeature rx-gro on\n").unwrap();
        assert_eq!(restore_leftovers(&run_dir).unwrap(), Vec::<String>::new());
        assert!(!file.exists());
        fs::remove_dir_all(&run_dir).unwrap();
    }
}
