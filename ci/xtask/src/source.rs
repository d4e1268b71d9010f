//! The source with all its crates in one file, for those who build without a network: Buildroot.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use weir_lab::command::run;

use crate::build::{cargo, root};

/// The folder with the crates; Buildroot knows by its name that nothing is to be fetched.
const CRATES: &str = "VENDOR";

/// Makes `dist/weir-VERSION-source.tar.gz` of what is committed: the same bytes for the same commit.
pub(crate) fn archive() -> Result<()> {
    let name = format!("weir-{}", env!("CARGO_PKG_VERSION"));
    let dist = root().join("dist");
    let folder = dist.join(&name);
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    unpack_commit(&folder)?;
    let settings = run(cargo("vendor --locked").arg(CRATES).current_dir(&folder))?;
    if !settings.contains("[source.") {
        bail!("cargo vendor does not say where its crates are to be found");
    }
    let cargo_folder = folder.join(".cargo");
    fs::create_dir_all(&cargo_folder).context("cannot make .cargo")?;
    // What is there already, the alias `xtask`, stays.
    let place = cargo_folder.join("config.toml");
    let mut text = fs::read_to_string(&place).unwrap_or_default();
    text.push('\n');
    text.push_str(&settings);
    fs::write(&place, text).with_context(|| format!("cannot write {}", place.display()))?;
    let time = run(git().args(["log", "-1", "--format=@%ct"]))?;
    let archive = dist.join(format!("{name}-source.tar.gz"));
    let mut pack = Command::new("tar");
    pack.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .args(["--mode=u+rwX,go+rX,go-w", "--use-compress-program=gzip -9n"])
        .arg(format!("--mtime={}", time.trim()))
        .arg("-cf")
        .arg(&archive)
        .arg("-C")
        .arg(&dist)
        .arg(&name);
    run(&mut pack)?;
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    let size = fs::metadata(&archive).context("there is no archive")?.len();
    println!("dist/{name}-source.tar.gz, {} MB", size / 1_000_000);
    Ok(())
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(root());
    git
}

fn unpack_commit(folder: &Path) -> Result<()> {
    let mut commit = git()
        .args(["archive", "--format=tar", "HEAD"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run git")?;
    let stream = commit.stdout.take().context("git writes nowhere")?;
    let unpacked = Command::new("tar")
        .arg("-xC")
        .arg(folder)
        .stdin(Stdio::from(stream))
        .status()
        .context("cannot run tar")?;
    if !unpacked.success() {
        bail!("tar cannot unpack what is committed: {unpacked}");
    }
    if !commit.wait().context("cannot wait for git")?.success() {
        bail!("git archive failed: is this a clone?");
    }
    Ok(())
}
