use proptest::prelude::*;

use super::*;
use crate::{Names, WellKnown, commands, save};

const PORTS: &str = "\
[node]
name = lb1
[port wan]
device = eth0
address = 198.51.100.2/24
gateway = 198.51.100.1
[port lan]
device = eth1
address = 10.0.0.2/16
";

fn document(text: &str) -> Document {
    let text = format!("{PORTS}{text}");
    let loaded = weir_conf::parse_str("x", &text, None);
    let loaded = loaded.unwrap_or_else(|report| panic!("{text}\n{report:?}"));
    Document::new(&loaded.effective)
}

fn read(text: &str) -> Vec<Command> {
    let found = commands(text, &WellKnown).into_iter();
    found
        .map(|(line, command)| command.unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

fn run(running: &Document, pending: &Document, text: &str) -> Result<Edited, String> {
    if let Some((_, Err(refusal))) = commands(text, &WellKnown).pop() {
        return Err(refusal.to_string());
    }
    let edited = edit(running, pending, &read(text), Strictness::Single);
    edited.map_err(|(_, refusal)| refusal.to_string())
}

/// Runs commands one by one, as a script does.
fn script(running: Document, text: &str) -> Edited {
    let mut edited = Edited {
        running,
        ..Edited::default()
    };
    for line in text.lines() {
        let said = edited.said.clone();
        edited = run(&edited.running, &edited.pending, line).unwrap();
        edited.said.splice(0..0, said);
        // What is to run is always a configuration.
        document_of(&edited.running);
    }
    edited
}

/// Reads what is to run as the daemon does.
fn document_of(running: &Document) -> Document {
    let text = running.to_string();
    let loaded = weir_conf::parse_str("x", &text, None);
    let loaded = loaded.unwrap_or_else(|report| panic!("{text}\n{report:?}"));
    Document::new(&loaded.effective)
}

const WEB: &str = "\
[lip-pool blue]
port = lan
address = 10.0.8.1-10.0.8.4
[service web]
listen = 203.0.113.10:80/tcp
lip-pool = blue
scheduler = wrr
health = tcp
real = 10.0.1.11:80  weight=3
real = 10.0.1.12:80
";

#[test]
fn a_service_waits_until_it_has_a_real_server_and_a_local_address() {
    let edited = script(document(""), "-A -t 203.0.113.10:80 -s rr -j enable -V 300");
    assert_eq!(edited.running.of_kind("service").count(), 0);
    assert_eq!(
        edited.said,
        [
            "203.0.113.10:80/tcp takes no traffic yet: it waits for a real server (-a) and a local address (-P)"
        ]
    );
    let pending = Document::parse(&edited.pending.to_string()).unwrap();
    assert_eq!(pending, edited.pending);
    let edited = run(
        &edited.running,
        &pending,
        "-P -t 203.0.113.10:80 -z 10.0.8.1",
    )
    .unwrap();
    assert_eq!(edited.running.of_kind("service").count(), 0);
    let edited = run(
        &edited.running,
        &edited.pending,
        "-a -t 203.0.113.10:80 -r 10.0.1.11:80 -b -w 7",
    )
    .unwrap();
    assert!(edited.pending.sections.is_empty());
    assert!(edited.said.is_empty(), "{:?}", edited.said);
    let text = edited.running.to_string();
    assert!(
        text.ends_with(
            "\
[lip-pool ipvsadm-10.0.8.1]
port                = lan
address             = 10.0.8.1

[service tcp-203.0.113.10-80]
listen              = 203.0.113.10:80/tcp
scheduler           = rr
synproxy            = always
idle                = 5m
real                = 10.0.1.11:80  weight=7
lip-pool            = ipvsadm-10.0.8.1
"
        ),
        "{text}"
    );
    document_of(&edited.running);
}

#[test]
fn only_what_is_said_changes() {
    let before = document(WEB);
    let edited = run(&before, &Document::default(), "-E -t 203.0.113.10:80 -s rr").unwrap();
    let text = edited.running.to_string();
    assert_eq!(text, before.to_string().replace("= wrr", "= rr"));
    let edited = run(
        &before,
        &Document::default(),
        "-e -t 203.0.113.10:80 -r 10.0.1.12 -b -w 0",
    )
    .unwrap();
    let text = edited.running.to_string();
    assert_eq!(
        text,
        before
            .to_string()
            .replace("10.0.1.12:80", "10.0.1.12:80  weight=0")
    );
    let edited = run(&before, &Document::default(), "-E -t 203.0.113.10:80 -V 60").unwrap();
    assert!(
        edited
            .running
            .to_string()
            .contains("idle                = 1m\n")
    );
    document_of(&edited.running);
}

#[test]
fn the_last_real_server_takes_the_service_out_with_all_that_was_said_of_it() {
    let edited = script(
        document(WEB),
        "-d -t 203.0.113.10:80 -r 10.0.1.11:80\n-d -t 203.0.113.10:80 -r 10.0.1.12:80",
    );
    assert_eq!(
        edited.said,
        ["203.0.113.10:80/tcp takes no more traffic: it waits for a real server (-a)"]
    );
    assert_eq!(edited.running.of_kind("service").count(), 0);
    let edited = run(
        &edited.running,
        &edited.pending,
        "-a -t 203.0.113.10:80 -r 10.0.1.13:80 -b",
    )
    .unwrap();
    let text = edited.running.to_string();
    assert!(text.contains("[service web]"), "{text}");
    assert!(text.contains("health              = tcp"), "{text}");
    assert!(text.contains("lip-pool            = blue"), "{text}");
    document_of(&edited.running);
}

#[test]
fn local_addresses_of_one_service_are_added_and_removed() {
    let edited = script(
        document(WEB),
        "-P -t 203.0.113.10:80 -z 10.0.8.5\n-P -t 203.0.113.10:80 -z 10.0.9.9\n-Q -t 203.0.113.10:80 -z 10.0.8.2",
    );
    let pool = edited.running.find("lip-pool", "blue").unwrap();
    let addresses: Vec<&str> = pool.all("address").collect();
    assert_eq!(addresses, ["10.0.8.1", "10.0.8.3-10.0.8.5", "10.0.9.9"]);
    assert!(edited.said.is_empty());
}

/// The usual script: every service gets the same local addresses, one by one.
const SCRIPT: &str = "\
-A -t 203.0.113.20:80 -s wlc
-P -t 203.0.113.20:80 -z 10.0.8.1
-P -t 203.0.113.20:80 -z 10.0.8.2
-a -t 203.0.113.20:80 -r 10.0.1.11:80 -b
-A -t 203.0.113.21:80 -s wlc
-P -t 203.0.113.21:80 -z 10.0.8.1
-P -t 203.0.113.21:80 -z 10.0.8.2
-a -t 203.0.113.21:80 -r 10.0.1.11:80 -b";

#[test]
fn services_with_the_same_local_addresses_share_a_pool() {
    let edited = script(document(""), SCRIPT);
    assert_eq!(edited.running.of_kind("lip-pool").count(), 1);
    assert_eq!(edited.running.of_kind("service").count(), 2);
    let once = run(&document(""), &Document::default(), SCRIPT).unwrap();
    assert_eq!(once.running, edited.running);
    // Whoever wants to take one of them from one service is told why not.
    let refused = run(
        &edited.running,
        &edited.pending,
        "-Q -t 203.0.113.20:80 -z 10.0.8.1",
    )
    .unwrap_err();
    assert!(
        refused.contains("services share pools as a whole"),
        "{refused}"
    );
    // Both together may lose it, and all may go.
    let both = "-Q -t 203.0.113.20:80 -z 10.0.8.1\n-Q -t 203.0.113.21:80 -z 10.0.8.1";
    let less = run(&edited.running, &edited.pending, both).unwrap();
    let pool = less.running.of_kind("lip-pool").next().unwrap();
    assert_eq!(pool.all("address").collect::<Vec<_>>(), ["10.0.8.2"]);
    let none = run(&edited.running, &edited.pending, "-C").unwrap();
    assert_eq!(none.running, document(""));
}

#[test]
fn pools_that_come_to_overlap_become_one_and_that_is_said() {
    let edited = script(
        document(WEB),
        "-A -t 203.0.113.30:80\n-a -t 203.0.113.30:80 -r 10.0.1.11:80 -b\n-P -t 203.0.113.30:80 -z 10.0.8.2",
    );
    assert_eq!(edited.running.of_kind("lip-pool").count(), 1);
    assert!(
        edited
            .said
            .last()
            .unwrap()
            .contains("with all of its 4 local addresses"),
        "{:?}",
        edited.said
    );
    // Two pools, of which one service wants an address each.
    let edited = script(
        document(WEB),
        "-A -t 203.0.113.30:80\n-a -t 203.0.113.30:80 -r 10.0.1.11:80 -b\n-P -t 203.0.113.30:80 -z 10.0.9.1\n-P -t 203.0.113.30:80 -z 10.0.8.2",
    );
    assert_eq!(edited.running.of_kind("lip-pool").count(), 1);
    let pool = edited.running.of_kind("lip-pool").next().unwrap();
    let addresses: Vec<&str> = pool.all("address").collect();
    assert_eq!(addresses, ["10.0.8.1-10.0.8.4", "10.0.9.1"]);
}

#[test]
fn a_service_of_two_addresses_changes_as_a_whole_or_loses_one() {
    let two = WEB.replace(
        "listen = 203.0.113.10:80/tcp",
        "listen = 203.0.113.10:80/tcp\nlisten = 203.0.113.11:80/tcp",
    );
    let before = document(&two);
    let refused = run(&before, &Document::default(), "-E -t 203.0.113.10:80 -s rr").unwrap_err();
    assert!(
        refused.contains("are addresses of one [service web]"),
        "{refused}"
    );
    let both = "-E -t 203.0.113.10:80 -s rr\n-E -t 203.0.113.11:80 -s rr";
    let edited = run(&before, &Document::default(), both).unwrap();
    assert_eq!(
        edited.running.to_string(),
        before.to_string().replace("wrr", "rr")
    );
    let edited = run(&before, &Document::default(), "-D -t 203.0.113.10:80").unwrap();
    let text = edited.running.to_string();
    assert!(
        !text.contains("203.0.113.10:80") && text.contains("203.0.113.11:80"),
        "{text}"
    );
    document_of(&edited.running);
}

#[test]
fn timeouts_are_set_in_every_service_that_is_there() {
    let dns = "[service dns]\nlisten = 203.0.113.53:53/udp\nlip-pool = blue\nreal = 10.0.2.1:53\n";
    let before = document(&format!("{WEB}{dns}"));
    let edited = run(&before, &Document::default(), "--set 120 30 5").unwrap();
    let text = document_of(&edited.running).to_string();
    let web = text.split("[service web]").nth(1).unwrap();
    assert!(
        web.contains("idle                = 2m\ntimeout-fin-wait    = 30s"),
        "{text}"
    );
    let dns = text.split("[service dns]").nth(1).unwrap();
    assert!(dns.contains("idle                = 5s"), "{text}");
    let edited = run(&before, &Document::default(), "--set 0 0 0").unwrap();
    assert_eq!(edited.running, before);
}

#[test]
fn mistakes_are_told_and_change_nothing() {
    let before = document(WEB);
    for (line, words) in [
        (
            "-A -t 203.0.113.10:80",
            "is a service 203.0.113.10:80/tcp already",
        ),
        ("-E -t 203.0.113.99:80 -s rr", "there is no service"),
        ("-D -u 203.0.113.10:80", "there is no service"),
        (
            "-a -t 203.0.113.10:80 -r 10.0.1.11:80 -b",
            "already; -e changes it",
        ),
        ("-e -t 203.0.113.10:80 -r 10.0.1.99:80 -b", "no real server"),
        ("-d -t 203.0.113.10:80 -r 10.0.1.99:80", "no real server"),
        ("-P -t 203.0.113.10:80 -z 10.0.8.1", "already"),
        ("-Q -t 203.0.113.10:80 -z 10.0.8.9", "no local address"),
        ("-a -t 203.0.113.10:80 -r 10.0.1.13:80 -b -y 5", "needs -x"),
    ] {
        let refused = run(&before, &Document::default(), line).unwrap_err();
        assert!(refused.contains(words), "{line}: {refused}");
    }
    let lines = "-D -t 203.0.113.10:80\n-D -t 203.0.113.10:80";
    let (at, _) = edit(
        &before,
        &Document::default(),
        &read(lines),
        Strictness::Single,
    )
    .unwrap_err();
    assert_eq!(at, 1);
}

#[test]
fn a_local_address_on_no_network_of_two_ports_needs_a_pool_that_says_where_it_is() {
    let refused = run(
        &document(""),
        &Document::default(),
        "-A -t 203.0.113.30:80\n-a -t 203.0.113.30:80 -r 192.0.2.9:80 -b\n-P -t 203.0.113.30:80 -z 192.0.2.1",
    )
    .unwrap_err();
    assert!(
        refused.contains("on the network of no port (wan, lan)"),
        "{refused}"
    );
}

/// What `-S` writes of a configuration.
fn saved(running: &Document, pending: &Document) -> String {
    save(&all_services(running, pending))
}

#[test]
fn what_was_saved_restores_to_itself_and_on_top_of_itself() {
    let dns = "[service dns]\nlisten = 203.0.113.53:53/udp\nlip-pool = blue\nscheduler = rr\nidle = 10s\nreal = 10.0.2.1:53  weight=0\n";
    let before = document(&format!("{WEB}{dns}"));
    let dump = saved(&before, &Document::default());
    assert_eq!(
        dump.lines().take(3).collect::<Vec<_>>(),
        [
            "-A -t 203.0.113.10:80 -s wrr -j disable",
            "-a -t 203.0.113.10:80 -r 10.0.1.11:80 -b -w 3",
            "-a -t 203.0.113.10:80 -r 10.0.1.12:80 -b -w 1",
        ]
    );
    assert!(
        dump.contains("-A -u 203.0.113.53:53 -s rr -j disable -V 10\n"),
        "{dump}"
    );
    assert!(
        dump.ends_with("-P -u 203.0.113.53:53 -z 10.0.8.4\n"),
        "{dump}"
    );
    let restore = |running: &Document| {
        edit(
            running,
            &Document::default(),
            &read(&dump),
            Strictness::Restoring,
        )
        .unwrap()
    };
    let anew = restore(&document(""));
    assert_eq!(saved(&document_of(&anew.running), &anew.pending), dump);
    let on_top = restore(&before);
    assert_eq!(on_top.running, before);
}

/// How many inputs are tried in a run of the tests.
const CASES: u32 = 24;

/// A line of a dump, mostly one that fits those before it.
fn any_line() -> impl Strategy<Value = String> {
    let service = prop_oneof![
        Just("-t 203.0.113.1:80"),
        Just("-t 203.0.113.2:80"),
        Just("-u 203.0.113.1:53"),
        Just("-t 203.0.113.10:80"),
    ];
    let rest = prop_oneof![
        "-A SVC -s (rr|wrr|wlc)( -V [1-9][0-9]{0,3})?",
        "-A SVC -s (rr|wlc) -j (enable|disable)",
        "-E SVC -s (rr|wrr|wlc)",
        "-D SVC",
        "-a SVC -r 10\\.0\\.1\\.[1-4] -b -w [0-9]{1,3}",
        "-e SVC -r 10\\.0\\.1\\.[1-4] -b -w [0-9]{1,3}",
        "-d SVC -r 10\\.0\\.1\\.[1-4]",
        "-P SVC -z 10\\.0\\.8\\.[1-6]",
        "-Q SVC -z 10\\.0\\.8\\.[1-6]",
        "--set [0-9]{1,3} [0-9]{1,3} [0-9]{1,3}",
    ];
    (service, rest).prop_map(|(service, rest): (&str, String)| rest.replace("SVC", service))
}

proptest! {
    // A configuration is read for each step; more cases by hand, when the reader changes.
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// Whatever is said: what is refused changes nothing, and what is to run is a configuration
    /// that has exactly the services that are whole.
    #[test]
    fn any_commands_leave_a_configuration(
        lines in proptest::collection::vec(any_line(), 1..30)
    ) {
        let mut now = Edited { running: document(WEB), ..Edited::default() };
        for line in &lines {
            let Ok(edited) = run(&now.running, &now.pending, line) else {
                continue;
            };
            let read = document_of(&edited.running);
            let whole = services(&read).iter().all(Service::is_complete);
            prop_assert!(whole);
            prop_assert!(services(&edited.pending).iter().all(|s| !s.is_complete()));
            now = Edited { running: read, ..edited };
        }
        let dump = saved(&now.running, &now.pending);
        let commands = read(&dump);
        let on_top = edit(&now.running, &now.pending, &commands, Strictness::Restoring);
        let on_top = on_top.map_err(|(at, e)| TestCaseError::fail(format!("{at}: {e}\n{dump}")))?;
        prop_assert_eq!(saved(&on_top.running, &on_top.pending), dump.clone());
        let anew = edit(&document(""), &Document::default(), &commands, Strictness::Single);
        let anew = anew.map_err(|(at, e)| TestCaseError::fail(format!("{at}: {e}\n{dump}")))?;
        prop_assert_eq!(saved(&document_of(&anew.running), &anew.pending), dump);
    }

    #[test]
    fn no_dump_makes_the_reader_panic(text in "(-[AaPS] |-t |203.0.113.1:80 |-r |10.0.1.1 |-b |\\PC|\n){0,40}") {
        let names: &dyn Names = &WellKnown;
        for (line, command) in commands(&text, names) {
            prop_assert!(line > 0);
            if let Err(refusal) = command {
                prop_assert!(!refusal.to_string().is_empty());
            }
        }
    }
}
