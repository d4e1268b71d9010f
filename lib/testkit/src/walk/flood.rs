//! Lines about floods: many packets at once, and what was made of them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail, ensure};
use weir_model::{Event, FloodCounters, MasterKey, Offer, RealId, RealState, ServiceId};
use weir_wire::{Describe, EthAddr, SeqNumber, TcpFlags};

use super::options::Options;
use super::play::{Player, quiet};
use super::script::{At, Flood, FloodKind, Item};
use super::value::number;
use crate::{PacketSpec, Random, TcpSpec, Transport, UdpSpec, World};

impl Player {
    /// Plays a line that is about SYNPROXY.
    pub(super) fn synproxy_line(&mut self, world: &mut World, item: &Item) -> Result<()> {
        // What only asks leaves nothing to be counted.
        let asks = matches!(item, Item::Flooded(..) | Item::Events(_));
        let settled = self.settled;
        self.settled &= asks;
        match item {
            Item::Secret(key) => Self::secret(world, key),
            Item::Offer(face, offer) => self.offer(world, face, *offer),
            Item::Real(face, up) => self.real(world, face, *up),
            Item::Skew(millis) => world.skew(*millis),
            Item::Restart => {
                ensure!(settled, "`moved` comes first, for the counters end here");
                self.settled = true;
                self.restart(world)
            }
            Item::Flooded(face, list) => self.flooded(world, face, list),
            Item::Events(list) => Self::events(world, list),
            Item::Flood(at, flood) => self.flood(world, *at, flood),
            Item::Setup(..)
            | Item::Let(..)
            | Item::Check(..)
            | Item::Moved(_)
            | Item::Sessions(_)
            | Item::State(_)
            | Item::Ports(_)
            | Item::Apply(_)
            | Item::Drain
            | Item::Introduce(_)
            | Item::Nothing(_)
            | Item::Packet(..) => bail!("this line is about something else"),
        }
    }

    /// Sends the packets of a flood and swallows what is sent on account of them.
    fn flood(&mut self, world: &mut World, at: At, flood: &Flood) -> Result<()> {
        let start = self.time_of(at);
        let to = self.faces.address(&flood.to)?;
        let dst_port = self.faces.own_port(&flood.to).context("it has no port")?;
        // Another flood has other packets.
        self.floods += 1;
        let mut random = Random::new(self.floods);
        let hosts = 1u64 << (32 - flood.from.prefix_len());
        let mut options = Vec::new();
        if flood.kind == FloodKind::Tcp(TcpFlags::SYN) {
            options = Options::parse("mss 1460")?.bytes(&mut self.names, &self.faces)?;
        }
        for turn in 0..flood.count {
            let time = start.after(flood.over * turn / flood.count.max(1));
            ensure!(time >= world.time(), "this time is over already");
            world.advance_to(time)?;
            self.last = time;
            quiet(world)?;
            let host = u32::try_from(random.below(hosts))?;
            let src = Ipv4Addr::from(u32::from(flood.from.network()) | host);
            let any_port = 1024 + random.below(60_000) as u16;
            let src_port = flood.sport.unwrap_or(any_port);
            let transport = match flood.kind {
                FloodKind::Tcp(flags) => {
                    let acks = flags.contains(TcpFlags::ACK);
                    Transport::Tcp(TcpSpec {
                        src_port,
                        dst_port,
                        seq: SeqNumber(random.below(1 << 32) as u32),
                        ack: SeqNumber(if acks {
                            random.below(1 << 32) as u32
                        } else {
                            0
                        }),
                        flags,
                        window: 1024,
                        options: options.clone(),
                        payload: Vec::new(),
                    })
                }
                FloodKind::Udp => Transport::Udp(UdpSpec {
                    src_port,
                    dst_port,
                    payload: vec![7; 20],
                }),
            };
            let around = world.around();
            let (port, hop) = around
                .next_hop(src)
                .with_context(|| format!("no port leads to {src}"))?;
            let spec = PacketSpec {
                eth_src: around.mac_of(hop),
                eth_dst: around.link(port).map_or(EthAddr::ZERO, |link| link.mac),
                src,
                dst: to,
                transport,
                ..PacketSpec::default()
            };
            world.inject(flood.worker, port, &spec.build())?;
            while let Some(emitted) = world.take_emitted() {
                ensure!(
                    emitted.at == time,
                    "something else left: {}",
                    Describe(&emitted.frame)
                );
            }
        }
        Ok(())
    }

    /// Puts another master key in force.
    fn secret(world: &mut World, key: &[u8]) -> Result<()> {
        let key = MasterKey(key.try_into().context("a key has 16 bytes")?);
        let mut snapshot = world.snapshot().clone();
        for id in 0..snapshot.services.bound() {
            if let Some(service) = snapshot.services.get(id) {
                let mut service = service.clone();
                service.synproxy.master = key;
                snapshot.services.insert(id, service);
            }
        }
        world.apply(snapshot)
    }

    /// Tells every director what was learned of a service's real servers.
    fn offer(&self, world: &mut World, face: &str, offer: Offer) -> Result<()> {
        let service = self.service(world, face)?;
        for director in world.directors_mut() {
            director.set_offer(service, offer);
        }
        world.turn()
    }

    /// Tells every director what a health check found.
    fn real(&self, world: &mut World, face: &str, up: bool) -> Result<()> {
        let address = self.faces.address(face)?;
        let port = self.faces.own_port(face);
        let reals = world.snapshot().services.iter().flat_map(|it| &it.reals);
        let found: Vec<RealId> = reals
            .filter(|real| real.address == address && Some(real.port) == port)
            .map(|real| real.id)
            .collect();
        ensure!(!found.is_empty(), "`{face}` is no real server");
        for director in world.directors_mut() {
            for real in &found {
                let state = RealState {
                    up,
                    ..RealState::default()
                };
                director.set_real_state(*real, state);
            }
        }
        world.turn()
    }

    /// Compares what became of a service's SYNs since the start, all workers together.
    fn flooded(&self, world: &World, face: &str, list: &str) -> Result<()> {
        let service = self.service(world, face)?;
        let mut sum = FloodCounters::default();
        for director in world.directors() {
            sum.add(&director.flood(service));
        }
        ensure!(
            sum.syn_in == sum.cookie_sent + sum.passed + sum.limited,
            "not every SYN is accounted for: {sum:?}"
        );
        ensure!(
            sum.completed == sum.latency.iter().sum::<u64>(),
            "not every completed handshake has a latency: {sum:?}"
        );
        let got = BTreeMap::from([
            ("syn-in", sum.syn_in),
            ("cookie-sent", sum.cookie_sent),
            ("passed", sum.passed),
            ("limited", sum.limited),
            ("cookie-valid", sum.cookie_valid),
            ("cookie-bad", sum.cookie_bad),
            ("cookie-stale", sum.cookie_stale),
            ("completed", sum.completed),
            ("failed", sum.failed),
            ("half-open", sum.half_open),
            ("active", sum.active),
        ]);
        compare(&got, list)
    }

    /// Compares what was told since this was asked last.
    fn events(world: &mut World, list: &str) -> Result<()> {
        let mut got = BTreeMap::from([
            ("flood-began", 0),
            ("flood-ended", 0),
            ("refused", 0),
            ("pool-nearly-exhausted", 0),
            ("address-conflict", 0),
            ("internal", 0),
        ]);
        for event in world.take_events() {
            let name = match event {
                Event::FloodBegan { .. } => "flood-began",
                Event::FloodEnded { .. } => "flood-ended",
                Event::Refused { .. } => "refused",
                Event::PoolNearlyExhausted { .. } => "pool-nearly-exhausted",
                Event::AddressConflict { .. } => "address-conflict",
                Event::Internal { .. } => "internal",
            };
            *got.entry(name).or_default() += 1;
        }
        compare(&got, list)
    }

    /// The service that listens at a face.
    fn service(&self, world: &World, face: &str) -> Result<ServiceId> {
        let address = self.faces.address(face)?;
        let port = self.faces.own_port(face);
        let mut services = world.snapshot().services.iter();
        let found = services.find(|service| {
            let mut listen = service.listen.iter();
            listen.any(|it| it.address == address && Some(it.port) == port)
        });
        Ok(found
            .with_context(|| format!("no service listens at `{face}`"))?
            .id)
    }
}

/// Compares counts with a list that says all that are not 0.
fn compare(got: &BTreeMap<&str, u64>, list: &str) -> Result<()> {
    let mut wanted = BTreeMap::new();
    for item in list.split(',').map(str::trim).filter(|it| !it.is_empty()) {
        let (name, count) = item
            .split_once(char::is_whitespace)
            .with_context(|| format!("`{item}` is not a name and a number"))?;
        let Some((name, _)) = got.get_key_value(name) else {
            let known: Vec<&str> = got.keys().copied().collect();
            bail!("`{name}` is none of {}", known.join(", "));
        };
        wanted.insert(*name, u64::from(number(count.trim())?));
    }
    let wrong: Vec<String> = got
        .iter()
        .filter(|(name, count)| **count != wanted.get(*name).copied().unwrap_or_default())
        .map(|(name, count)| format!("{name} is {count}"))
        .collect();
    ensure!(wrong.is_empty(), "{}", wrong.join(", "));
    Ok(())
}
