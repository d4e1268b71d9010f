//! Ids, time, the snapshot of the configuration, verdicts, drop reasons, counters and the ledger.
//!
//! Everything that two crates must call by the same name stands here; nothing here does any work
//! on packets.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod counters;
mod event;
mod ids;
mod ledger;
mod policy;
mod snapshot;
mod time;
mod verdict;

pub use counters::{Counter, Counters, TrafficCounters};
pub use event::Event;
pub use ids::{
    EndpointId, Generation, LipId, PoolId, PortId, QueueId, RealId, ServiceId, WorkerId,
};
pub use ledger::Ledger;
pub use policy::{
    ClientAddress, Forward, Poll, Protocol, Role, SchedulerKind, Timeouts, TimestampMode,
};
pub use snapshot::{
    AddressRange, Control, ControlSocket, Driver, Endpoint, Lip, LipPool, Listen, Node, Port,
    RealServer, Route, Service, Slots, Snapshot, Workers,
};
pub use time::{Now, Time};
pub use verdict::{DropReason, Verdict};
