//! The box, where Weir runs from an appliance image: slots, watchdog, data partition, keys.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use weir_agent::grubenv::{GrubEnv, GrubEnvError};

use super::Findings;

/// A data partition with less room left, in percent, is nearly full.
const SHORT_PERCENT: u64 = 10;

/// Looks at the box under a root; what is no appliance has none of this.
pub(crate) fn check(root: &Path, findings: &mut Findings) {
    if !is_one(root) {
        return;
    }
    slot(root, findings);
    watchdog(root, findings);
    data(root, findings);
    modules(root, findings);
    keys(root, findings);
}

/// Tells whether the system under this root is an appliance.
pub(crate) fn is_one(root: &Path) -> bool {
    root.join("usr/share/weir/manifest").exists()
}

fn slot(root: &Path, findings: &mut Findings) {
    const CHECK: &str = "slot";
    let line = fs::read_to_string(root.join("proc/cmdline")).unwrap_or_default();
    let mut words = line.split_whitespace();
    let Some(slot) = words.find_map(|word| word.strip_prefix("weir.slot=")) else {
        let text = "the boot loader did not say which slot it started";
        return findings.warn(CHECK, "", text, "start the box by its own boot loader");
    };
    let env = match GrubEnv::read(&root.join("boot/grub/grubenv")) {
        Ok(env) => env,
        Err(GrubEnvError::File(_, error)) if error.kind() == ErrorKind::PermissionDenied => {
            let text = "what the boot loader starts next is for operators to see";
            return findings.ok(CHECK, slot, text);
        }
        Err(error) => {
            let advice = "updates cannot be tried: install the image again, `weir backup` before";
            return findings.fail(CHECK, slot, error.to_string(), advice);
        }
    };
    let other = if slot == "a" { "b" } else { "a" };
    if env.get("trial") == Some(slot) {
        let text = "it runs on trial: it stays if all is well, or the box starts the other one";
        findings.warn(CHECK, slot, text, "wait for the event update-confirmed");
    } else if env.get("slot") != Some(slot) {
        let text = "it was chosen at the start; the next start is of the other one";
        let advice = "`weir update --rollback` in the other one makes this one stay";
        findings.warn(CHECK, slot, text, advice);
    } else if root.join(format!("boot/slot-{other}/manifest")).exists() {
        let text = format!("it is confirmed; slot {other} is there to fall back to");
        findings.ok(CHECK, slot, text);
    } else {
        findings.ok(
            CHECK,
            slot,
            format!("it is confirmed; slot {other} is empty"),
        );
    }
}

fn watchdog(root: &Path, findings: &mut Findings) {
    const CHECK: &str = "watchdog";
    let entries = fs::read_dir(root.join("sys/class/watchdog"));
    let mut dogs: Vec<_> = entries.into_iter().flatten().flatten().collect();
    dogs.sort_by_key(fs::DirEntry::file_name);
    let Some(dog) = dogs.first() else {
        let text = "there is none: a box that hangs stays so until somebody comes";
        let advice = "give the machine one; a virtual machine takes i6300esb";
        return findings.warn(CHECK, "", text, advice);
    };
    let name = dog.file_name().to_string_lossy().into_owned();
    let state = fs::read_to_string(dog.path().join("state")).unwrap_or_default();
    if state.trim() == "inactive" {
        let text = "nobody feeds it: a box that hangs stays so";
        return findings.warn(
            CHECK,
            &name,
            text,
            "look at `weir show events` for the agent",
        );
    }
    findings.ok(CHECK, &name, "the agent feeds it");
}

fn data(root: &Path, findings: &mut Findings) {
    const CHECK: &str = "data";
    let advice = "`weir backup` while it runs, then replace the disk or install again";
    if let Some(why) = fault(root, "data-fault") {
        return findings.fail(CHECK, "", why, advice);
    }
    let Ok(disk) = nix::sys::statvfs::statvfs(&root.join("data")) else {
        return findings.fail(CHECK, "", "there is no data partition", advice);
    };
    let (free, all) = (disk.blocks_available(), disk.blocks());
    if free * 100 < all * SHORT_PERCENT {
        let text = format!("{} % of it are left", free * 100 / all.max(1));
        let advice = "look for large captures and bundles; a full disk keeps no configuration";
        return findings.warn(CHECK, "", text, advice);
    }
    findings.ok(CHECK, "", "mounted, and with room");
}

fn modules(root: &Path, findings: &mut Findings) {
    if let Some(why) = fault(root, "modules-fault") {
        let advice = "build the module for this kernel, or take it out of the image";
        findings.warn("modules", "", why, advice);
    }
}

fn keys(root: &Path, findings: &mut Findings) {
    const CHECK: &str = "update-keys";
    let entries = fs::read_dir(root.join("usr/share/weir/update-keys"));
    let entries = entries.into_iter().flatten().flatten();
    let count = entries
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "pub"))
        .count();
    if count == 0 {
        let text = "there is none: every update is refused";
        return findings.warn(CHECK, "", text, "install an image that has one");
    }
    findings.ok(
        CHECK,
        "",
        format!("{count} that updates may be signed with"),
    );
}

/// Returns what the start of the box left to be told, as one line.
fn fault(root: &Path, name: &str) -> Option<String> {
    crate::control::faults::read(&root.join("run/weir").join(name))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use weir_control::CheckStatus;

    use super::*;

    struct Home(PathBuf);

    impl Home {
        fn new(name: &str) -> Self {
            let folder =
                std::env::temp_dir().join(format!("weir-{}-box-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            let home = Self(folder);
            home.write("usr/share/weir/manifest", "");
            home.write("usr/share/weir/update-keys/one.pub", "");
            home.write("proc/cmdline", "weir.slot=a weir.trial=0 quiet\n");
            home.write("sys/class/watchdog/watchdog0/state", "active\n");
            home.write("data/x", "");
            home.boot("a", "");
            home
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn boot(&self, slot: &str, trial: &str) {
            let mut env = GrubEnv::default();
            env.set("slot", slot).unwrap();
            env.set("trial", trial).unwrap();
            self.write("boot/grub/grubenv", "");
            fs::write(self.0.join("boot/grub/grubenv"), env.to_block().unwrap()).unwrap();
        }

        /// What is told of a check, where it is not well.
        fn told(&self, check: &str) -> Option<String> {
            let mut findings = Findings::default();
            super::check(&self.0, &mut findings);
            let rows = findings.into_rows();
            let row = rows.into_iter().find(|row| row.check == check)?;
            (row.status != CheckStatus::Ok).then_some(row.text)
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_box_that_is_well_has_nothing_to_tell_and_another_machine_is_no_box() {
        let home = Home::new("well");
        for check in ["slot", "watchdog", "modules", "update-keys"] {
            assert_eq!(home.told(check), None, "{check}");
        }
        fs::remove_file(home.0.join("usr/share/weir/manifest")).unwrap();
        let mut findings = Findings::default();
        check(&home.0, &mut findings);
        assert!(findings.into_rows().is_empty());
    }

    #[test]
    fn what_is_not_well_of_a_box_is_told() {
        let home = Home::new("ill");
        home.boot("a", "a");
        assert!(home.told("slot").unwrap().starts_with("it runs on trial"));
        home.boot("b", "");
        assert!(
            home.told("slot")
                .unwrap()
                .contains("the next start is of the other")
        );
        home.write("boot/grub/grubenv", "torn");
        assert!(
            home.told("slot")
                .unwrap()
                .contains("has 4 bytes and not 1024")
        );
        home.write("sys/class/watchdog/watchdog0/state", "inactive\n");
        assert!(
            home.told("watchdog")
                .unwrap()
                .starts_with("nobody feeds it")
        );
        fs::remove_dir_all(home.0.join("sys")).unwrap();
        assert!(home.told("watchdog").unwrap().starts_with("there is none"));
        home.write("run/weir/data-fault", "the superblock is damaged\n");
        assert_eq!(home.told("data").unwrap(), "the superblock is damaged");
        home.write(
            "run/weir/modules-fault",
            "netmap.ko is for another kernel\n",
        );
        assert_eq!(
            home.told("modules").unwrap(),
            "netmap.ko is for another kernel"
        );
        fs::remove_file(home.0.join("usr/share/weir/update-keys/one.pub")).unwrap();
        assert!(
            home.told("update-keys")
                .unwrap()
                .starts_with("there is none")
        );
    }
}
