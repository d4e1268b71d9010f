//! What a file becomes: values, defaults, ids, layers, and what no file may do.

#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;
use weir_conf::{NoEnv, Style, parse, parse_str, print_effective};
use weir_model::{
    AllDown, Availability, BadAck, Check, ClientAddress, ClientWindow, Defence, Driver, EndpointId,
    EventClass, ExecCheck, Facility, Forward, Generation, Health, HttpCheck, LipId, MasterKey,
    Offer, Passive, Persist, Poll, PoolId, PortId, PrefixRate, Protocol, Quorum, RealId, RealLimit,
    Refusal, Role, SchedulerKind, Service, ServiceId, SessionLog, Snapshot, Synproxy, SynproxyMode,
    Syslog, SyslogFormat, TimestampMode, TlsCheck, Transport, UdpCheck, WeightFrom,
};

const NETWORK: &str = "
[port lan]
device = eth1
address = 10.0.0.2/16
[lip-pool blue]
port = lan
address = 10.0.8.1-10.0.8.2
";

fn accepted(text: &str, previous: Option<&Snapshot>) -> Snapshot {
    match parse_str("weir.conf", text, previous) {
        Ok(loaded) => loaded.snapshot,
        Err(report) => panic!("{report}"),
    }
}

fn service(name: &str, listen: &str, reals: &[&str]) -> String {
    let mut text = format!("[service {name}]\nlisten = {listen}\nlip-pool = blue\n");
    for real in reals {
        let _ = writeln!(text, "real = {real}");
    }
    text
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn every_value_of_the_file_reaches_the_snapshot() {
    let snapshot = accepted(include_str!("good/all-keys.conf"), None);
    assert_eq!(snapshot.generation, Generation(1));
    assert_eq!(snapshot.node.name, "lb9.dc2");
    assert_eq!(snapshot.node.stop_after, Duration::from_secs(90));

    let wan = snapshot.ports.get(0).unwrap();
    assert_eq!((wan.id, wan.name.as_str()), (PortId(0), "wan"));
    assert_eq!((wan.device.as_str(), wan.driver), ("ens1f0", Driver::AfXdp));
    assert_eq!(wan.queues, Some(2));
    let addresses: Vec<String> = wan.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["198.51.100.2/24", "2001:db8:1::2/64"]);
    assert_eq!(wan.gateways, [ip("198.51.100.1"), ip("2001:db8:1::1")]);
    let lan = snapshot.ports.get(1).unwrap();
    assert_eq!((lan.driver, lan.queues), (Driver::AfPacket, None));

    assert_eq!(snapshot.routes.len(), 1);
    let route = snapshot.routes[0];
    assert_eq!(route.prefix.to_string(), "10.8.0.0/16");
    assert_eq!((route.via, route.port), (ip("10.0.0.254"), PortId(1)));

    assert_eq!(snapshot.workers.cpus, [2, 4, 5]);
    assert_eq!(snapshot.workers.burst, 32);
    assert_eq!(snapshot.workers.sessions, Some(100_000));
    assert_eq!(snapshot.workers.poll, Poll::Busy);
    assert_eq!(snapshot.control.cpus, [0, 1]);
    let sockets: Vec<_> = snapshot
        .control
        .sockets
        .iter()
        .map(|s| (s.path.as_str(), s.role, s.group.as_deref()))
        .collect();
    assert_eq!(
        sockets,
        [
            ("/run/weir/other.sock", Role::Operator, Some("ops")),
            ("/run/weir/more.sock", Role::Viewer, None),
        ]
    );

    let pool = snapshot.pools.get(0).unwrap();
    assert_eq!((pool.id, pool.port), (PoolId(0), PortId(1)));
    assert_eq!(pool.ranges.len(), 3);
    assert_eq!(pool.lips.len(), 16 + 8 + 1);
    assert_eq!(pool.lips[16].address, ip("10.0.8.32"));
    assert_eq!(pool.lips[24].id, LipId(24));
    assert_eq!(snapshot.lip_bound, 25);
    assert_eq!((pool.first_port, pool.last_port), (2000, 2999));
    assert_eq!((pool.reuse_after, pool.warn_at), (Duration::ZERO, 50));

    let web = snapshot.services.get(0).unwrap();
    assert_eq!((web.id, web.protocol), (ServiceId(0), Protocol::Tcp));
    assert_eq!(web.listen.len(), 2);
    assert_eq!(web.listen[1].address, ip("203.0.113.11"));
    assert_eq!(web.listen[1].port, 8080);
    assert_eq!(web.forward, Forward::FullNat);
    assert_eq!(web.scheduler, SchedulerKind::WeightedRoundRobin);
    assert_eq!(web.client_address, ClientAddress::None);
    assert_eq!(web.toa_kind, 200);
    assert!(!web.mss_adjust && !web.reset_at_expiry);
    assert_eq!(web.timestamps, TimestampMode::Strip);
    let seconds = |d: Duration| d.as_secs();
    let t = web.timeouts;
    assert_eq!(
        [
            t.idle,
            t.syn_recv,
            t.fin_wait,
            t.last_ack,
            t.time_wait,
            t.close
        ]
        .map(seconds),
        [600, 20, 120, 20, 5, 1]
    );
    let weights: Vec<u16> = web.reals.iter().map(|real| real.weight).collect();
    assert_eq!(weights, [3, 0, 1]);

    let dns = snapshot.services.get(1).unwrap();
    assert_eq!(dns.protocol, Protocol::Udp);
    assert_eq!(
        [dns.timeouts.idle, dns.timeouts.one_way].map(seconds),
        [10, 2]
    );
    let endpoint = snapshot
        .endpoints
        .get(dns.reals[0].endpoint.index())
        .unwrap();
    assert_eq!(endpoint.address, ip("10.0.2.11"));
    assert_eq!((endpoint.port, endpoint.protocol), (53, Protocol::Udp));
}

#[test]
fn every_value_of_a_profile_reaches_the_services_that_name_it() {
    let snapshot = accepted(include_str!("good/all-keys.conf"), None);
    let web = snapshot.services.get(0).unwrap();
    let profile = Synproxy {
        mode: SynproxyMode::Always,
        enter: 30_000,
        leave: 10_000,
        stay: Duration::from_mins(1),
        learned: false,
        given: Offer {
            mss: 1400,
            wscale: Some(9),
            sack: false,
            timestamps: false,
        },
        client_window: ClientWindow::Closed,
        early_data: 8 << 10,
        early_data_pool: 32 << 20,
        defer: true,
        cookie_lifetime: Duration::from_secs(30),
        secret_rotation: Duration::from_mins(5),
        secret_file: Some("/etc/weir/other.key".to_owned()),
        master: MasterKey::default(),
        syn_retries: 2,
        bad_ack: BadAck::Reset,
        reflect_limit: 20_000,
    };
    assert_eq!(web.synproxy, profile);
    let health = Health {
        check: Check::Tcp,
        interval: Duration::from_secs(1),
        timeout: Duration::from_millis(400),
        rise: 1,
        fall: 5,
        alpha: true,
    };
    assert_eq!(web.health, Some(health));
    check_limits(web);
    assert!(!web.connection_reuse);
    assert_eq!((web.ack_storm, web.max_sessions), (25, Some(250_000)));
    assert_eq!(web.session_log, SessionLog::Both);
    let siem = Syslog {
        name: "siem".to_owned(),
        server: "siem.example.net:6514".to_owned(),
        transport: Transport::Tls,
        ca_file: Some("/etc/weir/tls/siem-ca.pem".to_owned()),
        format: SyslogFormat::Cef,
        facility: Facility::Daemon,
        events: vec![EventClass::Security, EventClass::Session],
        queue: 1_000,
        budget: 20,
        session_budget: 10_000,
    };
    let local = Syslog {
        name: "local".to_owned(),
        server: "/dev/log".to_owned(),
        transport: Transport::Unix,
        ca_file: None,
        format: SyslogFormat::Rfc5424,
        facility: Facility::Local4,
        events: EventClass::NAMES.iter().map(|(_, class)| *class).collect(),
        queue: 4_096,
        budget: 50,
        session_budget: 5_000,
    };
    assert_eq!(snapshot.syslog, [siem, local]);
    let sorry = web.availability.sorry.unwrap();
    assert_eq!(
        (sorry.address, sorry.port),
        ("10.0.1.99".parse().unwrap(), 80)
    );
    assert!(web.reals.iter().all(|real| real.id != sorry.id));
    let availability = Availability {
        quorum: Some(Quorum {
            weight: 1,
            hysteresis: 0,
        }),
        quorum_up: Some("/usr/lib/weir/up".to_owned()),
        quorum_down: Some("/usr/lib/weir/down".to_owned()),
        omega: true,
        sorry: Some(sorry),
        all_down: AllDown::Keep,
        slow_start: Duration::from_secs(30),
        inhibit: false,
        passive: Some(Passive {
            first: Duration::from_secs(2),
            most: Duration::from_mins(5),
            syns: 20,
        }),
    };
    assert_eq!(web.availability, availability);
}

fn check_limits(web: &Service) {
    let defence = Defence {
        syn_rate: Some(PrefixRate {
            per_second: 200,
            burst: 400,
            prefix: 24,
        }),
        new_sessions: Some(PrefixRate {
            per_second: 500,
            burst: 1000,
            prefix: 32,
        }),
        invalid_flags: Refusal::Forward,
        tcp_drop: false,
        udp_drop: false,
        fragments: Refusal::Drop,
        deny: vec!["192.0.2.0/24".parse().unwrap()],
        allow: vec!["192.0.2.128/25".parse().unwrap()],
    };
    assert_eq!(web.defence.as_deref(), Some(&defence));
    let persist = Persist {
        timeout: Duration::from_mins(10),
        prefix: 24,
    };
    assert_eq!(web.persist, Some(persist));
    let limit = |max_sessions, min_sessions| {
        Some(RealLimit {
            max_sessions,
            min_sessions,
        })
    };
    let limits: Vec<_> = web.reals.iter().map(|real| real.limit).collect();
    // Three quarters of ten, rounded up, where nothing is said.
    assert_eq!(limits, [limit(50_000, 40_000), None, limit(10, 8)]);
}

#[test]
fn each_type_of_check_has_what_its_profile_says() {
    let check = |lines: &str| {
        let profile = format!("[health it]\n{lines}\n");
        web("health = it", &profile).health.unwrap().check
    };
    let page = HttpCheck {
        tls: None,
        host: None,
        path: "/".to_owned(),
        expect: (200, 299),
        body: None,
    };
    assert_eq!(check("type = http"), Check::Http(page.clone()));
    let trusted = TlsCheck {
        ca_file: Some("/etc/weir/ca.pem".to_owned()),
        verify: true,
    };
    let https = HttpCheck {
        tls: Some(trusted),
        host: Some("www.example.net".to_owned()),
        path: "/healthz".to_owned(),
        expect: (200, 204),
        body: Some(b"all well".to_vec()),
    };
    let lines = "type = https\nget = /healthz\nhost = www.example.net\nexpect = 200-204\n\
                 body = all%20well\nca-file = /etc/weir/ca.pem";
    assert_eq!(check(lines), Check::Http(https));
    let datagram = UdpCheck {
        send: vec![0, 1],
        answer: Some(vec![0x80]),
    };
    let lines = "type = udp\nsend = %00%01\nanswer = %80";
    assert_eq!(check(lines), Check::Udp(datagram));
    assert_eq!(check("type = ping"), Check::Ping);
    let program = ExecCheck {
        program: "/usr/lib/weir/check".to_owned(),
        weight_from: WeightFrom::Exit,
    };
    let lines = "type = exec\nprogram = /usr/lib/weir/check\nweight-from = exit";
    assert_eq!(check(lines), Check::Exec(program));
}

#[test]
fn what_is_not_said_has_the_documented_default() {
    let text = format!(
        "{NETWORK}{}{}",
        service("web", "203.0.113.10:80/tcp", &["10.0.1.11:80"]),
        service("dns", "203.0.113.53:53/udp", &["10.0.2.11:53"]),
    );
    let snapshot = accepted(&text, None);
    assert_eq!(snapshot.node.name, "weir");
    assert_eq!(snapshot.node.stop_after, Duration::from_secs(30));
    assert_eq!(snapshot.workers.cpus, Vec::<u16>::new());
    assert_eq!(snapshot.workers.burst, 64);
    assert_eq!(snapshot.workers.sessions, None);
    assert_eq!(snapshot.workers.poll, Poll::Adaptive);
    let sockets: Vec<_> = snapshot
        .control
        .sockets
        .iter()
        .map(|s| (s.path.as_str(), s.role))
        .collect();
    assert_eq!(
        sockets,
        [
            ("/run/weir/view.sock", Role::Viewer),
            ("/run/weir/operate.sock", Role::Operator)
        ]
    );
    let pool = snapshot.pools.get(0).unwrap();
    assert_eq!((pool.first_port, pool.last_port), (1024, 65535));
    assert_eq!(
        (pool.reuse_after, pool.warn_at),
        (Duration::from_mins(1), 80)
    );
    let web = snapshot.services.get(0).unwrap();
    assert_eq!(web.client_address, ClientAddress::Toa);
    assert_eq!(web.toa_kind, 254);
    assert!(web.mss_adjust && web.reset_at_expiry);
    assert_eq!(web.timestamps, TimestampMode::Translate);
    assert_eq!(web.scheduler, SchedulerKind::WeightedLeastConnection);
    assert_eq!(web.synproxy, Synproxy::default());
    assert_eq!(web.synproxy.mode, SynproxyMode::Off);
    assert_eq!((&web.health, web.max_sessions), (&None, None));
    assert_eq!((&web.defence, web.persist), (&None, None));
    assert!(web.connection_reuse);
    assert_eq!(web.ack_storm, 10);
    let t = web.timeouts;
    assert_eq!(
        [
            t.idle,
            t.syn_recv,
            t.fin_wait,
            t.last_ack,
            t.time_wait,
            t.close,
            t.one_way
        ]
        .map(|d| d.as_secs()),
        [900, 30, 900, 30, 10, 3, 5]
    );
    let dns = snapshot.services.get(1).unwrap();
    assert_eq!(dns.client_address, ClientAddress::None);
    assert_eq!(dns.synproxy, Synproxy::default());
    assert_eq!(dns.timeouts.idle, Duration::from_secs(30));
    assert_eq!(dns.timeouts.one_way, Duration::from_secs(5));
}

/// The service that becomes of further lines in its section and of further sections.
fn web(lines: &str, sections: &str) -> Service {
    let service = service("web", "203.0.113.10:80/tcp", &["10.0.1.11:80"]);
    let snapshot = accepted(&format!("{NETWORK}{service}{lines}\n{sections}"), None);
    let Some(service) = snapshot.services.get(0) else {
        panic!("the service has another id");
    };
    service.clone()
}

#[test]
fn a_profile_that_says_nothing_is_the_profile_of_defaults_that_its_mode_alone_means() {
    for (word, mode) in SynproxyMode::NAMES {
        let defaults = Synproxy {
            mode: *mode,
            ..Synproxy::default()
        };
        assert_eq!(web(&format!("synproxy = {word}"), "").synproxy, defaults);
        let profile = format!("[synproxy empty]\nmode = {word}\n");
        assert_eq!(web("synproxy = empty", &profile).synproxy, defaults);
    }
    let unsaid = web("synproxy = empty", "[synproxy empty]\n").synproxy;
    assert_eq!(unsaid.mode, SynproxyMode::Adaptive);

    assert_eq!(web("health = tcp", "").health, Some(Health::default()));
    let profile = "[health empty]\ntype = tcp\n";
    assert_eq!(
        web("health = empty", profile).health,
        Some(Health::default())
    );
}

#[test]
fn a_profile_with_the_name_of_a_mode_or_check_wins_over_its_defaults() {
    let profile = "[synproxy always]\nmode = always\nenter = 7k/s\nwscale = none\n";
    let synproxy = web("synproxy = always", profile).synproxy;
    assert_eq!((synproxy.enter, synproxy.given.wscale), (7000, None));
    let profile = "[health tcp]\ntype = tcp\nfall = 9\n";
    let health = web("health = tcp", profile).health.unwrap();
    assert_eq!(health.fall, 9);
}

#[test]
fn a_window_scale_of_zero_is_not_the_same_as_none() {
    let scale = |value: &str| {
        let profile = format!("[synproxy x]\nwscale = {value}\n");
        web("synproxy = x", &profile).synproxy.given.wscale
    };
    assert_eq!(
        (scale("0"), scale("14"), scale("none")),
        (Some(0), Some(14), None)
    );
}

#[test]
fn services_may_share_a_profile_and_a_profile_may_serve_none() {
    let text = format!(
        "{NETWORK}[synproxy unused]\n[synproxy edge]\nstay = 5s\n{}synproxy = edge\n{}synproxy = edge\n",
        service("a", "203.0.113.10:80/tcp", &["10.0.1.11:80"]),
        service("b", "203.0.113.11:80/tcp", &["10.0.1.11:80"]),
    );
    let snapshot = accepted(&text, None);
    let stays: Vec<u64> = snapshot
        .services
        .iter()
        .map(|service| service.synproxy.stay.as_secs())
        .collect();
    assert_eq!(stays, [5, 5]);
}

#[test]
fn half_closed_sessions_live_as_long_as_idle_ones_unless_said_otherwise() {
    let text = format!(
        "{NETWORK}{}idle = 7m\n",
        service("web", "203.0.113.10:80/tcp", &["10.0.1.11:80"])
    );
    let snapshot = accepted(&text, None);
    let timeouts = snapshot.services.get(0).unwrap().timeouts;
    assert_eq!(timeouts.fin_wait, Duration::from_mins(7));
}

#[test]
fn services_that_share_a_real_server_share_its_endpoint() {
    let text = format!(
        "{NETWORK}{}{}{}",
        service(
            "a",
            "203.0.113.10:80/tcp",
            &["10.0.1.11:80", "10.0.1.12:80"]
        ),
        service("b", "203.0.113.11:80/tcp", &["10.0.1.12:80"]),
        service("c", "203.0.113.11:80/udp", &["10.0.1.12:80"]),
    );
    let snapshot = accepted(&text, None);
    let reals: Vec<(RealId, EndpointId)> = snapshot
        .services
        .iter()
        .flat_map(|s| s.reals.iter().map(|r| (r.id, r.endpoint)))
        .collect();
    assert_eq!(
        reals,
        [
            (RealId(0), EndpointId(0)),
            (RealId(1), EndpointId(1)),
            (RealId(2), EndpointId(1)),
            (RealId(3), EndpointId(2)),
        ]
    );
    assert_eq!(snapshot.real_bound, 4);
}

#[test]
fn names_keep_their_ids_and_ids_of_the_removed_are_never_given_out_again() {
    let web = service("web", "203.0.113.10:80/tcp", &["10.0.1.11:80"]);
    let dns = service("dns", "203.0.113.53:53/udp", &["10.0.2.11:53"]);
    let mail = service("mail", "203.0.113.25:25/tcp", &["10.0.3.11:25"]);
    let first = accepted(&format!("{NETWORK}{web}{dns}"), None);

    // The highest ids go away ...
    let second = accepted(&format!("{NETWORK}{web}"), Some(&first));
    assert_eq!(second.generation, Generation(2));
    assert_eq!(second.services.count(), 1);
    assert_eq!(second.services.bound(), 2);

    // ... and what comes next gets new ones, wherever it stands in the file.
    let third = accepted(&format!("{mail}{NETWORK}{web}"), Some(&second));
    let ids: Vec<(&str, ServiceId, RealId, EndpointId)> = third
        .services
        .iter()
        .map(|s| (s.name.as_str(), s.id, s.reals[0].id, s.reals[0].endpoint))
        .collect();
    assert_eq!(
        ids,
        [
            ("web", ServiceId(0), RealId(0), EndpointId(0)),
            ("mail", ServiceId(2), RealId(2), EndpointId(2)),
        ]
    );
    assert_eq!((third.real_bound, third.endpoints.bound()), (3, 3));
}

#[test]
fn a_local_address_keeps_its_id_when_it_moves_to_another_pool() {
    let pools = |blue: &str, green: &str| {
        format!(
            "[port lan]\ndevice = eth1\naddress = 10.0.0.2/16\n\
             [lip-pool blue]\nport = lan\naddress = {blue}\n\
             [lip-pool green]\nport = lan\naddress = {green}\n"
        )
    };
    let first = accepted(&pools("10.0.8.1-10.0.8.3", "10.0.9.1"), None);
    let second = accepted(&pools("10.0.8.1", "10.0.8.3-10.0.8.4"), Some(&first));
    let ids: Vec<(String, LipId)> = second
        .pools
        .iter()
        .flat_map(|pool| pool.lips.iter().map(|l| (l.address.to_string(), l.id)))
        .collect();
    assert_eq!(
        ids,
        [
            ("10.0.8.1".to_owned(), LipId(0)),
            ("10.0.8.3".to_owned(), LipId(2)),
            ("10.0.8.4".to_owned(), LipId(4)),
        ]
    );
    assert_eq!(second.lip_bound, 5);
}

#[test]
fn a_daemon_that_has_numbered_too_many_addresses_says_that_it_must_be_restarted() {
    let text = |address: &str| {
        format!(
            "[port lan]\ndevice = eth1\naddress = 192.0.2.2/24\n\
             [lip-pool blue]\nport = lan\naddress = {address}\n"
        )
    };
    let first = accepted(&text("10.0.0.0/17"), None);
    let second = accepted(&text("10.0.128.0-10.0.255.254"), Some(&first));
    assert_eq!(second.lip_bound, 65_535);
    let report = parse_str("weir.conf", &text("10.1.0.1"), Some(&second)).unwrap_err();
    let message = report.messages().next().unwrap();
    assert!(message.contains("restart it"), "{message}");
}

#[test]
fn the_environment_overrides_scalars_of_node_and_nothing_else() {
    let text = format!("[node]\nname = lb1\n{NETWORK}");
    let env = |vars: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |text: &str| text.to_owned();
        vars.iter()
            .map(|(name, value)| (owned(name), owned(value)))
            .collect()
    };
    let vars = env(&[
        ("WEIR_NODE_NAME", "lb7"),
        ("WEIR_NODE_STOP_AFTER", "5s"),
        ("WEIR_SOCKET", "/tmp/x"),
        ("HOME", "/home/operator"),
    ]);
    let loaded = parse("weir.conf", text.as_bytes(), &vars, None).unwrap();
    assert_eq!(loaded.snapshot.node.name, "lb7");
    assert_eq!(loaded.snapshot.node.stop_after, Duration::from_secs(5));
    let printed = print_effective(&loaded);
    assert!(printed.starts_with("[node]\nname                = lb7\nstop-after          = 5s\n"));

    let vars = env(&[("WEIR_NODE_STOP_AFTER", "5"), ("WEIR_NODE_NAEM", "x")]);
    let report = parse("weir.conf", text.as_bytes(), &vars, None).unwrap_err();
    assert_eq!(
        report.render(Style::short()),
        "\
$WEIR_NODE_NAEM:1:1: error: the environment variable WEIR_NODE_NAEM names no key of [node]; did you mean WEIR_NODE_NAME?
$WEIR_NODE_STOP_AFTER:1:2: error: `5` is not a duration; needs a unit, e.g. 5s
"
    );
}

#[test]
fn an_empty_environment_variable_is_refused_and_not_taken_for_the_default() {
    let vars = vec![("WEIR_NODE_NAME".to_owned(), String::new())];
    let report = parse("weir.conf", NETWORK.as_bytes(), &vars, None).unwrap_err();
    assert_eq!(report.count(), 1, "{report}");
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_tolerated() {
    let text = format!("\u{feff}{}", NETWORK.replace('\n', "\r\n"));
    assert_eq!(accepted(&text, None), accepted(NETWORK, None));
}

#[test]
fn a_file_of_rubbish_is_told_briefly() {
    let text = "rubbish\n".repeat(100_000);
    let report = parse_str("weir.conf", &text, None).unwrap_err();
    assert_eq!(report.count(), 100_001);
    assert!(report.to_string().lines().count() < 120);
}

/// How long this thread had a core: tests share theirs with others.
fn time_on_a_core() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = text.split_whitespace().next().unwrap();
    Duration::from_nanos(nanoseconds.parse().unwrap())
}

/// Reads that many services with four real servers each, and a second time as if it were an apply;
/// returns how long that took.
fn time_to_read(services: u32) -> Duration {
    let mut text = NETWORK.to_owned();
    for n in 0..services {
        let listen = format!("203.0.{}.{}:80/tcp", n / 250, n % 250 + 1);
        let real = |port: u16| format!("10.0.{}.{}:{port}  weight=2", 16 + n / 250, n % 250 + 1);
        let reals = [real(80), real(81), real(82), real(83)];
        let reals: Vec<&str> = reals.iter().map(String::as_str).collect();
        text.push_str(&service(&format!("s{n}"), &listen, &reals));
    }
    let start = time_on_a_core();
    let first = accepted(&text, None);
    let second = accepted(&text, Some(&first));
    let taken = time_on_a_core().saturating_sub(start);
    assert_eq!(second.services, first.services);
    assert_eq!(second.real_bound, 4 * services);
    taken
}

#[test]
fn four_times_the_services_take_four_times_as_long_to_read_and_not_sixteen_times() {
    let (few, many) = (time_to_read(1_000), time_to_read(4_000));
    println!("1,000 services: {few:?}, 4,000: {many:?}");
    assert!(many < 9 * few, "1,000 services: {few:?}, 4,000: {many:?}");
}

/// Changes a good file here and there.
fn mutated() -> impl Strategy<Value = String> {
    let lines: Vec<String> = include_str!("good/all-keys.conf")
        .lines()
        .map(str::to_owned)
        .collect();
    let count = lines.len();
    let pieces = prop_oneof![
        Just("0".to_owned()),
        Just("5s".to_owned()),
        Just("10.0.8.1".to_owned()),
        Just("[service web]".to_owned()),
        Just("auto".to_owned()),
        Just("weight=1".to_owned()),
        Just("=".to_owned()),
        Just("/".to_owned()),
        "[ -~]{0,12}",
    ];
    proptest::collection::vec((0..count, 0..6u8, 0..40usize, pieces), 1..6).prop_map(
        move |changes| {
            let mut lines = lines.clone();
            for (at, how, column, piece) in changes {
                let other = lines[(at * 7 + column) % count].clone();
                let line = &mut lines[at];
                let mut cut = column.min(line.len());
                while !line.is_char_boundary(cut) {
                    cut -= 1;
                }
                match how {
                    0 => line.clear(),
                    1 => line.insert_str(cut, &piece),
                    2 => line.truncate(cut),
                    3 => *line = other,
                    4 => {
                        let key = line.split('=').next().unwrap_or_default().to_owned();
                        *line = format!("{key}= {piece}");
                    }
                    _ => *line = piece,
                }
            }
            lines.join("\n")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(report) = parse("x", &bytes, &NoEnv, None) {
            prop_assert!(report.count() > 0);
            prop_assert!(report.to_string().is_ascii());
        }
    }

    #[test]
    fn a_changed_file_is_either_refused_with_places_or_prints_and_reads_back(text in mutated()) {
        match parse_str("x", &text, None) {
            Err(report) => {
                let long = report.to_string();
                prop_assert!(long.is_ascii());
                prop_assert!(long.lines().all(|line| line.len() <= 80), "{}", long);
                let lines = text.lines().count();
                for (line, column) in report.places().flatten() {
                    prop_assert!(line >= 1 && line <= lines && column >= 1, "{}:{}", line, column);
                }
            }
            Ok(loaded) => {
                let printed = print_effective(&loaded);
                let again = parse_str("x", &printed, None);
                prop_assert!(again.is_ok(), "{}\n{}", printed, again.unwrap_err());
                let again = again.unwrap();
                prop_assert_eq!(&again.snapshot, &loaded.snapshot);
                prop_assert_eq!(print_effective(&again), printed);
            }
        }
    }
}
