//! What differs between two configurations, object by object and key by key.

use crate::effective::{Effective, EffectiveSection};

/// What became of an object or of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is not what it was.
    Changed,
}

/// An object that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectDifference {
    /// Its heading, with its brackets.
    pub heading: String,
    /// What became of it.
    pub change: Change,
    /// Its values that differ; those that hold by default are left out where the object is new or
    /// gone.
    pub values: Vec<ValueDifference>,
}

/// A value that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueDifference {
    /// The key.
    pub key: &'static str,
    /// What it was, where it was.
    pub before: Option<String>,
    /// What it is, where it is.
    pub after: Option<String>,
}

impl ValueDifference {
    /// Returns what became of the value.
    #[must_use]
    pub fn change(&self) -> Change {
        match (&self.before, &self.after) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (Some(_), Some(_)) => Change::Changed,
        }
    }
}

/// Compares two configurations; the order of objects and of keys says nothing, that of the values
/// of a list does not either.
#[must_use]
pub fn difference(before: &Effective, after: &Effective) -> Vec<ObjectDifference> {
    let mut differences = Vec::new();
    for section in after.sections() {
        let Some(old) = find(before, &section.heading) else {
            differences.push(object(section, Change::Added, given(section)));
            continue;
        };
        let values = values(old, section);
        if !values.is_empty() {
            differences.push(object(section, Change::Changed, values));
        }
    }
    for section in before.sections() {
        if find(after, &section.heading).is_none() {
            let mut values = given(section);
            for value in &mut values {
                value.before = value.after.take();
            }
            differences.push(object(section, Change::Removed, values));
        }
    }
    differences
}

fn find<'a>(effective: &'a Effective, heading: &str) -> Option<&'a EffectiveSection> {
    let mut sections = effective.sections().iter();
    sections.find(|section| section.heading == heading)
}

/// Returns what was said of an object that is new.
fn given(section: &EffectiveSection) -> Vec<ValueDifference> {
    let given = section.values.iter().filter(|value| !value.is_default);
    given
        .map(|given| value(given.key, None, Some(&given.value)))
        .collect()
}

fn object(
    section: &EffectiveSection,
    change: Change,
    values: Vec<ValueDifference>,
) -> ObjectDifference {
    ObjectDifference {
        heading: section.heading.clone(),
        change,
        values,
    }
}

/// Compares the values of an object. Values of a list are the same where they begin with the same
/// word: the rest are their options.
fn values(before: &EffectiveSection, after: &EffectiveSection) -> Vec<ValueDifference> {
    let mut differences = Vec::new();
    let mut keys: Vec<&'static str> = Vec::new();
    let all = before.values.iter().chain(&after.values);
    for value in all {
        if !keys.contains(&value.key) {
            keys.push(value.key);
        }
    }
    for key in keys {
        let old = of_key(before, key);
        let new = of_key(after, key);
        let is_listed = after.values.iter().chain(&before.values);
        let is_listed = is_listed
            .filter(|value| value.key == key)
            .any(|value| value.is_listed);
        if let (false, [old], [new]) = (is_listed, old.as_slice(), new.as_slice()) {
            if old != new {
                differences.push(value(key, Some(old), Some(new)));
            }
            continue;
        }
        for new in &new {
            match old.iter().find(|old| name(old) == name(new)) {
                Some(old) if old != new => differences.push(value(key, Some(old), Some(new))),
                Some(_) => {}
                None => differences.push(value(key, None, Some(new))),
            }
        }
        for old in &old {
            if new.iter().all(|new| name(new) != name(old)) {
                differences.push(value(key, Some(old), None));
            }
        }
    }
    differences
}

fn of_key<'a>(section: &'a EffectiveSection, key: &str) -> Vec<&'a str> {
    let values = section.values.iter().filter(|value| value.key == key);
    values.map(|value| value.value.as_str()).collect()
}

fn name(value: &str) -> &str {
    value.split_whitespace().next().unwrap_or_default()
}

fn value(key: &'static str, before: Option<&str>, after: Option<&str>) -> ValueDifference {
    ValueDifference {
        key,
        before: before.map(str::to_owned),
        after: after.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_str;

    const CONF: &str = "
[port wan]
device = wan
address = 10.80.0.1/24
[lip-pool blue]
port = wan
address = 10.80.0.200
[service web]
listen = 10.80.0.100:80/tcp
lip-pool = blue
real = 10.80.0.11:80
real = 10.80.0.12:80 weight=2
";

    fn effective(text: &str) -> Effective {
        let loaded = parse_str("test.conf", text, None);
        loaded.unwrap_or_else(|report| panic!("{report}")).effective
    }

    fn told(from: &str, to: &str) -> Vec<String> {
        assert!(CONF.contains(from), "{from}");
        let (before, after) = (effective(CONF), effective(&CONF.replace(from, to)));
        let objects = difference(&before, &after).into_iter();
        objects
            .map(|object| {
                let values = object.values.iter().map(|value| {
                    format!(
                        " {}: {} -> {}",
                        value.key,
                        value.before.as_deref().unwrap_or("-"),
                        value.after.as_deref().unwrap_or("-")
                    )
                });
                let values: String = values.collect();
                format!("{:?} {}{values}", object.change, object.heading)
            })
            .collect()
    }

    #[test]
    fn the_same_configuration_differs_in_nothing_whatever_the_order() {
        assert_eq!(told("[port wan]", "[port wan]"), [""; 0]);
        assert_eq!(
            told(
                "real = 10.80.0.11:80\nreal = 10.80.0.12:80 weight=2",
                "scheduler = wlc\nreal = 10.80.0.12:80 weight=2\nreal = 10.80.0.11:80"
            ),
            [""; 0]
        );
    }

    #[test]
    fn a_value_of_a_list_that_changes_its_options_is_the_same_value() {
        assert_eq!(
            told("weight=2", "weight=5"),
            ["Changed [service web] real: 10.80.0.12:80  weight=2 -> 10.80.0.12:80  weight=5"]
        );
        assert_eq!(
            told("10.80.0.12:80", "10.80.0.13:80"),
            ["Changed [service web] real: - -> 10.80.0.13:80  weight=2 \
                 real: 10.80.0.12:80  weight=2 -> -"]
        );
    }

    #[test]
    fn objects_come_and_go_with_what_was_said_of_them() {
        assert_eq!(
            told("[service web]", "[service www]"),
            [
                "Added [service www] listen: - -> 10.80.0.100:80/tcp lip-pool: - -> blue \
                 real: - -> 10.80.0.11:80 real: - -> 10.80.0.12:80  weight=2",
                "Removed [service web] listen: 10.80.0.100:80/tcp -> - lip-pool: blue -> - \
                 real: 10.80.0.11:80 -> - real: 10.80.0.12:80  weight=2 -> -",
            ]
        );
    }

    #[test]
    fn a_default_that_gives_way_is_what_was_before() {
        assert_eq!(
            told("lip-pool = blue", "lip-pool = blue\nscheduler = rr"),
            ["Changed [service web] scheduler: wlc -> rr"]
        );
    }
}
