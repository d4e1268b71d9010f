//! Measures the engine: nanoseconds per cookie, check and SYN-ACK, the best of seven rounds.
//!
//! `cargo run --release -p synproxy-engine --example cookie_bench`

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measuring program, not the data plane"
)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use synproxy_engine::{
    Checked, Cookie, Fingerprint, Handshake, Offered, ReflectionGuard, Secrets, TopKeys, Trigger,
    TriggerLimits, client_options, syn_ack,
};
use weir_model::MasterKey;
use weir_wire::{
    ETHERTYPE_IPV4, EthAddr, EthHeader, FrameBuf, Header, Ipv4Repr, KindSet, OptionSummary, Parsed,
    Protocol, SeqNumber, SynOptions, TcpFlags, TcpRepr, Timestamps, fill_checksums, verify_frame,
};

const WALL_MS: u64 = 1_790_000_000_000;
const ROUNDS: usize = 7;
const TURNS: u32 = 2_000_000;
const BURST: usize = 64;
const CHUNK: usize = 128;
const L3: usize = EthHeader::LEN;
const L4: usize = L3 + Ipv4Repr::LEN;

fn main() {
    let mut secrets = Secrets::new(
        MasterKey(*b"0123456789abcdef"),
        Duration::from_secs(64),
        Duration::from_mins(15),
        WALL_MS,
    );
    let offered = Offered {
        mss: 1440,
        wscale: Some(7),
        sack: true,
        tsval: Some(1),
        window: 16384,
    };
    println!("{:<52} {:>8}", "what", "ns");
    cookies(&mut secrets);
    for (name, repr) in [("linux, all options", linux()), ("no options", bare())] {
        syn_acks(name, &repr, &secrets, &offered);
    }
    floods();
}

fn cookies(secrets: &mut Secrets) {
    let (v4, v6) = (handshake(0), handshake_v6(0));
    let options = client_options(SynOptions::NONE);
    let cookie = secrets.issue(&v4, &options);
    assert_eq!(secrets.check(&v4, cookie), Checked::Valid(options));
    measure("refresh, nothing to do", |turn| {
        secrets.refresh(WALL_MS + u64::from(turn & 1));
    });
    measure("refresh, half a step on", |turn| {
        secrets.refresh(WALL_MS + u64::from(turn) * 64_000);
    });
    secrets.refresh(WALL_MS);
    measure("issue, IPv4", |turn| {
        black_box(secrets.issue(&handshake(turn), &options));
    });
    measure("issue, IPv6", |turn| {
        black_box(secrets.issue(&handshake_v6(turn), &options));
    });
    measure("check, valid, IPv4", |_| {
        black_box(secrets.check(black_box(&v4), cookie));
    });
    let cookie_v6 = secrets.issue(&v6, &options);
    measure("check, valid, IPv6", |_| {
        black_box(secrets.check(black_box(&v6), cookie_v6));
    });
    measure("check, bad, IPv4", |turn| {
        black_box(secrets.check(&v4, Cookie(turn)));
    });
    let checker = secrets.checker(&v4);
    measure("check, bad, handshake hashed before", |turn| {
        black_box(checker.check(Cookie(turn)));
    });
}

/// The SYN-ACK alone, and with all that the engine adds to a walk.
fn syn_acks(name: &str, repr: &TcpRepr, secrets: &Secrets, offered: &Offered) {
    let (syn, len) = frame(repr);
    let bytes = syn.get(..len).unwrap_or_default();
    let parsed = Parsed::parse(bytes).expect("the SYN is in order");
    let v4 = parsed.v4().expect("the SYN is IPv4");
    let tcp = v4.tcp().expect("the SYN is TCP");
    let options = v4.tcp_options(bytes).unwrap_or_default();
    let summary = OptionSummary::new(options, &KindSet::EMPTY);

    measure_frames(&format!("syn_ack, {name}"), &syn, len, |frame, turn| {
        let cookie = Cookie(turn);
        syn_ack(
            frame,
            L3 as u16,
            v4,
            tcp,
            (&summary).into(),
            turn,
            cookie,
            offered,
        )
    });
    measure_frames(
        &format!("parse and options, {name}"),
        &syn,
        len,
        |frame, _| {
            let bytes = frame.bytes();
            let parsed = Parsed::parse(bytes).ok()?;
            let options = parsed.v4()?.tcp_options(bytes)?;
            black_box(OptionSummary::new(options, &KindSet::EMPTY));
            Some(())
        },
    );
    let name = format!("parse, options, issue, syn_ack, {name}");
    measure_frames(&name, &syn, len, |frame, turn| {
        answer(frame, secrets, offered, turn)
    });

    let mut chunk = syn;
    let mut frame = FrameBuf::new(&mut chunk, 0..len).expect("it fits");
    answer(&mut frame, secrets, offered, 1).expect("the SYN is in order");
    assert_eq!(verify_frame(frame.bytes()), Ok(()));
}

/// Runs `what` over bursts of frames that hold the same SYN, and prints the nanoseconds of one in
/// the best round. The frames are filled in between: a device does not write them just before.
fn measure_frames(
    name: &str,
    syn: &[u8; CHUNK],
    len: usize,
    mut what: impl FnMut(&mut FrameBuf<'_>, u32) -> Option<()>,
) {
    let mut chunks = vec![*syn; BURST];
    let best = (0..ROUNDS)
        .map(|_| {
            let mut spent = Duration::ZERO;
            for burst in 0..TURNS / BURST as u32 {
                chunks.fill(*syn);
                let start = Instant::now();
                for (at, chunk) in chunks.iter_mut().enumerate() {
                    let mut frame = FrameBuf::new(chunk, 0..len).expect("it fits");
                    what(&mut frame, burst + at as u32).expect("the SYN is in order");
                    black_box(frame.bytes());
                }
                spent += start.elapsed();
            }
            spent
        })
        .min()
        .unwrap_or_default();
    line(name, best.as_secs_f64() * 1e9 / f64::from(TURNS));
}

/// What a walk does with a SYN, apart from finding its service.
#[inline(never)]
fn answer(frame: &mut FrameBuf<'_>, secrets: &Secrets, offered: &Offered, turn: u32) -> Option<()> {
    let bytes = frame.bytes();
    let parsed = Parsed::parse(bytes).ok()?;
    let v4 = parsed.v4()?;
    let tcp = v4.tcp()?;
    let options = v4.tcp_options(bytes)?;
    let summary = OptionSummary::new(options, &KindSet::EMPTY);
    let handshake = Handshake {
        client: IpAddr::V4(v4.src),
        vip: IpAddr::V4(v4.dst),
        client_port: tcp.src_port,
        vip_port: tcp.dst_port,
        client_isn: tcp.seq + turn,
    };
    let cookie = secrets.issue(&handshake, &client_options((&summary).into()));
    syn_ack(
        frame,
        parsed.l3,
        v4,
        tcp,
        (&summary).into(),
        turn,
        cookie,
        offered,
    )
}

fn floods() {
    let limits = TriggerLimits {
        enter: u32::MAX,
        leave: 1,
        stay_ms: 1,
    };
    let mut trigger = Trigger::new(0);
    measure("trigger, a SYN", |turn| {
        black_box(trigger.syn(turn / 1000, &limits));
    });
    let mut guard = ReflectionGuard::new(*b"0123456789abcdef");
    measure("reflection guard, random /24s", |turn| {
        let client = IpAddr::V4(Ipv4Addr::from_bits(turn.wrapping_mul(0x9e37_79b9)));
        black_box(guard.allow(client, turn / 1000, 50_000));
    });
    let mut tops = TopKeys::<32>::new();
    measure("top 32, random keys (1 SYN in 64)", |turn| {
        tops.add(u64::from(turn.wrapping_mul(0x9e37_79b9)) >> 8);
    });
    let (syn, len) = frame(&linux());
    let bytes = syn.get(..len).unwrap_or_default();
    let parsed = Parsed::parse(bytes).expect("the SYN is in order");
    let v4 = parsed.v4().expect("the SYN is IPv4");
    let tcp = v4.tcp().expect("the SYN is TCP");
    let options = v4.tcp_options(bytes).unwrap_or_default();
    let summary = OptionSummary::new(options, &KindSet::EMPTY);
    measure("fingerprint (1 SYN in 64)", |_| {
        black_box(Fingerprint::new(v4, tcp, &summary, black_box(options)));
    });
}

/// Runs `what` and prints the nanoseconds of one turn in the best round.
fn measure(name: &str, mut what: impl FnMut(u32)) {
    let best = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for turn in 0..TURNS {
                what(black_box(turn));
            }
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    line(name, best.as_secs_f64() * 1e9 / f64::from(TURNS));
}

fn line(name: &str, ns: f64) {
    println!("{name:<52} {ns:>8.1}");
}

fn handshake(turn: u32) -> Handshake {
    Handshake {
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        vip: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
        client_port: 40_000,
        vip_port: 443,
        client_isn: SeqNumber(turn),
    }
}

fn handshake_v6(turn: u32) -> Handshake {
    Handshake {
        client: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 7)),
        vip: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1)),
        ..handshake(turn)
    }
}

fn bare() -> TcpRepr {
    TcpRepr {
        src_port: 40_000,
        dst_port: 443,
        seq: SeqNumber(1),
        flags: TcpFlags::SYN,
        window: 64240,
        ..TcpRepr::default()
    }
}

fn linux() -> TcpRepr {
    TcpRepr {
        mss: Some(1460),
        wscale: Some(10),
        sack_permitted: true,
        timestamps: Some(Timestamps { tsval: 7, tsecr: 0 }),
        ..bare()
    }
}

/// A frame with a SYN, and its length.
fn frame(repr: &TcpRepr) -> ([u8; CHUNK], usize) {
    let mut bytes = [0; CHUNK];
    let ip = Ipv4Repr {
        src: Ipv4Addr::new(192, 0, 2, 7),
        dst: Ipv4Addr::new(198, 51, 100, 1),
        protocol: Protocol::TCP,
        ttl: 51,
        tos: 0,
        ident: 9,
        dont_fragment: true,
        payload_len: repr.buffer_len() as u16,
    };
    let len = L4 + repr.buffer_len();
    let eth = EthHeader::new(EthAddr([4; 6]), EthAddr([2; 6]), ETHERTYPE_IPV4);
    let (_, l3) = bytes.split_at_mut(L3);
    ip.emit(l3).expect("it fits");
    let (_, l4) = l3.split_at_mut(Ipv4Repr::LEN);
    repr.emit(l4).expect("it fits");
    eth.put(&mut bytes, 0).expect("it fits");
    fill_checksums(bytes.split_at_mut(len).0).expect("it is IPv4");
    (bytes, len)
}
