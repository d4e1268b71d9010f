//! The command line of ipvsadm: which command, for which service, with what.

mod options;
pub(crate) mod values;

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use weir_model::Protocol;

use crate::names::Names;
use options::{Given, Opt, Verb};

/// What ipvsadm is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// `-A`: a service that is not there yet.
    AddService(At, ServiceSettings),
    /// `-E`: other settings for a service.
    EditService(At, ServiceSettings),
    /// `-D`: a service goes.
    DeleteService(At),
    /// `-C`: all services go.
    Clear,
    /// `-a`: a real server that the service has not yet.
    AddReal(At, Endpoint, RealSettings),
    /// `-e`: other settings for a real server.
    EditReal(At, Endpoint, RealSettings),
    /// `-d`: a real server goes.
    DeleteReal(At, Endpoint),
    /// `-P`: a local address for a service.
    AddLocal(At, IpAddr),
    /// `-Q`: a local address goes.
    DeleteLocal(At, IpAddr),
    /// `-G`: the local addresses of one service or of all.
    ListLocal(Option<At>),
    /// `-L`: services, sessions or timeouts.
    List(Listing),
    /// `-S`: the running services as commands.
    Save,
    /// `-R`: commands from standard input.
    Restore,
    /// `--set`: how long sessions may be silent, in seconds; zero leaves it as it is.
    SetTimeouts {
        /// Established TCP sessions.
        tcp: u32,
        /// TCP sessions of which one side has closed.
        tcpfin: u32,
        /// UDP flows.
        udp: u32,
    },
    /// `-h`.
    Help,
    /// `-v`.
    Version,
}

/// The address of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The address that clients use.
    pub address: IpAddr,
    /// The port that clients use.
    pub port: u16,
}

/// A real server as it is named: without a port it has that of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// The port.
    pub port: Option<u16>,
}

/// What is said about a service; none leaves it as it is, or as ipvsadm has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceSettings {
    /// `-s`, as Weir calls it.
    pub scheduler: Option<&'static str>,
    /// `-p`, in seconds.
    pub persist: Option<u32>,
    /// `-M`, as the length of a prefix.
    pub mask: Option<u8>,
    /// `-j`.
    pub synproxy: Option<bool>,
    /// `-V`, in seconds.
    pub idle: Option<u32>,
}

/// What is said about a real server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RealSettings {
    /// Whether `-b` was given, without which ipvsadm takes direct routing.
    pub fullnat: bool,
    /// `-w`.
    pub weight: Option<u16>,
    /// `-x`: at so many sessions it takes no more.
    pub upper: Option<u32>,
    /// `-y`: below so many it takes new ones again.
    pub lower: Option<u32>,
}

/// What `-L` lists, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Only this service.
    pub only: Option<At>,
    /// Which columns.
    pub what: Columns,
    /// Whether large numbers are written with all digits.
    pub exact: bool,
    /// Whether services stay in the order of the configuration.
    pub unsorted: bool,
}

/// The columns of a listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Columns {
    /// Scheduler, flags, weights and sessions.
    #[default]
    Services,
    /// What was counted since the start.
    Stats,
    /// The same per second.
    Rate,
    /// Limits of real servers.
    Thresholds,
    /// Clients that keep their real server.
    Persistent,
    /// One line a session.
    Connections,
    /// How long sessions may be silent.
    Timeouts,
    /// Daemons that copy sessions.
    Daemons,
}

/// Why a command line is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not ipvsadm's.
    Syntax(String),
    /// It is, but Weir has something else instead.
    Unsupported(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Syntax(text) | Self::Unsupported(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Says on which line of a dump the command stands.
    #[must_use]
    pub fn at_line(self, line: usize) -> Self {
        match self {
            Self::Syntax(text) => Self::Syntax(format!("line {line}: {text}")),
            Self::Unsupported(text) => Self::Unsupported(format!("line {line}: {text}")),
        }
    }
}

impl Ord for At {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |at: &Self| (at.protocol.number(), at.address, at.port);
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.socket(), self.protocol.name())
    }
}

impl At {
    /// Returns address and port.
    #[must_use]
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Returns the option that names it, with its value.
    #[must_use]
    pub fn option(&self) -> String {
        let letter = match self.protocol {
            Protocol::Tcp => 't',
            Protocol::Udp => 'u',
        };
        format!("-{letter} {}", self.socket())
    }
}

impl Endpoint {
    /// Returns address and port, the latter that of the service where none is given.
    #[must_use]
    pub fn of(&self, at: &At) -> SocketAddr {
        let port = self.port.filter(|port| *port != 0).unwrap_or(at.port);
        SocketAddr::new(self.address, port)
    }
}

impl Command {
    /// Reads a command line, without the name of the program.
    ///
    /// # Errors
    /// Says why it is not carried out.
    pub fn parse(words: &[String], names: &dyn Names) -> Result<Self, Refusal> {
        let given = Given::read(words)?;
        let (option, verb) = given.command()?;
        given.check(option)?;
        Reader { given, names }.command(verb)
    }

    /// Says whether it leaves everything as it is.
    #[must_use]
    pub const fn is_reading(&self) -> bool {
        match self {
            Self::AddService(..)
            | Self::EditService(..)
            | Self::DeleteService(_)
            | Self::Clear
            | Self::AddReal(..)
            | Self::EditReal(..)
            | Self::DeleteReal(..)
            | Self::AddLocal(..)
            | Self::DeleteLocal(..)
            | Self::Restore
            | Self::SetTimeouts { .. } => false,
            Self::ListLocal(_) | Self::List(_) | Self::Save | Self::Help | Self::Version => true,
        }
    }
}

/// Returns the text of `ipvsadm -h`.
#[must_use]
pub fn usage() -> String {
    options::usage()
}

/// Returns short and long name of every option that is known, in the order of the usage.
pub fn all_options() -> impl Iterator<Item = (Option<char>, &'static str)> {
    options::ALL.iter().map(|spec| (spec.short, spec.long))
}

struct Reader<'a> {
    given: Given,
    names: &'a dyn Names,
}

impl Reader<'_> {
    fn command(&self, verb: Verb) -> Result<Command, Refusal> {
        Ok(match verb {
            Verb::AddService => Command::AddService(self.service()?, self.service_settings()?),
            Verb::EditService => Command::EditService(self.service()?, self.service_settings()?),
            Verb::DeleteService => Command::DeleteService(self.service()?),
            Verb::Clear => Command::Clear,
            Verb::AddServer => {
                let settings = self.real_settings()?;
                if !settings.fullnat {
                    return unsupported(
                        "without -b ipvsadm takes direct routing (-g); Weir has FullNAT: say -b",
                    );
                }
                Command::AddReal(self.service()?, self.real()?, settings)
            }
            Verb::EditServer => {
                Command::EditReal(self.service()?, self.real()?, self.real_settings()?)
            }
            Verb::DeleteServer => Command::DeleteReal(self.service()?, self.real()?),
            Verb::AddLaddr => Command::AddLocal(self.service()?, self.laddr()?),
            Verb::DelLaddr => Command::DeleteLocal(self.service()?, self.laddr()?),
            Verb::GetLaddr => Command::ListLocal(self.service_if_named()?),
            Verb::List => Command::List(self.listing()?),
            Verb::Save => Command::Save,
            Verb::Restore => Command::Restore,
            Verb::Set => self.timeouts()?,
            Verb::Help => Command::Help,
            Verb::Version => Command::Version,
        })
    }

    fn service_if_named(&self) -> Result<Option<At>, Refusal> {
        let (text, protocol) = match (
            self.given.value(Opt::TcpService),
            self.given.value(Opt::UdpService),
        ) {
            (Some(text), None) => (text, Protocol::Tcp),
            (None, Some(text)) => (text, Protocol::Udp),
            (Some(_), Some(_)) => {
                return syntax("-t and -u name two services; one command changes one");
            }
            (None, None) => return Ok(None),
        };
        let (address, port) = values::host_port(text, protocol, self.names)?;
        let Some(port) = port.filter(|port| *port != 0) else {
            return unsupported(format!(
                "{text} means every port, which Weir has no service for; name the ports, a service each"
            ));
        };
        Ok(Some(At {
            protocol,
            address,
            port,
        }))
    }

    fn service(&self) -> Result<At, Refusal> {
        let at = self.service_if_named()?;
        at.ok_or_else(|| Refusal::Syntax("the service is missing: -t or -u VIP:PORT".to_owned()))
    }

    fn real(&self) -> Result<Endpoint, Refusal> {
        let Some(text) = self.given.value(Opt::RealServer) else {
            return syntax("the real server is missing: -r ADDRESS:PORT");
        };
        let protocol = self.service()?.protocol;
        let (address, port) = values::host_port(text, protocol, self.names)?;
        Ok(Endpoint { address, port })
    }

    fn laddr(&self) -> Result<IpAddr, Refusal> {
        let Some(text) = self.given.value(Opt::Laddr) else {
            return syntax("the local address is missing: -z ADDRESS");
        };
        // A port is no part of a local address; ipvsadm accepts one all the same.
        values::host_port(text, Protocol::Tcp, self.names).map(|(address, _)| address)
    }

    fn service_settings(&self) -> Result<ServiceSettings, Refusal> {
        let is_v6 = self.service()?.address.is_ipv6();
        let given = &self.given;
        let persist = match given.value(Opt::Persistent) {
            Some(text) => Some(values::seconds("-p", text)?),
            None => given.has(Opt::Persistent).then_some(values::PERSISTENT_S),
        };
        let synproxy = given.value(Opt::Synproxy).map(values::switch).transpose()?;
        if synproxy == Some(true) && self.service()?.protocol == Protocol::Udp {
            return syntax("-j enable is for TCP services; UDP has no SYN");
        }
        let mask = given.value(Opt::Netmask);
        let mask = mask.map(|text| values::mask(text, is_v6)).transpose()?;
        if mask.is_some() && persist.is_none() {
            return syntax("-M says which clients persist together, which needs -p");
        }
        Ok(ServiceSettings {
            scheduler: given
                .value(Opt::Scheduler)
                .map(values::scheduler)
                .transpose()?,
            persist,
            mask,
            synproxy,
            idle: given
                .value(Opt::EstablishTimeout)
                .map(|text| values::seconds("-V", text))
                .transpose()?,
        })
    }

    fn real_settings(&self) -> Result<RealSettings, Refusal> {
        let given = &self.given;
        let limit = |option, letter| {
            let text = given.value(option);
            text.map(|text| values::number(letter, text, u32::MAX))
                .transpose()
        };
        let (upper, lower) = (limit(Opt::UThreshold, "-x")?, limit(Opt::LThreshold, "-y")?);
        if let (Some(upper), Some(lower)) = (upper, lower)
            && lower > upper
        {
            return syntax(format!("-y {lower} is greater than -x {upper}"));
        }
        let weight = given.value(Opt::Weight);
        let weight = weight.map(|text| values::number("-w", text, u32::from(u16::MAX)));
        Ok(RealSettings {
            fullnat: given.has(Opt::Fullnat),
            weight: weight.transpose()?.map(|weight| weight as u16),
            upper,
            lower,
        })
    }

    fn listing(&self) -> Result<Listing, Refusal> {
        let given = &self.given;
        let kinds = [
            (Opt::Stats, Columns::Stats),
            (Opt::Rate, Columns::Rate),
            (Opt::Thresholds, Columns::Thresholds),
            (Opt::PersistentConn, Columns::Persistent),
            (Opt::Connection, Columns::Connections),
            (Opt::Timeout, Columns::Timeouts),
            (Opt::Daemon, Columns::Daemons),
        ];
        let asked: Vec<_> = kinds.iter().filter(|(opt, _)| given.has(*opt)).collect();
        if let [(first, _), (second, _), ..] = asked.as_slice() {
            return syntax(format!(
                "{} and {} ask for two listings; ask for one",
                first.name(),
                second.name()
            ));
        }
        Ok(Listing {
            only: self.service_if_named()?,
            what: asked.first().map(|(_, what)| *what).unwrap_or_default(),
            exact: given.has(Opt::Exact),
            unsorted: given.has(Opt::Nosort),
        })
    }

    fn timeouts(&self) -> Result<Command, Refusal> {
        let all = self.given.values(Opt::Set);
        let [tcp, tcpfin, udp] = all else {
            return syntax("--set needs three numbers of seconds: tcp, tcpfin, udp");
        };
        let most = values::MOST_SECONDS;
        Ok(Command::SetTimeouts {
            tcp: values::number("--set", tcp, most)?,
            tcpfin: values::number("--set", tcpfin, most)?,
            udp: values::number("--set", udp, most)?,
        })
    }
}

/// Returns what ipvsadm calls one of our schedulers; the same where it has none of that kind.
pub(crate) fn theirs(ours: &str) -> &str {
    let known = values::SCHEDULERS.iter().find(|(_, name)| *name == ours);
    known.map_or(ours, |(theirs, _)| theirs)
}

pub(crate) fn syntax<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Syntax(text.into()))
}

pub(crate) fn unsupported<T>(text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Unsupported(text.into()))
}

#[cfg(test)]
mod tests;
