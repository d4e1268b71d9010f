//! Update files that were changed at random, before they were signed and afterwards.
//!
//! `WEIR_CASES=1000000 cargo test -p weir-fuzz --test update` tries more, `WEIR_SEED=7` those of that
//! seed.

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a number"))
}

#[test]
fn nothing_is_taken_but_what_was_signed_and_the_rest_is_refused_with_a_sentence() {
    let (seed, cases) = (number("WEIR_SEED"), number("WEIR_CASES"));
    let examined = weir_fuzz::tampering(seed.unwrap_or(0), cases.unwrap_or(500));
    println!("{examined:?}");
    // It proves nothing where one of the three hardly happens.
    let least = examined.taken.min(examined.unsigned).min(examined.refused);
    assert!(least > 50, "{examined:?}");
}

#[test]
fn bytes_that_are_no_archive_break_no_rule() {
    for length in (0..64_usize).step_by(9) {
        let bytes: Vec<u8> = (0..length * 40)
            .map(|at| (at * 37 + length * 11) as u8)
            .collect();
        weir_fuzz::update(&bytes);
    }
}
