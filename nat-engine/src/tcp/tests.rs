use super::*;
use crate::fixture::{CLIENT_ISN, ISN, REAL_ISN, segment, session};

fn from_client(s: &mut Session, flags: TcpFlags, seq: u32, ack: u32, len: u16) -> State {
    let seq = CLIENT_ISN.wrapping_add(seq);
    let tcp = segment(flags, seq, REAL_ISN.wrapping_add(ack), len);
    track(s, Direction::Inbound, &tcp, &OptionSummary::default());
    s.state
}

fn from_real(s: &mut Session, flags: TcpFlags, seq: u32, ack: u32, len: u16) -> State {
    let tcp = segment(
        flags,
        REAL_ISN.wrapping_add(seq),
        ISN.wrapping_add(ack),
        len,
    );
    let options = OptionSummary {
        wscale: Some((0, 7)),
        ..OptionSummary::default()
    };
    track(s, Direction::Outbound, &tcp, &options);
    s.state
}

const A: TcpFlags = TcpFlags::ACK;
const SA: TcpFlags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);
const FA: TcpFlags = TcpFlags(TcpFlags::FIN.0 | TcpFlags::ACK.0);
const R: TcpFlags = TcpFlags::RST;

fn established() -> Session {
    let mut s = session();
    assert_eq!(from_real(&mut s, SA, 0, 1, 0), State::SynRecv);
    assert_eq!(from_client(&mut s, A, 1, 1, 0), State::Established);
    s
}

#[test]
fn both_fins_acknowledged_closes_the_session_across_the_wrap() {
    let mut s = established();
    assert_eq!(from_client(&mut s, A, 1, 1, 300), State::Established);
    assert_eq!(from_real(&mut s, A, 1, 301, 100), State::Established);
    assert_eq!(from_real(&mut s, FA, 101, 301, 0), State::FinWait);
    assert_eq!(from_client(&mut s, A, 301, 102, 0), State::FinWait);
    assert_eq!(from_client(&mut s, FA, 301, 102, 0), State::LastAck);
    assert_eq!(from_real(&mut s, A, 102, 302, 0), State::TimeWait);
}

#[test]
fn a_half_closed_session_stays_open_for_the_other_side() {
    let mut s = established();
    assert_eq!(from_client(&mut s, FA, 1, 1, 0), State::CloseWait);
    assert_eq!(from_real(&mut s, A, 1, 2, 1000), State::CloseWait);
    assert_eq!(from_client(&mut s, A, 2, 1001, 0), State::CloseWait);
    assert_eq!(s.client_ack, SeqNumber(REAL_ISN) + 1001);
}

#[test]
fn a_guessed_rst_or_fin_moves_nothing() {
    let mut s = established();
    let far = 0x4000_0000;
    assert_eq!(from_client(&mut s, R, far, 0, 0), State::Established);
    assert_eq!(from_client(&mut s, FA, far, 1, 0), State::Established);
    assert_eq!(from_real(&mut s, R, far, 0, 0), State::Established);
    assert_eq!(from_real(&mut s, FA, far, 1, 0), State::Established);
    assert_eq!(s.client_end, SeqNumber(CLIENT_ISN) + 1);
}

#[test]
fn a_rst_behind_data_in_flight_closes_the_session() {
    let mut s = established();
    from_client(&mut s, A, 1, 1, 500);
    assert_eq!(from_client(&mut s, R, 501, 0, 0), State::Close);
    let mut s = established();
    assert_eq!(from_real(&mut s, R, 1, 0, 0), State::Close);
}

#[test]
fn a_refused_connection_closes_only_when_the_rst_acknowledges_the_syn() {
    let mut s = session();
    assert_eq!(from_real(&mut s, R | A, 0, 7, 0), State::SynSent);
    assert_eq!(from_real(&mut s, R | A, 0, 1, 0), State::Close);
}

#[test]
fn a_challenge_ack_to_our_syn_is_answered_once_per_syn() {
    let mut s = session();
    let ack = segment(A, 77, 99, 0);
    let none = OptionSummary::default();
    assert_eq!(
        track(&mut s, Direction::Outbound, &ack, &none),
        Step::Challenged
    );
    assert_eq!(track(&mut s, Direction::Outbound, &ack, &none), Step::Pass);
    from_client(&mut s, TcpFlags::SYN, 0, 0, 0);
    assert_eq!(
        track(&mut s, Direction::Outbound, &ack, &none),
        Step::Challenged
    );
}

#[test]
fn a_syn_replaces_only_what_is_closed_or_unproven() {
    let mut s = session();
    let same = segment(TcpFlags::SYN, CLIENT_ISN, 0, 0);
    let other = segment(TcpFlags::SYN, 1, 0, 0);
    assert!(!s.is_new_syn(&same), "a retransmission keeps its session");
    assert!(s.is_new_syn(&other));
    let mut s2 = established();
    assert!(!s2.is_new_syn(&other));
    s2.state = State::TimeWait;
    assert!(s2.is_new_syn(&other));
    s.state = State::Close;
    assert!(s.is_new_syn(&same));
}

#[test]
fn the_client_address_is_wanted_until_the_real_server_has_taken_the_handshake() {
    let mut s = established();
    assert!(s.flags.has(SessionFlags::TOA_WANTED));
    from_real(&mut s, A, 1, 1, 0);
    assert!(
        s.flags.has(SessionFlags::TOA_WANTED),
        "a bare window update proves nothing"
    );
    from_client(&mut s, A, 1, 1, 10);
    from_real(&mut s, A, 1, 11, 0);
    assert!(!s.flags.has(SessionFlags::TOA_WANTED));
}

#[test]
fn windows_are_scaled_only_when_both_ends_offered_it() {
    let mut s = established();
    assert_eq!(s.client_window, 502 << 7);
    s.client_wscale = Session::NO_WSCALE;
    from_real(&mut s, A, 1, 1, 0);
    assert_eq!(s.real_window, 502);
}

#[test]
fn a_fin_behind_what_was_acknowledged_is_a_guess_and_moves_nothing() {
    let old = 0u32.wrapping_sub(0x4000_0000);
    let mut s = established();
    assert_eq!(from_client(&mut s, FA, old, 1, 0), State::Established);
    assert_eq!(from_real(&mut s, FA, old, 1, 0), State::Established);
    assert!(!s.flags.has(SessionFlags::CLIENT_FIN) && !s.flags.has(SessionFlags::REAL_FIN));
}

#[test]
fn who_guesses_only_one_of_the_numbers_moves_nothing() {
    for ack in [2, 0x4000_0000, 0xc000_0000] {
        let mut s = established();
        assert_eq!(
            from_client(&mut s, A, 20_000, ack, 1000),
            State::Established
        );
        assert_eq!(from_client(&mut s, FA, 1, ack, 0), State::Established);
        // Nothing is on its way, so no RST but the exact one counts.
        assert_eq!(from_client(&mut s, R, 20_500, 0, 0), State::Established);
        assert_eq!(from_client(&mut s, R, 1, 0, 0), State::Close);
    }
    let mut s = established();
    let psh = TcpFlags::PSH;
    assert_eq!(
        from_client(&mut s, psh, 20_000, 1, 1000),
        State::Established
    );
    assert_eq!(from_client(&mut s, R, 20_500, 0, 0), State::Established);
}

#[test]
fn a_repeated_fin_with_data_still_counts() {
    let mut s = established();
    from_client(&mut s, A, 1, 1, 100);
    from_real(&mut s, A, 1, 51, 0);
    assert_eq!(from_client(&mut s, FA, 1, 1, 100), State::CloseWait);
    assert_eq!(s.client_fin, SeqNumber(CLIENT_ISN) + 101);
}

#[test]
fn a_closed_window_whose_ack_was_lost_on_the_way_does_not_stop_the_tracking() {
    let mut s = established();
    let mut closed = segment(A, CLIENT_ISN.wrapping_add(1), REAL_ISN.wrapping_add(1), 0);
    closed.window = 0;
    track(
        &mut s,
        Direction::Inbound,
        &closed,
        &OptionSummary::default(),
    );
    // The real server still counts with the window of the ACK before.
    for at in 0..20 {
        from_real(&mut s, A, 1 + at * 1460, 1, 1460);
    }
    assert_eq!(
        from_client(&mut s, A, 1, 1 + 20 * 1460, 0),
        State::Established
    );
    assert_eq!(from_real(&mut s, FA, 1 + 20 * 1460, 1, 0), State::FinWait);
}

#[test]
fn data_in_the_syn_is_acknowledged_or_not() {
    for ack in [1, 101] {
        let mut s = session();
        s.client_end = SeqNumber(CLIENT_ISN) + 101;
        assert_eq!(from_real(&mut s, SA, 0, ack, 0), State::SynRecv);
        // A server of such a client may answer before the handshake is complete.
        assert_eq!(from_real(&mut s, A, 1, ack, 1000), State::SynRecv);
        assert_eq!(from_client(&mut s, A, 101, 501, 0), State::Established);
    }
    let mut s = session();
    s.client_end = SeqNumber(CLIENT_ISN) + 101;
    assert_eq!(from_real(&mut s, R | A, 0, 101, 0), State::Close);
}

#[test]
fn a_proxied_session_that_begins_anew_leaves_the_handshake_to_its_client() {
    let mut s = session();
    s.begin_proxied(SeqNumber(0x3000_0001), Some(7));
    let tcp = segment(SA, REAL_ISN, ISN + 1, 0);
    let options = OptionSummary::default();
    assert_eq!(
        track(&mut s, Direction::Outbound, &tcp, &options),
        Step::Accepted
    );
    assert_eq!(
        track(&mut s, Direction::Outbound, &tcp, &options),
        Step::Repeated
    );
    from_client(&mut s, TcpFlags::SYN, 0x2000_0000, 0, 0);
    let anew = segment(SA, 0x7000_0000, ISN.wrapping_add(0x2000_0001), 0);
    for _ in 0..2 {
        // The first may be lost on its way to the client.
        assert_eq!(
            track(&mut s, Direction::Outbound, &anew, &options),
            Step::Pass
        );
        assert_eq!(s.state, State::SynRecv);
    }
}

#[test]
fn what_a_real_server_says_in_unknown_numbers_does_not_reach_a_client_with_a_cookie() {
    let odd = [
        (A, Step::Challenged, Step::Challenged),
        (A, Step::Pass, Step::Absorbed),
        (R, Step::Pass, Step::Absorbed),
        (TcpFlags::SYN, Step::Pass, Step::Absorbed),
    ];
    let (mut plain, mut proxied) = (session(), session());
    proxied.begin_proxied(SeqNumber(0x3000_0001), None);
    for (flags, of_plain, of_proxied) in odd {
        let tcp = segment(flags, 70_000, ISN.wrapping_sub(77), 0);
        let options = OptionSummary::default();
        let step = track(&mut plain, Direction::Outbound, &tcp, &options);
        assert_eq!(step, of_plain, "{flags:?}");
        let step = track(&mut proxied, Direction::Outbound, &tcp, &options);
        assert_eq!(step, of_proxied, "{flags:?}");
    }
    assert_eq!(proxied.state, State::SynSent);
}

#[test]
fn a_real_server_that_accepts_anew_begins_the_session_anew() {
    let mut s = established();
    from_client(&mut s, A, 1, 1, 10);
    from_real(&mut s, FA, 1, 11, 0);
    assert_eq!(s.state, State::FinWait);
    assert!(!s.flags.has(SessionFlags::TOA_WANTED));
    // No SYN-ACK counts that nobody asked for, and the old one again is no answer.
    assert_eq!(
        from_real(&mut s, SA, 0x7000_0000, 0x2000_0001, 0),
        State::FinWait
    );
    from_client(&mut s, TcpFlags::SYN, 0x2000_0000, 0, 0);
    assert_eq!(from_real(&mut s, SA, 0, 1, 0), State::FinWait);
    assert_eq!(
        from_real(&mut s, SA, 0x7000_0000, 0x2000_0001, 0),
        State::SynRecv
    );
    assert!(s.flags.has(SessionFlags::TOA_WANTED));
    assert_eq!(
        from_client(&mut s, A, 0x2000_0001, 0x7000_0001, 0),
        State::Established
    );
    assert_eq!(
        from_client(&mut s, FA, 0x2000_0001, 0x7000_0001, 0),
        State::CloseWait
    );
    assert_eq!(
        from_real(&mut s, FA, 0x7000_0001, 0x2000_0002, 0),
        State::LastAck
    );
    assert_eq!(
        from_client(&mut s, A, 0x2000_0002, 0x7000_0002, 0),
        State::TimeWait
    );
}
