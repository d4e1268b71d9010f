//! What log messages look like: RFC 5424, RFC 3164 and CEF.
//!
//! The crate `syslog` writes structured data and knows the facilities. Its whole-message formatter
//! stamps a message with the time at which it is written, though it may have waited for a receiver,
//! and takes numbers only as MSGID; so the header is written here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::SystemTime;

use syslog::Formatter5424;
use weir_model::{Severity, SyslogFormat};

use crate::event::{EventRecord, Numbered};

/// The structured data of ours. 32473 is the enterprise number for documentation (RFC 5612): Weir
/// has none of its own.
const SD_ID: &str = "weir@32473";
/// Sequence ids of RFC 5424 section 7.3.1 end here and begin again at 1.
const LAST_SEQUENCE: u64 = 2_147_483_647;
/// The longest message that a receiver of RFC 3164 section 4.1 must take.
const LONGEST_3164: usize = 1024;

/// Writes messages for one receiver.
#[derive(Clone, Debug)]
pub(crate) struct Formatter {
    format: SyslogFormat,
    facility: u8,
    structured: Formatter5424,
}

impl Formatter {
    /// Makes the formatter of a receiver; `node` is the appliance's name.
    pub(crate) fn new(format: SyslogFormat, facility: weir_model::Facility, node: &str) -> Self {
        let facility = facility
            .name()
            .parse::<syslog::Facility>()
            .unwrap_or(syslog::Facility::LOG_DAEMON);
        Self {
            format,
            facility: facility as u8,
            structured: Formatter5424 {
                facility,
                hostname: Some(header_word(node, 255)),
                process: "weir".to_owned(),
                pid: std::process::id(),
            },
        }
    }

    /// Writes an event as message number `sequence` to this receiver.
    pub(crate) fn format(&self, sequence: u64, event: &Numbered) -> String {
        match self.format {
            SyslogFormat::Rfc5424 => self.rfc5424(sequence, event),
            SyslogFormat::Rfc3164 => self.rfc3164(sequence, event),
            SyslogFormat::Cef => self.cef(sequence, event),
        }
    }

    fn rfc5424(&self, sequence: u64, event: &Numbered) -> String {
        let record = event.record.as_ref();
        let mut ours: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in facts(event) {
            ours.insert(name.into_owned(), plain(&value));
        }
        let meta = ("sequenceId".to_owned(), wrapped(sequence).to_string());
        let data = BTreeMap::from([
            ("meta".to_owned(), BTreeMap::from([meta])),
            (SD_ID.to_owned(), ours),
        ]);
        let text = plain(&record.text);
        // RFC 5424 section 6.4: what is not ASCII says so.
        let mark = if text.is_ascii() { "" } else { "\u{feff}" };
        format!(
            "<{}>1 {} {} {} {} {} {} {mark}{text}",
            self.priority(record.severity),
            humantime::format_rfc3339_millis(event.at),
            self.host(),
            self.structured.process,
            self.structured.pid,
            record.code,
            self.structured.format_5424_structured_data(data),
        )
    }

    fn rfc3164(&self, sequence: u64, event: &Numbered) -> String {
        let record = event.record.as_ref();
        let mut line = format!(
            "<{}>{} {} {}[{}]: {}: {}",
            self.priority(record.severity),
            time_3164(event.at),
            self.host(),
            self.structured.process,
            self.structured.pid,
            record.code,
            plain(&record.text),
        );
        let _ = write!(line, " seq={}", wrapped(sequence));
        for (name, value) in facts(event) {
            let value = plain(&value);
            let _ = if value.contains([' ', '"']) {
                write!(line, " {name}=\"{}\"", value.replace('"', "'"))
            } else {
                write!(line, " {name}={value}")
            };
        }
        line.truncate(line.floor_char_boundary(LONGEST_3164));
        line
    }

    fn cef(&self, sequence: u64, event: &Numbered) -> String {
        let record = event.record.as_ref();
        let severity = match record.severity {
            Severity::Error => 8,
            Severity::Warning => 6,
            Severity::Notice => 4,
            Severity::Info => 2,
        };
        let head = |text: &str| plain(text).replace('\\', "\\\\").replace('|', "\\|");
        let mut line = format!(
            "<{}>{} {} CEF:0|Weir|Weir|{}|{}|{}|{severity}|",
            self.priority(record.severity),
            time_3164(event.at),
            self.host(),
            env!("CARGO_PKG_VERSION"),
            head(record.code),
            head(&record.text),
        );
        let since_epoch = event.at.duration_since(SystemTime::UNIX_EPOCH);
        let ms = since_epoch.unwrap_or_default().as_millis();
        let _ = write!(
            line,
            "rt={ms} dvchost={} externalId={}",
            self.host(),
            wrapped(sequence)
        );
        for (name, value) in facts(event) {
            let value = plain(&value).replace('\\', "\\\\").replace('=', "\\=");
            let _ = match (cef_endpoint(&name), value.rsplit_once(':')) {
                (Some((address, port)), Some((host, number))) => {
                    write!(line, " {address}={host} {port}={number}")
                }
                (_, _) => write!(line, " {}={value}", cef_key(&name)),
            };
        }
        line
    }

    fn priority(&self, severity: Severity) -> u8 {
        self.facility | severity.number()
    }

    fn host(&self) -> &str {
        self.structured.hostname.as_deref().unwrap_or("-")
    }
}

/// Returns what every format says beside the sentence.
fn facts(event: &Numbered) -> impl Iterator<Item = (Cow<'static, str>, String)> {
    let EventRecord { class, fields, .. } = event.record.as_ref();
    let number = (event.sequence > 0).then(|| ("event".into(), event.sequence.to_string()));
    let suppressed =
        (event.suppressed > 0).then(|| ("suppressed".into(), event.suppressed.to_string()));
    [("class".into(), class.name().to_owned())]
        .into_iter()
        .chain(number)
        .chain(suppressed)
        .chain(fields.iter().cloned())
}

fn wrapped(sequence: u64) -> u64 {
    sequence.saturating_sub(1) % LAST_SEQUENCE + 1
}

/// The dictionary of CEF has two keys for an address and its port.
fn cef_endpoint(name: &str) -> Option<(&'static str, &'static str)> {
    match name {
        "client" => Some(("src", "spt")),
        "listen" => Some(("dst", "dpt")),
        "lip" => Some(("sourceTranslatedAddress", "sourceTranslatedPort")),
        "real" => Some(("destinationTranslatedAddress", "destinationTranslatedPort")),
        _ => None,
    }
}

/// Keys of CEF are words of letters and digits.
fn cef_key(name: &str) -> String {
    match name {
        "class" => return "cat".to_owned(),
        "suppressed" => return "cnt".to_owned(),
        "protocol" => return "proto".to_owned(),
        "by" => return "suser".to_owned(),
        _ => {}
    }
    let mut words = name.split(['_', '-']);
    let mut key = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        key.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        key.push_str(letters.as_str());
    }
    key
}

/// A line is a line: control characters, which could end it, become blanks.
fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

/// Returns a word as headers have them (RFC 5424 section 6: printable ASCII).
fn header_word(text: &str, most: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).collect();
    match word.get(..most.min(word.len())) {
        None | Some("") => "-".to_owned(),
        Some(word) => word.to_owned(),
    }
}

/// Writes the time as RFC 3164 section 4.1.2 does, in UTC: `Jan  2 03:04:05`.
fn time_3164(at: SystemTime) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // 2026-01-02T03:04:05Z
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let part = |range: std::ops::Range<usize>| text.get(range).unwrap_or_default();
    let month = part(5..7).parse::<usize>().unwrap_or(1).saturating_sub(1);
    let month = MONTHS.get(month).copied().unwrap_or("Jan");
    let day = part(8..10).trim_start_matches('0');
    format!("{month} {day:>2} {}", part(11..19))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use syslog_loose::{ProcId, Protocol, Variant, parse_message};
    use weir_model::{EventClass, Facility};

    use super::*;

    fn event(record: EventRecord) -> Numbered {
        Numbered {
            sequence: 4711,
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_767_323_045_678),
            record: Arc::new(record),
            suppressed: 3,
        }
    }

    fn real_down() -> EventRecord {
        let text = "real server 10.0.1.11:443 of web-tls is down: connection refused";
        EventRecord::new(EventClass::Health, Severity::Warning, "real-down", text)
            .field("service", "web-tls")
            .field("real", "10.0.1.11:443")
    }

    fn write(format: SyslogFormat, record: EventRecord) -> String {
        let formatter = Formatter::new(format, Facility::Local4, "lb1.dc2");
        let line = formatter.format(12, &event(record));
        let pid = std::process::id().to_string();
        line.replacen(&format!(" weir {pid} "), " weir 815 ", 1)
            .replacen(&format!("weir[{pid}]"), "weir[815]", 1)
    }

    /// The manual shows these very lines.
    #[test]
    fn each_format_has_the_line_of_the_manual() {
        let manual = include_str!("../../../docs/manual.md");
        for format in [
            SyslogFormat::Rfc5424,
            SyslogFormat::Rfc3164,
            SyslogFormat::Cef,
        ] {
            let line = write(format, real_down());
            assert!(manual.contains(&format!("\n{line}\n")), "{line}");
        }
    }

    #[test]
    fn an_independent_parser_reads_rfc_5424_back_as_it_was_meant() {
        let ugly = "tab\tline\nend \"quoted\" [bracket] back\\slash \u{fc}";
        let record = EventRecord::new(EventClass::Operator, Severity::Error, "apply-refused", ugly)
            .field("by", "a\"b]c\\d\r\n")
            .field("from", "");
        let line = write(SyslogFormat::Rfc5424, record);
        assert!(!line.contains(['\n', '\r', '\t']), "{line:?}");
        let parsed = parse_message(&line, Variant::RFC5424);
        assert_eq!(parsed.protocol, Protocol::RFC5424(1));
        assert_eq!(parsed.facility.map(|it| it as i32), Some(20));
        assert_eq!(parsed.severity.map(|it| it as i32), Some(3));
        let at = parsed.timestamp.map(|at| at.to_rfc3339());
        assert_eq!(at.as_deref(), Some("2026-01-02T03:04:05.678+00:00"));
        assert_eq!(
            (parsed.hostname, parsed.appname),
            (Some("lb1.dc2"), Some("weir"))
        );
        assert_eq!(parsed.procid, Some(ProcId::PID(815)));
        assert_eq!(parsed.msgid, Some("apply-refused"));
        let data: BTreeMap<&str, BTreeMap<&str, String>> = parsed
            .structured_data
            .iter()
            .map(|it| {
                (
                    it.id,
                    it.params().map(|(key, value)| (*key, value)).collect(),
                )
            })
            .collect();
        assert_eq!(data["meta"]["sequenceId"], "12");
        let ours = &data[SD_ID];
        assert_eq!(ours["by"], "a\"b]c\\d  ");
        assert_eq!(ours["from"], "");
        assert_eq!(
            (ours["suppressed"].as_str(), ours["event"].as_str()),
            ("3", "4711")
        );
        assert_eq!(ours["class"], "operator");
        let text = "tab line end \"quoted\" [bracket] back\\slash \u{fc}";
        assert_eq!(parsed.msg.trim_start_matches('\u{feff}'), text);
    }

    #[test]
    fn an_independent_parser_reads_rfc_3164_and_it_is_never_too_long() {
        let line = write(SyslogFormat::Rfc3164, real_down());
        let parsed = parse_message(&line, Variant::RFC3164);
        assert_eq!(parsed.protocol, Protocol::RFC3164);
        assert_eq!(parsed.severity.map(|it| it as i32), Some(4));
        assert_eq!(
            (parsed.hostname, parsed.appname),
            (Some("lb1.dc2"), Some("weir"))
        );
        assert!(
            parsed
                .msg
                .starts_with("real-down: real server 10.0.1.11:443")
        );
        let long = EventRecord::new(
            EventClass::System,
            Severity::Info,
            "a",
            "\u{20ac}".repeat(2_000),
        );
        let line = write(SyslogFormat::Rfc3164, long.field("x", "y".repeat(5_000)));
        assert!(line.len() <= LONGEST_3164 && line.len() > LONGEST_3164 - 4);
    }

    #[test]
    fn what_ends_a_field_of_cef_is_escaped() {
        let record = EventRecord::new(EventClass::Security, Severity::Warning, "a", "x|y\\z\nw")
            .field("peak_syn_per_s", "a=b\\c");
        let line = write(SyslogFormat::Cef, record);
        assert!(line.contains("|a|x\\|y\\\\z w|6|"), "{line}");
        assert!(line.ends_with(" peakSynPerS=a\\=b\\\\c"), "{line}");
    }

    #[test]
    fn sequence_ids_begin_again_at_one() {
        assert_eq!(
            [1, LAST_SEQUENCE, LAST_SEQUENCE + 1].map(wrapped),
            [1, LAST_SEQUENCE, 1]
        );
    }
}
