//! `weir drain`, `enable` and `weight`: real servers taken out, put back and weighed by command.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use weir_control::{Client, DrainRow, OrderedRow, Request};

use crate::apply::Order;
use crate::show;

/// A real server of a service, as the command line names it: `10.0.1.11:443@web`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RealOf {
    pub(crate) real: String,
    pub(crate) service: String,
}

impl std::str::FromStr for RealOf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('@') {
            Some((real, service)) if !real.is_empty() && !service.is_empty() => Ok(Self {
                real: real.to_owned(),
                service: service.to_owned(),
            }),
            Some(_) | None => Err("it is REAL@SERVICE, e.g. 10.0.1.11:443@web".to_owned()),
        }
    }
}

/// How a real server is to be drained.
#[derive(Debug)]
pub(crate) struct Patience {
    pub(crate) deadline: Option<Duration>,
    pub(crate) then: Option<String>,
    /// Shows how far it is, again and again, until there is no session left.
    pub(crate) watch: Option<Duration>,
}

/// Gives a real server no new sessions, and shows when it will have none.
///
/// # Errors
/// When there is no such real server, or the daemon cannot be asked.
pub(crate) fn drain(order: &Order, meant: RealOf, patience: &Patience) -> Result<()> {
    let RealOf { real, service } = meant;
    let mut client = show::connect(order.socket.as_deref())?;
    let deadline = patience.deadline;
    let request = Request::Drain {
        service: service.clone(),
        real: real.clone(),
        deadline_ms: deadline.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        then: patience.then.clone(),
    };
    let (_, ordered): (_, OrderedRow) = ask(&mut client, &request)?;
    if let Some(warning) = &ordered.warning {
        eprintln!("weir: {warning}");
    }
    let real = ordered.real;
    loop {
        let request = Request::Draining {
            service: service.clone(),
            real: real.clone(),
        };
        let (json, row): (Value, DrainRow) = ask(&mut client, &request)?;
        let mut text = String::new();
        if patience.watch.is_some() && !order.json && io::stdout().is_terminal() {
            // Home, and nothing below it.
            text.push_str("\x1b[H\x1b[2J");
        }
        if order.json {
            let _ = writeln!(text, "{json}");
        } else {
            text.push_str(&weir_control::drain(&row));
        }
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        if matches!(&written, Err(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            // Whoever read us has seen enough.
            return Ok(());
        }
        written?;
        let Some(period) = patience.watch.filter(|_| row.sessions > 0) else {
            return Ok(());
        };
        std::thread::sleep(period);
    }
}

/// Gives a real server new sessions again.
///
/// # Errors
/// When there is no such real server, or the daemon cannot be asked.
pub(crate) fn enable(order: &Order, RealOf { real, service }: RealOf) -> Result<()> {
    say(order, &Request::Enable { service, real })
}

/// Gives a real server another weight, or that of its configuration.
///
/// # Errors
/// When there is no such real server, or the daemon cannot be asked.
pub(crate) fn weight(order: &Order, meant: RealOf, weight: Option<u16>) -> Result<()> {
    let RealOf { real, service } = meant;
    let request = Request::Weight {
        service,
        real,
        weight,
    };
    say(order, &request)
}

fn say(order: &Order, request: &Request) -> Result<()> {
    let mut client = show::connect(order.socket.as_deref())?;
    let (json, row): (_, OrderedRow) = ask(&mut client, request)?;
    let text = if order.json {
        format!("{json}\n")
    } else {
        format!("{}\n", row.text)
    };
    show::unless_closed(io::stdout().write_all(text.as_bytes()))?;
    if let Some(warning) = row.warning {
        eprintln!("weir: {warning}");
    }
    Ok(())
}

fn ask<T: DeserializeOwned>(client: &mut Client, request: &Request) -> Result<(Value, T)> {
    let mut rows = client.request(request)?;
    let mut first = None;
    while let Some(row) = rows.next_row()? {
        first = first.or(Some(row));
    }
    let json = first.context("the daemon did not say what it did")?;
    let row = serde_json::from_value(json.clone()).context("the answer cannot be read")?;
    Ok((json, row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_server_is_named_with_its_service() {
        let named: RealOf = "10.0.1.11:443@web@tls".parse().unwrap();
        assert_eq!(
            (named.real.as_str(), named.service.as_str()),
            ("10.0.1.11:443@web", "tls")
        );
        let named: RealOf = "[2001:db8::1]:443@web".parse().unwrap();
        assert_eq!(
            (named.real.as_str(), named.service.as_str()),
            ("[2001:db8::1]:443", "web")
        );
        for wrong in ["", "10.0.1.11:443", "@web", "10.0.1.11:443@"] {
            assert!(wrong.parse::<RealOf>().is_err(), "{wrong}");
        }
    }
}
