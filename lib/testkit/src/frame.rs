//! Builds frames from a description, byte by byte as the description says.

use std::net::Ipv4Addr;

use weir_wire::{
    ARP_REQUEST, ArpRepr, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_VLAN, EthAddr, EthHeader,
    Header, IcmpHeader, Ipv4Repr, Protocol, SeqNumber, TcpFlags, TcpHeader, UdpHeader, UdpRepr,
    VlanTag, fill_checksums,
};

/// Describes an IPv4 packet in an Ethernet frame.
#[derive(Clone, Debug)]
pub struct PacketSpec {
    /// The sender's Ethernet address.
    pub eth_src: EthAddr,
    /// The receiver's Ethernet address.
    pub eth_dst: EthAddr,
    /// The 802.1Q tag control information.
    pub vlan: Option<u16>,
    /// The source address.
    pub src: Ipv4Addr,
    /// The destination address.
    pub dst: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Identification.
    pub ident: u16,
    /// Whether routers may not fragment.
    pub dont_fragment: bool,
    /// What the packet carries.
    pub transport: Transport,
    /// What becomes of the transport checksum.
    pub checksum: Checksum,
}

/// What a packet carries.
#[derive(Clone, Debug)]
pub enum Transport {
    /// TCP.
    Tcp(TcpSpec),
    /// UDP.
    Udp(UdpSpec),
    /// ICMP.
    Icmp(IcmpSpec),
    /// Anything else.
    Other {
        /// The protocol number.
        protocol: u8,
        /// What follows the IPv4 header.
        payload: Vec<u8>,
    },
}

/// Describes a TCP segment.
#[derive(Clone, Debug, Default)]
pub struct TcpSpec {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number.
    pub seq: SeqNumber,
    /// Acknowledgement number.
    pub ack: SeqNumber,
    /// Flags.
    pub flags: TcpFlags,
    /// Window.
    pub window: u16,
    /// The option bytes; padded with zeroes to whole words.
    pub options: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Describes a UDP datagram.
#[derive(Clone, Debug, Default)]
pub struct UdpSpec {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Describes an ICMP message.
#[derive(Clone, Debug, Default)]
pub struct IcmpSpec {
    /// Message type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The four bytes behind the checksum.
    pub rest: [u8; 4],
    /// What follows.
    pub payload: Vec<u8>,
}

/// What becomes of the transport checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// It is right.
    #[default]
    Right,
    /// It is off by one.
    Wrong,
    /// It is the sum of the pseudo header only, as virtual devices hand it over.
    Partial,
    /// It is this; UDP says with 0 that there is none.
    Exactly(u16),
}

impl Default for PacketSpec {
    fn default() -> Self {
        Self {
            eth_src: EthAddr([2, 0, 0, 0, 0, 1]),
            eth_dst: EthAddr([2, 0, 0, 0, 0, 2]),
            vlan: None,
            src: Ipv4Addr::UNSPECIFIED,
            dst: Ipv4Addr::UNSPECIFIED,
            ttl: 64,
            tos: 0,
            ident: 0,
            dont_fragment: true,
            transport: Transport::Tcp(TcpSpec::default()),
            checksum: Checksum::Right,
        }
    }
}

impl PacketSpec {
    /// Builds the frame.
    ///
    /// # Panics
    ///
    /// When the description does not fit a packet: a test that asks for it is wrong.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        let mut ethertype = ETHERTYPE_IPV4;
        if self.vlan.is_some() {
            ethertype = ETHERTYPE_VLAN;
        }
        frame.extend_from_slice(&self.eth_dst.0);
        frame.extend_from_slice(&self.eth_src.0);
        frame.extend_from_slice(&ethertype.to_be_bytes());
        if let Some(tci) = self.vlan {
            frame.extend_from_slice(&tci.to_be_bytes());
            frame.extend_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
        }
        let l3 = frame.len();
        frame.extend_from_slice(&self.packet());
        match self.checksum {
            Checksum::Right => {}
            Checksum::Wrong => {
                let at = self.checksum_at(l3);
                frame[at + 1] ^= 1;
            }
            Checksum::Partial => {
                let len = frame.len() - l3 - Ipv4Repr::LEN;
                let pseudo =
                    weir_wire::pseudo_v4(self.src, self.dst, self.transport.protocol(), len as u16);
                let at = self.checksum_at(l3);
                frame[at..at + 2].copy_from_slice(&pseudo.fold().to_be_bytes());
            }
            Checksum::Exactly(value) => {
                let at = self.checksum_at(l3);
                frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
            }
        }
        frame
    }

    /// Builds the packet from its IPv4 header on, with right checksums: what an ICMP error quotes.
    ///
    /// # Panics
    ///
    /// When the description does not fit a packet.
    #[must_use]
    pub fn packet(&self) -> Vec<u8> {
        let payload = self.transport.bytes();
        let head = Ipv4Repr {
            src: self.src,
            dst: self.dst,
            protocol: self.transport.protocol(),
            ttl: self.ttl,
            tos: self.tos,
            ident: self.ident,
            dont_fragment: self.dont_fragment,
            payload_len: u16::try_from(payload.len()).expect("the payload fits a packet"),
        };
        // Checksums are filled in by lib/wire, which wants an Ethernet header in front.
        let mut frame = vec![0; EthHeader::LEN + Ipv4Repr::LEN];
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
        head.emit(&mut frame[EthHeader::LEN..])
            .expect("the packet is at most 65,535 bytes long");
        frame.extend_from_slice(&payload);
        fill_checksums(&mut frame).expect("the packet is whole");
        frame.split_off(EthHeader::LEN)
    }

    fn checksum_at(&self, l3: usize) -> usize {
        let field = match self.transport {
            Transport::Tcp(_) => TcpHeader::CHECKSUM_OFFSET,
            Transport::Udp(_) => UdpHeader::CHECKSUM_OFFSET,
            Transport::Icmp(_) | Transport::Other { .. } => IcmpHeader::CHECKSUM_OFFSET,
        };
        l3 + Ipv4Repr::LEN + field
    }
}

impl Transport {
    /// Returns the protocol number.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        match self {
            Self::Tcp(_) => Protocol::TCP,
            Self::Udp(_) => Protocol::UDP,
            Self::Icmp(_) => Protocol::ICMP,
            Self::Other { protocol, .. } => *protocol,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Tcp(tcp) => tcp.bytes(),
            Self::Udp(udp) => {
                let mut bytes = vec![0; UdpRepr::LEN];
                let head = UdpRepr {
                    src_port: udp.src_port,
                    dst_port: udp.dst_port,
                    payload_len: udp.payload.len() as u16,
                };
                head.emit(&mut bytes).expect("the datagram fits");
                bytes.extend_from_slice(&udp.payload);
                bytes
            }
            Self::Icmp(icmp) => {
                let mut bytes = vec![icmp.kind, icmp.code, 0, 0];
                bytes.extend_from_slice(&icmp.rest);
                bytes.extend_from_slice(&icmp.payload);
                bytes
            }
            Self::Other { payload, .. } => payload.clone(),
        }
    }
}

impl TcpSpec {
    fn bytes(&self) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        assert!(options.len() <= 40, "TCP options take 40 bytes at most");
        let mut header = TcpHeader {
            src_port: self.src_port.into(),
            dst_port: self.dst_port.into(),
            seq: self.seq.0.into(),
            ack: self.ack.0.into(),
            off_flags: u16::from(self.flags.0).into(),
            window: self.window.into(),
            checksum: 0.into(),
            urgent: 0.into(),
        };
        header.set_header_len(TcpHeader::LEN + options.len());
        let mut bytes = vec![0; TcpHeader::LEN];
        header.put(&mut bytes, 0).expect("the header fits");
        bytes.extend_from_slice(&options);
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// Builds an ARP frame: a request to everybody, a reply to its target.
///
/// # Panics
///
/// Never: the buffer has room.
#[must_use]
pub fn arp_frame(arp: &ArpRepr) -> Vec<u8> {
    let to = if arp.op == ARP_REQUEST {
        EthAddr::BROADCAST
    } else {
        arp.target_mac
    };
    let mut frame = Vec::new();
    frame.extend_from_slice(&to.0);
    frame.extend_from_slice(&arp.sender_mac.0);
    frame.extend_from_slice(&ETHERTYPE_ARP.to_be_bytes());
    frame.resize(EthHeader::LEN + ArpRepr::LEN, 0);
    arp.emit(&mut frame[EthHeader::LEN..])
        .expect("the frame has room");
    frame
}

/// Returns where the IPv4 header begins, past a tag if there is one.
#[must_use]
pub fn l3_offset(frame: &[u8]) -> usize {
    let tagged = EthHeader::at(frame, 0).is_some_and(|it| it.ethertype.get() == ETHERTYPE_VLAN);
    EthHeader::LEN + if tagged { VlanTag::LEN } else { 0 }
}

/// Returns the payload that walks use for `len` bytes: never all the same byte.
#[must_use]
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + len) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_wire::{BadChecksum, Describe, Parsed, verify_frame};

    fn spec() -> PacketSpec {
        PacketSpec {
            src: Ipv4Addr::new(192, 0, 2, 1),
            dst: Ipv4Addr::new(192, 0, 2, 2),
            transport: Transport::Tcp(TcpSpec {
                src_port: 1,
                dst_port: 2,
                seq: SeqNumber(9),
                flags: TcpFlags::SYN,
                window: 100,
                options: vec![2, 4, 5, 0xb4, 4, 2],
                payload: pattern(3),
                ..TcpSpec::default()
            }),
            ..PacketSpec::default()
        }
    }

    #[test]
    fn a_frame_is_what_its_description_says() {
        let frame = spec().build();
        assert_eq!(verify_frame(&frame), Ok(()));
        assert_eq!(
            Describe(&frame).to_string(),
            "192.0.2.1.1 > 192.0.2.2.2: Flags [S], seq 9:12, win 100, \
             options [mss 1460,sackOK,eol], length 3"
        );
    }

    #[test]
    fn a_tag_moves_the_packet_and_not_its_checksum() {
        let frame = PacketSpec {
            vlan: Some(7),
            ..spec()
        }
        .build();
        assert_eq!(l3_offset(&frame), 18);
        assert_eq!(Parsed::parse(&frame).unwrap().vlan, Some(7));
        assert_eq!(verify_frame(&frame), Ok(()));
    }

    #[test]
    fn checksums_are_wrong_or_partial_when_asked_for() {
        let wrong = PacketSpec {
            checksum: Checksum::Wrong,
            ..spec()
        };
        assert!(matches!(
            verify_frame(&wrong.build()),
            Err(BadChecksum::Tcp { .. })
        ));
        let mut partial = PacketSpec {
            checksum: Checksum::Partial,
            ..spec()
        }
        .build();
        let parsed = Parsed::parse(&partial).unwrap();
        let done = weir_wire::complete_partial(&mut partial, &parsed);
        assert_eq!(done, weir_wire::verify::Completed::Yes);
        assert_eq!(verify_frame(&partial), Ok(()));
    }
}
