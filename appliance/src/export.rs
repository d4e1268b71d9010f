//! What leaves the box: events and the session log, to the receivers that `[syslog]` sections name.
//!
//! Control offers each event to every receiver. Whether it is wanted and within its budget is decided
//! there, which costs a look-up; it is formatted and sent by a thread of the receiver's own. Between
//! them are three bounded queues, of what operators did, of other events and of the session log,
//! whose oldest message makes room for the youngest: a receiver that hangs, or a name that cannot be
//! resolved, stops nobody. What is not sent is counted: an event that was left out by the next
//! message of its kind, one that made room by the receiver's count and a gap in the sequence ids.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TrySendError, bounded};
use weir_control::SyslogRow;
use weir_director::SessionRecord;
use weir_model::{EventClass, ServiceId, Severity, Snapshot, Syslog};

use crate::event::{EventRecord, Numbered};
use crate::export::budget::Budgets;
use crate::export::format::Formatter;
use crate::export::sender::{Book, Sender, SessionMessage, Shared, Status};

pub(crate) mod budget;
mod format;
mod link;
mod sender;
mod session;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;

const SECOND: Duration = Duration::from_secs(1);
/// How long the end of the daemon waits for what is on its way.
const FAREWELL: Duration = Duration::from_secs(1);
/// How often it is told at most that messages are being dropped.
const TELL_DROPPED: Duration = Duration::from_mins(1);

/// All receivers.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    outlets: Vec<Outlet>,
    /// Services by their ids, which are given out once: also of those that are gone.
    names: BTreeMap<ServiceId, Arc<str>>,
    /// Receivers that are not wanted any more and still send what waits.
    leaving: Vec<JoinHandle<()>>,
}

/// Control's side of a receiver.
#[derive(Debug)]
struct Outlet {
    config: Syslog,
    node: String,
    budgets: Budgets,
    session_budgets: Budgets,
    /// The class and severity of the kinds that were offered, for their summaries.
    kinds: BTreeMap<&'static str, (EventClass, Severity)>,
    audit: Queue<Numbered>,
    events: Queue<Numbered>,
    sessions: Queue<SessionMessage>,
    shared: Arc<Shared>,
    suppressed: u64,
    told: Told,
    /// Dropped when the receiver is not wanted any more.
    _stop: crossbeam_channel::Sender<Infallible>,
    thread: Option<JoinHandle<()>>,
}

/// What was said of a receiver.
#[derive(Debug, Default)]
struct Told {
    is_down: bool,
    breaks: u64,
    dropped: u64,
    dropped_at: Option<Instant>,
    /// How many were dropped a moment ago.
    dropped_before: u64,
}

/// A bounded queue whose oldest message makes room.
#[derive(Debug)]
struct Queue<T> {
    to: crossbeam_channel::Sender<T>,
    from: Receiver<T>,
}

impl<T> Queue<T> {
    fn new(capacity: u32) -> Self {
        let (to, from) = bounded(capacity as usize);
        Self { to, from }
    }

    /// Puts a message in, and returns the one that made room for it.
    fn push(&self, mut message: T) -> Option<T> {
        loop {
            match self.to.try_send(message) {
                Ok(()) => return None,
                Err(TrySendError::Full(back)) => {
                    let oldest = self.from.try_recv();
                    // Nobody else puts messages in, so there is room for this one now.
                    let Ok(oldest) = oldest else {
                        message = back;
                        continue;
                    };
                    let _ = self.to.try_send(back);
                    return Some(oldest);
                }
                // Both of its ends are here.
                Err(TrySendError::Disconnected(back)) => return Some(back),
            }
        }
    }
}

/// Says what of a configuration this build cannot do, which its features decide.
///
/// # Errors
/// With the sentence.
pub(crate) fn supported(snapshot: &Snapshot) -> anyhow::Result<()> {
    let wants_tls = |receiver: &&Syslog| receiver.transport == weir_model::Transport::Tls;
    if !cfg!(feature = "tls")
        && let Some(receiver) = snapshot.syslog.iter().find(wants_tls)
    {
        anyhow::bail!(
            "[syslog {}] transport: this build has no TLS",
            receiver.name
        );
    }
    Ok(())
}

impl Exports {
    /// Follows the receivers of a configuration: those that did not change keep their connection
    /// and what waits for them.
    pub(crate) fn adopt(&mut self, snapshot: &Snapshot) {
        let names = snapshot.services.iter();
        let names = names.map(|service| (service.id, service.name.as_str().into()));
        self.names.extend(names);
        let node = &snapshot.node.name;
        let mut before = std::mem::take(&mut self.outlets);
        for config in &snapshot.syslog {
            let same = |outlet: &Outlet| outlet.config == *config && outlet.node == *node;
            let outlet = match before.iter().position(same) {
                Some(at) => before.swap_remove(at),
                None => Outlet::open(config.clone(), node.clone()),
            };
            self.outlets.push(outlet);
        }
        self.leaving.retain(|thread| !thread.is_finished());
        self.leaving
            .extend(before.into_iter().filter_map(Outlet::close));
    }

    /// Offers an event to every receiver.
    pub(crate) fn offer(&mut self, now: Instant, event: &Numbered) {
        for outlet in &mut self.outlets {
            outlet.offer(now, event);
        }
    }

    /// Offers what became of a session to the receivers of the session log.
    pub(crate) fn offer_session(&mut self, now: Instant, record: &SessionRecord) {
        let name = self.names.get(&record.service);
        let name = name.cloned().unwrap_or_else(|| "?".into());
        for outlet in &mut self.outlets {
            outlet.offer_session(now, record, &name);
        }
    }

    /// Sends how many were left out of kinds of which nothing more came.
    pub(crate) fn summarise(&mut self, now: Instant) {
        for outlet in &mut self.outlets {
            outlet.summarise(now);
        }
    }

    /// Returns what is to be said of the receivers themselves.
    pub(crate) fn look(&mut self, now: Instant) -> Vec<EventRecord> {
        let mut news = Vec::new();
        for outlet in &mut self.outlets {
            outlet.look(now, &mut news);
        }
        news
    }

    /// Lets what waits go out, for a moment at most.
    pub(crate) fn finish(&mut self) {
        let outlets = std::mem::take(&mut self.outlets);
        self.leaving
            .extend(outlets.into_iter().filter_map(Outlet::close));
        let end = Instant::now() + FAREWELL;
        let all_gone = |threads: &[JoinHandle<()>]| threads.iter().all(JoinHandle::is_finished);
        while !all_gone(&self.leaving) && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Returns how the receivers do.
    pub(crate) fn rows(&self) -> Vec<SyslogRow> {
        self.outlets.iter().map(Outlet::row).collect()
    }
}

impl Outlet {
    fn open(config: Syslog, node: String) -> Self {
        let (stop, stopped) = bounded(0);
        let (audit, events) = (Queue::new(config.queue), Queue::new(config.queue));
        let sessions = Queue::new(config.queue);
        let shared = Arc::new(Shared::default());
        let sender = Sender {
            formatter: Formatter::new(config.format, config.facility, &node),
            config: config.clone(),
            shared: shared.clone(),
            audit: audit.from.clone(),
            events: events.from.clone(),
            sessions: sessions.from.clone(),
            stop: stopped,
            book: Book::default(),
        };
        let name = format!("log-{}", config.name);
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || sender.run());
        if let Err(error) = &thread {
            shared.status().error = Some(format!("cannot start a thread: {error}"));
        }
        Self {
            budgets: Budgets::new(config.budget, SECOND),
            session_budgets: Budgets::new(config.session_budget, SECOND),
            config,
            node,
            kinds: BTreeMap::new(),
            audit,
            events,
            sessions,
            shared,
            suppressed: 0,
            told: Told::default(),
            _stop: stop,
            thread: thread.ok(),
        }
    }

    fn offer(&mut self, now: Instant, event: &Numbered) {
        let record = event.record.as_ref();
        if !self.config.events.contains(&record.class) {
            return;
        }
        self.kinds
            .insert(record.code, (record.class, record.severity));
        let Some(suppressed) = self.budgets.admit_event(now, record) else {
            self.suppressed += 1;
            return;
        };
        self.push(Numbered {
            suppressed,
            ..event.clone()
        });
    }

    /// Says what is still to be said, and lets the thread send what waits and end.
    fn close(mut self) -> Option<JoinHandle<()>> {
        for (code, count) in self.budgets.take_leftovers() {
            self.sum_up(code, count);
        }
        for (code, count) in self.session_budgets.take_leftovers() {
            self.sum_up_sessions(code, count);
        }
        // Dropping the other ends of its queues is what tells it.
        self.thread.take()
    }

    fn offer_session(&mut self, now: Instant, record: &SessionRecord, service: &Arc<str>) {
        if !self.config.events.contains(&EventClass::Session) {
            return;
        }
        let Some(suppressed) = self
            .session_budgets
            .admit(now, session::code(record.change))
        else {
            self.suppressed += 1;
            return;
        };
        let oldest = self.sessions.push(SessionMessage {
            record: *record,
            service: service.clone(),
            suppressed,
        });
        if let Some(oldest) = oldest {
            let code = session::code(oldest.record.change);
            self.session_budgets.give_back(code, oldest.suppressed);
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn push(&mut self, event: Numbered) {
        let queue = if event.record.is_audit() {
            &self.audit
        } else {
            &self.events
        };
        let Some(oldest) = queue.push(event) else {
            return;
        };
        // What it would have told is told by the next of its kind.
        let budgets = match oldest.record.class {
            EventClass::Session => &mut self.session_budgets,
            EventClass::Security
            | EventClass::Health
            | EventClass::Operator
            | EventClass::System => &mut self.budgets,
        };
        budgets.give_back(oldest.record.code, oldest.suppressed);
        let is_lost = oldest.sequence > 0;
        self.shared
            .dropped
            .fetch_add(u64::from(is_lost), Ordering::Relaxed);
    }

    /// Says how many were left out of kinds that are quiet now; where there is no room for it, later.
    fn summarise(&mut self, now: Instant) {
        while !self.events.to.is_full()
            && let Some((code, count)) = self.budgets.next_leftover(now)
        {
            self.sum_up(code, count);
        }
        while !self.events.to.is_full()
            && let Some((code, count)) = self.session_budgets.next_leftover(now)
        {
            self.sum_up_sessions(code, count);
        }
    }

    fn sum_up(&mut self, code: &'static str, count: u64) {
        let like = self.kinds.get(code).copied();
        let (class, severity) = like.unwrap_or((EventClass::System, Severity::Notice));
        self.push_summary(EventRecord::summary(class, severity, code, count), count);
    }

    fn sum_up_sessions(&mut self, code: &'static str, count: u64) {
        let record = EventRecord::summary(EventClass::Session, Severity::Info, code, count);
        self.push_summary(record, count);
    }

    fn push_summary(&mut self, record: EventRecord, suppressed: u64) {
        self.push(Numbered {
            sequence: 0,
            at: std::time::SystemTime::now(),
            record: Arc::new(record),
            suppressed,
        });
    }

    fn look(&mut self, now: Instant, news: &mut Vec<EventRecord>) {
        let Status {
            connected,
            breaks,
            error,
            ..
        } = self.shared.status().clone();
        let (name, server) = (&self.config.name, &self.config.server);
        let record = |severity, code, text: String| {
            EventRecord::new(EventClass::System, severity, code, text)
                .field("receiver", name)
                .field("server", server)
        };
        let told = &mut self.told;
        if breaks > told.breaks {
            told.breaks = breaks;
            told.is_down = true;
            let cause = error.unwrap_or_default();
            let text = format!("log receiver {name} gets no messages: {cause}");
            news.push(record(Severity::Warning, "syslog-down", text));
        }
        if connected && told.is_down {
            told.is_down = false;
            let text = format!("log receiver {name} gets messages again");
            news.push(record(Severity::Notice, "syslog-up", text));
        }
        let dropped = self.shared.dropped.load(Ordering::Relaxed);
        let is_quiet = dropped == std::mem::replace(&mut told.dropped_before, dropped);
        let is_late = told
            .dropped_at
            .is_none_or(|at| now.saturating_duration_since(at) >= TELL_DROPPED);
        if dropped > told.dropped && (is_late || (connected && is_quiet)) {
            let count = dropped - told.dropped;
            told.dropped = dropped;
            told.dropped_at = Some(now);
            let text = format!(
                "{count} messages for log receiver {name} made room for younger ones and are lost"
            );
            let record = record(Severity::Warning, "syslog-dropped", text);
            news.push(record.field("count", count).field("total", dropped));
        }
    }

    fn row(&self) -> SyslogRow {
        let status = self.shared.status().clone();
        SyslogRow {
            name: self.config.name.clone(),
            server: self.config.server.clone(),
            transport: self.config.transport.name().to_owned(),
            format: self.config.format.name().to_owned(),
            connected: status.connected,
            queued: (self.audit.from.len() + self.events.from.len() + self.sessions.from.len())
                as u64,
            sent: status.sent,
            repeated: status.repeated,
            dropped: self.shared.dropped.load(Ordering::Relaxed),
            suppressed: self.suppressed,
            last_error: status.error,
        }
    }
}
