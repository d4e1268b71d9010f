//! A pool that is too small: clients are refused at once, and only its own service suffers.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Result, ensure};

use super::soundness::pages;
use super::{DRIVERS, Run};
use crate::inside::hold::Hold;
use crate::lab::{Lab, Topology, VIP, lip};
use crate::server::{self, ECHO_PORT, Nginx};
use crate::weir_conf::Pool;
use crate::{Service, WeirConf, WeirProcess};

const PORTS: u64 = 10;

pub(super) fn run(run: &mut Run) -> Result<()> {
    for driver in DRIVERS {
        let lab = Lab::new(Topology::default())?;
        let _nginx = Nginx::start_all(&lab)?;
        let _echo = server::tcp_echo(&lab, 0)?;
        let mut conf = WeirConf::new(driver, 1, lab.dir());
        conf.pools.push(Pool {
            source_ports: "3000-3009".to_owned(),
            ..Pool::new("small", lip(1))
        });
        conf.services = vec![
            Service::tcp("web", 80, &[0, 1]),
            Service::tcp("echo", ECHO_PORT, &[0]).from_pool("small"),
        ];
        let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
        let source: Option<Ipv4Addr> = None;
        let target = SocketAddrV4::new(VIP, ECHO_PORT);
        let hold = lab.start_hold(Hold {
            target,
            count: 30,
            keep_ms: 3_000,
            until: None,
            source,
        })?;
        run.check(
            &format!("{driver}: the other service while the pool is empty"),
            || pages(&lab),
        );
        let report = hold.report()?;
        run.check(
            &format!("{driver}: a pool of 10 ports and 30 clients"),
            || {
                let refused = report
                    .refused
                    .get("connect: connection refused")
                    .copied()
                    .unwrap_or_default();
                ensure!(
                    report.opened == PORTS && refused == 30 - PORTS,
                    "{report:?}"
                );
                ensure!(report.lost.is_empty() && report.rounds > 10, "{report:?}");
                ensure!(
                    report.slowest_refusal_ms < 100.0,
                    "refused late: {report:?}"
                );
                Ok(format!(
                    "{} open and alive, {refused} refused within {:.1} ms",
                    report.opened, report.slowest_refusal_ms
                ))
            },
        );
        run.check(&format!("{driver}: the refusals are in the ledger"), || {
            let ledger = weir.ledger()?;
            let counted = ledger.dropped("lip-exhausted");
            ensure!(
                counted == 30 - PORTS,
                "lip-exhausted is {counted}: {ledger}"
            );
            Ok(ledger.to_string())
        });
    }
    Ok(())
}
