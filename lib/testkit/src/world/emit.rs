//! Frames that leave: each is checked, and ARP is answered as neighbours do.

use anyhow::{Result, bail, ensure};
use weir_model::{PortId, WorkerId};
use weir_wire::{
    ARP_REQUEST, ArpRepr, Describe, ETHERTYPE_ARP, EthHeader, Header, Kind, Parsed, verify_frame,
};

use super::{Emitted, World};
use crate::{Tally, arp_frame, l3_offset};

impl World {
    /// Checks a frame that leaves, answers it when it is an ARP request to the neighbourhood, and
    /// keeps it for the test otherwise.
    pub(super) fn emit(
        &mut self,
        worker: u8,
        port: PortId,
        frame: Vec<u8>,
        sound: bool,
    ) -> Result<()> {
        let shown = Describe(&frame);
        let Some(link) = self.around.link(port) else {
            bail!("sent on port {port}, which does not exist: {shown}");
        };
        let Some(eth) = EthHeader::at(&frame, 0) else {
            bail!("sent a frame that is not whole: {shown}");
        };
        ensure!(
            eth.src_addr() == link.mac,
            "sent on {} with the source {}, which is not the port's: {shown}",
            link.name,
            eth.src_addr()
        );
        if sound && let Err(error) = verify_frame(&frame) {
            bail!("{error}: {shown}");
        }
        if eth.ethertype.get() == ETHERTYPE_ARP {
            return self.emit_arp(worker, port, frame);
        }
        let parsed = match Parsed::parse(&frame) {
            Ok(parsed) => parsed,
            Err(error) => bail!("sent what is not in order, {error}: {shown}"),
        };
        let Kind::Ipv4(v4) = &parsed.kind else {
            bail!("sent what is neither ARP nor IPv4: {shown}");
        };
        ensure!(
            eth.dst_addr().is_unicast(),
            "sent to {}, which is no single station: {shown}",
            eth.dst_addr()
        );
        ensure!(v4.ttl > 0, "sent with a TTL of 0: {shown}");
        ensure!(
            usize::from(v4.total_len) <= usize::from(self.setup.mtu),
            "longer than the MTU: {shown}"
        );
        ensure!(
            self.is_ours(v4.src),
            "sent with a source that Weir does not own: {shown}"
        );
        if self.setup.neighbours_answer && !self.setup.liars {
            let reach = self.around.reach(v4.dst);
            ensure!(
                reach == Some((port, eth.dst_addr())),
                "sent to {} on {}, where the way leads elsewhere: {shown}",
                eth.dst_addr(),
                link.name
            );
        }
        self.push(worker, port, frame);
        Ok(())
    }

    fn emit_arp(&mut self, worker: u8, port: PortId, frame: Vec<u8>) -> Result<()> {
        let shown = Describe(&frame);
        let Some(arp) = ArpRepr::parse(&frame[l3_offset(&frame)..]) else {
            bail!("sent an ARP packet that is not in order: {shown}");
        };
        ensure!(
            self.around
                .link(port)
                .is_some_and(|it| it.mac == arp.sender_mac),
            "an ARP sender that is not the port: {shown}"
        );
        ensure!(
            self.is_ours(arp.sender_ip),
            "an ARP sender address that Weir does not own: {shown}"
        );
        let mut moved = vec!["originated", "tx"];
        if arp.op == ARP_REQUEST && arp.is_announcement() {
            moved.push("arp-announced");
        } else if arp.op == ARP_REQUEST
            && self.setup.neighbours_answer
            && self.around.is_neighbour(port, arp.target_ip)
        {
            moved.push("arp-requested");
        } else {
            self.push(worker, port, frame);
            return Ok(());
        }
        if !self.setup.neighbours_answer {
            self.push(worker, port, frame);
            return Ok(());
        }
        let text: Vec<String> = moved.iter().map(|name| format!("{name} 1")).collect();
        self.background.add(&Tally::parse(&text.join(", "))?);
        if arp.is_announcement() {
            return Ok(());
        }
        let Some(reply) = arp.reply_from(self.around.mac_of(arp.target_ip)) else {
            return Ok(());
        };
        self.replies.push_back((port, arp_frame(&reply)));
        Ok(())
    }

    /// Lets the neighbours' ARP replies arrive; says whether there were any.
    pub(super) fn deliver_replies(&mut self) -> Result<bool> {
        let mut any = false;
        while let Some((port, reply)) = self.replies.pop_front() {
            any = true;
            let before = self.tally_of_all();
            // Non-IP frames arrive at the first queue, whoever asked.
            self.process(0, &[(port, &reply)], false, &mut Vec::new())?;
            self.blame_background(&before);
        }
        Ok(any)
    }

    fn push(&mut self, worker: u8, port: PortId, frame: Vec<u8>) {
        self.emitted.push_back(Emitted {
            port,
            frame,
            at: self.clock.time(),
            worker: WorkerId(worker),
        });
    }
}
