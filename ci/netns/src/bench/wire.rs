//! The bare forwarder as a wire between a client and a real server, for what wants answers.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::lab::{CLIENT_LINK, Lab, REAL_LINK, client_address};
use crate::namespace::Namespace;
use crate::plain::PlainRouter;

/// Ends that find each other without anybody who routes or translates; undone when dropped.
#[derive(Debug)]
pub(super) struct Wire<'lab> {
    lab: &'lab Lab,
    real: &'lab Namespace,
}

impl<'lab> Wire<'lab> {
    /// Tells both ends that the other is their neighbour, and its hardware address: frames that
    /// nobody changes are theirs.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub(super) fn between_the_ends(lab: &'lab Lab, real: &'lab Namespace) -> Result<Self> {
        let wire = Self { lab, real };
        let macs = (mac(&lab.client, CLIENT_LINK)?, mac(real, REAL_LINK)?);
        for ((namespace, link, other), mac) in wire.ends().into_iter().zip([macs.1, macs.0]) {
            namespace.ip(&format!("route add {other}/32 dev {link}"))?;
            namespace.ip(&format!(
                "neigh replace {other} lladdr {mac} dev {link} nud permanent"
            ))?;
        }
        Ok(wire)
    }

    /// Each end with its device and the other's address.
    fn ends(&self) -> [(&'lab Namespace, &'static str, Ipv4Addr); 2] {
        [
            (&self.lab.client, CLIENT_LINK, PlainRouter::TARGET),
            (self.real, REAL_LINK, client_address(0)),
        ]
    }

    fn undo(&self) -> Result<()> {
        for (namespace, link, other) in self.ends() {
            namespace.ip(&format!("neigh del {other} dev {link}"))?;
            namespace.ip(&format!("route del {other}/32 dev {link}"))?;
        }
        Ok(())
    }
}

impl Drop for Wire<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            eprintln!("lab: cannot undo the wire: {error:#}");
        }
    }
}

fn mac(namespace: &Namespace, device: &str) -> Result<String> {
    let text = namespace.run(&format!("cat /sys/class/net/{device}/address"))?;
    Ok(text.trim().to_owned())
}
