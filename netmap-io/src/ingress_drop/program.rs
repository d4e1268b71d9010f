//! The program that tells frames of owned addresses from the others.

use crate::bpf::{Assembler, Cond, Helper, Label, Map, Op, ProgramKind, Reg, Size};
use crate::owned::OwnedTable;

/// Offsets in `struct __sk_buff`.
const SKB_PACKET_TYPE: i16 = 4;
const SKB_PROTOCOL: i16 = 16;

/// Offsets in an untagged frame: the kernel has taken the tag off before either hook.
const IPV4_DESTINATION: i32 = 30;
const ARP_TARGET: i32 = 38;
const IPV6_NEXT_HEADER: i32 = 20;
const IPV6_DESTINATION: i32 = 38;
const ICMPV6_TYPE: i32 = 54;
const ND_TARGET: i32 = 62;

const ICMPV6: i32 = 58;
/// RFC 4861 section 4.3.
const NEIGHBOR_SOLICITATION: i32 = 135;

/// `TC_ACT_SHOT`: the kernel frees the frame.
const DROP: i32 = 2;
/// `TC_ACT_UNSPEC`, which is `TCX_NEXT` too: go on as if this program were not here.
const GO_ON: i32 = -1;
/// A socket filter's answer is the number of bytes to keep.
const KEEP_ALL: i32 = -1;
const KEEP_NOTHING: i32 = 0;

/// Assembles the program: IPv4 and IPv6 by destination, ARP by target, neighbour solicitations by
/// target; fragments and ICMP errors go by their destination like everything else.
pub(super) fn classify(kind: ProgramKind, owned: &OwnedTable) -> Assembler {
    let (hit, miss) = match kind {
        ProgramKind::SocketFilter => (KEEP_ALL, KEEP_NOTHING),
        ProgramKind::SchedCls | ProgramKind::Xdp => (DROP, GO_ON),
    };
    let mut asm = Assembler::new();
    let [v4, arp, look_up4, v6, ours, not_ours] = std::array::from_fn(|_| asm.label());
    asm.mov(Reg::R6, Reg::R1);
    if kind == ProgramKind::SocketFilter {
        // Frames that we or the kernel sent: older kernels show them to fanout groups.
        asm.load(Size::Word, Reg::R7, Reg::R6, SKB_PACKET_TYPE)
            .jump_if(
                Cond::Eq,
                Reg::R7,
                i32::from(libc::PACKET_OUTGOING),
                not_ours,
            );
    }
    asm.load(Size::Word, Reg::R7, Reg::R6, SKB_PROTOCOL)
        .jump_if(Cond::Eq, Reg::R7, protocol(0x0800), v4)
        .jump_if(Cond::Eq, Reg::R7, protocol(0x0806), arp)
        .jump_if(Cond::Eq, Reg::R7, protocol(0x86dd), v6)
        .jump(not_ours)
        .bind(v4)
        .mov(Reg::R2, IPV4_DESTINATION)
        .jump(look_up4)
        .bind(arp)
        .mov(Reg::R2, ARP_TARGET)
        .bind(look_up4);
    look_up(&mut asm, owned.v4(), 4, ours, not_ours);
    asm.jump(not_ours).bind(v6).mov(Reg::R2, IPV6_DESTINATION);
    look_up(&mut asm, owned.v6(), 16, ours, not_ours);
    byte(&mut asm, IPV6_NEXT_HEADER, ICMPV6, not_ours);
    byte(&mut asm, ICMPV6_TYPE, NEIGHBOR_SOLICITATION, not_ours);
    asm.mov(Reg::R2, ND_TARGET);
    look_up(&mut asm, owned.v6(), 16, ours, not_ours);
    asm.bind(not_ours).exit_with(miss).bind(ours).exit_with(hit);
    asm
}

/// Goes to `ours` when the `len` bytes at offset R2 are in `map`, to `not_ours` when the frame
/// ends before; else goes on.
fn look_up(asm: &mut Assembler, map: &Map, len: i32, ours: Label, not_ours: Label) {
    load_to_stack(asm, len, not_ours);
    asm.load_map(Reg::R1, map)
        .mov(Reg::R2, Reg::R10)
        .alu(Op::Add, Reg::R2, -16)
        .call(Helper::MapLookup)
        .jump_if(Cond::Ne, Reg::R0, 0, ours);
}

/// Goes to `not_ours` unless the byte at `offset` is `wanted`.
fn byte(asm: &mut Assembler, offset: i32, wanted: i32, not_ours: Label) {
    asm.mov(Reg::R2, offset);
    load_to_stack(asm, 1, not_ours);
    asm.load(Size::Byte, Reg::R7, Reg::R10, -16)
        .jump_if(Cond::Ne, Reg::R7, wanted, not_ours);
}

/// Copies `len` bytes at offset R2 of the frame to the stack.
fn load_to_stack(asm: &mut Assembler, len: i32, too_short: Label) {
    asm.mov(Reg::R1, Reg::R6)
        .mov(Reg::R3, Reg::R10)
        .alu(Op::Add, Reg::R3, -16)
        .mov(Reg::R4, len)
        .call(Helper::SkbLoadBytes)
        .jump_if(Cond::Ne, Reg::R0, 0, too_short);
}

/// An Ethernet type as `__sk_buff` shows it: in network order.
fn protocol(ethertype: u16) -> i32 {
    i32::from(ethertype.to_be())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::bpf::Program;

    /// What the drop program says about a frame, or none when eBPF cannot be tried here.
    fn verdict(owned: &[&str], frame: &[u8]) -> Option<i32> {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: loading eBPF programs needs root");
            return None;
        }
        let mut addresses = OwnedTable::new().unwrap();
        let list: Vec<IpAddr> = owned.iter().map(|a| a.parse().unwrap()).collect();
        addresses.set(&list).unwrap();
        let code = classify(ProgramKind::SchedCls, &addresses);
        let program = Program::load(ProgramKind::SchedCls, "weir_drop", code).unwrap();
        Some(program.test_run(frame, 1).unwrap().answer.cast_signed())
    }

    fn frame(ethertype: u16, body: &[(usize, &[u8])]) -> Vec<u8> {
        let mut frame = vec![0; 96];
        frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
        for (at, bytes) in body {
            frame[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        frame
    }

    #[test]
    fn only_packets_to_owned_ipv4_addresses_are_dropped() {
        let ip = frame(0x0800, &[(14, &[0x45]), (30, &[10, 1, 2, 3])]);
        let Some(answer) = verdict(&["10.1.2.3"], &ip) else {
            return;
        };
        assert_eq!(answer, DROP);
        assert_eq!(verdict(&["10.1.2.4"], &ip), Some(GO_ON));
        assert_eq!(verdict(&[], &ip), Some(GO_ON));
    }

    #[test]
    fn arp_goes_by_its_target() {
        let arp = frame(0x0806, &[(28, &[10, 1, 2, 9]), (38, &[10, 1, 2, 3])]);
        let Some(answer) = verdict(&["10.1.2.3"], &arp) else {
            return;
        };
        assert_eq!(answer, DROP);
        assert_eq!(verdict(&["10.1.2.9"], &arp), Some(GO_ON));
    }

    #[test]
    fn ipv6_goes_by_destination_and_solicitations_by_target() {
        let vip = "2001:db8::7"
            .parse::<std::net::Ipv6Addr>()
            .unwrap()
            .octets();
        let to_vip = frame(0x86dd, &[(14, &[0x60]), (38, &vip)]);
        let Some(answer) = verdict(&["2001:db8::7"], &to_vip) else {
            return;
        };
        assert_eq!(answer, DROP);
        assert_eq!(verdict(&["2001:db8::8"], &to_vip), Some(GO_ON));
        let mut asked = frame(
            0x86dd,
            &[(14, &[0x60]), (20, &[58]), (54, &[135]), (62, &vip)],
        );
        assert_eq!(verdict(&["2001:db8::7"], &asked), Some(DROP));
        asked[54] = 136;
        assert_eq!(verdict(&["2001:db8::7"], &asked), Some(GO_ON));
    }

    #[test]
    fn what_is_neither_ip_nor_arp_and_what_is_cut_short_is_left_alone() {
        let lldp = frame(0x88cc, &[(30, &[10, 1, 2, 3])]);
        let Some(answer) = verdict(&["10.1.2.3"], &lldp) else {
            return;
        };
        assert_eq!(answer, GO_ON);
        let short = &frame(0x0806, &[(38, &[10, 1, 2, 3])])[..40];
        assert_eq!(verdict(&["10.1.2.3"], short), Some(GO_ON));
    }
}
