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
const RUNS: &str = "runs ";
const ENDED: &str = "ended";

/// What became of a daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Life {
    /// It has started.
    Runs,
    /// It has ended as it should.
    Ended,
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) struct Marked {
    pub(in crate::control) life: Life,
    /// The number of the event that told its start. Where the events know of a later one, a daemon
    /// has run since that left no mark.
    pub(in crate::control) started: u64,
}

/// The file.
#[derive(Debug)]
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
    pub(in crate::control) fn read(&self) -> Option<Marked> {
        let text = fs::read_to_string(&self.path).ok()?;
        let (life, number) = text.strip_suffix('\n')?.split_at_checked(RUNS.len())?;
        let life = match life {
            RUNS => Life::Runs,
            ENDED => Life::Ended,
            _ => return None,
        };
        let started = number.strip_prefix(' ')?.parse().ok()?;
        Some(Marked { life, started })
    }

    /// Has it say something else.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(in crate::control) fn write(&self, marked: Marked) -> io::Result<()> {
        let life = match marked.life {
            Life::Runs => RUNS,
            Life::Ended => ENDED,
        };
        let text = format!("{life} {:020}\n", marked.started);
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
        let (mark, file) = (Mark::in_folder(&folder), folder.join(NAME));
        assert_eq!(mark.read(), None);
        for (life, started) in [
            (Life::Runs, 1),
            (Life::Ended, 1),
            (Life::Ended, u64::MAX),
            (Life::Runs, 12_345),
        ] {
            let marked = Marked { life, started };
            mark.write(marked).unwrap();
            assert_eq!(mark.read(), Some(marked));
            assert_eq!(fs::metadata(&file).unwrap().len(), 27);
        }
        let whole = fs::read_to_string(&file).unwrap();
        for damaged in [
            "",
            "ended\n",
            "runs  12",
            "runs  \n",
            &whole.replace('r', "\u{fc}"),
        ] {
            fs::write(&file, damaged).unwrap();
            assert_eq!(mark.read(), None, "{damaged}");
        }
        fs::write(&file, "something else, and much longer than that").unwrap();
        assert_eq!(mark.read(), None);
        let marked = Marked {
            life: Life::Ended,
            started: 7,
        };
        mark.write(marked).unwrap();
        assert_eq!(mark.read(), Some(marked));
        fs::remove_dir_all(&folder).unwrap();
        assert!(mark.write(marked).is_err());
    }
}
