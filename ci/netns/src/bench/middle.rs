//! What stands in the middle: Weir, a bare loop over the same devices, or the kernel.

use anyhow::{Result, ensure};

use super::Bench;
use super::one_core::pollers;
use crate::cores::{Cores, Watch};
use crate::lab::{LAN, Lab, VIP, WAN, lip, real_address};
use crate::process::Process;
use crate::server::ECHO_PORT;
use crate::weir_conf::Pool;
use crate::{KernelNat, KernelSynproxy, Service, WeirConf, WeirProcess};

/// LIPs for 64 k flows, with ports to spare.
pub(super) const LIPS: u8 = 4;

/// Who answers or forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Middle {
    /// Weir with a driver.
    Weir(&'static str),
    /// An example of `netmap-io` that does nothing else, with a driver.
    Bare(&'static str),
    /// nft in the kernel.
    Kernel,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Answers SYNs with a cookie.
    Cookies,
    /// Translates both addresses and ports.
    Forward,
}

/// Whatever runs in the middle; it ends when dropped.
#[derive(Debug)]
pub(super) enum Running<'lab> {
    Weir(Box<WeirProcess<'lab>>),
    Bare(Process),
    Kernel(#[expect(dead_code, reason = "it is there to be dropped")] Kernel<'lab>),
}

/// The kernel's rules.
#[derive(Debug)]
#[expect(dead_code, reason = "they are there to be dropped")]
pub(super) enum Kernel<'lab> {
    Synproxy(KernelSynproxy<'lab>),
    Nat(KernelNat<'lab>),
}

impl Middle {
    /// Returns what people call it when it does a job.
    pub(super) fn name(self, job: Job) -> String {
        match (self, job) {
            (Self::Weir(driver), _) => format!("weir {driver}"),
            (Self::Bare(driver), Job::Cookies) => format!("bare reflector {driver}"),
            (Self::Bare(driver), Job::Forward) => format!("bare forwarder {driver}"),
            (Self::Kernel, Job::Cookies) => "nft SYNPROXY".to_owned(),
            (Self::Kernel, Job::Forward) => "nft DNAT+SNAT".to_owned(),
        }
    }

    /// Starts it and gives it its core.
    pub(super) fn start<'lab>(
        self,
        bench: &Bench,
        lab: &'lab Lab,
        job: Job,
    ) -> Result<Running<'lab>> {
        let cores = bench.cores;
        let running = match (self, job) {
            (Self::Weir(driver), _) => {
                let conf = conf(lab, cores, driver, job);
                Running::Weir(Box::new(WeirProcess::start(lab, &bench.weir, &conf)?))
            }
            (Self::Bare(driver), _) => Running::Bare(bare(bench, lab, driver, job)?),
            (Self::Kernel, Job::Cookies) => {
                Running::Kernel(Kernel::Synproxy(KernelSynproxy::start(lab, None)?))
            }
            (Self::Kernel, Job::Forward) => {
                Running::Kernel(Kernel::Nat(KernelNat::with_lips(lab, LIPS)?))
            }
        };
        lab.one_core(cores)?;
        Ok(running)
    }
}

impl Running<'_> {
    /// Says what to watch to know what it costs.
    pub(super) fn watch(&self, cores: Cores) -> Watch {
        let mut pids = pollers();
        match self {
            Self::Weir(weir) => pids.push(weir.pid()),
            Self::Bare(process) => pids.push(process.pid().cast_signed()),
            Self::Kernel(_) => {}
        }
        Watch {
            core: cores.weir,
            pids,
        }
    }

    /// Ends it and demands that its books are in order.
    pub(super) fn stop(self) -> Result<()> {
        match self {
            Self::Weir(weir) => {
                weir.ledger()?;
                let status = weir.stop()?;
                ensure!(status.success(), "weir ended with {status}");
            }
            Self::Bare(_) | Self::Kernel(_) => {}
        }
        Ok(())
    }
}

/// Builds the configuration of Weir on one core.
fn conf(lab: &Lab, cores: Cores, driver: &str, job: Job) -> WeirConf {
    let mut conf = WeirConf::new(driver, lab.topology().queues, lab.dir());
    conf.cpus = cores.weir.to_string();
    conf.control = Some(cores.others);
    let mut service = match job {
        Job::Cookies => Service::tcp("echo", ECHO_PORT, &[0]),
        Job::Forward => Service::udp("udp-echo", ECHO_PORT, &[0]),
    };
    if job == Job::Cookies {
        "client-address  = none\nsynproxy        = always".clone_into(&mut service.more);
    }
    conf.services = vec![service];
    conf.pools = vec![Pool {
        addresses: (0..LIPS).map(lip).collect(),
        ..Pool::new("blue", lip(0))
    }];
    conf
}

fn bare(bench: &Bench, lab: &Lab, driver: &str, job: Job) -> Result<Process> {
    let (name, links) = match job {
        Job::Cookies => ("reflect", vec![WAN]),
        Job::Forward => ("forward", vec![WAN, LAN]),
    };
    let ready = format!("{}: ", links.last().copied().unwrap_or_default());
    let mut command = lab.lb.command(bench.examples.join(name));
    command.args(links);
    let owned = format!("{VIP},{}", real_address(0));
    let cpu = bench.cores.weir.to_string();
    command.args(["--owned", &owned, "--driver", driver, "--cpu", &cpu]);
    command
        .args(["--seconds", "600", "--run-dir"])
        .arg(lab.dir().join(name));
    let mut process = lab.start(name, &mut command)?;
    process.wait_for_words(&ready, std::time::Duration::from_secs(5))?;
    Ok(process)
}
