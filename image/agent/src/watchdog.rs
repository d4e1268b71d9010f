//! The watchdog that starts the box again when the agent's main loop stands still.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The device that the kernel gives the first watchdog.
const DEVICE: &str = "/dev/watchdog";

/// A watchdog that runs from the moment at which it is opened. When the agent ends without a word
/// it goes on running, and bites unless a new agent comes.
#[derive(Debug)]
pub(crate) struct Watchdog(Option<File>);

impl Watchdog {
    /// Starts the machine's watchdog; a machine without one has none.
    ///
    /// # Errors
    /// When it has one that cannot be started.
    pub(crate) fn start() -> io::Result<Self> {
        Self::open(Path::new(DEVICE))
    }

    fn open(device: &Path) -> io::Result<Self> {
        match OpenOptions::new().write(true).open(device) {
            Ok(file) => Ok(Self(Some(file))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self(None)),
            Err(error) => Err(error),
        }
    }

    /// Makes one that is none.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Says whether there is one.
    pub(crate) const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Says that the main loop goes round.
    pub(crate) fn feed(&mut self) {
        if let Some(file) = &mut self.0 {
            // A device that takes nothing bites: that is all it can do.
            let _ = file.write_all(b".");
        }
    }

    /// Has it sleep, because the box is about to be turned off.
    pub(crate) fn stop(&mut self) {
        if let Some(mut file) = self.0.take() {
            let _ = file.write_all(b"V");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fed_and_put_to_sleep_only_on_purpose() {
        let path = std::env::temp_dir().join(format!("weir-watchdog-{}", std::process::id()));
        std::fs::write(&path, "").unwrap();
        let mut dog = Watchdog::open(&path).unwrap();
        assert!(dog.is_there());
        dog.feed();
        dog.feed();
        drop(dog);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "..");
        let mut dog = Watchdog::open(&path).unwrap();
        dog.stop();
        dog.feed();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "V.");
        std::fs::remove_file(&path).unwrap();
        let mut none = Watchdog::open(&path).unwrap();
        assert!(!none.is_there());
        none.feed();
    }
}
