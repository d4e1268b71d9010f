//! Receivers of the test's own: what arrives, what is repeated, what is dropped, and who is told.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;
use std::time::SystemTime;

use syslog_loose::{Variant, parse_message};
use weir_director::{SessionChange, SessionEnd};
use weir_model::{Protocol, ServiceId};

use super::*;
use crate::testing::{around, web};

/// How long anything may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);
const CONF: &str = concat!(
    "[node]\nname = lb1",
    around!(),
    web!(),
    "session-log = both\n"
);

fn snapshot(receivers: &[String]) -> Arc<Snapshot> {
    let text = format!("{CONF}{}", receivers.concat());
    Arc::new(weir_testkit::snapshot("test.conf", &text).unwrap())
}

fn receiver(name: &str, server: impl std::fmt::Display, more: &str) -> String {
    format!("[syslog {name}]\nserver = {server}\n{more}\n")
}

fn to(server: impl std::fmt::Display, more: &str) -> Exports {
    let mut exports = Exports::default();
    exports.adopt(&snapshot(&[receiver("siem", server, more)]));
    exports
}

fn event(code: &'static str, sequence: u64) -> Numbered {
    let record = EventRecord::new(EventClass::Health, Severity::Warning, code, "it happened");
    Numbered {
        sequence,
        at: SystemTime::now(),
        record: Arc::new(record),
        suppressed: 0,
    }
}

/// Offers so many events, of which each has a second of its own and so is within every budget.
fn offer(exports: &mut Exports, events: std::ops::RangeInclusive<u64>) {
    let start = Instant::now();
    for n in events {
        exports.offer(start + SECOND * n as u32, &event("a", n));
    }
}

/// What one message says: its sequence id, and which event it is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Heard {
    id: u64,
    event: u64,
    code: String,
    suppressed: u64,
    text: String,
}

fn heard(line: &str) -> Heard {
    let parsed = parse_message(line, Variant::RFC5424);
    let find = |name: &str| {
        let mut params = parsed.structured_data.iter().flat_map(|it| it.params());
        let found = params.find(|(key, _)| ***key == *name);
        found.map_or(0, |(_, value)| value.parse().unwrap())
    };
    Heard {
        id: find("sequenceId"),
        event: find("event"),
        suppressed: find("suppressed"),
        code: parsed.msgid.unwrap().to_owned(),
        text: parsed.msg.to_owned(),
    }
}

/// Reads messages with octet counts until the other end closes or nothing comes for a while.
fn frames(stream: &mut impl BufRead, most: usize) -> Vec<Heard> {
    let mut all = Vec::new();
    while all.len() < most {
        let mut count = Vec::new();
        match stream.read_until(b' ', &mut count) {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        let count: usize = String::from_utf8(count).unwrap().trim().parse().unwrap();
        let mut message = vec![0; count];
        if stream.read_exact(&mut message).is_err() {
            break;
        }
        all.push(heard(&String::from_utf8(message).unwrap()));
    }
    all
}

fn accept(listener: &TcpListener) -> BufReader<TcpStream> {
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

fn ids(heard: &[Heard]) -> Vec<u64> {
    heard.iter().map(|it| it.id).collect()
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A port of this machine where nobody listens, for now.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn path(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("weir-log-{}-{n}-{name}", std::process::id()))
}

#[test]
fn a_stream_has_octet_counts_and_numbers_without_gap() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut exports = to(listener.local_addr().unwrap(), "transport = tcp");
    offer(&mut exports, 1..=20);
    let mut stream = accept(&listener);
    let found = frames(&mut stream, 20);
    assert_eq!(ids(&found), (1..=20).collect::<Vec<_>>());
    assert_eq!((found[6].event, found[6].code.as_str()), (7, "a"));
    assert_eq!(found[6].text, "it happened");
    // The end of the daemon sends what waits, and closes.
    offer(&mut exports, 21..=30);
    exports.finish();
    let rest = frames(&mut stream, usize::MAX);
    assert_eq!(ids(&rest), (21..=30).collect::<Vec<_>>());
}

#[test]
fn a_datagram_is_one_message() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut exports = to(socket.local_addr().unwrap(), "");
    offer(&mut exports, 1..=2);
    let mut bytes = [0; 2048];
    for n in 1..=2 {
        let len = socket.recv(&mut bytes).unwrap();
        let line = std::str::from_utf8(&bytes[..len]).unwrap();
        assert!(line.starts_with("<164>1 "), "{line}");
        assert_eq!((heard(line).id, heard(line).event), (n, n));
    }
}

#[test]
fn unix_sockets_take_datagrams_or_lines() {
    let at = path("datagrams");
    let socket = UnixDatagram::bind(&at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut exports = to(at.display(), "transport = unix");
    offer(&mut exports, 1..=1);
    let mut bytes = [0; 2048];
    let len = socket.recv(&mut bytes).unwrap();
    assert_eq!(heard(std::str::from_utf8(&bytes[..len]).unwrap()).id, 1);
    std::fs::remove_file(at).unwrap();

    let at = path("lines");
    let listener = UnixListener::bind(&at).unwrap();
    let mut exports = to(at.display(), "transport = unix");
    offer(&mut exports, 1..=3);
    exports.finish();
    let mut text = String::new();
    listener
        .accept()
        .unwrap()
        .0
        .read_to_string(&mut text)
        .unwrap();
    let found: Vec<_> = text.lines().map(heard).collect();
    assert_eq!(ids(&found), [1, 2, 3]);
    std::fs::remove_file(at).unwrap();
}

#[test]
fn the_oldest_make_room_and_the_receiver_sees_how_many() {
    let at = free_port();
    let mut exports = to(at, "transport = tcp\nqueue = 16");
    wait_until("refused", || exports.rows()[0].last_error.is_some());
    offer(&mut exports, 1..=100);
    let row = &exports.rows()[0];
    assert_eq!((row.connected, row.queued, row.dropped), (false, 16, 84));
    assert!(
        row.last_error.as_ref().unwrap().contains("refused"),
        "{row:?}"
    );
    let now = Instant::now();
    let news = exports.look(now);
    let codes: Vec<_> = news.iter().map(|it| it.code).collect();
    assert_eq!(codes, ["syslog-down", "syslog-dropped"]);
    assert!(news[1].text.starts_with("84 messages "), "{}", news[1].text);
    assert!(exports.look(now).is_empty(), "it is told once");

    let listener = TcpListener::bind(at).unwrap();
    let mut stream = accept(&listener);
    let found = frames(&mut stream, 16);
    let sequence: Vec<_> = found.iter().map(|it| (it.id, it.event)).collect();
    assert_eq!(sequence, (85..=100).map(|n| (n, n)).collect::<Vec<_>>());
    wait_until("up", || {
        exports.look(now).iter().any(|it| it.code == "syslog-up")
    });
}

#[test]
fn a_receiver_that_goes_and_comes_back_has_every_message() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let mut exports = to(at, "transport = tcp");
    offer(&mut exports, 1..=50);
    let first = frames(&mut accept(&listener), 50);
    drop(listener);
    offer(&mut exports, 51..=80);
    wait_until("noticed", || !exports.rows()[0].connected);
    let listener = TcpListener::bind(at).unwrap();
    offer(&mut exports, 81..=100);
    let second = thread::spawn(move || frames(&mut accept(&listener), usize::MAX));
    wait_until("sent", || {
        let row = &exports.rows()[0];
        row.connected && row.queued == 0 && row.sent == 100
    });
    exports.finish();
    let second = second.join().unwrap();
    let mut all = [ids(&first), ids(&second)].concat();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, (1..=100).collect::<Vec<_>>());
    // What may not have arrived came first, in its order.
    assert!(second.is_sorted_by_key(|it| it.id));
}

#[test]
fn datagrams_that_nobody_took_are_sent_again() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    drop(socket);
    let mut exports = to(at, "");
    offer(&mut exports, 1..=10);
    wait_until("refused", || exports.rows()[0].last_error.is_some());
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut found = Vec::new();
    let mut bytes = [0; 2048];
    while found.len() < 10 {
        let len = socket.recv(&mut bytes).unwrap();
        found.push(heard(std::str::from_utf8(&bytes[..len]).unwrap()).id);
        found.sort_unstable();
        found.dedup();
    }
    assert_eq!(found, (1..=10).collect::<Vec<_>>());
    assert_eq!(exports.rows()[0].dropped, 0);
}

#[test]
fn a_receiver_of_datagrams_that_was_away_for_long_gets_what_it_did_not_read() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let mut exports = to(at, "");
    offer(&mut exports, 1..=40);
    wait_until("sent", || exports.rows()[0].sent == 40);
    // It goes with all of them in its buffer, and stays away while more come.
    drop(socket);
    let start = Instant::now();
    let mut last = 40;
    let is_up = |exports: &Exports| exports.rows()[0].connected && start.elapsed() < PATIENCE;
    while start.elapsed() < SECOND * 2 || is_up(&exports) {
        last += 1;
        exports.offer(start + SECOND * last as u32, &event("a", last));
        thread::sleep(Duration::from_millis(20));
    }
    let row = exports.rows().remove(0);
    assert!(!row.connected && row.last_error.is_some(), "{row:?}");
    let socket = UdpSocket::bind(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut found, mut bytes) = (BTreeSet::new(), [0; 2048]);
    while !found.contains(&last) {
        let len = socket.recv(&mut bytes).unwrap();
        found.insert(heard(std::str::from_utf8(&bytes[..len]).unwrap()).id);
    }
    assert_eq!(found, (1..=last).collect::<BTreeSet<_>>());
    assert_eq!(exports.rows()[0].dropped, 0);
}

#[test]
fn what_operators_did_is_within_every_budget_and_has_a_queue_of_its_own() {
    let at = free_port();
    let mut exports = to(at, "transport = tcp\nqueue = 16\nbudget = 1/s");
    wait_until("refused", || exports.rows()[0].last_error.is_some());
    let now = Instant::now();
    let audit = |n: u64| {
        let record = EventRecord::new(EventClass::Operator, Severity::Notice, "applied", "done");
        let record = Arc::new(record);
        Numbered {
            record,
            ..event("applied", n)
        }
    };
    for n in 1..=16 {
        exports.offer(now, &audit(n));
        offer(&mut exports, 100 * n + 1..=100 * n + 99);
    }
    let listener = TcpListener::bind(at).unwrap();
    let found = frames(&mut accept(&listener), 32);
    let told: Vec<_> = found.iter().map(|it| it.event).take(16).collect();
    assert_eq!(told, (1..=16).collect::<Vec<_>>());
    assert!(found.iter().take(16).all(|it| it.suppressed == 0));
    assert!(found.iter().skip(16).all(|it| it.code == "a"));
}

#[test]
fn what_a_receiver_that_goes_was_not_told_is_told_at_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let mut exports = to(at, "transport = tcp\nbudget = 1/s");
    let mut stream = accept(&listener);
    let now = Instant::now();
    for n in 1..=10 {
        exports.offer(now, &event("a", n));
    }
    exports.adopt(&snapshot(&[]));
    let found = frames(&mut stream, usize::MAX);
    let told: Vec<_> = found.iter().map(|it| (it.event, it.suppressed)).collect();
    assert_eq!(told, [(1, 0), (0, 9)]);
}

/// A receiver that takes what it likes when it likes, and goes once with nothing left to read.
fn moody(listener: &TcpListener, mut random: weir_testkit::Random) -> Vec<Heard> {
    let mut all: Vec<Heard> = Vec::new();
    let mut moods = 1;
    loop {
        let mut stream = accept(listener);
        for n in 0_u32.. {
            let next = frames(&mut stream, 1);
            let is_over = next.iter().all(|it| it.code == "end");
            all.extend(next);
            if is_over {
                return all;
            }
            if !n.is_multiple_of(100) {
                continue;
            }
            thread::sleep(Duration::from_millis(random.below(3)));
            if moods > 0 && random.chance(0.2) {
                moods -= 1;
                let soon = Some(Duration::from_millis(20));
                stream.get_ref().set_read_timeout(soon).unwrap();
                all.extend(frames(&mut stream, usize::MAX));
                break;
            }
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        cases: 6,
        ..proptest::prelude::ProptestConfig::default()
    })]

    /// Whatever a receiver does meanwhile: each event is a message, or one that a message says was
    /// left out, or one that made room; and the sequence ids have a gap for just those.
    #[test]
    fn every_event_is_sent_or_left_out_or_dropped_and_the_numbers_say_so(
        seed: u64,
        queue in 16_u32..100,
        budget in 1_u32..2_000,
        steps in 1_usize..60,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let more = format!(
            "transport = tcp\nqueue = {queue}\nbudget = {budget}/s\nsession-budget = {budget}/s"
        );
        let snapshot = snapshot(&[receiver("siem", listener.local_addr().unwrap(), &more)]);
        let mut exports = Exports::default();
        exports.adopt(&snapshot);
        let mut random = weir_testkit::Random::new(seed);
        let reader = {
            let random = random.clone();
            thread::spawn(move || moody(&listener, random))
        };
        let mut now = Instant::now();
        let (mut offered, mut audit) = (0, 0);
        for _ in 0..steps {
            for _ in 0..random.below(400) {
                offered += 1;
                match random.below(40) {
                    0 => {
                        audit += 1;
                        let class = EventClass::Operator;
                        let record = EventRecord::new(class, Severity::Notice, "applied", "done");
                        let record = Arc::new(record);
                        exports.offer(now, &Numbered { record, ..event("applied", offered) });
                    }
                    1..10 => exports.offer_session(now, &opened()),
                    n => exports.offer(now, &event(["a", "b"][n as usize % 2], offered)),
                }
            }
            now += Duration::from_millis(random.below(700));
            exports.summarise(now);
            thread::sleep(Duration::from_millis(random.below(4)));
        }
        // Nothing is dropped any more, so the last message has every gap before it.
        let is_sent = |exports: &Exports| {
            let row = &exports.rows()[0];
            row.connected && row.queued == 0
        };
        wait_until("sent", || is_sent(&exports));
        exports.summarise(now + SECOND * 2);
        wait_until("sent", || is_sent(&exports));
        exports.offer(now + SECOND * 4, &event("end", offered + 1));
        let found = reader.join().unwrap();
        let row = found.iter().fold(BTreeMap::new(), |mut all, it| {
            all.insert(it.id, it);
            all
        });
        let (mut said, mut left_out, mut acts) = (0, 0, 0);
        for message in row.values().filter(|it| it.code != "end") {
            said += u64::from(!message.text.contains("left out"));
            left_out += message.suppressed;
            acts += u64::from(message.code == "applied");
        }
        let last = row.keys().last().copied().unwrap_or_default();
        let dropped = last - row.len() as u64;
        proptest::prop_assert_eq!(said + left_out + dropped, offered);
        proptest::prop_assert!(acts <= audit && acts + dropped >= audit);
    }
}

fn opened() -> SessionRecord {
    SessionRecord {
        wall_ms: 1_767_323_045_678,
        change: SessionChange::Opened,
        client: (Ipv4Addr::new(192, 0, 2, 7), 40_000),
        vip: (Ipv4Addr::new(10, 80, 0, 100), 80),
        lip: (Ipv4Addr::new(10, 80, 0, 200), 1024),
        real: (Ipv4Addr::new(10, 80, 0, 11), 80),
        protocol: Protocol::Tcp,
        service: ServiceId(0),
        lasted_ms: 1_500,
    }
}

#[test]
fn a_flood_stays_within_the_budget_and_every_event_is_counted() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut exports = to(listener.local_addr().unwrap(), "transport = tcp");
    let mut stream = accept(&listener);
    let start = Instant::now();
    // 100,000 in a second, and one of another kind in their midst.
    for n in 1..=100_000_u32 {
        let now = start + SECOND * n / 100_000;
        exports.offer(now, &event("flood", n.into()));
        if n == 50_000 {
            exports.offer(now, &event("other", 100_001));
        }
        if n.is_multiple_of(10_000) {
            exports.summarise(now);
        }
    }
    exports.summarise(start + SECOND * 3);
    exports.finish();
    let found = frames(&mut stream, usize::MAX);
    let of = |code: &str| found.iter().filter(|it| it.code == code).count();
    assert_eq!(of("other"), 1);
    // One second and its last moment are two windows, and the rest is told in a third.
    assert!((51..=102).contains(&of("flood")), "{}", of("flood"));
    let suppressed: u64 = found.iter().map(|it| it.suppressed).sum();
    let summaries = found.iter().filter(|it| it.text.contains("left out"));
    let said = of("flood") - summaries.count();
    assert_eq!(said as u64 + suppressed, 100_000);
    assert!(found.is_sorted_by_key(|it| it.id));
}

#[test]
fn the_session_log_has_a_budget_and_a_queue_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let snapshot = snapshot(&[receiver(
        "siem",
        listener.local_addr().unwrap(),
        "transport = tcp\nsession-budget = 10/s\nqueue = 16",
    )]);
    let mut exports = Exports::default();
    exports.adopt(&snapshot);
    let mut stream = accept(&listener);
    let now = Instant::now();
    let record = opened();
    for _ in 0..1_000 {
        exports.offer_session(now, &record);
    }
    let ended = SessionRecord {
        change: SessionChange::Ended(SessionEnd::Reset),
        ..record
    };
    // By now the service is gone.
    let mut without = Snapshot::clone(&snapshot);
    without.services = weir_model::Slots::default();
    exports.adopt(&without);
    exports.offer_session(now, &ended);
    exports.offer(now, &event("a", 1));
    exports.summarise(now + SECOND);
    exports.finish();
    let found = frames(&mut stream, usize::MAX);
    let opened: Vec<_> = found
        .iter()
        .filter(|it| it.code == "session-opened")
        .collect();
    assert_eq!(opened.len(), 11);
    assert_eq!(opened.iter().map(|it| it.suppressed).sum::<u64>(), 990);
    let text = &found
        .iter()
        .find(|it| it.code == "session-ended")
        .unwrap()
        .text;
    assert_eq!(
        text,
        "session of 192.0.2.7:40000 with web ended after 1s 500ms (reset)"
    );
    assert_eq!(found.iter().filter(|it| it.code == "a").count(), 1);
}

#[test]
fn classes_that_a_receiver_does_not_want_do_not_reach_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut exports = to(
        listener.local_addr().unwrap(),
        "transport = tcp\nevents = security\nevents = operator",
    );
    let mut stream = accept(&listener);
    offer(&mut exports, 1..=3);
    let wanted = EventRecord::new(EventClass::Operator, Severity::Notice, "applied", "done");
    let wanted = Numbered {
        record: Arc::new(wanted),
        ..event("a", 4)
    };
    exports.offer(Instant::now(), &wanted);
    exports.finish();
    let found = frames(&mut stream, usize::MAX);
    assert_eq!((ids(&found), found[0].code.as_str()), (vec![1], "applied"));
}

#[test]
fn an_apply_leaves_unchanged_receivers_alone_and_lets_the_others_finish() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let kept = receiver("kept", listener.local_addr().unwrap(), "transport = tcp");
    let gone = receiver("gone", other.local_addr().unwrap(), "transport = tcp");
    let mut exports = Exports::default();
    exports.adopt(&snapshot(&[kept.clone(), gone]));
    let (mut stream, mut going) = (accept(&listener), accept(&other));
    offer(&mut exports, 1..=5);
    let new = receiver("new", other.local_addr().unwrap(), "transport = tcp");
    exports.adopt(&snapshot(&[new, kept]));
    let names: Vec<_> = exports.rows().into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["new", "kept"]);
    assert_eq!(ids(&frames(&mut going, usize::MAX)), [1, 2, 3, 4, 5]);
    let mut new = accept(&other);
    offer(&mut exports, 6..=7);
    exports.finish();
    assert_eq!(ids(&frames(&mut stream, usize::MAX)), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(ids(&frames(&mut new, usize::MAX)), [1, 2]);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "it connected a second time");
}

#[test]
fn a_name_that_cannot_be_resolved_is_told_and_stops_nobody() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bad = receiver("bad", "no-such-host.invalid:514", "transport = tcp");
    let good = receiver("good", listener.local_addr().unwrap(), "transport = tcp");
    let mut exports = Exports::default();
    exports.adopt(&snapshot(&[bad, good]));
    offer(&mut exports, 1..=3);
    assert_eq!(ids(&frames(&mut accept(&listener), 3)), [1, 2, 3]);
    wait_until("told", || exports.rows()[0].last_error.is_some());
    let error = exports.rows()[0].last_error.clone().unwrap();
    assert!(
        error.starts_with("cannot resolve no-such-host.invalid:514: "),
        "{error}"
    );
}

#[cfg(feature = "tls")]
mod over_tls {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;

    /// Makes an authority, writes its certificate into a file, and lets it sign one for a name.
    fn server(name: &str) -> (PathBuf, ServerConfig) {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = ca.self_signed(&ca_key).unwrap();
        let file = path("ca.pem");
        std::fs::write(&file, ca_certificate.pem()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        (file, config)
    }

    #[test]
    fn messages_arrive_over_tls_from_a_receiver_with_the_right_name() {
        let (file, config) = server("localhost");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let more = format!("transport = tls\nca-file = {}", file.display());
        let mut exports = to(format!("localhost:{port}"), &more);
        offer(&mut exports, 1..=30);
        let stream = thread::spawn(move || {
            let connection = ServerConnection::new(Arc::new(config)).unwrap();
            let (stream, _) = listener.accept().unwrap();
            frames(
                &mut BufReader::new(StreamOwned::new(connection, stream)),
                30,
            )
        });
        let found = stream.join().unwrap();
        assert_eq!(ids(&found), (1..=30).collect::<Vec<_>>());
        std::fs::remove_file(file).unwrap();
    }

    #[test]
    fn a_certificate_for_another_name_is_refused_with_a_sentence() {
        let (file, config) = server("somebody-else.example");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let more = format!("transport = tls\nca-file = {}", file.display());
        let mut exports = to(format!("localhost:{port}"), &more);
        offer(&mut exports, 1..=1);
        let connection = ServerConnection::new(Arc::new(config)).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let heard = frames(&mut BufReader::new(StreamOwned::new(connection, stream)), 1);
        assert_eq!(heard, []);
        wait_until("told", || exports.rows()[0].last_error.is_some());
        let row = &exports.rows()[0];
        let error = row.last_error.as_ref().unwrap();
        assert!(
            error.starts_with("no TLS with localhost: ") && error.contains("not valid for name"),
            "{error}"
        );
        assert_eq!((row.sent, row.connected), (0, false));
        std::fs::remove_file(file).unwrap();
    }
}
