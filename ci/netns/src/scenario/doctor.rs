//! `weir doctor`: a good lab has no failure, and each fault is named. Besides, what the daemon's
//! threads may still do.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{DRIVERS, Run};
use crate::lab::{LAN, Lab, REAL_LINK, Topology, real_address};
use crate::server::Nginx;
use crate::{Service, WeirConf, WeirProcess};

/// The bits of `NET_BIND_SERVICE`, `NET_ADMIN`, `NET_RAW` and `BPF`.
const FOR_CHANGES: u64 = 1 << 10 | 1 << 12 | 1 << 13 | 1 << 39;

/// Pages that prove the ways to the real servers and back, from the first moment on.
const PAGES: u64 = 1_000;

pub(super) fn run(run: &mut Run) -> Result<()> {
    for driver in DRIVERS {
        // What XDP passes to the kernel has the number of its queue.
        let tells_queues = driver == "af-xdp";
        let queues = if tells_queues { 2 } else { 1 };
        let lab = Lab::new(Topology {
            queues,
            ..Topology::default()
        })?;
        let _nginx = Nginx::start_all(&lab)?;
        let mut conf = WeirConf::new(driver, queues, lab.dir());
        conf.services = vec![Service::tcp("web", 80, &[0, 1])];
        let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
        run.check(&format!("{driver}: a good lab has no failure"), || {
            let pages = lab.http_get(lab.pages(80, "/bench", PAGES))?;
            ensure!(pages.failed() == 0, "pages at once: {pages:?}");
            let found = Found::of(&weir)?;
            ensure!(found.succeeded, "exit status 1: {found:?}");
            let failures = found.named("failure");
            ensure!(failures.is_empty(), "{failures:?}");
            for check in [
                "next-hop",
                "way-back",
                "privileges",
                "driver",
                "configuration",
            ] {
                ensure!(found.says("ok", check, ""), "no ok of {check}: {found:?}");
            }
            ensure!(
                !tells_queues || found.says("ok", "steering", "to 32 connections came in on"),
                "{found:?}"
            );
            Ok(format!(
                "{} ok, {} warnings; the slowest of {PAGES} pages at once took {:.0} ms",
                found.named("ok").len(),
                found.named("warning").len(),
                pages.slowest_ms
            ))
        });
        run.check(&format!("{driver}: four faults are named"), || {
            let real = real_address(1).to_string();
            lab.real(1)?.ip(&format!("link set {REAL_LINK} down"))?;
            lab.lb.ip(&format!("link set {LAN} mtu 1400"))?;
            let socket = weir.socket().to_owned();
            fs::set_permissions(&socket, Permissions::from_mode(0o666))?;
            let mut file = fs::read_to_string(weir.file())?;
            file.push_str("[lip-pool spare]\nport = lan\naddress = 10.81.0.250\n");
            fs::write(weir.file(), file)?;
            // What was known of the neighbour is believed for 30 s, and its server is asked anew.
            let found = Found::of(&weir)?;
            ensure!(!found.succeeded, "exit status 0: {found:?}");
            ensure!(found.says("warning", "real-servers", &real), "{found:?}");
            ensure!(found.says("warning", "mtu", "1400 now"), "{found:?}");
            ensure!(found.says("failure", "control-socket", "0666"), "{found:?}");
            ensure!(
                found.says("warning", "configuration", "in an object"),
                "{found:?}"
            );
            Ok("a real server, an MTU, a socket's mode, a file that is not applied".to_owned())
        });
        run.check(&format!("{driver}: threads can run nothing"), || {
            privileges(weir.pid())
        });
    }
    Ok(())
}

/// What the doctor found: status, check, and all that it says.
#[derive(Debug)]
struct Found {
    succeeded: bool,
    rows: Vec<(String, String, String)>,
}

impl Found {
    fn of(weir: &WeirProcess<'_>) -> Result<Self> {
        let output = weir.command("doctor").arg("--json").output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let rows: Vec<Value> = serde_json::from_str(&text)
            .with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))?;
        let word = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let rows = rows.iter().map(|row| {
            let said = format!("{} {}", word(row, "subject"), word(row, "text"));
            (word(row, "status"), word(row, "check"), said)
        });
        Ok(Self {
            succeeded: output.status.success(),
            rows: rows.collect(),
        })
    }

    fn named(&self, status: &str) -> Vec<&str> {
        let rows = self.rows.iter().filter(|row| row.0 == status);
        rows.map(|row| row.1.as_str()).collect()
    }

    fn says(&self, status: &str, check: &str, words: &str) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|row| row.0 == status && row.1 == check && row.2.contains(words))
    }
}

/// No thread may run a program, workers hold no capability, and the others what an apply needs.
pub(super) fn privileges(pid: i32) -> Result<String> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        let name = field("Name:");
        ensure!(field("Seccomp:") == "2", "{name} is not sealed");
        ensure!(field("NoNewPrivs:") == "1", "{name} may get privileges");
        let capabilities = u64::from_str_radix(&field("CapEff:"), 16)?;
        ensure!(
            capabilities & !FOR_CHANGES == 0,
            "{name} holds {capabilities:x}"
        );
        let is_worker = name.starts_with("worker");
        ensure!(
            !is_worker || capabilities == 0,
            "{name} holds {capabilities:x}"
        );
        threads.insert(name, capabilities);
    }
    ensure!(threads.contains_key("worker-0"), "{threads:?}");
    Ok(format!("{} threads are sealed", threads.len()))
}
