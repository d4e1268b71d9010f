//! The part in memory: walks through the director beside what the memory allows.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The part's name, for `--only`.
pub(crate) const NAME: &str = "memory";

/// Says whether the part is wanted, and whether any other is.
pub(crate) fn chosen(only: &[String]) -> (bool, bool) {
    let memory = only.is_empty() || only.iter().any(|name| is(name));
    let system = only.is_empty() || !only.iter().all(|name| is(name));
    (memory, system)
}

/// Says whether this part is meant.
pub(crate) fn is(name: &str) -> bool {
    NAME.contains(name)
}

/// Lets `weir-bench` print its table and returns its figures.
pub(crate) fn run(program: &Path, quick: bool, long: bool) -> Result<Value> {
    println!("-- {NAME}: whole walks in memory, beside what the memory allows");
    let json = std::env::temp_dir().join(format!("weir-bench.{}.json", std::process::id()));
    let mut command = Command::new(program);
    command.arg("--json").arg(&json);
    if quick {
        command.arg("--quick");
    }
    if long {
        command.args(["--rounds", "101"]);
    }
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", program.display()))?;
    if !status.success() {
        bail!("{} ended with {status}", program.display());
    }
    let text = fs::read_to_string(&json).context("weir-bench wrote no figures")?;
    fs::remove_file(&json).context("cannot remove the figures of weir-bench")?;
    serde_json::from_str(&text).context("the figures of weir-bench are no JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_chosen_by_their_names() {
        let only = |names: &[&str]| {
            chosen(
                &names
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(only(&[]), (true, true));
        assert_eq!(only(&["mem"]), (true, false));
        assert_eq!(only(&["cookie"]), (false, true));
        assert_eq!(only(&["cookie", "memory"]), (true, true));
    }
}
