//! A worker's share of the ports of a range, whichever way it is chosen.

use super::bits::low;
use super::class::PortClass;
use super::steering::Steered;

/// The ports of one LIP towards one endpoint that are a worker's. Each has an index; an index may
/// have no port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// Every n-th port. Replies come in anywhere and are handed over.
    EveryNth(PortClass),
    /// The ports with which replies come in on the worker's own queue.
    Steered(Steered),
}

impl Share {
    /// Returns the number of ports.
    #[inline]
    pub(super) const fn count(&self) -> u32 {
        match self {
            Self::EveryNth(class) => class.count(),
            Self::Steered(steered) => steered.count(),
        }
    }

    /// Returns a number that is above all indexes.
    pub(super) fn bound(&self) -> u32 {
        match self {
            Self::EveryNth(class) => class.count(),
            Self::Steered(steered) => steered.bound(),
        }
    }

    /// Says which of the 64 indexes of a word have a port.
    pub(super) fn word(&self, word: u32) -> u64 {
        match self {
            Self::EveryNth(class) => low(class.count().saturating_sub(word * 64)),
            Self::Steered(steered) => steered.word(word),
        }
    }

    /// Returns the index of a port; none when it is not of this share.
    #[inline]
    pub(super) fn index(&self, port: u16) -> Option<u32> {
        match self {
            Self::EveryNth(class) => class.index(port),
            Self::Steered(steered) => steered.index(port),
        }
    }

    /// Returns the port at an index.
    #[inline]
    pub(super) fn port(&self, index: u32) -> Option<u16> {
        match self {
            Self::EveryNth(class) => class.port(index),
            Self::Steered(steered) => steered.port(index),
        }
    }
}
