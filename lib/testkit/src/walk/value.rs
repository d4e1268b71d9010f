//! Numbers in a walk: written out, or by a name that the first mention binds.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail, ensure};

/// A number, a name, or a name and a distance: `1`, `0xffffff00`, `C`, `C+1`, `S-1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    name: Option<String>,
    offset: u32,
}

impl Value {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut value = Self {
            name: None,
            offset: 0,
        };
        let mut rest = text;
        let mut negative = false;
        loop {
            let end = rest.find(['+', '-']).unwrap_or(rest.len());
            let (term, tail) = rest.split_at(end);
            if is_name(term) {
                ensure!(
                    value.name.is_none() && !negative,
                    "`{text}`: one name, and it comes first"
                );
                value.name = Some(term.to_owned());
            } else {
                let number = number(term).with_context(|| format!("`{text}` is not a number"))?;
                let signed = if negative {
                    number.wrapping_neg()
                } else {
                    number
                };
                value.offset = value.offset.wrapping_add(signed);
            }
            let Some(sign) = tail.chars().next() else {
                return Ok(value);
            };
            negative = sign == '-';
            rest = &tail[1..];
        }
    }
}

impl Value {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            offset: 0,
        }
    }
}

impl From<u32> for Value {
    fn from(offset: u32) -> Self {
        Self { name: None, offset }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = self.offset.cast_signed();
        match (&self.name, offset) {
            (None, _) => write!(f, "{}", self.offset),
            (Some(name), 0) => f.write_str(name),
            (Some(name), _) => write!(f, "{name}{offset:+}"),
        }
    }
}

fn is_name(term: &str) -> bool {
    term.starts_with(|c: char| c.is_ascii_alphabetic())
        && term
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

/// Reads a decimal or hexadecimal number.
pub(crate) fn number(text: &str) -> Result<u32> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed
        .ok()
        .with_context(|| format!("`{text}` is not a number"))
}

/// What the names of a walk stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Names(BTreeMap<String, u32>);

impl Names {
    pub(crate) fn bind(&mut self, name: &str, number: u32) {
        self.0.insert(name.to_owned(), number);
    }

    /// The number that a value stands for; nothing when its name is not bound.
    pub(crate) fn get(&self, value: &Value) -> Option<u32> {
        match &value.name {
            None => Some(value.offset),
            Some(name) => Some(self.0.get(name)?.wrapping_add(value.offset)),
        }
    }

    /// The number for a packet that goes in: a bare new name gets a number of its own.
    pub(crate) fn give(&mut self, value: &Value) -> Result<u32> {
        if let Some(number) = self.get(value) {
            return Ok(number);
        }
        let Some(name) = value.name.as_ref().filter(|_| value.offset == 0) else {
            bail!("`{value}` has a name that nothing has bound yet");
        };
        // Any number serves, if it is the same in each run and not a small one.
        let number = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
        self.bind(name, number);
        Ok(number)
    }

    /// Compares what a packet has with the value; a new name is bound to what the packet has.
    pub(crate) fn meet(&mut self, what: &str, value: &Value, got: u32) -> Result<()> {
        match self.get(value) {
            Some(want) if want == got => Ok(()),
            Some(want) => bail!(
                "{what} is {got}, should be {value} = {want}{}",
                self.hint(got)
            ),
            None => {
                if let Some(name) = &value.name {
                    self.bind(name, got.wrapping_sub(value.offset));
                }
                Ok(())
            }
        }
    }

    /// Says how a number lies to a name nearby: `S+8` tells more than ten digits.
    fn hint(&self, got: u32) -> String {
        let near = self
            .0
            .iter()
            .map(|(name, base)| (name, got.wrapping_sub(*base).cast_signed()))
            .filter(|(_, distance)| distance.unsigned_abs() < 1_000_000)
            .min_by_key(|(_, distance)| distance.unsigned_abs());
        near.map_or_else(String::new, |(name, distance)| {
            format!(" ({name}{distance:+})")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_wrap_and_names_are_bound_by_their_first_mention() {
        let mut names = Names::default();
        let value = Value::parse("C+1").unwrap();
        names.meet("seq", &value, 0).unwrap();
        assert_eq!(names.get(&Value::parse("C").unwrap()), Some(u32::MAX));
        assert_eq!(names.get(&Value::parse("C+2-1").unwrap()), Some(0));
        let error = names.meet("seq", &value, 7).unwrap_err().to_string();
        assert_eq!(error, "seq is 7, should be C+1 = 0 (C+8)");
    }

    #[test]
    fn what_goes_in_needs_bound_names_but_for_a_bare_new_one() {
        let mut names = Names::default();
        assert!(names.give(&Value::parse("X+1").unwrap()).is_err());
        let x = names.give(&Value::parse("X").unwrap()).unwrap();
        assert_eq!(
            names.give(&Value::parse("X+1").unwrap()).unwrap(),
            x.wrapping_add(1)
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "1+", "+1", "C+D", "1-C", "0xzz", "4294967296"] {
            assert!(Value::parse(text).is_err(), "{text}");
        }
        assert_eq!(
            Value::parse("0xffffff00").unwrap(),
            Value::from(0xffff_ff00)
        );
    }
}
