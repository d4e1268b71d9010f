//! The gate: what a packet costs in instructions and allocations, and a session in bytes, beside
//! what was blessed. Instructions are counted, not timed, so that a loaded machine counts the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value, json};

use crate::arena::BURST;
use crate::life::{Lives, Service};
use crate::memory;
use crate::stage::{Runner, Stage, Traffic};

/// Sessions while a walk is counted: more would count the same and take longer to open.
const SESSIONS: u32 = 4_000;
/// Sessions while bytes are counted.
const BYTES_SESSIONS: u32 = 1_000_000;
/// Bursts that are counted.
const BURSTS: usize = 100;
/// By how much a figure may differ from what was blessed.
const SLACK: f64 = 0.02;
/// The figure of bytes, beside those of packets.
const BYTES: &str = "bytes-per-session";
const BLESS: &str = "cargo run --release -p weir-bench -- gate --bless";

/// What was counted, by what it is and whose it is: `instructions` of `cookie`.
type Figures = BTreeMap<String, BTreeMap<String, f64>>;

/// What a figure is, compared with what was blessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Judgement {
    Kept,
    Grown,
    Shrunk,
}

/// Counts all and compares it with the baseline, or makes it the baseline.
pub(crate) fn run(bless: bool) -> Result<ExitCode> {
    let rustc = rustc();
    // First, for what is freed does not go back to the kernel.
    let bytes = memory::measure(BYTES_SESSIONS)?.bytes;
    let mut figures = Figures::new();
    let names = Traffic::ALL.map(Traffic::name).into_iter();
    for name in names.chain(Service::ALL.map(Service::name)) {
        let (instructions, allocations) = under_callgrind(name)?;
        for (what, figure) in [("instructions", instructions), ("allocations", allocations)] {
            let of = figures.entry(what.to_owned()).or_default();
            of.insert(name.to_owned(), figure);
        }
    }
    let of = figures.entry("memory".to_owned()).or_default();
    of.insert(BYTES.to_owned(), bytes);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.json");
    if bless {
        let text = serde_json::to_string_pretty(&to_json(&figures, &rustc))? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{} holds what was counted now.", path.display());
    }
    let text = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}; make it with `{BLESS}`", path.display()))?;
    let blessed: Value = serde_json::from_str(&text)
        .with_context(|| format!("{} is not as `{BLESS}` writes it", path.display()))?;
    // Another compiler makes other instructions of the same source.
    let same_compiler = blessed["rustc"] == rustc.as_str();
    if !same_compiler {
        let other = &blessed["rustc"];
        println!(
            "note  blessed with {other} and counted with {rustc:?}: instructions are not judged"
        );
    }
    let mut grown = false;
    for (what, of) in &figures {
        let judged = same_compiler || what != "instructions";
        for (name, figure) in of {
            let before = blessed[what][name].as_f64();
            grown |= tell(what, name, *figure, before, judged) == Judgement::Grown;
        }
    }
    Ok(ExitCode::from(u8::from(grown)))
}

/// Walks what is to be counted and says how many packets, or lives, that were.
pub(crate) fn count(name: &str) -> Result<ExitCode> {
    let traffic = Traffic::ALL
        .into_iter()
        .find(|traffic| traffic.name() == name);
    let service = Service::ALL
        .into_iter()
        .find(|service| service.name() == name);
    let (count, allocations) = match (traffic, service) {
        (Some(traffic), _) => {
            let mut stage = Stage::new(SESSIONS, traffic.transport())?;
            stage.rig.counts = true;
            for _ in 0..BURSTS {
                stage.burst(traffic, Runner::Weir)?;
            }
            (BURSTS * BURST, stage.rig.allocations)
        }
        (None, Some(service)) => {
            let mut lives = Lives::new(SESSIONS, service)?;
            lives.rig.counts = true;
            for _ in 0..BURSTS * lives.steps() {
                lives.step()?;
            }
            lives.verify()?;
            (BURSTS * BURST, lives.rig.allocations)
        }
        (None, None) => bail!("there is no walk named {name}"),
    };
    println!("{}", json!({ "count": count, "allocations": allocations }));
    Ok(ExitCode::SUCCESS)
}

/// Says what became of a figure.
fn tell(what: &str, name: &str, figure: f64, before: Option<f64>, judged: bool) -> Judgement {
    let unit = match what {
        "memory" => "bytes a session",
        _ if name.starts_with("life") => "a session",
        _ => "a packet",
    };
    let what = if what == "memory" { "" } else { what };
    let line = format!("{name}: {figure:.1} {what} {unit}").replace("  ", " ");
    let Some(before) = before else {
        println!("FAIL  {line}, of which nothing was blessed: `{BLESS}`");
        return Judgement::Grown;
    };
    let judgement = judge(figure, before);
    let change = (figure / before - 1.0) * 100.0;
    match judgement {
        _ if !judged => println!("note  {line}, {change:+.1} % of {before:.1}"),
        Judgement::Kept => println!("ok    {line}"),
        Judgement::Grown => println!(
            "FAIL  {line}, which was blessed with {before:.1} ({change:+.1} %): make it cheaper, or let `{BLESS}` accept it and say why in the commit"
        ),
        Judgement::Shrunk => println!(
            "note  {line}, which was blessed with {before:.1} ({change:+.1} %): keep the gain with `{BLESS}`"
        ),
    }
    if judged { judgement } else { Judgement::Kept }
}

fn judge(figure: f64, before: f64) -> Judgement {
    if figure > before * (1.0 + SLACK) {
        Judgement::Grown
    } else if figure < before * (1.0 - SLACK) {
        Judgement::Shrunk
    } else {
        Judgement::Kept
    }
}

/// Returns instructions and allocations per packet, or per life.
fn under_callgrind(name: &str) -> Result<(f64, f64)> {
    let file = temporary(name);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--collect-atstart=no"])
        .arg("--toggle-collect=*::rig::collected*")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe().context("cannot find my own program")?)
        .args(["count", name])
        .output()
        .context("cannot run valgrind; `cargo xtask tools` installs it")?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success(),
        "{name} under callgrind: {}{said}",
        String::from_utf8_lossy(&output.stderr)
    );
    let counted: Value = serde_json::from_str(&said).context("the count says nothing")?;
    let profile = fs::read_to_string(&file).context("callgrind wrote no profile")?;
    fs::remove_file(&file).context("cannot remove the profile")?;
    let instructions = summary(&profile).filter(|instructions| *instructions > 0.0);
    let instructions = instructions.context("callgrind counted nothing")?;
    let count = counted["count"].as_f64().context("no count")?;
    let allocations = counted["allocations"].as_f64().context("no allocations")?;
    Ok((instructions / count, allocations / count))
}

/// Reads the sum of a profile.
fn summary(profile: &str) -> Option<f64> {
    let line = |start| profile.lines().find_map(|line| line.strip_prefix(start));
    let sum = line("summary: ").or_else(|| line("totals: "))?;
    sum.split_whitespace().next()?.parse().ok()
}

fn temporary(name: &str) -> PathBuf {
    let file = format!("weir-bench.{}.{name}", std::process::id());
    std::env::temp_dir().join(file)
}

fn rustc() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    version.unwrap_or_default()
}

fn to_json(figures: &Figures, rustc: &str) -> Value {
    let mut map = Map::new();
    map.insert("rustc".to_owned(), rustc.into());
    for (what, of) in figures {
        let of = of.iter().map(|(name, figure)| {
            // A tenth is far below what is judged.
            (name.clone(), Value::from((figure * 10.0).round() / 10.0))
        });
        map.insert(what.clone(), Value::Object(of.collect()));
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_the_slack_is_judged_and_any_allocation() {
        assert_eq!(judge(101.9, 100.0), Judgement::Kept);
        assert_eq!(judge(102.1, 100.0), Judgement::Grown);
        assert_eq!(judge(97.9, 100.0), Judgement::Shrunk);
        assert_eq!(judge(0.0, 0.0), Judgement::Kept);
        assert_eq!(judge(0.01, 0.0), Judgement::Grown);
    }

    #[test]
    fn what_was_never_blessed_fails_and_what_is_not_judged_does_not() {
        assert_eq!(tell("instructions", "x", 1.0, None, true), Judgement::Grown);
        let other = tell("instructions", "x", 2.0, Some(1.0), false);
        assert_eq!(other, Judgement::Kept);
    }

    #[test]
    fn the_sum_of_a_profile_is_read() {
        assert_eq!(
            summary("version: 1\nsummary: 123456\n\nfn=(1) x\n"),
            Some(123_456.0)
        );
        assert_eq!(summary("totals: 7 8\n"), Some(7.0));
        assert_eq!(summary("nothing"), None);
    }
}
