//! `doctor`: what only the daemon knows of itself, its real servers and its files.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Instant;

use weir_control::{CheckRow, CheckStatus, Code, Reply};
use weir_director::Reach;
use weir_model::{EventClass, PortId, Role, Severity, Snapshot};

use super::connection::{Connection, Job};
use super::diff;
use super::scene::Scene;
use crate::command::{Command, Ticket};
use crate::doctor::{Findings, appliance, process};
use crate::event::EventRecord;

/// Events of one kind that are said in a row.
const AT_START: usize = 5;

/// Begins to answer: the first worker knows its neighbours, and asks for those that it does not.
pub(crate) fn begin(connection: &mut Connection, ticket: Ticket, scene: &Scene) {
    let to = destinations(&scene.running.snapshot);
    let command = Command::Reach {
        ticket,
        rows: Vec::with_capacity(to.len()),
        to,
    };
    let worker = scene.fleet.worker(0);
    if worker.is_some_and(|worker| worker.send(command)) {
        connection.job = Some(Job::Doctor);
    } else {
        let text = "the first worker does not keep up; try again later";
        connection.refuse(Code::Busy, text);
    }
}

/// Takes how real servers are reached, and answers.
pub(crate) fn take(connection: &mut Connection, reached: &[Reach], scene: &Scene) {
    let Some(Job::Doctor) = connection.job else {
        return;
    };
    connection.job = None;
    let mut findings = Findings::default();
    configuration(scene, &mut findings);
    admission(scene, &mut findings);
    reach(&scene.running.snapshot, reached, &mut findings);
    process::check(&mut findings);
    let rows = findings.into_rows();
    for row in &rows {
        connection.send(&Reply::check(row));
    }
    connection.send(&Reply::done(rows.len() as u64));
}

/// Makes events of what was found at the start, the worst first: no more than the budget of a kind
/// allows, and the last says how many more there are.
pub(crate) fn events(findings: &mut [CheckRow]) -> Vec<EventRecord> {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.status));
    let mut events: Vec<_> = findings.iter().map(event).collect();
    if events.len() > AT_START {
        let more = events.len() - (AT_START - 1);
        events.truncate(AT_START - 1);
        let text = format!("{more} more findings; `weir doctor` tells them");
        let severity = Severity::Warning;
        events.push(EventRecord::new(
            EventClass::System,
            severity,
            "doctor",
            text,
        ));
    }
    events
}

fn event(finding: &CheckRow) -> EventRecord {
    let CheckRow {
        check,
        subject,
        text,
        advice,
        ..
    } = finding;
    let mut sentence = if subject.is_empty() {
        format!("{check}: {text}")
    } else {
        format!("{check} {subject}: {text}")
    };
    if let Some(advice) = advice {
        sentence.push_str("; ");
        sentence.push_str(advice);
    }
    let severity = match finding.status {
        CheckStatus::Ok => Severity::Info,
        CheckStatus::Warning => Severity::Warning,
        CheckStatus::Failure => Severity::Error,
    };
    EventRecord::new(EventClass::System, severity, "doctor", sentence)
        .field("check", check)
        .field("subject", subject)
        .field("status", finding.status.name())
}

/// Every next hop that packets will take, and real servers behind them, once.
pub(super) fn next_hops(snapshot: &Snapshot) -> Vec<Ipv4Addr> {
    let gateways = snapshot.ports.iter().flat_map(|port| &port.gateways);
    let routed = snapshot.routes.iter().map(|route| &route.via);
    let mut all = destinations(snapshot);
    all.extend(gateways.chain(routed).filter_map(|hop| match hop {
        IpAddr::V4(hop) => Some(*hop),
        IpAddr::V6(_) => None,
    }));
    all.sort_unstable();
    all.dedup();
    all
}

/// Every real server once.
fn destinations(snapshot: &Snapshot) -> Vec<Ipv4Addr> {
    let reals = snapshot.services.iter().flat_map(|service| &service.reals);
    let addresses = reals.filter_map(|real| match real.address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    });
    let mut all: Vec<_> = addresses.collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Whether the next hop of each real server answers the ARP of a LIP.
fn reach(snapshot: &Snapshot, reached: &[Reach], findings: &mut Findings) {
    const CHECK: &str = "next-hop";
    let mut known = 0;
    for one in reached {
        let subject = one.to.to_string();
        match (one.hop, one.mac) {
            (None, _) => findings.fail(
                CHECK,
                &subject,
                "no route of the configuration leads to this real server",
                "give a port an address on its network, or add a [route]",
            ),
            (Some(_), Some(_)) => known += 1,
            (Some((port, hop)), None) => {
                let port = name_of(snapshot, port);
                let who = if hop == one.to {
                    "it".to_owned()
                } else {
                    format!("its next hop {hop}")
                };
                findings.fail(
                    CHECK,
                    &subject,
                    format!("{who} does not answer ARP on port {port}"),
                    "look at its cable, its VLAN and whether it is switched on",
                );
            }
        }
    }
    if known > 0 || reached.is_empty() {
        let text = format!(
            "{known} of {} answer ARP to Weir's addresses",
            reached.len()
        );
        findings.ok(CHECK, "", text);
    }
}

/// Whether what runs is what stands in the files, and stays.
fn configuration(scene: &Scene, findings: &mut Findings) {
    const CHECK: &str = "configuration";
    let generation = scene.running.snapshot.generation.0;
    if let Some(waiting) = &scene.kept.unconfirmed {
        let left = waiting.deadline.saturating_duration_since(Instant::now());
        findings.warn(
            CHECK,
            "",
            format!(
                "configuration {generation} waits to be confirmed and goes in {} s",
                left.as_secs()
            ),
            "`weir confirm` makes it stay, `weir rollback` brings the one before back",
        );
    }
    let name = scene.kept.file().display().to_string();
    match diff::rows(scene, &[], Role::Operator) {
        Err(rejection) => {
            let mistakes = rejection.text.lines().next().unwrap_or_default();
            findings.fail(
                CHECK,
                &name,
                format!("the file could not be applied: {mistakes}"),
                "`weir check` shows every mistake",
            );
        }
        Ok(differences) if differences.is_empty() => findings.ok(
            CHECK,
            &name,
            format!("configuration {generation} runs, and the file says the same"),
        ),
        Ok(differences) => {
            let is_appliance = appliance::is_one(Path::new("/"));
            says_otherwise(&name, generation, differences.len(), is_appliance, findings);
        }
    }
}

/// What is to be said where the file differs from what runs. On an appliance what was applied is all
/// that holds: nobody can edit the file there.
fn says_otherwise(
    file: &str,
    generation: u64,
    objects: usize,
    is_appliance: bool,
    findings: &mut Findings,
) {
    const CHECK: &str = "configuration";
    if is_appliance {
        let text = format!("configuration {generation} runs; it goes before {file}");
        return findings.ok(CHECK, "", text);
    }
    let objects = match objects {
        1 => "an object".to_owned(),
        many => format!("{many} objects"),
    };
    findings.warn(
        CHECK,
        file,
        format!("the file differs from configuration {generation}, which runs, in {objects}"),
        "`weir diff` shows them, `weir apply` applies them",
    );
}

/// Whether new sessions are opened at all.
fn admission(scene: &Scene, findings: &mut Findings) {
    const CHECK: &str = "admission";
    if scene.stopping.is_some() {
        let advice = "start it again, or wait for who does";
        findings.fail(
            CHECK,
            "",
            "the daemon is stopping and opens no new sessions",
            advice,
        );
    } else if scene.overrides.is_maintenance() {
        let advice = "`weir maintenance off` ends it, `weir show overrides` says who began it";
        findings.warn(
            CHECK,
            "",
            "in maintenance: no new sessions are opened",
            advice,
        );
    } else {
        findings.ok(CHECK, "", "new sessions are opened");
    }
}

fn name_of(snapshot: &Snapshot, port: PortId) -> &str {
    let port = snapshot.ports.get(port.index());
    port.map_or("?", |port| port.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_says_otherwise_is_warned_of_where_somebody_can_edit_it() {
        let told = |objects, is_appliance| {
            let mut findings = Findings::default();
            says_otherwise("weir.conf", 7, objects, is_appliance, &mut findings);
            let row = findings.into_rows().remove(0);
            (row.status, row.text)
        };
        let (status, text) = told(2, false);
        assert_eq!(status, CheckStatus::Warning);
        assert!(
            text.contains("configuration 7, which runs, in 2 objects"),
            "{text}"
        );
        let (status, text) = told(2, true);
        assert_eq!(status, CheckStatus::Ok);
        assert_eq!(text, "configuration 7 runs; it goes before weir.conf");
    }

    #[test]
    fn the_worst_findings_of_a_start_are_said_and_the_others_counted() {
        let mut findings: Vec<CheckRow> = (0..7)
            .map(|n| CheckRow {
                status: if n == 6 {
                    CheckStatus::Failure
                } else {
                    CheckStatus::Warning
                },
                check: "link".to_owned(),
                subject: format!("p{n}"),
                text: "it is so".to_owned(),
                advice: Some("change it".to_owned()),
            })
            .collect();
        let said = events(&mut findings);
        let texts: Vec<_> = said.iter().map(|event| event.text.as_str()).collect();
        assert_eq!(texts.len(), AT_START);
        assert_eq!(texts[0], "link p6: it is so; change it");
        assert_eq!(texts[4], "3 more findings; `weir doctor` tells them");
        assert_eq!(events(&mut findings[..2]).len(), 2);
    }

    #[test]
    fn a_real_server_that_does_not_answer_arp_is_named_with_its_next_hop() {
        let config = crate::doctor::tests::snapshot("");
        let to = Ipv4Addr::new(10, 81, 0, 11);
        let router = Ipv4Addr::new(10, 81, 0, 254);
        let told = |hop, known: bool| {
            let one = Reach {
                to,
                hop,
                mac: known.then_some(weir_wire::EthAddr([2, 0, 0, 0, 0, 9])),
            };
            let mut findings = Findings::default();
            reach(&config, &[one], &mut findings);
            findings.into_rows().remove(0).text
        };
        let lan = PortId(1);
        assert_eq!(
            told(Some((lan, to)), true),
            "1 of 1 answer ARP to Weir's addresses"
        );
        assert_eq!(
            told(Some((lan, to)), false),
            "it does not answer ARP on port lan"
        );
        let far = told(Some((lan, router)), false);
        assert_eq!(
            far,
            "its next hop 10.81.0.254 does not answer ARP on port lan"
        );
        assert!(told(None, false).starts_with("no route"));
    }
}
