//! The keys of what leaves the box: syslog, metrics, high availability.

use super::{Choice, KeySpec, MINUTE, RATE, Type, duration};

pub(super) const SYSLOG_KEYS: &[KeySpec] = &[
    KeySpec::new("server", Type::Server, "Where messages go: HOST:PORT, or the path of a Unix socket.").required(),
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
    )
    .example("/etc/weir/tls/siem-ca.pem"),
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
    .list()
    .default(&["security", "health", "operator", "session", "system"]),
    KeySpec::new(
        "queue",
        Type::Count {
            min: 16,
            max: 1_000_000,
        },
        "How many messages wait at most, of what operators did, of other events and of the session log each; the oldest is dropped and counted.",
    )
    .default(&["4096"]),
    KeySpec::new(
        "budget",
        RATE,
        "How many events of one type are sent; the rest is summarised.",
    )
    .default(&["50/s"]),
    KeySpec::new(
        "session-budget",
        RATE,
        "How many messages of the session log are sent, of openings and of ends each; the rest is summarised.",
    )
    .default(&["5k/s"]),
];

pub(super) const METRICS_KEYS: &[KeySpec] = &[KeySpec::new(
    "listen",
    Type::OwnEndpoint,
    "Where the page is served, at the path /metrics: an address of this machine, not a VIP; none \
     serves none.",
)
.example("127.0.0.1:9110")];

pub(super) const HA_KEYS: &[KeySpec] = &[
    KeySpec::new("peer", Type::Address, "The address of the other appliance.")
        .example("10.255.0.2")
        .required(),
    KeySpec::new(
        "router-id",
        Type::Int { min: 1, max: 255 },
        "The number of the pair, the same on both.",
    )
    .example("51")
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
    .example("200ms")
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
