//! The events on the disk: the last ones outlive the daemon.
//!
//! Lines of JSON are appended to segments, of which the oldest goes when there are too many. A thread
//! of its own writes them, once a second and so much at most, so that neither a flood of events nor a
//! slow disk holds up anybody. A last line that a power cut tore is left out.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use nix::fcntl::{Flock, FlockArg};
use weir_control::EventRow;
use weir_model::{EventClass, Severity};

use super::mark::Mark;
use crate::event::EventRecord;
use crate::log::words;

/// Events that are read back.
pub(in crate::control) const KEPT: usize = 10_000;
/// Events of a segment, and its bytes, at most.
const SEGMENT_EVENTS: u64 = 2_500;
const SEGMENT_BYTES: u64 = 2 << 20;
/// Segments that are kept: four whole ones have all that is read back.
const SEGMENTS: usize = 5;
const EVERY: Duration = Duration::from_secs(1);
/// What is written in a second at most.
const MOST_BYTES: usize = 64 << 10;
/// Seconds' worth of lines that may wait for a slow disk.
const PATIENCE: usize = 4;
/// How long the end waits for the disk.
const LAST: Duration = Duration::from_secs(2);
const EXTENSION: &str = "jsonl";

/// What becomes of writing.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Fails(String),
    Works,
    Over,
}

/// Where events are kept.
#[derive(Debug)]
pub(crate) struct Shelf {
    lines: Option<Sender<String>>,
    turns: Receiver<Turn>,
    waiting: String,
    /// Events that the budget of the second left out.
    left_out: u64,
    next: Instant,
    is_over: bool,
    folder: PathBuf,
}

impl Shelf {
    /// Opens a folder, and returns the events that are in it, the oldest first. The thread is
    /// started, which inherits what the caller may do.
    ///
    /// # Errors
    /// Says why none can be kept.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Vec<EventRow>), String> {
        let cannot = |error: io::Error| {
            let (folder, cause) = (folder.display(), words(&error));
            format!("events are not kept in {folder}: {cause}")
        };
        let (disk, rows) = Disk::open(folder).map_err(cannot)?;
        let (lines, batches) = bounded(PATIENCE);
        let (turned, turns) = unbounded();
        let builder = thread::Builder::new().name("events".to_owned());
        let run = move || disk.write_all(&batches, &turned);
        builder.spawn(run).map_err(cannot)?;
        let shelf = Self {
            lines: Some(lines),
            turns,
            waiting: String::new(),
            left_out: 0,
            next: Instant::now(),
            is_over: false,
            folder: folder.to_owned(),
        };
        Ok((shelf, rows))
    }

    /// Returns the mark beside the events.
    pub(super) fn mark(&self) -> Mark {
        Mark::in_folder(&self.folder)
    }

    /// Takes an event that is to be kept.
    pub(super) fn keep(&mut self, row: &EventRow) {
        // A row has names and texts only.
        let Ok(line) = serde_json::to_string(row) else {
            return;
        };
        if self.waiting.len() + line.len() >= MOST_BYTES {
            self.left_out += 1;
            return;
        }
        self.waiting.push_str(&line);
        self.waiting.push('\n');
    }

    /// Has written what waits, where a second has passed, and returns what is to be said of it.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<EventRecord> {
        let mut said: Vec<EventRecord> = self.turns.try_iter().filter_map(event_of).collect();
        if now < self.next || self.waiting.is_empty() {
            return said;
        }
        self.next = now + EVERY;
        if self.left_out > 0 {
            let count = std::mem::take(&mut self.left_out);
            let text = format!("{count} events came too fast to be kept on the disk");
            said.push(record(Severity::Warning, text).field("count", count));
        }
        self.send();
        said
    }

    fn send(&mut self) {
        let Some(lines) = &self.lines else { return };
        match lines.try_send(std::mem::take(&mut self.waiting)) {
            Ok(()) => {}
            // The disk does not keep up; the next second tries again, with what has room then.
            Err(TrySendError::Full(batch)) => self.waiting = batch,
            Err(TrySendError::Disconnected(_)) => self.lines = None,
        }
    }

    /// Writes what waits, and waits for the disk for a moment at most.
    pub(super) fn finish(&mut self) {
        if let Some(lines) = self.lines.take()
            && !self.waiting.is_empty()
        {
            // A disk that takes longer does not get the rest.
            let _ = lines.send_timeout(std::mem::take(&mut self.waiting), LAST);
        }
        let end = Instant::now() + LAST;
        while !self.is_over {
            match self.turns.recv_deadline(end) {
                Ok(turn) => self.is_over = turn == Turn::Over,
                Err(_) => {
                    self.is_over = true;
                }
            }
        }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.finish();
    }
}

fn event_of(turn: Turn) -> Option<EventRecord> {
    match turn {
        Turn::Fails(why) => Some(record(Severity::Warning, why)),
        Turn::Works => {
            let text = "events are kept on the disk again";
            Some(record(Severity::Notice, text.to_owned()))
        }
        Turn::Over => None,
    }
}

fn record(severity: Severity, text: String) -> EventRecord {
    EventRecord::new(EventClass::System, severity, "events-not-kept", text)
}

/// The segments, as the thread has them.
#[derive(Debug)]
struct Disk {
    folder: PathBuf,
    /// Two daemons in one folder would tear each other's lines.
    _alone: Flock<File>,
    /// The number of the youngest segment.
    number: u64,
    file: Option<File>,
    /// What of it is whole.
    bytes: u64,
    events: u64,
}

impl Disk {
    fn open(folder: &Path) -> io::Result<(Self, Vec<EventRow>)> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let lock = options().open(folder.join("lock"))?;
        let alone = Flock::lock(lock, FlockArg::LockExclusiveNonblock);
        let alone = alone.map_err(|(_, error)| {
            if error == nix::Error::EWOULDBLOCK {
                return io::Error::other("another weir keeps its own there");
            }
            error.into()
        })?;
        let mut disk = Self {
            folder: folder.to_owned(),
            _alone: alone,
            number: 0,
            file: None,
            bytes: 0,
            events: 0,
        };
        let mut rows = Vec::new();
        for number in disk.numbers() {
            disk.number = number;
            // One that cannot be read holds up nobody; the next ones go on.
            (disk.bytes, disk.events) = read(&disk.path(number), &mut rows).unwrap_or_default();
        }
        rows.drain(..rows.len().saturating_sub(KEPT));
        Ok((disk, rows))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:08}.{EXTENSION}"))
    }

    /// Returns the numbers of the segments, the oldest first.
    fn numbers(&self) -> Vec<u64> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut numbers: Vec<u64> = entries
            .filter_map(|entry| {
                let path = PathBuf::from(entry.file_name());
                let is_one = path.extension().is_some_and(|end| end == EXTENSION);
                is_one.then_some(path)?.file_stem()?.to_str()?.parse().ok()
            })
            .collect();
        numbers.sort_unstable();
        numbers
    }

    fn write_all(mut self, batches: &Receiver<String>, turned: &Sender<Turn>) {
        let mut is_well = true;
        for batch in batches {
            match self.write(&batch) {
                Ok(()) if is_well => {}
                Ok(()) => {
                    is_well = true;
                    let _ = turned.send(Turn::Works);
                }
                Err(error) => {
                    self.file = None;
                    if is_well {
                        let (folder, cause) = (self.folder.display(), words(&error));
                        let why = format!("events are not kept in {folder}: {cause}");
                        // Nobody hears it when control has ended.
                        let _ = turned.send(Turn::Fails(why));
                    }
                    is_well = false;
                }
            }
        }
        // With its lock, which the next one may wait for.
        drop(self);
        let _ = turned.send(Turn::Over);
    }

    fn write(&mut self, batch: &str) -> io::Result<()> {
        if self.events >= SEGMENT_EVENTS || self.bytes >= SEGMENT_BYTES {
            self.file = None;
            self.number += 1;
            (self.bytes, self.events) = (0, 0);
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.begin()?,
        };
        file.write_all(batch.as_bytes())?;
        file.sync_data()?;
        self.bytes += batch.len() as u64;
        self.events += batch.lines().count() as u64;
        self.file = Some(file);
        Ok(())
    }

    /// Opens the youngest segment behind its last whole line.
    fn begin(&self) -> io::Result<File> {
        let path = self.path(self.number);
        let file = options().append(true).open(&path)?;
        if file.metadata()?.len() > self.bytes {
            file.set_len(self.bytes)?;
        }
        File::open(&self.folder)?.sync_all()?;
        let numbers = self.numbers();
        let too_many = numbers.len().saturating_sub(SEGMENTS);
        for number in numbers.into_iter().take(too_many) {
            let _ = fs::remove_file(self.path(number));
        }
        Ok(file)
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// Reads the events of a segment, and returns how many bytes and lines of it are whole.
fn read(path: &Path, rows: &mut Vec<EventRow>) -> io::Result<(u64, u64)> {
    // A segment ends with the batch that made it too long.
    let most = SEGMENT_BYTES + (MOST_BYTES * 2) as u64;
    let mut lines = BufReader::new(File::open(path)?.take(most));
    let (mut bytes, mut events) = (0, 0);
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = lines.read_until(b'\n', &mut line)?;
        if !line.ends_with(b"\n") {
            return Ok((bytes, events));
        }
        bytes += length as u64;
        events += 1;
        // What is damaged within costs its own line.
        if let Ok(row) = serde_json::from_slice(&line) {
            rows.push(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use proptest::prelude::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("weir-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn row(sequence: u64) -> EventRow {
        EventRow {
            sequence,
            at: "2026-01-02T03:04:05.678Z".to_owned(),
            code: "applied".to_owned(),
            text: format!("number {sequence}"),
            ..EventRow::default()
        }
    }

    fn write(folder: &Folder, sequences: std::ops::Range<u64>) {
        let (mut disk, _) = Disk::open(&folder.0).unwrap();
        for sequence in sequences {
            let line = serde_json::to_string(&row(sequence)).unwrap() + "\n";
            disk.write(&line).unwrap();
        }
    }

    fn sequences(folder: &Folder) -> Vec<u64> {
        let (_, rows) = Disk::open(&folder.0).unwrap();
        rows.iter().map(|row| row.sequence).collect()
    }

    #[test]
    fn what_was_kept_is_there_after_a_start_and_only_its_owner_reads_it() {
        let folder = Folder::new("shelf");
        let (mut shelf, before) = Shelf::open(&folder.0).unwrap();
        assert_eq!(before, []);
        shelf.keep(&row(1));
        shelf.keep(&row(2));
        assert_eq!(shelf.tick(Instant::now()), []);
        shelf.keep(&row(3));
        shelf.finish();
        drop(shelf);
        let (_shelf, before) = Shelf::open(&folder.0).unwrap();
        assert_eq!(before, [row(1), row(2), row(3)]);
        for name in ["lock", "00000000.jsonl"] {
            let mode = fs::metadata(folder.0.join(name))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let error = Shelf::open(&folder.0).unwrap_err();
        assert!(
            error.ends_with("another weir keeps its own there"),
            "{error}"
        );
    }

    #[test]
    fn a_torn_tail_is_left_out_and_written_over() {
        let folder = Folder::new("shelf-torn");
        write(&folder, 1..4);
        let path = folder.0.join("00000000.jsonl");
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        assert_eq!(sequences(&folder), [1, 2]);
        write(&folder, 7..8);
        assert_eq!(sequences(&folder), [1, 2, 7]);
    }

    #[test]
    fn the_oldest_segments_go_and_ten_thousand_events_stay() {
        let folder = Folder::new("shelf-many");
        let (mut disk, _) = Disk::open(&folder.0).unwrap();
        for batch in 0..300_u64 {
            let lines = (batch * 50..batch * 50 + 50)
                .map(|n| serde_json::to_string(&row(n)).unwrap() + "\n");
            disk.write(&lines.collect::<String>()).unwrap();
        }
        assert_eq!(disk.numbers().len(), SEGMENTS);
        drop(disk);
        let found = sequences(&folder);
        assert_eq!((found.len(), found[0], found[9_999]), (KEPT, 5_000, 14_999));
    }

    #[test]
    fn a_flood_of_events_writes_no_more_than_its_budget_and_says_what_it_left_out() {
        let folder = Folder::new("shelf-flood");
        let (mut shelf, _) = Shelf::open(&folder.0).unwrap();
        for n in 0..10_000 {
            shelf.keep(&row(n));
        }
        assert!(shelf.waiting.len() <= MOST_BYTES);
        let said = shelf.tick(Instant::now());
        assert!(
            said[0]
                .text
                .ends_with("events came too fast to be kept on the disk")
        );
        assert!(shelf.waiting.is_empty());
    }

    #[test]
    fn a_disk_that_takes_nothing_is_told_once_and_when_it_works_again() {
        let folder = Folder::new("shelf-broken");
        let (mut shelf, _) = Shelf::open(&folder.0).unwrap();
        // A folder where the segment should be: nobody can write that, root neither.
        let segment = folder.0.join("00000000.jsonl");
        fs::create_dir(&segment).unwrap();
        let mut now = Instant::now();
        let mut told = Vec::new();
        for n in 0..6 {
            shelf.keep(&row(n));
            now += EVERY;
            told.extend(shelf.tick(now));
            thread::sleep(Duration::from_millis(20));
            if n == 3 {
                fs::remove_dir(&segment).unwrap();
            }
        }
        thread::sleep(Duration::from_millis(50));
        told.extend(shelf.tick(now));
        let texts: Vec<&str> = told.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].starts_with("events are not kept in "), "{texts:?}");
        assert_eq!(texts[1], "events are kept on the disk again");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_a_segment_holds_the_daemon_starts_and_goes_on(
            bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0..200_usize
        ) {
            let folder = Folder::new("shelf-any");
            write(&folder, 1..3);
            let path = folder.0.join("00000000.jsonl");
            let mut whole = fs::read(&path).unwrap();
            whole.truncate(whole.len().saturating_sub(cut));
            whole.extend(&bytes);
            fs::write(&path, &whole).unwrap();
            write(&folder, 9..10);
            prop_assert_eq!(sequences(&folder).pop(), Some(9));
        }
    }
}
