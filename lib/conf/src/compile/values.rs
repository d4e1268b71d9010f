//! Values of keys as the types that the snapshot has.

use std::time::Duration;

use crate::schema::{DefaultValue, Parsed};
use crate::tree::Object;

/// Returns the value of a key. A key that the object's protocol does not have gets the schema's
/// default, so that the snapshot is whole.
pub(super) fn value(object: &Object, key: &str) -> Option<Parsed> {
    if let Some(item) = object.one(key) {
        return Some(item.parsed.clone());
    }
    let spec = object.spec.key(key)?;
    match spec.default {
        DefaultValue::Values(values) => spec.of.parse(values.first()?).ok(),
        DefaultValue::SameAs(other) => value(object, other),
        DefaultValue::Required | DefaultValue::Nothing | DefaultValue::ByProtocol { .. } => None,
    }
}

/// Returns the text of a key whose values are names, paths or hosts.
pub(super) fn text(object: &Object, key: &str) -> Option<String> {
    let Parsed::Text(text) = value(object, key)? else {
        return None;
    };
    Some(text)
}

/// Returns the bytes of a key.
pub(super) fn bytes(object: &Object, key: &str) -> Option<Vec<u8>> {
    let Parsed::Bytes(bytes) = value(object, key)? else {
        return None;
    };
    Some(bytes)
}

/// Returns the word of a key that is one of several.
pub(super) fn word(object: &Object, key: &str) -> Option<&'static str> {
    let Parsed::Word(word) = value(object, key)? else {
        return None;
    };
    Some(word)
}

/// Returns the number of a key.
pub(super) fn number(object: &Object, key: &str) -> Option<u64> {
    let Parsed::Number(number) = value(object, key)? else {
        return None;
    };
    Some(number)
}

/// Returns whether a key says yes.
pub(super) fn flag(object: &Object, key: &str) -> Option<bool> {
    let Parsed::Flag(flag) = value(object, key)? else {
        return None;
    };
    Some(flag)
}

/// Returns the duration of a key.
pub(super) fn duration(object: &Object, key: &str) -> Option<Duration> {
    let Parsed::Duration(duration) = value(object, key)? else {
        return None;
    };
    Some(duration)
}

/// Returns what a word stands for.
pub(super) fn named<T: Copy>(names: &[(&str, T)], word: &str) -> Option<T> {
    let found = names.iter().find(|(name, _)| *name == word);
    found.map(|(_, value)| *value)
}
