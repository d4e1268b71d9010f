//! Measures Weir beside the limits of the machine and beside the kernel, in one run.

mod memory;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};
use weir_lab::bench::Length;
use weir_lab::machine;

use crate::{Weir, again_as_root, build, prepare};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// One round of short bursts.
    #[arg(long, conflicts_with = "long")]
    quick: bool,
    /// More rounds.
    #[arg(long)]
    long: bool,
    /// Run only the parts whose names contain one of these.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Measure only those in the middle whose names contain one of these, such as `weir af-xdp`.
    #[arg(long, value_name = "NAME")]
    middle: Vec<String>,
    /// Print each round.
    #[arg(long)]
    verbose: bool,
    /// Put a profile of the load balancer's core at a steady pace into this folder, for each one in
    /// the middle (needs `perf`).
    #[arg(long, value_name = "DIR")]
    perf: Option<PathBuf>,
    /// Where to write the figures as JSON.
    #[arg(long, value_name = "FILE", default_value = "target/bench.json")]
    json: PathBuf,
    /// The folder with the examples `reflect` and `forward` of `netmap-io`; built without.
    #[arg(long, value_name = "DIR", env = "WEIR_EXAMPLES")]
    examples: Option<PathBuf>,
    /// The `weir-bench` to measure in memory with; built without.
    #[arg(long, value_name = "FILE", env = "WEIR_BENCH")]
    memory: Option<PathBuf>,
    #[command(flatten)]
    weir: Weir,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let (in_memory, in_the_lab) = memory::chosen(&self.only);
        let in_memory = match (&self.memory, in_memory) {
            (_, false) => None,
            (Some(program), true) => Some(existing(program)?),
            (None, true) => Some(build::memory_bench()?),
        };
        if !in_the_lab {
            let figures = self.in_memory(in_memory.as_deref())?;
            self.write(&json!({ "memory": figures }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let program = self.weir.get()?;
        let examples = match &self.examples {
            Some(folder) => existing(folder)?,
            None => build::examples()?,
        };
        if !machine::is_root() {
            return again_as_root(&self.words(&program, &examples, in_memory.as_deref()));
        }
        let figures = self.in_memory(in_memory.as_deref())?;
        let _janitor = prepare()?;
        let length = match (self.quick, self.long) {
            (true, _) => Length::Quick,
            (_, true) => Length::Long,
            _ => Length::Full,
        };
        let mut bench = weir_lab::bench::Bench::new(program, examples, length);
        bench.middles.clone_from(&self.middle);
        bench.talks = self.verbose;
        bench.perf.clone_from(&self.perf);
        let parts = self.only.iter().filter(|name| !memory::is(name));
        let parts: Vec<String> = parts.cloned().collect();
        let outcome = bench.run(&parts);
        let mut table = serde_json::to_value(&bench.table).context("cannot write the table")?;
        if let Some(all) = table.as_object_mut() {
            all.insert(memory::NAME.to_owned(), figures);
        }
        self.write(&table)?;
        let (held, missed) = bench.table.verdicts();
        println!(
            "{held} targets hold, {missed} do not; {}",
            self.json.display()
        );
        outcome?;
        Ok(ExitCode::SUCCESS)
    }

    /// Measures in memory, where that is wanted.
    fn in_memory(&self, program: Option<&Path>) -> Result<Value> {
        program.map_or(Ok(Value::Null), |program| {
            memory::run(program, self.quick, self.long)
        })
    }

    fn write(&self, figures: &Value) -> Result<()> {
        let text = serde_json::to_string_pretty(figures).context("cannot write the figures")?;
        if let Some(folder) = self.json.parent() {
            fs::create_dir_all(folder).context("cannot make the folder for the figures")?;
        }
        fs::write(&self.json, text).with_context(|| format!("cannot write {}", self.json.display()))
    }

    /// Says the same again, for sudo.
    fn words(&self, program: &Path, examples: &Path, in_memory: Option<&Path>) -> Vec<String> {
        let mut words = vec!["bench".to_owned()];
        let flags = [
            ("--quick", self.quick),
            ("--long", self.long),
            ("--verbose", self.verbose),
        ];
        words.extend(
            flags
                .iter()
                .filter(|(_, on)| *on)
                .map(|(flag, _)| (*flag).to_owned()),
        );
        let named = [("--only", &self.only), ("--middle", &self.middle)];
        for (option, values) in named {
            for value in values {
                words.extend([option.to_owned(), value.clone()]);
            }
        }
        let paths = [
            ("--weir", program),
            ("--examples", examples),
            ("--json", &self.json),
        ];
        let perf = self
            .perf
            .as_ref()
            .map(|folder| ("--perf", folder.as_path()));
        let in_memory = in_memory.map(|program| ("--memory", program));
        for (option, path) in paths.into_iter().chain(perf).chain(in_memory) {
            words.extend([option.to_owned(), path.display().to_string()]);
        }
        words
    }
}

fn existing(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("cannot use {}", path.display()))
}
