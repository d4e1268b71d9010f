//! Packets that others made, judged by others: Linux sent them, tcpdump described them and verified
//! their checksums.
//!
//! `kernel.txt` was captured on a veth with checksum offload off, `partial.txt` with it on (what
//! tcpdump says the checksum is and should be), `crafted.txt` holds odd but valid packets with
//! tcpdump's description.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by a panic"
)]

use weir_wire::{
    Completed, Delta, Describe, Header, Ipv4Header, Kind, L4, Parsed, TcpHeader, U16,
    complete_partial, fill_checksums, verify_frame,
};

const KERNEL: &str = include_str!("captures/kernel.txt");
const CRAFTED: &str = include_str!("captures/crafted.txt");
const PARTIAL: &str = include_str!("captures/partial.txt");

/// Pairs of a line and the frame in hexadecimal under it.
fn read(text: &str) -> Vec<(&str, Vec<u8>)> {
    let lines: Vec<&str> = text.lines().collect();
    let pairs: Vec<_> = lines
        .chunks_exact(2)
        .map(|pair| {
            let digits = pair[1].as_bytes().chunks_exact(2);
            let byte = |two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap();
            (pair[0], digits.map(byte).collect())
        })
        .collect();
    assert!(pairs.len() > 10, "the captures are there");
    pairs
}

fn whole_packets() -> Vec<(&'static str, Vec<u8>)> {
    read(KERNEL).into_iter().chain(read(CRAFTED)).collect()
}

#[test]
fn frames_are_described_in_the_words_of_tcpdump() {
    for (line, frame) in whole_packets() {
        // tcpdump takes apart what Weir only counts: multicast listener reports and ICMPv6 errors.
        if line.contains("ICMP6, destination") || line.contains("HBH") {
            continue;
        }
        // It guesses a protocol from port 80.
        let expected = line.trim_end_matches(": HTTP");
        let expected = expected.strip_prefix("IP ").unwrap_or(expected);
        let found = Describe(&frame).to_string();
        // Weir adds the tag, which fragment this is, and what an ICMP error is about.
        let found = found.strip_prefix("vlan 5, ").unwrap_or(&found);
        let end = found
            .find(" [about")
            .or_else(|| found.find(" (frag"))
            .unwrap_or(found.len());
        assert_eq!(&found[..end], expected);
    }
}

#[test]
fn checksums_of_linux_are_right() {
    for (line, frame) in whole_packets() {
        assert_eq!(verify_frame(&frame), Ok(()), "{line}");
    }
}

#[test]
fn one_flipped_bit_is_found() {
    for (line, frame) in whole_packets() {
        let Ok(Parsed {
            kind: Kind::Ipv4(v4),
            l3,
            ..
        }) = Parsed::parse(&frame)
        else {
            continue;
        };
        let no_checksum =
            matches!(v4.l4_kind, L4::Udp { .. }) && frame[v4.l4 as usize + 6..][..2] == [0, 0];
        let end = if no_checksum || v4.fragment.is_some() {
            v4.l4
        } else {
            l3 + v4.total_len
        };
        for bit in l3 as usize * 8..end as usize * 8 {
            let mut bad = frame.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // Which protocol it is says the header; a flip there may only be found by the header's
            // own checksum.
            assert!(verify_frame(&bad).is_err(), "{line}: bit {bit}");
        }
    }
}

#[test]
fn filled_in_checksums_are_those_of_linux() {
    for (line, frame) in whole_packets() {
        let Ok(Parsed {
            kind: Kind::Ipv4(v4),
            l3,
            ..
        }) = Parsed::parse(&frame)
        else {
            continue;
        };
        let offset = match v4.l4_kind {
            L4::Tcp(_) => 16,
            L4::Udp { .. } => 6,
            L4::Icmp { .. } => 2,
            L4::NonFirstFragment | L4::Other(_) => continue,
        };
        let field = v4.l4 as usize + offset;
        if v4.fragment.is_some() || frame[field..][..2] == [0, 0] {
            continue;
        }
        let mut blank = frame.clone();
        blank[l3 as usize + 10..][..2].fill(0xab);
        blank[field..][..2].fill(0xcd);
        assert_eq!(fill_checksums(&mut blank), Some(()));
        assert_eq!(blank, frame, "{line}");
    }
}

#[test]
fn partial_checksums_are_completed_to_what_tcpdump_expects() {
    for (line, frame) in read(PARTIAL) {
        let number = |text: &str| u16::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
        let (found, expected) = line.split_once(" -> ").unwrap();
        let parsed = Parsed::parse(&frame).unwrap();
        let v4 = parsed.v4().unwrap();
        let field = v4.l4 as usize + if v4.tcp().is_some() { 16 } else { 6 };
        assert_eq!(U16::at(&frame, field).unwrap().get(), number(found));

        let mut whole = frame.clone();
        assert_eq!(complete_partial(&mut whole, &parsed), Completed::Yes);
        assert_eq!(
            U16::at(&whole, field).unwrap().get(),
            number(expected),
            "{line}"
        );
        assert_eq!(verify_frame(&whole), Ok(()));
        whole[field..][..2].copy_from_slice(&frame[field..][..2]);
        assert_eq!(whole, frame, "nothing but the checksum changed");
    }
}

#[test]
fn whole_checksums_are_left_alone() {
    for (line, frame) in whole_packets() {
        let parsed = Parsed::parse(&frame).unwrap();
        let mut after = frame.clone();
        assert_eq!(
            complete_partial(&mut after, &parsed),
            Completed::No,
            "{line}"
        );
        assert_eq!(after, frame);
    }
}

#[test]
fn rewriting_addresses_ports_and_sequence_keeps_a_segment_right() {
    for (line, mut frame) in whole_packets() {
        let Ok(parsed) = Parsed::parse(&frame) else {
            continue;
        };
        let Some((v4, tcp)) = parsed.v4().and_then(|v4| Some((*v4, *v4.tcp()?))) else {
            continue;
        };
        let (lip, real) = ([192, 168, 255, 254], [172, 16, 0, 1]);

        let ip = Ipv4Header::at_mut(&mut frame, parsed.l3 as usize).unwrap();
        let addrs = Delta::new()
            .replace_bytes4(ip.src, lip)
            .replace_bytes4(ip.dst, real);
        (ip.src, ip.dst) = (lip, real);
        let old = ip.ttl_word();
        ip.ttl -= 1;
        ip.checksum = addrs
            .replace_u16(old, ip.ttl_word())
            .apply(ip.checksum.get())
            .into();

        let header = TcpHeader::at_mut(&mut frame, v4.l4 as usize).unwrap();
        let (seq, port) = (tcp.seq + 0xdead_beef, 61_000);
        let delta = addrs
            .replace_u32(header.seq.get(), seq.0)
            .replace_u16(tcp.src_port, port);
        header.seq = seq.0.into();
        header.src_port = port.into();
        header.checksum = delta.apply(header.checksum.get()).into();
        assert_eq!(verify_frame(&frame), Ok(()), "{line}");

        // Bit by bit what adding up the whole packet gives.
        let mut filled = frame.clone();
        assert_eq!(fill_checksums(&mut filled), Some(()));
        assert_eq!(filled, frame, "{line}");
    }
}
