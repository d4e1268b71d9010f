//! Families whose samples differ in nothing but the field that they are read from.

use prometheus_client::registry::Unit;
use weir_model::{FloodCounters, Ledger, TrafficCounters};

/// A family of the ledger: its name, what it counts, and where that stands.
pub(super) type LedgerFamily = (&'static str, &'static str, fn(&Ledger) -> u64);

pub(super) const LEDGER: &[LedgerFamily] = &[
    (
        "weir_frames_received",
        "Frames taken out of receive rings.",
        |ledger| ledger.rx,
    ),
    (
        "weir_frames_originated",
        "Frames that Weir made itself.",
        |ledger| ledger.originated,
    ),
    (
        "weir_frames_handed_in",
        "Frames that other workers handed over.",
        |ledger| ledger.handed_in,
    ),
    (
        "weir_frames_transmitted",
        "Frames put into transmit rings.",
        |ledger| ledger.tx,
    ),
    (
        "weir_frames_delivered",
        "Frames given to the host's network stack.",
        |ledger| ledger.delivered,
    ),
    (
        "weir_frames_handed_out",
        "Frames handed to other workers.",
        |ledger| ledger.handed_out,
    ),
];

pub(super) type PortFamily = (
    &'static str,
    &'static str,
    Option<Unit>,
    fn(&netmap_io::PortStats) -> u64,
);

pub(super) const PORTS: &[PortFamily] = &[
    ("weir_port_received_frames", "Frames received.", None, |s| {
        s.rx_frames
    }),
    (
        "weir_port_received",
        "Bytes of received frames.",
        Some(Unit::Bytes),
        |s| s.rx_bytes,
    ),
    (
        "weir_port_transmitted_frames",
        "Frames transmitted.",
        None,
        |s| s.tx_frames,
    ),
    (
        "weir_port_transmitted",
        "Bytes of transmitted frames.",
        Some(Unit::Bytes),
        |s| s.tx_bytes,
    ),
    (
        "weir_port_receive_lost_frames",
        "Frames lost in the receive rings before Weir could see them.",
        None,
        |s| s.rx_ring_lost,
    ),
    (
        "weir_port_receive_invalid_frames",
        "Frames that the rings held and Weir could not use.",
        None,
        |s| s.rx_invalid,
    ),
    (
        "weir_port_transmit_lost_frames",
        "Frames that the device did not transmit.",
        None,
        |s| s.tx_ring_lost,
    ),
];

/// A family of services and of real servers: its name behind the object's, its unit, and whether it
/// goes down as well.
pub(super) type TrafficFamily = (
    &'static str,
    &'static str,
    Option<Unit>,
    bool,
    fn(&TrafficCounters) -> u64,
);

pub(super) const TRAFFIC: &[TrafficFamily] = &[
    ("sessions", "Sessions that exist.", None, true, |t| {
        t.sessions
    }),
    (
        "sessions_established",
        "TCP sessions that are established, or UDP sessions answered at least once.",
        None,
        true,
        |t| t.established,
    ),
    ("sessions_opened", "Sessions opened.", None, false, |t| {
        t.opened
    }),
    (
        "received_packets",
        "Packets from clients.",
        None,
        false,
        |t| t.packets_in,
    ),
    ("sent_packets", "Packets to clients.", None, false, |t| {
        t.packets_out
    }),
    (
        "received",
        "IP bytes from clients.",
        Some(Unit::Bytes),
        false,
        |t| t.bytes_in,
    ),
    (
        "sent",
        "IP bytes to clients.",
        Some(Unit::Bytes),
        false,
        |t| t.bytes_out,
    ),
];

pub(super) type FloodFamily = (&'static str, &'static str, bool, fn(&FloodCounters) -> u64);

pub(super) const FLOODS: &[FloodFamily] = &[
    ("syns", "SYNs from clients.", false, |f| f.syn_in),
    ("cookies_sent", "SYNs answered with a cookie.", false, |f| {
        f.cookie_sent
    }),
    (
        "syns_passed",
        "SYNs that were passed on, or refused for want of a real server, a port or a session.",
        false,
        |f| f.passed,
    ),
    (
        "syns_limited",
        "SYNs not answered, because their prefix was sent as many SYN-ACKs as one victim may be.",
        false,
        |f| f.limited,
    ),
    (
        "cookies_valid",
        "ACKs whose cookie was ours and in time.",
        false,
        |f| f.cookie_valid,
    ),
    (
        "cookies_bad",
        "ACKs whose cookie was not ours.",
        false,
        |f| f.cookie_bad,
    ),
    (
        "cookies_stale",
        "ACKs whose cookie was ours, but too old.",
        false,
        |f| f.cookie_stale,
    ),
    (
        "handshakes_completed",
        "Handshakes that a valid cookie began and the real server completed.",
        false,
        |f| f.completed,
    ),
    (
        "handshakes_failed",
        "Handshakes that a valid cookie began and nobody completed.",
        false,
        |f| f.failed,
    ),
    (
        "sessions_half_open",
        "Sessions that nothing has proven yet.",
        true,
        |f| f.half_open,
    ),
];
