//! `show status`: the appliance in one row, for whoever asks every second.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::table::{count, seconds};

/// How the appliance is. Rates are those of the last second: those of frames and bits are the sums of
/// what the ports show, those of sessions and refusals of what the services show, that of SYNs of what
/// the floods show.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StatusRow {
    /// The name of the appliance.
    pub node: String,
    /// The version of the daemon.
    pub version: String,
    /// The time there, as RFC 3339 in UTC.
    pub now: String,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// The number of the configuration that runs.
    pub generation: u64,
    /// Seconds after which the configuration before this one comes back, where nobody confirms.
    pub confirm_within_s: Option<u64>,
    /// Whether no new sessions are opened by command.
    pub maintenance: bool,
    /// Sessions that exist now.
    pub sessions: u64,
    /// Those of them that are over and only remembered; no stop waits for them.
    pub sessions_over: u64,
    /// Sessions that the tables of all workers hold at most.
    pub capacity: u64,
    /// Sessions opened per second.
    pub sessions_per_s: Option<f64>,
    /// SYNs from clients per second.
    pub syn_per_s: Option<f64>,
    /// New sessions refused per second.
    pub refused_per_s: Option<f64>,
    /// Frames dropped per second, for any reason.
    pub dropped_per_s: Option<f64>,
    /// Frames received per second.
    pub packets_in_per_s: Option<f64>,
    /// Frames transmitted per second.
    pub packets_out_per_s: Option<f64>,
    /// Bits of frames received per second.
    pub bits_in_per_s: Option<f64>,
    /// Bits of frames transmitted per second.
    pub bits_out_per_s: Option<f64>,
    /// Whether every frame of every worker is accounted for.
    pub balanced: bool,
    /// Share of the last second that the busiest worker worked, in percent.
    pub busy_percent: u32,
    /// Services.
    pub services: u64,
    /// Services whose real servers take their new sessions.
    pub services_up: u64,
    /// Real servers of all services, sorry servers not counted.
    pub reals: u64,
    /// Real servers that do not answer their health check.
    pub reals_down: u64,
    /// Real servers that get no new sessions because somebody wants it so.
    pub reals_draining: u64,
    /// Services whose SYNs are answered with cookies now.
    pub floods: u64,
    /// How many alarms there are.
    pub alarms: u64,
    /// The first of them, the worst first.
    pub alarm_list: Vec<AlarmRow>,
    /// Who is connected to the control sockets.
    pub clients: Vec<ClientRow>,
    /// The number of the second that the rates are of: rates of the same second add up.
    pub second: u64,
}

/// Something that somebody should look at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlarmRow {
    /// `error` or `warning`.
    pub severity: String,
    /// What it is about: the name of a service, a pool or a port; empty for the appliance.
    pub object: String,
    /// The sentence.
    pub text: String,
}

/// Somebody who is connected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ClientRow {
    /// The name that events carry.
    pub name: String,
    /// Where the client came from.
    pub from: String,
    /// What it may do: `viewer` or `operator`.
    pub role: String,
    /// How many connections of it there are.
    pub connections: u64,
    /// Whether it is the one that asks.
    pub you: bool,
}

/// Returns the status in a few lines.
#[must_use]
pub fn status(row: &StatusRow) -> String {
    let rate = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), whole);
    let mut text = format!(
        "{} (weir {}) runs for {}, configuration {}",
        row.node,
        row.version,
        seconds(row.uptime_s),
        row.generation
    );
    let _ = match row.confirm_within_s {
        Some(left) => writeln!(
            text,
            ", which goes back in {} unless it is confirmed",
            seconds(left)
        ),
        None => writeln!(text),
    };
    if row.maintenance {
        text += "IN MAINTENANCE: no new sessions; `weir maintenance off` ends it\n";
    }
    let _ = writeln!(
        text,
        "sessions: {} of {}, {} new/s, {} refused/s, {} SYN/s",
        count(row.sessions),
        count(row.capacity),
        rate(row.sessions_per_s),
        rate(row.refused_per_s),
        rate(row.syn_per_s)
    );
    let _ = writeln!(
        text,
        "frames: in {}/s {}bit/s, out {}/s {}bit/s, dropped {}/s, ledger {}",
        rate(row.packets_in_per_s),
        rate(row.bits_in_per_s),
        rate(row.packets_out_per_s),
        rate(row.bits_out_per_s),
        rate(row.dropped_per_s),
        if row.balanced {
            "balanced"
        } else {
            "NOT BALANCED"
        }
    );
    let _ = writeln!(
        text,
        "services: {} of {} up, {} under flood; real servers: {}, {} down, {} draining; the busiest \
         worker is {}% busy",
        row.services_up,
        row.services,
        row.floods,
        row.reals,
        row.reals_down,
        row.reals_draining,
        row.busy_percent
    );
    if row.alarms == 0 {
        text += "no alarms\n";
    }
    for alarm in &row.alarm_list {
        let _ = writeln!(text, "{}: {}", alarm.severity, alarm.text);
    }
    let listed = row.alarm_list.len() as u64;
    if row.alarms > listed {
        let _ = writeln!(text, "and {} alarms more", row.alarms - listed);
    }
    for client in &row.clients {
        let _ = writeln!(
            text,
            "{} ({}), {}{}",
            client.name,
            client.from,
            client.role,
            if client.you { ": you" } else { "" }
        );
    }
    text
}

#[expect(
    clippy::cast_sign_loss,
    reason = "rates are not negative, and the cast makes 0 of one that were"
)]
fn whole(value: f64) -> String {
    count(value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_tells_what_is_wrong_and_who_is_there() {
        let row = StatusRow {
            node: "lb1".to_owned(),
            version: "0.1.0".to_owned(),
            uptime_s: 3_725,
            generation: 7,
            confirm_within_s: Some(90),
            sessions: 12,
            capacity: 2_000_000,
            sessions_per_s: Some(3.0),
            balanced: true,
            services: 2,
            services_up: 1,
            reals: 5,
            reals_down: 2,
            busy_percent: 37,
            alarms: 2,
            alarm_list: vec![AlarmRow {
                severity: "error".to_owned(),
                object: "web".to_owned(),
                text: "service web is all-down".to_owned(),
            }],
            clients: vec![ClientRow {
                name: "alice".to_owned(),
                from: "ssh 192.0.2.1".to_owned(),
                role: "operator".to_owned(),
                connections: 1,
                you: true,
            }],
            ..StatusRow::default()
        };
        let expected = "\
lb1 (weir 0.1.0) runs for 1h02m, configuration 7, which goes back in 1m30s unless it is confirmed
sessions: 12 of 2.0M, 3 new/s, - refused/s, - SYN/s
frames: in -/s -bit/s, out -/s -bit/s, dropped -/s, ledger balanced
services: 1 of 2 up, 0 under flood; real servers: 5, 2 down, 0 draining; the busiest worker is 37% busy
error: service web is all-down
and 1 alarms more
alice (ssh 192.0.2.1), operator: you
";
        assert_eq!(status(&row), expected);
        let text = serde_json::to_string(&row).unwrap();
        assert_eq!(serde_json::from_str::<StatusRow>(&text).unwrap(), row);
    }
}
