//! AF_PACKET: works on every Ethernet device and changes nothing on it.
//!
//! Frames of owned addresses are copied out of a `TPACKET_V2` ring, one per queue; the kernel is
//! kept from them by an [`IngressDrop`]. A peer's super-frames of TCP stay whole, and the kernel cuts
//! them behind the port that they leave by; checksums of single packets that the peer left to its
//! hardware are completed, because a virtual peer cannot be told to stop.

mod coalesce;
mod port;
#[expect(unsafe_code, reason = "reads frames in memory that the kernel fills")]
mod ring;
#[expect(unsafe_code, reason = "calls the kernel with pointers into our memory")]
mod sys;
#[expect(unsafe_code, reason = "hands the kernel pointers to frames")]
mod tx;

use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;

use nix::errno::Errno;

use crate::ethtool::{self, Facts};
use crate::ingress_drop::{self, IngressDrop};
use crate::shared::SharedMemory;
use crate::{DriverKind, FramePool, OpenError, Port, PortInfo};
use port::AfPacketPort;
use ring::{RxRing, SLOT_LEN};
use sys::{Fanout, PacketSocket};

/// Slots in a queue's receive ring: 16 MiB, eight milliseconds of the smallest frames at 1 Mpps.
const SLOTS: u32 = 8192;
/// The kernel allocates the ring in pieces of this size.
const PIECE_LEN: u32 = 64 * 1024;
/// Room for long frames: as much as the window of a fast connection.
const RECEIVE_BUFFER: i32 = 16 << 20;
/// Room for the frames of a full transmit ring of a real device.
const SEND_BUFFER: i32 = 32 << 20;

/// A device whose queues are packet sockets.
#[derive(Debug)]
pub struct AfPacketDevice {
    device: String,
    facts: Facts,
    queues: Vec<Option<PacketSocket>>,
    fanout: Fanout,
    drop: IngressDrop,
}

impl AfPacketDevice {
    /// Opens `queues` sockets on `device`; no frame arrives before [`set_owned`](Self::set_owned).
    ///
    /// # Errors
    /// With a sentence that says what is missing.
    pub fn open(device: &str, queues: u16, run_dir: &Path) -> Result<Self, OpenError> {
        let facts = ethtool::facts(device).map_err(|cause| no_facts(device, cause))?;
        let drop = IngressDrop::attach(device, run_dir).map_err(|cause| refusal(device, cause))?;
        let fanout = fanout(device, &facts.kernel_driver);
        let mut opened = Self {
            device: device.to_owned(),
            facts,
            queues: Vec::new(),
            fanout,
            drop,
        };
        opened.open_sockets(queues)?;
        Ok(opened)
    }

    /// Makes the port of one queue; each can be opened once.
    ///
    /// # Errors
    /// When there is no such queue, it is open already, or the kernel gives no memory.
    pub fn open_queue(
        &mut self,
        queue: u16,
        pool: &mut FramePool,
    ) -> Result<Box<dyn Port>, OpenError> {
        let longest = pool.chunk_len(FramePool::UMEM).unwrap_or(0);
        let needed = self.facts.mtu.saturating_add(ETHERNET_AND_TAG);
        if longest < needed {
            let cause = format!(
                "frames of MTU {} need {needed} bytes and a chunk has {longest}; set an MTU of at \
                 most {}",
                self.facts.mtu,
                longest.saturating_sub(ETHERNET_AND_TAG)
            );
            return Err(refusal(&self.device, cause));
        }
        pool.add_large()
            .map_err(|cause| refusal(&self.device, cause))?;
        let socket = self
            .queues
            .get_mut(queue as usize)
            .and_then(Option::take)
            .ok_or_else(|| refusal(&self.device, format!("queue {queue} is not there to open")))?;
        let len = SLOTS as usize * SLOT_LEN as usize;
        let memory = SharedMemory::map(&socket, len)
            .map_err(|cause| refusal(&self.device, format!("cannot map the ring: {cause}")))?;
        let info = PortInfo {
            device: self.device.clone(),
            queue,
            driver: DriverKind::AfPacket,
            mode: "TPACKET_V2",
            mac: self.facts.mac,
            mtu: u16::try_from(self.facts.mtu).unwrap_or(u16::MAX),
        };
        let ring = RxRing::new(memory, SLOT_LEN);
        Ok(Box::new(AfPacketPort::new(info, socket, ring)))
    }

    /// Makes `addresses` the ones whose frames arrive here and not at the kernel.
    ///
    /// # Errors
    /// When the kernel refuses an element.
    pub fn set_owned(&mut self, addresses: &[IpAddr]) -> Result<(), OpenError> {
        self.drop
            .set_owned(addresses)
            .map_err(|cause| refusal(&self.device, cause))
    }

    /// Describes how the device is driven: `TPACKET_V2, fanout by queue, ingress drop tcx`.
    #[must_use]
    pub fn describe(&self) -> String {
        let fanout = match (self.queues.len(), self.fanout) {
            (0 | 1, _) => "",
            (_, Fanout::Queue { .. }) => ", fanout by queue",
            (_, Fanout::Hash) => ", fanout by flow hash",
        };
        format!("TPACKET_V2{fanout}, ingress drop {}", self.drop.mode())
    }

    /// Returns the queue that gets what arrives on a queue of the device; none where the kernel
    /// spreads flows by its own hash.
    #[must_use]
    pub fn queue_for(&self, device_queue: u32) -> Option<u16> {
        let queues = self.queues.len() as u32;
        match self.fanout {
            Fanout::Queue { .. } => Some(device_queue.checked_rem(queues)? as u16),
            Fanout::Hash => None,
        }
    }

    fn open_sockets(&mut self, queues: u16) -> Result<(), OpenError> {
        let filter = ingress_drop::socket_filter(self.drop.owned())
            .map_err(|cause| refusal(&self.device, cause))?;
        self.queues.resize_with(queues as usize, || None);
        let mut group = None;
        for place in 0..queues {
            let queue = self.queue_at(place, queues);
            let socket = PacketSocket::new()
                .and_then(|socket| {
                    // The filter comes before the binding: nothing is owned yet, so nothing is
                    // received twice before all sockets are in the group.
                    socket.attach_filter(&filter)?;
                    prepare(&socket)?;
                    socket.bind(self.facts.ifindex)?;
                    // The kernel leaves the state of the device on a fresh socket.
                    socket.take_error();
                    if queues > 1 {
                        group = Some(socket.join(group, self.fanout)?);
                    }
                    Ok(socket)
                })
                .map_err(|cause| {
                    refusal(&self.device, format!("cannot open queue {queue}: {cause}"))
                })?;
            if let Some(slot) = self.queues.get_mut(queue as usize) {
                *slot = Some(socket);
            }
        }
        Ok(())
    }

    /// Says which queue is the group's member number `place`: the kernel divides its number of the
    /// queue by that of the members and takes the remainder.
    fn queue_at(&self, place: u16, queues: u16) -> u16 {
        match self.fanout {
            Fanout::Queue { lowest } => (place + queues - lowest % queues) % queues,
            Fanout::Hash => place,
        }
    }
}

/// Chooses how several sockets share the frames of a device.
fn fanout(device: &str, kernel_driver: &str) -> Fanout {
    let queues = ethtool::channels(device).ok().flatten();
    if queues.map_or(1, |channels| channels.queues()) < 2 {
        return Fanout::Hash;
    }
    // A driver notes the receive queue as one more than its number, zero being "unknown"; veth
    // leaves what the sender noted, which is the number itself.
    let lowest = u16::from(kernel_driver != "veth");
    Fanout::Queue { lowest }
}

/// Ethernet header and one tag.
const ETHERNET_AND_TAG: u32 = 18;

fn prepare(socket: &PacketSocket) -> Result<(), Errno> {
    socket.set_packet_option(
        libc::PACKET_VERSION,
        libc::tpacket_versions::TPACKET_V2 as i32,
    )?;
    socket.set_packet_option(libc::PACKET_VNET_HDR, 1)?;
    socket.set_packet_option(libc::PACKET_IGNORE_OUTGOING, 1)?;
    // PACKET_QDISC_BYPASS would save 3 % of a small frame's cost, but it throws away what the
    // kernel must cut for a device without segmentation, and what a full device cannot take.
    socket.set_send_buffer(SEND_BUFFER)?;
    // A frame longer than its slot is queued whole; any threshold but zero asks for that.
    socket.set_packet_option(libc::PACKET_COPY_THRESH, 1)?;
    socket.set_receive_buffer(RECEIVE_BUFFER)?;
    socket.set_rx_ring(&libc::tpacket_req {
        tp_block_size: PIECE_LEN,
        tp_block_nr: SLOTS / (PIECE_LEN / SLOT_LEN),
        tp_frame_size: SLOT_LEN,
        tp_frame_nr: SLOTS,
    })
}

fn no_facts(device: &str, cause: Errno) -> OpenError {
    if cause == Errno::ENODEV {
        return OpenError::NoDevice {
            device: device.to_owned(),
        };
    }
    if cause == Errno::EPERM {
        return refusal(device, "packet sockets need CAP_NET_RAW; run as root");
    }
    refusal(device, cause)
}

fn refusal(device: &str, cause: impl Display) -> OpenError {
    OpenError::Driver {
        driver: DriverKind::AfPacket.name(),
        device: device.to_owned(),
        cause: cause.to_string(),
    }
}
