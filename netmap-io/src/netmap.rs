//! netmap: the device's own rings in our memory, and the host's stack behind two rings of its own.
//!
//! A received frame leaves its slot by swapping the buffer for a spare, and enters the slot of
//! another port of the same memory the same way: nothing is copied. Everything that arrives comes
//! to Weir; what is not ours goes on to the host rings, and what the host sends goes to the device.

mod host;
#[cfg(test)]
#[expect(unsafe_code, reason = "lays out memory as the kernel does")]
mod model;
mod port;
mod ring;
#[expect(unsafe_code, reason = "calls the kernel with pointers into our memory")]
mod sys;

use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::ethtool::{self, Facts};
use crate::settings::Settings;
use crate::shared::SharedMemory;
use crate::{DriverKind, FramePool, OpenError, Port, PortInfo, RegionId};
use host::{HostHead, HostRings, HostTail};
use port::{Host, NetmapPort, Parts};
use ring::{Buffers, Rings, take_spares};
use sys::{Binding, Descriptor, Registered};

/// Spare buffers asked for with each queue: those that frames on their way through Weir are in.
const SPARES: u32 = 2048;
/// With fewer, a burst that waits for a neighbour would stop the port.
const FEWEST_SPARES: u32 = 256;

/// Says in one sentence why netmap cannot serve a device natively.
///
/// # Errors
/// With that sentence.
pub fn probe(device: &str) -> Result<(), String> {
    open_module()?;
    let facts = ethtool::facts(device).map_err(|cause| cause.desc().to_owned())?;
    let driver = facts.kernel_driver;
    // A driver that knows netmap is linked against the module and so holds it.
    let holder = Path::new("/sys/module/netmap/holders").join(&driver);
    if driver.is_empty() || !holder.exists() {
        return Err(format!(
            "the kernel driver `{driver}` has no netmap support of its own (it does not hold the \
             netmap module); set driver = netmap to use the slower emulation"
        ));
    }
    Ok(())
}

/// A device in netmap mode.
#[derive(Debug)]
pub struct NetmapDevice {
    device: String,
    facts: Facts,
    memory: Arc<SharedMemory>,
    queues: Vec<Option<Queue>>,
    /// Restored when the device is dropped.
    _settings: Settings,
}

/// Rings in netmap mode, until the descriptor is closed.
#[derive(Debug)]
struct Bound {
    descriptor: Descriptor,
    registered: Registered,
}

#[derive(Debug)]
struct Queue {
    bound: Bound,
    host: QueueHost,
}

#[derive(Debug)]
enum QueueHost {
    Rings { bound: Bound, others: Vec<HostHead> },
    Tail(HostTail),
}

impl NetmapDevice {
    /// Puts `queues` queues of `device` and its host rings into netmap mode.
    ///
    /// # Errors
    /// With a sentence that says what is missing.
    pub fn open(device: &str, queues: u16, run_dir: &Path) -> Result<Self, OpenError> {
        let refuse = |cause: String| OpenError::driver(DriverKind::Netmap, device, cause);
        let module = open_module().map_err(refuse)?;
        let facts = ethtool::facts(device).map_err(|cause| refuse(cause.desc().to_owned()))?;
        let mut settings =
            Settings::open(device, run_dir).map_err(|cause| refuse(cause.to_string()))?;
        prepare(&mut settings, queues).map_err(refuse)?;
        let most = module
            .queues(device)
            .map_err(|cause| refuse(format!("the module does not know it: {}", cause.desc())))?;
        if queues == 0 || queues > most {
            return Err(refuse(format!(
                "netmap sees {most} queues of it, and {queues} are wanted; set queues = {most}"
            )));
        }
        let (tails, others): (Vec<_>, Vec<_>) = (1..queues).map(|_| host::way()).unzip();
        let first = bind(device, Binding::Queue(0), 0).map_err(refuse)?;
        let memory_id = first.registered.memory_id;
        let memory = map(&first)
            .map_err(|cause| refuse(format!("its memory cannot be mapped: {}", cause.desc())))?;
        let host = QueueHost::Rings {
            bound: bind(device, Binding::Host, memory_id).map_err(refuse)?,
            others,
        };
        let mut opened = vec![Some(Queue { bound: first, host })];
        for (number, tail) in (1..queues).zip(tails) {
            let bound = bind(device, Binding::Queue(number), memory_id).map_err(refuse)?;
            let host = QueueHost::Tail(tail);
            opened.push(Some(Queue { bound, host }));
        }
        Ok(Self {
            device: device.to_owned(),
            facts,
            memory,
            queues: opened,
            _settings: settings,
        })
    }

    /// Makes the port of one queue; each can be opened once.
    ///
    /// # Errors
    /// When there is no such queue, it is open already, or netmap's memory is too small.
    pub fn open_queue(
        &mut self,
        queue: u16,
        pool: &mut FramePool,
    ) -> Result<Box<dyn Port>, OpenError> {
        let taken = self.queues.get_mut(queue as usize).and_then(Option::take);
        taken
            .ok_or_else(|| format!("queue {queue} is not there to open"))
            .and_then(|taken| self.make_port(queue, taken, pool))
            .map_err(|cause| OpenError::driver(DriverKind::Netmap, &self.device, cause))
    }

    /// Does nothing: on netmap every frame comes to Weir, which delivers what is not its own.
    ///
    /// # Errors
    /// Never.
    pub fn set_owned(&mut self, _addresses: &[IpAddr]) -> Result<(), OpenError> {
        Ok(())
    }

    /// Describes how the device is driven.
    #[must_use]
    pub fn describe(&self) -> String {
        let native = probe(&self.device).is_ok();
        let mode = if native { "native" } else { "emulated" };
        mode.to_owned()
    }

    fn make_port(
        &self,
        queue: u16,
        taken: Queue,
        pool: &mut FramePool,
    ) -> Result<Box<dyn Port>, String> {
        let interface = taken.bound.registered.offset as usize;
        let rings = find(&self.memory, interface, Some(queue))?;
        let buffers = rings.rx.buffers().ok_or(STRANGE_MEMORY)?;
        let needed = self.facts.mtu.saturating_add(ETHERNET_AND_TAG);
        if buffers.len < needed {
            return Err(format!(
                "frames of MTU {} need {needed} bytes and a netmap buffer has {}; set an MTU of \
                 at most {}",
                self.facts.mtu,
                buffers.len,
                buffers.len.saturating_sub(ETHERNET_AND_TAG)
            ));
        }
        let lent = taken.bound.registered.spares;
        let spares = take_spares(&self.memory, interface, buffers, lent);
        if spares.len() < FEWEST_SPARES as usize {
            return Err(format!(
                "netmap lent {} spare buffers and {FEWEST_SPARES} are needed; raise the module's \
                 buf_num parameter",
                spares.len()
            ));
        }
        let region = region(pool, &self.memory, buffers, spares)?;
        let fd = taken.bound.descriptor.as_raw_fd();
        let (host, wake) = match taken.host {
            QueueHost::Tail(tail) => (Host::Tail(tail), None),
            QueueHost::Rings { bound, others } => {
                let wake = sys::either(&[fd, bound.descriptor.as_raw_fd()])
                    .map_err(|cause| format!("cannot wait for its rings: {}", cause.desc()))?;
                let at = bound.registered.offset as usize;
                let rings = find(&self.memory, at, None)?;
                let host = HostRings::new(bound.descriptor, rings, others);
                (Host::Rings(host), Some(wake))
            }
        };
        Ok(Box::new(NetmapPort::new(Parts {
            info: PortInfo {
                device: self.device.clone(),
                queue,
                driver: DriverKind::Netmap,
                mode: "rings",
                mac: self.facts.mac,
                mtu: u16::try_from(self.facts.mtu).unwrap_or(u16::MAX),
            },
            kernel: taken.bound.descriptor,
            rings,
            host,
            region,
            wake,
            fd: Some(fd),
            memory: Arc::clone(&self.memory),
        })))
    }
}

/// Ethernet header and one tag.
const ETHERNET_AND_TAG: u32 = 18;
const STRANGE_MEMORY: &str = "netmap's memory is not laid out as version 14 has it";

/// What netmap cannot do for the host's frames, or would lose from received ones.
const OFFLOADS: [&str; 9] = [
    "rx-gro",
    "rx-lro",
    "rx-vlan-hw-parse",
    "tx-checksum-ip-generic",
    "tx-checksum-ipv4",
    "tx-checksum-ipv6",
    "tx-generic-segmentation",
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
];

fn prepare(settings: &mut Settings, queues: u16) -> Result<(), String> {
    let set = settings.set_queues(queues).map_err(|e| e.to_string())?;
    if !set {
        return Err(format!("it cannot have {queues} queues"));
    }
    for offload in OFFLOADS {
        let off = settings.switch_off(offload).map_err(|e| e.to_string())?;
        if !off {
            return Err(format!("its {offload} cannot be switched off"));
        }
    }
    Ok(())
}

fn open_module() -> Result<Descriptor, String> {
    Descriptor::open().map_err(|cause| {
        if cause.kind() == ErrorKind::NotFound {
            return format!("the netmap module is not loaded: {} is missing", sys::PATH);
        }
        format!("{} cannot be opened: {cause}", sys::PATH)
    })
}

fn bind(device: &str, binding: Binding, memory_id: u16) -> Result<Bound, String> {
    let (what, spares) = match binding {
        Binding::Queue(queue) => (format!("queue {queue}"), SPARES),
        Binding::Host => ("the host rings".to_owned(), 0),
    };
    let descriptor = open_module()?;
    let registered = descriptor
        .register(device, binding, memory_id, spares)
        .map_err(|cause| format!("netmap refuses {what}: {}", cause.desc()))?;
    if memory_id != 0 && registered.memory_id != memory_id {
        return Err(format!("netmap put {what} into another memory region"));
    }
    Ok(Bound {
        descriptor,
        registered,
    })
}

/// Maps netmap's memory, or finds the mapping that another device of the same memory has: ports
/// swap buffers only within one mapping.
fn map(bound: &Bound) -> Result<Arc<SharedMemory>, nix::errno::Errno> {
    static MAPPINGS: Mutex<Vec<(u16, Weak<SharedMemory>)>> = Mutex::new(Vec::new());
    let mut mappings = MAPPINGS.lock().unwrap_or_else(PoisonError::into_inner);
    mappings.retain(|(_, memory)| memory.strong_count() > 0);
    let id = bound.registered.memory_id;
    let known = mappings.iter().find(|(known, _)| *known == id);
    if let Some(memory) = known.and_then(|(_, memory)| memory.upgrade()) {
        return Ok(memory);
    }
    let len = bound.registered.memory_len as usize;
    // Frames point into it and may outlive the device, so it is never unmapped.
    let memory = Arc::new(SharedMemory::map(&bound.descriptor, len)?.leak());
    mappings.push((id, Arc::downgrade(&memory)));
    Ok(memory)
}

fn find(memory: &SharedMemory, interface: usize, queue: Option<u16>) -> Result<Rings, String> {
    Rings::find(memory, interface, queue).ok_or_else(|| STRANGE_MEMORY.to_owned())
}

/// Finds the pool's region for this memory, or adds one, and gives it the spare buffers.
fn region(
    pool: &mut FramePool,
    memory: &SharedMemory,
    buffers: Buffers,
    spares: Vec<u32>,
) -> Result<RegionId, String> {
    let base = memory.at(buffers.at).ok_or(STRANGE_MEMORY)?;
    let known = (0..=u8::MAX)
        .map(RegionId)
        .find(|&id| pool.mapping(id).is_some_and(|(known, _)| known == base));
    if let Some(id) = known {
        pool.adopt(id, &spares);
        return Ok(id);
    }
    add_region(pool, base, buffers, spares)
}

#[expect(unsafe_code, reason = "tells the pool who owns netmap's buffers")]
fn add_region(
    pool: &mut FramePool,
    base: std::ptr::NonNull<u8>,
    buffers: Buffers,
    spares: Vec<u32>,
) -> Result<RegionId, String> {
    // SAFETY: `Ring::buffers` computed the count from the mapping, which is never unmapped, and
    // the kernel lent the spares to this registration alone.
    unsafe { pool.add_region(base, buffers.len, buffers.count, spares) }
        .map_err(|cause| cause.to_string())
}
