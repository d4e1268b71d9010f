//! The short form of the bench: Weir and the kernel on one core each, and gates so loose that only
//! a real loss of speed fails them.

use anyhow::{Context as _, Result, bail};

use super::Run;
use crate::bench::{Bench, Length};

/// A check of the bench: the part, the line of its table, and the least that it may say.
const GATES: [(&str, &str, f64); 2] = [
    ("cookie", "cookie: nft / weir af-xdp", 1.3),
    ("forward", "FullNAT 64k: nft / weir af-xdp", 0.5),
];
/// Other work on the machine may fall on one of the two; then both are measured again.
const TRIES: u32 = 3;

pub(super) fn run(run: &mut Run) -> Result<()> {
    let cores = std::thread::available_parallelism().context("how many cores are there?")?;
    if cores.get() < 2 {
        println!("      with two cores only: one for the load balancer, one for everything else");
        return Ok(());
    }
    let program = run.weir.clone();
    for (part, line, least) in GATES {
        run.check(&format!("speed: {line}"), || {
            let mut said = String::new();
            for _ in 0..TRIES {
                let mut bench = Bench::new(program.clone(), "/nonexistent".into(), Length::Quick);
                bench.middles = vec!["weir af-xdp".to_owned(), "nft".to_owned()];
                bench.run(&[part.to_owned()])?;
                let row = bench
                    .table
                    .find(line)
                    .context("no such line in the table")?;
                said = format!("{:.2}, {least} wanted", row.median);
                if row.median >= least {
                    return Ok(said);
                }
            }
            bail!("{said}")
        });
    }
    Ok(())
}
