use super::*;
use crate::WellKnown;
use proptest::prelude::*;

fn parse(line: &str) -> Result<Command, Refusal> {
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    Command::parse(&words, &WellKnown)
}

fn at(text: &str) -> At {
    let (protocol, socket) = match text.strip_prefix("udp ") {
        Some(socket) => (Protocol::Udp, socket),
        None => (Protocol::Tcp, text),
    };
    let socket: SocketAddr = socket.parse().unwrap();
    At {
        protocol,
        address: socket.ip(),
        port: socket.port(),
    }
}

/// Every option of the table, in a command line that uses it.
const LINES: &[(&str, &str)] = &[
    ("add-service", "-A -t 203.0.113.1:80"),
    ("edit-service", "-E -t 203.0.113.1:80 -s rr"),
    ("delete-service", "-D -t 203.0.113.1:80"),
    ("clear", "-C"),
    ("restore", "-R"),
    ("save", "-S -n"),
    ("add-server", "-a -t 203.0.113.1:80 -r 10.0.0.1:80 -b"),
    ("edit-server", "-e -t 203.0.113.1:80 -r 10.0.0.1:80 -b -w 3"),
    ("delete-server", "-d -t 203.0.113.1:80 -r 10.0.0.1:80"),
    ("add-laddr", "-P -t 203.0.113.1:80 -z 10.0.8.1"),
    ("del-laddr", "-Q -t 203.0.113.1:80 -z 10.0.8.1"),
    ("get-laddr", "-G -t 203.0.113.1:80"),
    ("list", "-ln"),
    ("zero", "-Z"),
    ("set", "--set 900 120 300"),
    (
        "start-daemon",
        "--start-daemon master --mcast-interface eth0",
    ),
    ("stop-daemon", "--stop-daemon backup"),
    ("help", "-h"),
    ("version", "-v"),
    ("tcp-service", "-A --tcp-service 203.0.113.1:80"),
    ("udp-service", "-A -u 203.0.113.1:53"),
    ("sctp-service", "-A --sctp-service 203.0.113.1:80"),
    ("fwmark-service", "-A -f 3"),
    ("ipv6", "-A -f 3 -6"),
    ("scheduler", "-A -t 203.0.113.1:80 -s sh"),
    (
        "sched-flags",
        "-A -t 203.0.113.1:80 -s sh --sched-flags sh-port",
    ),
    ("pe", "-A -u 203.0.113.1:5060 -p 60 --pe sip"),
    ("persistent", "-A -t 203.0.113.1:80 -p"),
    ("netmask", "-A -t 203.0.113.1:80 -p 60 -M 255.255.0.0"),
    ("ops", "-A -u 203.0.113.1:53 -o"),
    ("synproxy", "-A -t 203.0.113.1:80 -j enable"),
    ("vsestablish-timeout", "-A -t 203.0.113.1:80 -V 300"),
    ("real-server", "-d -t 203.0.113.1:80 --real-server 10.0.0.1"),
    ("fullnat", "-a -t 203.0.113.1:80 -r 10.0.0.1 --fullnat"),
    ("gatewaying", "-a -t 203.0.113.1:80 -r 10.0.0.1 -g"),
    ("ipip", "-a -t 203.0.113.1:80 -r 10.0.0.1 -i"),
    ("masquerading", "-a -t 203.0.113.1:80 -r 10.0.0.1 -m"),
    (
        "tun-type",
        "-a -t 203.0.113.1:80 -r 10.0.0.1 --tun-type gue",
    ),
    (
        "tun-port",
        "-a -t 203.0.113.1:80 -r 10.0.0.1 --tun-port 6080",
    ),
    (
        "tun-nocsum",
        "-a -t 203.0.113.1:80 -r 10.0.0.1 --tun-nocsum",
    ),
    ("tun-csum", "-a -t 203.0.113.1:80 -r 10.0.0.1 --tun-csum"),
    (
        "tun-remcsum",
        "-a -t 203.0.113.1:80 -r 10.0.0.1 --tun-remcsum",
    ),
    ("weight", "-a -t 203.0.113.1:80 -r 10.0.0.1 -b -w 65535"),
    ("u-threshold", "-a -t 203.0.113.1:80 -r 10.0.0.1 -b -x 100"),
    (
        "l-threshold",
        "-a -t 203.0.113.1:80 -r 10.0.0.1 -b -x 9 -y 5",
    ),
    ("laddr", "-P -t 203.0.113.1:80 --laddr 10.0.8.1:0"),
    ("numeric", "-L -n"),
    ("connection", "-lnc"),
    ("timeout", "-l --timeout"),
    ("daemon", "-l --daemon"),
    ("stats", "-ln --stats"),
    ("rate", "-ln --rate"),
    ("exact", "-ln --stats --exact"),
    ("thresholds", "-ln --thresholds"),
    ("persistent-conn", "-ln --persistent-conn"),
    ("sort", "-ln --sort"),
    ("nosort", "-ln --nosort"),
    (
        "mcast-interface",
        "--start-daemon master --mcast-interface=eth0",
    ),
    (
        "mcast-group",
        "--start-daemon master --mcast-group=224.0.0.81",
    ),
    ("mcast-port", "--start-daemon master --mcast-port=8848"),
    ("mcast-ttl", "--start-daemon master --mcast-ttl=1"),
    ("syncid", "--start-daemon master --syncid 1"),
    ("sync-maxlen", "--start-daemon master --sync-maxlen 1000"),
];

/// What Weir has instead of these, it says.
const INSTEAD: &[&str] = &[
    "zero",
    "start-daemon",
    "stop-daemon",
    "sctp-service",
    "fwmark-service",
    "ipv6",
    "sched-flags",
    "pe",
    "ops",
    "gatewaying",
    "ipip",
    "masquerading",
    "tun-type",
    "tun-port",
    "tun-nocsum",
    "tun-csum",
    "tun-remcsum",
    "mcast-interface",
    "mcast-group",
    "mcast-port",
    "mcast-ttl",
    "syncid",
    "sync-maxlen",
];

#[test]
fn every_option_is_carried_out_or_answered_with_what_to_use_instead() {
    for (_, long) in all_options() {
        let line = LINES.iter().find(|(name, _)| *name == long);
        let (_, line) = line.unwrap_or_else(|| panic!("--{long} has no line here"));
        match parse(line) {
            Ok(_) => assert!(!INSTEAD.contains(&long), "{line}"),
            Err(Refusal::Unsupported(text)) => {
                assert!(INSTEAD.contains(&long), "{line}: {text}");
                assert!(text.len() > 20, "{text}");
            }
            Err(Refusal::Syntax(text)) => panic!("{line}: {text}"),
        }
    }
    assert_eq!(all_options().count(), LINES.len());
}

#[test]
fn every_option_that_does_something_stands_in_the_usage() {
    let usage = usage();
    for (short, long) in all_options() {
        let is_there = usage.contains(&format!("--{long} "));
        assert_eq!(is_there, !INSTEAD.contains(&long), "{short:?} {long}");
    }
    assert!(usage.lines().all(|line| line.len() <= 80), "{usage}");
}

#[test]
fn letters_may_stand_together_and_values_behind_them() {
    let service = at("203.0.113.1:80");
    for line in [
        "-A -t 203.0.113.1:80 -s rr",
        "-At 203.0.113.1:80 -srr",
        "-s rr -A -t203.0.113.1:http",
        "--add-service --tcp-service=203.0.113.1:80 --scheduler=rr",
    ] {
        let expected = Command::AddService(
            service,
            ServiceSettings {
                scheduler: Some("rr"),
                ..ServiceSettings::default()
            },
        );
        assert_eq!(parse(line), Ok(expected), "{line}");
    }
    let listing = Listing {
        what: Columns::Connections,
        ..Listing::default()
    };
    for line in ["-lnc", "-Lcn", "-c -n -l", "--list --connection"] {
        assert_eq!(parse(line), Ok(Command::List(listing)), "{line}");
    }
    assert_eq!(parse(""), Ok(Command::List(Listing::default())));
}

#[test]
fn what_is_said_of_a_service_is_read() {
    let Ok(Command::AddService(service, settings)) =
        parse("-A -t [2001:db8::1]:443 -s mh -p 60 -M 64 -j e -V 30")
    else {
        panic!("not an addition");
    };
    assert_eq!(service, at("[2001:db8::1]:443"));
    let expected = ServiceSettings {
        scheduler: Some("maglev"),
        persist: Some(60),
        mask: Some(64),
        synproxy: Some(true),
        idle: Some(30),
    };
    assert_eq!(settings, expected);
    let settings = |line: &str| match parse(line) {
        Ok(Command::EditService(_, settings)) => settings,
        other => panic!("{line}: {other:?}"),
    };
    assert_eq!(settings("-E -t 1.2.3.4:1 -p").persist, Some(360));
    assert_eq!(settings("-E -t 1.2.3.4:1 -p -j dis").synproxy, Some(false));
    assert_eq!(
        settings("-E -t 1.2.3.4:1 -p5 -M 255.255.255.0").mask,
        Some(24)
    );
}

#[test]
fn what_is_said_of_a_real_server_is_read() {
    let Ok(Command::AddReal(service, real, settings)) =
        parse("-a -u 203.0.113.1:domain -r 10.0.0.1 -b -w 7 -x 9 -y 3")
    else {
        panic!("not an addition");
    };
    assert_eq!(service, at("udp 203.0.113.1:53"));
    assert_eq!(real.of(&service).to_string(), "10.0.0.1:53");
    let expected = RealSettings {
        fullnat: true,
        weight: Some(7),
        upper: Some(9),
        lower: Some(3),
    };
    assert_eq!(settings, expected);
}

#[test]
fn what_is_wrong_is_said() {
    for (line, words) in [
        ("-A", "-t or -u"),
        ("-a -t 1.2.3.4:80 -b", "-r ADDRESS:PORT"),
        ("-P -t 1.2.3.4:80", "-z ADDRESS"),
        ("-A -D -t 1.2.3.4:80", "two commands"),
        ("-t 1.2.3.4:80", "the command is missing"),
        ("-A -t 1.2.3.4:80 -t 1.2.3.4:81", "given twice"),
        ("-A -t 1.2.3.4:80 -u 1.2.3.4:80", "two services"),
        ("-A -t 1.2.3.4:80 -w 3", "-w has no meaning with -A"),
        ("-A -t 1.2.3.4:80 -s wlcc", "there is no scheduler"),
        ("-A -t 1.2.3.4:80 -M 255.0.0.0", "needs -p"),
        ("-A -t 1.2.3.4:80 -p 60 -M 255.0.255.0", "holes"),
        ("-A -t 1.2.3.4:80 -p 0", "no time at all"),
        ("-A -t 1.2.3.4:80 -p 2678401", "the most is 2678400"),
        ("-A -t 1.2.3.4:80 -V 0", "no time at all"),
        ("-A -t 1.2.3.4:80 -j maybe", "enable or disable"),
        ("-A -t 1.2.3.4:0 -p", "every port"),
        ("-A -t 1.2.3.4", "every port"),
        ("-A -t 1.2.3.4:99999", "greater than 65535"),
        ("-A -t www:80", "is not an address"),
        ("-A -t 1.2.3.4:gopher", "is not a port"),
        ("-A -t [::1:80", "lacks a `]`"),
        ("-a -t 1.2.3.4:80 -r 10.0.0.1", "without -b"),
        (
            "-a -t 1.2.3.4:80 -r 10.0.0.1 -b -w 65536",
            "the most is 65535",
        ),
        ("-a -t 1.2.3.4:80 -r 10.0.0.1 -b -w -1", "not a number"),
        (
            "-a -t 1.2.3.4:80 -r 10.0.0.1 -b -x 3 -y 5",
            "greater than -x",
        ),
        ("-ln --stats --rate", "two listings"),
        ("--set 900 120", "three numbers"),
        ("-q", "there is no option -q"),
        ("--quick", "there is no option --quick"),
        ("-A -t", "-t needs a value"),
        ("-A=3", "there is no option -="),
        ("--clear=3", "takes no value"),
        ("list", "is not an option"),
    ] {
        let text = parse(line).unwrap_err().to_string();
        assert!(text.contains(words), "{line}: {text}");
    }
}

proptest! {
    #[test]
    fn no_words_make_the_reader_panic(
        words in proptest::collection::vec(
            "-[A-Za-z]{1,3}|--[a-z-]{1,12}(=.{0,4})?|[0-9.:\\[\\]]{1,20}|\\PC{0,10}",
            0..8,
        )
    ) {
        if let Err(refusal) = Command::parse(&words, &WellKnown) {
            prop_assert!(!refusal.to_string().is_empty());
        }
    }
}
