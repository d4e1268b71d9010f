//! The lab, opened to look around in.

use std::io::{BufRead as _, stdin};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use weir_lab::lab::VIP;
use weir_lab::server::{self, Nginx};
use weir_lab::{KernelNat, Lab, Offloads, Topology, WeirConf, WeirProcess, machine};

use crate::{Weir, again_as_root, prepare};

#[derive(Debug, Args)]
pub(crate) struct Explore {
    /// Queues of every interface, and workers.
    #[arg(long, default_value_t = 1)]
    queues: u8,
    /// The driver of Weir's ports.
    #[arg(long, default_value = "auto")]
    driver: String,
    /// Let the kernel's NAT do Weir's work.
    #[arg(long)]
    kernel_nat: bool,
    /// Let clients and servers send complete checksums and frames of one MTU.
    #[arg(long)]
    no_offloads: bool,
    #[command(flatten)]
    weir: Weir,
}

impl Explore {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        if !machine::is_root() {
            let mut words: Vec<String> = std::env::args().skip(1).collect();
            if self.weir.program.is_none() && !self.kernel_nat {
                words.extend(["--weir".to_owned(), self.weir.get()?.display().to_string()]);
            }
            return again_as_root(&words);
        }
        let _janitor = prepare()?;
        let offloads = if self.no_offloads {
            Offloads::Off
        } else {
            Offloads::Default
        };
        let lab = Lab::new(Topology {
            queues: self.queues,
            offloads,
            ..Topology::default()
        })?;
        server::big_file()?;
        let _nginx = Nginx::start_all(&lab)?;
        let _servers = [
            server::iperf(&lab, 0)?,
            server::udp_echo(&lab, 0)?,
            server::tcp_echo(&lab, 0)?,
            server::tcp_banner(&lab, 0)?,
        ];
        let conf = WeirConf::new(&self.driver, self.queues, lab.dir());
        if self.kernel_nat {
            let _nat = KernelNat::start(&lab)?;
            wait(&lab, &conf.socket, Path::new("weir"))?;
        } else {
            let program = self.weir.get()?;
            let weir = WeirProcess::start(&lab, &program, &conf)?;
            println!("{}", weir.log());
            wait(&lab, &conf.socket, &program)?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Says how to get at the parts of a lab and waits for Enter.
pub(crate) fn wait(lab: &Lab, socket: &Path, program: &Path) -> Result<()> {
    let (client, lb) = (lab.client.name(), lab.lb.name());
    println!("\nThe lab is open. In another terminal, as root:");
    println!("  ip netns exec {client} curl http://{VIP}/");
    println!("  ip netns exec {client} wrk -c 200 -d 10 http://{VIP}/bench");
    println!("  ip netns exec {client} iperf3 -c {VIP}");
    println!(
        "  {} show services --socket {}",
        program.display(),
        socket.display()
    );
    println!("  ip netns exec {lb} tcpdump -ni lan");
    for real in &lab.reals {
        println!("  ip netns exec {} bash", real.name());
    }
    println!(
        "Logs, captures and configurations are in {}.",
        lab.dir().display()
    );
    println!("Press Enter to close it.");
    let mut line = String::new();
    stdin()
        .lock()
        .read_line(&mut line)
        .context("cannot wait for Enter")?;
    Ok(())
}
