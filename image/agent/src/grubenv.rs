//! GRUB's environment block: what the boot loader and the running system tell each other.
//!
//! It is a file of 1024 bytes: a line that names it, lines `name=value`, and `#` up to the end. GRUB
//! writes it in place, by the sectors where it found it, so it must never move: it is overwritten
//! where it lies, and never truncated, renamed or made anew. What we write fits the first sector:
//! a power cut leaves the old text or the new one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use thiserror::Error;

/// The size of the block.
pub const LENGTH: usize = 1024;
/// A disk writes a sector as a whole or not at all.
const SECTOR: usize = 512;
const HEADER: &str = "# GRUB Environment Block\n";
/// The longest name of a variable.
const LONGEST_NAME: usize = 64;

/// Why a block cannot be read or made.
#[derive(Debug, Error)]
pub enum GrubEnvError {
    /// It has another size.
    #[error("the environment block of GRUB has {0} bytes and not {LENGTH}")]
    Size(usize),
    /// It does not begin as it should.
    #[error("the environment block of GRUB is damaged: it does not begin with its name")]
    Header,
    /// A line is none of a variable.
    #[error("the environment block of GRUB is damaged: line {0} is no `name=value`")]
    Line(usize),
    /// The name of a variable has other characters.
    #[error("`{0}` is no name of a variable of GRUB: letters, digits and _ are")]
    Name(String),
    /// A value has characters that no value has.
    #[error("the value of {0} has control characters")]
    Value(String),
    /// There is no room.
    #[error("the variables of GRUB have no room: {0} bytes, and {SECTOR} are one sector")]
    Full(usize),
    /// The file cannot be read or written.
    #[error("cannot {0} the environment block of GRUB: {1}")]
    File(&'static str, #[source] io::Error),
}

/// The variables of a block, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrubEnv {
    variables: Vec<(String, String)>,
}

impl GrubEnv {
    /// Reads a block.
    ///
    /// # Errors
    /// Says what is damaged.
    pub fn parse(block: &[u8]) -> Result<Self, GrubEnvError> {
        if block.len() != LENGTH {
            return Err(GrubEnvError::Size(block.len()));
        }
        let Some(mut rest) = block.strip_prefix(HEADER.as_bytes()) else {
            return Err(GrubEnvError::Header);
        };
        let mut env = Self::default();
        let mut number = 1;
        while !rest.is_empty() {
            number += 1;
            let (line, behind) = split_line(rest).ok_or(GrubEnvError::Line(number))?;
            rest = behind;
            // GRUB takes a `#` for a comment that ends with its line: so is the padding.
            if line.starts_with(b"#") || line.is_empty() {
                continue;
            }
            let text = unescaped(line).ok_or(GrubEnvError::Line(number))?;
            let (name, value) = text.split_once('=').ok_or(GrubEnvError::Line(number))?;
            env.set(name, value)
                .map_err(|_| GrubEnvError::Line(number))?;
        }
        Ok(env)
    }

    /// Returns the value of a variable; none where it is not set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Sets a variable, at its place or behind the others.
    ///
    /// # Errors
    /// When no name or value is like that.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), GrubEnvError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if !(1..=LONGEST_NAME).contains(&name.len()) || !name.bytes().all(allowed) {
            return Err(GrubEnvError::Name(name.to_owned()));
        }
        if value.chars().any(char::is_control) {
            return Err(GrubEnvError::Value(name.to_owned()));
        }
        match self.variables.iter_mut().find(|(known, _)| known == name) {
            Some((_, old)) => value.clone_into(old),
            None => self.variables.push((name.to_owned(), value.to_owned())),
        }
        Ok(())
    }

    /// Takes a variable out.
    pub fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    /// Makes the block.
    ///
    /// # Errors
    /// When the variables do not fit one sector.
    pub fn to_block(&self) -> Result<[u8; LENGTH], GrubEnvError> {
        let mut text = HEADER.to_owned();
        for (name, value) in &self.variables {
            let value = value.replace('\\', "\\\\");
            text.extend([name, "=", &value, "\n"]);
        }
        let mut block = [b'#'; LENGTH];
        let room = block.get_mut(..text.len().min(SECTOR));
        match room.filter(|room| room.len() == text.len()) {
            Some(room) => room.copy_from_slice(text.as_bytes()),
            None => return Err(GrubEnvError::Full(text.len())),
        }
        Ok(block)
    }

    /// Reads the block in a file.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub fn read(path: &Path) -> Result<Self, GrubEnvError> {
        let cannot = |error| GrubEnvError::File("read", error);
        let mut block = Vec::new();
        let file = File::open(path).map_err(cannot)?;
        let mut file = file.take(LENGTH as u64 + 1);
        file.read_to_end(&mut block).map_err(cannot)?;
        Self::parse(&block)
    }

    /// Writes the block over the one in a file, and waits until it outlives a power cut.
    ///
    /// # Errors
    /// When it does not fit, or the file is not there or not that of a block.
    pub fn write(&self, path: &Path) -> Result<(), GrubEnvError> {
        let block = self.to_block()?;
        let cannot = |error| GrubEnvError::File("write", error);
        let file = OpenOptions::new().write(true).open(path).map_err(cannot)?;
        let length = file.metadata().map_err(cannot)?.len();
        if length != LENGTH as u64 {
            return Err(GrubEnvError::Size(length as usize));
        }
        // In one call; the sector with the variables goes to the disk as a whole.
        file.write_all_at(&block, 0).map_err(cannot)?;
        file.sync_all().map_err(cannot)
    }
}

/// A line ends at a line feed that no backslash escapes; the last one at the end.
fn split_line(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut escaped = false;
    for (place, byte) in text.iter().enumerate() {
        match byte {
            b'\n' if !escaped => return Some((text.get(..place)?, text.get(place + 1..)?)),
            _ => escaped = *byte == b'\\' && !escaped,
        }
    }
    // Padding has no end of line; a variable must have one.
    text.starts_with(b"#").then_some((text, &[]))
}

fn unescaped(line: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(line.len());
    let mut rest = line.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'\\' => *rest.next()?,
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::testing::Folder;
    use proptest::prelude::*;

    /// What `grub-editenv` of GRUB 2.06 makes of `create`, `set slot=a 'args=a\b c'`.
    fn of_grub() -> Vec<u8> {
        let text = "# GRUB Environment Block\nslot=a\nargs=a\\\\b c\n";
        let mut block = text.as_bytes().to_vec();
        block.resize(LENGTH, b'#');
        block
    }

    #[test]
    fn what_grub_writes_is_read_and_written_as_grub_does() {
        let env = GrubEnv::parse(&of_grub()).unwrap();
        assert_eq!(env.get("slot"), Some("a"));
        assert_eq!(env.get("args"), Some("a\\b c"));
        assert_eq!(env.get("trial"), None);
        assert_eq!(env.to_block().unwrap().as_slice(), of_grub());
        let newer = String::from_utf8(of_grub()).unwrap().replacen(
            "Block\n",
            "Block\n# WARNING: Do not edit this file by tools other than grub-editenv!!!\n",
            1,
        );
        let newer = newer.as_bytes().get(..LENGTH).unwrap();
        assert_eq!(GrubEnv::parse(newer).unwrap(), env);
    }

    #[test]
    fn a_variable_keeps_its_place_and_an_empty_one_is_there() {
        let mut env = GrubEnv::parse(&of_grub()).unwrap();
        env.set("trial", "").unwrap();
        env.set("slot", "b").unwrap();
        env.unset("args");
        let block = env.to_block().unwrap();
        let text = String::from_utf8(block.to_vec()).unwrap();
        let lines: Vec<&str> = text.lines().take(3).collect();
        assert_eq!(lines, [HEADER.trim_end(), "slot=b", "trial="]);
        assert_eq!(GrubEnv::parse(&block).unwrap().get("trial"), Some(""));
    }

    #[test]
    fn a_damaged_block_is_a_sentence_and_no_guess() {
        let whole = of_grub();
        let short = whole.get(..1000).unwrap();
        let said = |block: &[u8]| GrubEnv::parse(block).unwrap_err().to_string();
        assert!(said(short).contains("has 1000 bytes and not 1024"));
        let mut torn = whole.clone();
        torn.get_mut(..512).unwrap().fill(0);
        assert!(said(&torn).contains("does not begin with its name"));
        let mut line = whole.clone();
        line.get_mut(25..32).unwrap().copy_from_slice(b"sl-ot a");
        assert!(said(&line).contains("line 2 is no `name=value`"));
    }

    #[test]
    fn what_does_not_fit_one_sector_or_one_line_is_refused() {
        let mut env = GrubEnv::default();
        env.set("args", &"x".repeat(600)).unwrap();
        let error = env.to_block().unwrap_err().to_string();
        assert!(error.contains("631 bytes"), "{error}");
        assert!(env.set("a b", "x").is_err());
        assert!(env.set("a", "x\nslot=b").is_err());
    }

    #[test]
    fn a_file_is_overwritten_where_it_lies() {
        let folder = Folder::new("grubenv");
        let path = folder.path().join("grubenv");
        fs::write(&path, of_grub()).unwrap();
        let before = fs::metadata(&path).unwrap().ino();
        let mut env = GrubEnv::read(&path).unwrap();
        env.set("tried", "1").unwrap();
        env.write(&path).unwrap();
        let after = fs::metadata(&path).unwrap();
        assert_eq!((after.ino(), after.len()), (before, LENGTH as u64));
        assert_eq!(GrubEnv::read(&path).unwrap(), env);
        // Another file is left alone, and none is made.
        fs::write(&path, "short").unwrap();
        assert!(env.write(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "short");
        fs::remove_file(&path).unwrap();
        assert!(env.write(&path).is_err());
        assert!(!path.exists());
    }

    proptest! {
        #[test]
        fn variables_read_back_as_they_were_written(
            values in proptest::collection::vec(("[a-z_]{1,8}", "[ -~\u{e4}]{0,30}"), 0..8)
        ) {
            let mut env = GrubEnv::default();
            for (name, value) in &values {
                env.set(name, value).unwrap();
            }
            let block = env.to_block().unwrap();
            prop_assert_eq!(GrubEnv::parse(&block).unwrap(), env);
        }

        #[test]
        fn a_write_that_a_power_cut_stops_between_sectors_is_whole(
            (old, new) in ("[ -~]{0,200}", "[ -~]{0,200}")
        ) {
            let block = |args: &str| {
                let mut env = GrubEnv::default();
                env.set("args", args).unwrap();
                env.to_block().unwrap()
            };
            let (old, new) = (block(&old), block(&new));
            let mut torn = new;
            torn[SECTOR..].copy_from_slice(&old[SECTOR..]);
            prop_assert_eq!(GrubEnv::parse(&torn).unwrap(), GrubEnv::parse(&new).unwrap());
        }

        #[test]
        fn any_block_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1100)) {
            let mut block = of_grub();
            let end = (25 + bytes.len()).min(LENGTH);
            block[25..end].copy_from_slice(&bytes[..end - 25]);
            if let Ok(env) = GrubEnv::parse(&block)
                && let Ok(block) = env.to_block() {
                prop_assert_eq!(GrubEnv::parse(&block).unwrap(), env);
            }
            let _ = GrubEnv::parse(&bytes);
        }
    }
}
