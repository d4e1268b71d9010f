//! Running programs, with a sentence when one fails.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// The time that all files of the image bear: 2026-01-01.
pub(crate) const EPOCH: u32 = 1_767_225_600;

/// Builds a command that finds tools also where a user's `PATH` does not look, and that writes the
/// image's time wherever it writes one.
pub(crate) fn tool(name: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("SOURCE_DATE_EPOCH", EPOCH.to_string())
        .env("E2FSPROGS_FAKE_TIME", EPOCH.to_string())
        .env("E2FSCK_TIME", EPOCH.to_string())
        .stdin(Stdio::null());
    command
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = Path::new(command.get_program()).display().to_string();
    let output = command
        .output()
        .with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let more = String::from_utf8_lossy(&output.stdout);
        bail!(
            "{name} ended with {}: {}",
            output.status,
            last_lines(if said.trim().is_empty() { &more } else { &said })
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

fn last_lines(said: &str) -> String {
    let lines: Vec<&str> = said.trim().lines().collect();
    let from = lines.len().saturating_sub(6);
    lines.get(from..).unwrap_or_default().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_fails_is_quoted() {
        let error = run(tool("sh").args(["-c", "echo no room >&2; exit 3"])).unwrap_err();
        let said = format!("{error:#}");
        assert!(
            said.contains("sh ended with") && said.contains("no room"),
            "{said}"
        );
        let error = run(&mut tool("weir-no-such-tool")).unwrap_err();
        assert!(format!("{error:#}").contains("cannot run weir-no-such-tool"));
    }
}
