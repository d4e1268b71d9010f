//! The update file: the files of a slot and what vouches for them.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use tar::{Builder, Header};

use crate::files;
use crate::manifest::Manifest;
use crate::run::EPOCH;
use crate::sign::Keys;

/// Writes an update file of a slot's folder: `manifest`, `manifest.minisig`, then the files that the
/// manifest names, in that order, so that it can be judged before it is read whole.
///
/// # Errors
/// When a file cannot be read or written.
pub fn pack(manifest: &Manifest, slot: &Path, keys: &Keys, to: &Path) -> Result<()> {
    let sentence = || format!("cannot write {}", to.display());
    let text = manifest.to_string();
    let signature = keys.sign(text.as_bytes(), &format!("weir {}", manifest.version))?;
    let file = BufWriter::new(File::create(to).with_context(sentence)?);
    let mut archive = Builder::new(file);
    let mut add = |name: &str, bytes: &[u8]| -> Result<()> {
        let mut header = Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(u64::from(EPOCH));
        archive
            .append_data(&mut header, name, bytes)
            .with_context(sentence)
    };
    add("manifest", text.as_bytes())?;
    add("manifest.minisig", signature.as_bytes())?;
    for entry in &manifest.files {
        add(&entry.name, &files::read(&slot.join(&entry.name))?)?;
    }
    let mut file = archive.into_inner().with_context(sentence)?;
    file.flush().with_context(sentence)
}
