//! Health: whether real servers answer, and which TCP options they were seen to have.
//!
//! A thread of its own ([`Prober`]) asks every real server that has a check, or whose options
//! SYNPROXY must know, through the kernel's own stack. What must wait is done beside it: pages are
//! fetched by a pool of threads, programs are run by a child ([`runner`]) that was started before
//! privileges were dropped. What changes travels to the control thread, whose [`Book`] knows which
//! services it concerns, and what becomes of them.

use std::net::SocketAddr;

use weir_model::{Health, Now, Offer};

mod attempt;
mod book;
mod datagram;
mod fetch;
mod offer;
mod outbox;
mod passive;
mod probe;
mod prober;
pub(crate) mod runner;
mod schedule;
mod service;
mod standing;

pub(crate) use book::{Book, Ordered, Standing, learns};
pub(crate) use probe::blind_spots;
pub(crate) use prober::Prober;
pub(crate) use service::is_hook;

/// Names a target for as long as the daemon lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TargetId(pub(crate) u32);

/// What is probed: services that share a real server and its check share one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) id: TargetId,
    pub(crate) address: SocketAddr,
    pub(crate) health: Health,
    /// What it is taken for until checks say otherwise.
    pub(crate) is_up: bool,
    /// Since when.
    pub(crate) since: Now,
}

/// What the probes of a target found; sent when something of it has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) id: TargetId,
    pub(crate) is_up: bool,
    /// Since when.
    pub(crate) since: Now,
    /// Why the last probe failed; none once a target that is up has answered again.
    pub(crate) last_error: Option<String>,
    /// Whether the last probe could be made at all.
    pub(crate) is_able: bool,
    /// The options of the last SYN-ACK.
    pub(crate) learned: Option<Offer>,
    /// The weight that the last answer asked for.
    pub(crate) weight: Option<u16>,
    /// The round-trip time of its handshakes, in microseconds.
    pub(crate) rtt_us: Option<u32>,
}
