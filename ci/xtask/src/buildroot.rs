//! Checks of the `BR2_EXTERNAL` tree: what can be known without building a tool chain.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use weir_lab::command::run;

use crate::build::root;

/// The version of Buildroot that `docs/install.md` names.
const VERSION: &str = "2026.05.1";
const DEFCONFIG: &str = "weir_x86_64_defconfig";

#[derive(Debug, Args)]
pub(crate) struct Buildroot {
    /// A checkout of Buildroot, of the version that docs/install.md names.
    #[arg(long, value_name = "DIR")]
    checkout: Option<PathBuf>,
    /// The configuration of a kernel of that series that has every driver, such as Debian's
    /// /boot/config-6.1.*: what the fragment names must be in it.
    #[arg(long, value_name = "FILE")]
    kernel_config: Option<PathBuf>,
}

impl Buildroot {
    pub(crate) fn run(self) -> Result<ExitCode> {
        scripts()?;
        println!("ok    buildroot: shellcheck finds nothing");
        if let Some(config) = &self.kernel_config {
            let fragment = tree().join("board/weir/linux.fragment");
            let count = known(&fragment, config)?;
            println!("ok    buildroot: the kernel knows all {count} symbols");
        }
        if let Some(checkout) = &self.checkout {
            exact(checkout)?;
            println!("ok    buildroot: {DEFCONFIG} is taken exactly");
            let fragment = tree().join("board/weir/busybox.fragment");
            let config = checkout.join("package/busybox/busybox.config");
            let count = known(&fragment, &config)?;
            println!("ok    buildroot: busybox knows all {count} symbols");
            check_package(checkout)?;
            println!("ok    buildroot: check-package finds nothing");
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn tree() -> PathBuf {
    root().join("buildroot")
}

/// Returns the files of the tree.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let path = entry.context("cannot list the tree")?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn scripts() -> Result<()> {
    let scripts = files(&tree())?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "sh"));
    let mut check = Command::new("shellcheck");
    run(check.args(scripts)).map(drop)
}

/// Has Buildroot take the configuration and give it back: a symbol whose needs are not met would be
/// gone without a word.
fn exact(checkout: &Path) -> Result<()> {
    let makefile = checkout.join("Makefile");
    let text = fs::read_to_string(&makefile)
        .with_context(|| format!("cannot read {}", makefile.display()))?;
    if !text.contains(&format!("export BR2_VERSION := {VERSION}\n")) {
        bail!("{} is not Buildroot {VERSION}", checkout.display());
    }
    let output = root().join("target/buildroot-check");
    let saved = output.join("saved");
    let make = || {
        let mut make = Command::new("make");
        make.arg("-s")
            .arg("-C")
            .arg(checkout)
            .arg(format!("BR2_EXTERNAL={}", tree().display()))
            .arg(format!("O={}", output.display()));
        make
    };
    run(make().arg(DEFCONFIG))?;
    run(make()
        .arg("savedefconfig")
        .arg(format!("BR2_DEFCONFIG={}", saved.display())))?;
    let ours = tree().join("configs").join(DEFCONFIG);
    run(Command::new("diff").arg("-u").arg(ours).arg(saved)).map(drop)
}

fn check_package(checkout: &Path) -> Result<()> {
    let ours = files(&tree())?
        .into_iter()
        .filter(|path| path.extension().is_none_or(|ending| ending != "md"));
    let mut check = Command::new("/usr/bin/python3");
    check
        .arg(checkout.join("utils/check-package"))
        .arg("--br2-external")
        .args(ours);
    run(&mut check).map(drop)
}

/// Counts the symbols of a fragment, all of which a whole configuration has, on or off.
fn known(fragment: &Path, config: &Path) -> Result<usize> {
    let read = |path: &Path| {
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (wanted, config) = (read(fragment)?, read(config)?);
    let wanted = symbols(&wanted);
    let known = symbols(&config);
    let unknown: Vec<_> = wanted.difference(&known).copied().collect();
    if !unknown.is_empty() {
        bail!(
            "{} names what there is not: {}",
            fragment.display(),
            unknown.join(", ")
        );
    }
    Ok(wanted.len())
}

/// Finds the symbols of a configuration, whether they are set or not.
fn symbols(config: &str) -> BTreeSet<&str> {
    config
        .lines()
        .filter_map(|line| {
            let line = line.strip_prefix("# ").unwrap_or(line);
            let end = line.find(['=', ' '])?;
            line.get(..end)
        })
        .filter(|word| word.starts_with("CONFIG_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_found_on_and_off_and_not_in_prose() {
        let config =
            "# Prose: CONFIG_A=y.\nCONFIG_B=y\n# CONFIG_C is not set\nCONFIG_D=\"x y\"\n\n";
        let found: Vec<_> = symbols(config).into_iter().collect();
        assert_eq!(found, ["CONFIG_B", "CONFIG_C", "CONFIG_D"]);
    }

    #[test]
    fn the_version_is_the_one_that_the_documentation_names() {
        let text = fs::read_to_string(root().join("docs/install.md")).unwrap();
        assert!(text.contains(&format!("Buildroot {VERSION}")));
    }

    #[test]
    fn the_package_has_the_version_of_the_workspace() {
        let text = fs::read_to_string(tree().join("package/weir/weir.mk")).unwrap();
        let line = format!("WEIR_VERSION = {}", env!("CARGO_PKG_VERSION"));
        assert!(text.lines().any(|one| one == line), "{line}");
    }
}
