//! One million random actions, in lives long enough to fill tables and to outlive every time-out.
//!
//! `WEIR_ACTIONS=10000000 cargo test -p weir-fuzz --test stateful` runs longer, `WEIR_SEED=7` runs
//! the one life with that seed.

#[test]
fn random_numbers_are_cookies_only_where_the_engine_would_make_them() {
    for seed in 0..500 {
        weir_fuzz::forgery(seed, 2_000);
    }
}

#[test]
fn a_million_random_actions_break_no_rule() {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let actions = number("WEIR_ACTIONS").unwrap_or(1_000_000);
    let lives = 50;
    let seeds = match number("WEIR_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..lives,
    };
    let mut total = weir_testkit::Tally::default();
    for seed in seeds.clone() {
        total.add(&weir_fuzz::rampage(seed, actions / lives));
    }
    println!("{total}");
    if seeds.end - seeds.start < lives {
        return;
    }
    // It is no rampage when it does not reach these.
    for name in [
        "session-opened",
        "session-established",
        "session-closed",
        "session-expired",
        "session-evicted",
        "session-reused",
        "icmp-translated",
        "toa-inserted",
        "lip-exhausted",
        "malformed",
        "no-session",
        "challenge-ack",
        "cookie-sent",
        "cookie-valid",
        "cookie-bad",
        "cookie-stale",
        "syn-retried",
        "deferred",
        "early-data",
        "reflection-guard",
        "service-full",
        "table-full",
        "no-real",
    ] {
        assert!(
            total.get(name) > 10,
            "{name} moved by {}: {total}",
            total.get(name)
        );
    }
}
