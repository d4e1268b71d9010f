//! What outlives the daemon: the configurations that were applied, and which of them runs.
//!
//! Each is a file of its own that `weir check` accepts, with a few comments on top; another names
//! the one that runs. Both are written beside their place, made durable and moved into it, so a
//! power cut at any moment leaves the old one or the new one.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};
use weir_conf::SourceText;

use self::disk::{Disk, RealDisk};

use crate::daemon::machine::first_directory;
use crate::log::words;

mod disk;
#[cfg(test)]
mod power_cut;

/// Configurations that are kept besides the one that runs.
const KEPT: usize = 10;
/// The name of the file that names the one that runs.
const RUNNING: &str = "running";
/// The name of the file with the print of the daemon's own files while nobody has confirmed them.
const TRIED: &str = "tried";
/// The name of the file with what operators ordered by command.
const ORDERS: &str = "orders";
/// How the names of configurations end.
const EXTENSION: &str = "conf";
/// How each comment on top begins.
const MARK: &str = "# weir: ";
/// Lines with a mark on top of each configuration.
const HEADING_LINES: usize = 5;
/// The most that is read of them.
const LONGEST_HEADING: u64 = 1 << 20;
/// Whatever is larger is another file: a configuration is 16 MiB at most, with its defaults.
const MOST_BYTES: u64 = 64 << 20;

/// Returns the directory of what outlives the daemon: the one that a service manager says, or
/// `/var/lib/weir`.
pub(crate) fn directory() -> PathBuf {
    first_directory("STATE_DIRECTORY", "/var/lib/weir")
}

/// A configuration that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) generation: u64,
    /// When, as RFC 3339.
    pub(crate) at: String,
    /// Who had it applied.
    pub(crate) by: String,
    /// What it changed.
    pub(crate) summary: String,
    /// The print of the daemon's own files at that time.
    pub(crate) files: String,
    /// The whole of it, in one text.
    pub(crate) text: String,
}

/// The configurations that a daemon of one file has applied.
#[derive(Clone, Debug)]
pub(crate) struct State {
    folder: PathBuf,
}

impl State {
    /// Returns the state of the daemon that runs on a file; other daemons have others.
    pub(crate) fn of(file: &Path) -> Self {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        Self::in_folder(directory().join("configurations").join(escaped(&file)))
    }

    pub(crate) fn in_folder(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Reads the configuration that ran last; none where there was none yet.
    ///
    /// # Errors
    /// Says what is damaged.
    pub(crate) fn running(&self) -> Result<Option<Applied>, String> {
        let path = self.folder.join(RUNNING);
        let name = match read(&path) {
            Ok(name) => name,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(cannot_read(&path, &error)),
        };
        let generation = name.trim().parse();
        let generation = generation.map_err(|_| format!("{} is damaged", path.display()))?;
        self.applied(generation).map(Some)
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// Says that it is not kept, or is damaged.
    pub(crate) fn applied(&self, generation: u64) -> Result<Applied, String> {
        let path = self.path(generation);
        let text = read(&path).map_err(|error| {
            if error.kind() == io::ErrorKind::NotFound {
                format!("configuration {generation} is not kept")
            } else {
                cannot_read(&path, &error)
            }
        })?;
        let applied = parse(&text).filter(|applied| applied.generation == generation);
        applied.ok_or_else(|| format!("{} is damaged", path.display()))
    }

    /// Reads what is kept of a configuration beside its text, which stays empty.
    ///
    /// # Errors
    /// Says that it is not kept, or is damaged.
    pub(crate) fn heading(&self, generation: u64) -> Result<Applied, String> {
        let path = self.path(generation);
        let read = File::open(&path).and_then(|file| {
            let mut text = String::new();
            let mut lines = BufReader::new(file.take(LONGEST_HEADING));
            for _ in 0..HEADING_LINES {
                lines.read_line(&mut text)?;
            }
            Ok(text)
        });
        let text = read.map_err(|error| cannot_read(&path, &error))?;
        parse(&text).ok_or_else(|| format!("{} is damaged", path.display()))
    }

    /// Returns the print of the files that were applied and that nobody has confirmed yet.
    pub(crate) fn tried(&self) -> Option<String> {
        read(&self.folder.join(TRIED)).ok()
    }

    /// Notes the print of the daemon's own files while what was applied waits to be confirmed: a
    /// start on the same files is one on the configuration of before.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn try_out(&self, files: &str) -> Result<(), String> {
        let written = self.try_out_on(&mut RealDisk, files);
        written.map_err(|error| self.cannot_write(&error))
    }

    /// Keeps what operators ordered by command, where it is not kept already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn keep_orders(&self, text: &str) -> Result<(), String> {
        let path = self.folder.join(ORDERS);
        if read(&path).is_ok_and(|kept| kept == text) {
            return Ok(());
        }
        let disk = &mut RealDisk;
        let folder = disk.create_folder(&self.folder);
        let written = folder.and_then(|()| self.replace(disk, &path, text));
        written.map_err(|error| self.cannot_write(&error))
    }

    /// Reads what operators ordered by command; none where they ordered nothing.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn orders(&self) -> Result<Option<String>, String> {
        let path = self.folder.join(ORDERS);
        match read(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(cannot_read(&path, &error)),
        }
    }

    /// Returns the numbers of the configurations that are kept, the oldest first.
    pub(crate) fn generations(&self) -> Vec<u64> {
        let Ok(entries) = fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        let mut generations: Vec<u64> = entries
            .filter_map(|entry| {
                let path = PathBuf::from(entry.ok()?.file_name());
                let is_one = path.extension().is_some_and(|end| end == EXTENSION);
                is_one.then_some(path)?.file_stem()?.to_str()?.parse().ok()
            })
            .collect();
        generations.sort_unstable();
        generations
    }

    /// Keeps a configuration and makes it the one that runs; the oldest ones go.
    ///
    /// # Errors
    /// When it cannot be written; then the one that ran is still kept as that.
    pub(crate) fn keep(&self, applied: &Applied) -> Result<(), String> {
        let kept = self.keep_on(&mut RealDisk, applied);
        kept.map_err(|error| self.cannot_write(&error))
    }

    fn cannot_write(&self, error: &io::Error) -> String {
        let cause = words(error);
        format!("cannot write into {}: {cause}", self.folder.display())
    }

    fn keep_on(&self, disk: &mut impl Disk, applied: &Applied) -> io::Result<()> {
        disk.create_folder(&self.folder)?;
        self.replace(disk, &self.path(applied.generation), &print(applied))?;
        let number = format!("{}\n", applied.generation);
        self.replace(disk, &self.folder.join(RUNNING), &number)?;
        // From here on it is the one that runs; what is left over goes now or another time.
        let _ = disk.remove(&self.folder.join(TRIED));
        let kept = self.generations();
        let old = kept.iter().filter(|one| **one != applied.generation);
        let too_many = kept.len().saturating_sub(1 + KEPT);
        for generation in old.take(too_many) {
            let _ = disk.remove(&self.path(*generation));
        }
        Ok(())
    }

    fn try_out_on(&self, disk: &mut impl Disk, files: &str) -> io::Result<()> {
        disk.create_folder(&self.folder)?;
        self.replace(disk, &self.folder.join(TRIED), files)
    }

    /// Puts a text into the place of a file, as a whole or not at all.
    fn replace<D: Disk>(&self, disk: &mut D, path: &Path, text: &str) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut file = disk.create(&new)?;
        disk.write(&mut file, text)?;
        disk.sync(&file)?;
        disk.rename(&new, path)?;
        disk.sync_folder(&self.folder)
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.folder.join(format!("{generation:06}.{EXTENSION}"))
    }
}

/// Returns the print of files: the same for the same names and contents.
pub(crate) fn print_of(files: &[SourceText]) -> String {
    let mut hash = Sha256::new();
    for file in files {
        for part in [file.name.as_bytes(), &file.bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Returns a moment as it is kept.
pub(crate) fn moment(at: SystemTime) -> String {
    humantime::format_rfc3339_seconds(at).to_string()
}

fn print(applied: &Applied) -> String {
    let mut text = String::new();
    for (name, value) in [
        ("generation", applied.generation.to_string().as_str()),
        ("applied", &applied.at),
        ("by", &applied.by),
        ("changed", &applied.summary),
        ("files", &applied.files),
    ] {
        let value = value.replace(['\n', '\r'], " ");
        let _ = writeln!(text, "{MARK}{name} {value}");
    }
    text.push_str(&applied.text);
    text
}

fn parse(text: &str) -> Option<Applied> {
    let mut rest = text;
    let mut next = |name: &str| {
        let (line, after) = rest.split_once('\n')?;
        let value = line.strip_prefix(MARK)?.strip_prefix(name)?;
        rest = after;
        value.strip_prefix(' ').map(str::to_owned)
    };
    let (generation, at) = (next("generation")?.parse().ok()?, next("applied")?);
    let (by, summary, files) = (next("by")?, next("changed")?, next("files")?);
    Some(Applied {
        generation,
        at,
        by,
        summary,
        files,
        text: rest.to_owned(),
    })
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = File::open(path)?;
    file.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Writes a path as one name, as systemd does: `-` stands between its parts.
fn escaped(path: &Path) -> String {
    let path = path.to_string_lossy();
    let mut name = String::new();
    for character in path.trim_start_matches('/').chars() {
        match character {
            '/' => name.push('-'),
            '-' | '\\' => {
                let _ = write!(name, "\\x{:02x}", u32::from(character));
            }
            _ => name.push(character),
        }
    }
    name
}

fn cannot_read(path: &Path, error: &io::Error) -> String {
    format!("cannot read {}: {}", path.display(), words(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) struct Folder(pub(super) PathBuf);

    impl Folder {
        pub(super) fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("weir-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            Self(folder)
        }

        pub(super) fn state(&self) -> State {
            State::in_folder(self.0.join("one"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    pub(super) fn applied(generation: u64) -> Applied {
        Applied {
            generation,
            at: "2026-01-02T03:04:05Z".to_owned(),
            by: "alice (process 7)".to_owned(),
            summary: "~service web".to_owned(),
            files: "abc".to_owned(),
            text: format!(
                "[node]\nname = lb{generation}\n# stop-after = 30s\n\
                 [port wan]\ndevice = wan\naddress = 10.80.0.1/24\n"
            ),
        }
    }

    #[test]
    fn what_is_kept_reads_back_and_the_last_ten_stay_besides_the_one_that_runs() {
        let folder = Folder::new("kept");
        let state = folder.state();
        assert_eq!(state.running(), Ok(None));
        for generation in 1..=14 {
            state.keep(&applied(generation)).unwrap();
            assert_eq!(state.running(), Ok(Some(applied(generation))));
        }
        assert_eq!(state.generations(), (4..=14).collect::<Vec<_>>());
        let gone = state.applied(3).unwrap_err();
        assert_eq!(gone, "configuration 3 is not kept");
    }

    #[test]
    fn a_kept_configuration_is_one_that_can_be_read_as_a_file() {
        let text = print(&applied(7));
        assert!(text.starts_with("# weir: generation 7\n"), "{text}");
        let loaded = weir_conf::parse_str("kept.conf", &text, None);
        assert_eq!(loaded.unwrap().snapshot.node.name, "lb7");
    }

    #[test]
    fn damage_is_said_and_never_taken_for_a_configuration() {
        let folder = Folder::new("damage");
        let state = folder.state();
        state.keep(&applied(1)).unwrap();
        let path = state.path(1);
        fs::write(&path, "# weir: generation 1\n[node]\n").unwrap();
        let error = state.running().unwrap_err();
        assert!(error.ends_with("000001.conf is damaged"), "{error}");
        fs::remove_file(&path).unwrap();
        assert_eq!(state.running().unwrap_err(), "configuration 1 is not kept");
        fs::write(state.folder.join(RUNNING), "x").unwrap();
        let error = state.running().unwrap_err();
        assert!(error.ends_with("running is damaged"), "{error}");
    }

    #[test]
    fn what_cannot_be_written_is_said() {
        let folder = Folder::new("full");
        fs::create_dir_all(&folder.0).unwrap();
        fs::write(folder.0.join("one"), "a file").unwrap();
        let error = folder.state().keep(&applied(1)).unwrap_err();
        assert!(error.starts_with("cannot write into "), "{error}");
    }

    #[test]
    fn what_is_tried_is_known_until_something_is_kept() {
        let folder = Folder::new("tried");
        let state = folder.state();
        assert_eq!(state.tried(), None);
        state.try_out("abc").unwrap();
        assert_eq!(state.tried().as_deref(), Some("abc"));
        state.keep(&applied(1)).unwrap();
        assert_eq!(state.tried(), None);
    }

    #[test]
    fn a_heading_is_read_without_the_text() {
        let folder = Folder::new("heading");
        let state = folder.state();
        state.keep(&applied(3)).unwrap();
        let mut expected = applied(3);
        expected.text.clear();
        assert_eq!(state.heading(3), Ok(expected));
        fs::write(state.path(4), "# weir: generation 4\n").unwrap();
        assert!(state.heading(4).unwrap_err().ends_with("is damaged"));
    }

    #[test]
    fn two_files_never_share_a_folder() {
        let names = [
            "/a/b-c.conf",
            "/a-b/c.conf",
            "/a/b/c.conf",
            "/a\\x2db/c.conf",
        ];
        let mut escaped: Vec<String> = names.map(|name| escaped(Path::new(name))).to_vec();
        assert_eq!(escaped[0], "a-b\\x2dc.conf");
        escaped.sort();
        escaped.dedup();
        assert_eq!(escaped.len(), names.len());
    }

    #[test]
    fn the_print_tells_names_and_contents_apart() {
        let file = |name: &str, bytes: &str| SourceText::new(name, bytes.as_bytes());
        let prints = [
            print_of(&[file("a", "bc")]),
            print_of(&[file("ab", "c")]),
            print_of(&[file("a", "b"), file("c", "")]),
        ];
        assert!(prints[0] != prints[1] && prints[1] != prints[2]);
        assert_eq!(prints[0], print_of(&[file("a", "bc")]));
        assert_eq!(prints[0].len(), 64);
    }
}
