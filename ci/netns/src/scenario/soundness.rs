//! The lab itself, with the kernel's NAT in Weir's place: what fails here is not Weir's fault.

use std::net::SocketAddrV4;

use anyhow::{Result, bail, ensure};

use super::Run;
use crate::client::load::Way;
use crate::inside::socket::Failures;
use crate::inside::transfer::{Bulk, Datagrams};
use crate::lab::{Lab, Topology, VIP};
use crate::server::{self, BigFile, ECHO_PORT, IPERF_PORT, Nginx, Share};
use crate::{KernelNat, client::load::WrkReport};

pub(super) fn run(run: &mut Run) -> Result<()> {
    let seconds = run.figure(1, 10);
    let lab = Lab::new(Topology::default())?;
    let big = server::big_file()?;
    let _nginx = Nginx::start_all(&lab)?;
    let _servers = [
        server::iperf(&lab, 0)?,
        server::udp_echo(&lab, 0)?,
        server::tcp_echo(&lab, 0)?,
        server::tcp_banner(&lab, 0)?,
    ];
    let _nat = KernelNat::start(&lab)?;
    let at = |port| SocketAddrV4::new(VIP, port);
    run.check("kernel NAT: 1,000 pages", || pages(&lab));
    run.check("kernel NAT: wrk keep-alive", || {
        wrk(&lab.wrk("/bench", seconds, true)?)
    });
    run.check("kernel NAT: wrk close", || {
        wrk(&lab.wrk("/bench", seconds, false)?)
    });
    run.check("kernel NAT: iperf3", || {
        let up = lab.iperf(at(IPERF_PORT), Way::Up, seconds)?;
        let down = lab.iperf(at(IPERF_PORT), Way::Down, seconds)?;
        Ok(format!("{} up, {} down", gigabits(up), gigabits(down)))
    });
    let share = run.figure(Share::Quarter, Share::Whole);
    run.check("kernel NAT: a download", || download(&lab, &big, share));
    run.check("kernel NAT: echo", || {
        let bulk = lab.bulk(Bulk {
            target: at(ECHO_PORT),
            bytes: 16 << 20,
        })?;
        ensure!(bulk.failure.is_none() && bulk.same == 16 << 20, "{bulk:?}");
        let datagrams = lab.datagrams(Datagrams {
            target: at(ECHO_PORT),
            count: 100,
            size: 1400,
        })?;
        ensure!(datagrams.lost == 0, "{datagrams:?}");
        Ok(format!(
            "16 MiB in {:.2} s, {} datagrams",
            bulk.seconds, datagrams.same
        ))
    });
    run.check("kernel NAT: connections in a row", || {
        let count = 5_000;
        let storm = lab.connections(count);
        let report = lab.storm(storm)?;
        ensure!(report.ok == count, "{report:?}");
        Ok(format!("{count} at {:.0}/s", report.per_second()))
    });
    Ok(())
}

/// Downloads that share of the big file and demands the right bytes.
pub(super) fn download(lab: &Lab, big: &BigFile, share: Share) -> Result<String> {
    ensure!(
        lab.download_sha256(share)? == big.sum(share),
        "other bytes came"
    );
    Ok(format!("{} MiB, the right SHA-256", share.bytes() >> 20))
}

/// Fetches 1,000 pages from eight addresses and demands that all arrive, from every real server.
pub(super) fn pages(lab: &Lab) -> Result<String> {
    let get = lab.pages(80, "/page", 1000);
    let report = lab.http_get(get)?;
    if report.ok != 1000 {
        bail!("{} of 1000 pages, {}", report.ok, list(&report.failures));
    }
    ensure!(
        report.servers.len() == lab.reals.len(),
        "not every real server was used: {:?}",
        report.servers
    );
    let servers: Vec<String> = report
        .servers
        .iter()
        .map(|(server, pages)| format!("{server} {pages}"))
        .collect();
    Ok(format!(
        "{}; slowest {:.1} ms",
        servers.join(", "),
        report.slowest_ms
    ))
}

/// Sends so many bytes to an echo service and demands that the same ones come back.
pub(super) fn echo(lab: &Lab, port: u16, bytes: u64) -> Result<String> {
    let target = SocketAddrV4::new(VIP, port);
    let report = lab.bulk(Bulk { target, bytes })?;
    ensure!(
        report.failure.is_none() && report.same == bytes,
        "{report:?}"
    );
    Ok(format!(
        "{} MiB each way in {:.2} s",
        bytes >> 20,
        report.seconds
    ))
}

/// Measures a TCP stream up and then down, in bits per second.
pub(super) fn both_ways(lab: &Lab, seconds: u32) -> Result<(f64, f64)> {
    // A server of its own: one whose last client went away with the NAT may still wait for it.
    let _iperf = server::iperf(lab, 0)?;
    let target = SocketAddrV4::new(VIP, IPERF_PORT);
    let up = lab.iperf(target, Way::Up, seconds)?;
    Ok((up, lab.iperf(target, Way::Down, seconds)?))
}

/// Demands a wrk run without errors and says its figures.
pub(super) fn wrk(report: &WrkReport) -> Result<String> {
    ensure!(report.requests > 0, "not one answer");
    ensure!(
        report.errors == 0,
        "{} errors in {} requests",
        report.errors,
        report.requests
    );
    Ok(format!(
        "{:.0} pages/s, 99 % within {}, no errors",
        report.per_second, report.latency_99
    ))
}

/// Lists failures by kind.
pub(super) fn list(failures: &Failures) -> String {
    let kinds: Vec<String> = failures
        .iter()
        .map(|(kind, times)| format!("{kind} ({times})"))
        .collect();
    kinds.join(", ")
}

/// Writes bits per second for people.
pub(super) fn gigabits(bits: f64) -> String {
    format!("{:.2} Gbit/s", bits / 1e9)
}
