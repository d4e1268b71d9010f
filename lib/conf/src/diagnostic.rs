//! Mistakes, where they are, and how they are told.

mod render;

use std::collections::BTreeSet;
use std::fmt;

pub(crate) use render::{COLUMNS, wrap};

use crate::schema::SECTIONS;
use crate::source::{Place, Sources};
use crate::suggest::nearest;

/// How many mistakes are shown; the rest is counted.
pub(crate) const SHOWN: usize = 20;

/// How many mistakes are kept: a file of rubbish needs no memory.
const KEPT: usize = 2000;

/// How bad something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Severity {
    /// The configuration is refused for it.
    #[default]
    Error,
    /// It is accepted, and should be looked at.
    Warning,
}

/// One mistake, or one thing to be warned of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Diagnostic {
    /// The sentence, without a full stop.
    pub(crate) message: String,
    /// The places, the offending one first; none where a mistake has no place.
    pub(crate) labels: Vec<Label>,
}

/// A place with what is to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) place: Place,
    pub(crate) note: String,
}

/// Collects mistakes, and apart from them warnings.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    kept: Vec<Diagnostic>,
    count: usize,
    warnings: Vec<Diagnostic>,
    /// The words of headings that could not be read: what refers to one of them must not be
    /// reported as well.
    lost: Option<BTreeSet<String>>,
}

/// Every mistake of a configuration, or all that it is to be warned of.
#[derive(Clone, Debug)]
pub struct Report {
    severity: Severity,
    sources: Sources,
    diagnostics: Vec<Diagnostic>,
    count: usize,
}

/// One mistake or warning of a report, for programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The sentence, without a full stop.
    pub message: String,
    /// Where it is, the offending place first; none where it has no place.
    pub places: Vec<ToldPlace>,
}

/// A place that a mistake or warning points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldPlace {
    /// The name of the file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// How many characters are meant.
    pub width: usize,
    /// What is to say about it; may be empty.
    pub note: String,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// With the line and a caret below the mistake, 80 columns wide.
    #[default]
    Long,
    /// `FILE:LINE:COLUMN: error: ...`, one line each.
    Short,
}

/// What the configuration was read for, which the last line of a long report answers to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To check it.
    #[default]
    Check,
    /// To start with it.
    Start,
    /// To replace the running one.
    Apply,
}

/// How and for what a report is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Style {
    /// The layout.
    pub format: Format,
    /// What the configuration was read for.
    pub purpose: Purpose,
}

impl Style {
    /// Makes the long layout.
    #[must_use]
    pub const fn long(purpose: Purpose) -> Self {
        Self {
            format: Format::Long,
            purpose,
        }
    }

    /// Makes the layout of one line per mistake.
    #[must_use]
    pub const fn short() -> Self {
        Self {
            format: Format::Short,
            purpose: Purpose::Check,
        }
    }
}

impl Sink {
    /// Notes a section that could not be read, by the text of its heading.
    pub(crate) fn lose_section(&mut self, heading: &str) {
        let words = heading.split(|c: char| c.is_whitespace() || c == '[' || c == ']');
        let lost = self.lost.get_or_insert_default();
        lost.extend(words.filter(|word| !word.is_empty()).map(str::to_owned));
    }

    /// Says whether a section could not be read.
    pub(crate) fn lost_section(&self) -> bool {
        self.lost.is_some()
    }

    /// Says whether a section that could not be read may have been one of these.
    pub(crate) fn lost_like(&self, words: &[&str]) -> bool {
        let lost = self.lost.iter().flatten();
        let mut lost = lost.filter_map(|word| nearest(word, SECTIONS.iter().map(|it| it.word)));
        lost.any(|word| words.contains(&word))
    }

    /// Says whether a name stands in a heading that could not be read.
    pub(crate) fn lost(&self, name: &str) -> bool {
        self.lost.as_ref().is_some_and(|lost| lost.contains(name))
    }

    /// Adds a mistake at a place.
    pub(crate) fn at(&mut self, place: Place, message: impl Into<String>, note: impl Into<String>) {
        self.push(Diagnostic {
            message: message.into(),
            labels: vec![Label {
                place,
                note: note.into(),
            }],
        });
    }

    /// Adds a mistake of two places that contradict each other.
    pub(crate) fn between(
        &mut self,
        message: impl Into<String>,
        place: Place,
        note: impl Into<String>,
        other: Option<Place>,
        other_note: impl Into<String>,
    ) {
        let mut labels = vec![Label {
            place,
            note: note.into(),
        }];
        labels.extend(other.map(|place| Label {
            place,
            note: other_note.into(),
        }));
        self.push(Diagnostic {
            message: message.into(),
            labels,
        });
    }

    /// Takes all others out that this mistake explains, and adds it.
    pub(crate) fn only_at(
        &mut self,
        place: Place,
        message: impl Into<String>,
        note: impl Into<String>,
    ) {
        self.kept.clear();
        self.count = 0;
        self.at(place, message, note);
    }

    /// Adds a mistake that has no place.
    pub(crate) fn nowhere(&mut self, message: impl Into<String>) {
        self.push(Diagnostic {
            message: message.into(),
            labels: Vec::new(),
        });
    }

    /// Adds something to be warned of at a place.
    pub(crate) fn warn(
        &mut self,
        place: Place,
        message: impl Into<String>,
        note: impl Into<String>,
    ) {
        if self.warnings.len() < KEPT {
            self.warnings.push(Diagnostic {
                message: message.into(),
                labels: vec![Label {
                    place,
                    note: note.into(),
                }],
            });
        }
    }

    /// Takes out what is to be warned of.
    pub(crate) fn take_warnings(&mut self) -> Vec<Diagnostic> {
        std::mem::take(&mut self.warnings)
    }

    /// Returns how many mistakes there are so far.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Ends the collection; none when there was no mistake.
    pub(crate) fn into_report(self, sources: Sources) -> Option<Report> {
        if self.is_empty() {
            return None;
        }
        let count = self.count;
        Some(Report::new(Severity::Error, sources, self.kept, count))
    }

    fn push(&mut self, diagnostic: Diagnostic) {
        self.count += 1;
        if self.kept.len() < KEPT {
            self.kept.push(diagnostic);
        }
    }
}

impl Report {
    /// Makes a report in the order of the files.
    pub(crate) fn new(
        severity: Severity,
        sources: Sources,
        mut diagnostics: Vec<Diagnostic>,
        count: usize,
    ) -> Self {
        diagnostics.sort_by_key(|d| d.labels.first().map(|label| label.place));
        Self {
            severity,
            sources,
            diagnostics,
            count,
        }
    }

    /// Makes a report of one mistake that has no place.
    pub(crate) fn nowhere(message: String) -> Self {
        let labels = Vec::new();
        let mistake = Diagnostic { message, labels };
        Self::new(Severity::Error, Sources::default(), vec![mistake], 1)
    }

    /// Returns whether it is of mistakes or of warnings.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// Returns the number of mistakes or warnings.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns the sentence of each mistake in file order, without its place.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.diagnostics.iter().map(|d| d.message.as_str())
    }

    /// Returns line and column of each mistake in the order of the files; none for one without a place.
    pub fn places(&self) -> impl Iterator<Item = Option<(usize, usize)>> {
        self.diagnostics.iter().map(|d| {
            let place = d.labels.first()?.place;
            Some((place.line, place.column))
        })
    }

    /// Returns the name of the source in which each mistake is, in the same order.
    pub fn source_names(&self) -> impl Iterator<Item = Option<&str>> {
        self.diagnostics.iter().map(|d| {
            let place = d.labels.first()?.place;
            Some(self.sources.name(place.source))
        })
    }

    /// Returns the first 20 mistakes or warnings, in file order.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        let place = |label: &Label| ToldPlace {
            file: self.sources.name(label.place.source).to_owned(),
            line: label.place.line,
            column: label.place.column,
            width: label.place.width.max(1),
            note: label.note.clone(),
        };
        let diagnostics = self.diagnostics.iter().take(SHOWN);
        diagnostics
            .map(|diagnostic| Told {
                message: diagnostic.message.clone(),
                places: diagnostic.labels.iter().map(place).collect(),
            })
            .collect()
    }

    /// Writes the report: ASCII, at most 20 mistakes, in file order.
    #[must_use]
    pub fn render(&self, style: Style) -> String {
        match style.format {
            Format::Long => render::long(self, style.purpose),
            Format::Short => render::short(self),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Style::default()))
    }
}

impl std::error::Error for Report {}
