//! Measures the director in memory, beside what the memory allows.

#![expect(
    clippy::indexing_slicing,
    reason = "constant places of arrays; a bench stops where it is wrong"
)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts are far below 2^53, and shares of them positive"
)]

mod arena;
mod churn;
mod connection;
mod cookie;
mod flows;
mod frames;
mod gate;
mod life;
mod limit;
mod measure;
mod memory;
mod report;
mod rig;
mod scaling;
mod stage;
mod stages;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

/// Measures Weir's data plane in memory, each walk beside the least that its work could take.
#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    table: table::Table,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Replaces sessions in a full table without end and tells the longest turn.
    Churn(Churn),
    /// Measures the parts of a cookie, each alone.
    Cookie,
    /// Opens sessions and tells how much memory each takes.
    Memory(Memory),
    /// Counts instructions and allocations per packet and bytes per session, and compares them with
    /// those that were blessed.
    Gate(Gate),
    /// Walks what is to be counted; the gate runs it under callgrind.
    #[command(hide = true)]
    Count {
        /// The name of a walk or a life.
        name: String,
    },
}

#[derive(Debug, Args)]
struct Churn {
    /// How long.
    #[arg(long, default_value_t = 60, conflicts_with = "minutes")]
    seconds: u64,
    /// How long, in minutes.
    #[arg(long)]
    minutes: Option<u64>,
    /// The size of the table.
    #[arg(long, value_parser = table::count, default_value = "1M")]
    sessions: u32,
}

#[derive(Debug, Args)]
struct Memory {
    /// How many sessions.
    #[arg(long, value_parser = table::count, default_value = "10M")]
    sessions: u32,
}

#[derive(Debug, Args)]
struct Gate {
    /// Write what was counted as what is to be kept.
    #[arg(long)]
    bless: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = match &cli.verb {
        None => cli.table.run(),
        Some(Verb::Churn(churn)) => churn.run(),
        Some(Verb::Cookie) => cookie::run().map(|()| ExitCode::SUCCESS),
        Some(Verb::Memory(memory)) => memory.run(),
        Some(Verb::Gate(Gate { bless })) => gate::run(*bless),
        Some(Verb::Count { name }) => gate::count(name),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("weir-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

impl Churn {
    fn run(&self) -> Result<ExitCode> {
        let seconds = self.minutes.map_or(self.seconds, |minutes| minutes * 60);
        let churn = churn::measure(self.sessions, Duration::from_secs(seconds))?;
        println!("{}", report::churn(&churn, self.sessions));
        let held = churn.worst_again < churn::BOUND;
        Ok(verdict(held, "a turn takes longer than it may"))
    }
}

impl Memory {
    fn run(&self) -> Result<ExitCode> {
        let memory = memory::measure(self.sessions)?;
        println!("{}", report::memory(&memory));
        // What every worker has, however many sessions it has, is nothing beside ten million.
        let held = memory.bytes <= memory::BOUND || self.sessions < 10_000_000;
        Ok(verdict(held, "a session takes more memory than it may"))
    }
}

/// Says what is the matter where something is.
fn verdict(held: bool, otherwise: &str) -> ExitCode {
    if !held {
        println!("FAIL  {otherwise}");
    }
    ExitCode::from(u8::from(!held))
}
