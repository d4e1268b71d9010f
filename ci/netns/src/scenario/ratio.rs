//! iperf3 both ways: Weir against the kernel's NAT, in the same lab with offloads off.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use super::soundness::{both_ways, gigabits};
use super::{DRIVERS, Run};
use crate::lab::{Lab, Offloads, Topology};
use crate::{KernelNat, WeirConf, WeirProcess};

/// Weir must reach at least this share of the kernel's throughput, on a machine that does nothing
/// else.
const WANTED: f64 = 0.6;
/// The same beside whatever CI's machine does at the time: workers are pinned, and what shares
/// their cores costs them more than it costs the kernel's NAT.
const WANTED_IN_COMPANY: f64 = 0.4;
/// Other work on the machine lowers single figures; then both are measured again.
const ROUNDS: u32 = 3;

pub(super) fn run(run: &mut Run) -> Result<()> {
    let seconds = run.figure(1, 10);
    let wanted = if run.long { WANTED } else { WANTED_IN_COMPANY };
    let program = run.weir.clone();
    for queues in [1, 2] {
        let topology = Topology {
            offloads: Offloads::Off,
            ..Topology::with_queues(queues)
        };
        let lab = Lab::new(topology)?;
        let mut kernel = None;
        for driver in DRIVERS {
            run.check(
                &format!("{driver}/{queues}q iperf3 against the kernel"),
                || compare(&lab, (&program, driver), &mut kernel, seconds, wanted),
            );
        }
    }
    Ok(())
}

/// Compares one driver with the kernel, whose figures of before count for the next driver, too.
fn compare(
    lab: &Lab,
    (program, driver): (&Path, &str),
    known: &mut Option<(f64, f64)>,
    seconds: u32,
    wanted: f64,
) -> Result<String> {
    let conf = WeirConf::new(driver, lab.topology().queues, lab.dir());
    let mut weir = (0.0, 0.0);
    let mut figure = String::new();
    for round in 0..ROUNDS {
        let kernel = match *known {
            Some(kernel) if round == 0 => kernel,
            kernel => {
                let _nat = KernelNat::start(lab)?;
                best(
                    kernel.unwrap_or_default(),
                    both_ways(lab, seconds).context("through the kernel")?,
                )
            }
        };
        *known = Some(kernel);
        weir = {
            let process = WeirProcess::start(lab, program, &conf)?;
            let measured = both_ways(lab, seconds).context("through Weir")?;
            process.ledger()?;
            best(weir, measured)
        };
        let (up, down) = (weir.0 / kernel.0, weir.1 / kernel.1);
        figure = format!(
            "{} up, {up:.2} of the kernel's {}; {} down, {down:.2} of {}",
            gigabits(weir.0),
            gigabits(kernel.0),
            gigabits(weir.1),
            gigabits(kernel.1),
        );
        if up >= wanted && down >= wanted {
            return Ok(figure);
        }
    }
    bail!("{figure}; wanted {wanted}")
}

fn best(one: (f64, f64), other: (f64, f64)) -> (f64, f64) {
    (one.0.max(other.0), one.1.max(other.1))
}
