//! `weir drain` with real packets: who blocks it, when it will be over, and what becomes of those who
//! are left then.

use std::fs;
use std::net::SocketAddrV4;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{DRIVERS, Run};
use crate::client::Running;
use crate::command::run as run_command;
use crate::inside::hold::{Hold, HoldReport};
use crate::lab::{Lab, Topology, VIP, client_address, real_address};
use crate::patience::within;
use crate::server::{self, ECHO_PORT};
use crate::weir::find_row;
use crate::{Service, WeirConf, WeirProcess};

/// Sessions that are open at the beginning, half of them on each real server.
const OPEN: u16 = 40;
/// Sessions that come later.
const MORE: u16 = 10;
/// How long anything may take that is not measured.
const LIMIT: Duration = Duration::from_secs(30);
/// When the first real server loses its sessions: new ones come and go before.
const DEADLINE: Duration = Duration::from_secs(4);

pub(super) fn run(run: &mut Run) -> Result<()> {
    let drivers = if run.long {
        &DRIVERS[..]
    } else {
        &DRIVERS[..1]
    };
    for driver in drivers {
        let lab = Lab::new(Topology {
            clients: 1,
            ..Topology::default()
        })?;
        let _echo = [server::tcp_echo(&lab, 0)?, server::tcp_echo(&lab, 1)?];
        let mut conf = WeirConf::new(driver, 1, lab.dir());
        conf.services = vec![Service::tcp("echo", ECHO_PORT, &[0, 1])];
        let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
        let drain = Drain { lab: &lab, weir };
        let first = drain.hold(OPEN)?;
        drain.wait_for(0, u64::from(OPEN) / 2)?;
        drain.wait_for(1, u64::from(OPEN) / 2)?;
        run.check(&format!("{driver}: a drain with a deadline"), || {
            drain.to_reset()
        });
        let second = drain.hold(MORE)?;
        run.check(
            &format!("{driver}: new sessions meanwhile and after"),
            || {
                drain.wait_for(0, u64::from(MORE) / 2)?;
                Ok(format!("{MORE} on both real servers again"))
            },
        );
        run.check(&format!("{driver}: a drain that lets go on"), || {
            drain.to_keep()
        });
        conf.services = vec![Service::tcp("echo", ECHO_PORT, &[0])];
        for service in &mut conf.services {
            service.more.push_str("\ndrain           = 3s");
        }
        run.check(&format!("{driver}: a real server that is removed"), || {
            drain.removed(&conf)
        });
        let reports = drain.let_go([first, second])?;
        run.check(&format!("{driver}: nobody else is reset"), || {
            let lost = reports.map(|report| (report.opened, report.lost.values().sum::<u64>()));
            let (open, more) = (u64::from(OPEN), u64::from(MORE));
            ensure!(lost == [(open, open), (more, more / 2)], "{lost:?}");
            Ok(drain.weir.ledger()?.to_string())
        });
    }
    Ok(())
}

struct Drain<'lab> {
    lab: &'lab Lab,
    weir: WeirProcess<'lab>,
}

impl Drain<'_> {
    /// The first real server loses its sessions after a while.
    fn to_reset(&self) -> Result<String> {
        let begun = Instant::now();
        let row = self.drain(0, &format!("{}s", DEADLINE.as_secs()), "reset")?;
        let number = |name: &str| row.get(name).and_then(Value::as_u64);
        let half = u64::from(OPEN) / 2;
        ensure!(number("sessions") == Some(half), "{row}");
        ensure!(
            number("deadline_in_s").is_some_and(|left| left <= DEADLINE.as_secs()),
            "{row}"
        );
        let eta = (number("half_in_s"), number("most_in_s"), number("all_in_s"));
        ensure!(eta.0.is_some() && eta.0 <= eta.1 && eta.1 <= eta.2, "{row}");
        let blocking = row.get("oldest").and_then(Value::as_array);
        let blocking = blocking.context("nobody blocks it")?;
        let client = format!("{}:", client_address(0));
        ensure!(
            blocking.len() == 10
                && blocking.iter().all(|session| {
                    let from = session["client"].as_str().unwrap_or_default();
                    from.starts_with(&client) && session["state"] == "established"
                }),
            "{row}"
        );
        let newer = self.hold_for(MORE, 300)?.report()?;
        ensure!(
            newer.opened == u64::from(MORE) && newer.lost.is_empty(),
            "{newer:?}"
        );
        ensure!(self.sessions(0)? == half, "it got new sessions");
        self.wait_for(0, 0)?;
        let took = begun.elapsed();
        ensure!(
            took + Duration::from_millis(100) >= DEADLINE,
            "reset after {took:.1?}"
        );
        self.said("drain-ended", &format!("{half} sessions were reset"))?;
        let on = format!("{}:{ECHO_PORT}@echo", real_address(0));
        run_command(&mut self.weir.order(&["enable", &on]))?;
        Ok(format!(
            "{half} sessions, all foretold to end within {} s, were reset after {took:.1?}",
            eta.2.unwrap_or_default()
        ))
    }

    /// The second one keeps them, and that is told.
    fn to_keep(&self) -> Result<String> {
        let before = self.sessions(1)?;
        self.drain(1, "1s", "keep")?;
        self.said("drain-ended", &format!("{before} sessions go on"))?;
        ensure!(self.sessions(1)? == before, "they do not go on");
        Ok(format!("{before} sessions go on"))
    }

    /// The service says how long sessions of a real server that is removed may go on.
    fn removed(&self, conf: &WeirConf) -> Result<String> {
        let file = self.lab.dir().join("diff.conf");
        fs::write(&file, conf.to_string()).context("cannot write diff.conf")?;
        let diff = run_command(self.weir.order(&["diff"]).arg(&file))?;
        ensure!(
            diff.contains("may go on for 3s, then they are reset"),
            "{diff}"
        );
        self.weir.apply(conf, &[])?;
        let all = u64::from(OPEN) / 2 + u64::from(MORE) / 2;
        ensure!(
            self.living()? == all + u64::from(MORE) / 2,
            "some ended at once"
        );
        let begun = Instant::now();
        while self.living()? > u64::from(MORE) / 2 {
            ensure!(begun.elapsed() < LIMIT, "{} live on", self.living()?);
            thread::sleep(Duration::from_millis(50));
        }
        self.said("drain-ended", &format!("{all} sessions were reset"))?;
        Ok(format!(
            "{all} sessions were reset after {:.1?}",
            begun.elapsed()
        ))
    }

    fn drain(&self, real: u8, deadline: &str, then: &str) -> Result<Value> {
        let on = format!("{}:{ECHO_PORT}@echo", real_address(real));
        let mut order = self.weir.order(&["drain", &on, "--json"]);
        let text = run_command(order.args(["--deadline", deadline, "--then", then]))?;
        serde_json::from_str(&text).with_context(|| text)
    }

    fn hold(&self, count: u16) -> Result<Running<HoldReport>> {
        self.hold_for(count, 60_000)
    }

    fn hold_for(&self, count: u16, keep_ms: u64) -> Result<Running<HoldReport>> {
        self.lab.start_hold(Hold {
            target: SocketAddrV4::new(VIP, ECHO_PORT),
            count,
            keep_ms,
            until: Some(self.lab.dir().join("enough")),
            source: None,
        })
    }

    fn let_go<const N: usize>(&self, held: [Running<HoldReport>; N]) -> Result<[HoldReport; N]> {
        fs::write(self.lab.dir().join("enough"), "").context("cannot end the connections")?;
        let reports = held.into_iter().map(Running::report);
        let reports = reports.collect::<Result<Vec<_>>>()?;
        reports.try_into().ok().context("a report is missing")
    }

    /// Waits until a real server has so many sessions.
    fn wait_for(&self, real: u8, sessions: u64) -> Result<()> {
        within(LIMIT, || {
            let now = self.sessions(real)?;
            ensure!(now == sessions, "{now} sessions, not {sessions}");
            Ok(())
        })
    }

    /// Returns the sessions that a real server has now.
    fn sessions(&self, real: u8) -> Result<u64> {
        let services = self.weir.show("services")?;
        let reals = &find_row(&services, "name", "echo")?["reals"];
        let real = format!("{}:{ECHO_PORT}", real_address(real));
        let row = find_row(reals, "address", &real)?;
        row["sessions"].as_u64().context("it tells no sessions")
    }

    /// Returns the sessions that are established.
    fn living(&self) -> Result<u64> {
        let sessions = self.weir.show("sessions")?;
        let rows = sessions.as_array().into_iter().flatten();
        let living = rows.filter(|row| row["state"] == "established");
        Ok(living.count() as u64)
    }

    /// Demands an event.
    fn said(&self, code: &str, words: &str) -> Result<()> {
        let begun = Instant::now();
        loop {
            let events = self.weir.show("events")?;
            let mut rows = events.as_array().into_iter().flatten();
            let found = rows.any(|row| {
                row["code"] == code
                    && row["text"]
                        .as_str()
                        .is_some_and(|text| text.contains(words))
            });
            if found {
                return Ok(());
            }
            ensure!(
                begun.elapsed() < LIMIT,
                "no {code} says `{words}`: {events}"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}
