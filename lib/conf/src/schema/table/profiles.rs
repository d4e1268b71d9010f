//! The keys of profiles that services refer to: health checks, SYNPROXY, defence.

use super::{COUNT, Choice, DAY, HOUR, KeySpec, MINUTE, OptionSpec, RATE, Type, duration};

/// The prefix length by which clients are told apart.
pub(super) const PER: OptionSpec = OptionSpec::new(
    "per",
    Type::PrefixLength,
    "The prefix length of client addresses that count as one.",
)
.default("/32");
const BURST: OptionSpec = OptionSpec::new(
    "burst",
    COUNT,
    "How many may come at once; those of a second where it is not given.",
);

const DROP_OR_FORWARD: Type = Type::Choice(&[
    Choice::now("drop", "Dropped and counted."),
    Choice::now("forward", "Treated like other packets."),
]);

pub(super) const HEALTH_KEYS: &[KeySpec] = &[
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
        "The time from one check of a real server to the next.",
    )
    .default(&["2s"]),
    KeySpec::new(
        "timeout",
        duration(10, MINUTE),
        "How long an answer may take; not longer than the interval.",
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
    KeySpec::new(
        "alpha",
        Type::Flag,
        "Whether a new real server counts as down until its first success.",
    )
    .default(&["no"]),
    KeySpec::new("get", Type::UrlPath, "The page to fetch; http and https.").default(&["/"]),
    KeySpec::new(
        "host",
        Type::Host,
        "The host name of the request and of the certificate; without it the real server's address.",
    ),
    KeySpec::new(
        "expect",
        Type::Range { min: 100, max: 599 },
        "The status codes that count as success; http and https.",
    )
    .default(&["200-299"]),
    KeySpec::new(
        "body",
        Type::Bytes,
        "What the first 64 KiB of the page must contain; http and https.",
    )
    .example("all%20well"),
    KeySpec::new(
        "ca-file",
        Type::Path,
        "The certificates of the authorities that https trusts; without it those of the system.",
    )
    .example("/etc/weir/ca.pem"),
    KeySpec::new(
        "verify",
        Type::Flag,
        "Whether the certificate must be right; https.",
    )
    .default(&["yes"]),
    KeySpec::new("send", Type::Bytes, "What the datagram holds; udp.").example("%00%01"),
    KeySpec::new(
        "answer",
        Type::Bytes,
        "What the answer to the datagram must contain; udp, where without it silence counts as success.",
    )
    .example("pong"),
    KeySpec::new(
        "program",
        Type::Path,
        "The program to run; exit status 0 is success; exec.",
    )
    .example("/usr/local/lib/weir/check"),
    KeySpec::new(
        "weight-from",
        Type::Choice(&[
            Choice::now("none", "The program says no weight."),
            Choice::now(
                "exit",
                "An exit status from 2 to 255 is success and says the weight plus two.",
            ),
            Choice::now("first-line", "The first line of its output is the weight."),
        ]),
        "Whether the program says the weight of the real server, too; exec.",
    )
    .default(&["none"]),
];

pub(super) const SYNPROXY_KEYS: &[KeySpec] = &[
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
        RATE,
        "The rate of unanswered SYNs of a service from which cookies are sent; greater than leave.",
    )
    .default(&["20k/s"]),
    KeySpec::new(
        "leave",
        RATE,
        "The rate below which cookies are no longer sent, once stay is over.",
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
        "Where the TCP options of the answer to a SYN come from; until something is learned, from what is given, without timestamps.",
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
        Type::WordOr("none", &Type::Int { min: 0, max: 14 }),
        "The window scale that clients are told; none does not offer the option.",
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
            min: 64 << 10,
            max: 1 << 34,
        },
        "How much early data a worker holds in all; not less than early-data.",
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
        "How long a cookie is good at most.",
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
        "The file with the master key, the same on every node of a cluster; made when it does not exist. Without one a master key is made at each start.",
    )
    .example("/etc/weir/cookie.key"),
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
            Choice::now("reset", "Answered with a RST, within a rate limit."),
        ]),
        "What happens to an ACK whose cookie is not ours.",
    )
    .default(&["drop"]),
    KeySpec::new(
        "reflect-limit",
        RATE,
        "How many SYN-ACKs one /24 of clients is sent at most, on each worker.",
    )
    .default(&["50k/s"]),
];

pub(super) const DEFENCE_KEYS: &[KeySpec] = &[
    KeySpec::new(
        "syn-rate",
        RATE,
        "How many SYNs a client prefix may send, split evenly over the workers.",
    )
    .options(&[BURST, PER]),
    KeySpec::new(
        "new-sessions",
        RATE,
        "How many sessions a client prefix may open, split evenly over the workers.",
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
        "What happens to fragments of datagrams; those of TCP are always dropped.",
    )
    .default(&["forward"]),
    KeySpec::new(
        "tcp-drop",
        Type::Flag,
        "Whether segments of no session that do not open one are dropped; no: they are answered with a RST, as a host does.",
    )
    .default(&["yes"]),
    KeySpec::new(
        "udp-drop",
        Type::Flag,
        "Whether datagrams for the VIPs of a service that no service listens for are dropped; no: they are answered with an ICMP port unreachable.",
    )
    .default(&["yes"]),
    KeySpec::new(
        "deny",
        Type::Network,
        "A network whose packets are dropped; of networks that contain each other the smallest one counts.",
    )
    .list(),
    KeySpec::new(
        "allow",
        Type::Network,
        "A network that no rate limits and no larger denied network stops.",
    )
    .list(),
];
