//! What the parts of a cookie cost, each alone and in cache: the engine without the walk around it.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use synproxy_engine::{
    Checked, Cookie, Fingerprint, Handshake, Offered, ReflectionGuard, Secrets, TopKeys, Trigger,
    TriggerLimits, client_options, syn_ack,
};
use weir_model::MasterKey;
use weir_rig::{SHIELDED, VIP, WAN, client};
use weir_wire::{KindSet, OptionSummary, Parsed, SeqNumber, SynOptions, Tcp, V4, verify_frame};

use crate::arena::{Arena, BURST};
use crate::frames::{Kind, Sender, Templates, Variant, make};

const WALL_MS: u64 = 1_790_000_000_000;
const ROUNDS: usize = 7;
const TURNS: u32 = 1_000_000;
const OFFERED: Offered = Offered {
    mss: 1440,
    wscale: Some(7),
    sack: true,
    tsval: Some(1),
    window: 16384,
};

/// Measures and prints a line for each part: nanoseconds in the best of its rounds.
pub(crate) fn run() -> Result<()> {
    cookies()?;
    for (name, kind) in [("all options", Kind::Syn), ("no options", Kind::BareSyn)] {
        syn_acks(name, kind)?;
    }
    floods()
}

fn secrets() -> Secrets {
    let key = MasterKey(*b"0123456789abcdef");
    let (lifetime, rotation) = (Duration::from_secs(64), Duration::from_mins(15));
    Secrets::new(key, lifetime, rotation, WALL_MS)
}

fn cookies() -> Result<()> {
    let mut secrets = secrets();
    let options = client_options(SynOptions::NONE);
    for (name, handshake) in [
        ("IPv4", handshake_v4 as fn(u32) -> Handshake),
        ("IPv6", handshake_v6),
    ] {
        let known = handshake(0);
        let cookie = secrets.issue(&known, &options);
        let checked = secrets.check(&known, cookie);
        ensure!(checked == Checked::Valid(options), "{name}: {checked:?}");
        measure(&format!("issue, {name}"), |turn| {
            black_box(secrets.issue(&handshake(turn), &options));
        });
        measure(&format!("check, valid, {name}"), |_| {
            black_box(secrets.check(black_box(&known), cookie));
        });
        measure(&format!("check, bad, {name}"), |turn| {
            black_box(secrets.check(&known, Cookie(turn)));
        });
    }
    measure("refresh, nothing to do", |turn| {
        secrets.refresh(WALL_MS + u64::from(turn & 1));
    });
    measure("refresh, half a step on", |turn| {
        secrets.refresh(WALL_MS + u64::from(turn) * 64_000);
    });
    Ok(())
}

/// The SYN-ACK in place of a SYN, in bursts of frames that are written outside the clock.
fn syn_acks(name: &str, kind: Kind) -> Result<()> {
    let mut arena = Arena::new();
    let frame = syn(kind)?;
    let (v4, tcp, summary, _) = read(&frame)?;
    let mut best = Duration::MAX;
    for round in 0..ROUNDS {
        let mut spent = Duration::ZERO;
        for burst in 0..TURNS / BURST as u32 {
            arena.clear();
            for _ in 0..BURST {
                arena.add(WAN, &frame)?;
            }
            let mut packets = arena.packets();
            let mut answered = 0;
            let start = Instant::now();
            for (packet, turn) in packets.iter_mut().zip(burst..) {
                let options = (&summary).into();
                let cookie = Cookie(turn);
                let frame = &mut packet.frame;
                let done = syn_ack(frame, 14, &v4, &tcp, options, turn, cookie, &OFFERED);
                answered += usize::from(done.is_some());
            }
            spent += start.elapsed();
            ensure!(answered == BURST, "{name}: {answered} SYN-ACKs");
            if round == 0 && burst == 0 {
                for packet in &packets {
                    verify_frame(packet.frame.bytes())?;
                }
            }
        }
        best = best.min(spent);
    }
    line(&format!("SYN-ACK, {name}"), best);
    Ok(())
}

fn floods() -> Result<()> {
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
    measure("reflection guard, random prefixes", |turn| {
        let client = IpAddr::V4(Ipv4Addr::from_bits(turn.wrapping_mul(0x9e37_79b9)));
        black_box(guard.allow(client, turn / 1000, 50_000));
    });
    let mut tops = TopKeys::<32>::new();
    measure("heaviest keys, of one SYN in 64", |turn| {
        tops.add(u64::from(turn.wrapping_mul(0x9e37_79b9)) >> 8);
    });
    let frame = syn(Kind::Syn)?;
    let (v4, tcp, summary, options) = read(&frame)?;
    measure("fingerprint, of one SYN in 64", |_| {
        black_box(Fingerprint::new(&v4, &tcp, &summary, black_box(options)));
    });
    Ok(())
}

/// Runs something and prints the nanoseconds of one turn in the best round.
fn measure(name: &str, mut what: impl FnMut(u32)) {
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        for turn in 0..TURNS {
            what(black_box(turn));
        }
        start.elapsed()
    });
    line(name, rounds.min().unwrap_or_default());
}

fn line(name: &str, all_turns: Duration) {
    let ns = all_turns.as_secs_f64() * 1e9 / f64::from(TURNS);
    println!("{name:<40}{ns:>8.1}");
}

fn syn(kind: Kind) -> Result<Vec<u8>> {
    let mut frame = Templates::new().get(Sender::Client, kind)?.to_vec();
    let (src, dst) = (client(7), (VIP, SHIELDED));
    let variant = Variant {
        src,
        dst,
        seq: 1,
        ack: 0,
    };
    make(&mut frame, &variant)?;
    Ok(frame)
}

fn read(frame: &[u8]) -> Result<(V4, Tcp, OptionSummary, &[u8])> {
    let parsed = Parsed::parse(frame)?;
    let v4 = *parsed.v4().context("no IPv4")?;
    let tcp = *v4.tcp().context("no TCP")?;
    let options = v4.tcp_options(frame).unwrap_or_default();
    Ok((
        v4,
        tcp,
        OptionSummary::new(options, &KindSet::EMPTY),
        options,
    ))
}

fn handshake_v4(turn: u32) -> Handshake {
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
        ..handshake_v4(turn)
    }
}
