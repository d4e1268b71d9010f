//! The capture file: pcapng (`draft-ietf-opsawg-pcapng`), an interface per port, each frame with
//! its direction and a comment on what became of it.

use std::io::{self, Write};
use std::time::Duration;

/// Section header block.
const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Interface description block.
const INTERFACE: u32 = 1;
/// `LINKTYPE_ETHERNET`.
const ETHERNET: u16 = 1;
/// Enhanced packet block.
const PACKET: u32 = 6;

const END: u16 = 0;
const COMMENT: u16 = 1;
/// Of a section: the program.
const USER_APPLICATION: u16 = 4;
/// Of an interface: its name, and the unit of its times.
const NAME: u16 = 2;
const TIME_UNIT: u16 = 9;
/// Not every program reads the unit; those that do not take this one.
const NANOSECONDS: u8 = 9;
/// Of a packet: the direction and more.
const FLAGS: u16 = 2;

/// Which way a frame went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// Writes a capture file.
#[derive(Debug)]
pub(super) struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Begins a file with an interface for each name.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn new(out: W, interfaces: &[String], snap_len: u32) -> io::Result<Self> {
        let mut writer = Self { out };
        let mut body = Vec::new();
        body.extend(BYTE_ORDER.to_le_bytes());
        body.extend(1_u16.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
        // How long the section is, is not known.
        body.extend(u64::MAX.to_le_bytes());
        let program = concat!("weir ", env!("CARGO_PKG_VERSION"));
        option(&mut body, USER_APPLICATION, program.as_bytes());
        option(&mut body, END, &[]);
        writer.block(SECTION, &body)?;
        for name in interfaces {
            let mut body = Vec::new();
            body.extend(ETHERNET.to_le_bytes());
            body.extend(0_u16.to_le_bytes());
            body.extend(snap_len.to_le_bytes());
            option(&mut body, NAME, name.as_bytes());
            option(&mut body, TIME_UNIT, &[NANOSECONDS]);
            option(&mut body, END, &[]);
            writer.block(INTERFACE, &body)?;
        }
        Ok(writer)
    }

    /// Adds a frame that passed the interface at a time since 1970.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn packet(
        &mut self,
        at: Duration,
        interface: u32,
        direction: Direction,
        (frame, len): (&[u8], u32),
        comment: &str,
    ) -> io::Result<()> {
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let mut body = Vec::new();
        body.extend(interface.to_le_bytes());
        body.extend(((nanos >> 32) as u32).to_le_bytes());
        body.extend((nanos as u32).to_le_bytes());
        body.extend((frame.len() as u32).to_le_bytes());
        body.extend(len.to_le_bytes());
        body.extend(frame);
        pad(&mut body);
        let flags: u32 = match direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        option(&mut body, FLAGS, &flags.to_le_bytes());
        option(&mut body, COMMENT, comment.as_bytes());
        option(&mut body, END, &[]);
        self.block(PACKET, &body)
    }

    /// Makes sure that all is written.
    ///
    /// # Errors
    /// When it is not.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn block(&mut self, kind: u32, body: &[u8]) -> io::Result<()> {
        let len = (body.len() + 12) as u32;
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&len.to_le_bytes())?;
        self.out.write_all(body)?;
        self.out.write_all(&len.to_le_bytes())
    }
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
    use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;

    #[test]
    fn another_program_reads_the_frames_their_interfaces_and_what_became_of_them() {
        let mut file = Vec::new();
        let ports = ["wan".to_owned(), "lan".to_owned()];
        let mut writer = Writer::new(&mut file, &ports, 2048).unwrap();
        let at = Duration::from_micros(1_700_000_000_123_456);
        let (comes, leaves) = ([1_u8; 61], [2_u8; 64]);
        let frame = (comes.as_slice(), 1514);
        let dropped = "drop: no-session";
        writer.packet(at, 0, Direction::In, frame, dropped).unwrap();
        let frame = (leaves.as_slice(), 64);
        writer.packet(at, 1, Direction::Out, frame, "").unwrap();
        writer.flush().unwrap();

        let mut reader = PcapNgReader::new(file.as_slice()).unwrap();
        let mut interfaces = Vec::new();
        let mut packets = Vec::new();
        while let Some(block) = reader.next_block() {
            let block = block.unwrap().into_owned();
            if let Block::InterfaceDescription(block) = block {
                interfaces.push(block);
            } else if let Block::EnhancedPacket(block) = block {
                packets.push(block);
            } else {
                panic!("{block:?}");
            }
        }
        let options: Vec<_> = interfaces.iter().map(|one| one.options.clone()).collect();
        let name = |name: &'static str| {
            vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ]
        };
        assert_eq!(options, [name("wan"), name("lan")]);
        assert_eq!(packets.len(), 2);
        assert_eq!(packets[0].data.as_ref(), comes);
        assert_eq!(
            (packets[0].original_len, packets[0].interface_id),
            (1514, 0)
        );
        assert_eq!(packets[0].timestamp, at);
        assert_eq!(
            packets[0].options,
            [
                EnhancedPacketOption::Flags(1),
                EnhancedPacketOption::Comment(Cow::Borrowed(dropped))
            ]
        );
        assert_eq!(
            (packets[1].data.as_ref(), packets[1].interface_id),
            (&leaves[..], 1)
        );
    }
}
