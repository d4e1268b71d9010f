//! Control with clients on a real socket, a folder for what is kept, and workers played by the test.

mod metrics;
mod orders;
mod played;
mod signs;
mod stop;

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::thread;

use weir_control::{Client, ClientError, EventRow, Filter, Request, What};
use weir_director::Networks;
use weir_model::Role;

use self::played::{PATIENCE, ask, show};
use super::*;
use crate::command::Command;
use crate::configuration::Origin;
use crate::control::stop::Stopping;
use crate::testing::{around, dns, web};

pub(in crate::control) use self::played::{Home, Played, wanted};

pub(in crate::control) const CONF: &str = concat!(around!(), web!());
const ADAPTIVE: &str = concat!(
    around!(),
    "[synproxy one]
mode = adaptive
[service web]
listen = 10.80.0.100:80/tcp
lip-pool = blue
synproxy = one
real = 10.80.0.11:80
"
);

const DNS: &str = dns!();

fn with_dns() -> String {
    format!("{CONF}{DNS}")
}

fn rollback(generation: Option<u64>) -> Request {
    Request::Rollback { generation }
}

#[test]
fn an_apply_reaches_every_worker_and_is_kept_with_the_name_of_the_operator() {
    let home = Home::new("applied");
    let mut played = home.start();
    assert!(matches!(played.origin, Origin::Files(_)));
    let row = played.apply(&with_dns()).unwrap();
    assert_eq!((row.generation, row.summary.as_str()), (2, "+service dns"));
    assert_eq!((row.unchanged, row.warning), (false, None));
    assert_eq!(played.services(), ["web", "dns"]);
    let states = played.generations();
    assert_eq!(states, [(1, "kept".to_owned()), (2, "running".to_owned())]);
    let event = played.events("applied").remove(0);
    let me = Operator::of(&mio::net::UnixStream::pair().unwrap().0, Role::Operator);
    assert_eq!(
        (&event.fields["by"], &event.fields["from"]),
        (&me.name, &me.from)
    );
    assert_eq!(event.class, "operator");
    assert_eq!(
        event.text,
        format!("configuration 2 applied by {me}: +service dns")
    );
}

#[test]
fn a_session_log_that_nobody_takes_is_told_when_it_begins() {
    let home = Home::new("unheard");
    let logged = CONF.replace("[service web]", "[service web]\nsession-log = both");
    let heard = format!("{logged}[syslog siem]\nserver = 127.0.0.1:9\n");
    home.write(&logged);
    let mut played = home.start();
    let told = played.events("session-log-unheard").remove(0);
    assert_eq!(
        (told.severity.as_str(), told.fields["services"].as_str()),
        ("warning", "web")
    );
    played
        .apply(&logged.replace("= both", "= both\nidle = 1m"))
        .unwrap();
    assert_eq!(played.events("session-log-unheard").len(), 1);
    played.apply(&heard).unwrap();
    played
        .apply(&format!("{heard}events = security\n"))
        .unwrap();
    assert_eq!(played.events("session-log-unheard").len(), 2);
}

#[test]
fn mistakes_are_shown_as_check_shows_them_and_nothing_changes() {
    let home = Home::new("mistakes");
    let mut played = home.start();
    let before = played.config();
    let text = CONF.replace("lip-pool = blue", "lip-pool = bleu");
    let (code, shown) = played.apply(&text).unwrap_err();
    let report = weir_conf::parse_str("new.conf", &text, None).unwrap_err();
    assert_eq!(code, Code::Mistakes);
    assert_eq!(shown, report.render(Style::long(Purpose::Apply)));
    assert_eq!(played.config(), before);
    assert_eq!(played.generations().len(), 1);
    assert_eq!(played.events("apply-refused").len(), 1);
}

#[test]
fn what_was_made_from_another_configuration_than_runs_is_not_applied() {
    let home = Home::new("over");
    let mut played = home.start();
    let over = |config: String, text: &str| Request::Apply {
        texts: vec![ConfigText {
            name: "edited".to_owned(),
            text: text.to_owned(),
        }],
        confirm_ms: None,
        over: Some(config),
    };
    let drain = Request::Drain {
        service: "web".to_owned(),
        real: "10.80.0.11".to_owned(),
        deadline_ms: None,
        then: None,
    };
    played.serve(move |client| {
        let mut rows = client.request(&drain).unwrap();
        while rows.next_row().unwrap().is_some() {}
    });
    let before = played.config();
    assert!(before.contains("# by command: "), "{before}");
    played.ask(over(before.clone(), &with_dns())).unwrap();
    assert_eq!(played.services(), ["web", "dns"]);
    let (code, text) = played.ask(over(before, CONF)).unwrap_err();
    assert_eq!(code, Code::Busy);
    assert!(
        text.contains("another configuration was applied meanwhile"),
        "{text}"
    );
    assert_eq!(played.services(), ["web", "dns"]);
}

#[test]
fn what_needs_a_restart_is_refused_with_its_key() {
    let home = Home::new("restart");
    let mut played = home.start();
    let text = CONF.replace("device = wan", "device = eth7");
    let (code, text) = played.apply(&text).unwrap_err();
    assert_eq!(code, Code::NeedsRestart);
    assert_eq!(
        text,
        "[port wan] device cannot change while the daemon runs; restart it to apply this file; \
         the running configuration is unchanged"
    );
}

#[test]
fn an_apply_that_changes_nothing_makes_no_generation_and_spares_the_workers() {
    let home = Home::new("same");
    let mut played = home.start();
    let snapshot = played.snapshots[0].clone();
    let row = played.apply(&format!("# the same\n{CONF}")).unwrap();
    assert_eq!((row.generation, row.unchanged), (1, true));
    assert!(Arc::ptr_eq(&snapshot, &played.snapshots[0]));
    // The daemon's own file with another comment: a restart must not take it for another one.
    home.write(&format!("# the same\n{CONF}"));
    let own = Request::Apply {
        texts: Vec::new(),
        confirm_ms: Some(60_000),
        over: None,
    };
    let row = played.ask(own).unwrap();
    assert_eq!((row.unchanged, row.confirm_within_s), (true, None));
    assert_eq!(played.generations(), [(1, "running".to_owned())]);
    drop(played);
    assert_eq!(home.start().origin, Origin::Kept);
}

#[test]
fn what_waits_to_be_confirmed_is_in_the_way_of_others_until_it_is() {
    let home = Home::new("confirm");
    let mut played = home.start();
    let row = played.ask(wanted(&with_dns(), Some(60_000))).unwrap();
    assert_eq!(row.confirm_within_s, Some(60));
    let (code, text) = played.apply(CONF).unwrap_err();
    assert_eq!(code, Code::Unconfirmed);
    assert_eq!(
        text,
        "configuration 2 waits to be confirmed; `weir confirm` or `weir rollback` first"
    );
    let waiting = (2, "unconfirmed".to_owned());
    assert_eq!(played.generations(), [(1, "kept".to_owned()), waiting]);
    played.ask(Request::Confirm {}).unwrap();
    assert_eq!(played.generations().pop(), Some((2, "running".to_owned())));
    let (code, _) = played.ask(Request::Confirm {}).unwrap_err();
    assert_eq!(code, Code::NothingToDo);
    played.apply(CONF).unwrap();
    assert_eq!(played.services(), ["web"]);
}

#[test]
fn a_trial_of_what_runs_already_changes_nothing_and_can_be_confirmed_like_any_other() {
    let home = Home::new("confirm-same");
    let mut played = home.start();
    let row = played.ask(wanted(CONF, Some(60_000))).unwrap();
    assert_eq!((row.unchanged, row.confirm_within_s), (true, None));
    let row = played.ask(Request::Confirm {}).unwrap();
    assert_eq!((row.generation, row.unchanged), (1, true));
    assert_eq!(row.summary, "nothing was to be confirmed");
    assert_eq!(played.events("unchanged").len(), 2);
    assert!(played.events("confirmed").is_empty());
    // Once, as with any other, and it is in nobody's way.
    let (code, _) = played.ask(Request::Confirm {}).unwrap_err();
    assert_eq!(code, Code::NothingToDo);
    played.ask(wanted(CONF, Some(60_000))).unwrap();
    played.apply(&with_dns()).unwrap();
    let (code, _) = played.ask(Request::Confirm {}).unwrap_err();
    assert_eq!(code, Code::NothingToDo);
    // An apply that asks for no confirmation, or whose time is over, has none.
    played.apply(&with_dns()).unwrap();
    assert!(played.ask(Request::Confirm {}).is_err());
    played.ask(wanted(&with_dns(), Some(1000))).unwrap();
    thread::sleep(Duration::from_millis(1010));
    assert!(played.ask(Request::Confirm {}).is_err());
    // Nor has what was tried after it, and dropped.
    played.ask(wanted(&with_dns(), Some(60_000))).unwrap();
    played.ask(wanted(CONF, Some(60_000))).unwrap();
    played.ask(rollback(None)).unwrap();
    assert!(played.ask(Request::Confirm {}).is_err());
}

#[test]
fn silence_brings_the_configuration_of_before_back_to_the_letter() {
    let home = Home::new("silence");
    let mut played = home.start();
    let before = played.config();
    played.ask(wanted(&with_dns(), Some(3000))).unwrap();
    assert_ne!(played.config(), before);
    played.serve_until_told("rolled-back");
    assert_eq!(played.config(), before);
    assert_eq!(played.services(), ["web"]);
    let event = played.events("rolled-back").remove(0);
    assert_eq!(
        event.text,
        "configuration 1 came back because nobody confirmed: -service dns"
    );
    assert_eq!(played.generations(), [(1, "running".to_owned())]);
    assert_eq!(played.control.scene.running.snapshot.generation.0, 1);
    // The number of the one that was tried is not given again.
    assert_eq!(played.apply(&with_dns()).unwrap().generation, 3);
    let (code, _) = played.ask(wanted(&with_dns(), Some(10))).unwrap_err();
    assert_eq!(code, Code::BadArgument);
}

#[test]
fn rollback_goes_to_the_one_before_or_to_a_number() {
    let home = Home::new("rollback");
    let mut played = home.start();
    let (code, _) = played.ask(rollback(None)).unwrap_err();
    assert_eq!(code, Code::NothingToDo);
    let first = played.config();
    played.apply(&with_dns()).unwrap();
    let second = played.config();
    played.apply(&with_dns().replace(":53", ":54")).unwrap();
    assert_eq!(played.ask(rollback(None)).unwrap().generation, 4);
    assert_eq!(played.config(), second);
    assert_eq!(played.ask(rollback(Some(1))).unwrap().generation, 5);
    assert_eq!(played.config(), first);
    let (code, text) = played.ask(rollback(Some(9))).unwrap_err();
    assert_eq!(code, Code::NothingToDo);
    assert_eq!(text, "configuration 9 is not kept; there is 1, 2, 3, 4, 5");
    // It is the number before, and another text than that which runs.
    assert_eq!(played.ask(rollback(None)).unwrap().generation, 6);
    assert_eq!(played.config(), second);
}

#[test]
fn rollback_drops_what_waits_to_be_confirmed() {
    let home = Home::new("drop");
    let mut played = home.start();
    let first = played.config();
    played.ask(wanted(&with_dns(), Some(60_000))).unwrap();
    played.ask(rollback(None)).unwrap();
    assert_eq!(played.config(), first);
    assert!(played.control.scene.kept.unconfirmed.is_none());
    let numbers: Vec<u64> = played.generations().iter().map(|(n, _)| *n).collect();
    assert_eq!(numbers, [1], "what nobody confirmed is not kept");
    drop(played);
    assert_eq!(home.start().config(), first);
}

#[test]
fn what_was_applied_last_runs_after_a_restart_unless_the_file_was_changed() {
    let home = Home::new("kept");
    let mut played = home.start();
    played.apply(&with_dns()).unwrap();
    drop(played);
    let played = home.start();
    assert_eq!(played.origin, Origin::Kept);
    assert_eq!(played.services(), ["web", "dns"]);
    drop(played);
    home.write(&CONF.replace("web", "www"));
    let mut played = home.start();
    assert!(matches!(played.origin, Origin::Files(_)));
    assert_eq!(played.services(), ["www"]);
    let told = played.events("configuration-found").pop().unwrap().text;
    assert!(
        told.ends_with("was changed since configuration 2 was applied; the file holds"),
        "{told}"
    );
    assert_eq!(played.generations().pop(), Some((3, "running".to_owned())));
}

#[test]
fn a_file_that_nobody_confirmed_does_not_run_after_a_restart() {
    let home = Home::new("unconfirmed");
    let mut played = home.start();
    home.write(&with_dns());
    let own = Request::Apply {
        texts: Vec::new(),
        confirm_ms: Some(60_000),
        over: None,
    };
    played.ask(own).unwrap();
    assert_eq!(played.services(), ["web", "dns"]);
    drop(played);
    for _ in 0..2 {
        let mut played = home.start();
        assert_eq!(played.services(), ["web"]);
        let told = played.events("configuration-found").remove(0).text;
        assert!(
            told.ends_with("nobody confirmed it; configuration 1 of before runs"),
            "{told}"
        );
    }
    // It may still be what somebody wants.
    let mut played = home.start();
    played.control.apply_own_files();
    played.serve_until(|control| control.applying.is_none());
    assert_eq!(played.services(), ["web", "dns"]);
    drop(played);
    let played = home.start();
    assert_eq!(played.origin, Origin::Kept);
    assert_eq!(played.services(), ["web", "dns"]);
}

#[test]
fn a_file_that_is_edited_while_it_is_applied_is_another_one_at_the_next_start() {
    let home = Home::new("edited");
    let mut played = home.start();
    home.write(&with_dns());
    played.held.store(true, Ordering::Relaxed);
    played.control.apply_own_files();
    home.write(&CONF.replace("web", "www"));
    played.held.store(false, Ordering::Relaxed);
    played.serve_until(|control| control.applying.is_none());
    assert_eq!(played.services(), ["web", "dns"]);
    drop(played);
    assert_eq!(home.start().services(), ["www"]);
}

#[test]
fn what_comes_during_an_apply_has_its_turn_whatever_becomes_of_the_one_before() {
    let home = Home::new("queue");
    let mut played = home.start();
    played.held.store(true, Ordering::Relaxed);
    // One behind the other: the first is under way, the others wait.
    let texts = [
        with_dns(),
        "[nonsense]".to_owned(),
        CONF.replace("web", "www"),
    ];
    let mut askers = Vec::new();
    for (before, text) in texts.into_iter().enumerate() {
        let socket = played.socket.clone();
        askers.push(thread::spawn(move || {
            let mut client = Client::connect(&socket).unwrap();
            ask(&mut client, &wanted(&text, None))
        }));
        played.serve_until(|control| {
            control.applying.is_some() && control.apply_next.len() == before
        });
    }
    played.held.store(false, Ordering::Relaxed);
    played.serve_until(|_| askers.iter().all(thread::JoinHandle::is_finished));
    let answers = askers.into_iter().map(|asker| asker.join().unwrap());
    let [first, second, third] = answers.collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(first.unwrap().generation, 2);
    assert_eq!(second.unwrap_err().0, Code::Mistakes);
    assert_eq!(third.unwrap().generation, 3);
    assert_eq!(played.services(), ["www"]);
}

#[test]
fn signals_during_an_apply_come_to_one_more_with_the_file_as_it_is_then() {
    let home = Home::new("signals");
    let mut played = home.start();
    home.write(&with_dns());
    played.control.apply_own_files();
    for _ in 0..100 {
        played.control.apply_own_files();
    }
    assert_eq!(played.control.apply_next.len(), 1);
    home.write(&CONF.replace("web", "www"));
    played.serve_until(|control| control.applying.is_none() && control.apply_next.is_empty());
    assert_eq!(played.services(), ["www"]);
    assert_eq!(played.control.scene.running.snapshot.generation.0, 3);
}

#[test]
fn a_client_that_goes_away_leaves_its_apply_behind() {
    let home = Home::new("gone");
    let mut played = home.start();
    played.held.store(true, Ordering::Relaxed);
    played.serve(|client| {
        let request = wanted(&with_dns(), None);
        assert!(client.request(&request).is_ok());
    });
    played.serve_until(|control| control.applying.is_some());
    played.held.store(false, Ordering::Relaxed);
    played.serve_until(|control| control.applying.is_none());
    assert_eq!(played.services(), ["web", "dns"]);
    assert_eq!(played.apply(CONF).unwrap().generation, 3);
}

#[test]
fn a_daemon_that_stops_applies_nothing_more_and_rolls_nothing_back() {
    let home = Home::new("stopping");
    let mut played = home.start();
    played.ask(wanted(&with_dns(), Some(1000))).unwrap();
    played.control.scene.stopping = Some(Stopping::within(Duration::from_mins(1)));
    let (code, text) = played.apply(CONF).unwrap_err();
    assert_eq!(
        (code, text.as_str()),
        (Code::Stopping, "the daemon is stopping")
    );
    let status: Vec<weir_control::StatusRow> =
        played.serve(|client| client.show(What::Status, Filter::default()).unwrap());
    let alarms = &status[0].alarm_list;
    assert!(
        alarms[0].text.starts_with("the daemon is stopping"),
        "{alarms:?}"
    );
    played.serve_for(Duration::from_millis(1500));
    assert_eq!(played.events("rolled-back").len(), 0);
    assert_eq!(played.events("apply-refused").len(), 1);
    drop(played);
    assert_eq!(home.start().services(), ["web"]);
}

#[test]
fn a_diff_says_what_each_change_does_to_sessions() {
    let home = Home::new("diff");
    let mut played = home.start();
    let text = with_dns()
        .replace(
            "real = 10.80.0.11:80",
            "real = 10.80.0.11:80 weight=3\nreal = 10.80.0.12:80",
        )
        .replace("10.80.0.200", "10.80.0.201");
    let rows = played.diff(text);
    let expected = "\
~ [lip-pool blue]
    + address = 10.80.0.201
      for new sessions; those that are open keep their ports
    - address = 10.80.0.200
      sessions that use it are reset
~ [service web]  0 sessions
    ~ real = 10.80.0.11:80 -> 10.80.0.11:80  weight=3
      for new sessions; those that are open go on
    + real = 10.80.0.12:80
      for new sessions; those that are open go on
+ [service dns]
    + listen = 10.80.0.100:53/udp
    + lip-pool = blue
    + real = 10.80.0.11:53
";
    assert_eq!(weir_control::changes(&rows), expected);
    assert_eq!(played.generations().len(), 1);
}

#[test]
fn a_diff_says_what_becomes_of_sessions_whose_real_server_or_address_is_gone() {
    let home = Home::new("diff-gone");
    let mut played = home.start();
    let two = CONF.replace(
        "real = 10.80.0.11:80",
        "listen = 10.80.0.101:80/tcp\nreal = 10.80.0.11:80\nreal = 10.80.0.12:80",
    );
    played.apply(&two).unwrap();
    let without = |drain: &str| {
        let gone = two.replace("listen = 10.80.0.101:80/tcp\n", drain);
        gone.replace("real = 10.80.0.12:80", "")
    };
    for (drain, expected) in [
        ("", "it gets no new sessions; those that are open go on"),
        (
            "drain = 5m\n",
            "it gets no new sessions; those that are open may go on for 5m, then they are reset",
        ),
        (
            "drain = 5m  then=keep\n",
            "it gets no new sessions; those that are open go on, and who is left in 5m is told",
        ),
    ] {
        let rows = played.diff(without(drain));
        let values = rows.iter().flat_map(|row| &row.values);
        let effects: BTreeMap<_, _> = values
            .filter(|value| value.after.is_none())
            .map(|value| (value.key.as_str(), value.effect.as_str()))
            .collect();
        let lost = "the address is given up, and packets of sessions that are open there are lost";
        assert_eq!(
            effects,
            BTreeMap::from([("listen", lost), ("real", expected)])
        );
    }
}

#[test]
fn next_hops_are_looked_for_before_clients_need_them() {
    let home = Home::new("hops");
    let mut played = home.start();
    let hops = |hops: &[[u8; 4]]| {
        hops.iter()
            .map(|hop| Ipv4Addr::from(*hop))
            .collect::<Vec<_>>()
    };
    played.serve(|_| ());
    assert_eq!(played.next_hops, hops(&[[10, 80, 0, 11]]));
    let text = CONF
        .replace(
            "real = ",
            "real = 10.80.0.12:80\nreal = 10.80.0.12:81\nreal = ",
        )
        .replace("[lip-pool", "gateway = 10.80.0.254\n[lip-pool");
    played.apply(&text).unwrap();
    played.serve(|_| ());
    let all = [[10, 80, 0, 11], [10, 80, 0, 12], [10, 80, 0, 254]];
    assert_eq!(played.next_hops, hops(&all));
}
