//! Answers that only workers know: they are asked, and what each answers goes on to the client.

use std::time::Instant;

use weir_control::{Filter, Reply, What};
use weir_director::{PoolUse, SessionView};

use super::requests::send_rows;
use crate::command::{Command, Ticket};
use crate::control::answer;
use crate::control::connection::{Connection, Job};
use crate::control::overlay;
use crate::control::scene::Scene;
use crate::fleet::WorkerHandle;

/// Places of the session table in one command to a worker: some tens of microseconds of its time.
const CHUNK: usize = 2048;

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
pub(super) fn ask_for_more(connection: &mut Connection, ticket: Ticket, scene: &Scene) {
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

pub(super) fn take_sessions(
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

pub(super) fn take_pool_use(connection: &mut Connection, rows: &[PoolUse], scene: &Scene) {
    let Some(Job::Pools { missing, uses }) = &mut connection.job else {
        return;
    };
    *missing = missing.saturating_sub(1);
    uses.extend(rows);
    if *missing > 0 {
        return;
    }
    let rows = answer::pools(
        &scene.running.snapshot,
        uses,
        &scene.filling,
        Instant::now(),
    );
    connection.job = None;
    send_rows(connection, What::Pools, &Filter::default(), rows);
}
