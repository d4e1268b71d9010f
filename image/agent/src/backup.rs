//! Backup, restore, and the way back to an empty box.
//!
//! A backup is a tar archive whose first member lists the others with their sums. What is restored is
//! checked as a whole and laid beside what there is; the next start takes it over before anything
//! runs, so that a power cut leaves the old box or the new one.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};
use weir_conf::{NoEnv, SourceText};
use weir_control::Role;

use crate::durable;
use crate::events::Event;
use crate::keys::Keys;
use crate::places::Places;
use crate::secret;
use crate::setup;
use crate::slot::Slot;

/// The largest archive.
pub(crate) const LONGEST: u64 = 96 << 20;
/// The number of this form of archives.
const FORMAT: u32 = 1;
/// The number of the configuration's form.
const CONFIG_FORMAT: u32 = 1;
/// The first member.
const MANIFEST: &str = "manifest";
/// No member is larger.
const LONGEST_FILE: u64 = 20 << 20;
const MOST_FILES: usize = 1000;
/// What is restored waits here, whole when the mark is there.
const STAGE: &str = "restore";
const READY: &str = "ready";
/// The box is to be emptied.
const RESET: &str = "factory-reset";
/// What of the shared folder goes into a backup.
const SHARED: [&str; 6] = [
    "keys/operator",
    "keys/viewer",
    "ssh/host_ed25519",
    "secret",
    "cookie.key",
    "set-up",
];

type Files = BTreeMap<String, Vec<u8>>;

/// Returns an archive of what makes this box this box.
///
/// # Errors
/// Says what cannot be read.
pub(crate) fn make(places: &Places) -> Result<Vec<u8>, String> {
    let mut files = Files::new();
    gather(&places.etc, "etc", 2, &mut files)?;
    gather(
        &places.state.join("configurations"),
        "lib/configurations",
        3,
        &mut files,
    )?;
    for name in SHARED {
        let path = places.shared().join(name);
        if path.is_file() {
            files.insert(format!("shared/{name}"), read(&path)?);
        }
    }
    if files.len() > MOST_FILES {
        return Err(format!("there are more than {MOST_FILES} files"));
    }
    let version = fs::read_to_string("/usr/share/weir/version").unwrap_or_default();
    let manifest = manifest(version.trim(), &node(places).unwrap_or_default(), &files);
    archive(&manifest, &files).map_err(|error| format!("the archive cannot be made: {error}"))
}

fn manifest(version: &str, node: &str, files: &Files) -> String {
    let mut text = format!(
        "format = {FORMAT}\nconfig-format = {CONFIG_FORMAT}\nversion = {version}\nnode = {node}\n"
    );
    for (name, bytes) in files {
        let _ = writeln!(text, "file = {name} {} {}", bytes.len(), sum(bytes));
    }
    text
}

fn sum(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn archive(manifest: &str, files: &Files) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let first = [(MANIFEST, manifest.as_bytes())];
    let others = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    for (name, bytes) in first.into_iter().chain(others) {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        builder.append_data(&mut header, name, bytes)?;
    }
    builder.into_inner()
}

fn gather(folder: &Path, name: &str, depth: u32, files: &mut Files) -> Result<(), String> {
    let cannot = |error: io::Error| format!("{}: {error}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(cannot)?,
    };
    for entry in entries {
        let entry = entry.map_err(cannot)?;
        let kind = entry.file_type().map_err(cannot)?;
        let Ok(own) = entry.file_name().into_string() else {
            continue;
        };
        let name = format!("{name}/{own}");
        if kind.is_dir() && depth > 1 {
            gather(&entry.path(), &name, depth - 1, files)?;
        } else if kind.is_file() && is_member(&name) {
            files.insert(name, read(&entry.path())?);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error: io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(cannot)?;
    file.take(LONGEST_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(cannot)?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(format!("{} is too large", path.display()));
    }
    Ok(bytes)
}

/// Returns the name of the box, as its configuration has it.
pub(crate) fn node(places: &Places) -> Option<String> {
    let loaded = weir_conf::load(&places.config(), &NoEnv, None).ok()?;
    Some(loaded.snapshot.node.name).filter(|name| !name.is_empty())
}

/// Says whether a name can be one of an archive's members: it stays in its folder.
fn is_member(name: &str) -> bool {
    let plain = Path::new(name)
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    let is_clean = name.len() <= 300 && !name.contains(|c: char| c.is_control() || c == '\\');
    let below = |folder: &str| name.strip_prefix(folder).is_some_and(|it| !it.is_empty());
    plain
        && is_clean
        && !name.ends_with('/')
        && (below("etc/")
            || below("lib/configurations/")
            || name
                .strip_prefix("shared/")
                .is_some_and(|it| SHARED.contains(&it)))
}

/// Reads an archive and checks all of it.
///
/// # Errors
/// Says the first thing that is wrong.
fn check(bytes: &[u8]) -> Result<(String, Files), String> {
    let no_archive = |error: io::Error| format!("this is no backup of a box: {error}");
    let mut archive = tar::Archive::new(bytes);
    let mut members = archive.entries().map_err(no_archive)?;
    let first = members.next().ok_or("the backup is empty")?;
    let (name, manifest) = member(first.map_err(no_archive)?)?;
    let manifest = String::from_utf8(manifest).map_err(|_| "its manifest is not text")?;
    if name != MANIFEST {
        return Err("this is no backup of a box: it does not begin with its manifest".to_owned());
    }
    let listed = Listed::parse(&manifest)?;
    let mut files = Files::new();
    for entry in members {
        let entry = entry.map_err(|error| format!("the backup is cut off or damaged: {error}"))?;
        let (name, bytes) = member(entry)?;
        let Some((size, sum_of)) = listed.files.get(&name) else {
            return Err(format!(
                "`{}` is not on the backup's list",
                name.escape_debug()
            ));
        };
        if bytes.len() as u64 != *size || sum(&bytes) != *sum_of {
            return Err(format!("{name} of the backup is damaged"));
        }
        if files.insert(name.clone(), bytes).is_some() {
            return Err(format!("{name} is twice in the backup"));
        }
    }
    if let Some(missing) = listed.files.keys().find(|name| !files.contains_key(*name)) {
        return Err(format!("{missing} is missing: the backup is cut off"));
    }
    content(&files)?;
    Ok((listed.node, files))
}

fn member(mut entry: tar::Entry<'_, &[u8]>) -> Result<(String, Vec<u8>), String> {
    let path = entry.path().map_err(|error| error.to_string())?;
    let name = path.to_str().ok_or("a name of the backup is not text")?;
    let name = name.to_owned();
    if name != MANIFEST && !is_member(&name) {
        return Err(format!("`{}` cannot be in a backup", name.escape_debug()));
    }
    if entry.header().entry_type() != tar::EntryType::Regular || entry.size() > LONGEST_FILE {
        return Err(format!("{name} of the backup is no file, or too large"));
    }
    let mut bytes = Vec::new();
    let read = entry.read_to_end(&mut bytes);
    read.map_err(|_| format!("the backup is cut off in {name}"))?;
    Ok((name, bytes))
}

/// What a manifest says.
#[derive(Debug, Default)]
struct Listed {
    node: String,
    files: BTreeMap<String, (u64, String)>,
}

impl Listed {
    fn parse(text: &str) -> Result<Self, String> {
        let mut listed = Self::default();
        let mut format = None;
        for line in text.lines() {
            let Some((key, value)) = line.split_once(" = ") else {
                return Err("the backup's manifest is damaged".to_owned());
            };
            match key {
                "format" => format = value.parse::<u32>().ok(),
                "config-format" if value.parse::<u32>().is_ok_and(|it| it <= CONFIG_FORMAT) => {}
                "config-format" => {
                    return Err(
                        "the backup's configuration is of a newer version; update the box first"
                            .to_owned(),
                    );
                }
                "node" => value.clone_into(&mut listed.node),
                "file" => {
                    let mut words = value.rsplitn(3, ' ');
                    let sum = words.next().unwrap_or_default().to_owned();
                    let size = words.next().and_then(|size| size.parse().ok());
                    let name = words.next().filter(|name| is_member(name));
                    let (Some(size), Some(name)) = (size, name) else {
                        return Err("the backup's manifest is damaged".to_owned());
                    };
                    listed.files.insert(name.to_owned(), (size, sum));
                }
                // Of the version nothing depends; what later ones add is of no use here.
                _ => {}
            }
            if listed.files.len() > MOST_FILES {
                return Err(format!("the backup has more than {MOST_FILES} files"));
            }
        }
        match format {
            Some(FORMAT) => Ok(listed),
            Some(_) => Err("the backup is of a newer version; update the box first".to_owned()),
            None => Err("the backup's manifest does not say its format".to_owned()),
        }
    }
}

/// Checks what the files of a backup say.
fn content(files: &Files) -> Result<(), String> {
    let text = |name: &str| match files.get(name) {
        None => Ok(None),
        Some(bytes) => str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| format!("{name} of the backup is not text")),
    };
    let is_config = |name: &str| {
        let in_folder = name.strip_prefix("etc/conf.d/");
        let is_conf = |it: &str| it.strip_suffix(".conf").is_some() && !it.contains('/');
        name == "etc/weir.conf" || in_folder.is_some_and(is_conf)
    };
    if !files.contains_key("etc/weir.conf") {
        return Err("the backup has no configuration".to_owned());
    }
    let texts = files.iter().filter(|(name, _)| is_config(name));
    let texts: Vec<SourceText> = texts
        .map(|(name, bytes)| SourceText::new(name, bytes.as_slice()))
        .collect();
    if let Err(report) = weir_conf::compose(&texts, &NoEnv, None) {
        let first = report.messages().next().unwrap_or_default();
        return Err(format!(
            "the configuration of the backup has a mistake: {first}"
        ));
    }
    for (_, role) in Role::NAMES {
        let name = format!("shared/keys/{}", role.name());
        if let Some(text) = text(&name)?
            && let (_, Some(wrong)) = {
                let (added, wrong) = Keys::default().add_all(*role, &name, text);
                (added, wrong.into_iter().next())
            }
        {
            return Err(wrong);
        }
    }
    if let Some(hash) = text("shared/secret")? {
        secret::check_hash(hash)?;
    }
    Ok(())
}

/// Lays a backup beside what there is, for the next start; returns whose it is.
///
/// # Errors
/// Says what is wrong with it; then nothing was changed.
pub(crate) fn stage(places: &Places, bytes: &[u8]) -> Result<String, String> {
    let (node, files) = check(bytes)?;
    let stage = places.data.join(STAGE);
    let written = lay(&stage, &files);
    if let Err(error) = written {
        let _ = fs::remove_dir_all(&stage);
        return Err(format!(
            "the backup cannot be laid on the data partition: {error}"
        ));
    }
    Ok(format!("the backup of {node} with {} files", files.len()))
}

fn lay(stage: &Path, files: &Files) -> io::Result<()> {
    match fs::remove_dir_all(stage) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    for top in ["etc", "lib/configurations", "shared"] {
        durable::folder(&stage.join(top), 0o700)?;
    }
    for (name, bytes) in files {
        let path = stage.join(name);
        if let Some(folder) = path.parent() {
            durable::folder(folder, 0o700)?;
        }
        durable::write(&path, bytes, 0o600)?;
    }
    durable::write(&stage.join(READY), b"", 0o600)
}

/// Has the next start empty the box.
///
/// # Errors
/// Says what cannot be written.
pub(crate) fn stage_reset(places: &Places) -> Result<(), String> {
    durable::write(&places.data.join(RESET), b"", 0o600)
        .map_err(|error| format!("the data partition cannot be written: {error}"))
}

/// Takes over what an agent before this one laid ready; called before anything of the data partition
/// is used. A power cut in between is taken up at the next start.
pub(crate) fn at_boot(places: &Places, slot: Slot) -> Vec<Event> {
    let mut events = Vec::new();
    let mut say = |code: &'static str, done: io::Result<bool>, text: &str| match done {
        Ok(false) => {}
        Ok(true) => events.push(Event::notice(code, text)),
        Err(error) => {
            let text = format!("{text}: it failed: {error}");
            events.push(Event::error(code, text));
        }
    };
    say(
        "factory-reset",
        reset(places),
        "the box is as it was delivered",
    );
    say(
        "restore",
        take_over(places, slot),
        "the box runs on a backup",
    );
    events
}

fn reset(places: &Places) -> io::Result<bool> {
    let mark = places.data.join(RESET);
    if !mark.exists() {
        return Ok(false);
    }
    let mut folders: Vec<PathBuf> = vec![
        places.slot(Slot::A),
        places.slot(Slot::B),
        places.data.join(STAGE),
    ];
    // What happened stays: whoever asks later must find that the box was emptied.
    let shared = fs::read_dir(places.shared())
        .into_iter()
        .flatten()
        .flatten();
    let others = shared.filter(|entry| entry.file_name() != "events");
    folders.extend(others.map(|entry| entry.path()));
    for path in folders {
        let gone = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    durable::remove(&mark)?;
    Ok(true)
}

fn take_over(places: &Places, slot: Slot) -> io::Result<bool> {
    let stage = places.data.join(STAGE);
    if !stage.exists() {
        return Ok(false);
    }
    let ready = stage.join(READY);
    if !ready.exists() {
        // Its power was cut before it was whole.
        fs::remove_dir_all(&stage)?;
        return Ok(false);
    }
    let of_slot = places.slot(slot);
    durable::folder(&of_slot.join("lib"), 0o700)?;
    durable::folder(&places.shared().join("keys"), 0o700)?;
    durable::folder(&places.shared().join("ssh"), 0o700)?;
    let moves = [
        (stage.join("etc"), of_slot.join("etc")),
        (
            stage.join("lib/configurations"),
            of_slot.join("lib/configurations"),
        ),
    ];
    for (from, to) in moves {
        // What was moved already is not there any more.
        if !from.exists() {
            continue;
        }
        match fs::remove_dir_all(&to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => fs::rename(&from, &to)?,
        }
        sync(&to)?;
    }
    for name in SHARED {
        let from = stage.join("shared").join(name);
        if from.exists() {
            let to = places.shared().join(name);
            fs::rename(&from, &to)?;
            sync(&to)?;
        }
    }
    if !setup::is_set_up(places) {
        setup::mark(places, "by a backup")?;
    }
    durable::remove(&ready)?;
    fs::remove_dir_all(&stage)?;
    Ok(true)
}

fn sync(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::Key;
    use crate::testing::Folder;

    const ALICE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti alice";
    const CONFIG: &str = "[node]\nname = lb7\n[management]\naddress = dhcp\n";

    /// A box whose slot's folders are at their places without mounts.
    fn a_box(folder: &Folder) -> Places {
        let mut places = Places::under(folder.path());
        places.etc = places.slot(Slot::A).join("etc");
        places.state = places.slot(Slot::A).join("lib");
        for path in [&places.etc, &places.state, &places.run, &places.shared()] {
            fs::create_dir_all(path).unwrap();
        }
        places
    }

    fn full(folder: &Folder) -> Places {
        let places = a_box(folder);
        fs::write(places.config(), CONFIG).unwrap();
        fs::write(places.etc.join("siem-ca.pem"), "pem").unwrap();
        let applied = places.state.join("configurations/x");
        fs::create_dir_all(&applied).unwrap();
        fs::write(applied.join("1.conf"), "one").unwrap();
        fs::create_dir_all(places.shared().join("ssh")).unwrap();
        fs::write(places.shared().join("ssh/host_ed25519"), [1, 2, 3]).unwrap();
        let mut keys = Keys::default();
        keys.add(Role::Operator, Key::parse(ALICE).unwrap())
            .unwrap();
        keys.save(&places).unwrap();
        places
    }

    fn made(manifest: &str, files: &[(&str, &str)]) -> Vec<u8> {
        let files = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        archive(manifest, &files.collect()).unwrap()
    }

    fn good(files: &[(&str, &str)]) -> Vec<u8> {
        let all: Files = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
            .collect();
        archive(&manifest("1", "lb7", &all), &all).unwrap()
    }

    #[test]
    fn a_backup_makes_another_box_this_one() {
        let (first, second) = (Folder::new("backup-a"), Folder::new("backup-b"));
        let bytes = make(&full(&first)).unwrap();
        let places = a_box(&second);
        fs::write(places.etc.join("old.pem"), "old").unwrap();
        let what = stage(&places, &bytes).unwrap();
        assert!(what.starts_with("the backup of lb7"), "{what}");
        // Nothing has changed yet.
        assert!(!places.config().exists());
        let events = at_boot(&places, Slot::A);
        assert_eq!(events.len(), 1, "{events:?}");
        assert_eq!(fs::read_to_string(places.config()).unwrap(), CONFIG);
        assert!(!places.etc.join("old.pem").exists());
        assert_eq!(Keys::load(&places).0.count(), 1);
        let host = fs::read(places.shared().join("ssh/host_ed25519")).unwrap();
        assert_eq!(host, [1, 2, 3]);
        assert!(places.state.join("configurations/x/1.conf").exists());
        assert!(setup::is_set_up(&places));
        assert!(!places.data.join(STAGE).exists());
        assert_eq!(at_boot(&places, Slot::A), []);
        assert_eq!(node(&places).as_deref(), Some("lb7"));
    }

    #[test]
    fn a_power_cut_leaves_the_old_box_or_the_new_one() {
        let (first, second) = (Folder::new("backup-cut"), Folder::new("backup-cut2"));
        let bytes = make(&full(&first)).unwrap();
        let places = a_box(&second);
        fs::write(places.config(), "old").unwrap();
        stage(&places, &bytes).unwrap();
        let staged = places.data.join(STAGE);
        fs::remove_file(staged.join(READY)).unwrap();
        assert_eq!(at_boot(&places, Slot::A), []);
        assert_eq!(fs::read_to_string(places.config()).unwrap(), "old");
        assert!(!staged.exists());
        // Cut in the middle of taking over: the rest is taken over at the next start.
        stage(&places, &bytes).unwrap();
        fs::remove_dir_all(&places.etc).unwrap();
        fs::rename(staged.join("etc"), &places.etc).unwrap();
        assert_eq!(at_boot(&places, Slot::A).len(), 1);
        assert_eq!(fs::read_to_string(places.config()).unwrap(), CONFIG);
        assert_eq!(Keys::load(&places).0.count(), 1);
    }

    #[test]
    fn a_bad_backup_changes_nothing_and_says_why() {
        let folder = Folder::new("backup-bad");
        let places = full(&folder);
        let config = ("etc/weir.conf", CONFIG);
        let whole = good(&[config]);
        let newer = |line: &str| made(&format!("{line}\n"), &[config]);
        let secret = ("shared/secret", "$argon2id$v=19$m=9999999,t=1,p=1$x$y");
        for (bytes, says) in [
            (Vec::new(), "empty"),
            (b"hello".to_vec(), "no backup"),
            (vec![0xff; 4096], "no backup"),
            (whole[..whole.len() / 2 - 600].to_vec(), "cut off"),
            (newer("format = 2"), "newer"),
            (newer("format = 1\nconfig-format = 2"), "newer"),
            (newer("node = x"), "format"),
            (newer("format"), "damaged"),
            (newer("format = 1"), "not on the backup's list"),
            (good(&[("etc/x.pem", "")]), "no configuration"),
            (good(&[("etc/weir.conf", "[nod]\n")]), "has a mistake"),
            (
                good(&[config, ("shared/keys/operator", "ssh-dss A\n")]),
                "DSA",
            ),
            (good(&[config, secret]), "secret"),
            (good(&[config, ("shared/update/x", "")]), "damaged"),
            (
                made("format = 1\n", &[("shared/update/x", "")]),
                "cannot be in",
            ),
            (
                made("format = 1\n", &[("shared/secret.x", "")]),
                "cannot be in",
            ),
        ] {
            let error = stage(&places, &bytes).unwrap_err();
            assert!(error.contains(says), "{says}: {error}");
            assert!(!places.data.join(STAGE).exists());
        }
        let mut damaged = whole.clone();
        let place = damaged.windows(3).rposition(|it| it == b"lb7").unwrap();
        damaged[place] = b'x';
        assert!(stage(&places, &damaged).unwrap_err().contains("is damaged"));
        assert!(stage(&places, &whole).is_ok());
    }

    #[test]
    fn links_and_folders_of_an_archive_are_refused() {
        for kind in [
            tar::EntryType::Symlink,
            tar::EntryType::Link,
            tar::EntryType::Directory,
        ] {
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(0);
            header.set_entry_type(kind);
            header.set_link_name("/etc/shadow").unwrap();
            header.set_path("manifest").unwrap();
            header.set_cksum();
            builder.append(&header, &[][..]).unwrap();
            let error = check(&builder.into_inner().unwrap()).unwrap_err();
            assert!(error.contains("no file"), "{error}");
        }
    }

    #[test]
    fn a_reset_leaves_nothing_but_what_happened() {
        let folder = Folder::new("backup-reset");
        let places = full(&folder);
        secret::set(&places, "correct horse").ok();
        fs::create_dir_all(places.shared().join("events")).unwrap();
        fs::write(places.shared().join("events/1"), "x").unwrap();
        stage_reset(&places).unwrap();
        assert!(places.config().exists());
        let events = at_boot(&places, Slot::A);
        assert_eq!((events.len(), events[0].code), (1, "factory-reset"));
        assert!(!places.config().exists());
        let left = fs::read_dir(places.shared()).unwrap().flatten();
        let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
        assert_eq!(left, ["events"]);
        assert_eq!(at_boot(&places, Slot::A), []);
    }
}
