//! A daemon that the test plays: the server of a real socket, and what two workers answer.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll};
use nat_engine::State;
use weir_control::{AppliedRow, Reply};
use weir_director::{
    Explained, Fate, NeighbourView, PoolUse, PortFacts, Reach, Sender, SessionView, SpreadFacts,
    WorkerFacts,
};
use weir_model::{ControlSocket, DropReason, PortId, Protocol, RealId, Role, ServiceId, WorkerId};

use super::CONF;
use crate::clock::Clock;
use crate::command::{Answer, Command, WorkerEnd};
use crate::configuration::configuration;
use crate::control::connection::Connection;
use crate::control::events::Events as EventHub;
use crate::control::filling::Filling;
use crate::control::floods::Floods;
use crate::control::history::History;
use crate::control::kept::Kept;
use crate::control::overlay::Overlay;
use crate::control::overrides::Overrides;
use crate::control::scene::Scene;
use crate::control::server::Server;
use crate::control::sockets::Listener;
use crate::control::ways::Ways;
use crate::event::EventRecord;
use crate::fleet::{Blueprint, Fleet};
use crate::health::Book;
use crate::state;
use crate::testing::workers;

pub(super) const FIRST: usize = 2;

/// A daemon that is a control socket and two workers with so many sessions each.
pub(super) struct Played {
    pub(super) path: PathBuf,
    pub(super) scene: Scene,
    pub(super) ends: Vec<WorkerEnd>,
    pub(super) sessions: u32,
    pub(super) role: Role,
    pub(super) most_queued: usize,
    /// Changes that reached control.
    pub(super) orders: usize,
    /// What the server said of its clients.
    pub(super) happened: Vec<EventRecord>,
    /// Set when the time is to pass in which clients may read.
    pub(super) late: Arc<AtomicBool>,
    /// Where it is, whether viewers that ask about files have to wait.
    pub(super) files_wait: Option<Arc<AtomicBool>>,
}

impl Played {
    pub(super) fn new(name: &str, sessions: u32) -> Self {
        let path = std::env::temp_dir().join(format!("weir-{}-{name}.sock", std::process::id()));
        let loaded = weir_conf::parse_str("test.conf", CONF, None);
        let loaded = loaded.map_err(|report| panic!("{report}")).unwrap();
        let mut running = configuration(loaded, 1);
        running.effective = "[node]\nname = lb1\n".to_owned();
        let snapshot = running.snapshot.clone();
        let (handles, ends) = workers(2, &snapshot);
        let mut health = Book::new(2);
        health.adopt(&snapshot, weir_model::Now::default());
        let file = PathBuf::from("/nowhere/weir.conf");
        Self {
            path,
            scene: Scene {
                running,
                overlay: Overlay::default(),
                kept: Kept::new(file.clone(), state::State::of(&file)),
                clock: Clock::start(),
                fleet: Fleet::new(handles).made_of(Some(blueprint())),
                devices: Vec::new(),
                filling: Filling::default(),
                floods: Floods::default(),
                ways: Ways::default(),
                history: History::default(),
                overrides: Overrides::default(),
                health,
                events: EventHub::default(),
                stopping: None,
            },
            ends,
            sessions,
            role: Role::Viewer,
            most_queued: 0,
            orders: 0,
            happened: Vec::new(),
            late: Arc::default(),
            files_wait: None,
        }
    }

    /// Serves until the client is done.
    pub(super) fn serve<T: Send + 'static>(
        &mut self,
        client: impl FnOnce(PathBuf) -> T + Send + 'static,
    ) -> T {
        let mut poll = Poll::new().unwrap();
        let socket = ControlSocket {
            path: self.path.to_string_lossy().into_owned(),
            role: self.role,
            group: None,
        };
        let listener = Listener::open(&socket).unwrap();
        let mut server = Server::new(vec![listener], poll.registry(), FIRST).unwrap();
        let path = self.path.clone();
        let client = thread::spawn(move || client(path));
        let mut events = Events::with_capacity(16);
        let scene = &self.scene;
        while !client.is_finished() {
            let polled = poll.poll(&mut events, Some(Duration::from_millis(1)));
            if let Err(error) = polled {
                // A process that was stopped goes on with an interrupted call.
                assert_eq!(error.kind(), io::ErrorKind::Interrupted);
            }
            for event in &events {
                server.event(event, FIRST, poll.registry(), scene);
            }
            if self.late.load(Ordering::Acquire) {
                server.clients.values_mut().for_each(Connection::age);
                server.serve_all(scene);
                self.late.store(false, Ordering::Release);
            }
            if let Some(wait) = &self.files_wait {
                let wait = u64::from(wait.load(Ordering::Acquire));
                server.files.next = Instant::now() + Duration::from_secs(wait * 3600);
                server.serve_all(scene);
            }
            server.look_at_files(scene);
            self.happened.extend(server.events());
            while let Some(order) = server.next_order() {
                self.orders += 1;
                let applied = AppliedRow {
                    generation: 2,
                    summary: format!(
                        "{:?} by {}",
                        order.asked.request,
                        order.operator.role.name()
                    ),
                    ..AppliedRow::default()
                };
                let replies = [Reply::applied(&applied), Reply::done(1)];
                server.finish(order.client, &replies, scene);
            }
            for (place, end) in self.ends.iter().enumerate() {
                while let Ok(command) = end.commands.try_recv() {
                    server.answered(place, play(place, command, self.sessions), scene);
                }
            }
            let queued = server.clients.values().map(Connection::queued).max();
            self.most_queued = self.most_queued.max(queued.unwrap_or_default());
        }
        client.join().unwrap()
    }
}

/// What a worker answers whose table is full, and of which the second owns every flow.
fn play(place: usize, command: Command, sessions: u32) -> Answer {
    match command {
        Command::Sessions {
            ticket,
            cursor,
            mut rows,
        } => {
            let end = sessions.min(cursor + rows.capacity() as u32);
            rows.extend((cursor..end).map(view));
            Answer::Sessions {
                ticket,
                rows,
                next: (end < sessions).then_some(end),
            }
        }
        Command::PoolUse { ticket, mut rows } => {
            assert!(rows.capacity() >= 2);
            rows.push(PoolUse {
                pool: weir_model::PoolId(0),
                endpoint: weir_model::EndpointId(0),
                used: 21,
                total: 32256,
            });
            Answer::PoolUse { ticket, rows }
        }
        Command::Explain {
            ticket,
            query,
            mut decisions,
        } => {
            decisions.push(Explained::Owner {
                worker: WorkerId(1),
                workers: 2,
                here: place == 1,
            });
            if place == 1 {
                let address = query.client.0;
                decisions.push(Explained::Source(address, Sender::Client));
                decisions.push(Explained::Fate(Fate::Drop(DropReason::NoSession)));
            }
            Answer::Explained { ticket, decisions }
        }
        Command::Neighbours { ticket, mut rows } => {
            rows.push(NeighbourView {
                port: PortId(0),
                address: [10, 80, 0, 11].into(),
                mac: weir_wire::EthAddr([2, 0, 0, 0, 0, 11]),
            });
            Answer::Neighbours { ticket, rows }
        }
        Command::Reach {
            ticket,
            to,
            mut rows,
        } => {
            rows.extend(to.iter().map(|to| Reach {
                to: *to,
                hop: Some((PortId(0), *to)),
                mac: None,
            }));
            Answer::Reached { ticket, to, rows }
        }
        other @ (Command::Apply { .. }
        | Command::Arp { .. }
        | Command::Neighbour { .. }
        | Command::Real { .. }
        | Command::Vip { .. }
        | Command::Offer { .. }
        | Command::FloodHint { .. }
        | Command::Capture(_)
        | Command::Reset { .. }
        | Command::Admit { .. }
        | Command::Deny { .. }
        | Command::Stop) => panic!("{other:?}"),
    }
}

fn blueprint() -> Blueprint {
    Blueprint {
        facts: WorkerFacts {
            id: WorkerId(0),
            workers: 2,
            sessions: 1 << 20,
            flow_secret: [7; 16],
            seed: [8; 16],
            ports: vec![PortFacts {
                id: PortId(0),
                mac: weir_wire::EthAddr([2, 0, 0, 0, 0, 1]),
                mtu: 1500,
                delivers: false,
            }],
        },
        spread: SpreadFacts::default(),
    }
}

fn view(n: u32) -> SessionView {
    SessionView {
        client: ([10, 9, (n >> 8) as u8, n as u8].into(), 1024),
        vip: ([10, 80, 0, 100].into(), 80),
        lip: ([10, 80, 0, 200].into(), n as u16),
        real: ([10, 80, 0, 11].into(), 80),
        protocol: Protocol::Tcp,
        state: State::Established,
        service: ServiceId((n % 2) as u16),
        real_id: RealId(0),
        age_ms: 5500,
        idle_ms: 100,
    }
}
