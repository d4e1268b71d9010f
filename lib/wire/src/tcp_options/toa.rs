//! The option that tells a real server the client's true address.

use core::net::{IpAddr, SocketAddr};

use super::OptionKind;

/// The client's true address, told to a real server in a TCP option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Toa {
    /// The option kind; receivers differ for IPv6.
    pub kind: u8,
    /// The client.
    pub client: SocketAddr,
}

impl Toa {
    /// Length of the option for IPv4.
    pub const LEN_V4: usize = 8;
    /// Length of the option for IPv6.
    pub const LEN_V6: usize = 20;

    /// The option with the usual kind of the client's family.
    #[must_use]
    pub const fn new(client: SocketAddr) -> Self {
        let kind = match client {
            SocketAddr::V4(_) => OptionKind::TOA_V4,
            SocketAddr::V6(_) => OptionKind::TOA_V6,
        };
        Self { kind, client }
    }

    /// Length of the option: whole words, 8 or 20 bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an option is never empty")]
    pub const fn len(&self) -> usize {
        match self.client {
            SocketAddr::V4(_) => Self::LEN_V4,
            SocketAddr::V6(_) => Self::LEN_V6,
        }
    }

    /// The option: kind, length, port, address. Only the first [`len`](Self::len) bytes count.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN_V6] {
        let mut bytes = [0; Self::LEN_V6];
        let [kind, len, port_high, port_low, addr @ ..] = &mut bytes;
        *kind = self.kind;
        *len = self.len() as u8;
        [*port_high, *port_low] = self.client.port().to_be_bytes();
        match self.client.ip() {
            IpAddr::V4(v4) => {
                for (to, from) in addr.iter_mut().zip(v4.octets()) {
                    *to = from;
                }
            }
            IpAddr::V6(v6) => *addr = v6.octets(),
        }
        bytes
    }

    /// Reads port and address behind kind and length.
    #[must_use]
    pub(super) fn from_data(kind: u8, data: &[u8]) -> Option<Self> {
        let (port, addr) = data.split_first_chunk::<2>()?;
        let ip = if let Ok(v4) = <[u8; 4]>::try_from(addr) {
            IpAddr::from(v4)
        } else {
            IpAddr::from(<[u8; 16]>::try_from(addr).ok()?)
        };
        Some(Self {
            kind,
            client: SocketAddr::new(ip, u16::from_be_bytes(*port)),
        })
    }
}
