//! What was held goes to the real server, in order, as segments of its size.

use alloc::collections::VecDeque;

use nat_engine::{Session, SessionFlags, SessionId};
use weir_model::{DropReason, PortId};
use weir_wire::{
    ETHERTYPE_IPV4, EthHeader, Header, Ipv4Header, Ipv4Repr, Protocol, TcpFlags, TcpRepr,
    Timestamps, fill_checksums,
};

use crate::Director;
use crate::emit::TTL;

/// The segment size of a real server that named none (RFC 9293 section 3.7.1).
const DEFAULT_MSS: u16 = 536;
/// What IPv4 and TCP take of a packet without options.
const HEADERS: u16 = 40;

/// Sessions whose held data may be sent.
pub(crate) type Releases = VecDeque<SessionId>;

impl Director {
    /// Puts a session in the queue of those whose held data is sent.
    pub(crate) fn release_later(&mut self, id: SessionId) {
        let session = self.table.get(id);
        let waiting = session.and_then(|it| self.synproxy.waitings.get_mut(it.waiting));
        if let Some(waiting) = waiting.filter(|waiting| !waiting.released) {
            waiting.released = true;
            self.synproxy.releases.push_back(id);
        }
    }

    /// Writes the next segment of held data into `buffer`; it counts as originated and sent.
    pub(crate) fn next_release(&mut self, buffer: &mut [u8]) -> Option<(PortId, usize)> {
        while let Some(&id) = self.synproxy.releases.front() {
            let session = self.table.get(id);
            let waiting = session.and_then(|it| self.synproxy.waitings.get(it.waiting));
            if !waiting.is_some_and(|waiting| waiting.released) {
                // It was reset meanwhile.
                self.synproxy.releases.pop_front();
                continue;
            }
            let written = self.write_release(id, buffer);
            let is_done = self
                .table
                .get(id)
                .and_then(|session| self.synproxy.waitings.get(session.waiting))
                .is_none_or(|waiting| waiting.early.len() == 0 && !waiting.fin);
            if is_done || written.is_none() {
                self.synproxy.releases.pop_front();
                self.end_waiting(id);
            }
            if written.is_some() {
                self.ledger.originated += 1;
                return written;
            }
        }
        None
    }

    /// Ends the wait of a session: what it held was sent, in other segments than it came in.
    pub(crate) fn end_waiting(&mut self, id: SessionId) {
        let Some(session) = self.table.get_mut(id).filter(|session| session.waits()) else {
            return;
        };
        let place = core::mem::replace(&mut session.waiting, Session::NOT_WAITING);
        let Some(mut waiting) = self.synproxy.waitings.remove(place) else {
            return;
        };
        let reason = if waiting.early.len() == 0 {
            DropReason::Absorbed
        } else {
            DropReason::EarlyData
        };
        self.synproxy.early.clear(&mut waiting.early);
        self.ledger.held -= u64::from(waiting.packets);
        self.ledger.drop_many(reason, u64::from(waiting.packets));
    }

    fn write_release(&mut self, id: SessionId, buffer: &mut [u8]) -> Option<(PortId, usize)> {
        let session = self.table.get(id)?;
        let place = session.waiting;
        let waiting = self.synproxy.waitings.get_mut(place)?;
        let hop = self.plan.routes.to(session.real)?;
        let port = self.plan.port(hop.port)?;
        let toa_kind = self.plan.service(session.service)?.toa_kind;
        let wants_toa = session.flags.has(SessionFlags::TOA_WANTED);
        let mut tcp = TcpRepr {
            src_port: session.lip_port,
            dst_port: session.real_port,
            seq: session.inbound_seq.apply(waiting.next_seq),
            ack: session.outbound_seq.unapply(session.client_ack),
            flags: TcpFlags::ACK,
            window: session.window_to_real(),
            timestamps: waiting.real_tsval.map(|tsecr| Timestamps {
                tsval: session.last_tsval,
                tsecr,
            }),
            toa: toa_kind.filter(|_| wants_toa).map(|kind| session.toa(kind)),
            ..TcpRepr::default()
        };
        let header = tcp.buffer_len();
        let mss = match waiting.real_mss {
            0 => DEFAULT_MSS,
            mss => mss,
        };
        // The size counts options in (RFC 6691 section 2).
        let most = mss.min(port.facts.mtu.saturating_sub(HEADERS)) as usize + 20;
        let l4 = EthHeader::LEN + Ipv4Header::LEN;
        // What the port takes at most may fill a frame's memory, head room included.
        let room = buffer.len().saturating_sub(l4 + header);
        let payload = waiting.early.len();
        let most = most.saturating_sub(header).min(room).max(1);
        let payload = payload.min(most);
        let is_last = payload == waiting.early.len();
        if payload > 0 && is_last {
            tcp.flags |= TcpFlags::PSH;
        }
        if is_last && waiting.fin {
            tcp.flags |= TcpFlags::FIN;
        }
        let ip = Ipv4Repr {
            src: session.lip,
            dst: session.real,
            protocol: Protocol::TCP,
            ttl: TTL,
            tos: 0,
            ident: 0,
            dont_fragment: true,
            payload_len: (header + payload) as u16,
        };
        let len = l4 + header + payload;
        let frame = buffer.get_mut(..len)?;
        EthHeader::new(waiting.to?, port.mac(), ETHERTYPE_IPV4).put(frame, 0)?;
        ip.emit(frame.get_mut(EthHeader::LEN..)?)?;
        tcp.emit(frame.get_mut(l4..)?)?;
        let out = frame.get_mut(l4 + header..)?;
        self.synproxy.early.pull(&mut waiting.early, out);
        waiting.next_seq += payload as u32;
        if is_last {
            waiting.fin = false;
        }
        fill_checksums(frame)?;
        Some((hop.port, len))
    }
}
