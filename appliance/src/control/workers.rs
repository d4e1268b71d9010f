//! What workers say: answers to commands, news, and records of sessions.

use std::net::Ipv4Addr;
use std::time::Instant;

use weir_director::Notice;
use weir_model::{Event, EventClass, PortId, Severity};
use weir_wire::EthAddr;

use crate::command::{Answer, Command, News};
use crate::control::events::describe::Example;
use crate::control::scene::Scene;
use crate::control::{Control, OWN_TICKET, doctor};
use crate::event::EventRecord;

/// Next hops that are asked for ahead: half of the new ones that a worker asks for in a second.
const NEXT_HOPS: usize = 512;

impl Control {
    pub(super) fn listen_to_workers(&mut self) {
        for place in 0..self.scene.fleet.workers().len() {
            while let Some(answer) = self.next_answer(place) {
                self.take_answer(place, answer);
            }
            while let Some(news) = self.next_news(place) {
                self.take_news(place, news);
            }
        }
    }

    /// Takes what workers logged of sessions.
    pub(super) fn listen_to_sessions(&mut self) {
        let now = Instant::now();
        let Scene { fleet, events, .. } = &mut self.scene;
        fleet.drain_session_logs(|record| events.session(now, &record));
    }

    /// Says how many records of the session log found no room.
    pub(super) fn look_at_session_log(&mut self, now: Instant) {
        let pictures = self.scene.fleet.pictures();
        let lost: u64 = pictures.iter().map(|it| it.vitals.session_log_lost).sum();
        let before = std::mem::replace(&mut self.session_log_lost, lost);
        if lost > before {
            let count = lost - before;
            let text = format!(
                "{count} records of the session log are lost: sessions came faster than they are \
                 taken"
            );
            let class = EventClass::System;
            let record = EventRecord::new(class, Severity::Warning, "session-log-lost", text);
            let record = record.field("count", count).field("total", lost);
            self.scene.events.say(now, record);
        }
    }

    fn next_answer(&self, place: usize) -> Option<Answer> {
        self.scene
            .fleet
            .worker(place)?
            .control
            .answers
            .try_recv()
            .ok()
    }

    fn next_news(&self, place: usize) -> Option<News> {
        self.scene.fleet.worker(place)?.control.news.try_recv().ok()
    }

    fn take_answer(&mut self, place: usize, answer: Answer) {
        match answer {
            Answer::Applied { retired, boards } => {
                drop((retired, boards));
                self.scene.floods.restarted(place);
                if self.scene.fleet.applied(place) {
                    self.finish_apply();
                }
            }
            Answer::PoolUse {
                ticket: OWN_TICKET,
                rows,
            } => {
                self.forecast.uses.extend(rows);
                self.forecast.missing = self.forecast.missing.saturating_sub(1);
                if self.forecast.missing == 0 {
                    let filling = &mut self.scene.filling;
                    filling.look(Instant::now(), &self.forecast.uses);
                    self.pools_are_known();
                }
            }
            Answer::Untapped(tap) => drop(tap),
            // Freed here, off the packet path.
            Answer::Denied { retired } => drop(retired),
            Answer::PoolUse { .. }
            | Answer::Sessions { .. }
            | Answer::Explained { .. }
            | Answer::Neighbours { .. }
            | Answer::Reached { .. } => {
                self.server.answered(place, answer, &self.scene);
            }
            Answer::Reset { real, count, next } => {
                if let Some(event) = self.scene.overlay.took(place, real, count, next) {
                    self.scene.events.say(Instant::now(), event);
                }
                self.ask_for_resets();
            }
        }
    }

    /// Has the first worker ask for the next hops that it does not know, and so all workers learn them
    /// before the first clients need them: few of their packets can wait for an answer to ARP.
    pub(super) fn look_for_next_hops(&self) {
        let mut to = doctor::next_hops(&self.scene.running.snapshot);
        to.truncate(NEXT_HOPS);
        let command = Command::Reach {
            ticket: OWN_TICKET,
            to,
            // How they are reached is not wanted.
            rows: Vec::new(),
        };
        let worker = self.scene.fleet.worker(0);
        // Where there is no room for it, packets ask themselves.
        let _ = worker.is_some_and(|worker| worker.send_if_idle(command));
    }

    fn take_news(&mut self, place: usize, news: News) {
        let now = Instant::now();
        match news {
            News::Notice(Notice::Neighbour { port, address, mac }) => {
                self.tell_neighbour(place, port, address, mac);
            }
            News::Notice(Notice::Flood { .. }) => self.floods_turned = true,
            News::Notice(Notice::Event(
                event @ (Event::FloodBegan { .. } | Event::FloodEnded { .. }),
            )) => {
                self.scene.floods.heard(place, &event);
                self.floods_turned = true;
            }
            News::Notice(Notice::Event(Event::Refused {
                service,
                reason,
                client,
                ..
            })) => {
                let worker = place;
                let example = Example {
                    worker,
                    reason,
                    client,
                };
                self.refusals.heard(service, example);
            }
            News::Notice(Notice::Event(event)) => {
                let snapshot = &self.scene.running.snapshot;
                self.scene.events.happened(now, place, &event, snapshot);
            }
            News::Crashed { port, frame } => {
                if let Err(error) = self.crashes.push(frame, &crate::failure::sentences()) {
                    let sentence = format!("a frame of port {port} cannot be kept: {error}");
                    self.scene
                        .events
                        .system(now, Severity::Error, "crash-ring", sentence);
                }
            }
            News::PortFailed { port, error } => {
                let device = self.scene.devices.iter().find(|device| device.id == port);
                let name = device.map_or("?", |device| device.name.as_str());
                let (severity, sentence) = if let Some(error) = error {
                    let cause = error.to_string();
                    // The number says nothing that the words do not.
                    let cause = cause.split(" (os error").next().unwrap_or_default();
                    let sentence =
                        format!("port {name} cannot transmit on worker {place}: {cause}");
                    (Severity::Error, sentence)
                } else {
                    let sentence = format!("port {name} transmits again on worker {place}");
                    (Severity::Notice, sentence)
                };
                let record = EventRecord::new(EventClass::System, severity, "port", sentence);
                let record = record.field("port", name).field("worker", place);
                self.scene.events.say(now, record);
            }
        }
    }

    /// What one worker learnt of a neighbour, the others may be waiting for.
    fn tell_neighbour(&self, from: usize, port: PortId, address: Ipv4Addr, mac: EthAddr) {
        let workers = self.scene.fleet.workers().iter();
        for worker in workers.filter(|worker| worker.id.index() != from) {
            worker.send_if_idle(Command::Neighbour { port, address, mac });
        }
    }
}
