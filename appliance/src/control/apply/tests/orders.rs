//! What operators set at run time, and who they are, through a whole control thread.

use weir_control::{Asked, Introduction, ModeWish, OverrideRow, PoolRow};
use weir_model::SynproxyMode;

use super::*;
use crate::control::overrides::DenyWish;

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
    let key = home.path().join("cookie.key");
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
    let end = Instant::now() + PATIENCE;
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
    let key = home.path().join("cookie.key");
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
