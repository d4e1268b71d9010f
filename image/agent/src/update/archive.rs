//! The update file: a tar of `manifest`, `manifest.minisig` and the files of a slot, in this order,
//! read as it comes.

use std::io::{self, Read};

use tar::{Archive, Entries, EntryType};

use crate::slots::Manifest;
use crate::slots::manifest;
use crate::update::keys::Keys;

/// No signature is longer.
const LONGEST_SIGNATURE: u64 = 4096;

/// An update whose manifest was read and believed.
pub(crate) struct Update<'a, R: Read> {
    manifest: Manifest,
    entries: Entries<'a, R>,
}

impl<'a, R: Read> Update<'a, R> {
    /// Reads the manifest and its signature; nothing behind them is looked at before the signature
    /// is known to be good.
    ///
    /// # Errors
    /// Says what is wrong.
    pub(crate) fn open(archive: &'a mut Archive<R>, keys: &Keys) -> Result<Self, String> {
        let entries = archive.entries();
        let mut entries = entries.map_err(|error| unreadable(&error))?.raw(true);
        let text = member(&mut entries, "manifest", manifest::LONGEST as u64)?;
        let signature = member(&mut entries, "manifest.minisig", LONGEST_SIGNATURE)?;
        let wrong = |_| "the update's signature is no text".to_owned();
        let signature = String::from_utf8(signature).map_err(wrong)?;
        keys.verify(&text, &signature)?;
        let wrong = |_| "the update's manifest is no text".to_owned();
        let text = String::from_utf8(text).map_err(wrong)?;
        let manifest = Manifest::parse(&text)?;
        Ok(Self { manifest, entries })
    }

    /// Returns what the update says of itself.
    pub(crate) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Takes the files, one after the other, and the end.
    ///
    /// # Errors
    /// Says which member is not what the manifest names.
    pub(crate) fn files(
        mut self,
        mut take: impl FnMut(&manifest::Entry, &mut dyn Read) -> Result<(), String>,
    ) -> Result<(), String> {
        for expected in &self.manifest.files {
            let mut member = next(&mut self.entries, &expected.name)?;
            let size = member.size();
            if size != expected.size {
                let name = &expected.name;
                let told = expected.size;
                return Err(format!(
                    "{name} of the update has {size} bytes, the manifest says {told}"
                ));
            }
            take(expected, &mut member)?;
        }
        match self.entries.next() {
            None => Ok(()),
            Some(Err(error)) => Err(unreadable(&error)),
            Some(Ok(entry)) => Err(format!(
                "the update has a file that its manifest does not name: {}",
                name_of(&entry)
            )),
        }
    }
}

/// Reads a small member as a whole.
fn member<R: Read>(entries: &mut Entries<'_, R>, name: &str, most: u64) -> Result<Vec<u8>, String> {
    let mut entry = next(entries, name)?;
    if entry.size() > most {
        return Err(format!("{name} of the update is longer than {most} bytes"));
    }
    let size = entry.size();
    let mut bytes = Vec::new();
    let read = entry.read_to_end(&mut bytes);
    read.map_err(|error| unreadable(&error))?;
    if bytes.len() as u64 != size {
        return Err(format!("the update ends too early: within {name}"));
    }
    Ok(bytes)
}

fn next<'a, R: Read>(
    entries: &mut Entries<'a, R>,
    name: &str,
) -> Result<tar::Entry<'a, R>, String> {
    let entry = match entries.next() {
        Some(Ok(entry)) => entry,
        Some(Err(error)) => return Err(unreadable(&error)),
        None => return Err(format!("the update ends too early: it has no {name}")),
    };
    if entry.header().entry_type() != EntryType::Regular || entry.path_bytes() != name.as_bytes() {
        return Err(format!(
            "the update has {} where {name} should be",
            name_of(&entry)
        ));
    }
    Ok(entry)
}

fn name_of<R: Read>(entry: &tar::Entry<'_, R>) -> String {
    let name = entry.path_bytes();
    manifest::quoted(&String::from_utf8_lossy(&name))
}

/// What an error quotes comes from outside, too.
fn unreadable(error: &io::Error) -> String {
    let error = manifest::quoted(&error.to_string());
    format!("this is no update, or it ends too early: {error}")
}
