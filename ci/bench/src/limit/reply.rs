//! Reply: a SYN becomes its SYN-ACK in place, with a number that only the key's holder can make.

use weir_director::Packet;
use weir_model::{DropReason, Verdict};
use weir_wire::{Protocol, TcpFlags};

use super::head::{Head, fold};
use super::sip::Sip;

/// Length of Ethernet, IPv4 and TCP headers with an MSS.
const LEN: usize = 58;
const SYN: u8 = TcpFlags::SYN.0;
const SYN_ACK: u8 = TcpFlags::SYN.0 | TcpFlags::ACK.0;
const JUDGED: u8 = SYN_ACK | TcpFlags::RST.0 | TcpFlags::FIN.0;
const MSS: u16 = 1460;
const WINDOW: u16 = 65_535;
const TTL: u8 = 64;

/// Answers a burst of SYNs. `step` is the time that cookies are made with.
#[inline(never)]
pub(crate) fn reply(key: Sip, step: u64, packets: &mut [Packet<'_>]) {
    for packet in packets {
        let sent = answer(key, step, packet);
        packet.verdict = sent.map_or(Verdict::Drop(DropReason::Malformed), |()| Verdict::Reply);
    }
}

#[inline]
fn answer(key: Sip, step: u64, packet: &mut Packet<'_>) -> Option<()> {
    let head = Head::read(packet.frame.bytes())?;
    if head.protocol != Protocol::TCP {
        return None;
    }
    let Head {
        addresses, ports, ..
    } = head;
    packet.frame.set_len(LEN)?;
    let frame = packet.frame.bytes_mut().first_chunk_mut::<LEN>()?;
    if frame[47] & JUDGED != SYN {
        return None;
    }
    let isn = u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]]);
    let handshake = u64::from(ports) << 32 | u64::from(isn);
    let cookie = key.hash24([addresses, handshake, 23 << 56 | step]) as u32;

    let (macs, _) = frame.split_at_mut(12);
    macs.rotate_left(6);
    let words: [u32; 11] = [
        0x4500_0000 | (LEN as u32 - 14),
        0x4000,
        u32::from(TTL) << 24 | u32::from(Protocol::TCP) << 16,
        addresses as u32,
        (addresses >> 32) as u32,
        ports.rotate_left(16),
        cookie,
        isn.wrapping_add(1),
        6 << 28 | u32::from(SYN_ACK) << 16 | u32::from(WINDOW),
        0,
        2 << 24 | 4 << 16 | u32::from(MSS),
    ];
    let [ip @ .., _, _, _, _, _, _] = words;
    let [_, _, _, pseudo @ ..] = words;
    let length = u64::from(Protocol::TCP) + (LEN as u64 - 34);
    let ip_sum = !fold(ip.iter().map(|word| u64::from(*word)).sum());
    let tcp_sum = !fold(length + pseudo.iter().map(|word| u64::from(*word)).sum::<u64>());
    let (places, _) = frame[14..].as_chunks_mut::<4>();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
    frame[24..26].copy_from_slice(&ip_sum.to_be_bytes());
    frame[50..52].copy_from_slice(&tcp_sum.to_be_bytes());
    Some(())
}
