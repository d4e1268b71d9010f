//! The connections of a capture: what the TOA says of each one's client, and what the client says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};

use super::toa;
use crate::inside::http::CLIENT_HEADER;

/// A connection that was opened towards a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Where its segments come from, as the server sees it.
    pub from: SocketAddrV4,
    /// The client addresses that its TOA options carry; one, where all is well.
    pub toa: BTreeSet<SocketAddrV4>,
    /// The client addresses that its requests say; none where nothing was asked.
    pub said: BTreeSet<SocketAddrV4>,
}

/// A segment as far as it matters here.
struct Segment<'a> {
    from: SocketAddrV4,
    to: u16,
    opens: bool,
    payload: &'a [u8],
}

/// Reads the connections towards `port` in the order in which they were opened. A SYN from an address
/// whose connection has asked something opens another one.
pub(super) fn read<'a>(
    frames: impl Iterator<Item = &'a [u8]>,
    port: u16,
    kind: u8,
) -> Vec<Connection> {
    let mut all: Vec<Connection> = Vec::new();
    let mut last = BTreeMap::new();
    for frame in frames {
        let Some(segment) = segment(frame).filter(|it| it.to == port) else {
            continue;
        };
        let from = segment.from;
        let known = last.get(&from).copied();
        let is_new = known.is_none_or(|at: usize| {
            segment.opens && all.get(at).is_some_and(|it| !it.said.is_empty())
        });
        let at = match known {
            Some(at) if !is_new => at,
            _ => {
                all.push(Connection {
                    from,
                    toa: BTreeSet::new(),
                    said: BTreeSet::new(),
                });
                all.len() - 1
            }
        };
        last.insert(from, at);
        if let Some(connection) = all.get_mut(at) {
            connection.toa.extend(toa(frame, kind));
            connection.said.extend(said(segment.payload));
        }
    }
    all
}

/// Reads a segment of TCP in a frame with IPv4.
fn segment(frame: &[u8]) -> Option<Segment<'_>> {
    let packet = frame.get(14..)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    if *packet.get(9)? != 6 {
        return None;
    }
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    // Behind the packet's end Ethernet may have filled the frame up.
    let length = u16::from_be_bytes(packet.get(2..4)?.try_into().ok()?);
    let segment = packet.get(header..usize::from(length))?;
    let port = |at| {
        Some(u16::from_be_bytes(
            segment.get(at..at + 2)?.try_into().ok()?,
        ))
    };
    let flags = *segment.get(13)?;
    Some(Segment {
        from: SocketAddrV4::new(Ipv4Addr::from(source), port(0)?),
        to: port(2)?,
        opens: flags & 0x12 == 0x02,
        payload: segment.get(usize::from(segment.get(12)? >> 4) * 4..)?,
    })
}

/// Returns which client a request says that it comes from.
fn said(payload: &[u8]) -> Option<SocketAddrV4> {
    let text = std::str::from_utf8(payload).ok()?;
    let line = text.lines().find(|it| it.starts_with(CLIENT_HEADER))?;
    line.get(CLIENT_HEADER.len()..)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(from: u16, flags: u8, toa: Option<[u8; 6]>, payload: &str) -> Vec<u8> {
        let options = toa.map_or_else(Vec::new, |it| [&[254, 8][..], &it].concat());
        let length = 20 + 20 + options.len() + payload.len();
        let mut frame = vec![0; 14];
        frame.extend([0x45, 0]);
        frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 81, 0, 200, 10, 81, 0, 11]);
        frame.extend(from.to_be_bytes());
        frame.extend(80_u16.to_be_bytes());
        frame.extend([0; 8]);
        let words = u8::try_from(5 + options.len() / 4).unwrap();
        frame.extend([words << 4, flags, 0, 0, 0, 0, 0, 0]);
        frame.extend(options);
        frame.extend(payload.bytes());
        frame.extend([0; 3]);
        frame
    }

    #[test]
    fn each_connection_has_its_own_client_also_where_a_port_comes_again() {
        let client = |last| [0x1f, 0x90, 10, 80, 0, last];
        let request = |last: u8| format!("GET / HTTP/1.1\r\nX-Client: 10.80.0.{last}:8080\r\n\r\n");
        let frames = [
            frame(2000, 0x02, Some(client(11)), ""),
            frame(2001, 0x02, Some([0, 7, 16, 1, 2, 3]), ""),
            frame(2000, 0x02, Some(client(11)), ""),
            frame(2000, 0x18, Some(client(11)), &request(11)),
            frame(2000, 0x02, None, ""),
            frame(2000, 0x18, Some(client(12)), &request(13)),
        ];
        let all = read(frames.iter().map(Vec::as_slice), 80, 254);
        let address = |text: &str| text.parse::<SocketAddrV4>().unwrap();
        let (one, flood) = (address("10.80.0.11:8080"), address("16.1.2.3:7"));
        assert_eq!(all.len(), 3, "{all:?}");
        assert_eq!((&all[0].toa, &all[0].said), (&[one].into(), &[one].into()));
        assert_eq!((&all[1].toa, &all[1].said), (&[flood].into(), &[].into()));
        assert_eq!(all[2].toa, [address("10.80.0.12:8080")].into());
        assert_eq!(all[2].said, [address("10.80.0.13:8080")].into());
        assert_eq!(all[2].from, address("10.81.0.200:2000"));
        assert!(read(frames.iter().map(Vec::as_slice), 81, 254).is_empty());
    }

    #[test]
    fn a_cut_frame_is_no_connection() {
        let whole = frame(2000, 0x18, Some([0, 1, 10, 80, 0, 11]), "GET");
        for length in 0..whole.len() - 3 {
            let all = read([&whole[..length]].into_iter(), 80, 254);
            assert!(all.is_empty(), "{length}: {all:?}");
        }
    }
}
