//! Typed events: what happened that an operator may want to know, before anybody formats it.

use crate::{DropReason, PoolId, PortId, ServiceId, Time, WorkerId};

/// Something that happened on a worker; control turns it into text, JSON or syslog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A pool's use towards one real server crossed its `warn-at` share.
    PoolNearlyExhausted {
        /// When it happened.
        at: Time,
        /// The pool.
        pool: PoolId,
        /// Ports in use towards the real server on this worker.
        used: u32,
        /// Ports that the pool has towards the real server on this worker.
        total: u32,
    },
    /// A new session was refused, the first one or the first in a second; the others are counted.
    Refused {
        /// When it happened.
        at: Time,
        /// The service.
        service: ServiceId,
        /// Why.
        reason: DropReason,
        /// Whose session it would have been.
        client: core::net::SocketAddr,
        /// Those that this worker has refused for the service so far, this one too.
        count: u64,
    },
    /// Another station claims an address that Weir owns.
    AddressConflict {
        /// When it happened.
        at: Time,
        /// The port at which it was heard.
        port: PortId,
        /// The address.
        address: core::net::IpAddr,
        /// The other station's Ethernet address.
        mac: [u8; 6],
    },
    /// A worker began to answer the SYNs of a service with cookies because there is a flood.
    FloodBegan {
        /// When it happened.
        at: Time,
        /// The service.
        service: ServiceId,
        /// Unanswered SYNs per second on this worker.
        unanswered: u32,
        /// Half-open sessions of the service on this worker.
        half_open: u32,
    },
    /// A worker no longer answers the SYNs of a service with cookies.
    FloodEnded {
        /// When it happened.
        at: Time,
        /// The service.
        service: ServiceId,
        /// The highest rate of SYNs per second on this worker.
        peak: u32,
        /// How long it lasted, in milliseconds.
        lasted_ms: u32,
    },
    /// Processing a frame failed inside Weir.
    Internal {
        /// When it happened.
        at: Time,
        /// The worker.
        worker: WorkerId,
    },
}
