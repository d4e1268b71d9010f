//! Health checks: what a configuration asks for, and what workers are told of a real server.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{AllDown, RealServer, WeightFrom};

/// How the real servers of a service are checked: its `[health]` profile, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is done.
    pub check: Check,
    /// The time from one check to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Successes in a row that bring a real server up.
    pub rise: u8,
    /// Failures in a row that take it down.
    pub fall: u8,
    /// Whether a new real server counts as down until its first success.
    pub alpha: bool,
}

/// What a health check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Begins a TCP handshake.
    Tcp,
    /// Fetches a page, with TLS or without.
    Http(HttpCheck),
    /// Sends a datagram.
    Udp(UdpCheck),
    /// Sends an ICMP echo request.
    Ping,
    /// Runs a program.
    Exec(ExecCheck),
}

/// A page to fetch, and what must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// How the connection is secured; none for plain HTTP.
    pub tls: Option<TlsCheck>,
    /// The host of the request and of the certificate; none for the real server's address.
    pub host: Option<String>,
    /// The page.
    pub path: String,
    /// The status codes that count as success, both ends included.
    pub expect: (u16, u16),
    /// What the page must contain.
    pub body: Option<Vec<u8>>,
}

/// How a real server proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsCheck {
    /// The authorities that are trusted; none for those of the system.
    pub ca_file: Option<String>,
    /// Whether the certificate must be right.
    pub verify: bool,
}

/// A datagram to send, and what must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpCheck {
    /// The datagram.
    pub send: Vec<u8>,
    /// What the answer must contain; none when silence is as good as an answer.
    pub answer: Option<Vec<u8>>,
}

/// A program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCheck {
    /// Where it is.
    pub program: String,
    /// Whether it says the real server's weight, too.
    pub weight_from: WeightFrom,
}

impl Default for Health {
    /// The TCP check with the values that the schema has as defaults.
    fn default() -> Self {
        Self {
            check: Check::Tcp,
            interval: Duration::from_secs(2),
            timeout: Duration::from_millis(500),
            rise: 2,
            fall: 3,
            alpha: false,
        }
    }
}

/// What becomes of a service whose real servers fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Availability {
    /// How much weight must be up; none where nobody asks.
    pub quorum: Option<Quorum>,
    /// The program that runs when the quorum is there again.
    pub quorum_up: Option<String>,
    /// The program that runs when the quorum is lost.
    pub quorum_down: Option<String>,
    /// Whether the program of a lost quorum also runs when Weir stops.
    pub omega: bool,
    /// Who answers when no real server can.
    pub sorry: Option<RealServer>,
    /// What becomes of new sessions when all are down and nobody is sorry.
    pub all_down: AllDown,
    /// How long the share of a real server that came back grows to the whole.
    pub slow_start: Duration,
    /// Whether the sessions of a real server that is down go on.
    pub inhibit: bool,
    /// What becomes of a real server that answers SYNs with nothing; none where nobody looks.
    pub passive: Option<Passive>,
}

/// How long a real server that answers SYNs with nothing gets no new sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passive {
    /// The first time; each time in a row it is twice as long.
    pub first: Duration,
    /// At most.
    pub most: Duration,
    /// So many SYNs in a row without a SYN-ACK are enough.
    pub syns: u32,
}

/// How much weight must be up for a service to be up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// Below this it is lost.
    pub weight: u32,
    /// How much more is needed to come back.
    pub hysteresis: u32,
}

impl Default for Availability {
    /// A service that nobody said anything about.
    fn default() -> Self {
        Self {
            quorum: None,
            quorum_up: None,
            quorum_down: None,
            omega: false,
            sorry: None,
            all_down: AllDown::Refuse,
            slow_start: Duration::ZERO,
            inhibit: true,
            passive: None,
        }
    }
}

/// What holds for a real server beside its configuration: what checks found and operators ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealState {
    /// Its share of new sessions; none means the weight of the configuration.
    pub weight: Option<u16>,
    /// Whether it can take new sessions.
    pub up: bool,
    /// Whether it is being emptied: the sessions that it has go on, new ones go elsewhere.
    pub draining: bool,
}

impl Default for RealState {
    /// The state of a real server that nobody said anything about.
    fn default() -> Self {
        Self {
            weight: None,
            up: true,
            draining: false,
        }
    }
}

impl RealState {
    /// Returns the share of new sessions that a real server of a configured weight gets.
    #[must_use]
    pub const fn effective_weight(self, configured: u16) -> u16 {
        match (self.up, self.draining, self.weight) {
            (false, _, _) | (_, true, _) => 0,
            (true, false, Some(weight)) => weight,
            (true, false, None) => configured,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_real_server_that_is_up_and_not_drained_has_a_weight() {
        let state = RealState::default();
        assert_eq!(state.effective_weight(7), 7);
        let weighed = RealState {
            weight: Some(3),
            ..state
        };
        assert_eq!(weighed.effective_weight(7), 3);
        let down = RealState {
            up: false,
            ..weighed
        };
        assert_eq!(down.effective_weight(7), 0);
        let drained = RealState {
            draining: true,
            ..weighed
        };
        assert_eq!(drained.effective_weight(7), 0);
    }
}
