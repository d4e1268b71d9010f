//! What can be reached, and what can be written.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weir_lab::inside::scan::{Scan, ScanReport};
use weir_lab::lab::{
    CLIENT_LINK, LB_LAN, LB_WAN, REAL_LINK, VIP, client_address, lip, real_address,
};
use weir_lab::namespace::Namespace;
use weir_lab::scenario::Run;

use super::{Appliance, CONSOLE, PATIENCE, SECRET, login, settings};
use crate::site::{DESK, MANAGEMENT, Site, link_local};

/// The last port of a data address that the short form looks at.
const LAST_IN_SHORT: u16 = 8191;

pub(super) fn run(run: &mut Run, appliance: &mut Appliance) -> Result<()> {
    reach(run, &appliance.site, appliance.driver)?;
    inside(run, appliance)
}

/// Looks at all that can be reached from outside while data ports are taken by this driver.
pub(super) fn reach(run: &mut Run, site: &Site, driver: &str) -> Result<()> {
    let name = |what: &str| format!("image: {driver}: {what}");
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
    run.check(&name("management: only SSH answers"), || {
        let report = scan_to(u16::MAX, &site.desk, DESK, MANAGEMENT)?;
        ensure!(report.open.iter().eq([&22]), "open: {:?}", report.open);
        Ok(format!("port 22; {}", rest(&report)))
    });
    let (lan, client, real) = (site.lab.real(0)?, client_address(0), real_address(0));
    let sides = [
        (
            "its own address towards clients",
            &site.lab.client,
            client,
            LB_WAN,
        ),
        ("its own address towards real servers", lan, real, LB_LAN),
        ("the LIP", lan, real, lip(0)),
    ];
    for (what, from, source, target) in sides {
        run.check(&name(&format!("data ports: {what}")), || {
            let report = scan(from, source, target)?;
            ensure!(report.open.is_empty(), "open: {:?}", report.open);
            Ok(format!("nothing answers; {}", rest(&report)))
        });
    }
    run.check(&name("data ports: the VIP has its services alone"), || {
        let report = scan(&site.lab.client, client, VIP)?;
        ensure!(
            report.open.iter().all(|port| [80, 8080].contains(port)) && report.open.contains(&80),
            "open: {:?}",
            report.open
        );
        Ok(format!("{:?}", report.open))
    });
    let ways = [
        ("clients", &site.lab.client, client, LB_WAN),
        ("real servers", lan, real, LB_LAN),
    ];
    for (side, from, source, next_hop) in ways {
        let what = format!("management is not reached from the side of {side}");
        run.check(&name(&what), || {
            let way = format!("{MANAGEMENT}/32 via {next_hop}");
            from.ip(&format!("route add {way}"))?;
            let report = scan(from, source, MANAGEMENT);
            from.ip(&format!("route del {way}"))?;
            let report = report?;
            ensure!(report.open.is_empty(), "open: {:?}", report.open);
            Ok(rest(&report))
        });
    }
    run.check(&name("data ports: nothing answers by IPv6"), || {
        // That the question can be answered is shown where it is to be.
        let answers = ask_by_ipv6(&site.desk, "mgmt", 0)?;
        ensure!(answers > 0, "the management device does not answer either");
        let sides = [(&site.lab.client, CLIENT_LINK, 1), (lan, REAL_LINK, 2)];
        for (from, link, card) in sides {
            let answers = ask_by_ipv6(from, link, card)?;
            ensure!(answers == 0, "eth{card}: {answers} answers");
        }
        Ok("neither the link-local address nor all nodes".to_owned())
    });
    run.check(
        &name("doctor warns of what is so, and of nothing else"),
        || doctor(site),
    );
    Ok(())
}

/// Asks the link-local address of one of the guest's cards, and all nodes there, by IPv6; returns how
/// many answers came.
fn ask_by_ipv6(from: &Namespace, link: &str, card: u8) -> Result<usize> {
    let setting = |name: &str, value| from.sysctl(&format!("net/ipv6/conf/{link}/{name}"), value);
    setting("accept_dad", "0").context("this machine has no IPv6 to ask by")?;
    setting("disable_ipv6", "0")?;
    let own = from.ip(&format!("-6 -o address show dev {link} scope link"));
    let asked = [link_local(card).to_string(), "ff02::1".to_owned()].map(|target| {
        // Nobody answers: that is no failure here.
        let ping = format!("-6 -n -c 3 -i 0.3 -W 1 {target}%{link}");
        from.command("ping").args(ping.split(' ')).output()
    });
    setting("disable_ipv6", "1")?;
    let own = own?;
    let own = own.split_whitespace().find(|word| word.starts_with("fe80"));
    let own = own.and_then(|word| word.split('/').next());
    let own = own.with_context(|| format!("{link} has no link-local address"))?;
    let mut answers = 0;
    for output in asked {
        let said = String::from_utf8(output.context("cannot run ping")?.stdout)?;
        ensure!(said.contains("transmitted"), "ping: {said}");
        let from_others = |line: &&str| line.contains("bytes from fe80") && !line.contains(own);
        answers += said.lines().filter(from_others).count();
    }
    Ok(answers)
}

/// Returns how many ports are not open, and how.
fn rest(report: &ScanReport) -> String {
    format!("{} refused, {} silent", report.refused, report.silent)
}

/// What doctor warns of on this machine.
///
/// QEMU's cards tell no key of their hash, 256 MB are too few for huge pages, and nobody was named to
/// keep the clock.
const WARNINGS: [&str; 4] = [
    "warning rss lan",
    "warning rss wan",
    "warning thp",
    "warning clock",
];

fn doctor(site: &Site) -> Result<String> {
    let rows = site.operator.json("doctor --json")?;
    let rows = rows.as_array().context("doctor returns no rows")?;
    let text = |row: &Value, key: &str| row.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut found = BTreeSet::new();
    for row in rows {
        let status = text(row, "status").context("a row has no status")?;
        if status != "ok" {
            let words = ["check", "subject"].map(|key| text(row, key).unwrap_or_default());
            found.insert(format!("{status} {}", words.join(" ")).trim().to_owned());
        }
    }
    let expected: BTreeSet<String> = WARNINGS.map(str::to_owned).into();
    ensure!(
        found == expected,
        "{found:?}:\n{}",
        site.operator.run("doctor")?
    );
    Ok(format!("{} rows, {found:?}", rows.len()))
}

/// Looks at the appliance from inside.
fn inside(run: &mut Run, appliance: &mut Appliance) -> Result<()> {
    let agent = login::with_an_agent(&appliance.site)?;
    let mut lines = vec![
        "cat /etc/shadow".to_owned(),
        "touch /x /usr/bin/x /etc/x 2>/dev/null && echo WRIT''ABLE".to_owned(),
        "cat /proc/net/tcp /proc/net/tcp6".to_owned(),
    ];
    lines.extend(login::LINES.map(str::to_owned));
    lines.extend(settings::lines());
    lines.push("echo do''ne".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let said = maintenance(appliance, SECRET, &lines, "done")?;
    drop(agent);
    run.check("image: no agent is forwarded to it", || {
        login::check_agent(&said)
    });
    run.check("image: the settings that docs/hardening.md lists", || {
        settings::check_settings(&said)
    });
    run.check("image: file systems are mounted as it lists", || {
        settings::check_mounts(&said)
    });
    run.check(
        "image: the kernel was given the words that it lists",
        || settings::check_words(&said),
    );
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
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            serial.expect("# ", patience)?;
        }
        serial.line(line)?;
    }
    serial.expect(last, patience)?;
    let said = serial.transcript();
    let said = said.get(before..).unwrap_or_default().to_owned();
    serial.line("exit")?;
    Ok(said)
}
