//! Applying a configuration: all or nothing, while packets flow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use weir_conf::{Purpose, Style};
use weir_control::{AppliedRow, Code, ConfigText, Rejection, Reply};
use weir_model::{EventClass, Severity, Snapshot};

use super::kept::{Kept, Unconfirmed};
use super::operator::Operator;
use super::overrides::{Configured, Overrides};
use super::server::ClientId;
use super::{Control, diff, events, overlay, reload, set_owned};
use crate::configuration::{self, Configuration};
use crate::event::EventRecord;
use crate::state::{self, Applied};
use crate::{log, secret};

/// How long a configuration may wait to be confirmed.
const WAITS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// How soon it is tried again to bring a configuration back that could not come back.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// A configuration that somebody wants.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) asker: Asker,
    pub(super) wanted: Wanted,
    /// The text of the configuration that it was made from; nothing is applied over another one.
    pub(super) over: Option<String>,
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
    /// The time that was set is over.
    Time,
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
    /// The running one, with this set over it; what is new concerns this service.
    Over(String, Overrides),
}

/// A configuration on its way to the workers.
#[derive(Debug)]
pub(super) struct Applying {
    pub(super) found: Found,
    pub(super) wish: Wish,
}

/// A configuration that was wanted, and where it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) configuration: Configuration,
    /// The print of the daemon's own files when it was read.
    pub(super) files: String,
    /// Its number when it ran before.
    pub(super) earlier: Option<u64>,
    /// What it says itself where something is set over it.
    pub(super) configured: Configured,
}

impl Control {
    /// Begins to apply a configuration; the running one stays as it is when anything in the way of
    /// that is found.
    pub(super) fn apply(&mut self, wish: Wish) {
        if self.applying.is_some() {
            // The files are read when their turn comes: one more signal asks for nothing more.
            let is_signal = |wish: &Wish| matches!(wish.asker, Asker::Signal);
            if !is_signal(&wish) || !self.apply_next.iter().any(is_signal) {
                self.apply_next.push_back(wish);
            }
            return;
        }
        match self.begin_apply(&wish) {
            Ok(found) if self.is_running(&found) => self.leave(&wish, found.files),
            Ok(found) => {
                self.scene.fleet.apply(&found.configuration.snapshot);
                self.applying = Some(Applying { found, wish });
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
        let unchanged_until = self.scene.kept.unchanged_until.take();
        let Some(unconfirmed) = self.scene.kept.unconfirmed.take() else {
            // Whoever tries what runs already confirms it like anything else.
            if unchanged_until.is_some_and(|until| Instant::now() < until) {
                return self.confirm_unchanged(&asker);
            }
            let text = "no configuration waits to be confirmed".to_owned();
            return self.refuse(&asker, &rejection(Code::NothingToDo, text));
        };
        let generation = unconfirmed.applied.generation;
        let sentence = format!("configuration {generation} confirmed{}", asker.by());
        let record = operator_event(Severity::Notice, "confirmed", sentence, &asker);
        let now = Instant::now();
        let record = record.field("generation", generation);
        self.scene.events.say(now, record);
        let running = self.scene.running.snapshot.clone();
        for event in self.scene.overlay.settle(&running) {
            self.scene.events.say(now, event);
        }
        let warning = self.keep(&unconfirmed.applied);
        let not_kept = self.keep_orders();
        let warning = warning.or(not_kept);
        let row = AppliedRow {
            generation,
            summary: unconfirmed.applied.summary,
            warning,
            ..AppliedRow::default()
        };
        self.answer(&asker, &row);
    }

    /// Answers whoever confirms a trial that changed nothing and so was none.
    fn confirm_unchanged(&mut self, asker: &Asker) {
        let row = self.tell_unchanged(asker, "nothing was to be confirmed");
        self.answer(asker, &row);
    }

    /// Tells that the configuration that runs goes on, and why; returns the row that says so.
    fn tell_unchanged(&mut self, asker: &Asker, why: &str) -> AppliedRow {
        let generation = self.scene.running.snapshot.generation.0;
        let by = asker.by();
        let sentence = format!("configuration {generation} runs on{by}: {why}");
        let record = operator_event(Severity::Notice, "unchanged", sentence, asker);
        let record = record.field("generation", generation);
        self.scene.events.say(Instant::now(), record);
        AppliedRow {
            generation,
            summary: why.to_owned(),
            unchanged: true,
            ..AppliedRow::default()
        }
    }

    /// Gives up a configuration that nobody confirmed in time.
    pub(super) fn look_at_unconfirmed(&mut self) {
        // Where the daemon stops, the one before comes back with the next start.
        if self.applying.is_some() || self.scene.stopping.is_some() {
            return;
        }
        let now = Instant::now();
        let Some(unconfirmed) = &mut self.scene.kept.unconfirmed else {
            return;
        };
        if now < unconfirmed.deadline {
            return;
        }
        unconfirmed.deadline = now + TRY_AGAIN;
        self.apply(Wish {
            asker: Asker::Silence,
            wanted: Wanted::Earlier(None),
            over: None,
            confirm: None,
        });
    }

    /// Gets everything ready for a new configuration but the workers.
    fn begin_apply(&mut self, wish: &Wish) -> Result<Found, Rejection> {
        if self.scene.stopping.is_some() {
            return Err(rejection(
                Code::Stopping,
                "the daemon is stopping".to_owned(),
            ));
        }
        if wish.confirm.is_some_and(|wait| !WAITS.contains(&wait)) {
            let text = "a configuration may wait to be confirmed for 1s to 1d".to_owned();
            return Err(rejection(Code::BadArgument, text));
        }
        let runs = self.scene.running.effective.lines();
        if let Some(over) = &wish.over
            && !overlay::without_orders(over).eq(runs)
        {
            let text = "another configuration was applied meanwhile; nothing changed, try again";
            return Err(rejection(Code::Busy, text.to_owned()));
        }
        let old = self.scene.running.snapshot.clone();
        let mut found = self.read(wish, &old)?;
        if let Some(sentence) = reload::needs_restart(&old, &found.configuration.snapshot) {
            let text = format!("{sentence}; the running configuration is unchanged");
            return Err(rejection(Code::NeedsRestart, text));
        }
        let snapshot = Arc::make_mut(&mut found.configuration.snapshot);
        found.configured = self.scene.overrides.put_into(snapshot);
        let comes_back = found.earlier == Some(found.configuration.snapshot.generation.0);
        let prepared = self.prepare(&mut found.configuration, comes_back);
        prepared.map_err(|error| {
            self.take_addresses_back(&old);
            let text = format!("{error:#}; the running configuration is unchanged");
            rejection(Code::Failed, text)
        })?;
        Ok(found)
    }

    /// Reads the configuration that is wanted.
    fn read(&self, wish: &Wish, old: &Snapshot) -> Result<Found, Rejection> {
        let kept = &self.scene.kept;
        let mut earlier = None;
        let mut number = kept.next_number(old.generation.0);
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
                // It never ended: what ran in between was a trial of another one.
                let (generation, text) = &waiting.before;
                (earlier, number) = (Some(*generation), *generation);
                vec![diff::kept_text(*generation, text)]
            }
            (Wanted::Over(..), _) => {
                let text = "what is set over a configuration is no configuration".to_owned();
                return Err(rejection(Code::Failed, text));
            }
            (Wanted::Earlier(wanted), _) => {
                let running = (old.generation.0, self.scene.running.effective.as_str());
                let found = kept.earlier(running, *wanted);
                let found = found.map_err(|text| rejection(Code::NothingToDo, text))?;
                earlier = Some(found.generation);
                vec![diff::kept_text(found.generation, &found.text)]
            }
        };
        let files = match &wish.wanted {
            // Not what they are a moment later.
            Wanted::Texts(sent) if sent.is_empty() => state::print_of(&texts),
            Wanted::Texts(_) | Wanted::Earlier(_) | Wanted::Over(..) => kept.own_print(),
        };
        let (loaded, _) = configuration::compose(&texts, Some(old)).map_err(|report| {
            let text = report.render(Style::long(Purpose::Apply));
            rejection(Code::Mistakes, text)
        })?;
        Ok(Found {
            configuration: configuration::configuration(loaded, number),
            files,
            earlier,
            configured: Configured::new(),
        })
    }

    /// Says whether a configuration is the one that runs, secrets and all.
    fn is_running(&self, found: &Found) -> bool {
        let (running, wanted) = (&self.scene.running, &found.configuration);
        let mut same = Snapshot::clone(&wanted.snapshot);
        same.generation = running.snapshot.generation;
        self.scene.kept.unconfirmed.is_none()
            && wanted.effective == running.effective
            && same == *running.snapshot
    }

    /// Leaves the configuration that runs where nothing else is wanted.
    fn leave(&mut self, wish: &Wish, files: String) {
        let row = self.tell_unchanged(&wish.asker, "nothing changed");
        if let Some(wait) = wish.confirm {
            self.scene.kept.unchanged_until = Some(Instant::now() + wait);
        }
        let noted = self.scene.kept.same_as_files(files);
        let warning = noted.err().map(|error| self.warn_not_kept(error));
        self.answer(&wish.asker, &AppliedRow { warning, ..row });
    }

    /// Reads the secrets, and has the ports take the addresses of the old and the new
    /// configuration.
    fn prepare(&mut self, new: &mut Configuration, comes_back: bool) -> anyhow::Result<()> {
        crate::export::supported(&new.snapshot)?;
        let filled = secret::fill(Arc::make_mut(&mut new.snapshot), &self.fallback_key)?;
        for line in filled {
            self.scene
                .events
                .system(Instant::now(), Severity::Notice, "secret", line);
        }
        let running = self.scene.running.snapshot.clone();
        for port in new.snapshot.ports.iter() {
            let before = running.ports.get(port.id.index());
            let before = before.map_or(&[][..], |before| &before.addresses);
            let mut devices = self.scene.devices.iter_mut();
            if let Some(device) = devices.find(|device| device.id == port.id) {
                device.give_addresses(port, before)?;
            }
        }
        self.open_page(&new.snapshot, comes_back)?;
        let before = running.owned_addresses();
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
        let Some(Applying { found, wish }) = self.applying.take() else {
            return;
        };
        if let Wanted::Over(service, next) = wish.wanted {
            self.finish_override(found.configuration, &wish.asker, &service, next);
            return self.apply_the_next();
        }
        let new = found.configuration;
        let (now, snapshot) = (Instant::now(), new.snapshot.clone());
        if let Err(error) = set_owned(&mut self.scene.devices, &snapshot.owned_addresses()) {
            let sentence =
                format!("an address that was given up is still taken from the kernel: {error:#}");
            self.scene
                .events
                .system(now, Severity::Warning, "address-kept", sentence);
        }
        self.take_addresses_back(&snapshot);
        // Of services that go, the names are known for the last time.
        let (traffic, running) = (self.scene.fleet.traffic(), &self.scene.running.snapshot);
        self.refusals.read(now, running, &traffic);
        let old = std::mem::replace(&mut self.scene.running, new);
        self.turn_page(&old.snapshot);
        let generation = snapshot.generation.0;
        self.scene.kept.numbered(generation);
        self.scene.events.adopt(&snapshot);
        let summary = reload::summary(&old.snapshot, &snapshot);
        self.tell_applied(&wish, found.earlier, generation, &summary);
        let comes_back = found.earlier == Some(generation);
        if let Some(event) = events::unheard(Some(&old.snapshot), &snapshot) {
            self.scene.events.say(now, event);
        }
        let stays = wish.confirm.is_none();
        let (before, overlay) = (&old.snapshot, &mut self.scene.overlay);
        for event in overlay.adopt(before, &snapshot, now, stays) {
            self.scene.events.say(now, event);
        }
        for sentence in self.scene.overrides.settle(&found.configured) {
            let events = &mut self.scene.events;
            events.system(now, Severity::Warning, "override-dropped", sentence);
        }
        let by = wish.asker.name();
        let text = self.scene.running.effective.clone();
        let applied = Kept::applied(generation, by, summary.clone(), found.files, text);
        self.scene.kept.unconfirmed = None;
        self.scene.kept.unchanged_until = None;
        let warning = if let Some(wait) = wish.confirm {
            let noted = self.scene.kept.try_out(Unconfirmed {
                deadline: now + wait,
                applied,
                before: (old.snapshot.generation.0, old.effective),
            });
            noted.err().map(|error| self.warn_not_kept(error))
        } else if comes_back {
            let kept = self.scene.kept.keep_on(applied);
            kept.err().map(|error| self.warn_not_kept(error))
        } else {
            self.keep(&applied)
        };
        self.watch_health();
        self.look_for_next_hops();
        self.tell_orders();
        let not_kept = self.keep_orders();
        let warning = warning.or(not_kept);
        let row = AppliedRow {
            generation,
            summary,
            confirm_within_s: wish.confirm.map(|wait| wait.as_secs()),
            unchanged: false,
            warning,
        };
        self.answer(&wish.asker, &row);
        self.apply_the_next();
    }

    /// Takes the addresses back from the kernel that it has from us and that ports no longer have.
    fn take_addresses_back(&mut self, snapshot: &Snapshot) {
        for device in &mut self.scene.devices {
            let Some(port) = snapshot.ports.get(device.id.index()) else {
                continue;
            };
            if let Err(error) = device.take_addresses_back(port) {
                let (events, sentence) = (&mut self.scene.events, error.to_string());
                events.system(Instant::now(), Severity::Warning, "address-kept", sentence);
            }
        }
    }

    fn apply_the_next(&mut self) {
        while self.applying.is_none()
            && let Some(next) = self.apply_next.pop_front()
        {
            self.apply(next);
        }
    }

    fn tell_applied(&mut self, wish: &Wish, earlier: Option<u64>, generation: u64, summary: &str) {
        let by = wish.asker.by();
        let (code, sentence) = match (earlier, wish.confirm) {
            (None, None) => {
                let sentence = format!("configuration {generation} applied{by}: {summary}");
                ("applied", sentence)
            }
            (None, Some(wait)) => {
                let wait = humantime::format_duration(wait);
                let sentence = format!(
                    "configuration {generation} applied{by}, for {wait} unless confirmed: {summary}"
                );
                ("applied", sentence)
            }
            (Some(earlier), _) => {
                let number = if earlier == generation {
                    String::new()
                } else {
                    format!(", as configuration {generation}")
                };
                let sentence = format!("configuration {earlier} came back{by}{number}: {summary}");
                ("rolled-back", sentence)
            }
        };
        let record = operator_event(Severity::Notice, code, sentence, &wish.asker);
        let record = record
            .field("generation", generation)
            .field("changed", summary);
        self.scene.events.say(Instant::now(), record);
    }

    /// Keeps what runs beyond a restart; returns what went wrong, which is said as well.
    pub(super) fn keep(&mut self, applied: &Applied) -> Option<String> {
        let error = self.scene.kept.keep(applied).err()?;
        Some(self.warn_not_kept(error))
    }

    fn warn_not_kept(&mut self, error: String) -> String {
        let (now, text) = (Instant::now(), error.clone());
        self.scene
            .events
            .system(now, Severity::Error, "configuration-not-kept", text);
        error
    }

    fn answer(&mut self, asker: &Asker, row: &AppliedRow) {
        if let Asker::Client(client, _) = asker {
            self.finish(*client, &[Reply::applied(row), Reply::done(1)]);
        }
    }

    fn refuse(&mut self, asker: &Asker, rejection: &Rejection) {
        // The report has a line for each mistake; an event has one.
        let (by, has_mistakes) = (asker.by(), rejection.code == Code::Mistakes);
        if has_mistakes && !matches!(asker, Asker::Client(..)) {
            log::report(&rejection.text);
        }
        let sentence = match (asker, has_mistakes) {
            (Asker::Silence, true) => {
                "nobody confirmed, but the configuration of before has mistakes now".to_owned()
            }
            (Asker::Silence, false) => format!(
                "nobody confirmed, but the configuration of before cannot come back: {}",
                rejection.text
            ),
            (Asker::Signal | Asker::Time | Asker::Client(..), true) => {
                format!("a configuration with mistakes was not applied{by}")
            }
            (Asker::Signal | Asker::Time | Asker::Client(..), false) => {
                format!("no configuration was applied{by}: {}", rejection.text)
            }
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
    pub(super) fn by(&self) -> String {
        match self {
            Self::Signal => String::new(),
            Self::Silence => " because nobody confirmed".to_owned(),
            Self::Time => " because its time is over".to_owned(),
            Self::Client(_, operator) => format!(" by {operator}"),
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Signal => "SIGHUP".to_owned(),
            Self::Silence => "nobody confirmed".to_owned(),
            Self::Time => "its time is over".to_owned(),
            Self::Client(_, operator) => operator.to_string(),
        }
    }
}

fn rejection(code: Code, text: String) -> Rejection {
    Rejection { code, text }
}

/// Makes an event of what an operator did.
pub(super) fn operator_event(
    severity: Severity,
    code: &'static str,
    text: String,
    asker: &Asker,
) -> EventRecord {
    let record = EventRecord::new(EventClass::Operator, severity, code, text);
    match asker {
        Asker::Signal | Asker::Silence | Asker::Time => record.field("by", asker.name()),
        Asker::Client(_, operator) => record
            .field("by", &operator.name)
            .field("from", &operator.from),
    }
}

#[cfg(test)]
pub(super) mod tests;
