//! The steady segment: what nearly every segment of a session is once both ends are at work.
//!
//! It acknowledges, with data or without, with a FIN or without; its session is open and waits for
//! nothing; its options are none, or the timestamps in their usual place. So what it needs of
//! [`track`](crate::track) and [`translate_tcp`](crate::translate_tcp) can be done without a
//! question. The tests hold it against both.

use weir_wire::{Delta, Header as _, OptionKind, Tcp, TcpHeader, V4};

use crate::rewrite::{note_tsval, shift_window};
use crate::tcp::{advance_client, advance_real};
use crate::{Direction, Session};

/// Words of the IPv4 and TCP headers of a plain frame.
const HEADERS: usize = 10;
/// Words of the timestamps behind them, with the NOPs in front.
const STAMPS: usize = 3;

/// What stands behind the fixed header of a steady segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SteadyOptions {
    /// Nothing.
    None,
    /// Two NOPs and the timestamps (RFC 7323 appendix A).
    Timestamps,
}

impl SteadyOptions {
    /// Reads the options of a segment in a plain frame; nothing when they are others.
    #[inline]
    #[must_use]
    pub fn of(frame: &[u8], tcp: &Tcp) -> Option<Self> {
        const BARE: u16 = TcpHeader::LEN as u16;
        const STAMPED: u16 = BARE + (STAMPS * 4) as u16;
        match tcp.header_len {
            BARE => Some(Self::None),
            STAMPED => {
                let at = V4::PLAIN_L4 as usize + TcpHeader::LEN;
                let first = frame.get(at..)?.first_chunk::<4>()?;
                let usual = [OptionKind::NOP, OptionKind::NOP, OptionKind::TIMESTAMPS, 10];
                (*first == usual).then_some(Self::Timestamps)
            }
            _ => None,
        }
    }
}

/// Tracks and translates a [regular](Session::is_regular) segment in a plain frame, in place; it
/// may move the session's state.
///
/// Nothing changes, and the answer is `None`, when the frame is shorter than its headers say.
#[inline]
pub fn pass_steady(
    frame: &mut [u8],
    tcp: &Tcp,
    options: SteadyOptions,
    session: &mut Session,
    direction: Direction,
) -> Option<()> {
    let packet = frame.get_mut(V4::PLAIN_L3 as usize..)?;
    let (headers, rest) = packet
        .as_chunks_mut::<4>()
        .0
        .split_first_chunk_mut::<HEADERS>()?;
    let stamps = match options {
        SteadyOptions::None => None,
        SteadyOptions::Timestamps => Some(rest.first_chunk_mut::<STAMPS>()?),
    };
    let [_, _, ttl, src, dst, ports, seq, ack, window, check] = headers;

    let (new_src, src_port, new_dst, dst_port) = session.outgoing(direction);
    let shifts = session.shifts(direction);
    let addresses = put(src, new_src.octets(), Delta::new());
    let addresses = put(dst, new_dst.octets(), addresses);
    let [hops, protocol, c0, c1] = *ttl;
    let left = hops.saturating_sub(1);
    let delta = put(
        &mut [hops, protocol, 0, 0],
        [left, protocol, 0, 0],
        addresses,
    );
    let [c0, c1] = mend([c0, c1], delta);
    *ttl = [left, protocol, c0, c1];

    let [s0, s1] = src_port.to_be_bytes();
    let [d0, d1] = dst_port.to_be_bytes();
    let mut delta = put(ports, [s0, s1, d0, d1], addresses);
    delta = add(seq, shifts.seq, delta);
    delta = add(ack, shifts.ack, delta);
    let window_shift = session.wire_shift(direction);
    if window_shift != 0 {
        let [offset, flags, ..] = *window;
        let [w0, w1] = shift_window(tcp.window, window_shift).to_be_bytes();
        delta = put(window, [offset, flags, w0, w1], delta);
    }
    if let Some([_, value, echo]) = stamps {
        delta = add(value, shifts.tsval, delta);
        delta = add(echo, shifts.tsecr, delta);
        if direction == Direction::Inbound {
            note_tsval(session, u32::from_be_bytes(*value));
        }
    }
    let [c0, c1, u0, u1] = *check;
    let [c0, c1] = mend([c0, c1], delta);
    *check = [c0, c1, u0, u1];

    match direction {
        Direction::Inbound => advance_client(session, tcp),
        Direction::Outbound => advance_real(session, tcp),
    }
    Some(())
}

/// Puts a word and notes the change.
///
/// Words are added up as the machine reads them: a sum does not care which byte comes first, as
/// long as it is the same everywhere (RFC 1071 section 2 B).
#[inline]
fn put(word: &mut [u8; 4], new: [u8; 4], delta: Delta) -> Delta {
    let old = core::mem::replace(word, new);
    delta.replace_u32(u32::from_ne_bytes(old), u32::from_ne_bytes(new))
}

/// Adds to a number, wrapping, and notes the change.
#[inline]
fn add(word: &mut [u8; 4], shift: u32, delta: Delta) -> Delta {
    put(
        word,
        u32::from_be_bytes(*word).wrapping_add(shift).to_be_bytes(),
        delta,
    )
}

/// Returns a checksum after the changes.
#[inline]
fn mend(checksum: [u8; 2], delta: Delta) -> [u8; 2] {
    delta.apply(u16::from_ne_bytes(checksum)).to_ne_bytes()
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;
    use weir_wire::{
        FrameBuf, Ipv4Repr, KindSet, OptionSummary, Parsed, SeqDelta, SeqNumber, TcpFlags, TcpRepr,
        Timestamps, verify_frame,
    };

    use super::*;
    use crate::fixture::session;
    use crate::{OptionPolicy, SessionFlags, State, Step, track, translate_tcp};

    /// A steady segment of one end.
    fn frame(
        seq: u32,
        ack: u32,
        window: u16,
        stamps: Option<(u32, u32)>,
        payload: &[u8],
    ) -> Vec<u8> {
        let flags = TcpFlags::ACK | TcpFlags::PSH;
        segment(flags, seq, ack, window, stamps, payload)
    }

    /// A segment of one end, in a frame with the padding of a short one.
    fn segment(
        flags: TcpFlags,
        seq: u32,
        ack: u32,
        window: u16,
        stamps: Option<(u32, u32)>,
        payload: &[u8],
    ) -> Vec<u8> {
        let tcp = TcpRepr {
            src_port: 40000,
            dst_port: 80,
            seq: SeqNumber(seq),
            ack: SeqNumber(ack),
            flags,
            window,
            timestamps: stamps.map(|(tsval, tsecr)| Timestamps { tsval, tsecr }),
            ..TcpRepr::default()
        };
        let ip = Ipv4Repr {
            src: "192.0.2.1".parse().unwrap(),
            dst: "203.0.113.1".parse().unwrap(),
            protocol: 6,
            ttl: 64,
            tos: 0,
            ident: 1,
            dont_fragment: true,
            payload_len: (tcp.buffer_len() + payload.len()) as u16,
        };
        let mut frame = alloc::vec![0; V4::PLAIN_L4 as usize + tcp.buffer_len()];
        frame[12] = 8;
        frame[13] = 0;
        ip.emit(&mut frame[14..]).unwrap();
        tcp.emit(&mut frame[34..]).unwrap();
        frame.extend(payload);
        weir_wire::fill_checksums(&mut frame).unwrap();
        frame
    }

    fn small() -> impl Strategy<Value = u32> {
        prop_oneof![0u32..3000, any::<u32>()]
    }

    prop_compose! {
        fn sessions()(
            shifts in any::<[u32; 4]>(),
            numbers in prop::array::uniform4(small()),
            windows in prop::array::uniform2(0u32..100_000),
            scales in prop::array::uniform2(prop_oneof![0u8..15, Just(255u8)]),
            fins in prop::array::uniform2(small()),
            window_shift in -14i8..15,
            flags in any::<[bool; 8]>(),
            state in prop::sample::select(State::ALL),
            last_tsval in any::<u32>(),
        ) -> Session {
            let mut session = session();
            session.state = state;
            session.inbound_seq = SeqDelta(shifts[0]);
            session.outbound_seq = SeqDelta(shifts[1]);
            session.inbound_ts = shifts[2];
            session.outbound_ts = shifts[3];
            session.client_end = SeqNumber(numbers[0]);
            session.client_ack = SeqNumber(numbers[1]);
            session.real_end = session.outbound_seq.unapply(SeqNumber(numbers[2]));
            session.real_ack = session.inbound_seq.apply(SeqNumber(numbers[3]));
            session.client_fin = SeqNumber(fins[0]);
            session.real_fin = session.outbound_seq.unapply(SeqNumber(fins[1]));
            [session.client_window, session.real_window] = windows;
            [session.client_wscale, session.real_wscale] = scales;
            session.window_shift = window_shift;
            session.last_tsval = last_tsval;
            let each = [
                SessionFlags::TOA_WANTED, SessionFlags::CLIENT_ACKED, SessionFlags::REAL_ACKED,
                SessionFlags::TIMESTAMPS, SessionFlags::SCALE_INBOUND, SessionFlags::PROXIED,
                SessionFlags::CLIENT_FIN, SessionFlags::REAL_FIN,
            ];
            session.flags = SessionFlags::default();
            for (flag, set) in each.into_iter().zip(flags) {
                if set {
                    session.flags.set(flag);
                }
            }
            session
        }
    }

    proptest! {
        #[test]
        fn a_regular_segment_leaves_frame_and_session_as_the_general_way_does(
            before in sessions(),
            outbound in any::<bool>(),
            fin in any::<bool>(),
            seq in small(),
            ack in small(),
            window in any::<u16>(),
            stamps in any::<Option<(u32, u32)>>(),
            payload in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
            let flags = TcpFlags::ACK | if fin { TcpFlags::FIN } else { TcpFlags::PSH };
            let arrived = segment(flags, seq, ack, window, stamps, &payload);
            prop_assert_eq!(verify_frame(&arrived), Ok(()));
            let v4 = *Parsed::parse(&arrived).unwrap().v4().unwrap();
            let tcp = *v4.tcp().unwrap();
            prop_assume!(before.is_regular(&tcp));
            let steady = before.state == State::Established && !fin;

            let (mut expected, mut other) = (arrived.clone(), before);
            let options = OptionSummary::new(v4.tcp_options(&arrived).unwrap(), &KindSet::TOA);
            let step = track(&mut other, direction, &tcp, &options);
            prop_assert_eq!(step, Step::Pass);
            let len = expected.len();
            let mut buf = FrameBuf::new(&mut expected, 0..len).unwrap();
            let policy = OptionPolicy { mss_limit: Some(1000), strip_timestamps: true };
            translate_tcp(&mut buf, 14, &v4, &mut other, direction, &options, policy).unwrap();
            let moves = before.flags.has_any(SessionFlags::CLIENT_FIN.with(SessionFlags::REAL_FIN));
            prop_assert!(!steady || moves || other.state == before.state);

            let (mut passed, mut session) = (arrived.clone(), before);
            let options = SteadyOptions::of(&passed, &tcp).unwrap();
            pass_steady(&mut passed, &tcp, options, &mut session, direction).unwrap();
            prop_assert_eq!(&passed, &expected);
            prop_assert_eq!(verify_frame(&passed), Ok(()));
            prop_assert_eq!(alloc::format!("{session:?}"), alloc::format!("{other:?}"));
        }
    }

    #[test]
    fn what_begins_or_resets_a_connection_or_belongs_to_none_is_not_regular() {
        let mut s = session();
        s.state = State::Established;
        s.flags = SessionFlags::default();
        let tcp = |flags| crate::fixture::segment(flags, 0, 0, 0);
        let ack = tcp(TcpFlags::ACK);
        assert!(s.is_regular(&ack) && s.is_regular(&tcp(TcpFlags::ACK | TcpFlags::FIN)));
        for odd in [TcpFlags::SYN, TcpFlags::RST] {
            assert!(!s.is_regular(&tcp(TcpFlags::ACK | odd)));
        }
        assert!(!s.is_regular(&tcp(TcpFlags::PSH)));
        s.waiting = 3;
        assert!(!s.is_regular(&ack));
        s.waiting = Session::NOT_WAITING;
        s.flags.set(SessionFlags::EXPIRED);
        assert!(!s.is_regular(&ack));
        s.flags.clear(SessionFlags::EXPIRED);
        for state in State::ALL {
            s.state = *state;
            let over = state.is_closed() || *state == State::SynSent;
            let datagrams = matches!(state, State::OneWay | State::Flowing);
            assert_eq!(s.is_regular(&ack), !over && !datagrams, "{state:?}");
        }
    }

    #[test]
    fn other_options_are_left_to_the_general_way() {
        let mut frame = frame(1, 2, 3, Some((4, 5)), b"x");
        let read = |frame: &[u8]| {
            let v4 = V4::plain_again(frame).unwrap();
            SteadyOptions::of(frame, v4.tcp().unwrap())
        };
        assert_eq!(read(&frame), Some(SteadyOptions::Timestamps));
        frame[54] = OptionKind::SACK;
        assert_eq!(read(&frame), None);
        frame[46] = 0x60;
        assert_eq!(read(&frame), None);
        frame[46] = 0x50;
        assert_eq!(read(&frame), Some(SteadyOptions::None));
    }
}
