//! Changes: applies under a load of new connections, one that nobody confirms, and kill -9 in the
//! midst of an apply.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{DRIVERS, Run};
use crate::client::Running;
use crate::inside::hold::{Hold, HoldReport};
use crate::lab::{LAN, Lab, Topology, VIP, real_address};
use crate::server::{self, ECHO_PORT, Nginx};
use crate::{Service, WeirConf, WeirProcess};

/// Connections of wrk at a time; each page has a new one.
const CLIENTS: u32 = 500;
/// The longest that an apply takes here.
const LIMIT: Duration = Duration::from_secs(30);
/// Pages that show the shares of the real servers.
const PAGES: u64 = 220;
/// An address that an apply gives to a port, and to its kernel interface.
const EXTRA: Ipv4Addr = Ipv4Addr::new(10, 81, 0, 77);

pub(super) fn run(run: &mut Run) -> Result<()> {
    let drivers = if run.long {
        &DRIVERS[..]
    } else {
        &DRIVERS[..1]
    };
    for driver in drivers {
        let lab = Lab::new(Topology::default())?;
        let _nginx = Nginx::start_all(&lab)?;
        let _echo = server::tcp_echo(&lab, 0)?;
        let mut conf = WeirConf::new(driver, 1, lab.dir());
        if let Some(web) = conf.services.first_mut() {
            "wrr".clone_into(&mut web.scheduler);
        }
        let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
        under_load(run, &lab, &weir, &conf, driver)?;
        unconfirmed(run, &lab, &weir, &conf, driver)?;
        run.check(&format!("{driver}: ledger"), || {
            let ledger = weir.ledger()?;
            let unresolved = ledger.dropped("unresolved");
            ensure!(
                unresolved == 0,
                "{unresolved} frames came before their next hop was known"
            );
            Ok(ledger.to_string())
        });
    }
    let lab = Lab::new(Topology {
        clients: 1,
        reals: 1,
        ..Topology::default()
    })?;
    let rounds = run.figure(10, 200);
    let weir = run.weir.clone();
    let drivers = if run.long {
        &DRIVERS[..]
    } else {
        &["af-packet"][..]
    };
    for driver in drivers {
        run.check(
            &format!("{driver}: kill -9 during {rounds} applies"),
            || killed(&lab, &weir, driver, rounds),
        );
    }
    Ok(())
}

/// Applies that concern other services, then applies that change the weights of the one under load.
fn under_load(
    run: &mut Run,
    lab: &Lab,
    weir: &WeirProcess<'_>,
    conf: &WeirConf,
    driver: &str,
) -> Result<()> {
    let applies = run.figure(10, 100);
    let mut held = hold(lab, "load")?;
    let wrk = lab.start_wrk("/bench", CLIENTS)?;
    // Until the load is at its height.
    thread::sleep(Duration::from_millis(500));
    let changes: [fn(&mut WeirConf, u16); 2] = [others, weights];
    for (what, change) in ["of other services", "of weights"].into_iter().zip(changes) {
        run.check(&format!("{driver}: {applies} applies {what}"), || {
            let (begun, mut slowest) = (Instant::now(), Duration::ZERO);
            for n in 0..applies {
                let mut new = conf.clone();
                change(&mut new, n);
                let one = Instant::now();
                weir.apply(&new, &[])?;
                slowest = slowest.max(one.elapsed());
            }
            Ok(format!(
                "in {:.1?}, the slowest in {slowest:.0?}",
                begun.elapsed()
            ))
        });
        weir.apply(conf, &[])?;
    }
    let lasted = held.is_running();
    let (pages, echo) = (wrk.stop()?, let_go(lab, "load", held)?);
    run.check(&format!("{driver}: pages during them"), || {
        ensure!(pages.errors == 0, "{} failed: {pages:?}", pages.errors);
        ensure!(pages.requests > 1000, "there was no load: {pages:?}");
        Ok(format!(
            "{} pages in as many connections, {CLIENTS} at a time, 99 % within {}; none failed",
            pages.requests, pages.latency_99
        ))
    });
    run.check(&format!("{driver}: open sessions during them"), || {
        ensure!(lasted, "they ended before the applies: {echo:?}");
        none_lost(&echo)?;
        let evicted = weir.counter("session-evicted")?;
        ensure!(evicted == 0, "{evicted} sessions were reset");
        Ok(format!("{} rounds of echoes; none was reset", echo.rounds))
    });
    Ok(())
}

/// What can be told apart of two configurations from outside.
#[derive(Debug, PartialEq)]
struct Seen {
    config: String,
    json: Value,
    generations: Value,
    addresses: String,
    /// Of pages in a row, how many each real server served.
    pages: BTreeMap<String, u64>,
}

impl Seen {
    fn of(lab: &Lab, weir: &WeirProcess<'_>) -> Result<Self> {
        let pages = lab.http_get(lab.pages(80, "/bench", PAGES))?;
        ensure!(pages.failed() == 0, "{pages:?}");
        Ok(Self {
            config: weir.show_table("config")?,
            json: weir.show("config")?,
            generations: weir.show("generations")?,
            addresses: lab.lb.ip(&format!("-o addr show dev {LAN}"))?,
            pages: pages.servers,
        })
    }
}

/// An apply that nobody confirms goes without a trace.
fn unconfirmed(
    run: &mut Run,
    lab: &Lab,
    weir: &WeirProcess<'_>,
    conf: &WeirConf,
    driver: &str,
) -> Result<()> {
    let held = hold(lab, "unconfirmed")?;
    let mut new = conf.clone();
    others(&mut new, 0);
    weights(&mut new, 1);
    new.lan_addresses.push(EXTRA);
    run.check(&format!("{driver}: an apply that nobody confirms"), || {
        let before = Seen::of(lab, weir)?;
        let said = weir.apply(&new, &["--confirm", "5s"])?;
        ensure!(said.contains("`weir confirm` within 5s"), "{said}");
        let begun = Instant::now();
        let during = Seen::of(lab, weir)?;
        ensure!(during.json != before.json, "it does not run");
        let extra = EXTRA.to_string();
        ensure!(during.addresses.contains(&extra), "{}", during.addresses);
        ensure!(during.pages != before.pages, "{:?}", during.pages);
        while weir.show_table("config")? == during.config {
            ensure!(begun.elapsed() < LIMIT, "it still runs");
            thread::sleep(Duration::from_millis(50));
        }
        let took = begun.elapsed();
        ensure!(took > Duration::from_millis(4500), "gone after {took:.1?}");
        let after = Seen::of(lab, weir)?;
        ensure!(
            after == before,
            "before it was\n{before:?}\nnow it is\n{after:?}"
        );
        Ok(format!(
            "{} bytes of `show config`, generations, addresses of `{LAN}` and shares of {PAGES} \
             pages as before",
            after.config.len()
        ))
    });
    let echo = let_go(lab, "unconfirmed", held)?;
    run.check(&format!("{driver}: open sessions meanwhile"), || {
        none_lost(&echo)?;
        Ok(format!("{} rounds of echoes", echo.rounds))
    });
    Ok(())
}

/// Kills the daemon again and again at a random moment of an apply.
fn killed(lab: &Lab, program: &Path, driver: &str, rounds: u16) -> Result<String> {
    let mut conf = WeirConf::new(driver, 1, lab.dir());
    "1k".clone_into(&mut conf.sessions);
    conf.services = vec![Service::tcp("web", 80, &[0])];
    let numbered = |n: u16| {
        let mut conf = conf.clone();
        conf.services.push(Service::tcp("extra", 9000 + n, &[0]));
        conf
    };
    let mut weir = WeirProcess::start(lab, program, &numbered(0))?;
    let template = weir.show_table("config")?;
    ensure!(template.contains(":9000"), "{template}");
    let mut now = 0;
    let begun = Instant::now();
    weir.apply(&numbered(1), &[])?;
    let takes = begun.elapsed();
    now += 1;
    let (mut olds, mut news, mut acknowledged) = (0, 0, 0);
    for n in 2..rounds + 2 {
        let text = numbered(n).to_string();
        // Every second time the file is the daemon's own.
        let own = n % 2 == 0;
        let file = if own {
            weir.file().to_owned()
        } else {
            lab.dir().join("new.conf")
        };
        fs::write(&file, text).context("cannot write the file")?;
        let mut order = weir.order(&["apply"]);
        if !own {
            order.arg(&file);
        }
        let mut apply = order
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run `weir apply`")?;
        thread::sleep(takes.mul_f64(moment(n) * 1.2));
        weir.kill()?;
        let done = apply
            .wait()
            .context("cannot wait for `weir apply`")?
            .success();
        weir = WeirProcess::start_again(lab, program, &conf)?;
        let found = weir.show_table("config")?;
        let like = |n: u16| template.replace(":9000", &format!(":{}", 9000 + n));
        if found == like(n) {
            news += 1;
            now = n;
        } else {
            ensure!(found == like(now), "a third configuration:\n{found}");
            ensure!(!done, "round {n}: `weir apply` said that it was done");
            olds += 1;
        }
        acknowledged += u16::from(done);
    }
    Ok(format!(
        "{olds} times the old configuration came back, {news} times the new one, {acknowledged} of \
         these acknowledged; an apply takes {takes:.0?}"
    ))
}

/// Returns a moment of round `n` from 0 to 1, spread evenly and in no order.
fn moment(n: u16) -> f64 {
    (f64::from(n) * 0.618_034).fract()
}

/// Adds, changes and removes services that are not under load.
fn others(conf: &mut WeirConf, n: u16) {
    match n % 4 {
        0 => conf.services.push(Service::tcp("extra", 8080, &[0])),
        1 => {
            let mut extra = Service::tcp("extra", 8081 + n, &[0, 1]);
            "wlc".clone_into(&mut extra.scheduler);
            conf.services.push(extra);
            conf.services.push(Service::udp("more", 8080, &[1]));
        }
        2 => conf.services.retain(|service| service.name != "iperf"),
        _ => {
            for service in &mut conf.services {
                if service.name == "banner" {
                    let more = "client-address  = none\nidle            = 1m";
                    more.clone_into(&mut service.more);
                }
            }
        }
    }
}

/// Changes the weights of the service under load.
fn weights(conf: &mut WeirConf, n: u16) {
    // Every configuration of the lab begins with it.
    let Some(web) = conf.services.first_mut() else {
        return;
    };
    let reals = std::mem::take(&mut web.reals);
    for (place, (real, port)) in (1..).zip(reals) {
        let weight = 1 + (n + place * 7) % 10;
        let address = real_address(real);
        let _ = write!(
            web.more,
            "\nreal            = {address}:{port}  weight={weight}"
        );
    }
}

fn hold(lab: &Lab, name: &str) -> Result<Running<HoldReport>> {
    lab.start_hold(Hold {
        target: SocketAddrV4::new(VIP, ECHO_PORT),
        count: 50,
        keep_ms: 240_000,
        until: Some(lab.dir().join(name)),
        source: None,
    })
}

fn let_go(lab: &Lab, name: &str, held: Running<HoldReport>) -> Result<HoldReport> {
    fs::write(lab.dir().join(name), "").context("cannot end the connections")?;
    held.report()
}

fn none_lost(echo: &HoldReport) -> Result<()> {
    ensure!(echo.opened == 50 && echo.lost.is_empty(), "{echo:?}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_is_a_configuration_of_its_own() {
        let conf = WeirConf::new("auto", 1, Path::new("/tmp/x"));
        for change in [others, weights] {
            let mut texts: Vec<String> = (0..4)
                .map(|n| {
                    let mut new = conf.clone();
                    change(&mut new, n);
                    let loaded = weir_conf::parse_str("weir.conf", &new.to_string(), None);
                    assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
                    new.to_string()
                })
                .collect();
            texts.push(conf.to_string());
            texts.sort();
            texts.dedup();
            assert_eq!(texts.len(), 5);
        }
    }
}
