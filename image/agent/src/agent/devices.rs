//! The network devices: each is told what it is to be before the daemon switches it on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use netmap_io::ethtool;

use crate::hardening;
use crate::observe::BoxOf;
use crate::places::Places;

/// What the devices are to be, and what they were told.
#[derive(Debug, Default)]
pub(super) struct Devices {
    told: BTreeMap<String, String>,
    /// Data ports that have IPv6.
    with_ipv6: BTreeSet<String>,
    /// What the daemon starts on next; none once it has said what it runs on.
    next: Option<BoxOf>,
}

impl Devices {
    /// Has the devices be what the daemon is about to start on, until it says what it runs on: the
    /// kernel gives no address of IPv6 to a device that was told to have none. Its ports are told
    /// again: the daemon of before may have switched IPv6 on for a configuration that nobody saw.
    pub(super) fn starts_on(&mut self, next: Option<BoxOf>) {
        for port in next.iter().flat_map(|next| &next.ports) {
            self.told.remove(&port.device);
        }
        self.next = next;
    }

    /// Has them be what the daemon runs on.
    pub(super) fn runs(&mut self) {
        self.next = None;
    }

    /// Tells devices what they were not told yet; returns what the kernel refused. One that is not
    /// there is told when it is.
    pub(super) fn tell(&mut self, wanted: &BoxOf, places: &Places) -> Vec<String> {
        let is_start = self.next.is_some();
        let next = self.next.as_ref().unwrap_or(wanted);
        // The box is reached there until the daemon runs on what says otherwise.
        let is_in_use = |device: &str| device == wanted.management.device;
        let mut settings = Vec::new();
        let ports = next.ports.iter();
        for port in ports.filter(|port| !is_in_use(&port.device)) {
            let mut port = port.clone();
            // While the daemon runs a device keeps its IPv6: the addresses of a configuration that
            // comes back would find none, or go with it.
            if !is_start && self.with_ipv6.contains(&port.device) {
                port.has_ipv6 = true;
            }
            let Some(number) = number(&places.sys, &port.device) else {
                continue;
            };
            let how = format!("{number}: {port:?}");
            if self.told.insert(port.device.clone(), how.clone()) != Some(how) {
                // What stays on is for `weir doctor` to say, which asks the device itself.
                let _ = hardening::keep_frames_apart(&port.device, ethtool::set_feature);
                settings.extend(hardening::data_port(&port));
            }
            if port.has_ipv6 {
                self.with_ipv6.insert(port.device);
            } else {
                self.with_ipv6.remove(&port.device);
            }
        }
        let device = &next.management.device;
        if let Some(number) = number(&places.sys, device) {
            let how = format!("{number}: management");
            if self.told.insert(device.clone(), how.clone()) != Some(how) {
                settings.extend(hardening::management(device));
            }
            self.with_ipv6.remove(device);
        }
        hardening::make(&places.proc, &settings)
    }
}

/// Returns the number of a device; one that was taken out and comes back has another one, and knows
/// nothing of what the one before was told.
fn number(sys: &Path, device: &str) -> Option<u32> {
    let text = fs::read_to_string(sys.join("class/net").join(device).join("ifindex"));
    text.ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::Folder;

    /// A box whose devices have no names that this machine has.
    fn wanted(management: &str, port: &str, address: &str) -> BoxOf {
        let text = format!(
            "[management]\ndevice = {management}\naddress = 192.0.2.1/24\n\
             [port wan]\ndevice = {port}\naddress = {address}\n"
        );
        BoxOf::of(&weir_conf::parse_str("test.conf", &text, None).unwrap())
    }

    /// Where the kernel is told whether a device has IPv6.
    fn has_ipv6(places: &Places, device: &str) -> String {
        let file = places
            .proc
            .join(format!("sys/net/ipv6/conf/{device}/disable_ipv6"));
        let text = fs::read_to_string(file).unwrap();
        if text == "0" { "yes" } else { "no" }.to_owned()
    }

    fn kernel(name: &str, devices: &[&str]) -> (Folder, Places) {
        let folder = Folder::new(name);
        let places = Places::under(folder.path());
        for (number, device) in devices.iter().enumerate() {
            plug(&places, device, number);
        }
        (folder, places)
    }

    /// Has the kernel see a device.
    fn plug(places: &Places, device: &str, number: usize) {
        let conf = places.proc.join("sys/net/ipv6/conf").join(device);
        fs::create_dir_all(&conf).unwrap();
        fs::write(conf.join("disable_ipv6"), "-").unwrap();
        let own = places.sys.join("class/net").join(device);
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("ifindex"), format!("{number}\n")).unwrap();
    }

    #[test]
    fn what_the_daemon_starts_on_holds_until_it_says_what_it_runs_on() {
        let (_folder, places) = kernel("devices-next", &["none0", "none1"]);
        let (before, next) = (
            wanted("none0", "none1", "198.51.100.2/24"),
            wanted("none0", "none1", "2001:db8::2/64"),
        );
        let mut devices = Devices::default();
        let look = |devices: &mut Devices, wanted| {
            let refused = devices.tell(wanted, &places);
            assert!(refused.is_empty(), "{refused:?}");
            has_ipv6(&places, "none1")
        };
        assert_eq!(look(&mut devices, &before), "no");
        devices.starts_on(Some(next.clone()));
        // Each turn looks after the devices, and the daemon of before ends meanwhile.
        assert_eq!(look(&mut devices, &before), "yes");
        assert_eq!(look(&mut devices, &before), "yes");
        devices.runs();
        assert_eq!(look(&mut devices, &next), "yes");
        // It did not start: the file of before is back.
        devices.starts_on(Some(before.clone()));
        assert_eq!(look(&mut devices, &next), "no");
    }

    #[test]
    fn a_device_that_becomes_a_data_port_is_one_once_the_box_is_reached_by_another() {
        let (_folder, places) = kernel("devices-swap", &["none0", "none1"]);
        let (before, next) = (
            wanted("none0", "none1", "198.51.100.2/24"),
            wanted("none1", "none0", "198.51.100.2/24"),
        );
        let mut devices = Devices::default();
        let look = |devices: &mut Devices, wanted| {
            devices.tell(wanted, &places);
            [has_ipv6(&places, "none0"), has_ipv6(&places, "none1")]
        };
        assert_eq!(look(&mut devices, &before), ["yes", "no"]);
        let file = places.proc.join("sys/net/ipv6/conf/none0/disable_ipv6");
        fs::write(&file, "0 as before").unwrap();
        devices.starts_on(Some(next.clone()));
        look(&mut devices, &before);
        // Not even told twice: an address of IPv6 would be gone meanwhile.
        assert_eq!(fs::read_to_string(&file).unwrap(), "0 as before");
        assert_eq!(has_ipv6(&places, "none1"), "yes");
        devices.runs();
        assert_eq!(look(&mut devices, &next), ["no", "yes"]);
    }

    #[test]
    fn what_a_device_was_told_is_not_told_again() {
        let (_folder, places) = kernel("devices-once", &["none0", "none1"]);
        let wanted = wanted("none0", "none1", "198.51.100.2/24");
        let mut devices = Devices::default();
        devices.tell(&wanted, &places);
        let file = places.proc.join("sys/net/ipv6/conf/none1/disable_ipv6");
        fs::write(&file, "touched").unwrap();
        devices.tell(&wanted, &places);
        assert_eq!(fs::read_to_string(&file).unwrap(), "touched");
    }

    #[test]
    fn a_device_that_comes_later_or_again_is_told_when_it_is_there() {
        let (_folder, places) = kernel("devices-later", &["none0"]);
        let wanted = wanted("none0", "none1", "198.51.100.2/24");
        let mut devices = Devices::default();
        devices.tell(&wanted, &places);
        for number in [7, 8] {
            plug(&places, "none1", number);
            let refused = devices.tell(&wanted, &places);
            assert!(refused.is_empty(), "{refused:?}");
            assert_eq!(has_ipv6(&places, "none1"), "no", "number {number}");
            let file = places.proc.join("sys/net/ipv6/conf/none1/disable_ipv6");
            assert_eq!(fs::read_to_string(file).unwrap(), "1", "number {number}");
        }
    }

    #[test]
    fn a_port_keeps_its_ipv6_until_the_daemon_starts_again_without() {
        let (_folder, places) = kernel("devices-keep", &["none0", "none1"]);
        let (with, without) = (
            wanted("none0", "none1", "2001:db8::2/64"),
            wanted("none0", "none1", "198.51.100.2/24"),
        );
        let mut devices = Devices::default();
        let look = |devices: &mut Devices, wanted| {
            devices.tell(wanted, &places);
            has_ipv6(&places, "none1")
        };
        assert_eq!(look(&mut devices, &with), "yes");
        // A trial, which goes back to the one before.
        assert_eq!(look(&mut devices, &without), "yes");
        assert_eq!(look(&mut devices, &with), "yes");
        assert_eq!(look(&mut devices, &without), "yes");
        devices.starts_on(Some(without.clone()));
        assert_eq!(look(&mut devices, &without), "no");
        devices.runs();
        assert_eq!(look(&mut devices, &without), "no");
    }

    #[test]
    fn what_the_daemon_switched_on_for_nothing_is_off_with_its_next_start() {
        let (_folder, places) = kernel("devices-for-nothing", &["none0", "none1"]);
        let without = wanted("none0", "none1", "198.51.100.2/24");
        let mut devices = Devices::default();
        devices.tell(&without, &places);
        // For an address of a configuration that could not be applied, or was gone before it was seen.
        let file = places.proc.join("sys/net/ipv6/conf/none1/disable_ipv6");
        fs::write(&file, "0").unwrap();
        devices.tell(&without, &places);
        assert_eq!(has_ipv6(&places, "none1"), "yes");
        devices.starts_on(Some(without.clone()));
        devices.tell(&without, &places);
        assert_eq!(has_ipv6(&places, "none1"), "no");
        // Once: the daemon that has started may do it again.
        fs::write(&file, "0").unwrap();
        devices.tell(&without, &places);
        assert_eq!(has_ipv6(&places, "none1"), "yes");
    }
}
