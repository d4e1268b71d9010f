//! Rates of one second, in whole numbers: those of parts add up to that of the whole.

use std::collections::BTreeMap;
use std::iter::Sum;

use serde::{Deserialize, Serialize};

/// Rates of parts, added up with `sum`; where one of `Option`s is none, so is their sum.
macro_rules! sums {
    ($($rates:ty),+) => {
        $(impl<'a> Sum<&'a Self> for $rates {
            fn sum<I: Iterator<Item = &'a Self>>(parts: I) -> Self {
                let mut sum = Self::default();
                for part in parts {
                    sum.add(part);
                }
                sum
            }
        })+
    };
}

sums!(PortRates, WorkerRates, LedgerRates);

/// What a port did in a second, in whole numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortRates {
    /// Frames received.
    pub rx: u64,
    /// Frames transmitted.
    pub tx: u64,
    /// Bits of frames received.
    pub rx_bits: u64,
    /// Bits of frames transmitted.
    pub tx_bits: u64,
    /// Frames that were lost in the receive rings.
    pub rx_ring_lost: u64,
    /// Frames that the device did not transmit.
    pub tx_ring_lost: u64,
}

impl PortRates {
    /// Adds another port's.
    pub fn add(&mut self, other: &Self) {
        self.rx += other.rx;
        self.tx += other.tx;
        self.rx_bits += other.rx_bits;
        self.tx_bits += other.tx_bits;
        self.rx_ring_lost += other.rx_ring_lost;
        self.tx_ring_lost += other.tx_ring_lost;
    }
}

/// What a worker did in a second, in whole numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerRates {
    /// Frames received.
    pub rx: u64,
    /// Frames transmitted.
    pub tx: u64,
    /// Frames that other workers handed over.
    pub handed_in: u64,
    /// Frames handed to other workers.
    pub handed_out: u64,
    /// Frames dropped for any reason.
    pub dropped: u64,
}

impl WorkerRates {
    /// Adds another worker's.
    pub fn add(&mut self, other: &Self) {
        self.rx += other.rx;
        self.tx += other.tx;
        self.handed_in += other.handed_in;
        self.handed_out += other.handed_out;
        self.dropped += other.dropped;
    }
}

impl From<&LedgerRates> for WorkerRates {
    fn from(ledger: &LedgerRates) -> Self {
        Self {
            rx: ledger.rx,
            tx: ledger.tx,
            handed_in: ledger.handed_in,
            handed_out: ledger.handed_out,
            dropped: ledger.all_dropped(),
        }
    }
}

/// What a ledger counted in a second, in whole numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LedgerRates {
    /// Frames taken out of receive rings.
    pub rx: u64,
    /// Frames that Weir made itself.
    pub originated: u64,
    /// Frames that other workers handed over.
    pub handed_in: u64,
    /// Frames put into transmit rings.
    pub tx: u64,
    /// Frames given to the host's network stack.
    pub delivered: u64,
    /// Frames handed to other workers.
    pub handed_out: u64,
    /// Frames dropped, by reason; those that are nought are left out.
    pub dropped: BTreeMap<String, u64>,
    /// The counters beside the ledger, by name; those that are nought are left out.
    pub counters: BTreeMap<String, u64>,
}

impl LedgerRates {
    /// Adds another ledger's.
    pub fn add(&mut self, other: &Self) {
        self.rx += other.rx;
        self.originated += other.originated;
        self.handed_in += other.handed_in;
        self.tx += other.tx;
        self.delivered += other.delivered;
        self.handed_out += other.handed_out;
        for (name, rate) in &other.dropped {
            *self.dropped.entry(name.clone()).or_default() += rate;
        }
        for (name, rate) in &other.counters {
            *self.counters.entry(name.clone()).or_default() += rate;
        }
    }

    /// Returns the frames dropped for any reason.
    #[must_use]
    pub fn all_dropped(&self) -> u64 {
        self.dropped.values().sum()
    }
}
