//! What is said about somebody's file: where, and how bad it is.

use std::fmt;
use std::sync::Arc;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, from 1.
    pub line: usize,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It was carried over, with something to know.
    Advice,
    /// It was left out, for the reason that is given.
    LeftOut,
    /// Nobody knows it; it was left out.
    Unknown,
    /// It cannot be read: there is no result.
    Bad,
}

/// One sentence about one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The line; none for what concerns the whole.
    pub place: Option<Place>,
    /// How bad it is.
    pub severity: Severity,
    /// The sentence.
    pub text: String,
}

/// Collects notes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Vec<Note>);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(match self.severity {
            Severity::Advice => "note: ",
            Severity::LeftOut => "left out: ",
            Severity::Unknown => "unknown: ",
            Severity::Bad => "error: ",
        })?;
        f.write_str(&self.text)
    }
}

impl Notes {
    /// Adds a sentence about a line; the same one about the same line is told once.
    pub(crate) fn add(&mut self, place: Option<&Place>, severity: Severity, text: String) {
        let note = Note {
            place: place.cloned(),
            severity,
            text,
        };
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    pub(crate) fn advice(&mut self, place: &Place, text: impl Into<String>) {
        self.add(Some(place), Severity::Advice, text.into());
    }

    pub(crate) fn left_out(&mut self, place: &Place, text: impl Into<String>) {
        self.add(Some(place), Severity::LeftOut, text.into());
    }

    pub(crate) fn unknown(&mut self, place: &Place, text: impl Into<String>) {
        self.add(Some(place), Severity::Unknown, text.into());
    }

    pub(crate) fn bad(&mut self, place: &Place, text: impl Into<String>) {
        self.add(Some(place), Severity::Bad, text.into());
    }

    /// Says whether something cannot be read.
    pub(crate) fn has_bad(&self) -> bool {
        self.0.iter().any(|note| note.severity == Severity::Bad)
    }

    /// Says whether something was known and left out.
    pub(crate) fn has_left_out(&self) -> bool {
        self.0.iter().any(|note| note.severity == Severity::LeftOut)
    }

    /// Returns the notes in the order of files and lines, those about the whole last.
    pub(crate) fn into_sorted(self) -> Vec<Note> {
        let mut files: Vec<Arc<str>> = Vec::new();
        for place in self.0.iter().filter_map(|note| note.place.as_ref()) {
            if !files.contains(&place.file) {
                files.push(place.file.clone());
            }
        }
        let mut notes = self.0;
        notes.sort_by_key(|note| match &note.place {
            None => (usize::MAX, 0),
            Some(place) => {
                let file = files.iter().position(|file| *file == place.file);
                (file.unwrap_or_default(), place.line)
            }
        });
        notes
    }
}

/// Shortens what a sentence quotes, and shows what a terminal would act on as `?`.
pub(crate) fn quote(text: &str) -> String {
    const MOST: usize = 60;
    let shown = text.chars().map(|c| if c.is_control() { '?' } else { c });
    if text.chars().count() <= MOST {
        return shown.collect();
    }
    shown.take(MOST - 3).chain("...".chars()).collect()
}
