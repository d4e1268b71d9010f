//! `explain`: asks the worker that owns a flow what would become of a packet.

use std::net::{IpAddr, SocketAddr};

use weir_control::{Code, ExplainRow, Question, Reply};
use weir_director::{ExplainQuery, Explained};
use weir_model::Snapshot;
use weir_wire::TcpFlags;

use crate::command::{Command, Ticket};
use crate::control::connection::{Connection, Job};
use crate::control::scene::Scene;

/// Decisions besides those about real servers, at most.
const DECISIONS: usize = 32;

/// Begins to answer a question: any worker knows who owns the flow.
pub(crate) fn begin(
    connection: &mut Connection,
    ticket: Ticket,
    question: &Question,
    scene: &Scene,
) {
    let (Some(client), Some(vip)) = (v4(question.client), v4(question.service.address)) else {
        let text = "this build balances IPv4 only; ask with IPv4 addresses";
        return connection.refuse(Code::BadArgument, text);
    };
    let query = ExplainQuery {
        client,
        vip,
        protocol: question.service.protocol,
        flags: TcpFlags(question.flags.0),
    };
    ask(connection, ticket, query, 0, scene);
}

/// Takes a worker's answer: passes it on, or asks the worker that it names.
pub(crate) fn take(
    connection: &mut Connection,
    ticket: Ticket,
    worker: usize,
    decisions: &[Explained],
    scene: &Scene,
) {
    let Some(Job::Explain(query)) = connection.job else {
        return;
    };
    connection.job = None;
    if let Some(Explained::Owner { worker: owner, .. }) = decisions.last()
        && owner.index() != worker
    {
        return ask(connection, ticket, query, owner.index(), scene);
    }
    for decision in decisions {
        connection.send(&Reply::explained(&row(decision, &scene.running.snapshot)));
    }
    connection.send(&Reply::done(decisions.len() as u64));
}

fn ask(
    connection: &mut Connection,
    ticket: Ticket,
    query: ExplainQuery,
    worker: usize,
    scene: &Scene,
) {
    let services = scene.running.snapshot.services.iter();
    let reals = services.map(|service| service.reals.len()).max();
    let command = Command::Explain {
        ticket,
        query,
        decisions: Vec::with_capacity(DECISIONS + reals.unwrap_or_default()),
    };
    let worker = scene.fleet.worker(worker);
    if worker.is_some_and(|worker| worker.send(command)) {
        connection.job = Some(Job::Explain(query));
    } else {
        let text = "the worker that owns the flow does not keep up; try again later";
        connection.refuse(Code::Busy, text);
    }
}

fn row(decision: &Explained, snapshot: &Snapshot) -> ExplainRow {
    ExplainRow {
        decision: decision.decision().to_owned(),
        outcome: decision.outcome().to_owned(),
        detail: decision.sentence(snapshot).to_string(),
    }
}

fn v4(address: SocketAddr) -> Option<(std::net::Ipv4Addr, u16)> {
    match address.ip() {
        IpAddr::V4(ip) => Some((ip, address.port())),
        IpAddr::V6(_) => None,
    }
}
