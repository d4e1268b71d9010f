//! A virtual machine: what it is made of, its serial line, and its power cord.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use weir_lab::machine;
use weir_lab::namespace::Namespace;
use weir_lab::process::Process;

use crate::serial::Serial;

const QEMU: &str = "qemu-system-x86_64";
/// The firmware of UEFI machines and its empty memory of settings, as Debian's `ovmf` has them.
const OVMF: [&str; 2] = [
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/OVMF/OVMF_VARS_4M.fd",
];
/// How long QEMU may take to open its sockets, or to end, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What starts the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    /// The BIOS of a PC, and its chip set of old.
    Bios,
    /// UEFI, with PCI Express.
    Uefi,
}

/// What a network card is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wire {
    /// A tap of this name in the namespace that QEMU runs in, made beforehand.
    Tap(String),
    /// A network inside QEMU, for those who are not root: it reaches what this user reaches, and
    /// this port of this machine's loopback leads to the guest's SSH.
    User(u16),
    /// A pair of UNIX sockets, ours and QEMU's: the test itself is the wire.
    Sockets(PathBuf, PathBuf),
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// What it is plugged into.
    pub wire: Wire,
    /// Its make, such as `virtio-net-pci`.
    pub model: &'static str,
    /// Its address.
    pub mac: [u8; 6],
    /// Queues each way.
    pub queues: u16,
    /// More properties of the device, such as `rss=on`.
    pub more: String,
}

/// What is booted instead of the disk's own loader.
#[derive(Clone, Debug)]
pub struct Direct {
    /// The kernel.
    pub kernel: PathBuf,
    /// Its first file system.
    pub initramfs: PathBuf,
    /// Its words.
    pub words: String,
}

/// What a machine is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Its name; its files are called so.
    pub name: String,
    /// What starts it.
    pub firmware: Firmware,
    /// Memory in MiB.
    pub memory: u32,
    /// Processors.
    pub processors: u16,
    /// The disk, which the guest writes to.
    pub disk: Option<PathBuf>,
    /// How the disk is attached, such as `virtio-blk-pci`.
    pub disk_model: String,
    /// More disks, attached likewise, from which it does not start.
    pub more_disks: Vec<PathBuf>,
    /// A disc in the drive, started from first.
    pub disc: Option<PathBuf>,
    /// A kernel that is started without loader.
    pub direct: Option<Direct>,
    /// Network cards.
    pub cards: Vec<Card>,
    /// Whether a reboot of the guest starts it again, instead of ending QEMU.
    pub reboots: bool,
    /// Whether it has a screen, in text mode.
    pub screen: bool,
}

impl Plan {
    /// Plans an appliance: two processors, a watchdog, a screen, and this disk.
    #[must_use]
    pub fn appliance(name: &str, disk: &Path, memory: u32) -> Self {
        Self {
            name: name.to_owned(),
            firmware: Firmware::Bios,
            memory,
            processors: 2,
            disk: Some(disk.to_owned()),
            disk_model: "virtio-blk-pci".to_owned(),
            more_disks: Vec::new(),
            disc: None,
            direct: None,
            cards: Vec::new(),
            reboots: true,
            screen: true,
        }
    }

    /// Plans a machine that runs one program, as `init` of this kernel, and ends with it.
    #[must_use]
    pub fn program(name: &str, direct: Direct, processors: u16) -> Self {
        Self {
            name: name.to_owned(),
            firmware: Firmware::Bios,
            memory: 256,
            processors,
            disk: None,
            disk_model: String::new(),
            more_disks: Vec::new(),
            disc: None,
            direct: Some(direct),
            cards: Vec::new(),
            reboots: false,
            screen: false,
        }
    }

    fn words(&self, dir: &Path, number: u32) -> Result<Vec<String>> {
        let mut words: Vec<String> = Vec::new();
        let mut add = |line: String| words.extend(line.split(' ').map(str::to_owned));
        add("-nodefaults -no-user-config -display none".to_owned());
        let machine = match self.firmware {
            Firmware::Bios => "pc",
            Firmware::Uefi => "q35",
        };
        // The processor is emulated; without RDRAND the kernel would look for randomness for long.
        add(format!(
            "-machine {machine} -accel tcg,thread=multi -cpu qemu64,+rdrand -m {} -smp {}",
            self.memory, self.processors
        ));
        if !self.reboots {
            add("-no-reboot".to_owned());
        }
        if self.screen {
            add("-vga std".to_owned());
        }
        if let Firmware::Uefi = self.firmware {
            let [code, empty] = OVMF;
            let settings = dir.join(format!("{}.vars", self.name));
            if !settings.exists() {
                fs::copy(empty, &settings)
                    .with_context(|| format!("cannot copy {empty}: is ovmf installed?"))?;
            }
            add(format!(
                "-drive if=pflash,format=raw,unit=0,readonly=on,file={code} \
                 -drive if=pflash,format=raw,unit=1,file={}",
                settings.display()
            ));
        }
        if let Some(disk) = &self.disk {
            add(format!(
                "-drive if=none,id=disk,format=raw,file={} -device {},drive=disk,bootindex=1",
                disk.display(),
                self.disk_model
            ));
            add("-device i6300esb -action watchdog=reset".to_owned());
        }
        for (n, disk) in self.more_disks.iter().enumerate() {
            add(format!(
                "-drive if=none,id=more{n},format=raw,file={} -device {},drive=more{n}",
                disk.display(),
                self.disk_model
            ));
        }
        if let Some(disc) = &self.disc {
            add(format!(
                "-drive if=none,id=disc,format=raw,media=cdrom,readonly=on,file={} \
                 -device ide-cd,drive=disc,bootindex=0",
                disc.display()
            ));
        }
        for (n, card) in self.cards.iter().enumerate() {
            words.extend(card.words(n));
        }
        if let Some(direct) = &self.direct {
            words.extend(["-kernel".to_owned(), direct.kernel.display().to_string()]);
            words.extend(["-initrd".to_owned(), direct.initramfs.display().to_string()]);
            words.extend(["-append".to_owned(), direct.words.clone()]);
        }
        let [serial, monitor] = self.sockets(dir, number);
        words.push("-chardev".to_owned());
        words.push(format!(
            "socket,id=serial,server=on,wait=on,path={}",
            serial.display()
        ));
        words.extend(["-serial", "chardev:serial", "-qmp"].map(str::to_owned));
        words.push(format!("unix:{},server=on,wait=off", monitor.display()));
        Ok(words)
    }

    fn sockets(&self, dir: &Path, number: u32) -> [PathBuf; 2] {
        ["serial", "monitor"].map(|part| dir.join(format!("{}-{number}.{part}", self.name)))
    }
}

impl Card {
    /// Builds a card of virtio on a tap.
    #[must_use]
    pub fn tap(name: &str, mac: [u8; 6], queues: u16) -> Self {
        Self {
            wire: Wire::Tap(name.to_owned()),
            model: "virtio-net-pci",
            mac,
            queues,
            more: String::new(),
        }
    }

    fn words(&self, n: usize) -> [String; 4] {
        let queues = self.queues;
        let wire = match &self.wire {
            Wire::Tap(name) => format!(
                "tap,id=net{n},ifname={name},queues={queues},script=no,downscript=no,vhost=off"
            ),
            Wire::User(port) => format!("user,id=net{n},hostfwd=tcp:127.0.0.1:{port}-:22"),
            Wire::Sockets(ours, theirs) => format!(
                "dgram,id=net{n},local.type=unix,local.path={},remote.type=unix,remote.path={}",
                theirs.display(),
                ours.display()
            ),
        };
        let mac = self.mac.map(|byte| format!("{byte:02x}")).join(":");
        // The card's own program for starting from the network would only cost time.
        let mut device = vec![format!("{},netdev=net{n},mac={mac},romfile=", self.model)];
        if queues > 1 {
            device.push(format!("mq=on,vectors={}", 2 * queues + 2));
        }
        if !self.more.is_empty() {
            device.push(self.more.clone());
        }
        let device = device.join(",");
        ["-netdev".to_owned(), wire, "-device".to_owned(), device]
    }
}

/// Makes a tap in a namespace, switched on.
///
/// # Errors
/// When `ip` refuses.
pub fn tap(namespace: &Namespace, name: &str, queues: u16) -> Result<()> {
    // A tap of one queue must not say that it may have more.
    let more = if queues > 1 { "multi_queue" } else { "" };
    namespace.ip(&format!("tuntap add dev {name} mode tap {more}"))?;
    namespace.ip(&format!("link set {name} up"))?;
    Ok(())
}

/// Programs and files that machines need, and the Debian packages that hold them.
const TOOLS: [(&str, &str); 6] = [
    ("/usr/bin/qemu-system-x86_64", "qemu-system-x86"),
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf"),
    ("/usr/bin/mcopy", "mtools"),
    ("/usr/sbin/sfdisk", "fdisk"),
    ("/usr/bin/setpriv", "util-linux"),
    ("/usr/bin/genimage", "genimage"),
];

/// Installs QEMU, what goes with it, and what images are built with, where something is missing.
///
/// # Errors
/// When the package manager fails.
pub fn install_tools() -> Result<()> {
    let mut missing: Vec<&str> = TOOLS
        .iter()
        .filter(|(file, _)| !Path::new(file).exists())
        .map(|(_, package)| *package)
        .collect();
    // What images are built with.
    missing.extend(weir_image::tools::missing(false));
    missing.sort_unstable();
    missing.dedup();
    machine::install(&missing)
}

/// A running machine; dropping it pulls the plug.
#[derive(Debug)]
pub struct Guest {
    process: Process,
    /// Its serial line.
    pub serial: Serial,
    monitor: PathBuf,
    started: Instant,
}

impl Guest {
    /// Switches a machine on, in a namespace or, without root, in this one. It ends with the thread
    /// that starts it.
    ///
    /// # Errors
    /// When QEMU cannot be started, with what it says.
    pub fn start(plan: &Plan, namespace: Option<&Namespace>, dir: &Path) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Whoever starts a machine and is killed must not leave it behind.
        let mut command = match namespace {
            Some(namespace) => namespace.command("setpriv"),
            None => Command::new("setpriv"),
        };
        command.args(["--pdeathsig", "KILL", QEMU]);
        command.args(plan.words(dir, number)?);
        let [serial, monitor] = plan.sockets(dir, number);
        let name = format!("{}-{number}", plan.name);
        let mut process = Process::start(&name, &mut command, dir)?;
        let end = Instant::now() + PATIENCE;
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(&serial) {
                break stream;
            }
            if !process.is_running() || Instant::now() >= end {
                bail!("QEMU does not offer a serial line:\n{}", process.log_tail());
            }
            thread::sleep(Duration::from_millis(10));
        };
        Ok(Self {
            process,
            serial: Serial::new(stream)?,
            monitor,
            started: Instant::now(),
        })
    }

    /// Returns how long ago it was switched on.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Returns how much of a processor's time it has had: what the clock would say were it alone on
    /// the machine, or less.
    #[must_use]
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.pid()));
        stat.ok()
            .and_then(|text| processor_time(&text))
            .unwrap_or_else(|| self.age())
    }

    /// Tells whether QEMU runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Returns the process id of QEMU.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Cuts the power: nothing is told to anybody, nothing is written.
    ///
    /// # Errors
    /// When QEMU does not end.
    pub fn cut_power(mut self) -> Result<()> {
        if self.process.is_running() {
            self.process.signal(Signal::SIGKILL)?;
        }
        self.process.wait(PATIENCE).map(drop)
    }

    /// Pushes its power button.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn push_power_button(&self) -> Result<()> {
        self.ask("system_powerdown", &json!({})).map(drop)
    }

    /// Waits until the guest has switched itself off.
    ///
    /// # Errors
    /// When it has not, with what the serial line last said.
    pub fn wait_off(&mut self, patience: Duration) -> Result<()> {
        self.process
            .wait(patience)
            .map(drop)
            .with_context(|| self.serial.last_words())
    }

    /// Asks QEMU itself, by its monitor, and returns what it returns.
    ///
    /// # Errors
    /// When it refuses.
    pub fn ask(&self, what: &str, arguments: &Value) -> Result<Value> {
        let stream = UnixStream::connect(&self.monitor).context("QEMU has no monitor")?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .context("cannot set a time limit")?;
        let mut reader = BufReader::new(stream.try_clone().context("cannot share the monitor")?);
        let mut writer = stream;
        let mut line = String::new();
        reader.read_line(&mut line).context("no greeting")?;
        for (command, arguments) in [("qmp_capabilities", &json!({})), (what, arguments)] {
            let request = json!({"execute": command, "arguments": arguments});
            writeln!(writer, "{request}").context("cannot ask QEMU")?;
            loop {
                line.clear();
                let length = reader
                    .read_line(&mut line)
                    .context("QEMU does not answer")?;
                let answer: Value = serde_json::from_str(&line)
                    .with_context(|| format!("QEMU says `{}`", line.trim()))?;
                if length == 0 || answer.get("error").is_some() {
                    bail!("QEMU refuses {what}: {answer}");
                }
                if let Some(result) = answer.get("return") {
                    if command == what {
                        return Ok(result.clone());
                    }
                    break;
                }
            }
        }
        bail!("QEMU does not answer {what}")
    }

    /// Returns what the screen shows, as long as it is in text mode: 25 lines of 80.
    ///
    /// # Errors
    /// When QEMU does not give its memory.
    pub fn screen(&self, dir: &Path) -> Result<String> {
        let file = dir.join("screen");
        let arguments = json!({"val": 0xb_8000, "size": 4000, "filename": file});
        self.ask("pmemsave", &arguments)?;
        let cells = fs::read(&file).context("QEMU did not write the screen")?;
        Ok(text_of(&cells))
    }

    /// Types on the keyboard: keys by QEMU's names, such as `ret`.
    ///
    /// # Errors
    /// When QEMU does not know one.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        for key in keys {
            let keys = json!({"keys": [{"type": "qcode", "data": key}]});
            self.ask("send-key", &keys)?;
            thread::sleep(Duration::from_millis(120));
        }
        Ok(())
    }
}

/// Reads the two times of `/proc/<pid>/stat`, in hundredths of a second.
fn processor_time(stat: &str) -> Option<Duration> {
    // The name of the program, in brackets, may hold anything.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((next()? + next()?) * 10))
}

/// Reads the cells of a screen in text mode: a character and its looks each.
fn text_of(cells: &[u8]) -> String {
    let rows = cells.chunks(160).map(|row| {
        let text: String = row
            .iter()
            .step_by(2)
            .map(|byte| match byte {
                b' '..=b'~' => char::from(*byte),
                _ => ' ',
            })
            .collect();
        text.trim_end().to_owned()
    });
    rows.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_with_queues_says_so_and_one_without_does_not() {
        let [_, wire, _, device] = Card::tap("t0", [0x52, 0x54, 0, 0, 0, 1], 2).words(0);
        assert!(wire.contains("ifname=t0,queues=2"), "{wire}");
        assert!(device.contains("mac=52:54:00:00:00:01"), "{device}");
        assert!(device.contains("mq=on,vectors=6"), "{device}");
        let [_, _, _, device] = Card::tap("t0", [2, 0, 0, 0, 0, 1], 1).words(1);
        assert!(!device.contains("mq="), "{device}");
        assert!(device.contains("netdev=net1"), "{device}");
    }

    #[test]
    fn a_machine_without_root_has_no_tap() {
        let dir = Path::new("/tmp/weir-x");
        let mut plan = Plan::appliance("box", Path::new("/tmp/weir-x/disk"), 256);
        plan.cards = vec![
            Card {
                wire: Wire::User(2222),
                ..Card::tap("", [2, 0, 0, 0, 0, 1], 1)
            },
            Card {
                wire: Wire::Sockets("/tmp/a".into(), "/tmp/b".into()),
                ..Card::tap("", [2, 0, 0, 0, 0, 2], 1)
            },
        ];
        let words = plan.words(dir, 7).unwrap().join(" ");
        assert!(!words.contains("tap,"), "{words}");
        assert!(words.contains("hostfwd=tcp:127.0.0.1:2222-:22"), "{words}");
        assert!(words.contains("dgram,id=net1,local.type=unix"), "{words}");
        assert!(words.contains("box-7.serial"), "{words}");
        assert!(words.contains("-m 256 -smp 2"), "{words}");
    }

    #[test]
    fn the_processors_time_is_read() {
        let stat = "17 (qemu) x) S 1 17 17 0 -1 4194560 9 0 0 0 1234 66 0 0 20 0 4 0 99 1 2";
        assert_eq!(processor_time(stat), Some(Duration::from_secs(13)));
        assert_eq!(processor_time("17"), None);
    }

    #[test]
    fn a_screen_in_text_mode_is_read() {
        let mut cells = vec![0; 4000];
        for (n, byte) in b"login:".iter().enumerate() {
            cells[160 + 2 * n] = *byte;
            cells[160 + 2 * n + 1] = 7;
        }
        let text = text_of(&cells);
        assert_eq!(text.split('\n').count(), 25);
        assert_eq!(text.lines().nth(1), Some("login:"));
    }
}
