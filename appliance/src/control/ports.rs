//! The devices behind the ports, as the control thread owns them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use ipnet::IpNet;
use netmap_io::arp_tap::ArpTap;
use netmap_io::{Device, DeviceSpec, DriverChoice, ethtool, netlink};
use nix::errno::Errno;
use weir_model::{Driver, Port, PortId};
use weir_wire::ArpRepr;

use crate::control::answer::PortView;
use crate::doctor::appliance;
use crate::log;

/// ARP frames taken from one tap in a row.
const ARP_A_TURN: usize = 256;

/// Where the kernel shows its settings, under `proc`.
const ROOT: &str = "/";

/// An open device and the port that it is.
#[derive(Debug)]
pub(crate) struct OpenDevice {
    pub(crate) id: PortId,
    pub(crate) name: String,
    pub(crate) asked: Driver,
    pub(crate) device: Device,
    pub(crate) tap: ArpTap,
    /// Addresses that the kernel has from us.
    given: Vec<IpNet>,
}

impl OpenDevice {
    /// Switches the device on, gives it its addresses and opens it with so many queues.
    ///
    /// # Errors
    /// Says what is missing or refused, and what to try.
    pub(crate) fn open(port: &Port, queues: u16, run_dir: &Path) -> Result<Self> {
        let place = || format!("[port {}]", port.name);
        ethtool::facts(&port.device)
            .with_context(|| format!("{}: there is no device `{}`", place(), port.device))?;
        ethtool::ensure_up(&port.device)
            .with_context(|| format!("{}: cannot switch `{}` on", place(), port.device))?;
        let mut given = Vec::new();
        ensure_addresses(Path::new(ROOT), port, &[], &mut given)?;
        let spec = DeviceSpec {
            device: port.device.clone(),
            driver: choice(port.driver),
            queues,
        };
        let device = Device::open(&spec, run_dir).with_context(place)?;
        let tap = ArpTap::open(&port.device)
            .with_context(|| format!("{}: cannot listen to ARP", place()))?;
        Ok(Self {
            id: port.id,
            name: port.name.clone(),
            asked: port.driver,
            device,
            tap,
            given,
        })
    }

    /// Gives the device the addresses of its port that it has not; those that it has are left alone,
    /// and so are those that it was given before, whatever became of them.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub(crate) fn give_addresses(&mut self, port: &Port, before: &[IpNet]) -> Result<()> {
        ensure_addresses(Path::new(ROOT), port, before, &mut self.given)
    }

    /// Takes back what the device was given and its port no longer has; what others gave it is
    /// theirs.
    ///
    /// # Errors
    /// Says which address stays, and why.
    pub(crate) fn take_addresses_back(&mut self, port: &Port) -> Result<()> {
        let (stay, go) = part(&self.given, &port.addresses);
        self.given = stay;
        let mut kept = Ok(());
        for address in go {
            match netlink::remove_address(&port.device, address.addr(), address.prefix_len()) {
                Ok(true) => log::say(format!("{address} was taken back from `{}`", port.device)),
                // Somebody else was faster.
                Ok(false) => {}
                Err(cause) => {
                    let cause = if cause == Errno::EBUSY {
                        "others of its network would go with it"
                    } else {
                        cause.desc()
                    };
                    let left = format!("{address} stays on `{}`: {cause}", port.device);
                    kept = kept.and(Err(anyhow!(left)));
                }
            }
        }
        kept
    }

    /// Returns one line for people: which driver runs, how, and why.
    pub(crate) fn line(&self) -> String {
        let (info, view) = (self.device.info(), self.view());
        let plural = if view.queues == 1 { "" } else { "s" };
        format!(
            "port {} ({}): {} {}, {} queue{plural}, because {}",
            self.name, info.device, view.driver, view.mode, view.queues, view.reason
        )
    }

    /// Returns what `show ports` shows beside the counters.
    pub(crate) fn view(&self) -> PortView {
        let info = self.device.info();
        PortView {
            driver: info.driver.name(),
            mode: info.mode.clone(),
            reason: self.reason(),
            queues: info.queues,
            link_up: ethtool::link_up(&info.device).unwrap_or(false),
            speed_mbps: speed_mbps(&info.device),
            mac: info.mac,
            mtu: info.mtu,
        }
    }

    /// Shows every ARP packet that the kernel heard since, at most so many in a row.
    pub(crate) fn hear(&mut self, mut each: impl FnMut(PortId, ArpRepr)) {
        for _ in 0..ARP_A_TURN {
            // A device that is down is heard again when it is up.
            let Ok(Some(frame)) = self.tap.next_frame() else {
                return;
            };
            if let Some(arp) = untagged_arp(frame) {
                each(self.id, arp);
            }
        }
    }

    fn reason(&self) -> String {
        let refusals = self.device.info().refusals.iter();
        let refusals: Vec<String> = refusals
            .map(|(driver, why)| format!("{}: {why}", driver.name()))
            .collect();
        let asked = match self.asked {
            Driver::Auto => None,
            Driver::Netmap | Driver::AfXdp | Driver::PfRing | Driver::AfPacket => {
                Some("the configuration asks for it")
            }
        };
        match (asked, refusals.is_empty()) {
            (Some(asked), true) => asked.to_owned(),
            (Some(asked), false) => format!("{asked} ({})", refusals.join("; ")),
            (None, true) => "it is the first choice".to_owned(),
            (None, false) => refusals.join("; "),
        }
    }
}

/// Gives a port's device the addresses that it has not, and notes them.
fn ensure_addresses(
    root: &Path,
    port: &Port,
    before: &[IpNet],
    given: &mut Vec<IpNet>,
) -> Result<()> {
    let (device, new) = (port.device.as_str(), port.addresses.iter());
    for address in new.filter(|address| !before.contains(address)) {
        let place = || format!("[port {}] address = {address}", port.name);
        if address.addr().is_ipv6() {
            ensure_ipv6(root, device).with_context(place)?;
        }
        // With another length of its prefix it is another one, and goes when this one is there.
        let is_changed = has_another_prefix(address, before) || has_another_prefix(address, given);
        let add = if is_changed {
            netlink::add_address
        } else {
            netlink::ensure_address
        };
        let added = add(device, address.addr(), address.prefix_len());
        let added = added.with_context(|| format!("{}: the kernel refuses it", place()))?;
        if added {
            given.push(*address);
            log::say(format!("{address} was added to `{device}`"));
        }
    }
    Ok(())
}

/// Has a device take addresses of IPv6. On an appliance a port without one has none of it, and
/// everything else that IPv6 would bring is off; elsewhere it is for somebody else to say.
fn ensure_ipv6(root: &Path, device: &str) -> Result<()> {
    let name = format!("net/ipv6/conf/{device}/disable_ipv6");
    let file = root.join("proc/sys").join(&name);
    // Where the kernel has no IPv6 at all it says so itself.
    if fs::read_to_string(&file).map_or(true, |text| text.trim() != "1") {
        return Ok(());
    }
    if !appliance::is_one(root) {
        bail!("IPv6 is off on `{device}`; `sysctl -w {name}=0` switches it on");
    }
    fs::write(&file, "0").with_context(|| format!("IPv6 is off on `{device}` and stays so"))?;
    log::say(format!("IPv6 was switched on on `{device}`"));
    Ok(())
}

fn has_another_prefix(address: &IpNet, known: &[IpNet]) -> bool {
    let mut known = known.iter();
    known.any(|known| known.addr() == address.addr() && known != address)
}

/// Parts what a device was given into what its port still has and what goes, in this order: the
/// first address of a network goes when those are gone that were added after it.
fn part(given: &[IpNet], wanted: &[IpNet]) -> (Vec<IpNet>, Vec<IpNet>) {
    let (stay, mut go): (Vec<_>, Vec<_>) = given.iter().partition(|given| wanted.contains(given));
    go.reverse();
    (stay, go)
}

fn choice(driver: Driver) -> DriverChoice {
    match driver {
        Driver::Auto => DriverChoice::Auto,
        Driver::Netmap => DriverChoice::Netmap,
        Driver::AfXdp => DriverChoice::AfXdp,
        Driver::PfRing => DriverChoice::PfRing,
        Driver::AfPacket => DriverChoice::AfPacket,
    }
}

/// The kernel says -1, or an error, where a device has no speed.
fn speed_mbps(device: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/sys/class/net/{device}/speed")).ok()?;
    text.trim().parse().ok()
}

/// Frames with a tag are of another network than the port's.
fn untagged_arp(frame: &[u8]) -> Option<ArpRepr> {
    let (header, packet) = frame.split_at_checked(14)?;
    let ethertype = header.last_chunk::<2>()?;
    if u16::from_be_bytes(*ethertype) != weir_wire::ETHERTYPE_ARP {
        return None;
    }
    ArpRepr::parse(packet)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sched::{CloneFlags, unshare};
    use weir_wire::EthAddr;

    use super::*;

    #[test]
    fn addresses_go_in_the_order_that_the_kernel_wants_and_with_their_prefix() {
        let nets = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let given = nets(&["10.0.0.2/24", "10.0.0.3/24", "10.1.0.2/24", "10.1.0.2/16"]);
        let (stay, go) = part(&given, &nets(&["10.1.0.2/16"]));
        assert_eq!(stay, nets(&["10.1.0.2/16"]));
        assert_eq!(go, nets(&["10.1.0.2/24", "10.0.0.3/24", "10.0.0.2/24"]));
        assert!(has_another_prefix(&given[3], &given[..3]));
        assert!(!has_another_prefix(&given[0], &given[..3]));
    }

    #[test]
    fn only_untagged_arp_is_heard() {
        let arp = ArpRepr {
            op: weir_wire::ARP_REPLY,
            sender_mac: EthAddr([2, 0, 0, 0, 0, 1]),
            sender_ip: [10, 0, 0, 1].into(),
            target_mac: EthAddr::BROADCAST,
            target_ip: [10, 0, 0, 1].into(),
        };
        let mut frame = vec![0; 60];
        frame[12..14].copy_from_slice(&[0x08, 0x06]);
        arp.emit(&mut frame[14..]).unwrap();
        assert_eq!(untagged_arp(&frame), Some(arp));
        frame[12] = 0x81;
        assert_eq!(untagged_arp(&frame), None);
        assert_eq!(untagged_arp(&frame[..10]), None);
    }

    #[test]
    fn a_port_gets_its_first_ipv6_address_where_the_agent_has_switched_ipv6_off() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return;
        }
        // The namespace, and the device in it, end with the thread.
        let in_own_namespace = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let pair = ["link", "add", "w0", "type", "veth", "peer", "name", "p0"];
            assert!(Command::new("ip").args(pair).status().unwrap().success());
            let root = std::env::temp_dir().join(format!("weir-{}-ipv6", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            fs::create_dir_all(root.join("usr/share/weir")).unwrap();
            std::os::unix::fs::symlink("/proc", root.join("proc")).unwrap();
            let file = "/proc/sys/net/ipv6/conf/w0/disable_ipv6";
            fs::write(file, "1").unwrap();

            let text = "[port wan]\ndevice = w0\naddress = 2001:db8::2/64\n";
            let port = weir_testkit::snapshot("test.conf", text).unwrap().ports;
            let port = port.iter().next().unwrap();
            let mut given = Vec::new();
            let error = ensure_addresses(&root, port, &[], &mut given).unwrap_err();
            assert_eq!(
                format!("{error:#}"),
                "[port wan] address = 2001:db8::2/64: IPv6 is off on `w0`; `sysctl -w \
                 net/ipv6/conf/w0/disable_ipv6=0` switches it on"
            );
            assert_eq!(
                (fs::read_to_string(file).unwrap().trim(), given.len()),
                ("1", 0)
            );

            fs::write(root.join("usr/share/weir/manifest"), "").unwrap();
            ensure_addresses(&root, port, &[], &mut given).unwrap();
            assert_eq!(given, port.addresses);
            let has = netlink::addresses("w0").unwrap();
            assert_eq!(has, [("2001:db8::2".parse().unwrap(), 64)]);
            fs::remove_dir_all(&root).unwrap();
        };
        std::thread::spawn(in_own_namespace).join().unwrap();
    }
}
