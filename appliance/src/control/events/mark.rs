//! Whether the daemon runs or has ended as it should, in a file of its own beside the events.
//!
//! Events need room on the disk, and those of the end may find none. These few bytes are there from
//! the first start on, and are written over in their place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The name of the file.
const NAME: &str = "daemon";
/// As long as the other, so that one takes the place of the other.
const RUNS: &str = "runs \n";
const ENDED: &str = "ended\n";

/// What became of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Life {
    /// It has started.
    Runs,
    /// It has ended as it should.
    Ended,
}

/// The file.
#[derive(Clone, Debug)]
pub(in crate::control) struct Mark {
    path: PathBuf,
}

impl Mark {
    pub(super) fn in_folder(folder: &Path) -> Self {
        Self {
            path: folder.join(NAME),
        }
    }

    /// Returns what it says; none where there is none, or it is damaged.
    pub(in crate::control) fn read(&self) -> Option<Life> {
        match fs::read_to_string(&self.path).ok()?.as_str() {
            RUNS => Some(Life::Runs),
            ENDED => Some(Life::Ended),
            _ => None,
        }
    }

    /// Has it say something else.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::control) fn write(&self, life: Life) -> io::Result<()> {
        let text = match life {
            Life::Runs => RUNS,
            Life::Ended => ENDED,
        };
        let is_new = !self.path.exists();
        let mut options = OpenOptions::new();
        // In its place: a disk that is full has room for it.
        let mut file = options
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)?;
        file.write_all(text.as_bytes())?;
        file.set_len(text.len() as u64)?;
        file.sync_data()?;
        if let Some(folder) = self.path.parent().filter(|_| is_new) {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_marked_last_is_read_and_what_is_damaged_says_nothing() {
        let folder = std::env::temp_dir().join(format!("weir-{}-mark", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let mark = Mark::in_folder(&folder);
        assert_eq!(mark.read(), None);
        for life in [Life::Runs, Life::Ended, Life::Ended, Life::Runs] {
            mark.write(life).unwrap();
            assert_eq!(mark.read(), Some(life));
            assert_eq!(fs::metadata(folder.join(NAME)).unwrap().len(), 6);
        }
        fs::write(folder.join(NAME), "something else, and longer").unwrap();
        assert_eq!(mark.read(), None);
        mark.write(Life::Ended).unwrap();
        assert_eq!(mark.read(), Some(Life::Ended));
        fs::remove_dir_all(&folder).unwrap();
        assert!(mark.write(Life::Runs).is_err());
    }
}
