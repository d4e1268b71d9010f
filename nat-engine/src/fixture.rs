//! What the tests of several files begin with.

use core::net::Ipv4Addr;

use weir_model::{LipId, RealId, ServiceId};
use weir_wire::{SeqDelta, SeqNumber, Tcp, TcpFlags};

use crate::{Session, SessionFlags, State, Timer};

pub(crate) const CLIENT_ISN: u32 = 0xffff_ff00;
pub(crate) const ISN: u32 = 5000;
pub(crate) const REAL_ISN: u32 = 0xffff_fff0;

/// Returns a session whose real server has not answered the SYN.
pub(crate) fn session() -> Session {
    Session {
        client: Ipv4Addr::new(192, 0, 2, 1),
        vip: Ipv4Addr::new(203, 0, 113, 1),
        lip: Ipv4Addr::new(10, 0, 8, 1),
        real: Ipv4Addr::new(10, 0, 1, 1),
        client_port: 40000,
        vip_port: 80,
        lip_port: 1024,
        real_port: 8080,
        inbound_seq: SeqDelta::between(SeqNumber(CLIENT_ISN), SeqNumber(ISN)),
        outbound_seq: SeqDelta::ZERO,
        inbound_ts: 0,
        outbound_ts: 0,
        last_seen: 0,
        isn: SeqNumber(ISN),
        real_id: RealId(0),
        service: ServiceId(0),
        flags: SessionFlags::TOA_WANTED,
        client_mss: 1460,
        lip_id: LipId(0),
        state: State::SynSent,
        protocol: 6,
        window_shift: 0,
        client_wscale: 7,
        client_end: SeqNumber(CLIENT_ISN) + 1,
        client_ack: SeqNumber(0),
        real_end: SeqNumber(0),
        real_ack: SeqNumber(0),
        client_fin: SeqNumber(0),
        real_fin: SeqNumber(0),
        client_window: 64240,
        real_window: 0,
        last_tsval: 0,
        opened: 0,
        timer: Timer::default(),
        real_wscale: Session::NO_WSCALE,
        port_space: 0,
        storm: 0,
        waiting: Session::NOT_WAITING,
    }
}

/// Returns a segment as the parser describes it.
pub(crate) fn segment(flags: TcpFlags, seq: u32, ack: u32, payload_len: u16) -> Tcp {
    Tcp {
        src_port: 1,
        dst_port: 2,
        seq: SeqNumber(seq),
        ack: SeqNumber(ack),
        flags,
        window: 502,
        header_len: 20,
        payload_len,
    }
}
