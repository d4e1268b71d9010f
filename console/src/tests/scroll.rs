//! An appliance with 1,000 services and 10,000 real servers: whoever scrolls waits for nothing.

use std::time::Duration;

use weir_control::{Filter, RealCountsRow, ServiceRealRow, ServiceRow, What};

use crate::model::data::Answer;
use crate::tests::fixture::State;
use crate::tests::stage::{MONO, Stage};
use crate::tests::worked;
use crate::update::Message;

const SERVICES: usize = 1_000;
const REALS: usize = 10;
/// From the key to the bytes of the frame. A serial line takes longer to bring the key.
const WITHIN: Duration = Duration::from_millis(10);

fn services() -> Vec<serde_json::Value> {
    let reals = |service: usize| {
        let real = move |real: usize| ServiceRealRow {
            address: format!("10.{}.{}.{real}:80", service / 250, service % 250),
            state: "up".to_owned(),
            weight: 1,
            ..ServiceRealRow::default()
        };
        (0..REALS).map(real).collect()
    };
    let rows = (0..SERVICES).map(|number| ServiceRow {
        name: format!("service-{number}"),
        listen: vec![format!("203.0.113.10:{}", 1_000 + number)],
        protocol: "tcp".to_owned(),
        state: "up".to_owned(),
        real_counts: RealCountsRow {
            all: REALS as u64,
            up: REALS as u64,
            ..RealCountsRow::default()
        },
        reals: reals(number),
        ..ServiceRow::default()
    });
    rows.map(|row| serde_json::to_value(row).unwrap()).collect()
}

/// Types a key so many times; returns how long nine of ten took at most, with the frame.
fn typed(stage: &mut Stage, key: &str, times: usize) -> Duration {
    let mut took: Vec<Duration> = (0..times)
        .map(|_| {
            let before = worked();
            assert_eq!(stage.keys(key), [], "the daemon is asked for `{key}`");
            stage.frame();
            worked().saturating_sub(before)
        })
        .collect();
    took.sort_unstable();
    took[times * 9 / 10]
}

#[test]
fn ten_thousand_real_servers_are_scrolled_through_without_delay() {
    let mut stage = Stage::new(MONO, (80, 24), State::Calm);
    stage.message(Message::Told {
        what: What::Services,
        filter: Filter::default(),
        answer: Answer::read(What::Services, services()),
        at: stage.clock.up,
        took: Duration::from_millis(20),
    });
    stage.keys("G");
    stage.frame();
    let shows = |stage: &Stage, text: &str| stage.lines().iter().any(|line| line.contains(text));
    assert!(shows(&stage, "10.3.249.9:80"), "{:#?}", stage.lines());
    let up = typed(&mut stage, "k", 200);
    assert!(shows(&stage, "10.3.231."), "{:#?}", stage.lines());
    stage.keys("g");
    let down = typed(&mut stage, "j", 200);
    assert!(shows(&stage, "10.0.18."), "{:#?}", stage.lines());
    let ends = typed(&mut stage, "Gg", 50);
    let most = up.max(down).max(ends);
    println!("up {up:?}, down {down:?}, both ends {ends:?}");
    assert!(most < WITHIN, "up {up:?}, down {down:?}, ends {ends:?}");
}
