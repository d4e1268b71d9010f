//! The merged tree, read by hand: typed values that know where they came from.

use std::collections::BTreeSet;

use config::{Map, Value, ValueKind};

use crate::diagnostic::Sink;
use crate::format::{HEADING, UNREAD};
use crate::layers::{protocol, string, table};
use crate::lexer::{Token, quote, words};
use crate::schema::{
    Availability, DefaultValue, KeySpec, Kind, Naming, OptionSpec, Parsed, SECTIONS, SectionSpec,
    Type,
};
use crate::source::{Place, Sources};
use crate::suggest::{instead, nearest};

/// One object of the configuration.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) spec: &'static SectionSpec,
    pub(crate) name: String,
    /// Where its heading is; none for a singleton that the file leaves out.
    pub(crate) heading: Option<Place>,
    values: Vec<(&'static KeySpec, Vec<Item>)>,
    /// Keys of which something was given that could not be read, with what it was.
    unread: Vec<(String, String)>,
}

/// One value of a key.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) parsed: Parsed,
    pub(crate) options: Vec<(&'static str, Parsed, Option<Place>)>,
    /// Where the value is; none for a default.
    pub(crate) place: Option<Place>,
    /// As written, options two blanks apart.
    pub(crate) text: String,
}

/// Reads the tree; values that cannot be read are reported and left out.
pub(crate) fn read(root: &Value, sources: &Sources, sink: &mut Sink) -> Vec<Object> {
    let mut objects = Vec::new();
    for spec in &SECTIONS {
        if spec.availability != Availability::Now {
            continue;
        }
        let Some(found) = table(root)
            .and_then(|root| root.get(spec.word))
            .and_then(table)
        else {
            continue;
        };
        if spec.naming == Naming::Single {
            objects.push(object(spec, "", found, sources, sink));
            continue;
        }
        let mut named: Vec<Object> = found
            .iter()
            .filter_map(|(name, value)| Some((name, table(value)?)))
            .map(|(name, values)| object(spec, name, values, sources, sink))
            .collect();
        named.sort_by_key(|object| object.heading);
        objects.append(&mut named);
    }
    resolve(&objects, sink);
    objects
}

impl Object {
    /// Returns the values of a key; none when it was not given or could not be read.
    pub(crate) fn all(&self, key: &str) -> &[Item] {
        self.values
            .iter()
            .find(|(spec, _)| spec.key == key)
            .map_or(&[], |(_, items)| items)
    }

    /// Returns the value of a key.
    pub(crate) fn one(&self, key: &str) -> Option<&Item> {
        self.all(key).first()
    }

    /// Returns what was given of a key and could not be read; empty where not even the value is
    /// known. Nothing follows from what is missing then.
    pub(crate) fn unread(&self, key: &str) -> impl Iterator<Item = &str> {
        let unread = self.unread.iter().filter(move |(of, _)| of == key);
        unread.map(|(_, text)| text.as_str())
    }

    /// Says whether all that was given of a key could be read.
    pub(crate) fn whole(&self, key: &str) -> bool {
        self.unread(key).next().is_none()
    }

    /// Returns all keys that have values, in the order of the schema.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static KeySpec, &[Item])> {
        self.values
            .iter()
            .map(|(spec, items)| (*spec, items.as_slice()))
    }

    /// Returns how the file names the object.
    pub(crate) fn title(&self) -> String {
        self.spec.heading(&self.name)
    }

    /// Returns where to point for something that the object as a whole lacks.
    pub(crate) fn place(&self) -> Place {
        self.heading.unwrap_or_default()
    }
}

impl Item {
    /// Returns an option that was given or has a default.
    pub(crate) fn option(&self, name: &str) -> Option<&Parsed> {
        self.options
            .iter()
            .find(|(option, _, _)| *option == name)
            .map(|(_, parsed, _)| parsed)
    }

    /// Returns the text of a value that is a name or path.
    pub(crate) fn as_text(&self) -> Option<&str> {
        if let Parsed::Text(text) = &self.parsed {
            return Some(text);
        }
        None
    }
}

/// Returns the objects of a kind in the order of the file.
pub(crate) fn of_kind(objects: &[Object], kind: Kind) -> impl Iterator<Item = &Object> {
    objects
        .iter()
        .filter(move |object| object.spec.kind == kind)
}

fn object(
    spec: &'static SectionSpec,
    name: &str,
    values: &Map<String, Value>,
    sources: &Sources,
    sink: &mut Sink,
) -> Object {
    let heading = values.get(HEADING).and_then(|value| {
        let width = string(value)?.chars().count();
        sources.find(value.origin()?, width)
    });
    let mut object = Object {
        spec,
        name: name.to_owned(),
        heading,
        values: Vec::new(),
        unread: unread(values),
    };
    let protocol = protocol(values);
    for key in spec.keys {
        let Some(value) = values.get(key.key) else {
            let required = key.default == DefaultValue::Required;
            if required && key.availability == Availability::Now && object.whole(key.key) {
                let message = format!("{} has no `{}`", object.title(), key.key);
                sink.at(object.place(), message, note_of(key.help));
            }
            continue;
        };
        let ValueKind::Array(array) = &value.kind else {
            continue;
        };
        if let (Some(only), Some(protocol)) = (key.only, protocol)
            && only != protocol
        {
            let place = array.first().and_then(|value| place_of(value, sources));
            let Some(place) = place else {
                continue;
            };
            let message = format!("`{}` has no meaning in {}", key.key, object.title());
            let note = format!(
                "it is for {} services, this one is {}",
                only.name(),
                protocol.name()
            );
            sink.at(place, message, note);
            continue;
        }
        let mut items = Vec::new();
        for value in array {
            if let Some(item) = item(key, value, sources, sink) {
                items.push(item);
            } else {
                let text = string(value).unwrap_or_default();
                object.unread.push((key.key.to_owned(), text.to_owned()));
            }
        }
        object.values.push((key, items));
    }
    object
}

/// Returns the keys that lines meant of which not even the value could be read.
fn unread(values: &Map<String, Value>) -> Vec<(String, String)> {
    let Some(ValueKind::Array(keys)) = values.get(UNREAD).map(|value| &value.kind) else {
        return Vec::new();
    };
    let keys = keys.iter().filter_map(string);
    keys.map(|key| (key.to_owned(), String::new())).collect()
}

/// Makes a note of a sentence of the help.
fn note_of(help: &str) -> String {
    let mut chars = help.trim_end_matches('.').chars();
    let first = chars.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(chars).collect()
}

fn place_of(value: &Value, sources: &Sources) -> Option<Place> {
    sources.find(value.origin()?, string(value)?.chars().count())
}

fn item(key: &'static KeySpec, value: &Value, sources: &Sources, sink: &mut Sink) -> Option<Item> {
    let place = place_of(value, sources);
    // A default repeats what another key says where it does not come from the table, which a test
    // checks: its mistakes are told there.
    let mut unheard = Sink::default();
    let sink = if place.is_some() { sink } else { &mut unheard };
    let token = Token {
        text: string(value)?.to_owned(),
        place: place.unwrap_or_default(),
    };
    let words = words(&token);
    let (first, rest) = words.split_first()?;
    if let Some((whole, last)) = torn(key, &words) {
        let place = Place {
            width: last.place.column + last.place.width - first.place.column,
            ..first.place
        };
        let message = format!("`{}` has a blank in it", quote(&token.text));
        sink.at(place, message, format!("write `{}`", quote(&whole)));
        return None;
    }
    let parsed = typed(&key.of, key.key, first, sink);
    let options = options(key, rest, sink);
    let text: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    Some(Item {
        parsed: parsed?,
        options: options?,
        place: place.map(|_| first.place),
        text: text.join("  "),
    })
}

/// Returns the value that words are together and not alone, such as `5 s` or `10.0.8.1 - 10.0.8.9`,
/// and the last of them.
fn torn<'a>(key: &KeySpec, words: &'a [Token]) -> Option<(String, &'a Token)> {
    let options = words.iter().position(|word| word.text.contains('='));
    let words = words.get(..options.unwrap_or(words.len()))?;
    let (first, rest) = words.split_first()?;
    let last = rest.last()?;
    if matches!(key.of, Type::Path | Type::UrlPath | Type::Bytes) {
        // What stands behind it is an argument, or text, and no part of the word.
        return None;
    }
    let whole: String = words.iter().map(|word| word.text.as_str()).collect();
    let begins = |text: &str| key.of.parse(text).is_err() || text.ends_with('-');
    let goes_on = rest.iter().any(|word| word.text.starts_with('-'));
    let torn = begins(&first.text) || goes_on;
    (torn && key.of.parse(&whole).is_ok()).then_some((whole, last))
}

/// Reads a word; a word of a later capability is refused, and kept so that what contradicts it is
/// told in the same run.
fn typed(of: &Type, key: &str, word: &Token, sink: &mut Sink) -> Option<Parsed> {
    let parsed = match of.parse(&word.text) {
        Ok(parsed) => parsed,
        Err(problem) => {
            let place = word.place.part(problem.at, problem.width);
            sink.at(place, problem.message, problem.note);
            return None;
        }
    };
    if let (Type::Choice(choices), Parsed::Word(name)) = (of, &parsed)
        && let Some(choice) = choices.iter().find(|choice| choice.name == *name)
        && let Availability::Later(capability) = choice.availability
    {
        sink.at(
            word.place,
            format!("`{key} = {name}` is not available in this build"),
            format!("it belongs to {capability}"),
        );
    }
    Some(parsed)
}

fn options(
    key: &'static KeySpec,
    rest: &[Token],
    sink: &mut Sink,
) -> Option<Vec<(&'static str, Parsed, Option<Place>)>> {
    let mut found: Vec<(&'static str, Parsed, Option<Place>)> = Vec::new();
    let mut whole = true;
    for word in rest {
        match option(key, word, sink) {
            None => {
                whole = false;
                // `weight = 3` is one mistake, not three.
                if !word.text.contains('=') {
                    break;
                }
            }
            Some((name, parsed)) => {
                if let Some((_, _, first)) = found.iter().find(|(other, _, _)| *other == name) {
                    sink.between(
                        format!("`{name}=` is given twice"),
                        word.place,
                        "again here",
                        *first,
                        "first given here",
                    );
                    whole = false;
                } else {
                    found.push((name, parsed, Some(word.place)));
                }
            }
        }
    }
    for option in key.options {
        let given = found.iter().any(|(name, _, _)| *name == option.name);
        if let (false, Some(default)) = (given, option.default)
            && let Ok(parsed) = option.of.parse(default)
        {
            found.push((option.name, parsed, None));
        }
    }
    whole.then_some(found)
}

fn option(key: &'static KeySpec, word: &Token, sink: &mut Sink) -> Option<(&'static str, Parsed)> {
    let usable = || {
        let now = |option: &&OptionSpec| option.availability == Availability::Now;
        key.options.iter().filter(now).map(|option| option.name)
    };
    let split = word.text.split_once('=');
    let Some((name, value)) = split.filter(|(name, _)| !name.is_empty()) else {
        let note = if key.options.is_empty() {
            let note = if matches!(key.of, Type::Bytes) {
                "`%20` writes a blank"
            } else if matches!(key.of, Type::Path) {
                "a path has no blanks, and no arguments behind it"
            } else {
                "one value is expected; a list is a key given more than once"
            };
            note.to_owned()
        } else {
            let names: Vec<String> = usable().map(|name| format!("{name}=VALUE")).collect();
            format!("options are written without blanks: {}", names.join(" "))
        };
        let message = format!(
            "`{}` is one word too many behind `{}`",
            quote(&word.text),
            key.key
        );
        sink.at(word.place, message, note);
        return None;
    };
    let width = name.chars().count();
    let Some(option) = key.options.iter().find(|option| option.name == name) else {
        let note = match nearest(name, key.options.iter().map(|option| option.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None if key.options.is_empty() => format!("`{}` has no options", key.key),
            None => {
                let names: Vec<&str> = usable().collect();
                instead(name, &names)
            }
        };
        let message = format!("unknown option `{}` of `{}`", quote(name), key.key);
        sink.at(word.place.part(0, width), message, note);
        return None;
    };
    if let Availability::Later(capability) = option.availability {
        sink.at(
            word.place.part(0, width),
            format!("`{name}=` is not available in this build"),
            format!("it belongs to {capability}"),
        );
        return None;
    }
    if value.is_empty() {
        let message = format!("`{name}=` has no value");
        sink.at(
            word.place.part(width + 1, 1),
            message,
            "no blanks around `=` here",
        );
        return None;
    }
    let value = Token {
        text: value.to_owned(),
        place: word.place.part(width + 1, value.chars().count()),
    };
    let parsed = typed(&option.of, option.name, &value, sink)?;
    Some((option.name, parsed))
}

/// Checks that every reference names an object, or a profile of defaults.
fn resolve(objects: &[Object], sink: &mut Sink) {
    let known: BTreeSet<(Kind, &str)> = objects
        .iter()
        .map(|object| (object.spec.kind, object.name.as_str()))
        .collect();
    for object in objects {
        for (key, items) in object.values() {
            let Type::Reference(kind) = key.of else {
                continue;
            };
            for item in items {
                let (Some(name), Some(place)) = (item.as_text(), item.place) else {
                    continue;
                };
                if known.contains(&(kind, name))
                    || kind.implied().contains(&name)
                    || sink.lost(name)
                {
                    continue;
                }
                let implied = kind.implied();
                let mut names: Vec<&str> = of_kind(objects, kind)
                    .map(|object| object.name.as_str())
                    .filter(|name| !implied.contains(name))
                    .collect();
                names.extend(implied);
                let word = kind.spec().word;
                let note = match names.as_slice() {
                    [] => format!("there is no [{word}] at all"),
                    names => instead(name, names),
                };
                sink.at(place, format!("there is no [{word} {}]", quote(name)), note);
            }
        }
    }
}
