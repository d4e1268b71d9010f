//! Ids, time, the snapshot of the configuration, verdicts, drop reasons, counters and the ledger.
//!
//! Everything that two crates must call by the same name stands here; nothing here does any work
//! on packets.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod counters;
mod defence;
mod event;
mod flood;
mod health;
mod ids;
mod ledger;
mod policy;
mod snapshot;
mod synproxy;
mod syslog;
mod time;
mod verdict;

pub use counters::{Counter, Counters, KnockCounters, TrafficCounters};
pub use defence::{Defence, Persist, PrefixRate, RealLimit};
pub use event::Event;
pub use flood::{FloodCounters, HeavyHitter, LATENCY_BOUNDS_US, LATENCY_BUCKETS};
pub use health::{
    Availability, Check, ExecCheck, Health, HttpCheck, Passive, Quorum, RealState, TlsCheck,
    UdpCheck,
};
pub use ids::{
    EndpointId, Generation, LipId, PoolId, PortId, QueueId, RealId, ServiceId, WorkerId,
};
pub use ledger::Ledger;
pub use policy::{
    AllDown, BadAck, ClientAddress, ClientWindow, DrainEnd, EventClass, Facility, Forward, Poll,
    Protocol, Refusal, Role, SchedulerKind, SessionLog, Severity, SynproxyMode, SyslogFormat,
    Timeouts, TimestampMode, Transport, WeightFrom,
};
pub use snapshot::{
    AddressRange, Control, ControlSocket, Drain, Driver, Endpoint, Lip, LipPool, Listen, Node,
    Port, RealServer, Route, Service, Slots, Snapshot, Workers,
};
pub use synproxy::{MasterKey, Offer, Synproxy};
pub use syslog::Syslog;
pub use time::{Now, Time};
pub use verdict::{DropReason, Verdict};
