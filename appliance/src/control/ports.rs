//! The devices behind the ports, as the control thread owns them.

use std::fs;

use anyhow::{Context, Result, anyhow};
use ipnet::IpNet;
use netmap_io::arp_tap::ArpTap;
use netmap_io::{Device, DeviceSpec, DriverChoice, ethtool, netlink};
use nix::errno::Errno;
use weir_model::{Driver, Port, PortId};
use weir_wire::ArpRepr;

use crate::control::answer::PortView;
use crate::log;

/// ARP frames taken from one tap in a row.
const ARP_A_TURN: usize = 256;

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
    pub(crate) fn open(port: &Port, queues: u16, run_dir: &std::path::Path) -> Result<Self> {
        let place = || format!("[port {}]", port.name);
        ethtool::facts(&port.device)
            .with_context(|| format!("{}: there is no device `{}`", place(), port.device))?;
        ethtool::ensure_up(&port.device)
            .with_context(|| format!("{}: cannot switch `{}` on", place(), port.device))?;
        let mut given = Vec::new();
        ensure_addresses(port, &[], &mut given)?;
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
        ensure_addresses(port, before, &mut self.given)
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
fn ensure_addresses(port: &Port, before: &[IpNet], given: &mut Vec<IpNet>) -> Result<()> {
    let (device, new) = (port.device.as_str(), port.addresses.iter());
    for address in new.filter(|address| !before.contains(address)) {
        // With another length of its prefix it is another one, and goes when this one is there.
        let is_changed = has_another_prefix(address, before) || has_another_prefix(address, given);
        let add = if is_changed {
            netlink::add_address
        } else {
            netlink::ensure_address
        };
        let added = add(device, address.addr(), address.prefix_len());
        let added = added.with_context(|| {
            format!(
                "[port {}] address = {address}: the kernel refuses it",
                port.name
            )
        })?;
        if added {
            given.push(*address);
            log::say(format!("{address} was added to `{device}`"));
        }
    }
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
}
