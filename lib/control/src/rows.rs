//! The rows that `show` answers with: the JSON that programs rely on. Fields are added, never
//! renamed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use weir_model::{Counter, Counters, DropReason, Ledger, WorkerId};

use crate::rates::{LedgerRates, PortRates, TrafficRates, WorkerRates};

/// One service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceRow {
    /// Its name in the file.
    pub name: String,
    /// Where it is reached, as `ADDRESS:PORT`.
    pub listen: Vec<String>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// How packets reach the real servers.
    pub forward: String,
    /// How a real server is picked.
    pub scheduler: String,
    /// The state of its SYNPROXY.
    pub synproxy: SynproxyRow,
    /// Sessions that exist now.
    pub sessions: u64,
    /// Those of them that are not, or no longer, established.
    pub inactive: u64,
    /// Sessions opened in the last second: `opened` of `per_s`; nought where that is none.
    pub sessions_per_s: u64,
    /// Sessions opened since the daemon started.
    pub opened: u64,
    /// New sessions refused since the daemon started.
    pub refused: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// IP bytes from clients.
    pub bytes_in: u64,
    /// IP bytes to clients.
    pub bytes_out: u64,
    /// `up`, `no-quorum`, `sorry` or `all-down`: who takes its new sessions.
    pub state: String,
    /// Why it is not up.
    pub reason: Option<String>,
    /// The weight that must be up for it to be served; none where it has no quorum.
    pub quorum: Option<u64>,
    /// How many real servers it has, its sorry server aside.
    pub real_counts: RealCountsRow,
    /// What of this happened in the last second; none where it was not there for all of it.
    pub per_s: Option<TrafficRates>,
    /// The number of that second: rates of the same second add up.
    pub second: u64,
    /// Its real servers in the order of the file, and its sorry server; none where `reals` of the
    /// filter leaves them out.
    pub reals: Vec<ServiceRealRow>,
}

/// How many real servers a service has, and how they are; each is in one state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RealCountsRow {
    /// All of them.
    pub all: u64,
    /// Those that take new sessions.
    pub up: u64,
    /// Those that checks found down.
    pub down: u64,
    /// Those that are inhibited.
    pub inhibited: u64,
    /// Those with as many sessions as they may have.
    pub full: u64,
    /// Those that take no new sessions by command or by weight.
    pub drain: u64,
    /// Those that no health check looks at, in whatever state.
    pub unchecked: u64,
}

impl RealCountsRow {
    /// Counts one more.
    pub fn count(&mut self, state: &str, checked: bool) {
        let of_state = match state {
            "up" => &mut self.up,
            "down" => &mut self.down,
            "inhibited" => &mut self.inhibited,
            "full" => &mut self.full,
            "drain" => &mut self.drain,
            // A sorry server is none of them.
            _ => return,
        };
        *of_state += 1;
        self.all += 1;
        self.unchecked += u64::from(!checked);
    }
}

/// The state of a service's SYNPROXY.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SynproxyRow {
    /// `off`, `adaptive` or `always`.
    pub mode: String,
    /// Whether cookies are sent now.
    pub active: bool,
}

impl Default for SynproxyRow {
    fn default() -> Self {
        Self {
            mode: "off".to_owned(),
            active: false,
        }
    }
}

/// One real server of a service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceRealRow {
    /// Where it is reached, as `ADDRESS:PORT`.
    pub address: String,
    /// Its share of new sessions.
    pub weight: u32,
    /// `up`, `down`, `inhibited`, `drain`, `full` where a worker has as many sessions of it as it may,
    /// or `sorry` for the sorry server.
    pub state: String,
    /// Whether a health check looks at it; if not, it is taken to be up.
    pub checked: bool,
    /// What holds for it by command.
    pub by_command: Vec<String>,
    /// Established sessions.
    pub sessions: u64,
    /// Sessions that are not, or no longer, established.
    pub inactive: u64,
    /// The round-trip time in microseconds, of the handshakes of its checks; none where there are none.
    pub rtt_us: Option<u64>,
    /// Sessions opened since the daemon started.
    pub opened: u64,
    /// Packets from clients.
    pub packets_in: u64,
    /// Packets to clients.
    pub packets_out: u64,
    /// IP bytes from clients.
    pub bytes_in: u64,
    /// IP bytes to clients.
    pub bytes_out: u64,
    /// What of this happened in the second of its service; none where it was not there for all of it.
    pub per_s: Option<TrafficRates>,
}

/// One LIP pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolRow {
    /// Its name in the file.
    pub name: String,
    /// How many local addresses it has.
    pub addresses: u64,
    /// Its addresses as written.
    pub ranges: Vec<String>,
    /// Local ports of all addresses towards any one real server.
    pub ports_total: u64,
    /// Local ports in use, towards all real servers together.
    pub ports_used: u64,
    /// Its use towards each real server.
    pub reals: Vec<PoolRealRow>,
}

/// The use of a LIP pool towards one real server.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolRealRow {
    /// The real server, as `ADDRESS:PORT/PROTOCOL`.
    pub real: String,
    /// Local ports in use.
    pub used: u64,
    /// Local ports that can be taken.
    pub free: u64,
    /// Seconds until none is left at the present rate, where the use grows.
    pub exhausted_in_s: Option<u64>,
}

/// One session; one line each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionRow {
    /// The client, as `ADDRESS:PORT`.
    pub client: String,
    /// The service address that it uses.
    pub listen: String,
    /// The local address and port towards the real server.
    pub lip: String,
    /// The real server.
    pub real: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The state of the session.
    pub state: String,
    /// Seconds since it was opened.
    pub age_s: u64,
    /// Seconds since its last packet.
    pub idle_s: u64,
    /// The worker that owns it.
    pub worker: u32,
    /// The service.
    pub service: String,
}

/// One port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortRow {
    /// Its name in the file.
    pub name: String,
    /// The device.
    pub device: String,
    /// The driver that runs.
    pub driver: String,
    /// How the driver runs: `native copy`, `generic`, `TPACKET_V3`.
    pub mode: String,
    /// Why this driver was taken.
    pub reason: String,
    /// Queues in use.
    pub queues: u32,
    /// Whether the link is up.
    pub link_up: bool,
    /// Megabits per second, where the device says.
    pub speed_mbps: Option<u64>,
    /// The Ethernet address.
    pub mac: String,
    /// The largest IP packet.
    pub mtu: u32,
    /// The kernel's own addresses on it.
    pub addresses: Vec<String>,
    /// Frames received.
    pub rx: u64,
    /// Frames transmitted.
    pub tx: u64,
    /// Frames lost in the receive rings before Weir could see them.
    pub rx_ring_lost: u64,
    /// Frames that the device did not transmit.
    pub tx_ring_lost: u64,
    /// What of this happened in the last second; none before there was one.
    pub per_s: Option<PortRates>,
    /// The number of that second: rates of the same second add up.
    pub second: u64,
}

/// One worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerRow {
    /// Its number.
    pub worker: u32,
    /// The core that it is pinned to, where it is.
    pub cpu: Option<u32>,
    /// How it waits for packets.
    pub poll: String,
    /// Share of the last second that it worked, in percent.
    pub busy_percent: u32,
    /// Sessions that exist now.
    pub sessions: u64,
    /// Sessions that its table holds at most.
    pub capacity: u64,
    /// Frames received.
    pub rx: u64,
    /// Frames transmitted.
    pub tx: u64,
    /// Frames that other workers handed over.
    pub handed_in: u64,
    /// Frames handed to other workers.
    pub handed_out: u64,
    /// Frames dropped for any reason.
    pub dropped: u64,
    /// Whether every frame of its ledger is accounted for.
    pub balanced: bool,
    /// What of this happened in the last second; none before there was one.
    pub per_s: Option<WorkerRates>,
    /// The number of that second: rates of the same second add up.
    pub second: u64,
}

/// The ledger of the appliance with those of its workers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerReply {
    /// The sum.
    #[serde(flatten)]
    pub total: WorkerLedger,
    /// Each worker's, in the order of their numbers.
    pub workers: Vec<WorkerLedger>,
    /// The number of the second that the rates are of: rates of the same second add up.
    pub second: u64,
}

/// A ledger: of one worker, or the sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerLedger {
    /// The worker; none for the sum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<u32>,
    /// Frames taken out of receive rings.
    pub rx: u64,
    /// Frames that Weir made itself.
    pub originated: u64,
    /// Frames that other workers handed over.
    pub handed_in: u64,
    /// Frames put into transmit rings.
    pub tx: u64,
    /// Frames given to the host's network stack.
    pub delivered: u64,
    /// Frames that wait for a neighbour right now.
    pub held: u64,
    /// Frames handed to other workers.
    pub handed_out: u64,
    /// Frames dropped, by reason; every reason is there.
    pub dropped: BTreeMap<String, u64>,
    /// Whether every frame is accounted for.
    pub balanced: bool,
    /// The counters beside the ledger, by name; every counter is there.
    pub counters: BTreeMap<String, u64>,
    /// What of this happened in the last second; none before there was one.
    pub per_s: Option<LedgerRates>,
}

impl LedgerReply {
    /// Makes the reply from what the workers published. The sum is balanced only if each worker's
    /// ledger is.
    #[must_use]
    pub fn new(workers: &[(WorkerId, Ledger, Counters)]) -> Self {
        let mut ledger = Ledger::default();
        let mut counters = Counters::default();
        for (_, of_worker, counters_of_worker) in workers {
            ledger.add(of_worker);
            counters.add(counters_of_worker);
        }
        let rows: Vec<WorkerLedger> = workers
            .iter()
            .map(|(id, ledger, counters)| WorkerLedger::new(Some(*id), ledger, counters))
            .collect();
        let mut total = WorkerLedger::new(None, &ledger, &counters);
        total.balanced &= rows.iter().all(|w| w.balanced);
        Self {
            total,
            workers: rows,
            second: 0,
        }
    }

    /// Says beside the counts what a second added to them.
    #[must_use]
    pub fn in_second(mut self, second: u64, total: &LedgerRates, workers: &[LedgerRates]) -> Self {
        self.second = second;
        self.total.per_s = Some(total.clone());
        for (row, rates) in self.workers.iter_mut().zip(workers) {
            row.per_s = Some(rates.clone());
        }
        self
    }
}

impl WorkerLedger {
    /// Makes the row from a published ledger and its counters.
    #[must_use]
    pub fn new(worker: Option<WorkerId>, ledger: &Ledger, counters: &Counters) -> Self {
        Self {
            worker: worker.map(|id| u32::from(id.0)),
            rx: ledger.rx,
            originated: ledger.originated,
            handed_in: ledger.handed_in,
            tx: ledger.tx,
            delivered: ledger.delivered,
            held: ledger.held,
            handed_out: ledger.handed_out,
            dropped: DropReason::ALL
                .iter()
                .map(|reason| (reason.label().to_owned(), ledger.dropped(*reason)))
                .collect(),
            balanced: ledger.balanced(),
            counters: Counter::ALL
                .iter()
                .map(|counter| (counter.label().to_owned(), counters.get(*counter)))
                .collect(),
            per_s: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(value: &serde_json::Value) -> Vec<&str> {
        value
            .as_object()
            .map(|object| object.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    #[test]
    fn every_field_that_the_contract_names_is_in_the_json() {
        let service = serde_json::to_value(ServiceRow {
            reals: vec![ServiceRealRow::default()],
            ..ServiceRow::default()
        })
        .unwrap();
        for key in [
            "name",
            "listen",
            "protocol",
            "forward",
            "scheduler",
            "synproxy",
            "sessions",
            "sessions_per_s",
            "reals",
        ] {
            assert!(keys(&service).contains(&key), "{key}");
        }
        assert_eq!(
            service["synproxy"],
            serde_json::json!({"mode": "off", "active": false})
        );
        for key in [
            "address", "weight", "state", "sessions", "inactive", "rtt_us",
        ] {
            assert!(keys(&service["reals"][0]).contains(&key), "{key}");
        }

        let pool = serde_json::to_value(PoolRow {
            reals: vec![PoolRealRow::default()],
            ..PoolRow::default()
        })
        .unwrap();
        for key in ["name", "addresses", "ports_total", "ports_used", "reals"] {
            assert!(keys(&pool).contains(&key), "{key}");
        }
        for key in ["real", "used", "free", "exhausted_in_s"] {
            assert!(keys(&pool["reals"][0]).contains(&key), "{key}");
        }

        let session = serde_json::to_value(SessionRow::default()).unwrap();
        for key in [
            "client", "listen", "lip", "real", "protocol", "state", "age_s", "idle_s", "worker",
        ] {
            assert!(keys(&session).contains(&key), "{key}");
        }
    }

    #[test]
    fn one_unbalanced_worker_makes_the_sum_unbalanced_even_if_another_hides_it() {
        let lost = Ledger {
            rx: 2,
            tx: 1,
            ..Ledger::default()
        };
        let made = Ledger {
            rx: 1,
            tx: 2,
            ..Ledger::default()
        };
        let counters = Counters::default();
        let reply =
            LedgerReply::new(&[(WorkerId(0), lost, counters), (WorkerId(1), made, counters)]);
        assert_eq!((reply.total.rx, reply.total.tx), (3, 3));
        assert!(!reply.total.balanced);
    }

    #[test]
    fn the_ledger_reads_back_what_it_wrote() {
        let mut ledger = Ledger {
            rx: 5,
            tx: 4,
            ..Ledger::default()
        };
        ledger.drop(DropReason::NoRoute);
        let mut counters = Counters::default();
        counters.count(Counter::SessionOpened);
        let reply = LedgerReply::new(&[(WorkerId(3), ledger, counters)]);
        let text = serde_json::to_string(&reply).unwrap();
        assert!(text.starts_with("{\"rx\":5,"), "{text}");
        assert_eq!(serde_json::from_str::<LedgerReply>(&text).unwrap(), reply);
        assert_eq!(reply.total.dropped["no-route"], 1);
        assert_eq!(reply.workers[0].worker, Some(3));
        assert!(reply.total.balanced);
    }
}
