//! What operators set at run time, who they are, and the metrics page, through a whole control
//! thread.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use weir_control::{Asked, Introduction, LedgerReply, ModeWish, OverrideRow, PoolRow};
use weir_model::{Counter, Counters, DropReason, Ledger, ServiceId, SynproxyMode};

use super::*;
use crate::control::overrides::DenyWish;
use crate::publish::Vitals;
use crate::testing::around;

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

fn modes(played: &Played) -> Vec<SynproxyMode> {
    let all = played.snapshots.iter();
    all.filter_map(|snapshot| snapshot.services.get(0))
        .map(|service| service.synproxy.mode)
        .collect()
}

fn overrides(played: &mut Played) -> Vec<OverrideRow> {
    played.serve(|client| show(client, What::Overrides))
}

/// Sends a request whose answer is a setting.
fn set(played: &mut Played, request: Request) -> Result<OverrideRow, (Code, String)> {
    played.serve(move |client| {
        let mut rows = client.request(&request).unwrap();
        match rows.next_row() {
            Ok(row) => Ok(serde_json::from_value(row.unwrap()).unwrap()),
            Err(ClientError::Refused { code, text }) => Err((code, text)),
            Err(error) => panic!("{error}"),
        }
    })
}

fn synproxy(mode: ModeWish, for_ms: Option<u64>) -> Request {
    Request::Synproxy {
        service: "web".to_owned(),
        mode,
        for_ms,
    }
}

#[test]
fn a_change_carries_the_name_and_the_origin_that_a_forced_command_gives() {
    let home = Home::new("hello");
    let mut played = home.start();
    let request = wanted(&format!("{CONF}{DNS}"), None);
    let said: Introduction =
        serde_json::from_str(r#"{"name":"alice","from":"192.0.2.1"}"#).unwrap();
    played
        .serve(move |client| {
            client.introduce(&said).unwrap();
            ask(client, &request)
        })
        .unwrap();
    let event = played.events("applied").pop().unwrap();
    assert_eq!(event.fields["by"], "alice");
    let from = &event.fields["from"];
    assert!(from.starts_with("ssh 192.0.2.1, account "), "{from}");
    assert!(
        event.text.contains("by alice (ssh 192.0.2.1, account "),
        "{}",
        event.text
    );
}

#[test]
fn maintenance_holds_until_it_is_taken_back_and_is_told_once() {
    let home = Home::new("maintenance");
    let mut played = home.start();
    for _ in 0..2 {
        let row = set(&mut played, Request::Maintenance { on: true }).unwrap();
        assert_eq!(
            (row.setting.as_str(), row.value.as_str()),
            ("maintenance", "on")
        );
    }
    assert_eq!(overrides(&mut played).len(), 1);
    played.apply(&format!("{CONF}{DNS}")).unwrap();
    assert_eq!(overrides(&mut played).len(), 1, "an apply does not end it");
    let row = set(&mut played, Request::Maintenance { on: false }).unwrap();
    assert_eq!(row.value, "off");
    assert_eq!(overrides(&mut played), []);
    let events = played.events("maintenance");
    let told: Vec<_> = events
        .iter()
        .map(|event| event.fields["what"].as_str())
        .collect();
    assert_eq!(told, ["on", "off"]);
}

#[test]
fn what_is_meant_for_another_configuration_is_refused_with_what_runs() {
    let home = Home::new("expects");
    let mut played = home.start();
    let order = |played: &mut Played, expect_generation| {
        let request = Request::Maintenance { on: true };
        let asked = Asked {
            request,
            expect_generation,
        };
        played.serve(move |client| match client.ask(&asked).unwrap().next_row() {
            Ok(_) => Ok(()),
            Err(ClientError::Refused { code, text }) => Err((code, text)),
            Err(error) => panic!("{error}"),
        })
    };
    order(&mut played, Some(1)).unwrap();
    played.apply(&format!("{CONF}{DNS}")).unwrap();
    set(&mut played, Request::Maintenance { on: false }).unwrap();
    let (code, text) = order(&mut played, Some(1)).unwrap_err();
    assert_eq!(code, Code::Changed);
    assert!(
        text.starts_with("nothing was done: configuration 2 runs since "),
        "{text}"
    );
    assert!(
        text.ends_with(": +service dns; this was meant for configuration 1"),
        "{text}"
    );
    assert_eq!(overrides(&mut played), []);
    order(&mut played, Some(2)).unwrap();
    order(&mut played, None).unwrap();
    assert_eq!(overrides(&mut played).len(), 1);
}

#[test]
fn a_service_answers_with_cookies_as_it_is_set_to_until_that_is_over() {
    let home = Home::new("synproxy");
    home.write(ADAPTIVE);
    let mut played = home.start();
    let row = set(&mut played, synproxy(ModeWish::Always, None)).unwrap();
    assert_eq!(
        (row.value.as_str(), row.configured.as_str()),
        ("always", "adaptive")
    );
    assert_eq!(modes(&played), [SynproxyMode::Always; 2]);
    played.services();

    // The same configuration, and one that changes another service, leave it as it is set.
    played.apply(&format!("{ADAPTIVE}{DNS}")).unwrap();
    assert_eq!(modes(&played), [SynproxyMode::Always; 2]);
    assert!(
        !played.config().contains("always"),
        "a setting is no configuration"
    );

    set(&mut played, synproxy(ModeWish::Default, None)).unwrap();
    assert_eq!(modes(&played), [SynproxyMode::Adaptive; 2]);
    assert_eq!(overrides(&mut played), []);

    set(&mut played, synproxy(ModeWish::Off, Some(300))).unwrap();
    assert_eq!(modes(&played), [SynproxyMode::Off; 2]);
    played.serve_until(|control| control.scene.overrides.rows().is_empty());
    assert_eq!(modes(&played), [SynproxyMode::Adaptive; 2]);
    let last = played.events("synproxy").pop().unwrap();
    assert!(
        last.text.contains("again because its time is over"),
        "{}",
        last.text
    );
}

#[test]
fn a_configuration_that_changes_what_was_set_wins_and_says_so() {
    let home = Home::new("override");
    home.write(ADAPTIVE);
    let mut played = home.start();
    set(&mut played, synproxy(ModeWish::Always, None)).unwrap();
    played.apply(&ADAPTIVE.replace("adaptive", "off")).unwrap();
    assert_eq!(modes(&played), [SynproxyMode::Off; 2]);
    assert_eq!(overrides(&mut played), []);
    let dropped = played.events("override-dropped").pop().unwrap();
    assert!(
        dropped.text.contains("as the new configuration says"),
        "{}",
        dropped.text
    );
}

#[test]
fn whatever_is_set_the_cookies_have_the_key_of_the_secret_file() {
    let home = Home::new("setkey");
    let key = home.folder.join("cookie.key");
    fs::write(&key, "d41d8cd98f00b204e9800998ecf8427e5a3c\n").unwrap();
    let conf = |mode: &str| {
        let with_file = format!("mode = {mode}\nsecret-file = {}", key.display());
        ADAPTIVE.replace("mode = adaptive", &with_file)
    };
    let master = |played: &Played| {
        let snapshot = &played.control.scene.running.snapshot;
        snapshot.services.get(0).unwrap().synproxy.master
    };
    home.write(&conf("always"));
    let mut played = home.start();
    played
        .apply(&format!("{}# once\n", conf("adaptive")))
        .unwrap();
    let of_file = master(&played);
    played.apply(&conf("off")).unwrap();
    assert!(master(&played) != of_file);
    set(&mut played, synproxy(ModeWish::Always, None)).unwrap();
    assert!(master(&played) == of_file, "set over a service without");
    set(&mut played, synproxy(ModeWish::Default, None)).unwrap();
    played.apply(&conf("always")).unwrap();
    set(&mut played, synproxy(ModeWish::Off, None)).unwrap();
    played
        .apply(&conf("always").replace("10.80.0.11:80", "10.80.0.12:80"))
        .unwrap();
    set(&mut played, synproxy(ModeWish::Default, None)).unwrap();
    assert!(master(&played) == of_file, "after an apply meanwhile");
    fs::write(&key, "short").unwrap();
    let (code, text) = set(&mut played, synproxy(ModeWish::Adaptive, None)).unwrap_err();
    assert_eq!(code, Code::Failed, "{text}");
    assert!(text.contains("is no secret"), "{text}");
    assert!(!text.contains("d41d8"), "{text}");
}

#[test]
fn what_cannot_be_set_is_refused_with_a_sentence() {
    let home = Home::new("unset");
    home.write(&format!("{CONF}{DNS}"));
    let mut played = home.start();
    let of = |service: &str, for_ms| Request::Synproxy {
        service: service.to_owned(),
        mode: ModeWish::Always,
        for_ms,
    };
    let (code, text) = set(&mut played, of("wbe", None)).unwrap_err();
    assert_eq!(code, Code::UnknownName, "{text}");
    let (code, text) = set(&mut played, of("dns", None)).unwrap_err();
    assert_eq!(code, Code::BadArgument, "{text}");
    let (code, text) = set(&mut played, of("web", Some(u64::MAX))).unwrap_err();
    assert_eq!(code, Code::BadArgument, "{text}");
    assert_eq!(overrides(&mut played), []);
}

fn deny(network: &str, on: bool, for_ms: Option<u64>) -> Request {
    Request::Deny {
        network: network.to_owned(),
        on,
        for_ms,
    }
}

fn networks(all: &[&str]) -> Vec<Arc<Networks>> {
    let all: Vec<ipnet::IpNet> = all.iter().map(|one| one.parse().unwrap()).collect();
    let one = Arc::new(Networks::denied(&all));
    vec![one; 2]
}

#[test]
fn a_network_is_denied_by_every_worker_until_it_is_taken_back_or_its_time_is_over() {
    let home = Home::new("deny");
    let mut played = home.start();
    let row = set(&mut played, deny("192.0.2.0/24", true, None)).unwrap();
    assert_eq!(
        (row.setting.as_str(), row.object.as_str(), row.until),
        ("deny", "192.0.2.0/24", None)
    );
    set(&mut played, deny("198.51.100.7", true, Some(300_000))).unwrap();
    played.apply(&format!("{CONF}{DNS}")).unwrap();
    let both = networks(&["192.0.2.0/24", "198.51.100.7/32"]);
    played.serve_until(|_| true);
    assert_eq!(played.denied, both);
    let rows = overrides(&mut played);
    assert_eq!(rows.len(), 2, "an apply does not end it");
    assert!(rows[1].until.is_some());

    // Its time is set anew, and ends.
    set(&mut played, deny("198.51.100.7/32", true, Some(200))).unwrap();
    played.serve_until(|control| control.scene.overrides.rows().len() == 1);
    played.serve(overrides_of);
    assert_eq!(played.denied, networks(&["192.0.2.0/24"]));
    let row = set(&mut played, deny("192.0.2.0/24", false, None)).unwrap();
    assert_eq!(row.value, "");
    played.serve(overrides_of);
    assert_eq!(played.denied, networks(&[]));

    let events = played.events("deny");
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            (
                event.fields["network"].as_str(),
                event.fields["what"].as_str(),
            )
        })
        .collect();
    let (one, other) = ("192.0.2.0/24", "198.51.100.7/32");
    assert_eq!(
        told,
        [
            (one, "denied"),
            (other, "denied"),
            (other, "denied"),
            (other, "no longer denied"),
            (one, "no longer denied")
        ]
    );
    assert!(!events[0].fields["by"].is_empty());
    assert!(
        events[3].text.contains("because its time is over"),
        "{}",
        events[3].text
    );
}

fn overrides_of(client: &mut Client) -> Vec<OverrideRow> {
    show(client, What::Overrides)
}

#[test]
fn what_cannot_be_denied_or_is_not_is_refused_with_a_sentence() {
    let home = Home::new("undeny");
    let mut played = home.start();
    for (request, code) in [
        (deny("192.0.2.7/24", true, None), Code::BadArgument),
        (deny("2001:db8::/32", true, None), Code::BadArgument),
        (
            deny("192.0.2.0/24", true, Some(u64::MAX)),
            Code::BadArgument,
        ),
        (deny("192.0.2.0/24", false, Some(1000)), Code::BadArgument),
        (deny("192.0.2.0/24", false, None), Code::NothingToDo),
    ] {
        let (refused, text) = set(&mut played, request.clone()).unwrap_err();
        assert_eq!(refused, code, "{request:?}: {text}");
    }
    assert_eq!(overrides(&mut played), []);
    assert!(played.events("deny").is_empty());
}

#[test]
fn a_worker_that_does_not_keep_up_is_told_later_what_is_denied() {
    let home = Home::new("busy-deny");
    let mut played = home.start();
    played.held.store(true, Ordering::Relaxed);
    let asked = crate::command::COMMANDS + 10;
    let last = format!("10.9.{}.{}", asked >> 8, asked & 255);
    let end = last.clone();
    played.serve(move |client| {
        for n in 1..=asked {
            let network = format!("10.9.{}.{}", n >> 8, n & 255);
            for on in [true, false] {
                if on || network != end {
                    let mut rows = client.request(&deny(&network, on, None)).unwrap();
                    while rows.next_row().unwrap().is_some() {}
                }
            }
        }
    });
    assert_ne!(played.denied, networks(&[&format!("{last}/32")]));
    played.held.store(false, Ordering::Relaxed);
    let end = Instant::now() + Duration::from_secs(20);
    while played.denied != networks(&[&format!("{last}/32")]) {
        assert!(Instant::now() < end, "the workers were not told");
        played.serve(overrides_of);
    }
}

#[test]
fn a_worker_that_does_not_keep_up_gets_what_may_not_be_lost_later() {
    let home = Home::new("busy-apply");
    let mut played = home.start();
    played.held.store(true, Ordering::Relaxed);
    for _ in 0..crate::command::COMMANDS {
        for worker in played.control.scene.fleet.workers() {
            worker.send(Command::Admit { sessions: true });
        }
    }
    set(&mut played, Request::Maintenance { on: true }).unwrap();
    let busy = played.serve(|client| client.show::<PoolRow>(What::Pools, Filter::default()));
    let Err(ClientError::Refused { code, text }) = busy else {
        panic!("{busy:?}");
    };
    assert_eq!(code, Code::Busy, "{text}");
    let held = played.held.clone();
    let later = thread::spawn(move || {
        thread::sleep(Duration::from_millis(300));
        held.store(false, Ordering::Relaxed);
    });
    played.apply(&format!("{CONF}{DNS}")).unwrap();
    later.join().unwrap();
    assert_eq!(played.services(), ["web", "dns"]);
    assert_eq!(played.admits, [false; 2]);
    let pools: Vec<PoolRow> = played.serve(|client| show(client, What::Pools));
    assert!(!pools.is_empty());
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
    let end = Instant::now() + Duration::from_secs(10);
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

#[test]
fn what_is_set_while_another_setting_is_on_its_way_is_not_lost() {
    let home = Home::new("meanwhile");
    home.write(ADAPTIVE);
    let mut played = home.start();
    let control = &mut played.control;
    control.set_synproxy(Asker::Time, "web", ModeWish::Always, None);
    assert!(control.applying.is_some());
    let wish = DenyWish {
        network: "192.0.2.0/24".to_owned(),
        on: true,
        span: None,
    };
    control.deny(&Asker::Time, &wish);
    played.serve_until(|control| control.applying.is_none());
    let rows = overrides(&mut played);
    let settings: Vec<_> = rows.iter().map(|row| row.setting.as_str()).collect();
    assert_eq!(settings, ["synproxy", "deny"]);
}

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
    for _ in 0..100 {
        if TcpStream::connect(first).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(10));
    }
    assert!(TcpStream::connect(first).is_err(), "the old page is closed");

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

/// A configuration with a secret in each place that may have one.
fn with_secrets(key: &Path) -> String {
    let secret_file = format!("mode = adaptive\nsecret-file = {}", key.display());
    let conf = ADAPTIVE.replace("mode = adaptive", &secret_file);
    format!(
        "{conf}health = asks\n\
         [health asks]\ntype = http\nget = /healthz?token=swordfish-7\n\
         [health runs]\ntype = udp\nsend = hunter22-and-more\n"
    )
}

#[test]
fn no_secret_is_in_the_support_bundle_and_the_crash_ring_is() {
    let home = Home::new("support");
    let key = home.folder.join("cookie.key");
    let digits = "d41d8cd98f00b204e9800998ecf8427e5a3c";
    fs::write(&key, format!("{digits}\n")).unwrap();
    home.write(&with_secrets(&key));
    let mut played = home.start();
    // Somebody's mistake: the key in a request, which becomes an event.
    let (_, text) = set(
        &mut played,
        Request::Synproxy {
            service: digits.to_owned(),
            mode: ModeWish::Always,
            for_ms: None,
        },
    )
    .unwrap_err();
    assert!(text.contains(digits));
    let now = Instant::now();
    let events = &mut played.control.scene.events;
    events.system(
        now,
        Severity::Notice,
        "secret",
        format!("the key is {digits}, and swordfish-7 said hunter22-and-more"),
    );
    let said = ["worker-0 failed in a packet: bad hunter22-and-more (director.rs:7)".to_owned()];
    played.control.crashes.push(vec![0xee; 60], &said).unwrap();
    let (parts, bundle) = played.serve(crate::support::parts_of);
    let part = |name: &str| {
        let mut all = parts.iter();
        let found = all.find(|(known, _)| known == name);
        let names: Vec<_> = parts.iter().map(|(name, _)| name).collect();
        let (_, bytes) = found.unwrap_or_else(|| panic!("{name} is not in {names:?}"));
        String::from_utf8_lossy(bytes).into_owned()
    };
    for name in [
        "README.txt",
        "daemon.json",
        "show/ledger.json",
        "show/history.json",
        "machine/proc/version",
    ] {
        part(name);
    }
    let half = digits.len() / 2;
    let bytes: Vec<u8> = (0..half)
        .map(|at| u8::from_str_radix(&digits[at * 2..at * 2 + 2], 16).unwrap())
        .collect();
    let secrets: [&[u8]; 4] = [
        digits.as_bytes(),
        &bytes,
        b"swordfish-7",
        b"hunter22-and-more",
    ];
    for secret in secrets {
        let word = String::from_utf8_lossy(secret);
        for (name, part) in &parts {
            let has = part.windows(secret.len()).any(|here| here == secret);
            assert!(!has, "{word} is in {name}");
        }
        let has = bundle.windows(secret.len()).any(|here| here == secret);
        assert!(!has, "{word} is in the bundle");
    }
    let config = part("config.conf");
    assert!(config.contains(&format!("= {}", key.display())), "{config}");
    assert!(config.contains("/healthz?(left out)"), "{config}");
    assert!(part("show/events.json").contains("the key is (left out), and"));
    assert!(part("crash.txt").contains("failed in a packet: bad (left out) (director.rs:7)"));
    let frames = parts.iter().find(|(name, _)| name == "crash.pcap").unwrap();
    assert!(frames.1.ends_with(&[0xee; 60]));
}

#[test]
fn what_root_tells_of_becomes_an_event_with_its_facts_also_while_the_daemon_stops() {
    let home = Home::new("told");
    let mut played = home.start();
    let line = r#"{"do":"tell","code":"login-failed","severity":"warning",
        "text":"mallory\u001b[2J was not let in","fields":{"by":"mallory","from":"192.0.2.1"}}"#;
    let request = Request::parse(line).unwrap();
    let told = request.clone();
    assert_eq!(played.serve(move |client| rows_of(client, &told)), Ok(0));
    played.control.begin_stop();
    assert_eq!(played.serve(move |client| rows_of(client, &request)), Ok(0));
    let events = played.events("login-failed");
    assert_eq!(events.len(), 2);
    let event = &events[0];
    assert_eq!(event.text, "mallory [2J was not let in");
    let facts = (event.fields["by"].as_str(), event.fields["from"].as_str());
    assert_eq!(facts, ("mallory", "192.0.2.1"));
    let kind = (event.class.as_str(), event.severity.as_str());
    assert_eq!(kind, ("security", "warning"));
}

fn rows_of(client: &mut Client, request: &Request) -> Result<usize, String> {
    let mut rows = client.request(request).unwrap();
    let mut count = 0;
    while rows
        .next_row()
        .map_err(|error| error.to_string())?
        .is_some()
    {
        count += 1;
    }
    Ok(count)
}

#[test]
fn events_outlive_the_daemon_and_their_numbers_go_on() {
    let home = Home::new("kept-events");
    let mut played = home.start();
    set(&mut played, Request::Maintenance { on: true }).unwrap();
    let before = played.events("maintenance");
    drop(played);
    let mut played = home.start();
    assert_eq!(played.events("maintenance"), before);
    set(&mut played, Request::Maintenance { on: true }).unwrap();
    let after = played.events("maintenance");
    assert_eq!((after.len(), &after[..1]), (2, &before[..]));
    assert!(after[1].sequence > before[0].sequence);
    assert!(played.events("events-not-kept").is_empty());
}
