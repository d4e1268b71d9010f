//! Whatever the size: nothing is written over something else or outside, and nothing is cut that does
//! not say so.

use proptest::prelude::*;
use weir_control::Role;

use crate::model::screen::ScreenId;
use crate::tests::fixture::State;
use crate::tests::stage::{MONO, Stage, WIDE};
use crate::view::canvas::audit;

/// What is over a screen, or typed on it.
const KEYS: [&str; 16] = [
    "", "\r", "j\r", "jj\r", "d", "jd", "w", "o", "x", "c", "m", "?", "/web", ":drain", "p", "q",
];

fn faults(stage: &Stage) -> Vec<String> {
    audit::during(|| drop(stage.buffer()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn where_there_is_too_little_room_whole_fields_are_left_out(
        size in (20u16..80, 5u16..24),
        state in 0usize..5,
        screen in 0usize..7,
        maintained: bool,
        trial in proptest::option::of(0u64..100_000),
        lost in proptest::option::of(0u64..10_000_000),
        paused: bool,
        viewer: bool,
        alarms in 0u64..1_000,
        node in "[a-z]{1,12}(\\.[a-z]{1,12}){0,4}",
    ) {
        let role = if viewer { Role::Viewer } else { Role::Operator };
        let mut stage = Stage::with_role(MONO, (80, 24), State::ALL[state].0, role);
        stage.daemon.trial = trial;
        stage.open(ScreenId::ALL[screen]);
        if paused {
            stage.keys("p");
        }
        stage.resize(size);
        if let Some(status) = &mut stage.model.data.status {
            status.value.maintenance = maintained;
            status.value.alarms = alarms;
            status.value.balanced = !maintained;
        }
        if let Some(greeting) = &mut stage.model.link.greeting {
            greeting.node = node;
        }
        if let Some(seconds) = lost {
            stage.fall_silent(seconds);
        }
        let lines = stage.lines();
        prop_assert_eq!(faults(&stage), Vec::<String>::new(), "{:#?}", lines);
        let words = lines.iter().map(|line| line.trim());
        let words = words.collect::<Vec<_>>().join(" ");
        prop_assert!(words.contains("80 by 24"), "{:#?}", lines);
        if alarms > 0 && lost.is_none() {
            prop_assert!(lines[0].contains("ALARM"), "{:#?}", lines);
        }
        prop_assert_eq!(lines[0].contains("LOST"), lost.is_some(), "{:#?}", lines);
    }

    #[test]
    fn where_there_is_room_nothing_is_cut_or_written_over(
        size in (80u16..200, 24u16..60),
        state in 0usize..5,
        screen in 0usize..7,
        keys in 0usize..16,
        wide: bool,
        lost: bool,
    ) {
        let profile = if wide { WIDE } else { MONO };
        let mut stage = Stage::new(profile, size, State::ALL[state].0);
        stage.open(ScreenId::ALL[screen]);
        stage.keys(KEYS[keys]);
        stage.tell();
        stage.pass(1);
        if lost {
            stage.fall_silent(4);
        }
        prop_assert_eq!(faults(&stage), Vec::<String>::new(), "{:#?}", stage.lines());
    }
}

#[test]
fn the_narrowest_header_says_what_is_wrong_first() {
    let mut stage = Stage::new(MONO, (80, 24), State::Down);
    stage.open(ScreenId::Flood);
    stage.resize((20, 6));
    assert_eq!(
        stage.lines(),
        [
            " lb1.dc2  3 ALARMS !",
            "sess 1.06M",
            " 1  2  3 Flood  4",
            "-".repeat(20).as_str(),
            " the console needs",
            " 80 by 24; q leaves",
        ]
    );
    stage.resize((50, 8));
    assert_eq!(
        stage.lines(),
        [
            " lb1.dc2  3 ALARMS !  operator anna  12:04:30 UTC",
            "sess 1.06M  new 26.9k/s  in 5.73Mpps  ledger ok",
            " 1 Services  2 Pools  3 Flood  4  5  6  7",
            "-- vpn takes no new sessions:~ -- A lists all 3 --",
            " 50 by 8: the console needs 80 by 24; q leaves, r",
            " asks for the size",
            "",
            "",
        ]
    );
}
