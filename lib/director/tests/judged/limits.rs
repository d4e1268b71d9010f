//! `max-sessions` and `min-sessions` of real servers.

use std::time::Duration;

use nat_engine::State;

use super::field::{Conn, Fate, Field, VIP, web};

fn counts(state: State) -> bool {
    !state.is_closed()
}

#[test]
fn a_limit_is_never_exceeded_whatever_the_scheduler_and_however_many_at_once() {
    let limits = [7, 40, 3];
    for scheduler in [
        "rr", "wrr", "lc", "wlc", "sed", "nq", "sh", "dh", "lblc", "lblcr", "maglev", "failover",
        "p2c",
    ] {
        let lines = format!("[service web]\nscheduler = {scheduler}\n");
        let options = [
            "max-sessions=7",
            "max-sessions=40  weight=9",
            "max-sessions=3",
        ];
        let mut field = Field::new(3, &web(&lines, &options));
        let mut open: Vec<Conn> = Vec::new();
        let mut refused = 0;
        for _ in 0..12 {
            // Many at once: none is completed before all have asked.
            let mut asked = Vec::new();
            for _ in 0..20 {
                let client = field.stranger();
                match field.syn(client, (VIP, 80)) {
                    Fate::Opened(conn) => asked.push(conn),
                    Fate::Refused => refused += 1,
                    other @ (Fate::Cookie(_) | Fate::Silence) => panic!("{other:?}"),
                }
            }
            for conn in asked {
                field.complete(&conn);
                open.push(conn);
            }
            for (at, limit) in limits.iter().enumerate() {
                let count = field.count(at, counts);
                assert!(count <= *limit, "{scheduler}: {count} of {limit} at {at}");
            }
            for _ in 0..6.min(open.len()) {
                let at = field.random.below(open.len() as u64) as usize;
                field.end(&open.swap_remove(at));
            }
        }
        assert!(refused > 0, "{scheduler}");
        let all: usize = (0..3).map(|at| field.count(at, counts)).sum();
        assert_eq!(all, open.len(), "{scheduler}");
    }
}

#[test]
fn what_ends_makes_room_at_once_but_a_full_one_waits_for_its_lower_mark() {
    let text = web(
        "[service web]\nscheduler = failover\n",
        &["max-sessions=8  min-sessions=5", ""],
    );
    let mut field = Field::new(1, &text);
    let mut first: Vec<Conn> = Vec::new();
    for _ in 0..8 {
        let client = field.stranger();
        first.push(field.opened(client));
    }
    assert!(first.iter().all(|conn| conn.real == 0));
    // Full until fewer than five are left: with five of them the other one still takes what comes.
    for left in (4..8).rev() {
        field.end(&first.pop().unwrap());
        let client = field.stranger();
        let conn = field.opened(client);
        assert_eq!(conn.real, usize::from(left >= 5), "{left} are left");
    }
    assert_eq!(field.count(0, counts), 5);
}

#[test]
fn half_open_sessions_do_not_keep_out_who_has_proven_itself() {
    let lines =
        "[synproxy calm]\nmode = adaptive\n[service web]\nscheduler = rr\nsynproxy = calm\n";
    let text = web(lines, &["max-sessions=3"]);
    let mut field = Field::new(1, &text);
    for _ in 0..3 {
        let client = field.stranger();
        assert_eq!(field.syn(client, (VIP, 80)).conn().real, 0);
    }
    let client = field.stranger();
    assert_eq!(field.syn(client, (VIP, 80)), Fate::Refused);
    // Nobody completed them: SYNs are answered by cookies from now on.
    field.wait(Duration::from_millis(300));
    for expected in [true, true, true, false] {
        let client = field.stranger();
        let Fate::Cookie(cookie) = field.syn(client, (VIP, 80)) else {
            panic!("no cookie");
        };
        match field.prove(client, (VIP, 80), cookie) {
            Fate::Opened(_) => assert!(expected),
            Fate::Refused => assert!(!expected),
            other @ (Fate::Cookie(_) | Fate::Silence) => panic!("{other:?}"),
        }
    }
}
