//! Reading: every length is checked, every refusal says where.

use std::io::{self, Read};
use std::time::Duration;

use super::{
    ETHERNET, FILE_HEADER_LEN, LONGEST, MAGIC_MICROSECONDS, MAGIC_NANOSECONDS, RECORD_HEADER_LEN,
};

/// The block type that a pcapng file begins with.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Says what is wrong with a capture.
#[derive(Debug, thiserror::Error)]
pub enum PcapError {
    /// The file cannot be read.
    #[error("the capture cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The first bytes are not those of a capture.
    #[error("this is no pcap file: it begins with {0:02x?}")]
    NoCapture([u8; 4]),
    /// The newer format.
    #[error("this is a pcapng file; convert it with `editcap -F pcap <this> <new>`")]
    NextGeneration,
    /// The file ends in its own header.
    #[error("the capture ends within its header, after {0} of 24 bytes")]
    HeaderCutShort(usize),
    /// The frames are not Ethernet frames.
    #[error("the capture's link type is {0}, and only Ethernet (1) can be replayed")]
    LinkType(u32),
    /// The file ends in a record.
    #[error("record {number} at byte {offset} is cut short: {there} of {wanted} bytes are there")]
    RecordCutShort {
        /// The record, counted from 1.
        number: u64,
        /// Where it begins.
        offset: u64,
        /// Bytes that are there.
        there: usize,
        /// Bytes that its header promises, header included.
        wanted: usize,
    },
    /// A record claims more than a frame can have.
    #[error("record {number} at byte {offset} claims {len} bytes, more than any frame (262144)")]
    RecordTooLong {
        /// The record, counted from 1.
        number: u64,
        /// Where it begins.
        offset: u64,
        /// What it claims.
        len: u32,
    },
}

/// Reads the records of a capture one by one.
#[derive(Debug)]
pub struct PcapReader<R> {
    from: R,
    swapped: bool,
    nanoseconds: bool,
    /// Records read.
    count: u64,
    /// Bytes read.
    offset: u64,
}

impl<R: Read> PcapReader<R> {
    /// Reads the file header.
    ///
    /// # Errors
    /// When the file is not a classic capture of Ethernet frames.
    pub fn new(mut from: R) -> Result<Self, PcapError> {
        let mut header = [0; FILE_HEADER_LEN];
        let there = fill(&mut from, &mut header)?;
        let magic: [u8; 4] = word(&header, 0);
        if there >= 4 && magic == PCAPNG {
            return Err(PcapError::NextGeneration);
        }
        let native = u32::from_ne_bytes(magic);
        let swapped = native.swap_bytes();
        let known = [MAGIC_MICROSECONDS, MAGIC_NANOSECONDS];
        if there >= 4 && !known.contains(&native) && !known.contains(&swapped) {
            return Err(PcapError::NoCapture(magic));
        }
        if there < FILE_HEADER_LEN {
            return Err(PcapError::HeaderCutShort(there));
        }
        let reader = Self {
            from,
            swapped: known.contains(&swapped),
            nanoseconds: native == MAGIC_NANOSECONDS || swapped == MAGIC_NANOSECONDS,
            count: 0,
            offset: FILE_HEADER_LEN as u64,
        };
        // The upper bits tell the length of a frame check sequence, if there is one.
        let link_type = reader.number(word(&header, 20)) & 0xffff;
        if link_type != ETHERNET {
            return Err(PcapError::LinkType(link_type));
        }
        Ok(reader)
    }

    /// Reads the next record into `frame` and returns its time since 1970; none at the end.
    ///
    /// # Errors
    /// When the record is cut short or claims too much.
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<Option<Duration>, PcapError> {
        let mut header = [0; RECORD_HEADER_LEN];
        let there = fill(&mut self.from, &mut header)?;
        if there == 0 {
            return Ok(None);
        }
        self.count += 1;
        let (number, offset) = (self.count, self.offset);
        let cut = |there, wanted| PcapError::RecordCutShort {
            number,
            offset,
            there,
            wanted,
        };
        if there < RECORD_HEADER_LEN {
            return Err(cut(there, RECORD_HEADER_LEN));
        }
        let len = self.number(word(&header, 8));
        if len > LONGEST {
            return Err(PcapError::RecordTooLong {
                number,
                offset,
                len,
            });
        }
        frame.clear();
        frame.resize(len as usize, 0);
        let there = fill(&mut self.from, frame)?;
        let wanted = RECORD_HEADER_LEN + frame.len();
        if there < frame.len() {
            return Err(cut(RECORD_HEADER_LEN + there, wanted));
        }
        self.offset += wanted as u64;
        let seconds = Duration::from_secs(u64::from(self.number(word(&header, 0))));
        let fraction = u64::from(self.number(word(&header, 4)));
        let fraction = if self.nanoseconds {
            Duration::from_nanos(fraction)
        } else {
            Duration::from_micros(fraction)
        };
        Ok(Some(seconds + fraction))
    }

    fn number(&self, bytes: [u8; 4]) -> u32 {
        let number = u32::from_ne_bytes(bytes);
        if self.swapped {
            number.swap_bytes()
        } else {
            number
        }
    }
}

/// Reads until the buffer is full or the file ends, and returns how much came.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut there = 0;
    while let Some(rest) = buffer.get_mut(there..)
        && !rest.is_empty()
    {
        match from.read(rest) {
            Ok(0) => break,
            Ok(n) => there += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(there)
}

/// Returns the four bytes at `at` of a header that has them.
fn word(header: &[u8], at: usize) -> [u8; 4] {
    header
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A capture with one record of `payload`, in the byte order that `put` writes.
    fn capture(magic: u32, put: fn(u32) -> [u8; 4], fraction: u32, payload: &[u8]) -> Vec<u8> {
        let mut file = Vec::new();
        // The version is two half words; the reader does not look at it.
        for word in [magic, 0, 0, 0, 65535, 1, 1_700_000_000, fraction] {
            file.extend(put(word));
        }
        file.extend(put(payload.len() as u32));
        file.extend(put(payload.len() as u32));
        file.extend(payload);
        file
    }

    #[test]
    fn both_byte_orders_and_both_resolutions_are_read() {
        let orders: [fn(u32) -> [u8; 4]; 2] = [u32::to_be_bytes, u32::to_le_bytes];
        for put in orders {
            for (magic, nanoseconds) in [(MAGIC_MICROSECONDS, 7000), (MAGIC_NANOSECONDS, 7)] {
                let file = capture(magic, put, 7, b"frame");
                let mut reader = PcapReader::new(file.as_slice()).unwrap();
                let mut frame = Vec::new();
                let time = reader.next(&mut frame).unwrap().unwrap();
                assert_eq!(time, Duration::new(1_700_000_000, nanoseconds));
                assert_eq!(frame, b"frame");
                assert!(reader.next(&mut frame).unwrap().is_none());
            }
        }
    }

    fn refusal(file: &[u8]) -> String {
        let mut frame = Vec::new();
        match PcapReader::new(file) {
            Err(error) => error.to_string(),
            Ok(mut reader) => reader.next(&mut frame).unwrap_err().to_string(),
        }
    }

    #[test]
    fn bad_files_are_refused_with_the_cause_and_the_place() {
        let good = capture(MAGIC_MICROSECONDS, u32::to_le_bytes, 7, b"frame");
        assert_eq!(
            refusal(b"#!/bin/sh\necho this is not a capture"),
            "this is no pcap file: it begins with [23, 21, 2f, 62]"
        );
        assert_eq!(
            refusal(&[0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28]),
            "this is a pcapng file; convert it with `editcap -F pcap <this> <new>`"
        );
        assert_eq!(
            refusal(&good[..20]),
            "the capture ends within its header, after 20 of 24 bytes"
        );
        assert_eq!(
            refusal(&good[..30]),
            "record 1 at byte 24 is cut short: 6 of 16 bytes are there"
        );
        assert_eq!(
            refusal(&good[..43]),
            "record 1 at byte 24 is cut short: 19 of 21 bytes are there"
        );
        let mut cooked = good.clone();
        cooked[20] = 113;
        assert_eq!(
            refusal(&cooked),
            "the capture's link type is 113, and only Ethernet (1) can be replayed"
        );
        let mut long = good;
        long[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            refusal(&long),
            "record 1 at byte 24 claims 4294967295 bytes, more than any frame (262144)"
        );
    }

    #[test]
    fn no_prefix_of_a_capture_is_read_past_its_end() {
        let good = capture(MAGIC_NANOSECONDS, u32::to_be_bytes, 7, b"frame");
        for n in 0..good.len() {
            let mut frame = Vec::new();
            let read = PcapReader::new(&good[..n]).and_then(|mut r| r.next(&mut frame));
            assert!(matches!(read, Err(_) | Ok(None)), "{n} bytes");
            assert_eq!(matches!(read, Ok(None)), n == 24);
        }
    }
}
