//! The lab itself: four or five namespaces, two arms and a switch.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, bail};

use crate::command::{run, words};
use crate::namespace::{self, Namespace};
use crate::process::Process;

/// The address clients talk to; Weir owns it, the kernel does not.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 100);
/// The load balancer's own address towards the clients; the kernel owns it.
pub const LB_WAN: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 1);
/// The load balancer's own address towards the real servers; the kernel owns it.
pub const LB_LAN: Ipv4Addr = Ipv4Addr::new(10, 81, 0, 1);
/// The name of the client's interface.
pub const CLIENT_LINK: &str = "c0";
/// The name of a real server's interface.
pub const REAL_LINK: &str = "eth0";
/// The name of the load balancer's interface towards the clients.
pub const WAN: &str = "wan";
/// The name of the load balancer's interface towards the real servers.
pub const LAN: &str = "lan";

/// Returns client address `n`, counted from 0.
#[must_use]
pub const fn client_address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 80, 0, 11 + n)
}

/// Returns the address of real server `n`, counted from 0.
#[must_use]
pub const fn real_address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 81, 0, 11 + n)
}

/// Returns local address `n`, counted from 0; Weir owns it, the kernel does not.
#[must_use]
pub const fn lip(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 81, 0, 200 + n)
}

/// What the ends of the links hand over to their (virtual) hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// As Linux sets up a veth: partial checksums and super-frames reach the load balancer.
    Default,
    /// Clients and real servers send complete checksums and frames no longer than the MTU.
    Off,
}

/// What a lab looks like.
#[derive(Clone, Copy, Debug)]
pub struct Topology {
    /// Client addresses, 1 to 8.
    pub clients: u8,
    /// Real servers, 1 to 8.
    pub reals: u8,
    /// Queues of every interface.
    pub queues: u8,
    /// MTU of every interface.
    pub mtu: u16,
    /// Offloads of the clients and real servers.
    pub offloads: Offloads,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            clients: 8,
            reals: 2,
            queues: 1,
            mtu: 1500,
            offloads: Offloads::Default,
        }
    }
}

impl Topology {
    /// Returns the usual one with so many queues.
    #[must_use]
    pub fn with_queues(queues: u8) -> Self {
        Self {
            queues,
            ..Self::default()
        }
    }
}

/// Counts the labs of this process, to tell their namespaces and folders apart.
static LABS: AtomicU32 = AtomicU32::new(0);

/// Namespaces, links and a working folder; all of it goes away when dropped.
#[derive(Debug)]
pub struct Lab {
    /// The clients' namespace.
    pub client: Namespace,
    /// The load balancer's namespace.
    pub lb: Namespace,
    /// The switch between the load balancer and the real servers.
    pub switch: Namespace,
    /// The real servers' namespaces.
    pub reals: Vec<Namespace>,
    topology: Topology,
    dir: WorkDir,
}

impl Lab {
    /// Builds the lab; removes what killed runs left first.
    ///
    /// # Errors
    /// When a tool is missing or refuses; what was made until then is removed.
    pub fn new(topology: Topology) -> Result<Self> {
        if !(1..=8).contains(&topology.clients) || !(1..=8).contains(&topology.reals) {
            bail!("a lab has 1 to 8 client addresses and 1 to 8 real servers");
        }
        Self::sweep()?;
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let name = |part: &str| format!("weir-{}-lab{number}-{part}", std::process::id());
        let dir = WorkDir::new(std::env::temp_dir().join(name("dir")))?;
        let client = Namespace::new(name("cli"))?;
        let lb = Namespace::new(name("lb"))?;
        let switch = Namespace::new(name("lan"))?;
        let reals = (1..=topology.reals)
            .map(|n| Namespace::new(name(&format!("rs{n}"))))
            .collect::<Result<_>>()?;
        let lab = Self {
            client,
            lb,
            switch,
            reals,
            topology,
            dir,
        };
        lab.wire().context("cannot wire the lab")?;
        lab.set_offloads(topology.offloads)?;
        Ok(lab)
    }

    /// Returns what the lab was asked to look like.
    #[must_use]
    pub fn topology(&self) -> Topology {
        self.topology
    }

    /// Returns the working folder, for logs, captures and configurations.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir.path
    }

    /// Returns real server `n`, counted from 0.
    ///
    /// # Errors
    /// When the lab has fewer.
    pub fn real(&self, n: u8) -> Result<&Namespace> {
        self.reals
            .get(usize::from(n))
            .with_context(|| format!("the lab has no real server {n}"))
    }

    /// Returns the client addresses of this lab.
    #[must_use]
    pub fn client_addresses(&self) -> Vec<Ipv4Addr> {
        (0..self.topology.clients).map(client_address).collect()
    }

    /// Starts a process in the background inside a namespace of the lab.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn start(&self, name: &str, command: &mut Command) -> Result<Process> {
        Process::start(name, command, self.dir())
    }

    /// Switches the offloads of the clients and real servers, and whether the load balancer's own
    /// devices take super-frames.
    ///
    /// # Errors
    /// When `ethtool` refuses.
    pub fn set_offloads(&self, offloads: Offloads) -> Result<()> {
        let state = match offloads {
            Offloads::Default => "on",
            Offloads::Off => "off",
        };
        self.client
            .run(&format!("ethtool -K {CLIENT_LINK} tx {state}"))?;
        for real in &self.reals {
            real.run(&format!("ethtool -K {REAL_LINK} tx {state}"))?;
        }
        for link in [WAN, LAN] {
            self.lb
                .run(&format!("ethtool -K {link} tso {state} gso {state}"))?;
        }
        Ok(())
    }

    /// Drops a share of the frames, in percent, that reach the clients and the real servers.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn lose(&self, percent: u8) -> Result<()> {
        let ends = std::iter::once((&self.client, CLIENT_LINK))
            .chain(self.reals.iter().map(|real| (real, REAL_LINK)));
        for (end, link) in ends {
            end.nft(&format!(
                "table netdev weir-loss {{\n\
                 chain ingress {{\n\
                 type filter hook ingress device {link} priority 0;\n\
                 numgen random mod 100 < {percent} drop\n}}\n}}\n"
            ))?;
        }
        Ok(())
    }

    /// Drops every second bare ACK that reaches the real servers: half of the handshakes end with
    /// a segment that carries data, and the TOA must come with it.
    ///
    /// # Errors
    /// When `nft` refuses.
    pub fn lose_bare_acks(&self) -> Result<()> {
        for real in &self.reals {
            real.nft(&format!(
                "table netdev weir-acks {{\n\
                 chain ingress {{\n\
                 type filter hook ingress device {REAL_LINK} priority 0\n\
                 tcp flags == ack ip length <= 64 numgen inc mod 2 == 0 drop\n}}\n}}\n"
            ))?;
        }
        Ok(())
    }

    /// Says how the load balancer's interfaces are set: features, queues, MTU, programs, filters.
    ///
    /// # Errors
    /// When a tool refuses.
    pub fn lb_settings(&self) -> Result<String> {
        let mut text = String::new();
        for link in [WAN, LAN] {
            let details = self.lb.ip(&format!("-d link show {link}"))?;
            text.push_str(&details);
            for tool in [
                "ethtool -k",
                "ethtool -l",
                "tc filter show ingress dev",
                "tc qdisc show dev",
            ] {
                text.push_str(&self.lb.run(&format!("{tool} {link}"))?);
            }
        }
        text.push_str(&self.lb.run("nft list ruleset")?);
        Ok(text)
    }

    /// Removes the namespaces and the folder of one process.
    pub(crate) fn remove_of(owner: i32) -> Result<()> {
        for name in namespace::owned_by(owner)? {
            namespace::remove(&name)?;
        }
        remove_folders(|pid| pid == owner)
    }

    /// Removes namespaces and folders of runs that were killed; with `WEIR_LAB_KEEP` in the
    /// environment the folders stay, to look into.
    ///
    /// # Errors
    /// When one of them cannot be removed.
    pub fn sweep() -> Result<()> {
        for name in namespace::orphans()? {
            namespace::remove(&name)?;
        }
        remove_folders(namespace::is_gone)
    }

    fn wire(&self) -> Result<()> {
        let Topology { clients, mtu, .. } = self.topology;
        self.link(&self.client, CLIENT_LINK, &self.lb, WAN)?;
        self.link(&self.switch, "up0", &self.lb, LAN)?;
        self.switch.ip(&format!(
            "link add br0 mtu {mtu} type bridge forward_delay 0"
        ))?;
        self.switch.ip("link set br0 up")?;
        self.switch.ip("link set up0 master br0")?;
        for n in 0..clients {
            self.client.ip(&format!(
                "addr add {}/24 dev {CLIENT_LINK}",
                client_address(n)
            ))?;
        }
        self.lb.ip(&format!("addr add {LB_WAN}/24 dev {WAN}"))?;
        self.lb.ip(&format!("addr add {LB_LAN}/24 dev {LAN}"))?;
        for (n, real) in (0..).zip(&self.reals) {
            let port = format!("p{}", n + 1);
            self.link(real, REAL_LINK, &self.switch, &port)?;
            self.switch.ip(&format!("link set {port} master br0"))?;
            real.ip(&format!("addr add {}/24 dev {REAL_LINK}", real_address(n)))?;
            real.sysctl("net/core/somaxconn", "8192")?;
            real.sysctl("net/ipv4/tcp_max_syn_backlog", "8192")?;
        }
        self.client
            .sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
        Ok(())
    }

    /// Makes a veth with one end in each of two namespaces, both up.
    fn link(
        &self,
        left: &Namespace,
        left_link: &str,
        right: &Namespace,
        right_link: &str,
    ) -> Result<()> {
        let Topology { queues, mtu, .. } = self.topology;
        let shape = format!("mtu {mtu} numtxqueues {queues} numrxqueues {queues}");
        let (right_name, left_name) = (right.name(), left.name());
        run(&mut words(&format!(
            "ip -n {left_name} link add name {left_link} {shape} type veth \
             peer name {right_link} {shape} netns {right_name}"
        )))?;
        left.ip(&format!("link set {left_link} up"))?;
        right.ip(&format!("link set {right_link} up"))?;
        Ok(())
    }
}

/// Removes the working folders of the processes that `is_due` names.
fn remove_folders(is_due: impl Fn(i32) -> bool) -> Result<()> {
    if keeps_logs() {
        return Ok(());
    }
    let temporary = std::env::temp_dir();
    let entries = fs::read_dir(&temporary).context("cannot list the temporary folder")?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let Some(owner) = namespace::owner(name) else {
            continue;
        };
        if name.contains("-lab") && is_due(owner) {
            let path = entry.path();
            fs::remove_dir_all(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn keeps_logs() -> bool {
    std::env::var_os("WEIR_LAB_KEEP").is_some()
}

/// A folder that goes away with its owner.
#[derive(Debug)]
struct WorkDir {
    path: PathBuf,
}

impl WorkDir {
    fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let dir = Self { path };
        // The lab runs its own helpers from a copy: a rebuild under way must not take them away.
        fs::copy("/proc/self/exe", dir.path.join("helper")).context("cannot copy the helper")?;
        Ok(dir)
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if keeps_logs() {
            println!(
                "lab: logs, captures and configurations are in {}",
                self.path.display()
            );
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("lab: cannot remove {}: {error}", self.path.display());
        }
    }
}
