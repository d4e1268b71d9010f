//! `weir show`: asks the daemon and prints tables for people or JSON for programs.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_control::{
    Client, DEFAULT_SOCKETS, EventRow, Filter, FloodRow, GenerationRow, HealthRow, HistoryRow,
    Introduction, LedgerReply, OverrideRow, PoolRow, PortRow, Request, ServiceRow, SessionRow,
    StatusRow, SyslogRow, What, WorkerRow,
};

/// Sessions in one table; its columns are as wide as these need.
const SESSIONS_A_TABLE: usize = 1000;

/// Above a table so many denied networks are told one by one.
const MOST_DENIED: usize = 5;

/// What is to be shown, and how.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) what: What,
    pub(crate) json: bool,
    pub(crate) watch: Option<Duration>,
    pub(crate) service: Option<String>,
    pub(crate) client: Option<IpAddr>,
    /// Of the history, how far back.
    pub(crate) span: Option<Duration>,
    pub(crate) socket: Option<PathBuf>,
}

/// Carries out the order.
///
/// # Errors
/// When the daemon cannot be asked or refuses.
pub(crate) fn show(order: &Order) -> Result<()> {
    let mut client = connect(order.socket.as_deref())?;
    loop {
        let mut out = BufWriter::new(io::stdout().lock());
        if order.watch.is_some() && !order.json && io::stdout().is_terminal() {
            // Home, and nothing below it.
            out.write_all(b"\x1b[H\x1b[2J")?;
        }
        match print(order, &mut client, &mut out).and_then(|()| Ok(out.flush()?)) {
            // Whoever read us has seen enough, e.g. `weir show sessions | head`.
            Err(error) if is_closed_pipe(&error) => return Ok(()),
            result => result?,
        }
        let Some(period) = order.watch else {
            return Ok(());
        };
        std::thread::sleep(period);
    }
}

/// Connects to the socket that is named, or else to one of those that a daemon has, and says who
/// is behind us where the environment tells.
///
/// # Errors
/// When there is no daemon behind it, or the environment has a name that is none.
pub(crate) fn connect(socket: Option<&Path>) -> Result<Client> {
    let said = Introduction::from_environment(|name| std::env::var(name).ok());
    let said = said.map_err(anyhow::Error::msg)?;
    let mut client = match socket {
        Some(path) => Client::connect(path),
        None => Client::connect_first(DEFAULT_SOCKETS),
    }?;
    if let Some(said) = &said {
        client.introduce(said)?;
    }
    Ok(client)
}

/// Takes it for success that whoever read us has seen enough.
///
/// # Errors
/// What else went wrong.
pub(crate) fn unless_closed(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

fn print(order: &Order, client: &mut Client, out: &mut impl Write) -> Result<()> {
    let filter = Filter {
        service: order.service.clone(),
        client: order.client,
        seconds: order.span.map(|span| span.as_secs()),
        ..Filter::default()
    };
    if order.what == What::Sessions {
        return print_sessions(order, client, filter, out);
    }
    let rows: Vec<Value> = client.show(order.what, filter)?;
    if !order.json && tells_first(order.what) {
        let rows: Vec<OverrideRow> = client.show(What::Overrides, Filter::default())?;
        out.write_all(told_first(&rows, order.what).as_bytes())?;
    }
    if order.json {
        let value = match order.what {
            What::Ledger => rows
                .into_iter()
                .next()
                .context("the daemon sent no ledger")?,
            What::Services
            | What::Pools
            | What::Sessions
            | What::Ports
            | What::Workers
            | What::Flood
            | What::Config
            | What::Health
            | What::Events
            | What::Syslog
            | What::Generations
            | What::History
            | What::Overrides => Value::Array(rows),
            What::Status => rows
                .into_iter()
                .next()
                .context("the daemon sent no status")?,
        };
        return Ok(writeln!(out, "{value}")?);
    }
    let text = match order.what {
        What::Services => weir_control::services(&read::<ServiceRow>(rows)?),
        What::Pools => weir_control::pools(&read::<PoolRow>(rows)?),
        What::Sessions => String::new(),
        What::Ports => weir_control::ports(&read::<PortRow>(rows)?),
        What::Workers => weir_control::workers(&read::<WorkerRow>(rows)?),
        What::Flood => weir_control::floods(&read::<FloodRow>(rows)?),
        What::Health => weir_control::health(&read::<HealthRow>(rows)?),
        What::Generations => weir_control::generations(&read::<GenerationRow>(rows)?),
        What::Syslog => weir_control::syslog(&read::<SyslogRow>(rows)?),
        What::History => weir_control::history(&read::<HistoryRow>(rows)?),
        What::Overrides => weir_control::overrides(&read::<OverrideRow>(rows)?),
        What::Status => {
            let rows: Vec<StatusRow> = read(rows)?;
            weir_control::status(rows.first().context("the daemon sent no status")?)
        }
        What::Events => weir_control::events(&read::<EventRow>(rows)?),
        What::Ledger => {
            let ledgers: Vec<LedgerReply> = read(rows)?;
            weir_control::ledger(ledgers.first().context("the daemon sent no ledger")?)
        }
        What::Config => {
            read::<String>(rows)?.join(
                "
",
            ) + "
"
        }
    };
    Ok(out.write_all(text.as_bytes())?)
}

/// What says so itself, or is copied into a file, is not told what holds by command again.
fn tells_first(what: What) -> bool {
    !matches!(what, What::Config | What::Overrides | What::Status)
}

/// Whoever looks at a box that opens no sessions is told so first, and above services and floods
/// what else holds there by command.
fn told_first(rows: &[OverrideRow], what: What) -> String {
    let concerns_all = |row: &&OverrideRow| row.setting == "maintenance";
    let is_denied = |row: &&OverrideRow| row.setting == "deny";
    // Who is drained or weighed is told below the services.
    let concerns_real = |row: &&OverrideRow| matches!(row.setting.as_str(), "drain" | "weight");
    let is_close = matches!(what, What::Services | What::Flood);
    let denied = rows.iter().filter(is_denied).count();
    let many = denied > MOST_DENIED;
    let told = rows
        .iter()
        .filter(|row| !concerns_real(row))
        .filter(|row| concerns_all(row) || is_close && !(many && is_denied(row)));
    let told = told.map(|row| row.sentence() + "\n");
    let sum = || format!("{denied} networks are denied by command; `weir deny list` shows them\n");
    told.chain((is_close && many).then(sum)).collect()
}

/// There may be millions: they are printed as they come.
fn print_sessions(
    order: &Order,
    client: &mut Client,
    filter: Filter,
    out: &mut impl Write,
) -> Result<()> {
    let what = What::Sessions;
    let mut rows = client.request(&Request::Show { what, filter })?;
    let mut page: Vec<SessionRow> = Vec::new();
    let mut is_first = true;
    while let Some(row) = rows.next_row()? {
        if order.json {
            writeln!(out, "{row}")?;
            continue;
        }
        page.push(serde_json::from_value(row).context("a row of the daemon cannot be read")?);
        if page.len() == SESSIONS_A_TABLE {
            out.write_all(weir_control::sessions(&page).as_bytes())?;
            page.clear();
            is_first = false;
        }
    }
    if !order.json && (is_first || !page.is_empty()) {
        out.write_all(weir_control::sessions(&page).as_bytes())?;
    }
    Ok(())
}

fn read<T: DeserializeOwned>(rows: Vec<Value>) -> Result<Vec<T>> {
    let rows = rows.into_iter().map(serde_json::from_value);
    rows.collect::<Result<_, _>>()
        .context("a row of the daemon cannot be read")
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref().map(io::Error::kind);
    kind == Some(io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(setting: &str, object: &str, value: &str) -> OverrideRow {
        OverrideRow {
            setting: setting.to_owned(),
            object: object.to_owned(),
            value: value.to_owned(),
            configured: "off".to_owned(),
            ..OverrideRow::default()
        }
    }

    #[test]
    fn what_holds_by_command_is_told_above_the_tables_that_it_concerns() {
        let mut rows = vec![
            set("maintenance", "", "on"),
            set("synproxy", "web", "always"),
            set("deny", "192.0.2.0/24", "denied"),
            set("drain", "10.0.1.11:80@web", "on"),
        ];
        let told = told_first(&rows, What::Ports);
        assert!(told.starts_with("IN MAINTENANCE") && told.lines().count() == 1);
        let told = told_first(&rows, What::Flood);
        let lines: Vec<_> = told.lines().collect();
        assert_eq!(lines.len(), 3, "{told}");
        assert!(lines[1].starts_with("synproxy of web is always"), "{told}");
        assert!(lines[2].starts_with("192.0.2.0/24 is denied"), "{told}");
        for n in 0..MOST_DENIED {
            rows.push(set("deny", &format!("192.0.2.{n}/32"), "denied"));
        }
        let told = told_first(&rows, What::Services);
        assert_eq!(told.lines().count(), 3, "{told}");
        let last = "6 networks are denied by command; `weir deny list` shows them\n";
        assert!(told.ends_with(last), "{told}");
    }
}
