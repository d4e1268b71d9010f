mod availability;

use std::time::Duration;

use weir_control::HealthRow;
use weir_testkit::{snapshot, snapshot_after};

use super::*;
use crate::health::Target;
use crate::health::runner::{End, Ran};
use crate::testing::{around, dns};

const CONF: &str = concat!(
    around!(),
    "[health fast]
type = tcp
interval = 1s
[synproxy on]
mode = always
[service web]
listen = 10.80.0.100:80/tcp
lip-pool = blue
health = fast
synproxy = on
real = 10.80.0.11:80
real = 10.80.0.12:80
[service shop]
listen = 10.80.0.101:80/tcp
lip-pool = blue
health = fast
real = 10.80.0.11:80
[service mail]
listen = 10.80.0.100:25/tcp
lip-pool = blue
synproxy = on
real = 10.80.0.11:80
real = 10.80.0.13:25
",
    dns!()
);

const FULL: Offer = Offer {
    mss: 1460,
    wscale: Some(7),
    sack: true,
    timestamps: true,
};

fn at(seconds: u64) -> Now {
    Now {
        time: weir_model::Time::from_micros(seconds * 1_000_000),
        wall_ms: seconds * 1_000,
    }
}

fn target<'a>(targets: &'a [Target], at: &str) -> &'a Target {
    let at: SocketAddr = at.parse().unwrap();
    let mut found = targets.iter().filter(|target| target.address == at);
    let target = found.next().unwrap();
    assert!(found.next().is_none(), "{at} is probed twice");
    target
}

fn finding(target: &Target, is_up: bool, learned: Option<Offer>) -> Finding {
    Finding {
        id: target.id,
        is_up,
        since: if is_up { at(5) } else { at(3) },
        last_error: (!is_up).then(|| "connection refused".to_owned()),
        is_able: true,
        learned,
        weight: None,
        rtt_us: is_up.then_some(180),
    }
}

fn row(book: &Book, snapshot: &Snapshot, service: &str, real: &str) -> HealthRow {
    let mut rows = book.rows(snapshot, None).into_iter();
    rows.find(|row| row.service == service && row.real == real)
        .unwrap()
}

/// What a worker was told: real servers that are up or not, and offers.
type Told = (Vec<(RealId, bool)>, Vec<(ServiceId, Offer)>);

/// What the workers, two of them, are told now; both the same.
fn told(book: &mut Book, snapshot: &Snapshot) -> Told {
    let mut told = [Told::default(), Told::default()];
    book.tell(snapshot, |place, command| {
        match command {
            Command::Real { real, state } => told[place].0.push((real, state.up)),
            Command::Offer { service, offer } => told[place].1.push((service, offer)),
            other @ (Command::Apply { .. }
            | Command::Arp { .. }
            | Command::Neighbour { .. }
            | Command::Sessions { .. }
            | Command::PoolUse { .. }
            | Command::FloodHint { .. }
            | Command::Vip { .. }
            | Command::Deny { .. }
            | Command::Explain { .. }
            | Command::Capture(_)
            | Command::Reset { .. }
            | Command::Admit { .. }
            | Command::Neighbours { .. }
            | Command::Reach { .. }
            | Command::Stop) => panic!("{other:?}"),
        }
        true
    });
    assert!(!book.is_behind());
    let [first, second] = told;
    assert_eq!(first, second);
    first
}

fn service<'a>(snapshot: &'a Snapshot, name: &str) -> &'a Service {
    let mut services = snapshot.services.iter();
    services.find(|service| service.name == name).unwrap()
}

fn start() -> (Book, Snapshot, Vec<Target>) {
    let (mut book, snapshot) = (Book::new(2), snapshot("test.conf", CONF).unwrap());
    let targets = book.adopt(&snapshot, at(1));
    (book, snapshot, targets)
}

#[test]
fn services_share_a_target_and_only_those_who_need_one_have_one() {
    let (_, _, targets) = start();
    // `mail` only learns from 10.80.0.11, which others check; nobody needs to know the one of `dns`.
    assert_eq!(targets.len(), 3);
    let second = Duration::from_secs(1);
    assert_eq!(target(&targets, "10.80.0.11:80").health.interval, second);
    assert_eq!(target(&targets, "10.80.0.12:80").health.interval, second);
    let learned_only = target(&targets, "10.80.0.13:25");
    assert_eq!(learned_only.health, Health::default());
    assert!(targets.iter().all(|target| target.is_up));
}

/// The codes and sentences of events.
fn sentences(events: Vec<EventRecord>) -> Vec<(&'static str, String)> {
    let events = events.into_iter();
    events.map(|event| (event.code, event.text)).collect()
}

#[test]
fn a_real_server_that_falls_is_told_to_the_services_that_check_it() {
    let (mut book, snapshot, targets) = start();
    told(&mut book, &snapshot);
    let shared = target(&targets, "10.80.0.11:80");
    assert!(!book.may_be_out());
    let events = book.take(finding(shared, false, None), &snapshot);
    assert!(book.may_be_out());
    assert_eq!(
        sentences(events),
        [(
            "real-down",
            "real server 10.80.0.11:80 of mail, shop, web is down: connection refused".to_owned()
        )]
    );
    let (web, shop, mail) = (
        service(&snapshot, "web").reals[0].id,
        service(&snapshot, "shop").reals[0].id,
        service(&snapshot, "mail").reals[0].id,
    );
    assert_eq!(told(&mut book, &snapshot).0, [(web, false), (shop, false)]);
    assert!(book.is_down(web) && book.is_down(shop) && !book.is_down(mail));
    for name in ["web", "mail"] {
        let real = &service(&snapshot, name).reals[0];
        let is_checked = name == "web";
        let standing = Standing {
            is_checked,
            is_down: is_checked,
            weight: real.weight,
        };
        assert_eq!(book.standing(real), standing, "{name}");
    }
    let down = row(&book, &snapshot, "web", "10.80.0.11:80");
    assert_eq!(
        (down.state.as_str(), down.since.as_str()),
        ("down", "1970-01-01T00:00:03Z")
    );
    assert_eq!(down.last_error.as_deref(), Some("connection refused"));
    let unchecked = row(&book, &snapshot, "mail", "10.80.0.11:80");
    assert_eq!(
        (unchecked.state.as_str(), unchecked.since.as_str()),
        ("unchecked", "1970-01-01T00:00:01Z")
    );

    // Somebody sets the clock meanwhile, which says nothing of how long it was down.
    let mut up = finding(shared, true, Some(FULL));
    up.since.wall_ms = 2_000_000_000_000;
    let events = book.take(up, &snapshot);
    assert_eq!(
        sentences(events),
        [(
            "real-up",
            "real server 10.80.0.11:80 of mail, shop, web is up again after 2s".to_owned()
        )]
    );
    assert_eq!(told(&mut book, &snapshot).0, [(web, true), (shop, true)]);
    assert_eq!(row(&book, &snapshot, "web", "10.80.0.11:80").state, "up");
}

#[test]
fn who_only_learns_is_never_down() {
    let (mut book, snapshot, targets) = start();
    told(&mut book, &snapshot);
    let learned_only = target(&targets, "10.80.0.13:25");
    assert_eq!(book.take(finding(learned_only, false, None), &snapshot), []);
    assert_eq!(told(&mut book, &snapshot).0, []);
    let row = row(&book, &snapshot, "mail", "10.80.0.13:25");
    assert_eq!(row.state, "unchecked");
    assert_eq!(row.last_error.as_deref(), Some("connection refused"));
}

#[test]
fn the_offer_follows_what_is_learned_and_is_told_once() {
    let (mut book, snapshot, targets) = start();
    let (web, mail) = (service(&snapshot, "web").id, service(&snapshot, "mail").id);
    let given = Offer {
        timestamps: false,
        ..service(&snapshot, "web").synproxy.given
    };
    // `shop` and `dns` are not proxied.
    assert_eq!(told(&mut book, &snapshot).1, [(web, given), (mail, given)]);
    let other = Offer {
        mss: 1400,
        wscale: Some(9),
        ..FULL
    };
    book.take(
        finding(target(&targets, "10.80.0.11:80"), true, Some(FULL)),
        &snapshot,
    );
    book.take(
        finding(target(&targets, "10.80.0.12:80"), true, Some(other)),
        &snapshot,
    );
    let untried = Offer {
        timestamps: false,
        ..FULL
    };
    assert_eq!(
        told(&mut book, &snapshot).1,
        [(web, other), (mail, untried)]
    );
    book.take(
        finding(target(&targets, "10.80.0.12:80"), true, Some(other)),
        &snapshot,
    );
    assert_eq!(told(&mut book, &snapshot).1, []);
    // Whoever is down decides nothing.
    book.take(
        finding(target(&targets, "10.80.0.12:80"), false, Some(other)),
        &snapshot,
    );
    assert_eq!(told(&mut book, &snapshot).1, [(web, FULL)]);
    let learned = row(&book, &snapshot, "web", "10.80.0.12:80")
        .learned
        .unwrap();
    assert_eq!((learned.mss, learned.wscale), (1400, Some(9)));
}

#[test]
fn drift_names_the_real_server_its_services_and_the_option() {
    let (mut book, snapshot, targets) = start();
    let only = target(&targets, "10.80.0.12:80");
    assert_eq!(book.take(finding(only, true, Some(FULL)), &snapshot), []);
    let ten = Offer {
        wscale: Some(10),
        ..FULL
    };
    assert_eq!(
        sentences(book.take(finding(only, true, Some(ten)), &snapshot)),
        [(
            "options-drift",
            "real server 10.80.0.12:80 of web changed its options: window scale was 7, is 10"
                .to_owned()
        )]
    );
}

#[test]
fn a_check_that_cannot_be_made_is_said_once_and_takes_nobody_down() {
    let (mut book, snapshot, targets) = start();
    let unable = Finding {
        is_able: false,
        last_error: Some("this machine cannot ask: too many open files".to_owned()),
        ..finding(target(&targets, "10.80.0.12:80"), true, None)
    };
    assert_eq!(
        sentences(book.take(unable.clone(), &snapshot)),
        [(
            "check-impossible",
            "real server 10.80.0.12:80 of web is not checked: this machine cannot ask: too many \
             open files"
                .to_owned()
        )]
    );
    assert_eq!(book.take(unable, &snapshot), []);
    assert_eq!(told(&mut book, &snapshot).0, []);
}

#[test]
fn a_reload_keeps_what_is_known_and_tells_the_workers_again() {
    let (mut book, snapshot, targets) = start();
    let (first, second) = (
        target(&targets, "10.80.0.11:80"),
        target(&targets, "10.80.0.12:80"),
    );
    book.take(finding(first, true, Some(FULL)), &snapshot);
    book.take(finding(second, false, None), &snapshot);
    told(&mut book, &snapshot);
    let more = CONF.replace(
        "real = 10.80.0.12:80",
        "real = 10.80.0.12:80\nreal = 10.80.0.14:80",
    );
    let after = snapshot_after("test.conf", &more, &snapshot).unwrap();
    let again = book.adopt(&after, at(9));
    assert_eq!(again.len(), 4);
    assert_eq!(target(&again, "10.80.0.11:80").id, first.id);
    assert_eq!(target(&again, "10.80.0.12:80").id, second.id);
    let (web, mail) = (service(&after, "web"), service(&after, "mail"));
    let (healths, offers) = told(&mut book, &after);
    assert_eq!(healths, [(web.reals[1].id, false)]);
    let untried = Offer {
        timestamps: false,
        ..FULL
    };
    assert_eq!(offers, [(web.id, untried), (mail.id, untried)]);
    assert_eq!(
        row(&book, &after, "web", "10.80.0.12:80").since,
        "1970-01-01T00:00:03Z"
    );
    assert_eq!(
        row(&book, &after, "web", "10.80.0.14:80").since,
        "1970-01-01T00:00:09Z"
    );
}

#[test]
fn another_check_begins_with_what_the_old_one_found_and_none_brings_everybody_up() {
    let (mut book, snapshot, targets) = start();
    let second = target(&targets, "10.80.0.12:80");
    book.take(finding(second, false, Some(FULL)), &snapshot);
    told(&mut book, &snapshot);
    let slower = CONF.replace("interval = 1s", "interval = 3s");
    let slower = snapshot_after("test.conf", &slower, &snapshot).unwrap();
    let again = book.adopt(&slower, at(9));
    let now = target(&again, "10.80.0.12:80");
    assert!(now.id != second.id && !now.is_up);
    assert_eq!(now.since, at(3));
    assert!(
        row(&book, &slower, "web", "10.80.0.12:80")
            .learned
            .is_some()
    );
    // A word of the old check that was on its way means nothing.
    assert_eq!(book.take(finding(second, true, None), &slower), []);
    let real = service(&slower, "web").reals[1].id;
    assert_eq!(told(&mut book, &slower).0, [(real, false)]);
    let none = CONF.replace("health = fast\n", "");
    let none = snapshot_after("test.conf", &none, &slower).unwrap();
    let again = book.adopt(&none, at(10));
    assert!(target(&again, "10.80.0.12:80").is_up);
    assert_eq!(told(&mut book, &none).0, [(real, true)]);
    assert_eq!(row(&book, &none, "web", "10.80.0.12:80").state, "unchecked");
}

#[test]
fn a_worker_that_does_not_keep_up_is_told_the_latest_word_later() {
    let (mut book, snapshot, targets) = start();
    told(&mut book, &snapshot);
    let second = target(&targets, "10.80.0.12:80");
    let real = service(&snapshot, "web").reals[1].id;
    book.take(finding(second, false, None), &snapshot);
    let mut first = Vec::new();
    book.tell(&snapshot, |place, command| {
        if place == 0 {
            first.push(format!("{command:?}"));
        }
        place == 0
    });
    let down = RealState {
        up: false,
        ..RealState::default()
    };
    assert_eq!(
        first,
        [format!("Real {{ real: {real:?}, state: {down:?} }}")]
    );
    assert!(book.is_behind());
    book.take(finding(second, true, None), &snapshot);
    let mut second_told = Vec::new();
    book.tell(&snapshot, |place, command| {
        if let (1, Command::Real { real, state }) = (place, command) {
            second_told.push((real, state.up));
        }
        true
    });
    assert_eq!(second_told, [(real, true)]);
    assert!(!book.is_behind());
}
