//! Forward: hash, prefetched bucket, prefetched session, rewrite in place. Or miss and drop.

use weir_director::Packet;
use weir_model::{DropReason, PortId, Verdict};
use weir_wire::{EthAddr, Protocol};

use super::head::{Head, TCP_HEADS, UDP_HEADS, fold};
use super::table::Table;
use crate::arena::BURST;

/// Where packets of a direction leave.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) port: PortId,
    pub(crate) src: EthAddr,
    pub(crate) dst: EthAddr,
}

/// What the first pass found out about a packet.
#[derive(Clone, Copy, Default)]
struct Found {
    head: Head,
    hash: u64,
    record: Option<u32>,
}

/// Forwards a burst: `ways` are those of packets of clients and of real servers. With `STATE` it
/// keeps what no load balancer with timeouts can do without; the limit itself does not.
#[inline(never)]
pub(crate) fn forward<const STATE: bool>(
    table: &mut Table,
    ways: &[Way; 2],
    packets: &mut [Packet<'_>],
    now: u32,
) {
    let mut found = [Found::default(); BURST];
    let sound = look_up(table, packets, &mut found);
    for found in &mut found[..sound] {
        found.record = table.candidate::<STATE>(found.hash);
    }
    for (packet, found) in packets.iter_mut().zip(&found[..sound]) {
        let confirmed = found
            .record
            .filter(|record| table.confirms(*record, found.head));
        let record = confirmed.or_else(|| table.find(found.hash, found.head));
        let sent = record
            .and_then(|record| rewrite::<STATE>(table, ways, packet, found.head, record, now));
        packet.verdict = sent.unwrap_or(Verdict::Drop(DropReason::NoSession));
    }
}

/// Looks a burst up in vain and drops it.
#[inline(never)]
pub(crate) fn drop_misses(table: &Table, packets: &mut [Packet<'_>]) {
    let mut found = [Found::default(); BURST];
    let sound = look_up(table, packets, &mut found);
    for (packet, found) in packets.iter_mut().zip(&found[..sound]) {
        packet.verdict = match table.find(found.hash, found.head) {
            Some(_) => Verdict::Forward(packet.port),
            None => Verdict::Drop(DropReason::NoSession),
        };
    }
}

/// Parses and hashes a burst and asks for its buckets; returns how many packets it has. One that
/// is not in order ends it: in a bench there is none.
#[inline]
fn look_up(table: &Table, packets: &[Packet<'_>], found: &mut [Found; BURST]) -> usize {
    let mut sound = 0;
    for (packet, found) in packets.iter().zip(found) {
        let Some(head) = Head::read(packet.frame.bytes()) else {
            break;
        };
        let hash = table.hash(head);
        table.prefetch(hash);
        *found = Found {
            head,
            hash,
            record: None,
        };
        sound += 1;
    }
    sound
}

#[inline]
fn rewrite<const STATE: bool>(
    table: &mut Table,
    ways: &[Way; 2],
    packet: &mut Packet<'_>,
    head: Head,
    record: u32,
    now: u32,
) -> Option<Verdict> {
    let entry = table.entry(record)?;
    let (arrived, leaves, seq_shift, ack_shift, way) = if record & 1 == 0 {
        let back = entry.outbound_seq.wrapping_neg();
        (
            entry.inbound,
            entry.outbound,
            entry.inbound_seq,
            back,
            &ways[0],
        )
    } else {
        let back = entry.inbound_seq.wrapping_neg();
        (
            entry.outbound,
            entry.inbound,
            entry.outbound_seq,
            back,
            &ways[1],
        )
    };
    // What goes on comes from where the answers arrive.
    let addresses = leaves.addresses.rotate_left(32);
    let ports = leaves.ports.rotate_left(16);
    let frame = packet.frame.bytes_mut();
    let heads = frame.first_chunk_mut::<UDP_HEADS>()?;
    heads[0..6].copy_from_slice(&way.dst.0);
    heads[6..12].copy_from_slice(&way.src.0);

    let moved = change64(arrived.addresses, addresses);
    let ttl = u16::from_be_bytes([heads[22], heads[23]]);
    heads[22] -= 1;
    mend(&mut heads[24..26], moved + change16(ttl, ttl - 0x100));
    heads[26..34].copy_from_slice(&addresses.to_be_bytes());
    heads[34..38].copy_from_slice(&ports.to_be_bytes());
    let moved = moved + change32(head.ports, ports);

    if head.protocol == Protocol::TCP {
        let heads = frame.first_chunk_mut::<TCP_HEADS>()?;
        let seq = u32::from_be_bytes([heads[38], heads[39], heads[40], heads[41]]);
        let ack = u32::from_be_bytes([heads[42], heads[43], heads[44], heads[45]]);
        let (new_seq, new_ack) = (seq.wrapping_add(seq_shift), ack.wrapping_add(ack_shift));
        heads[38..42].copy_from_slice(&new_seq.to_be_bytes());
        heads[42..46].copy_from_slice(&new_ack.to_be_bytes());
        let changes = moved + change32(seq, new_seq) + change32(ack, new_ack);
        mend(&mut heads[50..52], changes);
        if STATE {
            let total_len = u16::from_be_bytes([heads[16], heads[17]]);
            let headers = 20 + u16::from(heads[46] >> 4) * 4;
            let end = seq.wrapping_add(u32::from(total_len.saturating_sub(headers)));
            entry.keep(now, record as usize & 1, end, ack);
        }
    } else if heads[40..42] != [0, 0] {
        mend(&mut heads[40..42], moved);
        if heads[40..42] == [0, 0] {
            // RFC 768: 0 says that there is none.
            heads[40..42].copy_from_slice(&[0xff, 0xff]);
        }
    }
    Some(Verdict::Forward(way.port))
}

/// Mends a checksum by changes (RFC 1624 equation 3).
#[inline]
fn mend(checksum: &mut [u8], changes: u64) {
    let Some(checksum) = checksum.first_chunk_mut::<2>() else {
        return;
    };
    let old = u16::from_be_bytes(*checksum);
    *checksum = (!fold(changes + !old as u64)).to_be_bytes();
}

#[inline]
const fn change16(old: u16, new: u16) -> u64 {
    !old as u64 + new as u64
}

#[inline]
const fn change32(old: u32, new: u32) -> u64 {
    !old as u64 + new as u64
}

#[inline]
const fn change64(old: u64, new: u64) -> u64 {
    change32((old >> 32) as u32, (new >> 32) as u32) + change32(old as u32, new as u32)
}
