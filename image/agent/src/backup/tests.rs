use weir_control::Role;

use super::archive::check;
use super::stage::{READY, STAGE};
use super::*;
use crate::keys::{Key, Keys};
use crate::slot::Slot;
use crate::testing::Folder;
use crate::{secret, setup};

const ALICE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti alice";
const CONFIG: &str = "[node]\nname = lb7\n[management]\naddress = dhcp\n";

/// A box whose slot's folders are at their places without mounts.
fn a_box(folder: &Folder) -> Places {
    let mut places = Places::under(folder.path());
    places.etc = places.slot(Slot::A).join("etc");
    places.state = places.slot(Slot::A).join("lib");
    for path in [&places.etc, &places.state, &places.run, &places.shared()] {
        fs::create_dir_all(path).unwrap();
    }
    places
}

fn full(folder: &Folder) -> Places {
    let places = a_box(folder);
    fs::write(places.config(), CONFIG).unwrap();
    fs::write(places.etc.join("siem-ca.pem"), "pem").unwrap();
    let applied = places.state.join("configurations/x");
    fs::create_dir_all(&applied).unwrap();
    fs::write(applied.join("1.conf"), "one").unwrap();
    fs::create_dir_all(places.shared().join("ssh")).unwrap();
    fs::write(places.shared().join("ssh/host_ed25519"), [1, 2, 3]).unwrap();
    let mut keys = Keys::default();
    keys.add(Role::Operator, Key::parse(ALICE).unwrap())
        .unwrap();
    keys.save(&places).unwrap();
    places
}

fn made(manifest: &str, files: &[(&str, &str)]) -> Vec<u8> {
    let files = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
    archive(manifest, &files.collect()).unwrap()
}

fn good(files: &[(&str, &str)]) -> Vec<u8> {
    let all: Files = files
        .iter()
        .map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()))
        .collect();
    archive(&manifest("1", "lb7", &all), &all).unwrap()
}

#[test]
fn a_backup_makes_another_box_this_one() {
    let (first, second) = (Folder::new("backup-a"), Folder::new("backup-b"));
    let bytes = make(&full(&first)).unwrap();
    let places = a_box(&second);
    fs::write(places.etc.join("old.pem"), "old").unwrap();
    let what = stage(&places, &bytes).unwrap();
    assert!(what.starts_with("the backup of lb7"), "{what}");
    // Nothing has changed yet.
    assert!(!places.config().exists());
    let events = at_boot(&places, Slot::A);
    assert_eq!(events.len(), 1, "{events:?}");
    assert_eq!(fs::read_to_string(places.config()).unwrap(), CONFIG);
    assert!(!places.etc.join("old.pem").exists());
    assert_eq!(Keys::load(&places).0.count(), 1);
    let host = fs::read(places.shared().join("ssh/host_ed25519")).unwrap();
    assert_eq!(host, [1, 2, 3]);
    assert!(places.state.join("configurations/x/1.conf").exists());
    assert!(setup::is_set_up(&places));
    assert!(!places.data.join(STAGE).exists());
    assert_eq!(at_boot(&places, Slot::A), []);
    assert_eq!(node(&places).as_deref(), Some("lb7"));
}

#[test]
fn a_power_cut_leaves_the_old_box_or_the_new_one() {
    let (first, second) = (Folder::new("backup-cut"), Folder::new("backup-cut2"));
    let bytes = make(&full(&first)).unwrap();
    let places = a_box(&second);
    fs::write(places.config(), "old").unwrap();
    stage(&places, &bytes).unwrap();
    let staged = places.data.join(STAGE);
    fs::remove_file(staged.join(READY)).unwrap();
    assert_eq!(at_boot(&places, Slot::A), []);
    assert_eq!(fs::read_to_string(places.config()).unwrap(), "old");
    assert!(!staged.exists());
    // Cut in the middle of taking over: the rest is taken over at the next start.
    stage(&places, &bytes).unwrap();
    fs::remove_dir_all(&places.etc).unwrap();
    fs::rename(staged.join("etc"), &places.etc).unwrap();
    assert_eq!(at_boot(&places, Slot::A).len(), 1);
    assert_eq!(fs::read_to_string(places.config()).unwrap(), CONFIG);
    assert_eq!(Keys::load(&places).0.count(), 1);
}

#[test]
fn a_bad_backup_changes_nothing_and_says_why() {
    let folder = Folder::new("backup-bad");
    let places = full(&folder);
    let config = ("etc/weir.conf", CONFIG);
    let whole = good(&[config]);
    let newer = |line: &str| made(&format!("{line}\n"), &[config]);
    let secret = ("shared/secret", "$argon2id$v=19$m=9999999,t=1,p=1$x$y");
    for (bytes, says) in [
        (Vec::new(), "empty"),
        (b"hello".to_vec(), "no backup"),
        (vec![0xff; 4096], "no backup"),
        (whole[..whole.len() / 2 - 600].to_vec(), "cut off"),
        (newer("format = 2"), "newer"),
        (newer("format = 1\nconfig-format = 2"), "newer"),
        (newer("node = x"), "format"),
        (newer("format"), "damaged"),
        (newer("format = 1"), "not on the backup's list"),
        (good(&[("etc/x.pem", "")]), "no configuration"),
        (good(&[("etc/weir.conf", "[nod]\n")]), "has a mistake"),
        (
            good(&[config, ("shared/keys/operator", "ssh-dss A\n")]),
            "DSA",
        ),
        (good(&[config, secret]), "secret"),
        (good(&[config, ("shared/update/x", "")]), "damaged"),
        (
            made("format = 1\n", &[("shared/update/x", "")]),
            "cannot be in",
        ),
        (
            made("format = 1\n", &[("shared/secret.x", "")]),
            "cannot be in",
        ),
    ] {
        let error = stage(&places, &bytes).unwrap_err();
        assert!(error.contains(says), "{says}: {error}");
        assert!(!places.data.join(STAGE).exists());
    }
    let mut damaged = whole.clone();
    let place = damaged.windows(3).rposition(|it| it == b"lb7").unwrap();
    damaged[place] = b'x';
    assert!(stage(&places, &damaged).unwrap_err().contains("is damaged"));
    assert!(stage(&places, &whole).is_ok());
}

#[test]
fn links_and_folders_of_an_archive_are_refused() {
    for kind in [
        tar::EntryType::Symlink,
        tar::EntryType::Link,
        tar::EntryType::Directory,
    ] {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_entry_type(kind);
        header.set_link_name("/etc/shadow").unwrap();
        header.set_path("manifest").unwrap();
        header.set_cksum();
        builder.append(&header, &[][..]).unwrap();
        let error = check(&builder.into_inner().unwrap()).unwrap_err();
        assert!(error.contains("no file"), "{error}");
    }
}

#[test]
fn a_reset_leaves_nothing_but_what_happened() {
    let folder = Folder::new("backup-reset");
    let places = full(&folder);
    secret::set(&places, "correct horse").ok();
    fs::create_dir_all(places.shared().join("events")).unwrap();
    fs::write(places.shared().join("events/1"), "x").unwrap();
    stage_reset(&places).unwrap();
    assert!(places.config().exists());
    let events = at_boot(&places, Slot::A);
    assert_eq!((events.len(), events[0].code), (1, "factory-reset"));
    assert!(!places.config().exists());
    let left = fs::read_dir(places.shared()).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["events"]);
    assert_eq!(at_boot(&places, Slot::A), []);
}
