//! What goes over the control socket: greeting, requests, replies and their codes.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use weir_model::Role;

use crate::{
    AppliedRow, CaptureOrder, CaptureRow, ChangeRow, CheckRow, ConfigText, DrainRow, ExplainRow,
    Filter, IdentityRow, Introduction, ModeWish, OrderedRow, OverrideRow, Question, Tell, What,
};

/// The number of the message schema: it grows when an older client could misread an answer, not
/// when something is added.
pub const SCHEMA: u32 = 1;

macro_rules! codes {
    ($( $variant:ident = $digits:literal, $doc:literal; )*) => {
        /// Says what a line of the daemon is. The first digit is the class: 0 progress, 1 rows,
        /// 8 the request could not be carried out, 9 the request was not understood.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $( #[doc = $doc] #[serde(rename = $digits)] $variant, )*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// Returns the four digits.
            #[must_use]
            pub const fn digits(self) -> &'static str {
                match self { $( Self::$variant => $digits, )* }
            }

            /// Returns what the code means.
            #[must_use]
            pub const fn documentation(self) -> &'static str {
                match self { $( Self::$variant => $doc, )* }
            }
        }
    };
}

codes! {
    Done = "0000", "The answer is complete.";
    Greeting = "0001", "The daemon is ready for requests.";
    Service = "1001", "A row of `show services`.";
    Pool = "1002", "A row of `show pools`.";
    Session = "1003", "A row of `show sessions`.";
    Port = "1004", "A row of `show ports`.";
    Worker = "1005", "A row of `show workers`.";
    Ledger = "1006", "The row of `show ledger`.";
    Config = "1007", "A line of `show config`.";
    Health = "1008", "A row of `show health`.";
    Flood = "1009", "A row of `show flood`.";
    Explained = "1010", "A decision of `explain`.";
    Event = "1011", "A row of `show events`.";
    Applied = "1012", "What an `apply`, a `confirm` or a `rollback` did.";
    Change = "1013", "An object that a `diff` found changed.";
    Generation = "1014", "A row of `show generations`.";
    Captured = "1015", "A line of a `capture`.";
    Check = "1020", "A finding of `doctor`.";
    Ordered = "1021", "What a `drain`, an `enable` or a `weight` did.";
    Draining = "1022", "How far a real server is from having no sessions.";
    Syslog = "1030", "A row of `show syslog`.";
    Identity = "1031", "Who the daemon takes the client for.";
    History = "1032", "A point of `show history`.";
    Override = "1033", "A setting that holds over the configuration.";
    Status = "1034", "The row of `show status`.";
    NotPermitted = "8001", "The socket's role does not permit the request.";
    UnknownName = "8002", "No object has the name that the request gives.";
    Unavailable = "8003", "This build cannot do what the request asks.";
    Busy = "8004", "Too many requests are under way.";
    Stopping = "8005", "The daemon is stopping.";
    Failed = "8006", "The request failed inside the daemon.";
    Mistakes = "8007", "The configuration has mistakes; the text shows them.";
    NeedsRestart = "8008", "The configuration changes what only a restart can change.";
    Unconfirmed = "8009", "A configuration waits to be confirmed or rolled back.";
    NothingToDo = "8010", "There is nothing that the request could act on.";
    Idle = "8011", "The client took too long; the connection is closed.";
    Changed = "8012", "Another configuration runs than the one that the request expects.";
    NotJson = "9001", "The line is not a JSON object.";
    UnknownRequest = "9002", "The object names no request.";
    BadArgument = "9003", "The request has an argument that is missing, unknown or wrong.";
    TooLong = "9004", "The line is too long; the connection is closed.";
}

/// The first line of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// [`Code::Greeting`].
    pub code: Code,
    /// The number of the message schema.
    pub schema: u32,
    /// What may be done through this socket: `viewer` or `operator`.
    pub role: String,
    /// The version of the daemon.
    pub version: String,
    /// The name of the appliance.
    pub node: String,
}

impl Greeting {
    /// Makes the greeting of a socket.
    #[must_use]
    pub fn new(role: Role, version: &str, node: &str) -> Self {
        Self {
            code: Code::Greeting,
            schema: SCHEMA,
            role: role.name().to_owned(),
            version: version.to_owned(),
            node: node.to_owned(),
        }
    }

    /// Returns the greeting as a line with its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        line(self)
    }
}

/// A request: `{"do":"show","what":"sessions","filter":{"service":"web"}}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Reads state.
    Show {
        /// What to read.
        what: What,
        /// Which of it.
        #[serde(default, skip_serializing_if = "Filter::is_everything")]
        filter: Filter,
    },
    /// Says who the person behind the client is:
    /// `{"do":"hello","name":"alice","from":"192.0.2.1"}`.
    Hello(Introduction),
    /// Says what would become of a packet:
    /// `{"do":"explain","client":"192.0.2.1:40000","service":"203.0.113.10:443/tcp","flags":"S"}`.
    Explain(Question),
    /// Says what the daemon finds of itself, its real servers and its files:
    /// `{"do":"doctor"}`. Next hops that are not known are asked for: who wants to know asks again.
    Doctor {},
    /// Runs on other files, or on the daemon's own as they are now:
    /// `{"do":"apply","texts":[{"name":"new.conf","text":"[node]..."}],"confirm_ms":120000}`.
    Apply {
        /// The files; none means the daemon's own.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        texts: Vec<ConfigText>,
        /// After how many milliseconds the configuration of before comes back, unless somebody
        /// confirms.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm_ms: Option<u64>,
        /// What `show config` says: nothing is applied if something else runs by now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        over: Option<String>,
    },
    /// Says what an apply of files would change.
    Diff {
        /// The files; none means the daemon's own.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        texts: Vec<ConfigText>,
    },
    /// Copies frames out of the data plane, with what becomes of them.
    Capture(CaptureOrder),
    /// Makes the configuration stay that waits for it.
    Confirm {},
    /// Opens no new sessions on this appliance, or opens them again:
    /// `{"do":"maintenance","on":true}`.
    Maintenance {
        /// Whether it begins or ends.
        on: bool,
    },
    /// Sets when a service answers SYNs with cookies:
    /// `{"do":"synproxy","service":"web","mode":"always","for_ms":600000}`.
    Synproxy {
        /// The service.
        service: String,
        /// When; `default` is what the configuration says.
        mode: ModeWish,
        /// After how many milliseconds the configuration's holds again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Drops the packets of a network for all services, or does so no longer:
    /// `{"do":"deny","network":"192.0.2.0/24","on":true,"for_ms":600000}`.
    Deny {
        /// The network, or an address.
        network: String,
        /// Whether it begins or ends.
        on: bool,
        /// After how many milliseconds it ends by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Runs on a configuration that was applied before.
    Rollback {
        /// Which; none means the one before, or drops the one that waits to be confirmed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        generation: Option<u64>,
    },
    /// Gives a real server no new sessions:
    /// `{"do":"drain","service":"web","real":"10.0.1.11:443","deadline_ms":300000,"then":"reset"}`.
    Drain {
        /// The service.
        service: String,
        /// The real server, as `ADDRESS:PORT` or, where that says enough, `ADDRESS`.
        real: String,
        /// How long its sessions may go on; none means what the service says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        deadline_ms: Option<u64>,
        /// What becomes of those that are left then: `reset` or `keep`; none means what the service
        /// says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        then: Option<String>,
    },
    /// Gives a real server new sessions again.
    Enable {
        /// The service.
        service: String,
        /// The real server.
        real: String,
    },
    /// Gives a real server another share of new sessions than its configuration does.
    Weight {
        /// The service.
        service: String,
        /// The real server.
        real: String,
        /// Its weight; none means that of its configuration.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weight: Option<u16>,
    },
    /// Asks what keeps a real server from having no sessions.
    Draining {
        /// The service.
        service: String,
        /// The real server.
        real: String,
    },
    /// Tells of something that happened around the daemon. Only of root and of the daemon's own
    /// account.
    Tell(Tell),
}

/// Why a request is refused: the code and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The code.
    pub code: Code,
    /// The cause, and what to try next where there is something.
    pub text: String,
}

impl Request {
    /// The names that a request can have.
    pub const NAMES: &'static [&'static str] = &[
        "show",
        "hello",
        "explain",
        "apply",
        "diff",
        "capture",
        "confirm",
        "rollback",
        "doctor",
        "drain",
        "enable",
        "weight",
        "draining",
        "maintenance",
        "synproxy",
        "deny",
        "tell",
    ];

    /// Returns its name, one of [`Self::NAMES`].
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Show { .. } => "show",
            Self::Hello(_) => "hello",
            Self::Explain(_) => "explain",
            Self::Doctor {} => "doctor",
            Self::Apply { .. } => "apply",
            Self::Diff { .. } => "diff",
            Self::Capture(_) => "capture",
            Self::Confirm {} => "confirm",
            Self::Maintenance { .. } => "maintenance",
            Self::Synproxy { .. } => "synproxy",
            Self::Deny { .. } => "deny",
            Self::Rollback { .. } => "rollback",
            Self::Drain { .. } => "drain",
            Self::Enable { .. } => "enable",
            Self::Weight { .. } => "weight",
            Self::Draining { .. } => "draining",
            Self::Tell(_) => "tell",
        }
    }

    /// Reads a request from a line.
    ///
    /// # Errors
    /// Returns the rejection to answer with, whatever the line holds.
    pub fn parse(line: &str) -> Result<Self, Rejection> {
        Self::of(&object(line)?)
    }

    /// Reads a request from what a line holds.
    ///
    /// # Errors
    /// Returns the rejection to answer with.
    pub(crate) fn of(value: &serde_json::Value) -> Result<Self, Rejection> {
        let name = value.get("do").and_then(serde_json::Value::as_str);
        let Some(name) = name else {
            return Err(Rejection {
                code: Code::UnknownRequest,
                text: "the object has no \"do\" that names a request".to_owned(),
            });
        };
        if !Self::NAMES.contains(&name) {
            return Err(Rejection {
                code: Code::UnknownRequest,
                text: format!(
                    "`{}` is not a request; there is {}",
                    shortened(name),
                    Self::NAMES.join(", ")
                ),
            });
        }
        Self::deserialize(value).map_err(|error| Rejection {
            code: Code::BadArgument,
            text: shortened(&error.to_string()),
        })
    }

    /// Returns the request as a line with its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        line(self)
    }

    /// Returns the least role that may ask this.
    #[must_use]
    pub const fn needs(&self) -> Role {
        match self {
            Self::Show { .. }
            | Self::Hello(_)
            | Self::Explain(_)
            | Self::Diff { .. }
            | Self::Doctor {}
            | Self::Draining { .. } => Role::Viewer,
            // Frames hold what clients say.
            Self::Apply { .. }
            | Self::Capture(_)
            | Self::Confirm {}
            | Self::Rollback { .. }
            | Self::Drain { .. }
            | Self::Enable { .. }
            | Self::Weight { .. }
            | Self::Maintenance { .. }
            | Self::Synproxy { .. }
            | Self::Deny { .. }
            | Self::Tell(_) => Role::Operator,
        }
    }

    /// Says whether a socket's role permits the request.
    ///
    /// # Errors
    /// Returns the rejection to answer with.
    pub fn permitted(&self, role: Role) -> Result<(), Rejection> {
        if permits(role, self.needs()) {
            return Ok(());
        }
        Err(Rejection {
            code: Code::NotPermitted,
            text: format!(
                "this socket's role is {}, the request needs {}; use the {} socket",
                role.name(),
                self.needs().name(),
                self.needs().name()
            ),
        })
    }
}

/// Reads the object that a line is.
///
/// # Errors
/// When it is none.
pub(crate) fn object(line: &str) -> Result<serde_json::Value, Rejection> {
    let rejection = |text| Rejection {
        code: Code::NotJson,
        text,
    };
    let value: serde_json::Value = serde_json::from_str(line)
        .map_err(|error| rejection(format!("the line is not JSON: {error}")))?;
    if !value.is_object() {
        let text = "a request is a JSON object, e.g. {\"do\":\"show\",\"what\":\"services\"}";
        return Err(rejection(text.to_owned()));
    }
    Ok(value)
}

/// Says whether `role` may do what needs `needed`.
#[must_use]
pub const fn permits(role: Role, needed: Role) -> bool {
    match (role, needed) {
        (Role::Operator, Role::Operator | Role::Viewer) | (Role::Viewer, Role::Viewer) => true,
        (Role::Viewer, Role::Operator) => false,
    }
}

/// A line of the daemon in answer to a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reply {
    /// What the line is.
    pub code: Code,
    /// A row, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<serde_json::Value>,
    /// How many rows were sent, at the end of an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The cause, where the request was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Reply {
    /// Returns a row line of `show` with its end: what [`Self::row`] is as a line, made at once.
    #[must_use]
    pub fn row_line(what: What, row: &impl Serialize) -> String {
        #[derive(Serialize)]
        struct Line<'a, T> {
            code: Code,
            row: &'a T,
        }
        line(&Line {
            code: what.code(),
            row,
        })
    }

    /// Makes a row line of `show`.
    #[must_use]
    pub fn row(what: What, row: &impl Serialize) -> Self {
        Self::coded(what.code(), row)
    }

    /// Makes a decision line of `explain`.
    #[must_use]
    pub fn explained(row: &ExplainRow) -> Self {
        Self::coded(Code::Explained, row)
    }

    /// Makes a line of a `capture`.
    #[must_use]
    pub fn captured(row: &CaptureRow) -> Self {
        Self::coded(Code::Captured, row)
    }

    /// Makes a line of what a `doctor` found.
    #[must_use]
    pub fn check(row: &CheckRow) -> Self {
        Self::coded(Code::Check, row)
    }

    /// Makes the line that says who the daemon takes the client for.
    #[must_use]
    pub fn identity(row: &IdentityRow) -> Self {
        Self::coded(Code::Identity, row)
    }

    /// Makes the line of a setting that holds over the configuration, or no longer does.
    #[must_use]
    pub fn overridden(row: &OverrideRow) -> Self {
        Self::coded(Code::Override, row)
    }

    /// Makes a line of what a `diff` found.
    #[must_use]
    pub fn change(row: &ChangeRow) -> Self {
        Self::coded(Code::Change, row)
    }

    /// Makes the line that says what an `apply` did.
    #[must_use]
    pub fn applied(row: &AppliedRow) -> Self {
        Self::coded(Code::Applied, row)
    }

    /// Makes the line that says what was ordered of a real server.
    #[must_use]
    pub fn ordered(row: &OrderedRow) -> Self {
        Self::coded(Code::Ordered, row)
    }

    /// Makes the line that says how far a real server is from having no sessions.
    #[must_use]
    pub fn draining(row: &DrainRow) -> Self {
        Self::coded(Code::Draining, row)
    }

    fn coded(code: Code, row: &impl Serialize) -> Self {
        match serde_json::to_value(row) {
            Ok(row) => Self {
                code,
                row: Some(row),
                rows: None,
                text: None,
            },
            Err(error) => Self::refused(&Rejection {
                code: Code::Failed,
                text: format!("the row cannot be written as JSON: {error}"),
            }),
        }
    }

    /// Makes the line that ends an answer.
    #[must_use]
    pub fn done(rows: u64) -> Self {
        Self {
            code: Code::Done,
            row: None,
            rows: Some(rows),
            text: None,
        }
    }

    /// Makes the line that refuses a request and ends the answer.
    #[must_use]
    pub fn refused(rejection: &Rejection) -> Self {
        Self {
            code: rejection.code,
            row: None,
            rows: None,
            text: Some(rejection.text.clone()),
        }
    }

    /// Returns the reply as a line with its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        line(self)
    }

    /// Reads a row as one of the row structs; none where the line is no row.
    #[must_use]
    pub fn into_row<T: DeserializeOwned>(self) -> Option<Result<T, serde_json::Error>> {
        self.row.map(serde_json::from_value)
    }
}

/// Returns a message as a line with its end.
pub(crate) fn line(message: &impl Serialize) -> String {
    // Our messages hold strings, numbers and maps with string keys only: JSON cannot refuse them.
    let mut text = serde_json::to_string(message).unwrap_or_else(|_| {
        format!(
            "{{\"code\":\"{}\",\"text\":\"the answer cannot be written as JSON\"}}",
            Code::Failed.digits()
        )
    });
    text.push('\n');
    text
}

/// What a client sent may be long; an answer quotes its beginning.
fn shortened(text: &str) -> String {
    const MOST: usize = 160;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
