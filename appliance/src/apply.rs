//! `weir diff`, `apply`, `confirm` and `rollback`: what would change, and changing it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use weir_conf::{Purpose, Report, SourceText, Style};
use weir_control::{AppliedRow, ChangeRow, Client, ConfigText, Request};

use crate::{import, show};

/// The name of the standard input.
const STDIN: &str = "-";

/// How the daemon is asked, and how its answer is written.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) json: bool,
    pub(crate) socket: Option<PathBuf>,
}

/// Where a configuration comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// The daemon's own file.
    Daemon,
    /// This file.
    File(PathBuf),
    /// A file of LVS, with local addresses of services that name none.
    Lvs(PathBuf, Vec<String>),
}

/// Why an order could not be carried out.
pub(crate) enum Failure {
    /// The file has mistakes; the text shows them.
    Mistakes(String),
    /// Anything else.
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

/// Says what a configuration would change.
///
/// # Errors
/// When the file has mistakes, or the daemon cannot be asked.
pub(crate) fn diff(order: &Order, source: &Source) -> Result<(), Failure> {
    let texts = texts_of(order, source)?;
    let rows = ask(order, &Request::Diff { texts })?;
    let text = if order.json {
        format!("{}\n", Value::Array(rows))
    } else {
        let rows = rows.into_iter().map(serde_json::from_value::<ChangeRow>);
        let rows = rows.collect::<Result<Vec<_>, _>>();
        weir_control::changes(&rows.context("a row of the daemon cannot be read")?)
    };
    Ok(show::unless_closed(
        io::stdout().write_all(text.as_bytes()),
    )?)
}

/// Has the daemon run on a configuration.
///
/// # Errors
/// When the file has mistakes, or the daemon refuses; then its configuration is as it was.
pub(crate) fn apply(
    order: &Order,
    source: &Source,
    confirm: Option<Duration>,
) -> Result<(), Failure> {
    let request = Request::Apply {
        texts: texts_of(order, source)?,
        confirm_ms: confirm.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        over: None,
    };
    Ok(change(order, &request, "applied")?)
}

/// Makes the configuration stay that waits for it.
///
/// # Errors
/// When there is none, or the daemon cannot be asked.
pub(crate) fn confirm(order: &Order) -> Result<(), Failure> {
    Ok(change(order, &Request::Confirm {}, "confirmed")?)
}

/// Has the daemon run on a configuration that was applied before.
///
/// # Errors
/// When there is none, or the daemon refuses.
pub(crate) fn rollback(order: &Order, generation: Option<u64>) -> Result<(), Failure> {
    let request = Request::Rollback { generation };
    Ok(change(order, &request, "applied")?)
}

/// Has the daemon do a request that changes its configuration, and writes what it did.
fn change(order: &Order, request: &Request, done: &str) -> Result<()> {
    let rows = ask(order, request)?;
    let row = rows.into_iter().next();
    let json = row.context("the daemon did not say what it did")?;
    let printed = format!("{json}\n");
    let row: AppliedRow = serde_json::from_value(json).context("the answer cannot be read")?;
    let text = if order.json {
        printed
    } else {
        done_text(&row, done)
    };
    show::unless_closed(io::stdout().write_all(text.as_bytes()))?;
    match row.warning {
        Some(warning) => anyhow::bail!("{warning}"),
        None => Ok(()),
    }
}

/// Says what was done.
fn done_text(row: &AppliedRow, done: &str) -> String {
    let done = if row.unchanged { "runs on" } else { done };
    let mut text = format!("configuration {} {done}: {}\n", row.generation, row.summary);
    if let Some(seconds) = row.confirm_within_s {
        let wait = humantime::format_duration(Duration::from_secs(seconds));
        let _ = writeln!(
            text,
            "`weir confirm` within {wait}, or the configuration of before comes back"
        );
    }
    text
}

pub(crate) fn ask(order: &Order, request: &Request) -> Result<Vec<Value>> {
    let mut client: Client = show::connect(order.socket.as_deref())?;
    let mut rows = client.request(request)?;
    let mut all = Vec::new();
    while let Some(row) = rows.next_row()? {
        all.push(row);
    }
    Ok(all)
}

/// Reads what is to be sent, or makes it.
fn texts_of(order: &Order, source: &Source) -> Result<Vec<ConfigText>, Failure> {
    match source {
        Source::Daemon => texts(None),
        Source::File(file) => texts(Some(file)),
        Source::Lvs(file, lips) => {
            let made = import::on_running(file, lips, order.socket.as_deref())?;
            // What is wrong with it was told line by line.
            let made = made.ok_or_else(|| Failure::Mistakes(String::new()))?;
            Ok(vec![made])
        }
    }
}

/// Reads what is to be sent. A file whose bytes are no text is reported here: JSON has no way to
/// carry it.
pub(crate) fn texts(file: Option<&Path>) -> Result<Vec<ConfigText>, Failure> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let read = if file == Path::new(STDIN) {
        weir_conf::read_from("<stdin>", io::stdin().lock())
    } else {
        weir_conf::read(file)
    };
    let files = read.map_err(|report| mistakes(&report))?;
    files
        .iter()
        .map(|SourceText { name, bytes }| match str::from_utf8(bytes) {
            Ok(text) => Ok(ConfigText {
                name: name.clone(),
                text: text.to_owned(),
            }),
            Err(_) => match weir_conf::parse(name, bytes, &weir_conf::NoEnv, None) {
                Err(report) => Err(mistakes(&report)),
                Ok(_) => Err(anyhow::anyhow!("{name} is not text").into()),
            },
        })
        .collect()
}

fn mistakes(report: &Report) -> Failure {
    Failure::Mistakes(report.render(Style::long(Purpose::Apply)))
}
