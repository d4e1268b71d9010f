//! What a daemon says, as lines of the protocol: made of the protocol's own types, so that the
//! answers cannot drift from those of a daemon.

use std::time::Duration;

use weir_control::{
    AlarmRow, AppliedRow, CapacityRow, ChangeRow, ClientRow, EventRow, ExplainRow, Filter,
    FingerprintRow, FloodRow, GenerationRow, Greeting, HealthRow, HistoryRow, IdentityRow,
    LearnedRow, LedgerReply, OverrideRow, PoolRealRow, PoolRow, PortRow, Reply, Request, Role,
    ServiceRealRow, ServiceRow, SessionRow, SourceRow, StatusRow, SynproxyRow, SyslogRow,
    ValueChange, What, WorkerLedger, WorkerRow,
};

use crate::model::data::Answer;
use crate::update::Message;

/// How the appliance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing is wrong.
    Calm,
    /// `web-tls` is flooded with SYNs.
    Flood,
    /// Real servers of three services do not answer.
    Down,
    /// A pool has hardly a port left.
    Exhausted,
    /// The daemon went away some seconds ago.
    Lost,
}

impl State {
    /// All, with the names that snapshots have.
    pub(crate) const ALL: [(Self, &'static str); 5] = [
        (Self::Calm, "calm"),
        (Self::Flood, "flood"),
        (Self::Down, "down"),
        (Self::Exhausted, "exhausted"),
        (Self::Lost, "lost"),
    ];
}

/// The time there when the first answer comes: 2026-11-22T12:04:27Z.
pub(crate) const BEGIN: u64 = 1_795_349_067;

/// A daemon, some seconds after the first answer: counters go on as the rates say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Daemon {
    pub(crate) state: State,
    pub(crate) second: u64,
    /// Seconds that are left of a configuration that runs on trial.
    pub(crate) trial: Option<u64>,
}

/// What a real server is made of.
struct Server {
    address: &'static str,
    weight: u32,
    state: &'static str,
    sessions: u64,
    new: u64,
}

/// What a service is made of.
struct Design {
    name: &'static str,
    listen: &'static [&'static str],
    protocol: &'static str,
    scheduler: &'static str,
    mode: &'static str,
    refused: u64,
    state: &'static str,
    reason: Option<&'static str>,
    servers: Vec<Server>,
}

impl Daemon {
    /// Returns the greeting.
    pub(crate) fn greeting(role: Role) -> Greeting {
        Greeting::new(role, "0.1.0", "lb1.dc2")
    }

    /// Returns who asks.
    pub(crate) fn identity(role: Role) -> IdentityRow {
        IdentityRow {
            name: "anna".to_owned(),
            from: "ssh 192.0.2.7".to_owned(),
            account: "ops".to_owned(),
            role: role.name().to_owned(),
        }
    }

    /// Returns the lines of an answer.
    pub(crate) fn lines(self, what: What, filter: &Filter) -> Vec<String> {
        fn rows<T: serde::Serialize>(what: What, rows: &[T]) -> Vec<String> {
            let lines = rows.iter().map(|row| Reply::row(what, row).to_line());
            lines
                .chain([Reply::done(rows.len() as u64).to_line()])
                .collect()
        }
        let wanted = |service: &str| filter.service.as_ref().is_none_or(|name| name == service);
        match what {
            What::Services => rows(what, &self.services()),
            What::Status => rows(what, &[self.status()]),
            What::Pools => rows(what, &self.pools()),
            What::Sessions => rows(what, &self.sessions(filter)),
            What::Ports => rows(what, &self.ports()),
            What::Workers => rows(what, &self.workers()),
            What::Ledger => rows(what, &[self.ledger()]),
            What::Flood => {
                let floods = self.floods().into_iter();
                let floods: Vec<_> = floods.filter(|row| wanted(&row.service)).collect();
                rows(what, &floods)
            }
            What::Health => {
                let health = self.health().into_iter();
                let health: Vec<_> = health.filter(|row| wanted(&row.service)).collect();
                rows(what, &health)
            }
            What::Events => rows(what, &self.events()),
            What::Config => rows(what, &CONFIG.lines().collect::<Vec<_>>()),
            What::Generations => rows(what, &generations(self.trial.is_some())),
            What::Syslog => rows(what, &[syslog()]),
            What::History => rows(what, &self.history(filter)),
            What::Overrides => rows(what, &self.overrides()),
        }
    }

    /// Returns an answer as the link tells it.
    pub(crate) fn told(self, what: What, filter: Filter, at: Duration) -> Message {
        let lines = self.lines(what, &filter);
        let rows = lines.iter().filter_map(|line| {
            let reply: Reply = serde_json::from_str(line).unwrap();
            reply.row
        });
        Message::Told {
            what,
            answer: Answer::read(what, rows.collect()),
            filter,
            at,
            took: Duration::from_millis(2),
        }
    }

    fn flooded(self) -> bool {
        self.state == State::Flood
    }

    /// A number that goes up and down a little, so that each second's differs.
    fn sway(self, value: u64, salt: u64) -> u64 {
        let step = (self.second * 7 + salt * 3) % 11;
        value + value * step / 100
    }

    #[expect(clippy::too_many_lines, reason = "it is a table")]
    fn designs(self) -> Vec<Design> {
        let down = self.state == State::Down;
        let dead = if down { "down" } else { "up" };
        let full = self.state == State::Exhausted;
        vec![
            Design {
                name: "web-tls",
                listen: &["203.0.113.10:443"],
                protocol: "tcp",
                scheduler: "wlc",
                mode: "adaptive",
                refused: match self.state {
                    State::Exhausted => 1_940,
                    State::Calm | State::Flood | State::Down | State::Lost => 0,
                },
                state: "up",
                reason: None,
                servers: vec![
                    server("10.0.1.11:443", 3, "up", 518_700, 12_200),
                    server(
                        "10.0.1.12:443",
                        3,
                        dead,
                        if down { 0 } else { 517_300 },
                        if down { 0 } else { 12_100 },
                    ),
                    server("10.0.1.13:443", 1, "drain", 172_000, 0),
                ],
            },
            Design {
                name: "web",
                listen: &["203.0.113.10:80", "203.0.113.11:80"],
                protocol: "tcp",
                scheduler: "wlc",
                mode: "adaptive",
                refused: 0,
                state: "up",
                reason: None,
                servers: vec![
                    server("10.0.1.11:80", 1, "up", 29_400, 3_200),
                    server("10.0.1.12:80", 1, "up", 29_300, 3_200),
                    server("10.0.1.13:80", 1, "up", 29_400, 3_200),
                ],
            },
            Design {
                name: "mail",
                listen: &["203.0.113.25:25"],
                protocol: "tcp",
                scheduler: "rr",
                mode: "off",
                refused: if full { 12 } else { 0 },
                state: if down { "sorry" } else { "up" },
                reason: down
                    .then_some("no real server is up: its sorry server 10.0.9.1:25 answers"),
                servers: vec![
                    server(
                        "10.0.2.21:25",
                        1,
                        dead,
                        if down { 0 } else { 2_100 },
                        if down { 0 } else { 160 },
                    ),
                    server(
                        "10.0.2.22:25",
                        1,
                        dead,
                        if down { 0 } else { 1_900 },
                        if down { 0 } else { 150 },
                    ),
                    server(
                        "10.0.9.1:25",
                        1,
                        "sorry",
                        if down { 840 } else { 0 },
                        if down { 310 } else { 0 },
                    ),
                ],
            },
            Design {
                name: "dns",
                listen: &["203.0.113.53:53"],
                protocol: "udp",
                scheduler: "rr",
                mode: "off",
                refused: 0,
                state: "up",
                reason: None,
                servers: vec![
                    server("10.0.3.31:53", 1, "up", 105_200, 1_450),
                    server("10.0.3.32:53", 1, "up", 105_200, 1_450),
                ],
            },
            Design {
                name: "vpn",
                listen: &["203.0.113.60:443"],
                protocol: "tcp",
                scheduler: "maglev",
                mode: "always",
                refused: if down { 41 } else { 0 },
                state: if down { "all-down" } else { "up" },
                reason: down.then_some("no real server is up and it has no sorry server"),
                servers: vec![
                    server(
                        "10.0.4.41:443",
                        1,
                        dead,
                        if down { 0 } else { 310 },
                        if down { 0 } else { 3 },
                    ),
                    server(
                        "10.0.4.42:443",
                        1,
                        dead,
                        if down { 0 } else { 298 },
                        if down { 0 } else { 2 },
                    ),
                ],
            },
        ]
    }

    fn services(self) -> Vec<ServiceRow> {
        let designs = self.designs().into_iter().enumerate();
        designs
            .map(|(place, design)| self.service(place as u64, &design))
            .collect()
    }

    fn service(self, place: u64, design: &Design) -> ServiceRow {
        let reals: Vec<ServiceRealRow> = design
            .servers
            .iter()
            .enumerate()
            .map(|(at, server)| self.real(place * 10 + at as u64, server))
            .collect();
        let sum = |pick: fn(&ServiceRealRow) -> u64| reals.iter().map(pick).sum::<u64>();
        let new: u64 = design.servers.iter().map(|server| server.new).sum();
        ServiceRow {
            name: design.name.to_owned(),
            listen: design.listen.iter().map(|at| (*at).to_owned()).collect(),
            protocol: design.protocol.to_owned(),
            forward: "fullnat".to_owned(),
            scheduler: design.scheduler.to_owned(),
            synproxy: SynproxyRow {
                mode: design.mode.to_owned(),
                active: design.mode == "always" || (place == 0 && self.flooded()),
            },
            sessions: sum(|real| real.sessions + real.inactive),
            inactive: sum(|real| real.inactive),
            sessions_per_s: new,
            opened: sum(|real| real.opened),
            refused: self.sway(design.refused, place) * self.second,
            packets_in: sum(|real| real.packets_in),
            packets_out: sum(|real| real.packets_out),
            bytes_in: sum(|real| real.bytes_in),
            bytes_out: sum(|real| real.bytes_out),
            state: design.state.to_owned(),
            reason: design.reason.map(str::to_owned),
            reals,
        }
    }

    fn real(self, salt: u64, server: &Server) -> ServiceRealRow {
        let sessions = self.sway(server.sessions, salt);
        let packets = self.sway(server.sessions * 3, salt) * self.second;
        let drained = server.state == "drain";
        ServiceRealRow {
            address: server.address.to_owned(),
            weight: server.weight,
            state: server.state.to_owned(),
            checked: true,
            by_command: if drained {
                vec!["drained since 12:00:21 by otto (ssh 192.0.2.8)".to_owned()]
            } else {
                Vec::new()
            },
            sessions: sessions - sessions / 20,
            inactive: sessions / 20,
            opened: self.sway(server.new, salt) * self.second,
            packets_in: packets,
            packets_out: packets - packets / 5,
            bytes_in: packets * 90,
            bytes_out: packets * 700,
            ..ServiceRealRow::default()
        }
    }

    fn status(self) -> StatusRow {
        let services = self.services();
        let reals = || services.iter().flat_map(|service| &service.reals);
        let count = |state: &str| reals().filter(|real| real.state == state).count() as u64;
        let alarms = self.alarms();
        let packets: u64 = services.iter().map(|service| service.packets_in).sum();
        let per_s = packets as f64 / self.second.max(1) as f64;
        let syns = if self.flooded() { 3_720_000 } else { 41_000 };
        StatusRow {
            node: "lb1.dc2".to_owned(),
            version: "0.1.0".to_owned(),
            now: at(BEGIN + self.second),
            uptime_s: 1_048_000 + self.second,
            generation: if self.trial.is_some() { 119 } else { 118 },
            confirm_within_s: self.trial,
            sessions: services.iter().map(|service| service.sessions).sum(),
            capacity: 12_000_000,
            sessions_per_s: Some(services.iter().map(|it| it.sessions_per_s).sum::<u64>() as f64),
            syn_per_s: Some(self.sway(syns, 3) as f64),
            refused_per_s: Some(0.0),
            dropped_per_s: Some(if self.flooded() { 312_000.0 } else { 14.0 }),
            packets_in_per_s: Some(per_s + if self.flooded() { syns as f64 } else { 0.0 }),
            packets_out_per_s: Some(per_s * 0.8),
            bits_in_per_s: Some(per_s * 720.0),
            bits_out_per_s: Some(per_s * 5600.0),
            balanced: true,
            busy_percent: self.sway(if self.flooded() { 71 } else { 34 }, 1) as u32,
            services: services.len() as u64,
            services_up: services.iter().filter(|it| it.state == "up").count() as u64,
            reals: reals().filter(|real| real.state != "sorry").count() as u64,
            reals_down: count("down"),
            reals_draining: count("drain"),
            floods: u64::from(self.flooded()),
            alarms: alarms.len() as u64,
            alarm_list: alarms,
            clients: vec![
                client("anna", "ssh 192.0.2.7", true),
                client("otto", "ssh 192.0.2.8", false),
            ],
            ..StatusRow::default()
        }
    }

    fn alarms(self) -> Vec<AlarmRow> {
        let alarm = |severity: &str, object: &str, text: &str| AlarmRow {
            severity: severity.to_owned(),
            object: object.to_owned(),
            text: text.to_owned(),
        };
        match self.state {
            State::Calm | State::Lost => Vec::new(),
            State::Flood => vec![alarm("warning", "web-tls", "web-tls is flooded with SYNs")],
            State::Down => vec![
                alarm("error", "vpn", "vpn has no real server"),
                alarm("warning", "mail", "mail is served by its sorry server"),
                alarm(
                    "warning",
                    "web-tls",
                    "1 of 3 real servers of web-tls is down",
                ),
            ],
            State::Exhausted => vec![alarm(
                "error",
                "blue",
                "pool blue has 1% of its ports left towards 10.0.1.11:443",
            )],
        }
    }

    fn pools(self) -> Vec<PoolRow> {
        let total = 24 * 64_511;
        let full = self.state == State::Exhausted;
        let real = |address: &str, used: u64, salt: u64| {
            // What fills up grows by so many ports a second.
            let grows = if full && used > total / 2 { 160 } else { 0 };
            let used = if grows > 0 {
                used + grows * self.second
            } else {
                self.sway(used, salt)
            };
            let free = total.saturating_sub(used);
            PoolRealRow {
                real: address.to_owned(),
                used: total - free,
                free,
                exhausted_in_s: free.checked_div(grows),
            }
        };
        let (most, some) = if full {
            (1_532_000, 1_410_000)
        } else {
            (518_700, 517_300)
        };
        let reals = vec![
            real("10.0.1.11:443/tcp", most, 40),
            real("10.0.1.12:443/tcp", some, 41),
            real("10.0.1.13:443/tcp", 172_000, 42),
            real("10.0.1.11:80/tcp", 29_400, 43),
            real("10.0.2.21:25/tcp", 2_100, 44),
        ];
        let dns = vec![
            real("10.0.3.31:53/udp", 105_200, 45),
            real("10.0.3.32:53/udp", 105_200, 46),
        ];
        let used = |reals: &[PoolRealRow]| reals.iter().map(|real| real.used).sum();
        vec![
            PoolRow {
                name: "blue".to_owned(),
                addresses: 24,
                ranges: vec!["10.0.0.10-10.0.0.33".to_owned()],
                ports_total: total,
                ports_used: used(&reals),
                reals,
            },
            PoolRow {
                name: "green".to_owned(),
                addresses: 24,
                ranges: vec!["10.0.0.40-10.0.0.63".to_owned()],
                ports_total: total,
                ports_used: used(&dns),
                reals: dns,
            },
        ]
    }

    fn sessions(self, filter: &Filter) -> Vec<SessionRow> {
        let states = ["established", "syn-recv", "fin-wait", "established"];
        // During a flood there are more than anybody is told.
        let count = if self.flooded() { 5_000 } else { 40u64 };
        let rows = (0..count).map(|n| {
            let is_dns = n % 8 == 5;
            let pick = |tcp: &'static str, udp: &'static str| if is_dns { udp } else { tcp };
            let state = states.get((n % 4) as usize).copied().unwrap_or_default();
            let real = if is_dns {
                format!("10.0.3.{}:53", 31 + n % 2)
            } else {
                format!("10.0.1.{}:443", 11 + n % 3)
            };
            SessionRow {
                client: format!("198.51.100.{}:{}", 10 + n % 200, 40_000 + n * 17 % 20_000),
                listen: pick("203.0.113.10:443", "203.0.113.53:53").to_owned(),
                lip: format!("10.0.0.{}:{}", 10 + n % 24, 1_024 + n * 311 % 60_000),
                real,
                protocol: pick("tcp", "udp").to_owned(),
                state: pick(state, "flowing").to_owned(),
                age_s: n * 37 + self.second,
                idle_s: n % 13 + self.second % 3,
                worker: (n % 4) as u32,
                service: pick("web-tls", "dns").to_owned(),
            }
        });
        let wanted = |row: &SessionRow| {
            let client: Option<std::net::SocketAddr> = row.client.parse().ok();
            filter
                .service
                .as_ref()
                .is_none_or(|name| *name == row.service)
                && filter
                    .client
                    .is_none_or(|ip| client.is_some_and(|client| client.ip() == ip))
        };
        let limit = filter.limit.map_or(usize::MAX, |limit| limit as usize);
        rows.filter(wanted).take(limit).collect()
    }

    /// Returns the rows that answer a request of an operator.
    pub(crate) fn reply(self, request: &Request) -> Result<Vec<serde_json::Value>, String> {
        match request {
            Request::Explain(_) => Ok(values(&explained())),
            Request::Diff { texts } => {
                let text = texts.first().map_or("", |one| &one.text);
                if let Some(report) = report(text) {
                    return Err(format!("{report} (8007)"));
                }
                Ok(values(&self.changes(text)))
            }
            Request::Apply { confirm_ms, .. } => Ok(values(&[AppliedRow {
                generation: 119,
                summary: "1 service changed".to_owned(),
                confirm_within_s: confirm_ms.map(|ms| ms / 1000),
                ..AppliedRow::default()
            }])),
            Request::Confirm {} | Request::Rollback { .. } => Ok(values(&[AppliedRow {
                generation: if matches!(request, Request::Confirm {}) {
                    119
                } else {
                    118
                },
                ..AppliedRow::default()
            }])),
            other @ (Request::Show { .. }
            | Request::Hello(_)
            | Request::Doctor {}
            | Request::Capture(_)
            | Request::Maintenance { .. }
            | Request::Synproxy { .. }
            | Request::Deny { .. }
            | Request::Drain { .. }
            | Request::Enable { .. }
            | Request::Weight { .. }
            | Request::Draining { .. }) => {
                Err(format!("`{}` is not answered here (8003)", other.name()))
            }
        }
    }

    fn changes(self, text: &str) -> Vec<ChangeRow> {
        let services = self.services();
        let sessions = services.first().map(|service| service.sessions);
        let mut rows = Vec::new();
        if !text.contains("[service web-tls]") {
            rows.push(ChangeRow {
                object: "[service web-tls]".to_owned(),
                change: "removed".to_owned(),
                effect: "its sessions are reset with their next packet".to_owned(),
                sessions,
                values: Vec::new(),
            });
        } else if text.contains("10.0.1.14:443") {
            rows.push(ChangeRow {
                object: "[service web-tls]".to_owned(),
                change: "changed".to_owned(),
                sessions,
                values: vec![ValueChange {
                    key: "real".to_owned(),
                    before: None,
                    after: Some("10.0.1.14:443 weight=2".to_owned()),
                    effect: "for new sessions; those that are open go on".to_owned(),
                }],
                ..ChangeRow::default()
            });
        }
        rows
    }

    /// What a counter has that counts so many a second, a little more or less.
    fn grown(self, value: u64, salt: u64) -> u64 {
        let seconds = 1..=self.second;
        seconds
            .map(|second| Self { second, ..self }.sway(value, salt))
            .sum()
    }

    /// Frames that each port received, and those of all that were dropped.
    fn frames(self) -> ([u64; 2], Vec<(&'static str, u64)>) {
        let flood = if self.flooded() { 3_720_000 } else { 0 };
        let received = [
            41_000_000_000 + self.grown(2_600_000, 50) + flood * self.second,
            39_000_000_000 + self.grown(2_100_000, 51),
        ];
        let when = |is_so: bool, per_s: u64| if is_so { per_s * self.second } else { 0 };
        let dropped = vec![
            ("no-service", 3_201_133 + self.grown(12, 52)),
            ("bad-checksum", 118 + self.grown(2, 53)),
            ("lip-exhausted", when(self.state == State::Exhausted, 1_952)),
            ("reflection-guard", when(self.flooded(), 310_000)),
        ];
        (received, dropped)
    }

    fn ports(self) -> Vec<PortRow> {
        let (received, dropped) = self.frames();
        let dropped: u64 = dropped.iter().map(|(_, frames)| frames).sum();
        let port = |name: &str, device: &str, rx: u64, tx: u64, lost: u64| PortRow {
            name: name.to_owned(),
            device: device.to_owned(),
            driver: "af-xdp".to_owned(),
            mode: "native zero-copy".to_owned(),
            reason: "the device offers it".to_owned(),
            queues: 4,
            link_up: true,
            speed_mbps: Some(25_000),
            mac: "02:00:5e:00:53:01".to_owned(),
            mtu: 1500,
            addresses: vec!["198.51.100.2/24".to_owned()],
            rx,
            tx,
            rx_ring_lost: lost * self.second,
            tx_ring_lost: 0,
        };
        let [wan, lan] = received;
        let lost = if self.flooded() { 1_200 } else { 0 };
        vec![
            port("wan", "ens1f0", wan, wan - dropped, lost),
            port("lan", "ens1f1", lan, lan, 0),
        ]
    }

    fn workers(self) -> Vec<WorkerRow> {
        let busy = if self.flooded() { 71 } else { 34 };
        let ledger = self.ledger();
        let ledgers = ledger.workers.iter().zip(0u64..);
        ledgers
            .map(|(ledger, n)| WorkerRow {
                worker: n as u32,
                cpu: Some(2 + n as u32),
                poll: "adaptive".to_owned(),
                busy_percent: self.sway(busy - n, n) as u32,
                sessions: self.sway(377_000, 60 + n),
                capacity: 3_000_000,
                rx: ledger.rx,
                tx: ledger.tx,
                handed_in: 0,
                handed_out: 0,
                dropped: ledger.dropped.values().sum(),
                balanced: true,
            })
            .collect()
    }

    fn ledger(self) -> LedgerReply {
        let (received, dropped) = self.frames();
        let rx: u64 = received.iter().sum();
        // A part of four; the first has what is left over.
        let part = |all: u64, worker: Option<u32>| match worker {
            None => all,
            Some(0) => all / 4 + all % 4,
            Some(_) => all / 4,
        };
        let one = |worker: Option<u32>| {
            let dropped: Vec<(String, u64)> = dropped
                .iter()
                .map(|(reason, frames)| ((*reason).to_owned(), part(*frames, worker)))
                .collect();
            let lost: u64 = dropped.iter().map(|(_, frames)| frames).sum();
            let rx = part(rx, worker);
            let counter =
                |name: &str, per_s: u64| (name.to_owned(), part(self.grown(per_s, 54), worker));
            let moved = if self.state == State::Exhausted {
                640
            } else {
                0
            };
            WorkerLedger {
                worker,
                rx,
                tx: rx - lost,
                dropped: dropped.into_iter().collect(),
                balanced: true,
                counters: [
                    counter("session-opened", 40_000),
                    counter("lip-fell-back", moved),
                    counter("port-reused-early", 0),
                ]
                .into(),
                ..WorkerLedger::default()
            }
        };
        LedgerReply {
            total: one(None),
            workers: (0..4).map(|worker| one(Some(worker))).collect(),
        }
    }

    fn floods(self) -> Vec<FloodRow> {
        let designs = self.designs().into_iter().enumerate();
        designs
            .filter(|(_, design)| design.protocol == "tcp")
            .map(|(place, design)| self.flood(place as u64, &design))
            .collect()
    }

    fn flood(self, place: u64, design: &Design) -> FloodRow {
        let flooded = place == 0 && self.flooded();
        let active = flooded || design.mode == "always";
        let new: u64 = design.servers.iter().map(|server| server.new).sum();
        let limited = if flooded { 310_000 * self.second } else { 0 };
        let cookies = if flooded { 3_410_000 * self.second } else { 0 };
        let cookies = if design.mode == "always" {
            new * self.second
        } else {
            cookies
        };
        let passed = if active { 0 } else { new * self.second };
        let valid = if active { new * self.second } else { 0 };
        let source = |prefix: &str, syn_per_s: u64| SourceRow {
            prefix: prefix.to_owned(),
            syn_per_s: self.sway(syn_per_s, 70),
        };
        let print = |fingerprint: &str, syn_per_s: u64| FingerprintRow {
            fingerprint: fingerprint.to_owned(),
            syn_per_s: self.sway(syn_per_s, 71),
        };
        FloodRow {
            service: design.name.to_owned(),
            mode: design.mode.to_owned(),
            active,
            since: active.then(|| at(BEGIN - 389)),
            active_s: active.then_some(389 + self.second),
            syn_in: cookies + passed + limited,
            cookie_sent: cookies,
            passed,
            limited,
            cookie_valid: valid,
            cookie_bad: if flooded { 2_200 * self.second } else { 0 },
            cookie_stale: if flooded { 14 * self.second } else { 0 },
            completed: valid - valid / 1000,
            failed: valid / 1000,
            success_percent: active.then_some(99.9),
            p99_us: active.then_some(1_536),
            half_open: if active { 210 } else { 0 },
            syn_per_s: self.sway(if flooded { 3_720_000 } else { new }, place),
            peak_syn_per_s: active.then_some(if flooded { 3_890_000 } else { new + 2 }),
            false_accept: "2^-23".to_owned(),
            top_sources: if flooded {
                vec![
                    source("198.51.100.0/24", 402_000),
                    source("192.0.2.0/24", 399_000),
                    source("203.0.113.0/24", 120_000),
                ]
            } else {
                Vec::new()
            },
            top_fingerprints: if flooded {
                vec![
                    print("win 1024 mss 1460 ttl<=255", 2_650_000),
                    print("win 0 no options ttl<=64", 703_000),
                ]
            } else {
                Vec::new()
            },
            capacity: CapacityRow {
                syn_per_s: Some(12_100_000),
                measured: Some("2026-11-20T09:00:00Z".to_owned()),
                used_percent: Some(if self.flooded() { 30.7 } else { 0.3 }),
                note: None,
                workers: 4,
                busy_percent: if self.flooded() { 71 } else { 34 },
            },
        }
    }

    fn health(self) -> Vec<HealthRow> {
        let mut rows = Vec::new();
        for design in self.designs() {
            for server in &design.servers {
                let is_down = server.state == "down";
                rows.push(HealthRow {
                    service: design.name.to_owned(),
                    service_state: design.state.to_owned(),
                    service_reason: design.reason.map(str::to_owned),
                    check: Some("tcp".to_owned()),
                    real: server.address.to_owned(),
                    state: if is_down { "down" } else { "up" }.to_owned(),
                    since: at(if is_down { BEGIN - 97 } else { BEGIN - 273_600 }),
                    last_error: is_down.then(|| "no answer within 2s, 3 times in a row".to_owned()),
                    learned: (design.protocol == "tcp").then_some(LearnedRow {
                        mss: 1460,
                        wscale: Some(7),
                        sack: true,
                        timestamps: true,
                    }),
                });
            }
        }
        rows
    }

    fn events(self) -> Vec<EventRow> {
        let event = |ago: u64, severity: &str, code: &str, text: &str| EventRow {
            at: format!("{}.123Z", at(BEGIN - ago).trim_end_matches('Z')),
            code: code.to_owned(),
            class: "system".to_owned(),
            severity: severity.to_owned(),
            text: text.to_owned(),
            ..EventRow::default()
        };
        let mut events = vec![
            event(
                1_048_000,
                "notice",
                "started",
                "weir 0.1.0 runs on configuration 117",
            ),
            event(
                86_400,
                "notice",
                "applied",
                "configuration 118 runs: 1 service added, 0 removed",
            ),
            event(
                246,
                "notice",
                "drained",
                "10.0.1.13:443 of web-tls is drained by otto (ssh 192.0.2.8)",
            ),
        ];
        events.extend(match self.state {
            State::Calm | State::Lost => Vec::new(),
            State::Flood => vec![event(
                389,
                "warning",
                "flood-began",
                "web-tls answers SYNs with cookies: 3.2M SYN/s",
            )],
            State::Down => vec![
                event(
                    97,
                    "warning",
                    "real-down",
                    "real server 10.0.1.12:443 of web-tls is down: no answer within 2s",
                ),
                event(
                    96,
                    "error",
                    "service-down",
                    "service vpn has no real server",
                ),
            ],
            State::Exhausted => vec![event(
                31,
                "error",
                "pool-short",
                "pool blue has 1% of its ports left towards 10.0.1.11:443/tcp",
            )],
        });
        for (place, event) in events.iter_mut().enumerate() {
            event.sequence = place as u64 + 1;
            if event.code == "drained" {
                event.class = "operator".to_owned();
                let facts = [
                    ("by", "otto"),
                    ("from", "ssh 192.0.2.8"),
                    ("generation", "118"),
                    ("real", "10.0.1.13:443"),
                    ("service", "web-tls"),
                ];
                let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned()));
                event.fields = facts.into();
            }
            if event.code == "pool-short" {
                // Some were lost on the way, and some that were alike not said.
                event.sequence += 17;
                event.suppressed = 17;
            }
        }
        events
    }

    fn history(self, filter: &Filter) -> Vec<HistoryRow> {
        let seconds = filter.seconds.unwrap_or(600);
        let step = if seconds > 600 { 60 } else { 1 };
        let count = seconds / step;
        (0..count)
            .map(|n| {
                let ago = (count - n) * step;
                let flood = if self.flooded() && ago < 389 {
                    3_700_000.0
                } else {
                    0.0
                };
                let wave = ((n + self.second) % 17) as f64 / 17.0;
                HistoryRow {
                    at: at(BEGIN + self.second - ago),
                    step_s: step,
                    service: filter.service.clone(),
                    syn_per_s: 41_000.0 + flood * (0.9 + wave / 10.0),
                    sessions_per_s: 41_000.0 + 900.0 * wave,
                    packets_in_per_s: 3_900_000.0 + flood,
                    packets_out_per_s: 3_800_000.0,
                    bits_in_per_s: 2.8e9,
                    bits_out_per_s: 2.1e10,
                    refused_per_s: 0.0,
                    dropped_per_s: if flood > 0.0 {
                        [("reflection-guard".to_owned(), 310_000.0)].into()
                    } else {
                        [("no-service".to_owned(), 12.0 + wave)].into()
                    },
                }
            })
            .collect()
    }

    fn overrides(self) -> Vec<OverrideRow> {
        if !self.flooded() {
            return Vec::new();
        }
        vec![OverrideRow {
            setting: "synproxy".to_owned(),
            object: "vpn".to_owned(),
            value: "always".to_owned(),
            configured: "adaptive".to_owned(),
            by: "otto (ssh 192.0.2.8, account ops)".to_owned(),
            since: at(BEGIN - 900),
            until: None,
        }]
    }
}

const CONFIG: &str = "\
[node]
name = lb1.dc2

[port wan]
device = ens1f0
address = 198.51.100.2/24

[pool blue]
addresses = 10.0.0.10-10.0.0.33

[service web-tls]
listen = 203.0.113.10:443
protocol = tcp
scheduler = wlc
real = 10.0.1.11:443 weight=3
real = 10.0.1.12:443 weight=3
real = 10.0.1.13:443 weight=1
check = tcp
synproxy = adaptive";

fn generations(has_trial: bool) -> Vec<GenerationRow> {
    let row = |generation, at: u64, by: &str, summary: &str, state: &str| GenerationRow {
        generation,
        at: self::at(at),
        by: by.to_owned(),
        summary: summary.to_owned(),
        state: state.to_owned(),
    };
    let mut rows = vec![
        row(
            116,
            BEGIN - 900_000,
            "otto (ssh 192.0.2.8)",
            "1 service changed",
            "kept",
        ),
        row(
            117,
            BEGIN - 400_000,
            "anna (ssh 192.0.2.7)",
            "1 pool changed",
            "kept",
        ),
        row(
            118,
            BEGIN - 86_400,
            "anna (ssh 192.0.2.7)",
            "1 service added",
            if has_trial { "kept" } else { "running" },
        ),
    ];
    if has_trial {
        let at = BEGIN + 1;
        rows.push(row(
            119,
            at,
            "anna (ssh 192.0.2.7)",
            "1 service changed",
            "unconfirmed",
        ));
    }
    rows
}

fn syslog() -> SyslogRow {
    SyslogRow {
        name: "siem".to_owned(),
        server: "198.51.100.200:6514".to_owned(),
        transport: "tls".to_owned(),
        format: "rfc5424".to_owned(),
        connected: true,
        sent: 48_211,
        ..SyslogRow::default()
    }
}

fn server(
    address: &'static str,
    weight: u32,
    state: &'static str,
    sessions: u64,
    new: u64,
) -> Server {
    Server {
        address,
        weight,
        state,
        sessions,
        new,
    }
}

fn client(name: &str, from: &str, you: bool) -> ClientRow {
    ClientRow {
        name: name.to_owned(),
        from: from.to_owned(),
        role: "operator".to_owned(),
        connections: 1,
        you,
    }
}

fn values<T: serde::Serialize>(rows: &[T]) -> Vec<serde_json::Value> {
    let rows = rows.iter().map(serde_json::to_value);
    rows.collect::<Result<_, _>>().unwrap()
}

/// Says what is wrong with a text in the daemon's form, where somebody cannot spell `weight`.
fn report(text: &str) -> Option<String> {
    let wrong = |line: &&str| line.contains("wieght");
    let at = text.lines().position(|line| wrong(&line))?;
    let line = text.lines().find(wrong)?;
    let column = line.find("wieght")?;
    let number = (at + 1).to_string();
    let gutter = " ".repeat(number.len());
    Some(format!(
        "error: `wieght` is not an option of `real`\n{gutter}--> candidate:{number}:{}\n\
         {number} | {line}\n{gutter} | {}^^^^^^ did you mean `weight`?\n\n\
         1 error; weir would not accept this configuration",
        column + 1,
        " ".repeat(column)
    ))
}

fn explained() -> Vec<ExplainRow> {
    let row = |decision: &str, outcome: &str, detail: &str| ExplainRow {
        decision: decision.to_owned(),
        outcome: outcome.to_owned(),
        detail: detail.to_owned(),
        ..ExplainRow::default()
    };
    vec![
        row(
            "service",
            "found",
            "web-tls listens at 203.0.113.10:443/tcp",
        ),
        row(
            "worker",
            "steered",
            "worker 1 has the client's packets: its hash says so",
        ),
        row(
            "session",
            "found",
            "it is one of a session in state syn-recv, opened 38s ago, idle for 2s; it goes to \
             10.0.1.12:443 from 10.0.0.11:1335",
        ),
        row(
            "forward",
            "sent",
            "it leaves through port lan with the addresses of the session",
        ),
    ]
}

/// A time as RFC 3339 writes it.
fn at(unix: u64) -> String {
    // The days since a first of March, in eras of 400 years.
    let days = unix / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let date = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    format!(
        "{:04}-{month:02}-{date:02}T{}Z",
        era * 400 + year + next,
        crate::units::time_of_day(unix)
    )
}

#[test]
fn times_read_back() {
    for unix in [
        BEGIN,
        0,
        951_868_799,
        951_868_800,
        1_709_251_199,
        4_102_444_800,
    ] {
        assert_eq!(crate::units::unix(&at(unix)), Some(unix));
    }
}
