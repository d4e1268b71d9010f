//! A configuration as sections that can be edited.

use std::fmt::{self, Write};

use weir_conf::Effective;

use crate::import::PortGiven;

/// How wide the column of keys is.
const KEYS: usize = 20;

/// Sections in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    pub(crate) sections: Vec<Section>,
}

/// One section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) kind: String,
    /// Empty where the kind has no names.
    pub(crate) name: String,
    pub(crate) entries: Vec<Entry>,
}

/// One `key = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value: String,
    /// Whether it holds because nothing was said; it is not written.
    pub(crate) is_default: bool,
}

impl Document {
    /// Takes what a daemon runs on.
    #[must_use]
    pub fn new(effective: &Effective) -> Self {
        let sections = effective.sections().iter().map(|section| {
            let (kind, name) = heading(&section.heading);
            Section {
                kind: kind.to_owned(),
                name: name.to_owned(),
                entries: section
                    .values
                    .iter()
                    .map(|value| Entry {
                        key: value.key.to_owned(),
                        value: value.value.clone(),
                        is_default: value.is_default,
                    })
                    .collect(),
            }
        });
        Self {
            sections: sections.collect(),
        }
    }

    /// Reads what [`Display`](fmt::Display) wrote.
    ///
    /// # Errors
    /// Names the first line that it did not write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut document = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with('[') && line.ends_with(']') {
                let (kind, name) = heading(line);
                document.sections.push(Section {
                    kind: kind.to_owned(),
                    name: name.to_owned(),
                    entries: Vec::new(),
                });
                continue;
            }
            match (document.sections.last_mut(), line.split_once('=')) {
                (Some(section), Some((key, value))) => section.add(key.trim(), value.trim()),
                _ => {
                    return Err(format!(
                        "line {} is neither a [section] nor a key",
                        index + 1
                    ));
                }
            }
        }
        Ok(document)
    }

    /// Returns its ports.
    #[must_use]
    pub fn ports(&self) -> Vec<PortGiven> {
        let ports = self.of_kind("port").map(|port| PortGiven {
            name: port.name.clone(),
            device: port.all("device").collect(),
            addresses: port.all("address").filter_map(|a| a.parse().ok()).collect(),
            gateways: port.all("gateway").filter_map(|a| a.parse().ok()).collect(),
        });
        ports.collect()
    }

    /// Returns this configuration with the services, pools and checks of another one instead of
    /// its own.
    #[must_use]
    pub fn with_services_of(&self, other: &Self) -> Self {
        const KINDS: [&str; 3] = ["lip-pool", "health", "service"];
        let theirs = |section: &&Section| KINDS.contains(&section.kind.as_str());
        let mut sections: Vec<Section> = self.sections.clone();
        sections.retain(|section| !theirs(&section));
        sections.extend(other.sections.iter().filter(theirs).cloned());
        Self { sections }
    }

    pub(crate) fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Section> {
        self.sections.iter().filter(move |s| s.kind == kind)
    }

    pub(crate) fn find(&self, kind: &str, name: &str) -> Option<&Section> {
        self.sections
            .iter()
            .find(|s| s.kind == kind && s.name == name)
    }

    pub(crate) fn find_mut(&mut self, kind: &str, name: &str) -> Option<&mut Section> {
        self.sections
            .iter_mut()
            .find(|s| s.kind == kind && s.name == name)
    }

    pub(crate) fn remove(&mut self, kind: &str, name: &str) {
        self.sections.retain(|s| s.kind != kind || s.name != name);
    }

    /// Puts a section behind the last one of its kind.
    pub(crate) fn push(&mut self, section: Section) {
        let last = self.sections.iter().rposition(|s| s.kind == section.kind);
        // Pools stand before the services that refer to them.
        let first_service = self.sections.iter().position(|s| s.kind == "service");
        let at = match last {
            Some(last) => last + 1,
            None if section.kind == "service" => self.sections.len(),
            None => first_service.unwrap_or(self.sections.len()),
        };
        self.sections.insert(at, section);
    }
}

impl Section {
    pub(crate) fn new(kind: &str, name: &str) -> Self {
        Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
            entries: Vec::new(),
        }
    }

    /// Adds a value to those of the key.
    pub(crate) fn add(&mut self, key: &str, value: &str) {
        self.entries.push(Entry {
            key: key.to_owned(),
            value: value.to_owned(),
            is_default: false,
        });
    }

    pub(crate) fn one(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        let of_key = self.entries.iter().filter(move |entry| entry.key == key);
        of_key.map(|entry| entry.value.as_str())
    }

    /// Replaces the values of a key where they stand, or puts them at the end.
    pub(crate) fn set(&mut self, key: &str, values: impl IntoIterator<Item = String>) {
        let at = self.entries.iter().position(|entry| entry.key == key);
        self.entries.retain(|entry| entry.key != key);
        let at = at.unwrap_or(self.entries.len());
        let entries: Vec<Entry> = values
            .into_iter()
            .map(|value| Entry {
                key: key.to_owned(),
                value,
                is_default: false,
            })
            .collect();
        self.entries.splice(at..at, entries);
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A singleton of which nothing was said is there in any case.
        let said = |s: &&Section| !s.name.is_empty() || s.entries.iter().any(|e| !e.is_default);
        for (i, section) in self.sections.iter().filter(said).enumerate() {
            if i > 0 {
                f.write_char('\n')?;
            }
            match section.name.as_str() {
                "" => writeln!(f, "[{}]", section.kind)?,
                name => writeln!(f, "[{} {name}]", section.kind)?,
            }
            for entry in section.entries.iter().filter(|entry| !entry.is_default) {
                writeln!(f, "{:<KEYS$}= {}", entry.key, entry.value)?;
            }
        }
        Ok(())
    }
}

/// Takes `[kind name]` apart.
fn heading(text: &str) -> (&str, &str) {
    let inside = text.trim_start_matches('[').trim_end_matches(']').trim();
    match inside.split_once(' ') {
        Some((kind, name)) => (kind, name.trim()),
        None => (inside, ""),
    }
}
