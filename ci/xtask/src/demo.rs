//! The demo: real clients, Weir, two nginx servers, 1,000 pages, a SYN flood, and the books.

mod flood;

use std::io::{IsTerminal as _, stdin, stdout};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use weir_lab::lab::{VIP, client_address, lip, real_address};
use weir_lab::server::{self, Nginx};
use weir_lab::{Lab, Topology, WeirConf, WeirProcess, machine};

use crate::{Weir, again_as_root, explore, prepare};

const PAGES: u64 = 1000;

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How long the SYN flood lasts, in seconds.
    #[arg(long, default_value_t = 30)]
    flood_seconds: u16,
    /// Watch the flood in Weir's console; the demo goes on when you leave it with q.
    #[arg(long)]
    console: bool,
    /// Leave everything running until Enter is pressed.
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    weir: Weir,
}

impl Demo {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        if self.console && !(stdin().is_terminal() && stdout().is_terminal()) {
            bail!("--console needs a terminal; this is none");
        }
        let program = self.weir.get()?;
        if !machine::is_root() {
            let mut words = vec!["demo".to_owned(), "--weir".to_owned()];
            words.push(program.display().to_string());
            words.extend(["--flood-seconds".to_owned(), self.flood_seconds.to_string()]);
            words.extend(self.console.then(|| "--console".to_owned()));
            words.extend(self.keep.then(|| "--keep".to_owned()));
            return again_as_root(&words);
        }
        let _janitor = prepare()?;
        let started = Instant::now();
        println!("{}", picture());
        let lab = Lab::new(Topology::default())?;
        lab.expect_floods()?;
        let _nginx = Nginx::start_all(&lab)?;
        let _echo = server::tcp_echo(&lab, 0)?;
        let mut conf = WeirConf::new("auto", 1, lab.dir());
        conf.services
            .retain(|service| ["web", "echo"].contains(&service.name.as_str()));
        flood::protect(&mut conf);
        let weir = WeirProcess::start(&lab, &program, &conf)?;
        println!("Weir runs with `driver = auto`. It says:");
        for line in weir.driver_lines() {
            println!("  {line}");
        }
        let report = lab.http_get(lab.pages(80, "/page", PAGES))?;
        println!(
            "\n{} of {PAGES} pages fetched through {VIP} in {:.2} s, the slowest in {:.1} ms:",
            report.ok, report.seconds, report.slowest_ms
        );
        for (server, pages) in &report.servers {
            println!("  {pages:4} from {server}");
        }
        for (kind, times) in &report.failures {
            println!("  {times:4} failed: {kind}");
        }
        for what in ["services", "pools", "sessions", "ports", "ledger"] {
            println!("\n$ weir show {what}");
            print_table(&weir.show_table(what)?);
        }
        let console = self.console.then_some(program.as_path());
        let survived = flood::act(&lab, &weir, self.flood_seconds, console);
        let ledger = weir.ledger();
        if self.keep {
            explore::wait(&lab, &conf.socket, &program)?;
        }
        weir.stop()?;
        drop(lab);
        if report.ok != PAGES {
            bail!("{} of {PAGES} requests failed", PAGES - report.ok);
        }
        survived?;
        println!(
            "\nAll {PAGES} pages arrived and the ledger balances ({}). Cleaned up after {:.1} s.",
            ledger?,
            started.elapsed().as_secs_f64()
        );
        Ok(ExitCode::SUCCESS)
    }
}

/// Prints a table, the beginning only when it is very long.
fn print_table(table: &str) {
    const SHOWN: usize = 30;
    let lines: Vec<&str> = table.trim_end().lines().collect();
    let shown = if lines.len() > SHOWN { 10 } else { lines.len() };
    for line in lines.iter().take(shown) {
        println!("  {line}");
    }
    if lines.len() > shown {
        println!("  ... and {} more lines", lines.len() - shown);
    }
}

fn picture() -> String {
    let (first, last) = (client_address(0).to_string(), client_address(7).to_string());
    let (one, two) = (real_address(0).to_string(), real_address(1).to_string());
    let (vip, lip) = (format!("{VIP}:80"), lip(0).to_string());
    format!(
        "\n  clients            Weir                                 real servers\n  \
         {first:<16}   .------------------------.    .---> {one} nginx\n  \
         ...        ------->| VIP {vip:<18} |----+\n  \
         {last:<16}   | LIP {lip:<18} |    '---> {two} nginx\n  \
         {:<16}   '------------------------'\n",
        ""
    )
}
