//! The replay port.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{LONGEST, PcapError, PcapReader, PcapWriter};
use crate::{Burst, DriverKind, Frame, FramePool, Port, PortInfo, PortStats};

/// What is left in front of a frame for options that are inserted.
const HEAD_ROOM: usize = 256;

/// Says how fast a capture is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Pace {
    /// As fast as the frames are taken.
    #[default]
    Unpaced,
    /// With the gaps that the capture has.
    AsCaptured,
}

/// Describes a replay.
#[derive(Clone, Debug)]
pub struct PcapSpec {
    /// The capture whose frames are received.
    pub input: PathBuf,
    /// Where transmitted frames are written; nowhere when none.
    pub output: Option<PathBuf>,
    /// How fast frames come.
    pub pace: Pace,
    /// The port's Ethernet address.
    pub mac: [u8; 6],
    /// The port's MTU.
    pub mtu: u16,
}

/// A port whose wire is a capture file each way.
///
/// The capture is read when the port is opened, so that receiving neither waits nor allocates.
/// A transmitted frame carries the time of the frame received last: the same input always gives
/// the same output file.
#[derive(Debug)]
pub struct PcapPort {
    info: PortInfo,
    bytes: Vec<u8>,
    records: Vec<Record>,
    next: usize,
    pace: Pace,
    /// When the first frame was asked for.
    started: Option<Instant>,
    now: Duration,
    output: Option<PcapWriter<BufWriter<File>>>,
    stats: PortStats,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    time: Duration,
    start: usize,
    len: usize,
}

impl PcapPort {
    /// Reads the capture and makes the output file.
    ///
    /// # Errors
    /// With the cause and the place in the file.
    pub fn open(spec: &PcapSpec) -> Result<Self, PcapError> {
        let mut reader = PcapReader::new(BufReader::new(File::open(&spec.input)?))?;
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        let mut frame = Vec::new();
        while let Some(time) = reader.next(&mut frame)? {
            records.push(Record {
                time,
                start: bytes.len(),
                len: frame.len(),
            });
            bytes.extend_from_slice(&frame);
        }
        let output = match &spec.output {
            Some(path) => {
                let file = BufWriter::new(File::create(path)?);
                Some(PcapWriter::new(file, LONGEST)?)
            }
            None => None,
        };
        Ok(Self {
            info: PortInfo {
                device: spec.input.display().to_string(),
                queue: 0,
                driver: DriverKind::Pcap,
                mode: "replay",
                mac: spec.mac,
                mtu: spec.mtu,
            },
            bytes,
            now: records.first().map_or(Duration::ZERO, |r| r.time),
            records,
            next: 0,
            pace: spec.pace,
            started: None,
            output,
            stats: PortStats::default(),
        })
    }

    /// Says whether all frames of the capture were received.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.next == self.records.len()
    }

    fn is_due(&mut self, record: Record) -> bool {
        match self.pace {
            Pace::Unpaced => true,
            Pace::AsCaptured => {
                let first = self.records.first().map_or(record.time, |r| r.time);
                let started = *self.started.get_or_insert_with(Instant::now);
                // A capture whose clock was set back goes on at once.
                started.elapsed() >= record.time.saturating_sub(first)
            }
        }
    }
}

impl Port for PcapPort {
    fn rx(&mut self, pool: &mut FramePool, burst: &mut Burst) -> usize {
        let before = burst.len();
        while burst.room() > 0 {
            let Some(&record) = self.records.get(self.next) else {
                break;
            };
            if !self.is_due(record) {
                break;
            }
            let Some(mut frame) = pool.alloc(FramePool::UMEM) else {
                break;
            };
            self.next += 1;
            self.now = record.time;
            let bytes = self.bytes.get(record.start..record.start + record.len);
            let bytes = bytes.unwrap_or_default();
            let start = HEAD_ROOM.min(frame.capacity().saturating_sub(bytes.len()));
            if !frame.set_range(start..start + bytes.len()) {
                self.stats.rx_invalid += 1;
                pool.free(frame);
                continue;
            }
            frame.bytes_mut().copy_from_slice(bytes);
            self.stats.rx_frames += 1;
            self.stats.rx_bytes += bytes.len() as u64;
            if let Err(frame) = burst.push(frame) {
                pool.free(frame);
            }
        }
        burst.len() - before
    }

    fn tx(&mut self, pool: &mut FramePool, frame: Frame) -> Result<(), Frame> {
        self.stats.tx_frames += 1;
        self.stats.tx_bytes += frame.len() as u64;
        if let Some(output) = &mut self.output
            && output.write(self.now, frame.bytes()).is_err()
        {
            self.stats.tx_ring_lost += 1;
        }
        pool.free(frame);
        Ok(())
    }

    fn flush(&mut self, _pool: &mut FramePool) -> io::Result<()> {
        match &mut self.output {
            Some(output) => output.flush(),
            None => Ok(()),
        }
    }

    fn poll_fd(&self) -> Option<RawFd> {
        None
    }

    fn stats(&mut self) -> PortStats {
        self.stats
    }

    fn info(&self) -> &PortInfo {
        &self.info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files {
        input: PathBuf,
        output: PathBuf,
    }

    impl Files {
        fn new(name: &str, frames: &[(Duration, Vec<u8>)]) -> Self {
            let base = std::env::temp_dir().join(format!("weir-{name}-{}", std::process::id()));
            let files = Self {
                input: base.with_extension("in.pcap"),
                output: base.with_extension("out.pcap"),
            };
            let mut writer = PcapWriter::new(File::create(&files.input).unwrap(), LONGEST).unwrap();
            for (time, frame) in frames {
                writer.write(*time, frame).unwrap();
            }
            files
        }

        fn open(&self, pace: Pace) -> PcapPort {
            PcapPort::open(&PcapSpec {
                input: self.input.clone(),
                output: Some(self.output.clone()),
                pace,
                mac: [2; 6],
                mtu: 1500,
            })
            .unwrap()
        }
    }

    impl Drop for Files {
        fn drop(&mut self) {
            for path in [&self.input, &self.output] {
                let _ = std::fs::remove_file(path);
            }
        }
    }

    fn at(ms: u64) -> Duration {
        Duration::from_secs(1_700_000_000) + Duration::from_millis(ms)
    }

    #[test]
    fn what_is_transmitted_stands_in_the_output_with_the_capture_s_times() {
        let frames: Vec<_> = (0..5).map(|n| (at(n), vec![n as u8; 60])).collect();
        let files = Files::new("replay", &frames);
        let mut port = files.open(Pace::Unpaced);
        let mut pool = FramePool::with_umem(8, 2048).unwrap();
        let mut burst = Burst::with_capacity(2);
        while !port.is_finished() {
            assert!(port.rx(&mut pool, &mut burst) <= 2);
            for frame in burst.drain() {
                port.tx(&mut pool, frame).unwrap();
            }
        }
        port.flush(&mut pool).unwrap();
        assert_eq!(pool.outstanding(FramePool::UMEM), 0);
        let mut reader = PcapReader::new(File::open(&files.output).unwrap()).unwrap();
        let (mut written, mut frame) = (Vec::new(), Vec::new());
        while let Some(time) = reader.next(&mut frame).unwrap() {
            written.push((time, frame.clone()));
        }
        // Bursts of two: the first of each carries the time of the second.
        let times: Vec<_> = [1, 1, 3, 3, 4].map(at).to_vec();
        assert_eq!(written.iter().map(|w| w.0).collect::<Vec<_>>(), times);
        let bytes: Vec<_> = frames.iter().map(|f| &f.1).collect();
        assert_eq!(written.iter().map(|w| &w.1).collect::<Vec<_>>(), bytes);
    }

    #[test]
    fn a_paced_replay_keeps_the_gaps() {
        let files = Files::new("paced", &[(at(0), vec![0; 60]), (at(50), vec![1; 60])]);
        let mut port = files.open(Pace::AsCaptured);
        let mut pool = FramePool::with_umem(8, 2048).unwrap();
        let mut burst = Burst::with_capacity(8);
        let start = Instant::now();
        assert_eq!(port.rx(&mut pool, &mut burst), 1);
        while port.rx(&mut pool, &mut burst) == 0 {
            assert!(start.elapsed() < Duration::from_secs(5));
        }
        assert!(start.elapsed() >= Duration::from_millis(50));
        burst.drain().for_each(|frame| pool.free(frame));
    }

    #[test]
    fn a_frame_longer_than_a_chunk_is_counted_and_passed_over() {
        let files = Files::new("long", &[(at(0), vec![0; 3000]), (at(0), vec![1; 2048])]);
        let mut port = files.open(Pace::Unpaced);
        let mut pool = FramePool::with_umem(8, 2048).unwrap();
        let mut burst = Burst::with_capacity(8);
        assert_eq!(port.rx(&mut pool, &mut burst), 1);
        assert_eq!(port.stats().rx_invalid, 1);
        burst.drain().for_each(|frame| pool.free(frame));
    }
}
