//! Connections in a row, closed by the server, from 8 addresses through one LIP with 1,000 ports.

use anyhow::{Result, ensure};

use super::soundness::list;
use super::{DRIVERS, Run};
use crate::lab::{Lab, Topology};
use crate::{WeirConf, WeirProcess};
use crate::{metrics, server};

pub(super) fn run(run: &mut Run) -> Result<()> {
    let count = run.figure(20_000, 200_000);
    for (driver, queues) in DRIVERS.into_iter().zip([1, 2]).chain([("af-xdp", 2)]) {
        let lab = Lab::new(Topology::with_queues(queues))?;
        let _banner = server::tcp_banner(&lab, 0)?;
        let mut conf = WeirConf::new(driver, queues, lab.dir());
        conf.services.retain(|service| service.name == "banner");
        for pool in &mut conf.pools {
            "2000-2999".clone_into(&mut pool.source_ports);
            "0s".clone_into(&mut pool.reuse_after);
        }
        metrics::SECTION.clone_into(&mut conf.more);
        let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
        run.check(
            &format!("{driver}/{queues}q: {count} connections through 1,000 ports"),
            || {
                let report = lab.storm(lab.connections(count))?;
                ensure!(
                    report.ok == count,
                    "{} of {count}: {}",
                    report.ok,
                    list(&report.failures)
                );
                ensure!(
                    report.slow == 0,
                    "{} took more than 200 ms to open, the slowest {:.0} ms",
                    report.slow,
                    report.slowest_ms
                );
                Ok(format!(
                    "{:.0}/s, none refused, slowest opening {:.0} ms",
                    report.per_second(),
                    report.slowest_ms
                ))
            },
        );
        run.check(&format!("{driver}/{queues}q: ledger"), || {
            Ok(weir.ledger()?.to_string())
        });
        run.check(&format!("{driver}/{queues}q: metrics"), || {
            metrics::equals_ledger(&lab, &weir)
        });
    }
    Ok(())
}
