//! Updates made with made-up keys, good ones and those that somebody means harm with.

use std::fs;
use std::io::Cursor;

use minisign::KeyPair;
use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::*;
use crate::grubenv::GrubEnv;
use crate::slots::Entry;
use crate::testing::Folder;

const KERNEL: &[u8] = b"a kernel";
const ASKER: Asker<'static> = Asker {
    by: "alice",
    from: "192.0.2.1",
};

/// A box that runs slot a with version 0.1.0+5, and whoever signs its updates.
struct Home {
    _folder: Folder,
    places: Places,
    keys: PathBuf,
    signer: KeyPair,
}

/// The members of an update file, in their order.
type Members = Vec<(String, Vec<u8>)>;

fn initrd() -> Vec<u8> {
    (0..300_000_u32).map(|n| (n / 7) as u8).collect()
}

fn key() -> KeyPair {
    KeyPair::generate_unencrypted_keypair().unwrap()
}

impl Home {
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let places = Places::under(folder.path());
        let keys = folder.path().join("update-keys");
        for folder in [places.boot.join("grub"), places.shared(), keys.clone()] {
            fs::create_dir_all(folder).unwrap();
        }
        let mut env = GrubEnv::default();
        for (name, value) in [
            ("slot", "a"),
            ("trial", ""),
            ("tried", "0"),
            ("args", "x=1"),
        ] {
            env.set(name, value).unwrap();
        }
        fs::write(places.boot.join("grub/grubenv"), env.to_block().unwrap()).unwrap();
        let signer = key();
        let home = Self {
            _folder: folder,
            places,
            keys,
            signer,
        };
        home.believe("one", &home.signer);
        home
    }

    fn believe(&self, name: &str, pair: &KeyPair) {
        let text = pair.pk.to_box().unwrap().to_string();
        fs::write(self.keys.join(name).with_extension("pub"), text).unwrap();
    }

    fn site(&self) -> Site<'_> {
        Site {
            places: &self.places,
            slot: Slot::A,
            is_trial: false,
            keys: self.keys.clone(),
            version: Version::parse("0.1.0+5").unwrap(),
            links: vec!["wan".to_owned()],
        }
    }

    fn install(&self, members: &Members, older: bool) -> Result<Manifest, String> {
        self.install_bytes(&packed(members), older)
    }

    fn install_bytes(&self, bytes: &[u8], older: bool) -> Result<Manifest, String> {
        install_at(&self.site(), bytes, older, ASKER, &mut |_| {})
    }

    fn env(&self) -> [String; 4] {
        let env = Boot::at(&self.places.boot).environment().unwrap();
        ["slot", "trial", "tried", "args"].map(|name| env.get(name).unwrap().to_owned())
    }

    /// Nothing is switched, and the other slot is empty.
    fn is_untouched(&self) -> bool {
        let files = fs::read_dir(self.places.boot.join("slot-b"));
        self.env() == ["a", "", "0", "x=1"] && files.is_ok_and(|mut files| files.next().is_none())
    }
}

fn manifest(version: &str) -> Manifest {
    Manifest {
        version: Version::parse(version).unwrap(),
        arch: std::env::consts::ARCH.to_owned(),
        config_format: weir_conf::FORMAT,
        files: vec![Entry::of("vmlinuz", KERNEL), Entry::of("initrd", &initrd())],
    }
}

fn signed(signer: &KeyPair, manifest: &str) -> Members {
    let signature = minisign::sign(
        None,
        &signer.sk,
        Cursor::new(manifest.as_bytes()),
        Some("weir"),
        None,
    );
    vec![
        ("manifest".to_owned(), manifest.as_bytes().to_vec()),
        (
            "manifest.minisig".to_owned(),
            signature.unwrap().into_string().into_bytes(),
        ),
        ("vmlinuz".to_owned(), KERNEL.to_vec()),
        ("initrd".to_owned(), initrd()),
    ]
}

fn packed(members: &Members) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive
            .append_data(&mut header, name, bytes.as_slice())
            .unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn a_good_update_is_written_and_tried_next() {
    let home = Home::new("update-good");
    let stale = home.places.slot(Slot::B).join("etc");
    fs::create_dir_all(&stale).unwrap();
    fs::write(stale.join("weir.conf"), "stale").unwrap();
    let made = manifest("0.2.0+1");
    let mut said = Vec::new();
    let members = signed(&home.signer, &made.to_string());
    let bytes = packed(&members);
    let installed = install_at(&home.site(), bytes.as_slice(), false, ASKER, &mut |line| {
        said.push(line);
    });
    assert_eq!(installed.as_ref(), Ok(&made));
    assert!(
        said[0].starts_with("the update is 0.2.0+1 and signed by a key"),
        "{said:?}"
    );
    assert_eq!(home.env(), ["a", "b", "0", "x=1"]);
    let slot = home.places.boot.join("slot-b");
    assert_eq!(fs::read(slot.join("vmlinuz")).unwrap(), KERNEL);
    assert_eq!(fs::read(slot.join("initrd")).unwrap(), initrd());
    assert_eq!(
        slots::manifest_of(&home.places.boot, Slot::B),
        Ok(Some(made))
    );
    assert!(!stale.exists(), "the next system takes over what runs now");
    let journal = Journal::read(&home.places);
    assert_eq!(
        (journal.stage, journal.links.as_slice()),
        (Stage::Written, &["wan".to_owned()][..])
    );
    assert_eq!(journal.line(), "0.2.0+1 in slot b: starts next");
}

#[test]
fn an_older_or_the_same_version_is_taken_only_on_demand() {
    for (version, why) in [
        (
            "0.1.0+5",
            "0.1.0+5 runs already; --older takes it all the same",
        ),
        (
            "0.1.0+4",
            "0.1.0+4 is older than 0.1.0+5, which runs; --older takes it all the same",
        ),
        (
            "0.0.9",
            "0.0.9 is older than 0.1.0+5, which runs; --older takes it all the same",
        ),
    ] {
        let home = Home::new("update-older");
        let members = signed(&home.signer, &manifest(version).to_string());
        assert_eq!(home.install(&members, false), Err(why.to_owned()));
        assert!(!home.places.boot.join("slot-b").exists());
        assert!(home.install(&members, true).is_ok());
    }
}

#[test]
fn whatever_is_not_signed_by_a_known_key_changes_nothing() {
    let home = Home::new("update-unsigned");
    let text = manifest("0.2.0").to_string();
    let good = signed(&home.signer, &text);
    let mut changed = good.clone();
    changed[0].1 = text.replace("0.2.0", "0.3.0").into_bytes();
    let mut nonsense = good.clone();
    nonsense[1].1 = b"trust me".to_vec();
    let mut missing = good.clone();
    missing.remove(1);
    for (members, why) in [
        (
            signed(&key(), &text),
            "signed with a key that this system does not know",
        ),
        (changed, "the update's signature is wrong"),
        (nonsense, "signature is not one of minisign"),
        (missing, "has vmlinuz where manifest.minisig should be"),
    ] {
        let error = home.install(&members, true).unwrap_err();
        assert!(error.contains(why), "{error}");
        assert!(!home.places.boot.join("slot-b").exists());
        assert_eq!(home.env(), ["a", "", "0", "x=1"]);
    }
    fs::remove_file(home.keys.join("one.pub")).unwrap();
    let error = home.install(&good, false).unwrap_err();
    assert!(error.contains("there is no key for updates"), "{error}");
}

#[test]
fn a_key_that_an_image_brings_signs_the_next_one() {
    let home = Home::new("update-rotation");
    let next = key();
    let members = signed(&next, &manifest("0.3.0").to_string());
    assert!(home.install(&members, false).is_err());
    // The image in between, signed with the old key, believes both.
    home.believe("two", &next);
    assert!(home.install(&members, false).is_ok());
    let old = signed(&home.signer, &manifest("0.4.0").to_string());
    assert!(home.install(&old, false).is_ok());
    // The one after that believes the new one only.
    fs::remove_file(home.keys.join("one.pub")).unwrap();
    assert!(home.install(&old, false).is_err());
    assert!(home.install(&members, false).is_ok());
}

#[test]
fn what_is_signed_and_does_not_fit_this_box_is_refused_before_it_is_written() {
    let home = Home::new("update-unfit");
    let text = manifest("0.2.0").to_string();
    let other_arch = text.replace(&format!("arch = {}", std::env::consts::ARCH), "arch = m68k");
    let old_format = text.replace("config-format = 1", "config-format = 0");
    let lines: Vec<&str> = text.lines().take(5).collect();
    let one_file = lines.join("\n");
    for (text, why) in [
        (other_arch, "the update is for m68k, this box is"),
        (old_format, "format 0 at most, this system has format 1"),
        (one_file, "has vmlinuz where vmlinuz and initrd should be"),
        (
            text.replace("format = 1\nv", "format = 2\nv"),
            "has format 2, this system reads 1",
        ),
    ] {
        let error = home
            .install(&signed(&home.signer, &text), true)
            .unwrap_err();
        assert!(error.contains(why), "{error}");
        assert!(!home.places.boot.join("slot-b").exists());
    }
}

#[test]
fn files_that_are_not_what_was_signed_leave_the_other_slot_empty() {
    let home = Home::new("update-files");
    let good = signed(&home.signer, &manifest("0.2.0").to_string());
    let with = |change: &dyn Fn(&mut Members)| {
        let mut members = good.clone();
        change(&mut members);
        members
    };
    for (members, why) in [
        (
            with(&|it| it[2].1 = b"A kernel".to_vec()),
            "vmlinuz is not what the manifest says",
        ),
        (
            with(&|it| it[2].1.push(0)),
            "vmlinuz of the update has 9 bytes, the manifest says 8",
        ),
        (
            with(&|it| it[3].1[299_999] ^= 1),
            "initrd is not what the manifest says",
        ),
        (
            with(&|it| it.swap(2, 3)),
            "has initrd where vmlinuz should be",
        ),
        (with(&|it| it.truncate(3)), "it has no initrd"),
        (
            with(&|it| it.push(("vmlinuz".to_owned(), Vec::new()))),
            "a file that its manifest does not name: vmlinuz",
        ),
        (
            with(&|it| it.insert(2, ("weir\u{1b}.conf".to_owned(), Vec::new()))),
            "has weir\\u{1b}.conf where vmlinuz should be",
        ),
    ] {
        // Something good was there before.
        home.install(&good, true).unwrap();
        let error = home.install(&members, false).unwrap_err();
        assert!(error.contains(why), "{error}");
        assert!(home.is_untouched(), "{why}");
        assert!(
            slots::manifest_of(&home.places.boot, Slot::B)
                .unwrap()
                .is_none()
        );
    }
}

#[test]
fn a_stream_that_ends_anywhere_installs_nothing() {
    let home = Home::new("update-short");
    let whole = packed(&signed(&home.signer, &manifest("0.2.0").to_string()));
    // The two blocks at the end say only that nothing else comes.
    let needed = whole.len() - 1024;
    let mut ends: Vec<usize> = (0..needed).step_by(4801).collect();
    ends.extend([0, 1, 511, 512, 513, needed - 1000]);
    for end in ends {
        let error = home.install_bytes(&whole[..end], false);
        assert!(error.is_err(), "{end} of {needed}");
        assert_eq!(home.env(), ["a", "", "0", "x=1"], "{end}");
        assert_eq!(slots::manifest_of(&home.places.boot, Slot::B), Ok(None));
    }
}

#[test]
fn a_hostile_archive_is_refused_without_reading_more_than_a_little() {
    let home = Home::new("update-hostile");
    let mut link = Header::new_ustar();
    link.set_entry_type(EntryType::Symlink);
    link.set_path("manifest").unwrap();
    link.set_link_name("/etc/passwd").unwrap();
    link.set_size(0);
    link.set_cksum();
    let mut long_name = Header::new_gnu();
    long_name.set_entry_type(EntryType::GNULongName);
    long_name.set_path("manifest").unwrap();
    long_name.set_size(1 << 40);
    long_name.set_cksum();
    let mut huge = Header::new_ustar();
    huge.set_path("manifest").unwrap();
    huge.set_size(1 << 33);
    huge.set_cksum();
    let mut above = Header::new_gnu();
    above.as_mut_bytes()[..11].copy_from_slice(b"../manifest");
    above.set_size(3);
    above.set_cksum();
    for (header, why) in [
        (link, "has manifest where manifest should be"),
        (long_name, "has manifest where manifest should be"),
        (huge, "manifest of the update is longer than 16384 bytes"),
        (above, "has ../manifest where manifest should be"),
    ] {
        // No end: whoever read on would not come back.
        let input = Cursor::new(header.as_bytes().to_vec()).chain(std::io::repeat(b'x'));
        let error = install_at(&home.site(), input, false, ASKER, &mut |_| {}).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let error = home.install_bytes(&[b'x'; 4096], false).unwrap_err();
    assert!(error.contains("this is no update"), "{error}");
}

#[test]
fn the_way_back_is_a_trial_of_the_other_slot_with_its_own_configuration() {
    let home = Home::new("update-back");
    let say = &mut |_| {};
    let error = rollback_at(&home.site(), ASKER, say).unwrap_err();
    assert_eq!(error, "slot b is empty; there is nothing to go back to");
    let made = manifest("0.2.0");
    home.install(&signed(&home.signer, &made.to_string()), false)
        .unwrap();
    let own = home.places.slot(Slot::B).join("etc");
    fs::create_dir_all(&own).unwrap();
    fs::write(own.join("weir.conf"), "its own").unwrap();
    Boot::at(&home.places.boot)
        .change_environment(|env| env.set("trial", ""))
        .unwrap();
    assert_eq!(rollback_at(&home.site(), ASKER, say), Ok(made));
    assert_eq!(home.env(), ["a", "b", "0", "x=1"]);
    assert!(own.join("weir.conf").exists());
    assert!(Journal::read(&home.places).is_rollback);
    fs::write(home.places.boot.join("slot-b/vmlinuz"), "b kernel").unwrap();
    let error = rollback_at(&home.site(), ASKER, say).unwrap_err();
    assert!(
        error.contains("vmlinuz of slot b is not what the manifest says"),
        "{error}"
    );
}

#[test]
fn nothing_is_changed_while_this_slot_is_on_trial() {
    let home = Home::new("update-trial");
    let bytes = packed(&signed(&home.signer, &manifest("0.2.0").to_string()));
    let site = Site {
        is_trial: true,
        ..home.site()
    };
    let error = install_at(&site, bytes.as_slice(), false, ASKER, &mut |_| {}).unwrap_err();
    assert!(error.starts_with("slot a is still on trial"), "{error}");
    assert!(rollback_at(&site, ASKER, &mut |_| {}).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn one_wrong_bit_anywhere_installs_nothing_or_what_was_signed(
        at in any::<proptest::sample::Index>(), bit in 0..8_u8
    ) {
        let home = Home::new("update-bit");
        let made = manifest("0.2.0");
        let mut bytes = packed(&signed(&home.signer, &made.to_string()));
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(installed) = home.install_bytes(&bytes, false) {
            // In what tar fills up with, or says of owners and times.
            prop_assert_eq!(&installed, &made);
            prop_assert_eq!(slots::verify(&home.places.boot, Slot::B, &made), Ok(()));
        } else {
            prop_assert_eq!(home.env(), ["a", "", "0", "x=1"]);
        }
    }
}
