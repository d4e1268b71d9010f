use super::*;

/// A management network, and a port towards the clients.
const BOX: &str = "\
[management]
address = 192.0.2.10/24
gateway = 192.0.2.1
[port wan]
device = eth1
address = 198.51.100.2/24
gateway = 198.51.100.1
";

fn settings(text: &str) -> BoxOf {
    let loaded = weir_conf::parse_str("weir.conf", text, None).unwrap();
    BoxOf::of(&loaded)
}

fn fixed(address: &str, gateway: &str) -> Network {
    let text = format!("[management]\naddress = {address}\ngateway = {gateway}\n");
    Network::wanted(&settings(&text), None)
}

fn lines(steps: &[Step]) -> Vec<String> {
    steps.iter().map(|step| step.join(" ")).collect()
}

#[test]
fn the_first_network_is_set_up_with_a_table_of_its_own() {
    let text = BOX.to_owned()
        + "\
[port lan]
device = eth2
address = 10.0.0.2/16
[route 10.8.0.0/16]
via = 10.0.0.254
port = lan
";
    let wanted = Network::wanted(&settings(&text), None);
    let expected = [
        "link set eth0 up",
        "addr add 192.0.2.10/24 dev eth0",
        "-4 route replace 192.0.2.0/24 dev eth0 src 192.0.2.10 table 100",
        "-4 route replace default via 192.0.2.1 dev eth0",
        "-4 route replace default via 192.0.2.1 dev eth0 table 100",
        "-4 route replace 10.8.0.0/16 via 10.0.0.254 dev eth2",
        "-4 route replace default via 198.51.100.1 dev eth1 metric 200",
        "-4 rule add pref 20 from 192.0.2.10 lookup 100",
        "-4 rule add pref 10 iif eth1 to 192.0.2.10 type prohibit",
        "-4 rule add pref 10 iif eth2 to 192.0.2.10 type prohibit",
    ];
    assert_eq!(lines(&steps(&Network::default(), &wanted)), expected);
    assert_eq!(steps(&wanted, &wanted), Vec::<Step>::new());
}

#[test]
fn another_gateway_leaves_the_address_alone() {
    let before = fixed("192.0.2.10/24", "192.0.2.1");
    let after = fixed("192.0.2.10/24", "192.0.2.254");
    let expected = [
        "-4 route del default via 192.0.2.1 dev eth0",
        "-4 route del default via 192.0.2.1 dev eth0 table 100",
        "-4 route replace default via 192.0.2.254 dev eth0",
        "-4 route replace default via 192.0.2.254 dev eth0 table 100",
    ];
    assert_eq!(lines(&steps(&before, &after)), expected);
}

#[test]
fn another_address_takes_its_routes_and_rules_along() {
    let before = fixed("192.0.2.10/24", "192.0.2.1");
    let after = fixed("192.0.2.20/24", "192.0.2.1");
    let expected = [
        "-4 rule del pref 20 from 192.0.2.10 lookup 100",
        "-4 route del 192.0.2.0/24 dev eth0 table 100",
        "addr del 192.0.2.10/24 dev eth0",
        "addr add 192.0.2.20/24 dev eth0",
        "-4 route replace 192.0.2.0/24 dev eth0 src 192.0.2.20 table 100",
        "-4 route replace default via 192.0.2.1 dev eth0",
        "-4 route replace default via 192.0.2.1 dev eth0 table 100",
        "-4 rule add pref 20 from 192.0.2.20 lookup 100",
    ];
    assert_eq!(lines(&steps(&before, &after)), expected);
    // Back again: what was done is undone.
    assert_eq!(steps(&after, &before).len(), expected.len());
}

#[test]
fn another_device_takes_the_old_one_down() {
    let before = fixed("192.0.2.10/24", "192.0.2.1");
    let mut after = before.clone();
    after.device = "eth3".to_owned();
    let found = lines(&steps(&before, &after));
    let at = |line: &str| found.iter().position(|it| it == line);
    assert!(
        at("link set eth0 down") < at("link set eth3 up"),
        "{found:?}"
    );
    assert!(at("addr del 192.0.2.10/24 dev eth0") < at("link set eth0 down"));
    assert!(at("link set eth3 up") < at("addr add 192.0.2.10/24 dev eth3"));
}

#[test]
fn a_device_that_is_a_data_port_from_now_on_stays_up() {
    let before = Network::wanted(&settings(BOX), None);
    let text = BOX.replace("[management]", "[management]\ndevice = eth1");
    let text = text.replace("[port wan]\ndevice = eth1", "[port wan]\ndevice = eth0");
    let found = lines(&steps(&before, &Network::wanted(&settings(&text), None)));
    assert!(found.contains(&"addr del 192.0.2.10/24 dev eth0".to_owned()));
    assert!(
        !found.contains(&"link set eth0 down".to_owned()),
        "{found:?}"
    );
}

#[test]
fn without_a_gateway_answers_do_not_leave_by_a_data_port() {
    let text = "\
[management]
address = 192.0.2.10/24
[port wan]
device = eth1
address = 198.51.100.2/24
gateway = 198.51.100.1
";
    let found = lines(&steps(
        &Network::default(),
        &Network::wanted(&settings(text), None),
    ));
    let line = "-4 route replace unreachable default table 100".to_owned();
    assert!(found.contains(&line), "{found:?}");
}

#[test]
fn an_ipv6_address_is_set_up_in_its_family() {
    let found = lines(&steps(
        &Network::default(),
        &fixed("2001:db8::10/64", "2001:db8::1"),
    ));
    let expected = [
        "link set eth0 up",
        "addr add 2001:db8::10/64 dev eth0",
        "-6 route replace 2001:db8::/64 dev eth0 src 2001:db8::10 table 100",
        "-6 route replace default via 2001:db8::1 dev eth0",
        "-6 route replace default via 2001:db8::1 dev eth0 table 100",
        "-6 rule add pref 20 from 2001:db8::10 lookup 100",
    ];
    assert_eq!(found, expected);
}

fn lease(address: &str) -> Lease {
    Lease {
        device: "eth0".to_owned(),
        address: address.parse().unwrap(),
        gateway: "192.0.2.1".parse().ok(),
        dns: vec!["192.0.2.53".parse().unwrap()],
        ntp: vec!["192.0.2.123".parse().unwrap()],
    }
}

#[test]
fn with_dhcp_the_address_is_the_one_of_the_lease() {
    let of = settings("[management]\naddress = dhcp\n");
    let before = Network::wanted(&of, None);
    assert_eq!((before.device.as_str(), before.ip()), ("eth0", None));
    assert_eq!(
        lines(&steps(&Network::default(), &before)),
        ["link set eth0 up"]
    );
    let lease = lease("192.0.2.77/24");
    let after = Network::wanted(&of, Some(&lease));
    assert_eq!(after.ip(), Some("192.0.2.77"));
    assert_eq!(after.gateway.as_deref(), Some("192.0.2.1"));
    // One of another device is nobody's.
    let other = Lease {
        device: "eth9".to_owned(),
        ..lease
    };
    assert_eq!(Network::wanted(&of, Some(&other)), before);
}

#[test]
fn servers_are_those_of_the_file_or_else_of_the_lease() {
    let lease = lease("192.0.2.77/24");
    let of = settings("[management]\naddress = dhcp\n").management;
    let text = resolv_conf(&of, Some(&lease));
    assert_eq!(
        text,
        "nameserver 192.0.2.53\noptions timeout:2 attempts:2\n"
    );
    assert_eq!(time_servers(&of, Some(&lease)), ["192.0.2.123"]);
    let text = "[management]\naddress = dhcp\ndns = 10.0.0.53\nntp = ntp.example.net\n";
    let of = settings(text).management;
    assert!(resolv_conf(&of, Some(&lease)).starts_with("nameserver 10.0.0.53\noptions"));
    assert_eq!(time_servers(&of, Some(&lease)), ["ntp.example.net"]);
    assert_eq!(resolv_conf(&of, None).lines().count(), 2);
}

#[test]
fn how_the_network_was_left_is_read_by_the_next_agent() {
    let run = std::env::temp_dir().join(format!("weir-management-{}", std::process::id()));
    fs::create_dir_all(&run).unwrap();
    assert_eq!(noted(&run), Network::default());
    let network = fixed("192.0.2.10/24", "192.0.2.1");
    note(&run, &network).unwrap();
    assert_eq!(noted(&run), network);
    fs::remove_dir_all(&run).unwrap();
}

/// A network namespace with a management device and a data port.
struct Namespace(String);

impl Namespace {
    fn new(name: &str) -> Self {
        let of = Self(format!("weir-agent-{name}-{}", std::process::id()));
        of.ip(&["netns", "add", &of.0]);
        for device in ["eth0", "eth1"] {
            let peer = format!("peer-{device}");
            of.show(&["link", "add", device, "type", "veth", "peer", "name", &peer]);
            of.show(&["link", "set", &peer, "up"]);
        }
        of.show(&["link", "set", "eth1", "up"]);
        of.show(&["addr", "add", "198.51.100.2/24", "dev", "eth1"]);
        of
    }

    fn ip(&self, words: &[&str]) -> String {
        let output = Command::new("ip").args(words).output().unwrap();
        assert!(output.status.success(), "{}: {words:?}: {output:?}", self.0);
        String::from_utf8(output.stdout).unwrap()
    }

    fn show(&self, words: &[&str]) -> String {
        let all = [&["-n", self.0.as_str()], words].concat();
        self.ip(&all)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).output();
    }
}

/// The image has busybox's `ip`, which knows fewer words than the one of Linux.
fn both_programs(namespace: &str) -> Vec<Vec<&str>> {
    let within = ["ip", "netns", "exec", namespace];
    let has_busybox = Command::new("busybox").arg("true").output().is_ok();
    let busybox = has_busybox.then(|| [&within[..], &["busybox", "ip"]].concat());
    let linux = [&within[..], &["ip"]].concat();
    std::iter::once(linux).chain(busybox).collect()
}

#[test]
fn the_kernel_takes_every_command_and_ends_as_it_began() {
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let of = Namespace::new("set");
    let text = |address: &str, gateway: &str| {
        format!(
            "[management]\naddress = {address}\n{gateway}[port wan]\ndevice = eth1\n\
             address = 198.51.100.2/24\ngateway = 198.51.100.1\n[route 10.8.0.0/16]\n\
             via = 198.51.100.254\nport = wan\n"
        )
    };
    let network = |address, gateway| Network::wanted(&settings(&text(address, gateway)), None);
    let none = Network {
        device: "eth0".to_owned(),
        ..Network::default()
    };
    let first = network("192.0.2.10/24", "gateway = 192.0.2.1\n");
    let moved = network("192.0.2.20/24", "gateway = 192.0.2.254\n");
    let alone = network("192.0.2.20/24", "");
    for program in both_programs(&of.0) {
        let begun = of.show(&["rule"]) + &of.show(&["-4", "route", "show", "table", "all"]);
        let change = |from: &Network, to: &Network| {
            assert_eq!(
                run_by(&program, &steps(from, to)),
                Vec::<String>::new(),
                "{program:?}"
            );
        };
        change(&Network::default(), &none);
        change(&none, &first);
        let rules = of.show(&["rule"]);
        let refused =
            |line: &str| line.contains("to 192.0.2.10 iif eth1") && line.contains("prohibit");
        assert!(rules.lines().any(refused), "{rules}");
        let routes = of.show(&["route"]);
        assert!(
            routes.contains("default via 192.0.2.1 dev eth0"),
            "{routes}"
        );
        assert!(
            routes.contains("10.8.0.0/16 via 198.51.100.254 dev eth1"),
            "{routes}"
        );
        change(&first, &moved);
        let addresses = of.show(&["-o", "addr", "show", "dev", "eth0"]);
        assert!(addresses.contains("192.0.2.20/24") && !addresses.contains("192.0.2.10"));
        let answers = of.show(&["route", "show", "table", TABLE]);
        assert!(answers.contains("default via 192.0.2.254"), "{answers}");
        change(&moved, &alone);
        let answers = of.show(&["route", "show", "table", TABLE]);
        assert!(answers.contains("unreachable default"), "{answers}");
        change(&alone, &none);
        let address = of.show(&["-4", "-o", "addr", "show", "dev", "eth0"]);
        assert_eq!(address, "");
        of.show(&["link", "set", "eth0", "down"]);
        let ended = of.show(&["rule"]) + &of.show(&["-4", "route", "show", "table", "all"]);
        assert_eq!(ended, begun, "{program:?}");
    }
    // The kernel looks at our rules before it takes what is its own.
    let program = ["ip", "netns", "exec", of.0.as_str(), "ip"];
    assert_eq!(run_by(&program, &rules_first()), Vec::<String>::new());
    let rules = of.show(&["rule"]);
    assert!(rules.starts_with("15:\tfrom all lookup local"), "{rules}");
}

#[test]
fn routes_that_the_kernel_lost_are_given_again() {
    let text = BOX.to_owned()
        + "\
[route 10.8.0.0/16]
via = 198.51.100.254
port = wan
";
    let network = Network::wanted(&settings(&text), None);
    let table = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth1\t006433C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
    let expected = [
        "-4 route replace 10.8.0.0/16 via 198.51.100.254 dev eth1",
        "-4 route replace default via 198.51.100.1 dev eth1 metric 200",
    ];
    assert_eq!(lines(&network.lost_routes(table)), expected);
    assert_eq!(network.lost_routes("").len(), 3);
    let rest = "eth1\t0000080A\tFE6433C6\t3\neth1\t00000000\t016433C6\t3\n";
    assert_eq!(
        network.lost_routes(&format!("{table}{rest}")),
        Vec::<Step>::new()
    );
}

#[test]
fn what_the_kernel_refuses_is_given_again_and_told_once_when_it_stays_refused() {
    let s = Duration::from_secs;
    let step = |words: &str| words.split(' ').map(str::to_owned).collect::<Step>();
    let one = || vec![(step("route replace x"), "unreachable".to_owned())];
    let gone = vec![(step("-4 route del y"), "no such route".to_owned())];
    assert_eq!(Refused::new(gone, s(0)), Refused::default());
    let mut refused = Refused::new(one(), s(100));
    assert!(!refused.is_due(s(101)) && refused.is_due(s(102)));
    assert_eq!(refused.steps(), [step("route replace x")]);
    assert_eq!(refused.again(one(), s(102)), None);
    assert_eq!(refused.again(one(), s(159)), None);
    assert_eq!(refused.again(one(), s(160)).as_deref(), Some("unreachable"));
    assert_eq!(refused.again(one(), s(170)), None);
    // It was taken, and is refused again much later: that is another matter.
    assert_eq!(refused.again(Vec::new(), s(172)), None);
    assert!(!refused.is_due(s(181)) && refused.is_due(s(182)));
    assert_eq!(refused.again(one(), s(500)), None);
    assert_eq!(refused.again(one(), s(560)).as_deref(), Some("unreachable"));
}
