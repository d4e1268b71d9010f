//! The rows of `show syslog`.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::Table;

/// One receiver of log messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyslogRow {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub server: String,
    /// How messages travel: `udp`, `tcp`, `tls` or `unix`.
    pub transport: String,
    /// What they look like: `rfc5424`, `rfc3164` or `cef`.
    pub format: String,
    /// Whether there is a connection; of datagrams: whether nobody has refused them.
    pub connected: bool,
    /// Messages that wait.
    pub queued: u64,
    /// Messages that were sent.
    pub sent: u64,
    /// Messages that were sent again because the connection broke shortly after them.
    pub repeated: u64,
    /// Messages that made room for younger ones and are lost.
    pub dropped: u64,
    /// Events that the budgets left out; messages say how many.
    pub suppressed: u64,
    /// What went wrong last.
    pub last_error: Option<String>,
}

/// Returns the table of receivers.
#[must_use]
pub fn syslog(rows: &[SyslogRow]) -> String {
    if rows.is_empty() {
        return "no [syslog] section names a receiver\n".to_owned();
    }
    let mut table = Table::new(&[
        "RECEIVER",
        "SERVER",
        "BY",
        "FORMAT",
        "STATE",
        ">QUEUED",
        ">SENT",
        ">REPEATED",
        ">DROPPED",
        ">SUPPRESSED",
    ]);
    for row in rows {
        table.line([
            row.name.clone(),
            row.server.clone(),
            row.transport.clone(),
            row.format.clone(),
            if row.connected {
                "connected"
            } else {
                "waiting"
            }
            .to_owned(),
            row.queued.to_string(),
            row.sent.to_string(),
            row.repeated.to_string(),
            row.dropped.to_string(),
            row.suppressed.to_string(),
        ]);
    }
    let mut text = table.render();
    for row in rows {
        if let Some(error) = &row.last_error {
            let when = if row.connected { "was" } else { "is" };
            // A string takes all that is written to it.
            let _ = writeln!(text, "{}: the last error {when}: {error}", row.name);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_has_a_line_and_its_last_error_another() {
        let row = SyslogRow {
            name: "siem".to_owned(),
            server: "siem.example.net:6514".to_owned(),
            transport: "tls".to_owned(),
            format: "rfc5424".to_owned(),
            queued: 4096,
            sent: 815,
            dropped: 12,
            last_error: Some("no answer".to_owned()),
            ..SyslogRow::default()
        };
        let expected = "\
RECEIVER  SERVER                 BY   FORMAT   STATE    QUEUED  SENT  REPEATED  DROPPED  SUPPRESSED
siem      siem.example.net:6514  tls  rfc5424  waiting    4096   815         0       12           0
siem: the last error is: no answer
";
        assert_eq!(syslog(&[row]), expected);
        assert_eq!(syslog(&[]), "no [syslog] section names a receiver\n");
    }
}
