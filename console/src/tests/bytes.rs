//! How many bytes a frame takes: a serial line has 11,520 of them a second.

use std::fmt::Write as _;

use crate::model::screen::ScreenId;
use crate::tests::fixture::State;
use crate::tests::stage::{MONO, Stage};

const FIRST: usize = 4_500;
const REFRESH: usize = 2_000;

#[test]
fn a_first_frame_and_a_refresh_of_every_number_stay_in_their_budget() {
    let mut report = String::new();
    for (state, name) in State::ALL {
        for screen in ScreenId::ALL {
            let mut stage = Stage::new(MONO, (80, 24), state);
            stage.open(screen);
            let first = stage.frame().len();
            stage.pass(1);
            let refreshes: Vec<usize> = (0..10)
                .map(|_| {
                    stage.pass(1);
                    stage.frame().len()
                })
                .collect();
            let most = refreshes.iter().max().copied().unwrap_or_default();
            let name = format!("{:9} {name:10}", screen.name());
            writeln!(report, "{name} first {first:5} refresh {most:5}").unwrap();
            assert!(first < FIRST, "{screen:?} {name}: {first}");
            assert!(most < REFRESH, "{screen:?} {name}: {most}");
        }
    }
    println!("{report}");
}

#[test]
fn nothing_is_sent_where_nothing_changed() {
    let mut stage = Stage::new(MONO, (80, 24), State::Flood);
    stage.frame();
    assert_eq!(stage.frame(), b"");
}

#[test]
fn nothing_is_sent_but_what_a_terminal_of_1983_obeys() {
    for screen in ScreenId::ALL {
        let mut stage = Stage::new(MONO, (80, 24), State::Flood);
        stage.open(screen);
        let mut bytes = stage.frame();
        stage.keys("?");
        bytes.extend(stage.frame());
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.is_ascii());
        for sequence in text.split('\x1b').skip(1) {
            let sequence = sequence.strip_prefix('[').unwrap();
            let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
            let (parameters, rest) = sequence.split_at(end);
            match rest.chars().next().unwrap() {
                'm' => {
                    for number in parameters.split(';') {
                        assert!(["", "0", "1", "4", "7"].contains(&number), "{sequence:?}");
                    }
                }
                'l' | 'h' => assert_eq!(parameters, "?25"),
                'H' | 'C' | 'J' | 'K' => {}
                other => panic!("{other}"),
            }
        }
    }
}
