//! What the model looks at in a TCP segment.

use weir_wire::{
    EthAddr, EthHeader, Header, Ipv4Header, KindSet, OptionSummary, Parsed, SeqNumber, TcpFlags,
    TcpHeader,
};

use super::Tuple;

/// A TCP segment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    /// Sender and receiver.
    pub(super) tuple: Tuple,
    pub(super) seq: SeqNumber,
    pub(super) ack: SeqNumber,
    pub(super) flags: TcpFlags,
    pub(super) window: u16,
    /// The payload's length.
    pub(super) len: u32,
    pub(super) options: Options,
    /// Sender and receiver.
    pub(super) eth: (EthAddr, EthAddr),
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) ident: u16,
    pub(super) dont_fragment: bool,
    pub(super) ip_len: u16,
}

/// The options of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options {
    pub(super) mss: Option<u16>,
    pub(super) wscale: Option<u8>,
    pub(super) sack: bool,
    /// `TSval` and `TSecr`.
    pub(super) timestamps: Option<(u32, u32)>,
}

impl Segment {
    /// Reads a frame; none when it is no whole TCP segment over IPv4.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        let parsed = Parsed::parse(frame).ok()?;
        let v4 = parsed.v4()?;
        let tcp = v4.tcp()?;
        let eth = EthHeader::at(frame, 0)?;
        let ip = Ipv4Header::at(frame, usize::from(parsed.l3))?;
        let from = usize::from(v4.l4) + TcpHeader::LEN;
        let to = usize::from(v4.l4) + usize::from(tcp.header_len);
        Some(Self {
            tuple: ((v4.src, tcp.src_port), (v4.dst, tcp.dst_port)),
            seq: tcp.seq,
            ack: tcp.ack,
            flags: tcp.flags,
            window: tcp.window,
            len: u32::from(tcp.payload_len),
            options: Options::of(frame.get(from..to)?),
            eth: (eth.src_addr(), eth.dst_addr()),
            ttl: v4.ttl,
            tos: v4.tos,
            ident: ip.id.get(),
            dont_fragment: v4.dont_fragment,
            ip_len: v4.total_len,
        })
    }

    /// Says whether it asks for a connection, and says nothing against that.
    pub(super) const fn is_syn(&self) -> bool {
        let against = TcpFlags::ACK.union(TcpFlags::RST).union(TcpFlags::FIN);
        self.flags.contains(TcpFlags::SYN) && !self.flags.intersects(against)
    }

    /// Says whether it answers one that does.
    pub(super) const fn is_syn_ack(&self) -> bool {
        self.flags.contains(TcpFlags::SYN.union(TcpFlags::ACK))
    }

    /// Says whether it acknowledges something, and neither opens nor resets.
    pub(super) const fn is_ack(&self) -> bool {
        self.flags.contains(TcpFlags::ACK)
            && !self.flags.intersects(TcpFlags::SYN.union(TcpFlags::RST))
    }

    /// Returns the sequence number behind it.
    pub(super) fn end(&self) -> SeqNumber {
        self.seq + self.len + self.flags.seq_len()
    }
}

impl Options {
    fn of(bytes: &[u8]) -> Self {
        let summary = OptionSummary::new(bytes, &KindSet::default());
        let long = |at: usize| {
            let four = bytes.get(at..at + 4)?.try_into().ok()?;
            Some(u32::from_be_bytes(four))
        };
        let timestamps = summary.timestamps.and_then(|at| {
            let at = usize::from(at) + 2;
            Some((long(at)?, long(at + 4)?))
        });
        Self {
            mss: summary.mss.map(|(_, mss)| mss),
            wscale: summary.wscale.map(|(_, shift)| shift),
            sack: summary.sack_permitted,
            timestamps,
        }
    }
}
