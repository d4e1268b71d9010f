//! Handshakes behind cookies: who speaks first, who says nothing, who has gone, and whose cookie it
//! was.

mod cookies;

use std::fs;
use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::soundness::{self, pages};
use super::{DRIVERS, Run};
use crate::inside::probe::{End, Probe, ProbeReport};
use crate::inside::raw::RawAck;
use crate::inside::servers::BANNER;
use crate::lab::{Lab, REAL_LINK, Topology, VIP, real_address};
use crate::server::{self, BANNER_PORT, ECHO_PORT, Nginx};
use crate::{Service, WeirConf, WeirProcess};

/// Echo behind a closed window.
const CLOSED: u16 = 1007;
/// Echo behind cookies that live for eight seconds, the shortest life there is.
const SHORT_LIVED: u16 = 2007;
/// A port at which no real server listens.
const DOWN: u16 = 81;
/// A service whose real server is not there at all.
const GONE: u16 = 82;
/// A client must know within this time that nobody answers. Weir gives up after 950 ms.
const TOLD_MS: f64 = 1_100.0;

const SECRET: &str = "8c1d0be4f27a4c53a4d95b1762e03f9a";
const OTHER_SECRET: &str = "00112233445566778899aabbccddeeff";

pub(super) fn run(run: &mut Run) -> Result<()> {
    for driver in DRIVERS {
        one(run, driver)?;
    }
    Ok(())
}

fn one(run: &mut Run, driver: &str) -> Result<()> {
    let lab = Lab::new(Topology::default())?;
    lab.expect_raw_clients()?;
    let _nginx = Nginx::start_all(&lab)?;
    let _servers = [server::tcp_banner(&lab, 0)?, server::tcp_echo(&lab, 0)?];
    secret(&lab, SECRET)?;
    let conf = conf(&lab, driver);
    let weir = WeirProcess::start(&lab, &run.weir, &conf)?;
    let old = cookies::keep_one(&lab)?;
    speaking(run, &lab, driver)?;
    nobody(run, &lab, driver)?;
    run.check(&format!("{driver}: ledger"), || {
        Ok(weir.ledger().with_context(|| weir.log_tail())?.to_string())
    });
    cookies::run(run, &lab, driver, weir, &conf, old)
}

fn secret(lab: &Lab, key: &str) -> Result<()> {
    let file = lab.dir().join("cookie.key");
    fs::write(&file, format!("{key}\n")).context("cannot write the secret file")?;
    let mut permissions = fs::metadata(&file).context("no secret file")?.permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    fs::set_permissions(&file, permissions).context("cannot hide the secret file")
}

fn conf(lab: &Lab, driver: &str) -> WeirConf {
    let mut conf = WeirConf::new(driver, 1, lab.dir());
    let file = lab.dir().join("cookie.key");
    let profile = |name: &str, keys: &str| {
        format!(
            "[synproxy {name}]\nmode            = always\nsecret-file     = {}\n{keys}\n",
            file.display()
        )
    };
    conf.more = [
        profile("plain", ""),
        profile("closed", "client-window   = closed\n"),
        profile("deferred", "defer           = yes\n"),
        profile("short-lived", "cookie-lifetime = 8s\n"),
    ]
    .concat();
    let service = |name: &str, port: u16, (real, real_port): (u8, u16), profile: &str| Service {
        reals: vec![(real, real_port)],
        more: format!("client-address  = none\nsynproxy        = {profile}"),
        ..Service::tcp(name, port, &[])
    };
    let mut web = Service::tcp("web", 80, &[0, 1]);
    "synproxy        = deferred".clone_into(&mut web.more);
    conf.services = vec![
        web,
        service("banner", BANNER_PORT, (0, BANNER_PORT), "plain"),
        service("echo", ECHO_PORT, (0, ECHO_PORT), "plain"),
        service("closed", CLOSED, (0, ECHO_PORT), "closed"),
        service("short-lived", SHORT_LIVED, (0, ECHO_PORT), "short-lived"),
        service("down", DOWN, (0, DOWN), "plain"),
        service("gone", GONE, (3, GONE), "plain"),
    ];
    conf
}

fn at(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(VIP, port)
}

/// Demands an answer and an end.
fn expect(report: &ProbeReport, answer: &str, end: End) -> Result<String> {
    ensure!(
        report.answer == answer && report.end == end,
        "{report:?}; wanted {answer:?} and {end:?}"
    );
    Ok(format!(
        "{:?} after {:.1} + {:.1} ms",
        end, report.handshake_ms, report.end_ms
    ))
}

/// Both ends are there and speak in every order.
fn speaking(run: &mut Run, lab: &Lab, driver: &str) -> Result<()> {
    let banner = str::from_utf8(BANNER).context("the banner is text")?;
    let silent_ms = run.figure(5_000, 60_000);
    run.check(&format!("{driver}: the server speaks first"), || {
        expect(
            &lab.probe(Probe::listen(at(BANNER_PORT)))?,
            banner,
            End::Closed,
        )
    });
    run.check(&format!("{driver}: FIN at once"), || {
        let mut probe = Probe::listen(at(BANNER_PORT));
        probe.shutdown = true;
        expect(&lab.probe(probe)?, banner, End::Closed)?;
        let mut probe = Probe::listen(at(ECHO_PORT));
        probe.shutdown = true;
        expect(&lab.probe(probe)?, "", End::Closed)
    });
    run.check(&format!("{driver}: data in the handshake's ACK"), || {
        let report = lab.raw_ack(RawAck {
            half: lab.raw_syn(ECHO_PORT)?,
            say: "early bird".to_owned(),
            fin: false,
            listen_ms: 2_000,
            wanted: 10,
        })?;
        ensure!(report.answer == "early bird", "{report:?}");
        Ok(format!("echoed after {:.1} ms", report.ms))
    });
    run.check(
        &format!("{driver}: data and FIN in the handshake's ACK"),
        || {
            let report = lab.raw_ack(RawAck {
                half: lab.raw_syn(ECHO_PORT)?,
                say: "hit and run".to_owned(),
                fin: true,
                listen_ms: 2_000,
                wanted: 0,
            })?;
            ensure!(
                report.answer == "hit and run" && report.closed,
                "{report:?}"
            );
            Ok(format!("echoed and closed after {:.1} ms", report.ms))
        },
    );
    run.check(
        &format!("{driver}: {silent_ms} ms of silence, then data"),
        || {
            let mut probe = Probe::echo(at(ECHO_PORT), "still here");
            probe.silent_ms = silent_ms;
            expect(&lab.probe(probe)?, "still here", End::Satisfied)
        },
    );
    run.check(
        &format!("{driver}: the window is closed until the real server answers"),
        || {
            let half = lab.raw_syn(CLOSED)?;
            ensure!(half.window == 0, "the SYN-ACK's window is {}", half.window);
            soundness::echo(lab, CLOSED, 4 << 20)
        },
    );
    run.check(&format!("{driver}: early data in an open window"), || {
        soundness::echo(lab, ECHO_PORT, 4 << 20)
    });
    run.check(
        &format!("{driver}: pages from deferred real servers"),
        || pages(lab),
    );
    run.check(
        &format!("{driver}: a deferred service waits for data"),
        || {
            let report = lab.raw_ack(RawAck {
                half: lab.raw_syn(80)?,
                say: String::new(),
                fin: false,
                listen_ms: 300,
                wanted: 0,
            })?;
            ensure!(!report.heard, "{report:?}");
            Ok("silence answers silence".to_owned())
        },
    );
    Ok(())
}

/// The real server does not listen, or is not there at all.
fn nobody(run: &mut Run, lab: &Lab, driver: &str) -> Result<()> {
    for (what, port) in [("does not listen", DOWN), ("is not there", GONE)] {
        run.check(&format!("{driver}: the real server {what}"), || {
            let report = lab.probe(Probe::listen(at(port)))?;
            let said = expect(&report, "", End::Reset)?;
            ensure!(report.end_ms <= TOLD_MS, "{said}, {TOLD_MS} ms allowed");
            Ok(said)
        });
    }
    let real = lab.real(0)?;
    run.check(
        &format!("{driver}: the real server's address has gone"),
        || {
            real.ip(&format!("addr del {}/24 dev {REAL_LINK}", real_address(0)))?;
            std::thread::sleep(Duration::from_millis(100));
            let report = lab.probe(Probe::listen(at(BANNER_PORT)));
            real.ip(&format!("addr add {}/24 dev {REAL_LINK}", real_address(0)))?;
            let report = report?;
            let said = expect(&report, "", End::Reset)?;
            ensure!(report.end_ms <= TOLD_MS, "{said}, {TOLD_MS} ms allowed");
            Ok(said)
        },
    );
    Ok(())
}
