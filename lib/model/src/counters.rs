//! Counters beside the ledger: what Weir did, one table for enum, label and documentation.

macro_rules! counters {
    ($( $variant:ident = $label:literal, $doc:literal; )*) => {
        /// Names a counter of one worker.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Counter {
            $( #[doc = $doc] $variant, )*
        }

        impl Counter {
            /// Every counter, in the order of its index.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )* ];

            /// Returns the name that walks, JSON and metrics use.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $( Self::$variant => $label, )* }
            }

            /// Returns the operator's documentation.
            #[must_use]
            pub const fn documentation(self) -> &'static str {
                match self { $( Self::$variant => $doc, )* }
            }
        }
    };
}

counters! {
    SessionOpened = "session-opened", "Sessions opened.";
    SessionEstablished = "session-established", "TCP sessions whose handshake was completed.";
    SessionClosed = "session-closed", "Sessions closed by their end points: both FINs acknowledged, or reset.";
    SessionExpired = "session-expired", "Sessions that ended because a timeout ran out.";
    SessionReused = "session-reused", "Sessions that a new SYN from the same client address and port replaced.";
    SessionEvicted = "session-evicted", "Sessions removed before their time: the table was full, the port was needed, or the service went away.";
    PortReusedEarly = "port-reused-early", "Local ports taken again before `reuse-after` had passed, because only resting ones remained.";
    LipFellBack = "lip-fell-back", "New sessions whose first LIP had no free port towards the real server, so that another was taken.";
    ChallengeAck = "challenge-ack", "Challenge ACKs from real servers that still knew an older connection; answered with RST and the SYN again.";
    ToaInserted = "toa-inserted", "Client segments to which the client's address was added.";
    ToaSynthetic = "toa-synthetic", "ACKs made to carry the client's address where a segment had no room.";
    ToaForged = "toa-forged", "Client segments with an address option of their own, overwritten with NOPs.";
    MssClamped = "mss-clamped", "SYN segments whose maximum segment size was lowered.";
    RstToClient = "rst-to-client", "RSTs sent to clients.";
    RstToReal = "rst-to-real", "RSTs sent to real servers.";
    ChecksumCompleted = "checksum-completed", "Frames that arrived with a pseudo-header sum only and were given the whole checksum.";
    CookieSent = "cookie-sent", "SYNs answered with a cookie.";
    CookieValid = "cookie-valid", "ACKs whose cookie was ours and in time.";
    CookieBad = "cookie-bad", "ACKs whose cookie was not ours.";
    CookieStale = "cookie-stale", "ACKs whose cookie was ours, but too old.";
    SynRetried = "syn-retried", "SYNs sent to a real server again because it did not answer.";
    IcmpTranslated = "icmp-translated", "ICMP errors passed on to the other end of a session.";
    IcmpSent = "icmp-sent", "ICMP errors that Weir sent itself.";
    EchoAnswered = "echo-answered", "Pings to a VIP or LIP that were answered.";
    ArpAnswered = "arp-answered", "ARP requests for a VIP or LIP that were answered.";
    ArpRequested = "arp-requested", "ARP requests that Weir sent.";
    ArpAnnounced = "arp-announced", "Gratuitous ARP announcements that Weir sent.";
    PersistUsed = "persist-used", "New sessions that went to the real server which their client had before.";
    PersistMoved = "persist-moved", "New sessions whose client lost its earlier real server: it was removed, is down, has no weight, or is full.";
    PersistDisplaced = "persist-displaced", "Clients whose real server was forgotten before its time, because others needed the room.";
    NeighbourLearned = "neighbour-learned", "Neighbours whose Ethernet address became known or changed.";
}

impl Counter {
    /// The number of counters.
    pub const COUNT: usize = Self::ALL.len();

    /// Returns the counter's index.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// The counters of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters([u64; Counter::COUNT]);

impl Default for Counters {
    fn default() -> Self {
        Self([0; Counter::COUNT])
    }
}

impl Counters {
    /// Counts one.
    #[inline]
    pub fn count(&mut self, counter: Counter) {
        if let Some(value) = self.0.get_mut(counter.index()) {
            *value += 1;
        }
    }

    /// Returns a counter's value.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.0.get(counter.index()).copied().unwrap_or_default()
    }

    /// Returns all values in the order of [`Counter::ALL`].
    #[must_use]
    pub fn values(&self) -> &[u64; Counter::COUNT] {
        &self.0
    }

    /// Returns all values for a reader that fills them in.
    pub fn values_mut(&mut self) -> &mut [u64; Counter::COUNT] {
        &mut self.0
    }

    /// Adds another worker's counters.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine += theirs;
        }
    }
}

/// How a real server answers the SYNs of its service on one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KnockCounters {
    /// Sessions that it was picked for, whether or not its SYN could be sent.
    pub asked: u64,
    /// SYN-ACKs that it answered with, one for each session.
    pub answered: u64,
}

impl KnockCounters {
    /// The number of values.
    pub const COUNT: usize = 2;

    /// Returns the values in a fixed order, for publishing.
    #[must_use]
    pub const fn to_array(self) -> [u64; Self::COUNT] {
        [self.asked, self.answered]
    }

    /// Makes the counters from the order of [`to_array`](Self::to_array).
    #[must_use]
    pub const fn from_array([asked, answered]: [u64; Self::COUNT]) -> Self {
        Self { asked, answered }
    }

    /// Adds another worker's counters.
    pub const fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.answered += other.answered;
    }
}

/// Traffic of one service or one real server on one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrafficCounters {
    /// Sessions opened.
    pub opened: u64,
    /// Sessions that exist now.
    pub sessions: u64,
    /// TCP sessions that exist now and are established, or UDP sessions answered at least once.
    pub established: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// IP bytes from clients.
    pub bytes_in: u64,
    /// IP bytes to clients.
    pub bytes_out: u64,
    /// New sessions refused: no real server, no local port, table full.
    pub refused: u64,
    /// Of a real server: the workers on which it has as many sessions as it may.
    pub full: u64,
}

impl TrafficCounters {
    /// The number of values.
    pub const COUNT: usize = 9;

    /// Returns the values in a fixed order, for publishing.
    #[must_use]
    pub fn to_array(self) -> [u64; Self::COUNT] {
        [
            self.opened,
            self.sessions,
            self.established,
            self.packets_in,
            self.packets_out,
            self.bytes_in,
            self.bytes_out,
            self.refused,
            self.full,
        ]
    }

    /// Makes the counters from the order of [`to_array`](Self::to_array).
    #[must_use]
    pub fn from_array(values: [u64; Self::COUNT]) -> Self {
        let [
            opened,
            sessions,
            established,
            packets_in,
            packets_out,
            bytes_in,
            bytes_out,
            refused,
            full,
        ] = values;
        Self {
            opened,
            sessions,
            established,
            packets_in,
            packets_out,
            bytes_in,
            bytes_out,
            refused,
            full,
        }
    }

    /// Adds another worker's counters.
    pub fn add(&mut self, other: &Self) {
        let mut sum = self.to_array();
        for (mine, theirs) in sum.iter_mut().zip(other.to_array()) {
            *mine += theirs;
        }
        *self = Self::from_array(sum);
    }
}
