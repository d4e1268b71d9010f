//! The configuration of a slot: taken over from the other one, and brought from format to format.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::events::Event;

/// How one format becomes the next.
pub(crate) struct Migration {
    /// The format of before; what it makes has one more.
    pub(crate) from: u32,
    /// Changes a text.
    pub(crate) change: fn(&str) -> Result<String, String>,
}

/// What this software knows of earlier formats. There is only one format so far.
pub(crate) const MIGRATIONS: &[Migration] = &[];

/// How names of files end that are configurations.
const EXTENSION: &str = "conf";

/// Makes the folder of a slot where it has none, from the other slot's.
///
/// # Errors
/// When it cannot be made; then there is none, and it is tried again at the next start.
pub(crate) fn seed(
    slot: &Path,
    other: &Path,
    format: u32,
    table: &[Migration],
) -> io::Result<Vec<Event>> {
    if has_configuration(slot) {
        return Ok(Vec::new());
    }
    let new = slot.with_extension("new");
    remove_folder(&new)?;
    let mut events = Vec::new();
    if has_configuration(other) {
        copy(other, &new)?;
        events.extend(migrate_folder(&new, format, table)?);
    }
    for name in ["etc", "lib"] {
        fs::create_dir_all(new.join(name))?;
        fs::set_permissions(new.join(name), fs::Permissions::from_mode(0o700))?;
    }
    fs::set_permissions(&new, fs::Permissions::from_mode(0o700))?;
    // An empty one may be there, which is none.
    remove_folder(slot)?;
    nix::unistd::syncfs(File::open(&new)?)?;
    fs::rename(&new, slot)?;
    if let Some(above) = slot.parent() {
        File::open(above)?.sync_all()?;
    }
    Ok(events)
}

fn has_configuration(slot: &Path) -> bool {
    let entries = fs::read_dir(slot.join("etc"));
    entries.is_ok_and(|mut entries| entries.next().is_some())
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Copies files and folders with their modes; links and the rest are left out.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy(&from, &to)?;
        } else if kind.is_file() {
            // With its mode.
            fs::copy(&from, &to)?;
            File::open(&to)?.sync_all()?;
        }
    }
    Ok(())
}

/// Brings every configuration in a folder to a format, all or none.
fn migrate_folder(folder: &Path, format: u32, table: &[Migration]) -> io::Result<Option<Event>> {
    let main = folder.join("etc/weir.conf");
    let of_main = fs::read_to_string(&main).map_or(1, |text| format_of(&text));
    let mut changed = Vec::new();
    for path in configurations(folder)? {
        let Ok(text) = fs::read_to_string(&path) else {
            // The daemon says what is wrong with it.
            continue;
        };
        // What stands in a folder beside the main file has the main file's format.
        let is_part = path.starts_with(folder.join("etc"));
        let from = if is_part { of_main } else { format_of(&text) };
        match migrated(&text, from, format, table) {
            Ok(text) => changed.push((path, text)),
            Err(why) => {
                let path = path.strip_prefix(folder).unwrap_or(&path).display();
                let sentence = format!("{path} was taken over as it was: {why}");
                let event = Event::error("configuration-migrated", sentence);
                return Ok(Some(event.field("from", from).field("to", format)));
            }
        }
    }
    if of_main == format {
        return Ok(None);
    }
    for (path, text) in changed {
        // In a folder that has no name yet: a power cut has it made anew.
        fs::write(path, text)?;
    }
    let sentence = format!(
        "the configuration of the other slot was taken over and brought from format {of_main} to \
         {format}; the other slot keeps its own"
    );
    let event = Event::notice("configuration-migrated", sentence);
    Ok(Some(event.field("from", of_main).field("to", format)))
}

fn configurations(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(configurations(&path)?);
        } else if path.extension().is_some_and(|end| end == EXTENSION) {
            found.push(path);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Brings a text from a format to another.
fn migrated(text: &str, from: u32, to: u32, table: &[Migration]) -> Result<String, String> {
    if from > to {
        return Err(format!(
            "it has format {from}, and this system reads {to} at most"
        ));
    }
    let mut text = text.to_owned();
    for format in from..to {
        let step = table.iter().find(|step| step.from == format);
        let step = step.ok_or_else(|| format!("nothing is known of format {format}"))?;
        text = (step.change)(&text)?;
    }
    Ok(if from == to {
        text
    } else {
        with_format(&text, to)
    })
}

/// Returns the format that a text says it has; where it says nothing the first.
fn format_of(text: &str) -> u32 {
    let mut is_node = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            is_node = line.starts_with("[node]");
        }
        if let Some(("format", value)) = key_of(line)
            && is_node
        {
            return value.parse().unwrap_or(1);
        }
    }
    1
}

/// Has a text say its format; one without a `[node]` is a part of another and says nothing.
fn with_format(text: &str, format: u32) -> String {
    let mut lines = Vec::new();
    let mut is_node = false;
    for line in text.lines() {
        if line.trim_start().starts_with('[') {
            is_node = line.trim_start().starts_with("[node]");
            lines.push(line.to_owned());
            if is_node {
                lines.push(format!("format = {format}"));
            }
            continue;
        }
        if !(is_node && key_of(line.trim()).is_some_and(|(key, _)| key == "format")) {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

fn key_of(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let value = value.split('#').next().unwrap_or_default();
    Some((key.trim(), value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    /// Formats that were made up: the second calls a `vip` a `listen`, the third forbids tabs.
    const MADE_UP: &[Migration] = &[
        Migration {
            from: 1,
            change: |text| Ok(text.replace("vip =", "listen =")),
        },
        Migration {
            from: 2,
            change: |text| {
                if text.contains('\t') {
                    return Err("it has a tab".to_owned());
                }
                Ok(text.to_owned())
            },
        },
    ];

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap()
    }

    #[test]
    fn a_slot_takes_over_the_other_ones_configuration_and_both_keep_theirs() {
        let home = Folder::new("seed");
        let (a, b) = (home.path().join("slot-a"), home.path().join("slot-b"));
        assert!(seed(&a, &b, 1, MIGRATIONS).unwrap().is_empty());
        assert!(a.join("etc").is_dir() && a.join("lib").is_dir());
        write(&a, "etc/weir.conf", "[node]\nname = lb1\n");
        write(&a, "etc/secret.key", "secret");
        write(
            &a,
            "lib/configurations/x/000007.conf",
            "# weir: generation 7\n",
        );
        assert!(seed(&b, &a, 1, MIGRATIONS).unwrap().is_empty());
        for name in [
            "etc/weir.conf",
            "etc/secret.key",
            "lib/configurations/x/000007.conf",
        ] {
            assert_eq!(read(&b, name), read(&a, name));
            let mode = fs::metadata(b.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        write(&b, "etc/weir.conf", "[node]\nname = lb2\n");
        seed(&a, &b, 1, MIGRATIONS).unwrap();
        assert_eq!(read(&a, "etc/weir.conf"), "[node]\nname = lb1\n");
    }

    #[test]
    fn a_copy_that_a_power_cut_stopped_is_made_anew() {
        let home = Folder::new("seed-cut");
        let (a, b) = (home.path().join("slot-a"), home.path().join("slot-b"));
        write(&a, "etc/weir.conf", "[node]\n");
        write(&home.path().join("slot-b.new"), "etc/half", "x");
        seed(&b, &a, 1, MIGRATIONS).unwrap();
        assert_eq!(read(&b, "etc/weir.conf"), "[node]\n");
        assert!(!b.join("etc/half").exists() && !home.path().join("slot-b.new").exists());
    }

    #[test]
    fn a_newer_system_brings_every_file_to_its_format_and_says_so() {
        let home = Folder::new("migrate");
        let (a, b) = (home.path().join("slot-a"), home.path().join("slot-b"));
        let main = "[node]\nname = lb1\n[service web]\nvip = 203.0.113.1\n";
        write(&a, "etc/weir.conf", main);
        write(
            &a,
            "etc/conf.d/more.conf",
            "[service dns]\nvip = 203.0.113.2\n",
        );
        write(&a, "lib/configurations/x/000007.conf", main);
        let events = seed(&b, &a, 3, MADE_UP).unwrap();
        assert_eq!(events.len(), 1);
        assert!(
            events[0].text.contains("from format 1 to 3"),
            "{}",
            events[0].text
        );
        let new = "[node]\nformat = 3\nname = lb1\n[service web]\nlisten = 203.0.113.1\n";
        assert_eq!(read(&b, "etc/weir.conf"), new);
        assert_eq!(read(&b, "lib/configurations/x/000007.conf"), new);
        assert_eq!(
            read(&b, "etc/conf.d/more.conf"),
            "[service dns]\nlisten = 203.0.113.2\n"
        );
        assert_eq!(
            read(&a, "etc/weir.conf"),
            main,
            "the old slot reads its own"
        );
        // And once more from there, without a step.
        let c = home.path().join("slot-c");
        assert!(seed(&c, &b, 3, MADE_UP).unwrap().is_empty());
        assert_eq!(read(&c, "etc/weir.conf"), new);
    }

    #[test]
    fn what_cannot_be_brought_over_is_taken_as_it_is_and_told() {
        let home = Folder::new("migrate-not");
        let (a, b) = (home.path().join("slot-a"), home.path().join("slot-b"));
        write(&a, "etc/weir.conf", "[node]\nname =\tlb1\n");
        let events = seed(&b, &a, 3, MADE_UP).unwrap();
        assert!(
            events[0]
                .text
                .contains("etc/weir.conf was taken over as it was: it has a tab")
        );
        assert_eq!(read(&b, "etc/weir.conf"), "[node]\nname =\tlb1\n");
        let c = home.path().join("slot-c");
        write(&a, "etc/weir.conf", "[node]\nformat = 4 # new\n");
        let events = seed(&c, &a, 3, MADE_UP).unwrap();
        let sentence = "it has format 4, and this system reads 3 at most";
        assert!(events[0].text.contains(sentence), "{}", events[0].text);
    }
}
