use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weir_wire::SeqNumber;

use super::*;
use crate::MSS_TABLE;

const MASTER: MasterKey = MasterKey(*b"0123456789abcdef");
const LIFETIME: Duration = Duration::from_secs(64);
const ROTATION: Duration = Duration::from_mins(15);
const NOW: u64 = 1_790_000_000_000;

fn secrets(wall_ms: u64) -> Secrets {
    Secrets::new(MASTER, LIFETIME, ROTATION, wall_ms)
}

fn handshake() -> Handshake {
    Handshake {
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        vip: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        client_port: 40_000,
        vip_port: 443,
        client_isn: SeqNumber(0x1234_5678),
    }
}

fn handshake_v6() -> Handshake {
    Handshake {
        client: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 7)),
        vip: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1)),
        ..handshake()
    }
}

fn every_option() -> impl Iterator<Item = ClientOptions> {
    MSS_TABLE.into_iter().flat_map(|mss| {
        let scales = core::iter::once(None).chain((0..=14).map(Some));
        scales.flat_map(move |wscale| [false, true].map(|sack| ClientOptions { mss, wscale, sack }))
    })
}

/// Half a step of the lifetime of these tests.
const HALF_MS: u64 = 64_000 / 3;

#[test]
fn every_combination_of_options_survives_in_a_cookie() {
    let secrets = secrets(NOW);
    assert_eq!(every_option().count(), 256);
    for handshake in [handshake(), handshake_v6()] {
        for options in every_option() {
            let cookie = secrets.issue(&handshake, &options);
            assert_eq!(secrets.check(&handshake, cookie), Checked::Valid(options));
            let checker = secrets.checker(&handshake);
            assert_eq!(checker.check(cookie), Checked::Valid(options));
        }
    }
}

#[test]
fn what_is_asked_for_beside_others_comes_to_the_same() {
    let hash = |question: Question| {
        let [k0, k1] = question.key;
        let [first, second, last] = question.words;
        crate::sip::Sip::new(Key(k0, k1))
            .add(first)
            .add(second)
            .finish(last)
    };
    let secrets = secrets(NOW);
    for options in every_option() {
        let (issuer, bits) = (secrets.issuer(), options.into());
        let asked = issuer.ask(&handshake(), bits).unwrap();
        let cookie = secrets.issue(&handshake(), &options);
        assert_eq!(issuer.issued(hash(asked), bits), cookie);
        for later in [0, 2, 4] {
            let mut secrets = secrets.clone();
            secrets.refresh(NOW + later * HALF_MS);
            for cookie in [cookie, Cookie(cookie.0 ^ 1 << 20)] {
                let asked = secrets.ask_check(&handshake(), cookie).unwrap();
                let checked = Secrets::checked(asked.map(hash), cookie);
                assert_eq!(checked, secrets.check(&handshake(), cookie), "{later}");
            }
        }
    }
    let none = secrets.ask_check(&handshake_v6(), Cookie(0));
    assert!(none.is_none(), "IPv6 is longer");
}

#[test]
fn a_cookie_is_good_for_its_own_handshake_only() {
    let secrets = secrets(NOW);
    for options in every_option() {
        for good in [handshake(), handshake_v6()] {
            let cookie = secrets.issue(&good, &options);
            let Handshake {
                client,
                vip,
                client_port,
                vip_port,
                client_isn,
            } = good;
            let others = [
                Handshake {
                    client: vip,
                    ..good
                },
                Handshake {
                    vip: client,
                    ..good
                },
                Handshake {
                    client: vip,
                    vip: client,
                    ..good
                },
                Handshake {
                    client: handshake_v6().client,
                    vip: handshake().vip,
                    ..good
                },
                Handshake {
                    client_port: client_port ^ 1,
                    ..good
                },
                Handshake {
                    vip_port: vip_port ^ 1,
                    ..good
                },
                Handshake {
                    client_port: vip_port,
                    vip_port: client_port,
                    ..good
                },
                Handshake {
                    client_isn: client_isn + 1,
                    ..good
                },
                Handshake {
                    client_isn: client_isn - 1,
                    ..good
                },
            ];
            for other in others {
                assert_eq!(secrets.check(&other, cookie), Checked::Bad, "{other:?}");
            }
        }
    }
}

#[test]
fn every_bit_of_a_cookie_counts() {
    let secrets = secrets(NOW);
    for options in every_option() {
        let cookie = secrets.issue(&handshake(), &options);
        for bit in 0..u32::BITS {
            let flipped = Cookie(cookie.0 ^ 1 << bit);
            assert_eq!(secrets.check(&handshake(), flipped), Checked::Bad, "{bit}");
        }
    }
}

#[test]
fn another_master_key_or_rotation_or_lifetime_accepts_nothing() {
    let ours = secrets(NOW);
    let others = [
        Secrets::new(MasterKey([0; 16]), LIFETIME, ROTATION, NOW),
        Secrets::new(MASTER, LIFETIME, ROTATION / 2, NOW),
        Secrets::new(MASTER, LIFETIME * 2, ROTATION, NOW),
    ];
    for options in every_option() {
        let cookie = ours.issue(&handshake(), &options);
        for other in &others {
            assert_eq!(other.check(&handshake(), cookie), Checked::Bad);
        }
    }
}

#[test]
fn a_restart_with_the_same_master_key_accepts_what_was_made_before() {
    let options = client_options();
    let cookie = secrets(NOW).issue(&handshake(), &options);
    let again = secrets(NOW + 20_000);
    assert_eq!(again.check(&handshake(), cookie), Checked::Valid(options));
}

/// Every millisecond at which something changes, its neighbours, and places between, from three
/// steps before a cookie to six after it; against the definition.
#[test]
fn a_cookie_is_accepted_then_stale_then_bad() {
    let options = client_options();
    for (lifetime_ms, wall_ms) in [(64_000, NOW), (8_000, NOW), (599_999, NOW), (64_000, 0)] {
        let lifetime = Duration::from_millis(lifetime_ms);
        let half_ms = lifetime_ms / 3;
        let start = wall_ms.next_multiple_of(2 * half_ms);
        let made = [0, 1, half_ms - 1, half_ms, 2 * half_ms - 1];
        for made in made.map(|after| start + after) {
            let step = made / half_ms / 2;
            let maker = Secrets::new(MASTER, lifetime, ROTATION, made);
            let cookie = maker.issue(&handshake(), &options);
            let mut verifier = maker.clone();
            for eighth in 0..9 * 8 {
                let edge = (start + eighth * half_ms / 4).saturating_sub(6 * half_ms);
                for now in edge.saturating_sub(1)..=edge + 1 {
                    verifier.refresh(now);
                    // In half steps: accepted in 2n-1 .. 2n+3, stale in 2n+3 .. 2n+7.
                    let age = (now / half_ms + 1).checked_sub(2 * step);
                    let expected = match age {
                        Some(0..4) => Checked::Valid(options),
                        Some(4..8) => Checked::Stale,
                        Some(_) | None => Checked::Bad,
                    };
                    let found = verifier.check(&handshake(), cookie);
                    assert_eq!(found, expected, "made {made}, checked {now}");
                    if now >= made + lifetime_ms {
                        assert_ne!(found, Checked::Valid(options), "{now} is too late");
                    } else if now >= made && now <= made + half_ms {
                        assert_eq!(found, Checked::Valid(options), "{now} is in time");
                    }
                }
            }
        }
    }
}

#[test]
fn clocks_a_quarter_of_the_lifetime_apart_leave_a_twelfth_for_the_handshake() {
    let options = client_options();
    let lifetime_ms = LIFETIME.as_millis() as u64;
    let (skew, handshake_ms) = (lifetime_ms / 4, lifetime_ms / 12);
    // A whole rotation, so that an epoch ends in it.
    for wall_ms in (NOW..NOW + 900_000).step_by(97) {
        let cookie = secrets(wall_ms).issue(&handshake(), &options);
        for checked in [wall_ms, wall_ms + handshake_ms] {
            for peer in [checked - skew, checked + skew] {
                let found = secrets(peer).check(&handshake(), cookie);
                assert_eq!(found, Checked::Valid(options), "{wall_ms} at {peer}");
            }
        }
    }
}

#[test]
fn a_new_epoch_has_a_new_key_and_the_old_ones_cookies_stay_good() {
    let options = client_options();
    let rotation_ms = ROTATION.as_millis() as u64;
    let boundary = NOW.next_multiple_of(rotation_ms);
    // The first step that begins in the new epoch.
    let begins = boundary.next_multiple_of(2 * HALF_MS);
    let (before, after) = (secrets(begins - 1), secrets(begins));
    let key = |secrets: &Secrets| {
        let Key(k0, k1) = secrets.key(secrets.issuing);
        (k0, k1)
    };
    assert_ne!(key(&before), key(&after));
    assert_eq!(key(&before), key(&secrets(begins - 2 * HALF_MS)));
    assert_eq!(key(&after), key(&secrets(begins + 2 * HALF_MS)));

    let cookie = before.issue(&handshake(), &options);
    assert_eq!(after.check(&handshake(), cookie), Checked::Valid(options));
    let cookie = after.issue(&handshake(), &options);
    assert_eq!(before.check(&handshake(), cookie), Checked::Valid(options));
}

#[test]
fn keys_may_change_faster_than_cookies_expire() {
    let options = client_options();
    let secrets = |wall_ms| Secrets::new(MASTER, LIFETIME, Duration::from_secs(1), wall_ms);
    for wall_ms in (NOW..NOW + 200_000).step_by(501) {
        let cookie = secrets(wall_ms).issue(&handshake(), &options);
        let found = secrets(wall_ms + HALF_MS).check(&handshake(), cookie);
        assert_eq!(found, Checked::Valid(options));
    }
}

#[test]
fn refreshing_arrives_where_starting_does_forwards_and_backwards() {
    let options = client_options();
    let mut refreshed = secrets(NOW);
    let times = [1, 21_000, 22_000, 900_000, 3, 10_000_000_000, 5];
    for wall_ms in times.map(|after| NOW - 1_000_000 + after) {
        refreshed.refresh(wall_ms);
        let fresh = secrets(wall_ms);
        let cookie = fresh.issue(&handshake(), &options);
        assert_eq!(refreshed.issue(&handshake(), &options), cookie);
        for peer in [wall_ms - HALF_MS, wall_ms + HALF_MS] {
            let cookie = secrets(peer).issue(&handshake(), &options);
            assert_eq!(
                refreshed.check(&handshake(), cookie),
                fresh.check(&handshake(), cookie)
            );
        }
    }
}

#[test]
fn impossible_times_are_survived() {
    let options = client_options();
    for (lifetime, rotation) in [
        (Duration::ZERO, Duration::ZERO),
        (Duration::MAX, Duration::MAX),
    ] {
        for wall_ms in [0, u64::MAX] {
            let secrets = Secrets::new(MASTER, lifetime, rotation, wall_ms);
            let cookie = secrets.issue(&handshake(), &options);
            assert_eq!(secrets.check(&handshake(), cookie), Checked::Valid(options));
        }
    }
}

#[test]
fn nothing_of_a_key_is_printed() {
    let other = Secrets::new(MasterKey([7; 16]), LIFETIME, ROTATION, NOW);
    assert_eq!(
        std::format!("{other:?}"),
        std::format!("{:?}", secrets(NOW))
    );
}

fn client_options() -> ClientOptions {
    ClientOptions {
        mss: 1460,
        wscale: Some(7),
        sack: true,
    }
}
