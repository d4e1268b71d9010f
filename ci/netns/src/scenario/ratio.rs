//! iperf3 both ways: Weir against the kernel's NAT, in the same lab with offloads off.

use std::net::SocketAddrV4;

use anyhow::{Result, ensure};

use super::soundness::gigabits;
use super::{DRIVERS, Run};
use crate::client::load::Way;
use crate::lab::{Lab, Offloads, Topology, VIP};
use crate::server::{self, IPERF_PORT};
use crate::{KernelNat, WeirConf, WeirProcess};

/// Weir must reach at least this share of the kernel's throughput.
const WANTED: f64 = 0.6;

pub(super) fn run(run: &mut Run) -> Result<()> {
    let seconds = run.figure(3, 10);
    for queues in [1, 2] {
        let topology = Topology {
            queues,
            offloads: Offloads::Off,
            ..Topology::default()
        };
        let lab = Lab::new(topology)?;
        let _iperf = server::iperf(&lab, 0)?;
        let kernel = {
            let _nat = KernelNat::start(&lab)?;
            both(&lab, seconds)?
        };
        for driver in DRIVERS {
            let conf = WeirConf::new(driver, queues, lab.dir());
            let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
            run.check(&format!("{driver}/{queues}q iperf3"), || {
                let (up, down) = both(&lab, seconds)?;
                let figure = format!(
                    "{} up (x{:.2} of the kernel's {}), {} down (x{:.2} of {})",
                    gigabits(up),
                    up / kernel.0,
                    gigabits(kernel.0),
                    gigabits(down),
                    down / kernel.1,
                    gigabits(kernel.1),
                );
                ensure!(
                    up >= WANTED * kernel.0 && down >= WANTED * kernel.1,
                    "{figure}"
                );
                Ok(figure)
            });
            run.check(&format!("{driver}/{queues}q ledger"), || {
                Ok(weir.ledger()?.to_string())
            });
        }
    }
    Ok(())
}

fn both(lab: &Lab, seconds: u32) -> Result<(f64, f64)> {
    let target = SocketAddrV4::new(VIP, IPERF_PORT);
    Ok((
        lab.iperf(target, Way::Up, seconds)?,
        lab.iperf(target, Way::Down, seconds)?,
    ))
}
