//! Files and command lines of LVS at random: most of them nearly right.
//!
//! `WEIR_CASES=1000000 cargo test -p weir-fuzz --test lvs` tries more, `WEIR_SEED=7` the hundred of that
//! seed, both together as many from that seed on.

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

#[test]
fn nothing_that_lvs_operators_bring_panics_or_is_lost_in_silence() {
    const A_SEED: u64 = 100;
    let (seed, cases) = (number("WEIR_SEED"), number("WEIR_CASES"));
    let some = if seed.is_some() { A_SEED } else { 1000 };
    let first = seed.unwrap_or(0);
    let (mut accepted, mut refused) = (0, 0);
    for seed in first..first + cases.unwrap_or(some).div_ceil(A_SEED) {
        let verdicts = weir_fuzz::migration(seed, A_SEED);
        accepted += verdicts.accepted;
        refused += verdicts.refused;
    }
    println!("{accepted} accepted, {refused} refused");
    // It proves nothing where nearly all are refused, or accepted.
    assert!(accepted * 10 > refused, "{accepted} of {refused}");
    assert!(refused * 10 > accepted, "{accepted} of {refused}");
}
