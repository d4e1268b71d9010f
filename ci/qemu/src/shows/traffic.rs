//! Clients, the guest, and two real servers: pages behind cookies, and a flood beside them.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_lab::capture::{Capture, Connection};
use weir_lab::inside::flood;
use weir_lab::lab::{REAL_LINK, lip};
use weir_lab::ledger;
use weir_lab::scenario::Run;

use super::{Appliance, PATIENCE, within};
use crate::site::Site;

/// The option kind of the TOA.
const TOA_KIND: u8 = 254;
const PAGES: u64 = 500;
/// SYNs per second, and for how long: an emulated machine gets through some 20,000 packets a second.
const FLOOD: (u32, u64) = (4_000, 5_000);

pub(super) fn run(run: &mut Run, appliance: &Appliance) -> Result<()> {
    let driver = appliance.driver;
    serve(run, &appliance.site, driver)?;
    let name = format!("image: {driver}: the SIEM is told of the flood");
    run.check(&name, || appliance.told("flood-began", "web"));
    Ok(())
}

/// Fetches pages while a flood goes on, and looks at what the real servers got.
pub(super) fn serve(run: &mut Run, site: &Site, driver: &str) -> Result<()> {
    let name = |what: &str| format!("image: {driver}: {what}");
    let lab = &site.lab;
    run.check(&name("two ports with their queues"), || {
        let ports = site.operator.json("show ports --json")?;
        let all = ports.as_array().cloned().unwrap_or_default();
        ensure!(all.len() == 2, "{ports}");
        for port in &all {
            let queues = port.get("queues").and_then(serde_json::Value::as_u64);
            let is = port.get("driver").and_then(serde_json::Value::as_str);
            ensure!(
                queues == Some(u64::from(site.queues)) && is == Some(driver),
                "{port}"
            );
        }
        Ok(format!("{driver} on both, {} of each", site.queues))
    });
    let captures = [0, 1].map(|n| Capture::start(lab, lab.real(n)?, REAL_LINK, "tcp port 80"));
    let (rate, ms) = FLOOD;
    let flood = lab.start_flood(site.flood(80, rate, ms)?)?;
    // Cookies begin when the flood is noticed.
    thread::sleep(Duration::from_secs(1));
    let report = lab.http_get(lab.pages(80, "/page", PAGES))?;
    let flooded = flood.report()?;
    let mut connections = Vec::new();
    for capture in captures {
        connections.extend(capture?.stop()?.connections(80, TOA_KIND));
    }
    run.check(&name("500 pages beside a SYN flood"), || {
        ensure!(
            report.ok == PAGES,
            "{} of {PAGES}: {:?}",
            report.ok,
            report.failures
        );
        ensure!(report.servers.len() == 2, "{:?}", report.servers);
        Ok(format!(
            "in {:.1} s, {} SYNs of the flood, {} answered with a cookie",
            report.seconds, flooded.sent, flooded.syn_acks
        ))
    });
    run.check(&name("TOA carries the true client"), || {
        true_clients(&connections, &report.locals)
    });
    run.check(&name("real servers see only the LIP"), || {
        for nginx in &site.nginx {
            let log = nginx.access_log()?;
            let seen: BTreeSet<&str> = log.lines().filter_map(|it| it.split(':').next()).collect();
            let expected = lip(0).to_string();
            ensure!(seen.iter().eq([&expected.as_str()]), "nginx saw {seen:?}");
        }
        Ok(lip(0).to_string())
    });
    run.check(&name("ledger"), || {
        within(PATIENCE, || {
            let books = ledger::check(&site.operator.json("show ledger --json")?)?;
            Ok(books.to_string())
        })
    });
    Ok(())
}

/// Compares what the real servers are told of the clients with what the clients say themselves.
fn true_clients(connections: &[Connection], locals: &[SocketAddrV4]) -> Result<String> {
    let (asked, idle): (Vec<_>, Vec<_>) = connections.iter().partition(|it| !it.said.is_empty());
    let wrong: Vec<_> = asked.iter().filter(|it| it.toa != it.said).collect();
    ensure!(
        wrong.is_empty(),
        "{} of {} wrong, such as {:?}",
        wrong.len(),
        asked.len(),
        wrong.first()
    );
    let told: BTreeSet<SocketAddrV4> = asked.iter().flat_map(|it| it.toa.clone()).collect();
    let locals: BTreeSet<SocketAddrV4> = locals.iter().copied().collect();
    ensure!(
        told == locals,
        "told of {} clients, and there are {}",
        told.len(),
        locals.len()
    );
    // The flood's first SYNs, before it is noticed, are clients as any.
    let invented = idle
        .iter()
        .find(|it| !it.toa.iter().all(|client| flood::is_source(*client.ip())));
    ensure!(
        invented.is_none(),
        "nobody ever was the client of {invented:?}"
    );
    Ok(format!(
        "{} connections, each as its client says; {} more of the flood's first SYNs",
        asked.len(),
        idle.len()
    ))
}
