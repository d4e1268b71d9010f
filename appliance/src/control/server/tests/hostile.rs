//! Clients that mean harm, on a real socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

/// A request of each name, with an argument of every kind.
const EVERY: &[&str] = &[
    r#"{"do":"show","what":"services"}"#,
    r#"{"do":"hello","name":"root"}"#,
    r#"{"do":"explain","client":"192.0.2.1:40000","service":"10.80.0.100:80/tcp"}"#,
    r#"{"do":"apply","texts":[{"name":"x","text":"[node]\nname = taken\n"}],"confirm_ms":1000}"#,
    r#"{"do":"diff","texts":[{"name":"x","text":"[node]\nname = taken\n"}]}"#,
    r#"{"do":"capture","limit":1,"seconds":1}"#,
    r#"{"do":"confirm"}"#,
    r#"{"do":"rollback","generation":1}"#,
    r#"{"do":"doctor"}"#,
    r#"{"do":"drain","service":"web","real":"10.80.0.11:80","deadline_ms":1000,"then":"reset"}"#,
    r#"{"do":"enable","service":"web","real":"10.80.0.11:80"}"#,
    r#"{"do":"weight","service":"web","real":"10.80.0.11:80","weight":5}"#,
    r#"{"do":"draining","service":"web","real":"10.80.0.11:80"}"#,
    r#"{"do":"maintenance","on":true}"#,
    r#"{"do":"synproxy","service":"web","mode":"always"}"#,
    r#"{"do":"deny","network":"192.0.2.0/24","on":true,"for_ms":600000}"#,
    r#"{"do":"tell","code":"login","severity":"notice","text":"x","fields":{"by":"x"}}"#,
];

/// Sends lines and returns the line that ends the answer to each.
fn exchange(path: &PathBuf, lines: &[String]) -> Vec<Reply> {
    let mut stream = UnixStream::connect(path).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    lines
        .iter()
        .map(|request| {
            stream.write_all(request.as_bytes()).unwrap();
            stream.write_all(b"\n").unwrap();
            loop {
                line.clear();
                reader.read_line(&mut line).unwrap();
                let reply: Reply = serde_json::from_str(&line).unwrap();
                if reply.row.is_none() {
                    return reply;
                }
            }
        })
        .collect()
}

#[test]
fn a_viewer_changes_nothing_whatever_it_sends() {
    let mut lines = Vec::new();
    for line in EVERY {
        lines.push((*line).to_owned());
        // The same in other clothes.
        lines.push(line.replace("\"do\"", "\"\\u0064o\""));
        lines.push(format!(" \t{line}\r"));
        lines.push(line.replacen('{', r#"{"role":"operator","#, 1));
        lines.push(line.replacen('{', r#"{"do":"show","#, 1));
        lines.push(format!(
            "{}{}",
            line.trim_end_matches('}'),
            r#","do":"show"}"#
        ));
        lines.push(format!("[{line}]"));
        lines.push(format!("{line}{line}"));
        lines.push(line.to_uppercase());
    }
    let mut played = Played::new("viewer", 1);
    let before = played.scene.running.effective.clone();
    let sent = lines.clone();
    let replies = played.serve(move |path| exchange(&path, &sent));
    assert_eq!(played.orders, 0, "a viewer's request reached control");
    assert_eq!(played.scene.running.effective, before);
    assert_eq!(played.scene.overrides.rows(), []);
    assert!(played.scene.events.rows(None, None).is_empty());
    for (place, name) in Request::NAMES.iter().enumerate() {
        let line = EVERY
            .get(place)
            .unwrap_or_else(|| panic!("no request of {name}"));
        let request = Request::parse(line).unwrap();
        assert_eq!(request.name(), *name, "{line}");
        let reply = &replies[place * 9];
        let refused = reply.code == Code::NotPermitted;
        assert_eq!(
            refused,
            request.needs() == Role::Operator,
            "{line}: {reply:?}"
        );
    }
    assert_eq!(EVERY.len(), Request::NAMES.len());
}

#[test]
fn a_gigabyte_without_an_end_of_line_is_cut_off_and_logged_while_others_are_served() {
    let mut played = Played::new("gigabyte", 1);
    let (sent, answer) = played.serve(|path| {
        let mut other = Client::connect(&path).unwrap();
        let mut stream = UnixStream::connect(&path).unwrap();
        let piece = vec![b'x'; 1 << 20];
        let mut sent = 0_u64;
        while sent < 1 << 30 {
            match stream.write(&piece) {
                Ok(length) => sent += length as u64,
                Err(_) => break,
            }
        }
        let mut answer = String::new();
        // What was sent and not read resets the connection behind the last word.
        let _ = stream.read_to_string(&mut answer);
        let rows: Vec<WorkerRow> = other.show(What::Workers, Filter::default()).unwrap();
        assert_eq!(rows.len(), 2);
        (sent, answer)
    });
    assert!(sent < 4 << 20, "{sent} bytes were taken");
    assert!(answer.contains("\"9004\""), "{answer}");
    assert!(played.most_queued < 4096);
    let event = played.happened.pop().unwrap();
    assert_eq!(event.code, "client-cut-off");
    assert!(
        event.text.contains("the line is longer than 65536 bytes"),
        "{}",
        event.text
    );
}

#[test]
fn who_reads_nothing_is_cut_off_and_logged_while_others_are_served() {
    const ROWS: u32 = 50_000;
    let mut played = Played::new("deaf", ROWS);
    let late = played.late.clone();
    let closed = played.serve(move |path| {
        let mut other = Client::connect(&path).unwrap();
        let mut deaf = UnixStream::connect(&path).unwrap();
        let mut asked = 0;
        deaf.set_write_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        // Asks again and again, until nobody listens any more.
        while asked < 100_000
            && let Ok(()) = deaf.write_all(b"{\"do\":\"show\",\"what\":\"sessions\"}\n")
        {
            asked += 1;
        }
        assert!(asked < 100_000, "all of it was read");
        let rows: Vec<WorkerRow> = other.show(What::Workers, Filter::default()).unwrap();
        assert_eq!(rows.len(), 2, "beside the one who reads nothing");
        late.store(true, Ordering::Release);
        while late.load(Ordering::Acquire) {
            thread::sleep(Duration::from_millis(1));
        }
        let mut rest = Vec::new();
        // Its end comes behind what was on the way already.
        let _ = deaf.read_to_end(&mut rest);
        let rows: Vec<WorkerRow> = other.show(What::Workers, Filter::default()).unwrap();
        assert_eq!(rows.len(), 2, "and after it");
        rest.len()
    });
    assert!(closed < 1 << 20, "{closed} bytes were written for it");
    assert!(played.most_queued < 1 << 20, "{}", played.most_queued);
    let event = played.happened.pop().unwrap();
    assert_eq!(event.code, "client-cut-off");
    assert!(
        event.text.contains("nothing was read for 30s"),
        "{}",
        event.text
    );
    assert!(
        played.happened.is_empty(),
        "nobody else: {:?}",
        played.happened
    );
}

/// A question whose answer needs a whole configuration to be read.
fn questions_about_files() -> [String; 2] {
    let text = serde_json::json!([{"name": "x", "text": CONF}]);
    let service = "10.80.0.100:80/tcp";
    [
        format!(r#"{{"do":"diff","texts":{text}}}"#),
        format!(
            r#"{{"do":"explain","client":"192.0.2.1:40000","service":"{service}","candidate":{text}}}"#
        ),
    ]
}

#[test]
fn viewers_that_ask_about_files_wait_for_their_turn_and_nobody_else_does() {
    for (place, line) in questions_about_files().into_iter().enumerate() {
        let mut played = Played::new(&format!("files-{place}"), 10);
        let wait = Arc::new(AtomicBool::new(true));
        played.files_wait = Some(wait.clone());
        played.serve(move |path| {
            let askers: Vec<_> = (0..5)
                .map(|_| {
                    let (path, lines) = (path.clone(), vec![line.clone(); 3]);
                    thread::spawn(move || exchange(&path, &lines))
                })
                .collect();
            for _ in 0..20 {
                let mut other = Client::connect(&path).unwrap();
                let rows: Vec<WorkerRow> = other.show(What::Workers, Filter::default()).unwrap();
                assert_eq!(rows.len(), 2);
                thread::sleep(Duration::from_millis(5));
            }
            assert!(askers.iter().all(|asker| !asker.is_finished()));
            wait.store(false, Ordering::Release);
            for asker in askers {
                let replies = asker.join().unwrap();
                let done = |reply: &Reply| reply.code == Code::Done;
                assert!(
                    replies.len() == 3 && replies.iter().all(done),
                    "{replies:?}"
                );
            }
        });
    }
}

#[test]
fn an_operator_does_not_wait_behind_viewers_that_ask_about_files() {
    let mut played = Played::new("files-operator", 10);
    played.role = Role::Operator;
    played.files_wait = Some(Arc::new(AtomicBool::new(true)));
    let lines = questions_about_files();
    let replies = played.serve(move |path| exchange(&path, &lines));
    assert!(
        replies.iter().all(|reply| reply.code == Code::Done),
        "{replies:?}"
    );
}

#[test]
fn what_viewers_ask_about_files_leaves_most_of_the_time_to_others() {
    let begun = Instant::now()
        .checked_sub(Duration::from_millis(100))
        .unwrap();
    let mut files = Files {
        next: begun,
        under_way: None,
        last: 0,
    };
    let now = Instant::now();
    files.charge(begun);
    let wait = files.next.saturating_duration_since(now);
    assert!(wait > Duration::from_millis(350), "{wait:?}");
    let first = files.next;
    files.charge(begun);
    assert!(
        files.next > first + Duration::from_millis(350),
        "both count"
    );
}

#[test]
fn a_viewer_finds_no_room_where_there_are_many_and_an_operator_does() {
    let operator = |role, uid| {
        let (ours, _theirs) = mio::net::UnixStream::pair().unwrap();
        let mut operator = Operator::of(&ours, role);
        operator.uid = Some(uid);
        operator
    };
    let poll = Poll::new().unwrap();
    let mut server = Server::new(Vec::new(), poll.registry(), FIRST).unwrap();
    let mut theirs = Vec::new();
    for n in 0..MOST_VIEWERS as u32 {
        let (ours, other) = mio::net::UnixStream::pair().unwrap();
        theirs.push(other);
        let mut connection = Connection::new(ours, Role::Viewer, "lb1");
        connection.operator.uid = Some(1000 + n % 3);
        if n < MOST_OF_ONE as u32 {
            connection.operator.uid = Some(7);
        }
        server.clients.insert(n as usize, connection);
        if n + 1 == MOST_OF_ONE as u32 {
            let text = server.no_room_for(&operator(Role::Viewer, 7)).unwrap();
            assert!(text.contains("has 16 connections already"), "{text}");
            assert_eq!(server.no_room_for(&operator(Role::Viewer, 8)), None);
        }
    }
    let text = server.no_room_for(&operator(Role::Viewer, 8)).unwrap();
    assert!(text.contains("48 viewers"), "{text}");
    assert_eq!(server.no_room_for(&operator(Role::Operator, 8)), None);
    assert_eq!(server.no_room_for(&operator(Role::Operator, 0)), None);
}

/// Requests, pieces of them and noise, as a client may send them.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let request = proptest::sample::select(EVERY).prop_map(|line| line.as_bytes().to_vec());
    let cut =
        (proptest::sample::select(EVERY), 0..80_usize, any::<u8>()).prop_map(|(line, at, byte)| {
            let mut bytes = line.as_bytes().to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes
        });
    let line = prop_oneof![
        request,
        cut,
        proptest::collection::vec(any::<u8>(), 0..200),
        Just(b"\n".to_vec()),
    ];
    proptest::collection::vec(line, 1..20).prop_map(|lines| lines.join(&b'\n'))
}

/// `WEIR_CASES=100000 cargo test -p weir no_bytes_of_a_viewer` tries more.
#[test]
fn no_bytes_of_a_viewer_stop_the_server_or_reach_control() {
    let wanted = std::env::var("WEIR_CASES").map_or(400, |cases| cases.parse().unwrap());
    let mut played = Played::new("noise", 10);
    let cases: u32 = played.serve(move |path| {
        let mut runner = TestRunner::deterministic();
        let mut cases = 0;
        for _ in 0..wanted {
            let bytes = noise().new_tree(&mut runner).unwrap().current();
            let mut stream = UnixStream::connect(&path).unwrap();
            if stream.write_all(&bytes).is_err() {
                continue;
            }
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            for line in String::from_utf8(answer).unwrap().lines() {
                serde_json::from_str::<serde_json::Value>(line).unwrap();
            }
            cases += 1;
        }
        let mut client = Client::connect(&path).unwrap();
        let rows: Vec<WorkerRow> = client.show(What::Workers, Filter::default()).unwrap();
        assert_eq!(rows.len(), 2);
        cases
    });
    assert_eq!(cases, wanted);
    assert_eq!(played.orders, 0);
}
