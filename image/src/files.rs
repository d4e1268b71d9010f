//! Files and folders, with sentences.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

pub(crate) fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make {}", path.display()))
}

/// Makes a folder that is empty, whatever was there.
pub(crate) fn empty_folder(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("cannot empty {}", path.display()))?;
    }
    make_folder(path)
}

/// Waits until no other build is at work in the same place; the lock goes with what is returned.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let sentence = || format!("cannot lock {}", path.display());
    let file = File::create(path).with_context(sentence)?;
    file.lock().with_context(sentence)?;
    Ok(file)
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

pub(crate) fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes a file that all may read, and the folders above it.
pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

/// Copies a file and the folders above it; who may run it stays, all may read it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        make_folder(folder)?;
    }
    let _ = fs::remove_file(to); // a link there would be followed
    fs::copy(from, to)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    let runs = mode(from)? & 0o111 != 0;
    set_mode(to, if runs { 0o755 } else { 0o644 })
}

pub(crate) fn link(target: &str, at: &Path) -> Result<()> {
    if let Some(folder) = at.parent() {
        make_folder(folder)?;
    }
    symlink(target, at).with_context(|| format!("cannot link {}", at.display()))
}

pub(crate) fn size(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(metadata.len())
}

pub(crate) fn mode(path: &Path) -> Result<u32> {
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(metadata.permissions().mode())
}

pub(crate) fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

/// Lists a folder in the order of names.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let sentence = || format!("cannot list {}", folder.display());
    let mut paths = fs::read_dir(folder)
        .with_context(sentence)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .with_context(sentence)?;
    paths.sort();
    Ok(paths)
}

/// Lists all files below a folder (links too, as files), in the order of names.
pub(crate) fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in list(folder)? {
        if path.is_dir() && !path.is_symlink() {
            found.extend(walk(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Returns the name of a file.
pub(crate) fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
