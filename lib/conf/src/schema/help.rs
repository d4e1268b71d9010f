//! Help on the file, a section or a key, made of the table.

use std::fmt::Write;

use weir_model::{Counter, DropReason};

use super::{Availability, DefaultValue, KeySpec, SECTIONS, SectionSpec, Type};
use crate::diagnostic::{COLUMNS, wrap};
use crate::suggest::nearest;

/// Returns the full names of all keys, e.g. `service.idle`, in the order of the table.
pub fn keys() -> impl Iterator<Item = String> {
    SECTIONS.iter().flat_map(|section| {
        section
            .keys
            .iter()
            .map(|key| format!("{}.{}", section.word, key.key))
    })
}

/// Returns everything that [`help`] knows, with a line on it: sections, keys, drop reasons, counters.
pub fn names() -> impl Iterator<Item = (String, &'static str)> {
    let settings = SECTIONS.iter().flat_map(|section| {
        let keys = section.keys.iter();
        let keys = keys.map(|key| (format!("{}.{}", section.word, key.key), key.help));
        std::iter::once((section.word.to_owned(), section.help)).chain(keys)
    });
    let reasons = DropReason::ALL.iter();
    let reasons = reasons.map(|it| (it.label().to_owned(), it.documentation()));
    let counters = Counter::ALL.iter();
    let counters = counters.map(|it| (it.label().to_owned(), it.documentation()));
    settings.chain(reasons).chain(counters)
}

/// Returns the help on a key (`service.idle`), on a section (`service`), or, for an empty name, on
/// the file.
///
/// # Errors
/// Returns a sentence when there is no such key or section.
pub fn help(name: &str) -> Result<String, String> {
    if name.is_empty() {
        return Ok(help_on_file());
    }
    let (word, key) = name
        .split_once('.')
        .map_or((name, None), |(word, key)| (word, Some(key)));
    let Some(section) = SectionSpec::find(word) else {
        if let Some(text) = help_on_figure(name) {
            return Ok(text);
        }
        if let Some(told) = help_on_bare_key(name) {
            return told;
        }
        let words = SECTIONS.iter().map(|section| section.word);
        return Err(match nearest(word, words) {
            Some(near) => format!("there is no section `{word}`; did you mean `{near}`?"),
            None => format!("there is no section `{word}`; `weir help` lists the sections"),
        });
    };
    let Some(key) = key else {
        return Ok(help_on_section(section));
    };
    let Some(spec) = section.key(key) else {
        let keys = section.keys.iter().map(|spec| spec.key);
        return Err(match nearest(key, keys) {
            Some(near) => {
                format!("there is no key `{key}` in [{word}]; did you mean `{word}.{near}`?")
            }
            None => format!("there is no key `{key}` in [{word}]; `weir help {word}` lists them"),
        });
    };
    Ok(help_on_key(section, spec))
}

/// Returns the help on a key that was named without its section; an error where several have it.
fn help_on_bare_key(name: &str) -> Option<Result<String, String>> {
    let having = SECTIONS.iter();
    let having = having.filter_map(|section| Some((section, section.key(name)?)));
    let having: Vec<_> = having.collect();
    match having.as_slice() {
        [] => None,
        [(section, spec)] => Some(Ok(help_on_key(section, spec))),
        several => {
            let several = several.iter();
            let names: Vec<String> = several
                .map(|(section, _)| format!("`{}.{name}`", section.word))
                .collect();
            Some(Err(format!(
                "several sections have a key `{name}`: {}",
                names.join(", ")
            )))
        }
    }
}

/// Returns the help on a drop reason or a counter.
fn help_on_figure(name: &str) -> Option<String> {
    let reasons = DropReason::ALL.iter();
    let mut reasons = reasons.map(|it| (it.label(), "a drop reason", it.documentation()));
    let counters = Counter::ALL.iter();
    let mut counters = counters.map(|it| (it.label(), "a counter", it.documentation()));
    let found = reasons
        .find(|(label, ..)| *label == name)
        .or_else(|| counters.find(|(label, ..)| *label == name));
    let (label, kind, documentation) = found?;
    let mut text = format!("{label}, {kind} of `weir show ledger`\n");
    sentence(&mut text, documentation);
    Some(text)
}

fn help_on_file() -> String {
    let mut text = "Sections of weir.conf (`weir help SECTION` lists its keys):\n\n".to_owned();
    for section in &SECTIONS {
        let help = format!("{}{}", section.help, later(section.availability));
        described(&mut text, 18, &section.pattern(), &help);
    }
    text
}

fn help_on_section(section: &SectionSpec) -> String {
    let heading = section.pattern();
    let mut text = format!("{heading}{}\n", later(section.availability));
    sentence(&mut text, section.help);
    text.push('\n');
    for key in section.keys {
        let help = format!("{}{}", key.help, later(key.availability));
        described(&mut text, 18, key.key, &help);
    }
    text
}

fn help_on_key(section: &SectionSpec, spec: &KeySpec) -> String {
    let availability = match section.availability {
        Availability::Now => spec.availability,
        later @ Availability::Later(_) => later,
    };
    let mut text = format!("{}.{}{}\n", section.word, spec.key, later(availability));
    sentence(&mut text, spec.help);
    text.push('\n');
    described(&mut text, 8, "value", &spec.of.describe());
    if spec.list {
        described(&mut text, 8, "list", "may be given more than once");
    }
    if let Some(protocol) = spec.only {
        described(
            &mut text,
            8,
            "only",
            &format!("for {} services", protocol.name()),
        );
    }
    let default = default_of(spec);
    described(&mut text, 8, "default", &default);
    described(&mut text, 8, "example", &example_of(spec));
    for option in spec.options {
        let default = option.default.map(|value| format!("; default {value}"));
        let value = format!(
            "{}={}{}{}",
            option.name,
            option.of.describe(),
            default.unwrap_or_default(),
            later(option.availability)
        );
        described(&mut text, 8, "option", &value);
        described(&mut text, 8, "", option.help);
    }
    if let Type::Choice(choices) = spec.of {
        text.push('\n');
        for choice in choices {
            let help = format!("{}{}", choice.help, later(choice.availability));
            described(&mut text, 12, choice.name, &help);
        }
    }
    text
}

/// Says what holds where a key is not given.
pub(super) fn default_of(spec: &KeySpec) -> String {
    match spec.default {
        DefaultValue::Required => "none; the key is required".to_owned(),
        DefaultValue::Nothing => "none".to_owned(),
        DefaultValue::Values(values) => values.join(", ").replace("  ", " "),
        DefaultValue::ByProtocol { tcp, udp } => format!("{tcp} for tcp, {udp} for udp"),
        DefaultValue::SameAs(key) => format!("the value of `{key}`"),
    }
}

/// Writes a line as a file may have it.
pub(super) fn example_of(spec: &KeySpec) -> String {
    format!("{} = {}", spec.key, spec.sample())
}

/// Writes a name with its description beside it.
fn described(text: &mut String, width: usize, name: &str, description: &str) {
    for (i, line) in wrap(description, COLUMNS - width - 3).iter().enumerate() {
        let name = if i == 0 { name } else { "" };
        let _ = writeln!(text, "  {name:<width$} {line}");
    }
}

fn sentence(text: &mut String, sentence: &str) {
    for line in wrap(sentence, COLUMNS) {
        text.push_str(&line);
        text.push('\n');
    }
}

pub(super) fn later(availability: Availability) -> String {
    match availability {
        Availability::Now => String::new(),
        Availability::Later(capability) => format!(" (not in this build: {capability})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_help_that_is_a_sentence_and_fits_a_terminal() {
        for name in names().map(|(name, _)| name).chain([String::new()]) {
            let text = help(&name).unwrap();
            assert!(text.is_ascii(), "{name}");
            for line in text.lines() {
                assert!(line.len() <= COLUMNS, "{name}: {line}");
            }
        }
        for section in &SECTIONS {
            assert!(section.help.ends_with('.'));
            for key in section.keys {
                assert!(key.help.ends_with('.'), "{}", key.key);
                assert!(key.options.iter().all(|option| option.help.ends_with('.')));
            }
        }
        assert!(help("").unwrap().contains("[lip-pool NAME]"));
    }

    #[test]
    fn a_key_is_found_without_its_section_where_one_section_has_it() {
        assert_eq!(help("idle"), help("service.idle"));
        let several = help("address").unwrap_err();
        assert!(several.starts_with("several sections have a key `address`: `port.address`, "));
        assert!(help("idel").unwrap_err().starts_with("there is no section"));
    }

    #[test]
    fn help_on_a_key_says_value_range_and_default() {
        assert_eq!(
            help("service.idle").unwrap(),
            "\
service.idle
How long an established session, or an answered udp flow, may be silent.

  value    a duration between 100ms and 31d, e.g. 5s
  default  15m for tcp, 30s for udp
  example  idle = 10m
"
        );
    }

    #[test]
    fn help_on_a_drop_reason_or_a_counter_is_its_documentation() {
        let text = help("no-session").unwrap();
        assert!(text.starts_with("no-session, a drop reason of `weir show ledger`\n"));
        assert!(text.contains(DropReason::NoSession.documentation()));
        assert!(help("cookie-sent").unwrap().contains(", a counter of"));
    }

    #[test]
    fn no_two_things_that_help_knows_have_one_name() {
        let mut seen = std::collections::BTreeSet::new();
        for (name, _) in names() {
            assert!(seen.insert(name.clone()), "{name}");
        }
    }

    #[test]
    fn help_on_an_unknown_name_suggests_the_nearest() {
        assert_eq!(
            help("service.idel").unwrap_err(),
            "there is no key `idel` in [service]; did you mean `service.idle`?"
        );
        assert_eq!(
            help("servce.idle").unwrap_err(),
            "there is no section `servce`; did you mean `service`?"
        );
    }
}
