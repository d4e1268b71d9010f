//! Nothing in the middle but a router: what the clients and servers can do by themselves.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::lab::{LB_LAN, LB_WAN, Lab, real_address};

/// The load balancer's namespace as a plain router; undone when dropped.
#[derive(Debug)]
pub struct PlainRouter<'lab> {
    lab: &'lab Lab,
}

impl<'lab> PlainRouter<'lab> {
    /// The address that clients talk to instead of the VIP: the first real server's own.
    pub const TARGET: Ipv4Addr = real_address(0);

    /// Lets the kernel forward between the clients and the real servers, without translation.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn start(lab: &'lab Lab) -> Result<Self> {
        let router = Self { lab };
        lab.lb.sysctl("net/ipv4/ip_forward", "1")?;
        lab.client
            .ip(&format!("route add 10.81.0.0/24 via {LB_WAN}"))?;
        for real in &lab.reals {
            real.ip(&format!("route add 10.80.0.0/24 via {LB_LAN}"))?;
        }
        Ok(router)
    }

    fn undo(&self) -> Result<()> {
        self.lab.lb.sysctl("net/ipv4/ip_forward", "0")?;
        self.lab.client.ip("route del 10.81.0.0/24")?;
        for real in &self.lab.reals {
            real.ip("route del 10.80.0.0/24")?;
        }
        Ok(())
    }
}

impl Drop for PlainRouter<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            eprintln!("lab: cannot undo the plain router: {error:#}");
        }
    }
}
