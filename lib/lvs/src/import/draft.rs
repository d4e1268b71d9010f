//! A configuration in the making: sections whose lines know what they were made of.

use crate::note::Place;

/// Sections in the order in which they will stand.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) sections: Vec<DraftSection>,
    /// Interfaces that were named, for the hints of the ports.
    pub(crate) devices: Vec<String>,
}

/// One section.
#[derive(Clone, Debug)]
pub(crate) struct DraftSection {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) place: Option<Place>,
    pub(crate) lines: Vec<DraftLine>,
    /// Why it is left out.
    pub(crate) refused: Option<String>,
}

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct DraftLine {
    pub(crate) key: &'static str,
    pub(crate) value: String,
    pub(crate) place: Option<Place>,
    /// What it was before.
    pub(crate) was: String,
    /// Whether the section would be something else without it.
    pub(crate) is_vital: bool,
    /// Why it is left out.
    pub(crate) refused: Option<String>,
}

impl Draft {
    pub(crate) fn of_kind(&self, kind: &'static str) -> impl Iterator<Item = &DraftSection> {
        self.sections.iter().filter(move |s| s.kind == kind)
    }

    pub(crate) fn has(&self, kind: &str, name: &str) -> bool {
        let same = |s: &DraftSection| s.kind == kind && s.name == name;
        self.sections.iter().any(same)
    }

    /// Returns a name that no section of the kind has yet.
    pub(crate) fn free_name(&self, kind: &str, wanted: &str) -> String {
        let wanted = proper_name(wanted);
        let numbered = (2..).map(|number| format!("{wanted}-{number}"));
        let mut names = std::iter::once(wanted.clone()).chain(numbered);
        let free = names.find(|name| !self.has(kind, name));
        free.unwrap_or(wanted)
    }
}

impl DraftSection {
    pub(crate) fn new(kind: &'static str, name: &str, place: Option<&Place>) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            place: place.cloned(),
            lines: Vec::new(),
            refused: None,
        }
    }

    /// Adds a line that can be left out if need be.
    pub(crate) fn add(
        &mut self,
        key: &'static str,
        value: impl Into<String>,
        place: &Place,
        was: &str,
    ) {
        self.lines.push(DraftLine {
            key,
            value: value.into(),
            place: Some(place.clone()),
            was: was.to_owned(),
            is_vital: false,
            refused: None,
        });
    }

    /// Adds a line without which the section is left out, too.
    pub(crate) fn add_vital(
        &mut self,
        key: &'static str,
        value: impl Into<String>,
        place: &Place,
        was: &str,
    ) {
        self.add(key, value, place, was);
        if let Some(line) = self.lines.last_mut() {
            line.is_vital = true;
        }
    }

    pub(crate) fn has_key(&self, key: &str) -> bool {
        self.lines.iter().any(|line| line.key == key)
    }
}

/// Makes a name of letters, digits, `.`, `_` and `-`.
pub(crate) fn proper_name(text: &str) -> String {
    const LONGEST: usize = 60;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let chars = text.chars().map(|c| if allowed(c) { c } else { '-' });
    let name: String = chars.take(LONGEST).collect();
    if name.is_empty() {
        "unnamed".to_owned()
    } else {
        name
    }
}
