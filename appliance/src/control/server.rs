//! The server of the control sockets: clients, their requests, and the answers that need workers.

mod of_workers;
mod requests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use mio::event::Event as MioEvent;
use mio::{Interest, Registry, Token};
use weir_control::{Asked, ClientRow, Code, Reply};
use weir_model::{EventClass, Role, Severity};

use self::of_workers::{take_pool_use, take_sessions};
use self::requests::{attend, begin_with_files};
use crate::command::{Answer, Ticket};
use crate::control::connection::{Connection, Cut, Job};
use crate::control::doctor;
use crate::control::explain;
use crate::control::operator::Operator;
use crate::control::scene::Scene;
use crate::control::sockets::Listener;
use crate::control::status;
use crate::event::EventRecord;

pub(crate) use of_workers::ask_for_pool_use;

/// Clients at the same time; more are refused with a sentence.
const MOST_CLIENTS: usize = 64;
/// Viewers at the same time: operators always find room.
const MOST_VIEWERS: usize = 48;
/// Clients of one account that is neither root nor ours.
const MOST_OF_ONE: usize = 16;

/// What viewers ask about files leaves so many times as long to everybody else as it took.
const OTHERS: u32 = 4;

/// A change that a client asks for. The client waits until it is finished.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) client: ClientId,
    pub(crate) operator: Operator,
    pub(crate) asked: Asked,
}

/// A client, as long as it is connected; never given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientId(usize);

/// Serves the control sockets.
#[derive(Debug)]
pub(crate) struct Server {
    listeners: Vec<Listener>,
    /// By their token, which is also the ticket of their questions to workers.
    clients: BTreeMap<usize, Connection>,
    next_client: usize,
    /// What happened with clients and was not yet said.
    happened: Vec<EventRecord>,
    /// Who is connected; none where somebody came, went or said who it is since it was made.
    roster: Option<Arc<Vec<ClientRow>>>,
    files: Files,
}

/// Whose turn it is of the viewers that ask about files. One is answered at a time.
#[derive(Debug)]
struct Files {
    /// No other is begun before.
    next: Instant,
    under_way: Option<usize>,
    /// Who was the last; the next one has its turn now.
    last: usize,
}

impl Files {
    /// Counts work that was begun then.
    fn charge(&mut self, begun: Instant) {
        let now = Instant::now();
        let took = now.saturating_duration_since(begun);
        self.next = self.next.max(now) + took * OTHERS;
    }
}

impl Server {
    /// Listens; the sockets get the tokens from `first` on, the clients those behind.
    ///
    /// # Errors
    /// When the event loop cannot take a socket.
    pub(crate) fn new(
        mut listeners: Vec<Listener>,
        registry: &Registry,
        first: usize,
    ) -> io::Result<Self> {
        for (place, listener) in listeners.iter_mut().enumerate() {
            registry.register(
                &mut listener.socket,
                Token(first + place),
                Interest::READABLE,
            )?;
        }
        Ok(Self {
            next_client: first + listeners.len(),
            listeners,
            clients: BTreeMap::new(),
            happened: Vec::new(),
            roster: None,
            files: Files {
                next: Instant::now(),
                under_way: None,
                last: 0,
            },
        })
    }

    /// Handles an event of a socket at place `token - first`, or of a client.
    pub(crate) fn event(
        &mut self,
        event: &MioEvent,
        first: usize,
        registry: &Registry,
        scene: &Scene,
    ) {
        let Token(token) = event.token();
        match token
            .checked_sub(first)
            .filter(|place| *place < self.listeners.len())
        {
            Some(place) => self.accept(place, registry, scene),
            None => self.serve(token, scene),
        }
        self.look_at_files(scene);
    }

    /// Looks after every client, for those that an edge was missed of.
    pub(crate) fn serve_all(&mut self, scene: &Scene) {
        let all: Vec<usize> = self.clients.keys().copied().collect();
        for client in all {
            self.serve(client, scene);
        }
        self.look_at_files(scene);
    }

    /// Gives viewers that ask about files their turn, one after the other.
    fn look_at_files(&mut self, scene: &Scene) {
        loop {
            if let Some(client) = self.files.under_way {
                let client = self.clients.get(&client);
                if client.is_some_and(|it| matches!(it.job, Some(Job::Explain(_)))) {
                    return;
                }
                self.files.under_way = None;
            }
            let begun = Instant::now();
            if begun < self.files.next {
                return;
            }
            let waits = |(_, it): &(&usize, &Connection)| matches!(it.job, Some(Job::Files(_)));
            let mut behind = self.clients.range(self.files.last + 1..);
            let next = behind.find(waits);
            let Some((&client, _)) = next.or_else(|| self.clients.iter().find(waits)) else {
                return;
            };
            self.files.last = client;
            let Some(connection) = self.clients.get_mut(&client) else {
                return;
            };
            if connection.has_gone() {
                self.clients.remove(&client);
                self.roster = None;
                continue;
            }
            self.files.under_way = Some(client);
            if let Some(Job::Files(request)) = connection.job.take() {
                begin_with_files(connection, Ticket(client as u64), &request, scene);
            }
            self.files.charge(begun);
            self.serve(client, scene);
        }
    }

    /// Passes on the answer of a worker.
    pub(crate) fn answered(&mut self, worker: usize, answer: Answer, scene: &Scene) {
        let ticket = match &answer {
            Answer::Sessions { ticket, .. }
            | Answer::PoolUse { ticket, .. }
            | Answer::Explained { ticket, .. }
            | Answer::Neighbours { ticket, .. }
            | Answer::Reached { ticket, .. } => *ticket,
            Answer::Applied { .. }
            | Answer::Untapped(_)
            | Answer::Reset { .. }
            | Answer::Denied { .. } => return,
        };
        let client = ticket.0 as usize;
        // A client that has gone does not want its answer any more.
        let Some(connection) = self.clients.get_mut(&client) else {
            return;
        };
        let begun = Instant::now();
        match answer {
            Answer::Sessions { rows, next, .. } => {
                take_sessions(connection, worker, &rows, next, scene);
            }
            Answer::PoolUse { rows, .. } => take_pool_use(connection, &rows, scene),
            Answer::Explained { ticket, decisions } => {
                explain::take(connection, ticket, worker, &decisions, scene);
            }
            Answer::Neighbours { rows, .. } => explain::compare(connection, &rows, scene),
            Answer::Reached { to, rows, .. } => {
                drop(to);
                doctor::take(connection, &rows, scene);
            }
            Answer::Applied { .. }
            | Answer::Untapped(_)
            | Answer::Reset { .. }
            | Answer::Denied { .. } => {}
        }
        if self.files.under_way == Some(client) {
            self.files.charge(begun);
        }
        self.serve(client, scene);
        self.look_at_files(scene);
    }

    /// Returns the next change that a client asks for, to be finished by [`Self::finish`].
    pub(crate) fn next_order(&mut self) -> Option<Order> {
        self.clients.iter_mut().find_map(|(client, connection)| {
            let Some(Job::Change(asked)) = &mut connection.job else {
                return None;
            };
            Some(Order {
                asked: asked.take()?,
                client: ClientId(*client),
                operator: connection.operator.clone(),
            })
        })
    }

    /// Answers a change and lets its client go on; it may have gone meanwhile.
    pub(crate) fn finish(&mut self, client: ClientId, replies: &[Reply], scene: &Scene) {
        let ClientId(client) = client;
        let Some(connection) = self.clients.get_mut(&client) else {
            return;
        };
        connection.job = None;
        for reply in replies {
            connection.send(reply);
        }
        self.serve(client, scene);
    }

    /// Sends a client a line of an answer that goes on.
    pub(crate) fn stream(&mut self, client: ClientId, reply: &Reply, scene: &Scene) {
        let ClientId(client) = client;
        if let Some(connection) = self.clients.get_mut(&client) {
            connection.send(reply);
            self.serve(client, scene);
        }
    }

    /// Says whether a client takes more lines now; none where it has gone.
    pub(crate) fn has_room(&self, client: ClientId) -> Option<bool> {
        let ClientId(client) = client;
        self.clients.get(&client).map(Connection::has_room)
    }

    /// Returns what happened with clients since it was last asked.
    pub(crate) fn events(&mut self) -> Vec<EventRecord> {
        std::mem::take(&mut self.happened)
    }

    fn accept(&mut self, place: usize, registry: &Registry, scene: &Scene) {
        // An error other than "nobody else" concerns one client only; the next may do better.
        while let Some(listener) = self.listeners.get(place)
            && let Ok((mut stream, _)) = listener.socket.accept()
        {
            let token = self.next_client;
            self.next_client += 1;
            let interest = Interest::READABLE | Interest::WRITABLE;
            if registry
                .register(&mut stream, Token(token), interest)
                .is_err()
            {
                continue;
            }
            let admitted = listener.admits(&stream);
            let mut connection =
                Connection::new(stream, listener.role, &scene.running.snapshot.node.name);
            if !admitted {
                let text = "only root and the group of this socket may use it";
                connection.turn_away(Code::NotPermitted, text);
            } else if let Some(text) = self.no_room_for(&connection.operator) {
                connection.turn_away(Code::Busy, &text);
            }
            self.clients.insert(token, connection);
            self.roster = None;
            self.serve(token, scene);
        }
    }

    /// Says why one more client has no place, where it has none.
    fn no_room_for(&self, newcomer: &Operator) -> Option<String> {
        let others = || self.clients.values().map(|client| &client.operator);
        if others().count() >= MOST_CLIENTS {
            return Some(format!(
                "{MOST_CLIENTS} clients are connected already; try again later"
            ));
        }
        let viewers = others().filter(|other| other.role == Role::Viewer).count();
        if newcomer.role == Role::Viewer && viewers >= MOST_VIEWERS {
            return Some(format!(
                "{MOST_VIEWERS} viewers are connected already; try again later"
            ));
        }
        let same = others().filter(|other| other.uid == newcomer.uid).count();
        (!newcomer.is_ours() && same >= MOST_OF_ONE).then(|| {
            format!(
                "{} has {MOST_OF_ONE} connections already; end one of them",
                newcomer.name
            )
        })
    }

    fn serve(&mut self, client: usize, scene: &Scene) {
        let clients = &self.clients;
        let roster = self
            .roster
            .get_or_insert_with(|| Arc::new(status::roster(clients.values())));
        let Some(connection) = self.clients.get_mut(&client) else {
            return;
        };
        connection.roster = Arc::clone(roster);
        let known_as = connection.operator.clone();
        let mut alive = attend(connection, Ticket(client as u64), scene).is_ok();
        if let Some(cut) = connection.judge(Instant::now()) {
            alive &= cut != Cut::ReadsNothing;
            self.happened.extend(cut_event(&connection.operator, cut));
            // Its last word; where that does not get through, it goes without.
            alive &= connection.write().is_ok();
        }
        if connection.operator != known_as {
            self.roster = None;
        }
        if !alive || connection.is_over() {
            self.clients.remove(&client);
            self.roster = None;
        }
    }
}

/// Makes the event of a client that was cut off; idleness is none.
fn cut_event(operator: &Operator, cut: Cut) -> Option<EventRecord> {
    if cut == Cut::Idle {
        return None;
    }
    let role = operator.role.name();
    let text = format!("{role} {operator} is cut off: {cut}");
    let (class, severity) = (EventClass::Security, Severity::Warning);
    let record = EventRecord::new(class, severity, "client-cut-off", text);
    let record = record.field("by", &operator.name);
    Some(record.field("from", &operator.from).field("role", role))
}

#[cfg(test)]
mod tests;
