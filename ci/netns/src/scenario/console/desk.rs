//! What an operator does by keys, and what comes of it.

use std::net::SocketAddrV4;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::sums::Told;
use super::{CLIENTS, Flood, RATE, SIEM, SIZE};
use crate::WeirProcess;
use crate::inside::connect::Connect;
use crate::inside::flood::{Burst, Vector};
use crate::lab::{Lab, VIP, real_address};
use crate::patience::within;
use crate::rsyslog;
use crate::secure_shell::{DESK, OPERATOR, Sshd};
use crate::server::ECHO_PORT;
use crate::tmux::Tmux;
use crate::weir::find_row;

/// How long anything may take to be seen.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is denied by command: nobody's network here.
const DENIED: &str = "198.51.100.0/24";

/// What stands on the terminal once the login ended.
const LOGGED_OUT: &str = "logged out";

/// The operator's desk: a terminal that is logged in.
pub(super) struct Desk<'lab> {
    // Before the daemon: it ends first.
    tmux: Tmux,
    _sshd: Sshd,
    lab: &'lab Lab,
    weir: WeirProcess<'lab>,
}

impl<'lab> Desk<'lab> {
    pub(super) fn sit(lab: &'lab Lab, weir: WeirProcess<'lab>, program: &Path) -> Result<Self> {
        let sshd = Sshd::start(lab, program, weir.socket())?;
        // tmux does not always say itself that its window's program ended.
        let line = format!("{}; echo {LOGGED_OUT}", Sshd::log_in(lab));
        let tmux = Tmux::start(lab, &lab.client, SIZE, "screen-256color", &line)?;
        Ok(Self {
            tmux,
            _sshd: sshd,
            lab,
            weir,
        })
    }

    pub(super) fn begin(&self) -> Result<String> {
        let began = Instant::now();
        let screen = self.wait("the services", |screen| {
            screen.contains(" echo ") && screen.contains("ledger ok")
        })?;
        let header = screen.lines().next().unwrap_or_default();
        let who = format!("operator {OPERATOR}");
        ensure!(
            header.contains(" lab ") && header.contains(&who) && header.contains("UTC"),
            "the header is `{header}`"
        );
        fits(&screen)?;
        Ok(format!(
            "first screen after {:.1} s",
            began.elapsed().as_secs_f64()
        ))
    }

    pub(super) fn flood(&self, rate: u32, ms: u64) -> Result<Flood> {
        let burst = Burst {
            after_ms: 100,
            rate,
            ms,
        };
        let flood = self.lab.flood(ECHO_PORT, &[Vector::Syn], &[burst])?;
        let flood = self.lab.start_flood(flood)?;
        let clients = self.lab.start_connect(Connect {
            target: SocketAddrV4::new(VIP, ECHO_PORT),
            per_second: CLIENTS,
            ms: ms + 500,
            sources: self.lab.client_addresses(),
        })?;
        Ok(Flood { flood, clients })
    }

    /// Opens the screen of floods once there is one: it shows that one.
    pub(super) fn open_the_flood(&self) -> Result<()> {
        self.wait_for("flood", || {
            let floods = self.weir.show("flood")?;
            let echo = find_row(&floods, "service", "echo")?;
            ensure!(echo["active"] == true, "{echo}");
            Ok(())
        })?;
        self.tmux.keys("3")?;
        self.wait("the flood", |screen| screen.contains("COOKIES ON"))?;
        Ok(())
    }

    pub(super) fn in_the_flood(&self) -> Result<String> {
        self.open_the_flood()?;
        let screen = self.wait("a flood whose rates are known", |screen| {
            let syns = figure(screen, "all SYNs in");
            screen.contains("COOKIES ON") && syns.is_some_and(|syns| syns > 0.8 * f64::from(RATE))
        })?;
        fits(&screen)?;
        ensure!(screen.contains("ledger ok"), "no `ledger ok` in\n{screen}");
        ensure!(screen.contains("echo"), "no service in\n{screen}");
        let of = |name| figure(&screen, name).with_context(|| format!("no `{name}` in\n{screen}"));
        let parts = of("cookie sent")? + of("dropped")? + of("passed on")?;
        let all = of("all SYNs in")?;
        // Each is shown with four digits.
        ensure!(
            (parts - all).abs() <= 0.002 * all,
            "{parts} SYNs are told of, {all} came in:\n{screen}"
        );
        Ok(format!("{all:.0} SYN/s, each told of; ledger ok"))
    }

    /// Says whether what is told of three seconds adds up, each of its own.
    pub(super) fn adds_up(&self) -> Result<String> {
        let (mut last, mut words) = (0, String::new());
        for _ in 0..3 {
            let mut told = None;
            self.wait_for("a whole second", || {
                told = Some(Told::of_one_second(&self.weir, last)?);
                Ok(())
            })?;
            let told = told.context("nothing was told")?;
            words = told.adds_up()?;
            last = told.second;
        }
        Ok(words)
    }

    /// Captures frames of the service that is flooded.
    pub(super) fn capture(&self) -> Result<String> {
        self.tmux.keys("c")?;
        self.wait("the question", |screen| screen.contains("Capture frames"))?;
        self.answer("3")?;
        let screen = self.wait("where the file is", |screen| screen.contains(".pcapng has"))?;
        let mut words = screen.split_whitespace();
        let file = words.find(|word| word.ends_with(".pcapng"));
        let file = Path::new(file.context("no file is named")?);
        let facts = file.metadata()?;
        let frames = words.nth(1).and_then(|word| word.parse::<u64>().ok());
        std::fs::remove_file(file)?;
        ensure!(facts.mode() & 0o777 == 0o600, "others may read {facts:?}");
        ensure!(
            frames.is_some_and(|frames| frames > 0),
            "no frames:\n{screen}"
        );
        Ok(format!(
            "{} bytes, {} frames",
            facts.len(),
            frames.unwrap_or_default()
        ))
    }

    /// Weighs, drains and enables the first real server of the first service.
    pub(super) fn real(&self) -> Result<String> {
        self.tmux.keys("1")?;
        self.wait("real servers", |screen| screen.contains(&address()))?;
        self.tmux.keys("gjw")?;
        self.wait("the question", |screen| {
            screen.contains("Weigh real server")
        })?;
        self.answer("7")?;
        self.until("weight 7", |real| real["weight"] == 7)?;
        self.tmux.keys("d")?;
        let question = self.wait("the question", |screen| {
            screen.contains("Drain real server")
        })?;
        ensure!(
            question.contains("1 of 2 real servers"),
            "the consequence is not told:\n{question}"
        );
        // A wrong word changes nothing.
        self.answer("drian")?;
        self.wait("the refusal", |screen| screen.contains("that is not drain"))?;
        self.tmux.press("C-u")?;
        self.answer("drain")?;
        self.until("drain", |real| real["state"] == "drain")?;
        self.tmux.keys("e")?;
        self.until("up again", |real| real["state"] == "up")?;
        Ok("weight 7, drained once its verb was typed, up again".to_owned())
    }

    pub(super) fn overrides(&self) -> Result<String> {
        self.tmux.keys("o")?;
        self.wait("the question", |screen| {
            screen.contains("Override synproxy")
        })?;
        self.answer("always for 10m")?;
        self.wait_for("the override", || {
            let all = self.weir.show("overrides")?;
            let row = rows(&all).find(|row| row["setting"] == "synproxy");
            let row = row.with_context(|| format!("no override of synproxy in {all}"))?;
            ensure!(row["object"] == "echo" && row["value"] == "always", "{row}");
            ensure!(
                row["by"]
                    .as_str()
                    .is_some_and(|by| by.starts_with(OPERATOR)),
                "{row}"
            );
            Ok(())
        })?;
        let services = self.weir.show("services")?;
        let echo = find_row(&services, "name", "echo")?;
        let mode = echo.pointer("/synproxy/mode").and_then(Value::as_str);
        ensure!(mode == Some("always"), "{echo}");
        self.tmux.keys("3x")?;
        self.wait("the question", |screen| screen.contains("Deny a prefix"))?;
        self.answer(&format!("deny {DENIED}"))?;
        self.wait("its size", |screen| screen.contains("has 256 addresses"))?;
        self.answer("deny")?;
        self.wait_for("the denial", || {
            let all = self.weir.show("overrides")?;
            let found = rows(&all).any(|row| row["setting"] == "deny" && row["object"] == DENIED);
            ensure!(found, "no denial in {all}");
            Ok(())
        })?;
        Ok(format!("cookies always, {DENIED} denied"))
    }

    /// Writes a candidate, takes it back from its trial, tries it again and keeps it.
    pub(super) fn configuration(&self) -> Result<String> {
        self.tmux.keys("7")?;
        self.wait("the configuration", |screen| screen.contains("RUNNING"))?;
        self.tmux.keys("e")?;
        self.wait("the editor", |screen| screen.contains("CANDIDATE"))?;
        for line in ["[lip-pool spare]", "port = lan", "address = 10.81.0.250"] {
            self.answer(line)?;
        }
        self.tmux.press("Escape")?;
        self.wait("what it changes", |screen| screen.contains("OK: 1 change"))?;
        self.apply()?;
        self.tmux.keys("b")?;
        self.wait("the question", |screen| screen.contains("Roll back"))?;
        self.answer("rollback")?;
        self.event("rolled-back")?;
        self.wait("no trial", |screen| !screen.contains("ON TRIAL"))?;
        self.apply()?;
        self.tmux.keys("c")?;
        self.event("confirmed")?;
        let pools = self.weir.show("pools")?;
        find_row(&pools, "name", "spare")?;
        Ok("tried, rolled back, tried again, confirmed".to_owned())
    }

    fn apply(&self) -> Result<()> {
        self.tmux.keys("a")?;
        self.wait("the question", |screen| {
            screen.contains("Apply the candidate")
        })?;
        self.answer("apply 5m")?;
        self.wait("the trial", |screen| screen.contains("ON TRIAL"))?;
        Ok(())
    }

    /// Waits for an event of an operator's.
    fn event(&self, code: &str) -> Result<()> {
        self.wait_for(code, || {
            let events = self.weir.show("events")?;
            let found =
                rows(&events).any(|row| row["code"] == code && field(row, "by") == OPERATOR);
            ensure!(found, "no event {code} in {events}");
            Ok(())
        })
    }

    /// Begins maintenance and ends it.
    pub(super) fn maintenance(&self) -> Result<String> {
        let is = |wanted: bool| {
            self.wait_for("maintenance", || {
                let status = self.weir.show("status")?;
                ensure!(
                    status.get("maintenance") == Some(&Value::Bool(wanted)),
                    "{status}"
                );
                Ok(())
            })
        };
        self.tmux.keys("m")?;
        self.wait("the question", |screen| {
            screen.contains("Begin maintenance")
        })?;
        // What stops the appliance's work is asked for by its name.
        self.answer("maintenance")?;
        self.wait("the refusal", |screen| screen.contains("that is not lab"))?;
        is(false)?;
        self.tmux.press("C-u")?;
        self.answer("lab")?;
        is(true)?;
        self.wait("maintenance", |screen| screen.contains("MAINT "))?;
        self.tmux.keys("m")?;
        is(false)?;
        Ok("begun once the appliance's name was typed, ended by one key".to_owned())
    }

    /// Says whether rsyslog was told of each action, under the name of who did it.
    pub(super) fn told(&self) -> Result<String> {
        let real = real_address(0).to_string();
        let actions = [
            ("capture-began", "of service echo"),
            ("weight", &real),
            ("drain", &real),
            ("enable", &real),
            ("synproxy", "echo"),
            ("deny", DENIED),
            ("applied", "spare"),
            ("rolled-back", "1"),
            ("confirmed", "3"),
            ("maintenance", "what=\"on\""),
            ("maintenance", "what=\"off\""),
        ];
        let by = format!("by=\"{OPERATOR}\"");
        let from = format!("from=\"ssh {DESK}");
        let mut all = String::new();
        self.wait_for("messages", || {
            all = rsyslog::received(self.lab.dir(), SIEM.0)?;
            for (code, word) in actions {
                let told = all.lines().any(|line| {
                    let is_it = line.split('\t').nth(1) == Some(code) && line.contains(word);
                    is_it && line.contains(&by) && line.contains(&from)
                });
                ensure!(told, "no {code} of {word} {by} {from} in\n{all}");
            }
            Ok(())
        })?;
        let ours = all.lines().filter(|line| line.contains(&by)).count();
        Ok(format!("{ours} messages by {OPERATOR} (ssh {DESK})"))
    }

    pub(super) fn screen_with_looks(&self) -> Result<String> {
        self.tmux.screen_with_looks()
    }

    pub(super) fn leave(&self) -> Result<String> {
        self.tmux.keys("q")?;
        let screen = self.wait("the end of the login", |screen| screen.contains(LOGGED_OUT))?;
        ensure!(
            !screen.contains("ledger") && screen.contains("closed"),
            "the console is left on the terminal:\n{screen}"
        );
        self.weir.ledger().map(|ledger| ledger.to_string())
    }

    fn answer(&self, text: &str) -> Result<()> {
        self.tmux.keys(text)?;
        self.tmux.press("Enter")
    }

    fn wait(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        self.tmux.wait(what, PATIENCE, is_so)
    }

    /// Waits until the daemon says of the first real server what is wanted.
    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<()> {
        self.wait_for(what, || {
            let services = self.weir.show("services")?;
            let echo = find_row(&services, "name", "echo")?;
            let real = find_row(&echo["reals"], "address", &address())?;
            ensure!(is_so(real), "{real}");
            Ok(())
        })
    }

    /// Tries until it comes out well; what is wrong at the end is told with the screen.
    fn wait_for(&self, what: &str, attempt: impl FnMut() -> Result<()>) -> Result<()> {
        let screen = || self.tmux.screen().unwrap_or_default();
        within(PATIENCE, attempt).with_context(|| format!("no {what}; the console:\n{}", screen()))
    }
}

fn address() -> String {
    format!("{}:{ECHO_PORT}", real_address(0))
}

/// Returns a fact of an event.
fn field<'event>(event: &'event Value, name: &str) -> &'event str {
    let fact = event.get("fields").and_then(|fields| fields.get(name));
    fact.and_then(Value::as_str).unwrap_or_default()
}

fn rows(all: &Value) -> impl Iterator<Item = &Value> {
    let one = all.is_object().then_some(all);
    one.into_iter().chain(all.as_array().into_iter().flatten())
}

/// Says whether everything is within the terminal.
fn fits(screen: &str) -> Result<()> {
    let (width, height) = SIZE;
    let lines: Vec<&str> = screen.lines().collect();
    ensure!(lines.len() == usize::from(height), "{} lines", lines.len());
    for line in &lines {
        let length = line.chars().count();
        ensure!(length <= usize::from(width), "{length} columns: {line}");
    }
    let hints = lines.last().copied().unwrap_or_default();
    ensure!(hints.contains("q quit"), "no hints below:\n{screen}");
    Ok(())
}

/// Reads a rate such as `3.410M/s` behind its name.
fn figure(screen: &str, name: &str) -> Option<f64> {
    let mut lines = screen.lines().filter_map(|line| line.split_once(name));
    let (_, rest) = lines.next()?;
    let text = rest.split_whitespace().next()?.strip_suffix("/s")?;
    let (number, factor) = match text.chars().last()? {
        'k' => (text.trim_end_matches('k'), 1e3),
        'M' => (text.trim_end_matches('M'), 1e6),
        _ => (text, 1.0),
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_off_the_screen() {
        let screen = " cookie sent  3.410M/s  91.7%   valid          24.3k/s\n\
                      \x20passed on         0/s   0.0%   too old           14/s\n";
        assert_eq!(figure(screen, "cookie sent"), Some(3_410_000.0));
        assert_eq!(figure(screen, "passed on"), Some(0.0));
        assert_eq!(figure(screen, "valid"), Some(24_300.0));
        assert_eq!(figure(screen, "dropped"), None);
    }
}
