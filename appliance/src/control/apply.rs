//! Applying a configuration: all or nothing, while packets flow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_conf::{Purpose, Style};
use weir_control::{AppliedRow, Code, ConfigText, Rejection, Reply};
use weir_model::{EventClass, Severity, Snapshot};

use super::kept::Unconfirmed;
use super::operator::Operator;
use super::server::ClientId;
use super::{Control, diff, ports, reload, set_owned};
use crate::configuration::{self, Configuration};
use crate::event::EventRecord;
use crate::state::Applied;
use crate::{log, secret};

/// The longest that a configuration may wait to be confirmed.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// A configuration that somebody wants.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) asker: Asker,
    pub(super) wanted: Wanted,
    /// It goes again after this long unless somebody confirms it.
    pub(super) confirm: Option<Duration>,
}

/// Who wants it.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    /// SIGHUP.
    Signal,
    /// Nobody confirmed the one that runs.
    Silence,
    /// A client of a control socket, who waits for the answer.
    Client(ClientId, Operator),
}

/// Which configuration it is.
#[derive(Clone, Debug)]
pub(super) enum Wanted {
    /// What these files say; none means the daemon's own.
    Texts(Vec<ConfigText>),
    /// One that was applied before, or the one before where none is named.
    Earlier(Option<u64>),
}

/// A configuration on its way to the workers.
#[derive(Debug)]
pub(super) struct Applying {
    configuration: Configuration,
    wish: Wish,
}

impl Control {
    /// Begins to apply a configuration; the running one stays as it is when anything in the way of
    /// that is found.
    pub(super) fn apply(&mut self, wish: Wish) {
        if self.applying.is_some() {
            self.apply_next.push_back(wish);
            return;
        }
        match self.begin_apply(&wish) {
            Ok(configuration) => {
                self.scene.fleet.apply(&configuration.snapshot);
                self.applying = Some(Applying {
                    configuration,
                    wish,
                });
            }
            Err(rejection) => self.refuse(&wish.asker, &rejection),
        }
    }

    /// Makes the configuration stay that waits for it.
    pub(super) fn confirm(&mut self, client: ClientId, operator: Operator) {
        let asker = Asker::Client(client, operator);
        // What waits for the workers is the one that is to be confirmed.
        if self.applying.is_some() {
            let text = "a configuration is being applied; try again".to_owned();
            return self.refuse(&asker, &rejection(Code::Busy, text));
        }
        let Some(unconfirmed) = self.scene.kept.unconfirmed.take() else {
            let text = "no configuration waits to be confirmed".to_owned();
            return self.refuse(&asker, &rejection(Code::NothingToDo, text));
        };
        let generation = unconfirmed.applied.generation;
        let sentence = format!("configuration {generation} confirmed{}", asker.by());
        let record = operator_event(Severity::Notice, "confirmed", sentence, &asker);
        let now = Instant::now();
        let record = record.field("generation", generation);
        self.scene.events.say(now, record);
        let warning = self.keep(&unconfirmed.applied);
        let row = AppliedRow {
            generation,
            summary: unconfirmed.applied.summary,
            confirm_within_s: None,
            warning,
        };
        self.answer(&asker, &row);
    }

    /// Gives up a configuration that nobody confirmed in time.
    pub(super) fn look_at_unconfirmed(&mut self) {
        let unconfirmed = self.scene.kept.unconfirmed.as_ref();
        let is_over = unconfirmed.is_some_and(|one| Instant::now() >= one.deadline);
        if is_over && self.applying.is_none() {
            self.apply(Wish {
                asker: Asker::Silence,
                wanted: Wanted::Earlier(None),
                confirm: None,
            });
        }
    }

    /// Gets everything ready for a new configuration but the workers.
    fn begin_apply(&mut self, wish: &Wish) -> Result<Configuration, Rejection> {
        if self.stop.is_some() {
            return Err(rejection(
                Code::Stopping,
                "the daemon is stopping".to_owned(),
            ));
        }
        if wish.confirm.is_some_and(|wait| wait > LONGEST_WAIT) {
            let text = "a configuration may wait to be confirmed for a day at most".to_owned();
            return Err(rejection(Code::BadArgument, text));
        }
        let old = self.scene.running.snapshot.clone();
        let mut new = self.read(wish, &old)?;
        if let Some(sentence) = reload::needs_restart(&old, &new.snapshot) {
            let text = format!("{sentence}; the running configuration is unchanged");
            return Err(rejection(Code::NeedsRestart, text));
        }
        self.prepare(&mut new).map_err(|error| {
            let text = format!("{error:#}; the running configuration is unchanged");
            rejection(Code::Failed, text)
        })?;
        Ok(new)
    }

    /// Reads the configuration that is wanted.
    fn read(&self, wish: &Wish, old: &Snapshot) -> Result<Configuration, Rejection> {
        let kept = &self.scene.kept;
        let texts = match (&wish.wanted, &kept.unconfirmed) {
            (Wanted::Texts(_), Some(waiting)) => {
                let text = format!(
                    "configuration {} waits to be confirmed; `weir confirm` or `weir rollback` first",
                    waiting.applied.generation
                );
                return Err(rejection(Code::Unconfirmed, text));
            }
            (Wanted::Texts(texts), None) => diff::texts(kept, texts)?,
            (Wanted::Earlier(None), Some(waiting)) => {
                let (generation, text) = &waiting.before;
                vec![diff::kept_text(*generation, text)]
            }
            (Wanted::Earlier(wanted), _) => {
                let earlier = kept.earlier(old.generation.0, *wanted);
                let earlier = earlier.map_err(|text| rejection(Code::NothingToDo, text))?;
                vec![diff::kept_text(earlier.generation, &earlier.text)]
            }
        };
        let (loaded, _) = configuration::compose(&texts, Some(old)).map_err(|report| {
            let text = report.render(Style::long(Purpose::Apply));
            rejection(Code::Mistakes, text)
        })?;
        Ok(configuration::configuration(loaded, old.generation.0 + 1))
    }

    /// Reads the secrets, and has the ports take the addresses of the old and the new
    /// configuration.
    fn prepare(&mut self, new: &mut Configuration) -> anyhow::Result<()> {
        let filled = secret::fill(Arc::make_mut(&mut new.snapshot), &self.fallback_key)?;
        for line in filled {
            self.scene
                .events
                .system(Instant::now(), Severity::Notice, "secret", line);
        }
        for port in new.snapshot.ports.iter() {
            ports::ensure_addresses(port)?;
        }
        let before = self.scene.running.snapshot.owned_addresses();
        let meanwhile = reload::owned_meanwhile(&before, &new.snapshot.owned_addresses());
        if let Err(error) = set_owned(&mut self.scene.devices, &meanwhile) {
            // What was owned before must be owned again; a second failure is the same one.
            let _ = set_owned(&mut self.scene.devices, &before);
            return Err(error);
        }
        Ok(())
    }

    /// Every worker has the new snapshot: what only the old one owned goes back to the kernel.
    pub(super) fn finish_apply(&mut self) {
        let Some(Applying {
            configuration: new,
            wish,
        }) = self.applying.take()
        else {
            return;
        };
        let (now, snapshot) = (Instant::now(), new.snapshot.clone());
        if let Err(error) = set_owned(&mut self.scene.devices, &snapshot.owned_addresses()) {
            let sentence =
                format!("an address that was given up is still taken from the kernel: {error:#}");
            self.scene
                .events
                .system(now, Severity::Warning, "address-kept", sentence);
        }
        let old = std::mem::replace(&mut self.scene.running, new);
        let summary = reload::summary(&old.snapshot, &snapshot);
        self.tell_applied(&wish, snapshot.generation.0, &summary);
        let by = wish.asker.name();
        let text = self.scene.running.effective.clone();
        let kept = &mut self.scene.kept;
        let applied = kept.applied(snapshot.generation.0, by, summary.clone(), text);
        kept.unconfirmed = None;
        let warning = if let Some(wait) = wish.confirm {
            kept.unconfirmed = Some(Unconfirmed {
                deadline: now + wait,
                applied,
                before: (old.snapshot.generation.0, old.effective),
            });
            None
        } else {
            self.keep(&applied)
        };
        self.watch_health();
        let row = AppliedRow {
            generation: snapshot.generation.0,
            summary,
            confirm_within_s: wish.confirm.map(|wait| wait.as_secs()),
            warning,
        };
        self.answer(&wish.asker, &row);
        if let Some(next) = self.apply_next.pop_front() {
            self.apply(next);
        }
    }

    fn tell_applied(&mut self, wish: &Wish, generation: u64, summary: &str) {
        let by = wish.asker.by();
        let (code, sentence) = match (&wish.wanted, wish.confirm) {
            (Wanted::Texts(_), None) => {
                let sentence = format!("configuration {generation} applied{by}: {summary}");
                ("applied", sentence)
            }
            (Wanted::Texts(_), Some(wait)) => {
                let wait = humantime::format_duration(wait);
                let sentence = format!(
                    "configuration {generation} applied{by}, for {wait} unless confirmed: {summary}"
                );
                ("applied", sentence)
            }
            (Wanted::Earlier(_), _) => {
                let sentence = format!("rolled back{by}, as configuration {generation}: {summary}");
                ("rolled-back", sentence)
            }
        };
        let record = operator_event(Severity::Notice, code, sentence, &wish.asker);
        let record = record.field("generation", generation);
        self.scene.events.say(Instant::now(), record);
    }

    /// Keeps what runs beyond a restart; returns what went wrong, which is said as well.
    pub(super) fn keep(&mut self, applied: &Applied) -> Option<String> {
        let error = self.scene.kept.keep(applied).err()?;
        let (now, text) = (Instant::now(), error.clone());
        self.scene
            .events
            .system(now, Severity::Error, "configuration-not-kept", text);
        Some(error)
    }

    fn answer(&mut self, asker: &Asker, row: &AppliedRow) {
        if let Asker::Client(client, _) = asker {
            self.finish(*client, &[Reply::applied(row), Reply::done(1)]);
        }
    }

    fn refuse(&mut self, asker: &Asker, rejection: &Rejection) {
        // The report has a line for each mistake; an event has one.
        let by = asker.by();
        let sentence = if rejection.code == Code::Mistakes {
            if !matches!(asker, Asker::Client(..)) {
                log::report(&rejection.text);
            }
            format!("a configuration with mistakes was not applied{by}")
        } else {
            format!("no configuration was applied{by}: {}", rejection.text)
        };
        let record = operator_event(Severity::Error, "apply-refused", sentence, asker);
        self.scene.events.say(Instant::now(), record);
        if let Asker::Client(client, _) = asker {
            self.finish(*client, &[Reply::refused(rejection)]);
        }
    }
}

impl Asker {
    /// Returns who it was, for the end of a sentence.
    fn by(&self) -> String {
        match self {
            Self::Signal => String::new(),
            Self::Silence => " because nobody confirmed".to_owned(),
            Self::Client(_, operator) => format!(" by {operator}"),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Signal => "SIGHUP".to_owned(),
            Self::Silence => "nobody confirmed".to_owned(),
            Self::Client(_, operator) => operator.to_string(),
        }
    }
}

fn rejection(code: Code, text: String) -> Rejection {
    Rejection { code, text }
}

/// Makes an event of what an operator did.
fn operator_event(
    severity: Severity,
    code: &'static str,
    text: String,
    asker: &Asker,
) -> EventRecord {
    let record = EventRecord::new(EventClass::Operator, severity, code, text);
    match asker {
        Asker::Signal | Asker::Silence => record.field("by", asker.name()),
        Asker::Client(_, operator) => record
            .field("by", &operator.name)
            .field("from", &operator.from),
    }
}
