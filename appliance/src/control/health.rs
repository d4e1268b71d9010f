//! Control's part in health: what probes found goes to the book, and what the book says to workers,
//! hooks and events.

use std::time::{Duration, Instant};

use super::Control;
use crate::health::runner::{End, Ran};

/// How long the end waits for hooks.
const LAST_HOOKS: Duration = Duration::from_secs(10);

impl Control {
    /// Has the real servers of the running configuration probed, and the workers told of them.
    pub(super) fn watch_health(&mut self) {
        let now = self.clock.now();
        let targets = self.scene.health.adopt(&self.scene.running.snapshot, now);
        self.prober.aim(targets);
    }

    /// Takes what probes found, and tells workers, hooks and events of it.
    pub(super) fn listen_to_health(&mut self) {
        let snapshot = &self.scene.running.snapshot;
        let now = Instant::now();
        while let Some(finding) = self.prober.next_finding() {
            for event in self.scene.health.take(finding, snapshot) {
                self.scene.events.say(now, event);
            }
        }
        let fleet = &self.scene.fleet;
        self.scene.health.tell(snapshot, |place, command| {
            let worker = fleet.worker(place);
            worker.is_none_or(|worker| worker.send_if_idle(command))
        });
        self.run_hooks();
        while let Some(event) = self.scene.health.next_event() {
            self.scene.events.say(now, event);
        }
        self.reset_sessions_of_fallen();
    }

    fn run_hooks(&mut self) {
        while let Some(hook) = self.scene.health.next_hook() {
            let ticket = hook.ticket;
            if self.runner.as_ref().is_some_and(|it| it.run(hook)) {
                continue;
            }
            let sentence = "the process that runs programs has ended or does not keep up";
            self.scene.health.ran(&Ran {
                ticket,
                end: End::NotRun(sentence.to_owned()),
                output: String::new(),
            });
        }
        while let Ok(ran) = self.hooks.try_recv() {
            self.scene.health.ran(&ran);
        }
    }

    /// Runs the hooks of those services that want one at the end, and waits for them.
    pub(super) fn run_last_hooks(&mut self) {
        let deadline = Instant::now() + LAST_HOOKS;
        self.scene.health.stop(&self.scene.running.snapshot);
        self.run_hooks();
        while self.scene.health.has_hooks() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.hooks.recv_timeout(left) {
                Ok(ran) => self.scene.health.ran(&ran),
                Err(_) => break,
            }
        }
        while let Some(event) = self.scene.health.next_event() {
            self.scene.events.say(Instant::now(), event);
        }
    }
}
