//! `WEIR_UPDATE=1` writes what is made of the files in tests/import anew.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::*;
use crate::{NoFiles, WellKnown};

fn given(ports: &[&str]) -> Given {
    Given {
        ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
        lips: Vec::new(),
    }
}

#[test]
fn a_port_is_read_from_the_command_line() {
    let port: PortGiven = "wan=eth0,198.51.100.2/24,2001:db8::2/64,gateway=198.51.100.1"
        .parse()
        .unwrap();
    assert_eq!((port.name.as_str(), port.device.as_str()), ("wan", "eth0"));
    assert_eq!((port.addresses.len(), port.gateways.len()), (2, 1));
    for text in [
        "wan",
        "=eth0",
        "wan=",
        "wan=eth0,198.51.100.2",
        "wan=eth0,gateway=x",
    ] {
        assert!(text.parse::<PortGiven>().is_err(), "{text}");
    }
}

#[test]
fn the_first_words_tell_a_dump_from_a_keepalived_conf() {
    assert!(dump::is_dump("-A -t 1.2.3.4:80\n"));
    assert!(dump::is_dump("# saved\n\nipvsadm -A -t 1.2.3.4:80\n"));
    assert!(!dump::is_dump("! Configuration File\nglobal_defs {\n}\n"));
    assert!(!dump::is_dump(""));
}

#[test]
fn ports_that_were_given_are_checked_with_the_rest() {
    let text = "-A -t 203.0.113.1:80 -s rr\n-a -t 203.0.113.1:80 -r 10.9.9.9:80 -b\n-P -t 203.0.113.1:80 -z 10.0.8.1\n";
    let made = import(
        "d",
        text,
        &NoFiles,
        &WellKnown,
        &given(&["lan=eth0,10.0.0.2/16"]),
    );
    let report = made.report.unwrap();
    let messages: Vec<&str> = report.messages().collect();
    assert_eq!(messages, ["nothing leads to the real server 10.9.9.9:80"]);
    let with_gateway = ["lan=eth0,10.0.0.2/16,gateway=10.0.0.1"];
    let made = import("d", text, &NoFiles, &WellKnown, &given(&with_gateway));
    assert!(made.report.is_none());
}

#[test]
fn a_pool_is_on_the_port_with_its_network_or_with_that_of_its_real_servers() {
    let text = "-A -t 203.0.113.1:80 -s rr\n-a -t 203.0.113.1:80 -r 10.0.0.9:80 -b\n-P -t 203.0.113.1:80 -z 192.0.2.77\n";
    let ports = ["a=eth0,192.0.2.1/24", "b=eth1,10.0.0.2/16"];
    let port = |ports: &[&str], text: &str| {
        let made = import("d", text, &NoFiles, &WellKnown, &given(ports));
        let file = made.text.unwrap();
        let line = file.lines().find(|line| line.starts_with("port "));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(port(&ports, text), "a");
    assert_eq!(port(&ports, &text.replace("192.0.2.77", "172.16.0.1")), "b");
    assert_eq!(
        port(&["x=eth0,198.51.100.1/24", "y=eth1,198.51.101.1/24"], text),
        "y"
    );
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import")
}

/// Reads what the tests include.
struct Beside;

impl Files for Beside {
    fn read(&self, pattern: &str, _from: &str) -> Result<Vec<(String, String)>, String> {
        let text = std::fs::read_to_string(folder().join(pattern));
        let text = text.map_err(|_| "there is no such file".to_owned())?;
        Ok(vec![(pattern.to_owned(), text)])
    }
}

fn given_ports(ports: bool) -> Given {
    let mut given = Given::default();
    if ports {
        for port in [
            "wan=eth0,198.51.100.2/24,gateway=198.51.100.1",
            "lan=eth1,10.0.0.2/16",
        ] {
            given.ports.extend(port.parse::<PortGiven>());
        }
    }
    given
}

/// Compares with what is committed.
fn expect(name: &str, found: &str) {
    let path = folder().join(name);
    if std::env::var_os("WEIR_UPDATE").is_some() {
        assert!(std::fs::write(&path, found).is_ok(), "cannot write {name}");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == expected,
        "{name} differs (WEIR_UPDATE=1 writes it anew); found:\n{found}"
    );
}

/// Leaves nothing out: what is committed does not depend on what a build has.
fn refuse_nothing(_: &mut Draft, _: &[PortGiven], _: &mut Notes) {}

#[test]
fn each_file_becomes_what_is_committed_beside_it() {
    let mut seen = 0;
    for (name, ports) in [
        ("fnat.conf", true),
        ("groups.conf", true),
        ("checks.conf", true),
        ("refused.conf", true),
        ("broken.conf", true),
        ("template.conf", false),
        ("dump.txt", true),
    ] {
        let text = std::fs::read_to_string(folder().join(name)).unwrap();
        let given = given_ports(ports);
        let made = made(name, &text, &Beside, &WellKnown, &given, &refuse_nothing);
        let mut notes = String::new();
        for note in &made.notes {
            let _ = writeln!(notes, "{note}");
        }
        expect(&format!("{name}.notes"), &notes);
        expect(&format!("{name}.weir"), made.text.as_deref().unwrap_or(""));
        // What this build takes of it is a configuration, and the report says nothing else.
        let taken = import(name, &text, &Beside, &WellKnown, &given);
        assert_eq!(taken.text.is_some(), made.text.is_some(), "{name}");
        if ports && let Some(text) = &taken.text {
            let checked = weir_conf::parse_str("weir.conf", text, None);
            assert!(checked.is_ok(), "{name}: {checked:?}");
            assert!(taken.report.is_none());
        }
        seen += 1;
    }
    assert_eq!(seen, 7);
}

/// What a template needs is uncommented and filled in: then it is a configuration.
#[test]
fn a_template_is_a_configuration_once_its_ports_are_filled_in() {
    let text = std::fs::read_to_string(folder().join("template.conf")).unwrap();
    let made = import(
        "template.conf",
        &text,
        &Beside,
        &WellKnown,
        &given_ports(false),
    );
    let template = made.text.unwrap();
    assert!(weir_conf::parse_str("weir.conf", &template, None).is_err());
    let mut filled = String::new();
    let mut port = "";
    for line in template.lines() {
        let line = match line.strip_prefix("# ") {
            Some(rest)
                if ["[port", "device", "address", "gateway"]
                    .iter()
                    .any(|word| rest.starts_with(word)) =>
            {
                rest
            }
            _ => line,
        };
        if line.starts_with('[') {
            port = line;
        }
        let own = if port.contains("wan") {
            ("198.51.100.2/24", "198.51.100.1")
        } else {
            ("10.0.0.2/16", "")
        };
        let line = line
            .replace("ADDRESS/LENGTH", own.0)
            .replace("= ADDRESS", &format!("= {}", own.1))
            .replace("DEVICE", if port.contains("wan") { "eth0" } else { "eth1" });
        filled.push_str(&line);
        filled.push('\n');
    }
    let checked = weir_conf::parse_str("weir.conf", &filled, None);
    assert!(checked.is_ok(), "{filled}\n{checked:?}");
}

#[test]
fn included_files_keep_their_places_and_circles_end() {
    let text = "include part.inc\nvirtual_server 203.0.113.1 80 {\n include loop.inc\n}\n";
    let made = import("x.conf", text, &Beside, &WellKnown, &given_ports(true));
    let told: Vec<String> = made.notes.iter().map(ToString::to_string).collect();
    assert!(
        told.iter()
            .any(|note| note.starts_with("loop.inc:1: error:") && note.contains("circle")),
        "{told:?}"
    );
    assert!(
        told.iter()
            .any(|note| note.starts_with("part.inc:3: unknown: `shape`")),
        "{told:?}"
    );
    let nothing = import(
        "x.conf",
        "include y\n",
        &NoFiles,
        &WellKnown,
        &given_ports(true),
    );
    assert!(nothing.text.is_none());
}
