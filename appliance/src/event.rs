//! An event as operators, logs and the SIEM get it: a stable code, a sentence, and its facts.

use std::fmt::Display;

use weir_model::{EventClass, Severity};

/// Something that an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventRecord {
    /// What programs tell it by; never changes.
    pub(crate) code: &'static str,
    pub(crate) class: EventClass,
    pub(crate) severity: Severity,
    /// The sentence.
    pub(crate) text: String,
    /// The facts of the sentence, for programs.
    pub(crate) fields: Vec<(&'static str, String)>,
}

impl EventRecord {
    /// Makes an event without facts.
    pub(crate) fn new(
        class: EventClass,
        severity: Severity,
        code: &'static str,
        text: impl Into<String>,
    ) -> Self {
        Self {
            code,
            class,
            severity,
            text: text.into(),
            fields: Vec::new(),
        }
    }

    /// Adds a fact.
    #[must_use]
    pub(crate) fn field(mut self, name: &'static str, value: impl Display) -> Self {
        self.fields.push((name, value.to_string()));
        self
    }
}
