//! `capture`: frames out of the data plane, with what became of them.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// What is to be captured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaptureOrder {
    /// Only frames of this service, on either side of the translation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Only frames from or to this address, on either side of the translation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Ipv4Addr>,
    /// Only dropped frames, of the reason that is named, or of `any`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped: Option<String>,
    /// At most so many frames.
    pub limit: u64,
    /// At most so many seconds.
    pub seconds: u64,
}

/// A line of a capture: a frame, or, from time to time, none and how far it has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CaptureRow {
    /// Frames sent so far, this one included.
    pub captured: u64,
    /// Frames that were wanted and found no room.
    pub missed: u64,
    /// The frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<CapturedFrame>,
}

/// A captured frame.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CapturedFrame {
    /// Microseconds since 1970.
    pub at_us: u64,
    /// The name of the port.
    pub port: String,
    /// Whether it came in; else it left.
    pub came_in: bool,
    /// What became of it: `forward to lan`, `drop: no-session`.
    pub verdict: String,
    /// The worker.
    pub worker: u32,
    /// How long it was.
    pub len: u32,
    /// Its beginning, in hexadecimal digits.
    pub bytes: String,
}
