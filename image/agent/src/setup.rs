//! The first start: what a person, the boot partition or the kernel's words say.
//!
//! A box that was set up has a mark on the data partition; whatever lies on the boot partition or
//! stands on the kernel's command line is then without meaning.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use weir_control::Role;

use crate::durable;
use crate::events::Event;
use crate::keys::Keys;
use crate::places::Places;
use crate::words::Words;

pub(crate) mod given;
pub(crate) mod wizard;

use given::Given;

/// The configuration of a box that nobody has set up.
const UNTOUCHED: &str = "# Nobody has set up this appliance yet.\n\n[node]\nname = weir\n\n\
                         [management]\ndevice = eth0\n";
/// The mark of a box that was set up.
const MARK: &str = "set-up";
/// What was wrong with the files of the boot partition, for whoever sits before the box.
const FAULT: &str = "setup-fault";
/// Nothing on the boot partition is read further.
const LONGEST: u64 = 16 << 20;
/// More certificates are not taken over.
const MOST_CERTIFICATES: usize = 32;
/// The values that the kernel's words can give.
const NAMES: [&str; 8] = [
    "node",
    "address",
    "gateway",
    "dns",
    "ntp",
    "ports",
    "key",
    "viewer-key",
];

/// Says whether the box was set up.
pub(crate) fn is_set_up(places: &Places) -> bool {
    places.shared().join(MARK).exists()
}

/// Says whether the configuration is somebody's.
pub(crate) fn has_configuration(places: &Places) -> bool {
    fs::read_to_string(places.config()).is_ok_and(|text| text != UNTOUCHED)
}

/// Returns what was wrong with the files of the boot partition.
pub(crate) fn faults(places: &Places) -> String {
    fs::read_to_string(places.run.join(FAULT)).unwrap_or_default()
}

/// Notes that the box was set up.
pub(crate) fn mark(places: &Places, how: &str) -> io::Result<()> {
    let line = format!("{how}\n");
    durable::write(&places.shared().join(MARK), line.as_bytes(), 0o600)
}

/// Takes over what lies on the boot partition and stands on the kernel's command line, on a box that
/// was not set up; and gives every box a configuration that its daemon can start on.
pub(crate) fn at_boot(places: &Places, words: &Words) -> Vec<Event> {
    let mut events = Vec::new();
    if !is_set_up(places) {
        let mut wrong = Vec::new();
        match first(places, words, &mut wrong) {
            Ok(None) => {}
            Ok(Some(text)) => events.push(Event::notice("setup", text)),
            Err(error) => wrong.push(format!("what was given cannot be written: {error}")),
        }
        let lines = wrong.join("\n");
        // Only /run is full where this fails.
        let _ = fs::write(places.run.join(FAULT), lines);
        let wrong = wrong.into_iter();
        events.extend(wrong.map(|text| Event::warning("setup", text)));
    }
    if !places.config().exists() {
        let made = durable::folder(&places.etc, 0o700)
            .and_then(|()| durable::write(&places.config(), UNTOUCHED.as_bytes(), 0o600));
        if let Err(error) = made {
            let text = format!("{}: {error}", places.config().display());
            events.push(Event::error("setup", text));
        }
    }
    events
}

/// Returns what was done.
fn first(places: &Places, words: &Words, wrong: &mut Vec<String>) -> io::Result<Option<String>> {
    let folder = places.boot.join("setup");
    let mut given = Given::default();
    if let Some(text) = read(&folder, "setup.conf", wrong) {
        wrong.extend(given.read("setup.conf", &text));
    }
    for name in NAMES {
        if let Some(value) = words.get(&format!("weir.{name}"))
            && let Err(sentence) = given.set(name, value)
        {
            wrong.push(format!("the kernel's word weir.{name}: {sentence}"));
        }
    }
    let configuration = configuration(&folder, &given, wrong);
    let keys = keys(&folder, &given, wrong);
    if configuration.is_none() && keys.count() == 0 {
        return Ok(None);
    }
    let certificates = certificates(&folder, wrong);
    durable::folder(&places.etc, 0o700)?;
    for (name, bytes) in &certificates {
        durable::write(&places.etc.join(name), bytes, 0o600)?;
    }
    let mut done = Vec::new();
    if let Some(text) = &configuration {
        durable::write(&places.config(), text.as_bytes(), 0o600)?;
        done.push("a configuration".to_owned());
    }
    if keys.count() > 0 {
        keys.save(places)?;
        let (operators, viewers) = (keys.of(Role::Operator).len(), keys.of(Role::Viewer).len());
        done.push(format!(
            "keys of {operators} operators and {viewers} viewers"
        ));
    }
    // Without an operator's key somebody has to come and give one.
    if configuration.is_some() && !keys.of(Role::Operator).is_empty() {
        mark(places, "by the boot partition or the kernel's words")?;
    }
    Ok(Some(format!(
        "the box took {} from its boot partition or the kernel's words",
        done.join(" and ")
    )))
}

fn configuration(folder: &Path, given: &Given, wrong: &mut Vec<String>) -> Option<String> {
    let Some(text) = read(folder, "weir.conf", wrong) else {
        if !given.has_network() {
            return None;
        }
        let mistakes = given.mistakes();
        let is_good = mistakes.is_empty();
        wrong.extend(mistakes);
        return is_good.then(|| given.render());
    };
    if given.has_network() {
        wrong.push(
            "there is a weir.conf, so nothing else that is said of the network is taken".into(),
        );
    }
    match weir_conf::parse_str("weir.conf", &text, None) {
        Ok(_) => Some(text),
        Err(report) => {
            let messages = report.messages().take(5);
            wrong.extend(messages.map(|message| format!("weir.conf: {message}")));
            None
        }
    }
}

fn keys(folder: &Path, given: &Given, wrong: &mut Vec<String>) -> Keys {
    let mut keys = Keys::default();
    for (role, file) in [
        (Role::Operator, "operator.keys"),
        (Role::Viewer, "viewer.keys"),
    ] {
        if let Some(text) = read(folder, file, wrong) {
            wrong.extend(keys.add_all(role, file, &text).1);
        }
    }
    for (role, key) in &given.keys {
        if let Err(sentence) = keys.add(*role, key.clone()) {
            wrong.push(sentence);
        }
    }
    keys
}

/// Reads a file of the boot partition as text; what FAT's editors put before it is dropped.
fn read(folder: &Path, name: &str, wrong: &mut Vec<String>) -> Option<String> {
    let bytes = match bytes(&folder.join(name)) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            wrong.push(format!("{name}: {error}"));
            return None;
        }
    };
    let Ok(text) = String::from_utf8(bytes) else {
        wrong.push(format!("{name} is not text"));
        return None;
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    Some(text.replace("\r\n", "\n"))
}

fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(io::Error::other("it is too large"));
    }
    Ok(bytes)
}

/// Returns the certificates that a configuration can name: `*.pem`.
fn certificates(folder: &Path, wrong: &mut Vec<String>) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let is_certificate = |name: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let is_pem = Path::new(name).extension().is_some_and(|end| end == "pem");
        is_pem && name.len() <= 64 && !name.starts_with('.') && name.chars().all(plain)
    };
    let mut names: Vec<String> = names.filter(is_certificate).collect();
    names.sort_unstable();
    names.truncate(MOST_CERTIFICATES);
    let mut found = Vec::new();
    for name in names {
        match bytes(&folder.join(&name)) {
            Ok(bytes) => found.push((name, bytes)),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    const ALICE: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti alice";

    fn box_of(folder: &Folder, files: &[(&str, &str)]) -> Places {
        let places = Places::under(folder.path());
        fs::create_dir_all(places.boot.join("setup")).unwrap();
        fs::create_dir_all(places.shared()).unwrap();
        fs::create_dir_all(&places.run).unwrap();
        for (name, text) in files {
            fs::write(places.boot.join("setup").join(name), text).unwrap();
        }
        places
    }

    fn config(places: &Places) -> String {
        fs::read_to_string(places.config()).unwrap()
    }

    #[test]
    fn a_box_that_nobody_set_up_starts_all_the_same_and_says_so() {
        let folder = Folder::new("setup-none");
        let places = box_of(&folder, &[("README.txt", "put files here")]);
        assert_eq!(at_boot(&places, &Words::parse("quiet")), []);
        assert_eq!(config(&places), UNTOUCHED);
        assert!(weir_conf::parse_str("weir.conf", UNTOUCHED, None).is_ok());
        assert!(!is_set_up(&places) && !has_configuration(&places));
    }

    #[test]
    fn files_of_the_boot_partition_set_it_up_once() {
        let folder = Folder::new("setup-files");
        let places = box_of(
            &folder,
            &[
                (
                    "weir.conf",
                    "\u{feff}[node]\r\nname = lb7\r\n[management]\r\n",
                ),
                ("operator.keys", ALICE),
                ("siem-ca.pem", "-----BEGIN CERTIFICATE-----\n"),
                (".hidden.pem", "x"),
            ],
        );
        let events = at_boot(&places, &Words::parse(""));
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(is_set_up(&places) && has_configuration(&places));
        assert_eq!(config(&places), "[node]\nname = lb7\n[management]\n");
        assert_eq!(Keys::load(&places).0.of(Role::Operator).len(), 1);
        assert!(places.etc.join("siem-ca.pem").exists());
        assert!(!places.etc.join(".hidden.pem").exists());
        fs::write(places.boot.join("setup/weir.conf"), "[node]\nname = evil\n").unwrap();
        let words = Words::parse("weir.address=192.0.2.66/24");
        assert_eq!(at_boot(&places, &words), []);
        assert_eq!(config(&places), "[node]\nname = lb7\n[management]\n");
    }

    #[test]
    fn the_kernels_words_set_it_up() {
        let folder = Folder::new("setup-words");
        let places = box_of(&folder, &[]);
        let line = format!(
            "weir.slot=a weir.address=10.82.0.1/24 weir.ports=wan=eth1,10.80.0.1/24;lan=eth2 \
             weir.key=\"{ALICE}\""
        );
        let events = at_boot(&places, &Words::parse(&line));
        assert_eq!(events.len(), 1, "{events:?}");
        assert!(is_set_up(&places));
        let config = config(&places);
        assert!(config.contains("address = 10.82.0.1/24"), "{config}");
        assert!(config.contains("[port lan]\ndevice = eth2"), "{config}");
    }

    #[test]
    fn without_a_key_somebody_has_to_come_and_give_one() {
        let folder = Folder::new("setup-keyless");
        let places = box_of(&folder, &[("setup.conf", "address = dhcp\n")]);
        at_boot(&places, &Words::parse(""));
        assert!(!is_set_up(&places));
        assert!(has_configuration(&places));
    }

    #[test]
    fn a_file_with_mistakes_changes_nothing_and_says_why() {
        let folder = Folder::new("setup-wrong");
        let places = box_of(
            &folder,
            &[
                ("weir.conf", "[node]\nnmae = x\n[management]\n"),
                ("operator.keys", "ssh-dss AAAA eve\n"),
            ],
        );
        let events = at_boot(&places, &Words::parse("weir.gateway=192.0.2.1"));
        assert_eq!(events.len(), 3, "{events:?}");
        assert!(!is_set_up(&places) && !has_configuration(&places));
        let faults = faults(&places);
        assert!(faults.contains("weir.conf: "), "{faults}");
        assert!(faults.contains("operator.keys:1: DSA"), "{faults}");
    }

    #[test]
    fn what_is_no_text_or_no_file_is_told() {
        let folder = Folder::new("setup-hostile");
        let places = box_of(&folder, &[]);
        let setup = places.boot.join("setup");
        fs::write(setup.join("weir.conf"), [0xff, 0xfe, 0, 1]).unwrap();
        fs::create_dir(setup.join("operator.keys")).unwrap();
        fs::write(setup.join("viewer.keys"), vec![b'x'; 100_000]).unwrap();
        let events = at_boot(&places, &Words::parse(""));
        assert_eq!(events.len(), 3, "{events:?}");
        assert_eq!(config(&places), UNTOUCHED);
    }
}
