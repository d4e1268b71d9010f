//! The connection to the daemon, as the console sees it.

use std::time::Duration;

use weir_control::{Greeting, IdentityRow, Role};

/// How the connection is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum State {
    /// It was never there.
    #[default]
    Connecting,
    /// The daemon answers.
    Online,
    /// It is gone.
    Lost,
}

/// The connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Link {
    pub(crate) state: State,
    /// Since when it is as it is.
    pub(crate) since: Duration,
    /// Why it is not there.
    pub(crate) why: String,
    /// What the daemon said first.
    pub(crate) greeting: Option<Greeting>,
    /// Who the daemon takes us for.
    pub(crate) identity: Option<IdentityRow>,
    /// How long answers take: the longest of late.
    pub(crate) took: Duration,
}

/// What happened to the connection.
#[derive(Clone, Debug)]
pub(crate) enum LinkNews {
    /// The daemon greeted us.
    Up {
        greeting: Greeting,
        identity: Option<IdentityRow>,
    },
    /// It is gone, or could not be made; why.
    Down(String),
}

impl Link {
    /// Says whether what is shown may be old.
    pub(crate) fn is_lost(&self) -> bool {
        self.state == State::Lost
    }

    /// Returns what the socket permits, where one is connected.
    pub(crate) fn role(&self) -> Option<Role> {
        if self.state != State::Online {
            return None;
        }
        let role = self
            .greeting
            .as_ref()
            .map(|greeting| greeting.role.as_str());
        Some(if role == Some(Role::Operator.name()) {
            Role::Operator
        } else {
            Role::Viewer
        })
    }
}
