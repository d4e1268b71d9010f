//! What a box is told of itself at its first start, from wherever it comes.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;
use weir_control::Role;

use crate::keys::Key;

/// The management device of every box until its configuration says otherwise.
pub(crate) const MANAGEMENT: &str = "eth0";
/// So many data ports are enough for whoever types them.
const MOST_PORTS: usize = 16;

/// What is known so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) node: Option<String>,
    pub(crate) address: Option<Address>,
    pub(crate) gateway: Option<IpAddr>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) ntp: Vec<String>,
    pub(crate) ports: Vec<Port>,
    pub(crate) keys: Vec<(Role, Key)>,
}

/// The management address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// Asked of the network.
    Dhcp,
    /// Always the same.
    Fixed(IpNet),
}

/// A data port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) device: String,
    pub(crate) addresses: Vec<IpNet>,
    pub(crate) gateways: Vec<IpAddr>,
}

impl Given {
    /// Takes a value under the name that it has on the kernel's command line behind `weir.`, and in
    /// `setup.conf`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let value = value.trim();
        match name {
            "node" => self.node = Some(node(value)?),
            "address" => self.address = Some(address(value)?),
            "gateway" => self.gateway = Some(ip(value)?),
            "dns" => self.dns.push(ip(value)?),
            "ntp" => self.ntp.push(host(value)?),
            "port" => self.add_port(value)?,
            "ports" => {
                for port in value.split(';').filter(|port| !port.trim().is_empty()) {
                    self.add_port(port)?;
                }
            }
            "key" => self.keys.push((Role::Operator, Key::parse(value)?)),
            "viewer-key" => self.keys.push((Role::Viewer, Key::parse(value)?)),
            _ => {
                return Err(
                    "there are node, address, gateway, dns, ntp, port, ports, key and viewer-key"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    /// Takes the lines `name = value` of a file; returns what is wrong, with its place.
    pub(crate) fn read(&mut self, file: &str, text: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let read = match line.split_once('=') {
                Some((name, value)) => self.set(name.trim(), value),
                None => Err("a line is `name = value`".to_owned()),
            };
            if let Err(sentence) = read {
                wrong.push(format!("{file}:{number}: {sentence}"));
            }
        }
        wrong
    }

    /// Says whether it says anything of the network.
    pub(crate) fn has_network(&self) -> bool {
        self.node.is_some()
            || self.address.is_some()
            || self.gateway.is_some()
            || !(self.dns.is_empty() && self.ntp.is_empty() && self.ports.is_empty())
    }

    fn add_port(&mut self, value: &str) -> Result<(), String> {
        let port = port(value)?;
        if self.ports.len() >= MOST_PORTS {
            return Err(format!(
                "more than {MOST_PORTS} data ports; give the others later"
            ));
        }
        if self.ports.iter().any(|other| other.name == port.name) {
            return Err(format!("there is a port {} already", port.name));
        }
        if self.ports.iter().any(|other| other.device == port.device) {
            return Err(format!("{} is a port already", port.device));
        }
        self.ports.push(port);
        Ok(())
    }

    /// Says what does not fit together, and what the configuration would be refused for.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        match (self.address, self.gateway) {
            (Some(Address::Fixed(net)), Some(gateway)) => {
                mistakes.extend(gateway_mistake(net, gateway));
            }
            (Some(Address::Dhcp), Some(_)) => {
                mistakes.push("with dhcp the gateway comes from the network".to_owned());
            }
            (None, Some(_)) => mistakes.push("there is a gateway without an address".to_owned()),
            (Some(_) | None, None) => {}
        }
        if mistakes.is_empty()
            && let Err(report) = weir_conf::parse_str("weir.conf", &self.render(), None)
        {
            mistakes.extend(report.messages().map(str::to_owned));
        }
        mistakes
    }

    /// Returns the configuration file.
    pub(crate) fn render(&self) -> String {
        let mut text = "# Written at the first start of this appliance.\n".to_owned();
        let name = self.node.as_deref().unwrap_or("weir");
        let _ = write!(text, "\n[node]\nname = {name}\n");
        // Always there: without data ports it is what makes the file one of an appliance.
        let _ = write!(text, "\n[management]\ndevice = {MANAGEMENT}\n");
        if let Some(address) = self.address {
            match address {
                Address::Dhcp => text.push_str("address = dhcp\n"),
                Address::Fixed(net) => {
                    let _ = writeln!(text, "address = {net}");
                }
            }
            let gateway = self.gateway.iter().map(|ip| format!("gateway = {ip}\n"));
            let dns = self.dns.iter().map(|ip| format!("dns = {ip}\n"));
            let ntp = self.ntp.iter().map(|host| format!("ntp = {host}\n"));
            text.extend(gateway.chain(dns).chain(ntp));
        }
        for port in &self.ports {
            let _ = write!(text, "\n[port {}]\ndevice = {}\n", port.name, port.device);
            let addresses = port
                .addresses
                .iter()
                .map(|net| format!("address = {net}\n"));
            let gateways = port.gateways.iter().map(|ip| format!("gateway = {ip}\n"));
            text.extend(addresses.chain(gateways));
        }
        text
    }
}

/// Says why a gateway is none of a network's.
pub(crate) fn gateway_mistake(net: IpNet, gateway: IpAddr) -> Option<String> {
    if !net.contains(&gateway) {
        return Some(format!("the gateway {gateway} is not in {}", net.trunc()));
    }
    (net.addr() == gateway).then(|| format!("{gateway} is the address of this box itself"))
}

fn is_name(text: &str, longest: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=longest).contains(&text.len())
        && text.bytes().all(allowed)
        && text
            .as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric)
}

fn node(value: &str) -> Result<String, String> {
    if is_name(value, 63) {
        return Ok(value.to_owned());
    }
    Err("a name has 1 to 63 letters, digits and . _ - and begins with a letter or digit".to_owned())
}

/// Reads the management address.
pub(crate) fn address(value: &str) -> Result<Address, String> {
    if value == "dhcp" {
        return Ok(Address::Dhcp);
    }
    network(value).map(Address::Fixed)
}

fn network(value: &str) -> Result<IpNet, String> {
    let Ok(net) = value.parse::<IpNet>() else {
        return Err(format!(
            "`{}` is no address with its prefix length, e.g. 192.0.2.10/24",
            short(value)
        ));
    };
    let ip = net.addr();
    if ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() {
        return Err(format!("{ip} is no address that a box can have"));
    }
    let is_whole = net.prefix_len() + 1 >= net.max_prefix_len();
    if ip.is_ipv4() && !is_whole && (ip == net.network() || ip == net.broadcast()) {
        return Err(format!(
            "{ip} is the network itself, or its broadcast address"
        ));
    }
    Ok(net)
}

fn ip(value: &str) -> Result<IpAddr, String> {
    let ip = value.parse();
    ip.map_err(|_| format!("`{}` is no address, e.g. 192.0.2.1", short(value)))
}

fn host(value: &str) -> Result<String, String> {
    if value.parse::<IpAddr>().is_ok() || is_name(value, 253) {
        return Ok(value.to_owned());
    }
    Err(format!("`{}` is no host name and no address", short(value)))
}

/// Reads `NAME=DEVICE,ADDRESS/LENGTH,gateway=ADDRESS`; without a name it is that of the device.
fn port(value: &str) -> Result<Port, String> {
    const LIKE: &str = "e.g. wan=eth1,198.51.100.2/24,gateway=198.51.100.1";
    let mut words = value.split(',').map(str::trim);
    let head = words.next().unwrap_or_default();
    let (name, device) = head.split_once('=').unwrap_or((head, head));
    let (name, device) = (name.trim(), device.trim());
    if !is_name(name, 32) || !is_name(device, 15) {
        return Err(format!("`{}` is no port; {LIKE}", short(head)));
    }
    if device == MANAGEMENT {
        return Err(format!("{MANAGEMENT} is the management device; {LIKE}"));
    }
    let mut port = Port {
        name: name.to_owned(),
        device: device.to_owned(),
        addresses: Vec::new(),
        gateways: Vec::new(),
    };
    for word in words {
        match word.split_once('=') {
            Some((key, gateway)) if key.trim() == "gateway" => {
                port.gateways.push(ip(gateway.trim())?);
            }
            Some(_) => return Err(format!("`{}` is not understood; {LIKE}", short(word))),
            None => port.addresses.push(network(word)?),
        }
    }
    let nets: BTreeSet<IpNet> = port.addresses.iter().copied().collect();
    if nets.len() != port.addresses.len() {
        return Err("an address is there twice".to_owned());
    }
    Ok(port)
}

/// What somebody typed, as far as a line can show it.
fn short(text: &str) -> String {
    let short: String = text.chars().take(60).collect();
    short.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(lines: &str) -> (Given, Vec<String>) {
        let mut given = Given::default();
        let wrong = given.read("setup.conf", lines);
        (given, wrong)
    }

    #[test]
    fn what_is_given_becomes_a_configuration_without_mistakes() {
        let (given, wrong) = given(
            "# ours\nnode = lb1\naddress = 192.0.2.10/24\ngateway = 192.0.2.1\ndns = 192.0.2.53\n\
             ntp = ntp.example.net\nport = wan=eth1,198.51.100.2/24,gateway=198.51.100.1\n\
             port = eth2,10.0.0.2/16\n",
        );
        assert_eq!(wrong, Vec::<String>::new());
        assert_eq!(given.mistakes(), Vec::<String>::new());
        let text = given.render();
        assert_eq!(
            text,
            "# Written at the first start of this appliance.\n\n[node]\nname = lb1\n\n\
             [management]\ndevice = eth0\naddress = 192.0.2.10/24\ngateway = 192.0.2.1\n\
             dns = 192.0.2.53\nntp = ntp.example.net\n\n[port wan]\ndevice = eth1\n\
             address = 198.51.100.2/24\ngateway = 198.51.100.1\n\n[port eth2]\ndevice = eth2\n\
             address = 10.0.0.2/16\n"
        );
    }

    #[test]
    fn nothing_at_all_is_a_configuration_as_well() {
        let given = Given::default();
        assert!(!given.has_network());
        assert_eq!(given.mistakes(), Vec::<String>::new());
    }

    #[test]
    fn ports_of_the_kernels_words_stand_in_one_value() {
        let mut given = Given::default();
        given
            .set("ports", "wan=eth1,198.51.100.2/24; lan=eth2;")
            .unwrap();
        let names: Vec<&str> = given.ports.iter().map(|port| port.name.as_str()).collect();
        assert_eq!(names, ["wan", "lan"]);
    }

    #[test]
    fn what_does_not_fit_together_is_told() {
        let says = |lines: &str| given(lines).0.mistakes().join("; ");
        assert!(
            says("address = 192.0.2.10/24\ngateway = 10.0.0.1").contains("is not in 192.0.2.0")
        );
        assert!(says("address = 192.0.2.10/24\ngateway = 192.0.2.10").contains("itself"));
        assert!(says("address = dhcp\ngateway = 192.0.2.1").contains("with dhcp"));
        assert!(says("gateway = 192.0.2.1").contains("without an address"));
    }

    #[test]
    fn hostile_lines_are_sentences_and_leave_nothing_behind() {
        for (line, says) in [
            ("address", "`name = value`"),
            ("password = admin", "there are node"),
            ("address = 192.0.2.10", "prefix length"),
            ("address = 192.0.2.0/24", "network itself"),
            ("address = 192.0.2.255/24", "broadcast"),
            ("address = 127.0.0.1/8", "no address that a box"),
            ("address = 0.0.0.0/0", "no address that a box"),
            ("address = 224.0.0.1/4", "no address that a box"),
            ("address = 192.0.2.10/24\u{b}[port x]", "prefix length"),
            ("gateway = gw.example.net", "no address"),
            ("node = a b", "a name has"),
            ("node = -x", "a name has"),
            ("node = x]", "a name has"),
            ("ntp = $(reboot)", "no host name"),
            ("port = eth0,10.0.0.1/8", "management device"),
            ("port = eth1;reboot", "is no port"),
            ("port = wan=../../x", "is no port"),
            ("port = wan=averylongdevicename", "is no port"),
            ("port = eth1,10.0.0.1/8,10.0.0.1/8", "twice"),
            ("port = eth1,mtu=9000", "not understood"),
            ("port = ", "is no port"),
            ("key = ssh-ed25519", "nothing behind"),
        ] {
            let (given, wrong) = given(line);
            assert_eq!(given, Given::default(), "{line}");
            assert_eq!(wrong.len(), 1, "{line}: {wrong:?}");
            assert!(wrong[0].starts_with("setup.conf:1: "), "{wrong:?}");
            assert!(wrong[0].contains(says), "{line}: {wrong:?}");
        }
    }

    #[test]
    fn a_port_or_a_device_is_there_once_and_there_are_not_too_many() {
        let (_, wrong) = given("port = wan=eth1\nport = wan=eth2\nport = lan=eth1\n");
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        let mut many = Given::default();
        for number in 1..=MOST_PORTS {
            many.set("port", &format!("eth{number}")).unwrap();
        }
        assert!(many.set("port", "eth99").is_err());
    }
}
