//! Weir against the kernel's NAT, in the same lab and the same run.

use std::net::SocketAddrV4;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use weir_lab::client::load::Way;
use weir_lab::lab::VIP;
use weir_lab::scenario::DRIVERS;
use weir_lab::server::{self, IPERF_PORT, Nginx};
use weir_lab::{KernelNat, Lab, Offloads, Topology, WeirConf, WeirProcess, machine};

use crate::{Weir, again_as_root, prepare};

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Seconds per figure.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Queues of every interface, and workers.
    #[arg(long, default_value_t = 1)]
    queues: u8,
    #[command(flatten)]
    weir: Weir,
}

/// The figures of one way through the middle.
#[derive(Clone, Copy, Debug)]
struct Row {
    up: f64,
    down: f64,
    keep_alive: f64,
    close: f64,
}

impl Bench {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        let program = self.weir.get()?;
        if !machine::is_root() {
            let Self {
                seconds, queues, ..
            } = self;
            let words = format!("bench --seconds {seconds} --queues {queues} --weir");
            let mut words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
            words.push(program.display().to_string());
            return again_as_root(&words);
        }
        let _janitor = prepare()?;
        let topology = Topology {
            queues: self.queues,
            offloads: Offloads::Off,
            ..Topology::default()
        };
        let lab = Lab::new(topology)?;
        let _nginx = Nginx::start_all(&lab)?;
        let _iperf = server::iperf(&lab, 0)?;
        println!(
            "Offloads of the end points off, {} queue(s), {} s per figure, all on this machine's {} cores.\n",
            self.queues,
            self.seconds,
            std::thread::available_parallelism()?
        );
        println!(
            "{:<18}{:>16}{:>16}{:>16}{:>16}",
            "", "iperf3 up", "iperf3 down", "pages/s kept", "pages/s close"
        );
        println!(
            "{:<18}{:>16}{:>16}{:>16}{:>16}",
            "", "Gbit/s", "Gbit/s", "alive", ""
        );
        let kernel = {
            let _nat = KernelNat::start(&lab)?;
            self.measure(&lab).context("kernel nft NAT")?
        };
        print("kernel nft NAT", kernel, kernel);
        for driver in DRIVERS {
            let conf = WeirConf::new(driver, self.queues, lab.dir());
            let weir = WeirProcess::start(&lab, &program, &conf)?;
            let row = self
                .measure(&lab)
                .with_context(|| format!("weir {driver}"))?;
            print(&format!("weir {driver}"), row, kernel);
            weir.ledger()?;
        }
        println!("\nIn brackets: the share of the kernel's figure. Every ledger balanced.");
        Ok(ExitCode::SUCCESS)
    }

    fn measure(&self, lab: &Lab) -> Result<Row> {
        let target = SocketAddrV4::new(VIP, IPERF_PORT);
        let keep_alive = lab.wrk("/bench", self.seconds, true)?;
        let close = lab.wrk("/bench", self.seconds, false)?;
        ensure!(
            keep_alive.errors == 0,
            "{} errors with keep-alive",
            keep_alive.errors
        );
        ensure!(
            close.errors == 0,
            "{} errors with Connection: close",
            close.errors
        );
        Ok(Row {
            up: lab.iperf(target, Way::Up, self.seconds)?,
            down: lab.iperf(target, Way::Down, self.seconds)?,
            keep_alive: keep_alive.per_second,
            close: close.per_second,
        })
    }
}

fn print(name: &str, row: Row, kernel: Row) {
    let cell =
        |figure: f64, of: f64, digits: usize| format!("{figure:.digits$} ({:.2})", figure / of);
    println!(
        "{name:<18}{:>16}{:>16}{:>16}{:>16}",
        cell(row.up / 1e9, kernel.up / 1e9, 2),
        cell(row.down / 1e9, kernel.down / 1e9, 2),
        cell(row.keep_alive, kernel.keep_alive, 0),
        cell(row.close, kernel.close, 0),
    );
}
