//! The demo's second act: a SYN flood while real clients work.

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use weir_lab::attack::FLOOD_GATEWAY;
use weir_lab::inside::connect::Connect;
use weir_lab::inside::flood::{Burst, Vector};
use weir_lab::lab::{Lab, VIP};
use weir_lab::server::ECHO_PORT;
use weir_lab::{WeirConf, WeirProcess};

use super::print_table;

/// SYNs per second: many for a server, few for the generator, and more than the trigger allows.
const RATE: u32 = 50_000;
/// New connections per second of real clients.
const PER_SECOND: u32 = 200;

/// Puts cookies in front of every service, from 20,000 unanswered SYNs per second on.
pub(super) fn protect(conf: &mut WeirConf) {
    conf.gateway = Some(FLOOD_GATEWAY);
    "[synproxy flood]\nmode            = adaptive\nstay            = 1s\n\n\
                 [health tcp]\ntype            = tcp\n"
        .clone_into(&mut conf.more);
    for service in &mut conf.services {
        service
            .more
            .push_str("\nsynproxy        = flood\nhealth          = tcp\ntimeout-syn-recv = 2s");
    }
}

/// Floods the echo service while clients connect to it, and says what they noticed. Where there is a
/// console, the operator watches in it.
pub(super) fn act(
    lab: &Lab,
    weir: &WeirProcess<'_>,
    seconds: u16,
    console: Option<&Path>,
) -> Result<()> {
    println!(
        "\n{seconds} s of SYN flood from random sources, {RATE} SYN/s, beside {PER_SECOND} new connections per second (shorter: --flood-seconds 10):"
    );
    let ms = u64::from(seconds) * 1000;
    let burst = Burst {
        after_ms: 500,
        rate: RATE,
        ms,
    };
    let flooding = lab.start_flood(lab.flood(ECHO_PORT, &[Vector::Syn], &[burst])?)?;
    let clients = lab.start_connect(Connect {
        target: SocketAddrV4::new(VIP, ECHO_PORT),
        per_second: PER_SECOND,
        ms: ms + 3_000,
        sources: lab.client_addresses(),
    })?;
    if let Some(program) = console {
        watch(program, weir, seconds)?;
    } else {
        std::thread::sleep(std::time::Duration::from_millis(500 + ms / 2));
        println!("\n$ weir show flood      # in the middle of it");
        print_table(&weir.show_table("flood")?);
    }
    let (clients, flood) = (clients.report()?, flooding.report()?);
    std::thread::sleep(std::time::Duration::from_secs(1));
    println!("\n$ weir show flood      # after it");
    print_table(&weir.show_table("flood")?);
    println!();
    for line in weir.log().lines().filter(|line| line.contains("flood-")) {
        println!("  {line}");
    }
    println!(
        "\n  {:.0} SYN/s, {} SYNs in all, {} SYN-ACKs came back\n  \
         {} of {} connections of real clients succeeded ({:.2} %)\n  \
         handshakes: p50 {:.2} ms, p99 {:.2} ms, slowest {:.1} ms\n  \
         {} sessions now, none of them the flood's for longer than 2 s",
        flood.rate(),
        flood.sent,
        flood.syn_acks,
        clients.ok,
        clients.begun,
        clients.success() * 100.0,
        clients.handshake.p50,
        clients.handshake.p99,
        clients.handshake.max,
        weir.sessions()?
    );
    ensure!(
        clients.ok == clients.begun,
        "{} connections of real clients failed: {:?}",
        clients.begun - clients.ok,
        clients.failures
    );
    Ok(())
}

/// Opens the console; whoever leaves it waits for the rest of the flood.
fn watch(program: &Path, weir: &WeirProcess<'_>, seconds: u16) -> Result<()> {
    println!("Weir's console opens: 3 shows the flood, ? the keys, q leaves.");
    std::thread::sleep(std::time::Duration::from_secs(1));
    let status = Command::new(program)
        .arg("console")
        .arg("--socket")
        .arg(weir.socket())
        .status()
        .context("cannot start the console")?;
    ensure!(status.success(), "the console ended with {status}");
    println!("The flood lasts {seconds} s in all; waiting for its end.");
    Ok(())
}
