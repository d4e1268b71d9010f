//! What control asks of a worker, and what a worker tells control.
//!
//! Whatever needs memory is made by control and travels there and back, so that a worker neither
//! allocates nor frees for control's sake.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use weir_director::{
    ExplainQuery, Explained, NeighbourView, Networks, Notice, PoolUse, Reach, SessionRecord,
    SessionView,
};
use weir_model::{Offer, PortId, RealId, RealState, ServiceId, Snapshot};
use weir_wire::{ArpRepr, EthAddr};

use crate::capture::Tap;
use crate::publish::Boards;

/// What control may have asked of one worker without an answer yet.
pub(crate) const COMMANDS: usize = 512;
/// What a worker may have told without control having listened; more is lost and counted.
const NEWS: usize = 256;
/// Records of the session log that wait for control, which looks every 100 ms: 1 MiB, which is room
/// for 160,000 a second. More are lost and counted.
const SESSIONS: usize = 16_384;

/// Asks a worker for something.
#[derive(Debug)]
pub(crate) enum Command {
    /// Take a snapshot; the retired one comes back with [`Answer::Applied`].
    Apply {
        snapshot: Arc<Snapshot>,
        boards: Arc<Boards>,
    },
    /// Learn from an ARP packet.
    Arp { port: PortId, arp: ArpRepr },
    /// Learn a neighbour that another worker learned.
    Neighbour {
        port: PortId,
        address: Ipv4Addr,
        mac: EthAddr,
    },
    /// Fill `rows` with the sessions at as many places of the table as it has room for.
    Sessions {
        ticket: Ticket,
        cursor: u32,
        rows: Vec<SessionView>,
    },
    /// Fill `rows` with the use of LIPs, to its capacity at most.
    PoolUse { ticket: Ticket, rows: Vec<PoolUse> },
    /// Fill `decisions` with those about a packet, to its capacity at most.
    Explain {
        ticket: Ticket,
        query: ExplainQuery,
        decisions: Vec<Explained>,
    },
    /// Fill `rows` with the neighbours that are known, to its capacity at most.
    Neighbours {
        ticket: Ticket,
        rows: Vec<NeighbourView>,
    },
    /// Say how these destinations are reached, and ask for next hops that are not known.
    Reach {
        ticket: Ticket,
        to: Vec<Ipv4Addr>,
        /// Has room for all of them.
        rows: Vec<Reach>,
    },
    /// Other workers see a flood of a service, or no longer do.
    FloodHint { service: ServiceId, active: bool },
    /// What holds for a real server from now on: whether, and how many, new sessions it gets.
    Real { real: RealId, state: RealState },
    /// Whether a VIP is withdrawn: nobody is told where it is.
    Vip { address: Ipv4Addr, withdrawn: bool },
    /// What clients of a service are offered.
    Offer { service: ServiceId, offer: Offer },
    /// Copy frames for a capture, or no longer.
    Capture(Option<Box<Tap>>),
    /// Reset the sessions of a real server at some places of the table.
    Reset { real: RealId, cursor: u32 },
    /// Open sessions, or open no more.
    Admit { sessions: bool },
    /// Drop the packets of these networks, for all services, and end their sessions; the networks
    /// of before come back with [`Answer::Denied`]. None ends the denial.
    Deny { networks: Arc<Networks> },
    /// End the thread.
    Stop,
}

/// Says which question of control an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(pub(crate) u64);

/// Answers a command.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The snapshot was taken; these are the old ones, to be freed by control.
    Applied {
        retired: Arc<Snapshot>,
        boards: Arc<Boards>,
    },
    /// Networks are denied; these were until now, to be freed by control.
    Denied { retired: Arc<Networks> },
    /// Sessions, and where to go on.
    Sessions {
        ticket: Ticket,
        rows: Vec<SessionView>,
        next: Option<u32>,
    },
    /// The use of LIPs.
    PoolUse { ticket: Ticket, rows: Vec<PoolUse> },
    /// The tap that was there is there no more, to be freed by control.
    Untapped(Option<Box<Tap>>),
    /// What would become of a packet.
    Explained {
        ticket: Ticket,
        decisions: Vec<Explained>,
    },
    /// The neighbours that are known.
    Neighbours {
        ticket: Ticket,
        rows: Vec<NeighbourView>,
    },
    /// How destinations are reached; their list comes back to be freed by control.
    Reached {
        ticket: Ticket,
        to: Vec<Ipv4Addr>,
        rows: Vec<Reach>,
    },
    /// So many sessions of a real server were reset, and where to go on.
    Reset {
        real: RealId,
        count: u32,
        next: Option<u32>,
    },
}

/// Places of the table in one [`Command::Reset`]: some tens of microseconds of a worker's time.
pub(crate) const RESET_PLACES: u32 = 2048;

/// What a worker tells unasked.
#[derive(Debug)]
pub(crate) enum News {
    /// A notice of its director.
    Notice(Notice),
    /// Processing this frame failed.
    Crashed { port: PortId, frame: Vec<u8> },
    /// A port cannot transmit, or can again.
    PortFailed {
        port: PortId,
        error: Option<std::io::Error>,
    },
}

/// The worker's ends of its channels with control.
#[derive(Debug)]
pub(crate) struct WorkerEnd {
    pub(crate) commands: Receiver<Command>,
    pub(crate) answers: Sender<Answer>,
    pub(crate) news: Sender<News>,
    /// What became of sessions that are logged.
    pub(crate) sessions: rtrb::Producer<SessionRecord>,
}

/// Control's ends of its channels with one worker.
#[derive(Debug)]
pub(crate) struct ControlEnd {
    pub(crate) commands: Sender<Command>,
    pub(crate) answers: Receiver<Answer>,
    pub(crate) news: Receiver<News>,
    /// What became of sessions that are logged.
    pub(crate) sessions: rtrb::Consumer<SessionRecord>,
}

/// Makes the channels between control and one worker.
pub(crate) fn channels() -> (ControlEnd, WorkerEnd) {
    let (commands, take_commands) = bounded(COMMANDS);
    let (answers, take_answers) = bounded(COMMANDS);
    let (news, take_news) = bounded(NEWS);
    let (sessions, take_sessions) = rtrb::RingBuffer::new(SESSIONS);
    let control = ControlEnd {
        commands,
        answers: take_answers,
        news: take_news,
        sessions: take_sessions,
    };
    let worker = WorkerEnd {
        commands: take_commands,
        answers,
        news,
        sessions,
    };
    (control, worker)
}
