//! All 2^32 acknowledgement numbers of four handshakes: exactly those are accepted that the layout
//! computes, and they are those that were made.
//!
//! The numbers go to a `Checker`, which knows the hash of each of the options and steps; every
//! 1,021st goes to `Secrets::check`, too. Built with debug assertions it is those only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use synproxy_engine::{
    Checked, ClientOptions, Cookie, Handshake, MSS_TABLE, Secrets, valid_numbers,
};
use weir_model::MasterKey;
use weir_wire::SeqNumber;

/// Half a step of time, in milliseconds.
const HALF_MS: u64 = 64_000 / 3;
/// The first half of a step.
const FIRST_HALF: u64 = 2 * HALF_MS * 42_000_000;
/// The second half of a step, in which cookies of the next one are accepted, too.
const SECOND_HALF: u64 = FIRST_HALF + HALF_MS;

/// A prime, so that all patterns of the plain bits are met.
const SAMPLE: usize = 1021;
/// From one number that is tried to the next.
const STRIDE: usize = if cfg!(debug_assertions) { SAMPLE } else { 1 };

#[test]
fn exactly_the_numbers_that_were_made_are_accepted() {
    let v4 = |last, vip_port| Handshake {
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
        vip: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        client_port: 40_000,
        vip_port,
        client_isn: SeqNumber(u32::MAX),
    };
    let v6 = |last| Handshake {
        client: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last)),
        vip: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1)),
        ..v4(0, 443)
    };
    thread::scope(|scope| {
        for pair in [
            [(v4(7, 443), FIRST_HALF), (v6(7), SECOND_HALF)],
            [(v4(8, 25), SECOND_HALF), (v6(8), FIRST_HALF)],
        ] {
            scope.spawn(move || {
                for (handshake, wall_ms) in pair {
                    try_all(&handshake, wall_ms);
                }
            });
        }
    });
}

fn try_all(handshake: &Handshake, wall_ms: u64) {
    let expected = made(handshake, wall_ms);
    assert_eq!(expected.len() as u64, valid_numbers());
    let secrets = secrets(wall_ms);
    let checker = secrets.checker(handshake);
    for &(number, options) in &expected {
        let found = secrets.check(handshake, Cookie(number));
        assert_eq!(found, Checked::Valid(options), "{handshake:?}");
        assert_eq!(checker.check(Cookie(number)), found);
    }

    let mut accepted = Vec::new();
    let mut stale = 0;
    for number in (0..=u32::MAX).step_by(STRIDE) {
        match checker.check(Cookie(number)) {
            Checked::Valid(options) => accepted.push((number, options)),
            Checked::Stale => stale += 1,
            Checked::Bad => {}
        }
    }
    let seen: Vec<(u32, ClientOptions)> = expected
        .into_iter()
        .filter(|&(number, _)| (number as usize).is_multiple_of(STRIDE))
        .collect();
    assert_eq!(accepted, seen, "{handshake:?}");
    for number in (0..=u32::MAX).step_by(SAMPLE).map(Cookie) {
        assert_eq!(secrets.check(handshake, number), checker.check(number));
    }
    // As many were live one step of the same parity ago; where both coincide, the live one counts.
    assert!(stale <= valid_numbers());
    if STRIDE == 1 {
        assert_eq!(accepted.len() as u64, valid_numbers());
        assert!(stale >= valid_numbers() - 2);
    }
}

/// All cookies that are live at a time, as the nodes of a cluster make them: of the step that it
/// lies in, and of the neighbour that it is nearer to.
fn made(handshake: &Handshake, wall_ms: u64) -> Vec<(u32, ClientOptions)> {
    let neighbour = if wall_ms == FIRST_HALF {
        wall_ms - HALF_MS
    } else {
        wall_ms + HALF_MS
    };
    let mut made = Vec::new();
    for secrets in [wall_ms, neighbour].map(secrets) {
        for mss in MSS_TABLE {
            for wscale in (0..15).map(Some).chain([None]) {
                for sack in [false, true] {
                    let options = ClientOptions { mss, wscale, sack };
                    made.push((secrets.issue(handshake, &options).0, options));
                }
            }
        }
    }
    made.sort_unstable_by_key(|&(number, _)| number);
    made.dedup_by_key(|&mut (number, _)| number);
    made
}

fn secrets(wall_ms: u64) -> Secrets {
    Secrets::new(
        MasterKey(*b"0123456789abcdef"),
        Duration::from_secs(64),
        Duration::from_mins(15),
        wall_ms,
    )
}
