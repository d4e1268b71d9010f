//! What a connection that began with a cookie costs afterwards: CPU time of the worker per byte,
//! against plain FullNAT in the same Weir, interleaved.

use std::net::SocketAddrV4;

use anyhow::{Result, bail, ensure};

use super::Run;
use crate::cores::Cores;
use crate::inside::options::Ability;
use crate::inside::transfer::Bulk;
use crate::lab::{Lab, Offloads, Topology, VIP};
use crate::server::{self, ECHO_PORT};
use crate::{Service, WeirConf, WeirProcess};

const PLAIN: u16 = 1000;
const PROXIED: u16 = 2000;
const ROUNDS: usize = 7;
/// Other work on the machine costs cache lines and turns; then more rounds are measured.
const TRIES: usize = 3;
/// How much more a byte may cost that is translated in sequence numbers, acknowledgements, SACK and
/// timestamps, too.
const ALLOWED: f64 = 1.10;

/// What the client can do and what the real server can: everything, nothing, and one option at one
/// end each.
const MIXES: [(&str, usize, usize); 4] = [
    ("everything at both ends", 7, 7),
    ("nothing at either end", 0, 0),
    ("no timestamps at the real server", 7, 3),
    ("no SACK at the client", 6, 7),
];

pub(super) fn run(run: &mut Run) -> Result<()> {
    if !run.long {
        println!("      with --long only: it takes minutes");
        return Ok(());
    }
    let cores = Cores::of_this_machine();
    let lab = Lab::new(Topology {
        clients: 1,
        reals: 1,
        offloads: Offloads::Off,
        ..Topology::default()
    })?;
    let kept = cores.keep_clear_of_weir()?;
    let _echo = server::tcp_echo(&lab, 0)?;
    drop(kept);
    for (name, client, real) in MIXES {
        for (namespace, n) in [(&lab.client, client), (lab.real(0)?, real)] {
            let ability = Ability::all().get(n).copied().unwrap_or_default();
            for (key, value) in ability.sysctls() {
                namespace.sysctl(key, value)?;
            }
        }
        let weir = WeirProcess::start(&lab, &run.weir, &conf(&lab, cores))?;
        let kept = cores.keep_clear_of_weir()?;
        run.check(&format!("CPU time per byte, {name}"), || {
            compare(&lab, &weir)
        });
        drop(kept);
        run.check("ledger", || Ok(weir.ledger()?.to_string()));
    }
    Ok(())
}

fn conf(lab: &Lab, cores: Cores) -> WeirConf {
    let mut conf = WeirConf::new("af-xdp", 1, lab.dir());
    conf.cpus = cores.weir.to_string();
    conf.control = Some(cores.others);
    "[health tcp]\ntype            = tcp\ninterval        = 200ms\ntimeout         = 100ms\n"
        .clone_into(&mut conf.more);
    let service = |port, mode: &str| Service {
        reals: vec![(0, ECHO_PORT)],
        more: format!("client-address  = none\nsynproxy        = {mode}\nhealth          = tcp"),
        ..Service::tcp(mode, port, &[])
    };
    conf.services = vec![service(PLAIN, "off"), service(PROXIED, "always")];
    conf
}

fn compare(lab: &Lab, weir: &WeirProcess<'_>) -> Result<String> {
    // Learns what the real server can do before anything is measured.
    std::thread::sleep(std::time::Duration::from_secs(1));
    let (mut plain, mut proxied) = (Vec::new(), Vec::new());
    let mut figure = String::new();
    for _ in 0..TRIES {
        for _ in 0..ROUNDS {
            plain.push(cost(lab, weir, PLAIN)?);
            proxied.push(cost(lab, weir, PROXIED)?);
        }
        let (plain, proxied) = (median(&mut plain), median(&mut proxied));
        let ratio = proxied / plain;
        figure = format!("{proxied:.3} ns proxied, {plain:.3} ns plain: {ratio:.3}");
        if ratio <= ALLOWED {
            return Ok(figure);
        }
    }
    bail!("{figure}, {ALLOWED} allowed")
}

/// Returns the worker's nanoseconds per byte of one transfer of 100 MB each way.
#[expect(
    clippy::cast_precision_loss,
    reason = "nanoseconds of seconds and bytes of megabytes are far below 2^52"
)]
fn cost(lab: &Lab, weir: &WeirProcess<'_>, port: u16) -> Result<f64> {
    let bytes = 100_000_000;
    let before = weir.worker_ns()?;
    let report = lab.bulk(Bulk {
        target: SocketAddrV4::new(VIP, port),
        bytes,
    })?;
    let spent = weir.worker_ns()? - before;
    ensure!(
        report.failure.is_none() && report.same == bytes,
        "{report:?}"
    );
    Ok(spent as f64 / (2 * bytes) as f64)
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
