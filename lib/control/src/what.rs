//! What `show` shows, and what narrows it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::Code;

/// What `show` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Services with their real servers.
    Services,
    /// LIP pools with their use.
    Pools,
    /// Sessions, one row each.
    Sessions,
    /// Ports with their drivers.
    Ports,
    /// Workers.
    Workers,
    /// The ledger.
    Ledger,
    /// What became of the SYNs of each TCP service.
    Flood,
    /// The effective configuration, one row per line.
    Config,
    /// The real servers' health and what was learned of them.
    Health,
    /// The last events.
    Events,
    /// The receivers of log messages.
    Syslog,
    /// The configurations that were applied and are kept.
    Generations,
    /// The rates of the last minutes, or of the last day.
    History,
    /// What was set at run time over the configuration.
    Overrides,
    /// The appliance in one row: rates, alarms, who is connected.
    Status,
}

impl What {
    /// Returns its name, as `show` takes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::Pools => "pools",
            Self::Sessions => "sessions",
            Self::Ports => "ports",
            Self::Workers => "workers",
            Self::Ledger => "ledger",
            Self::Flood => "flood",
            Self::Config => "config",
            Self::Health => "health",
            Self::Events => "events",
            Self::Syslog => "syslog",
            Self::Generations => "generations",
            Self::History => "history",
            Self::Overrides => "overrides",
            Self::Status => "status",
        }
    }

    /// Returns the code of its rows.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Services => Code::Service,
            Self::Pools => Code::Pool,
            Self::Sessions => Code::Session,
            Self::Ports => Code::Port,
            Self::Workers => Code::Worker,
            Self::Ledger => Code::Ledger,
            Self::Flood => Code::Flood,
            Self::Config => Code::Config,
            Self::Health => Code::Health,
            Self::Events => Code::Event,
            Self::Syslog => Code::Syslog,
            Self::Generations => Code::Generation,
            Self::History => Code::History,
            Self::Overrides => Code::Override,
            Self::Status => Code::Status,
        }
    }
}

/// Narrows what `show` shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Only this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only sessions of this client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// At most so many rows; of events the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Of the history, how many seconds back; up to 600 there is a point for each second, further
    /// back one for each minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Only events with higher numbers than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Of services, those whose real servers are told; none means all. The others' rows say how many
    /// they have, and how they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reals: Option<Vec<String>>,
}

impl Filter {
    /// Says whether nothing is left out.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Says whether the real servers of a service are told.
    #[must_use]
    pub fn has_reals_of(&self, service: &str) -> bool {
        let names = self.reals.as_ref();
        names.is_none_or(|names| names.iter().any(|name| name == service))
    }
}
