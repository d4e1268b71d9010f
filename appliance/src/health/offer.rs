//! The offer: what the options learned of a service's real servers add up to.

use weir_model::{Offer, Synproxy};

/// What is known of one real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// It answers, as far as is known.
    pub(crate) answers: bool,
    /// The options of its last SYN-ACK.
    pub(crate) learned: Option<Offer>,
    /// A probe has had an outcome.
    pub(crate) was_tried: bool,
}

/// Returns what clients of a service are offered: what every real server that may serve them can
/// do. The window scale is the largest, because a smaller one would cap windows, while one that
/// is too large for a real server costs some bits of the rescaled window only.
pub(crate) fn offer(synproxy: &Synproxy, reals: &[Seen]) -> Offer {
    if !synproxy.learned {
        return synproxy.given;
    }
    let answering = reals.iter().filter(|real| real.answers);
    let mut merged = merge(answering.filter_map(|real| real.learned));
    if merged.is_none() {
        // When nobody answers, what they could do is still the best guess.
        merged = merge(reals.iter().filter_map(|real| real.learned));
    }
    let mut offer = merged.unwrap_or(Offer {
        timestamps: false,
        ..synproxy.given
    });
    // A client that was granted timestamps sends them for good (RFC 7323 section 3.2), to a real
    // server of which nothing is known yet.
    offer.timestamps &= reals.iter().all(|real| real.was_tried);
    offer
}

/// Says which options differ, each with what it was and what it is.
pub(crate) fn drift(old: Offer, new: Offer) -> Vec<String> {
    let differs = [
        (old.mss != new.mss).then(|| format!("MSS was {}, is {}", old.mss, new.mss)),
        (old.wscale != new.wscale).then(|| {
            let bits = |wscale: Option<u8>| match wscale {
                Some(bits) => bits.to_string(),
                None => "none".to_owned(),
            };
            format!(
                "window scale was {}, is {}",
                bits(old.wscale),
                bits(new.wscale)
            )
        }),
        switched("SACK", old.sack, new.sack),
        switched("timestamps", old.timestamps, new.timestamps),
    ];
    differs.into_iter().flatten().collect()
}

fn switched(option: &str, old: bool, new: bool) -> Option<String> {
    let word = |on| if on { "on" } else { "off" };
    (old != new).then(|| format!("{option} was {}, is {}", word(old), word(new)))
}

fn merge(all: impl Iterator<Item = Offer>) -> Option<Offer> {
    all.reduce(|one, other| Offer {
        mss: one.mss.min(other.mss),
        wscale: one.wscale.max(other.wscale),
        sack: one.sack && other.sack,
        timestamps: one.timestamps && other.timestamps,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Offer = Offer {
        mss: 1460,
        wscale: Some(7),
        sack: true,
        timestamps: true,
    };

    fn seen(learned: Offer) -> Seen {
        Seen {
            answers: true,
            learned: Some(learned),
            was_tried: true,
        }
    }

    fn of(reals: &[Seen]) -> Offer {
        offer(&Synproxy::default(), reals)
    }

    #[test]
    fn before_the_first_probe_the_given_values_hold_without_timestamps() {
        let unknown = Seen {
            answers: true,
            learned: None,
            was_tried: false,
        };
        let given = Synproxy::default().given;
        assert!(given.timestamps);
        let expected = Offer {
            timestamps: false,
            ..given
        };
        assert_eq!(of(&[unknown, unknown]), expected);
        assert_eq!(of(&[]), expected);
        assert!(!of(&[seen(FULL), unknown]).timestamps);
    }

    #[test]
    fn the_offer_is_what_all_can_do_with_the_largest_window_scale() {
        let small = Offer {
            mss: 1300,
            wscale: Some(10),
            sack: false,
            timestamps: true,
        };
        let bare = Offer {
            mss: 1400,
            wscale: None,
            sack: true,
            timestamps: false,
        };
        assert_eq!(
            of(&[seen(FULL), seen(small)]),
            Offer {
                mss: 1300,
                wscale: Some(10),
                sack: false,
                timestamps: true
            }
        );
        assert_eq!(
            of(&[seen(bare), seen(FULL)]),
            Offer {
                mss: 1400,
                wscale: Some(7),
                sack: true,
                timestamps: false
            }
        );
        assert_eq!(of(&[seen(bare), seen(bare)]).wscale, None);
        let unscaled = Offer {
            wscale: Some(0),
            ..FULL
        };
        assert_eq!(of(&[seen(unscaled), seen(bare)]).wscale, Some(0));
    }

    #[test]
    fn a_real_server_that_does_not_answer_decides_nothing_unless_nobody_does() {
        let poor = Seen {
            answers: false,
            ..seen(Offer {
                mss: 536,
                wscale: None,
                sack: false,
                timestamps: false,
            })
        };
        assert_eq!(of(&[poor, seen(FULL)]), FULL);
        assert_eq!(of(&[poor]).mss, 536);
        let never = Seen {
            learned: None,
            ..poor
        };
        assert_eq!(of(&[never, seen(FULL)]), FULL);
    }

    #[test]
    fn given_options_are_offered_whatever_was_learned() {
        let given = Synproxy {
            learned: false,
            ..Synproxy::default()
        };
        let bare = Offer {
            mss: 536,
            wscale: None,
            sack: false,
            timestamps: false,
        };
        assert_eq!(offer(&given, &[seen(bare)]), given.given);
    }

    #[test]
    fn drift_names_each_option_with_its_old_and_new_value() {
        assert_eq!(drift(FULL, FULL), [""; 0]);
        let other = Offer {
            mss: 1400,
            wscale: None,
            sack: false,
            timestamps: false,
        };
        assert_eq!(
            drift(FULL, other),
            [
                "MSS was 1460, is 1400",
                "window scale was 7, is none",
                "SACK was on, is off",
                "timestamps was on, is off"
            ]
        );
        let ten = Offer {
            wscale: Some(10),
            ..FULL
        };
        assert_eq!(drift(FULL, ten), ["window scale was 7, is 10"]);
    }
}
