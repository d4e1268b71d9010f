//! The kernel's own SYNPROXY and NAT in Weir's place: the baseline of every flood.

use anyhow::Result;

use crate::attack::FLOOD_GATEWAY;
use crate::lab::{LAN, Lab, VIP, WAN, lip, real_address};

/// nft's `synproxy` in front of destination and source NAT; removed when dropped.
#[derive(Debug)]
pub struct KernelSynproxy<'lab> {
    lab: &'lab Lab,
}

impl<'lab> KernelSynproxy<'lab> {
    /// Gives the kernel the VIP and one LIP and lets nft do what Weir does for one TCP service on
    /// the first real server.
    ///
    /// What the interface receives is moved to a core, so that it can be the one that Weir's worker
    /// has, too, beside the generator's. Timestamps are left out: with them nft translates
    /// `TSecr` twice in its ACK to the server, and servers that check it stall.
    ///
    /// # Errors
    /// When `ip` or `nft` refuses.
    pub fn start(lab: &'lab Lab, core: Option<usize>) -> Result<Self> {
        let lb = &lab.lb;
        let proxy = Self { lab };
        lb.ip(&format!("addr add {VIP}/32 dev {WAN}"))?;
        lb.ip(&format!("addr add {}/32 dev {LAN}", lip(0)))?;
        lb.ip(&format!("route add default via {FLOOD_GATEWAY} dev {WAN}"))?;
        lb.sysctl("net/ipv4/ip_forward", "1")?;
        lb.sysctl("net/netfilter/nf_conntrack_tcp_loose", "0")?;
        lab.steer(core)?;
        let to = format!(
            "ip daddr {VIP} meta l4proto {{ tcp, udp }} dnat to {}",
            real_address(0)
        );
        lb.nft(&format!(
            "table ip weir-synproxy {{\n\
             chain raw {{\n\
             type filter hook prerouting priority -300\n\
             iifname {WAN} ip daddr {VIP} tcp flags & (syn | ack | rst | fin) == syn notrack\n\
             }}\n\
             chain pre {{\ntype nat hook prerouting priority -100\n{to}\n}}\n\
             chain out {{\ntype nat hook output priority -100\n{to}\n}}\n\
             chain in {{\n\
             type filter hook input priority 0\n\
             ip daddr {VIP} ct state invalid,untracked synproxy mss 1460 wscale 7 sack-perm\n\
             ip daddr {VIP} ct state invalid drop\n\
             }}\n\
             chain post {{\n\
             type nat hook postrouting priority 100\n\
             oifname {LAN} snat to {}\n\
             }}\n}}\n",
            lip(0)
        ))?;
        Ok(proxy)
    }

    fn undo(&self) -> Result<()> {
        let lb = &self.lab.lb;
        lb.run("nft delete table ip weir-synproxy")?;
        self.lab.steer(None)?;
        lb.sysctl("net/ipv4/ip_forward", "0")?;
        lb.ip("route del default")?;
        lb.ip(&format!("addr del {VIP}/32 dev {WAN}"))?;
        lb.ip(&format!("addr del {}/32 dev {LAN}", lip(0)))?;
        Ok(())
    }
}

impl Drop for KernelSynproxy<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            eprintln!("lab: cannot undo the kernel's SYNPROXY: {error:#}");
        }
    }
}
