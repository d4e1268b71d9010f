//! Captures: tcpdump writes them, tcpdump judges the checksums, and the TOA is read out of them.

mod connections;

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::command::run;
use crate::lab::Lab;
use crate::namespace::Namespace;
use crate::process::Process;

pub use connections::Connection;

/// So many tenths of a second in a row without a frame are the end of a capture.
const CALM: u32 = 3;

/// A tcpdump that writes what one interface receives.
#[derive(Debug)]
pub struct Capture {
    process: Process,
    file: PathBuf,
}

impl Capture {
    /// Starts to capture the frames that `link` receives and that match `filter`.
    ///
    /// # Errors
    /// When tcpdump does not start.
    pub fn start(lab: &Lab, namespace: &Namespace, link: &str, filter: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("capture-{number}-{}", namespace.name());
        let file = lab.dir().join(format!("{name}.pcap"));
        let mut command = namespace.command("tcpdump");
        command.args([
            "-i",
            link,
            "-n",
            "-Q",
            "in",
            "-s",
            "2048", // the ring has room for whole snapshots: short ones, many frames
            "-B",
            "16384",
            "--immediate-mode",
            "-U",
            "-Z",
            "root",
            "-w",
        ]);
        let mut process = lab.start(&name, command.arg(&file).args(filter.split_whitespace()))?;
        for _ in 0..3000 {
            // The file's header is written once the interface is open.
            if fs::metadata(&file).is_ok_and(|meta| meta.len() >= 24) || !process.is_running() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if !process.is_running() {
            bail!("tcpdump ended:\n{}", process.log_tail());
        }
        Ok(Self { process, file })
    }

    /// Stops tcpdump and returns what it wrote.
    ///
    /// # Errors
    /// When it does not stop or wrote nothing.
    pub fn stop(mut self) -> Result<Captured> {
        // What is on its way is written once nothing has come for a while.
        let length = || fs::metadata(&self.file).map_or(0, |meta| meta.len());
        let (mut written, mut calm) = (length(), 0);
        for _ in 0..100 {
            if calm == CALM {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
            let now = length();
            calm = if now == written { calm + 1 } else { 0 };
            written = now;
        }
        self.process.stop(Duration::from_secs(30))?;
        let bytes = fs::read(&self.file).context("cannot read the capture")?;
        Ok(Captured {
            bytes,
            file: self.file.clone(),
        })
    }
}

/// The frames that an interface received.
#[derive(Debug)]
pub struct Captured {
    bytes: Vec<u8>,
    file: PathBuf,
}

/// What tcpdump says about a capture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// TCP segments.
    pub segments: usize,
    /// Segments or headers with a wrong checksum.
    pub incorrect: usize,
    /// Segments with a timestamps option.
    pub timestamps: usize,
    /// Segments that reset their connection.
    pub resets: usize,
}

impl Captured {
    /// Lets tcpdump read the capture with all checksums checked.
    ///
    /// # Errors
    /// When tcpdump fails.
    pub fn judge(&self) -> Result<Judged> {
        let text = run(Command::new("tcpdump")
            .args(["-n", "-vv", "-r"])
            .arg(&self.file))?;
        Ok(judge(&text))
    }

    /// Returns the length of the longest frame.
    #[must_use]
    pub fn longest(&self) -> usize {
        frames(&self.bytes)
            .map(<[u8]>::len)
            .max()
            .unwrap_or_default()
    }

    /// Returns the client addresses that TOA options of this kind carry.
    #[must_use]
    pub fn toa(&self, kind: u8) -> BTreeSet<SocketAddrV4> {
        frames(&self.bytes)
            .filter_map(|frame| toa(frame, kind))
            .collect()
    }

    /// Returns the connections that were opened towards `port`, each with what TOA options of this
    /// kind and its requests say of the client.
    #[must_use]
    pub fn connections(&self, port: u16, kind: u8) -> Vec<Connection> {
        connections::read(frames(&self.bytes), port, kind)
    }
}

fn judge(text: &str) -> Judged {
    let mut judged = Judged::default();
    for line in text.lines() {
        judged.segments += usize::from(line.contains("Flags ["));
        judged.timestamps += usize::from(line.contains("TS val"));
        judged.incorrect += usize::from(line.contains("incorrect") || line.contains("bad cksum"));
        judged.resets += usize::from(line.contains("Flags [R"));
    }
    judged
}

/// Walks the frames of a capture in the classic format, little-endian as tcpdump writes it here.
fn frames(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = file.get(24..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (header, after) = rest.split_at_checked(16)?;
        let length = u32::from_le_bytes(header.get(8..12)?.try_into().ok()?);
        let (frame, after) = after.split_at_checked(length as usize)?;
        rest = after;
        Some(frame)
    })
}

/// Reads the TOA option of an Ethernet frame with IPv4 and TCP: port, then address.
fn toa(frame: &[u8], kind: u8) -> Option<SocketAddrV4> {
    let packet = frame.get(14..)?;
    let header = usize::from(packet.first()? & 0x0f) * 4;
    if *packet.get(9)? != 6 {
        return None;
    }
    let segment = packet.get(header..)?;
    let end = usize::from(segment.get(12)? >> 4) * 4;
    let mut options = segment.get(20..end)?;
    loop {
        match *options.first()? {
            0 => return None,
            1 => options = options.get(1..)?,
            found => {
                let length = usize::from(*options.get(1)?).max(2);
                if let (true, Some([_, 8, p, q, a, b, c, d])) =
                    (found == kind, options.first_chunk())
                {
                    let address = Ipv4Addr::new(*a, *b, *c, *d);
                    return Some(SocketAddrV4::new(address, u16::from_be_bytes([*p, *q])));
                }
                options = options.get(length..)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame_with_options(options: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 14];
        let mut ip = [0; 20];
        ip[0] = 0x45;
        ip[9] = 6;
        frame.extend(ip);
        let mut tcp = [0; 20];
        tcp[12] = u8::try_from((20 + options.len()) / 4).unwrap() << 4;
        frame.extend(tcp);
        frame.extend(options);
        frame
    }

    #[test]
    fn toa_is_found_behind_other_options() {
        let mut options = vec![1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        options.extend([254, 8, 0x1f, 0x90, 10, 80, 0, 11]);
        let found = toa(&frame_with_options(&options), 254);
        assert_eq!(found, Some("10.80.0.11:8080".parse().unwrap()));
        assert_eq!(toa(&frame_with_options(&options), 200), None);
    }

    #[test]
    fn cut_frame_has_no_toa() {
        let frame = frame_with_options(&[254, 8, 0x1f, 0x90, 10, 80, 0, 11]);
        for length in 0..frame.len() {
            assert_eq!(toa(&frame[..length], 254), None, "{length}");
        }
    }

    #[test]
    fn frames_of_a_capture_are_walked_to_the_end() {
        let mut file = vec![0; 24];
        for length in [3_u32, 5] {
            file.extend([0; 8]);
            file.extend(length.to_le_bytes());
            file.extend(length.to_le_bytes());
            file.extend(vec![7; length as usize]);
        }
        file.extend([0; 9]); // cut in the middle of a header
        assert_eq!(frames(&file).map(<[u8]>::len).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn verdicts_of_tcpdump_are_counted() {
        let text = "    10.1.0.1.80 > 10.1.0.2.1024: Flags [S.], cksum 0x1c2b (correct), options [TS val 1 ecr 2]\n\
                    10.1.0.1.80 > 10.1.0.2.1024: Flags [R], cksum 0x1c2b (incorrect -> 0x0000)\n";
        let expected = Judged {
            segments: 2,
            incorrect: 1,
            timestamps: 1,
            resets: 1,
        };
        assert_eq!(judge(text), expected);
    }
}
