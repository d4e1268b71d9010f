//! On which worker's queue each NIC receives what: asked once, when the devices are open.

use std::net::IpAddr;
use std::sync::Arc;

use nat_engine::{Protocols, Steering};
use netmap_io::ethtool::HashFields;
use weir_director::SpreadFacts;
use weir_model::{PortId, Snapshot};

use crate::control::ports::OpenDevice;
use crate::log;

/// Asks every device, and says of each what follows from its answer.
pub(super) fn facts(snapshot: &Snapshot, devices: &[OpenDevice], workers: usize) -> SpreadFacts {
    let mut facts = SpreadFacts::default();
    let Some(workers) = u8::try_from(workers).ok().filter(|workers| *workers > 1) else {
        return facts; // One worker has everything.
    };
    let clients = port_of_clients(snapshot);
    for open in devices {
        let place = format!("port {} ({})", open.name, open.device.info().device);
        let (steering, protocols) = match steering(open, workers) {
            Ok(found) => found,
            Err(reason) => {
                log::say(format!(
                    "{place}: what arrives on another worker's queue is handed over, because {reason}"
                ));
                continue;
            }
        };
        log::say(format!(
            "{place}: {protocols} arrives on the queue of its session's worker, foretold from the \
             device's RSS key and table"
        ));
        let steering = Arc::new(steering);
        if clients == Some(open.id) {
            facts.clients = Some(steering.clone());
        }
        facts.ports.push((open.id, steering));
    }
    facts
}

/// Most clients come in where packets without a better route go out. Whichever port a client's
/// packets arrive at, their owner is found in one way, so that a flow may move between ports.
fn port_of_clients(snapshot: &Snapshot) -> Option<PortId> {
    let routed = snapshot
        .routes
        .iter()
        .find(|route| route.prefix.prefix_len() == 0 && route.via.is_ipv4())
        .map(|route| route.port);
    let mut ports = snapshot.ports.iter();
    routed.or_else(|| {
        let gated = ports.find(|port| port.gateways.iter().any(IpAddr::is_ipv4));
        gated.map(|port| port.id)
    })
}

/// Makes the steering of a device that can be foretold.
///
/// # Errors
/// Says why it cannot.
fn steering(open: &OpenDevice, workers: u8) -> Result<(Steering, &'static str), String> {
    let rss = open.device.rss().map_err(|reason| reason.to_string())?;
    rss.check().map_err(|reason| reason.to_string())?;
    let owner = |queue: &u32| {
        let worker = open.device.queue_for(*queue);
        worker.and_then(|worker| u8::try_from(worker).ok())
    };
    let owners: Option<Vec<u8>> = rss.table.iter().map(owner).collect();
    let owners = owners.ok_or("its table leads to queues that no worker has")?;
    let with_ports = |fields| fields == HashFields::AddressesAndPorts;
    let steers = Protocols {
        tcp: with_ports(rss.tcp_v4),
        udp: with_ports(rss.udp_v4),
    };
    let words = match (steers.tcp, steers.udp) {
        (true, true) => "TCP and UDP",
        (true, false) => "TCP",
        (false, _) => "UDP",
    };
    open.device
        .enforce_rss(&rss)
        .map_err(|cause| format!("its table cannot be put into force ({cause})"))?;
    let steering = Steering::new(&rss.key, &owners, workers, steers);
    let steering = steering.map_err(|reason| reason.to_string())?;
    Ok((steering, words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port_of(text: &str) -> Option<String> {
        let text = format!(
            "[port lan]\ndevice = b\naddress = 10.81.0.1/24\n\
             [port wan]\ndevice = a\naddress = 10.80.0.1/24\n{text}\
             [lip-pool p]\nport = lan\naddress = 10.81.0.200\n\
             [service web]\nlisten = 10.80.0.100:80/tcp\nlip-pool = p\nreal = 10.81.0.11:80\n"
        );
        let loaded = weir_conf::parse_str("spread.conf", &text, None);
        let snapshot = loaded
            .map_err(|report| report.to_string())
            .unwrap()
            .snapshot;
        let id = port_of_clients(&snapshot)?;
        Some(snapshot.ports.get(id.index())?.name.clone())
    }

    #[test]
    fn clients_come_in_where_the_default_route_goes_out() {
        assert_eq!(port_of("gateway = 10.80.0.254\n"), Some("wan".to_owned()));
        assert_eq!(port_of(""), None);
    }
}
