//! The one table of sections and keys: parser, ranges, defaults, help and availability.

mod addresses;
mod example;
mod help;
mod reference;
mod table;
mod types;

use weir_model::Protocol;

pub use help::{help, keys, names};
pub use reference::reference;
pub(crate) use table::SECTIONS;
pub(crate) use types::{Choice, Parsed, Type};

/// A kind of section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Node,
    Port,
    Route,
    Workers,
    Control,
    Management,
    LipPool,
    Health,
    Synproxy,
    Defence,
    Service,
    Syslog,
    Metrics,
    Ha,
}

/// Whether this build has a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Availability {
    /// It has.
    Now,
    /// It has not; the name of the capability.
    Later(&'static str),
}

/// What a section's name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// There is one such section at most, without a name.
    Single,
    /// Each has a name of its own.
    Named,
    /// Each has the prefix of a network as its name.
    Prefix,
}

/// One kind of section.
#[derive(Debug)]
pub(crate) struct SectionSpec {
    pub(crate) kind: Kind,
    /// As the file writes it.
    pub(crate) word: &'static str,
    pub(crate) naming: Naming,
    pub(crate) availability: Availability,
    pub(crate) help: &'static str,
    pub(crate) keys: &'static [KeySpec],
}

/// What holds where a key is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultValue {
    /// The key must be given.
    Required,
    /// Nothing.
    Nothing,
    /// These values; one unless the key is a list.
    Values(&'static [&'static str]),
    /// A value that depends on the protocol of the service.
    ByProtocol {
        tcp: &'static str,
        udp: &'static str,
    },
    /// The value of another key of the section.
    SameAs(&'static str),
}

/// One key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeySpec {
    pub(crate) key: &'static str,
    pub(crate) of: Type,
    pub(crate) list: bool,
    pub(crate) default: DefaultValue,
    pub(crate) options: &'static [OptionSpec],
    /// The only protocol whose services have the key.
    pub(crate) only: Option<Protocol>,
    pub(crate) availability: Availability,
    pub(crate) help: &'static str,
    /// A value with options, where none can be made of the type.
    example: Option<&'static str>,
}

/// One `option=value` behind the value of a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OptionSpec {
    pub(crate) name: &'static str,
    pub(crate) of: Type,
    pub(crate) default: Option<&'static str>,
    pub(crate) availability: Availability,
    pub(crate) help: &'static str,
}

impl Kind {
    /// Returns the kind's part of the table.
    pub(crate) fn spec(self) -> &'static SectionSpec {
        let found = SECTIONS.iter().find(|section| section.kind == self);
        // The table has every kind, as a test shows; the first section is never meant.
        let [first, ..] = &SECTIONS;
        found.unwrap_or(first)
    }

    /// Returns the names that mean a profile of defaults where no section has them.
    pub(crate) const fn implied(self) -> &'static [&'static str] {
        match self {
            Self::Synproxy => &["off", "adaptive", "always"],
            Self::Health => &["tcp"],
            Self::Node
            | Self::Port
            | Self::Route
            | Self::Workers
            | Self::Control
            | Self::Management
            | Self::LipPool
            | Self::Defence
            | Self::Service
            | Self::Syslog
            | Self::Metrics
            | Self::Ha => &[],
        }
    }
}

impl SectionSpec {
    /// Finds a section by its word.
    pub(crate) fn find(word: &str) -> Option<&'static Self> {
        SECTIONS.iter().find(|section| section.word == word)
    }

    /// Finds a key.
    pub(crate) fn key(&self, key: &str) -> Option<&'static KeySpec> {
        self.keys.iter().find(|spec| spec.key == key)
    }

    /// Returns what the heading of any such section looks like.
    fn pattern(&self) -> String {
        self.heading(match self.naming {
            Naming::Single | Naming::Named => "NAME",
            Naming::Prefix => "NETWORK",
        })
    }

    /// Returns how the file names such a section.
    pub(crate) fn heading(&self, name: &str) -> String {
        match self.naming {
            Naming::Single => format!("[{}]", self.word),
            Naming::Named | Naming::Prefix => format!("[{} {name}]", self.word),
        }
    }
}

impl KeySpec {
    const fn new(key: &'static str, of: Type, help: &'static str) -> Self {
        Self {
            key,
            of,
            list: false,
            default: DefaultValue::Nothing,
            options: &[],
            only: None,
            availability: Availability::Now,
            help,
            example: None,
        }
    }

    const fn required(mut self) -> Self {
        self.default = DefaultValue::Required;
        self
    }

    const fn list(mut self) -> Self {
        self.list = true;
        self
    }

    const fn default(mut self, values: &'static [&'static str]) -> Self {
        self.default = DefaultValue::Values(values);
        self
    }

    const fn by_protocol(mut self, tcp: &'static str, udp: &'static str) -> Self {
        self.default = DefaultValue::ByProtocol { tcp, udp };
        self
    }

    const fn same_as(mut self, key: &'static str) -> Self {
        self.default = DefaultValue::SameAs(key);
        self
    }

    const fn options(mut self, options: &'static [OptionSpec]) -> Self {
        self.options = options;
        self
    }

    const fn only(mut self, protocol: Protocol) -> Self {
        self.only = Some(protocol);
        self
    }

    const fn example(mut self, example: &'static str) -> Self {
        self.example = Some(example);
        self
    }
}

impl OptionSpec {
    const fn new(name: &'static str, of: Type, help: &'static str) -> Self {
        Self {
            name,
            of,
            default: None,
            availability: Availability::Now,
            help,
        }
    }

    const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 14] = [
        Kind::Node,
        Kind::Port,
        Kind::Route,
        Kind::Workers,
        Kind::Control,
        Kind::Management,
        Kind::LipPool,
        Kind::Health,
        Kind::Synproxy,
        Kind::Defence,
        Kind::Service,
        Kind::Syslog,
        Kind::Metrics,
        Kind::Ha,
    ];

    #[test]
    fn every_kind_is_in_the_table_once_and_keys_are_unique() {
        assert_eq!(SECTIONS.len(), KINDS.len());
        for kind in KINDS {
            assert_eq!(kind.spec().kind, kind);
        }
        for section in &SECTIONS {
            for (i, key) in section.keys.iter().enumerate() {
                assert!(
                    section.keys.iter().skip(i + 1).all(|k| k.key != key.key),
                    "{}.{}",
                    section.word,
                    key.key
                );
            }
        }
    }

    #[test]
    fn every_default_is_accepted_by_its_own_type() {
        for section in &SECTIONS {
            for key in section.keys {
                let values = match key.default {
                    DefaultValue::Values(values) => values.to_vec(),
                    DefaultValue::ByProtocol { tcp, udp } => vec![tcp, udp],
                    DefaultValue::SameAs(other) => {
                        assert!(section.key(other).is_some(), "{other}");
                        vec![]
                    }
                    DefaultValue::Required | DefaultValue::Nothing => vec![],
                };
                assert!(values.len() <= 1 || key.list || !values.is_empty());
                for value in values {
                    let mut words = value.split_whitespace();
                    let first = words.next().unwrap();
                    assert!(
                        key.of.parse(first).is_ok(),
                        "{}.{} = {value}",
                        section.word,
                        key.key
                    );
                    for word in words {
                        let (name, value) = word.split_once('=').unwrap();
                        let option = key.options.iter().find(|o| o.name == name).unwrap();
                        assert!(option.of.parse(value).is_ok(), "{word}");
                    }
                }
                for option in key.options {
                    if let Some(value) = option.default {
                        assert!(option.of.parse(value).is_ok(), "{}={value}", option.name);
                    }
                }
            }
        }
    }
}
