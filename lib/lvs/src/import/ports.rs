//! Ports, which no file of LVS knows.

use std::net::IpAddr;

use ipnet::IpNet;

use super::draft::{Draft, DraftLine, DraftSection};
use crate::note::{Notes, Severity};
use crate::service::range;

/// A port as the command line gives it: `wan=eth0,198.51.100.2/24,gateway=198.51.100.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortGiven {
    /// Its name.
    pub name: String,
    /// The device.
    pub device: String,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
    /// The routers on it.
    pub gateways: Vec<IpAddr>,
}

/// What a port that is to be filled in is called.
pub(super) const FILL_IN: [&str; 2] = ["wan", "lan"];

impl std::str::FromStr for PortGiven {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "a port is NAME=DEVICE,ADDRESS/LENGTH[,gateway=ADDRESS], e.g. wan=eth0,198.51.100.2/24,gateway=198.51.100.1";
        let Some((name, rest)) = text.split_once('=') else {
            return Err(FORM.to_owned());
        };
        let mut parts = rest.split(',').map(str::trim);
        let device = parts.next().unwrap_or_default();
        if name.is_empty() || device.is_empty() {
            return Err(FORM.to_owned());
        }
        let mut port = Self {
            name: name.to_owned(),
            device: device.to_owned(),
            addresses: Vec::new(),
            gateways: Vec::new(),
        };
        for part in parts {
            if let Some(gateway) = part.strip_prefix("gateway=") {
                let gateway = gateway.parse();
                port.gateways
                    .push(gateway.map_err(|_| format!("`{part}` is no address; {FORM}"))?);
                continue;
            }
            let net = part.parse();
            port.addresses.push(
                net.map_err(|_| format!("`{part}` is no address with a prefix length; {FORM}"))?,
            );
        }
        Ok(port)
    }
}

/// Says for each pool on which port its addresses are.
pub(super) fn place(draft: &mut Draft, ports: &[PortGiven], notes: &mut Notes) {
    let pools: Vec<String> = draft.of_kind("lip-pool").map(|p| p.name.clone()).collect();
    for name in pools {
        let (port, is_guess) = port_of(draft, &name, ports);
        let pool = draft
            .sections
            .iter_mut()
            .find(|s| s.kind == "lip-pool" && s.name == name);
        let Some(pool) = pool else {
            continue;
        };
        pool.lines.insert(0, port_line(pool, &port));
        if is_guess {
            let text = format!(
                "[lip-pool {name}] is on no network of a port that was given; `port = {port}` is a guess"
            );
            notes.add(pool.place.as_ref(), Severity::Advice, text);
        }
    }
}

fn port_line(pool: &DraftSection, port: &str) -> DraftLine {
    DraftLine {
        key: "port",
        value: port.to_owned(),
        place: pool.place.clone(),
        was: "the port of local addresses".to_owned(),
        is_vital: true,
        refused: None,
    }
}

/// Finds the port with the network of the pool, else that of the real servers that it serves,
/// else guesses.
fn port_of(draft: &Draft, pool: &str, ports: &[PortGiven]) -> (String, bool) {
    let [_, lan] = FILL_IN;
    let Some(last) = ports.last() else {
        return (lan.to_owned(), false);
    };
    let with = |address: IpAddr| {
        ports
            .iter()
            .find(|port| port.addresses.iter().any(|net| net.contains(&address)))
    };
    let own = draft.of_kind("lip-pool").filter(|s| s.name == pool);
    let own = own.flat_map(|s| s.lines.iter().filter(|line| line.key == "address"));
    let mut own = own
        .filter_map(|line| range(&line.value))
        .map(|(first, _)| first);
    let users = draft.of_kind("service").filter(|service| {
        let refers = |line: &DraftLine| line.key == "lip-pool" && line.value == pool;
        service.lines.iter().any(refers)
    });
    let reals = users.flat_map(|s| s.lines.iter().filter(|line| line.key == "real"));
    let mut reals = reals.filter_map(|line| {
        let socket = line.value.split_whitespace().next()?;
        Some(socket.parse::<std::net::SocketAddr>().ok()?.ip())
    });
    let found = own.find_map(with).or_else(|| reals.find_map(with));
    if let Some(port) = found {
        return (port.name.clone(), false);
    }
    let called_lan = ports.iter().find(|port| port.name == lan);
    let guess = called_lan.unwrap_or(last);
    (guess.name.clone(), ports.len() > 1)
}
