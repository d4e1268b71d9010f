//! The end of the daemon: it opens no more sessions, waits for those there are, and says so.

use std::time::Instant;

use weir_model::Severity;

use super::Control;

impl Control {
    /// Begins to stop, or stops at once where that has begun.
    pub(super) fn begin_stop(&mut self) {
        if self.stop_now {
            return;
        }
        if self.scene.stopping.is_some() {
            self.stop_now = true;
            let sentence = format!("stopping at once, with {} sessions", self.live_sessions());
            self.scene
                .events
                .system(Instant::now(), Severity::Notice, "stopping", sentence);
            return;
        }
        let patience = self.scene.running.snapshot.node.stop_after;
        self.scene.stopping = Some(Instant::now() + patience);
        self.scene.fleet.admit(false);
        let sentence = match self.live_sessions() {
            0 => "stopping; there are no sessions".to_owned(),
            sessions => format!(
                "stopping when {sessions} sessions have ended, in {} at most; a second signal \
                 stops at once",
                humantime::format_duration(patience)
            ),
        };
        self.scene
            .events
            .system(Instant::now(), Severity::Notice, "stopping", sentence);
    }

    /// Says whether nobody is waited for any more.
    pub(super) fn is_over(&self) -> bool {
        let Some(deadline) = self.scene.stopping else {
            return false;
        };
        self.stop_now || Instant::now() >= deadline || self.live_sessions() == 0
    }

    /// Returns how many sessions are not over, which is what a stop waits for.
    pub(super) fn live_sessions(&self) -> u64 {
        let pictures = self.scene.fleet.pictures();
        let live = pictures
            .iter()
            .map(|it| it.vitals.sessions.saturating_sub(it.vitals.over));
        live.sum()
    }

    /// Says how many sessions the end takes along, where their time is over.
    pub(super) fn tell_who_is_left(&mut self) {
        let left = self.live_sessions();
        if left > 0 && !self.stop_now {
            let sentence = format!("stopping with {left} sessions, whose time is over");
            let events = &mut self.scene.events;
            events.system(Instant::now(), Severity::Warning, "stopping", sentence);
        }
    }

    /// Says of what was refused until the workers ended.
    pub(super) fn tell_last_refusals(&mut self) {
        let (now, traffic) = (Instant::now(), self.scene.fleet.traffic());
        let snapshot = &self.scene.running.snapshot;
        for event in self.refusals.rest(now, snapshot, &traffic) {
            self.scene.events.say(now, event);
        }
    }
}
