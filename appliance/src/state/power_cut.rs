//! The power is cut at every moment of keeping a configuration: what is found after that is the old
//! one or the new one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::tests::{Folder, applied};
use super::*;

/// A step that was taken.
#[derive(Clone, Debug)]
enum Step {
    Create(PathBuf, usize),
    Write(usize, String),
    Sync(usize),
    Rename(PathBuf, PathBuf),
    SyncFolder,
    Remove(PathBuf),
}

/// Takes the steps on the real disk and remembers them; one that is told to forgets to sync.
#[derive(Default)]
struct Recorder {
    steps: Vec<Step>,
    files: usize,
    forgets_files: bool,
    /// The step that fails, and all behind it, as on a full disk.
    fails_at: Option<usize>,
}

impl Recorder {
    fn take(&mut self, step: Step) -> io::Result<()> {
        if self.fails_at.is_some_and(|at| self.steps.len() >= at) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.steps.push(step);
        Ok(())
    }
}

impl Disk for Recorder {
    type File = (usize, File);

    fn create_folder(&mut self, path: &Path) -> io::Result<()> {
        RealDisk.create_folder(path)
    }

    fn create(&mut self, path: &Path) -> io::Result<Self::File> {
        self.take(Step::Create(path.to_owned(), self.files))?;
        self.files += 1;
        Ok((self.files - 1, RealDisk.create(path)?))
    }

    fn write(&mut self, (id, file): &mut Self::File, text: &str) -> io::Result<()> {
        self.take(Step::Write(*id, text.to_owned()))?;
        RealDisk.write(file, text)
    }

    fn sync(&mut self, (id, _): &Self::File) -> io::Result<()> {
        if self.forgets_files {
            return Ok(());
        }
        self.take(Step::Sync(*id))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.take(Step::Rename(from.to_owned(), to.to_owned()))?;
        RealDisk.rename(from, to)
    }

    fn sync_folder(&mut self, _: &Path) -> io::Result<()> {
        self.take(Step::SyncFolder)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.take(Step::Remove(path.to_owned()))?;
        RealDisk.remove(path)
    }
}

/// What a file system may have on its platters.
#[derive(Clone, Debug, Default)]
struct Platter {
    /// Names that are durable, and what they lead to.
    names: BTreeMap<PathBuf, usize>,
    /// Changes of names that are not durable yet, in their order.
    pending: Vec<Step>,
    /// What each file holds, and whether that is durable.
    files: BTreeMap<usize, (String, bool)>,
}

impl Platter {
    /// Takes what is in a folder now for durable.
    fn of(folder: &Path) -> Self {
        let mut platter = Self::default();
        for (place, entry) in fs::read_dir(folder).unwrap().enumerate() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            // Numbers of their own, which no step has.
            platter.files.insert(1000 + place, (text, true));
            platter.names.insert(path, 1000 + place);
        }
        platter
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Create(_, id) => {
                self.files.insert(*id, (String::new(), false));
                self.pending.push(step.clone());
            }
            Step::Write(id, text) => {
                let file = self.files.get_mut(id).unwrap();
                file.0.push_str(text);
                file.1 = false;
            }
            Step::Sync(id) => self.files.get_mut(id).unwrap().1 = true,
            Step::Rename(..) | Step::Remove(_) => self.pending.push(step.clone()),
            Step::SyncFolder => {
                let pending = std::mem::take(&mut self.pending);
                change(&mut self.names, pending.iter());
            }
        }
    }

    /// Shows all that may be found after a power cut now: any of the changes of names that were not
    /// durable may have been lost, and of a file that was not, all, half or nothing may be there.
    fn survivors(&self, mut each: impl FnMut(&BTreeMap<PathBuf, String>)) {
        for lost in 0..1_u32 << self.pending.len() {
            let mut names = self.names.clone();
            let pending = self.pending.iter().enumerate();
            let stays = pending.filter(|(at, _)| lost & 1 << at == 0);
            change(&mut names, stays.map(|(_, step)| step));
            for kept in [0, 1, 2] {
                let found = names.iter().map(|(path, id)| {
                    let (text, durable) = &self.files[id];
                    let length = if *durable {
                        text.len()
                    } else {
                        text.len() * kept / 2
                    };
                    (path.clone(), text[..length].to_owned())
                });
                each(&found.collect());
            }
        }
    }
}

fn change<'a>(names: &mut BTreeMap<PathBuf, usize>, steps: impl Iterator<Item = &'a Step>) {
    for step in steps {
        match step {
            Step::Create(path, id) => drop(names.insert(path.clone(), *id)),
            Step::Rename(from, to) => {
                // Nothing to rename where the file's making was lost.
                if let Some(id) = names.remove(from) {
                    names.insert(to.clone(), id);
                }
            }
            Step::Remove(path) => drop(names.remove(path)),
            Step::Write(..) | Step::Sync(_) | Step::SyncFolder => {}
        }
    }
}

/// Keeps a twelfth configuration and returns what may be found when the power was cut meanwhile.
fn cut(name: &str, forgets_files: bool) -> Vec<Result<Option<Applied>, String>> {
    let folder = Folder::new(name);
    let state = folder.state();
    for generation in 1..=11 {
        state.keep(&applied(generation)).unwrap();
    }
    state.try_out("abc").unwrap();
    let mut platter = Platter::of(&state.folder);
    let mut recorder = Recorder {
        forgets_files,
        ..Recorder::default()
    };
    state.keep_on(&mut recorder, &applied(12)).unwrap();
    let after = State::in_folder(folder.0.join("after"));
    let mut found = Vec::new();
    let mut look = |platter: &Platter| {
        platter.survivors(|files| {
            let _ = fs::remove_dir_all(&after.folder);
            fs::create_dir(&after.folder).unwrap();
            for (path, text) in files {
                fs::write(after.folder.join(path.file_name().unwrap()), text).unwrap();
            }
            found.push(after.running());
        });
    };
    look(&platter);
    for step in &recorder.steps {
        platter.take(step);
        look(&platter);
    }
    found
}

#[test]
fn a_power_cut_at_any_moment_leaves_the_old_or_the_new_configuration() {
    let found = cut("power", false);
    assert!(found.len() > 50, "{} disks were looked at", found.len());
    for found in &found {
        let running = found.as_ref().unwrap().as_ref().unwrap();
        assert!(
            *running == applied(11) || *running == applied(12),
            "{running:?}"
        );
    }
    assert_eq!(found.first(), Some(&Ok(Some(applied(11)))));
    assert_eq!(found.last(), Some(&Ok(Some(applied(12)))));
}

#[test]
fn without_the_sync_of_files_the_same_test_finds_damage() {
    let found = cut("no-sync", true);
    assert!(found.iter().any(Result::is_err));
}

#[test]
fn a_disk_that_is_full_at_any_moment_leaves_the_old_or_the_new_configuration() {
    for at in 0..20 {
        let folder = Folder::new("full-disk");
        let state = folder.state();
        for generation in 1..=11 {
            state.keep(&applied(generation)).unwrap();
        }
        let mut recorder = Recorder {
            fails_at: Some(at),
            ..Recorder::default()
        };
        let kept = state.keep_on(&mut recorder, &applied(12));
        let running = state.running().unwrap().unwrap();
        // The steps behind those that make it the one that runs may fail in silence.
        assert_eq!(kept.is_err(), at < 10, "{at}");
        let expected = if at < 9 { 11 } else { 12 };
        assert_eq!(running, applied(expected), "{at}");
    }
}
