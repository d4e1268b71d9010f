//! The box before anything runs: the folders of the slot, in their places.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::durable;
use crate::places::Places;
use crate::slot::Slot;

/// Where the reason is written for which the data partition cannot be used.
pub(crate) const DATA_FAULT: &str = "data-fault";
/// Says that the box has been prepared since it was started.
pub(crate) const BOOTED: &str = "booted";
/// Where the reasons are written for which modules could not be loaded.
pub(crate) const MODULES_FAULT: &str = "modules-fault";

/// Makes what is not there of the folders of the box.
///
/// # Errors
/// Says which folder cannot be made.
pub(crate) fn folders(places: &Places, slot: Slot) -> Result<(), String> {
    for (folder, mode) in [
        (places.run.clone(), 0o755),
        (places.shared(), 0o700),
        (places.shared().join("ssh"), 0o700),
        (places.shared().join("keys"), 0o700),
        (places.shared().join("events"), 0o700),
        (places.shared().join("update"), 0o700),
        (places.slot(slot).join("etc"), 0o700),
        (places.slot(slot).join("lib"), 0o700),
    ] {
        durable::folder(&folder, mode).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    Ok(())
}

/// Returns what is mounted over what: the folders of the slot over those that programs know.
pub(crate) fn binds(places: &Places, slot: Slot) -> [(PathBuf, PathBuf); 3] {
    let slot = places.slot(slot);
    [
        (slot.join("etc"), places.etc.clone()),
        (slot.join("lib"), places.state.clone()),
        (places.shared().join("events"), places.state.join("events")),
    ]
}

/// Mounts the folders of a slot, those that an agent before this one has not mounted.
///
/// # Errors
/// Says which folder cannot be mounted.
pub(crate) fn mount_all(places: &Places, slot: Slot) -> Result<(), String> {
    let mounts = fs::read_to_string(places.proc.join("self/mounts")).unwrap_or_default();
    for (from, to) in binds(places, slot) {
        if is_mounted(&mounts, &to) {
            continue;
        }
        let failed = |error: &dyn std::fmt::Display| {
            format!(
                "{} cannot be mounted over {}: {error}",
                from.display(),
                to.display()
            )
        };
        if !to.is_dir() {
            durable::folder(&to, 0o700).map_err(|error| failed(&error))?;
        }
        let none: Option<&str> = None;
        mount(Some(&from), &to, none, MsFlags::MS_BIND, none).map_err(|error| failed(&error))?;
    }
    Ok(())
}

/// Takes the folders of a slot out of their places.
pub(crate) fn unmount_all(places: &Places, slot: Slot) {
    for (_, to) in binds(places, slot).into_iter().rev() {
        // Whoever still has a file open there keeps it; nothing new gets in.
        let _ = umount2(&to, MntFlags::MNT_DETACH);
    }
}

fn is_mounted(mounts: &str, folder: &Path) -> bool {
    let folder = folder.to_string_lossy();
    let mut targets = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    targets.any(|target| target == folder)
}

/// Makes the host's key where there is none, and returns it.
///
/// # Errors
/// Says why there is none.
pub(crate) fn host_key(places: &Places) -> Result<(PathBuf, bool), String> {
    let folder = places.shared().join("ssh");
    let key = folder.join("host_ed25519");
    if fs::metadata(&key).is_ok_and(|it| it.len() > 0) {
        return Ok((key, false));
    }
    let new = folder.join("host_ed25519.new");
    let _ = fs::remove_file(&new);
    let mut make = std::process::Command::new("dropbearkey");
    make.args(["-t", "ed25519", "-f"]).arg(&new);
    let output = make
        .output()
        .map_err(|error| format!("`dropbearkey`: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "`dropbearkey`: {}",
            said.lines().next().unwrap_or("it failed")
        ));
    }
    let bytes = fs::read(&new).map_err(|error| error.to_string())?;
    durable::write(&key, &bytes, 0o600).map_err(|error| format!("{}: {error}", key.display()))?;
    let _ = fs::remove_file(&new);
    Ok((key, true))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn root(name: &str) -> (PathBuf, Places) {
        let root = std::env::temp_dir().join(format!("weir-prepare-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        (root.clone(), Places::under(&root))
    }

    #[test]
    fn folders_are_made_for_root_alone() {
        let (root, places) = root("folders");
        folders(&places, Slot::B).unwrap();
        folders(&places, Slot::B).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&places.slot(Slot::B).join("etc")), 0o700);
        assert_eq!(mode(&places.run), 0o755);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn what_is_mounted_is_not_mounted_again() {
        let mounts = "/dev/vda3 /data ext4 rw 0 0\n/dev/vda3 /etc/weir ext4 rw 0 0\n";
        assert!(is_mounted(mounts, Path::new("/etc/weir")));
        assert!(!is_mounted(mounts, Path::new("/etc")));
    }
}
