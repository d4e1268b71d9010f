//! The ledger: what came in equals what went out, was kept or was dropped, to the packet.

use crate::DropReason;

/// Balances the frames of one worker.
///
/// `rx + originated + handed_in = tx + delivered + dropped + held + handed_out`. A refusal that
/// sends a RST counts the refused frame as dropped and the RST as originated and transmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger {
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
    /// Frames that are kept right now: for a neighbour, a real server's answer, or the next turn.
    pub held: u64,
    /// Frames handed to other workers.
    pub handed_out: u64,
    /// Frames dropped, by reason.
    pub dropped: [u64; DropReason::COUNT],
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            rx: 0,
            originated: 0,
            handed_in: 0,
            tx: 0,
            delivered: 0,
            held: 0,
            handed_out: 0,
            dropped: [0; DropReason::COUNT],
        }
    }
}

impl Ledger {
    /// Counts a dropped frame.
    #[inline]
    pub fn drop(&mut self, reason: DropReason) {
        if let Some(counter) = self.dropped.get_mut(reason.index()) {
            *counter += 1;
        }
    }

    /// Counts dropped frames.
    pub fn drop_many(&mut self, reason: DropReason, frames: u64) {
        if let Some(counter) = self.dropped.get_mut(reason.index()) {
            *counter += frames;
        }
    }

    /// Takes a dropped frame back, when what was counted did not come to pass.
    pub fn undrop(&mut self, reason: DropReason) {
        if let Some(counter) = self.dropped.get_mut(reason.index()) {
            *counter = counter.saturating_sub(1);
        }
    }

    /// Returns the count of one reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped
            .get(reason.index())
            .copied()
            .unwrap_or_default()
    }

    /// Returns the number of frames that came in.
    #[must_use]
    pub fn sources(&self) -> u64 {
        self.rx + self.originated + self.handed_in
    }

    /// Returns the number of frames accounted for.
    #[must_use]
    pub fn sinks(&self) -> u64 {
        let dropped: u64 = self.dropped.iter().sum();
        self.tx + self.delivered + dropped + self.held + self.handed_out
    }

    /// Says whether every frame is accounted for.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.sources() == self.sinks()
    }

    /// Adds another worker's ledger.
    pub fn add(&mut self, other: &Self) {
        self.rx += other.rx;
        self.originated += other.originated;
        self.handed_in += other.handed_in;
        self.tx += other.tx;
        self.delivered += other.delivered;
        self.held += other.held;
        self.handed_out += other.handed_out;
        for (mine, theirs) in self.dropped.iter_mut().zip(&other.dropped) {
            *mine += theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lost_frame_unbalances_the_ledger() {
        let mut ledger = Ledger {
            rx: 3,
            originated: 1,
            tx: 2,
            held: 1,
            ..Ledger::default()
        };
        assert!(!ledger.balanced());
        ledger.drop(DropReason::NoRoute);
        assert!(ledger.balanced());
        assert_eq!(ledger.dropped(DropReason::NoRoute), 1);
    }

    #[test]
    fn labels_are_unique_and_indices_match_the_order() {
        for (i, a) in DropReason::ALL.iter().enumerate() {
            assert_eq!(a.index(), i);
            assert!(
                DropReason::ALL
                    .iter()
                    .skip(i + 1)
                    .all(|b| a.label() != b.label())
            );
        }
    }
}
