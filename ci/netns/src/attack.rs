//! Floods in the lab: they leave by the clients' link, beside the clients' own traffic.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::client::Running;
use crate::inside::Task;
use crate::inside::connect::{Connect, ConnectReport};
use crate::inside::flood::{
    ARMED, Burst, DEBT, Flood, FloodReport, GRAIN, IDLE_LINKS, Vector, idle_link,
};
use crate::lab::{CLIENT_LINK, LB_LAN, Lab, Offloads, REAL_LINK, Topology, VIP, WAN};

/// Where the load balancer sends what is for the flood's sources; an address of the clients.
pub const FLOOD_GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 254);

impl Lab {
    /// Builds a lab to measure packets in: one real server, every frame one packet, room for floods.
    ///
    /// # Errors
    /// As [`Lab::new`] and [`Lab::expect_floods`].
    pub fn for_floods(queues: u8) -> Result<Self> {
        let lab = Self::new(Topology {
            reals: 1,
            offloads: Offloads::Off,
            ..Topology::with_queues(queues)
        })?;
        lab.expect_floods()?;
        Ok(lab)
    }

    /// Makes room for floods: answers to random sources find their way back to the clients' link,
    /// where they vanish, and the load balancer's end takes frames without a socket buffer, whether
    /// it has an XDP program or not.
    ///
    /// # Errors
    /// When a tool refuses.
    pub fn expect_floods(&self) -> Result<()> {
        self.client
            .ip(&format!("addr add {FLOOD_GATEWAY}/32 dev {CLIENT_LINK}"))?;
        for number in (0..IDLE_LINKS).step_by(2) {
            let (one, other) = (idle_link(number), idle_link(number + 1));
            self.client
                .ip(&format!("link add {one} type veth peer name {other}"))?;
        }
        self.lb.run(&format!("ethtool -K {WAN} gro on"))?;
        for namespace in [&self.client, &self.lb] {
            for scope in ["all", "default", CLIENT_LINK, WAN] {
                // Only one of the two links is in each namespace.
                namespace
                    .sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")
                    .ok();
            }
        }
        for real in &self.reals {
            real.nft(&format!(
                "table netdev weir-count {{\n\
                 chain ingress {{\n\
                 type filter hook ingress device {REAL_LINK} priority 0\n\
                 ip saddr != {LB_LAN} tcp flags & (syn | ack) == syn counter\n}}\n}}\n"
            ))?;
        }
        Ok(())
    }

    /// Returns the SYNs that have reached all real servers, without those of health checks.
    ///
    /// # Errors
    /// When `nft` refuses, or [`Lab::expect_floods`] was not called.
    pub fn syns_at_the_real_servers(&self) -> Result<u64> {
        let mut syns = 0;
        for real in &self.reals {
            let text = real.run("nft list table netdev weir-count")?;
            syns += packets(&text).with_context(|| format!("no counter in {text}"))?;
        }
        Ok(syns)
    }

    /// Plans a flood of the VIP.
    ///
    /// # Errors
    /// When the load balancer's address on the wire cannot be read.
    pub fn flood(&self, port: u16, vectors: &[Vector], bursts: &[Burst]) -> Result<Flood> {
        let text = self.lb.run(&format!("cat /sys/class/net/{WAN}/address"))?;
        let next_hop = mac(text.trim()).with_context(|| format!("`{text}` is no MAC"))?;
        Ok(Flood {
            link: CLIENT_LINK.to_owned(),
            next_hop,
            target: SocketAddrV4::new(VIP, port),
            vectors: vectors.to_vec(),
            bursts: bursts.to_vec(),
            flows: None,
            cores: Vec::new(),
            grain: GRAIN,
            debt: DEBT,
            by_socket: false,
            behind: None,
            watch: None,
        })
    }

    /// Starts a flood in the background and returns when it is about to begin.
    ///
    /// # Errors
    /// When the generator cannot start.
    pub fn start_flood(&self, flood: Flood) -> Result<Running<FloodReport>> {
        let mut running = self.start_task("flood", &Task::Flood(flood))?;
        running.wait_for_line(ARMED, Duration::from_secs(30))?;
        Ok(running)
    }

    /// Sends a flood and counts the answers to each burst.
    ///
    /// # Errors
    /// When the generator cannot start or fails.
    pub fn flood_apart(&self, flood: Flood) -> Result<Vec<FloodReport>> {
        self.task("flood", &Task::FloodApart(flood))
    }

    /// Opens connections at a steady pace in the background.
    ///
    /// # Errors
    /// When the client cannot start.
    pub fn start_connect(&self, connect: Connect) -> Result<Running<ConnectReport>> {
        self.start_task("connect", &Task::Connect(connect))
    }

    /// Lets the load balancer's kernel handle what the clients' link brings on this core; none:
    /// where it arrives.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn steer(&self, core: Option<usize>) -> Result<()> {
        let mask = core.map_or(0, |core| 1_u64 << core);
        let line = format!("echo {mask:x} > /sys/class/net/{WAN}/queues/rx-0/rps_cpus");
        crate::command::run(self.lb.command("sh").args(["-c", &line])).map(drop)
    }
}

fn packets(text: &str) -> Option<u64> {
    let after = text.split("counter packets ").nth(1)?;
    after.split_whitespace().next()?.parse().ok()
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Result<Vec<u8>, _> = text.split(':').map(|b| u8::from_str_radix(b, 16)).collect();
    bytes.ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counter_of_a_listed_table_is_read() {
        let text = "table netdev t {\n chain c {\n  ip saddr != {LB_LAN} tcp flags & (syn | ack) == syn counter packets 17 bytes 1020\n }\n}\n";
        assert_eq!(packets(text), Some(17));
        assert_eq!(packets("table netdev t { }"), None);
    }

    #[test]
    fn address_on_the_wire_is_read() {
        assert_eq!(mac("02:00:5e:10:00:ff"), Some([2, 0, 0x5e, 0x10, 0, 0xff]));
        assert_eq!(mac("02:00:5e:10:00"), None);
    }
}
