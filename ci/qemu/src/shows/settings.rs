//! That what `docs/hardening.md` lists holds in a machine that runs.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

/// What the document says; a test of the agent's holds it to the code and to the image's files.
const DOCUMENT: &str = include_str!("../../../../docs/hardening.md");
/// How many files a line of the shell names: it is typed on a serial line.
const A_LINE: usize = 3;
/// What a mount may not be without where the document has it.
const PROTECTION: [&str; 5] = ["ro", "nosuid", "nodev", "noexec", "noatime"];

/// The devices of the machine: management, and the data ports.
const MANAGEMENT: &str = "eth0";
const PORTS: [&str; 2] = ["eth1", "eth2"];

/// Returns what somebody types into the maintenance shell to have it all shown.
pub(super) fn lines() -> Vec<String> {
    let mut lines = vec!["cd /proc/sys".to_owned()];
    let paths: Vec<String> = settings().into_keys().collect();
    for some in paths.chunks(A_LINE) {
        lines.push(format!("grep -sH . {}", some.join(" ")));
    }
    let more = [
        "cat /proc/mounts /proc/cmdline",
        "mount -t securityfs s /sys/kernel/security",
        "grep . /sys/kernel/security/lockdown",
        "umount /sys/kernel/security",
    ];
    lines.extend(more.map(str::to_owned));
    lines
}

/// Looks at what the kernel says of each setting.
pub(super) fn check_settings(said: &str) -> Result<String> {
    let expected = settings();
    let found: BTreeMap<&str, String> = said
        .lines()
        .filter_map(|line| line.trim().split_once(':'))
        .map(|(path, value)| (path, plain(value)))
        .collect();
    let is_other = |(path, value): &(&String, &String)| found.get(path.as_str()) != Some(*value);
    let wrong: Vec<String> = expected
        .iter()
        .filter(is_other)
        .map(|(path, value)| format!("{path} is {:?}, not {value}", found.get(path.as_str())))
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    let is_closed = said.lines().any(|line| line.contains("[integrity]"));
    ensure!(is_closed, "lockdown does not stand at integrity");
    Ok(format!("{} settings, and lockdown", expected.len()))
}

/// Looks at how file systems are mounted.
pub(super) fn check_mounts(said: &str) -> Result<String> {
    let mut count = 0;
    for row in table("## File systems", 3) {
        let [place, kind, options] = row.as_slice() else {
            continue;
        };
        let is_this = |line: &&str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words.get(1) == Some(&place.as_str()) && words.get(2) == Some(&kind.as_str())
        };
        let is_elsewhere = kind == "securityfs" || (place == "/data" && kind == "tmpfs");
        let Some(mount) = said.lines().find(is_this) else {
            ensure!(is_elsewhere, "no {kind} is mounted at {place}");
            continue;
        };
        let has = mount.split_whitespace().nth(3).unwrap_or_default();
        let has: Vec<&str> = has.split(',').collect();
        for option in options.split(',').filter(|it| PROTECTION.contains(it)) {
            ensure!(has.contains(&option), "{place} is not {option}: {mount}");
        }
        count += 1;
    }
    for place in ["/etc/weir", "/var/lib/weir"] {
        let line = said
            .lines()
            .find(|line| line.contains(&format!(" {place} ")));
        let line = line.with_context(|| format!("nothing is mounted at {place}"))?;
        ensure!(line.contains("nosuid,nodev,noexec"), "{line}");
    }
    Ok(format!("{count} file systems"))
}

/// Looks at the words that the kernel was given.
pub(super) fn check_words(said: &str) -> Result<String> {
    let given = said.lines().find(|line| line.contains("weir.slot="));
    let given = given.context("the kernel's words are not shown")?;
    let given: Vec<&str> = given.split_whitespace().collect();
    let words = table("## The kernel's words", 1);
    for word in words.iter().flatten() {
        ensure!(given.contains(&word.as_str()), "no {word}: {given:?}");
    }
    Ok(format!("{} words", words.len()))
}

/// Returns the settings by their paths below `/proc/sys`.
fn settings() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let mut take = |line: &str, device: &str| {
        for row in table(line, 2) {
            if let [setting, value] = row.as_slice() {
                let setting = setting.replace("DEVICE", device).replace('.', "/");
                all.insert(setting, plain(value));
            }
        }
    };
    take("### The machine", "");
    for scope in ["all", "default", MANAGEMENT].into_iter().chain(PORTS) {
        take("### Any device", scope);
    }
    take("### The management device", MANAGEMENT);
    for port in PORTS {
        take("### A data port", port);
    }
    all.insert("kernel/modules_disabled".to_owned(), "1".to_owned());
    all
}

/// A value with one blank where there are blanks.
fn plain(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Returns so many columns of the first table below a line of the document.
fn table(line: &str, columns: usize) -> Vec<Vec<String>> {
    let below = DOCUMENT.lines().skip_while(|it| *it != line);
    let rows = below.skip_while(|it| !it.starts_with('|'));
    let rows = rows.take_while(|it| it.starts_with('|')).skip(2);
    let cells = |row: &str| {
        let row = row.replace("\\|", "\0");
        let cells = row.trim_matches('|').split('|').take(columns);
        cells
            .map(|cell| cell.trim().trim_matches('`').replace('\0', "|"))
            .collect()
    };
    rows.map(cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> String {
        let all = settings();
        let line = |(path, value): (&String, &String)| format!("{path}:{value}\r");
        let mut lines: Vec<String> = all.iter().map(line).collect();
        lines.push("none [integrity] confidentiality\r\n".to_owned());
        lines.join("\n")
    }

    #[test]
    fn every_setting_of_every_device_is_asked_for_once() {
        let all = settings();
        assert!(all.len() > 90, "{}", all.len());
        assert_eq!(all["net/ipv6/conf/eth1/accept_ra"], "0");
        assert_eq!(all["net/ipv6/conf/eth2/disable_ipv6"], "1");
        assert_eq!(all["net/ipv6/conf/eth0/disable_ipv6"], "0");
        assert_eq!(all["kernel/core_pattern"], "|/bin/false");
        let typed = lines().join("\n");
        for path in all.keys() {
            let count = typed.split_whitespace().filter(|word| word == path);
            assert_eq!(count.count(), 1, "{path}");
        }
        assert!(lines().iter().all(|line| line.len() < 200));
    }

    #[test]
    fn a_setting_that_is_another_or_not_there_is_told() {
        assert!(check_settings(&good()).is_ok());
        let other = good().replace("eth1/accept_ra:0", "eth1/accept_ra:1");
        let error = check_settings(&other).unwrap_err().to_string();
        assert_eq!(error, "net/ipv6/conf/eth1/accept_ra is Some(\"1\"), not 0");
        assert!(check_settings(&good().replace("kernel/sysrq:0", "")).is_err());
        assert!(check_settings(&good().replace("[integrity]", "integrity")).is_err());
    }

    #[test]
    fn a_mount_without_its_protection_is_told() {
        let row = |row: &Vec<String>| format!("dev {} {} rw,{} 0 0", row[0], row[1], row[2]);
        let mut mounts: Vec<String> = table("## File systems", 3).iter().map(row).collect();
        let own = ["/etc/weir", "/var/lib/weir"];
        mounts.extend(own.map(|place| format!("d {place} ext4 rw,nosuid,nodev,noexec 0 0")));
        let mounts = mounts.join("\n");
        assert!(check_mounts(&mounts).is_ok());
        let open = mounts.replace(
            "/tmp tmpfs rw,nosuid,nodev,noexec",
            "/tmp tmpfs rw,nosuid,nodev",
        );
        let error = check_mounts(&open).unwrap_err().to_string();
        assert!(error.starts_with("/tmp is not noexec"), "{error}");
        assert!(check_mounts(&mounts.replace(" /run ", " /ran ")).is_err());
    }

    #[test]
    fn a_word_that_the_kernel_was_not_given_is_told() {
        let words: Vec<String> = table("## The kernel's words", 1).concat();
        let line = format!("weir.slot=a weir.trial=0 {}\n", words.join(" "));
        assert!(check_words(&line).is_ok());
        assert!(check_words(&line.replace("vsyscall=none", "")).is_err());
    }
}
