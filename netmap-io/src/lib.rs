//! Packet I/O: the [`Port`] trait, the memory its frames live in, and the drivers.
//!
//! A worker thread owns one queue of every port, and one [`FramePool`]. A [`Frame`] that a port
//! receives is *moved* to the port that transmits it: on AF_XDP all ports of a worker share the
//! pool's memory, so nothing is copied. This crate knows Ethernet devices, and of TCP no more than
//! how a super-frame is cut into packets and packets are joined to one.
//!
//! | driver | memory | host path |
//! |---|---|---|
//! | `af_xdp` | the pool's region, shared by all ports | the XDP program passes what is not ours |
//! | `af_packet` | copied between the ring and the pool | an ingress program leaves the kernel what is not ours |
//! | `netmap` | netmap's own region | the host rings |
//! | [`memory`], `pcap` | the pool's region | none |

pub mod af_packet;
mod af_xdp;
pub mod arp_tap;
pub mod bpf;
mod burst;
#[expect(unsafe_code, reason = "one system call that fills a structure")]
mod clock;
mod device;
pub mod ethtool;
#[expect(unsafe_code, reason = "a frame is a raw owner of mapped memory")]
mod frame;
mod gso;
#[expect(unsafe_code, reason = "gives the kernel advice about memory")]
pub mod huge_pages;
#[expect(unsafe_code, reason = "one system call that fills a number")]
mod incoming;
pub mod ingress_drop;
pub mod memory;
pub mod netlink;
pub mod netmap;
mod owned;
pub mod pcap;
#[expect(unsafe_code, reason = "maps packet memory and hands out its chunks")]
mod pool;
mod port;
pub mod settings;
#[expect(unsafe_code, reason = "reads and writes memory that the kernel shares")]
mod shared;
#[expect(unsafe_code, reason = "one system call that takes numbers")]
mod thread;
#[expect(
    unsafe_code,
    reason = "asks the kernel to wait for several descriptors"
)]
mod wait;

pub use burst::Burst;
pub use clock::{ClockState, clock_state};
pub use device::{Device, DeviceInfo, DeviceSpec, DriverChoice, OpenError, QueueCount};
pub use frame::{ChecksumState, Frame, RegionId};
pub use gso::Packets;
pub use incoming::incoming_queue;
pub use pool::{FramePool, PoolError};
pub use port::{DriverKind, Port, PortInfo, PortStats};
pub use thread::prefer_this_thread;
pub use wait::WaitSet;
