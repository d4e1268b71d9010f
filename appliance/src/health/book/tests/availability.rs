//! Services as a whole: quorum, sorry servers, hooks, orders, shares that grow, silence.

use super::*;

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
