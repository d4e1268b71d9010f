//! What is in the image and under which licences: a `CycloneDX` list, and the texts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::Plan;
use crate::files;
use crate::modules::Kernel;
use crate::packages::{Package, Packages};
use crate::run::{output, tool};

/// Which crates end up in `weir`.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What is said where the texts lie.
const ABOUT: &str = "Weir itself: Apache-2.0 OR MIT.\n\
    debian/NAME   the licences of each Debian package, as Debian states them\n\
    common/NAME   the texts that those refer to as /usr/share/common-licenses\n\
    crates        the licences of the Rust crates in /usr/bin/weir\n\
    The source of a Debian package of the version in ../sbom.json: `apt-get source NAME=VERSION`, or\n\
    https://snapshot.debian.org/. Nothing was changed in these packages.\n";

/// One crate in `weir`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Crate {
    name: String,
    version: String,
    licence: String,
    /// The folder with its source.
    folder: String,
    /// Whether it is of this repository.
    ours: bool,
}

/// Writes `sbom.json` and the folder `licences` into `share`.
pub(crate) fn write(
    plan: &Plan,
    version: &str,
    packages: &Packages,
    kernel: &Kernel,
    share: &Path,
) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let metadata = output(
        tool(&cargo)
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(["--filter-platform", TARGET])
            .current_dir(&plan.repository),
    )?;
    let metadata = serde_json::from_str(&metadata).context("cargo's words are not JSON")?;
    let crates = crates_of(&metadata, "weir")?;
    let list = list(version, &packages.list, &crates);
    let text = serde_json::to_string_pretty(&list).context("cannot write sbom.json")? + "\n";
    files::write(&share.join("sbom.json"), &text)?;
    files::write(&plan.output.join("sbom.json"), &text)?;
    let licences = share.join("licences");
    files::write(&licences.join("README"), ABOUT)?;
    for package in &packages.list {
        let name = format!("usr/share/doc/{}/copyright", package.name);
        let text = [packages.tree.join(&name), kernel.folder().join(&name)]
            .into_iter()
            .find(|path| path.exists())
            .with_context(|| format!("the package {} states no licence", package.name))?;
        files::copy(&text, &licences.join("debian").join(&package.name))?;
    }
    for text in files::list(&packages.tree.join("usr/share/common-licenses"))? {
        if !text.is_symlink() {
            files::copy(&text, &licences.join("common").join(files::name(&text)))?;
        }
    }
    files::write(&licences.join("crates"), licences_of(&crates)?)
}

/// Finds the crates that a package is linked with, in what `cargo metadata` prints.
fn crates_of(metadata: &Value, program: &str) -> Result<BTreeSet<Crate>> {
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

/// Makes the list in the format `CycloneDX` 1.5; the same image makes the same list.
fn list(version: &str, packages: &[Package], crates: &BTreeSet<Crate>) -> Value {
    let mut components: Vec<Value> = packages
        .iter()
        .map(|package| {
            json!({
                "type": "application",
                "name": package.name,
                "version": package.version,
                "purl": purl(package),
                "properties": [{"name": "debian:source", "value": package.source}],
            })
        })
        .collect();
    components.extend(crates.iter().map(|krate| {
        json!({
            "type": "library",
            "name": krate.name,
            "version": krate.version,
            "licenses": [{"expression": expression(&krate.licence)}],
            "purl": format!("pkg:cargo/{}@{}", krate.name, krate.version),
        })
    }));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "operating-system", "name": "weir-appliance", "version": version},
        },
        "components": components,
    })
}

fn purl(package: &Package) -> String {
    let version = package.version.replace('+', "%2B").replace(':', "%3A");
    format!(
        "pkg:deb/debian/{}@{version}?arch={}&distro=debian-12",
        package.name.replace('+', "%2B"),
        package.architecture
    )
}

/// Writes a licence as SPDX has it; old crates part alternatives by a slash.
fn expression(licence: &str) -> String {
    licence.replace(" / ", " OR ").replace('/', " OR ")
}

/// Joins the licences of crates, each text once, with the names of those that bear it.
fn licences_of(crates: &BTreeSet<Crate>) -> Result<String> {
    let mut said = String::from("Rust crates in weir, and their licences\n\n");
    let mut texts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for krate in crates.iter().filter(|krate| !krate.ours) {
        let licence = expression(&krate.licence);
        let line = format!("{} {}: {licence}\n", krate.name, krate.version);
        said.push_str(&line);
        for file in files::list(Path::new(&krate.folder))? {
            let name = files::name(&file).to_uppercase();
            let named = [
                "LICENSE",
                "LICENCE",
                "COPYING",
                "COPYRIGHT",
                "NOTICE",
                "UNLICENSE",
            ];
            if file.is_file() && named.iter().any(|start| name.starts_with(start)) {
                let text = String::from_utf8_lossy(&files::read(&file)?)
                    .trim()
                    .to_owned();
                texts.entry(text).or_default().push(&krate.name);
            }
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
mod tests {
    use super::*;

    fn metadata() -> Value {
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
    fn the_list_names_packages_and_crates_by_their_urls() {
        let package = Package {
            name: "busybox-static".into(),
            version: "1:1.35.0-4+deb12u1".into(),
            architecture: "amd64".into(),
            source: "busybox".into(),
            sha256: String::new(),
        };
        let crates = crates_of(&metadata(), "weir").unwrap();
        let list = list("0.1.0+1", &[package], &crates).to_string();
        assert!(list.contains("pkg:deb/debian/busybox-static@1%3A1.35.0-4%2Bdeb12u1?arch=amd64"));
        assert!(list.contains("pkg:cargo/libc@1.0.0"));
        assert!(list.contains("\"expression\":\"MIT OR Apache-2.0\""));
    }
}
