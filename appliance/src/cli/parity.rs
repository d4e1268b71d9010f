//! What docs/parity.md names exists, and nothing of the original is left out.

use std::collections::BTreeSet;

use clap::CommandFactory;
use weir_model::{Counter, DropReason};

use super::arguments::Arguments;

const TEXT: &str = include_str!("../../../docs/parity.md");

const SETTINGS: &str = "amemthresh am_droprate drop_entry drop_packet secure_tcp debug_level \
    timeout_established timeout_synsent timeout_synrecv timeout_finwait timeout_timewait \
    timeout_close timeout_closewait timeout_lastack timeout_listen timeout_synack cache_bypass \
    expire_nodest_conn expire_quiescent_template sync_threshold nat_icmp_send \
    fullnat_timestamp_remove_entry fullnat_mss_adjust_entry fullnat_conn_reused_entry \
    fullnat_toa_entry fullnat_lport_max fullnat_lport_min fullnat_lport_tries synproxy_init_mss \
    synproxy_sack synproxy_wscale synproxy_timestamp synproxy_synack_ttl synproxy_defer \
    synproxy_conn_reuse synproxy_conn_reuse_close synproxy_conn_reuse_time_wait \
    synproxy_conn_reuse_fin_wait synproxy_conn_reuse_close_wait synproxy_conn_reuse_last_ack \
    synproxy_ack_skb_store_thresh synproxy_ack_storm_thresh synproxy_syn_retry defence_tcp_drop \
    defence_udp_drop defence_frag_drop conn_expire_tcp_rst fast_response_xmit \
    fast_response_xmit_inside csum_offload reserve_core conn_max_num lblc_expiration \
    lblcr_expiration";

const COUNTERS: &str = "fullnat_add_toa_ok fullnat_add_toa_fail_len fullnat_add_toa_head_full \
    fullnat_add_toa_fail_mem fullnat_add_toa_fail_proto fullnat_conn_reused \
    fullnat_conn_reused_close fullnat_conn_reused_timewait fullnat_conn_reused_finwait \
    fullnat_conn_reused_closewait fullnat_conn_reused_lastack fullnat_conn_reused_estab \
    synproxy_rs_error synproxy_null_ack synproxy_bad_ack synproxy_ok_ack synproxy_syn_cnt \
    synproxy_ackstorm synproxy_synsend_qlen synproxy_conn_reused synproxy_conn_reused_close \
    synproxy_conn_reused_timewait synproxy_conn_reused_finwait synproxy_conn_reused_closewait \
    synproxy_conn_reused_lastack defence_ip_frag_drop defence_tcp_drop defence_udp_drop \
    fast_xmit_reject fast_xmit_pass fast_xmit_skb_copy fast_xmit_no_mac fast_xmit_dev_lost \
    fast_xmit_synproxy_save fast_xmit_reject_inside fast_xmit_pass_inside \
    fast_xmit_synproxy_save_inside rst_in_syn_sent rst_out_syn_sent rst_in_established \
    rst_out_established gro_pass lro_reject xmit_unexpected_mtu conn_sched_unreach \
    synproxy_no_dest conn_exceeded";

const OPTIONS: &str = "-A -E -D -C -R -S -a -e -d -L -l -Z --set --start-daemon --stop-daemon -P -Q \
    -G -t -u -f -s -p -M -o --pe -j -V -z -r -b -m -g -i -w -x -y -c --timeout --daemon --stats \
    --rate --thresholds --persistent-conn --sort --nosort -n --exact -6 --mcast-interface --syncid \
    --fullnat --add-laddr --del-laddr --get-laddr --laddr --synproxy --vsestablish-timeout";

const KEYWORDS: &str = "virtual_server virtual_server_group fwmark lb_kind local_address_group \
    laddr_group_name syn_proxy est_timeout alpha omega quorum hysteresis quorum_up quorum_down \
    vip_bind_dev inhibit_on_failure real_server uthreshold lthreshold weight notify_up notify_down \
    include sorry_server delay_loop TCP_CHECK HTTP_GET SSL_GET SMTP_CHECK MISC_CHECK misc_dynamic \
    protocol lb_algo persistence_timeout persistence_granularity ops vrrp_instance";

/// One row of a table.
struct Row {
    chapter: &'static str,
    original: &'static str,
    ours: &'static str,
    remarks: &'static str,
}

fn rows() -> Vec<Row> {
    let mut chapter = "";
    let mut rows = Vec::new();
    for line in TEXT.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            chapter = heading;
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let ["", original, ours, remarks, ""] = cells.as_slice() else {
            assert!(!line.starts_with('|'), "a row has three cells: {line}");
            continue;
        };
        if !matches!(*original, "there" | "---") {
            rows.push(Row {
                chapter,
                original,
                ours,
                remarks,
            });
        }
    }
    rows
}

/// The words in backticks with the noun before each: ``key `service.idle` ``.
fn named(cell: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut parts = cell.split('`');
    while let (Some(before), Some(inside)) = (parts.next(), parts.next()) {
        let noun = before.split_whitespace().next_back().unwrap_or_default();
        found.push((noun.to_owned(), inside.to_owned()));
    }
    found
}

/// Says whether what a noun and a name stand for exists; none for another noun.
fn exists(noun: &str, name: &str) -> Option<bool> {
    Some(match noun {
        "key" => name.contains('.') && weir_conf::help(name).is_ok(),
        "option" => name.split_once(' ').is_some_and(|(key, option)| {
            let head = format!("option   {option}");
            weir_conf::help(key).is_ok_and(|text| text.contains(&head))
        }),
        "value" => name.split_once(" = ").is_some_and(|(key, value)| {
            weir_conf::help(key).is_ok_and(|text| {
                let lines = text.lines().map(str::trim_start);
                let mut words = lines.filter_map(|line| line.split_whitespace().next());
                words.any(|word| word == value)
            })
        }),
        "counter" => Counter::ALL.iter().any(|it| it.label() == name),
        "drop" => DropReason::ALL.iter().any(|it| it.label() == name),
        "command" => command_exists(name),
        _ => return None,
    })
}

/// Says whether this build lacks what a noun and a name stand for.
fn is_later(noun: &str, name: &str) -> bool {
    const LATER: &str = "(not in this build: ";
    let help = |key: &str| weir_conf::help(key).unwrap_or_default();
    match (noun, name.split_once(" = ")) {
        ("key", _) => help(name)
            .lines()
            .next()
            .unwrap_or_default()
            .contains(LATER),
        ("value", Some((key, value))) => {
            // Words are described two blanks in, and what goes on below them further in.
            let text = help(key);
            let begins = |line: &&str| line.split_whitespace().next() == Some(value);
            let mut lines = text.lines().skip_while(|line| !begins(line));
            let first = lines.next().unwrap_or_default().to_owned();
            let rest = lines.take_while(|line| line.starts_with("   "));
            rest.fold(first, |all, line| all + " " + line.trim())
                .contains(LATER)
        }
        _ => false,
    }
}

fn command_exists(line: &str) -> bool {
    let mut words = line.split(' ');
    let command = Arguments::command();
    let (Some("weir"), Some(verb)) = (words.next(), words.next()) else {
        return false;
    };
    command.find_subcommand(verb).is_some_and(|verb| {
        words.all(|word| {
            let values = verb
                .get_positionals()
                .flat_map(clap::Arg::get_possible_values);
            values.into_iter().any(|value| value.get_name() == word)
        })
    })
}

#[test]
fn everything_that_the_tables_name_exists() {
    let mut seen = 0;
    for row in rows() {
        for cell in [row.ours, row.remarks] {
            for (noun, name) in named(cell) {
                if let Some(exists) = exists(&noun, &name) {
                    assert!(exists, "{}: there is no {noun} `{name}`", row.original);
                    seen += 1;
                }
            }
        }
    }
    for (noun, name) in named(TEXT.split("\n| ").next().unwrap_or_default()) {
        assert_ne!(exists(&noun, &name), Some(false), "{name}");
    }
    assert!(seen > 150, "{seen}");
}

#[test]
fn what_this_build_lacks_is_said_to_be_lacking_and_nothing_else_is() {
    let mut lacking = 0;
    for row in rows() {
        let is_later = named(row.ours)
            .iter()
            .any(|(noun, name)| is_later(noun, name));
        let is_said = row.remarks.starts_with("not in this build");
        assert_eq!(is_said, is_later, "{}: {}", row.original, row.remarks);
        lacking += usize::from(is_said);
    }
    assert!(is_later("value", "service.client-address = proxy-v1"));
    assert!(!is_later("value", "service.forward = fullnat"));
    println!("{lacking} rows");
}

#[test]
fn every_row_is_answered_or_refused_with_a_reason() {
    for row in rows() {
        let answered = named(row.ours)
            .iter()
            .any(|(noun, name)| exists(noun, name).is_some());
        let reason = ["refused: ", "not needed: "]
            .iter()
            .find_map(|head| row.ours.strip_prefix(head));
        assert!(
            answered || reason.is_some_and(|reason| reason.len() > 7),
            "{}: {}",
            row.original,
            row.ours
        );
    }
}

#[test]
fn nothing_of_the_original_is_left_out() {
    for (chapter, names) in [
        ("Settings", SETTINGS),
        ("Counters", COUNTERS),
        ("ipvsadm", OPTIONS),
        ("keepalived", KEYWORDS),
    ] {
        let mut known = BTreeSet::new();
        for row in rows().iter().filter(|row| row.chapter == chapter) {
            for (_, name) in named(row.original) {
                for name in name.split(", ") {
                    assert!(known.insert(name.to_owned()), "{name} is there twice");
                }
            }
        }
        for name in names.split_whitespace() {
            assert!(known.contains(name), "{chapter}: {name} is left out");
        }
    }
    let refused = TEXT.split("## What Weir does not do").nth(1).unwrap();
    for what in [
        "firewall marks",
        "FTP",
        "AH and ESP",
        "SCTP",
        "LOCALNODE",
        "UOA",
        "SNMP",
    ] {
        assert!(refused.contains(what), "{what}");
    }
}
