//! The boot partition: mounted read-only, and for writing only while something is written.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};

use crate::grubenv::{GrubEnv, GrubEnvError};

/// How long somebody waits who wants to write, and how often it looks.
const PATIENCE: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(10);

/// The partitions that somebody writes: who ends first must not take the writing from another.
static WRITING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// The boot partition of this machine.
#[derive(Clone, Debug)]
pub struct Boot {
    folder: PathBuf,
    is_mount: bool,
}

/// The right to write; with its end the partition is read-only again.
#[derive(Debug)]
pub struct Writable<'a> {
    boot: &'a Boot,
    _alone: Alone,
}

/// The only one that writes.
#[derive(Debug)]
struct Alone(PathBuf);

impl Boot {
    /// Where the appliance has it.
    pub const FOLDER: &'static str = "/boot";

    /// Returns the partition that is mounted at a folder; a folder that is no mount is one already.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        Self {
            folder: folder.to_owned(),
            is_mount: is_mounted(&mounts, folder),
        }
    }

    /// Returns the folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of GRUB's environment block.
    #[must_use]
    pub fn grubenv(&self) -> PathBuf {
        self.folder.join("grub/grubenv")
    }

    /// Reads GRUB's environment block.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub fn environment(&self) -> Result<GrubEnv, GrubEnvError> {
        GrubEnv::read(&self.grubenv())
    }

    /// Changes GRUB's environment block, where the change is one.
    ///
    /// # Errors
    /// When it cannot be read or written, or the change fails.
    pub fn change_environment(
        &self,
        change: impl FnOnce(&mut GrubEnv) -> Result<(), GrubEnvError>,
    ) -> Result<(), GrubEnvError> {
        let cannot = |error| GrubEnvError::File("write", error);
        let writable = self.writable().map_err(cannot)?;
        let before = self.environment()?;
        let mut env = before.clone();
        change(&mut env)?;
        if env != before {
            env.write(&self.grubenv())?;
        }
        writable.finish().map_err(cannot)
    }

    /// Makes the partition writable. Only one at a time may; others wait for a moment.
    ///
    /// # Errors
    /// When the kernel refuses, or somebody else writes for longer.
    pub fn writable(&self) -> io::Result<Writable<'_>> {
        let alone = Alone::wait(&self.folder)?;
        self.remount(false)?;
        Ok(Writable {
            boot: self,
            _alone: alone,
        })
    }

    fn remount(&self, read_only: bool) -> io::Result<()> {
        if !self.is_mount {
            return Ok(());
        }
        let mut flags = MsFlags::MS_REMOUNT
            | MsFlags::MS_NOSUID
            | MsFlags::MS_NODEV
            | MsFlags::MS_NOEXEC
            | MsFlags::MS_NOATIME;
        flags.set(MsFlags::MS_RDONLY, read_only);
        mount(
            None::<&str>,
            &self.folder,
            None::<&str>,
            flags,
            None::<&str>,
        )?;
        Ok(())
    }
}

impl Writable<'_> {
    /// Ends the writing and says whether all of it is on the disk.
    ///
    /// # Errors
    /// When it may not be.
    pub fn finish(self) -> io::Result<()> {
        self.sync()
    }

    fn sync(&self) -> io::Result<()> {
        let folder = File::open(&self.boot.folder)?;
        nix::unistd::syncfs(&folder)?;
        Ok(())
    }
}

impl Drop for Writable<'_> {
    fn drop(&mut self) {
        // What was written has been made durable by whoever wrote it, or is worth nothing.
        let _ = self.sync();
        let _ = self.boot.remount(true);
    }
}

impl Alone {
    /// Waits for a moment only: whoever feeds the watchdog must not wait for an update that comes by
    /// a slow line.
    fn wait(folder: &Path) -> io::Result<Self> {
        let end = Instant::now() + PATIENCE;
        while !writing().insert(folder.to_owned()) {
            if Instant::now() >= end {
                return Err(io::Error::other("an update is being written"));
            }
            thread::sleep(LOOK);
        }
        Ok(Self(folder.to_owned()))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        writing().remove(&self.0);
    }
}

fn writing() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_mounted(mounts: &str, folder: &Path) -> bool {
    let folder = folder.to_string_lossy();
    let mut targets = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    targets.any(|target| target == folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    #[test]
    fn a_folder_that_is_no_mount_is_written_as_it_is() {
        let folder = Folder::new("boot");
        fs::create_dir(folder.path().join("grub")).unwrap();
        let boot = Boot::at(folder.path());
        let mut env = GrubEnv::default();
        env.set("slot", "a").unwrap();
        fs::write(boot.grubenv(), env.to_block().unwrap()).unwrap();
        boot.change_environment(|env| env.set("args", "isolcpus=1"))
            .unwrap();
        let env = boot.environment().unwrap();
        assert_eq!(
            (env.get("slot"), env.get("args")),
            (Some("a"), Some("isolcpus=1"))
        );
        let refused = boot.change_environment(|env| env.set("no name", "x"));
        assert!(refused.is_err());
        assert_eq!(boot.environment().unwrap(), env);
    }

    #[test]
    fn whoever_writes_is_alone_until_it_ends() {
        let folder = Folder::new("boot-alone");
        fs::create_dir(folder.path().join("grub")).unwrap();
        let boot = Boot::at(folder.path());
        let block = GrubEnv::default().to_block().unwrap();
        fs::write(boot.grubenv(), block).unwrap();
        let writing = boot.writable().unwrap();
        // Another part of the agent has its own.
        let other = Boot::at(folder.path());
        let changing =
            thread::spawn(move || other.change_environment(|env| env.set("args", "isolcpus=1")));
        thread::sleep(LOOK * 5);
        assert_eq!(boot.environment().unwrap().get("args"), None);
        drop(writing);
        changing.join().unwrap().unwrap();
        assert_eq!(boot.environment().unwrap().get("args"), Some("isolcpus=1"));
    }

    #[test]
    fn only_the_folder_itself_counts_as_mounted() {
        let mounts = "proc /proc proc rw 0 0\n/dev/vda2 /boot vfat ro,nosuid 0 0\n";
        assert!(is_mounted(mounts, Path::new("/boot")));
        assert!(!is_mounted(mounts, Path::new("/boo")));
        assert!(!is_mounted(mounts, Path::new("/boot/grub")));
    }
}
