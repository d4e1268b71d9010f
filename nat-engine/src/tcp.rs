//! The TCP state of a session, as both ends prove it (RFC 9293 section 3.10).
//!
//! Nothing that an outsider can guess moves a session: a FIN counts only inside the receiver's
//! window, a RST only between what its receiver has acknowledged and what was sent to it
//! (RFC 5961 section 3). Segments that prove nothing are still translated: the end points judge
//! them, and their challenge ACKs come back.

use weir_wire::{OptionSummary, SeqNumber, Tcp, TcpFlags};

use crate::{Direction, Session, SessionFlags, State};

/// Says what the walk must do with a segment after tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Translate it and send it on.
    Pass,
    /// The real server answered the SYN from an older connection: reset that with the number it
    /// named, send the SYN again, and absorb the answer.
    Challenged,
    /// The session is over and was reset by Weir: answer with a RST that fits, send nothing on.
    Refuse,
}

/// How far beyond a window a segment may begin and still count: a receiver that shrinks its window
/// leaves segments in flight (RFC 9293 section 3.8.6).
const WINDOW_SLACK: u32 = 4096;

/// Moves the session's state by a segment and says what to do with it.
///
/// A SYN that opens a new connection is not for here: see [`Session::is_new_syn`].
pub fn track(
    session: &mut Session,
    direction: Direction,
    tcp: &Tcp,
    options: &OptionSummary,
) -> Step {
    if session.flags.has(SessionFlags::EXPIRED) {
        return Step::Refuse;
    }
    match direction {
        Direction::Inbound => {
            track_client(session, tcp);
            Step::Pass
        }
        Direction::Outbound => track_real(session, tcp, options),
    }
}

impl Session {
    /// Returns the first sequence number of the client (*client*).
    #[must_use]
    pub const fn client_isn(&self) -> SeqNumber {
        self.inbound_seq.unapply(self.isn)
    }

    /// Says whether a SYN from the client begins another connection than this session's, and
    /// whether it may replace it: nothing of it was proven yet, or its ends are done with it.
    ///
    /// On an established session a SYN proves nothing (RFC 5961 section 4): it is passed on, and
    /// the real server's challenge ACK makes an honest client reset the session itself.
    #[must_use]
    pub fn is_new_syn(&self, tcp: &Tcp) -> bool {
        let syn_only = TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN;
        let is_syn = TcpFlags(tcp.flags.0 & syn_only.0) == TcpFlags::SYN;
        let replaceable = self.state.is_closed() || self.state.is_half_open();
        is_syn && replaceable && (self.state.is_closed() || tcp.seq != self.client_isn())
    }

    /// Returns the bits by which windows are shifted: none unless both ends offered the option
    /// (RFC 7323 section 2.2), and at most 14 (section 2.3).
    fn window_shift_of(&self, direction: Direction) -> u8 {
        if self.client_wscale == Self::NO_WSCALE || self.real_wscale == Self::NO_WSCALE {
            return 0;
        }
        match direction {
            Direction::Inbound => self.client_wscale.min(14),
            Direction::Outbound => self.real_wscale.min(14),
        }
    }

    /// Returns what the real server expects next of the client (*client*).
    fn expected_of_client(&self) -> SeqNumber {
        if self.flags.has(SessionFlags::REAL_ACKED) {
            self.inbound_seq.unapply(self.real_ack)
        } else {
            self.client_isn() + 1
        }
    }

    /// Returns what the client expects next of the real server (*real*).
    fn expected_of_real(&self) -> SeqNumber {
        if self.flags.has(SessionFlags::CLIENT_ACKED) {
            self.outbound_seq.unapply(self.client_ack)
        } else {
            self.real_end
        }
    }

    /// Works out the state of an established session from the FINs and their acknowledgements.
    fn state_after_fins(&self) -> State {
        let client_fin = self.flags.has(SessionFlags::CLIENT_FIN);
        let real_fin = self.flags.has(SessionFlags::REAL_FIN);
        match (client_fin, real_fin) {
            (false, false) => State::Established,
            (true, false) => State::CloseWait,
            (false, true) => State::FinWait,
            (true, true) => {
                let client_done = self.expected_of_client().after(self.client_fin);
                let real_done = self.flags.has(SessionFlags::CLIENT_ACKED)
                    && self.expected_of_real().after(self.real_fin);
                if client_done && real_done { State::TimeWait } else { State::LastAck }
            }
        }
    }
}

fn track_client(session: &mut Session, tcp: &Tcp) {
    if session.state.is_closed() {
        return;
    }
    if tcp.flags.contains(TcpFlags::SYN) {
        // A retransmission: the real server's next challenge deserves an answer again.
        session.flags.clear(SessionFlags::CHALLENGED);
        return;
    }
    let expected = session.expected_of_client();
    if tcp.flags.contains(TcpFlags::RST) {
        if within(tcp.seq, expected, session.client_end) {
            session.state = State::Close;
        }
        return;
    }
    if session.state == State::SynSent || !fits(tcp, expected, session.real_window) {
        return;
    }
    session.client_end = session.client_end.later(tcp.end());
    if tcp.flags.contains(TcpFlags::FIN) {
        session.flags.set(SessionFlags::CLIENT_FIN);
        session.client_fin = tcp.seq + u32::from(tcp.payload_len);
    }
    let sent = session.outbound_seq.apply(session.real_end);
    let acceptable = if session.flags.has(SessionFlags::CLIENT_ACKED) {
        tcp.ack.leq(sent) && tcp.ack.geq(session.client_ack)
    } else {
        // The real server's SYN took one number, which is all that it has sent so far.
        tcp.ack == sent
    };
    if tcp.flags.contains(TcpFlags::ACK) && acceptable {
        session.flags.set(SessionFlags::CLIENT_ACKED);
        session.client_ack = tcp.ack;
        session.client_window =
            u32::from(tcp.window) << session.window_shift_of(Direction::Inbound);
    }
    if session.flags.has(SessionFlags::CLIENT_ACKED) {
        session.state = session.state_after_fins();
    }
}

fn track_real(session: &mut Session, tcp: &Tcp, options: &OptionSummary) -> Step {
    if session.state.is_closed() {
        return Step::Pass;
    }
    if session.state == State::SynSent {
        return answer_to_syn(session, tcp, options);
    }
    let expected = session.expected_of_real();
    if tcp.flags.contains(TcpFlags::RST) {
        if within(tcp.seq, expected, session.real_end) {
            session.state = State::Close;
        }
        return Step::Pass;
    }
    if tcp.flags.contains(TcpFlags::SYN) || !fits(tcp, expected, session.client_window) {
        return Step::Pass;
    }
    session.real_end = session.real_end.later(tcp.end());
    if tcp.flags.contains(TcpFlags::FIN) {
        session.flags.set(SessionFlags::REAL_FIN);
        session.real_fin = tcp.seq + u32::from(tcp.payload_len);
    }
    let sent = session.inbound_seq.apply(session.client_end);
    if tcp.flags.contains(TcpFlags::ACK) && tcp.ack.leq(sent) && tcp.ack.geq(session.real_ack) {
        session.real_ack = tcp.ack;
        session.real_window =
            u32::from(tcp.window) << session.window_shift_of(Direction::Outbound);
    }
    if tcp.payload_len > 0 || session.real_ack.after(session.isn + 1) {
        // The real server has taken the handshake's last ACK, and the client's address with it.
        session.flags.clear(SessionFlags::TOA_WANTED);
    }
    if session.state != State::SynRecv {
        session.state = session.state_after_fins();
    }
    Step::Pass
}

/// Takes what the real server says to the SYN (RFC 9293 section 3.10.7.3).
fn answer_to_syn(session: &mut Session, tcp: &Tcp, options: &OptionSummary) -> Step {
    let acknowledges = tcp.flags.contains(TcpFlags::ACK) && tcp.ack == session.isn + 1;
    if tcp.flags.contains(TcpFlags::RST) {
        if acknowledges {
            session.state = State::Close;
        }
        return Step::Pass;
    }
    if tcp.flags.contains(TcpFlags::SYN) && acknowledges {
        session.real_end = tcp.end();
        session.real_ack = tcp.ack;
        session.real_window = u32::from(tcp.window);
        session.real_wscale = options.wscale.map_or(Session::NO_WSCALE, |(_, shift)| shift);
        session.flags.set(SessionFlags::REAL_ACKED);
        session.state = State::SynRecv;
        return Step::Pass;
    }
    if tcp.flags.contains(TcpFlags::ACK) && !session.flags.has(SessionFlags::CHALLENGED) {
        session.flags.set(SessionFlags::CHALLENGED);
        return Step::Challenged;
    }
    Step::Pass
}

/// Says whether a RST's number lies between what its receiver has acknowledged and what was sent.
fn within(seq: SeqNumber, expected: SeqNumber, sent: SeqNumber) -> bool {
    seq.geq(expected) && seq.leq(sent.later(expected))
}

/// Says whether a segment begins inside the window of its receiver, or is a retransmission.
fn fits(tcp: &Tcp, expected: SeqNumber, window: u32) -> bool {
    tcp.seq.leq(expected + window.saturating_add(WINDOW_SLACK).min(i32::MAX as u32))
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use weir_model::{LipId, RealId, ServiceId};
    use weir_wire::SeqDelta;

    use super::*;
    use crate::Timer;

    const CLIENT_ISN: u32 = 0xffff_ff00;
    const ISN: u32 = 5000;
    const REAL_ISN: u32 = 0xffff_fff0;

    fn session() -> Session {
        Session {
            client: Ipv4Addr::new(192, 0, 2, 1),
            vip: Ipv4Addr::new(203, 0, 113, 1),
            lip: Ipv4Addr::new(10, 0, 8, 1),
            real: Ipv4Addr::new(10, 0, 1, 1),
            client_port: 40000,
            vip_port: 80,
            lip_port: 1024,
            real_port: 8080,
            inbound_seq: SeqDelta::between(SeqNumber(CLIENT_ISN), SeqNumber(ISN)),
            outbound_seq: SeqDelta::ZERO,
            inbound_ts: 0,
            outbound_ts: 0,
            last_seen: 0,
            isn: SeqNumber(ISN),
            real_id: RealId(0),
            service: ServiceId(0),
            flags: SessionFlags::TOA_WANTED,
            client_mss: 1460,
            lip_id: LipId(0),
            state: State::SynSent,
            protocol: 6,
            window_shift: 0,
            client_wscale: 7,
            client_end: SeqNumber(CLIENT_ISN) + 1,
            client_ack: SeqNumber(0),
            real_end: SeqNumber(0),
            real_ack: SeqNumber(0),
            client_fin: SeqNumber(0),
            real_fin: SeqNumber(0),
            client_window: 64240,
            real_window: 0,
            last_tsval: 0,
            opened: 0,
            timer: Timer::default(),
            real_wscale: Session::NO_WSCALE,
            port_space: 0,
        }
    }

    fn segment(flags: TcpFlags, seq: u32, ack: u32, payload_len: u16) -> Tcp {
        Tcp {
            src_port: 1,
            dst_port: 2,
            seq: SeqNumber(seq),
            ack: SeqNumber(ack),
            flags,
            window: 502,
            header_len: 20,
            payload_len,
        }
    }

    fn from_client(s: &mut Session, flags: TcpFlags, seq: u32, ack: u32, len: u16) -> State {
        let seq = CLIENT_ISN.wrapping_add(seq);
        let tcp = segment(flags, seq, REAL_ISN.wrapping_add(ack), len);
        track(s, Direction::Inbound, &tcp, &OptionSummary::default());
        s.state
    }

    fn from_real(s: &mut Session, flags: TcpFlags, seq: u32, ack: u32, len: u16) -> State {
        let tcp = segment(flags, REAL_ISN.wrapping_add(seq), ISN.wrapping_add(ack), len);
        let options = OptionSummary { wscale: Some((0, 7)), ..OptionSummary::default() };
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
        assert_eq!(track(&mut s, Direction::Outbound, &ack, &none), Step::Challenged);
        assert_eq!(track(&mut s, Direction::Outbound, &ack, &none), Step::Pass);
        from_client(&mut s, TcpFlags::SYN, 0, 0, 0);
        assert_eq!(track(&mut s, Direction::Outbound, &ack, &none), Step::Challenged);
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
        assert!(s.flags.has(SessionFlags::TOA_WANTED), "a bare window update proves nothing");
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
}
