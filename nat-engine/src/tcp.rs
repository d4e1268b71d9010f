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
    /// The real server accepted a connection whose client has long completed its handshake with a
    /// cookie: absorb the answer and complete the real server's side.
    Accepted,
    /// The real server repeats such an answer: absorb it and acknowledge it again.
    Repeated,
    /// The real server says something else to the SYN of such a connection, in numbers that its
    /// client was never given: send nothing on.
    Absorbed,
    /// The session is over and was reset by Weir: answer with a RST that fits, send nothing on.
    Refuse,
}

/// How far beyond a window a segment may begin and still count: a sender probes a closed window
/// (RFC 9293 section 3.8.6.1).
pub(crate) const WINDOW_SLACK: u32 = 4096;

/// How old a number of a living session may be, however small the window is.
pub(crate) const OLD: u32 = 1 << 16;

/// How far behind the SYN a SYN-ACK may acknowledge and still be the answer to it: a SYN may carry
/// data (RFC 7413).
const SYN_REACH: u32 = 1 << 16;

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

    /// Says whether a segment is what both ends of an open session send each other, up to their last
    /// FIN: then [`pass_steady`](crate::pass_steady) tracks and translates it, and it may move the
    /// session into another state.
    #[inline]
    #[must_use]
    pub fn is_regular(&self, tcp: &Tcp) -> bool {
        let judged = TcpFlags::SYN | TcpFlags::RST | TcpFlags::ACK;
        let open = match self.state {
            State::SynRecv
            | State::Established
            | State::FinWait
            | State::CloseWait
            | State::LastAck => true,
            State::SynSent | State::TimeWait | State::Close | State::OneWay | State::Flowing => {
                false
            }
        };
        open && tcp.flags.0 & judged.0 == TcpFlags::ACK.0
            && !self.flags.has(SessionFlags::EXPIRED)
            && !self.waits()
    }

    /// Says whether a SYN from the client begins another connection than this session's, and
    /// whether it may replace it: nothing of it was proven yet, or its ends are done with it.
    ///
    /// On an established session a SYN proves nothing (RFC 5961 section 4): it is passed on, and
    /// the real server's challenge ACK makes an honest client reset the session itself.
    #[must_use]
    pub fn is_new_syn(&self, tcp: &Tcp) -> bool {
        let replaceable = self.state.is_closed() || self.state.is_half_open();
        tcp.opens() && replaceable && (self.state.is_closed() || tcp.seq != self.client_isn())
    }

    /// Returns the bits by which windows are shifted: none unless both ends offered the option
    /// (RFC 7323 section 2.2), and at most 14 (section 2.3).
    fn window_shift_of(&self, direction: Direction) -> u8 {
        if self.client_wscale == Self::NO_WSCALE {
            return 0;
        }
        let alone = self.flags.has(SessionFlags::SCALE_INBOUND);
        if self.real_wscale == Self::NO_WSCALE && !(alone && direction == Direction::Inbound) {
            return 0;
        }
        match direction {
            Direction::Inbound => self.client_wscale.min(14),
            Direction::Outbound => self.real_wscale.min(14),
        }
    }

    /// Returns what the real server expects next of the client (*client*).
    #[must_use]
    #[inline]
    pub fn expected_of_client(&self) -> SeqNumber {
        if self.flags.has(SessionFlags::REAL_ACKED) {
            self.inbound_seq.unapply(self.real_ack)
        } else {
            self.client_isn() + 1
        }
    }

    /// Returns what the client expects next of the real server (*real*).
    #[inline]
    pub(crate) fn expected_of_real(&self) -> SeqNumber {
        self.outbound_seq.unapply(self.client_ack)
    }

    /// Works out the state of an established session from the FINs and their acknowledgements.
    #[inline]
    pub(crate) fn state_after_fins(&self) -> State {
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
                if client_done && real_done {
                    State::TimeWait
                } else {
                    State::LastAck
                }
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
        if tcp.seq != session.client_isn() {
            session.flags.set(SessionFlags::SYN_AGAIN);
        }
        return;
    }
    if tcp.flags.contains(TcpFlags::RST) {
        if within(tcp.seq, session.expected_of_client(), session.client_end) {
            session.state = State::Close;
        }
        return;
    }
    if session.state == State::SynSent {
        return;
    }
    advance_client(session, tcp);
}

/// Takes what a segment of the client that is neither SYN nor RST proves.
#[inline]
pub(crate) fn advance_client(session: &mut Session, tcp: &Tcp) {
    let expected = session.expected_of_client();
    if !fits(tcp, expected, session.real_window) {
        return;
    }
    let sent = session.outbound_seq.apply(session.real_end);
    if !acknowledges(tcp, session.client_ack, session.client_window, sent) {
        return;
    }
    session.client_end = session.client_end.later(tcp.end());
    if let Some(fin) = fin_of(tcp, expected) {
        session.flags.set(SessionFlags::CLIENT_FIN);
        session.client_fin = fin;
    }
    if tcp.ack.geq(session.client_ack) {
        session.flags.set(SessionFlags::CLIENT_ACKED);
        let window = u32::from(tcp.window) << session.window_shift_of(Direction::Inbound);
        session.client_window = widest(session.client_ack, session.client_window, tcp.ack, window);
        session.client_ack = tcp.ack;
    }
    if session.flags.has(SessionFlags::CLIENT_ACKED) {
        session.state = session.state_after_fins();
    }
}

fn track_real(session: &mut Session, tcp: &Tcp, options: &OptionSummary) -> Step {
    if session.state.is_closed() {
        let accepts = tcp.flags.contains(TcpFlags::SYN) && session.flags.has(SessionFlags::PROXIED);
        // A client that a cookie answered has no use for it.
        return match (accepts, session.state == State::Close) {
            (false, _) => Step::Pass,
            (true, true) => Step::Refuse,
            (true, false) => Step::Repeated,
        };
    }
    if session.state == State::SynSent {
        return answer_to_syn(session, tcp, options);
    }
    if tcp.flags.contains(TcpFlags::RST) {
        if within(tcp.seq, session.expected_of_real(), session.real_end) {
            session.state = State::Close;
        }
        return Step::Pass;
    }
    if tcp.flags.contains(TcpFlags::SYN) {
        let anew = tcp.flags.contains(TcpFlags::ACK)
            && session.flags.has(SessionFlags::CLIENT_ACKED)
            && session.flags.has(SessionFlags::SYN_AGAIN)
            && !tcp.ack.in_window(session.isn + 1, SYN_REACH);
        if anew {
            begin_anew(session, tcp, options);
            return Step::Pass;
        }
        return if session.flags.has(SessionFlags::PROXIED) {
            Step::Repeated
        } else {
            Step::Pass
        };
    }
    advance_real(session, tcp);
    Step::Pass
}

/// Takes what a segment of the real server that is neither SYN nor RST proves.
#[inline]
pub(crate) fn advance_real(session: &mut Session, tcp: &Tcp) {
    let expected = session.expected_of_real();
    if !fits(tcp, expected, session.client_window) {
        return;
    }
    session.real_end = session.real_end.later(tcp.end());
    if let Some(fin) = fin_of(tcp, expected) {
        session.flags.set(SessionFlags::REAL_FIN);
        session.real_fin = fin;
    }
    let sent = session.inbound_seq.apply(session.client_end);
    if tcp.flags.contains(TcpFlags::ACK) && tcp.ack.leq(sent) && tcp.ack.geq(session.real_ack) {
        let window = u32::from(tcp.window) << session.window_shift_of(Direction::Outbound);
        session.real_window = widest(session.real_ack, session.real_window, tcp.ack, window);
        session.real_ack = tcp.ack;
    }
    if tcp.payload_len > 0 || session.real_ack.after(session.isn + 1) {
        // The real server has taken the handshake's last ACK, and the client's address with it.
        session.flags.clear(SessionFlags::TOA_WANTED);
    }
    if session.state != State::SynRecv {
        session.state = session.state_after_fins();
    }
}

/// Takes what the real server says to the SYN (RFC 9293 section 3.10.7.3).
fn answer_to_syn(session: &mut Session, tcp: &Tcp, options: &OptionSummary) -> Step {
    // All of the SYN, or all but data that it carried.
    let sent = session.inbound_seq.apply(session.client_end);
    let acknowledges =
        tcp.flags.contains(TcpFlags::ACK) && tcp.ack.after(session.isn) && tcp.ack.leq(sent);
    if tcp.flags.contains(TcpFlags::RST) {
        if acknowledges {
            session.align_reset(tcp.seq);
            session.state = State::Close;
            return Step::Pass;
        }
        return neither(session);
    }
    if tcp.flags.contains(TcpFlags::SYN) && acknowledges {
        if session.flags.has(SessionFlags::PROXIED) {
            session.align(tcp.seq, options.wscale.map(|(_, shift)| shift));
            accept(session, tcp, options);
            session.state = State::Established;
            return Step::Accepted;
        }
        accept(session, tcp, options);
        return Step::Pass;
    }
    if tcp.flags.contains(TcpFlags::ACK) && !session.flags.has(SessionFlags::CHALLENGED) {
        session.flags.set(SessionFlags::CHALLENGED);
        return Step::Challenged;
    }
    neither(session)
}

/// Says what to do with what neither accepts nor refuses the connection: a client that sent the SYN
/// itself judges it; one that a cookie answered knows other numbers.
fn neither(session: &Session) -> Step {
    if session.flags.has(SessionFlags::PROXIED) {
        Step::Absorbed
    } else {
        Step::Pass
    }
}

/// Takes over what a SYN-ACK says.
fn accept(session: &mut Session, tcp: &Tcp, options: &OptionSummary) {
    session.real_end = tcp.end();
    session.real_ack = tcp.ack;
    session.real_window = u32::from(tcp.window);
    session.real_wscale = options
        .wscale
        .map_or(Session::NO_WSCALE, |(_, shift)| shift);
    // What the client acknowledges first; until it does, `CLIENT_ACKED` is not set.
    session.client_ack = session.outbound_seq.apply(tcp.seq + 1);
    session.flags.set(SessionFlags::REAL_ACKED);
    session.state = State::SynRecv;
}

/// Starts the session again: the real server, who had forgotten the connection, has answered a SYN
/// of the client with the same ports (behind the same address another client, perhaps). Without
/// this it would never be told the client's address, and the numbers of old FINs would count.
fn begin_anew(session: &mut Session, tcp: &Tcp, options: &OptionSummary) {
    session.isn = tcp.ack - 1;
    session.client_end = session.inbound_seq.unapply(tcp.ack);
    // The client's offer was not kept, for nobody had answered it: take the widest.
    session.client_window = u32::from(u16::MAX);
    session.client_wscale = 14;
    session.window_shift = 0;
    session.flags.clear(SessionFlags::SCALE_INBOUND);
    // Its client itself has sent this SYN, and must see each answer to it.
    session.flags.clear(SessionFlags::PROXIED);
    session.flags.clear(SessionFlags::CLIENT_FIN);
    session.flags.clear(SessionFlags::REAL_FIN);
    session.flags.clear(SessionFlags::CLIENT_ACKED);
    session.flags.clear(SessionFlags::SYN_AGAIN);
    session.flags.set(SessionFlags::TOA_WANTED);
    accept(session, tcp, options);
}

/// Returns the number of a segment's FIN, unless its receiver has long had what stands there: such
/// a FIN is a guess, for the true one is never acknowledged before it was seen here.
fn fin_of(tcp: &Tcp, expected: SeqNumber) -> Option<SeqNumber> {
    let fin = tcp.seq + u32::from(tcp.payload_len);
    (tcp.flags.contains(TcpFlags::FIN) && fin.geq(expected)).then_some(fin)
}

/// Returns the window behind a new acknowledgement. Its right edge never moves back: an ACK that
/// shrinks it may be lost on the rest of its way, or have been overtaken by one that does not.
fn widest(old_ack: SeqNumber, old_window: u32, ack: SeqNumber, window: u32) -> u32 {
    let edge = (old_ack + old_window).later(ack + window);
    ack.distance(edge).max(0).cast_unsigned()
}

/// Says whether a RST's number lies between what its receiver has acknowledged and what was sent.
fn within(seq: SeqNumber, expected: SeqNumber, sent: SeqNumber) -> bool {
    seq.geq(expected) && seq.leq(sent.later(expected))
}

/// Says whether a segment acknowledges something that its sender was sent, and not long ago: who
/// does not know the numbers of both directions moves nothing (RFC 5961 section 5).
fn acknowledges(tcp: &Tcp, acked: SeqNumber, window: u32, sent: SeqNumber) -> bool {
    let oldest = acked - window.clamp(OLD, i32::MAX as u32);
    tcp.flags.contains(TcpFlags::ACK) && tcp.ack.geq(oldest) && tcp.ack.leq(sent)
}

/// Says whether a segment begins inside the window of its receiver, or is a retransmission.
fn fits(tcp: &Tcp, expected: SeqNumber, window: u32) -> bool {
    tcp.seq
        .leq(expected + window.saturating_add(WINDOW_SLACK).min(i32::MAX as u32))
}

#[cfg(test)]
mod tests;
