//! Opening a device: which driver serves it, what is told about it, and how that can fail.

use std::net::IpAddr;
use std::path::Path;

use nix::errno::Errno;

use crate::af_packet::AfPacketDevice;
use crate::af_xdp::{MayBeGeneric, XdpDevice};
use crate::ethtool::{self, NoRss, Rss};
use crate::netmap::{self, NetmapDevice};
use crate::{DriverKind, FramePool, Port};

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

impl OpenError {
    pub(crate) fn driver(kind: DriverKind, device: &str, cause: impl Into<String>) -> Self {
        Self::Driver {
            driver: kind.name(),
            device: device.to_owned(),
            cause: cause.into(),
        }
    }

    /// Returns the cause without the names of the driver and the device.
    fn cause(&self) -> String {
        match self {
            Self::NoDevice { .. } => self.to_string(),
            Self::Driver { cause, .. } => cause.clone(),
        }
    }
}

/// Says what a device is and which driver serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// The device, as the kernel names it.
    pub device: String,
    /// The interface's number.
    pub ifindex: u32,
    /// The Ethernet address.
    pub mac: [u8; 6],
    /// The largest IP packet in bytes.
    pub mtu: u32,
    /// The kernel driver's name; empty where it does not tell.
    pub kernel_driver: String,
    /// The driver in use.
    pub driver: DriverKind,
    /// How the driver runs, for people: `native copy`, `generic`, `TPACKET_V2`.
    pub mode: String,
    /// The queues that can be opened.
    pub queues: u16,
    /// Why each driver that was tried before could not be had.
    pub refusals: Vec<(DriverKind, String)>,
}

/// An open device; the control thread owns it, and the workers own its queues.
///
/// Dropping it detaches Weir from the device and restores its settings. Close the ports first:
/// one that outlives its device receives nothing any more.
#[derive(Debug)]
pub struct Device {
    driver: Driver,
    info: DeviceInfo,
}

#[derive(Debug)]
enum Driver {
    AfXdp(XdpDevice),
    AfPacket(AfPacketDevice),
    Netmap(NetmapDevice),
}

impl Device {
    /// Opens a device with the driver asked for, or with the first that serves it.
    ///
    /// # Errors
    /// With the reason of the driver asked for, or with those of all that were tried.
    pub fn open(spec: &DeviceSpec, run_dir: &Path) -> Result<Self, OpenError> {
        let Ok(facts) = ethtool::facts(&spec.device) else {
            return Err(OpenError::NoDevice {
                device: spec.device.clone(),
            });
        };
        let mut refusals = Vec::new();
        for &kind in candidates(spec.driver) {
            match Driver::open(kind, spec, run_dir) {
                Ok(driver) => {
                    let mode = driver.mode();
                    refusals.extend(driver.native_refusal().map(|why| (kind, why)));
                    let info = DeviceInfo {
                        device: spec.device.clone(),
                        ifindex: facts.ifindex,
                        mac: facts.mac,
                        mtu: facts.mtu,
                        kernel_driver: facts.kernel_driver,
                        driver: kind,
                        mode,
                        queues: spec.queues,
                        refusals,
                    };
                    return Ok(Self { driver, info });
                }
                Err(error) if spec.driver != DriverChoice::Auto => return Err(error),
                Err(error) => refusals.push((kind, error.cause())),
            }
        }
        let reasons: Vec<String> = refusals.iter().map(render_refusal).collect();
        Err(OpenError::Driver {
            driver: "auto",
            device: spec.device.clone(),
            cause: reasons.join("; "),
        })
    }

    /// Opens a queue for the worker that owns `pool`; each queue can be opened once at a time.
    ///
    /// # Errors
    /// When there is no such queue, it is taken, or memory is short.
    pub fn open_queue(
        &mut self,
        queue: u16,
        pool: &mut FramePool,
    ) -> Result<Box<dyn Port>, OpenError> {
        let port = match &mut self.driver {
            Driver::AfXdp(device) => device.open_queue(queue, pool),
            Driver::AfPacket(device) => device.open_queue(queue, pool),
            Driver::Netmap(device) => device.open_queue(queue, pool),
        }?;
        if self.info.driver == DriverKind::AfXdp {
            // Only the socket knows whether the device copies.
            port.info().mode.clone_into(&mut self.info.mode);
        }
        Ok(port)
    }

    /// Makes `addresses` (VIPs and LIPs) the ones whose frames come to the workers and that the
    /// kernel does not see; addresses that stay are owned at every moment in between.
    ///
    /// # Errors
    /// When the kernel refuses; asking again goes on where it stopped.
    pub fn set_owned(&mut self, addresses: &[IpAddr]) -> Result<(), OpenError> {
        match &mut self.driver {
            Driver::AfXdp(device) => device.set_owned(addresses),
            Driver::AfPacket(device) => device.set_owned(addresses),
            Driver::Netmap(device) => device.set_owned(addresses),
        }
    }

    /// Returns one line for people: `af-xdp native copy, 2 queues (netmap: ...)`.
    #[must_use]
    pub fn describe(&self) -> String {
        let DeviceInfo { mode, queues, .. } = &self.info;
        let driver = self.info.driver.name();
        let plural = if *queues == 1 { "" } else { "s" };
        let line = format!("{driver} {mode}, {queues} queue{plural}");
        if self.info.refusals.is_empty() {
            return line;
        }
        let reasons: Vec<String> = self.info.refusals.iter().map(render_refusal).collect();
        format!("{line} ({})", reasons.join("; "))
    }

    /// Returns what the device is.
    #[must_use]
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// Asks how the device spreads what it receives over its queues, as they are now.
    ///
    /// # Errors
    /// When its kernel driver does not tell.
    pub fn rss(&self) -> Result<Rss, NoRss> {
        ethtool::rss(&self.info.device)
    }

    /// Makes the device spread as it says, where its kernel driver is known not to do so unasked.
    ///
    /// # Errors
    /// When its kernel driver refuses.
    pub fn enforce_rss(&self, rss: &Rss) -> Result<(), Errno> {
        if self.info.kernel_driver == "virtio_net" {
            ethtool::enforce_rss(&self.info.device, rss)?;
        }
        Ok(())
    }

    /// Returns the queue, as [`open_queue`](Self::open_queue) counts them, that gets what arrives
    /// on a queue of the device; none where that goes to the kernel or does not depend on it.
    #[must_use]
    pub fn queue_for(&self, device_queue: u32) -> Option<u16> {
        let queues = self.info.queues;
        match &self.driver {
            Driver::AfXdp(_) | Driver::Netmap(_) => u16::try_from(device_queue)
                .ok()
                .filter(|queue| *queue < queues),
            Driver::AfPacket(device) => device.queue_for(device_queue),
        }
    }

    /// Returns how many chunks of a worker's pool the rings of one queue can hold; a pool should
    /// have as many for each of its ports, and a few thousand more.
    #[must_use]
    pub fn chunks_per_queue(&self) -> u32 {
        match &self.driver {
            Driver::AfXdp(_) => XdpDevice::CHUNKS_PER_QUEUE,
            // Frames are copied out of the driver's own ring; only a burst is in the pool.
            Driver::AfPacket(_) => 1024,
            // Frames are in netmap's own buffers.
            Driver::Netmap(_) => 0,
        }
    }
}

impl Driver {
    fn open(kind: DriverKind, spec: &DeviceSpec, run_dir: &Path) -> Result<Self, OpenError> {
        let DeviceSpec { device, queues, .. } = spec;
        match kind {
            DriverKind::AfXdp => {
                let may_be_generic = if spec.driver == DriverChoice::Auto {
                    MayBeGeneric::UnlessSuperFramesCome
                } else {
                    MayBeGeneric::Always
                };
                XdpDevice::open(device, *queues, may_be_generic, run_dir).map(Self::AfXdp)
            }
            DriverKind::AfPacket => {
                AfPacketDevice::open(device, *queues, run_dir).map(Self::AfPacket)
            }
            DriverKind::PfRing => Err(OpenError::driver(
                kind,
                device,
                "the pf-ring driver is not available in this build",
            )),
            DriverKind::Netmap => {
                if spec.driver == DriverChoice::Auto {
                    // The emulation is slower than AF_XDP, so only who asks for it gets it.
                    netmap::probe(device).map_err(|why| OpenError::driver(kind, device, why))?;
                }
                NetmapDevice::open(device, *queues, run_dir).map(Self::Netmap)
            }
            DriverKind::Memory | DriverKind::Pcap => Err(OpenError::driver(
                kind,
                device,
                "it does not open devices of the kernel",
            )),
        }
    }

    fn mode(&self) -> String {
        match self {
            Self::AfXdp(device) => device.mode().to_owned(),
            Self::AfPacket(device) => device.describe(),
            Self::Netmap(device) => device.describe(),
        }
    }

    /// Why the driver runs in its second-best way, where it does.
    fn native_refusal(&self) -> Option<String> {
        match self {
            Self::AfXdp(device) => Some(format!("no native mode: {}", device.native_refusal()?)),
            Self::AfPacket(_) | Self::Netmap(_) => None,
        }
    }
}

/// The drivers to try, in this order.
fn candidates(choice: DriverChoice) -> &'static [DriverKind] {
    match choice {
        DriverChoice::Auto => &[DriverKind::Netmap, DriverKind::AfXdp, DriverKind::AfPacket],
        DriverChoice::Netmap => &[DriverKind::Netmap],
        DriverChoice::AfXdp => &[DriverKind::AfXdp],
        DriverChoice::PfRing => &[DriverKind::PfRing],
        DriverChoice::AfPacket => &[DriverKind::AfPacket],
    }
}

fn render_refusal((kind, why): &(DriverKind, String)) -> String {
    format!("{}: {why}", kind.name())
}
