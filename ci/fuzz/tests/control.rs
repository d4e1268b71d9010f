//! Clients of the control socket at random: most of their lines are nearly right.
//!
//! `WEIR_CASES=10000000 cargo test -p weir-fuzz --test control` tries more, `WEIR_SEED=7` the thousand
//! of that seed, both together as many from that seed on.

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

#[test]
fn no_line_panics_grows_reads_back_as_another_or_lets_a_viewer_do_an_operators_work() {
    const A_SEED: u64 = 1000;
    let (seed, cases) = (number("WEIR_SEED"), number("WEIR_CASES"));
    let some = if seed.is_some() { A_SEED } else { 20_000 };
    let first = seed.unwrap_or(0);
    let seeds = first..first + cases.unwrap_or(some).div_ceil(A_SEED);
    let (mut viewers, mut operators, mut refused) = (0, 0, 0);
    for seed in seeds {
        let heard = weir_fuzz::babble(seed, A_SEED);
        viewers += heard.viewers;
        operators += heard.operators;
        refused += heard.refused;
    }
    println!("{viewers} of viewers, {operators} of operators, {refused} refused");
    // It proves nothing where nearly all are refused, or none.
    let good = viewers + operators;
    assert!(
        good * 10 > refused && refused * 10 > good,
        "{good}, {refused}"
    );
    assert!(viewers * 10 > operators && operators * 10 > viewers);
}

#[test]
fn bytes_that_are_no_text_break_no_rule() {
    for length in 0..300_usize {
        let bytes: Vec<u8> = (0..length)
            .map(|at| (at * 37 + length * 11) as u8)
            .collect();
        weir_fuzz::control(&bytes);
    }
}
