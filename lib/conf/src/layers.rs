//! The layers below and above the file: defaults of the schema, scalars of [node] from the
//! environment.

use config::{ConfigError, Map, Source, Value, ValueKind};
use weir_model::Protocol;

use crate::diagnostic::Sink;
use crate::schema::{Availability, DefaultValue, KeySpec, Kind, Naming, SECTIONS, SectionSpec};
use crate::source::{Place, Sources};
use crate::suggest::nearest;

/// What the origin of a default is.
pub(crate) const DEFAULT: &str = "default";

/// How the names of environment variables begin that are read.
const PREFIX: &str = "WEIR_NODE_";

/// Environment variables.
pub trait Env {
    /// Returns all names and values.
    fn vars(&self) -> Vec<(String, String)>;
}

/// The environment of the process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

/// An environment without variables.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEnv;

impl Env for ProcessEnv {
    fn vars(&self) -> Vec<(String, String)> {
        std::env::vars_os()
            .map(|(name, value)| {
                let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
                (text(name), text(value))
            })
            .collect()
    }
}

impl Env for NoEnv {
    fn vars(&self) -> Vec<(String, String)> {
        Vec::new()
    }
}

impl Env for Vec<(String, String)> {
    fn vars(&self) -> Vec<(String, String)> {
        self.clone()
    }
}

/// A tree as a source of the `config` crate.
#[derive(Clone, Debug)]
pub(crate) struct Layer(pub(crate) Map<String, Value>);

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

impl Layer {
    /// Makes the defaults of every singleton and of every object that the file has.
    pub(crate) fn defaults(file: &Map<String, Value>) -> Self {
        let mut kinds: Map<String, Value> = Map::new();
        for section in &SECTIONS {
            if section.availability != Availability::Now {
                continue;
            }
            let given = file.get(section.word).and_then(table);
            let defaults = match section.naming {
                Naming::Single => defaults_of(section, given),
                Naming::Named | Naming::Prefix => given
                    .into_iter()
                    .flatten()
                    .map(|(name, object)| {
                        let defaults = defaults_of(section, table(object));
                        (name.clone(), Value::new(None, defaults))
                    })
                    .collect(),
            };
            kinds.insert(section.word.to_owned(), Value::new(None, defaults));
        }
        Self(kinds)
    }

    /// Makes the layer of the environment variables `WEIR_NODE_...`; each is a source of its own.
    pub(crate) fn environment(env: &dyn Env, sources: &mut Sources, sink: &mut Sink) -> Self {
        let mut vars = env.vars();
        vars.retain(|(name, _)| name.starts_with(PREFIX));
        vars.sort();
        let section = Kind::Node.spec();
        let mut node: Map<String, Value> = Map::new();
        for (variable, value) in vars {
            let name = format!("${variable}");
            let source = sources.add(&name, &value);
            let place = Place {
                source,
                line: 1,
                column: 1,
                width: value.chars().count(),
            };
            let word = variable.get(PREFIX.len()..).unwrap_or_default();
            let word = word.to_lowercase().replace('_', "-");
            let Some(key) = section.key(&word).filter(|key| !key.list) else {
                let near = nearest(&word, section.keys.iter().map(|key| key.key));
                let hint = near.map(|near| {
                    let near = near.to_uppercase().replace('-', "_");
                    format!("did you mean {PREFIX}{near}?")
                });
                sink.at(
                    place,
                    format!("the environment variable {variable} names no key of [node]"),
                    hint.unwrap_or_default(),
                );
                continue;
            };
            if let Availability::Later(capability) = key.availability {
                let message = format!("{variable} is not available in this build");
                sink.at(place, message, format!("it belongs to {capability}"));
                continue;
            }
            if value.trim().is_empty() {
                let message = format!("the environment variable {variable} is empty");
                sink.at(place, message, "unset it for what the file says");
                continue;
            }
            let origin = Sources::origin(sources.name(source), place);
            let value = Value::new(Some(&origin), value);
            node.insert(key.key.to_owned(), Value::new(None, vec![value]));
        }
        let mut kinds: Map<String, Value> = Map::new();
        if !node.is_empty() {
            kinds.insert(section.word.to_owned(), Value::new(None, node));
        }
        Self(kinds)
    }
}

fn defaults_of(section: &SectionSpec, given: Option<&Map<String, Value>>) -> Map<String, Value> {
    let protocol = given.and_then(protocol).unwrap_or(Protocol::Tcp);
    let origin = DEFAULT.to_owned();
    section
        .keys
        .iter()
        .filter(|key| key.availability == Availability::Now)
        .filter(|key| key.only.is_none_or(|only| only == protocol))
        .filter_map(|key| {
            let values = default_values(section, key, protocol, given)?;
            let array: Vec<Value> = values
                .into_iter()
                .map(|value| Value::new(Some(&origin), value))
                .collect();
            Some((key.key.to_owned(), Value::new(None, array)))
        })
        .collect()
}

fn default_values(
    section: &SectionSpec,
    key: &KeySpec,
    protocol: Protocol,
    given: Option<&Map<String, Value>>,
) -> Option<Vec<String>> {
    match key.default {
        DefaultValue::Required | DefaultValue::Nothing => None,
        DefaultValue::Values(values) => Some(values.iter().map(|v| (*v).to_owned()).collect()),
        DefaultValue::ByProtocol { tcp, udp } => {
            let value = match protocol {
                Protocol::Tcp => tcp,
                Protocol::Udp => udp,
            };
            Some(vec![value.to_owned()])
        }
        DefaultValue::SameAs(other) => match given.and_then(|given| first(given, other)) {
            Some(value) => Some(vec![value.to_owned()]),
            None => default_values(section, section.key(other)?, protocol, given),
        },
    }
}

/// Returns the protocol that all addresses of a service agree on, as far as they have one.
pub(crate) fn protocol(service: &Map<String, Value>) -> Option<Protocol> {
    let ValueKind::Array(listen) = &service.get("listen")?.kind else {
        return None;
    };
    let mut protocols = listen.iter().filter_map(|value| {
        let word = string(value)?.split_whitespace().next()?;
        let (_, word) = word.rsplit_once('/')?;
        let (_, protocol) = Protocol::NAMES.iter().find(|(name, _)| *name == word)?;
        Some(*protocol)
    });
    let first = protocols.next()?;
    protocols.all(|protocol| protocol == first).then_some(first)
}

fn first<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    let ValueKind::Array(values) = &object.get(key)?.kind else {
        return None;
    };
    string(values.first()?)
}

/// Returns the table that a value is.
pub(crate) fn table(value: &Value) -> Option<&Map<String, Value>> {
    if let ValueKind::Table(table) = &value.kind {
        return Some(table);
    }
    None
}

/// Returns the string that a value is.
pub(crate) fn string(value: &Value) -> Option<&str> {
    if let ValueKind::String(text) = &value.kind {
        return Some(text);
    }
    None
}
