//! A place for an appliance to stand: clients on one side, real servers on the other, and a desk.
//!
//! ```text
//!   client            namespace lb: bridges and QEMU                  switch        real servers
//!   10.80.0.11..18    eth1 10.80.0.1          eth2 10.81.0.1                        10.81.0.11, .12
//!   [c0]-----[wan br-wan t-wan] --- guest --- [t-lan br-lan lan]-----[up0 br0]-----[eth0] nginx
//!                                     |
//!                     eth0 10.82.0.1  [t-mgmt br-mgmt mgmt]-----[mgmt] desk 10.82.0.11
//! ```

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use weir_lab::attack::FLOOD_GATEWAY;
use weir_lab::command::{run, words};
use weir_lab::inside::flood::{Burst, Flood, Vector};
use weir_lab::lab::{LAN, LB_LAN, LB_WAN, VIP, WAN, lip, real_address};
use weir_lab::namespace::Namespace;
use weir_lab::server::Nginx;
use weir_lab::{Lab, Topology};

use crate::guest::{Card, tap};
use crate::ssh::Person;

/// The appliance's address on the management network.
pub const MANAGEMENT: Ipv4Addr = Ipv4Addr::new(10, 82, 0, 1);
/// The desk's address there.
pub const DESK: Ipv4Addr = Ipv4Addr::new(10, 82, 0, 11);
/// Queues of the data ports, and the guest's processors.
pub const QUEUES: u16 = 2;

/// The cards in the order of their names: management, towards the clients, towards real servers.
const fn taps(queues: u16) -> [(&'static str, &'static str, &'static str, u16); 3] {
    [
        ("t-mgmt", "br-mgmt", "mgmt", 1),
        ("t-wan", "br-wan", WAN, queues),
        ("t-lan", "br-lan", LAN, queues),
    ]
}

/// Namespaces, taps, real servers, and the two who log in.
#[derive(Debug)]
pub struct Site {
    /// The operator, with a key.
    pub operator: Person,
    /// The viewer, with a key.
    pub viewer: Person,
    /// The real servers' nginx.
    pub nginx: Vec<Nginx>,
    /// The desk, on the management network.
    pub desk: Namespace,
    /// Queues of each data port.
    pub queues: u16,
    /// Clients, real servers, and the namespace that QEMU runs in.
    pub lab: Lab,
}

impl Site {
    /// Builds the site.
    ///
    /// # Errors
    /// When a tool is missing or refuses.
    pub fn new() -> Result<Self> {
        Self::with_queues(QUEUES)
    }

    /// Builds the site for data ports with so many queues.
    ///
    /// # Errors
    /// When a tool is missing or refuses.
    pub fn with_queues(queues: u16) -> Result<Self> {
        let lab = Lab::new(Topology::default())?;
        lab.expect_floods()?;
        let lb = lab.lb.name();
        let desk = Namespace::new(format!("{}-desk", lb.trim_end_matches("-lb")))?;
        run(&mut words(&format!(
            "ip -n {} link add mgmt type veth peer name mgmt netns {lb}",
            desk.name()
        )))?;
        desk.ip(&format!("addr add {DESK}/24 dev mgmt"))?;
        desk.ip("link set mgmt up")?;
        for (tap_name, bridge, link, queues) in taps(queues) {
            tap(&lab.lb, tap_name, queues)?;
            // The load balancer's addresses are the guest's now.
            lab.lb.ip(&format!("addr flush dev {link}"))?;
            lab.lb
                .ip(&format!("link add {bridge} type bridge forward_delay 0"))?;
            for member in [tap_name, link] {
                lab.lb
                    .ip(&format!("link set {member} master {bridge} up"))?;
            }
            lab.lb.ip(&format!("link set {bridge} up"))?;
        }
        let address = MANAGEMENT.to_string();
        let person = |account, name| Person::new(account, name, &desk, &address, lab.dir());
        Ok(Self {
            operator: person("operator", "lena")?,
            viewer: person("viewer", "vic")?,
            nginx: Nginx::start_all(&lab)?,
            desk,
            lab,
            queues,
        })
    }

    /// Returns the folder for disks, logs and captures.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.lab.dir()
    }

    /// Returns the guest's network cards, of virtio.
    #[must_use]
    pub fn cards() -> Vec<Card> {
        (0..)
            .zip(taps(QUEUES))
            .map(|(n, (tap_name, _, _, queues))| Card::tap(tap_name, mac(n), queues))
            .collect()
    }

    /// Returns the guest's network cards: of virtio towards the management network, else of this make.
    #[must_use]
    pub fn cards_of(&self, model: &'static str) -> Vec<Card> {
        let cards = (0..).zip(taps(self.queues));
        cards
            .map(|(n, (tap_name, _, _, queues))| {
                let card = Card::tap(tap_name, mac(n), queues);
                let model = if n == 0 { card.model } else { model };
                Card { model, ..card }
            })
            .collect()
    }

    /// Plans a flood of the VIP through the guest's port towards the clients.
    ///
    /// # Errors
    /// Never: the lab has what it reads.
    pub fn flood(&self, port: u16, rate: u32, ms: u64) -> Result<Flood> {
        let burst = Burst {
            after_ms: 0,
            rate,
            ms,
        };
        let mut flood = self.lab.flood(port, &[Vector::Syn], &[burst])?;
        flood.next_hop = mac(1);
        Ok(flood)
    }

    /// Makes a throw-away disk of an image: as large, and only what is in it takes room.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn disk(&self, image: &Path, name: &str) -> Result<PathBuf> {
        let disk = self.dir().join(format!("{name}.disk"));
        run(words("cp --sparse=always --reflink=auto")
            .arg(image)
            .arg(&disk))?;
        Ok(disk)
    }

    /// Writes the configuration of the appliance at this site.
    #[must_use]
    pub fn configuration(&self, driver: &str, more: &str) -> String {
        let queues = self.queues;
        let local = lip(0);
        let (one, two) = (real_address(0), real_address(1));
        format!(
            "[node]\nname = box\nstop-after = 1s\n\n\
             [management]\ndevice = eth0\naddress = {MANAGEMENT}/24\n\n\
             [port {WAN}]\ndevice = eth1\ndriver = {driver}\nqueues = {queues}\n\
             address = {LB_WAN}/24\ngateway = {FLOOD_GATEWAY}\n\n\
             [port {LAN}]\ndevice = eth2\ndriver = {driver}\nqueues = {queues}\n\
             address = {LB_LAN}/24\n\n\
             [workers]\ncpus = auto\nsessions = 16k\n\n\
             [lip-pool blue]\nport = {LAN}\naddress = {local}\nsource-ports = 1024-65535\n\n\
             [synproxy flood]\nmode = adaptive\nenter = 500/s\nleave = 100/s\n\n\
             [service web]\nlisten = {VIP}:80/tcp\nlip-pool = blue\nscheduler = rr\n\
             real = {one}:80\nreal = {two}:80\nclient-address = toa\nsynproxy = flood\n\n\
             {more}"
        )
    }
}

/// A disk image's boot partition, written from outside.
#[derive(Debug)]
pub struct BootPartition {
    at: String,
}

impl BootPartition {
    /// Finds the boot partition of a disk by its name.
    ///
    /// # Errors
    /// When the disk has none.
    pub fn of(disk: &Path) -> Result<Self> {
        let start = partition(disk, "boot")?;
        Ok(Self {
            at: format!("{}@@{start}", disk.display()),
        })
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When mtools refuses.
    pub fn put(&self, path: &str, content: &str, dir: &Path) -> Result<()> {
        let file = dir.join("to-boot");
        fs::write(&file, content).context("cannot write a file")?;
        run(words("mcopy -o -i")
            .arg(&self.at)
            .arg(&file)
            .arg(format!("::{path}")))
        .map(drop)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, path: &str) -> Result<String> {
        run(words("mtype -i").arg(&self.at).arg(format!("::{path}")))
    }
}

/// Returns at which byte of a disk a partition of this name begins.
///
/// # Errors
/// When the disk has none.
pub fn partition(disk: &Path, name: &str) -> Result<u64> {
    let table = run(words("sfdisk --json").arg(disk))?;
    let table: serde_json::Value = serde_json::from_str(&table).context("sfdisk's table")?;
    let all = table.pointer("/partitiontable/partitions");
    let all = all.and_then(serde_json::Value::as_array);
    let start = all
        .into_iter()
        .flatten()
        .find(|it| it.get("name").is_some_and(|it| it == name))
        .and_then(|it| it.get("start")?.as_u64())
        .with_context(|| format!("{} has no partition `{name}`", disk.display()))?;
    Ok(start * 512)
}

/// Returns the link-local address that a kernel gives the guest's card of this number by itself.
#[must_use]
pub fn link_local(number: u8) -> Ipv6Addr {
    let [first, rest @ ..] = mac(number);
    let [second, third, fourth, fifth, sixth] = rest;
    let word = |high, low| u16::from_be_bytes([high, low]);
    let card = [
        word(first ^ 2, second),
        word(third, 0xff),
        word(0xfe, fourth),
        word(fifth, sixth),
    ];
    let [one, two, three, four] = card;
    Ipv6Addr::new(0xfe80, 0, 0, 0, one, two, three, four)
}

/// Returns the address of the guest's card by its number.
#[must_use]
pub const fn mac(number: u8) -> [u8; 6] {
    [0x52, 0x54, 0, 0x77, 0, 0x10 + number]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_local_address_is_made_of_the_cards() {
        assert_eq!(link_local(1).to_string(), "fe80::5054:ff:fe77:11");
    }
}
