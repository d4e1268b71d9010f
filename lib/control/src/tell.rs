//! What runs around the daemon tells it: logins, updates, power. It becomes an event like any other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_model::{EventClass, Severity};

/// The longest sentence, in bytes.
const LONGEST_TEXT: usize = 1024;
/// The longest value of a fact, in bytes.
const LONGEST_VALUE: usize = 256;
/// The longest name of a fact.
const LONGEST_NAME: usize = 32;
/// Facts of an event at most.
const MOST_FACTS: usize = 16;

macro_rules! told {
    ($( $variant:ident = $name:literal, $class:ident, $doc:literal; )*) => {
        /// An event that the daemon is told of; its name is what programs know it by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Told {
            $( #[doc = $doc] #[serde(rename = $name)] $variant, )*
        }

        impl Told {
            /// Every event.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// Returns its code.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// Returns what it is about.
            #[must_use]
            pub const fn class(self) -> EventClass {
                match self { $( Self::$variant => EventClass::$class, )* }
            }

            /// Returns what it means.
            #[must_use]
            pub const fn documentation(self) -> &'static str {
                match self { $( Self::$variant => $doc, )* }
            }
        }
    };
}

told! {
    Boot = "boot", System, "the box has started";
    Power = "power", Operator, "somebody has the box reboot or power off";
    Setup = "setup", Operator, "the first boot was answered: addresses, first key, local secret";
    Login = "login", Security, "somebody has logged in";
    LoginFailed = "login-failed", Security, "somebody was not let in";
    Logout = "logout", Security, "somebody has logged out";
    KeyAdded = "key-added", Operator, "a key may log in from now on";
    KeyRemoved = "key-removed", Operator, "a key may no longer log in";
    SecretChanged = "secret-changed", Operator, "the local secret is another one";
    MaintenanceShell = "maintenance-shell", Operator, "somebody opened a shell on the local console";
    UpdateBegan = "update-began", Operator, "an update file is being read";
    UpdateRefused = "update-refused", Operator, "an update was refused, and why; nothing is switched";
    UpdateInstalled = "update-installed", Operator, "an update was written into the other slot; the box boots it on trial";
    UpdateTrial = "update-trial", System, "the box runs a slot on trial";
    UpdateConfirmed = "update-confirmed", System, "the slot on trial is good and stays";
    UpdateFailed = "update-failed", System, "the slot on trial was not good, and why; the box runs the one of before";
    UpdateRollback = "update-rollback", Operator, "somebody has the box boot the other slot";
    ConfigurationMigrated = "configuration-migrated", System, "a slot took over the other one's configuration, or could not";
    Backup = "backup", Operator, "somebody took a copy of the configuration, keys and secrets";
    Restore = "restore", Operator, "somebody brought back a copy of them";
    FactoryReset = "factory-reset", Operator, "somebody has the box forget all of them";
    DataFault = "data-fault", System, "the data partition is damaged, full or missing";
    ModulesFault = "modules-fault", System, "a kernel module that was dropped in could not be loaded";
    ChildExited = "child-exited", System, "a program that the box keeps running has ended and is started again";
    Management = "management", System, "the management network is set, or cannot be";
    Interfaces = "interfaces", System, "a network card came, went or got its name";
    Watchdog = "watchdog", System, "the watchdog is fed, or there is none";
    Clock = "clock", System, "the clock follows its servers, or does not";
    HostKeys = "host-keys", System, "keys of the box were made";
    Restart = "restart", Operator, "somebody has the daemon start again, e.g. with other ports; or it did not start, and why";
    EventsLost = "events-lost", System, "events of the box were lost while the daemon was away";
    Hardening = "hardening", System, "a setting that protects the box could not be made";
}

/// What is told: `{"do":"tell","code":"login","severity":"notice","text":"alice has logged in",
/// "fields":{"by":"alice","from":"192.0.2.1"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tell {
    /// Which event.
    pub code: Told,
    /// How much it matters.
    severity: Weight,
    text: Sentence,
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    fields: Facts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Weight(Severity);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
struct Sentence(String);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    try_from = "BTreeMap<String, String>",
    into = "BTreeMap<String, String>"
)]
struct Facts(BTreeMap<String, String>);

impl Tell {
    /// Makes one without facts.
    #[must_use]
    pub fn new(code: Told, severity: Severity, text: &str) -> Self {
        Self {
            code,
            severity: Weight(severity),
            text: Sentence(clean(text, LONGEST_TEXT)),
            fields: Facts::default(),
        }
    }

    /// Adds a fact; one whose name is none, or that is one too many, is left out.
    #[must_use]
    pub fn field(mut self, name: &str, value: impl Into<String>) -> Self {
        let Facts(facts) = &mut self.fields;
        if is_name(name) && facts.len() < MOST_FACTS {
            facts.insert(name.to_owned(), clean(&value.into(), LONGEST_VALUE));
        }
        self
    }

    /// Returns how much it matters.
    #[must_use]
    pub fn severity(&self) -> Severity {
        let Weight(severity) = self.severity;
        severity
    }

    /// Returns the sentence.
    #[must_use]
    pub fn text(&self) -> &str {
        let Sentence(text) = &self.text;
        text
    }

    /// Returns the facts.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        let Facts(facts) = &self.fields;
        let facts = facts.iter();
        facts.map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl TryFrom<String> for Weight {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let found = Severity::NAMES.iter().find(|(known, _)| *known == name);
        found.map(|(_, severity)| Self(*severity)).ok_or_else(|| {
            let names: Vec<&str> = Severity::NAMES.iter().map(|(name, _)| *name).collect();
            format!("a severity is one of {}", names.join(", "))
        })
    }
}

impl From<Weight> for String {
    fn from(Weight(severity): Weight) -> Self {
        severity.name().to_owned()
    }
}

impl From<String> for Sentence {
    fn from(text: String) -> Self {
        Self(clean(&text, LONGEST_TEXT))
    }
}

impl From<Sentence> for String {
    fn from(Sentence(text): Sentence) -> Self {
        text
    }
}

impl TryFrom<BTreeMap<String, String>> for Facts {
    type Error = String;

    fn try_from(given: BTreeMap<String, String>) -> Result<Self, String> {
        if given.len() > MOST_FACTS {
            return Err(format!("an event has {MOST_FACTS} fields at most"));
        }
        if !given.keys().all(|name| is_name(name)) {
            return Err(format!(
                "the name of a field has 1 to {LONGEST_NAME} letters a to z, digits and _, and \
                 begins with a letter"
            ));
        }
        let facts = given.into_iter();
        let facts = facts.map(|(name, value)| (name, clean(&value, LONGEST_VALUE)));
        Ok(Self(facts.collect()))
    }
}

impl From<Facts> for BTreeMap<String, String> {
    fn from(Facts(facts): Facts) -> Self {
        facts
    }
}

impl Facts {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.len() <= LONGEST_NAME
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(allowed)
}

/// Whatever somebody typed at a login ends up here: it stays one line that moves no cursor.
fn clean(text: &str, most: usize) -> String {
    let harmless = |c: char| if is_harmless(c) { c } else { ' ' };
    let mut text: String = text.chars().map(harmless).collect();
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
    text
}

/// Control characters move cursors, and marks of direction have a text read as another one.
fn is_harmless(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Request;
    use proptest::prelude::*;

    fn parsed(line: &str) -> Result<Tell, String> {
        match Request::parse(line) {
            Ok(Request::Tell(tell)) => Ok(tell),
            Ok(other) => Err(other.name().to_owned()),
            Err(rejection) => Err(rejection.text),
        }
    }

    #[test]
    fn what_is_told_reads_back_as_it_was_written() {
        let tell = Tell::new(
            Told::LoginFailed,
            Severity::Warning,
            "mallory was not let in",
        );
        let tell = tell.field("by", "mallory").field("from", "192.0.2.1");
        let line = Request::Tell(tell.clone()).to_line();
        assert_eq!(
            line,
            "{\"do\":\"tell\",\"code\":\"login-failed\",\"severity\":\"warning\",\
             \"text\":\"mallory was not let in\",\
             \"fields\":{\"by\":\"mallory\",\"from\":\"192.0.2.1\"}}\n"
        );
        assert_eq!(parsed(line.trim_end()), Ok(tell));
    }

    #[test]
    fn only_events_of_the_table_with_facts_that_have_names_are_taken() {
        for (line, why) in [
            (
                r#"{"do":"tell","code":"applied","severity":"notice","text":"x"}"#,
                "unknown variant `applied`",
            ),
            (
                r#"{"do":"tell","code":"login","severity":"loud","text":"x"}"#,
                "a severity is one of error, warning, notice, info",
            ),
            (
                r#"{"do":"tell","code":"login","severity":"info","text":"x","fields":{"By":"a"}}"#,
                "the name of a field has",
            ),
            (
                r#"{"do":"tell","code":"login","severity":"info","text":"x","fields":{"by":7}}"#,
                "expected a string",
            ),
            (
                r#"{"do":"tell","code":"login","severity":"info"}"#,
                "missing field `text`",
            ),
        ] {
            let error = parsed(line).unwrap_err();
            assert!(error.contains(why), "{line}: {error}");
        }
        let many: BTreeMap<_, _> = (0..17).map(|n| (format!("a{n}"), "x")).collect();
        let line = serde_json::json!({
            "do": "tell", "code": "login", "severity": "info", "text": "x", "fields": many
        });
        let error = parsed(&line.to_string()).unwrap_err();
        assert!(error.contains("16 fields at most"), "{error}");
        let mut tell = Tell::new(Told::Boot, Severity::Info, "x").field("no name", "x");
        for n in 0..17 {
            tell = tell.field(&format!("a{n}"), "x");
        }
        assert_eq!(tell.fields().count(), MOST_FACTS);
    }

    proptest! {
        #[test]
        fn whatever_is_told_stays_one_short_harmless_line(text in any::<String>(), pad in 0..3000_usize) {
            let text = format!("{text}{}", "\u{20ac}\u{1b}[2J\u{202e}".repeat(pad / 8));
            let tell = Tell::new(Told::Login, Severity::Info, &text).field("by", text.as_str());
            let line = serde_json::json!({
                "do": "tell", "code": "login", "severity": "info", "text": text,
                "fields": { "by": text }
            });
            prop_assert_eq!(parsed(&line.to_string()), Ok(tell.clone()));
            prop_assert!(tell.text().len() <= LONGEST_TEXT);
            let (_, by) = tell.fields().next().unwrap();
            prop_assert!(by.len() <= LONGEST_VALUE);
            prop_assert!(tell.text().chars().chain(by.chars()).all(is_harmless));
        }
    }
}
