//! What a slot and an update file say of themselves: lines `key = value`.

use std::fmt;
use std::fmt::Write as _;

use semver::Version;
use sha2::{Digest, Sha256};

/// The version of the format of manifests.
const FORMAT: u32 = 1;
/// The most files that a slot has.
const MOST_FILES: usize = 8;
/// No manifest is longer.
pub const LONGEST: usize = 16 * 1024;
/// No file of a slot is larger: the boot partition holds two slots.
pub const LARGEST: u64 = 90 << 20;

/// What is in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The version of the software, `0.1.0+12`.
    pub version: Version,
    /// What processor it is for.
    pub arch: String,
    /// The newest format of `weir.conf` that the software reads.
    pub config_format: u32,
    /// The files beside it.
    pub files: Vec<Entry>,
}

/// A file of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256.
    pub sha256: [u8; 32],
}

impl Manifest {
    /// Reads a manifest. A key that it does not know is one of a later version that does not matter
    /// to this one; where it did, the format would be another.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("the manifest is longer than {LONGEST} bytes"));
        }
        let (mut format, mut version, mut arch, mut config_format) = (None, None, None, None);
        let mut files: Vec<Entry> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("line {} of the manifest", number + 1);
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| format!("{place} is not `key = value`"))?;
            let value = value.trim();
            let again = match key.trim() {
                "format" => format.replace(number_of(value, &place)?).is_some(),
                "version" => {
                    let read = Version::parse(value);
                    let read =
                        read.map_err(|error| format!("{place}: {}: {error}", quoted(value)))?;
                    version.replace(read).is_some()
                }
                "arch" => arch.replace(value.to_owned()).is_some(),
                "config-format" => config_format.replace(number_of(value, &place)?).is_some(),
                "file" => {
                    let entry = Entry::parse(value).ok_or_else(|| {
                        format!("{place} is not `file = NAME BYTES SHA-256` of a file of a slot")
                    })?;
                    let again = files.iter().any(|file| file.name == entry.name);
                    files.push(entry);
                    again || files.len() > MOST_FILES
                }
                _ => false,
            };
            if again {
                return Err(format!("{place} is one too many"));
            }
        }
        let missing = |key: &str| format!("the manifest has no `{key}`");
        let format = format.ok_or_else(|| missing("format"))?;
        if format != FORMAT {
            return Err(format!(
                "the manifest has format {format}, this system reads {FORMAT}"
            ));
        }
        Ok(Self {
            version: version.ok_or_else(|| missing("version"))?,
            arch: arch.ok_or_else(|| missing("arch"))?,
            config_format: config_format.ok_or_else(|| missing("config-format"))?,
            files,
        })
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "format = {FORMAT}")?;
        writeln!(f, "version = {}", self.version)?;
        writeln!(f, "arch = {}", self.arch)?;
        writeln!(f, "config-format = {}", self.config_format)?;
        for file in &self.files {
            let (name, size) = (&file.name, file.size);
            writeln!(f, "file = {name} {size} {}", hex(&file.sha256))?;
        }
        Ok(())
    }
}

/// Quotes what comes from outside: without what moves cursors, and its beginning only.
pub(crate) fn quoted(text: &str) -> String {
    text.chars().take(80).flat_map(char::escape_debug).collect()
}

impl Entry {
    /// Describes a file by its bytes.
    #[must_use]
    pub fn of(name: &str, bytes: &[u8]) -> Self {
        Self {
            name: name.to_owned(),
            size: bytes.len() as u64,
            sha256: Sha256::digest(bytes).into(),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [name, size, hash] = words.as_slice() else {
            return None;
        };
        let size = size.parse().ok().filter(|size| *size <= LARGEST)?;
        // What GRUB and the image know; no name leads out of the folder.
        let is_known = matches!(*name, "vmlinuz" | "initrd");
        is_known.then_some(Self {
            name: (*name).to_owned(),
            size,
            sha256: unhex(hash)?,
        })
    }
}

fn number_of(value: &str, place: &str) -> Result<u32, String> {
    let number = value.parse();
    number.map_err(|_| format!("{place}: `{}` is not a number", quoted(value)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(place * 2..place * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manifest() -> Manifest {
        Manifest {
            version: Version::parse("0.2.0+12").unwrap(),
            arch: "x86_64".to_owned(),
            config_format: 1,
            files: vec![Entry::of("vmlinuz", b"kernel"), Entry::of("initrd", b"")],
        }
    }

    #[test]
    fn a_manifest_reads_back_as_it_was_written_and_has_lines_of_key_and_value() {
        let text = manifest().to_string();
        let begin = "format = 1\nversion = 0.2.0+12\narch = x86_64\nconfig-format = 1\n\
                     file = vmlinuz 6 ";
        assert!(text.starts_with(begin), "{text}");
        assert_eq!(Manifest::parse(&text), Ok(manifest()));
        let newer = format!("# a comment\n{text}colour = blue\n");
        assert_eq!(Manifest::parse(&newer), Ok(manifest()));
    }

    #[test]
    fn each_mistake_is_a_sentence() {
        let text = manifest().to_string();
        for (from, to, why) in [
            (
                "format = 1\nversion",
                "format = 2\nversion",
                "has format 2, this system reads 1",
            ),
            ("format = 1\nversion", "version", "has no `format`"),
            ("arch = x86_64\n", "", "has no `arch`"),
            (
                "arch = x86_64\n",
                "arch\n",
                "line 3 of the manifest is not `key = value`",
            ),
            (
                "arch = x86_64\n",
                "version = 1.0.0\n",
                "line 3 of the manifest is one too many",
            ),
            ("0.2.0+12", "two", "line 2 of the manifest: two: "),
            (
                "config-format = 1",
                "config-format = x",
                "`x` is not a number",
            ),
            (
                "vmlinuz 6",
                "../vmlinuz 6",
                "line 5 of the manifest is not `file",
            ),
            (
                "vmlinuz 6",
                "weir.conf 6",
                "line 5 of the manifest is not `file",
            ),
            (
                "vmlinuz 6",
                "vmlinuz 6000000000",
                "line 5 of the manifest is not `file",
            ),
            (
                "vmlinuz 6",
                "initrd 6",
                "line 6 of the manifest is one too many",
            ),
        ] {
            let error = Manifest::parse(&text.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(why), "{to}: {error}");
        }
        assert!(Manifest::parse(&"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn versions_are_older_or_newer_by_their_build_too() {
        let versions = ["0.1.0+9", "0.1.0+10", "0.1.1-rc.1", "0.1.1", "0.10.0+1"];
        let versions = versions.map(|text| Version::parse(text).unwrap());
        assert!(versions.is_sorted());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(?s).{0,400}") {
            let _ = Manifest::parse(&text);
        }

        #[test]
        fn any_change_of_a_manifest_is_read_or_refused(at in 0..300_usize, byte in any::<u8>()) {
            let mut bytes = manifest().to_string().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let text = String::from_utf8_lossy(&bytes);
            if let Ok(read) = Manifest::parse(&text) {
                prop_assert_eq!(Manifest::parse(&read.to_string()), Ok(read));
            }
        }
    }
}
