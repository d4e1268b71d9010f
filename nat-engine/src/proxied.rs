//! Sessions whose client proved itself by a cookie before the real server was asked: the numbers
//! that Weir gave the client are kept, and those of the real server are moved to them.

use weir_wire::{SeqDelta, SeqNumber, Tcp, TcpFlags};

use crate::tcp::WINDOW_SLACK;
use crate::{Direction, Session, SessionFlags, State};

/// How old a number of a living session may be before a segment with it is looked at more closely.
const OLD: u32 = 1 << 16;

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
        let unanswered = self.state == State::SynSent;
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
