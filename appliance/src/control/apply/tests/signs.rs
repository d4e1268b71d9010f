//! What workers publish and tell becomes alarms and events, through a whole control thread.

use weir_control::StatusRow;
use weir_director::Notice;
use weir_model::{DropReason, Event, KnockCounters, ServiceId, Time, TrafficCounters};

use super::*;
use crate::command::News;
use crate::publish::Traffic;

const TWO: &str = concat!(
    around!(),
    "[service web]
listen = 10.80.0.100:80/tcp
lip-pool = blue
passive = 5s  syns=10
real = 10.80.0.11:80
real = 10.80.0.12:80
[service plain]
listen = 10.80.0.100:81/tcp
lip-pool = blue
real = 10.80.0.13:81
"
);

fn publishes(played: &Played, place: usize, traffic: &Traffic) {
    let worker = played.control.scene.fleet.worker(place).unwrap();
    worker.boards.traffic.play(traffic);
}

fn alarms(played: &mut Played) -> Vec<String> {
    let status: Vec<StatusRow> = played.serve(|client| show(client, What::Status));
    let alarms = status.into_iter().flat_map(|status| status.alarm_list);
    alarms
        .map(|alarm| format!("{} {}: {}", alarm.severity, alarm.object, alarm.text))
        .collect()
}

#[test]
fn who_answers_no_syns_is_among_the_alarms_as_long_as_that_is_so() {
    let home = Home::new("inhibited");
    home.write(TWO);
    let mut played = home.start();
    assert_eq!(alarms(&mut played), Vec::<String>::new());
    let answers = |first: u64, third: u64| Traffic {
        reals: [first, 12, third]
            .map(|packets_out| TrafficCounters {
                packets_out,
                ..TrafficCounters::default()
            })
            .to_vec(),
        knocks: [(12, first), (12, 12), (2, third)]
            .map(|(asked, answered)| KnockCounters { asked, answered })
            .to_vec(),
        ..Traffic::default()
    };
    publishes(&played, 1, &answers(0, 0));
    played.serve_until_told("real-inhibited");
    let inhibited =
        "warning web: 1 of 2 real servers of web are inhibited: they answer no SYNs".to_owned();
    assert_eq!(alarms(&mut played).first(), Some(&inhibited));
    assert_eq!(played.events("real-inhibited").len(), 1);
    played.serve_until_told("way-back-missing");
    let missing = "warning plain: 1 of 1 real servers of plain got SYNs and never sent a packet \
                   to a LIP: look at their way back";
    assert_eq!(alarms(&mut played), [inhibited, missing.to_owned()]);
    let events = played.events("way-back-missing");
    assert_eq!(events.len(), 1, "the other one is told of as inhibited");
    assert_eq!(events[0].fields["real"], "10.80.0.13:81");
    publishes(&played, 1, &answers(1, 1));
    played.serve_until_told("way-back-found");
    assert_eq!(alarms(&mut played), Vec::<String>::new());
    assert_eq!(played.events("way-back-found").len(), 1);
}

#[test]
fn refused_sessions_of_all_workers_are_one_event_in_a_second_that_counts_them_all() {
    let home = Home::new("refused");
    let mut played = home.start();
    let refused = |refused| Traffic {
        services: vec![TrafficCounters {
            refused,
            ..TrafficCounters::default()
        }],
        ..Traffic::default()
    };
    let tell = |played: &Played, place: usize, count| {
        let event = Event::Refused {
            at: Time::default(),
            service: ServiceId(0),
            reason: DropReason::NoReal,
            client: "192.0.2.7:40000".parse().unwrap(),
            count,
        };
        let news = News::Notice(Notice::Event(event));
        played.ends[place].news.send(news).unwrap();
    };
    let began = Instant::now();
    for round in 1..=20 {
        publishes(&played, 0, &refused(1_000 * round));
        publishes(&played, 1, &refused(17 * round));
        if round % 10 == 1 {
            tell(&played, 0, 1_000 * round);
            tell(&played, 1, 17 * round);
        }
        played.serve_for(Duration::from_millis(100));
    }
    let number = |event: &EventRow, name: &str| event.fields[name].parse::<u64>().unwrap();
    let told = |rows: &[EventRow]| -> u64 {
        let told = rows.iter().filter(|row| row.code == "session-refused");
        told.map(|event| number(event, "count")).sum()
    };
    played.serve_until(|control| {
        assert!(began.elapsed() < PATIENCE, "not all are told");
        told(&control.scene.events.rows(None, None)) >= 20_340
    });
    let seconds = began.elapsed().as_secs();
    let events = played.events("session-refused");
    assert!((2..=seconds).contains(&(events.len() as u64)), "{events:?}");
    assert_eq!(told(&events), 20_340);
    let last = events.last().unwrap();
    assert_eq!(number(last, "total"), 20_340);
    assert_eq!(
        (
            last.fields["reason"].as_str(),
            last.fields["client"].as_str()
        ),
        ("no-real", "192.0.2.7:40000")
    );
    assert!(events.iter().all(|event| event.suppressed == 0));
}
