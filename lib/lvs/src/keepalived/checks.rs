//! Checkers of real servers become profiles of checks.

use weir_model::Protocol;

use super::blocks::Statement;
use super::words;
use crate::import::draft::{Draft, DraftSection};
use crate::note::{Notes, Place, quote};

/// How often keepalived checks where nothing is said.
const DELAY_LOOP_MS: u64 = 60_000;
/// How long it waits for an answer where nothing is said.
const CONNECT_TIMEOUT_MS: u64 = 5000;
/// What the schema of checks allows.
const INTERVAL_MS: (u64, u64) = (100, 3_600_000);
const MOST_TIMEOUT_MS: u64 = 60_000;
const MOST_FAILURES: u32 = 100;

/// What a checker does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Check {
    kind: &'static str,
    /// What keepalived calls it.
    was: String,
    interval_ms: u64,
    timeout_ms: u64,
    fall: u32,
    port: Option<u16>,
    get: Option<String>,
    host: Option<String>,
    status: Option<(u16, u16)>,
    program: Option<String>,
    /// Whether the program says the weight, too.
    dynamic: bool,
    /// Whether a real server is down until it has answered.
    alpha: bool,
}

/// What a virtual server says about all of its checks.
#[derive(Clone, Debug, Default)]
pub(super) struct Common {
    pub(super) delay_loop_ms: Option<u64>,
    pub(super) virtualhost: Option<String>,
    pub(super) retry: Option<u32>,
    pub(super) alpha: bool,
}

/// The checks that have a profile already.
#[derive(Default)]
pub(super) struct Profiles(Vec<(Check, String)>);

impl Profiles {
    /// Returns the name of the profile of a check; makes it where there is none.
    pub(super) fn name_of(&mut self, check: &Check, draft: &mut Draft, place: &Place) -> String {
        if let Some((_, name)) = self.0.iter().find(|(known, _)| known == check) {
            return name.clone();
        }
        let name = draft.free_name("health", &format!("check-{}", check.kind));
        draft.sections.push(check.section(&name, place));
        self.0.push((check.clone(), name.clone()));
        name
    }
}

impl Check {
    fn section(&self, name: &str, place: &Place) -> DraftSection {
        let mut section = DraftSection::new("health", name, Some(place));
        section.add_vital("type", self.kind, place, &self.was);
        section.add("interval", duration(self.interval_ms), place, "delay_loop");
        section.add(
            "timeout",
            duration(self.timeout_ms),
            place,
            "connect_timeout",
        );
        section.add("rise", "1", place, "a checker");
        section.add("fall", self.fall.to_string(), place, "retry");
        if self.alpha {
            section.add("alpha", "yes", place, "alpha");
        }
        if let Some(port) = self.port {
            section.add("port", port.to_string(), place, "connect_port");
        }
        if let Some(get) = &self.get {
            section.add("get", get, place, "path");
        }
        if let Some(host) = &self.host {
            section.add("host", host, place, "virtualhost");
        }
        if let Some((first, last)) = self.status {
            section.add("expect", format!("{first}-{last}"), place, "status_code");
        }
        if self.kind == "https" {
            // keepalived looks at no certificate.
            section.add("verify", "no", place, "SSL_GET");
        }
        if let Some(program) = &self.program {
            section.add_vital("program", program, place, "misc_path");
        }
        if self.dynamic {
            section.add("weight-from", "exit", place, "misc_dynamic");
        }
        section
    }
}

/// Says whether a keyword begins a checker that becomes a check.
pub(super) fn is_checker(keyword: &str) -> bool {
    kind_of(keyword).is_some()
}

fn kind_of(keyword: &str) -> Option<&'static str> {
    Some(match keyword {
        "TCP_CHECK" | "SMTP_CHECK" => "tcp",
        "HTTP_GET" => "http",
        "SSL_GET" => "https",
        "MISC_CHECK" => "exec",
        "PING_CHECK" => "ping",
        "UDP_CHECK" => "udp",
        _ => return None,
    })
}

/// Reads a checker; none where it cannot be carried over, which is told.
pub(super) fn check(
    statement: &Statement,
    common: &Common,
    real_port: u16,
    protocol: Protocol,
    notes: &mut Notes,
) -> Option<Check> {
    let keyword = statement.keyword();
    let kind = kind_of(keyword)?;
    let mut reader = Reader {
        check: Check {
            kind,
            was: keyword.to_owned(),
            interval_ms: common.delay_loop_ms.unwrap_or(DELAY_LOOP_MS),
            timeout_ms: CONNECT_TIMEOUT_MS,
            fall: common.retry.unwrap_or(1),
            port: None,
            get: None,
            host: common.virtualhost.clone(),
            status: None,
            program: None,
            dynamic: false,
            alpha: common.alpha,
        },
        timeout_given: None,
        notes,
    };
    if keyword == "SMTP_CHECK" {
        let text =
            "SMTP_CHECK becomes a TCP check: that the server takes connections, not that it greets";
        reader.notes.advice(&statement.place, text);
        reader.check.port = Some(25);
    }
    for inner in words::once(statement.inside(), reader.notes) {
        reader.word(inner, keyword);
    }
    let Reader {
        mut check,
        timeout_given,
        notes,
    } = reader;
    if !matches!(kind, "http" | "https") {
        if check.host != common.virtualhost {
            let text = format!("`virtualhost`: {keyword} names no host");
            notes.left_out(&statement.place, text);
        }
        check.host = None;
    }
    // A check of another port is told apart only where it is another one.
    check.port = check.port.filter(|port| *port != real_port);
    if check.kind == "tcp" && check.port.is_none() && protocol == Protocol::Udp {
        let text = format!("{keyword} of a UDP service connects to the same port of TCP");
        notes.advice(&statement.place, text);
    }
    if kind == "exec" && check.program.is_none() {
        notes.left_out(
            &statement.place,
            "MISC_CHECK without a program of its own (misc_path)",
        );
        return None;
    }
    fit(&mut check, timeout_given, &statement.place, notes);
    Some(check)
}

/// Brings times into the ranges that the schema has.
fn fit(check: &mut Check, given: Option<u64>, place: &Place, notes: &mut Notes) {
    let (least, most) = INTERVAL_MS;
    let interval = check.interval_ms.clamp(least, most);
    if interval != check.interval_ms {
        let (was, now) = (duration(check.interval_ms), duration(interval));
        notes.advice(place, format!("checked every {now} instead of every {was}"));
        check.interval_ms = interval;
    }
    let timeout = check.timeout_ms.clamp(10, MOST_TIMEOUT_MS.min(interval));
    if timeout != check.timeout_ms && given.is_some() {
        let (was, now) = (duration(check.timeout_ms), duration(timeout));
        let text = format!(
            "an answer is waited for {now} instead of {was}: not longer than the interval, nor than a minute"
        );
        notes.advice(place, text);
    }
    check.timeout_ms = timeout;
}

struct Reader<'a> {
    check: Check,
    timeout_given: Option<u64>,
    notes: &'a mut Notes,
}

impl Reader<'_> {
    fn word(&mut self, inner: &Statement, keyword: &str) {
        words::surplus(inner, self.notes);
        let place = &inner.place;
        let value = inner.word(1);
        match (inner.keyword(), value) {
            ("connect_timeout" | "misc_timeout" | "timeout", Some(value)) => {
                if let Some(ms) = milliseconds(value, place, self.notes) {
                    self.check.timeout_ms = ms;
                    self.timeout_given = Some(ms);
                }
            }
            ("delay_loop", Some(value)) => {
                if let Some(ms) = milliseconds(value, place, self.notes) {
                    self.check.interval_ms = ms;
                }
            }
            ("nb_get_retry" | "retry", Some(value)) => {
                if let Some(retry) = number(value, place, self.notes) {
                    self.check.fall = failures(retry, place, self.notes);
                }
            }
            ("connect_port", Some(value)) => {
                let port = number(value, place, self.notes);
                self.check.port = port.and_then(|port| port_number(port, place, self.notes));
            }
            ("virtualhost", Some(value)) => self.check.host = Some(value.to_owned()),
            ("url", _) if matches!(keyword, "HTTP_GET" | "SSL_GET") => self.url(inner),
            ("misc_path", Some(command)) if keyword == "MISC_CHECK" => {
                self.program(command, place);
            }
            ("misc_dynamic", _) if keyword == "MISC_CHECK" => self.check.dynamic = true,
            ("host", _) if keyword == "SMTP_CHECK" => {
                for word in words::once(inner.inside(), self.notes) {
                    self.word(word, keyword);
                }
            }
            (other, _) => words::without(words::CHECK, keyword, other, inner, self.notes),
        }
    }

    fn url(&mut self, statement: &Statement) {
        if self.check.get.is_some() {
            let text = "a second `url` of one check; Weir fetches the first one only";
            self.notes.left_out(&statement.place, text);
            return;
        }
        let mut path = "/".to_owned();
        for inner in words::once(statement.inside(), self.notes) {
            words::surplus(inner, self.notes);
            match (inner.keyword(), inner.word(1)) {
                ("path", Some(value)) => value.clone_into(&mut path),
                ("status_code", Some(_)) => self.status(inner),
                ("virtualhost", Some(host)) => self.check.host = Some(host.to_owned()),
                (other, _) => words::without(words::URL, "url", other, inner, self.notes),
            }
        }
        self.check.get = Some(path);
    }

    /// Reads `200`, `200-299` or several of them, which become the range around all.
    fn status(&mut self, inner: &Statement) {
        let mut ends: Option<(u16, u16)> = None;
        for word in inner.words.iter().skip(1) {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
                let text = format!("`{}` is not a status", quote(word));
                self.notes.bad(&inner.place, text);
                return;
            };
            let (low, high) = ends.unwrap_or((first, last));
            ends = Some((low.min(first), high.max(last)));
        }
        if inner.words.len() > 2
            && let Some((low, high)) = ends
        {
            let text = format!("several statuses become the range {low}-{high}");
            self.notes.advice(&inner.place, text);
        }
        self.check.status = ends;
    }

    fn program(&mut self, command: &str, place: &Place) {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        if words.next().is_some() {
            let text = format!(
                "`misc_path {}`: the program gets no arguments of its own; the manual says what it is told, a script can wrap it",
                quote(command)
            );
            self.notes.left_out(place, text);
            return;
        }
        self.check.program = Some(program.to_owned());
    }
}

fn port_number(port: u32, place: &Place, notes: &mut Notes) -> Option<u16> {
    let found = u16::try_from(port).ok().filter(|port| *port != 0);
    if found.is_none() {
        notes.bad(place, format!("{port} is not a port"));
    }
    found
}

/// Brings a number of failures into the range that the schema has.
pub(super) fn failures(retry: u32, place: &Place, notes: &mut Notes) -> u32 {
    let fall = retry.clamp(1, MOST_FAILURES);
    if fall != retry {
        let text = format!("down after {fall} failures instead of {retry}");
        notes.advice(place, text);
    }
    fall
}

/// Reads seconds, perhaps with a fraction.
pub(super) fn milliseconds(text: &str, place: &Place, notes: &mut Notes) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = whole
        .parse::<u32>()
        .ok()
        .filter(|_| digits(whole) && digits(part));
    // Three digits are milliseconds; keepalived knows more, checks do not need them.
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    let found = seconds.zip(part.parse::<u64>().ok());
    if found.is_none() {
        notes.bad(
            place,
            format!("`{}` is not a number of seconds", quote(text)),
        );
    }
    found.map(|(seconds, ms)| u64::from(seconds) * 1000 + ms)
}

/// Reads a number.
pub(super) fn number(text: &str, place: &Place, notes: &mut Notes) -> Option<u32> {
    let number = text.parse().ok();
    if number.is_none() {
        notes.bad(place, format!("`{}` is not a number", quote(text)));
    }
    number
}

/// Writes milliseconds as a duration.
pub(super) fn duration(ms: u64) -> String {
    match u32::try_from(ms / 1000) {
        Ok(seconds) if ms.is_multiple_of(1000) && ms != 0 => crate::service::duration(seconds),
        _ => format!("{ms}ms"),
    }
}
