//! Explain: each decision that the walk would take for a packet now, without taking it.

use core::net::Ipv4Addr;

use nat_engine::Load;
use weir_model::{
    BadAck, DropReason, Offer, PoolId, PortId, Protocol, RealId, SchedulerKind, ServiceId,
    SynproxyMode, WorkerId,
};
use weir_wire::{EthAddr, TcpFlags};

use crate::SessionView;
pub use crate::flow::SessionSyn;

mod decide;
mod words;

pub use self::words::Sentence;

/// Asks what would become of a client's packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExplainQuery {
    /// The client's address and port.
    pub client: (Ipv4Addr, u16),
    /// Where the packet goes.
    pub vip: (Ipv4Addr, u16),
    /// The protocol.
    pub protocol: Protocol,
    /// The flags of a TCP segment.
    pub flags: TcpFlags,
}

/// One decision; the last one is a [`Fate`], or that another worker owns the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Explained {
    /// Who sends it.
    Source(Ipv4Addr, Sender),
    /// Whom its destination belongs to.
    Destination(Ipv4Addr, Destination),
    /// The service that listens there.
    Service(Option<ServiceId>),
    /// The worker that owns the flow, and whether it is this one: only the owner knows the rest.
    Owner {
        /// The owner.
        worker: WorkerId,
        /// How many workers there are.
        workers: u8,
        /// Whether it is the one that was asked.
        here: bool,
    },
    /// The session that the packet belongs to.
    Session(Option<SessionView>),
    /// What becomes of a SYN of a client that has a session.
    Syn {
        /// Of one with the numbers of the session's own SYN.
        repeated: SessionSyn,
        /// Of one with other numbers; what follows is about such a one.
        other: SessionSyn,
    },
    /// Whether the service's SYNs are answered with cookies.
    Synproxy {
        /// When they are, by the configuration.
        mode: SynproxyMode,
        /// Whether they are now, and why.
        state: SynproxyState,
        /// SYNs of the last second on this worker that nobody answered.
        unanswered_per_s: u32,
        /// From how many on this worker sees a flood; 0 where it looks for none.
        enter: u32,
    },
    /// What the SYN-ACK offers, of that what the client's SYN offers.
    SynAck {
        /// The options.
        offer: Offer,
        /// The window, not scaled.
        window: u16,
        /// The port that the way back to the client leaves by: where its SYN is taken to come in.
        port: Option<PortId>,
        /// SYN-ACKs per second that the client's /24 is sent at most; 0 for any number.
        reflect_limit: u32,
    },
    /// Whether the packet's acknowledgement is tried as a cookie.
    Cookie(CookieTrial),
    /// The client is limited or denied, and the packet is dropped for this reason.
    Defence(Ipv4Addr, DropReason),
    /// The client had a real server, and new sessions of it go there.
    Persist {
        /// The real server.
        real: RealId,
        /// Its address and port.
        address: (Ipv4Addr, u16),
    },
    /// Whether the service may have one more session on this worker.
    Limit {
        /// Those that it has.
        sessions: u64,
        /// Those that it may have; none for any number.
        most: Option<u64>,
        /// Whether it may not have more.
        full: bool,
    },
    /// A real server that a new session may go to.
    Real {
        /// The real server.
        real: RealId,
        /// Its address and port.
        address: (Ipv4Addr, u16),
        /// Its weight.
        weight: u16,
        /// Whether a health check found it down.
        down: bool,
        /// Whether it has as many sessions on this worker as it may.
        full: bool,
        /// Its sessions on this worker.
        load: Load,
    },
    /// Which of them the scheduler picks now.
    Pick {
        /// The scheduler.
        scheduler: SchedulerKind,
        /// Its pick; none where no real server takes sessions.
        real: Option<RealId>,
        /// The pick's address and port.
        address: Option<(Ipv4Addr, u16)>,
        /// Whether it is the sorry server, because no real server takes sessions.
        sorry: bool,
        /// Whether the worker opens no more sessions at all.
        draining: bool,
    },
    /// The local ports towards the real server on this worker.
    Ports {
        /// The pool.
        pool: PoolId,
        /// Those in use.
        used: u32,
        /// All.
        total: u32,
    },
    /// The session table of this worker.
    Table {
        /// Sessions in it.
        sessions: u32,
        /// What it has room for.
        capacity: u32,
    },
    /// The way to a destination.
    Route {
        /// The destination.
        to: Ipv4Addr,
        /// The port and the next hop; none without a route.
        hop: Option<(PortId, Ipv4Addr)>,
    },
    /// The next hop.
    Neighbour {
        /// The port that it is on.
        port: PortId,
        /// Its address.
        address: Ipv4Addr,
        /// Its Ethernet address, where it is known.
        mac: Option<EthAddr>,
    },
    /// What becomes of the packet in the end.
    Fate(Fate),
}

/// Who sends a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Somebody who may.
    Client,
    /// An address that no sender may have.
    Martian,
    /// An address that Weir owns.
    Own,
}

/// Whom a destination belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Clients reach services at it.
    Vip,
    /// Real servers answer to it.
    Lip,
    /// Not to Weir.
    Foreign,
}

/// Whether SYNs are answered with cookies now, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SynproxyState {
    /// The service has no SYNPROXY.
    Off,
    /// No flood, and no cookie that is still good.
    Quiet,
    /// No flood, but cookies may still come back.
    Verifying,
    /// This worker sees a flood.
    Triggered,
    /// Another worker does.
    Hinted,
    /// The configuration asks for it.
    Always,
    /// They would be, but the worker opens no more sessions.
    Draining,
}

/// Whether an acknowledgement is tried as a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CookieTrial {
    /// It is; what becomes of one that is not ours.
    Tried(BadAck),
    /// It is if the packet fits nothing that its session is about.
    TriedIfForeign,
    /// Only a segment with data is: the service waits for the client's first byte.
    Deferred,
    /// It is not: the flags are not those of one, or no cookie is good now.
    NotTried,
}

/// What becomes of a packet in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is the host's, where the port's driver has a way to it.
    Host,
    /// It is dropped.
    Drop(DropReason),
    /// It is dropped, and its sender gets a RST.
    Refuse(DropReason),
    /// It is turned into a SYN-ACK with a cookie.
    SynAck,
    /// If it carries a valid cookie a session opens and the real server is asked; else it is
    /// dropped.
    IfValid,
    /// It is kept until the real server has answered; what adds nothing is absorbed.
    Wait,
    /// It is kept until the next hop's Ethernet address is known.
    Hold(PortId),
    /// It leaves by a port.
    Forward(PortId),
}
