use super::*;

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
    let text = "\
[management]
address = 192.0.2.10/24
gateway = 192.0.2.1
[port wan]
device = eth1
address = 198.51.100.2/24
gateway = 198.51.100.1
[port lan]
device = eth2
address = 10.0.0.2/16
[route 10.8.0.0/16]
via = 10.0.0.254
port = lan
";
    let wanted = Network::wanted(&settings(text), None);
    let expected = [
        "link set eth0 up",
        "addr add 192.0.2.10/24 dev eth0",
        "-4 route replace 192.0.2.0/24 dev eth0 src 192.0.2.10 table 100",
        "-4 route replace default via 192.0.2.1 dev eth0",
        "-4 route replace default via 192.0.2.1 dev eth0 table 100",
        "-4 route replace 10.8.0.0/16 via 10.0.0.254 dev eth2",
        "-4 route replace default via 198.51.100.1 dev eth1 metric 200",
        "-4 rule add pref 20 from 192.0.2.10 lookup 100",
        "-4 rule add pref 10 iif eth1 to 192.0.2.10 prohibit",
        "-4 rule add pref 10 iif eth2 to 192.0.2.10 prohibit",
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
