//! The metrics page, through a whole control thread.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::SystemTime;

use weir_control::LedgerReply;
use weir_model::{Counter, Counters, DropReason, Ledger, ServiceId};

use super::*;
use crate::publish::Vitals;

/// An address where nobody listens.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn get(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn metrics(address: SocketAddr) -> prometheus_parse::Scrape {
    let answer = get(address, "GET /metrics HTTP/1.1\r\nHost: lb1\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(body.ends_with("# EOF\n"));
    let lines = body.lines().map(|line| Ok(line.to_owned()));
    prometheus_parse::Scrape::parse(lines).unwrap()
}

/// Adds up the samples of a family that have the labels.
fn sum(scrape: &prometheus_parse::Scrape, name: &str, labels: &[(&str, &str)]) -> u64 {
    let matches = |sample: &&prometheus_parse::Sample| {
        sample.metric == name
            && labels
                .iter()
                .all(|(key, value)| sample.labels.get(key) == Some(*value))
    };
    let found: Vec<_> = scrape.samples.iter().filter(matches).collect();
    assert!(!found.is_empty(), "{name} {labels:?}");
    let values =
        found.iter().map(|sample| match sample.value {
            prometheus_parse::Value::Counter(value)
            | prometheus_parse::Value::Gauge(value)
            | prometheus_parse::Value::Untyped(value) => value,
            ref other @ (prometheus_parse::Value::Histogram(_)
            | prometheus_parse::Value::Summary(_)) => panic!("{name}: {other:?}"),
        });
    let sum: f64 = values.sum();
    // Whole, and small enough to be exact: the text is the number.
    format!("{sum}").parse().unwrap()
}

/// What the page and `show ledger` say of each worker.
fn equals(page: &prometheus_parse::Scrape, ledger: &LedgerReply) {
    for (worker, row) in ledger.workers.iter().enumerate() {
        let worker = worker.to_string();
        let of = |name: &str, more: &[(&str, &str)]| {
            sum(page, name, &[&[("worker", worker.as_str())], more].concat())
        };
        assert_eq!(of("weir_frames_received_total", &[]), row.rx);
        assert_eq!(of("weir_frames_originated_total", &[]), row.originated);
        assert_eq!(of("weir_frames_handed_in_total", &[]), row.handed_in);
        assert_eq!(of("weir_frames_transmitted_total", &[]), row.tx);
        assert_eq!(of("weir_frames_delivered_total", &[]), row.delivered);
        assert_eq!(of("weir_frames_held", &[]), row.held);
        assert_eq!(of("weir_frames_handed_out_total", &[]), row.handed_out);
        assert_eq!(of("weir_ledger_balanced", &[]), u64::from(row.balanced));
        for (reason, count) in &row.dropped {
            let dropped = of("weir_frames_dropped_total", &[("reason", reason)]);
            assert_eq!(dropped, *count, "{reason}");
        }
        for (counter, count) in &row.counters {
            let name = format!("weir_{}_total", counter.replace('-', "_"));
            assert_eq!(of(&name, &[]), *count, "{counter}");
        }
    }
}

#[test]
fn the_metrics_page_equals_show_ledger_to_the_packet_and_moves_with_an_apply() {
    let home = Home::new("metrics");
    let first = free_address();
    let page_at = |address| format!("{CONF}[metrics]\nlisten = {address}\n");
    home.write(&page_at(first));
    let mut played = home.start();
    played.control.metrics_from(first);
    for (place, worker) in played.control.scene.fleet.workers().iter().enumerate() {
        let seed = 1_000_003 * (place as u64 + 1);
        let mut ledger = Ledger {
            rx: seed,
            tx: seed - 7,
            ..Ledger::default()
        };
        let mut counters = Counters::default();
        for (at, reason) in DropReason::ALL.iter().enumerate() {
            ledger.drop_many(*reason, seed + at as u64);
        }
        for (at, counter) in counters.values_mut().iter_mut().enumerate() {
            *counter = seed * 3 + at as u64;
        }
        let stats = netmap_io::PortStats::default();
        worker
            .published
            .write(&ledger, &counters, Vitals::default(), [stats].iter());
    }
    played.serve_until(Control::metrics_are_shown);
    let ledger: Vec<LedgerReply> = played.serve(|client| show(client, What::Ledger));
    let ledger = &ledger[0];
    let page = metrics(first);
    equals(&page, ledger);
    let opened = Counter::SessionOpened.label();
    assert_eq!(
        sum(&page, "weir_session_opened_total", &[]),
        ledger.total.counters[opened]
    );
    assert_eq!(sum(&page, "weir_real_up", &[("real", "10.80.0.11:80")]), 1);
    for sample in &page.samples {
        assert!(sample.metric.starts_with("weir_"), "{}", sample.metric);
        let family = sample
            .metric
            .trim_end_matches("_total")
            .trim_end_matches("_info");
        assert!(page.docs.contains_key(family), "{family} is not explained");
    }

    let second = free_address();
    played.apply(&page_at(second)).unwrap();
    // A page is shown for a tenth of a second.
    thread::sleep(Duration::from_millis(150));
    assert_eq!(
        sum(&metrics(second), "weir_configuration_generation", &[]),
        2
    );
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(first).is_ok() {
        assert!(Instant::now() < end, "the old page is open");
        thread::sleep(Duration::from_millis(10));
    }

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let (code, text) = played
        .apply(&page_at(taken.local_addr().unwrap()))
        .unwrap_err();
    assert_eq!(code, Code::Failed);
    assert!(text.contains("[metrics] listen"), "{text}");
    assert!(
        text.contains("the running configuration is unchanged"),
        "{text}"
    );
    metrics(second);
    assert_eq!(
        played.snapshots[0]
            .services
            .get(ServiceId(0).index())
            .unwrap()
            .name,
        "web"
    );
}

#[test]
fn the_page_says_when_the_daemon_started_and_an_apply_is_no_start() {
    let home = Home::new("start-time");
    let address = free_address();
    let conf = format!("{CONF}[metrics]\nlisten = {address}\n");
    home.write(&conf);
    let clock = || {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap().as_secs_f64()
    };
    let before = clock();
    let mut played = home.start();
    let after = clock();
    played.control.metrics_from(address);
    played.serve_until(Control::metrics_are_shown);
    let started = |address| {
        let page = metrics(address);
        let mut samples = page.samples.iter();
        let sample = samples.find(|sample| sample.metric == "weir_start_time_seconds");
        let prometheus_parse::Value::Gauge(value) = sample.unwrap().value else {
            panic!("it is no gauge");
        };
        value
    };
    let first = started(address);
    assert!(
        (before..=after).contains(&first),
        "{before} {first} {after}"
    );
    played.apply(&format!("{conf}{DNS}")).unwrap();
    // A page is shown for a tenth of a second.
    thread::sleep(Duration::from_millis(150));
    assert_eq!(started(address).to_bits(), first.to_bits());
    drop(played);
    let address = free_address();
    home.write(&format!("{CONF}[metrics]\nlisten = {address}\n"));
    let mut again = home.start();
    again.control.metrics_from(address);
    again.serve_until(Control::metrics_are_shown);
    assert!(started(address) > first);
}

#[test]
fn every_metric_of_the_dashboard_is_on_the_page() {
    let home = Home::new("dashboard");
    let address = free_address();
    home.write(&format!("{ADAPTIVE}[metrics]\nlisten = {address}\n"));
    let mut played = home.start();
    played.control.metrics_from(address);
    played.serve_until(Control::metrics_are_shown);
    let page = get(address, "GET /metrics HTTP/1.1\r\nHost: lb1\r\n\r\n");
    let dashboard = include_str!("../../../../../docs/grafana-dashboard.json");
    let json: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let panels = json["panels"].as_array().unwrap();
    assert!(panels.len() >= 10);
    let mut names = 0;
    let words = dashboard.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for name in words.filter(|word| word.starts_with("weir_")) {
        let family = name.trim_end_matches("_total").trim_end_matches("_info");
        assert!(
            page.contains(&format!("# TYPE {family} ")),
            "{name} is not on the page"
        );
        names += 1;
    }
    assert!(names >= 20, "{names}");
}

#[test]
fn whoever_asks_for_anything_else_is_told_what_there_is() {
    let home = Home::new("http");
    let address = free_address();
    home.write(&format!("{CONF}[metrics]\nlisten = {address}\n"));
    let mut played = home.start();
    played.control.metrics_from(address);
    for (request, status, sentence) in [
        ("GET / HTTP/1.1\r\n\r\n", "404", "there is only /metrics"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405", "with GET"),
        (
            "DELETE /x HTTP/1.0\r\n\r\n",
            "404",
            "there is only /metrics",
        ),
        ("\u{16}\u{3}\u{1}\r\n\r\n", "400", "not HTTP/1"),
    ] {
        let answer = get(address, request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert!(answer.contains(sentence), "{answer}");
    }
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(12_000));
    assert!(get(address, &long).starts_with("HTTP/1.1 431 "));

    // Whoever stands in the way makes room for whoever comes.
    let silent: Vec<_> = (0..100)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    metrics(address);
    drop(silent);
}

#[test]
fn the_metrics_page_moves_between_addresses_of_a_port_and_its_absence_keeps_nothing_from_coming_back()
 {
    let home = Home::new("page-moves");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let at = |address: &str| format!("{CONF}[metrics]\nlisten = {address}:{port}\n");
    home.write(CONF);
    let mut played = home.start();
    let visit = |address: &str| {
        let mut stream = TcpStream::connect((address, port)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        assert!(page.starts_with("HTTP/1."), "{page}");
    };
    for address in ["0.0.0.0", "127.0.0.1", "0.0.0.0", "127.0.0.1"] {
        played.apply(&at(address)).unwrap();
        visit("127.0.0.1");
    }
    // Somebody else's address is refused, and ours is not given away.
    assert!(TcpListener::bind(("127.0.0.1", port)).is_err());
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!(
        "{CONF}[metrics]\nlisten = {}\n",
        other.local_addr().unwrap()
    );
    let (code, text) = played.apply(&text).unwrap_err();
    assert_eq!(code, Code::Failed, "{text}");
    visit("127.0.0.1");
    // A trial gives the address up, and meanwhile it is taken.
    played.ask(wanted(CONF, Some(60_000))).unwrap();
    let end = Instant::now() + PATIENCE;
    let taken = loop {
        assert!(Instant::now() < end);
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(taken) => break taken,
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    };
    played.ask(rollback(None)).unwrap();
    let event = played.events("metrics-page").remove(0);
    assert!(
        event.text.contains("until its address is free"),
        "{}",
        event.text
    );
    drop(taken);
    played
        .control
        .look_at_page(Instant::now() + Duration::from_secs(11));
    visit("127.0.0.1");
    assert_eq!(played.events("metrics-page").len(), 2);
}
