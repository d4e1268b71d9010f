//! The keys of a service.

use weir_model::Protocol;

use super::profiles::PER;
use super::{COUNT, Choice, DAY, HOUR, KeySpec, Kind, OptionSpec, Type, duration};

/// Names of capabilities that this build does not have.
const FORWARDING: &str = "forwarding other than fullnat";
const PROXY_PROTOCOL: &str = "the PROXY protocol";

/// How long a session may be silent in a state: zero would end it at once, and the wheel of the
/// session table turns once in 31 days.
const TIMEOUT: Type = duration(100, 31 * DAY);
const SHORT: Type = duration(100, HOUR);

pub(super) const SERVICE: &[KeySpec] = &[
    KeySpec::new(
        "listen",
        Type::Listen,
        "An address (VIP) and port at which clients reach the service, with its protocol.",
    )
    .list()
    .required(),
    KeySpec::new(
        "forward",
        Type::Choice(&[
            Choice::now(
                "fullnat",
                "Client to VIP becomes LIP to real server, both ways through Weir.",
            ),
            Choice::later("nat", FORWARDING, "Only the destination is rewritten."),
            Choice::later(
                "direct",
                FORWARDING,
                "Only the Ethernet address is rewritten.",
            ),
            Choice::later("tunnel", FORWARDING, "Packets are wrapped in IP."),
        ]),
        "How packets reach the real servers.",
    )
    .default(&["fullnat"]),
    KeySpec::new(
        "lip-pool",
        Type::Reference(Kind::LipPool),
        "The pool of the source addresses towards the real servers.",
    )
    .required(),
    KeySpec::new(
        "scheduler",
        Type::Choice(&[
            Choice::now("rr", "Each in turn."),
            Choice::now("wrr", "Each in turn, as often as its weight says."),
            Choice::now("wlc", "The one with the fewest sessions for its weight."),
            Choice::now("lc", "The one with the fewest sessions."),
            Choice::now("sed", "The one with the shortest expected delay."),
            Choice::now("nq", "An idle one, else the shortest expected delay."),
            Choice::now("sh", "By a hash of the client's address, as maglev."),
            Choice::now("dh", "By a hash of the destination."),
            Choice::now("lblc", "The same for a destination, by load."),
            Choice::now("lblcr", "A set for a destination, by load."),
            Choice::now(
                "maglev",
                "By a consistent hash of the client's address: changes move few clients.",
            ),
            Choice::now("failover", "The first that is up."),
            Choice::now("p2c", "The better of two picked at random."),
        ]),
        "How the real server of a new session is picked.",
    )
    .default(&["wlc"]),
    KeySpec::new(
        "synproxy",
        Type::Reference(Kind::Synproxy),
        "How SYN floods are met: a profile, or a mode with the defaults of everything else.",
    )
    .example("adaptive")
    .only(Protocol::Tcp)
    .default(&["off"]),
    KeySpec::new(
        "defence",
        Type::Reference(Kind::Defence),
        "Limits on what clients may send.",
    )
    .example("edge"),
    KeySpec::new(
        "health",
        Type::Reference(Kind::Health),
        "How the real servers are checked; without it all count as up.",
    )
    .example("tcp"),
    KeySpec::new(
        "client-address",
        Type::Choice(&[
            Choice::now("none", "Real servers see the LIP only."),
            Choice::now("toa", "A TCP option carries the client's address and port."),
            Choice::later(
                "proxy-v1",
                PROXY_PROTOCOL,
                "A line of text in front of the data.",
            ),
            Choice::later(
                "proxy-v2",
                PROXY_PROTOCOL,
                "A binary header in front of the data.",
            ),
        ]),
        "How real servers learn the client's address.",
    )
    .by_protocol("toa", "none"),
    KeySpec::new(
        "toa-kind",
        Type::Int { min: 2, max: 254 },
        "The TCP option kind that carries the client's address; none that TCP needs itself (2 to 5, 8).",
    )
    .only(Protocol::Tcp)
    .example("253")
    .default(&["254"]),
    KeySpec::new(
        "persist",
        duration(1000, 31 * DAY),
        "How long a client keeps its real server after its last session.",
    )
    .options(&[PER]),
    KeySpec::new(
        "idle",
        TIMEOUT,
        "How long an established session, or an answered udp flow, may be silent.",
    )
    .by_protocol("15m", "30s"),
    KeySpec::new(
        "timeout-syn-recv",
        SHORT,
        "How long a handshake may take from its last segment.",
    )
    .only(Protocol::Tcp)
    .default(&["30s"]),
    KeySpec::new(
        "timeout-fin-wait",
        TIMEOUT,
        "How long a session of which one side has closed may be silent.",
    )
    .only(Protocol::Tcp)
    .same_as("idle"),
    KeySpec::new(
        "timeout-last-ack",
        SHORT,
        "How long the last acknowledgement of a closed session is waited for.",
    )
    .only(Protocol::Tcp)
    .default(&["30s"]),
    KeySpec::new(
        "timeout-time-wait",
        SHORT,
        "How long late segments of a closed session are still translated.",
    )
    .only(Protocol::Tcp)
    .default(&["10s"]),
    KeySpec::new(
        "timeout-close",
        SHORT,
        "How long late segments of a reset session are still translated.",
    )
    .only(Protocol::Tcp)
    .default(&["3s"]),
    KeySpec::new(
        "timeout-one-way",
        SHORT,
        "How long a udp flow that was never answered may be silent.",
    )
    .only(Protocol::Udp)
    .default(&["5s"]),
    KeySpec::new(
        "mss-adjust",
        Type::Flag,
        "Whether the maximum segment size is lowered so that added options fit.",
    )
    .only(Protocol::Tcp)
    .default(&["yes"]),
    KeySpec::new(
        "timestamps",
        Type::Choice(&[
            Choice::now(
                "translate",
                "Translated, so that they only grow towards each real server.",
            ),
            Choice::now(
                "strip",
                "Removed from the handshake, so that neither end uses them.",
            ),
        ]),
        "What becomes of TCP timestamps.",
    )
    .only(Protocol::Tcp)
    .default(&["translate"]),
    KeySpec::new(
        "reset-at-expiry",
        Type::Flag,
        "Whether both ends are reset when a session expires.",
    )
    .only(Protocol::Tcp)
    .default(&["yes"]),
    KeySpec::new(
        "connection-reuse",
        Type::Flag,
        "Whether a client's new handshake may take over its old session, in whatever state that is.",
    )
    .only(Protocol::Tcp)
    .default(&["yes"]),
    KeySpec::new(
        "ack-storm",
        Type::Int { min: 0, max: 1000 },
        "How many unacceptable ACKs in turn between both ends are passed on before they are limited to one a second; 0 is off.",
    )
    .only(Protocol::Tcp)
    .default(&["10"]),
    KeySpec::new(
        "max-sessions",
        COUNT,
        "How many sessions the service may have at most, split evenly over the workers; more are refused. Half-open sessions and those that are over do not count.",
    ),
    KeySpec::new(
        "session-log",
        Type::Choice(&[
            Choice::now("off", "Nothing is logged."),
            Choice::now("open", "Sessions are logged when they open."),
            Choice::now("close", "Sessions are logged when they end."),
            Choice::now("both", "Sessions are logged when they open and end."),
        ]),
        "Which sessions are logged for audits.",
    )
    .default(&["off"]),
    KeySpec::new(
        "drain",
        duration(0, DAY),
        "How long sessions may go on when their real server is taken out, by `weir drain` or because the file no longer has it; without it until they end.",
    )
    .options(&[OptionSpec::new(
        "then",
        Type::Choice(&[
            Choice::now("reset", "Both ends of those that are left are reset."),
            Choice::now("keep", "Those that are left go on, and an event tells how many they are."),
        ]),
        "What becomes of those that are left then.",
    )
    .default("reset")]),
    KeySpec::new(
        "quorum",
        Type::Int { min: 1, max: 65535 },
        "How much weight must be up for the service to be up.",
    )
    .example("2  hysteresis=1")
    .options(&[OptionSpec::new(
        "hysteresis",
        Type::Int { min: 0, max: 65535 },
        "How much more is needed to come back.",
    )]),
    KeySpec::new(
        "quorum-up",
        Type::Path,
        "A program that runs when the quorum is there again.",
    )
    .example("/usr/local/lib/weir/quorum-up"),
    KeySpec::new(
        "quorum-down",
        Type::Path,
        "A program that runs when the quorum is lost.",
    )
    .example("/usr/local/lib/weir/quorum-down"),
    KeySpec::new(
        "omega",
        Type::Flag,
        "Whether the program of quorum-down also runs when Weir stops.",
    )
    .default(&["no"]),
    KeySpec::new(
        "all-down",
        Type::Choice(&[
            Choice::now("refuse", "They are refused."),
            Choice::now("keep", "They go to the real servers as if all were up."),
        ]),
        "What becomes of new sessions when no real server is up and there is no sorry server.",
    )
    .default(&["refuse"]),
    KeySpec::new(
        "slow-start",
        duration(0, HOUR),
        "How long the share of a real server that came back grows to the whole.",
    )
    .default(&["0s"]),
    KeySpec::new(
        "inhibit",
        Type::Flag,
        "Whether the sessions of a real server that its checks took down go on; no resets both ends of them.",
    )
    .default(&["yes"]),
    KeySpec::new(
        "passive",
        duration(1000, HOUR),
        "How long a real server that answers clients' SYNs with nothing gets no new sessions; twice as long each time in a row. Without it nobody looks.",
    )
    .only(Protocol::Tcp)
    .example("5s  most=10m  syns=10")
    .options(&[
        OptionSpec::new(
            "most",
            duration(1000, DAY),
            "How long at most; by default ten minutes, or the value where that is more.",
        ),
        OptionSpec::new(
            "syns",
            Type::Int { min: 1, max: 100_000 },
            "How many SYNs in a row without a SYN-ACK are enough.",
        )
        .default("10"),
    ]),
    KeySpec::new("real", Type::Endpoint, "A real server of the service.")
        .list()
        .required()
        .options(&[
            OptionSpec::new(
                "weight",
                Type::Int { min: 0, max: 65535 },
                "Its share of new sessions; 0 takes none and keeps those it has.",
            )
            .default("1"),
            OptionSpec::new(
                "max-sessions",
                COUNT,
                "How many sessions it may have at most, split evenly over the workers; a full one gets no new ones. Those that are over do not count.",
            ),
            OptionSpec::new(
                "min-sessions",
                COUNT,
                "Below how many sessions a full one takes new ones again; three quarters of max-sessions where it is not given.",
            ),
        ]),
    KeySpec::new(
        "sorry",
        Type::Endpoint,
        "The server that answers when no real server can.",
    )
    .example("10.0.1.99:443"),
];
