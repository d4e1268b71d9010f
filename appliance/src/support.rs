//! `weir support`: everything that whoever helps from afar asks for first, in one file, without
//! secrets.

use std::fmt::Write as _;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use netmap_io::ethtool;
use serde_json::Value;
use weir_control::{CheckRow, Client, Filter, PortRow, What};

use crate::daemon::machine;
use crate::{doctor, output, show};

mod redact;

use redact::Redactor;

/// What is asked of the daemon, and the files that it becomes. Sessions are left out: there may be
/// millions, and each is somebody's address.
const SHOWN: &[What] = &[
    What::Services,
    What::Pools,
    What::Ports,
    What::Workers,
    What::Ledger,
    What::Flood,
    What::Health,
    What::Events,
    What::Syslog,
    What::Generations,
    What::History,
    What::Overrides,
    What::Status,
];

/// What the kernel says of the machine.
const MACHINE: &[&str] = &[
    "/proc/version",
    "/proc/meminfo",
    "/proc/loadavg",
    "/proc/uptime",
    "/proc/interrupts",
    "/proc/softirqs",
    "/proc/net/softnet_stat",
    "/etc/os-release",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/devices/system/cpu/isolated",
    "/sys/devices/system/clocksource/clocksource0/current_clocksource",
];

/// What the kernel says of a device, below its folder.
const DEVICE: &[&str] = &["mtu", "operstate", "speed", "address", "device/numa_node"];

/// The standard output in place of a file.
const STDOUT: &str = "-";

/// What is to be written, and where.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) file: Option<PathBuf>,
    /// A file that is there is written over.
    pub(crate) force: bool,
    pub(crate) socket: Option<PathBuf>,
}

/// A file of the bundle.
#[derive(Debug)]
struct Part {
    name: String,
    bytes: Vec<u8>,
}

/// Writes the bundle and says where it is.
///
/// # Errors
/// When the file cannot be written; a daemon that does not answer is told in the bundle.
pub(crate) fn support(order: &Order) -> Result<()> {
    let to_file = order.file.as_deref();
    if let Some(path) = to_file.filter(|path| *path != Path::new(STDOUT)) {
        output::look(path, order.force)?;
    }
    let examined = doctor::examine(&doctor::Order {
        config: weir_conf::DEFAULT_PATH.into(),
        json: false,
        socket: order.socket.clone(),
    });
    let (parts, node) = match show::connect(order.socket.as_deref()) {
        Ok(mut client) => {
            let node = client.greeting().node.clone();
            (collect(Some(&mut client), None, examined), node)
        }
        Err(error) => {
            eprintln!("weir: {error:#}; the bundle has what can be had without the daemon");
            let trouble = Some(format!("{error:#}"));
            (collect(None, trouble, examined), String::new())
        }
    };
    let now = SystemTime::now();
    if order.file.as_deref() == Some(Path::new(STDOUT)) {
        let mut bytes = Vec::new();
        write(&parts, &mut bytes, now)?;
        let mut output = std::io::stdout().lock();
        return output
            .write_all(&bytes)
            .and_then(|()| output.flush())
            .context("cannot write the bundle");
    }
    let path = order.file.clone().unwrap_or_else(|| {
        let at = humantime::format_rfc3339_seconds(now).to_string();
        let at = at.replace(':', "");
        let dash = if node.is_empty() { "" } else { "-" };
        format!("weir-support{dash}{node}-{at}.tar").into()
    });
    let file = output::create(&path, order.force)?;
    write(&parts, file, now).with_context(|| format!("cannot write {}", path.display()))?;
    println!(
        "{}: {} files; secrets are left out, client addresses are not: read it before you send it",
        path.display(),
        parts.len()
    );
    Ok(())
}

fn write(parts: &[Part], file: impl Write, now: SystemTime) -> std::io::Result<()> {
    let mut builder = tar::Builder::new(file);
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for Part { name, bytes } in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        builder.append_data(
            &mut header,
            format!("weir-support/{name}"),
            bytes.as_slice(),
        )?;
    }
    builder.into_inner()?.flush()
}

/// Gathers the files. What cannot be had is said in the first of them.
fn collect(
    client: Option<&mut Client>,
    trouble: Option<String>,
    examined: Result<Vec<CheckRow>>,
) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut notes: Vec<String> = trouble.into_iter().collect();
    let mut redactor = Redactor::default();
    let mut devices = Vec::new();
    let mut folders = vec![machine::run_dir()];
    if let Some(client) = client {
        // Where the daemon was given another folder its sockets are often there as well.
        folders.extend(client.path().parent().map(Path::to_owned));
        let greeting = serde_json::to_string_pretty(client.greeting()).unwrap_or_default();
        push(&mut parts, "daemon.json", greeting);
        // First: it tells what the other files must not say.
        match client.show::<String>(What::Config, Filter::default()) {
            Ok(lines) => {
                let lines: Vec<String> = lines.iter().map(|line| redactor.line(line)).collect();
                push(&mut parts, "config.conf", lines.join("\n") + "\n");
            }
            Err(error) => notes.push(format!("the configuration: {error}")),
        }
        for what in SHOWN {
            let name = what.name();
            match client.show::<Value>(*what, Filter::default()) {
                Ok(rows) => {
                    if *what == What::Ports {
                        let rows = rows.iter().cloned();
                        let known = rows.filter_map(|row| serde_json::from_value(row).ok());
                        devices.extend(known.map(|PortRow { device, .. }| device));
                    }
                    let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
                    push(
                        &mut parts,
                        &format!("show/{name}.json"),
                        lines.join("\n") + "\n",
                    );
                }
                Err(error) => notes.push(format!("show {name}: {error}")),
            }
        }
    }
    match examined {
        Ok(rows) => push(&mut parts, "doctor.txt", weir_control::checks(&rows)),
        Err(error) => notes.push(format!("what the doctor finds: {error:#}")),
    }
    for path in MACHINE {
        match fs::read_to_string(path) {
            Ok(text) => push(&mut parts, &format!("machine{path}"), text),
            Err(error) => notes.push(format!("{path}: {error}")),
        }
    }
    for device in devices {
        push(
            &mut parts,
            &format!("devices/{device}.txt"),
            facts_of(&device),
        );
    }
    let kept = |name: &str| {
        let mut folders = folders.iter();
        folders.find_map(|folder| fs::read(folder.join(name)).ok())
    };
    let said = kept("crash.txt").map(|bytes| Part {
        name: "crash.txt".to_owned(),
        bytes,
    });
    parts.extend(said);
    for part in &mut parts {
        part.bytes = redactor.text(&part.bytes);
    }
    // Frames stay as they came: whoever mends it plays them again.
    match kept("crash.pcap") {
        Some(bytes) => parts.push(Part {
            name: "crash.pcap".to_owned(),
            bytes,
        }),
        None => notes.push("crash.pcap: processing failed in no frame since the start".to_owned()),
    }
    let mut read_me = read_me(&notes);
    read_me.bytes = redactor.text(&read_me.bytes);
    parts.insert(0, read_me);
    parts
}

fn push(parts: &mut Vec<Part>, name: &str, text: String) {
    parts.push(Part {
        name: name.to_owned(),
        bytes: text.into_bytes(),
    });
}

fn read_me(notes: &[String]) -> Part {
    let mut text = format!(
        "What weir {} and its machine say of themselves.\n\n\
         Left out: secret files, arguments of programs, queries of URLs, values of keys that name a\n\
         password, a token or a key, and sessions. Not left out: addresses of clients in events and\n\
         floods, and in crash.pcap the frames that processing failed in, as they came.\n",
        env!("CARGO_PKG_VERSION")
    );
    if !notes.is_empty() {
        text.push_str("\nNot to be had:\n");
        for note in notes {
            let _ = writeln!(text, "- {note}");
        }
    }
    Part {
        name: "README.txt".to_owned(),
        bytes: text.into_bytes(),
    }
}

/// Returns what the kernel says of a device.
fn facts_of(device: &str) -> String {
    let folder = Path::new("/sys/class/net").join(device);
    let mut text = String::new();
    let driver = fs::read_link(folder.join("device/driver"));
    let driver = driver
        .ok()
        .and_then(|path| Some(path.file_name()?.to_owned()));
    let driver = driver.map_or_else(|| "none".into(), |name| name.to_string_lossy().into_owned());
    let _ = writeln!(text, "driver {driver}");
    for name in DEVICE {
        if let Ok(value) = fs::read_to_string(folder.join(name)) {
            let _ = writeln!(text, "{name} {}", value.trim());
        }
    }
    let _ = writeln!(text, "facts {:?}", ethtool::facts(device));
    let _ = writeln!(text, "channels {:?}", ethtool::channels(device));
    let _ = writeln!(text, "rings {:?}", ethtool::ring_lengths(device));
    let _ = writeln!(text, "features {:?}", ethtool::features(device));
    let statistics = fs::read_dir(folder.join("statistics"));
    let mut lines: Vec<String> = statistics
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let value = fs::read_to_string(entry.path()).ok()?;
            Some(format!(
                "{} {}\n",
                entry.file_name().display(),
                value.trim()
            ))
        })
        .collect();
    lines.sort_unstable();
    text + &lines.concat()
}

/// Returns the bundle's files, and the bundle.
#[cfg(test)]
pub(crate) fn parts_of(client: &mut Client) -> (Vec<(String, Vec<u8>)>, Vec<u8>) {
    let parts = collect(Some(client), None, Ok(Vec::new()));
    let path = client.path().with_extension("tar");
    write(&parts, fs::File::create(&path).unwrap(), SystemTime::now()).unwrap();
    let bundle = fs::read(path).unwrap();
    let parts = parts.into_iter().map(|part| (part.name, part.bytes));
    (parts.collect(), bundle)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use std::fs::File;

    use weir_control::CheckStatus;

    use super::*;

    #[test]
    fn a_bundle_without_a_daemon_says_so_and_can_be_unpacked_by_anybody() {
        let found = CheckRow {
            status: CheckStatus::Warning,
            check: "clock".to_owned(),
            subject: String::new(),
            text: "nobody keeps the time".to_owned(),
            advice: None,
        };
        let trouble = Some("cannot connect".to_owned());
        let parts = collect(None, trouble, Ok(vec![found]));
        let doctor = parts.iter().find(|part| part.name == "doctor.txt").unwrap();
        let doctor = String::from_utf8_lossy(&doctor.bytes);
        assert!(doctor.contains("nobody keeps the time"), "{doctor}");
        let path = std::env::temp_dir().join(format!("weir-{}-support.tar", std::process::id()));
        write(&parts, File::create(&path).unwrap(), SystemTime::now()).unwrap();
        let mut archive = tar::Archive::new(File::open(&path).unwrap());
        let mut entries = archive.entries().unwrap();
        let mut first = entries.next().unwrap().unwrap();
        let name = first.path().unwrap().display().to_string();
        assert_eq!(name, "weir-support/README.txt");
        let mut text = String::new();
        first.read_to_string(&mut text).unwrap();
        assert!(
            text.contains("Not to be had:\n- cannot connect\n"),
            "{text}"
        );
        let names: Vec<_> = entries
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        fs::remove_file(&path).unwrap();
        let version = "weir-support/machine/proc/version".to_owned();
        assert!(names.contains(&version), "{names:?}");
    }

    #[test]
    fn a_doctor_that_cannot_look_is_told_in_the_bundle() {
        let cannot = Err(anyhow::anyhow!("the answers cannot be read"));
        let parts = collect(None, None, cannot);
        let text = String::from_utf8_lossy(&parts[0].bytes);
        let sentence = "- what the doctor finds: the answers cannot be read\n";
        assert!(text.contains(sentence), "{text}");
        assert!(parts.iter().all(|part| part.name != "doctor.txt"));
    }
}
