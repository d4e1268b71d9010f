//! Everything at once, half of it nonsense: no bytes, in no order, at no time, make a director
//! panic, lose count of a frame, or send what is not in order.
//!
//! `WEIR_STEPS=1000000 cargo test -p weir-director --test hostile` runs longer.

#![expect(
    clippy::indexing_slicing,
    reason = "a test may fail by panicking, outside of its own function too"
)]

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use weir_model::PortId;
use weir_testkit::{
    Checksum, IcmpSpec, PacketSpec, Random, Setup, TcpSpec, Transport, UdpSpec, World, arp_frame,
};
use weir_wire::{
    ARP_REPLY, ARP_REQUEST, ArpRepr, Describe, EthAddr, SeqNumber, TcpFlags, fill_checksums,
};

const ADDRESSES: [Ipv4Addr; 14] = [
    Ipv4Addr::new(192, 0, 2, 7),
    Ipv4Addr::new(192, 0, 2, 8),
    Ipv4Addr::new(198, 51, 100, 9),
    Ipv4Addr::new(203, 0, 113, 10),
    Ipv4Addr::new(203, 0, 113, 10),
    Ipv4Addr::new(203, 0, 113, 53),
    Ipv4Addr::new(10, 0, 8, 1),
    Ipv4Addr::new(10, 0, 8, 2),
    Ipv4Addr::new(10, 0, 1, 11),
    Ipv4Addr::new(10, 8, 1, 12),
    Ipv4Addr::new(10, 0, 1, 13),
    Ipv4Addr::new(10, 0, 2, 11),
    Ipv4Addr::new(10, 0, 2, 12),
    Ipv4Addr::new(198, 51, 100, 2),
];

const PORTS: [u16; 8] = [80, 25, 53, 8080, 40_000, 40_001, 5000, 5001];

fn steps() -> u64 {
    match std::env::var("WEIR_STEPS") {
        Ok(text) => text.parse().expect("WEIR_STEPS is a number"),
        Err(_) => 60_000,
    }
}

/// The configuration, with and without SYNPROXY.
fn text(proxied: bool) -> String {
    let text = include_str!("conf/mixed.conf");
    if proxied {
        return text.to_owned();
    }
    text.replace("= quick", "= off").replace("= firm", "= off")
}

struct Attack {
    world: World,
    random: Random,
    reloads: bool,
    proxied: bool,
    /// Frames that Weir sent, to be answered, quoted and sent back.
    seen: Vec<Vec<u8>>,
}

impl Attack {
    fn new(seed: u64, workers: u8) -> Result<Self> {
        let proxied = seed % 4 < 2;
        let snapshot = weir_testkit::snapshot("mixed.conf", &text(proxied))?;
        let setup = Setup {
            workers,
            sessions: 20,
            seed,
            delivers: seed.is_multiple_of(2),
            liars: true,
            ..Setup::default()
        };
        Ok(Self {
            world: World::new(snapshot, setup)?,
            random: Random::new(seed),
            reloads: seed.is_multiple_of(3),
            proxied,
            seen: Vec::new(),
        })
    }

    fn step(&mut self) -> Result<()> {
        if self.random.chance(0.02) {
            let longest = if self.random.chance(0.1) {
                60_000
            } else {
                2000
            };
            let passed = Duration::from_millis(self.random.below(longest));
            let until = self.world.time().after(passed);
            self.world.advance_to(until)?;
        }
        if self.reloads && self.random.chance(0.003) {
            self.reload()?;
        }
        let count = 1 + self.random.below(4) as usize;
        let frames: Vec<Vec<u8>> = (0..count).map(|_| self.frame()).collect();
        let mut burst = Vec::new();
        for frame in &frames {
            let right = self.port_of(frame);
            let any = PortId(self.random.below(2) as u8);
            let port = if self.random.chance(0.95) { right } else { any };
            burst.push((port, frame.as_slice()));
        }
        let workers = self.world.directors().len() as u64;
        let worker = self.random.below(workers) as u8;
        let burst: &[(PortId, &[u8])] = &burst;
        self.world.inject_burst(worker, burst).with_context(|| {
            let shown: Vec<String> = burst
                .iter()
                .map(|(port, it)| format!("\n  port {port}: {} = {it:02x?}", Describe(it)))
                .collect();
            format!("worker {worker}:{}\n ", shown.concat())
        })?;
        while let Some(emitted) = self.world.take_emitted() {
            if self.seen.len() < 50 {
                self.seen.push(emitted.frame);
            } else {
                let at = self.random.below(50) as usize;
                self.seen[at] = emitted.frame;
            }
        }
        while self.world.take_delivered().is_some() {}
        self.world.take_events();
        Ok(())
    }

    /// Puts another configuration in force: services go, come back, and change what they are.
    fn reload(&mut self) -> Result<()> {
        let changes = [
            ("", ""),
            ("203.0.113.10:25/tcp", "203.0.113.10:26/tcp"),
            ("[service mail]", "[service post]"),
            ("5000-5011", "5004-5020"),
            ("5000-5011", "5000-5003"),
            ("10.0.8.1-10.0.8.2", "10.0.8.2-10.0.8.3"),
            ("10.0.1.11:8080   weight=3", "10.0.1.11:8080   weight=0"),
            ("10.8.1.12:8080", "10.8.1.13:8080"),
            ("timestamps      = strip", "timestamps      = translate"),
            ("client-address  = none", "client-address  = toa"),
            ("203.0.113.53:53/udp", "203.0.113.54:53/udp"),
            ("synproxy        = quick", "synproxy        = always"),
            ("synproxy        = firm", "synproxy        = off"),
            ("client-window   = closed", "defer           = yes"),
        ];
        let (from, to) = self.pick(&changes);
        let text = text(self.proxied).replace(from, to);
        let next = weir_testkit::snapshot_after("mixed.conf", &text, self.world.snapshot())?;
        self.world
            .apply(next)
            .with_context(|| format!("`{from}` became `{to}`"))
    }

    /// The port whose Ethernet address a frame is for.
    fn port_of(&self, frame: &[u8]) -> PortId {
        let links = self.world.around().links();
        let found = links.iter().find(|link| frame.starts_with(&link.mac.0));
        found.map_or(PortId(0), |link| link.port)
    }

    fn frame(&mut self) -> Vec<u8> {
        let mut frame = match self.random.below(16) {
            0 => self.arp(),
            1..=5 => self.reflected(),
            6..=9 => self.of_a_session(),
            10 => self.icmp_error(),
            11 | 12 => self.opening(),
            _ => self.anything(),
        };
        if self.random.chance(0.2) {
            self.damage(&mut frame);
        }
        frame
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.below(from.len() as u64) as usize]
    }

    fn addressed(&mut self, spec: PacketSpec) -> PacketSpec {
        let around = self.world.around();
        let link = usize::from(around.reach(spec.src).map_or(0, |(port, _)| port.0));
        PacketSpec {
            eth_src: around
                .reach(spec.src)
                .map_or(EthAddr([2; 6]), |(_, mac)| mac),
            eth_dst: around.links()[link].mac,
            ..spec
        }
    }

    fn tcp(&mut self) -> TcpSpec {
        let options: [&[u8]; 9] = [
            &[],
            &[2, 4, 5, 0xb4],
            &[
                2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
            ],
            &[1, 1, 8, 10, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1],
            &[1, 1, 5, 10, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xf0],
            &[254, 8, 0, 80, 10, 9, 9, 9],
            &[
                253, 20, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
            ],
            &[8, 0, 8, 1],
            &[3, 3, 15, 0, 8, 9],
        ];
        let flags = [
            0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x10, 0x10, 0x00, 0xff,
        ];
        let len = self.pick(&[0, 0, 1, 100, 1400, 1452, 1460]);
        let bits = self.pick(&flags);
        TcpSpec {
            src_port: self.pick(&PORTS),
            dst_port: self.pick(&PORTS),
            seq: SeqNumber(self.random.below(3000) as u32),
            ack: SeqNumber(self.random.below(3000) as u32),
            flags: TcpFlags(bits),
            window: self.pick(&[0, 1, 502, 65_535]),
            options: self.pick(&options).to_vec(),
            payload: self.random.bytes(len.min(1440)),
        }
    }

    /// A packet that may open a session.
    fn opening(&mut self) -> Vec<u8> {
        let src_port = 40_000 + self.random.below(20) as u16;
        let (dst, dst_port) = self.pick(&[
            (Ipv4Addr::new(203, 0, 113, 10), 80),
            (Ipv4Addr::new(203, 0, 113, 10), 25),
            (Ipv4Addr::new(203, 0, 113, 53), 53),
        ]);
        let transport = if dst_port == 53 {
            Transport::Udp(UdpSpec {
                src_port,
                dst_port,
                payload: self.random.bytes(9),
            })
        } else {
            Transport::Tcp(TcpSpec {
                src_port,
                dst_port,
                flags: TcpFlags::SYN,
                payload: Vec::new(),
                ..self.tcp()
            })
        };
        let spec = PacketSpec {
            src: ADDRESSES[self.random.below(3) as usize],
            dst,
            transport,
            ..PacketSpec::default()
        };
        self.addressed(spec).build()
    }

    fn anything(&mut self) -> Vec<u8> {
        let transport = match self.random.below(5) {
            0 => Transport::Udp(UdpSpec {
                src_port: self.pick(&PORTS),
                dst_port: self.pick(&PORTS),
                payload: self.random.bytes(30),
            }),
            1 => Transport::Icmp(IcmpSpec {
                kind: self.pick(&[8, 0, 3, 4, 5, 11, 12, 13]),
                code: self.random.below(5) as u8,
                rest: [0, 1, 5, 0],
                payload: self.random.bytes(40),
            }),
            2 => Transport::Other {
                protocol: self.pick(&[4, 47, 50, 58, 132]),
                payload: self.random.bytes(24),
            },
            _ => Transport::Tcp(self.tcp()),
        };
        let spec = PacketSpec {
            src: self.pick(&ADDRESSES),
            dst: self.pick(&ADDRESSES),
            ttl: self.pick(&[0, 1, 2, 64, 255]),
            tos: self.pick(&[0, 0, 0xb8]),
            dont_fragment: self.random.chance(0.5),
            vlan: self.random.chance(0.05).then_some(7),
            checksum: self.pick(&[
                Checksum::Right,
                Checksum::Right,
                Checksum::Right,
                Checksum::Wrong,
                Checksum::Partial,
                Checksum::Exactly(0),
            ]),
            transport,
            ..PacketSpec::default()
        };
        self.addressed(spec).build()
    }

    /// A packet of a session that exists, near the numbers that its ends know.
    fn of_a_session(&mut self) -> Vec<u8> {
        let sessions = self.world.sessions();
        if sessions.is_empty() {
            return self.anything();
        }
        let session = sessions[self.random.below(sessions.len() as u64) as usize];
        let ((src, src_port), (dst, dst_port)) = if self.random.chance(0.5) {
            (session.client, session.vip)
        } else {
            (session.real, session.lip)
        };
        let transport = match session.protocol {
            weir_model::Protocol::Udp => Transport::Udp(UdpSpec {
                src_port,
                dst_port,
                payload: self.random.bytes(20),
            }),
            weir_model::Protocol::Tcp => Transport::Tcp(TcpSpec {
                src_port,
                dst_port,
                ..self.tcp()
            }),
        };
        let spec = PacketSpec {
            src,
            dst,
            ttl: self.pick(&[64, 64, 64, 1]),
            transport,
            ..PacketSpec::default()
        };
        self.addressed(spec).build()
    }

    /// What Weir sent comes back, as the answer of who got it: sequence numbers fit.
    fn reflected(&mut self) -> Vec<u8> {
        let Some(mut frame) = self.seen_one() else {
            return self.anything();
        };
        if frame.len() < 54 || frame[12..14] != [8, 0] {
            return frame;
        }
        for at in 0..6 {
            frame.swap(at, at + 6);
        }
        for at in 26..30 {
            frame.swap(at, at + 4);
        }
        frame[22] = 64;
        if frame[23] == 6 && frame[14] == 0x45 {
            frame.swap(34, 36);
            frame.swap(35, 37);
            let seq: [u8; 4] = [frame[38], frame[39], frame[40], frame[41]];
            let next = u32::from_be_bytes(seq).wrapping_add(self.pick(&[1, 1, 1, 1, 0, 2]));
            let ack: [u8; 4] = [frame[42], frame[43], frame[44], frame[45]];
            frame[38..42].copy_from_slice(&ack);
            frame[42..46].copy_from_slice(&next.to_be_bytes());
            // Most often the answer that keeps a connection going.
            frame[47] = match frame[47] {
                0x02 => self.pick(&[0x12, 0x12, 0x12, 0x10, 0x14]),
                0x12 => self.pick(&[0x10, 0x10, 0x10, 0x18, 0x11]),
                _ => self.pick(&[0x10, 0x10, 0x10, 0x11, 0x14, 0x04, 0x18, 0x12]),
            };
        }
        let _ = fill_checksums(&mut frame);
        frame
    }

    /// An ICMP error about something that Weir sent.
    fn icmp_error(&mut self) -> Vec<u8> {
        let Some(frame) = self.seen_one() else {
            return self.anything();
        };
        if frame.len() < 42 || frame[12..14] != [8, 0] {
            return self.anything();
        }
        let source = Ipv4Addr::new(frame[26], frame[27], frame[28], frame[29]);
        let most = frame.len() - 14;
        let len = [28, 20, most, 40, 60][self.random.below(5) as usize].min(most);
        let mut quoted = frame[14..14 + len].to_vec();
        if self.random.chance(0.2) {
            self.damage(&mut quoted);
        }
        let spec = PacketSpec {
            src: self.pick(&ADDRESSES),
            dst: source,
            transport: Transport::Icmp(IcmpSpec {
                kind: self.pick(&[3, 11, 12, 4, 5]),
                code: self.random.below(6) as u8,
                rest: [0, 0, self.random.below(8) as u8, 0],
                payload: quoted,
            }),
            ..PacketSpec::default()
        };
        self.addressed(spec).build()
    }

    fn arp(&mut self) -> Vec<u8> {
        let sender_ip = self.pick(&ADDRESSES);
        let sender_mac = if self.random.chance(0.9) {
            self.world.around().mac_of(sender_ip)
        } else {
            self.pick(&[
                EthAddr::BROADCAST,
                EthAddr::ZERO,
                self.world.around().links()[0].mac,
            ])
        };
        arp_frame(&ArpRepr {
            op: self.pick(&[ARP_REQUEST, ARP_REPLY]),
            sender_mac,
            sender_ip,
            target_mac: self.world.around().links()[1].mac,
            target_ip: self.pick(&ADDRESSES),
        })
    }

    fn seen_one(&mut self) -> Option<Vec<u8>> {
        let count = self.seen.len() as u64;
        self.seen.get(self.random.below(count) as usize).cloned()
    }

    fn damage(&mut self, frame: &mut Vec<u8>) {
        for _ in 0..=self.random.below(3) {
            let len = frame.len() as u64;
            let at = self.random.below(len) as usize;
            match self.random.below(5) {
                _ if frame.is_empty() => {}
                0 => frame.truncate(at),
                1 => frame.extend(self.random.bytes(at)),
                2 => frame[at] = self.random.next() as u8,
                _ => frame[at] ^= 1 << self.random.below(8),
            }
        }
        // Most damage is found by the header checksum; half of the time it is mended.
        if self.random.chance(0.5) {
            let _ = fill_checksums(frame);
        }
        frame.truncate(1900);
    }

    /// No two living sessions share a local port towards a real server, nor a client's port towards
    /// a VIP, and each holds exactly one local port.
    fn check_sessions(&self) -> Result<()> {
        let sessions = self.world.sessions();
        let living: Vec<_> = sessions.iter().filter(|it| !it.state.is_closed()).collect();
        let mut out = BTreeSet::new();
        let mut inward = BTreeSet::new();
        for session in &living {
            let protocol = session.protocol.number();
            ensure!(
                out.insert((session.lip, session.real, protocol)),
                "two sessions share a local port: {session:?}"
            );
            ensure!(
                inward.insert((session.client, session.vip, protocol)),
                "two sessions share a client: {session:?}"
            );
        }
        let used = self.world.ports_used() as usize;
        // The ports of a LIP that was taken away are in no pool any more.
        let all = used == living.len() || self.reloads && used < living.len();
        ensure!(
            all,
            "{used} local ports are in use by {} sessions",
            living.len()
        );
        Ok(())
    }

    /// When all is quiet again nothing may be left.
    fn finish(&mut self) -> Result<()> {
        let long = self.world.time().after(Duration::from_mins(2));
        self.world.advance_to(long)?;
        let sessions = self.world.sessions();
        ensure!(sessions.is_empty(), "sessions are left: {sessions:?}");
        let ports = self.world.ports_used();
        ensure!(ports == 0, "{ports} local ports are left");
        let tally = self.world.tally();
        ensure!(tally.get("held") == 0, "frames are held: {tally}");
        Ok(())
    }
}

fn attack(seed: u64, workers: u8, steps: u64) -> Result<weir_testkit::Tally> {
    let mut attack = Attack::new(seed, workers)?;
    for step in 0..steps {
        let stepped = if step % 32 == 0 {
            attack.step().and_then(|()| attack.check_sessions())
        } else {
            attack.step()
        };
        stepped.with_context(|| format!("seed {seed}, {workers} workers, step {step}"))?;
    }
    attack
        .finish()
        .with_context(|| format!("seed {seed}, {workers} workers, at the end"))?;
    Ok(attack.world.tally())
}

#[test]
fn nonsense_of_every_kind_is_survived_and_accounted_for() {
    let mut total = weir_testkit::Tally::default();
    for seed in 0..12 {
        match attack(seed, 1 + (seed / 4) as u8, steps() / 12) {
            Ok(tally) => total.add(&tally),
            Err(error) => panic!("{error:#}"),
        }
    }
    println!("{total}");
    // The attack is no attack when it does not reach these.
    for name in [
        "session-opened",
        "session-established",
        "session-closed",
        "session-expired",
        "session-reused",
        "icmp-translated",
        "toa-inserted",
        "toa-forged",
        "mss-clamped",
        "lip-exhausted",
        "malformed",
        "no-session",
        "handed-out",
        "challenge-ack",
        "port-reused-early",
        "cookie-sent",
        "cookie-valid",
        "cookie-bad",
        "cookie-stale",
        "syn-retried",
        "early-data",
    ] {
        assert!(
            total.get(name) > 10,
            "{name} moved by {}: {total}",
            total.get(name)
        );
    }
}
