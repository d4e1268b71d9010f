//! Every section and key.

mod exports;
mod management;
mod profiles;
mod service;

use std::time::Duration;

use super::{Availability, Choice, KeySpec, Kind, Naming, OptionSpec, SectionSpec, Type};

use exports::{HA_KEYS, METRICS_KEYS, SYSLOG_KEYS};
use management::MANAGEMENT;
use profiles::{DEFENCE_KEYS, HEALTH_KEYS, SYNPROXY_KEYS};
use service::SERVICE;

/// Names of capabilities that this build does not have.
const HA: &str = "high availability";

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

const COUNT: Type = Type::Count {
    min: 1,
    max: MOST_COUNT,
};
const RATE: Type = Type::Rate {
    min: 1,
    max: MOST_COUNT,
};

/// The sections in the order in which the effective file has them.
pub(crate) static SECTIONS: [SectionSpec; 14] = [
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
        kind: Kind::Management,
        word: "management",
        naming: Naming::Single,
        availability: Availability::Now,
        help: "The network by which the appliance itself is reached; of the appliance's image only.",
        keys: MANAGEMENT,
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
        availability: Availability::Now,
        help: "A way to check real servers.",
        keys: HEALTH_KEYS,
    },
    SectionSpec {
        kind: Kind::Synproxy,
        word: "synproxy",
        naming: Naming::Named,
        availability: Availability::Now,
        help: "A way to meet SYN floods.",
        keys: SYNPROXY_KEYS,
    },
    SectionSpec {
        kind: Kind::Defence,
        word: "defence",
        naming: Naming::Named,
        availability: Availability::Now,
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
        availability: Availability::Now,
        help: "A receiver of log messages.",
        keys: SYSLOG_KEYS,
    },
    SectionSpec {
        kind: Kind::Metrics,
        word: "metrics",
        naming: Naming::Single,
        availability: Availability::Now,
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
    .example("lb1.dc2")
    .default(&["weir"]),
    KeySpec::new(
        "stop-after",
        duration(0, HOUR),
        "How long SIGTERM drains at most.",
    )
    .default(&["30s"]),
    KeySpec::new(
        "format",
        Type::Int {
            min: 1,
            max: 1_000_000,
        },
        "The format of this configuration; an update brings it to its own where that is newer.",
    )
    .example("1")
    .default(&["1"]),
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
            Choice::later("pf-ring", "PF_RING", "The PF_RING kernel module."),
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
    .example("lan")
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
    .example("0-1")
    .default(&["auto"]),
    KeySpec::new(
        "socket",
        Type::Path,
        "A Unix socket for commands and the console.",
    )
    .example("/run/weir/operate.sock  role=operator  group=weir-operate")
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
            "The group that may connect besides root; without it `weir-view` or `weir-operate`, where the machine has them.",
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
    .example("lan")
    .required(),
    KeySpec::new("address", Type::Addresses, "Local addresses of the pool.")
        .list()
        .required(),
    KeySpec::new(
        "source-ports",
        Type::Range { min: 1, max: 65535 },
        "The source ports that sessions get.",
    )
    .example("2000-65535")
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
