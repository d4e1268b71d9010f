//! Single connections and handshakes, looked at closely.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use crate::inside::Task;
use crate::inside::options::{CellReport, Options};
use crate::inside::probe::{Probe, ProbeReport};
use crate::inside::raw::{Half, RawAck, RawReport, RawSyn};
use crate::lab::{CLIENT_LINK, Lab, VIP};

/// The raw client's address: the kernel has it, too, and is kept from answering for it.
const RAW_CLIENT: Ipv4Addr = Ipv4Addr::new(10, 80, 0, 40);

impl Lab {
    /// Opens one connection and looks at it closely.
    ///
    /// # Errors
    /// As [`Lab::http_get`].
    pub fn probe(&self, probe: Probe) -> Result<ProbeReport> {
        self.task("probe", &Task::Probe(probe))
    }

    /// Gives the raw client an address and keeps the kernel from resetting its connections.
    ///
    /// # Errors
    /// When a tool refuses.
    pub fn expect_raw_clients(&self) -> Result<()> {
        self.client
            .ip(&format!("addr add {RAW_CLIENT}/24 dev {CLIENT_LINK}"))?;
        self.client.nft(&format!(
            "table ip weir-raw {{\n\
             chain output {{\n\
             type filter hook output priority 0\n\
             ip saddr {RAW_CLIENT} tcp flags & rst == rst drop\n}}\n}}\n"
        ))
    }

    /// Sends the SYN of a new raw client to the VIP and returns the handshake that it begins.
    ///
    /// # Errors
    /// When it is not answered.
    pub fn raw_syn(&self, port: u16) -> Result<Half> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let syn = RawSyn {
            source: SocketAddrV4::new(RAW_CLIENT, 20_000 + (number % 40_000) as u16),
            target: SocketAddrV4::new(VIP, port),
            isn: 0x5eed_0000_u32.wrapping_add(number.wrapping_mul(0x0102_0305)),
        };
        self.task("raw-syn", &Task::RawSyn(syn))
    }

    /// Completes a raw client's handshake, with data or without, and listens.
    ///
    /// # Errors
    /// When the client cannot run; silence and resets are in the report.
    pub fn raw_ack(&self, ack: RawAck) -> Result<RawReport> {
        self.task("raw-ack", &Task::RawAck(ack))
    }

    /// Tries the cells of the options' matrix from the clients' namespace.
    ///
    /// # Errors
    /// As [`Lab::http_get`].
    pub fn options(&self, options: Options) -> Result<Vec<CellReport>> {
        self.task("options", &Task::Options(options))
    }
}
