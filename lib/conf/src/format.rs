//! The file's format for the `config` crate: sections become tables, every key an array of
//! strings, every string carries the place that it came from.
//!
//! Singletons are at `KIND.KEY`, named objects at `KIND.NAME.KEY`. A key is always an array, so
//! that lists keep all their values and a later layer replaces a key as a whole.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};

use config::{FileStoredFormat, Map, Value, ValueKind};

use crate::diagnostic::Sink;
use crate::lexer::{Entry, Section, lex, quote};
use crate::schema::{Availability, KeySpec, Naming, SECTIONS, SectionSpec, Type};
use crate::source::{Place, Sources};
use crate::suggest::nearest;

/// Where a table keeps its heading; no key can have this name.
pub(crate) const HEADING: &str = "[]";

/// Where a table keeps the keys that some line meant and that could not be read.
pub(crate) const UNREAD: &str = "[?]";

/// The format, with what reading one text needs: the name that origins carry, the number of the
/// source, and what it shares with the others.
#[derive(Clone, Debug)]
pub(crate) struct Ini {
    pub(crate) name: String,
    pub(crate) source: usize,
    pub(crate) reading: Arc<Mutex<Reading>>,
}

/// What all texts of a configuration share.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Where mistakes go, since all of them are wanted and not only the first.
    pub(crate) sink: Sink,
    /// Where each object was first defined.
    headings: BTreeMap<(&'static str, String), Place>,
}

impl config::Format for Ini {
    fn parse(
        &self,
        _uri: Option<&String>,
        text: &str,
    ) -> Result<Map<String, Value>, Box<dyn Error + Send + Sync>> {
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let Reading { sink, headings } = &mut *reading;
        let sections = lex(self.source, text, sink);
        Ok(Builder {
            name: &self.name,
            sink,
            headings,
        }
        .build(&sections))
    }
}

impl FileStoredFormat for Ini {
    fn file_extensions(&self) -> &'static [&'static str] {
        &["conf"]
    }
}

struct Builder<'a> {
    name: &'a str,
    sink: &'a mut Sink,
    headings: &'a mut BTreeMap<(&'static str, String), Place>,
}

impl Builder<'_> {
    fn build(&mut self, sections: &[Section]) -> Map<String, Value> {
        let mut kinds: Map<String, Value> = Map::new();
        for section in sections {
            let Some(spec) = self.known(section) else {
                continue;
            };
            let table = self.table(spec, section);
            if !self.wanted(spec, section) {
                continue;
            }
            let Some(name) = &section.name else {
                kinds.insert(spec.word.to_owned(), Value::new(None, table));
                continue;
            };
            let named = kinds
                .entry(spec.word.to_owned())
                .or_insert_with(|| Value::new(None, Map::<String, Value>::new()));
            if let ValueKind::Table(named) = &mut named.kind {
                named.insert(name.text.clone(), Value::new(None, table));
            }
        }
        kinds
    }

    /// Finds the section's part of the schema.
    fn known(&mut self, section: &Section) -> Option<&'static SectionSpec> {
        let word = &section.kind.text;
        let found = SectionSpec::find(word);
        if found.is_none() {
            let near = nearest(word, SECTIONS.iter().map(|spec| spec.word));
            let note = near.map(|near| format!("did you mean `{near}`?"));
            self.sink.at(
                section.kind.place,
                format!("unknown section [{}]", quote(word)),
                note.unwrap_or_else(|| "`weir help` lists the sections".to_owned()),
            );
            self.sink.lose_section(&section.header.text);
        }
        found
    }

    /// Says whether an object is to be had: properly named, available, and not there already.
    fn wanted(&mut self, spec: &'static SectionSpec, section: &Section) -> bool {
        if let Availability::Later(capability) = spec.availability {
            self.sink.at(
                section.header.place,
                format!("{} is not available in this build", section.header.text),
                format!("it belongs to {capability}"),
            );
            return false;
        }
        if !self.well_named(spec, section) {
            self.sink.lose_section(&section.header.text);
            return false;
        }
        let name = section.name.as_ref().map_or("", |name| &name.text);
        let key = (spec.word, name.to_owned());
        if let Some(first) = self.headings.get(&key) {
            let place = section.header.place;
            let note = match (first.source == place.source, spec.naming) {
                (true, _) => "again here",
                (false, Naming::Single) => "again here; it can be in one file only",
                (false, Naming::Named | Naming::Prefix) => {
                    "again here; a further file adds objects and changes none"
                }
            };
            self.sink.between(
                format!("{} is defined twice", spec.heading(name)),
                place,
                note,
                Some(*first),
                "first defined here",
            );
            return false;
        }
        self.headings.insert(key, section.header.place);
        true
    }

    fn well_named(&mut self, spec: &SectionSpec, section: &Section) -> bool {
        match (spec.naming, &section.name) {
            (Naming::Single, None) => true,
            (Naming::Single, Some(name)) => {
                self.sink.at(
                    name.place,
                    format!("[{}] takes no name", spec.word),
                    format!("write [{}]", spec.word),
                );
                false
            }
            (Naming::Named | Naming::Prefix, None) => {
                let place = section.header.place;
                let example = match spec.naming {
                    Naming::Prefix => "10.8.0.0/16",
                    Naming::Single | Naming::Named => "NAME",
                };
                self.sink.at(
                    place.part(place.width.saturating_sub(1), 1),
                    format!("[{}] needs a name", spec.word),
                    format!("write [{} {example}]", spec.word),
                );
                false
            }
            (Naming::Named | Naming::Prefix, Some(name)) => {
                let of = match spec.naming {
                    Naming::Prefix => Type::Network,
                    Naming::Single | Naming::Named => Type::Name,
                };
                match of.parse(&name.text) {
                    Ok(_) => true,
                    Err(problem) => {
                        let place = name.place.part(problem.at, problem.width);
                        self.sink.at(place, problem.message, problem.note);
                        false
                    }
                }
            }
        }
    }

    /// Makes the table of a section; keys that cannot be had are reported and left out.
    fn table(&mut self, spec: &SectionSpec, section: &Section) -> Map<String, Value> {
        let mut table: Map<String, Value> = Map::new();
        let origin = Sources::origin(self.name, section.header.place);
        let heading = section.header.text.clone();
        table.insert(HEADING.to_owned(), Value::new(Some(&origin), heading));
        let mut first: BTreeMap<&str, Place> = BTreeMap::new();
        let mut misspelt = Vec::new();
        for entry in &section.entries {
            let Some(key) = self.key(spec, section, entry) else {
                misspelt.push(entry);
                continue;
            };
            if !key.list
                && let Some(first) = first.get(key.key)
            {
                self.sink.between(
                    format!("`{}` is given twice in {}", key.key, section.header.text),
                    entry.key.place,
                    "again here; it has one value",
                    Some(*first),
                    "first given here",
                );
                continue;
            }
            first.entry(key.key).or_insert(entry.key.place);
            self.add(&mut table, key, entry);
        }
        // From here on a misspelt key is what was meant: all else that is wrong is told, too.
        for entry in misspelt {
            let key = meant(spec, &entry.key.text);
            if let Some(key) = key.filter(|key| key.list || !table.contains_key(key.key)) {
                self.add(&mut table, key, entry);
            }
        }
        let unread = section.unread.iter();
        let unread: Vec<&str> = unread
            .filter_map(|word| Some(meant(spec, word)?.key))
            .collect();
        table.insert(UNREAD.to_owned(), Value::new(None, unread));
        table
    }

    /// Adds a value to those of its key.
    fn add(&self, table: &mut Map<String, Value>, key: &KeySpec, entry: &Entry) {
        let origin = Sources::origin(self.name, entry.value.place);
        let value = Value::new(Some(&origin), entry.value.text.clone());
        let array = table
            .entry(key.key.to_owned())
            .or_insert_with(|| Value::new(None, Vec::<Value>::new()));
        if let ValueKind::Array(array) = &mut array.kind {
            array.push(value);
        }
    }

    fn key(
        &mut self,
        spec: &SectionSpec,
        section: &Section,
        entry: &Entry,
    ) -> Option<&'static KeySpec> {
        let word = &entry.key.text;
        let Some(key) = spec.key(word) else {
            let note = match nearest(word, spec.keys.iter().map(|key| key.key)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => match elsewhere(word) {
                    Some(section) => format!("`{word}` is a key of [{section}]"),
                    None => format!("`weir help {}` lists the keys", spec.word),
                },
            };
            let message = format!("unknown key `{}` in {}", quote(word), section.header.text);
            self.sink.at(entry.key.place, message, note);
            return None;
        };
        let Availability::Later(capability) = key.availability else {
            return Some(key);
        };
        if spec.availability == Availability::Now {
            self.sink.at(
                entry.key.place,
                format!("`{word}` is not available in this build"),
                format!("it belongs to {capability}"),
            );
            return None;
        }
        Some(key)
    }
}

/// Returns the key that a word is or is meant to be, if this build has it.
fn meant(spec: &SectionSpec, word: &str) -> Option<&'static KeySpec> {
    let key = spec.key(nearest(word, spec.keys.iter().map(|key| key.key))?)?;
    (key.availability == Availability::Now).then_some(key)
}

/// Returns a section that has a key of this name.
fn elsewhere(word: &str) -> Option<&'static str> {
    SECTIONS
        .iter()
        .find(|spec| spec.key(word).is_some())
        .map(|spec| spec.word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{Config, File, FileSourceString};

    fn read(text: &str) -> (Config, Arc<Mutex<Reading>>) {
        let reading = Arc::default();
        let format = Ini {
            name: "weir.conf".to_owned(),
            source: 0,
            reading: Arc::clone(&reading),
        };
        let file: File<FileSourceString, Ini> = File::from_str(text, format);
        let config = Config::builder().add_source(file).build().unwrap();
        (config, reading)
    }

    #[test]
    fn values_keep_their_places_through_the_config_crate() {
        let (config, reading) = read(
            "[node]\nname = lb1\n[service a.b]\nlisten = 192.0.2.1:80/tcp\nlisten = 192.0.2.2:80/tcp\n",
        );
        assert!(reading.lock().unwrap().sink.is_empty());
        let node = config.get_table("node").unwrap();
        let name = node["name"].clone().into_array().unwrap();
        assert_eq!(name[0].origin(), Some("weir.conf:2:8"));
        let service = config.get_table("service").unwrap()["a.b"].clone();
        let listen = service.into_table().unwrap()["listen"].clone();
        let origins: Vec<_> = listen
            .into_array()
            .unwrap()
            .iter()
            .map(|value| value.origin().map(str::to_owned))
            .collect();
        assert_eq!(
            origins,
            [
                Some("weir.conf:4:10".to_owned()),
                Some("weir.conf:5:10".to_owned())
            ]
        );
    }

    #[test]
    fn a_later_layer_replaces_a_key_as_a_whole_and_leaves_its_neighbours() {
        let (config, _) = read("[workers]\nburst = 32\npoll = busy\n");
        let merged = Config::builder()
            .add_source(config)
            .set_override("workers.burst", vec!["16"])
            .unwrap()
            .build()
            .unwrap();
        let workers = merged.get_table("workers").unwrap();
        let first = |key: &str| workers[key].clone().into_array().unwrap()[0].to_string();
        assert_eq!(
            (first("burst").as_str(), first("poll").as_str()),
            ("16", "busy")
        );
    }
}
