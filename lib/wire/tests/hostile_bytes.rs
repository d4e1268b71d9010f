//! Whatever the bytes: nothing panics, nothing is read past the end, and what parse promises holds.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

use proptest::prelude::*;
use weir_wire::{
    ArpRepr, Completed, Delta, Describe, FrameBuf, Header, IcmpErrorRepr, Kind, KindSet, L4,
    LinkLayerOption, OptionSummary, Parsed, TcpHeader, TcpOptions, UpperLayer, complete_partial,
    fill_checksums, parse_embedded_v4, verify_frame,
};

/// Frames of Linux to be damaged.
fn captured() -> Vec<Vec<u8>> {
    let decode = |line: &str| {
        let digits = line.as_bytes().chunks_exact(2);
        digits
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    };
    let text = [
        include_str!("captures/kernel.txt"),
        include_str!("captures/crafted.txt"),
        include_str!("captures/partial.txt"),
    ];
    text.iter()
        .flat_map(|text| text.lines().skip(1).step_by(2))
        .map(decode)
        .collect()
}

#[derive(Clone, Debug)]
enum Damage {
    Flip(usize, u8),
    Set(usize, u8),
    Cut(usize),
    Grow(Vec<u8>),
    /// Makes the IPv4 header checksum right, so that what lies behind is reached.
    Mend,
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = 0usize..96;
    prop_oneof![
        4 => (at.clone(), 0u8..8).prop_map(|(at, bit)| Damage::Flip(at, 1 << bit)),
        4 => (at.clone(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        1 => at.prop_map(Damage::Cut),
        1 => proptest::collection::vec(any::<u8>(), 0..40).prop_map(Damage::Grow),
        2 => Just(Damage::Mend),
    ]
}

fn apply(frame: &mut Vec<u8>, damage: &Damage) {
    match damage {
        Damage::Flip(at, mask) => frame
            .get_mut(*at)
            .into_iter()
            .for_each(|byte| *byte ^= mask),
        Damage::Set(at, value) => frame
            .get_mut(*at)
            .into_iter()
            .for_each(|byte| *byte = *value),
        Damage::Cut(len) => frame.truncate(*len),
        Damage::Grow(bytes) => frame.extend(bytes),
        Damage::Mend => {
            let _ = fill_checksums(frame);
        }
    }
}

fn damaged_frame() -> impl Strategy<Value = Vec<u8>> {
    let frame = prop::sample::select(captured());
    (
        frame,
        proptest::collection::vec(damage(), 0..8),
        any::<bool>(),
    )
        .prop_map(|(mut frame, damages, mend)| {
            for damage in &damages {
                apply(&mut frame, damage);
            }
            if mend {
                apply(&mut frame, &Damage::Mend);
            }
            frame
        })
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..120),
        // Behind the EtherType of IPv4, ARP, IPv6, or a tag.
        (
            prop::sample::select(&[[8u8, 0], [8, 6], [0x86, 0xdd], [0x81, 0]][..]),
            proptest::collection::vec(any::<u8>(), 0..120),
        )
            .prop_map(|(ethertype, rest)| [&[2; 12][..], &ethertype, &rest].concat()),
        damaged_frame(),
        damaged_frame(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16_384, ..ProptestConfig::default() })]

    #[test]
    fn what_parse_promises_holds(frame in any_frame()) {
        let Ok(parsed) = Parsed::parse(&frame) else { return Ok(()) };
        prop_assert!(parsed.l3 as usize <= frame.len());
        let Kind::Ipv4(v4) = parsed.kind else { return Ok(()) };
        let end = parsed.l3 + v4.total_len;
        prop_assert!(end as usize <= frame.len());
        prop_assert!(v4.l4 >= parsed.l3 + 20 && v4.l4 <= end);
        prop_assert_eq!(v4.l4 + v4.l4_len(parsed.l3), end);
        let payload = v4.payload(&frame, parsed.l3).unwrap();
        prop_assert_eq!(payload.len(), v4.l4_len(parsed.l3) as usize);
        match v4.l4_kind {
            L4::Tcp(tcp) => {
                prop_assert!((20..=60).contains(&tcp.header_len));
                prop_assert_eq!((tcp.header_len + tcp.payload_len) as usize, payload.len());
                let options = v4.tcp_options(&frame).unwrap();
                prop_assert_eq!(options.len(), tcp.header_len as usize - 20);
                prop_assert_eq!(TcpHeader::at(&frame, v4.l4 as usize).unwrap().flags(), tcp.flags);
            }
            L4::Udp { len, .. } => {
                prop_assert!(len >= 8 && (len as usize <= payload.len() || v4.fragment.is_some()));
            }
            L4::Icmp { .. } => prop_assert!(payload.len() >= 8),
            L4::NonFirstFragment => prop_assert!(v4.fragment.unwrap().offset > 0),
            L4::Other(protocol) => prop_assert_eq!(protocol, v4.protocol),
        }
    }

    #[test]
    fn every_reader_survives(bytes in any_frame(), skip in 0usize..60, next in any::<u8>()) {
        let rest = bytes.get(skip..).unwrap_or_default();
        prop_assert!(!Describe(&bytes).to_string().is_empty());
        let _ = (verify_frame(&bytes), ArpRepr::parse(rest), LinkLayerOption::find(rest, next));
        if let Ok(quoted) = parse_embedded_v4(rest) {
            prop_assert!((quoted.l4 + quoted.l4_quoted) as usize <= rest.len());
            let fits = |at: u16| at as usize + 2 <= rest.len();
            prop_assert!(quoted.l4_checksum_offset().is_none_or(fits));
        }
        if let Ok(upper) = UpperLayer::find(next, rest) {
            prop_assert!(upper.offset as usize <= rest.len());
        }
        for located in TcpOptions::new(rest) {
            prop_assert!(located.len > 0 && located.offset + located.len <= rest.len());
        }
    }

    #[test]
    fn every_place_in_a_summary_lies_in_the_options(
        mut options in proptest::collection::vec(any::<u8>(), 0..48),
        kinds in any::<[u8; 3]>(),
    ) {
        let set = kinds.iter().fold(KindSet::TOA, |set, kind| set.with(*kind));
        let summary = OptionSummary::new(&options, &set);
        let len = options.len();
        let fits = |at: u8, size: usize| at as usize + size <= len;
        prop_assert!(summary.mss.is_none_or(|(at, _)| fits(at, 4)));
        prop_assert!(summary.wscale.is_none_or(|(at, _)| fits(at, 3)));
        prop_assert!(summary.timestamps.is_none_or(|at| fits(at, 10)));
        prop_assert!(summary.sack.is_none_or(|(at, blocks)| fits(at, 2 + 8 * blocks as usize)));
        for toa in summary.toa.iter(&options) {
            prop_assert!(fits(toa.offset, toa.len as usize) && set.contains(toa.kind));
        }
        let _ = summary.toa.blank(&mut options, Delta::new());
        prop_assert!(OptionSummary::new(&options, &set).toa.is_empty());
    }

    #[test]
    fn completing_touches_two_bytes_and_leaves_a_right_checksum(mut frame in any_frame()) {
        let Ok(parsed) = Parsed::parse(&frame) else { return Ok(()) };
        let before = frame.clone();
        let completed = complete_partial(&mut frame, &parsed);
        let changed: Vec<usize> =
            (0..frame.len()).filter(|at| frame[*at] != before[*at]).collect();
        match completed {
            Completed::No => prop_assert!(changed.is_empty()),
            Completed::Yes => {
                prop_assert!(changed.len() <= 2);
                prop_assert_eq!(verify_frame(&frame), Ok(()));
            }
        }
    }

    #[test]
    fn what_was_filled_in_verifies(mut frame in any_frame()) {
        let is_v4 = Parsed::parse(&frame).is_ok_and(|parsed| parsed.v4().is_some());
        let filled = fill_checksums(&mut frame);
        prop_assert!(filled.is_some() || !is_v4);
        if filled.is_some() {
            prop_assert_eq!(verify_frame(&frame), Ok(()));
        }
    }

    #[test]
    fn an_icmp_error_about_anything_verifies(
        quoted in proptest::collection::vec(any::<u8>(), 0..1600),
        numbers in any::<(u8, u8, u16)>(),
        room in 0usize..700,
    ) {
        let (kind, code, mtu) = numbers;
        let repr = IcmpErrorRepr { kind, code, mtu, quoted: &quoted };
        let mut bytes = vec![0xee; room];
        let emitted = repr.emit(&mut bytes).is_some();
        prop_assert_eq!(emitted, room >= repr.buffer_len());
        if emitted {
            let message = &bytes[..repr.buffer_len()];
            prop_assert!(weir_wire::Sum::of(message).is_valid());
            prop_assert!(quoted.starts_with(&message[8..]));
        } else {
            prop_assert!(bytes.iter().all(|byte| *byte == 0xee));
        }
    }

    #[test]
    fn a_gap_opens_where_it_was_asked_for(
        chunk in proptest::collection::vec(any::<u8>(), 0..40),
        range in (0usize..50, 0usize..50),
        at in 0usize..50,
        len in prop_oneof![0usize..20, Just(usize::MAX)],
    ) {
        let mut copy = chunk.clone();
        let Some(mut frame) = FrameBuf::new(&mut copy, range.0..range.1) else {
            prop_assert!(range.0 > range.1 || range.1 > chunk.len());
            return Ok(());
        };
        let mut expected = chunk[range.0..range.1].to_vec();
        let room = range.0 >= len || len <= chunk.len() - range.1;
        let opened = frame.insert_gap(at, len).is_some();
        prop_assert_eq!(opened, at <= expected.len() && room);
        if opened {
            expected.splice(at..at, std::iter::repeat_n(0, len));
        }
        prop_assert_eq!(frame.bytes(), &expected[..]);
    }
}
