//! The effective configuration: what holds, with what was not said as comments.

use std::fmt::{self, Write};

use crate::schema::Naming;
use crate::tree::Object;

/// How wide the column of keys is: the longest key with its mark and a blank.
const KEYS: usize = 20;

/// The effective configuration, in the order of the schema and, within a kind, of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effective {
    sections: Vec<EffectiveSection>,
}

/// One section of the effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveSection {
    /// The heading, with its brackets.
    pub heading: String,
    /// The values in the order of the schema.
    pub values: Vec<EffectiveValue>,
}

/// One value of the effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveValue {
    /// The key.
    pub key: &'static str,
    /// The value with its options.
    pub value: String,
    /// Whether it holds because nothing else was said.
    pub is_default: bool,
    /// Whether it is one of a list.
    pub is_listed: bool,
}

impl Effective {
    pub(crate) fn new(objects: &[Object]) -> Self {
        Self {
            sections: objects.iter().map(section).collect(),
        }
    }

    /// Returns the sections.
    #[must_use]
    pub fn sections(&self) -> &[EffectiveSection] {
        &self.sections
    }
}

/// Writes the file: reading it again gives the same configuration.
impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, section) in self.sections.iter().enumerate() {
            if i > 0 {
                f.write_char('\n')?;
            }
            writeln!(f, "{}", section.heading)?;
            for value in &section.values {
                let mark = if value.is_default { "# " } else { "" };
                let width = KEYS - mark.len();
                writeln!(f, "{mark}{:<width$}= {}", value.key, value.value)?;
            }
        }
        Ok(())
    }
}

fn section(object: &Object) -> EffectiveSection {
    let values = object
        .values()
        .flat_map(|(key, items)| {
            items.iter().map(|item| EffectiveValue {
                key: key.key,
                value: item.text.clone(),
                is_default: item.place.is_none(),
                is_listed: key.list,
            })
        })
        .collect();
    let heading = match object.spec.naming {
        Naming::Single => object.spec.heading(""),
        Naming::Named | Naming::Prefix => object.title(),
    };
    EffectiveSection { heading, values }
}
