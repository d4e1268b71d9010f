//! What the agent is asked, and what it answers.
//!
//! One JSON object per line over a Unix socket: the client sends one [`Ask`], with a file descriptor
//! beside it where input or output goes with it, and the agent answers with any number of lines and
//! one that ends the answer.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use weir_control::{Login, Role};

/// Where the agent listens.
pub(crate) const SOCKET: &str = "/run/weir/agent.sock";
/// The longest line of a client.
pub(crate) const ASK_LIMIT: usize = 32 * 1024;
/// The longest line of the agent.
pub(crate) const ANSWER_LIMIT: usize = 256 * 1024;

/// What a client asks, and for whom: `{"do":"key-list","name":"alice","from":"192.0.2.1"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    /// What is asked.
    #[serde(flatten)]
    pub(crate) request: Request,
    /// The person's name, where it is another than that of the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Login>,
    /// From where the person came by SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<IpAddr>,
}

/// What the agent can be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Version, slots, trial, data partition: one row, a [`BoxRow`].
    Status,
    /// Writes the update that comes through the file descriptor to the other slot, and starts it.
    Update {
        /// Takes a version that is older than the one that runs, too.
        #[serde(default)]
        older: bool,
    },
    /// Starts the other slot as it is.
    Rollback,
    /// Lets somebody in.
    KeyAdd {
        /// As whom.
        #[serde(with = "role")]
        role: Role,
        /// A line as in `id_ed25519.pub`.
        key: String,
    },
    /// Lets somebody in no longer.
    KeyRemove {
        /// As whom.
        #[serde(with = "role")]
        role: Role,
        /// The name of the key, or its fingerprint.
        key: String,
        /// Also the last one of an operator.
        #[serde(default)]
        last: bool,
    },
    /// Who may log in: rows of [`KeyRow`].
    KeyList,
    /// Writes configuration, keys and secrets through the file descriptor.
    Backup,
    /// Takes a backup that comes through the file descriptor, all of it or nothing.
    Restore,
    /// Makes the box as it was delivered, and starts it again.
    FactoryReset {
        /// The name of the box, typed by whoever means it.
        node: String,
    },
    /// Starts the daemon again.
    Restart {
        /// On the configuration that comes through the file descriptor.
        #[serde(default)]
        configured: bool,
    },
    /// What was done at a local console, for the events; of root only.
    Local {
        /// What it was.
        what: Local,
        /// E.g. `ttyS0`.
        terminal: String,
    },
    /// Starts the box again.
    Reboot,
    /// Turns the box off.
    Poweroff,
    /// Sets the local secret.
    Secret {
        /// The new one.
        secret: String,
    },
}

/// What can be done at a local console.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Local {
    /// Somebody gave the secret and is operator.
    Operator,
    /// Somebody gave the secret and has a shell.
    Shell,
    /// Whoever gave the secret has gone.
    Left,
    /// Somebody gave a wrong secret.
    Wrong,
    /// A new secret was set.
    Secret,
    /// An operator's key was added.
    Keys,
    /// The box was set up.
    SetUp,
}

/// A line of the agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Answer {
    /// How far it is.
    Progress(String),
    /// A piece of what was asked.
    Row(Value),
    /// The last line: it was done.
    Done(bool),
    /// The last line: it was not done, and why.
    Error(String),
}

/// A key that opens the box.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct KeyRow {
    /// `operator` or `viewer`.
    pub(crate) role: String,
    /// The name that events carry.
    pub(crate) name: String,
    /// E.g. `ssh-ed25519`.
    pub(crate) kind: String,
    /// E.g. `SHA256:...`, as `ssh-keygen -l` writes it.
    pub(crate) fingerprint: String,
}

/// The box in one row.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, as JSON says it"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct BoxRow {
    /// The version that runs.
    pub(crate) version: String,
    /// The kernel that runs.
    pub(crate) kernel: String,
    /// The slot that runs: `a` or `b`.
    pub(crate) slot: String,
    /// Whether it runs on trial.
    pub(crate) trial: bool,
    /// The slot that starts next time.
    pub(crate) next: String,
    /// The version of the other slot; empty where there is none.
    pub(crate) other_version: String,
    /// What became of the last update; empty where there was none.
    pub(crate) last_update: String,
    /// Why the data partition cannot be used; empty where it can.
    pub(crate) data_fault: String,
    /// The size of the data partition in bytes.
    pub(crate) data_size: u64,
    /// What is free of it in bytes.
    pub(crate) data_free: u64,
    /// What went wrong with extra kernel modules; empty where nothing did.
    pub(crate) modules_fault: String,
    /// Seconds since the start.
    pub(crate) uptime: u64,
    /// Whether the daemon answers.
    pub(crate) daemon: bool,
    /// Whether the local secret is set.
    pub(crate) secret: bool,
    /// Whether somebody set the box up.
    pub(crate) set_up: bool,
    /// How many keys of operators there are.
    pub(crate) operators: u64,
    /// How many keys of viewers there are.
    pub(crate) viewers: u64,
}

impl Request {
    /// Says whether a file descriptor goes with it.
    pub(crate) fn takes_file(&self) -> bool {
        match self {
            Self::Update { .. } | Self::Backup | Self::Restore => true,
            Self::Restart { configured } => *configured,
            Self::Status
            | Self::Local { .. }
            | Self::Rollback
            | Self::KeyAdd { .. }
            | Self::KeyRemove { .. }
            | Self::KeyList
            | Self::FactoryReset { .. }
            | Self::Reboot
            | Self::Poweroff
            | Self::Secret { .. } => false,
        }
    }
}

impl Answer {
    /// Returns the line with its end.
    pub(crate) fn to_line(&self) -> String {
        // Neither has anything that JSON cannot say.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// Returns the role of a name.
pub(crate) fn role_named(name: &str) -> Option<Role> {
    let found = Role::NAMES.iter().find(|(known, _)| *known == name);
    found.map(|(_, role)| *role)
}

mod role {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};
    use weir_control::Role;

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde calls it with a reference"
    )]
    pub(super) fn serialize<S: Serializer>(role: &Role, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(role.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Role, D::Error> {
        let name = String::deserialize(from)?;
        super::role_named(&name)
            .ok_or_else(|| D::Error::custom(format!("`{name}` is not operator or viewer")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_flat_object() {
        let ask = Ask {
            request: Request::KeyAdd {
                role: Role::Viewer,
                key: "ssh-ed25519 AAAA bob".to_owned(),
            },
            name: Login::try_from("alice".to_owned()).ok(),
            from: "192.0.2.1".parse().ok(),
        };
        let line = serde_json::to_string(&ask).unwrap();
        assert_eq!(
            line,
            "{\"do\":\"key-add\",\"role\":\"viewer\",\"key\":\"ssh-ed25519 AAAA bob\",\
             \"name\":\"alice\",\"from\":\"192.0.2.1\"}"
        );
        assert_eq!(serde_json::from_str::<Ask>(&line).unwrap(), ask);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        for line in [
            "",
            "{}",
            "[]",
            "{\"do\":\"shell\"}",
            "{\"do\":\"key-add\",\"role\":\"root\",\"key\":\"k\"}",
            "{\"do\":\"reboot\",\"name\":\"a b\"}",
            "{\"do\":\"reboot\",\"from\":\"here\"}",
            "{\"do\":\"reboot\"} x",
        ] {
            assert!(serde_json::from_str::<Ask>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn an_answer_is_a_line() {
        assert_eq!(Answer::Done(true).to_line(), "{\"done\":true}\n");
    }
}
