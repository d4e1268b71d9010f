//! Checks under load: a real server that dies is out in time and back in time, a page tells what a
//! handshake does not, a wrong certificate is told, a sorry server takes over, and an address goes
//! and comes with its quorum. The daemon that runs the programs has given up its privileges.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::Run;
use super::doctor::privileges;
use super::soundness::list;
use crate::inside::http::HttpGet;
use crate::lab::{Lab, Topology, real_address};
use crate::patience::within;
use crate::server::Nginx;
use crate::{Service, WeirConf, WeirProcess};

mod many;

/// Checks are 200 ms apart give or take a tenth, answers take at most 150 ms, three failures in a
/// row and two answers in a row count.
const PROFILE: &str =
    "interval        = 200ms\ntimeout         = 150ms\nrise            = 2\nfall            = 3\n";
/// For those that nobody takes the time of.
const SLOW_PROFILE: &str =
    "interval        = 500ms\ntimeout         = 500ms\nrise            = 1\nfall            = 2\n";
const OUT_WITHIN: Duration = Duration::from_millis(3 * 220 + 150);
const BACK_WITHIN: Duration = Duration::from_millis(2 * 220 + 150);
/// What asking `weir show health` in turn adds to what is measured.
const ASKING: Duration = Duration::from_millis(150);
/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(30);
/// Other work on the machine makes single figures longer; then both are measured again.
const ROUNDS: u32 = 4;

/// Where the service with a quorum listens: alone, so that the address goes with the quorum.
const QUORATE: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 101);
const WRONG_NAME: &str = "the certificate is for www.example.net, not for shop.example.net";

pub(super) fn run(run: &mut Run) -> Result<()> {
    few(run)?;
    if run.long {
        many::run(run)?;
    }
    Ok(())
}

fn few(run: &mut Run) -> Result<()> {
    let lab = Lab::new(Topology {
        reals: 4,
        ..Topology::default()
    })?;
    let mut servers = Nginx::start_all(&lab)?;
    let _tls = tls_server(&lab)?;
    let check = script(
        &lab,
        "check",
        "[ $WEIR_REAL_PORT = 80 ] && echo 7 && exit 0\necho not mine\nexit 4",
    )?;
    let told = lab.dir().join("hooks");
    let line = "$WEIR_EVENT $WEIR_SERVICE $WEIR_WEIGHT_UP";
    let hook = script(&lab, "hook", &format!("echo {line} >> {}", told.display()))?;
    let weir = WeirProcess::start(&lab, &run.weir, &conf(&lab, &check, &hook))?;
    sentences(run, &weir);
    silence(run, &lab, &weir);
    under_load(run, &lab, &weir, &mut servers)?;
    poverty(run, &lab, &weir, &mut servers);
    run.check("hooks ran", || {
        within(PATIENCE, || {
            let told = fs::read_to_string(&told).unwrap_or_default();
            let wanted = "quorum-down quorate 1\nquorum-up quorate 3\n";
            ensure!(told == wanted, "{told}");
            Ok(told.trim().replace('\n', ", "))
        })
    });
    run.check("ledger", || Ok(weir.ledger()?.to_string()));
    Ok(())
}

/// What checks of each kind say.
fn sentences(run: &mut Run, weir: &WeirProcess<'_>) {
    run.check("a page that is not as expected is told", || {
        wait(weir, "web", 0, "up", PATIENCE)?;
        wait(weir, "other", 0, "down", PATIENCE)?;
        error(weir, "other", "status 200, where 300-399 is expected")
    });
    run.check("a program says the weight", || {
        error(weir, "refused", "exit status 4: not mine")?;
        let services = weir.show("services")?;
        let weight = find(&services, "name", "weighed")?
            .pointer("/reals/0/weight")
            .and_then(Value::as_u64);
        ensure!(weight == Some(7), "{services}");
        // Somebody else ran it: the daemon itself can run nothing.
        let sealed = privileges(weir.pid())?;
        Ok(format!("weight 7; exit status 4: not mine; {sealed}"))
    });
    run.check("a certificate for another name says so", || {
        wait(weir, "tls-right", 0, "up", PATIENCE)?;
        wait(weir, "tls-wrong", 0, "down", PATIENCE)?;
        let said = format!(
            "real server {}:443 of tls-wrong is down: {WRONG_NAME}",
            real_address(0)
        );
        let events = weir.show("events")?.to_string();
        ensure!(events.contains(&said), "{said}: {events}");
        error(weir, "tls-wrong", WRONG_NAME)
    });
}

/// A real server answers no client, although its checks pass.
fn silence(run: &mut Run, lab: &Lab, weir: &WeirProcess<'_>) {
    run.check("who answers no client is left out", || {
        let table = "table ip quiet {\n chain quiet {\n type filter hook input priority 0\n \
                     ip saddr 10.81.0.200 tcp dport 80 drop\n }\n}\n";
        lab.real(3)?.nft(table)?;
        let some = |count| HttpGet {
            concurrency: 12,
            keep_alive: false,
            ..lab.pages(8005, "/bench", count)
        };
        let lost = lab.start_http_get(some(12))?;
        let took = wait(weir, "quiet", 1, "inhibited", PATIENCE)?;
        let pages = lab.http_get(some(40))?;
        ensure!(pages.ok == 40, "{}", list(&pages.failures));
        ensure!(pages.servers.len() == 1, "{:?}", pages.servers);
        lab.real(3)?.run("nft delete table ip quiet")?;
        lost.report()?;
        within(PATIENCE, || {
            let pages = lab.http_get(some(12))?;
            ensure!(pages.servers.len() == 2, "{:?}", pages.servers);
            Ok(())
        })?;
        Ok(format!("after {} ms, and back", took.as_millis()))
    });
}

/// A real server dies and comes back under load.
fn under_load(
    run: &mut Run,
    lab: &Lab,
    weir: &WeirProcess<'_>,
    servers: &mut Vec<Nginx>,
) -> Result<()> {
    let loading = lab.start_http_get(HttpGet {
        concurrency: 8,
        keep_alive: false,
        pause_ms: 2,
        ..lab.pages(80, "/bench", 5_000)
    })?;
    let (mut out, mut back) = (Duration::MAX, Duration::MAX);
    run.check(
        "a real server that dies is out in time and back in time",
        || {
            for _ in 0..ROUNDS {
                drop(servers.remove(1));
                out = out.min(wait(weir, "web", 1, "down", PATIENCE)?);
                let pages = lab.http_get(lab.pages(80, "/bench", 200))?;
                ensure!(pages.ok == 200, "{}", list(&pages.failures));
                servers.insert(1, Nginx::start(lab, 1)?);
                back = back.min(wait(weir, "web", 1, "up", PATIENCE)?);
                if out <= OUT_WITHIN + ASKING && back <= BACK_WITHIN + ASKING {
                    break;
                }
            }
            let figure = format!(
                "out after {out:.0?} of {OUT_WITHIN:?}, back after {back:.0?} of {BACK_WITHIN:?}; \
             200 pages meanwhile"
            );
            ensure!(out <= OUT_WITHIN + ASKING, "{figure}");
            ensure!(back <= BACK_WITHIN + ASKING, "{figure}");
            Ok(figure)
        },
    );
    let load = loading.report()?;
    run.check("the load meanwhile", || {
        // Those that were sent to it before it was out are refused by it.
        ensure!(load.ok > 1_000, "{}: {}", load.ok, list(&load.failures));
        Ok(format!("{} of 5000 pages", load.ok))
    });
    Ok(())
}

/// Too few real servers are left, and come back.
fn poverty(run: &mut Run, lab: &Lab, weir: &WeirProcess<'_>, servers: &mut Vec<Nginx>) {
    run.check("the sorry server takes over", || {
        servers.drain(..2);
        for n in [0, 1] {
            wait(weir, "web", n, "down", PATIENCE)?;
        }
        // The workers are told a moment later.
        within(PATIENCE, || {
            let pages = lab.http_get(lab.pages(80, "/bench", 100))?;
            ensure!(pages.ok == 100, "{}", list(&pages.failures));
            Ok(())
        })?;
        let services = weir.show("services")?;
        let state = find(&services, "name", "web")?.get("state").cloned();
        ensure!(state == Some(Value::from("sorry")), "{services}");
        Ok("100 pages of it".to_owned())
    });
    run.check("an address goes with its quorum", || {
        within(PATIENCE, || {
            ensure!(!answers(lab), "{QUORATE} answers");
            quorum(weir, "no-quorum")
        })?;
        Ok(format!("nobody answers for {QUORATE}"))
    });
    run.check("and comes back with its hysteresis", || {
        servers.insert(0, Nginx::start(lab, 0)?);
        wait(weir, "quorate", 0, "up", PATIENCE)?;
        ensure!(!answers(lab), "{QUORATE} answers: 2 of 3 are too few");
        quorum(weir, "no-quorum")?;
        servers.insert(1, Nginx::start(lab, 1)?);
        wait(weir, "quorate", 1, "up", PATIENCE)?;
        within(PATIENCE, || {
            ensure!(answers(lab), "nobody answers for {QUORATE}");
            quorum(weir, "up")
        })?;
        Ok(format!("{QUORATE} answers"))
    });
}

/// Writes a program for the daemon to run.
fn script(lab: &Lab, name: &str, text: &str) -> Result<PathBuf> {
    let path = lab.dir().join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// Says whether anybody tells the client where the address of the quorum is.
fn answers(lab: &Lab) -> bool {
    // What it was told before is forgotten, if there is something.
    let _ = lab.client.ip(&format!("neigh flush to {QUORATE}"));
    let ping = format!("ping -n -q -c 1 -W 0.3 {QUORATE}");
    lab.client.run(&ping).is_ok()
}

fn quorum(weir: &WeirProcess<'_>, state: &str) -> Result<()> {
    let services = weir.show("services")?;
    let row = find(&services, "name", "quorate")?;
    ensure!(is(row, "state", state), "not {state}: {row}");
    Ok(())
}

fn conf(lab: &Lab, check: &Path, hook: &Path) -> WeirConf {
    let mut conf = WeirConf::new("af-xdp", 1, lab.dir());
    let ca = lab.dir().join("tls.pem");
    conf.services.clear();
    let mut add = |name: &str, port: u16, reals: &[(u8, u16)], more: &str| {
        let mut service = Service::tcp(name, port, &[]);
        service.reals = reals.to_vec();
        service.more = format!("health          = {more}");
        conf.services.push(service);
    };
    let sorry = format!("page\nsorry           = {}:80", real_address(2));
    add("web", 80, &[(0, 80), (1, 80)], &sorry);
    add("other", 8001, &[(3, 80)], "other");
    add("weighed", 8002, &[(3, 80)], "program");
    add("refused", 8003, &[(3, 81)], "program");
    add("tls-right", 8443, &[(0, 443)], "tls-right");
    add("tls-wrong", 8444, &[(0, 443)], "tls-wrong");
    add(
        "quiet",
        8005,
        &[(2, 80), (3, 80)],
        "page\npassive         = 1s  syns=4",
    );
    let tls = |name: &str| {
        format!(
            "[health tls-{name}]\ntype            = https\nhost            = {}.example.net\n\
             ca-file         = {}\n{SLOW_PROFILE}",
            if name == "right" { "www" } else { "shop" },
            ca.display()
        )
    };
    conf.more = format!(
        "[health page]\ntype            = http\nget             = /bench\n{PROFILE}\
         [health other]\ntype            = http\nget             = /bench\nexpect          = 300-399\n{PROFILE}\
         [health program]\ntype            = exec\nprogram         = {}\n\
         weight-from     = first-line\n{PROFILE}{}{}\
         [service quorate]\nlisten          = {QUORATE}:80/tcp\nlip-pool        = blue\n\
         health          = page\nquorum          = 2  hysteresis=1\n\
         quorum-up       = {hook}\nquorum-down     = {hook}\n\
         real            = {}:80\nreal            = {}:80\nreal            = {}:80\n",
        check.display(),
        tls("right"),
        tls("wrong"),
        real_address(0),
        real_address(1),
        real_address(2),
        hook = hook.display(),
    );
    conf
}

/// Waits until a real server of a service is in a state, for so long; says how long that took.
fn wait(
    weir: &WeirProcess<'_>,
    service: &str,
    real: usize,
    state: &str,
    patience: Duration,
) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let health = weir.show("health")?;
        let rows = health.as_array().map_or(&[][..], Vec::as_slice);
        let mut mine = rows.iter().filter(|row| is(row, "service", service));
        let took = began.elapsed();
        if mine.nth(real).is_some_and(|row| is(row, "state", state)) {
            return Ok(took);
        }
        ensure!(
            took < patience,
            "real server {real} of {service} is not {state}: {health}"
        );
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the last error of a service's first real server is a sentence.
fn error(weir: &WeirProcess<'_>, service: &str, sentence: &str) -> Result<String> {
    within(PATIENCE, || {
        let health = weir.show("health")?;
        let row = find(&health, "service", service)?;
        let is_said = is(row, "last_error", sentence);
        ensure!(is_said, "`{sentence}` is not said: {health}");
        Ok(sentence.to_owned())
    })
}

fn find<'a>(rows: &'a Value, key: &str, name: &str) -> Result<&'a Value> {
    let mut rows = rows.as_array().map_or(&[][..], Vec::as_slice).iter();
    rows.find(|row| is(row, key, name))
        .with_context(|| format!("{name} has no row"))
}

fn is(row: &Value, key: &str, value: &str) -> bool {
    row.get(key).and_then(Value::as_str) == Some(value)
}

/// Makes a key and a certificate for `www.example.net` that is its own authority.
fn certificate(lab: &Lab) -> Result<(PathBuf, PathBuf)> {
    let (key, certificate) = (lab.dir().join("tls.key"), lab.dir().join("tls.pem"));
    let make = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
         -subj /CN=weir -addext subjectAltName=DNS:www.example.net \
         -addext basicConstraints=critical,CA:FALSE -keyout {} -out {}",
        key.display(),
        certificate.display()
    );
    lab.real(0)?.run(&make)?;
    Ok((key, certificate))
}

/// Starts an HTTPS server with a certificate of its own on the first real server.
fn tls_server(lab: &Lab) -> Result<crate::process::Process> {
    let (key, certificate) = certificate(lab)?;
    let real = lab.real(0)?;
    let mut command = real.command("openssl");
    command.args(["s_server", "-4", "-quiet", "-www", "-accept", "443", "-key"]);
    command.arg(key).arg("-cert").arg(certificate);
    let mut server = lab.start("s_server", &mut command)?;
    server.wait_listening(crate::process::Transport::Tcp, 443)?;
    Ok(server)
}
