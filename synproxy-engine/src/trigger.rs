//! The flood trigger: when a service begins to answer SYNs with cookies, and when it stops.
//!
//! SYNs that nobody has answered are counted over a sliding second of ten windows. Time is the
//! worker's millisecond counter, which may wrap.

/// The share of half-open sessions, in percent of ports or table, from which cookies are sent.
pub const HALF_OPEN_ENTER: u32 = 20;
/// The share of half-open sessions below which cookies are no longer sent.
pub const HALF_OPEN_LEAVE: u32 = 10;

/// Windows in a second.
const WINDOWS: usize = 10;
/// The length of a window.
const WINDOW_MS: u32 = 1000 / WINDOWS as u32;

/// When the trigger enters and leaves; the rates are those of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TriggerLimits {
    /// Unanswered SYNs per second from which cookies are sent.
    pub enter: u32,
    /// Unanswered SYNs per second below which they are no longer sent.
    pub leave: u32,
    /// How long they are sent at least.
    pub stay_ms: u32,
}

/// The trigger has crossed one of its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Cookies are sent from now on.
    Began {
        /// Unanswered SYNs in the last second.
        unanswered: u32,
    },
    /// Cookies are no longer sent.
    Ended {
        /// The most SYNs in any second of it.
        peak: u32,
        /// How long it lasted.
        lasted_ms: u32,
    },
}

/// What happened in one window.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    syns: u32,
    answered: u32,
}

/// Counts the SYNs of one service on one worker.
#[derive(Clone, Debug)]
pub struct Trigger {
    windows: [Window; WINDOWS],
    /// The window that is being filled.
    current: usize,
    /// When it began.
    since_ms: u32,
    /// The sum of all windows.
    total: Window,
    /// What has been since cookies were sent; none while they are not.
    active: Option<Active>,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    /// When `lasted_ms` was brought up to date.
    seen_ms: u32,
    /// Counts on where the clock wraps.
    lasted_ms: u32,
    peak: u32,
}

impl Trigger {
    /// Makes a trigger that has seen nothing.
    #[must_use]
    pub fn new(now_ms: u32) -> Self {
        Self {
            windows: [Window::default(); WINDOWS],
            current: 0,
            since_ms: now_ms,
            total: Window::default(),
            active: None,
        }
    }

    /// Counts a SYN in; the answer says whether it was the one too many.
    #[inline]
    pub fn syn(&mut self, now_ms: u32, limits: &TriggerLimits) -> Option<Change> {
        self.advance(now_ms);
        if let Some(window) = self.windows.get_mut(self.current) {
            window.syns = window.syns.saturating_add(1);
            self.total.syns = self.total.syns.saturating_add(1);
        }
        if let Some(active) = &mut self.active {
            active.peak = active.peak.max(self.total.syns);
            return None;
        }
        self.is_flooded(limits).then(|| self.begin(now_ms))
    }

    /// Counts a handshake that was completed, or a cookie that came back.
    #[inline]
    pub fn answered(&mut self) {
        if let Some(window) = self.windows.get_mut(self.current) {
            window.answered = window.answered.saturating_add(1);
            self.total.answered = self.total.answered.saturating_add(1);
        }
    }

    /// Looks at the limits; to be called every window. `half_open_percent` is the share that the
    /// half-open sessions of the service have of its ports or of the table, whichever is larger.
    pub fn tick(
        &mut self,
        now_ms: u32,
        limits: &TriggerLimits,
        half_open_percent: u32,
    ) -> Option<Change> {
        self.advance(now_ms);
        let unanswered = self.unanswered_per_s();
        let Some(active) = &mut self.active else {
            let flooded = self.is_flooded(limits) || half_open_percent >= HALF_OPEN_ENTER;
            return flooded.then(|| self.begin(now_ms));
        };
        let lasted = now_ms.wrapping_sub(active.seen_ms);
        active.lasted_ms = active.lasted_ms.saturating_add(lasted);
        active.seen_ms = now_ms;
        let Active {
            lasted_ms, peak, ..
        } = *active;
        let quiet = unanswered < limits.leave.max(1) && half_open_percent < HALF_OPEN_LEAVE;
        if !quiet || lasted_ms < limits.stay_ms {
            return None;
        }
        self.active = None;
        Some(Change::Ended { peak, lasted_ms })
    }

    /// Says whether cookies are sent.
    #[inline]
    #[must_use]
    pub const fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// SYNs of the last second that were not answered.
    #[inline]
    #[must_use]
    pub const fn unanswered_per_s(&self) -> u32 {
        self.total.syns.saturating_sub(self.total.answered)
    }

    /// SYNs of the last second.
    #[inline]
    #[must_use]
    pub const fn syn_per_s(&self) -> u32 {
        self.total.syns
    }

    /// A limit of 0, as a division among workers may leave, is one of 1: silence is no flood.
    #[inline]
    fn is_flooded(&self, limits: &TriggerLimits) -> bool {
        self.unanswered_per_s() >= limits.enter.max(1)
    }

    fn begin(&mut self, now_ms: u32) -> Change {
        self.active = Some(Active {
            seen_ms: now_ms,
            lasted_ms: 0,
            peak: self.total.syns,
        });
        Change::Began {
            unanswered: self.unanswered_per_s(),
        }
    }

    /// Empties the windows that time has left behind.
    #[inline]
    fn advance(&mut self, now_ms: u32) {
        let elapsed = now_ms.wrapping_sub(self.since_ms);
        if elapsed >= WINDOW_MS {
            self.turn(elapsed);
        }
    }

    #[cold]
    fn turn(&mut self, elapsed: u32) {
        let passed = elapsed / WINDOW_MS;
        self.since_ms = self.since_ms.wrapping_add(passed * WINDOW_MS);
        for _ in 0..passed.min(WINDOWS as u32) {
            self.current = (self.current + 1) % WINDOWS;
            if let Some(window) = self.windows.get_mut(self.current) {
                let Window { syns, answered } = core::mem::take(window);
                self.total.syns = self.total.syns.saturating_sub(syns);
                self.total.answered = self.total.answered.saturating_sub(answered);
            }
        }
    }
}
