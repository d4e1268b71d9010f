//! What clients have done: each order goes to the part of control that carries it out.

use std::time::{Duration, Instant};

use weir_control::{Code, Rejection, Reply, Request};

use crate::control::Control;
use crate::control::apply::{Asker, Wanted, Wish};
use crate::control::overlay::orders::{Meant, Wanted as Ordering};
use crate::control::overrides::DenyWish;
use crate::control::server::{ClientId, Order};
use crate::event::EventRecord;

impl Control {
    pub(super) fn apply_own_files(&mut self) {
        if self.scene.stopping.is_none() {
            self.apply(Wish {
                asker: Asker::Signal,
                wanted: Wanted::Texts(Vec::new()),
                over: None,
                confirm: None,
            });
        }
    }

    /// Carries out a change that a client asks for.
    pub(super) fn carry_out(&mut self, order: Order) {
        if let Some(rejection) = self.changed_since(order.asked.expect_generation) {
            return self.finish(order.client, &[Reply::refused(&rejection)]);
        }
        match order.asked.request {
            Request::Apply {
                texts,
                confirm_ms,
                over,
            } => self.apply(Wish {
                asker: Asker::Client(order.client, order.operator),
                wanted: Wanted::Texts(texts),
                over,
                confirm: confirm_ms.map(Duration::from_millis),
            }),
            Request::Capture(wanted) => self.capture(order.client, &order.operator, &wanted),
            Request::Maintenance { on } => {
                self.set_maintenance(order.client, &order.operator, on);
            }
            Request::Synproxy {
                service,
                mode,
                for_ms,
            } => {
                let asker = Asker::Client(order.client, order.operator);
                self.set_synproxy(asker, &service, mode, for_ms.map(Duration::from_millis));
            }
            Request::Deny {
                network,
                on,
                for_ms,
            } => {
                let asker = Asker::Client(order.client, order.operator);
                let span = for_ms.map(Duration::from_millis);
                self.deny(&asker, &DenyWish { network, on, span });
            }
            Request::Confirm {} => self.confirm(order.client, order.operator),
            Request::Rollback { generation } => self.apply(Wish {
                asker: Asker::Client(order.client, order.operator),
                wanted: Wanted::Earlier(generation),
                over: None,
                confirm: None,
            }),
            Request::Drain {
                service,
                real,
                deadline_ms,
                then,
            } => {
                let deadline = deadline_ms.map(Duration::from_millis);
                let wanted = Ordering::Drain { deadline, then };
                let meant = Meant { service, real };
                self.order(order.client, order.operator, &meant, &wanted);
            }
            Request::Enable { service, real } => {
                let meant = Meant { service, real };
                self.order(order.client, order.operator, &meant, &Ordering::Enable);
            }
            Request::Weight {
                service,
                real,
                weight,
            } => {
                let wanted = Ordering::Weight(weight);
                let meant = Meant { service, real };
                self.order(order.client, order.operator, &meant, &wanted);
            }
            Request::Tell(tell) => {
                let events = &mut self.scene.events;
                events.say(Instant::now(), EventRecord::told(&tell));
                self.finish(order.client, &[Reply::done(0)]);
            }
            // These change nothing; the server has answered them itself.
            Request::Show { .. }
            | Request::Hello(_)
            | Request::Explain(_)
            | Request::Diff { .. }
            | Request::Doctor {}
            | Request::Draining { .. } => {}
        }
    }

    /// Refuses what is meant for another configuration than the one that runs: it says which runs,
    /// since when and by whom.
    fn changed_since(&self, expected: Option<u64>) -> Option<Rejection> {
        let running = self.scene.running.snapshot.generation.0;
        let expected = expected.filter(|expected| *expected != running)?;
        let rows = self.scene.kept.rows(running);
        let row = rows.iter().find(|row| row.generation == running);
        let what = row.map_or_else(String::new, |row| {
            format!(" since {}, by {}: {}", row.at, row.by, row.summary)
        });
        Some(Rejection {
            code: Code::Changed,
            text: format!(
                "nothing was done: configuration {running} runs{what}; this was meant for \
                 configuration {expected}"
            ),
        })
    }

    /// Answers a change that a client asked for.
    pub(super) fn finish(&mut self, client: ClientId, replies: &[Reply]) {
        self.server.finish(client, replies, &self.scene);
    }
}
