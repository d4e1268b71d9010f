//! One core for the load balancer: its threads and the whole of its devices' receive work, for
//! whatever stands in the middle.
//!
//! A veth is polled on the core of whoever sends to it, so that the generator would pay for what the
//! load balancer receives, and the load balancer for what its clients receive. With threaded NAPI
//! each device has a kernel thread of its own, which can be put on the core that shall pay.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::cores::{self, Cores};
use crate::lab::{CLIENT_LINK, LAN, Lab, REAL_LINK, WAN};
use crate::namespace::Namespace;

/// How long the kernel may take to start a device's thread.
const PATIENCE: Duration = Duration::from_secs(2);

/// The switch's end of the link to the load balancer.
pub(crate) const SWITCH_LINK: &str = "up0";

impl Lab {
    /// Gives every device that the load balancer sends to or receives from threads of its own, and
    /// puts those of the load balancer's devices on one core and all others on the other.
    ///
    /// Attaching and detaching programs may replace the threads: this is to be done again after
    /// each change of what stands in the middle.
    ///
    /// # Errors
    /// When a tool refuses, or the threads do not appear.
    pub fn one_core(&self, cores: Cores) -> Result<()> {
        let mut links = vec![
            (&self.client, CLIENT_LINK, cores.others),
            (&self.lb, WAN, cores.weir),
            (&self.lb, LAN, cores.weir),
            (&self.switch, SWITCH_LINK, cores.others),
        ];
        links.extend(
            self.reals
                .iter()
                .map(|real| (real, REAL_LINK, cores.others)),
        );
        for (namespace, link, _) in &links {
            threaded(namespace, link)?;
        }
        for link in [CLIENT_LINK, WAN, LAN, SWITCH_LINK, REAL_LINK] {
            let core = links.iter().find(|(_, name, _)| *name == link);
            let Some((_, _, core)) = core else { continue };
            let devices = links.iter().filter(|(_, name, _)| *name == link).count();
            place(link, *core, devices * usize::from(self.topology().queues))?;
        }
        Ok(())
    }
}

/// Lists the kernel threads that poll the load balancer's devices.
pub(crate) fn pollers() -> Vec<i32> {
    [WAN, LAN].into_iter().flat_map(threads_of).collect()
}

fn threaded(namespace: &Namespace, link: &str) -> Result<()> {
    // Only a veth with GRO or a program has a NAPI of its own.
    namespace.run(&format!("ethtool -K {link} gro on"))?;
    let script = format!("echo 1 > /sys/class/net/{link}/threaded");
    crate::command::run(namespace.command("sh").args(["-c", &script])).map(drop)
}

/// Puts the threads of all devices of a name on a core.
fn place(link: &str, core: usize, wanted: usize) -> Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let threads = threads_of(link);
        for thread in &threads {
            cores::move_to(*thread, core)?;
        }
        if threads.len() >= wanted {
            return Ok(());
        }
        if Instant::now() >= end {
            bail!(
                "{link} has {} threads of its own instead of {wanted}",
                threads.len()
            );
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Lists the kernel threads that poll devices of this name.
fn threads_of(link: &str) -> Vec<i32> {
    let head = format!("napi/{link}-");
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse::<i32>().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        name.starts_with(&head).then_some(pid)
    });
    pids.collect()
}
