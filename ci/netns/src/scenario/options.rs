//! TCP options: what the client's kernel can do x what the real server's can x the three modes of
//! SYNPROXY. Both ends must use exactly what both can do, as if nobody stood between them.

use std::net::SocketAddrV4;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::{DRIVERS, Run};
use crate::inside::flood::{Burst, Vector};
use crate::inside::options::{Ability, CellReport, Options, Target};
use crate::lab::{Lab, Topology, VIP};
use crate::patience::within;
use crate::server::{self, ECHO_PORT};
use crate::{Service, WeirConf, WeirProcess};

const MODES: [&str; 3] = ["off", "adaptive", "always"];
/// The service of mode 0 and real server 0; one per real server, a hundred per mode.
const FIRST_PORT: u16 = 1000;
/// Bytes each way.
const BYTES: u64 = 1 << 20;
/// A trigger that a few SYNs pull, and that stays pulled.
const PROFILES: &str = "[synproxy adaptive]\nmode            = adaptive\nenter           = 100/s\n\
     leave           = 10/s\nstay            = 10m\n\n\
     [synproxy always]\nmode            = always\n\n\
     [health tcp]\ntype            = tcp\ninterval        = 1s\ntimeout         = 1s\n";

pub(super) fn run(run: &mut Run) -> Result<()> {
    let drivers = if run.long {
        &DRIVERS[..]
    } else {
        &DRIVERS[..1]
    };
    for driver in drivers {
        one(run, driver)?;
    }
    Ok(())
}

fn one(run: &mut Run, driver: &str) -> Result<()> {
    let lab = Lab::new(Topology {
        clients: 1,
        reals: 8,
        ..Topology::default()
    })?;
    lab.expect_floods()?;
    let mut echoes = Vec::new();
    for (n, ability) in (0..).zip(Ability::all()) {
        for (key, value) in ability.sysctls() {
            lab.real(n)?.sysctl(key, value)?;
        }
        echoes.push(server::tcp_echo(&lab, n)?);
    }
    let conf = conf(&lab, driver);
    let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
    run.check(
        &format!("{driver}: every real server's options are learned"),
        || learned(&weir),
    );
    for (mode, name) in (0..).zip(MODES) {
        if name == "adaptive" {
            run.check(
                &format!("{driver}: a few SYNs pull a small trigger"),
                || pull(&lab, &weir, mode),
            );
        }
        let cells = cells();
        run.check(
            &format!("{driver}, {name}: both ends use what both can do"),
            || {
                let reports = lab.options(Options {
                    cells: cells.clone(),
                    targets: targets(&lab, mode),
                    bytes: BYTES,
                })?;
                judge(&cells, &reports)
            },
        );
    }
    run.check(&format!("{driver}: ledger"), || {
        Ok(weir.ledger()?.to_string())
    });
    Ok(())
}

/// Builds a service for each mode and real server.
fn conf(lab: &Lab, driver: &str) -> WeirConf {
    let mut conf = WeirConf::new(driver, 1, lab.dir());
    conf.gateway = Some(crate::attack::FLOOD_GATEWAY);
    PROFILES.clone_into(&mut conf.more);
    conf.services.clear();
    for (mode, name) in (0..).zip(MODES) {
        for n in 0..8 {
            let mut service = Service::tcp(&format!("{name}-{n}"), port(mode, n), &[]);
            service.reals = vec![(n, ECHO_PORT)];
            service.more =
                format!("client-address  = none\nsynproxy        = {name}\nhealth          = tcp");
            conf.services.push(service);
        }
    }
    conf
}

fn port(mode: u16, real: u8) -> u16 {
    FIRST_PORT + 100 * mode + u16::from(real)
}

fn targets(lab: &Lab, mode: u16) -> Vec<Target> {
    let numbered = (0..).zip(&lab.reals);
    let target = |(n, real): (u8, &crate::namespace::Namespace)| Target {
        service: SocketAddrV4::new(VIP, port(mode, n)),
        namespace: real.name().to_owned(),
        port: ECHO_PORT,
    };
    numbered.map(target).collect()
}

/// All 64 pairs of a client and a real server.
fn cells() -> Vec<(Ability, usize)> {
    let clients = Ability::all().into_iter();
    clients
        .flat_map(|client| (0..8).map(move |real| (client, real)))
        .collect()
}

/// Waits until the health checks have seen what each real server can do.
fn learned(weir: &WeirProcess<'_>) -> Result<String> {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        let health = weir.show("health")?;
        let rows = health.as_array().map_or(&[][..], Vec::as_slice);
        let missing = rows
            .iter()
            .filter(|row| !row.pointer("/learned/mss").is_some_and(Value::is_u64))
            .count();
        if !rows.is_empty() && missing == 0 {
            for (ability, row) in Ability::all().iter().cycle().zip(rows) {
                agrees(*ability, row)?;
            }
            return Ok(format!("{} rows of `weir show health`", rows.len()));
        }
        ensure!(Instant::now() < end, "{missing} are not learned: {health}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn agrees(ability: Ability, row: &Value) -> Result<()> {
    let flag = |at| row.pointer(at).and_then(Value::as_bool) == Some(true);
    let seen = Ability {
        sack: flag("/learned/sack"),
        wscale: row.pointer("/learned/wscale").is_some_and(Value::is_u64),
        timestamps: flag("/learned/timestamps"),
    };
    ensure!(
        seen == ability,
        "a real server with `{ability}` shows as {row}"
    );
    Ok(())
}

/// Makes every adaptive service send cookies.
fn pull(lab: &Lab, weir: &WeirProcess<'_>, mode: u16) -> Result<String> {
    let burst = Burst {
        after_ms: 0,
        rate: 1_000,
        ms: 400,
    };
    for n in 0..8 {
        let flood = lab.flood(port(mode, n), &[Vector::Syn], &[burst])?;
        lab.start_flood(flood)?.report()?;
    }
    let is_pulled = |row: &&Value| {
        let name = row.get("service").and_then(Value::as_str);
        name.is_some_and(|name| name.starts_with("adaptive-"))
            && row.get("active") == Some(&Value::Bool(true))
    };
    within(Duration::from_secs(20), || {
        let flood = weir.show("flood")?;
        let rows = flood.as_array().map_or(&[][..], Vec::as_slice);
        let pulled = rows.iter().filter(is_pulled).count();
        ensure!(pulled == 8, "{pulled} of 8 are active: {flood}");
        Ok("8 of 8 services active".to_owned())
    })
}

fn judge(cells: &[(Ability, usize)], reports: &[CellReport]) -> Result<String> {
    ensure!(
        reports.len() == cells.len(),
        "{} of {} cells",
        reports.len(),
        cells.len()
    );
    let wrong: Vec<String> = reports.iter().filter_map(complaint).collect();
    if !wrong.is_empty() {
        let shown = wrong.iter().take(12).cloned().collect::<Vec<_>>();
        bail!(
            "{} of {} cells:\n{}",
            wrong.len(),
            cells.len(),
            shown.join("\n")
        );
    }
    let sizes: std::collections::BTreeSet<u16> =
        reports.iter().map(|report| report.at_client.mss).collect();
    Ok(format!(
        "{} cells, 1 MiB each way compared; segments of {sizes:?} bytes",
        cells.len()
    ))
}

/// Says what is wrong with a cell.
fn complaint(report: &CellReport) -> Option<String> {
    let real = Ability::all().get(report.target).copied()?;
    let both = report.client.and(real);
    let what = format!("client `{}`, real server `{real}`", report.client);
    if let Some(failure) = &report.failure {
        return Some(format!("{what}: {failure}"));
    }
    for (end, used) in [
        ("client", report.at_client),
        ("real server", report.at_real),
    ] {
        if used.ability != both {
            return Some(format!("{what}: the {end} uses `{}`", used.ability));
        }
    }
    let (own, other) = (report.at_client.scales, report.at_real.scales);
    // Each end's own scale is what the other believes of its peer.
    if (own.0, own.1) != (other.1, other.0) {
        return Some(format!(
            "{what}: window scales {own:?} at the client, {other:?} at the real server"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::inside::options::Used;

    use super::*;

    #[test]
    fn option_that_only_one_end_uses_is_a_complaint() {
        let all = Ability::all();
        let used = |ability| Used {
            ability,
            scales: (7, 7),
            mss: 1448,
        };
        let mut report = CellReport {
            client: all[7],
            target: 7,
            failure: None,
            at_client: used(all[7]),
            at_real: used(all[7]),
        };
        assert_eq!(complaint(&report), None);
        report.at_real = used(all[3]);
        assert!(
            complaint(&report)
                .is_some_and(|text| text.contains("the real server uses `sack wscale -`"))
        );
    }
}
