//! Why a frame was not understood.

use core::fmt;

/// Part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Ethernet header.
    Ethernet,
    /// 802.1Q tag.
    Vlan,
    /// IPv4 packet.
    Ipv4,
    /// TCP header.
    Tcp,
    /// UDP header.
    Udp,
    /// ICMP header.
    Icmp,
}

/// Why a frame was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// The bytes end before this part does.
    Truncated {
        /// The part.
        layer: Layer,
        /// Bytes that it needs.
        need: u16,
        /// Bytes that are left for it.
        have: u16,
    },
    /// The IP version under the `EtherType` of IPv4 is not 4.
    BadVersion(u8),
    /// The IPv4 header claims fewer than 20 bytes, or more than the packet has.
    BadHeaderLength(u8),
    /// The IPv4 total length is shorter than the header; 0 is what an unsegmented super-frame
    /// carries.
    BadTotalLength(u16),
    /// The IPv4 header checksum is wrong.
    BadIpChecksum,
    /// An empty fragment, a ragged one in the middle, or one that ends beyond 65,535 bytes.
    BadFragment,
    /// The TCP header claims fewer than 20 bytes, or more than the packet has.
    BadTcpOffset(u8),
    /// The UDP length is below 8, or more than the packet has.
    BadUdpLength(u16),
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ethernet => "Ethernet header",
            Self::Vlan => "802.1Q tag",
            Self::Ipv4 => "IPv4 packet",
            Self::Tcp => "TCP header",
            Self::Udp => "UDP header",
            Self::Icmp => "ICMP header",
        })
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { layer, need, have } => {
                write!(f, "{layer} truncated: needs {need} bytes, {have} are there")
            }
            Self::BadVersion(version) => write!(f, "IP version {version} in an IPv4 frame"),
            Self::BadHeaderLength(len) => write!(f, "IPv4 header length {len} is impossible"),
            Self::BadTotalLength(len) => write!(f, "IPv4 total length {len} is below the header's"),
            Self::BadIpChecksum => f.write_str("IPv4 header checksum is wrong"),
            Self::BadFragment => f.write_str("fragment is empty, ragged or ends beyond 65535"),
            Self::BadTcpOffset(len) => write!(f, "TCP header length {len} is impossible"),
            Self::BadUdpLength(len) => write!(f, "UDP length {len} is impossible"),
        }
    }
}

impl core::error::Error for ParseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_and_how_much() {
        let text = |error: ParseError| std::format!("{error}");
        let cut = ParseError::Truncated {
            layer: Layer::Tcp,
            need: 20,
            have: 8,
        };
        assert_eq!(
            text(cut),
            "TCP header truncated: needs 20 bytes, 8 are there"
        );
        assert_eq!(
            text(ParseError::BadUdpLength(3)),
            "UDP length 3 is impossible"
        );
    }
}
