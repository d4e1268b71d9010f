//! Who asks: what a client may say of the person behind it, and who the daemon takes it for.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The longest name of a person.
const LONGEST: usize = 64;

/// What a client says of the person behind it:
/// `{"do":"hello","name":"alice","from":"192.0.2.1"}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Introduction {
    /// The person's name, where it is another than that of the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Login>,
    /// From where the person came by SSH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<IpAddr>,
}

/// A name of a person: up to 64 letters, digits and `. _ @ + -`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Login(String);

/// Who the daemon takes a client for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IdentityRow {
    /// The name that events carry.
    pub name: String,
    /// Where the client came from.
    pub from: String,
    /// The account of its process.
    pub account: String,
    /// What it may do: `viewer` or `operator`.
    pub role: String,
}

impl Introduction {
    /// Reads what a forced command of SSH, or sudo, left in the environment: `WEIR_OPERATOR` or
    /// else `SUDO_USER`, and `SSH_CONNECTION`. None where there is nothing to say.
    ///
    /// # Errors
    /// When `WEIR_OPERATOR` is not a name.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        let given = variable("WEIR_OPERATOR").filter(|name| !name.is_empty());
        let name = match given {
            Some(name) => {
                let name = Login::try_from(name);
                Some(name.map_err(|error| format!("WEIR_OPERATOR: {error}"))?)
            }
            // Nobody chose this one for us: a name that we cannot send is not sent.
            None => variable("SUDO_USER").and_then(|name| Login::try_from(name).ok()),
        };
        let from = variable("SSH_CONNECTION").and_then(|text| first_address(&text));
        let said = Self { name, from };
        Ok((said != Self::default()).then_some(said))
    }
}

/// The client's address is the first of four words; one of a link has the link behind it.
fn first_address(text: &str) -> Option<IpAddr> {
    let word = text.split_whitespace().next()?;
    word.split('%').next()?.parse().ok()
}

impl TryFrom<String> for Login {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@+-".contains(&byte);
        if (1..=LONGEST).contains(&name.len()) && name.bytes().all(allowed) {
            return Ok(Self(name));
        }
        Err(format!(
            "a name has 1 to {LONGEST} letters, digits and . _ @ + - and nothing else"
        ))
    }
}

impl From<Login> for String {
    fn from(Login(name): Login) -> Self {
        name
    }
}

impl fmt::Display for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(variables: &[(&str, &str)]) -> Result<Option<Introduction>, String> {
        Introduction::from_environment(|wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn a_forced_command_gives_name_and_origin() {
        let alice = said(&[
            ("WEIR_OPERATOR", "alice"),
            ("SUDO_USER", "bob"),
            ("SSH_CONNECTION", "192.0.2.1 54321 198.51.100.2 22"),
        ]);
        let alice = alice.unwrap().unwrap();
        assert_eq!(
            serde_json::to_string(&alice).unwrap(),
            "{\"name\":\"alice\",\"from\":\"192.0.2.1\"}"
        );
        let bob = said(&[("SUDO_USER", "bob"), ("WEIR_OPERATOR", "")]);
        assert_eq!(bob.unwrap().unwrap().name.unwrap().to_string(), "bob");
        let link = said(&[("SSH_CONNECTION", "fe80::1%eth0 1 fe80::2 22")]);
        assert_eq!(link.unwrap().unwrap().from, "fe80::1".parse().ok());
        assert_eq!(said(&[]), Ok(None));
        assert_eq!(said(&[("SSH_CONNECTION", "UNKNOWN 65535")]), Ok(None));
    }

    #[test]
    fn a_name_cannot_pretend_to_be_more_than_a_name() {
        for name in ["root (ssh 192.0.2.1)", "a b", "a\nb", "", "é", "a\"b", "a]"] {
            let json = serde_json::json!({ "name": name });
            assert!(
                serde_json::from_value::<Introduction>(json).is_err(),
                "{name}"
            );
        }
        let long = "x".repeat(LONGEST + 1);
        let error = said(&[("WEIR_OPERATOR", &long)]).unwrap_err();
        assert!(error.starts_with("WEIR_OPERATOR: a name has"), "{error}");
        assert!(Login::try_from("a.b_c@d+e-9".to_owned()).is_ok());
    }
}
