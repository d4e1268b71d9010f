//! A look at every TCP port of an address: which one answers, which one refuses, which one is silent.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::raw::{ACK, OPTIONS, RST, SYN, Wire};

/// Where the scan comes from; the kernel must have no listener there.
const SOURCE_PORT: u16 = 61_007;
/// So many segments, then a pause: an emulated machine must keep up.
const BURST: usize = 64;
const PAUSE: Duration = Duration::from_millis(3);
/// How long answers may take after the last segment of a round.
const LAST: Duration = Duration::from_millis(700);
/// Ports that say nothing are asked so often.
const ROUNDS: u32 = 2;

/// A scan of an address.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Scan {
    /// Where it comes from.
    pub source: Ipv4Addr,
    /// What is looked at.
    pub target: Ipv4Addr,
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanReport {
    /// Ports that answered with a SYN-ACK.
    pub open: BTreeSet<u16>,
    /// How many answered with a RST.
    pub refused: u64,
    /// How many said nothing.
    pub silent: u64,
}

impl Scan {
    /// Sends a SYN to every port and listens; the kernel resets what opens.
    ///
    /// # Errors
    /// When there is no raw socket.
    pub fn run(&self) -> Result<ScanReport> {
        let source = SocketAddrV4::new(self.source, SOURCE_PORT);
        let wire = Wire::open(source, SocketAddrV4::new(self.target, 0))?;
        let ports: RangeInclusive<u16> = self.first..=self.last;
        let mut silent: BTreeSet<u16> = ports.collect();
        let mut report = ScanReport::default();
        for _ in 0..ROUNDS {
            let asked: Vec<u16> = silent.iter().copied().collect();
            for burst in asked.chunks(BURST) {
                for port in burst {
                    let target = SocketAddrV4::new(self.target, *port);
                    wire.send_to(target, [u32::from(*port), 0], SYN, OPTIONS, &[])?;
                }
                thread::sleep(PAUSE);
                Self::hear(&wire, Instant::now(), &mut silent, &mut report)?;
            }
            Self::hear(&wire, Instant::now() + LAST, &mut silent, &mut report)?;
        }
        report.silent = silent.len() as u64;
        Ok(report)
    }

    /// Takes the answers that have come and, until `end`, those that come.
    fn hear(
        wire: &Wire,
        end: Instant,
        silent: &mut BTreeSet<u16>,
        report: &mut ScanReport,
    ) -> Result<()> {
        while let Some((port, flags)) = wire.next_answer(end)? {
            if !silent.remove(&port) {
                continue;
            }
            if flags & RST != 0 {
                report.refused += 1;
            } else if flags & (SYN | ACK) == SYN | ACK {
                report.open.insert(port);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn an_open_port_is_told_from_closed_ones() {
        if !crate::machine::is_root() {
            println!("skipped: raw sockets need root");
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap().port();
        let scan = Scan {
            source: Ipv4Addr::LOCALHOST,
            target: Ipv4Addr::LOCALHOST,
            first: open,
            last: open.saturating_add(3),
        };
        let report = scan.run().unwrap();
        assert!(report.open.contains(&open), "{report:?}");
        assert_eq!(report.silent, 0, "{report:?}");
    }
}
