//! The kernel's own NAT in Weir's place: the baseline of every ratio.

use anyhow::Result;

use crate::attack::FLOOD_GATEWAY;
use crate::lab::{LAN, LB_LAN, Lab, VIP, WAN, lip, real_address};

/// Destination and source NAT with nft in the load balancer's namespace; removed when dropped.
#[derive(Debug)]
pub struct KernelNat<'lab> {
    lab: &'lab Lab,
    lips: u8,
}

impl<'lab> KernelNat<'lab> {
    /// Gives the kernel the VIP and one LIP and lets nft do what Weir does for port 80 (both real
    /// servers in turn) and everything else (the first real server).
    ///
    /// # Errors
    /// When `ip` or `nft` refuses.
    pub fn start(lab: &'lab Lab) -> Result<Self> {
        Self::with_lips(lab, 1)
    }

    /// As [`KernelNat::start`], with as many LIPs.
    ///
    /// # Errors
    /// As [`KernelNat::start`].
    pub fn with_lips(lab: &'lab Lab, lips: u8) -> Result<Self> {
        let nat = Self { lab, lips };
        lab.lb.ip(&format!("addr add {VIP}/32 dev {WAN}"))?;
        for n in 0..lips {
            lab.lb.ip(&format!("addr add {}/32 dev {LAN}", lip(n)))?;
        }
        lab.lb
            .ip(&format!("route add default via {FLOOD_GATEWAY} dev {WAN}"))?;
        lab.lb.sysctl("net/ipv4/ip_forward", "1")?;
        let reals = lab.topology().reals;
        let turns: Vec<String> = (0..reals)
            .map(|n| format!("{n} : {}", real_address(n)))
            .collect();
        let mut from = lip(0).to_string();
        if lips > 1 {
            from = format!("{from}-{}", lip(lips - 1));
        }
        lab.lb.nft(&format!(
            "table ip weir-baseline {{\n\
             chain pre {{\n\
             type nat hook prerouting priority -100\n\
             ip daddr {VIP} tcp dport 80 dnat to numgen inc mod {reals} map {{ {} }}\n\
             ip daddr {VIP} meta l4proto {{ tcp, udp }} dnat to {}\n\
             }}\n\
             chain post {{\n\
             type nat hook postrouting priority 100\n\
             ip saddr != {LB_LAN} oifname {LAN} snat to {from}\n\
             }}\n}}\n",
            turns.join(", "),
            real_address(0)
        ))?;
        Ok(nat)
    }

    fn undo(&self) -> Result<()> {
        let lb = &self.lab.lb;
        lb.run("nft delete table ip weir-baseline")?;
        lb.sysctl("net/ipv4/ip_forward", "0")?;
        lb.ip("route del default")?;
        lb.ip(&format!("addr del {VIP}/32 dev {WAN}"))?;
        for n in 0..self.lips {
            lb.ip(&format!("addr del {}/32 dev {LAN}", lip(n)))?;
        }
        Ok(())
    }
}

impl Drop for KernelNat<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            eprintln!("lab: cannot undo the kernel's NAT: {error:#}");
        }
    }
}
