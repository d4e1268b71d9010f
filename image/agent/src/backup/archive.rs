//! The form of a backup: how it is written, and what is checked when it is read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::{Component, Path};

use sha2::{Digest, Sha256};
use weir_conf::{NoEnv, SourceText};
use weir_control::Role;

use super::{Files, LONGEST_FILE, MOST_FILES, SHARED};
use crate::keys::Keys;
use crate::secret;

/// The number of this form of archives.
const FORMAT: u32 = 1;
/// The number of the configuration's form.
const CONFIG_FORMAT: u32 = 1;
/// The first member.
const MANIFEST: &str = "manifest";

pub(super) fn manifest(version: &str, node: &str, files: &Files) -> String {
    let mut text = format!(
        "format = {FORMAT}\nconfig-format = {CONFIG_FORMAT}\nversion = {version}\nnode = {node}\n"
    );
    for (name, bytes) in files {
        let _ = writeln!(text, "file = {name} {} {}", bytes.len(), sum(bytes));
    }
    text
}

pub(super) fn archive(manifest: &str, files: &Files) -> io::Result<Vec<u8>> {
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

/// Reads an archive and checks all of it.
///
/// # Errors
/// Says the first thing that is wrong.
pub(super) fn check(bytes: &[u8]) -> Result<(String, Files), String> {
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

/// Says whether a name can be one of an archive's members: it stays in its folder.
pub(super) fn is_member(name: &str) -> bool {
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

fn sum(bytes: &[u8]) -> String {
    let sum = Sha256::digest(bytes);
    sum.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
