//! What began, what ended, and the rows of both.

use std::sync::Arc;

use weir_model::HeavyHitter;
use weir_testkit::snapshot;

use super::*;
use crate::control::second::Look;
use crate::control::second::services::ServiceBooks;
use crate::publish::{Boards, Traffic};
use crate::testing::{around, dns};

const CONF: &str = concat!(
    around!(),
    "[synproxy adaptive]
mode = adaptive
[service web]
listen = 10.80.0.100:80/tcp
lip-pool = blue
synproxy = adaptive
real = 10.80.0.11:80
"
);
const DNS: &str = dns!();

/// Two workers whose boards the test writes, and a clock.
struct Played {
    floods: Floods,
    looked: Look,
    second: Option<Second>,
    snapshot: Snapshot,
    boards: Vec<Arc<Boards>>,
    now: Instant,
    wall: SystemTime,
}

impl Played {
    fn new() -> Self {
        let snapshot = snapshot("test.conf", &format!("{CONF}{DNS}")).unwrap();
        Self {
            floods: Floods::default(),
            looked: Look::default(),
            second: None,
            boards: (0..2).map(|_| Boards::new(&snapshot)).collect(),
            snapshot,
            now: Instant::now(),
            wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_799_999_999),
        }
    }

    fn web(&self) -> ServiceId {
        let mut services = self.snapshot.services.iter();
        services.find(|service| service.name == "web").unwrap().id
    }

    fn write(&self, worker: usize, flood: &ServiceFlood) {
        self.boards[worker].flood.write(0, |_| flood.clone());
    }

    fn read(&self) -> Vec<Flood> {
        let boards = self.boards.iter();
        boards.map(|boards| boards.flood.read()).collect()
    }

    fn look_after(&mut self, millis: u64) -> Vec<(usize, Event)> {
        self.now += Duration::from_millis(millis);
        self.wall += Duration::from_millis(millis);
        let read = self.read();
        let look = Look {
            services: ServiceBooks::of(&self.snapshot, &Traffic::default(), &read),
            ..Look::default()
        };
        let elapsed = Duration::from_millis(millis);
        self.second = Second::between(1, &self.looked, &look, elapsed);
        if let Some(second) = &mut self.second {
            second.busy_percent = vec![20, 37];
        }
        self.looked = look;
        self.floods.look(self.now, self.wall, &self.snapshot, &read)
    }

    fn row(&self) -> FloodRow {
        let read = self.read();
        let second = self.second.as_ref();
        let mut rows = self
            .floods
            .rows(self.now, &self.snapshot, None, &read, second);
        assert_eq!(rows.len(), 1, "UDP has no SYNs");
        rows.remove(0)
    }
}

fn flood(syn_in: u64, triggered: bool) -> ServiceFlood {
    ServiceFlood {
        counters: FloodCounters {
            syn_in,
            cookie_sent: syn_in,
            active: u64::from(triggered),
            ..FloodCounters::default()
        },
        triggered,
        ..ServiceFlood::default()
    }
}

#[test]
fn a_flood_of_two_workers_is_one_with_their_rates_together() {
    let mut played = Played::new();
    let service = played.web();
    played.look_after(0);
    let began = Event::FloodBegan {
        at: Time::from_micros(7),
        service,
        unanswered: 900,
        half_open: 3,
    };
    played.floods.heard(1, &began);
    played.write(1, &flood(1_000, true));
    assert_eq!(played.look_after(1_000), [(1, began)]);
    assert!(played.floods.is_active(service));
    let own = Event::FloodBegan {
        at: Time::from_micros(8),
        service,
        unanswered: 800,
        half_open: 1,
    };
    played.floods.heard(0, &own);
    played.write(0, &flood(4_000, true));
    played.write(1, &flood(2_000, true));
    assert_eq!(played.look_after(1_000), []);
    let row = played.row();
    assert_eq!((row.syn_in, row.cookie_sent), (6_000, 6_000));
    assert_eq!((row.syn_per_s, row.peak_syn_per_s), (5_000, Some(5_000)));
    assert_eq!((row.active, row.active_s), (true, Some(1)));
    assert_eq!(row.since.as_deref(), Some("2027-01-15T08:00:00Z"));
    played.write(0, &flood(4_100, false));
    assert_eq!(played.look_after(30_000), []);
    let ended = Event::FloodEnded {
        at: Time::from_micros(9),
        service,
        peak: 100,
        lasted_ms: 5,
    };
    played.floods.heard(1, &ended);
    played.write(1, &flood(2_000, false));
    let all_ended = Event::FloodEnded {
        at: Time::from_micros(9),
        service,
        peak: 5_000,
        lasted_ms: 32_000,
    };
    assert_eq!(played.look_after(1_000), [(1, all_ended)]);
    assert!(!played.floods.is_active(service));
    let row = played.row();
    assert_eq!((row.active, row.since, row.active_s), (false, None, None));
    assert_eq!(row.peak_syn_per_s, Some(5_000), "that of the last flood");
}

#[test]
fn what_is_in_use_is_a_share_of_what_all_workers_can_do() {
    let mut played = Played::new();
    assert_eq!(played.row().capacity.note, None, "nobody has looked yet");
    let path = std::env::temp_dir().join(format!("weir-{}-used.json", std::process::id()));
    played.floods.look_at_capacity(played.now, &path);
    let row = played.row().capacity;
    let note = row.note.as_deref();
    assert_eq!(note, Some("not measured: run `weir bench`"));
    assert_eq!((row.workers, row.busy_percent), (2, 0));
    let measured = Capacity {
        measured: "2026-11-22T20:00:00Z".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cpu: capacity::cpu(),
        cookies_per_s: 10_000,
        ..Capacity::default()
    };
    capacity::write(&path, &measured).unwrap();
    played.look_after(0);
    played.write(0, &flood(4_000, true));
    played.write(1, &flood(1_000, true));
    played.look_after(1_000);
    played.floods.look_at_capacity(played.now, &path);
    assert!(played.row().capacity.note.is_some(), "not yet again");
    played
        .floods
        .look_at_capacity(played.now + CAPACITY_EVERY, &path);
    std::fs::remove_file(&path).unwrap();
    let row = played.row().capacity;
    assert_eq!(
        (row.syn_per_s, row.used_percent),
        (Some(20_000), Some(25.0))
    );
    assert_eq!((row.workers, row.busy_percent), (2, 37));
    assert_eq!(row.measured.as_deref(), Some("2026-11-22T20:00:00Z"));
    // Before the first second, too, the figure is there, and nobody says why it were not.
    played.second = None;
    let row = played.row().capacity;
    assert_eq!((row.syn_per_s, row.used_percent), (Some(20_000), Some(0.0)));
}

#[test]
fn a_flood_whose_notices_were_lost_is_found_and_told_to_the_others() {
    let mut played = Played::new();
    played.look_after(0);
    played.write(0, &flood(2_000, true));
    let turned = played.look_after(1_000);
    assert!(
        matches!(
            turned[..],
            [(
                0,
                Event::FloodBegan {
                    unanswered: 2_000,
                    ..
                }
            )]
        ),
        "{turned:?}"
    );
    let service = played.web();
    let mut told = Vec::new();
    played.floods.hint(|worker, service, flood| {
        told.push((worker, service, flood));
        false
    });
    assert_eq!(told, [(1, service, true)]);
    told.clear();
    played.floods.hint(|worker, service, flood| {
        told.push((worker, service, flood));
        true
    });
    assert_eq!(told, [(1, service, true)], "the first could not be told");
    let nobody = |_, _, _| panic!("they have been told");
    played.floods.hint(nobody);
}

#[test]
fn after_a_reload_hints_are_told_again_and_a_removed_service_ends_its_flood() {
    let mut played = Played::new();
    let service = played.web();
    played.write(0, &flood(2_000, true));
    played.look_after(1_000);
    played.floods.hint(|_, _, _| true);
    for worker in [0, 1] {
        played.floods.restarted(worker);
    }
    let mut told = Vec::new();
    played.floods.hint(|worker, _, flood| {
        told.push((worker, flood));
        true
    });
    assert_eq!(told, [(1, true)]);
    played.snapshot.services = weir_model::Slots::with_bound(2);
    let turned = played.look_after(1_000);
    assert!(
        matches!(turned[..], [(_, Event::FloodEnded { service: ended, .. })] if ended == service),
        "{turned:?}"
    );
    assert_eq!(played.look_after(1_000), []);
}

#[test]
fn a_service_that_is_set_to_off_has_no_flood_whatever_a_trigger_says() {
    let mut played = Played::new();
    played.write(0, &flood(2_000, true));
    assert_eq!(played.look_after(100).len(), 1);
    let off = CONF.replace("synproxy = adaptive\n", "");
    let off = snapshot("test.conf", &format!("{off}{DNS}")).unwrap();
    played.snapshot = off;
    let turned = played.look_after(100);
    assert!(
        matches!(turned[..], [(_, Event::FloodEnded { .. })]),
        "{turned:?}"
    );
}

#[test]
fn handshakes_of_the_last_ten_seconds_count_and_older_ones_do_not() {
    let mut played = Played::new();
    played.look_after(0);
    assert_eq!(played.row().success_percent, None);
    assert_eq!(played.row().p99_us, None);
    let mut sum = ServiceFlood::default();
    for _ in 0..99 {
        sum.counters.complete(33);
    }
    sum.counters.complete(5_000);
    sum.counters.failed = 25;
    played.write(0, &sum);
    played.look_after(1_000);
    let row = played.row();
    assert_eq!((row.success_percent, row.p99_us), (Some(80.0), Some(48)));
    for second in 1..=10 {
        played.look_after(1_000);
        assert_eq!(
            played.row().p99_us.is_some(),
            second < 10,
            "second {second}"
        );
    }
    assert_eq!(played.row().success_percent, None);
    sum.counters.complete(5_000);
    played.write(0, &sum);
    assert_eq!(played.row().p99_us, Some(6_144), "half octaves: 4096, 6144");
}

#[test]
fn who_floods_is_told_in_words() {
    let played = Played::new();
    let mut sum = flood(64, true);
    sum.sources.insert(HeavyHitter {
        key: u64::from(u32::from(std::net::Ipv4Addr::new(203, 0, 113, 0))),
        syn_per_s: 640,
    });
    sum.fingerprints.insert(HeavyHitter {
        key: 512 << 48,
        syn_per_s: 320,
    });
    played.write(1, &sum);
    let row = played.row();
    assert_eq!(row.top_sources[0].prefix, "203.0.113.0/24");
    assert_eq!(row.top_sources[0].syn_per_s, 640);
    assert!(
        row.top_fingerprints[0].fingerprint.starts_with("win 512"),
        "{row:?}"
    );
    assert_eq!(
        (row.mode.as_str(), row.false_accept.as_str()),
        ("adaptive", "2^-23")
    );
    assert_eq!(row.spread_over, None);
}

#[test]
fn sources_of_which_none_stands_out_are_said_to_be_spread() {
    let played = Played::new();
    let mut sum = flood(64, true);
    sum.fingerprints.insert(HeavyHitter {
        key: 512 << 48,
        syn_per_s: 320,
    });
    played.write(1, &sum);
    let row = played.row();
    assert_eq!((row.top_sources.len(), row.spread_over), (0, Some(32)));
}
