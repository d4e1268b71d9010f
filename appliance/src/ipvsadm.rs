//! `weir ipvsadm`, or called as `ipvsadm`: the command line of alibaba's ipvsadm for a running
//! daemon.

mod pending;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use weir_control::{
    AppliedRow, Client, ConfigText, DEFAULT_SOCKETS, Filter, Request, ServiceRow, SessionRow, What,
    WorkerRow,
};
use weir_lvs::{At, Columns, Command, Document, Facts, Listing, Refusal, Service, Strictness};

use crate::import::SystemNames;
use crate::{import, show};
use pending::Pending;

/// How long counters are watched for `--rate`.
const SECOND: Duration = Duration::from_secs(1);

/// Carries out a command line, without the name of the program.
///
/// # Errors
/// When the command line is refused, or the daemon does not answer.
pub(crate) fn run(words: &[String]) -> Result<()> {
    let (socket, words) = socket_of(words)?;
    let command = Command::parse(&words, &SystemNames::new())?;
    match command {
        Command::Help => print(&weir_lvs::usage()),
        Command::Version => print(&format!("ipvsadm of weir {}\n", env!("CARGO_PKG_VERSION"))),
        Command::List(listing) => Seen::of(&socket)?.list(&listing),
        Command::ListLocal(only) => Seen::of(&socket)?.locals(only),
        Command::Save => {
            let seen = Seen::of(&socket)?;
            print(&weir_lvs::save(&seen.services))
        }
        Command::Restore => restore(&socket),
        Command::AddService(..)
        | Command::EditService(..)
        | Command::DeleteService(_)
        | Command::Clear
        | Command::AddReal(..)
        | Command::EditReal(..)
        | Command::DeleteReal(..)
        | Command::AddLocal(..)
        | Command::DeleteLocal(..)
        | Command::SetTimeouts { .. } => {
            change(&socket, &[command], Strictness::Single).map_err(|(_, error)| error)
        }
    }
}

/// Carries out the commands of standard input, all of them or none.
fn restore(socket: &Path) -> Result<()> {
    let text = standard_input()?;
    let mut lines = Vec::new();
    let mut commands = Vec::new();
    for (line, command) in weir_lvs::commands(&text, &SystemNames::new()) {
        let at_line = |refusal: Refusal| refusal.at_line(line);
        commands.push(command.map_err(at_line)?);
        lines.push(line);
    }
    let changed = change(socket, &commands, Strictness::Restoring);
    changed.map_err(|(index, error)| match error.downcast::<Refusal>() {
        Ok(refusal) => refusal
            .at_line(lines.get(index).copied().unwrap_or(0))
            .into(),
        Err(error) => error,
    })
}

fn standard_input() -> Result<String> {
    import::read(io::stdin()).context("cannot read standard input")
}

/// Changes the running configuration; an error knows which command it belongs to.
fn change(
    socket: &Path,
    commands: &[Command],
    strictness: Strictness,
) -> Result<(), (usize, anyhow::Error)> {
    let nowhere = |error: anyhow::Error| (0, error);
    let pending = Pending::beside(socket);
    let turn = pending.turn().map_err(nowhere)?;
    let mut client = show::connect(Some(socket)).map_err(nowhere)?;
    let (document, text) = running_text(&mut client).map_err(nowhere)?;
    let waiting = pending.read().map_err(nowhere)?;
    let edited = weir_lvs::edit(&document, &waiting, commands, strictness)
        .map_err(|(index, refusal)| (index, refusal.into()))?;
    if edited.pending != waiting && turn.is_none() {
        return Err(nowhere(pending.needs_writing()));
    }
    if edited.running != document {
        apply(&mut client, &edited.running, text).map_err(nowhere)?;
    }
    if let (Some(turn), true) = (turn, edited.pending != waiting) {
        pending.write(&edited.pending, &turn).map_err(nowhere)?;
    }
    for sentence in edited.said {
        eprintln!("ipvsadm: {sentence}");
    }
    Ok(())
}

/// Has the daemon run on an edited configuration.
fn apply(client: &mut Client, document: &Document, over: String) -> Result<()> {
    let request = Request::Apply {
        texts: vec![ConfigText {
            name: "ipvsadm".to_owned(),
            text: document.to_string(),
        }],
        confirm_ms: None,
        over: Some(over),
    };
    let mut rows = client.request(&request)?;
    while let Some(row) = rows.next_row()? {
        let row: AppliedRow = serde_json::from_value(row).context("the answer cannot be read")?;
        if let Some(warning) = row.warning {
            eprintln!("ipvsadm: {warning}");
        }
    }
    Ok(())
}

/// Takes `--socket PATH`, which is ours, off the words.
fn socket_of(words: &[String]) -> Result<(PathBuf, Vec<String>), Refusal> {
    let named = std::env::var_os("WEIR_SOCKET").filter(|path| !path.is_empty());
    let mut socket = named.map(PathBuf::from);
    let mut rest = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        if let Some(path) = word.strip_prefix("--socket=") {
            socket = Some(path.into());
        } else if word == "--socket" {
            let path = words.next();
            socket = Some(path.map(PathBuf::from).ok_or_else(|| {
                Refusal::Syntax("--socket needs the path of a control socket".to_owned())
            })?);
        } else {
            rest.push(word.clone());
        }
    }
    let first_there = || {
        let there = DEFAULT_SOCKETS.iter().find(|path| Path::new(path).exists());
        there.or(DEFAULT_SOCKETS.first()).map(PathBuf::from)
    };
    let socket = socket.or_else(first_there).unwrap_or_default();
    Ok((socket, rest))
}

/// What holds: the configuration of the daemon, and services that wait for something.
struct Seen {
    client: Client,
    document: Document,
    services: Vec<Service>,
}

impl Seen {
    fn of(socket: &Path) -> Result<Self> {
        let mut client = show::connect(Some(socket))?;
        let document = running(&mut client)?;
        let pending = Pending::beside(socket).read()?;
        let services = weir_lvs::all_services(&document, &pending);
        Ok(Self {
            client,
            document,
            services,
        })
    }

    fn list(&mut self, listing: &Listing) -> Result<()> {
        if let Some(only) = listing.only
            && self.services.iter().all(|service| service.at != only)
        {
            let text = format!("there is no service {only}; `ipvsadm -ln` lists what there is");
            return Err(Refusal::Syntax(text).into());
        }
        match listing.what {
            Columns::Connections => return self.connections(listing),
            Columns::Timeouts => {
                let (text, differing) = weir_lvs::timeouts(&self.services);
                if let Some(sentence) = differing {
                    eprintln!("ipvsadm: {sentence}");
                }
                return print(&text);
            }
            // Nothing copies sessions to other machines by LVS's protocol, and nothing is listed.
            Columns::Daemons => return Ok(()),
            Columns::Services
            | Columns::Stats
            | Columns::Rate
            | Columns::Thresholds
            | Columns::Persistent => {}
        }
        let everything = Filter::default;
        let mut earlier: Vec<ServiceRow> = Vec::new();
        if listing.what == Columns::Rate {
            earlier = self.client.show(What::Services, everything())?;
            std::thread::sleep(SECOND);
        }
        let rows: Vec<ServiceRow> = self.client.show(What::Services, everything())?;
        let workers: Vec<WorkerRow> = self.client.show(What::Workers, everything())?;
        let facts = Facts {
            services: &self.services,
            rows: &rows,
            earlier: &earlier,
            capacity: workers.iter().map(|worker| worker.capacity).sum(),
        };
        self.several_addresses(listing);
        print(&weir_lvs::list(&facts, listing))
    }

    /// Numbers are those of a `[service]`, which may have several addresses.
    fn several_addresses(&self, listing: &Listing) {
        let mut addresses: BTreeMap<&str, usize> = BTreeMap::new();
        for service in &self.services {
            if listing.only.is_none_or(|only| only == service.at) {
                *addresses.entry(service.section.as_str()).or_default() += 1;
            }
        }
        for (section, count) in addresses {
            if count > 1 {
                eprintln!(
                    "ipvsadm: [service {section}] has {count} addresses; each line shows the numbers of all of them"
                );
            }
        }
    }

    fn connections(&mut self, listing: &Listing) -> Result<()> {
        let mut out = BufWriter::new(io::stdout().lock());
        show::unless_closed(out.write_all(weir_lvs::connections_title().as_bytes()))?;
        let (document, only) = (&self.document, listing.only);
        let mut closed = false;
        sessions(&mut self.client, None, |row| {
            if only.is_some_and(|only| !is_of(&row, &only)) {
                return Ok(true);
            }
            let line = weir_lvs::connection(document, &row);
            match out.write_all(line.as_bytes()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    closed = true;
                    Ok(false)
                }
                result => Ok(result.map(|()| true)?),
            }
        })?;
        if closed {
            return Ok(());
        }
        show::unless_closed(out.flush())
    }

    fn locals(&mut self, only: Option<At>) -> Result<()> {
        let mut used: BTreeMap<(At, IpAddr), u64> = BTreeMap::new();
        let section = only.and_then(|only| {
            let service = self.services.iter().find(|service| service.at == only);
            service.map(|service| service.section.clone())
        });
        if let (Some(only), None) = (only, &section) {
            let text = format!("there is no service {only}; `ipvsadm -G` lists all");
            return Err(Refusal::Syntax(text).into());
        }
        sessions(&mut self.client, section, |row| {
            let at = socket_with(&row.listen, &row.protocol);
            let lip = row.lip.parse::<SocketAddr>().ok();
            if let (Some(at), Some(lip)) = (at, lip) {
                *used.entry((at, lip.ip())).or_default() += 1;
            }
            Ok(true)
        })?;
        print(&weir_lvs::locals(&self.services, only, &used))
    }
}

/// Asks for sessions and looks at each until that says to stop.
fn sessions(
    client: &mut Client,
    service: Option<String>,
    mut each: impl FnMut(SessionRow) -> Result<bool>,
) -> Result<()> {
    let filter = Filter {
        service,
        ..Filter::default()
    };
    let what = What::Sessions;
    let mut rows = client.request(&Request::Show { what, filter })?;
    while let Some(row) = rows.next_row()? {
        let row = serde_json::from_value(row).context("a row of the daemon cannot be read")?;
        if !each(row)? {
            break;
        }
    }
    Ok(())
}

fn is_of(row: &SessionRow, at: &At) -> bool {
    socket_with(&row.listen, &row.protocol) == Some(*at)
}

fn socket_with(socket: &str, protocol: &str) -> Option<At> {
    let socket: SocketAddr = socket.parse().ok()?;
    let names = weir_model::Protocol::NAMES.iter();
    let (_, protocol) = names.into_iter().find(|(name, _)| *name == protocol)?;
    Some(At {
        protocol: *protocol,
        address: socket.ip(),
        port: socket.port(),
    })
}

/// Asks the daemon what it runs on.
///
/// # Errors
/// When it does not answer.
pub(crate) fn running(client: &mut Client) -> Result<Document> {
    running_text(client).map(|(document, _)| document)
}

fn running_text(client: &mut Client) -> Result<(Document, String)> {
    let lines: Vec<String> = client.show(What::Config, Filter::default())?;
    let text = lines.join("\n");
    let loaded = weir_conf::parse_str("the running configuration", &text, None);
    let loaded = loaded.map_err(|report| {
        let style = weir_conf::Style::short();
        anyhow!(
            "the daemon's configuration cannot be read; use the `weir` that runs there: {}",
            report.render(style)
        )
    })?;
    Ok((Document::new(&loaded.effective), text))
}

fn print(text: &str) -> Result<()> {
    show::unless_closed(io::stdout().write_all(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_option_may_stand_anywhere_and_is_none_of_ipvsadms() {
        let words =
            |line: &str| -> Vec<String> { line.split_whitespace().map(str::to_owned).collect() };
        for line in [
            "-ln --socket /run/x.sock",
            "--socket /run/x.sock -ln",
            "--socket=/run/x.sock -ln",
        ] {
            let (socket, rest) = socket_of(&words(line)).unwrap();
            assert_eq!(socket, Path::new("/run/x.sock"));
            assert_eq!(rest, ["-ln"]);
        }
        assert!(socket_of(&words("-ln --socket")).is_err());
    }

    #[test]
    fn a_session_belongs_to_the_address_that_its_client_used() {
        let row = SessionRow {
            listen: "203.0.113.1:80".to_owned(),
            protocol: "tcp".to_owned(),
            ..SessionRow::default()
        };
        let at = |protocol| At {
            protocol,
            address: "203.0.113.1".parse().unwrap(),
            port: 80,
        };
        assert!(is_of(&row, &at(weir_model::Protocol::Tcp)));
        assert!(!is_of(&row, &at(weir_model::Protocol::Udp)));
    }
}
