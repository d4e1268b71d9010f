//! Writing.

use std::io::{self, Write};
use std::time::Duration;

use super::{ETHERNET, MAGIC_NANOSECONDS};

/// Writes frames to a capture with nanoseconds.
#[derive(Debug)]
pub struct PcapWriter<W> {
    to: W,
    snap_len: u32,
}

impl<W: Write> PcapWriter<W> {
    /// Writes the file header; of each frame at most `snap_len` bytes will be kept.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn new(mut to: W, snap_len: u32) -> io::Result<Self> {
        to.write_all(&MAGIC_NANOSECONDS.to_ne_bytes())?;
        // Version 2.4.
        to.write_all(&2u16.to_ne_bytes())?;
        to.write_all(&4u16.to_ne_bytes())?;
        // Time zone and accuracy, both always zero.
        to.write_all(&[0; 8])?;
        to.write_all(&snap_len.to_ne_bytes())?;
        to.write_all(&ETHERNET.to_ne_bytes())?;
        Ok(Self { to, snap_len })
    }

    /// Writes a frame that was seen at `time` since 1970.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, time: Duration, frame: &[u8]) -> io::Result<()> {
        let kept = frame.get(..self.snap_len as usize).unwrap_or(frame);
        // The format's clock ends in 2106.
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        self.to.write_all(&seconds.to_ne_bytes())?;
        self.to.write_all(&time.subsec_nanos().to_ne_bytes())?;
        self.to.write_all(&(kept.len() as u32).to_ne_bytes())?;
        self.to.write_all(&(frame.len() as u32).to_ne_bytes())?;
        self.to.write_all(kept)
    }

    /// Hands everything written to the system.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Returns what was written to.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.to
    }
}

#[cfg(test)]
mod tests {
    use super::super::PcapReader;
    use super::*;

    #[test]
    fn what_was_written_is_read_back_cut_to_the_snap_length() {
        let mut writer = PcapWriter::new(Vec::new(), 4).unwrap();
        let time = Duration::new(1_700_000_000, 123_456_789);
        writer.write(time, b"long").unwrap();
        writer.write(time, b"longer").unwrap();
        let file = writer.into_inner();
        let mut reader = PcapReader::new(file.as_slice()).unwrap();
        let mut frame = Vec::new();
        for _ in 0..2 {
            assert_eq!(reader.next(&mut frame).unwrap(), Some(time));
            assert_eq!(frame, b"long");
        }
        // The true length of the second stands in the last word before its bytes.
        assert_eq!(file[file.len() - 8..][..4], 6u32.to_ne_bytes());
    }

    #[test]
    fn tcpdump_reads_what_was_written() {
        let Ok(version) = std::process::Command::new("tcpdump")
            .arg("--version")
            .output()
        else {
            println!("skipped: tcpdump is not installed");
            return;
        };
        assert!(version.status.success());
        let path = std::env::temp_dir().join(format!("weir-writer-{}.pcap", std::process::id()));
        let mut arp = vec![0xff; 6];
        arp.extend([
            2, 0, 0, 0, 0, 1, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1,
        ]);
        arp.extend([10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        let mut writer = PcapWriter::new(std::fs::File::create(&path).unwrap(), 65535).unwrap();
        writer.write(Duration::new(1, 5), &arp).unwrap();
        drop(writer);
        let output = std::process::Command::new("tcpdump")
            .args(["-n", "-tt", "--nano", "-r"])
            .arg(&path)
            .output()
            .unwrap();
        std::fs::remove_file(&path).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            text.trim(),
            "1.000000005 ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28"
        );
    }
}
