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

/// How the load balancer's devices hand over what they receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receive {
    /// Each by a thread of its own, several frames of a stream glued together where the kernel takes
    /// them (GRO).
    Threads,
    /// By the core's backlog, as they are. Programs of AF_XDP have no backlog.
    Backlog,
}

impl Lab {
    /// Gives every device that the load balancer sends to or receives from threads of its own, and
    /// puts those of the load balancer's devices on one core and all others on the other.
    ///
    /// Attaching and detaching programs may replace the threads: this is to be done again after
    /// each change of what stands in the middle.
    ///
    /// # Errors
    /// When a tool refuses, or the threads do not appear.
    pub(crate) fn one_core(&self, cores: Cores, receive: Receive) -> Result<()> {
        let mut ends = vec![(&self.client, CLIENT_LINK), (&self.switch, SWITCH_LINK)];
        ends.extend(self.reals.iter().map(|real| (real, REAL_LINK)));
        for (namespace, device) in ends {
            threaded(namespace, device)?;
        }
        if receive == Receive::Threads {
            // A veth bypasses the NAPI of a receiver without a program where its sender has TSO: the
            // kernel's way back would be walked on the core of the real servers, at no cost.
            for (namespace, device) in [(&self.client, CLIENT_LINK), (&self.switch, SWITCH_LINK)] {
                namespace.run(&format!("ethtool -K {device} tso off"))?;
            }
        }
        let queues = usize::from(self.topology().queues);
        place(CLIENT_LINK, cores.others, queues)?;
        place(SWITCH_LINK, cores.others, queues)?;
        place(REAL_LINK, cores.others, queues * self.reals.len())?;
        for device in [WAN, LAN] {
            match receive {
                Receive::Threads => {
                    steer(&self.lb, device, queues, None)?;
                    threaded(&self.lb, device)?;
                    place(device, cores.weir, queues)?;
                }
                Receive::Backlog => {
                    self.lb.run(&format!("ethtool -K {device} gro off"))?;
                    steer(&self.lb, device, queues, Some(cores.weir))?;
                }
            }
        }
        Ok(())
    }
}

/// Lets the kernel handle what a device brings on a core; none: where it arrives.
fn steer(namespace: &Namespace, device: &str, queues: usize, core: Option<usize>) -> Result<()> {
    let mask = core.map_or(0, |core| 1_u64 << core);
    for queue in 0..queues {
        let script = format!("echo {mask:x} > /sys/class/net/{device}/queues/rx-{queue}/rps_cpus");
        crate::command::run(namespace.command("sh").args(["-c", &script]))?;
    }
    Ok(())
}

/// Lists the kernel threads that poll the load balancer's devices.
pub(crate) fn pollers() -> Vec<i32> {
    [WAN, LAN].into_iter().flat_map(threads_of).collect()
}

/// Lists the kernel threads that poll the clients' and the real servers' devices.
pub(crate) fn pollers_of_the_ends() -> Vec<i32> {
    let ends = [CLIENT_LINK, SWITCH_LINK, REAL_LINK];
    ends.into_iter().flat_map(threads_of).collect()
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

/// Puts the thread of each queue of a device on a core of its own.
pub(crate) fn place_each(link: &str, cores: &[usize]) -> Result<()> {
    let threads = threads_of(link);
    if threads.len() != cores.len() {
        bail!(
            "{link} has {} threads for {} cores",
            threads.len(),
            cores.len()
        );
    }
    for (thread, core) in threads.iter().zip(cores) {
        cores::move_to(*thread, *core)?;
    }
    Ok(())
}

/// Lists the kernel threads that poll devices of this name, in the order of their queues.
fn threads_of(link: &str) -> Vec<i32> {
    let head = format!("napi/{link}-");
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries.flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse::<i32>().ok()?;
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let number = name.trim().strip_prefix(&head)?.parse::<u32>().ok()?;
        Some((number, pid))
    });
    let mut pids: Vec<(u32, i32)> = pids.collect();
    pids.sort_unstable();
    pids.into_iter().map(|(_, pid)| pid).collect()
}
