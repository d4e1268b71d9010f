//! The SYN-ACK to a SYN in a plain frame: what is the same for all clients is worked out once.

use weir_wire::{
    EthHeader, FrameBuf, Header as _, Ipv4Header, Protocol, Sum, SynOptions, TcpFlags, TcpHeader,
    V4,
};

use super::{
    DONT_FRAGMENT, MSS, NOP_WSCALE, NOPS, Offered, SACK_PERMITTED, TIMESTAMPS, TTL, Words,
};
use crate::Cookie;

/// Words of an IPv4 header and a TCP header without options.
const FIXED: usize = (Ipv4Header::LEN + TcpHeader::LEN) / 4;

/// Answers the SYNs of one service as [`syn_ack`](super::syn_ack) does, those in plain frames.
#[derive(Clone, Copy, Debug)]
pub struct PlainReply {
    mss: u32,
    wscale: Option<u32>,
    sack: bool,
    timestamps: bool,
    window: u16,
}

impl PlainReply {
    /// The longest answer, in bytes: a frame that has no room for it is not for this.
    pub const LONGEST: usize = V4::PLAIN_L4 as usize + TcpHeader::LEN + 5 * 4;

    /// Prepares to offer this; each answer is told its own `TSval`.
    #[must_use]
    pub fn new(offered: &Offered) -> Self {
        Self {
            mss: MSS | offered.mss as u32,
            wscale: offered.wscale.map(|wscale| NOP_WSCALE | wscale as u32),
            sack: offered.sack,
            timestamps: offered.tsval.is_some(),
            window: offered.window,
        }
    }

    /// Turns the SYN in `frame` into the SYN-ACK.
    ///
    /// The frame must be one in which [`V4::plain`] finds a SYN with these options, and its
    /// destination our own Ethernet address. Nothing is changed, and the answer is `None`, when the
    /// chunk has no room.
    #[inline]
    #[must_use]
    pub fn answer(
        &self,
        frame: &mut FrameBuf<'_>,
        client: SynOptions,
        cookie: Cookie,
        tsval: u32,
    ) -> Option<()> {
        let sack = self.sack && client.sack_permitted();
        let wscale = client.wscale().and(self.wscale);
        let timestamps = match client.timestamps() {
            Some(offset) if self.timestamps => Some((tsval, tsval_at(frame.bytes(), offset)?)),
            Some(_) | None => None,
        };
        let options = match (timestamps, sack) {
            (Some(_), _) => 4,
            (None, true) => 2,
            (None, false) => 1,
        } + usize::from(wscale.is_some());
        let tcp_len = TcpHeader::LEN + options * 4;
        frame.set_len(V4::PLAIN_L4 as usize + tcp_len)?;

        let bytes = frame.bytes_mut();
        let words = bytes.get_mut(EthHeader::LEN..)?.as_chunks_mut::<4>().0;
        let (fixed, rest) = words.split_first_chunk_mut::<FIXED>()?;
        let mut writer = Words {
            rest,
            sum: Sum::new(),
        };
        writer.put(self.mss)?;
        if let Some((tsval, tsecr)) = timestamps {
            let first = if sack { SACK_PERMITTED } else { NOPS };
            writer.put(first << 16 | TIMESTAMPS)?;
            writer.put(tsval)?;
            writer.put(tsecr)?;
        } else if sack {
            writer.put(NOPS << 16 | SACK_PERMITTED)?;
        }
        if let Some(wscale) = wscale {
            writer.put(wscale)?;
        }
        let sum = writer.sum;

        let [_, _, _, client, vip, [a, b, c, d], seq, ..] = *fixed;
        let total_len = Ipv4Header::LEN + tcp_len;
        let version_len = (0x4500_0000 | total_len as u32).to_be_bytes();
        let ident_flags = DONT_FRAGMENT.to_be_bytes();
        let ttl_protocol = (TTL as u32) << 24 | (Protocol::TCP as u32) << 16;
        let ip = [
            version_len,
            ident_flags,
            ttl_protocol.to_be_bytes(),
            vip,
            client,
        ];
        let checksum = Sum::new().add_words(&ip).complement();
        let ttl_word = (ttl_protocol | checksum as u32).to_be_bytes();

        let ports = [c, d, a, b];
        let ack = u32::from_be_bytes(seq).wrapping_add(1).to_be_bytes();
        let flags = TcpFlags::SYN.union(TcpFlags::ACK).0 as u32;
        let off_flags = (tcp_len as u32 / 4) << 28 | flags << 16;
        let window = (off_flags | self.window as u32).to_be_bytes();
        let pseudo = ((Protocol::TCP as u32) << 16 | tcp_len as u32).to_be_bytes();
        let number = cookie.0.to_be_bytes();
        let sum = sum.add_words(&[vip, client, pseudo, ports, number, ack, window]);
        let checksum = ((sum.complement() as u32) << 16).to_be_bytes();
        *fixed = [
            version_len,
            ident_flags,
            ttl_word,
            vip,
            client,
            ports,
            number,
            ack,
            window,
            checksum,
        ];
        EthHeader::at_mut(bytes, 0)?.swap_addrs();
        Some(())
    }
}

/// The `TSval` of timestamps at an offset from the start of the options.
#[inline]
fn tsval_at(frame: &[u8], offset: u8) -> Option<u32> {
    let at = V4::PLAIN_L4 as usize + TcpHeader::LEN + offset as usize + 2;
    let tsval = frame.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*tsval))
}
