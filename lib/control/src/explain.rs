//! `explain`: what would become of a packet now, decision by decision.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use weir_model::Protocol;

use crate::ConfigText;

/// Asks what would become of a client's packet to a service address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The client, as `ADDRESS:PORT`.
    pub client: SocketAddr,
    /// Where the packet goes, as `ADDRESS:PORT/PROTOCOL` or as the name of a service.
    pub service: Whither,
    /// The TCP flags of the packet; of UDP they mean nothing.
    #[serde(default)]
    pub flags: Flags,
    /// The files of a configuration that does not run: what it would decide, and what of that the
    /// running one decides otherwise. No text at all means the daemon's own files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Vec<ConfigText>>,
}

/// Where a packet goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Whither {
    /// To an address.
    Address(ServiceAddress),
    /// To the first address that the service of this name listens on.
    Service(String),
}

/// An address, port and protocol at which a service may listen: `203.0.113.10:443/tcp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceAddress {
    /// The address and port.
    pub address: SocketAddr,
    /// The protocol.
    pub protocol: Protocol,
}

/// TCP flags in the letters of tcpdump: `S`, `S.`, `.`, `F.`, `R`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Flags(
    /// The bits as in the TCP header.
    pub u8,
);

/// One decision about the packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExplainRow {
    /// What was decided; the names are stable.
    pub decision: String,
    /// How, in a word; the names are stable.
    pub outcome: String,
    /// The same as a sentence with the numbers behind it.
    pub detail: String,
    /// Where a candidate was asked about: whether this is decided by both configurations alike, and
    /// who decides it if not.
    #[serde(skip_serializing_if = "Side::is_both")]
    pub side: Side,
    /// What the running configuration decides instead, where `side` is `changed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
}

/// Which of two configurations decides something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Both, alike; or only one was asked about.
    #[default]
    Both,
    /// Both, but otherwise.
    Changed,
    /// Only the candidate.
    Candidate,
    /// Only the one that runs.
    Running,
}

impl Side {
    /// Says whether there is no difference.
    #[must_use]
    pub fn is_both(&self) -> bool {
        *self == Self::Both
    }

    /// The sign before a line of text.
    const fn sign(self) -> char {
        match self {
            Self::Both => ' ',
            Self::Changed => '~',
            Self::Candidate => '+',
            Self::Running => '-',
        }
    }
}

/// Why a question cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// A word that is neither of the two.
    #[error("`{0}` is neither client=IP:PORT nor service=VIP:PORT/tcp")]
    Word(String),
    /// A word is there twice.
    #[error("{0}= is given twice")]
    Twice(&'static str),
    /// A word is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// No client.
    #[error("`{0}` is not an address and port, e.g. client=192.0.2.1:40000")]
    Client(String),
    /// No service address.
    #[error(
        "`{0}` is not an address, port and protocol, e.g. service=203.0.113.10:443/tcp, nor the \
         name of a service"
    )]
    Service(String),
    /// No flags.
    #[error(
        "`{0}` are not TCP flags; write letters (S, S., ., F., R, P.) or names (SYN, SYN,ACK, ACK, \
         FIN,ACK, RST)"
    )]
    Flags(String),
}

/// The letters of the flags in the order in which they are written.
const LETTERS: [(char, u8); 6] = [
    ('S', 0x02),
    ('F', 0x01),
    ('R', 0x04),
    ('P', 0x08),
    ('U', 0x20),
    ('.', 0x10),
];

/// The names of the flags.
const NAMES: [(&str, u8); 6] = [
    ("SYN", 0x02),
    ("FIN", 0x01),
    ("RST", 0x04),
    ("PSH", 0x08),
    ("URG", 0x20),
    ("ACK", 0x10),
];

impl Question {
    /// Reads the words of the command line: `client=IP:PORT` and `service=VIP:PORT/tcp` in any order.
    ///
    /// # Errors
    /// Says which word is wrong.
    pub fn from_words<'a>(
        words: impl IntoIterator<Item = &'a str>,
        flags: Flags,
    ) -> Result<Self, QuestionError> {
        let (mut client, mut service) = (None, None);
        for word in words {
            match word.split_once('=') {
                Some(("client", value)) => {
                    let address = value.parse();
                    let address = address.map_err(|_| QuestionError::Client(value.to_owned()))?;
                    if client.replace(address).is_some() {
                        return Err(QuestionError::Twice("client"));
                    }
                }
                Some(("service", value)) => {
                    if service.replace(value.parse()?).is_some() {
                        return Err(QuestionError::Twice("service"));
                    }
                }
                Some(_) | None => return Err(QuestionError::Word(word.to_owned())),
            }
        }
        Ok(Self {
            client: client.ok_or(QuestionError::Missing("client=IP:PORT"))?,
            service: service.ok_or(QuestionError::Missing("service=VIP:PORT/tcp"))?,
            flags,
            candidate: None,
        })
    }
}

impl FromStr for Whither {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let is_address = text.parse::<std::net::IpAddr>().is_ok();
        if text.is_empty() || is_address || !text.chars().all(is_name) {
            return text.parse().map(Self::Address);
        }
        Ok(Self::Service(text.to_owned()))
    }
}

impl fmt::Display for Whither {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Service(name) => f.write_str(name),
        }
    }
}

impl FromStr for ServiceAddress {
    type Err = QuestionError;

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let read = || {
            let (address, protocol) = text.split_once('/')?;
            let known = Protocol::NAMES.iter();
            Some(Self {
                address: address.parse().ok()?,
                protocol: known.clone().find(|(name, _)| *name == protocol)?.1,
            })
        };
        read().ok_or_else(|| QuestionError::Service(text.to_owned()))
    }
}

impl fmt::Display for ServiceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.protocol.name())
    }
}

impl Flags {
    /// SYN.
    pub const SYN: Self = Self(0x02);
}

impl Default for Flags {
    fn default() -> Self {
        Self::SYN
    }
}

impl FromStr for Flags {
    type Err = QuestionError;

    /// Reads the letters that tcpdump writes, or names between commas or plus signs.
    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let letter = |letter: char| match letter.to_ascii_uppercase() {
            'A' => Some(0x10),
            upper => LETTERS
                .iter()
                .find(|(known, _)| *known == upper)
                .map(|(_, bit)| *bit),
        };
        let name = |name: &str| {
            NAMES
                .iter()
                .find(|(known, _)| known.eq_ignore_ascii_case(name))
                .map(|(_, bit)| *bit)
        };
        let letters = || {
            text.chars()
                .try_fold(0, |flags, c| Some(flags | letter(c)?))
        };
        let names = || {
            let mut words = text.split([',', '+']);
            words.try_fold(0, |flags, word| Some(flags | name(word.trim())?))
        };
        match letters().or_else(names) {
            Some(flags) if flags != 0 => Ok(Self(flags)),
            Some(_) | None => Err(QuestionError::Flags(text.to_owned())),
        }
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letters = LETTERS.iter().filter(|(_, bit)| self.0 & bit != 0);
        letters.try_for_each(|(letter, _)| write!(f, "{letter}"))
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = QuestionError;

            fn try_from(text: String) -> Result<Self, QuestionError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

as_text!(ServiceAddress);
as_text!(Whither);
as_text!(Flags);

/// Returns the decisions as text: a line each, its sentence folded beside it. Where two
/// configurations differ, a sign before the line says how, as `diff` does.
#[must_use]
pub fn explained(rows: &[ExplainRow]) -> String {
    let width = |of: fn(&ExplainRow) -> &String| {
        let widths = rows.iter().map(|row| of(row).chars().count());
        widths.max().unwrap_or_default()
    };
    let (decisions, outcomes) = (width(|row| &row.decision), width(|row| &row.outcome));
    let signs = rows.iter().any(|row| row.side != Side::Both);
    let mut text = String::new();
    for row in rows {
        let mut head = format!("{:decisions$}  {:outcomes$}  ", row.decision, row.outcome);
        if signs {
            head = format!("{} {head}", row.side.sign());
        }
        let indent = head.chars().count();
        fold(&mut text, head, &row.detail);
        if let Some(running) = &row.running {
            fold(
                &mut text,
                " ".repeat(indent),
                &format!("running: {running}"),
            );
        }
    }
    text
}

/// Writes a sentence behind a head, and its further lines below its first word.
fn fold(text: &mut String, head: String, sentence: &str) {
    const COLUMNS: usize = 80;
    let indent = head.chars().count();
    let mut line = head;
    let mut is_first = true;
    for word in sentence.split_whitespace() {
        let taken = line.chars().count();
        if !is_first && taken + 1 + word.chars().count() > COLUMNS {
            text.push_str(line.trim_end());
            text.push('\n');
            line = " ".repeat(indent);
            is_first = true;
        }
        if !is_first {
            line.push(' ');
        }
        line.push_str(word);
        is_first = false;
    }
    text.push_str(line.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_the_command_line_come_in_any_order() {
        let flags = ".".parse().unwrap();
        let words = ["service=203.0.113.10:443/tcp", "client=192.0.2.1:40000"];
        let question = Question::from_words(words, flags).unwrap();
        assert_eq!(question.client.to_string(), "192.0.2.1:40000");
        assert_eq!(question.service.to_string(), "203.0.113.10:443/tcp");
        assert_eq!(question.flags, Flags(0x10));
    }

    #[test]
    fn each_wrong_word_is_named() {
        let good = ["client=192.0.2.1:1", "service=203.0.113.10:443/tcp"];
        for (words, told) in [
            (&["192.0.2.1"][..], "`192.0.2.1` is neither"),
            (&["to=1"], "`to=1` is neither"),
            (
                &["client=192.0.2.1"],
                "`192.0.2.1` is not an address and port",
            ),
            (
                &["service=203.0.113.10:443"],
                "`203.0.113.10:443` is not an address, port",
            ),
            (
                &["service=203.0.113.10:443/sctp"],
                "`203.0.113.10:443/sctp` is not",
            ),
            (&[good[0], good[0]], "client= is given twice"),
            (&[good[1], good[1]], "service= is given twice"),
            (&[good[0]], "service=VIP:PORT/tcp is missing"),
            (&[good[1]], "client=IP:PORT is missing"),
        ] {
            let error = Question::from_words(words.iter().copied(), Flags::SYN).unwrap_err();
            assert!(error.to_string().starts_with(told), "{error}");
        }
    }

    #[test]
    fn flags_are_written_as_they_are_read() {
        for text in ["S", "S.", ".", "F.", "R", "R.", "P.", "SFRPU."] {
            assert_eq!(text.parse::<Flags>().unwrap().to_string(), text);
        }
        for (text, flags) in [
            ("SYN", "S"),
            ("syn", "S"),
            ("s", "S"),
            ("SA", "S."),
            ("SYN,ACK", "S."),
            ("fin+ack", "F."),
            ("ACK", "."),
        ] {
            assert_eq!(text.parse::<Flags>().unwrap().to_string(), flags, "{text}");
        }
        for text in ["", "X", "S,", "SYN,", "SYNACK", "SYN ACK", ",", "0x02"] {
            assert_eq!(
                text.parse::<Flags>(),
                Err(QuestionError::Flags(text.to_owned()))
            );
        }
    }

    #[test]
    fn sentences_are_folded_beside_their_decision() {
        let row = |decision: &str, outcome: &str, detail: &str| ExplainRow {
            decision: decision.to_owned(),
            outcome: outcome.to_owned(),
            detail: detail.to_owned(),
            ..ExplainRow::default()
        };
        let long = "word ".repeat(20);
        let text = explained(&[
            row("session", "none", "there is none"),
            row("lip", "free", &long),
        ]);
        assert_eq!(
            text,
            "\
session  none  there is none
lip      free  word word word word word word word word word word word word word
               word word word word word word word
"
        );
        assert_eq!(explained(&[]), "");
    }

    #[test]
    fn a_service_is_asked_for_by_its_address_or_by_its_name() {
        let address: Whither = "203.0.113.10:443/tcp".parse().unwrap();
        assert!(matches!(address, Whither::Address(_)), "{address:?}");
        assert_eq!(
            "web-tls.1".parse(),
            Ok(Whither::Service("web-tls.1".to_owned()))
        );
        for text in ["", "203.0.113.10", "::1", "web:80", "web/tcp", "we b"] {
            let error = text.parse::<Whither>().unwrap_err().to_string();
            assert!(error.contains("nor the name of a service"), "{error}");
        }
        let line = r#"{"client":"192.0.2.1:1","service":"web"}"#;
        let question: Question = serde_json::from_str(line).unwrap();
        assert_eq!(question.service.to_string(), "web");
        assert_eq!(question.candidate, None);
    }

    #[test]
    fn what_a_candidate_decides_otherwise_has_a_sign() {
        let row = |side, detail: &str, running: Option<&str>| ExplainRow {
            decision: "pick".to_owned(),
            outcome: "picked".to_owned(),
            detail: detail.to_owned(),
            side,
            running: running.map(str::to_owned),
        };
        let text = explained(&[
            row(Side::Both, "a", None),
            row(Side::Changed, "b", Some("c")),
            row(Side::Candidate, "d", None),
            row(Side::Running, "e", None),
        ]);
        assert_eq!(
            text,
            "  pick  picked  a\n\
             ~ pick  picked  b\n                running: c\n\
             + pick  picked  d\n\
             - pick  picked  e\n"
        );
    }
}
