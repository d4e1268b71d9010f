//! What the configuration names and does not have itself, files and devices: where it names them,
//! for what turns out to be wrong there.

use crate::diagnostic::{Diagnostic, Label, Report, Severity, Sink};
use crate::schema::Type;
use crate::source::{Place, Sources};
use crate::tree::Object;

/// Where a configuration names files and devices, and what it is to be warned of.
#[derive(Clone, Debug)]
pub struct Named {
    sources: Sources,
    places: Vec<(String, Place)>,
    warnings: Vec<Diagnostic>,
}

/// What was found out about a file or device that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file or device, as the configuration names it.
    pub named: String,
    /// The sentence, which names it.
    pub message: String,
    /// What to do about it; may be empty.
    pub note: String,
}

impl Named {
    pub(crate) fn new(objects: &[Object], sources: &Sources, warnings: Vec<Diagnostic>) -> Self {
        let keys = objects.iter().flat_map(Object::values);
        let items = keys
            .filter(|(key, _)| matches!(key.of, Type::Path | Type::Device))
            .flat_map(|(_, items)| items);
        let places = items
            .filter_map(|item| Some((item.as_text()?.to_owned(), item.place?)))
            .collect();
        Self {
            sources: sources.clone(),
            places,
            warnings,
        }
    }

    /// Makes the report of mistakes, each with the place that names the file or device; none when
    /// there is no mistake.
    #[must_use]
    pub fn mistakes(&self, findings: &[Finding]) -> Option<Report> {
        let mut sink = Sink::default();
        for finding in findings {
            match self.place(finding) {
                Some(place) => sink.at(place, &finding.message, &finding.note),
                None => sink.nowhere(&finding.message),
            }
        }
        sink.into_report(self.sources.clone())
    }

    /// Makes the report of what the configuration is to be warned of by itself, and of findings
    /// that are no mistakes; none when there is nothing.
    #[must_use]
    pub fn warnings(&self, findings: &[Finding]) -> Option<Report> {
        let mut warnings = self.warnings.clone();
        warnings.extend(findings.iter().map(|finding| {
            let note = finding.note.clone();
            let label = |place| Label { place, note };
            Diagnostic {
                message: finding.message.clone(),
                labels: self.place(finding).map(label).into_iter().collect(),
            }
        }));
        let count = warnings.len();
        let report = || Report::new(Severity::Warning, self.sources.clone(), warnings, count);
        (count > 0).then(report)
    }

    fn place(&self, finding: &Finding) -> Option<Place> {
        let mut places = self.places.iter();
        let (_, place) = places.find(|(named, _)| *named == finding.named)?;
        Some(*place)
    }
}
