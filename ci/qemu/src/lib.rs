//! Virtual machines for what the lab's devices cannot show: the appliance image, and receive-side
//! scaling.
//!
//! [`guest`] starts a machine of any make, [`serial`] is somebody at its serial line, [`site`] a
//! network around it: clients, two real servers, a desk to log in from. [`shows`] lets the image prove
//! what it must, [`developer`] leaves it running to be looked at.
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

pub mod collector;
pub mod developer;
pub mod frames;
pub mod guest;
pub mod images;
pub mod kernel;
pub mod machine;
pub mod rss;
pub mod serial;
pub mod shows;
pub mod site;
pub mod ssh;
