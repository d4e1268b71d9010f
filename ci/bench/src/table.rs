//! The one table: walks beside their limits, lives of sessions, two workers, memory.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::connection::Side;
use crate::flows::Transport;
use crate::life::{Lives, Service};
use crate::measure::{Effort, race};
use crate::report::{self, Row};
use crate::stage::{Runner, Stage, Traffic};
use crate::stages::Depth;
use crate::{memory, scaling};

const TWO_WORKERS: &str = "two-workers";
const MEMORY: &str = "memory";
const STAGES: &str = "stages";
const LIFE_STAGES: &str = "stages-of-life";
/// Sessions of which the stages are measured at most: they are in memory three times.
const STAGES_MOST: u32 = 1_000_000;
/// Sessions of each of two workers.
const SCALING_SESSIONS: u32 = 64_000;

/// What is measured, and how long.
#[derive(Debug, Args)]
pub(crate) struct Table {
    /// Numbers of sessions.
    #[arg(long, value_delimiter = ',', value_parser = count, default_value = "1k,64k,1M,10M")]
    sizes: Vec<u32>,
    /// Only lines whose names begin so.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Rounds in each of which a walk and its limit have their turns.
    #[arg(long, default_value_t = 21)]
    rounds: usize,
    /// Bursts of 64 packets in a turn.
    #[arg(long, default_value_t = 1000)]
    bursts: usize,
    /// Small tables and few rounds.
    #[arg(long, conflicts_with_all = ["sizes", "rounds"])]
    quick: bool,
    /// Write the figures as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Table {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let (sizes, rounds): (&[u32], _) = if self.quick {
            (&[1000, 64_000], 7)
        } else {
            (&self.sizes, self.rounds)
        };
        let effort = Effort {
            rounds,
            bursts: self.bursts,
            warm_up: self.bursts / 4,
        };
        let largest = sizes.iter().copied().max().unwrap_or_default();
        // First, for what is freed does not go back to the kernel.
        let memory = if self.wants(MEMORY) {
            Some(memory::measure(largest.max(64_000))?)
        } else {
            None
        };
        let mut walks = Vec::new();
        report::print_head();
        for &sessions in sizes {
            for transport in [Transport::Tcp, Transport::Udp] {
                self.walks(effort, sessions, transport, &mut walks)?;
            }
        }
        let stages = self.stages(effort, sizes)?;
        // The rate that is asked for remembers millions; a million is more than any cache holds.
        let lives = self.lives(effort, largest.clamp(10_000, 1_000_000))?;
        let mut figures = json!({ "walks": walks, "lives": lives, "stages": stages });
        if self.wants(TWO_WORKERS) {
            let scaling = scaling::measure(effort, SCALING_SESSIONS);
            figures["two_workers"] = match scaling {
                Ok(scaling) => report::scaling(&scaling),
                Err(error) => {
                    println!("two workers: not measured: {error:#}");
                    Value::Null
                }
            };
        }
        if let Some(memory) = memory {
            println!("{}", report::memory(&memory));
            figures["memory"] = report::memory_json(&memory);
        }
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(&figures)? + "\n";
            fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(ExitCode::SUCCESS)
    }

    fn walks(
        &self,
        effort: Effort,
        sessions: u32,
        transport: Transport,
        walks: &mut Vec<Value>,
    ) -> Result<()> {
        let wanted =
            |traffic: &Traffic| traffic.transport() == transport && self.wants(traffic.name());
        let wanted: Vec<Traffic> = Traffic::ALL.into_iter().filter(wanted).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let mut stage = Stage::new(sessions, transport)?;
        for traffic in wanted {
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
            walks.push(row.json());
        }
        Ok(())
    }

    /// Measures how the time of an established packet is made up.
    fn stages(&self, effort: Effort, sizes: &[u32]) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        if !self.wants(STAGES) {
            return Ok(values);
        }
        for &sessions in sizes.iter().filter(|sessions| **sessions <= STAGES_MOST) {
            let mut stage = Stage::new(sessions, Transport::Tcp)?;
            let mut parts = stage.parts()?;
            let depths = Depth::ALL.map(|depth| (depth.name(), Some(depth), Runner::Weir));
            let wholes = [
                ("whole walk", None, Runner::Weir),
                ("limit, state", None, Runner::Stateful),
                ("limit", None, Runner::Limit),
            ];
            let runners: Vec<_> = depths.into_iter().chain(wholes).collect();
            let figures = race(effort, &runners, |(_, depth, runner)| match depth {
                Some(depth) => stage.partial(&mut parts, Side::Client, depth),
                None => stage.burst(Traffic::Inbound, runner),
            })?;
            let mut before = 0.0;
            for ((name, _, runner), figure) in runners.iter().zip(&figures) {
                let own = (*runner == Runner::Weir).then(|| figure.median() - before);
                values.push(report::stage(name, sessions, figure, own));
                before = figure.median();
            }
        }
        Ok(values)
    }

    fn lives(&self, effort: Effort, sessions: u32) -> Result<Vec<Value>> {
        let mut values = Vec::new();
        for service in Service::ALL {
            if !self.wants(service.name()) && !self.wants(LIFE_STAGES) {
                continue;
            }
            let mut lives = Lives::new(sessions, service)?;
            if self.wants(LIFE_STAGES) {
                for (name, figure) in lives.stages(effort)? {
                    let name = format!("{} {name}", service.name());
                    values.push(report::stage(&name, sessions, &figure, None));
                }
                if !self.wants(service.name()) {
                    continue;
                }
            }
            let figures = race(effort, &[()], |()| lives.step())?;
            lives.verify()?;
            let figure = figures.first().context("one runner")?;
            // As many packets as steps; what Weir originates is not another one.
            let figure = figure.times(lives.steps() as f64);
            values.push(report::life(
                service.name(),
                sessions,
                lives.steps(),
                &figure,
            ));
        }
        Ok(values)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|start| name.starts_with(start.as_str()))
    }
}

/// Reads a number like 64k or 10M.
pub(crate) fn count(text: &str) -> Result<u32, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_sessions_are_read_as_they_are_written() {
        for (text, number) in [("64k", 64_000), ("10M", 10_000_000), ("7", 7)] {
            assert_eq!(count(text), Ok(number));
            assert_eq!(report::short(number), text);
        }
        for text in ["", "k", "0", "5G", "9999999M"] {
            assert!(count(text).is_err(), "{text}");
        }
    }
}
