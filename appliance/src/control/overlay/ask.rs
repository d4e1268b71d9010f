//! Answering what keeps a real server from having no sessions: a census of all workers.

use std::time::Duration;

use weir_control::{Code, DrainRow, Rejection, Reply};
use weir_director::SessionView;

use super::census::Census;
use super::orders::{Meant, find};
use super::{Drained, RealName};
use crate::command::{Command, Ticket};
use crate::control::connection::{Connection, Job};
use crate::control::scene::Scene;

/// Places of the session table in one command to a worker.
const CHUNK: usize = 2048;

/// How far a census has come.
#[derive(Debug)]
pub(crate) struct CensusJob {
    name: RealName,
    drained: Drained,
    census: Census,
    worker: usize,
    cursor: u32,
    /// Whether a worker has been asked and has not answered.
    asked: bool,
}

/// Begins a census.
pub(in crate::control) fn begin(
    connection: &mut Connection,
    ticket: Ticket,
    meant: &Meant,
    scene: &Scene,
) {
    let (service, real) = match find(&scene.running.snapshot, meant) {
        Ok(found) => found,
        Err(rejection) => return connection.send(&Reply::refused(&rejection)),
    };
    let name = RealName::of(service, real);
    let Some(drained) = scene.overlay.drained(&name) else {
        return connection.send(&Reply::refused(&Rejection {
            code: Code::NothingToDo,
            text: format!("{name} takes new sessions; `weir drain` ends that"),
        }));
    };
    let since = drained.since.elapsed();
    let since_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    connection.job = Some(Job::Census(Box::new(CensusJob {
        drained: drained.clone(),
        census: Census::new(service.id, real.id, since_ms),
        name,
        worker: 0,
        cursor: 0,
        asked: false,
    })));
    ask_for_more(connection, ticket, scene);
}

/// Asks the next worker for sessions, or answers when all have been asked.
pub(in crate::control) fn ask_for_more(connection: &mut Connection, ticket: Ticket, scene: &Scene) {
    let Some(Job::Census(job)) = &mut connection.job else {
        return;
    };
    if job.asked {
        return;
    }
    if let Some(worker) = scene.fleet.worker(job.worker) {
        job.asked = worker.send(Command::Sessions {
            ticket,
            cursor: job.cursor,
            rows: Vec::with_capacity(CHUNK),
        });
        return;
    }
    let row = job.row();
    connection.job = None;
    connection.send(&Reply::draining(&row));
    connection.send(&Reply::done(1));
}

/// Takes the sessions that a worker showed.
pub(in crate::control) fn take(job: &mut CensusJob, views: &[SessionView], next: Option<u32>) {
    job.asked = false;
    for view in views {
        job.census.take(view);
    }
    (job.worker, job.cursor) = next.map_or((job.worker + 1, 0), |next| (job.worker, next));
}

impl CensusJob {
    fn row(&self) -> DrainRow {
        let eta = self.census.eta();
        let seconds = |left: Duration| left.as_millis().div_ceil(1000) as u64;
        let until = self.drained.until;
        DrainRow {
            service: self.name.service.clone(),
            real: self.name.real.to_string(),
            since: self.drained.said.at.clone(),
            by: self.drained.said.by.clone(),
            sessions: self.census.sessions(),
            deadline_in_s: until.map(|until| seconds(until.left())),
            then: until.map_or("keep", |until| until.then.name()).to_owned(),
            half_in_s: eta.map(|eta| eta.half),
            most_in_s: eta.map(|eta| eta.most),
            all_in_s: eta.map(|eta| eta.all),
            oldest: self.census.oldest(),
        }
    }
}
