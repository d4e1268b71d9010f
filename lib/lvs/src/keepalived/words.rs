//! Keywords that have no counterpart of the same kind, and what is there instead.

use std::collections::BTreeMap;

use super::blocks::Statement;
use crate::note::{Notes, quote};

pub(super) const MARKS: &str =
    "packets have no marks in Weir; write the addresses and ports that were marked";
pub(super) const EVERY_PORT: &str =
    "port 0 means every port, which Weir has no service for; name the ports, a service each";
const VRRP: &str = "VRRP is not supported yet; until it is, move VIPs with BGP or run one node";
const STATIC: &str = "not supported yet by the import; addresses are `address` of a [port], routes are [route] sections";
const MAIL: &str =
    "Weir sends no mail; events go to [syslog], to `weir show events` and to [metrics]";
const SNMP: &str = "Weir has no SNMP agent; [metrics] serves OpenMetrics";
const SCRIPTS: &str = "programs that Weir runs get no shell and no rights of its own";
const PROCESS: &str = "a setting of keepalived's own processes; Weir has one daemon";
const SOURCE: &str = "checks leave from the machine's own address, as its routes say";
const LOGS: &str = "events are logged in any case";
const BFD: &str = "Weir does not speak BFD";
const LOOPBACK: &str =
    "real servers need no VIP behind FullNAT, and Weir answers for its VIPs itself";
const SYNC: &str = "sessions are not copied by LVS's sync daemon; [ha] is for that";
const HASH: &str = "schedulers have no flags; `sh` counts addresses only, `maglev` ports as well";

/// Keywords with what is to say about each.
pub(super) type Table = &'static [(&'static str, &'static str)];

pub(super) const TOP: Table = &[
    ("vrrp_instance", VRRP),
    ("vrrp_sync_group", VRRP),
    ("vrrp_script", VRRP),
    ("vrrp_track_file", VRRP),
    ("vrrp_track_process", VRRP),
    ("track_file", VRRP),
    ("garp_group", VRRP),
    ("static_ipaddress", STATIC),
    ("static_routes", STATIC),
    (
        "static_rules",
        "Weir has no policy routing; its routes are [route] sections",
    ),
    ("static_track_group", STATIC),
    ("bfd_instance", BFD),
    ("linkbeat_interfaces", PROCESS),
    ("linkbeat_use_polling", PROCESS),
    (
        "net_namespace",
        "start `weir run` inside the namespace, e.g. by `ip netns exec`",
    ),
    ("instance", PROCESS),
    ("use_pid_dir", PROCESS),
    ("child_wait_time", PROCESS),
    ("interface_up_down_delays", PROCESS),
    (
        "SSL",
        "checks over TLS need no key of their own; a certificate for them is not supported",
    ),
];

pub(super) const GLOBAL: Table = &[
    ("notification_email", MAIL),
    ("notification_email_from", MAIL),
    ("smtp_server", MAIL),
    ("smtp_helo_name", MAIL),
    ("smtp_connect_timeout", MAIL),
    ("smtp_alert", MAIL),
    ("smtp_alert_vrrp", MAIL),
    ("smtp_alert_checker", MAIL),
    ("email_faults", MAIL),
    ("no_email_faults", MAIL),
    ("default_interface", STATIC),
    ("lvs_sync_daemon", SYNC),
    ("lvs_flush", "Weir holds nothing of before its start"),
    ("lvs_flush_onstop", "Weir holds nothing after its end"),
    (
        "lvs_timeouts",
        "timeouts belong to services: `idle`, `timeout-fin-wait`",
    ),
    ("lvs_sched", "schedulers belong to services: `scheduler`"),
    (
        "lvs_method",
        "ways to forward belong to services: `forward`",
    ),
    ("checker_log_all_failures", LOGS),
    ("dynamic_interfaces", PROCESS),
    ("router_id", ""),
    ("lvs_id", ""),
    ("plugin_dir", PROCESS),
    ("script_user", SCRIPTS),
    ("enable_script_security", SCRIPTS),
    ("nftables", PROCESS),
    ("process_names", PROCESS),
    ("max_auto_priority", PROCESS),
    ("reload_time_file", PROCESS),
    ("startup_script", SCRIPTS),
    ("shutdown_script", SCRIPTS),
    ("umask", PROCESS),
];

pub(super) const SERVER: Table = &[
    (
        "ha_suspend",
        "services do not wait for VRRP, which is not supported yet",
    ),
    ("lvs_sync_daemon", SYNC),
    ("hashed", HASH),
    ("flag-1", HASH),
    ("flag-2", HASH),
    ("flag-3", HASH),
    ("sh-port", HASH),
    (
        "sh-fallback",
        "when a real server is down its clients always get another one",
    ),
    ("mh-port", HASH),
    (
        "mh-fallback",
        "when a real server is down its clients always get another one",
    ),
    (
        "persistence_engine",
        "persistence is by the client's address; Weir does not read SIP",
    ),
    (
        "ops",
        "every datagram a session of its own would need a port each; `idle` may be as short as 100ms",
    ),
    ("nat_mask", "has no meaning with FullNAT"),
    ("ip_family", "services are of the family of their addresses"),
    (
        "bps",
        "the bandwidth of a service is not limited; [defence] limits what clients send",
    ),
    (
        "limit_proportion",
        "the bandwidth of a service is not limited; [defence] limits what clients send",
    ),
    (
        "sorry_server_inhibit",
        "a sorry server is not taken out; it is used when no real server can",
    ),
    (
        "sorry_server_lvs_method",
        "a sorry server is reached as real servers are",
    ),
    ("smtp_alert", MAIL),
    ("snmp_name", SNMP),
    ("vip_bind_dev", LOOPBACK),
    ("quorum_max", "there is no upper quorum"),
    ("warmup", "first checks are spread by themselves"),
    ("retry_on_reload", PROCESS),
];

pub(super) const REAL: Table = &[
    ("smtp_alert", MAIL),
    ("snmp_name", SNMP),
    (
        "virtualhost",
        "the host name belongs to the check: `host` of [health]",
    ),
    (
        "lvs_method",
        "the way to forward belongs to the service: `forward`",
    ),
    (
        "lb_kind",
        "the way to forward belongs to the service: `forward`",
    ),
    ("log_all_failures", LOGS),
    ("warmup", "first checks are spread by themselves"),
    ("BFD_CHECK", BFD),
    (
        "FILE_CHECK",
        "a weight from a file is not supported; a check of `type = exec` can give one",
    ),
    (
        "DNS_CHECK",
        "DNS answers are not checked; `type = udp` finds a server that refuses, `type = exec` asks what you like",
    ),
];

pub(super) const CHECK: Table = &[
    ("bindto", SOURCE),
    ("bind_if", SOURCE),
    ("bind_ip", SOURCE),
    ("bind_port", SOURCE),
    ("fwmark", SOURCE),
    ("connect_ip", "a real server is checked at its own address"),
    (
        "delay_before_retry",
        "the next check comes after `interval`",
    ),
    ("warmup", "first checks are spread by themselves"),
    ("log_all_failures", LOGS),
    ("helo_name", "mail servers are checked by a connection only"),
    ("user", SCRIPTS),
    ("enable_sni", "`host` is sent in any case"),
    ("http_protocol", "HTTP/1.1 is spoken"),
    (
        "fast_recovery",
        "`rise` says how many successes bring a real server up",
    ),
    ("tls_compliant", "certificates are checked in any case"),
    ("payload", "`send` of [health] says what the datagram holds"),
    (
        "require_reply",
        "`answer` of [health] says what must come back; without it silence is success",
    ),
    (
        "min_reply_length",
        "`answer` of [health] says what must come back; without it silence is success",
    ),
    (
        "max_reply_length",
        "`answer` of [health] says what must come back; without it silence is success",
    ),
];

pub(super) const URL: Table = &[
    (
        "digest",
        "pages are not compared by their MD5; `body` of [health] says what one must contain",
    ),
    (
        "regex",
        "pages are not searched by patterns; `body` of [health] says what one must contain",
    ),
    (
        "regex_no_match",
        "pages are not searched by patterns; `body` of [health] says what one must contain",
    ),
    (
        "regex_options",
        "pages are not searched by patterns; `body` of [health] says what one must contain",
    ),
    (
        "regex_stack",
        "pages are not searched by patterns; `body` of [health] says what one must contain",
    ),
    (
        "regex_min_offset",
        "pages are not searched by patterns; `body` of [health] says what one must contain",
    ),
    (
        "regex_max_offset",
        "pages are not searched by patterns; `body` of [health] says what one must contain",
    ),
    ("tls_compliant", "certificates are checked in any case"),
];

/// Tells what is there instead of a keyword, or that nobody knows it.
pub(super) fn without(
    table: Table,
    context: &str,
    keyword: &str,
    statement: &Statement,
    notes: &mut Notes,
) {
    let shown = quote(keyword);
    let found = table.iter().find(|(word, _)| *word == keyword);
    let vrrp = keyword.starts_with("vrrp_") && !std::ptr::eq(table, URL);
    let reason = match found {
        Some((_, reason)) => Some(*reason),
        None if vrrp => Some(VRRP),
        None if keyword.starts_with("snmp_") || keyword.starts_with("enable_snmp") => Some(SNMP),
        None if keyword.starts_with("checker_") || keyword.starts_with("bfd_") => Some(PROCESS),
        None => None,
    };
    match reason {
        Some(reason) => notes.left_out(&statement.place, format!("`{shown}`: {reason}")),
        None if keyword.starts_with('$')
            || keyword.starts_with('@')
            || keyword.starts_with('~') =>
        {
            let text = format!(
                "`{shown}`: definitions and conditions are not carried out; write the file out"
            );
            notes.bad(&statement.place, text);
        }
        None => notes.unknown(&statement.place, format!("`{shown}` in {context}")),
    }
}

/// How many words stand behind a keyword that is carried over, and whether a block does.
const SHAPES: &[(&str, usize, bool)] = &[
    ("HTTP_GET", 0, true),
    ("MISC_CHECK", 0, true),
    ("PING_CHECK", 0, true),
    ("SMTP_CHECK", 0, true),
    ("SSL_GET", 0, true),
    ("TCP_CHECK", 0, true),
    ("UDP_CHECK", 0, true),
    ("alpha", 0, false),
    ("connect_port", 1, false),
    ("connect_timeout", 1, false),
    ("delay_loop", 1, false),
    ("est_timeout", 1, false),
    ("establish_timeout", 1, false),
    ("established_timeout", 1, false),
    ("global_defs", 0, true),
    ("host", 0, true),
    ("hysteresis", 1, false),
    ("inhibit_on_failure", 0, false),
    ("laddr_group_name", 1, false),
    ("lb_algo", 1, false),
    ("lb_kind", 1, false),
    ("local_address_group", 1, true),
    ("lthreshold", 1, false),
    ("lvs_id", 1, false),
    ("lvs_method", 1, false),
    ("lvs_sched", 1, false),
    ("misc_dynamic", 0, false),
    ("misc_path", 1, false),
    ("misc_timeout", 1, false),
    ("nb_get_retry", 1, false),
    ("omega", 0, false),
    ("path", 1, false),
    ("persistence_granularity", 1, false),
    ("persistence_timeout", 1, false),
    ("protocol", 1, false),
    ("quorum", 1, false),
    ("real_server", 2, true),
    ("retry", 1, false),
    ("router_id", 1, false),
    ("sorry_server", 2, false),
    ("syn_proxy", 0, false),
    ("timeout", 1, false),
    ("url", 0, true),
    ("uthreshold", 1, false),
    ("virtual_server", 2, true),
    ("virtual_server_group", 1, true),
    ("virtualhost", 1, false),
    ("weight", 1, false),
];

/// Keywords that mean the same.
const SAME: &[(&str, &str)] = &[
    ("establish_timeout", "est_timeout"),
    ("established_timeout", "est_timeout"),
    ("lvs_id", "router_id"),
    ("lvs_method", "lb_kind"),
    ("lvs_sched", "lb_algo"),
    ("misc_timeout", "connect_timeout"),
    ("nb_get_retry", "retry"),
    ("timeout", "connect_timeout"),
];

/// Returns the statements of a block without those that a later one replaces, which is told.
pub(super) fn once<'a>(block: &'a [Statement], notes: &mut Notes) -> Vec<&'a Statement> {
    let canonical = |statement: &Statement| {
        let word = statement.keyword();
        let same = SAME.iter().find(|(other, _)| *other == word);
        let word = same.map_or(word, |(_, word)| *word);
        // Blocks have their own rules, and a flag that is said twice is said.
        let shape = SHAPES.iter().find(|(known, ..)| *known == word);
        shape
            .filter(|(_, words, block)| *words > 0 && !block)
            .map(|(word, ..)| *word)
    };
    let mut last: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, statement) in block.iter().enumerate() {
        last.extend(canonical(statement).map(|word| (word, index)));
    }
    let mut all = Vec::new();
    for (index, statement) in block.iter().enumerate() {
        let counts = canonical(statement)
            .and_then(|word| last.get(word))
            .copied();
        match counts
            .filter(|counts| *counts != index)
            .and_then(|at| block.get(at))
        {
            Some(later) => {
                let shown = quote(statement.keyword());
                let text = format!(
                    "`{shown}`: `{}` on line {} says otherwise and counts",
                    later.keyword(),
                    later.place.line
                );
                notes.left_out(&statement.place, text);
            }
            None => all.push(statement),
        }
    }
    all
}

/// Tells words and blocks behind a keyword that it does not have.
pub(super) fn surplus(statement: &Statement, notes: &mut Notes) {
    let keyword = statement.keyword();
    let Some((_, most, may_block)) = SHAPES.iter().find(|(word, ..)| *word == keyword) else {
        return;
    };
    if let Some(word) = statement.word(most + 1) {
        let text = format!(
            "`{}` behind `{keyword}`: a line has one keyword",
            quote(word)
        );
        notes.unknown(&statement.place, text);
    }
    if statement.block.is_some() && !may_block {
        notes.unknown(&statement.place, format!("a block behind `{keyword}`"));
    }
}
