//! Applying a configuration: all or nothing, while packets flow.

use std::sync::Arc;
use std::time::Instant;

use weir_conf::{Purpose, Style};
use weir_control::{AppliedRow, Code, Rejection, Reply};
use weir_model::{EventClass, Severity};

use super::operator::Operator;
use super::server::ClientId;
use super::{Configuration, Control, ports, reload, set_owned};
use crate::event::EventRecord;
use crate::{configuration, log, secret};

/// Who has a configuration applied.
#[derive(Clone, Debug)]
pub(super) enum Asker {
    /// SIGHUP.
    Signal,
    /// A client of a control socket, who waits for the answer.
    Client(ClientId, Operator),
}

/// A configuration on its way to the workers.
#[derive(Debug)]
pub(super) struct Applying {
    configuration: Configuration,
    asker: Asker,
}

impl Control {
    /// Reads the file again and begins to apply it; the running configuration stays as it is when
    /// anything in the way of that is found.
    pub(super) fn apply(&mut self, asker: Asker) {
        if self.stop.is_some() {
            return self.refuse(&asker, Code::Stopping, "the daemon is stopping".to_owned());
        }
        if self.applying.is_some() {
            self.apply_next.push_back(asker);
            return;
        }
        match self.begin_apply() {
            Ok(configuration) => {
                self.fleet.apply(&configuration.snapshot);
                self.applying = Some(Applying {
                    configuration,
                    asker,
                });
            }
            Err(rejection) => self.refuse(&asker, rejection.code, rejection.text),
        }
    }

    /// Gets everything ready for a new configuration but the workers.
    fn begin_apply(&mut self) -> Result<Configuration, Rejection> {
        let old = self.running.snapshot.clone();
        let read = configuration::reload(&self.file, &old);
        let mut new = read.map_err(|report| Rejection {
            code: Code::Mistakes,
            text: report.render(Style::long(Purpose::Apply)),
        })?;
        if let Some(sentence) = reload::needs_restart(&old, &new.snapshot) {
            return Err(Rejection {
                code: Code::NeedsRestart,
                text: format!("{sentence}; the running configuration is unchanged"),
            });
        }
        self.prepare(&mut new).map_err(|error| Rejection {
            code: Code::Failed,
            text: format!("{error:#}; the running configuration is unchanged"),
        })?;
        Ok(new)
    }

    /// Reads the secrets, and has the ports take the addresses of the old and the new
    /// configuration.
    fn prepare(&mut self, new: &mut Configuration) -> anyhow::Result<()> {
        let filled = secret::fill(Arc::make_mut(&mut new.snapshot), &self.fallback_key)?;
        for line in filled {
            self.events
                .system(Instant::now(), Severity::Notice, "secret", line);
        }
        for port in new.snapshot.ports.iter() {
            ports::ensure_addresses(port)?;
        }
        let before = self.running.snapshot.owned_addresses();
        let meanwhile = reload::owned_meanwhile(&before, &new.snapshot.owned_addresses());
        if let Err(error) = set_owned(&mut self.devices, &meanwhile) {
            // What was owned before must be owned again; a second failure is the same one.
            let _ = set_owned(&mut self.devices, &before);
            return Err(error);
        }
        Ok(())
    }

    /// Every worker has the new snapshot: what only the old one owned goes back to the kernel.
    pub(super) fn finish_apply(&mut self) {
        let Some(Applying {
            configuration: new,
            asker,
        }) = self.applying.take()
        else {
            return;
        };
        let (now, snapshot) = (Instant::now(), new.snapshot.clone());
        if let Err(error) = set_owned(&mut self.devices, &snapshot.owned_addresses()) {
            let sentence =
                format!("an address that was given up is still taken from the kernel: {error:#}");
            self.events
                .system(now, Severity::Warning, "address-kept", sentence);
        }
        let applied = AppliedRow {
            generation: snapshot.generation.0,
            summary: reload::summary(&self.running.snapshot, &snapshot),
        };
        self.running = new;
        let sentence = format!(
            "configuration {} applied{}: {}",
            snapshot.generation,
            asker.by(),
            applied.summary
        );
        let record = operator_event(Severity::Notice, "applied", sentence, &asker);
        self.events
            .say(now, record.field("generation", snapshot.generation));
        self.watch_health();
        if let Asker::Client(client, _) = asker {
            self.finish(client, &[Reply::applied(&applied), Reply::done(1)]);
        }
        if let Some(next) = self.apply_next.pop_front() {
            self.apply(next);
        }
    }

    fn refuse(&mut self, asker: &Asker, code: Code, text: String) {
        // The report has a line for each mistake; an event has one.
        let sentence = if code == Code::Mistakes {
            if matches!(asker, Asker::Signal) {
                log::report(&text);
            }
            format!(
                "a configuration with mistakes was not applied{}",
                asker.by()
            )
        } else {
            format!("no configuration was applied{}: {text}", asker.by())
        };
        let record = operator_event(Severity::Error, "apply-refused", sentence, asker);
        self.events.say(Instant::now(), record);
        if let Asker::Client(client, _) = asker {
            self.finish(*client, &[Reply::refused(&Rejection { code, text })]);
        }
    }
}

impl Asker {
    fn by(&self) -> String {
        match self {
            Self::Signal => String::new(),
            Self::Client(_, operator) => format!(" by {operator}"),
        }
    }
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
        Asker::Signal => record.field("by", "SIGHUP"),
        Asker::Client(_, operator) => record
            .field("by", &operator.name)
            .field("from", &operator.from),
    }
}
