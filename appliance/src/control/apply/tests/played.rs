//! A daemon with a folder of its own: control as it is, clients on a real socket, played workers.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events as MioEvents, Poll, Waker};
use nix::sys::signal::Signal;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use weir_control::{
    AppliedRow, ChangeRow, Client, ClientError, Code, ConfigText, EventRow, Filter, GenerationRow,
    Request, What,
};
use weir_director::{Networks, SessionView};
use weir_model::{ControlSocket, MasterKey, RealId, RealState, Role, Snapshot};

use super::CONF;
use crate::clock::Clock;
use crate::command::{Answer, Command, WorkerEnd};
use crate::configuration::{self, Origin};
use crate::control::events::shelf::Shelf;
use crate::control::sockets::Listener;
use crate::control::{Control, ControlParts, WAKER};
use crate::fleet::Fleet;
use crate::health::Prober;
use crate::metrics::Exporter;
use crate::state::State;
use crate::testing::workers;

/// How long anything may take on a machine that has much else to do.
pub(in crate::control) const PATIENCE: Duration = Duration::from_mins(1);

/// The file of a daemon and what it keeps; both outlive the daemon and go with the test.
pub(in crate::control) struct Home {
    folder: PathBuf,
}

impl Home {
    pub(in crate::control) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("weir-{}-home-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).unwrap();
        let home = Self { folder };
        home.write(CONF);
        home
    }

    pub(in crate::control) fn path(&self) -> &Path {
        &self.folder
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.join("weir.conf")
    }

    pub(in crate::control) fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    /// Starts a daemon with two workers.
    pub(in crate::control) fn start(&self) -> Played {
        let poll = Poll::new().unwrap();
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
        let state = State::in_folder(self.folder.join("state"));
        let start = configuration::start(&self.file(), &state).unwrap();
        let (origin, snapshot) = (start.origin.clone(), start.configuration.snapshot.clone());
        let (handles, ends) = workers(2, &snapshot);
        let socket = self.folder.join("operate.sock");
        let listener = Listener::open(&ControlSocket {
            path: socket.to_string_lossy().into_owned(),
            role: Role::Operator,
            group: None,
        });
        let clock = Clock::start();
        let control = Control::new(ControlParts {
            poll,
            // Who blocks it hears of it.
            signals: SignalFd::with_flags(&Signal::SIGTERM.into(), SfdFlags::SFD_NONBLOCK).unwrap(),
            fleet: Fleet::new(handles),
            prober: Prober::start(clock.clone(), waker.clone()).unwrap(),
            runner: None,
            hooks: crossbeam_channel::unbounded().1,
            exporter: Exporter::start().unwrap(),
            clock,
            devices: Vec::new(),
            listeners: vec![listener.unwrap()],
            start,
            state,
            shelf: Shelf::open(&self.folder.join("events")),
            fallback_key: MasterKey::default(),
            file: self.file(),
            run_dir: self.folder.clone(),
            warnings: Vec::new(),
            findings: Vec::new(),
        });
        let nothing = Arc::default();
        Played {
            control: control.unwrap(),
            reals: BTreeMap::new(),
            sessions: Vec::new(),
            next_hops: Vec::new(),
            resets: Vec::new(),
            origin,
            denied: vec![nothing; 2],
            admits: vec![true; 2],
            snapshots: vec![snapshot; 2],
            ends,
            waker,
            socket,
            held: Arc::default(),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub(in crate::control) struct Played {
    pub(in crate::control) control: Control,
    /// What the first worker was told of real servers.
    pub(in crate::control) reals: BTreeMap<RealId, RealState>,
    /// The sessions that each worker shows.
    pub(in crate::control) sessions: Vec<SessionView>,
    /// The next hops that the first worker was to look for.
    pub(super) next_hops: Vec<Ipv4Addr>,
    /// Of which real servers the workers reset sessions.
    pub(in crate::control) resets: Vec<RealId>,
    /// How its configuration was found.
    pub(super) origin: Origin,
    /// The networks that each worker denies.
    pub(super) denied: Vec<Arc<Networks>>,
    /// Whether each worker opens sessions.
    pub(super) admits: Vec<bool>,
    /// What each worker runs on.
    pub(super) snapshots: Vec<Arc<Snapshot>>,
    pub(super) ends: Vec<WorkerEnd>,
    pub(super) waker: Arc<Waker>,
    pub(super) socket: PathBuf,
    /// The workers take no command while this is set.
    pub(super) held: Arc<AtomicBool>,
}

impl Played {
    /// Serves until the client is done.
    pub(in crate::control) fn serve<T: Send + 'static>(
        &mut self,
        client: impl FnOnce(&mut Client) -> T + Send + 'static,
    ) -> T {
        let socket = self.socket.clone();
        let client = thread::spawn(move || client(&mut Client::connect(&socket).unwrap()));
        self.serve_until(|_| client.is_finished());
        client.join().unwrap()
    }

    pub(in crate::control) fn serve_until(&mut self, mut is_over: impl FnMut(&Control) -> bool) {
        let mut happened = MioEvents::with_capacity(16);
        let end = Instant::now() + 2 * PATIENCE;
        while !is_over(&self.control) {
            assert!(Instant::now() < end, "it does not come to that");
            self.control.turn(&mut happened).unwrap();
            if self.held.load(Ordering::Relaxed) {
                continue;
            }
            let ends = self.ends.iter().zip(&mut self.snapshots);
            for (place, (end, snapshot)) in ends.enumerate() {
                while let Ok(command) = end.commands.try_recv() {
                    let answer = if let Command::Apply {
                        snapshot: new,
                        boards,
                    } = command
                    {
                        let retired = std::mem::replace(snapshot, new);
                        Answer::Applied { retired, boards }
                    } else if let Command::Deny { networks } = command {
                        let denied = self.denied.get_mut(place).unwrap();
                        let retired = std::mem::replace(denied, networks);
                        Answer::Denied { retired }
                    } else if let Command::PoolUse { ticket, rows } = command {
                        Answer::PoolUse { ticket, rows }
                    } else if let Command::Sessions {
                        ticket, mut rows, ..
                    } = command
                    {
                        rows.extend(&self.sessions);
                        let next = None;
                        Answer::Sessions { ticket, rows, next }
                    } else if let Command::Reset { real, cursor } = command {
                        self.resets.push(real);
                        let next = (cursor == 0).then_some(7);
                        let count = 1;
                        Answer::Reset { real, count, next }
                    } else if let Command::Reach { ticket, to, rows } = command {
                        assert_eq!(place, 0);
                        self.next_hops.clone_from(&to);
                        Answer::Reached { ticket, to, rows }
                    } else {
                        match (place, command) {
                            (0, Command::Real { real, state }) => {
                                self.reals.insert(real, state);
                            }
                            (place, Command::Admit { sessions }) => {
                                *self.admits.get_mut(place).unwrap() = sessions;
                            }
                            _ => {}
                        }
                        continue;
                    };
                    end.answers.send(answer).unwrap();
                    self.waker.wake().unwrap();
                }
            }
        }
    }

    /// Serves for so long.
    pub(in crate::control) fn serve_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.serve_until(|_| Instant::now() > end);
    }

    /// Serves until there is an event of this code.
    pub(in crate::control) fn serve_until_told(&mut self, code: &str) {
        let end = Instant::now() + PATIENCE;
        self.serve_until(|control| {
            assert!(Instant::now() < end, "nothing is told of {code}");
            let rows = control.scene.events.rows(None, None);
            rows.iter().any(|row| row.code == code)
        });
    }

    pub(in crate::control) fn ask(
        &mut self,
        request: Request,
    ) -> Result<AppliedRow, (Code, String)> {
        self.serve(move |client| ask(client, &request))
    }

    pub(in crate::control) fn apply(&mut self, text: &str) -> Result<AppliedRow, (Code, String)> {
        self.ask(wanted(text, None))
    }

    pub(in crate::control) fn config(&mut self) -> String {
        let lines: Vec<String> = self.serve(|client| show(client, What::Config));
        lines.join("\n")
    }

    /// Returns what a text would change.
    pub(super) fn diff(&mut self, text: String) -> Vec<ChangeRow> {
        self.serve(move |client| {
            let texts = vec![ConfigText {
                name: "new.conf".to_owned(),
                text,
            }];
            let mut rows = client.request(&Request::Diff { texts }).unwrap();
            let mut all = Vec::new();
            while let Some(row) = rows.next_row().unwrap() {
                all.push(serde_json::from_value(row).unwrap());
            }
            all
        })
    }

    /// Returns the numbers and the states of what is kept.
    pub(super) fn generations(&mut self) -> Vec<(u64, String)> {
        let rows: Vec<GenerationRow> = self.serve(|client| show(client, What::Generations));
        let rows = rows.into_iter();
        rows.map(|row| (row.generation, row.state)).collect()
    }

    /// Returns the events of a code.
    pub(in crate::control) fn events(&mut self, code: &'static str) -> Vec<EventRow> {
        let mut rows: Vec<EventRow> = self.serve(|client| show(client, What::Events));
        rows.retain(|row| row.code == code);
        rows
    }

    /// Says what runs: control and workers never differ once an apply is over.
    pub(super) fn services(&self) -> Vec<String> {
        for snapshot in &self.snapshots {
            assert_eq!(**snapshot, *self.control.scene.running.snapshot);
        }
        let services = self.control.scene.running.snapshot.services.iter();
        services.map(|service| service.name.clone()).collect()
    }
}

pub(in crate::control) fn wanted(text: &str, confirm_ms: Option<u64>) -> Request {
    Request::Apply {
        texts: vec![ConfigText {
            name: "new.conf".to_owned(),
            text: text.to_owned(),
        }],
        confirm_ms,
        over: None,
    }
}

pub(super) fn ask(client: &mut Client, request: &Request) -> Result<AppliedRow, (Code, String)> {
    let mut rows = client.request(request).unwrap();
    match rows.next_row() {
        Ok(row) => Ok(serde_json::from_value(row.unwrap()).unwrap()),
        Err(ClientError::Refused { code, text }) => Err((code, text)),
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn show<T: serde::de::DeserializeOwned>(client: &mut Client, what: What) -> Vec<T> {
    client.show(what, Filter::default()).unwrap()
}
