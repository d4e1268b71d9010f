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

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: TriggerLimits = TriggerLimits {
        enter: 100,
        leave: 25,
        stay_ms: 3000,
    };

    /// Sends SYNs that nobody answers at an even rate, ticks every window, and returns the changes
    /// with their times.
    fn flood(
        trigger: &mut Trigger,
        now_ms: &mut u32,
        for_ms: u32,
        per_s: u32,
        half_open_percent: u32,
    ) -> Vec<(u32, Change)> {
        let mut changes = Vec::new();
        for elapsed in 0..for_ms {
            *now_ms = now_ms.wrapping_add(1);
            let due = (elapsed + 1) * per_s / 1000 - elapsed * per_s / 1000;
            for _ in 0..due {
                let change = trigger.syn(*now_ms, &LIMITS);
                changes.extend(change.map(|change| (elapsed, change)));
            }
            if elapsed.is_multiple_of(WINDOW_MS) {
                let change = trigger.tick(*now_ms, &LIMITS, half_open_percent);
                changes.extend(change.map(|change| (elapsed, change)));
            }
        }
        changes
    }

    #[test]
    fn a_burst_triggers_at_the_very_syn_that_is_too_many() {
        let mut trigger = Trigger::new(0);
        for _ in 1..LIMITS.enter {
            assert_eq!(trigger.syn(5, &LIMITS), None);
        }
        assert!(!trigger.is_active());
        let began = Some(Change::Began { unanswered: 100 });
        assert_eq!(trigger.syn(5, &LIMITS), began);
        assert!(trigger.is_active());
        assert_eq!(trigger.syn(5, &LIMITS), None, "it begins once");
    }

    #[test]
    fn a_rate_below_enter_never_triggers_however_it_comes() {
        let (mut trigger, mut now) = (Trigger::new(0), 0);
        assert_eq!(flood(&mut trigger, &mut now, 20_000, 99, 19), []);
        for second in 0..20u32 {
            let at = now + 1000 * (second + 2);
            for _ in 1..LIMITS.enter {
                assert_eq!(trigger.syn(at + second * 37 % 100, &LIMITS), None);
            }
            assert_eq!(trigger.tick(at + 100, &LIMITS, 0), None);
        }
    }

    #[test]
    fn a_slow_flood_triggers_by_what_it_leaves_half_open() {
        let (mut trigger, mut now) = (Trigger::new(0), 0);
        assert_eq!(flood(&mut trigger, &mut now, 2000, 10, 19), []);
        let changes = flood(&mut trigger, &mut now, 10_000, 10, 20);
        assert_eq!(changes, [(0, Change::Began { unanswered: 10 })]);
        // Few SYNs, but still too much half open: it stays.
        assert_eq!(flood(&mut trigger, &mut now, 10_000, 10, 10), []);
        let changes = flood(&mut trigger, &mut now, 200, 10, 9);
        let lasted_ms = 20_000;
        assert_eq!(
            changes,
            [(
                0,
                Change::Ended {
                    peak: 10,
                    lasted_ms
                }
            )]
        );
    }

    #[test]
    fn answered_syns_are_no_flood() {
        let mut trigger = Trigger::new(0);
        for turn in 0..10_000 {
            assert_eq!(trigger.syn(turn / 10, &LIMITS), None);
            trigger.answered();
        }
        assert_eq!(
            (trigger.syn_per_s(), trigger.unanswered_per_s()),
            (10_000, 0)
        );
    }

    #[test]
    fn it_ends_after_stay_and_below_leave_only() {
        let (mut trigger, mut now) = (Trigger::new(0), u32::MAX - 4000);
        let changes = flood(&mut trigger, &mut now, 1000, 500, 0);
        assert_eq!(changes, [(199, Change::Began { unanswered: 100 })]);
        // Between the two limits it goes on, also long after `stay`.
        assert_eq!(flood(&mut trigger, &mut now, 9000, 60, 0), []);
        let changes = flood(&mut trigger, &mut now, 2000, 20, 0);
        let [(at, Change::Ended { peak, lasted_ms })] = changes[..] else {
            panic!("{changes:?}");
        };
        assert!((500..=1000).contains(&at), "{at}");
        assert!((450..=500).contains(&peak), "{peak}");
        assert_eq!(lasted_ms, 1000 - 199 + 9000 + at);

        // A short one: `stay` counts.
        let changes = flood(&mut trigger, &mut now, 300, 1000, 0);
        assert_eq!(changes.len(), 1);
        let changes = flood(&mut trigger, &mut now, 4000, 0, 0);
        let [(at, Change::Ended { lasted_ms, .. })] = changes[..] else {
            panic!("{changes:?}");
        };
        assert!((3000..3100).contains(&lasted_ms), "{lasted_ms} at {at}");
    }

    #[test]
    fn a_flood_of_months_does_not_wrap_its_duration() {
        let mut trigger = Trigger::new(0);
        assert!(trigger.tick(0, &LIMITS, 100).is_some());
        let mut now = 0u32;
        for _ in 0..5 {
            now = now.wrapping_add(1 << 30);
            assert_eq!(trigger.tick(now, &LIMITS, 100), None);
        }
        let ended = trigger.tick(now, &LIMITS, 0);
        let lasted_ms = u32::MAX;
        assert_eq!(ended, Some(Change::Ended { peak: 0, lasted_ms }));
    }

    #[test]
    fn limits_that_division_has_left_at_0_do_not_trigger_on_silence() {
        let limits = TriggerLimits {
            enter: 0,
            leave: 0,
            stay_ms: 0,
        };
        let mut trigger = Trigger::new(0);
        assert_eq!(trigger.tick(0, &limits, 0), None);
        assert!(trigger.syn(0, &limits).is_some());
        assert!(trigger.tick(1000, &limits, 0).is_some(), "and it can end");
    }

    /// The same as the trigger, from a list of all that ever happened.
    struct Naive {
        /// Window, and whether it was a SYN.
        happened: Vec<(u64, bool)>,
        start_ms: u64,
        began_ms: Option<u64>,
        peak: u32,
    }

    impl Naive {
        fn count(&self, now_ms: u64, syn: bool) -> u32 {
            let now = (now_ms - self.start_ms) / 100;
            let recent = |&&(window, is_syn): &&(u64, bool)| is_syn == syn && window + 10 > now;
            self.happened.iter().filter(recent).count() as u32
        }

        fn unanswered(&self, now_ms: u64) -> u32 {
            self.count(now_ms, true)
                .saturating_sub(self.count(now_ms, false))
        }

        fn note(&mut self, now_ms: u64, syn: bool) {
            self.happened.push(((now_ms - self.start_ms) / 100, syn));
            self.peak = self.peak.max(self.count(now_ms, true));
        }

        fn look(
            &mut self,
            now_ms: u64,
            limits: &TriggerLimits,
            half_open: u32,
            tick: bool,
        ) -> Option<Change> {
            let unanswered = self.unanswered(now_ms);
            if let Some(began_ms) = self.began_ms {
                let lasted_ms = (now_ms - began_ms) as u32;
                let over = unanswered < limits.leave && half_open < 10;
                if !tick || !over || lasted_ms < limits.stay_ms {
                    return None;
                }
                self.began_ms = None;
                return Some(Change::Ended {
                    peak: self.peak,
                    lasted_ms,
                });
            }
            if unanswered < limits.enter && half_open < 20 {
                return None;
            }
            self.began_ms = Some(now_ms);
            self.peak = self.count(now_ms, true);
            Some(Change::Began { unanswered })
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Wait(u32),
        Syns(u32),
        Answers(u32),
        Tick(u32),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u32..150).prop_map(Step::Wait),
            1 => (0u32..3000).prop_map(Step::Wait),
            4 => (1u32..8).prop_map(Step::Syns),
            2 => (1u32..8).prop_map(Step::Answers),
            4 => Just(0u32).prop_map(Step::Tick),
            1 => (0u32..30).prop_map(Step::Tick),
        ];
        proptest::collection::vec(step, 0..150)
    }

    proptest! {
        #[test]
        fn it_does_what_a_naive_one_does(
            start in prop_oneof![any::<u32>(), u32::MAX - 5000..=u32::MAX],
            limits in (1u32..20, 1u32..10, 0u32..2000),
            steps in steps(),
        ) {
            let (enter, leave, stay_ms) = limits;
            let limits = TriggerLimits { enter, leave, stay_ms };
            let mut now = u64::from(start);
            let mut trigger = Trigger::new(start);
            let mut naive = Naive { happened: Vec::new(), start_ms: now, began_ms: None, peak: 0 };
            for step in steps {
                match step {
                    Step::Wait(ms) => now += u64::from(ms),
                    Step::Syns(count) => for _ in 0..count {
                        naive.note(now, true);
                        let expected = naive.look(now, &limits, 0, false);
                        prop_assert_eq!(trigger.syn(now as u32, &limits), expected);
                        prop_assert_eq!(trigger.syn_per_s(), naive.count(now, true));
                    },
                    // Answers come with no time of their own: after a SYN or a tick of this turn.
                    Step::Answers(count) => {
                        let expected = naive.look(now, &limits, 0, true);
                        prop_assert_eq!(trigger.tick(now as u32, &limits, 0), expected);
                        for _ in 0..count {
                            naive.note(now, false);
                            trigger.answered();
                        }
                    }
                    Step::Tick(half_open) => {
                        let expected = naive.look(now, &limits, half_open, true);
                        prop_assert_eq!(trigger.tick(now as u32, &limits, half_open), expected);
                        prop_assert_eq!(trigger.unanswered_per_s(), naive.unanswered(now));
                    }
                }
                prop_assert_eq!(trigger.is_active(), naive.began_ms.is_some());
            }
        }
    }
}
