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

/// One service with a quorum and a sorry server, and one that is alone at its address.
const POOR: &str = concat!(
    around!(),
    "[service web]
listen = 10.80.0.100:80/tcp
lip-pool = blue
health = tcp
quorum = 2 hysteresis=1
quorum-up = /hooks/up
quorum-down = /hooks/down
omega = yes
real = 10.80.0.11:80
real = 10.80.0.12:80
real = 10.80.0.13:80
"
);

fn poor(more: &str) -> (Book, Snapshot, Vec<Target>) {
    let text = format!("{POOR}{more}\n");
    let (mut book, snapshot) = (Book::new(1), snapshot("test.conf", &text).unwrap());
    let targets = book.adopt(&snapshot, at(1));
    told_one(&mut book, &snapshot);
    assert!(book.next_event().is_none() && book.next_hook().is_none());
    (book, snapshot, targets)
}

/// What the only worker is told now.
fn told_one(book: &mut Book, snapshot: &Snapshot) -> Vec<String> {
    let mut told = Vec::new();
    book.tell(snapshot, |_, command| {
        match command {
            Command::Real { real, state } => told.push(format!(
                "{} {} {:?}{}",
                real.0,
                if state.up { "up" } else { "down" },
                state.weight,
                if state.draining { " draining" } else { "" }
            )),
            Command::Vip { address, withdrawn } => told.push(format!("{address} {withdrawn}")),
            Command::Offer { .. } => {}
            other @ (Command::Apply { .. }
            | Command::Reset { .. }
            | Command::Arp { .. }
            | Command::Neighbour { .. }
            | Command::Sessions { .. }
            | Command::PoolUse { .. }
            | Command::Explain { .. }
            | Command::Neighbours { .. }
            | Command::Reach { .. }
            | Command::Deny { .. }
            | Command::FloodHint { .. }
            | Command::Capture(_)
            | Command::Admit { .. }
            | Command::Stop) => panic!("{other:?}"),
        }
        true
    });
    told
}

fn turn(book: &mut Book, snapshot: &Snapshot, targets: &[Target], at: &str, up: bool) {
    book.take(finding(target(targets, at), up, None), snapshot);
}

fn codes(book: &mut Book) -> Vec<&'static str> {
    std::iter::from_fn(|| book.next_event())
        .map(|event| event.code)
        .collect()
}

fn hooks(book: &mut Book) -> Vec<(String, String)> {
    std::iter::from_fn(|| book.next_hook())
        .map(|run| (run.program, run.environment[1].1.clone()))
        .collect()
}

fn pair(program: &str, event: &str) -> Vec<(String, String)> {
    vec![(program.to_owned(), event.to_owned())]
}

#[test]
fn a_lost_quorum_withdraws_the_address_and_runs_its_hooks_once() {
    let (mut book, snapshot, targets) = poor("");
    turn(&mut book, &snapshot, &targets, "10.80.0.11:80", false);
    assert_eq!(told_one(&mut book, &snapshot), ["0 down None"]);
    assert!(codes(&mut book).is_empty());
    turn(&mut book, &snapshot, &targets, "10.80.0.12:80", false);
    assert_eq!(
        told_one(&mut book, &snapshot),
        ["1 down None", "10.80.0.100 true"]
    );
    assert_eq!(codes(&mut book), ["quorum-lost", "vip-withdrawn"]);
    assert_eq!(hooks(&mut book), pair("/hooks/down", "quorum-down"));
    let (state, reason) = book.service_state(service(&snapshot, "web"));
    assert_eq!(state, "no-quorum");
    assert_eq!(
        reason.as_deref(),
        Some("the quorum is lost: a weight of 1 is up, 3 is needed")
    );
    turn(&mut book, &snapshot, &targets, "10.80.0.12:80", true);
    assert_eq!(told_one(&mut book, &snapshot), ["1 up None"]);
    assert!(codes(&mut book).is_empty(), "the hysteresis");
    book.stop(&snapshot);
    assert!(hooks(&mut book).is_empty(), "it is down already");
    turn(&mut book, &snapshot, &targets, "10.80.0.11:80", true);
    assert_eq!(
        told_one(&mut book, &snapshot),
        ["0 up None", "10.80.0.100 false"]
    );
    assert_eq!(codes(&mut book), ["quorum-gained", "vip-announced"]);
    assert_eq!(hooks(&mut book), pair("/hooks/up", "quorum-up"));
    book.stop(&snapshot);
    assert_eq!(hooks(&mut book), pair("/hooks/down", "stop"));
}

#[test]
fn a_sorry_server_takes_over_with_the_quorum_and_keeps_the_address() {
    let (mut book, snapshot, targets) = poor("sorry = 10.80.0.99:80");
    turn(&mut book, &snapshot, &targets, "10.80.0.11:80", false);
    turn(&mut book, &snapshot, &targets, "10.80.0.12:80", false);
    assert_eq!(
        told_one(&mut book, &snapshot),
        ["0 down None", "1 down None", "2 down None"]
    );
    assert_eq!(codes(&mut book), ["quorum-lost", "sorry-began"]);
    turn(&mut book, &snapshot, &targets, "10.80.0.11:80", true);
    turn(&mut book, &snapshot, &targets, "10.80.0.12:80", true);
    assert_eq!(
        told_one(&mut book, &snapshot),
        ["0 up None", "1 up None", "2 up None"]
    );
    assert_eq!(codes(&mut book), ["quorum-gained", "sorry-ended"]);
}

#[test]
fn a_failed_hook_is_told_with_what_it_wrote() {
    let (mut book, snapshot, targets) = poor("");
    for at in ["10.80.0.11:80", "10.80.0.12:80"] {
        turn(&mut book, &snapshot, &targets, at, false);
    }
    told_one(&mut book, &snapshot);
    codes(&mut book);
    let run = book.next_hook().unwrap();
    assert!(book.has_hooks());
    book.ran(&Ran {
        ticket: run.ticket,
        end: End::Exit(3),
        output: "no\nroute".to_owned(),
    });
    assert!(!book.has_hooks());
    assert_eq!(
        book.next_event().unwrap().text,
        "the hook /hooks/down of web failed: it ended with exit status 3 (no route)"
    );
}

#[test]
fn what_an_operator_orders_wins_over_a_check_and_outlives_an_apply() {
    let (mut book, snapshot, targets) = poor("");
    let real = service(&snapshot, "web").reals[0];
    let found = Finding {
        weight: Some(5),
        ..finding(target(&targets, "10.80.0.11:80"), true, None)
    };
    book.take(found, &snapshot);
    assert_eq!(told_one(&mut book, &snapshot), ["0 up Some(5)"]);
    let ordered = Ordered {
        weight: Some(9),
        draining: true,
    };
    book.order(real.id, ordered);
    assert_eq!(told_one(&mut book, &snapshot), ["0 up Some(9) draining"]);
    assert_eq!(book.weight(&real), 9);
    book.adopt(&snapshot, at(2));
    assert_eq!(told_one(&mut book, &snapshot), ["0 up Some(9) draining"]);
    book.order(real.id, Ordered::default());
    assert_eq!(told_one(&mut book, &snapshot), ["0 up Some(5)"]);
}

#[test]
fn the_share_of_one_that_came_back_grows() {
    let (mut book, snapshot, targets) = poor("slow-start = 20s");
    turn(&mut book, &snapshot, &targets, "10.80.0.11:80", false);
    told_one(&mut book, &snapshot);
    turn(&mut book, &snapshot, &targets, "10.80.0.11:80", true);
    assert_eq!(
        told_one(&mut book, &snapshot),
        ["0 up Some(4)", "1 up Some(100)", "2 up Some(100)"]
    );
    book.grow(&snapshot, at(15));
    assert_eq!(told_one(&mut book, &snapshot), ["0 up Some(52)"]);
    book.grow(&snapshot, at(25));
    assert_eq!(
        told_one(&mut book, &snapshot),
        ["0 up None", "1 up None", "2 up None"]
    );
    book.grow(&snapshot, at(60));
    assert!(told_one(&mut book, &snapshot).is_empty());
}

#[test]
fn a_growing_share_makes_no_other_table_for_the_rest_and_no_other_number_of_sessions() {
    // With a table, parts of weights hold from the start: only one real server's changes.
    let (mut book, snapshot, targets) = poor("slow-start = 20s\nscheduler = maglev");
    turn(&mut book, &snapshot, &targets, "10.80.0.11:80", false);
    told_one(&mut book, &snapshot);
    turn(&mut book, &snapshot, &targets, "10.80.0.11:80", true);
    assert_eq!(told_one(&mut book, &snapshot), ["0 up Some(4)"]);
    book.grow(&snapshot, at(25));
    assert_eq!(told_one(&mut book, &snapshot), ["0 up Some(100)"]);
    // A weight of lblc is how many sessions are enough.
    let (mut book, snapshot, targets) =
        poor("slow-start = 20s\nscheduler = lblc\nreal = 10.80.0.14:80 weight=50");
    turn(&mut book, &snapshot, &targets, "10.80.0.14:80", false);
    told_one(&mut book, &snapshot);
    turn(&mut book, &snapshot, &targets, "10.80.0.14:80", true);
    assert_eq!(told_one(&mut book, &snapshot), ["3 up Some(2)"]);
    book.grow(&snapshot, at(25));
    assert_eq!(told_one(&mut book, &snapshot), ["3 up None"]);
}

#[test]
fn with_alpha_a_new_real_server_is_down_until_its_first_success() {
    let text = POOR.replace("health = tcp", "health = first")
        + "[health first]\ntype = tcp\nalpha = yes\n";
    let (mut book, snapshot) = (Book::new(1), snapshot("test.conf", &text).unwrap());
    let targets = book.adopt(&snapshot, at(1));
    assert!(targets.iter().all(|target| !target.is_up));
    assert_eq!(
        told_one(&mut book, &snapshot),
        [
            "0 down None",
            "1 down None",
            "2 down None",
            "10.80.0.100 true"
        ]
    );
    assert_eq!(codes(&mut book), ["vip-withdrawn"]);
    assert!(hooks(&mut book).is_empty(), "nothing was lost");
}

fn at(seconds: u64) -> Now {
    Now {
        time: weir_model::Time::from_micros(seconds * 1_000_000),
        wall_ms: seconds * 1_000,
    }
}

/// What the workers count when the first real server was given so many sessions.
fn knocks(asked: u64, answered: u64) -> Traffic {
    let knocks = weir_model::KnockCounters { asked, answered };
    Traffic {
        knocks: vec![knocks],
        ..Traffic::default()
    }
}

#[test]
fn whoever_answers_no_syns_gets_no_sessions_for_a_time_and_counts_as_down() {
    let (mut book, snapshot, _) = poor("passive = 5s  syns=10");
    let look = |book: &mut Book, seconds, asked, answered| {
        book.look_for_silence(&snapshot, &knocks(asked, answered), at(seconds));
        (told_one(book, &snapshot), codes(book))
    };
    let nothing = (Vec::new(), Vec::new());
    assert_eq!(look(&mut book, 1, 0, 0), nothing);
    assert_eq!(look(&mut book, 2, 12, 0), nothing);
    let out = (vec!["0 down None".to_owned()], vec!["real-inhibited"]);
    assert_eq!(look(&mut book, 3, 12, 0), out);
    let silent = row(&book, &snapshot, "web", "10.80.0.11:80");
    assert_eq!(
        (silent.state.as_str(), silent.since.as_str()),
        ("inhibited", "1970-01-01T00:00:03Z")
    );
    assert_eq!(
        silent.last_error.as_deref(),
        Some("answered none of 12 SYNs; no new sessions for 5s")
    );
    assert!(!book.is_down(RealId(0)), "no check took it down");
    assert!(book.may_be_out());
    let tried = (vec!["0 up None".to_owned()], vec!["real-tried"]);
    assert_eq!(look(&mut book, 8, 12, 0), tried);
    assert_eq!(look(&mut book, 9, 30, 0), nothing);
    assert_eq!(look(&mut book, 10, 30, 0), out);
    assert_eq!(look(&mut book, 19, 30, 0), nothing, "twice as long");
    let answers = (vec!["0 up None".to_owned()], vec!["real-answers"]);
    assert_eq!(look(&mut book, 19, 30, 1), answers);
    assert!(!book.may_be_out());
    assert_eq!(row(&book, &snapshot, "web", "10.80.0.11:80").state, "up");
    assert_eq!(book.next_reset(), None, "its sessions go on");
}

#[test]
fn silence_of_all_real_servers_takes_the_quorum_and_a_reload_without_the_key_gives_it_back() {
    let (mut book, snapshot, _) = poor("passive = 5s  syns=1");
    let silent = Traffic {
        knocks: vec![knocks(9, 0).knocks[0]; 3],
        ..Traffic::default()
    };
    book.look_for_silence(&snapshot, &Traffic::default(), at(1));
    for seconds in [2, 3] {
        book.look_for_silence(&snapshot, &silent, at(seconds));
    }
    told_one(&mut book, &snapshot);
    let inhibited = ["real-inhibited"; 3].into_iter();
    let lost = ["quorum-lost", "all-down", "vip-withdrawn"];
    assert_eq!(codes(&mut book), inhibited.chain(lost).collect::<Vec<_>>());
    let without = snapshot_after("test.conf", POOR, &snapshot).unwrap();
    book.adopt(&without, at(4));
    // The workers are told before the next look, after which nothing turns any more.
    let told = told_one(&mut book, &without);
    assert!(told.contains(&"10.80.0.100 false".to_owned()), "{told:?}");
    assert!(told.contains(&"0 up None".to_owned()), "{told:?}");
    book.look_for_silence(&without, &silent, at(4));
    assert_eq!(told_one(&mut book, &without), Vec::<String>::new());
}

#[test]
fn sessions_of_who_is_down_are_reset_once_the_workers_know_where_they_are_not_to_go_on() {
    let (mut book, snapshot, targets) = poor("inhibit = no");
    turn(&mut book, &snapshot, &targets, "10.80.0.12:80", false);
    book.tell(&snapshot, |_, _| false);
    assert_eq!(book.next_reset(), None, "no worker knows yet");
    told_one(&mut book, &snapshot);
    assert_eq!(book.next_reset(), Some(RealId(1)));
    assert_eq!(book.next_reset(), None);
    turn(&mut book, &snapshot, &targets, "10.80.0.12:80", true);
    told_one(&mut book, &snapshot);
    assert_eq!(book.next_reset(), None);
}
