//! Real servers see only LIPs, and the client's true address in the TOA.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use anyhow::{Result, ensure};

use super::soundness::list;
use super::{DRIVERS, Run};
use crate::capture::Capture;
use crate::lab::{CLIENT_LINK, Lab, REAL_LINK, Topology, lip, real_address};
use crate::server::Nginx;
use crate::{WeirConf, WeirProcess};

/// The option kind of the TOA.
pub(super) const TOA_KIND: u8 = 254;

pub(super) fn run(run: &mut Run) -> Result<()> {
    for driver in DRIVERS {
        let lab = Lab::new(Topology {
            reals: 1,
            ..Topology::default()
        })?;
        let nginx = Nginx::start(&lab, 0)?;
        let mut conf = WeirConf::new(driver, 1, lab.dir());
        conf.services.retain(|service| service.name == "web");
        conf.services
            .iter_mut()
            .for_each(|service| service.reals.truncate(1));
        let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
        let at_real = Capture::start(&lab, lab.real(0)?, REAL_LINK, "tcp port 80")?;
        let at_client = Capture::start(&lab, &lab.client, CLIENT_LINK, "tcp port 80")?;
        let report = lab.http_get(lab.pages(80, "/page", 400))?;
        let (at_real, at_client) = (at_real.stop()?, at_client.stop()?);
        run.check(&format!("{driver}: every page arrives"), || {
            ensure!(
                report.ok == 400,
                "{} of 400: {}",
                report.ok,
                list(&report.failures)
            );
            Ok(format!("{} pages", report.ok))
        });
        run.check(&format!("{driver}: nginx sees only LIPs"), || {
            let log = nginx.access_log()?;
            let seen: BTreeSet<&str> = log
                .lines()
                .filter_map(|line| line.split(':').next())
                .collect();
            let expected = lip(0).to_string();
            ensure!(
                seen.iter().eq([&expected.as_str()]),
                "nginx at {} saw {seen:?}",
                real_address(0)
            );
            Ok(format!(
                "{} lines, all from {expected}",
                log.lines().count()
            ))
        });
        run.check(&format!("{driver}: TOA carries the true client"), || {
            let found = at_real.toa(TOA_KIND);
            let expected: BTreeSet<SocketAddrV4> = report.locals.iter().copied().collect();
            let missing = expected.difference(&found).count();
            let invented = found.difference(&expected).count();
            ensure!(
                missing == 0 && invented == 0,
                "{missing} missing, {invented} wrong"
            );
            Ok(format!("{} clients, each address and port", found.len()))
        });
        run.check(&format!("{driver}: timestamps and checksums"), || {
            let (real, client) = (at_real.judge()?, at_client.judge()?);
            for (side, judged) in [("real server", real), ("client", client)] {
                ensure!(
                    judged.segments > 1000,
                    "only {} segments at the {side}",
                    judged.segments
                );
                ensure!(
                    judged.incorrect == 0,
                    "{} wrong checksums at the {side}",
                    judged.incorrect
                );
                let without = judged.segments - judged.timestamps - judged.resets;
                ensure!(
                    without == 0,
                    "{without} segments without timestamps at the {side}"
                );
            }
            Ok(format!(
                "{} segments in, {} back, none incorrect",
                real.segments, client.segments
            ))
        });
        run.check(&format!("{driver}: ledger"), || {
            Ok(weir.ledger()?.to_string())
        });
        drop(weir);
    }
    Ok(())
}
