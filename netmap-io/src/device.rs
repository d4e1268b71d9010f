//! What is asked of a device before its queues are opened, and how that can fail.

/// Says which driver the configuration asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DriverChoice {
    /// netmap where it works natively, then af-xdp, then af-packet.
    #[default]
    Auto,
    /// netmap only.
    Netmap,
    /// AF_XDP only.
    AfXdp,
    /// PF_RING only.
    PfRing,
    /// AF_PACKET only.
    AfPacket,
}

/// Says how many queues of a device are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum QueueCount {
    /// As many as there are workers, and at most as many as the device has.
    #[default]
    Auto,
    /// Exactly this many.
    Exactly(u16),
}

/// Describes the device to open.
#[derive(Clone, Debug)]
pub struct DeviceSpec {
    /// The device, as the kernel names it.
    pub device: String,
    /// The driver asked for.
    pub driver: DriverChoice,
    /// The queues to open: one per worker.
    pub queues: u16,
}

/// Says why a device or one of its queues could not be opened; each is one sentence with the
/// cause and, where there is one, the next thing to try.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel has no such device.
    #[error("there is no device `{device}`")]
    NoDevice {
        /// The name asked for.
        device: String,
    },
    /// The driver cannot serve this device.
    #[error("{driver} cannot open `{device}`: {cause}")]
    Driver {
        /// The driver's name.
        driver: &'static str,
        /// The device asked for.
        device: String,
        /// What was missing or refused, and what to try.
        cause: String,
    },
}
