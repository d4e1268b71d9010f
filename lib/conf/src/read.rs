//! Which files a configuration is made of, and what is in them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::diagnostic::Report;

/// The folder beside the file whose files add objects.
const FOLDER: &str = "conf.d";

/// How the names of files in [`FOLDER`] end.
const EXTENSION: &str = "conf";

/// The most bytes that a configuration has in all.
const LARGEST: u64 = 16 << 20;

/// The most files that a configuration has.
const MOST_FILES: usize = 1000;

/// A text that objects come from, with the name that reports call it by: the path of a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SourceText {
    /// The name.
    pub name: String,
    /// What is in it, text or not.
    pub bytes: Vec<u8>,
}

impl SourceText {
    /// Makes a text of a name.
    #[must_use]
    pub fn new(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            name: name.into(),
            bytes: bytes.into(),
        }
    }
}

/// Reads a file and those of `conf.d` beside it that end in `.conf`, sorted by name; hidden files
/// are left out. The file itself comes first.
///
/// # Errors
/// Returns which of them cannot be read.
pub fn read(path: &Path) -> Result<Vec<SourceText>, Report> {
    let mut room = LARGEST;
    let mut texts = vec![text(path, &mut room)?];
    for path in beside(path)? {
        if path.is_dir() || !path.is_file() && path.exists() {
            let name = path.display();
            return Err(Report::nowhere(format!(
                "cannot read {name}: it is not a file"
            )));
        }
        texts.push(text(&path, &mut room)?);
    }
    Ok(texts)
}

/// Reads a configuration from a stream, such as the standard input; no other files belong to it.
///
/// # Errors
/// Returns why it cannot be read.
pub fn read_from(name: &str, stream: impl Read) -> Result<Vec<SourceText>, Report> {
    let mut room = LARGEST;
    Ok(vec![contents(name, stream, &mut room)?])
}

/// Lists the files of `conf.d` beside a file.
fn beside(path: &Path) -> Result<Vec<PathBuf>, Report> {
    let folder = path.with_file_name(FOLDER);
    let unreadable = |error: &io::Error| unreadable(&folder.display().to_string(), error);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(&error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| unreadable(&error))?.file_name();
        let hidden = name.as_encoded_bytes().starts_with(b".");
        if hidden || Path::new(&name).extension() != Some(OsStr::new(EXTENSION)) {
            continue;
        }
        if files.len() == MOST_FILES {
            let folder = folder.display();
            return Err(Report::nowhere(format!(
                "{folder} has more than {MOST_FILES} files; is it the right folder?"
            )));
        }
        files.push(folder.join(name));
    }
    files.sort();
    Ok(files)
}

fn text(path: &Path, room: &mut u64) -> Result<SourceText, Report> {
    let name = path.display().to_string();
    match File::open(path) {
        Ok(file) => contents(&name, file, room),
        Err(error) => Err(unreadable(&name, &error)),
    }
}

fn contents(name: &str, stream: impl Read, room: &mut u64) -> Result<SourceText, Report> {
    let mut bytes = Vec::new();
    let read = stream.take(*room + 1).read_to_end(&mut bytes);
    if let Err(error) = read {
        return Err(unreadable(name, &error));
    }
    let Some(rest) = room.checked_sub(bytes.len() as u64) else {
        let most = LARGEST >> 20;
        return Err(Report::nowhere(if *room == LARGEST {
            format!("{name} is larger than {most} MiB; is it the right file?")
        } else {
            format!("with {name} the configuration is larger than {most} MiB")
        }));
    };
    *room = rest;
    Ok(SourceText::new(name, bytes))
}

fn unreadable(name: &str, error: &io::Error) -> Report {
    let words = error.to_string();
    let words = words.split(" (os error").next().unwrap_or_default();
    Report::nowhere(format!("cannot read {name}: {}", words.to_lowercase()))
}
