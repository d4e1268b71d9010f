//! What stands in the middle: Weir, a bare loop over the same devices, or the kernel.

use anyhow::{Result, bail, ensure};

use super::Bench;
use super::one_core::{Receive, pollers};
use crate::cores::{Cores, Watch};
use crate::haproxy::Haproxy;
use crate::lab::{LAN, Lab, VIP, WAN, client_address, lip, real_address};
use crate::plain::PlainRouter;
use crate::process::Process;
use crate::server::{ECHO_PORT, IPERF_PORT};
use crate::weir_conf::Pool;
use crate::{KernelNat, KernelSynproxy, Service, WeirConf, WeirProcess};

/// LIPs for 64 k flows, with ports to spare.
pub(super) const LIPS: u8 = 4;
/// Where a flood goes that runs beside something else.
pub(super) const FLOOD_PORT: u16 = 9;

/// Who answers or forwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Middle {
    /// Weir with a driver.
    Weir(&'static str),
    /// An example of `netmap-io` that does nothing else, with a driver.
    Bare(&'static str),
    /// nft in the kernel.
    Kernel,
    /// haproxy in TCP mode.
    Haproxy,
    /// The kernel as a router that translates nothing.
    Plain,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Answers SYNs with a cookie.
    Cookies,
    /// Translates both addresses and ports of datagrams.
    Forward,
    /// Serves real clients: pages, bulk data, datagrams.
    Serve,
}

/// Whatever runs in the middle; it ends when dropped.
#[derive(Debug)]
pub(super) enum Running<'lab> {
    Weir(Box<WeirProcess<'lab>>),
    Bare(Process),
    Haproxy(Haproxy<'lab>),
    Kernel(#[expect(dead_code, reason = "it is there to be dropped")] Kernel<'lab>),
}

/// The kernel's rules.
#[derive(Debug)]
#[expect(dead_code, reason = "they are there to be dropped")]
pub(super) enum Kernel<'lab> {
    Synproxy(KernelSynproxy<'lab>),
    Nat(KernelNat<'lab>),
    Plain(PlainRouter<'lab>),
}

impl Middle {
    /// Returns what people call it when it does a job.
    pub(super) fn name(self, job: Job) -> String {
        match (self, job) {
            (Self::Weir(driver), _) => format!("weir {driver}"),
            (Self::Bare(driver), Job::Cookies) => format!("bare reflector {driver}"),
            (Self::Bare(driver), _) => format!("bare forwarder {driver}"),
            (Self::Kernel, Job::Cookies) => "nft SYNPROXY".to_owned(),
            (Self::Kernel, _) => "nft DNAT+SNAT".to_owned(),
            (Self::Haproxy, _) => "haproxy tcp".to_owned(),
            (Self::Plain, _) => "direct".to_owned(),
        }
    }

    /// Starts it and gives it its core, its devices' work included.
    pub(super) fn start<'lab>(
        self,
        bench: &Bench,
        lab: &'lab Lab,
        job: Job,
    ) -> Result<Running<'lab>> {
        self.start_with(bench, lab, job, Receive::Threads, |_| {})
    }

    /// As [`Middle::start`], with another way to receive and a change to Weir's configuration.
    pub(super) fn start_with<'lab>(
        self,
        bench: &Bench,
        lab: &'lab Lab,
        job: Job,
        receive: Receive,
        change: impl FnOnce(&mut WeirConf),
    ) -> Result<Running<'lab>> {
        let cores = bench.cores;
        let running = match (self, job) {
            (Self::Weir(driver), _) => {
                let mut conf = conf(lab, cores, driver, job);
                change(&mut conf);
                Running::Weir(Box::new(WeirProcess::start(lab, &bench.weir, &conf)?))
            }
            (Self::Bare(driver), _) => Running::Bare(bare(bench, lab, driver, job)?),
            (Self::Kernel, Job::Cookies) => {
                Running::Kernel(Kernel::Synproxy(KernelSynproxy::start(lab, None)?))
            }
            (Self::Kernel, _) => Running::Kernel(Kernel::Nat(KernelNat::with_lips(lab, LIPS)?)),
            (Self::Haproxy, Job::Serve) => Running::Haproxy(Haproxy::start(lab, cores.weir)?),
            (Self::Plain, Job::Serve) => Running::Kernel(Kernel::Plain(PlainRouter::start(lab)?)),
            (Self::Haproxy | Self::Plain, _) => bail!("{self:?} does not do {job:?}"),
        };
        lab.one_core(cores, receive)?;
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
            Self::Haproxy(haproxy) => pids.push(haproxy.pid()),
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
            Self::Bare(_) | Self::Haproxy(_) | Self::Kernel(_) => {}
        }
        Ok(())
    }
}

/// Builds the configuration of Weir on one core.
pub(super) fn conf(lab: &Lab, cores: Cores, driver: &str, job: Job) -> WeirConf {
    let mut conf = WeirConf::new(driver, lab.topology().queues, lab.dir());
    conf.cpus = cores.weir.to_string();
    conf.control = Some(cores.others);
    // nft tells the real servers nothing, either.
    let tcp = |name: &str, port, reals: &[u8], more: &str| Service {
        more: format!("client-address  = none\n{more}"),
        ..Service::tcp(name, port, reals)
    };
    conf.services = match job {
        Job::Cookies => vec![tcp("echo", ECHO_PORT, &[0], "synproxy        = always")],
        Job::Forward => vec![Service::udp("udp-echo", ECHO_PORT, &[0])],
        Job::Serve => vec![
            tcp("web", 80, &[0, 1], ""),
            tcp("iperf", IPERF_PORT, &[0], ""),
            Service::udp("udp-echo", ECHO_PORT, &[0]),
            Service::udp("flood", FLOOD_PORT, &[0]),
        ],
    };
    conf.pools = vec![Pool {
        addresses: (0..LIPS).map(lip).collect(),
        ..Pool::new("blue", lip(0))
    }];
    conf
}

fn bare(bench: &Bench, lab: &Lab, driver: &str, job: Job) -> Result<Process> {
    let (name, links) = match job {
        Job::Cookies => ("reflect", vec![WAN]),
        Job::Forward | Job::Serve => ("forward", vec![WAN, LAN]),
    };
    let ready = format!("{}: ", links.last().copied().unwrap_or_default());
    // In a session of its own, as Weir is.
    let mut command = lab.lb.command("setsid");
    command.arg(bench.examples.join(name)).args(links);
    let owned = format!("{VIP},{},{}", real_address(0), client_address(0));
    let cpu = bench.cores.weir.to_string();
    command.args(["--owned", &owned, "--driver", driver, "--cpu", &cpu]);
    command
        .args(["--seconds", "600", "--run-dir"])
        .arg(lab.dir().join(name));
    let mut process = lab.start(name, &mut command)?;
    process.wait_for_words(&ready, std::time::Duration::from_secs(5))?;
    Ok(process)
}
