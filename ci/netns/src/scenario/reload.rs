//! SIGHUP under load: services come and go, and no other session notices.

use std::fs;
use std::net::SocketAddrV4;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::soundness::list;
use super::{DRIVERS, Run};
use crate::inside::hold::Hold;
use crate::inside::http::HttpGet;
use crate::lab::{Lab, Topology, VIP};
use crate::server::{self, ECHO_PORT, Nginx};
use crate::{Service, WeirConf, WeirProcess};

/// The port of the service that comes and goes.
const NEW_PORT: u16 = 8080;
/// The file that ends the load, which lasts as long as the reloads, and the longest that it lasts.
const ENOUGH: &str = "enough";
const MOST_MS: u64 = 240_000;

pub(super) fn run(run: &mut Run) -> Result<()> {
    let pause = Duration::from_millis(run.figure(200, 400));
    let patience = run.figure(0.3, 1.0);
    for driver in DRIVERS {
        let lab = Lab::new(Topology::default())?;
        let _nginx = Nginx::start_all(&lab)?;
        let _echo = server::tcp_echo(&lab, 0)?;
        let before = WeirConf::new(driver, 1, lab.dir());
        let mut after = before.clone();
        let mut extra = Service::tcp("extra", NEW_PORT, &[]);
        extra.reals = vec![(0, 80)];
        after.services.push(extra);
        let weir = WeirProcess::start(&lab, &run.weir, &before)?;
        let echo = SocketAddrV4::new(VIP, ECHO_PORT);
        let kept = lab.start_hold(Hold {
            target: echo,
            count: 50,
            keep_ms: MOST_MS,
            until: Some(lab.dir().join(ENOUGH)),
            source: None,
        })?;
        let mut loading = lab.start_http_get(HttpGet {
            pause_ms: 5,
            within_s: MOST_MS / 1_000,
            until: Some(lab.dir().join(ENOUGH)),
            ..get(&lab, 80, 1_000_000)
        })?;
        run.check(
            &format!("{driver}: ten reloads add and remove a service"),
            || {
                for round in 0..5 {
                    weir.reload(&after)?;
                    thread::sleep(pause);
                    let report = lab.http_get(get(&lab, NEW_PORT, 10))?;
                    ensure!(
                        report.ok == 10,
                        "round {round}, service added: {} of 10: {}",
                        report.ok,
                        list(&report.failures)
                    );
                    weir.reload(&before)?;
                    thread::sleep(pause);
                    // A port without a service says nothing at all.
                    let url = format!("curl -s -m {patience} http://{VIP}:{NEW_PORT}/bench");
                    ensure!(
                        lab.client.run(&url).is_err(),
                        "round {round}: it still answers"
                    );
                }
                ensure!(
                    loading.is_running(),
                    "the load ended before the reloads did"
                );
                Ok("the service answers and is gone, five times".to_owned())
            },
        );
        fs::write(lab.dir().join(ENOUGH), "").context("cannot end the load")?;
        let (pages, echo) = (loading.report()?, kept.report()?);
        run.check(&format!("{driver}: pages during the reloads"), || {
            ensure!(pages.failed() == 0, "{}", list(&pages.failures));
            ensure!(pages.ok > 1_000, "there was no load: {} pages", pages.ok);
            Ok(format!(
                "{} pages, slowest {:.1} ms",
                pages.ok, pages.slowest_ms
            ))
        });
        run.check(
            &format!("{driver}: open sessions during the reloads"),
            || {
                ensure!(echo.opened == 50 && echo.lost.is_empty(), "{echo:?}");
                Ok(format!(
                    "50 kept, {} rounds of echoes, none lost",
                    echo.rounds
                ))
            },
        );
        run.check(&format!("{driver}: ledger"), || {
            Ok(weir.ledger()?.to_string())
        });
    }
    Ok(())
}

/// Plans pages over kept connections, sixteen at a time.
fn get(lab: &Lab, port: u16, count: u64) -> HttpGet {
    HttpGet {
        concurrency: 16,
        keep_alive: true,
        ..lab.pages(port, "/bench", count)
    }
}
