//! Ids: small numbers that stand for named objects on the packet path.
//!
//! An id belongs to a name for as long as the daemon lives: a reload that keeps the name keeps the
//! id, so a session never points to another object than the one it was opened for.

use core::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// Returns the id as an index.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// Names a port (NIC).
    PortId(u8)
);
id!(
    /// Names a queue of a port.
    QueueId(u16)
);
id!(
    /// Names a worker.
    WorkerId(u8)
);
id!(
    /// Names a service.
    ServiceId(u16)
);
id!(
    /// Names a real server of one service.
    RealId(u32)
);
id!(
    /// Names an address, port and protocol at which real servers are reached; services that share
    /// a real server share its endpoint.
    EndpointId(u32)
);
id!(
    /// Names a LIP pool.
    PoolId(u16)
);
id!(
    /// Names one local address, in whichever pool it is.
    LipId(u16)
);
id!(
    /// Counts the snapshots that were applied since the daemon started.
    Generation(u64)
);
