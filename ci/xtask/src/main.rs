//! The one door: demo, test, ci, dist, bench.

mod bench;
mod build;
mod buildroot;
mod demo;
mod explore;
mod gate;
mod image;
mod picture;
mod qemu;
mod shows;
mod source;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Args, Parser, Subcommand};
use weir_lab::janitor::Janitor;
use weir_lab::scenario::Run;
use weir_lab::{Lab, inside, machine};

/// Everything one does with Weir's source, from one door.
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Shows Weir at work: real clients, two nginx servers, 1,000 pages, a SYN flood, the books.
    Demo(demo::Demo),
    /// Runs everything that must be green: format, lints, tests, docs, lab.
    Test(Test),
    /// Does what CI does: .ci/run.
    Ci,
    /// Floods Weir with SYNs beside real clients, and the kernel's SYNPROXY in the same lab.
    Flood(Flood),
    /// Makes the one static binary dist/weir.
    Dist,
    /// Packs what is committed and all its crates into dist/weir-VERSION-source.tar.gz, for Buildroot.
    Source,
    /// Makes the appliance: a disk that boots, and the file that updates it.
    Image(image::Image),
    /// Measures Weir beside limits in memory, and beside the kernel in the lab.
    Bench(bench::Bench),
    /// Runs the appliance image with a client and two real servers around it; `rss` tests in a
    /// virtual machine what the lab's devices cannot show.
    Qemu(qemu::Qemu),
    /// Lets the appliance image show what it must, in virtual machines: `shows image`.
    Shows(shows::Shows),
    /// Takes the pictures of the console in a flood that the manual shows, or draws them anew.
    Picture(picture::Picture),
    /// Opens the lab to look around in.
    Lab(explore::Explore),
    /// Checks the tree for Buildroot: scripts, symbols, and in a checkout that all of it is taken.
    Buildroot(buildroot::Buildroot),
    /// Installs the programs that the lab and the image need.
    Tools,
    /// Runs the lab's scenarios; `test` does this as its last step.
    #[command(hide = true)]
    Scenarios(Scenarios),
    /// Does one task inside a namespace; the lab calls it.
    #[command(hide = true)]
    Inside {
        /// The task as JSON.
        task: String,
    },
}

#[derive(Debug, Args)]
struct Test {
    /// Take the full figures: longer loads, 200,000 connections.
    #[arg(long)]
    long: bool,
    /// Run only the lab scenarios whose names contain one of these, and no other step.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
    #[command(flatten)]
    weir: Weir,
}

#[derive(Debug, Args)]
struct Flood {
    /// Take the figures of the tests: 10 seconds beside the flood instead of 60.
    #[arg(long)]
    short: bool,
    #[command(flatten)]
    weir: Weir,
}

#[derive(Debug, Args)]
struct Scenarios {
    #[arg(long)]
    long: bool,
    #[arg(long)]
    scenario: Vec<String>,
    #[command(flatten)]
    weir: Weir,
}

/// Which `weir` to run.
#[derive(Debug, Args)]
struct Weir {
    /// Use this binary instead of building one.
    #[arg(long = "weir", value_name = "FILE", env = "WEIR_PROGRAM")]
    program: Option<PathBuf>,
}

impl Weir {
    fn get(&self) -> Result<PathBuf> {
        match &self.program {
            Some(program) => program
                .canonicalize()
                .with_context(|| format!("cannot use {}", program.display())),
            None => build::release(),
        }
    }
}

fn main() -> ExitCode {
    match run(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    match verb {
        Verb::Demo(demo) => demo.run(),
        Verb::Test(test) => test.run(),
        Verb::Ci => ci(),
        Verb::Flood(flood) => flood.run(),
        Verb::Dist => build::dist().map(|()| ExitCode::SUCCESS),
        Verb::Buildroot(buildroot) => buildroot.run(),
        Verb::Source => source::archive().map(|()| ExitCode::SUCCESS),
        Verb::Image(image) => image.run(),
        Verb::Bench(bench) => bench.run(),
        Verb::Qemu(qemu) => qemu.run(),
        Verb::Shows(shows) => shows.run(),
        Verb::Picture(picture) => picture.run(),
        Verb::Lab(explore) => explore.run(),
        Verb::Tools => tools(),
        Verb::Scenarios(scenarios) => scenarios.run(),
        Verb::Inside { task } => inside::run(&task).map(|()| ExitCode::SUCCESS),
    }
}

fn ci() -> Result<ExitCode> {
    let status = Command::new("bash")
        .arg(build::root().join(".ci/run"))
        .status()
        .context("cannot run .ci/run")?;
    Ok(exit_code(status))
}

fn tools() -> Result<ExitCode> {
    if !machine::is_root() {
        return again_as_root(&["tools".to_owned()]);
    }
    machine::install_tools()?;
    weir_qemu::guest::install_tools()?;
    Ok(ExitCode::SUCCESS)
}

impl Flood {
    fn run(self) -> Result<ExitCode> {
        Test {
            long: !self.short,
            scenario: vec!["flood".to_owned()],
            weir: self.weir,
        }
        .run()
    }
}

impl Test {
    fn run(&self) -> Result<ExitCode> {
        let mut tally = gate::Tally::default();
        let programs = if self.scenario.is_empty() {
            // Compilers leave cores idle at the end of each step: this one takes those.
            let programs = thread::scope(|scope| {
                let programs = scope.spawn(|| self.programs());
                gate::build(&mut tally);
                tally.time("release build, what was left of it", |_| programs.join())
            });
            gate::test(&mut tally, self.long);
            programs.unwrap_or_else(|_| Err(anyhow!("it broke off")))
        } else {
            tally.time("release build", |_| self.programs())
        };
        match programs {
            Ok((program, bench)) => {
                if let Some(bench) = bench {
                    gate::run_bench(&mut tally, &bench, self.long);
                }
                tally.add(self.scenarios(program.clone())?);
                if self.scenario.is_empty() {
                    image(&mut tally, &program);
                }
            }
            Err(error) => tally.fail("release build", &error),
        }
        if self.long && self.scenario.is_empty() {
            println!("-- guest");
            tally.time("guest", |tally| match qemu::Qemu::rss().run() {
                Ok(code) if code == ExitCode::SUCCESS => tally.passed += 1,
                Ok(_) => tally.fail("qemu rss", &anyhow::anyhow!("it says so above")),
                Err(error) => tally.fail("qemu rss", &error),
            });
        }
        tally.print();
        Ok(ExitCode::from(u8::from(tally.failed > 0)))
    }

    /// Returns the `weir` to test and, where all steps are wanted, the bench in memory.
    fn programs(&self) -> Result<(PathBuf, Option<PathBuf>)> {
        if !self.scenario.is_empty() {
            return Ok((self.weir.get()?, None));
        }
        if self.weir.program.is_some() {
            return Ok((self.weir.get()?, Some(build::memory_bench()?)));
        }
        let (weir, bench) = build::release_and_memory_bench()?;
        Ok((weir, Some(bench)))
    }

    fn scenarios(&self, program: PathBuf) -> Result<gate::Tally> {
        println!("-- lab");
        if machine::is_root() {
            return in_the_lab(program, self.long, &self.scenario);
        }
        let mut words = vec!["scenarios".to_owned(), "--weir".to_owned()];
        words.push(program.display().to_string());
        words.extend(self.long.then(|| "--long".to_owned()));
        for name in &self.scenario {
            words.extend(["--scenario".to_owned(), name.clone()]);
        }
        gate::listen(machine::as_root()?.args(words))
    }
}

impl Scenarios {
    fn run(&self) -> Result<ExitCode> {
        let tally = in_the_lab(self.weir.get()?, self.long, &self.scenario)?;
        Ok(ExitCode::from(u8::from(tally.failed > 0)))
    }
}

fn in_the_lab(program: PathBuf, long: bool, names: &[String]) -> Result<gate::Tally> {
    let _janitor = prepare()?;
    let outcome = Run::new(program, long).scenarios(names);
    if outcome.times.is_empty() {
        bail!("no scenario is named like {names:?}");
    }
    Ok(outcome.into())
}

/// Lets the appliance image show in short what it must, with this `weir` in it where it is static.
fn image(tally: &mut gate::Tally, weir: &Path) {
    println!("-- image");
    if std::env::consts::ARCH != "x86_64" {
        println!("skipped: the machine that is emulated is an x86-64");
        return;
    }
    let weir = Some(weir).filter(|weir| build::is_static(weir));
    match shows::Shows::short(weir).tally() {
        Ok(image) => tally.add(image),
        Err(error) => tally.fail("image", &error),
    }
}

/// Readies the machine for a lab: tools, left-overs, and one who cleans up after Ctrl-C.
fn prepare() -> Result<Janitor> {
    machine::install_tools()?;
    Lab::sweep()?;
    Janitor::hire()
}

/// Runs this program again as root and passes its exit status on.
fn again_as_root(words: &[String]) -> Result<ExitCode> {
    let status = machine::as_root()?
        .args(words)
        .status()
        .context("cannot run sudo")?;
    Ok(exit_code(status))
}

fn exit_code(status: std::process::ExitStatus) -> ExitCode {
    match status.code().and_then(|code| u8::try_from(code).ok()) {
        Some(code) => ExitCode::from(code),
        None => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn scenario_names_can_be_given_more_than_once() {
        let cli = Cli::parse_from(["xtask", "test", "--scenario", "storm", "--scenario", "kill"]);
        let Verb::Test(test) = cli.verb else {
            panic!("{cli:?}")
        };
        assert_eq!(test.scenario, ["storm", "kill"]);
    }
}
