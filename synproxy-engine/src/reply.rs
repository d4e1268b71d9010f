//! The SYN-ACK, made from scratch in the frame that brought the SYN.
//!
//! Nothing of the SYN is kept but addresses, ports and the number to acknowledge: no payload, no IP
//! option, no unknown TCP option, no ECN bit, not its TTL. What is offered is what both sides can
//! do, so the answer is never longer than the SYN, apart from an MSS that the SYN did not have.

use core::net::Ipv6Addr;

use weir_wire::{
    EthHeader, FrameBuf, Header, Ipv4Header, Ipv6Header, OptionKind, Protocol, Sum, SynOptions,
    Tcp, TcpFlags, V4, pseudo_v6,
};

use crate::cookie::{ClientOptions, MAX_WSCALE};

pub use self::plain::PlainReply;

mod plain;

/// The time to live of what Weir sends.
const TTL: u8 = 64;

/// "Don't fragment", where the IPv4 header has it.
const DONT_FRAGMENT: u32 = 0x4000;

/// What a client that says nothing takes (RFC 9293 section 3.7.1).
const DEFAULT_MSS: u16 = 536;

/// What a service offers those clients that offer it, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offered {
    /// Maximum segment size in bytes.
    pub mss: u16,
    /// Window scale in bits.
    pub wscale: Option<u8>,
    /// Selective acknowledgements.
    pub sack: bool,
    /// The `TSval` to send, where timestamps are offered.
    pub tsval: Option<u32>,
    /// The window, which is never scaled in a SYN-ACK (RFC 7323 section 2.2).
    pub window: u16,
}

/// Says what a client offered of that which survives in a cookie.
#[inline]
#[must_use]
pub const fn client_options(syn: SynOptions) -> ClientOptions {
    ClientOptions {
        mss: match syn.mss() {
            Some(mss) => mss,
            None => DEFAULT_MSS,
        },
        wscale: match syn.wscale() {
            Some(MAX_WSCALE..) => Some(MAX_WSCALE),
            offered => offered,
        },
        sack: syn.sack_permitted(),
    }
}

/// Turns the SYN in `frame` into the SYN-ACK, addressed to the station that it came from.
///
/// The frame must be the one that `l3`, `v4`, `syn` and `client` were parsed from, and its
/// destination our own Ethernet address. `client_tsval` is the `TSval` of the SYN, where there is
/// one. An MSS goes with it wherever the chunk has room. Nothing is changed, and the answer is
/// `None`, when the chunk has no room for the rest.
#[inline]
#[must_use]
#[expect(
    clippy::too_many_arguments,
    reason = "the parts that the walk has parsed, each by its name"
)]
pub fn syn_ack(
    frame: &mut FrameBuf<'_>,
    l3: u16,
    v4: &V4,
    syn: &Tcp,
    client: SynOptions,
    client_tsval: u32,
    cookie: crate::Cookie,
    offered: &Offered,
) -> Option<()> {
    let mut segment = Segment::new(syn, client, client_tsval, cookie, offered);
    let l3 = l3 as usize;
    let tcp_len = make_room(frame, l3 + Ipv4Header::LEN, &mut segment)?;
    let total_len = Ipv4Header::LEN as u32 + tcp_len as u32;
    let addrs = [v4.dst.octets(), v4.src.octets()];
    // The addresses count in both checksums.
    let addrs_sum = Sum::new().add_words(&addrs);
    let version_len = (0x4500_0000 | total_len).to_be_bytes();
    let ident_flags = DONT_FRAGMENT.to_be_bytes();
    let ttl_protocol = (TTL as u32) << 24 | (Protocol::TCP as u32) << 16;
    let checksum = addrs_sum
        .add_words(&[version_len, ident_flags, ttl_protocol.to_be_bytes()])
        .complement();
    let ttl_word = (ttl_protocol | checksum as u32).to_be_bytes();
    let pseudo = addrs_sum.add_u32((Protocol::TCP as u32) << 16 | tcp_len as u32);

    let bytes = frame.bytes_mut();
    EthHeader::at_mut(bytes, 0)?.swap_addrs();
    let (words, _) = bytes.get_mut(l3..)?.as_chunks_mut::<4>();
    let (ip, tcp) = words.split_first_chunk_mut::<5>()?;
    let [src, dst] = addrs;
    *ip = [version_len, ident_flags, ttl_word, src, dst];
    segment.put(tcp, pseudo)
}

/// Does for IPv6 what [`syn_ack`] does for IPv4; `src` and `dst` are the addresses of the SYN.
/// Extension headers are not echoed either.
#[inline]
#[must_use]
#[expect(
    clippy::too_many_arguments,
    reason = "the parts that the walk has parsed, each by its name"
)]
pub fn syn_ack_v6(
    frame: &mut FrameBuf<'_>,
    l3: u16,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    syn: &Tcp,
    client: SynOptions,
    client_tsval: u32,
    cookie: crate::Cookie,
    offered: &Offered,
) -> Option<()> {
    let mut segment = Segment::new(syn, client, client_tsval, cookie, offered);
    let l3 = l3 as usize;
    let tcp_len = make_room(frame, l3 + Ipv6Header::LEN, &mut segment)?;
    let ip = Ipv6Header {
        version_class_flow: (6 << 28).into(),
        payload_len: tcp_len.into(),
        next_header: Protocol::TCP,
        hop_limit: TTL,
        src: dst.octets(),
        dst: src.octets(),
    };
    let pseudo = pseudo_v6(src, dst, Protocol::TCP, tcp_len as u32);
    let bytes = frame.bytes_mut();
    EthHeader::at_mut(bytes, 0)?.swap_addrs();
    ip.put(bytes, l3)?;
    let (words, _) = bytes.get_mut(l3 + Ipv6Header::LEN..)?.as_chunks_mut::<4>();
    segment.put(words, pseudo)
}

/// Sets the frame's length for a segment behind offset `l4`, and returns the segment's; gives the
/// MSS up where the chunk ends too soon.
#[inline]
fn make_room(frame: &mut FrameBuf<'_>, l4: usize, segment: &mut Segment) -> Option<u16> {
    if l4 > frame.len() {
        return None;
    }
    let mut len = segment.len();
    if frame.set_len(l4 + len as usize).is_none() {
        segment.mss = None;
        len = segment.len();
        frame.set_len(l4 + len as usize)?;
    }
    Some(len)
}

/// A SYN-ACK behind its IP header.
#[derive(Clone, Copy)]
struct Segment {
    src_port: u16,
    dst_port: u16,
    seq: u32,
    ack: u32,
    window: u16,
    mss: Option<u16>,
    sack: bool,
    timestamps: Option<(u32, u32)>,
    wscale: Option<u8>,
}

impl Segment {
    #[inline]
    fn new(
        syn: &Tcp,
        client: SynOptions,
        client_tsval: u32,
        cookie: crate::Cookie,
        offered: &Offered,
    ) -> Self {
        Self {
            src_port: syn.dst_port,
            dst_port: syn.src_port,
            seq: cookie.0,
            // What a SYN carries as data is not taken; the client sends it again.
            ack: (syn.seq + 1).0,
            window: offered.window,
            mss: Some(offered.mss),
            sack: offered.sack && client.sack_permitted(),
            timestamps: match (offered.tsval, client.timestamps()) {
                (Some(tsval), Some(_)) => Some((tsval, client_tsval)),
                (Some(_) | None, _) => None,
            },
            wscale: client.wscale().and(offered.wscale),
        }
    }

    #[inline]
    const fn len(&self) -> u16 {
        let mut words = 5;
        if self.mss.is_some() {
            words += 1;
        }
        if self.timestamps.is_some() {
            words += 3;
        } else if self.sack {
            words += 1;
        }
        if self.wscale.is_some() {
            words += 1;
        }
        words * 4
    }

    /// Writes header, options and checksum to the start of `words`.
    #[inline]
    fn put(&self, words: &mut [[u8; 4]], pseudo: Sum) -> Option<()> {
        let (header, options) = words.split_first_chunk_mut::<5>()?;
        let mut writer = Words {
            rest: options,
            sum: pseudo,
        };
        if let Some(mss) = self.mss {
            writer.put(MSS | mss as u32)?;
        }
        if let Some((tsval, tsecr)) = self.timestamps {
            let first = if self.sack { SACK_PERMITTED } else { NOPS };
            writer.put(first << 16 | TIMESTAMPS)?;
            writer.put(tsval)?;
            writer.put(tsecr)?;
        } else if self.sack {
            writer.put(NOPS << 16 | SACK_PERMITTED)?;
        }
        if let Some(wscale) = self.wscale {
            writer.put(NOP_WSCALE | wscale as u32)?;
        }
        let ports = (self.src_port as u32) << 16 | self.dst_port as u32;
        let flags = TcpFlags::SYN.union(TcpFlags::ACK).0 as u32;
        let off_flags = (self.len() as u32 / 4) << 28 | flags << 16;
        let [ports, seq, ack, window] =
            [ports, self.seq, self.ack, off_flags | self.window as u32].map(u32::to_be_bytes);
        let sum = writer.sum.add_words(&[ports, seq, ack, window]);
        let checksum = (sum.complement() as u32) << 16;
        *header = [ports, seq, ack, window, checksum.to_be_bytes()];
        Some(())
    }
}

const NOPS: u32 = u16::from_be_bytes([OptionKind::NOP, OptionKind::NOP]) as u32;
const SACK_PERMITTED: u32 = u16::from_be_bytes([OptionKind::SACK_PERM, 2]) as u32;
const TIMESTAMPS: u32 = u16::from_be_bytes([OptionKind::TIMESTAMPS, 10]) as u32;
const MSS: u32 = u32::from_be_bytes([OptionKind::MSS, 4, 0, 0]);
const NOP_WSCALE: u32 = u32::from_be_bytes([OptionKind::NOP, OptionKind::WSCALE, 3, 0]);

/// Writes whole words and adds them up on the way.
struct Words<'a> {
    rest: &'a mut [[u8; 4]],
    sum: Sum,
}

impl Words<'_> {
    #[inline]
    fn put(&mut self, word: u32) -> Option<()> {
        let (to, rest) = core::mem::take(&mut self.rest).split_first_mut()?;
        *to = word.to_be_bytes();
        self.rest = rest;
        self.sum = self.sum.add_u32(word);
        Some(())
    }
}

#[cfg(test)]
mod tests;
