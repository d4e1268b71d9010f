//! Files that the configuration names, for what turns out to be wrong with one of them.

use crate::diagnostic::{Report, Sink};
use crate::schema::Type;
use crate::source::{Place, Sources};
use crate::tree::Object;

/// Where a configuration names other files.
#[derive(Clone, Debug)]
pub struct NamedFiles {
    sources: Sources,
    places: Vec<(String, Place)>,
}

impl NamedFiles {
    pub(crate) fn new(objects: &[Object], sources: &Sources) -> Self {
        let keys = objects.iter().flat_map(Object::values);
        let items = keys
            .filter(|(key, _)| matches!(key.of, Type::Path))
            .flat_map(|(_, items)| items);
        let places = items
            .filter_map(|item| Some((item.as_text()?.to_owned(), item.place?)))
            .collect();
        Self {
            sources: sources.clone(),
            places,
        }
    }

    /// Makes the report of mistakes that lie in named files, each a path, a sentence and what to do
    /// about it, with the place at which the configuration names the path; none when there is no
    /// mistake.
    #[must_use]
    pub fn report(&self, mistakes: &[(String, String, String)]) -> Option<Report> {
        let mut sink = Sink::default();
        for (path, message, note) in mistakes {
            match self.places.iter().find(|(named, _)| named == path) {
                Some((_, place)) => sink.at(*place, message, note),
                None => sink.nowhere(message),
            }
        }
        sink.into_report(self.sources.clone())
    }
}
