//! The archive that a kernel unpacks into its first file system (`cpio`, format `newc`).

/// An archive that grows by one entry after the other; the same entries make the same bytes.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// The kind and the permissions of an entry, as in `stat(2)`.
const DIRECTORY: u32 = 0o04_0755;
const PROGRAM: u32 = 0o10_0755;
const FILE: u32 = 0o10_0644;
const LINK: u32 = 0o12_0777;
const CHARACTER_DEVICE: u32 = 0o02_0600;

impl Archive {
    /// Adds a directory; those above it come first.
    pub fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, (0, 0), &[]);
    }

    /// Adds a file that can be run.
    pub fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, PROGRAM, (0, 0), content);
    }

    /// Adds a file.
    pub fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, FILE, (0, 0), content);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, name: &str, target: &str) {
        self.entry(name, LINK, (0, 0), target.as_bytes());
    }

    /// Adds a character device with its two numbers.
    pub fn device(&mut self, name: &str, numbers: (u32, u32)) {
        self.entry(name, CHARACTER_DEVICE, numbers, &[]);
    }

    /// Returns the whole archive.
    #[must_use]
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let fields = [
            self.entries, // inode
            mode,
            0, // user
            0, // group
            1, // links
            0, // time
            content.len() as u32,
            0, // on which device
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0, // checksum, of other formats
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn an_archive_has_aligned_entries_and_an_end() {
        let mut archive = Archive::default();
        archive.directory("dev");
        archive.device("dev/console", (5, 1));
        archive.link("bin/sh", "busybox");
        archive.program("init", b"12345");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 5);
        let init = text.find("init\0").unwrap();
        // The header is 110 bytes long; name and content begin at multiples of four.
        assert_eq!((init - 110) % 4, 0);
        assert_eq!(text.find("12345").unwrap(), (init + 5).next_multiple_of(4));
        assert!(text.contains("TRAILER!!!\0"));
    }

    #[test]
    fn cpio_reads_it() {
        let cpio = Command::new("cpio")
            .args(["-t", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut cpio) = cpio else {
            println!("skipped: cpio is not installed");
            return;
        };
        let mut archive = Archive::default();
        archive.directory("modules");
        archive.program("modules/one.ko", &[7; 1001]);
        archive.program("init", b"x");
        let bytes = archive.finish();
        cpio.stdin.take().unwrap().write_all(&bytes).unwrap();
        let listed = cpio.wait_with_output().unwrap();
        assert_eq!(listed.stdout, b"modules\nmodules/one.ko\ninit\n");
    }
}
