//! What a slot and an update file say of themselves.

use std::fmt;
use std::path::Path;

use anyhow::Result;

use crate::files;
use crate::sign::sha256;

/// The version of the format of this file.
const FORMAT: u32 = 1;

/// The version of the format of `weir.conf` that this software reads and writes.
const CONFIG_FORMAT: u32 = 1;

/// A slot's `manifest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The version of the software, `0.1.0+12`.
    pub version: String,
    /// The files beside it.
    pub files: Vec<Entry>,
}

/// A file of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Describes files.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn of(version: &str, paths: &[&Path]) -> Result<Self> {
        let entry = |path: &&Path| -> Result<Entry> {
            let bytes = files::read(path)?;
            Ok(Entry {
                name: files::name(path),
                size: bytes.len() as u64,
                sha256: sha256(&bytes),
            })
        };
        Ok(Self {
            version: version.to_owned(),
            files: paths.iter().map(entry).collect::<Result<_>>()?,
        })
    }
}

/// Returns what the root file system says of itself: all but the files, of which it is a part.
pub(crate) fn head(version: &str) -> String {
    format!(
        "format = {FORMAT}\nversion = {version}\narch = x86_64\nconfig-format = {CONFIG_FORMAT}\n"
    )
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&head(&self.version))?;
        for file in &self.files {
            writeln!(f, "file = {} {} {}", file.name, file.size, file.sha256)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_lines_of_key_and_value() {
        let manifest = Manifest {
            version: "0.1.0+12".into(),
            files: vec![Entry {
                name: "vmlinuz".into(),
                size: 8_234_567,
                sha256: "ab".repeat(32),
            }],
        };
        assert_eq!(
            manifest.to_string(),
            format!(
                "format = 1\nversion = 0.1.0+12\narch = x86_64\nconfig-format = 1\n\
                 file = vmlinuz 8234567 {}\n",
                "ab".repeat(32)
            )
        );
    }
}
