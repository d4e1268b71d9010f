//! The port: one queue of one device, as a worker sees it.

use std::io;
use std::os::fd::RawFd;

use crate::{Burst, Frame, FramePool};

/// Names a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// netmap rings.
    Netmap,
    /// AF_XDP sockets.
    AfXdp,
    /// PF_RING sockets.
    PfRing,
    /// AF_PACKET rings.
    AfPacket,
    /// Frames handed over in memory, for tests and benches.
    Memory,
    /// Frames from a capture file.
    Pcap,
}

impl DriverKind {
    /// Returns the name that the configuration file and the console use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Netmap => "netmap",
            Self::AfXdp => "af-xdp",
            Self::PfRing => "pf-ring",
            Self::AfPacket => "af-packet",
            Self::Memory => "memory",
            Self::Pcap => "pcap",
        }
    }
}

/// Describes an open port.
#[derive(Clone, Debug)]
pub struct PortInfo {
    /// The device, as the kernel names it.
    pub device: String,
    /// The queue of the device that this port is.
    pub queue: u16,
    /// The driver in use.
    pub driver: DriverKind,
    /// How the driver runs, for people: `native copy`, `generic`, `TPACKET_V2`.
    pub mode: &'static str,
    /// The device's Ethernet address.
    pub mac: [u8; 6],
    /// The largest IP packet in bytes that the port transmits.
    pub mtu: u16,
}

/// Counts what passed a port since it was opened; frames that the rings lost stand apart because
/// they never reached the worker's ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received; a super-frame is one.
    pub rx_frames: u64,
    /// Bytes received, Ethernet header included, frame check sequence not.
    pub rx_bytes: u64,
    /// Frames put into the transmit ring.
    pub tx_frames: u64,
    /// Bytes put into the transmit ring.
    pub tx_bytes: u64,
    /// Frames that the device or the kernel lost because a receive ring was full.
    pub rx_ring_lost: u64,
    /// Frames that the driver refused (too long for a chunk, malformed descriptor).
    pub rx_invalid: u64,
    /// Frames that the kernel did not transmit after it had taken them.
    pub tx_ring_lost: u64,
}

/// One queue of one device.
///
/// No method blocks, allocates or logs. A frame that `tx` took belongs to the driver until the
/// device is done with it; the driver then puts the chunk back into `pool`.
pub trait Port: Send {
    /// Moves waiting frames into `burst` until it is full or none waits, and returns how many.
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> usize;

    /// Puts a frame into the transmit ring; a frame of foreign memory is copied. A super-frame is
    /// for ports that [take](Self::takes_super_frames) such; others get its
    /// [packets](crate::Packets).
    ///
    /// # Errors
    /// Gives the frame back when the ring is full or no chunk is left to copy into.
    fn tx(&mut self, pool: &mut FramePool, frame: Frame) -> Result<(), Frame>;

    /// Makes the device send what `tx` queued, and takes finished chunks back; once per burst.
    ///
    /// # Errors
    /// When the device is gone or the kernel refuses; the port can be asked again.
    fn flush(&mut self, pool: &mut FramePool) -> io::Result<()>;

    /// Hands a frame to the host's own network stack.
    ///
    /// # Errors
    /// Gives the frame back where the driver has no host path.
    fn deliver(&mut self, _pool: &mut FramePool, frame: Frame) -> Result<(), Frame> {
        Err(frame)
    }

    /// Lets `rx` hand out super-frames whole, where the driver can; until then, and where it cannot,
    /// it cuts them into packets.
    fn keep_super_frames(&mut self) {}

    /// Says whether `tx` takes super-frames whole.
    fn takes_super_frames(&self) -> bool {
        false
    }

    /// Returns the descriptor to wait on with `poll(2)` for frames, where there is one.
    fn poll_fd(&self) -> Option<RawFd>;

    /// Returns the counters, after asking the kernel for the ring losses; not for every burst.
    fn stats(&mut self) -> PortStats;

    /// Returns what the port is.
    fn info(&self) -> &PortInfo;

    /// Ends the port and puts the chunks that its rings hold back into `pool`; a port that is
    /// merely dropped leaks them, which matters only to a worker that goes on.
    fn close(self: Box<Self>, _pool: &mut FramePool) {}
}
