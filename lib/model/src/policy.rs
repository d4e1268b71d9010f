//! Choices that a configuration makes for a service, and their names.

use core::time::Duration;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $( $(#[$vdoc:meta])* $variant:ident = $label:literal, )* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name {
            $( $(#[$vdoc])* $variant, )*
        }

        impl $name {
            /// Every value with the name that the configuration file uses.
            pub const NAMES: &'static [(&'static str, Self)] = &[ $( ($label, Self::$variant), )* ];

            /// Returns the name that the configuration file, console and JSON use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $label, )* }
            }
        }
    };
}

named!(
    /// The transport protocol of a service.
    Protocol {
        /// TCP (RFC 9293).
        Tcp = "tcp",
        /// UDP (RFC 768).
        Udp = "udp",
    }
);

impl Protocol {
    /// Returns the IP protocol number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

named!(
    /// How packets of a service reach its real servers.
    Forward {
        /// Client to VIP becomes LIP to real server, both ways through Weir.
        FullNat = "fullnat",
    }
);

named!(
    /// How a service picks the real server of a new session.
    SchedulerKind {
        /// Each in turn.
        RoundRobin = "rr",
        /// Each in turn, as often as its weight says.
        WeightedRoundRobin = "wrr",
        /// The one with the fewest sessions.
        LeastConnection = "lc",
        /// The one with the fewest sessions for its weight.
        WeightedLeastConnection = "wlc",
        /// The one with the shortest expected delay.
        ShortestExpectedDelay = "sed",
        /// An idle one, else the one with the shortest expected delay.
        NeverQueue = "nq",
        /// By a consistent hash of the client's address.
        SourceHash = "sh",
        /// By a consistent hash of the address that the client asks for.
        DestinationHash = "dh",
        /// The one of a destination, by load.
        Locality = "lblc",
        /// One of a destination's set, by load.
        LocalityReplicated = "lblcr",
        /// By a consistent hash of the client's address.
        Maglev = "maglev",
        /// The first that takes sessions.
        Failover = "failover",
        /// The better of two picked at random.
        PowerOfTwo = "p2c",
    }
);

named!(
    /// How real servers learn the client's address.
    ClientAddress {
        /// Not at all.
        None = "none",
        /// By a TCP option.
        Toa = "toa",
    }
);

named!(
    /// What becomes of the client's TCP timestamps (RFC 7323) towards the real server.
    TimestampMode {
        /// Translated, so that they only grow towards each real server.
        Translate = "translate",
        /// Removed from the handshake, so that neither end uses them.
        Strip = "strip",
    }
);

named!(
    /// When a service answers SYNs with cookies.
    SynproxyMode {
        /// Never.
        Off = "off",
        /// While there is a flood.
        Adaptive = "adaptive",
        /// For every connection.
        Always = "always",
    }
);

named!(
    /// Whether a client may send before the real server has answered.
    ClientWindow {
        /// Early data is held, bounded.
        Open = "open",
        /// The window is 0 until the real server has answered.
        Closed = "closed",
    }
);

named!(
    /// What becomes of an ACK whose cookie is not ours.
    BadAck {
        /// Dropped and counted.
        Drop = "drop",
        /// Answered with a RST, within a rate limit.
        Reset = "reset",
    }
);

named!(
    /// Whether the program of a health check says the weight of the real server, too.
    WeightFrom {
        /// It does not.
        None = "none",
        /// Its exit status from 2 to 255 is success and says the weight plus two.
        Exit = "exit",
        /// The first line of its output is the weight.
        FirstLine = "first-line",
    }
);

named!(
    /// What becomes of packets that a defence may refuse.
    Refusal {
        /// Dropped and counted.
        Drop = "drop",
        /// Treated like other packets.
        Forward = "forward",
    }
);

named!(
    /// What becomes of new sessions when no real server is up.
    AllDown {
        /// They are refused.
        Refuse = "refuse",
        /// They go to the real servers as if all were up.
        Keep = "keep",
    }
);

named!(
    /// What becomes of the sessions that a real server still has when its time to drain is over.
    DrainEnd {
        /// Both ends are reset.
        Reset = "reset",
        /// They go on until they end.
        Keep = "keep",
    }
);

named!(
    /// How a worker waits for packets.
    Poll {
        /// Never waits: lowest latency, a whole core.
        Busy = "busy",
        /// Waits in the kernel when nothing has come for a while.
        Adaptive = "adaptive",
    }
);

named!(
    /// What a control socket may do.
    Role {
        /// Reads.
        Viewer = "viewer",
        /// Reads and changes.
        Operator = "operator",
    }
);

named!(
    /// What an event is about; what `[syslog] events` chooses from.
    EventClass {
        /// Floods, denials, refusals.
        Security = "security",
        /// Real servers up and down.
        Health = "health",
        /// What operators did.
        Operator = "operator",
        /// The session log.
        Session = "session",
        /// Ports, workers, pools.
        System = "system",
    }
);

named!(
    /// How much an event matters (RFC 5424 section 6.2.1).
    Severity {
        /// Something does not work.
        Error = "error",
        /// Something will not work soon, or works worse.
        Warning = "warning",
        /// Normal, and worth knowing.
        Notice = "notice",
        /// Normal.
        Info = "info",
    }
);

impl Severity {
    /// Returns the number of RFC 5424, table 2.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Error => 3,
            Self::Warning => 4,
            Self::Notice => 5,
            Self::Info => 6,
        }
    }
}

named!(
    /// Which sessions of a service are logged for audits.
    SessionLog {
        /// None.
        Off = "off",
        /// Each when it opens.
        Open = "open",
        /// Each when it ends.
        Close = "close",
        /// Each when it opens and when it ends.
        Both = "both",
    }
);

impl SessionLog {
    /// Says whether sessions are logged when they open.
    #[must_use]
    pub const fn opens(self) -> bool {
        matches!(self, Self::Open | Self::Both)
    }

    /// Says whether sessions are logged when they end.
    #[must_use]
    pub const fn ends(self) -> bool {
        matches!(self, Self::Close | Self::Both)
    }
}

named!(
    /// How log messages travel.
    Transport {
        /// Datagrams (RFC 5426).
        Udp = "udp",
        /// A stream with octet counts (RFC 6587 section 3.4.1).
        Tcp = "tcp",
        /// The same over TLS (RFC 5425).
        Tls = "tls",
        /// A Unix socket.
        Unix = "unix",
    }
);

named!(
    /// What log messages look like.
    SyslogFormat {
        /// RFC 5424, with structured data.
        Rfc5424 = "rfc5424",
        /// RFC 3164.
        Rfc3164 = "rfc3164",
        /// Common Event Format.
        Cef = "cef",
    }
);

named!(
    /// What log messages are filed under (RFC 5424 section 6.2.1).
    Facility {
        /// System daemons.
        Daemon = "daemon",
        /// Local use 0.
        Local0 = "local0",
        /// Local use 1.
        Local1 = "local1",
        /// Local use 2.
        Local2 = "local2",
        /// Local use 3.
        Local3 = "local3",
        /// Local use 4.
        Local4 = "local4",
        /// Local use 5.
        Local5 = "local5",
        /// Local use 6.
        Local6 = "local6",
        /// Local use 7.
        Local7 = "local7",
    }
);

/// How long a session may be silent in each state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Established, or UDP answered at least once.
    pub idle: Duration,
    /// The real server has not answered the SYN, or the client has not completed the handshake.
    pub syn_recv: Duration,
    /// One side has closed; the other may still send.
    pub fin_wait: Duration,
    /// Both sides have closed and one FIN is not acknowledged.
    pub last_ack: Duration,
    /// Both FINs are acknowledged; late segments are still translated.
    pub time_wait: Duration,
    /// Reset; late segments are still translated.
    pub close: Duration,
    /// UDP that was never answered.
    pub one_way: Duration,
}
