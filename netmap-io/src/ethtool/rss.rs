//! Receive-side scaling: how a device spreads the frames that it receives over its queues.

use nix::errno::Errno;

use super::{genl, sys};

/// What the kernel says of a device's hash and of its table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indirection {
    pub(super) key: Vec<u8>,
    pub(super) table: Vec<u32>,
    /// One bit for each function; one is set.
    pub(super) function: u32,
    /// One bit for each change that is made to the input.
    pub(super) transform: u32,
}

/// The hash function of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFunction {
    /// Toeplitz with the device's key.
    Toeplitz,
    /// Exclusive or of the fields.
    Xor,
    /// CRC-32 of the fields.
    Crc32,
    /// None that is known, by the kernel's bits; 0 where the driver does not tell.
    Other(u32),
}

impl HashFunction {
    const fn from_bits(bits: u32) -> Self {
        match bits {
            1 => Self::Toeplitz,
            2 => Self::Xor,
            4 => Self::Crc32,
            other => Self::Other(other),
        }
    }
}

/// The fields of a packet that a device hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashFields {
    /// Addresses and ports of both ends.
    AddressesAndPorts,
    /// Addresses of both ends.
    Addresses,
    /// Others, by the kernel's bits; 0 where nothing is hashed or the driver does not tell.
    Other(u64),
}

impl HashFields {
    const fn from_bits(bits: u64) -> Self {
        // RXH_IP_SRC, RXH_IP_DST; RXH_L4_B_0_1, RXH_L4_B_2_3.
        const ADDRESSES: u64 = 1 << 4 | 1 << 5;
        const PORTS: u64 = 1 << 6 | 1 << 7;
        if bits == ADDRESSES | PORTS {
            Self::AddressesAndPorts
        } else if bits == ADDRESSES {
            Self::Addresses
        } else {
            Self::Other(bits)
        }
    }
}

/// How a device spreads the frames that it receives over its queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// The key of the hash.
    pub key: Vec<u8>,
    /// The queue for each value of the hash's low bits.
    pub table: Vec<u32>,
    /// The hash function.
    pub function: HashFunction,
    /// Whether both directions of a flow have the same hash, because the input is changed first.
    pub symmetric: bool,
    /// The number of queues that receive.
    pub queues: u32,
    /// What is hashed of TCP over IPv4.
    pub tcp_v4: HashFields,
    /// What is hashed of UDP over IPv4.
    pub udp_v4: HashFields,
}

/// Says why it cannot be foretold on which queue a device receives a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRss {
    /// The driver does not tell.
    #[error("its kernel driver does not say how it spreads frames over queues ({0})")]
    NotTold(Errno),
    /// There is nothing to spread over.
    #[error("it receives on one queue")]
    OneQueue,
    /// The hash function is another one.
    #[error("its hash function is {0}, not Toeplitz; see `ethtool -X <device> hfunc toeplitz`")]
    Function(&'static str),
    /// The input is changed first.
    #[error("it hashes both directions of a flow alike; see `ethtool -X <device> xfrm none`")]
    Symmetric,
    /// The key is too short for a Toeplitz hash.
    #[error("its key has {0} bytes, and 40 are needed")]
    Key(usize),
    /// The hash's low bits are not the place in the table.
    #[error("its table has {0} entries, which is no power of two")]
    Table(usize),
    /// Ports are hashed for neither protocol.
    #[error(
        "it hashes ports of neither TCP nor UDP; see `ethtool -N <device> rx-flow-hash tcp4 sdfn`"
    )]
    Fields,
}

/// Asks how a device spreads frames over its queues.
///
/// # Errors
/// When its driver does not tell.
pub fn rss(device: &str) -> Result<Rss, NoRss> {
    let control = sys::Control::open(device).map_err(NoRss::NotTold)?;
    // Netlink tells more on newer kernels; older ones, and some drivers, know the ioctl only.
    let indirection = genl::indirection(device)
        .or_else(|_| control.indirection())
        .map_err(NoRss::NotTold)?;
    let queues = match control.rx_rings() {
        Ok(queues) => queues,
        Err(_) => super::channels(device)
            .ok()
            .flatten()
            .map_or(1, |channels| channels.queues()),
    };
    let fields = |flow| HashFields::from_bits(control.hash_fields(flow).unwrap_or_default());
    Ok(Rss {
        key: indirection.key,
        table: indirection.table,
        function: HashFunction::from_bits(indirection.function),
        symmetric: indirection.transform != 0,
        queues,
        tcp_v4: fields(sys::TCP_V4),
        udp_v4: fields(sys::UDP_V4),
    })
}

/// Makes a device hash by what [`rss`] says of it.
///
/// Linux's virtio-net (before 6.13) tells a key and a table from the start, but switches the device
/// to another way of spreading when the number of queues is set, and back only when the table is.
///
/// # Errors
/// When the driver refuses.
pub fn enforce_rss(device: &str, rss: &Rss) -> Result<(), Errno> {
    let control = sys::Control::open(device)?;
    let usual = (0..).map(|entry: u32| entry.checked_rem(rss.queues).unwrap_or_default());
    // The kernel keeps a table that was set when the number of queues changes, and makes a default
    // one anew; so one that is the default stays it.
    let is_default = rss.table.iter().copied().eq(usual.take(rss.table.len()));
    control.set_indirection((!is_default).then_some(rss.table.as_slice()))
}

impl Rss {
    /// Says whether the queue of a packet follows from its addresses and ports, of TCP or UDP or
    /// both.
    ///
    /// # Errors
    /// Says why not.
    pub fn check(&self) -> Result<(), NoRss> {
        if self.queues < 2 {
            return Err(NoRss::OneQueue);
        }
        let function = match self.function {
            HashFunction::Toeplitz => None,
            HashFunction::Xor => Some("xor"),
            HashFunction::Crc32 => Some("crc32"),
            HashFunction::Other(_) => Some("unknown"),
        };
        if let Some(function) = function {
            return Err(NoRss::Function(function));
        }
        if self.symmetric {
            return Err(NoRss::Symmetric);
        }
        if self.key.len() < 40 {
            return Err(NoRss::Key(self.key.len()));
        }
        if !self.table.len().is_power_of_two() {
            return Err(NoRss::Table(self.table.len()));
        }
        let with_ports = |fields| fields == HashFields::AddressesAndPorts;
        if !with_ports(self.tcp_v4) && !with_ports(self.udp_v4) {
            return Err(NoRss::Fields);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    fn usual() -> Rss {
        Rss {
            key: vec![1; 40],
            table: (0..128).map(|entry| entry % 4).collect(),
            function: HashFunction::Toeplitz,
            symmetric: false,
            queues: 4,
            tcp_v4: HashFields::AddressesAndPorts,
            udp_v4: HashFields::Addresses,
        }
    }

    #[test]
    fn only_a_plain_toeplitz_hash_over_ports_foretells_the_queue() {
        assert_eq!(usual().check(), Ok(()));
        let refused = |change: fn(&mut Rss)| {
            let mut rss = usual();
            change(&mut rss);
            rss.check().unwrap_err()
        };
        assert_eq!(refused(|r| r.queues = 1), NoRss::OneQueue);
        assert_eq!(
            refused(|r| r.function = HashFunction::from_bits(4)),
            NoRss::Function("crc32")
        );
        assert_eq!(refused(|r| r.symmetric = true), NoRss::Symmetric);
        assert_eq!(refused(|r| r.key.truncate(10)), NoRss::Key(10));
        assert_eq!(refused(|r| r.table.truncate(96)), NoRss::Table(96));
        assert_eq!(refused(|r| r.table.clear()), NoRss::Table(0));
        assert_eq!(
            refused(|r| r.tcp_v4 = HashFields::Other(0x30 | 0x40)),
            NoRss::Fields
        );
        let text = NoRss::Function("crc32").to_string();
        assert!(
            text.ends_with("see `ethtool -X <device> hfunc toeplitz`"),
            "{text}"
        );
    }

    #[test]
    fn fields_are_those_that_the_kernel_names() {
        assert_eq!(HashFields::from_bits(0xf0), HashFields::AddressesAndPorts);
        assert_eq!(HashFields::from_bits(0x30), HashFields::Addresses);
        assert_eq!(HashFields::from_bits(0), HashFields::Other(0));
        assert_eq!(HashFields::from_bits(0xf4), HashFields::Other(0xf4));
    }

    #[test]
    fn a_virtual_pair_has_no_hash_to_foretell() {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: network namespaces need root");
            return;
        }
        // The namespace, and the device in it, end with the thread.
        let in_own_namespace = || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let pair = "link add w0 numrxqueues 2 numtxqueues 2 type veth peer name p0";
            let status = Command::new("ip").args(pair.split(' ')).status();
            assert!(status.unwrap().success());
            assert_eq!(rss("w0"), Err(NoRss::NotTold(Errno::EOPNOTSUPP)));
            assert_eq!(rss("weir-no"), Err(NoRss::NotTold(Errno::ENODEV)));
        };
        std::thread::spawn(in_own_namespace).join().unwrap();
    }
}
