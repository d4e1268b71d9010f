//! `explain`: asks the worker that owns a flow what would become of a packet.

use std::net::{IpAddr, SocketAddr};

use weir_control::{Code, ExplainRow, Question, Rejection, Reply, ServiceAddress, Side, Whither};
use weir_director::{ExplainQuery, Explained, NeighbourView};
use weir_model::{Role, Snapshot};
use weir_wire::TcpFlags;

use crate::command::{Command, Ticket};
use crate::control::answer;
use crate::control::candidate::{Candidate, Decided};
use crate::control::connection::{Connection, ExplainJob, Job};
use crate::control::scene::Scene;

/// Decisions besides those about real servers, at most.
const DECISIONS: usize = 32;
/// Neighbours that a worker is asked for; it knows no more.
const NEIGHBOURS: usize = 4096;

/// Begins to answer a question: any worker knows who owns the flow.
pub(crate) fn begin(
    connection: &mut Connection,
    ticket: Ticket,
    question: &Question,
    scene: &Scene,
) {
    match read(question, scene, connection.operator.role) {
        Ok(job) => ask(connection, ticket, job, 0, scene),
        Err(rejection) => connection.send(&Reply::refused(&rejection)),
    }
}

/// Takes a worker's answer: passes it on, or asks the worker that it names.
pub(crate) fn take(
    connection: &mut Connection,
    ticket: Ticket,
    worker: usize,
    decisions: &[Explained],
    scene: &Scene,
) {
    let mut job = match connection.job.take() {
        Some(Job::Explain(job)) => job,
        other => {
            connection.job = other;
            return;
        }
    };
    if let Some(Explained::Owner { worker: owner, .. }) = decisions.last()
        && owner.index() != worker
    {
        return ask(connection, ticket, job, owner.index(), scene);
    }
    if job.candidate.is_none() {
        let decided = Decided {
            decisions,
            snapshot: &scene.running.snapshot,
            health: &scene.health,
        };
        let rows = decisions.iter().map(|one| decided.row(one, Side::Both));
        return answer(connection, &rows.collect::<Vec<_>>());
    }
    job.running = decisions.to_vec();
    let command = Command::Neighbours {
        ticket,
        rows: Vec::with_capacity(NEIGHBOURS),
    };
    send(connection, job, command, worker, scene);
}

/// Takes the neighbours that the worker knows, and says what a candidate would decide with them.
pub(crate) fn compare(connection: &mut Connection, neighbours: &[NeighbourView], scene: &Scene) {
    let job = match connection.job.take() {
        Some(Job::Explain(job)) => job,
        other => {
            connection.job = other;
            return;
        }
    };
    let Some(candidate) = job.candidate else {
        return;
    };
    let now = scene.clock.clone().now();
    let decided = match candidate.decide(scene, &job.query, neighbours, now) {
        Ok(decided) => decided,
        Err(text) => return connection.refuse(Code::Failed, &text),
    };
    let running = Decided {
        decisions: &job.running,
        snapshot: &scene.running.snapshot,
        health: &scene.health,
    };
    let mut rows = vec![applicable(&candidate)];
    rows.extend(candidate.compare(&running, &decided));
    answer(connection, &rows);
}

fn read(question: &Question, scene: &Scene, role: Role) -> Result<ExplainJob, Rejection> {
    let texts = question.candidate.as_ref();
    let candidate = texts.map(|texts| Candidate::read(scene, texts, role));
    let candidate = candidate.transpose()?;
    let snapshots = [
        candidate.as_ref().map(|candidate| &*candidate.snapshot),
        Some(&*scene.running.snapshot),
    ];
    let service = whither(&question.service, snapshots.into_iter().flatten())?;
    let (Some(client), Some(vip)) = (v4(question.client), v4(service.address)) else {
        return Err(Rejection {
            code: Code::BadArgument,
            text: "this build balances IPv4 only; ask with IPv4 addresses".to_owned(),
        });
    };
    Ok(ExplainJob {
        query: ExplainQuery {
            client,
            vip,
            protocol: service.protocol,
            flags: TcpFlags(question.flags.0),
        },
        candidate,
        running: Vec::new(),
    })
}

/// Finds the address; that of a name is the first of the service in the first configuration that
/// has it.
fn whither<'a>(
    whither: &Whither,
    mut snapshots: impl Iterator<Item = &'a Snapshot>,
) -> Result<ServiceAddress, Rejection> {
    let name = match whither {
        Whither::Address(address) => return Ok(*address),
        Whither::Service(name) => name,
    };
    let first = snapshots.next();
    let all = first.into_iter().chain(snapshots);
    let mut services = all.flat_map(|snapshot| snapshot.services.iter());
    let found = services.find_map(|service| {
        let listen = service.listen.first().filter(|_| service.name == *name)?;
        Some(ServiceAddress {
            address: SocketAddr::new(listen.address, listen.port),
            protocol: service.protocol,
        })
    });
    found.ok_or_else(|| Rejection {
        code: Code::UnknownName,
        text: first.map_or_else(
            || format!("there is no service `{name}`"),
            |snapshot| answer::unknown_service(snapshot, name),
        ),
    })
}

fn ask(connection: &mut Connection, ticket: Ticket, job: ExplainJob, worker: usize, scene: &Scene) {
    let services = scene.running.snapshot.services.iter();
    let reals = services.map(|service| service.reals.len()).max();
    let command = Command::Explain {
        ticket,
        query: job.query,
        decisions: Vec::with_capacity(DECISIONS + reals.unwrap_or_default()),
    };
    send(connection, job, command, worker, scene);
}

fn send(
    connection: &mut Connection,
    job: ExplainJob,
    command: Command,
    worker: usize,
    scene: &Scene,
) {
    let worker = scene.fleet.worker(worker);
    if worker.is_some_and(|worker| worker.send(command)) {
        connection.job = Some(Job::Explain(job));
    } else {
        let text = "the worker that owns the flow does not keep up; try again later";
        connection.refuse(Code::Busy, text);
    }
}

fn answer(connection: &mut Connection, rows: &[ExplainRow]) {
    for row in rows {
        connection.send(&Reply::explained(row));
    }
    connection.send(&Reply::done(rows.len() as u64));
}

/// Says whether a candidate can be applied at all.
fn applicable(candidate: &Candidate) -> ExplainRow {
    let (outcome, detail) = match &candidate.needs_restart {
        None => ("applicable", "it can be applied while packets flow"),
        Some(sentence) => ("needs-restart", sentence.as_str()),
    };
    ExplainRow {
        decision: "candidate".to_owned(),
        outcome: outcome.to_owned(),
        detail: detail.to_owned(),
        ..ExplainRow::default()
    }
}

fn v4(address: SocketAddr) -> Option<(std::net::Ipv4Addr, u16)> {
    match address.ip() {
        IpAddr::V4(ip) => Some((ip, address.port())),
        IpAddr::V6(_) => None,
    }
}
