//! One worker and two, on a veth with two queues: what a packet costs, and what it costs to hand one
//! over to the other worker.
//!
//! On a machine with two cores the generator shares both of them with the workers, so that rates say
//! nothing. What can be shown is what a packet costs then: a veth does not spread flows as a NIC's
//! RSS does, so that half of the packets arrive at the worker that does not have their session.

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Bench;
use super::floods::{self, PACE};
use super::middle::{Job, Middle, Running};
use super::one_core::{Receive, place_each};
use super::table::Series;
use crate::WeirProcess;
use crate::cores;
use crate::inside::flood::{Burst, Flood, Vector};
use crate::lab::{LAN, Lab, WAN};

/// How flows meet queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spread {
    /// One queue and one worker.
    One,
    /// Each flow stays in its queue.
    Steady,
    /// Each flow comes by both queues in turn, so that half of its packets are handed over.
    Mixed,
}

pub(super) fn run(bench: &mut Bench) -> Result<()> {
    let (mut one, mut steady, mut mixed) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..bench.rounds() {
        one.push(measure(bench, &Lab::for_floods(1)?, Spread::One)?);
        let double = Lab::for_floods(2)?;
        steady.push(measure(bench, &double, Spread::Steady)?);
        mixed.push(measure(bench, &double, Spread::Mixed)?);
    }
    let pick = |samples: &[Sample], which: fn(&Sample) -> f64| -> Series {
        samples.iter().map(which).collect()
    };
    let cost = |samples: &[Sample]| pick(samples, |sample| sample.cost);
    let told = |samples: &[Sample]| {
        let share = |which| pick(samples, which).median();
        format!(
            "{:.0} % received by the second, {:.0} % handed over",
            share(|sample| sample.second),
            share(|sample| sample.handed)
        )
    };
    let name = |what: &str| format!("workers: FullNAT, {what}");
    let table = &mut bench.table;
    table.figure(&name("1 worker"), "ns/packet", &cost(&one));
    let pairs = [
        ("a queue for each flow", &steady),
        ("both queues for each flow", &mixed),
    ];
    for (what, samples) in pairs {
        let title = name(&format!("2 workers, {what}"));
        table.add(&title, "ns/packet", &cost(samples), None, &told(samples));
    }
    let ratio = cost(&steady).over(&cost(&one));
    table.figure(&name("2 workers / 1"), "x", &ratio);
    Ok(())
}

/// What one measurement shows.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    /// Nanoseconds per packet.
    cost: f64,
    /// The share of the packets that the second worker has received, in percent.
    second: f64,
    /// The share of the packets that were handed over, in percent.
    handed: f64,
}

fn measure(bench: &Bench, lab: &Lab, spread: Spread) -> Result<Sample> {
    let both = [bench.cores.others, bench.cores.weir];
    let middle = Middle::Weir("af-xdp");
    let running = middle.start_with(bench, lab, Job::Forward, Receive::Threads, |conf| {
        if spread != Spread::One {
            conf.cpus = both.map(|core| core.to_string()).join(",");
            conf.control = None;
        }
    })?;
    if spread != Spread::One {
        for device in [WAN, LAN] {
            place_each(device, &both)?;
        }
    }
    let Running::Weir(weir) = &running else {
        anyhow::bail!("{middle:?} is not Weir");
    };
    let ms = bench.figure(500, 1_500);
    let burst = |ms| Burst {
        after_ms: 20,
        rate: PACE,
        ms,
    };
    let flood = Flood {
        vectors: match spread {
            Spread::One | Spread::Mixed => vec![Vector::Udp],
            Spread::Steady => vec![Vector::Udp; 2],
        },
        cores: match spread {
            Spread::One => Vec::new(),
            Spread::Steady | Spread::Mixed => both.to_vec(),
        },
        ..floods::flood(
            bench,
            lab,
            Job::Forward,
            &running,
            &[burst(1_000), burst(ms)],
        )?
    };
    let _kept = cores::keep_to(bench.cores.others)?;
    let reports = lab.flood_apart(flood)?;
    let [_, report] = reports.as_slice() else {
        anyhow::bail!("the generator did something else");
    };
    ensure!(report.forwarded > 0, "nothing was forwarded");
    let [received, given] = counts(weir)?;
    let mut sample = Sample {
        cost: report.per_frame(),
        ..Sample::default()
    };
    if let [first, other] = received.as_slice() {
        sample.second = 100.0 * other / (first + other);
        sample.handed = 100.0 * given.iter().sum::<f64>() / (first + other);
    }
    if bench.talks {
        println!("  {spread:?}: {sample:?}");
    }
    running.stop()?;
    Ok(sample)
}

/// Returns what each worker has received from its queues, and what it has handed over.
fn counts(weir: &WeirProcess<'_>) -> Result<[Vec<f64>; 2]> {
    let ledger = weir.show("ledger")?;
    let workers = ledger.get("workers").and_then(Value::as_array);
    let of = |key: &str| -> Vec<f64> {
        let counts = workers.into_iter().flatten();
        counts
            .map(|worker| worker.get(key).and_then(Value::as_f64).unwrap_or_default())
            .collect()
    };
    Ok([of("rx"), of("handed_out")])
}
