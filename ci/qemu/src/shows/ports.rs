//! What can be reached, and what can be written.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use weir_lab::inside::scan::{Scan, ScanReport};
use weir_lab::lab::{LB_LAN, LB_WAN, VIP, client_address, lip, real_address};
use weir_lab::namespace::Namespace;
use weir_lab::scenario::Run;

use super::{Appliance, CONSOLE, PATIENCE, SECRET};
use crate::images::Images;
use crate::site::{DESK, MANAGEMENT};

/// The last port of a data address that the short form looks at.
const LAST_IN_SHORT: u16 = 8191;

pub(super) fn run(run: &mut Run, appliance: &mut Appliance, images: &Images) -> Result<()> {
    let site = &appliance.site;
    let scan_to = |last, from: &Namespace, source, target| -> Result<ScanReport> {
        let scan = Scan {
            source,
            target,
            first: 1,
            last,
        };
        site.lab.scan(from, scan)
    };
    let last = run.figure(LAST_IN_SHORT, u16::MAX);
    let scan = |from: &Namespace, source: Ipv4Addr, target| scan_to(last, from, source, target);
    run.check("image: management: only SSH answers", || {
        let report = scan_to(u16::MAX, &site.desk, DESK, MANAGEMENT)?;
        ensure!(report.open.iter().eq([&22]), "open: {:?}", report.open);
        Ok(format!(
            "port 22; {} refused, {} silent",
            report.refused, report.silent
        ))
    });
    let client = client_address(0);
    let real = real_address(0);
    let sides = [
        (
            "its own address towards clients",
            &site.lab.client,
            client,
            LB_WAN,
        ),
        (
            "its own address towards real servers",
            site.lab.real(0)?,
            real,
            LB_LAN,
        ),
        ("the LIP", site.lab.real(0)?, real, lip(0)),
    ];
    for (what, from, source, target) in sides {
        run.check(&format!("image: data ports: {what}"), || {
            let report = scan(from, source, target)?;
            ensure!(report.open.is_empty(), "open: {:?}", report.open);
            Ok(format!(
                "nothing answers; {} refused, {} silent",
                report.refused, report.silent
            ))
        });
    }
    run.check("image: data ports: the VIP has its services alone", || {
        let report = scan(&site.lab.client, client, VIP)?;
        ensure!(
            report.open.iter().all(|port| [80, 8080].contains(port)) && report.open.contains(&80),
            "open: {:?}",
            report.open
        );
        Ok(format!("{:?}", report.open))
    });
    run.check(
        "image: management is not reached through a data port",
        || {
            let next_hop = format!("{MANAGEMENT}/32 via {LB_WAN}");
            site.lab.client.ip(&format!("route add {next_hop}"))?;
            let report = scan(&site.lab.client, client, MANAGEMENT);
            site.lab.client.ip(&format!("route del {next_hop}"))?;
            let report = report?;
            ensure!(report.open.is_empty(), "open: {:?}", report.open);
            Ok(format!(
                "{} refused, {} silent",
                report.refused, report.silent
            ))
        },
    );
    inside(run, appliance)?;
    let version = images.first.version.clone();
    run.check("image: doctor finds nothing", || {
        let report = appliance.site.operator.run("doctor")?;
        ensure!(!report.contains("FAIL"), "{report}");
        Ok(format!("version {version}"))
    });
    Ok(())
}

/// Looks at the appliance from inside.
fn inside(run: &mut Run, appliance: &mut Appliance) -> Result<()> {
    let lines = [
        "cat /proc/mounts",
        "cat /etc/shadow",
        "touch /x /usr/bin/x /etc/x 2>/dev/null && echo WRIT''ABLE",
        "cat /proc/net/tcp /proc/net/tcp6",
        "echo do''ne",
    ];
    let said = maintenance(appliance, SECRET, &lines, "done")?;
    run.check("image: nothing of the root file system is writable", || {
        let root = said.lines().find(|line| line.contains(" / "));
        let root = root.unwrap_or_default();
        ensure!(root.contains("squashfs ro"), "{root}\n{said}");
        ensure!(!said.contains("WRITABLE"), "{said}");
        Ok(root.trim().to_owned())
    });
    run.check("image: no password is set", || {
        let lines: Vec<&str> = said.lines().filter(|it| it.contains(":::::")).collect();
        ensure!(
            lines.len() >= 3 && lines.iter().all(|it| it.contains(":*:")),
            "{lines:?}"
        );
        Ok(format!("{} accounts, all locked", lines.len()))
    });
    run.check("image: the only socket that listens is SSH's", || {
        let listeners: Vec<&str> = said
            .lines()
            .filter(|line| line.split_whitespace().nth(3) == Some("0A"))
            .filter_map(|line| line.split_whitespace().nth(1))
            .collect();
        ensure!(
            listeners == ["0100520A:0016"],
            "sockets listen: {listeners:?}"
        );
        Ok("10.82.0.1:22".to_owned())
    });
    Ok(())
}

/// Opens the maintenance shell on the serial line, which needs the secret, types lines until the last
/// one's answer comes, and returns what was said.
pub(super) fn maintenance(
    appliance: &mut Appliance,
    secret: &str,
    lines: &[&str],
    last: &str,
) -> Result<String> {
    maintenance_within(appliance, secret, lines, last, PATIENCE)
}

/// As [`maintenance`], with more patience.
pub(super) fn maintenance_within(
    appliance: &mut Appliance,
    secret: &str,
    lines: &[&str],
    last: &str,
    patience: Duration,
) -> Result<String> {
    let serial = &mut appliance.guest()?.serial;
    serial.wait("a console", PATIENCE, |it| it.contains(CONSOLE))?;
    serial.skip();
    serial.keys("q")?;
    serial.expect("Choice: ", PATIENCE)?;
    serial.line("6")?;
    serial.expect("secret", PATIENCE)?;
    serial.line(secret)?;
    serial.expect("You are root", PATIENCE)?;
    serial.expect("# ", PATIENCE)?;
    serial.skip();
    let before = serial.transcript().len();
    for line in lines {
        serial.line(line)?;
    }
    serial.expect(last, patience)?;
    let said = serial.transcript();
    let said = said.get(before..).unwrap_or_default().to_owned();
    serial.line("exit")?;
    Ok(said)
}
