//! The end of the daemon: it opens no more sessions, waits for those there are, and says so.

use std::time::{Duration, Instant};

use weir_model::Severity;

use super::Control;

/// How long half-open sessions are waited for: a client that is there answers a SYN-ACK, or the one
/// that is sent again, by then. Nobody answers those of a flood.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// A stop that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stopping {
    since: Instant,
    /// Until when sessions may go on.
    until: Instant,
}

impl Stopping {
    /// Begins now, and lets sessions go on for so long.
    pub(super) fn within(patience: Duration) -> Self {
        let since = Instant::now();
        Self {
            since,
            until: since + patience,
        }
    }

    fn is_handshake_over(self) -> bool {
        self.since.elapsed() >= HANDSHAKE
    }

    /// Returns how long sessions may still go on.
    pub(super) fn left(self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    fn is_over(self) -> bool {
        self.left().is_zero()
    }
}

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
        self.scene.stopping = Some(Stopping::within(patience));
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
        let Some(stopping) = self.scene.stopping else {
            return false;
        };
        let waited_for = match self.live_sessions() {
            live if stopping.is_handshake_over() => live.saturating_sub(self.half_open_sessions()),
            live => live,
        };
        self.stop_now || stopping.is_over() || waited_for == 0
    }

    /// Returns how many sessions are not over, which is what a stop waits for.
    pub(super) fn live_sessions(&self) -> u64 {
        let pictures = self.scene.fleet.pictures();
        let live = pictures
            .iter()
            .map(|it| it.vitals.sessions.saturating_sub(it.vitals.over));
        live.sum()
    }

    /// Returns how many of them nothing has proven.
    fn half_open_sessions(&self) -> u64 {
        let pictures = self.scene.fleet.pictures();
        pictures.iter().map(|it| it.vitals.half_open).sum()
    }

    /// Says how many sessions the end takes along, where their time is over.
    pub(super) fn tell_who_is_left(&mut self) {
        let left = self.live_sessions();
        if left > 0 && !self.stop_now {
            let why = match self.scene.stopping {
                Some(stopping) if !stopping.is_over() => "which no client completed",
                _ => "whose time is over",
            };
            let sentence = format!("stopping with {left} sessions, {why}");
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
