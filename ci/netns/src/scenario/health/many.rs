//! What checks cost: five thousand real servers, a thousand of each kind, every two seconds.

use std::fmt::Write as _;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::super::Run;
use super::certificate;
use crate::lab::{LAN, Lab, Topology, VIP, real_address};
use crate::process::{Process, Transport};
use crate::server::{self, ECHO_PORT};
use crate::{WeirConf, WeirProcess};

/// The network whose addresses are all on one machine.
const MANY: &str = "10.82.0.0/16";
const KINDS: [&str; 5] = ["tcp", "http", "https", "udp", "ping"];
const EACH: u16 = 1000;
const BEGIN: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(20);

pub(super) fn run(run: &mut Run) -> Result<()> {
    let lab = Lab::new(Topology {
        reals: 1,
        ..Topology::default()
    })?;
    let real = lab.real(0)?;
    real.ip(&format!("route add local {MANY} dev lo"))?;
    let via = real_address(0);
    // One socket answers for all addresses.
    real.nft(&format!(
        "table ip weir {{\n chain many {{\n type nat hook prerouting priority -100\n \
         ip daddr {MANY} udp dport {ECHO_PORT} dnat to {via}\n }}\n}}\n"
    ))?;
    lab.lb
        .ip(&format!("route add {MANY} via {via} dev {LAN}"))?;
    let _web = nginx(&lab)?;
    let _echo = server::udp_echo(&lab, 0)?;
    let weir = WeirProcess::start(&lab, &run.weir, &conf(&lab)?)?;
    run.check(
        "5,000 real servers of five kinds at 2 s on one core",
        || {
            std::thread::sleep(BEGIN);
            let events = weir.show("events")?.to_string();
            let (before, began) = (cpu(&weir)?, Instant::now());
            std::thread::sleep(MEASURED);
            let (after, elapsed) = (cpu(&weir)?, began.elapsed());
            let health = weir.show("health")?;
            let rows = health.as_array().context("no rows")?;
            let up = rows.iter().filter(|row| super::is(row, "state", "up"));
            let (up, all) = (up.count(), rows.len());
            ensure!(
                up == all && all == 5 * usize::from(EACH),
                "{up} of {all} up"
            );
            let fallen = weir.show("events")?.to_string();
            let downs = |text: &str| text.matches("\"real-down\"").count();
            ensure!(downs(&fallen) == downs(&events), "some fell: {fallen}");
            let share = |of: fn(&Cpu) -> u64| {
                let ns = of(&after).saturating_sub(of(&before));
                Duration::from_nanos(ns).as_secs_f64() / elapsed.as_secs_f64()
            };
            let (checks, pages, control) = (
                share(|it| it.checks),
                share(|it| it.pages),
                share(|it| it.control),
            );
            let sum = checks + pages;
            ensure!(sum < 1.0, "{sum:.2} of a core");
            Ok(format!(
                "{:.1} % of a core: {:.1} % checks, {:.1} % pages in {} threads; control {:.1} %",
                sum * 100.0,
                checks * 100.0,
                pages * 100.0,
                after.threads,
                control * 100.0
            ))
        },
    );
    Ok(())
}

/// Nanoseconds on a core.
struct Cpu {
    /// Of the thread that does all but pages.
    checks: u64,
    /// Of those that fetch pages.
    pages: u64,
    control: u64,
    /// How many fetch pages.
    threads: usize,
}

fn cpu(weir: &WeirProcess<'_>) -> Result<Cpu> {
    let mut cpu = Cpu {
        checks: 0,
        pages: 0,
        control: 0,
        threads: 0,
    };
    let pid = weir.pid();
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the daemon has ended")? {
        let task = task?.path();
        let read = |file| fs::read_to_string(task.join(file)).unwrap_or_default();
        let ns = read("schedstat");
        let ns: u64 = match ns.split_whitespace().next() {
            Some(ns) => ns.parse().context("the kernel keeps no schedstat")?,
            // It has ended meanwhile.
            None => continue,
        };
        match read("comm").trim() {
            "health" => cpu.checks += ns,
            "health-fetch" => {
                cpu.pages += ns;
                cpu.threads += 1;
            }
            _ if task.ends_with(pid.to_string()) => cpu.control += ns,
            _ => {}
        }
    }
    Ok(cpu)
}

fn nginx(lab: &Lab) -> Result<Process> {
    let dir = lab.dir().join("nginx-many");
    fs::create_dir_all(&dir)?;
    let (key, pem) = certificate(lab)?;
    let shown = dir.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {shown}/{kind};\n"))
        .concat();
    let conf = format!(
        "daemon off;\nuser root;\nworker_processes 1;\npid {shown}/nginx.pid;\n\
         error_log {shown}/error.log warn;\nevents {{ worker_connections 8192; }}\n\
         http {{\n{temporary}access_log off;\nserver {{\n\
         listen 80 backlog=8192;\nlisten 443 ssl backlog=8192;\n\
         ssl_certificate {};\nssl_certificate_key {};\n\
         location / {{ return 200 \"fine\\n\"; }}\n}}\n}}\n",
        pem.display(),
        key.display()
    );
    fs::write(dir.join("nginx.conf"), conf)?;
    let mut command = lab.real(0)?.command("nginx");
    command.arg("-e").arg(dir.join("error.log"));
    command
        .arg("-p")
        .arg(&dir)
        .arg("-c")
        .arg(dir.join("nginx.conf"));
    let mut process = lab.start("nginx-many", &mut command)?;
    process.wait_listening(Transport::Tcp, 443)?;
    Ok(process)
}

fn conf(lab: &Lab) -> Result<WeirConf> {
    let mut conf = WeirConf::new("af-xdp", 1, lab.dir());
    conf.services.clear();
    for pool in &mut conf.pools {
        // A bitmap of all ports for each real server would be another test.
        "2000-2999".clone_into(&mut pool.source_ports);
    }
    let more = &mut conf.more;
    writeln!(
        more,
        "[route {MANY}]\nvia = {}\nport = {LAN}",
        real_address(0)
    )?;
    let pem = lab.dir().join("tls.pem");
    let tls = format!("host = www.example.net\nca-file = {}\n", pem.display());
    for (number, kind) in KINDS.iter().enumerate() {
        let (port, listen, keys) = match *kind {
            "udp" => (ECHO_PORT, "53/udp", "send = ping\nanswer = ping\n"),
            "https" => (443, "443/tcp", tls.as_str()),
            "http" => (80, "80/tcp", "body = fine\n"),
            "ping" => (80, "81/tcp", ""),
            _ => (80, "82/tcp", ""),
        };
        writeln!(
            more,
            "[health {kind}-check]\ntype = {kind}\ninterval = 2s\n{keys}"
        )?;
        writeln!(
            more,
            "[service {kind}]\nlisten = {VIP}:{listen}\nlip-pool = blue\nhealth = {kind}-check"
        )?;
        for n in 0..EACH {
            let [high, low] = n.to_be_bytes();
            let third = number * 8 + usize::from(high);
            writeln!(more, "real = 10.82.{third}.{low}:{port}")?;
        }
    }
    Ok(conf)
}
