//! A configuration that does not run: what it would decide of a packet, and where that differs.

use std::sync::Arc;

use weir_control::{ExplainRow, Rejection, Side};
use weir_director::{
    Director, ExplainQuery, Explained, NeighbourView, SpreadFacts, SynproxyState, WorkerFacts,
};
use weir_model::{Now, Role, Snapshot, WorkerId};

use super::diff;
use super::reload;
use super::scene::Scene;
use crate::configuration;
use crate::fleet::Blueprint;
use crate::health::Book;

/// The session table of a director that never opens one.
const SESSIONS: u32 = 1024;

/// A configuration that is asked about.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) snapshot: Arc<Snapshot>,
    /// Why it cannot be applied while packets flow.
    pub(crate) needs_restart: Option<String>,
}

impl Candidate {
    /// Reads the files that a client sent, or the daemon's own.
    ///
    /// # Errors
    /// Returns every mistake in them.
    pub(crate) fn read(
        scene: &Scene,
        sent: &[weir_control::ConfigText],
        role: Role,
    ) -> Result<Self, Rejection> {
        let running = &scene.running.snapshot;
        let texts = diff::texts(&scene.kept, sent)?;
        let composed = configuration::compose_for(role, &texts, running);
        let mut loaded = composed.map_err(|report| diff::mistakes(&report))?;
        let needs_restart = reload::needs_restart(running, &loaded.snapshot);
        // What operators have set holds over it as well.
        scene.overrides.put_into(&mut loaded.snapshot);
        Ok(Self {
            needs_restart,
            snapshot: Arc::new(loaded.snapshot),
        })
    }

    /// Says each decision that a worker with this configuration would take, with the neighbours, the
    /// health, the offers and the floods that the running ones know, and without a session.
    ///
    /// # Errors
    /// Says that there is no memory for it.
    pub(crate) fn decide(
        &self,
        scene: &Scene,
        query: &ExplainQuery,
        neighbours: &[NeighbourView],
        now: Now,
    ) -> Result<Vec<Explained>, String> {
        let blueprint = scene.fleet.blueprint();
        let blueprint = blueprint.ok_or("there is no worker to be like")?;
        let mut worker = WorkerId(0);
        // Whoever is asked first knows who owns the flow.
        loop {
            let mut director = self.director(blueprint, worker, now)?;
            self.tell(scene, neighbours, now, &mut director);
            let mut said = Vec::new();
            director.explain(now, query, &mut |decision| said.push(decision));
            match said.last() {
                Some(Explained::Owner {
                    worker: owner,
                    here: false,
                    ..
                }) if *owner != worker => worker = *owner,
                Some(_) | None => return Ok(said),
            }
        }
    }

    fn director(
        &self,
        blueprint: &Blueprint,
        worker: WorkerId,
        now: Now,
    ) -> Result<Director, String> {
        let facts = WorkerFacts {
            id: worker,
            sessions: SESSIONS,
            ..blueprint.facts.clone()
        };
        let SpreadFacts { ports, clients } = &blueprint.spread;
        let spread = SpreadFacts {
            ports: ports.clone(),
            clients: clients.clone(),
        };
        let made = Director::spread(facts, spread, self.snapshot.clone(), now, &|_| {});
        made.map_err(|_| "there is no memory for the candidate".to_owned())
    }

    /// Tells a director what the running ones were told.
    fn tell(&self, scene: &Scene, neighbours: &[NeighbourView], now: Now, director: &mut Director) {
        for known in neighbours {
            director.learn_neighbour(now, known.port, known.address, known.mac);
        }
        director.deny(scene.overrides.denied());
        director.admit(!scene.overrides.is_maintenance());
        for service in self.snapshot.services.iter() {
            for real in &service.reals {
                director.set_real_state(real.id, scene.health.told(real.id));
            }
            if let Some(offer) = scene.health.offer_of(service.id) {
                director.set_offer(service.id, offer);
            }
            if scene.floods.is_active(service.id) {
                director.set_flood_hint(service.id, true);
            }
        }
    }

    /// Returns the candidate's decisions with what the running configuration decides otherwise.
    pub(crate) fn compare(
        &self,
        running: &Decided<'_>,
        candidate: &[Explained],
    ) -> Vec<ExplainRow> {
        let candidate = Decided {
            decisions: candidate,
            snapshot: &self.snapshot,
            health: running.health,
        };
        compare(running, &candidate)
    }
}

/// Decisions, and the configuration that took them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decided<'a> {
    pub(crate) decisions: &'a [Explained],
    pub(crate) snapshot: &'a Snapshot,
    /// What is known of real servers: workers know only whether they get sessions.
    pub(crate) health: &'a Book,
}

impl Decided<'_> {
    pub(crate) fn row(&self, decision: &Explained, side: Side) -> ExplainRow {
        let mut row = ExplainRow {
            decision: decision.decision().to_owned(),
            outcome: decision.outcome().to_owned(),
            detail: decision.sentence(self.snapshot).to_string(),
            side,
            running: None,
        };
        if let Explained::Real {
            real, down: true, ..
        } = decision
            && !self.health.is_down(*real)
            && self.health.is_inhibited(*real)
        {
            "inhibited".clone_into(&mut row.outcome);
            let told = "is inhibited, as it answered no SYNs:";
            row.detail = row.detail.replacen("is down:", told, 1);
        }
        row
    }
}

/// Both take their decisions in the same order, so what one of them does not decide belongs where
/// the other does.
fn compare(running: &Decided<'_>, candidate: &Decided<'_>) -> Vec<ExplainRow> {
    let mut rows = Vec::new();
    let mut next = 0;
    for new in candidate.decisions {
        let rest = running.decisions.get(next..).unwrap_or_default();
        let Some(found) = rest.iter().position(|old| is_about_the_same(old, new)) else {
            rows.push(candidate.row(new, Side::Candidate));
            continue;
        };
        let (gone, from) = rest.split_at(found);
        rows.extend(gone.iter().map(|old| running.row(old, Side::Running)));
        next += found + 1;
        let Some(old) = from.first() else {
            continue;
        };
        rows.push(match (decided_alike(old, new), old) {
            // What flows decide, and no configuration, is told as it is.
            (true, Explained::Synproxy { .. } | Explained::Table { .. }) => {
                running.row(old, Side::Both)
            }
            (true, _) => candidate.row(new, Side::Both),
            (false, _) => {
                let old = running.row(old, Side::Both);
                ExplainRow {
                    running: Some(format!("{}: {}", old.outcome, old.detail)),
                    ..candidate.row(new, Side::Changed)
                }
            }
        });
    }
    let gone = running.decisions.get(next..).unwrap_or_default();
    rows.extend(gone.iter().map(|old| running.row(old, Side::Running)));
    rows
}

fn is_about_the_same(old: &Explained, new: &Explained) -> bool {
    match (old, new) {
        (Explained::Real { address: old, .. }, Explained::Real { address: new, .. }) => old == new,
        (old, new) => old.decision() == new.decision(),
    }
}

/// Says whether two configurations decide alike, whatever traffic made of the running one: its
/// sessions, its loads and whose turn it is.
fn decided_alike(old: &Explained, new: &Explained) -> bool {
    match (old, new) {
        (
            Explained::Synproxy {
                mode: old,
                enter: was,
                state: before,
                ..
            },
            Explained::Synproxy {
                mode: new,
                enter: is,
                state: after,
                ..
            },
        ) => (old, was, answers(*before)) == (new, is, answers(*after)),
        (Explained::Limit { most: old, .. }, Explained::Limit { most: new, .. }) => old == new,
        (
            Explained::Real {
                weight: old,
                down: was,
                ..
            },
            Explained::Real {
                weight: new,
                down: is,
                ..
            },
        ) => (old, was) == (new, is),
        (
            Explained::Pick {
                scheduler: old,
                real: one,
                draining: was,
                ..
            },
            Explained::Pick {
                scheduler: new,
                real: other,
                draining: is,
                ..
            },
        ) => (old, one.is_some(), was) == (new, other.is_some(), is),
        (
            Explained::Ports {
                pool: old,
                total: was,
                ..
            },
            Explained::Ports {
                pool: new,
                total: is,
                ..
            },
        ) => (old, was) == (new, is),
        (Explained::Table { .. }, Explained::Table { .. }) => true,
        (
            Explained::Route { to, hop: old },
            Explained::Route {
                to: other,
                hop: new,
            },
        ) => {
            // Another real server's turn is no other way.
            let port = |hop: &Option<_>| hop.map(|(port, _)| port);
            if to == other {
                old == new
            } else {
                port(old) == port(new)
            }
        }
        (
            Explained::Neighbour {
                address: old,
                mac: was,
                port: from,
            },
            Explained::Neighbour {
                address: new,
                mac: is,
                port: to,
            },
        ) => from == to && (old != new || was == is),
        (old, new) => old == new,
    }
}

/// Whether SYNs are answered with cookies, whoever found that out.
fn answers(state: SynproxyState) -> bool {
    match state {
        SynproxyState::Off
        | SynproxyState::Quiet
        | SynproxyState::Verifying
        | SynproxyState::Draining => false,
        SynproxyState::Triggered | SynproxyState::Hinted | SynproxyState::Always => true,
    }
}
