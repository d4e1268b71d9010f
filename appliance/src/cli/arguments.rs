//! What may be said on the command line.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use weir_control::{Flags, ModeWish, What};
use weir_lvs::PortGiven;

use super::completion::CompletionShell;
use super::console::ConsoleArguments;
use crate::apply;
use crate::drain::RealOf;

/// Layer-4 load balancer on packet threads that own their NIC queues.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Runs the appliance in the foreground; prints `ready` when packets flow.
    Run {
        /// The configuration file.
        #[arg(long, value_name = "FILE", default_value = weir_conf::DEFAULT_PATH)]
        config: PathBuf,
        /// Runs on the configuration that ran last where the file has mistakes.
        #[arg(long)]
        last_good: bool,
    },
    /// Reports every mistake of a configuration file and of those in `conf.d` beside it.
    Check {
        /// The configuration file; `-` is the standard input.
        #[arg(value_name = "FILE", default_value = weir_conf::DEFAULT_PATH)]
        file: PathBuf,
        /// How mistakes are written.
        #[arg(long, value_enum, default_value_t = ReportFormat::Long)]
        format: ReportFormat,
        /// Writes JSON, as programs may rely on it.
        #[arg(long, conflicts_with = "format")]
        json: bool,
        #[command(flatten)]
        _unasked: UnaskedDaemon,
    },
    /// Says what a file would change, object by object, and what that does to live sessions.
    Diff {
        /// The configuration file; `-` is the standard input; none means the daemon's own.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        lvs: LvsArguments,
        #[command(flatten)]
        daemon: DaemonArguments,
    },
    /// Has the daemon run on a file; nothing changes where the file has a mistake.
    Apply {
        /// The configuration file; `-` is the standard input; none means the daemon's own.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        lvs: LvsArguments,
        /// Brings the configuration of before back after this time, unless `weir confirm` comes.
        #[arg(long, value_name = "TIME", value_parser = period)]
        confirm: Option<Duration>,
        #[command(flatten)]
        daemon: DaemonArguments,
    },
    /// Makes a configuration stay that was applied with `--confirm`.
    Confirm {
        #[command(flatten)]
        daemon: DaemonArguments,
    },
    /// Runs on the configuration before this one; drops one that waits to be confirmed.
    Rollback {
        /// The number of another one, as `weir show generations` lists them.
        #[arg(value_name = "GENERATION")]
        generation: Option<u64>,
        #[command(flatten)]
        daemon: DaemonArguments,
    },
    /// Gives a real server no new sessions, and shows when it will have none left.
    Drain {
        /// The real server and its service, e.g. `10.0.1.11:443@web`.
        #[arg(value_name = "REAL@SERVICE")]
        real: RealOf,
        /// How long its sessions may go on; else what `drain` of the service says.
        #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
        deadline: Option<Duration>,
        /// What becomes of those that are left then: `reset` or `keep`.
        #[arg(long, value_name = "WHAT", value_parser = ["reset", "keep"])]
        then: Option<String>,
        /// Shows it again and again, e.g. every `1s`, until there is no session left.
        #[arg(long, value_name = "EVERY", value_parser = period, num_args = 0..=1, default_missing_value = "1s")]
        watch: Option<Duration>,
        #[command(flatten)]
        daemon: DaemonArguments,
    },
    /// Gives a real server new sessions again.
    Enable {
        /// The real server and its service, e.g. `10.0.1.11:443@web`.
        #[arg(value_name = "REAL@SERVICE")]
        real: RealOf,
        #[command(flatten)]
        daemon: DaemonArguments,
    },
    /// Gives a real server another share of new sessions than the file does.
    Weight {
        /// The real server and its service, e.g. `10.0.1.11:443@web`.
        #[arg(value_name = "REAL@SERVICE")]
        real: RealOf,
        /// Its weight, 0 to 65535, or `default` for that of the file.
        #[arg(value_name = "N|default", value_parser = weight)]
        weight: ByCommand,
        #[command(flatten)]
        daemon: DaemonArguments,
    },
    /// Opens no new sessions on this appliance, or opens them again; those that exist go on.
    Maintenance {
        /// Whether it begins or ends.
        #[arg(value_enum)]
        turn: Turn,
        #[command(flatten)]
        daemon: DaemonArguments,
    },
    /// Sets when a service answers SYNs with cookies, over what the configuration says.
    Synproxy {
        /// The service.
        service: String,
        /// When; `default` is what the configuration says.
        #[arg(value_enum)]
        mode: Mode,
        /// The word `for` and how long, e.g. `for 10m`; without it until somebody takes it back.
        #[arg(value_name = "for TIME", num_args = 0..=2)]
        span: Vec<String>,
        #[command(flatten)]
        daemon: DaemonArguments,
    },
    /// Drops the packets of a network for all services, and ends its sessions.
    Deny {
        #[command(subcommand)]
        turn: Denial,
    },
    /// Writes what whoever helps asks for first into one file: configuration, counters, events,
    /// facts of the machine; no secrets.
    Support {
        /// The file, which must not exist yet; `-` is the standard output.
        #[arg(short, long, value_name = "FILE.tar")]
        output: Option<PathBuf>,
        /// Writes over a file that is there.
        #[arg(long)]
        force: bool,
        /// The control socket of the daemon.
        #[arg(long, value_name = "PATH", env = "WEIR_SOCKET")]
        socket: Option<PathBuf>,
    },
    /// Shows what the running daemon knows.
    Show(ShowArguments),
    /// Watches and steers the running daemon on a terminal: services, floods, sessions, events,
    /// configuration.
    Console(ConsoleArguments),
    /// Says each decision that the running daemon would take for a packet, without taking it.
    Explain(ExplainArguments),
    /// Writes frames out of the data plane into a file, each with what became of it.
    Capture(CaptureArguments),
    /// Looks for what will go wrong before traffic does: devices, queues, memory, real servers,
    /// ports, clock, files. Exits with 1 where something fails.
    Doctor(DoctorArguments),
    /// Measures what this machine can do, in memory, on cores that no worker runs on, and keeps it
    /// for `weir show flood`.
    Bench(BenchArguments),
    /// Makes a weir.conf of a keepalived.conf or of what `ipvsadm -S -n` wrote.
    Import(ImportArguments),
    /// The command line of LVS's ipvsadm, for the running daemon; also when called by that name.
    #[command(disable_help_flag = true)]
    Ipvsadm {
        /// The options of ipvsadm; `-h` lists them.
        #[arg(
            value_name = "OPTIONS",
            trailing_var_arg = true,
            allow_hyphen_values = true
        )]
        words: Vec<String>,
    },
    /// Prints what a shell needs to complete commands, keys and nouns.
    Completion {
        /// The shell.
        #[arg(value_enum)]
        shell: CompletionShell,
    },
    /// Explains a section or a key of the configuration file, e.g. `service.idle`, a command, a drop
    /// reason or a counter.
    Help {
        /// A section, a key, a command, a drop reason or a counter.
        name: Option<String>,
        /// Prints the whole reference as Markdown.
        #[arg(long, conflicts_with = "name")]
        markdown: bool,
    },
    #[command(flatten)]
    Appliance(weir_agent::cli::Verb),
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowArguments {
    /// What to show.
    #[arg(value_enum)]
    pub(super) what: Shown,
    /// Writes JSON, as programs may rely on it.
    #[arg(long)]
    pub(super) json: bool,
    /// Shows it again and again, e.g. every `1s`.
    #[arg(long, value_name = "EVERY", value_parser = period, num_args = 0..=1, default_missing_value = "1s")]
    pub(super) watch: Option<Duration>,
    /// Only this service.
    #[arg(long)]
    pub(super) service: Option<String>,
    /// Only sessions of this client.
    #[arg(long, value_name = "IP")]
    pub(super) client: Option<IpAddr>,
    /// How far back the history goes: a line a second up to `10m`, else a line a minute.
    #[arg(long, value_name = "TIME", value_parser = period)]
    pub(super) span: Option<Duration>,
    /// The control socket of the daemon.
    #[arg(long, value_name = "PATH", env = "WEIR_SOCKET")]
    pub(super) socket: Option<PathBuf>,
}

impl ShowArguments {
    /// Says which option means nothing to what is to be shown.
    pub(super) fn misplaced(&self) -> Option<String> {
        let what = self.what.what();
        let of_services = matches!(
            what,
            What::Services | What::Sessions | What::Flood | What::Health | What::History
        );
        let (is_sessions, is_history) = (what == What::Sessions, what == What::History);
        let (option, whose) = if self.service.is_some() && !of_services {
            ("--service", "services, sessions, flood, health and history")
        } else if self.client.is_some() && !is_sessions {
            ("--client", "sessions")
        } else if self.span.is_some() && !is_history {
            ("--span", "history")
        } else {
            return None;
        };
        let what = self.what.to_possible_value()?;
        let what = what.get_name();
        Some(format!(
            "{option} means nothing to `show {what}`; it is for {whose}"
        ))
    }
}

/// How the daemon is asked.
#[derive(Debug, clap::Args)]
pub(super) struct DaemonArguments {
    /// Writes JSON, as programs may rely on it.
    #[arg(long)]
    pub(super) json: bool,
    /// The control socket of the daemon.
    #[arg(long, value_name = "PATH", env = "WEIR_SOCKET")]
    pub(super) socket: Option<PathBuf>,
}

/// What every command takes, so that scripts need not know which of them ask a daemon.
#[derive(Debug, clap::Args)]
pub(super) struct UnaskedDaemon {
    /// Taken for the sake of scripts: this command asks no daemon.
    #[arg(long = "socket", value_name = "PATH", hide = true)]
    pub(super) _socket: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArguments {
    /// From whom the packet comes and where it goes: `client=IP:PORT service=VIP:PORT/tcp`, or
    /// `service=NAME`.
    #[arg(value_name = "KEY=VALUE", required = true)]
    pub(super) words: Vec<String>,
    /// The packet's TCP flags, as tcpdump writes them (`S`, `S.`, `.`, `F.`, `R`) or by name
    /// (`SYN`, `SYN,ACK`).
    #[arg(long, default_value_t)]
    pub(super) flags: Flags,
    /// Asks what the configuration of this file would decide, and marks what the running one
    /// decides otherwise; `-` is the standard input.
    #[arg(long, value_name = "FILE")]
    pub(super) candidate: Option<PathBuf>,
    /// Writes JSON, as programs may rely on it.
    #[arg(long)]
    pub(super) json: bool,
    /// The control socket of the daemon.
    #[arg(long, value_name = "PATH", env = "WEIR_SOCKET")]
    pub(super) socket: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArguments {
    /// The configuration file, where no daemon runs.
    #[arg(long, value_name = "FILE", default_value = weir_conf::DEFAULT_PATH)]
    pub(super) config: PathBuf,
    /// Writes JSON, as programs may rely on it.
    #[arg(long)]
    pub(super) json: bool,
    /// The control socket of the daemon.
    #[arg(long, value_name = "PATH", env = "WEIR_SOCKET")]
    pub(super) socket: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct CaptureArguments {
    /// The file, in pcapng, which must not exist yet; `-` is the standard output.
    #[arg(short = 'w', long = "write", value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Writes over a file that is there.
    #[arg(long)]
    pub(super) force: bool,
    /// Only frames of this service, on either side of the translation.
    #[arg(long)]
    pub(super) service: Option<String>,
    /// Only frames from or to this address, on either side of the translation.
    #[arg(long, value_name = "IP")]
    pub(super) client: Option<Ipv4Addr>,
    /// Only dropped frames; of one reason, as `weir show ledger` names it.
    #[arg(long, value_name = "REASON", num_args = 0..=1, default_missing_value = "any")]
    pub(super) dropped: Option<String>,
    /// Ends after so many frames.
    #[arg(long, value_name = "FRAMES", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(super) limit: u64,
    /// Ends after so many seconds.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(super) seconds: u64,
    /// The control socket of the daemon.
    #[arg(long, value_name = "PATH", env = "WEIR_SOCKET")]
    pub(super) socket: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct BenchArguments {
    /// How long to measure, in all.
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "5")]
    pub(super) seconds: f64,
    /// The cores to measure on, e.g. `2-3`; workers that run there lose that time.
    #[arg(long, value_name = "CORES")]
    pub(super) cores: Option<String>,
    /// Writes JSON, as programs may rely on it.
    #[arg(long)]
    pub(super) json: bool,
    /// The control socket of the daemon whose workers' cores are left alone.
    #[arg(long, value_name = "PATH", env = "WEIR_SOCKET")]
    pub(super) socket: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct LvsArguments {
    /// Takes services, pools and checks from a keepalived.conf or from what `ipvsadm -S -n` wrote,
    /// and leaves everything else as it runs.
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    pub(super) from: Option<PathBuf>,
    /// Local addresses of services of that file that name none.
    #[arg(long = "lip", value_name = "ADDRESSES", requires = "from")]
    pub(super) lips: Vec<String>,
}

impl LvsArguments {
    pub(super) fn source(self, file: Option<PathBuf>) -> apply::Source {
        match (self.from, file) {
            (Some(file), _) => apply::Source::Lvs(file, self.lips),
            (None, Some(file)) => apply::Source::File(file),
            (None, None) => apply::Source::Daemon,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArguments {
    /// The file; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// A port of this machine, which such a file does not know: its name, device and addresses,
    /// e.g. `wan=eth0,198.51.100.2/24,gateway=198.51.100.1`. Without any, the result has lines to
    /// fill in.
    #[arg(long = "port", value_name = "NAME=DEVICE,ADDRESS/LENGTH")]
    pub(super) ports: Vec<PortGiven>,
    /// Local addresses of services that name none: one, FIRST-LAST, or a network.
    #[arg(long = "lip", value_name = "ADDRESSES")]
    pub(super) lips: Vec<String>,
    #[command(flatten)]
    pub(super) _unasked: UnaskedDaemon,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum ReportFormat {
    /// With the line and a caret below the mistake.
    Long,
    /// `FILE:LINE:COLUMN: error: ...`, one line each.
    Short,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Turn {
    /// It begins.
    On,
    /// It ends.
    Off,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Mode {
    /// Never.
    Off,
    /// While there is a flood.
    Adaptive,
    /// For every connection.
    Always,
    /// As the configuration says.
    Default,
}

impl Mode {
    pub(super) fn wish(self) -> ModeWish {
        match self {
            Self::Off => ModeWish::Off,
            Self::Adaptive => ModeWish::Adaptive,
            Self::Always => ModeWish::Always,
            Self::Default => ModeWish::Default,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Denial {
    /// Denies it, until somebody takes it back or the time is over.
    Add {
        /// The network, e.g. `192.0.2.0/24`, or one address.
        #[arg(value_name = "PREFIX")]
        network: String,
        /// How long, e.g. `10m`.
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
        span: Option<Duration>,
        #[command(flatten)]
        daemon: DaemonArguments,
    },
    /// Denies it no longer.
    Remove {
        /// The network as it was denied.
        #[arg(value_name = "PREFIX")]
        network: String,
        #[command(flatten)]
        daemon: DaemonArguments,
    },
    /// Shows what is denied by command, since when and by whom.
    List {
        #[command(flatten)]
        daemon: DaemonArguments,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Shown {
    /// Services with their real servers.
    Services,
    /// LIP pools with their use.
    Pools,
    /// Sessions, one row each.
    Sessions,
    /// Ports with their drivers.
    Ports,
    /// Packet threads.
    Workers,
    /// Where every packet went.
    Ledger,
    /// What became of the SYNs of each TCP service, and who sends them.
    Flood,
    /// The effective configuration.
    Config,
    /// Real servers: whether they answer, and the TCP options learned of them.
    Health,
    /// What happened, also before the last start: the last 10,000 events.
    Events,
    /// The receivers of log messages: connected, sent, dropped, suppressed.
    Syslog,
    /// The configurations that were applied and are kept, for `weir rollback`.
    Generations,
    /// The rates of the last ten minutes, or of up to a day with `--span`.
    History,
    /// What was set at run time over the configuration.
    Overrides,
    /// The appliance in a few lines: rates, alarms, who is connected.
    Status,
}

impl Shown {
    pub(super) fn what(self) -> What {
        match self {
            Self::Services => What::Services,
            Self::Pools => What::Pools,
            Self::Sessions => What::Sessions,
            Self::Ports => What::Ports,
            Self::Workers => What::Workers,
            Self::Ledger => What::Ledger,
            Self::Flood => What::Flood,
            Self::Config => What::Config,
            Self::Health => What::Health,
            Self::Events => What::Events,
            Self::Syslog => What::Syslog,
            Self::Generations => What::Generations,
            Self::History => What::History,
            Self::Overrides => What::Overrides,
            Self::Status => What::Status,
        }
    }
}

impl From<DaemonArguments> for apply::Order {
    fn from(arguments: DaemonArguments) -> Self {
        Self {
            json: arguments.json,
            socket: arguments.socket,
        }
    }
}

/// A weight by command; none means that of the file.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByCommand(pub(super) Option<u16>);

fn weight(text: &str) -> Result<ByCommand, String> {
    if text == "default" {
        return Ok(ByCommand(None));
    }
    let weight = text.parse();
    let weight = weight.map_err(|_| "it is 0 to 65535, or `default`".to_owned())?;
    Ok(ByCommand(Some(weight)))
}

fn period(text: &str) -> Result<Duration, String> {
    let period = humantime::parse_duration(text).map_err(|error| format!("{error}; e.g. 1s"))?;
    if period < Duration::from_millis(100) {
        return Err("it must be at least 100ms".to_owned());
    }
    Ok(period)
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (0.5..=600.0).contains(&seconds) {
        return Ok(seconds);
    }
    Err("it must be from 0.5 to 600".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_option_that_means_nothing_to_a_table_is_said_to() {
        let misplaced = |line: &str| {
            let arguments = Arguments::try_parse_from(line.split(' ')).unwrap();
            let Verb::Show(show) = arguments.verb else {
                panic!("not show");
            };
            show.misplaced()
        };
        for line in [
            "weir show ports --service web",
            "weir show pools --client 192.0.2.7",
            "weir show services --span 1m",
            "weir show history --client 192.0.2.7",
        ] {
            assert!(misplaced(line).is_some(), "{line}");
        }
        for line in [
            "weir show sessions --service web --client 192.0.2.7",
            "weir show history --service web --span 1h",
            "weir show health --service web",
        ] {
            assert_eq!(misplaced(line), None, "{line}");
        }
    }

    #[test]
    fn a_watch_without_a_period_is_every_second() {
        let arguments = Arguments::try_parse_from(["weir", "show", "ledger", "--watch"]).unwrap();
        let Verb::Show(show) = arguments.verb else {
            panic!("not show");
        };
        assert_eq!(show.watch, Some(Duration::from_secs(1)));
        assert!(Arguments::try_parse_from(["weir", "show", "ledger", "--watch", "1"]).is_err());
    }
}
