//! The two slots: what is in them, how the other one is written, and the folder that each has on
//! the data partition.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use sha2::{Digest, Sha256};

use crate::boot::Writable;
use crate::events::Event;
use crate::places::Places;
use crate::slot::Slot;
use crate::update::migrate;

pub mod manifest;

pub use manifest::{Entry, Manifest};

/// The name of what a slot says of itself; a slot without it is empty.
const MANIFEST: &str = "manifest";
/// How names of files end that are not whole yet.
const NEW: &str = "new";

/// Returns the folder of a slot on the boot partition.
fn folder(boot: &Path, slot: Slot) -> PathBuf {
    boot.join(slot.folder())
}

/// Reads what is in a slot; none where it is empty.
///
/// # Errors
/// Says why it cannot be read.
pub(crate) fn manifest_of(boot: &Path, slot: Slot) -> Result<Option<Manifest>, String> {
    let path = folder(boot, slot).join(MANIFEST);
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| {
        let mut file = file.take(manifest::LONGEST as u64 + 1);
        file.read_to_string(&mut text)
    });
    match read {
        Ok(_) => Manifest::parse(&text).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("slot {slot} cannot be read: {error}")),
    }
}

/// Says whether the files of a slot are what its manifest says.
///
/// # Errors
/// Names the first that is not.
pub(crate) fn verify(boot: &Path, slot: Slot, manifest: &Manifest) -> Result<(), String> {
    for entry in &manifest.files {
        let path = folder(boot, slot).join(&entry.name);
        check(&path, entry).map_err(|why| format!("{} of slot {slot} {why}", entry.name))?;
    }
    Ok(())
}

/// Reads a file anew, from the disk and not from memory, and compares it with what it should be.
fn check(path: &Path, entry: &Entry) -> Result<(), String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    let mut file = File::open(path).map_err(cannot)?;
    // What is only in memory has not arrived; the kernel may keep it all the same.
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    let (mut hash, mut size) = (Sha256::new(), 0_u64);
    let mut piece = vec![0; 1 << 16];
    loop {
        let length = file.read(&mut piece).map_err(cannot)?;
        if length == 0 {
            break;
        }
        size += length as u64;
        hash.update(piece.get(..length).unwrap_or_default());
    }
    if size != entry.size {
        return Err(format!("has {size} bytes, not {}", entry.size));
    }
    if <[u8; 32]>::from(hash.finalize()) != entry.sha256 {
        return Err("is not what the manifest says: its SHA-256 is another".to_owned());
    }
    Ok(())
}

/// A slot that is being written: empty until it is finished, and empty again where it is not.
#[derive(Debug)]
pub(crate) struct Writing<'a> {
    folder: PathBuf,
    is_whole: bool,
    /// The partition stays writable as long.
    _writable: &'a Writable<'a>,
}

impl<'a> Writing<'a> {
    /// Empties a slot to write it anew: first its manifest, so that a power cut leaves an empty one.
    ///
    /// # Errors
    /// When it cannot be emptied.
    pub(crate) fn begin(boot: &Path, slot: Slot, writable: &'a Writable<'a>) -> io::Result<Self> {
        let folder = folder(boot, slot);
        fs::create_dir_all(&folder)?;
        remove(&folder.join(MANIFEST))?;
        sync_folder(&folder)?;
        let writing = Self {
            folder,
            is_whole: false,
            _writable: writable,
        };
        writing.clear()?;
        Ok(writing)
    }

    /// Writes one of its files, makes it durable and reads it back.
    ///
    /// # Errors
    /// Says why it cannot be written, or that it is not what was expected.
    pub(crate) fn file(
        &self,
        entry: &Entry,
        input: &mut impl Read,
        say: &mut dyn FnMut(u64),
    ) -> Result<(), String> {
        let path = self.folder.join(&entry.name).with_extension(NEW);
        let cannot = |error: io::Error| format!("{} cannot be written: {error}", entry.name);
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(cannot)?;
        let mut piece = vec![0; 1 << 16];
        let mut left = entry.size;
        while left > 0 {
            let most = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let room = piece.get_mut(..most).unwrap_or_default();
            let length = input
                .read(room)
                .map_err(|error| format!("the update cannot be read: {error}"))?;
            if length == 0 {
                let got = entry.size - left;
                let (name, size) = (&entry.name, entry.size);
                return Err(format!(
                    "the update ends too early: {got} of {size} bytes of {name} came"
                ));
            }
            let came = room.get(..length).unwrap_or_default();
            file.write_all(came).map_err(cannot)?;
            left -= length as u64;
            say(length as u64);
        }
        file.sync_all().map_err(cannot)?;
        drop(file);
        check(&path, entry).map_err(|why| format!("{} {why}", entry.name))
    }

    /// Gives the files their names, and the slot its manifest, last of all.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(crate) fn finish(mut self, manifest: &Manifest) -> io::Result<()> {
        for entry in &manifest.files {
            let path = self.folder.join(&entry.name);
            fs::rename(path.with_extension(NEW), path)?;
        }
        sync_folder(&self.folder)?;
        let path = self.folder.join(MANIFEST);
        let new = path.with_extension(NEW);
        let mut file = File::create(&new)?;
        file.write_all(manifest.to_string().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        sync_folder(&self.folder)?;
        self.is_whole = true;
        Ok(())
    }

    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            remove(&entry?.path())?;
        }
        sync_folder(&self.folder)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if !self.is_whole {
            // What is left over without a manifest is nothing, only in the way.
            let _ = self.clear();
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = File::open(folder)?;
    // FAT has no names to make durable one by one: the whole file system is asked.
    nix::unistd::syncfs(&folder)?;
    Ok(())
}

/// Makes the folder of a slot on the data partition where it has none: a copy of the other slot's,
/// brought to the format that this software reads. Each slot keeps its own from then on, so that the
/// other one can always read what it had.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn seed(places: &Places, slot: Slot) -> io::Result<Vec<Event>> {
    migrate::seed(
        &places.slot(slot),
        &places.slot(slot.other()),
        weir_conf::FORMAT,
        migrate::MIGRATIONS,
    )
}

/// Forgets what a slot had on the data partition: the next system in it takes over the other's.
///
/// # Errors
/// When it cannot be removed.
pub(crate) fn forget(places: &Places, slot: Slot) -> io::Result<()> {
    match fs::remove_dir_all(places.slot(slot)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::*;
    use crate::boot::Boot;
    use crate::testing::Folder;

    fn manifest() -> Manifest {
        Manifest {
            version: Version::new(0, 2, 0),
            arch: "x86_64".to_owned(),
            config_format: 1,
            files: vec![
                Entry::of("vmlinuz", b"kernel"),
                Entry::of("initrd", &[7; 200_000]),
            ],
        }
    }

    #[test]
    fn a_slot_is_empty_until_all_of_it_is_written() {
        let home = Folder::new("slot");
        let boot = Boot::at(home.path());
        let writable = boot.writable().unwrap();
        let manifest = manifest();
        let writing = Writing::begin(home.path(), Slot::B, &writable).unwrap();
        let mut came = 0;
        let mut say = |bytes| came += bytes;
        writing
            .file(&manifest.files[0], &mut &b"kernel"[..], &mut say)
            .unwrap();
        assert_eq!(manifest_of(home.path(), Slot::B), Ok(None));
        let initrd = vec![7; 200_000];
        writing
            .file(&manifest.files[1], &mut &initrd[..], &mut say)
            .unwrap();
        writing.finish(&manifest).unwrap();
        assert_eq!(came, 200_006);
        assert_eq!(
            manifest_of(home.path(), Slot::B),
            Ok(Some(manifest.clone()))
        );
        assert_eq!(verify(home.path(), Slot::B, &manifest), Ok(()));
        assert_eq!(fs::read_dir(home.path().join("slot-b")).unwrap().count(), 3);
    }

    #[test]
    fn a_file_that_is_short_or_another_leaves_the_slot_empty() {
        let home = Folder::new("slot-wrong");
        let boot = Boot::at(home.path());
        let writable = boot.writable().unwrap();
        let manifest = manifest();
        fs::create_dir(home.path().join("slot-b")).unwrap();
        fs::write(home.path().join("slot-b/manifest"), manifest.to_string()).unwrap();
        for (bytes, why) in [
            (&b"kern"[..], "ends too early: 4 of 6 bytes of vmlinuz came"),
            (&b"KERNEL"[..], "vmlinuz is not what the manifest says"),
        ] {
            let writing = Writing::begin(home.path(), Slot::B, &writable).unwrap();
            let error = writing.file(&manifest.files[0], &mut { bytes }, &mut |_| {});
            let error = error.unwrap_err();
            assert!(error.contains(why), "{error}");
            drop(writing);
            assert_eq!(fs::read_dir(home.path().join("slot-b")).unwrap().count(), 0);
        }
    }

    #[test]
    fn a_file_that_changed_since_is_found() {
        let home = Folder::new("slot-changed");
        let slot = home.path().join("slot-a");
        fs::create_dir(&slot).unwrap();
        fs::write(slot.join("vmlinuz"), "kernel").unwrap();
        let error = verify(home.path(), Slot::A, &manifest()).unwrap_err();
        assert!(
            error.starts_with("initrd of slot a cannot be read"),
            "{error}"
        );
        fs::write(slot.join("initrd"), vec![8; 200_000]).unwrap();
        let error = verify(home.path(), Slot::A, &manifest()).unwrap_err();
        assert!(error.contains("initrd of slot a is not what"), "{error}");
    }
}
