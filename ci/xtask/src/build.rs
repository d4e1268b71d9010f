//! Building the binary, for the lab and for the world.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// Returns the root of the repository.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here)
}

/// Builds a cargo command that runs in the root of the repository.
pub(crate) fn cargo(words: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words.split_whitespace()).current_dir(root());
    command
}

/// Builds `weir` as users get it and returns where it is.
pub(crate) fn release() -> Result<PathBuf> {
    println!("Building weir (release; the first time takes minutes).");
    executable(&mut cargo("build --release --package weir --bin weir"))
}

/// Builds the examples of `netmap-io` that the bench compares with and returns their folder.
pub(crate) fn examples() -> Result<PathBuf> {
    println!("Building the bare reflector and forwarder (release).");
    let mut command =
        cargo("build --release --package netmap-io --example reflect --example forward");
    let built = executable(&mut command)?;
    let folder = built.parent().context("the examples are in no folder")?;
    Ok(folder.to_owned())
}

/// Builds the bench of the director in memory and returns where it is.
pub(crate) fn memory_bench() -> Result<PathBuf> {
    println!("Building weir-bench (release).");
    executable(&mut cargo("build --release --package weir-bench"))
}

/// Builds `weir` and the bench of the director in memory in one go, which links both at a time, and
/// returns where they are. Both are static: that `weir` is the one of `dist`, and of images.
pub(crate) fn release_and_memory_bench() -> Result<(PathBuf, PathBuf)> {
    println!("Building weir and weir-bench (release, static; the first time takes minutes).");
    let programs =
        "build --release --package weir --package weir-bench --bin weir --bin weir-bench";
    let weir = executable(make_static(&mut cargo(programs)))?;
    let folder = weir.parent().context("weir is in no folder")?;
    Ok((folder.join("weir"), folder.join("weir-bench")))
}

/// Has a build make programs that need no library of the machine that they run on.
fn make_static(command: &mut Command) -> &mut Command {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let flags = "-C target-feature=+crt-static";
    command.arg("--target").arg(target).env("RUSTFLAGS", flags)
}

/// Builds the static `weir` of images that tests boot: what users get, linked in a tenth of the time;
/// returns where it is.
pub(crate) fn for_image() -> Result<PathBuf> {
    println!("Building weir for images, static.");
    let mut command = cargo("build --profile image-dev --package weir --bin weir");
    executable(make_static(&mut command))
}

/// Builds a program of `ci/qemu` that is a guest's only one, and so static; returns where it is.
pub(crate) fn guest(name: &str) -> Result<PathBuf> {
    println!("Building {name}, static.");
    let mut command = cargo("build --package weir-qemu --target x86_64-unknown-linux-gnu --bin");
    let flags = "-C target-feature=+crt-static -C strip=symbols";
    executable(command.arg(name).env("RUSTFLAGS", flags))
}

/// Makes `dist/weir`: one static binary, and proves that it is static.
pub(crate) fn dist() -> Result<()> {
    println!("Building weir for {}, static.", std::env::consts::ARCH);
    let mut command = cargo("build --release --package weir --bin weir");
    let built = executable(make_static(&mut command))?;
    let dist = root().join("dist");
    fs::create_dir_all(&dist).context("cannot make dist/")?;
    let weir = dist.join("weir");
    fs::copy(&built, &weir).context("cannot copy the binary to dist/")?;
    let said = ldd(&weir)?;
    if !says_static(&said) {
        bail!("dist/weir is not static; ldd says: {said}");
    }
    let sum = Command::new("sha256sum")
        .arg(&weir)
        .output()
        .context("cannot run sha256sum")?;
    let sum = String::from_utf8_lossy(&sum.stdout);
    let size = fs::metadata(&weir)
        .context("cannot measure dist/weir")?
        .len();
    println!("dist/weir  {size} bytes ({} KiB), {said}", size >> 10);
    println!(
        "sha256     {}",
        sum.split_whitespace().next().unwrap_or_default()
    );
    Ok(())
}

/// Tells whether a program needs no library of the machine that it runs on.
pub(crate) fn is_static(program: &Path) -> bool {
    ldd(program).is_ok_and(|said| says_static(&said))
}

fn ldd(program: &Path) -> Result<String> {
    let said = Command::new("ldd").arg(program).output();
    let said = said.context("cannot run ldd")?;
    let said = String::from_utf8_lossy(&said.stdout) + String::from_utf8_lossy(&said.stderr);
    Ok(said.trim().to_owned())
}

fn says_static(said: &str) -> bool {
    said.contains("statically linked") || said.contains("not a dynamic executable")
}

/// Runs a cargo build and returns the path of the one program that it made.
fn executable(command: &mut Command) -> Result<PathBuf> {
    let output = command
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("the build ended with {}", output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    find_executable(&messages).context("cargo did not say where it put the program")
}

fn find_executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_found_in_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/release/weir\"}\n\
                        {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(
            find_executable(messages),
            Some(PathBuf::from("/t/release/weir"))
        );
        assert_eq!(find_executable("{\"reason\":\"build-finished\"}\n"), None);
    }

    #[test]
    fn a_program_that_needs_libraries_is_not_static() {
        assert!(!is_static(Path::new("/bin/sh")));
        assert!(!is_static(Path::new("/nowhere")));
        assert!(says_static("\tstatically linked"));
    }

    #[test]
    fn root_holds_the_workspace() {
        assert!(root().join("Cargo.lock").is_file());
    }
}
