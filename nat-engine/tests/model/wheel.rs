//! The timer wheel against a map of deadlines.

use std::collections::BTreeMap;

use nat_engine::{FlowHasher, FlowKey, Session, SessionId, SessionTable, TimerWheel};
use proptest::prelude::*;

fn session(n: u32) -> Session {
    let key = |side: u32| FlowKey {
        src: (n << 1 | side).into(),
        dst: 1.into(),
        src_port: 1,
        dst_port: 1,
        protocol: 6,
    };
    Session::new(key(0), key(1))
}

/// A world in which a session's deadline stands in its `last_seen`.
struct World {
    table: SessionTable,
    wheel: TimerWheel,
    now: u32,
    model: BTreeMap<u32, u32>,
    inserted: u32,
}

impl World {
    fn new(capacity: u32, now: u32) -> Self {
        Self {
            table: SessionTable::with_capacity(capacity, FlowHasher::new([2; 16])).unwrap(),
            wheel: TimerWheel::new(now),
            now,
            model: BTreeMap::new(),
            inserted: 0,
        }
    }

    fn open(&mut self, deadline: u32) {
        let mut session = session(self.inserted);
        session.last_seen = deadline;
        if let Ok(id) = self.table.insert(session) {
            self.inserted += 1;
            self.wheel.arm(&mut self.table, id, deadline);
            self.model.insert(id.0, deadline);
        }
    }

    fn nth(&self, nth: usize) -> Option<SessionId> {
        let ids = self.model.len();
        self.model
            .keys()
            .nth(nth % ids.max(1))
            .map(|&id| SessionId(id))
    }

    fn set_deadline(&mut self, id: SessionId, deadline: u32) {
        self.table.get_mut(id).unwrap().last_seen = deadline;
        self.model.insert(id.0, deadline);
    }

    /// One turn; returns what fired and how many sessions were looked at.
    fn turn(&mut self, mut budget: u32) -> (Vec<SessionId>, u32) {
        let mut looked_at = 0;
        let mut fired = Vec::new();
        while let Some(id) =
            self.wheel
                .next_due(&mut self.table, self.now, &mut budget, |session| {
                    looked_at += 1;
                    session.last_seen
                })
        {
            fired.push(id);
        }
        (fired, looked_at)
    }

    fn late_by(&self, deadline: u32) -> i32 {
        self.now.wrapping_sub(deadline).cast_signed()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Open { ahead: u32 },
    Touch { nth: usize, ahead: u32 },
    Rearm { nth: usize, ahead: u32, by: bool },
    Close { nth: usize },
    Pass { ms: u32, budget: u32 },
}

/// Milliseconds as sessions have them: some now, most seconds or minutes, some past any range.
fn ahead() -> impl Strategy<Value = u32> {
    prop_oneof![
        0..40u32,
        0..5_000u32,
        0..1_200_000u32,
        0..90_000_000u32,
        0..600_000_000u32,
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => ahead().prop_map(|ahead| Step::Open { ahead }),
        2 => (any::<usize>(), ahead()).prop_map(|(nth, ahead)| Step::Touch { nth, ahead }),
        2 => (any::<usize>(), ahead(), any::<bool>())
            .prop_map(|(nth, ahead, by)| Step::Rearm { nth, ahead, by }),
        1 => any::<usize>().prop_map(|nth| Step::Close { nth }),
        3 => ahead().prop_map(|ms| Step::Pass { ms, budget: u32::MAX }),
        2 => (0..1_200_000u32, 1..8u32).prop_map(|(ms, budget)| Step::Pass { ms, budget }),
    ]
}

proptest! {
    #[test]
    fn every_timer_fires_once_never_early_and_late_by_a_granule_at_most(
        start in any::<u32>(),
        steps in prop::collection::vec(step(), 0..300),
    ) {
        let mut world = World::new(64, start);
        for step in steps {
            match step {
                Step::Open { ahead } => world.open(world.now.wrapping_add(ahead)),
                Step::Touch { nth, ahead } => {
                    // A packet: the deadline moves away and the wheel is not told.
                    let Some(id) = world.nth(nth) else { continue };
                    let deadline = world.now.wrapping_add(ahead);
                    let before = world.model[&id.0];
                    if deadline.wrapping_sub(before).cast_signed() >= 0 {
                        world.set_deadline(id, deadline);
                    }
                }
                Step::Rearm { nth, ahead, by } => {
                    let Some(id) = world.nth(nth) else { continue };
                    let deadline = world.now.wrapping_add(ahead);
                    world.set_deadline(id, deadline);
                    if by {
                        world.wheel.arm_by(&mut world.table, id, deadline);
                    } else {
                        world.wheel.arm(&mut world.table, id, deadline);
                    }
                }
                Step::Close { nth } => {
                    let Some(id) = world.nth(nth) else { continue };
                    prop_assert!(world.table.remove(&mut world.wheel, id).is_some());
                    world.model.remove(&id.0);
                }
                Step::Pass { ms, budget } => {
                    world.now = world.now.wrapping_add(ms);
                    let (fired, looked_at) = world.turn(budget);
                    prop_assert!(looked_at <= budget);
                    for id in fired {
                        let deadline = world.model.remove(&id.0);
                        prop_assert!(deadline.is_some(), "{id:?} fired twice");
                        prop_assert!(world.late_by(deadline.unwrap()) >= 0, "early");
                        prop_assert!(world.table.remove(&mut world.wheel, id).is_some());
                    }
                    if budget == u32::MAX {
                        for (&id, &deadline) in &world.model {
                            let late = world.late_by(deadline);
                            prop_assert!(late < TimerWheel::GRANULE_MS.cast_signed(), "{id} by {late}");
                        }
                    }
                }
            }
            prop_assert_eq!(world.wheel.armed() as usize, world.model.len());
        }
        // No deadline was further away than a week.
        world.now = world.now.wrapping_add(7 * 24 * 3_600_000);
        for id in world.turn(u32::MAX).0 {
            prop_assert!(world.model.remove(&id.0).is_some(), "{id:?} fired twice");
        }
        prop_assert!(world.model.is_empty(), "never fired: {:?}", world.model);
        prop_assert_eq!(world.wheel.armed(), 0);
        prop_assert_eq!(world.wheel.idle_ms(world.now), None);
    }

    #[test]
    fn sleeping_as_long_as_the_wheel_says_misses_nothing(
        start in any::<u32>(),
        delays in prop::collection::vec(0..30_000u32, 1..20),
    ) {
        let mut world = World::new(64, start);
        for delay in delays {
            world.open(start.wrapping_add(delay));
        }
        let mut turns = 0;
        while let Some(idle) = world.wheel.idle_ms(world.now) {
            world.now = world.now.wrapping_add(idle);
            for id in world.turn(u32::MAX).0 {
                let deadline = world.model.remove(&id.0).unwrap();
                prop_assert!((0..16).contains(&world.late_by(deadline)));
                world.table.remove(&mut world.wheel, id);
            }
            turns += 1;
            prop_assert!(turns < 60, "it wakes up for nothing");
        }
        prop_assert!(world.model.is_empty());
    }
}

#[test]
fn a_hundred_thousand_timers_at_once_are_worked_off_in_bounded_turns() {
    const COUNT: u32 = 100_000;
    const BUDGET: u32 = 64;
    let mut world = World::new(COUNT, 0);
    for _ in 0..COUNT {
        world.open(900_000);
    }
    let mut fired = 0;
    let mut most = 0;
    let mut first = None;
    while world.wheel.armed() > 0 {
        world.now += 1;
        let (ids, looked_at) = world.turn(BUDGET);
        most = most.max(looked_at);
        fired += ids.len() as u32;
        if first.is_none() && !ids.is_empty() {
            first = Some(world.now);
        }
        for id in ids {
            world.table.remove(&mut world.wheel, id);
        }
        assert!(world.now < 1_000_000, "{fired} fired");
    }
    assert_eq!((fired, most, first), (COUNT, BUDGET, Some(900_000)));
}

#[test]
fn a_day_passes_in_one_turn() {
    const DAY: u32 = 24 * 3600 * 1000;
    let mut world = World::new(4, u32::MAX - 5000);
    world.open(world.now.wrapping_add(DAY));
    world.now = world.now.wrapping_add(DAY - 1);
    assert_eq!(world.turn(100_000).0, []);
    world.now = world.now.wrapping_add(16);
    assert_eq!(world.turn(100).0.len(), 1);
}

#[test]
fn a_silent_wheel_goes_on_after_a_small_budget() {
    let mut world = World::new(4, 0);
    world.open(3_600_000);
    world.now = 3_600_016;
    let mut turns = 0;
    while world.turn(10).0.is_empty() {
        turns += 1;
        assert!(turns < 200);
    }
    assert!(turns > 10, "an hour is 879 slots of the second level");
}
