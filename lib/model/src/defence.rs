//! What a service asks of its clients, and what it remembers of them.

use alloc::vec::Vec;
use core::time::Duration;

use ipnet::IpNet;

use crate::Refusal;

/// Limits on what clients may send, as a `[defence]` profile names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Defence {
    /// How many SYNs a prefix of clients may send.
    pub syn_rate: Option<PrefixRate>,
    /// How many sessions a prefix of clients may open.
    pub new_sessions: Option<PrefixRate>,
    /// What becomes of segments with flags that no host sends.
    pub invalid_flags: Refusal,
    /// What becomes of fragments of datagrams.
    pub fragments: Refusal,
    /// Whether segments of no session that open none are dropped rather than answered.
    pub tcp_drop: bool,
    /// Whether datagrams to its services' VIPs that no service listens for are dropped rather than
    /// answered.
    pub udp_drop: bool,
    /// Networks whose packets are dropped.
    pub deny: Vec<IpNet>,
    /// Networks that no limit applies to.
    pub allow: Vec<IpNet>,
}

/// A rate for each prefix of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixRate {
    /// How many per second in the long run.
    pub per_second: u32,
    /// How many may come at once.
    pub burst: u32,
    /// The length of the prefixes.
    pub prefix: u8,
}

/// How long clients keep their real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Persist {
    /// The time after the last session.
    pub timeout: Duration,
    /// The length of the prefixes by which clients are told apart.
    pub prefix: u8,
}

/// How many sessions a real server may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealLimit {
    /// With so many it takes no new ones,
    pub max_sessions: u32,
    /// until it has fewer than this.
    pub min_sessions: u32,
}
