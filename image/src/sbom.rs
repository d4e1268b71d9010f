//! What is in the image and under which licences: a `CycloneDX` list, and the texts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::Plan;
use crate::files;
use crate::modules::Kernel;
use crate::packages::{Package, Packages};
use crate::run::{output, tool};
use crate::sign::sum_of;

mod complete;

use complete::Origin;

/// Which crates end up in `weir`.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What is said where the texts lie.
const ABOUT: &str = "Weir itself: Apache-2.0 OR MIT.\n\
    debian/NAME   the licences of each Debian package, as Debian states them\n\
    common/NAME   the texts that those refer to as /usr/share/common-licenses\n\
    crates        the licences of the Rust crates in /usr/bin/weir\n\
    weir/NAME     the two licences of Weir itself, and of Rust's own library\n\
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

/// The packages whose programs start the machine, as they are installed where images are built.
const BOOT_LOADER: &[(&str, &[&str])] = &[
    (
        "grub-pc-bin",
        &["the disk's first sector", "partition bios_boot"],
    ),
    (
        "grub-efi-amd64-bin",
        &["partition boot: /EFI/BOOT/BOOTX64.EFI"],
    ),
];

/// What is in the image beside packages and crates.
#[derive(Debug, Clone)]
struct Other {
    kind: &'static str,
    name: String,
    version: String,
    licence: String,
    /// More properties, by name and value.
    properties: Vec<(&'static str, String)>,
}

/// Writes `sbom.json` and the folder `licences` into a root file system that is complete but for them,
/// and refuses one with a file or a crate that the list does not name.
pub(crate) fn write(
    plan: &Plan,
    version: &str,
    packages: &Packages,
    kernel: &Kernel,
    root: &Path,
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
    let program = files::read(&root.join("usr/bin/weir"))?;
    let listed = crates
        .iter()
        .map(|krate| format!("{}-{}", krate.name, krate.version));
    complete::check_crates(&program, &listed.collect())?;

    let share = root.join("usr/share/weir");
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
    for (name, _) in BOOT_LOADER {
        let text = Path::new("/usr/share/doc").join(name).join("copyright");
        files::copy(&text, &licences.join("debian").join(name))?;
    }
    for text in files::list(&packages.tree.join("usr/share/common-licenses"))? {
        // Some are other names of the newest version.
        files::copy(&text, &licences.join("common").join(files::name(&text)))?;
    }
    for name in ["LICENSE-APACHE", "LICENSE-MIT"] {
        files::copy(
            &plan.repository.join(name),
            &licences.join("weir").join(name),
        )?;
    }
    let ours = plan.repository.join("image/licences");
    files::write(&licences.join("crates"), licences_of(&crates, &ours)?)?;
    complete::check_texts(&licences)?;

    let mut others = vec![image_itself(version)];
    others.extend(boot_loader()?);
    others.extend(linked(&program, &root.join("usr/bin/weir"))?);
    let added = added_modules(plan)?;
    let origins = origins(plan, packages, kernel, root, &added)?;
    others.extend(added.into_iter().map(|(other, _)| other));
    let tables = format!("/usr/lib/modules/{}/modules.", kernel.version);
    let tables = ["dep", "alias", "symbols", "builtin"].map(|ending| tables.clone() + ending);
    let mut made = vec![
        "/usr/share/weir/",
        "/usr/lib/weir/modules",
        "/etc/modprobe.d/",
    ];
    made.extend(tables.iter().map(String::as_str));
    let owned = complete::owners(root, &origins, &made, IMAGE)?;

    let list = list(version, &packages.list, &crates, &others, &owned);
    let text = serde_json::to_string_pretty(&list).context("cannot write sbom.json")? + "\n";
    files::write(&share.join("sbom.json"), &text)?;
    files::write(&plan.output.join("sbom.json"), &text)
}

/// The component that files of this repository, and those that the builder makes, belong to.
const IMAGE: &str = "weir-image-files";

fn image_itself(version: &str) -> Other {
    Other {
        kind: "file",
        name: IMAGE.to_owned(),
        version: version.to_owned(),
        licence: "Apache-2.0 OR MIT".to_owned(),
        properties: Vec::new(),
    }
}

/// Asks which boot loader is installed where the image is built.
fn boot_loader() -> Result<Vec<Other>> {
    let of = |(name, places): &(&str, &[&str])| {
        let version = output(tool("dpkg-query").args(["-W", "-f", "${Version}", name]))?;
        let mut properties = vec![("debian:source", "grub2".to_owned())];
        properties.extend(places.iter().map(|&place| ("weir:place", place.to_owned())));
        Ok(Other {
            kind: "application",
            name: (*name).to_owned(),
            version,
            licence: format!("as in licences/debian/{name}"),
            properties,
        })
    };
    BOOT_LOADER.iter().map(of).collect()
}

/// Finds what a static program is linked with beside its crates: Rust's own library and a C library.
fn linked(program: &[u8], path: &Path) -> Result<Vec<Other>> {
    let comment = output(
        tool("readelf")
            .args(["--string-dump", ".comment"])
            .arg(path),
    )?;
    let other = |name: &str, version: &str, licence: &str| Other {
        kind: "library",
        name: name.to_owned(),
        version: version.to_owned(),
        licence: licence.to_owned(),
        properties: vec![("weir:linked-into", "/usr/bin/weir".to_owned())],
    };
    let rust = between(&comment, "rustc version ", " ")
        .with_context(|| format!("{} does not say which Rust made it", path.display()))?;
    let mut all = vec![other("rust-std", rust, "MIT OR Apache-2.0")];
    let said = String::from_utf8_lossy(program);
    if let Some(version) = between(&said, "GNU C Library (Debian GLIBC ", ")") {
        all.push(other("glibc", version, "as in licences/debian/libc6"));
    }
    Ok(all)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

/// Describes modules that were added, each with its file.
fn added_modules(plan: &Plan) -> Result<Vec<(Other, PathBuf)>> {
    let Some(folder) = &plan.modules else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for file in files::list(folder)? {
        let name = files::name(&file);
        let Some(name) = name.strip_suffix(".ko") else {
            continue;
        };
        let field = |field: &str| output(tool("modinfo").args(["-F", field]).arg(&file));
        let other = Other {
            kind: "device-driver",
            name: format!("{name}.ko"),
            version: field("version")?.trim().to_owned(),
            licence: format!("the module says {}", field("license")?.trim()),
            properties: vec![("weir:sha256", sum_of(&file)?)],
        };
        all.push((other, file));
    }
    Ok(all)
}

/// Lists what the files of a root file system may come from.
fn origins(
    plan: &Plan,
    packages: &Packages,
    kernel: &Kernel,
    root: &Path,
    added: &[(Other, PathBuf)],
) -> Result<Vec<Origin>> {
    let origin = |component: &str, files: Vec<PathBuf>| Origin {
        component: component.to_owned(),
        files,
    };
    let mut all = vec![
        origin("weir", vec![root.join("usr/bin/weir")]),
        origin(IMAGE, files::walk(&plan.repository.join("image/rootfs"))?),
    ];
    for (other, file) in added {
        all.push(origin(&other.name, vec![file.clone()]));
    }
    if let Some((of_kernel, others)) = packages.list.split_last() {
        for package in others {
            all.push(origin(&package.name, packages.files_of(package)?));
        }
        let modules = files::walk(&kernel.folder().join("lib/modules"))?;
        all.push(origin(&of_kernel.name, modules));
    }
    Ok(all)
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
fn list(
    version: &str,
    packages: &[Package],
    crates: &BTreeSet<Crate>,
    others: &[Other],
    owned: &BTreeMap<String, Vec<String>>,
) -> Value {
    let property = |name: &str, value: &str| json!({"name": name, "value": value});
    let files_of = |name: &str| -> Vec<Value> {
        let paths = owned.get(name).into_iter().flatten();
        paths.map(|path| property("weir:file", path)).collect()
    };
    let named = |licence: &str| json!([{"license": {"name": licence}}]);
    let mut components: Vec<Value> = packages
        .iter()
        .map(|package| {
            let mut properties = vec![property("debian:source", &package.source)];
            properties.extend(files_of(&package.name));
            json!({
                "type": "application",
                "name": package.name,
                "version": package.version,
                "licenses": named(&format!("as in licences/debian/{}", package.name)),
                "purl": purl(package),
                "properties": properties,
            })
        })
        .collect();
    components.extend(others.iter().map(|other| {
        let own = other.properties.iter();
        let mut properties: Vec<Value> = own.map(|(name, value)| property(name, value)).collect();
        properties.extend(files_of(&other.name));
        json!({
            "type": other.kind,
            "name": other.name,
            "version": other.version,
            "licenses": named(&other.licence),
            "properties": properties,
        })
    }));
    components.extend(crates.iter().map(|krate| {
        let mut component = json!({
            "type": "library",
            "name": krate.name,
            "version": krate.version,
            "licenses": [{"expression": expression(&krate.licence)}],
            "purl": format!("pkg:cargo/{}@{}", krate.name, krate.version),
        });
        let files = files_of(&krate.name);
        if krate.ours
            && !files.is_empty()
            && let Some(component) = component.as_object_mut()
        {
            component.insert("properties".to_owned(), files.into());
        }
        component
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

/// Joins the licences of crates, each text once, with the names of those that bear it. Where a crate
/// comes without one, it is a file of its name in `ours`.
fn licences_of(crates: &BTreeSet<Crate>, ours: &Path) -> Result<String> {
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
        let owned = BTreeMap::from([
            (
                "busybox-static".to_owned(),
                vec!["/usr/bin/busybox".to_owned()],
            ),
            ("weir".to_owned(), vec!["/usr/bin/weir".to_owned()]),
        ]);
        let others = [image_itself("0.1.0+1")];
        let list = list("0.1.0+1", &[package], &crates, &others, &owned).to_string();
        assert!(list.contains("{\"name\":\"weir:file\",\"value\":\"/usr/bin/busybox\"}"));
        assert!(list.contains("{\"name\":\"weir:file\",\"value\":\"/usr/bin/weir\"}"));
        assert!(list.contains("\"name\":\"weir-image-files\""));
        assert!(list.contains("pkg:deb/debian/busybox-static@1%3A1.35.0-4%2Bdeb12u1?arch=amd64"));
        assert!(list.contains("pkg:cargo/libc@1.0.0"));
        assert!(list.contains("\"expression\":\"MIT OR Apache-2.0\""));
    }
}
