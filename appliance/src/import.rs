//! `weir import`: a keepalived.conf or a dump of ipvsadm becomes a weir.conf on standard output.

use std::io::{self, Read, Write};
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use weir_conf::{Purpose, Style};
use weir_control::ConfigText;
use weir_lvs::{Document, Files, Given, Imported, Names, WellKnown};
use weir_model::Protocol;

use crate::{ipvsadm, show};

/// Files of LVS are small; what is larger is another file.
const LARGEST: u64 = 16 << 20;

/// Where the names of ports are.
const SERVICES: &str = "/etc/services";

/// Reads the file, and prints what became of it; says whether it can be used.
///
/// # Errors
/// When the file cannot be read or the result not be written.
pub(crate) fn import(file: &Path, given: &Given) -> Result<bool> {
    let made = made(file, given)?;
    for note in &made.notes {
        eprintln!("weir: {note}");
    }
    let Some(text) = made.text else {
        eprintln!("weir: nothing was made of it; the lines that begin with `error` say why");
        return Ok(false);
    };
    show::unless_closed(io::stdout().write_all(text.as_bytes()))?;
    if let Some(report) = made.report {
        eprint!("{}", report.render(Style::long(Purpose::Check)));
        return Ok(false);
    }
    Ok(true)
}

/// Makes a configuration for the running daemon: services, pools and checks of the file, all else
/// as it runs. Prints what is to know; none when the file cannot be read.
///
/// # Errors
/// When the file cannot be read or the daemon not be asked.
pub(crate) fn on_running(
    file: &Path,
    lips: &[String],
    socket: Option<&Path>,
) -> Result<Option<ConfigText>> {
    let running = ipvsadm::running(&mut show::connect(socket)?)?;
    let given = Given {
        ports: running.ports(),
        lips: lips.to_vec(),
    };
    let made = made(file, &given)?;
    for note in &made.notes {
        eprintln!("weir: {note}");
    }
    let Some(text) = made.text else {
        eprintln!("weir: nothing was made of it; the lines that begin with `error` say why");
        return Ok(None);
    };
    let services = Document::parse(&text).map_err(|error| anyhow!("{error}"))?;
    Ok(Some(ConfigText {
        name: file.display().to_string(),
        text: running.with_services_of(&services).to_string(),
    }))
}

/// Reads the file, `-` being standard input, and makes a weir.conf of it.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn made(file: &Path, given: &Given) -> Result<Imported> {
    let (name, text) = if file == Path::new("-") {
        ("<stdin>".to_owned(), read(io::stdin())?)
    } else {
        let name = file.display().to_string();
        let opened = std::fs::File::open(file).with_context(|| format!("cannot read {name}"))?;
        let text = read(opened).with_context(|| format!("cannot read {name}"))?;
        (name, text)
    };
    let names = SystemNames::new();
    Ok(weir_lvs::import(&name, &text, &Disk, &names, given))
}

pub(crate) fn read(from: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    from.take(LARGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        bail!(
            "it is larger than {} MiB; is it the right file?",
            LARGEST >> 20
        );
    }
    // What is not text is told where it stands, as an unknown word.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Names of ports as the machine has them, and of hosts as its resolver finds them.
#[derive(Debug)]
pub(crate) struct SystemNames {
    services: String,
}

impl SystemNames {
    pub(crate) fn new() -> Self {
        Self {
            services: std::fs::read_to_string(SERVICES).unwrap_or_default(),
        }
    }
}

impl Names for SystemNames {
    fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        port_in(&self.services, name, protocol).or_else(|| WellKnown.port(name, protocol))
    }

    fn host(&self, name: &str) -> Option<IpAddr> {
        let mut found = (name, 0).to_socket_addrs().ok()?;
        found.next().map(|address| address.ip())
    }
}

/// Finds a port in the text of a services file.
fn port_in(services: &str, name: &str, protocol: Protocol) -> Option<u16> {
    services.lines().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let (first, port) = (words.next()?, words.next()?);
        let (number, of) = port.split_once('/')?;
        let is_named = first == name || words.any(|alias| alias == name);
        if of != protocol.name() || !is_named {
            return None;
        }
        number.parse().ok()
    })
}

/// The files that a file includes, as they are on the disk.
struct Disk;

impl Files for Disk {
    fn read(&self, pattern: &str, from: &str) -> Result<Vec<(String, String)>, String> {
        let folder = Path::new(from).parent().unwrap_or_else(|| Path::new(""));
        let path = folder.join(pattern);
        let last = path.file_name().and_then(|name| name.to_str());
        let Some(last) = last else {
            return Err("it is no path of a file".to_owned());
        };
        let mut paths = vec![path.clone()];
        if last.contains(['*', '?']) {
            let folder = path.parent().filter(|folder| *folder != Path::new(""));
            let entries = std::fs::read_dir(folder.unwrap_or_else(|| Path::new(".")));
            let entries = entries.map_err(|error| error.to_string())?;
            let entries = entries.filter_map(Result::ok).map(|entry| entry.path());
            let fits = |path: &std::path::PathBuf| {
                let name = path.file_name().and_then(|name| name.to_str());
                name.is_some_and(|name| !name.starts_with('.') && is_like(last, name))
            };
            paths = entries.filter(fits).collect();
            paths.sort();
        }
        let mut files = Vec::new();
        for path in paths {
            let name = path.display().to_string();
            let text = std::fs::File::open(&path).map_err(anyhow::Error::from);
            let text = text
                .and_then(read)
                .map_err(|error| format!("{name}: {error}"))?;
            files.push((name, text));
        }
        if files.is_empty() {
            return Err("no file is called like that".to_owned());
        }
        Ok(files)
    }
}

/// Says whether a name is like a pattern with `*` and `?`.
fn is_like(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Which beginnings of the name the pattern so far is like.
    let mut like = vec![false; name.len() + 1];
    if let Some(first) = like.first_mut() {
        *first = true;
    }
    for sign in pattern {
        let before = like.clone();
        let mut any = false;
        for (at, now) in like.iter_mut().enumerate() {
            any |= before.get(at).copied().unwrap_or(false);
            let behind = at.checked_sub(1);
            let was = behind
                .and_then(|at| before.get(at).copied())
                .unwrap_or(false);
            let c = behind.and_then(|at| name.get(at));
            *now = match sign {
                '*' => any,
                '?' => was,
                sign => was && c == Some(&sign),
            };
        }
    }
    like.last().copied().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_the_names_that_the_machine_gives_them() {
        let services = "http 80/tcp www # web\ntime 37/tcp\ntime 137/udp timserver\nbad\n";
        assert_eq!(port_in(services, "www", Protocol::Tcp), Some(80));
        assert_eq!(port_in(services, "www", Protocol::Udp), None);
        assert_eq!(port_in(services, "timserver", Protocol::Udp), Some(137));
        assert_eq!(port_in(services, "web", Protocol::Tcp), None);
    }

    #[test]
    fn patterns_are_those_of_the_shell() {
        for (pattern, name, like) in [
            ("*.conf", "a.conf", true),
            ("*.conf", ".conf", true),
            ("*.conf", "a.conf.bak", false),
            ("vs-?.conf", "vs-1.conf", true),
            ("vs-?.conf", "vs-10.conf", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxc", false),
            ("", "", true),
        ] {
            assert_eq!(is_like(pattern, name), like, "{pattern} {name}");
        }
    }

    #[test]
    fn files_that_are_included_are_found_beside_the_first() {
        let folder = std::env::temp_dir().join(format!("weir-import-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("d")).unwrap();
        std::fs::write(folder.join("d/1.conf"), "one").unwrap();
        std::fs::write(folder.join("d/2.conf"), "two").unwrap();
        std::fs::write(folder.join("d/.3.conf"), "three").unwrap();
        let from = folder.join("keepalived.conf").display().to_string();
        let texts = |pattern: &str| {
            let files = Disk.read(pattern, &from);
            files.map(|files| files.into_iter().map(|(_, text)| text).collect::<Vec<_>>())
        };
        assert_eq!(
            texts("d/*.conf"),
            Ok(vec!["one".to_owned(), "two".to_owned()])
        );
        assert_eq!(texts("d/1.conf"), Ok(vec!["one".to_owned()]));
        assert!(texts("d/9.conf").is_err());
        assert!(texts("d/*.cfg").is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
