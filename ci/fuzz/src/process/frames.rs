//! Frames that arrive: openings, answers, proofs, and nonsense in between.

use std::net::Ipv4Addr;

use weir_model::{PortId, Protocol};
use weir_testkit::{
    Checksum, IcmpSpec, PacketSpec, TcpSpec, Transport, UdpSpec, arp_frame, pattern,
};
use weir_wire::{
    ARP_REPLY, ARP_REQUEST, ArpRepr, EthAddr, Parsed, SeqNumber, TcpFlags, fill_checksums,
};

use super::segment::Segment;
use super::{Life, Tuple};

/// Everyone: three clients, the VIPs, LIPs and real servers, a port's own address.
pub(super) const ADDRESSES: [Ipv4Addr; 14] = [
    CLIENTS[0],
    CLIENTS[1],
    CLIENTS[2],
    VIP,
    VIP,
    Ipv4Addr::new(203, 0, 113, 53),
    Ipv4Addr::new(10, 0, 8, 1),
    Ipv4Addr::new(10, 0, 8, 2),
    Ipv4Addr::new(10, 0, 1, 11),
    Ipv4Addr::new(10, 8, 1, 12),
    Ipv4Addr::new(10, 0, 1, 13),
    Ipv4Addr::new(10, 0, 2, 11),
    Ipv4Addr::new(10, 0, 2, 12),
    Ipv4Addr::new(198, 51, 100, 2),
];
const CLIENTS: [Ipv4Addr; 3] = [
    Ipv4Addr::new(192, 0, 2, 7),
    Ipv4Addr::new(192, 0, 2, 8),
    Ipv4Addr::new(198, 51, 100, 9),
];
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const PORTS: [u16; 10] = [80, 81, 82, 83, 53, 8080, 40_000, 40_001, 5000, 5001];
/// Sequence numbers around which arithmetic goes wrong.
const EDGES: [u32; 6] = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fff0, 0xffff_ffff];
/// Payload lengths: none, one byte, some, and as much as fits.
const LENGTHS: [usize; 8] = [0, 0, 0, 1, 100, 600, 1400, 1440];
const OPTIONS: [&[u8]; 16] = [
    &[],
    &[2, 4, 5, 0xb4],
    // What Linux offers, with and without each.
    &[
        2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
    ],
    &[2, 4, 5, 0xb4, 1, 3, 3, 0, 4, 2],
    &[
        2, 4, 5, 0xb4, 1, 1, 8, 10, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,
    ],
    &[2, 4, 2, 0x18, 3, 3, 14, 1],
    &[4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0],
    // Out of range, twice, and of no length.
    &[2, 4, 0, 9, 3, 3, 15],
    &[2, 4, 0xff, 0xff, 2, 4, 5, 0xb4],
    &[3, 3, 2, 3, 3, 9],
    &[2, 4, 5, 0xb4, 4, 0, 3, 3, 7],
    &[8, 0, 8, 1],
    // Unknown ones, fast open, a forged address.
    &[34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 2, 4, 5, 0xb4],
    &[254, 8, 0, 80, 10, 9, 9, 9],
    &[1, 1, 5, 10, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xf0],
    &[
        1, 1, 8, 10, 0, 0, 0, 5, 0, 0, 0, 1, 1, 1, 5, 10, 0, 0, 0, 9, 0, 0, 0, 99,
    ],
];

/// A frame, the port that it arrives at, and whose fresh cookie it shows without a blemish.
pub(super) struct Made {
    pub(super) port: PortId,
    pub(super) frame: Vec<u8>,
    pub(super) proves: Option<Tuple>,
}

impl Life<'_> {
    /// Makes a frame; `kind` is below 48.
    pub(super) fn frame(&mut self, kind: usize) -> Made {
        let spec = match kind {
            0..8 => self.opening(),
            8..18 => return self.proof(),
            18..30 => self.answer(),
            30..36 => self.of_a_session(),
            36..38 => self.icmp_error(),
            38..41 => self.anything(),
            41..44 => return self.again(),
            44 => return self.arp(),
            _ => return self.damaged(),
        };
        self.arrival(&spec)
    }

    /// A burst of SYNs from as many clients to one service.
    pub(super) fn flood(&mut self) -> Vec<Made> {
        let count = self.choice.pick(&[4, 4, 8, 8, 16, 16, 32, 150]);
        let dst_port = self.choice.pick(&[80, 81, 81, 81, 82, 83]);
        let near = self.choice.once_in(2);
        let options = self.choice.pick(&OPTIONS);
        let flood = (0..count).map(|_| {
            self.flood_port = self.flood_port.checked_add(1).unwrap_or(50_000);
            let [_, third, fourth] = u32::from(self.flood_port)
                .wrapping_mul(0x9e37)
                .to_be_bytes()[1..]
                .try_into()
                .unwrap_or_default();
            let far = Ipv4Addr::new(100, 64 | third & 63, third, fourth);
            let spec = PacketSpec {
                src: if near { CLIENTS[0] } else { far },
                dst: VIP,
                transport: Transport::Tcp(TcpSpec {
                    src_port: self.flood_port,
                    dst_port,
                    seq: SeqNumber(u32::from(self.flood_port)),
                    flags: TcpFlags::SYN,
                    window: 1024,
                    options: options.to_vec(),
                    ..TcpSpec::default()
                }),
                ..PacketSpec::default()
            };
            self.arrival(&spec)
        });
        flood.collect()
    }

    /// A packet that may open a session.
    fn opening(&mut self) -> PacketSpec {
        let src = self.choice.pick(&CLIENTS);
        let src_port = 40_000 + self.choice.below(4) as u16;
        let dst_port = self.choice.pick(&[80, 81, 82, 83, 82, 83, 81, 53]);
        let dns = dst_port == 53;
        let transport = if dns {
            Transport::Udp(UdpSpec {
                src_port,
                dst_port,
                payload: vec![7; self.choice.below(40)],
            })
        } else {
            let seq = self.number();
            Transport::Tcp(TcpSpec {
                src_port,
                dst_port,
                seq,
                flags: TcpFlags(
                    self.choice
                        .pick(&[0x02, 0x02, 0x02, 0x02, 0x02, 0xc2, 0x03, 0x22]),
                ),
                window: self.choice.pick(&[64_240, 65_535, 1, 0]),
                options: self.choice.pick(&OPTIONS).to_vec(),
                payload: pattern(self.choice.pick(&[0, 0, 0, 0, 0, 0, 1, 100])),
                ..TcpSpec::default()
            })
        };
        PacketSpec {
            src,
            dst: if dns { ADDRESSES[5] } else { VIP },
            transport,
            ..PacketSpec::default()
        }
    }

    /// The ACK that shows a cookie, or nearly does.
    fn proof(&mut self) -> Made {
        let Some((tuple, issue)) = self.cookies.nth(self.choice.byte()) else {
            let spec = self.opening();
            return self.arrival(&spec);
        };
        let (client, vip) = tuple;
        let mut options = issue.timestamps.map_or_else(Vec::new, |ts| {
            let mut bytes = vec![1, 1, 8, 10, 0, 0, 0, 5];
            bytes.extend_from_slice(&ts.to_be_bytes());
            bytes
        });
        let mut proves = Some(tuple);
        let mut spec = PacketSpec {
            src: client.0,
            dst: vip.0,
            ..PacketSpec::default()
        };
        let mut tcp = TcpSpec {
            src_port: client.1,
            dst_port: vip.1,
            seq: issue.isn + 1,
            ack: issue.cookie + 1,
            flags: TcpFlags::ACK,
            window: 502,
            ..TcpSpec::default()
        };
        match self.choice.below(16) {
            // Sound in every way, with more or less in it.
            0..5 => {}
            5 => tcp.payload = pattern(1),
            6 | 7 => tcp.payload = pattern(600),
            8 => tcp.payload = pattern(1400),
            9 => {
                tcp.flags = TcpFlags(0x11);
                tcp.payload = pattern(self.choice.pick(&[0, 100]));
            }
            10 => {
                options.clear();
                tcp.flags = TcpFlags(self.choice.pick(&[0x18, 0x30, 0xd0]));
                tcp.window = 0;
            }
            // And with one blemish.
            11 => {
                tcp.flags = TcpFlags(self.choice.pick(&[0x14, 0x12, 0x00, 0x08, 0xff]));
                proves = None;
            }
            12 => {
                tcp.seq += self.choice.pick(&[u32::MAX, 1, 1460, 0x8000_0000]);
                proves = None;
            }
            13 => {
                let bit = self.choice.below(32);
                tcp.ack = SeqNumber(tcp.ack.0 ^ 1 << bit);
                proves = None;
            }
            14 => {
                tcp.src_port ^= 1;
                proves = None;
            }
            _ => {
                spec.src = self.choice.pick(&CLIENTS);
                tcp.dst_port = self.choice.pick(&[80, 81, 82, 83]);
                proves = None;
            }
        }
        tcp.options = options;
        spec.transport = Transport::Tcp(tcp);
        Made {
            proves,
            ..self.arrival(&spec)
        }
    }

    /// What whoever got a frame that Weir sent answers, in sequence or close to it.
    fn answer(&mut self) -> PacketSpec {
        let Some((segment, _)) = self.seen_segment() else {
            return self.opening();
        };
        let ((src, src_port), (dst, dst_port)) = segment.tuple;
        let handshake = segment.flags.contains(TcpFlags::SYN);
        let bits: u8 = match (handshake, segment.flags.contains(TcpFlags::ACK)) {
            // Most often the answer that keeps a connection going.
            (true, false) => self
                .choice
                .pick(&[0x12, 0x12, 0x12, 0x12, 0x12, 0x10, 0x14, 0x02]),
            (true, true) => self.choice.pick(&[0x10, 0x10, 0x18, 0x18, 0x11, 0x14]),
            (false, _) => self
                .choice
                .pick(&[0x10, 0x10, 0x18, 0x11, 0x11, 0x14, 0x04, 0x12]),
        };
        let opens = bits & 0x02 != 0;
        let mut seq = if opens { self.number() } else { segment.ack };
        let mut ack = segment.end();
        if self.choice.once_in(8) {
            seq += self.choice.pick(&[1, u32::MAX, 1000, 70_000]);
        }
        if self.choice.once_in(8) {
            ack += self.choice.pick(&[1, u32::MAX, 1000, 70_000]);
        }
        PacketSpec {
            src: dst,
            dst: src,
            transport: Transport::Tcp(TcpSpec {
                src_port: dst_port,
                dst_port: src_port,
                seq,
                ack,
                flags: TcpFlags(bits),
                window: self.choice.pick(&[502, 0, 65_535, 1]),
                options: self.choice.pick(&OPTIONS).to_vec(),
                payload: if bits & 0x06 == 0 {
                    pattern(self.choice.pick(&LENGTHS))
                } else {
                    Vec::new()
                },
            }),
            ..PacketSpec::default()
        }
    }

    /// A packet of a session that exists, with any numbers.
    fn of_a_session(&mut self) -> PacketSpec {
        let sessions = self.world.sessions();
        let Some(session) = sessions.get(self.choice.below(sessions.len())) else {
            return self.opening();
        };
        let ((src, src_port), (dst, dst_port)) = if self.choice.once_in(2) {
            (session.client, session.vip)
        } else {
            (session.real, session.lip)
        };
        let transport = match session.protocol {
            Protocol::Udp => Transport::Udp(UdpSpec {
                src_port,
                dst_port,
                payload: vec![3; self.choice.below(40)],
            }),
            Protocol::Tcp => Transport::Tcp(TcpSpec {
                src_port,
                dst_port,
                ..self.tcp()
            }),
        };
        PacketSpec {
            src,
            dst,
            ttl: self.choice.pick(&[64, 64, 64, 1]),
            transport,
            ..PacketSpec::default()
        }
    }

    fn anything(&mut self) -> PacketSpec {
        let transport = match self.choice.below(6) {
            0 => Transport::Udp(UdpSpec {
                src_port: self.choice.pick(&PORTS),
                dst_port: self.choice.pick(&PORTS),
                payload: vec![1; self.choice.below(60)],
            }),
            1 => Transport::Icmp(IcmpSpec {
                kind: self.choice.pick(&[8, 0, 3, 4, 5, 11, 12, 13]),
                code: self.choice.below(5) as u8,
                rest: [0, 1, 5, 0],
                payload: pattern(40),
            }),
            2 => Transport::Other {
                protocol: self.choice.pick(&[4, 47, 50, 58, 132]),
                payload: pattern(24),
            },
            _ => Transport::Tcp(self.tcp()),
        };
        PacketSpec {
            src: self.choice.pick(&ADDRESSES),
            dst: self.choice.pick(&ADDRESSES),
            ttl: self.choice.pick(&[64, 2, 1, 0, 255]),
            tos: self.choice.byte(),
            dont_fragment: self.choice.once_in(2),
            vlan: self.choice.once_in(16).then_some(7),
            checksum: self.choice.pick(&[
                Checksum::Right,
                Checksum::Right,
                Checksum::Wrong,
                Checksum::Partial,
                Checksum::Exactly(0),
            ]),
            transport,
            ..PacketSpec::default()
        }
    }

    /// An ICMP error about something that Weir sent.
    fn icmp_error(&mut self) -> PacketSpec {
        let Some((segment, frame)) = self.seen_segment() else {
            return self.opening();
        };
        let most = frame.len() - 14;
        let len = self.choice.pick(&[28, 20, most, 40, 60, 27]).min(most);
        let mut quoted = frame[14..14 + len].to_vec();
        if self.choice.once_in(4) {
            let at = self.choice.below(len.min(255));
            quoted[at] ^= self.choice.byte();
        }
        PacketSpec {
            src: self.choice.pick(&ADDRESSES),
            dst: segment.tuple.0.0,
            transport: Transport::Icmp(IcmpSpec {
                kind: self.choice.pick(&[3, 3, 11, 12, 4, 5]),
                code: self.choice.below(6) as u8,
                rest: [0, 0, self.choice.below(8) as u8, self.choice.byte()],
                payload: quoted,
            }),
            ..PacketSpec::default()
        }
    }

    fn arp(&mut self) -> Made {
        let sender_ip = self.choice.pick(&ADDRESSES);
        let around = self.world.around();
        let (port, _) = around
            .reach(sender_ip)
            .unwrap_or((PortId(0), EthAddr::ZERO));
        let honest = around.mac_of(sender_ip);
        let own = around.links()[0].mac;
        let frame = arp_frame(&ArpRepr {
            op: self.choice.pick(&[ARP_REQUEST, ARP_REPLY]),
            sender_mac: self.choice.pick(&[
                honest,
                honest,
                honest,
                EthAddr::BROADCAST,
                EthAddr::ZERO,
                own,
            ]),
            sender_ip,
            target_mac: own,
            target_ip: self.choice.pick(&ADDRESSES),
        });
        Made {
            port,
            frame,
            proves: None,
        }
    }

    /// A frame that arrived before arrives again.
    fn again(&mut self) -> Made {
        let at = self.choice.below(self.sent.len());
        let Some((port, frame)) = self.sent.get(at) else {
            return self.arp();
        };
        Made {
            port: *port,
            frame: frame.clone(),
            proves: None,
        }
    }

    /// A frame with some bytes changed, cut off or added; or nothing but bytes.
    fn damaged(&mut self) -> Made {
        if self.choice.once_in(8) {
            let len = self.choice.below(120);
            return Made {
                port: PortId(self.choice.below(2) as u8),
                frame: (0..len).map(|_| self.choice.byte()).collect(),
                proves: None,
            };
        }
        let kind = self.choice.below(44);
        let Made {
            port, mut frame, ..
        } = self.frame(kind);
        for _ in 0..=self.choice.below(3) {
            // Headers are what is of interest.
            let at = self.choice.below(frame.len().min(96));
            let byte = self.choice.byte();
            match self.choice.below(6) {
                _ if frame.is_empty() => {}
                0 => frame.truncate(at),
                1 => frame.extend(std::iter::repeat_n(byte, at)),
                2 => frame[at] = byte,
                _ => frame[at] ^= byte,
            }
        }
        // Most damage is found by the header checksum; half of the time it is mended.
        if self.choice.once_in(2) {
            let _ = fill_checksums(&mut frame);
        }
        frame.truncate(1900);
        Made {
            port,
            frame,
            proves: None,
        }
    }

    fn tcp(&mut self) -> TcpSpec {
        let bits = [
            0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x10, 0x10, 0x00, 0xff,
        ];
        TcpSpec {
            src_port: self.choice.pick(&PORTS),
            dst_port: self.choice.pick(&PORTS),
            seq: self.number(),
            ack: self.number(),
            flags: TcpFlags(self.choice.pick(&bits)),
            window: self.choice.pick(&[0, 1, 502, 65_535]),
            options: self.choice.pick(&OPTIONS).to_vec(),
            payload: pattern(self.choice.pick(&LENGTHS)),
        }
    }

    fn number(&mut self) -> SeqNumber {
        let edge = self.choice.below(EDGES.len() + 1);
        SeqNumber(match EDGES.get(edge) {
            Some(number) => *number,
            None => self.choice.long(),
        })
    }

    /// A TCP segment that Weir sent, and its frame; the latest are the likeliest.
    fn seen_segment(&mut self) -> Option<(Segment, Vec<u8>)> {
        let back = match self.choice.below(64) {
            at @ 0..40 => at % 3,
            at => at,
        };
        let back = back.checked_rem(self.seen.len())?;
        let frame = self.seen.iter().nth_back(back)?;
        // Frames that Weir sends have no tag.
        Parsed::parse(frame).ok().filter(|it| it.l3 == 14)?;
        Some((Segment::of(frame)?, frame.clone()))
    }

    /// Gives a packet the Ethernet addresses of its way here, and its port.
    fn arrival(&mut self, spec: &PacketSpec) -> Made {
        let around = self.world.around();
        let (port, eth_src) = around
            .reach(spec.src)
            .unwrap_or((PortId(0), EthAddr([2; 6])));
        let eth_dst = around.link(port).map_or(EthAddr::ZERO, |link| link.mac);
        let spec = PacketSpec {
            eth_src,
            eth_dst,
            ..spec.clone()
        };
        Made {
            port,
            frame: spec.build(),
            proves: None,
        }
    }
}
