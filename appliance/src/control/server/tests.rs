//! The server with real clients on a real socket, and a worker played by the test.

mod hostile;
mod played;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use mio::Poll;
use weir_control::{
    AppliedRow, CheckRow, CheckStatus, Client, ClientError, ConfigText, ExplainRow, Filter, Flags,
    FloodRow, PoolRow, Question, Request, ServiceRow, SessionRow, Side, StatusRow, What, WorkerRow,
};
use weir_model::{FloodCounters, Role, SynproxyMode};

use self::played::{FIRST, Played};
use super::requests::begin;
use super::*;
use crate::publish::flood::ServiceFlood;
use crate::testing::{around, dns, web};

const CONF: &str = concat!(around!(), web!(), dns!());

fn filter(service: Option<&str>, client: Option<&str>, limit: Option<u64>) -> Filter {
    Filter {
        service: service.map(str::to_owned),
        client: client.map(|address| address.parse().unwrap()),
        limit,
        ..Filter::default()
    }
}

#[test]
fn a_hundred_thousand_sessions_are_streamed_to_a_slow_client_in_little_memory() {
    let mut played = Played::new("stream", 50_000);
    let count = played.serve(|path| {
        let mut client = Client::connect(&path).unwrap();
        let (what, filter) = (What::Sessions, Filter::default());
        let mut rows = client.request(&Request::Show { what, filter }).unwrap();
        let mut count = 0;
        while rows.next_row().unwrap().is_some() {
            count += 1;
            if count % 10_000 == 0 {
                thread::sleep(Duration::from_millis(20));
            }
        }
        count
    });
    assert_eq!(count, 100_000);
    assert!(
        played.most_queued < 1 << 20,
        "{} bytes were queued",
        played.most_queued
    );
}

#[test]
fn filters_choose_sessions_by_service_client_and_number() {
    let mut played = Played::new("filter", 3000);
    let [of_service, of_client, limited] = played.serve(|path| {
        let mut client = Client::connect(&path).unwrap();
        [
            filter(Some("dns"), None, None),
            filter(None, Some("10.9.1.2"), None),
            filter(Some("web"), None, Some(7)),
        ]
        .map(|filter| client.show::<SessionRow>(What::Sessions, filter).unwrap())
    });
    assert_eq!(of_service.len(), 3000, "half of each worker's");
    assert!(
        of_service
            .iter()
            .all(|row| row.service == "dns" && row.state == "established")
    );
    assert_eq!(
        of_client.iter().map(|row| row.worker).collect::<Vec<_>>(),
        [0, 1]
    );
    assert_eq!(limited.len(), 7);
}

#[test]
fn what_needs_no_worker_and_what_needs_all_are_answered_on_one_connection() {
    let mut played = Played::new("all", 1);
    played.serve(|path| {
        let mut client = Client::connect(&path).unwrap();
        let services: Vec<ServiceRow> = client.show(What::Services, Filter::default()).unwrap();
        assert_eq!(
            services
                .iter()
                .map(|row| row.name.as_str())
                .collect::<Vec<_>>(),
            ["web", "dns"]
        );
        let pools: Vec<PoolRow> = client.show(What::Pools, Filter::default()).unwrap();
        assert_eq!((pools[0].ports_used, pools[0].ports_total), (42, 64_512));
        assert_eq!(
            (pools[0].reals[0].used, pools[0].reals[0].free),
            (42, 64_470)
        );
        let workers: Vec<WorkerRow> = client.show(What::Workers, Filter::default()).unwrap();
        assert_eq!(workers.len(), 2);
        let config: Vec<String> = client.show(What::Config, Filter::default()).unwrap();
        assert_eq!(config, ["[node]", "name = lb1"]);
    });
}

#[test]
fn a_change_waits_for_control_and_a_viewer_cannot_ask_for_one() {
    let ask = |path: PathBuf| {
        let mut client = Client::connect(&path)?;
        let mut rows = client.request(&Request::Confirm {})?;
        let row = rows.next_row()?;
        assert_eq!(rows.next_row()?, None);
        Ok::<_, ClientError>(row)
    };
    let mut played = Played::new("change", 1);
    played.role = Role::Operator;
    let row = played.serve(ask).unwrap().unwrap();
    let applied: AppliedRow = serde_json::from_value(row).unwrap();
    assert_eq!(applied.summary, "Confirm by operator");
    played.role = Role::Viewer;
    let refused = played.serve(ask).unwrap_err().to_string();
    assert!(refused.contains("the request needs operator"), "{refused}");
}

#[test]
fn a_question_is_answered_by_the_worker_that_owns_the_flow() {
    let mut played = Played::new("explain", 1);
    let (rows, refused) = played.serve(|path| {
        let mut client = Client::connect(&path).unwrap();
        let mut ask = |words: [&str; 2]| {
            let question = Question::from_words(words, Flags::SYN).unwrap();
            let mut rows = client.request(&Request::Explain(question))?;
            let mut all = Vec::new();
            while let Some(row) = rows.next_row()? {
                all.push(serde_json::from_value::<ExplainRow>(row).unwrap());
            }
            Ok::<_, ClientError>(all)
        };
        let rows = ask(["client=192.0.2.1:40000", "service=10.80.0.100:80/tcp"]).unwrap();
        let refused = ask(["client=[2001:db8::1]:1", "service=[2001:db8::2]:80/tcp"]);
        (rows, refused.unwrap_err())
    });
    let said: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {}: {}", row.decision, row.outcome, row.detail))
        .collect();
    assert_eq!(
        said,
        [
            "owner here: worker 1 of 2 owns the flow",
            "source client: 192.0.2.1 may send",
            "verdict drop: it is dropped (no-session): Belongs to no session and cannot open one.",
        ]
    );
    let ClientError::Refused {
        code: Code::BadArgument,
        text,
    } = refused
    else {
        panic!("{refused}");
    };
    assert!(text.contains("IPv4 only"), "{text}");
}

#[test]
fn a_candidate_decides_as_a_worker_would_and_what_differs_is_marked() {
    let mut played = Played::new("candidate", 1);
    let (named, changed, mistaken, unknown) = played.serve(|path| {
        let mut client = Client::connect(&path).unwrap();
        let ask = |client: &mut Client, service: &str, text: &str| {
            let words = ["client=192.0.2.1:40000", service];
            let mut question = Question::from_words(words, Flags::SYN).unwrap();
            question.candidate = Some(vec![ConfigText {
                name: "new.conf".to_owned(),
                text: text.to_owned(),
            }]);
            let mut said = Vec::new();
            let mut rows = client.request(&Request::Explain(question))?;
            while let Some(row) = rows.next_row()? {
                said.push(serde_json::from_value::<ExplainRow>(row).unwrap());
            }
            Ok::<_, ClientError>(said)
        };
        let more = "[service more]\nlisten = 10.80.0.100:81/tcp\nlip-pool = blue\n\
                    real = 10.80.0.11:81\n";
        let named = ask(&mut client, "service=more", &format!("{CONF}{more}")).unwrap();
        let other = CONF.replace("device = wan", "device = other");
        let changed = ask(&mut client, "service=web", &other).unwrap();
        let mistaken = ask(&mut client, "service=web", "[nonsense]\n").unwrap_err();
        let unknown = ask(&mut client, "service=wbe", CONF).unwrap_err();
        (named, changed, mistaken, unknown)
    });
    let said: Vec<_> = named
        .iter()
        .map(|row| (row.decision.as_str(), row.side))
        .collect();
    // The played worker says of any packet that it is dropped.
    assert_eq!(said.first(), Some(&("candidate", Side::Both)), "{named:#?}");
    assert!(said.contains(&("pick", Side::Candidate)), "{named:#?}");
    assert!(said.contains(&("neighbour", Side::Candidate)), "{named:#?}");
    let verdict = named.last().unwrap();
    assert_eq!(
        (verdict.outcome.as_str(), verdict.side),
        ("forward", Side::Changed)
    );
    assert!(verdict.running.as_ref().unwrap().starts_with("drop: "));
    assert_eq!(named[0].outcome, "applicable");
    assert_eq!(changed[0].outcome, "needs-restart");
    for (refused, code) in [(mistaken, Code::Mistakes), (unknown, Code::UnknownName)] {
        let ClientError::Refused { code: told, text } = refused else {
            panic!("{refused}");
        };
        assert_eq!(told, code, "{text}");
    }
}

#[test]
fn a_viewer_learns_nothing_of_files_that_the_running_configuration_does_not_name() {
    let mut played = Played::new("oracle", 1);
    let ask = |played: &mut Played, file: &str| {
        let profile = format!("[synproxy one]\nmode = always\nsecret-file = {file}\n");
        let text = profile + &CONF.replace("[service web]", "[service web]\nsynproxy = one");
        played.serve(move |path| {
            let mut client = Client::connect(&path).unwrap();
            let name = "new.conf".to_owned();
            let texts = vec![ConfigText { name, text }];
            let mut rows = client.request(&Request::Diff { texts }).unwrap();
            match rows.next_row() {
                Ok(row) => row.unwrap().to_string(),
                Err(ClientError::Refused { text, .. }) => text,
                Err(error) => panic!("{error}"),
            }
        })
    };
    let folder = std::env::temp_dir();
    let folder = folder.to_str().unwrap();
    let open = format!("{folder}/weir-{}-oracle.key", std::process::id());
    std::fs::write(&open, "too open, and no key").unwrap();
    let long = format!("{open}-is-not-there");
    let said = |played: &mut Played, file: &str| {
        let said = ask(played, file);
        let lines = said.lines().filter(|line| !line.starts_with("  |"));
        lines.collect::<Vec<_>>().join("\n").replace(file, "FILE")
    };
    let there = said(&mut played, &open);
    assert!(there.contains("does not name this file"), "{there}");
    for file in [&*long, folder, "/nowhere/weir.key"] {
        assert_eq!(said(&mut played, file), there);
    }
    // An operator may know.
    played.role = Role::Operator;
    assert_ne!(said(&mut played, folder), said(&mut played, &long));
    played.role = Role::Viewer;
    let snapshot = Arc::make_mut(&mut played.scene.running.snapshot);
    let mut service = snapshot.services.get(0).unwrap().clone();
    service.synproxy.secret_file = Some(long.clone());
    snapshot.services.insert(0, service);
    assert!(
        ask(&mut played, &long).contains("\"object\""),
        "it names this one"
    );
    std::fs::remove_file(&open).unwrap();
}

#[test]
fn what_operators_have_set_holds_over_a_candidate_as_well() {
    for (overrides, decision, outcome) in [
        (
            crate::control::overrides::tests::maintenance(),
            "pick",
            "draining",
        ),
        (
            crate::control::overrides::tests::overrides(SynproxyMode::Always, SynproxyMode::Off),
            "synproxy",
            "always",
        ),
    ] {
        let mut played = Played::new(&format!("candidate-{decision}"), 1);
        played.scene.overrides = overrides;
        let rows = played.serve(|path| {
            let mut client = Client::connect(&path).unwrap();
            let words = ["client=192.0.2.1:40000", "service=web"];
            let mut question = Question::from_words(words, Flags::SYN).unwrap();
            question.candidate = Some(vec![ConfigText {
                name: "new.conf".to_owned(),
                text: CONF.to_owned(),
            }]);
            let mut said = Vec::new();
            let mut rows = client.request(&Request::Explain(question)).unwrap();
            while let Some(row) = rows.next_row().unwrap() {
                said.push(serde_json::from_value::<ExplainRow>(row).unwrap());
            }
            said
        });
        let row = rows.iter().rfind(|row| row.decision == decision);
        assert_eq!(row.map(|row| &*row.outcome), Some(outcome), "{rows:#?}");
    }
}

#[test]
fn what_the_doctor_asks_only_the_daemon_is_answered_with_a_row_each() {
    let mut played = Played::new("doctor", 1);
    let rows = played.serve(|path| {
        let mut client = Client::connect(&path).unwrap();
        let mut answer = client.request(&Request::Doctor {}).unwrap();
        let mut rows = Vec::new();
        while let Some(row) = answer.next_row().unwrap() {
            rows.push(serde_json::from_value::<CheckRow>(row).unwrap());
        }
        rows
    });
    let status = |check: &str| {
        let row = rows.iter().find(|row| row.check == check);
        row.map(|row| (row.status, row.subject.as_str()))
    };
    // There is no such file, and the played worker's real server does not answer.
    let (failure, warning) = (CheckStatus::Failure, CheckStatus::Warning);
    assert_eq!(
        status("configuration"),
        Some((failure, "/nowhere/weir.conf"))
    );
    assert_eq!(status("next-hop"), Some((failure, "10.80.0.11")));
    assert_eq!(status("privileges"), Some((warning, "")));
}

#[test]
fn floods_are_shown_for_tcp_services_with_what_workers_published() {
    let mut played = Played::new("flood", 1);
    let flood = ServiceFlood {
        counters: FloodCounters {
            syn_in: 10,
            cookie_sent: 7,
            passed: 2,
            limited: 1,
            ..FloodCounters::default()
        },
        ..ServiceFlood::default()
    };
    for worker in played.scene.fleet.workers() {
        worker.boards.flood.write(0, |_| flood.clone());
    }
    let (rows, services, refused) = played.serve(|path| {
        let mut client = Client::connect(&path).unwrap();
        let rows: Vec<FloodRow> = client.show(What::Flood, Filter::default()).unwrap();
        let services: Vec<ServiceRow> = client.show(What::Services, Filter::default()).unwrap();
        let only = filter(Some("dns"), None, None);
        let of_udp: Vec<FloodRow> = client.show(What::Flood, only).unwrap();
        (rows, services, of_udp)
    });
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!((row.service.as_str(), row.mode.as_str()), ("web", "off"));
    assert_eq!((row.syn_in, row.active, &row.since), (20, false, &None));
    assert_eq!(row.syn_in, row.cookie_sent + row.passed + row.limited);
    assert_eq!(refused, []);
    assert_eq!(services[0].synproxy.mode, "off");
}

#[test]
fn an_unknown_service_is_refused_with_the_names_that_there_are() {
    let mut played = Played::new("unknown", 1);
    let error = played.serve(|path| {
        let mut client = Client::connect(&path).unwrap();
        client
            .show::<SessionRow>(What::Sessions, filter(Some("wbe"), None, None))
            .unwrap_err()
    });
    let ClientError::Refused {
        code: Code::UnknownName,
        text,
    } = error
    else {
        panic!("{error}");
    };
    assert_eq!(text, "there is no service `wbe`; did you mean `web`?");
}

#[test]
fn a_client_too_many_is_told_and_the_others_are_served() {
    let mut played = Played::new("many", 1);
    let error = played.serve(|path| {
        let mut all: Vec<Client> = (0..MOST_VIEWERS)
            .map(|_| Client::connect(&path).unwrap())
            .collect();
        let error = Client::connect(&path).unwrap_err();
        for client in &mut all {
            client
                .show::<WorkerRow>(What::Workers, Filter::default())
                .unwrap();
        }
        drop(all);
        // That they have gone is heard a little later.
        let end = Instant::now() + Duration::from_mins(1);
        while let Err(error) = Client::connect(&path) {
            assert!(Instant::now() < end, "{error}");
            thread::sleep(Duration::from_millis(5));
        }
        error
    });
    assert!(
        matches!(
            error,
            ClientError::Refused {
                code: Code::Busy,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn the_status_is_a_row_with_who_is_connected_and_what_is_wrong() {
    let mut played = Played::new("status", 3);
    let (mine, others) = played.serve(|path| {
        let mut other = Client::connect(&path).unwrap();
        let name = "{\"name\":\"alice\",\"from\":\"192.0.2.1\"}";
        other
            .introduce(&serde_json::from_str(name).unwrap())
            .unwrap();
        let mut client = Client::connect(&path).unwrap();
        let mine: Vec<StatusRow> = client.show(What::Status, Filter::default()).unwrap();
        drop(client);
        let others: Vec<StatusRow> = other.show(What::Status, Filter::default()).unwrap();
        (mine, others)
    });
    let [status] = mine.as_slice() else {
        panic!("{} rows", mine.len());
    };
    assert_eq!((status.services, status.reals), (2, 2));
    assert_eq!(status.services_up, 2);
    assert!(!status.maintenance);
    assert_eq!(status.alarms as usize, status.alarm_list.len());
    let names = |status: &StatusRow| -> Vec<(String, bool)> {
        let clients = status.clients.iter();
        clients
            .map(|client| (client.name.clone(), client.you))
            .collect()
    };
    assert!(
        names(status).contains(&("alice".to_owned(), false)),
        "{status:?}"
    );
    assert_eq!(names(status).iter().filter(|(_, you)| *you).count(), 1);
    let after = others.first().unwrap();
    assert_eq!(names(after), [("alice".to_owned(), true)]);
}

#[test]
fn only_root_and_our_own_account_tell_of_events() {
    let played = Played::new("tell", 1);
    let line = r#"{"do":"tell","code":"login","severity":"notice","text":"mallory is root"}"#;
    let request = Request::parse(line).unwrap();
    for (uid, is_taken) in [(Some(54_321), false), (None, false), (Some(0), true)] {
        let (stream, _other) = mio::net::UnixStream::pair().unwrap();
        let mut connection = Connection::new(stream, Role::Operator, "lb1");
        connection.operator.uid = uid;
        begin(
            &mut connection,
            Ticket(1),
            request.clone().into(),
            &played.scene,
        );
        let order = matches!(connection.job, Some(Job::Change(Some(_))));
        assert_eq!(order, is_taken, "{uid:?}");
    }
}
