//! Services that were said but cannot serve yet: ipvsadm adds a service first, its real servers
//! and local addresses afterwards. They are kept beside the control socket until they are whole,
//! and, like the tables of LVS, not over a restart of the machine.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};
use weir_lvs::Document;

/// The name of the file.
const NAME: &str = "ipvsadm.pending";

/// The file of services that wait.
#[derive(Debug)]
pub(super) struct Pending {
    path: PathBuf,
}

/// Keeps other commands waiting while it lives, so that two never change the same state.
#[derive(Debug)]
pub(super) struct Turn {
    _lock: Flock<File>,
}

impl Pending {
    /// Finds the file that belongs to a control socket.
    pub(super) fn beside(socket: &Path) -> Self {
        let folder = socket.parent().unwrap_or_else(|| Path::new(""));
        Self {
            path: folder.join(NAME),
        }
    }

    /// Returns the services that wait; none where there is no file.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub(super) fn read(&self) -> Result<Document> {
        let name = self.path.display();
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Document::default()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {name}")),
        };
        Document::parse(&text).map_err(|error| anyhow!("{name}: {error}; remove the file"))
    }

    /// Waits until no other command changes anything; none where this operator may not write
    /// here, whose commands the daemon still carries out.
    ///
    /// # Errors
    /// When the lock cannot be had.
    pub(super) fn turn(&self) -> Result<Option<Turn>> {
        let path = self.path.with_extension("lock");
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true).mode(0o600);
        let file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot write {}", path.display()));
            }
        };
        let lock = Flock::lock(file, FlockArg::LockExclusive);
        let lock = lock.map_err(|(_, error)| error);
        Ok(Some(Turn {
            _lock: lock.with_context(|| format!("cannot lock {}", path.display()))?,
        }))
    }

    /// Makes the error of a change that leaves a service waiting where nothing can be written.
    pub(super) fn needs_writing(&self) -> anyhow::Error {
        anyhow!(
            "a service would wait for a real server or a local address, which {} keeps, and you may not write there; say all of it at once with `ipvsadm -R`",
            self.path.display()
        )
    }

    /// Replaces what waits; never leaves half a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn write(&self, document: &Document, _turn: &Turn) -> Result<()> {
        let text = document.to_string();
        if text.is_empty() {
            return match std::fs::remove_file(&self.path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(error).with_context(|| format!("cannot remove {}", self.path.display()))
                }
                _ => Ok(()),
            };
        }
        let new = self.path.with_extension("new");
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(true).write(true).mode(0o600);
        let written = options.open(&new).and_then(|mut file| {
            file.write_all(
                b"# Services of `ipvsadm` that wait for a real server or a local address.\n",
            )?;
            file.write_all(text.as_bytes())?;
            std::fs::rename(&new, &self.path)
        });
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_read_as_it_was_written_and_an_empty_list_leaves_no_file() {
        let folder = std::env::temp_dir().join(format!("weir-pending-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let pending = Pending::beside(&folder.join("operate.sock"));
        assert_eq!(pending.read().unwrap(), Document::default());
        let document =
            Document::parse("[service a]\nlisten = 203.0.113.1:80/tcp\nlocal-address = 10.0.8.1\n")
                .unwrap();
        let turn = pending.turn().unwrap().unwrap();
        pending.write(&document, &turn).unwrap();
        assert_eq!(pending.read().unwrap(), document);
        pending.write(&Document::default(), &turn).unwrap();
        assert!(!folder.join(NAME).exists());
        pending.write(&Document::default(), &turn).unwrap();
        std::fs::write(folder.join(NAME), "rubbish").unwrap();
        assert!(pending.read().unwrap_err().to_string().contains("line 1"));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
