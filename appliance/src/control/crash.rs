//! The crash ring: the last frames that Weir failed in, as a capture file for whoever mends it.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use netmap_io::pcap::PcapWriter;

/// Frames that are kept; newer ones push out older ones.
const KEPT: usize = 64;
/// Frames are kept whole.
const SNAP_LEN: u32 = 1 << 16;

/// The last frames that processing failed in.
#[derive(Debug)]
pub(crate) struct CrashRing {
    file: PathBuf,
    frames: VecDeque<(Duration, Vec<u8>)>,
}

impl CrashRing {
    /// Makes an empty ring; the file is written with the first frame.
    pub(crate) fn new(file: PathBuf) -> Self {
        Self {
            file,
            frames: VecDeque::with_capacity(KEPT),
        }
    }

    /// Adds a frame and writes the file anew, and beside it what was said of such failures.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub(crate) fn push(&mut self, frame: Vec<u8>, said: &[String]) -> io::Result<()> {
        if self.frames.len() == KEPT {
            self.frames.pop_front();
        }
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        self.frames.push_back((now, frame));
        fs::write(self.file.with_extension("txt"), said.join("\n") + "\n")?;
        let temporary = self.file.with_extension("new");
        let mut writer = PcapWriter::new(BufWriter::new(File::create(&temporary)?), SNAP_LEN)?;
        for (at, frame) in &self.frames {
            writer.write(*at, frame)?;
        }
        writer.flush()?;
        fs::rename(&temporary, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_sixty_four_frames_are_kept() {
        let file = std::env::temp_dir().join(format!("weir-{}-crash.pcap", std::process::id()));
        let mut ring = CrashRing::new(file.clone());
        for n in 0..70_u8 {
            ring.push(vec![n; 60], &[format!("{n} failed")]).unwrap();
        }
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        let text = file.with_extension("txt");
        assert_eq!(fs::read_to_string(&text).unwrap(), "69 failed\n");
        fs::remove_file(&text).unwrap();
        assert_eq!(bytes.len(), 24 + KEPT * (16 + 60));
        assert_eq!((bytes[40], bytes.last()), (6, Some(&69)));
    }
}
