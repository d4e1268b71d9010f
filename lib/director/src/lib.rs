//! The packet's walk: classify, session, rewrite, resolve. Composes the engines of one worker.
//!
//! A [`Director`] is pure: bytes, time and configuration come in as arguments, a [`Verdict`] per
//! packet goes out, and what the engines originate waits in the outbox. The same inputs give the
//! same outputs, always.
//!
//! One turn of a worker:
//!
//! ```text
//! director.apply(..)                  now and then: a new snapshot
//! director.process(now, packets)      a burst; each packet has a verdict afterwards
//! director.tick(now)                  bounded timers
//! director.next_originated(buffer)    until none is left
//! director.next_notice()              until none is left
//! ```

#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::indexing_slicing)]

extern crate alloc;

mod arp;
mod asked;
mod audit;
mod buckets;
mod defence;
mod director;
mod emit;
mod expire;
mod explain;
mod facts;
mod flow;
mod found;
mod fragments;
mod icmp;
mod map;
mod neighbours;
mod networks;
mod open;
mod outbox;
mod packet;
mod persist;
mod pick;
mod plan;
mod rate;
mod report;
mod route;
mod steady;
mod stranger;
mod synproxy;
mod taken_out;
mod traffic;
mod walk;

pub use audit::{SessionChange, SessionEnd, SessionRecord};
pub use director::Director;
pub use explain::{
    CookieTrial, Destination, ExplainQuery, Explained, Fate, Sender, Sentence, SessionSyn,
    SynproxyState,
};
pub use facts::{
    NeighbourView, Notice, PoolUse, PortFacts, Reach, SessionView, SpreadFacts, WorkerFacts,
};
pub use networks::Networks;
pub use packet::{Packet, Source};
pub use synproxy::{KEYS as FLOOD_KEYS, Top};
pub use weir_model::Verdict;
