//! Handshake ACKs that are lost and segments of full size: the TOA comes with the data, and it fits.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use anyhow::{Result, ensure};

use super::client_address::TOA_KIND;
use super::soundness::list;
use super::{DRIVERS, Run};
use crate::capture::Capture;
use crate::inside::transfer::Bulk;
use crate::lab::{Lab, Offloads, REAL_LINK, Topology, VIP, client_address};
use crate::server::{self, ECHO_PORT, Nginx};
use crate::{WeirConf, WeirProcess};

/// An Ethernet header and the MTU of the lab.
const LONGEST: usize = 14 + 1500;

pub(super) fn run(run: &mut Run) -> Result<()> {
    for driver in DRIVERS {
        let lab = Lab::new(Topology {
            reals: 1,
            ..Topology::default()
        })?;
        let _nginx = Nginx::start(&lab, 0)?;
        let _echo = server::tcp_echo(&lab, 0)?;
        let mut conf = WeirConf::new(driver, 1, lab.dir());
        conf.services
            .retain(|service| ["web", "echo"].contains(&service.name.as_str()));
        conf.services
            .iter_mut()
            .for_each(|service| service.reals.truncate(1));
        let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
        lab.lose_bare_acks()?;
        run.check(&format!("{driver}: TOA comes with the data"), || {
            // Longer than any segment without data: what is captured is the request itself.
            let requests =
                Capture::start(&lab, lab.real(0)?, REAL_LINK, "tcp port 80 and greater 100")?;
            let report = lab.http_get(lab.pages(80, "/page", 200))?;
            let found = requests.stop()?.toa(TOA_KIND);
            ensure!(
                report.ok == 200,
                "{} of 200: {}",
                report.ok,
                list(&report.failures)
            );
            let expected: BTreeSet<SocketAddrV4> = report.locals.iter().copied().collect();
            ensure!(
                found == expected,
                "{} of {} requests carry it",
                found.len(),
                expected.len()
            );
            Ok(format!("in {} requests of {}", found.len(), expected.len()))
        });
        run.check(&format!("{driver}: full-size segments with TOA"), || {
            // Without this a super-frame of the client may pass through as one.
            lab.set_offloads(Offloads::Off)?;
            let filter = format!("tcp port {ECHO_PORT} and greater 1000");
            let data = Capture::start(&lab, lab.real(0)?, REAL_LINK, &filter)?;
            let bytes = 1 << 20;
            let report = lab.bulk(Bulk {
                target: SocketAddrV4::new(VIP, ECHO_PORT),
                bytes,
            })?;
            let data = data.stop()?;
            ensure!(
                report.failure.is_none() && report.same == bytes,
                "{report:?}"
            );
            let longest = data.longest();
            ensure!(longest <= LONGEST, "a frame of {longest} bytes");
            let clients: Vec<_> = data
                .toa(TOA_KIND)
                .into_iter()
                .map(|client| *client.ip())
                .collect();
            ensure!(
                clients == [client_address(0)],
                "TOA on segments with data: {clients:?}"
            );
            Ok(format!("1 MiB each way, longest frame {longest} bytes"))
        });
        run.check(&format!("{driver}: ledger"), || {
            Ok(weir.ledger()?.to_string())
        });
    }
    Ok(())
}
