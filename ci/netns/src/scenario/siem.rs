//! A real rsyslog gets Weir's events by UDP, TCP and TLS: in a flood of them, and after it was away.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Run;
use crate::attack::FLOOD_GATEWAY;
use crate::inside::flood::{Burst, Vector};
use crate::lab::{Lab, REAL_LINK, Topology, real_address};
use crate::patience::within;
use crate::rsyslog::{self, Rsyslog};
use crate::weir::find_row;
use crate::{Service, WeirConf, WeirProcess};

/// The receivers: their transport and port.
const RECEIVERS: [(&str, u16); 3] = [("udp", 514), ("tcp", 601), ("tls", 6514)];
/// The service whose sessions are logged; nobody answers there.
const PORT: u16 = 9;
/// Messages of one code in a second.
const BUDGET: u64 = 50;
/// New sessions per second in the flood; each is two events.
const FLOOD: u32 = 50_000;
const FLOOD_MS: u64 = 1_500;
/// Of a hundred datagrams of the flood so many must have gone on: events do not hold packets up.
const PASSED: u64 = 98;
/// How long it may take until all that happened is told.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// Datagrams that may be missing without a word.
const UNREAD: u64 = 100;

/// One message as rsyslog took it apart.
struct Message {
    code: String,
    id: u64,
    suppressed: u64,
    is_summary: bool,
}

pub(super) fn run(run: &mut Run) -> Result<()> {
    let lab = Lab::new(Topology {
        reals: 1,
        ..Topology::default()
    })?;
    lab.expect_floods()?;
    // Sessions that nobody answers are over soon.
    lab.real(0)?.nft(&format!(
        "table netdev weir-sink {{\nchain ingress {{\n\
         type filter hook ingress device {REAL_LINK} priority 0\nudp dport {PORT} drop\n}}\n}}\n"
    ))?;
    let mut rsyslog = Rsyslog::start(lab.real(0)?, real_address(0).into(), lab.dir(), &RECEIVERS)?;
    flood(run, &lab)?;
    let time = Duration::from_millis(run.figure(1_500, 60_000));
    away(run, &lab, &mut rsyslog, time)
}

/// More events than a SIEM wants: what arrives is within the budget and says how many it stands for.
fn flood(run: &mut Run, lab: &Lab) -> Result<()> {
    let weir = WeirProcess::start(lab, &run.weir, &conf(lab, BUDGET, 4096))?;
    connected(&weir)?;
    let burst = Burst {
        after_ms: 200,
        rate: FLOOD,
        ms: FLOOD_MS,
    };
    let began = Instant::now();
    let flood = lab.start_flood(lab.flood(PORT, &[Vector::Udp], &[burst])?)?;
    let offered = flood.report()?.sent;
    // Workers publish what they count every few milliseconds.
    thread::sleep(Duration::from_millis(100));
    let sessions = count(find_row(&weir.show("services")?, "name", "sink")?, "opened")?;
    run.check("siem: packets beside 100,000 events a second", || {
        let figure = format!("{sessions} of {offered} datagrams went on");
        ensure!(100 * sessions >= PASSED * offered, "{figure}");
        Ok(figure)
    });
    let mut found = Vec::new();
    let all_told = || -> Result<()> {
        let lost = count_lost(&weir)?;
        let rows = weir.show("syslog")?;
        found.clear();
        for (transport, _) in RECEIVERS {
            let row = find_row(&rows, "name", transport)?;
            let figure = told(lab, transport, row, began, sessions, lost);
            found.push((transport, figure));
        }
        let late = found.iter().find(|(_, figure)| figure.is_err());
        ensure!(late.is_none(), "not yet");
        Ok(())
    };
    // What is not told in time is said below.
    let _ = within(TOLD_WITHIN, all_told);
    weir.stop()?;
    for (transport, figure) in found {
        run.check(&format!("siem: a flood of events by {transport}"), || {
            figure
        });
    }
    Ok(())
}

/// Says whether what a receiver got is within the budget, and tells of every session.
fn told(
    lab: &Lab,
    transport: &str,
    row: &Value,
    began: Instant,
    sessions: u64,
    lost: u64,
) -> Result<String> {
    let seconds = began.elapsed().as_secs() + 1;
    let messages = messages(lab, transport)?;
    let mut told = 0;
    for code in ["session-opened", "session-ended"] {
        let of_code = messages.iter().filter(|it| it.code == code);
        let (mut count, mut said) = (0, 0);
        for message in of_code {
            count += 1;
            said += message.suppressed + u64::from(!message.is_summary);
        }
        let most = BUDGET * (seconds + 1);
        ensure!(count <= most, "{count} messages {code} in {seconds} s");
        told += said;
    }
    let dropped = count(row, "dropped")?;
    ensure!(dropped == 0, "{dropped} dropped: {row}");
    ensure!(
        told + lost == 2 * sessions,
        "{told} told and {lost} lost of {sessions} sessions opened and ended"
    );
    let rate = 1_000 * told / FLOOD_MS;
    Ok(format!(
        "{} messages stand for {told} events, {rate} a second; {lost} were lost in the worker's ring",
        messages.len()
    ))
}

/// rsyslog stops for a while: what is missing afterwards is what Weir says it dropped.
fn away(run: &mut Run, lab: &Lab, rsyslog: &mut Rsyslog, time: Duration) -> Result<()> {
    for (transport, _) in RECEIVERS {
        rsyslog.empty(transport)?;
    }
    let per_second = run.figure(500, 100);
    let weir = WeirProcess::start(lab, &run.weir, &conf(lab, 5_000, 1_024))?;
    connected(&weir)?;
    let burst = Burst {
        after_ms: 100,
        rate: per_second,
        ms: time.as_millis() as u64 + 2_000,
    };
    let flooding = lab.start_flood(lab.flood(PORT, &[Vector::Udp], &[burst])?)?;
    thread::sleep(Duration::from_millis(700));
    rsyslog.stop()?;
    thread::sleep(time);
    rsyslog.start_again(lab.real(0)?)?;
    flooding.report()?;
    // The longest wait before it is tried again is ten seconds.
    let rows = within(Duration::from_secs(40), || {
        let rows = weir.show("syslog")?;
        let mut all = rows.as_array().into_iter().flatten();
        let is_settled = |row: &Value| row["connected"] == true && row["queued"] == 0;
        ensure!(all.all(is_settled), "it does not settle: {rows}");
        Ok(rows)
    })?;
    let log = within(Duration::from_secs(20), || {
        let log = weir.log();
        for said in ["syslog-down", "syslog-up", "syslog-dropped"] {
            ensure!(log.contains(said), "the log does not say {said}:\n{log}");
        }
        Ok(log)
    });
    run.check("siem: the log says that rsyslog was away", || {
        log.map(|log| format!("{} lines of it", log.matches("syslog-").count()))
    });
    for (transport, _) in RECEIVERS {
        let row = find_row(&rows, "name", transport)?;
        let name = format!("siem: rsyslog away for {time:?}, by {transport}");
        // What rsyslog has read it has not yet written.
        let figure = within(Duration::from_secs(20), || missing(lab, transport, row));
        run.check(&name, || figure);
    }
    weir.stop()?;
    Ok(())
}

/// Says whether just those messages are missing that Weir says it dropped.
fn missing(lab: &Lab, transport: &str, row: &Value) -> Result<String> {
    let (dropped, repeated) = (count(row, "dropped")?, count(row, "repeated")?);
    let messages = messages(lab, transport)?;
    let ids: BTreeSet<u64> = messages.iter().map(|it| it.id).collect();
    let last = ids.last().copied().unwrap_or_default();
    let missing = last - ids.len() as u64;
    // Nobody acknowledges a datagram (RFC 5426 section 4.1): one that the receiver had when it went,
    // or had no room for when all that waited came at once, is gone.
    let unread = if transport == "udp" { UNREAD } else { 0 };
    ensure!(
        (dropped..=dropped + unread).contains(&missing),
        "{missing} of {last} are missing, {dropped} were dropped: {row}"
    );
    ensure!(dropped > 0, "nothing was dropped, so nothing was shown");
    Ok(format!(
        "{missing} of {last} missing, {dropped} were dropped; {} came twice ({repeated} sent again)",
        messages.len() - ids.len()
    ))
}

fn conf(lab: &Lab, session_budget: u64, queue: u32) -> WeirConf {
    let mut conf = WeirConf::new("af-packet", 1, lab.dir());
    conf.gateway = Some(FLOOD_GATEWAY);
    let mut sink = Service::udp("sink", PORT, &[0]);
    "session-log     = both\ntimeout-one-way = 100ms".clone_into(&mut sink.more);
    conf.services = vec![sink];
    for (transport, port) in RECEIVERS {
        // A string takes all that is written to it.
        let _ = write!(
            conf.more,
            "[syslog {transport}]\nserver          = {}:{port}\ntransport       = {transport}\n\
             budget          = {BUDGET}/s\nsession-budget  = {session_budget}/s\n\
             queue           = {queue}\n",
            real_address(0)
        );
        if transport == "tls" {
            let file = lab.dir().join("ca.pem");
            let _ = writeln!(conf.more, "ca-file         = {}", file.display());
        }
    }
    conf
}

/// Waits until every receiver is connected.
fn connected(weir: &WeirProcess<'_>) -> Result<()> {
    within(Duration::from_secs(30), || {
        let rows = weir.show("syslog")?;
        let mut all = rows.as_array().into_iter().flatten();
        ensure!(
            all.all(|row| row["connected"] == true),
            "not connected: {rows}"
        );
        Ok(())
    })
}

fn count(row: &Value, name: &str) -> Result<u64> {
    let number = row.get(name).and_then(Value::as_u64);
    number.with_context(|| format!("no count `{name}` in {row}"))
}

/// Returns how many records of the session log found no room in a worker's ring.
fn count_lost(weir: &WeirProcess<'_>) -> Result<u64> {
    let events = weir.show("events")?;
    let all = events.as_array().into_iter().flatten();
    let lost = all.filter(|row| row["code"] == "session-log-lost");
    let totals = lost.filter_map(|row| row.pointer("/fields/total")?.as_str()?.parse().ok());
    Ok(totals.max().unwrap_or_default())
}

/// Reads what rsyslog took by one transport.
fn messages(lab: &Lab, transport: &str) -> Result<Vec<Message>> {
    let text = rsyslog::received(lab.dir(), transport)?;
    text.lines().map(message).collect()
}

/// Reads a line: the code and the structured data as rsyslog understood them, and the message.
fn message(line: &str) -> Result<Message> {
    let mut parts = line.split('\t');
    let mut next = || parts.next().with_context(|| format!("`{line}` is cut off"));
    let (_time, code, data, text) = (next()?, next()?, next()?, next()?);
    let find = |name: &str| -> Option<u64> {
        let (_, rest) = data.split_once(&format!("{name}=\""))?;
        rest.split('"').next()?.parse().ok()
    };
    Ok(Message {
        code: code.to_owned(),
        id: find("sequenceId").with_context(|| format!("`{line}` has no sequence id"))?,
        suppressed: find("suppressed").unwrap_or_default(),
        is_summary: text.contains("more of these were left out"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_rsyslog_is_read() {
        let line = "2026-01-01T00:00:00Z\tsession-ended\t[meta sequenceId=\"7\"][weir@32473 class=\"session\" \
                    suppressed=\"12\"]\t12 more of these were left out";
        let message = message(line).unwrap();
        assert_eq!(message.code, "session-ended");
        assert_eq!((message.id, message.suppressed), (7, 12));
        assert!(message.is_summary);
        assert!(super::message("2026-01-01T00:00:00Z\tcut\t[meta]").is_err());
    }
}
