//! One bad file per message with the report that it gets, and the files that must be accepted.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use std::path::{Path, PathBuf};

use weir_conf::{
    Finding, ManagementAddress, NoEnv, Purpose, Report, Severity, Style, load, parse, parse_str,
    print_effective,
};

fn folder(name: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "conf"))
        .collect();
    files.sort();
    files
}

fn report_on(path: &Path) -> Report {
    let name = path.file_name().unwrap().to_str().unwrap();
    let bytes = std::fs::read(path).unwrap();
    match parse(name, &bytes, &NoEnv, None) {
        Err(report) => report,
        Ok(_) => panic!("{name} was accepted"),
    }
}

/// Set `WEIR_BLESS=1` to write what the reports are now; read the difference before committing it.
#[test]
fn each_bad_file_gets_exactly_its_report() {
    let files = folder("bad");
    assert!(files.len() > 30);
    for path in files {
        let report = report_on(&path);
        let found = format!(
            "{}\n{}",
            report.render(Style::long(Purpose::Check)),
            report.render(Style::short())
        );
        let expected = path.with_extension("expected");
        if std::env::var_os("WEIR_BLESS").is_some() {
            std::fs::write(&expected, &found).unwrap();
        }
        let wanted = std::fs::read_to_string(&expected).unwrap();
        assert_eq!(found, wanted, "{}", path.display());
    }
}

#[test]
fn every_report_is_ascii_and_eighty_columns_wide() {
    for path in folder("bad") {
        let text = report_on(&path).render(Style::default());
        assert!(text.is_ascii(), "{}", path.display());
        for line in text.lines().filter(|line| !line.contains("--> ")) {
            assert!(line.len() <= 80, "{}: {line}", path.display());
        }
    }
}

#[test]
fn ten_different_mistakes_are_all_told_with_line_and_column() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad/ten-mistakes.conf");
    let report = report_on(&path);
    let places: Vec<(usize, usize)> = report.places().map(Option::unwrap).collect();
    assert_eq!(
        places,
        [
            (2, 22),
            (5, 1),
            (7, 19),
            (12, 19),
            (15, 19),
            (18, 19),
            (19, 21),
            (20, 1),
            (21, 28),
            (22, 19)
        ]
    );
}

#[test]
fn the_complete_example_reports_exactly_what_this_build_does_not_have() {
    let text = include_str!("complete.conf");
    let report = parse_str("weir.conf", text, None).unwrap_err();
    let messages: Vec<&str> = report.messages().collect();
    assert_eq!(messages, ["[ha] is not available in this build"]);
}

#[test]
fn the_shipped_example_is_accepted() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/weir.conf");
    let loaded = load(&path, &NoEnv, None).unwrap();
    assert_eq!(loaded.snapshot.services.count(), 2);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.is_ascii());
    // What it shows as a comment is accepted, too.
    let key = "# secret-file   = ";
    assert!(text.contains(key));
    let text = text.replace(key, "secret-file = ");
    let loaded = parse_str("weir.conf", &text, None).unwrap();
    let web = loaded.snapshot.services.get(0).unwrap();
    assert_eq!(
        web.synproxy.secret_file.as_deref(),
        Some("/etc/weir/cookie.key")
    );
    assert!(web.health.is_some());
}

#[test]
fn the_manual_names_every_key_of_profiles_with_its_default() {
    let manual = include_str!("../../../docs/manual.md");
    let (synproxy, health) = manual
        .split_once("## Keys for SYN floods")
        .and_then(|(_, rest)| rest.split_once("## Keys for health checks"))
        .unwrap();
    let mut seen = 0;
    for name in weir_conf::keys() {
        let help = weir_conf::help(&name).unwrap();
        let (section, key) = name.split_once('.').unwrap();
        let text = match section {
            "synproxy" => synproxy,
            "health" => health,
            _ => continue,
        };
        if help.lines().next().unwrap().contains("not in this build") {
            continue;
        }
        let default = help
            .lines()
            .find_map(|line| line.strip_prefix("  default  "))
            .unwrap();
        let default = default.split(';').next().unwrap();
        let row = text
            .lines()
            .filter(|line| line.starts_with('|'))
            .find(|line| line.contains(&format!("`{key}`")))
            .unwrap_or_else(|| panic!("{name}"));
        let cells: Vec<&str> = row.split('|').collect();
        let expected = if default == "none" && key == "type" {
            "required"
        } else {
            default
        };
        assert!(cells[2].contains(expected), "{name}: {row}");
        seen += 1;
    }
    assert_eq!(seen, 35);
}

#[test]
fn printing_and_reading_again_is_the_identity() {
    let mut files = folder("good");
    files.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/weir.conf"));
    for path in files {
        let loaded = load(&path, &NoEnv, None).unwrap();
        let printed = print_effective(&loaded);
        let again = parse_str("printed", &printed, None).unwrap();
        assert_eq!(again.snapshot, loaded.snapshot, "{}", path.display());
        assert_eq!(print_effective(&again), printed, "{}", path.display());
        // What the comments say is what holds: taking them for values changes nothing.
        let said: String = printed
            .lines()
            .map(|line| line.strip_prefix("# ").unwrap_or(line))
            .flat_map(|line| [line, "\n"])
            .collect();
        let said = parse_str("said", &said, None).unwrap();
        assert_eq!(said.snapshot, loaded.snapshot, "{}", path.display());
    }
}

#[test]
fn the_example_of_each_timeout_and_switch_of_a_service_is_accepted_in_a_file() {
    let text = include_str!("good/all-keys.conf");
    let (others, services) = text.split_once("\n[service ").unwrap();
    let mut tried = 0;
    for (name, _) in weir_conf::names() {
        let Some(key) = name.strip_prefix("service.") else {
            continue;
        };
        let help = weir_conf::help(&name).unwrap();
        let example = help
            .lines()
            .find_map(|line| line.trim().strip_prefix("example"));
        let (example, given) = (example.unwrap().trim(), format!("\n{key} = "));
        // Others name objects, or addresses that only one may have.
        let alone = [
            "listen", "real", "sorry", "lip-pool", "synproxy", "defence", "health",
        ];
        if alone.contains(&key) {
            continue;
        }
        let (before, rest) = services.split_once(&given).unwrap();
        let (_, after) = rest.split_once('\n').unwrap();
        let text = format!("{others}\n[service {before}\n{example}\n{after}");
        if let Err(report) = parse_str("weir.conf", &text, None) {
            panic!("{name}: {report}");
        }
        tried += 1;
    }
    assert!(tried > 25, "{tried}");
}

#[test]
fn what_is_wrong_with_a_named_file_is_told_where_the_configuration_names_it() {
    let text = include_str!("good/all-keys.conf");
    let loaded = parse_str("weir.conf", text, None).unwrap();
    assert!(loaded.named.mistakes(&[]).is_none());
    assert!(loaded.named.warnings(&[]).is_none());
    let finding = |named: &str| Finding {
        named: named.to_owned(),
        message: format!("cannot use {named}: permission denied"),
        note: "ask root".to_owned(),
    };
    let findings = ["/etc/weir/other.key", "ens1f1", "/elsewhere"].map(finding);
    let report = loaded.named.mistakes(&findings).unwrap();
    assert_eq!(report.severity(), Severity::Error);
    assert_eq!(
        report.render(Style::short()),
        "\
error: cannot use /elsewhere: permission denied
weir.conf:14:10: error: cannot use ens1f1: permission denied; ask root
weir.conf:88:15: error: cannot use /etc/weir/other.key: permission denied; ask root
"
    );
    let report = loaded.named.warnings(&findings).unwrap();
    assert_eq!(report.severity(), Severity::Warning);
    assert_eq!(report.count(), 3);
}

#[test]
fn what_is_wrong_with_an_address_of_weirs_own_is_told_where_the_configuration_names_it() {
    let text = include_str!("good/all-keys.conf");
    let loaded = parse_str("weir.conf", text, None).unwrap();
    let finding = |named: &str| Finding {
        named: named.to_owned(),
        message: "somebody has it".to_owned(),
        note: String::new(),
    };
    let named = ["vip=203.0.113.11", "lips=10.0.8.32-10.0.8.39"];
    let report = loaded.named.warnings(&named.map(finding)).unwrap();
    assert_eq!(
        report.render(Style::short()),
        "\
weir.conf:42:11: warning: somebody has it
weir.conf:103:10: warning: somebody has it
"
    );
}

#[test]
fn what_is_hardly_meant_is_warned_of_and_accepted() {
    let text = include_str!("warned.conf");
    let loaded = parse_str("warned.conf", text, None).unwrap();
    let report = loaded.named.warnings(&[]).unwrap();
    assert_eq!(
        report.render(Style::long(Purpose::Check)),
        include_str!("warned.expected")
    );
}

#[test]
fn an_appliance_of_the_image_begins_without_a_port_and_is_warned_of_it() {
    let text = include_str!("good/first-boot.conf");
    let loaded = parse_str("weir.conf", text, None).unwrap();
    assert!(loaded.snapshot.ports.iter().next().is_none());
    let found = loaded.management;
    assert_eq!(found.address, Some(ManagementAddress::Dhcp));
    assert_eq!((found.device.as_str(), found.ssh_port), ("eth0", 22));
    let warned = loaded.named.warnings(&[]).unwrap();
    assert_eq!(
        warned.messages().collect::<Vec<_>>(),
        ["there is no [port NAME]"]
    );
    // Elsewhere there is nothing without a port.
    let alone = refusal("[node]\nname = weir\n").to_string();
    assert!(alone.contains("there is no [port NAME]"), "{alone}");
}

#[test]
fn a_file_that_is_not_there_is_told_in_a_sentence() {
    let report = load(Path::new("/nonexistent/weir.conf"), &NoEnv, None).unwrap_err();
    assert_eq!(
        report.render(Style::long(Purpose::Start)),
        "error: cannot read /nonexistent/weir.conf: no such file or directory\n\n1 error; weir did not start\n"
    );
    let report = load(Path::new("/"), &NoEnv, None).unwrap_err();
    assert_eq!(
        report.render(Style::short()),
        "error: cannot read /: is a directory\n"
    );
}

/// Each `key = value` line of the file that has every key: its number, key and value.
fn every_key() -> Vec<(usize, &'static str, &'static str)> {
    let lines = include_str!("good/all-keys.conf").lines().enumerate();
    lines
        .filter_map(|(i, line)| {
            let (key, value) = line.split_once(" = ")?;
            Some((i + 1, key, value))
        })
        .collect()
}

/// The file that has every key, with one line replaced.
fn with_line(number: usize, line: &str) -> String {
    let lines = include_str!("good/all-keys.conf").lines().enumerate();
    lines
        .flat_map(|(i, old)| [if i + 1 == number { line } else { old }, "\n"])
        .collect()
}

fn refusal(text: &str) -> Report {
    match parse_str("weir.conf", text, None) {
        Err(report) => report,
        Ok(_) => panic!("accepted:\n{text}"),
    }
}

#[test]
fn the_file_with_every_key_has_every_key_of_this_build() {
    let given: Vec<&str> = every_key().iter().map(|(_, key, _)| *key).collect();
    for name in weir_conf::keys() {
        let help = weir_conf::help(&name).unwrap();
        let section = name.split('.').next().unwrap();
        let section_help = weir_conf::help(section).unwrap();
        let now = |text: &str| !text.lines().next().unwrap().contains("not in this build");
        if now(&help) && now(&section_help) {
            let key = name.split('.').nth(1).unwrap();
            assert!(given.contains(&key), "{name}");
        }
    }
}

#[test]
fn a_wrong_value_of_any_key_is_told_at_its_line() {
    for (number, key, _) in every_key() {
        for wrong in ["a/b:@", "-1", "99999999999999999999", "1.5.5"] {
            let text = with_line(number, &format!("{key} = {wrong}"));
            // These may be nearly anything.
            let is_text = matches!(key, "body" | "send" | "answer");
            if is_text || (matches!(key, "host" | "ntp") && wrong != "a/b:@") {
                continue;
            }
            if (key == "name" || key == "device") && wrong != "a/b:@" {
                continue;
            }
            let report = refusal(&text);
            let lines: Vec<usize> = report.places().flatten().map(|(line, _)| line).collect();
            assert!(lines.contains(&number), "{key} = {wrong}: {report}");
        }
    }
}

#[test]
fn a_missing_unit_of_any_duration_is_told_behind_the_number() {
    let mut seen = 0;
    for (number, key, value) in every_key() {
        let is_duration = value.starts_with(|c: char| c.is_ascii_digit())
            && value.ends_with(['s', 'm'])
            && !value.ends_with("/s")
            && value.len() < 7;
        if !is_duration {
            continue;
        }
        seen += 1;
        let report = refusal(&with_line(number, &format!("{key} = 17")));
        let behind = key.len() + " = 17".len() + 1;
        assert_eq!(report.messages().next(), Some("`17` is not a duration"));
        assert_eq!(
            report.places().next(),
            Some(Some((number, behind))),
            "{key}"
        );
    }
    assert_eq!(seen, 16);
}

#[test]
fn any_line_given_twice_is_refused_at_the_second() {
    for (number, key, value) in every_key() {
        let line = format!("{key} = {value}");
        let report = refusal(&with_line(number, &format!("{line}\n{line}")));
        let lines: Vec<usize> = report.places().flatten().map(|(line, _)| line).collect();
        assert_eq!(lines, [number + 1], "{line}: {report}");
    }
}

#[test]
fn a_slip_in_any_key_is_answered_with_the_key() {
    for (number, key, value) in every_key() {
        let text = refusal(&with_line(number, &format!("{key}x = {value}"))).to_string();
        assert!(text.contains(&format!("did you mean `{key}`?")), "{text}");
    }
}
