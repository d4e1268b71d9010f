//! Links that lose frames: handshakes, full-size segments with the TOA, and ends of connections.

use anyhow::{Result, ensure};

use super::soundness::{echo, list};
use super::{DRIVERS, Run};
use crate::inside::http::HttpGet;
use crate::lab::{Lab, Topology};
use crate::server::{self, ECHO_PORT, Nginx};
use crate::{WeirConf, WeirProcess};

pub(super) fn run(run: &mut Run) -> Result<()> {
    let count = run.figure(500, 3_000);
    let bytes = run.figure(4 << 20, 16 << 20);
    for driver in DRIVERS {
        let lab = Lab::new(Topology::default())?;
        let _nginx = Nginx::start_all(&lab)?;
        let _echo = server::tcp_echo(&lab, 0)?;
        let weir = WeirProcess::start(&lab, &run.weir, &WeirConf::new(driver, 1, lab.dir()))?;
        lab.lose(1)?;
        run.check(&format!("{driver}: pages, 1 % lost at every end"), || {
            let report = lab.http_get(HttpGet {
                concurrency: 50,
                ..lab.pages(80, "/page", count)
            })?;
            ensure!(
                report.ok == count,
                "{} of {count}: {}",
                report.ok,
                list(&report.failures)
            );
            Ok(format!(
                "{count} pages, slowest {:.0} ms",
                report.slowest_ms
            ))
        });
        run.check(&format!("{driver}: bytes, 1 % lost at every end"), || {
            echo(&lab, ECHO_PORT, bytes)
        });
        run.check(&format!("{driver}: ledger"), || {
            Ok(weir.ledger()?.to_string())
        });
    }
    Ok(())
}
