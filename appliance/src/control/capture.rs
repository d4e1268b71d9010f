//! A capture under way: at most one, bounded in frames and in time.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use weir_control::{CaptureOrder, CaptureRow, CapturedFrame, Code, Rejection, Reply};
use weir_model::{DropReason, EventClass, Severity, Snapshot, Verdict};

use super::Control;
use super::answer::unknown_service;
use super::operator::Operator;
use super::server::ClientId;
use crate::capture::filter::{Dropped, ServiceEnds};
use crate::capture::tap::Passage;
use crate::capture::{Filter, Taken, Tap};
use crate::command::Command;
use crate::event::EventRecord;

/// Frames on their way from all workers to the client: 4 MiB.
const ROOM: usize = 2048;
const MOST_FRAMES: u64 = 1_000_000;
const LONGEST: Duration = Duration::from_hours(1);
/// The client hears this often how far it has come.
const PROGRESS: Duration = Duration::from_secs(1);
/// Frames between two looks at everything else.
const FRAMES_A_TURN: usize = 256;

/// A capture under way.
#[derive(Debug)]
pub(super) struct Capture {
    client: ClientId,
    empty: Sender<Taken>,
    full: Receiver<Taken>,
    /// Frames that may still be sent.
    left: u64,
    sent: u64,
    lines: u64,
    missed: Arc<AtomicU64>,
    ends: Instant,
    progress: Instant,
}

impl Control {
    /// Begins a capture.
    pub(super) fn capture(&mut self, client: ClientId, operator: &Operator, order: &CaptureOrder) {
        let filter = match self.filter(order) {
            Ok(filter) => filter,
            Err(rejection) => return self.finish(client, &[Reply::refused(&rejection)]),
        };
        let (empty, take_empty) = bounded(ROOM);
        let (put_full, full) = bounded(ROOM);
        for _ in 0..ROOM {
            // There is room for all of them.
            let _ = empty.try_send(Taken::empty());
        }
        let missed = Arc::new(AtomicU64::new(0));
        for worker in self.scene.fleet.workers() {
            let (empty, full) = (take_empty.clone(), put_full.clone());
            let tap = Tap::new(worker.id, filter.clone(), empty, full, missed.clone());
            worker.send(Command::Capture(Some(Box::new(tap))));
        }
        let now = Instant::now();
        let wait = Duration::from_secs(order.seconds).min(LONGEST);
        self.capture = Some(Capture {
            client,
            empty,
            full,
            left: order.limit.clamp(1, MOST_FRAMES),
            sent: 0,
            lines: 0,
            missed,
            ends: now + wait,
            progress: now,
        });
        let what = wanted(order);
        let text = format!(
            "{operator} captures {what}, for {} s at most",
            wait.as_secs()
        );
        let class = EventClass::Operator;
        let record = EventRecord::new(class, Severity::Notice, "capture-began", text)
            .field("by", &operator.name)
            .field("from", &operator.from)
            .field("what", what);
        self.scene.events.say(now, record);
        self.pump_capture();
    }

    /// Says what is wanted.
    fn filter(&self, order: &CaptureOrder) -> Result<Filter, Rejection> {
        let reject = |code, text: String| Rejection { code, text };
        if self.capture.is_some() {
            let text = "a capture is under way; there is one at a time".to_owned();
            return Err(reject(Code::Busy, text));
        }
        let snapshot = &self.scene.running.snapshot;
        let service = order.service.as_ref().map(|name| {
            let mut services = snapshot.services.iter();
            let found = services.find(|service| service.name == *name);
            let found = found.map(ServiceEnds::of);
            found.ok_or_else(|| reject(Code::UnknownName, unknown_service(snapshot, name)))
        });
        let dropped = order.dropped.as_deref().map(|word| {
            if word == "any" {
                return Ok(Dropped::Any);
            }
            let mut reasons = DropReason::ALL.iter();
            let found = reasons.find(|reason| reason.label() == word);
            let text = || {
                let names = DropReason::ALL.iter().map(|reason| reason.label());
                let names: Vec<&str> = names.collect();
                let instead = weir_conf::instead(word, &names);
                let instead = if instead.starts_with("did you mean") {
                    instead
                } else {
                    "`weir show ledger` has their names".to_owned()
                };
                format!("`{word}` is no drop reason; {instead}")
            };
            found
                .map(|reason| Dropped::For(*reason))
                .ok_or_else(|| reject(Code::BadArgument, text()))
        });
        Ok(Filter {
            service: service.transpose()?,
            address: order.client,
            dropped: dropped.transpose()?,
        })
    }

    /// Passes on what the taps took, as far as the client takes it, and ends the capture when it is
    /// over.
    pub(super) fn pump_capture(&mut self) {
        let Some(mut capture) = self.capture.take() else {
            return;
        };
        let now = Instant::now();
        let mut is_there = true;
        for _ in 0..FRAMES_A_TURN {
            is_there = self.server.has_room(capture.client).is_some();
            if capture.left == 0 || self.server.has_room(capture.client) != Some(true) {
                break;
            }
            let Ok(taken) = capture.full.try_recv() else {
                break;
            };
            capture.left -= 1;
            capture.sent += 1;
            let frame = frame(&self.scene.running.snapshot, &taken);
            self.send_row(&mut capture, Some(frame));
            // A worker that has ended needs no room.
            let _ = capture.empty.try_send(taken);
        }
        let is_over = capture.left == 0 || now >= capture.ends || !is_there;
        if now >= capture.progress || is_over {
            capture.progress = now + PROGRESS;
            self.send_row(&mut capture, None);
        }
        if is_over {
            for worker in self.scene.fleet.workers() {
                while !worker.send(Command::Capture(None)) {
                    std::thread::yield_now();
                }
            }
            return self.finish(capture.client, &[Reply::done(capture.lines)]);
        }
        self.capture = Some(capture);
    }

    fn send_row(&mut self, capture: &mut Capture, frame: Option<CapturedFrame>) {
        capture.lines += 1;
        let row = CaptureRow {
            captured: capture.sent,
            missed: capture.missed.load(Ordering::Relaxed),
            frame,
        };
        let reply = Reply::captured(&row);
        self.server.stream(capture.client, &reply, &self.scene);
    }
}

/// Says in words which frames an order is for.
fn wanted(order: &CaptureOrder) -> String {
    let mut text = match &order.dropped {
        None => "frames".to_owned(),
        Some(reason) if reason == "any" => "dropped frames".to_owned(),
        Some(reason) => format!("frames dropped as {reason}"),
    };
    if let Some(service) = &order.service {
        let _ = write!(text, " of service {service}");
    }
    if let Some(client) = order.client {
        let _ = write!(text, " of client {client}");
    }
    text
}

fn frame(snapshot: &Snapshot, taken: &Taken) -> CapturedFrame {
    let name = |id: weir_model::PortId| {
        let port = snapshot.ports.get(id.index());
        port.map_or("unknown", |port| port.name.as_str())
    };
    let verdict = match taken.passage {
        Passage::Out => "sent".to_owned(),
        Passage::Originated => "sent by weir itself".to_owned(),
        Passage::In(Verdict::Forward(port)) => format!("forward to {}", name(port)),
        Passage::In(Verdict::Reply) => "reply".to_owned(),
        Passage::In(Verdict::Deliver) => "deliver to the host".to_owned(),
        Passage::In(Verdict::Drop(reason)) => format!("drop: {}", reason.label()),
        Passage::In(Verdict::HandOff(worker)) => format!("hand off to worker {}", worker.0),
        Passage::In(Verdict::Hold) => "hold".to_owned(),
    };
    let mut bytes = String::with_capacity(2 * taken.bytes.len());
    for byte in &taken.bytes {
        let _ = write!(bytes, "{byte:02x}");
    }
    // The wall clock has milliseconds; the clock of timers has the rest.
    let start_ms = taken.at.wall_ms.saturating_sub(taken.at.time.as_millis());
    let at_us = start_ms * 1000 + taken.at.time.as_micros();
    CapturedFrame {
        at_us,
        port: name(taken.port).to_owned(),
        came_in: matches!(taken.passage, Passage::In(_)),
        verdict,
        worker: u32::from(taken.worker.0),
        len: taken.len,
        bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_told_with_all_that_it_asks_for() {
        let mut order = CaptureOrder::default();
        assert_eq!(wanted(&order), "frames");
        order.service = Some("web".to_owned());
        order.client = Some([192, 0, 2, 7].into());
        order.dropped = Some("any".to_owned());
        let all = "dropped frames of service web of client 192.0.2.7";
        assert_eq!(wanted(&order), all);
        order.dropped = Some("cookie-invalid".to_owned());
        assert!(wanted(&order).starts_with("frames dropped as cookie-invalid of"));
    }
}
