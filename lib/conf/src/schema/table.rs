//! Every section and key.

use std::time::Duration;

use weir_model::Protocol;

use super::{Availability, Choice, KeySpec, Kind, Naming, OptionSpec, SectionSpec, Type};

/// Names of capabilities that this build does not have.
const SYNPROXY: &str = "SYNPROXY";
const HEALTH: &str = "health checks";
const DEFENCE: &str = "defence profiles";
const SYSLOG: &str = "syslog export";
const METRICS: &str = "the metrics page";
const HA: &str = "high availability";
const PERSISTENCE: &str = "persistence";
const DRAIN: &str = "draining";
const LIMITS: &str = "session limits";
const FORWARDING: &str = "forwarding other than fullnat";
const SCHEDULERS: &str = "more schedulers";
const PROXY_PROTOCOL: &str = "the PROXY protocol";
const SESSION_LOG: &str = "the session log";

const MOST_COUNT: u64 = 1_000_000_000;

const fn duration(min_ms: u64, max_s: u64) -> Type {
    Type::Duration {
        min: Duration::from_millis(min_ms),
        max: Duration::from_secs(max_s),
    }
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How long a session may be silent in a state: zero would end it at once, and the wheel of the
/// session table turns once in 31 days.
const TIMEOUT: Type = duration(100, 31 * DAY);
const SHORT: Type = duration(100, HOUR);

const COUNT: Type = Type::Count {
    min: 1,
    max: MOST_COUNT,
};

const DROP_OR_FORWARD: Type = Type::Choice(&[
    Choice::now("drop", "Dropped and counted."),
    Choice::now("forward", "Treated like other packets."),
]);

/// The sections in the order in which the effective file has them.
pub(crate) static SECTIONS: [SectionSpec; 13] = [
    SectionSpec {
        kind: Kind::Node,
        word: "node",
        naming: Naming::Single,
        availability: Availability::Now,
        help: "The appliance itself.",
        keys: NODE,
    },
    SectionSpec {
        kind: Kind::Port,
        word: "port",
        naming: Naming::Named,
        availability: Availability::Now,
        help: "A network port.",
        keys: PORT,
    },
    SectionSpec {
        kind: Kind::Route,
        word: "route",
        naming: Naming::Prefix,
        availability: Availability::Now,
        help: "A route besides connected networks and gateways; its name is the destination.",
        keys: ROUTE,
    },
    SectionSpec {
        kind: Kind::Workers,
        word: "workers",
        naming: Naming::Single,
        availability: Availability::Now,
        help: "The packet threads.",
        keys: WORKERS,
    },
    SectionSpec {
        kind: Kind::Control,
        word: "control",
        naming: Naming::Single,
        availability: Availability::Now,
        help: "The control threads and sockets.",
        keys: CONTROL,
    },
    SectionSpec {
        kind: Kind::LipPool,
        word: "lip-pool",
        naming: Naming::Named,
        availability: Availability::Now,
        help: "Local addresses: FullNAT source addresses towards the real servers.",
        keys: LIP_POOL,
    },
    SectionSpec {
        kind: Kind::Health,
        word: "health",
        naming: Naming::Named,
        availability: Availability::Later(HEALTH),
        help: "A way to check real servers.",
        keys: HEALTH_KEYS,
    },
    SectionSpec {
        kind: Kind::Synproxy,
        word: "synproxy",
        naming: Naming::Named,
        availability: Availability::Later(SYNPROXY),
        help: "A way to meet SYN floods.",
        keys: SYNPROXY_KEYS,
    },
    SectionSpec {
        kind: Kind::Defence,
        word: "defence",
        naming: Naming::Named,
        availability: Availability::Later(DEFENCE),
        help: "Limits on what clients may send.",
        keys: DEFENCE_KEYS,
    },
    SectionSpec {
        kind: Kind::Service,
        word: "service",
        naming: Naming::Named,
        availability: Availability::Now,
        help: "A service: addresses that clients use, and the real servers behind them.",
        keys: SERVICE,
    },
    SectionSpec {
        kind: Kind::Syslog,
        word: "syslog",
        naming: Naming::Named,
        availability: Availability::Later(SYSLOG),
        help: "A receiver of log messages.",
        keys: SYSLOG_KEYS,
    },
    SectionSpec {
        kind: Kind::Metrics,
        word: "metrics",
        naming: Naming::Single,
        availability: Availability::Later(METRICS),
        help: "The page that monitoring reads.",
        keys: METRICS_KEYS,
    },
    SectionSpec {
        kind: Kind::Ha,
        word: "ha",
        naming: Naming::Single,
        availability: Availability::Later(HA),
        help: "A second appliance that takes over.",
        keys: HA_KEYS,
    },
];

const NODE: &[KeySpec] = &[
    KeySpec::new(
        "name",
        Type::Name,
        "The name of the appliance in logs and the console.",
    )
    .default(&["weir"]),
    KeySpec::new(
        "stop-after",
        duration(0, HOUR),
        "How long SIGTERM drains at most.",
    )
    .default(&["30s"]),
];

const PORT: &[KeySpec] = &[
    KeySpec::new("device", Type::Device, "The device, as the kernel names it.").required(),
    KeySpec::new(
        "driver",
        Type::Choice(&[
            Choice::now(
                "auto",
                "netmap where it works natively, then af-xdp, then af-packet.",
            ),
            Choice::now("netmap", "The netmap kernel module."),
            Choice::now("af-xdp", "AF_XDP sockets of the Linux kernel."),
            Choice::now("pf-ring", "The PF_RING kernel module."),
            Choice::now("af-packet", "Packet sockets: slower, on any device."),
        ]),
        "How frames get from the device to Weir and back.",
    )
    .default(&["auto"]),
    KeySpec::new(
        "queues",
        Type::WordOr("auto", &Type::Int { min: 1, max: 256 }),
        "How many receive queues are used; auto is one per worker.",
    )
    .default(&["auto"]),
    KeySpec::new(
        "address",
        Type::Interface,
        "An address that the kernel has on the device, with its prefix length; Weir sets it where it is missing.",
    )
    .list(),
    KeySpec::new(
        "gateway",
        Type::Address,
        "Where destinations without a better route go; one per address family.",
    )
    .list(),
];

const ROUTE: &[KeySpec] = &[
    KeySpec::new(
        "via",
        Type::Address,
        "The next hop, on a connected network of the port.",
    )
    .required(),
    KeySpec::new(
        "port",
        Type::Reference(Kind::Port),
        "The port that leads there.",
    )
    .required(),
];

const WORKERS: &[KeySpec] = &[
    KeySpec::new(
        "cpus",
        Type::WordOr("auto", &Type::Cpus),
        "The cores of the packet threads, one thread each; worker n owns queue n of every port.",
    )
    .default(&["auto"]),
    KeySpec::new(
        "burst",
        Type::Int { min: 1, max: 64 },
        "How many frames a turn takes from a port at most.",
    )
    .default(&["64"]),
    KeySpec::new(
        "sessions",
        Type::WordOr(
            "auto",
            &Type::Count {
                min: 64,
                max: 64_000_000,
            },
        ),
        "How many sessions each worker's table holds, allocated at start; auto is a share of the memory.",
    )
    .default(&["auto"]),
    KeySpec::new(
        "poll",
        Type::Choice(&[
            Choice::now("busy", "Never waits: lowest latency, a whole core."),
            Choice::now("adaptive", "Waits in the kernel when nothing has come for a while."),
        ]),
        "How a worker waits for packets.",
    )
    .default(&["adaptive"]),
];

const CONTROL: &[KeySpec] = &[
    KeySpec::new(
        "cpus",
        Type::WordOr("auto", &Type::Cpus),
        "The cores that control threads may use.",
    )
    .default(&["auto"]),
    KeySpec::new(
        "socket",
        Type::Path,
        "A Unix socket for commands and the console.",
    )
    .list()
    .options(&[
        OptionSpec::new(
            "role",
            Type::Choice(&[
                Choice::now("viewer", "Reads."),
                Choice::now("operator", "Reads and changes."),
            ]),
            "What may be done through it.",
        )
        .default("viewer"),
        OptionSpec::new(
            "group",
            Type::Name,
            "The group that may connect besides root.",
        ),
    ])
    .default(&[
        "/run/weir/view.sock  role=viewer",
        "/run/weir/operate.sock  role=operator",
    ]),
];

const LIP_POOL: &[KeySpec] = &[
    KeySpec::new(
        "port",
        Type::Reference(Kind::Port),
        "The port whose neighbours see the addresses.",
    )
    .required(),
    KeySpec::new("address", Type::Addresses, "Local addresses of the pool.")
        .list()
        .required(),
    KeySpec::new(
        "source-ports",
        Type::Range { min: 1, max: 65535 },
        "The source ports that sessions get.",
    )
    .default(&["1024-65535"]),
    KeySpec::new(
        "reuse-after",
        duration(0, HOUR),
        "How long a source port preferably rests before it is taken again.",
    )
    .default(&["60s"]),
    KeySpec::new(
        "warn-at",
        Type::Share { min: 1, max: 100 },
        "The used share of the ports towards one real server at which an event is raised.",
    )
    .default(&["80%"]),
];

const HEALTH_KEYS: &[KeySpec] = &[
    KeySpec::new(
        "type",
        Type::Choice(&[
            Choice::now("tcp", "Connects."),
            Choice::now("http", "Fetches a page."),
            Choice::now("https", "Fetches a page over TLS."),
            Choice::now("udp", "Sends a datagram and watches for a refusal."),
            Choice::now("ping", "Sends an ICMP echo request."),
            Choice::now("exec", "Runs a program."),
        ]),
        "What is done.",
    )
    .required(),
    KeySpec::new(
        "interval",
        duration(100, HOUR),
        "The time from one check to the next.",
    )
    .default(&["2s"]),
    KeySpec::new(
        "timeout",
        duration(10, MINUTE),
        "How long an answer may take.",
    )
    .default(&["500ms"]),
    KeySpec::new(
        "rise",
        Type::Int { min: 1, max: 100 },
        "How many successes in a row bring a real server up.",
    )
    .default(&["2"]),
    KeySpec::new(
        "fall",
        Type::Int { min: 1, max: 100 },
        "How many failures in a row take a real server down.",
    )
    .default(&["3"]),
    KeySpec::new("get", Type::UrlPath, "The page to fetch.").default(&["/"]),
    KeySpec::new(
        "host",
        Type::Host,
        "The host name of the request and of the certificate.",
    ),
    KeySpec::new(
        "expect",
        Type::Range { min: 100, max: 599 },
        "The status codes that count as success.",
    )
    .default(&["200-299"]),
    KeySpec::new("program", Type::Path, "The program to run."),
];

const SYNPROXY_KEYS: &[KeySpec] = &[
    KeySpec::new(
        "mode",
        Type::Choice(&[
            Choice::now("off", "Never."),
            Choice::now("adaptive", "While there is a flood."),
            Choice::now("always", "For every connection."),
        ]),
        "When cookies are sent.",
    )
    .default(&["adaptive"]),
    KeySpec::new(
        "enter",
        Type::Rate,
        "The rate of unanswered SYNs of a service from which cookies are sent.",
    )
    .default(&["20k/s"]),
    KeySpec::new(
        "leave",
        Type::Rate,
        "The rate below which cookies are no longer sent.",
    )
    .default(&["5k/s"]),
    KeySpec::new(
        "stay",
        duration(0, DAY),
        "How long cookies are sent at least.",
    )
    .default(&["30s"]),
    KeySpec::new(
        "options",
        Type::Choice(&[
            Choice::now("learned", "What all real servers were seen to do."),
            Choice::now("given", "What mss, wscale, sack and timestamps say."),
        ]),
        "Where the TCP options of the answer to a SYN come from.",
    )
    .default(&["learned"]),
    KeySpec::new(
        "mss",
        Type::Int {
            min: 536,
            max: 8960,
        },
        "The maximum segment size that clients are told.",
    )
    .default(&["1440"]),
    KeySpec::new(
        "wscale",
        Type::Int { min: 0, max: 14 },
        "The window scale that clients are told.",
    )
    .default(&["7"]),
    KeySpec::new(
        "sack",
        Type::Flag,
        "Whether clients are offered selective acknowledgements.",
    )
    .default(&["yes"]),
    KeySpec::new(
        "timestamps",
        Type::Flag,
        "Whether clients are offered timestamps.",
    )
    .default(&["yes"]),
    KeySpec::new(
        "client-window",
        Type::Choice(&[
            Choice::now("open", "Early data is held, bounded."),
            Choice::now(
                "closed",
                "The window is 0 until the real server has answered.",
            ),
        ]),
        "Whether a client may send before the real server has answered.",
    )
    .default(&["open"]),
    KeySpec::new(
        "early-data",
        Type::Size {
            min: 1024,
            max: 1 << 20,
        },
        "How much is held per session while the real server answers.",
    )
    .default(&["16KiB"]),
    KeySpec::new(
        "early-data-pool",
        Type::Size {
            min: 1 << 20,
            max: 1 << 34,
        },
        "How much early data a worker holds in all.",
    )
    .default(&["64MiB"]),
    KeySpec::new(
        "defer",
        Type::Flag,
        "Whether the real server is only asked when the first byte of data has come.",
    )
    .default(&["no"]),
    KeySpec::new(
        "cookie-lifetime",
        duration(8000, 10 * MINUTE),
        "How long a cookie is good.",
    )
    .default(&["64s"]),
    KeySpec::new(
        "secret-rotation",
        duration(MINUTE * 1000, DAY),
        "How often the key of the cookies changes.",
    )
    .default(&["15m"]),
    KeySpec::new(
        "secret-file",
        Type::Path,
        "The master key, shared by a cluster; without it one is made at start.",
    ),
    KeySpec::new(
        "syn-retries",
        Type::Int { min: 0, max: 10 },
        "How often the SYN to the real server is sent again.",
    )
    .default(&["3"]),
    KeySpec::new(
        "bad-ack",
        Type::Choice(&[
            Choice::now("drop", "Dropped and counted."),
            Choice::now("reset", "Answered with a RST."),
        ]),
        "What happens to an ACK whose cookie is not ours.",
    )
    .default(&["drop"]),
];

const PER: OptionSpec = OptionSpec::new(
    "per",
    Type::PrefixLength,
    "The prefix length of client addresses that are counted together.",
);
const BURST: OptionSpec = OptionSpec::new("burst", COUNT, "How many may come at once.");

const DEFENCE_KEYS: &[KeySpec] = &[
    KeySpec::new(
        "syn-rate",
        Type::Rate,
        "How many SYNs a client prefix may send.",
    )
    .options(&[BURST, PER]),
    KeySpec::new(
        "new-sessions",
        Type::Rate,
        "How many sessions a client prefix may open.",
    )
    .options(&[BURST, PER]),
    KeySpec::new(
        "invalid-flags",
        DROP_OR_FORWARD,
        "What happens to segments with flags that no host sends.",
    )
    .default(&["drop"]),
    KeySpec::new(
        "fragments",
        DROP_OR_FORWARD,
        "What happens to IP fragments.",
    )
    .default(&["forward"]),
    KeySpec::new(
        "tcp-drop",
        Type::Flag,
        "Whether segments of no session that do not open one are dropped instead of answered.",
    )
    .default(&["yes"]),
    KeySpec::new(
        "udp-drop",
        Type::Flag,
        "Whether datagrams for a VIP without a service are dropped instead of answered.",
    )
    .default(&["yes"]),
    KeySpec::new(
        "deny",
        Type::Network,
        "A network whose packets are dropped.",
    )
    .list(),
    KeySpec::new(
        "allow",
        Type::Network,
        "A network that no limit applies to.",
    )
    .list(),
];

const SERVICE: &[KeySpec] = &[
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
            Choice::later("lc", SCHEDULERS, "The one with the fewest sessions."),
            Choice::later(
                "sed",
                SCHEDULERS,
                "The one with the shortest expected delay.",
            ),
            Choice::later(
                "nq",
                SCHEDULERS,
                "An idle one, else the shortest expected delay.",
            ),
            Choice::later("sh", SCHEDULERS, "By a hash of the client's address."),
            Choice::later("dh", SCHEDULERS, "By a hash of the destination."),
            Choice::later("lblc", SCHEDULERS, "The same for a destination, by load."),
            Choice::later("lblcr", SCHEDULERS, "A set for a destination, by load."),
            Choice::later("maglev", SCHEDULERS, "By a consistent hash of the client."),
            Choice::later("failover", SCHEDULERS, "The first that is up."),
            Choice::later("p2c", SCHEDULERS, "The better of two picked at random."),
        ]),
        "How the real server of a new session is picked.",
    )
    .default(&["wlc"]),
    KeySpec::new(
        "synproxy",
        Type::Reference(Kind::Synproxy),
        "How SYN floods are met.",
    )
    .only(Protocol::Tcp)
    .later(SYNPROXY),
    KeySpec::new(
        "defence",
        Type::Reference(Kind::Defence),
        "Limits on what clients may send.",
    )
    .later(DEFENCE),
    KeySpec::new(
        "health",
        Type::Reference(Kind::Health),
        "How the real servers are checked.",
    )
    .later(HEALTH),
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
        "The TCP option kind that carries the client's address.",
    )
    .only(Protocol::Tcp)
    .default(&["254"]),
    KeySpec::new(
        "persist",
        duration(1000, 31 * DAY),
        "How long a client keeps its real server after its last session.",
    )
    .options(&[PER])
    .later(PERSISTENCE),
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
        "Whether a new handshake may take over a session that is closing.",
    )
    .only(Protocol::Tcp)
    .default(&["yes"])
    .later(SYNPROXY),
    KeySpec::new(
        "ack-storm",
        Type::Int { min: 0, max: 1000 },
        "How many equal ACKs in a row end a session that waits for its real server.",
    )
    .only(Protocol::Tcp)
    .default(&["10"])
    .later(SYNPROXY),
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
    .default(&["off"])
    .later(SESSION_LOG),
    KeySpec::new(
        "drain",
        duration(0, DAY),
        "How long sessions may go on when a real server is taken out.",
    )
    .later(DRAIN),
    KeySpec::new(
        "quorum",
        Type::Int { min: 1, max: 65535 },
        "How much weight must be up for the service to be up.",
    )
    .options(&[OptionSpec::new(
        "hysteresis",
        Type::Int { min: 0, max: 65535 },
        "How much more is needed to come back.",
    )])
    .later(HEALTH),
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
                "How many sessions it may have at most.",
            )
            .later(LIMITS),
            OptionSpec::new(
                "min-sessions",
                COUNT,
                "Below how many sessions a full one takes new ones again.",
            )
            .later(LIMITS),
        ]),
    KeySpec::new(
        "sorry",
        Type::Endpoint,
        "The server that answers when no real server can.",
    )
    .later(HEALTH),
];

const SYSLOG_KEYS: &[KeySpec] = &[
    KeySpec::new("server", Type::Server, "Where messages go.").required(),
    KeySpec::new(
        "transport",
        Type::Choice(&[
            Choice::now("udp", "Datagrams."),
            Choice::now("tcp", "A stream with octet counts."),
            Choice::now("tls", "A stream with octet counts over TLS."),
            Choice::now("unix", "A Unix socket."),
        ]),
        "How messages travel.",
    )
    .default(&["udp"]),
    KeySpec::new(
        "ca-file",
        Type::Path,
        "The certificates that the server is checked against.",
    ),
    KeySpec::new(
        "format",
        Type::Choice(&[
            Choice::now("rfc5424", "With structured data."),
            Choice::now("rfc3164", "The older format."),
            Choice::now("cef", "Common Event Format."),
        ]),
        "The format of messages.",
    )
    .default(&["rfc5424"]),
    KeySpec::new(
        "facility",
        Type::Choice(&[
            Choice::now("daemon", "System daemons."),
            Choice::now("local0", "Local use 0."),
            Choice::now("local1", "Local use 1."),
            Choice::now("local2", "Local use 2."),
            Choice::now("local3", "Local use 3."),
            Choice::now("local4", "Local use 4."),
            Choice::now("local5", "Local use 5."),
            Choice::now("local6", "Local use 6."),
            Choice::now("local7", "Local use 7."),
        ]),
        "The facility of messages.",
    )
    .default(&["local4"]),
    KeySpec::new(
        "events",
        Type::Choice(&[
            Choice::now("security", "Floods, denials, refusals."),
            Choice::now("health", "Real servers up and down."),
            Choice::now("operator", "What operators did."),
            Choice::now("session", "The session log."),
            Choice::now("system", "Ports, workers, pools."),
        ]),
        "A kind of event that is sent.",
    )
    .list(),
    KeySpec::new(
        "queue",
        COUNT,
        "How many messages wait at most; the oldest is dropped and counted.",
    )
    .default(&["4096"]),
    KeySpec::new(
        "budget",
        Type::Rate,
        "How many messages of one type are sent; the rest is summarised.",
    )
    .default(&["50/s"]),
];

const METRICS_KEYS: &[KeySpec] =
    &[KeySpec::new("listen", Type::Server, "Where the page is served.").required()];

const HA_KEYS: &[KeySpec] = &[
    KeySpec::new("peer", Type::Address, "The address of the other appliance.").required(),
    KeySpec::new(
        "router-id",
        Type::Int { min: 1, max: 255 },
        "The number of the pair, the same on both.",
    )
    .required(),
    KeySpec::new(
        "priority",
        Type::Int { min: 1, max: 254 },
        "Which of the two is active; the higher one.",
    )
    .default(&["100"]),
    KeySpec::new(
        "advertise",
        duration(10, MINUTE),
        "How often the active one says so.",
    )
    .default(&["1s"]),
    KeySpec::new(
        "sync",
        Type::Choice(&[
            Choice::now("none", "Sessions are not copied."),
            Choice::now("established", "Established sessions are copied."),
        ]),
        "Which sessions the other one gets to know.",
    )
    .default(&["established"]),
];
