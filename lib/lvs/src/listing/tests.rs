use super::*;
use crate::Document;
use crate::service::services;

const CONFIGURATION: &str = "\
[port lan]
device = eth0
address = 10.0.0.2/16
[lip-pool blue]
port = lan
address = 10.0.8.1-10.0.8.2
[service web]
listen = 203.0.113.10:80/tcp
lip-pool = blue
scheduler = rr
synproxy = adaptive
idle = 90s
real = 10.0.1.11:80  weight=100
real = 10.0.1.12:80  weight=0
[service dns]
listen = 203.0.113.9:53/udp
lip-pool = blue
scheduler = wlc
real = 10.0.2.11:53
";

fn configuration() -> Document {
    let loaded = weir_conf::parse_str("x", CONFIGURATION, None).unwrap();
    Document::new(&loaded.effective)
}

fn rows() -> Vec<ServiceRow> {
    let real = |address: &str, sessions, packets_in| ServiceRealRow {
        address: address.to_owned(),
        weight: if address.contains(".12:") { 0 } else { 100 },
        sessions,
        inactive: 3,
        opened: 123_456_789,
        packets_in,
        packets_out: 99_999_999,
        bytes_in: 1_234_567_890,
        bytes_out: 123_456_789_012_345,
        ..ServiceRealRow::default()
    };
    vec![ServiceRow {
        name: "web".to_owned(),
        opened: 200_000_000_000,
        packets_in: 7,
        reals: vec![real("10.0.1.11:80", 12, 1), real("10.0.1.12:80", 0, 2)],
        ..ServiceRow::default()
    }]
}

fn listed(what: Columns, exact: bool) -> Vec<String> {
    let services = services(&configuration());
    let rows = rows();
    let facts = Facts {
        services: &services,
        rows: &rows,
        earlier: &rows,
        capacity: 1_048_576,
    };
    let listing = Listing {
        what,
        exact,
        ..Listing::default()
    };
    list(&facts, &listing).lines().map(str::to_owned).collect()
}

/// The widths of the columns are those of the original, blanks at the end included.
#[test]
fn services_are_listed_column_by_column() {
    let lines = listed(Columns::Services, false);
    assert_eq!(
        lines,
        [
            "IP Virtual Server version 1.2.1 (size=1048576)",
            "Prot LocalAddress:Port Scheduler Established(Sec.) Flags",
            "  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn",
            "TCP  203.0.113.10:80   rr        90                synproxy",
            "  -> 10.0.1.11:80                 FullNat 100    12         3         ",
            "  -> 10.0.1.12:80                 FullNat 0      0          3         ",
            "UDP  203.0.113.9:53    wlc       30               ",
            "  -> 10.0.2.11:53                 FullNat 1      0          0         ",
        ]
    );
}

#[test]
fn counters_are_nine_columns_wide_and_shortened_unless_exact() {
    let lines = listed(Columns::Stats, false);
    assert_eq!(
        lines[1..5],
        [
            "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes",
            "  -> RemoteAddress:Port",
            "TCP  203.0.113.10:80                  200G        7        0        0        0",
            "  -> 10.0.1.11:80                  123456K        1 99999999    1234M     123T",
        ]
    );
    let exact = listed(Columns::Stats, true);
    assert_eq!(
        exact[4],
        "  -> 10.0.1.11:80                 123456789        1 99999999 1234567890 123456789012345"
    );
}

#[test]
fn rates_are_what_one_second_brought() {
    let services = services(&configuration());
    let (earlier, mut now) = (rows(), rows());
    now[0].opened += 5;
    now[0].reals[0].bytes_out += 2_000_000_000;
    let facts = Facts {
        services: &services,
        rows: &now,
        earlier: &earlier,
        capacity: 0,
    };
    let listing = Listing {
        what: Columns::Rate,
        ..Listing::default()
    };
    let text = list(&facts, &listing);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[1..5],
        [
            "Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS",
            "  -> RemoteAddress:Port",
            "TCP  203.0.113.10:80                     5        0        0        0        0",
            "  -> 10.0.1.11:80                        0        0        0        0    2000M",
        ]
    );
}

#[test]
fn thresholds_and_persistence_have_their_columns() {
    let lines = listed(Columns::Thresholds, false);
    assert_eq!(
        lines[1..5],
        [
            "Prot LocalAddress:Port            Uthreshold Lthreshold ActiveConn InActConn ",
            "  -> RemoteAddress:Port",
            "TCP  203.0.113.10:80             ",
            "  -> 10.0.1.11:80                 0          0          12         3         ",
        ]
    );
    let lines = listed(Columns::Persistent, false);
    assert_eq!(
        lines[1..5],
        [
            "Prot LocalAddress:Port            Weight    PersistConn ActiveConn InActConn ",
            "  -> RemoteAddress:Port",
            "TCP  203.0.113.10:80             ",
            "  -> 10.0.1.11:80                 100       -           12         3         ",
        ]
    );
}

#[test]
fn local_addresses_are_listed_with_their_sessions() {
    let services = services(&configuration());
    let mut used = BTreeMap::new();
    used.insert((services[0].at, "10.0.8.2".parse().unwrap()), 41);
    assert_eq!(
        locals(&services, Some(services[0].at), &used)
            .lines()
            .collect::<Vec<_>>(),
        [
            "VIP:VPORT            TOTAL    SNAT_IP              CONFLICTS  CONNS     ",
            "203.0.113.10:80      2        ",
            "                              10.0.8.1             0          0         ",
            "                              10.0.8.2             0          41        ",
        ]
    );
    let all = locals(&services, None, &used);
    assert_eq!(all.matches("VIP:VPORT").count(), 1);
    assert_eq!(all.lines().count(), 7);
}

#[test]
fn sessions_are_listed_with_what_is_left_of_their_timeout() {
    let row = SessionRow {
        client: "192.0.2.1:40000".to_owned(),
        listen: "203.0.113.10:80".to_owned(),
        real: "10.0.1.11:80".to_owned(),
        protocol: "tcp".to_owned(),
        state: "established".to_owned(),
        idle_s: 25,
        service: "web".to_owned(),
        ..SessionRow::default()
    };
    assert_eq!(
        connection(&configuration(), &row),
        "TCP 01:05  ESTABLISHED 192.0.2.1:40000    203.0.113.10:80    10.0.1.11:80\n"
    );
    let row = SessionRow {
        state: "time-wait".to_owned(),
        idle_s: 25,
        ..row
    };
    assert!(connection(&configuration(), &row).starts_with("TCP 00:00  TIME_WAIT   "));
}

#[test]
fn timeouts_are_told_where_services_agree_and_where_they_do_not() {
    let mut services = services(&configuration());
    assert_eq!(
        timeouts(&services),
        ("Timeout (tcp tcpfin udp): 90 90 30\n".to_owned(), None)
    );
    assert_eq!(timeouts(&[]).0, "Timeout (tcp tcpfin udp): 900 900 30\n");
    let mut other = services[0].clone();
    other.idle = 600;
    services.push(other);
    let (text, differing) = timeouts(&services);
    assert_eq!(text, "Timeout (tcp tcpfin udp): 600 90 30\n");
    assert!(differing.is_some());
}

#[test]
fn flags_tell_persistence_with_its_mask() {
    let mut service = services(&configuration()).remove(0);
    service.persist = Some(crate::Persist {
        seconds: 360,
        prefix: 24,
    });
    assert_eq!(
        flags(&service),
        " persistent 360 mask 255.255.255.0 synproxy"
    );
    service.persist = Some(crate::Persist {
        seconds: 360,
        prefix: 32,
    });
    assert_eq!(flags(&service), " persistent 360 synproxy");
}

#[test]
fn large_numbers_change_their_unit_where_the_original_does() {
    for (number, text) in [
        (99_999_999, " 99999999"),
        (100_000_000, "  100000K"),
        (999_999_999, "  999999K"),
        (1_000_000_000, "    1000M"),
        (99_999_999_999, "   99999M"),
        (100_000_000_000, "     100G"),
        (100_000_000_000_000, "     100T"),
    ] {
        assert_eq!(large_one(number, false), text);
    }
}
