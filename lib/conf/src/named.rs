//! What the configuration names and does not have itself, files, devices, cores and groups, and the
//! addresses that Weir alone must have: where it names them, for what turns out to be wrong there.

use crate::diagnostic::{Diagnostic, Label, Report, Severity, Sink};
use crate::schema::{Parsed, Type};
use crate::source::{Place, Sources};
use crate::tree::{Item, Object};

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
    /// The file or device, as the configuration names it; of cores the key, such as `workers.cpus`, of
    /// a group `group=NAME`, of a VIP `vip=ADDRESS`, of LIPs `lips=FIRST-LAST`.
    pub named: String,
    /// The sentence, which names it.
    pub message: String,
    /// What to do about it; may be empty.
    pub note: String,
}

impl Named {
    pub(crate) fn new(objects: &[Object], sources: &Sources, warnings: Vec<Diagnostic>) -> Self {
        let mut places = Vec::new();
        for object in objects {
            for (key, items) in object.values() {
                let word = format!("{}.{}", object.spec.word, key.key);
                places.extend(items.iter().flat_map(|item| named(key.of, &word, item)));
            }
        }
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

/// Returns what a value names, as a [`Finding`] does.
fn named(of: Type, key: &str, item: &Item) -> Vec<(String, Place)> {
    let itself = match (&item.parsed, of) {
        (Parsed::Listen(address, ..), _) => Some(format!("vip={address}")),
        (Parsed::Addresses(range), _) => Some(format!("lips={}-{}", range.first, range.last)),
        (_, Type::Path | Type::Device) => item.as_text().map(str::to_owned),
        (_, Type::Cpus | Type::WordOr(_, Type::Cpus)) => Some(key.to_owned()),
        _ => None,
    };
    let itself = itself.and_then(|named| Some((named, item.place?)));
    let groups = item.options.iter().filter_map(|(name, parsed, place)| {
        let Parsed::Text(text) = parsed else {
            return None;
        };
        (*name == "group").then_some((format!("{name}={text}"), (*place)?))
    });
    itself.into_iter().chain(groups).collect()
}
