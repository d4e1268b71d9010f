//! The measurements, the same for whatever stands in the middle.

use std::fmt;
use std::net::SocketAddrV4;

use anyhow::{Result, bail, ensure};

use super::PER_SECOND;
use crate::client::Running;
use crate::inside::connect::{Connect, ConnectReport};
use crate::inside::flood::{Burst, FloodReport, Vector};
use crate::lab::{Lab, VIP};

/// A rate is free of loss when this share of the SYNs is answered.
pub(super) const LOSS_FREE: f64 = 0.999;
/// The shares of the saturated rate that are tried, the highest first. Answers that are not lost
/// are cheaper than those that are, so more than the saturated rate may be possible.
const STEPS: [f64; 11] = [1.8, 1.5, 1.25, 1.1, 1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2];

/// A flood and the clients beside it.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    pub(super) flood: FloodReport,
    pub(super) clients: ConnectReport,
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { flood, clients } = self;
        write!(
            f,
            "{:.0} frames/s, {} answered by SYN-ACK; {} of {} connections ({}), handshake p50 {:.2} p99 {:.2} max {:.1} ms, first byte p99 {:.2} ms",
            flood.rate(),
            percent(flood.answered()),
            clients.ok,
            clients.begun,
            percent(clients.success()),
            clients.handshake.p50,
            clients.handshake.p99,
            clients.handshake.max,
            clients.first_byte.p99,
        )?;
        if clients.late > 0 {
            write!(f, ", {} begun late", clients.late)?;
        }
        Ok(())
    }
}

/// Floods at a rate while clients open connections; without vectors the clients are alone.
pub(super) fn beside(
    lab: &Lab,
    port: u16,
    vectors: &[Vector],
    rate: u32,
    ms: u64,
    per_second: u32,
) -> Result<Beside> {
    let flooding = if vectors.is_empty() {
        None
    } else {
        let bursts = [Burst {
            after_ms: 100,
            rate,
            ms,
        }];
        Some(lab.start_flood(lab.flood(port, vectors, &bursts)?)?)
    };
    let clients = lab.start_connect(Connect {
        target: SocketAddrV4::new(VIP, port),
        per_second,
        ms,
        sources: lab.client_addresses(),
    })?;
    let clients = clients.report()?;
    let flood = flooding.map_or_else(|| Ok(FloodReport::default()), Running::report)?;
    Ok(Beside { flood, clients })
}

/// Floods at a rate without any clients; 0: as fast as the generator can.
pub(super) fn alone(lab: &Lab, port: u16, rate: u32, ms: u64) -> Result<FloodReport> {
    let bursts = [Burst {
        after_ms: 100,
        rate,
        ms,
    }];
    lab.start_flood(lab.flood(port, &[Vector::Syn], &bursts)?)?
        .report()
}

/// Finds the highest rate of SYNs at which 99.9 % are answered, twice.
pub(super) fn find_rate(lab: &Lab, port: u16, step_ms: u64) -> Result<u32> {
    let most = alone(lab, port, 0, step_ms)?;
    let saturated = rounded(most.rate() * most.answered());
    println!(
        "      {:>9.0} SYN/s, as fast as the generator can: {} answered, {saturated} SYN-ACK/s",
        most.rate(),
        percent(most.answered())
    );
    ensure!(saturated > 0, "not one SYN was answered");
    for share in STEPS {
        let rate = rounded(f64::from(saturated) * share);
        let report = alone(lab, port, rate, step_ms)?;
        println!(
            "      {:>9.0} SYN/s: {} answered",
            report.rate(),
            percent(report.answered())
        );
        if report.answered() >= LOSS_FREE
            && alone(lab, port, rate, step_ms)?.answered() >= LOSS_FREE
        {
            return Ok(rounded(report.rate()));
        }
    }
    bail!("a fifth of the saturated rate still loses SYNs")
}

/// Measures what clients notice of these multiples of a rate, or what the generator can of them.
pub(super) fn curve(
    lab: &Lab,
    port: u16,
    rate: u32,
    (factors, ms): (&[u32], u64),
) -> Result<Vec<Beside>> {
    let mut rows = Vec::new();
    for factor in factors {
        let row = beside(lab, port, &[Vector::Syn], rate * factor, ms, PER_SECOND)?;
        println!("      {factor} x {rate}/s: {row}");
        rows.push(row);
    }
    Ok(rows)
}

/// Writes a share for people.
pub(super) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

#[expect(
    clippy::cast_sign_loss,
    reason = "a rate of frames per second is positive and far below 2^32"
)]
fn rounded(rate: f64) -> u32 {
    rate.round() as u32
}
