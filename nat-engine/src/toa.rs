//! TOA: the client's address in a TCP option, for real servers that see only LIPs.

use core::net::{SocketAddr, SocketAddrV4};

use weir_wire::{
    Delta, FrameBuf, Header, Ipv4Header, TcpFlags, TcpHeader, TcpRepr, Timestamps, Toa, V4,
};

use crate::{Session, SessionFlags};

/// Says what became of the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToaOutcome {
    /// The segment carries it now, directly behind the fixed header.
    Inserted,
    /// The header or the outgoing MTU has no room for it.
    NoRoom,
    /// The segment needs none.
    NotWanted,
}

impl Session {
    /// Returns the option that tells the real server the client's address.
    #[must_use]
    pub const fn toa(&self, kind: u8) -> Toa {
        let client = SocketAddrV4::new(self.client, self.client_port);
        Toa {
            kind,
            client: SocketAddr::V4(client),
        }
    }
}

/// Adds the client's address to a translated client segment.
pub fn insert_toa(
    frame: &mut FrameBuf<'_>,
    l3: u16,
    v4: &V4,
    session: &Session,
    kind: u8,
    mtu: u16,
) -> ToaOutcome {
    let Some(tcp) = v4.tcp() else {
        return ToaOutcome::NotWanted;
    };
    let wanted = session.flags.has(SessionFlags::TOA_WANTED);
    if !wanted || tcp.flags.contains(TcpFlags::RST) {
        return ToaOutcome::NotWanted;
    }
    let toa = session.toa(kind);
    let bytes = toa.to_bytes();
    let Some(option) = bytes.get(..toa.len()) else {
        return ToaOutcome::NotWanted;
    };
    let header_len = tcp.header_len as usize + option.len();
    let total_len = v4.total_len as usize + option.len();
    if header_len > TcpRepr::MAX_LEN || total_len > mtu as usize {
        return ToaOutcome::NoRoom;
    }
    // Ethernet padding behind a short packet would end up inside it.
    let unpadded = l3 as usize + v4.total_len as usize;
    if frame.set_len(unpadded).is_none() {
        return ToaOutcome::NoRoom;
    }
    let at = v4.l4 as usize + TcpHeader::LEN;
    let Some(gap) = frame.insert_gap(at, option.len()) else {
        return ToaOutcome::NoRoom;
    };
    gap.copy_from_slice(option);
    match mend_headers(
        frame.bytes_mut(),
        l3,
        v4,
        option,
        header_len,
        total_len as u16,
    ) {
        Some(()) => ToaOutcome::Inserted,
        None => ToaOutcome::NoRoom,
    }
}

/// Writes the new lengths into both headers and mends both checksums by the difference.
fn mend_headers(
    bytes: &mut [u8],
    l3: u16,
    v4: &V4,
    option: &[u8],
    header_len: usize,
    total_len: u16,
) -> Option<()> {
    let ip = Ipv4Header::at_mut(bytes, l3 as usize)?;
    let lengths = Delta::new().replace_u16(v4.total_len, total_len);
    ip.total_len = total_len.into();
    ip.checksum = lengths.apply(ip.checksum.get()).into();
    let tcp = TcpHeader::at_mut(bytes, v4.l4 as usize)?;
    let old = tcp.off_flags.get();
    tcp.set_header_len(header_len);
    // The pseudo header's length grows by what the IPv4 header's does.
    let delta = lengths
        .replace_u16(old, tcp.off_flags.get())
        .insert_bytes(option);
    tcp.checksum = delta.apply(tcp.checksum.get()).into();
    Some(())
}

/// Describes the ACK that carries the client's address ahead of a translated segment that has no
/// room for it; nothing for a segment that acknowledges nothing, or one still in the handshake.
#[must_use]
pub fn synthetic_ack(
    segment: &[u8],
    timestamps: Option<Timestamps>,
    session: &Session,
    kind: u8,
) -> Option<TcpRepr> {
    let tcp = TcpHeader::at(segment, 0)?;
    if !tcp.flags().contains(TcpFlags::ACK) || tcp.flags().contains(TcpFlags::SYN) {
        return None;
    }
    Some(TcpRepr {
        src_port: tcp.src_port.get(),
        dst_port: tcp.dst_port.get(),
        seq: tcp.seq_number(),
        ack: tcp.ack_number(),
        flags: TcpFlags::ACK,
        window: tcp.window.get(),
        timestamps,
        toa: Some(session.toa(kind)),
        ..TcpRepr::default()
    })
}
