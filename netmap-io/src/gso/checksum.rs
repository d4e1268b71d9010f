//! The Internet checksum of whole packets (RFC 1071).

use super::layout::{Layout, TCP, UDP, read_u16};

/// Adds the 16-bit words of `bytes` in the machine's byte order, an odd last byte padded with zero.
///
/// The sum of a few hundred thousand bytes cannot overflow, and sums of even-length pieces may be
/// added to each other.
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    let mut total = 0u64;
    let (blocks, rest) = bytes.as_chunks::<32>();
    for block in blocks {
        let mut part = 0u64;
        for word in block.as_chunks::<4>().0 {
            part += u64::from(u32::from_ne_bytes(*word));
        }
        total += part;
    }
    let (pairs, last) = rest.as_chunks::<2>();
    for pair in pairs {
        total += u64::from(u16::from_ne_bytes(*pair));
    }
    if let [byte] = last {
        total += u64::from(u16::from_ne_bytes([*byte, 0]));
    }
    total
}

/// Folds a sum into 16 bits; its complement, in the machine's byte order, is the checksum.
pub(crate) fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// Returns the sum of the pseudo header for `length` bytes of transport header and payload.
pub(crate) fn pseudo_sum(frame: &[u8], layout: Layout, length: usize) -> Option<u64> {
    let addresses = if layout.v6 {
        frame.get(layout.ip + 8..layout.ip + 40)?
    } else {
        frame.get(layout.ip + 12..layout.ip + 20)?
    };
    let [l3, l2, l1, l0] = (length as u32).to_be_bytes();
    Some(sum(addresses) + sum(&[l3, l2, l1, l0, 0, layout.protocol]))
}

/// Computes the transport checksum of a whole frame and stores it.
pub(crate) fn transport_checksum(frame: &mut [u8], layout: Layout) -> Option<()> {
    let field = layout.l4 + layout.checksum_offset();
    *frame.get_mut(field..)?.first_chunk_mut()? = [0, 0];
    let transport = frame.get(layout.l4..)?;
    let total = pseudo_sum(frame, layout, transport.len())? + sum(transport);
    let mut checksum = !fold(total);
    if layout.protocol == UDP && checksum == 0 {
        // RFC 768: zero means that there is no checksum.
        checksum = 0xffff;
    }
    *frame.get_mut(field..)?.first_chunk_mut()? = checksum.to_ne_bytes();
    Some(())
}

/// Says whether a frame's TCP checksum is right; a frame with padding behind its packet is not asked
/// about.
pub(crate) fn tcp_is_right(frame: &[u8]) -> bool {
    let right = || {
        let layout = Layout::parse(frame)?;
        if layout.protocol != TCP || layout.fragment || layout.v6 {
            return None;
        }
        let length = read_u16(frame, layout.ip + 2)? as usize;
        let transport = frame.get(layout.l4..)?;
        let whole = layout.ip + length == frame.len();
        let total = pseudo_sum(frame, layout, transport.len())? + sum(transport);
        Some(whole && fold(total) == 0xffff)
    };
    right().unwrap_or(false)
}

/// Completes a checksum whose field at `start + offset` holds the pseudo-header sum, over all bytes
/// from `start`; none when there is no such field.
pub(crate) fn complete(frame: &mut [u8], start: usize, offset: usize) -> Option<()> {
    let transport = frame.get_mut(start..)?;
    let mut checksum = !fold(sum(transport));
    if checksum == 0 {
        // RFC 768: zero means that there is none; to TCP both mean the same.
        checksum = 0xffff;
    }
    *transport.get_mut(offset..)?.first_chunk_mut()? = checksum.to_ne_bytes();
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_section_3_sums_to_ddf2() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)).to_ne_bytes(), [0xdd, 0xf2]);
    }

    #[test]
    fn every_length_agrees_with_the_sum_word_by_word() {
        let bytes: Vec<u8> = (0..200u32).map(|i| (i * 37 + 11) as u8).collect();
        for n in 0..bytes.len() {
            let mut expected = 0u32;
            for pair in bytes[..n].chunks(2) {
                expected += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            }
            let expected = (expected & 0xffff) + (expected >> 16);
            let expected = (expected & 0xffff) + (expected >> 16);
            assert_eq!(
                fold(sum(&bytes[..n])).to_ne_bytes(),
                (expected as u16).to_be_bytes(),
                "{n} bytes"
            );
        }
    }

    #[test]
    fn a_tcp_checksum_is_right_until_one_bit_changes() {
        let mut frame = vec![0; 12];
        frame.extend([0x08, 0x00, 0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0]);
        frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
        frame.extend([
            0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 1, 0, 0, 0, 0, 0,
        ]);
        frame.extend(b"payload of an odd length");
        let length = (frame.len() - 14) as u16;
        frame[16..18].copy_from_slice(&length.to_be_bytes());
        // By hand: the words of pseudo header, header and payload.
        let mut total = 0u32;
        let pseudo = [10, 0, 0, 1, 10, 0, 0, 2, 0, 6];
        let words = [&pseudo[..], &(length - 20).to_be_bytes(), &frame[34..]].concat();
        for pair in words.chunks(2) {
            total += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
        }
        let total = (total & 0xffff) + (total >> 16);
        frame[50..52].copy_from_slice(&(!(total as u16)).to_be_bytes());
        assert!(tcp_is_right(&frame));
        for bit in 0..8 {
            let mut bad = frame.clone();
            bad[60] ^= 1 << bit;
            assert!(!tcp_is_right(&bad));
        }
        frame.push(0);
        assert!(!tcp_is_right(&frame), "padding");
        assert!(!tcp_is_right(&frame[..30]));
    }

    #[test]
    fn a_pseudo_header_sum_is_completed_over_all_that_follows() {
        // UDP from RFC 768's fields: port 53 to 53, nine bytes, one of them payload.
        let mut frame = vec![0xee; 4];
        frame.extend([0, 53, 0, 53, 0, 9, 0, 0, 0x41]);
        let pseudo = [10, 0, 0, 1, 10, 0, 0, 2, 0, 17, 0, 9];
        frame[10..12].copy_from_slice(&fold(sum(&pseudo)).to_ne_bytes());
        complete(&mut frame, 4, 6).unwrap();
        assert_eq!(fold(sum(&pseudo) + sum(&frame[4..])), 0xffff);
        assert!(complete(&mut frame, 4, 8).is_none());
        assert!(complete(&mut frame, 14, 0).is_none());
    }
}
