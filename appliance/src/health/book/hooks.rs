//! Hooks: which are to run, and what became of them.

use weir_model::{Severity, Snapshot};

use super::Book;
use super::words::event;
use crate::health::runner::{End, Ran, Run};
use crate::health::service::last_hook;

impl Book {
    /// Returns the next hook that is to run.
    pub(crate) fn next_hook(&mut self) -> Option<Run> {
        let run = self.hooks.pop_front()?;
        let service = run.environment.first().map(|(_, name)| name.clone());
        let of = (run.program.clone(), service.unwrap_or_default());
        self.running.insert(run.ticket, of);
        Some(run)
    }

    /// Takes what became of a hook.
    pub(crate) fn ran(&mut self, ran: &Ran) {
        let Some((program, service)) = self.running.remove(&ran.ticket) else {
            return;
        };
        let why = match &ran.end {
            End::Exit(0) => return,
            End::Exit(status) => format!("it ended with exit status {status}"),
            End::Signal(signal) => format!("it was ended by signal {signal}"),
            End::Late => "it did not end in time".to_owned(),
            End::NotRun(sentence) => sentence.clone(),
        };
        let words: Vec<&str> = ran.output.split_whitespace().take(20).collect();
        let mut text = format!("the hook {program} of {service} failed: {why}");
        if !words.is_empty() {
            let words = words.join(" ");
            text = format!("{text} ({})", words.escape_debug());
        }
        let failed = event(Severity::Error, "hook-failed", text);
        self.events.push_back(failed.field("service", service));
    }

    /// Has the hooks run that are asked for at the end.
    pub(crate) fn stop(&mut self, snapshot: &Snapshot) {
        for service in snapshot.services.iter() {
            if let Some(status) = self.services.get(&service.id) {
                self.next_hook += 1;
                self.hooks
                    .extend(last_hook(service, *status, self.next_hook));
            }
        }
    }

    /// Says whether hooks have yet to end.
    pub(crate) fn has_hooks(&self) -> bool {
        !self.hooks.is_empty() || !self.running.is_empty()
    }
}
