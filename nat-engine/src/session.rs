//! A session: everything that is remembered of one client's connection, in two cache lines.

use core::net::Ipv4Addr;

use weir_model::{LipId, RealId, ServiceId};
use weir_wire::{SeqDelta, SeqNumber};

use crate::{Direction, FlowKey};

/// Names a session of one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u32);

impl SessionId {
    /// Stands for no session in links and buckets.
    pub const NONE: Self = Self(u32::MAX);
}

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum State {
    /// The real server has not answered the SYN.
    #[default]
    SynSent,
    /// The real server has answered; the client has not completed the handshake.
    SynRecv,
    /// Data may flow both ways.
    Established,
    /// The real server has sent its FIN; the client may still send.
    FinWait,
    /// The client has sent its FIN; the real server may still send.
    CloseWait,
    /// Both have sent a FIN; one is not acknowledged.
    LastAck,
    /// Both FINs are acknowledged; the local port is free again.
    TimeWait,
    /// Reset; the local port is free again.
    Close,
    /// UDP: the real server has not answered.
    OneWay,
    /// UDP: both have sent.
    Flowing,
}

impl State {
    /// Every state.
    pub const ALL: &'static [Self] = &[
        Self::SynSent,
        Self::SynRecv,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
        Self::OneWay,
        Self::Flowing,
    ];

    /// Returns the name that the console, JSON and walks use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn-sent",
            Self::SynRecv => "syn-recv",
            Self::Established => "established",
            Self::FinWait => "fin-wait",
            Self::CloseWait => "close-wait",
            Self::LastAck => "last-ack",
            Self::TimeWait => "time-wait",
            Self::Close => "close",
            Self::OneWay => "one-way",
            Self::Flowing => "flowing",
        }
    }

    /// Says whether the session's end points are done with it, so that its local port is free.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        matches!(self, Self::TimeWait | Self::Close)
    }

    /// Says whether nothing has proven yet that both ends want the session.
    #[must_use]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::SynSent | Self::SynRecv | Self::OneWay)
    }
}

/// Facts about a session that are true or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct SessionFlags(u16);

impl SessionFlags {
    /// The client's address is added to client segments.
    pub const TOA_WANTED: Self = Self(1);
    /// The client completed its handshake with a cookie, before the real server was asked.
    pub const PROXIED: Self = Self(1 << 1);
    /// The client has sent a FIN.
    pub const CLIENT_FIN: Self = Self(1 << 2);
    /// The real server has sent a FIN.
    pub const REAL_FIN: Self = Self(1 << 3);
    /// The client has sent an ACK, so a RST to it can be given the exact number.
    pub const CLIENT_ACKED: Self = Self(1 << 4);
    /// The real server has sent an ACK, so a RST to it can be given the exact number.
    pub const REAL_ACKED: Self = Self(1 << 5);
    /// TCP timestamps go to the real server translated.
    pub const TIMESTAMPS: Self = Self(1 << 6);
    /// The local port was given back to the pool.
    pub const PORT_RELEASED: Self = Self(1 << 7);
    /// A RST was sent to the real server because it knew an older connection; the SYN follows.
    pub const CHALLENGED: Self = Self(1 << 8);
    /// The session counts as established in its service's and real server's counters.
    pub const COUNTED_ESTABLISHED: Self = Self(1 << 9);
    /// Weir reset both ends because the session expired; what still comes is refused.
    pub const EXPIRED: Self = Self(1 << 10);
    /// The client offered SACK (RFC 2018).
    pub const CLIENT_SACK: Self = Self(1 << 11);
    /// The client has sent a SYN of another connection, which the real server has not answered.
    pub const SYN_AGAIN: Self = Self(1 << 12);

    /// The session counts as half open in its service's counters.
    pub const COUNTED_HALF_OPEN: Self = Self(1 << 13);
    /// The client scales its windows and the real server does not know: they are scaled for it.
    pub const SCALE_INBOUND: Self = Self(1 << 14);
    /// The session counts as over in its service's counters.
    pub const COUNTED_OVER: Self = Self(1 << 15);

    /// Says whether all of `flags` are set.
    #[inline]
    #[must_use]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Says whether any of `flags` is set.
    #[inline]
    #[must_use]
    pub const fn has_any(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Returns these flags and `flags`.
    #[inline]
    #[must_use]
    pub const fn with(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }

    /// Sets `flags`.
    #[inline]
    pub const fn set(&mut self, flags: Self) {
        self.0 |= flags.0;
    }

    /// Clears `flags`.
    #[inline]
    pub const fn clear(&mut self, flags: Self) {
        self.0 &= !flags.0;
    }
}

/// A session's place in the timer wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Timer {
    /// The next session of the same slot.
    pub next: SessionId,
    /// The previous session of the same slot.
    pub prev: SessionId,
    /// The slot, as the wheel numbers it; [`Timer::UNARMED`] when in none.
    pub slot: u16,
}

impl Timer {
    /// The slot of a session that is in no slot.
    pub const UNARMED: u16 = u16::MAX;
}

impl Default for Timer {
    fn default() -> Self {
        Self {
            next: SessionId::NONE,
            prev: SessionId::NONE,
            slot: Self::UNARMED,
        }
    }
}

/// One IPv4 session: 128 bytes.
///
/// The first cache line is what every packet needs, the second what changes of state, refusals and
/// expiry need. An IPv6 session keeps four-byte digests in the four address fields and its whole
/// addresses in a third line, in an array beside the table that exists only when a service has an
/// IPv6 address; nothing here moves for it.
///
/// Numbers marked *client* are as the client sees them, numbers marked *real* as the real server
/// does: `real = client + inbound_seq` for what the client sends, and
/// `client = real + outbound_seq` for what the real server sends.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Session {
    /// The client's address.
    pub client: Ipv4Addr,
    /// The service's address that the client talks to.
    pub vip: Ipv4Addr,
    /// The local address that the real server talks to.
    pub lip: Ipv4Addr,
    /// The real server's address.
    pub real: Ipv4Addr,
    /// The client's port.
    pub client_port: u16,
    /// The service's port.
    pub vip_port: u16,
    /// The local port.
    pub lip_port: u16,
    /// The real server's port.
    pub real_port: u16,
    /// Added to the client's sequence numbers.
    pub inbound_seq: SeqDelta,
    /// Added to the real server's sequence numbers.
    pub outbound_seq: SeqDelta,
    /// Added to the client's timestamp values.
    pub inbound_ts: u32,
    /// Added to the real server's timestamp values.
    pub outbound_ts: u32,
    /// When the last packet came, in milliseconds, wrapping.
    pub last_seen: u32,
    /// The first sequence number towards the real server (*real*).
    pub isn: SeqNumber,
    /// The real server.
    pub real_id: RealId,
    /// The service.
    pub service: ServiceId,
    /// Facts that are true or not.
    pub flags: SessionFlags,
    /// The maximum segment size that the client offered; 0 when it offered none.
    pub client_mss: u16,
    /// The local address's id.
    pub lip_id: LipId,
    /// The state.
    pub state: State,
    /// The IP protocol number.
    pub protocol: u8,
    /// Bits by which the real server's window is shifted towards the client; until it has answered,
    /// less its own scale.
    pub window_shift: i8,
    /// The window scale that the client offered; 255 when it offered none.
    pub client_wscale: u8,

    /// One past the highest sequence number that the client sent (*client*).
    pub client_end: SeqNumber,
    /// The client's last acknowledgement: what it expects next (*client*).
    pub client_ack: SeqNumber,
    /// One past the highest sequence number that the real server sent (*real*).
    pub real_end: SeqNumber,
    /// The real server's last acknowledgement: what it expects next (*real*).
    pub real_ack: SeqNumber,
    /// The number of the client's FIN (*client*).
    pub client_fin: SeqNumber,
    /// The number of the real server's FIN (*real*).
    pub real_fin: SeqNumber,
    /// The window that the client last advertised, unscaled, in bytes.
    pub client_window: u32,
    /// The window that the real server last advertised, unscaled, in bytes.
    pub real_window: u32,
    /// The highest timestamp value sent to the real server (*real*).
    pub last_tsval: u32,
    /// When the session was opened, in milliseconds, wrapping.
    pub opened: u32,
    /// Its place in the timer wheel.
    pub timer: Timer,
    /// The window scale that the real server offered; 255 when it offered none.
    pub real_wscale: u8,
    /// How often in turn both ends sent ACKs that do not fit; the top bit is the last one's end.
    pub storm: u8,
    /// The accounting of local ports that the port was taken from.
    pub port_space: u32,
    /// The place of a proxied handshake that waits for its real server; [`Session::NOT_WAITING`]
    /// in all other sessions.
    pub waiting: u32,
}

const _: () = assert!(size_of::<Session>() == 128, "a session is two cache lines");

impl Session {
    /// What `client_wscale` and `real_wscale` hold when the option was not offered (RFC 7323
    /// section 2.2: neither side may scale then).
    pub const NO_WSCALE: u8 = u8::MAX;

    /// What `waiting` holds when the session waits for nothing.
    pub const NOT_WAITING: u32 = u32::MAX;

    /// Makes a session between two ends, in no service and with every number at zero: `inbound` is
    /// the key of what the client sends, `outbound` of what the real server sends.
    #[must_use]
    pub fn new(inbound: FlowKey, outbound: FlowKey) -> Self {
        Self {
            client: inbound.src,
            vip: inbound.dst,
            lip: outbound.dst,
            real: outbound.src,
            client_port: inbound.src_port,
            vip_port: inbound.dst_port,
            lip_port: outbound.dst_port,
            real_port: outbound.src_port,
            inbound_seq: SeqDelta::ZERO,
            outbound_seq: SeqDelta::ZERO,
            inbound_ts: 0,
            outbound_ts: 0,
            last_seen: 0,
            isn: SeqNumber(0),
            real_id: RealId(0),
            service: ServiceId(0),
            flags: SessionFlags::default(),
            client_mss: 0,
            lip_id: LipId(0),
            state: State::SynSent,
            protocol: inbound.protocol,
            window_shift: 0,
            client_wscale: Self::NO_WSCALE,
            client_end: SeqNumber(0),
            client_ack: SeqNumber(0),
            real_end: SeqNumber(0),
            real_ack: SeqNumber(0),
            client_fin: SeqNumber(0),
            real_fin: SeqNumber(0),
            client_window: 0,
            real_window: 0,
            last_tsval: 0,
            opened: 0,
            timer: Timer::default(),
            real_wscale: Self::NO_WSCALE,
            port_space: 0,
            storm: 0,
            waiting: Self::NOT_WAITING,
        }
    }

    /// Returns the key by which packets of a direction are found.
    #[inline]
    #[must_use]
    pub const fn key(&self, direction: Direction) -> FlowKey {
        match direction {
            Direction::Inbound => FlowKey {
                src: self.client,
                dst: self.vip,
                src_port: self.client_port,
                dst_port: self.vip_port,
                protocol: self.protocol,
            },
            Direction::Outbound => FlowKey {
                src: self.real,
                dst: self.lip,
                src_port: self.real_port,
                dst_port: self.lip_port,
                protocol: self.protocol,
            },
        }
    }
}
