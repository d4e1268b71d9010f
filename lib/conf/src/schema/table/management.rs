//! The keys of the management network, which the agent of the appliance's image sets.

use super::{KeySpec, Type};

pub(super) const MANAGEMENT: &[KeySpec] = &[
    KeySpec::new(
        "device",
        Type::Device,
        "The device of the management network; no [port] can have it.",
    )
    .example("eth3")
    .default(&["eth0"]),
    KeySpec::new(
        "address",
        Type::WordOr("dhcp", &Type::Interface),
        "The appliance's address there, with its prefix length, or dhcp; none has no management network.",
    )
    .example("192.0.2.10/24"),
    KeySpec::new(
        "gateway",
        Type::Address,
        "Where the appliance itself sends what no network of its own has: syslog, time, names.",
    )
    .example("192.0.2.1"),
    KeySpec::new(
        "dns",
        Type::Address,
        "A server that is asked for names; without one what dhcp says.",
    )
    .list()
    .example("192.0.2.53"),
    KeySpec::new(
        "ntp",
        Type::Host,
        "A server that is asked for the time; without one what dhcp says.",
    )
    .list()
    .example("ntp.example.net"),
    KeySpec::new(
        "ssh-port",
        Type::Int { min: 1, max: 65535 },
        "Where SSH listens, on the management address alone.",
    )
    .example("2222")
    .default(&["22"]),
];
