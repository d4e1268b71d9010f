//! The box is to end while sessions are open: what it waits for, for how long, and who may hurry it.

use std::fs;
use std::net::SocketAddrV4;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use weir_lab::client::Running;
use weir_lab::inside::hold::{Hold, HoldReport};
use weir_lab::lab::{VIP, real_address};
use weir_lab::scenario::Run;
use weir_lab::server::{ECHO_PORT, tcp_echo};

use super::{Appliance, PATIENCE, within};

/// Sessions that are open.
const OPEN: u16 = 300;
/// So many of them are let go before the others, and say whether they were served.
const WITNESSES: u16 = 5;
/// How long the box waits where it is to be waited for, and where nobody wants to.
const SHORT: Duration = Duration::from_secs(15);
const LONG: Duration = Duration::from_mins(5);
/// How long the rest of the end may take: last events, file systems, a machine that is emulated.
const REST: Duration = Duration::from_secs(20);
/// How long sessions of before may last.
const LEFT: Duration = Duration::from_mins(3);
/// What is watched of the time in which the box waits.
const WATCHED: Duration = Duration::from_secs(8);

pub(super) fn run(run: &mut Run, it: &mut Appliance) -> Result<()> {
    let _echo = tcp_echo(&it.site.lab, 0)?;
    configure(it, LONG)?;
    // What a flood began is waited for as any other session.
    within(LEFT, || {
        let sessions = sessions(it)?;
        ensure!(sessions == 0, "{sessions} sessions of before are left");
        Ok(())
    })?;
    run.check(
        "image: the power button: off when the last session ends",
        || {
            let held = Held::open(it, "first")?;
            it.guest()?.push_power_button()?;
            thread::sleep(WATCHED);
            ensure!(
                it.guest()?.is_running(),
                "it did not wait for {OPEN} sessions"
            );
            let served = held.witnesses.let_go()?;
            ensure!(
                it.guest()?.is_running(),
                "it did not wait for {OPEN} sessions"
            );
            let report = held.crowd.let_go()?;
            let began = Instant::now();
            for report in [&served, &report] {
                ensure!(
                    report.lost.is_empty() && report.rounds > 1,
                    "while it waited: {report:?}"
                );
            }
            it.guest()?.wait_off(REST)?;
            Ok(format!(
                "{} sessions were served for {} s, and {:.1} s after their end it was off",
                report.opened,
                WATCHED.as_secs(),
                began.elapsed().as_secs_f32()
            ))
        },
    );
    it.power_on()?;
    it.wait_up()?;
    run.check(
        "image: the next start tells who ended it, and what for it waited",
        || {
            let pushed = event(it, "power", "power button")?;
            let waited = event(it, "stopping", &format!("{OPEN} sessions"))?;
            Ok(format!("{pushed}; {waited}"))
        },
    );
    run.check("image: a second push: off at once", || {
        let _held = Held::open(it, "second")?;
        it.guest()?.push_power_button()?;
        thread::sleep(WATCHED);
        ensure!(
            it.guest()?.is_running(),
            "it did not wait for {OPEN} sessions"
        );
        it.guest()?.push_power_button()?;
        off(it)
    });
    it.power_on()?;
    it.wait_up()?;
    run.check(
        "image: two pushes one behind the other: off at once",
        || {
            let _held = Held::open(it, "third")?;
            it.guest()?.push_power_button()?;
            thread::sleep(Duration::from_millis(500));
            it.guest()?.push_power_button()?;
            off(it)
        },
    );
    it.power_on()?;
    it.wait_up()?;
    configure(it, SHORT)?;
    let what = format!("image: `poweroff` with {OPEN} sessions: `stop-after`, and no longer");
    run.check(&what, || poweroff(it));
    Ok(())
}

/// Gives sessions so long to end.
fn configure(it: &Appliance, stop_after: Duration) -> Result<()> {
    let echo = format!(
        "[service echo]\nlisten = {VIP}:{ECHO_PORT}/tcp\nlip-pool = blue\nscheduler = rr\n\
         real = {}:{ECHO_PORT}\n",
        real_address(0)
    );
    let conf = it.configuration(&echo);
    let patience = format!("stop-after = {}s", stop_after.as_secs());
    let conf = conf.replacen("stop-after = 1s", &patience, 1);
    ensure!(
        conf.contains(&patience),
        "the site's configuration says otherwise"
    );
    it.site.operator.run_with_input("apply -", &conf).map(drop)
}

fn sessions(it: &Appliance) -> Result<u64> {
    let status = it.site.operator.json("show status --json")?;
    let sessions = status.get("sessions").and_then(Value::as_u64);
    sessions.with_context(|| format!("nothing is said of sessions: {status}"))
}

fn poweroff(it: &mut Appliance) -> Result<String> {
    let held = Held::open(it, "fourth")?;
    let mut command = it.site.operator.command("poweroff");
    let began = Instant::now();
    // The connection ends with the box, which is no success of the command.
    let output = command.output().context("cannot run ssh")?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let sentence = format!("and after {} s at most", SHORT.as_secs());
    ensure!(said.contains(&sentence), "it said: {said}");
    let sessions: Option<u16> = said
        .split_whitespace()
        .zip(said.split_whitespace().skip(1))
        .find_map(|(number, word)| (word == "now,").then(|| number.parse().ok())?);
    ensure!(sessions >= Some(OPEN), "it said: {said}");
    thread::sleep(WATCHED.saturating_sub(began.elapsed()));
    let report = held.witnesses.let_go()?;
    ensure!(
        report.lost.is_empty() && report.rounds > 1,
        "while it waited: {report:?}"
    );
    it.guest()?.wait_off(SHORT + REST)?;
    let took = began.elapsed();
    ensure!(took >= SHORT, "it was off after {took:?}");
    Ok(format!(
        "after {:.1} s: {}",
        took.as_secs_f32(),
        said.lines().next().unwrap_or_default()
    ))
}

/// Connections through the box to an echo server.
struct Open {
    running: Running<HoldReport>,
    until: PathBuf,
}

impl Open {
    fn start(it: &Appliance, name: &str, count: u16) -> Result<Self> {
        let until = it.site.dir().join(format!("enough-{name}"));
        let hold = Hold {
            target: SocketAddrV4::new(VIP, ECHO_PORT),
            count,
            keep_ms: 120_000,
            until: Some(until.clone()),
            source: None,
        };
        let running = it.site.lab.start_hold(hold)?;
        Ok(Self { running, until })
    }

    /// Lets them go, and says how they fared.
    fn let_go(self) -> Result<HoldReport> {
        fs::write(&self.until, "").context("cannot end the connections")?;
        self.running.report()
    }
}

/// Sessions that are open when the box is to end; those that are not let go break off.
struct Held {
    crowd: Open,
    witnesses: Open,
}

impl Held {
    fn open(it: &Appliance, name: &str) -> Result<Self> {
        let held = Self {
            witnesses: Open::start(it, &format!("{name}-few"), WITNESSES)?,
            crowd: Open::start(it, name, OPEN - WITNESSES)?,
        };
        within(PATIENCE, || {
            let sessions = sessions(it)?;
            ensure!(
                sessions >= u64::from(OPEN),
                "{sessions} of {OPEN} sessions are open"
            );
            Ok(())
        })?;
        Ok(held)
    }
}

/// Waits for the end that somebody hurries.
fn off(it: &mut Appliance) -> Result<String> {
    let began = Instant::now();
    it.guest()?.wait_off(REST)?;
    Ok(format!("after {:.1} s", began.elapsed().as_secs_f32()))
}

/// Returns what an event says.
fn event(it: &Appliance, code: &str, text: &str) -> Result<String> {
    let events = it.site.operator.json("show events --json")?;
    let all = events.as_array().cloned().unwrap_or_default();
    let said = |event: &Value, key: &str| {
        let value = event.get(key).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let mut found = all.iter().filter(|event| said(event, "code") == code);
    let event = found.find(|event| said(event, "text").contains(text));
    let event = event.with_context(|| format!("no event {code} says `{text}`"))?;
    Ok(said(event, "text"))
}
