//! The fleet: control's handles of all workers.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::TrySendError;
use weir_director::{Networks, SessionRecord, SpreadFacts, WorkerFacts};
use weir_model::{Snapshot, WorkerId};

use crate::command::{COMMANDS, Command, ControlEnd};
use crate::doorbell::Doorbell;
use crate::publish::flood::Flood;
use crate::publish::{Boards, Picture, Published, Traffic};

/// Control's handle of one worker.
#[derive(Debug)]
pub(crate) struct WorkerHandle {
    pub(crate) id: WorkerId,
    pub(crate) cpu: Option<u16>,
    pub(crate) bell: Arc<Doorbell>,
    pub(crate) control: ControlEnd,
    pub(crate) published: Arc<Published>,
    pub(crate) boards: Arc<Boards>,
    /// The boards of the snapshot that the worker was sent and has not yet taken.
    pub(crate) next_boards: Option<Arc<Boards>>,
    pub(crate) thread: Option<JoinHandle<()>>,
}

/// All workers, in the order of their ids.
#[derive(Debug)]
pub(crate) struct Fleet {
    workers: Vec<WorkerHandle>,
    blueprint: Option<Blueprint>,
    /// Commands for which a worker had no room, in order.
    unsent: VecDeque<(usize, Command)>,
}

/// What the workers' directors were made of.
#[derive(Clone, Debug)]
pub(crate) struct Blueprint {
    /// Those of the first worker.
    pub(crate) facts: WorkerFacts,
    pub(crate) spread: SpreadFacts,
}

impl WorkerHandle {
    /// Sends a command and wakes the worker; false when it has not kept up with earlier ones.
    pub(crate) fn send(&self, command: Command) -> bool {
        self.try_send(command).is_none()
    }

    /// Sends a command, or returns it where there is no room.
    fn try_send(&self, command: Command) -> Option<Command> {
        let back = self.control.commands.try_send(command).err();
        self.bell.ring();
        back.map(TrySendError::into_inner)
    }

    /// Says whether there is room for a command; nobody else sends any.
    pub(crate) fn has_room(&self) -> bool {
        self.control.commands.len() < COMMANDS
    }

    /// Sends a command that may be lost, and says whether it was sent; keeps half of the room for
    /// those that may not.
    pub(crate) fn send_if_idle(&self, command: Command) -> bool {
        self.control.commands.len() < COMMANDS / 2 && self.send(command)
    }
}

impl Fleet {
    /// Gathers the handles.
    pub(crate) fn new(workers: Vec<WorkerHandle>) -> Self {
        Self {
            workers,
            blueprint: None,
            unsent: VecDeque::new(),
        }
    }

    /// Keeps what the workers' directors were made of.
    #[must_use]
    pub(crate) fn made_of(mut self, blueprint: Option<Blueprint>) -> Self {
        self.blueprint = blueprint;
        self
    }

    /// Returns what the workers' directors were made of.
    pub(crate) fn blueprint(&self) -> Option<&Blueprint> {
        self.blueprint.as_ref()
    }

    /// Returns the handles.
    pub(crate) fn workers(&self) -> &[WorkerHandle] {
        &self.workers
    }

    /// Returns one worker by its place, which is its id.
    pub(crate) fn worker(&self, place: usize) -> Option<&WorkerHandle> {
        self.workers.get(place)
    }

    /// Sends every worker a snapshot, and boards that are large enough for it.
    pub(crate) fn apply(&mut self, snapshot: &Arc<Snapshot>) {
        for place in 0..self.workers.len() {
            let boards = Boards::new(snapshot);
            if let Some(worker) = self.workers.get_mut(place) {
                worker.next_boards = Some(boards.clone());
            }
            let snapshot = snapshot.clone();
            self.insist(place, Command::Apply { snapshot, boards });
        }
    }

    /// Sends a command that may not be lost: one that finds no room goes before those that come
    /// after it.
    fn insist(&mut self, place: usize, command: Command) {
        self.unsent.push_back((place, command));
        self.send_rest();
    }

    /// Sends what found no room, as far as there is some now.
    pub(crate) fn send_rest(&mut self) {
        let mut full = BTreeSet::new();
        for (place, command) in std::mem::take(&mut self.unsent) {
            let Some(worker) = self.workers.get(place) else {
                continue;
            };
            let back = if full.contains(&place) {
                Some(command)
            } else {
                worker.try_send(command)
            };
            if let Some(command) = back {
                full.insert(place);
                self.unsent.push_back((place, command));
            }
        }
    }

    /// Notes that a worker took its snapshot, and says whether every worker has.
    pub(crate) fn applied(&mut self, place: usize) -> bool {
        if let Some(worker) = self.workers.get_mut(place)
            && let Some(boards) = worker.next_boards.take()
        {
            worker.boards = boards;
        }
        self.workers
            .iter()
            .all(|worker| worker.next_boards.is_none())
    }

    /// Reads what every worker published.
    pub(crate) fn pictures(&self) -> Vec<Picture> {
        self.workers
            .iter()
            .map(|worker| worker.published.read())
            .collect()
    }

    /// Reads and adds up the traffic of all workers.
    pub(crate) fn traffic(&self) -> Traffic {
        let mut sum = Traffic::default();
        for worker in &self.workers {
            sum.add(&worker.boards.traffic.read());
        }
        sum
    }

    /// Takes what workers logged of sessions.
    pub(crate) fn drain_session_logs(&mut self, mut each: impl FnMut(SessionRecord)) {
        for worker in &mut self.workers {
            while let Ok(record) = worker.control.sessions.pop() {
                each(record);
            }
        }
    }

    /// Reads what every worker published of floods.
    pub(crate) fn floods(&self) -> Vec<Flood> {
        let workers = self.workers.iter();
        workers.map(|worker| worker.boards.flood.read()).collect()
    }

    /// Opens sessions, or opens no more.
    pub(crate) fn admit(&mut self, sessions: bool) {
        for place in 0..self.workers.len() {
            self.insist(place, Command::Admit { sessions });
        }
    }

    /// Denies networks, and those of before no longer; says whether every worker was told.
    pub(crate) fn deny(&self, networks: &Arc<Networks>) -> bool {
        let mut told = true;
        for worker in &self.workers {
            let networks = networks.clone();
            told &= worker.send(Command::Deny { networks });
        }
        told
    }

    /// Ends all workers and waits for them; their ports are closed afterwards.
    pub(crate) fn stop(&mut self) {
        for worker in &self.workers {
            while !worker.send(Command::Stop) {
                std::thread::yield_now();
            }
        }
        for worker in &mut self.workers {
            if let Some(thread) = worker.thread.take() {
                // A worker that panicked has ended the process already.
                let _ = thread.join();
            }
        }
    }
}
