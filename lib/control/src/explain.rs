//! `explain`: what would become of a packet now, decision by decision.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use weir_model::Protocol;

/// Asks what would become of a client's packet to a service address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The client, as `ADDRESS:PORT`.
    pub client: SocketAddr,
    /// Where the packet goes, as `ADDRESS:PORT/PROTOCOL`.
    pub service: ServiceAddress,
    /// The TCP flags of the packet; of UDP they mean nothing.
    #[serde(default)]
    pub flags: Flags,
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
    #[error("`{0}` is not an address, port and protocol, e.g. service=203.0.113.10:443/tcp")]
    Service(String),
    /// No flags.
    #[error("`{0}` are not TCP flags; there is S, S., ., F., R, R.")]
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
        })
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

    fn from_str(text: &str) -> Result<Self, QuestionError> {
        let mut flags = 0;
        for letter in text.chars() {
            let known = LETTERS.iter().find(|(known, _)| *known == letter);
            let (_, bit) = known.ok_or_else(|| QuestionError::Flags(text.to_owned()))?;
            flags |= bit;
        }
        if flags == 0 {
            return Err(QuestionError::Flags(text.to_owned()));
        }
        Ok(Self(flags))
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
as_text!(Flags);

/// Returns the decisions as text: a line each, its sentence folded beside it.
#[must_use]
pub fn explained(rows: &[ExplainRow]) -> String {
    const COLUMNS: usize = 80;
    let width = |of: fn(&ExplainRow) -> &String| {
        let widths = rows.iter().map(|row| of(row).chars().count());
        widths.max().unwrap_or_default()
    };
    let (decisions, outcomes) = (width(|row| &row.decision), width(|row| &row.outcome));
    let indent = decisions + 2 + outcomes + 2;
    let mut text = String::new();
    for row in rows {
        let mut line = format!("{:decisions$}  {:outcomes$}  ", row.decision, row.outcome);
        let mut is_first = true;
        for word in row.detail.split_whitespace() {
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
    text
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
        for text in ["", "X", "S,", "s"] {
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
}
