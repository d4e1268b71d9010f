//! Verdicts and drop reasons: what becomes of a frame, and why when it goes nowhere.

use crate::{PortId, WorkerId};

/// Says what the worker must do with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Transmit it on this port.
    Forward(PortId),
    /// Transmit it on the port that it came from: it was turned into an answer in place.
    Reply,
    /// Give it to the host's own network stack.
    Deliver,
    /// Free it; the reason was counted.
    Drop(DropReason),
    /// Copy it to another worker, which owns its session.
    HandOff(WorkerId),
    /// Free it: the director keeps a copy until a neighbour or a real server has answered.
    Hold,
}

macro_rules! drop_reasons {
    ($( $variant:ident = $label:literal, $doc:literal; )*) => {
        /// Says why a frame was dropped; each reason is a counter with the same name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $( #[doc = $doc] $variant, )*
        }

        impl DropReason {
            /// Every reason, in the order of its counter.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// Returns the name that counters, events and JSON use.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $( Self::$variant => $label, )* }
            }

            /// Returns the operator's documentation of the counter.
            #[must_use]
            pub const fn documentation(self) -> &'static str {
                match self { $( Self::$variant => $doc, )* }
            }
        }
    };
}

drop_reasons! {
    Absorbed = "absorbed", "Addressed to Weir itself and acted on: an ARP reply, an ICMP error about our own packet.";
    Malformed = "malformed", "Headers that contradict themselves or the frame's length.";
    BadChecksum = "bad-checksum", "An IPv4 header or ICMP checksum that does not match.";
    Martian = "martian", "A source that no sender may have (our own, loopback, multicast, broadcast), or a packet for a LIP at another port than its pool's.";
    Tagged = "vlan-tagged", "An 802.1Q tag; the VLAN's own device has to be the port.";
    NotOurs = "not-ours", "Neither for a VIP nor a LIP, and this driver has no host path to give it to.";
    UnknownProtocol = "unknown-protocol", "For a VIP or LIP, but neither TCP, UDP nor ICMP.";
    Fragment = "fragment", "An IP fragment whose ports are not known, because its datagram's first fragment has not come before it, or one of TCP or ICMP.";
    Denied = "denied", "From a client whose network is denied, by the service's `[defence]` profile or by an operator.";
    SynRate = "syn-rate", "A SYN of a client prefix that has sent as many as `syn-rate` allows.";
    SessionRate = "session-rate", "A new session of a client prefix that has opened as many as `new-sessions` allows; the client was refused.";
    InvalidFlags = "invalid-flags", "A segment with flags that no host sends, to a service whose `[defence]` profile refuses them.";
    FragmentRefused = "fragment-refused", "A fragment of a datagram to a service whose `[defence]` profile refuses them.";
    NoService = "no-service", "For a VIP, but no service listens at that port and protocol.";
    NoSession = "no-session", "Belongs to no session and cannot open one.";
    BadCookie = "bad-cookie", "Belongs to no session, and its acknowledgement is no cookie of ours.";
    StaleCookie = "stale-cookie", "Belongs to no session, and its acknowledgement is a cookie of ours that is too old.";
    Deferred = "deferred", "Completes a handshake without data, and the service waits for the first byte.";
    ReflectionGuard = "reflection-guard", "A SYN whose prefix was already sent as many SYN-ACKs as one victim may be.";
    EarlyData = "early-data", "Data that came before the real server answered: more than is held for one session or in all, or of a session that was refused.";
    HandshakesFull = "handshakes-full", "A valid cookie, but as many handshakes as there is room for wait for their real servers.";
    AckStorm = "ack-storm", "One of the ACKs that both ends of a session send each other endlessly about numbers that do not fit.";
    ServiceFull = "service-full", "The service has as many sessions as `max-sessions` allows.";
    NoReal = "no-real", "The service has no real server that takes new sessions: all are down, full, drained or without weight, or Weir is in maintenance or stopping.";
    LipExhausted = "lip-exhausted", "No LIP of the pool has a free port towards the real server; the client was refused.";
    TableFull = "table-full", "The session table has no free entry.";
    StaleSession = "stale-session", "The session's service was removed; both ends were reset.";
    TtlExpired = "ttl-expired", "The time to live ran out here; the sender was told, within the rate limit.";
    TooBig = "too-big", "Longer than the outgoing port's MTU and not to be fragmented; the sender was told, within the rate limit.";
    NoRoute = "no-route", "No connected prefix, route or gateway leads to the destination.";
    Unresolved = "unresolved", "The next hop did not answer ARP, or too many frames waited for it.";
    UnmatchedIcmp = "unmatched-icmp", "An ICMP error that quotes no packet of a session, or an ICMP type that a VIP or LIP does not answer.";
    RateLimited = "rate-limited", "Above the rate at which Weir answers such packets.";
    HandOffFull = "hand-off-full", "The worker that owns the session did not keep up.";
    TxRingFull = "tx-ring-full", "The outgoing port's transmit ring was full.";
    HostPathFull = "host-path-full", "The host's own network stack did not take the frame.";
    OutboxFull = "outbox-full", "No room was left for a packet that Weir wanted to originate.";
    Internal = "internal", "Processing the frame failed inside Weir; the frame is in the crash ring, its session was reset.";
}

impl DropReason {
    /// The number of reasons.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns the reason's counter index.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}
