//! Sessions whose client proved itself by a cookie before the real server was asked: the numbers
//! that Weir gave the client are kept, and those of the real server are moved to them.

use weir_wire::{SeqDelta, SeqNumber, Tcp, TcpFlags};

use crate::tcp::{OLD, WINDOW_SLACK};
use crate::{Direction, Session, SessionFlags, State};

/// The bit of `storm` that says whose ACK was the last that did not fit.
const STORM_OUTBOUND: u8 = 1 << 7;

impl Session {
    /// Begins a session whose client acknowledged a cookie: `client_ack` is what it expects next,
    /// `offered_wscale` what it was told when it scales its own windows, too.
    pub const fn begin_proxied(&mut self, client_ack: SeqNumber, offered_wscale: Option<u8>) {
        self.flags.set(SessionFlags::PROXIED);
        self.flags.set(SessionFlags::CLIENT_ACKED);
        self.client_ack = client_ack;
        match offered_wscale {
            Some(offered) if self.client_wscale != Self::NO_WSCALE => {
                self.window_shift = -scale(offered);
            }
            // Scaled by nobody, unless both offer it (RFC 7323 section 2.2).
            Some(_) | None => self.client_wscale = Self::NO_WSCALE,
        }
    }

    /// Says whether the session's client has completed its handshake and waits for the real server.
    #[inline]
    #[must_use]
    pub const fn waits(&self) -> bool {
        self.waiting != Self::NOT_WAITING
    }

    /// Says whether a segment of the client fits nothing that this session is about, so that it may
    /// be the first of another handshake, one that a cookie answered.
    ///
    /// A session's own first segment, however late, is not: it begins behind the session's own
    /// first number.
    #[must_use]
    pub fn may_be_another(&self, tcp: &Tcp) -> bool {
        let sent = self.outbound_seq.apply(self.real_end);
        // Its real server never answered, even where Weir has given up since.
        let unanswered = self.state == State::SynSent
            || self.flags.has(SessionFlags::PROXIED) && !self.flags.has(SessionFlags::REAL_ACKED);
        if tcp.seq == self.client_isn() + 1 {
            // The same SYN: it was answered by a cookie before, or still after, it was passed on.
            let open = !self.flags.has(SessionFlags::PROXIED) && self.state.is_half_open();
            let acknowledges = tcp.ack.geq(self.client_ack) && tcp.ack.leq(sent);
            return open && (unanswered || !acknowledges);
        }
        if unanswered {
            // What it sends while its real server is asked still acknowledges its own cookie.
            let own = self.flags.has(SessionFlags::PROXIED)
                && tcp.ack == self.client_ack
                && tcp.seq.geq(self.client_isn())
                && tcp.seq.leq(self.client_end + OLD);
            return !own;
        }
        let expected = self.expected_of_client();
        let begins = tcp.seq.geq(expected - OLD)
            && tcp.seq.leq(
                expected
                    + self
                        .real_window
                        .saturating_add(WINDOW_SLACK)
                        .min(i32::MAX as u32),
            );
        let acknowledges = tcp.ack.geq(self.client_ack - OLD) && tcp.ack.leq(sent);
        !(begins && acknowledges)
    }

    /// Follows ACKs without data that do not fit their receiver, and says whether they have come
    /// in turn from both ends more than `threshold` times: then each answers the other for ever
    /// (RFC 9293 section 3.10.7.4 asks for an ACK in answer to each).
    ///
    /// Repeated ACKs, window updates, keep-alives and probes of a closed window fit, and end the
    /// count. A threshold of 0 finds no storm.
    pub fn is_storm(&mut self, direction: Direction, tcp: &Tcp, threshold: u16) -> bool {
        if threshold == 0 {
            return false;
        }
        let judged = TcpFlags::SYN | TcpFlags::RST | TcpFlags::FIN | TcpFlags::ACK;
        let bare = TcpFlags(tcp.flags.0 & judged.0) == TcpFlags::ACK && tcp.payload_len == 0;
        if !bare || self.is_acceptable(direction, tcp) {
            self.storm = 0;
            return false;
        }
        let side = match direction {
            Direction::Inbound => 0,
            Direction::Outbound => STORM_OUTBOUND,
        };
        let count = self.storm & !STORM_OUTBOUND;
        let answers = count == 0 || self.storm & STORM_OUTBOUND != side;
        let count = if answers {
            (count + 1).min(0x7f)
        } else {
            count
        };
        self.storm = side | count;
        u16::from(count) > threshold.min(0x7e)
    }

    /// Says whether a bare ACK is one that its receiver takes without a word.
    fn is_acceptable(&self, direction: Direction, tcp: &Tcp) -> bool {
        let (expected, window, sent) = match direction {
            Direction::Inbound => (
                self.expected_of_client(),
                self.real_window,
                self.outbound_seq.apply(self.real_end),
            ),
            Direction::Outbound => (
                self.expected_of_real(),
                self.client_window,
                self.inbound_seq.apply(self.client_end),
            ),
        };
        let reach = window.saturating_add(WINDOW_SLACK).min(i32::MAX as u32);
        tcp.seq.geq(expected - 1) && tcp.seq.leq(expected + reach) && tcp.ack.leq(sent)
    }

    /// Moves the real server's numbers to those that the client was given.
    pub(crate) fn align(&mut self, real_isn: SeqNumber, real_wscale: Option<u8>) {
        self.outbound_seq = SeqDelta::between(real_isn + 1, self.client_ack);
        if self.client_wscale == Self::NO_WSCALE {
            self.window_shift = 0;
            return;
        }
        match real_wscale {
            Some(shift) => self.window_shift += scale(shift),
            None => self.flags.set(SessionFlags::SCALE_INBOUND),
        }
    }

    /// Moves the number of the RST with which a real server refuses the connection to the one that
    /// the client expects.
    pub(crate) fn align_reset(&mut self, seq: SeqNumber) {
        if self.flags.has(SessionFlags::PROXIED) {
            self.outbound_seq = SeqDelta::between(seq, self.client_ack);
        }
    }

    /// Returns the bits by which windows on the wire are shifted.
    #[inline]
    pub(crate) const fn wire_shift(&self, direction: Direction) -> i8 {
        match direction {
            Direction::Outbound => self.window_shift,
            Direction::Inbound if self.flags.has(SessionFlags::SCALE_INBOUND) => {
                scale(self.client_wscale)
            }
            Direction::Inbound => 0,
        }
    }

    /// Takes a FIN that the client sent while the session waited for its real server.
    pub fn note_client_fin(&mut self, fin: SeqNumber) {
        self.flags.set(SessionFlags::CLIENT_FIN);
        self.client_fin = fin;
        self.state = self.state_after_fins();
    }

    /// Returns the bits by which windows towards the client are scaled.
    #[must_use]
    pub const fn scale_towards_client(&self) -> u8 {
        if self.client_wscale == Self::NO_WSCALE {
            return 0;
        }
        let real = if self.real_wscale == Self::NO_WSCALE {
            0
        } else {
            scale(self.real_wscale)
        };
        (real - self.window_shift).unsigned_abs()
    }

    /// Returns the window that the client advertised last, as a segment to the real server says it.
    #[must_use]
    pub fn window_to_real(&self) -> u16 {
        let both = self.client_wscale != Self::NO_WSCALE && self.real_wscale != Self::NO_WSCALE;
        let shift = if both { self.client_wscale.min(14) } else { 0 };
        u16::try_from(self.client_window >> shift).unwrap_or(u16::MAX)
    }
}

/// Returns the bits that a window scale stands for: at most 14 (RFC 7323 section 2.3).
const fn scale(wscale: u8) -> i8 {
    if wscale > 14 {
        14
    } else {
        wscale.cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use weir_wire::OptionSummary;

    use super::*;
    use crate::fixture::{self, CLIENT_ISN, ISN, REAL_ISN, segment};
    use crate::{Step, track};

    /// What the client was told as the server's first number: a cookie.
    const COOKIE: u32 = 0x8765_4321;
    const A: TcpFlags = TcpFlags::ACK;
    const SA: TcpFlags = TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0);

    /// A session whose client scales by `client` and was told `offered`, before its real server has
    /// answered.
    fn waiting(client: Option<u8>, offered: Option<u8>) -> Session {
        let mut session = Session {
            client_wscale: client.unwrap_or(Session::NO_WSCALE),
            client_window: 64256,
            waiting: 7,
            ..fixture::session()
        };
        session.begin_proxied(SeqNumber(COOKIE) + 1, offered);
        session
    }

    /// A segment of the client, by its distances from both first numbers.
    fn of_client(flags: TcpFlags, seq: i32, ack: i32, len: u16) -> Tcp {
        segment(
            flags,
            CLIENT_ISN.wrapping_add_signed(seq),
            COOKIE.wrapping_add_signed(ack),
            len,
        )
    }

    /// A segment of the real server, by its distances from both first numbers.
    fn of_real(flags: TcpFlags, seq: i32, ack: i32, len: u16) -> Tcp {
        segment(
            flags,
            REAL_ISN.wrapping_add_signed(seq),
            ISN.wrapping_add_signed(ack),
            len,
        )
    }

    fn answer(session: &mut Session, wscale: Option<u8>) -> Step {
        let options = OptionSummary {
            wscale: wscale.map(|shift| (0, shift)),
            ..OptionSummary::default()
        };
        track(
            session,
            Direction::Outbound,
            &of_real(SA, 0, 1, 0),
            &options,
        )
    }

    fn established(client: Option<u8>, offered: Option<u8>, real: Option<u8>) -> Session {
        let mut session = waiting(client, offered);
        assert_eq!(answer(&mut session, real), Step::Accepted);
        session.waiting = Session::NOT_WAITING;
        session
    }

    #[test]
    fn the_real_servers_numbers_are_moved_to_the_cookie_across_the_wrap() {
        let session = established(Some(7), Some(7), Some(7));
        assert_eq!(session.state, State::Established);
        let first = SeqNumber(REAL_ISN) + 1;
        assert_eq!(session.outbound_seq.apply(first), SeqNumber(COOKIE) + 1);
        let wrapped = SeqNumber(REAL_ISN) + 100;
        assert_eq!(session.outbound_seq.apply(wrapped), SeqNumber(COOKIE) + 100);
        assert_eq!(session.client_ack, SeqNumber(COOKIE) + 1);
        assert_eq!(session.expected_of_real(), first);
        assert_eq!(session.expected_of_client(), SeqNumber(CLIENT_ISN) + 1);
    }

    #[test]
    fn windows_keep_their_bytes_whatever_scales_were_told() {
        // Client, offered, real: shift towards the client, shift towards the real server.
        for (client, offered, real, outbound, inbound) in [
            (Some(7), Some(7), Some(7), 0, 0),
            (Some(7), Some(7), Some(9), 2, 0),
            (Some(7), Some(9), Some(7), -2, 0),
            (Some(7), Some(7), None, -7, 7),
            (Some(0), Some(7), Some(7), 0, 0),
            (Some(0), Some(0), None, 0, 0),
            (None, Some(7), Some(7), 0, 0),
            (None, Some(7), None, 0, 0),
            (Some(7), None, Some(7), 0, 0),
            (Some(7), None, None, 0, 0),
            (Some(14), Some(14), Some(15), 0, 0),
        ] {
            let session = established(client, offered, real);
            let case = (client, offered, real);
            assert_eq!(
                session.wire_shift(Direction::Outbound),
                outbound,
                "{case:?}"
            );
            assert_eq!(session.wire_shift(Direction::Inbound), inbound, "{case:?}");
            let told = match (client, offered) {
                (Some(_), Some(offered)) => offered,
                (Some(_) | None, _) => 0,
            };
            assert_eq!(session.scale_towards_client(), told, "{case:?}");
        }
    }

    #[test]
    fn the_clients_window_is_told_in_the_units_that_the_real_server_reads() {
        let scaled = established(Some(7), Some(7), Some(9));
        assert_eq!(scaled.window_to_real(), 502);
        let unscaled = established(Some(7), Some(7), None);
        assert_eq!(unscaled.window_to_real(), 64256);
        let mut large = unscaled;
        large.client_window = 1 << 20;
        assert_eq!(large.window_to_real(), u16::MAX);
    }

    #[test]
    fn an_answer_that_comes_again_is_absorbed_and_changes_nothing() {
        let mut session = established(Some(7), Some(7), Some(9));
        let before = session;
        assert_eq!(answer(&mut session, Some(9)), Step::Repeated);
        assert_eq!(session.state, State::Established);
        assert_eq!(session.outbound_seq, before.outbound_seq);
        assert_eq!(session.window_shift, before.window_shift);
    }

    #[test]
    fn an_answer_that_comes_after_the_end_is_kept_from_the_client() {
        for (state, step) in [
            (State::TimeWait, Step::Repeated),
            (State::Close, Step::Refuse),
        ] {
            let mut session = established(Some(7), Some(7), Some(9));
            session.state = state;
            assert_eq!(answer(&mut session, Some(9)), step);
            assert_eq!(session.state, state);
        }
    }

    #[test]
    fn a_refusal_has_the_number_that_the_client_expects() {
        let mut session = waiting(Some(7), Some(7));
        let reset = segment(TcpFlags::RST | A, 0, ISN + 1, 0);
        let options = OptionSummary::default();
        let step = track(&mut session, Direction::Outbound, &reset, &options);
        assert_eq!((step, session.state), (Step::Pass, State::Close));
        assert_eq!(
            session.outbound_seq.apply(SeqNumber(0)),
            SeqNumber(COOKIE) + 1
        );
    }

    #[test]
    fn a_fin_that_was_held_closes_the_clients_side() {
        let mut session = established(None, None, None);
        session.client_end = SeqNumber(CLIENT_ISN) + 12;
        session.note_client_fin(SeqNumber(CLIENT_ISN) + 11);
        assert_eq!(session.state, State::CloseWait);
        let options = OptionSummary::default();
        let fin = of_real(TcpFlags::FIN | A, 1, 12, 0);
        track(&mut session, Direction::Outbound, &fin, &options);
        assert_eq!(session.state, State::LastAck);
        track(
            &mut session,
            Direction::Inbound,
            &of_client(A, 12, 2, 0),
            &options,
        );
        assert_eq!(session.state, State::TimeWait);
    }

    #[test]
    fn what_a_waiting_client_sends_on_its_own_cookie_is_no_other_handshake() {
        let mut session = waiting(None, None);
        session.client_end += 1000;
        // Nor is it when Weir has given up on the real server.
        for state in [State::SynSent, State::Close] {
            session.state = state;
            for (seq, len) in [
                (0, 0),
                (1, 0),
                (1, 500),
                (501, 500),
                (1001, 0),
                (2001, 1000),
            ] {
                let own = of_client(A, seq, 1, len);
                assert!(!session.may_be_another(&own), "{seq}");
            }
            for (seq, ack) in [(501, 2), (501, 0), (-1, 1), (1 << 20, 1), (1 << 20, 77)] {
                let other = of_client(A, seq, ack, 0);
                assert!(session.may_be_another(&other), "{seq} {ack}");
            }
        }
    }

    #[test]
    fn what_fits_an_established_session_is_no_other_handshake() {
        let mut session = established(None, None, None);
        session.real_window = 60_000;
        for (seq, ack) in [
            (1, 1),
            (0, 1),
            (1, 0),
            (1000, 1),
            (-1000, -1000),
            (60_000, 1),
        ] {
            let own = of_client(A, seq, ack, 0);
            assert!(!session.may_be_another(&own), "{seq} {ack}");
        }
        // The own first segment, whatever it acknowledges: it is as old as the session.
        assert!(!session.may_be_another(&of_client(A, 1, 1 << 20, 0)));
        for (seq, ack) in [
            (2, 2),
            (2, 1 << 20),
            (-70_000, 1),
            (70_000, 1),
            (2, -70_000),
        ] {
            let other = of_client(A, seq, ack, 0);
            assert!(session.may_be_another(&other), "{seq} {ack}");
        }
    }

    #[test]
    fn the_first_segment_of_a_plain_session_may_belong_to_its_earlier_cookie() {
        let mut session = waiting(None, None);
        session.flags.clear(SessionFlags::PROXIED);
        session.flags.clear(SessionFlags::CLIENT_ACKED);
        session.client_ack = SeqNumber(0);
        assert!(session.may_be_another(&of_client(A, 1, 1, 0)));
        assert_eq!(answer(&mut session, None), Step::Pass);
        assert_eq!(session.state, State::SynRecv);
        assert!(session.may_be_another(&of_client(A, 1, 1, 0)));
        let completes = segment(A, CLIENT_ISN + 1, REAL_ISN + 1, 0);
        assert!(!session.may_be_another(&completes));
    }

    /// ACKs in turn from both ends, neither of which its receiver takes.
    fn turn(session: &mut Session, inbound: bool, threshold: u16) -> bool {
        if inbound {
            session.is_storm(Direction::Inbound, &of_client(A, -5000, 1, 0), threshold)
        } else {
            session.is_storm(Direction::Outbound, &of_real(A, -5000, 1, 0), threshold)
        }
    }

    #[test]
    fn acks_that_fit_nothing_and_answer_each_other_are_a_storm() {
        for threshold in [1, 10, 126, 1000] {
            let mut session = established(None, None, None);
            let most = threshold.min(126);
            for count in 0..most {
                assert!(!turn(&mut session, count % 2 == 0, threshold), "{count}");
            }
            assert!(turn(&mut session, most % 2 == 0, threshold), "{threshold}");
            assert!(turn(&mut session, most % 2 == 1, threshold), "{threshold}");
            let fits = of_client(A, 1, 1, 0);
            assert!(!session.is_storm(Direction::Inbound, &fits, threshold));
            assert!(!turn(&mut session, true, threshold), "it begins anew");
        }
    }

    #[test]
    fn one_end_alone_makes_no_storm_and_a_threshold_of_0_finds_none() {
        let mut session = established(None, None, None);
        assert!((0..1000).all(|_| !turn(&mut session, true, 2)));
        assert!((0..1000).all(|count| !turn(&mut session, count % 2 == 0, 0)));
    }

    #[test]
    fn repetitions_updates_keep_alives_and_probes_make_no_storm() {
        let mut session = established(None, None, None);
        session.real_end += 5000;
        session.client_end += 5000;
        for _ in 0..100 {
            for seq in [0, 1, 5001] {
                let ack = of_client(A, seq, 1, 0);
                assert!(!session.is_storm(Direction::Inbound, &ack, 1), "{seq}");
                let ack = of_real(A, seq, 1, 0);
                assert!(!session.is_storm(Direction::Outbound, &ack, 1), "{seq}");
            }
            for (flags, len) in [(A, 10), (A | TcpFlags::FIN, 0), (TcpFlags::RST, 0), (SA, 0)] {
                let other = of_client(flags, -5000, 1, len);
                assert!(!session.is_storm(Direction::Inbound, &other, 1), "{flags}");
                let other = of_real(flags, -5000, 1, len);
                assert!(!session.is_storm(Direction::Outbound, &other, 1), "{flags}");
            }
        }
    }
}
