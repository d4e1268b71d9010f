//! Configurations at random: half of them nearly right.
//!
//! `WEIR_CASES=10000000 cargo test -p weir-fuzz --test conf` tries more, `WEIR_SEED=7` the thousand of
//! that seed, both together as many from that seed on.

use std::fs;
use std::path::{Path, PathBuf};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

#[test]
fn no_configuration_panics_is_half_accepted_or_reads_back_as_another() {
    const A_SEED: u64 = 1000;
    let (seed, cases) = (number("WEIR_SEED"), number("WEIR_CASES"));
    let some = if seed.is_some() { A_SEED } else { 20_000 };
    let first = seed.unwrap_or(0);
    let seeds = first..first + cases.unwrap_or(some).div_ceil(A_SEED);
    let (mut accepted, mut refused) = (0, 0);
    for seed in seeds {
        let verdicts = weir_fuzz::confusion(seed, A_SEED);
        accepted += verdicts.accepted;
        refused += verdicts.refused;
    }
    println!("{accepted} accepted, {refused} refused");
    // It proves nothing where nearly all are refused, or accepted.
    assert!(accepted * 20 > refused, "{accepted} of {refused}");
    assert!(refused * 20 > accepted, "{accepted} of {refused}");
}

#[test]
fn the_files_of_the_parsers_tests_break_no_rule() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../lib/conf/tests");
    let mut seen = 0;
    for folder in [tests.join("bad"), tests.join("good"), tests] {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.extension().is_some_and(|it| it == "conf") {
                println!("{}", path.display());
                weir_fuzz::conf(&fs::read(&path).expect("a file"));
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "{seen}");
}
