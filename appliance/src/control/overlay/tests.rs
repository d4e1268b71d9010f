//! Orders of operators, through control with a client on a real socket and played workers.

use nat_engine::State;
use weir_control::{
    Client, ClientError, Code, DrainRow, Filter, OrderedRow, OverrideRow, Request, ServiceRow, What,
};
use weir_director::SessionView;
use weir_model::{Now, Protocol, RealState, ServiceId};

use super::*;
use crate::control::Control;
use crate::control::apply::tests::{CONF, Home, Played, wanted};
use crate::health::Finding;

const FIRST: &str = "10.80.0.11:80";
const SECOND: &str = "10.80.0.12:80";

fn conf() -> String {
    CONF.replace(
        "real = 10.80.0.11:80",
        "real = 10.80.0.11:80 weight=3\nreal = 10.80.0.12:80",
    )
}

fn home(name: &str, more: &str) -> Home {
    let home = Home::new(name);
    home.write(&format!("{}{more}", conf()));
    home
}

fn first<T: serde::de::DeserializeOwned>(
    client: &mut Client,
    request: &Request,
) -> Result<T, (Code, String)> {
    let mut rows = client.request(request).unwrap();
    match rows.next_row() {
        Ok(row) => Ok(serde_json::from_value(row.unwrap()).unwrap()),
        Err(ClientError::Refused { code, text }) => Err((code, text)),
        Err(error) => panic!("{error}"),
    }
}

fn order(played: &mut Played, request: Request) -> Result<OrderedRow, (Code, String)> {
    played.serve(move |client| first(client, &request))
}

fn drain(real: &str, deadline_ms: Option<u64>, then: Option<&str>) -> Request {
    Request::Drain {
        service: "web".to_owned(),
        real: real.to_owned(),
        deadline_ms,
        then: then.map(str::to_owned),
    }
}

fn enable(real: &str) -> Request {
    Request::Enable {
        service: "web".to_owned(),
        real: real.to_owned(),
    }
}

fn weigh(real: &str, weight: Option<u16>) -> Request {
    Request::Weight {
        service: "web".to_owned(),
        real: real.to_owned(),
        weight,
    }
}

/// Returns the id of a real server of the first service.
fn id(played: &Played, address: &str) -> RealId {
    let snapshot = &played.control.scene.running.snapshot;
    let service = snapshot.services.get(0).unwrap();
    let mut reals = service.reals.iter();
    let found = reals.find(|real| RealName::of(service, real).real.to_string() == address);
    found.unwrap().id
}

/// Returns what the workers were told last of a real server.
fn told(played: &mut Played, address: &str) -> RealState {
    // A turn later they know.
    played.serve(|_| ());
    let id = id(played, address);
    played.reals.get(&id).copied().unwrap_or_default()
}

fn state(played: &mut Played, address: &str) -> (String, u32) {
    let services: Vec<ServiceRow> =
        played.serve(|client| client.show(What::Services, Filter::default()).unwrap());
    let mut reals = services.into_iter().flat_map(|service| service.reals);
    let row = reals.find(|real| real.address == address).unwrap();
    (row.state, row.weight)
}

#[test]
fn what_holds_of_real_servers_is_among_the_overrides_and_a_deadline_in_the_event() {
    let home = home("overrides", "");
    let mut played = home.start();
    let overrides = |played: &mut Played| {
        let rows: Vec<OverrideRow> =
            played.serve(|client| client.show(What::Overrides, Filter::default()).unwrap());
        let rows = rows.into_iter();
        let rows = rows.map(|row| [row.setting, row.object, row.value, row.configured].join(" "));
        rows.collect::<Vec<_>>()
    };
    assert_eq!(overrides(&mut played), Vec::<String>::new());
    order(&mut played, drain(FIRST, Some(60_000), None)).unwrap();
    order(&mut played, weigh(SECOND, Some(7))).unwrap();
    let expected = [
        "drain 10.80.0.11:80@web on off",
        "weight 10.80.0.12:80@web 7 1",
    ];
    assert_eq!(overrides(&mut played), expected);
    let event = played.events("drain").remove(0);
    assert!(
        event.text.ends_with("; what it has left in 1m is reset"),
        "{}",
        event.text
    );
    order(&mut played, enable(FIRST)).unwrap();
    order(&mut played, weigh(SECOND, None)).unwrap();
    assert_eq!(overrides(&mut played), Vec::<String>::new());
}

#[test]
fn a_drained_real_server_gets_no_new_sessions_until_it_is_enabled() {
    let home = home("drain", "");
    let mut played = home.start();
    let row = order(&mut played, drain(FIRST, None, None)).unwrap();
    assert_eq!((row.draining, row.weight, row.warning), (true, 3, None));
    assert_eq!(row.text, "10.80.0.11:80 of web takes no new sessions");
    assert!(told(&mut played, FIRST).draining);
    assert!(!told(&mut played, SECOND).draining);
    assert_eq!(state(&mut played, FIRST).0, "drain");
    let event = played.events("drain").remove(0);
    assert!(
        event
            .text
            .starts_with("10.80.0.11:80 of web takes no new sessions by "),
        "{}",
        event.text
    );
    assert_eq!(
        (event.class.as_str(), &*event.fields["real"]),
        ("operator", FIRST)
    );
    order(&mut played, enable(FIRST)).unwrap();
    assert!(!told(&mut played, FIRST).draining);
    assert_eq!(state(&mut played, FIRST).0, "up");
}

#[test]
fn whoever_takes_out_the_last_one_is_warned() {
    let home = home("last", "");
    let mut played = home.start();
    order(&mut played, weigh(SECOND, Some(0))).unwrap();
    let row = order(&mut played, drain(FIRST, None, None)).unwrap();
    assert_eq!(
        row.warning.as_deref(),
        Some("no real server of web takes new sessions now")
    );
}

#[test]
fn a_name_that_means_nothing_is_answered_with_those_that_there_are() {
    let home = home("names", "");
    let mut played = home.start();
    let (code, text) = order(&mut played, drain("10.80.0.13:80", None, None)).unwrap_err();
    assert_eq!(code, Code::UnknownName);
    assert_eq!(
        text,
        "web has no real server 10.80.0.13:80; there is 10.80.0.11:80, 10.80.0.12:80"
    );
    let request = Request::Enable {
        service: "wbe".to_owned(),
        real: FIRST.to_owned(),
    };
    assert_eq!(
        order(&mut played, request).unwrap_err().0,
        Code::UnknownName
    );
    // An address is enough where it has one port.
    assert_eq!(
        order(&mut played, enable("10.80.0.12")).unwrap().real,
        SECOND
    );
    let (code, _) = order(&mut played, drain(FIRST, Some(1), Some("fly"))).unwrap_err();
    assert_eq!(code, Code::BadArgument);
}

#[test]
fn whoever_did_it_is_named_alike_wherever_it_is_shown() {
    let home = home("named", "");
    let mut played = home.start();
    for request in [
        drain(FIRST, None, None),
        weigh(SECOND, Some(7)),
        Request::Maintenance { on: true },
    ] {
        played.serve(move |client| {
            let said = serde_json::from_str(r#"{"name":"alice","from":"192.0.2.1"}"#).unwrap();
            client.introduce(&said).unwrap();
            first::<serde_json::Value>(client, &request).unwrap();
        });
    }
    let rows: Vec<OverrideRow> =
        played.serve(|client| client.show(What::Overrides, Filter::default()).unwrap());
    let ask = Request::Draining {
        service: "web".to_owned(),
        real: FIRST.to_owned(),
    };
    let row: DrainRow = played.serve(move |client| first(client, &ask)).unwrap();
    let names: Vec<&str> = rows.iter().map(|row| row.by.as_str()).collect();
    assert_eq!(names.len(), 3);
    assert!(
        names[0].starts_with("alice (ssh 192.0.2.1, account "),
        "{names:?}"
    );
    assert!(
        names.iter().all(|name| *name == row.by),
        "{names:?}, {}",
        row.by
    );
    let config = played.config();
    let said = config.matches(&format!(", by {} at ", row.by)).count();
    assert_eq!(said, 2, "{config}");
}

#[test]
fn orders_outlive_applies_of_other_things_and_restarts() {
    let home = home("outlive", "");
    let mut played = home.start();
    order(&mut played, drain(FIRST, None, None)).unwrap();
    order(&mut played, weigh(SECOND, Some(7))).unwrap();
    let shown = played.config();
    let comment = "# by command: 10.80.0.11:80 takes no new sessions, by ";
    assert!(shown.contains(comment), "{shown}");
    assert!(
        shown.contains("# by command: 10.80.0.12:80 has weight 7, by "),
        "{shown}"
    );
    let loaded = weir_conf::parse_str("shown.conf", &shown, None);
    assert!(loaded.is_ok(), "{}", loaded.unwrap_err());
    played
        .apply(&conf().replace("[service web]", "[service web]\nidle = 1m"))
        .unwrap();
    assert!(told(&mut played, FIRST).draining);
    assert_eq!(state(&mut played, SECOND), ("up".to_owned(), 7));
    drop(played);
    let mut played = home.start();
    assert!(told(&mut played, FIRST).draining);
    assert_eq!(state(&mut played, SECOND), ("up".to_owned(), 7));
    order(&mut played, weigh(SECOND, None)).unwrap();
    assert_eq!(state(&mut played, SECOND).1, 1);
}

#[test]
fn another_weight_in_the_configuration_wins_over_the_command_and_says_so() {
    let home = home("wins", "");
    let mut played = home.start();
    order(&mut played, weigh(FIRST, Some(9))).unwrap();
    played
        .apply(&conf().replace("weight=3", "weight=4"))
        .unwrap();
    assert_eq!(state(&mut played, FIRST).1, 4);
    let event = played.events("weight-by-command-ended").remove(0);
    assert!(
        event
            .text
            .starts_with("10.80.0.11:80 of web has weight 4 of the configuration, no longer 9"),
        "{}",
        event.text
    );
}

#[test]
fn an_order_goes_with_its_real_server_but_not_before_that_is_confirmed() {
    let home = home("gone-real", "");
    let mut played = home.start();
    order(&mut played, drain(FIRST, None, None)).unwrap();
    let without = conf().replace("real = 10.80.0.11:80 weight=3\n", "");
    played.ask(wanted(&without, Some(60_000))).unwrap();
    played.ask(Request::Rollback { generation: None }).unwrap();
    assert!(told(&mut played, FIRST).draining, "it came back as it was");
    played.ask(wanted(&without, Some(60_000))).unwrap();
    played.ask(Request::Confirm {}).unwrap();
    assert_eq!(played.events("order-ended").len(), 1);
    played.ask(Request::Rollback { generation: None }).unwrap();
    assert!(!told(&mut played, FIRST).draining);
}

#[test]
fn a_trial_takes_no_weight_by_command_for_good_unless_it_is_confirmed() {
    let home = home("trial-weight", "");
    let mut played = home.start();
    order(&mut played, weigh(FIRST, Some(9))).unwrap();
    let other = conf().replace("weight=3", "weight=4");
    played.ask(wanted(&other, Some(60_000))).unwrap();
    assert_eq!(state(&mut played, FIRST).1, 4, "it is on trial");
    played.ask(Request::Rollback { generation: None }).unwrap();
    assert_eq!(state(&mut played, FIRST).1, 9);
    let again = played.events("weight-by-command-back").pop().unwrap().text;
    assert!(
        again.starts_with("10.80.0.11:80 of web has weight 9 again"),
        "{again}"
    );
    // A daemon that starts meanwhile runs on the configuration of before.
    played.ask(wanted(&other, Some(60_000))).unwrap();
    drop(played);
    let mut played = home.start();
    assert_eq!(state(&mut played, FIRST).1, 9);
    played.ask(wanted(&other, Some(60_000))).unwrap();
    played.ask(Request::Confirm {}).unwrap();
    played.ask(Request::Rollback { generation: None }).unwrap();
    assert_eq!(
        state(&mut played, FIRST).1,
        3,
        "it ended with the confirmation"
    );
}

#[test]
fn a_deadline_that_passes_during_a_trial_without_the_real_server_holds_when_that_is_over() {
    let home = home("trial-deadline", "");
    let mut played = home.start();
    order(&mut played, drain(FIRST, Some(2_000), None)).unwrap();
    let without = conf().replace("real = 10.80.0.11:80 weight=3\n", "");
    played.ask(wanted(&without, Some(60_000))).unwrap();
    played.serve_for(Duration::from_millis(2_500));
    assert_eq!(played.resets, []);
    played.ask(Request::Rollback { generation: None }).unwrap();
    played.serve_until_told("drain-ended");
    assert_eq!(played.resets.len(), 4);
    assert_eq!(played.events("drain-ended").len(), 1);
}

#[test]
fn sessions_that_may_go_on_for_a_time_are_not_forgotten_by_a_trial_that_has_their_real_server() {
    let home = home("trial-leaving", "drain = 2s\n");
    let mut played = home.start();
    let text = format!("{}drain = 2s\n", conf());
    let without = text.replace("real = 10.80.0.11:80 weight=3\n", "");
    let first = id(&played, FIRST);
    played.apply(&without).unwrap();
    played.ask(wanted(&text, Some(60_000))).unwrap();
    played.serve_for(Duration::from_millis(2_500));
    assert_eq!(played.resets, []);
    played.ask(Request::Rollback { generation: None }).unwrap();
    played.serve_until_told("drain-ended");
    assert!(played.resets.contains(&first), "{:?}", played.resets);
}

#[test]
fn when_its_time_is_over_every_worker_resets_the_sessions_that_are_left() {
    let home = home("deadline", "drain = 200ms\n");
    let mut played = home.start();
    let first = id(&played, FIRST);
    order(&mut played, drain(FIRST, None, None)).unwrap();
    played.serve_until_told("drain-ended");
    // Two workers, two parts of the table each.
    assert_eq!(played.resets, [first; 4]);
    let event = played.events("drain-ended").remove(0);
    assert_eq!(
        event.text,
        "the time of 10.80.0.11:80 of web to drain is over; 4 sessions were reset"
    );
    assert!(told(&mut played, FIRST).draining, "it stays out");
}

#[test]
fn sessions_of_a_real_server_that_is_down_are_reset_where_they_are_not_to_go_on() {
    for (inhibit, resets) in [("no", 4), ("yes", 0)] {
        let more = format!("health = tcp\ninhibit = {inhibit}\n");
        let home = home(&format!("inhibit-{inhibit}"), &more);
        let mut played = home.start();
        let first = id(&played, FIRST);
        let Control { scene, .. } = &mut played.control;
        let snapshot = scene.running.snapshot.clone();
        let mut targets = scene.health.adopt(&snapshot, Now::default()).into_iter();
        let target = targets.find(|target| target.address.to_string() == FIRST);
        let down = Finding {
            id: target.unwrap().id,
            is_up: false,
            since: Now::default(),
            last_error: Some("connection refused".to_owned()),
            is_able: true,
            learned: None,
            weight: None,
            rtt_us: None,
        };
        scene.health.take(down, &snapshot);
        if resets > 0 {
            played.serve_until_told("sessions-reset");
        } else {
            played.serve_for(Duration::from_millis(900));
        }
        assert_eq!(played.resets, vec![first; resets], "inhibit = {inhibit}");
        let events = played.events("sessions-reset").into_iter();
        let texts: Vec<String> = events.map(|event| event.text).collect();
        let said = "10.80.0.11:80 of web is down; 4 sessions were reset".to_owned();
        assert_eq!(texts, if resets > 0 { vec![said] } else { vec![] });
    }
}

#[test]
fn sessions_of_a_real_server_that_the_file_no_longer_has_end_in_time_unless_it_comes_back() {
    let home = home("taken-out", "drain = 2s\n");
    let mut played = home.start();
    let text = format!("{}drain = 2s\n", conf());
    let without = text.replace("real = 10.80.0.11:80 weight=3\n", "");
    played.apply(&without).unwrap();
    played.apply(&text).unwrap();
    played.serve_for(Duration::from_millis(2_500));
    assert_eq!(played.resets, []);
    let first = id(&played, FIRST);
    played.apply(&without).unwrap();
    played.serve_until_told("drain-ended");
    assert_eq!(played.resets, [first; 4]);
}

#[test]
fn sessions_may_be_let_go_on_after_the_deadline() {
    let home = home("let-go", "drain = 100ms then=keep\n");
    let mut played = home.start();
    order(&mut played, drain(FIRST, None, None)).unwrap();
    played.serve_until_told("drain-ended");
    assert_eq!(played.resets, []);
    let event = played.events("drain-ended").remove(0);
    assert!(event.text.ends_with("; 0 sessions go on"), "{}", event.text);
}

#[test]
fn a_census_of_all_workers_tells_what_is_left_and_when_it_will_have_ended() {
    let home = home("census", "");
    let mut played = home.start();
    let (first_id, second_id) = (id(&played, FIRST), id(&played, SECOND));
    let view = |real_id, age_ms| SessionView {
        client: ([192, 0, 2, 1].into(), 40_000),
        vip: ([10, 80, 0, 100].into(), 80),
        lip: ([10, 80, 0, 200].into(), 1025),
        real: ([10, 80, 0, 11].into(), 80),
        protocol: Protocol::Tcp,
        state: State::Established,
        service: ServiceId(0),
        real_id,
        age_ms,
        idle_ms: 2000,
    };
    played.sessions = (1..=100).map(|n| view(second_id, n * 1000)).collect();
    played
        .sessions
        .extend([view(first_id, 5000), view(first_id, 700_000)]);
    let ask = || Request::Draining {
        service: "web".to_owned(),
        real: FIRST.to_owned(),
    };
    let (code, _) = order(&mut played, ask()).unwrap_err();
    assert_eq!(code, Code::NothingToDo);
    order(&mut played, drain(FIRST, Some(90_000), Some("keep"))).unwrap();
    let request = ask();
    let row: DrainRow = played.serve(move |client| first(client, &request)).unwrap();
    assert_eq!((row.sessions, row.then.as_str()), (4, "keep"));
    assert!((85..=90).contains(&row.deadline_in_s.unwrap()), "{row:?}");
    assert!((45..=65).contains(&row.half_in_s.unwrap()), "{row:?}");
    assert_eq!(row.oldest.len(), 4);
    assert_eq!((row.oldest[0].age_s, row.oldest[0].idle_s), (700, 2));
    assert_eq!(row.oldest[0].client, "192.0.2.1:40000");
}
