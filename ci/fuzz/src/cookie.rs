//! Target `cookie`: bytes become handshakes, clocks and numbers for the cookie engine, and SYNs to
//! be answered in place.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use synproxy_engine::{
    Checked, ClientOptions, Cookie, Fingerprint, Handshake, MSS_TABLE, Offered, Secrets,
    client_options, syn_ack, syn_ack_v6,
};
use weir_model::MasterKey;
use weir_wire::{
    Describe, ETHERTYPE_IPV4, ETHERTYPE_IPV6, EthAddr, EthHeader, FrameBuf, Header, Ipv6Header,
    KindSet, OptionSummary, Parsed, SeqNumber, Tcp, TcpFlags, TcpHeader, fill_checksums,
    verify_frame,
};

use crate::choice::Choice;

const MASTER: MasterKey = MasterKey(*b"key of a fuzzer!");
/// Cookies that are remembered, to be checked later.
const REMEMBERED: usize = 32;
/// Bytes in front of a frame in its chunk.
const HEADROOM: usize = 32;

/// Two nodes with one master key, and the cookies that the first one made.
struct Nodes<'a> {
    choice: Choice<'a>,
    lifetime_ms: u64,
    rotation_ms: u64,
    wall_ms: u64,
    secrets: Secrets,
    issued: VecDeque<Issue>,
}

#[derive(Clone, Copy)]
struct Issue {
    handshake: Handshake,
    options: ClientOptions,
    cookie: Cookie,
    wall_ms: u64,
}

/// Runs the target.
pub(crate) fn run(choice: Choice<'_>) -> Result<()> {
    let mut nodes = Nodes::new(choice);
    let mut actions = 0;
    while nodes.choice.another() {
        actions += 1;
        nodes.act().with_context(|| format!("action {actions}"))?;
    }
    Ok(())
}

impl<'a> Nodes<'a> {
    fn new(mut choice: Choice<'a>) -> Self {
        let lifetimes = [64_000, 16_000, 30_000, 900_000, 1_000, 7, 1, 100_001];
        let lifetime_ms = choice.pick(&lifetimes);
        let rotation_ms = choice.pick(&[900_000, 60_000, 64_000, 86_400_000, 10, 16_000]);
        let wall_ms = choice.pick(&[1_700_000_000_000, 0, 1, u64::MAX >> 17, 899_999]);
        Self {
            choice,
            lifetime_ms,
            rotation_ms,
            wall_ms,
            secrets: at(lifetime_ms, rotation_ms, wall_ms),
            issued: VecDeque::new(),
        }
    }

    fn act(&mut self) -> Result<()> {
        match self.choice.below(16) {
            0..4 => self.issue(),
            4..7 => self.check_issued(),
            7 => self.check_any(),
            8 => self.check_nearly(),
            9 | 10 => {
                self.pass();
                Ok(())
            }
            11..15 => self.answer_v4(),
            _ => self.answer_v6(),
        }
    }

    /// Makes a cookie. It is good at once, and says what the client offered, rounded down.
    fn issue(&mut self) -> Result<()> {
        let (handshake, options) = (self.handshake(), self.options());
        let cookie = self.secrets.issue(&handshake, &options);
        let issue = Issue {
            handshake,
            options,
            cookie,
            wall_ms: self.wall_ms,
        };
        let checked = self.secrets.check(&handshake, cookie);
        ensure!(
            checked == Checked::Valid(rounded(options)),
            "{checked:?} of a cookie made now for {options:?}"
        );
        if self.issued.len() == REMEMBERED {
            self.issued.pop_front();
        }
        self.issued.push_back(issue);
        Ok(())
    }

    /// Checks a cookie that was made a while ago, here and on a peer whose clock is off: it is good
    /// long enough, and never for longer than its lifetime.
    fn check_issued(&mut self) -> Result<()> {
        let at_most = self.issued.len();
        let Some(issue) = self.issued.get(self.choice.below(at_most)).copied() else {
            return self.issue();
        };
        let age = self.wall_ms - issue.wall_ms;
        let checked = self.check(&issue.handshake, issue.cookie)?;
        let valid = checked == Checked::Valid(rounded(issue.options));
        let half = self.lifetime_ms / 3;
        ensure!(
            valid || age >= half,
            "{checked:?} of a cookie of {age} ms that lives {} ms",
            self.lifetime_ms
        );
        ensure!(
            !valid || age <= self.lifetime_ms.max(3),
            "a cookie of {age} ms is good for {} ms",
            self.lifetime_ms
        );
        let off = u64::from(self.choice.short()) % (self.lifetime_ms / 4 + 1);
        let peers = [
            self.wall_ms.saturating_add(off),
            self.wall_ms.saturating_sub(off),
        ];
        for wall_ms in peers {
            let peer = at(self.lifetime_ms, self.rotation_ms, wall_ms);
            let checked = peer.check(&issue.handshake, issue.cookie);
            ensure!(
                checked == Checked::Valid(rounded(issue.options)) || age + off >= half,
                "{checked:?} of a cookie of {age} ms at a peer whose clock is {off} ms off"
            );
        }
        Ok(())
    }

    /// Checks any number at all.
    fn check_any(&mut self) -> Result<()> {
        let handshake = self.handshake();
        let cookie = Cookie(self.choice.long());
        self.check(&handshake, cookie).map(drop)
    }

    /// Checks a cookie with something about it changed.
    fn check_nearly(&mut self) -> Result<()> {
        let at_most = self.issued.len();
        let Some(issue) = self.issued.get(self.choice.below(at_most)).copied() else {
            return self.issue();
        };
        let (mut handshake, mut cookie) = (issue.handshake, issue.cookie);
        let bit = self.choice.below(32);
        match self.choice.below(5) {
            0 => handshake.client_isn += 1 << bit,
            1 => handshake.client_port ^= 1 << (bit % 16),
            2 => handshake.vip_port ^= 1 << (bit % 16),
            3 => std::mem::swap(&mut handshake.client, &mut handshake.vip),
            _ => cookie.0 ^= 1 << bit,
        }
        self.check(&handshake, cookie).map(drop)
    }

    /// Lets time pass, in steps of all sizes.
    fn pass(&mut self) {
        let amount = u64::from(self.choice.short());
        let unit = self
            .choice
            .pick(&[1, self.lifetime_ms / 100, self.lifetime_ms / 3]);
        self.wall_ms = self.wall_ms.saturating_add(amount % 512 * unit);
        self.secrets.refresh(self.wall_ms);
    }

    /// Checks a number and compares with a model: a number is good exactly when one of the two live
    /// steps would make it for this handshake and the options that it names.
    fn check(&self, handshake: &Handshake, cookie: Cookie) -> Result<Checked> {
        let checked = self.secrets.check(handshake, cookie);
        let again = self.secrets.checker(handshake).check(cookie);
        ensure!(checked == again, "{checked:?} here and {again:?} in bulk");
        let half = (self.lifetime_ms / 3).max(1);
        let options = named(cookie);
        let latest = (self.wall_ms / half).div_ceil(2);
        let made_by = |step: Option<u64>| {
            step.is_some_and(|step| {
                let wall_ms = step.saturating_mul(2 * half);
                let then = at(self.lifetime_ms, self.rotation_ms, wall_ms);
                then.issue(handshake, &options) == cookie
            })
        };
        let expected = if (0..2).any(|age| made_by(latest.checked_sub(age))) {
            Checked::Valid(options)
        } else if (2..4).any(|age| made_by(latest.checked_sub(age))) {
            Checked::Stale
        } else {
            Checked::Bad
        };
        // Before the first steps of 1970 there are others, which nobody has lived through.
        ensure!(
            checked == expected || latest < 4,
            "{checked:?} where {expected:?} is right: {cookie:?} for {handshake:?}"
        );
        Ok(checked)
    }

    fn handshake(&mut self) -> Handshake {
        let v6 = self.choice.once_in(4);
        let address = |last: u8| {
            if v6 {
                IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()))
            } else {
                IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
            }
        };
        let (client, vip) = (address(self.choice.byte()), address(self.choice.byte()));
        Handshake {
            client,
            vip,
            client_port: self.choice.short(),
            vip_port: self.choice.short(),
            client_isn: SeqNumber(self.choice.long()),
        }
    }

    fn options(&mut self) -> ClientOptions {
        let wscale = self.choice.byte();
        ClientOptions {
            mss: self.choice.short(),
            wscale: (wscale & 1 != 0).then_some(wscale >> 1),
            sack: self.choice.once_in(2),
        }
    }

    fn offered(&mut self) -> Offered {
        let bits = self.choice.byte();
        Offered {
            mss: self.choice.pick(&[1440, 1460, 536, 1420, 1]),
            wscale: (bits & 1 != 0).then_some(bits >> 4),
            sack: bits & 2 != 0,
            tsval: (bits & 4 != 0).then_some(0x8000_0000 | u32::from(bits)),
            window: if bits & 8 != 0 { 0 } else { 16_384 },
        }
    }

    fn some(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.choice.byte()).collect()
    }

    /// Answers a SYN over IPv4 in place.
    fn answer_v4(&mut self) -> Result<()> {
        let ip_options = self.choice.pick(&[0, 0, 0, 1, 10]) * 4;
        let options = self.choice.below(11) * 4;
        let payload = self.choice.pick(&[0, 0, 0, 1, 60]);
        let mut frame = vec![0; 14];
        head(ETHERTYPE_IPV4)
            .put(&mut frame, 0)
            .context("a whole frame")?;
        let total = 20 + ip_options + 20 + options + payload;
        frame.extend([0x45 + ip_options as u8 / 4, self.choice.byte()]);
        frame.extend((total as u16).to_be_bytes());
        frame.extend([self.choice.byte(), self.choice.byte()]);
        frame.extend([self.choice.pick(&[0x40, 0]), 0, self.choice.byte(), 6, 0, 0]);
        frame.extend([192, 0, 2, 7, 203, 0, 113, 10]);
        frame.extend(self.some(ip_options));
        frame.extend(self.segment(options, payload));
        let _ = fill_checksums(&mut frame);
        // What Ethernet pads, or the driver leaves behind the frame.
        frame.extend(std::iter::repeat_n(0, self.choice.pick(&[0, 0, 6])));
        self.answer_frame(&frame)
    }

    /// Answers whatever a parser takes for a SYN.
    fn answer_frame(&mut self, bytes: &[u8]) -> Result<()> {
        let Ok(parsed) = Parsed::parse(bytes) else {
            return Ok(());
        };
        let Some((v4, syn)) = parsed.v4().and_then(|v4| Some((v4, v4.tcp()?))) else {
            return Ok(());
        };
        let from = usize::from(v4.l4) + TcpHeader::LEN;
        let to = usize::from(v4.l4) + usize::from(syn.header_len);
        let options = bytes.get(from..to).context("options of a parsed frame")?;
        let summary = OptionSummary::new(options, &KindSet::TOA);
        let client = client_options((&summary).into());
        let _ = Fingerprint::new(v4, syn, &summary, options).to_string();
        let handshake = Handshake {
            client: v4.src.into(),
            vip: v4.dst.into(),
            client_port: syn.src_port,
            vip_port: syn.dst_port,
            client_isn: syn.seq,
        };
        let cookie = self.secrets.issue(&handshake, &client);
        let (offered, tsval) = (self.offered(), self.choice.long());
        let mut chunk = vec![0x5a; HEADROOM + bytes.len() + self.choice.pick(&[0, 0, 4, 64])];
        chunk[HEADROOM..HEADROOM + bytes.len()].copy_from_slice(bytes);
        let range = HEADROOM..HEADROOM + bytes.len();
        let mut frame = FrameBuf::new(&mut chunk, range).context("a frame in its chunk")?;
        let made = syn_ack(
            &mut frame,
            parsed.l3,
            v4,
            syn,
            (&summary).into(),
            tsval,
            cookie,
            &offered,
        );
        let after = frame.bytes().to_vec();
        ensure!(
            chunk[..HEADROOM].iter().all(|byte| *byte == 0x5a),
            "bytes in front of the frame were changed"
        );
        if made.is_none() {
            ensure!(after == bytes, "refused, and yet changed");
            return Ok(());
        }
        let show = || format!("{} became {}", Describe(bytes), Describe(&after));
        ensure!(
            verify_frame(&after) == Ok(()),
            "a wrong checksum: {}",
            show()
        );
        let answer = Parsed::parse(&after).with_context(show)?;
        let answer4 = answer.v4().with_context(show)?;
        let answer_tcp = *answer4.tcp().with_context(show)?;
        ensure!(
            (answer4.src, answer4.dst) == (v4.dst, v4.src)
                && answer_tcp.src_port == syn.dst_port
                && answer_tcp.dst_port == syn.src_port,
            "sent to somebody else: {}",
            show()
        );
        let from = usize::from(answer4.l4) + TcpHeader::LEN;
        let options = after.get(from..).with_context(show)?;
        check_segment(&answer_tcp, options, syn, &summary, cookie, &offered, tsval)
            .with_context(show)?;
        let mss = if summary.mss.is_none() { 4 } else { 0 };
        let longest = usize::from(parsed.l3) + usize::from(v4.total_len) + mss;
        ensure!(after.len() <= longest, "longer than it must be: {}", show());
        // What the client's stack acknowledges is what is checked.
        let checked = self.secrets.check(&handshake, Cookie(answer_tcp.seq.0));
        ensure!(
            checked == Checked::Valid(rounded(client)),
            "{checked:?} of what was sent: {}",
            show()
        );
        Ok(())
    }

    /// Answers a SYN over IPv6 in place.
    fn answer_v6(&mut self) -> Result<()> {
        let options = self.choice.below(11) * 4;
        let segment = self.segment(options, 0);
        let (client, vip) = (
            Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 7),
            Ipv6Addr::LOCALHOST,
        );
        let mut bytes = vec![0; 54];
        head(ETHERTYPE_IPV6)
            .put(&mut bytes, 0)
            .context("a whole frame")?;
        let ip = Ipv6Header {
            version_class_flow: (6 << 28 | self.choice.long() >> 4).into(),
            payload_len: (segment.len() as u16).into(),
            next_header: 6,
            hop_limit: self.choice.byte(),
            src: client.octets(),
            dst: vip.octets(),
        };
        ip.put(&mut bytes, 14).context("a whole header")?;
        bytes.extend(&segment);
        let header = TcpHeader::at(&segment, 0).context("a whole segment")?;
        let syn = Tcp {
            src_port: header.src_port.get(),
            dst_port: header.dst_port.get(),
            seq: header.seq_number(),
            ack: header.ack_number(),
            flags: header.flags(),
            window: header.window.get(),
            header_len: 20 + options as u16,
            payload_len: 0,
        };
        let summary = OptionSummary::new(&segment[20..], &KindSet::TOA);
        let (offered, tsval) = (self.offered(), self.choice.long());
        let cookie = Cookie(self.choice.long());
        let room = self.choice.pick(&[0, 4, 64]);
        let mut chunk = bytes.clone();
        chunk.resize(bytes.len() + room, 0x5a);
        let mut frame = FrameBuf::new(&mut chunk, 0..bytes.len()).context("a frame")?;
        let addresses = (client, vip);
        let made = syn_ack_v6(
            &mut frame,
            14,
            addresses,
            &syn,
            (&summary).into(),
            tsval,
            cookie,
            &offered,
        );
        let after = frame.bytes().to_vec();
        if made.is_none() {
            ensure!(after == bytes, "refused, and yet changed");
            return Ok(());
        }
        ensure!(
            verify_frame(&after) == Ok(()),
            "a wrong checksum: {after:02x?}"
        );
        let ip = Ipv6Header::at(&after, 14).context("a whole answer")?;
        ensure!(
            (ip.src_addr(), ip.dst_addr()) == (vip, client),
            "sent to somebody else: {after:02x?}"
        );
        let header = TcpHeader::at(&after, 54).context("a whole answer")?;
        let answer = Tcp {
            src_port: header.src_port.get(),
            dst_port: header.dst_port.get(),
            seq: header.seq_number(),
            ack: header.ack_number(),
            flags: header.flags(),
            window: header.window.get(),
            header_len: header.header_len() as u16,
            payload_len: (after.len() - 54 - header.header_len()) as u16,
        };
        let options = &after[74..];
        check_segment(&answer, options, &syn, &summary, cookie, &offered, tsval)
    }

    /// A SYN with any options.
    fn segment(&mut self, options: usize, payload: usize) -> Vec<u8> {
        let options = options.min(40);
        let mut segment = self.some(8);
        // The acknowledgement number of a SYN means nothing.
        segment.extend([0; 4]);
        segment.extend([(5 + options as u8 / 4) << 4, TcpFlags::SYN.0]);
        segment.extend(self.choice.short().to_be_bytes());
        segment.extend([0; 4]);
        let mut rest = options;
        while rest > 0 {
            // Whole options more often than mere bytes get past the first.
            let option: &[u8] = match self.choice.below(8) {
                0 => &[2, 4, 5, 0xb4],
                1 => &[3, 3, self.choice.byte()],
                2 => &[4, 2],
                3 => &[8, 10, 0, 0, 0, 9, 0, 0, 0, 0],
                4 => &[2, 4, self.choice.byte(), self.choice.byte()],
                5 => &[self.choice.byte()],
                6 => &[254, 8, 0, 80, 10, 9, 9, 9],
                _ => &[1],
            };
            let taken = option.len().min(rest);
            segment.extend(&option[..taken]);
            rest -= taken;
        }
        segment.extend(self.some(payload));
        segment
    }
}

/// A SYN-ACK says what was agreed on and nothing else.
fn check_segment(
    answer: &Tcp,
    options: &[u8],
    syn: &Tcp,
    client: &OptionSummary,
    cookie: Cookie,
    offered: &Offered,
    tsval: u32,
) -> Result<()> {
    ensure!(
        answer.flags == TcpFlags::SYN | TcpFlags::ACK
            && answer.seq.0 == cookie.0
            && answer.ack == syn.seq + 1
            && answer.window == offered.window
            && answer.payload_len == 0,
        "{answer:?} answers {syn:?}"
    );
    let is = OptionSummary::new(options, &KindSet::TOA);
    ensure!(
        is.well_formed && !is.repeated,
        "bad options: {options:02x?}"
    );
    ensure!(
        is.mss.is_none_or(|(_, mss)| mss == offered.mss)
            && is.wscale.map(|(_, it)| it) == client.wscale.and(offered.wscale)
            && is.sack_permitted == (client.sack_permitted && offered.sack)
            && is.timestamps.is_some() == (client.timestamps.is_some() && offered.tsval.is_some())
            && is.toa == OptionSummary::default().toa,
        "{is:?} answers {client:?} with {offered:?}"
    );
    if let (Some(at), Some(ours)) = (is.timestamps, offered.tsval) {
        let at = usize::from(at) + 2;
        let values = [ours.to_be_bytes(), tsval.to_be_bytes()].concat();
        ensure!(
            options.get(at..at + 8) == Some(&values),
            "wrong timestamps: {options:02x?}"
        );
    }
    Ok(())
}

fn at(lifetime_ms: u64, rotation_ms: u64, wall_ms: u64) -> Secrets {
    let [lifetime, rotation] = [lifetime_ms, rotation_ms].map(Duration::from_millis);
    Secrets::new(MASTER, lifetime, rotation, wall_ms)
}

/// What of a client's options survives in a cookie.
fn rounded(options: ClientOptions) -> ClientOptions {
    let mss = MSS_TABLE.iter().rev().find(|it| **it <= options.mss);
    ClientOptions {
        mss: *mss.unwrap_or(&MSS_TABLE[0]),
        wscale: options.wscale.map(|it| it.min(14)),
        sack: options.sack,
    }
}

/// The options that a cookie names, read by the drawing of its layout.
fn named(cookie: Cookie) -> ClientOptions {
    let wscale = (cookie.0 >> 1 & 15) as u8;
    ClientOptions {
        mss: MSS_TABLE[(cookie.0 >> 5 & 7) as usize],
        wscale: (wscale < 15).then_some(wscale),
        sack: cookie.0 & 1 != 0,
    }
}

fn head(ethertype: u16) -> EthHeader {
    EthHeader::new(
        EthAddr([2, 0xee, 0, 0, 0, 1]),
        EthAddr([2, 0xaa, 192, 0, 2, 7]),
        ethertype,
    )
}
