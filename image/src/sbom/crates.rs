//! The Rust crates in `weir`, and the texts of their licences.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::files;
use crate::run::{output, tool};

/// Which crates end up in `weir`.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// One crate in `weir`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: String,
    /// The folder with its source.
    pub(super) folder: String,
    /// Whether it is of this repository.
    pub(super) ours: bool,
}

/// Asks cargo for the crates that `weir` of a repository is linked with.
pub(super) fn crates_in(repository: &Path) -> Result<BTreeSet<Crate>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let metadata = output(
        tool(&cargo)
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(["--filter-platform", TARGET])
            .current_dir(repository),
    )?;
    let metadata = serde_json::from_str(&metadata).context("cargo's words are not JSON")?;
    crates_of(&metadata, "weir")
}

/// Finds the crates that a package is linked with, in what `cargo metadata` prints.
pub(super) fn crates_of(metadata: &Value, program: &str) -> Result<BTreeSet<Crate>> {
    let all = |value: &Value, key: &str| -> Vec<Value> {
        value
            .get(key)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let text = |value: &Value, key: &str| -> String {
        value
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let packages: BTreeMap<String, Value> = all(metadata, "packages")
        .into_iter()
        .map(|package| (text(&package, "id"), package))
        .collect();
    let nodes: BTreeMap<String, Value> = metadata
        .get("resolve")
        .map(|resolve| all(resolve, "nodes"))
        .unwrap_or_default()
        .into_iter()
        .map(|node| (text(&node, "id"), node))
        .collect();
    let root = packages
        .iter()
        .find(|(_, package)| {
            text(package, "name") == program && package.get("source") == Some(&Value::Null)
        })
        .map(|(id, _)| id.clone());
    let mut open: Vec<String> = root.into_iter().collect();
    if open.is_empty() {
        bail!("cargo knows no package {program}");
    }
    let mut seen = BTreeSet::new();
    let mut found = BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id.clone()) {
            continue;
        }
        let package = packages
            .get(&id)
            .with_context(|| format!("cargo does not describe {id}"))?;
        let manifest = text(package, "manifest_path");
        let licence = text(package, "license");
        found.insert(Crate {
            name: text(package, "name"),
            version: text(package, "version"),
            licence: if licence.is_empty() {
                text(package, "license_file")
            } else {
                licence
            },
            folder: manifest.trim_end_matches("/Cargo.toml").to_owned(),
            ours: package.get("source") == Some(&Value::Null),
        });
        for needed in nodes
            .get(&id)
            .map(|node| all(node, "deps"))
            .unwrap_or_default()
        {
            let linked = all(&needed, "dep_kinds")
                .iter()
                .any(|kind| kind.get("kind") == Some(&Value::Null));
            if linked {
                open.push(text(&needed, "pkg"));
            }
        }
    }
    Ok(found)
}

/// Writes a licence as SPDX has it; old crates part alternatives by a slash.
pub(super) fn expression(licence: &str) -> String {
    licence.replace(" / ", " OR ").replace('/', " OR ")
}

/// Joins the licences of crates, each text once, with the names of those that bear it. Where a crate
/// comes without one, it is a file of its name in `ours`.
pub(super) fn licences_of(crates: &BTreeSet<Crate>, ours: &Path) -> Result<String> {
    let mut said = String::from("Rust crates in weir, and their licences\n\n");
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for krate in crates.iter().filter(|krate| !krate.ours) {
        let licence = expression(&krate.licence);
        let line = format!("{} {}: {licence}\n", krate.name, krate.version);
        said.push_str(&line);
        let mut found = files::list(Path::new(&krate.folder))?;
        found.push(ours.join(&krate.name));
        let mut has_text = false;
        for file in found {
            let name = files::name(&file).to_uppercase();
            let named = [
                "LICENSE",
                "LICENCE",
                "COPYING",
                "COPYRIGHT",
                "NOTICE",
                "UNLICENSE",
            ];
            let is_named =
                file.starts_with(ours) || named.iter().any(|start| name.starts_with(start));
            if file.is_file() && is_named {
                has_text = true;
                let text = String::from_utf8_lossy(&files::read(&file)?)
                    .trim()
                    .to_owned();
                texts.entry(text).or_default().push(&krate.name);
            }
        }
        if licence.is_empty() || !has_text {
            bail!(
                "the crate {} comes without the text of its licence ({licence}): put it into {}",
                krate.name,
                ours.join(&krate.name).display()
            );
        }
    }
    for (text, mut names) in texts {
        names.dedup();
        let part = format!("\n{}\n{}\n\n{text}\n", "-".repeat(72), names.join(", "));
        said.push_str(&part);
    }
    Ok(said)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// What `cargo metadata` says of a `weir` that needs libc.
    pub(in crate::sbom) fn metadata() -> Value {
        let package = |name: &str, source: Value| {
            json!({"id": name, "name": name, "version": "1.0.0", "license": "MIT/Apache-2.0",
                   "source": source, "manifest_path": format!("/s/{name}/Cargo.toml")})
        };
        let needs = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        json!({
            "packages": [
                package("weir", Value::Null),
                package("libc", json!("registry")),
                package("cc", json!("registry")),
                package("proptest", json!("registry")),
            ],
            "resolve": {"nodes": [
                {"id": "weir", "deps": [needs("libc", Value::Null), needs("proptest", json!("dev"))]},
                {"id": "libc", "deps": [needs("cc", json!("build"))]},
            ]},
        })
    }

    #[test]
    fn only_crates_that_are_linked_are_listed() {
        let crates = crates_of(&metadata(), "weir").unwrap();
        let names: Vec<&str> = crates.iter().map(|krate| krate.name.as_str()).collect();
        assert_eq!(names, ["libc", "weir"]);
        assert!(crates_of(&metadata(), "vanished").is_err());
    }

    #[test]
    fn a_crate_without_the_text_of_its_licence_is_refused() {
        let dir = std::env::temp_dir().join(format!("weir-licences-{}", std::process::id()));
        files::empty_folder(&dir.join("crate")).unwrap();
        files::empty_folder(&dir.join("ours")).unwrap();
        let crates = BTreeSet::from([Crate {
            name: "bare".into(),
            version: "1.0.0".into(),
            licence: "ISC".into(),
            folder: dir.join("crate").display().to_string(),
            ours: false,
        }]);
        let error = licences_of(&crates, &dir.join("ours")).unwrap_err();
        assert!(error.to_string().contains("the crate bare comes without"));
        files::write(&dir.join("ours/bare"), "the text").unwrap();
        let said = licences_of(&crates, &dir.join("ours")).unwrap();
        assert!(said.contains("bare 1.0.0: ISC") && said.contains("the text"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
