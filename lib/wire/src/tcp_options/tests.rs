use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::checksum::{Delta, Sum};

fn options_of(bytes: &[u8]) -> (Vec<(usize, TcpOption<'_>)>, bool) {
    let mut walk = TcpOptions::new(bytes);
    let found = walk.by_ref().map(|it| (it.offset, it.option)).collect();
    (found, walk.is_malformed())
}

#[test]
fn the_options_of_a_syn_are_found_with_their_places() {
    let bytes = [
        2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 1, 3, 3, 10, 34, 2, 0, 99,
    ];
    let (found, malformed) = options_of(&bytes);
    assert!(!malformed);
    assert_eq!(
        found,
        [
            (0, TcpOption::Mss(1460)),
            (4, TcpOption::SackPermitted),
            (6, TcpOption::Timestamps { tsval: 7, tsecr: 9 }),
            (16, TcpOption::Nop),
            (17, TcpOption::WindowScale(10)),
            (
                20,
                TcpOption::Unknown {
                    kind: OptionKind::TFO,
                    data: &[]
                }
            ),
            (22, TcpOption::EndOfList),
        ]
    );
    let summary = OptionSummary::new(&bytes, &KindSet::TOA);
    assert_eq!(
        summary,
        OptionSummary {
            mss: Some((0, 1460)),
            wscale: Some((17, 10)),
            sack_permitted: true,
            sack: None,
            timestamps: Some(6),
            toa: ToaOptions::default(),
            repeated: false,
            well_formed: true,
        }
    );
}

#[test]
fn the_walk_stops_before_an_impossible_length() {
    for tail in [
        &[2u8][..],
        &[2, 0],
        &[2, 1],
        &[2, 5, 1, 1],
        &[8, 255],
        &[254],
    ] {
        let bytes = [&[1, 1][..], tail].concat();
        let (found, malformed) = options_of(&bytes);
        assert!(malformed, "{tail:?}");
        assert_eq!(found.len(), 2);
        let summary = OptionSummary::new(&bytes, &KindSet::TOA);
        assert_eq!(summary, OptionSummary::default(), "{tail:?}");
    }
}

#[test]
fn a_known_kind_of_the_wrong_length_is_skipped_as_end_systems_do() {
    let bytes = [
        2, 3, 9, 3, 4, 1, 1, 4, 3, 0, 5, 3, 0, 8, 4, 0, 0, 5, 2, 2, 4, 1, 0,
    ];
    let (found, malformed) = options_of(&bytes);
    assert!(!malformed);
    let (last, wrong) = found.split_last().unwrap();
    assert_eq!(*last, (19, TcpOption::Mss(256)));
    assert!(
        wrong
            .iter()
            .all(|(_, option)| matches!(option, TcpOption::Unknown { .. }))
    );
    let summary = OptionSummary::new(&bytes, &KindSet::TOA);
    assert_eq!(summary.mss, Some((19, 256)));
    assert!(summary.well_formed && !summary.repeated && !summary.sack_permitted);
    assert_eq!(
        (summary.wscale, summary.sack, summary.timestamps),
        (None, None, None)
    );
}

#[test]
fn sack_and_timestamps_are_found_at_odd_places() {
    let mut bytes = std::vec![1, 5, 18];
    bytes.extend([0; 16]);
    bytes.extend([8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    let summary = OptionSummary::new(&bytes, &KindSet::TOA);
    assert_eq!((summary.sack, summary.timestamps), (Some((1, 2)), Some(19)));
}

#[test]
fn the_last_of_two_counts_and_is_reported() {
    let summary = OptionSummary::new(&[2, 4, 1, 0, 2, 4, 2, 0], &KindSet::TOA);
    assert_eq!(summary.mss, Some((4, 512)));
    assert!(summary.repeated);
}

#[test]
fn every_forged_toa_is_found_and_blanked_with_its_checksum() {
    let mut bytes = [
        1, 254, 8, 0x1f, 0x90, 10, 0, 0, 1, 253, 3, 7, 1, 254, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8,
        76, 4, 9, 9, 0, 0, 0,
    ];
    let kinds = KindSet::TOA.with(76);
    let before = Sum::of(&bytes).complement();
    let summary = OptionSummary::new(&bytes, &kinds);
    let found: Vec<_> = summary
        .toa
        .iter(&bytes)
        .map(|it| (it.offset, it.len, it.kind))
        .collect();
    assert_eq!(found, [(1, 8, 254), (9, 3, 253), (13, 2, 254), (25, 4, 76)]);
    assert_eq!((summary.toa.len(), summary.timestamps), (4, Some(15)));

    let after = summary.toa.blank(&mut bytes, Delta::new()).apply(before);
    let mut expected = [1; 32];
    expected[15..25].copy_from_slice(&[8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
    expected[29..].fill(0);
    assert_eq!(bytes, expected);
    assert_eq!(after, Sum::of(&bytes).complement());
    assert!(OptionSummary::new(&bytes, &kinds).toa.is_empty());
}

#[test]
fn a_kind_set_that_names_timestamps_does_not_blank_them() {
    let kinds = KindSet::EMPTY
        .with(OptionKind::TIMESTAMPS)
        .with(OptionKind::NOP);
    let bytes = [8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1];
    let summary = OptionSummary::new(&bytes, &kinds);
    assert!(summary.toa.is_empty());
    assert_eq!(summary.timestamps, Some(0));
}

#[test]
fn a_toa_of_each_family_is_laid_out_as_receivers_expect() {
    let v4 = Toa::new("10.1.2.3:8080".parse().unwrap());
    assert_eq!(v4.to_bytes()[..v4.len()], [254, 8, 0x1f, 0x90, 10, 1, 2, 3]);
    let v6 = Toa::new("[2001:db8::1]:443".parse().unwrap());
    assert_eq!(
        v6.to_bytes(),
        [
            253, 20, 0x01, 0xbb, 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
        ]
    );
    for toa in [
        v4,
        v6,
        Toa {
            kind: OptionKind::TOA_V4,
            ..v6
        },
    ] {
        let bytes = toa.to_bytes();
        let (found, _) = options_of(&bytes[..toa.len()]);
        assert_eq!(found, [(0, TcpOption::Toa(toa))]);
    }
}

#[test]
fn a_kind_set_holds_each_kind_by_itself() {
    for kind in 0..=255 {
        let set = KindSet::EMPTY.with(kind);
        assert!((0..=255).all(|other| set.contains(other) == (other == kind)));
    }
}

proptest! {
    #[test]
    fn the_fast_path_says_what_the_walk_says(stamps in any::<[u8; 8]>()) {
        let bytes = [&[1, 1, 8, 10][..], &stamps].concat();
        let summary = OptionSummary::new(&bytes, &KindSet::TOA);
        prop_assert_eq!(summary, OptionSummary::walk(&bytes, &KindSet::TOA));
    }

    #[test]
    fn summary_and_iterator_agree(bytes in proptest::collection::vec(kind_or_byte(), 0..=40)) {
        let summary = OptionSummary::new(&bytes, &KindSet::TOA);
        let mut expected = OptionSummary::default();
        let mut toa = Vec::new();
        let mut walk = TcpOptions::new(&bytes);
        for LocatedOption { offset, len, option } in walk.by_ref() {
            prop_assert!(offset + len <= bytes.len());
            let at = offset as u8;
            match option {
                TcpOption::Mss(value) => {
                    expected.repeated |= expected.mss.replace((at, value)).is_some();
                }
                TcpOption::WindowScale(value) => {
                    expected.repeated |= expected.wscale.replace((at, value)).is_some();
                }
                TcpOption::SackPermitted => expected.sack_permitted = true,
                TcpOption::Sack(blocks) => {
                    let blocks = (at, (blocks.len() / 8) as u8);
                    expected.repeated |= expected.sack.replace(blocks).is_some();
                }
                TcpOption::Timestamps { .. } => {
                    expected.repeated |= expected.timestamps.replace(at).is_some();
                }
                TcpOption::Toa(Toa { kind, .. })
                | TcpOption::Unknown { kind: kind @ (253 | 254), .. } => {
                    toa.push(ToaOption { offset: at, len: len as u8, kind });
                }
                TcpOption::Nop | TcpOption::EndOfList | TcpOption::Unknown { .. } => {}
            }
        }
        expected.well_formed = !walk.is_malformed();
        prop_assert_eq!(summary.toa.iter(&bytes).collect::<Vec<_>>(), toa);
        expected.toa = summary.toa;
        prop_assert_eq!(summary, expected);
    }
}

/// Bytes that look like options more often than chance would have it.
fn kind_or_byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        3 => prop::sample::select(&[1u8, 2, 3, 4, 5, 8, 253, 254][..]),
        3 => prop::sample::select(&[2u8, 3, 4, 8, 10, 18, 20][..]),
        1 => any::<u8>(),
    ]
}
