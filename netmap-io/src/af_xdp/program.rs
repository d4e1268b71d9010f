//! The XDP program: what is for a VIP or LIP goes to the worker's socket, all else to the kernel.

use crate::bpf::{
    Assembler, BpfError, Cond, Helper, Label, Map, Op, Program, ProgramKind, Reg, Size,
};
use crate::owned::OwnedTable;

/// The program's name in the kernel, as `bpftool prog` shows it.
pub(super) const NAME: &str = "weir_xdp";

const XDP_PASS: i32 = 2;

const ETH_LEN: i32 = 14;
const VLAN_LEN: i32 = 4;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_IPV4: u16 = 0x0800;
const TYPE_ARP: u16 = 0x0806;
const TYPE_IPV6: u16 = 0x86dd;
const ICMPV6: i32 = 58;
const NEIGHBOR_SOLICITATION: i32 = 135;

/// Loads the program over the tables; `absent` is its answer for a frame that is ours on a queue
/// without a socket.
fn load_with(owned: &OwnedTable, sockets: &Map, absent: i32) -> Result<Program, BpfError> {
    Program::load(ProgramKind::Xdp, NAME, assemble(owned, sockets, absent))
}

/// Loads the program over the tables. Frames on a queue without a socket go to the kernel.
pub(super) fn load(owned: &OwnedTable, sockets: &Map) -> Result<Program, BpfError> {
    load_with(owned, sockets, XDP_PASS)
}

/// R6 the context, R7 the network header, R8 the packet's end.
fn assemble(owned: &OwnedTable, sockets: &Map, absent: i32) -> Assembler {
    let mut asm = Assembler::new();
    let (pass, redirect) = (asm.label(), asm.label());
    let (untagged, ipv4, arp, look_up_v4) = (asm.label(), asm.label(), asm.label(), asm.label());
    let not_ipv6 = asm.label();

    asm.mov(Reg::R6, Reg::R1)
        .load(Size::Word, Reg::R7, Reg::R6, 0)
        .load(Size::Word, Reg::R8, Reg::R6, 4);
    need(&mut asm, ETH_LEN, pass);
    asm.load(Size::Half, Reg::R5, Reg::R7, 12)
        .alu(Op::Add, Reg::R7, ETH_LEN)
        .jump_if(Cond::Ne, Reg::R5, network_order(TYPE_VLAN), untagged);
    need(&mut asm, VLAN_LEN, pass);
    asm.load(Size::Half, Reg::R5, Reg::R7, 2)
        .alu(Op::Add, Reg::R7, VLAN_LEN)
        .bind(untagged)
        .jump_if(Cond::Eq, Reg::R5, network_order(TYPE_IPV4), ipv4)
        .jump_if(Cond::Eq, Reg::R5, network_order(TYPE_ARP), arp)
        .jump_if(Cond::Ne, Reg::R5, network_order(TYPE_IPV6), not_ipv6);
    ipv6(&mut asm, owned.v6(), pass, redirect);
    asm.bind(not_ipv6).jump(pass);

    // Ethernet and IPv4 addresses; the target protocol address is the one that is asked for, or
    // the one of ours that asked.
    asm.bind(arp);
    need(&mut asm, 28, pass);
    asm.load(Size::Half, Reg::R5, Reg::R7, 0)
        .jump_if(Cond::Ne, Reg::R5, network_order(1), pass)
        .load(Size::Half, Reg::R5, Reg::R7, 2)
        .jump_if(Cond::Ne, Reg::R5, network_order(TYPE_IPV4), pass)
        .load(Size::Half, Reg::R5, Reg::R7, 4)
        .jump_if(Cond::Ne, Reg::R5, network_order(0x0604), pass)
        .load(Size::Word, Reg::R4, Reg::R7, 24)
        .jump(look_up_v4);

    asm.bind(ipv4);
    need(&mut asm, 20, pass);
    asm.load(Size::Word, Reg::R4, Reg::R7, 16);

    asm.bind(look_up_v4)
        .store(Size::Word, Reg::R10, -4, Reg::R4)
        .load_map(Reg::R1, owned.v4())
        .mov(Reg::R2, Reg::R10)
        .alu(Op::Add, Reg::R2, -4)
        .call(Helper::MapLookup)
        .jump_if(Cond::Eq, Reg::R0, 0, pass);

    asm.bind(redirect)
        .load_map(Reg::R1, sockets)
        .load(Size::Word, Reg::R2, Reg::R6, 16)
        .mov(Reg::R3, absent)
        .call(Helper::RedirectMap)
        .exit()
        .bind(pass)
        .exit_with(XDP_PASS);
    asm
}

/// Redirects when the destination is owned, or the target of a neighbor solicitation, which is
/// sent to a group address (RFC 4861 section 4.3).
fn ipv6(asm: &mut Assembler, owned: &Map, pass: Label, redirect: Label) {
    need(asm, 40, pass);
    look_up_v6(asm, owned, 24);
    asm.jump_if(Cond::Ne, Reg::R0, 0, redirect)
        .load(Size::Byte, Reg::R5, Reg::R7, 6)
        .jump_if(Cond::Ne, Reg::R5, ICMPV6, pass);
    need(asm, 64, pass);
    asm.load(Size::Byte, Reg::R5, Reg::R7, 40).jump_if(
        Cond::Ne,
        Reg::R5,
        NEIGHBOR_SOLICITATION,
        pass,
    );
    look_up_v6(asm, owned, 48);
    asm.jump_if(Cond::Ne, Reg::R0, 0, redirect).jump(pass);
}

/// Looks the address at `offset` of the network header up; R0 is null when it is not owned.
fn look_up_v6(asm: &mut Assembler, owned: &Map, offset: i16) {
    for word in (0..16).step_by(4) {
        asm.load(Size::Word, Reg::R5, Reg::R7, offset + word).store(
            Size::Word,
            Reg::R10,
            word - 16,
            Reg::R5,
        );
    }
    asm.load_map(Reg::R1, owned)
        .mov(Reg::R2, Reg::R10)
        .alu(Op::Add, Reg::R2, -16)
        .call(Helper::MapLookup);
}

/// Goes to `short` when fewer than `bytes` bytes follow R7.
fn need(asm: &mut Assembler, bytes: i32, short: Label) {
    asm.mov(Reg::R4, Reg::R7)
        .alu(Op::Add, Reg::R4, bytes)
        .jump_if(Cond::Gt, Reg::R4, Reg::R8, short);
}

/// A field in network order as a native load sees it.
fn network_order(value: u16) -> i32 {
    i32::from(value.to_be())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: [u8; 4] = [192, 0, 2, 80];
    const OTHER: [u8; 4] = [192, 0, 2, 1];
    const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80];
    const OTHER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const GROUP6: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0x80];

    /// What the program answers for a frame that is ours when no socket stands behind it.
    const OURS: u32 = 1;
    const KERNEL: u32 = 2;

    struct Classifier {
        program: Program,
    }

    impl Classifier {
        fn new() -> Option<Self> {
            if !nix::unistd::geteuid().is_root() {
                println!("skipped: loading eBPF programs needs root");
                return None;
            }
            let mut owned = OwnedTable::new().unwrap();
            owned.set(&[VIP.into(), VIP6.into()]).unwrap();
            let sockets = Map::xsk("weir_xsks", 4).unwrap();
            let program = load_with(&owned, &sockets, 1).unwrap();
            Some(Self { program })
        }

        fn answer(&self, frame: &[u8]) -> u32 {
            // The kernel refuses frames shorter than an Ethernet header, and nothing else.
            self.program.test_run(frame, 1).unwrap().answer
        }
    }

    fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        frame.extend(ethertype.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn tagged(ethertype: u16, payload: &[u8]) -> Vec<u8> {
        let mut tag = vec![0, 5];
        tag.extend(ethertype.to_be_bytes());
        tag.extend(payload);
        ethernet(TYPE_VLAN, &tag)
    }

    fn ip(protocol: u8, fragment: u16, to: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 40, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 203, 0, 113, 9]);
        packet.extend(to);
        packet.extend([0; 20]);
        packet
    }

    fn arp_packet(operation: u8, target: [u8; 4]) -> Vec<u8> {
        let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 2];
        packet.extend([192, 0, 2, 9, 0, 0, 0, 0, 0, 0]);
        packet.extend(target);
        packet
    }

    fn ip6(next: u8, to: [u8; 16], payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, payload.len() as u8, next, 64];
        packet.extend(OTHER6);
        packet.extend(to);
        packet.extend(payload);
        packet
    }

    #[test]
    fn every_ipv4_packet_for_an_owned_address_is_ours_whatever_it_carries() {
        let Some(classifier) = Classifier::new() else {
            return;
        };
        for protocol in [1, 6, 17, 47] {
            for fragment in [0, 0x2000, 185] {
                let packet = ip(protocol, fragment, VIP);
                assert_eq!(classifier.answer(&ethernet(TYPE_IPV4, &packet)), OURS);
                assert_eq!(classifier.answer(&tagged(TYPE_IPV4, &packet)), OURS);
                let packet = ip(protocol, fragment, OTHER);
                assert_eq!(classifier.answer(&ethernet(TYPE_IPV4, &packet)), KERNEL);
                assert_eq!(classifier.answer(&tagged(TYPE_IPV4, &packet)), KERNEL);
            }
        }
    }

    #[test]
    fn arp_is_ours_when_it_asks_for_or_answers_an_owned_address() {
        let Some(classifier) = Classifier::new() else {
            return;
        };
        for operation in [1, 2] {
            let frame = ethernet(TYPE_ARP, &arp_packet(operation, VIP));
            assert_eq!(classifier.answer(&frame), OURS);
            let frame = tagged(TYPE_ARP, &arp_packet(operation, VIP));
            assert_eq!(classifier.answer(&frame), OURS);
            let frame = ethernet(TYPE_ARP, &arp_packet(operation, OTHER));
            assert_eq!(classifier.answer(&frame), KERNEL);
        }
    }

    #[test]
    fn arp_of_another_hardware_or_protocol_goes_to_the_kernel() {
        let Some(classifier) = Classifier::new() else {
            return;
        };
        for (at, value) in [(1, 6), (2, 0x86), (4, 8), (5, 16)] {
            let mut packet = arp_packet(1, VIP);
            packet[at] = value;
            assert_eq!(classifier.answer(&ethernet(TYPE_ARP, &packet)), KERNEL);
        }
    }

    #[test]
    fn ipv6_is_ours_by_destination_or_by_the_solicited_target() {
        let Some(classifier) = Classifier::new() else {
            return;
        };
        let solicit = |target: [u8; 16]| {
            let mut body = vec![135, 0, 0, 0, 0, 0, 0, 0];
            body.extend(target);
            body
        };
        let ours = [
            ip6(6, VIP6, &[0; 20]),
            ip6(44, VIP6, &[0; 8]),
            ip6(58, GROUP6, &solicit(VIP6)),
        ];
        for packet in ours {
            assert_eq!(classifier.answer(&ethernet(TYPE_IPV6, &packet)), OURS);
            assert_eq!(classifier.answer(&tagged(TYPE_IPV6, &packet)), OURS);
        }
        let mut advertisement = solicit(VIP6);
        advertisement[0] = 136;
        let kernels = [
            ip6(6, OTHER6, &[0; 20]),
            ip6(58, GROUP6, &solicit(OTHER6)),
            ip6(58, GROUP6, &advertisement),
            ip6(17, GROUP6, &solicit(VIP6)),
        ];
        for packet in kernels {
            assert_eq!(classifier.answer(&ethernet(TYPE_IPV6, &packet)), KERNEL);
        }
    }

    #[test]
    fn frames_cut_short_anywhere_and_other_protocols_go_to_the_kernel() {
        let Some(classifier) = Classifier::new() else {
            return;
        };
        let mut solicitation = vec![135, 0, 0, 0, 0, 0, 0, 0];
        solicitation.extend(VIP6);
        let whole = [
            (tagged(TYPE_IPV4, &ip(6, 0, VIP)), 14 + 4 + 20),
            (ethernet(TYPE_ARP, &arp_packet(1, VIP)), 14 + 28),
            (ethernet(TYPE_IPV6, &ip6(6, VIP6, &[0; 20])), 14 + 40),
            (
                ethernet(TYPE_IPV6, &ip6(58, GROUP6, &solicitation)),
                14 + 64,
            ),
        ];
        for (frame, enough) in whole {
            for len in 14..frame.len() {
                let expected = if len < enough { KERNEL } else { OURS };
                assert_eq!(classifier.answer(&frame[..len]), expected, "{len} bytes");
            }
        }
        assert_eq!(classifier.answer(&ethernet(0x88cc, &[0; 60])), KERNEL);
        let twice = tagged(TYPE_VLAN, &tagged(TYPE_IPV4, &ip(6, 0, VIP))[14..]);
        assert_eq!(classifier.answer(&twice), KERNEL);
    }
}
