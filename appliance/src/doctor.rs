//! `weir doctor`: what will go wrong, before traffic finds out.
//!
//! What the kernel tells is asked for by the command itself, and by the daemon at its start; what
//! only the daemon knows is asked of it. Both are judged here.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use weir_control::{
    CheckRow, CheckStatus, Client, Filter, HealthRow, PoolRow, PortRow, Request, ServiceRow, What,
    WorkerRow,
};
use weir_model::{Port, Snapshot};

use crate::configuration;
use crate::show;
use crate::taken;

pub(crate) mod appliance;
mod devices;
mod files;
mod findings;
mod machine;
pub(crate) mod process;
mod reals;
mod steering;

pub(crate) use findings::Findings;
use machine::Machine;

/// The daemon asks for next hops when it is asked for them; this is their time to answer.
const ARP_TAKES: Duration = Duration::from_millis(400);

/// What is to be looked at, and how it is told.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) config: PathBuf,
    pub(crate) json: bool,
    pub(crate) socket: Option<PathBuf>,
}

/// What a daemon that runs tells.
#[derive(Debug, Default)]
struct Live {
    ports: Vec<PortRow>,
    workers: Vec<WorkerRow>,
    pools: Vec<PoolRow>,
    services: Vec<ServiceRow>,
    health: Vec<HealthRow>,
    checks: Vec<CheckRow>,
}

/// Carries out the order, and says whether nothing fails.
///
/// # Errors
/// When the daemon's answers cannot be read, or nothing can be written.
pub(crate) fn doctor(order: &Order) -> Result<bool> {
    let rows = examine(order)?;
    let text = if order.json {
        format!("{}\n", serde_json::to_string(&rows)?)
    } else {
        weir_control::checks(&rows)
    };
    show::unless_closed(io::stdout().write_all(text.as_bytes()))?;
    Ok(rows.iter().all(|row| row.status != CheckStatus::Failure))
}

/// Looks at everything, and returns what was found.
///
/// # Errors
/// When the daemon's answers cannot be read.
pub(crate) fn examine(order: &Order) -> Result<Vec<CheckRow>> {
    let mut findings = Findings::default();
    let machine = Machine::this();
    appliance::check(Path::new("/"), &mut findings);
    let mut client = match show::connect(order.socket.as_deref()) {
        Ok(client) => client,
        Err(error) => {
            no_daemon(&error, &mut findings);
            if let Some(snapshot) = of_file(&order.config, &mut findings) {
                examine_machine(&machine, &snapshot, None, &mut findings);
                let tried = reals::connect(&snapshot);
                steering::prove(&snapshot, &tried, &mut findings);
                reals::check(&snapshot, &tried, &[], &mut findings);
            }
            return Ok(findings.into_rows());
        }
    };
    let snapshot = running(&mut client)?;
    let live = live(&mut client)?;
    findings.ok("daemon", "", format!("{} answers", client.greeting().node));
    findings.extend(live.checks.iter().cloned());
    examine_machine(&machine, &snapshot, Some(&live), &mut findings);
    files::sockets(&snapshot, &mut findings);
    let tried = reals::connect(&snapshot);
    steering::prove(&snapshot, &tried, &mut findings);
    reals::check(&snapshot, &tried, &live.health, &mut findings);
    reals::ways_back(&live.services, &mut findings);
    reals::pools(&snapshot, &live.pools, &mut findings);
    Ok(findings.into_rows())
}

/// What the start of a daemon should know: all that takes no time.
pub(crate) fn at_start(snapshot: &Snapshot, workers: &[u16]) -> Vec<CheckRow> {
    let mut findings = Findings::default();
    let live = Live {
        workers: workers
            .iter()
            .map(|cpu| WorkerRow {
                cpu: Some(u32::from(*cpu)),
                balanced: true,
                ..WorkerRow::default()
            })
            .collect(),
        ..Live::default()
    };
    examine_machine(&Machine::this(), snapshot, Some(&live), &mut findings);
    let mut rows = findings.into_rows();
    rows.retain(|row| row.status != CheckStatus::Ok);
    rows
}

fn examine_machine(
    machine: &Machine,
    snapshot: &Snapshot,
    live: Option<&Live>,
    findings: &mut Findings,
) {
    let workers = live.map(|live| live.workers.as_slice());
    let cores = devices::cores_of(snapshot, workers);
    let count = workers.map_or_else(|| cores.len().max(1), <[_]>::len);
    let ports: Vec<(&Port, _)> = snapshot
        .ports
        .iter()
        .map(|port| (port, devices::look(&port.device)))
        .collect();
    for (port, state) in &ports {
        let rows = live.map(|live| live.ports.as_slice()).unwrap_or_default();
        let row = rows.iter().find(|row| row.name == port.name);
        devices::check(port, state.as_ref(), row, count, findings);
    }
    devices::mtus(&ports, findings);
    devices::lips(snapshot, findings);
    devices::kernel_addresses(snapshot, &taken::addresses(), findings);
    if let Some(live) = live {
        let foretold = ports.iter().all(|(_, state)| {
            let rss = state.as_ref().and_then(|state| state.rss.as_ref().ok());
            rss.is_some_and(|rss| rss.check().is_ok())
        });
        devices::traffic(&live.ports, &live.workers, foretold, findings);
    }
    machine::memory(machine, snapshot, count, live.is_some(), findings);
    machine::cores(machine, snapshot, &cores, findings);
    devices::nodes(machine, snapshot, &cores, findings);
    machine::clock(netmap_io::clock_state().ok(), snapshot, findings);
    machine::kernel(machine, snapshot, findings);
    files::secrets(snapshot, findings);
}

fn no_daemon(error: &anyhow::Error, findings: &mut Findings) {
    findings.warn(
        "daemon",
        "",
        format!(
            "no daemon was asked ({error:#}): drivers in use, next hops, ports left, rings and \
             steering are not known"
        ),
        "`weir run`, or name its socket with --socket",
    );
}

/// Reads the file that a daemon would start on.
fn of_file(file: &Path, findings: &mut Findings) -> Option<Snapshot> {
    const CHECK: &str = "configuration";
    let name = file.display().to_string();
    let composed = weir_conf::read(file).and_then(|texts| configuration::compose(&texts, None));
    match composed {
        Ok((loaded, warnings)) => {
            findings.ok(CHECK, &name, "it has no mistakes");
            for warning in warnings {
                let advice = if warning.note.is_empty() {
                    "`weir check` shows the place".to_owned()
                } else {
                    warning.note
                };
                findings.warn(CHECK, &name, warning.message, advice);
            }
            Some(loaded.snapshot)
        }
        Err(report) => {
            let text = report.to_string();
            let first = text.lines().next().unwrap_or_default();
            let text = format!("it cannot be applied: {first}");
            findings.fail(CHECK, &name, text, "`weir check` shows every mistake");
            None
        }
    }
}

/// Reads what the daemon runs on.
fn running(client: &mut Client) -> Result<Snapshot> {
    let lines: Vec<String> = rows(client, What::Config)?;
    let text = lines.join("\n") + "\n";
    let loaded = weir_conf::parse_str("the running configuration", &text, None);
    let loaded = loaded.map_err(|report| anyhow::anyhow!("{report}"))?;
    Ok(loaded.snapshot)
}

fn live(client: &mut Client) -> Result<Live> {
    checks(client)?;
    thread::sleep(ARP_TAKES);
    Ok(Live {
        checks: checks(client)?,
        ports: rows(client, What::Ports)?,
        workers: rows(client, What::Workers)?,
        pools: rows(client, What::Pools)?,
        services: rows(client, What::Services)?,
        health: rows(client, What::Health)?,
    })
}

fn checks(client: &mut Client) -> Result<Vec<CheckRow>> {
    let mut answer = client.request(&Request::Doctor {})?;
    let mut all = Vec::new();
    while let Some(row) = answer.next_row()? {
        let row = serde_json::from_value(row);
        all.push(row.context("a row of the daemon cannot be read")?);
    }
    Ok(all)
}

fn rows<T: DeserializeOwned>(client: &mut Client, what: What) -> Result<Vec<T>> {
    Ok(client.show(what, Filter::default())?)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use super::*;

    /// Two ports, a pool and a service; `extra` belongs to the service, or begins other sections. A
    /// profile `p` is the service's.
    pub(crate) fn snapshot(extra: &str) -> Snapshot {
        let synproxy = if extra.contains("[synproxy p]") {
            "synproxy = p\n"
        } else {
            ""
        };
        let text = format!(
            "[port wan]\ndevice = wan0\naddress = 10.80.0.1/24\n\
             [port lan]\ndevice = lan0\naddress = 10.81.0.1/24\n\
             [lip-pool blue]\nport = lan\naddress = 10.81.0.200\n\
             [service web]\nlisten = 10.80.0.100:80/tcp\nlip-pool = blue\nreal = 10.81.0.11:80\n\
             {synproxy}{extra}"
        );
        let loaded = weir_conf::parse_str("doctor.conf", &text, None);
        loaded
            .map_err(|report| report.to_string())
            .unwrap()
            .snapshot
    }

    /// Folders that tell of a machine as the kernel would; gone with the value.
    pub(crate) struct Fake {
        root: PathBuf,
    }

    impl Fake {
        pub(crate) fn new(name: &str) -> Self {
            let name = format!("weir-doctor-{}-{name}", std::process::id());
            let root = std::env::temp_dir().join(name);
            fs::create_dir_all(&root).unwrap();
            Self { root }
        }

        pub(crate) fn root(&self) -> &Path {
            &self.root
        }

        pub(crate) fn machine(&self) -> Machine {
            Machine::at(&self.root.join("proc"), &self.root.join("sys"))
        }

        pub(crate) fn proc(&self, name: &str, text: &str) {
            self.write("proc", name, text);
        }

        pub(crate) fn sys(&self, name: &str, text: &str) {
            self.write("sys", name, text);
        }

        fn write(&self, below: &str, name: &str, text: &str) {
            let file = self.root.join(below).join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    #[test]
    fn without_a_daemon_the_file_and_the_machine_are_looked_at() {
        let fake = Fake::new("alone");
        let config = fake.root().join("weir.conf");
        fs::write(&config, "[node]\nname = a\nnmae = b\n").unwrap();
        let order = Order {
            config,
            json: false,
            socket: Some(fake.root().join("nobody.sock")),
        };
        let rows = examine(&order).unwrap();
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.check.as_str(), row.status))
            .collect();
        assert_eq!(
            told,
            [
                ("daemon", CheckStatus::Warning),
                ("configuration", CheckStatus::Failure)
            ]
        );
        assert!(rows[1].text.contains("error: "), "{}", rows[1].text);
    }

    #[test]
    fn a_start_is_told_of_what_is_wrong_only() {
        let rows = at_start(&snapshot(""), &[0]);
        assert!(rows.iter().all(|row| row.status != CheckStatus::Ok));
        let missing = rows.iter().filter(|row| row.check == "device");
        let missing: Vec<_> = missing.map(|row| row.subject.as_str()).collect();
        assert_eq!(missing, ["wan", "lan"]);
    }
}
