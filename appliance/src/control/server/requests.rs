//! Requests: which are answered here and now, and which have to wait.

use std::io;
use std::time::{Duration, Instant};

use weir_control::{
    Asked, Code, ConfigText, Filter, HISTORY_SECONDS, Introduction, Rejection, Reply, Request, What,
};
use weir_model::Role;

use super::of_workers::{ask_for_more, ask_for_pool_use};
use crate::command::Ticket;
use crate::control::answer::{self, OfServices};
use crate::control::connection::{Connection, Job, SessionsJob};
use crate::control::diff;
use crate::control::doctor;
use crate::control::explain;
use crate::control::overlay;
use crate::control::overlay::orders::Meant;
use crate::control::scene::Scene;
use crate::control::status;

/// What one client may take of the control thread's time before the others get their turn.
const TURN: Duration = Duration::from_millis(2);

/// Gives a client its turn.
pub(super) fn attend(connection: &mut Connection, ticket: Ticket, scene: &Scene) -> io::Result<()> {
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
pub(super) fn begin(connection: &mut Connection, ticket: Ticket, asked: Asked, scene: &Scene) {
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
pub(super) fn begin_with_files(
    connection: &mut Connection,
    ticket: Ticket,
    request: &Request,
    scene: &Scene,
) {
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
            let rows = answer::workers(cpus, poll, &scene.fleet.pictures(), second);
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
            let floods = &scene.floods;
            let rows = floods.rows(now, &scene.running.snapshot, service, &published, second);
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

pub(super) fn send_rows<T: serde::Serialize>(
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
