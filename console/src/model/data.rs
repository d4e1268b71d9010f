//! What the daemon said last, and when.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_control::{
    EventRow, Filter, FloodRow, GenerationRow, HealthRow, HistoryRow, LedgerReply, OverrideRow,
    PoolRow, PortRow, ServiceRealRow, ServiceRow, SessionRow, StatusRow, SyslogRow, What,
    WorkerRow,
};

use crate::model::services::{Name, keep_reals};

/// Something that the daemon said.
#[derive(Clone, Debug)]
pub(crate) struct Told<T> {
    pub(crate) value: T,
    /// When it was said.
    pub(crate) at: Duration,
}

/// What the daemon said last; none where it was not asked yet, or never answered.
#[derive(Debug, Default)]
pub(crate) struct Data {
    pub(crate) status: Option<Told<StatusRow>>,
    pub(crate) services: Option<Told<Vec<ServiceRow>>>,
    pub(crate) pools: Option<Told<Vec<PoolRow>>>,
    pub(crate) sessions: Option<Told<(Filter, Vec<SessionRow>)>>,
    pub(crate) ports: Option<Told<Vec<PortRow>>>,
    pub(crate) workers: Option<Told<Vec<WorkerRow>>>,
    pub(crate) ledger: Option<Told<LedgerReply>>,
    pub(crate) flood: Option<Told<Vec<FloodRow>>>,
    /// Of one service, for its details: not what the screen of all floods shows.
    pub(crate) flood_of: Option<Told<Vec<FloodRow>>>,
    pub(crate) config: Option<Told<Vec<String>>>,
    pub(crate) health: Option<Told<(Filter, Vec<HealthRow>)>>,
    pub(crate) events: Option<Told<Vec<EventRow>>>,
    pub(crate) syslog: Option<Told<Vec<SyslogRow>>>,
    pub(crate) generations: Option<Told<Vec<GenerationRow>>>,
    /// Each with what was asked for: the appliance or a service, minutes or a day.
    pub(crate) history: Vec<(Filter, Told<Vec<HistoryRow>>)>,
    pub(crate) overrides: Option<Told<Vec<OverrideRow>>>,
}

/// An answer, read.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Services(Vec<ServiceRow>),
    Pools(Vec<PoolRow>),
    Sessions(Vec<SessionRow>),
    Ports(Vec<PortRow>),
    Workers(Vec<WorkerRow>),
    Ledger(Box<LedgerReply>),
    Flood(Vec<FloodRow>),
    Config(Vec<String>),
    Health(Vec<HealthRow>),
    Events(Vec<EventRow>),
    Syslog(Vec<SyslogRow>),
    Generations(Vec<GenerationRow>),
    History(Vec<HistoryRow>),
    Overrides(Vec<OverrideRow>),
    Status(Box<StatusRow>),
}

impl Answer {
    /// Returns the number of the second that its rates are of, where it has such.
    pub(crate) fn second(&self) -> Option<u64> {
        match self {
            Self::Status(row) => Some(row.second),
            Self::Ledger(row) => Some(row.second),
            Self::Ports(rows) => rows.first().map(|row| row.second),
            Self::Workers(rows) => rows.first().map(|row| row.second),
            Self::Services(rows) => rows.first().map(|row| row.second),
            Self::Flood(rows) => rows.first().map(|row| row.second),
            Self::Pools(_)
            | Self::Sessions(_)
            | Self::Config(_)
            | Self::Health(_)
            | Self::Events(_)
            | Self::Syslog(_)
            | Self::Generations(_)
            | Self::History(_)
            | Self::Overrides(_) => None,
        }
    }

    /// Reads the rows of an answer.
    ///
    /// # Errors
    /// When a row is not what it should be.
    pub(crate) fn read(what: What, rows: Vec<Value>) -> Result<Self, String> {
        Ok(match what {
            What::Services => Self::Services(all(rows)?),
            What::Pools => Self::Pools(all(rows)?),
            What::Sessions => Self::Sessions(all(rows)?),
            What::Ports => Self::Ports(all(rows)?),
            What::Workers => Self::Workers(all(rows)?),
            What::Ledger => Self::Ledger(Box::new(one(rows)?)),
            What::Flood => Self::Flood(all(rows)?),
            What::Config => Self::Config(all(rows)?),
            What::Health => Self::Health(all(rows)?),
            What::Events => Self::Events(all(rows)?),
            What::Syslog => Self::Syslog(all(rows)?),
            What::Generations => Self::Generations(all(rows)?),
            What::History => Self::History(all(rows)?),
            What::Overrides => Self::Overrides(all(rows)?),
            What::Status => Self::Status(Box::new(one(rows)?)),
        })
    }
}

fn all<T: DeserializeOwned>(rows: Vec<Value>) -> Result<Vec<T>, String> {
    let rows = rows.into_iter().map(serde_json::from_value);
    rows.collect::<Result<_, _>>()
        .map_err(|error| format!("a row of the daemon cannot be read: {error}"))
}

fn one<T: DeserializeOwned>(rows: Vec<Value>) -> Result<T, String> {
    let mut rows = all(rows)?.into_iter();
    rows.next()
        .ok_or_else(|| "the daemon sent no row".to_owned())
}

/// How many answers of `show history` are kept.
const HISTORIES: usize = 4;

impl Data {
    /// Keeps an answer.
    pub(crate) fn keep(&mut self, filter: &Filter, answer: Answer, at: Duration) {
        match answer {
            Answer::Services(mut value) => {
                if let Some(before) = &mut self.services {
                    keep_reals(&mut before.value, &mut value, filter);
                }
                self.services = Some(Told { value, at });
            }
            Answer::Pools(value) => self.pools = Some(Told { value, at }),
            Answer::Sessions(rows) => {
                let value = (filter.clone(), rows);
                self.sessions = Some(Told { value, at });
            }
            Answer::Ports(value) => self.ports = Some(Told { value, at }),
            Answer::Workers(value) => self.workers = Some(Told { value, at }),
            Answer::Ledger(value) => self.ledger = Some(Told { value: *value, at }),
            Answer::Flood(value) if filter.service.is_some() => {
                self.flood_of = Some(Told { value, at });
            }
            Answer::Flood(value) => self.flood = Some(Told { value, at }),
            Answer::Config(value) => self.config = Some(Told { value, at }),
            Answer::Health(rows) => {
                let value = (filter.clone(), rows);
                self.health = Some(Told { value, at });
            }
            Answer::Events(value) => self.events = Some(Told { value, at }),
            Answer::Syslog(value) => self.syslog = Some(Told { value, at }),
            Answer::Generations(value) => self.generations = Some(Told { value, at }),
            Answer::History(value) => {
                self.history.retain(|(other, _)| other != filter);
                self.history.truncate(HISTORIES - 1);
                self.history.insert(0, (filter.clone(), Told { value, at }));
            }
            Answer::Overrides(value) => self.overrides = Some(Told { value, at }),
            Answer::Status(value) => self.status = Some(Told { value: *value, at }),
        }
    }

    /// Returns a service by its name.
    pub(crate) fn service(&self, name: &str) -> Option<&ServiceRow> {
        let mut rows = self.services.as_ref()?.value.iter();
        rows.find(|row| row.name == name)
    }

    /// Returns a real server by its name, with its service.
    pub(crate) fn real(&self, name: &Name) -> Option<(&ServiceRow, &ServiceRealRow)> {
        let service = self.service(&name.service)?;
        let address = name.real.as_ref()?;
        let real = service.reals.iter().find(|real| real.address == *address)?;
        Some((service, real))
    }

    /// Returns the pools; none before they were told.
    pub(crate) fn pools(&self) -> &[PoolRow] {
        self.pools.as_ref().map_or(&[], |told| &told.value)
    }

    /// Returns what becomes of SYNs; nothing before it was told.
    pub(crate) fn flood(&self) -> &[FloodRow] {
        self.flood.as_ref().map_or(&[], |told| &told.value)
    }

    /// Returns when something was said, where it was.
    pub(crate) fn at(&self, what: What, filter: &Filter) -> Option<Duration> {
        fn at<T>(told: Option<&Told<T>>) -> Option<Duration> {
            told.map(|told| told.at)
        }
        match what {
            What::Services => at(self.services.as_ref()),
            What::Pools => at(self.pools.as_ref()),
            What::Sessions => at(self.sessions.as_ref()),
            What::Ports => at(self.ports.as_ref()),
            What::Workers => at(self.workers.as_ref()),
            What::Ledger => at(self.ledger.as_ref()),
            What::Flood if filter.service.is_some() => at(self.flood_of.as_ref()),
            What::Flood => at(self.flood.as_ref()),
            What::Config => at(self.config.as_ref()),
            What::Health => at(self.health.as_ref()),
            What::Events => at(self.events.as_ref()),
            What::Syslog => at(self.syslog.as_ref()),
            What::Generations => at(self.generations.as_ref()),
            What::History => self.history.first().map(|(_, told)| told.at),
            What::Overrides => at(self.overrides.as_ref()),
            What::Status => at(self.status.as_ref()),
        }
    }
}
