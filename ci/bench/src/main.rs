//! Measures the director in memory, beside what the memory allows.

#![expect(
    clippy::indexing_slicing,
    reason = "constant places of arrays; a bench stops where it is wrong"
)]

mod arena;
mod flows;
mod frames;
mod limit;
mod measure;
mod report;
mod rig;
mod stage;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use serde_json::{Value, json};

use crate::measure::{Effort, race};
use crate::report::Row;
use crate::stage::{Runner, Stage, Traffic};

/// Measures Weir's data plane in memory, each walk beside the least that its work could take.
#[derive(Debug, Parser)]
struct Cli {
    /// Numbers of sessions.
    #[arg(long, value_delimiter = ',', value_parser = count, default_value = "1k,64k,1M,10M")]
    sizes: Vec<u32>,
    /// Only walks whose names begin so.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds of each walk and its limit in turn.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Bursts of 64 packets per turn.
    #[arg(long, default_value_t = 1000)]
    bursts: usize,
    /// Write the figures as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let effort = Effort {
        rounds: cli.rounds,
        bursts: cli.bursts,
        warm_up: cli.bursts / 4,
    };
    let mut rows: Vec<Value> = Vec::new();
    report::print_head();
    for &sessions in &cli.sizes {
        let mut stage = Stage::new(sessions)?;
        for traffic in Traffic::ALL {
            let wanted = cli.only.iter().any(|name| traffic.name().starts_with(name));
            if !(wanted || cli.only.is_empty()) {
                continue;
            }
            let runners = [Runner::Weir, Runner::Limit];
            let figures = race(effort, &runners, |runner| stage.burst(traffic, runner))?;
            let [weir, limit] = figures.try_into().ok().context("two runners")?;
            let row = Row {
                name: traffic.name(),
                sessions,
                weir,
                limit,
                bound: traffic.bound(),
            };
            row.print();
            rows.push(row.json());
        }
    }
    if let Some(path) = &cli.json {
        let text = serde_json::to_string_pretty(&json!({ "walks": rows }))?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Reads a number like 64k or 10M.
fn count(text: &str) -> Result<u32, String> {
    let (digits, factor) = match text.strip_suffix('M') {
        Some(digits) => (digits, 1_000_000),
        None => match text.strip_suffix('k') {
            Some(digits) => (digits, 1000),
            None => (text, 1),
        },
    };
    let number = digits.parse::<u32>().ok().filter(|number| *number > 0);
    let number = number.and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| format!("{text} is no number of sessions: write it like 64k or 10M"))
}
