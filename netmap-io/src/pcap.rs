//! Capture files: a port that replays one, and the reader and writer under it.
//!
//! The format is the classic one (`draft-ietf-opsawg-pcap`), with microseconds or nanoseconds and
//! in either byte order; nanoseconds in the machine's order are written.

mod port;
mod reader;
mod writer;

pub use port::{Pace, PcapPort, PcapSpec};
pub use reader::{PcapError, PcapReader};
pub use writer::PcapWriter;

/// Microseconds in a record's time stamp.
const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
/// Nanoseconds in a record's time stamp.
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u32 = 1;
/// What tcpdump takes for the longest packet there is.
const LONGEST: u32 = 262_144;

const FILE_HEADER_LEN: usize = 24;
const RECORD_HEADER_LEN: usize = 16;
