//! AF_XDP: frames straight from the device's receive path, without the kernel's network stack.
//!
//! A small XDP program on the device sends what is for a VIP or LIP to the socket of the queue it
//! arrived on; all else passes to the kernel. All sockets of a worker work on the same packet
//! memory, so a frame goes from one device to another without being copied by us.

mod port;
mod program;
#[expect(unsafe_code, reason = "rings are memory that the kernel writes too")]
mod ring;
#[expect(unsafe_code, reason = "system calls with pointers into our memory")]
mod sys;
mod umem;

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;

pub(crate) use umem::UmemShares;

use crate::bpf::{BpfError, Link, Map, Program, XdpMode};
use crate::ethtool::{self, Facts};
use crate::netlink;
use crate::owned::OwnedTable;
use crate::settings::Settings;
use crate::{DriverKind, FramePool, OpenError, Port, PortInfo};

/// Slots of each ring. A worker that is away for four milliseconds loses nothing at a million
/// frames per second.
const RX_LEN: u32 = 4096;
const TX_LEN: u32 = 2048;
const FILL_LEN: u32 = 4096;
const COMPLETION_LEN: u32 = 2048;

/// The kernel leaves these bytes in front of every received frame.
const HEAD_ROOM: u32 = 256;
/// The kernel driver of virtual pairs.
const VIRTUAL_PAIR: &str = "veth";
/// Ethernet header and one tag.
const LINK_LAYER: u32 = 14 + 4;

/// A device with Weir's XDP program on it.
#[derive(Debug)]
pub(crate) struct XdpDevice {
    device: String,
    facts: Facts,
    mode: XdpMode,
    /// Why native mode was not had.
    native_refusal: Option<String>,
    owned: OwnedTable,
    sockets: Map,
    queues: u16,
    // Dropped in this order: first no frame comes any more, then the settings go back.
    _attachment: Attachment,
    _settings: Settings,
}

/// Says when the program may run in the kernel's generic receive path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MayBeGeneric {
    /// Where native mode cannot be had: somebody asked for AF_XDP.
    Always,
    /// Where it cannot be had and nothing longer than a chunk can come that way.
    UnlessSuperFramesCome,
}

/// Keeps the program on the device; none on kernels before 5.9, where the settings remember the
/// program and detach it.
type Attachment = Option<Link>;

impl XdpDevice {
    /// Frames that one queue can hold in its rings; a pool should have as many for each port.
    pub(crate) const CHUNKS_PER_QUEUE: u32 = RX_LEN + TX_LEN;

    /// Puts the program on a device, in native mode where the device can, and makes its queues as
    /// many as the workers.
    pub(crate) fn open(
        device: &str,
        queues: u16,
        may_be_generic: MayBeGeneric,
        run_dir: &Path,
    ) -> Result<Self, OpenError> {
        let refuse = |cause: String| OpenError::driver(DriverKind::AfXdp, device, cause);
        let mut settings =
            Settings::open(device, run_dir).map_err(|error| refuse(error.to_string()))?;
        let facts = ethtool::facts(device).map_err(|cause| refuse(cause.desc().to_owned()))?;
        let longest = FramePool::CHUNK_LEN - HEAD_ROOM - LINK_LAYER;
        if facts.mtu > longest {
            return Err(refuse(format!(
                "its MTU is {}, and a frame in one piece carries at most {longest} bytes; \
                 set it with `ip link set dev {device} mtu {longest}` or use driver = af-packet",
                facts.mtu
            )));
        }
        match settings.set_queues(queues) {
            Ok(true) => {}
            Ok(false) => {
                let most = ethtool::most_queues(device).unwrap_or(1);
                return Err(refuse(format!(
                    "it has at most {most} queues, and {queues} are wanted; set queues = {most}"
                )));
            }
            Err(error) => return Err(refuse(error.to_string())),
        }
        keep_frames_whole(&mut settings).map_err(&refuse)?;

        let owned = OwnedTable::new().map_err(|e| refuse(explain(&e)))?;
        let sockets = Map::xsk("weir_xsks", u32::from(queues)).map_err(|e| refuse(explain(&e)))?;
        let program = program::load(&owned, &sockets).map_err(|e| refuse(explain(&e)))?;
        let (attachment, mode, native_refusal) =
            attach(device, &facts, &program, &mut settings, may_be_generic).map_err(&refuse)?;
        if mode == XdpMode::Generic {
            // In the generic path the frames were already glued together when the program runs.
            let off = settings.switch_off("rx-gro");
            if !off.map_err(|e| refuse(e.to_string()))? {
                return Err(refuse("its rx-gro cannot be switched off".to_owned()));
            }
        }
        Ok(Self {
            device: device.to_owned(),
            facts,
            mode,
            native_refusal,
            owned,
            sockets,
            queues,
            _attachment: attachment,
            _settings: settings,
        })
    }

    /// Opens a socket on a queue over the pool's memory.
    pub(crate) fn open_queue(
        &self,
        queue: u16,
        pool: &mut FramePool,
    ) -> Result<Box<dyn Port>, OpenError> {
        let refuse = |cause: String| OpenError::driver(DriverKind::AfXdp, &self.device, cause);
        if queue >= self.queues {
            let last = self.queues.saturating_sub(1);
            return Err(refuse(format!(
                "there is no queue {queue}: its queues are 0 to {last}"
            )));
        }
        let fail = |step: &str, cause: Errno| {
            let why = if cause == Errno::EBUSY {
                "another program has a socket there"
            } else if cause == Errno::EPERM {
                "CAP_NET_RAW is missing"
            } else if cause == Errno::ENOBUFS || cause == Errno::ENOMEM {
                "there is not enough memory that can be locked"
            } else {
                cause.desc()
            };
            refuse(format!("queue {queue}: {step}: {why}"))
        };
        // The socket of a daemon that was killed a moment ago may not be gone yet.
        let socket = while_busy(|| umem::open_socket(pool, self.facts.ifindex, queue, self.mode));
        let (socket, rings, access) =
            socket.map_err(|cause| fail("the socket was refused", cause))?;
        let info = PortInfo {
            device: self.device.clone(),
            queue,
            driver: DriverKind::AfXdp,
            mode: mode_name(self.mode, socket.is_zero_copy()),
            mac: self.facts.mac,
            mtu: u16::try_from(self.facts.mtu).unwrap_or(u16::MAX),
        };
        let fd = socket.as_raw_fd().to_ne_bytes();
        let port = port::XdpPort::new(pool, info, socket, rings, access)
            .map_err(|cause| fail("the rings were refused", cause))?;
        // From here on frames arrive.
        self.sockets
            .update(&u32::from(queue).to_ne_bytes(), &fd)
            .map_err(|error| refuse(error.to_string()))?;
        Ok(Box::new(port))
    }

    /// Makes `addresses` the ones whose frames come to the workers.
    pub(crate) fn set_owned(&mut self, addresses: &[IpAddr]) -> Result<(), OpenError> {
        self.owned
            .set(addresses)
            .map_err(|e| OpenError::driver(DriverKind::AfXdp, &self.device, explain(&e)))
    }

    /// Returns how the driver runs, for people.
    pub(crate) fn mode(&self) -> &'static str {
        match self.mode {
            XdpMode::Native => "native",
            XdpMode::Generic => "generic",
        }
    }

    /// Returns why the program does not run in the device's own driver.
    pub(crate) fn native_refusal(&self) -> Option<&str> {
        self.native_refusal.as_deref()
    }
}

/// Switches off what changes frames before the program sees them: merging by the device, and tags
/// that are kept beside the frame.
fn keep_frames_whole(settings: &mut Settings) -> Result<(), String> {
    for feature in ["rx-lro", "rx-gro-hw"] {
        let off = settings.switch_off(feature).map_err(|e| e.to_string())?;
        if !off {
            return Err(format!("its {feature} cannot be switched off"));
        }
    }
    // A device that cannot leave the tag in the frame serves untagged traffic all the same.
    settings
        .switch_off("rx-vlan-hw-parse")
        .map(drop)
        .map_err(|e| e.to_string())
}

/// Attaches natively where the device can, else in the generic path.
fn attach(
    device: &str,
    facts: &Facts,
    program: &Program,
    settings: &mut Settings,
    may_be_generic: MayBeGeneric,
) -> Result<(Attachment, XdpMode, Option<String>), String> {
    // The program of a daemon that was killed a moment ago may not be gone yet.
    let native = while_busy(|| attach_in(device, facts, program, settings, XdpMode::Native));
    let refusal = match native {
        Ok(attachment) => return Ok((attachment, XdpMode::Native, None)),
        Err(refusal) => refusal,
    };
    if refusal == Errno::EBUSY {
        return Err(format!(
            "another XDP program is attached; see `ip link show dev {device}`, and remove it with \
             `ip link set dev {device} xdp off`"
        ));
    }
    let mut native = native_refusal(facts, refusal);
    if facts.kernel_driver == VIRTUAL_PAIR {
        // In native mode the kernel stops the other end from sending them; nobody else can.
        if may_be_generic == MayBeGeneric::UnlessSuperFramesCome {
            return Err(format!(
                "native mode: {native}; in generic mode the super-frames of the other end are lost"
            ));
        }
        native.push_str(
            "; super-frames of the other end are lost: `ethtool -K <other end> tso off gso off`",
        );
    }
    match attach_in(device, facts, program, settings, XdpMode::Generic) {
        Ok(attachment) => Ok((attachment, XdpMode::Generic, Some(native))),
        Err(Errno::EPERM) => Err("CAP_NET_ADMIN and CAP_BPF are missing".to_owned()),
        Err(cause) => Err(format!(
            "native mode: {native}; generic mode: {}",
            cause.desc()
        )),
    }
}

/// Tries again for a second while the answer is `EBUSY`: the kernel takes a closed socket or link
/// apart in the background.
fn while_busy<T>(mut step: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 0..50 {
        match step() {
            Err(Errno::EBUSY) => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    step()
}

fn attach_in(
    device: &str,
    facts: &Facts,
    program: &Program,
    settings: &mut Settings,
    mode: XdpMode,
) -> Result<Attachment, Errno> {
    let refusal = match Link::xdp(program, facts.ifindex, mode) {
        Ok(link) => return Ok(Some(link)),
        Err(error) => error.errno().unwrap_or(Errno::EINVAL),
    };
    // EINVAL is what a kernel without XDP links says, among other things.
    if refusal != Errno::EINVAL {
        return Err(refusal);
    }
    netlink::attach_xdp(facts.ifindex, program.as_fd(), mode)?;
    for (id, _) in netlink::xdp_programs(facts.ifindex)?
        .into_iter()
        .filter(|(_, m)| *m == mode)
    {
        if settings.note_xdp_program(id).is_err() {
            netlink::detach_xdp(device, id)?;
            return Err(Errno::EIO);
        }
    }
    Ok(None)
}

/// Puts the driver's error number for an attachment into words.
fn native_refusal(facts: &Facts, cause: Errno) -> String {
    let virtual_pair = facts.kernel_driver == VIRTUAL_PAIR;
    let sentence = if cause == Errno::EOPNOTSUPP {
        "the device's driver has no native mode"
    } else if cause == Errno::EPERM {
        "CAP_NET_ADMIN and CAP_BPF are missing"
    } else if virtual_pair && cause == Errno::ERANGE {
        "the MTU of the other end of the pair is too large (at most 3506)"
    } else if virtual_pair && cause == Errno::ENOSPC {
        "the other end of the pair transmits on more queues than this end receives on; set them \
         with `ethtool -L <other end> tx <queues>`"
    } else if virtual_pair && cause == Errno::ENOTCONN {
        "the other end of the pair is missing"
    } else {
        cause.desc()
    };
    sentence.to_owned()
}

fn explain(error: &BpfError) -> String {
    if error.errno() == Some(Errno::E2BIG) {
        return "there are more VIPs and LIPs than fit its table".to_owned();
    }
    error.to_string()
}

fn mode_name(mode: XdpMode, zero_copy: bool) -> &'static str {
    match (mode, zero_copy) {
        (XdpMode::Native, true) => "native zero-copy",
        (XdpMode::Native, false) => "native copy",
        (XdpMode::Generic, _) => "generic",
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Instant;

    use nix::sched::{CloneFlags, unshare};

    use super::*;
    use crate::Burst;

    const VIP: [u8; 4] = [192, 0, 2, 80];

    fn receive(port: &mut dyn Port, pool: &mut FramePool, burst: &mut Burst) -> usize {
        let end = Instant::now() + Duration::from_secs(3);
        while Instant::now() < end {
            let taken = port.rx(pool, burst);
            if taken > 0 {
                return taken;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        0
    }

    /// Two ends of a pair over one pool: a frame goes there and back in its own memory.
    fn there_and_back(forget: bool) {
        let run_dir = std::env::temp_dir().join(format!("weir-pair-{}", std::process::id()));
        let mut pool = FramePool::with_umem(32_768, FramePool::CHUNK_LEN).unwrap();
        let [mut left, mut right] = ["w0", "w1"]
            .map(|device| XdpDevice::open(device, 1, MayBeGeneric::Always, &run_dir).unwrap());
        left.set_owned(&[VIP.into()]).unwrap();
        right.set_owned(&[VIP.into()]).unwrap();
        let mut a = left.open_queue(0, &mut pool).unwrap();
        if forget {
            pool.umem_shares().forget();
        }
        let mut b = right.open_queue(0, &mut pool).unwrap();
        let mut burst = Burst::with_capacity(8);
        let mut frame = pool.alloc(FramePool::UMEM).unwrap();
        assert!(frame.set_range(256..316));
        frame.bytes_mut().fill(0);
        frame.bytes_mut()[12..15].copy_from_slice(&[8, 0, 0x45]);
        frame.bytes_mut()[30..34].copy_from_slice(&VIP);
        a.tx(&mut pool, frame).unwrap();
        a.flush(&mut pool).unwrap();
        assert_eq!(receive(b.as_mut(), &mut pool, &mut burst), 1);
        for mut frame in burst.drain() {
            frame.bytes_mut()[59] = 7;
            b.tx(&mut pool, frame).unwrap();
        }
        b.flush(&mut pool).unwrap();
        assert_eq!(receive(a.as_mut(), &mut pool, &mut burst), 1);
        assert_eq!(burst.frames()[0].bytes()[59], 7);
        for frame in burst.drain() {
            pool.free(frame);
        }
        // The first one is who registered the memory; the other goes on without it.
        a.close(&mut pool);
        b.flush(&mut pool).unwrap();
        b.close(&mut pool);
        assert_eq!(pool.outstanding(FramePool::UMEM), 0);
        drop((left, right));
        std::fs::remove_dir_all(run_dir).unwrap();
    }

    #[test]
    fn sockets_share_the_memory_whether_it_was_registered_once_or_twice() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return;
        }
        // The namespace, and the devices in it, end with the thread.
        let in_own_namespace = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let run = |line: &str| {
                let done = Command::new("ip").args(line.split(' ')).status().unwrap();
                assert!(done.success(), "ip {line}");
            };
            run("link add w0 type veth peer name w1");
            run("link set w0 up");
            run("link set w1 up");
            there_and_back(false);
            there_and_back(true);
        };
        std::thread::spawn(in_own_namespace).join().unwrap();
    }
}
