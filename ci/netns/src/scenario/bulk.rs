//! Bulk transfers with the offloads of all ends on: super-frames go through af-packet whole, and as
//! packets where something in their way takes no other.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::Run;
use super::client_address::TOA_KIND;
use super::soundness::{both_ways, download, echo, gigabits};
use crate::capture::Capture;
use crate::lab::{CLIENT_LINK, LAN, Lab, REAL_LINK, Topology, WAN};
use crate::server::{self, BigFile, ECHO_PORT, Nginx, Share};
use crate::{KernelNat, Service, WeirConf, WeirProcess};

/// Weir must reach at least this share of the kernel's throughput, on a machine that does nothing
/// else, and beside what CI's machine does.
const WANTED: f64 = 0.5;
const WANTED_IN_COMPANY: f64 = 0.35;
/// Other work on the machine lowers single figures; then both are measured again.
const ROUNDS: u32 = 3;
/// A frame that is longer than this on average cannot be a packet.
const AVERAGE: u64 = 10_000;
/// A service whose connections all begin with a cookie.
const PROXIED: u16 = 2000;

pub(super) fn run(run: &mut Run) -> Result<()> {
    let big = server::big_file()?;
    for queues in [1, 2] {
        let lab = Lab::new(Topology::with_queues(queues))?;
        let _nginx = Nginx::start_all(&lab)?;
        let _echo = server::tcp_echo(&lab, 0)?;
        throughput(run, &lab);
        for (wan, lan) in [
            ("af-packet", "af-packet"),
            ("af-packet", "af-xdp"),
            ("af-xdp", "af-packet"),
        ] {
            if wan == lan || queues == 1 || run.long {
                transfers(run, &lab, (wan, lan), &big)?;
            }
        }
    }
    on_the_wire(run)
}

/// iperf3 both ways against the kernel's NAT.
fn throughput(run: &mut Run, lab: &Lab) {
    let (seconds, program) = (run.figure(1, 10), run.weir.clone());
    let wanted = if run.long { WANTED } else { WANTED_IN_COMPANY };
    let queues = lab.topology().queues;
    run.check(
        &format!("af-packet/{queues}q iperf3 with offloads against the kernel"),
        || compare(lab, &program, seconds, wanted),
    );
}

fn compare(lab: &Lab, program: &Path, seconds: u32, wanted: f64) -> Result<String> {
    let conf = WeirConf::new("af-packet", lab.topology().queues, lab.dir());
    let (mut kernel, mut weir) = (Vec::new(), Vec::new());
    let mut figure = String::new();
    for _ in 0..ROUNDS {
        kernel.push({
            let _nat = KernelNat::start(lab)?;
            both_ways(lab, seconds).context("through the kernel")?
        });
        weir.push({
            let process = WeirProcess::start(lab, program, &conf)?;
            let measured = both_ways(lab, seconds).context("through Weir")?;
            process.ledger()?;
            measured
        });
        let figures = [&kernel, &weir].map(|rows| {
            let up = median(rows.iter().map(|row| row.0));
            (up, median(rows.iter().map(|row| row.1)))
        });
        let [(kernel_up, kernel_down), (weir_up, weir_down)] = figures;
        let (up, down) = (weir_up / kernel_up, weir_down / kernel_down);
        figure = format!(
            "{} up, {up:.2} of the kernel's {}; {} down, {down:.2} of {}",
            gigabits(weir_up),
            gigabits(kernel_up),
            gigabits(weir_down),
            gigabits(kernel_down),
        );
        if up < wanted || down < wanted {
            continue;
        }
        if weir.len() == ROUNDS as usize || wanted < WANTED {
            return Ok(figure);
        }
    }
    bail!("{figure}; wanted {wanted}")
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Every byte, with each driver on either side.
fn transfers(run: &mut Run, lab: &Lab, (wan, lan): (&str, &str), big: &BigFile) -> Result<()> {
    let queues = lab.topology().queues;
    let weir = WeirProcess::start(lab, &run.weir, &conf(lab, wan, lan))?;
    let name = |what: &str| format!("{wan} to {lan}/{queues}q {what}");
    let share = run.figure(Share::Quarter, Share::Whole);
    run.check(&name("a download"), || {
        let (before, spent) = (weir.received(LAN)?, weir.worker_ns()?);
        let said = download(lab, big, share)?;
        let spent = weir.worker_ns()? - spent;
        let after = weir.received(LAN)?;
        let average = share.bytes() / (after.0 - before.0).max(1);
        let whole = lan == "af-packet";
        ensure!(
            whole == (average > AVERAGE),
            "{average} bytes in each frame on average"
        );
        Ok(format!(
            "{said}, {average} bytes in a frame, {} ns of the workers' time per KiB",
            spent / (share.bytes() >> 10)
        ))
    });
    for (what, port, mib) in [
        ("echo", ECHO_PORT, run.figure(64, 256)),
        ("echo behind a cookie", PROXIED, run.figure(32, 64)),
    ] {
        run.check(&name(what), || echo(lab, port, mib << 20));
    }
    run.check(&name("ledger"), || {
        Ok(weir.ledger().with_context(|| weir.log_tail())?.to_string())
    });
    Ok(())
}

fn conf(lab: &Lab, wan: &str, lan: &str) -> WeirConf {
    let mut conf = WeirConf::new(wan, lab.topology().queues, lab.dir());
    conf.lan_driver = Some(lan.to_owned());
    conf.services.push(Service {
        reals: vec![(0, ECHO_PORT)],
        more: "client-address  = toa\nsynproxy        = always".to_owned(),
        ..Service::tcp("proxied", PROXIED, &[])
    });
    conf
}

/// What clients and real servers see where Weir's devices neither cut nor add up: the kernel does it
/// in front of them, and each packet carries what a packet must.
fn on_the_wire(run: &mut Run) -> Result<()> {
    let lab = Lab::new(Topology {
        reals: 1,
        ..Topology::default()
    })?;
    for link in [WAN, LAN] {
        lab.lb.run(&format!("ethtool -K {link} tx off tso off"))?;
    }
    let _echo = server::tcp_echo(&lab, 0)?;
    let weir = WeirProcess::start(&lab, &run.weir, &conf(&lab, "af-packet", "af-packet"))?;
    let at_real = Capture::start(&lab, lab.real(0)?, REAL_LINK, "tcp port 7")?;
    let at_client = Capture::start(&lab, &lab.client, CLIENT_LINK, "tcp")?;
    let before = weir.received(WAN)?;
    for port in [ECHO_PORT, PROXIED] {
        run.check("af-packet: devices without offloads", || {
            echo(&lab, port, 16 << 20)
        });
    }
    std::thread::sleep(std::time::Duration::from_millis(200)); // until the figures are published
    let received = weir.received(WAN)?.0 - before.0;
    for (side, capture) in [("real server", at_real), ("client", at_client)] {
        run.check(&format!("packets at the {side}"), || {
            let captured = capture.stop()?;
            let (judged, longest) = (captured.judge()?, captured.longest());
            ensure!(
                judged.segments > 10_000,
                "only {} segments",
                judged.segments
            );
            ensure!(
                judged.incorrect == 0,
                "{} wrong checksums",
                judged.incorrect
            );
            ensure!(longest <= 1514, "a frame of {longest} bytes");
            if side == "real server" {
                let clients = captured.toa(TOA_KIND).len();
                ensure!(clients == 2, "the TOA names {clients} clients");
            }
            Ok(format!(
                "{} segments, none incorrect; Weir had {received} frames from the client",
                judged.segments
            ))
        });
    }
    run.check("ledger", || Ok(weir.ledger()?.to_string()));
    Ok(())
}
