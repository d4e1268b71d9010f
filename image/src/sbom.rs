//! What is in the image and under which licences: a `CycloneDX` list, and the texts.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::Plan;
use crate::files;
use crate::modules::Kernel;
use crate::packages::Packages;
use crate::run::{output, tool};
use crate::sign::sum_of;

mod complete;
mod crates;
mod linked;
mod list;

use complete::Origin;
use list::Other;

/// What is said where the texts lie.
const ABOUT: &str = "Weir itself: Apache-2.0 OR MIT.\n\
    debian/NAME   the licences of each Debian package, as Debian states them\n\
    common/NAME   the texts that those refer to as /usr/share/common-licenses\n\
    crates        the licences of the Rust crates in /usr/bin/weir\n\
    c-library/NAME  that of the C library in it, where it is not the one of a Debian package here\n\
    weir/NAME     the two licences of Weir itself, and of Rust's own library\n\
    The source of a Debian package of the version in ../sbom.json: `apt-get source NAME=VERSION`, or\n\
    https://snapshot.debian.org/. Nothing was changed in these packages.\n";

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

/// Writes `sbom.json` and the folder `licences` into a root file system that is complete but for them,
/// and refuses one with a file or a crate that the list does not name.
pub(crate) fn write(
    plan: &Plan,
    version: &str,
    packages: &Packages,
    kernel: &Kernel,
    root: &Path,
) -> Result<()> {
    let crates = crates::crates_in(&plan.repository)?;
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
    files::write(
        &licences.join("crates"),
        crates::licences_of(&crates, &ours)?,
    )?;

    let mut others = vec![image_itself(version)];
    others.extend(boot_loader()?);
    let linked = linked::linked(&program, &root.join("usr/bin/weir"))?;
    if linked.iter().any(|library| library.name == linked::MUSL) {
        let name = Path::new(linked::C_LIBRARY).join(linked::MUSL);
        files::copy(&ours.join(&name), &licences.join(&name))?;
    }
    others.extend(linked);
    complete::check_texts(&licences)?;
    complete::check_named(&licences, &others)?;
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

    let list = list::list(version, &packages.list, &crates, &others, &owned);
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
