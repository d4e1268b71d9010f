//! That nothing is in the image which its list does not name: files, crates, and texts of licences.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::list::Other;
use crate::files;
use crate::sign::sha256;

/// Files of one component: where they lie now, by which those in the image are known again.
#[derive(Debug)]
pub(super) struct Origin {
    /// The component's name in the list.
    pub(super) component: String,
    /// Its files, as they were delivered.
    pub(super) files: Vec<PathBuf>,
}

/// Finds whose each file of a root file system is, by its content: component to paths in the image.
/// `made` are paths (folders end with a slash) that the builder writes by itself, for `maker`.
pub(super) fn owners(
    root: &Path,
    origins: &[Origin],
    made: &[&str],
    maker: &str,
) -> Result<BTreeMap<String, Vec<String>>> {
    let mut known: BTreeMap<(u64, String), &str> = BTreeMap::new();
    for origin in origins {
        for file in &origin.files {
            let content = files::read(file)?;
            known
                .entry((content.len() as u64, sha256(&content)))
                .or_insert(&origin.component);
        }
    }
    let mut owned: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files::walk(root)? {
        if file.is_symlink() {
            continue; // it has no content; what it leads to is looked at
        }
        let name = file.strip_prefix(root).unwrap_or(&file);
        let name = format!("/{}", name.display());
        let is_made = |made: &&str| {
            let below = made.ends_with('/') && name.starts_with(*made);
            below || name == **made
        };
        let component = if made.iter().any(is_made) {
            maker
        } else {
            let content = files::read(&file)?;
            let found = known.get(&(content.len() as u64, sha256(&content)));
            found.with_context(|| {
                format!("{name} would be in the image, and no component of the list has it")
            })?
        };
        owned.entry(component.to_owned()).or_default().push(name);
    }
    Ok(owned)
}

/// Finds the crates that a program says it is made of: its messages name `NAME-VERSION/src/..`.
/// Those that came with Rust's own library are not among them.
pub(super) fn crates_in(program: &[u8]) -> BTreeSet<String> {
    let end = b"/src/";
    let mut found = BTreeSet::new();
    for at in 0..program.len() {
        if program.get(at..at + end.len()) != Some(end) {
            continue;
        }
        let before = program.get(..at).unwrap_or_default();
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+".contains(byte);
        let start = before.iter().rposition(|byte| !is_name(byte));
        let start = start.map_or(0, |start| start + 1);
        let name = String::from_utf8_lossy(before.get(start..).unwrap_or_default());
        let above = before.get(..start).unwrap_or_default();
        let version = name.rsplit_once('-').map(|(_, version)| version);
        let is_crate = version.is_some_and(|version| {
            version.split('.').count() >= 3
                && version.starts_with(|first: char| first.is_ascii_digit())
        });
        if is_crate && !above.ends_with(b"/rust/deps/") {
            found.insert(name.into_owned());
        }
    }
    found
}

/// Refuses a program made of crates that the list does not have; `listed` are `NAME-VERSION`.
pub(super) fn check_crates(program: &[u8], listed: &BTreeSet<String>) -> Result<()> {
    let missing: Vec<String> = crates_in(program).difference(listed).cloned().collect();
    if !missing.is_empty() {
        bail!(
            "the program is made of crates that the list does not have: {}; was it built from this \
             source?",
            missing.join(", ")
        );
    }
    Ok(())
}

/// Refuses texts that send the reader to a licence which is not in the folder `common` beside them.
pub(super) fn check_texts(licences: &Path) -> Result<()> {
    for text in files::list(&licences.join("debian"))? {
        let said = String::from_utf8_lossy(&files::read(&text)?).into_owned();
        for rest in said.split("common-licenses/").skip(1) {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "-.".contains(*c))
                .collect();
            let name = name.trim_end_matches(['.', '-']);
            if !licences.join("common").join(name).exists() {
                bail!("{} refers to {name}, which is not there", text.display());
            }
        }
    }
    Ok(())
}

/// Refuses components whose licence is said to be a text that is not there.
pub(super) fn check_named(licences: &Path, others: &[Other]) -> Result<()> {
    for other in others {
        let text = other.licence.strip_prefix("as in licences/");
        if let Some(text) = text.filter(|text| !licences.join(text).is_file()) {
            bail!(
                "the licence of {} is said to be in {text}, which is not there",
                other.name
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("weir-sbom-{name}-{}", std::process::id()));
        files::empty_folder(&folder).unwrap();
        folder
    }

    #[test]
    fn a_file_that_no_component_has_is_refused() {
        let dir = folder("owners");
        files::write(&dir.join("package/sbin/tool"), "tool").unwrap();
        files::write(&dir.join("root/usr/bin/tool"), "tool").unwrap();
        files::write(&dir.join("root/usr/share/weir/version"), "1").unwrap();
        files::link("tool", &dir.join("root/usr/bin/other")).unwrap();
        let origins = [Origin {
            component: "tools".into(),
            files: vec![dir.join("package/sbin/tool")],
        }];
        let made = ["/usr/share/weir/"];
        let look = || owners(&dir.join("root"), &origins, &made, "image");
        let owned = look().unwrap();
        assert_eq!(owned["tools"], ["/usr/bin/tool"]);
        assert_eq!(owned["image"], ["/usr/share/weir/version"]);
        files::write(&dir.join("root/usr/bin/stray"), "stray").unwrap();
        let error = look().unwrap_err().to_string();
        assert!(
            error.starts_with("/usr/bin/stray would be in the image"),
            "{error}"
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_crate_in_the_program_that_the_list_lacks_is_named() {
        let program = b"\0/c/registry/src/index.crates.io-19/anyhow-1.0.104/src/error.rs\
            \0/rust/deps/gimli-0.32.3/src/read.rs\0lib/wire/src/tcp.rs\0/v/zstd-sys-2.0.16+zstd.1.5.7/src/a";
        let names: Vec<String> = crates_in(program).into_iter().collect();
        assert_eq!(names, ["anyhow-1.0.104", "zstd-sys-2.0.16+zstd.1.5.7"]);
        let mut listed = BTreeSet::from(["zstd-sys-2.0.16+zstd.1.5.7".to_owned()]);
        let error = check_crates(program, &listed).unwrap_err().to_string();
        assert!(error.contains("anyhow-1.0.104"), "{error}");
        listed.insert("anyhow-1.0.104".to_owned());
        assert!(check_crates(program, &listed).is_ok());
    }

    #[test]
    fn a_text_that_refers_to_a_licence_which_is_not_there_is_refused() {
        let dir = folder("texts");
        files::write(
            &dir.join("debian/tool"),
            "see /usr/share/common-licenses/GPL-2.\n",
        )
        .unwrap();
        let error = check_texts(&dir).unwrap_err().to_string();
        assert!(
            error.ends_with("refers to GPL-2, which is not there"),
            "{error}"
        );
        files::write(&dir.join("common/GPL-2"), "..").unwrap();
        assert!(check_texts(&dir).is_ok());
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_component_whose_text_is_not_there_is_refused() {
        let dir = folder("named");
        let others = [Other {
            kind: "library",
            name: "musl".into(),
            version: "1".into(),
            licence: "as in licences/c-library/musl".into(),
            properties: Vec::new(),
        }];
        let error = check_named(&dir, &others).unwrap_err().to_string();
        assert_eq!(
            error,
            "the licence of musl is said to be in c-library/musl, which is not there"
        );
        files::write(&dir.join("c-library/musl"), "..").unwrap();
        assert!(check_named(&dir, &others).is_ok());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
