use crate::{Given, NoFiles, Severity, WellKnown, import};
use proptest::prelude::*;

fn given() -> Given {
    let port = "lan=eth0,10.0.0.2/16,gateway=10.0.0.1".parse().unwrap();
    Given {
        ports: vec![port],
        lips: Vec::new(),
    }
}

/// Every keyword that the reference has for alibaba's keepalived, and mainline's besides.
#[test]
fn every_keyword_of_a_virtual_server_is_known() {
    let carried = "delay_loop lb_algo lb_kind protocol syn_proxy laddr_group_name alpha omega \
        quorum hysteresis quorum_up quorum_down est_timeout establish_timeout \
        persistence_timeout persistence_granularity sorry_server virtualhost ops \
        vip_bind_dev ha_suspend hashed sh-port mh-port persistence_engine nat_mask retry \
        smtp_alert inhibit_on_failure";
    for keyword in carried.split_whitespace() {
        let text = format!(
            "virtual_server 203.0.113.1 80 {{\n {keyword} 1\n real_server 10.0.0.9 80 {{ }}\n}}\n"
        );
        let made = import("k", &text, &NoFiles, &WellKnown, &given());
        let unknown = |note: &&crate::Note| {
            note.severity == Severity::Unknown && note.text.contains(" in virtual_server")
        };
        assert_eq!(made.notes.iter().find(unknown), None, "{keyword}");
    }
    for checker in [
        "TCP_CHECK",
        "HTTP_GET",
        "SSL_GET",
        "SMTP_CHECK",
        "MISC_CHECK",
        "PING_CHECK",
        "UDP_CHECK",
        "DNS_CHECK",
        "BFD_CHECK",
        "FILE_CHECK",
    ] {
        let text = format!(
            "virtual_server 203.0.113.1 80 {{\n lb_kind FNAT\n real_server 10.0.0.9 80 {{\n {checker} {{ }}\n }}\n}}\n"
        );
        let made = import("k", &text, &NoFiles, &WellKnown, &given());
        let unknown = |note: &&crate::Note| note.severity == Severity::Unknown;
        assert_eq!(made.notes.iter().find(unknown), None, "{checker}");
    }
}

#[test]
fn words_behind_comment_signs_are_none_unless_quoted() {
    let text = "local_address_group g { 10.0.8.1 } # no more\n! nor this {\nvirtual_server 203.0.113.1 80 {\nlb_kind FNAT! fnat\nladdr_group_name g\nquorum_up \"/bin/x # y\"\nreal_server 10.0.0.9 80 { }\n}\n";
    let made = import("k", text, &NoFiles, &WellKnown, &given());
    let notes: Vec<String> = made.notes.iter().map(ToString::to_string).collect();
    assert!(notes[0].contains("`quorum_up /bin/x # y`"), "{notes:?}");
    assert!(made.text.unwrap().contains("lip-pool        = g"));
}

#[test]
fn a_group_whose_real_servers_keep_the_port_becomes_a_service_for_each_port() {
    let text = "virtual_server_group v {\n203.0.113.1 80\n203.0.113.1 443\n203.0.113.2 80\n}\nvirtual_server group v {\nlb_kind FNAT\nreal_server 10.0.0.9 0 { }\n}\n";
    let mut given = given();
    given.lips.push("10.0.8.1-10.0.8.2".to_owned());
    let made = import("k", text, &NoFiles, &WellKnown, &given);
    let file = made.text.unwrap();
    let loaded = weir_conf::parse_str("weir.conf", &file, None).unwrap();
    let services: Vec<(String, usize, u16)> = loaded
        .snapshot
        .services
        .iter()
        .map(|s| (s.name.clone(), s.listen.len(), s.reals[0].port))
        .collect();
    assert_eq!(
        services,
        [("v-80".to_owned(), 2, 80), ("v-443".to_owned(), 1, 443)]
    );
    assert!(
        file.contains("[lip-pool lip]\nport            = lan\naddress         = 10.0.8.1-10.0.8.2"),
        "{file}"
    );
}

#[test]
fn thousands_of_braces_are_told_and_not_followed() {
    let text = "a {\n".repeat(100_000);
    let made = import("k", &text, &NoFiles, &WellKnown, &given());
    assert!(made.text.is_none());
    assert!(made.notes.iter().any(|note| note.text.contains("too deep")));
}

/// How many inputs are tried in a run of the tests.
const CASES: u32 = 100;

const WORDS: &str = "virtual_server|virtual_server_group|local_address_group|group|fwmark|real_server|203.0.113.1|10.0.0.9|10.0.8.1-5|80|0|lb_kind|FNAT|DR|lb_algo|rr|sh|syn_proxy|laddr_group_name|g|quorum|hysteresis|TCP_CHECK|HTTP_GET|MISC_CHECK|url|path|/x|status_code|200|connect_timeout|delay_loop|weight|protocol|UDP|persistence_timeout|persistence_granularity|255.255.0.0|include|vrrp_instance|global_defs|router_id|sorry_server|est_timeout|2001:db8::1|\\{|\\}|\n|#|!|\"|;|=|\\[|\\PC{0,4}";

proptest! {
    // A configuration is read for each step; more cases by hand, when the reader changes.
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    /// Whatever stands in the file: it is read, told about, and what comes of it is a
    /// configuration.
    #[test]
    fn no_text_makes_the_import_panic_or_write_nonsense(
        words in proptest::collection::vec(WORDS, 0..60)
    ) {
        let text = words.join(" ");
        let made = import("fuzz", &text, &NoFiles, &WellKnown, &given());
        if let Some(file) = made.text {
            prop_assert!(made.report.is_none(), "{file}\n{:?}", made.report);
            prop_assert!(weir_conf::parse_str("weir.conf", &file, None).is_ok());
        } else {
            prop_assert!(made.notes.iter().any(|note| note.severity == Severity::Bad));
        }
    }
}
