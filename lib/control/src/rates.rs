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

sums!(
    PortRates,
    WorkerRates,
    LedgerRates,
    TrafficRates,
    FloodRates
);

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

/// Of thousands of real servers most rest: their rates are not sent.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands the field over so"
)]
fn rests(rate: &u64) -> bool {
    *rate == 0
}

/// What a service, or a real server, carried in a second, in whole numbers; those that are nought are
/// left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrafficRates {
    /// Sessions opened.
    #[serde(skip_serializing_if = "rests")]
    pub opened: u64,
    /// New sessions refused; of a service only, for they came to no real server.
    #[serde(skip_serializing_if = "rests")]
    pub refused: u64,
    /// Packets from clients.
    #[serde(skip_serializing_if = "rests")]
    pub packets_in: u64,
    /// Packets to clients.
    #[serde(skip_serializing_if = "rests")]
    pub packets_out: u64,
    /// Bits of IP packets from clients.
    #[serde(skip_serializing_if = "rests")]
    pub bits_in: u64,
    /// Bits of IP packets to clients.
    #[serde(skip_serializing_if = "rests")]
    pub bits_out: u64,
}

impl TrafficRates {
    /// Adds another service's, or another real server's.
    pub fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.refused += other.refused;
        self.packets_in += other.packets_in;
        self.packets_out += other.packets_out;
        self.bits_in += other.bits_in;
        self.bits_out += other.bits_out;
    }
}

/// What became of the SYNs and cookies of a service in a second, in whole numbers:
/// `syn_in = cookie_sent + passed + limited`. Those that are nought are left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FloodRates {
    /// SYNs from clients.
    #[serde(skip_serializing_if = "rests")]
    pub syn_in: u64,
    /// SYNs answered with a cookie.
    #[serde(skip_serializing_if = "rests")]
    pub cookie_sent: u64,
    /// SYNs that were passed on, or refused for want of a real server, a port or a session.
    #[serde(skip_serializing_if = "rests")]
    pub passed: u64,
    /// SYNs not answered.
    #[serde(skip_serializing_if = "rests")]
    pub limited: u64,
    /// ACKs whose cookie was ours and in time.
    #[serde(skip_serializing_if = "rests")]
    pub cookie_valid: u64,
    /// ACKs whose cookie was not ours.
    #[serde(skip_serializing_if = "rests")]
    pub cookie_bad: u64,
    /// ACKs whose cookie was ours, but too old.
    #[serde(skip_serializing_if = "rests")]
    pub cookie_stale: u64,
    /// Handshakes that a valid cookie began and the real server completed.
    #[serde(skip_serializing_if = "rests")]
    pub completed: u64,
    /// Handshakes that a valid cookie began and nobody completed.
    #[serde(skip_serializing_if = "rests")]
    pub failed: u64,
}

impl FloodRates {
    /// Adds another service's.
    pub fn add(&mut self, other: &Self) {
        self.syn_in += other.syn_in;
        self.cookie_sent += other.cookie_sent;
        self.passed += other.passed;
        self.limited += other.limited;
        self.cookie_valid += other.cookie_valid;
        self.cookie_bad += other.cookie_bad;
        self.cookie_stale += other.cookie_stale;
        self.completed += other.completed;
        self.failed += other.failed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_server_that_rests_says_so_in_two_letters_and_one_that_is_new_says_nothing() {
        let rests = Some(TrafficRates::default());
        assert_eq!(serde_json::to_string(&rests).unwrap(), "{}");
        let is_new: Option<TrafficRates> = None;
        assert_eq!(serde_json::to_string(&is_new).unwrap(), "null");
        for rates in [rests, is_new] {
            let text = serde_json::to_string(&rates).unwrap();
            let read: Option<TrafficRates> = serde_json::from_str(&text).unwrap();
            assert_eq!(read, rates);
        }
    }
}
