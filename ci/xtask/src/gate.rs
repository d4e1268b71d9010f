//! The steps before the lab: format, lints, tests, documentation.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result, bail};
use weir_lab::scenario::Outcome;
use weir_lab::took;

use crate::build::{cargo, root};

/// The target of the image that Buildroot makes.
const MUSL: &str = "x86_64-unknown-linux-musl";

/// How much passed and failed so far, and what took how long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) times: Vec<(String, Duration)>,
}

impl From<Outcome> for Tally {
    fn from(outcome: Outcome) -> Self {
        Self {
            passed: outcome.passed,
            failed: outcome.failed,
            times: outcome.times,
        }
    }
}

impl Tally {
    /// Adds another tally.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.times.extend(other.times);
    }

    /// Does a part of the work, and keeps and prints how long it took.
    pub(crate) fn time<T>(&mut self, name: &str, part: impl FnOnce(&mut Self) -> T) -> T {
        let begin = Instant::now();
        let result = part(self);
        let time = begin.elapsed();
        println!("{}", took::line(name, time));
        self.times.push((name.to_owned(), time));
        result
    }

    /// Prints what took how long, and what passed and failed.
    pub(crate) fn print(&self) {
        println!("-- times");
        for (name, time) in &self.times {
            println!("{}", took::line(name, *time));
        }
        let all = self.times.iter().map(|(_, time)| *time).sum();
        println!("{}", took::line("all", all));
        println!("{} passed, {} failed", self.passed, self.failed);
    }

    /// Counts one failure and says why.
    pub(crate) fn fail(&mut self, name: &str, why: &Error) {
        self.failed += 1;
        println!("FAIL  {name}: {why:#}");
    }

    fn step(&mut self, name: &str, command: &mut Command) {
        println!("-- {name}");
        self.time(name, |tally| match command.status() {
            Ok(status) if status.success() => {
                tally.passed += 1;
                println!("ok    {name}");
            }
            Ok(status) => tally.fail(name, &anyhow::anyhow!("ended with {status}")),
            Err(error) => tally.fail(name, &error.into()),
        });
    }

    fn tests(&mut self, name: &str, command: &mut Command) {
        println!("-- {name}");
        self.time(name, |tally| match suite(command) {
            Ok(one) => {
                let verdict = if one.failed == 0 { "ok   " } else { "FAIL " };
                println!(
                    "{verdict} {name}: {} passed, {} failed",
                    one.passed, one.failed
                );
                tally.add(one);
            }
            Err(error) => tally.fail(name, &error),
        });
    }
}

/// Runs the steps that keep compilers busy; each prints one line with its verdict.
pub(crate) fn build(tally: &mut Tally) {
    tally.step("format", &mut cargo("fmt --all --check"));
    tally.step(
        "lints",
        &mut cargo("clippy --quiet --workspace --all-targets -- -D warnings"),
    );
    if root().join("deny.toml").is_file() && answers("deny --version") {
        tally.step(
            "licences and bans",
            &mut cargo("deny --log-level error check bans licenses sources"),
        );
    }
    if has_target(MUSL) {
        let check = format!("check --quiet --workspace --target {MUSL}");
        tally.step("musl", cargo(&check).env("RUSTFLAGS", "-D warnings"));
    } else {
        println!("skip  musl: this tool chain has no {MUSL}");
    }
    tally.step("test build", &mut tests(true));
    tally.step(
        "documentation",
        cargo("doc --quiet --workspace --no-deps").env("RUSTDOCFLAGS", "-D warnings"),
    );
}

/// Runs the tests, which may measure time; `long` takes those that only measure, too.
pub(crate) fn test(tally: &mut Tally, long: bool) {
    tally.tests("tests", &mut tests(false));
    tally.tests(
        "documentation tests",
        &mut cargo("test --quiet --workspace --doc"),
    );
    // Every number there is, which debug assertions would make a matter of an hour.
    tally.tests(
        "all acknowledgement numbers",
        &mut cargo("test --quiet --release --package synproxy-engine --test exhaustive"),
    );
    if long {
        tally.tests(
            "packets beside a flood of events",
            &mut cargo("test --quiet --release --package weir --bin weir beside:: -- --nocapture"),
        );
    }
}

/// Returns what runs the tests, or only builds them.
fn tests(only_build: bool) -> Command {
    let what = "--workspace --lib --bins --tests";
    let runner = if answers("nextest --version") {
        "nextest run --cargo-quiet"
    } else {
        "test --quiet"
    };
    let how = match (only_build, runner.starts_with("nextest")) {
        (true, _) => "--no-run",
        (false, true) => "--no-fail-fast --status-level fail --final-status-level fail",
        (false, false) => "--no-fail-fast",
    };
    cargo(&format!("{runner} {what} {how}"))
}

/// Runs what the bench in memory holds Weir against, one line with its verdict for each.
pub(crate) fn run_bench(tally: &mut Tally, bench: &Path, long: bool) {
    let mut bench = |name, words: &[&str]| tally.step(name, Command::new(bench).args(words));
    bench("instructions, allocations and bytes", &["gate"]);
    bench("10 million sessions", &["memory"]);
    bench(
        "churn",
        &["churn", "--seconds", if long { "60" } else { "25" }],
    );
}

/// Runs a program that prints `ok`, `FAIL` and `time` lines, passes them on and counts them.
pub(crate) fn listen(command: &mut Command) -> Result<Tally> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run sudo")?;
    let mut tally = Tally::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("cannot read the lab's lines")?;
            tally.passed += u64::from(line.starts_with("ok "));
            tally.failed += u64::from(line.starts_with("FAIL "));
            tally.times.extend(took::read(&line));
            println!("{line}");
        }
    }
    let status = child.wait().context("cannot wait for the lab")?;
    if !status.success() && tally.failed == 0 {
        bail!("the lab ended with {status}");
    }
    Ok(tally)
}

/// Tells whether the tool chain has the standard library of a target.
fn has_target(target: &str) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output();
    output.is_ok_and(|output| {
        let path = String::from_utf8_lossy(&output.stdout);
        output.status.success() && Path::new(path.trim()).is_dir()
    })
}

fn answers(words: &str) -> bool {
    let status = cargo(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

/// Runs a test suite, passes its output on and reads its summaries.
fn suite(command: &mut Command) -> Result<Tally> {
    // nextest and cargo report on standard error, libtest on standard output.
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo")?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (out, err) = std::thread::scope(|scope| {
        let out = scope.spawn(|| stdout.map(pass_on).unwrap_or_default());
        let err = stderr.map(pass_on).unwrap_or_default();
        (out.join().unwrap_or_default(), err)
    });
    let mut tally = out;
    tally.add(err);
    let status = child.wait().context("cannot wait for cargo")?;
    if !status.success() && tally.failed == 0 {
        bail!("ended with {status}");
    }
    Ok(tally)
}

fn pass_on(pipe: impl std::io::Read) -> Tally {
    let mut tally = Tally::default();
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        if let Some(one) = summary(&line) {
            tally.add(one);
        } else if !line.trim().is_empty() && !line.starts_with("running ") {
            println!("      {line}");
        }
    }
    tally
}

/// Reads the summary line of libtest or nextest.
fn summary(line: &str) -> Option<Tally> {
    // That of a single test, which nextest quotes when it fails, is indented.
    let is_summary =
        line.starts_with("test result: ") || line.trim_start().starts_with("Summary [");
    if !is_summary {
        return None;
    }
    let count = |what: &str| {
        let before = line
            .split(what)
            .next()
            .filter(|before| before.len() < line.len())?;
        before
            .split(|c: char| !c.is_ascii_digit())
            .rfind(|n| !n.is_empty())?
            .parse::<u64>()
            .ok()
    };
    Some(Tally {
        passed: count(" passed").unwrap_or_default(),
        failed: count(" failed").unwrap_or_default() + count(" timed out").unwrap_or_default(),
        times: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_both_runners_are_read() {
        let libtest = "test result: FAILED. 41 passed; 2 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
        assert_eq!(
            summary(libtest),
            Some(Tally {
                passed: 41,
                failed: 2,
                times: Vec::new()
            })
        );
        let nextest =
            "     Summary [   2.013s] 123 tests run: 120 passed (1 slow), 3 failed, 4 skipped";
        assert_eq!(
            summary(nextest),
            Some(Tally {
                passed: 120,
                failed: 3,
                times: Vec::new()
            })
        );
        assert!(summary(&format!("          {libtest}")).is_none(), "quoted");
        let clean = "     Summary [   2.013s] 123 tests run: 123 passed, 0 skipped";
        assert_eq!(
            summary(clean),
            Some(Tally {
                passed: 123,
                failed: 0,
                times: Vec::new()
            })
        );
        assert_eq!(summary("running 3 tests"), None);
    }

    #[test]
    fn lines_of_the_lab_are_counted() {
        let mut command = Command::new("printf");
        command.arg(
            "ok    one: 1\\nFAIL  two: 2\\n  -- three\\ntime  2.5 s  three\\nok    four: ok\\n",
        );
        assert_eq!(
            listen(&mut command).unwrap(),
            Tally {
                passed: 2,
                failed: 1,
                times: vec![("three".to_owned(), Duration::from_millis(2_500))]
            }
        );
    }
}
