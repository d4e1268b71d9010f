//! Moves an end point's sequence numbers, so that they start where a test wants them to.

use std::net::Ipv4Addr;
use std::time::Duration;

use weir_model::Time;
use weir_wire::zerocopy::FromBytes;
use weir_wire::{
    Header, Ipv4Header, OptionKind, Parsed, SeqDelta, SeqNumber, Tcp, TcpFlags, TcpHeader,
    TcpOption, TcpOptions, U32, fill_checksums,
};

/// Stands between an end point and its network, moves the end point's sequence numbers and mends
/// those of its bare ACKs.
///
/// The shift is chosen at the end point's first SYN, so that this SYN has the number asked for.
///
/// smoltcp goes back to the first unacknowledged byte when it retransmits, and its bare ACKs do so
/// too, where RFC 9293 section 3.10.7.4 wants SND.NXT. When both ends go back at once, neither
/// finds the other's ACKs acceptable and both retransmit for ever; no two hosts do that.
///
/// It also forgets to repeat a FIN when duplicate ACKs come after all data was acknowledged, so the
/// FIN is repeated here until it is acknowledged.
#[derive(Clone, Debug)]
pub struct SeqShift {
    station: Ipv4Addr,
    first: Option<SeqNumber>,
    shift: SeqDelta,
    highest: Option<SeqNumber>,
    fin: Option<Fin>,
    /// The station's latest acknowledgement.
    ack: Option<SeqNumber>,
}

/// A FIN that is not acknowledged, as it left.
#[derive(Clone, Debug)]
struct Fin {
    end: SeqNumber,
    again: Time,
    frame: Vec<u8>,
}

/// How long a FIN waits before it is repeated: time-wait at the other end must not be over.
const REPEAT: Duration = Duration::from_secs(3);

impl SeqShift {
    /// Makes the sequence numbers that `station` sends start with `first`, or where it likes.
    #[must_use]
    pub const fn new(station: Ipv4Addr, first: Option<SeqNumber>) -> Self {
        Self {
            station,
            first,
            shift: SeqDelta::ZERO,
            highest: None,
            fin: None,
            ack: None,
        }
    }

    /// Moves the numbers of a TCP frame from or to the station; others stay as they are.
    pub fn pass(&mut self, now: Time, frame: &mut [u8]) {
        let Ok(parsed) = Parsed::parse(frame) else {
            return;
        };
        let Some(v4) = parsed.v4() else { return };
        let Some(tcp) = v4.tcp() else { return };
        if v4.src == self.station {
            let seq = self.sent(tcp);
            if let Some(header) = TcpHeader::at_mut(frame, v4.l4 as usize) {
                header.seq = seq.0.into();
            }
        } else if v4.dst == self.station {
            if let Some(header) = TcpHeader::at_mut(frame, v4.l4 as usize)
                && tcp.flags.contains(TcpFlags::ACK)
            {
                if self.fin.as_ref().is_some_and(|fin| tcp.ack.geq(fin.end)) {
                    self.fin = None;
                }
                header.ack = self.shift.unapply(tcp.ack).0.into();
            }
            if let Some(options) = v4.tcp_options_mut(frame) {
                move_sack(options, self.shift.inverse());
            }
        } else {
            return;
        }
        // The frame is one that an end point just made or is about to check in full.
        let _ = fill_checksums(frame);
        if v4.src == self.station && tcp.flags.contains(TcpFlags::FIN) {
            self.fin = Some(Fin {
                end: self.shift.apply(tcp.end()),
                again: now.after(REPEAT),
                frame: frame.to_vec(),
            });
        }
    }

    /// Returns when a FIN must be repeated.
    #[must_use]
    pub fn repeat_at(&self) -> Option<Time> {
        self.fin.as_ref().map(|fin| fin.again)
    }

    /// Returns a FIN that is to be repeated.
    pub fn repeat(&mut self, now: Time) -> Option<Vec<u8>> {
        let ack = self.ack?;
        let fin = self.fin.as_mut().filter(|fin| fin.again <= now)?;
        fin.again = now.after(REPEAT);
        let mut frame = fin.frame.clone();
        // smoltcp takes nothing out of a segment whose acknowledgement is old, and no FIN behind
        // data that it has already.
        let parsed = Parsed::parse(&frame).ok()?;
        let v4 = parsed.v4()?;
        let payload = v4.tcp()?.payload_len;
        let header = TcpHeader::at_mut(&mut frame, v4.l4 as usize)?;
        header.seq = (fin.end - 1).0.into();
        header.ack = ack.0.into();
        let ip = Ipv4Header::at_mut(&mut frame, parsed.l3 as usize)?;
        ip.total_len = (v4.total_len - payload).into();
        frame.truncate(frame.len() - usize::from(payload));
        fill_checksums(&mut frame)?;
        Some(frame)
    }

    fn sent(&mut self, tcp: &Tcp) -> SeqNumber {
        if tcp.flags.contains(TcpFlags::RST) {
            // It has the number that its receiver asked for, of another connection perhaps.
            return self.shift.apply(tcp.seq);
        }
        if tcp.flags.contains(TcpFlags::SYN)
            && self.highest.is_none()
            && let Some(first) = self.first
        {
            self.shift = SeqDelta::between(tcp.seq, first);
        }
        if tcp.flags.contains(TcpFlags::ACK) {
            self.ack = Some(self.ack.map_or(tcp.ack, |ack| ack.later(tcp.ack)));
        }
        let end = self.shift.apply(tcp.end());
        let highest = self.highest.map_or(end, |highest| highest.later(end));
        self.highest = Some(highest);
        if tcp.flags == TcpFlags::ACK && tcp.payload_len == 0 {
            highest
        } else {
            self.shift.apply(tcp.seq)
        }
    }
}

fn move_sack(options: &mut [u8], shift: SeqDelta) {
    let places: Vec<(usize, usize)> = TcpOptions::new(options)
        .filter(|it| matches!(it.option, TcpOption::Sack(_)))
        .map(|it| (it.offset, it.len))
        .collect();
    for (offset, len) in places {
        debug_assert_eq!(options.get(offset), Some(&OptionKind::SACK));
        let Some(edges) = options.get_mut(offset + 2..offset + len) else {
            continue;
        };
        let Ok(edges) = <[U32]>::mut_from_bytes(edges) else {
            continue;
        };
        for edge in edges {
            *edge = shift.apply(SeqNumber(edge.get())).0.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{PacketSpec, TcpSpec, Transport};

    const HERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const NOW: Time = Time::from_millis(1000);
    const THERE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);

    fn segment(src: Ipv4Addr, dst: Ipv4Addr, flags: TcpFlags, seq: u32, ack: u32) -> Vec<u8> {
        PacketSpec {
            src,
            dst,
            transport: Transport::Tcp(TcpSpec {
                seq: SeqNumber(seq),
                ack: SeqNumber(ack),
                flags,
                options: vec![1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2],
                ..TcpSpec::default()
            }),
            ..PacketSpec::default()
        }
        .build()
    }

    fn tcp(frame: &[u8]) -> (u32, u32, Vec<u8>) {
        let parsed = Parsed::parse(frame).unwrap();
        let v4 = parsed.v4().unwrap();
        let tcp = v4.tcp().unwrap();
        let options = v4.tcp_options(frame).unwrap().to_vec();
        (tcp.seq.0, tcp.ack.0, options)
    }

    #[test]
    fn the_first_syn_gets_the_number_and_answers_are_moved_back() {
        let mut shift = SeqShift::new(HERE, Some(SeqNumber(0xffff_ff00)));
        let mut syn = segment(HERE, THERE, TcpFlags::SYN, 1000, 0);
        shift.pass(NOW, &mut syn);
        assert_eq!(tcp(&syn).0, 0xffff_ff00);
        assert_eq!(weir_wire::verify_frame(&syn), Ok(()));

        let mut answer = segment(THERE, HERE, TcpFlags::ACK, 7, 0xffff_ff01);
        shift.pass(NOW, &mut answer);
        let (seq, ack, options) = tcp(&answer);
        assert_eq!((seq, ack), (7, 1001));
        let back = 1000_u32.wrapping_sub(0xffff_ff00);
        assert_eq!(options[4..8], (back + 1).to_be_bytes());
        assert_eq!(weir_wire::verify_frame(&answer), Ok(()));
    }

    #[test]
    fn a_bare_ack_says_what_was_sent_last() {
        let mut shift = SeqShift::new(HERE, None);
        for seq in [2000, 1000] {
            shift.pass(NOW, &mut segment(HERE, THERE, TcpFlags::SYN, seq, 0));
        }
        let mut ack = segment(HERE, THERE, TcpFlags::ACK, 1001, 7);
        shift.pass(NOW, &mut ack);
        assert_eq!(tcp(&ack).0, 2001);
        let mut fin = segment(HERE, THERE, TcpFlags::ACK | TcpFlags::FIN, 1001, 7);
        shift.pass(NOW, &mut fin);
        assert_eq!(tcp(&fin).0, 1001, "a FIN keeps its number");
    }

    #[test]
    fn a_fin_is_repeated_until_it_is_acknowledged() {
        let mut shift = SeqShift::new(HERE, Some(SeqNumber(500)));
        shift.pass(NOW, &mut segment(HERE, THERE, TcpFlags::SYN, 1000, 0));
        let mut fin = segment(HERE, THERE, TcpFlags::ACK | TcpFlags::FIN, 1001, 7);
        shift.pass(NOW, &mut fin);
        assert_eq!(shift.repeat(NOW), None);
        let later = NOW.after(REPEAT);
        assert_eq!(shift.repeat_at(), Some(later));
        assert_eq!(shift.repeat(later), Some(fin));
        shift.pass(NOW, &mut segment(THERE, HERE, TcpFlags::ACK, 7, 501));
        assert!(
            shift.repeat_at().is_some(),
            "the FIN itself is not acknowledged"
        );
        shift.pass(NOW, &mut segment(THERE, HERE, TcpFlags::ACK, 7, 502));
        assert_eq!(shift.repeat_at(), None);
    }

    #[test]
    fn frames_of_others_stay_as_they_are() {
        let mut shift = SeqShift::new(HERE, Some(SeqNumber(0)));
        let mut other = segment(THERE, THERE, TcpFlags::SYN, 5, 0);
        let before = other.clone();
        shift.pass(NOW, &mut other);
        assert_eq!(other, before);
    }
}
