//! Virtual machines for what the lab's devices cannot show: here, receive-side scaling.
//!
//! ```text
//!   this machine, namespace weir-<pid>-rss          guest, 4 processors
//!   frames ---> [weir0, a tap with 4 queues] ---> QEMU's virtio-net hashes ---> 4 queues ---> Weir's ports
//! ```
//!
//! A veth has no RSS. QEMU's virtio-net has, and Linux's driver for it tells key, table and fields
//! as that of any NIC. [`rss::prove`] boots Debian's kernel with one static program of ours, which
//! foretells the queue of every frame and looks where it arrives. The processor is emulated: this
//! shows what is right, not what is fast.

pub mod frames;
pub mod guest;
pub mod initramfs;
pub mod kernel;
pub mod machine;
pub mod rss;
pub mod serial;
pub mod site;
pub mod ssh;
