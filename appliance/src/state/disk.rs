//! What the state does to a disk, step by step, so that a test can cut the power between any two.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Takes the steps that make a file durable, in the order in which they are asked for.
pub(super) trait Disk {
    /// An open file.
    type File;

    /// Makes a folder that is only for its owner, with the folders that lead there.
    fn create_folder(&mut self, path: &Path) -> io::Result<()>;
    /// Makes an empty file that only its owner can read, or empties it.
    fn create(&mut self, path: &Path) -> io::Result<Self::File>;
    /// Appends a text.
    fn write(&mut self, file: &mut Self::File, text: &str) -> io::Result<()>;
    /// Waits until what is in a file outlives a power cut.
    fn sync(&mut self, file: &Self::File) -> io::Result<()>;
    /// Gives a file another name, which may be that of another file: then that is gone.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// Waits until the names in a folder outlive a power cut.
    fn sync_folder(&mut self, folder: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
}

/// The disk of this machine.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    type File = File;

    fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn create(&mut self, path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(path)
    }

    fn write(&mut self, file: &mut File, text: &str) -> io::Result<()> {
        file.write_all(text.as_bytes())
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}
