//! An event as operators, logs and the SIEM get it: a stable code, a sentence, and its facts.

use std::borrow::Cow;
use std::fmt::Display;
use std::sync::Arc;
use std::time::SystemTime;

use weir_control::Tell;
use weir_model::{EventClass, Severity};

/// The longest sentence that is kept; nothing that somebody sends us may make a log line longer.
const LONGEST: usize = 1024;
/// The longest value of a fact.
const LONGEST_VALUE: usize = 256;

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
    pub(crate) fields: Vec<(Cow<'static, str>, String)>,
}

/// An event that was taken, with its number and time.
#[derive(Clone, Debug)]
pub(crate) struct Numbered {
    /// Counts the events, over restarts where they are kept; 0 for one that only says how many others were left out.
    pub(crate) sequence: u64,
    pub(crate) at: SystemTime,
    pub(crate) record: Arc<EventRecord>,
    /// Events of its kind that were not said before it.
    pub(crate) suppressed: u64,
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
            text: shortened(text.into(), LONGEST),
            fields: Vec::new(),
        }
    }

    /// Adds a fact.
    #[must_use]
    pub(crate) fn field(mut self, name: impl Into<Cow<'static, str>>, value: impl Display) -> Self {
        let value = shortened(value.to_string(), LONGEST_VALUE);
        self.fields.push((name.into(), value));
        self
    }

    /// Makes the event that somebody tells of.
    pub(crate) fn told(tell: &Tell) -> Self {
        let (code, severity) = (tell.code, tell.severity());
        let record = Self::new(code.class(), severity, code.name(), tell.text());
        let fields = tell.fields();
        fields.fold(record, |record, (name, value)| {
            record.field(name.to_owned(), value)
        })
    }

    /// Says whether it is of what operators did: no budget leaves those out.
    pub(crate) fn is_audit(&self) -> bool {
        self.class == EventClass::Operator
    }

    /// Makes the event that says how many of a kind were left out.
    pub(crate) fn summary(
        class: EventClass,
        severity: Severity,
        code: &'static str,
        suppressed: u64,
    ) -> Self {
        let text = format!("{suppressed} more of these were left out");
        Self::new(class, severity, code, text)
    }
}

fn shortened(mut text: String, most: usize) -> String {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Codes that the source gives by a name.
    const NAMED: [&str; 4] = ["applied", "rolled-back", "session-opened", "session-ended"];

    /// Every code in the source: it stands behind the class or the severity of its event.
    fn codes_in(folder: &Path, codes: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                codes_in(&path, codes);
                continue;
            }
            if path.file_name().is_some_and(|name| name == "tests.rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let text = text
                .split("#[cfg(test)]\nmod tests {")
                .next()
                .unwrap_or_default();
            let parts: Vec<&str> = text.split('"').collect();
            for pair in parts.windows(2) {
                let before = pair[0].trim_end();
                let is_code = |word: &str| {
                    let last = before.rsplit(['(', ' ', '\n']).next();
                    last.is_some_and(|last| last.starts_with(word) && last.ends_with(','))
                };
                let kebab = |c: char| c.is_ascii_lowercase() || c == '-';
                if ["Severity::", "severity,", "EventClass::"]
                    .into_iter()
                    .any(is_code)
                    && pair[1].chars().all(kebab)
                {
                    codes.insert(pair[1].to_owned());
                }
            }
        }
    }

    /// The manual's table of codes, each with its class.
    fn manual() -> Vec<(String, &'static str)> {
        let manual = include_str!("../../docs/manual.md");
        let (_, table) = manual.split_once("| code | class | means |").unwrap();
        let rows = table.lines().skip(2);
        let rows = rows.take_while(|line| line.starts_with('|'));
        let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        let codes = cells.flat_map(|cells| {
            let codes = cells[1].split(',').map(|code| code.trim().to_owned());
            codes.map(move |code| (code, cells[2])).collect::<Vec<_>>()
        });
        codes.collect()
    }

    #[test]
    fn what_is_told_is_sent_with_the_class_that_the_manual_says() {
        let manual = manual();
        for told in weir_control::Told::ALL {
            let record = EventRecord::told(&Tell::new(*told, Severity::Notice, "it"));
            let (_, class) = manual.iter().find(|(code, _)| code == record.code).unwrap();
            assert_eq!(record.class.name(), *class, "{}", record.code);
        }
    }

    #[test]
    fn the_manual_has_every_code_and_no_other() {
        let mut codes: BTreeSet<String> = NAMED.map(str::to_owned).into();
        codes_in(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut codes,
        );
        let told = weir_control::Told::ALL.iter();
        codes.extend(told.map(|told| told.name().to_owned()));
        let told: BTreeSet<String> = manual().into_iter().map(|(code, _)| code).collect();
        let missing: Vec<_> = codes.symmetric_difference(&told).collect();
        assert!(
            missing.is_empty(),
            "in the code or in the manual's table of codes (Logs and the SIEM), not in both: \
             {missing:?}"
        );
    }

    #[test]
    fn what_others_send_us_does_not_make_a_record_long() {
        let record = EventRecord::new(
            EventClass::System,
            Severity::Info,
            "a",
            "\u{20ac}".repeat(9_000),
        );
        let record = record.field("x", "y".repeat(9_000));
        assert!(record.text.len() <= LONGEST && record.text.len() > LONGEST - 3);
        assert_eq!(record.fields[0].1.len(), LONGEST_VALUE);
    }
}
