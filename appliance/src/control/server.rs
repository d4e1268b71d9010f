//! The server of the control sockets: clients, their requests, and the answers that need workers.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event as MioEvent;
use mio::{Interest, Registry, Token};
use weir_control::{
    Asked, ClientRow, Code, ConfigText, Filter, HISTORY_SECONDS, Introduction, Rejection, Reply,
    Request, What,
};
use weir_director::{PoolUse, SessionView};
use weir_model::{EventClass, Role, Severity};

use crate::command::{Answer, Command, Ticket};
use crate::control::answer::{self, OfServices};
use crate::control::connection::{Connection, Cut, Job, SessionsJob};
use crate::control::diff;
use crate::control::doctor;
use crate::control::explain;
use crate::control::floods::Load;
use crate::control::operator::Operator;
use crate::control::overlay;
use crate::control::overlay::orders::Meant;
use crate::control::scene::Scene;
use crate::control::sockets::Listener;
use crate::control::status;
use crate::event::EventRecord;
use crate::fleet::WorkerHandle;

#[cfg(test)]
mod tests;

/// Clients at the same time; more are refused with a sentence.
const MOST_CLIENTS: usize = 64;
/// Viewers at the same time: operators always find room.
const MOST_VIEWERS: usize = 48;
/// Clients of one account that is neither root nor ours.
const MOST_OF_ONE: usize = 16;
/// Places of the session table in one command to a worker: some tens of microseconds of its time.
const CHUNK: usize = 2048;
/// What one client may take of the control thread's time before the others get their turn.
const TURN: Duration = Duration::from_millis(2);

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

/// Gives a client its turn.
fn attend(connection: &mut Connection, ticket: Ticket, scene: &Scene) -> io::Result<()> {
    let end = Instant::now() + TURN;
    loop {
        while let Some(asked) = connection.next_request() {
            begin(connection, ticket, asked, scene);
            if Instant::now() >= end {
                return connection.write();
            }
        }
        connection.write()?;
        ask_for_more(connection, ticket, scene);
        if Instant::now() >= end || !connection.read()? {
            return Ok(());
        }
    }
}

/// Answers a request, or begins to where workers must be asked.
fn begin(connection: &mut Connection, ticket: Ticket, asked: Asked, scene: &Scene) {
    if matches!(asked.request, Request::Tell(_)) && !connection.operator.is_ours() {
        let text = "only root and the daemon's own account may tell of events".to_owned();
        let code = Code::NotPermitted;
        return connection.send(&Reply::refused(&Rejection { code, text }));
    }
    if asked.request.needs() == Role::Operator {
        // Control carries it out.
        connection.job = Some(Job::Change(Some(asked)));
        return;
    }
    let request = asked.request;
    let has_files = match &request {
        Request::Diff { .. } => true,
        Request::Explain(question) => question.candidate.is_some(),
        Request::Show { .. }
        | Request::Hello(_)
        | Request::Doctor {}
        | Request::Draining { .. }
        | Request::Apply { .. }
        | Request::Capture(_)
        | Request::Confirm {}
        | Request::Rollback { .. }
        | Request::Drain { .. }
        | Request::Enable { .. }
        | Request::Weight { .. }
        | Request::Maintenance { .. }
        | Request::Synproxy { .. }
        | Request::Deny { .. }
        | Request::Tell(_) => false,
    };
    if has_files && connection.operator.role == Role::Viewer {
        connection.job = Some(Job::Files(request));
        return;
    }
    begin_with_files(connection, ticket, &request, scene);
}

/// The same, for whoever need not wait for a turn.
fn begin_with_files(connection: &mut Connection, ticket: Ticket, request: &Request, scene: &Scene) {
    let (what, filter) = match request {
        Request::Draining { service, real } => {
            let (service, real) = (service.clone(), real.clone());
            return overlay::ask::begin(connection, ticket, &Meant { service, real }, scene);
        }
        Request::Show { what, filter } => (what, filter),
        Request::Hello(said) => return answer_hello(connection, said),
        Request::Explain(question) => return explain::begin(connection, ticket, question, scene),
        Request::Diff { texts } => return answer_diff(connection, texts, scene),
        Request::Doctor {} => return doctor::begin(connection, ticket, scene),
        // These need an operator, and have gone to control.
        Request::Apply { .. }
        | Request::Tell(_)
        | Request::Drain { .. }
        | Request::Enable { .. }
        | Request::Weight { .. }
        | Request::Capture(_)
        | Request::Confirm {}
        | Request::Rollback { .. }
        | Request::Maintenance { .. }
        | Request::Deny { .. }
        | Request::Synproxy { .. } => return,
    };
    show(connection, ticket, *what, filter, scene);
}

/// Answers a `show`, or begins to where workers must be asked.
fn show(connection: &mut Connection, ticket: Ticket, what: What, filter: &Filter, scene: &Scene) {
    let service = match answer::service_of(&scene.running.snapshot, filter) {
        Ok(service) => service,
        Err(rejection) => return connection.send(&Reply::refused(&rejection)),
    };
    let second = scene.history.second();
    match what {
        What::Services => {
            let of = OfServices::of(scene);
            let rows = answer::services(&scene.running.snapshot, service, filter, &of);
            send_rows(connection, what, filter, rows);
        }
        What::Ports => {
            let pictures = scene.fleet.pictures();
            let devices = scene.devices.iter().enumerate();
            let rows: Vec<_> = devices
                .filter_map(|(place, device)| {
                    let port = scene.running.snapshot.ports.get(device.id.index())?;
                    Some(answer::port(port, &device.view(), place, &pictures, second))
                })
                .collect();
            send_rows(connection, what, filter, rows);
        }
        What::Workers => {
            let cpus = scene.fleet.workers().iter().map(|worker| worker.cpu);
            let poll = scene.running.snapshot.workers.poll;
            let rows = answer::workers(cpus, poll, &scene.fleet.pictures(), &scene.rates, second);
            send_rows(connection, what, filter, rows);
        }
        What::Ledger => {
            send_rows(
                connection,
                what,
                filter,
                [answer::ledger(&scene.fleet.pictures(), second)],
            );
        }
        What::Flood => {
            let (now, published) = (Instant::now(), scene.fleet.floods());
            let busy = (0..published.len()).map(|worker| scene.rates.busy_percent(worker));
            let busiest = busy.max().unwrap_or_default();
            let floods = &scene.floods;
            let load = Load { second, busiest };
            let rows = floods.rows(now, &scene.running.snapshot, service, &published, load);
            send_rows(connection, what, filter, rows);
        }
        What::Health => {
            let rows = scene.health.rows(&scene.running.snapshot, service);
            send_rows(connection, what, filter, rows);
        }
        What::Events => {
            let rows = scene.events.rows(filter.after, filter.limit);
            send_rows(connection, what, filter, rows);
        }
        What::Syslog => send_rows(connection, what, filter, scene.events.receivers()),
        What::History => {
            let seconds = filter.seconds.unwrap_or(HISTORY_SECONDS);
            let snapshot = &scene.running.snapshot;
            let rows = scene.history.rows(snapshot, service, seconds);
            send_rows(connection, what, filter, rows);
        }
        What::Overrides => {
            let mut rows = scene.overrides.rows();
            rows.extend(scene.overlay.rows(&scene.running.snapshot));
            send_rows(connection, what, filter, rows);
        }
        What::Status => {
            let row = status::row(scene, connection);
            send_rows(connection, what, filter, [row]);
        }
        What::Generations => {
            let running = scene.running.snapshot.generation.0;
            send_rows(connection, what, filter, scene.kept.rows(running));
        }
        What::Config => {
            let lines = scene.overlay.config_lines(&scene.running.effective);
            send_rows(connection, what, filter, lines);
        }
        What::Sessions => {
            connection.job = Some(Job::Sessions(SessionsJob {
                service,
                client: filter.client,
                left: filter.limit.unwrap_or(u64::MAX),
                sent: 0,
                worker: 0,
                cursor: 0,
                asked: false,
            }));
            ask_for_more(connection, ticket, scene);
        }
        What::Pools => {
            let Some(missing) = ask_for_pool_use(scene, ticket) else {
                let text = "a worker does not keep up with what it is asked; try again";
                return connection.refuse(Code::Busy, text);
            };
            connection.job = Some(Job::Pools {
                missing,
                uses: Vec::new(),
            });
        }
    }
}

fn answer_hello(connection: &mut Connection, said: &Introduction) {
    match connection.operator.introduce(said) {
        Ok(()) => {
            connection.send(&Reply::identity(&connection.operator.row()));
            connection.send(&Reply::done(1));
        }
        Err(rejection) => connection.send(&Reply::refused(&rejection)),
    }
}

fn answer_diff(connection: &mut Connection, texts: &[ConfigText], scene: &Scene) {
    match diff::rows(scene, texts, connection.operator.role) {
        Ok(rows) => {
            for row in &rows {
                connection.send(&Reply::change(row));
            }
            connection.send(&Reply::done(rows.len() as u64));
        }
        Err(rejection) => connection.send(&Reply::refused(&rejection)),
    }
}

/// Asks every worker for the use of its LIPs, and returns how many will answer.
pub(crate) fn ask_for_pool_use(scene: &Scene, ticket: Ticket) -> Option<usize> {
    let capacity = scene.running.snapshot.pools.bound() * scene.running.snapshot.endpoints.bound();
    let workers = scene.fleet.workers();
    // What some of them have of a pool is not what is used of it.
    if !workers.iter().all(WorkerHandle::has_room) {
        return None;
    }
    for worker in workers {
        let rows = Vec::with_capacity(capacity);
        worker.send(Command::PoolUse { ticket, rows });
    }
    Some(workers.len())
}

/// Asks the next worker for sessions, unless the client has still enough to read.
fn ask_for_more(connection: &mut Connection, ticket: Ticket, scene: &Scene) {
    if !connection.has_room() {
        return;
    }
    overlay::ask::ask_for_more(connection, ticket, scene);
    let Some(Job::Sessions(job)) = &mut connection.job else {
        return;
    };
    if job.asked {
        return;
    }
    let worker = scene.fleet.worker(job.worker).filter(|_| job.left > 0);
    let Some(worker) = worker else {
        let sent = job.sent;
        connection.job = None;
        return connection.send(&Reply::done(sent));
    };
    job.asked = worker.send(Command::Sessions {
        ticket,
        cursor: job.cursor,
        rows: Vec::with_capacity(CHUNK),
    });
}

fn take_sessions(
    connection: &mut Connection,
    worker: usize,
    views: &[SessionView],
    next: Option<u32>,
    scene: &Scene,
) {
    if let Some(Job::Census(job)) = &mut connection.job {
        return overlay::ask::take(job, views, next);
    }
    let Some(Job::Sessions(job)) = &mut connection.job else {
        return;
    };
    job.asked = false;
    let mut replies = Vec::new();
    for view in views {
        let wanted = job.service.is_none_or(|id| id == view.service)
            && job.client.is_none_or(|address| address == view.client.0);
        let Some(left) = job.left.checked_sub(1).filter(|_| wanted) else {
            continue;
        };
        job.left = left;
        job.sent += 1;
        let id = scene.fleet.worker(worker).map(|w| w.id).unwrap_or_default();
        let row = answer::session(&scene.running.snapshot, id, view);
        replies.push(Reply::row(What::Sessions, &row));
    }
    (job.worker, job.cursor) = next.map_or((job.worker + 1, 0), |next| (job.worker, next));
    for reply in &replies {
        connection.send(reply);
    }
}

fn take_pool_use(connection: &mut Connection, rows: &[PoolUse], scene: &Scene) {
    let Some(Job::Pools { missing, uses }) = &mut connection.job else {
        return;
    };
    *missing = missing.saturating_sub(1);
    uses.extend(rows);
    if *missing > 0 {
        return;
    }
    let rows = answer::pools(&scene.running.snapshot, uses, &scene.rates, Instant::now());
    connection.job = None;
    send_rows(connection, What::Pools, &Filter::default(), rows);
}

fn send_rows<T: serde::Serialize>(
    connection: &mut Connection,
    what: What,
    filter: &Filter,
    rows: impl IntoIterator<Item = T>,
) {
    let limit = filter.limit.map_or(usize::MAX, |limit| limit as usize);
    let mut count = 0;
    for row in rows.into_iter().take(limit) {
        connection.send_row(what, &row);
        count += 1;
    }
    connection.send(&Reply::done(count));
}
